//! A service that is replaced while it charges a card. Its successor finds out what Stripe did, and what Stripe did not
//! do, Stripe refuses from then on. Here the replaced service is a second [`Charges`] with requests of its own; in the
//! last test it is a process.

use lottery::charges::Charges;
use lottery::db::connect;
use lottery::domain::charge::ChargeName;
use lottery::domain::draw::SaleError;
use lottery::domain::id::{DrawId, PaymentId};
use lottery::domain::money::Money;
use lottery::domain::payment::Payment;
use lottery::domain::record::Charge;
use lottery::payment::{CardToken, ChargeOrder, Provider, Signing, Stripe};
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;

use super::waiting::begun;
use super::*;
use crate::command::{database, program_on, program_with_database};
use crate::common::postgres::END_OTHER_SESSIONS;
use crate::common::process::{Program, READY};

/// Stripe, as another service calls it.
fn provider(world: &World, stand_in: &StandIn) -> Stripe {
    let clock = world.clock.clone();
    Stripe::new(&stand_in.url, KEY.into(), Signing::new(WEBHOOK_SECRET.into()), move || clock.now()).unwrap()
}

/// The charges of another service on the same database.
fn other_service(
    world: &World,
    stand_in: &StandIn,
    may_act: impl Fn() -> bool + Send + Sync + 'static,
) -> Charges {
    let (state, provider) = (&world.app().state, Arc::new(provider(world, stand_in)));
    let (draws, persistence, db) = (state.draws.clone(), state.persistence.clone(), state.db.clone());
    Charges::new(provider, Arc::new(may_act), draws, persistence, db, world.clock.clone(), state.currency)
}

fn token(text: &str) -> CardToken {
    CardToken::parse(text).unwrap()
}

/// The order that charges the card for this payment.
fn order_of(payment: &Value, card: &str) -> ChargeOrder {
    let name: ChargeName = key(payment).parse().unwrap();
    let amount = Money::new(payment["amount"].as_i64().unwrap());
    let currency = "RUB".parse().unwrap();
    ChargeOrder { name, amount, currency, card: token(card), may_act: Arc::new(|| true) }
}

/// Lets another service charge a card for a reservation of the draw.
fn charge_elsewhere(
    world: &World,
    stripe: &StandIn,
    (draw, who): (i64, &User),
    payment: &str,
    card: &str,
) -> JoinHandle<Result<Payment, SaleError>> {
    let (other, user, card) = (other_service(world, stripe, || true), who.id, token(card));
    let payment = PaymentId(payment.parse().unwrap());
    actix_web::rt::spawn(async move { other.charge(DrawId(draw), user, payment, card, None).await })
}

async fn only_payment(who: &User) -> Value {
    let payments = who.all("/payments").await;
    assert_eq!(payments.len(), 1);
    payments[0].clone()
}

/// Lets the service ask Stripe once more, and waits for the result. The time of the reservations does not pass with the
/// waiting.
async fn until_status(world: &World, who: &User, payment: &str, status: &str) {
    world.advance(SignedDuration::from_mins(1));
    let is_status = async || super::payment(who, payment).await["status"] == status;
    until(&format!("the payment is {status}"), is_status).await;
}

/// Lets three rounds go by that do not find the only charge: each reads the three parts of the search.
async fn three_rounds(world: &World, stripe: &StandIn) {
    for _ in 0..3 {
        let pages = stripe.with(|books| books.pages);
        world.advance(SignedDuration::from_mins(1));
        until("a round has searched", || async { stripe.with(|books| books.pages) >= pages + 3 }).await;
    }
}

fn is_key_used(stripe: &StandIn, key: &str) -> bool {
    stripe.with(|books| books.answers.contains_key(key))
}

#[actix_web::test]
async fn a_charge_that_never_reached_stripe_is_ended_and_stripe_refuses_it_from_then_on() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let lost = begun(&world, &ann).await;
    let processing = payment(&ann, &lost).await;
    until_status(&world, &ann, &lost, "failed").await;
    assert_eq!(payment(&ann, &lost).await["failure_code"], "not_charged");
    let closing = stripe.with(|books| books.intents[0].clone());
    assert_eq!((&closing["status"], &closing["amount"]), (&json!("canceled"), &json!(500)));
    event(&world, "payment_intent.canceled", &closing).await.expect(200);

    // The service that began the charge goes on.
    let late = provider(&world, &stripe).charge(order_of(&processing, "pm_visa")).await;
    assert_eq!((late.charge, stripe.taken()), (Charge::Processing, 0));
    assert_eq!(stripe.with(|books| books.intents.len()), 1);
    assert_eq!(ann.balance().await, 0);
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_call_of_a_replaced_service_that_arrives_late_is_refused() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let other = other_service(&world, &stripe, || true);
    let user = ann.id;
    let call =
        actix_web::rt::spawn(async move { other.deposit(user, Money::new(500), token("pm_delayed"), None).await });
    until("the call is on its way", || async { stripe.with(|books| books.on_the_road) == 1 }).await;
    let lost = id(&only_payment(&ann).await).to_owned();
    until_status(&world, &ann, &lost, "failed").await;

    stripe.with(|books| books.road.notify_one());
    let told = call.await.unwrap().unwrap();
    assert_eq!((told.status.as_str(), told.failure_code.as_deref()), ("failed", Some("not_charged")));
    assert_eq!((ann.balance().await, stripe.taken()), (0, 0));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_service_that_may_not_act_any_more_charges_nothing() {
    let (world, stripe) = world().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 1).await;
    let ann = world.player("ann").await;
    let invoice = ann.reserve(draw).await;
    let bill = id(&invoice["payment"]);
    let other = other_service(&world, &stripe, || false);

    stripe.with(|books| books.wrong = Some(("currency", json!("usd"))));
    let waits = deposit(&world.player("bob").await, 70, "pm_visa").await;
    assert_eq!(waits["status"], "processing");
    stripe.with(|books| books.wrong = None);

    let refused = other.deposit(ann.id, Money::new(500), token("pm_visa"), None).await;
    assert_eq!(refused, Err(SaleError::OutcomeUnknown));
    let payment_id = PaymentId(bill.parse().unwrap());
    let refused = other.charge(DrawId(draw), ann.id, payment_id, token("pm_visa"), None).await;
    assert_eq!(refused, Err(SaleError::OutcomeUnknown));
    // Its rounds leave the charges alone, too: they may be in progress at the service that may act. A round has ended
    // when it has counted the charge that waits for an admin.
    let asked = stripe.with(|books| books.pages);
    let round = actix_web::rt::spawn(other.clone().reconcile());
    until("a round is over", || async { other.waiting() == 1 }).await;
    assert_eq!((stripe.with(|books| books.answers.len()), stripe.with(|books| books.pages)), (1, asked));
    round.abort();

    let statuses = async || ann.all("/payments").await.iter().map(|it| it["status"].clone()).collect::<Vec<_>>();
    assert_eq!(statuses().await, ["processing", "processing"]);
    world.advance(SignedDuration::from_mins(1));
    let both_ended = async || statuses().await == ["failed", "pending"];
    until("the service that may act ends both", both_ended).await;
    assert_eq!(ann.pay(bill, card("pm_visa")).await.expect(200)["status"], "paid");
    assert_eq!((ann.balance().await, stripe.taken()), (0, 70 + PRICE));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_call_whose_answer_is_lost_is_not_repeated_by_a_service_that_may_not_act_any_more() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let books = stripe.books.clone();
    let other = other_service(&world, &stripe, move || books.lock().unwrap().lost == 0);
    let unknown = other.deposit(ann.id, Money::new(500), token("pm_lost_once"), None).await.unwrap();
    assert_eq!(unknown.status.as_str(), "processing", "a second call would have had the first answer");
    until_status(&world, &ann, &unknown.id.to_string(), "paid").await;
    assert_eq!((ann.balance().await, stripe.taken()), (500, 500));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_ticket_whose_card_was_charged_by_a_replaced_service_is_paid_once() {
    let (world, stripe) = world().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 1).await;
    let ann = world.player("ann").await;
    let invoice = ann.reserve(draw).await;
    let bill = id(&invoice["payment"]).to_owned();
    let call = charge_elsewhere(&world, &stripe, (draw, &ann), &bill, "pm_held");
    until("the card is charged", || async { stripe.taken() == PRICE }).await;
    until_status(&world, &ann, &bill, "paid").await;
    assert_eq!(ticket(&ann, id(&invoice["tickets"][0])).await["status"], "paid");

    // The other service hears the answer after all.
    stripe.with(|books| books.gate.notify_one());
    call.await.unwrap().unwrap_err();
    assert_eq!((ann.balance().await, stripe.taken()), (0, PRICE));
    world.check_invariants().await;
}

#[actix_web::test]
async fn money_that_is_taken_although_the_charge_was_ended_goes_to_the_wallet() {
    let (world, stripe) = world().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 1).await;
    let ann = world.player("ann").await;
    let invoice = ann.reserve(draw).await;
    let bill = id(&invoice["payment"]).to_owned();
    let call = charge_elsewhere(&world, &stripe, (draw, &ann), &bill, "pm_delayed");
    until("the call is on its way", || async { stripe.with(|books| books.on_the_road) == 1 }).await;
    until_status(&world, &ann, &bill, "pending").await;
    // Stripe has forgotten the key meanwhile, as it may after a day.
    stripe.with(|books| {
        books.answers.clear();
        books.road.notify_one();
    });
    call.await.unwrap().unwrap();
    let intent = stripe.intent(&invoice["payment"]);
    event(&world, "payment_intent.succeeded", &intent).await.expect(200);
    assert_eq!((ann.balance().await, stripe.taken()), (PRICE, PRICE));
    assert_eq!(admin.all("/admin/charges?status=late").await.len(), 1);
    world.check_invariants().await;
}

#[actix_web::test]
async fn two_services_that_end_the_same_charges_end_each_once() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let taken = deposit(&ann, 70, "pm_lost").await;
    stripe.with(|books| books.broken = false);
    let mut lost = Vec::new();
    for _ in 0..4 {
        lost.push(begun(&world, &ann).await);
    }
    let other = actix_web::rt::spawn(other_service(&world, &stripe, || true).reconcile());
    for payment in &lost {
        until_status(&world, &ann, payment, "failed").await;
    }
    until_status(&world, &ann, id(&taken), "paid").await;
    other.abort();
    let (intents, keys) = stripe.with(|books| (books.intents.len(), books.answers.len()));
    assert_eq!((intents, keys), (5, 5), "each key is used once");
    assert_eq!((ann.balance().await, stripe.taken()), (70, 70));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_charge_whose_key_cannot_be_used_up_goes_on_processing_until_it_can() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let lost = begun(&world, &ann).await;
    stripe.with(|books| books.refuses_closing = true);
    three_rounds(&world, &stripe).await;
    assert_eq!(payment(&ann, &lost).await["status"], "processing");
    stripe.with(|books| books.refuses_closing = false);
    until_status(&world, &ann, &lost, "failed").await;
    assert_eq!(ann.balance().await, 0);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_charge_that_is_not_listed_yet_is_not_ended() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let made = deposit(&ann, 500, "pm_lost").await;
    stripe.with(|books| (books.broken, books.unlisted) = (false, true));
    three_rounds(&world, &stripe).await;
    assert_eq!(payment(&ann, id(&made)).await["status"], "processing");
    let intent = stripe.intent(&made);
    let tell = || event(&world, "payment_intent.succeeded", &intent);
    let told = join_all([tell(), tell()]);
    world.advance(SignedDuration::from_mins(1));
    for answer in told.await {
        answer.expect(200);
    }
    assert_eq!(payment(&ann, id(&made)).await["status"], "paid");
    assert_eq!((ann.balance().await, stripe.taken()), (500, 500));
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_unused_key_proves_nothing_when_stripe_may_have_forgotten_it() {
    let (world, stripe) = world().await;
    let admin = world.admin().await;
    let ann = world.player("ann").await;
    let lost = begun(&world, &ann).await;
    let key = key(&payment(&ann, &lost).await);
    world.advance(SignedDuration::from_hours(13));
    until("the key is used up", || async { is_key_used(&stripe, &key) }).await;
    world.advance(SignedDuration::from_mins(1));
    assert_eq!(payment(&ann, &lost).await["status"], "processing");
    world.advance(SignedDuration::from_hours(11));
    let waiting = async || admin.all("/admin/charges?status=waiting").await;
    until("it waits for an admin", async || {
        world.advance(SignedDuration::from_mins(1));
        waiting().await.len() == 1
    })
    .await;
    assert_eq!(waiting().await[0]["issue"], "not_found");
    world.check_invariants().await;
}

#[actix_web::test]
async fn while_the_clock_is_not_trusted_no_charge_is_ended_as_not_made() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let lost = begun(&world, &ann).await;
    let key = key(&payment(&ann, &lost).await);
    let hours = SignedDuration::from_hours(3);
    world.clock.set_wall(-hours);
    world.advance(SignedDuration::from_mins(1));
    until("the key is used up", || async { is_key_used(&stripe, &key) }).await;
    world.advance(SignedDuration::from_mins(1));
    assert_eq!(payment(&ann, &lost).await["status"], "processing");
    world.clock.set_wall(hours);
    until_status(&world, &ann, &lost, "failed").await;
    world.check_invariants().await;
}

/// A program with a database of its own that charges cards at the stand-in.
async fn program(stripe: &StandIn) -> Program {
    with_stripe(program_with_database().await, stripe)
}

fn with_stripe(program: Program, stripe: &StandIn) -> Program {
    [("PROVIDER", "stripe"), ("STRIPE_KEY", KEY), ("STRIPE_URL", &stripe.url), ("WEBHOOK_SECRET", WEBHOOK_SECRET)]
        .into_iter()
        .fold(program, |program, (name, value)| program.with(&format!("LOTTERY__PAYMENTS__{name}"), value))
}

/// A deposit whose call of Stripe is on its way. The answer's status and code.
async fn deposit_on_its_way(stripe: &StandIn, ann: &User) -> JoinHandle<Option<(u16, Value)>> {
    let request = ann.request(reqwest::Method::POST, "/wallet/deposits");
    let request = request.json(&json!({"amount": 500, "token": "pm_delayed"}));
    let call = actix_web::rt::spawn(async move {
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json::<Value>().await.ok()?["code"].clone()))
    });
    until("the call is on its way", || async { stripe.with(|books| books.on_the_road) == 1 }).await;
    call
}

#[actix_web::test]
async fn a_slow_provider_does_not_delay_a_handover() {
    let stripe = StandIn::start().await;
    let program = program(&stripe).await;
    let first = program.start().await;
    let ann = first.player("ann").await;
    let standby = with_stripe(program_on(&database(&program)), &stripe);
    let mut second = standby.stand_by().await;
    let call = deposit_on_its_way(&stripe, &ann).await;
    first.signal(Signal::SIGTERM);
    second.logged(READY).await;
    // Stripe answers nobody before this.
    assert_eq!(call.await.unwrap(), Some((503, json!("outcome_unknown"))));
    let ann = ann.moved_to(&second.address);
    until("the second service ends the charge", || async {
        only_payment(&ann).await["failure_code"] == "not_charged"
    })
    .await;
    stripe.with(|books| books.road.notify_one());
    let (status, log) = first.ended().await;
    assert_eq!(status.code(), Some(0));
    let line = |text: &str| log.iter().position(|line| line.contains(text));
    let (handed_over, answered) =
        (line("before the payment provider's answer"), line("the last request is answered"));
    assert!(handed_over.is_some() && handed_over < answered, "the call's own limit ended it:\n{}", log.join("\n"));
    assert_eq!((ann.balance().await, stripe.taken()), (0, 0));
    let checked = program.run(&["check"]).await;
    assert!(checked.status.success(), "{checked:?}");
    second.stop().await;
}

#[actix_web::test]
async fn a_stopped_process_that_goes_on_after_its_successor_has_begun_charges_nothing() {
    let stripe = StandIn::start().await;
    let program = program(&stripe).await;
    let first = program.start().await;
    let ann = first.player("ann").await;
    let call = deposit_on_its_way(&stripe, &ann).await;
    first.signal(Signal::SIGSTOP);
    let sql = connect(&database(&program)).await.unwrap();
    sql.query(END_OTHER_SESSIONS, &[]).await.unwrap();

    let second = program.start().await;
    let ann = ann.moved_to(&second.address);
    until("the second service ends the charge", || async {
        only_payment(&ann).await["failure_code"] == "not_charged"
    })
    .await;
    stripe.with(|books| books.road.notify_one());
    first.signal(Signal::SIGCONT);
    let (status, log) = first.ended().await;
    assert_eq!(status.code(), Some(75), "{}", log.join("\n"));
    call.await.unwrap();
    assert_eq!((ann.balance().await, stripe.taken()), (0, 0));
    assert_eq!(only_payment(&ann).await["status"], "failed");
    let checked = program.run(&["check"]).await;
    assert!(checked.status.success(), "{checked:?}");
    second.stop().await;
}
