//! Idempotency keys: which request a key stands for, which keys are being worked on, and the answer to a
//! replay. What makes a replay harmless is the batch, which keeps a key with its effect; this room only
//! finds the first answer again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;
use uuid::Uuid;

use super::error::{Code, Problem};
use super::state::State;
use super::tickets;
use crate::actors::messages::WorkGuard;
use crate::db::read::{keys, payments};
use crate::domain::id::UserId;
use crate::domain::record::{Key, KeyId, StoredAnswer, short};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// The header that a key travels in, for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only described")]
pub struct KeyHeader {
    /// Visible ASCII. A replay gives the first answer again, and has one effect.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    key: Option<String>,
}

/// The keys that requests are being worked on with. Bounded by the requests in flight.
#[derive(Clone, Default)]
pub struct KeysInProgress(Arc<Mutex<HashSet<KeyId>>>);

/// A key is being worked on for as long as this lives, or what it was held for.
pub struct KeyGuard {
    place: Option<Arc<KeyLock>>,
    pub key: Option<Key>,
}

impl KeyGuard {
    /// Keeps the key in progress for something that may outlive its request.
    pub fn hold(&self) -> WorkGuard {
        self.place.clone().map(|place| place as _)
    }
}

/// The place that a key takes while it is worked on.
struct KeyLock {
    in_flight: KeysInProgress,
    key: KeyId,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        self.in_flight.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Takes up the request's key, if it has one: refused while the first with it still runs.
pub fn acquire(
    state: &State,
    request: &HttpRequest,
    user: UserId,
    body: &impl Serialize,
) -> Result<KeyGuard, Problem> {
    let Some(text) = read(request)? else {
        return Ok(KeyGuard { place: None, key: None });
    };
    let key = Key { user, id: KeyId::of(user, text), request: digest(request.path(), body)? };
    if !state.keys.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.id) {
        return Err(Problem::new(Code::IdempotencyInProgress, "wait for its answer"));
    }
    let place = KeyLock { in_flight: state.keys.clone(), key: key.id };
    Ok(KeyGuard { place: Some(Arc::new(place)), key: Some(key) })
}

/// The key as it was sent.
pub fn read(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    let Some(header) = request.headers().get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let legal = |text: &&str| (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    match header.to_str().ok().filter(legal) {
        Some(text) => Ok(Some(text)),
        None => Err(Problem::field("Idempotency-Key", "must be 1 to 255 visible ASCII characters")),
    }
}

/// What a key stands for: the path, and the body as it was understood, so that white space and the order
/// of the fields do not matter.
fn digest(path: &str, body: &impl Serialize) -> Result<Uuid, Problem> {
    let body = serde_json::to_vec(body).map_err(Problem::internal)?;
    Ok(short(Sha256::new().chain_update(path).chain_update(b"\n").chain_update(body)))
}

/// The first answer, if this key has one already; a problem if it was another request's.
pub async fn first_answer(state: &State, key: Option<&Key>) -> Result<Option<HttpResponse>, Problem> {
    let Some(key) = key else { return Ok(None) };
    match keys::one(&state.db, key.id).await? {
        None => Ok(None),
        Some(kept) if kept.request == key.request => Ok(Some(replay(state, key.user, kept).await?)),
        Some(_) => Err(crate::domain::record::Refusal::KeyReused.into()),
    }
}

/// The first answer again.
pub async fn replay(state: &State, user: UserId, kept: StoredAnswer) -> Result<HttpResponse, Problem> {
    let status = u16::try_from(kept.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = HttpResponse::build(status.unwrap_or(StatusCode::OK));
    response.insert_header((REPLAYED, "true"));
    if let Some(answer) = kept.answer {
        return Ok(response.insert_header((CONTENT_TYPE, "application/json")).body(answer));
    }
    let payment = kept.payment.ok_or_else(|| Problem::internal("a key without an answer"))?;
    let view = payments::one(&state.db, state.currency, user, payment).await?;
    let view = view.ok_or_else(|| Problem::internal("a key without its payment"))?;
    if view.draw.is_some() {
        Ok(response.json(tickets::first_answer(state, user, view).await?))
    } else {
        // A deposit whose end never came to be written: as far as it has come.
        Ok(response.json(view.payment))
    }
}
