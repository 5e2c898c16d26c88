//! The client of C2SP tlog-witness: shows a witness a checkpoint of the public log, and verifies the cosignature that it
//! answers. It keeps nothing, and decides nothing about what an answer means for the log.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use verifiable_draw::Hash;
use verifiable_draw::note::SignedNote;
use verifiable_draw::vkey::{SignedAt, VerifierKey};

use crate::domain::witness_policy::WitnessAddress;
use crate::tls;

/// How long connecting and an answer may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes: room for some signature lines.
const MAX_ANSWER: usize = 16 * 1024;
/// The media type of the size that a conflict tells.
const SIZE_TYPE: &str = "text/x.tlog.size";

/// A verified cosignature of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cosignature {
    /// The signature line of the note, with its newline.
    pub line: String,
    /// When it was made by the witness' clock, in Unix seconds.
    pub timestamp: u64,
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum WitnessRefusal {
    /// 409: it has cosigned a head of this size.
    #[error("it has cosigned a head of the size {0}")]
    OtherSize(u64),
    #[error("it does not know this log: ask its operator to add {0}")]
    UnknownLog(Box<VerifierKey>),
    #[error("it trusts another key of this log: ask its operator to add {0}")]
    OtherKey(Box<VerifierKey>),
    #[error("it has seen another history of this log")]
    OtherHistory,
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer is not one of a witness: {0}")]
    Answer(&'static str),
    #[error("it cannot be asked: {0}")]
    Unreachable(String),
}

/// One witness.
#[derive(Clone)]
pub struct WitnessClient {
    http: Client,
    url: String,
    key: VerifierKey,
    /// The key of the log, for the texts of refusals.
    log: VerifierKey,
}

impl WitnessClient {
    pub fn new(witness: &WitnessAddress, log: &VerifierKey) -> Result<WitnessClient, reqwest::Error> {
        let http = tls::http_client()
            .connect_timeout(CONNECT_WAIT)
            .timeout(ANSWER_WAIT)
            .redirect(Policy::none())
            .build()?;
        let url = format!("{}/add-checkpoint", witness.url);
        // Refuses an address that cannot be one.
        http.post(&url).build()?;
        Ok(WitnessClient { http, url, key: witness.key.clone(), log: log.clone() })
    }

    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Shows it a checkpoint, with the proof that the log of `old` entries is its beginning.
    pub async fn add_checkpoint(
        &self,
        old: u64,
        proof: &[Hash],
        checkpoint: &str,
    ) -> Result<Cosignature, WitnessRefusal> {
        let body = request_body(old, proof, checkpoint);
        let answer = self.http.post(&self.url).body(body).send().await.map_err(unreachable)?;
        let status = answer.status();
        let is_size =
            answer.headers().get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(SIZE_TYPE.as_bytes()));
        match status {
            StatusCode::OK => cosignature(&read(answer).await?, checkpoint, &self.key),
            StatusCode::CONFLICT if is_size => Err(WitnessRefusal::OtherSize(size(&read(answer).await?)?)),
            // It knows another root of the same size.
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Err(WitnessRefusal::OtherHistory),
            StatusCode::NOT_FOUND => Err(WitnessRefusal::UnknownLog(Box::new(self.log.clone()))),
            StatusCode::FORBIDDEN => Err(WitnessRefusal::OtherKey(Box::new(self.log.clone()))),
            _ => Err(WitnessRefusal::Status(status)),
        }
    }
}

/// Neither names the address: it may contain a secret.
fn unreachable(error: reqwest::Error) -> WitnessRefusal {
    WitnessRefusal::Unreachable(error.without_url().to_string())
}

fn request_body(old: u64, proof: &[Hash], checkpoint: &str) -> String {
    use base64::Engine;
    let encode = |hash: &Hash| base64::engine::general_purpose::STANDARD.encode(hash) + "\n";
    let proof: String = proof.iter().map(encode).collect();
    format!("old {old}\n{proof}\n{checkpoint}")
}

async fn read(mut answer: Response) -> Result<String, WitnessRefusal> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(WitnessRefusal::Answer("it is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_| WitnessRefusal::Answer("it is not text"))
}

/// A decimal number without leading zeros, and a newline.
fn size(body: &str) -> Result<u64, WitnessRefusal> {
    let number =
        body.strip_suffix('\n').and_then(|text| text.parse().ok().filter(|n: &u64| n.to_string() == text));
    number.ok_or(WitnessRefusal::Answer("the size of the head that it knows is not a number and a newline"))
}

/// The earliest cosignature of this key among the lines. A wrong one of this key refuses them all.
fn cosignature(lines: &str, checkpoint: &str, key: &VerifierKey) -> Result<Cosignature, WitnessRefusal> {
    let invalid = WitnessRefusal::Answer("it has no valid cosignature of the checkpoint");
    let Ok(note) = SignedNote::parse(checkpoint.as_bytes()) else { return Err(invalid) };
    let mut best: Option<Cosignature> = None;
    for line in lines.split_inclusive('\n') {
        let alone = SignedNote::parse(format!("{}\n{line}", note.text()).as_bytes());
        let Ok(alone) = alone else { return Err(WitnessRefusal::Answer("a line is not a signature")) };
        if !alone.signatures().iter().any(|it| it.name == key.name() && it.key_id == key.id()) {
            continue;
        }
        let signed_at = alone.verify([key]).ok().and_then(|verified| verified.first().map(|it| it.signed_at));
        let Some(SignedAt::Timestamp(timestamp)) = signed_at else { return Err(invalid) };
        if best.as_ref().is_none_or(|best| timestamp < best.timestamp) {
            best = Some(Cosignature { line: line.to_owned(), timestamp });
        }
    }
    best.ok_or(invalid)
}

#[cfg(test)]
mod tests {
    use verifiable_draw::checkpoint::sign_head;
    use verifiable_draw::cosignature::Cosigner;
    use verifiable_draw::merkle::Head;
    use verifiable_draw::vkey::NoteSigner;

    use super::*;

    fn checkpoint() -> String {
        sign_head(&Head::empty(), &NoteSigner::new("lottery.example/api/v1/log", &[1; 32]).unwrap())
    }

    #[test]
    fn only_valid_cosignatures_of_the_known_key_are_accepted() {
        let checkpoint = checkpoint();
        let text = checkpoint.split_inclusive("\n\n").next().unwrap().strip_suffix('\n').unwrap();
        let (known, other) = (Cosigner::new("w1", &[2; 32]).unwrap(), Cosigner::new("w2", &[3; 32]).unwrap());
        let read = |lines: &str| cosignature(lines, &checkpoint, known.verifier());
        let (first, later) = (known.signature_line(text, 7), known.signature_line(text, 8));
        let foreign = other.signature_line(text, 1);
        let good = Cosignature { line: first.clone(), timestamp: 7 };
        assert_eq!(read(&format!("{later}{foreign}{first}")).unwrap(), good);
        let wrong = known.signature_line("another text\n", 1);
        for lines in ["", &foreign, &wrong, &format!("{first}{wrong}"), &format!("{first}x\n"), first.trim_end()] {
            assert!(matches!(read(lines), Err(WitnessRefusal::Answer(_))), "{lines}");
        }
    }

    #[test]
    fn a_size_is_a_number_and_a_newline() {
        assert_eq!(size("0\n").unwrap(), 0);
        assert_eq!(size("18446744073709551615\n").unwrap(), u64::MAX);
        for text in ["", "\n", "7", "07\n", "+7\n", "7\n\n", "18446744073709551616\n", "-1\n"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_request_is_an_old_size_a_proof_and_a_checkpoint() {
        let body = request_body(5, &[[0; 32], [1; 32]], "a\n1\n");
        let hashes =
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";
        assert_eq!(body, format!("old 5\n{hashes}\na\n1\n"));
        assert_eq!(request_body(0, &[], "a\n"), "old 0\n\na\n");
    }
}
