//! `vectors.json`: what this crate computes, for other implementations. `tests/verify_draw.py` checks the same file.
//!
//! `RENEW_VECTORS=1 cargo test -p verifiable-draw vectors` writes it anew. The constants of the protocol's design
//! stand here in full, so a renewal cannot change them unseen.

use serde_json::{Value, json};
use verifiable_draw::Hash;
use verifiable_draw::beacon::{BeaconChain, BeaconError};
use verifiable_draw::bundle::write_entry;
use verifiable_draw::canonical;
use verifiable_draw::checkpoint::sign_head;
use verifiable_draw::cosignature::Cosigner;
use verifiable_draw::keys::{DrawSeed, MasterSecret, owner};
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::tiles::{Tile, TileKind, TileProver, TileReader};
use verifiable_draw::merkle::{Head, empty_root, hash_leaf};
use verifiable_draw::note::SignedNote;
use verifiable_draw::numbers::{Entropy, draw_numbers};
use verifiable_draw::order::write_order;
use verifiable_draw::proof::receipt_text;

const ORIGIN: &str = "lottery.example/api/v1/draws/7/log";
const ROUND: u64 = 123;
const ROUND_SIGNATURE: &str =
    "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92";
/// Of quicknet, as drand's `/info` says it.
const GROUP_HASH: &str = "f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e";
const COMMITMENT: &str = "d64b42c0c8bf5e04770b64290ca48e2a259d5379344aa4dabf3c2e17ad662ae2";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn round_signature() -> [u8; 48] {
    std::array::from_fn(|i| u8::from_str_radix(&ROUND_SIGNATURE[2 * i..2 * i + 2], 16).unwrap())
}

/// 00, 01, 02 and so on.
fn counting<const N: usize>() -> [u8; N] {
    std::array::from_fn(|i| i as u8)
}

/// A tree of few enough leaves for tiles of level 0 and 1.
struct Leaves(Vec<Hash>);

impl Leaves {
    fn new(count: usize) -> Self {
        Self((0..count).map(|index| hash_leaf(format!("leaf {index}").as_bytes())).collect())
    }

    fn edge(&self) -> Edge {
        Edge::new().append_batch(self.0.clone()).unwrap().into_edge()
    }
}

impl TileReader for &Leaves {
    type ReadError = ();

    fn read_tile(&mut self, tile: Tile) -> Result<Vec<Hash>, ()> {
        let TileKind::Hashes { level } = tile.kind else { return Err(()) };
        let batch = Edge::new().append_batch(self.0.clone()).map_err(drop)?;
        let first = tile.index as usize * 256;
        let all: Vec<Hash> = batch.completed(8 * u32::from(level)).map(|(_, root)| *root).collect();
        Ok(all[first..first + usize::from(tile.width)].to_vec())
    }
}

fn merkle() -> Value {
    let trees: Vec<Value> = [0, 1, 2, 3, 255, 256, 257, 600]
        .map(|count| {
            let edge = Leaves::new(count).edge();
            json!({ "size": count, "root": hex(&edge.root()), "edge": hex(&edge.to_bytes()) })
        })
        .to_vec();
    let leaves = Leaves::new(600);
    let mut prover = TileProver::new(&leaves, 600);
    let mut proofs = |index: u64| {
        let inclusion: Vec<String> = prover.inclusion_proof(index).unwrap().iter().map(|hash| hex(hash)).collect();
        let consistency: Vec<String> =
            prover.consistency_proof(index).unwrap().iter().map(|hash| hex(hash)).collect();
        json!({ "number": index, "inclusion": inclusion, "consistency": consistency })
    };
    let proofs: Vec<Value> = [0, 1, 3, 256, 257, 511, 599].map(&mut proofs).to_vec();
    json!({ "leaf_prefix": "leaf ", "trees": trees, "proofs_of_600": proofs })
}

fn keys() -> Value {
    let master = MasterSecret::new(counting());
    let payment: [u8; 16] = std::array::from_fn(|i| 0xf0 + i as u8);
    json!({
        "master": hex(&counting::<32>()), "draw": 7, "origin": ORIGIN,
        "seed": hex(&master.seed(7).reveal()),
        "commitment": hex(&master.seed(7).commitment(ORIGIN)),
        "ticket_log_vkey": master.ticket_log_signer(7, ORIGIN).unwrap().verifier().to_string(),
        "public_log_vkey": master.public_log_signer(0, "lottery.example/api/v1/log").unwrap().verifier().to_string(),
        "payment": hex(&payment),
        "salt": hex(&master.salt_key(7).salt(7, &payment)),
        "commitment_of_the_seed_0_to_31": hex(&DrawSeed::new(counting()).commitment(ORIGIN)),
    })
}

fn entry() -> String {
    order(1, &[[1, 7, 13, 22, 36], [2, 3, 5, 8, 13]])
}

fn order(first: u64, picks: &[[u8; 5]]) -> String {
    String::from_utf8(write_order(first, &owner(&counting(), 42), picks.iter().copied()).unwrap()).unwrap()
}

fn leaf() -> Value {
    json!({ "salt": hex(&counting::<16>()), "user": 42, "entry": entry(), "hash": hex(&hash_leaf(entry().as_bytes())) })
}

/// Two orders and what is signed about them.
fn texts() -> Value {
    let master = MasterSecret::new(counting());
    let signer = master.ticket_log_signer(7, ORIGIN).unwrap();
    let entries = [entry(), order(3, &[[1, 2, 3, 4, 5]])];
    let leaves = entries.iter().map(|entry| hash_leaf(entry.as_bytes())).collect();
    let batch = Edge::new().append_batch(leaves).unwrap();
    let note = sign_head(&batch.edge().head(), &signer);
    let witness = Cosigner::new("witness.example/w1", &[9; 32]).unwrap();
    let mut cosigned = SignedNote::parse(note.as_bytes()).unwrap();
    cosigned.add_signatures(&witness.signature_line(cosigned.text(), 1_700_000_000)).unwrap();
    let mut bundle = Vec::new();
    entries.iter().for_each(|entry| write_entry(&mut bundle, entry.as_bytes()).unwrap());
    let receipt = |index: u64| {
        let proof = batch.inclusion_proof(index).unwrap();
        receipt_text(Some(entries[index as usize].as_bytes()), index, &proof, &note)
    };
    json!({
        "vkey": signer.verifier().to_string(), "witness_vkey": witness.verifier().to_string(),
        "checkpoint": cosigned.to_string(), "cosigned_at": 1_700_000_000u64,
        "bundle": hex(&bundle), "receipts": [receipt(0), receipt(1)],
    })
}

/// Entries that are accepted and refused. Of the first, which of its bits may be flipped: the lowest bit of the first byte
/// comes first, and eight of them are one byte, of which the first is the lowest bit.
fn entries() -> Value {
    let accepted = [
        entry(),
        r#"{"":9007199254740991,"a\n":["\u001f\"é€😀",{}],"b":[]}"#.to_owned(),
        "{\"\u{20ac}\":1,\"\u{1f600}\":2,\"\u{fb33}\":3}".to_owned(),
    ];
    let refused = [
        r#"{"b":1,"a":2}"#,
        r#"{"a":1,"a":1}"#,
        r#"{"a": 1}"#,
        r#"{"a":1.0}"#,
        r#"{"a":-1}"#,
        r#"{"a":9007199254740992}"#,
        r#"{"a":true}"#,
        r#"{"a":null}"#,
        r#"{"a":"\u0041"}"#,
        r#"{"a":"\u001F"}"#,
        r#"{"a":"\/"}"#,
        "{\"\u{fb33}\":3,\"\u{1f600}\":2}",
        "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]",
        "{}\n",
    ];
    let is_entry = |text: &[u8]| canonical::Value::parse(text).is_ok();
    assert!(accepted.iter().all(|text| is_entry(text.as_bytes())));
    assert!(!refused.iter().any(|text| is_entry(text.as_bytes())));
    let mut altered = accepted[0].clone().into_bytes();
    let mut flippable = vec![0u8; altered.len()];
    for bit in 0..altered.len() * 8 {
        altered[bit / 8] ^= 1 << (bit % 8);
        flippable[bit / 8] |= u8::from(is_entry(&altered)) << (bit % 8);
        altered[bit / 8] ^= 1 << (bit % 8);
    }
    json!({ "accepted": accepted, "refused": refused, "flippable": hex(&flippable) })
}

fn numbers() -> Value {
    let chain = BeaconChain::quicknet();
    let randomness = chain.verify(ROUND, &round_signature()).unwrap();
    let (seed, sealed, nothing) = (counting::<32>(), Leaves::new(600).edge().head(), Head::empty());
    let mut cases = Vec::new();
    for (k, n) in [(5, 36), (6, 45), (1, 1), (1, 64), (63, 64), (64, 64)] {
        let draw = |entropy| draw_numbers(entropy, b"announcement", k, n).unwrap();
        let beacon = draw(Entropy::Beacon { round: ROUND, randomness: &randomness });
        let commit_reveal = draw(Entropy::CommitReveal { seed: &seed, sealed: &sealed });
        let empty = draw(Entropy::CommitReveal { seed: &seed, sealed: &nothing });
        cases.push(
            json!({ "k": k, "n": n, "beacon": beacon, "commit_reveal": commit_reveal, "empty_draw": empty }),
        );
    }
    json!({
        "announcement": "announcement", "round": ROUND, "randomness": hex(&randomness), "seed": hex(&seed),
        "orders": sealed.size, "root": hex(&sealed.root), "games": cases,
    })
}

fn beacon() -> Value {
    let chain = BeaconChain::quicknet();
    json!({
        "chain_hash": hex(chain.hash()), "group_hash": GROUP_HASH, "id": "quicknet", "public_key": hex(chain.public_key()), "genesis": 1_692_803_367u64, "period": 3,
        "round": ROUND, "time": chain.time_of(ROUND).unwrap(), "signature": ROUND_SIGNATURE,
        "randomness": hex(&chain.verify(ROUND, &round_signature()).unwrap()),
    })
}

#[test]
fn the_published_vectors_are_those_of_the_crate() {
    let computed = json!({
        "leaf": leaf(), "keys": keys(), "merkle": merkle(), "texts": texts(), "entries": entries(),
        "numbers": numbers(), "beacon": beacon(),
    });
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors.json");
    if std::env::var_os("RENEW_VECTORS").is_some() {
        std::fs::write(file, serde_json::to_string_pretty(&computed).unwrap() + "\n").unwrap();
    }
    let published: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for (section, values) in computed.as_object().unwrap() {
        assert_eq!(&published[section], values, "{section}");
    }
}

#[test]
fn the_vectors_of_the_design_hold() {
    assert_eq!(hex(&DrawSeed::new(counting()).commitment(ORIGIN)), COMMITMENT);
    let empty = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, empty_root());
    assert_eq!(empty, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    let chain = BeaconChain::quicknet();
    let randomness = chain.verify(ROUND, &round_signature()).unwrap();
    let draw =
        |k, n| draw_numbers(Entropy::Beacon { round: ROUND, randomness: &randomness }, b"announcement", k, n);
    assert_eq!(draw(5, 36).unwrap(), [9, 6, 29, 25, 34]);
    assert_eq!(draw(6, 45).unwrap(), [45, 32, 10, 34, 13, 15]);
}

#[test]
fn another_round_or_signature_is_refused() {
    let chain = BeaconChain::quicknet();
    let signature = round_signature();
    for round in [0, 1, 122, 124, u64::MAX] {
        assert!(chain.verify(round, &signature).is_err(), "{round}");
    }
    for bit in 0..signature.len() * 8 {
        let mut altered = signature;
        altered[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(chain.verify(ROUND, &altered), Err(BeaconError::Signature(ROUND)), "{bit}");
    }
    let infinity: [u8; 48] = std::array::from_fn(|i| if i == 0 { 0xc0 } else { 0 });
    assert!(chain.verify(ROUND, &infinity).is_err());
}

#[test]
fn a_chain_is_what_its_hash_covers() {
    let quicknet = BeaconChain::quicknet();
    let group: [u8; 32] = std::array::from_fn(|i| u8::from_str_radix(&GROUP_HASH[2 * i..2 * i + 2], 16).unwrap());
    let chain = |genesis, period, id| BeaconChain::new(*quicknet.public_key(), genesis, period, &group, id);
    assert_eq!(chain(1_692_803_367, 3, "quicknet"), Ok(quicknet.clone()));
    for other in
        [chain(1_692_803_368, 3, "quicknet"), chain(1_692_803_367, 4, "quicknet"), chain(1_692_803_367, 3, "")]
    {
        assert_ne!(other.unwrap().hash(), quicknet.hash());
    }
    assert_eq!(chain(0, 0, ""), Err(BeaconError::Chain));
    assert_eq!(chain(u64::MAX, 3, ""), Err(BeaconError::Chain));
    assert_eq!(BeaconChain::new([0; 96], 0, 3, &group, ""), Err(BeaconError::PublicKey));
    let infinity = std::array::from_fn(|i| if i == 0 { 0xc0 } else { 0 });
    assert_eq!(BeaconChain::new(infinity, 0, 3, &group, ""), Err(BeaconError::PublicKey));
}

#[test]
fn rounds_have_times() {
    let chain = BeaconChain::quicknet();
    assert_eq!(chain.time_of(1), Ok(1_692_803_367));
    assert_eq!(chain.time_of(123), Ok(1_692_803_367 + 3 * 122));
    assert_eq!(chain.time_of(0), Err(BeaconError::Round));
    assert_eq!(chain.time_of(u64::MAX), Err(BeaconError::Round));
    for (time, round) in [(0, 1), (1_692_803_367, 1), (1_692_803_368, 2), (1_692_803_370, 2), (1_692_803_371, 3)] {
        assert_eq!(chain.round_at(time), round);
    }
}

#[test]
fn secrets_are_not_shown() {
    let master = MasterSecret::new(counting());
    let signer = master.ticket_log_signer(7, ORIGIN).unwrap();
    let shown = format!("{master:?} {:?} {:?} {signer:?}", master.seed(7), master.salt_key(7));
    let public = signer.verifier();
    assert_eq!(shown, format!("MasterSecret(secret) DrawSeed(secret) SaltKey(secret) NoteSigner({public})"));
}
