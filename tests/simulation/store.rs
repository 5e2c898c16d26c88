//! The database in memory: tables of rows, and transactions that apply the rows of a batch state. A transaction
//! is written completely or not at all, in the order and with the conditions of the real statements. The store
//! has no constraints except the one on idempotency keys, which the writer needs. The model must find what the
//! other constraints would refuse.

mod payout;
mod steps;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use lottery::domain::charge::{ChargeIssue, ChargeName, ChargeOutcome, ChargeRow};
use lottery::domain::draw::{DrawState, Reservation, ReservationState, ReservedTicket, Times, WinningPick};
use lottery::domain::game::Pick;
use lottery::domain::id::{DrawId, PaymentId, PoolTicketId, TicketId, UserId};
use lottery::domain::ledger::{AccountId, Ledger};
use lottery::domain::lottery::{DrawStatus, Fairness, Rules};
use lottery::domain::money::{Currency, Money};
use lottery::domain::payment::{Method, PaymentStatus};
use lottery::domain::payout::Progress;
use lottery::domain::pool::Pool;
use lottery::domain::prefetch::Prefetch;
use lottery::domain::record::{AnswerKind, Fence, KeyId, Line, Order, Record, StoredAnswer};
use lottery::domain::rows::{Changes, DrawSalesRow, PaymentRow};
use lottery::domain::writer::{BatchWrite, Mark, TransactionEnd};
use lottery::domain::writer_cache::{ExpectedState, PrefetchResult};
use uuid::Uuid;

use crate::facts::{self, Fact, Id};

pub use steps::{Output, StaleEpoch, Step, plain};

/// The jackpot account of the only lottery, whose `seq` is 1.
pub const JACKPOT_ACCOUNT: AccountId = AccountId(12);

pub struct DrawRow {
    pub number: i32,
    pub rules: Rules,
    pub times: Times,
    pub status: DrawStatus,
    pub epoch: i64,
    pub sold: i64,
    pub edge: Option<Vec<u8>>,
    pub pool: BTreeMap<PoolTicketId, Pick>,
    pub cancellation: Option<Cancellation>,
    pub result: Option<ResultRow>,
}

pub struct Cancellation {
    pub reason: String,
    pub progress: Progress,
}

pub struct ResultRow {
    pub winning: WinningPick,
    pub counted: bool,
    pub progress: Progress,
    /// For each tier: matches, winners, and the prize of one winner. The most matches come first.
    pub tiers: Vec<(u8, i64, Money)>,
}

pub struct TicketRow {
    pub user: UserId,
    pub payment: PaymentId,
    pub draw: DrawId,
    pub number: Option<i64>,
    pub pick: Pick,
    pub pool: Option<PoolTicketId>,
    pub status: &'static str,
}

pub struct KeyRow {
    pub request: Uuid,
    pub payment: PaymentId,
    pub answer: Option<String>,
    pub kind: AnswerKind,
}

impl KeyRow {
    pub fn kept(&self) -> StoredAnswer {
        StoredAnswer {
            request: self.request,
            kind: self.kind,
            payment: Some(self.payment),
            answer: self.answer.clone(),
        }
    }
}

/// The row of a connection, in which its transactions set their mark.
struct WriterRow {
    /// The process that it belongs to.
    node: u64,
    mark: i64,
    closed: bool,
}

#[derive(Default)]
pub struct Store {
    pub accounts: BTreeMap<AccountId, Money>,
    pub draws: BTreeMap<DrawId, DrawRow>,
    pub payments: BTreeMap<PaymentId, PaymentRow>,
    pub charges: BTreeMap<ChargeName, ChargeRow>,
    pub tickets: BTreeMap<TicketId, TicketRow>,
    pub keys: BTreeMap<KeyId, KeyRow>,
    writers: BTreeMap<i64, WriterRow>,
    /// The id of the next row in `writers`. No id is given out again, even if its row is forgotten.
    next_writer: i64,
    /// The processes that another one has declared dead.
    dead: BTreeSet<u64>,
    /// The rows of the transaction that was committed last.
    facts: Vec<Fact>,
}

pub fn currency() -> Currency {
    "RUB".parse().unwrap()
}

pub fn id(uuid: uuid::Uuid) -> Id {
    uuid.as_u128() as Id
}

pub fn mask(pick: Pick) -> u64 {
    pick.mask().cast_unsigned()
}

impl Store {
    /// Takes the rows that the last commit wrote.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// Inserts the row of a new connection of a process. `None`: the process is dead.
    pub fn new_writer(&mut self, node: u64) -> Option<i64> {
        if self.is_dead(node) {
            return None;
        }
        self.next_writer += 1;
        self.writers.insert(self.next_writer, WriterRow { node, mark: Mark::NONE, closed: false });
        Some(self.next_writer)
    }

    /// Marks a process as dead and closes its rows, as `actors::node` does before it takes over.
    pub fn declare_dead(&mut self, node: u64) {
        self.dead.insert(node);
        let rows = self.writers.values_mut().filter(|row| row.node == node);
        rows.for_each(|row| row.closed = true);
    }

    pub fn is_dead(&self, node: u64) -> bool {
        self.dead.contains(&node)
    }

    /// Loses the row of a connection, as a restored database does that never had it.
    pub fn forget_writer(&mut self, writer: i64) {
        self.writers.remove(&writer);
    }

    /// Closes the row of a lost connection and returns its last mark. A row that is missing has none.
    pub fn close_writer(&mut self, writer: i64) -> i64 {
        self.writers.get_mut(&writer).map_or(Mark::NONE, |row| {
            row.closed = true;
            row.mark
        })
    }

    /// Whether a transaction of this connection can be committed.
    pub fn accepts(&self, mark: Mark) -> bool {
        self.writers.get(&mark.writer).is_some_and(|row| !row.closed)
    }

    /// Sets the mark of a transaction. The connection must not be closed.
    fn mark(&mut self, mark: Mark) {
        assert!(self.accepts(mark), "a transaction on a closed connection");
        self.writers.get_mut(&mark.writer).expect("it accepts the mark").mark = mark.number;
    }

    /// BEGIN, and the prefetch.
    pub fn read(&self, missing: &Prefetch) -> PrefetchResult {
        let sales = |row: &DrawRow| DrawSalesRow { epoch: row.epoch, sold: row.sold, edge: row.edge.clone() };
        let draws = missing.draws.iter().filter_map(|id| Some((*id, sales(self.draws.get(id)?))));
        let accounts = missing.accounts.iter().filter_map(|id| Some((*id, *self.accounts.get(id)?)));
        let payments = missing.payments.iter().filter_map(|id| Some((*id, self.payments.get(id)?.clone())));
        let charges = self.charges.iter().filter(|(name, _)| missing.charges.contains(&name.payment));
        let keys = missing.keys.iter().filter_map(|key| Some((*key, self.keys.get(key)?.kept())));
        PrefetchResult {
            draws: draws.collect(),
            accounts: accounts.collect(),
            payments: payments.collect(),
            charges: charges.map(|(name, row)| (*name, row.clone())).collect(),
            keys: keys.collect(),
        }
    }

    /// Whether the database has the state that the batch expects.
    fn is_as_remembered(&self, expected: &ExpectedState) -> bool {
        expected.draws.iter().all(|draw| {
            let edge = draw.log.as_ref().map(|log| &log.before);
            self.draws.get(&draw.id).is_some_and(|row| {
                (row.epoch, Some(row.sold), row.edge.as_ref()) == (draw.sales.epoch, draw.sold_before, edge)
            })
        }) && expected
            .accounts
            .iter()
            .all(|(id, before, _)| before.is_some() && self.accounts.get(id) == before.as_ref())
    }

    /// Writes the rows that follow from these records and commits: the statements of `write::sales::write`, in their
    /// order.
    ///
    /// # Errors
    /// The reason, if the transaction is rolled back.
    pub fn write<'r>(
        &mut self,
        records: impl Iterator<Item = &'r Record>,
        batch: &'r BatchWrite,
    ) -> Result<(), TransactionEnd> {
        let BatchWrite { mark, state, expected, .. } = batch;
        let (ledger, changes) = (&state.ledger, &state.changes);
        if !self.accepts(*mark) || !self.is_as_remembered(expected) {
            return Err(TransactionEnd::Outdated);
        }
        let (firsts, ends): (Vec<_>, Vec<_>) = changes.new_keys.iter().partition(|key| key.first);
        let mut keys = HashSet::new();
        let twice = !firsts.iter().all(|new| keys.insert(new.key.id));
        if twice || firsts.iter().any(|new| self.keys.contains_key(&new.key.id)) {
            return Err(TransactionEnd::KeyExists);
        }
        let mut keys = HashSet::new();
        if !ends.iter().all(|new| keys.insert(new.key.id)) {
            // ON CONFLICT DO UPDATE cannot change a row a second time in one statement.
            return Err(TransactionEnd::Refused);
        }
        self.mark(*mark);
        // Sorted, so that a history is the same each time.
        for (id, draw) in expected.draws.iter().map(|draw| (draw.id, draw)).collect::<BTreeMap<_, _>>() {
            let edge = draw.log.as_ref().map(|log| log.after.clone());
            (self.draw_mut(id).sold, self.draw_mut(id).edge) = (draw.sales.sold, edge.clone());
            self.facts.push(Fact::Sold { draw: id.0, sold: draw.sales.sold });
            self.facts.push(Fact::Edge { draw: id.0, edge });
        }
        self.write_payments(changes);
        self.write_new_tickets(batch.new_tickets(records));
        self.write_changed_tickets(changes);
        self.write_ledger(ledger);
        for new in firsts.into_iter().chain(ends) {
            let answer = new.answer.as_ref().map(|answer| serde_json::to_string(answer).unwrap());
            let row = KeyRow { request: new.key.request, payment: new.payment, answer, kind: new.kind };
            match self.keys.get_mut(&new.key.id) {
                Some(old) if old.request == row.request => old.answer = row.answer,
                Some(_) => {}
                None => drop(self.keys.insert(new.key.id, row)),
            }
        }
        Ok(())
    }

    fn write_payments(&mut self, changes: &Changes) {
        for (id, row) in changes.new_payments.iter().chain(&changes.changed_payments) {
            self.facts.push(Fact::Payment(payment_fact(*id, row)));
            self.payments.insert(*id, row.clone());
        }
        for (name, row) in &changes.charges {
            self.facts.push(Fact::Charge(charge_fact(*name, row)));
            self.charges.insert(*name, row.clone());
        }
    }

    fn write_new_tickets<'r>(&mut self, tickets: impl Iterator<Item = (&'r Order, &'r Line, Option<i64>)>) {
        for (order, line, number) in tickets {
            let status = if number.is_none() { "reserved" } else { "paid" };
            let (user, payment, draw) = (order.user, order.payment, order.fence.draw);
            let row = TicketRow { user, payment, draw, number, pick: line.pick, pool: line.pool_ticket, status };
            self.facts.push(Fact::Ticket(ticket_fact(line.ticket, &row)));
            self.tickets.insert(line.ticket, row);
        }
    }

    fn write_changed_tickets(&mut self, changes: &Changes) {
        for (user, ticket, number) in changes.paid_tickets.iter().copied() {
            if let Some(row) = self.reserved(user, ticket) {
                (row.status, row.number) = ("paid", Some(number));
                self.facts.push(Fact::TicketPaid { ticket: id(ticket.0), number });
            }
        }
        for (user, ticket, release) in changes.released_tickets.iter().copied() {
            if let Some(row) = self.reserved(user, ticket) {
                row.status = release.as_str();
                self.facts.push(Fact::TicketReleased { ticket: id(ticket.0), how: release.as_str() });
            }
        }
    }

    /// The row of this ticket, if it is reserved: the WHERE clause of the statements.
    fn reserved(&mut self, user: UserId, ticket: TicketId) -> Option<&mut TicketRow> {
        self.tickets.get_mut(&ticket).filter(|row| row.user == user && row.status == "reserved")
    }

    fn write_ledger(&mut self, ledger: &Ledger) {
        self.accounts.extend(ledger.changed());
        for it in ledger.made() {
            self.facts.push(Fact::Transfer(facts::Transfer {
                debit: it.debit.0,
                credit: it.credit.0,
                amount: it.amount.minor(),
                kind: it.kind.as_str(),
                reference: it.reference.map(id),
                wallet: it.user().zip(it.balance_after).map(|(user, after)| (user.0, after.minor())),
            }));
        }
    }

    fn draw_mut(&mut self, draw: DrawId) -> &mut DrawRow {
        self.draws.get_mut(&draw).expect("draws are made at the beginning")
    }

    /// Takes a draw over with a new epoch. It is committed before the draw is read.
    pub fn take_over(&mut self, draw: DrawId) -> i64 {
        let row = self.draw_mut(draw);
        row.epoch += 1;
        row.epoch
    }

    /// The state of a draw, as `db::read::draws::load` reads it.
    pub fn load(&self, id: DrawId) -> DrawState {
        let row = &self.draws[&id];
        let selling = matches!(row.status, DrawStatus::Scheduled | DrawStatus::Open);
        DrawState {
            id,
            number: row.number,
            rules: Arc::new(row.rules.clone()),
            times: row.times,
            status: row.status,
            fairness: row.edge.as_ref().map(|_| Fairness::CommitReveal),
            round: None,
            epoch: row.epoch,
            sold: row.sold,
            pool: if selling { self.pool(id) } else { Pool::default() },
            reservations: if selling { self.reservations(id) } else { HashMap::new() },
            winning: row.result.as_ref().map(|result| result.winning),
            cancel_reason: row.cancellation.as_ref().map(|it| it.reason.clone()),
            rolled_back: None,
        }
    }

    /// The free pool tickets.
    fn pool(&self, id: DrawId) -> Pool {
        let held = self.tickets.values().filter(|row| matches!(row.status, "reserved" | "paid"));
        let held: HashSet<PoolTicketId> = held.filter_map(|row| row.pool).collect();
        let mut pool = Pool::default();
        for (id, pick) in self.draws[&id].pool.iter().filter(|(id, _)| !held.contains(id)) {
            pool.put(*id, *pick);
        }
        pool
    }

    fn reservations(&self, draw: DrawId) -> HashMap<PaymentId, Reservation> {
        let mut reservations: HashMap<PaymentId, Reservation> = HashMap::new();
        for (id, row) in self.tickets.iter().filter(|(_, row)| row.draw == draw && row.status == "reserved") {
            let payment = &self.payments[&row.payment];
            let charging = payment.status == PaymentStatus::Processing;
            let reservation = reservations.entry(row.payment).or_insert_with(|| Reservation {
                user: row.user,
                until: payment.reserved_until.unwrap(),
                tickets: Vec::new(),
                state: if charging {
                    ReservationState::Charging { begun: payment.updated_at }
                } else {
                    ReservationState::Held
                },
            });
            let (pick, pool) = (row.pick, row.pool);
            reservation.tickets.push(ReservedTicket { id: *id, pick, pool, returning: false });
        }
        reservations
    }

    /// Writes new pool tickets, all or none. False if the draw has a newer epoch.
    pub fn add_to_pool(&mut self, fence: Fence, tickets: &[(PoolTicketId, Pick)]) -> bool {
        if self.lock(fence).is_err() {
            return false;
        }
        for (ticket, pick) in tickets {
            self.facts.push(Fact::Pool { draw: fence.draw.0, ticket: id(ticket.0), mask: mask(*pick) });
            self.draw_mut(fence.draw).pool.insert(*ticket, *pick);
        }
        true
    }

    /// The tickets of a payment in the order of their lines.
    pub fn tickets_of(&self, payment: PaymentId) -> impl Iterator<Item = (&TicketId, &TicketRow)> {
        let from = TicketId(payment.0);
        self.tickets.range(from..).filter(move |(_, row)| row.payment == payment)
    }
}

pub fn second(at: Timestamp) -> i64 {
    at.as_second()
}

pub fn payment_fact(payment: PaymentId, row: &PaymentRow) -> facts::Payment {
    facts::Payment {
        id: id(payment.0),
        user: row.user.0,
        kind: row.kind.as_str(),
        status: row.status.as_str(),
        amount: row.amount.minor(),
        method: row.method.map(Method::as_str),
        draw: row.draw.map(|draw| draw.0),
        until: row.reserved_until.map(second),
        created: second(row.created_at),
        updated: second(row.updated_at),
    }
}

pub fn charge_fact(name: ChargeName, row: &ChargeRow) -> facts::Charge {
    facts::Charge {
        payment: id(name.payment.0),
        begun: name.begun.as_millisecond(),
        user: row.user.0,
        amount: row.amount.minor(),
        outcome: row.outcome().map(ChargeOutcome::as_str),
        late: row.end.as_ref().is_some_and(|end| end.late),
        issue: row.issue.map(ChargeIssue::as_str),
    }
}

pub fn ticket_fact(ticket: TicketId, row: &TicketRow) -> facts::Ticket {
    facts::Ticket {
        id: id(ticket.0),
        user: row.user.0,
        payment: id(row.payment.0),
        draw: row.draw.0,
        mask: mask(row.pick),
        pool: row.pool.map(|pool| id(pool.0)),
        number: row.number,
        status: row.status,
    }
}
