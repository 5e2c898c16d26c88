//! `lottery log import`: brings the entries of the public log back that a restored database lacks, from the copy outside
//! the database. `actors/persistence/write/log_import.rs` writes them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::{CliError, print};
use crate::actors::log_copy::{self, ComparedCopy};
use crate::actors::persistence::{ImportedLog, NewerEntries, import_log};
use crate::app::{self, Database, DatabaseUse};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::read::public_log;
use crate::db::{self, Db};
use crate::domain::log_import::{GoesOn, ImportRefusal};

pub async fn run(config: &Config, directory: Option<PathBuf>) -> Result<(), CliError> {
    let database = Database::open(config, DatabaseUse::Read).await?;
    let imported = import(config, &database, directory).await;
    database.close().await?;
    print(&match imported? {
        Imported::New(imported) => report(&imported),
        Imported::NothingMissing(entries) => {
            format!("nothing is missing: the database has all {entries} entries of this copy of the public log\n")
        }
    })
}

enum Imported {
    New(ImportedLog),
    /// The database has all of so many entries.
    NothingMissing(u64),
}

async fn import(config: &Config, database: &Database, directory: Option<PathBuf>) -> Result<Imported, CliError> {
    db::check_up_to_date(&database.target).await?;
    let keys = app::existing_log_keys(config, &db::connect(&database.target).await?).await?;
    let chains = app::known_chains(config)?;
    let db = Db::new(&database.target, 1)?;
    let policy = app::configured_policy(config, &keys.public_log(public_log::key_generations(&db).await?))?;
    let stored = public_log::edge(&db).await?;
    let kept = log_copy::directory(&config.data_dir);
    let directory = directory.unwrap_or_else(|| kept.clone());
    // The copy in data_dir is what the next start compares the database with.
    let kept = read(&kept, &[])?;
    let sizes = [stored.size(), kept.as_ref().map_or(0, |kept| kept.edge.size())];
    let copy = read(&directory, &sizes)?.ok_or_else(|| {
        CliError::Refused(format!(
            "there is no copy of the public log in {}: name its directory",
            directory.display()
        ))
    })?;
    let refused = |refusal: ImportRefusal| CliError::Refused(refusal.to_string());
    let newer = newer(copy, stored, kept).map_err(refused)?;
    if newer.entries.is_empty() {
        return Ok(Imported::NothingMissing(newer.after.size()));
    }
    let imported = import_log(&db, &keys, (&chains, policy.as_deref()), &newer, Clock::system().now()).await?;
    Ok(Imported::New(imported.map_err(refused)?))
}

fn read(directory: &Path, sizes: &[u64]) -> Result<Option<ComparedCopy>, CliError> {
    let unreadable = |error| {
        CliError::Refused(format!("cannot read the copy of the public log in {}: {error}", directory.display()))
    };
    log_copy::compare(directory, sizes).map_err(unreadable)
}

/// The entries that the database lacks, if all of its own are the beginning of the copy.
fn newer(
    copy: ComparedCopy,
    stored: verifiable_draw::merkle::edge::Edge,
    kept: Option<ComparedCopy>,
) -> Result<NewerEntries, ImportRefusal> {
    let ComparedCopy { edge, beginnings, newer, .. } = copy;
    let [known, of_kept] = &beginnings[..] else { return Err(ImportRefusal::OtherCopy) };
    if let Some(kept) = kept {
        match of_kept {
            None => return Err(ImportRefusal::CopyInDataDirIsLonger),
            Some(beginning) if *beginning != kept.edge => return Err(ImportRefusal::OtherCopy),
            Some(_) => {}
        }
    }
    match known {
        None => Err(ImportRefusal::CopyBehind { copied: edge.size(), stored: stored.size() }),
        Some(known) if *known != stored => Err(ImportRefusal::Forked(stored.size())),
        Some(_) => Ok(NewerEntries { after: stored, entries: newer }),
    }
}

/// What was done, and what the admin does now.
fn report(ImportedLog { entries, size, draws }: &ImportedLog) -> String {
    let mut text =
        format!("{entries} entries are back, and the public log has {size}: it is the one that was published.\n");
    for (draw, goes_on) in draws {
        let what = match goes_on {
            GoesOn::Stops => {
                "STOPPED: tickets may have been sold after the backup, and the database does not have them. Cancel it"
            }
            GoesOn::Sealed => "is sealed again, with the published list, when the service starts",
            GoesOn::Completed => "is drawn again when the service starts, with the published numbers and prizes",
            GoesOn::Voided => "is cancelled again when the service starts, for the published reason",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "draw {draw}: {what}.");
    }
    text + "Start the service, cancel the draws that have stopped, and run `lottery check`.\n"
}
