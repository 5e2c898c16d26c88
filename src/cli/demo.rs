//! `lottery demo`.
use super::CliError;
use crate::config::Config;
use clap::Args;
/// Plays a draw.
#[derive(Args)]
pub struct Demo {}
pub async fn run(_config: Config, _demo: Demo) -> Result<(), CliError> {
    Ok(())
}
