//! Signed webhooks, as a payment provider sends them.

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::world::*;

/// The header that signs this body at this second.
pub fn signature(secret: &str, at: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={hex}")
}

/// Sends a body with a signature, or none.
pub async fn send(provider: &str, signature: Option<&str>, body: &str, to: &User) -> Answer {
    let mut request = to.request(Method::POST, &format!("/webhooks/payments/{provider}"));
    if let Some(signature) = signature {
        request = request.header("Stripe-Signature", signature);
    }
    to.send(request.body(body.to_owned())).await
}

/// The sandbox's webhook about the charge of this payment.
pub fn notice(payment: &Value, status: &str) -> String {
    json!({"payment": payment["id"], "begun": payment["updated_at"], "status": status}).to_string()
}

/// Sends the sandbox's signed webhook about the charge of this payment.
pub async fn tell(world: &World, payment: &Value, status: &str) {
    let body = notice(payment, status);
    let signature = signature(WEBHOOK_SECRET, world.clock.now().as_second(), &body);
    let answer = send("sandbox", Some(&signature), &body, &world.anonymous()).await;
    assert_eq!(answer.expect(200), json!({"received": true}));
}
