//! A world to test in: the whole service in this process, with a database and a clock of its own, whose users
//! speak real HTTP.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lottery::actors::persistence::insert_user;
use lottery::app::App;
use lottery::auth::Password;
use lottery::clock::Clock;
use lottery::config::Config;
use lottery::db::read::check;
use lottery::db::{self, Db};
use lottery::domain::user::{Email, Role, Username};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub use crate::common::body::*;
pub use crate::common::client::{Answer, User, count, http_client};
use crate::common::postgres::{self, END_OTHER_SESSIONS, SESSIONS_WAITING_FOR_LOCKS};
pub use crate::common::ticket_logs;
pub use crate::common::wait::until;
use crate::common::{MASTER_SECRET, PASSWORD};
use crate::server;

/// The service in this process, with its clock and database.
pub struct World {
    pub clock: Clock,
    pub config: Config,
    /// As the owner.
    pub database: tokio_postgres::Config,
    app: Option<App>,
    /// The service's `data_dir`.
    _data: TempDir,
}

/// The secret with which the payment provider signs its webhooks.
pub const WEBHOOK_SECRET: &str = "a secret of the tests' payment provider";

/// The defaults, without rate limits, on any free port. The service has a login of its own on the owner's database.
fn defaults(database: &tokio_postgres::Config) -> Config {
    let nothing = tempfile::NamedTempFile::new().unwrap();
    let mut config = Config::load(Some(nothing.path())).unwrap();
    config.database.url = Some(postgres::connection_string(&postgres::service(database)).into());
    config.database.owner_url = Some(postgres::connection_string(database).into());
    config.auth.jwt_secret = Some("a secret of the tests, long enough to sign with".into());
    config.payments.webhook_secret = Some(WEBHOOK_SECRET.into());
    // Services on one database have the same.
    config.fairness.master_secret = Some(MASTER_SECRET.into());
    config.server.port = 0;
    config.server.workers = 2;
    config.limits.enabled = false;
    // Many worlds share one server.
    config.database.pool_size = 4;
    // Tests move the clock by hours. Tests of the token's life set it themselves.
    config.auth.access_token = Duration::from_secs(24 * 3600);
    config
}

impl World {
    /// A new world, at noon (UTC) of a day in 2030.
    pub async fn new() -> World {
        World::with(|_| {}).await
    }

    /// A new world with other settings.
    pub async fn with(change: impl FnOnce(&mut Config)) -> World {
        World::on(server::database().await, change).await
    }

    /// A new world on this database.
    pub async fn on(database: tokio_postgres::Config, change: impl FnOnce(&mut Config)) -> World {
        World::at("2030-05-01T12:00:00Z".parse().unwrap(), database, change).await
    }

    /// A new world at this time, on this database.
    pub async fn at(now: Timestamp, database: tokio_postgres::Config, change: impl FnOnce(&mut Config)) -> World {
        let mut config = defaults(&database);
        let data = tempfile::tempdir().unwrap();
        config.data_dir = data.path().to_owned();
        change(&mut config);
        let clock = Clock::manual(now);
        let app = App::start(&config, clock.clone()).await.unwrap();
        World { clock, config, database, app: Some(app), _data: data }
    }

    pub fn app(&self) -> &App {
        self.app.as_ref().expect("the service runs")
    }

    /// Stops the service gracefully; the database stays.
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

    /// The time this many minutes from now.
    pub fn minutes(&self, minutes: i64) -> Timestamp {
        self.clock.now() + SignedDuration::from_mins(minutes)
    }

    /// A connection with which a test reads the database, or corrupts it.
    pub async fn sql(&self) -> tokio_postgres::Client {
        db::connect(&self.database).await.unwrap()
    }

    /// One number from the database.
    pub async fn count(&self, sql: &str) -> i64 {
        self.sql().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// A user without a token.
    pub fn anonymous(&self) -> User {
        User::at(&self.app().address.to_string())
    }

    /// A new player with an empty wallet, registered and logged in over HTTP.
    pub async fn player(&self, name: &str) -> User {
        self.anonymous().register(name).await
    }

    /// The same with this amount in the wallet.
    pub async fn rich_player(&self, name: &str, amount: i64) -> User {
        let player = self.player(name).await;
        player.deposit(amount).await;
        player
    }

    /// The first admin, logged in over HTTP. Nobody can register as an admin: the row is written as
    /// `lottery admin create` writes it, with a hash that is computed once for all worlds.
    pub async fn admin(&self) -> User {
        static HASH: OnceCell<String> = OnceCell::const_new();
        let hash = HASH.get_or_init(async || Password::parse(PASSWORD).unwrap().hash().unwrap()).await;
        let db = Db::new(&self.database, 1).unwrap();
        let (username, email) =
            (Username::parse("the.admin").unwrap(), Email::parse("the.admin@example.com").unwrap());
        let now = self.clock.now();
        insert_user(&db, (&username, &email, None), hash, Role::Admin, now).await.unwrap().unwrap();
        self.anonymous().log_in("the.admin", PASSWORD).await
    }

    /// The same user after a restart, at the service's new address.
    pub fn reconnect(&self, user: &User) -> User {
        user.moved_to(&self.app().address.to_string())
    }

    /// A new world with an admin and a draw of 5 of 36 on sale, with this many tickets in its pool.
    pub async fn on_sale(pool: usize) -> (World, User, i64) {
        let world = World::new().await;
        let admin = world.admin().await;
        let draw = admin.open_draw(&world, pool).await;
        (world, admin, draw)
    }

    /// Locks a draw's row, so that the writer waits: what is asked of the draw meanwhile is decided, and waits to
    /// be written.
    pub async fn lock_draw(&self, draw: i64) -> DrawLock {
        let sql = self.sql().await;
        sql.batch_execute("BEGIN").await.unwrap();
        sql.execute("SELECT FROM draw_sales WHERE draw_id = $1 FOR UPDATE", &[&draw]).await.unwrap();
        DrawLock(sql)
    }

    /// Waits until a session of the service waits for a lock.
    pub async fn until_writer_waits(&self) {
        until("the writer waits for a lock", || async { self.count(SESSIONS_WAITING_FOR_LOCKS).await > 0 }).await;
    }

    /// Waits until a draw has this status.
    pub async fn until_draw_is(&self, draw: i64, status: &str) {
        let (user, path) = (self.anonymous(), format!("/draws/{draw}"));
        until(&format!("draw {draw} is {status}"), async || user.get(&path).await.body["status"] == status).await;
    }

    /// The metrics of the service, as text.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.app().address);
        http_client().get(url).send().await.unwrap().text().await.unwrap()
    }

    /// Drops a trigger on tickets that the test has made: `lottery check` accepts only those of the schema.
    pub async fn drop_trigger(&self, name: &str) {
        self.sql().await.batch_execute(&format!("DROP TRIGGER {name} ON tickets")).await.unwrap();
    }

    /// Runs `lottery check` on the database; panics with the rules that are broken.
    pub async fn check_invariants(&self) {
        let sql = self.sql().await;
        let broken = check::check(&sql, Some(&ticket_logs(&sql).await), |_| {}).await.unwrap().violations;
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

/// Ends the connections of a service that the test did not stop, since many of those would use up what the server
/// allows. An error here does not fail the test.
impl Drop for World {
    fn drop(&mut self) {
        // First its actors, which would connect again.
        drop(self.app.take());
        let database = self.database.clone();
        let end = async move { db::connect(&database).await.ok()?.batch_execute(END_OTHER_SESSIONS).await.ok() };
        let ended = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(2), end).await }).ok()?
        });
        let _ = ended.join();
    }
}

/// The lock of a draw's row.
pub struct DrawLock(tokio_postgres::Client);

impl DrawLock {
    pub async fn release(self) {
        self.0.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// Draws whose times are told by the world's clock.
impl User {
    /// A draw of 5 of 36 that closes in an hour and is drawn in two, not open yet.
    pub async fn schedule(&self, world: &World) -> i64 {
        self.schedule_of(world, "5of36").await
    }

    pub async fn schedule_of(&self, world: &World, lottery: &str) -> i64 {
        let (close, draw) = (world.minutes(60), world.minutes(120));
        self.create_draw(json!({"lottery": lottery, "sales_close_at": close, "draw_at": draw})).await
    }

    /// The same, open, with this many tickets in the pool.
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
        let draw = self.schedule_of(world, lottery).await;
        self.step(draw, "open").await.expect(200);
        draw
    }
}
