//! Admins change the times of a draw: at once, while a step is being written, and while a card is being charged.

use futures_util::future::join;
use reqwest::Method;

use super::*;
use crate::webhook::{notice, send, signature};

async fn patch(admin: &User, draw: i64, body: Value) -> Answer {
    admin.send(admin.request(Method::PATCH, &format!("/admin/draws/{draw}")).json(&body)).await
}

#[actix_web::test]
async fn of_two_changes_at_once_each_keeps_its_field() {
    let (world, admin, id) = World::on_sale(0).await;
    let (close, draw_at) = (world.minutes(90), world.minutes(300));
    let lock = world.lock_draw(id).await;
    let release = async {
        world.until_writer_waits().await;
        lock.release().await;
    };
    let changes =
        join(patch(&admin, id, json!({"sales_close_at": close})), patch(&admin, id, json!({"draw_at": draw_at})));
    let ((first, second), ()) = join(changes, release).await;
    first.expect(200);
    second.expect(200);
    let changed = draw(&admin, id).await;
    assert_eq!((&changed["sales_close_at"], &changed["draw_at"]), (&json!(close), &json!(draw_at)));

    // Each is checked against the times at its turn, not against those that its admin saw.
    let wrong = patch(&admin, id, json!({"draw_at": world.minutes(80)})).await.refused(422, "validation_failed");
    assert_eq!(wrong["errors"], json!([{"field": "draw_at", "message": "must not be before sales_close_at"}]));
    let changes = "SELECT count(*) FROM audit_log WHERE action = 'draw.reschedule'";
    assert_eq!(world.count(changes).await, 2);
    patch(&admin, id, json!({"draw_at": draw_at})).await.expect(200);
    patch(&admin, id, json!({})).await.expect(200);
    assert_eq!(world.count(changes).await, 2, "what changes nothing is not logged");
}

#[actix_web::test]
async fn a_change_waits_for_a_step_that_is_being_written() {
    let world = World::new().await;
    let admin = world.admin().await;
    let id = admin.schedule(&world).await;
    let lock = world.lock_draw(id).await;
    let release = async {
        world.until_writer_waits().await;
        let change = patch(&admin, id, json!({"sales_close_at": world.minutes(90)}));
        // It is sent before the step can be written.
        join(change, async { lock.release().await }).await.0
    };
    let (opened, changed) = join(admin.step(id, "open"), release).await;
    opened.expect(200);
    let changed = changed.expect(200);
    assert_eq!((&changed["status"], &changed["sales_close_at"]), (&json!("open"), &json!(world.minutes(90))));
}

#[actix_web::test]
async fn a_card_that_pays_while_the_sale_is_extended_gets_its_ticket() {
    let (world, admin, id) = World::on_sale(2).await;
    let ann = world.rich_player("ann", 1).await;
    let slow = ann.reserve(id).await;
    let bill = ann.pay(slow["payment"]["id"].as_str().unwrap(), card(SLOW_CARD)).await.expect(200);

    let lock = world.lock_draw(id).await;
    let later = json!({"sales_close_at": world.minutes(90)});
    let meanwhile = async {
        world.until_writer_waits().await;
        world.advance(minutes(61));
        let body = notice(&bill, "paid");
        let signature = signature(WEBHOOK_SECRET, world.clock.now().as_second(), &body);
        let release = async {
            let asked = || async { world.app().state.draws.orders_in_flight() == 1 };
            until("the draw is told of the charge", asked).await;
            lock.release().await;
        };
        let anonymous = world.anonymous();
        join(send("sandbox", Some(&signature), &body, &anonymous), release).await.0
    };
    let (extended, told) = join(patch(&admin, id, later), meanwhile).await;
    extended.expect(200);
    told.expect(200);
    let ticket = ann.get(&format!("/tickets/{}", slow["tickets"][0]["id"].as_str().unwrap())).await.expect(200);
    assert_eq!((&ticket["status"], &ticket["number"]), (&json!("paid"), &json!(1)));
    assert_eq!(ann.balance().await, 1);
    ann.reserve(id).await;
    world.check_invariants().await;
}
