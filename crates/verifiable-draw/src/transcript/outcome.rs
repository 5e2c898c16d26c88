//! The steps about what ended the draw: the numbers, the prizes and the jackpot of a completed draw. `voided` has those of a
//! cancelled one.

use super::checks::{Announcement, Checks};
use super::entries::{ProvenEntry, Timeline, read_entries};
use super::report::{Numbers, utc};
use super::{DrawClaim, DrawResult, Stopped, WitnessedBy, completed_draw, voided};
use crate::Hash;
use crate::event::{Event, FairnessMode, PublishedTierResult};
use crate::keys::DrawSeed;
use crate::merkle::Head;
use crate::numbers::{Entropy, draw_numbers};
use crate::policy::Policy;

pub(super) fn check(
    checks: &mut Checks<'_>,
    end: &ProvenEntry,
    announcement: &Announcement<'_>,
    seal: Option<&ProvenEntry>,
    announced_policy: Option<&Policy>,
) -> Result<(), Stopped> {
    match (&end.event, seal) {
        (Event::DrawCompleted { .. }, Some(seal)) => completed(checks, end, announcement, seal),
        _ => voided::check(checks, end, announcement, seal, announced_policy),
    }
}

/// Orders, tickets and whether an admin ended the sale.
pub(super) fn sealed(seal: &ProvenEntry) -> Option<(Head, u64, bool)> {
    match &seal.event {
        Event::DrawSealed { orders, tickets, root, by_hand, .. } => {
            Some((Head { size: *orders, root: *root }, *tickets, *by_hand))
        }
        _ => None,
    }
}

fn completed(
    checks: &mut Checks<'_>,
    end: &ProvenEntry,
    announcement: &Announcement<'_>,
    seal: &ProvenEntry,
) -> Result<(), Stopped> {
    let (
        Event::DrawCompleted {
            seed,
            signature,
            winning_numbers,
            prize_fund,
            jackpot,
            tiers,
            rollover,
            after,
            by_hand,
            ..
        },
        Some((list, tickets, sealed_by_hand)),
    ) = (&end.event, sealed(seal))
    else {
        return Err(checks.report.add_failure("The draw did not end as its entries say."));
    };
    let numbers = match (announcement.fairness, seed, signature) {
        (FairnessMode::CommitReveal, Some(seed), None) => {
            check_moment(checks, end.event.at(), announcement, sealed_by_hand, *by_hand)?;
            numbers_of_seed(checks, announcement, seed, &list)?
        }
        (FairnessMode::Beacon, None, Some(signature)) => {
            numbers_of_round(checks, announcement, signature, Some(end.event.at()))?
        }
        _ => {
            return Err(checks.report.add_failure(
                "A completed draw shows its seed in the mode commit_reveal, and the round's signature in the mode beacon.",
            ));
        }
    };
    if numbers != *winning_numbers {
        return Err(checks.report.add_failure(format!(
            "The published numbers are {}, but {} follow from what was published.",
            Numbers(winning_numbers),
            Numbers(&numbers)
        )));
    }
    checks.report.add_holding(format!("The numbers follow from what was published: {}.", Numbers(&numbers)));
    check_prizes(checks, announcement, tickets, *jackpot, tiers, (*prize_fund, *rollover))?;
    if let Some(draw) = &mut checks.draw {
        draw.after = *after;
        let winners = tiers.iter().map(|tier| tier.winners).collect();
        draw.result = Some(DrawResult { winning_numbers: numbers, winners });
    }
    check_jackpot(checks, end, announcement, *after, *jackpot)?;
    checks.claim = match announcement.fairness {
        FairnessMode::CommitReveal => {
            DrawClaim::CommitReveal { by_hand: *by_hand, witnessed: WitnessedBy::Nobody }
        }
        FairnessMode::Beacon => DrawClaim::Beacon { moved: checks.moved, witnessed: WitnessedBy::Nobody },
    };
    Ok(())
}

/// In the mode `commit_reveal` the operator knows the numbers that each moment would give.
fn check_moment(
    checks: &mut Checks<'_>,
    completed_at: u64,
    announcement: &Announcement<'_>,
    sealed_by_hand: bool,
    by_hand: bool,
) -> Result<(), Stopped> {
    let draw_at = announcement.times.draw_at;
    match by_hand {
        true => {
            checks.report.add_word_of_operator(format!(
                "An admin ended the sale or drew the numbers by hand, before the published time ({}): the operator chose \
                 the moment.",
                utc(draw_at)
            ));
            Ok(())
        }
        false if sealed_by_hand => {
            Err(checks.report.add_failure("The sale was ended by hand, and the result does not say so."))
        }
        false if completed_at < draw_at => Err(checks.report.add_failure(format!(
            "The numbers were drawn before the published time ({}), and the result does not say so.",
            utc(draw_at)
        ))),
        false => Ok(()),
    }
}

pub(super) fn numbers_of_seed(
    checks: &mut Checks<'_>,
    announcement: &Announcement<'_>,
    seed: &Hash,
    list: &Head,
) -> Result<Vec<u8>, Stopped> {
    let commitment = DrawSeed::new(*seed).commitment(announcement.ticket_log.name());
    if announcement.commitment != Some(commitment) {
        return Err(checks.report.add_failure("The seed is not the one that was committed to."));
    }
    checks.report.add_holding("The seed is the one that was committed to before the sale.");
    draw(checks, Entropy::CommitReveal { seed, sealed: list }, announcement)
}

/// The numbers of a round. `at`: when the result was logged.
pub(super) fn numbers_of_round(
    checks: &mut Checks<'_>,
    announcement: &Announcement<'_>,
    signature: &[u8; 48],
    at: Option<u64>,
) -> Result<Vec<u8>, Stopped> {
    let (Some(chain), Some(round)) = (&announcement.chain, announcement.times.round) else {
        return Err(checks.report.add_failure("The draw has no round."));
    };
    let verified = chain.verify(round, signature).and_then(|randomness| Ok((randomness, chain.time_of(round)?)));
    let (randomness, round_time) = verified.map_err(|error| {
        checks.report.add_failure(format!("The signature of the beacon does not hold: {error}."))
    })?;
    if at.is_some_and(|at| at < round_time) {
        return Err(checks.report.add_failure("The result is older than the round that it comes from."));
    }
    checks.report.add_holding(format!("The beacon has signed round {round}, of {}.", utc(round_time)));
    draw(checks, Entropy::Beacon { round, randomness: &randomness }, announcement)
}

/// Ascending, as results list them.
fn draw(
    checks: &mut Checks<'_>,
    entropy: Entropy<'_>,
    announcement: &Announcement<'_>,
) -> Result<Vec<u8>, Stopped> {
    let drawn = draw_numbers(entropy, announcement.bytes, announcement.rules.pick, announcement.rules.of);
    let mut numbers =
        drawn.map_err(|error| checks.report.add_failure(format!("The numbers cannot be computed: {error}.")))?;
    numbers.sort_unstable();
    Ok(numbers)
}

fn check_prizes(
    checks: &mut Checks<'_>,
    announcement: &Announcement<'_>,
    tickets: u64,
    jackpot: u64,
    tiers: &[PublishedTierResult],
    (prize_fund, rollover): (u64, u64),
) -> Result<(), Stopped> {
    let rules = announcement.rules;
    let are_those_of_rules = tiers.iter().map(|tier| tier.matches).eq(rules.tiers.iter().map(|tier| tier.matches));
    let winners: Vec<u64> = tiers.iter().map(|tier| tier.winners).collect();
    let total = winners.iter().try_fold(0u64, |total, winners| total.checked_add(*winners));
    if !are_those_of_rules || total.is_none_or(|total| total > tickets) {
        return Err(checks.report.add_failure(
            "The tiers of the result are not those of the rules, or have more winners than tickets.",
        ));
    }
    let computed = tickets.checked_mul(rules.price).and_then(|sales| rules.prizes(sales, jackpot, &winners).ok());
    let Some(computed) = computed else {
        return Err(checks.report.add_failure("The money of the draw does not fit into 64 bits."));
    };
    let published: Vec<u64> = tiers.iter().map(|tier| tier.prize).collect();
    if computed.prizes != published || (computed.prize_fund, computed.rollover) != (prize_fund, rollover) {
        return Err(checks.report.add_failure(format!(
            "The prizes do not follow from the rules: of {tickets} tickets and a jackpot of {jackpot}, the fund is {}, the \
             prizes of the tiers are {:?} and {} rolls over.",
            computed.prize_fund, computed.prizes, computed.rollover
        )));
    }
    checks.report.add_holding(format!(
        "Prize fund ({prize_fund}), prizes and rollover ({rollover}) follow from the rules, {tickets} tickets and the \
         published winners."
    ));
    Ok(())
}

/// What came in must be the rollover of the entry that the result names.
fn check_jackpot(
    checks: &mut Checks<'_>,
    end: &ProvenEntry,
    announcement: &Announcement<'_>,
    after: Option<u64>,
    jackpot: u64,
) -> Result<(), Stopped> {
    let (after, previous) = match (after, &checks.options.previous) {
        (None, _) if jackpot == 0 && announcement.number == 1 => return Ok(()),
        (None, _) if jackpot == 0 => {
            checks.report.add_unchecked(
                "Not checked: that no earlier draw of this lottery has left a jackpot. The result names none; each draw's own \
                 proof has its rollover.",
            );
            return Ok(());
        }
        (None, _) => {
            checks.report.add_word_of_operator(format!(
                "The jackpot of {jackpot} came from before the log began: that is the operator's word."
            ));
            return Ok(());
        }
        (Some(after), None) => {
            checks.report.add_unchecked(format!(
                "Not checked: the jackpot of {jackpot} is the rollover of entry {after} of the log (give the proof of the \
                 lottery's previous draw with --previous)."
            ));
            return Ok(());
        }
        (Some(after), Some(previous)) => (after, previous),
    };
    let wrong = |what: &str| format!("The jackpot of {jackpot} does not come from the previous draw: {what}.");
    let entries = read_entries(previous, &checks.keys).map_err(|what| checks.report.add_failure(wrong(&what)))?;
    checks.add_heads(&entries)?;
    let timeline = Timeline::new(&entries).map_err(|what| checks.report.add_failure(wrong(&what)))?;
    let Event::DrawAnnounced { lottery, .. } = &timeline.announcement.event else {
        return Err(checks.report.add_failure(wrong("it was not announced")));
    };
    let ended = timeline.end.filter(|entry| entry.index == after && entry.index < end.index);
    let completed = ended.and_then(|entry| completed_draw(&entry.event));
    let is_same = lottery == announcement.lottery && completed.is_some_and(|(_, rollover)| rollover == jackpot);
    if !is_same {
        return Err(checks.report.add_failure(wrong(&format!(
            "entry {after} of the log must complete a draw of {} with this rollover",
            announcement.lottery
        ))));
    }
    checks.report.add_holding(format!(
        "The jackpot of {jackpot} is what draw {} of this lottery rolled over (entry {after}).",
        previous.draw_id
    ));
    Ok(())
}
