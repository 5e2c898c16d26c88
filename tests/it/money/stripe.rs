//! The Stripe provider against a fake of its API, which keeps the charges that it took and can lose answers.

mod reversals;
mod takeover;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use actix_web::web::{Data, Form, Path, Query};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use lottery::config::ProviderKind;
use tokio::sync::Notify;

use super::*;
use crate::webhook::{send, signature};
use crate::world::*;

const KEY: &str = "sk_test_of_the_stand_in";

/// The state of the fake.
#[derive(Default)]
struct BatchState {
    intents: Vec<Value>,
    /// The requests and their answers, kept under idempotency keys.
    answers: HashMap<String, (Parameters, u16, Value)>,
    /// Calls whose answer was lost.
    lost: usize,
    /// Every call is answered with an internal error.
    broken: bool,
    /// Creations of intents without a card are answered with an internal error.
    refuses_closing: bool,
    /// Lists are empty, as if the intents were listed late.
    unlisted: bool,
    /// The next charge is refused with this status, before it is looked at.
    refusal: Option<u16>,
    /// A field that new intents have with another value.
    wrong: Option<(&'static str, Value)>,
    /// How many seconds its clock is ahead of the service's.
    ahead: i64,
    /// Pages of the list that were read.
    pages: usize,
    /// Delays the answers to charges of `pm_held`.
    gate: Arc<Notify>,
    /// Delays charges of `pm_delayed` before Stripe sees them; how many there are.
    road: Arc<Notify>,
    on_the_road: usize,
}

type Parameters = HashMap<String, String>;

type Shared = Data<Mutex<BatchState>>;

/// Starts the fake; returns its address.
struct StandIn {
    books: Shared,
    url: String,
}

impl StandIn {
    async fn start() -> StandIn {
        let books: Shared = Data::new(Mutex::new(BatchState::default()));
        let shared = books.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .route("/v1/payment_intents", web::post().to(create))
                .route("/v1/payment_intents", web::get().to(list))
                .route("/v1/payment_intents/{id}", web::get().to(retrieve))
                .route("/v1/payment_intents/{id}/cancel", web::post().to(cancel))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        StandIn { books, url }
    }

    fn with<T>(&self, look: impl FnOnce(&mut BatchState) -> T) -> T {
        look(&mut self.books.lock().unwrap())
    }

    /// The amount that was taken from cards.
    fn taken(&self) -> i64 {
        let paid = |intent: &&Value| intent["status"] == "succeeded";
        self.with(|books| books.intents.iter().filter(paid).map(|it| it["amount"].as_i64().unwrap()).sum())
    }

    /// The last intent that was created for a payment.
    fn intent(&self, payment: &Value) -> Value {
        let of = |intent: &&Value| intent["metadata"]["payment"] == payment["id"];
        self.with(|books| books.intents.iter().rfind(of).unwrap().clone())
    }
}

fn refusal(status: u16, error: Value) -> HttpResponse {
    HttpResponse::build(status.try_into().unwrap()).json(json!({"error": error}))
}

async fn create(books: Shared, request: HttpRequest, form: Form<Parameters>) -> HttpResponse {
    let is_method = |name: &str| form.get("payment_method").is_some_and(|method| method == name);
    let held = is_method("pm_held");
    if is_method("pm_delayed") {
        let road = books.lock().unwrap().road.clone();
        let passed = road.notified();
        books.lock().unwrap().on_the_road += 1;
        passed.await;
    }
    let answer = charge(&books, &request, &form);
    let gate = books.lock().unwrap().gate.clone();
    if held {
        gate.notified().await;
    }
    answer
}

fn charge(books: &Shared, request: &HttpRequest, form: &Parameters) -> HttpResponse {
    let mut books = books.lock().unwrap();
    let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
    if header("authorization") != format!("Bearer {KEY}") {
        return refusal(401, json!({"type": "invalid_request_error", "message": "Invalid API Key provided"}));
    }
    if books.broken {
        return refusal(503, json!({"type": "api_error"}));
    }
    if let Some(status) = books.refusal.take() {
        return refusal(status, json!({"type": "invalid_request_error", "code": "rate_limit"}));
    }
    let answer = |status: u16, body: &Value| HttpResponse::build(status.try_into().unwrap()).json(body);
    let key = header("idempotency-key");
    if let Some((first, status, body)) = books.answers.get(&key) {
        return if first == form {
            answer(*status, body)
        } else {
            refusal(400, json!({"type": "idempotency_error"}))
        };
    }
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    assert_eq!(field("currency"), "rub");
    let number = books.intents.len();
    if !form.contains_key("confirm") {
        assert!(!form.contains_key("payment_method") && field("description").contains(&key));
        if books.refuses_closing {
            return refusal(500, json!({"type": "api_error"}));
        }
        let intent = json!({
            "id": format!("pi_{number}"), "object": "payment_intent", "status": "requires_payment_method",
            "amount": field("amount").parse::<i64>().unwrap(), "amount_received": 0, "currency": field("currency"),
            "livemode": false, "created": 0, "metadata": {}, "last_payment_error": null, "latest_charge": null,
        });
        books.intents.push(intent.clone());
        books.answers.insert(key, (form.clone(), 200, intent.clone()));
        return answer(200, &intent);
    }
    let method = field("payment_method");
    let status = match method.as_str() {
        "pm_declined" | "pm_poor" | "pm_poor_lost" => "requires_payment_method",
        "pm_async" => "processing",
        "pm_3ds" => "requires_action",
        _ => "succeeded",
    };
    let reason = if method.starts_with("pm_poor") { "insufficient_funds" } else { "generic_decline" };
    let error = json!({"type": "card_error", "code": "card_declined", "decline_code": reason});
    let declined = status == "requires_payment_method";
    let amount: i64 = field("amount").parse().unwrap();
    let begun: jiff::Timestamp = field("metadata[begun]").parse().unwrap();
    let mut intent = json!({
        "id": format!("pi_{number}"), "object": "payment_intent", "status": status,
        "amount": amount, "amount_received": if status == "succeeded" { amount } else { 0 },
        "currency": field("currency"), "livemode": false, "created": begun.as_second() + books.ahead,
        "metadata": {"payment": field("metadata[payment]"), "begun": field("metadata[begun]")},
        "last_payment_error": if declined { error.clone() } else { Value::Null }, "latest_charge": format!("ch_{number}"),
    });
    if let Some((field, value)) = &books.wrong {
        intent[*field] = value.clone();
    }
    if method == "pm_unknown" {
        return refusal(400, json!({"type": "invalid_request_error", "code": "resource_missing"}));
    }
    books.intents.push(intent.clone());
    let first = if declined { (402, json!({"error": error})) } else { (200, intent) };
    books.answers.insert(key, (form.clone(), first.0, first.1.clone()));
    match method.as_str() {
        "pm_lost_once" | "pm_poor_lost" => {
            books.lost += 1;
            refusal(500, json!({"type": "api_error"}))
        }
        "pm_lost" => {
            books.lost += 1;
            books.broken = true;
            refusal(500, json!({"type": "api_error"}))
        }
        _ => match method.strip_prefix("pm_lost_then_") {
            Some(status) => {
                books.lost += 1;
                books.refusal = Some(status.parse().unwrap());
                refusal(500, json!({"type": "api_error"}))
            }
            None => answer(first.0, &first.1),
        },
    }
}

async fn list(books: Shared, query: Query<HashMap<String, String>>) -> HttpResponse {
    let mut books = books.lock().unwrap();
    if books.broken {
        return refusal(503, json!({"type": "api_error"}));
    }
    books.pages += 1;
    let number = |name: &str| query[name].parse::<i64>().unwrap();
    let (from, to) = (number("created[gte]"), number("created[lte]"));
    assert!(from < to);
    // Newest first, and one on each page: the provider has to read several pages.
    let created = |intent: &Value| intent["created"].as_i64().unwrap();
    let mut newest: Vec<&Value> =
        books.intents.iter().rev().filter(|it| (from..=to).contains(&created(it))).collect();
    newest.sort_by_key(|intent| std::cmp::Reverse(created(intent)));
    let mut newest = newest.into_iter();
    if let Some(after) = query.get("starting_after") {
        newest.find(|intent| intent["id"] == *after);
    }
    let page: Vec<&Value> = newest.by_ref().take(if books.unlisted { 0 } else { 1 }).collect();
    HttpResponse::Ok()
        .json(json!({"object": "list", "data": page, "has_more": !page.is_empty() && newest.next().is_some()}))
}

async fn cancel(books: Shared, id: Path<String>) -> HttpResponse {
    let mut books = books.lock().unwrap();
    let intent = books.intents.iter_mut().find(|intent| intent["id"] == **id).unwrap();
    if intent["status"] == "canceled" {
        let error = json!({"type": "invalid_request_error", "code": "payment_intent_unexpected_state"});
        return refusal(400, error);
    }
    intent["status"] = json!("canceled");
    HttpResponse::Ok().json(&*intent)
}

async fn retrieve(books: Shared, id: Path<String>, query: Query<HashMap<String, String>>) -> HttpResponse {
    let books = books.lock().unwrap();
    if books.broken {
        return refusal(503, json!({"type": "api_error"}));
    }
    assert_eq!(query.get("expand[]").map(String::as_str), Some("latest_charge"));
    match books.intents.iter().find(|intent| intent["id"] == **id) {
        Some(intent) => HttpResponse::Ok().json(intent),
        None => refusal(404, json!({"type": "invalid_request_error", "code": "resource_missing"})),
    }
}

/// The idempotency key of the charge that a payment is processing.
fn key(payment: &Value) -> String {
    format!("{}@{}", id(payment), payment["updated_at"].as_str().unwrap())
}

/// An intent that has succeeded.
fn succeeded(intent: &Value) -> Value {
    let mut intent = intent.clone();
    intent["status"] = json!("succeeded");
    intent["amount_received"] = intent["amount"].clone();
    intent
}

async fn world() -> (World, Arc<StandIn>) {
    let stand_in = Arc::new(StandIn::start().await);
    let url = stand_in.url.clone();
    let world = World::with(|config| {
        config.payments.provider = ProviderKind::Stripe;
        config.payments.stripe_key = Some(KEY.into());
        config.payments.stripe_url = url;
        // A token must outlive the day after which a charge counts as never made.
        config.auth.access_token = std::time::Duration::from_secs(72 * 3600);
    })
    .await;
    (world, stand_in)
}

async fn deposit(who: &User, amount: i64, token: &str) -> Value {
    who.post("/wallet/deposits", json!({"amount": amount, "token": token})).await.expect(201)
}

async fn event(world: &World, kind: &str, object: &Value) -> Answer {
    event_at(world, kind, object, world.clock.now().as_second()).await
}

/// An event that happened at this second.
async fn event_at(world: &World, kind: &str, object: &Value, second: i64) -> Answer {
    let event =
        json!({"id": "evt_1", "object": "event", "type": kind, "created": second, "data": {"object": object}});
    let body = event.to_string();
    let signature = signature(WEBHOOK_SECRET, world.clock.now().as_second(), &body);
    send("stripe", Some(&signature), &body, &world.anonymous()).await
}

#[actix_web::test]
async fn the_answer_of_stripe_becomes_the_status_of_the_payment() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    for (token, status, failure) in [
        ("pm_visa", "paid", Value::Null),
        ("pm_declined", "failed", json!("card_declined")),
        ("pm_poor", "failed", json!("insufficient_funds")),
        ("pm_unknown", "failed", json!("invalid_card")),
        ("pm_3ds", "failed", json!("authentication_required")),
        ("pm_async", "processing", Value::Null),
    ] {
        let made = deposit(&ann, 500, token).await;
        assert_eq!((&made["status"], &made["failure_code"]), (&json!(status), &failure), "{token}");
    }
    let refusal = ann.post("/wallet/deposits", json!({"amount": 5, "token": "tok_visa"})).await;
    assert_eq!(refusal.refused(422, "validation_failed")["errors"][0]["field"], "token");
    let left = stripe.with(|books| books.intents.iter().filter(|it| it["status"] == "requires_action").count());
    assert_eq!(left, 0, "what nobody will finish is called off");
    assert_eq!((ann.balance().await, stripe.taken()), (500, 500));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_lost_answer_is_requested_again_and_the_card_is_charged_once() {
    let (mut world, stripe) = world().await;
    let ann = world.player("ann").await;
    assert_eq!(deposit(&ann, 500, "pm_lost_once").await["status"], "paid");
    assert_eq!((stripe.taken(), stripe.with(|books| books.lost)), (500, 1));

    let lost = deposit(&ann, 70, "pm_lost").await;
    assert_eq!(lost["status"], "processing", "nobody knows");
    world.restart().await;
    let ann = world.reconnect(&ann);
    world.advance(SignedDuration::from_mins(20));
    assert_eq!(payment(&ann, id(&lost)).await["status"], "processing", "and it cannot be asked");
    stripe.with(|books| books.broken = false);
    world.advance(SignedDuration::from_mins(1));
    let is_paid = || async { payment(&ann, id(&lost)).await["status"] == "paid" };
    until("it is found among others", is_paid).await;
    assert_eq!((ann.balance().await, stripe.taken()), (570, 570));
    world.check_invariants().await;
}

#[actix_web::test]
async fn after_a_lost_answer_only_the_verdict_on_the_charge_decides() {
    let (world, stripe) = world().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 10).await;
    let ann = world.player("ann").await;
    let declined = deposit(&ann, 500, "pm_poor_lost").await;
    let verdict = (&declined["status"], &declined["failure_code"]);
    assert_eq!(verdict, (&json!("failed"), &json!("insufficient_funds")), "the second answer is the verdict");

    let refusals = [429, 401, 403, 400, 402, 404];
    let mut bills = Vec::new();
    for status in refusals {
        let invoice = ann.reserve(draw).await;
        let bill = ann.pay(id(&invoice["payment"]), card(&format!("pm_lost_then_{status}"))).await.expect(200);
        assert_eq!(bill["status"], "processing", "the card was charged before the {status}");
        ann.pay(id(&bill), card("pm_visa")).await.refused(409, "payment_not_payable");
        bills.push(bill);
    }
    world.advance(SignedDuration::from_mins(1));
    for bill in &bills {
        until("the charge is found", || async { payment(&ann, id(bill)).await["status"] == "paid" }).await;
    }
    assert_eq!((ann.balance().await, stripe.taken()), (0, refusals.len() as i64 * PRICE));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_webhook_that_arrives_before_the_answer_waits_for_the_answer() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let deposit = || {
        let (ann, body) = (ann.clone(), json!({"amount": 500, "token": "pm_held"}));
        async move { ann.post_keyed("/wallet/deposits", "fund", body).await }
    };
    let asked = actix_web::rt::spawn(deposit());
    until("the card is charged", || async { stripe.taken() == 500 }).await;
    let intent = stripe.with(|books| books.intents[0].clone());
    let told = event(&world, "payment_intent.succeeded", &intent);
    tokio::pin!(told);
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut told).await;
    assert!(early.is_err(), "whoever ordered the charge hears of it first");

    stripe.with(|books| books.gate.notify_one());
    let paid = asked.await.unwrap().expect(201);
    assert_eq!(paid["status"], "paid");
    told.await.expect(200);
    assert_eq!(deposit().await.expect(201), paid, "and its key has the answer");
    assert_eq!((ann.balance().await, stripe.taken()), (500, 500));
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_unreachable_provider_charges_nothing() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    let world = World::with(|config| {
        config.payments.provider = ProviderKind::Stripe;
        config.payments.stripe_key = Some("sk_test_of_nobody".into());
        config.payments.stripe_url = url;
    })
    .await;
    let ann = world.player("ann").await;
    let made = deposit(&ann, 500, "pm_visa").await;
    assert_eq!((&made["status"], &made["failure_code"]), (&json!("failed"), &json!("provider_unavailable")));
    world.check_invariants().await;
}

#[actix_web::test]
async fn webhooks_of_stripe_find_the_charge_by_its_metadata_and_a_second_try_is_another_charge() {
    let (world, stripe) = world().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 1).await;
    let ann = world.player("ann").await;
    let slow = deposit(&ann, 500, "pm_async").await;
    let invoice = ann.reserve(draw).await;
    let pay = |token| ann.pay(id(&invoice["payment"]), card(token));
    assert_eq!(pay("pm_declined").await.expect(200)["status"], "pending");
    let first = stripe.intent(&invoice["payment"]);
    let bill = pay("pm_async").await.expect(200);
    let second = stripe.intent(&invoice["payment"]);
    assert_ne!(first["metadata"]["begun"], second["metadata"]["begun"]);
    assert_eq!(second["metadata"]["begun"], bill["updated_at"]);
    assert_eq!(stripe.with(|books| books.answers.len()), 3, "three charges, three keys");

    event(&world, "payment_intent.payment_failed", &first).await.expect(200);
    event(&world, "payment_intent.created", &second).await.expect(200);
    event(&world, "charge.succeeded", &json!({"id": "ch_1", "metadata": {}})).await.expect(200);
    event(&world, "payment_intent.succeeded", &json!({"id": "pi_x", "status": "succeeded"})).await.expect(200);
    assert_eq!(payment(&ann, id(&bill)).await["status"], "processing");
    for _ in 0..2 {
        event(&world, "payment_intent.succeeded", &succeeded(&second)).await.expect(200);
        event(&world, "payment_intent.succeeded", &succeeded(&stripe.intent(&slow))).await.expect(200);
    }
    assert_eq!(payment(&ann, id(&bill)).await["status"], "paid");
    assert_eq!(ann.balance().await, 500);
    send("stripe", Some("t=1,v1=00"), "{}", &world.anonymous()).await.refused(401, "unauthorized");
    world.check_invariants().await;
}

/// Fields of an intent with values that do not agree with a payment of 500 with a key for test money.
fn differences() -> [(&'static str, Value); 5] {
    [
        ("amount_received", json!(499)),
        ("amount_received", Value::Null),
        ("currency", json!("usd")),
        ("livemode", json!(true)),
        ("livemode", Value::Null),
    ]
}

#[actix_web::test]
async fn an_answer_with_other_money_is_not_credited() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    for (field, value) in differences() {
        stripe.with(|books| books.wrong = Some((field, value.clone())));
        let made = deposit(&ann, 500, "pm_visa").await;
        assert_eq!(
            (&made["status"], &made["failure_code"]),
            (&json!("processing"), &Value::Null),
            "{field} {value}"
        );
    }
    assert_eq!(ann.balance().await, 0);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_webhook_with_other_money_is_not_credited() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let slow = deposit(&ann, 500, "pm_async").await;
    let intent = succeeded(&stripe.intent(&slow));
    for (field, value) in differences() {
        let mut wrong = intent.clone();
        wrong[field] = value;
        event(&world, "payment_intent.succeeded", &wrong).await.expect(200);
        assert_eq!(payment(&ann, id(&slow)).await["status"], "processing", "{wrong}");
    }
    let mut of_real_money = intent.clone();
    of_real_money["livemode"] = json!(true);
    event(&world, "payment_intent.payment_failed", &of_real_money).await.expect(200);
    assert_eq!(payment(&ann, id(&slow)).await["status"], "processing", "this is another charge's verdict");
    event(&world, "payment_intent.succeeded", &intent).await.expect(200);
    assert_eq!(payment(&ann, id(&slow)).await["status"], "paid");
    assert_eq!(ann.balance().await, 500);
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_intent_with_other_money_is_found_and_not_credited() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let wrong = differences();
    for _ in 0..wrong.len() {
        deposit(&ann, 500, "pm_async").await;
    }
    let last = deposit(&ann, 500, "pm_async").await;
    stripe.with(|books| {
        for (number, intent) in books.intents.iter_mut().enumerate() {
            *intent = succeeded(intent);
            if let Some((field, value)) = wrong.get(number) {
                intent[*field] = value.clone();
            }
        }
    });
    world.advance(SignedDuration::from_mins(1));
    let is_paid = || async { payment(&ann, id(&last)).await["status"] == "paid" };
    until("the last charge of the round is found", is_paid).await;
    assert_eq!(ann.balance().await, 500, "the charges that were found before it differ");

    stripe.with(|books| {
        for intent in &mut books.intents {
            *intent = succeeded(intent);
            (intent["currency"], intent["livemode"]) = (json!("rub"), json!(false));
        }
    });
    world.advance(SignedDuration::from_mins(1));
    until("all agree", || async { ann.balance().await == 500 * (wrong.len() as i64 + 1) }).await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_charge_is_found_although_the_clock_of_stripe_differs_by_hours() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let hours_ahead = [0.1, -0.1, 0.2, -0.2, 23.9, -23.9];
    for (count, hours) in (1..).zip(hours_ahead) {
        stripe.with(|books| books.ahead = (hours * 3600.0) as i64);
        let lost = deposit(&ann, 500, "pm_lost").await;
        assert_eq!(lost["status"], "processing");
        stripe.with(|books| books.broken = false);
        world.advance(SignedDuration::from_mins(1));
        let is_paid = || async { payment(&ann, id(&lost)).await["status"] == "paid" };
        until(&format!("it is found, {hours} hours ahead"), is_paid).await;
        assert_eq!(ann.balance().await, 500 * count);
    }
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_search_through_many_intents_goes_on_in_the_next_round() {
    let (world, stripe) = world().await;
    let ann = world.player("ann").await;
    let lost = deposit(&ann, 500, "pm_lost").await;
    let others = 120;
    stripe.with(|books| {
        let created = books.intents[0]["created"].clone();
        books.intents.extend((0..others).map(|number| {
            json!({"id": format!("pi_of_others_{number}"), "status": "succeeded", "amount": 0, "created": created})
        }));
        books.broken = false;
    });
    let is_paid = || async {
        world.advance(SignedDuration::from_secs(10));
        payment(&ann, id(&lost)).await["status"] == "paid"
    };
    until("it is found behind more intents than one round searches", is_paid).await;
    assert_eq!(stripe.with(|books| books.pages), others + 1, "each page is read once");
    assert_eq!(ann.balance().await, 500);
    world.check_invariants().await;
}
