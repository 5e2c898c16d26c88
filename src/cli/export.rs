//! `lottery export`: writes a whole table to a file, whether the service runs or not.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tempfile::NamedTempFile;

use super::{CliError, progress};
use crate::actors::persistence;
use crate::app::{self, Database, DatabaseUse};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::read::export::{self as rows, Export, ExportTable};
use crate::db::read::installation;
use crate::db::{self, Db};
use crate::domain::audit::{Action, AuditEntry, Subject};
use crate::domain::id::DrawId;
use crate::export::{self, ExportFormat, TextFile, TextFormat};
use crate::telemetry;

/// The options of an export.
#[derive(Args)]
pub struct ExportArgs {
    #[arg(value_parser = table, help = "draws, tickets, users, payments, transfers, winners, finance or finance_draws")]
    table: ExportTable,
    /// csv, ndjson or xlsx.
    #[arg(long, default_value = "csv", value_parser = format)]
    format: ExportFormat,
    /// Only rows that belong to this draw.
    #[arg(long, value_name = "ID")]
    draw: Option<i64>,
    /// The file; it appears only when it is complete [default: standard output].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn table(text: &str) -> Result<ExportTable, String> {
    ExportTable::parse(text)
        .ok_or_else(|| format!("must be one of {}", ExportTable::ALL.map(ExportTable::as_str).join(", ")))
}

fn format(text: &str) -> Result<ExportFormat, String> {
    ExportFormat::parse(text)
        .ok_or_else(|| format!("must be one of {}", ExportFormat::ALL.map(ExportFormat::as_str).join(", ")))
}

fn failed(what: impl std::fmt::Display) -> CliError {
    CliError::Refused(format!("the export failed: {what}"))
}

/// Writes the table.
pub async fn run(config: &Config, asked: ExportArgs) -> Result<(), CliError> {
    if asked.draw.is_some() && !asked.table.is_by_draw() {
        return Err(failed(format!("leave out --draw: {} is of all draws", asked.table.as_str())));
    }
    telemetry::init_command()?;
    let configured = app::currency(config)?;
    let database = Database::open(config, DatabaseUse::Read).await?;
    let exported = async {
        db::check_up_to_date(&database.target).await?;
        let client = db::connect(&database.target).await?;
        // The amounts are in the currency of the installation, whatever this command's configuration says.
        let recorded = installation::recorded(&client).await?;
        let currency = recorded.map_or(configured, |installation| installation.currency);
        let draw = asked.draw.map(DrawId);
        let bar = progress::count("Writing rows", rows::estimate(&client, asked.table, draw).await?);
        let export = Export::begin(client, asked.table, draw, currency).await?;
        let export = export.ok_or_else(|| failed("there is no such draw"))?;
        record(&database, &asked).await?;
        match &asked.output {
            Some(path) => {
                let mut file = NamedTempFile::new_in(folder(path)).map_err(failed)?;
                write(export, asked.format, file.as_file_mut(), &bar).await?;
                file.as_file().sync_all().map_err(failed)?;
                file.persist(path).map_err(failed)?;
            }
            None => write(export, asked.format, &mut std::io::stdout(), &bar).await?,
        }
        bar.finish_and_clear();
        Ok::<_, CliError>(())
    };
    let exported = exported.await;
    database.close().await?;
    exported
}

/// Records the export in the audit log, before anything is written.
async fn record(database: &Database, asked: &ExportArgs) -> Result<(), CliError> {
    let detail = json!({ "format": asked.format.as_str(), "draw_id": asked.draw });
    let (subject, at) = (Subject::Table(asked.table.as_str()), Clock::system().now());
    let entry = AuditEntry::once(None, Action::Export, subject, detail, at);
    let recorded = persistence::record(&Db::new(&database.target, 1)?, &[entry]).await;
    recorded.map_err(|error| failed(format!("the audit log cannot be written: {}", db::describe(&error))))
}

/// The directory of a path; `.` for a path such as `tickets.csv`.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

async fn write(
    export: Export,
    format: ExportFormat,
    to: &mut impl Write,
    bar: &ProgressBar,
) -> Result<(), CliError> {
    let lines = match format {
        ExportFormat::Csv => TextFormat::Csv,
        ExportFormat::Ndjson => TextFormat::Ndjson,
        ExportFormat::Xlsx => {
            let mut file: File = export::workbook(export, |rows| bar.set_position(rows)).await.map_err(failed)?;
            std::io::copy(&mut file, to).map_err(failed)?;
            return Ok(());
        }
    };
    let mut text = TextFile::new(export, lines);
    while let Some(piece) = text.next_chunk().await.map_err(failed)? {
        to.write_all(&piece).map_err(failed)?;
        bar.set_position(text.rows);
    }
    to.flush().map_err(failed)
}
