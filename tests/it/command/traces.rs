//! Traces: a collector receives requests and batches, and no secret.

use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpServer, web};

use super::*;

/// A collector that keeps the raw bodies: protobuf contains names and texts unchanged.
struct Collector {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
    server: ServerHandle,
}

impl Collector {
    fn start() -> Collector {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let paper = heard.clone();
        let take = move |request: HttpRequest, body: web::Bytes| {
            assert_eq!(request.path(), "/v1/traces");
            assert_eq!(request.headers().get("content-type").unwrap(), "application/x-protobuf");
            paper.lock().unwrap().extend_from_slice(&body);
            async { "" }
        };
        let app = move || App::new().default_service(web::to(take.clone()));
        let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Collector { address, heard, server: handle }
    }

    fn heard(&self, what: &str) -> bool {
        self.heard.lock().unwrap().windows(what.len()).any(|window| window == what.as_bytes())
    }
}

#[actix_web::test]
async fn traces_contain_requests_and_batches_and_no_secret() {
    let collector = Collector::start();
    for variable in ["LOTTERY__TELEMETRY__OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
        collector.heard.lock().unwrap().clear();
        let program = program_with_database().await.with(variable, &collector.address);
        let service = program.start().await;
        let secrets = log::walk(&service, &program).await;
        let log = service.stop().await;
        assert!(!log.iter().any(|line| line.contains("DEBUG")), "the log is as quiet as it was asked to be");
        for what in ["lottery", "/api/v1/auth/login", "/tickets", "batch", "answered"] {
            assert!(collector.heard(what), "{variable}: {what}");
        }
        for secret in secrets {
            assert!(!collector.heard(&secret), "{secret}");
        }
    }
    collector.server.stop(true).await;
}
