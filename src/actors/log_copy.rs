//! The second copy of the public log: a file in the data directory, to which entries are appended once they are
//! committed. Each follows its length, as in an entry bundle. A restored database cannot take it back, so it tells that
//! entries were published that the database does not have. This file knows no database.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt;
use verifiable_draw::bundle::{MAX_ENTRY_BYTES, write_entry};
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::hash_leaf;

use crate::domain::log_index::LogIndex;

const DIRECTORY: &str = "log";
const FILE: &str = "entries";

/// The file, the Merkle tree over its entries, and where those of each draw are.
pub struct LogCopy {
    pub path: PathBuf,
    file: tokio::fs::File,
    edge: Edge,
    index: LogIndex,
    /// The bytes of its whole entries. What follows is a write that was interrupted.
    length: u64,
}

impl LogCopy {
    /// Opens the copy in the data directory and reads it; makes an empty one if there is none. It blocks.
    pub fn open(data_dir: &Path) -> io::Result<LogCopy> {
        let directory = directory(data_dir);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let path = directory.join(FILE);
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        File::open(&directory)?.sync_all()?;
        File::open(data_dir)?.sync_all()?;
        let mut index = LogIndex::default();
        let (edge, length) = read(&file, |edge, entry| index.add(edge.size() - 1, entry))?;
        Ok(LogCopy { path, file: tokio::fs::File::from_std(file), edge, index, length })
    }

    /// The edge of the tree over its entries.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Where it has the entries of each draw.
    pub fn index(&self) -> &LogIndex {
        &self.index
    }

    /// Appends entries, so that they survive a crash. After an error the copy is as it was before.
    pub async fn append(&mut self, entries: &[Vec<u8>]) -> io::Result<()> {
        let (mut edge, mut bytes) = (self.edge.clone(), Vec::new());
        for entry in entries {
            edge.append(hash_leaf(entry)).map_err(io::Error::other)?;
            write_entry(&mut bytes, entry).map_err(io::Error::other)?;
        }
        // An interrupted write may have left a part of an entry.
        self.file.set_len(self.length).await?;
        self.file.write_all(&bytes).await?;
        self.file.flush().await?;
        self.file.sync_all().await?;
        for (index, entry) in (self.edge.size()..).zip(entries) {
            self.index.add(index, entry);
        }
        self.edge = edge;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// What a copy has beside the log of a database.
pub struct ComparedCopy {
    pub path: PathBuf,
    /// The tree over its entries.
    pub edge: Edge,
    /// The edges of its beginnings of the sizes that were asked for, if it is long enough.
    pub beginnings: Vec<Option<Edge>>,
    /// The entries after the first of these sizes.
    pub newer: Vec<Vec<u8>>,
}

/// Reads a copy in a directory of its own, to bring entries back from it. It blocks. `None`: there is no such file.
pub fn compare(directory: &Path, sizes: &[u64]) -> io::Result<Option<ComparedCopy>> {
    let path = directory.join(FILE);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let (mut beginnings, mut newer) = (vec![None; sizes.len()], Vec::new());
    let mut note = |edge: &Edge| {
        for (size, beginning) in sizes.iter().zip(&mut beginnings) {
            if *size == edge.size() {
                *beginning = Some(edge.clone());
            }
        }
    };
    note(&Edge::new());
    let (edge, _) = read(&file, |edge, entry| {
        note(edge);
        if sizes.first().is_some_and(|known| edge.size() > *known) {
            newer.push(entry.to_vec());
        }
    })?;
    Ok(Some(ComparedCopy { path, edge, beginnings, newer }))
}

/// The directory of the copy in a data directory.
pub fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join(DIRECTORY)
}

/// The tree over the whole entries of a file, and where the last of them ends. `each` gets every entry, and the tree that
/// ends with it.
fn read(file: &File, mut each: impl FnMut(&Edge, &[u8])) -> io::Result<(Edge, u64)> {
    let (mut edge, mut whole) = (Edge::new(), 0);
    let mut file = BufReader::new(file);
    let mut entry = Vec::with_capacity(MAX_ENTRY_BYTES);
    loop {
        let mut length = [0; 2];
        if !read_all(&mut file, &mut length)? {
            return Ok((edge, whole));
        }
        entry.resize(usize::from(u16::from_be_bytes(length)), 0);
        if !read_all(&mut file, &mut entry)? {
            return Ok((edge, whole));
        }
        edge.append(hash_leaf(&entry)).map_err(io::Error::other)?;
        whole += (length.len() + entry.len()) as u64;
        each(&edge, &entry);
    }
}

/// False if the file ends before the buffer is full.
fn read_all(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn entries(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    fn edge_of(entries: &[Vec<u8>]) -> Edge {
        Edge::new().append_batch(entries.iter().map(|entry| hash_leaf(entry)).collect()).unwrap().into_edge()
    }

    #[actix::test]
    async fn what_was_appended_is_there_after_a_restart_and_a_half_entry_is_dropped() {
        let home = tempfile::tempdir().unwrap();
        let mut copy = LogCopy::open(home.path()).unwrap();
        assert_eq!(*copy.edge(), Edge::new());
        copy.append(&entries(&["{}", "[1]"])).await.unwrap();
        copy.append(&entries(&["[2]"])).await.unwrap();
        let path = copy.path.clone();
        drop(copy);

        let mut torn = fs::read(&path).unwrap();
        torn.extend_from_slice(&[0, 9, b'x']);
        fs::write(&path, torn).unwrap();
        let mut copy = LogCopy::open(home.path()).unwrap();
        assert_eq!(*copy.edge(), edge_of(&entries(&["{}", "[1]", "[2]"])));
        copy.append(&entries(&["[3]"])).await.unwrap();
        drop(copy);
        let copy = LogCopy::open(home.path()).unwrap();
        assert_eq!(*copy.edge(), edge_of(&entries(&["{}", "[1]", "[2]", "[3]"])));
    }
}
