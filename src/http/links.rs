//! The links of the OpenAPI document: which answers hold what which calls need. A client that follows them plays a
//! game, from the list of lotteries to the result of a draw; test generators do.

use serde_json::{Map, Value, json};

/// The id of what an answer is about, and of the first item of a page.
const ID: &str = "$response.body#/id";
const FIRST: &str = "$response.body#/items/0/id";
/// The id in the path of the request itself.
const SAME: &str = "$request.path.id";

/// A link to an operation, which is also its name.
struct Link(&'static str, Value);

/// To an operation with this id in its path.
fn with_id(to: &'static str, id: &str) -> Link {
    Link(to, json!({"operationId": to, "parameters": {"id": id}}))
}

/// The same, with a body.
fn with_id_and_body(to: &'static str, id: &str, body: Value) -> Link {
    Link(to, json!({"operationId": to, "parameters": {"id": id}, "requestBody": body}))
}

/// To an operation without an id.
fn with_body(to: &'static str, body: Value) -> Link {
    Link(to, json!({"operationId": to, "requestBody": body}))
}

/// The links of an operation's good answer.
fn links(from: &str) -> Vec<Link> {
    let refresh = || json!({"refresh_token": "$response.body#/refresh_token"});
    let draw = |lottery: &str| json!({"lottery": lottery, "sales_close_at": "2099-01-01T20:00:00Z"});
    // Reserved and not paid: what follows pays for it or gives it back.
    let quick_pick = || json!({"tickets": [{"quick_pick": true}], "payment": "later"});
    let pool = || json!({"count": 100});
    let card = || json!({"method": "card", "token": "tok_visa"});
    match from {
        "register" => vec![
            with_body(
                "log_in",
                json!({"login": "$request.body#/username", "password": "$request.body#/password"}),
            ),
            with_id("get_user", ID),
            with_id("change_user", ID),
            with_id("create_password_reset", ID),
        ],
        "log_in" => vec![with_body("refresh_tokens", refresh()), with_body("log_out", refresh())],
        "refresh_tokens" => vec![with_body("log_out", refresh())],
        "create_password_reset" => {
            let body = json!({"token": "$response.body#/token", "new_password": "correct horse"});
            vec![with_body("reset_password", body)]
        }
        "list_users" => vec![with_id("get_user", FIRST)],
        "list_lotteries" => vec![with_id("get_lottery", FIRST), with_body("create_draw", draw(FIRST))],
        "get_lottery" => vec![with_body("create_draw", draw(ID))],
        "create_draw" => vec![
            with_id("open_draw", ID),
            with_id_and_body("add_to_pool", ID, pool()),
            with_id_and_body("reschedule_draw", ID, json!({"sales_close_at": "2099-01-02T20:00:00Z"})),
            with_id("cancel_draw", ID),
            with_id("get_draw", ID),
        ],
        "add_to_pool" => vec![with_id("open_draw", SAME), with_id("list_pool_tickets", SAME)],
        "list_draws" => vec![
            with_id("get_draw", FIRST),
            with_id("list_pool_tickets", FIRST),
            with_id("watch_draw", FIRST),
            with_id("open_draw", FIRST),
            with_id_and_body("order_tickets", FIRST, quick_pick()),
        ],
        "get_draw" => vec![with_id("open_draw", ID), with_id_and_body("order_tickets", ID, quick_pick())],
        "open_draw" => vec![
            with_id_and_body("order_tickets", ID, quick_pick()),
            with_id_and_body("add_to_pool", ID, pool()),
            with_id("close_draw", ID),
            with_id("cancel_draw", ID),
        ],
        "list_pool_tickets" => {
            let order = json!({"tickets": [{"pool_ticket_id": FIRST}], "payment": "later"});
            vec![with_id_and_body("order_tickets", SAME, order)]
        }
        "order_tickets" => vec![
            with_id_and_body("pay", "$response.body#/payment/id", card()),
            with_id("get_payment", "$response.body#/payment/id"),
            with_id("get_ticket", "$response.body#/tickets/0/id"),
            with_id("get_ticket_proof", "$response.body#/tickets/0/id"),
            with_id("get_ticket_proof", "$response.body#/tickets/0/id"),
            with_id("give_back_ticket", "$response.body#/tickets/0/id"),
            with_id("list_draw_tickets", SAME),
            with_id("close_draw", SAME),
        ],
        "close_draw" => vec![with_id("conduct_draw", ID), with_id("list_draw_tickets", ID)],
        "conduct_draw" => vec![with_id("get_result", ID)],
        "cancel_draw" => vec![with_id("list_draw_tickets", ID)],
        "list_tickets" => ["get_ticket", "get_ticket_proof", "give_back_ticket"]
            .map(|to| with_id(to, FIRST))
            .into_iter()
            .collect(),
        "list_payments" => vec![with_id("get_payment", FIRST), with_id_and_body("pay", FIRST, card())],
        "get_payment" => vec![with_id_and_body("pay", ID, card())],
        "get_wallet" => vec![with_body("deposit", json!({"amount": 100_000, "token": "tok_visa"}))],
        "deposit" => vec![
            with_id("get_payment", ID),
            with_id("end_charge", ID),
            with_body("withdraw", json!({"amount": "$request.body#/amount"})),
        ],
        "withdraw" => ["get_payment", "approve_withdrawal", "reject_withdrawal"]
            .map(|to| with_id(to, ID))
            .into_iter()
            .collect(),
        "list_charges" => vec![with_id("end_charge", "$response.body#/items/0/payment_id")],
        _ => Vec::new(),
    }
}

/// The links of an operation's good answer, by their names.
pub fn links_of(operation: &str) -> Map<String, Value> {
    links(operation).into_iter().map(|Link(to, link)| (to.to_owned(), link)).collect()
}
