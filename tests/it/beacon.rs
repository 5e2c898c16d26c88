//! Draws whose numbers come from a public beacon: a server of drand with a key of its own is asked over real HTTP.

mod check;
mod chosen;
pub mod drand;
mod interrupted;
mod killed;
mod order;
mod verified;
pub mod witnessed;

use jiff::SignedDuration;
use lottery::config::{Config, FairnessSetting};
use reqwest::Method;
use serde_json::{Value, json};
use verifiable_draw::beacon::BeaconChain;
use verifiable_draw::event::{Event, FairnessMode, Stage};
use verifiable_draw::numbers::{Entropy, draw_numbers};

use crate::common::PASSWORD;
use crate::world::*;
use drand::{Drand, Manner, chain, chain_config, sign};

pub fn with_beacon(servers: &[&Drand]) -> impl FnOnce(&mut Config) {
    let endpoints = servers.iter().map(|server| server.url.clone()).collect();
    |config| {
        config.fairness.mode = FairnessSetting::Beacon;
        config.fairness.beacon_endpoints = endpoints;
        config.fairness.beacon_chain = Some(chain_config());
    }
}

/// A world that asks this server, with an admin and a draw on sale for an hour that is drawn an hour later.
async fn on_sale(server: &Drand) -> (World, User, i64) {
    let world = World::with(with_beacon(&[server])).await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    (world, admin, draw)
}

/// The entries of a draw in the public log.
async fn entries(world: &World, draw: i64) -> Vec<(Vec<u8>, Event)> {
    let sql = "SELECT entry FROM log_entries WHERE draw_id = $1 ORDER BY index";
    let rows = world.sql().await.query(sql, &[&draw]).await.unwrap();
    let entry = |row: &tokio_postgres::Row| {
        let bytes: Vec<u8> = row.get(0);
        let event = Event::parse(&bytes).unwrap();
        (bytes, event)
    };
    rows.iter().map(entry).collect()
}

/// The numbers of a round, as anybody computes them from the announcement.
fn numbers(announcement: &[u8], round: u64) -> Vec<u8> {
    let randomness = chain().verify(round, &sign(round)).unwrap();
    let mut numbers =
        draw_numbers(Entropy::Beacon { round, randomness: &randomness }, announcement, 5, 36).unwrap();
    numbers.sort_unstable();
    numbers
}

/// The round that a draw was announced with.
fn announced_round(event: &Event) -> u64 {
    let Event::DrawAnnounced { beacon: Some(beacon), fairness, commitment, .. } = event else {
        panic!("{event:?}")
    };
    assert_eq!((*fairness, *commitment), (FairnessMode::Beacon, None));
    assert_eq!((beacon.chain, beacon.public_key), (*chain().hash(), *chain().public_key()));
    beacon.round
}

async fn shown(world: &World, draw: i64) -> Value {
    world.anonymous().get(&format!("/draws/{draw}")).await.expect(200)
}

async fn reschedule(admin: &User, draw: i64, times: &Value) -> Answer {
    admin.send(admin.request(Method::PATCH, &format!("/admin/draws/{draw}")).json(times)).await
}

fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[actix_web::test]
async fn the_numbers_are_those_of_the_announced_round() {
    let server = Drand::start(Manner::Good).await;
    let (world, admin, draw) = on_sale(&server).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    ann.buy_quick(draw, 9).await;
    assert_eq!(shown(&world, draw).await["fairness"], "beacon");
    let round = announced_round(&entries(&world, draw).await[0].1);
    let drawn_at = world.minutes(120).as_second() as u64;
    assert_eq!(chain().time_of(round).unwrap(), drawn_at);
    assert_eq!(round, chain().round_at(drawn_at));

    // Neither an early close nor an admin makes it draw before its round, and nobody asks for the round before.
    admin.step(draw, "close").await.expect(200);
    world.advance(SignedDuration::from_mins(119));
    let early = admin.step(draw, "conduct").await.refused(409, "beacon_not_ready");
    assert!(early["detail"].as_str().unwrap().contains("2030-05-01T14:00:00Z"), "{early}");
    assert_eq!(server.asked(), [0_u64; 0]);
    world.advance(SignedDuration::from_mins(1));
    world.until_draw_is(draw, "completed").await;
    assert_eq!(server.asked(), [round]);

    let all = entries(&world, draw).await;
    let [(announcement, _), (_, Event::DrawSealed { by_hand, .. }), (_, completed)] = &all[..] else {
        panic!("{all:?}")
    };
    let Event::DrawCompleted { seed, signature, winning_numbers, .. } = completed else { panic!("{completed:?}") };
    assert!(by_hand);
    assert_eq!((*seed, *signature), (None, Some(sign(round))));
    assert_eq!(*winning_numbers, numbers(announcement, round));
    assert_eq!(shown(&world, draw).await["winning_numbers"], json!(winning_numbers));
    admin.step(draw, "conduct").await.expect(200);
    world.check_invariants().await;

    // What was announced cannot be changed with SQL either.
    let sql = world.sql().await;
    for statement in [
        "UPDATE draws SET round = round + 1",
        "UPDATE draws SET fairness = 'commit_reveal', chain = NULL, round = NULL",
        "UPDATE draw_results SET signature = NULL",
        "DELETE FROM beacon_chains",
        "UPDATE beacon_chains SET genesis = 0",
    ] {
        let refused = sql.execute(statement, &[]).await.unwrap_err();
        let code = refused.code().unwrap().code();
        assert_eq!(code, "23001", "{statement}: {refused:?}");
    }
}

#[actix_web::test]
async fn the_first_server_with_a_signature_that_verifies_is_believed() {
    let bad = [
        Manner::Slow,
        Manner::Status(500),
        Manner::Status(302),
        Manner::OtherSignature,
        Manner::OtherRound,
        Manner::Huge,
        Manner::Garbage,
    ];
    let mut servers = Vec::new();
    for manner in bad.into_iter().chain([Manner::Good, Manner::Good]) {
        servers.push(Drand::start(manner).await);
    }
    let world = World::with(with_beacon(&servers.iter().collect::<Vec<_>>())).await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(draw, "closed").await;
    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "completed").await;
    let all = entries(&world, draw).await;
    let round = announced_round(&all[0].1);
    let Event::DrawCompleted { winning_numbers, .. } = &all[2].1 else { panic!("{all:?}") };
    assert_eq!(*winning_numbers, numbers(&all[0].0, round));
    let asked: Vec<usize> = servers.iter().map(|server| server.asked().len()).collect();
    assert_eq!(asked, [1, 1, 1, 1, 1, 1, 1, 1, 0]);
    assert_eq!(metric(&world.metrics().await, "lottery_beacon_failures_total"), bad.len() as f64);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_draw_waits_for_its_round_and_goes_on_by_itself() {
    let server = Drand::start(Manner::Status(404)).await;
    let (world, admin, draw) = on_sale(&server).await;
    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "closed").await;
    // Its time is published: nothing stops it now.
    admin.cancel(draw).await.refused(409, "draw_due");
    reschedule(&admin, draw, &json!({"draw_at": world.minutes(300)})).await.refused(409, "draw_due");
    world.advance(SignedDuration::from_mins(61));
    for manner in [Manner::Status(404), Manner::Status(503), Manner::OtherSignature] {
        server.set(manner);
        let before = server.asked().len();
        until("the round is asked for again", async || server.asked().len() > before).await;
        admin.step(draw, "conduct").await.refused(409, "beacon_not_ready");
    }
    admin.cancel(draw).await.refused(409, "draw_due");
    assert_eq!(shown(&world, draw).await["status"], "closed");
    assert_eq!(metric(&world.metrics().await, "lottery_beacon_draws_waiting"), 1.0);
    server.set(Manner::Good);
    world.until_draw_is(draw, "completed").await;
    assert_eq!(metric(&world.metrics().await, "lottery_beacon_draws_waiting"), 0.0);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_draw_whose_round_does_not_appear_for_a_day_is_void_and_refunded() {
    let server = Drand::start(Manner::Status(404)).await;
    let (world, admin, draw) = on_sale(&server).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    ann.buy_quick(draw, 5).await;
    world.advance(SignedDuration::from_hours(2));
    until("the round is asked for", async || !server.asked().is_empty()).await;
    world.advance(SignedDuration::from_hours(24) - SignedDuration::from_secs(1));
    let asked = server.asked().len();
    until("it is asked for after that", async || server.asked().len() > asked + 1).await;
    assert_eq!(shown(&world, draw).await["status"], "closed");
    let admin = admin.log_in("the.admin", PASSWORD).await;
    admin.cancel(draw).await.refused(409, "draw_due");
    world.advance(SignedDuration::from_secs(1));
    world.until_draw_is(draw, "cancelled").await;
    assert_eq!(shown(&world, draw).await["cancel_reason"], "no_round");
    let ann = ann.log_in("ann", PASSWORD).await;
    assert_eq!(ann.balance().await, 10_000_000);
    let all = entries(&world, draw).await;
    let Event::DrawVoided { stage, reason, seed, .. } = &all[2].1 else { panic!("{all:?}") };
    assert_eq!((*stage, reason.as_str(), *seed), (Stage::Closed, "no_round", None));
    let by_admins = "SELECT count(*) FROM audit_log WHERE action = 'draw.cancel'";
    assert_eq!(world.count(by_admins).await, 0);
    world.check_invariants().await;
}

#[actix_web::test]
async fn after_a_long_stop_the_first_failure_does_not_void_a_draw() {
    let server = Drand::start(Manner::Status(404)).await;
    let (mut world, _, draw) = on_sale(&server).await;
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(draw, "closed").await;
    world.stop().await;
    world.advance(SignedDuration::from_hours(48));
    world.start().await;
    until("the round is asked for twice", async || server.asked().len() > 1).await;
    assert_eq!(shown(&world, draw).await["status"], "closed");
    server.set(Manner::Good);
    world.until_draw_is(draw, "completed").await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_sale_ends_a_margin_before_the_round() {
    let server = Drand::start(Manner::Good).await;
    let mut world = World::new().await;
    let admin = world.admin().await;
    let times = |close: i64, draw_at: i64| json!({"lottery": "5of36", "sales_close_at": world.minutes(close), "draw_at": world.minutes(draw_at)});
    let narrow = admin.create_draw(times(60, 61)).await;
    let by_clock = {
        let mut body = times(60, 61);
        body["sales_open_at"] = json!(world.minutes(30));
        admin.create_draw(body).await
    };
    let (ten, nine) = (times(50, 60), times(51, 60));
    let open = admin.open_draw(&world, 0).await;
    let servers = [&server];
    world.stop().await;
    with_beacon(&servers)(&mut world.config);
    world.start().await;
    let admin = world.reconnect(&admin);

    let refused = admin.post("/admin/draws", nine).await.refused(422, "validation_failed");
    let message = "must be at least 10m before 2030-05-01T13:00:00Z, when the beacon's round of draw_at appears \
                   (fairness.margin)";
    assert_eq!(refused["errors"], json!([{"field": "sales_close_at", "message": message}]));
    let draw = admin.create_draw(ten).await;
    reschedule(&admin, draw, &json!({"sales_close_at": world.minutes(51)}))
        .await
        .refused(422, "validation_failed");
    admin.step(draw, "open").await.expect(200);
    reschedule(&admin, draw, &json!({"sales_close_at": world.minutes(51)}))
        .await
        .refused(422, "validation_failed");
    let moved = json!({"sales_close_at": world.minutes(51), "draw_at": world.minutes(61)});
    reschedule(&admin, draw, &moved).await.expect(200);

    // Draws of before: what is on sale keeps its mode, and what is not cannot be opened with these times.
    assert_eq!(shown(&world, open).await["fairness"], "commit_reveal");
    reschedule(&admin, open, &json!({"draw_at": world.minutes(60)})).await.expect(200);
    let detail = admin.step(narrow, "open").await.refused(409, "invalid_transition")["detail"].to_string();
    assert!(detail.contains("sales_close_at must be at least 10m before"), "{detail}");
    reschedule(&admin, narrow, &json!({"draw_at": world.minutes(70)})).await.expect(200);
    admin.step(narrow, "open").await.expect(200);
    assert_eq!(shown(&world, narrow).await["fairness"], "beacon");
    world.advance(SignedDuration::from_mins(31));
    assert_eq!(shown(&world, by_clock).await["status"], "scheduled");
    world.advance(SignedDuration::from_mins(29));
    world.until_draw_is(by_clock, "cancelled").await;
    world.until_draw_is(open, "completed").await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn before_the_cut_off_a_draw_gets_other_times_or_is_cancelled() {
    let server = Drand::start(Manner::Good).await;
    let (world, admin, draw) = on_sale(&server).await;
    let round = announced_round(&entries(&world, draw).await[0].1);
    reschedule(&admin, draw, &json!({"draw_at": world.minutes(180)})).await.expect(200);
    let all = entries(&world, draw).await;
    let Event::DrawRescheduled { round: Some(moved), .. } = all[1].1 else { panic!("{all:?}") };
    assert_eq!(moved, round + 20 * 60);

    // Cancelled while it is on sale, and after an admin has closed it early.
    let open = admin.open_draw(&world, 0).await;
    let closed = admin.open_draw(&world, 0).await;
    admin.step(closed, "close").await.expect(200);
    for (cancelled, is) in [(open, Stage::Open), (closed, Stage::Closed)] {
        admin.cancel(cancelled).await.expect(200);
        world.until_draw_is(cancelled, "cancelled").await;
        let all = entries(&world, cancelled).await;
        let Event::DrawVoided { stage, seed, .. } = &all.last().unwrap().1 else { panic!("{all:?}") };
        assert_eq!((*stage, *seed), (is, None));
    }
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(draw, "closed").await;
    world.advance(SignedDuration::from_mins(119));
    world.until_draw_is(draw, "completed").await;
    let all = entries(&world, draw).await;
    let Event::DrawCompleted { winning_numbers, signature, .. } = &all[3].1 else { panic!("{all:?}") };
    assert_eq!((winning_numbers, signature), (&numbers(&all[0].0, moved), &Some(sign(moved))));
    assert_ne!(*winning_numbers, numbers(&all[0].0, round));
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_announced_draw_keeps_its_mode_and_its_chain() {
    let server = Drand::start(Manner::Good).await;
    let (mut world, _, draw) = on_sale(&server).await;
    world.stop().await;
    world.config.fairness.mode = FairnessSetting::CommitReveal;
    world.config.fairness.beacon_chain = None;
    world.start().await;
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(draw, "closed").await;
    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "completed").await;
    let all = entries(&world, draw).await;
    let Event::DrawCompleted { winning_numbers, .. } = &all[2].1 else { panic!("{all:?}") };
    assert_eq!(*winning_numbers, numbers(&all[0].0, announced_round(&all[0].1)));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_chain_that_is_not_what_its_hash_names_is_refused() {
    let mut world = World::new().await;
    world.stop().await;
    let quicknet = BeaconChain::quicknet();
    let good = lottery::config::ChainConfig {
        hash: lottery::beacon::hex(quicknet.hash()),
        public_key: lottery::beacon::hex(quicknet.public_key()),
        genesis_time: quicknet.genesis(),
        period: quicknet.period(),
        group_hash: lottery::beacon::hex(quicknet.group_hash()),
        beacon_id: quicknet.beacon_id().to_owned(),
    };
    for (change, said) in [
        (lottery::config::ChainConfig { period: 4, ..good.clone() }, "its hash is not that of its other fields"),
        (
            lottery::config::ChainConfig { hash: "5".into(), ..good.clone() },
            "hash must be 32 bytes in hexadecimal digits",
        ),
        (
            lottery::config::ChainConfig { public_key: "00".repeat(96), ..good.clone() },
            "the 96 bytes are not a public key on G2; the scheme must be bls-unchained-g1-rfc9380",
        ),
    ] {
        world.config.fairness.beacon_chain = Some(change);
        let refused =
            lottery::app::App::start(&world.config, world.clock.clone()).await.err().unwrap().to_string();
        assert!(refused.starts_with("fairness.beacon_chain: ") && refused.contains(said), "{refused}");
    }
    world.config.fairness.beacon_chain = Some(good);
    world.start().await;
}
