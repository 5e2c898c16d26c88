//! drand over HTTP: any number of servers, which are asked one after the other. They are relays of the same rounds.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use metrics::Counter;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde::Deserialize;

use super::{RoundSource, RoundUnavailable};
use crate::domain::beacon::{AnnouncedRound, VerifiedRound};
use crate::tls;

/// The servers that are asked if none is configured.
pub const DEFAULT_ENDPOINTS: [&str; 2] = ["https://api.drand.sh", "https://drand.cloudflare.com"];
/// How long connecting to a server and its whole answer may take.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes. A round has about 300.
const MAX_ANSWER: usize = 8 * 1024;

/// Why a server's answer is of no use.
#[derive(Debug, thiserror::Error)]
enum EndpointError {
    #[error("{0}")]
    Http(reqwest::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("the answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
    #[error("the answer is no round: {0}")]
    NoRound(serde_json::Error),
    #[error("it answered with round {0}")]
    OtherRound(u64),
    #[error("the signature is not that of the round")]
    Signature,
}

/// What a server says of a round. Its `randomness` is not read: it follows from the signature.
#[derive(Deserialize)]
struct DrandRound {
    round: u64,
    /// Hexadecimal.
    signature: String,
}

/// The servers of drand.
pub struct DrandClient {
    http: Client,
    endpoints: Vec<String>,
    failures: Counter,
}

impl DrandClient {
    /// Asks these servers in their order. `failures` counts how often a server gave nothing of use.
    pub fn new(endpoints: &[String], failures: Counter) -> Result<DrandClient, reqwest::Error> {
        let http = tls::http_client()
            .connect_timeout(CONNECT_WAIT)
            .timeout(ANSWER_WAIT)
            .redirect(Policy::none())
            .build()?;
        let endpoints = endpoints.iter().map(|endpoint| endpoint.trim_end_matches('/').to_owned()).collect();
        Ok(DrandClient { http, endpoints, failures })
    }

    async fn ask_all(&self, round: &AnnouncedRound) -> Result<VerifiedRound, RoundUnavailable> {
        let mut failures = Vec::new();
        for endpoint in &self.endpoints {
            match self.ask(endpoint, round).await {
                Ok(verified) => return Ok(verified),
                Err(error) => {
                    self.failures.increment(1);
                    failures.push(format!("{endpoint}: {error}"));
                }
            }
        }
        Err(RoundUnavailable(failures.join("; ")))
    }

    async fn ask(&self, endpoint: &str, round: &AnnouncedRound) -> Result<VerifiedRound, EndpointError> {
        let http = |error: reqwest::Error| EndpointError::Http(error.without_url());
        let url = format!("{endpoint}/{}/public/{}", hex(round.chain.hash()), round.round);
        let mut answer = self.http.get(url).send().await.map_err(http)?;
        if answer.status() != StatusCode::OK {
            return Err(EndpointError::Status(answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(http)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(EndpointError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let given: DrandRound = serde_json::from_slice(&body).map_err(EndpointError::NoRound)?;
        if given.round != round.round {
            return Err(EndpointError::OtherRound(given.round));
        }
        let signature = from_hex(&given.signature).ok_or(EndpointError::Signature)?;
        round.verify(signature).map_err(|_| EndpointError::Signature)
    }
}

impl RoundSource for DrandClient {
    fn fetch<'a>(&'a self, round: &'a AnnouncedRound) -> BoxFuture<'a, Result<VerifiedRound, RoundUnavailable>> {
        self.ask_all(round).boxed()
    }
}

/// The bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of `2 * N` hexadecimal digits.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_bytes() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
        assert_eq!(from_hex("000aFf"), Some([0, 10, 255]));
        for wrong in ["", "000af", "000aff00", "000ag0", "+0+a+f", "00é0ff"] {
            assert_eq!(from_hex::<3>(wrong), None, "{wrong}");
        }
    }
}
