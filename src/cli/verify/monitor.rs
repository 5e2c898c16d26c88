//! `lottery verify --follow`: a monitor. It reads every entry of a public log, remembers what it saw and when, and complains
//! when the log forks, shrinks or contradicts itself, and when a draw gets no end.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;
use serde_json::json;
use tempfile::NamedTempFile;
use verifiable_draw::bundle::read_entries;
use verifiable_draw::checkpoint::Checkpoint;
use verifiable_draw::event::Event;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::tiles::{TILE_WIDTH, Tile, TileKind};
use verifiable_draw::merkle::verify::verify_consistency;
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::note::{MAX_NOTE_BYTES, SignedNote};
use verifiable_draw::vkey::VerifierKey;

use super::source::{Host, LogSource};
use super::watched::{ToCompare, WatchedLog};
use super::{files, online};
use crate::cli::{CliError, print, progress};
use crate::clock::Clock;

/// A state with 100,000 draws is shorter.
const MAX_STATE_BYTES: usize = 64 * 1024 * 1024;
/// A log that grows by more between two looks is refused: an operator could feed a monitor without end.
const MAX_NEW_ENTRIES: u64 = 50_000_000;

/// What is followed, and how.
pub struct Followed<'a> {
    pub url: &'a str,
    pub state: &'a Path,
    pub key: Option<VerifierKey>,
    pub interval: Duration,
    /// Looks once and ends.
    pub once: bool,
}

/// Looks at the log again and again. A contradiction ends it; what may pass (a service that does not answer) is told.
pub async fn follow(followed: Followed<'_>) -> Result<(), CliError> {
    let api = api(followed.url)?;
    let mut told = BTreeSet::new();
    loop {
        let looked = look(&api, &followed).await;
        let overdue = match looked {
            Ok(overdue) => overdue,
            Err(Failed::Unreadable(error)) if !followed.once => {
                eprintln!("lottery: {}: {error}", now());
                Vec::new()
            }
            Err(Failed::Unreadable(error) | Failed::Contradiction(error)) => return Err(error),
        };
        let news: Vec<u64> = overdue.iter().copied().filter(|draw| told.insert(*draw)).collect();
        for draw in &news {
            eprintln!("lottery: {}: draw {draw} is OVERDUE: it has neither a result nor a cancellation", now());
        }
        if followed.once {
            return match overdue.len() {
                0 => Ok(()),
                draws => Err(CliError::Refused(format!("{draws} draws are overdue"))),
            };
        }
        tokio::time::sleep(followed.interval).await;
    }
}

enum Failed {
    /// The service or a file: the next look may succeed.
    Unreadable(CliError),
    /// The log cannot be believed any more.
    Contradiction(CliError),
}

impl From<CliError> for Failed {
    fn from(error: CliError) -> Failed {
        Failed::Unreadable(error)
    }
}

fn contradiction(what: String) -> Failed {
    Failed::Contradiction(CliError::Refused(what))
}

fn now() -> Timestamp {
    Clock::system().now()
}

/// The address of the API, from that of the log or its own.
fn api(text: &str) -> Result<Host, CliError> {
    let wrong = || {
        CliError::Refused(format!(
            "{text} is not the address of a log, such as https://lottery.example/api/v1/log"
        ))
    };
    let url = Url::parse(text).map_err(|_| wrong())?;
    let path = url.path().trim_end_matches('/');
    Host::new(&url, path.strip_suffix("/log").unwrap_or(path))
}

/// One look: everything that is new, up to the newest head. Returns the draws that are overdue.
async fn look(api: &Host, followed: &Followed<'_>) -> Result<Vec<u64>, Failed> {
    let mut state = read_state(api, followed).await?;
    let before = state.clone();
    let corrupt = |what: String| CliError::Refused(format!("{}: {what}", followed.state.display()));
    let key = VerifierKey::parse(&state.key).map_err(|error| corrupt(error.to_string()))?;
    let edge = state.edge().map_err(corrupt)?;
    let (note, head) = newest_head(api, &key).await?;
    let fork = |what: String| -> Failed {
        let kept = keep_evidence(followed.state, before.checkpoint.as_deref(), &note);
        contradiction(format!("{what} {kept}"))
    };
    if head.size < edge.size() {
        return Err(fork(format!("THE LOG HAS SHRUNK from {} entries to {}.", edge.size(), head.size)));
    }
    let (first, seen_at) = (edge.size(), now());
    let NewEntries { edge, lines, contradicted } = read_new(api, edge, head.size, &mut state, seen_at).await?;
    // What the entries say counts only if they are those of the signed head.
    if edge.head() != head {
        return Err(fork(format!(
            "FORK: the log of {} entries that is signed now does not continue the one of {first} that was seen before, or \
             its entries are not those that are signed.",
            head.size
        )));
    }
    if let Some(what) = contradicted {
        return Err(fork(format!("{what}.")));
    }
    compare_lists(api, state.heads_to_compare(&before).map_err(corrupt)?).await?;
    state.set_head(&edge, note);
    write_state(followed.state, &state)?;
    print(&lines)?;
    Ok(state.overdue(seen_at))
}

/// The newest checkpoint, verbatim, and the head that it signs.
async fn newest_head(api: &Host, key: &VerifierKey) -> Result<(String, Head), CliError> {
    let wrong = |error: &dyn std::fmt::Display| {
        CliError::Refused(format!("the checkpoint of the log does not hold: {error}"))
    };
    let note = api.read("log/checkpoint", MAX_NOTE_BYTES).await?;
    let parsed = SignedNote::parse(&note).map_err(|error| wrong(&error))?;
    let checkpoint = Checkpoint::open(&parsed, [key]).map_err(|error| wrong(&error))?;
    Ok((String::from_utf8_lossy(&note).into_owned(), checkpoint.head))
}

/// Entries that were read, and not yet compared with a signed head.
struct NewEntries {
    edge: Edge,
    /// What to tell of them.
    lines: String,
    /// What the first of them contradicts.
    contradicted: Option<String>,
}

/// Reads the entries from the edge on, up to a size.
async fn read_new(
    api: &Host,
    mut edge: Edge,
    size: u64,
    state: &mut WatchedLog,
    seen_at: Timestamp,
) -> Result<NewEntries, Failed> {
    let (first, width) = (edge.size(), u64::from(TILE_WIDTH));
    if size - first > MAX_NEW_ENTRIES {
        return Err(contradiction(format!("the log has more than {MAX_NEW_ENTRIES} new entries")));
    }
    let log = LogSource::Host(api.below("log"));
    let bar = progress::count("Reading entries", size - first);
    let (mut lines, mut contradicted) = (String::new(), None);
    for index in first / width.. {
        let Some(tile) = Tile::of_tree(TileKind::Entries, index, size) else { break };
        let bundle = log.read(tile).await?;
        let entries =
            read_entries(&bundle).map_err(|error| CliError::Refused(format!("{}: {error}", tile.path())))?;
        let known = edge.size().saturating_sub(index * width) as usize;
        for entry in entries.into_iter().skip(known) {
            let at = edge.size();
            edge.append(hash_leaf(entry)).map_err(|error| contradiction(error.to_string()))?;
            if contradicted.is_some() {
                continue;
            }
            let event = Event::parse(entry).map_err(|error| format!("entry {at} cannot be read: {error}"));
            match event.and_then(|event| state.apply(at, &event, seen_at)) {
                Ok(told) => lines.push_str(&format!("{seen_at}: entry {at}: {told}\n")),
                Err(what) => contradicted = Some(what),
            }
        }
        bar.set_position(edge.size() - first);
    }
    bar.finish_and_clear();
    Ok(NewEntries { edge, lines, contradicted })
}

/// Proves with the tiles of ticket logs that each newer head continues the older one.
async fn compare_lists(api: &Host, pairs: Vec<ToCompare>) -> Result<(), Failed> {
    for ToCompare { draw, old, new } in pairs {
        let list = LogSource::Host(api.below(&format!("draws/{draw}/log")));
        let proof = online::consistency(&list, &old, &new).await?;
        verify_consistency(&old, &new, &proof.hashes).map_err(|_| {
            contradiction(format!(
                "FORK: the list of draw {draw} with {} orders does not continue the one with {} that was published before",
                new.size, old.size
            ))
        })?;
    }
    Ok(())
}

/// The state, or a new one for a log that is followed for the first time.
async fn read_state(api: &Host, followed: &Followed<'_>) -> Result<WatchedLog, CliError> {
    let named = followed.key.as_ref().map(VerifierKey::to_string);
    if !followed.state.exists() {
        let key = match named {
            Some(key) => key,
            None => online::key(api).await?.to_string(),
        };
        return Ok(WatchedLog::new(key));
    }
    let wrong = |what: &dyn std::fmt::Display| CliError::Refused(format!("{}: {what}", followed.state.display()));
    let state: WatchedLog = serde_json::from_slice(&files::read(followed.state, MAX_STATE_BYTES)?)
        .map_err(|error| wrong(&format!("this is not the state of a monitor: {error}")))?;
    match named {
        Some(key) if key != state.key => Err(wrong(&format!("it is of a log with another key, {}", state.key))),
        _ => Ok(state),
    }
}

/// Replaces the state in one step, so that a crash leaves the old one or the new one.
fn write_state(path: &Path, state: &WatchedLog) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(state);
    let text = text.map_err(|error| CliError::Refused(format!("the state cannot be written: {error}")))?;
    write(path, &text)
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let cannot = |error: std::io::Error| CliError::Refused(format!("cannot write {}: {error}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(cannot)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(cannot)?;
    file.persist(path).map_err(|error| cannot(error.error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(cannot)
}

/// Keeps both checkpoints beside the state: together they convict the operator, who signed both.
fn keep_evidence(state: &Path, seen: Option<&str>, shown: &str) -> String {
    let mut name = state.as_os_str().to_owned();
    name.push(".fork");
    let path = PathBuf::from(name);
    match write(&path, &format!("{:#}\n", json!({ "seen_before": seen, "shown_now": shown }))) {
        Ok(()) => format!("Both checkpoints are kept in {}.", path.display()),
        Err(error) => format!("The checkpoints could not be kept: {error}."),
    }
}
