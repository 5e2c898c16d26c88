//! Brings entries of the public log back into a database that was restored from a backup, in one transaction. Draws that
//! the backup does not have are made anew from their announcements, and each draw that is behind the log is stored as such:
//! `domain::log_import` says what becomes of it. The entries are those that were published, so the log is not forked.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;
use tokio_postgres::{Client, Error};
use verifiable_draw::Hash;
use verifiable_draw::beacon::BeaconChain;
use verifiable_draw::event::Event;
use verifiable_draw::merkle::edge::Edge;

use super::{audit, draws, log, witnesses};
use crate::actors::persistence::step::StepFailure;
use crate::db::DbError;
use crate::db::read::{beacon, draws as stored_draws, installation};
use crate::domain::audit::{Action, AuditEntry, Subject};
use crate::domain::beacon::AnnouncedRound;
use crate::domain::id::DrawId;
use crate::domain::log_import::{GoesOn, ImportRefusal, announced_rules, are_in_order, logged_times};
use crate::domain::log_keys::{KeyChange, LogKeys};
use crate::domain::lottery::DrawStatus;
use crate::domain::money::Currency;
use crate::domain::public_log;
use crate::domain::witness_policy::WitnessPolicy;

/// The entries of a copy that a database lacks.
pub struct NewerEntries {
    /// The edge of the log that the database has: what they follow.
    pub after: Edge,
    pub entries: Vec<Vec<u8>>,
}

/// What an import has done.
#[derive(Debug)]
pub struct ImportedLog {
    pub entries: u64,
    /// The log's entries now.
    pub size: u64,
    pub draws: Vec<(DrawId, GoesOn)>,
}

/// Why the transaction ends without an import.
pub enum ImportFailure {
    Refused(ImportRefusal),
    Step(StepFailure),
    Database(DbError),
}

impl From<StepFailure> for ImportFailure {
    fn from(failure: StepFailure) -> ImportFailure {
        ImportFailure::Step(failure)
    }
}

impl From<Error> for ImportFailure {
    fn from(error: Error) -> ImportFailure {
        ImportFailure::Step(error.into())
    }
}

impl From<DbError> for ImportFailure {
    fn from(error: DbError) -> ImportFailure {
        ImportFailure::Database(error)
    }
}

impl From<ImportRefusal> for ImportFailure {
    fn from(refusal: ImportRefusal) -> ImportFailure {
        ImportFailure::Refused(refusal)
    }
}

/// An import into the database of this client.
pub struct LogImport<'a> {
    pub db: &'a Client,
    pub keys: &'a LogKeys,
    /// The beacons that announcements may name, beside those that the database has.
    pub chains: &'a [Arc<BeaconChain>],
    /// The configured witness policy, which announcements may name.
    pub policy: Option<&'a WitnessPolicy>,
    pub at: Timestamp,
}

impl LogImport<'_> {
    pub async fn run(&self, newer: &NewerEntries) -> Result<ImportedLog, ImportFailure> {
        let db = self.db;
        if log::lock(db).await? != newer.after {
            return Err(ImportRefusal::Changed.into());
        }
        let first = newer.after.size();
        let mut events = Vec::new();
        for (index, entry) in (first..).zip(&newer.entries) {
            let refused = |what: String| ImportRefusal::Entry { index, what };
            events.push((index, Event::parse(entry).map_err(|error| refused(error.to_string()))?));
        }
        let audit_position = audit_position(db).await?;
        let mut touched = BTreeSet::new();
        for (index, event) in &events {
            touched.extend(event.draw().map(log::of_draw));
            self.apply(*index, event).await?;
        }
        let draws = events.iter().map(|(_, event)| event.draw().map(log::of_draw));
        let entries: Vec<_> = draws.zip(newer.entries.iter().cloned()).collect();
        log::append_all(db, self.keys, &newer.after, &entries).await?;
        let draws = self.store_what_is_behind(touched).await?;
        let (entries, size) = (entries.len() as u64, first + entries.len() as u64);
        let sql = "-- log_import::run()
            INSERT INTO log_imports (first, next, audit_position, imported_at) VALUES ($1, $2, $3, $4)";
        db.execute(sql, &[&first.cast_signed(), &size.cast_signed(), &audit_position, &self.at]).await?;
        let stopped = draws.iter().filter(|(_, goes_on)| *goes_on == GoesOn::Stops).map(|(draw, _)| draw.0);
        let detail = json!({"first": first, "entries": entries, "stopped": stopped.collect::<Vec<_>>()});
        // Only the command line does this, so the entry has no actor.
        let entry = AuditEntry::once(None, Action::ImportLog, Subject::PublicLog, detail, self.at);
        audit::record(db, Some(&entry)).await?;
        Ok(ImportedLog { entries, size, draws })
    }

    /// Makes the rows that an entry needs. What else it tells of is done by the draw itself, if it can be.
    async fn apply(&self, index: u64, event: &Event) -> Result<(), ImportFailure> {
        match event {
            Event::DrawAnnounced { draw, .. } => self.announce(log::of_draw(*draw), event).await,
            Event::DrawRescheduled { draw, sales_close_at, draw_at, round, .. } => {
                self.reschedule(log::of_draw(*draw), (*sales_close_at, *draw_at), *round).await
            }
            Event::DrawSealed { draw, .. }
            | Event::DrawCompleted { draw, .. }
            | Event::DrawVoided { draw, .. } => {
                let draw = log::of_draw(*draw);
                match self.status(draw).await? {
                    Some(DrawStatus::Open | DrawStatus::Closed | DrawStatus::Settling) => Ok(()),
                    None => Err(ImportRefusal::Draw { draw, what: "it was not announced" }.into()),
                    Some(_) => {
                        Err(ImportRefusal::Draw { draw, what: "the database has another end of it" }.into())
                    }
                }
            }
            Event::KeyAdded { vkey, .. } => self.change_key(index, KeyChange::Rotate, vkey).await,
            Event::KeyRetired { vkey, .. } => self.change_key(index, KeyChange::Retire, vkey).await,
            Event::DrawHeads { .. } => Ok(()),
        }
    }

    async fn status(&self, draw: DrawId) -> Result<Option<DrawStatus>, ImportFailure> {
        let sql = "-- log_import::status()
            SELECT status FROM draws WHERE id = $1 FOR UPDATE";
        let row = self.db.query_opt(sql, &[&draw.0]).await?;
        Ok(row.and_then(|row| DrawStatus::parse(row.get(0))))
    }

    /// Opens the draw as it was announced. A draw that was created after the backup is made anew.
    async fn announce(&self, draw: DrawId, event: &Event) -> Result<(), ImportFailure> {
        let db = self.db;
        let refused = |what| ImportFailure::from(ImportRefusal::Draw { draw, what });
        let Event::DrawAnnounced { at, lottery, number, rules, sales_close_at, draw_at, beacon, policy, .. } =
            event
        else {
            return Err(refused("no announcement"));
        };
        let unfit = || refused("its announcement is not one of this service");
        let number = i32::try_from(*number).map_err(|_| unfit())?;
        let rules = announced_rules(lottery, rules).ok_or_else(unfit)?;
        let (times, at) = (logged_times(*sales_close_at, *draw_at), public_log::timestamp(*at));
        let round = match beacon {
            Some(beacon) => {
                Some(AnnouncedRound { chain: self.chain(draw, &beacon.chain).await?, round: beacon.round })
            }
            None => None,
        };
        if let Some(policy) = policy {
            self.keep_policy(draw, policy).await?;
        }
        let (of_draw, published) = ((&rules, self.currency().await?), (round.as_ref(), *policy));
        let expected = public_log::announced(self.keys, draw, number, of_draw, &times, published, at);
        if expected != *event {
            return Err(unfit());
        }
        match self.status(draw).await? {
            None => {
                draws::ensure_lottery(db, &rules.lottery).await?;
                draws::insert(db, draw, number, &rules, &times, at).await?;
                let sql = "-- log_import::number()
                    UPDATE lotteries SET last_draw = greatest(last_draw, $2) WHERE id = $1";
                db.execute(sql, &[&rules.lottery.0, &number]).await?;
                let sql = "-- log_import::id()
                    SELECT setval(ids, greatest($1, nextval(ids))) FROM pg_get_serial_sequence('draws', 'id') ids";
                db.execute(sql, &[&draw.0]).await?;
            }
            Some(DrawStatus::Scheduled) => {
                if stored_draws::rules_and_number(db, draw).await? != (rules, number) {
                    return Err(refused("the database has another draw with this id"));
                }
            }
            Some(_) => return Err(refused("the database has a later state of it")),
        }
        draws::announce(db, draw, round.as_ref()).await?;
        self.set_times(draw, *sales_close_at, *draw_at, round.map(|round| round.round)).await
    }

    async fn reschedule(
        &self,
        draw: DrawId,
        (sales_close_at, draw_at): (u64, u64),
        round: Option<u64>,
    ) -> Result<(), ImportFailure> {
        match self.status(draw).await? {
            Some(DrawStatus::Open) => self.set_times(draw, sales_close_at, draw_at, round).await,
            _ => Err(ImportRefusal::Draw { draw, what: "the database has it in another state" }.into()),
        }
    }

    async fn set_times(
        &self,
        draw: DrawId,
        sales_close_at: u64,
        draw_at: u64,
        round: Option<u64>,
    ) -> Result<(), ImportFailure> {
        let times = logged_times(sales_close_at, draw_at);
        let sql = "-- log_import::set_times()
            UPDATE draws SET sales_open_at = CASE WHEN sales_open_at < $2 THEN sales_open_at END, sales_close_at = $2,
                             draw_at = $3, round = $4 WHERE id = $1";
        let round = round.map(u64::cast_signed);
        self.db.execute(sql, &[&draw.0, &times.sales_close_at, &times.draw_at, &round]).await?;
        Ok(())
    }

    async fn chain(&self, draw: DrawId, hash: &[u8; 32]) -> Result<Arc<BeaconChain>, ImportFailure> {
        let known = self.chains.iter().find(|chain| chain.hash() == hash).cloned();
        match known {
            Some(chain) => Ok(chain),
            None => match beacon::stored_chain(self.db, hash).await? {
                Some(chain) => Ok(Arc::new(chain)),
                None => Err(ImportRefusal::UnknownBeacon { draw }.into()),
            },
        }
    }

    /// Keeps the witness policy with this hash.
    async fn keep_policy(&self, draw: DrawId, hash: &Hash) -> Result<(), ImportFailure> {
        if let Some(policy) = self.policy.filter(|policy| policy.hash() == *hash) {
            return Ok(witnesses::keep_policy(self.db, policy).await?);
        }
        let sql = "-- log_import::keep_policy()
            SELECT EXISTS (SELECT FROM witness_policies WHERE hash = $1)";
        let is_kept = self.db.query_one(sql, &[&hash.as_slice()]).await?.get(0);
        if is_kept {
            Ok(())
        } else {
            Err(ImportRefusal::UnknownPolicy { draw, hash: STANDARD.encode(hash) }.into())
        }
    }

    async fn currency(&self) -> Result<Currency, ImportFailure> {
        let recorded = installation::recorded(self.db).await?;
        let missing = || StepFailure::Rejected("the installation is not recorded".to_owned());
        Ok(recorded.ok_or_else(missing)?.currency)
    }

    /// Stores the generations of the keys that sign after this entry.
    async fn change_key(&self, index: u64, change: KeyChange, vkey: &str) -> Result<(), ImportFailure> {
        let changed = log::change_generations(self.db, change).await?;
        let key = changed.ok().map(|generation| self.keys.public_log_key(generation).verifier().to_string());
        if key.as_deref() == Some(vkey) {
            return Ok(());
        }
        Err(ImportRefusal::Entry { index, what: "it names a key that is not one of this log".to_owned() }.into())
    }

    /// Stores which draws are behind the log: those that it has more of, and all that are on sale. Records of an actor that
    /// still has them are refused from now on.
    async fn store_what_is_behind(
        &self,
        touched: BTreeSet<DrawId>,
    ) -> Result<Vec<(DrawId, GoesOn)>, ImportFailure> {
        let touched: Vec<i64> = touched.iter().map(|draw| draw.0).collect();
        let sql = "-- log_import::behind()
            SELECT d.id, d.status, s.edge FROM draws d JOIN draw_sales s ON s.draw_id = d.id
            WHERE (d.status = 'open' OR d.id = ANY ($1)) AND d.fairness IS NOT NULL AND s.edge IS NOT NULL ORDER BY d.id";
        let mut behind = Vec::new();
        for row in self.db.query(sql, &[&touched]).await? {
            let corrupt = |what: &str| StepFailure::Rejected(what.to_owned());
            let draw = DrawId(row.get(0));
            let status = DrawStatus::parse(row.get(1)).ok_or_else(|| corrupt("the status of a draw"))?;
            let list = Edge::from_bytes(row.get(2)).map_err(|_| corrupt("the edge of a ticket log"))?;
            let entries = log::entries_of(self.db, self.keys, draw).await?;
            if !are_in_order(&entries) {
                return Err(ImportRefusal::Draw { draw, what: "its entries contradict each other" }.into());
            }
            let Some(goes_on) = GoesOn::of(status, list.head(), &entries) else { continue };
            // A draw that a former import has stopped stays so.
            let sql = "-- log_import::store()
                INSERT INTO rolled_back_draws AS it (draw_id, goes_on, entry)
                SELECT $1, $2, max(index) FROM log_entries WHERE draw_id = $1
                ON CONFLICT (draw_id) DO UPDATE SET entry = excluded.entry, goes_on =
                    CASE WHEN it.goes_on IS NOT NULL OR excluded.goes_on = 'voided' THEN excluded.goes_on END
                RETURNING goes_on";
            let stored = self.db.query_one(sql, &[&draw.0, &goes_on.as_str()]).await?;
            let is_stopped = stored.get::<_, Option<&str>>(0).is_none();
            draws::take_over(self.db, draw).await?;
            behind.push((draw, if is_stopped { GoesOn::Stops } else { goes_on }));
        }
        Ok(behind)
    }
}

async fn audit_position(db: &Client) -> Result<i64, ImportFailure> {
    let sql = "-- log_import::audit_position()
        SELECT position FROM audit_chain";
    Ok(db.query_one(sql, &[]).await?.get(0))
}
