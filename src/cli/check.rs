//! `lottery check`: checks the invariants of the whole database, in one snapshot, whether the service runs or
//! not. `db/read/check.rs` runs the checks.

use std::io::Write;

use indicatif::ProgressBar;
use tokio_postgres::Client;

use super::{CliError, progress};
use crate::app::{self, Database, DatabaseUse};
use crate::config::Config;
use crate::db::read::check::{self, Report, Violation};
use crate::db::{self, DbError};
use crate::domain::ticket_log::TicketLogs;

/// Checks everything and prints the invariants that do not hold, with the first rows that break each.
pub async fn run(config: &Config) -> Result<(), CliError> {
    let database = Database::open(config, DatabaseUse::Read).await?;
    let checked = async {
        db::check_up_to_date(&database.target).await?;
        let client = db::connect(&database.target).await?;
        let logs = app::ticket_logs_to_check(config, &client).await?;
        Ok::<_, CliError>(with_progress(&client, logs.as_ref(), progress::steps("Checking the books")).await?)
    };
    let checked = checked.await;
    database.close().await?;
    let report = checked?;
    // A failed write means that the reader has closed the pipe; the exit code still tells the result.
    let _ = writeln!(std::io::stdout(), "{}", summary(&report));
    match report.violations.len() {
        0 => Ok(()),
        count => Err(CliError::Refused(format!("{count} laws are broken"))),
    }
}

/// Runs the check with a progress bar. Without `logs`, ticket logs are not compared.
pub async fn with_progress(
    client: &Client,
    logs: Option<&TicketLogs>,
    bar: ProgressBar,
) -> Result<Report, DbError> {
    let report = check::check(client, logs, |progress| {
        bar.set_length(progress.of as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(progress.invariant);
    });
    let report = report.await?;
    bar.finish_and_clear();
    Ok(report)
}

/// What was checked, and each violation.
pub fn summary(report: &Report) -> String {
    let Report { users, draws, tickets, payments, transfers, newer_schema, ticket_logs, violations } = report;
    let mut looked_at = format!(
        "Checked: {users} users, {draws} draws, {tickets} tickets, {payments} payments, {transfers} transfers."
    );
    if let Some(version) = newer_schema {
        looked_at += &format!(
            "\nThe schema is V{version}, of a newer version of the service. Its triggers, functions, constraints and \
             indexes were not compared: check with that version too."
        );
    }
    if !ticket_logs {
        looked_at += "\nThe ticket logs were not compared with the tickets, nor the drawn numbers with what they \
                      follow from: the master secret of this database is not here (the file log_master in data_dir, or fairness.master_secret).";
    }
    if violations.is_empty() {
        return format!("{looked_at}\nThe books balance exactly, and every law holds.");
    }
    let violations: Vec<String> = violations.iter().map(Violation::to_string).collect();
    format!("{looked_at}\n{}", violations.join("\n"))
}
