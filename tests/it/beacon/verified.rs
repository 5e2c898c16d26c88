//! `lottery verify` verifies draws with a beacon from what the service publishes, and refutes a void.

use super::*;
use crate::common::process::Program;

/// What `lottery verify` prints of a draw, and its exit code.
pub async fn verify(program: &Program, world: &World, draw: i64, more: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{}/api/v1/draws/{draw}", world.app().address);
    let output = program.run(&[&["verify", &url, "--beacon", "chain.json"], more].concat()).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// The program, with the chain of the tests in a file.
pub fn program() -> Program {
    let (program, chain) = (Program::new(), chain_config());
    let info = json!({
        "public_key": chain.public_key, "period": chain.period, "genesis_time": chain.genesis_time,
        "hash": chain.hash, "groupHash": chain.group_hash, "schemeID": "bls-unchained-g1-rfc9380",
        "metadata": {"beaconID": chain.beacon_id},
    });
    std::fs::write(program.directory().join("chain.json"), info.to_string()).unwrap();
    program
}

#[actix_web::test]
async fn a_draw_with_a_beacon_is_verified_and_a_void_one_is_not() {
    let server = Drand::start(Manner::Good).await;
    let (world, admin, draw) = on_sale(&server).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    ann.buy_quick(draw, 9).await;
    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "closed").await;
    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "completed").await;
    let program = program();
    let (code, said) = verify(&program, &world, draw, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    for sentence in [
        "the numbers come from a chain of rounds that you trust",
        "The numbers follow from what was published",
        "VERIFIED",
    ] {
        assert!(said.contains(sentence), "{said}");
    }

    // The operator says that the round did not appear. Everybody can refute it.
    let void = admin.open_draw(&world, 0).await;
    let round = announced_round(&entries(&world, void).await[0].1);
    server.set(Manner::Without(round));
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(void, "closed").await;
    world.advance(SignedDuration::from_mins(60));
    until("the round is asked for", async || server.asked().contains(&round)).await;
    world.advance(SignedDuration::from_hours(25));
    world.until_draw_is(void, "cancelled").await;
    let (code, said) = verify(&program, &world, void, &[]).await;
    assert_eq!(code, Some(1), "{said}");
    let where_to_ask =
        format!("Ask any server of the beacon for /{}/public/{round}", lottery::beacon::hex(chain().hash()));
    assert!(said.contains("no_round is not refuted") && said.contains(&where_to_ask), "{said}");
    let signature = lottery::beacon::hex(&sign(round));
    let (code, said) = verify(&program, &world, void, &["--signature", &signature]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("✗ REFUTED: no_round. The beacon has signed round {round}")), "{said}");
    let drawn: Vec<String> = numbers(&entries(&world, void).await[0].0, round).iter().map(u8::to_string).collect();
    assert!(said.contains(&drawn.join(" ")) || said.contains(&drawn.join(", ")), "{drawn:?}: {said}");
}

#[actix_web::test]
async fn a_void_for_another_list_is_refuted_by_the_sealed_one() {
    let server = Drand::start(Manner::Good).await;
    let (world, admin, draw) = on_sale(&server).await;
    let early = admin.open_draw(&world, 0).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    for draw in [draw, early] {
        ann.buy_quick(draw, 9).await;
    }
    let program = program();
    admin.cancel(early).await.expect(200);
    world.until_draw_is(early, "cancelled").await;
    let (code, said) = verify(&program, &world, early, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("what was sold is refunded"), "{said}");

    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "closed").await;
    let change = |before: i64, after: i64| {
        format!(
            "BEGIN; SET LOCAL session_replication_role = replica;
             UPDATE tickets SET number = {after} WHERE draw_id = {draw} AND number = {before}; COMMIT"
        )
    };
    let sql = world.sql().await;
    let swap = async || {
        for (before, after) in [(2, 100), (3, 2), (100, 3)] {
            sql.batch_execute(&change(before, after)).await.unwrap();
        }
    };
    swap().await;
    world.advance(SignedDuration::from_mins(60));
    until("the draw has stopped", async || world.metrics().await.contains("lottery_draws_stopped 1")).await;
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
    assert_eq!(shown(&world, draw).await["cancel_reason"], "list_mismatch");
    let signature = lottery::beacon::hex(&sign(announced_round(&entries(&world, draw).await[0].1)));
    let signed = ["--signature", &signature];
    let (code, said) = verify(&program, &world, draw, &signed).await;
    assert_eq!(code, Some(1), "{said}");
    for sentence in ["list_mismatch says that", "It would have drawn ", "THE ORDERS ARE NOT THE SEALED LIST"] {
        assert!(said.contains(sentence) && !said.contains("REFUTED"), "{said}");
    }
    // An operator that says so of the sealed list is refuted.
    swap().await;
    let (code, said) = verify(&program, &world, draw, &signed).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("✗ REFUTED: list_mismatch"), "{said}");
    world.check_invariants().await;
}
