//! The events of the public log, from what the steps of a draw know; and the winning numbers, which follow from what was
//! published. `verifiable_draw::event` has the form of the events, and docs/verifiable-draw.md says what they prove.

use jiff::{SignedDuration, Timestamp};
use verifiable_draw::Hash;
use verifiable_draw::event::{
    AuditHead, Beacon, DrawHead, Event, FairnessMode, PublishedRules, PublishedTier, PublishedTierResult, Stage,
};
use verifiable_draw::merkle::Head;
use verifiable_draw::numbers::{Entropy, draw_numbers};
use verifiable_draw::vkey::VerifierKey;

use super::beacon::{AnnouncedRound, VerifiedRound};
use super::draw::Times;
use super::game::Pick;
use super::id::DrawId;
use super::log_keys::{KeyChange, LogKeys};
use super::lottery::{Fairness, Rules};
use super::money::{Currency, Money};
use super::prize::{Award, Settlement, Tier};

/// Why the numbers of a draw cannot be drawn from what was published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NumbersFault {
    #[error("the entry that announced the draw cannot be read")]
    Announcement,
    #[error("the draw was announced with another seed than the one of this service's master secret")]
    OtherSeed,
    #[error("the public log announced another round than the one that the draw has")]
    OtherRound,
    #[error("the list was sealed when the round was known already")]
    KnownRound,
    #[error("the numbers of the draw cannot be computed")]
    Numbers,
}

/// The sale opens. `round`: of a draw with a beacon. `policy`: the SHA-256 of the policy of the log's witnesses.
pub fn announced(
    keys: &LogKeys,
    draw: DrawId,
    number: i32,
    (rules, currency): (&Rules, Currency),
    times: &Times,
    (round, policy): (Option<&AnnouncedRound>, Option<Hash>),
    at: Timestamp,
) -> Event {
    Event::DrawAnnounced {
        draw: id(draw),
        at: seconds(at),
        lottery: rules.lottery.0.clone(),
        number: number.unsigned_abs().into(),
        rules: published_rules(rules, currency),
        sales_close_at: seconds(times.sales_close_at),
        draw_at: seconds(times.draw_at),
        fairness: round.map_or(FairnessMode::CommitReveal, |_| FairnessMode::Beacon),
        commitment: round.is_none().then(|| keys.commitment(draw)),
        beacon: round.map(beacon),
        policy,
        ticket_log: keys.ticket_log(draw).verifier().to_string(),
    }
}

fn published_rules(rules: &Rules, currency: Currency) -> PublishedRules {
    let tier = |tier: &Tier| {
        let (amount, share, minimum) = match tier.award {
            Award::Fixed(amount) => (Some(amount), None, None),
            Award::Shared { share, minimum } => (None, Some(share.basis_points()), minimum),
        };
        PublishedTier { matches: tier.matches, amount: amount.map(minor), share, minimum: minimum.map(minor) }
    };
    PublishedRules {
        pick: rules.game.pick_size(),
        of: rules.game.of(),
        price: minor(rules.price),
        currency: currency.as_str().to_owned(),
        fund_share: rules.fund_share.basis_points(),
        tiers: rules.prizes.tiers().iter().map(tier).collect(),
    }
}

/// Whether a draw was announced with these rules.
pub fn has_announced(rules: &Rules, currency: Currency, announcement: &[u8]) -> bool {
    match Event::parse(announcement) {
        Ok(Event::DrawAnnounced { lottery, rules: announced, .. }) => {
            lottery == rules.lottery.0 && announced == published_rules(rules, currency)
        }
        _ => false,
    }
}

fn beacon(round: &AnnouncedRound) -> Beacon {
    let chain = &round.chain;
    Beacon { chain: *chain.hash(), public_key: *chain.public_key(), round: round.round }
}

/// The times of an announced draw change, and with them the round of a draw with a beacon.
pub fn rescheduled(draw: DrawId, times: &Times, round: Option<u64>, at: Timestamp) -> Event {
    let (sales_close_at, draw_at) = (seconds(times.sales_close_at), seconds(times.draw_at));
    Event::DrawRescheduled { draw: id(draw), at: seconds(at), sales_close_at, draw_at, round }
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

/// The prizes are fixed. `after`: the index of the entry whose rollover came into the draw as its jackpot. The numbers
/// follow from the signature of the beacon's round, or from the seed if there is none.
pub fn completed(
    keys: &LogKeys,
    (draw, signature): (DrawId, Option<[u8; 48]>),
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
        seed: signature.is_none().then(|| keys.seed(draw).reveal()),
        signature,
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

/// An announced draw is cancelled. Once its list is sealed, the seed is shown if it has one: everybody sees what would have
/// been drawn.
pub fn voided(
    keys: &LogKeys,
    draw: DrawId,
    fairness: Fairness,
    is_sealed: bool,
    reason: &str,
    at: Timestamp,
) -> Event {
    let stage = if is_sealed { Stage::Closed } else { Stage::Open };
    let seed = (is_sealed && fairness == Fairness::CommitReveal).then(|| keys.seed(draw).reveal());
    Event::DrawVoided { draw: id(draw), at: seconds(at), stage, reason: reason.to_owned(), seed }
}

/// Whether the log says that the list was sealed.
pub fn is_sealed(entries: &[Event]) -> bool {
    entries.iter().any(|event| matches!(event, Event::DrawSealed { .. }))
}

/// When the list was sealed, as the log says: a restored backup may have the draw on sale.
pub fn sealed_at(entries: &[Event], close_at: Timestamp) -> Option<Timestamp> {
    entries.iter().find_map(|event| match event {
        Event::DrawSealed { at, by_hand, .. } => Some(beside(timestamp(*at), *by_hand, close_at)),
        _ => None,
    })
}

/// When the numbers were drawn of a draw that the log has completed, as far as anything follows from it.
pub fn drawn_at(entries: &[Event], was_closed_by_hand: bool, draw_at: Timestamp) -> Option<Timestamp> {
    entries.iter().find_map(|event| match event {
        Event::DrawCompleted { at, by_hand: true, .. } if was_closed_by_hand => Some(timestamp(*at)),
        Event::DrawCompleted { at, by_hand, .. } => Some(beside(timestamp(*at), *by_hand, draw_at)),
        _ => None,
    })
}

/// The time of a draw's next entry. The clock may have been set back since the entry before, and a verifier refuses times that
/// go back.
pub fn not_before(entries: &[Event], at: Timestamp) -> Timestamp {
    entries.last().map_or(at, |newest| at.max(timestamp(newest.at())))
}

/// When the draw was completed, as the log says.
pub fn completed_at(entries: &[Event]) -> Option<Timestamp> {
    entries.iter().find_map(|event| match event {
        Event::DrawCompleted { at, .. } => Some(timestamp(*at)),
        _ => None,
    })
}

/// When the draw was cancelled, as the log says.
pub fn voided_at(entries: &[Event]) -> Option<Timestamp> {
    entries.iter().find_map(|event| match event {
        Event::DrawVoided { at, .. } => Some(timestamp(*at)),
        _ => None,
    })
}

/// The log has whole seconds. A time of such a second, on the side of the limit on which it was.
fn beside(at: Timestamp, is_before: bool, limit: Timestamp) -> Timestamp {
    if is_before { at.min(limit - SignedDuration::from_micros(1)) } else { at.max(limit) }
}

/// The heads of ticket logs and of the audit log.
pub fn heads(logs: &[(DrawId, Head)], audit: Option<AuditHead>, at: Timestamp) -> Event {
    let head = |(draw, head): &(DrawId, Head)| DrawHead { draw: id(*draw), orders: head.size, root: head.root };
    Event::DrawHeads { at: seconds(at), heads: logs.iter().map(head).collect(), audit }
}

/// A key signs the log, or does not any more.
pub fn key_changed(change: KeyChange, key: &VerifierKey, at: Timestamp) -> Event {
    let (at, vkey) = (seconds(at), key.to_string());
    match change {
        KeyChange::Rotate => Event::KeyAdded { at, vkey },
        KeyChange::Retire => Event::KeyRetired { at, vkey },
    }
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
    numbers(Entropy::CommitReveal { seed: &seed, sealed }, announcement, rules)
}

/// The winning numbers of a draw with a beacon: a function of the round and of the bytes of the announcement. `last` is
/// the last entry before the seal, which says which round it is: one that appeared after the seal.
pub fn numbers_of_round(
    rules: &Rules,
    announcement: &[u8],
    (last, sealed_at): (&[u8], u64),
    round: &VerifiedRound,
) -> Result<Pick, NumbersFault> {
    let read = |entry| Event::parse(entry).map_err(|_| NumbersFault::Announcement);
    let Event::DrawAnnounced { beacon: Some(beacon), .. } = read(announcement)? else {
        return Err(NumbersFault::Announcement);
    };
    let announced = match read(last)? {
        Event::DrawRescheduled { round, .. } => round,
        Event::DrawAnnounced { .. } => Some(beacon.round),
        _ => None,
    };
    if beacon.chain != *round.chain() || announced != Some(round.round()) {
        return Err(NumbersFault::OtherRound);
    }
    if seconds(round.at()) <= sealed_at {
        return Err(NumbersFault::KnownRound);
    }
    numbers(Entropy::Beacon { round: round.round(), randomness: round.randomness() }, announcement, rules)
}

fn numbers(entropy: Entropy<'_>, announcement: &[u8], rules: &Rules) -> Result<Pick, NumbersFault> {
    let numbers = draw_numbers(entropy, announcement, rules.game.pick_size(), rules.game.of());
    let numbers: Vec<i64> = numbers.map_err(|_| NumbersFault::Numbers)?.into_iter().map(i64::from).collect();
    rules.game.pick(&numbers).map_err(|_| NumbersFault::Numbers)
}

/// Unix seconds. No event is older than 1970.
pub fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or(0)
}

/// The time that an event has in Unix seconds.
pub fn timestamp(seconds: u64) -> Timestamp {
    let at = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.unwrap_or(Timestamp::UNIX_EPOCH)
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
