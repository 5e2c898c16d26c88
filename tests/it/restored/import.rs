//! Draws in each state at the time of the backup, and what becomes of them.

use super::*;
use crate::beacon::drand::{Drand, Manner};
use crate::beacon::with_beacon;

/// A draw that is stopped: it sells nothing, is not drawn, and is cancelled with the published reason.
async fn is_stopped(world: &World, admin: &User, player: &User, draw: i64) {
    assert_eq!(shown(world, draw).await["tickets_available"], 0);
    player.order(draw, json!([quick_pick()]), "wallet").await.refused(409, "draw_not_open");
    for step in ["open", "close", "conduct"] {
        admin.step(draw, step).await.refused(409, "invalid_transition");
    }
    let times = json!({"draw_at": world.minutes(300)});
    let answer = admin.send(admin.request(Method::PATCH, &format!("/admin/draws/{draw}")).json(&times)).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    cancel(world, admin, draw, "the operator's words").await;
    assert_eq!(shown(world, draw).await["cancel_reason"], "log_rolled_back");
    let Some(Event::DrawVoided { reason, .. }) = entries_of(world, draw).await.pop() else { panic!() };
    assert_eq!(reason, "log_rolled_back");
}

#[actix_web::test]
async fn what_was_published_after_a_backup_stays_true() {
    let (mut world, admin, completed) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 100_000_000).await;
    let bob = world.rich_player("bob", 100_000_000).await;
    ann.buy_quick(completed, 2).await;
    close(&admin, completed).await;
    conduct(&world, &admin, completed).await;
    let mut on_sale = Vec::new();
    for _ in 0..9 {
        let draw = admin.open_draw(&world, 3).await;
        ann.buy_quick(draw, 3).await;
        ann.reserve(draw).await;
        on_sale.push(draw);
    }
    let [sells_on, then_sealed, sealed, drawn, voided, closed, then_drawn, then_voided, moved] = on_sale[..]
    else {
        panic!()
    };
    for draw in [closed, then_drawn, then_voided] {
        close(&admin, draw).await;
    }
    let scheduled = admin.schedule(&world).await;
    log_heads(&world).await;
    let watched = Program::new();
    assert_eq!(monitor(&world, &watched).await.0, Some(0));
    let prizes = format!(
        "SELECT coalesce(sum(amount), 0)::bigint FROM transfers WHERE kind = 'prize' AND user_id = {}",
        ann.id
    );
    let (balance, won) = (ann.balance().await, world.count(&prizes).await);
    world.stop().await;
    let backup = server::copy(&world.database).await;

    // What the backup does not have.
    world.start().await;
    let [admin, ann, bob] = [&admin, &ann, &bob].map(|user| world.reconnect(user));
    let mut receipts = Vec::new();
    for draw in [sells_on, then_sealed] {
        receipts.push((draw, bob.buy_quick(draw, 2).await["receipt"].clone()));
    }
    log_heads(&world).await;
    for draw in [then_sealed, sealed, drawn] {
        close(&admin, draw).await;
    }
    conduct(&world, &admin, then_drawn).await;
    conduct(&world, &admin, drawn).await;
    cancel(&world, &admin, voided, "rain").await;
    cancel(&world, &admin, then_voided, "snow").await;
    let new_time = json!({"draw_at": world.minutes(400)});
    admin.send(admin.request(Method::PATCH, &format!("/admin/draws/{moved}")).json(&new_time)).await.expect(200);
    admin.step(scheduled, "open").await.expect(200);
    let unannounced = admin.schedule_of(&world, "6of45").await;
    let absent = admin.open_draw_of(&world, "6of45").await;
    receipts.push((absent, bob.buy_quick(absent, 1).await["receipt"].clone()));
    let rotated = command_line(&world).run(&["log", "rotate-key"]).await;
    assert!(rotated.status.success(), "{rotated:?}");
    let results = [drawn, then_drawn].map(|draw| format!("/draws/{draw}/results"));
    let mut before = Vec::new();
    for path in &results {
        before.push(ann.get(path).await.expect(200));
    }
    world.restart().await;
    assert_eq!(monitor(&world, &watched).await.0, Some(0));
    world.stop().await;
    let published = entries(&world).await;

    server::restore(&world.database, &backup).await;
    let refused = refusal(&world).await;
    assert!(refused.contains("`lottery log import`") && refused.contains("Restore a newer backup"), "{refused}");
    let lacking = findings(&world).await;
    assert!(lacking.is_empty(), "the backup itself is whole: {lacking:?}");
    let epoch = format!("SELECT epoch FROM draw_sales WHERE draw_id = {sells_on}");
    let epoch_of_backup = world.count(&epoch).await;
    let said = import(&world, &[]).await.unwrap();
    assert_eq!(
        world.count(&epoch).await,
        epoch_of_backup + 1,
        "an actor that still has the draw writes nothing more"
    );
    for draw in [sells_on, then_sealed, moved, scheduled, absent] {
        assert!(said.contains(&format!("draw {draw}: STOPPED")), "{said}");
    }
    for (draw, what) in [
        (sealed, "is sealed again"),
        (drawn, "is drawn again"),
        (then_drawn, "is drawn again"),
        (voided, "is cancelled again"),
        (then_voided, "is cancelled again"),
    ] {
        assert!(said.contains(&format!("draw {draw}: {what}")), "{said}");
    }
    for draw in [completed, closed, unannounced] {
        assert!(!said.contains(&format!("draw {draw}:")), "{said}");
    }
    assert!(entries(&world).await == published);
    let said = import(&world, &[]).await.unwrap();
    assert!(said.contains("nothing is missing"), "{said}");
    let found = findings(&world).await.join("\n");
    for draw in [sells_on, then_sealed, moved, scheduled, absent] {
        assert!(found.contains(&format!("draw {draw}: what was sold after the backup")), "{found}");
    }
    for draw in [sealed, drawn, then_drawn, voided, then_voided] {
        assert!(found.contains(&format!("draw {draw}: the backup")), "{found}");
    }

    // What happens again has the times of then.
    world.advance(SignedDuration::from_mins(7));
    world.start().await;
    let [admin, ann, bob] = [&admin, &ann, &bob].map(|user| world.reconnect(user));
    // Each goes on by itself to what was published, with the same result, and appends nothing.
    world.until_draw_is(sealed, "closed").await;
    for draw in [drawn, then_drawn] {
        world.until_draw_is(draw, "completed").await;
    }
    for draw in [voided, then_voided] {
        world.until_draw_is(draw, "cancelled").await;
    }
    assert_eq!(shown(&world, voided).await["cancel_reason"], "rain");
    assert_eq!(shown(&world, then_voided).await["cancel_reason"], "snow");
    for (path, before) in results.iter().zip(&before) {
        let mut again = ann.get(path).await.expect(200);
        again["drawn_at"] = before["drawn_at"].clone();
        assert_eq!(again, *before);
    }
    assert_eq!(entries(&world).await.len(), published.len(), "nothing is published a second time");
    // Heads of lists that have lost orders are not logged.
    let meanwhile = admin.open_draw(&world, 0).await;
    ann.buy_quick(meanwhile, 1).await;
    log_heads(&world).await;
    let Some(Event::DrawHeads { heads, .. }) =
        entries(&world).await.pop().map(|entry| Event::parse(&entry).unwrap())
    else {
        panic!("the newest entry has heads")
    };
    assert_eq!(heads.iter().map(|head| head.draw as i64).collect::<Vec<_>>(), [meanwhile]);
    cancel(&world, &admin, meanwhile, "rain").await;
    for draw in [sells_on, then_sealed, moved, scheduled, absent] {
        is_stopped(&world, &admin, &bob, draw).await;
    }
    // The id and the number of a draw that was published are not given out again.
    let next = admin.open_draw_of(&world, "6of45").await;
    assert!(next > absent);
    assert_eq!(shown(&world, next).await["number"], 3);
    // Other draws go on.
    for draw in [closed, sealed] {
        conduct(&world, &admin, draw).await;
    }
    ann.buy_quick(next, 1).await;
    close(&admin, next).await;
    conduct(&world, &admin, next).await;
    // What the backup knew of cancelled draws is refunded: ann has what she had, but for what she won and bought.
    let refunded = [sells_on, then_sealed, moved, voided, then_voided].len() as i64 * 3 * PRICE;
    assert_eq!(ann.balance().await, balance + refunded + world.count(&prizes).await - won - PRICE);
    world.check_invariants().await;
    // The log is the one that the monitor knows. Receipts of what was lost are contradicted by nothing that is signed.
    let (code, said) = monitor(&world, &watched).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("log_rolled_back"), "{said}");
    let sql = world.sql().await;
    for (draw, receipt) in receipts {
        let list = DrawLog::read(&sql, draw).await;
        assert!(list.check(&receipt).is_err(), "the order is lost");
    }
}

/// Its round is fetched again. A draw that was announced after the backup is made from its announcement, and if nothing was
/// sold in it, nothing of it is lost.
#[actix_web::test]
async fn a_draw_with_a_beacon_is_drawn_again_from_its_round() {
    let server = Drand::start(Manner::Good).await;
    let mut world = World::with(with_beacon(&[&server])).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 10_000_000).await;
    let draw = admin.open_draw(&world, 0).await;
    ann.buy_quick(draw, 9).await;
    close(&admin, draw).await;
    world.stop().await;
    let backup = server::copy(&world.database).await;
    world.start().await;
    let admin = world.reconnect(&admin);
    let empty = admin.open_draw(&world, 0).await;
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(empty, "closed").await;
    world.advance(SignedDuration::from_mins(60));
    for draw in [draw, empty] {
        world.until_draw_is(draw, "completed").await;
    }
    world.stop().await;
    let published = entries(&world).await;

    server::restore(&world.database, &backup).await;
    let said = import(&world, &[]).await.unwrap();
    for draw in [draw, empty] {
        assert!(said.contains(&format!("draw {draw}: is drawn again")), "{said}");
    }
    world.start().await;
    for draw in [draw, empty] {
        world.until_draw_is(draw, "completed").await;
    }
    assert!(entries(&world).await == published);
    world.check_invariants().await;
}
