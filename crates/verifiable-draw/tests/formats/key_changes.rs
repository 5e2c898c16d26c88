//! Keys of a public log that the known key vouches for are followed, if that is wanted.

use serde_json::json;
use verifiable_draw::transcript::{DrawTranscript, DrawVerification, VerifierOptions, verify_draw};
use verifiable_draw::vkey::VerifierKey;

use crate::stories::*;

const FIRST: usize = 8;
const SECOND: usize = 9;

fn vkey(generation: u64) -> String {
    log_key(generation).verifier().to_string()
}

fn known(generation: u64) -> VerifierKey {
    log_key(generation).verifier().clone()
}

/// Draw 7, after which the log's key was replaced twice, and the proofs of these changes: each `key_added` is signed by
/// the key before, and each `key_retired` by the key after.
fn rotated() -> (Published, Vec<String>) {
    let (mut log, ..) = commit_reveal();
    let mut changes = Vec::new();
    for generation in 0..2 {
        for (kind, changed, signer) in
            [("key_added", generation + 1, generation), ("key_retired", generation, generation + 1)]
        {
            let index = log.add(json!({ "type": kind, "at": 1_800_000_000, "vkey": vkey(changed) }));
            log.signed_by = vec![signer];
            changes.push(log.proof(index, index + 1));
        }
    }
    (log, changes)
}

fn verify(log: &Published, key: VerifierKey, changes: &[String]) -> DrawVerification {
    let transcript = DrawTranscript::parse(log.transcript(7, None).to_string().as_bytes()).unwrap();
    let options =
        VerifierOptions { log_keys: vec![key], key_changes: changes.to_vec(), ..VerifierOptions::default() };
    verify_draw(&transcript, &options)
}

fn said(verified: &DrawVerification) -> String {
    verified.report.steps().iter().map(|step| format!("{step}\n")).collect()
}

#[test]
fn the_known_key_vouches_for_the_next_ones_only_if_that_is_asked_for() {
    let (log, changes) = rotated();
    for (key, followed) in [(0, 2), (1, 1), (2, 0)] {
        let verified = verify(&log, known(key), &changes);
        let text = said(&verified);
        assert!(verified.report.holds(), "{text}");
        assert_eq!(text.matches(" vouches for the key ").count(), followed, "{text}");
        assert_eq!(verified.followed_key, (followed > 0).then(|| known(2)));
        let told = verified.conclusion().contains(&format!("give --key {}", vkey(2)));
        assert_eq!(told, followed > 0, "{}", verified.conclusion());
    }
    let text = said(&verify(&log, known(0), &changes));
    for sentence in [
        format!(
            "The key {} vouches for the key {}: it has signed a head of the log with entry {FIRST}",
            vkey(0),
            vkey(1)
        ),
        format!("Entry {SECOND} of the log retires the key {}", vkey(0)),
    ] {
        assert!(text.contains(&sentence), "{text}");
    }
    let alone = verify(&log, known(0), &[]);
    assert!(said(&alone).contains("the note has no signature of a known key"), "{}", said(&alone));
}

#[test]
fn a_chain_of_keys_with_a_gap_is_not_followed() {
    let (log, changes) = rotated();
    for left_out in [0, 2] {
        let mut changes = changes.clone();
        changes.remove(left_out);
        let verified = verify(&log, known(0), &changes);
        assert!(!verified.report.holds(), "{}", said(&verified));
    }
    let backwards: Vec<String> = changes.iter().rev().cloned().collect();
    assert!(!verify(&log, known(0), &backwards).report.holds());
}

#[test]
fn a_retired_key_signs_no_later_heads() {
    let (mut log, changes) = rotated();
    for (signed_by, holds) in [(vec![0], false), (vec![1], false), (vec![0, 2], true), (vec![0, 1], false)] {
        log.signed_by = signed_by.clone();
        let verified = verify(&log, known(0), &changes);
        assert_eq!(verified.report.holds(), holds, "{signed_by:?}: {}", said(&verified));
        if !holds {
            assert!(said(&verified).contains("has retired the key"), "{}", said(&verified));
        }
    }
    // The changes of a key that is not known say nothing of the others.
    log.signed_by = vec![1];
    assert!(said(&verify(&log, known(1), &changes)).contains("has retired the key"));
    assert!(verify(&log, known(1), &[]).report.holds(), "nobody has told that it was retired");
    // A retired key vouches for nothing either.
    let (mut log, mut changes) = rotated();
    let index = log.add(json!({ "type": "key_added", "at": 1_800_000_000, "vkey": vkey(9) }));
    log.signed_by = vec![0];
    changes.push(log.proof(index, index + 1));
    log.signed_by = vec![9];
    let verified = verify(&log, known(0), &changes);
    assert!(said(&verified).contains("has retired the key"), "{}", said(&verified));
}

#[test]
fn a_key_of_another_log_or_of_a_fork_is_refused() {
    let other = verifiable_draw::vkey::NoteSigner::new("other.example/api/v1/log", &[3; 32]).unwrap();
    for (vkey, says) in [
        (other.verifier().to_string(), "has the name of the log"),
        (witness(1).verifier().to_string(), "has the name of the log"),
        (format!("{}x", vkey(1)), "is no key of this log"),
    ] {
        let (mut log, _, _) = commit_reveal();
        let index = log.add(json!({ "type": "key_added", "at": 1_800_000_000, "vkey": vkey }));
        let changes = [log.proof(index, index + 1)];
        let verified = verify(&log, known(0), &changes);
        assert!(said(&verified).contains(says), "{}", said(&verified));
    }
    // An entry that is no change of keys, and one that the head does not have.
    let (log, changes) = rotated();
    let mut first = log.clone();
    first.signed_by = vec![0];
    assert!(!verify(&log, known(0), &[first.proof(1, 3)]).report.holds());
    let moved = changes[0].replace(&format!("index {FIRST}"), "index 7");
    assert!(!verify(&log, known(0), &[moved]).report.holds());
    // The key was added in a log that has forked before: the sizes are the same, and the heads are not.
    let mut fork = commit_reveal().0;
    fork.events[2]["at"] = json!(1);
    let index = fork.add(json!({ "type": "key_added", "at": 1_800_000_000, "vkey": vkey(1) }));
    let changes = [fork.proof(index, index + 1)];
    let mut log = commit_reveal().0;
    log.add(json!({ "type": "key_added", "at": 1_800_000_000, "vkey": vkey(1) }));
    log.signed_by = vec![1];
    let verified = verify(&log, known(0), &changes);
    assert!(said(&verified).contains("FORK"), "{}", said(&verified));
}
