//! Small draws that are published with fixed keys: `vectors/` has them, and the tests alter them.

use serde_json::{Value, json};
use verifiable_draw::Hash;
use verifiable_draw::beacon::BeaconChain;
use verifiable_draw::bundle::write_entry;
use verifiable_draw::checkpoint::{add_signature, sign_head};
use verifiable_draw::cosignature::Cosigner;
use verifiable_draw::event::{Event, PublishedRules};
use verifiable_draw::keys::{MasterSecret, owner};
use verifiable_draw::merkle::edge::{AppendedBatch, Edge};
use verifiable_draw::merkle::tiles::{TILE_WIDTH, Tile, TileKind};
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::note::SignedNote;
use verifiable_draw::numbers::{Entropy, draw_numbers};
use verifiable_draw::order::write_order;
use verifiable_draw::proof::receipt_text;
use verifiable_draw::vkey::NoteSigner;

pub const PUBLIC_LOG: &str = "lottery.example/api/v1/log";
pub const ROUND: u64 = 123;
pub const USER: u64 = 42;
/// The announcements and all ends of sales of draws with a seed.
const OPENED: u64 = 1_700_000_000;
const CLOSED: u64 = OPENED + 3_600;
const DRAWN: u64 = OPENED + 4_200;
const ROUND_SIGNATURE: &str =
    "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92";

pub fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

pub fn master() -> MasterSecret {
    MasterSecret::new(std::array::from_fn(|i| i as u8))
}

pub fn public_log() -> NoteSigner {
    log_key(0)
}

/// A key of the public log.
pub fn log_key(generation: u64) -> NoteSigner {
    master().public_log_signer(generation, PUBLIC_LOG).unwrap()
}

pub fn origin(draw: u64) -> String {
    format!("lottery.example/api/v1/draws/{draw}/log")
}

fn ticket_log(draw: u64) -> NoteSigner {
    master().ticket_log_signer(draw, &origin(draw)).unwrap()
}

pub fn round_signature() -> [u8; 48] {
    std::array::from_fn(|i| u8::from_str_radix(&ROUND_SIGNATURE[2 * i..2 * i + 2], 16).unwrap())
}

pub fn witness(number: u8) -> Cosigner {
    Cosigner::new(&format!("witness.example/w{number}"), &[100 + number; 32]).unwrap()
}

pub fn policy() -> String {
    let (one, two, three) = (witness(1), witness(2), witness(3));
    format!(
        "log {}\nwitness one {}\nwitness two {}\nwitness three {}\ngroup most 2 one two three\nquorum most\n",
        public_log().verifier(),
        one.verifier(),
        two.verifier(),
        three.verifier()
    )
}

/// The list of a draw.
pub struct List {
    draw: u64,
    entries: Vec<Vec<u8>>,
    picks: Vec<[u8; 3]>,
    batch: AppendedBatch,
}

impl List {
    /// Orders of one ticket, and every fourth one of two, of 3 of 10.
    pub fn new(draw: u64, orders: u64) -> List {
        let salts = master().salt_key(draw);
        let (mut entries, mut picks, mut first) = (Vec::new(), Vec::new(), 1);
        for index in 0..orders {
            let salt = salts.salt(draw, &u128::from(index).to_be_bytes());
            let pick = |at: u64| [1 + (at % 3) as u8, 4 + (at % 4) as u8, 8 + (at % 2) as u8 + (at % 5 / 4) as u8];
            let ordered: Vec<[u8; 3]> =
                (0..1 + u64::from(index % 4 == 3)).map(|line| pick(index + line)).collect();
            entries.push(write_order(first, &owner(&salt, USER + index), ordered.iter().copied()).unwrap());
            first += ordered.len() as u64;
            picks.extend(ordered);
        }
        let leaves = entries.iter().map(|entry| hash_leaf(entry)).collect();
        List { draw, entries, picks, batch: Edge::new().append_batch(leaves).unwrap() }
    }

    pub fn head(&self) -> Head {
        self.batch.edge().head()
    }

    pub fn tickets(&self) -> u64 {
        self.picks.len() as u64
    }

    /// The tickets with so many of the numbers.
    fn winners(&self, matches: u8, winning: &[u8]) -> u64 {
        let matched = |pick: &&[u8; 3]| pick.iter().filter(|number| winning.contains(number)).count();
        self.picks.iter().filter(|pick| matched(pick) == usize::from(matches)).count() as u64
    }

    /// The entry bundles by their paths.
    pub fn bundles(&self) -> Vec<(String, Vec<u8>)> {
        let tiles = (0..).map_while(|index| Tile::of_tree(TileKind::Entries, index, self.entries.len() as u64));
        let bundle = |tile: Tile| {
            let (mut bytes, first) = (Vec::new(), tile.index as usize * usize::from(TILE_WIDTH));
            let entries = &self.entries[first..first + usize::from(tile.width)];
            entries.iter().for_each(|entry| write_entry(&mut bytes, entry).unwrap());
            (tile.path(), bytes)
        };
        tiles.map(bundle).collect()
    }

    /// The receipt of an order, as it was given when the list had so many orders.
    pub fn receipt(&self, index: u64, size: u64) -> Value {
        let leaves = self.entries[..size as usize].iter().map(|entry| hash_leaf(entry)).collect();
        let batch = Edge::new().append_batch(leaves).unwrap();
        let note = sign_head(&batch.edge().head(), &ticket_log(self.draw));
        let entry = &self.entries[index as usize];
        let proof = receipt_text(Some(entry), index, &batch.inclusion_proof(index).unwrap(), &note);
        let salt = master().salt_key(self.draw).salt(self.draw, &u128::from(index).to_be_bytes());
        json!({ "proof": proof, "salt": base64(&salt) })
    }
}

/// The public log, with what each draw has there.
#[derive(Clone, Default)]
pub struct Published {
    /// The entries, in the order of the log.
    pub events: Vec<Value>,
    /// How many entries a head has that witnesses cosigned, and when each of them did. The proofs of the last entry of such
    /// a head are under it.
    pub cosigned: Vec<(usize, Vec<(u8, u64)>)>,
    /// The generations of the log's keys that sign the heads; none stands for the first.
    pub signed_by: Vec<u64>,
}

impl Published {
    pub fn add(&mut self, event: Value) -> usize {
        self.events.push(event);
        self.events.len() - 1
    }

    /// The bytes of an entry. Serde writes the keys of an object in their order, so they are canonical.
    fn entry(&self, index: usize) -> Vec<u8> {
        serde_json::to_vec(&self.events[index]).unwrap()
    }

    /// The head of all entries.
    pub fn newest(&self) -> Head {
        self.head(self.events.len()).0.edge().head()
    }

    fn head(&self, size: usize) -> (AppendedBatch, SignedNote) {
        let leaves: Vec<Hash> = (0..size).map(|index| hash_leaf(&self.entry(index))).collect();
        let batch = Edge::new().append_batch(leaves).unwrap();
        let first = self.signed_by.first().copied().unwrap_or_default();
        let mut note = sign_head(&batch.edge().head(), &log_key(first));
        self.signed_by.iter().skip(1).for_each(|generation| add_signature(&mut note, &log_key(*generation)));
        let mut note = SignedNote::parse(note.as_bytes()).unwrap();
        for (cosigned, witnesses) in &self.cosigned {
            for (number, time) in witnesses.iter().filter(|_| *cosigned == size) {
                note.add_signatures(&witness(*number).signature_line(note.text(), *time)).unwrap();
            }
        }
        (batch, note)
    }

    /// The body of `GET /draws/{id}/proof`.
    pub fn transcript(&self, draw: u64, policy: Option<&str>) -> Value {
        let newest = self.events.len();
        let mut entries = Vec::new();
        for index in 0..newest {
            if self.events[index]["draw"] != draw {
                continue;
            }
            let own = self.cosigned.iter().find(|(size, _)| *size == index + 1);
            let proof = self.proof(index, own.map_or(newest, |(size, _)| *size));
            entries.push(json!({ "entry": base64(&self.entry(index)), "proof": proof }));
        }
        json!({ "draw_id": draw, "policy": policy, "entries": entries })
    }

    /// Proves that the log of this size has the entry.
    pub fn proof(&self, index: usize, size: usize) -> String {
        let ((batch, note), entry) = (self.head(size), self.entry(index));
        receipt_text(Some(&entry), index as u64, &batch.inclusion_proof(index as u64).unwrap(), &note.to_string())
    }
}

fn rules() -> Value {
    json!({
        "pick": 3, "of": 10, "price": 100, "currency": "RUB", "fund_share": 5_000,
        "tiers": [
            { "matches": 3, "share": 7_000, "minimum": 150 }, { "matches": 2, "share": 2_000 },
            { "matches": 1, "amount": 30 },
        ],
    })
}

fn announcement(draw: u64, number: u64) -> Value {
    json!({
        "type": "draw_announced", "draw": draw, "at": OPENED, "lottery": "3of10", "number": number, "rules": rules(),
        "sales_close_at": CLOSED, "draw_at": DRAWN, "fairness": "commit_reveal",
        "commitment": base64(&master().seed(draw).commitment(&origin(draw))),
        "ticket_log": ticket_log(draw).verifier().to_string(),
    })
}

fn seal(list: &List, at: u64) -> Value {
    let Head { size, root } = list.head();
    json!({
        "type": "draw_sealed", "draw": list.draw, "at": at, "orders": size, "tickets": list.tickets(),
        "root": base64(&root),
    })
}

/// The numbers of the list's draw, whose announcement is this.
fn numbers_of_seed(list: &List, announcement: &Value) -> Vec<u8> {
    let seed = master().seed(list.draw).reveal();
    let entropy = Entropy::CommitReveal { seed: &seed, sealed: &list.head() };
    let mut numbers = draw_numbers(entropy, &serde_json::to_vec(announcement).unwrap(), 3, 10).unwrap();
    numbers.sort_unstable();
    numbers
}

/// A result without what shows where its numbers come from.
fn result(list: &List, at: u64, numbers: &[u8], jackpot: u64, after: Option<usize>) -> Value {
    let rules: PublishedRules = serde_json::from_value(rules()).unwrap();
    let winners: Vec<u64> = rules.tiers.iter().map(|tier| list.winners(tier.matches, numbers)).collect();
    let paid = rules.prizes(list.tickets() * rules.price, jackpot, &winners).unwrap();
    let tiers = rules.tiers.iter().zip(winners).zip(paid.prizes);
    let tiers = tiers
        .map(|((tier, winners), prize)| json!({ "matches": tier.matches, "winners": winners, "prize": prize }));
    let mut result = json!({
        "type": "draw_completed", "draw": list.draw, "at": at, "winning_numbers": numbers,
        "prize_fund": paid.prize_fund, "jackpot": jackpot, "rollover": paid.rollover,
        "tiers": tiers.collect::<Vec<Value>>(),
    });
    if let Some(after) = after {
        result["after"] = json!(after);
    }
    result
}

fn with_seed(mut event: Value, draw: u64) -> Value {
    event["seed"] = json!(base64(&master().seed(draw).reveal()));
    event
}

/// Draw 7, whose times were changed once, after draw 6 of the same lottery.
pub fn commit_reveal() -> (Published, List, List) {
    let (before, list) = (List::new(6, 3), List::new(7, 270));
    let mut log = Published::default();
    let (announced, other) = (announcement(7, 2), announcement(6, 1));
    log.add(other.clone());
    log.add(announced.clone());
    log.add(json!({ "type": "draw_heads", "at": OPENED + 60, "heads": [
        { "draw": 7, "orders": 0, "root": base64(&Head::empty().root) }
    ] }));
    log.add(seal(&before, CLOSED));
    let numbers = numbers_of_seed(&before, &other);
    let completed = result(&before, DRAWN, &numbers, 0, None);
    let rollover = completed["rollover"].as_u64().unwrap();
    let ended = log.add(with_seed(completed, 6));
    let (close, draw_at) = (CLOSED + 86_400, DRAWN + 86_400);
    log.add(json!({
        "type": "draw_rescheduled", "draw": 7, "at": CLOSED - 60, "sales_close_at": close, "draw_at": draw_at
    }));
    log.add(seal(&list, close));
    let numbers = numbers_of_seed(&list, &announced);
    log.add(with_seed(result(&list, draw_at, &numbers, rollover, Some(ended)), 7));
    (log, before, list)
}

/// Draw 9, which was cancelled after its seal.
pub fn voided() -> (Published, List) {
    let list = List::new(9, 2);
    let mut log = Published::default();
    log.add(announcement(9, 1));
    log.add(seal(&list, CLOSED));
    let voided = json!({
        "type": "draw_voided", "draw": 9, "at": CLOSED + 30, "stage": "closed", "reason": "The drum is broken."
    });
    log.add(with_seed(voided, 9));
    (log, list)
}

/// Draw 8, which was cancelled so many seconds after the time of its round, and whose seal was cosigned in time.
pub fn void_with_round(reason: &str, seconds: u64) -> Published {
    let (mut log, _) = beacon();
    let at = BeaconChain::quicknet().time_of(ROUND).unwrap() + seconds;
    log.cosigned.truncate(1);
    log.events[2] = json!({ "type": "draw_voided", "draw": 8, "at": at, "stage": "closed", "reason": reason });
    log
}

/// Draw 8 or, without a round, draw 9, which was cancelled at the end of its sale, before its seal.
pub fn void_before_seal(has_round: bool) -> (Published, u64) {
    let (mut log, draw) = if has_round { (beacon().0, 8) } else { (voided().0, 9) };
    log.cosigned.clear();
    log.events.truncate(1);
    let close = log.events[0]["sales_close_at"].clone();
    log.add(json!({ "type": "draw_voided", "draw": draw, "at": close, "stage": "open", "reason": "Snow." }));
    (log, draw)
}

/// Draw 8, whose numbers come from a round, and whose seal two of three witnesses cosigned before it.
pub fn beacon() -> (Published, List) {
    let list = List::new(8, 5);
    let chain = BeaconChain::quicknet();
    let round_time = chain.time_of(ROUND).unwrap();
    let mut announced = announcement(8, 1);
    let (opened, close) = (chain.genesis() - 3_600, round_time - 660);
    for (field, value) in [("at", opened), ("sales_close_at", close), ("draw_at", round_time - 2)] {
        announced[field] = json!(value);
    }
    announced["fairness"] = json!("beacon");
    announced.as_object_mut().unwrap().remove("commitment");
    announced["beacon"] = json!({
        "chain": base64(chain.hash()), "public_key": base64(chain.public_key()), "round": ROUND
    });
    announced["policy"] = json!(base64(&<sha2::Sha256 as sha2::Digest>::digest(policy())));
    let mut log = Published::default();
    let bytes = serde_json::to_vec(&announced).unwrap();
    log.add(announced);
    let sealed = log.add(seal(&list, close)) + 1;
    log.cosigned.push((sealed, vec![(1, round_time - 600), (2, round_time - 599), (3, round_time - 5)]));
    let randomness = chain.verify(ROUND, &round_signature()).unwrap();
    let entropy = Entropy::Beacon { round: ROUND, randomness: &randomness };
    let mut numbers = draw_numbers(entropy, &bytes, 3, 10).unwrap();
    numbers.sort_unstable();
    let mut completed = result(&list, round_time + 1, &numbers, 0, None);
    completed["signature"] = json!(base64(&round_signature()));
    let newest = log.add(completed) + 1;
    log.cosigned.push((newest, vec![(1, round_time + 10), (2, round_time + 11)]));
    (log, list)
}

/// Every event of a story is one of the crate's, so the vectors are in the form that the service writes.
#[test]
fn stories_consist_of_events() {
    for log in [commit_reveal().0, voided().0, beacon().0] {
        for index in 0..log.events.len() {
            Event::parse(&log.entry(index)).unwrap();
        }
    }
}
