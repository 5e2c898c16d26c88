//! Tickets: ordered, reserved, expired, given back.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use lottery::config::{Config, LotteryConfig, PaysConfig, PrizeConfig};
use serde_json::{Value, json};

use crate::world::{Answer, Person, World};

/// Of a ticket of 5 of 36.
const PRICE: i64 = 10_000;

fn id(thing: &Value) -> &str {
    thing["id"].as_str().unwrap()
}

fn wallet() -> Value {
    json!({"method": "wallet"})
}

/// So many lines that take any ticket of the pool.
fn any(count: usize) -> Value {
    json!(vec![json!({"from_pool": true}); count])
}

/// How many were answered so; no code is a success.
fn count(answers: &[Answer], status: u16, code: Option<&str>) -> usize {
    answers.iter().filter(|it| it.status == status && it.body["code"].as_str() == code).count()
}

/// A world with an open draw of 5 of 36 and so many tickets in its pool.
async fn on_sale(pool: usize) -> (World, Person, i64) {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, pool).await;
    (world, admin, draw)
}

async fn ticket(who: &Person, id: &str) -> Value {
    who.get(&format!("/tickets/{id}")).await.expect(200)
}

async fn payment(who: &Person, id: &str) -> Value {
    who.get(&format!("/payments/{id}")).await.expect(200)
}

async fn give_back(who: &Person, ticket: &Value) -> Answer {
    who.delete(&format!("/tickets/{}", id(ticket))).await
}

/// The pool tickets for sale, as anybody sees them.
async fn pool(world: &World, draw: i64) -> Vec<Value> {
    world.anybody().all(&format!("/draws/{draw}/pool?limit=200")).await
}

/// The pool tickets for sale by their ids.
async fn pool_ids(world: &World, draw: i64) -> HashSet<String> {
    pool(world, draw).await.iter().map(|ticket| id(ticket).to_owned()).collect()
}

async fn until_expired(world: &World, who: &Person, reserved: &Value) {
    let gone = || async { ticket(who, id(&reserved["tickets"][0])).await["status"] == "expired" };
    world.until("the reservation expires", gone).await;
}

fn numbers(ticket: &Value) -> Vec<i64> {
    ticket["numbers"].as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}

/// Whether these are so many different numbers of 1 to `of`, ascending.
fn is_legal(numbers: &[i64], pick: usize, of: i64) -> bool {
    numbers.len() == pick && numbers.is_sorted_by(|a, b| a < b) && numbers[0] >= 1 && numbers[pick - 1] <= of
}

/// A lottery of six combinations, 2 of 4.
fn tiny(config: &mut Config) {
    let prizes = vec![PrizeConfig { matches: 2, pays: PaysConfig::Share(10_000) }];
    let (id, name) = ("tiny".to_owned(), "Tiny".to_owned());
    config.lotteries.push(LotteryConfig { id, name, pick: 2, of: 4, price: 1, fund_share: 5_000, prizes });
}

// Orders.

#[actix_web::test]
async fn chosen_numbers_in_any_order_come_back_ascending() {
    let (world, _, draw) = on_sale(0).await;
    let ann = world.rich_player("ann", 5 * PRICE).await;
    let orders = [[36, 22, 13, 7, 1], [1, 2, 3, 4, 5], [32, 33, 34, 35, 36], [7, 1, 36, 2, 8]];
    for mut chosen in orders {
        let bought = ann.buy(draw, &chosen).await;
        let ticket = &bought["tickets"][0];
        chosen.sort_unstable();
        assert_eq!(ticket["numbers"], json!(chosen));
        assert_eq!((&ticket["origin"], &ticket["pool_ticket_id"]), (&json!("chosen"), &Value::Null));
        assert_eq!(ann.get(&format!("/tickets/{}", id(ticket))).await.expect(200), *ticket);
    }
    let again = ann.buy(draw, &[1, 7, 13, 22, 36]).await;
    assert_eq!(again["tickets"][0]["number"], 5, "any number of tickets may bear the same numbers");
    world.check_books().await;
}

#[actix_web::test]
async fn an_order_tells_all_of_its_tickets() {
    let (world, _, draw) = on_sale(1).await;
    let ann = world.rich_player("ann", 2 * PRICE).await;
    let premade = pool(&world, draw).await.remove(0);
    let lines = json!([{"numbers": [5, 4, 3, 2, 1]}, {"pool_ticket_id": premade["id"]}]);

    let ordered = ann.order(draw, lines, "later").await.expect(201);

    let [chosen, pooled] = &ordered["tickets"].as_array().unwrap()[..] else { panic!("{ordered}") };
    let mut expected = json!({
        "id": chosen["id"], "draw_id": draw, "lottery": "5of36", "number": null, "numbers": [1, 2, 3, 4, 5],
        "origin": "chosen", "pool_ticket_id": null, "status": "reserved", "price": PRICE,
        "reserved_until": "2030-05-01T12:05:00Z", "matches": null, "prize": null,
        "created_at": "2030-05-01T12:00:00Z",
    });
    assert_eq!(*chosen, expected);
    expected["id"] = pooled["id"].clone();
    expected["origin"] = json!("pool");
    expected["numbers"] = premade["numbers"].clone();
    expected["pool_ticket_id"] = premade["id"].clone();
    assert_eq!(*pooled, expected);
    assert_ne!(pooled["id"], premade["id"], "a sale makes a new ticket with an id of its own");

    ann.pay(id(&ordered["payment"]), wallet()).await.expect(200);
    expected["status"] = json!("paid");
    expected["number"] = json!(2);
    expected["reserved_until"] = Value::Null;
    assert_eq!(ticket(&ann, id(pooled)).await, expected);
    world.check_books().await;
}

#[actix_web::test]
async fn an_illegal_pick_is_refused_with_the_name_of_its_line() {
    let (world, _, draw) = on_sale(3).await;
    let ann = world.rich_player("ann", 5 * PRICE).await;
    for wrong in [
        "[]",
        "[1,2,3,4]",
        "[1,2,3,4,5,6]",
        "[1,2,3,4,4]",
        "[1,2,3,4,37]",
        "[0,1,2,3,4]",
        "[-1,1,2,3,4]",
        "[1,2,3,4,64]",
        "[1,2,3,4,65]",
        "[1,2,3,4,257]",
        "[1,2,3,4,4294967297]",
        "[1,2,3,4,9223372036854775807]",
        "[1,2,3,4,-9223372036854775808]",
        "[1,2,3,4,99999999999999999999999]",
        "[1,2,3,4,5.5]",
        "[1,2,3,4,5.0]",
        "[1,2,3,4,\"5\"]",
        "[1,2,3,4,null]",
        "\"1,2,3,4,5\"",
    ] {
        let body = format!(
            "{{\"payment\": \"wallet\", \"tickets\": [{{\"from_pool\": true}}, {{\"quick_pick\": true}}, \
             {{\"numbers\": {wrong}}}]}}"
        );
        let post = ann.request(reqwest::Method::POST, &format!("/draws/{draw}/tickets")).body(body);
        let refusal =
            ann.send(post.header("content-type", "application/json")).await.refused(422, "validation_failed");
        let field = refusal["errors"][0]["field"].as_str().unwrap();
        assert!(field.starts_with("tickets[2].numbers"), "{wrong}: {refusal}");
    }
    assert_eq!(pool(&world, draw).await.len(), 3, "nothing was taken");
    assert_eq!((ann.all("/tickets").await.len(), ann.balance().await), (0, 5 * PRICE));
}

#[actix_web::test]
async fn an_order_has_1_to_100_lines_and_each_says_one_thing() {
    let (world, _, draw) = on_sale(3).await;
    let ann = world.rich_player("ann", 200 * PRICE).await;
    let quick = json!({"quick_pick": true});
    for (lines, field) in [
        (json!([]), "tickets"),
        (json!(vec![quick.clone(); 101]), "tickets"),
        (json!([quick, {}]), "tickets[1]"),
        (json!([{"quick_pick": false}]), "tickets[0]"),
        (json!([{"from_pool": false}]), "tickets[0]"),
        (json!([{"quick_pick": true, "from_pool": true}]), "tickets[0]"),
        (json!([{"quick_pick": true, "numbers": [1, 2, 3, 4, 5]}]), "tickets[0]"),
        (json!([{"pool_ticket_id": "no id"}]), "tickets[0].pool_ticket_id"),
        (json!([{"price": 1, "quick_pick": true}]), "tickets[0].price"),
        (json!({"quick_pick": true}), "tickets"),
    ] {
        let refusal = ann.order(draw, lines.clone(), "wallet").await.refused(422, "validation_failed");
        assert_eq!(refusal["errors"][0]["field"], field, "{lines}: {refusal}");
    }
    let refusal = ann.order(draw, json!([quick]), "cash").await.refused(422, "validation_failed");
    assert_eq!(refusal["errors"][0]["field"], "payment");

    let most = ann.buy_quick(draw, 100).await;
    let tickets = most["tickets"].as_array().unwrap();
    let bought: Vec<i64> = tickets.iter().map(|ticket| ticket["number"].as_i64().unwrap()).collect();
    assert_eq!(bought, (1..=100).collect::<Vec<_>>());
    assert!(tickets.iter().all(|ticket| is_legal(&numbers(ticket), 5, 36)), "quick picks are legal");
    assert!(tickets.iter().any(|ticket| numbers(ticket) != numbers(&tickets[0])), "and not all the same");
    assert_eq!(most["payment"]["amount"], 100 * PRICE);
    world.check_books().await;
}

#[actix_web::test]
async fn an_order_is_all_its_lines_or_none() {
    let (world, _, draw) = on_sale(4).await;
    let (ann, bob) = (world.rich_player("ann", 9 * PRICE).await, world.player("bob").await);
    let before = pool(&world, draw).await;
    let gone = bob.order(draw, json!([{"pool_ticket_id": before[1]["id"]}]), "later").await.expect(201);
    let left = pool(&world, draw).await;
    assert_eq!(left.len(), 3);
    let [free, taken] = [&before[0]["id"], &before[1]["id"]];
    let unknown = "0190e0a0-0000-7000-8000-000000000000";

    for (lines, code) in [
        (json!([{"pool_ticket_id": free}, {"quick_pick": true}, {"pool_ticket_id": taken}]), "ticket_unavailable"),
        (json!([{"pool_ticket_id": free}, {"pool_ticket_id": free}]), "ticket_unavailable"),
        (json!([{"from_pool": true}, {"pool_ticket_id": unknown}]), "ticket_unavailable"),
        (json!([{"pool_ticket_id": gone["tickets"][0]["id"]}]), "ticket_unavailable"),
        (any(4), "pool_empty"),
        (
            json!([{"pool_ticket_id": free}, {"from_pool": true}, {"from_pool": true}, {"from_pool": true}]),
            "pool_empty",
        ),
    ] {
        for payment in ["wallet", "later"] {
            ann.order(draw, lines.clone(), payment).await.refused(409, code);
            assert_eq!(pool(&world, draw).await, left, "nothing was taken: {lines}");
        }
    }

    assert_eq!((ann.all("/tickets").await.len(), ann.balance().await), (0, 9 * PRICE));
    let lines = json!([{"from_pool": true}, {"from_pool": true}, {"pool_ticket_id": free}]);
    ann.order(draw, lines, "wallet").await.expect(201);
    assert_eq!(pool(&world, draw).await.len(), 0, "what was refused was still there to be sold");
    world.check_books().await;
}

#[actix_web::test]
async fn only_an_open_draw_sells() {
    let (world, admin, over) = on_sale(0).await;
    let ann = world.rich_player("ann", 9 * PRICE).await;
    let reserved = ann.order(over, json!([{"quick_pick": true}]), "later").await.expect(201);
    let refused = async |draw: i64| {
        for payment in ["wallet", "later"] {
            ann.order(draw, json!([{"quick_pick": true}]), payment).await.refused(409, "draw_not_open");
        }
    };
    admin.step(over, "close").await.expect(200);
    refused(over).await;
    let bill = id(&reserved["payment"]);
    ann.pay(bill, wallet()).await.refused(409, "payment_not_payable");
    ann.pay(bill, json!({"method": "card", "token": "tok_visa"})).await.refused(409, "payment_not_payable");
    admin.step(over, "conduct").await.expect(200);
    refused(over).await;
    ann.pay(bill, wallet()).await.refused(409, "payment_not_payable");
    assert_eq!(payment(&ann, bill).await["status"], "expired");

    let scheduled = admin.schedule(&world).await;
    refused(scheduled).await;
    admin.cancel(scheduled).await.expect(200);
    refused(scheduled).await;
    for nowhere in ["999999", "0", "-1", "nonsense", "99999999999999999999"] {
        let path = format!("/draws/{nowhere}/tickets");
        ann.post(&path, json!({"tickets": [{"quick_pick": true}]})).await.refused(404, "not_found");
    }
    assert_eq!(ann.balance().await, 9 * PRICE);
    world.check_books().await;
}

#[actix_web::test]
async fn no_ticket_is_bought_after_the_cut_off_even_before_the_list_is_sealed() {
    let (world, admin, draw) = on_sale(0).await;
    let ann = world.rich_player("ann", 9 * PRICE).await;
    world.advance(SignedDuration::from_mins(58));
    let reserved = ann.order(draw, json!([{"quick_pick": true}]), "later").await.expect(201);
    let held = world.hold(draw).await;

    world.advance(SignedDuration::from_mins(2));
    ann.order(draw, json!([{"quick_pick": true}]), "wallet").await.refused(409, "draw_not_open");
    ann.pay(id(&reserved["payment"]), wallet()).await.refused(409, "payment_not_payable");
    assert_eq!(world.count("SELECT count(*) FROM draw_seals").await, 0, "only the server's clock counts");

    held.let_go().await;
    world.until_draw_is(draw, "closed").await;
    assert_eq!(admin.get(&format!("/draws/{draw}")).await.expect(200)["tickets_sold"], 0);
    assert_eq!(ann.balance().await, 9 * PRICE);
    world.check_books().await;
}

// The pool.

#[actix_web::test]
async fn one_premade_ticket_is_never_sold_to_two_buyers_at_once() {
    let (world, _, draw) = on_sale(8).await;
    let mut buyers = Vec::new();
    for number in 0..12 {
        buyers.push(world.rich_player(&format!("buyer{number}"), 8 * PRICE).await);
    }
    for (round, premade) in pool(&world, draw).await.iter().enumerate() {
        let lines = json!([{"pool_ticket_id": premade["id"]}]);
        let payment = if round % 2 == 0 { "wallet" } else { "later" };

        let answers = join_all(buyers.iter().map(|buyer| buyer.order(draw, lines.clone(), payment))).await;

        assert_eq!(count(&answers, 201, None), 1);
        assert_eq!(count(&answers, 409, Some("ticket_unavailable")), 11);
        let sold = answers.iter().find(|it| it.status == 201).unwrap();
        assert_eq!(sold.body["tickets"][0]["numbers"], premade["numbers"]);
    }
    assert_eq!(world.count("SELECT sum(balance)::bigint FROM accounts WHERE kind = 'escrow'").await, 4 * PRICE);
    world.check_books().await;
}

#[actix_web::test]
async fn a_pool_is_sold_to_its_last_ticket_and_not_one_more() {
    let (world, _, draw) = on_sale(30).await;
    let mut buyers = Vec::new();
    for number in 0..8 {
        buyers.push(world.rich_player(&format!("buyer{number}"), 5 * PRICE).await);
    }
    let premade = pool_ids(&world, draw).await;

    let orders = buyers.iter().cycle().take(40).map(|buyer| buyer.order(draw, any(1), "wallet"));
    let answers = join_all(orders).await;

    assert_eq!(count(&answers, 201, None), 30);
    assert_eq!(count(&answers, 409, Some("pool_empty")), 10);
    let sold = answers.iter().filter_map(|it| it.body["tickets"][0]["pool_ticket_id"].as_str());
    assert_eq!(sold.map(str::to_owned).collect::<HashSet<_>>(), premade, "every one, and no two alike");
    assert_eq!(pool(&world, draw).await.len(), 0);
    buyers[0].order(draw, any(1), "later").await.refused(409, "pool_empty");
    world.check_books().await;
}

#[actix_web::test]
async fn a_ticket_whose_buyer_cannot_pay_goes_to_the_next() {
    let (world, _, draw) = on_sale(1).await;
    let (poor, rich) = (world.rich_player("poor", PRICE - 1).await, world.rich_player("rich", PRICE).await);
    let lines = json!([{"pool_ticket_id": pool(&world, draw).await[0]["id"]}]);

    poor.order(draw, lines.clone(), "wallet").await.refused(402, "insufficient_funds");
    rich.order(draw, lines, "wallet").await.expect(201);

    assert_eq!((poor.balance().await, rich.balance().await), (PRICE - 1, 0));
    world.check_books().await;
}

#[actix_web::test]
async fn generated_combinations_cover_the_whole_range_and_never_repeat() {
    let (world, admin, draw) = on_sale(700).await;
    admin.pool(draw, 300).await.expect(201);

    let premade = pool(&world, draw).await;

    assert_eq!(premade.len(), 1_000);
    assert!(premade.iter().all(|ticket| ticket["price"] == PRICE && is_legal(&numbers(ticket), 5, 36)));
    let distinct: HashSet<Vec<i64>> = premade.iter().map(numbers).collect();
    assert_eq!(distinct.len(), 1_000, "no combination twice, also when the pool is added to");
    // A number is missing from all of them once in (36/31)^1000.
    let seen: HashSet<i64> = premade.iter().flat_map(numbers).collect();
    assert_eq!(seen, (1..=36).collect(), "the highest number is among them");
}

#[actix_web::test]
async fn a_small_lottery_is_pooled_to_its_last_combination() {
    let world = World::with(tiny).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 100).await;
    let draw = admin.open_draw_of(&world, "tiny").await;

    assert_eq!(admin.pool(draw, 4).await.expect(201), json!({"created": 4, "tickets_available": 4}));
    ann.order(draw, any(1), "wallet").await.expect(201);
    let one_more_than_is_left = admin.pool(draw, 3).await.refused(422, "validation_failed");
    assert_eq!(one_more_than_is_left["errors"][0]["field"], "count");
    assert_eq!(admin.pool(draw, 2).await.expect(201), json!({"created": 2, "tickets_available": 5}));
    admin.pool(draw, 1).await.refused(422, "validation_failed");
    for count in [json!(-1), json!(u64::MAX), json!(i64::MAX), json!(1.5), json!("2"), Value::Null] {
        let path = format!("/admin/draws/{draw}/pool");
        admin.post(&path, json!({"count": count})).await.refused(422, "validation_failed");
    }

    ann.order(draw, any(5), "wallet").await.expect(201);
    let held: HashSet<Vec<i64>> = ann.all("/tickets").await.iter().map(numbers).collect();
    let every = [[1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]];
    assert_eq!(held, every.map(Vec::from).into(), "every combination once");
    world.check_books().await;
}

#[actix_web::test]
async fn the_pool_shows_only_what_is_for_sale() {
    let (world, admin, draw) = on_sale(5).await;
    let ann = world.rich_player("ann", 9 * PRICE).await;
    let all = pool(&world, draw).await;
    assert!(all.iter().all(|it| it.as_object().unwrap().len() == 3 && it["price"] == PRICE));
    let name = |index: usize| json!([{"pool_ticket_id": all[index]["id"]}]);

    ann.order(draw, name(0), "wallet").await.expect(201);
    let reserved = ann.order(draw, name(2), "later").await.expect(201);
    ann.buy(draw, numbers(&all[4]).iter().map(|it| *it as u8).collect::<Vec<_>>().as_slice()).await;

    let shown = world.anybody().all(&format!("/draws/{draw}/pool?limit=1")).await;
    assert_eq!(shown, [&all[1], &all[3], &all[4]].map(Value::clone), "a chosen pick takes nothing from it");
    let path = format!("/draws/{draw}");
    let available = |count: i64| {
        let (admin, path) = (&admin, &path);
        move || async move { admin.get(path).await.expect(200)["tickets_available"] == count }
    };
    world.until("the draw counts three", available(3)).await;
    give_back(&ann, &reserved["tickets"][0]).await.expect(204);
    assert_eq!(pool(&world, draw).await.len(), 4);
    world.until("the draw counts four", available(4)).await;
    admin.step(draw, "close").await.expect(200);
    assert_eq!(pool(&world, draw).await.len(), 0, "nothing is for sale any more");
    assert_eq!(admin.get(&path).await.expect(200)["tickets_available"], 0);
    world.anybody().get("/draws/999999/pool").await.refused(404, "not_found");
}

// Reservations.

#[actix_web::test]
async fn a_reservation_runs_out_by_the_clock_and_its_ticket_is_sold_to_another() {
    let (world, _, draw) = on_sale(1).await;
    let (ann, bob) = (world.player("ann").await, world.rich_player("bob", PRICE).await);
    let reserved = ann.reserve(draw).await;
    let premade = &reserved["tickets"][0]["pool_ticket_id"];
    bob.order(draw, any(1), "wallet").await.refused(409, "pool_empty");

    world.advance(SignedDuration::from_mins(5) - SignedDuration::from_millis(1));
    bob.order(draw, any(1), "wallet").await.refused(409, "pool_empty");
    assert_eq!(ticket(&ann, id(&reserved["tickets"][0])).await["status"], "reserved");
    world.advance(SignedDuration::from_millis(1));
    until_expired(&world, &ann, &reserved).await;

    assert_eq!(payment(&ann, id(&reserved["payment"])).await["status"], "expired");
    assert_eq!(pool(&world, draw).await[0]["id"], *premade);
    let mut bought = None;
    world
        .until("the ticket is back in the pool", || async {
            bob.order(draw, json!([{"pool_ticket_id": premade}]), "later").await.status == 201
        })
        .await;
    bought.get_or_insert(bob.all("/tickets").await.remove(0));
    assert_eq!(bought.unwrap()["numbers"], reserved["tickets"][0]["numbers"]);
    ann.pay(id(&reserved["payment"]), wallet()).await.refused(409, "payment_not_payable");
    world.check_books().await;
}

#[actix_web::test]
async fn a_reservation_never_outlasts_the_sale() {
    let (world, _, draw) = on_sale(2).await;
    let ann = world.player("ann").await;
    world.advance(SignedDuration::from_mins(57));

    let reserved = ann.reserve(draw).await;

    assert_eq!(reserved["tickets"][0]["reserved_until"], "2030-05-01T13:00:00Z");
    world.advance(SignedDuration::from_mins(3));
    world.until_draw_is(draw, "closed").await;
    assert_eq!(ticket(&ann, id(&reserved["tickets"][0])).await["status"], "expired");
    assert_eq!(payment(&ann, id(&reserved["payment"])).await["status"], "expired");
    world.check_books().await;
}

#[actix_web::test]
async fn an_expired_reservation_cannot_be_paid_even_before_its_expiry_is_written() {
    let (world, _, draw) = on_sale(2).await;
    let ann = world.rich_player("ann", PRICE).await;
    let reserved = ann.reserve(draw).await;
    let bill = id(&reserved["payment"]);
    let held = world.hold(draw).await;

    world.advance(SignedDuration::from_mins(5));
    ann.pay(bill, wallet()).await.refused(409, "payment_not_payable");
    ann.pay(bill, json!({"method": "card", "token": "tok_visa"})).await.refused(409, "payment_not_payable");
    assert_eq!(payment(&ann, bill).await["status"], "pending", "the expiry is not written yet");

    held.let_go().await;
    until_expired(&world, &ann, &reserved).await;
    ann.pay(bill, wallet()).await.refused(409, "payment_not_payable");
    assert_eq!(ann.balance().await, PRICE);
    world.check_books().await;
}

#[actix_web::test]
async fn a_payment_begun_in_time_holds_though_the_time_runs_out_before_it_is_written() {
    let (world, _, draw) = on_sale(2).await;
    let (ann, bob) = (world.rich_player("ann", PRICE).await, world.player("bob").await);
    let (paying, waiting) = (ann.reserve(draw).await, bob.reserve(draw).await);
    let held = world.hold(draw).await;

    let pay = ann.pay(id(&paying["payment"]), wallet());
    let then = async {
        world.until_writer_waits().await;
        world.advance(SignedDuration::from_mins(5));
        held.let_go().await;
        until_expired(&world, &bob, &waiting).await;
    };
    let (paid, ()) = futures_util::join!(pay, then);

    assert_eq!(paid.expect(200)["status"], "paid");
    assert_eq!(ticket(&ann, id(&paying["tickets"][0])).await["status"], "paid");
    world.check_books().await;
}

#[actix_web::test]
async fn of_expiry_and_payment_of_a_reservation_exactly_one_wins() {
    const ROUNDS: i64 = 12;
    const EACH: usize = 6;
    let world = World::with(|config| config.tickets.reservation = Duration::from_secs(60)).await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, EACH).await;
    let ann = world.rich_player("ann", 1_000 * PRICE).await;
    let mut paid = 0;
    for round in 0..ROUNDS {
        // Whatever was paid is made good, so that each round starts with a full pool.
        let missing = EACH - pool(&world, draw).await.len();
        if missing > 0 {
            admin.pool(draw, missing).await.expect(201);
        }
        let mut reserved = Vec::new();
        world
            .until("all that expired is back in the pool", || async {
                let order = ann.order(draw, any(1), "later").await;
                order.status == 201 || order.is(409, "pool_empty")
            })
            .await;
        for ticket in ann.all(&format!("/tickets?draw_id={draw}&status=reserved")).await {
            give_back(&ann, &ticket).await.expect(204);
        }
        for _ in 0..EACH {
            reserved.push(ann.reserve(draw).await);
        }
        let pay = join_all(reserved.iter().map(|it| ann.pay(id(&it["payment"]), wallet())));
        // From before all payments to behind them.
        let time_is_up = async {
            for _ in 0..round * 8 {
                tokio::task::yield_now().await;
            }
            world.advance(SignedDuration::from_secs(60));
        };

        let (answers, ()) = futures_util::join!(pay, time_is_up);

        let decided = || async { ann.all("/tickets?status=reserved").await.is_empty() };
        world.until("each is paid or expired", decided).await;
        for (answer, reserved) in answers.iter().zip(&reserved) {
            let won = answer.status == 200;
            assert!(won || answer.is(409, "payment_not_payable"), "{}", answer.text);
            let ticket = ticket(&ann, id(&reserved["tickets"][0])).await;
            assert_eq!(ticket["status"], if won { "paid" } else { "expired" });
            let free = pool_ids(&world, draw).await.contains(ticket["pool_ticket_id"].as_str().unwrap());
            assert_eq!(free, !won, "for sale again, or sold");
            paid += i64::from(won);
        }
        assert_eq!(ann.balance().await, (1_000 - paid) * PRICE, "charged for what was paid and no more");
    }
    world.check_books().await;
}

// Giving back.

#[actix_web::test]
async fn a_reserved_ticket_can_be_given_back_once() {
    let (world, _, draw) = on_sale(3).await;
    let (ann, bob) = (world.rich_player("ann", 5 * PRICE).await, world.player("bob").await);
    let ordered = ann.order(draw, any(3), "later").await.expect(201);
    let [first, second, third] = &ordered["tickets"].as_array().unwrap()[..] else { panic!("{ordered}") };
    let bill = id(&ordered["payment"]);
    bob.order(draw, any(1), "later").await.refused(409, "pool_empty");

    give_back(&bob, first).await.refused(404, "not_found");
    let given = give_back(&ann, first).await;
    assert_eq!((given.status, given.text.as_str()), (204, ""));

    give_back(&ann, first).await.refused(409, "ticket_not_reserved");
    assert_eq!(ticket(&ann, id(first)).await["status"], "expired");
    let lowered = payment(&ann, bill).await;
    assert_eq!((&lowered["status"], &lowered["amount"]), (&json!("pending"), &json!(2 * PRICE)));
    assert_eq!(lowered["ticket_ids"], json!([second["id"], third["id"]]));
    assert_eq!(pool_ids(&world, draw).await, [first["pool_ticket_id"].as_str().unwrap().to_owned()].into());
    bob.order(draw, any(1), "later").await.expect(201);

    give_back(&ann, second).await.expect(204);
    give_back(&ann, third).await.expect(204);
    assert_eq!(payment(&ann, bill).await["status"], "expired", "the last one expires it");
    ann.pay(bill, wallet()).await.refused(409, "payment_not_payable");
    assert_eq!(pool(&world, draw).await.len(), 2);
    assert_eq!(ann.balance().await, 5 * PRICE);
    world.check_books().await;
}

#[actix_web::test]
async fn a_lowered_payment_takes_what_is_left_of_it_and_no_more() {
    let (world, _, draw) = on_sale(0).await;
    let ann = world.rich_player("ann", 5 * PRICE).await;
    let quick = json!({"quick_pick": true});
    let ordered = ann.order(draw, json!([quick, quick, quick]), "later").await.expect(201);
    give_back(&ann, &ordered["tickets"][1]).await.expect(204);

    let paid = ann.pay(id(&ordered["payment"]), wallet()).await.expect(200);

    assert_eq!(paid["amount"], 2 * PRICE);
    assert_eq!(paid["ticket_ids"], json!([ordered["tickets"][0]["id"], ordered["tickets"][2]["id"]]));
    assert_eq!(ann.balance().await, 3 * PRICE);
    give_back(&ann, &ordered["tickets"][0]).await.refused(409, "ticket_not_reserved");
    assert_eq!(ann.all("/tickets?status=paid").await.len(), 2);
    world.check_books().await;
}

#[actix_web::test]
async fn tickets_given_back_all_at_once_and_while_they_are_paid_come_out_even() {
    let (world, _, draw) = on_sale(6).await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    for _ in 0..5 {
        let ordered = ann.order(draw, any(3), "later").await.expect(201);
        let tickets = ordered["tickets"].as_array().unwrap();
        let backs = join_all(tickets.iter().chain([&tickets[0]]).map(|ticket| give_back(&ann, ticket)));
        let pay = ann.pay(id(&ordered["payment"]), wallet());

        let (backs, paid) = futures_util::join!(backs, pay);

        let given = count(&backs, 204, None);
        assert_eq!(given + count(&backs, 409, Some("ticket_not_reserved")), 4);
        let bill = payment(&ann, id(&ordered["payment"])).await;
        if paid.status == 200 {
            assert_eq!(bill["amount"], (3 - given as i64) * PRICE);
            assert_eq!(bill, paid.body);
        } else {
            paid.refused(409, "payment_not_payable");
        }
        // What a payment that came in between has left reserved.
        for ticket in ann.all("/tickets?status=reserved").await {
            give_back(&ann, &ticket).await.expect(204);
        }
        world.check_books().await;
    }
}

// One's own.

#[actix_web::test]
async fn a_strangers_ticket_is_not_there() {
    let (world, admin, draw) = on_sale(1).await;
    let (ann, bob) = (world.rich_player("ann", PRICE).await, world.player("bob").await);
    let bought = ann.buy_quick(draw, 1).await;
    let reserved = ann.reserve(draw).await;
    for stranger in [&bob, &admin] {
        for it in [&bought, &reserved] {
            let ticket = &it["tickets"][0];
            stranger.get(&format!("/tickets/{}", id(ticket))).await.refused(404, "not_found");
            stranger.get(&format!("/payments/{}", id(&it["payment"]))).await.refused(404, "not_found");
            give_back(stranger, ticket).await.refused(404, "not_found");
        }
        for list in ["/tickets", "/payments", "/wallet/transfers"] {
            assert_eq!(stranger.all(list).await.len(), 0);
        }
    }
    let path = format!("/tickets/{}", id(&bought["tickets"][0]));
    world.anybody().get(&path).await.refused(401, "unauthorized");
    world.anybody().delete(&path).await.refused(401, "unauthorized");
    for nothing in ["nonsense", "0190e0a0-0000-7000-8000-000000000000", "1"] {
        ann.get(&format!("/tickets/{nothing}")).await.refused(404, "not_found");
        ann.delete(&format!("/tickets/{nothing}")).await.refused(404, "not_found");
    }
    give_back(&ann, &bought["tickets"][0]).await.refused(409, "ticket_not_reserved");
    give_back(&ann, &reserved["tickets"][0]).await.expect(204);
}

#[actix_web::test]
async fn numbers_count_without_a_gap_however_many_buy_at_once() {
    let (world, _, draw) = on_sale(0).await;
    let mut buyers = Vec::new();
    for (name, tickets) in [("ann", 100), ("bob", 100), ("cid", 7)] {
        buyers.push(world.rich_player(name, tickets * PRICE).await);
    }
    let reserved = join_all((0..5).map(|_| buyers[0].order(draw, json!([{"quick_pick": true}]), "later"))).await;
    let order = |turn: usize| {
        let lines = json!(vec![json!({"quick_pick": true}); 1 + turn % 4]);
        buyers[turn % 3].order(draw, lines, "wallet")
    };
    let orders = join_all((0..30).map(order));
    let pays = join_all(reserved.iter().map(|it| buyers[0].pay(id(&it.body["payment"]), wallet())));

    let (orders, pays) = futures_util::join!(orders, pays);

    assert_eq!(count(&pays, 200, None), 5);
    assert!(count(&orders, 402, Some("insufficient_funds")) > 0, "some could not pay, and left no gap");
    let mut given: Vec<i64> = Vec::new();
    for buyer in &buyers {
        given.extend(buyer.all("/tickets?limit=200").await.iter().map(|it| it["number"].as_i64().unwrap()));
    }
    given.sort_unstable();
    assert_eq!(given, (1..=given.len() as i64).collect::<Vec<_>>());
    for order in orders.iter().filter(|it| it.status == 201) {
        let tickets = order.body["tickets"].as_array().unwrap();
        let row: Vec<i64> = tickets.iter().map(|it| it["number"].as_i64().unwrap()).collect();
        assert!(row.windows(2).all(|pair| pair[1] == pair[0] + 1), "one order, numbers in a row: {row:?}");
    }
    world.check_books().await;
}

#[actix_web::test]
async fn ones_own_tickets_are_listed_newest_first_by_draw_and_status() {
    let (world, admin, first) = on_sale(2).await;
    let second = admin.open_draw(&world, 0).await;
    let (ann, bob) = (world.rich_player("ann", 50 * PRICE).await, world.rich_player("bob", 5 * PRICE).await);
    bob.buy_quick(first, 2).await;
    let mut newest_first = Vec::new();
    for (draw, payment) in [(first, "wallet"), (second, "wallet"), (first, "later"), (second, "later")] {
        let lines = json!([{"quick_pick": true}, {"quick_pick": true}]);
        let order = ann.order(draw, lines, payment).await.expect(201);
        newest_first.extend(order["tickets"].as_array().unwrap().iter().map(|it| id(it).to_owned()));
    }
    newest_first.reverse();
    give_back(&ann, &json!({"id": newest_first[0]})).await.expect(204);
    let listed = async |query: &str| -> Vec<String> {
        let tickets = ann.all(&format!("/tickets?limit=3{query}")).await;
        tickets.iter().map(|it| id(it).to_owned()).collect()
    };
    let chosen = |of: &[usize]| -> Vec<String> { of.iter().map(|index| newest_first[*index].clone()).collect() };

    assert_eq!(listed("").await, newest_first);
    assert_eq!(listed(&format!("&draw_id={first}")).await, chosen(&[2, 3, 6, 7]));
    assert_eq!(listed("&status=reserved").await, chosen(&[1, 2, 3]));
    assert_eq!(listed("&status=expired").await, chosen(&[0]));
    assert_eq!(listed("&status=expired&status=reserved").await, chosen(&[0, 1, 2, 3]));
    assert_eq!(listed(&format!("&draw_id={second}&status=paid")).await, chosen(&[4, 5]));
    assert_eq!(listed(&format!("&draw_id={first}&draw_id={second}")).await, newest_first);
    assert!(listed("&draw_id=999999").await.is_empty() && listed("&status=won").await.is_empty());
    for wrong in ["status=sold", "draw_id=x", "limit=0", "limit=201", "cursor=x", "colour=red"] {
        ann.get(&format!("/tickets?{wrong}")).await.refused(422, "validation_failed");
    }

    // New rows never shift or repeat a page.
    let page = ann.get("/tickets?limit=3").await.expect(200);
    ann.buy_quick(second, 1).await;
    let next = format!("/tickets?limit=3&cursor={}", page["next_cursor"].as_str().unwrap());
    let next = ann.get(&next).await.expect(200);
    assert_eq!(next["items"][0]["id"], newest_first[3]);
}

// Restarts.

#[actix_web::test]
async fn a_restart_rebuilds_the_same_draw() {
    let (mut world, admin, draw) = on_sale(6).await;
    let ann = world.rich_player("ann", 50 * PRICE).await;
    let sold = ann.order(draw, any(1), "wallet").await.expect(201);
    let to_pay = ann.order(draw, any(1), "later").await.expect(201);
    let to_return = ann.order(draw, any(2), "later").await.expect(201);
    let to_expire = ann.reserve(draw).await;
    give_back(&ann, &to_return["tickets"][0]).await.expect(204);
    let paths = ["/tickets", "/payments", "/wallet/transfers"];
    let everything = async |world: &World| {
        let ann = world.again(&ann);
        let mut seen = vec![json!(pool(world, draw).await)];
        for path in paths {
            seen.push(json!(ann.all(path).await));
        }
        seen.push(ann.get(&format!("/draws/{draw}")).await.expect(200));
        seen
    };
    world.until("the draw counts two", || async { everything(&world).await[4]["tickets_available"] == 2 }).await;
    let before = everything(&world).await;

    world.restart().await;

    assert_eq!(everything(&world).await, before);
    let (ann, admin) = (world.again(&ann), world.again(&admin));
    for taken in [&sold, &to_pay, &to_expire] {
        let line = json!([{"pool_ticket_id": taken["tickets"][0]["pool_ticket_id"]}]);
        ann.order(draw, line, "later").await.refused(409, "ticket_unavailable");
    }
    let paid = ann.pay(id(&to_pay["payment"]), wallet()).await.expect(200);
    assert_eq!(ticket(&ann, id(&to_pay["tickets"][0])).await["number"], 2, "{paid}");
    give_back(&ann, &to_return["tickets"][1]).await.expect(204);
    assert_eq!(payment(&ann, id(&to_return["payment"])).await["status"], "expired");
    world.advance(SignedDuration::from_mins(5));
    until_expired(&world, &ann, &to_expire).await;
    let four_free = || async { ann.get(&format!("/draws/{draw}")).await.body["tickets_available"] == 4 };
    world.until("all that was let go is free", four_free).await;
    ann.order(draw, any(5), "later").await.refused(409, "pool_empty");
    ann.order(draw, any(4), "wallet").await.expect(201);
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 6);
    world.check_books().await;
}

#[actix_web::test]
async fn what_ran_out_while_the_service_was_down_cannot_be_paid_and_is_sold_again() {
    let (mut world, _, draw) = on_sale(1).await;
    let ann = world.rich_player("ann", PRICE).await;
    let reserved = ann.reserve(draw).await;
    world.stop().await;
    world.advance(SignedDuration::from_mins(5));
    world.start().await;
    let ann = world.again(&ann);

    ann.pay(id(&reserved["payment"]), wallet()).await.refused(409, "payment_not_payable");

    until_expired(&world, &ann, &reserved).await;
    let sold = || async { ann.order(draw, any(1), "wallet").await.status == 201 };
    world.until("the ticket is sold again", sold).await;
    world.check_books().await;
}
