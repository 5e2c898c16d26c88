//! `lottery verify` verifies draws with a beacon from what the service publishes, and refutes a void.

use super::*;
use crate::common::process::Program;

/// What `lottery verify` prints of a draw, and its exit code.
async fn verify(program: &Program, world: &World, draw: i64, more: &[&str]) -> (Option<i32>, String) {
    let url = format!("http://{}/api/v1/draws/{draw}", world.app().address);
    let output = program.run(&[&["verify", &url, "--beacon", "chain.json"], more].concat()).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn program() -> Program {
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
    let signature = lottery::beacon::hex(&sign(round));
    let (code, said) = verify(&program, &world, void, &["--signature", &signature]).await;
    assert_eq!(code, Some(1), "{said}");
    let drawn: Vec<String> = numbers(&entries(&world, void).await[0].0, round).iter().map(u8::to_string).collect();
    assert!(said.contains(&drawn.join(" ")) || said.contains(&drawn.join(", ")), "{drawn:?}: {said}");
}
