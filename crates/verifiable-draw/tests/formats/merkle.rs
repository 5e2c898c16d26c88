//! Edges, tiles and proofs against `tlog_tiles`, an implementation that shares no code with this crate.

use std::sync::LazyLock;

use proptest::prelude::*;
use tlog_tiles::{HashReader, stored_hashes_for_record_hash};
use verifiable_draw::Hash;
use verifiable_draw::merkle::edge::{Edge, EdgeError};
use verifiable_draw::merkle::tiles::{
    TILE_WIDTH, Tile, TileError, TileKind, TileProver, TileReader, consistency_tiles, inclusion_tiles, tile_root,
};
use verifiable_draw::merkle::verify::{MerkleError, verify_consistency, verify_inclusion};
use verifiable_draw::merkle::{Head, empty_root, hash_leaf};

const LEAVES: u64 = 66_200;

/// A tree whose hashes `tlog_tiles` made.
struct Oracle {
    leaves: Vec<Hash>,
    stored: Stored,
}

struct Stored(Vec<tlog_tiles::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

static ORACLE: LazyLock<Oracle> = LazyLock::new(|| {
    let mut oracle = Oracle { leaves: Vec::new(), stored: Stored(Vec::new()) };
    for index in 0..LEAVES {
        let leaf = tlog_tiles::record_hash(format!("leaf {index}").as_bytes());
        let added = stored_hashes_for_record_hash(index, leaf, &oracle.stored).unwrap();
        oracle.stored.0.extend(added);
        oracle.leaves.push(leaf.0);
    }
    oracle
});

impl Oracle {
    fn head(&self, size: u64) -> Head {
        Head { size, root: tlog_tiles::tree_hash(size, &self.stored).unwrap().0 }
    }

    fn inclusion(&self, size: u64, index: u64) -> Vec<Hash> {
        tlog_tiles::prove_record(size, index, &self.stored).unwrap().into_iter().map(|hash| hash.0).collect()
    }

    fn consistency(&self, size: u64, old: u64) -> Vec<Hash> {
        tlog_tiles::prove_tree(size, old, &self.stored).unwrap().into_iter().map(|hash| hash.0).collect()
    }

    fn edge(&self, size: u64) -> Edge {
        let mut edge = Edge::new();
        for leaf in &self.leaves[..size as usize] {
            edge.append(*leaf).unwrap();
        }
        edge
    }
}

/// Tiles computed from the oracle's stored hashes.
impl TileReader for &Oracle {
    type ReadError = tlog_tiles::Error;

    fn read_tile(&mut self, tile: Tile) -> Result<Vec<Hash>, Self::ReadError> {
        let TileKind::Hashes { level } = tile.kind else { return Err(tlog_tiles::Error::InvalidTile) };
        let first = tile.index * u64::from(TILE_WIDTH);
        let nodes = first..first + u64::from(tile.width);
        let indexes: Vec<u64> = nodes.map(|node| tlog_tiles::stored_hash_index(8 * level, node)).collect();
        Ok(self.stored.read_hashes(&indexes)?.into_iter().map(|hash| hash.0).collect())
    }
}

/// The names of the tiles that are read.
struct Recorded(Vec<Tile>);

impl TileReader for &mut Recorded {
    type ReadError = tlog_tiles::Error;

    fn read_tile(&mut self, tile: Tile) -> Result<Vec<Hash>, Self::ReadError> {
        self.0.push(tile);
        (&*ORACLE).read_tile(tile)
    }
}

/// 0 to 600, and around the powers of two above.
fn sizes() -> impl Iterator<Item = u64> {
    (0..=600).chain((10..=16).flat_map(|power| (1u64 << power) - 2..=(1 << power) + 2))
}

#[test]
fn leaves_and_nodes_are_hashed_as_by_others() {
    assert_eq!(hash_leaf(b"leaf 0"), ORACLE.leaves[0]);
    assert_eq!(Head::empty(), ORACLE.head(0));
}

#[test]
fn the_edge_has_the_root_of_the_tree_and_survives_its_bytes() {
    let (mut edge, mut sizes) = (Edge::new(), sizes().peekable());
    for (size, leaf) in (0..LEAVES).zip(&ORACLE.leaves) {
        if sizes.next_if_eq(&size).is_some() {
            assert_eq!(edge.head(), ORACLE.head(size));
            assert_eq!(Edge::from_bytes(&edge.to_bytes()), Ok(edge.clone()));
        }
        edge.append(*leaf).unwrap();
    }
    assert_eq!(sizes.next(), None, "every size was compared");
}

#[test]
fn each_batch_proves_each_of_its_leaves() {
    // Batches across the ends of tiles and of larger subtrees, and as the first of all.
    let mut before = Edge::new();
    for start in sizes().filter(|start| start % 37 < 3 || (251..=261).contains(start) || *start > 600) {
        for leaf in &ORACLE.leaves[before.size() as usize..start as usize] {
            before.append(*leaf).unwrap();
        }
        for count in [0, 1, 2, 3, 31, 300] {
            let end = start + count;
            let batch = before.append_batch(ORACLE.leaves[start as usize..end as usize].to_vec()).unwrap();
            let head = ORACLE.head(end);
            assert_eq!(batch.edge().head(), head);
            let mut one_by_one = before.clone();
            let added = &ORACLE.leaves[start as usize..end as usize];
            added.iter().for_each(|leaf| one_by_one.append(*leaf).unwrap());
            assert_eq!(batch.edge(), &one_by_one);
            for index in (start..end).step_by(1 + count as usize / 20) {
                let proof = batch.inclusion_proof(index).unwrap();
                assert_eq!(proof, ORACLE.inclusion(end, index), "leaf {index} of {end}");
                assert_eq!(verify_inclusion(&ORACLE.leaves[index as usize], index, &proof, &head), Ok(()));
            }
            assert_eq!(batch.inclusion_proof(end), None);
            assert!(start == 0 || batch.inclusion_proof(start - 1).is_none());
            for height in [0, 1, 8] {
                let completed: Vec<u64> = batch.completed(height).map(|(index, _)| index).collect();
                assert_eq!(completed, ((start >> height)..(end >> height)).collect::<Vec<_>>(), "{start} {count}");
                for (index, root) in batch.completed(height) {
                    let stored = tlog_tiles::stored_hash_index(height as u8, index);
                    assert_eq!(*root, ORACLE.stored.0[stored as usize].0);
                }
            }
        }
    }
}

#[test]
fn edges_with_other_lengths_are_refused() {
    let bytes = ORACLE.edge(600).to_bytes();
    for length in 0..bytes.len() {
        assert!(Edge::from_bytes(&bytes[..length]).is_err(), "{length}");
    }
    assert!(Edge::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    let mut other_size = bytes;
    other_size[7] ^= 1;
    assert!(matches!(Edge::from_bytes(&other_size), Err(EdgeError::Roots { .. })));
}

#[test]
fn a_full_tree_is_an_error() {
    let bytes = [&u64::MAX.to_be_bytes()[..], &[7; 64 * 32]].concat();
    let mut full = Edge::from_bytes(&bytes).unwrap();
    assert_eq!(full.append([0; 32]), Err(EdgeError::Full));
    assert_eq!(full.append_batch(vec![[0; 32]]).unwrap_err(), EdgeError::Full);
    assert_eq!(full.to_bytes(), bytes);
    assert_eq!(full.append_batch(Vec::new()).unwrap().edge(), &full);
}

#[test]
fn tiles_give_the_proofs_of_the_oracle() {
    for size in sizes().filter(|size| *size > 0 && (*size < 20 || size % 29 == 0 || *size > 600)) {
        let mut prover = TileProver::new(&*ORACLE, size);
        let head = ORACLE.head(size);
        assert_eq!(prover.root().unwrap(), head.root);
        let some = (0..size).step_by(1 + size as usize / 12).chain([size - 1]);
        for index in some {
            let proof = prover.inclusion_proof(index).unwrap();
            assert_eq!(proof, ORACLE.inclusion(size, index));
            assert_eq!(verify_inclusion(&ORACLE.leaves[index as usize], index, &proof, &head), Ok(()));
            let (old, proof) = (ORACLE.head(index + 1), prover.consistency_proof(index + 1).unwrap());
            if index + 1 < size {
                assert_eq!(proof, ORACLE.consistency(size, index + 1));
            }
            assert_eq!(verify_consistency(&old, &head, &proof), Ok(()), "{} to {size}", index + 1);
            assert!(old.size == size || verify_consistency(&head, &old, &proof).is_err());
        }
        assert!(prover.consistency_proof(0).unwrap().is_empty());
        assert!(matches!(prover.inclusion_proof(size), Err(TileError::Impossible(_))));
        assert!(matches!(prover.consistency_proof(size + 1), Err(TileError::Impossible(_))));
    }
}

#[test]
fn the_tiles_of_a_proof_are_those_that_it_reads() {
    for size in [1, 2, 255, 256, 257, 600, 1024, 65_535, 65_536, 66_000] {
        let read = |proof: &dyn Fn(&mut TileProver<&mut Recorded>)| {
            let mut recorded = Recorded(Vec::new());
            proof(&mut TileProver::new(&mut recorded, size));
            recorded.0.sort_unstable();
            recorded.0
        };
        for index in [0, 1, size / 3, size / 2, size - 1].into_iter().filter(|index| *index < size) {
            assert_eq!(inclusion_tiles(index, size), Ok(read(&|prover| drop(prover.inclusion_proof(index)))));
            assert_eq!(consistency_tiles(index, size), Ok(read(&|prover| drop(prover.consistency_proof(index)))));
        }
        assert!(inclusion_tiles(size, size).is_err() && consistency_tiles(size + 1, size).is_err());
    }
}

#[test]
fn every_change_of_a_proof_is_refused() {
    for (size, index) in [(1, 0), (2, 1), (7, 6), (8, 3), (600, 599), (600, 511), (600, 256)] {
        let (head, leaf, proof) =
            (ORACLE.head(size), ORACLE.leaves[index as usize], ORACLE.inclusion(size, index));
        let check = verify_inclusion;
        assert_eq!(check(&leaf, index, &proof, &head), Ok(()));
        for length in 0..proof.len() {
            assert!(check(&leaf, index, &proof[..length], &head).is_err());
        }
        assert!(check(&leaf, index, &[&proof[..], &[[0; 32]]].concat(), &head).is_err());
        assert!(check(&leaf, index, &[[0; 32]; 65], &head).is_err());
        for other in (0..size + 2).filter(|other| *other != index) {
            assert!(check(&leaf, other, &proof, &head).is_err(), "{other} for {index} of {size}");
        }
        for bit in 0..proof.len() * 256 {
            let mut altered = proof.clone();
            altered[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&leaf, index, &altered, &head), Err(MerkleError::RootMismatch));
        }
        assert!(check(&ORACLE.leaves[601], index, &proof, &head).is_err());
        assert!(check(&leaf, index, &proof, &Head { root: empty_root(), ..head }).is_err());
    }
}

#[test]
fn every_change_of_a_consistency_proof_is_refused() {
    for (old, new) in [(1, 2), (3, 7), (4, 7), (256, 600), (255, 257), (511, 600)] {
        let (before, after) = (ORACLE.head(old), ORACLE.head(new));
        let proof = ORACLE.consistency(new, old);
        assert_eq!(verify_consistency(&before, &after, &proof), Ok(()));
        for length in 0..proof.len() {
            assert!(verify_consistency(&before, &after, &proof[..length]).is_err());
        }
        assert!(verify_consistency(&before, &after, &[&proof[..], &[[0; 32]]].concat()).is_err());
        for bit in 0..proof.len() * 256 {
            let mut altered = proof.clone();
            altered[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
            assert!(verify_consistency(&before, &after, &altered).is_err(), "{old} {new} {bit}");
        }
        let forked = Head { root: ORACLE.head(old + 1).root, ..before };
        assert!(verify_consistency(&forked, &after, &proof).is_err());
    }
    let (head, other) = (ORACLE.head(5), Head { size: 5, root: [1; 32] });
    assert_eq!(verify_consistency(&head, &head, &[]), Ok(()));
    assert!(verify_consistency(&head, &other, &[]).is_err(), "two trees of one size");
    assert!(verify_consistency(&head, &head, &[[0; 32]]).is_err());
    assert!(verify_consistency(&Head { size: 0, root: [1; 32] }, &head, &[]).is_err());
}

#[test]
fn tiles_that_are_too_short_are_an_error() {
    struct Cut;
    impl TileReader for Cut {
        type ReadError = std::convert::Infallible;
        fn read_tile(&mut self, tile: Tile) -> Result<Vec<Hash>, Self::ReadError> {
            Ok(vec![[0; 32]; usize::from(tile.width) - 1])
        }
    }
    assert!(matches!(TileProver::new(Cut, 600).inclusion_proof(3), Err(TileError::Short { found: 255, .. })));
}

#[test]
fn a_full_tile_is_one_hash_of_the_level_above() {
    assert_eq!(tile_root(&ORACLE.leaves[..256]), Some(ORACLE.head(256).root));
    assert_eq!(tile_root(&ORACLE.leaves[..255]), None);
}

#[test]
fn tiles_have_the_paths_of_the_specification() {
    let hashes = |level, index, width| Tile { kind: TileKind::Hashes { level }, index, width };
    let examples = [
        (hashes(0, 0, 256), "tile/0/000"),
        (hashes(1, 1_234_067, 256), "tile/1/x001/x234/067"),
        (hashes(0, 1067, 1), "tile/0/x001/067.p/1"),
        (Tile { kind: TileKind::Entries, index: 273, width: 112 }, "tile/entries/273.p/112"),
    ];
    for (tile, path) in examples {
        assert_eq!(tile.path(), path);
        assert_eq!(Tile::parse(path), Some(tile));
    }
    for path in [
        "",
        "tile/0",
        "tile/00/000",
        "tile/8/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/067",
        "tile/0/x001/x067",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/-01",
        "tile/0/000/",
        "/tile/0/000",
        "tile/entries/x1/067",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/000.p/1.p/1",
    ] {
        assert_eq!(Tile::parse(path), None, "{path}");
    }
    // The example of the specification: a tree of 70,000.
    let width = |level, index| Tile::of_tree(TileKind::Hashes { level }, index, 70_000).map(|tile| tile.width);
    assert_eq!((width(0, 272), width(0, 273), width(0, 274)), (Some(256), Some(112), None));
    assert_eq!((width(1, 0), width(1, 1), width(1, 2)), (Some(256), Some(17), None));
    assert_eq!((width(2, 0), width(3, 0)), (Some(1), None));
    assert_eq!(Tile::of_tree(TileKind::Hashes { level: 0 }, u64::MAX, u64::MAX), None);
}

proptest! {
    #[test]
    fn paths_are_read_as_they_are_written(level in 0u8..8, index in 0u64..1 << 56, width in 1u16..=256) {
        for kind in [TileKind::Hashes { level }, TileKind::Entries] {
            let tile = Tile { kind, index, width };
            prop_assert_eq!(Tile::parse(&tile.path()), Some(tile));
        }
    }

    #[test]
    fn any_split_into_batches_gives_one_tree(counts in prop::collection::vec(0usize..90, 0..20)) {
        let (mut edge, mut start) = (Edge::new(), 0);
        for count in counts {
            edge = edge.append_batch(ORACLE.leaves[start..start + count].to_vec()).unwrap().into_edge();
            start += count;
        }
        prop_assert_eq!(edge.head(), ORACLE.head(start as u64));
    }
}
