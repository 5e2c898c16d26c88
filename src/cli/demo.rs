//! `lottery demo`: plays a whole draw over real HTTP, on a service that it starts in a temporary directory.
//! Players register, fund a wallet and buy, an admin conducts the draw, the books are checked, and the draw is verified.

mod player;
mod report;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use self::player::Player;
use self::report::{Sale, Winner};
use super::verify::{self, VerifyArgs};
use super::{CliError, money, progress};
use crate::actors::persistence::insert_user;
use crate::app::{self, App};
use crate::auth::{OpaqueToken, Password};
use crate::clock::Clock;
use crate::config::{Config, LotteryConfig, ProviderKind};
use crate::domain::money::Currency;
use crate::domain::user::{Email, Role, Username};

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

/// Runs the demo. Ctrl-C ends it at any time, and then nothing is left of it either.
pub async fn run(config: Config, demo: Demo) -> Result<(), CliError> {
    let lottery = config.lotteries.iter().find(|lottery| lottery.id == demo.lottery);
    let Some(lottery) = lottery.cloned() else {
        let ids: Vec<&str> = config.lotteries.iter().map(|lottery| lottery.id.as_str()).collect();
        return Err(failed(format!("--lottery must be one of {}", ids.join(", "))));
    };
    let currency = app::currency(&config)?;
    // From here on a signal no longer ends the process.
    let mut stop_signal = std::pin::pin!(super::stop_signal());
    let directory = tempfile::Builder::new().prefix("lottery-demo-").tempdir().map_err(failed)?;
    let temporary = temporary(config.clone(), directory.path());

    report::say(format!(
        "A draw of {} from beginning to end, on a temporary service with its own Postgres.",
        lottery.name
    ))?;
    let mut starting = std::pin::pin!(App::start(&temporary, Clock::system()));
    let (app, played) = tokio::select! {
        // A start that is dropped would leave its Postgres, which still writes into the directory.
        () = &mut stop_signal => (starting.await?, Err(CliError::Interrupted)),
        started = &mut starting => {
            let app = started?;
            let played = tokio::select! {
                () = &mut stop_signal => Err(CliError::Interrupted),
                played = play(&app, &demo, &lottery, currency) => played,
            };
            (app, played)
        }
    };
    app.stop().await?;
    directory.close().map_err(failed)?;
    played?;
    report::next_steps(&config)
}

/// The configuration of a service that takes only the lotteries and the currency from the user's.
fn temporary(mut config: Config, directory: &Path) -> Config {
    config.data_dir = directory.to_owned();
    config.database.url = None;
    config.database.owner_url = None;
    config.auth.jwt_secret = None;
    config.auth.jwt_secret_previous = None;
    config.server.host = "127.0.0.1".to_owned();
    config.server.port = 0;
    config.server.admin_address = None;
    config.schedules.clear();
    config.limits.enabled = false;
    // Also where the configuration names another provider: a demo must never charge a card.
    config.payments.provider = ProviderKind::Sandbox;
    // A demo registers more users at the same time than a service has to expect. Half of the queue is for log-ins.
    config.auth.hash_threads = std::thread::available_parallelism().map_or(1, usize::from);
    config.auth.hash_queue = config.auth.hash_queue.max(2 * CONCURRENT_PLAYERS);
    config
}

async fn play(app: &App, demo: &Demo, lottery: &LotteryConfig, currency: Currency) -> Result<(), CliError> {
    let base = format!("http://{}/api/v1", app.address);
    let admin = admin(app, &base).await?;
    let players = register(&base, demo, lottery, currency).await?;
    let draw = open_draw(&admin, demo, lottery, currency).await?;
    sell(&players, draw, demo, (lottery.pick, lottery.of)).await?.print()?;

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
    report::result(&result, started.elapsed(), currency)?;
    let rows = admin.text(&format!("/admin/export/winners?format=ndjson&draw_id={draw}")).await.map_err(failed)?;
    let winners: Result<Vec<Winner>, _> = rows.lines().map(serde_json::from_str).collect();
    report::winners(winners.map_err(failed)?, currency)?;
    check_books(app).await?;
    report::say(
        "\nEach paid order was answered with a receipt, and anybody can verify the draw.\nThis is what a stranger sees:\n",
    )?;
    verify::run(VerifyArgs::of_url(format!("{base}/draws/{draw}"))).await
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
async fn register(
    base: &str,
    demo: &Demo,
    lottery: &LotteryConfig,
    currency: Currency,
) -> Result<Vec<Player>, CliError> {
    let bar = progress::count("Players register", u64::from(demo.players));
    let each = i64::from(demo.tickets.div_ceil(demo.players)) * lottery.price;
    let one = |number: u32| {
        let (mut player, bar) = (Player::new(base), bar.clone());
        async move {
            let name = format!("player{number}");
            let body = json!({
                "username": name, "email": format!("{name}@example.com"), "password": "correct horse battery",
            });
            player.post("/auth/register", body).await?;
            player.log_in(&name, "correct horse battery").await?;
            let deposit = json!({"amount": each, "token": "tok_visa"});
            player.post("/wallet/deposits", deposit).await?;
            bar.inc(1);
            Ok(player)
        }
    };
    let players =
        player::run_concurrently(CONCURRENT_PLAYERS, (1..=demo.players).map(one)).await.map_err(failed)?;
    bar.finish_and_clear();
    report::say(format!(
        "{} registered, each with {} in the wallet.",
        report::plural(u64::from(demo.players), "player"),
        money::amount(each, currency)
    ))?;
    Ok(players)
}

async fn open_draw(
    admin: &Player,
    demo: &Demo,
    lottery: &LotteryConfig,
    currency: Currency,
) -> Result<i64, CliError> {
    let in_a_day = Clock::system().now() + jiff::SignedDuration::from_hours(24);
    let body = json!({"lottery": demo.lottery, "sales_close_at": in_a_day});
    let draw = admin.post("/admin/draws", body).await.map_err(failed)?;
    let draw = draw["id"].as_i64().ok_or_else(|| failed("a draw without an id"))?;
    let combinations = admin.get(&format!("/lotteries/{}", demo.lottery)).await.map_err(failed)?;
    let most = combinations["combinations"].as_u64().unwrap_or(0);
    let count = u64::from((demo.tickets / POOL_DIVISOR).max(1)).min(most);
    admin.post(&format!("/admin/draws/{draw}/pool"), json!({"count": count})).await.map_err(failed)?;
    admin.post(&format!("/admin/draws/{draw}/open"), Value::Null).await.map_err(failed)?;
    report::say(format!(
        "The draw is open: {} a ticket, {} made in advance.",
        money::amount(lottery.price, currency),
        report::plural(count, "ticket")
    ))?;
    Ok(draw)
}

async fn sell(players: &[Player], draw: i64, demo: &Demo, game: (u8, u8)) -> Result<Sale, CliError> {
    let bar = progress::count("Players buy tickets", u64::from(demo.tickets));
    let (share, rest) = (demo.tickets / demo.players, demo.tickets % demo.players);
    #[allow(clippy::disallowed_methods, reason = "how long it took, not the draw's time")]
    let started = Instant::now();
    let buyers = players.iter().zip(0..).map(|(player, number)| {
        let count = share + u32::from(number < rest);
        player.clone().buy(draw, count, game, bar.clone())
    });
    let latencies = player::run_concurrently(CONCURRENT_PLAYERS, buyers).await.map_err(failed)?;
    let took = started.elapsed();
    bar.finish_and_clear();
    let mut latencies: Vec<Duration> = latencies.into_iter().flatten().collect();
    latencies.sort_unstable();
    Ok(Sale { tickets: latencies.len(), took, latencies })
}

async fn check_books(app: &App) -> Result<(), CliError> {
    let client = app.state.db.client().await?;
    let (logs, bar) = (app.state.persistence.ticket_logs(), progress::steps("Checking the books"));
    let checked = super::check::with_progress(&client, Some(logs), bar).await?;
    report::say(format!("\n{}", super::check::summary(&checked)))?;
    if checked.violations.is_empty() { Ok(()) } else { Err(failed("the check found violations")) }
}
