//! The response cache: keeps the responses of public reads as bytes, until the draw snapshots change. Knows
//! nothing of their content.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use actix_web::http::header::ContentType;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::error::Problem;

/// Responses in the cache. The popular requests are few.
const MAX_RESPONSES: usize = 256;
/// The longest path with query, in bytes, whose response is cached. Popular requests are short.
const MAX_KEY: usize = 128;

/// The cached responses by path and query, each with the version of the snapshots that it was made from.
#[derive(Default)]
pub struct ResponseCache(RwLock<HashMap<String, (u64, Bytes)>>);

impl ResponseCache {
    /// The cached response to this request, if it was made from this version.
    pub fn get(&self, request: &HttpRequest, version: u64) -> Option<HttpResponse> {
        let answers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match answers.get(cache_key(request)?.as_str()) {
            Some((of, bytes)) if *of == version => Some(ok(bytes.clone())),
            _ => None,
        }
    }

    /// Responds with this body, and caches the response. The caller reads `version` before it makes the body.
    pub fn answer(
        &self,
        request: &HttpRequest,
        version: u64,
        body: &impl Serialize,
    ) -> Result<HttpResponse, Problem> {
        let bytes = Bytes::from(serde_json::to_vec(body).map_err(Problem::internal)?);
        if let Some(key) = cache_key(request) {
            // The map is consistent at any time, so a poisoned lock can be used.
            let mut answers = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if answers.len() >= MAX_RESPONSES && !answers.contains_key(&key) {
                answers.clear();
            }
            answers.insert(key, (version, bytes.clone()));
        }
        Ok(ok(bytes))
    }
}

fn cache_key(request: &HttpRequest) -> Option<String> {
    let (path, query) = (request.path(), request.query_string());
    (path.len() + query.len() < MAX_KEY).then(|| [path, query].join("?"))
}

fn ok(bytes: Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(bytes)
}
