//! Policies of tlog-policy: what is read, what is refused, and which cosignatures are a quorum.

use verifiable_draw::checkpoint::{CheckpointError, sign_head};
use verifiable_draw::cosignature::Cosigner;
use verifiable_draw::merkle::Head;
use verifiable_draw::note::{NoteError, SignedNote};
use verifiable_draw::policy::{Policy, PolicyError, PolicyProblem, QuorumError};
use verifiable_draw::vkey::NoteSigner;

const TIME: u64 = 1_700_000_000;

fn log() -> NoteSigner {
    NoteSigner::new("lottery.example/api/v1/log", &[1; 32]).unwrap()
}

fn witness(number: u8) -> Cosigner {
    Cosigner::new(&format!("witness.example/w{number}"), &[100 + number; 32]).unwrap()
}

fn vkey(number: u8) -> String {
    witness(number).verifier().to_string()
}

/// Two of X1, X2, X3 and one of Y4, Y5.
fn text() -> String {
    let mut text = format!("# example\n\nlog {} https://lottery.example\n", log().verifier());
    for (name, number) in [("X1", 1), ("X2", 2), ("X3", 3), ("Y4", 4), ("Y5", 5)] {
        text += &format!("\twitness  {name} {} \n", vkey(number));
    }
    text + "group X 2 X1 X2 X3\ngroup Y any Y4 Y5\ngroup both all X Y\nquorum both\n"
}

fn cosigned(witnesses: &[(u8, u64)]) -> SignedNote {
    let mut note = SignedNote::parse(sign_head(&Head::empty(), &log()).as_bytes()).unwrap();
    for (number, time) in witnesses {
        note.add_signatures(&witness(*number).signature_line(note.text(), *time)).unwrap();
    }
    note
}

fn problem(text: &str) -> PolicyProblem {
    match Policy::parse(text.as_bytes()) {
        Err(PolicyError::Line { problem, .. }) => problem,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_quorum_is_what_the_groups_say() {
    let policy = Policy::parse(text().as_bytes()).unwrap();
    assert_eq!((policy.logs().len(), policy.witnesses().len()), (1, 5));
    for witnesses in 0..32u32 {
        let cosigners: Vec<(u8, u64)> =
            (1..=5).filter(|number| witnesses >> (number - 1) & 1 == 1).map(|number| (number, TIME)).collect();
        let expected = (witnesses & 0b111).count_ones() >= 2 && witnesses >> 3 != 0;
        let opened = policy.open(&cosigned(&cosigners), None);
        assert_eq!(opened.is_ok(), expected, "{cosigners:?}");
        assert!(opened.is_err() || opened.is_ok_and(|(_, times)| times.len() == cosigners.len()));
    }
}

/// aics-witness 0.1.0 (PyPI), with a key of its own, cosigned a checkpoint of this crate over HTTP.
#[test]
fn a_cosignature_of_another_implementation_is_accepted() {
    let log = "lottery.example/api/v1/draws/7/log+8d12748a+AbBfmHS1MDyMVk/5eMUu5MTQA9K7HqmYgzSAqQpOjBA4";
    let witness = "witness.example/w1+0e01773b+BBWwN+vExOR0XFGTC89R5R6lwerz57qO5OfjdfDLBzPW";
    let note = "lottery.example/api/v1/draws/7/log
2
PukzcTayZSPeSG/FBlJM+hcR45RYGND4Szew0FxXtwc=

\u{2014} lottery.example/api/v1/draws/7/log jRJ0iiu4xXDAiEqDSmPa3vuHqyH6RhZJyvDLNySrtZI5uOulkhKsA47m7PR/9qTKZwJQEouxIp4mQfW4yxPac6LH8wg=
\u{2014} witness.example/w1 DgF3OwAAAABrCQ4TqPhsa8cfGg9RDDDbpy3nPANE/aWqwlfDMg96q261JmpXOI0lBExKC4u0Sw/eSJOCa6m0M9S23wRUQ6hyh6h3CQ==
";
    let policy = Policy::parse(format!("log {log}\nwitness w {witness}\nquorum w\n").as_bytes()).unwrap();
    let (checkpoint, times) = policy.open(&SignedNote::parse(note.as_bytes()).unwrap(), None).unwrap();
    assert_eq!((checkpoint.head.size, times[0].timestamp), (2, 1_795_755_539));
}

#[test]
fn late_cosignatures_do_not_count_and_the_earliest_of_a_witness_does() {
    let policy = Policy::parse(text().as_bytes()).unwrap();
    let note = cosigned(&[(1, TIME), (2, TIME + 9), (2, TIME + 3), (4, TIME + 4)]);
    assert!(policy.open(&note, Some(TIME + 5)).is_ok());
    assert_eq!(policy.open(&note, Some(TIME + 4)), Err(QuorumError::NoQuorum), "at the time is too late");
    let (checkpoint, times) = policy.open(&note, None).unwrap();
    assert_eq!(checkpoint.head, Head::empty());
    let mut times: Vec<u64> = times.into_iter().map(|time| time.timestamp).collect();
    times.sort_unstable();
    assert_eq!(times, [TIME, TIME + 3, TIME + 4]);
}

#[test]
fn a_wrong_cosignature_of_a_known_witness_refuses_the_checkpoint() {
    let policy = Policy::parse(text().as_bytes()).unwrap();
    let mut note = cosigned(&[(1, TIME), (2, TIME), (4, TIME)]);
    note.add_signatures(&witness(3).signature_line("another text\n", TIME)).unwrap();
    let error = policy.open(&note, None).unwrap_err();
    let expected =
        matches!(&error, QuorumError::Checkpoint(CheckpointError::Note(NoteError::BadSignature { .. })));
    assert!(expected, "{error}");
}

#[test]
fn a_policy_without_witnesses_needs_the_log_alone() {
    let policy = Policy::parse(format!("log {}\nquorum none\n", log().verifier()).as_bytes()).unwrap();
    assert!(!policy.requires_witnesses());
    assert!(policy.open(&cosigned(&[]), None).is_ok());
    let other = Policy::parse(b"quorum none\n").unwrap();
    assert!(other.open(&cosigned(&[]), None).is_err(), "no log is known");
    assert!(other.quorum_times(&cosigned(&[]), None).is_ok());
}

#[test]
fn policies_have_one_form() {
    let base = format!("witness a {}\nwitness b {}\n", vkey(1), vkey(2));
    let cases = [
        ("quorum c\n", PolicyProblem::UnknownName),
        ("group g 0 a b\nquorum g\n", PolicyProblem::Threshold),
        ("group g 3 a b\nquorum g\n", PolicyProblem::Threshold),
        ("group g 01 a b\nquorum g\n", PolicyProblem::Threshold),
        ("group g all\nquorum g\n", PolicyProblem::Syntax),
        ("group g all none\nquorum g\n", PolicyProblem::UnknownName),
        ("group g all a a\nquorum g\n", PolicyProblem::DuplicateMember),
        ("group g all a\ngroup h all a g\nquorum h\n", PolicyProblem::DuplicateMember),
        ("group a all b\nquorum a\n", PolicyProblem::DuplicateName),
        ("group none all b\nquorum b\n", PolicyProblem::DuplicateName),
        ("quorum a\nquorum b\n", PolicyProblem::SecondQuorum),
        ("Quorum a\n", PolicyProblem::Syntax),
        ("quorum a b\n", PolicyProblem::Syntax),
        ("quorum a\r\n", PolicyProblem::Control),
    ];
    for (end, expected) in cases {
        assert_eq!(problem(&format!("{base}{end}")), expected, "{end}");
    }
    assert_eq!(problem(&format!("{base}witness c {}\n", vkey(1))), PolicyProblem::DuplicateKey);
    let renamed = Cosigner::new("other.example", &[101; 32]).unwrap().verifier().to_string();
    assert_eq!(problem(&format!("{base}witness c {renamed}\n")), PolicyProblem::DuplicateKey, "the same key");
    assert_eq!(problem(&format!("witness c {}\n", log().verifier())), PolicyProblem::KeyType);
    assert_eq!(problem(&format!("log {}\n", vkey(1))), PolicyProblem::KeyType);
    assert_eq!(Policy::parse(base.as_bytes()).unwrap_err(), PolicyError::NoQuorum);
    assert_eq!(Policy::parse(b"quorum none").unwrap_err(), PolicyError::NoNewline);
    assert_eq!(Policy::parse(&[b'\n'; 65_537]).unwrap_err(), PolicyError::TooLong);
    let many: String = (0..130)
        .map(|number| {
            let key = Cosigner::new("w", &[number as u8; 32]).unwrap();
            format!("witness n{number} {}\n", key.verifier())
        })
        .collect();
    assert_eq!(Policy::parse(format!("{many}quorum none\n").as_bytes()).unwrap_err(), PolicyError::TooManyNames);
    // Names are bytes, not text.
    let bytes = [b"witness \xff ", vkey(1).as_bytes(), b"\nquorum \xff\n"].concat();
    assert!(Policy::parse(&bytes).unwrap().requires_witnesses());
}
