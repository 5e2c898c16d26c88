//! Answers that everybody asks for again and again, kept as the bytes they are sent as until the snapshots
//! changes. Knows nothing of what stands in them.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use actix_web::http::header::ContentType;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::error::Problem;

/// Answers kept at most: the favourite questions are few.
const MAX_ANSWERS: usize = 256;
/// Longer questions are no favourites.
const MAX_QUESTION: usize = 128;

/// The answers kept, by path and query.
#[derive(Default)]
pub struct ResponseCache(RwLock<HashMap<String, (u64, Bytes)>>);

impl ResponseCache {
    /// The answer to this request, if it was made from this version.
    pub fn get(&self, request: &HttpRequest, version: u64) -> Option<HttpResponse> {
        let answers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match answers.get(question(request)?.as_str()) {
            Some((of, bytes)) if *of == version => Some(ok(bytes.clone())),
            _ => None,
        }
    }

    /// Answers, and keeps the answer: `version` was asked for before the body was made.
    pub fn answer(
        &self,
        request: &HttpRequest,
        version: u64,
        body: &impl Serialize,
    ) -> Result<HttpResponse, Problem> {
        let bytes = Bytes::from(serde_json::to_vec(body).map_err(Problem::internal)?);
        if let Some(question) = question(request) {
            // A map is whole at any time, so a poisoned lock is still good.
            let mut answers = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if answers.len() >= MAX_ANSWERS && !answers.contains_key(&question) {
                answers.clear();
            }
            answers.insert(question, (version, bytes.clone()));
        }
        Ok(ok(bytes))
    }
}

fn question(request: &HttpRequest) -> Option<String> {
    let (path, query) = (request.path(), request.query_string());
    (path.len() + query.len() < MAX_QUESTION).then(|| [path, query].join("?"))
}

fn ok(bytes: Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(bytes)
}
