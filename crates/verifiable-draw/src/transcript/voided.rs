//! The steps about a cancelled draw: why it was cancelled, what refutes that, and what it would have drawn. Before the seal no
//! numbers are fixed, and the sold tickets are refunded. After it a draw is never verified, whatever the reason is.

use super::checks::{Announcement, Checks};
use super::entries::ProvenEntry;
use super::outcome::{numbers_of_round, numbers_of_seed, sealed};
use super::report::{Numbers, utc};
use super::{DrawClaim, OVERDUE_SECONDS, QUORUM_MARGIN_SECONDS, Stopped};
use crate::beacon::BeaconChain;
use crate::encoding::hex;
use crate::event::{Event, FairnessMode, Stage};
use crate::policy::{Policy, QuorumError};

/// Why a draw was cancelled, as far as anybody can check it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoidCause {
    /// Too few witnesses cosigned the seal before the round.
    NoQuorum,
    /// The beacon did not sign the round for a day.
    NoRound,
    /// The sold tickets are not those of the sealed list.
    ListMismatch,
    /// The service lost entries of the public log.
    LogRolledBack,
    /// Any other text: an admin has cancelled it.
    Operator,
}

impl VoidCause {
    /// The cause that an entry names. Witnesses and rounds have no say in the mode `commit_reveal`.
    fn of(reason: &str, fairness: FairnessMode) -> Self {
        match (reason, fairness) {
            ("no_quorum", FairnessMode::Beacon) => Self::NoQuorum,
            ("no_round", FairnessMode::Beacon) => Self::NoRound,
            ("log_rolled_back", FairnessMode::Beacon) => Self::LogRolledBack,
            ("list_mismatch", _) => Self::ListMismatch,
            _ => Self::Operator,
        }
    }
}

pub(super) fn check(
    checks: &mut Checks<'_>,
    end: &ProvenEntry,
    announcement: &Announcement<'_>,
    seal: Option<&ProvenEntry>,
    announced_policy: Option<&Policy>,
) -> Result<(), Stopped> {
    let Event::DrawVoided { at, stage, reason, seed, .. } = &end.event else {
        return Err(checks.report.add_failure("The draw did not end as its entries say."));
    };
    let numbers = match (announcement.fairness, stage, seed, seal.and_then(sealed)) {
        (FairnessMode::CommitReveal, Stage::Closed, Some(seed), Some((list, ..))) => {
            Some(numbers_of_seed(checks, announcement, seed, &list)?)
        }
        (FairnessMode::CommitReveal, Stage::Open, None, _) => None,
        (FairnessMode::Beacon, _, None, _) => match &checks.options.round_signature {
            Some(signature) => Some(numbers_of_round(checks, announcement, signature, None)?),
            None => None,
        },
        _ => {
            return Err(checks.report.add_failure(
                "A cancelled draw shows its seed exactly if it is of the mode commit_reveal and its list was sealed.",
            ));
        }
    };
    let would = match (&numbers, announcement.times.round) {
        (Some(numbers), _) => format!(" It would have drawn {}.", Numbers(numbers)),
        (None, Some(round)) => {
            format!(" Give the signature of round {round} with --signature to see what it would have drawn.")
        }
        (None, None) => String::new(),
    };
    let told = format!("The draw was cancelled {} ({reason}).", utc(*at));
    checks.claim = DrawClaim::Voided { numbers: numbers.clone() };
    let Some(seal) = seal else {
        if announcement.fairness == FairnessMode::Beacon {
            if *at > announcement.times.close {
                return Err(checks
                    .report
                    .add_failure(format!("{told} After the end of the sale, its numbers were final.{would}")));
            }
            checks.check_old_cutoff(end, announcement.times.close, announced_policy, "the draw was cancelled")?;
        }
        checks.report.add_holding(format!(
            "{told} Its list was not sealed, so no numbers were fixed, and what was sold is refunded."
        ));
        return Ok(());
    };
    let cause = VoidCause::of(reason, announcement.fairness);
    if let Some(draw) = &mut checks.draw {
        draw.voided = Some(cause);
    }
    let round = announcement.chain.as_ref().zip(announcement.times.round);
    match (cause, round) {
        (VoidCause::NoQuorum, Some((chain, round))) => no_quorum(checks, (chain, round), *at, seal, announced_policy)?,
        (VoidCause::NoRound, Some((chain, round))) => no_round(checks, (chain, round), *at, numbers.is_some()),
        (VoidCause::ListMismatch, _) => checks.report.add_unchecked(
            "list_mismatch says that the sold tickets are not those of the sealed list. Entry bundles with the sealed root \
             refute it (for files, give them with --tickets).",
        ),
        (VoidCause::LogRolledBack, _) => checks.report.add_unchecked(
            "log_rolled_back says that the service lost entries of the public log. Nothing refutes it: ask for the checkpoints \
             that monitors and witnesses have kept (--checkpoint), whose entries this log must have.",
        ),
        _ => checks.report.add_unchecked(
            "The reason is none that anybody can check: the operator chose to cancel the draw.",
        ),
    }
    Err(checks.report.add_failure(match announcement.fairness {
        FairnessMode::Beacon => {
            format!("{told} Its list was sealed, and its numbers were to come from the announced round.{would}")
        }
        FairnessMode::CommitReveal => {
            format!("{told} The operator, who knows the seed, knew its numbers before it cancelled.{would}")
        }
    }))
}

/// Enough cosignatures of one head that has the seal, early enough before the round, refute it.
fn no_quorum(
    checks: &mut Checks<'_>,
    (chain, round): (&BeaconChain, u64),
    at: u64,
    seal: &ProvenEntry,
    announced_policy: Option<&Policy>,
) -> Result<(), Stopped> {
    let Some(policy) = announced_policy.filter(|policy| policy.requires_witnesses()) else {
        checks.report.add_failure(
            "REFUTED: no_quorum. The draw was announced without witnesses that must cosign its seal.",
        );
        return Ok(());
    };
    let limit = chain.time_of(round).unwrap_or(u64::MAX).saturating_sub(QUORUM_MARGIN_SECONDS);
    if at < limit {
        checks.report.add_failure(format!(
            "REFUTED: no_quorum. The draw was cancelled {}, and cosignatures counted until {}.",
            utc(at),
            utc(limit)
        ));
    }
    for note in checks.heads.notes_above(seal.index) {
        match policy.quorum_times(&note, Some(limit)) {
            Ok(times) => {
                let times: Vec<String> =
                    times.iter().map(|time| format!("{} at {}", time.witness, utc(time.timestamp))).collect();
                checks.report.add_failure(format!(
                    "REFUTED: no_quorum. The quorum has cosigned a head with the seal before {}: {}.",
                    utc(limit),
                    times.join(", ")
                ));
                return Ok(());
            }
            Err(QuorumError::NoQuorum) => {}
            Err(error) => return Err(checks.report.add_failure(format!("A cosignature is wrong: {error}."))),
        }
    }
    checks.report.add_unchecked(format!(
        "no_quorum is not refuted by what was given: no head with the seal (entry {}) was cosigned by the quorum before {}. A \
         checkpoint with such cosignatures, which a witness or a monitor has kept, refutes it: give it with --checkpoint.",
        seal.index,
        utc(limit)
    ));
    Ok(())
}

/// The signature of the round refutes it, and so does a cancellation within a day.
fn no_round(checks: &mut Checks<'_>, (chain, round): (&BeaconChain, u64), at: u64, is_signed: bool) {
    let over = chain.time_of(round).unwrap_or(u64::MAX).saturating_add(OVERDUE_SECONDS);
    if at < over {
        checks.report.add_failure(format!(
            "REFUTED: no_round. The draw was cancelled {}, and the round was to be awaited until {}.",
            utc(at),
            utc(over)
        ));
    }
    if is_signed {
        checks.report.add_failure(format!("REFUTED: no_round. The beacon has signed round {round}."));
        return;
    }
    let path = format!("{}/public/{round}", hex(chain.hash()));
    let server = if *chain == BeaconChain::quicknet() { "https://api.drand.sh/" } else { "/" };
    checks.report.add_unchecked(format!(
        "no_round is not refuted by what was given. Ask any server of the beacon for {server}{path}: if it has the round, give \
         its `signature` with --signature, and it is refuted."
    ));
}
