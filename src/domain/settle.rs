//! The operator's side of a settlement: the jackpot that enters a draw with its winning numbers, and the part of
//! the draw's money that is no prize and leaves it once every ticket is counted. [`super::prize`] divides the money,
//! and [`super::payout`] pays the winners. This file reads and writes nothing: the caller locks the accounts and
//! writes the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::audit::AuditEntry;
use super::beacon::VerifiedRound;
use super::draw::WinningPick;
use super::game::Pick;
use super::id::DrawId;
use super::ledger::{AccountId, Ledger, LedgerError, Transfer, TransferKind};
use super::lottery::Rules;
use super::money::Money;
use super::payout::Progress;
use super::prize::{Overflow, Settlement};
use super::record::Fence;

/// The step that stores the winning numbers and moves the lottery's jackpot into the draw.
#[derive(Debug)]
pub struct Conduct {
    pub fence: Fence,
    pub rules: Arc<Rules>,
    pub pick: Pick,
    /// What the numbers come from, if the draw has a beacon.
    pub round: Option<VerifiedRound>,
    pub at: Timestamp,
    pub audit: Option<AuditEntry>,
}

impl Conduct {
    /// The accounts that the step changes. `jackpot` is the account of the lottery's jackpot.
    pub fn accounts(&self, jackpot: AccountId) -> BTreeSet<AccountId> {
        BTreeSet::from([AccountId::escrow(self.fence.draw), jackpot])
    }

    /// Moves the whole jackpot into the draw.
    ///
    /// # Errors
    /// [`LedgerError`]; the caller must write nothing then.
    pub fn apply(&self, jackpot: AccountId, ledger: &mut Ledger) -> Result<WinningPick, LedgerError> {
        let amount = ledger.balance(jackpot).ok_or(LedgerError::UnknownAccount(jackpot))?;
        let escrow = AccountId::escrow(self.fence.draw);
        transfer(ledger, jackpot, escrow, amount, TransferKind::Jackpot, self.at)?;
        Ok(WinningPick { pick: self.pick, drawn_at: self.at, jackpot: amount })
    }
}

/// The step that stores the prizes, once every ticket is counted. The part of the escrow that is no prize leaves the
/// draw.
#[derive(Debug)]
pub struct FixPrizes {
    pub fence: Fence,
    pub rules: Arc<Rules>,
    pub winning: WinningPick,
    /// The number of tickets for each number of matches.
    pub hits: BTreeMap<i64, i64>,
    pub at: Timestamp,
}

/// What is stored of a settlement whose winning numbers are known: the prizes are fixed first, and paid then.
#[derive(Clone, PartialEq, Debug)]
pub enum StoredSettlement {
    /// Every ticket must be counted, also after a crash, and [`FixPrizes`] written. Then it is read again.
    NotFixed,
    /// The winners must be paid, from this progress on.
    Fixed {
        /// The prize of a winning ticket, by its matches.
        prizes: Vec<(i64, Money)>,
        progress: Progress,
    },
}

/// Why the prizes of a draw cannot be fixed. This is a bug; nothing is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FixPrizesError {
    #[error("the prizes of draw {0} are fixed already")]
    AlreadyFixed(DrawId),
    #[error("of draw {0} not every ticket was counted once")]
    WrongCount(DrawId),
    #[error("the prizes of draw {0} do not fit")]
    Overflow(DrawId),
    #[error("the escrow of draw {0} does not hold its prizes")]
    WrongEscrow(DrawId),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl FixPrizes {
    /// The accounts that the step changes. `jackpot` is the account of the lottery's jackpot.
    pub fn accounts(&self, jackpot: AccountId) -> BTreeSet<AccountId> {
        BTreeSet::from([AccountId::escrow(self.fence.draw), jackpot, AccountId::RESERVE, AccountId::REVENUE])
    }

    /// Divides the money of the draw, and moves what is no prize between the operator's accounts. `fixed`: whether
    /// the prizes were fixed before. `sold` is the number of paid tickets of the draw.
    ///
    /// # Errors
    /// [`FixPrizesError`]; the caller must not write the transfers that the ledger has made until then.
    pub fn apply(
        &self,
        fixed: bool,
        sold: i64,
        jackpot: AccountId,
        ledger: &mut Ledger,
    ) -> Result<Settlement, FixPrizesError> {
        let draw = self.fence.draw;
        if fixed {
            return Err(FixPrizesError::AlreadyFixed(draw));
        }
        if self.hits.values().sum::<i64>() != sold {
            return Err(FixPrizesError::WrongCount(draw));
        }
        let settled = self.divide(sold)?;
        let escrow = AccountId::escrow(draw);
        for (debit, credit, amount, kind) in [
            (AccountId::RESERVE, escrow, settled.from_reserve, TransferKind::Reserve),
            (escrow, AccountId::REVENUE, settled.revenue, TransferKind::Revenue),
            (escrow, jackpot, settled.rollover, TransferKind::Rollover),
        ] {
            transfer(ledger, debit, credit, amount, kind, self.at)?;
        }
        if ledger.balance(escrow) != Some(settled.prizes) {
            return Err(FixPrizesError::WrongEscrow(draw));
        }
        Ok(settled)
    }

    /// How the money of the draw is divided among the counted tickets.
    ///
    /// # Errors
    /// [`FixPrizesError::Overflow`] if the prizes do not fit.
    pub fn divide(&self, sold: i64) -> Result<Settlement, FixPrizesError> {
        let Rules { price, fund_share, prizes, .. } = &*self.rules;
        let winners = |matches| self.hits.get(&i64::from(matches)).map_or(0, |tickets| tickets.unsigned_abs());
        let winners: Vec<u64> = prizes.tiers().iter().map(|tier| winners(tier.matches)).collect();
        let overflow = FixPrizesError::Overflow(self.fence.draw);
        let sales = price.checked_mul(sold.unsigned_abs()).ok_or(overflow)?;
        prizes.settle(sales, *fund_share, self.winning.jackpot, &winners).map_err(|Overflow| overflow)
    }
}

/// Moves the jackpot of a draw that is cancelled after its numbers were drawn back to its lottery.
///
/// # Errors
/// [`LedgerError`]; the caller must write nothing then.
pub fn return_jackpot(
    draw: DrawId,
    amount: Money,
    jackpot: AccountId,
    at: Timestamp,
    ledger: &mut Ledger,
) -> Result<(), LedgerError> {
    transfer(ledger, AccountId::escrow(draw), jackpot, amount, TransferKind::Rollover, at)
}

/// Makes a transfer between two accounts of the operator, if there is something to move.
fn transfer(
    ledger: &mut Ledger,
    debit: AccountId,
    credit: AccountId,
    amount: Money,
    kind: TransferKind,
    at: Timestamp,
) -> Result<(), LedgerError> {
    if amount == Money::ZERO {
        return Ok(());
    }
    ledger.transfer(Transfer { debit, credit, amount, kind, reference: None, at, balance_after: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::game::Game;
    use crate::domain::id::LotteryId;
    use crate::domain::money::Share;
    use crate::domain::prize::{Award, PrizeTable, Tier};

    const FENCE: Fence = Fence { draw: DrawId(7), epoch: 3 };
    const ESCROW: AccountId = AccountId(7 * 8 + 3);
    const JACKPOT: AccountId = AccountId(12);
    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn rules() -> Arc<Rules> {
        let game = Game::new(5, 36).unwrap();
        let half = Share::new(5_000).unwrap();
        let shared = Award::Shared { share: half, minimum: None };
        let tiers =
            [(5, shared), (3, Award::Fixed(Money::new(40)))].map(|(matches, award)| Tier { matches, award });
        let prizes = PrizeTable::new(game, tiers.to_vec()).unwrap();
        let lottery = LotteryId("5of36".to_owned());
        Arc::new(Rules { lottery, game, price: Money::new(100), fund_share: half, prizes })
    }

    fn winning(jackpot: i64) -> WinningPick {
        let pick = rules().game.pick(&[1, 2, 3, 4, 5]).unwrap();
        WinningPick { pick, drawn_at: AT, jackpot: Money::new(jackpot) }
    }

    fn conduct() -> Conduct {
        Conduct { fence: FENCE, rules: rules(), pick: winning(0).pick, round: None, at: AT, audit: None }
    }

    fn fix_prizes(jackpot: i64, hits: &[(i64, i64)]) -> FixPrizes {
        let (winning, hits) = (winning(jackpot), hits.iter().copied().collect());
        FixPrizes { fence: FENCE, rules: rules(), winning, hits, at: AT }
    }

    fn ledger(accounts: &BTreeSet<AccountId>, escrow: i64, jackpot: i64) -> Ledger {
        let balance = |id| {
            if id == ESCROW {
                escrow
            } else if id == JACKPOT {
                jackpot
            } else {
                0
            }
        };
        Ledger::new(accounts.iter().map(|id| (*id, Money::new(balance(*id)))))
    }

    /// The transfers of the ledger: from, to, amount.
    fn moved(ledger: &Ledger) -> Vec<(AccountId, AccountId, i64, TransferKind)> {
        ledger.made().iter().map(|it| (it.debit, it.credit, it.amount.minor(), it.kind)).collect()
    }

    #[test]
    fn the_whole_jackpot_enters_the_draw() {
        let step = conduct();
        let mut full = ledger(&step.accounts(JACKPOT), 300, 50);
        assert_eq!(step.apply(JACKPOT, &mut full), Ok(winning(50)));
        assert_eq!(moved(&full), [(JACKPOT, ESCROW, 50, TransferKind::Jackpot)]);
        let mut empty = ledger(&step.accounts(JACKPOT), 300, 0);
        assert_eq!(step.apply(JACKPOT, &mut empty), Ok(winning(0)));
        assert_eq!(moved(&empty), []);
    }

    #[test]
    fn what_is_no_prize_leaves_the_draw() {
        // Sales of 300 and a jackpot of 50: the fund has 200. One fixed prize leaves 160, and half of it is shared.
        let step = fix_prizes(50, &[(5, 1), (3, 1), (0, 1)]);
        let mut money = ledger(&step.accounts(JACKPOT), 350, 0);
        let settled = step.apply(false, 3, JACKPOT, &mut money).unwrap();
        assert_eq!(settled.prizes, Money::new(120));
        let expected = [
            (ESCROW, AccountId::REVENUE, 150, TransferKind::Revenue),
            (ESCROW, JACKPOT, 80, TransferKind::Rollover),
        ];
        assert_eq!(moved(&money), expected);
    }

    #[test]
    fn the_reserve_pays_the_guaranteed_prizes_that_the_fund_cannot() {
        // A sale of 60: the fund has 30, and the fixed prize is 40.
        let step = fix_prizes(0, &[(3, 1)]);
        let rules = Rules { price: Money::new(60), ..Rules::clone(&step.rules) };
        let step = FixPrizes { rules: Arc::new(rules), ..step };
        let mut money = ledger(&step.accounts(JACKPOT), 60, 0);
        step.apply(false, 1, JACKPOT, &mut money).unwrap();
        let expected = [
            (AccountId::RESERVE, ESCROW, 10, TransferKind::Reserve),
            (ESCROW, AccountId::REVENUE, 30, TransferKind::Revenue),
        ];
        assert_eq!(moved(&money), expected);
    }

    #[test]
    fn prizes_that_do_not_add_up_are_not_fixed() {
        let step = fix_prizes(0, &[(3, 1), (0, 1)]);
        let refusal = |fixed, sold, escrow| {
            step.apply(fixed, sold, JACKPOT, &mut ledger(&step.accounts(JACKPOT), escrow, 0)).err()
        };
        let draw = FENCE.draw;
        assert_eq!(refusal(true, 2, 200), Some(FixPrizesError::AlreadyFixed(draw)));
        assert_eq!(refusal(false, 3, 200), Some(FixPrizesError::WrongCount(draw)));
        assert_eq!(refusal(false, 2, 201), Some(FixPrizesError::WrongEscrow(draw)));
        let short = FixPrizesError::Ledger(LedgerError::InsufficientFunds);
        assert_eq!(refusal(false, 2, 99), Some(short));
        assert_eq!(refusal(false, 2, 200), None);
        let many = fix_prizes(0, &[(0, i64::MAX)]);
        let mut money = ledger(&many.accounts(JACKPOT), 0, 0);
        assert_eq!(many.apply(false, i64::MAX, JACKPOT, &mut money), Err(FixPrizesError::Overflow(draw)));
    }
}
