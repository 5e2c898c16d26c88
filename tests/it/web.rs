//! The pages as a browser gets them: their headers, what it may cache, and the session that is in a cookie. What they show
//! is tested in a browser (`tests/web`).

use std::collections::BTreeSet;

use jiff::SignedDuration;
use lottery::config::{Config, ProviderKind};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::common::PASSWORD;
use crate::world::*;

const PAGES: [&str; 4] = ["/", "/admin", "/verify", "/verify/7"];
const STRICT: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// Stripe's documentation names these hosts (docs.stripe.com/security/guide).
const WITH_STRIPE: &str = "default-src 'none'; script-src 'self' https://js.stripe.com https://*.js.stripe.com; \
                           style-src 'self'; img-src 'self' data:; connect-src 'self' https://api.stripe.com; \
                           frame-src https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com; \
                           form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

async fn get(world: &World, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = http_client().get(format!("http://{}{path}", world.app().address));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The files that a page names.
async fn named_files(world: &World, path: &str) -> BTreeSet<String> {
    let html = get(world, path, &[]).await.text().await.unwrap();
    let values = ["src=\"", "href=\""].into_iter().flat_map(|name| html.split(name).skip(1));
    let values = values.filter_map(|rest| rest.split('"').next());
    values.filter(|value| value.starts_with("/assets/")).map(str::to_owned).collect()
}

/// The address of a file that the page for players loads.
pub async fn an_asset(world: &World) -> String {
    named_files(world, "/").await.pop_first().expect("the page loads a file")
}

#[actix_web::test]
async fn each_page_restricts_what_it_may_load_to_this_service() {
    let world = World::new().await;
    for path in PAGES {
        let page = get(&world, path, &[]).await;
        assert_eq!(page.status(), 200, "{path}");
        for (name, expected) in [
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", STRICT),
            ("cache-control", "no-cache"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(header(&page, name), expected, "{path} {name}");
        }
        assert!(header(&page, "permissions-policy").contains("payment=()"), "{path}");
        let html = page.text().await.unwrap();
        assert!(html.starts_with("<!doctype html>") && html.contains("<script"), "{path}: {html}");
        for forbidden in ["{{", "<style", " style=", "http://", "https://", " onclick", "javascript:"] {
            assert!(!html.contains(forbidden), "{path} has {forbidden}");
        }
        // A script of the page itself would not run.
        let inline = html.split("<script").skip(1).filter(|script| !script.contains(" src=\"/assets/")).count();
        assert_eq!(inline, 0, "{path}");
    }
}

#[actix_web::test]
async fn each_file_that_a_page_names_is_there_and_may_be_kept_for_good() {
    let world = World::new().await;
    let mut kinds = BTreeSet::new();
    for path in PAGES {
        let files = named_files(&world, path).await;
        assert!(!files.is_empty(), "{path}");
        for path in files {
            let file = get(&world, &path, &[]).await;
            assert_eq!(file.status(), 200, "{path}");
            assert_eq!(header(&file, "cache-control"), "public, max-age=31536000, immutable", "{path}");
            // For a script that runs as a worker.
            assert!(header(&file, "content-security-policy").contains("connect-src 'self'"), "{path}");
            kinds.insert(header(&file, "content-type").to_owned());
        }
    }
    assert!(
        kinds.contains("text/css; charset=utf-8") && kinds.contains("text/javascript; charset=utf-8"),
        "{kinds:?}"
    );
    let asset = an_asset(&world).await;
    let (folder, _) = asset.split_at("/assets/".len() + 16);
    for (path, why) in [
        (asset.replace(folder, "/assets/0123456789abcdef"), "of another version"),
        (format!("{folder}/index.html"), "a page has a place to fill in"),
        (format!("{folder}/../Cargo.toml"), "outside"),
        (format!("{folder}/%2e%2e/Cargo.toml"), "outside"),
        (format!("{folder}/nothing.js"), "no file"),
        (format!("{folder}/"), "no file"),
        (format!("{folder}/vendor/README.md"), "for engineers"),
    ] {
        let answer = get(&world, &path, &[]).await;
        assert_eq!(answer.status(), 404, "{path}: {why}");
        assert_eq!(header(&answer, "cache-control"), "no-store", "{path}");
    }
}

#[actix_web::test]
async fn a_page_that_has_not_changed_is_not_sent_again() {
    let world = World::new().await;
    let page = get(&world, "/", &[]).await;
    let tag = header(&page, "etag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    for (known, expected) in [
        (tag.clone(), StatusCode::NOT_MODIFIED),
        (format!("\"other\", {tag}"), StatusCode::NOT_MODIFIED),
        (tag.trim_start_matches("W/").to_owned(), StatusCode::NOT_MODIFIED),
        ("\"other\"".to_owned(), StatusCode::OK),
        ("*".to_owned(), StatusCode::OK),
    ] {
        let again = get(&world, "/", &[("If-None-Match", &known)]).await;
        assert_eq!(again.status(), expected, "{known}");
        assert_eq!(header(&again, "etag"), tag);
        assert_eq!(again.text().await.unwrap().is_empty(), expected == StatusCode::NOT_MODIFIED);
    }
    assert_ne!(header(&get(&world, "/admin", &[]).await, "etag"), tag);
}

#[actix_web::test]
async fn text_is_compressed_for_clients_that_accept_it() {
    let world = World::new().await;
    let asset = an_asset(&world).await;
    for path in ["/", &asset] {
        let plain = get(&world, path, &[]).await;
        assert_eq!(
            (header(&plain, "content-encoding"), header(&plain, "vary")),
            ("", "Accept-Encoding"),
            "{path}"
        );
        let plain = plain.bytes().await.unwrap();
        for (accepted, expected) in [
            ("gzip, deflate, br, zstd", "gzip"),
            ("gzip", "gzip"),
            ("br", ""),
            ("gzip;q=0", ""),
            ("gzip;q=0.1, identity", ""),
            ("identity", ""),
        ] {
            let answer = get(&world, path, &[("Accept-Encoding", accepted)]).await;
            assert_eq!(header(&answer, "content-encoding"), expected, "{path} {accepted}");
            let bytes = answer.bytes().await.unwrap();
            if expected == "gzip" {
                let mut text = Vec::new();
                std::io::copy(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text).unwrap();
                assert_eq!(text, plain, "{path}");
                assert!(bytes.len() < plain.len(), "{path}");
            } else {
                assert_eq!(bytes, plain, "{path} {accepted}");
            }
        }
    }
}

#[actix_web::test]
async fn without_pages_there_is_nothing_of_them() {
    let world = World::with(|config| {
        config.server.web = false;
        config.server.docs = false;
    })
    .await;
    for path in PAGES.into_iter().chain(["/web/config", "/favicon.ico"]) {
        assert_eq!(get(&world, path, &[]).await.status(), 404, "{path}");
    }
    let browser = Browser::of(&world);
    assert_eq!(browser.send(Method::POST, "/web/session", json!({})).await.status(), 404);
}

fn with_stripe(key: Option<&str>) -> impl FnOnce(&mut Config) {
    let key = key.map(str::to_owned);
    move |config: &mut Config| {
        config.payments.provider = ProviderKind::Stripe;
        config.payments.stripe_key = Some("sk_test_1".into());
        config.payments.stripe_publishable_key = key;
    }
}

#[actix_web::test]
async fn only_the_page_for_players_may_load_the_card_form_of_stripe_and_only_with_its_key() {
    let mut tags = Vec::new();
    for (key, allowed) in [(Some("pk_test_1"), true), (None, false)] {
        let world = World::with(with_stripe(key)).await;
        for path in PAGES {
            let page = get(&world, path, &[]).await;
            let policy = header(&page, "content-security-policy");
            let expected = if allowed && path == "/" { WITH_STRIPE } else { STRICT };
            assert_eq!(policy, expected, "{path}");
            let camera = "camera=(), geolocation=(), microphone=(), ";
            let expected = if allowed && path == "/" {
                format!("{camera}usb=(), payment=(self \"https://js.stripe.com\")")
            } else {
                format!("{camera}payment=(), usb=()")
            };
            assert_eq!(header(&page, "permissions-policy"), expected, "{path}");
            tags.push(header(&page, "etag").to_owned());
        }
        let config: Value = get(&world, "/web/config", &[]).await.json().await.unwrap();
        assert_eq!((&config["provider"], &config["stripe_publishable_key"]), (&json!("stripe"), &json!(key)));
    }
    // A browser that has the page in its cache gets the other policy with the page: the bytes of the HTML are the same.
    let (with_key, without_key) = tags.split_at(PAGES.len());
    assert_ne!(with_key[0], without_key[0], "the page for players");
    assert_eq!(with_key[1..], without_key[1..], "the pages whose policy is the same");
    let sandbox = World::new().await;
    let config: Value = get(&sandbox, "/web/config", &[]).await.json().await.unwrap();
    let expected =
        json!({"provider": "sandbox", "stripe_publishable_key": null, "currency": "RUB", "admins_play": true});
    assert_eq!(config, expected);
}

/// A browser with a page of the service open: it sends the page's origin, and keeps the cookie.
#[derive(Clone)]
struct Browser {
    origin: String,
    cookie: String,
}

impl Browser {
    fn of(world: &World) -> Browser {
        Browser { origin: format!("http://{}", world.app().address), cookie: String::new() }
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Response {
        let request = http_client().request(method, format!("{}{path}", self.origin)).json(&body);
        let request = request.header("Origin", &self.origin).header("Sec-Fetch-Site", "same-origin");
        request.header("Cookie", format!("theme=dark; {}", self.cookie)).send().await.unwrap()
    }

    async fn log_in(&mut self, login: &str, password: &str) -> Response {
        let answer = self.send(Method::POST, "/web/session", json!({"login": login, "password": password})).await;
        self.keep_cookie(&answer);
        answer
    }

    async fn refresh(&mut self) -> Response {
        let answer = self.send(Method::POST, "/web/session/refresh", json!({})).await;
        self.keep_cookie(&answer);
        answer
    }

    async fn log_out(&mut self) -> Response {
        let answer = self.send(Method::DELETE, "/web/session", json!({})).await;
        self.keep_cookie(&answer);
        answer
    }

    fn keep_cookie(&mut self, answer: &Response) {
        if let Some(cookie) = header(answer, "set-cookie").split(';').next().filter(|cookie| !cookie.is_empty()) {
            cookie.clone_into(&mut self.cookie);
        }
    }
}

/// The user of an answer's access token.
async fn user_of(world: &World, answer: Response) -> User {
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["token_type"], "Bearer");
    assert!(body["expires_in"].is_u64() && body.get("refresh_token").is_none(), "{body}");
    let user = world.anonymous().with_token(body["access_token"].as_str().unwrap());
    assert_eq!(user.get("/me").await.expect(200), body["user"]);
    user
}

async fn problem_code(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn unauthorized() -> (u16, String) {
    (401, "unauthorized".to_owned())
}

#[actix_web::test]
async fn a_page_logs_in_goes_on_and_logs_out_without_ever_seeing_the_refresh_token() {
    let world = World::new().await;
    world.player("ann").await;
    let mut browser = Browser::of(&world);
    let answer = browser.log_in("ann", PASSWORD).await;
    let cookie = header(&answer, "set-cookie").to_owned();
    for part in ["lottery_session=", "; HttpOnly", "; SameSite=Strict", "; Path=/web/session", "; Max-Age=2592000"]
    {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "a connection to this machine: {cookie}");
    let first = user_of(&world, answer).await;
    let second = user_of(&world, browser.refresh().await).await;
    for user in [&first, &second] {
        user.get("/wallet").await.expect(200);
    }
    let answer = browser.log_out().await;
    assert_eq!(answer.status(), 204);
    assert!(header(&answer, "set-cookie").contains("Max-Age=0"), "{:?}", answer.headers());
    second.get("/wallet").await.refused(401, "unauthorized");
    assert_eq!(problem_code(browser.refresh().await).await, unauthorized());
    assert_eq!(browser.log_out().await.status(), 204, "nothing is left to end");
}

#[actix_web::test]
async fn the_cookie_of_an_encrypted_page_is_never_sent_without_encryption() {
    let world = World::new().await;
    world.player("ann").await;
    let url = format!("http://{}/web/session", world.app().address);
    let body = json!({"login": "ann", "password": PASSWORD});
    let through_a_proxy = |origin: &str| {
        let request = http_client().post(&url).json(&body).header("Origin", origin);
        request.header("Sec-Fetch-Site", "same-origin").send()
    };
    for origin in ["https://lottery.example", "http://192.168.1.5:8080"] {
        let answer = through_a_proxy(origin).await.unwrap();
        assert!(header(&answer, "set-cookie").contains("; Secure"), "{origin}: {answer:?}");
    }
}

/// A page that is loaded twice, or whose answer is lost, sends the same cookie again.
#[actix_web::test]
async fn a_cookie_may_be_used_again_shortly_after() {
    let world = World::new().await;
    world.player("ann").await;
    let mut first = Browser::of(&world);
    user_of(&world, first.log_in("ann", PASSWORD).await).await;
    let mut second = first.clone();
    assert_eq!(first.refresh().await.status(), 200);
    world.advance(SignedDuration::from_secs(29));
    assert_eq!(second.refresh().await.status(), 200);
    // Whichever of the two answers the browser keeps, the session goes on with it, and with it alone.
    let ann = user_of(&world, second.refresh().await).await;
    assert_eq!(world.count("SELECT count(*) FROM refresh_tokens WHERE spent_at IS NOT NULL").await, 1);
    world.advance(SignedDuration::from_mins(15));
    assert_eq!(second.refresh().await.status(), 200);
    assert_eq!(problem_code(first.refresh().await).await, unauthorized());
    assert_eq!(problem_code(second.refresh().await).await, unauthorized());
    ann.get("/me").await.refused(401, "unauthorized");
}

#[actix_web::test]
async fn a_cookie_that_was_used_before_ends_its_session() {
    let world = World::new().await;
    world.player("ann").await;
    let mut browser = Browser::of(&world);
    let ann = user_of(&world, browser.log_in("ann", PASSWORD).await).await;
    let mut thief = browser.clone();
    browser.refresh().await;
    world.advance(SignedDuration::from_secs(30));
    let refused = thief.refresh().await;
    assert!(header(&refused, "set-cookie").contains("Max-Age=0"), "a cookie without use goes");
    assert_eq!(problem_code(refused).await, unauthorized());
    assert_eq!(problem_code(browser.refresh().await).await, unauthorized());
    ann.get("/me").await.refused(401, "unauthorized");
}

#[actix_web::test]
async fn wrong_passwords_and_blocked_users_are_refused_as_by_the_api() {
    let world = World::with(|config| {
        config.limits.enabled = true;
        config.limits.login_failures = 2.try_into().unwrap();
    })
    .await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let mut browser = Browser::of(&world);
    assert_eq!(browser.log_in("ann", PASSWORD).await.status(), 200);
    let block = admin.request(Method::PATCH, &format!("/admin/users/{}", ann.id));
    admin.send(block.json(&json!({"status": "blocked"}))).await.expect(200);
    let refused = browser.refresh().await;
    assert_eq!(header(&refused, "set-cookie"), "", "a user who is unblocked goes on");
    assert_eq!(problem_code(refused).await, (403, "account_blocked".to_owned()));
    assert_eq!(problem_code(browser.log_in("ann", PASSWORD).await).await, (403, "account_blocked".to_owned()));
    for _ in 0..2 {
        let refused = browser.log_in("bob", "another password").await;
        assert_eq!(header(&refused, "set-cookie"), "");
        assert_eq!(problem_code(refused).await, (401, "invalid_credentials".to_owned()));
    }
    let refused = browser.log_in("bob", "another password").await;
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(problem_code(refused).await, (429, "rate_limited".to_owned()));
    // An admin's log-in is in the audit log, wherever it was.
    let mut browser = Browser::of(&world);
    browser.log_in("the.admin", PASSWORD).await;
    let log = admin.all("/admin/audit-log?action=login").await;
    assert_eq!(log.len(), 2);
}

#[actix_web::test]
async fn a_page_of_another_site_cannot_use_the_cookie() {
    let world = World::with(|config| config.server.cors_origins = vec!["https://shop.example".to_owned()]).await;
    world.player("ann").await;
    let mut browser = Browser::of(&world);
    browser.log_in("ann", PASSWORD).await;
    let url = format!("{}/web/session", browser.origin);
    for (method, path, body) in [
        (Method::POST, "", json!({"login": "ann", "password": PASSWORD})),
        (Method::POST, "/refresh", json!({})),
        (Method::DELETE, "", json!({})),
    ] {
        for headers in [
            &[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")][..],
            &[("Origin", "https://evil.example")],
            &[("Origin", "null")],
            &[("Origin", browser.origin.as_str()), ("Sec-Fetch-Site", "same-site")],
            &[("Origin", "https://shop.example"), ("Sec-Fetch-Site", "cross-site")],
            &[],
        ] {
            let request = http_client().request(method.clone(), format!("{url}{path}")).json(&body);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let answer = request.header("Cookie", &browser.cookie).send().await.unwrap();
            assert_eq!(header(&answer, "set-cookie"), "");
            assert_eq!(header(&answer, "access-control-allow-credentials"), "");
            assert_eq!(problem_code(answer).await, (403, "forbidden".to_owned()), "{method} {path} {headers:?}");
        }
    }
    // What a form can send is no JSON.
    let request = http_client().post(format!("{url}/refresh")).header("Origin", &browser.origin);
    let form = request.header("Cookie", &browser.cookie).header("Content-Type", "text/plain").body("{}");
    assert_eq!(problem_code(form.send().await.unwrap()).await, (415, "unsupported_media_type".to_owned()));
    assert_eq!(browser.refresh().await.status(), 200, "none of them has touched the session");
}

#[actix_web::test]
async fn users_see_their_log_ins_and_end_them() {
    let world = World::new().await;
    let bob = world.player("bob").await;
    let phone = world.player("ann").await;
    world.advance(SignedDuration::from_mins(5));
    let mut browser = Browser::of(&world);
    let desktop = user_of(&world, browser.log_in("ann", PASSWORD).await).await;
    world.advance(SignedDuration::from_mins(5));
    browser.refresh().await;

    let seen = desktop.all("/me/sessions").await;
    let times = |session: &Value| (session["created_at"].clone(), session["last_used_at"].clone());
    let time = |minutes| json!(world.minutes(minutes));
    assert_eq!(seen.iter().map(times).collect::<Vec<_>>(), [(time(-5), time(0)), (time(-10), time(-10))]);
    let current = |sessions: &[Value]| sessions.iter().map(|it| it["current"].clone()).collect::<Vec<_>>();
    assert_eq!(current(&seen), [true, false]);
    assert_eq!(current(&phone.all("/me/sessions").await), [false, true]);
    assert!(seen.iter().all(|session| session["address"] == "127.0.0.1"), "{seen:?}");

    let path = |session: &Value| format!("/me/sessions/{}", session["id"].as_str().unwrap());
    bob.delete(&path(&seen[1])).await.refused(404, "not_found");
    phone.get("/me").await.expect(200);
    assert_eq!(desktop.delete(&path(&seen[1])).await.status, 204);
    phone.get("/me").await.refused(401, "unauthorized");
    desktop.delete(&path(&seen[1])).await.refused(404, "not_found");
    assert_eq!(current(&desktop.all("/me/sessions").await), [true]);
    // A session that expired is none, although its row is still there.
    world.advance(SignedDuration::from_hours(24 * 31));
    let back = world.anonymous().log_in("ann", PASSWORD).await;
    assert_eq!(back.all("/me/sessions").await.len(), 1);
    let own = back.all("/me/sessions").await;
    assert_eq!(back.delete(&path(&own[0])).await.status, 204);
    back.get("/me").await.refused(401, "unauthorized");
}

#[actix_web::test]
async fn a_node_that_hands_over_still_shows_its_pages_and_refuses_what_they_call() {
    let world = World::new().await;
    world.player("ann").await;
    let mut browser = Browser::of(&world);
    browser.log_in("ann", PASSWORD).await;
    let asset = an_asset(&world).await;
    world.app().state.lease.drain().await;
    for path in PAGES.into_iter().chain(["/web/config", asset.as_str()]) {
        assert_eq!(get(&world, path, &[]).await.status(), 200, "{path}");
    }
    let refused = browser.refresh().await;
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(header(&refused, "set-cookie"), "", "the session is not over");
    assert_eq!(problem_code(refused).await, (503, "standby".to_owned()));
    assert_eq!(problem_code(browser.log_out().await).await, (503, "standby".to_owned()));
}

#[actix_web::test]
async fn the_dashboard_shows_what_is_sold_and_where_the_money_is() {
    let (world, admin, draw) = World::on_sale(10).await;
    let deposit = 100_000_000;
    let ann = world.rich_player("ann", deposit).await;
    ann.buy_quick(draw, 3).await;
    let stats = admin.get("/admin/stats").await.expect(200);
    assert_eq!(stats["tickets_sold"], 3);
    let row = &stats["draws"][0];
    assert_eq!((&row["draw_id"], &row["status"], &row["tickets_sold"]), (&json!(draw), &json!("open"), &json!(3)));
    assert_eq!((&row["tickets_available"], &row["price"]), (&json!(10), &json!(PRICE)));
    let health =
        json!({"ready": true, "database": true, "writer": true, "clock_paused": false, "draining": false});
    assert_eq!(stats["health"], health);
    assert_eq!((&stats["charges_waiting"], &stats["draws_stopped"]), (&json!(0), &json!(0)));
    let money = json!({
        "players": deposit - 3 * PRICE, "escrow": 3 * PRICE, "jackpot": 0, "reserve": 0, "revenue": 0,
        "clearing": -deposit,
    });
    assert_eq!(stats["accounts"], money);
    let latency = &stats["commit_latency"];
    assert!(latency["batches"].as_u64().unwrap() >= 2 && latency["p50"].as_f64().unwrap() > 0.0, "{latency}");
    assert!(latency["p99"].as_f64() >= latency["p50"].as_f64(), "{latency}");
    until("the sales of the last minutes are shown", async || {
        ann.buy_quick(draw, 1).await;
        let stats = admin.get("/admin/stats").await.expect(200);
        let sold = |value: &Value| value.as_array().unwrap().iter().filter_map(Value::as_i64).sum::<i64>();
        sold(&stats["sales"]["tickets"]) > 0
            && stats["sales_per_second"].as_f64() > Some(0.0)
            && stats["sales_per_second"] == stats["draws"][0]["sales_per_second"]
    })
    .await;
    // A draw that is over is not listed.
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
    assert_eq!(admin.get("/admin/stats").await.expect(200)["draws"], json!([]));
}
