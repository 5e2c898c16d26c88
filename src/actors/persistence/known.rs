//! What the writer remembers of the last transactions: balances, and what each sale changes of its draw. It
//! saves reading them again for every batch. Nothing rests on its being right: each batch writes only over
//! what it remembered, and otherwise fails and reads anew.

use std::collections::HashMap;

use crate::domain::books::{Books, Needs, Sales};
use crate::domain::id::DrawId;
use crate::domain::ledger::{AccountId, Ledger};
use crate::domain::money::Money;
use crate::domain::record::Record;

/// Accounts and draws remembered before a batch at most, some 50 bytes each.
const MAX_KNOWN: usize = 200_000;

/// The memory. Forgotten whole whenever it may be wrong.
#[derive(Default, Debug)]
pub struct Known {
    accounts: HashMap<AccountId, Money>,
    draws: HashMap<DrawId, Sales>,
}

impl Known {
    /// Of what these records need, the accounts and draws to read. A draw of another epoch than a record
    /// knows is read again: one of the two is behind.
    pub fn missing<'r>(
        &mut self,
        needs: &Needs,
        records: impl Iterator<Item = &'r Record>,
    ) -> (Vec<DrawId>, Vec<AccountId>) {
        if self.accounts.len() + self.draws.len() >= MAX_KNOWN {
            self.forget();
        }
        let mut draws: Vec<DrawId> = records
            .filter_map(Record::fence)
            .filter(|fence| self.draws.get(&fence.draw).is_none_or(|sales| sales.epoch != fence.epoch))
            .map(|fence| fence.draw)
            .collect();
        draws.sort_unstable();
        draws.dedup();
        let unknown = |account: &&AccountId| !self.accounts.contains_key(account);
        (draws, needs.accounts.iter().filter(unknown).copied().collect())
    }

    /// Takes in what was read.
    pub fn learn(
        &mut self,
        draws: impl IntoIterator<Item = (DrawId, Sales)>,
        accounts: impl IntoIterator<Item = (AccountId, Money)>,
    ) {
        self.draws.extend(draws);
        self.accounts.extend(accounts);
    }

    /// The accounts that a batch needs.
    pub fn ledger(&self, needs: &Needs) -> Ledger {
        Ledger::new(needs.accounts.iter().filter_map(|id| Some((*id, *self.accounts.get(id)?))))
    }

    /// The draws that a batch needs.
    pub fn draws(&self, needs: &Needs) -> HashMap<DrawId, Sales> {
        needs.draws.iter().filter_map(|id| Some((*id, *self.draws.get(id)?))).collect()
    }

    /// An account's balance before the batch.
    pub fn balance(&self, account: AccountId) -> Option<Money> {
        self.accounts.get(&account).copied()
    }

    /// Paid tickets of a draw before the batch.
    pub fn sold(&self, draw: DrawId) -> Option<i64> {
        self.draws.get(&draw).map(|sales| sales.sold)
    }

    /// The batch is committed.
    pub fn committed(&mut self, books: &Books) {
        self.accounts.extend(books.ledger.changed());
        self.draws.extend(books.draws.iter().map(|(id, sales)| (*id, *sales)));
    }

    pub fn forget(&mut self) {
        self.accounts.clear();
        self.draws.clear();
    }
}
