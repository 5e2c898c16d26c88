//! Writes a ticket log into a directory as a web server would serve it, for verifiers that share no code with this crate:
//! `cargo run -p verifiable-draw --example write_log -- DIRECTORY ORDERS`.
//!
//! Beside the checkpoint, tiles and bundles there are the public keys, and of each batch the receipt of its last order
//! and the proof that the log continues the batch's checkpoint.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use verifiable_draw::Hash;
use verifiable_draw::bundle::write_entry;
use verifiable_draw::checkpoint::sign_head;
use verifiable_draw::cosignature::Cosigner;
use verifiable_draw::keys::{MasterSecret, owner};
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::hash_leaf;
use verifiable_draw::merkle::tiles::{TILE_WIDTH, Tile, TileKind, TileProver, TileReader};
use verifiable_draw::note::SignedNote;
use verifiable_draw::order::write_order;
use verifiable_draw::proof::receipt_text;

const DRAW: u64 = 7;
const ORIGIN: &str = "lottery.example/api/v1/draws/7/log";
const TIME: u64 = 1_700_000_000;

/// The roots of the complete subtrees of 2^0, 2^8, 2^16 … leaves: the hashes of the tiles of each level.
#[derive(Default)]
struct Levels(BTreeMap<u8, Vec<Hash>>);

impl TileReader for &Levels {
    type ReadError = std::convert::Infallible;

    fn read_tile(&mut self, tile: Tile) -> Result<Vec<Hash>, Self::ReadError> {
        let level = if let TileKind::Hashes { level } = tile.kind { self.0.get(&level) } else { None };
        let hashes = level.into_iter().flatten().skip(tile.index as usize * usize::from(TILE_WIDTH));
        Ok(hashes.take(usize::from(tile.width)).copied().collect())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(orders)) = (arguments.next(), arguments.next()) else {
        return Err("give a directory and a number of orders".into());
    };
    let (directory, orders): (PathBuf, usize) = (directory.into(), orders.parse()?);
    let write = |path: &str, bytes: &[u8]| {
        let path = directory.join(path);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, bytes)
    };
    let master = MasterSecret::new([7; 32]);
    let (signer, salts) = (master.ticket_log_signer(DRAW, ORIGIN)?, master.salt_key(DRAW));
    let (mut edge, mut levels, mut entries, mut heads) = (Edge::new(), Levels::default(), Vec::new(), Vec::new());
    // Batches of 1, 2, …, 40, 1, 2, … orders: they end at all kinds of places.
    let mut sizes = (1..=40).cycle();
    while entries.len() < orders {
        let start = entries.len();
        for index in start..orders.min(start + sizes.next().unwrap_or(1)) {
            let salt = salts.salt(DRAW, &(index as u128).to_be_bytes());
            let pick = [1, 2 + (index % 8) as u8, 10 + (index % 27) as u8];
            entries.push(write_order(index as u64 + 1, &owner(&salt, index as u64 % 100), [pick])?);
        }
        let batch = edge.append_batch(entries[start..].iter().map(|entry| hash_leaf(entry)).collect())?;
        for level in 0..8 {
            let completed = batch.completed(8 * u32::from(level)).map(|(_, root)| *root);
            levels.0.entry(level).or_default().extend(completed);
        }
        let (head, last) = (batch.edge().head(), entries.len() - 1);
        let proof = batch.inclusion_proof(last as u64).ok_or("the order is of the batch")?;
        let receipt = receipt_text(Some(&entries[last]), last as u64, &proof, &sign_head(&head, &signer));
        write(&format!("receipts/{last}.tlog-proof"), receipt.as_bytes())?;
        heads.push(head);
        edge = batch.into_edge();
    }
    let size = edge.size();
    let mut prover = TileProver::new(&levels, size);
    for head in heads {
        let proof = prover.consistency_proof(head.size)?;
        let proof: String = proof.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        write(&format!("consistency/{}", head.size), proof.as_bytes())?;
    }
    for kind in (0..8).map(|level| TileKind::Hashes { level }).chain([TileKind::Entries]) {
        for tile in (0..).map_while(|index| Tile::of_tree(kind, index, size)) {
            let bytes = match kind {
                TileKind::Hashes { .. } => (&levels).read_tile(tile)?.concat(),
                TileKind::Entries => {
                    let mut bundle = Vec::new();
                    let stored = entries.iter().skip(tile.index as usize * usize::from(TILE_WIDTH));
                    stored.take(tile.width.into()).try_for_each(|entry| write_entry(&mut bundle, entry))?;
                    bundle
                }
            };
            write(&tile.path(), &bytes)?;
        }
    }
    let witness = Cosigner::new("witness.example/w1", &[9; 32])?;
    let mut checkpoint = SignedNote::parse(sign_head(&edge.head(), &signer).as_bytes())?;
    checkpoint.add_signatures(&witness.signature_line(checkpoint.text(), TIME))?;
    write("checkpoint", checkpoint.to_string().as_bytes())?;
    write("vkey", signer.verifier().to_string().as_bytes())?;
    write("witness_vkey", witness.verifier().to_string().as_bytes())?;
    Ok(())
}
