//! A server of drand with a chain of its own: it signs any round at once, or misbehaves as a test says.

use std::sync::Mutex;

use actix_web::web::{Data, Path};
use actix_web::{App, HttpResponse, HttpServer, web};
use blst::min_sig::SecretKey;
use lottery::beacon::hex;
use lottery::config::ChainConfig;
use serde_json::json;
use sha2::{Digest, Sha256};
use verifiable_draw::beacon::BeaconChain;

/// 2020-01-01, and a round each three seconds: also processes with the clock of this machine use it.
const GENESIS: u64 = 1_577_836_800;
const PERIOD: u32 = 3;
const GROUP: [u8; 32] = [9; 32];
const ID: &str = "of the tests";

fn secret() -> SecretKey {
    SecretKey::key_gen(&[7; 32], &[]).unwrap()
}

pub fn chain() -> BeaconChain {
    BeaconChain::new(secret().sk_to_pk().compress(), GENESIS, PERIOD, &GROUP, ID).unwrap()
}

pub fn chain_config() -> ChainConfig {
    let chain = chain();
    ChainConfig {
        hash: hex(chain.hash()),
        public_key: hex(chain.public_key()),
        genesis_time: GENESIS,
        period: PERIOD,
        group_hash: hex(&GROUP),
        beacon_id: ID.to_owned(),
    }
}

pub fn sign(round: u64) -> [u8; 48] {
    let message = Sha256::digest(round.to_be_bytes());
    secret().sign(&message, b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_", &[]).compress()
}

/// What a server does when it is asked for a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    Good,
    Status(u16),
    /// All rounds but this one are there.
    Without(u64),
    OtherSignature,
    OtherRound,
    Huge,
    Garbage,
    /// It answers long after anybody waits.
    Slow,
}

struct Script {
    manner: Manner,
    asked: Vec<u64>,
}

pub struct Drand {
    script: Data<Mutex<Script>>,
    pub url: String,
}

impl Drand {
    pub async fn start(manner: Manner) -> Drand {
        let script = Data::new(Mutex::new(Script { manner, asked: Vec::new() }));
        let shared = script.clone();
        let app =
            move || App::new().app_data(shared.clone()).route("/{chain}/public/{round}", web::get().to(answer));
        let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Drand { script, url }
    }

    pub fn set(&self, manner: Manner) {
        self.script.lock().unwrap().manner = manner;
    }

    /// The rounds that it was asked for.
    pub fn asked(&self) -> Vec<u64> {
        self.script.lock().unwrap().asked.clone()
    }
}

async fn answer(script: Data<Mutex<Script>>, path: Path<(String, u64)>) -> HttpResponse {
    let (name, round) = path.into_inner();
    if name != hex(chain().hash()) {
        return HttpResponse::NotFound().finish();
    }
    let manner = {
        let mut script = script.lock().unwrap();
        script.asked.push(round);
        script.manner
    };
    // Nobody believes the randomness: it follows from the signature.
    let good = |round| json!({"round": round, "randomness": "00".repeat(32), "signature": hex(&sign(round))});
    match manner {
        Manner::Good => HttpResponse::Ok().json(good(round)),
        Manner::Without(lost) if round == lost => HttpResponse::NotFound().finish(),
        Manner::Without(_) => HttpResponse::Ok().json(good(round)),
        Manner::Status(status) => HttpResponse::build(status.try_into().unwrap()).json(good(round)),
        Manner::OtherSignature => {
            HttpResponse::Ok().json(json!({"round": round, "signature": hex(&sign(round + 1))}))
        }
        Manner::OtherRound => HttpResponse::Ok().json(good(round - 1)),
        Manner::Huge => {
            let mut answer = good(round);
            answer["padding"] = " ".repeat(1_000_000).into();
            HttpResponse::Ok().json(answer)
        }
        Manner::Garbage => HttpResponse::Ok().body("a round"),
        Manner::Slow => {
            tokio::time::sleep(std::time::Duration::from_secs(600)).await;
            HttpResponse::Ok().json(good(round))
        }
    }
}
