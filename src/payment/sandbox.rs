//! The sandbox provider, for tests and demos: no money moves, and the card token says how a charge ends. It stores
//! its charges in a file, as a real provider would, so that a service that was killed can ask for their results.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use futures_util::future::{self, BoxFuture, FutureExt};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{
    CardToken, ChargeAnswer, ChargeOrder, ChargeReport, DECLINED, NoticeError, Provider, ProviderNotice,
    ProviderUnavailable, Signing,
};
use crate::domain::charge::ChargeName;
use crate::domain::id::PaymentId;
use crate::domain::record::Charge;

/// The file's name in the data directory.
const FILE: &str = "sandbox_charges";
/// Charges in a file, about 80 bytes each. A full file is renamed to the old one, and the old one before it is
/// lost.
const MAX_CHARGES: usize = 50_000;
/// Only the service's user may read the files: they tell which payments were made by card, and when.
const MODE: u32 = 0o600;

/// The sandbox does not know a charge. Its file is written before the charge is answered, by the same process and with
/// the same clock, so that an absent charge was never made; the time is that of the longest request. A real provider
/// needs much longer.
const NEVER_ARRIVED: SignedDuration = SignedDuration::from_mins(10);

/// The sandbox could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the sandbox's charges in {}: {cause}", path.display())]
pub struct SandboxError {
    path: PathBuf,
    cause: io::Error,
}

/// The sandbox provider.
pub struct Sandbox {
    memory: Mutex<ChargeFile>,
    signing: Signing,
}

impl Sandbox {
    /// Opens the sandbox with the charges that are stored in `data_dir`. Blocks on files.
    pub fn open(data_dir: &Path, signing: Signing) -> Result<Sandbox, SandboxError> {
        let path = data_dir.join(FILE);
        let memory = ChargeFile::open(&path).map_err(|cause| SandboxError { path, cause })?;
        Ok(Sandbox { memory: Mutex::new(memory), signing })
    }

    fn notice(&self, signature: &str, body: &[u8], now: Timestamp) -> Result<ProviderNotice, NoticeError> {
        self.signing.check(signature, body, now)?;
        let Notice { payment, begun, status, failure_code } = serde_json::from_slice(body)?;
        let charge = match status {
            NoticeStatus::Paid => Charge::Paid,
            NoticeStatus::Failed => Charge::Declined(super::failure_code(failure_code.as_deref())),
        };
        Ok(ProviderNotice::Charge(ChargeName { payment, begun }, charge.into()))
    }

    fn outcome(card: &CardToken) -> Option<&'static str> {
        match card.expose() {
            "tok_visa" => Some(PAID),
            "tok_declined" => Some(DECLINED),
            "tok_insufficient" => Some("insufficient_funds"),
            "tok_async" => Some(PROCESSING),
            _ => None,
        }
    }
}

/// How the file writes an outcome; anything else is a failure code.
const PAID: &str = "paid";
const PROCESSING: &str = "processing";

fn charge(outcome: &str) -> Charge {
    match outcome {
        PAID => Charge::Paid,
        PROCESSING => Charge::Processing,
        code => Charge::Declined(code.to_owned()),
    }
}

impl Provider for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    fn knows(&self, card: &CardToken) -> bool {
        Sandbox::outcome(card).is_some()
    }

    fn charge(&self, order: ChargeOrder) -> BoxFuture<'_, ChargeReport> {
        let outcome = Sandbox::outcome(&order.card).unwrap_or(DECLINED);
        tracing::debug!(charge = %order.name, amount = %order.amount, currency = %order.currency, outcome, "a sandbox charge");
        let kept = self.memory.lock().unwrap_or_else(PoisonError::into_inner).keep(order.name, outcome);
        let charge = kept.map(|()| charge(outcome)).unwrap_or_else(|error| {
            tracing::error!(%error, "the sandbox cannot store a charge, and declines it");
            Charge::Declined("processing_error".to_owned())
        });
        future::ready(charge.into()).boxed()
    }

    fn ask(&self, name: ChargeName) -> BoxFuture<'_, Result<ChargeAnswer, ProviderUnavailable>> {
        let found = self.memory.lock().unwrap_or_else(PoisonError::into_inner).find(name);
        let answer = found.map_or(ChargeAnswer::NotFound, |charge| ChargeAnswer::Found(charge.into()));
        future::ready(Ok(answer)).boxed()
    }

    fn result_if_unknown(&self, age: SignedDuration) -> Charge {
        if age < NEVER_ARRIVED { Charge::Processing } else { Charge::Declined("not_charged".to_owned()) }
    }

    fn read<'a>(
        &'a self,
        signature: &'a str,
        body: &'a [u8],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<ProviderNotice>, NoticeError>> {
        future::ready(self.notice(signature, body, now).map(Some)).boxed()
    }
}

/// A webhook message of the sandbox, which the tester writes. `begun` is the payment's `updated_at` while it is
/// processing; `GET /admin/charges` shows it later.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Notice {
    payment: PaymentId,
    begun: Timestamp,
    status: NoticeStatus,
    failure_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoticeStatus {
    Paid,
    Failed,
}

/// The stored charges: one line for each in a file, and the file before it.
struct ChargeFile {
    path: PathBuf,
    file: File,
    new: HashMap<ChargeName, String>,
    old: HashMap<ChargeName, String>,
}

impl ChargeFile {
    fn open(path: &Path) -> io::Result<ChargeFile> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let (new, old) = (read(path)?, read(&before(path))?);
        Ok(ChargeFile { path: path.to_owned(), file: append(path)?, new, old })
    }

    fn keep(&mut self, name: ChargeName, outcome: &str) -> io::Result<()> {
        if self.new.len() >= MAX_CHARGES {
            fs::rename(&self.path, before(&self.path))?;
            self.file = append(&self.path)?;
            self.old = std::mem::take(&mut self.new);
        }
        // In one write: a process that is killed leaves a whole line or none.
        self.file.write_all(format!("{name} {outcome}\n").as_bytes())?;
        self.new.insert(name, outcome.to_owned());
        Ok(())
    }

    fn find(&self, name: ChargeName) -> Option<Charge> {
        self.new.get(&name).or_else(|| self.old.get(&name)).map(|outcome| charge(outcome))
    }
}

fn before(path: &Path) -> PathBuf {
    path.with_extension("old")
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

/// The charges of a file, if it exists. Lines that cannot be read are skipped.
fn read(path: &Path) -> io::Result<HashMap<ChargeName, String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashMap::new()),
        file => file?,
    };
    // An earlier version made files that everybody could read.
    file.set_permissions(Permissions::from_mode(MODE))?;
    let text = io::read_to_string(file)?;
    Ok(text.lines().filter_map(line).collect())
}

fn line(text: &str) -> Option<(ChargeName, String)> {
    let (name, outcome) = text.split_once(' ')?;
    let name = name.parse().ok()?;
    Some((name, outcome.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Money;

    fn name(number: u128) -> ChargeName {
        let begun = Timestamp::from_millisecond(1_900_000_000_123).unwrap();
        ChargeName { payment: PaymentId(uuid::Uuid::from_u128(number)), begun }
    }

    async fn charge(sandbox: &Sandbox, number: u128, token: &str) -> ChargeReport {
        let (amount, currency) = (Money::new(5), "RUB".parse().unwrap());
        let card = CardToken::parse(token).unwrap();
        sandbox.charge(ChargeOrder { name: name(number), amount, currency, card }).await
    }

    #[tokio::test]
    async fn the_outcome_of_a_charge_is_known_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let open = || Sandbox::open(home.path(), Signing::new("secret".into())).unwrap();
        let sandbox = open();
        let mut told = Vec::new();
        for (number, token) in (1..).zip(["tok_visa", "tok_declined", "tok_insufficient", "tok_async"]) {
            told.push(charge(&sandbox, number, token).await);
        }
        for sandbox in [sandbox, open()] {
            for (number, told) in (1..).zip(&told) {
                assert_eq!(sandbox.ask(name(number)).await.unwrap(), ChargeAnswer::Found(told.clone()));
            }
            let begun = name(1).begun + SignedDuration::from_millis(1);
            let other = sandbox.ask(ChargeName { begun, ..name(1) }).await.unwrap();
            assert_eq!(other, ChargeAnswer::NotFound);
        }
    }

    #[test]
    fn only_the_owner_may_read_the_files() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        ChargeFile::open(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        for file in [&path, &before(&path)] {
            fs::write(file, "").unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        ChargeFile::open(&path).unwrap();
        assert_eq!((mode(&path), mode(&before(&path))), (0o600, 0o600));
    }

    #[test]
    fn charges_older_than_the_last_two_files_are_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        let mut memory = ChargeFile::open(&path).unwrap();
        let charges = MAX_CHARGES as u128 * 2 + 1;
        for number in 0..charges {
            memory.keep(name(number), PAID).unwrap();
        }
        for memory in [memory, ChargeFile::open(&path).unwrap()] {
            assert_eq!((memory.new.len(), memory.old.len()), (1, MAX_CHARGES));
            assert!(memory.find(name(charges - 1)).is_some() && memory.find(name(MAX_CHARGES as u128)).is_some());
            assert_eq!(memory.find(name(0)), None);
        }
    }
}
