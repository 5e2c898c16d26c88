//! The events of the public log, from what the steps of a draw know; and the winning numbers, which follow from what was
//! published. `verifiable_draw::event` has the form of the events, and docs/verifiable-draw.md says what they prove.

use jiff::Timestamp;
use verifiable_draw::event::{
    DrawHead, Event, FairnessMode, PublishedRules, PublishedTier, PublishedTierResult, Stage,
};
use verifiable_draw::merkle::Head;
use verifiable_draw::numbers::{Entropy, draw_numbers};

use super::draw::Times;
use super::game::Pick;
use super::id::DrawId;
use super::log_keys::LogKeys;
use super::lottery::Rules;
use super::money::{Currency, Money};
use super::prize::{Award, Settlement, Tier};

/// Why the numbers of a draw cannot be drawn from what was published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NumbersFault {
    #[error("the entry that announced the draw cannot be read")]
    Announcement,
    #[error("the draw was announced with another seed than the one of this service's master secret")]
    OtherSeed,
    #[error("the numbers of the draw cannot be computed")]
    Numbers,
}

/// The sale opens.
pub fn announced(
    keys: &LogKeys,
    draw: DrawId,
    number: i32,
    (rules, currency): (&Rules, Currency),
    times: &Times,
    at: Timestamp,
) -> Event {
    let tier = |tier: &Tier| {
        let (amount, share, minimum) = match tier.award {
            Award::Fixed(amount) => (Some(amount), None, None),
            Award::Shared { share, minimum } => (None, Some(share.basis_points()), minimum),
        };
        PublishedTier { matches: tier.matches, amount: amount.map(minor), share, minimum: minimum.map(minor) }
    };
    Event::DrawAnnounced {
        draw: id(draw),
        at: seconds(at),
        lottery: rules.lottery.0.clone(),
        number: number.unsigned_abs().into(),
        rules: PublishedRules {
            pick: rules.game.pick_size(),
            of: rules.game.of(),
            price: minor(rules.price),
            currency: currency.as_str().to_owned(),
            fund_share: rules.fund_share.basis_points(),
            tiers: rules.prizes.tiers().iter().map(tier).collect(),
        },
        sales_close_at: seconds(times.sales_close_at),
        draw_at: seconds(times.draw_at),
        fairness: FairnessMode::CommitReveal,
        commitment: Some(keys.commitment(draw)),
        beacon: None,
        policy: None,
        ticket_log: keys.ticket_log(draw).verifier().to_string(),
    }
}

/// The times of an announced draw change.
pub fn rescheduled(draw: DrawId, times: &Times, at: Timestamp) -> Event {
    let (sales_close_at, draw_at) = (seconds(times.sales_close_at), seconds(times.draw_at));
    Event::DrawRescheduled { draw: id(draw), at: seconds(at), sales_close_at, draw_at, round: None }
}

/// The sale ends. `close_at`: the published time.
pub fn sealed(draw: DrawId, log: &Head, tickets: i64, close_at: Timestamp, at: Timestamp) -> Event {
    Event::DrawSealed {
        draw: id(draw),
        at: seconds(at),
        orders: log.size,
        tickets: tickets.unsigned_abs(),
        root: log.root,
        by_hand: at < close_at,
    }
}

/// When the list of a draw was sealed and its numbers were drawn, and when that was to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrawTimes {
    pub sealed_at: Timestamp,
    pub drawn_at: Timestamp,
    pub sales_close_at: Timestamp,
    pub draw_at: Timestamp,
}

impl DrawTimes {
    fn by_hand(&self) -> bool {
        self.sealed_at < self.sales_close_at || self.drawn_at < self.draw_at
    }
}

/// The prizes are fixed. `after`: the index of the entry whose rollover came into the draw as its jackpot.
pub fn completed(
    keys: &LogKeys,
    draw: DrawId,
    (pick, jackpot): (Pick, Money),
    settled: &Settlement,
    after: Option<u64>,
    times: &DrawTimes,
    at: Timestamp,
) -> Event {
    let tiers = settled.tiers.iter();
    Event::DrawCompleted {
        draw: id(draw),
        at: seconds(at),
        seed: Some(keys.seed(draw).reveal()),
        signature: None,
        winning_numbers: pick.numbers().collect(),
        prize_fund: minor(settled.prize_fund),
        jackpot: minor(jackpot),
        tiers: tiers
            .map(|tier| PublishedTierResult {
                matches: tier.matches,
                winners: tier.winners,
                prize: minor(tier.prize),
            })
            .collect(),
        rollover: minor(settled.rollover),
        after,
        by_hand: times.by_hand(),
    }
}

/// An announced draw is cancelled. Once its list is sealed, the seed is shown: everybody sees what would have been drawn.
pub fn voided(keys: &LogKeys, draw: DrawId, is_sealed: bool, reason: &str, at: Timestamp) -> Event {
    let (stage, seed) = match is_sealed {
        true => (Stage::Closed, Some(keys.seed(draw).reveal())),
        false => (Stage::Open, None),
    };
    Event::DrawVoided { draw: id(draw), at: seconds(at), stage, reason: reason.to_owned(), seed }
}

/// The heads of ticket logs.
pub fn heads(logs: &[(DrawId, Head)], at: Timestamp) -> Event {
    let head = |(draw, head): &(DrawId, Head)| DrawHead { draw: id(*draw), orders: head.size, root: head.root };
    Event::DrawHeads { at: seconds(at), heads: logs.iter().map(head).collect(), audit: None }
}

/// The winning numbers of a draw: a function of its seed, its sealed list and the bytes of its announcement. Whoever asks
/// again gets the same.
pub fn winning_numbers(
    keys: &LogKeys,
    draw: DrawId,
    rules: &Rules,
    announcement: &[u8],
    sealed: &Head,
) -> Result<Pick, NumbersFault> {
    let announced = Event::parse(announcement).map_err(|_| NumbersFault::Announcement)?;
    let Event::DrawAnnounced { commitment, .. } = announced else { return Err(NumbersFault::Announcement) };
    if commitment != Some(keys.commitment(draw)) {
        return Err(NumbersFault::OtherSeed);
    }
    let seed = keys.seed(draw).reveal();
    let entropy = Entropy::CommitReveal { seed: &seed, sealed };
    let numbers = draw_numbers(entropy, announcement, rules.game.pick_size(), rules.game.of());
    let numbers: Vec<i64> = numbers.map_err(|_| NumbersFault::Numbers)?.into_iter().map(i64::from).collect();
    rules.game.pick(&numbers).map_err(|_| NumbersFault::Numbers)
}

/// Unix seconds. No event is older than 1970.
pub fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or(0)
}

/// Amounts of a draw are not negative.
fn minor(amount: Money) -> u64 {
    amount.minor().unsigned_abs()
}

/// Ids of draws are positive: the database makes them.
fn id(draw: DrawId) -> u64 {
    draw.0.unsigned_abs()
}

#[cfg(test)]
mod tests;
