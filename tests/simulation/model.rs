//! The model: a separate accounting. It knows only the requests and answers of the clients, the money that the
//! card provider took, and the rows of each commit. It shares no logic and no type with the domain. It asserts
//! the invariants of the service at every commit, at every answer and at the end.

mod answers;
mod draws;
mod logs;
mod money;

use std::collections::{BTreeMap, HashMap, HashSet};

use self::logs::TicketLog;
pub use self::logs::{MASTER_SECRET, PUBLIC_URL};
use crate::facts::{Charge, DrawTimes, Fact, Id, Name, NewTimes, OrderRequest, Payment, Rules, Ticket};

/// A draw, as its committed rows describe it.
struct Draw {
    rules: Rules,
    status: &'static str,
    times: DrawTimes,
    /// The earliest and the latest cut-off it ever had.
    first_cut_off: i64,
    cut_off: i64,
    /// The new times that admins requested, and whether a commit can have been the effect of each.
    new_times: Vec<(NewTimes, bool)>,
    /// The paid tickets in the order of their numbers.
    numbered: Vec<Id>,
    /// The number of sold tickets in its row.
    sold: i64,
    /// The edge of the ticket log in its row.
    edge: Option<Vec<u8>>,
    log: TicketLog,
    pool: HashMap<Id, PoolTicket>,
    sealed: bool,
    /// The winning numbers, and the jackpot that the draw received.
    numbers: Option<(u64, i64)>,
    /// Its transfers with the operator's accounts, by their kind.
    house: BTreeMap<&'static str, i64>,
    prizes: Option<crate::facts::Prizes>,
    /// Whether an admin requested to close or cancel it.
    end_asked: bool,
}

struct PoolTicket {
    mask: u64,
    holder: Option<Id>,
    sold: bool,
}

struct Bill {
    row: Payment,
    /// As it was created, to check the answer.
    first: Payment,
    tickets: Vec<Id>,
    /// The account that paid (wallet or clearing), and the amount that moved into the draw's escrow.
    purchase: Option<(i64, i64)>,
    /// What cards paid into the wallet: for a deposit, or too late for a purchase.
    deposits: Vec<i64>,
    refund: Option<i64>,
    /// The transfers of a withdrawal: from which account to which.
    way: Vec<(i64, i64)>,
}

struct HeldTickets {
    row: Ticket,
    /// As it was created, to check the answer.
    first: Ticket,
    prize: Option<i64>,
}

/// One try to send a request.
struct Try {
    ask: usize,
    /// The process it was sent to.
    process: u64,
    /// How often its player's wallet had changed at that time.
    moves: usize,
    told: bool,
    refused: bool,
    /// Whether a later try of the same request was refused. Then this try must not have an effect any more.
    disowned: bool,
    written: bool,
}

#[derive(Default)]
struct Key {
    /// The request that had an effect, and its payment.
    effect: Option<(usize, Id)>,
    first: Option<crate::facts::Told>,
    tries: Vec<usize>,
}

#[derive(Default)]
pub struct Model {
    pub now: i64,
    /// Whether there ever was a second process, which may act on what it remembers of a draw that it has lost.
    pub rivals: bool,
    balances: BTreeMap<i64, i64>,
    /// All balances that each wallet ever had, by its owner.
    wallets: BTreeMap<i64, Vec<i64>>,
    draws: BTreeMap<i64, Draw>,
    bills: HashMap<Id, Bill>,
    tickets: HashMap<Id, HeldTickets>,
    asks: Vec<OrderRequest>,
    tries: Vec<Try>,
    keys: HashMap<(i64, String), Key>,
    /// The rows of the charges.
    charges: BTreeMap<Name, Charge>,
    /// The amounts that the provider took from cards.
    taken: BTreeMap<Name, i64>,
    /// The charges that an admin ended as paid, and those that an admin ended without money.
    ended_as_paid: HashSet<Name>,
    ended_as_failed: HashSet<Name>,
    /// The charges that the provider will not make any more.
    used_up: HashSet<Name>,
    /// The charges whose result the provider tells only if it is asked.
    unreported: HashSet<Name>,
    /// Payments of which the owner asked to return a ticket.
    given_back: HashSet<Id>,
}

/// The limit of orders of one draw in flight.
pub const ORDERS_IN_FLIGHT: usize = 6;
/// The limit of a player's tickets that are reserved and not paid.
pub const OPEN_RESERVATIONS: usize = 8;

const CLEARING: i64 = 0;
const RESERVE: i64 = 8;
const REVENUE: i64 = 16;
const JACKPOT: i64 = 12;

fn wallet(user: i64) -> i64 {
    user * 8 + 1
}

fn held(user: i64) -> i64 {
    user * 8 + 2
}

fn escrow(draw: i64) -> i64 {
    draw * 8 + 3
}

impl Model {
    /// A draw was created. Its status is scheduled.
    pub fn draw(&mut self, draw: i64, rules: Rules, times: DrawTimes) {
        self.balances.insert(escrow(draw), 0);
        let draw_of = Draw {
            rules,
            status: "scheduled",
            times,
            first_cut_off: times.close,
            cut_off: times.close,
            new_times: Vec::new(),
            numbered: Vec::new(),
            sold: 0,
            edge: None,
            log: TicketLog::default(),
            pool: HashMap::new(),
            sealed: false,
            numbers: None,
            house: BTreeMap::new(),
            prizes: None,
            end_asked: false,
        };
        self.draws.insert(draw, draw_of);
    }

    /// The accounts at the beginning of the history.
    pub fn open(&mut self, accounts: impl Iterator<Item = (i64, i64)>) {
        self.balances.extend(accounts);
        for (account, balance) in &self.balances {
            if account % 8 == 1 {
                self.wallets.insert(account / 8, vec![*balance]);
            }
        }
    }

    /// An admin requested to close or cancel: reservations may end before their expiry.
    pub fn end_asked(&mut self, draw: i64) {
        self.draw_mut(draw).end_asked = true;
    }

    /// The number of orders of this draw that are in flight from one actor.
    pub fn in_flight(&self, draw: i64, orders: usize) {
        assert!(orders <= ORDERS_IN_FLIGHT, "{orders} orders of draw {draw} are in flight");
    }

    /// The provider took this much from a card.
    pub fn charged(&mut self, name: Name, amount: i64) {
        assert_eq!(self.charges[&name].amount, amount, "the card pays what the charge was for: {name:?}");
        let before = self.taken.insert(name, amount);
        assert_eq!(before, None, "the provider took the money of charge {name:?} twice");
        assert!(!self.used_up.contains(&name), "charged although its key was used up: {name:?}");
    }

    /// Whether the provider took the money of this charge.
    pub fn is_taken(&self, name: Name) -> bool {
        self.taken.contains_key(&name)
    }

    /// An admin decides how a charge ends.
    pub fn admin_ends(&mut self, name: Name, paid: bool) {
        if paid {
            self.ended_as_paid.insert(name)
        } else {
            self.ended_as_failed.insert(name)
        };
    }

    /// The provider does not know the charge, and will not make it any more.
    pub fn key_used_up(&mut self, name: Name) {
        assert!(!self.taken.contains_key(&name), "the money of {name:?} was taken");
        self.used_up.insert(name);
    }

    /// The provider will not report the result of this charge by itself.
    pub fn report_lost(&mut self, name: Name) {
        self.unreported.insert(name);
    }

    fn draw_mut(&mut self, draw: i64) -> &mut Draw {
        self.draws.get_mut(&draw).expect("a draw that was made")
    }

    fn ticket_mut(&mut self, ticket: Id) -> &mut HeldTickets {
        self.tickets.get_mut(&ticket).expect("a ticket that was written")
    }

    fn bill_mut(&mut self, payment: Id) -> &mut Bill {
        self.bills.get_mut(&payment).expect("a payment that was written")
    }

    /// A transaction with these rows was committed. `accounts` are the balances after it.
    pub fn commit(&mut self, facts: &[Fact], accounts: impl Iterator<Item = (i64, i64)>) {
        let mut touched: Vec<Id> = Vec::new();
        let mut numbered: Vec<(i64, i64, Id)> = Vec::new();
        for fact in facts {
            match fact {
                Fact::Payment(row) => {
                    self.payment(row);
                    touched.push(row.id);
                }
                Fact::Charge(row) => {
                    self.charge(row);
                    touched.push(row.payment);
                }
                Fact::Ticket(row) => {
                    self.new_ticket(row);
                    touched.push(row.payment);
                    numbered.extend(row.number.map(|number| (row.draw, number, row.id)));
                }
                Fact::TicketPaid { ticket, number } => {
                    let row = self.leaves_reservation(*ticket, "paid");
                    touched.push(row.payment);
                    numbered.push((row.draw, *number, *ticket));
                }
                Fact::TicketReleased { ticket, how } => {
                    touched.push(self.leaves_reservation(*ticket, how).payment);
                }
                Fact::Transfer(transfer) => touched.extend(self.transfer(transfer)),
                Fact::Sold { draw, sold } => self.draw_mut(*draw).sold = *sold,
                Fact::Edge { draw, edge } => self.draw_mut(*draw).edge.clone_from(edge),
                Fact::Status { draw, status } => self.status(*draw, status),
                Fact::Times { draw, times } => self.times(*draw, *times),
                Fact::Pool { draw, ticket, mask } => self.pool(*draw, *ticket, *mask),
                Fact::Sealed { draw, tickets, orders, root } => {
                    self.sealed(*draw, *tickets);
                    self.check_sealed_log(*draw, *orders, *root);
                }
                Fact::Numbers { draw, mask, jackpot } => self.numbers(*draw, *mask, *jackpot),
                Fact::Prizes(prizes) => self.prizes(prizes),
            }
        }
        self.number(numbered);
        self.check_edges();
        touched.sort_unstable();
        touched.dedup();
        for payment in touched {
            self.check_bill(payment);
        }
        self.check_balances(accounts);
    }

    fn payment(&mut self, row: &Payment) {
        let Some(bill) = self.bills.get_mut(&row.id) else {
            assert!(matches!(row.status, "pending" | "paid" | "processing"), "a new payment: {row:?}");
            if let Some(draw) = row.draw {
                let cut_off = self.draws[&draw].cut_off;
                assert!(row.created < cut_off, "ordered after the cut-off: {row:?}");
                assert!(row.until.is_none_or(|until| until <= cut_off), "held beyond the cut-off: {row:?}");
            }
            let (row, first) = (row.clone(), row.clone());
            let bill = Bill {
                row,
                first,
                tickets: Vec::new(),
                purchase: None,
                deposits: Vec::new(),
                refund: None,
                way: Vec::new(),
            };
            self.bills.insert(bill.row.id, bill);
            return;
        };
        let old = std::mem::replace(&mut bill.row, row.clone());
        let lawful = matches!(
            (old.status, row.status),
            ("pending", "pending" | "paid" | "processing" | "expired")
                | ("processing", "processing" | "paid" | "pending" | "expired" | "refunded" | "failed")
        );
        assert!(lawful, "a payment went from {} to {}: {row:?}", old.status, row.status);
        assert_eq!(
            (old.user, old.kind, old.draw, old.until, old.created),
            (row.user, row.kind, row.draw, row.until, row.created),
            "a payment became another"
        );
        if let (Some(draw), Some(until)) = (row.draw, row.until) {
            let draw = &self.draws[&draw];
            let begins = matches!((old.status, row.status), ("pending", "paid" | "processing"));
            assert!(!begins || row.updated < until, "paid after its expiry: {row:?}");
            assert!(row.status != "paid" || row.updated < draw.cut_off, "paid after the cut-off: {row:?}");
            let held = bill.tickets.iter().any(|ticket| self.tickets[ticket].row.status == "reserved");
            // A result that waited for a draw that was being loaded may come after the draw's sale has ended.
            let in_time = row.updated.max(self.now) < draw.times.close;
            let on_sale = draw.status == "open" && !draw.end_asked && in_time;
            let lost = row.status == "refunded" && held && on_sale && !self.rivals;
            assert!(!lost, "a card paid for tickets that were held, and lost them: {row:?}");
        }
    }

    /// A charge begins, and it ends. Money that came once stays.
    fn charge(&mut self, row: &Charge) {
        let old = self.charges.insert(row.name(), row.clone());
        let outcomes = (old.as_ref().map(|old| old.outcome), row.outcome);
        assert!(
            matches!(outcomes, (None, None) | (Some(None), _) | (Some(Some("failed")), Some(_))),
            "a charge went from {old:?} to {row:?}"
        );
        let same = old.is_none_or(|old| (old.user, old.amount) == (row.user, row.amount));
        assert!(same, "a charge became another: {row:?}");
        let is_reported = self.taken.contains_key(&row.name()) || self.ended_as_paid.contains(&row.name());
        assert!(row.outcome != Some("paid") || is_reported, "no card paid {row:?}");
    }

    fn new_ticket(&mut self, row: &Ticket) {
        let draw = self.draws.get_mut(&row.draw).expect("a draw that was made");
        assert!(draw.status == "open" && !draw.sealed, "a ticket of a draw that is {}: {row:?}", draw.status);
        assert!(draw.rules.is_lawful(row.mask), "no valid pick: {row:?}");
        if let Some(id) = row.pool {
            let pooled = draw.pool.get_mut(&id).expect("a pool ticket of this draw");
            assert_eq!(pooled.mask, row.mask, "a pool ticket with other numbers");
            assert_eq!(pooled.holder, None, "pool ticket {id} has two holders");
            assert!(!pooled.sold, "pool ticket {id} was sold before");
            pooled.holder = Some(row.id);
            pooled.sold = row.status == "paid";
        }
        let bill = self.bill_mut(row.payment);
        assert_eq!((bill.row.user, bill.row.draw), (row.user, Some(row.draw)), "a ticket of another's payment");
        bill.tickets.push(row.id);
        let held = HeldTickets { row: row.clone(), first: row.clone(), prize: None };
        assert!(self.tickets.insert(row.id, held).is_none(), "ticket {} was written twice", row.id);
    }

    /// A reserved ticket is paid or released, once and while its draw's list is open.
    fn leaves_reservation(&mut self, ticket: Id, status: &'static str) -> Ticket {
        let held = self.ticket_mut(ticket);
        assert_eq!(held.row.status, "reserved", "ticket {ticket} leaves its reservation once");
        held.row.status = status;
        let row = held.row.clone();
        let draw = self.draw_mut(row.draw);
        assert!(draw.status == "open" && !draw.sealed, "a ticket of a draw that is {}: {row:?}", draw.status);
        if let Some(pooled) = row.pool.and_then(|id| draw.pool.get_mut(&id)) {
            assert_eq!(pooled.holder, Some(ticket), "only the holder releases a pool ticket");
            if status == "paid" {
                pooled.sold = true;
            } else {
                pooled.holder = None;
            }
        }
        row
    }

    /// Numbers begin at one and have no gap. The numbers of a payment are consecutive.
    fn number(&mut self, mut numbered: Vec<(i64, i64, Id)>) {
        numbered.sort_unstable();
        for (draw, number, ticket) in &numbered {
            let draw = self.draw_mut(*draw);
            draw.numbered.push(*ticket);
            assert_eq!(*number, draw.numbered.len() as i64, "numbers have no gap: ticket {ticket}");
            self.ticket_mut(*ticket).row.number = Some(*number);
        }
        for of_draw in numbered.chunk_by(|one, next| one.0 == next.0) {
            let tickets: Vec<Id> = of_draw.iter().map(|(.., ticket)| *ticket).collect();
            self.log_orders(of_draw[0].0, of_draw[0].1, &tickets);
        }
        for (id, draw) in &self.draws {
            assert_eq!(draw.sold, draw.numbered.len() as i64, "each sold ticket of draw {id} has a number");
        }
    }
}
