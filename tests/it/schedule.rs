//! Recurring draws: created by their schedule, each once and with its pool, and conducted at their times.

use jiff::SignedDuration;
use lottery::config::ScheduleConfig;
use serde_json::{Value, json};

use crate::world::*;

#[actix_web::test]
async fn scheduled_draws_are_created_once_with_their_pools_and_take_place() {
    let hours = |hours: u64| std::time::Duration::from_secs(hours * 3600);
    let evening = ScheduleConfig {
        lottery: "5of36".to_owned(),
        at: "every day at 20:00".to_owned(),
        time_zone: "Europe/Moscow".to_owned(),
        on_sale: hours(24),
        cut_off: hours(1),
        pool: 7,
        ahead: 2,
    };
    // The world begins at 15:00 in Moscow.
    let mut world = World::with(|config| config.schedules = vec![evening]).await;
    let admin = world.admin().await;
    let draws = async |world: &World, most: usize| {
        let anonymous = world.anonymous();
        until("the draws are there, with their pools", || async {
            let draws = anonymous.get("/draws").await.expect(200);
            let draws = draws["items"].as_array().unwrap();
            draws.len() == most && draws[0]["tickets_available"] == 7
        })
        .await;
        anonymous.get("/draws").await.expect(200)["items"].as_array().unwrap().clone()
    };
    let [tomorrow, today] = &draws(&world, 2).await[..] else { panic!("two ahead") };
    world.until_draw_is(today["id"].as_i64().unwrap(), "open").await;
    let times =
        |draw: &Value| [&draw["sales_open_at"], &draw["sales_close_at"], &draw["draw_at"]].map(Value::clone);
    let expected = ["2030-04-30T17:00:00Z", "2030-05-01T16:00:00Z", "2030-05-01T17:00:00Z"];
    assert_eq!(times(today), expected.map(|time| json!(time)));
    let expected = ["2030-05-01T17:00:00Z", "2030-05-02T16:00:00Z", "2030-05-02T17:00:00Z"];
    assert_eq!(times(tomorrow), expected.map(|time| json!(time)));
    assert_eq!((&tomorrow["status"], &tomorrow["number"]), (&json!("scheduled"), &json!(2)));

    // Neither a restart nor a reschedule creates a draw twice.
    let later = json!({"draw_at": "2030-05-02T18:00:00Z"});
    let path = format!("/admin/draws/{}", tomorrow["id"]);
    admin.send(admin.request(reqwest::Method::PATCH, &path).json(&later)).await.expect(200);
    world.restart().await;
    assert_eq!(draws(&world, 2).await.len(), 2);
    let admin = world.reconnect(&admin);
    // A pool that is missing after a crash is created by the next start.
    assert_eq!(world.count("SELECT count(*) FROM pool_tickets").await, 14);
    world.stop().await;
    let sql = world.sql().await;
    sql.execute("DELETE FROM pool_tickets WHERE draw_id = $1", &[&tomorrow["id"].as_i64()]).await.unwrap();
    world.start().await;
    until("the pool is whole", || async { world.count("SELECT count(*) FROM pool_tickets").await == 14 }).await;

    // At the cut-off the sale ends, and one more draw is created.
    world.advance(SignedDuration::from_hours(4));
    world.until_draw_is(today["id"].as_i64().unwrap(), "closed").await;
    assert_eq!(draws(&world, 3).await[0]["draw_at"], "2030-05-03T17:00:00Z");
    world.advance(SignedDuration::from_hours(1));
    world.until_draw_is(today["id"].as_i64().unwrap(), "completed").await;
    world.until_draw_is(tomorrow["id"].as_i64().unwrap(), "open").await;
    let admin = world.reconnect(&admin);
    admin.cancel(tomorrow["id"].as_i64().unwrap()).await.expect(200);
    world.restart().await;
    assert_eq!(draws(&world, 3).await.len(), 3, "a cancelled draw is not made again");
    world.check_invariants().await;
}
