//! Connects the sandbox with its table in the database. The sandbox knows no database, and the table is no part of the
//! ledger: it is written beside the transactions of the service, as a real provider would write.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use futures_util::future::{BoxFuture, FutureExt};

use super::AppError;
use crate::actors::persistence::Persistence;
use crate::db::Db;
use crate::db::read::charges;
use crate::domain::charge::ChargeName;
use crate::payment::{ProviderUnavailable, SandboxCharges};

/// The sandbox's charges in the database.
pub struct StoredCharges(pub Persistence);

impl SandboxCharges for StoredCharges {
    fn store<'a>(
        &'a self,
        name: ChargeName,
        outcome: &'a str,
    ) -> BoxFuture<'a, Result<String, ProviderUnavailable>> {
        let store = self.0.store_sandbox_charge(name, outcome);
        async { store.await.map_err(|error| ProviderUnavailable(error.to_string())) }.boxed()
    }
}

/// The files in the data directory in which an earlier version stored the sandbox's charges, the older one first.
const FILES: [&str; 2] = ["sandbox_charges.old", "sandbox_charges"];
/// Unfinished charges that are read at a time.
const PAGE: i64 = 1_000;

/// Stores in the database what the files of an earlier version say of charges that are not finished, and removes the
/// files. Nothing asks for a charge that is finished.
pub async fn take_over_files(data_dir: &Path, db: &Db, persistence: &Persistence) -> Result<(), AppError> {
    let (mut outcomes, mut files) = (HashMap::new(), Vec::new());
    for path in FILES.map(|file| data_dir.join(file)) {
        match fs::read_to_string(&path) {
            Ok(text) => {
                outcomes.extend(text.lines().filter_map(line));
                files.push(path);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(AppError::SandboxFile { path, cause }),
        }
    }
    if files.is_empty() {
        return Ok(());
    }
    let mut after = None;
    loop {
        let unfinished = charges::unfinished(db, after, true, PAGE).await?;
        for charge in &unfinished {
            if let Some(outcome) = outcomes.get(&charge.name) {
                persistence.store_sandbox_charge(charge.name, outcome).await?;
            }
        }
        let Some(last) = unfinished.last() else { break };
        after = Some(last.name.payment);
    }
    for path in files {
        fs::remove_file(&path).map_err(|cause| AppError::SandboxFile { path, cause })?;
    }
    Ok(())
}

/// A charge and its outcome, from a line of a file. A line that cannot be read is skipped.
fn line(text: &str) -> Option<(ChargeName, String)> {
    let (name, outcome) = text.split_once(' ')?;
    Some((name.parse().ok()?, outcome.to_owned()))
}
