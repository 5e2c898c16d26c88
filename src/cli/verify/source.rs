//! Where a verifier reads logs: a service over HTTP, or a directory with the same paths. Nothing is verified here.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;
use verifiable_draw::bundle::MAX_BUNDLE_BYTES;
use verifiable_draw::merkle::tiles::{TILE_WIDTH, Tile, TileKind};

use super::files;
use crate::cli::CliError;
use crate::{db, tls};

/// An answer that takes longer has failed.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// A request that fails for the moment is sent so often, with a pause before each further one.
const TRIES: u32 = 4;
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// A draw of a service.
#[derive(Clone)]
pub struct DrawUrl {
    /// The address of the API.
    pub api: Host,
    pub draw: u64,
}

impl DrawUrl {
    pub fn parse(text: &str) -> Result<DrawUrl, CliError> {
        let wrong = || {
            CliError::Refused(format!(
                "{text} is not the address of a draw, such as https://lottery.example/api/v1/draws/7"
            ))
        };
        let url = Url::parse(text).map_err(|_| wrong())?;
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix("/proof").unwrap_or(path);
        let (base, draw) = path.rsplit_once("/draws/").ok_or_else(wrong)?;
        let draw = draw.parse().map_err(|_| wrong())?;
        Ok(DrawUrl { api: Host::new(&url, base)?, draw })
    }

    pub fn ticket_log(&self) -> Host {
        self.api.below(&format!("draws/{}/log", self.draw))
    }
}

/// What is below an address of a service.
#[derive(Clone)]
pub struct Host {
    client: Client,
    base: String,
}

impl Host {
    /// The service of a URL, with another path.
    pub fn new(url: &Url, path: &str) -> Result<Host, CliError> {
        let is_http = ["http", "https"].contains(&url.scheme()) && url.has_host();
        if !is_http || url.query().is_some() || url.fragment().is_some() {
            return Err(CliError::Refused(format!(
                "{url} is not an address that begins with https:// or http://"
            )));
        }
        let mut base = url.clone();
        base.set_path(path);
        let client = tls::http_client().timeout(ANSWER_WAIT).connect_timeout(CONNECT_WAIT).build();
        let client =
            client.map_err(|error| CliError::Refused(format!("no HTTP client: {}", db::describe(&error))))?;
        Ok(Host { client, base: base.as_str().trim_end_matches('/').to_owned() })
    }

    pub fn below(&self, path: &str) -> Host {
        Host { client: self.client.clone(), base: format!("{}/{path}", self.base) }
    }

    /// The body at a path.
    pub async fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, CliError> {
        let url = format!("{}/{path}", self.base);
        let mut tries = 1;
        loop {
            let failed = match self.client.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => match body(answer, limit).await {
                    Ok(Some(bytes)) => return Ok(bytes),
                    Ok(None) => return Err(cannot(&url, &format!("the answer has more than {limit} bytes"))),
                    Err(error) => db::describe(&error),
                },
                Ok(answer) => {
                    let (status, told) = (answer.status(), problem(answer).await);
                    let told = format!("{status}{told}");
                    let is_passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    if !is_passing {
                        return Err(cannot(&url, &told));
                    }
                    told
                }
                Err(error) => db::describe(&error),
            };
            if tries == TRIES {
                return Err(cannot(&url, &failed));
            }
            tries += 1;
            tokio::time::sleep(TRY_PAUSE).await;
        }
    }
}

fn cannot(url: &str, what: &str) -> CliError {
    CliError::Refused(format!("cannot read {url}: {what}"))
}

/// The body of an answer, unless it is too long.
async fn body(mut answer: Response, limit: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if bytes.len() + chunk.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// What the service says is wrong: `, CODE: DETAIL`.
async fn problem(answer: Response) -> String {
    const MAX_PROBLEM_BYTES: usize = 64 * 1024;
    let bytes = body(answer, MAX_PROBLEM_BYTES).await.ok().flatten().unwrap_or_default();
    let Ok(problem) = serde_json::from_slice::<Value>(&bytes) else { return String::new() };
    match (problem["code"].as_str(), problem["detail"].as_str()) {
        (Some(code), Some(detail)) => format!(", {code}: {detail}"),
        _ => String::new(),
    }
}

/// A log's files.
#[derive(Clone)]
pub enum LogSource {
    Directory(PathBuf),
    Host(Host),
}

impl LogSource {
    /// A tile or a bundle.
    pub async fn read(&self, tile: Tile) -> Result<Vec<u8>, CliError> {
        let limit = match tile.kind {
            TileKind::Entries => MAX_BUNDLE_BYTES,
            TileKind::Hashes { .. } => usize::from(TILE_WIDTH) * size_of::<verifiable_draw::Hash>(),
        };
        match self {
            LogSource::Host(host) => host.read(&tile.path(), limit).await,
            LogSource::Directory(directory) => {
                let path = directory.join(tile.path());
                let read = tokio::task::spawn_blocking(move || files::read(&path, limit)).await;
                read.unwrap_or_else(|error| Err(CliError::Refused(format!("a file could not be read: {error}"))))
            }
        }
    }
}
