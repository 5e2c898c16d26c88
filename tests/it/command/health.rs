//! `lottery health`, as a container's health check runs it.

use super::*;

#[actix_web::test]
async fn health_tells_whether_the_service_is_ready() {
    let program = program_with_database().await;
    let service = program.start().await;
    let port = service.address.rsplit(':').next().unwrap().to_owned();
    let program = program.with("LOTTERY__SERVER__PORT", &port).with("LOTTERY__SERVER__HOST", "0.0.0.0");
    let ready = format!("127.0.0.1:{port} is ready\n");
    assert_eq!(printed(&program.run(&["health"]).await), (Some(0), ready, String::new()));
    service.stop().await;
    let (code, out, error) = printed(&program.run(&["health"]).await);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("is not ready"), "{error}");
}
