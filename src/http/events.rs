//! `GET /draws/{id}/events`: what happens to a draw, as server-sent events (WHATWG HTML, section 9.2). Each watcher
//! looks at the snapshots by itself a few times a second, and only while its client reads: a sale knows nothing of
//! watchers, and who reads slowly misses figures that are old by then, but no status and no number.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::error::Problem;
use super::query::path_id;
use super::state::State;
use crate::db::read::draws;
use crate::domain::draw::DrawSnapshot;
use crate::domain::id::DrawId;
use crate::domain::lottery::DrawStatus;
use crate::domain::money::Money;

/// How often a watcher looks; a winning number is told each time.
const LOOK: Duration = Duration::from_millis(250);
/// Looks without news until a comment says that the connection lives: 15 seconds.
const QUIET: u32 = 60;
/// When a client whose connection broke is to come again, in milliseconds.
const RETRY: u32 = 2000;

/// What happens to a draw, as server-sent events: `status`, `sales` and `number`. 204 when nothing more will come.
#[utoipa::path(
    get, path = "/api/v1/draws/{id}/events", tag = "draws", operation_id = "watch_draw",
    params(("id" = i64, Path), ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 204)),
)]
pub async fn events(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let id = DrawId(path_id(&request, "draw")?);
    let view = match state.snapshots.draw(id) {
        Some(view) => view,
        None => Arc::new(draws::one(&state.db, id).await?.ok_or_else(|| Problem::not_found("draw"))?),
    };
    let header = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let told = header.and_then(|text| text.parse().ok()).filter(|told| *told <= reached(&view));
    if view.status.is_over() && told == Some(reached(&view)) {
        // Nothing will ever follow: this keeps an EventSource from coming again.
        return Ok(HttpResponse::NoContent().finish());
    }
    let place = state.watchers.acquire()?;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let told = told.or_else(|| before(&view));
    let watcher = Watcher { state, id, view, told, sales: None, quiet: 0, looks, _place: place };
    let begin = stream::once(async { Ok::<_, Infallible>(Bytes::from(format!("retry: {RETRY}\n\n"))) });
    let news = stream::unfold(watcher, async |mut watcher| watcher.news().await.map(|news| (Ok(news), watcher)));
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        // What proxies gather to send at once is no news any more (nginx).
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream::StreamExt::chain(begin, news)))
}

/// Somebody who watches a draw.
struct Watcher {
    state: web::Data<State>,
    id: DrawId,
    /// As it was last seen.
    view: Arc<DrawSnapshot>,
    /// The last moment that was told. None: not even the first.
    told: Option<EventId>,
    sales: Option<SalesEvent>,
    /// Looks without news.
    quiet: u32,
    looks: Interval,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// What is to be sent next; none when there is nothing more to come.
    async fn news(&mut self) -> Option<Bytes> {
        loop {
            self.looks.tick().await;
            if self.state.watchers.are_closed() {
                return None;
            }
            // What the snapshots has forgotten is over, and stays as it was last seen.
            if let Some(view) = self.state.snapshots.draw(self.id) {
                self.view = view;
            }
            let mut news = String::new();
            let next = next(&self.view, self.told);
            if let Some((moment, event)) = &next {
                self.told = Some(*moment);
                news.push_str(&event.text(Some(*moment)));
            }
            let sales = self.sales();
            if self.sales != Some(sales) {
                self.sales = Some(sales);
                news.push_str(&DrawEvent::SalesEvent(sales).text(None));
            }
            if !news.is_empty() {
                self.quiet = 0;
                return Some(news.into());
            }
            if self.view.status.is_over() {
                return None;
            }
            self.quiet += 1;
            if self.quiet == QUIET {
                self.quiet = 0;
                return Some(Bytes::from_static(b": still here\n\n"));
            }
        }
    }

    fn sales(&self) -> SalesEvent {
        let view = &self.view;
        let prize_fund = view.prize_fund(self.state.snapshots.jackpot(&view.lottery));
        SalesEvent { tickets_sold: view.sold, tickets_available: view.available, prize_fund }
    }
}

/// A moment of a draw's story, and the id of its event: a client that comes again says which it heard last,
/// and nothing needs to be kept for it. They ascend as the story goes on.
type EventId = u32;

const SETTLING: EventId = 3;
/// There are at most 64 numbers between.
const COMPLETED: EventId = 100;
const CANCELLING: EventId = 200;
const CANCELLED: EventId = 201;

/// One thing to tell.
#[derive(Clone, Copy, PartialEq, Debug)]
enum DrawEvent {
    SalesEvent(SalesEvent),
    Status(DrawStatus),
    Number { index: u32, number: u8 },
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
struct SalesEvent {
    tickets_sold: i64,
    tickets_available: i64,
    prize_fund: Money,
}

impl DrawEvent {
    fn text(&self, id: Option<EventId>) -> String {
        let (name, body) = match self {
            DrawEvent::SalesEvent(sales) => ("sales", serde_json::json!(sales)),
            DrawEvent::Status(status) => ("status", serde_json::json!({"status": status})),
            DrawEvent::Number { index, number } => {
                ("number", serde_json::json!({"index": index, "number": number}))
            }
        };
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        format!("{id}event: {name}\ndata: {body}\n\n")
    }
}

/// Every moment of this draw's story that has come, in order.
fn story(view: &DrawSnapshot) -> impl Iterator<Item = (EventId, DrawEvent)> {
    use DrawStatus::{Cancelled, Cancelling, Closed, Completed, Open, Scheduled, Settling};
    let last = view.status;
    let cancelled = matches!(last, Cancelling | Cancelled);
    let has_come =
        move |status: DrawStatus| status <= last && cancelled == matches!(status, Cancelling | Cancelled);
    let status = move |moment: EventId, status: DrawStatus| {
        has_come(status).then_some((moment, DrawEvent::Status(status))).into_iter()
    };
    let numbers = view.winning.iter().flat_map(|winning| winning.pick.numbers());
    let numbers =
        (1..).zip(numbers).map(|(index, number)| (SETTLING + index, DrawEvent::Number { index, number }));
    status(0, Scheduled)
        .chain(status(1, Open))
        .chain(status(2, Closed))
        .chain(status(SETTLING, Settling))
        .chain(numbers)
        .chain(status(COMPLETED, Completed))
        .chain(status(CANCELLING, Cancelling))
        .chain(status(CANCELLED, Cancelled))
}

/// The next moment after that one, if it has come.
fn next(view: &DrawSnapshot, told: Option<EventId>) -> Option<(EventId, DrawEvent)> {
    story(view).find(|(moment, _)| told.is_none_or(|told| *moment > told))
}

/// How far the story has come.
fn reached(view: &DrawSnapshot) -> EventId {
    story(view).last().map_or(0, |(moment, _)| moment)
}

/// Where the story begins for those who come anew: with the status as it is, and with all the numbers.
fn before(view: &DrawSnapshot) -> Option<EventId> {
    match view.status {
        DrawStatus::Settling | DrawStatus::Completed => Some(SETTLING - 1),
        _ => reached(view).checked_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::draw::{Times, WinningPick};
    use crate::domain::game::Game;
    use crate::domain::id::LotteryId;
    use crate::domain::money::Share;

    fn view(status: DrawStatus) -> DrawSnapshot {
        let time = jiff::Timestamp::UNIX_EPOCH;
        let pick = Game::new(2, 5).unwrap().pick(&[2, 5]).unwrap();
        let drawn = matches!(status, DrawStatus::Settling | DrawStatus::Completed);
        DrawSnapshot {
            id: DrawId(1),
            lottery: LotteryId("2of5".to_owned()),
            number: 1,
            status,
            price: Money::new(1),
            fund_share: Share::new(5000).unwrap(),
            times: Times { sales_open_at: None, sales_close_at: time, draw_at: time },
            sold: 0,
            available: 0,
            winning: drawn.then_some(WinningPick { pick, jackpot: Money::ZERO }),
            cancel_reason: None,
        }
    }

    /// All that is told from there on.
    fn told(status: DrawStatus, mut from: Option<EventId>) -> Vec<String> {
        let view = view(status);
        let mut told = Vec::new();
        while let Some((moment, event)) = next(&view, from) {
            from = Some(moment);
            told.push(match event {
                DrawEvent::Status(status) => status.as_str().to_owned(),
                DrawEvent::Number { index, number } => format!("{index}:{number}"),
                DrawEvent::SalesEvent(_) => "sales".to_owned(),
            });
        }
        assert_eq!(from, Some(reached(&view)));
        told
    }

    #[test]
    fn nobody_misses_a_moment_however_fast_they_follow_each_other() {
        assert_eq!(told(DrawStatus::Completed, Some(1)), ["closed", "settling", "1:2", "2:5", "completed"]);
        assert_eq!(told(DrawStatus::Settling, Some(SETTLING + 1)), ["2:5"]);
        assert_eq!(told(DrawStatus::Cancelled, Some(2)), ["cancelling", "cancelled"]);
        assert_eq!(told(DrawStatus::Cancelled, Some(CANCELLED)), [""; 0]);
    }

    #[test]
    fn who_comes_anew_hears_what_is_and_every_number() {
        let anew = |status| told(status, before(&view(status)));
        assert_eq!(anew(DrawStatus::Scheduled), ["scheduled"]);
        assert_eq!(anew(DrawStatus::Closed), ["closed"]);
        assert_eq!(anew(DrawStatus::Completed), ["settling", "1:2", "2:5", "completed"]);
        assert_eq!(anew(DrawStatus::Cancelled), ["cancelled"]);
    }
}
