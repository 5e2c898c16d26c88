//! Who may call what: every route is called by every kind of user. A route without a row here fails the test.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{PASSWORD, openapi};
use crate::logs::witnesses::{PolicyFile, policy_of};
use crate::web::an_asset;
use crate::world::*;

/// The source file with the route table.
const TABLE: &str = include_str!("../../src/http/mod.rs");

/// The users whom a route admits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum For {
    Anybody,
    /// Every user who is logged in and not blocked.
    Active,
    /// The owner of the object; it is not found for all others.
    Owner,
    Admin,
    /// A client that signs as the payment provider does.
    Provider,
    /// A page of the service itself, which these requests are not.
    OwnPage,
}

use For::{Active, Admin, Anybody, OwnPage, Owner, Provider};

/// Every route. Routes that change what other rows need are last.
const ROWS: &[(For, &str, &str)] = &[
    (Anybody, "GET", "/health/live"),
    (Anybody, "GET", "/health/ready"),
    (Anybody, "GET", "/metrics"),
    (Anybody, "GET", "/"),
    (Anybody, "GET", "/admin"),
    (Anybody, "GET", "/verify"),
    (Anybody, "GET", "/verify/{draw}"),
    (Anybody, "GET", "/assets/{hash}/{file}"),
    (Anybody, "GET", "/favicon.ico"),
    (Anybody, "GET", "/web/config"),
    (OwnPage, "POST", "/web/session"),
    (OwnPage, "DELETE", "/web/session"),
    (OwnPage, "POST", "/web/session/refresh"),
    (Anybody, "GET", "/api/openapi.json"),
    (Anybody, "GET", "/api/problems"),
    (Anybody, "GET", "/api/docs"),
    (Anybody, "GET", "/api/docs/{file}"),
    (Anybody, "GET", "/api/v1/lotteries"),
    (Anybody, "GET", "/api/v1/lotteries/{id}"),
    (Anybody, "GET", "/api/v1/draws"),
    (Anybody, "GET", "/api/v1/draws/{id}"),
    (Anybody, "GET", "/api/v1/draws/{id}/pool"),
    (Anybody, "GET", "/api/v1/draws/{id}/results"),
    (Anybody, "GET", "/api/v1/draws/{id}/events"),
    (Anybody, "GET", "/api/v1/draws/{id}/proof"),
    (Anybody, "GET", "/api/v1/draws/{id}/log/checkpoint"),
    (Anybody, "GET", "/api/v1/draws/{id}/log/tile/{tile}"),
    (Anybody, "GET", "/api/v1/log/checkpoint"),
    (Anybody, "GET", "/api/v1/log/tile/{tile}"),
    (Anybody, "GET", "/api/v1/log/policy"),
    (Anybody, "GET", "/api/v1/keys"),
    (Provider, "POST", "/api/v1/webhooks/payments/{provider}"),
    (Anybody, "POST", "/api/v1/auth/register"),
    (Anybody, "POST", "/api/v1/auth/login"),
    (Anybody, "POST", "/api/v1/auth/refresh"),
    (Anybody, "POST", "/api/v1/auth/logout"),
    (Anybody, "POST", "/api/v1/auth/password-reset"),
    (Active, "GET", "/api/v1/me"),
    (Active, "POST", "/api/v1/me/password"),
    (Active, "GET", "/api/v1/me/sessions"),
    (Active, "GET", "/api/v1/tickets"),
    (Active, "GET", "/api/v1/payments"),
    (Active, "GET", "/api/v1/wallet"),
    (Active, "GET", "/api/v1/wallet/transfers"),
    (Active, "POST", "/api/v1/wallet/deposits"),
    (Active, "POST", "/api/v1/wallet/withdrawals"),
    (Active, "POST", "/api/v1/draws/{id}/tickets"),
    (Owner, "GET", "/api/v1/tickets/{id}"),
    (Owner, "GET", "/api/v1/tickets/{id}/proof"),
    (Owner, "GET", "/api/v1/payments/{id}"),
    (Owner, "DELETE", "/api/v1/tickets/{id}"),
    (Owner, "DELETE", "/api/v1/me/sessions/{id}"),
    (Owner, "POST", "/api/v1/payments/{id}/pay"),
    (Admin, "GET", "/api/v1/admin/draws/{id}/tickets"),
    (Admin, "GET", "/api/v1/admin/payments"),
    (Admin, "GET", "/api/v1/admin/charges"),
    (Admin, "GET", "/api/v1/admin/users"),
    (Admin, "GET", "/api/v1/admin/users/{id}"),
    (Admin, "PATCH", "/api/v1/admin/users/{id}"),
    (Admin, "POST", "/api/v1/admin/users/{id}/password-reset"),
    (Admin, "GET", "/api/v1/admin/audit-log"),
    (Admin, "GET", "/api/v1/admin/stats"),
    (Admin, "GET", "/api/v1/admin/clock"),
    (Admin, "POST", "/api/v1/admin/clock/confirm"),
    (Admin, "GET", "/api/v1/admin/export/{table}"),
    (Admin, "GET", "/api/v1/admin/finance"),
    (Admin, "GET", "/api/v1/admin/finance/draws"),
    (Admin, "POST", "/api/v1/admin/payments/{id}/end"),
    (Admin, "POST", "/api/v1/admin/withdrawals/{id}/approve"),
    (Admin, "POST", "/api/v1/admin/withdrawals/{id}/reject"),
    (Admin, "POST", "/api/v1/admin/draws"),
    (Admin, "PATCH", "/api/v1/admin/draws/{id}"),
    (Admin, "POST", "/api/v1/admin/draws/{id}/pool"),
    (Admin, "POST", "/api/v1/admin/draws/{id}/open"),
    (Admin, "POST", "/api/v1/admin/draws/{id}/close"),
    (Admin, "POST", "/api/v1/admin/draws/{id}/conduct"),
    (Admin, "POST", "/api/v1/admin/draws/{id}/cancel"),
];

/// Parses the route table: scopes, and within them `resource("/path", "GET, POST")`.
pub fn table() -> BTreeSet<(String, String)> {
    let (mut scope, mut routes) = (String::new(), BTreeSet::new());
    for piece in TABLE.split("pub fn routes").nth(1).unwrap().split(['(', ';']).map(str::trim) {
        // The text before a bracket tells its kind.
        let quoted: Vec<&str> = piece.split('"').skip(1).step_by(2).collect();
        match quoted[..] {
            ["/api/v1"] => "/api/v1".clone_into(&mut scope),
            ["/admin"] => "/api/v1/admin".clone_into(&mut scope),
            [path, methods] => {
                // A parameter that may have slashes has none in the document.
                let path = path.replace(":.*}", "}");
                routes.extend(methods.split(", ").map(|method| (method.to_owned(), format!("{scope}{path}"))));
            }
            _ if piece.ends_with("config") || piece.contains(".app_data") => scope.clear(),
            _ => {}
        }
    }
    routes
}

/// Whether a route admits only logged-in users.
pub fn asks_for_a_token(method: &str, path: &str) -> bool {
    let (meant, ..) = ROWS.iter().find(|row| (row.1, row.2) == (method, path)).unwrap();
    !matches!(meant, Anybody | Provider | OwnPage)
}

/// The status and the code of a user's answer.
async fn ask(world: &World, who: &User, method: &str, path: &str, body: &Value) -> (u16, String) {
    let url = format!("http://{}{path}", world.app().address);
    let request = http_client().request(Method::from_bytes(method.as_bytes()).unwrap(), url);
    let request = if method == "GET" { request } else { request.json(body) };
    let request = who.token.iter().fold(request, |request, token| request.bearer_auth(token));
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    // The body of a success may be endless.
    let mut body = if status < 400 { Value::Null } else { response.json::<Value>().await.unwrap() };
    openapi::check(method, path, status, &body);
    let code = body["code"].take();
    (status, code.as_str().unwrap_or_default().to_owned())
}

#[actix_web::test]
async fn every_route_admits_only_those_it_is_meant_for() {
    let rows: BTreeSet<_> = ROWS.iter().map(|(_, method, path)| (method.to_string(), path.to_string())).collect();
    let table = table();
    let (new, gone): (Vec<_>, Vec<_>) = (table.difference(&rows).collect(), rows.difference(&table).collect());
    assert!(new.is_empty() && gone.is_empty(), "without a row: {new:?}; rows without a route: {gone:?}");

    // With a policy, for the call that shows it.
    let policy = PolicyFile::new(&policy_of(0, &[]));
    let world = policy.world().await;
    let (admin, nobody) = (world.admin().await, world.anonymous());
    let (player, other) = (world.rich_player("ann", 100_000).await, world.rich_player("bob", 100_000).await);
    let blocked = world.rich_player("eve", 100_000).await;
    let block = admin.request(Method::PATCH, &format!("/admin/users/{}", blocked.id));
    admin.send(block.json(&json!({"status": "blocked"}))).await.expect(200);
    let draw = admin.open_draw(&world, 5).await;
    let reserved =
        player.order(draw, json!([{"from_pool": true}, {"from_pool": true}]), "later").await.expect(201);
    player.buy_quick(draw, 1).await;
    player.log_in("ann", PASSWORD).await;
    let sessions = player.get("/me/sessions").await.expect(200);
    let withdrawal = player.post("/wallet/withdrawals", json!({"amount": 1})).await.expect(201);
    let asset = an_asset(&world).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();

    for (meant, method, pattern) in ROWS {
        let noun = pattern.split("/{id}").next().and_then(|before| before.rsplit('/').next()).unwrap();
        let id = match noun {
            "draws" => draw.to_string(),
            "lotteries" => "5of36".to_owned(),
            "tickets" => text(&reserved["tickets"][0]["id"]),
            "payments" => text(&reserved["payment"]["id"]),
            "users" => player.id.to_string(),
            // The newer one, not that of these requests.
            "sessions" => text(&sessions["items"][0]["id"]),
            "withdrawals" => text(&withdrawal["id"]),
            _ => String::new(),
        };
        let path = pattern.replace("{id}", &id).replace("{provider}", "sandbox").replace("{table}", "draws");
        let path = path.replace("{file}", "index.html").replace("{tile}", "0/000.p/1").replace("{draw}", "1");
        let path = if pattern.starts_with("/assets/") { asset.clone() } else { path };
        let body = if pattern.ends_with("/pay") { wallet() } else { json!({}) };
        let unauthorized = (401, "unauthorized".to_owned());
        let forbidden = (403, "forbidden".to_owned());
        let account_blocked = (403, "account_blocked".to_owned());
        let not_found = (404, "not_found".to_owned());
        // Users who are refused come first: if a refused call has an effect, the later ones notice it.
        for (name, who) in
            [("nobody", &nobody), ("blocked", &blocked), ("other", &other), ("admin", &admin), ("player", &player)]
        {
            let expected = match (meant, name) {
                (Anybody, _) => None,
                (OwnPage, _) => Some(&forbidden),
                (Provider, _) | (_, "nobody") => Some(&unauthorized),
                (_, "blocked") => Some(&account_blocked),
                (Admin, "other" | "player") => Some(&forbidden),
                (Owner, "other" | "admin") => Some(&not_found),
                _ => None,
            };
            let answer = ask(&world, who, method, &path, &body).await;
            match expected {
                Some(expected) => assert_eq!(answer, *expected, "{method} {path} by {name}"),
                None => {
                    let let_in = ![401, 403, 404, 405].contains(&answer.0) && answer.0 < 500;
                    assert!(let_in, "{method} {path} by {name}: {answer:?}");
                }
            }
        }
    }
    // Each refusal that has an actor is counted.
    world.advance(jiff::SignedDuration::from_mins(1));
    let refused = ROWS.iter().filter(|(meant, ..)| *meant == Admin).count();
    for who in [&blocked, &other, &player] {
        let path = format!("/admin/audit-log?action=admin.refused&actor_id={}", who.id);
        until("the refusals are written", async || !admin.all(&path).await.is_empty()).await;
        let counts = admin.all(&path).await.into_iter().map(|row| row["count"].clone()).collect::<Vec<_>>();
        assert_eq!(counts, [json!(refused)], "{}", who.name);
    }
    world.check_invariants().await;
}
