//! One draw: its pool, its reservations and its steps. It decides and keeps the state in memory; it neither
//! writes nor waits. Each decision becomes a [record](super::record), and [`Draw::answered`] receives its result.
//! Until then the tickets of the record are held, and no other player can get them. [`DrawMachine`] adds the
//! requests that wait for a draw, and the order of its steps.

mod action;
mod load;
mod machine;
mod open_reservations;
mod request;
mod rolled_back;
mod round;
mod sale;
mod steps;
mod terms;
#[cfg(test)]
mod tests;
mod times;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::beacon::AnnouncedRound;
use super::game::Pick;
use super::id::{DrawId, PaymentId, PoolTicketId, TicketId, UserId};
use super::lottery::{DrawStatus, Fairness, Rules, VoidReason};
use super::money::Money;
use super::pool::Pool;
use super::prize::fund;
use super::record::{Expire, Fence, HeldTicket, KeyId};

pub use action::{DrawAction, DrawFault, GiveUpReason, NewPool, PoolOrder, StepKind, StepOutcome, StepWrite};
pub use load::DrawLoad;
pub use machine::DrawMachine;
pub use open_reservations::{OpenReservations, ReservationShare, TooManyReservations};
pub use request::{
    DrawAbsent, DrawAnswer, DrawRequest, PoolCreated, PoolError, SaleError, StepError, StepRefusal, WriteResult,
};
pub use rolled_back::RolledBack;
pub use sale::{LineRequest, OrderRefusal, OrderRequest};
pub use terms::FairnessTerms;
pub use times::{Times, TimesChange, TimesError};

use round::RoundState;

/// A ticket that a reservation holds.
#[derive(Clone, PartialEq, Debug)]
pub struct ReservedTicket {
    pub id: TicketId,
    pub pick: Pick,
    /// The pool ticket that it took. It returns to the pool if the reserved ticket is not paid.
    pub pool: Option<PoolTicketId>,
    /// Whether its return is in flight: not yet written.
    pub returning: bool,
}

impl ReservedTicket {
    /// What returns to the pool, if the ticket is not paid.
    fn pooled(&self) -> Option<(PoolTicketId, Pick)> {
        Some((self.pool?, self.pick))
    }
}

/// What is in flight for a reservation. In every state but `Held`, other requests for the reservation are
/// refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservationState {
    Held,
    /// A payment, or the beginning or end of a charge, is in flight.
    Paying,
    /// A card is being charged, by us or by a provider that reports the result later. The time is the charge's begin: the
    /// result of an earlier charge of the same payment does not concern these tickets.
    Charging {
        begun: Timestamp,
    },
    Expiring,
}

impl ReservationState {
    pub fn is_charging(self) -> bool {
        matches!(self, ReservationState::Charging { .. })
    }
}

/// Tickets that are held for a player until they are paid or the time is over.
#[derive(Clone, PartialEq, Debug)]
pub struct Reservation {
    pub user: UserId,
    pub until: Timestamp,
    pub tickets: Vec<ReservedTicket>,
    pub state: ReservationState,
}

impl Reservation {
    /// Its tickets, as the records have them that pay for them.
    fn held(&self) -> Vec<HeldTicket> {
        self.tickets.iter().map(|ticket| HeldTicket { id: ticket.id, pick: ticket.pick }).collect()
    }

    /// Whether the return of one of its tickets is in flight.
    fn is_returning(&self) -> bool {
        self.tickets.iter().any(|ticket| ticket.returning)
    }
}

/// The public view of a draw.
#[derive(Clone, PartialEq, Debug)]
pub struct DrawSnapshot {
    pub id: DrawId,
    pub rules: Arc<Rules>,
    pub number: i32,
    pub status: DrawStatus,
    pub times: Times,
    /// `None`: the draw is not opened yet, or nobody can verify it.
    pub fairness: Option<Fairness>,
    /// Paid tickets.
    pub sold: i64,
    /// Pool tickets for sale.
    pub available: i64,
    pub winning: Option<WinningPick>,
    pub cancel_reason: Option<String>,
    /// Its sold tickets are not those that were sealed or published: nothing is paid until an admin acts.
    pub payout_stopped: bool,
}

/// The winning numbers, when they were drawn, and the jackpot that the draw received from earlier draws.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WinningPick {
    pub pick: Pick,
    pub drawn_at: Timestamp,
    pub jackpot: Money,
}

impl DrawSnapshot {
    /// The prize fund: of a draw that was conducted, as it was then; of other draws, as if they were conducted
    /// now with this jackpot.
    pub fn prize_fund(&self, jackpot: Money) -> Money {
        if matches!(self.status, DrawStatus::Cancelling | DrawStatus::Cancelled) {
            return Money::ZERO;
        }
        let sales = self.rules.price.checked_mul(self.sold.unsigned_abs()).unwrap_or(Money::MAX);
        fund(sales, self.rules.fund_share, self.winning.map_or(jackpot, |winning| winning.jackpot))
    }
}

/// A step of a draw that an admin can request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Open,
    /// Change times of the draw.
    Reschedule(TimesChange),
    Close,
    Conduct,
    Cancel,
}

/// Whether a step may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    Yes,
    /// The step was taken before: nothing to do.
    Already,
    /// The step has begun: wait for its end.
    UnderWay,
    No,
    /// Not yet: the beacon's round has not appeared, or its signature is not known.
    BeaconNotReady,
    /// Not any more: a draw with a beacon takes place once its sale was to end, as it was announced.
    DrawDue,
    /// The sale would end too late before the beacon's round.
    CloseToRound(TimesError),
}

/// What a draw must do at this time.
#[derive(Clone, PartialEq, Debug)]
pub enum Due {
    Step(Step),
    /// The sale was not opened before its cut-off.
    CancelUnopened,
    /// The draw cannot take place as it was announced.
    Void(VoidReason),
    /// The draw was cancelled for this reason before a backup was restored.
    CancelAgain(String),
    /// These reservations have expired.
    Expire(Vec<Expire>),
}

/// The state of a draw that the database stores, and that a restart loads.
#[derive(Clone, PartialEq, Debug)]
pub struct DrawState {
    pub id: DrawId,
    pub number: i32,
    pub rules: Arc<Rules>,
    pub times: Times,
    pub status: DrawStatus,
    pub fairness: Option<Fairness>,
    /// The round that was announced, of a draw with a beacon.
    pub round: Option<AnnouncedRound>,
    pub epoch: i64,
    pub sold: i64,
    pub pool: Pool,
    pub reservations: HashMap<PaymentId, Reservation>,
    pub winning: Option<WinningPick>,
    pub cancel_reason: Option<String>,
    /// The draw is of a restored backup, and the public log has more of it.
    pub rolled_back: Option<RolledBack>,
}

/// One draw.
#[derive(Debug)]
pub struct Draw {
    it: DrawState,
    /// The reservations that will expire, soonest first. A reservation whose card is being charged is not in the
    /// set: it waits for the provider's answer, at most until the cut-off.
    due: BTreeSet<(Timestamp, PaymentId)>,
    /// The tickets of its reservations, and of the orders in flight that reserve, counted by user.
    open: ReservationShare,
    /// The number of records in flight.
    out: usize,
    /// The idempotency keys of the orders in flight, with the number of orders for each key.
    keys_out: HashMap<KeyId, usize>,
    /// The sale is over for good. The database may not have this state yet.
    stopped: bool,
    /// Other tickets were found than those that were sealed: nothing is drawn or paid until an admin acts.
    payout_stop: Option<PayoutStop>,
    /// Whether the wall clock can be trusted. While it cannot, the draw does nothing by itself.
    clock_trusted: bool,
    /// How the draw is announced if it is opened now.
    terms: FairnessTerms,
    /// What is known of the announced round.
    signature: RoundState,
    /// Since when this process asks for the round.
    asks_since: Option<Timestamp>,
    /// An earlier draw of the lottery must end first.
    waits_for_turn: bool,
    /// Why the draw cannot take place as it was announced.
    void: Option<VoidReason>,
}

/// A draw that has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PayoutStop {
    prizes_fixed: bool,
}

impl Draw {
    /// A draw as it is stored in the database. Nothing limits its reservations but [`Draw::counted_in`].
    pub fn new(parts: DrawState) -> Draw {
        let waits = |held: &Reservation| !held.state.is_charging();
        let due = parts.reservations.iter().filter(|(_, held)| waits(held));
        let due = due.map(|(id, held)| (held.until, *id)).collect();
        let is_on_sale = matches!(parts.status, DrawStatus::Scheduled | DrawStatus::Open);
        let stopped = !is_on_sale || parts.rolled_back.is_some();
        let alone = OpenReservations::default();
        let open = alone.share();
        Draw {
            it: parts,
            due,
            open,
            out: 0,
            keys_out: HashMap::new(),
            stopped,
            payout_stop: None,
            clock_trusted: true,
            terms: FairnessTerms::default(),
            signature: RoundState::Unknown,
            asks_since: None,
            waits_for_turn: false,
            void: None,
        }
        .counted_in(&alone)
    }

    /// If it is opened, it is announced on these terms.
    pub fn on_terms(self, terms: FairnessTerms) -> Draw {
        Draw { terms, ..self }
    }

    /// Counts its reservations together with those of other draws, from which their limit follows. Nothing may be in
    /// flight yet.
    pub fn counted_in(mut self, all: &OpenReservations) -> Draw {
        self.open = all.share();
        for held in self.it.reservations.values() {
            self.open.add(held.user, held.tickets.len());
        }
        self
    }

    pub fn id(&self) -> DrawId {
        self.it.id
    }

    pub fn rules(&self) -> &Arc<Rules> {
        &self.it.rules
    }

    pub fn status(&self) -> DrawStatus {
        self.it.status
    }

    /// The state without what is in flight. If nothing is in flight, it equals what a restart would load.
    pub fn parts(&self) -> &DrawState {
        &self.it
    }

    pub fn fence(&self) -> Fence {
        Fence { draw: self.it.id, epoch: self.it.epoch }
    }

    /// The number of its records in flight.
    pub fn in_flight(&self) -> usize {
        self.out
    }

    /// The tickets that it counts as reserved and not paid, by user, with those of orders in flight.
    pub fn open_reservations(&self) -> &HashMap<UserId, usize> {
        self.open.counted()
    }

    /// Paid tickets.
    pub fn sold(&self) -> i64 {
        self.it.sold
    }

    /// Pool tickets for sale.
    pub fn available(&self) -> i64 {
        if self.stopped { 0 } else { self.it.pool.len() as i64 }
    }

    /// The winning numbers, once they are drawn.
    pub fn winning(&self) -> Option<WinningPick> {
        self.it.winning
    }

    /// The public view of the draw now.
    pub fn view(&self) -> DrawSnapshot {
        let it = &self.it;
        DrawSnapshot {
            id: it.id,
            rules: it.rules.clone(),
            number: it.number,
            status: it.status,
            times: it.times,
            fairness: it.fairness,
            sold: it.sold,
            available: self.available(),
            winning: it.winning,
            cancel_reason: it.cancel_reason.clone(),
            payout_stopped: self.payout_stop.is_some() || self.waits_for_admin() || self.is_stopped_by_rollback(),
        }
    }

    /// Whether this step may be taken now.
    pub fn allows(&self, step: Step, now: Timestamp) -> Allowed {
        use DrawStatus::{Cancelled, Cancelling, Closed, Completed, Open, Scheduled, Settling};
        if let Some(allowed) = self.rolled_back_allows(step) {
            return allowed;
        }
        match (step, self.it.status) {
            (Step::Open, Scheduled) if self.is_before_cut_off(now) => match self.terms.error(&self.it.times) {
                None => Allowed::Yes,
                Some(error) => Allowed::CloseToRound(error),
            },
            (Step::Open, Open) if !self.stopped => Allowed::Already,
            (Step::Reschedule(change), Scheduled | Open) if self.is_before_cut_off(now) => {
                if self.it.times.with(change) == self.it.times { Allowed::Already } else { Allowed::Yes }
            }
            (Step::Reschedule(_), Open | Closed) if self.is_bound(now) => Allowed::DrawDue,
            (Step::Close, Open) if self.stopped => Allowed::UnderWay,
            (Step::Close, Open) => Allowed::Yes,
            (Step::Close, Closed) => Allowed::Already,
            (Step::Conduct, Closed) if self.void.is_some() => Allowed::No,
            (Step::Conduct, Closed) if !self.is_round_ready(now) => Allowed::BeaconNotReady,
            (Step::Conduct, Closed) => Allowed::Yes,
            (Step::Conduct, Settling) => Allowed::UnderWay,
            (Step::Conduct, Completed) => Allowed::Already,
            (Step::Cancel, Scheduled | Open | Closed) if self.is_bound(now) && self.void_reason().is_none() => {
                Allowed::DrawDue
            }
            (Step::Cancel, Scheduled | Open | Closed) => Allowed::Yes,
            (Step::Cancel, Settling) if self.payout_stop.is_some_and(|stop| !stop.prizes_fixed) => Allowed::Yes,
            (Step::Cancel, Cancelling) => Allowed::UnderWay,
            (Step::Cancel, Cancelled) => Allowed::Already,
            _ => Allowed::No,
        }
    }

    /// The status, if it allows this step neither now nor later. A request is then refused at once and does not
    /// wait for a long settlement.
    pub fn never_again(&self, step: Step, now: Timestamp) -> Option<DrawStatus> {
        let only_ends = self.it.status >= DrawStatus::Settling;
        (only_ends && self.allows(step, now) == Allowed::No).then_some(self.it.status)
    }

    /// A draw is opened and rescheduled before its published cut-off, and not once the sale is being ended. An announcement
    /// after the end of the sale would be refused by every verifier, and nothing could be sold.
    fn is_before_cut_off(&self, now: Timestamp) -> bool {
        !self.stopped && now < self.it.times.sales_close_at
    }

    /// Whether the times that are given from now on come from a clock that can be trusted.
    pub fn trust_clock(&mut self, trusted: bool) {
        self.clock_trusted = trusted;
    }

    /// What the draw must do at this time: one thing at a time, the most urgent first. Nothing, while the clock cannot
    /// be trusted: a draw that is closed, a reservation that has expired cannot be had back.
    pub fn due(&mut self, now: Timestamp) -> Option<Due> {
        if !self.clock_trusted {
            return None;
        }
        if let Some(due) = self.rolled_back_due(now) {
            return due;
        }
        let times = self.it.times;
        match self.it.status {
            DrawStatus::Scheduled
                if self.opens_at().is_some_and(|at| at <= now && self.is_before_cut_off(now)) =>
            {
                return Some(Due::Step(Step::Open));
            }
            DrawStatus::Scheduled if times.sales_close_at <= now => return Some(Due::CancelUnopened),
            DrawStatus::Open if times.sales_close_at <= now => return Some(Due::Step(Step::Close)),
            DrawStatus::Closed if let Some(reason) = self.void => {
                return reason.is_automatic().then_some(Due::Void(reason));
            }
            DrawStatus::Closed if self.conducts_at().is_some_and(|at| at <= now) => {
                return Some(Due::Step(Step::Conduct));
            }
            _ => {}
        }
        let ran_out = self.due.iter().take_while(|(until, _)| *until <= now).map(|(_, id)| *id).collect();
        let expired = self.expire(ran_out, now);
        if expired.is_empty() { None } else { Some(Due::Expire(expired)) }
    }

    /// When the draw opens by itself. `None`: an admin opens it, or its times leave the beacon too little margin.
    fn opens_at(&self) -> Option<Timestamp> {
        self.it.times.sales_open_at.filter(|_| self.terms.error(&self.it.times).is_none())
    }

    /// The next time at which the draw must do something.
    pub fn next_due(&self) -> Option<Timestamp> {
        let times = self.it.times;
        let step = match self.it.status {
            DrawStatus::Scheduled => Some(self.opens_at().unwrap_or(times.sales_close_at)),
            DrawStatus::Open => Some(times.sales_close_at),
            DrawStatus::Closed => self.fetches_at().or_else(|| self.conducts_at()),
            _ => None,
        };
        let expiry = self.due.first().map(|(until, _)| *until);
        step.into_iter().chain(expiry).min()
    }

    /// The sale is open. The database has stored this already.
    pub fn opened(&mut self) {
        assert_eq!(self.it.status, DrawStatus::Scheduled, "only a scheduled draw opens");
        self.it.status = DrawStatus::Open;
        self.it.round = self.round_to_announce();
        self.it.fairness = Some(self.terms.mode);
    }

    /// Ends the sale: every later order is refused, and unpaid reservations expire. Call it again after each
    /// result, until it returns `Done`.
    pub fn stop(&mut self, now: Timestamp) -> Stopping {
        self.stopped = true;
        // In the order in which the reservations were made, not in the order of a hash map: the same history
        // gives the same decisions.
        let mut all: Vec<PaymentId> = self.it.reservations.keys().copied().collect();
        all.sort_unstable();
        let expired = self.expire(all, now);
        if !expired.is_empty() {
            Stopping::Expire(expired)
        } else if self.out > 0 {
            Stopping::Wait
        } else {
            Stopping::Done
        }
    }

    /// The ticket list is sealed, under a new epoch. The database has stored this already.
    pub fn sealed(&mut self, epoch: i64) {
        assert!(self.stopped && self.out == 0, "a list is sealed when no record is in flight");
        self.it.status = DrawStatus::Closed;
        self.it.epoch = epoch;
        self.it.pool = Pool::default();
    }

    /// The winning numbers are drawn. The database has stored them already.
    pub fn conducted(&mut self, winning: WinningPick) {
        assert_eq!(self.it.status, DrawStatus::Closed, "only a closed draw is conducted");
        self.payout_stop = None;
        self.it.status = DrawStatus::Settling;
        self.it.winning = Some(winning);
    }

    /// The draw stops, because its tickets are not those that were sealed and published. An admin may have it tried again,
    /// once the tickets are as they were.
    pub fn payout_stopped(&mut self, prizes_fixed: bool) {
        self.payout_stop = Some(PayoutStop { prizes_fixed });
    }

    /// Every winner is paid. The database has stored this already.
    pub fn completed(&mut self) {
        assert_eq!(self.it.status, DrawStatus::Settling, "only a settling draw completes");
        self.payout_stop = None;
        self.it.status = DrawStatus::Completed;
    }

    /// The draw is being cancelled. The database has stored this already.
    pub fn cancelling(&mut self, reason: String, epoch: i64) {
        assert!(self.stopped && self.out == 0, "a draw is cancelled when no record is in flight");
        self.payout_stop = None;
        self.it.status = DrawStatus::Cancelling;
        self.it.epoch = epoch;
        self.it.cancel_reason = Some(reason);
        self.it.winning = None;
        self.it.pool = Pool::default();
    }

    /// Every payer has the money back. The database has stored this already.
    pub fn cancelled(&mut self) {
        assert_eq!(self.it.status, DrawStatus::Cancelling, "only a cancelling draw ends cancelled");
        self.it.status = DrawStatus::Cancelled;
    }

    /// The draw has other times. The database has stored them already.
    pub fn rescheduled(&mut self, times: Times) {
        self.it.round = self.round_of(&times);
        self.it.times = times;
    }

    /// Whether pool tickets may be made.
    pub fn takes_pool_tickets(&self) -> bool {
        matches!(self.it.status, DrawStatus::Scheduled | DrawStatus::Open) && !self.stopped
    }

    /// Adds new pool tickets, or returns tickets to the pool. The database has stored this already.
    pub fn add_to_pool(&mut self, tickets: impl IntoIterator<Item = (PoolTicketId, Pick)>) {
        for (id, pick) in tickets {
            self.it.pool.put(id, pick);
        }
    }

    /// Expires those of the reservations for which nothing else is in flight. A card that is being charged holds
    /// its tickets until the cut-off and not longer.
    fn expire(&mut self, payments: Vec<PaymentId>, now: Timestamp) -> Vec<Expire> {
        let fence = self.fence();
        let mut records = Vec::new();
        for payment in payments {
            let Some(held) = self.it.reservations.get_mut(&payment) else { continue };
            let lets_go = held.state == ReservationState::Held || (held.state.is_charging() && self.stopped);
            if !lets_go || held.is_returning() {
                continue;
            }
            held.state = ReservationState::Expiring;
            self.due.remove(&(held.until, payment));
            let tickets = held.tickets.iter().map(|ticket| ticket.id).collect();
            records.push(Expire { fence, user: held.user, payment, tickets, at: now });
        }
        self.out += records.len();
        records
    }
}

/// The progress of the end of the sale.
#[derive(Clone, PartialEq, Debug)]
pub enum Stopping {
    /// These reservations must be written as expired.
    Expire(Vec<Expire>),
    /// Records are in flight: wait for their results.
    Wait,
    /// The ticket list can be sealed.
    Done,
}
