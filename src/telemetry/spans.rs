//! Spans to a collector of OpenTelemetry (OTLP over HTTP, as protobuf), where one is named. Knows nothing of
//! what is traced.
//!
//! What becomes of requests and batches is told to the collector whatever the log's filter says: a span that
//! only a log would write is not worth its cost, one in a trace is. Spans are sent from a thread of their own;
//! where the collector is slow or away, the queue is full and spans are dropped, and nobody waits.

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

/// Where collectors take traces, beneath their address (OTLP 1.0, "OTLP/HTTP request").
const PATH: &str = "/v1/traces";
/// How long the end of the service waits for the last spans to be sent.
const FLUSH_WAIT: Duration = Duration::from_secs(3);
/// What our spans are called by.
const NAME: &str = "lottery";

/// The way to the collector. What was not sent yet is sent when this goes.
#[must_use]
pub struct Spans(SdkTracerProvider);

impl Spans {
    /// To this collector, else to the one that the environment names; none, if nobody names one. What else
    /// the environment says in the way of OpenTelemetry (the service's name, headers, the share that is
    /// sampled) holds too.
    pub(super) fn wanted(collector: Option<&str>) -> Result<Option<Spans>, TelemetryError> {
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
