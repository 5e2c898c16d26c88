//! Entry points for the fuzz targets: what parses a request before anything else happens. The feature `fuzzing` makes
//! them public; the service itself does not use them.

use std::fmt::Display;
use std::str::FromStr;

use actix_web::HttpRequest;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::error::Problem;
use super::query::{List, Query};
use super::{admin, auth, body, idempotency, orders, payments, users, wallet};
use crate::actors::messages::StepRefusal;
use crate::db::read::PageRows;

/// Parses the bytes as the body of each call without an idempotency key, and returns why they are refused.
pub fn bodies(bytes: &[u8]) -> Vec<Option<Problem>> {
    let times = |body: admin::CreateBody| {
        let wrong = admin::times(&body).errors(Timestamp::UNIX_EPOCH);
        if wrong.is_empty() { Ok(()) } else { Err(Problem::from(StepRefusal::InvalidTimes(wrong))) }
    };
    vec![
        body::parse::<auth::Register>(bytes).err(),
        body::parse::<auth::Login>(bytes).err(),
        body::parse::<auth::Refresh>(bytes).err(),
        body::parse::<auth::ChangePassword>(bytes).err(),
        body::parse::<auth::ResetPassword>(bytes).err(),
        body::parse::<users::UserChange>(bytes).err(),
        body::parse::<admin::RescheduleBody>(bytes).err(),
        body::parse::<admin::CancelBody>(bytes).err(),
        body::parse(bytes).and_then(times).err(),
    ]
}

/// Parses the bytes as the body of each call with an idempotency key, and returns the body that the key stands for.
pub fn keyed(bytes: &[u8]) -> Vec<Result<Vec<u8>, Problem>> {
    fn read<T: DeserializeOwned + Serialize, P>(
        bytes: &[u8],
        apply: impl Fn(&T) -> Result<P, Problem>,
    ) -> Result<Vec<u8>, Problem> {
        let body: T = body::parse(bytes)?;
        apply(&body)?;
        serde_json::to_vec(&body).map_err(Problem::internal)
    }
    vec![
        read(bytes, orders::OrderBody::parse),
        read(bytes, |body: &wallet::DepositBody| wallet::parse(body.amount)),
        read(bytes, |_: &wallet::WithdrawalBody| Ok(())),
        read(bytes, |_: &payments::PayBody| Ok(())),
        read(bytes, |_: &admin::PoolBody| Ok(())),
    ]
}

/// Parses the query with each kind of cursor, and returns the next page's cursor and the page size.
pub fn pages(request: &HttpRequest) -> [Result<(Option<String>, i64), Problem>; 3] {
    fn page<C: FromStr + Display>(request: &HttpRequest) -> Result<(Option<String>, i64), Problem> {
        let page = Query::of(request, &["limit", "cursor"])?.page::<C>()?;
        let list = List::of(PageRows { items: Vec::<()>::new(), next: page.after }, |row| row);
        Ok((list.next_cursor, page.limit))
    }
    [page::<i64>(request), page::<usize>(request), page::<Uuid>(request)]
}

/// The request's Idempotency-Key.
pub fn key(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    idempotency::read(request)
}
