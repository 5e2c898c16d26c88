//! The `lottery` program: parses the command line and runs it.

use std::process::ExitCode;

use clap::Parser;
use lottery::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[actix_web::main]
async fn main() -> ExitCode {
    match cli::run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lottery: {}", lottery::db::describe(&error));
            ExitCode::FAILURE
        }
    }
}
