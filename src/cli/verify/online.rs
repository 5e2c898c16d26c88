//! Verifies a draw of a service over HTTP: fetches its proof, the proof of the draw before it, the tiles that show that all
//! signed heads are of one log, and every entry of that log, since the proof may leave some out.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::{StreamExt, stream};
use serde::Deserialize;
use verifiable_draw::Hash;
use verifiable_draw::bundle::read_entries;
use verifiable_draw::event::Event;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::tiles::{TILE_WIDTH, Tile, TileKind, TileProver, TileReader, consistency_tiles};
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::transcript::list::bundles;
use verifiable_draw::transcript::{
    ConsistencyProof, DrawTranscript, DrawVerification, MAX_TRANSCRIPT_BYTES, MAX_TRANSCRIPT_ENTRIES,
    VerifierOptions, WholeLog, completed_draw, verify_draw,
};
use verifiable_draw::vkey::VerifierKey;

use super::count::BUNDLES_AHEAD;
use super::files;
use super::monitor::MAX_NEW_ENTRIES;
use super::source::{DrawUrl, Host, LogSource};
use crate::cli::{CliError, progress};

/// Keys and a policy.
const MAX_KEYS_BYTES: usize = 1024 * 1024;

/// The part of `GET /keys` that is needed.
#[derive(Deserialize)]
struct ServedKeys {
    log: String,
    /// A service of an older version does not show them.
    #[serde(default)]
    changes: Vec<String>,
}

/// Fetches and verifies. Keys that the verifier does not have are those of the service.
pub async fn verify(url: &DrawUrl, mut options: VerifierOptions) -> Result<DrawVerification, CliError> {
    if options.log_keys.is_empty() && options.policy.as_ref().is_none_or(|policy| policy.logs().is_empty()) {
        options.log_keys = vec![key(&url.api).await?];
        options.keys_of_operator = true;
    }
    let transcript = transcript(&url.api, url.draw).await?;
    let first = verify_draw(&transcript, &options);
    let log = LogSource::Host(url.api.below("log"));
    if let (Some(after), Some(newest)) = (first.draw.as_ref().and_then(|draw| draw.after), first.log_heads.last())
    {
        options.previous = Some(previous(&url.api, &log, after, newest).await?);
    }
    let heads = match &options.previous {
        Some(_) => verify_draw(&transcript, &options).log_heads,
        None => first.log_heads.clone(),
    };
    for pair in heads.windows(2) {
        options.consistency.push(consistency(&log, &pair[0], &pair[1]).await?);
    }
    if let Some(newest) = heads.last().filter(|head| head.size <= MAX_NEW_ENTRIES) {
        options.whole_log = Some(whole_log(log, newest, url.draw).await?);
    }
    Ok(verify_draw(&transcript, &options))
}

/// Reads every entry of the public log.
async fn whole_log(log: LogSource, newest: &Head, draw: u64) -> Result<WholeLog, CliError> {
    let bar = progress::count("Reading the public log", newest.size);
    let mut bundles = stream::iter(bundles(newest.size))
        .map(|tile| {
            let log = log.clone();
            async move { log.read(tile).await.map(|bytes| (tile, bytes)) }
        })
        .buffered(BUNDLES_AHEAD);
    let (mut edge, mut of_draw) = (Edge::new(), Vec::new());
    while let Some(bundle) = bundles.next().await {
        let (tile, bytes) = bundle?;
        for entry in read_entries(&bytes).map_err(|error| wrong(&tile.path(), &error))? {
            // One that cannot be read is of no draw: no verifier accepts it.
            let is_of_draw = || Event::parse(entry).is_ok_and(|event| event.draw() == Some(draw));
            if of_draw.len() <= MAX_TRANSCRIPT_ENTRIES && is_of_draw() {
                of_draw.push(edge.size());
            }
            edge.append(hash_leaf(entry)).map_err(|error| wrong(&tile.path(), &error))?;
        }
        bar.set_position(edge.size());
    }
    bar.finish_and_clear();
    Ok(WholeLog { head: edge.head(), of_draw })
}

/// The key that the service says is that of its public log.
pub async fn key(api: &Host) -> Result<VerifierKey, CliError> {
    VerifierKey::parse(&keys(api).await?.log).map_err(|error| wrong("keys", &error))
}

/// The proofs of the changes of the log's keys, as the service shows them.
pub async fn key_changes(api: &Host) -> Result<Vec<String>, CliError> {
    Ok(keys(api).await?.changes)
}

async fn keys(api: &Host) -> Result<ServedKeys, CliError> {
    serde_json::from_slice(&api.read("keys", MAX_KEYS_BYTES).await?).map_err(|error| wrong("keys", &error))
}

/// The proofs of the changes of a log's keys, from a file with what `GET /keys` answered.
pub fn kept_key_changes(path: &Path) -> Result<Vec<String>, CliError> {
    let keys: Result<ServedKeys, _> = serde_json::from_slice(&files::read(path, MAX_KEYS_BYTES)?);
    let keys = keys.map_err(|error| {
        CliError::Refused(format!("{}: this is not what GET /keys answers: {error}", path.display()))
    })?;
    Ok(keys.changes)
}

async fn transcript(api: &Host, draw: u64) -> Result<DrawTranscript, CliError> {
    let path = format!("draws/{draw}/proof");
    DrawTranscript::parse(&api.read(&path, MAX_TRANSCRIPT_BYTES).await?).map_err(|error| wrong(&path, &error))
}

/// The transcript of the draw that entry `after` completes.
async fn previous(api: &Host, log: &LogSource, after: u64, newest: &Head) -> Result<DrawTranscript, CliError> {
    let absent = || CliError::Refused(format!("entry {after} of the public log completes no draw"));
    let width = u64::from(TILE_WIDTH);
    let tile = Tile::of_tree(TileKind::Entries, after / width, newest.size).ok_or_else(absent)?;
    let bundle = log.read(tile).await?;
    let entries = read_entries(&bundle).map_err(|error| wrong(&tile.path(), &error))?;
    // Whether the log has this entry there is checked with the transcript's proofs.
    let entry = entries.get((after % width) as usize).and_then(|entry| Event::parse(entry).ok());
    let (draw, _) = entry.as_ref().and_then(completed_draw).ok_or_else(absent)?;
    transcript(api, draw).await
}

/// Proves with the tiles of a log that one head continues another.
pub async fn consistency(log: &LogSource, old: &Head, new: &Head) -> Result<ConsistencyProof, CliError> {
    let mut tiles = FetchedTiles::default();
    for tile in consistency_tiles(old.size, new.size).map_err(|error| wrong("tile", &error))? {
        let bytes = log.read(tile).await?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(wrong(&tile.path(), &"a tile consists of hashes of 32 bytes"));
        }
        tiles.0.insert(tile, hashes.to_vec());
    }
    let proof = TileProver::new(tiles, new.size).consistency_proof(old.size);
    Ok(ConsistencyProof { old: old.size, new: new.size, hashes: proof.map_err(|error| wrong("tile", &error))? })
}

/// The tiles of one proof.
#[derive(Default)]
struct FetchedTiles(BTreeMap<Tile, Vec<Hash>>);

impl TileReader for FetchedTiles {
    type ReadError = &'static str;

    fn read_tile(&mut self, tile: Tile) -> Result<Vec<Hash>, Self::ReadError> {
        self.0.get(&tile).cloned().ok_or("it is not one of the proof")
    }
}

fn wrong(path: &str, what: &dyn std::fmt::Display) -> CliError {
    CliError::Refused(format!("what the service answers at {path} cannot be read: {what}"))
}
