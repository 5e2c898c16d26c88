//! The domain's decisions alone, without actors and database: how many tickets per second the domain could sell if
//! nothing else took time, and how many receipts it could write. The other layers have their own benches.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};
use lottery::clock::Ids;
use lottery::domain::batch_state::BatchState;
use lottery::domain::draw::{Draw, DrawState, LineRequest, OrderRequest, Times};
use lottery::domain::game::Game;
use lottery::domain::id::{DrawId, LotteryId, PaymentId, UserId};
use lottery::domain::ledger::{AccountId, Ledger};
use lottery::domain::log_keys::{LogKeys, LogOrigin};
use lottery::domain::lottery::{DrawStatus, Rules};
use lottery::domain::money::{Money, Share};
use lottery::domain::pool::Pool;
use lottery::domain::prize::{Award, PrizeTable, Tier};
use lottery::domain::record::Record;
use lottery::domain::rows::{Changes, DrawSales};
use lottery::domain::ticket_log::{Receipt, TicketLog, TicketLogs};
use rand::SeedableRng;
use rand::rngs::StdRng;
use uuid::Uuid;
use verifiable_draw::keys::MasterSecret;

/// Records in one transaction.
const BATCH: usize = 512;
/// Buyers, each with its own wallet.
const USERS: i64 = 256;
const DRAW: DrawId = DrawId(1);
/// Tickets sold before, one in each order.
const SOLD: i64 = 100_000;

fn open_draw(now: Timestamp) -> Draw {
    let game = Game::new(5, 36).expect("a valid game");
    let share = Share::new(10_000).expect("the whole");
    let tiers = vec![Tier { matches: 5, award: Award::Shared { share, minimum: None } }];
    let rules = Rules {
        lottery: LotteryId("5of36".to_owned()),
        game,
        price: Money::new(10_000),
        fund_share: Share::new(5_000).expect("a half"),
        prizes: PrizeTable::new(game, tiers).expect("a valid table"),
    };
    let end = now + SignedDuration::from_hours(1);
    Draw::new(DrawState {
        id: DRAW,
        number: 1,
        rules: rules.into(),
        times: Times { sales_open_at: None, sales_close_at: end, draw_at: end },
        status: DrawStatus::Open,
        fairness: None,
        round: None,
        epoch: 1,
        sold: 0,
        pool: Pool::default(),
        reservations: HashMap::new(),
        winning: None,
        cancel_reason: None,
        rolled_back: None,
    })
}

/// The draw's ticket log, with many orders.
fn ticket_log() -> TicketLog {
    let origin = LogOrigin::of_url("https://lottery.example").expect("an origin");
    let logs = TicketLogs::new(Arc::new(LogKeys::new(MasterSecret::new([7; 32]), origin)));
    let mut log = TicketLog::empty(logs.keys(DRAW));
    let pick = Game::new(5, 36).expect("a game").unrank(0);
    for first in 1..=SOLD {
        let payment = PaymentId(Uuid::from_u128(first as u128));
        log.append(first, payment, UserId(1), std::iter::once(pick)).expect("an order");
    }
    log.finish();
    log
}

fn batch_state(log: &TicketLog) -> BatchState {
    let wallets = (1..=USERS).map(|user| (AccountId::wallet(UserId(user)), Money::new(1_000_000_000)));
    BatchState {
        currency: "RUB".parse().expect("a currency"),
        ledger: Ledger::new(wallets.chain([(AccountId::escrow(DRAW), Money::ZERO)])),
        draws: HashMap::from([(DRAW, DrawSales { epoch: 1, sold: SOLD, log: Some(log.clone()) })]),
        faulty_logs: HashMap::new(),
        payments: HashMap::new(),
        charges: BTreeMap::new(),
        keys: HashMap::new(),
        changes: Changes::default(),
    }
}

fn sale(criterion: &mut Criterion) {
    let now = Timestamp::from_second(1_900_000_000).expect("a time");
    let mut group = criterion.benchmark_group("sale");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("decide and apply", |bencher| {
        let (mut draw, ids, log) = (open_draw(now), Ids::new(), ticket_log());
        let mut rng = StdRng::seed_from_u64(1);
        bencher.iter(|| {
            let mut state = batch_state(&log);
            let records: Vec<Record> = (0..BATCH as i64)
                .map(|turn| {
                    let user = UserId(turn % USERS + 1);
                    let ask = OrderRequest { user, lines: vec![LineRequest::QuickPick], reserve: None, key: None };
                    Record::Order(draw.order(ask, now, || ids.next(now), &mut rng).expect("the draw is open"))
                })
                .collect();
            for record in &records {
                let answer = state.apply(record);
                assert!(answer.is_ok(), "every wallet is full");
                draw.answered(record, &answer);
            }
            let log = state.draws.get_mut(&DRAW).and_then(|sales| sales.log.as_mut());
            black_box(log.map(TicketLog::finish));
            black_box(state)
        });
    });
    group.bench_function("receipts", |bencher| {
        let (log, pick) = (ticket_log(), Game::new(5, 36).expect("a game").unrank(0));
        bencher.iter_batched(
            || {
                let mut log = log.clone();
                let one = |turn: usize| {
                    let payment = PaymentId(Uuid::from_u128(turn as u128));
                    let first = SOLD + 1 + turn as i64;
                    log.append(first, payment, UserId(1), std::iter::once(pick)).expect("an order")
                };
                let receipts: Vec<_> = (0..BATCH).map(one).collect();
                log.finish();
                receipts
            },
            |receipts| {
                let written = |it: &Receipt| {
                    let mut json = Vec::with_capacity(2 * 1024);
                    it.write_json_proof(&mut json).map_or(0, |()| json.len())
                };
                receipts.iter().map(written).sum::<usize>()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, sale);
criterion_main!(benches);
