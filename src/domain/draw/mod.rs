//! One draw: its pool, its reservations and the steps of its life. Decides and remembers; it neither
//! writes nor waits. What it decides becomes a [record](super::record), and [`Draw::answered`] tells it the result:
//! until then the tickets of the record are held, and nobody else can have them. [`DrawMachine`] adds the
//! requests that wait for a draw, and the order of its steps.

mod action;
mod machine;
mod request;
mod sale;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::game::Pick;
use super::id::{DrawId, PaymentId, PoolTicketId, TicketId, UserId};
use super::lottery::{DrawStatus, Rules};
use super::money::{Money, Share};
use super::pool::Pool;
use super::prize::fund;
use super::record::{Expire, Fence, KeyId};

pub use action::{DrawAction, DrawFault, GiveUpReason, NewPool, PoolOrder, StepKind, StepOutcome, StepWrite};
pub use machine::DrawMachine;
pub use request::{
    DrawAbsent, DrawAnswer, DrawRequest, PoolCreated, PoolError, SaleError, StepError, StepRefusal, WriteResult,
};
pub use sale::{LineRequest, OrderRefusal, OrderRequest};

/// When a draw moves by itself. In order, and `draw_at` not before the sale's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Times {
    /// None: until an admin opens it.
    pub sales_open_at: Option<Timestamp>,
    pub sales_close_at: Timestamp,
    pub draw_at: Timestamp,
}

/// A ticket that a reservation holds.
#[derive(Clone, PartialEq, Debug)]
pub struct ReservedTicket {
    pub id: TicketId,
    /// The pool ticket it took, to go back to the pool if it is not paid.
    pub pool: Option<(PoolTicketId, Pick)>,
    /// Its giving back is on its way to the database.
    pub returning: bool,
}

/// What is on its way for a reservation. Anything but `Held` keeps everything else off it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservationState {
    Held,
    /// What pays it, or begins to, is on its way.
    Paying,
    /// The card is being charged, by us or by a provider that will tell later.
    Charging,
    Expiring,
}

/// Tickets held for a player until they are paid or the time is up.
#[derive(Clone, PartialEq, Debug)]
pub struct Reservation {
    pub user: UserId,
    pub until: Timestamp,
    pub tickets: Vec<ReservedTicket>,
    pub state: ReservationState,
}

impl Reservation {
    /// Whether the giving back of one of its tickets is on its way.
    fn is_returning(&self) -> bool {
        self.tickets.iter().any(|ticket| ticket.returning)
    }
}

/// A draw as the outside sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct DrawSnapshot {
    pub id: DrawId,
    pub lottery: super::id::LotteryId,
    pub number: i32,
    pub status: DrawStatus,
    pub price: Money,
    pub fund_share: Share,
    pub times: Times,
    /// Paid tickets.
    pub sold: i64,
    /// Pool tickets for sale.
    pub available: i64,
    pub winning: Option<WinningPick>,
    pub cancel_reason: Option<String>,
}

/// The numbers, and the jackpot that rolled in with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WinningPick {
    pub pick: Pick,
    pub jackpot: Money,
}

impl DrawSnapshot {
    /// The prize fund as if the draw were conducted now with this jackpot, or as it was conducted.
    pub fn prize_fund(&self, jackpot: Money) -> Money {
        if matches!(self.status, DrawStatus::Cancelling | DrawStatus::Cancelled) {
            return Money::ZERO;
        }
        let sales = self.price.checked_mul(self.sold.unsigned_abs()).unwrap_or(Money::MAX);
        fund(sales, self.fund_share, self.winning.map_or(jackpot, |winning| winning.jackpot))
    }
}

/// A step of a draw's life that an admin may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Open,
    Close,
    Conduct,
    Cancel,
}

/// May the step be taken?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    Yes,
    /// It was taken before: nothing to do.
    Already,
    /// It is under way: wait for it.
    UnderWay,
    No,
}

/// What the clock asks of a draw.
#[derive(Clone, PartialEq, Debug)]
pub enum Due {
    Step(Step),
    /// Nobody opened it before its cut-off.
    CancelUnopened,
    /// These reservations ran out.
    Expire(Vec<Expire>),
}

/// What is to be known of a draw to go on with it.
#[derive(Clone, PartialEq, Debug)]
pub struct DrawState {
    pub id: DrawId,
    pub number: i32,
    pub rules: Rules,
    pub times: Times,
    pub status: DrawStatus,
    pub epoch: i64,
    pub sold: i64,
    pub pool: Pool,
    pub reservations: HashMap<PaymentId, Reservation>,
    pub winning: Option<WinningPick>,
    pub cancel_reason: Option<String>,
}

/// One draw.
#[derive(Debug)]
pub struct Draw {
    it: DrawState,
    /// The reservations that will expire, soonest first. One whose card is being charged waits for the
    /// provider's answer, at most until the cut-off, and is not among them.
    due: BTreeSet<(Timestamp, PaymentId)>,
    /// Records on their way to the database.
    out: usize,
    /// The keys of the orders among them, and how many orders each came with.
    keys_out: HashMap<KeyId, usize>,
    /// The sale is over for good, though the database may not say so yet.
    stopped: bool,
}

impl Draw {
    /// A draw as the database has it.
    pub fn new(parts: DrawState) -> Draw {
        let waits = |held: &Reservation| held.state != ReservationState::Charging;
        let due = parts.reservations.iter().filter(|(_, held)| waits(held));
        let due = due.map(|(id, held)| (held.until, *id)).collect();
        let stopped = !matches!(parts.status, DrawStatus::Scheduled | DrawStatus::Open);
        Draw { it: parts, due, out: 0, keys_out: HashMap::new(), stopped }
    }

    pub fn id(&self) -> DrawId {
        self.it.id
    }

    pub fn rules(&self) -> &Rules {
        &self.it.rules
    }

    pub fn status(&self) -> DrawStatus {
        self.it.status
    }

    /// All that it remembers, but for what is on its way: at rest, what a restart would load.
    pub fn parts(&self) -> &DrawState {
        &self.it
    }

    pub fn fence(&self) -> Fence {
        Fence { draw: self.it.id, epoch: self.it.epoch }
    }

    /// Records of it on their way to the database.
    pub fn on_its_way(&self) -> usize {
        self.out
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

    /// As the outside sees it now.
    pub fn view(&self) -> DrawSnapshot {
        let it = &self.it;
        DrawSnapshot {
            id: it.id,
            lottery: it.rules.lottery.clone(),
            number: it.number,
            status: it.status,
            price: it.rules.price,
            fund_share: it.rules.fund_share,
            times: it.times,
            sold: it.sold,
            available: self.available(),
            winning: it.winning,
            cancel_reason: it.cancel_reason.clone(),
        }
    }

    /// May this step be taken now?
    pub fn allows(&self, step: Step, now: Timestamp) -> Allowed {
        use DrawStatus::{Cancelled, Cancelling, Closed, Completed, Open, Scheduled, Settling};
        match (step, self.it.status) {
            (Step::Open, Scheduled) if self.may_open(now) => Allowed::Yes,
            (Step::Open, Open) if !self.stopped => Allowed::Already,
            (Step::Close, Open) if self.stopped => Allowed::UnderWay,
            (Step::Close, Open) => Allowed::Yes,
            (Step::Close, Closed) => Allowed::Already,
            (Step::Conduct, Closed) => Allowed::Yes,
            (Step::Conduct, Settling) => Allowed::UnderWay,
            (Step::Conduct, Completed) => Allowed::Already,
            (Step::Cancel, Scheduled | Open | Closed) => Allowed::Yes,
            (Step::Cancel, Cancelling) => Allowed::UnderWay,
            (Step::Cancel, Cancelled) => Allowed::Already,
            _ => Allowed::No,
        }
    }

    /// The status, if it allows this step neither now nor later: a long settlement need not be awaited to
    /// say so.
    pub fn never_again(&self, step: Step, now: Timestamp) -> Option<DrawStatus> {
        let only_ends = self.it.status >= DrawStatus::Settling;
        (only_ends && self.allows(step, now) == Allowed::No).then_some(self.it.status)
    }

    /// Before the cut-off; and behind it the clock's own opening, missed while the service was down, is
    /// caught up: the close that follows finds nothing sold.
    fn may_open(&self, now: Timestamp) -> bool {
        let times = self.it.times;
        !self.stopped && (now < times.sales_close_at || times.sales_open_at.is_some_and(|at| at <= now))
    }

    /// What the clock asks for at this moment, one thing at a time, the most pressing first.
    pub fn due(&mut self, now: Timestamp) -> Option<Due> {
        let times = self.it.times;
        match self.it.status {
            DrawStatus::Scheduled if times.sales_open_at.is_some_and(|at| at <= now) && !self.stopped => {
                return Some(Due::Step(Step::Open));
            }
            DrawStatus::Scheduled if times.sales_close_at <= now => return Some(Due::CancelUnopened),
            DrawStatus::Open if times.sales_close_at <= now => return Some(Due::Step(Step::Close)),
            DrawStatus::Closed if times.draw_at <= now => return Some(Due::Step(Step::Conduct)),
            _ => {}
        }
        let ran_out = self.due.iter().take_while(|(until, _)| *until <= now).map(|(_, id)| *id).collect();
        let expired = self.expire(ran_out, now);
        if expired.is_empty() { None } else { Some(Due::Expire(expired)) }
    }

    /// When the clock will next ask for something.
    pub fn next_due(&self) -> Option<Timestamp> {
        let times = self.it.times;
        let step = match self.it.status {
            DrawStatus::Scheduled => Some(times.sales_open_at.unwrap_or(times.sales_close_at)),
            DrawStatus::Open => Some(times.sales_close_at),
            DrawStatus::Closed => Some(times.draw_at),
            _ => None,
        };
        let expiry = self.due.first().map(|(until, _)| *until);
        step.into_iter().chain(expiry).min()
    }

    /// The sale opens. The database says so already.
    pub fn opened(&mut self) {
        assert_eq!(self.it.status, DrawStatus::Scheduled, "only a scheduled draw opens");
        self.it.status = DrawStatus::Open;
    }

    /// The sale is over: every later order is refused, and what is held unpaid is let go. Call it again
    /// after each answer, until it says that nothing is on its way any more.
    pub fn stop(&mut self, now: Timestamp) -> Stopping {
        self.stopped = true;
        // In the order they were made, not of a hash: the same history decides the same.
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

    /// The list is sealed, under a new epoch. The database says so already.
    pub fn sealed(&mut self, epoch: i64) {
        assert!(self.stopped && self.out == 0, "a list is sealed when nothing is on its way to it");
        self.it.status = DrawStatus::Closed;
        self.it.epoch = epoch;
        self.it.pool = Pool::default();
    }

    /// The numbers are known. The database says so already.
    pub fn conducted(&mut self, winning: WinningPick) {
        assert_eq!(self.it.status, DrawStatus::Closed, "only a closed draw is conducted");
        self.it.status = DrawStatus::Settling;
        self.it.winning = Some(winning);
    }

    /// Everybody is paid. The database says so already.
    pub fn completed(&mut self) {
        assert_eq!(self.it.status, DrawStatus::Settling, "only a settling draw completes");
        self.it.status = DrawStatus::Completed;
    }

    /// The draw will not take place. The database says so already.
    pub fn cancelling(&mut self, reason: String, epoch: i64) {
        assert!(self.stopped && self.out == 0, "a draw is cancelled when nothing is on its way to it");
        self.it.status = DrawStatus::Cancelling;
        self.it.epoch = epoch;
        self.it.cancel_reason = Some(reason);
        self.it.pool = Pool::default();
    }

    /// Everybody has the money back. The database says so already.
    pub fn cancelled(&mut self) {
        assert_eq!(self.it.status, DrawStatus::Cancelling, "only a cancelling draw ends cancelled");
        self.it.status = DrawStatus::Cancelled;
    }

    /// May the times still be changed? While it is scheduled or open, and before its published cut-off.
    pub fn may_be_rescheduled(&self, now: Timestamp) -> bool {
        let early = matches!(self.it.status, DrawStatus::Scheduled | DrawStatus::Open) && !self.stopped;
        early && now < self.it.times.sales_close_at
    }

    /// It has other times. The database says so already.
    pub fn rescheduled(&mut self, times: Times) {
        self.it.times = times;
    }

    /// May tickets be made in advance?
    pub fn takes_pool_tickets(&self) -> bool {
        matches!(self.it.status, DrawStatus::Scheduled | DrawStatus::Open) && !self.stopped
    }

    /// These tickets were made. The database has them already.
    pub fn add_to_pool(&mut self, tickets: impl IntoIterator<Item = (PoolTicketId, Pick)>) {
        for (id, pick) in tickets {
            self.it.pool.put(id, pick);
        }
    }

    /// Lets go of the reservations that nothing else is under way for. A card being charged holds its
    /// tickets until the cut-off and not longer.
    fn expire(&mut self, payments: Vec<PaymentId>, now: Timestamp) -> Vec<Expire> {
        let fence = self.fence();
        let mut records = Vec::new();
        for payment in payments {
            let Some(held) = self.it.reservations.get_mut(&payment) else { continue };
            let lets_go =
                held.state == ReservationState::Held || (held.state == ReservationState::Charging && self.stopped);
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

/// How far the end of the sale has come.
#[derive(Clone, PartialEq, Debug)]
pub enum Stopping {
    /// These reservations must be written as expired.
    Expire(Vec<Expire>),
    /// Records are on their way.
    Wait,
    /// The list can be sealed.
    Done,
}
