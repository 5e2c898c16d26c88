//! Measures what a sale and a verification cost: `cargo run --release -p verifiable-draw --example speed`.

#![allow(clippy::disallowed_methods, reason = "this program measures time")]

use std::hint::black_box;
use std::time::Instant;

use verifiable_draw::Hash;
use verifiable_draw::beacon::BeaconChain;
use verifiable_draw::bundle::write_entry;
use verifiable_draw::checkpoint::sign_head;
use verifiable_draw::event::PublishedRules;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::hash_leaf;
use verifiable_draw::order::{OrderEntry, write_order};
use verifiable_draw::proof::receipt_text;
use verifiable_draw::transcript::list::read_bundle;
use verifiable_draw::vkey::NoteSigner;

const ENTRY: &[u8] =
    br#"{"first":1,"owner":"uwt1rKn5wIaHZgQ+yz9g/JKKeApUvBOjk3F8He65+Rg=","picks":[[1,7,13,22,36],[2,3,5,8,13]]}"#;
const TREE: u64 = 10_000_000;
const BATCH: usize = 31;

fn measure<T>(name: &str, rounds: u32, mut work: impl FnMut() -> T) {
    let start = Instant::now();
    for _ in 0..rounds {
        black_box(work());
    }
    println!("{name:45} {:>12.0} ns", start.elapsed().as_nanos() as f64 / f64::from(rounds));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let mut edge = Edge::new();
    for index in 0..TREE {
        edge.append(hash_leaf(&index.to_be_bytes()))?;
    }
    println!("root of {TREE} leaves: {:.2} s", start.elapsed().as_secs_f64());

    let signer = NoteSigner::new("lottery.example/api/v1/draws/7/log", &[7; 32])?;
    let leaves: Vec<Hash> = (0..BATCH).map(|index| hash_leaf(&index.to_be_bytes())).collect();
    let batch = edge.append_batch(leaves.clone())?;
    let head = batch.edge().head();
    let note = sign_head(&head, &signer);
    let picks = [[1, 7, 13, 22, 36], [2, 3, 5, 8, 13]];
    measure("entry of an order", 1_000_000, || write_order(black_box(1), &[7; 32], picks));
    measure("reading an entry", 100_000, || OrderEntry::parse(black_box(ENTRY)));
    measure("hash of a leaf", 1_000_000, || hash_leaf(black_box(ENTRY)));
    measure("append of a batch of 31", 20_000, || edge.append_batch(black_box(leaves.clone())));
    measure("root of the edge", 100_000, || batch.edge().root());
    measure("signed checkpoint", 20_000, || sign_head(black_box(&head), &signer));
    measure("one inclusion proof in the batch", 100_000, || batch.inclusion_proof(black_box(TREE + 15)));
    let proof = batch.inclusion_proof(TREE + 15).ok_or("the leaf is of the batch")?;
    let text = || receipt_text(Some(black_box(ENTRY)), TREE + 15, &proof, &note);
    measure("text of a receipt", 100_000, text);
    println!("a receipt has {} hashes and {} bytes", proof.len(), text().len());
    let mut bundle = Vec::new();
    for order in 0..256 {
        write_entry(&mut bundle, &write_order(order + 1, &[7; 32], [[1, 7, 13, 22, 36]])?)?;
    }
    let rules = PublishedRules {
        pick: 5,
        of: 36,
        price: 100,
        currency: "RUB".to_owned(),
        fund_share: 5_000,
        tiers: Vec::new(),
    };
    measure("reading a bundle of 256 orders for the count", 1_000, || {
        read_bundle(&bundle, &rules, &[1, 2, 3, 4, 5])
    });
    let chain = BeaconChain::quicknet();
    measure("refusing a signature of a round", 100, || chain.verify(1, &[0x80; 48]));
    Ok(())
}
