//! The sale: orders, reservations, payments and returned tickets, and the results of their records. It is a part
//! of the draw. It knows no step of the draw, only whether the draw sells.

use std::collections::hash_map::Entry;

use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use uuid::Uuid;

use super::{Draw, Reservation, ReservationState, ReservedTicket, TooManyReservations};
use crate::domain::game::{Pick, PickError};
use crate::domain::id::{PaymentId, PoolTicketId, TicketId, UserId};
use crate::domain::lottery::DrawStatus;
use crate::domain::payment::{Payment, PaymentStatus};
use crate::domain::record::{
    BeginCharge, Charge, EndCharge, GiveBack, HeldTicket, HeldTickets, Key, Line, Order, Outcome, Pay, Record,
    Refusal,
};
use crate::domain::ticket::Origin;

/// One line of an order request.
#[derive(Clone, PartialEq, Debug)]
pub enum LineRequest {
    Numbers(Vec<i64>),
    QuickPick,
    PoolTicket(PoolTicketId),
    FromPool,
}

impl LineRequest {
    fn origin(&self) -> Origin {
        match self {
            LineRequest::Numbers(_) => Origin::Chosen,
            LineRequest::QuickPick => Origin::QuickPick,
            LineRequest::PoolTicket(_) | LineRequest::FromPool => Origin::Pool,
        }
    }
}

/// The numbers of a line, and the pool ticket that they come from.
type LinePick = (Pick, Option<PoolTicketId>);

/// An order request of a player.
#[derive(Clone, PartialEq, Debug)]
pub struct OrderRequest {
    pub user: UserId,
    pub lines: Vec<LineRequest>,
    /// How long to reserve the tickets. `None`: pay from the wallet at once.
    pub reserve: Option<SignedDuration>,
    pub key: Option<Key>,
}

/// Why an order was refused. Nothing was taken. [`Draw::order`] checks the reasons in this order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrderRefusal {
    #[error("the draw is not on sale")]
    NotOpen,
    #[error("line {line}: {error}")]
    InvalidPick { line: usize, error: PickError },
    /// Only of an order that reserves.
    #[error(transparent)]
    TooManyReservations(#[from] TooManyReservations),
    #[error("line {line}: the ticket is sold, reserved or not of this draw")]
    TicketUnavailable { line: usize },
    #[error("the pool has no ticket left")]
    PoolEmpty,
    /// It replaces any other refusal: a ticket that looks sold may be held by that earlier order.
    #[error("an earlier order with this key is on its way")]
    KeyInFlight,
}

impl Draw {
    /// Decides an order, all lines or none, and takes its tickets from the pool. `id` gives the ids in ascending
    /// order: first the id of the payment, then one for each line.
    pub fn order(
        &mut self,
        ask: OrderRequest,
        now: Timestamp,
        id: impl FnMut() -> Uuid,
        rng: &mut impl Rng,
    ) -> Result<Order, OrderRefusal> {
        let key = ask.key.map(|key| key.id);
        let decided = self.decide(ask, now, id, rng);
        match (&decided, key) {
            (Ok(_), Some(key)) => *self.keys_out.entry(key).or_default() += 1,
            (Err(_), Some(key)) if self.keys_out.contains_key(&key) => return Err(OrderRefusal::KeyInFlight),
            _ => {}
        }
        decided
    }

    fn decide(
        &mut self,
        ask: OrderRequest,
        now: Timestamp,
        mut id: impl FnMut() -> Uuid,
        rng: &mut impl Rng,
    ) -> Result<Order, OrderRefusal> {
        if self.it.status != DrawStatus::Open || self.stopped || now >= self.it.times.sales_close_at {
            return Err(OrderRefusal::NotOpen);
        }
        let mut picks = self.own_picks(&ask.lines, rng)?;
        let reserves = ask.reserve.is_some();
        if reserves {
            self.open.check(ask.user, ask.lines.len())?;
        }
        self.take_from_pool(&ask.lines, &mut picks)?;

        // The point of no return: from here on only the database can refuse the order.
        if reserves {
            self.open.add(ask.user, ask.lines.len());
        }
        let payment = PaymentId(id());
        let lines = ask.lines.iter().zip(picks).filter_map(|(asked, pick)| {
            let (pick, pool_ticket) = pick?;
            Some(Line { ticket: TicketId(id()), pick, origin: asked.origin(), pool_ticket })
        });
        let lines = lines.collect();
        let reserved_until = ask.reserve.map(|time| (now + time).min(self.it.times.sales_close_at));
        let (fence, price, lottery) = (self.fence(), self.it.rules.price, self.it.rules.lottery.clone());
        self.out += 1;
        Ok(Order { fence, lottery, user: ask.user, payment, price, lines, reserved_until, at: now, key: ask.key })
    }

    /// The numbers of the lines that need no pool ticket; the other lines stay `None`.
    fn own_picks(&self, lines: &[LineRequest], rng: &mut impl Rng) -> Result<Vec<Option<LinePick>>, OrderRefusal> {
        let game = self.it.rules.game;
        let own = |(line, ask): (usize, &LineRequest)| match ask {
            LineRequest::Numbers(numbers) => match game.pick(numbers) {
                Ok(pick) => Ok(Some((pick, None))),
                Err(error) => Err(OrderRefusal::InvalidPick { line, error }),
            },
            LineRequest::QuickPick => Ok(Some((game.random_pick(rng), None))),
            LineRequest::PoolTicket(_) | LineRequest::FromPool => Ok(None),
        };
        lines.iter().enumerate().map(own).collect()
    }

    /// The lines from the pool. The lines that name a ticket go first, so that a line for any ticket never takes
    /// a ticket that another line names. If one line fails, all taken tickets return to the pool.
    fn take_from_pool(
        &mut self,
        lines: &[LineRequest],
        picks: &mut [Option<LinePick>],
    ) -> Result<(), OrderRefusal> {
        let mut refusal = None;
        for (line, ask) in lines.iter().enumerate() {
            let LineRequest::PoolTicket(id) = ask else { continue };
            match self.it.pool.take(*id) {
                Some(pick) => picks[line] = Some((pick, Some(*id))),
                None => refusal = refusal.or(Some(OrderRefusal::TicketUnavailable { line })),
            }
        }
        for (line, ask) in lines.iter().enumerate() {
            if *ask != LineRequest::FromPool {
                continue;
            }
            match self.it.pool.take_any() {
                Some((id, pick)) => picks[line] = Some((pick, Some(id))),
                None => refusal = refusal.or(Some(OrderRefusal::PoolEmpty)),
            }
        }
        let Some(refusal) = refusal else { return Ok(()) };
        for (pick, pool_ticket) in picks.iter().flatten() {
            if let Some(id) = pool_ticket {
                self.it.pool.put(*id, *pick);
            }
        }
        Err(refusal)
    }

    /// Decides to pay a reservation from its owner's wallet. `None`: there is nothing to pay.
    pub fn pay(&mut self, user: UserId, payment: PaymentId, now: Timestamp, key: Option<Key>) -> Option<Pay> {
        let fence = self.fence();
        let tickets = self.begin_paying(user, payment, now)?;
        Some(Pay { fence, user, payment, tickets, at: now, key })
    }

    /// Decides to charge a card for a reservation. `None`: there is nothing to pay. The reservation is held until
    /// [`Draw::end_charge`], at most until the cut-off.
    pub fn begin_charge(
        &mut self,
        user: UserId,
        payment: PaymentId,
        now: Timestamp,
        key: Option<Key>,
    ) -> Option<BeginCharge> {
        let fence = self.fence();
        let tickets = self.begin_paying(user, payment, now)?.iter().map(|ticket| ticket.id).collect();
        Some(BeginCharge { fence, user, payment, tickets, at: now, key })
    }

    fn begin_paying(&mut self, user: UserId, payment: PaymentId, now: Timestamp) -> Option<Vec<HeldTicket>> {
        if self.it.status != DrawStatus::Open || self.stopped || now >= self.it.times.sales_close_at {
            return None;
        }
        let held = self.it.reservations.get_mut(&payment)?;
        // By a clock that cannot be trusted no reservation ends.
        let ran_out = held.until <= now && self.clock_trusted;
        // While the return of a ticket is in flight, the number of tickets to pay is unknown.
        if held.user != user || held.state != ReservationState::Held || ran_out || held.is_returning() {
            return None;
        }

        held.state = ReservationState::Paying;
        self.out += 1;
        Some(held.held())
    }

    /// The provider has answered. Adds to the record what the draw still holds for that payment.
    pub fn end_charge(&mut self, mut end: EndCharge) -> EndCharge {
        let fence = self.fence();
        // By a clock that cannot be trusted no sale ends: the card was charged in time, and the list is not sealed.
        let in_time = end.at < self.it.times.sales_close_at || !self.clock_trusted;
        let selling = !self.stopped && in_time;
        let held = self.it.reservations.get_mut(&end.payment);
        // An earlier charge of this payment may end late: its money goes to the wallet, and these tickets are not its.
        let charging = ReservationState::Charging { begun: end.begun };
        end.held = held.filter(|held| selling && held.state == charging).map(|held| {
            // Otherwise it is not the final result: the final result may follow before this record is written.
            if end.charge.is_final() {
                held.state = ReservationState::Paying;
            }
            HeldTickets { fence, tickets: held.held() }
        });
        // A charge without held tickets cannot change the ticket list, so the seal need not wait for it.
        self.out += usize::from(end.held.is_some());
        end
    }

    /// Whether a payment of this reservation, or the begin or the end of its charge, is in flight.
    pub fn is_paying(&self, payment: PaymentId) -> bool {
        self.it.reservations.get(&payment).is_some_and(|held| held.state == ReservationState::Paying)
    }

    /// Decides to return one reserved ticket. `None`: this player has no such reservation.
    pub fn give_back(
        &mut self,
        user: UserId,
        payment: PaymentId,
        ticket: TicketId,
        now: Timestamp,
    ) -> Option<GiveBack> {
        let (fence, price) = (self.fence(), self.it.rules.price);
        let held = self.it.reservations.get_mut(&payment)?;
        if held.user != user || held.state != ReservationState::Held {
            return None;
        }
        let returning = held.tickets.iter_mut().find(|held| held.id == ticket && !held.returning)?;

        returning.returning = true;
        self.out += 1;
        Some(GiveBack { fence, user, payment, ticket, price, at: now })
    }

    /// Whether this record is in flight: it was decided here, and its result is not known yet.
    pub fn awaits(&self, record: &Record) -> bool {
        let is = |payment, state| self.it.reservations.get(payment).is_some_and(|held| held.state == state);
        match record {
            Record::Order(_) => self.out > 0,
            Record::Pay(it) => is(&it.payment, ReservationState::Paying),
            Record::BeginCharge(it) => is(&it.payment, ReservationState::Paying),
            Record::EndCharge(it) => match (&it.held, &it.charge) {
                // Not counted as in flight: it is written in any case, and changes nothing here.
                (None, _) => true,
                (Some(_), Charge::Processing | Charge::Unresolved(_)) => self.out > 0,
                (Some(_), Charge::Paid | Charge::Declined(_)) => is(&it.payment, ReservationState::Paying),
            },
            Record::GiveBack(it) => {
                self.it.reservations.get(&it.payment).is_some_and(|held| {
                    held.tickets.iter().any(|ticket| ticket.id == it.ticket && ticket.returning)
                })
            }
            Record::Expire(it) => is(&it.payment, ReservationState::Expiring),
            Record::BeginDeposit(_) | Record::BeginWithdrawal(_) | Record::EndWithdrawal(_) => false,
        }
    }

    /// The result of a record: its tickets are confirmed, released, or returned to the pool.
    pub fn answered(&mut self, record: &Record, answer: &Result<Outcome, Refusal>) {
        let late = matches!(record, Record::EndCharge(end) if end.held.is_none());
        self.out -= usize::from(!late);
        let written = answer.is_ok();
        if let Record::Order(Order { key: Some(key), .. }) = record {
            self.forget(key);
        }
        match record {
            Record::Order(order) if written => self.ordered(order),
            Record::Order(order) => {
                if order.reserved_until.is_some() {
                    self.open.release(order.user, order.lines.len());
                }
                let pooled = order.lines.iter().filter_map(|line| Some((line.pool_ticket?, line.pick)));
                self.add_to_pool(pooled.collect::<Vec<_>>());
            }
            Record::Pay(pay) if written => self.paid(pay.payment, pay.tickets.len()),
            Record::Pay(pay) => self.hold_again(pay.payment),
            Record::BeginCharge(begin) => match answer {
                Ok(Outcome::Payment(payment)) => self.charge_begun(payment),
                _ => self.hold_again(begin.payment),
            },
            Record::EndCharge(end) => self.charged(end, answer),
            Record::GiveBack(it) => self.given_back(it, written),
            Record::Expire(it) if written => self.let_go(it.payment),
            Record::Expire(it) => self.hold_again(it.payment),
            Record::BeginDeposit(_) | Record::BeginWithdrawal(_) | Record::EndWithdrawal(_) => {}
        }
    }

    /// One order fewer is in flight with this key.
    fn forget(&mut self, key: &Key) {
        if let Entry::Occupied(mut out) = self.keys_out.entry(key.id) {
            *out.get_mut() -= 1;
            if *out.get() == 0 {
                out.remove();
            }
        }
    }

    fn ordered(&mut self, order: &Order) {
        let Some(until) = order.reserved_until else {
            self.it.sold += order.lines.len() as i64;
            return;
        };
        let held = order.lines.iter().map(|line| ReservedTicket {
            id: line.ticket,
            pick: line.pick,
            pool: line.pool_ticket,
            returning: false,
        });
        let reservation =
            Reservation { user: order.user, until, tickets: held.collect(), state: ReservationState::Held };
        self.it.reservations.insert(order.payment, reservation);
        self.due.insert((until, order.payment));
    }

    fn paid(&mut self, payment: PaymentId, tickets: usize) {
        self.remove(payment);
        self.it.sold += tickets as i64;
    }

    /// The reservation has ended.
    fn remove(&mut self, payment: PaymentId) -> Option<Reservation> {
        let held = self.it.reservations.remove(&payment)?;
        self.due.remove(&(held.until, payment));
        self.open.release(held.user, held.tickets.len());
        Some(held)
    }

    /// The reservation is held again. If it has expired meanwhile, the next check of the clock expires it.
    fn hold_again(&mut self, payment: PaymentId) {
        if let Some(held) = self.it.reservations.get_mut(&payment) {
            held.state = ReservationState::Held;
            self.due.insert((held.until, payment));
        }
    }

    /// From now on the reservation waits for the provider's answer, not for its expiry.
    fn charge_begun(&mut self, payment: &Payment) {
        if let Some(held) = self.it.reservations.get_mut(&payment.id) {
            held.state = ReservationState::Charging { begun: payment.updated_at };
            self.due.remove(&(held.until, payment.id));
        }
    }

    fn charged(&mut self, end: &EndCharge, answer: &Result<Outcome, Refusal>) {
        let Some(held) = end.held.as_ref().filter(|_| end.charge.is_final()) else { return };
        let status = match answer {
            Ok(Outcome::Payment(payment)) => Some(payment.status),
            _ => None,
        };
        match status {
            Some(PaymentStatus::Paid) => self.paid(end.payment, held.tickets.len()),
            Some(PaymentStatus::Pending) => self.hold_again(end.payment),
            // The database does not have this payment, or it has ended there.
            _ => {
                if let Some(held) = self.it.reservations.get_mut(&end.payment) {
                    held.state = ReservationState::Charging { begun: end.begun };
                }
            }
        }
    }

    fn given_back(&mut self, it: &GiveBack, written: bool) {
        let Some(held) = self.it.reservations.get_mut(&it.payment) else { return };
        let Some(at) = held.tickets.iter().position(|ticket| ticket.id == it.ticket) else { return };
        if !written {
            held.tickets[at].returning = false;
            return;
        }
        // The others keep the order of their lines, which is the order of their numbers.
        let ticket = held.tickets.remove(at);
        let empty = held.tickets.is_empty();
        self.open.release(it.user, 1);
        if empty {
            self.remove(it.payment);
        }
        self.add_to_pool(ticket.pooled());
    }

    fn let_go(&mut self, payment: PaymentId) {
        let Some(held) = self.remove(payment) else { return };
        self.add_to_pool(held.tickets.iter().filter_map(ReservedTicket::pooled));
    }
}
