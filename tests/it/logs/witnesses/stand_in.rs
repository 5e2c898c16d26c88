//! A witness that the tests serve over real HTTP. It is honest as C2SP tlog-witness says, unless a test makes it slow, lost
//! or a liar.

use std::collections::BTreeMap;
use std::sync::Mutex;

use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer, web};
use tokio::sync::watch;
use verifiable_draw::cosignature::Cosigner;
use verifiable_draw::merkle::verify::verify_consistency;

use super::*;

/// What a witness does with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduct {
    Honest,
    /// It does not answer until it is told something else.
    Silent,
    /// It answers 503.
    Away,
    /// It cosigns, and its answer is lost.
    LosesAnswers,
    /// It signs another text.
    Lies,
    /// It says that it has cosigned so many entries.
    Claims(u64),
    /// It says that what it is shown does not continue what it has seen.
    SaysForked,
}

pub struct TestWitness {
    shared: Data<Shared>,
    pub url: String,
}

pub struct Shared {
    cosigner: Cosigner,
    log: VerifierKey,
    conduct: watch::Sender<Conduct>,
    memory: Mutex<Memory>,
}

struct Memory {
    latest: Head,
    /// The time of the next cosignature.
    time: u64,
    /// The time of the first cosignature of each size.
    cosigned: BTreeMap<u64, u64>,
    requests: usize,
}

impl TestWitness {
    pub async fn start(number: u8, conduct: Conduct) -> TestWitness {
        let cosigner = Cosigner::new(&format!("witness.example/w{number}"), &[number; 32]).unwrap();
        let memory = Memory { latest: Head::empty(), time: FIRST_TIME, cosigned: BTreeMap::new(), requests: 0 };
        let conduct = watch::Sender::new(conduct);
        let shared = Data::new(Shared { cosigner, log: log_key_of_tests(), conduct, memory: Mutex::new(memory) });
        let of_server = shared.clone();
        let server = HttpServer::new(move || {
            App::new().app_data(of_server.clone()).route("/w/add-checkpoint", web::post().to(add_checkpoint))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/w/", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        TestWitness { shared, url }
    }

    pub fn key(&self) -> &VerifierKey {
        self.shared.cosigner.verifier()
    }

    pub fn is_now(&self, conduct: Conduct) {
        self.shared.conduct.send_replace(conduct);
    }

    fn memory<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.shared.memory.lock().unwrap())
    }

    /// The sizes that it has cosigned, without the empty log.
    pub fn sizes(&self) -> Vec<u64> {
        self.memory(|memory| memory.cosigned.keys().copied().filter(|size| *size > 0).collect())
    }

    pub fn first_time(&self, size: u64) -> u64 {
        self.memory(|memory| memory.cosigned[&size])
    }

    pub fn requests(&self) -> usize {
        self.memory(|memory| memory.requests)
    }

    /// The time of its next cosignature, in Unix seconds.
    pub fn is_at(&self, time: u64) {
        self.memory(|memory| memory.time = time);
    }

    /// Somebody else has shown it this checkpoint, which it has cosigned.
    pub fn is_shown(&self, head: Head) {
        self.memory(|memory| memory.latest = head);
    }
}

async fn add_checkpoint(it: Data<Shared>, body: Bytes) -> HttpResponse {
    it.memory.lock().unwrap().requests += 1;
    let mut conducts = it.conduct.subscribe();
    let conduct = *conducts.wait_for(|conduct| *conduct != Conduct::Silent).await.unwrap();
    match conduct {
        Conduct::Away => HttpResponse::ServiceUnavailable().finish(),
        Conduct::Claims(size) => conflict(size),
        Conduct::SaysForked => HttpResponse::UnprocessableEntity().body("inconsistent"),
        Conduct::LosesAnswers => {
            honest(&it, &body, false);
            HttpResponse::BadGateway().finish()
        }
        conduct => honest(&it, &body, conduct == Conduct::Lies),
    }
}

fn conflict(size: u64) -> HttpResponse {
    HttpResponse::Conflict().content_type("text/x.tlog.size").body(format!("{size}\n"))
}

/// The checks of tlog-witness, in their order.
fn honest(it: &Shared, body: &[u8], lies: bool) -> HttpResponse {
    let body = std::str::from_utf8(body).unwrap();
    let (request, checkpoint) = body.split_once("\n\n").unwrap();
    let mut lines = request.lines();
    let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
    let proof: Vec<Hash> = lines.map(|line| unbase64(line).try_into().unwrap()).collect();
    let note = SignedNote::parse(checkpoint.as_bytes()).unwrap();
    let head = match Checkpoint::open(&note, [&it.log]) {
        Ok(checkpoint) => checkpoint.head,
        Err(_) => return HttpResponse::Forbidden().finish(),
    };
    let mut memory = it.memory.lock().unwrap();
    if old > head.size {
        return HttpResponse::BadRequest().finish();
    }
    if old != memory.latest.size {
        return conflict(memory.latest.size);
    }
    if old == 0 && !proof.is_empty() || old > 0 && verify_consistency(&memory.latest, &head, &proof).is_err() {
        return HttpResponse::UnprocessableEntity().finish();
    }
    let time = memory.time;
    memory.time += 1;
    memory.latest = head;
    memory.cosigned.entry(head.size).or_insert(time);
    let signed = if lies { "another text\n" } else { note.text() };
    HttpResponse::Ok().body(it.cosigner.signature_line(signed, time))
}
