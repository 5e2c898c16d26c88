//! Draws are verified from their transcripts, and every alteration is noticed: of what is signed by anybody, and of what
//! the operator itself, who has all keys, could have written otherwise.
//!
//! `RENEW_VECTORS=1` writes `vectors/` anew. With `ALTERED_TRANSCRIPTS=DIR` the altered transcripts are written, too, for the
//! implementation in Python.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::policy::Policy;
use verifiable_draw::transcript::list::{ListCount, bundles, read_bundle};
use verifiable_draw::transcript::receipt::{OwnReceipt, compare_with_seal, verify_receipt};
use verifiable_draw::transcript::{
    ConsistencyProof, DrawTranscript, DrawVerification, StepResult, VerificationReport, VerifierOptions, WholeLog,
    verify_draw,
};

use crate::stories::*;

/// With the key, and nothing else.
pub fn options() -> VerifierOptions {
    VerifierOptions { log_keys: vec![public_log().verifier().clone()], ..VerifierOptions::default() }
}

pub fn parse(transcript: &Value) -> DrawTranscript {
    DrawTranscript::parse(transcript.to_string().as_bytes()).unwrap()
}

/// Counts the bundles of a list.
pub fn count(verification: &mut DrawVerification, list: &[(String, Vec<u8>)], receipt: Option<&OwnReceipt>) {
    let (Some(draw), report) = (&verification.draw, &mut verification.report) else { return };
    let Some(sealed) = draw.sealed else { return };
    let winning = draw.result.as_ref().map(|result| result.winning_numbers.clone()).unwrap_or_default();
    let mut count = ListCount::new();
    if let Some(receipt) = receipt {
        let keys = [draw.ticket_log.clone()];
        let proven = verify_receipt(report, receipt, &keys, Some(USER)).unwrap();
        if compare_with_seal(report, &proven, draw) {
            return;
        }
        count = count.with_receipt(proven.head, proven.index, proven.leaf);
    }
    let tiles = bundles(sealed.head.size).collect::<Vec<_>>();
    if tiles.len() != list.len() {
        report.add_failure("another number of bundles");
        return;
    }
    for (tile, (path, bytes)) in tiles.into_iter().zip(list) {
        assert_eq!(&tile.path(), path);
        let bundle = read_bundle(bytes, &draw.rules, &winning);
        if let Err(error) = bundle.and_then(|bundle| count.add(tile, bundle)) {
            report.add_failure(error.to_string());
            return;
        }
    }
    count.finish(draw, report);
}

/// Everything of draw 7 together.
fn verify_all(transcript: &Value, previous: Option<&Value>, list: &List) -> Result<DrawVerification, String> {
    let transcript =
        DrawTranscript::parse(transcript.to_string().as_bytes()).map_err(|error| error.to_string())?;
    let options = VerifierOptions { previous: previous.map(parse), ..options() };
    let mut verification = verify_draw(&transcript, &options);
    // The list is that of draw 7, which is the one with a draw before it.
    if verification.report.holds() && previous.is_some() {
        count(&mut verification, &list.bundles(), None);
    }
    match verification.report.holds() {
        true => Ok(verification),
        false => Err(said(&verification.report)),
    }
}

pub fn said(report: &VerificationReport) -> String {
    report.steps().iter().map(|step| format!("{step}\n")).collect()
}

fn unchecked(report: &VerificationReport) -> usize {
    report.steps().iter().filter(|step| step.outcome == StepResult::NotChecked).count()
}

#[test]
fn a_draw_with_a_seed_is_verified_to_the_last_ticket() {
    let (log, _, list) = commit_reveal();
    let transcript = log.transcript(7, None);
    let whole = verify_all(&transcript, Some(&log.transcript(6, None)), &list).unwrap();
    let text = said(&whole.report);
    assert_eq!(unchecked(&whole.report), 2, "no witnesses, and the rest of the log: {text}");
    for sentence in [
        "announced, rescheduled, sealed, completed",
        "All 270 orders were read: they have the sealed root, and their 337 tickets have no gap",
        "is what draw 6 of this lottery rolled over (entry 4)",
        "The winners were counted",
    ] {
        assert!(text.contains(sentence), "{text}");
    }
    let proved = whole.conclusion();
    assert!(proved.starts_with("VERIFIED: the list and the seed were fixed before the numbers"), "{proved}");
    assert!(!proved.contains("internal consistency"), "{proved}");

    // The keys of the operator prove less, and without keys nothing is proved.
    let from_host = VerifierOptions { keys_of_operator: true, ..options() };
    let verified = verify_draw(&parse(&transcript), &from_host);
    assert!(verified.conclusion().contains("internal consistency only"), "{}", verified.conclusion());
    let without = verify_draw(&parse(&transcript), &VerifierOptions::default());
    assert!(said(&without.report).contains("The key of the public log is not known"));
    assert_eq!(without.conclusion(), "NOT VERIFIED: one step does not hold.");
}

#[test]
fn a_draw_with_a_round_proves_more_with_witnesses_of_ones_own() {
    let (log, list) = beacon();
    let transcript = parse(&log.transcript(8, Some(&policy())));
    let own =
        |text: String| VerifierOptions { policy: Some(Policy::parse(text.as_bytes()).unwrap()), ..options() };
    let mut announced = verify_draw(&transcript, &options());
    count(&mut announced, &list.bundles(), None);
    assert!(announced.report.holds(), "{}", said(&announced.report));
    assert!(announced.conclusion().contains("witnesses chosen by the operator"), "{}", announced.conclusion());
    let strong = verify_draw(&transcript, &VerifierOptions { strict: true, ..own(policy()) });
    assert!(strong.report.holds(), "{}", said(&strong.report));
    assert!(strong.conclusion().contains("by clocks that are not the operator's"), "{}", strong.conclusion());
    // One that cosigned 5 s before the round was too late, and one that is not of the log's cosigned nothing.
    for (quorum, holds) in
        [("group most any two\nquorum most", true), ("quorum three", false), ("quorum none", true)]
    {
        let policy = policy();
        let (witnesses, _) = policy.split_once("group").unwrap();
        let verified = verify_draw(&transcript, &own(format!("{witnesses}{quorum}\n")));
        assert_eq!(verified.report.holds(), holds, "{quorum}: {}", said(&verified.report));
    }
    let stranger = format!("witness w {}\nquorum w\n", witness(9).verifier());
    let verified = verify_draw(&transcript, &own(stranger));
    assert!(said(&verified.report).contains("The quorum of your policy has not cosigned"));
}

#[test]
fn heads_are_of_one_log_or_it_is_said_that_this_is_not_known() {
    let (mut log, _) = beacon();
    log.cosigned.pop();
    let transcript = parse(&log.transcript(8, Some(&policy())));
    let verified = verify_draw(&transcript, &options());
    assert!(said(&verified.report).contains("– Not checked: that the heads with 2, 3 entries are of one log"));
    assert!(verified.conclusion().contains("is the operator's word"), "{}", verified.conclusion());
    // The proof of three leaves from two is the hash of the third.
    let hash = hash_leaf(&serde_json::to_vec(&log.events[2]).unwrap());
    let with = |hash| {
        let consistency = vec![ConsistencyProof { old: 2, new: 3, hashes: vec![hash] }];
        verify_draw(&transcript, &VerifierOptions { consistency, ..options() })
    };
    let joined = with(hash);
    assert!(
        joined.report.holds() && joined.conclusion().contains("chosen by the operator"),
        "{}",
        joined.conclusion()
    );
    assert!(said(&with([7; 32]).report).contains("✗ FORK"));
}

/// An operator announces a draw twice: the numbers follow from the announcement, so each gives another result.
#[test]
fn entries_that_the_proof_leaves_out_are_seen_in_the_whole_log() {
    let (mut log, ..) = commit_reveal();
    let whole = |log: &Published| WholeLog {
        head: log.newest(),
        of_draw: (0..).zip(&log.events).filter(|(_, event)| event["draw"] == 7).map(|(index, _)| index).collect(),
    };
    let verified = |proof: &Value, whole_log: WholeLog| {
        verify_draw(&parse(proof), &VerifierOptions { whole_log: Some(whole_log), ..options() })
    };
    let honest = verified(&log.transcript(7, None), whole(&log));
    let entries = log.events.len();
    assert!(honest.report.holds());
    assert!(
        said(&honest.report).contains(&format!("✓ All {entries} entries of the log were read: it has no others"))
    );
    let other = WholeLog { head: Head { root: [7; 32], ..log.newest() }, ..whole(&log) };
    assert!(said(&verified(&log.transcript(7, None), other).report).contains("✗ FORK"));

    let mut second = log.events.iter().find(|event| event["draw"] == 7).unwrap().clone();
    second["number"] = json!(3);
    let index = log.add(second);
    let mut shown = log.transcript(7, None);
    shown["entries"].as_array_mut().unwrap().pop();
    assert!(verify_draw(&parse(&shown), &options()).report.holds(), "the proof alone does not tell");
    let refused = verified(&shown, whole(&log));
    assert!(!refused.report.holds());
    let text = said(&refused.report);
    assert!(
        text.contains("✗ The public log has other entries about the draw") && text.contains(&index.to_string())
    );
}

#[test]
fn a_draw_that_is_overdue_or_by_hand_is_told() {
    let (mut log, ..) = commit_reveal();
    let times =
        |events: &[Value]| (events[5]["sales_close_at"].as_u64().unwrap(), events[5]["draw_at"].as_u64().unwrap());
    let (close, draw_at) = times(&log.events);
    let ended = log.events.pop().unwrap();
    for (now, holds) in [(draw_at + 86_400, true), (draw_at + 86_401, false)] {
        let verified =
            verify_draw(&parse(&log.transcript(7, None)), &VerifierOptions { now: Some(now), ..options() });
        assert_eq!(verified.report.holds(), holds, "{}", said(&verified.report));
    }
    // Sealed early: both entries must say so. The announcement stays, so the numbers do, too.
    let by_hand = |sealed: bool, completed: bool, at: u64| {
        let mut log = log.clone();
        log.add(ended.clone());
        log.events[6]["at"] = json!(at);
        for (index, by_hand) in [(6, sealed), (7, completed)] {
            if by_hand {
                log.events[index]["by_hand"] = json!(1);
            }
        }
        verify_draw(&parse(&log.transcript(7, None)), &options())
    };
    for (sealed, completed, at, holds) in [
        (false, false, close, true),
        (false, false, close - 1, false),
        (true, true, close - 1, true),
        (true, false, close - 1, false),
        (true, true, close + 1, false),
        (false, true, close, true),
    ] {
        let verified = by_hand(sealed, completed, at);
        assert_eq!(verified.report.holds(), holds, "{}", said(&verified.report));
        let is_told = verified.conclusion().contains("The operator chose the moment");
        assert_eq!(is_told, holds && completed, "{}", verified.conclusion());
    }
}

#[test]
fn a_receipt_is_of_the_sealed_list_or_it_is_said_that_it_is_not() {
    let (log, before, list) = commit_reveal();
    let receipt =
        |list: &List, index, size| OwnReceipt::parse(list.receipt(index, size).to_string().as_bytes()).unwrap();
    let verified = |receipt: &OwnReceipt, list: &[(String, Vec<u8>)]| {
        let mut verification = verify_draw(&parse(&log.transcript(7, None)), &options());
        count(&mut verification, list, Some(receipt));
        verification.report
    };
    for size in [1, 255, 256, 257, 270] {
        let report = verified(&receipt(&list, 0, size), &list.bundles());
        assert!(report.holds() && said(&report).contains("in the sealed list"), "{}", said(&report));
    }
    // The same orders in another order: the operator has dropped or moved one.
    let keys = [draw_key(&log)];
    let mut report = VerificationReport::default();
    assert!(verify_receipt(&mut report, &receipt(&before, 0, 3), &keys, None).is_err(), "of another draw");
    let mut moved = log.clone();
    let shorter = List::new(7, 269);
    let Head { size, root } = shorter.head();
    moved.events[6]["orders"] = json!(size);
    moved.events[6]["root"] = json!(base64(&root));
    let mut report = VerificationReport::default();
    let proven = verify_receipt(&mut report, &receipt(&list, 269, 270), &keys, None).unwrap();
    let draw = verify_draw(&parse(&moved.transcript(7, None)), &options()).draw.unwrap();
    assert!(compare_with_seal(&mut report, &proven, &draw));
    assert!(said(&report).contains("THE ORDER IS NOT IN THE SEALED LIST"), "{}", said(&report));
}

fn draw_key(log: &Published) -> verifiable_draw::vkey::VerifierKey {
    verifiable_draw::vkey::VerifierKey::parse(log.events[1]["ticket_log"].as_str().unwrap()).unwrap()
}

/// A changed text of the same kind: the other letters stay.
fn changed(text: &str) -> String {
    let at = text.len() / 2;
    let other = match &text[at..=at] {
        "A" => "B",
        "0" => "1",
        "\n" => "A",
        digit if digit.chars().all(|c| c.is_ascii_digit()) => "0",
        _ => "A",
    };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

/// The pointers to all scalars.
fn scalars(json: &Value, pointer: &str, found: &mut Vec<String>) {
    match json {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| scalars(value, &format!("{pointer}/{key}"), found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(place, value)| scalars(value, &format!("{pointer}/{place}"), found));
        }
        _ => found.push(pointer.to_owned()),
    }
}

/// A transcript that is not the published one, with the transcript of draw 6.
struct Altered {
    name: String,
    transcript: Value,
    previous: Option<Value>,
}

/// What anybody could alter who passes files on: each scalar of the body, each line of a proof.
fn altered_by_anybody() -> Vec<Altered> {
    let (log, ..) = commit_reveal();
    let (transcript, previous) = (log.transcript(7, None), log.transcript(6, None));
    let mut pointers = Vec::new();
    scalars(&transcript, "", &mut pointers);
    let mut altered = Vec::new();
    for pointer in pointers {
        let texts = match transcript.pointer(&pointer).unwrap() {
            Value::Null => vec![json!("quorum none\n"), json!("")],
            Value::Number(number) => vec![json!(number.as_u64().unwrap() + 1), json!(0)],
            Value::String(text) => {
                let lines = text.split_inclusive('\n').enumerate().filter(|(_, line)| line.len() > 1);
                let texts = lines.map(|(place, line)| {
                    let before: usize = text.split_inclusive('\n').take(place).map(str::len).sum();
                    json!(format!("{}{}{}", &text[..before], changed(line), &text[before + line.len()..]))
                });
                texts.collect()
            }
            _ => unreachable!("an altered scalar"),
        };
        for (place, text) in texts.into_iter().enumerate() {
            let mut transcript = transcript.clone();
            *transcript.pointer_mut(&pointer).unwrap() = text;
            altered.push(Altered {
                name: format!("{pointer}#{place}"),
                transcript,
                previous: Some(previous.clone()),
            });
        }
    }
    altered
}

/// What the operator could have written otherwise, with all signatures and proofs made anew: of draw 7, of two draws that were
/// cancelled before their seal, and of one that was cancelled after it.
fn altered_by_operator() -> Vec<Altered> {
    let with_previous = altered_entries("", &commit_reveal().0, 7, Some(6));
    let voids = [true, false].map(void_before_seal);
    let voids = voids.iter().flat_map(|(log, draw)| altered_entries(&format!("void {draw}: "), log, *draw, None));
    let sealed = altered_entries("sealed void: ", &voided().0, 9, None);
    with_previous.into_iter().chain(voids).chain(sealed).chain(in_another_order()).collect()
}

/// Entries of draw 7 that do not follow each other.
fn in_another_order() -> Vec<Altered> {
    let (log, ..) = commit_reveal();
    let [rescheduled, sealed, completed] = [5, 6, 7].map(|index: usize| log.events[index].clone());
    let undone = json!({
        "type": "draw_voided", "draw": 7, "at": completed["at"], "stage": "closed", "reason": "log_rolled_back",
        "seed": completed["seed"],
    });
    let late = with(&rescheduled, "at", sealed["at"].clone());
    let stories = [
        ("undone", vec![&rescheduled, &sealed, &completed, &undone]),
        ("completed twice", vec![&rescheduled, &sealed, &completed, &completed]),
        ("sealed twice", vec![&rescheduled, &sealed, &sealed, &completed]),
        ("not sealed", vec![&rescheduled, &completed]),
        ("rescheduled after the seal", vec![&sealed, &late, &completed]),
    ];
    let altered = stories.into_iter().map(|(name, events)| {
        let mut log = log.clone();
        log.events.truncate(5);
        log.events.extend(events.into_iter().cloned());
        let transcript = log.transcript(7, None);
        Altered { name: format!("order: {name}"), transcript, previous: Some(log.transcript(6, None)) }
    });
    altered.collect()
}

fn with(event: &Value, field: &str, value: Value) -> Value {
    let mut event = event.clone();
    event[field] = value;
    event
}

/// Each scalar of the entries of a draw in this log, and what counts of the draw before, if there is one.
fn altered_entries(story: &str, log: &Published, draw: u64, previous: Option<u64>) -> Vec<Altered> {
    let mut altered = Vec::new();
    for index in 0..log.events.len() {
        let mut pointers = Vec::new();
        scalars(&log.events[index], "", &mut pointers);
        let is_of_draw = log.events[index]["draw"] == draw;
        pointers.retain(|pointer| is_of_draw || ["/lottery", "/rollover"].contains(&pointer.as_str()));
        for pointer in pointers {
            let values = match log.events[index].pointer(&pointer).unwrap() {
                Value::Number(number) => {
                    let number = number.as_u64().unwrap();
                    vec![("+1", json!(number + 1)), ("-1", json!(number.saturating_sub(1)))]
                }
                Value::String(text) => vec![("", json!(changed(text)))],
                _ => unreachable!("an altered scalar"),
            };
            for (change, value) in values {
                let mut log = log.clone();
                if log.events[index].pointer(&pointer) == Some(&value) {
                    continue;
                }
                *log.events[index].pointer_mut(&pointer).unwrap() = value;
                let kind = log.events[index]["type"].as_str().unwrap_or_default().to_owned();
                let policy = (log.events[0].get("policy").is_some() && draw == 8).then(policy);
                let (transcript, previous) =
                    (log.transcript(draw, policy.as_deref()), previous.map(|draw| log.transcript(draw, None)));
                altered.push(Altered {
                    name: format!("{story}{index} {kind}{pointer}{change}"),
                    transcript,
                    previous,
                });
            }
        }
    }
    altered
}

/// What nothing contradicts: times that stay possible, and entries that become those of another draw.
const UNCONTRADICTED: [&str; 20] = [
    "5 draw_rescheduled/at+1",
    "5 draw_rescheduled/at-1",
    "5 draw_rescheduled/draw+1",
    "5 draw_rescheduled/draw_at-1",
    "5 draw_rescheduled/sales_close_at-1",
    "6 draw_sealed/at+1",
    "7 draw_completed/at+1",
    "7 draw_completed/draw+1",
    "7 draw_completed/draw-1",
    "void 8: 1 draw_voided/at-1",
    "void 8: 1 draw_voided/draw+1",
    "void 8: 1 draw_voided/draw-1",
    "void 8: 1 draw_voided/reason",
    "void 9: 1 draw_voided/at+1",
    "void 9: 1 draw_voided/at-1",
    "void 9: 1 draw_voided/draw+1",
    "void 9: 1 draw_voided/draw-1",
    "void 9: 1 draw_voided/reason",
    "sealed void: 2 draw_voided/draw+1",
    "sealed void: 2 draw_voided/draw-1",
];

#[test]
fn every_alteration_of_a_transcript_is_noticed() {
    let (_, _, list) = commit_reveal();
    let all: Vec<(Altered, bool)> = altered_by_anybody().into_iter().map(|it| (it, false)).collect();
    let operator = altered_by_operator().into_iter().map(|it| (it, true));
    let directory = std::env::var_os("ALTERED_TRANSCRIPTS").map(PathBuf::from);
    let mut accepted = Vec::new();
    for (place, (altered, by_operator)) in all.into_iter().chain(operator).enumerate() {
        let verified = verify_all(&altered.transcript, altered.previous.as_ref(), &list);
        assert!(by_operator || verified.is_err(), "accepted although altered: {}", altered.name);
        if let Some(directory) = &directory {
            let file = json!({
                "name": altered.name, "transcript": altered.transcript, "previous": altered.previous,
                "accepted": verified.is_ok(),
            });
            std::fs::write(directory.join(format!("{place:04}.json")), file.to_string()).unwrap();
        }
        if verified.is_ok() {
            accepted.push(altered.name);
        }
    }
    // Nothing follows from the announcement of a draw that was cancelled before its seal.
    accepted.retain(|name| !(name.starts_with("void ") && name.contains(" draw_announced/")));
    assert_eq!(accepted, UNCONTRADICTED);
}

#[test]
fn a_cancellation_after_the_result_is_said_to_be_one() {
    let undone = in_another_order().remove(0);
    let said = verify_all(&undone.transcript, None, &commit_reveal().2).err().unwrap();
    assert!(said.contains("cancels the draw (log_rolled_back) after its result was published"), "{said}");
}

#[test]
fn every_altered_order_is_noticed() {
    let (log, _, list) = commit_reveal();
    let sound = list.bundles();
    for (place, (_, bundle)) in sound.iter().enumerate() {
        // One place in each order, and each bit of the first one.
        let bits = (0..8 * 100).chain((0..bundle.len()).step_by(97).map(|at| 8 * at + at % 8));
        for bit in bits {
            let mut altered = sound.clone();
            altered[place].1[bit / 8] ^= 1 << (bit % 8);
            let mut verification = verify_draw(&parse(&log.transcript(7, None)), &options());
            count(&mut verification, &altered, None);
            assert!(!verification.report.holds(), "bundle {place}, bit {bit}");
        }
    }
}

/// The files of `vectors/`.
fn vectors() -> Vec<(String, Vec<u8>)> {
    let pretty = |json: &Value| (serde_json::to_string_pretty(json).unwrap() + "\n").into_bytes();
    let key = (public_log().verifier().to_string() + "\n").into_bytes();
    let (with_seed, before, list) = commit_reveal();
    let ((with_round, round_list), (cancelled, _), (before_seal, _)) =
        (beacon(), voided(), void_before_seal(true));
    let mut files = vec![
        ("key".to_owned(), key),
        ("policy".to_owned(), policy().into_bytes()),
        ("commit_reveal/proof.json".to_owned(), pretty(&with_seed.transcript(7, None))),
        ("commit_reveal/previous.json".to_owned(), pretty(&with_seed.transcript(6, None))),
        ("commit_reveal/receipt.json".to_owned(), pretty(&list.receipt(0, 100))),
        ("commit_reveal/sealed_receipt.json".to_owned(), pretty(&list.receipt(0, 270))),
        ("beacon/proof.json".to_owned(), pretty(&with_round.transcript(8, Some(&policy())))),
        ("voided/proof.json".to_owned(), pretty(&cancelled.transcript(9, None))),
        ("voided/before_seal.json".to_owned(), pretty(&before_seal.transcript(8, Some(&policy())))),
    ];
    for (name, reason) in
        [("no_quorum", "no_quorum"), ("no_round", "no_round"), ("operator", "The drum is broken.")]
    {
        let void = void_with_round(reason, 1).transcript(8, Some(&policy()));
        files.push((format!("voided/{name}.json"), pretty(&void)));
    }
    for (name, list) in [("commit_reveal", &list), ("previous", &before), ("beacon", &round_list)] {
        files.extend(list.bundles().into_iter().map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
    }
    files
}

#[test]
fn the_published_transcripts_are_those_of_the_crate() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    for (path, bytes) in vectors() {
        let file = directory.join(path);
        if std::env::var_os("RENEW_VECTORS").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        assert!(std::fs::read(&file).unwrap() == bytes, "{}", file.display());
    }
}
