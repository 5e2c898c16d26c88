//! The log: one event for each line, in UTC, as text or as JSON. This file does not know what is logged.
//! Traces are in `telemetry/spans.rs`.
//!
//! The service writes to standard output and leaves the storage and rotation of the log to its environment
//! (12factor.net/logs). Commands that print their result to standard output log to standard error.

mod spans;

use std::io::{IsTerminal, stderr, stdout};
use std::{env, fmt};

use serde::Deserialize;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
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

/// What is logged: events of a level and of all graver ones, or what a filter in the syntax of `RUST_LOG` says.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogFilter(Targets);

/// Libraries that tell at `info` what the service itself tells better.
const TALKATIVE: [&str; 2] = ["actix", "refinery"];

impl TryFrom<String> for LogFilter {
    type Error = String;

    fn try_from(text: String) -> Result<LogFilter, String> {
        let refused = |part: &str| {
            format!(
                "must be off, error, warn, info, debug or trace, or a filter such as info,lottery::http=debug, not {part:?}"
            )
        };
        // The parser takes any other word for the name of a module, of which it then shows everything.
        let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        if let Some(part) = text.split(',').find(|part| !part.contains('=') && !is_level(part)) {
            return Err(refused(part));
        }
        let mut filter: Targets = text.parse().map_err(|_| refused(&text))?;
        if filter == Targets::new().with_default(LevelFilter::INFO) {
            filter = filter.with_targets(TALKATIVE.map(|library| (library, LevelFilter::WARN)));
        }
        Ok(LogFilter(filter))
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.to_string())
    }
}

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("{VARIABLE}: {0}")]
    Filter(String),
    #[error("telemetry.otlp_endpoint: {0}")]
    Collector(String),
    #[error("the log is already set up")]
    AlreadySet,
}

/// The environment variable that overrides the setting `log.level`.
const VARIABLE: &str = "RUST_LOG";

/// Sets up the log of the service, to standard output. `RUST_LOG`, if it is set and not empty, overrides
/// `filter`, which is the setting `log.level`. If a collector is configured, here or in the environment, it gets the
/// traces until the returned value is dropped.
pub fn init(
    filter: &LogFilter,
    format: LogFormat,
    collector: Option<&str>,
) -> Result<Option<Spans>, TelemetryError> {
    let filter = choose(filter, env::var(VARIABLE).ok().as_deref())?;
    let spans = Spans::from_settings(collector)?;
    install(subscriber(filter, format, colour(stdout().is_terminal()), stdout, spans.as_ref()))?;
    Ok(spans)
}

/// Sets up the log of a command, to standard error: warnings and errors, unless `RUST_LOG` says otherwise.
pub fn init_command() -> Result<(), TelemetryError> {
    let warnings = LogFilter(Targets::new().with_default(LevelFilter::WARN));
    let filter = choose(&warnings, env::var(VARIABLE).ok().as_deref())?;
    install(subscriber(filter, LogFormat::Pretty, colour(stderr().is_terminal()), stderr, None))
}

fn choose(configured: &LogFilter, variable: Option<&str>) -> Result<Targets, TelemetryError> {
    match variable {
        Some(variable) if !variable.trim().is_empty() => {
            let filter = LogFilter::try_from(variable.to_owned()).map_err(TelemetryError::Filter)?;
            Ok(filter.0)
        }
        _ => Ok(configured.0.clone()),
    }
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

    fn filter_of(text: &str) -> LogFilter {
        text.to_owned().try_into().unwrap()
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        let paper = Paper::default();
        let sink = paper.clone();
        let log = subscriber(filter_of(filter).0, format, false, move || sink.clone(), None);
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
        let chosen = |configured: &str, variable| choose(&filter_of(configured), variable).unwrap().to_string();
        assert_eq!(chosen("info", Some("lottery=trace")), "lottery=trace");
        assert_eq!(chosen("debug", Some("  ")), "debug");
        assert_eq!(chosen("warn,lottery::http=debug", None), "lottery::http=debug,warn");
        let refused = choose(&filter_of("info"), Some("lottery=loud")).unwrap_err().to_string();
        assert!(refused.starts_with("RUST_LOG: must be off, error, "), "{refused}");
    }

    #[test]
    fn libraries_are_quiet_unless_a_filter_names_them() {
        for text in ["info", "INFO"] {
            assert_eq!(filter_of(text).0.to_string(), "refinery=warn,actix=warn,info");
        }
        for text in ["debug", "refinery=info,info"] {
            assert_eq!(filter_of(text).0.to_string(), text);
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for (text, part) in
            [("loud", "loud"), ("", ""), ("info,", ""), ("info,lottery", "lottery"), ("x=y", "x=y")]
        {
            let refused = LogFilter::try_from(text.to_owned()).unwrap_err();
            assert!(refused.contains(&format!("lottery::http=debug, not {part:?}")), "{refused}");
        }
    }

    #[test]
    fn log_formats_are_parsed() {
        assert_eq!(LogFormat::try_from("json".to_owned()), Ok(LogFormat::Json));
        assert_eq!(LogFormat::try_from("pretty".to_owned()), Ok(LogFormat::Pretty));
        assert!(LogFormat::try_from("xml".to_owned()).is_err());
    }
}
