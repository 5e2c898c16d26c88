//! Every alteration of a published text is refused, has another hash than the one that was signed, or is proven to
//! mean the same.

use verifiable_draw::Hash;
use verifiable_draw::bundle::{read_entries, write_entry};
use verifiable_draw::canonical::Value;
use verifiable_draw::checkpoint::{Checkpoint, sign_head};
use verifiable_draw::cosignature::Cosigner;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::tiles::{Tile, TileProver, TileReader};
use verifiable_draw::merkle::verify::verify_inclusion;
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::note::SignedNote;
use verifiable_draw::policy::Policy;
use verifiable_draw::proof::{InclusionReceipt, receipt_text};
use verifiable_draw::vkey::{NoteSigner, VerifierKey};

const TIME: u64 = 1_700_000_000;
const ENTRY: &str = r#"{"first":1,"owner":"AnPybai9IUZMJe/DIA3HeeCrEBUFMyRza+O2IL8TdH8=","picks":[[1,7],[2,30]]}"#;
/// What is put in at every place: what separates, comments, pads or continues something in one of the formats.
const INSERTED: &[u8] = b" \n\t\r#+=A0,x";

/// Every prefix, every flipped bit, every byte left out, and each inserted byte at every place.
fn alterations(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let prefixes = (0..text.len()).map(|length| text[..length].to_vec());
    let flipped = (0..text.len() * 8).map(|bit| {
        let mut altered = text.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        altered
    });
    let without = (0..text.len()).map(|at| [&text[..at], &text[at + 1..]].concat());
    let inserted = (0..=text.len()).flat_map(|at| INSERTED.iter().map(move |byte| (at, *byte)));
    let with = inserted.map(|(at, byte)| [&text[..at], &[byte], &text[at..]].concat());
    prefixes.chain(flipped).chain(without).chain(with)
}

fn log() -> NoteSigner {
    NoteSigner::new("lottery.example/api/v1/draws/7/log", &[7; 32]).unwrap()
}

fn witness(number: u8) -> Cosigner {
    Cosigner::new(&format!("witness.example/w{number}"), &[100 + number; 32]).unwrap()
}

fn leaves(count: u8) -> Vec<Hash> {
    (0..count).map(|index| hash_leaf(&[index])).collect()
}

/// A checkpoint of the log that some witnesses cosigned.
fn cosigned(head: &Head, witnesses: &[u8]) -> SignedNote {
    let mut note = SignedNote::parse(sign_head(head, &log()).as_bytes()).unwrap();
    for number in witnesses {
        note.add_signatures(&witness(*number).signature_line(note.text(), TIME)).unwrap();
    }
    note
}

#[test]
fn of_a_checkpoint_only_the_line_of_an_unknown_key_may_change() {
    let head = Head { size: 3, root: hash_leaf(b"root") };
    let known = sign_head(&head, &log());
    let text = known.clone() + "\u{2014} other.example AAAAAAAA\n";
    let open = |bytes: &[u8]| Checkpoint::open(&SignedNote::parse(bytes).ok()?, [log().verifier()]).ok();
    let expected = open(text.as_bytes()).unwrap();
    assert_eq!(expected.head, head);
    let mut accepted = 0;
    for altered in alterations(text.as_bytes()) {
        if let Some(opened) = open(&altered) {
            assert!(altered.starts_with(known.as_bytes()), "{}", String::from_utf8_lossy(&altered));
            assert_eq!(opened, expected);
            accepted += 1;
        }
    }
    assert!(accepted > 0, "lines of unknown keys are ignored");
}

#[test]
fn an_altered_cosignature_is_refused() {
    let policy = format!("log {}\nwitness w {}\nquorum w\n", log().verifier(), witness(1).verifier());
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let text = cosigned(&Head::empty(), &[1]).to_string();
    let open = |bytes: &[u8]| policy.open(&SignedNote::parse(bytes).ok()?, None).ok();
    assert_eq!(open(text.as_bytes()).unwrap().1[0].timestamp, TIME);
    for altered in alterations(text.as_bytes()) {
        assert_eq!(open(&altered), None, "{}", String::from_utf8_lossy(&altered));
    }
}

#[test]
fn an_altered_receipt_is_refused() {
    let batch = Edge::new().append_batch([leaves(5), vec![hash_leaf(ENTRY.as_bytes())]].concat()).unwrap();
    let note = sign_head(&batch.edge().head(), &log());
    let text = receipt_text(Some(ENTRY.as_bytes()), 5, &batch.inclusion_proof(5).unwrap(), &note);
    let receipt = InclusionReceipt::parse(text.as_bytes()).unwrap();
    assert_eq!(receipt.verify_extra([log().verifier()]).unwrap().0, ENTRY.as_bytes());
    for altered in alterations(text.as_bytes()) {
        let Ok(receipt) = InclusionReceipt::parse(&altered) else { continue };
        assert_eq!(receipt.to_string().as_bytes(), altered, "one receipt has one text");
        let verified = receipt.verify_extra([log().verifier()]);
        assert!(verified.is_err(), "{}", String::from_utf8_lossy(&altered));
    }
}

#[test]
fn an_altered_bundle_is_refused_or_has_another_root() {
    let mut bundle = Vec::new();
    [ENTRY, "", "two"].iter().for_each(|entry| write_entry(&mut bundle, entry.as_bytes()).unwrap());
    let head = |bundle: &[u8]| {
        let leaves = read_entries(bundle).ok()?.into_iter().map(hash_leaf).collect();
        Some(Edge::new().append_batch(leaves).unwrap().edge().head())
    };
    let expected = head(&bundle);
    assert_eq!(expected.map(|head| head.size), Some(3));
    for altered in alterations(&bundle) {
        assert_ne!(head(&altered), expected, "{altered:x?}");
    }
}

/// One partial tile, as bytes.
struct StoredTile<'b>(&'b [u8]);

impl TileReader for StoredTile<'_> {
    type ReadError = ();

    fn read_tile(&mut self, _: Tile) -> Result<Vec<Hash>, ()> {
        let (hashes, rest) = self.0.as_chunks::<32>();
        if rest.is_empty() { Ok(hashes.to_vec()) } else { Err(()) }
    }
}

#[test]
fn an_altered_tile_is_refused_or_has_another_root() {
    let leaves = leaves(11);
    let head = Edge::new().append_batch(leaves.clone()).unwrap().edge().head();
    let bytes = leaves.concat();
    assert_eq!(TileProver::new(StoredTile(&bytes), 11).root().unwrap(), head.root);
    for altered in alterations(&bytes) {
        let mut prover = TileProver::new(StoredTile(&altered), 11);
        assert!(prover.root().is_err() || prover.root().unwrap() != head.root);
        // Each leaf is in the tile, or its sibling is: no proof from an altered tile verifies for all of them.
        let proves = |prover: &mut TileProver<_>, index: u64| {
            let proof = prover.inclusion_proof(index);
            proof.is_ok_and(|proof| verify_inclusion(&leaves[index as usize], index, &proof, &head).is_ok())
        };
        assert!(!(0..11).all(|index| proves(&mut prover, index)));
    }
}

#[test]
fn an_altered_path_is_refused_or_names_another_tile() {
    for path in ["tile/1/x001/x234/067", "tile/0/x001/067.p/17", "tile/entries/273.p/112", "tile/entries/000"] {
        let tile = Tile::parse(path).unwrap();
        for altered in alterations(path.as_bytes()) {
            let Ok(altered) = String::from_utf8(altered) else { continue };
            if let Some(other) = Tile::parse(&altered) {
                assert_ne!(other, tile, "{altered}");
                assert_eq!(other.path(), altered);
            }
        }
    }
}

#[test]
fn an_altered_edge_is_refused_or_has_another_head() {
    let edge = Edge::new().append_batch(leaves(77)).unwrap().into_edge();
    for altered in alterations(&edge.to_bytes()) {
        if let Ok(other) = Edge::from_bytes(&altered) {
            assert_ne!(other.head(), edge.head());
        }
    }
}

#[test]
fn an_altered_vkey_is_refused() {
    for key in [log().verifier(), witness(1).verifier()] {
        assert_eq!(VerifierKey::parse(&key.to_string()).as_ref(), Ok(key));
        for altered in alterations(key.to_string().as_bytes()) {
            let Ok(altered) = String::from_utf8(altered) else { continue };
            assert!(VerifierKey::parse(&altered).is_err(), "{altered}");
        }
    }
}

#[test]
fn an_altered_entry_is_refused_or_has_another_meaning() {
    for text in [ENTRY, r#"{"":9007199254740991,"a\n":["\u001f\"é€😀",{}],"b":[]}"#] {
        let value = Value::parse(text.as_bytes()).unwrap();
        let mut accepted = 0;
        for altered in alterations(text.as_bytes()) {
            if let Ok(other) = Value::parse(&altered) {
                assert_ne!(other, value, "{}", String::from_utf8_lossy(&altered));
                assert_eq!(other.write().unwrap(), altered, "one value has one text");
                accepted += 1;
            }
        }
        assert!(accepted > 0, "other entries are entries too");
    }
}

/// Two of a, b, c, and one of d and e.
fn policy_text() -> String {
    let mut text = format!("# who signs\nlog {} https://lottery.example\n\n", log().verifier());
    for (name, number) in [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)] {
        text += &format!("\twitness {name}  {}\n", witness(number).verifier());
    }
    text + "group two 2 a b c\ngroup one any d e\ngroup both all two one\nquorum both\n"
}

/// A policy is not signed: the hash of its bytes is published. But no slip in a key passes unseen, and a slip elsewhere
/// changes who is a quorum only where a quorum is defined.
#[test]
fn an_altered_policy_is_refused_or_decides_the_same_or_says_another_quorum() {
    let notes: Vec<SignedNote> = (0..32u8)
        .map(|subset| {
            let cosigners: Vec<u8> = (1..=5).filter(|number| subset >> (number - 1) & 1 == 1).collect();
            cosigned(&Head::empty(), &cosigners)
        })
        .collect();
    let decide =
        |policy: &Policy| -> Vec<bool> { notes.iter().map(|note| policy.open(note, None).is_ok()).collect() };
    let text = policy_text();
    let expected = decide(&Policy::parse(text.as_bytes()).unwrap());
    assert_eq!(expected.iter().filter(|accepted| **accepted).count(), 4 * 3);
    let before = text.find("group").unwrap();
    let (mut same, mut other) = (0, 0);
    for altered in alterations(text.as_bytes()) {
        let Ok(policy) = Policy::parse(&altered) else { continue };
        if decide(&policy) == expected {
            same += 1;
            continue;
        }
        other += 1;
        let comments_the_log_out = policy.logs().is_empty();
        assert!(
            altered.starts_with(&text.as_bytes()[..before]) || comments_the_log_out,
            "{}",
            altered.escape_ascii()
        );
    }
    assert!(same > 0 && other > 0, "{same} {other}");
}
