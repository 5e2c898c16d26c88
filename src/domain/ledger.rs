//! The double-entry ledger: a balance changes only by a transfer from one account to another, so all balances
//! always sum to zero. This file knows no tickets and no database; it works on the accounts that the caller
//! loaded.
//!
//! A balance is credits minus debits. When a player pays money in, the clearing account goes below zero by
//! the same amount: that is what the payment provider owes the operator.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::id::{DrawId, UserId};
use super::money::Money;

/// An account's id: its owner and its kind in one number, `owner * 8 + kind`. A constraint of the schema
/// checks it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AccountId(pub i64);

impl AccountId {
    /// What the payment provider owes the operator: the balance is below zero by all the money that came in.
    pub const CLEARING: AccountId = AccountId(0);
    /// The operator's reserve, which pays the guaranteed prizes that a fund cannot; may be below zero.
    pub const RESERVE: AccountId = AccountId(8);
    /// What the operator has earned.
    pub const REVENUE: AccountId = AccountId(16);

    /// A player's wallet.
    pub fn wallet(user: UserId) -> AccountId {
        AccountId(user.0 * 8 + 1)
    }

    /// The money of a player's open withdrawals: taken from the wallet and not yet paid out.
    pub fn held(user: UserId) -> AccountId {
        AccountId(user.0 * 8 + 2)
    }

    /// A draw's sales until they become prizes, revenue or refunds.
    pub fn escrow(draw: DrawId) -> AccountId {
        AccountId(draw.0 * 8 + 3)
    }

    /// What a lottery's last draw left for its next one; `seq` is the lottery's number in the database.
    pub fn jackpot(seq: i64) -> AccountId {
        AccountId(seq * 8 + 4)
    }

    /// The owner, if this account is a wallet.
    pub fn wallet_owner(self) -> Option<UserId> {
        (self.0 % 8 == 1).then_some(UserId(self.0 / 8))
    }

    /// Only the provider's debt and the operator's guarantee may go below zero.
    fn may_be_negative(self) -> bool {
        self == AccountId::CLEARING || self == AccountId::RESERVE
    }
}

/// What a transfer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferKind {
    Deposit,
    Purchase,
    Prize,
    Refund,
    Withdrawal,
    Jackpot,
    Rollover,
    Reserve,
    Revenue,
}

impl TransferKind {
    /// The kinds that change a wallet.
    pub const OF_WALLETS: [TransferKind; 5] = [
        TransferKind::Deposit,
        TransferKind::Purchase,
        TransferKind::Prize,
        TransferKind::Refund,
        TransferKind::Withdrawal,
    ];

    /// The inverse of [`TransferKind::as_str`], for the kinds that change a wallet.
    pub fn parse_of_wallet(text: &str) -> Option<TransferKind> {
        TransferKind::OF_WALLETS.into_iter().find(|kind| kind.as_str() == text)
    }

    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            TransferKind::Deposit => "deposit",
            TransferKind::Purchase => "purchase",
            TransferKind::Prize => "prize",
            TransferKind::Refund => "refund",
            TransferKind::Withdrawal => "withdrawal",
            TransferKind::Jackpot => "jackpot",
            TransferKind::Rollover => "rollover",
            TransferKind::Reserve => "reserve",
            TransferKind::Revenue => "revenue",
        }
    }
}

/// An amount to move, or moved. `reference` is the payment, or the ticket of a prize, if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer {
    pub debit: AccountId,
    pub credit: AccountId,
    pub amount: Money,
    pub kind: TransferKind,
    pub reference: Option<Uuid>,
    pub at: Timestamp,
    /// The balance that the transfer left in the wallet of its user. The ledger sets it when it makes the
    /// transfer.
    pub balance_after: Option<Money>,
}

impl Transfer {
    /// The user whose wallet the transfer changes, if it changes one.
    pub fn user(&self) -> Option<UserId> {
        self.debit.wallet_owner().or(self.credit.wallet_owner())
    }
}

/// Why the ledger refused a transfer. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the account holds less than that")]
    InsufficientFunds,
    #[error("account {0:?} was not loaded")]
    UnknownAccount(AccountId),
    #[error("a transfer moves a positive amount between two accounts")]
    Invalid,
    #[error("the balance would not fit")]
    Overflow,
}

/// A few accounts, loaded for one transaction, and the transfers between them.
#[derive(Clone, Default, Debug)]
pub struct Ledger {
    balances: HashMap<AccountId, Money>,
    made: Vec<Transfer>,
    /// The accounts whose balance was too low for a transfer.
    short: BTreeSet<AccountId>,
}

impl Ledger {
    /// The accounts with the balances that the transaction read and locked.
    pub fn new(balances: impl IntoIterator<Item = (AccountId, Money)>) -> Ledger {
        Ledger { balances: balances.into_iter().collect(), ..Ledger::default() }
    }

    /// The balance after the transfers made so far.
    pub fn balance(&self, account: AccountId) -> Option<Money> {
        self.balances.get(&account).copied()
    }

    /// Moves the amount; or changes nothing and returns the reason.
    pub fn transfer(&mut self, transfer: Transfer) -> Result<(), LedgerError> {
        let Transfer { debit, credit, amount, .. } = transfer;
        if debit == credit || amount <= Money::ZERO {
            return Err(LedgerError::Invalid);
        }
        let from = self.balance(debit).ok_or(LedgerError::UnknownAccount(debit))?;
        let to = self.balance(credit).ok_or(LedgerError::UnknownAccount(credit))?;
        let from = from.checked_sub(amount).ok_or(LedgerError::Overflow)?;
        let to = to.checked_add(amount).ok_or(LedgerError::Overflow)?;
        if from < Money::ZERO && !debit.may_be_negative() {
            self.short.insert(debit);
            return Err(LedgerError::InsufficientFunds);
        }

        // Nothing can fail from here on.
        self.balances.insert(debit, from);
        self.balances.insert(credit, to);
        let balance_after = match (debit.wallet_owner(), credit.wallet_owner()) {
            (Some(_), _) => Some(from),
            (None, Some(_)) => Some(to),
            (None, None) => None,
        };
        self.made.push(Transfer { balance_after, ..transfer });
        Ok(())
    }

    /// The transfers made, in order.
    pub fn made(&self) -> &[Transfer] {
        &self.made
    }

    /// The balances that a transfer has changed, in the order of their ids.
    pub fn changed(&self) -> Vec<(AccountId, Money)> {
        self.balances_of(self.moved().collect())
    }

    /// The changed balances and those that were too low for a transfer: a refusal depends on a balance just
    /// as a transfer does.
    pub fn relied_on(&self) -> Vec<(AccountId, Money)> {
        self.balances_of(self.moved().chain(self.short.iter().copied()).collect())
    }

    fn moved(&self) -> impl Iterator<Item = AccountId> {
        self.made.iter().flat_map(|made| [made.debit, made.credit])
    }

    fn balances_of(&self, mut ids: Vec<AccountId>) -> Vec<(AccountId, Money)> {
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| (id, self.balances[&id])).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accounts() -> [AccountId; 6] {
        [
            AccountId::CLEARING,
            AccountId::RESERVE,
            AccountId::REVENUE,
            AccountId::wallet(UserId(1)),
            AccountId::wallet(UserId(2)),
            AccountId::escrow(DrawId(1)),
        ]
    }

    fn transfer(debit: AccountId, credit: AccountId, amount: i64) -> Transfer {
        let (amount, at) = (Money::new(amount), Timestamp::UNIX_EPOCH);
        let (kind, reference, balance_after) = (TransferKind::Deposit, None, None);
        Transfer { debit, credit, amount, kind, reference, at, balance_after }
    }

    #[test]
    fn refusals_in_order_of_precedence() {
        let [clearing, _, _, ann, bob, _] = accounts();
        let mut ledger = Ledger::new([(clearing, Money::ZERO), (ann, Money::new(5)), (bob, Money::new(i64::MAX))]);
        let stranger = AccountId::wallet(UserId(9));
        for (debit, credit, amount, refusal) in [
            (ann, ann, 0, LedgerError::Invalid),
            (ann, stranger, -1, LedgerError::Invalid),
            (stranger, ann, 1, LedgerError::UnknownAccount(stranger)),
            (ann, stranger, 9, LedgerError::UnknownAccount(stranger)),
            (ann, bob, 9, LedgerError::Overflow),
            (ann, clearing, 6, LedgerError::InsufficientFunds),
        ] {
            assert_eq!(ledger.transfer(transfer(debit, credit, amount)), Err(refusal));
        }
        assert!(ledger.made().is_empty() && ledger.changed().is_empty(), "a refusal changes nothing");
        assert_eq!(ledger.relied_on(), [(ann, Money::new(5))], "but it rests on what was too little");
        assert_eq!(ledger.transfer(transfer(ann, clearing, 5)), Ok(()));
        let made = ledger.made()[0];
        assert_eq!((made.user(), made.balance_after), (Some(UserId(1)), Some(Money::ZERO)));
    }

    proptest! {
        #[test]
        fn whatever_is_tried_balances_sum_to_zero_and_no_wallet_is_overdrawn(
            tries in prop::collection::vec((0..6_usize, 0..6_usize, -3..50_i64), 0..200)
        ) {
            let mut ledger = Ledger::new(accounts().map(|id| (id, Money::ZERO)));
            for (debit, credit, amount) in tries {
                let _ = ledger.transfer(transfer(accounts()[debit], accounts()[credit], amount));
                let balances = accounts().map(|id| ledger.balance(id).map_or(0, Money::minor));
                prop_assert_eq!(balances.iter().sum::<i64>(), 0);
                prop_assert!(balances[2..].iter().all(|balance| *balance >= 0));
            }
            for id in accounts() {
                let moved: i64 = ledger.made().iter().map(|made| {
                    let amount = made.amount.minor();
                    i64::from(made.credit == id) * amount - i64::from(made.debit == id) * amount
                }).sum();
                prop_assert_eq!(ledger.balance(id).map(Money::minor), Some(moved));
            }
        }
    }
}
