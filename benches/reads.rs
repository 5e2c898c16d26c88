//! Measures the list of draws over HTTP, which every client polls. The same run measures a handler that answers
//! with a constant body of the same size. The difference is the cost of the service. Writes are not measured
//! here.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "a measurement")]

#[path = "world/mod.rs"]
#[allow(dead_code, reason = "the bench of purchases uses the rest")]
mod world;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use actix_web::http::header::ContentType;
use actix_web::rt::System;
use actix_web::{HttpResponse, HttpServer, web};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use lottery::clock::Clock;

use self::world::{Connection, World, open_draw};

const CONNECTIONS: u64 = 64;
const REQUEST: &[u8] = b"GET /api/v1/draws HTTP/1.1\r\nHost: lottery\r\n\r\n";

/// A server that answers every request with this many bytes.
fn constant(size: usize) -> SocketAddr {
    let body = web::Bytes::from(vec![b'x'; size]);
    let app = move || {
        let body = body.clone();
        let answer = move || {
            let body = body.clone();
            async move { HttpResponse::Ok().content_type(ContentType::json()).body(body) }
        };
        actix_web::App::new().default_service(web::to(answer))
    };
    let server = HttpServer::new(app).workers(2).bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    address
}

async fn ask(address: SocketAddr, count: u64) -> Duration {
    let connections = join_all((0..CONNECTIONS).map(|_| Connection::open(address))).await;
    let share = |n| count / CONNECTIONS + u64::from(n < count % CONNECTIONS);
    let started = Instant::now();
    let ask = async |(n, mut connection): (u64, Connection)| {
        for _ in 0..share(n) {
            assert!(connection.ask(REQUEST).await);
        }
    };
    join_all((0..).zip(connections).map(ask)).await;
    started.elapsed()
}

fn reads(criterion: &mut Criterion) {
    let system = System::new();
    let world = system.block_on(World::new());
    let size = system.block_on(async {
        for _ in 0..50 {
            open_draw(&world.app.state.draws, &Clock::system()).await;
        }
        let http = lottery::tls::http_client().build().unwrap();
        let answer = http.get(format!("http://{}/api/v1/draws", world.app.address)).send().await.unwrap();
        answer.bytes().await.unwrap().len()
    });
    let constant = system.block_on(async { constant(size) });

    let mut group = criterion.benchmark_group("read");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(1));
    for (name, address) in [("GET /draws", world.app.address), ("a constant body of the same size", constant)] {
        group.bench_function(name, |bencher| bencher.iter_custom(|count| system.block_on(ask(address, count))));
    }
    group.finish();
    system.block_on(world.close());
}

criterion_group!(benches, reads);
criterion_main!(benches);
