//! Draws that were cancelled: what refutes the reason, and what they would have drawn.

use serde_json::json;
use verifiable_draw::beacon::BeaconChain;
use verifiable_draw::merkle::Head;
use verifiable_draw::note::SignedNote;
use verifiable_draw::policy::Policy;
use verifiable_draw::transcript::{DrawVerification, VerifierOptions, VoidCause, verify_draw};

use crate::stories::*;
use crate::transcripts::*;

const DAY: u64 = 86_400;

fn verify(log: &Published, draw: u64, options: &VerifierOptions) -> DrawVerification {
    let policy = (draw == 8).then(policy);
    verify_draw(&parse(&log.transcript(draw, policy.as_deref())), options)
}

/// It fails, and says these sentences and none of the others.
fn fails(verified: &DrawVerification, says: &[&str], says_not: &[&str]) {
    let text = said(&verified.report);
    assert!(!verified.report.holds(), "{text}");
    says.iter().for_each(|sentence| assert!(text.contains(sentence), "{sentence}: {text}"));
    says_not.iter().for_each(|sentence| assert!(!text.contains(sentence), "{sentence}: {text}"));
}

fn with_signature() -> VerifierOptions {
    VerifierOptions { round_signature: Some(round_signature()), ..options() }
}

/// What the round gives.
fn would_be() -> String {
    let (log, _) = beacon();
    let numbers: Vec<String> =
        log.events[2]["winning_numbers"].as_array().unwrap().iter().map(ToString::to_string).collect();
    format!("It would have drawn {}.", numbers.join(" "))
}

#[test]
fn a_draw_that_was_cancelled_before_its_seal_refunds_what_was_sold() {
    for has_round in [false, true] {
        let (log, draw) = void_before_seal(has_round);
        let verified = verify(&log, draw, &options());
        let text = said(&verified.report);
        assert!(verified.report.holds() && text.contains("what was sold is refunded"), "{text}");
        assert!(verified.conclusion().contains("the draw was cancelled"), "{}", verified.conclusion());
        // Of a draw with a round, only the operator's word says that it was in time, unless witnesses saw it.
        let strict = verify(&log, draw, &VerifierOptions { strict: true, ..options() });
        let is_told = said(&strict.report).contains("✗ That the draw was cancelled before");
        assert_eq!(is_told, has_round, "{}", said(&strict.report));
    }
    let (mut log, draw) = void_before_seal(true);
    let close = log.events[0]["sales_close_at"].as_u64().unwrap();
    log.cosigned.push((2, vec![(1, close - 1), (2, close - 1)]));
    let seen = verify(&log, draw, &options());
    assert!(said(&seen.report).contains("✓ Witnesses saw before"), "{}", said(&seen.report));
    log.events[1]["at"] = json!(close + 1);
    fails(&verify(&log, draw, &with_signature()), &["its numbers were final", &would_be()], &[]);
}

#[test]
fn a_draw_with_a_seed_that_was_cancelled_after_its_seal_shows_its_numbers_and_fails() {
    let (log, list) = voided();
    let mut verified = verify(&log, 9, &options());
    fails(&verified, &["knew its numbers before it cancelled. It would have drawn "], &["REFUTED"]);
    assert_eq!(verified.draw.as_ref().unwrap().voided, Some(VoidCause::Operator));
    count(&mut verified, &list.bundles(), None);
    fails(&verified, &["All 2 orders were read"], &["REFUTED"]);
    // Witnesses and rounds have no say in this mode.
    let mut log = log;
    for reason in ["no_quorum", "no_round", "log_rolled_back"] {
        log.events[2]["reason"] = json!(reason);
        let verified = verify(&log, 9, &options());
        fails(&verified, &["The reason is none that anybody can check", "It would have drawn "], &["REFUTED"]);
    }
}

#[test]
fn no_quorum_is_refuted_by_enough_cosignatures_of_a_head_with_the_seal() {
    let round_time = BeaconChain::quicknet().time_of(ROUND).unwrap();
    let shown = with_signature();
    let limit = round_time - 5;
    let log = void_with_round("no_quorum", 1);
    fails(
        &verify(&log, 8, &shown),
        &["✗ REFUTED: no_quorum. The quorum has cosigned", &would_be()],
        &["is not refuted"],
    );
    let cosigned = |size: usize, witnesses: &[(u8, u64)]| {
        let mut log = log.clone();
        log.cosigned = vec![(size, witnesses.to_vec())];
        log
    };
    for (size, witnesses, is_refuted) in [
        (2, &[(1, limit - 1), (2, limit - 1)][..], true),
        // A later head has the seal, too.
        (3, &[(1, limit - 1), (2, limit - 1)], true),
        (2, &[(1, limit - 1), (2, limit)], false),
        (2, &[(1, limit - 1), (1, limit - 2)], false),
        (2, &[], false),
        // Before the seal.
        (1, &[(1, limit - 1), (2, limit - 1)], false),
    ] {
        let verified = verify(&cosigned(size, witnesses), 8, &shown);
        let (told, other) =
            ("REFUTED: no_quorum", "no_quorum is not refuted by what was given: no head with the seal (entry 1)");
        match is_refuted {
            true => fails(&verified, &[told, &would_be()], &[other]),
            false => fails(&verified, &[other, &would_be()], &[told]),
        }
    }
    // Half of the quorum on each of two heads is none.
    let mut split = log.clone();
    split.cosigned = vec![(2, vec![(1, limit - 1)]), (3, vec![(2, limit - 1)])];
    fails(&verify(&split, 8, &shown), &["no_quorum is not refuted"], &["REFUTED"]);

    // A checkpoint that somebody else has kept.
    let kept = |log: &Published, size: usize| {
        let proof = log.proof(0, size);
        SignedNote::parse(proof.split_once("\n\n").unwrap().1.as_bytes()).unwrap()
    };
    let without = cosigned(2, &[]);
    let note = kept(&log, 2);
    let with_note = VerifierOptions { checkpoints: vec![note], ..with_signature() };
    fails(&verify(&without, 8, &with_note), &["REFUTED: no_quorum. The quorum has cosigned"], &[]);
    let mut fork = log.clone();
    fork.events[0]["number"] = json!(2);
    let with_fork = VerifierOptions { checkpoints: vec![kept(&fork, 3)], ..with_signature() };
    fails(&verify(&without, 8, &with_fork), &["FORK"], &["REFUTED"]);

    // It was cancelled before cosignatures were late, or there were no witnesses.
    let early = verify(
        &{
            let mut log = without.clone();
            log.events[2]["at"] = json!(limit - 1);
            log
        },
        8,
        &shown,
    );
    fails(&early, &["REFUTED: no_quorum. The draw was cancelled"], &[]);
    let mut unwitnessed = without.clone();
    unwitnessed.events[0].as_object_mut().unwrap().remove("policy");
    let verified = verify_draw(&parse(&unwitnessed.transcript(8, None)), &shown);
    fails(&verified, &["REFUTED: no_quorum. The draw was announced without witnesses"], &[]);
    // With a policy of one's own that was not met, it is still said what would have been drawn.
    let own = Policy::parse(format!("witness w {}\nquorum w\n", witness(9).verifier()).as_bytes()).unwrap();
    let verified = verify(&without, 8, &VerifierOptions { policy: Some(own), ..with_signature() });
    fails(&verified, &["The quorum of your policy has not cosigned", &would_be()], &[]);
}

#[test]
fn no_round_is_refuted_by_the_signature_of_the_round() {
    for (seconds, is_early) in [(DAY, false), (DAY - 1, true)] {
        let log = void_with_round("no_round", seconds);
        let by_time = "REFUTED: no_round. The draw was cancelled";
        let path = format!(
            "https://api.drand.sh/52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971/public/{ROUND}: if"
        );
        let unknown = verify(&log, 8, &options());
        fails(&unknown, &[&path, "Give the signature of round 123"], &["It would have drawn"]);
        assert_eq!(said(&unknown.report).contains(by_time), is_early);
        let signed = verify(&log, 8, &with_signature());
        fails(&signed, &["REFUTED: no_round. The beacon has signed round 123", &would_be()], &["api.drand.sh"]);
    }
    let mut other = with_signature();
    other.round_signature.as_mut().unwrap()[47] ^= 1;
    let log = void_with_round("no_round", DAY);
    fails(&verify(&log, 8, &other), &["The signature of the beacon does not hold"], &["REFUTED"]);
}

#[test]
fn list_mismatch_is_refuted_by_the_sealed_list() {
    let log = void_with_round("list_mismatch", 1);
    let list = beacon().1;
    let mut verified = verify(&log, 8, &with_signature());
    fails(&verified, &["Entry bundles with the sealed root refute it", &would_be()], &["REFUTED"]);
    count(&mut verified, &list.bundles(), None);
    fails(&verified, &["✗ REFUTED: list_mismatch"], &[]);
    // Another list of as many orders and tickets: it is what the operator says.
    let mut sealed = log.clone();
    sealed.events[1]["root"] = json!(base64(&Head { size: 5, root: [7; 32] }.root));
    let mut verified = verify(&sealed, 8, &with_signature());
    count(&mut verified, &list.bundles(), None);
    fails(&verified, &["THE ORDERS ARE NOT THE SEALED LIST"], &["REFUTED"]);
}

#[test]
fn what_nobody_can_refute_is_said_to_be_so() {
    for (reason, says) in [
        ("log_rolled_back", "log_rolled_back says that the service lost entries"),
        ("The drum is broken.", "the operator chose to cancel the draw"),
        ("", "the operator chose to cancel the draw"),
    ] {
        fails(&verify(&void_with_round(reason, 1), 8, &with_signature()), &[says, &would_be()], &["REFUTED"]);
    }
}
