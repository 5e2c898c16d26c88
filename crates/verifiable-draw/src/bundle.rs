//! Entry bundles of C2SP tlog-tiles: up to 256 entries, each after its length as a big-endian u16.

use crate::merkle::tiles::TILE_WIDTH;

pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;
/// 256 entries with their lengths.
pub const MAX_BUNDLE_BYTES: usize = TILE_WIDTH as usize * (2 + MAX_ENTRY_BYTES);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("a bundle has 1 to {TILE_WIDTH} entries")]
    Count,
    #[error("an entry has at most {MAX_ENTRY_BYTES} bytes, not {0}")]
    TooLong(usize),
    #[error("the bundle ends inside entry {0}")]
    Cut(usize),
}

/// Appends an entry to a bundle.
pub fn write_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), BundleError> {
    let length = u16::try_from(entry.len()).map_err(|_| BundleError::TooLong(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// All entries of a bundle. How many there must be is known from the tree's size: `Tile::of_tree`.
pub fn read_entries(bundle: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    let mut entries = Vec::new();
    let mut rest = bundle;
    while !rest.is_empty() {
        if entries.len() == usize::from(TILE_WIDTH) {
            return Err(BundleError::Count);
        }
        let cut = BundleError::Cut(entries.len());
        let Some((length, after)) = rest.split_first_chunk::<2>() else { return Err(cut) };
        let Some((entry, after)) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
            return Err(cut);
        };
        entries.push(entry);
        rest = after;
    }
    if entries.is_empty() { Err(BundleError::Count) } else { Ok(entries) }
}
