//! The transactions of a draw's steps, with the same statements as in production: open, seal, conduct, cancel,
//! and fix the prizes. Prizes and refunds are paid in `payout`.

use std::collections::BTreeSet;

use lottery::domain::draw::{Times, WinningPick};
use lottery::domain::id::DrawId;
use lottery::domain::ledger::{AccountId, Ledger};
use lottery::domain::lottery::DrawStatus;
use lottery::domain::money::Money;
use lottery::domain::payout::{PayStep, Payout, Progress};
use lottery::domain::record::Fence;
use lottery::domain::settle::{Conduct, FixPrizes};
use lottery::domain::writer::Mark;
use lottery::domain::writer_cache::Invalidation;
use verifiable_draw::merkle::Head;
use verifiable_draw::merkle::edge::Edge;

use super::{Cancellation, JACKPOT_ACCOUNT, ResultRow, Store, mask, second};
use crate::facts::{DrawTimes, Fact, Prizes};

/// A transaction of its own. If it runs again after a failure, it does the same.
#[derive(Debug)]
pub enum Step {
    Open,
    Reschedule(Times),
    Seal,
    BeginCancel { reason: String },
    Conduct(Conduct),
    FixPrizes(FixPrizes),
    Pay(PayStep),
}

impl Step {
    /// The part of the writer's cache that the step may change.
    pub fn invalidates(&self) -> Invalidation {
        match self {
            Step::Pay(pay) => pay.invalidation(),
            _ => Invalidation::default(),
        }
    }
}

/// The output of a step that was committed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Output {
    Opened,
    Rescheduled(Times),
    Sealed(i64),
    Cancelling(i64),
    Conducted(WinningPick),
    PrizesFixed,
    Paid { payout: Payout, all: bool },
}

pub fn plain(times: &Times) -> DrawTimes {
    let Times { sales_open_at, sales_close_at, draw_at } = *times;
    DrawTimes { open: sales_open_at.map(second), close: second(sales_close_at), draw: second(draw_at) }
}

/// The draw has a newer epoch.
#[derive(Debug)]
pub struct StaleEpoch;

impl Store {
    /// Locks a draw's row and checks the epoch; returns the number of sold tickets.
    pub(super) fn lock(&self, fence: Fence) -> Result<i64, StaleEpoch> {
        let row = &self.draws[&fence.draw];
        if row.epoch == fence.epoch { Ok(row.sold) } else { Err(StaleEpoch) }
    }

    /// Runs a step, completely or not at all.
    pub fn step(&mut self, mark: Mark, fence: Fence, step: &Step) -> Result<Output, StaleEpoch> {
        let sold = self.lock(fence)?;
        self.mark(mark);
        let draw = fence.draw;
        match step {
            Step::Open => {
                let edge = Some(Edge::new().to_bytes());
                self.draw_mut(draw).edge.clone_from(&edge);
                self.facts.push(Fact::Edge { draw: draw.0, edge });
                self.set_status(draw, DrawStatus::Open);
                Ok(Output::Opened)
            }
            Step::Reschedule(times) => {
                self.draw_mut(draw).times = *times;
                self.facts.push(Fact::Times { draw: draw.0, times: plain(times) });
                Ok(Output::Rescheduled(*times))
            }
            Step::Seal => {
                self.nothing_reserved(draw);
                let edge = Edge::from_bytes(self.draws[&draw].edge.as_ref().expect("an open draw has a log"));
                let Head { size, root } = edge.expect("an edge that a batch wrote").head();
                self.facts.push(Fact::Sealed { draw: draw.0, tickets: sold, orders: size as i64, root });
                self.set_status(draw, DrawStatus::Closed);
                Ok(Output::Sealed(self.take_over(draw)))
            }
            Step::BeginCancel { reason } => {
                self.nothing_reserved(draw);
                self.draw_mut(draw).cancellation =
                    Some(Cancellation { reason: reason.clone(), progress: Progress::default() });
                self.set_status(draw, DrawStatus::Cancelling);
                Ok(Output::Cancelling(self.take_over(draw)))
            }
            Step::Conduct(conduct) => Ok(Output::Conducted(self.conduct(conduct))),
            Step::FixPrizes(fix) => {
                self.fix_prizes(fix, sold);
                Ok(Output::PrizesFixed)
            }
            Step::Pay(pay) => {
                let all = self.pay(pay, sold);
                Ok(Output::Paid { payout: pay.payout, all })
            }
        }
    }

    pub(super) fn set_status(&mut self, draw: DrawId, status: DrawStatus) {
        self.draw_mut(draw).status = status;
        self.facts.push(Fact::Status { draw: draw.0, status: status.as_str() });
    }

    fn nothing_reserved(&self, draw: DrawId) {
        let reserved = self.tickets.values().any(|row| row.draw == draw && row.status == "reserved");
        assert!(!reserved, "draw {draw} still has reserved tickets");
    }

    pub(super) fn open(&self, accounts: &BTreeSet<AccountId>) -> Ledger {
        Ledger::new(accounts.iter().map(|id| (*id, self.accounts[id])))
    }

    fn conduct(&mut self, step: &Conduct) -> WinningPick {
        let draw = step.fence.draw;
        let mut ledger = self.open(&step.accounts(JACKPOT_ACCOUNT));
        let winning = step.apply(JACKPOT_ACCOUNT, &mut ledger).unwrap();
        self.write_ledger(&ledger);
        let row = self.draw_mut(draw);
        let tiers = row.rules.prizes.tiers().iter().map(|tier| (tier.matches, 0, Money::ZERO)).collect();
        row.result = Some(ResultRow { winning, counted: false, progress: Progress::default(), tiers });
        let (mask, jackpot) = (mask(winning.pick), winning.jackpot.minor());
        self.facts.push(Fact::Numbers { draw: draw.0, mask, jackpot });
        self.set_status(draw, DrawStatus::Settling);
        winning
    }

    fn result(&mut self, draw: DrawId) -> &mut ResultRow {
        self.draw_mut(draw).result.as_mut().expect("a settling draw has its numbers")
    }

    fn fix_prizes(&mut self, step: &FixPrizes, sold: i64) {
        let draw = step.fence.draw;
        let mut ledger = self.open(&step.accounts(JACKPOT_ACCOUNT));
        let settled = step.apply(self.is_counted(draw), sold, JACKPOT_ACCOUNT, &mut ledger).unwrap();
        self.write_ledger(&ledger);
        let result = self.result(draw);
        result.tiers = settled.tiers.iter().map(|it| (it.matches, it.winners as i64, it.prize)).collect();
        result.counted = true;
        let tiers =
            result.tiers.iter().map(|(matches, winners, prize)| (*matches, *winners, prize.minor())).collect();
        let (fund, rollover) = (settled.prize_fund.minor(), settled.rollover.minor());
        self.facts.push(Fact::Prizes(Prizes { draw: draw.0, fund, rollover, tiers }));
    }
}
