//! The cache of the batch writer: the balances of accounts; the epoch, the number of sold tickets and the edge of the
//! ticket log of draws; and whether clients have repeated keys recently. It saves reading them again for every batch. A
//! wrong cache does no harm: each batch writes only if the database still has the cached state; otherwise the batch fails
//! and reads again. This file knows no SQL: the persistence actor reads what is missing, and the transaction compares.

use std::collections::{BTreeMap, HashMap};

use super::batch_state::BatchState;
use super::charge::{ChargeName, ChargeRow};
use super::id::{DrawId, PaymentId};
use super::ledger::{AccountId, Ledger};
use super::money::{Currency, Money};
use super::prefetch::Prefetch;
use super::record::{KeyId, Record, StoredAnswer};
use super::rows::{Changes, DrawSales, DrawSalesRow, PaymentRow};
use super::ticket_log::{TicketLog, TicketLogFault, TicketLogWrite, TicketLogs};

/// The cache is emptied before a batch if it has this many accounts and draws or more, of about 50 bytes for an account
/// and 1,000 for a draw.
const MAX_CACHED: usize = 200_000;

/// After a batch met a key that existed already, this many batches look up their keys before they write: a
/// client that repeated a request is likely to do so again.
const CHECK_KEYS_BATCHES: u32 = 100;

/// Which cached state a step may change.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Invalidation {
    /// Right for each step.
    #[default]
    Everything,
    /// The balances of these accounts, and the sale of no draw.
    Balances(Vec<AccountId>),
}

/// What a prefetch read from the database.
#[derive(Default, Debug)]
pub struct PrefetchResult {
    pub accounts: Vec<(AccountId, Money)>,
    pub draws: Vec<(DrawId, DrawSalesRow)>,
    pub payments: HashMap<PaymentId, PaymentRow>,
    pub charges: BTreeMap<ChargeName, ChargeRow>,
    pub keys: HashMap<KeyId, StoredAnswer>,
}

/// What a batch depends on, and which part of it is not in the cache.
#[derive(Debug)]
pub struct BatchPlan {
    required: Prefetch,
    /// What must be read before the records are applied. Payments and charges are never cached: they are locked until the
    /// batch ends. Keys that are not in here are treated as new, unless the database refuses them.
    pub missing: Prefetch,
    /// Whether every key of the batch is looked up.
    pub check_keys: bool,
}

/// What a batch writes to draws and accounts, and the state that must be in the database for the batch to be
/// written. `None`: the row does not exist yet.
#[derive(Clone, Debug)]
pub struct ExpectedState {
    /// Every draw of the batch, changed or not, because the batch depends on its epoch.
    pub draws: Vec<ExpectedDraw>,
    /// Each account with the balance that is expected before the batch. An unchanged account is included if a
    /// refusal depends on it: no order is refused because of an old balance.
    pub accounts: Vec<(AccountId, Option<Money>, Money)>,
}

/// What a batch writes to a draw.
#[derive(Clone, Debug)]
pub struct ExpectedDraw {
    pub id: DrawId,
    /// The number of paid tickets that the database must have.
    pub sold_before: Option<i64>,
    /// The draw after the batch. Its epoch must be the one in the database.
    pub sales: DrawSales,
    /// `None`: the draw has no ticket log, and must have none in the database.
    pub log: Option<TicketLogWrite>,
}

/// The cache. An entry that may be wrong is removed.
#[derive(Debug)]
pub struct WriterCache {
    logs: TicketLogs,
    accounts: HashMap<AccountId, Money>,
    draws: HashMap<DrawId, DrawSales>,
    /// How many more batches look up all their keys before they write, instead of treating them as new.
    check_keys: u32,
}

impl WriterCache {
    pub fn new(logs: TicketLogs) -> WriterCache {
        WriterCache { logs, accounts: HashMap::new(), draws: HashMap::new(), check_keys: 0 }
    }

    /// The rows that these records need, and which of them must be read. If a record has another epoch of its
    /// draw than the cache, the draw is read again, because one of the two epochs is out of date.
    pub fn plan<'r>(&mut self, records: impl Iterator<Item = &'r Record> + Clone) -> BatchPlan {
        if self.accounts.len() + self.draws.len() >= MAX_CACHED {
            self.forget();
        }
        let check_keys = self.check_keys > 0;
        self.check_keys = self.check_keys.saturating_sub(1);
        let required = Prefetch::of(records.clone());
        let draws = records
            .clone()
            .filter_map(Record::fence)
            .filter(|fence| self.draws.get(&fence.draw).is_none_or(|sales| sales.epoch != fence.epoch))
            .map(|fence| fence.draw)
            .collect();
        let unknown = |account: &&AccountId| !self.accounts.contains_key(account);
        let accounts = required.accounts.iter().filter(unknown).copied().collect();
        // For an order or a new deposit, the INSERT of the key reports a key that exists; all others look it
        // up first.
        let looks = |record: &&Record| check_keys || !matches!(record, Record::Order(_) | Record::BeginDeposit(_));
        let keys = Prefetch::of(records.filter(looks)).keys;
        let (payments, charges) = (required.payments.clone(), required.charges.clone());
        let missing = Prefetch { draws, accounts, payments, charges, keys };
        BatchPlan { required, missing, check_keys }
    }

    /// The state of a batch, once what was missing has been read.
    pub fn open(&mut self, plan: &BatchPlan, found: PrefetchResult, currency: Currency) -> BatchState {
        let mut faulty_logs = HashMap::new();
        for (id, row) in found.draws {
            match self.sales(id, row) {
                Ok(sales) => drop(self.draws.insert(id, sales)),
                Err(fault) => {
                    self.draws.remove(&id);
                    faulty_logs.insert(id, fault);
                }
            }
        }
        self.accounts.extend(found.accounts);
        let Prefetch { accounts, draws, .. } = &plan.required;
        BatchState {
            currency,
            ledger: Ledger::new(accounts.iter().filter_map(|id| Some((*id, *self.accounts.get(id)?)))),
            draws: draws.iter().filter_map(|id| Some((*id, self.draws.get(id)?.clone()))).collect(),
            faulty_logs,
            payments: found.payments,
            charges: found.charges,
            keys: found.keys,
            changes: Changes::default(),
        }
    }

    fn sales(&self, draw: DrawId, row: DrawSalesRow) -> Result<DrawSales, TicketLogFault> {
        let DrawSalesRow { epoch, sold, edge } = row;
        let log = edge.map(|edge| self.logs.open(draw, &edge)).transpose()?;
        Ok(DrawSales { epoch, sold, log })
    }

    /// Ends the batch: what it writes, with the cached state that the database must still have.
    pub fn expected(&self, state: &mut BatchState) -> ExpectedState {
        let balance = |id: &AccountId| self.accounts.get(id).copied();
        let draw = |(id, sales): (&DrawId, &mut DrawSales)| ExpectedDraw {
            id: *id,
            sold_before: self.draws.get(id).map(|sales| sales.sold),
            log: sales.log.as_mut().map(TicketLog::finish),
            sales: sales.clone(),
        };
        ExpectedState {
            draws: state.draws.iter_mut().map(draw).collect(),
            accounts: state.ledger.relied_on().into_iter().map(|(id, now)| (id, balance(&id), now)).collect(),
        }
    }

    /// Takes the committed batch into the cache.
    pub fn committed(&mut self, expected: ExpectedState) {
        self.note_committed(&expected);
        self.accounts.extend(expected.accounts.iter().map(|(id, _, now)| (*id, *now)));
        self.draws.extend(expected.draws.into_iter().map(|draw| (draw.id, draw.sales)));
    }

    /// The batch is committed, and the cache does not follow from it any more. Its ticket logs are remembered all the
    /// same: what is read later must continue them.
    pub fn note_committed(&self, expected: &ExpectedState) {
        for draw in &expected.draws {
            if let Some(log) = &draw.sales.log {
                self.logs.commit(draw.id, log.head());
            }
        }
    }

    /// A key that was treated as new existed already.
    pub fn key_existed(&mut self) {
        self.check_keys = CHECK_KEYS_BATCHES;
    }

    /// Called before a direct write: what it may change is removed, and the next batch that needs it reads it
    /// again.
    pub fn invalidate(&mut self, touched: &Invalidation) {
        match touched {
            Invalidation::Everything => self.forget(),
            Invalidation::Balances(accounts) => {
                for account in accounts {
                    self.accounts.remove(account);
                }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.draws.is_empty()
    }

    pub fn forget(&mut self) {
        self.accounts.clear();
        self.draws.clear();
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::UserId;
    use crate::domain::record::{BeginWithdrawal, Expire, Fence};
    use crate::domain::ticket_log::test_logs;

    const DRAW: DrawId = DrawId(9);

    fn withdrawal(user: i64) -> Record {
        let (payment, amount, at) = (PaymentId(Uuid::from_u128(1)), Money::new(5), Timestamp::UNIX_EPOCH);
        Record::BeginWithdrawal(BeginWithdrawal { user: UserId(user), payment, amount, at, key: None })
    }

    fn expiry(epoch: i64) -> Record {
        let (fence, payment) = (Fence { draw: DRAW, epoch }, PaymentId(Uuid::from_u128(2)));
        let (tickets, at) = (Vec::new(), Timestamp::UNIX_EPOCH);
        Record::Expire(Expire { fence, user: UserId(1), payment, tickets, at })
    }

    /// Returns from the test's database what a prefetch asks for.
    fn read(missing: &Prefetch) -> PrefetchResult {
        PrefetchResult {
            accounts: missing.accounts.iter().map(|id| (*id, Money::new(5))).collect(),
            draws: missing.draws.iter().map(|id| (*id, DrawSalesRow { epoch: 1, sold: 7, edge: None })).collect(),
            ..PrefetchResult::default()
        }
    }

    #[test]
    fn a_step_makes_it_forget_what_it_touches_and_no_more() {
        let mut cache = WriterCache::new(test_logs());
        let records = [withdrawal(1), withdrawal(2), expiry(1)];
        let plan = cache.plan(records.iter());
        cache.open(&plan, read(&plan.missing), "EUR".parse().unwrap());
        let wallets = [1, 2].map(|user| AccountId::wallet(UserId(user)));
        cache.invalidate(&Invalidation::Balances(vec![wallets[0]]));
        let missing = cache.plan(records.iter()).missing;
        assert_eq!((missing.draws, missing.accounts), ([].into(), [wallets[0]].into()));
        assert_eq!(cache.plan([expiry(2)].iter()).missing.draws, [DRAW].into(), "of another epoch");
        cache.invalidate(&Invalidation::Everything);
        let missing = cache.plan(records.iter()).missing;
        assert_eq!((missing.draws.len(), missing.accounts.len()), (1, 4));
    }

    #[test]
    fn a_batch_writes_over_what_was_remembered_and_is_remembered_itself() {
        let mut cache = WriterCache::new(test_logs());
        let record = withdrawal(1);
        for (wallet, held) in [(10, 0), (5, 5)] {
            let plan = cache.plan([&record].into_iter());
            let first = wallet == 10;
            assert_eq!(plan.missing.is_empty(), !first);
            let [wallet_of, held_of] = [AccountId::wallet(UserId(1)), AccountId::held(UserId(1))];
            let read = [(wallet_of, Money::new(10)), (held_of, Money::ZERO)];
            let accounts = if first { read.to_vec() } else { Vec::new() };
            let mut state = cache.open(
                &plan,
                PrefetchResult { accounts, ..PrefetchResult::default() },
                "EUR".parse().unwrap(),
            );
            assert!(state.apply(&record).is_ok());
            let expected = cache.expected(&mut state);
            let rows = |amounts: [(AccountId, i64, i64); 2]| {
                amounts.map(|(id, before, now)| (id, Some(Money::new(before)), Money::new(now)))
            };
            assert_eq!(expected.accounts, rows([(wallet_of, wallet, wallet - 5), (held_of, held, held + 5)]));
            cache.committed(expected);
        }
    }
}
