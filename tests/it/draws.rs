//! The life of a draw: moved by admins and by the clock, concurrently, across restarts, and never backwards.

mod corrupt;
mod interrupted;
mod times;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::*;

/// Each order under way has a connection.
const ORDERS_AT_ONCE: usize = 32;

const STEPS: [&str; 4] = ["open", "close", "conduct", "cancel"];

async fn draw(person: &User, draw: i64) -> Value {
    person.get(&format!("/draws/{draw}")).await.expect(200)
}

async fn results(person: &User, draw: i64) -> Answer {
    person.get(&format!("/draws/{draw}/results")).await
}

/// Any of the four steps.
async fn step(admin: &User, draw: i64, step: &str) -> Answer {
    if step == "cancel" { admin.cancel(draw).await } else { admin.step(draw, step).await }
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

/// Buys tickets by concurrent orders.
async fn buy_many(buyer: &User, draw: i64, orders: usize, lines: usize) {
    let buying = stream::iter(0..orders).map(|_| buyer.buy_quick(draw, lines));
    buying.buffer_unordered(ORDERS_AT_ONCE).collect::<Vec<_>>().await;
}

/// Locks these rows until the returned connection is dropped.
async fn lock(world: &World, sql: &str) -> tokio_postgres::Client {
    let other = world.sql().await;
    other.batch_execute("BEGIN").await.unwrap();
    assert!(!other.query(sql, &[]).await.unwrap().is_empty());
    other
}

#[actix_web::test]
async fn admins_move_a_draw_and_a_repeated_step_changes_nothing() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let id = admin.schedule(&world).await;
    let scheduled = draw(&ann, id).await;
    assert_eq!((&scheduled["status"], &scheduled["number"]), (&json!("scheduled"), &json!(1)));
    assert_eq!(scheduled["sales_open_at"], Value::Null);
    for (name, status) in [("open", "open"), ("close", "closed"), ("conduct", "completed")] {
        results(&ann, id).await.refused(409, "draw_not_completed");
        assert_eq!(draw(&ann, id).await["winning_numbers"], Value::Null, "not before they are drawn");
        if name == "close" {
            ann.buy(id, &[1, 7, 13, 22, 36]).await;
        }
        let first = admin.step(id, name).await.expect(200);
        assert_eq!(first["status"], status);
        assert_eq!(admin.step(id, name).await.expect(200), first, "{name} twice");
    }
    let result = results(&ann, id).await.expect(200);
    assert_eq!(result["winning_numbers"], draw(&ann, id).await["winning_numbers"]);
    assert_eq!((&result["draw_id"], &result["tickets_sold"]), (&json!(id), &json!(1)));
    assert_eq!(result["tiers"].as_array().unwrap().len(), 4, "winners or not");
    assert_eq!(admin.schedule(&world).await, id + 1);
    assert_eq!(draw(&ann, id + 1).await["number"], 2, "they count within the lottery");
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_draw_says_when_its_numbers_were_drawn_and_not_only_when_they_were_to_be() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let early = admin.open_draw(&world, 0).await;
    let planned = draw(&admin, early).await["draw_at"].clone();
    world.advance(minutes(1));
    assert_eq!(admin.step(early, "close").await.expect(200)["drawn_at"], Value::Null, "not before they are drawn");
    world.advance(minutes(1));
    let drawn = admin.step(early, "conduct").await.expect(200);
    assert_eq!((&drawn["drawn_at"], &drawn["draw_at"]), (&json!(world.clock.now()), &planned));
    assert_ne!(drawn["drawn_at"], planned);
    let cancelled = admin.open_draw(&world, 0).await;
    assert_eq!(admin.cancel(cancelled).await.expect(200)["drawn_at"], Value::Null, "it has no numbers");
    let listed = admin.get("/draws").await.expect(200)["items"].clone();

    world.advance(minutes(1));
    world.restart().await;
    let admin = world.reconnect(&admin);
    assert_eq!(draw(&admin, early).await, drawn, "as the database has it");
    assert_eq!(admin.get("/draws").await.expect(200)["items"], listed);
    assert_eq!(results(&admin, early).await.expect(200)["drawn_at"], drawn["drawn_at"]);
}

#[actix_web::test]
async fn illegal_steps_change_nothing() {
    let world = World::new().await;
    let admin = world.admin().await;
    for (life, allowed) in [
        (&[][..], &["open", "cancel"][..]),
        (&["open"], &["open", "close", "cancel"]),
        (&["open", "close"], &["close", "conduct", "cancel"]),
        (&["open", "close", "conduct"], &["conduct"]),
        (&["cancel"], &["cancel"]),
        (&["open", "cancel"], &["cancel"]),
    ] {
        let id = admin.schedule(&world).await;
        for name in life {
            step(&admin, id, name).await.expect(200);
        }
        let before = draw(&admin, id).await;
        for name in STEPS.iter().filter(|name| !allowed.contains(name)) {
            step(&admin, id, name).await.refused(409, "invalid_transition");
        }
        assert_eq!(draw(&admin, id).await, before, "{life:?}");
    }
    for name in STEPS {
        step(&admin, 999_999, name).await.refused(404, "not_found");
    }
    results(&admin, 999_999).await.refused(404, "not_found");
}

#[actix_web::test]
async fn a_draw_moves_by_its_own_times() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let body = json!({
        "lottery": "5of36", "sales_open_at": world.minutes(10), "sales_close_at": world.minutes(60),
        "draw_at": world.minutes(120),
    });
    let id = admin.post("/admin/draws", body).await.expect(201)["id"].as_i64().unwrap();
    ann.order(id, json!([{"quick_pick": true}]), "wallet").await.refused(409, "draw_not_open");
    world.advance(minutes(10));
    world.until_draw_is(id, "open").await;
    ann.buy_quick(id, 3).await;
    world.advance(minutes(50));
    ann.order(id, json!([{"quick_pick": true}]), "wallet").await.refused(409, "draw_not_open");
    world.until_draw_is(id, "closed").await;
    world.advance(minutes(60));
    world.until_draw_is(id, "completed").await;
    assert_eq!(results(&ann, id).await.expect(200)["tickets_sold"], 3);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_card_that_never_answers_does_not_delay_the_draw() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.player("ann").await;
    let id = admin.open_draw(&world, 2).await;
    let slow = ann.reserve(id).await["payment"]["id"].as_str().unwrap().to_owned();
    let paid = ann.pay(&slow, json!({"method": "card", "token": "tok_async"})).await.expect(200);
    assert_eq!(paid["status"], "processing");
    world.advance(minutes(6));
    let other = ann.reserve(id).await["tickets"][0]["id"].as_str().unwrap().to_owned();
    world.advance(minutes(6));
    let path = format!("/tickets/{other}");
    until("a later reservation runs out", || async { ann.get(&path).await.body["status"] == "expired" }).await;
    assert_eq!(draw(&ann, id).await["tickets_available"], 1, "the slow card's ticket is held");
    world.advance(minutes(60));
    world.until_draw_is(id, "closed").await;
}

#[actix_web::test]
async fn a_draw_that_is_conducted_many_times_has_one_result() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 10_000_000).await;
    for parallel in [4, 16] {
        let id = admin.open_draw(&world, 0).await;
        buy_many(&ann, id, 3, 100).await;
        admin.step(id, "close").await.expect(200);
        let answers = join_all((0..parallel).map(|_| admin.step(id, "conduct"))).await;
        let drawn: Vec<Value> = answers.into_iter().map(|it| it.expect(200)["winning_numbers"].clone()).collect();
        assert!(drawn.iter().all(|numbers| *numbers == drawn[0] && numbers.is_array()), "{drawn:?}");
        assert_eq!(results(&ann, id).await.expect(200)["winning_numbers"], drawn[0]);
        assert_eq!(world.count(&format!("SELECT count(*) FROM draw_results WHERE draw_id = {id}")).await, 1);
    }
    world.check_invariants().await;
}

#[actix_web::test]
async fn no_ticket_is_bought_once_the_sale_has_ended_or_the_numbers_are_known() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let id = admin.open_draw(&world, 2).await;
    let late = ann.reserve(id).await["payment"]["id"].as_str().unwrap().to_owned();
    let pooled = ann.get(&format!("/draws/{id}/pool")).await.expect(200)["items"][0].clone();
    for name in ["close", "conduct"] {
        admin.step(id, name).await.expect(200);
        for line in [quick_pick(), from_pool(), json!({"pool_ticket_id": pooled["id"]})] {
            for payment in ["wallet", "later"] {
                ann.order(id, json!([line]), payment).await.refused(409, "draw_not_open");
            }
        }
        ann.pay(&late, wallet()).await.refused(409, "payment_not_payable");
        ann.pay(&late, card(GOOD_CARD)).await.refused(409, "payment_not_payable");
        assert_eq!(ann.get(&format!("/draws/{id}/pool")).await.expect(200)["items"], json!([]));
    }
    assert_eq!(ann.balance().await, 1_000_000);
    assert_eq!(world.count("SELECT count(*) FROM tickets WHERE status = 'paid'").await, 0);
    world.check_invariants().await;
}

#[actix_web::test]
async fn in_a_race_with_the_close_every_sold_ticket_is_sealed_and_none_is_sold_later() {
    let world = World::new().await;
    let admin = world.admin().await;
    let buyers = join_all((0..8).map(async |n| world.rich_player(&format!("buyer{n}"), 1_000_000).await)).await;
    for by_clock in [false, true] {
        let id = admin.open_draw(&world, 30).await;
        let lines = [json!([{"from_pool": true}]), json!([{"quick_pick": true}, {"quick_pick": true}])];
        let buy_until_closed = async |buyer: &User| {
            let mut sold = 0;
            for turn in 0.. {
                let answer = buyer.order(id, lines[turn % 2].clone(), "wallet").await;
                match answer.status {
                    201 => sold += answer.body["tickets"].as_array().unwrap().len() as i64,
                    _ if answer.is(409, "pool_empty") => {}
                    _ => {
                        answer.refused(409, "draw_not_open");
                        break;
                    }
                }
            }
            sold
        };
        let close = async {
            until("the sale is in full swing", async || {
                draw(&admin, id).await["tickets_sold"].as_i64() > Some(40)
            })
            .await;
            if by_clock {
                world.advance(minutes(60));
                world.until_draw_is(id, "closed").await;
            } else {
                admin.step(id, "close").await.expect(200);
            }
        };
        let (sold, ()) = tokio::join!(join_all(buyers.iter().map(buy_until_closed)), close);
        let sold: i64 = sold.iter().sum();
        let sealed = world.count(&format!("SELECT tickets FROM draw_seals WHERE draw_id = {id}")).await;
        assert_eq!((sealed, draw(&admin, id).await["tickets_sold"].as_i64().unwrap()), (sold, sold));
    }
    world.check_invariants().await;
}

#[actix_web::test]
async fn unpaid_reservations_expire_at_the_close() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 100_000).await;
    let id = admin.open_draw(&world, 3).await;
    world.advance(minutes(58));
    let reserved = ann.reserve(id).await;
    let cut_off = draw(&ann, id).await["sales_close_at"].clone();
    assert_eq!(reserved["tickets"][0]["reserved_until"], cut_off, "not beyond the cut-off");
    ann.buy_quick(id, 1).await;
    world.advance(minutes(2));
    world.until_draw_is(id, "closed").await;
    let ticket = ann.get(&format!("/tickets/{}", reserved["tickets"][0]["id"].as_str().unwrap())).await;
    assert_eq!(ticket.expect(200)["status"], "expired");
    let payment = ann.get(&format!("/payments/{}", reserved["payment"]["id"].as_str().unwrap())).await;
    assert_eq!(payment.expect(200)["status"], "expired");
    let closed = draw(&ann, id).await;
    assert_eq!((&closed["tickets_sold"], &closed["tickets_available"]), (&json!(1), &json!(0)));
    world.check_invariants().await;
}

#[actix_web::test]
async fn times_missed_while_the_service_was_down_are_caught_up() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let body =
        json!({"lottery": "6of45", "sales_open_at": world.minutes(10), "sales_close_at": world.minutes(60)});
    let unopened = admin.post("/admin/draws", body).await.expect(201)["id"].as_i64().unwrap();
    let forgotten = admin.schedule(&world).await;
    let sold = admin.open_draw(&world, 0).await;
    ann.buy_quick(sold, 5).await;
    let open = admin.post("/admin/draws", json!({"lottery": "5of36", "sales_close_at": world.minutes(300)})).await;
    let open = open.expect(201)["id"].as_i64().unwrap();
    admin.step(open, "open").await.expect(200);
    admin.pool(open, 1).await.expect(201);
    ann.reserve(open).await;

    world.stop().await;
    world.advance(minutes(180));
    world.start().await;

    for (id, status) in [(unopened, "cancelled"), (forgotten, "cancelled"), (sold, "completed"), (open, "open")] {
        world.until_draw_is(id, status).await;
    }
    let ann = world.reconnect(&ann);
    assert_eq!(results(&ann, sold).await.expect(200)["tickets_sold"], 5);
    // Nobody could buy a ticket of these. A verifier refuses an announcement that is later than the end of its sale.
    for id in [unopened, forgotten] {
        let reason = draw(&ann, id).await["cancel_reason"].clone();
        assert_eq!(reason, "its sale was not opened before the cut-off");
        world.reconnect(&admin).step(id, "open").await.refused(409, "invalid_transition");
    }
    let announced = format!("SELECT count(*) FROM log_entries WHERE draw_id IN ({unopened}, {forgotten})");
    assert_eq!(world.count(&announced).await, 0);
    until("it is for sale again", async || draw(&ann, open).await["tickets_available"] == 1).await;
    ann.reserve(open).await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_draw_that_nobody_opened_is_cancelled_at_its_cut_off() {
    let world = World::new().await;
    let admin = world.admin().await;
    let id = admin.schedule(&world).await;
    admin.pool(id, 5).await.expect(201);
    world.advance(minutes(60));
    world.until_draw_is(id, "cancelled").await;
    let cancelled = draw(&admin, id).await;
    assert!(cancelled["cancel_reason"].as_str().unwrap().contains("not opened"), "{cancelled}");
    assert_eq!((&cancelled["tickets_available"], &cancelled["prize_fund"]), (&json!(0), &json!(0)));
    admin.step(id, "open").await.refused(409, "invalid_transition");
}

/// What the API shows of a draw and of a player.
async fn everything(world: &World, who: &User, id: i64) -> Vec<Value> {
    let who = world.reconnect(who);
    let mut seen = vec![draw(&who, id).await];
    for list in ["/tickets", "/payments", "/wallet/transfers", &format!("/draws/{id}/pool")] {
        seen.push(who.all(list).await.into());
    }
    seen
}

#[actix_web::test]
async fn a_restart_rebuilds_the_same_draw() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let id = admin.open_draw(&world, 8).await;
    ann.buy_quick(id, 4).await;
    ann.order(id, json!([{"from_pool": true}, {"quick_pick": true}]), "wallet").await.expect(201);
    let to_pay = ann.order(id, json!([{"from_pool": true}, {"from_pool": true}]), "later").await.expect(201);
    let to_return = ann.order(id, json!([{"from_pool": true}, {"from_pool": true}]), "later").await.expect(201);
    ann.delete(&format!("/tickets/{}", to_return["tickets"][0]["id"].as_str().unwrap())).await.expect(204);
    let charged = ann.reserve(id).await["payment"]["id"].as_str().unwrap().to_owned();
    ann.pay(&charged, json!({"method": "card", "token": "tok_async"})).await.expect(200);

    let before = everything(&world, &ann, id).await;
    assert_eq!(before[0]["tickets_available"], 3, "8 less 1 sold, 2 and 1 reserved, 1 being charged");
    world.restart().await;
    assert_eq!(everything(&world, &ann, id).await, before);

    let (admin, ann) = (world.reconnect(&admin), world.reconnect(&ann));
    let to_pay = to_pay["payment"]["id"].as_str().unwrap();
    assert_eq!(ann.pay(to_pay, wallet()).await.expect(200)["status"], "paid");
    ann.pay(&charged, wallet()).await.refused(409, "payment_not_payable");
    ann.order(id, json!(vec![from_pool(); 4]), "later").await.refused(409, "pool_empty");
    world.advance(minutes(6));
    until("the reservation ran out", async || draw(&ann, id).await["tickets_available"] == 4).await;
    assert_eq!(admin.conduct(id).await["tickets_sold"], 8);
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_jackpot_goes_to_the_draw_that_is_conducted_first() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 100_000_000).await;
    let fund = async |id: i64| draw(&ann, id).await["prize_fund"].as_i64().unwrap();
    let before = admin.open_draw(&world, 0).await;
    buy_many(&ann, before, 3, 100).await;
    assert_eq!(fund(before).await, 300 * 5_000);
    let jackpot = admin.conduct(before).await["rollover"].as_i64().unwrap();

    let (older, younger) = (admin.open_draw(&world, 0).await, admin.open_draw(&world, 0).await);
    ann.buy_quick(older, 2).await;
    ann.buy_quick(younger, 1).await;
    assert_eq!((fund(older).await, fund(younger).await), (jackpot + 10_000, jackpot + 5_000));
    let other_lottery =
        admin.post("/admin/draws", json!({"lottery": "6of45", "sales_close_at": world.minutes(9)}));
    assert_eq!(other_lottery.await.expect(201)["prize_fund"], 0);

    let result = admin.conduct(younger).await;
    assert_eq!(result["prize_fund"], jackpot + 5_000);
    let rollover = result["rollover"].as_i64().unwrap();
    assert_eq!(fund(older).await, rollover + 10_000);
    admin.cancel(older).await.expect(200);
    let next = admin.open_draw(&world, 0).await;
    assert_eq!(fund(next).await, rollover, "cancelling never touches it");
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_database_itself_refuses_illegal_rows() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let over = admin.open_draw(&world, 0).await;
    ann.buy_quick(over, 1).await;
    let result = admin.conduct(over).await;
    let open = admin.open_draw(&world, 1).await;
    ann.reserve(open).await;
    let sql = world.sql().await;
    for (statement, state) in [
        (format!("UPDATE draw_results SET pick = 31 WHERE draw_id = {over}"), "23001"),
        (format!("UPDATE draw_results SET jackpot = 5 WHERE draw_id = {over}"), "23001"),
        (format!("DELETE FROM draw_results WHERE draw_id = {over}"), "23001"),
        (format!("INSERT INTO draw_results SELECT * FROM draw_results WHERE draw_id = {over}"), "23505"),
        (format!("UPDATE draw_seals SET tickets = 2 WHERE draw_id = {over}"), "23001"),
        (format!("DELETE FROM draw_seals WHERE draw_id = {over}"), "23001"),
        (format!("UPDATE draw_tiers SET amount = 9 WHERE draw_id = {over} AND matches = 2"), "23001"),
        (format!("UPDATE draws SET status = 'open' WHERE id = {over}"), "23001"),
        (format!("UPDATE draws SET status = 'settling' WHERE id = {over}"), "23001"),
        (format!("UPDATE draws SET status = 'cancelling' WHERE id = {over}"), "23001"),
        (format!("UPDATE draws SET status = 'settling' WHERE id = {open}"), "23001"),
        (format!("UPDATE draws SET status = 'scheduled' WHERE id = {open}"), "23001"),
        (format!("DELETE FROM draws WHERE id = {open}"), "23001"),
        (format!("UPDATE accounts SET balance = -1 WHERE id = {} * 8 + 1", ann.id), "23514"),
        (format!("UPDATE accounts SET balance = -1 WHERE id = {open} * 8 + 3"), "23514"),
        (format!("UPDATE accounts SET kind = 'held' WHERE id = {} * 8 + 1", ann.id), "23001"),
        ("INSERT INTO accounts (id, kind, user_id) VALUES (1002, 'held', 125000)".to_owned(), "23514"),
        ("INSERT INTO accounts (id, kind, user_id) VALUES (1000002, 'held', 125000)".to_owned(), "23503"),
        (
            "INSERT INTO tickets SELECT user_id + 1, id, payment_id, draw_id, NULL, pick, origin, pool_ticket_id,
             'reserved' FROM tickets WHERE pool_ticket_id IS NOT NULL"
                .to_owned(),
            "23505",
        ),
        (
            "INSERT INTO tickets SELECT user_id + 1, id, payment_id, draw_id, number, pick, origin, NULL, 'paid'
             FROM tickets WHERE number = 1"
                .to_owned(),
            "23505",
        ),
    ] {
        let refusal = sql.batch_execute(&statement).await.expect_err(&statement);
        assert_eq!(refusal.code().map(|code| code.code()), Some(state), "{statement}: {refusal:?}");
    }
    assert_eq!(results(&ann, over).await.expect(200), result);
    world.check_invariants().await;
}

#[actix_web::test]
async fn cancelling_refunds_every_payer_once_and_releases_reservations() {
    let world = World::new().await;
    let admin = world.admin().await;
    let players = join_all(["ann", "bob", "cid"].map(async |name| world.rich_player(name, 200_000).await)).await;
    for close_first in [false, true] {
        let id = admin.open_draw(&world, 5).await;
        for player in &players {
            player.buy_quick(id, 3).await;
            player.order(id, json!([{"from_pool": true}]), "wallet").await.expect(201);
        }
        let paid = players[0].reserve(id).await["payment"]["id"].as_str().unwrap().to_owned();
        players[0].pay(&paid, card(GOOD_CARD)).await.expect(200);
        let unpaid = players[1].reserve(id).await;
        if close_first {
            admin.step(id, "close").await.expect(200);
        }
        let answers = join_all((0..4).map(|_| admin.cancel(id))).await;
        for answer in answers {
            let cancelled = answer.expect(200);
            assert_eq!((&cancelled["status"], &cancelled["winning_numbers"]), (&json!("cancelled"), &Value::Null));
            assert_eq!(cancelled["cancel_reason"], "the drum is broken");
        }
        let ticket = unpaid["tickets"][0]["id"].as_str().unwrap();
        assert_eq!(players[1].get(&format!("/tickets/{ticket}")).await.expect(200)["status"], "expired");
        let payment = players[0].get(&format!("/payments/{paid}")).await.expect(200);
        assert_eq!(payment["status"], "refunded");
        results(&admin, id).await.refused(409, "draw_not_completed");
    }
    // A payment by card is refunded to the wallet.
    let balances = join_all(players.iter().map(User::balance)).await;
    assert_eq!(balances, [220_000, 200_000, 200_000]);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_pool_is_created_only_before_the_sale_ends() {
    let world = World::new().await;
    let admin = world.admin().await;
    let id = admin.schedule(&world).await;
    assert_eq!(admin.pool(id, 20_000).await.expect(201), json!({"created": 20_000, "tickets_available": 20_000}));
    admin.step(id, "open").await.expect(200);
    let two = join_all([admin.pool(id, 500), admin.pool(id, 500)]).await;
    two.into_iter().for_each(|answer| drop(answer.expect(201)));
    assert_eq!(draw(&admin, id).await["tickets_available"], 21_000);
    assert_eq!(world.count("SELECT count(DISTINCT pick) FROM pool_tickets").await, 21_000);
    assert!(world.count("SELECT count(*) FROM pool_tickets WHERE pick & (1::bigint << 35) <> 0").await > 0);
    admin.pool(id, 376_992 - 21_000 + 1).await.refused(422, "validation_failed");
    for count in [json!(0), json!(-1), json!(1_000_001), json!(9e18)] {
        let answer = admin.post(&format!("/admin/draws/{id}/pool"), json!({"count": count})).await;
        answer.refused(422, "validation_failed");
    }
    admin.step(id, "close").await.expect(200);
    admin.pool(id, 1).await.refused(409, "invalid_transition");
    admin.step(id, "conduct").await.expect(200);
    admin.pool(id, 1).await.refused(409, "invalid_transition");
    admin.pool(999_999, 1).await.refused(404, "not_found");
}

#[actix_web::test]
async fn a_pool_that_is_created_while_the_sale_ends_is_complete_or_absent() {
    let world = World::new().await;
    let admin = world.admin().await;
    for _ in 0..3 {
        let id = admin.open_draw(&world, 0).await;
        let (pool, closed) = tokio::join!(admin.pool(id, 3_000), admin.step(id, "close"));
        assert_eq!(closed.expect(200)["tickets_available"], 0);
        let there = world.count(&format!("SELECT count(*) FROM pool_tickets WHERE draw_id = {id}")).await;
        match pool.status {
            201 => assert_eq!(there, 3_000),
            _ => {
                pool.refused(409, "invalid_transition");
                assert_eq!(there, 0);
            }
        }
    }
}
