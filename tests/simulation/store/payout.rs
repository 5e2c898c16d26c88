//! Prizes and refunds: the reads of `db::read::payout`, and the rows that a payout step of
//! `persistence::write::payout` writes. The domain decides the steps.

use std::collections::BTreeMap;

use lottery::domain::id::{DrawId, TicketId};
use lottery::domain::money::Money;
use lottery::domain::payout::{Credit, PayStep, Payout, Progress};
use lottery::domain::settle::StoredSettlement;

use super::{Store, TicketRow};

impl Store {
    /// The paid tickets with numbers above `after` up to `to`, in the order of their numbers.
    fn numbered(&self, draw: DrawId, after: i64, to: i64) -> BTreeMap<i64, (TicketId, &TicketRow)> {
        let of_draw = self.tickets.iter().filter(|(_, row)| row.draw == draw);
        let numbered = of_draw.filter_map(|(id, row)| Some((row.number?, (*id, row))));
        numbered.filter(|(number, _)| (after + 1..=to).contains(number)).collect()
    }

    /// The number of tickets for each number of matches.
    pub fn hits(&self, draw: DrawId) -> BTreeMap<i64, i64> {
        let winning = self.draws[&draw].result.as_ref().unwrap().winning;
        let mut hits = BTreeMap::new();
        for (_, row) in self.numbered(draw, 0, self.draws[&draw].sold).into_values() {
            *hits.entry(row.pick.matches(winning.pick).into()).or_default() += 1;
        }
        hits
    }

    pub fn settlement(&self, draw: DrawId) -> StoredSettlement {
        let result = self.draws[&draw].result.as_ref().unwrap();
        if !result.counted {
            return StoredSettlement::NotFixed;
        }
        let prizes = result.tiers.iter().filter(|(.., prize)| *prize > Money::ZERO);
        let prizes = prizes.map(|(matches, _, prize)| (i64::from(*matches), *prize)).collect();
        StoredSettlement::Fixed { prizes, progress: result.progress }
    }

    pub(super) fn is_counted(&self, draw: DrawId) -> bool {
        self.draws[&draw].result.as_ref().is_some_and(|result| result.counted)
    }

    pub fn progress(&self, draw: DrawId, payout: Payout) -> Progress {
        let row = &self.draws[&draw];
        match payout {
            Payout::Prizes => row.result.as_ref().unwrap().progress,
            Payout::Refunds => row.cancellation.as_ref().unwrap().progress,
        }
    }

    /// The credits for these tickets.
    pub fn credits(&self, draw: DrawId, payout: Payout, (after, to): (i64, i64)) -> Vec<Credit> {
        let row = &self.draws[&draw];
        let credit = |(ticket, it): (TicketId, &TicketRow)| match payout {
            Payout::Prizes => {
                let result = row.result.as_ref().unwrap();
                let matches = it.pick.matches(result.winning.pick);
                let (.., amount) = *result.tiers.iter().find(|tier| tier.0 == matches)?;
                (amount > Money::ZERO).then_some(Credit { user: it.user, reference: ticket.0, amount })
            }
            Payout::Refunds => Some(Credit { user: it.user, reference: it.payment.0, amount: row.rules.price }),
        };
        self.numbered(draw, after, to).into_values().filter_map(credit).collect()
    }

    /// The number of the last ticket of the payment that this ticket belongs to.
    pub fn end_of_payment(&self, draw: DrawId, number: i64) -> i64 {
        let row = &self.draws[&draw];
        let next = self.numbered(draw, number - 1, row.sold);
        let payment = next[&number].1.payment;
        *next.iter().take_while(|(_, (_, it))| it.payment == payment).last().unwrap().0
    }

    /// Pays the credits of the step; returns whether the payout is complete.
    pub(super) fn pay(&mut self, pay: &PayStep, sold: i64) -> bool {
        let draw = pay.fence.draw;
        let mut ledger = self.open(&pay.accounts().into_iter().collect());
        let all = pay.apply(self.progress(draw, pay.payout), sold, &mut ledger).unwrap();
        self.write_ledger(&ledger);
        let row = self.draw_mut(draw);
        match pay.payout {
            Payout::Prizes => row.result.as_mut().unwrap().progress = pay.after,
            Payout::Refunds => row.cancellation.as_mut().unwrap().progress = pay.after,
        }
        if all {
            self.set_status(draw, pay.payout.ends_as());
        }
        all
    }
}
