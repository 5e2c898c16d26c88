//! Witnesses of the public log: what they cosign, what is kept and shown of it, and that none of them delays anything.

mod aics;
pub mod stand_in;

use std::io::Write;

use lottery::app::App;
use lottery::config::Config;
use lottery::domain::log_keys::{LogKeys, LogOrigin};
use tempfile::NamedTempFile;
use verifiable_draw::keys::MasterSecret;
use verifiable_draw::policy::{Policy, WitnessTime};

use super::*;
use stand_in::{Conduct, TestWitness};

/// The time of a witness' first cosignature; each further one is a second later.
const FIRST_TIME: u64 = 1_900_000_000;
pub const PUBLIC_URL: &str = "https://lottery.example";

/// The key of the public log of these tests.
fn log_key_of_tests() -> VerifierKey {
    let secret = MasterSecret::new(std::array::from_fn(|i| i as u8));
    LogKeys::new(secret, LogOrigin::of_url(PUBLIC_URL).unwrap()).public_log_key(0).verifier().clone()
}

fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// A policy of so many of these witnesses.
pub fn policy_of(threshold: usize, witnesses: &[&TestWitness]) -> String {
    let mut text = format!("# Of the tests\nlog {}\n", log_key_of_tests());
    let mut names = String::new();
    for (n, witness) in witnesses.iter().enumerate() {
        text += &format!("witness w{n} {} {}\n", witness.key(), witness.url);
        names += &format!(" w{n}");
    }
    if witnesses.is_empty() {
        text + "quorum none\n"
    } else {
        text + &format!("group g {threshold}{names}\nquorum g\n")
    }
}

/// The file of a policy.
pub struct PolicyFile(NamedTempFile);

impl PolicyFile {
    pub fn new(text: &str) -> PolicyFile {
        let file = PolicyFile(NamedTempFile::new().unwrap());
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        let mut file = self.0.reopen().unwrap();
        file.set_len(0).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub async fn world(&self) -> World {
        World::with(|config| self.configure(config)).await
    }

    pub fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    /// Makes it the policy of the service.
    pub fn configure(&self, config: &mut Config) {
        config.server.public_url = Some(PUBLIC_URL.to_owned());
        config.fairness.policy = Some(self.0.path().to_owned());
    }
}

/// The served checkpoint of the public log.
async fn checkpoint(world: &World) -> SignedNote {
    SignedNote::parse(&raw(world, "/log/checkpoint").await.bytes).unwrap()
}

fn size_of(note: &SignedNote) -> u64 {
    Checkpoint::open(note, [&log_key_of_tests()]).unwrap().head.size
}

/// Waits until all that is committed is published: on a slow machine a step does not wait for it.
async fn until_published(world: &World) {
    let log = &world.app().state.public_log;
    until("all that is committed is published", async || {
        let committed = world.count("SELECT count(*) FROM log_entries").await;
        log.published().head.size >= committed.cast_unsigned()
    })
    .await;
}

/// Waits until these witnesses, and no others, have cosigned the served checkpoint; returns it.
async fn until_cosigned(world: &World, witnesses: &[&TestWitness]) -> SignedNote {
    until_published(world).await;
    let names: Vec<&str> = witnesses.iter().map(|it| it.key().name()).collect();
    until(&format!("the newest head is cosigned by {names:?}"), async || {
        let note = checkpoint(world).await;
        let all = witnesses.iter().all(|it| note.verify([it.key()]).is_ok());
        all && note.signatures().len() == 1 + witnesses.len()
    })
    .await;
    checkpoint(world).await
}

/// The checkpoint with which a draw's seal is proved, and the index of the seal.
async fn seal(world: &World, draw: i64) -> (SignedNote, u64) {
    proved(world, draw, |event| matches!(event, Event::DrawSealed { .. })).await
}

/// The checkpoint with which the first of a draw's entries like this is proved, and its index.
pub async fn proved(world: &World, draw: i64, is_it: impl Fn(&Event) -> bool) -> (SignedNote, u64) {
    let proof = world.anonymous().get(&format!("/draws/{draw}/proof")).await.expect(200);
    for proved in proof["entries"].as_array().unwrap() {
        let text = proved["proof"].as_str().unwrap();
        let receipt = InclusionReceipt::parse(text.as_bytes()).unwrap();
        let (entry, _) = receipt.verify_extra([&log_key_of_tests()]).unwrap();
        if is_it(&Event::parse(entry).unwrap()) {
            let (_, note) = text.split_once("\n\n").unwrap();
            return (SignedNote::parse(note.as_bytes()).unwrap(), receipt.index);
        }
    }
    panic!("draw {draw} has no such entry")
}

pub fn quorum(policy: &str, note: &SignedNote) -> Option<Vec<WitnessTime>> {
    Policy::parse(policy.as_bytes()).unwrap().open(note, None).ok().map(|(_, times)| times)
}

/// Waits until the seal of a draw is proved with the policy's quorum; returns the checkpoint.
async fn until_seal_has_quorum(world: &World, draw: i64, policy: &str) -> (SignedNote, u64) {
    until_published(world).await;
    until("the seal has its quorum", async || quorum(policy, &seal(world, draw).await.0).is_some()).await;
    seal(world, draw).await
}

async fn failures(world: &World, witness: &TestWitness) -> u64 {
    let (text, name) = (world.metrics().await, witness.key().name());
    let series = format!("lottery_witness_failures_total{{witness=\"{name}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

async fn is_contradicted(world: &World) -> bool {
    world.metrics().await.lines().any(|line| line == "lottery_public_log_contradicted 1")
}

#[actix_web::test]
async fn a_policy_is_published_byte_for_byte_and_each_draw_keeps_its_own() {
    let witness = TestWitness::start(1, Conduct::Honest).await;
    let (first, second) = (policy_of(1, &[&witness]), policy_of(0, &[]));
    let file = PolicyFile::new(&first);
    let mut world = file.world().await;
    let admin = world.admin().await;
    let of_policy = async |world: &World, policy: &str| {
        let answer = raw(world, "/log/policy").await;
        assert_eq!((answer.status, answer.bytes.as_slice()), (200, policy.as_bytes()));
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
        assert_eq!(world.anonymous().get("/keys").await.expect(200)["policy"], policy);
    };
    let of_draw = async |world: &World, draw: i64, policy: &str| {
        let proof = world.anonymous().get(&format!("/draws/{draw}/proof")).await.expect(200);
        assert_eq!(proof["policy"], policy);
        let entry = unbase64(proof["entries"][0]["entry"].as_str().unwrap());
        let Event::DrawAnnounced { policy: hash, .. } = Event::parse(&entry).unwrap() else { panic!() };
        assert_eq!(hash.unwrap(), sha256(policy.as_bytes()));
    };
    let draw = admin.open_draw(&world, 0).await;
    of_policy(&world, &first).await;
    of_draw(&world, draw, &first).await;
    until_cosigned(&world, &[&witness]).await;

    // Another policy is for the draws that are announced from then on, and the witnesses of the first are asked until
    // theirs are sealed.
    world.stop().await;
    file.write(&second);
    world.start().await;
    let admin = world.reconnect(&admin);
    of_policy(&world, &second).await;
    let other = admin.open_draw(&world, 0).await;
    of_draw(&world, other, &second).await;
    of_draw(&world, draw, &first).await;
    admin.step(draw, "close").await.expect(200);
    until_seal_has_quorum(&world, draw, &first).await;

    world.stop().await;
    world.config.fairness.policy = None;
    world.start().await;
    world.anonymous().get("/log/policy").await.refused(404, "not_found");
    assert_eq!(world.anonymous().get("/keys").await.expect(200)["policy"], Value::Null);
    of_draw(&world, draw, &first).await;
    world.check_invariants().await;

    // `lottery check` misses a policy that is gone.
    let sql = world.sql().await;
    crate::command::check::assert_finds(&sql, &[(check::LAW, "DELETE FROM witness_policies")]).await;
}

fn sha256(bytes: &[u8]) -> Hash {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}

#[actix_web::test]
async fn a_policy_that_cannot_be_used_ends_the_start_with_what_to_write() {
    let file = PolicyFile::new(&policy_of(0, &[]));
    let mut world = file.world().await;
    world.stop().await;
    let refusal = async || App::start(&world.config, world.clock.clone()).await.err().unwrap().to_string();
    file.write("quorum none\n");
    let said = refusal().await;
    assert!(
        said.starts_with("fairness.policy: ") && said.contains(&format!("\n    log {}\n", log_key_of_tests())),
        "{said}"
    );
    file.write("quorum");
    assert!(refusal().await.contains("the last line of the policy has no newline"));
    file.write(&format!("log {}\nwitness w witness.example+1\nquorum w\n", log_key_of_tests()));
    assert!(refusal().await.contains("line 2 of the policy"));
    drop(file);
    assert!(refusal().await.contains("fairness.policy: cannot read"));
}

#[actix_web::test]
async fn witnesses_cosign_each_head_and_the_first_cosignatures_of_a_seal_stay() {
    let witnesses = [TestWitness::start(1, Conduct::Honest).await, TestWitness::start(2, Conduct::Honest).await];
    let [first, second] = &witnesses;
    let policy = policy_of(2, &[first, second]);
    let file = PolicyFile::new(&policy);
    let mut world = file.world().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 0).await;
    ann.buy_quick(draw, 3).await;
    assert_eq!(size_of(&until_cosigned(&world, &[first, second]).await), 1);
    admin.step(draw, "close").await.expect(200);
    let (note, index) = until_seal_has_quorum(&world, draw, &policy).await;
    assert_eq!((index, size_of(&note)), (1, 2), "the first head that covers it");
    let times = quorum(&policy, &note).unwrap();
    for (witness, time) in witnesses.iter().zip(&times) {
        assert_eq!(time.timestamp, witness.first_time(2));
    }
    let metrics = world.metrics().await;
    for line in [
        "lottery_public_log_size 2",
        "lottery_public_log_contradicted 0",
        "lottery_witness_cosigned_size{witness=\"witness.example/w1\"} 2",
        "lottery_witness_failures_total{witness=\"witness.example/w2\"} 0",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}: {metrics}");
    }

    // Later heads and restarts change nothing of it, although the witnesses cosign the newest head once more.
    let kept = note.to_string();
    admin.step(draw, "conduct").await.expect(200);
    world.until_draw_is(draw, "completed").await;
    until_cosigned(&world, &[first, second]).await;
    assert_eq!(seal(&world, draw).await.0.to_string(), kept);
    let before = [first.requests(), second.requests()];
    world.restart().await;
    let newest = until_cosigned(&world, &[first, second]).await;
    assert!(size_of(&newest) >= 3);
    assert!(first.requests() > before[0] && second.requests() > before[1]);
    assert_eq!(seal(&world, draw).await.0.to_string(), kept);
    world.check_invariants().await;
}

#[actix_web::test]
async fn slow_lost_and_lying_witnesses_delay_nothing_and_are_asked_again() {
    let silent = TestWitness::start(1, Conduct::Honest).await;
    let lost = TestWitness::start(2, Conduct::Away).await;
    let liar = TestWitness::start(3, Conduct::Lies).await;
    let honest = TestWitness::start(4, Conduct::Honest).await;
    let policy = policy_of(3, &[&silent, &lost, &liar, &honest]);
    let file = PolicyFile::new(&policy);
    let world = file.world().await;
    silent.is_now(Conduct::Silent);
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 0).await;
    ann.buy_quick(draw, 3).await;
    admin.step(draw, "close").await.expect(200);
    // What the liar signs is not shown, and not kept.
    until_cosigned(&world, &[&honest]).await;
    until("the liar is found out", async || failures(&world, &liar).await > 1).await;
    until("the lost one is missed", async || failures(&world, &lost).await > 1).await;
    until_cosigned(&world, &[&honest]).await;
    let (note, _) = seal(&world, draw).await;
    assert_eq!((quorum(&policy, &note), note.signatures().len()), (None, 2));
    assert_eq!(world.count("SELECT count(*) FROM log_cosignatures").await, 1);
    assert!(!is_contradicted(&world).await);

    // The draw has gone on meanwhile; when they are back, they cosign the head of its seal before the newest.
    admin.step(draw, "conduct").await.expect(200);
    world.until_draw_is(draw, "completed").await;
    for witness in [&silent, &lost, &liar] {
        witness.is_now(Conduct::Honest);
    }
    let all = [&silent, &lost, &liar, &honest];
    until_cosigned(&world, &all).await;
    let (note, index) = until_seal_has_quorum(&world, draw, &policy).await;
    assert_eq!(size_of(&note), index + 1);
    assert_eq!(quorum(&policy, &note).unwrap().len(), 4);
    assert_eq!(lost.sizes()[0], index + 1);
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_answer_that_is_lost_is_asked_for_again_and_the_first_that_comes_is_kept() {
    let witness = TestWitness::start(1, Conduct::Honest).await;
    let policy = policy_of(1, &[&witness]);
    let file = PolicyFile::new(&policy);
    let world = file.world().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    until_cosigned(&world, &[&witness]).await;
    witness.is_now(Conduct::LosesAnswers);
    admin.step(draw, "close").await.expect(200);
    until_published(&world).await;
    until("it has cosigned the seal", async || witness.sizes().contains(&2)).await;
    witness.is_now(Conduct::Honest);
    let (note, _) = until_seal_has_quorum(&world, draw, &policy).await;
    assert_eq!(size_of(&note), 2);
    assert!(quorum(&policy, &note).unwrap()[0].timestamp > witness.first_time(2), "a retry has a later time");
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_witness_that_was_shown_a_later_head_by_somebody_else_cosigns_that_seal_with_a_later_one() {
    let early = TestWitness::start(1, Conduct::Honest).await;
    let late = TestWitness::start(2, Conduct::Honest).await;
    let policy = policy_of(2, &[&early, &late]);
    let file = PolicyFile::new(&policy);
    let world = file.world().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    until_cosigned(&world, &[&early, &late]).await;
    late.is_now(Conduct::Away);
    admin.step(draw, "close").await.expect(200);
    // An announcement: nobody would be asked for a cosignature of this head that is kept.
    admin.open_draw(&world, 0).await;
    let newest = until_cosigned(&world, &[&early]).await;
    late.is_shown(Checkpoint::open(&newest, [&log_key_of_tests()]).unwrap().head);
    late.is_now(Conduct::Honest);
    let (note, index) = until_seal_has_quorum(&world, draw, &policy).await;
    assert!(size_of(&note) > index + 1, "{}", size_of(&note));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_log_that_a_witness_is_ahead_of_is_not_signed() {
    let witness = TestWitness::start(1, Conduct::Honest).await;
    let file = PolicyFile::new(&policy_of(1, &[&witness]));
    let mut world = file.world().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    until_cosigned(&world, &[&witness]).await;

    // While it runs: the next head is not published any more, and the sale goes on.
    witness.is_now(Conduct::Claims(40));
    let other = admin.open_draw(&world, 0).await;
    until("the contradiction is seen", async || is_contradicted(&world).await).await;
    let published = size_of(&checkpoint(&world).await);
    assert_eq!(published, 2);
    world.rich_player("ann", 1_000_000).await.buy_quick(draw, 1).await;
    admin.cancel(other).await.expect(200);
    world.until_draw_is(other, "cancelled").await;
    assert_eq!(size_of(&checkpoint(&world).await), published);

    // At a start: nothing is signed.
    world.stop().await;
    let said = App::start(&world.config, world.clock.clone()).await.err().unwrap().to_string();
    let expected =
        "the witness witness.example/w1 has cosigned 40 entries of the public log, and the database has only 3";
    assert!(said.contains(expected) && said.contains("take it out of the file"), "{said}");
    // The operator does not believe it any more. Draws that were announced with it are still sold.
    file.write(&policy_of(0, &[]));
    world.start().await;
    until("it is asked", async || failures(&world, &witness).await > 0).await;
    let before = size_of(&checkpoint(&world).await);
    world.reconnect(&admin).open_draw(&world, 0).await;
    assert!(before >= 3 && size_of(&checkpoint(&world).await) > before);
    assert!(!is_contradicted(&world).await);
}

#[actix_web::test]
async fn a_witness_that_has_seen_another_history_raises_the_alarm() {
    let witness = TestWitness::start(1, Conduct::Honest).await;
    let file = PolicyFile::new(&policy_of(1, &[&witness]));
    let world = file.world().await;
    let admin = world.admin().await;
    witness.is_now(Conduct::SaysForked);
    admin.open_draw(&world, 0).await;
    until("the contradiction is seen", async || is_contradicted(&world).await).await;
    // It may be wrong, and a fork cannot be undone.
    admin.open_draw(&world, 0).await;
    assert_eq!(size_of(&checkpoint(&world).await), 2);
    witness.is_now(Conduct::Honest);
    until_cosigned(&world, &[&witness]).await;
}
