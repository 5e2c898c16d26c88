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

/// What a step may change of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Touched {
    Everything,
    /// The balances of these, and nothing of any draw's sale.
    Balances(Vec<AccountId>),
}

/// The memory. What may be wrong of it is forgotten.
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::id::UserId;

    #[test]
    fn a_step_makes_it_forget_what_it_touches_and_no_more() {
        let wallets = [1, 2].map(|user| AccountId::wallet(UserId(user)));
        let mut known = Known::default();
        let sales = Sales { epoch: 1, sold: 7 };
        known.learn([(DrawId(9), sales)], wallets.map(|wallet| (wallet, Money::new(5))));
        known.forget_what(&Touched::Balances(vec![wallets[0]]));
        let needs = Needs { accounts: BTreeSet::from(wallets), ..Needs::default() };
        assert_eq!(known.missing(&needs, [].into_iter()), (Vec::new(), vec![wallets[0]]));
        assert_eq!(known.sold(DrawId(9)), Some(7));
        known.forget_what(&Touched::Everything);
        assert_eq!((known.balance(wallets[1]), known.sold(DrawId(9))), (None, None));
    }
}
