//! What operators rely on: metrics, headers, the client addresses of trusted proxies, limits for slow clients.

use std::num::NonZeroU32;
use std::time::Duration;

use lottery::config::Config;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::world::*;

async fn numbers(world: &World) -> String {
    let answer = http_client().get(format!("http://{}/metrics", world.app().address)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    answer.text().await.unwrap()
}

#[actix_web::test]
async fn the_metrics_count_what_happened() {
    let world = World::with(|config| config.server.cors_origins = vec!["https://shop.example".to_owned()]).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 5).await;
    admin.schedule(&world).await;
    ann.buy_quick(draw, 3).await;
    ann.buy_quick(draw, 1).await;
    for (pool, body) in [(2, wallet()), (1, card(GOOD_CARD))] {
        let lines = json!(vec![from_pool(); pool]);
        let reserved = ann.order(draw, lines, "later").await.expect(201);
        ann.pay(reserved["payment"]["id"].as_str().unwrap(), body).await.expect(200);
    }
    ann.reserve(draw).await;
    ann.get("/tickets/x").await.refused(404, "not_found");
    ann.get("/draws/1/explode").await.refused(404, "not_found");
    ann.send(ann.request(Method::from_bytes(b"BREW").unwrap(), "/me")).await.refused(405, "method_not_allowed");

    // Refused by a middleware, whatever the address is.
    let nobody = world.anonymous();
    nobody.get("/admin/users/7").await.refused(401, "unauthorized");
    nobody.get("/admin/%75sers/8").await.refused(401, "unauthorized");
    nobody.get("/admin/nothing").await.refused(401, "unauthorized");
    ann.get("/admin/users/7").await.refused(403, "forbidden");
    nobody.order(draw, json!([]), "later").await.refused(401, "unauthorized");
    ann.order(draw, json!([]), "later").await.refused(422, "validation_failed");
    ann.order(draw, json!(["x".repeat(70_000)]), "later").await.refused(413, "payload_too_large");
    let preflight = ann.request(Method::OPTIONS, &format!("/draws/{draw}/tickets"));
    let preflight =
        preflight.header("origin", "https://shop.example").header("access-control-request-method", "POST");
    assert_eq!(preflight.send().await.unwrap().status(), 200);

    let text = numbers(&world).await;
    let request = |method: &str, route: &str, status: u16, count: usize| {
        format!("lottery_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}")
    };
    for line in [
        request("POST", "/api/v1/draws/{id}/tickets", 201, 5),
        request("POST", "/api/v1/admin/draws", 201, 2),
        request("POST", "/api/v1/admin/draws/{id}/open", 200, 1),
        request("GET", "/api/v1/tickets/{id}", 404, 1),
        request("GET", "none", 404, 1),
        request("other", "/api/v1/me", 405, 1),
        request("GET", "/api/v1/admin/users/{id}", 401, 2),
        request("GET", "/api/v1/admin/users/{id}", 403, 1),
        request("GET", "none", 401, 1),
        request("POST", "/api/v1/draws/{id}/tickets", 401, 1),
        request("POST", "/api/v1/draws/{id}/tickets", 413, 1),
        request("POST", "/api/v1/draws/{id}/tickets", 422, 1),
        request("OPTIONS", "/api/v1/draws/{id}/tickets", 200, 1),
        "lottery_http_request_seconds_count{method=\"POST\",route=\"/api/v1/draws/{id}/tickets\"} 8".to_owned(),
        "lottery_tickets_sold_total 7".to_owned(),
        "lottery_draws{status=\"open\"} 1".to_owned(),
        "lottery_draws{status=\"scheduled\"} 1".to_owned(),
        "lottery_draws{status=\"completed\"} 0".to_owned(),
        "lottery_orders_in_flight 0".to_owned(),
        "lottery_persistence_queue 0".to_owned(),
        "lottery_pool_connections{state=\"waited_for\"} 0".to_owned(),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    // A deposit and a charge are two records each. No request was concurrent, so each batch has one record.
    for count in ["lottery_batch_records_count", "lottery_commit_seconds_count"] {
        assert!(text.lines().any(|it| it == format!("{count} 10")), "{count} is not 10 in\n{text}");
    }
    assert!(text.contains("lottery_batch_records_sum 10"), "{text}");
    for line in [
        "lottery_account_balance{account=\"escrow\"} 70000",
        "lottery_account_balance{account=\"reserve\"} 0",
        "lottery_account_balance{account=\"clearing\"} -1010000",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("quantile"), "buckets, so that they can be summed over services");
    let build = format!("lottery_build_info{{version=\"{}\",commit=\"", lottery::version::VERSION);
    assert!(text.lines().any(|line| line.starts_with(&build) && line.ends_with("\"} 1")), "{text}");
    let resident = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    assert!(resident.unwrap().parse::<f64>().unwrap() > 1e6, "{text}");

    // A node that stops refuses calls before they are routed.
    world.app().state.lease.drain().await;
    nobody.get("/lotteries/5of36").await.refused(503, "standby");
    let text = numbers(&world).await;
    let refused = request("GET", "/api/v1/lotteries/{id}", 503, 1);
    assert!(text.lines().any(|line| line == refused), "{refused} is not in\n{text}");
}

/// The status of a GET without the API's base path.
async fn status(address: impl std::fmt::Display, path: &str, header: (&str, &str)) -> u16 {
    let request = http_client().get(format!("http://{address}{path}")).header(header.0, header.1);
    request.send().await.unwrap().status().as_u16()
}

#[actix_web::test]
async fn the_metrics_are_not_for_the_clients_of_a_proxy() {
    let world = World::new().await;
    for (header, expected) in [("Accept", 200), ("X-Forwarded-For", 404), ("Forwarded", 404)] {
        assert_eq!(status(world.app().address, "/metrics", (header, "for=1.1.1.1")).await, expected, "{header}");
    }
}

#[actix_web::test]
async fn with_an_admin_address_the_metrics_are_only_there() {
    let mut world = World::with(|config| config.server.admin_address = Some("127.0.0.1:0".to_owned())).await;
    let (main, admin) = (world.app().address, world.app().admin_address.unwrap());
    for (path, on_main, on_admin) in [
        ("/metrics", 404, 200),
        ("/health/live", 200, 200),
        ("/health/ready", 200, 200),
        ("/api/v1/draws", 200, 404),
        ("/api/openapi.json", 200, 404),
        ("/api/docs", 200, 404),
        ("/", 200, 404),
        ("/admin", 200, 404),
        // The errors of both lead there.
        ("/api/problems", 200, 200),
    ] {
        let proxied = ("X-Forwarded-For", "1.1.1.1");
        assert_eq!(status(main, path, proxied).await, on_main, "{path}");
        assert_eq!(status(admin, path, proxied).await, on_admin, "{path}");
    }
    world.stop().await;
    assert!(TcpStream::connect(admin).await.is_err(), "it has stopped too");
}

#[actix_web::test]
async fn an_admin_address_that_is_taken_stops_the_start() {
    let world = World::new().await;
    let mut config = world.config.clone();
    config.server.admin_address = Some(world.app().address.to_string());
    let other = tempfile::tempdir().unwrap();
    config.data_dir = other.path().to_owned();
    let url = crate::common::postgres::connection_string;
    let database = crate::server::database().await;
    config.database.url = Some(url(&crate::common::postgres::service(&database)).into());
    config.database.owner_url = Some(url(&database).into());
    let refused = lottery::app::App::start(&config, world.clock.clone()).await.err().unwrap().to_string();
    assert!(refused.starts_with(&format!("cannot listen on {}: ", world.app().address)), "{refused}");
}

#[actix_web::test]
async fn the_documentation_can_be_hidden() {
    let world = World::with(|config| config.server.docs = false).await;
    for (path, expected) in [
        ("/", 200),
        ("/api/docs", 404),
        ("/api/docs/index.css", 404),
        ("/api/openapi.json", 404),
        ("/api/problems", 200),
    ] {
        assert_eq!(status(world.app().address, path, ("Accept", "*/*")).await, expected, "{path}");
    }
}

/// Registers with a header of a proxy.
async fn register(world: &World, name: &str, header: &str, value: &str) -> Answer {
    let body = json!({"username": name, "email": format!("{name}@example.com"), "password": "correct horse"});
    let anonymous = world.anonymous();
    anonymous.send(anonymous.request(Method::POST, "/auth/register").header(header, value).json(&body)).await
}

#[actix_web::test]
async fn only_trusted_proxies_may_name_the_address_of_a_client() {
    let once = |config: &mut Config| {
        config.limits.enabled = true;
        config.limits.registrations_per_hour = NonZeroU32::MIN;
    };
    let trusting = World::with(|config| {
        once(config);
        config.server.trusted_proxies = vec!["127.0.0.0/8".to_owned().try_into().unwrap()];
    })
    .await;
    let header = "X-Forwarded-For";
    register(&trusting, "ann", header, "6.6.6.6, 1.1.1.1").await.expect(201);
    register(&trusting, "bob", header, "1.1.1.1, 2.2.2.2, 127.0.0.9").await.expect(201);
    register(&trusting, "eve", header, "7.7.7.7, 1.1.1.1").await.refused(429, "rate_limited");
    register(&trusting, "eve", "Forwarded", "for=3.3.3.3").await.expect(201);
    register(&trusting, "dan", "Forwarded", "for=4.4.4.4").await.refused(429, "rate_limited");

    let careful = World::with(once).await;
    register(&careful, "ann", header, "1.1.1.1").await.expect(201);
    register(&careful, "bob", header, "2.2.2.2").await.refused(429, "rate_limited");
}

#[actix_web::test]
async fn every_answer_has_the_security_headers() {
    let world = World::new().await;
    let (ann, outside) = (world.player("ann").await, world.anonymous().without_base_path());
    for answer in [
        ann.get("/me").await,
        ann.get("/draws").await,
        ann.get("/nothing").await,
        ann.get("/admin/users").await,
        ann.post("/auth/login", json!({})).await,
        outside.get("/health/live").await,
        outside.get("/nothing").await,
    ] {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.headers[name], value, "{}", answer.text);
        }
    }
}

#[actix_web::test]
async fn head_is_answered_like_get_without_the_body() {
    let world = World::new().await;
    let ann = world.player("ann").await;
    for path in ["/me", "/draws", "/wallet", "/tickets/x"] {
        let (head, get) = (ann.send(ann.request(Method::HEAD, path)).await, ann.get(path).await);
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        for name in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.headers[name], get.headers[name], "{path}");
        }
    }
    assert_eq!(ann.send(ann.request(Method::HEAD, "/wallet/deposits")).await.status, 405);
    assert_eq!(world.anonymous().send(world.anonymous().request(Method::HEAD, "/me")).await.status, 401);
}

#[actix_web::test]
async fn only_configured_origins_may_call_from_a_browser() {
    let shop = "https://shop.example";
    let ask = async |world: &World, method: Method, origin: &str| {
        let request = http_client().request(method, format!("http://{}/api/v1/draws", world.app().address));
        let wants = ("access-control-request-method", "access-control-request-headers");
        let request = request.header("origin", origin).header(wants.0, "GET");
        request.header(wants.1, "authorization, idempotency-key").send().await.unwrap()
    };
    let closed = World::new().await;
    assert_eq!(ask(&closed, Method::OPTIONS, shop).await.status(), 405);
    assert!(!ask(&closed, Method::GET, shop).await.headers().contains_key("access-control-allow-origin"));

    let open = World::with(|config| config.server.cors_origins = vec![shop.to_owned()]).await;
    let asked = ask(&open, Method::OPTIONS, shop).await;
    assert_eq!(
        (asked.status().as_u16(), &asked.headers()["access-control-allow-origin"]),
        (200, &shop.parse().unwrap())
    );
    assert!(!asked.headers().contains_key("access-control-allow-credentials"));
    assert_eq!(ask(&open, Method::GET, shop).await.headers()["access-control-allow-origin"], shop);
    for method in [Method::OPTIONS, Method::GET] {
        let answer = ask(&open, method, "https://evil.example").await;
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }
}

/// What a connection receives after it has sent this, until the service closes it.
async fn sent(world: &World, bytes: &[u8]) -> String {
    let mut connection = TcpStream::connect(world.app().address).await.unwrap();
    // The service may close it while this is sent.
    let _ = connection.write_all(bytes).await;
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(60), connection.read_to_end(&mut heard)).await;
    let _ = ended.expect("the service ends the connection");
    String::from_utf8_lossy(&heard).into_owned()
}

const LIVE: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";

/// Sends this and receives its answer; the connection stays.
async fn exchange(connection: &mut TcpStream, bytes: &str) -> std::io::Result<()> {
    connection.write_all(bytes.as_bytes()).await?;
    let mut heard = Vec::new();
    while !heard.ends_with(b"{\"status\":\"live\"}") {
        if connection.read_buf(&mut heard).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// What a connection receives after a whole request and a part of the next one, until the service closes it.
async fn half_a_second_head(world: &World, first: &str, half: &str) -> String {
    let mut connection = TcpStream::connect(world.app().address).await.unwrap();
    exchange(&mut connection, first).await.unwrap();
    connection.write_all(half.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(60), connection.read_to_end(&mut heard)).await;
    let _ = ended.expect("the service ends the connection");
    String::from_utf8_lossy(&heard).into_owned()
}

/// A connection from this address of the machine, on which one request was answered.
async fn connection_from(world: &World, address: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{address}:0").parse().unwrap())?;
    let mut connection = socket.connect(world.app().address).await?;
    exchange(&mut connection, LIVE).await?;
    Ok(connection)
}

#[actix_web::test]
async fn an_address_has_a_limit_of_connections() {
    let limited = |config: &mut Config| {
        config.limits.enabled = true;
        config.server.connections_per_address = 3;
    };
    let world = World::with(limited).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(connection_from(&world, "127.0.0.3").await.unwrap());
    }
    assert!(connection_from(&world, "127.0.0.3").await.is_err(), "the fourth");
    connection_from(&world, "127.0.0.2").await.expect("another address gets in");
    for connection in &mut open {
        exchange(connection, LIVE).await.expect("those that are in stay in");
    }
    let text = numbers(&world).await;
    assert!(text.lines().any(|line| line == "lottery_http_connections_refused_total 1"), "{text}");
    open.pop();
    until("a closed connection gives its place", || async { connection_from(&world, "127.0.0.3").await.is_ok() })
        .await;

    let trusting = World::with(|config| {
        limited(config);
        config.server.trusted_proxies = vec!["127.0.0.3".to_owned().try_into().unwrap()];
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(connection_from(&trusting, "127.0.0.3").await.expect("a proxy has as many as it wants"));
    }
}

#[actix_web::test]
async fn slow_and_endless_clients_are_cut_off() {
    let world = World::new().await;
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let half = format!("{head}Content-Length: 100\r\n\r\n{{\"login\":");
    let endless = format!("{head}X-Long: {}", "x".repeat(200_000));
    let many = format!("{head}{}Content-Length: 2\r\n\r\n{{}}", "X: y\r\n".repeat(200));
    let and_a_part = format!("{LIVE}GET /he");
    let (no_head, no_body, long, many, second, pipelined) = tokio::join!(
        sent(&world, head.as_bytes()),
        sent(&world, half.as_bytes()),
        sent(&world, endless.as_bytes()),
        sent(&world, many.as_bytes()),
        half_a_second_head(&world, LIVE, head),
        half_a_second_head(&world, &and_a_part, "alth/l"),
    );
    assert!(second.is_empty() && pipelined.is_empty(), "{second}{pipelined}");
    assert!(no_head.is_empty() || no_head.starts_with("HTTP/1.1 408"), "{no_head}");
    assert!(no_body.starts_with("HTTP/1.1 408") && no_body.contains("request_timeout"), "{no_body}");
    for refused in [long, many] {
        assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 4"), "{refused}");
    }
}
