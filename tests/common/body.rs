//! Request bodies that many tests send, and short readers of response bodies.

use serde_json::{Value, json};

/// The price of a ticket of the lottery 5 of 36.
pub const PRICE: i64 = 10_000;

/// Card tokens of the sandbox provider: it takes the first, refuses the second, and decides on the third later.
pub const GOOD_CARD: &str = "tok_visa";
pub const DECLINED_CARD: &str = "tok_declined";
pub const SLOW_CARD: &str = "tok_async";

/// The id of a ticket or payment.
pub fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap()
}

/// Pays a payment from the wallet.
pub fn wallet() -> Value {
    json!({"method": "wallet"})
}

/// Pays a payment by card.
pub fn card(token: &str) -> Value {
    json!({"method": "card", "token": token})
}

/// Deposits an amount by card.
pub fn deposit(amount: i64, token: &str) -> Value {
    json!({"amount": amount, "token": token})
}

/// One line of an order: a ticket with random numbers.
pub fn quick_pick() -> Value {
    json!({"quick_pick": true})
}

/// One line of an order: any ticket of the pool.
pub fn from_pool() -> Value {
    json!({"from_pool": true})
}

/// An order of these lines; `payment` is `wallet` or `later`.
pub fn order(lines: Value, payment: &str) -> Value {
    json!({"tickets": lines, "payment": payment})
}

/// The answer to an order without its receipt, as a replay may give it.
pub fn without_receipt(mut ordered: Value) -> Value {
    if ordered["receipt"].is_object() {
        ordered.as_object_mut().unwrap().remove("receipt");
    }
    ordered
}

/// A registration under this name, with the tests' password.
pub fn registration(name: &str) -> Value {
    json!({"username": name, "email": format!("{name}@example.com"), "password": super::PASSWORD})
}

/// A log-in by username or email address.
pub fn login(login: &str, password: &str) -> Value {
    json!({"login": login, "password": password})
}
