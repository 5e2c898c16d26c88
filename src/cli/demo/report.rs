//! What the demo prints, for people who see the service for the first time. It plays nothing.

use std::fmt::Display;
use std::time::Duration;

use indicatif::HumanCount;
use serde::Deserialize;
use serde_json::Value;

use super::failed;
use crate::cli::{CliError, money, print};
use crate::config::Config;
use crate::domain::money::Currency;

/// As many winners are named.
const NAMED_WINNERS: usize = 5;

/// Prints a line. An error (nobody reads any more) ends the demo, which then leaves nothing behind.
pub fn say(line: impl Display) -> Result<(), CliError> {
    print(&format!("{line}\n"))
}

/// The result of a sale.
pub struct Sale {
    pub tickets: usize,
    pub took: Duration,
    /// The duration of each purchase, shortest first.
    pub latencies: Vec<Duration>,
}

impl Sale {
    pub fn print(&self) -> Result<(), CliError> {
        let at = |percent: usize| {
            let index = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
            human(self.latencies.get(index).copied().unwrap_or_default())
        };
        let rate = (self.tickets as f64 / self.took.as_secs_f64()).round() as u64;
        say(format!(
            "{} were sold in {}: {} purchases a second.\nOf these, half took {} or less, 95 % {}, 99 % {}.",
            plural(self.tickets as u64, "ticket"),
            human(self.took),
            HumanCount(rate),
            at(50),
            at(95),
            at(99),
        ))
    }
}

/// `2.1 s`, `203 ms` or `0.8 ms`.
pub fn human(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    match millis {
        1000.0.. => format!("{:.1} s", millis / 1000.0),
        10.0.. => format!("{millis:.0} ms"),
        _ => format!("{millis:.1} ms"),
    }
}

/// `1 ticket`, `20,000 tickets`.
pub fn plural(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

/// The result of the draw: the numbers, and what each tier paid.
pub fn result(result: &Value, settled: Duration, currency: Currency) -> Result<(), CliError> {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    let tiers = result["tickets_sold"].as_u64().zip(result["tiers"].as_array());
    let (sold, tiers) = tiers.ok_or_else(|| failed("a result without its tiers"))?;
    let winners = tiers.iter().map(|tier| count(&tier["winners"])).sum();
    say(format!(
        "\nThe winning numbers are {}. Of {}, {}: paid in {}.\n",
        numbers(&result["winning_numbers"]),
        plural(sold, "ticket"),
        if winners == 1 { "1 wins".to_owned() } else { format!("{} win", HumanCount(winners)) },
        human(settled)
    ))?;
    say(format!("{:>9} {:>10} {:>24} {:>24}", "matches", "winners", "prize of each", "prizes together"))?;
    for tier in tiers {
        say(format!(
            "{:>9} {:>10} {:>24} {:>24}",
            count(&tier["matches"]),
            HumanCount(count(&tier["winners"])).to_string(),
            money::amount(number(&tier["prize"]), currency),
            money::amount(number(&tier["total"]), currency),
        ))?;
    }
    say(format!(
        "\nThe prize fund was {}; {} of it roll over to the next draw.",
        money::amount(number(&result["prize_fund"]), currency),
        money::amount(number(&result["rollover"]), currency)
    ))
}

fn numbers(value: &Value) -> String {
    let numbers: Vec<String> = value.as_array().into_iter().flatten().map(Value::to_string).collect();
    numbers.join(" ")
}

/// A row of the export of winners.
#[derive(Deserialize)]
pub struct Winner {
    username: String,
    numbers: Value,
    matches: u8,
    prize: i64,
}

/// Names those who won most.
pub fn winners(mut winners: Vec<Winner>, currency: Currency) -> Result<(), CliError> {
    // The sort is stable: of equal prizes, the ticket that was sold first stands first.
    winners.sort_by_key(|winner| std::cmp::Reverse(winner.prize));
    say(if winners.is_empty() { "\nNobody has won." } else { "\nThe largest prizes:\n" })?;
    for Winner { username, numbers: picked, matches, prize } in winners.iter().take(NAMED_WINNERS) {
        let prize = money::amount(*prize, currency);
        say(format!("  {username:<12} {prize:>24}   for {matches} matches: {}", numbers(picked)))?;
    }
    match winners.len().saturating_sub(NAMED_WINNERS) {
        0 => Ok(()),
        more => say(format!("  and {}", plural(more as u64, "more prize"))),
    }
}

/// What a newcomer can do now, with a service that is configured like this.
pub fn next_steps(config: &Config) -> Result<(), CliError> {
    let program = std::env::args().next().unwrap_or_else(|| "lottery".to_owned());
    let host = match config.server.host.as_str() {
        "0.0.0.0" | "::" => "127.0.0.1",
        host => host,
    };
    say(format!(
        "\nThe demo has removed all that it made. What you can do next:\n\n  \
         {program} serve\n      starts a service of your own, with its data in {}\n  \
         http://{host}:{port}/\n      is the page for players while it runs; /admin is the one for admins\n  \
         http://{host}:{port}/api/docs\n      shows every call, and sends it for you\n  \
         sh docs/session.sh\n      plays a draw with curl, step by step (README.md, \"Try it\")",
        config.data_dir.join("").display(),
        port = config.server.port,
    ))
}
