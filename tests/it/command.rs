//! The program itself, as a process: the command line, the configuration, the log, starting and stopping.

mod charges;
mod check;
mod export;
mod health;
mod log;
mod schema;
mod traces;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use lottery::db;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_postgres::config::Host;

use crate::server;
use crate::world::{Answer, Person};

/// No test depends on this being short; it only ends those that would never end.
const PATIENCE: Duration = Duration::from_secs(90);

const PASSWORD: &str = "correct horse battery";
const SECRET: &str = "what these tests sign their tokens with";

/// Where a service lives, and how it is told what to do: by nothing but these variables.
struct Home {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    /// With nothing prepared, and any free port.
    fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        // The private server's user may enter, as it usually may.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = Home { dir, variables: Vec::new() };
        home.with("LOTTERY__SERVER__PORT", "0").with("LOTTERY__SERVER__WORKERS", "2")
    }

    /// With a database of its own on the tests' server.
    async fn with_database() -> Home {
        let database = server::database().await;
        Home::new().with("DATABASE_URL", &url(&database)).with("LOTTERY__AUTH__JWT_SECRET", SECRET)
    }

    fn with(mut self, name: &str, value: &str) -> Home {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The database it was given.
    fn database(&self) -> tokio_postgres::Config {
        let given = self.variables.iter().find(|(name, _)| name == "DATABASE_URL");
        given.unwrap().1.parse().unwrap()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lottery"));
        command.args(arguments).current_dir(&self.dir).env_clear();
        command.envs(["PATH", "HOME"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        // Whatever becomes of the test, the process goes with it.
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    async fn run(&self, arguments: &[&str]) -> Output {
        tokio::time::timeout(PATIENCE, self.command(arguments).output()).await.expect("it ends").unwrap()
    }

    /// Runs a command that must refuse, and returns what it says.
    async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("lottery: "), "{said}");
        said
    }

    /// `lottery admin create`, with the password as a line of standard input.
    async fn create_admin(&self, username: &str, email: &str, password: &str) -> Output {
        let arguments = ["admin", "create", "--username", username, "--email", email, "--password-stdin"];
        let mut command = self.command(&arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{password}\n").as_bytes()).await.unwrap();
        drop(stdin);
        tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap()
    }

    /// The service, once it answers.
    async fn serve(&self) -> Service {
        let mut service = Service::start(self.command(&[]), "the service answers").await;
        service.address = address(&service.said("the service answers").await);
        service
    }
}

/// As an operator would write it: a unix socket's directory stands where the host would (libpq, 34.1.1).
fn url(database: &tokio_postgres::Config) -> String {
    let Host::Unix(socket) = &database.get_hosts()[0] else { panic!("the tests' server has a socket") };
    let socket = socket.to_str().unwrap().replace('/', "%2F");
    format!("postgres://{}@{socket}/{}", database.get_user().unwrap(), database.get_dbname().unwrap())
}

/// A running service. Goes with this value.
struct Service {
    child: Child,
    address: String,
    /// Every line so far; closed with the process.
    log: watch::Receiver<Vec<String>>,
}

impl Service {
    /// Starts it, and waits until it says this.
    async fn start(mut command: Command, until: &str) -> Service {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (lines, log) = watch::channel(Vec::new());
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                lines.send_modify(|lines: &mut Vec<String>| lines.push(line));
            }
        });
        let mut service = Service { child, address: String::new(), log };
        service.said(until).await;
        service
    }

    /// Waits for a line that says this.
    async fn said(&mut self, what: &str) -> String {
        let is = |line: &&String| line.contains(what);
        let waiting = self.log.wait_for(|lines| lines.iter().any(|line| is(&line)));
        let lines = tokio::time::timeout(PATIENCE, waiting).await.expect("it says so in time");
        let lines = lines.unwrap_or_else(|_| panic!("it ended and never said: {what}"));
        lines.iter().find(is).unwrap().clone()
    }

    fn anybody(&self) -> Person {
        Person::at(&self.address)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().expect("it runs")).unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// How it ended, and its whole log.
    async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap();
        while self.log.changed().await.is_ok() {}
        let log = self.log.borrow().clone();
        (status, log)
    }

    /// As whoever runs it stops it; returns its log.
    async fn stop(self) -> Vec<String> {
        self.signal(Signal::SIGTERM);
        let (status, log) = self.ended().await;
        assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
        log
    }

    async fn kill_9(self) {
        self.signal(Signal::SIGKILL);
        self.ended().await;
    }

    /// Somebody who registered over HTTP and is logged in.
    async fn player(&self, name: &str) -> Person {
        let body = json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
        self.anybody().post("/auth/register", body).await.expect(201);
        self.log_in(name).await
    }

    async fn log_in(&self, login: &str) -> Person {
        let pair = self.try_log_in(login, PASSWORD).await.expect(200);
        self.anybody().bearing(pair["access_token"].as_str().unwrap())
    }

    async fn try_log_in(&self, login: &str, password: &str) -> Answer {
        self.anybody().post("/auth/login", json!({"login": login, "password": password})).await
    }

    /// The same person, at this service.
    fn again(&self, person: &Person) -> Person {
        self.anybody().bearing(person.token.as_ref().unwrap())
    }

    /// A draw on sale, made by an admin who was made for it.
    async fn open_draw(&self, home: &Home) -> i64 {
        let made = home.create_admin("the.admin", "admin@example.com", PASSWORD).await;
        assert!(made.status.success(), "{made:?}");
        let admin = self.log_in("the.admin").await;
        let body = json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"});
        let draw = admin.post("/admin/draws", body).await.expect(201)["id"].as_i64().unwrap();
        admin.step(draw, "open").await.expect(200);
        draw
    }
}

/// The address in the line that tells it, pretty or JSON.
fn address(line: &str) -> String {
    match serde_json::from_str::<Value>(line) {
        Ok(event) => event["address"].as_str().unwrap().to_owned(),
        Err(_) => line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned(),
    }
}

/// The private Postgres of this data directory.
fn postmaster(data: &Path) -> Pid {
    let text = fs::read_to_string(data.join("postgres/postmaster.pid")).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
}

fn lives(pid: Pid) -> bool {
    // A zombie has done all that a process does.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    kill(pid, None) != Err(Errno::ESRCH) && !zombie
}

async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

// With nothing prepared.

#[actix_web::test]
async fn an_admin_is_made_before_the_service_runs_and_beside_it() {
    let home = Home::new();
    let before = said(&home.create_admin("first", "first@example.com", PASSWORD).await);
    assert_eq!(before, (Some(0), "admin first has the id 1\n".to_owned(), String::new()));
    assert!(!home.data().join("postgres/postmaster.pid").exists(), "its server went with it");

    let service = home.serve().await;
    let beside = said(&home.create_admin("second", "second@example.com", PASSWORD).await);
    assert_eq!((beside.0, beside.2), (Some(0), String::new()));
    for (username, email, taken) in
        [("First", "other@example.com", "the username First is taken"), ("other", "SECOND@example.com", "SECOND@")]
    {
        let (code, out, error) = said(&home.create_admin(username, email, PASSWORD).await);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(error.starts_with("lottery: ") && error.contains(taken), "{error}");
    }
    for name in ["first", "second"] {
        let admin = service.log_in(name).await;
        assert_eq!(admin.get("/me").await.expect(200)["role"], "admin");
        admin.post("/admin/draws", json!({})).await.refused(422, "validation_failed");
        service.try_log_in(name, "wrong horse battery").await.refused(401, "invalid_credentials");
    }
    service.stop().await;
}

#[actix_web::test]
async fn sigterm_stops_it_with_its_postgres_and_the_next_start_finds_the_data() {
    let home = Home::new();
    let service = home.serve().await;
    let ann = service.player("ann").await;
    ann.deposit(50_000).await;
    let postgres = postmaster(&home.data());
    assert!(lives(postgres));
    let in_use = home.refused(&["serve"]).await;
    assert!(in_use.contains("in use"), "one at a time: {in_use}");
    ann.get("/me").await.expect(200);

    let log = service.stop().await;
    assert!(log.iter().any(|line| line.contains("the service has stopped")));
    assert!(!lives(postgres), "its server outlived it");

    let service = home.serve().await;
    // The secret was kept as well: whoever was logged in still is.
    assert_eq!(service.again(&ann).balance().await, 50_000);
    service.signal(Signal::SIGINT);
    let (status, _) = service.ended().await;
    assert_eq!(status.code(), Some(0), "Ctrl-C stops it too");
}

#[actix_web::test]
async fn a_purchase_that_was_answered_survives_kill_9() {
    let home = Home::new();
    let mut service = home.serve().await;
    let draw = service.open_draw(&home).await;
    let ann = service.player("ann").await;
    ann.deposit(100_000).await;
    let mut bought = Vec::new();
    for postgres_too in [false, true] {
        bought.insert(0, service.again(&ann).buy(draw, &[1, 7, 13, 22, 36]).await["tickets"][0].clone());
        if postgres_too {
            kill(postmaster(&home.data()), Signal::SIGKILL).unwrap();
        }
        service.kill_9().await;
        service = home.serve().await;
        let ann = service.again(&ann);
        assert_eq!(ann.get("/tickets").await.expect(200)["items"], json!(bought));
        assert_eq!(ann.balance().await, 100_000 - 10_000 * bought.len() as i64);
    }
    let open = service.anybody().get(&format!("/draws/{draw}")).await.expect(200);
    assert_eq!((&open["status"], &open["tickets_sold"]), (&json!("open"), &json!(2)));
    service.stop().await;
}

#[actix_web::test]
async fn two_services_run_side_by_side_and_share_nothing() {
    let homes = [Home::new(), Home::new()];
    let (left, right) = tokio::join!(homes[0].serve(), homes[1].serve());
    let (ann, bob) = (left.player("ann").await, right.player("bob").await);
    assert_eq!(ann.get("/me").await.expect(200)["id"], bob.get("/me").await.expect(200)["id"]);
    ann.deposit(100).await;
    assert_eq!(bob.balance().await, 0);
    // Nobody hard-coded the secret: each has made its own, for its owner alone.
    right.again(&ann).get("/me").await.refused(401, "unauthorized");
    left.again(&bob).get("/me").await.refused(401, "unauthorized");
    let secret = |home: &Home| fs::read_to_string(home.data().join("jwt_secret")).unwrap();
    assert_ne!(secret(&homes[0]), secret(&homes[1]));
    let mode = fs::metadata(homes[0].data().join("jwt_secret")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    left.stop().await;
    bob.get("/me").await.expect(200);
    right.stop().await;
}

// With a database of one's own.

#[actix_web::test]
async fn database_url_is_the_database_it_uses() {
    let home = Home::with_database().await;
    let service = home.serve().await;
    service.player("ann").await;
    let config = home.database();
    let found = db::connect(&config).await.unwrap().query("SELECT username FROM users", &[]).await.unwrap();
    assert_eq!(found.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["ann"]);
    assert!(!home.data().join("postgres").exists(), "no server of its own");
    assert!(!home.data().join("jwt_secret").exists(), "no secret of its own");
    service.stop().await;
}

#[actix_web::test]
async fn migrate_brings_the_schema_up_to_date_and_does_nothing_else() {
    let database = server::database().await;
    let name = format!("{}_empty", database.get_dbname().unwrap());
    let client = db::connect(&database).await.unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
    let mut empty = database.clone();
    empty.dbname(&name);
    let home = Home::new().with("DATABASE_URL", &url(&empty)).with("LOTTERY__AUTH__JWT_SECRET", SECRET);

    let migrations = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).unwrap().count();
    assert_eq!(
        said(&home.run(&["migrate"]).await),
        (Some(0), format!("{migrations} migrations applied\n"), String::new())
    );
    assert_eq!(said(&home.run(&["migrate"]).await), (Some(0), "0 migrations applied\n".to_owned(), String::new()));
    let client = db::connect(&empty).await.unwrap();
    let lotteries: i64 = client.query_one("SELECT count(*) FROM lotteries", &[]).await.unwrap().get(0);
    assert_eq!(lotteries, 0);
    home.serve().await.stop().await;
}

// Stopping.

/// A line of the issue. A row that the purchase needs is locked, so that it is surely under way.
#[actix_web::test]
async fn shutdown_that_cuts_requests_off() {
    let home = Home::with_database().await;
    let mut service = home.serve().await;
    let draw = service.open_draw(&home).await;
    let ann = service.player("ann").await;
    ann.deposit(100_000).await;
    let config = home.database();
    let mut locker = db::connect(&config).await.unwrap();
    let watcher = db::connect(&config).await.unwrap();
    let lock = locker.transaction().await.unwrap();
    lock.batch_execute("SELECT FROM accounts WHERE kind = 'wallet' FOR UPDATE").await.unwrap();
    let buying = actix_web::rt::spawn({
        let ann = ann.clone();
        async move { ann.order(draw, json!([{"numbers": [1, 7, 13, 22, 36]}]), "wallet").await }
    });
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("the purchase waits for the lock", || async {
        watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;

    service.signal(Signal::SIGTERM);
    service.said("the service stops").await;
    assert!(!buying.is_finished());
    lock.rollback().await.unwrap();

    let bought = buying.await.unwrap().expect(201);
    assert_eq!(bought["tickets"][0]["status"], "paid");
    let (status, _) = service.ended().await;
    assert_eq!(status.code(), Some(0));
    let service = home.serve().await;
    assert_eq!(service.again(&ann).get("/tickets").await.expect(200)["items"], bought["tickets"]);
    service.stop().await;
}

#[actix_web::test]
async fn in_the_rush_of_a_stop_every_purchase_is_answered_or_not_taken() {
    let home = Home::with_database().await.with("LOTTERY__LIMITS__ENABLED", "false");
    let service = home.serve().await;
    let draw = service.open_draw(&home).await;
    let ann = service.player("ann").await;
    ann.deposit(1_000_000_000).await;
    let (sold, mut sales) = watch::channel(0_i64);
    let buyers = (0..8).map(|_| async {
        let ann = service.again(&ann);
        // Until the service is gone.
        loop {
            let body = json!({"tickets": [{"quick_pick": true}], "payment": "wallet"});
            let path = format!("/draws/{draw}/tickets");
            match ann.request(reqwest::Method::POST, &path).json(&body).send().await {
                Ok(answer) if answer.status() == 201 => sold.send_modify(|sold| *sold += 1),
                Ok(answer) => assert_eq!(answer.status(), 503),
                Err(_) => return,
            }
        }
    });
    let stop = async {
        sales.wait_for(|sold| *sold >= 50).await.unwrap();
        service.signal(Signal::SIGTERM);
    };
    tokio::join!(join_all(buyers), stop);
    let answered = *sold.borrow();
    let (status, _) = service.ended().await;
    assert_eq!(status.code(), Some(0));
    let service = home.serve().await;
    let open = service.anybody().get(&format!("/draws/{draw}")).await.expect(200);
    assert_eq!(open["tickets_sold"], answered, "sold, and answered");
    assert_eq!(service.again(&ann).balance().await, 1_000_000_000 - 10_000 * answered);
    service.stop().await;
}

#[actix_web::test]
async fn a_stop_asked_for_while_it_starts_is_one_in_good_order() {
    let home = Home::with_database().await.with("LOTTERY__LOG__LEVEL", "debug");
    for moment in ["the schema is up to date", "the service answers"] {
        let service = Service::start(home.command(&[]), moment).await;
        service.stop().await;
    }
}

#[actix_web::test]
async fn an_idle_connection_holds_no_stop_up() {
    let home = Home::with_database().await.with("LOTTERY__SERVER__SHUTDOWN_TIMEOUT", "1h");
    let service = home.serve().await;
    let idle = service.anybody();
    idle.get("/draws").await.expect(200);
    service.stop().await;
    drop(idle);
}

// The configuration.

#[actix_web::test]
async fn a_setting_that_cannot_stand_is_named() {
    let secret = ("LOTTERY__AUTH__JWT_SECRET", SECRET);
    for (variables, named) in [
        (vec![("LOTTERY__TICKETS__RESERVATIONS", "5m")], "LOTTERY__TICKETS__RESERVATIONS: "),
        (vec![("LOTTERY__TICKETS", "5m")], "LOTTERY__TICKETS: "),
        (vec![("LOTTERY__TICKETS__RESERVATION", "soon")], "tickets.reservation: "),
        (vec![("LOTTERY__SERVER__PORT", "eighty")], "server.port: "),
        (vec![("LOTTERY__SERVER__PORT", "65536")], "server.port: "),
        (vec![("LOTTERY__CURRENCY", "rubles")], "currency: "),
        (vec![("LOTTERY__LIMITS__LOGIN_FAILURES", "0")], "limits.login_failures: "),
        (vec![("LOTTERY__LOTTERIES", "[]")], "lotteries: "),
        (vec![("LOTTERY__LOG__LEVEL", "lottery=loud")], "log.level: "),
        (vec![("LOTTERY__LOG__FORMAT", "xml")], "log.format: "),
        (vec![("LOTTERY__AUTH__JWT_SECRET", "hunter2")], "auth.jwt_secret: "),
        (vec![("DATABASE_URL", "postgres://ann@localhost/lottery")], "auth.jwt_secret: "),
        (vec![("LOTTERY__DATABASE__URL", "postgres://ann@localhost/lottery")], "auth.jwt_secret: "),
        (vec![("DATABASE_URL", "postgres://ann:hunter2@local host:x/y"), secret], "database.url: "),
    ] {
        let home = variables.iter().fold(Home::new(), |home, (name, value)| home.with(name, value));
        let said = home.refused(&[]).await;
        assert!(said.contains(named), "{named} {said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(!home.data().exists(), "nothing is begun: {named}");
    }
}

#[actix_web::test]
async fn a_setting_in_a_file_is_named_too() {
    let home = Home::new();
    let file = home.dir.path().join("my.yaml");
    let schedule = |lottery: &str, zone: &str, pool: u32| {
        format!(
            "schedules: [{{lottery: {lottery}, at: every day at 20:00, time_zone: {zone}, on_sale: 1d, cut_off: 1h,
               pool: {pool}, ahead: 1}}]"
        )
    };
    for (yaml, named) in [
        ("tickets: { reservations: 5m }", "tickets.reservations: "),
        ("ticket: { reservation: 5m }", "ticket: "),
        ("tickets: { reservation: 5 years }", "tickets.reservation: "),
        ("tickets: 5m", "tickets: "),
        ("limits: { enabled: perhaps }", "limits.enabled: "),
        (
            "lotteries: [{id: x, name: x, pick: 9, of: 5, price: 1, fund_share: 1, prizes: []}]",
            "lotteries[0].pick: ",
        ),
        (&schedule("6of49", "UTC", 1), "schedules[0].lottery: "),
        (&schedule("5of36", "Moscow", 1), "schedules[0].time_zone: "),
        (&schedule("5of36", "UTC", 376_993), "schedules[0].pool: "),
        ("tickets: {", "my.yaml"),
    ] {
        fs::write(&file, yaml).unwrap();
        let said = home.refused(&["--config", "my.yaml"]).await;
        assert!(said.contains(named), "{named} {said}");
    }
    let said = home.refused(&["--config", "none.yaml", "migrate"]).await;
    assert!(said.contains("none.yaml"), "{said}");
    // The file that lies there is read unasked.
    fs::rename(&file, home.dir.path().join("config.yaml")).unwrap();
    assert!(home.refused(&[]).await.contains("config.yaml"));
    assert!(!home.data().exists());
}

#[actix_web::test]
async fn an_admin_who_cannot_be_is_not_made() {
    let home = Home::new();
    for (username, email, password, named) in [
        ("a", "a@example.com", PASSWORD, "--username"),
        ("ann", "nowhere", PASSWORD, "--email"),
        ("ann", "a@example.com", "short", "the password"),
        ("ann", "a@example.com", "", "the password"),
    ] {
        let (code, out, error) = said(&home.create_admin(username, email, password).await);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(error.contains(named), "{error}");
    }
    assert_eq!(home.run(&["admin", "create", "--username", "ann"]).await.status.code(), Some(2), "a usage error");
    assert!(!home.data().exists(), "no server was started for them");
}
