//! The rows that the records of a batch need from the database before they can be applied. This file reads
//! nothing.

use std::collections::BTreeSet;

use super::id::{DrawId, PaymentId};
use super::ledger::AccountId;
use super::record::{KeyId, Record};

/// What a batch must lock and read before its records can be applied. Sorted, so that all transactions lock
/// in the same order.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Prefetch {
    pub accounts: BTreeSet<AccountId>,
    pub draws: BTreeSet<DrawId>,
    pub payments: BTreeSet<PaymentId>,
    /// The payments whose charges are read, all of them.
    pub charges: BTreeSet<PaymentId>,
    pub keys: BTreeSet<KeyId>,
}

impl Prefetch {
    pub fn is_empty(&self) -> bool {
        // Charges are read only for payments that are read too.
        self.draws.is_empty() && self.accounts.is_empty() && self.payments.is_empty() && self.keys.is_empty()
    }

    /// Everything that these records need.
    pub fn of<'r>(records: impl IntoIterator<Item = &'r Record>) -> Prefetch {
        let mut prefetch = Prefetch::default();
        for record in records {
            prefetch.add(record);
        }
        prefetch
    }

    fn add(&mut self, record: &Record) {
        if let Some(fence) = record.fence() {
            self.draws.insert(fence.draw);
        }
        match record {
            Record::Order(order) => {
                self.keys.extend(order.key.map(|key| key.id));
                if order.reserved_until.is_none() {
                    self.accounts.insert(AccountId::wallet(order.user));
                    self.accounts.insert(AccountId::escrow(order.fence.draw));
                }
            }
            Record::Pay(pay) => {
                self.keys.extend(pay.key.map(|key| key.id));
                self.payments.insert(pay.payment);
                self.accounts.insert(AccountId::wallet(pay.user));
                self.accounts.insert(AccountId::escrow(pay.fence.draw));
            }
            Record::GiveBack(it) => drop(self.payments.insert(it.payment)),
            Record::Expire(it) => drop(self.payments.insert(it.payment)),
            Record::BeginCharge(it) => {
                self.keys.extend(it.key.map(|key| key.id));
                self.payments.insert(it.payment);
            }
            Record::EndCharge(it) => {
                // Only an admin's key is checked; the end of a charge replaces what its request stored.
                self.keys.extend(it.key.filter(|_| it.admin.is_some()).map(|key| key.id));
                self.payments.insert(it.payment);
                self.charges.insert(it.payment);
                self.accounts.insert(AccountId::CLEARING);
                self.accounts.insert(AccountId::wallet(it.user));
                self.accounts.extend(it.held.iter().map(|held| AccountId::escrow(held.fence.draw)));
            }
            Record::BeginDeposit(it) => {
                self.keys.extend(it.key.map(|key| key.id));
            }
            Record::BeginWithdrawal(it) => {
                self.keys.extend(it.key.map(|key| key.id));
                self.accounts.insert(AccountId::wallet(it.user));
                self.accounts.insert(AccountId::held(it.user));
            }
            Record::EndWithdrawal(it) => {
                self.keys.extend(it.key.map(|key| key.id));
                self.payments.insert(it.payment);
                self.accounts.insert(AccountId::CLEARING);
                self.accounts.insert(AccountId::wallet(it.user));
                self.accounts.insert(AccountId::held(it.user));
            }
        }
    }
}
