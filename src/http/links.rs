//! The links of the OpenAPI document: which answers hold what which calls need. A client that follows them plays a
//! game; test generators do.

use serde_json::{Map, Value, json};

/// Where the `id` in a path comes from: an operation, and the place in its answer or in its own request.
const IDS: &[(&str, &str, &[&str])] = &[
    (
        "create_draw",
        "$response.body#/id",
        &["get_draw", "open_draw", "reschedule_draw", "add_to_pool", "cancel_draw", "list_draw_tickets"],
    ),
    ("add_to_pool", "$request.path.id", &["list_pool_tickets", "open_draw"]),
    (
        "open_draw",
        "$response.body#/id",
        &["order_tickets", "add_to_pool", "reschedule_draw", "close_draw", "cancel_draw"],
    ),
    ("close_draw", "$response.body#/id", &["conduct_draw", "cancel_draw", "list_draw_tickets"]),
    ("conduct_draw", "$response.body#/id", &["get_result", "get_draw"]),
    ("cancel_draw", "$response.body#/id", &["get_draw", "list_draw_tickets"]),
    (
        "list_draws",
        "$response.body#/items/0/id",
        &["get_draw", "list_pool_tickets", "order_tickets", "watch_draw"],
    ),
    ("list_lotteries", "$response.body#/items/0/id", &["get_lottery"]),
    ("order_tickets", "$response.body#/payment/id", &["pay", "get_payment"]),
    ("order_tickets", "$response.body#/tickets/0/id", &["get_ticket", "give_back_ticket"]),
    ("order_tickets", "$request.path.id", &["close_draw", "get_draw", "list_draw_tickets"]),
    ("list_tickets", "$response.body#/items/0/id", &["get_ticket", "give_back_ticket"]),
    ("list_payments", "$response.body#/items/0/id", &["get_payment"]),
    ("pay", "$response.body#/id", &["get_payment", "end_charge"]),
    ("deposit", "$response.body#/id", &["get_payment", "end_charge"]),
    ("withdraw", "$response.body#/id", &["get_payment", "approve_withdrawal", "reject_withdrawal"]),
    ("list_charges", "$response.body#/items/0/payment_id", &["end_charge"]),
    ("register", "$response.body#/id", &["get_user", "change_user", "create_password_reset"]),
    ("list_users", "$response.body#/items/0/id", &["get_user"]),
];

/// Where the body of a request comes from.
fn bodies() -> [(&'static str, &'static str, Value); 5] {
    let refresh = json!({"refresh_token": "$response.body#/refresh_token"});
    [
        ("register", "log_in", json!({"login": "$request.body#/username", "password": "$request.body#/password"})),
        ("log_in", "refresh_tokens", refresh.clone()),
        ("log_in", "log_out", refresh.clone()),
        ("refresh_tokens", "log_out", refresh),
        (
            "create_password_reset",
            "reset_password",
            json!({"token": "$response.body#/token", "new_password": "correct horse"}),
        ),
    ]
}

/// The links of an operation's good answer, by the name of the operation that each leads to.
pub fn links_of(operation: &str) -> Map<String, Value> {
    let ids = IDS.iter().filter(|(from, ..)| *from == operation);
    let ids = ids.flat_map(|(_, id, to)| {
        to.iter().map(move |to| (to.to_string(), json!({"operationId": to, "parameters": {"id": id}})))
    });
    let bodies = bodies().into_iter().filter(|(from, ..)| *from == operation);
    let bodies = bodies.map(|(_, to, body)| (to.to_owned(), json!({"operationId": to, "requestBody": body})));
    let pool_ticket = (operation == "list_pool_tickets").then(|| {
        let line = json!({"pool_ticket_id": "$response.body#/items/0/id"});
        let order = json!({
            "operationId": "order_tickets", "parameters": {"id": "$request.path.id"}, "requestBody": {"tickets": [line]}
        });
        ("order_tickets".to_owned(), order)
    });
    ids.chain(bodies).chain(pool_ticket).collect()
}
