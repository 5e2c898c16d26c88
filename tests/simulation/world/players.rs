//! The requests of the players, as `http` handles them: keys, answers, and the first answer again for a key that
//! was used before. It decides nothing about tickets or money.

use jiff::SignedDuration;
use lottery::domain::draw::{DrawAnswer, DrawRequest, LineRequest, OrderRefusal, OrderRequest, SaleError};
use lottery::domain::id::{DrawId, PaymentId, PoolTicketId, TicketId, UserId};
use lottery::domain::lottery::DrawStatus;
use lottery::domain::payment::{Method, Payment};
use lottery::domain::record::{Key, KeyId, Order, Outcome, Record, Refusal, StoredAnswer};
use serde_json::Value;
use uuid::Uuid;

use super::World;
use crate::coverage::Seen;
use crate::facts::{Id, Line, No, OrderedTicket, Paid, PlacedOrder, Told, What};
use crate::process::{Message, Waiter, Waiting};
use crate::store::{id, mask, second};

/// How long a reservation is held, in seconds.
const RESERVATION: i64 = 90;

/// One try of a request, until its client has the answer or has disconnected.
pub struct Request {
    pub ask: usize,
    /// Its index in the model's list.
    pub tried: usize,
    process: u64,
    open: bool,
    key: Option<Key>,
    /// Its key among the locked keys.
    working: Option<KeyId>,
}

impl Request {
    pub fn is_open_at(&self, process: u64) -> bool {
        self.open && self.process == process
    }

    pub fn is_open(&self) -> bool {
        self.open
    }
}

pub fn uuid(id: Id) -> Uuid {
    Uuid::from_u128(id.into())
}

impl World {
    /// The step of the history by which the record's transaction must have begun.
    fn deadline(&mut self) -> u64 {
        self.step + 8 + self.dice.below(70) as u64
    }

    /// A player sends a request to a process.
    pub fn send(&mut self, p: usize, ask: usize) {
        let it = self.model.asked(ask).clone();
        let (user, process) = (UserId(it.user), self.processes[p].name);
        let tried = self.model.tries(ask, process);
        let request = self.requests.len();
        self.say(|| format!("request {request} to process {process}: {it:?}"));
        let digest = Uuid::from_u128(ask as u128);
        let key = it.key.as_ref().map(|text| Key { user, id: KeyId::of(user, text), request: digest });
        self.requests.push(Request { ask, tried, process, open: true, key, working: None });
        if let Some(key) = &key {
            if !self.processes[p].working.insert(key.id) {
                self.coverage.saw(Seen::KeyInProgress);
                self.hears(request, Told::No(No::InProgress));
                return;
            }
            self.requests[request].working = Some(key.id);
        }
        let deadline = self.deadline();
        let waiter = Waiter { who: Waiting::Request(request), deadline: Some(deadline) };
        match it.what {
            What::Order { draw, lines, reserve } => {
                let lines = lines.iter().map(ask_line).collect();
                let reserve = reserve.then_some(SignedDuration::from_secs(RESERVATION));
                let request = DrawRequest::Order(OrderRequest { user, lines, reserve, key });
                self.route(p, DrawId(draw), Message { request, waiter });
            }
            What::Wallet { payment } => {
                let payment = PaymentId(uuid(payment));
                let draw = self.store.payments[&payment].draw.unwrap();
                self.route(p, draw, Message { request: DrawRequest::Pay { user, payment, key }, waiter });
            }
            What::Card { payment } => {
                // Before a card is charged, the key must be known to be new.
                if self.answer_from_key(request) {
                    return;
                }
                self.begin_charge(p, request, PaymentId(uuid(payment)), key, deadline);
            }
            What::Deposit { amount } => self.begin_deposit(p, request, user, amount, key, deadline),
            What::Withdrawal { amount } => self.begin_withdrawal(p, request, user, amount, key, deadline),
            What::GiveBack { payment, ticket } => {
                let (payment, ticket) = (PaymentId(uuid(payment)), TicketId(uuid(ticket)));
                let row = &self.store.tickets[&ticket];
                if row.status != "reserved" {
                    self.hears(request, Told::No(No::NotReserved));
                    return;
                }
                let draw = row.draw;
                let request = DrawRequest::GiveBack { user, payment, ticket };
                self.route(p, draw, Message { request, waiter });
            }
        }
    }

    /// A client gives up, or loses its connection.
    pub fn hang_up(&mut self, request: usize) {
        self.coverage.saw(Seen::HungUp);
        self.hears(request, Told::Unknown);
    }

    pub(super) fn hears(&mut self, request: usize, told: Told) {
        let it = &mut self.requests[request];
        if !it.open {
            return;
        }
        it.open = false;
        let (tried, process, working) = (it.tried, it.process, it.working.take());
        let process = self.processes.iter_mut().find(|at| at.name == process);
        if let (Some(process), Some(place)) = (process, working) {
            process.working.remove(&place);
        }
        self.say(|| format!("request {request} gets {told:?}"));
        let its_own = told != Told::No(No::Broken) || self.broken.contains(&request);
        assert!(its_own, "a bad record does not fail other records: request {request}");
        self.saw_told(request, &told);
        self.model.told(tried, &told);
    }

    fn saw_told(&mut self, request: usize, told: &Told) {
        let seen = match told {
            Told::No(No::NotOpen) => Seen::NotOpen,
            Told::No(No::InvalidPick) => Seen::InvalidPick,
            Told::No(No::TicketUnavailable) => Seen::PoolTakenAgain,
            Told::No(No::PoolEmpty) => Seen::PoolEmpty,
            Told::No(No::TooManyReservations) => Seen::TooManyReservations,
            Told::No(No::InsufficientFunds) => Seen::InsufficientFunds,
            Told::No(No::KeyReused) => Seen::KeyReused,
            Told::No(No::NotPayable) => {
                let ask = self.model.asked(self.requests[request].ask);
                let (What::Wallet { payment } | What::Card { payment }) = ask.what else { return };
                if !self.is_returning(PaymentId(uuid(payment))) {
                    return;
                }
                Seen::ReturningNotPaid
            }
            _ => return,
        };
        self.coverage.saw(seen);
    }

    /// Whether the return of one of its tickets is in flight.
    fn is_returning(&self, payment: PaymentId) -> bool {
        let live = self.processes.iter().flat_map(|process| process.draws.values());
        live.filter_map(|entry| match entry {
            crate::process::Entry::Live(actor) => actor.draw().parts().reservations.get(&payment),
            crate::process::Entry::Loading { .. } => None,
        })
        .any(|held| held.tickets.iter().any(|ticket| ticket.returning))
    }

    /// Delivers an answer to its waiter.
    pub(super) fn answer(&mut self, p: usize, waiting: Waiting, answer: DrawAnswer) {
        match (waiting, answer) {
            (Waiting::Request(request), DrawAnswer::Sale(result)) => self.answer_request(request, result),
            (Waiting::Charge(charge), DrawAnswer::Sale(result)) => self.charge_answered(p, charge, result),
            (Waiting::Admin(admin), DrawAnswer::Step(result)) => self.admin_hears(admin, result.is_ok()),
            (Waiting::Nobody, _) => {}
            (waiting, answer) => panic!("{waiting:?} is answered with {answer:?}"),
        }
    }

    pub(super) fn answer_request(&mut self, request: usize, result: Result<(Record, Outcome), SaleError>) {
        if !self.requests[request].open {
            return;
        }
        match result {
            Ok((Record::Order(order), Outcome::Ordered { first_number, receipt })) => {
                assert_eq!(receipt.is_some(), first_number.is_some(), "a paid order has a receipt");
                if let Some(receipt) = receipt {
                    let mut json = Vec::new();
                    receipt.write_json_proof(&mut json).expect("its batch is committed");
                    let text = String::from_utf8(json).unwrap().replace("\\n", "\n");
                    self.model.receipt(order.fence.draw.0, id(order.payment.0), &text);
                }
                self.hears(request, Told::PlacedOrder(ordered(&order, first_number)));
            }
            Ok((_, Outcome::Payment(payment) | Outcome::LateCredit(payment))) => {
                self.hears(request, Told::Payment(paid(&payment)));
            }
            Ok((Record::GiveBack(_), Outcome::Released)) => self.hears(request, Told::Released),
            Ok((record, outcome)) => panic!("{outcome:?} is no answer to {record:?}"),
            Err(SaleError::Refused(Refusal::Replay(kept))) => {
                let told = self.replay(request, kept);
                self.hears(request, told);
            }
            Err(SaleError::OutcomeUnknown) => self.hears(request, Told::Unknown),
            // A refusal is the answer only if the key has no earlier success.
            Err(error) => {
                if matches!(error, SaleError::Order(OrderRefusal::KeyInFlight)) {
                    self.coverage.saw(Seen::KeyOnItsWay);
                }
                if !self.answer_from_key(request) {
                    self.hears(request, Told::No(no(&error)));
                }
            }
        }
    }

    /// Answers from the row of the request's key, if there is one.
    fn answer_from_key(&mut self, request: usize) -> bool {
        let Some(key) = self.requests[request].key else { return false };
        let Some(row) = self.store.keys.get(&key.id) else { return false };
        let told = match key.refusal(row.kept()) {
            Refusal::Replay(stored) => self.replay(request, stored),
            refusal => Told::No(no(&SaleError::Refused(refusal))),
        };
        self.hears(request, told);
        true
    }

    /// The first answer again.
    fn replay(&mut self, request: usize, kept: StoredAnswer) -> Told {
        let what = &self.model.asked(self.requests[request].ask).what;
        let seen = match what {
            What::Order { draw, .. } => {
                let on_sale = self.store.draws[&DrawId(*draw)].status == DrawStatus::Open;
                if on_sale { Seen::ReplayOnSale } else { Seen::ReplayOver }
            }
            What::Deposit { .. } => Seen::ReplayOfDeposit,
            What::Withdrawal { .. } => Seen::ReplayOfWithdrawal,
            _ => Seen::ReplayOfPay,
        };
        self.coverage.saw(seen);
        let payment = kept.payment.unwrap();
        if let Some(answer) = kept.answer {
            return Told::Payment(paid_from_json(&answer));
        }
        if self.store.payments[&payment].draw.is_some() {
            return Told::PlacedOrder(self.first_answer(payment));
        }
        let row = &self.store.payments[&payment];
        Told::Payment(Paid {
            payment: id(payment.0),
            status: row.status.as_str().to_owned(),
            amount: row.amount.minor(),
            method: row.method.map(|method| method.as_str().to_owned()),
            tickets: Vec::new(),
            failure: row.failure_code.clone(),
        })
    }

    /// An order's first answer, rebuilt from its rows.
    fn first_answer(&self, payment: PaymentId) -> PlacedOrder {
        let row = &self.store.payments[&payment];
        let until = row.reserved_until.map(second);
        let ticket = |(ticket, row): (&TicketId, &crate::store::TicketRow)| OrderedTicket {
            id: id(ticket.0),
            mask: mask(row.pick),
            pool: row.pool.map(|pool| id(pool.0)),
            number: row.number.filter(|_| until.is_none()),
        };
        let tickets: Vec<OrderedTicket> = self.store.tickets_of(payment).map(ticket).collect();
        let price = self.store.draws[&row.draw.unwrap()].rules.price.minor();
        let amount = price * tickets.len() as i64;
        PlacedOrder { payment: id(payment.0), amount, until, created: second(row.created_at), tickets }
    }
}

fn ask_line(line: &Line) -> LineRequest {
    match line {
        Line::Numbers(Some(mask)) => LineRequest::Numbers((1..=64).filter(|n| mask >> (n - 1) & 1 == 1).collect()),
        Line::Numbers(None) => LineRequest::Numbers(vec![0, 1]),
        Line::QuickPick => LineRequest::QuickPick,
        Line::PoolTicket(id) => LineRequest::PoolTicket(PoolTicketId(uuid(*id))),
        Line::FromPool => LineRequest::FromPool,
    }
}

fn ordered(order: &Order, first_number: Option<i64>) -> PlacedOrder {
    let tickets = order.numbered(first_number).map(|(line, number)| OrderedTicket {
        id: id(line.ticket.0),
        mask: mask(line.pick),
        pool: line.pool_ticket.map(|pool| id(pool.0)),
        number,
    });
    PlacedOrder {
        payment: id(order.payment.0),
        amount: order.price.minor() * order.lines.len() as i64,
        until: order.reserved_until.map(second),
        created: second(order.at),
        tickets: tickets.collect(),
    }
}

fn paid(payment: &Payment) -> Paid {
    Paid {
        payment: id(payment.id.0),
        status: payment.status.as_str().to_owned(),
        amount: payment.amount.minor(),
        method: payment.method.map(Method::as_str).map(str::to_owned),
        tickets: payment.ticket_ids.iter().map(|ticket| id(ticket.0)).collect(),
        failure: payment.failure_code.clone(),
    }
}

/// The payment as a client reads it.
fn paid_from_json(text: &str) -> Paid {
    let json: Value = serde_json::from_str(text).unwrap();
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    let number = |value: &Value| id(value.as_str().unwrap().parse().unwrap());
    Paid {
        payment: number(&json["id"]),
        status: text("status").unwrap(),
        amount: json["amount"].as_i64().unwrap(),
        method: text("method"),
        tickets: json["ticket_ids"].as_array().unwrap().iter().map(number).collect(),
        failure: text("failure_code"),
    }
}

fn no(error: &SaleError) -> No {
    match error {
        SaleError::Order(OrderRefusal::NotOpen) => No::NotOpen,
        SaleError::Order(OrderRefusal::InvalidPick { .. }) => No::InvalidPick,
        SaleError::Order(OrderRefusal::TicketUnavailable { .. }) => No::TicketUnavailable,
        SaleError::Order(OrderRefusal::PoolEmpty) => No::PoolEmpty,
        SaleError::Order(OrderRefusal::TooManyReservations(_)) => No::TooManyReservations,
        SaleError::Order(OrderRefusal::KeyInFlight) => No::InProgress,
        SaleError::NotPayable | SaleError::Refused(Refusal::NotPayable) => No::NotPayable,
        SaleError::NotReserved => No::NotReserved,
        SaleError::Refused(Refusal::InsufficientFunds) => No::InsufficientFunds,
        SaleError::Refused(Refusal::KeyReused) => No::KeyReused,
        SaleError::Refused(Refusal::Overloaded | Refusal::StaleEpoch) => No::Overloaded,
        SaleError::Refused(
            Refusal::Rejected
            | Refusal::Replay(_)
            | Refusal::Ended(_)
            | Refusal::ChargeEnded(_)
            | Refusal::OwnWithdrawal
            | Refusal::OwnPayment
            | Refusal::TicketLog(_),
        ) => No::Broken,
        SaleError::NoSuchDraw | SaleError::OutcomeUnknown => unreachable!("no refusal of a draw that is there"),
    }
}
