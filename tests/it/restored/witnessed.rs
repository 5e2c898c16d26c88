//! Witnesses have cosigned more of the log than a restored backup has, and draws were announced with their policy.

use verifiable_draw::note::SignedNote;

use super::*;
use crate::beacon::drand::{Drand, chain};
use crate::beacon::with_beacon;
use crate::beacon::witnessed::beacon_and_witness;
use crate::logs::witnesses::stand_in::{Conduct, TestWitness};
use crate::logs::witnesses::{PUBLIC_URL, PolicyFile, policy_of, proved, quorum};

fn is_seal(event: &Event) -> bool {
    matches!(event, Event::DrawSealed { .. })
}

/// The checkpoint with which the seal of a draw is proved.
async fn seal(world: &World, draw: i64) -> SignedNote {
    proved(world, draw, is_seal).await.0
}

/// Waits until the seal of a draw is proved with the policy's quorum.
async fn until_witnessed(world: &World, draw: i64, policy: &str) {
    until("the seal is cosigned", async || quorum(policy, &seal(world, draw).await).is_some()).await;
}

/// Stops the service, and puts the backup in the place of its database.
async fn restore(world: &mut World, backup: &tokio_postgres::Config) {
    world.stop().await;
    server::restore(&world.database, backup).await;
}

#[actix_web::test]
async fn what_witnesses_have_cosigned_is_brought_back_with_the_policy_of_its_draws() {
    let witness = TestWitness::start(1, Conduct::Honest).await;
    let text = policy_of(1, &[&witness]);
    let policy = PolicyFile::new(&text);
    // The policy is newer than the backup.
    let mut world = World::with(|config| config.server.public_url = Some(PUBLIC_URL.to_owned())).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    world.stop().await;
    let backup = server::copy(&world.database).await;
    policy.configure(&mut world.config);
    world.start().await;
    let [admin, ann] = [&admin, &ann].map(|user| world.reconnect(user));
    let (empty, lost) = (admin.open_draw(&world, 0).await, admin.open_draw(&world, 0).await);
    ann.buy_quick(lost, 1).await;
    close(&admin, empty).await;
    until_witnessed(&world, empty, &text).await;
    restore(&mut world, &backup).await;
    let published = witness.sizes();

    // The copy is not there: only the witness knows what the database lacks.
    let (log, elsewhere) = (world.config.data_dir.join("log"), tempfile::tempdir().unwrap());
    let kept = elsewhere.path().join("log");
    std::fs::rename(&log, &kept).unwrap();
    let refused = refusal(&world).await;
    assert!(refused.contains("the witness witness.example/w1 has cosigned 3 entries"), "{refused}");
    let from = kept.to_str().unwrap();
    world.config.fairness.policy = None;
    let refused = import(&world, &[from]).await.unwrap_err();
    let expected = format!("draw {empty} was announced with a witness policy whose SHA-256 is ");
    assert!(refused.contains(&expected) && refused.contains("set fairness.policy to that file"), "{refused}");
    assert!(entries(&world).await.is_empty(), "nothing is imported");
    policy.configure(&mut world.config);
    let said = import(&world, &[from]).await.unwrap();
    for (draw, what) in [(empty, "is sealed again"), (lost, "STOPPED")] {
        assert!(said.contains(&format!("draw {draw}: {what}")), "{said}");
    }

    world.start().await;
    let admin = world.reconnect(&admin);
    world.until_draw_is(empty, "closed").await;
    // The witness compares what it is shown with what it has cosigned.
    cancel(&world, &admin, lost, "whatever").await;
    conduct(&world, &admin, empty).await;
    until("it cosigns on", async || witness.sizes().len() > published.len() && witness.sizes().last() == Some(&5))
        .await;
    until_witnessed(&world, empty, &text).await;
    world.check_invariants().await;
}

/// A world with a beacon and a witness, and two draws that are due in two hours. The first has a ticket and is closed; the
/// second is announced after the backup that is returned, and has none. Both are cosigned in time.
async fn cosigned(
    server: &Drand,
    witness: &TestWitness,
    policy: &PolicyFile,
    text: &str,
) -> (World, User, [i64; 2], tokio_postgres::Config) {
    let mut world = World::with(|config| {
        with_beacon(&[server])(config);
        policy.configure(config);
    })
    .await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let first = admin.open_draw(&world, 0).await;
    ann.buy_quick(first, 1).await;
    let due = chain().round_at(world.minutes(120).as_second().cast_unsigned());
    witness.is_at(chain().time_of(due).unwrap() - 1_000);
    world.stop().await;
    let backup = server::copy(&world.database).await;
    world.start().await;
    let admin = world.reconnect(&admin);
    let second = admin.open_draw(&world, 0).await;
    for draw in [first, second] {
        close(&admin, draw).await;
        until_witnessed(&world, draw, text).await;
    }
    (world, admin, [first, second], backup)
}

/// Closed draws of a restored backup, whose lists a witness has cosigned again so many seconds before their round.
async fn cosigned_again(
    seconds_before: u64,
    text: &str,
    policy: &PolicyFile,
    (server, witness): (&Drand, &TestWitness),
) -> (World, User, [i64; 2]) {
    let (mut world, admin, draws, backup) = cosigned(server, witness, policy, text).await;
    restore(&mut world, &backup).await;
    let said = import(&world, &[]).await.unwrap();
    for draw in draws {
        assert!(said.contains(&format!("draw {draw}: is sealed again")), "{said}");
    }
    witness.is_at(world.minutes(120).as_second().cast_unsigned() - seconds_before);
    world.start().await;
    let admin = world.reconnect(&admin);
    for draw in draws {
        world.until_draw_is(draw, "closed").await;
        until_witnessed(&world, draw, text).await;
    }
    world.advance(SignedDuration::from_mins(121));
    (world, admin, draws)
}

/// The cosignatures are in the database alone. A witness signs again, with a later time.
#[actix_web::test]
async fn a_list_that_was_cosigned_after_the_backup_is_cosigned_again_in_time() {
    let (server, witness, text, policy) = beacon_and_witness().await;
    let (world, _, draws) = cosigned_again(60, &text, &policy, (&server, &witness)).await;
    for draw in draws {
        world.until_draw_is(draw, "completed").await;
    }
    world.check_invariants().await;
}

/// Others may have the cosignatures from before, so nobody can say that there were none: an admin cancels the draw.
#[actix_web::test]
async fn a_list_that_is_cosigned_again_too_late_stops() {
    let (server, witness, text, policy) = beacon_and_witness().await;
    let (world, admin, draws) = cosigned_again(4, &text, &policy, (&server, &witness)).await;
    until("both stop", async || world.metrics().await.contains("lottery_draws_stopped 2")).await;
    for draw in draws {
        admin.step(draw, "conduct").await.refused(409, "invalid_transition");
        cancel(&world, &admin, draw, "whatever").await;
        assert_eq!(shown(&world, draw).await["cancel_reason"], "log_rolled_back");
    }
    assert!(world.metrics().await.contains("lottery_draws_stopped 0"));
    world.check_invariants().await;
}

/// What was completed has had its quorum, although the restored database lacks the cosignatures.
#[actix_web::test]
async fn a_result_with_a_quorum_is_drawn_again_without_its_cosignatures() {
    let (server, witness, text, policy) = beacon_and_witness().await;
    let (mut world, _, [first, second], backup) = cosigned(&server, &witness, &policy, &text).await;
    world.advance(SignedDuration::from_mins(120));
    for draw in [first, second] {
        world.until_draw_is(draw, "completed").await;
    }
    restore(&mut world, &backup).await;
    let published = {
        let said = import(&world, &[]).await.unwrap();
        assert_eq!(said.matches("is drawn again").count(), 2, "{said}");
        entries(&world).await
    };
    witness.is_now(Conduct::Away);
    world.start().await;
    for draw in [first, second] {
        world.until_draw_is(draw, "completed").await;
    }
    assert!(entries(&world).await == published);
    assert!(quorum(&text, &seal(&world, first).await).is_none(), "they are lost");
    world.check_invariants().await;
}
