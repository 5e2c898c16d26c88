//! Draws with a beacon and witnesses: the list must have been cosigned before the round, by the clocks of the witnesses.

use verifiable_draw::cosignature::Cosigner;

use super::verified::{program, verify};
use super::*;
use crate::logs::witnesses::stand_in::{Conduct, TestWitness};
use crate::logs::witnesses::{PolicyFile, policy_of, proved, quorum};

/// A beacon, an honest witness, and the text and the file of a policy that wants its cosignature.
pub async fn beacon_and_witness() -> (Drand, TestWitness, String, PolicyFile) {
    let (server, witness) = (Drand::start(Manner::Good).await, TestWitness::start(1, Conduct::Honest).await);
    let text = policy_of(1, &[&witness]);
    let policy = PolicyFile::new(&text);
    (server, witness, text, policy)
}

/// A world with a beacon and these witnesses, all of which must cosign; an admin, and a draw with four tickets that closes
/// in an hour and is drawn an hour later. Returns the time of its round, too, in Unix seconds.
async fn on_sale(server: &Drand, policy: &PolicyFile) -> (World, User, i64, u64) {
    let world = World::with(|config| {
        with_beacon(&[server])(config);
        policy.configure(config);
    })
    .await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    world.rich_player("ann", 10_000_000).await.buy_quick(draw, 4).await;
    let round = announced_round(&entries(&world, draw).await[0].1);
    (world, admin, draw, chain().time_of(round).unwrap())
}

fn is_seal(event: &Event) -> bool {
    matches!(event, Event::DrawSealed { .. })
}

/// Closes the draw at its time, and waits until the witness has answered for its seal.
async fn close(world: &World, draw: i64, witness: &TestWitness) {
    let before = witness.requests();
    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "closed").await;
    until("the witness is asked", async || witness.requests() > before).await;
}

#[actix_web::test]
async fn a_list_that_was_cosigned_six_seconds_before_the_round_is_drawn() {
    let (server, witness, text, policy) = beacon_and_witness().await;
    let (world, _, draw, round) = on_sale(&server, &policy).await;
    until("the announcement is cosigned", async || witness.sizes() == [1]).await;
    witness.is_at(round - 6);
    close(&world, draw, &witness).await;
    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "completed").await;
    let (note, _) = proved(&world, draw, is_seal).await;
    assert_eq!(quorum(&text, &note).unwrap()[0].timestamp, round - 6);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_list_that_was_cosigned_too_late_is_void_and_refunded() {
    let (server, witness, text, policy) = beacon_and_witness().await;
    let (world, admin, draw, round) = on_sale(&server, &policy).await;
    until("the announcement is cosigned", async || witness.sizes() == [1]).await;
    witness.is_at(round - 5);
    close(&world, draw, &witness).await;
    until("the seal is cosigned", async || quorum(&text, &proved(&world, draw, is_seal).await.0).is_some()).await;
    world.advance(SignedDuration::from_mins(60));
    until("the round is there", async || !server.asked().is_empty()).await;
    admin.step(draw, "conduct").await.refused(409, "beacon_not_ready");
    world.advance(SignedDuration::from_secs(30));
    world.until_draw_is(draw, "cancelled").await;
    assert_eq!(shown(&world, draw).await["cancel_reason"], "no_quorum");
    let all = entries(&world, draw).await;
    let Event::DrawVoided { stage, reason, .. } = &all.last().unwrap().1 else { panic!("{all:?}") };
    assert_eq!((*stage, reason.as_str()), (Stage::Closed, "no_quorum"));
    assert_eq!(world.count("SELECT count(*) FROM transfers WHERE kind = 'refund'").await, 1);

    // Everybody can check it, and who has a cosignature from before refutes it.
    let program = program();
    let (code, said) = verify(&program, &world, draw, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no_quorum is not refuted by what was given") && !said.contains("REFUTED"), "{said}");
    let mut kept = proved(&world, draw, is_seal).await.0;
    let in_time = Cosigner::new(witness.key().name(), &[1; 32]).unwrap().signature_line(kept.text(), round - 6);
    kept.add_signatures(&in_time).unwrap();
    std::fs::write(program.directory().join("kept"), kept.to_string()).unwrap();
    let (code, said) = verify(&program, &world, draw, &["--checkpoint", "kept"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("✗ REFUTED: no_quorum. The quorum has cosigned a head with the seal"), "{said}");
    world.check_invariants().await;
}

#[actix_web::test]
async fn cosignatures_that_a_login_of_the_database_invents_hide_no_real_one() {
    let (server, witness) = (Drand::start(Manner::Good).await, TestWitness::start(1, Conduct::Honest).await);
    let absent = TestWitness::start(2, Conduct::Away).await;
    let text = policy_of(1, &[&witness, &absent]);
    let policy = PolicyFile::new(&text);
    let (mut world, _, draw, _) = on_sale(&server, &policy).await;
    until("the announcement is cosigned", async || witness.sizes() == [1]).await;
    witness.is_now(Conduct::Away);
    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "closed").await;
    let sql = world.sql().await;
    let seal = world.count("SELECT max(index) FROM log_entries").await;
    // Before the witness has answered: of its own key, of others, and so many that nobody wants to read them.
    let invent = "INSERT INTO log_cosignatures (size, key, root, line, mac)
        SELECT size, $2::bytea, sha256(''), 'no signature ' || n || E'\\n', sha256($2 || int8send(size) || int8send(n))
        FROM generate_series(1, 3000::bigint) n, unnest($1::bigint[]) size";
    for key in [*witness.key().public_key(), *absent.key().public_key(), [2; 32]] {
        sql.execute(invent, &[&vec![seal + 1, seal + 2], &key.as_slice()]).await.unwrap();
    }
    let by_size = "INSERT INTO log_cosignatures (size, key, root, line, mac)
        SELECT size, $1::bytea, sha256(''), E'no signature\\n', sha256(int8send(size)) FROM generate_series(1, 300::bigint) size";
    sql.execute(by_size, &[&witness.key().public_key().as_slice()]).await.unwrap();
    witness.is_now(Conduct::Honest);
    until("the seal is cosigned", async || quorum(&text, &proved(&world, draw, is_seal).await.0).is_some()).await;
    // A start asks which cosignatures are kept, and finds the real one.
    world.restart().await;
    assert!(quorum(&text, &proved(&world, draw, is_seal).await.0).is_some());
    // One that is older than the MACs counts as before.
    sql.batch_execute(
        "ALTER TABLE log_cosignatures DROP CONSTRAINT log_cosignatures_mac_check;
         SET session_replication_role = replica; UPDATE log_cosignatures SET mac = NULL WHERE line NOT LIKE 'no%'",
    )
    .await
    .unwrap();
    world.restart().await;
    assert!(quorum(&text, &proved(&world, draw, is_seal).await.0).is_some());
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(draw, "completed").await;
}

#[actix_web::test]
async fn an_answer_of_a_witness_that_comes_late_counts_by_its_own_time() {
    let (server, witness, text, policy) = beacon_and_witness().await;
    let (world, admin, draw, round) = on_sale(&server, &policy).await;
    until("the announcement is cosigned", async || witness.sizes() == [1]).await;
    witness.is_at(round - 100);
    witness.is_now(Conduct::Silent);
    close(&world, draw, &witness).await;
    world.advance(SignedDuration::from_mins(60));
    until("the round is there", async || !server.asked().is_empty()).await;
    admin.step(draw, "conduct").await.refused(409, "beacon_not_ready");
    witness.is_now(Conduct::Honest);
    until("the seal is cosigned", async || quorum(&text, &proved(&world, draw, is_seal).await.0).is_some()).await;
    world.advance(SignedDuration::from_secs(30));
    world.until_draw_is(draw, "completed").await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn new_times_and_a_cancellation_are_proved_with_cosignatures_from_before_the_old_cut_off() {
    let (server, witness, text, policy) = beacon_and_witness().await;
    let (world, admin, draw, _) = on_sale(&server, &policy).await;
    reschedule(&admin, draw, &json!({"draw_at": world.minutes(150)})).await.expect(200);
    admin.cancel(draw).await.expect(200);
    let cut_off = world.minutes(60).as_second() as u64;
    let kinds: [fn(&Event) -> bool; 2] = [
        |event| matches!(event, Event::DrawRescheduled { .. }),
        |event| matches!(event, Event::DrawVoided { .. }),
    ];
    let in_time = async |is_it: fn(&Event) -> bool| {
        let (note, _) = proved(&world, draw, is_it).await;
        quorum(&text, &note).is_some_and(|times| times[0].timestamp < cut_off)
    };
    for is_it in kinds {
        until("it is cosigned", async || in_time(is_it).await).await;
    }

    // A head that is cosigned later proves the other entries.
    witness.is_at(cut_off);
    admin.open_draw(&world, 0).await;
    until("the later head is cosigned", async || {
        let (note, _) = proved(&world, draw, |event| matches!(event, Event::DrawAnnounced { .. })).await;
        quorum(&text, &note).is_some_and(|times| times[0].timestamp >= cut_off)
    })
    .await;
    for is_it in kinds {
        assert!(in_time(is_it).await);
    }
    world.check_invariants().await;
}

/// Nobody can say whether the list was cosigned: the draw stops, and is not asked for again and again.
#[actix_web::test]
async fn a_draw_whose_policy_is_lost_stops_and_can_be_cancelled() {
    let (server, witness) = (Drand::start(Manner::Good).await, TestWitness::start(1, Conduct::Honest).await);
    let policy = PolicyFile::new(&policy_of(1, &[&witness]));
    let (world, admin, draw, round) = on_sale(&server, &policy).await;
    witness.is_at(round - 60);
    close(&world, draw, &witness).await;
    world
        .sql()
        .await
        .batch_execute("BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM witness_policies; COMMIT")
        .await
        .unwrap();
    world.advance(SignedDuration::from_mins(60));
    until("the draw stops", async || world.metrics().await.contains("lottery_draws_stopped 1")).await;
    admin.step(draw, "conduct").await.refused(409, "invalid_transition");
    assert_eq!(shown(&world, draw).await["status"], "closed");
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
    assert_eq!(shown(&world, draw).await["cancel_reason"], "list_mismatch");
    assert!(world.metrics().await.contains("lottery_draws_stopped 0"));
}
