//! The transactions of a draw's life, statement for statement as persistence writes them: opened, sealed,
//! conducted, settled and refunded in counted steps with a stored cursor.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lottery::domain::draw::{Times, Winning};
use lottery::domain::game::Pick;
use lottery::domain::id::{DrawId, PaymentId, TicketId, UserId};
use lottery::domain::ledger::{AccountId, Ledger, Transfer, TransferKind};
use lottery::domain::lottery::DrawStatus;
use lottery::domain::money::Money;
use lottery::domain::record::Fence;
use uuid::Uuid;

use super::{Cancellation, JACKPOT, ResultRow, Store, TicketRow, mask};
use crate::facts::{Fact, Prizes};

/// A transaction of its own. Run again after a failure it does the same.
#[derive(Clone, Debug)]
pub enum Step {
    Open,
    Reschedule(Times),
    Seal,
    BeginCancel { reason: String },
    Conduct { pick: Pick, at: Timestamp },
    Count { winning: Winning, limit: i64, at: Timestamp },
    PayPrizes { winning: Winning, limit: i64, at: Timestamp },
    Refund { limit: i64, at: Timestamp },
}

/// What a step that was committed has to say.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Output {
    Opened,
    Rescheduled,
    Sealed(i64),
    Cancelling(i64),
    Conducted(Winning),
    Counted { all: bool },
    Paid { all: bool },
    Refunded { all: bool },
}

/// The epoch has passed.
#[derive(Debug)]
pub struct Stale;

impl Store {
    /// Locks a draw's sales and checks the epoch; returns how many tickets are sold.
    pub(super) fn lock(&self, fence: Fence) -> Result<i64, Stale> {
        let row = &self.draws[&fence.draw];
        if row.epoch == fence.epoch { Ok(row.sold) } else { Err(Stale) }
    }

    /// Takes a step, whole or not at all.
    pub fn step(&mut self, fence: Fence, step: &Step) -> Result<Output, Stale> {
        let sold = self.lock(fence)?;
        let draw = fence.draw;
        match step {
            Step::Open => {
                self.set_status(draw, DrawStatus::Open);
                Ok(Output::Opened)
            }
            Step::Reschedule(times) => {
                self.draw_mut(draw).times = *times;
                self.facts.push(Fact::CutOff { draw: draw.0, at: times.sales_close_at.as_second() });
                Ok(Output::Rescheduled)
            }
            Step::Seal => {
                self.nothing_reserved(draw);
                self.facts.push(Fact::Sealed { draw: draw.0, tickets: sold });
                self.set_status(draw, DrawStatus::Closed);
                Ok(Output::Sealed(self.take_over(draw)))
            }
            Step::BeginCancel { reason } => {
                self.nothing_reserved(draw);
                self.draw_mut(draw).cancellation = Some(Cancellation { reason: reason.clone(), cursor: 0 });
                self.set_status(draw, DrawStatus::Cancelling);
                Ok(Output::Cancelling(self.take_over(draw)))
            }
            Step::Conduct { pick, at } => Ok(Output::Conducted(self.conduct(draw, *pick, *at))),
            Step::Count { winning, limit, at } => {
                Ok(Output::Counted { all: self.count(draw, sold, *winning, *limit, *at) })
            }
            Step::PayPrizes { winning, limit, at } => {
                Ok(Output::Paid { all: self.pay_prizes(draw, sold, *winning, *limit, *at) })
            }
            Step::Refund { limit, at } => Ok(Output::Refunded { all: self.refund(draw, sold, *limit, *at) }),
        }
    }

    fn set_status(&mut self, draw: DrawId, status: DrawStatus) {
        self.draw_mut(draw).status = status;
        self.facts.push(Fact::Status { draw: draw.0, status: status.as_str() });
    }

    fn nothing_reserved(&self, draw: DrawId) {
        let reserved = self.tickets.values().any(|row| row.draw == draw && row.status == "reserved");
        assert!(!reserved, "draw {draw} still has reserved tickets");
    }

    fn open(&self, accounts: &BTreeSet<AccountId>) -> Ledger {
        Ledger::new(accounts.iter().map(|id| (*id, self.accounts[id])))
    }

    /// The paid tickets with numbers above `from` up to `to`, in the order of their numbers.
    fn numbered(&self, draw: DrawId, from: i64, to: i64) -> BTreeMap<i64, (TicketId, &TicketRow)> {
        let of_draw = self.tickets.iter().filter(|(_, row)| row.draw == draw);
        let numbered = of_draw.filter_map(|(id, row)| Some((row.number?, (*id, row))));
        numbered.filter(|(number, _)| (from + 1..=to).contains(number)).collect()
    }

    fn conduct(&mut self, draw: DrawId, pick: Pick, at: Timestamp) -> Winning {
        let (escrow, account) = (AccountId::escrow(draw), AccountId::jackpot(JACKPOT));
        let mut ledger = self.open(&BTreeSet::from([escrow, account]));
        let jackpot = ledger.balance(account).unwrap();
        if jackpot > Money::ZERO {
            ledger.transfer(house(account, escrow, jackpot, TransferKind::Jackpot, at)).unwrap();
        }
        self.write_ledger(&ledger);
        let winning = Winning { pick, jackpot };
        let row = self.draw_mut(draw);
        let tiers = row.rules.prizes.tiers().iter().map(|tier| (tier.matches, 0, Money::ZERO)).collect();
        row.result = Some(ResultRow { winning, counted: false, cursor: 0, tiers });
        self.facts.push(Fact::Numbers { draw: draw.0, mask: mask(pick), jackpot: jackpot.minor() });
        self.set_status(draw, DrawStatus::Settling);
        winning
    }

    fn result(&mut self, draw: DrawId) -> &mut ResultRow {
        self.draw_mut(draw).result.as_mut().expect("a settling draw has its numbers")
    }

    fn count(&mut self, draw: DrawId, sold: i64, winning: Winning, limit: i64, at: Timestamp) -> bool {
        let result = self.result(draw);
        if result.counted {
            return true;
        }
        let from = result.cursor;
        let to = sold.min(from + limit);
        let hits: Vec<u8> =
            self.numbered(draw, from, to).values().map(|(_, row)| row.pick.matches(winning.pick)).collect();
        let result = self.result(draw);
        for (matches, winners, _) in &mut result.tiers {
            *winners += hits.iter().filter(|hit| *hit == matches).count() as i64;
        }
        if to < sold {
            result.cursor = to;
            return false;
        }
        self.fix_prizes(draw, sold, winning, at);
        true
    }

    fn fix_prizes(&mut self, draw: DrawId, sold: i64, winning: Winning, at: Timestamp) {
        let rules = self.draws[&draw].rules.clone();
        let winners: Vec<u64> = self.result(draw).tiers.iter().map(|tier| tier.1.unsigned_abs()).collect();
        let sales = rules.price.checked_mul(sold.unsigned_abs()).unwrap();
        let settled = rules.prizes.settle(sales, rules.fund_share, winning.jackpot, &winners).unwrap();
        let (escrow, jackpot) = (AccountId::escrow(draw), AccountId::jackpot(JACKPOT));
        let mut ledger = self.open(&BTreeSet::from([escrow, jackpot, AccountId::RESERVE, AccountId::REVENUE]));
        for (debit, credit, amount, kind) in [
            (AccountId::RESERVE, escrow, settled.from_reserve, TransferKind::Reserve),
            (escrow, AccountId::REVENUE, settled.revenue, TransferKind::Revenue),
            (escrow, jackpot, settled.rollover, TransferKind::Rollover),
        ] {
            if amount > Money::ZERO {
                ledger.transfer(house(debit, credit, amount, kind, at)).unwrap();
            }
        }
        assert_eq!(ledger.balance(escrow), Some(settled.prizes), "the escrow of draw {draw} holds its prizes");
        self.write_ledger(&ledger);
        let result = self.result(draw);
        for (row, tier) in result.tiers.iter_mut().zip(&settled.tiers) {
            row.2 = tier.prize;
        }
        (result.counted, result.cursor) = (true, 0);
        let tiers =
            result.tiers.iter().map(|(matches, winners, prize)| (*matches, *winners, prize.minor())).collect();
        let (fund, rollover) = (settled.prize_fund.minor(), settled.rollover.minor());
        self.facts.push(Fact::Prizes(Prizes { draw: draw.0, fund, rollover, tiers }));
    }

    fn pay_prizes(&mut self, draw: DrawId, sold: i64, winning: Winning, limit: i64, at: Timestamp) -> bool {
        let result = self.result(draw);
        let from = result.cursor;
        let to = sold.min(from + limit);
        let prizes: BTreeMap<u8, Money> = result.tiers.iter().map(|tier| (tier.0, tier.2)).collect();
        let prize = |(ticket, row): (TicketId, &TicketRow)| {
            let prize = *prizes.get(&row.pick.matches(winning.pick))?;
            (prize > Money::ZERO).then_some((row.user, ticket.0, prize))
        };
        let winners: Vec<(UserId, Uuid, Money)> =
            self.numbered(draw, from, to).into_values().filter_map(prize).collect();
        self.pay_from_escrow(draw, &winners, TransferKind::Prize, at);
        self.result(draw).cursor = to;
        if to == sold {
            self.set_status(draw, DrawStatus::Completed);
        }
        to == sold
    }

    fn refund(&mut self, draw: DrawId, sold: i64, limit: i64, at: Timestamp) -> bool {
        let row = &self.draws[&draw];
        let (price, from) = (row.rules.price, row.cancellation.as_ref().unwrap().cursor);
        let mut due: Vec<(PaymentId, UserId, u64)> = Vec::new();
        let mut to = from;
        for (number, (_, row)) in self.numbered(draw, from, sold.min(from + limit + 100)) {
            match due.last_mut() {
                Some(last) if last.0 == row.payment => last.2 += 1,
                _ if number > from + limit => break,
                _ => due.push((row.payment, row.user, 1)),
            }
            to = number;
        }
        assert!(to > from || from >= sold, "draw {draw} has no ticket {}", from + 1);
        let amount = |(payment, user, tickets): (PaymentId, UserId, u64)| {
            (user, payment.0, price.checked_mul(tickets).unwrap())
        };
        let due: Vec<_> = due.into_iter().map(amount).collect();
        self.pay_from_escrow(draw, &due, TransferKind::Refund, at);
        self.draw_mut(draw).cancellation.as_mut().unwrap().cursor = to;
        if to == sold {
            self.set_status(draw, DrawStatus::Cancelled);
        }
        to == sold
    }

    fn pay_from_escrow(&mut self, draw: DrawId, due: &[(UserId, Uuid, Money)], kind: TransferKind, at: Timestamp) {
        let escrow = AccountId::escrow(draw);
        let accounts = due.iter().map(|(user, ..)| AccountId::wallet(*user)).chain([escrow]).collect();
        let mut ledger = self.open(&accounts);
        for (user, reference, amount) in due {
            let (credit, reference, amount) = (AccountId::wallet(*user), Some(*reference), *amount);
            ledger.transfer(Transfer { debit: escrow, credit, amount, kind, reference, at }).unwrap();
        }
        self.write_ledger(&ledger);
    }
}

/// A transfer between the house's own accounts.
fn house(debit: AccountId, credit: AccountId, amount: Money, kind: TransferKind, at: Timestamp) -> Transfer {
    Transfer { debit, credit, amount, kind, reference: None, at }
}
