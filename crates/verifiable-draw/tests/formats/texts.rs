//! Notes, checkpoints, receipts, bundles and entries: what is read, what is refused. `signed_note` is the second opinion.
//! `alterations` alters each of them.

use proptest::prelude::*;
use verifiable_draw::bundle::{BundleError, read_entries, write_entry};
use verifiable_draw::canonical::{MAX_INTEGER, ObjectValue, Value};
use verifiable_draw::checkpoint::{Checkpoint, CheckpointError, sign_head};
use verifiable_draw::cosignature::Cosigner;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::note::{MAX_NOTE_BYTES, MAX_SIGNATURES, NoteError, SignedNote};
use verifiable_draw::proof::{InclusionReceipt, receipt_text};
use verifiable_draw::vkey::{NoteSigner, SignatureType, SignedAt, VerifierKey, VkeyError};

const ORIGIN: &str = "lottery.example/api/v1/draws/7/log";

fn signer() -> NoteSigner {
    NoteSigner::new(ORIGIN, &[7; 32]).unwrap()
}

fn head() -> Head {
    Head { size: 3, root: hash_leaf(b"root") }
}

/// A checkpoint with a signature of the log, and one that nobody knows.
fn checkpoint() -> String {
    sign_head(&head(), &signer()) + "\u{2014} other.example AAAAAAAA\n"
}

fn open(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::open(&SignedNote::parse(bytes)?, [signer().verifier()])
}

#[test]
fn only_the_key_with_the_name_of_the_origin_signs_a_checkpoint() {
    let note = SignedNote::parse(checkpoint().as_bytes()).unwrap();
    let same_key = NoteSigner::new("lottery.example/api/v1/draws/8/log", &[7; 32]).unwrap();
    let relabelled = checkpoint().replace("/7/log\n3", "/8/log\n3");
    assert!(Checkpoint::open(&SignedNote::parse(relabelled.as_bytes()).unwrap(), [same_key.verifier()]).is_err());
    assert!(matches!(
        Checkpoint::open(&note, [same_key.verifier()]),
        Err(CheckpointError::OtherOrigin { origin }) if origin == ORIGIN
    ));
    // A head of log 7, signed by a key with the name of log 8.
    let text = format!("{}", Checkpoint { origin: ORIGIN.to_owned(), head: head(), extensions: Vec::new() });
    let foreign = text.clone() + "\n" + &same_key.signature_line(&text);
    assert!(Checkpoint::open(&SignedNote::parse(foreign.as_bytes()).unwrap(), [same_key.verifier()]).is_err());
    let cosigner = Cosigner::new(ORIGIN, &[7; 32]).unwrap();
    let cosigned = text.clone() + "\n" + &cosigner.signature_line(&text, 1);
    let note = SignedNote::parse(cosigned.as_bytes()).unwrap();
    assert!(Checkpoint::open(&note, [cosigner.verifier()]).is_err(), "a witness' key does not sign for a log");
}

#[test]
fn each_signature_line_of_a_known_key_is_verified() {
    let note = checkpoint();
    let line = note.lines().find(|line| line.contains("\u{2014} lottery")).unwrap();
    let (start, encoded) = line.rsplit_once(' ').unwrap();
    let wrong = format!("{start} {}\n", encoded.replace(&encoded[20..24], "AAAA"));
    for both in [note.clone() + &wrong, note.replace(line, &(wrong.clone() + line))] {
        assert!(matches!(open(both.as_bytes()), Err(CheckpointError::Note(NoteError::BadSignature { .. }))));
    }
    assert!(open((note.clone() + line + "\n").as_bytes()).is_ok(), "twice the same signature");
}

#[test]
fn notes_have_limits() {
    let line = "\u{2014} other.example AAAAAAAA\n";
    let with = |count: usize| sign_head(&head(), &signer()) + &line.repeat(count);
    assert!(open(with(MAX_SIGNATURES - 1).as_bytes()).is_ok());
    assert_eq!(SignedNote::parse(with(MAX_SIGNATURES).as_bytes()), Err(NoteError::TooManySignatures));
    let mut full = SignedNote::parse(with(MAX_SIGNATURES - 2).as_bytes()).unwrap();
    assert_eq!(full.add_signatures(line), Ok(()));
    assert_eq!(full.add_signatures(line), Err(NoteError::TooManySignatures));
    let long = "x".repeat(MAX_NOTE_BYTES + 1);
    assert!(matches!(SignedNote::parse(long.as_bytes()), Err(NoteError::TooLong(_))));
    for wrong in
        ["", "\n", "text\n\n", "text\n\nno line\n", "text\n\n\u{2014} a AAAA\n", "text\r\n\n\u{2014} a AAAAAAAA\n"]
    {
        assert!(SignedNote::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
}

#[test]
fn checkpoints_have_one_form() {
    let root = checkpoint().lines().nth(2).unwrap().to_owned();
    let parse = |text: String| Checkpoint::parse(&text);
    assert!(parse(format!("o\n3\n{root}\nextension\n")).is_ok_and(|kept| kept.extensions == ["extension"]));
    for wrong in [
        format!("o\n3\n{root}"),
        format!("o\n03\n{root}\n"),
        format!("o\n+3\n{root}\n"),
        format!("\n3\n{root}\n"),
        format!("o p\n3\n{root}\n"),
        format!("o\n3\n{root}\n\n"),
        format!("o\n3\n{root}\n\nx\n"),
        "o\n3\n".to_owned(),
        format!("o\n3\n{}\n", &root[1..]),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("o\n3\n{root}\n{}", "x\n".repeat(17)),
    ] {
        assert!(parse(wrong.clone()).is_err(), "{wrong:?}");
    }
}

/// The example of Go's golang.org/x/mod/sumdb/note.
const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_NOTE: &str = "If you think cryptography is the answer to your problem,
then you don't know what your problem is.

\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
";

#[test]
fn a_note_of_another_implementation_is_accepted() {
    let key = VerifierKey::parse(GO_KEY).unwrap();
    let note = SignedNote::parse(GO_NOTE.as_bytes()).unwrap();
    assert_eq!(note.verify([&key]).unwrap()[0].signed_at, SignedAt::NotStated);
    assert_eq!(note.to_string(), GO_NOTE);
}

#[test]
fn another_implementation_reads_our_notes_and_keys() {
    let key = signer().verifier().to_string();
    let verifier = signed_note::StandardVerifier::new(&key).unwrap();
    let note = signed_note::Note::from_bytes(checkpoint().as_bytes()).unwrap();
    let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    assert_eq!(note.verify(&known).unwrap().0.len(), 1);
    assert_eq!(&VerifierKey::parse(&key).unwrap(), signer().verifier());
}

#[test]
fn vkeys_have_one_form() {
    let go = GO_KEY;
    assert_eq!(VerifierKey::parse(go).unwrap().to_string(), go);
    let key = signer().verifier().to_string();
    for wrong in [
        String::new(),
        key.to_uppercase(),
        key.replace("lottery", "lotterz"),
        key.replacen('+', "", 1),
        go.replace("c74f", "C74F"),
        go.replace("+AR", "+BR"),
        go.replace("PeterNeumann", "Peter Neumann"),
        go.replace("+ARpc", "+Agpc"),
        format!("{go}="),
        "x".repeat(1000),
    ] {
        assert!(VerifierKey::parse(&wrong).is_err(), "{wrong}");
    }
    let identity = std::array::from_fn(|i| u8::from(i == 0));
    assert_eq!(VerifierKey::new("a", SignatureType::Ed25519, &identity), Err(VkeyError::Key), "small order");
    // y = 3 is a point, and y = 3 + 2^255 - 19 is another encoding of it.
    let point: [u8; 32] = std::array::from_fn(|i| if i == 0 { 3 } else { 0 });
    assert!(VerifierKey::new("a", SignatureType::Ed25519, &point).is_ok());
    let encoded_otherwise = std::array::from_fn(|i| [0xf0, 0xff, 0x7f][usize::from(i > 0) + usize::from(i == 31)]);
    assert_eq!(VerifierKey::new("a", SignatureType::Ed25519, &encoded_otherwise), Err(VkeyError::Key));
}

#[test]
fn a_cosignature_covers_its_time() {
    let cosigner = Cosigner::new("witness.example/w1", &[9; 32]).unwrap();
    let mut note = SignedNote::parse(checkpoint().as_bytes()).unwrap();
    note.add_signatures(&cosigner.signature_line(note.text(), 1_679_315_147)).unwrap();
    let verified = note.verify([cosigner.verifier()]).unwrap();
    assert_eq!(verified[0].signed_at, SignedAt::Timestamp(1_679_315_147));
    let text = note.text().to_owned();
    let late = cosigner.signature_line(note.text(), 1 << 63);
    let note = SignedNote::parse(format!("{text}\n{late}").as_bytes()).unwrap();
    assert!(note.verify([cosigner.verifier()]).is_err(), "times end at 2^63 - 1");
}

fn receipt() -> (Vec<u8>, String) {
    let entry = br#"{"first":3,"owner":"","picks":[[1,2]]}"#.to_vec();
    let leaves = vec![hash_leaf(b"a"), hash_leaf(b"b"), hash_leaf(&entry), hash_leaf(b"d"), hash_leaf(b"e")];
    let batch = Edge::new().append_batch(leaves).unwrap();
    let note = sign_head(&batch.edge().head(), &signer());
    let text = receipt_text(Some(&entry), 2, &batch.inclusion_proof(2).unwrap(), &note);
    (entry, text)
}

#[test]
fn a_receipt_proves_its_own_entry_alone() {
    let (entry, text) = receipt();
    let parsed = InclusionReceipt::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed.to_string(), text);
    assert_eq!(parsed.verify_extra([signer().verifier()]).unwrap().0, entry);
    assert!(parsed.verify(&entry, [signer().verifier()]).is_ok());
    assert!(parsed.verify(b"another entry", [signer().verifier()]).is_err());
}

#[test]
fn receipts_have_one_form() {
    let (_, text) = receipt();
    let hash = text.lines().nth(3).unwrap();
    for wrong in [
        text.replace("index 2", "index 02"),
        text.replace("index 2", "index  2"),
        text.replace("@v1", "@v2"),
        text.replacen("extra ", "Extra ", 1),
        text.replacen("extra ey", "extra \nextra ey", 1),
        text.replace(hash, &format!("{hash} ")),
        text.replacen(hash, &format!("{hash}\n").repeat(70), 1),
        text.replace("\nindex", "\n\nindex"),
        format!("\n{text}"),
    ] {
        assert_ne!(wrong, text);
        assert!(InclusionReceipt::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn bundles_have_limits() {
    let mut bundle = Vec::new();
    let entries = [&b"one"[..], b"", &[7; 300]];
    entries.iter().for_each(|entry| write_entry(&mut bundle, entry).unwrap());
    assert_eq!(read_entries(&bundle).unwrap(), entries);
    assert_eq!(read_entries(&bundle[..5]), read_entries(&[0, 3, b'o', b'n', b'e']));
    assert_eq!(read_entries(&bundle[..6]), Err(BundleError::Cut(1)));
    assert_eq!(read_entries(&[]), Err(BundleError::Count));
    assert_eq!(read_entries(&[0; 2 * 257]), Err(BundleError::Count));
    assert_eq!(read_entries(&[0; 2 * 256]).unwrap().len(), 256);
    assert_eq!(write_entry(&mut Vec::new(), &[0; 65_536]), Err(BundleError::TooLong(65_536)));
}

#[test]
fn entries_have_one_form() {
    let good = [
        r#"{"first":1,"owner":"uw=","picks":[[1,7],[2,3]]}"#,
        "{}",
        "[]",
        "0",
        "9007199254740991",
        r#""""#,
        r#"{"":1,"a":{"b":[]}}"#,
        r#"["\b\t\n\f\r\u001f\"\\/é€😀"]"#,
        // By UTF-16: the surrogates of the emoji come before U+FB33.
        "{\"\u{20ac}\":1,\"\u{1f600}\":2,\"\u{fb33}\":3}",
    ];
    for text in good {
        let value = Value::parse(text.as_bytes()).unwrap();
        assert_eq!(value.write().unwrap(), text.as_bytes());
    }
    for text in [
        "",
        " {}",
        "{} ",
        "{ }",
        r#"{"b":1,"a":2}"#,
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":1}"#,
        "1.0",
        "1e2",
        "-1",
        "-0",
        "00",
        "9007199254740992",
        "null",
        "true",
        "false",
        r#""\/""#,
        r#""\u0041""#,
        r#""\u001F""#,
        "\"\t\"",
        r#""\ud800""#,
        "{\"\u{fb33}\":3,\"\u{1f600}\":2}",
        "[1,]",
        "{}{}",
        "\u{feff}{}",
    ] {
        assert!(Value::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(Value::parse(nested(16).as_bytes()).is_ok());
    assert!(Value::parse(nested(17).as_bytes()).is_err());
    assert!(Value::Integer(MAX_INTEGER + 1).write().is_err());
    assert!(Value::Text("x".repeat(65_534)).write().is_err());
    assert!(ObjectValue::new(vec![("a".into(), Value::Integer(1)), ("a".into(), Value::Integer(2))]).is_err());
}

proptest! {
    #[test]
    fn any_text_survives_an_entry(text in "\\PC*|(?s).*", key in "(?s).{0,8}") {
        let object = ObjectValue::new(vec![(key, Value::Text(text))]).unwrap();
        let value = Value::Object(object);
        prop_assert_eq!(Value::parse(&value.write().unwrap()).unwrap(), value);
    }
}
