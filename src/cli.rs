//! The command line. This file starts and stops what a subcommand needs; the files in `cli/` do a
//! subcommand's work.

mod admin;
mod check;
mod demo;
mod export;
mod health;
mod links;
mod log_import;
mod log_keys;
mod manual;
mod money;
mod nodes;
mod progress;
mod verify;

use std::io::{self, ErrorKind, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use actix::System;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{App, AppError, Database, DatabaseUse};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::db::{self, DbError};
use crate::domain::log_keys::KeyChange;
use crate::telemetry::{self, TelemetryError};
use crate::version;

pub use demo::Demo;
pub use export::ExportArgs;
pub use nodes::NodesArgs;
pub use verify::VerifyArgs;

/// The exit code of a service that another node has declared dead: started again, it stands by. (EX_TEMPFAIL of
/// sysexits.h.)
const TAKEN_OVER: u8 = 75;
/// The exit code of a command that Ctrl-C ended before its work was done: 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;
/// The exit code of a command whose reader has closed the pipe: a shell says the same of a program that SIGPIPE ends.
const CLOSED_PIPE: u8 = 128 + 13;

/// A lottery service.
#[derive(Parser)]
#[command(name = "lottery", version = version::LONG, about)]
pub struct Cli {
    /// The configuration file [default: ./config.yaml if it exists, else the built-in defaults].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Configured(ConfiguredCommand),
    /// Verifies a draw, or the receipt of an order, from what was published. Needs no database and no settings. The exit
    /// code is 0 only if everything holds that was asked for.
    Verify(Box<VerifyArgs>),
    /// Prints the script that completes this command line in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Prints the manual, for `man -l -`.
    Man,
}

/// The commands that read the settings.
#[derive(Subcommand)]
enum ConfiguredCommand {
    /// Serves the REST API (the default).
    Serve,
    /// Brings the database's schema up to date and exits.
    Migrate,
    /// Asks the service on this machine whether it is ready.
    Health,
    /// Manages admins.
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Checks the whole database: the ledger, every draw, every ticket. Changes nothing.
    Check,
    /// Manages the keys of the public log, and brings its entries back after a restore.
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Lists the nodes on the database: which one is active, and when each was last seen.
    Nodes(NodesArgs),
    /// Writes a whole table to a file.
    Export(ExportArgs),
    /// Plays a whole draw on a temporary service and checks its books.
    Demo(Demo),
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Creates an admin; works while the service runs.
    Create(CreateAdmin),
}

#[derive(Subcommand)]
enum LogCommand {
    /// Adds a key: from the next start of the service on it signs the public log, beside the one before.
    RotateKey,
    /// Retires the older of two keys: from the next start of the service on only the newer one signs.
    RetireKey,
    /// Brings entries back that a restored database lacks, and stops the draws that have lost tickets; run it before the
    /// service is started.
    Import {
        /// The directory with the copy of the log, a file `entries`; otherwise `log` in data_dir.
        directory: Option<PathBuf>,
    },
}

/// A new admin.
#[derive(Args)]
pub struct CreateAdmin {
    /// The name to log in with: 3 to 32 characters of A-Z, a-z, 0-9, `_`, `.` and `-`.
    #[arg(long)]
    username: String,
    /// The email address, which may be used to log in, too.
    #[arg(long)]
    email: String,
    /// Reads the password as one line from standard input instead of asking for it.
    #[arg(long)]
    password_stdin: bool,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("{0}")]
    Refused(String),
    #[error("interrupted; nothing that the demo made is left")]
    Interrupted,
    /// The reader of the output has read enough.
    #[error("the reader of the output has closed the pipe")]
    ClosedPipe,
}

impl CliError {
    /// What a failed write to standard output means.
    fn output(error: io::Error) -> CliError {
        match error.kind() {
            ErrorKind::BrokenPipe => CliError::ClosedPipe,
            _ => CliError::Refused(format!("cannot write to standard output: {error}")),
        }
    }
}

/// The program. It is not in `main.rs`, where all that it calls would be compiled a second time.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match System::new().block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::ClosedPipe) => ExitCode::from(CLOSED_PIPE),
        Err(error) => {
            eprintln!("lottery: {}", db::describe(&error));
            match error {
                CliError::App(AppError::TakenOver) => ExitCode::from(TAKEN_OVER),
                CliError::Interrupted => ExitCode::from(INTERRUPTED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Runs the command.
async fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command.unwrap_or(Command::Configured(ConfiguredCommand::Serve)) {
        Command::Configured(command) => run_configured(command, Config::load(cli.config.as_deref())?).await,
        Command::Verify(asked) => verify::run(*asked).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Man => manual::man(),
    }
}

async fn run_configured(command: ConfiguredCommand, config: Config) -> Result<(), CliError> {
    let _spans = match command {
        ConfiguredCommand::Serve => {
            let collector = config.telemetry.otlp_endpoint.as_deref();
            telemetry::init(&config.log.level, config.log.format, collector)?
        }
        _ => {
            telemetry::init_command()?;
            None
        }
    };
    for variable in Config::misspelled_variables() {
        tracing::warn!("{variable}");
    }
    match command {
        ConfiguredCommand::Serve => serve(&config).await,
        ConfiguredCommand::Migrate => migrate(&config).await,
        ConfiguredCommand::Health => health::run(&config).await,
        ConfiguredCommand::Admin { command: AdminCommand::Create(new) } => admin::create(&config, new).await,
        ConfiguredCommand::Check => check::run(&config).await,
        ConfiguredCommand::Log { command: LogCommand::RotateKey } => {
            log_keys::change(&config, KeyChange::Rotate).await
        }
        ConfiguredCommand::Log { command: LogCommand::RetireKey } => {
            log_keys::change(&config, KeyChange::Retire).await
        }
        ConfiguredCommand::Log { command: LogCommand::Import { directory } } => {
            log_import::run(&config, directory).await
        }
        ConfiguredCommand::Nodes(asked) => nodes::run(&config, &asked).await,
        ConfiguredCommand::Export(asked) => export::run(&config, asked).await,
        ConfiguredCommand::Demo(demo) => demo::run(config, demo).await,
    }
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), CliError> {
    let mut output = stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(CliError::output)
}

async fn serve(config: &Config) -> Result<(), CliError> {
    config.check_service_secrets()?;
    tracing::info!(version = version::VERSION, commit = version::COMMIT, "the service starts");
    allow_open_files();
    // Signals are handled from here on: a signal during the start, or right after it, stops the service
    // cleanly.
    let mut stop_signal = std::pin::pin!(stop_signal());
    let mut app = tokio::select! {
        () = &mut stop_signal => return Ok(()),
        started = App::start(config, Clock::system()) => started?,
    };
    links::announce(&app, &config.server, config.log.format);
    let failure = tokio::select! {
        () = stop_signal => None,
        error = app.failed() => Some(error),
    };
    let stopped = app.stop().await;
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(stopped?),
    }
}

/// Raises the limit of open files to the allowed maximum, because each client is an open file, and a client
/// that watches draws keeps it open for long. The preset limit is often 1,024.
fn allow_open_files() {
    let allowed =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = allowed {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Waits for Ctrl-C or SIGTERM.
fn stop_signal() -> impl Future<Output = ()> {
    let listen = |kind| signal(kind).inspect_err(|error| tracing::warn!(%error, "a signal cannot be handled"));
    let (terminate, interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    async {
        tokio::select! {
            () = received(terminate) => {}
            () = received(interrupt) => {}
        }
    }
}

/// Waits for a signal; for ever, if no handler could be installed.
async fn received(signal: std::io::Result<Signal>) {
    match signal {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

async fn migrate(config: &Config) -> Result<(), CliError> {
    let database = Database::open(config, DatabaseUse::Change).await?;
    let migrated = database.migrate().await;
    database.close().await?;
    print(&format!("{}\n", migrated?))
}
