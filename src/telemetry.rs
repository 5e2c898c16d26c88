//! The log: one event a line, in UTC, for people or as JSON. Knows nothing of what is logged. Traces, where
//! they are wanted, are in `telemetry/spans.rs`.
//!
//! The service writes to standard output and leaves keeping and turning the log to whoever runs it
//! (12factor.net/logs). Commands whose standard output is their answer write to standard error.

mod spans;

use std::env;
use std::io::{IsTerminal, stderr, stdout};

use serde::Deserialize;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, registry};

pub use spans::Spans;

/// How an event is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = &'static str;

    fn try_from(text: String) -> Result<LogFormat, &'static str> {
        match text.as_str() {
            "pretty" => Ok(LogFormat::Pretty),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be `pretty` or `json`"),
        }
    }
}

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("{key}: {filter:?} is no filter such as `info` or `info,lottery::http=debug`")]
    Filter { key: &'static str, filter: String },
    #[error("telemetry.otlp_endpoint: {0}")]
    Collector(String),
    #[error("the log is already set up")]
    Twice,
}

/// Where the filter of [`init`] comes from, and what is stronger.
const KEY: &str = "log.level";
const VARIABLE: &str = "RUST_LOG";

/// The log of the service, to standard output. A `RUST_LOG` that is set and not empty wins over `filter`,
/// which is `log.level`; a bad one is an error that names whichever it was. Where a collector is named, here or
/// in the environment, it gets the traces for as long as what this returns is kept.
pub fn init(filter: &str, format: LogFormat, collector: Option<&str>) -> Result<Option<Spans>, TelemetryError> {
    let filter = choose(filter, env::var(VARIABLE).ok().as_deref())?;
    let spans = Spans::wanted(collector)?;
    install(subscriber(filter, format, colour(stdout().is_terminal()), stdout, spans.as_ref()))?;
    Ok(spans)
}

/// The log of a command, to standard error: warnings and worse, unless `RUST_LOG` says otherwise.
pub fn init_command() -> Result<(), TelemetryError> {
    let filter = choose("warn", env::var(VARIABLE).ok().as_deref())?;
    install(subscriber(filter, LogFormat::Pretty, colour(stderr().is_terminal()), stderr, None))
}

fn choose(configured: &str, variable: Option<&str>) -> Result<Targets, TelemetryError> {
    let (key, filter) = match variable {
        Some(variable) if !variable.trim().is_empty() => (VARIABLE, variable),
        _ => (KEY, configured),
    };
    let bad = || TelemetryError::Filter { key, filter: filter.to_owned() };
    // An empty filter parses, and silences even errors.
    if filter.trim().is_empty() {
        return Err(bad());
    }
    filter.parse().map_err(|_| bad())
}

/// Colour only where a person looks, and who may have asked for none (no-color.org).
fn colour(terminal: bool) -> bool {
    terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn subscriber<W>(
    filter: Targets,
    format: LogFormat,
    ansi: bool,
    writer: W,
    spans: Option<&Spans>,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let silent = filter_fn(tells_no_secret);
    let log = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(writer);
    let log = match format {
        LogFormat::Pretty => log.boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    match spans {
        None => Box::new(registry().with(log).with(filter).with(silent)),
        // What the log leaves out may still be traced.
        Some(spans) => Box::new(registry().with(log.with_filter(filter)).with(spans.layer()).with(silent)),
    }
}

/// Below `info` the database's driver tells what each statement was given, the hashes of passwords among
/// it. No filter lets that through.
fn tells_no_secret(event: &Metadata<'_>) -> bool {
    !event.target().starts_with("tokio_postgres") || *event.level() <= Level::INFO
}

fn install(subscriber: Box<dyn Subscriber + Send + Sync>) -> Result<(), TelemetryError> {
    subscriber.try_init().map_err(|_| TelemetryError::Twice)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        let paper = Paper::default();
        let sink = paper.clone();
        let log = subscriber(choose(filter, None).unwrap(), format, false, move || sink.clone(), None);
        tracing::subscriber::with_default(log, || {
            tracing::info!(draw = 7, "opened");
            tracing::debug!("hidden");
        });
        let written = paper.0.lock().unwrap().clone();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn a_pretty_event_is_one_line() {
        let line = logged("info", LogFormat::Pretty);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains("INFO") && line.contains("opened draw=7"), "{line}");
        assert!(line.split_whitespace().next().unwrap().ends_with('Z'), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn a_json_event_is_one_object() {
        let line = logged("info", LogFormat::Json);
        assert_eq!(line.lines().count(), 1, "{line}");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&event["message"], &event["draw"], &event["level"]),
            (&"opened".into(), &7.into(), &"INFO".into())
        );
        event["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn the_environment_variable_overrides_the_setting() {
        assert_eq!(choose("info", Some("lottery=trace")).unwrap().to_string(), "lottery=trace");
        assert_eq!(choose("info", Some("  ")).unwrap().to_string(), "info");
        assert_eq!(choose("warn,lottery::http=debug", None).unwrap().to_string(), "lottery::http=debug,warn");
    }

    #[test]
    fn an_error_names_the_key_of_an_invalid_filter() {
        for (configured, variable, key) in [
            ("lottery=loud", None, "log.level: "),
            ("", None, "log.level: "),
            ("info", Some("lottery=loud"), "RUST_LOG: "),
        ] {
            let error = choose(configured, variable).unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
    }

    #[test]
    fn log_formats_are_parsed() {
        assert_eq!(LogFormat::try_from("json".to_owned()), Ok(LogFormat::Json));
        assert_eq!(LogFormat::try_from("pretty".to_owned()), Ok(LogFormat::Pretty));
        assert!(LogFormat::try_from("xml".to_owned()).is_err());
    }
}
