//! Tickets: ordered, reserved, expired, returned.

mod limits;
mod listing;
mod log;
mod pool;
mod receipts;
mod reservations;
mod unpaid;

use std::collections::HashSet;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::*;

/// This many lines that take any ticket of the pool.
fn any(count: usize) -> Value {
    json!(vec![from_pool(); count])
}

async fn ticket(who: &User, id: &str) -> Value {
    who.get(&format!("/tickets/{id}")).await.expect(200)
}

async fn payment(who: &User, id: &str) -> Value {
    who.get(&format!("/payments/{id}")).await.expect(200)
}

async fn return_ticket(who: &User, ticket: &Value) -> Answer {
    who.delete(&format!("/tickets/{}", id(ticket))).await
}

/// The pool tickets for sale.
async fn pool(world: &World, draw: i64) -> Vec<Value> {
    world.anonymous().all(&format!("/draws/{draw}/pool?limit=200")).await
}

/// The pool tickets for sale by their ids.
async fn pool_ids(world: &World, draw: i64) -> HashSet<String> {
    pool(world, draw).await.iter().map(|ticket| id(ticket).to_owned()).collect()
}

async fn until_expired(who: &User, reserved: &Value) {
    let gone = || async { ticket(who, id(&reserved["tickets"][0])).await["status"] == "expired" };
    until("the reservation expires", gone).await;
}

/// Waits until the draw has this many pool tickets for sale.
async fn until_available(world: &World, draw: i64, count: i64) {
    let anonymous = world.anonymous();
    let path = format!("/draws/{draw}");
    let counted = || async { anonymous.get(&path).await.expect(200)["tickets_available"] == count };
    until(&format!("{count} tickets are for sale"), counted).await;
}

fn numbers(ticket: &Value) -> Vec<i64> {
    ticket["numbers"].as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}

/// Whether these are this many different numbers of 1 to `of`, ascending.
fn is_legal(numbers: &[i64], pick: usize, of: i64) -> bool {
    numbers.len() == pick && numbers.is_sorted_by(|a, b| a < b) && numbers[0] >= 1 && numbers[pick - 1] <= of
}

#[actix_web::test]
async fn chosen_numbers_in_any_order_come_back_ascending() {
    let (world, _, draw) = World::on_sale(0).await;
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
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_order_is_answered_with_all_its_tickets() {
    let (world, _, draw) = World::on_sale(1).await;
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
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_refused_pick_names_its_line() {
    let (world, _, draw) = World::on_sale(3).await;
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
async fn an_order_has_1_to_100_lines_of_one_kind_each() {
    let (world, _, draw) = World::on_sale(3).await;
    let ann = world.rich_player("ann", 200 * PRICE).await;
    let quick = quick_pick();
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
        (quick_pick(), "tickets"),
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
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_order_takes_all_its_lines_or_none() {
    let (world, _, draw) = World::on_sale(4).await;
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
    world.check_invariants().await;
}

#[actix_web::test]
async fn only_an_open_draw_sells() {
    let (world, admin, over) = World::on_sale(0).await;
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
    ann.pay(bill, card(GOOD_CARD)).await.refused(409, "payment_not_payable");
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
    world.check_invariants().await;
}

#[actix_web::test]
async fn no_ticket_is_bought_after_the_cut_off_even_before_the_list_is_sealed() {
    let (world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 9 * PRICE).await;
    world.advance(SignedDuration::from_mins(58));
    let reserved = ann.order(draw, json!([{"quick_pick": true}]), "later").await.expect(201);
    let lock = world.lock_draw(draw).await;

    world.advance(SignedDuration::from_mins(2));
    ann.order(draw, json!([{"quick_pick": true}]), "wallet").await.refused(409, "draw_not_open");
    ann.pay(id(&reserved["payment"]), wallet()).await.refused(409, "payment_not_payable");
    assert_eq!(world.count("SELECT count(*) FROM draw_seals").await, 0, "only the server's clock counts");

    lock.release().await;
    world.until_draw_is(draw, "closed").await;
    assert_eq!(admin.get(&format!("/draws/{draw}")).await.expect(200)["tickets_sold"], 0);
    assert_eq!(ann.balance().await, 9 * PRICE);
    world.check_invariants().await;
}
