//! The audit: compares the journal with the database, row by row. Everything answered must be there once, as it was
//! answered; nothing refused may be there; and every other row must belong to a call without an answer, once.

#[path = "audit/rows.rs"]
mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};

use lottery::db::read::check;
use lottery::domain::game::Game;
use lottery::domain::id::UserId;
use lottery::domain::record::KeyId;
use serde_json::Value;
use tokio_postgres::Client;

use self::rows::{Payment, Rows, Ticket};
use crate::common::receipts::DrawLog;
use crate::common::ticket_logs;
use crate::figures::Figures;
use crate::journal::{Action, Call, Expected, Journal, Line};

/// Findings that are shown; the others are counted.
const SHOWN: usize = 25;

/// Identifies an order without a key whose payment is unknown: user, draw, whether paid, and lines.
type Shape = (i64, i64, bool, Vec<Line>);

/// The journal and the database side by side.
pub struct Audit<'a> {
    journal: &'a Journal,
    db: Rows,
    found: Vec<String>,
    /// The payments that belong to a call, and the call's index.
    claimed: HashMap<String, usize>,
    /// The later calls that concern an order's reservation, by the order's index.
    later: BTreeMap<usize, Vec<&'a Call>>,
}

/// Compares the journal with the database; panics with what does not match. No call may be under way. Returns how
/// many calls without an answer were carried out.
pub async fn audit(journal: &Journal, sql: &Client, figures: &mut Figures) -> usize {
    let mut later: BTreeMap<usize, Vec<&Call>> = BTreeMap::new();
    for call in &journal.calls {
        if let Action::Pay { order, .. } | Action::Return { order, .. } = call.action {
            later.entry(order).or_default().push(call);
        }
    }
    let mut audit =
        Audit { journal, db: Rows::read(sql).await, found: Vec::new(), claimed: HashMap::new(), later };
    audit.found.extend(
        journal.wrong.iter().map(|answer| format!("an answer that the contract does not allow: {answer}")),
    );
    audit.found.extend(
        check::check(sql, Some(&ticket_logs(sql).await), |_| {})
            .await
            .unwrap()
            .violations
            .iter()
            .map(|law| format!("UNBALANCED {law}")),
    );
    audit.calls();
    audit.receipts(sql, figures).await;
    let surprises = audit.unclaimed();
    audit.keys();
    if !audit.found.is_empty() {
        let shown: Vec<&str> = audit.found.iter().map(String::as_str).take(SHOWN).collect();
        panic!("{} findings:\n{}", audit.found.len(), shown.join("\n"));
    }
    figures.audits += 1;
    surprises
}

impl Audit<'_> {
    fn finds(&mut self, at: usize, what: &str) {
        let call = &self.journal.calls[at];
        self.found.push(format!("{what}: {call:?}"));
    }

    fn calls(&mut self) {
        for (at, call) in self.journal.calls.iter().enumerate() {
            match (&call.action, call.expected()) {
                (Action::Order { .. }, Expected::Done { body, .. }) => self.ordered(at, body),
                (Action::Order { .. } | Action::Deposit { .. }, Expected::Unknown) => self.claim_by_key(at),
                (Action::Deposit { amount }, Expected::Done { body, .. }) => self.deposited(at, *amount, body),
                (Action::Pay { payment, .. }, Expected::Done { body, .. }) => self.paid(at, payment, body),
                _ => {}
            }
        }
    }

    /// Every receipt is of its order, and of a beginning of the one list that the draw has now.
    async fn receipts(&mut self, sql: &Client, figures: &mut Figures) {
        let mut logs: HashMap<i64, DrawLog> = HashMap::new();
        let before = figures.receipts;
        for (at, call) in self.journal.calls.iter().enumerate() {
            let (Action::Order { draw, .. }, Some(body)) = (&call.action, call.success()) else { continue };
            let Some(receipt) = body.get("receipt").filter(|receipt| receipt.is_object()) else { continue };
            if !logs.contains_key(draw) {
                logs.insert(*draw, DrawLog::read(sql, *draw).await);
            }
            match logs[draw].check(receipt) {
                Err(what) => self.finds(at, &format!("FORK {what}")),
                Ok(proved) if body["tickets"][0]["number"] != proved.entry.first => {
                    self.finds(at, "a receipt of another order");
                }
                Ok(_) => figures.receipts += 1,
            }
        }
        let bought =
            |call: &&Call| matches!(call.action, Action::Order { paid: true, .. }) && call.success().is_some();
        let bought = self.journal.calls.iter().filter(bought).count();
        if bought > 0 && figures.receipts == before {
            self.found.push(format!("no receipt for {bought} orders that were paid and answered"));
        }
    }

    fn claim(&mut self, at: usize, payment: &str) {
        if let Some(other) = self.claimed.insert(payment.to_owned(), at) {
            self.finds(at, &format!("DOUBLE payment {payment} is also that of call {other}"));
        }
    }

    /// Finds the payment of a call without an answer by its key, if it was carried out.
    fn claim_by_key(&mut self, at: usize) {
        let call = &self.journal.calls[at];
        let Some(key) = &call.key else { return };
        if let Some(payment) = self.db.keys.get(&KeyId::of(UserId(call.user), key)).cloned() {
            self.claim(at, &payment);
        }
    }

    /// An answered order: its payment and its tickets are there as they were answered.
    fn ordered(&mut self, at: usize, body: &Value) {
        let call = &self.journal.calls[at];
        let Action::Order { draw, paid, lines } = &call.action else { return };
        let id = text(&body["payment"], "id");
        self.claim(at, id);
        let Some(payment) = self.db.payments.get(id).cloned() else {
            return self.finds(at, "LOST an order that was answered");
        };
        let tickets = self.db.tickets.get(id).cloned().unwrap_or_default();
        let answered = body["tickets"].as_array().map(Vec::as_slice).unwrap_or_default();
        if payment.user != call.user || payment.draw != Some(*draw) || payment.lines as usize != lines.len() {
            self.finds(at, &format!("a payment of another user or draw: {payment:?}"));
        }
        if answered.len() != lines.len() || tickets.len() != lines.len() {
            self.finds(at, &format!("LOST or DOUBLE tickets: {} are there", tickets.len()));
        }
        for (answer, line) in answered.iter().zip(lines) {
            match tickets.iter().find(|ticket| ticket.id == text(answer, "id")) {
                None => self.finds(at, &format!("LOST ticket {}", text(answer, "id"))),
                Some(ticket) if !same(ticket, answer, line, *paid) => {
                    self.finds(at, &format!("a ticket that is not as it was answered: {ticket:?}"));
                }
                Some(_) => {}
            }
        }
        if *paid {
            if payment.status != "paid" || payment.method.as_deref() != Some("wallet") {
                self.finds(at, &format!("LOST a paid order: {payment:?}"));
            }
        } else {
            self.reservation(at, &payment, &tickets);
        }
    }

    /// Checks a reservation's state against the later calls that concern it.
    fn reservation(&mut self, at: usize, payment: &Payment, tickets: &[Ticket]) {
        let later = self.later.remove(&at).unwrap_or_default();
        let pays = || later.iter().filter(|call| matches!(call.action, Action::Pay { .. }));
        let heard = |status| pays().any(|call| call.success().is_some_and(|body| body["status"] == status));
        let unanswered = pays().any(|call| matches!(call.expected(), Expected::Unknown)) || heard("processing");
        match payment.status.as_str() {
            // `refunded`: the card was charged after the sale had ended, and the money is in the wallet.
            end @ ("paid" | "refunded") if !heard(end) && !unanswered => {
                self.finds(at, &format!("DOUBLE a reservation that nobody has paid: {payment:?}"));
            }
            "processing" if !unanswered => self.finds(at, "DOUBLE a card is charged that nobody sent"),
            end if heard("paid") && end != "paid" || heard("refunded") && end != "refunded" => {
                self.finds(at, &format!("LOST a paid reservation: {payment:?}"));
            }
            "paid" | "pending" | "expired" | "processing" | "refunded" => {}
            _ => self.finds(at, &format!("an unknown status: {payment:?}")),
        }
        for ticket in tickets {
            let back = later
                .iter()
                .find(|call| matches!(&call.action, Action::Return { ticket: it, .. } if *it == ticket.id));
            let fate = back.map(|call| call.expected());
            let status = ticket.status.as_str();
            let fits = match fate {
                Some(Expected::Done { .. }) => matches!(status, "returned" | "expired"),
                Some(Expected::Unknown) => true,
                Some(Expected::Refused) | None => status != "returned",
            };
            // A returned ticket is not part of the payment; every other ticket is.
            let paid = payment.status == "paid" && !matches!(status, "returned" | "paid");
            if !fits || paid {
                self.finds(at, &format!("a ticket of a {} payment, {fate:?}: {ticket:?}", payment.status));
            }
        }
    }

    /// An answered payment of a reservation: its row is as it was answered, or in a later state.
    fn paid(&mut self, at: usize, id: &str, body: &Value) {
        let Some(payment) = self.db.payments.get(id).cloned() else {
            return self.finds(at, "LOST a payment that was answered");
        };
        if text(body, "id") != id {
            self.finds(at, "the answer is for another payment");
        }
        if body["status"] == "paid" {
            let tickets = self.db.tickets.get(id).cloned().unwrap_or_default();
            let paid: HashSet<&str> =
                tickets.iter().filter(|it| it.status == "paid").map(|it| it.id.as_str()).collect();
            let ids = body["ticket_ids"].as_array().into_iter().flatten();
            let answered: HashSet<&str> = ids.filter_map(Value::as_str).collect();
            if paid != answered || body["amount"] != payment.amount {
                self.finds(at, &format!("LOST or DOUBLE tickets of a paid reservation: {tickets:?}"));
            }
        }
    }

    fn deposited(&mut self, at: usize, amount: i64, body: &Value) {
        let id = text(body, "id");
        self.claim(at, id);
        let Some(payment) = self.db.payments.get(id).cloned() else {
            return self.finds(at, "LOST a deposit that was answered");
        };
        let user = self.journal.calls[at].user;
        let known = ["paid", "failed", "processing"].contains(&payment.status.as_str());
        // Only a charge that was still processing may have changed since.
        let moved = payment.status != text(body, "status") && body["status"] != "processing";
        if payment.kind != "deposit" || payment.user != user || payment.amount != amount || !known || moved {
            self.finds(at, &format!("LOST a deposit is not as it was answered: {payment:?}"));
        }
    }

    /// Every other payment must belong to a call without a key and without an answer. Returns how many there are.
    fn unclaimed(&mut self) -> usize {
        let mut unanswered: HashMap<Shape, usize> = HashMap::new();
        let mut deposits: HashMap<(i64, i64), usize> = HashMap::new();
        for call in self.journal.calls.iter().filter(|it| it.key.is_none()) {
            match (&call.action, call.expected()) {
                (Action::Order { draw, paid, lines }, Expected::Unknown) => {
                    let mut lines = lines.clone();
                    lines.sort();
                    *unanswered.entry((call.user, *draw, *paid, lines)).or_default() += 1;
                }
                (Action::Deposit { amount }, Expected::Unknown) => {
                    *deposits.entry((call.user, *amount)).or_default() += 1;
                }
                _ => {}
            }
        }
        let mut done = 0;
        for (id, payment) in &self.db.payments {
            if self.claimed.contains_key(id) {
                continue;
            }
            let tickets = self.db.tickets.get(id).map(Vec::as_slice).unwrap_or_default();
            let explained = match payment.draw {
                None => take(&mut deposits, |(user, amount)| *user == payment.user && *amount == payment.amount),
                Some(draw) => {
                    let fits = |(user, of, paid, lines): &Shape| {
                        (*user, *of, *paid) == (payment.user, draw, !payment.reserved) && fit(lines, tickets)
                    };
                    // A call that names its pool ticket comes first: one that takes any fits other payments too.
                    let names_all = |shape: &Shape| !shape.3.contains(&Line::FromPool);
                    take(&mut unanswered, |shape| names_all(shape) && fits(shape)) || take(&mut unanswered, fits)
                }
            };
            if explained {
                done += 1;
            } else {
                let calls: Vec<&Call> = self.journal.calls.iter().filter(|it| it.user == payment.user).collect();
                let other: Vec<_> = calls
                    .iter()
                    .filter(|it| it.success().is_none())
                    .map(|it| (&it.action, &it.outcomes))
                    .collect();
                self.found.push(format!(
                    "DOUBLE nobody asked for payment {id}: {payment:?}, {tickets:?}; the user's calls without success: {other:?}"
                ));
            }
        }
        done
    }

    /// Every key refers to its own success and to nothing else.
    fn keys(&mut self) {
        let mut asked = HashSet::new();
        for (at, call) in self.journal.calls.iter().enumerate() {
            let Some(key) = &call.key else { continue };
            let place = KeyId::of(UserId(call.user), key);
            let kept = self.db.keys.get(&place).cloned();
            asked.insert(place);
            match (call.expected(), kept) {
                (Expected::Done { body, .. }, Some(kept)) => {
                    let payment = if body["payment"].is_object() { &body["payment"] } else { body };
                    if text(payment, "id") != kept {
                        self.finds(at, &format!("its key refers to payment {kept}"));
                    }
                }
                (Expected::Done { .. }, None) => self.finds(at, "LOST the key of what was answered"),
                (Expected::Refused, Some(kept)) => {
                    self.finds(at, &format!("DOUBLE it was refused and is there as payment {kept}"));
                }
                _ => {}
            }
        }
        let unused = self.db.keys.keys().filter(|place| !asked.contains(*place));
        self.found.extend(unused.map(|place| format!("nobody used the key {place:?}")));
    }

    /// Counts the winners of a completed draw again, by the published numbers; each must have been paid once.
    pub fn prizes(rows: &Rows, draw: i64, result: &Value) -> Result<usize, String> {
        let game = Game::new(5, 36).unwrap();
        let numbers: Vec<i64> = serde_json::from_value(result["winning_numbers"].clone()).unwrap();
        let winning = game.pick(&numbers).unwrap().mask();
        let tiers = result["tiers"].as_array().unwrap();
        let prize = |hits: u32| tiers.iter().find(|tier| tier["matches"] == hits).map(|tier| &tier["prize"]);
        let (mut winners, mut sold) = (0, 0);
        for ticket in rows.tickets.values().flatten().filter(|it| it.draw == draw && it.status == "paid") {
            sold += 1;
            let due = prize((ticket.pick & winning).count_ones()).and_then(Value::as_i64).unwrap_or(0);
            let paid = rows.prizes.get(&ticket.id).copied().unwrap_or_default();
            if (if due > 0 { (1, due) } else { (0, 0) }) != paid {
                return Err(format!("UNBALANCED {due} is due to {ticket:?}, and paid was {paid:?}"));
            }
            winners += usize::from(due > 0);
        }
        if result["tickets_sold"] == sold { Ok(winners) } else { Err(format!("LOST {sold} tickets: {result}")) }
    }
}

/// Checks the prizes of a completed draw against its published result; panics with a winner who was not paid.
/// Returns how many were.
pub async fn prizes(sql: &Client, draw: i64, result: &Value) -> usize {
    let tiers = "SELECT matches, amount, minimum FROM draw_tiers WHERE draw_id = $1 ORDER BY matches DESC";
    let tiers = sql.query(tiers, &[&draw]).await.unwrap();
    for (tier, published) in tiers.iter().zip(result["tiers"].as_array().unwrap()) {
        let (winners, prize) = (published["winners"].as_i64().unwrap(), published["prize"].as_i64().unwrap());
        let [amount, minimum]: [Option<i64>; 2] = [tier.get("amount"), tier.get("minimum")];
        assert_eq!(published["matches"], tier.get::<_, i16>("matches"));
        assert!(amount.is_none_or(|amount| prize == amount), "another prize than the fixed one: {published}");
        assert!(winners == 0 || minimum.is_none_or(|minimum| prize >= minimum), "below the minimum: {published}");
    }
    Audit::prizes(&Rows::read(sql).await, draw, result).unwrap_or_else(|finding| panic!("{finding}"))
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// Whether a ticket's row is what was answered and what was ordered.
fn same(ticket: &Ticket, answer: &Value, line: &Line, paid: bool) -> bool {
    let numbers: Vec<i64> = serde_json::from_value(answer["numbers"].clone()).unwrap_or_default();
    let mask = Game::new(5, 36).unwrap().pick(&numbers).map(|pick| pick.mask());
    let asked = match line {
        Line::QuickPick => ticket.origin == "quick_pick",
        Line::Numbers(asked) => ticket.origin == "chosen" && *asked == numbers,
        Line::Pool(id) => ticket.pool.as_ref() == Some(id),
        Line::FromPool => ticket.origin == "pool",
    };
    let number = !paid || answer["number"].as_i64().is_some_and(|number| ticket.number == Some(number));
    let status = !paid || ticket.status == "paid";
    asked
        && number
        && status
        && mask == Ok(ticket.pick)
        && answer["origin"] == ticket.origin.as_str()
        && answer["pool_ticket_id"].as_str() == ticket.pool.as_deref()
}

/// Whether these tickets can be the result of these lines.
fn fit(lines: &[Line], tickets: &[Ticket]) -> bool {
    let game = Game::new(5, 36).unwrap();
    let mut left: Vec<&Ticket> = tickets.iter().collect();
    let mut takes = |is: &dyn Fn(&Ticket) -> bool| {
        let at = left.iter().position(|ticket| is(ticket));
        at.map(|at| left.swap_remove(at)).is_some()
    };
    // Lines that name their ticket come first, so that "any of the pool" matches only what is left.
    let (any, named): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(|line| **line == Line::FromPool);
    let all = named.into_iter().chain(any).all(|line| match line {
        Line::Numbers(numbers) => {
            let mask = game.pick(numbers).unwrap().mask();
            takes(&|ticket| ticket.origin == "chosen" && ticket.pick == mask)
        }
        Line::QuickPick => takes(&|ticket| ticket.origin == "quick_pick"),
        Line::Pool(id) => takes(&|ticket| ticket.pool.as_ref() == Some(id)),
        Line::FromPool => takes(&|ticket| ticket.origin == "pool"),
    });
    all && left.is_empty()
}

/// Removes one of those that match, if there is one.
fn take<K: Clone + Eq + std::hash::Hash>(left: &mut HashMap<K, usize>, fits: impl Fn(&K) -> bool) -> bool {
    let Some(found) = left.iter().find(|(key, count)| **count > 0 && fits(key)).map(|(key, _)| key.clone()) else {
        return false;
    };
    *left.get_mut(&found).expect("it was found") -= 1;
    true
}
