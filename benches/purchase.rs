//! Measures purchases per second, layer by layer: the actors over a persistence actor that writes nothing; the
//! whole durable service over HTTP; and, in the same run, the same rows in one transaction for each purchase. All
//! purchases are of one draw, with one quick pick in each order, paid from the wallets of 256 players.
//! Settlements and reads are not measured here.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "a measurement")]

mod world;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_web::rt::System;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use jiff::SignedDuration;
use lottery::actors::draws::{self, Draws};
use lottery::actors::lease::Lease;
use lottery::actors::messages::{ReplyTo, WriteRequest, WriteResults};
use lottery::actors::persistence::{Persistence, WriteLimits, WriterMetrics, nodes};
use lottery::actors::public_log::PublicLog;
use lottery::actors::snapshots::DrawSnapshots;
use lottery::beacon::DrandClient;
use lottery::clock::{Clock, Ids};
use lottery::db::{Db, connect};
use lottery::domain::batch_state::BatchState;
use lottery::domain::draw::{FairnessTerms, LineRequest, WriteResult};
use lottery::domain::id::{DrawId, SessionId, UserId};
use lottery::domain::ledger::{AccountId, Ledger};
use lottery::domain::log_keys::{LogKeys, LogOrigin};
use lottery::domain::money::Money;
use lottery::domain::rows::{Changes, DrawSales};
use lottery::domain::ticket_log::TicketLogs;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;
use verifiable_draw::keys::MasterSecret;

use self::world::{Connection, PRICE, USERS, World, open_draw};

/// Records that are applied to one batch state before the next begins, as in a batch of the writer.
const BATCH: usize = 512;

/// Applies records as the writer does, one at a time, and writes nothing.
struct InMemory(BatchState);

/// The batch state of the draw, with enough money in each wallet.
fn batch_state(draws: HashMap<DrawId, DrawSales>) -> BatchState {
    let wallets = (1..=USERS).map(|user| (AccountId::wallet(UserId(user)), Money::new(1_000_000_000_000)));
    let escrows = draws.keys().map(|draw| (AccountId::escrow(*draw), Money::ZERO));
    BatchState {
        currency: "RUB".parse().unwrap(),
        ledger: Ledger::new(wallets.chain(escrows)),
        draws,
        faulty_logs: HashMap::new(),
        payments: HashMap::new(),
        charges: BTreeMap::new(),
        keys: HashMap::new(),
        changes: Changes::default(),
    }
}

fn ticket_logs() -> TicketLogs {
    let origin = LogOrigin::of_url("https://lottery.example").unwrap();
    TicketLogs::new(Arc::new(LogKeys::new(MasterSecret::new([7; 32]), origin)))
}

impl Actor for InMemory {
    type Context = Context<Self>;
}

impl Handler<WriteRequest> for InMemory {
    type Result = ();

    fn handle(&mut self, submit: WriteRequest, _: &mut Context<Self>) {
        let fence = submit.record.fence().unwrap();
        if self.0.changes.new_payments.len().is_multiple_of(BATCH) {
            let mut draws = std::mem::take(&mut self.0.draws);
            draws.entry(fence.draw).or_insert(DrawSales { epoch: fence.epoch, sold: 0, log: None });
            self.0 = batch_state(draws);
        }
        let result = self.0.apply(&submit.record);
        if let ReplyTo::Draw(draw, waiter) = submit.reply_to {
            draw.do_send(WriteResults(vec![WriteResult { record: submit.record, result, waiter }]));
        }
    }
}

/// The registry and a draw actor on this thread, over a persistence actor that writes nothing. The draw itself is
/// loaded from the database.
async fn actors(world: &World) -> (Draws, DrawId) {
    let (clock, snapshots, database) = (Clock::system(), DrawSnapshots::default(), world.server.connection());
    let db = Db::new(&database, 2).unwrap();
    let limits = WriteLimits { batch: 512, queue: 4_096, deadline: Duration::from_secs(5) };
    let currency = "RUB".parse().unwrap();
    let node = nodes::insert(&db.client().await.unwrap(), "", "", "").await.unwrap();
    let lease = Lease::endless(node);
    let persistence = Persistence::start(
        (database, lease),
        db.clone(),
        currency,
        ticket_logs(),
        snapshots.clone(),
        limits,
        WriterMetrics::none(),
    )
    .with_records(InMemory(batch_state(HashMap::new())).start().recipient());
    let reservation = SignedDuration::from_mins(10);
    let options = draws::DrawOptions {
        in_flight: 4_096,
        open_reservations: None,
        pool_limit: 1,
        reservation,
        terms: FairnessTerms::default(),
    };
    let data_dir = tempfile::tempdir().unwrap();
    let public_log =
        PublicLog::open(db.clone(), persistence.ticket_logs().log_keys(), data_dir.path(), None, None)
            .await
            .unwrap();
    let rounds = Arc::new(DrandClient::new(&[], metrics::Counter::noop()).unwrap());
    let draws =
        Draws::start((db, public_log), persistence, snapshots, clock.clone(), options, rounds).await.unwrap();
    let draw = open_draw(&draws, &clock).await;
    (draws, draw)
}

/// Runs `all` units of work on this many workers; returns how long it took.
async fn spread<F: Future<Output = ()>>(all: u64, at_a_time: u64, worker: impl Fn(u64, u64) -> F) -> Duration {
    let share = |n| all / at_a_time + u64::from(n < all % at_a_time);
    let started = Instant::now();
    join_all((0..at_a_time).map(|n| worker(n, share(n)))).await;
    started.elapsed()
}

/// Writes the rows of a purchase in a transaction of its own: both sides of the double entry, the draw's count of
/// tickets, the payment, the ticket, the transfer.
struct Naive {
    db: Client,
    statements: [Statement; 6],
}

impl Naive {
    async fn new(world: &World) -> Naive {
        let db = connect(world.server.connection()).await.unwrap();
        let sql = [
            "UPDATE accounts SET balance = balance - $2 WHERE id = $1 AND balance >= $2 RETURNING balance",
            "UPDATE accounts SET balance = balance + $2 WHERE id = $1",
            "UPDATE draw_sales SET sold = sold + 1 WHERE draw_id = $1 RETURNING sold",
            "INSERT INTO payments (id, user_id, kind, status, amount, method, draw_id, lines, created_at, updated_at)
             VALUES ($1, $2, 'purchase', 'paid', $3, 'wallet', $4, 1, now(), now())",
            "INSERT INTO tickets (user_id, id, payment_id, draw_id, number, pick, origin, status)
             VALUES ($1, $2, $3, $4, $5, $6, 'quick_pick', 'paid')",
            "INSERT INTO transfers (user_id, debit, credit, amount, kind, reference, balance_after, created_at)
             VALUES ($1, $2, $3, $4, 'purchase', $5, $6, now())",
        ];
        let mut statements = Vec::new();
        for sql in sql {
            statements.push(db.prepare(sql).await.unwrap());
        }
        Naive { db, statements: statements.try_into().unwrap() }
    }

    async fn buy(&self, draw: DrawId, user: i64, payment: Uuid, ticket: Uuid) {
        let (db, [pay, earn, count, payments, tickets, transfers]) = (&self.db, &self.statements);
        let (wallet, escrow) = (user * 8 + 1, draw.0 * 8 + 3);
        db.batch_execute("BEGIN").await.unwrap();
        let left: i64 = db.query_one(pay, &[&wallet, &PRICE]).await.unwrap().get(0);
        db.execute(payments, &[&payment, &user, &PRICE, &draw.0]).await.unwrap();
        db.execute(transfers, &[&user, &wallet, &escrow, &PRICE, &payment, &left]).await.unwrap();
        db.execute(earn, &[&escrow, &PRICE]).await.unwrap();
        let number: i64 = db.query_one(count, &[&draw.0]).await.unwrap().get(0);
        db.execute(tickets, &[&user, &ticket, &payment, &draw.0, &number, &31_i64]).await.unwrap();
        db.batch_execute("COMMIT").await.unwrap();
    }
}

/// The head of a purchase by each player, before the optional key and the body. The tokens are issued here: hundreds of
/// log-ins would take longer than the measurement.
fn requests(world: &World, draw: DrawId) -> Vec<String> {
    let (state, now) = (&world.app.state, Clock::system().now());
    let request = |user| {
        let token = state.tokens.issue(UserId(user), SessionId(Uuid::nil()), now);
        format!(
            "POST /api/v1/draws/{draw}/tickets HTTP/1.1\r\nHost: lottery\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}\r\n",
            BODY.len()
        )
    };
    (1..=USERS).map(request).collect()
}

const BODY: &str = r#"{"tickets":[{"quick_pick":true}],"payment":"wallet"}"#;

fn purchases(criterion: &mut Criterion) {
    let system = System::new();
    let world = system.block_on(World::new());
    let (in_memory, memory_draw) = system.block_on(actors(&world));
    let (clock, state) = (Clock::system(), &world.app.state);
    let draw = system.block_on(open_draw(&state.draws, &clock));
    let requests = requests(&world, draw);

    let mut group = criterion.benchmark_group("purchase");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(1));
    group.warm_up_time(Duration::from_secs(2)).measurement_time(Duration::from_secs(8));

    group.bench_function("registry and actor, nothing written", |bencher| {
        bencher.iter_custom(|count| {
            system.block_on(spread(count, 256, async |n, share| {
                let user = UserId(n as i64 + 1);
                for _ in 0..share {
                    let lines = vec![LineRequest::QuickPick];
                    in_memory.order(memory_draw, user, lines, true, None, None).await.unwrap();
                }
            }))
        });
    });

    for (keyed, at_a_time) in [(false, 64), (false, 256), (true, 64), (true, 256)] {
        let keys = if keyed { ", with keys" } else { "" };
        let name = format!("over HTTP, durable, {at_a_time} connections{keys}");
        let mut connections: Vec<_> = (0..at_a_time)
            .map(|_| tokio::sync::Mutex::new(system.block_on(Connection::open(world.app.address))))
            .collect();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                system.block_on(spread(count, at_a_time, async |n, share| {
                    let mut connection = connections[n as usize].lock().await;
                    for turn in 0..share {
                        let head = &requests[((n + turn * at_a_time) % USERS as u64) as usize];
                        let key = match keyed {
                            true => format!("Idempotency-Key: {}\r\n", Uuid::from_u128(rand::random())),
                            false => String::new(),
                        };
                        assert!(connection.ask(format!("{head}{key}\r\n{BODY}").as_bytes()).await);
                    }
                }))
            });
        });
        connections.clear();
    }

    let ids = Ids::new();
    for at_a_time in [4, 16] {
        let naive: Vec<Naive> = (0..at_a_time).map(|_| system.block_on(Naive::new(&world))).collect();
        let draw = system.block_on(open_draw(&state.draws, &clock));
        group.bench_function(format!("naive, a transaction each, {at_a_time} connections"), |bencher| {
            bencher.iter_custom(|count| {
                system.block_on(spread(count, at_a_time, async |n, share| {
                    for turn in 0..share {
                        let user = ((n + turn * at_a_time) % USERS as u64) as i64 + 1;
                        let (payment, ticket) = (ids.next(clock.now()), ids.next(clock.now()));
                        naive[n as usize].buy(draw, user, payment, ticket).await;
                    }
                }))
            });
        });
    }
    group.finish();
    drop(in_memory);
    system.block_on(world.close());
}

criterion_group!(benches, purchases);
criterion_main!(benches);
