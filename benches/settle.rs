//! Measures the settlement of a draw of a million tickets on a real, durable Postgres: from the drawing of the
//! numbers to the last winner's credit. Each iteration begins with a copy of the same filled database. The sale
//! is not measured here.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[path = "../tests/big/fill.rs"]
mod fill;
#[path = "../tests/common/postgres.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod postgres;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use actix_web::rt::System;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use lottery::app::App;
use lottery::clock::Clock;
use lottery::config::Config;
use lottery::db::{connect, migrate, private_server_options};
use lottery::domain::audit::AuditActor;
use lottery::domain::draw::Step;
use lottery::domain::id::{DrawId, UserId};
use private_postgres::PostgresServer;
use uuid::Uuid;

use self::postgres::connection_string;

const TICKETS: i64 = 1_000_000;
const USERS: i64 = 10_000;
/// The user who takes the steps.
const ADMIN: AuditActor =
    AuditActor { user: UserId(1), address: IpAddr::V4(Ipv4Addr::LOCALHOST), request: Uuid::nil() };
const DRAW: DrawId = DrawId(fill::DRAW);

/// A server whose database `lottery` has all tickets sold.
async fn filled(directory: &std::path::Path) -> PostgresServer {
    let server = PostgresServer::start(&private_server_options(directory)).await.unwrap();
    migrate(server.connection()).await.unwrap();
    let db = connect(server.connection()).await.unwrap();
    assert_eq!(fill::fill(&db, TICKETS, USERS, usize::MAX).await, TICKETS);
    fill::finish(&db).await;
    fill::log(&db).await;
    server
}

/// Settles the draw in a copy of the filled database.
async fn settle(server: &PostgresServer, config: &mut Config) -> Duration {
    let root = connect(postgres::database(&server.connection(), "postgres")).await.unwrap();
    for sql in ["DROP DATABASE IF EXISTS copy", "CREATE DATABASE copy TEMPLATE lottery", "CHECKPOINT"] {
        root.batch_execute(sql).await.unwrap();
    }
    config.database.url = Some(connection_string(&postgres::database(&server.connection(), "copy")).into());
    let app = App::start(config, Clock::system()).await.unwrap();
    assert!(app.state.draws.step(DRAW, Step::Close, String::new(), ADMIN).await.unwrap());
    #[allow(clippy::disallowed_methods, reason = "a measurement")]
    let started = Instant::now();
    assert!(app.state.draws.step(DRAW, Step::Conduct, String::new(), ADMIN).await.unwrap(), "it is done in time");
    let took = started.elapsed();
    app.stop().await.unwrap();
    took
}

fn settling(criterion: &mut Criterion) {
    let directory = tempfile::Builder::new().prefix("lottery-bench-").tempdir().unwrap();
    let nothing = tempfile::NamedTempFile::new().unwrap();
    let mut config = Config::load(Some(nothing.path())).unwrap();
    config.auth.jwt_secret = Some("a secret of the benches, long enough to sign with".into());
    config.fairness.master_secret = Some(fill::MASTER_SECRET.into());
    config.server.port = 0;
    let system = System::new();
    let server = system.block_on(filled(directory.path()));

    let mut group = criterion.benchmark_group("settle");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(TICKETS as u64));
    group.bench_function("a million tickets", |bencher| {
        bencher.iter_custom(|turns| (0..turns).map(|_| system.block_on(settle(&server, &mut config))).sum());
    });
    group.finish();
    system.block_on(server.stop()).unwrap();
}

criterion_group!(benches, settling);
criterion_main!(benches);
