//! The list of tickets is changed after its seal.

use serde_json::{Value, json};
use verifiable_draw::event::Stage;

use super::*;
use crate::logs::transcript;
use crate::money::prizes::{share, with_lottery};

pub(super) const PRIZES: &str = "SELECT count(*) FROM transfers WHERE kind = 'prize'";
const STOPPED: &str = "lottery_draws_stopped 1";

/// A closed draw in which ann has bought 30 orders of ten tickets, and one of one.
pub(super) async fn closed() -> (World, User, i64) {
    let (world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 100_000_000).await;
    for _ in 0..30 {
        ann.buy_quick(draw, 10).await;
    }
    ann.buy_quick(draw, 1).await;
    world.player("eve").await;
    admin.step(draw, "close").await.expect(200);
    (world, admin, draw)
}

/// The draw has stopped and says so in the metrics, it has paid nothing, and everything else goes on.
pub(super) async fn assert_stopped(world: &World, admin: &User, draw: i64, status: &str) {
    assert_eq!(world.count(PRIZES).await, 0);
    assert_eq!(admin.get(&format!("/draws/{draw}")).await.expect(200)["status"], status);
    assert!(world.metrics().await.contains(STOPPED));
    let other = admin.open_draw(world, 0).await;
    world.rich_player(&format!("player{other}"), 1_000_000).await.buy_quick(other, 1).await;
    let ready = format!("http://{}/health/ready", world.app().address);
    assert_eq!(http_client().get(ready).send().await.unwrap().status(), 200);
    admin.cancel(other).await.expect(200);
    world.until_draw_is(other, "cancelled").await;
}

/// Each with what takes it back from the table `kept`.
const CHANGES: [(&str, &str); 5] = [
    (
        "UPDATE tickets SET pick = CASE pick WHEN 31 THEN 62 ELSE 31 END WHERE number = 7",
        "UPDATE tickets t SET pick = k.pick FROM kept k WHERE t.id = k.id",
    ),
    (
        "UPDATE tickets SET user_id = (SELECT id FROM users WHERE username = 'eve') WHERE number = 7",
        "UPDATE tickets t SET user_id = k.user_id FROM kept k WHERE t.id = k.id",
    ),
    (
        "UPDATE tickets SET number = -number WHERE number IN (10, 11);
         UPDATE tickets SET number = 21 + number WHERE number < 0",
        "UPDATE tickets SET number = -number WHERE number IN (10, 11);
         UPDATE tickets SET number = 21 + number WHERE number < 0",
    ),
    (
        "UPDATE tickets SET number = NULL, status = 'expired' WHERE number = 301;
         UPDATE draw_sales SET sold = 300 WHERE draw_id = 1; UPDATE draw_seals SET tickets = 300 WHERE draw_id = 1",
        "UPDATE tickets t SET number = 301, status = 'paid' FROM kept k WHERE t.id = k.id AND k.number = 301;
         UPDATE draw_sales SET sold = 301 WHERE draw_id = 1; UPDATE draw_seals SET tickets = 301 WHERE draw_id = 1",
    ),
    (
        "INSERT INTO tickets (user_id, id, payment_id, draw_id, number, pick, origin, status)
         SELECT user_id, gen_random_uuid(), payment_id, draw_id, 302, 31, 'chosen', 'paid' FROM tickets WHERE number = 301;
         UPDATE draw_sales SET sold = 302 WHERE draw_id = 1; UPDATE draw_seals SET tickets = 302 WHERE draw_id = 1",
        "DELETE FROM tickets WHERE number = 302; UPDATE draw_sales SET sold = 301 WHERE draw_id = 1; UPDATE draw_seals SET tickets = 301 WHERE draw_id = 1",
    ),
];

#[actix_web::test]
async fn a_draw_whose_tickets_were_changed_after_the_seal_pays_nothing_until_they_are_back() {
    for (change, back) in CHANGES {
        let (mut world, admin, draw) = closed().await;
        let keep = "CREATE TABLE kept AS SELECT id, number, pick, user_id FROM tickets";
        world.sql().await.batch_execute(keep).await.unwrap();
        tamper(&world, change).await;
        // The service has the changed database in memory, too.
        world.restart().await;
        let admin = world.reconnect(&admin);
        for _ in 0..2 {
            admin.step(draw, "conduct").await.refused(409, "list_mismatch");
        }
        assert_stopped(&world, &admin, draw, "settling").await;
        let numbers = admin.get(&format!("/draws/{draw}")).await.expect(200)["winning_numbers"].clone();
        world.restart().await;
        until("it has stopped again", async || world.metrics().await.contains(STOPPED)).await;

        tamper(&world, back).await;
        world.sql().await.batch_execute("DROP TABLE kept").await.unwrap();
        // It keeps the number of its tickets in memory.
        world.restart().await;
        world.until_draw_is(draw, "completed").await;
        assert!(world.metrics().await.contains("lottery_draws_stopped 0"));
        let completed = world.anonymous().get(&format!("/draws/{draw}")).await.expect(200);
        assert_eq!(completed["winning_numbers"], numbers, "{change}");
        world.check_invariants().await;
    }
}

#[actix_web::test]
async fn a_trigger_that_rewrites_a_ticket_to_the_drawn_numbers_wins_nothing() {
    let (world, admin, draw) = closed().await;
    plant(
        &world,
        "AFTER INSERT ON draw_results FOR EACH ROW",
        "UPDATE tickets SET pick = NEW.pick WHERE draw_id = NEW.draw_id AND number = 200; RETURN NULL;",
    )
    .await;
    admin.step(draw, "conduct").await.refused(409, "list_mismatch");
    assert_stopped(&world, &admin, draw, "settling").await;
}

#[actix_web::test]
async fn a_ticket_that_is_rewritten_between_count_and_payout_wins_nothing() {
    for change in ["pick = r.pick", "user_id = (SELECT id FROM users WHERE username = 'eve')", "number = -1"] {
        let (world, admin, draw) = closed().await;
        // Of a ticket that wins something: who gets it, and how much.
        let body = format!(
            "UPDATE tickets SET {change} FROM draw_results r WHERE r.draw_id = NEW.draw_id AND number = (
                 SELECT min(number) FROM tickets WHERE bit_count((pick & NEW.pick)::bit(64)) = 2);
             RETURN NULL;"
        );
        plant(&world, "AFTER UPDATE OF prize_fund ON draw_results FOR EACH ROW", &body).await;
        admin.step(draw, "conduct").await.refused(409, "list_mismatch");
        assert_stopped(&world, &admin, draw, "settling").await;
    }
}

#[actix_web::test]
async fn prizes_that_were_rewritten_are_not_paid() {
    let (world, admin, draw) = closed().await;
    let body = "UPDATE result_tiers SET prize = prize + 1 WHERE matches = 2; RETURN NULL;";
    plant(&world, "AFTER UPDATE OF prize_fund ON draw_results FOR EACH ROW", body).await;
    admin.step(draw, "conduct").await.refused(409, "list_mismatch");
    assert_stopped(&world, &admin, draw, "settling").await;
}

#[actix_web::test]
async fn numbers_that_were_rewritten_pay_nothing() {
    let (mut world, admin, draw) = closed().await;
    let body = "NEW.pick := CASE NEW.pick WHEN 31 THEN 62 ELSE 31 END; RETURN NEW;";
    plant(&world, "BEFORE INSERT ON draw_results FOR EACH ROW", body).await;
    assert_eq!(admin.step(draw, "conduct").await.status, 500);
    assert_eq!(world.count("SELECT count(*) FROM draw_results").await, 0);
    uproot(&world, "draw_results").await;

    // The numbers are rewritten before anything is paid, and the service reads them after a restart.
    let keep = "CREATE TABLE kept AS SELECT id, number, pick, user_id FROM tickets";
    world.sql().await.batch_execute(keep).await.unwrap();
    let (change, back) = CHANGES[0];
    tamper(&world, change).await;
    until("the draw is loaded", async || admin.step(draw, "conduct").await.status == 409).await;
    tamper(&world, back).await;
    tamper(&world, "UPDATE draw_results SET pick = CASE pick WHEN 31 THEN 62 ELSE 31 END").await;
    world.restart().await;
    let admin = world.reconnect(&admin);
    admin.step(draw, "conduct").await.refused(409, "list_mismatch");
    assert_stopped(&world, &admin, draw, "settling").await;
}

/// An attacker who changes tickets can compute their root, and write it wherever the database has the sealed one.
#[actix_web::test]
async fn a_seal_that_is_not_the_published_one_is_not_drawn() {
    let (world, admin, draw) = closed().await;
    reseal(&world, [9; 32]).await;

    admin.step(draw, "conduct").await.refused(409, "list_mismatch");
    world.advance(jiff::SignedDuration::from_mins(180));
    admin.step(draw, "conduct").await.refused(409, "list_mismatch");
    assert_eq!(world.count("SELECT count(*) FROM draw_results").await, 0);
    assert!(world.metrics().await.contains(STOPPED));
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
}

#[actix_web::test]
async fn a_stopped_draw_can_be_cancelled_until_its_prizes_are_fixed() {
    // Ten numbers of 63: nobody will see it won, so all of the fund rolls over.
    let world = World::with(|config| with_lottery(config, (10, 63), 100, 5_000, &[(10, share(10_000))])).await;
    let admin = world.admin().await;
    let first = admin.open_draw_of(&world, "tiny").await;
    let ann = world.rich_player("ann", 100_000_000).await;
    ann.buy_quick(first, 4).await;
    admin.conduct(first).await;
    world.until_draw_is(first, "completed").await;
    let jackpot = "SELECT sum(balance)::bigint FROM accounts WHERE kind = 'jackpot'";
    assert_eq!(world.count(jackpot).await, 200);
    let draw = admin.open_draw_of(&world, "tiny").await;
    let before = ann.balance().await;
    ann.buy_quick(draw, 3).await;
    admin.step(draw, "close").await.expect(200);
    let body = "UPDATE tickets SET pick = NEW.pick WHERE draw_id = NEW.draw_id AND number = 2; RETURN NULL;";
    plant(&world, "AFTER INSERT ON draw_results FOR EACH ROW", body).await;
    let keep = "CREATE TABLE kept AS SELECT id, pick FROM tickets WHERE draw_id = 2";
    world.sql().await.batch_execute(keep).await.unwrap();
    admin.step(draw, "conduct").await.refused(409, "list_mismatch");
    assert_eq!(world.count(jackpot).await, 0);

    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
    assert_eq!((ann.balance().await, world.count(jackpot).await), (before, 200));
    let shown = ann.get(&format!("/draws/{draw}")).await.expect(200);
    assert_eq!((&shown["winning_numbers"], &shown["cancel_reason"]), (&Value::Null, &json!("the drum is broken")));
    let exported = admin.get(&format!("/admin/export/draws?format=ndjson&draw_id={draw}")).await;
    let exported: Value = serde_json::from_str(&exported.text).unwrap();
    assert_eq!((&exported["winning_numbers"], &exported["drawn_at"]), (&Value::Null, &Value::Null));
    assert!(world.metrics().await.contains("lottery_draws_stopped 0"));
    let transcript = transcript(&world, draw).await;
    let Some((_, _, Event::DrawVoided { stage: Stage::Closed, seed: Some(_), .. })) = transcript.last() else {
        panic!("{transcript:?}")
    };
    // The next draw has the jackpot.
    let next = admin.open_draw_of(&world, "tiny").await;
    assert_eq!(ann.get(&format!("/draws/{next}")).await.expect(200)["prize_fund"], 200);
    ann.buy_quick(next, 1).await;
    admin.conduct(next).await;
    world.until_draw_is(next, "completed").await;
    assert_eq!(world.count("SELECT jackpot FROM draw_results WHERE draw_id = 3").await, 200);
    tamper(&world, "UPDATE tickets t SET pick = k.pick FROM kept k WHERE t.id = k.id").await;
    uproot(&world, "draw_results").await;
    world.sql().await.batch_execute("DROP TABLE kept").await.unwrap();
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_draw_whose_prizes_are_fixed_cannot_be_cancelled() {
    let (world, admin, draw) = closed().await;
    let body = "UPDATE result_tiers SET prize = prize + 1 WHERE matches = 2; RETURN NULL;";
    plant(&world, "AFTER UPDATE OF prize_fund ON draw_results FOR EACH ROW", body).await;
    admin.step(draw, "conduct").await.refused(409, "list_mismatch");
    admin.cancel(draw).await.refused(409, "invalid_transition");
    uproot(&world, "draw_results").await;
    tamper(&world, "UPDATE result_tiers SET prize = prize - 1 WHERE matches = 2").await;
    admin.step(draw, "conduct").await.expect(200);
    world.until_draw_is(draw, "completed").await;
    world.check_invariants().await;
}

/// Refunds go to who has paid: a cancelled draw whose owners were changed stops, until they are what they were.
#[actix_web::test]
async fn a_refund_goes_to_the_payer_or_nowhere() {
    let (world, admin, draw) = closed().await;
    let sql = world.sql().await;
    let eve: i64 = sql.query_one("SELECT id FROM users WHERE username = 'eve'", &[]).await.unwrap().get(0);
    let ann: i64 = sql.query_one("SELECT id FROM users WHERE username = 'ann'", &[]).await.unwrap().get(0);
    tamper(&world, &format!("UPDATE tickets SET user_id = {eve} WHERE number BETWEEN 101 AND 110")).await;
    admin.cancel(draw).await.refused(409, "list_mismatch");
    let refunds = "SELECT count(*) FROM transfers WHERE kind = 'refund'";
    assert_eq!(world.count(refunds).await, 0);
    assert_eq!(shown_status(&admin, draw).await, "cancelling");
    assert!(world.metrics().await.contains(STOPPED));

    tamper(&world, &format!("UPDATE tickets SET user_id = {ann} WHERE number BETWEEN 101 AND 110")).await;
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
    assert_eq!(world.count(refunds).await, 31);
    assert_eq!(world.count(&format!("SELECT balance FROM accounts WHERE id = {eve} * 8 + 1")).await, 0);
    assert_eq!(world.count(&format!("SELECT balance FROM accounts WHERE id = {ann} * 8 + 1")).await, 100_000_000);
    world.check_invariants().await;
}

async fn shown_status(admin: &User, draw: i64) -> Value {
    admin.get(&format!("/draws/{draw}")).await.expect(200)["status"].clone()
}
