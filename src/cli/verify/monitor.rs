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
use verifiable_draw::checkpoint::CheckpointError;
use verifiable_draw::event::Event;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::tiles::{TILE_WIDTH, Tile, TileKind};
use verifiable_draw::merkle::verify::verify_consistency;
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::note::{MAX_NOTE_BYTES, NoteError, SignedNote};
use verifiable_draw::trusted_keys::{FollowedChange, TrustError, TrustedKeys};
use verifiable_draw::vkey::VerifierKey;

use super::source::{Host, LogSource};
use super::watched::{AddedKey, ToCompare, WatchedLog};
use super::{files, online};
use crate::cli::{CliError, print, progress};
use crate::clock::Clock;

/// A state with 100,000 draws is shorter.
const MAX_STATE_BYTES: usize = 64 * 1024 * 1024;
/// A log that grows by more between two looks is refused, and a longer one is not read whole for one draw: an operator could
/// feed a verifier without end.
pub const MAX_NEW_ENTRIES: u64 = 50_000_000;

/// What is followed, and how.
pub struct Followed<'a> {
    pub url: &'a str,
    pub state: &'a Path,
    pub key: Option<VerifierKey>,
    /// Trusts the keys that the known one vouches for.
    pub follow_keys: bool,
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
        let Complaints { overdue, undone } = match looked {
            Ok(complaints) => complaints,
            Err(Failed::Unreadable(error)) if !followed.once => {
                eprintln!("lottery: {}: {error}", now());
                Complaints::default()
            }
            Err(Failed::Unreadable(error) | Failed::Contradiction(error)) => return Err(error),
        };
        for draw in &undone {
            eprintln!(
                "lottery: {}: draw {draw} is CANCELLED AFTER ITS RESULT: nobody is paid what was published",
                now()
            );
        }
        let news: Vec<u64> = overdue.iter().copied().filter(|draw| told.insert(*draw)).collect();
        for draw in &news {
            eprintln!("lottery: {}: draw {draw} is OVERDUE: it has neither a result nor a cancellation", now());
        }
        if followed.once {
            return match (undone.len(), overdue.len()) {
                (0, 0) => Ok(()),
                (0, draws) => Err(CliError::Refused(format!("{draws} draws are overdue"))),
                (draws, _) => Err(CliError::Refused(format!("{draws} draws were cancelled after their results"))),
            };
        }
        tokio::time::sleep(followed.interval).await;
    }
}

/// What one look has found and the log goes on after.
#[derive(Default)]
struct Complaints {
    /// The draws that have no end, at each look.
    overdue: Vec<u64>,
    /// The draws that new entries have cancelled after their results.
    undone: Vec<u64>,
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

/// One look: everything that is new, up to the newest head.
async fn look(api: &Host, followed: &Followed<'_>) -> Result<Complaints, Failed> {
    let mut state = read_state(api, followed).await?;
    let before = state.clone();
    let corrupt = |what: String| CliError::Refused(format!("{}: {what}", followed.state.display()));
    let edge = state.edge().map_err(corrupt)?;
    let trusted = state.trusted_keys(followed.follow_keys).map_err(corrupt)?;
    let note = api.read("log/checkpoint", MAX_NOTE_BYTES).await?;
    let opened = open_head(api, &note, trusted, &state, followed.follow_keys).await?;
    let note = String::from_utf8_lossy(&note).into_owned();
    let fork = |what: String| -> Failed {
        let kept = keep_evidence(followed.state, before.checkpoint.as_deref(), &note);
        contradiction(format!("{what} {kept}"))
    };
    let OpenedHead { head, changes } = opened.map_err(|retired| fork(format!("{retired}.")))?;
    if head.size < edge.size() {
        return Err(fork(format!("THE LOG HAS SHRUNK from {} entries to {}.", edge.size(), head.size)));
    }
    let (first, seen_at) = (edge.size(), now());
    let new = read_new(api, edge, head.size, &mut state, &changes, seen_at).await?;
    let NewEntries { edge, mut lines, unmet, contradicted } = new;
    // What the entries say counts only if they are those of the signed head.
    if edge.head() != head {
        return Err(fork(format!(
            "FORK: the log of {} entries that is signed now does not continue the one of {first} that was seen before, or \
             its entries are not those that are signed.",
            head.size
        )));
    }
    if let Some(change) = unmet {
        return Err(fork(format!(
            "FORK: the key that entry {} of the log adds or retires is vouched for in another log, which has forked from this \
             one.",
            change.index
        )));
    }
    if let Some(what) = contradicted {
        return Err(fork(format!("{what}.")));
    }
    check_signer(&note, &state, followed.follow_keys).map_err(|what| fork(format!("{what}.")))?;
    lines.push_str(&tell_keys(&before, &state, &changes, followed.follow_keys));
    compare_lists(api, state.heads_to_compare(&before).map_err(corrupt)?).await?;
    state.set_head(&edge, note);
    write_state(followed.state, &state)?;
    print(&lines)?;
    Ok(Complaints { overdue: state.overdue(seen_at), undone: state.undone(first) })
}

/// The newest head, and the changes of the log's keys that had to be followed to read it.
struct OpenedHead {
    head: Head,
    changes: Vec<FollowedChange>,
}

/// The head that a checkpoint signs, or an error if a retired key has signed it. If no trusted key has signed it, a monitor that follows keys asks the service how they
/// changed: the log may have replaced its key between two looks.
async fn open_head(
    api: &Host,
    note: &[u8],
    mut trusted: TrustedKeys,
    state: &WatchedLog,
    follow_keys: bool,
) -> Result<Result<OpenedHead, TrustError>, CliError> {
    let wrong = |error: &dyn std::fmt::Display| {
        CliError::Refused(format!("the checkpoint of the log does not hold: {error}"))
    };
    let note = SignedNote::parse(note).map_err(|error| wrong(&error))?;
    let error = match trusted.open(&note) {
        Ok((checkpoint, _)) => return Ok(Ok(OpenedHead { head: checkpoint.head, changes: Vec::new() })),
        Err(error @ TrustError::Retired { .. }) => return Ok(Err(error)),
        Err(error @ TrustError::Checkpoint(CheckpointError::Note(NoteError::NoKnownKey))) => error,
        Err(error) => return Err(wrong(&error)),
    };
    if !follow_keys {
        let added = match state.added_keys.last() {
            Some(added) => format!("the log has announced another key, {}", added.vkey),
            None => "the log may have announced another key".to_owned(),
        };
        return Err(wrong(&format!(
            "{error}; {added}: with --follow-keys, keys are trusted that the known key vouches for"
        )));
    }
    let mut changes = Vec::new();
    for proof in online::key_changes(api).await? {
        changes.extend(trusted.follow(&proof).map_err(|error| wrong(&error))?);
    }
    match trusted.open(&note) {
        Ok((checkpoint, _)) => Ok(Ok(OpenedHead { head: checkpoint.head, changes })),
        Err(error @ TrustError::Retired { .. }) => Ok(Err(error)),
        Err(error) => Err(wrong(&error)),
    }
}

/// Whether a key has signed the head that the log itself, as it was read now, has not retired.
fn check_signer(note: &str, state: &WatchedLog, follow_keys: bool) -> Result<(), String> {
    // A monitor that knows one key only cannot tell whether another one has signed, too.
    if !follow_keys {
        return Ok(());
    }
    let trusted = state.trusted_keys(true)?;
    let note = SignedNote::parse(note.as_bytes()).map_err(|error| error.to_string())?;
    trusted.open(&note).map(|_| ()).map_err(|error| error.to_string())
}

/// What to tell of keys that were added since.
fn tell_keys(before: &WatchedLog, state: &WatchedLog, changes: &[FollowedChange], follow_keys: bool) -> String {
    let mut lines = String::new();
    for AddedKey { vkey, index, seen_at } in state.added_keys.iter().filter(|key| !before.added_keys.contains(key))
    {
        let vouching =
            changes.iter().find(|change| change.index == *index).map(|change| change.signed_by.to_string());
        let older = || before.added_keys.last().map_or(&before.key, |added| &added.vkey).clone();
        let told = match follow_keys {
            true => format!(
                "is followed: {} vouches for it, which has signed the log with entry {index}",
                vouching.unwrap_or_else(older)
            ),
            false => "is not followed: heads that it alone signs are refused (--follow-keys)".to_owned(),
        };
        lines.push_str(&format!("{seen_at}: the key {vkey} {told}\n"));
    }
    lines
}

/// Entries that were read, and not yet compared with a signed head.
struct NewEntries {
    edge: Edge,
    /// What to tell of them.
    lines: String,
    /// A change of keys whose head is none of this log.
    unmet: Option<FollowedChange>,
    /// What the first of them contradicts.
    contradicted: Option<String>,
}

/// Reads the entries from the edge on, up to a size.
async fn read_new(
    api: &Host,
    mut edge: Edge,
    size: u64,
    state: &mut WatchedLog,
    changes: &[FollowedChange],
    seen_at: Timestamp,
) -> Result<NewEntries, Failed> {
    let (first, width) = (edge.size(), u64::from(TILE_WIDTH));
    if size - first > MAX_NEW_ENTRIES {
        return Err(contradiction(format!("the log has more than {MAX_NEW_ENTRIES} new entries")));
    }
    let log = LogSource::Host(api.below("log"));
    let bar = progress::count("Reading entries", size - first);
    let (mut lines, mut contradicted) = (String::new(), None);
    let mut unmet = changes.iter().find(|change| !(first + 1..=size).contains(&change.checkpoint.head.size));
    for index in first / width.. {
        let Some(tile) = Tile::of_tree(TileKind::Entries, index, size) else { break };
        let bundle = log.read(tile).await?;
        let entries =
            read_entries(&bundle).map_err(|error| CliError::Refused(format!("{}: {error}", tile.path())))?;
        let known = edge.size().saturating_sub(index * width) as usize;
        for entry in entries.into_iter().skip(known) {
            let at = edge.size();
            edge.append(hash_leaf(entry)).map_err(|error| contradiction(error.to_string()))?;
            let of_change = changes.iter().find(|change| change.checkpoint.head.size == edge.size());
            unmet = unmet.or(of_change.filter(|change| change.checkpoint.head != edge.head()));
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
    Ok(NewEntries { edge, lines, unmet: unmet.cloned(), contradicted })
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
    let mut state: WatchedLog = serde_json::from_slice(&files::read(followed.state, MAX_STATE_BYTES)?)
        .map_err(|error| wrong(&format!("this is not the state of a monitor: {error}")))?;
    match named {
        Some(key) if key != state.key && state.added_keys.iter().all(|added| added.vkey != key) => {
            Err(wrong(&format!("it is of a log with another key, {}", state.key)))
        }
        named => {
            // A later key that the log has announced, and that the user knows now.
            state.key = named.unwrap_or(state.key);
            Ok(state)
        }
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
