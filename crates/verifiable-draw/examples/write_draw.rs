//! Writes a whole draw as it is published, with a list of many orders, to measure how long its verification takes:
//!
//!     cargo run --release -p verifiable-draw --example write_draw -- DIRECTORY 10000000
//!     lottery verify DIRECTORY/proof.json --key "$(cat DIRECTORY/key)" --tickets DIRECTORY
//!
//! Each order has one ticket, so that there are as many leaves as tickets: the longest count.

use std::error::Error;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use verifiable_draw::bundle::write_entry;
use verifiable_draw::checkpoint::sign_head;
use verifiable_draw::event::PublishedRules;
use verifiable_draw::keys::{MasterSecret, owner};
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::{Head, hash_leaf};
use verifiable_draw::numbers::{Entropy, draw_numbers};
use verifiable_draw::order::write_order;
use verifiable_draw::proof::receipt_text;
use verifiable_draw::transcript::list::bundles;

const DRAW: u64 = 7;
const PUBLIC_LOG: &str = "lottery.example/api/v1/log";
const ORIGIN: &str = "lottery.example/api/v1/draws/7/log";
const OPENED: u64 = 1_700_000_000;
const CLOSED: u64 = OPENED + 3_600;

/// The ticket of an order: five numbers of 36.
fn pick(order: u64) -> [u8; 5] {
    let part = |divisor: u64| (order / divisor % 7) as u8;
    [1 + part(1), 8 + part(7), 15 + part(49), 22 + part(343), 29 + part(2_401)]
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(orders)) = (arguments.next(), arguments.next()) else {
        return Err("give a directory and a number of orders".into());
    };
    let (directory, orders): (PathBuf, u64) = (directory.into(), orders.parse()?);
    let write = |path: &str, bytes: &[u8]| {
        let path = directory.join(path);
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, bytes)
    };
    let master = MasterSecret::new([7; 32]);
    let (mut edge, mut bundle, salts) = (Edge::new(), Vec::new(), master.salt_key(DRAW));
    for tile in bundles(orders) {
        bundle.clear();
        for order in (tile.index * 256..).take(tile.width.into()) {
            let salt = salts.salt(DRAW, &u128::from(order).to_be_bytes());
            let entry = write_order(order + 1, &owner(&salt, order % 1_000), [pick(order)])?;
            edge.append(hash_leaf(&entry))?;
            write_entry(&mut bundle, &entry)?;
        }
        write(&tile.path(), &bundle)?;
    }
    let events = events(&master, &edge.head())?;
    let entries = events.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>()?;
    let log = Edge::new().append_batch(entries.iter().map(|entry| hash_leaf(entry)).collect())?;
    let signer = master.public_log_signer(0, PUBLIC_LOG)?;
    let note = sign_head(&log.edge().head(), &signer);
    let mut proved = Vec::new();
    for (index, entry) in (0..).zip(&entries) {
        let path = log.inclusion_proof(index).ok_or("the entry is of the log")?;
        let proof = receipt_text(Some(entry), index, &path, &note);
        proved.push(json!({ "entry": STANDARD.encode(entry), "proof": proof }));
    }
    let proof = json!({ "draw_id": DRAW, "policy": null, "entries": proved });
    write("proof.json", proof.to_string().as_bytes())?;
    write("key", signer.verifier().to_string().as_bytes())?;
    Ok(())
}

/// The announcement, the seal and the result.
fn events(master: &MasterSecret, sealed: &Head) -> Result<[Value; 3], Box<dyn Error>> {
    let (seed, orders) = (master.seed(DRAW), sealed.size);
    let rules = json!({
        "pick": 5, "of": 36, "price": 100, "currency": "RUB", "fund_share": 5_000,
        "tiers": [{ "matches": 5, "share": 9_000 }, { "matches": 3, "amount": 200 }],
    });
    let announced = json!({
        "type": "draw_announced", "draw": DRAW, "at": OPENED, "lottery": "5of36", "number": 1, "rules": rules,
        "sales_close_at": CLOSED, "draw_at": CLOSED, "fairness": "commit_reveal",
        "commitment": STANDARD.encode(seed.commitment(ORIGIN)),
        "ticket_log": master.ticket_log_signer(DRAW, ORIGIN)?.verifier().to_string(),
    });
    let seal = json!({
        "type": "draw_sealed", "draw": DRAW, "at": CLOSED, "orders": orders, "tickets": orders,
        "root": STANDARD.encode(sealed.root),
    });
    let seed = seed.reveal();
    let entropy = Entropy::CommitReveal { seed: &seed, sealed };
    let mut numbers = draw_numbers(entropy, &serde_json::to_vec(&announced)?, 5, 36)?;
    numbers.sort_unstable();
    let rules: PublishedRules = serde_json::from_value(rules)?;
    let mut winners = vec![0u64; rules.tiers.len()];
    for order in 0..orders {
        let matches = pick(order).iter().filter(|number| numbers.contains(number)).count();
        for (tier, winners) in rules.tiers.iter().zip(&mut winners) {
            *winners += u64::from(usize::from(tier.matches) == matches);
        }
    }
    let paid = rules.prizes(orders * rules.price, 0, &winners)?;
    let tiers: Vec<Value> = (rules.tiers.iter().zip(winners).zip(paid.prizes))
        .map(|((tier, winners), prize)| json!({ "matches": tier.matches, "winners": winners, "prize": prize }))
        .collect();
    let completed = json!({
        "type": "draw_completed", "draw": DRAW, "at": CLOSED + 60, "seed": STANDARD.encode(seed),
        "winning_numbers": numbers, "prize_fund": paid.prize_fund, "jackpot": 0, "tiers": tiers,
        "rollover": paid.rollover,
    });
    Ok([announced, seal, completed])
}
