//! The log: one event for each line, in UTC, as text or as JSON. This file does not know what is logged.
//! Traces are in `telemetry/spans.rs`.
//!
//! The service writes to standard output and leaves the storage and rotation of the log to its environment
//! (12factor.net/logs). Commands that print their result to standard output log to standard error.

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
    /// Text; in colour on a terminal.
    Pretty,
    /// One JSON object for each line.
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
    #[error("{key}: {filter:?} is not a filter such as `info` or `info,lottery::http=debug`")]
    Filter { key: &'static str, filter: String },
    #[error("telemetry.otlp_endpoint: {0}")]
    Collector(String),
    #[error("the log is already set up")]
    AlreadySet,
}

/// The names by which an error calls a bad filter: the setting, and the environment variable that overrides
/// it.
const KEY: &str = "log.level";
const VARIABLE: &str = "RUST_LOG";

/// Sets up the log of the service, to standard output. `RUST_LOG`, if it is set and not empty, overrides
/// `filter`, which is the setting `log.level`; the error for a bad filter names the one that was used. If a
/// collector is configured, here or in the environment, it gets the traces until the returned value is
/// dropped.
pub fn init(filter: &str, format: LogFormat, collector: Option<&str>) -> Result<Option<Spans>, TelemetryError> {
    let filter = choose(filter, env::var(VARIABLE).ok().as_deref())?;
    let spans = Spans::from_settings(collector)?;
    install(subscriber(filter, format, colour(stdout().is_terminal()), stdout, spans.as_ref()))?;
    Ok(spans)
}

/// Sets up the log of a command, to standard error: warnings and errors, unless `RUST_LOG` says otherwise.
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
    // An empty filter is valid for the parser, but it hides even errors.
    if filter.trim().is_empty() {
        return Err(bad());
    }
    filter.parse().map_err(|_| bad())
}

/// Colour only on a terminal, and only if the user has not switched it off (no-color.org).
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
    let no_secrets = filter_fn(has_no_secret);
    let log = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(writer);
    let log = match format {
        LogFormat::Pretty => log.boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    match spans {
        None => Box::new(registry().with(log).with(filter).with(no_secrets)),
        // The filter applies to the log only, not to the traces.
        Some(spans) => Box::new(registry().with(log.with_filter(filter)).with(spans.layer()).with(no_secrets)),
    }
}

/// Below `info`, the database driver logs the parameters of each statement, such as password hashes. No
/// filter can enable that.
fn has_no_secret(event: &Metadata<'_>) -> bool {
    !event.target().starts_with("tokio_postgres") || *event.level() <= Level::INFO
}

fn install(subscriber: Box<dyn Subscriber + Send + Sync>) -> Result<(), TelemetryError> {
    subscriber.try_init().map_err(|_| TelemetryError::AlreadySet)
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
    fn an_event_is_one_line_of_text() {
        let line = logged("info", LogFormat::Pretty);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains("INFO") && line.contains("opened draw=7"), "{line}");
        assert!(line.split_whitespace().next().unwrap().ends_with('Z'), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn an_event_is_one_json_object() {
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
    fn the_variable_overrides_the_setting() {
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
