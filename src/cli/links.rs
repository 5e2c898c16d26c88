//! What the start tells the operator: where the service answers, where its pages, its documentation and its metrics are.
//! Once: as lines for people where the log goes to a terminal, otherwise as one line of the log.

use std::io::{IsTerminal, stdout};

use crate::app::App;
use crate::config::ServerConfig;
use crate::telemetry::LogFormat;

use super::health::local;
use super::print;

/// Tells where the service answers.
pub fn announce(app: &App, server: &ServerConfig, format: LogFormat) {
    let service = format!("http://{}", local(app.address));
    let metrics = app.admin_address.map_or_else(|| service.clone(), |admin| format!("http://{}", local(admin)));
    let (api, metrics) = (format!("{service}/api/v1"), format!("{metrics}/metrics"));
    let web = server.web.then(|| format!("{service}/"));
    let docs = server.docs.then(|| format!("{service}/api/docs"));
    if format == LogFormat::Pretty && stdout().is_terminal() {
        let line =
            |name: &str, url: Option<String>| url.map_or_else(String::new, |url| format!("  {name}{url}\n"));
        let (web, docs) = (line("pages    ", web), line("docs     ", docs));
        let lines =
            format!("The service answers. Ctrl-C stops it.\n{web}  API      {api}\n{docs}  metrics  {metrics}\n");
        // A terminal that is gone by now is no reason to end the service.
        let _ = print(&format!("\n{lines}\n"));
    } else {
        tracing::info!(address = %app.address, web, api, docs, metrics, "the service answers");
    }
}
