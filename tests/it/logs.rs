//! Draws that anybody can verify: the public log and the ticket logs over HTTP. Everything here is recomputed by the crate
//! from what was published, without the database and without the master secret.

mod check;
mod copy;
mod late;
pub mod witnesses;

use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};
use verifiable_draw::Hash;
use verifiable_draw::bundle::read_entries;
use verifiable_draw::checkpoint::Checkpoint;
use verifiable_draw::event::{Event, FairnessMode, PublishedTier, Stage};
use verifiable_draw::keys::{DrawSeed, MasterSecret};
use verifiable_draw::merkle::tiles::{Tile, TileKind, TileProver, TileReader};
use verifiable_draw::merkle::verify::verify_consistency;
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::note::SignedNote;
use verifiable_draw::numbers::{Entropy, draw_numbers};
use verifiable_draw::order::OrderEntry;
use verifiable_draw::proof::InclusionReceipt;
use verifiable_draw::vkey::VerifierKey;

use crate::world::*;

/// What somebody gets who asks without a login.
struct Raw {
    status: u16,
    headers: reqwest::header::HeaderMap,
    bytes: Vec<u8>,
}

async fn raw(world: &World, path: &str) -> Raw {
    let url = format!("http://{}/api/v1{path}", world.app().address);
    let response = http_client().get(url).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Raw { status, headers, bytes: response.bytes().await.unwrap().to_vec() }
}

pub async fn log_key(world: &World) -> VerifierKey {
    let keys = world.anonymous().get("/keys").await.expect(200);
    assert_eq!(keys["policy"], Value::Null);
    VerifierKey::parse(keys["log"].as_str().unwrap()).unwrap()
}

/// The head of the log at this address, signed by this key.
pub async fn head(world: &World, log: &str, key: &VerifierKey) -> Head {
    let answer = raw(world, &format!("{log}/checkpoint")).await;
    assert_eq!((answer.status, &answer.headers["cache-control"]), (200, &"no-cache".parse().unwrap()));
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    Checkpoint::open(&SignedNote::parse(&answer.bytes).unwrap(), [key]).unwrap().head
}

/// Appends an entry to the public log as the service does: with the master secret.
pub async fn append(world: &World, event: &Event) {
    let index = world.count("SELECT count(*) FROM log_entries").await as u64;
    let mac = entry_mac(index, event.draw(), &event.to_bytes().unwrap());
    add_row(&world.sql().await, &event.to_bytes().unwrap(), event.draw(), Some(&mac)).await.unwrap();
}

/// The MAC that the service makes.
pub fn entry_mac(index: u64, draw: Option<u64>, entry: &[u8]) -> Hash {
    MasterSecret::new(std::array::from_fn(|i| i as u8)).row_key().entry_mac(index, draw, entry)
}

/// Appends a row to the public log, and makes everything else agree with it.
pub async fn add_row(
    sql: &tokio_postgres::Client,
    entry: &[u8],
    draw: Option<u64>,
    mac: Option<&[u8]>,
) -> Result<(), tokio_postgres::Error> {
    let edge: Vec<u8> = sql.query_one("SELECT edge FROM log_edge", &[]).await?.get(0);
    let edge = verifiable_draw::merkle::edge::Edge::from_bytes(&edge).unwrap();
    let appended = edge.append_batch(vec![hash_leaf(entry)]).unwrap();
    let (index, draw) = (appended.start() as i64, draw.map(|draw| draw as i64));
    let insert = "INSERT INTO log_entries (index, draw_id, entry, mac) VALUES ($1, $2, $3, $4)";
    sql.execute(insert, &[&index, &draw, &entry, &mac]).await?;
    sql.execute("UPDATE log_edge SET edge = $1", &[&appended.edge().to_bytes()]).await.map(drop)
}

async fn tile(world: &World, log: &str, tile: Tile) -> Vec<u8> {
    let answer = raw(world, &format!("{log}/{}", tile.path())).await;
    assert_eq!(answer.status, 200, "{}", tile.path());
    assert_eq!(answer.headers["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    answer.bytes
}

/// All entries of a log of this head, whose root they must have.
pub async fn entries(world: &World, log: &str, head: Head) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for index in 0.. {
        let Some(bundle) = Tile::of_tree(TileKind::Entries, index, head.size) else { break };
        let bytes = tile(world, log, bundle).await;
        let read = read_entries(&bytes).unwrap();
        assert_eq!(read.len(), usize::from(bundle.width));
        all.extend(read.into_iter().map(<[u8]>::to_vec));
    }
    let mut edge = verifiable_draw::merkle::edge::Edge::new();
    all.iter().for_each(|entry| edge.append(hash_leaf(entry)).unwrap());
    assert_eq!(edge.head(), head);
    all
}

/// The entries of a draw, each proved to be in the public log.
pub async fn transcript(world: &World, draw: i64) -> Vec<(u64, Vec<u8>, Event)> {
    let key = log_key(world).await;
    let proof = world.anonymous().get(&format!("/draws/{draw}/proof")).await.expect(200);
    assert_eq!((&proof["draw_id"], &proof["policy"]), (&json!(draw), &Value::Null));
    let entries = proof["entries"].as_array().unwrap().iter().map(|proved| {
        let receipt = InclusionReceipt::parse(proved["proof"].as_str().unwrap().as_bytes()).unwrap();
        let (entry, _) = receipt.verify_extra([&key]).unwrap();
        assert_eq!(proved["entry"], base64(entry));
        (receipt.index, entry.to_vec(), Event::parse(entry).unwrap())
    });
    entries.collect()
}

async fn reschedule(admin: &User, draw: i64, times: &Value) -> Answer {
    admin.send(admin.request(Method::PATCH, &format!("/admin/draws/{draw}")).json(times)).await
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn kinds(transcript: &[(u64, Vec<u8>, Event)]) -> Vec<&'static str> {
    let kind = |(_, _, event): &(u64, Vec<u8>, Event)| match event {
        Event::DrawAnnounced { .. } => "announced",
        Event::DrawRescheduled { .. } => "rescheduled",
        Event::DrawHeads { .. } => "heads",
        Event::DrawSealed { .. } => "sealed",
        Event::DrawCompleted { .. } => "completed",
        Event::DrawVoided { .. } => "voided",
        Event::KeyAdded { .. } | Event::KeyRetired { .. } => "key",
    };
    transcript.iter().map(kind).collect()
}

/// Recomputes a completed draw from what was published: its list, its seed, its numbers. Returns the index of the last
/// entry, what it says came after which, and what rolled in and over.
async fn verify(world: &World, draw: i64) -> (u64, Option<u64>, u64, u64) {
    let transcript = transcript(world, draw).await;
    let (_, announcement, announced) = &transcript[0];
    let Event::DrawAnnounced { commitment, ticket_log, rules, fairness, .. } = announced else { panic!() };
    assert_eq!(*fairness, FairnessMode::CommitReveal);
    let key = VerifierKey::parse(ticket_log).unwrap();
    let [(_, _, sealed), (index, _, completed)] = &transcript[transcript.len() - 2..] else { panic!() };

    // The list that was sealed is what the ticket log has, and its orders have all tickets.
    let Event::DrawSealed { orders, tickets, root, .. } = sealed else { panic!("{sealed:?}") };
    let log = format!("/draws/{draw}/log");
    let list = head(world, &log, &key).await;
    assert_eq!(list, Head { size: *orders, root: *root });
    let mut next = 1;
    for entry in entries(world, &log, list).await {
        let order = OrderEntry::parse(&entry).unwrap();
        assert_eq!(order.first, next);
        next = order.next();
    }
    assert_eq!(next - 1, *tickets);

    // The numbers follow from the seed, to which the announcement has committed.
    let Event::DrawCompleted { seed, winning_numbers, prize_fund, jackpot, tiers, rollover, after, .. } =
        completed
    else {
        panic!("{completed:?}")
    };
    let seed = seed.unwrap();
    assert_eq!(Some(DrawSeed::new(seed).commitment(key.name())), *commitment);
    let entropy = Entropy::CommitReveal { seed: &seed, sealed: &list };
    let mut numbers = draw_numbers(entropy, announcement, rules.pick, rules.of).unwrap();
    numbers.sort_unstable();
    assert_eq!(&numbers, winning_numbers);

    // And the service pays what it has published.
    let anonymous = world.anonymous();
    let shown = anonymous.get(&format!("/draws/{draw}")).await.expect(200);
    assert_eq!(shown["fairness"], "commit_reveal");
    assert_eq!((&shown["price"], &shown["tickets_sold"]), (&json!(rules.price), &json!(tickets)));
    let prizes: Vec<Value> = rules.tiers.iter().map(prize).collect();
    let without_odds = |prize: &Value| {
        let mut prize = prize.clone();
        prize.as_object_mut().unwrap().remove("odds");
        prize
    };
    assert_eq!(shown["prizes"].as_array().unwrap().iter().map(without_odds).collect::<Vec<_>>(), prizes);
    let result = anonymous.get(&format!("/draws/{draw}/results")).await.expect(200);
    assert_eq!(result["winning_numbers"], json!(winning_numbers));
    assert_eq!((&result["prize_fund"], &result["rollover"]), (&json!(prize_fund), &json!(rollover)));
    let paid: Vec<Value> = tiers
        .iter()
        .map(|it| {
            let total = it.winners * it.prize;
            json!({"matches": it.matches, "winners": it.winners, "prize": it.prize, "total": total})
        })
        .collect();
    assert_eq!(result["tiers"], json!(paid));
    (*index, *after, *jackpot, *rollover)
}

fn prize(tier: &PublishedTier) -> Value {
    match tier.amount {
        Some(amount) => json!({"matches": tier.matches, "kind": "fixed", "amount": amount, "minimum": null}),
        None => json!({
            "matches": tier.matches, "kind": "shared", "share": tier.share, "minimum": tier.minimum
        }),
    }
}

#[actix_web::test]
async fn a_draw_is_recomputed_from_what_was_published() {
    let (world, admin, first) = World::on_sale(5).await;
    let ann = world.rich_player("ann", 100_000_000).await;
    ann.buy_quick(first, 7).await;
    ann.order(first, json!([from_pool(), quick_pick()]), "wallet").await.expect(201);
    for _ in 0..20 {
        ann.buy_quick(first, 1).await;
    }
    admin.conduct(first).await;
    world.until_draw_is(first, "completed").await;
    let (index, after, jackpot, rollover) = verify(&world, first).await;
    assert_eq!((after, jackpot), (None, 0));

    // A draw in which nobody took part takes place, too, and the jackpot comes from the entry that it names.
    let empty = admin.open_draw(&world, 0).await;
    admin.conduct(empty).await;
    world.until_draw_is(empty, "completed").await;
    let (second, after, jackpot, rollover_of_empty) = verify(&world, empty).await;
    assert_eq!((after, jackpot), (Some(index), rollover));
    let third = admin.open_draw(&world, 0).await;
    ann.buy_quick(third, 1).await;
    // Cancelled draws never touch the jackpot, and draws of other lotteries have another one.
    let cancelled = admin.open_draw(&world, 0).await;
    admin.cancel(cancelled).await.expect(200);
    let other = admin.open_draw_of(&world, "6of45").await;
    for draw in [other, third] {
        admin.conduct(draw).await;
        world.until_draw_is(draw, "completed").await;
    }
    let (_, after, jackpot, _) = verify(&world, third).await;
    assert_eq!((after, jackpot), (Some(second), rollover_of_empty));
    assert_eq!(verify(&world, other).await.1, None);
    world.check_invariants().await;
}

#[actix_web::test]
async fn each_step_of_a_draw_is_logged_once_with_its_times() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    let (close, drawn) = (world.minutes(90), world.minutes(100));
    let times = json!({"sales_close_at": close, "draw_at": drawn});
    reschedule(&admin, draw, &times).await.expect(200);
    reschedule(&admin, draw, &times).await.expect(200);
    let opened = transcript(&world, draw).await;
    assert_eq!(kinds(&opened), ["announced", "rescheduled"]);
    let Event::DrawRescheduled { sales_close_at, draw_at, .. } = opened[1].2 else { panic!() };
    assert_eq!((sales_close_at, draw_at), (close.as_second() as u64, drawn.as_second() as u64));

    // By the clock, across a restart: not by hand.
    world.restart().await;
    let admin = world.reconnect(&admin);
    world.advance(SignedDuration::from_mins(91));
    world.until_draw_is(draw, "closed").await;
    world.advance(SignedDuration::from_mins(10));
    world.until_draw_is(draw, "completed").await;
    let all = transcript(&world, draw).await;
    assert_eq!(kinds(&all), ["announced", "rescheduled", "sealed", "completed"]);
    assert!(all.iter().all(|(_, entry, _)| !String::from_utf8_lossy(entry).contains("by_hand")), "{all:?}");
    verify(&world, draw).await;

    // By hand, both steps, or only the second.
    let early = admin.open_draw(&world, 0).await;
    admin.conduct(early).await;
    world.until_draw_is(early, "completed").await;
    let late = admin.open_draw(&world, 0).await;
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(late, "closed").await;
    admin.step(late, "conduct").await.expect(200);
    world.until_draw_is(late, "completed").await;
    for (draw, expected) in [(early, [true, true]), (late, [false, true])] {
        let all = transcript(&world, draw).await;
        let by_hand =
            all[1..].iter().map(|(_, entry, _)| String::from_utf8_lossy(entry).contains("\"by_hand\":1"));
        assert_eq!(by_hand.collect::<Vec<_>>(), expected);
    }
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_cancelled_draw_says_why_and_after_the_seal_what_would_have_been_drawn() {
    let (world, admin, open) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let closed = admin.open_draw(&world, 0).await;
    for draw in [open, closed] {
        ann.buy_quick(draw, 2).await;
    }
    admin.step(closed, "close").await.expect(200);
    for draw in [open, closed] {
        admin.cancel(draw).await.expect(200);
        world.until_draw_is(draw, "cancelled").await;
    }
    let entries = transcript(&world, open).await;
    assert_eq!(kinds(&entries), ["announced", "voided"]);
    let Event::DrawVoided { stage, seed, reason, .. } = &entries[1].2 else { panic!() };
    assert_eq!((*stage, *seed), (Stage::Open, None));
    let shown = ann.get(&format!("/draws/{open}")).await.expect(200);
    assert_eq!(shown["cancel_reason"], json!(reason));
    // Its orders stay hidden: its list was never sealed.
    let bundle = raw(&world, &format!("/draws/{open}/log/tile/entries/000.p/1")).await;
    assert_eq!(bundle.status, 409);

    let entries = transcript(&world, closed).await;
    assert_eq!(kinds(&entries), ["announced", "sealed", "voided"]);
    let (Event::DrawAnnounced { commitment, ticket_log, .. }, Event::DrawVoided { stage, seed, .. }) =
        (&entries[0].2, &entries[2].2)
    else {
        panic!()
    };
    let origin = VerifierKey::parse(ticket_log).unwrap().name().to_owned();
    assert_eq!(*stage, Stage::Closed);
    assert_eq!(Some(DrawSeed::new(seed.unwrap()).commitment(&origin)), *commitment);
    world.check_invariants().await;
}

#[actix_web::test]
async fn before_the_seal_hashes_are_public_and_orders_are_not() {
    let (world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    for _ in 0..3 {
        ann.buy_quick(draw, 1).await;
    }
    let Event::DrawAnnounced { ticket_log, .. } = &transcript(&world, draw).await[0].2 else { panic!() };
    let (key, log) = (VerifierKey::parse(ticket_log).unwrap(), format!("/draws/{draw}/log"));
    let before = head(&world, &log, &key).await;
    let leaves = |width| Tile { kind: TileKind::Hashes { level: 0 }, index: 0, width };
    assert_eq!(tile(&world, &log, leaves(3)).await.len(), 96);
    assert_eq!(tile(&world, &log, leaves(2)).await, tile(&world, &log, leaves(3)).await[..64]);
    let bundle = format!("{log}/tile/entries/000.p/3");
    world.anonymous().get(&bundle).await.refused(409, "draw_not_sealed");

    // No other tiles, and no other names of these.
    for (path, code) in [
        (format!("{log}/tile/0/000.p/4"), "not_found"),
        (format!("{log}/tile/0/000"), "not_found"),
        (format!("{log}/tile/0/001.p/1"), "not_found"),
        (format!("{log}/tile/1/000.p/1"), "not_found"),
        (format!("{log}/tile/0/000.p/03"), "not_found"),
        (format!("{log}/tile/8/000.p/1"), "not_found"),
        (format!("{log}/tile/"), "not_found"),
        (format!("{log}/tile/entries/x000/000.p/1"), "not_found"),
        ("/draws/99/log/checkpoint".to_owned(), "not_found"),
        ("/draws/99/proof".to_owned(), "not_found"),
        ("/log/tile/entries/000.p/200".to_owned(), "not_found"),
    ] {
        world.anonymous().get(&path).await.refused(404, code);
    }
    let scheduled = admin.schedule(&world).await;
    for path in ["proof", "log/checkpoint", "log/tile/entries/000.p/1"] {
        let answer = world.anonymous().get(&format!("/draws/{scheduled}/{path}")).await;
        answer.refused(409, "draw_not_verifiable");
    }
    assert_eq!(ann.get(&format!("/draws/{scheduled}")).await.expect(200)["fairness"], Value::Null);

    ann.buy_quick(draw, 4).await;
    admin.step(draw, "close").await.expect(200);
    let after = head(&world, &log, &key).await;
    assert_eq!((before.size, after.size), (3, 4));
    assert_eq!(entries(&world, &log, after).await.len(), 4);
    assert_eq!(raw(&world, &bundle).await.status, 200);
}

/// The tiles of a log, read before.
struct Tiles(std::collections::BTreeMap<Tile, Vec<Hash>>);

impl TileReader for &Tiles {
    type ReadError = Tile;

    fn read_tile(&mut self, tile: Tile) -> Result<Vec<Hash>, Tile> {
        self.0.get(&tile).cloned().ok_or(tile)
    }
}

async fn all_tiles(world: &World, log: &str, size: u64) -> Tiles {
    let mut tiles = std::collections::BTreeMap::new();
    for level in 0..8 {
        for index in 0.. {
            let Some(it) = Tile::of_tree(TileKind::Hashes { level }, index, size) else { break };
            let hashes = tile(world, log, it).await.as_chunks::<32>().0.to_vec();
            assert_eq!(hashes.len(), usize::from(it.width));
            tiles.insert(it, hashes);
        }
    }
    Tiles(tiles)
}

#[actix_web::test]
async fn a_log_of_several_tiles_is_one_tree_that_only_grows() {
    let (world, admin, draw) = World::on_sale(0).await;
    let key = log_key(&world).await;
    let mut heads = Vec::new();
    for minute in 0..260 {
        let change = json!({"draw_at": world.minutes(200 + minute)});
        reschedule(&admin, draw, &change).await.expect(200);
        if minute % 50 == 0 {
            heads.push(head(&world, "/log", &key).await);
        }
    }
    let newest = head(&world, "/log", &key).await;
    assert_eq!(newest.size, 261);
    assert_eq!(entries(&world, "/log", newest).await.len(), 261);
    let tiles = all_tiles(&world, "/log", newest.size).await;
    let mut prover = TileProver::new(&tiles, newest.size);
    assert_eq!(prover.root().unwrap(), newest.root);
    for older in heads {
        let proof = prover.consistency_proof(older.size).unwrap();
        verify_consistency(&older, &newest, &proof).unwrap();
    }
    // The first and the last entry are proved through stored roots.
    assert_eq!(transcript(&world, draw).await.len(), 261);
    world.check_invariants().await;
}

/// What is read of a draw has a limit, so new times have one: its seal and its end must still fit.
#[actix_web::test]
async fn a_draw_whose_times_were_changed_too_often_gets_no_new_ones_and_is_verified() {
    let (world, admin, draw) = World::on_sale(0).await;
    let new_times = |minute: i64| json!({"draw_at": world.minutes(200 + minute)});
    for minute in 1..900 {
        reschedule(&admin, draw, &new_times(minute)).await.expect(200);
    }
    let refused = reschedule(&admin, draw, &new_times(900)).await.refused(409, "invalid_transition");
    assert!(refused["detail"].as_str().unwrap().contains("its proof has no room for more"), "{refused}");
    let shown = admin.get(&format!("/draws/{draw}")).await.expect(200);
    assert_eq!(shown["draw_at"], new_times(899)["draw_at"]);
    world.rich_player("ann", 1_000_000).await.buy_quick(draw, 2).await;
    admin.conduct(draw).await;
    world.until_draw_is(draw, "completed").await;
    assert_eq!(transcript(&world, draw).await.len(), 902);
    verify(&world, draw).await;
    let url = format!("http://{}/api/v1/draws/{draw}", world.app().address);
    let verified = crate::common::process::Program::new().run(&["verify", &url]).await;
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && said.contains("Its times were changed 899 times"), "{said}");
    world.check_invariants().await;
}

#[actix_web::test]
async fn heads_of_ticket_logs_are_logged_while_something_sells() {
    let (world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    let key = log_key(&world).await;
    let last = async || {
        let head = head(&world, "/log", &key).await;
        entries(&world, "/log", head).await.pop().map(|entry| Event::parse(&entry).unwrap()).unwrap()
    };
    for orders in 1..=2 {
        ann.buy_quick(draw, 1).await;
        world.advance(SignedDuration::from_secs(60));
        until("the head is logged", async || match last().await {
            Event::DrawHeads { heads, .. } => heads.iter().any(|head| head.orders == orders),
            _ => false,
        })
        .await;
    }
    // Nothing sells: nothing is logged.
    let size = head(&world, "/log", &key).await.size;
    world.advance(SignedDuration::from_secs(60));
    world.advance(SignedDuration::from_secs(60));
    admin.conduct(draw).await;
    world.until_draw_is(draw, "completed").await;
    assert_eq!(head(&world, "/log", &key).await.size, size + 2);
    world.check_invariants().await;
}
