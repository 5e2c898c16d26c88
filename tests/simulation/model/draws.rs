//! The draws of the model: each step once and in order, one result that does not change, a ticket list that does
//! not change after the seal, and a settlement that is exact to the last kopeck. The money of single payments is
//! in `money`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Draw, Model, PoolTicket, escrow};
use crate::facts::{Award, DrawTimes, Id, NewTimes, Payment, Prizes, Rules, Ticket};

impl Rules {
    pub(super) fn is_lawful(&self, mask: u64) -> bool {
        mask.count_ones() == u32::from(self.pick) && mask.checked_shr(self.of.into()).unwrap_or(0) == 0
    }
}

impl Draw {
    pub(super) fn cut_off_passed(&self, now: i64) -> bool {
        self.first_cut_off <= now
    }

    fn moved(&self, kind: &str) -> i64 {
        self.house.get(kind).copied().unwrap_or(0)
    }
}

impl NewTimes {
    fn over(self, times: DrawTimes) -> DrawTimes {
        DrawTimes {
            open: self.open.or(times.open),
            close: self.close.unwrap_or(times.close),
            draw: self.draw.unwrap_or(times.draw),
        }
    }
}

impl Model {
    /// An admin requested new times. Returns the number of the request.
    pub fn times_asked(&mut self, draw: i64, new: NewTimes) -> usize {
        let draw = self.draw_mut(draw);
        draw.new_times.push((new, false));
        draw.new_times.len() - 1
    }

    /// The draw has these times now: what one admin gave, over the times before. So no change undoes another.
    pub(super) fn times(&mut self, id: i64, times: DrawTimes) {
        let draw = self.draw_mut(id);
        let before = std::mem::replace(&mut draw.times, times);
        let mut caused = draw.new_times.iter_mut().filter(|(new, _)| new.over(before) == times).peekable();
        assert!(caused.peek().is_some(), "draw {id} went from {before:?} to {times:?}, which nobody requested");
        caused.for_each(|(_, written)| *written = true);
        assert!(times.draw >= times.close && times.open.is_none_or(|open| open < times.close), "{times:?}");
        draw.cut_off = draw.cut_off.max(times.close);
        draw.first_cut_off = draw.first_cut_off.min(times.close);
    }

    /// An admin heard that the new times are set.
    pub fn times_answered(&self, draw: i64, number: usize) {
        let draw = &self.draws[&draw];
        let (new, written) = draw.new_times[number];
        let same = new.over(draw.times) == draw.times;
        assert!(written || same || self.rivals, "{new:?} was answered and not written");
    }

    pub(super) fn pool(&mut self, draw: i64, ticket: Id, mask: u64) {
        let draw = self.draw_mut(draw);
        assert!(matches!(draw.status, "scheduled" | "open"), "a pool for a draw that is {}", draw.status);
        assert!(draw.pool.values().all(|old| old.mask != mask), "a pool holds a combination once");
        draw.pool.insert(ticket, PoolTicket { mask, holder: None, sold: false });
    }

    pub(super) fn status(&mut self, id: i64, status: &'static str) {
        let draw = self.draw_mut(id);
        let lawful = matches!(
            (draw.status, status),
            ("scheduled", "open" | "cancelling")
                | ("open", "closed" | "cancelling")
                | ("closed", "settling" | "cancelling")
                | ("settling", "completed")
                | ("cancelling", "cancelled")
        );
        assert!(lawful, "draw {id} went from {} to {status}", draw.status);
        draw.status = status;
        let (sealed, has_numbers) = (draw.sealed, draw.numbers.is_some());
        match status {
            "closed" => assert!(sealed, "closed and not sealed"),
            "settling" => assert!(has_numbers, "settling without numbers"),
            "completed" => self.completed(id),
            "cancelled" => self.cancelled(id),
            _ => {}
        }
        if matches!(status, "closed" | "cancelling") {
            assert!(self.of_draw(id).all(|row| row.status != "reserved"), "draw {id} ends with reservations");
        }
    }

    fn of_draw(&self, draw: i64) -> impl Iterator<Item = &Ticket> {
        self.tickets.values().map(|held| &held.row).filter(move |row| row.draw == draw)
    }

    pub(super) fn sealed(&mut self, id: i64, tickets: i64) {
        let paid = self.of_draw(id).filter(|row| row.status == "paid").count() as i64;
        let draw = self.draw_mut(id);
        assert!(!draw.sealed, "draw {id} is sealed once");
        assert_eq!((tickets, paid), (draw.sold, draw.sold), "the seal counts the paid tickets");
        draw.sealed = true;
    }

    pub(super) fn numbers(&mut self, id: i64, mask: u64, jackpot: i64) {
        let draw = self.draw_mut(id);
        assert_eq!(draw.numbers, None, "draw {id} has one result");
        assert_eq!(draw.status, "closed", "draw {id} is conducted when it is closed");
        assert!(draw.rules.is_lawful(mask), "no valid numbers");
        assert_eq!(draw.moved("jackpot"), jackpot, "the jackpot moves with the numbers");
        draw.numbers = Some((mask, jackpot));
        assert_eq!(self.balances[&super::JACKPOT], 0, "all of the jackpot rolls in");
    }

    pub(super) fn prizes(&mut self, prizes: &Prizes) {
        let expected = self.expected_prizes(prizes.draw);
        assert_eq!(*prizes, expected, "the prizes, computed again by the model");
        let draw = self.draw_mut(prizes.draw);
        assert!(draw.prizes.is_none(), "the prizes are fixed once");
        draw.prizes = Some(expected);
    }

    /// Every winner has its prize, once, and nothing is left.
    fn completed(&mut self, id: i64) {
        let draw = &self.draws[&id];
        let (winning, _) = draw.numbers.expect("a settled draw has its numbers");
        let expected = self.expected_prizes(id);
        assert_eq!(draw.prizes.as_ref(), Some(&expected), "the prizes stay");
        let by_matches: BTreeMap<u32, i64> =
            expected.tiers.iter().map(|(matches, _, prize)| (u32::from(*matches), *prize)).collect();
        for row in self.of_draw(id) {
            let prize = by_matches.get(&(row.mask & winning).count_ones()).copied().unwrap_or(0);
            let due = (row.status == "paid" && prize > 0).then_some(prize);
            assert_eq!(self.tickets[&row.id].prize, due, "the prize of {row:?}");
        }
        let sales = draw.rules.price * draw.numbered.len() as i64;
        let paid: i64 = draw.numbered.iter().filter_map(|ticket| self.tickets[ticket].prize).sum();
        assert_eq!(draw.moved("rollover"), expected.rollover);
        assert_eq!(
            sales + draw.moved("jackpot") + draw.moved("reserve"),
            paid + draw.moved("rollover") + draw.moved("revenue"),
            "draw {id} is exact to the last kopeck"
        );
        let for_prizes = i128::from(sales) * i128::from(draw.rules.fund_share) / 10_000;
        assert_eq!(i128::from(draw.moved("revenue")), i128::from(sales) - for_prizes, "the operator's revenue");
        assert_eq!(self.balances[&escrow(id)], 0, "the escrow of draw {id} ends at zero");
    }

    /// Every payer has the money back, once, and nothing is left.
    fn cancelled(&mut self, id: i64) {
        for bill in self.bills.values().filter(|bill| bill.row.draw == Some(id)) {
            let due = (bill.row.status == "paid").then_some(bill.row.amount);
            assert_eq!(bill.refund, due, "the refund of {:?}", bill.row);
        }
        assert_eq!(self.draws[&id].house, BTreeMap::new(), "a cancelled draw pays the operator nothing");
        assert_eq!(self.balances[&escrow(id)], 0, "the escrow of draw {id} ends at zero");
    }

    /// The end of a history: the store has exactly the committed rows, and nothing is left open.
    pub fn finish(&self, payments: impl Iterator<Item = Payment>, tickets: impl Iterator<Item = Ticket>) {
        let (mut seen, mut held) = (0, 0);
        for row in payments {
            assert_eq!(row, self.bills[&row.id].row, "a payment changed outside the commits");
            self.check_bill(row.id);
            // A withdrawal waits for the decision of an admin without a time limit.
            let charged = row.kind != "withdrawal";
            let unresolved = charged && row.status == "processing" && !self.is_booked(row.id);
            assert!(row.status != "pending", "never expired: {row:?}");
            assert!(!unresolved, "the charge was never ended: {row:?}");
            seen += 1;
        }
        for row in tickets {
            assert_eq!(row, self.tickets[&row.id].row, "a ticket changed outside the commits");
            assert_ne!(row.status, "reserved", "never expired: {row:?}");
            held += 1;
        }
        assert_eq!((seen, held), (self.bills.len(), self.tickets.len()), "rows were lost");
        for (name, amount) in &self.taken {
            // An admin decided without the provider, and nobody asks it for a charge that has its end.
            let lost = self.unreported.contains(name) && self.ended_as_failed.contains(name);
            let is_booked = self.charges[name].outcome == Some("paid");
            assert!(lost || is_booked, "{amount} from a card for {name:?} was not booked");
        }
        for (id, draw) in &self.draws {
            assert!(matches!(draw.status, "completed" | "cancelled"), "draw {id} stays {}", draw.status);
        }
        assert!(self.tries.iter().all(|tried| tried.told), "a try was never answered");
    }

    fn is_booked(&self, payment: Id) -> bool {
        let bill = &self.bills[&payment];
        !bill.deposits.is_empty() || bill.purchase.is_some()
    }

    /// What happened to the draws, for the coverage: the kinds of prizes, a rollover out or in, refunds.
    pub fn highlights(&self) -> impl Iterator<Item = &'static str> {
        self.draws.values().flat_map(|draw| {
            let kind = |(matches, winners, prize): &(u8, i64, i64)| {
                let (_, award) = draw.rules.tiers.iter().find(|(of, _)| of == matches)?;
                (*winners > 0 && *prize > 0).then_some(match award {
                    Award::Fixed(_) => "fixed",
                    Award::Share { minimum, .. } if *minimum == Some(*prize) => "minimum",
                    Award::Share { .. } => "share",
                })
            };
            let prizes = draw.prizes.iter().flat_map(|prizes| &prizes.tiers).filter_map(kind);
            let prizes: BTreeSet<&'static str> = prizes.collect();
            prizes.into_iter().chain(draw.house.keys().copied())
        })
    }

    pub fn refunds(&self) -> usize {
        self.bills.values().filter(|bill| bill.refund.is_some()).count()
    }
}
