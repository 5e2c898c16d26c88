//! Live events over real HTTP: which events watchers receive, in which order, and that they do not slow down the sale.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::world::*;

/// The limit of a wait for an event.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of the event stream.
struct Watcher {
    response: Response,
    text: String,
}

/// An event's id (if it has one), name and data.
type Event = (Option<u32>, String, Value);

impl Watcher {
    async fn of(person: &User, draw: i64, last: Option<u32>) -> Watcher {
        let mut request = person.request(Method::GET, &format!("/draws/{draw}/events"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Watcher { response, text: String::new() }
    }

    /// The next event; none at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let event = field("event: ").map(|name| {
                    let id = field("id: ").map(|id| id.parse().unwrap());
                    (id, name, serde_json::from_str(&field("data: ").unwrap()).unwrap())
                });
                self.text = rest.to_owned();
                if event.is_some() {
                    return event;
                }
                continue;
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("it comes in time");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    /// Everything up to the end, without the sales.
    async fn story(mut self) -> Vec<Event> {
        let mut story = Vec::new();
        while let Some(event) = self.next().await {
            if event.1 != "sales" {
                story.push(event);
            }
        }
        story
    }
}

#[actix_web::test]
async fn every_watcher_receives_the_sales_and_every_number_once() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 100_000).await;
    let draw = admin.open_draw(&world, 5).await;
    let anonymous = world.anonymous();
    let mut watchers = join_all((0..300).map(|_| Watcher::of(&anonymous, draw, None))).await;
    // A client that is connected and reads nothing.
    let mut idle = TcpStream::connect(world.app().address).await.unwrap();
    let request = format!("GET /api/v1/draws/{draw}/events HTTP/1.1\r\nHost: here\r\n\r\n");
    idle.write_all(request.as_bytes()).await.unwrap();

    let first = &mut watchers[0];
    assert_eq!(first.next().await, Some((Some(1), "status".to_owned(), json!({"status": "open"}))));
    let sales = |sold: i64, fund: i64| json!({"tickets_sold": sold, "tickets_available": 5, "prize_fund": fund});
    assert_eq!(first.next().await, Some((None, "sales".to_owned(), sales(0, 0))));
    ann.buy(draw, &[1, 7, 13, 22, 36]).await;
    assert_eq!(first.next().await, Some((None, "sales".to_owned(), sales(1, 5000))));

    let result = admin.conduct(draw).await;
    let stories = join_all(watchers.into_iter().map(Watcher::story)).await;
    let status = |status: &str| json!({"status": status});
    let numbers = result["winning_numbers"].as_array().unwrap();
    let mut expected = vec![(2, "status", status("closed")), (3, "status", status("settling"))];
    for (index, number) in (1..).zip(numbers) {
        expected.push((3 + index, "number", json!({"index": index, "number": number})));
    }
    expected.push((100, "status", status("completed")));
    let expected: Vec<Event> =
        expected.into_iter().map(|(id, name, data)| (Some(id), name.to_owned(), data)).collect();
    assert_eq!(stories[0], expected);
    for story in &stories[1..] {
        assert_eq!(story[1..], expected, "they first hear that it is open");
    }

    // A client that reconnects receives the missed events, and 204 when there are none.
    assert_eq!(Watcher::of(&anonymous, draw, Some(7)).await.story().await, expected[6..]);
    let again = anonymous.request(Method::GET, &format!("/draws/{draw}/events")).header("Last-Event-ID", 100);
    assert_eq!(again.send().await.unwrap().status(), 204);
    anonymous.get("/draws/99/events").await.refused(404, "not_found");
    drop(idle);
}

#[actix_web::test]
async fn an_address_has_a_limit_of_watchers() {
    let world = World::with(|config| {
        config.limits.enabled = true;
        config.limits.watchers_per_address = NonZeroU32::new(2).unwrap();
        config.server.trusted_proxies = vec!["127.0.0.0/8".to_owned().try_into().unwrap()];
    })
    .await;
    let draw = world.admin().await.open_draw(&world, 0).await;
    let path = format!("/draws/{draw}/events");
    let watch = |client: &str| world.anonymous().request(Method::GET, &path).header("X-Forwarded-For", client);
    let mut open = Vec::new();
    for _ in 0..2 {
        let response = watch("1.1.1.1").send().await.unwrap();
        assert_eq!(response.status(), 200);
        open.push(response);
    }
    // Its head alone first: the events of a watcher that is let in have no end.
    assert_eq!(watch("1.1.1.1").send().await.unwrap().status(), 429);
    let refused = world.anonymous().send(watch("1.1.1.1")).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.refused(429, "rate_limited");
    assert_eq!(watch("2.2.2.2").send().await.unwrap().status(), 200);
    open.pop();
    until("a watcher that went gives its place", || async {
        watch("1.1.1.1").send().await.unwrap().status() == 200
    })
    .await;
}

#[actix_web::test]
async fn watchers_do_not_delay_a_stop() {
    let mut world = World::with(|config| config.server.shutdown_timeout = Duration::from_secs(3600)).await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    let mut watcher = Watcher::of(&world.anonymous(), draw, None).await;
    assert_eq!(watcher.next().await.unwrap().1, "status");
    world.stop().await;
    assert_eq!(watcher.story().await, []);
}
