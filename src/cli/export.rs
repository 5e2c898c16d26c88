//! `lottery export`: writes a whole table to a file, whether the service runs or not.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
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

/// The options of an export.
#[derive(Args)]
pub struct ExportArgs {
    /// The table.
    #[arg(value_parser = tables())]
    table: ExportTable,
    /// The format of the file.
    #[arg(long, default_value = "csv", value_parser = formats())]
    format: ExportFormat,
    /// Only rows that belong to this draw.
    #[arg(long, value_name = "ID")]
    draw: Option<i64>,
    /// The file; it appears only when it is complete [default: standard output].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn tables() -> impl TypedValueParser<Value = ExportTable> {
    let names = PossibleValuesParser::new(ExportTable::ALL.map(ExportTable::as_str));
    names.try_map(|name| ExportTable::parse(&name).ok_or("there is no such table"))
}

fn formats() -> impl TypedValueParser<Value = ExportFormat> {
    let names = PossibleValuesParser::new(ExportFormat::ALL.map(ExportFormat::as_str));
    names.try_map(|name| ExportFormat::parse(&name).ok_or("there is no such format"))
}

fn failed(what: impl std::fmt::Display) -> CliError {
    CliError::Refused(format!("the export failed: {what}"))
}

/// Writes the table.
pub async fn run(config: &Config, asked: ExportArgs) -> Result<(), CliError> {
    if asked.draw.is_some() && !asked.table.is_by_draw() {
        return Err(failed(format!("leave out --draw: {} is of all draws", asked.table.as_str())));
    }
    let configured = app::currency(config)?;
    // Before anything is read or recorded.
    let output = ExportOutput::open(&asked)?;
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
        output.write(export, asked.format, &bar).await?;
        bar.finish_and_clear();
        Ok::<_, CliError>(())
    };
    let exported = exported.await;
    database.close().await?;
    exported
}

/// Where the rows go.
enum ExportOutput {
    Stdout,
    /// The file takes its name when it is complete.
    File {
        path: PathBuf,
        unnamed: NamedTempFile,
    },
}

impl ExportOutput {
    fn open(asked: &ExportArgs) -> Result<ExportOutput, CliError> {
        let Some(path) = &asked.output else {
            if asked.format == ExportFormat::Xlsx && stdout().is_terminal() {
                let what = "an XLSX file is not for a terminal: use --output FILE";
                return Err(CliError::Refused(what.to_owned()));
            }
            return Ok(ExportOutput::Stdout);
        };
        let cannot = |error: io::Error| cannot_write(path, &error);
        if path.is_dir() {
            return Err(cannot(ErrorKind::IsADirectory.into()));
        }
        // The error of a temporary file names that file.
        std::fs::metadata(folder(path)).map_err(cannot)?;
        let unnamed = NamedTempFile::new_in(folder(path)).map_err(|error| cannot(error.kind().into()))?;
        Ok(ExportOutput::File { path: path.clone(), unnamed })
    }

    async fn write(self, export: Export, format: ExportFormat, bar: &ProgressBar) -> Result<(), CliError> {
        match self {
            ExportOutput::Stdout => write(export, format, &mut stdout(), bar, CliError::output).await,
            ExportOutput::File { path, mut unnamed } => {
                let cannot = |error: io::Error| cannot_write(&path, &error);
                write(export, format, unnamed.as_file_mut(), bar, cannot).await?;
                unnamed.as_file().sync_all().map_err(cannot)?;
                unnamed.persist(&path).map(drop).map_err(|error| cannot(error.error))
            }
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> CliError {
    CliError::Refused(format!("cannot write {}: {error}", path.display()))
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

/// Writes the rows. `refused` says what a failed write means.
async fn write(
    export: Export,
    format: ExportFormat,
    to: &mut impl Write,
    bar: &ProgressBar,
    refused: impl Fn(io::Error) -> CliError + Copy,
) -> Result<(), CliError> {
    let lines = match format {
        ExportFormat::Csv => TextFormat::Csv,
        ExportFormat::Ndjson => TextFormat::Ndjson,
        ExportFormat::Xlsx => {
            let mut file: File = export::workbook(export, |rows| bar.set_position(rows)).await.map_err(failed)?;
            std::io::copy(&mut file, to).map_err(refused)?;
            return to.flush().map_err(refused);
        }
    };
    let mut text = TextFile::new(export, lines);
    while let Some(piece) = text.next_chunk().await.map_err(failed)? {
        to.write_all(&piece).map_err(refused)?;
        bar.set_position(text.rows);
    }
    to.flush().map_err(refused)
}
