//! Sends spans to an OpenTelemetry collector (OTLP over HTTP, as protobuf) if one is configured. This file
//! does not know what is traced.
//!
//! The collector gets the spans of requests and batches whatever the log's filter is: such a span is worth
//! its cost in a trace, but not if only the log would use it. A separate thread sends the spans; if the
//! collector is slow or not reachable, the queue becomes full and spans are dropped, and no request waits.

use std::env;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, SpanExporter, WithExportConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::TelemetryError;
use crate::tls;

/// The path of a collector's endpoint for traces (OTLP 1.0, "OTLP/HTTP request").
const PATH: &str = "/v1/traces";
/// How long the service waits at its end for the last spans to be sent.
const FLUSH_WAIT: Duration = Duration::from_secs(3);
/// The target of the service's own spans.
const NAME: &str = "lottery";

/// The connection to the collector. Dropping it sends the spans that were not sent yet.
#[must_use]
pub struct Spans(SdkTracerProvider);

impl Spans {
    /// For this collector, else for the one that the environment names; `None` if neither names one. The
    /// other variables of OpenTelemetry (the service's name, headers, the sampling rate) apply too.
    pub(super) fn from_settings(collector: Option<&str>) -> Result<Option<Spans>, TelemetryError> {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let builder = SpanExporter::builder().with_http();
        let builder = match collector {
            Some(collector) => builder.with_endpoint(format!("{}{PATH}", collector.trim_end_matches('/'))),
            None if set(OTEL_EXPORTER_OTLP_ENDPOINT) || set(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) => builder,
            None => return Ok(None),
        };
        // The exporter makes an HTTP client by itself.
        tls::install();
        let exporter = builder.build().map_err(|error| TelemetryError::Collector(error.to_string()))?;
        let mut resource = Resource::builder();
        if !set("OTEL_SERVICE_NAME") {
            resource = resource.with_service_name(NAME);
        }
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Ok(Some(Spans(provider.with_resource(resource.build()).build())))
    }

    pub(super) fn layer<S: Subscriber + for<'s> LookupSpan<'s>>(&self) -> impl Layer<S> + use<S> {
        let ours = Targets::new().with_target(NAME, Level::DEBUG);
        tracing_opentelemetry::layer().with_tracer(self.0.tracer(NAME)).with_filter(ours)
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_WAIT) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}
