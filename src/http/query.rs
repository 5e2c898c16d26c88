//! Parses the query, the page and the id in the path of a request. An error names the parameter that is wrong.

use std::fmt::Display;
use std::str::FromStr;

use actix_web::HttpRequest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::error::Problem;
use crate::db::read::{Page, PageRows};
use crate::domain::lottery::DrawStatus;

/// The largest page, and the default size of a page.
const MAX_PAGE: i64 = 200;
const DEFAULT_PAGE: i64 = 50;
/// The most parameters in one query.
const MAX_PARAMS: usize = 100;

/// The parameters of a query in their order. Each may occur several times.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the query. It may hold only these parameters.
    pub fn of(request: &HttpRequest, known: &[&str]) -> Result<Query, Problem> {
        let pairs = form_urlencoded::parse(request.query_string().as_bytes()).into_owned();
        let pairs: Vec<(String, String)> = pairs.take(MAX_PARAMS + 1).collect();
        if pairs.len() > MAX_PARAMS {
            return Err(Problem::field("query", format!("at most {MAX_PARAMS} parameters")));
        }
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                Err(Problem::field(name.clone(), format!("is no parameter here; there are: {}", known.join(", "))))
            }
            None => Ok(Query(pairs)),
        }
    }

    /// All values of a parameter, each parsed.
    pub fn all<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>, must: &str) -> Result<Vec<T>, Problem> {
        let values = self.0.iter().filter(|(known, _)| known == name);
        values.map(|(_, value)| parse(value).ok_or_else(|| Problem::field(name, must))).collect()
    }

    /// The last value of a parameter, parsed.
    fn last<T: FromStr>(&self, name: &str, must: &str) -> Result<Option<T>, Problem> {
        let value = self.0.iter().rev().find(|(known, _)| known == name);
        value.map(|(_, value)| value.parse().map_err(|_| Problem::field(name, must))).transpose()
    }

    /// The filters of a list of draws: the lotteries and the statuses that are wanted.
    pub fn draw_filters(&self) -> Result<(Vec<String>, Vec<DrawStatus>), Problem> {
        // Postgres has no text with a zero byte.
        let lottery = |text: &str| (!text.contains('\0')).then(|| text.to_owned());
        let lotteries = self.all("lottery", lottery, "must be a lottery's id")?;
        Ok((lotteries, self.all("status", DrawStatus::parse, "must be a draw's status, such as open")?))
    }

    /// The page that the query asks for.
    pub fn page<C: FromStr>(&self) -> Result<Page<C>, Problem> {
        let must = format!("must be 1 to {MAX_PAGE}");
        let limit = self.last("limit", &must)?.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Problem::field("limit", must));
        }
        let cursor: Option<String> = self.last("cursor", "must be text")?;
        let after = cursor.map(|text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            String::from_utf8(bytes).ok()?.parse().ok()
        });
        match after {
            Some(None) => Err(Problem::field("cursor", "must be the next_cursor of an earlier page")),
            after => Ok(Page { after: after.flatten(), limit }),
        }
    }
}

/// The parameters of a page, for the OpenAPI document. [`Query::page`] reads them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
pub struct PageParams {
    /// The most rows on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
    /// The `next_cursor` of the page before. Without it: the first page.
    cursor: Option<String>,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub struct List<T> {
    /// The rows of this page, in the order of the list.
    pub items: Vec<T>,
    /// The `cursor` of the next page. Null: this is the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page of rows, each converted to its JSON form.
    pub fn of<R, C: Display>(rows: PageRows<R, C>, words: impl FnMut(R) -> T) -> List<T> {
        let next_cursor = rows.next.map(|cursor| URL_SAFE_NO_PAD.encode(cursor.to_string()));
        List { items: rows.items.into_iter().map(words).collect(), next_cursor }
    }
}

/// The `{id}` of a path. A text that is not an id is answered like an unknown id.
pub fn path_id<T: FromStr>(request: &HttpRequest, what: &str) -> Result<T, Problem> {
    request.match_info().get("id").and_then(|text| text.parse().ok()).ok_or_else(|| Problem::not_found(what))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn page<C: FromStr>(query: &str) -> Option<Page<C>> {
        let request = TestRequest::with_uri(&format!("/?{query}")).to_http_request();
        Query::of(&request, &["limit", "cursor"]).and_then(|query| query.page()).ok()
    }

    proptest! {
        #[test]
        fn whatever_is_asked_is_a_page_or_a_problem(
            query in "((limit|cursor|li%6Dit)=[0-9A-Za-z_%=+-]{0,30}&?){0,4}|[!$-;=?-Z_a-z~]{0,60}"
        ) {
            for page in [page::<i64>(&query).map(|page| page.limit), page::<Uuid>(&query).map(|page| page.limit)] {
                prop_assert!(page.is_none_or(|limit| (1..=MAX_PAGE).contains(&limit)));
            }
        }

        #[test]
        fn a_cursor_leads_back_to_where_it_came_from(id: i64) {
            let list = List::of(PageRows { items: vec![()], next: Some(id) }, |row| row);
            let query = format!("limit=7&cursor={}", list.next_cursor.unwrap());
            prop_assert_eq!(page::<i64>(&query).map(|page| (page.after, page.limit)), Some((Some(id), 7)));
        }
    }
}
