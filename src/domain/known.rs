//! What the writer remembers of the last transactions: balances, what each sale changes of its draw, and
//! whether keys that were taken for new have turned out to be old. It saves reading them again for every batch.
//! Nothing rests on its being right: each batch writes only over what was remembered, and otherwise fails and
//! reads anew. Knows no SQL; persistence reads what it misses, and compares.

use std::collections::{BTreeSet, HashMap};

use super::books::{Books, Changes, Needs, PaymentRow, Sales};
use super::id::{DrawId, PaymentId};
use super::ledger::{AccountId, Ledger};
use super::money::{Currency, Money};
use super::record::{Kept, KeyId, Record};

/// Accounts and draws remembered before a batch at most, some 50 bytes each.
const MAX_KNOWN: usize = 200_000;

/// How many batches look their keys up after one met a key that was there: a client that repeats itself is
/// likely to do so again.
const WARY: u32 = 100;

/// What a step may change of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Touched {
    Everything,
    /// The balances of these, and nothing of any draw's sale.
    Balances(Vec<AccountId>),
}

/// What is to be read before a batch can be judged.
#[derive(Default, PartialEq, Debug)]
pub struct Wanted {
    pub draws: Vec<DrawId>,
    pub accounts: Vec<AccountId>,
    /// Never remembered: they are locked until the batch ends.
    pub payments: BTreeSet<PaymentId>,
    /// Others are taken for new, until the database says otherwise.
    pub keys: BTreeSet<KeyId>,
}

impl Wanted {
    pub fn is_nothing(&self) -> bool {
        self.draws.is_empty() && self.accounts.is_empty() && self.payments.is_empty() && self.keys.is_empty()
    }
}

/// What was read of it.
#[derive(Default, Debug)]
pub struct Found {
    pub accounts: Vec<(AccountId, Money)>,
    pub draws: Vec<(DrawId, Sales)>,
    pub payments: HashMap<PaymentId, PaymentRow>,
    pub keys: HashMap<KeyId, Kept>,
}

/// How a batch begins.
#[derive(Debug)]
pub struct Plan {
    needs: Needs,
    pub wanted: Wanted,
    /// All its keys are looked up.
    pub wary: bool,
}

/// What a batch writes of draws and accounts, and what must stand there for it to be written. None stands
/// nowhere.
#[derive(Debug)]
pub struct Over {
    /// Every draw, changed or not: its epoch is what the batch rests on. With its paid tickets before.
    pub draws: Vec<(DrawId, Option<i64>, Sales)>,
    /// With its balance before. Also where it stays the same, if a refusal rests on it: nobody is refused for
    /// a wallet that was filled meanwhile.
    pub accounts: Vec<(AccountId, Option<Money>, Money)>,
}

/// The memory. What may be wrong of it is forgotten.
#[derive(Default, Debug)]
pub struct Known {
    accounts: HashMap<AccountId, Money>,
    draws: HashMap<DrawId, Sales>,
    /// Batches that still look all their keys up before they write, instead of taking them for new.
    wary: u32,
}

impl Known {
    /// What these records need, and what of it is to be read. A draw of another epoch than a record knows is
    /// read again: one of the two is behind.
    pub fn plan<'r>(&mut self, records: impl Iterator<Item = &'r Record> + Clone) -> Plan {
        if self.accounts.len() + self.draws.len() >= MAX_KNOWN {
            self.forget();
        }
        let wary = self.wary > 0;
        self.wary = self.wary.saturating_sub(1);
        let needs = Needs::of(records.clone());
        let mut draws: Vec<DrawId> = records
            .clone()
            .filter_map(Record::fence)
            .filter(|fence| self.draws.get(&fence.draw).is_none_or(|sales| sales.epoch != fence.epoch))
            .map(|fence| fence.draw)
            .collect();
        draws.sort_unstable();
        draws.dedup();
        let unknown = |account: &&AccountId| !self.accounts.contains_key(account);
        let accounts = needs.accounts.iter().filter(unknown).copied().collect();
        // What inserts its key plainly hears from the database if it is there; all others look first.
        let looks = |record: &&Record| wary || !matches!(record, Record::Order(_) | Record::BeginDeposit(_));
        let keys = Needs::of(records.filter(looks)).keys;
        let wanted = Wanted { draws, accounts, payments: needs.payments.clone(), keys };
        Plan { needs, wanted, wary }
    }

    /// The books of a batch, once what it wanted was read.
    pub fn open(&mut self, plan: &Plan, found: Found, currency: Currency) -> Books {
        self.draws.extend(found.draws);
        self.accounts.extend(found.accounts);
        let Needs { accounts, draws, .. } = &plan.needs;
        Books {
            currency,
            ledger: Ledger::new(accounts.iter().filter_map(|id| Some((*id, *self.accounts.get(id)?)))),
            draws: draws.iter().filter_map(|id| Some((*id, *self.draws.get(id)?))).collect(),
            payments: found.payments,
            keys: found.keys,
            changes: Changes::default(),
        }
    }

    /// What the judged books write over what was remembered.
    pub fn over(&self, books: &Books) -> Over {
        let before = |id: &DrawId| self.draws.get(id).map(|sales| sales.sold);
        let balance = |id: &AccountId| self.accounts.get(id).copied();
        Over {
            draws: books.draws.iter().map(|(id, sales)| (*id, before(id), *sales)).collect(),
            accounts: books.ledger.relied_on().into_iter().map(|(id, now)| (id, balance(&id), now)).collect(),
        }
    }

    /// The batch is committed.
    pub fn committed(&mut self, over: &Over) {
        self.accounts.extend(over.accounts.iter().map(|(id, _, now)| (*id, *now)));
        self.draws.extend(over.draws.iter().map(|(id, _, sales)| (*id, *sales)));
    }

    /// A key that was taken for new is there.
    pub fn met_a_key(&mut self) {
        self.wary = WARY;
    }

    /// Before a step: what it touches is read again by the next batch that needs it.
    pub fn forget_what(&mut self, touched: &Touched) {
        match touched {
            Touched::Everything => self.forget(),
            Touched::Balances(accounts) => {
                for account in accounts {
                    self.accounts.remove(account);
                }
            }
        }
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

    /// Of what the database has, what is asked for.
    fn read(wanted: &Wanted) -> Found {
        Found {
            accounts: wanted.accounts.iter().map(|id| (*id, Money::new(5))).collect(),
            draws: wanted.draws.iter().map(|id| (*id, Sales { epoch: 1, sold: 7 })).collect(),
            ..Found::default()
        }
    }

    #[test]
    fn a_step_makes_it_forget_what_it_touches_and_no_more() {
        let mut known = Known::default();
        let records = [withdrawal(1), withdrawal(2), expiry(1)];
        let plan = known.plan(records.iter());
        known.open(&plan, read(&plan.wanted), "EUR".parse().unwrap());
        let wallets = [1, 2].map(|user| AccountId::wallet(UserId(user)));
        known.forget_what(&Touched::Balances(vec![wallets[0]]));
        let wanted = known.plan(records.iter()).wanted;
        assert_eq!((wanted.draws, wanted.accounts), (Vec::new(), vec![wallets[0]]));
        assert_eq!(known.plan([expiry(2)].iter()).wanted.draws, [DRAW], "of another epoch");
        known.forget_what(&Touched::Everything);
        let wanted = known.plan(records.iter()).wanted;
        assert_eq!((wanted.draws.len(), wanted.accounts.len()), (1, 4));
    }

    #[test]
    fn a_batch_writes_over_what_was_remembered_and_is_remembered_itself() {
        let mut known = Known::default();
        let record = withdrawal(1);
        for (wallet, held) in [(10, 0), (5, 5)] {
            let plan = known.plan([&record].into_iter());
            let first = wallet == 10;
            assert_eq!(plan.wanted.is_nothing(), !first);
            let [wallet_of, held_of] = [AccountId::wallet(UserId(1)), AccountId::held(UserId(1))];
            let read = [(wallet_of, Money::new(10)), (held_of, Money::ZERO)];
            let accounts = if first { read.to_vec() } else { Vec::new() };
            let mut books = known.open(&plan, Found { accounts, ..Found::default() }, "EUR".parse().unwrap());
            assert!(books.judge(&record).is_ok());
            let over = known.over(&books);
            let rows = |amounts: [(AccountId, i64, i64); 2]| {
                amounts.map(|(id, before, now)| (id, Some(Money::new(before)), Money::new(now)))
            };
            assert_eq!(over.accounts, rows([(wallet_of, wallet, wallet - 5), (held_of, held, held + 5)]));
            known.committed(&over);
        }
    }
}
