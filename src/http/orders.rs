//! The JSON of an order: its body becomes the lines that a draw decides on, and the order that was written becomes
//! the response. Decides nothing: whether the tickets can be sold is the draw's decision.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use verifiable_draw::keys::Salt;

use super::error::{FieldError, Problem};
use crate::actors::draws::WrittenOrder;
use crate::domain::draw::LineRequest;
use crate::domain::id::PoolTicketId;
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{Method, Payment, PaymentKind, PaymentStatus};
use crate::domain::ticket::{Ticket, TicketStatus};
use crate::domain::ticket_log::Receipt;

/// The most lines in one order.
const MAX_LINES: usize = 100;
/// The response to an order of one line with its receipt fits.
const ORDER_BYTES: usize = 3 * 1024;

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
#[derive(ToSchema)]
#[schema(as = PlacedOrder)]
pub struct OrderResponse {
    /// The payment for all tickets: paid, or pending until `reserved_until`.
    payment: Payment,
    /// The tickets in the order of the lines.
    tickets: Vec<Ticket>,
    /// Proves that the draw's ticket log has the order. `null` for a reservation, and for a draw without a log. A replay of
    /// the answer has none, nor has an answer with `Preference-Applied: return=minimal`: `GET /tickets/{id}/proof` has it.
    #[schema(value_type = Option<ReceiptBody>, required = false)]
    receipt: Option<Option<Receipt>>,
}

/// The part of the response that is serialized.
#[derive(Serialize)]
struct OrderWithoutReceipt<'a> {
    payment: &'a Payment,
    tickets: &'a [Ticket],
}

/// A proof that the ticket log of a draw has a paid order.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderReceipt)]
pub struct ReceiptBody {
    /// A proof in the text format of C2SP tlog-proof, with the order's entry in `extra` and a signed checkpoint of the log.
    #[schema(
        example = "c2sp.org/tlog-proof@v1\nextra eyJmaXJzdCI6MSwi…\nindex 0\n\nlottery.example/api/v1/draws/7/log\n1\n…"
    )]
    pub proof: String,
    /// Base64 of 16 bytes. With it, the owner shows whose order the entry is; keep it to yourself until then.
    #[schema(example = "AAECAwQFBgcICQoLDA0ODw==")]
    pub salt: String,
}

/// Appends the same. Its texts need no escapes, so they are written as they are.
fn write_receipt(json: &mut Vec<u8>, receipt: &Receipt) -> Result<(), Problem> {
    json.extend_from_slice(b"{\"proof\":\"");
    let written = receipt.write_json_proof(json);
    written.ok_or_else(|| Problem::internal("a receipt of a batch that did not end"))?;
    json.extend_from_slice(b"\",\"salt\":\"");
    json.extend_from_slice(salt_text(receipt.salt()).as_bytes());
    json.extend_from_slice(b"\"}");
    Ok(())
}

/// A salt as an answer shows it.
pub fn salt_text(salt: &Salt) -> String {
    STANDARD.encode(salt)
}

impl OrderResponse {
    /// The response to an order that was just written, with its receipt or without.
    pub fn new(written: WrittenOrder, with_receipt: bool, currency: Currency) -> Result<OrderResponse, Problem> {
        let WrittenOrder { order, first_number, receipt } = written;
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
        Ok(OrderResponse { payment, tickets, receipt: with_receipt.then_some(receipt) })
    }

    /// The body of the response.
    pub fn to_json(&self) -> Result<Vec<u8>, Problem> {
        let mut json = Vec::with_capacity(ORDER_BYTES);
        let OrderResponse { payment, tickets, receipt } = self;
        serde_json::to_writer(&mut json, &OrderWithoutReceipt { payment, tickets }).map_err(Problem::internal)?;
        if let Some(receipt) = receipt {
            // The last brace follows the receipt.
            json.pop();
            json.extend_from_slice(b",\"receipt\":");
            match receipt {
                Some(receipt) => write_receipt(&mut json, receipt)?,
                None => json.extend_from_slice(b"null"),
            }
            json.push(b'}');
        }
        Ok(json)
    }

    /// The first response to an order, rebuilt from its rows. Changes since then (a payment, a prize, an expiry)
    /// are taken out again, and a receipt is left out. An order that was reserved first has `reserved_until`, also
    /// after it was paid.
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
        Ok(OrderResponse { payment, tickets, receipt: (!paid).then_some(None) })
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
