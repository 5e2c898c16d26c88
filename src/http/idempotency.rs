//! Idempotency keys: reads a request's key, refuses it while an earlier request with the same key still runs, and
//! says by a digest which request it belongs to. That a key has one effect is held by the batch, which stores the
//! key in the same transaction. Replaying the first answer is the part of [`super::replay`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;
use uuid::Uuid;

use super::error::{Code, Problem};
use crate::actors::messages::WorkGuard;
use crate::domain::id::UserId;
use crate::domain::record::{Key, KeyId, short};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// The header that carries a key, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only described")]
pub struct KeyHeader {
    /// A new name for each request that is not a repeat, such as a UUID. A repeat with the same key and body has no second
    /// effect and gets the first answer again, with `Idempotency-Replayed: true`.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    key: Option<String>,
}

/// The keys of the requests that run at the moment. Bounded by the requests in flight.
#[derive(Clone, Default)]
pub struct KeysInProgress(Arc<Mutex<HashSet<KeyId>>>);

impl KeysInProgress {
    /// Locks the request's key, if it has one. It is refused while an earlier request with the same key still
    /// runs.
    pub fn acquire(
        &self,
        request: &HttpRequest,
        user: UserId,
        body: &impl Serialize,
    ) -> Result<KeyGuard, Problem> {
        let Some(text) = read(request)? else {
            return Ok(KeyGuard { lock: None, key: None });
        };
        let key = Key { user, id: KeyId::of(user, text), request: digest(request.path(), body)? };
        if !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.id) {
            return Err(Code::IdempotencyInProgress.into());
        }
        let lock = KeyLock { keys: self.clone(), key: key.id };
        Ok(KeyGuard { lock: Some(Arc::new(lock)), key: Some(key) })
    }
}

/// A request's key, if it has one. The key stays locked until this guard and every [`WorkGuard`] of it are
/// dropped.
pub struct KeyGuard {
    lock: Option<Arc<KeyLock>>,
    pub key: Option<Key>,
}

impl KeyGuard {
    /// Keeps the key locked for work that may run longer than its request.
    pub fn hold(&self) -> WorkGuard {
        self.lock.clone().map(|lock| lock as _)
    }
}

/// Unlocks a key when it is dropped.
struct KeyLock {
    keys: KeysInProgress,
    key: KeyId,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// The key as the client sent it.
pub fn read(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    let Some(header) = request.headers().get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let legal = |text: &&str| (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    match header.to_str().ok().filter(legal) {
        Some(text) => Ok(Some(text)),
        None => Err(Problem::field("Idempotency-Key", "must be 1 to 255 visible ASCII characters")),
    }
}

/// Identifies the request that a key belongs to, by its path and its parsed body. White space in the body and the
/// order of its fields make no difference.
fn digest(path: &str, body: &impl Serialize) -> Result<Uuid, Problem> {
    let body = serde_json::to_vec(body).map_err(Problem::internal)?;
    Ok(short(Sha256::new().chain_update(path).chain_update(b"\n").chain_update(body)))
}
