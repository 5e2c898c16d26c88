//! A world to test in: the whole service in this process, with a database and a clock of its own, spoken
//! to over real HTTP. Its verbs read like the game.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lottery::actors::persistence::insert_user;
use lottery::app::App;
use lottery::clock::Clock;
use lottery::config::Config;
use lottery::db::read::check;
use lottery::db::{self, Db};
use lottery::domain::id::{SessionId, UserId};
use lottery::domain::user::{Email, Role, Username};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{documented, server};

/// A condition that has not come true by then never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody's password: those who must log in register for real.
const NO_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";

/// A service of its own.
pub struct World {
    pub clock: Clock,
    pub config: Config,
    pub database: tokio_postgres::Config,
    app: Option<App>,
    /// What the service keeps beside its database.
    _data: TempDir,
}

/// What payment providers sign with in every world.
pub const WEBHOOK_SECRET: &str = "a secret of the tests' payment provider";

/// Who speaks plain HTTP need not read the system's certificates.
pub fn client() -> Client {
    lottery::tls::http_client().tls_certs_only([]).build().unwrap()
}

/// The defaults, without rate limits, on any free port.
fn defaults(database: &tokio_postgres::Config) -> Config {
    let nothing = tempfile::NamedTempFile::new().unwrap();
    let mut config = Config::load(Some(nothing.path())).unwrap();
    let host = match &database.get_hosts()[0] {
        tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        tokio_postgres::config::Host::Tcp(name) => name.clone(),
    };
    let (user, name) = (database.get_user().unwrap(), database.get_dbname().unwrap());
    config.database.url = Some(format!("host='{host}' user={user} dbname={name}").into());
    config.auth.jwt_secret = Some("a secret of the tests, long enough to sign with".into());
    config.payments.webhook_secret = Some(WEBHOOK_SECRET.into());
    config.server.port = 0;
    config.server.workers = 2;
    config.limits.enabled = false;
    // Many worlds share one server.
    config.database.pool_size = 4;
    // Tests move the clock by hours; a token that ends meanwhile is a test of its own.
    config.auth.access_token = Duration::from_secs(24 * 3600);
    config
}

impl World {
    /// A new world, at noon of a day in 2030.
    pub async fn new() -> World {
        World::with(|_| {}).await
    }

    /// A new world with other settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> World {
        World::on(server::database().await, change).await
    }

    /// A new world on this database.
    pub async fn on(database: tokio_postgres::Config, change: impl FnOnce(&mut Config)) -> World {
        let mut config = defaults(&database);
        let data = tempfile::tempdir().unwrap();
        config.data_dir = data.path().to_owned();
        change(&mut config);
        let clock = Clock::manual("2030-05-01T12:00:00Z".parse().unwrap());
        let app = App::start(&config, clock.clone()).await.unwrap();
        World { clock, config, database, app: Some(app), _data: data }
    }

    pub fn app(&self) -> &App {
        self.app.as_ref().expect("the service runs")
    }

    /// Stops the service in good order; the database stays.
    pub async fn stop(&mut self) {
        self.app.take().expect("the service runs").stop().await.unwrap();
    }

    /// Starts it again.
    pub async fn start(&mut self) {
        self.app = Some(App::start(&self.config, self.clock.clone()).await.unwrap());
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    pub fn advance(&self, by: SignedDuration) {
        self.clock.advance(by);
    }

    /// A time so many minutes from now.
    pub fn minutes(&self, minutes: i64) -> Timestamp {
        self.clock.now() + SignedDuration::from_mins(minutes)
    }

    /// A connection to look into the database, or to spoil it.
    pub async fn sql(&self) -> tokio_postgres::Client {
        db::connect(&self.database).await.unwrap()
    }

    /// One number from the database.
    pub async fn count(&self, sql: &str) -> i64 {
        self.sql().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Nobody: no token.
    pub fn anybody(&self) -> Person {
        let base = format!("http://{}/api/v1", self.app().address);
        Person { id: UserId(0), name: String::new(), token: None, base, http: client() }
    }

    /// Nobody, who asks for what stands outside the base path.
    pub fn outside(&self) -> Person {
        Person { base: format!("http://{}", self.app().address), ..self.anybody() }
    }

    /// A player with an empty wallet.
    pub async fn player(&self, name: &str) -> Person {
        self.person(name, Role::Player).await
    }

    /// A player with so much in the wallet.
    pub async fn rich_player(&self, name: &str, amount: i64) -> Person {
        let player = self.player(name).await;
        player.deposit(amount).await;
        player
    }

    pub async fn admin(&self) -> Person {
        self.person("the.admin", Role::Admin).await
    }

    async fn person(&self, name: &str, role: Role) -> Person {
        let state = &self.app().state;
        let db = Db::new(&self.database, 1).unwrap();
        let username = Username::parse(name).unwrap();
        let email = Email::parse(&format!("{name}@example.com")).unwrap();
        let now = self.clock.now();
        let user = insert_user(&db, (&username, &email, None), NO_HASH, role, now).await.unwrap().unwrap();
        let token = state.tokens.issue(user.id, SessionId(self.clock.ids().next(now)), now);
        Person { id: user.id, name: name.to_owned(), token: Some(token), ..self.anybody() }
    }

    /// The same person after a restart, at the service's new address.
    pub fn again(&self, person: &Person) -> Person {
        Person { id: person.id, name: person.name.clone(), token: person.token.clone(), ..self.anybody() }
    }

    /// Waits until something is so.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, mut is_so: impl FnMut() -> F) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never came true: {what}"));
    }

    /// Keeps the writer off a draw until it is let go: what is asked of the draw meanwhile is decided,
    /// and waits to be written.
    pub async fn hold(&self, draw: i64) -> Held {
        let sql = self.sql().await;
        sql.batch_execute("BEGIN").await.unwrap();
        sql.execute("SELECT FROM draw_sales WHERE draw_id = $1 FOR UPDATE", &[&draw]).await.unwrap();
        Held(sql)
    }

    /// Waits until the writer, or whoever else writes, stands before what is held.
    pub async fn until_writer_waits(&self) {
        let waiting = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        self.until("the writer waits", || async { self.count(waiting).await > 0 }).await;
    }

    /// Waits until a draw has this status.
    pub async fn until_draw_is(&self, draw: i64, status: &str) {
        let anybody = self.anybody();
        let path = format!("/draws/{draw}");
        self.until(&format!("draw {draw} is {status}"), || async {
            anybody.get(&path).await.body["status"] == status
        })
        .await;
    }

    /// The laws that the whole database keeps; panics with what is broken.
    pub async fn check_books(&self) {
        let broken = check::check(&self.sql().await, |_| {}).await.unwrap().violations;
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

/// A test that ends leaves its service behind, and many would hold more connections than there are: the
/// server ends them. Whatever goes wrong with that is no failure of the test.
impl Drop for World {
    fn drop(&mut self) {
        let database = self.database.clone();
        let end = async move {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
            db::connect(&database).await.ok()?.batch_execute(sql).await.ok()
        };
        let ended = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(2), end).await }).ok()?
        });
        let _ = ended.join();
    }
}

/// A draw that is kept from the writer.
pub struct Held(tokio_postgres::Client);

impl Held {
    pub async fn let_go(self) {
        self.0.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// Somebody who speaks to the service.
#[derive(Clone)]
pub struct Person {
    pub id: UserId,
    pub name: String,
    pub token: Option<String>,
    base: String,
    http: Client,
}

/// What the service answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// As it came.
    pub text: String,
    /// Null if it was empty.
    pub body: Value,
}

impl Answer {
    /// The body of a success of this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// A refusal must have this status and code, and the shape of every problem.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert!(
            self.body["type"].is_string() && self.body["title"].is_string() && self.body["detail"].is_string()
        );
        self.body
    }

    pub fn is(&self, status: u16, code: &str) -> bool {
        self.status == status && self.body["code"] == code
    }
}

impl Person {
    /// Nobody, who speaks to the service at this address, in whichever process it runs.
    pub fn at(address: &str) -> Person {
        let base = format!("http://{address}/api/v1");
        Person { id: UserId(0), name: String::new(), token: None, base, http: client() }
    }

    /// The bearer of this token.
    pub fn bearing(&self, token: &str) -> Person {
        Person { token: Some(token.to_owned()), ..self.clone() }
    }

    /// What all addresses begin with.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = self.http.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        assert!(headers.contains_key("x-request-id"), "every answer carries X-Request-Id");
        let text = response.text().await.unwrap();
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        documented::check(method.as_str(), &path, status, &body);
        Answer { status, headers, text, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Every item of a list, page by page.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut next) = (Vec::new(), path.to_owned());
        loop {
            let page = self.get(&next).await.expect(200);
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { return items };
            let and = if path.contains('?') { '&' } else { '?' };
            next = format!("{path}{and}cursor={cursor}");
        }
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// With an Idempotency-Key.
    pub async fn post_keyed(&self, path: &str, key: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).header("Idempotency-Key", key).json(&body)).await
    }

    /// Money from the sandbox's good card.
    pub async fn deposit(&self, amount: i64) -> Value {
        let payment =
            self.post("/wallet/deposits", json!({"amount": amount, "token": "tok_visa"})).await.expect(201);
        assert_eq!(payment["status"], "paid");
        payment
    }

    pub async fn balance(&self) -> i64 {
        self.get("/wallet").await.expect(200)["balance"].as_i64().unwrap()
    }

    /// Orders these lines, `wallet` or `later`.
    pub async fn order(&self, draw: i64, lines: Value, payment: &str) -> Answer {
        self.post(&format!("/draws/{draw}/tickets"), json!({"tickets": lines, "payment": payment})).await
    }

    /// Buys one ticket with these numbers, paid from the wallet.
    pub async fn buy(&self, draw: i64, numbers: &[u8]) -> Value {
        self.order(draw, json!([{"numbers": numbers}]), "wallet").await.expect(201)
    }

    /// Buys so many quick picks, paid from the wallet.
    pub async fn buy_quick(&self, draw: i64, count: usize) -> Value {
        self.order(draw, json!(vec![json!({"quick_pick": true}); count]), "wallet").await.expect(201)
    }

    /// Reserves one ticket of the pool.
    pub async fn reserve(&self, draw: i64) -> Value {
        self.order(draw, json!([{"from_pool": true}]), "later").await.expect(201)
    }

    pub async fn pay(&self, payment: &str, body: Value) -> Answer {
        self.post(&format!("/payments/{payment}/pay"), body).await
    }

    // What admins do.

    /// A draw of 5 of 36 that closes in an hour and is drawn in two, not open yet.
    pub async fn schedule(&self, world: &World) -> i64 {
        let body = json!({
            "lottery": "5of36", "sales_close_at": world.minutes(60), "draw_at": world.minutes(120),
        });
        self.post("/admin/draws", body).await.expect(201)["id"].as_i64().unwrap()
    }

    /// The same, open, with so many tickets in the pool.
    pub async fn open_draw(&self, world: &World, pool: usize) -> i64 {
        let draw = self.schedule(world).await;
        if pool > 0 {
            self.pool(draw, pool).await.expect(201);
        }
        self.step(draw, "open").await.expect(200);
        draw
    }

    /// A draw of this lottery on sale for an hour, without a pool.
    pub async fn open_draw_of(&self, world: &World, lottery: &str) -> i64 {
        let body = json!({"lottery": lottery, "sales_close_at": world.minutes(60), "draw_at": world.minutes(120)});
        let draw = self.post("/admin/draws", body).await.expect(201)["id"].as_i64().unwrap();
        self.step(draw, "open").await.expect(200);
        draw
    }

    pub async fn pool(&self, draw: i64, count: usize) -> Answer {
        self.post(&format!("/admin/draws/{draw}/pool"), json!({"count": count})).await
    }

    /// `open`, `close` or `conduct`.
    pub async fn step(&self, draw: i64, step: &str) -> Answer {
        self.send(self.request(Method::POST, &format!("/admin/draws/{draw}/{step}"))).await
    }

    pub async fn cancel(&self, draw: i64) -> Answer {
        self.post(&format!("/admin/draws/{draw}/cancel"), json!({"reason": "the drum is broken"})).await
    }

    /// Closes and conducts; returns the result.
    pub async fn conduct(&self, draw: i64) -> Value {
        self.step(draw, "close").await.expect(200);
        self.step(draw, "conduct").await.expect(200);
        self.get(&format!("/draws/{draw}/results")).await.expect(200)
    }
}
