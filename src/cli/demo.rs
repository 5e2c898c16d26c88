//! `lottery demo`: plays a whole draw over real HTTP, on a service that it starts in a temporary directory.
//! Players register, fund a wallet and buy, an admin conducts the draw, and the books are checked.

mod player;

use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use self::player::Player;
use super::CliError;
use crate::actors::persistence::insert_user;
use crate::app::App;
use crate::auth::{OpaqueToken, Password};
use crate::clock::Clock;
use crate::config::{Config, ProviderKind};
use crate::domain::user::{Email, Role, Username};
use crate::telemetry;

/// The most players and tickets of a demo.
const MAX_PLAYERS: u32 = 10_000;
const MAX_TICKETS: u32 = 1_000_000;
/// How many players act at the same time.
const CONCURRENT_PLAYERS: usize = 64;
/// One of this many tickets is made in advance.
const POOL_DIVISOR: u32 = 2;

/// The options of the demo.
#[derive(Args)]
pub struct Demo {
    /// How many players take part.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PLAYERS)))]
    players: u32,
    /// How many tickets they buy in total.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_TICKETS)))]
    tickets: u32,
    /// The lottery that they play.
    #[arg(long, default_value = "5of36")]
    lottery: String,
}

/// The error of a step of the demo.
fn failed(what: impl std::fmt::Display) -> CliError {
    CliError::Refused(format!("the demo failed: {what}"))
}

/// Runs the demo.
pub async fn run(mut config: Config, demo: Demo) -> Result<(), CliError> {
    telemetry::init_command()?;
    let rules = config.lotteries.iter().find(|lottery| lottery.id == demo.lottery);
    let Some(rules) = rules.cloned() else {
        let ids: Vec<&str> = config.lotteries.iter().map(|lottery| lottery.id.as_str()).collect();
        return Err(failed(format!("--lottery must be one of {}", ids.join(", "))));
    };
    let directory = tempfile::Builder::new().prefix("lottery-demo-").tempdir().map_err(failed)?;
    config.data_dir = directory.path().to_owned();
    config.database.url = None;
    config.database.owner_url = None;
    config.auth.jwt_secret = None;
    config.auth.jwt_secret_previous = None;
    config.server.host = "127.0.0.1".to_owned();
    config.server.port = 0;
    config.limits.enabled = false;
    // Also where the configuration names another provider: a demo must never charge a card.
    config.payments.provider = ProviderKind::Sandbox;
    // A demo registers more users at the same time than a service has to expect. Half of the queue is for log-ins.
    config.auth.hash_threads = std::thread::available_parallelism().map_or(1, usize::from);
    config.auth.hash_queue = config.auth.hash_queue.max(2 * CONCURRENT_PLAYERS);

    println!("Starting a temporary service with a private Postgres.");
    let app = App::start(&config, Clock::system()).await?;
    let played = play(&app, &demo, rules.price, (rules.pick, rules.of)).await;
    app.stop().await?;
    played
}

async fn play(app: &App, demo: &Demo, price: i64, game: (u8, u8)) -> Result<(), CliError> {
    let base = format!("http://{}/api/v1", app.address);
    let admin = admin(app, &base).await?;
    let players = register(&base, demo, price).await?;
    let draw = open_draw(&admin, demo).await?;

    let sale = sell(&players, draw, demo, game).await?;

    admin.post(&format!("/admin/draws/{draw}/close"), Value::Null).await.map_err(failed)?;
    #[allow(clippy::disallowed_methods, reason = "how long it took, not the draw's time")]
    let started = Instant::now();
    admin.post(&format!("/admin/draws/{draw}/conduct"), Value::Null).await.map_err(failed)?;
    let path = format!("/draws/{draw}/results");
    let result = loop {
        match admin.get(&path).await {
            Ok(result) => break result,
            Err(error) if error.code == "draw_not_completed" => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            Err(error) => return Err(failed(error)),
        }
    };
    let settled = started.elapsed();

    print_sale(&sale);
    print_result(&result, settled);
    check_books(app, bar("checking the books", 0)).await
}

/// Creates an admin and logs in, as a client would.
async fn admin(app: &App, base: &str) -> Result<Player, CliError> {
    let state = &app.state;
    let mut rng = rand::rand_core::UnwrapErr(rand::rngs::SysRng);
    let secret = OpaqueToken::generate(&mut rng).expose();
    let password = Password::parse(&secret).map_err(failed)?;
    let hash = password.hash().map_err(failed)?;
    let username = Username::parse("admin").map_err(failed)?;
    let email = Email::parse("admin@example.com").map_err(failed)?;
    let made = insert_user(&state.db, (&username, &email, None), &hash, Role::Admin, state.clock.now()).await?;
    made.map_err(|_| failed("there is an admin already"))?;
    let mut admin = Player::new(base);
    admin.log_in("admin", &secret).await.map_err(failed)?;
    Ok(admin)
}

/// Registers all players, logs them in, and deposits the money for their tickets.
async fn register(base: &str, demo: &Demo, price: i64) -> Result<Vec<Player>, CliError> {
    let bar = bar("players register and fund wallets", u64::from(demo.players));
    let per_player = i64::from(demo.tickets.div_ceil(demo.players));
    let one = |number: u32| {
        let (mut player, bar) = (Player::new(base), bar.clone());
        async move {
            let name = format!("player{number}");
            let body = json!({
                "username": name, "email": format!("{name}@example.com"), "password": "correct horse battery",
            });
            player.post("/auth/register", body).await?;
            player.log_in(&name, "correct horse battery").await?;
            let deposit = json!({"amount": per_player * price, "token": "tok_visa"});
            player.post("/wallet/deposits", deposit).await?;
            bar.inc(1);
            Ok(player)
        }
    };
    let players =
        player::run_concurrently(CONCURRENT_PLAYERS, (1..=demo.players).map(one)).await.map_err(failed)?;
    bar.finish();
    Ok(players)
}

async fn open_draw(admin: &Player, demo: &Demo) -> Result<i64, CliError> {
    let in_a_day = Clock::system().now() + jiff::SignedDuration::from_hours(24);
    let body = json!({"lottery": demo.lottery, "sales_close_at": in_a_day});
    let draw = admin.post("/admin/draws", body).await.map_err(failed)?;
    let draw = draw["id"].as_i64().ok_or_else(|| failed("a draw without an id"))?;
    let combinations = admin.get(&format!("/lotteries/{}", demo.lottery)).await.map_err(failed)?;
    let most = combinations["combinations"].as_u64().unwrap_or(0);
    let count = u64::from((demo.tickets / POOL_DIVISOR).max(1)).min(most);
    admin.post(&format!("/admin/draws/{draw}/pool"), json!({"count": count})).await.map_err(failed)?;
    admin.post(&format!("/admin/draws/{draw}/open"), Value::Null).await.map_err(failed)?;
    println!("Draw {draw} of {} is open; {count} tickets were made in advance.", demo.lottery);
    Ok(draw)
}

/// The result of a sale.
struct Sale {
    tickets: usize,
    took: Duration,
    /// The duration of each purchase, shortest first.
    latencies: Vec<Duration>,
}

async fn sell(players: &[Player], draw: i64, demo: &Demo, game: (u8, u8)) -> Result<Sale, CliError> {
    let bar = bar("players buy tickets", u64::from(demo.tickets));
    let (share, rest) = (demo.tickets / demo.players, demo.tickets % demo.players);
    #[allow(clippy::disallowed_methods, reason = "how long it took, not the draw's time")]
    let started = Instant::now();
    let buyers = players.iter().zip(0..).map(|(player, number)| {
        let count = share + u32::from(number < rest);
        player.clone().buy(draw, count, game, bar.clone())
    });
    let latencies = player::run_concurrently(CONCURRENT_PLAYERS, buyers).await.map_err(failed)?;
    let took = started.elapsed();
    bar.finish();
    let mut latencies: Vec<Duration> = latencies.into_iter().flatten().collect();
    latencies.sort_unstable();
    Ok(Sale { tickets: latencies.len(), took, latencies })
}

fn print_sale(sale: &Sale) {
    let at = |part: f64| {
        let index = (sale.latencies.len() as f64 * part) as usize;
        sale.latencies.get(index.min(sale.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    println!(
        "\n{} purchases in {:.1?}: {:.0} a second; p50 {:.1?}, p95 {:.1?}, p99 {:.1?}",
        sale.tickets,
        sale.took,
        sale.tickets as f64 / sale.took.as_secs_f64(),
        at(0.50),
        at(0.95),
        at(0.99),
    );
}

fn print_result(result: &Value, settled: Duration) {
    println!("\nWinning numbers: {}; settled in {settled:.1?}", result["winning_numbers"]);
    println!("{:>8} | {:>8} | {:>14} | {:>16}", "matches", "winners", "prize", "total");
    println!("{:->8}-+-{:->8}-+-{:->14}-+-{:->16}", "", "", "", "");
    for tier in result["tiers"].as_array().into_iter().flatten() {
        let cell = |name: &str| tier[name].to_string();
        println!(
            "{:>8} | {:>8} | {:>14} | {:>16}",
            cell("matches"),
            cell("winners"),
            cell("prize"),
            cell("total")
        );
    }
    println!(
        "{} tickets sold; prize fund {}; {} rolls over to the next draw (minor units)",
        result["tickets_sold"], result["prize_fund"], result["rollover"]
    );
}

async fn check_books(app: &App, bar: ProgressBar) -> Result<(), CliError> {
    let client = app.state.db.client().await?;
    let report = super::check::with_progress(&client, bar).await?;
    println!("\n{}", super::check::summary(&report));
    if report.violations.is_empty() { Ok(()) } else { Err(failed("the check found violations")) }
}

pub(super) fn bar(what: &'static str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:36} {wide_bar} {pos}/{len} {per_sec}");
    // The template is a constant and valid; a default bar would do as well.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(what)
}
