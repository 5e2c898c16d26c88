//! `GET /draws/{id}/events`: the events of a draw as a stream (server-sent events: WHATWG HTML, section 9.2). Each
//! watcher polls the draw's snapshot a few times a second, and only while its client reads. So sales do no work
//! for watchers, and a slow client misses old sales figures, but no status and no winning number.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::error::Problem;
use super::query::path_id;
use super::slots::WatcherSlot;
use super::state::State;
use crate::db::read::draws;
use crate::domain::draw::DrawSnapshot;
use crate::domain::id::DrawId;
use crate::domain::lottery::DrawStatus;
use crate::domain::money::Money;

/// How often a watcher polls. It sends one winning number at each poll.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Polls without an event until a comment is sent that keeps the connection alive: 15 seconds.
const QUIET_POLLS: u32 = 60;
/// How long a client waits before it reconnects, in milliseconds.
const RETRY: u32 = 2000;

/// The events of a draw as a stream.
///
/// Server-sent events: `status` (at first, and whenever it changes), `sales` (when the figures have changed) and `number`
/// (each drawn number). 204 when no more events will come.
#[utoipa::path(
    get, path = "/api/v1/draws/{id}/events", tag = "draws", operation_id = "watch_draw",
    params(
        ("id" = i64, Path, description = "The draw's `id`, not its `number`."),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received: the stream goes on after it."),
    ),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 204),
        (status = "default", description = "rate_limited"),
    ),
)]
pub async fn events(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let id = DrawId(path_id(&request, "draw")?);
    let view = match state.snapshots.draw(id) {
        Some(view) => view,
        None => Arc::new(draws::one(&state.db, id).await?.ok_or_else(|| Problem::not_found("draw"))?),
    };
    let header = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let sent = header.and_then(|text| text.parse().ok()).filter(|sent| *sent <= last_event(&view));
    if view.status.is_over() && sent == Some(last_event(&view)) {
        // No more events will come. 204 stops an EventSource from reconnecting.
        return Ok(HttpResponse::NoContent().finish());
    }
    let slot = state.watchers.acquire(state.proxies.client(&request))?;
    let mut polls = interval(POLL_INTERVAL);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sent = sent.or_else(|| before_first(&view));
    let watcher = Watcher { state, id, view, sent, sales: None, quiet: 0, polls, _slot: slot };
    let begin = stream::once(async { Ok::<_, Infallible>(Bytes::from(format!("retry: {RETRY}\n\n"))) });
    let news = stream::unfold(watcher, async |mut watcher| watcher.news().await.map(|news| (Ok(news), watcher)));
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        // A proxy (nginx) must not buffer events.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream::StreamExt::chain(begin, news)))
}

/// A client that watches a draw.
struct Watcher {
    state: web::Data<State>,
    id: DrawId,
    /// The last snapshot.
    view: Arc<DrawSnapshot>,
    /// The last event that was sent. `None`: not even the first.
    sent: Option<EventId>,
    sales: Option<SalesEvent>,
    /// Polls without an event, in a row.
    quiet: u32,
    polls: Interval,
    _slot: WatcherSlot,
}

impl Watcher {
    /// The next bytes to send; `None` at the end of the stream.
    async fn news(&mut self) -> Option<Bytes> {
        loop {
            self.polls.tick().await;
            if self.state.watchers.are_closed() {
                return None;
            }
            // A draw without a snapshot is over: it stays as it was last seen.
            if let Some(view) = self.state.snapshots.draw(self.id) {
                self.view = view;
            }
            let mut news = String::new();
            let next = next(&self.view, self.sent);
            if let Some((id, event)) = &next {
                self.sent = Some(*id);
                news.push_str(&event.text(Some(*id)));
            }
            let sales = self.sales();
            if self.sales != Some(sales) {
                self.sales = Some(sales);
                news.push_str(&DrawEvent::Sales(sales).text(None));
            }
            if !news.is_empty() {
                self.quiet = 0;
                return Some(news.into());
            }
            if self.view.status.is_over() {
                return None;
            }
            self.quiet += 1;
            if self.quiet == QUIET_POLLS {
                self.quiet = 0;
                return Some(Bytes::from_static(b": still here\n\n"));
            }
        }
    }

    fn sales(&self) -> SalesEvent {
        let view = &self.view;
        let prize_fund = view.prize_fund(self.state.snapshots.jackpot(&view.rules.lottery));
        SalesEvent { tickets_sold: view.sold, tickets_available: view.available, prize_fund }
    }
}

/// The id of an event. Each possible event of a draw has a fixed id, and later events have higher ids. A client
/// that reconnects sends the last id that it received, so the service keeps nothing for it.
type EventId = u32;

const SETTLING: EventId = 3;
/// At most 64 winning numbers lie between.
const COMPLETED: EventId = 100;
const CANCELLING: EventId = 200;
const CANCELLED: EventId = 201;

/// One event.
#[derive(Clone, Copy, PartialEq, Debug)]
enum DrawEvent {
    Sales(SalesEvent),
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
            DrawEvent::Sales(sales) => ("sales", serde_json::json!(sales)),
            DrawEvent::Status(status) => ("status", serde_json::json!({"status": status})),
            DrawEvent::Number { index, number } => {
                ("number", serde_json::json!({"index": index, "number": number}))
            }
        };
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        format!("{id}event: {name}\ndata: {body}\n\n")
    }
}

/// All events of this draw so far, in order, but for the sales figures.
fn history(view: &DrawSnapshot) -> impl Iterator<Item = (EventId, DrawEvent)> {
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

/// The next event after that one, if it has happened.
fn next(view: &DrawSnapshot, sent: Option<EventId>) -> Option<(EventId, DrawEvent)> {
    history(view).find(|(id, _)| sent.is_none_or(|sent| *id > sent))
}

/// The id of the last event so far.
fn last_event(view: &DrawSnapshot) -> EventId {
    history(view).last().map_or(0, |(id, _)| id)
}

/// The event after which a new client begins: it gets the current status, and all winning numbers.
fn before_first(view: &DrawSnapshot) -> Option<EventId> {
    match view.status {
        DrawStatus::Settling | DrawStatus::Completed => Some(SETTLING - 1),
        _ => last_event(view).checked_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::draw::{Times, WinningPick};
    use crate::domain::game::Game;
    use crate::domain::id::LotteryId;
    use crate::domain::lottery::Rules;
    use crate::domain::money::Share;
    use crate::domain::prize::{Award, PrizeTable, Tier};

    fn view(status: DrawStatus) -> DrawSnapshot {
        let time = jiff::Timestamp::UNIX_EPOCH;
        let game = Game::new(2, 5).unwrap();
        let pick = game.pick(&[2, 5]).unwrap();
        let tiers = vec![Tier { matches: 2, award: Award::Fixed(Money::new(1)) }];
        let rules = Rules {
            lottery: LotteryId("2of5".to_owned()),
            game,
            price: Money::new(1),
            fund_share: Share::new(5000).unwrap(),
            prizes: PrizeTable::new(game, tiers).unwrap(),
        };
        let drawn = matches!(status, DrawStatus::Settling | DrawStatus::Completed);
        DrawSnapshot {
            id: DrawId(1),
            rules: Arc::new(rules),
            number: 1,
            status,
            times: Times { sales_open_at: None, sales_close_at: time, draw_at: time },
            fairness: None,
            sold: 0,
            available: 0,
            winning: drawn.then_some(WinningPick { pick, drawn_at: time, jackpot: Money::ZERO }),
            cancel_reason: None,
            payout_stopped: false,
        }
    }

    /// All events from there on.
    fn told(status: DrawStatus, mut from: Option<EventId>) -> Vec<String> {
        let view = view(status);
        let mut told = Vec::new();
        while let Some((moment, event)) = next(&view, from) {
            from = Some(moment);
            told.push(match event {
                DrawEvent::Status(status) => status.as_str().to_owned(),
                DrawEvent::Number { index, number } => format!("{index}:{number}"),
                DrawEvent::Sales(_) => "sales".to_owned(),
            });
        }
        assert_eq!(from, Some(last_event(&view)));
        told
    }

    #[test]
    fn no_event_is_missed_when_several_happen_between_two_polls() {
        assert_eq!(told(DrawStatus::Completed, Some(1)), ["closed", "settling", "1:2", "2:5", "completed"]);
        assert_eq!(told(DrawStatus::Settling, Some(SETTLING + 1)), ["2:5"]);
        assert_eq!(told(DrawStatus::Cancelled, Some(2)), ["cancelling", "cancelled"]);
        assert_eq!(told(DrawStatus::Cancelled, Some(CANCELLED)), [""; 0]);
    }

    #[test]
    fn a_new_client_gets_the_status_and_every_number() {
        let anew = |status| told(status, before_first(&view(status)));
        assert_eq!(anew(DrawStatus::Scheduled), ["scheduled"]);
        assert_eq!(anew(DrawStatus::Closed), ["closed"]);
        assert_eq!(anew(DrawStatus::Completed), ["settling", "1:2", "2:5", "completed"]);
        assert_eq!(anew(DrawStatus::Cancelled), ["cancelled"]);
    }
}
