//! A panic in one draw's actor does not affect other draws, and the draw is loaded again in its committed state.
//! Tested with the actors and a real Postgres, without HTTP.

use std::time::Duration;

use jiff::Timestamp;
use private_postgres::PostgresServer;

use super::*;
use crate::actors::lease::Lease;
use crate::actors::messages::PanicActor;
use crate::actors::persistence::{WriteLimits, WriterMetrics, insert_user, nodes, write_first_entry};
use crate::actors::public_log::PublicLog;
use crate::beacon::DrandClient;
use crate::clock::Ids;
use crate::db::{migrate, private_server_options};
use crate::domain::draw::{OrderRefusal, TooManyReservations};
use crate::domain::game::Game;
use crate::domain::id::LotteryId;
use crate::domain::log_entry::entry_mac;
use crate::domain::lottery::DrawStatus;
use crate::domain::money::{Currency, Money, Share};
use crate::domain::payment::PaymentStatus;
use crate::domain::prize::{Award, PrizeTable, Tier};
use crate::domain::public_log::heads;
use crate::domain::record::{BeginDeposit, Charge, EndCharge};
use crate::domain::ticket_log::test_logs;
use crate::domain::user::{Email, Role, Username};

fn rules() -> Rules {
    let game = Game::new(5, 36).unwrap();
    let tiers =
        vec![Tier { matches: 5, award: Award::Shared { share: Share::new(10_000).unwrap(), minimum: None } }];
    Rules {
        lottery: LotteryId("5of36".to_owned()),
        game,
        price: Money::new(100),
        fund_share: Share::new(5_000).unwrap(),
        prizes: PrizeTable::new(game, tiers).unwrap(),
    }
}

/// The first user, an admin, who requests the steps.
const ADMIN: AuditActor = AuditActor::of(UserId(1));

/// The actors over an empty database.
async fn draws(server: &PostgresServer, snapshots: &DrawSnapshots) -> Draws {
    let config = server.connection();
    migrate(&config).await.unwrap();
    let db = Db::new(&config, 4).unwrap();
    let currency: Currency = "RUB".parse().unwrap();
    let limits = WriteLimits { batch: 512, queue: 1_024, deadline: Duration::from_secs(5) };
    let node = nodes::insert(&db.client().await.unwrap(), "", "", "").await.unwrap();
    let lease = Lease::endless(node);
    let meters = WriterMetrics::none();
    let persistence =
        Persistence::start((config, lease), db.clone(), currency, test_logs(), snapshots.clone(), limits, meters);
    let (name, email) = (Username::parse("boss").unwrap(), Email::parse("boss@example.com").unwrap());
    let admin = insert_user(&db, (&name, &email, None), "-", Role::Admin, noon()).await.unwrap().unwrap();
    assert_eq!(admin.id, ADMIN.user);
    persistence.ensure_lotteries([rules().lottery].iter()).await.unwrap();
    let reservation = SignedDuration::from_mins(5);
    let terms = FairnessTerms::default();
    let options = DrawOptions { in_flight: 64, open_reservations: Some(2), pool_limit: 100, reservation, terms };
    let rounds = Arc::new(DrandClient::new(&[], metrics::Counter::noop()).unwrap());
    let data_dir = tempfile::tempdir().unwrap();
    let public_log =
        PublicLog::open(db.clone(), persistence.ticket_logs().log_keys(), data_dir.path(), None, None)
            .await
            .unwrap();
    let clock = Clock::manual(noon());
    Draws::start((db, public_log), persistence, snapshots.clone(), clock, options, rounds).await.unwrap()
}

fn noon() -> Timestamp {
    "2030-05-01T12:00:00Z".parse().unwrap()
}

/// A player with 1,000 in the wallet.
async fn player(draws: &Draws, db: &Db) -> UserId {
    let (name, email) = (Username::parse("ann").unwrap(), Email::parse("ann@example.com").unwrap());
    let user = insert_user(db, (&name, &email, None), "-", Role::Player, noon()).await.unwrap().unwrap().id;
    let payment = PaymentId(Ids::new().next(noon()));
    let begin = BeginDeposit { user, payment, amount: Money::new(1_000), at: noon(), key: None };
    let (begun, charge, at) = (noon(), Charge::Paid, noon());
    let end = EndCharge { held: None, user, payment, begun, charge, admin: None, at, key: None };
    for record in [Record::BeginDeposit(begin), Record::EndCharge(end)] {
        draws.persistence.write(record, None).await.unwrap().unwrap();
    }
    user
}

/// Draws on a database of their own, and a player.
struct TestDraws {
    directory: tempfile::TempDir,
    server: PostgresServer,
    snapshots: DrawSnapshots,
    draws: Draws,
    db: Db,
    ann: UserId,
}

impl TestDraws {
    async fn start() -> TestDraws {
        let directory = tempfile::tempdir().unwrap();
        let server = PostgresServer::start(&private_server_options(directory.path())).await.unwrap();
        let snapshots = DrawSnapshots::default();
        let draws = draws(&server, &snapshots).await;
        let db = Db::new(server.connection(), 1).unwrap();
        let ann = player(&draws, &db).await;
        TestDraws { directory, server, snapshots, draws, db, ann }
    }
}

async fn new_draw(draws: &Draws) -> DrawId {
    let close = noon() + SignedDuration::from_hours(1);
    let times = Times { sales_open_at: None, sales_close_at: close, draw_at: close };
    let id = draws.create(&rules(), &times, None).await.unwrap();
    draws.add_to_pool(id, 3, None, Some(ADMIN)).await.unwrap();
    id
}

async fn open_draw(draws: &Draws) -> DrawId {
    let id = new_draw(draws).await;
    assert_eq!(draws.step(id, Step::Open, String::new(), ADMIN).await, Ok(true));
    id
}

#[actix_web::test]
async fn a_panic_in_one_draw_harms_no_other_and_the_draw_comes_back_as_it_was() {
    let TestDraws { directory: _directory, server, snapshots, draws, db, ann } = TestDraws::start().await;
    let (lost, other) = (open_draw(&draws).await, open_draw(&draws).await);
    let any = || vec![LineRequest::FromPool];
    let reserved = draws.order(lost, ann, any(), false, None, None).await.unwrap().order.payment;

    // One order is in flight when the actor panics: it is written, and its buyer gets the answer.
    let under_way = draws.order(lost, ann, any(), true, None, None);
    let panic = async {
        draws.registry.do_send(PanicActor(lost));
    };
    let (under_way, ()) = tokio::join!(biased; under_way, panic);
    assert_eq!(under_way.unwrap().first_number, Some(1));
    assert_eq!(draws.order(other, ann, any(), true, None, None).await.unwrap().first_number, Some(1));

    // The result of a request that the panicking actor received is unknown. Later requests wait until the draw is
    // loaded again.
    while draws.step(lost, Step::Open, String::new(), ADMIN).await != Ok(true) {}
    let view = snapshots.draw(lost).unwrap();
    assert_eq!((view.status, view.sold, view.available), (DrawStatus::Open, 1, 1));
    // What is reserved was counted again with the load, once, and together with the other draws.
    let too_many = OrderRefusal::from(TooManyReservations { open: 1, limit: 2 });
    for draw in [lost, other] {
        let two = vec![LineRequest::QuickPick; 2];
        assert_eq!(draws.order(draw, ann, two, false, None, None).await, Err(too_many.clone().into()));
    }
    draws.order(other, ann, vec![LineRequest::QuickPick], false, None, None).await.unwrap();
    assert_eq!(draws.pay(lost, ann, reserved, None, None).await.unwrap().status, PaymentStatus::Paid);
    assert_eq!(draws.order(lost, ann, any(), true, None, None).await.unwrap().first_number, Some(3));
    assert_eq!(draws.order(lost, ann, any(), true, None, None).await, Err(OrderRefusal::PoolEmpty.into()));
    assert_eq!(draws.step(lost, Step::Close, String::new(), ADMIN).await, Ok(true));
    drop((draws, db));
    server.stop().await.unwrap();
}

#[actix_web::test]
async fn a_draw_that_is_loaded_again_sells_nothing_before_its_announcement_is_published() {
    let TestDraws { directory: _directory, server, draws, db, ann, .. } = TestDraws::start().await;
    let draw = new_draw(&draws).await;
    // Before the announcement stands an entry that is not published.
    let sql = db.dedicated().await.unwrap();
    // Without the triggers of the table.
    sql.batch_execute("SET session_replication_role = replica").await.unwrap();
    let entry = heads(&[], None, noon()).to_bytes().unwrap();
    write_first_entry(&sql, &entry, &[0; 32]).await.unwrap();
    let opening = actix::spawn({
        let draws = draws.clone();
        async move { draws.step(draw, Step::Open, String::new(), ADMIN).await }
    });
    let is_open = "SELECT status = 'open' FROM draws WHERE id = $1";
    while !sql.query_one(is_open, &[&draw.0]).await.unwrap().get::<_, bool>(0) {}

    draws.registry.do_send(PanicActor(draw));
    let order = async || draws.order(draw, ann, vec![LineRequest::FromPool], true, None, None).await;
    // What the lost actor had received has no known outcome.
    let mut answer = order().await;
    while answer == Err(SaleError::OutcomeUnknown) {
        answer = order().await;
    }
    assert_eq!(answer, Err(SaleError::Refused(Refusal::Overloaded)));
    assert_eq!(opening.await.unwrap(), Ok(false), "it has no answer");

    let mac = entry_mac(draws.persistence.ticket_logs().log_keys(), 0, None, &entry);
    write_first_entry(&sql, &entry, &mac).await.unwrap();
    while answer.is_err() {
        answer = order().await;
    }
    assert_eq!(answer.unwrap().first_number, Some(1));
    drop((draws, db, sql));
    server.stop().await.unwrap();
}
