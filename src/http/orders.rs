//! The JSON of an order: its body becomes the lines that a draw decides on, and the order that was written becomes
//! the response. Decides nothing: whether the tickets can be sold is the draw's decision.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{FieldError, Problem};
use crate::domain::draw::LineRequest;
use crate::domain::id::PoolTicketId;
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{Method, Payment, PaymentKind, PaymentStatus};
use crate::domain::record::Order;
use crate::domain::ticket::{Ticket, TicketStatus};

/// The most lines in one order.
const MAX_LINES: usize = 100;

/// An order of tickets.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Order, example = json!({
    "tickets": [{"numbers": [1, 7, 13, 22, 36]}, {"quick_pick": true}, {"from_pool": true}], "payment": "wallet"
}))]
pub struct OrderBody {
    /// The tickets to order, one line for each.
    #[schema(min_items = 1, max_items = 100)]
    tickets: Vec<LineBody>,
    /// When the tickets are paid. Without it: `later`.
    #[serde(default)]
    pub payment: PaymentTime,
}

/// `wallet`: at once, from the wallet. `later`: the tickets are reserved until `reserved_until`.
#[derive(Deserialize, Serialize, Clone, Copy, PartialEq, Eq, Default, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentTime)]
pub enum PaymentTime {
    Wallet,
    #[default]
    Later,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
/// One ticket to order: exactly one of these fields says which.
#[schema(as = OrderLine, min_properties = 1, max_properties = 1, example = json!({"quick_pick": true}))]
struct LineBody {
    /// The user's own numbers, in any order: as many as the lottery picks, each at most once. Other tickets may have the
    /// same.
    #[schema(value_type = Vec<i64>, required = false)]
    numbers: Option<Vec<i64>>,
    /// `true`: the service picks the numbers at random.
    #[schema(value_type = bool, required = false)]
    quick_pick: Option<bool>,
    /// This ticket of the draw's pool.
    #[schema(value_type = Uuid, required = false)]
    pool_ticket_id: Option<Uuid>,
    /// `true`: any ticket of the draw's pool.
    #[schema(value_type = bool, required = false)]
    from_pool: Option<bool>,
}

impl LineBody {
    /// A line chooses its ticket in exactly one way.
    fn parse(&self) -> Option<LineRequest> {
        match (&self.numbers, self.quick_pick, self.pool_ticket_id, self.from_pool) {
            (Some(numbers), None, None, None) => Some(LineRequest::Numbers(numbers.clone())),
            (None, Some(true), None, None) => Some(LineRequest::QuickPick),
            (None, None, Some(id), None) => Some(LineRequest::PoolTicket(PoolTicketId(id))),
            (None, None, None, Some(true)) => Some(LineRequest::FromPool),
            _ => None,
        }
    }
}

impl OrderBody {
    /// The lines of the order, or every line that is wrong.
    pub fn parse(&self) -> Result<Vec<LineRequest>, Problem> {
        if !(1..=MAX_LINES).contains(&self.tickets.len()) {
            return Err(Problem::field("tickets", format!("must be 1 to {MAX_LINES} lines")));
        }
        let mut errors = Vec::new();
        let mut lines = Vec::with_capacity(self.tickets.len());
        for (index, line) in self.tickets.iter().enumerate() {
            match line.parse() {
                Some(line) => lines.push(line),
                None => errors.push(FieldError {
                    field: format!("tickets[{index}]"),
                    message: "must be one of numbers, quick_pick: true, pool_ticket_id, from_pool: true"
                        .to_owned(),
                }),
            }
        }
        if errors.is_empty() { Ok(lines) } else { Err(Problem::validation(errors)) }
    }
}

/// The payment and the tickets of an order, as they were when it was placed.
#[derive(Serialize, ToSchema)]
#[schema(as = PlacedOrder)]
pub struct OrderResponse {
    /// The payment for all tickets: paid, or pending until `reserved_until`.
    payment: Payment,
    /// The tickets in the order of the lines.
    tickets: Vec<Ticket>,
}

impl OrderResponse {
    /// The response to an order that was just written. `first_number` is the number of its first ticket, if it was
    /// paid.
    pub fn new(order: &Order, first_number: Option<i64>, currency: Currency) -> Result<OrderResponse, Problem> {
        let paid = first_number.is_some();
        let payment = Payment {
            id: order.payment,
            kind: PaymentKind::Purchase,
            status: payment_status(paid),
            amount: amount(order.price, order.lines.len())?,
            currency,
            method: paid.then_some(Method::Wallet),
            ticket_ids: order.lines.iter().map(|line| line.ticket).collect(),
            failure_code: None,
            created_at: order.at,
            updated_at: order.at,
        };
        let tickets = order.numbered(first_number).map(|(line, number)| Ticket {
            id: line.ticket,
            draw_id: order.fence.draw,
            lottery: order.lottery.clone(),
            number,
            numbers: line.pick,
            origin: line.origin,
            pool_ticket_id: line.pool_ticket,
            status: ticket_status(paid),
            price: order.price,
            reserved_until: order.reserved_until,
            matches: None,
            prize: None,
            created_at: order.at,
        });
        let tickets = tickets.collect();
        Ok(OrderResponse { payment, tickets })
    }

    /// The first response to an order, rebuilt from its rows. Changes since then (a payment, a prize, an expiry)
    /// are taken out again. An order that was reserved first has `reserved_until`, also after it was paid.
    pub fn rebuilt(
        payment: Payment,
        mut tickets: Vec<Ticket>,
        reserved_until: Option<Timestamp>,
    ) -> Result<OrderResponse, Problem> {
        let paid = reserved_until.is_none();
        for ticket in &mut tickets {
            ticket.status = ticket_status(paid);
            ticket.number = ticket.number.filter(|_| paid);
            ticket.reserved_until = reserved_until;
            ticket.matches = None;
            ticket.prize = None;
        }
        let price = tickets.first().map(|ticket| ticket.price);
        let price = price.ok_or_else(|| Problem::internal("an order without tickets"))?;
        let payment = Payment {
            status: payment_status(paid),
            amount: amount(price, tickets.len())?,
            method: paid.then_some(Method::Wallet),
            ticket_ids: tickets.iter().map(|ticket| ticket.id).collect(),
            failure_code: None,
            updated_at: payment.created_at,
            ..payment
        };
        Ok(OrderResponse { payment, tickets })
    }
}

fn payment_status(paid: bool) -> PaymentStatus {
    if paid { PaymentStatus::Paid } else { PaymentStatus::Pending }
}

fn ticket_status(paid: bool) -> TicketStatus {
    if paid { TicketStatus::Paid } else { TicketStatus::Reserved }
}

fn amount(price: Money, tickets: usize) -> Result<Money, Problem> {
    price
        .checked_mul(tickets as u64)
        .ok_or_else(|| Problem::internal("an order's amount does not fit into 64 bits"))
}
