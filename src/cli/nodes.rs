//! `lottery nodes`: lists the nodes on the database, whether the service runs or not. When a node was last seen is
//! known by the database's clock.

use clap::Args;

use super::{CliError, print};
use crate::app::{Database, DatabaseUse};
use crate::config::Config;
use crate::db;
use crate::db::read::nodes::{self, NodeView};

/// A standby that was not seen for so many seconds does not run any more, or does not reach the database.
const SILENT_AFTER: f64 = 10.0;

/// How to print the nodes.
#[derive(Args)]
pub struct NodesArgs {
    /// Prints the nodes as a JSON array.
    #[arg(long)]
    json: bool,
}

/// Prints the nodes, the newest first.
pub async fn run(config: &Config, asked: &NodesArgs) -> Result<(), CliError> {
    let database = Database::open(config, DatabaseUse::Read).await?;
    let listed = async {
        db::check_up_to_date(&database.target).await?;
        let client = db::connect(&database.target).await?;
        nodes::list(&client).await
    };
    let listed = listed.await;
    database.close().await?;
    let listed = listed?;
    let text = if asked.json {
        // This cannot fail: a node has only plain fields.
        serde_json::to_string_pretty(&listed).unwrap_or_default()
    } else {
        table(&listed)
    };
    print(&format!("{text}\n"))
}

/// One line for each node, under a line of titles.
fn table(nodes: &[NodeView]) -> String {
    let titles = ["node", "state", "host", "url", "version", "started at", "last seen"].map(str::to_owned);
    let line = |node: &NodeView| {
        let state = match node {
            NodeView { dead: true, .. } => "ended",
            NodeView { active: true, .. } => "active",
            NodeView { seen_seconds_ago, .. } if *seen_seconds_ago > SILENT_AFTER => "silent",
            _ => "standby",
        };
        let started = format!("{:.0}", node.started_at);
        let seen = format!("{:.1} s ago", node.seen_seconds_ago);
        let (id, state) = (node.id.to_string(), state.to_owned());
        [id, state, node.host.clone(), node.url.clone(), node.version.clone(), started, seen]
    };
    let lines: Vec<[String; 7]> = std::iter::once(titles).chain(nodes.iter().map(line)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let padded = |line: &[String; 7]| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(padded).collect::<Vec<_>>().join("\n")
}
