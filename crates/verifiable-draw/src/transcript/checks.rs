//! The steps of a verification: keys, entries, announcement, times, policy, seal. What ends the draw is in `outcome`.

use super::entries::{ProvenEntry, Timeline, read_entries};
use super::heads::SignedHeads;
use super::report::utc;
use super::{
    DrawClaim, DrawTranscript, DrawVerification, KeySource, OVERDUE_SECONDS, QUORUM_MARGIN_SECONDS, SealedList,
    Stopped, VerificationReport, VerifiedDraw, VerifierOptions, WholeLog, WitnessedBy, outcome,
};
use crate::Hash;
use crate::beacon::BeaconChain;
use crate::encoding::sha256;
use crate::event::{Beacon, Event, FairnessMode, PublishedRules};
use crate::merkle::Head;
use crate::note::SignedNote;
use crate::policy::{Policy, QuorumError};
use crate::trusted_keys::{FollowedChange, KeyChangeKind, TrustedKeys};
use crate::vkey::{SignatureType, VerifierKey};

/// What a public log's origin ends with, and what the origin of a ticket log has instead.
const PUBLIC_LOG: &str = "log";

pub(super) struct Checks<'a> {
    pub transcript: &'a DrawTranscript,
    pub options: &'a VerifierOptions,
    pub report: VerificationReport,
    pub keys: TrustedKeys,
    followed_key: Option<VerifierKey>,
    pub key_source: KeySource,
    pub heads: SignedHeads,
    /// Whether the round was changed and only the operator says when.
    pub moved: bool,
    pub claim: DrawClaim,
    pub draw: Option<VerifiedDraw>,
}

/// What the draw was announced with, and its newest times.
pub(super) struct Announcement<'e> {
    pub bytes: &'e [u8],
    pub lottery: &'e str,
    /// Among the draws of its lottery.
    pub number: u64,
    pub rules: &'e PublishedRules,
    pub fairness: FairnessMode,
    pub commitment: Option<Hash>,
    policy: Option<Hash>,
    pub ticket_log: VerifierKey,
    pub times: PublishedTimes,
    /// The chain of the beacon, if there is one.
    pub chain: Option<BeaconChain>,
}

/// When the sale ends and the numbers are due.
#[derive(Clone, Copy)]
pub(super) struct PublishedTimes {
    pub close: u64,
    pub draw_at: u64,
    pub round: Option<u64>,
}

pub(super) fn verify(transcript: &DrawTranscript, options: &VerifierOptions) -> DrawVerification {
    let mut checks = Checks {
        transcript,
        options,
        report: VerificationReport::new(options.strict),
        keys: TrustedKeys::default(),
        followed_key: None,
        key_source: KeySource::Operator,
        heads: SignedHeads::default(),
        moved: false,
        claim: DrawClaim::Unfinished,
        draw: None,
    };
    // What stopped it is in the report.
    let _ = checks.run();
    let Checks { report, claim, key_source, followed_key, heads, draw, .. } = checks;
    DrawVerification { report, claim, key_source, followed_key, log_heads: heads.all(), draw }
}

impl<'a> Checks<'a> {
    fn run(&mut self) -> Result<(), Stopped> {
        let announced_policy = self.announced_policy()?;
        self.choose_keys(announced_policy.as_ref())?;
        self.follow_keys()?;
        let transcript = self.transcript;
        let entries =
            read_entries(transcript, &self.keys).map_err(|what| self.report.add_failure(upper(&what)))?;
        let timeline = Timeline::new(&entries).map_err(|what| self.report.add_failure(upper(&what)))?;
        self.report.add_holding(format!(
            "The public log {} has {} entries about draw {}, each proved to be under a head that the log's key signed: \
             {}.",
            timeline.announcement.checkpoint.origin,
            entries.len(),
            transcript.draw_id,
            entries.iter().map(|entry| kind(&entry.event)).collect::<Vec<_>>().join(", ")
        ));
        self.add_heads(&entries)?;
        self.add_kept_checkpoints()?;
        let announcement = self.announcement(&timeline)?;
        self.check_policy(&announcement, announced_policy.as_ref())?;
        self.draw = Some(VerifiedDraw {
            id: transcript.draw_id,
            log_key: timeline.announcement.signed_by.clone(),
            rules: announcement.rules.clone(),
            ticket_log: announcement.ticket_log.clone(),
            sealed: None,
            after: None,
            result: None,
            voided: None,
        });
        let announcement = self.reschedules(announcement, &timeline, announced_policy.as_ref())?;
        let witnessed = match timeline.seal {
            Some(seal) => self.seal(seal, &announcement, announced_policy.as_ref())?,
            None => WitnessedBy::Nobody,
        };
        match timeline.end {
            Some(end) => {
                outcome::check(self, end, &announcement, timeline.seal, announced_policy.as_ref())?;
            }
            None => self.unfinished(&announcement)?,
        }
        let is_one_log = self.check_consistency(announced_policy.as_ref())?;
        self.check_whole_log(&entries)?;
        if let DrawClaim::CommitReveal { witnessed: claimed, .. } | DrawClaim::Beacon { witnessed: claimed, .. } =
            &mut self.claim
        {
            *claimed = if is_one_log { witnessed } else { WitnessedBy::Nobody };
        }
        Ok(())
    }

    /// Whether all heads are proved to be of one log: by consistency proofs, or because the witnesses, who cosign only what
    /// continues the head before, have cosigned them.
    fn check_consistency(&mut self, announced_policy: Option<&Policy>) -> Result<bool, Stopped> {
        let all = self.heads.all();
        let [_, _, ..] = &all[..] else { return Ok(true) };
        let policy = self.options.policy.as_ref().or(announced_policy);
        let sizes = all.iter().map(|head| head.size.to_string()).collect::<Vec<_>>().join(", ");
        let joined = self.heads.are_joined(&self.options.consistency, policy);
        match joined {
            Ok(true) => self.report.add_holding(format!("The heads with {sizes} entries are of one log.")),
            Ok(false) => self.report.add_word_of_operator(format!(
                "Not checked: that the heads with {sizes} entries are of one log (the program can ask for it when it \
                 verifies a URL)."
            )),
            Err(error) => return Err(self.report.add_failure(format!("FORK: {error}."))),
        }
        Ok(joined == Ok(true))
    }

    /// Whether the proof shows all that the log has of the draw. With two announcements, for example, the operator could choose
    /// one of two results.
    fn check_whole_log(&mut self, entries: &[ProvenEntry]) -> Result<(), Stopped> {
        let Some(WholeLog { head, of_draw }) = &self.options.whole_log else {
            self.report.add_unchecked(
                "Not checked: that the log has no other entries about the draw. The program reads all of the log when it \
                 verifies a URL, and so does a monitor.",
            );
            return Ok(());
        };
        if self.heads.all().last() != Some(head) {
            return Err(self.report.add_failure(format!(
                "FORK: the {} entries of the public log that were read are not those of its signed head.",
                head.size
            )));
        }
        if !entries.iter().map(|entry| &entry.index).eq(of_draw) {
            let is_shown = |index: &u64| entries.iter().any(|entry| entry.index == *index);
            let first = of_draw.iter().find(|index| !is_shown(index));
            let first = first.map_or_else(String::new, |index| format!(", such as entry {index}"));
            return Err(self.report.add_failure(format!(
                "The public log has other entries about the draw than the proof{first}: the operator could choose which of \
                 them to show."
            )));
        }
        self.report.add_holding(format!(
            "All {} entries of the log were read: it has no others about the draw.",
            head.size
        ));
        Ok(())
    }

    fn announced_policy(&mut self) -> Result<Option<Policy>, Stopped> {
        let Some(text) = &self.transcript.policy else { return Ok(None) };
        let policy = Policy::parse(text.as_bytes());
        policy
            .map(Some)
            .map_err(|error| self.report.add_failure(format!("The announced witness policy: {error}.")))
    }

    /// The keys that a head of the public log may be signed with.
    fn choose_keys(&mut self, announced: Option<&Policy>) -> Result<(), Stopped> {
        let logs = |policy: Option<&Policy>| {
            policy.into_iter().flat_map(Policy::logs).map(|log| log.key.clone()).collect::<Vec<_>>()
        };
        let own = logs(self.options.policy.as_ref());
        let (keys, key_source) = match &self.options.log_keys[..] {
            [_, ..] if !self.options.keys_of_operator => (self.options.log_keys.clone(), KeySource::Verifier),
            _ if !own.is_empty() => (own, KeySource::Verifier),
            [_, ..] => (self.options.log_keys.clone(), KeySource::Operator),
            [] => (logs(announced), KeySource::Operator),
        };
        (self.keys, self.key_source) = (TrustedKeys::new(keys), key_source);
        if self.keys.is_empty() {
            return Err(self.report.add_failure(
                "The key of the public log is not known, so nothing can be verified: give it with --key (it is `log` of \
                 GET /api/v1/keys), and compare it with what others got.",
            ));
        }
        Ok(())
    }

    /// Trusts the keys that the known ones vouch for, if that is wanted.
    fn follow_keys(&mut self) -> Result<(), Stopped> {
        for proof in &self.options.key_changes {
            let followed =
                self.keys.follow(proof).map_err(|error| self.report.add_failure(upper(&error.to_string())))?;
            let Some(FollowedChange { index, change, signed_by, checkpoint, note }) = followed else { continue };
            self.add_head(&checkpoint.head, &note)?;
            self.report.add_holding(match change {
                KeyChangeKind::Added(key) => {
                    let told = format!(
                        "The key {signed_by} vouches for the key {key}: it has signed a head of the log with entry {index}, \
                         which adds this key."
                    );
                    self.followed_key = Some(key);
                    told
                }
                KeyChangeKind::Retired(key) => format!("Entry {index} of the log retires the key {key}."),
            });
        }
        Ok(())
    }

    pub fn add_heads(&mut self, entries: &[ProvenEntry]) -> Result<(), Stopped> {
        entries.iter().try_for_each(|entry| self.add_head(&entry.checkpoint.head, &entry.note))
    }

    /// Checkpoints that were kept elsewhere are heads of the same log, or there are two logs.
    fn add_kept_checkpoints(&mut self) -> Result<(), Stopped> {
        for note in &self.options.checkpoints {
            let opened = self.keys.open(note).map(|(checkpoint, _)| checkpoint.head);
            let head = opened.map_err(|error| {
                self.report.add_failure(format!("A checkpoint that was given is not one of this log: {error}."))
            })?;
            self.add_head(&head, note)?;
        }
        Ok(())
    }

    fn add_head(&mut self, head: &Head, note: &SignedNote) -> Result<(), Stopped> {
        self.heads.add(head, note).map_err(|size| {
            self.report.add_failure(format!(
                "FORK: two heads of the public log with {size} entries were signed, and they differ."
            ))
        })
    }

    fn announcement<'e>(&mut self, timeline: &Timeline<'e>) -> Result<Announcement<'e>, Stopped> {
        let entry = timeline.announcement;
        let Event::DrawAnnounced {
            draw,
            at,
            lottery,
            number,
            rules,
            sales_close_at,
            draw_at,
            fairness,
            commitment,
            beacon,
            policy,
            ticket_log,
        } = &entry.event
        else {
            return Err(self.report.add_failure("The first entry is not the announcement of the draw."));
        };
        rules
            .check()
            .map_err(|error| self.report.add_failure(format!("The announced rules are not possible: {error}.")))?;
        self.report.add_holding(format!(
            "It is draw {number} of the lottery {lottery}: {} of {}, announced {} with rules that are possible.",
            rules.pick,
            rules.of,
            utc(*at)
        ));
        let ticket_log = self.ticket_log(&entry.checkpoint.origin, *draw, ticket_log)?;
        let times = PublishedTimes {
            close: *sales_close_at,
            draw_at: *draw_at,
            round: beacon.as_ref().map(|beacon| beacon.round),
        };
        if *at > times.close {
            return Err(self.report.add_failure("The draw was announced after the end of its sale."));
        }
        let chain = match (fairness, commitment, beacon) {
            (FairnessMode::CommitReveal, Some(_), None) => {
                self.report.add_holding("Mode commit_reveal: the announcement commits to a seed.");
                None
            }
            (FairnessMode::Beacon, None, Some(beacon)) => Some(self.chain(beacon)?),
            _ => {
                return Err(self.report.add_failure(
                    "The announcement must have a commitment in the mode commit_reveal, or a beacon in the mode beacon.",
                ));
            }
        };
        self.check_times(&times, chain.as_ref())?;
        Ok(Announcement {
            bytes: &entry.bytes,
            lottery,
            number: *number,
            rules,
            fairness: *fairness,
            commitment: *commitment,
            policy: *policy,
            ticket_log,
            times,
            chain,
        })
    }

    /// The key of the ticket log, which is named like it: below the same address as the public log, with the draw's id.
    fn ticket_log(&mut self, public_origin: &str, draw: u64, vkey: &str) -> Result<VerifierKey, Stopped> {
        let expected =
            public_origin.strip_suffix(PUBLIC_LOG).map(|base| format!("{base}draws/{draw}/{PUBLIC_LOG}"));
        let key = VerifierKey::parse(vkey)
            .map_err(|error| self.report.add_failure(format!("The announced key of the ticket log: {error}.")))?;
        if key.signature_type() != SignatureType::Ed25519 || Some(key.name()) != expected.as_deref() {
            return Err(self.report.add_failure(format!(
                "The announced key of the ticket log is not that of draw {draw} of this service: {vkey}."
            )));
        }
        self.report.add_holding(format!("The list of its orders has a key of its own: {}.", key.name()));
        Ok(key)
    }

    /// The chain of rounds that the announcement names, if it is one that the verifier trusts.
    fn chain(&mut self, beacon: &Beacon) -> Result<BeaconChain, Stopped> {
        let quicknet = BeaconChain::quicknet();
        let mut known = [&quicknet].into_iter().chain(&self.options.chains);
        let chain = known.find(|chain| chain.hash() == &beacon.chain).cloned();
        let chain = chain.filter(|chain| chain.public_key() == &beacon.public_key);
        let chain = chain.ok_or_else(|| {
            self.report.add_failure(
                "The announced beacon is not drand's quicknet: if you trust it, give what its /info says with --beacon.",
            )
        })?;
        self.report.add_holding("Mode beacon: the numbers come from a chain of rounds that you trust.");
        Ok(chain)
    }

    fn check_times(&mut self, times: &PublishedTimes, chain: Option<&BeaconChain>) -> Result<(), Stopped> {
        if times.close > times.draw_at {
            return Err(self.report.add_failure("The numbers were to be drawn before the end of the sale."));
        }
        match (chain, times.round) {
            (None, None) => Ok(()),
            (Some(chain), Some(round)) if round == chain.round_at(times.draw_at) => {
                self.report.add_holding(format!(
                    "Round {round} is the first at or after {}, and the sale was to end {}.",
                    utc(times.draw_at),
                    utc(times.close)
                ));
                Ok(())
            }
            (None, Some(_)) => Err(self.report.add_failure("A draw without a beacon has no round.")),
            (Some(_), _) => Err(self
                .report
                .add_failure("The announced round is not the first one at or after the time of the draw.")),
        }
    }

    fn check_policy(&mut self, announcement: &Announcement<'_>, policy: Option<&Policy>) -> Result<(), Stopped> {
        let text = self.transcript.policy.as_deref();
        match (announcement.policy, text) {
            (None, None) => self.report.add_unchecked("No witnesses were announced."),
            (Some(hash), Some(text)) if hash == sha256(&[text.as_bytes()]) => {
                let witnesses = policy.map_or(0, |policy| policy.witnesses().len());
                self.report
                    .add_holding(format!("The witness policy is the announced one, with {witnesses} witnesses."));
            }
            _ => return Err(self.report.add_failure("The witness policy of the proof is not the announced one.")),
        }
        Ok(())
    }

    /// Takes the newest times that were logged before the seal.
    fn reschedules<'e>(
        &mut self,
        mut announcement: Announcement<'e>,
        timeline: &Timeline<'_>,
        announced_policy: Option<&Policy>,
    ) -> Result<Announcement<'e>, Stopped> {
        for entry in &timeline.reschedules {
            let Event::DrawRescheduled { at, sales_close_at, draw_at, round, .. } = &entry.event else { continue };
            let old_close = announcement.times.close;
            let times = PublishedTimes { close: *sales_close_at, draw_at: *draw_at, round: *round };
            self.check_times(&times, announcement.chain.as_ref())?;
            if announcement.fairness == FairnessMode::Beacon {
                if *at > old_close {
                    return Err(self.report.add_failure(format!(
                        "The times were changed {}, after the end of the sale: the old round was about to be known.",
                        utc(*at)
                    )));
                }
                let is_seen =
                    self.check_old_cutoff(entry, old_close, announced_policy, "the round was changed")?;
                self.moved |= !is_seen;
            }
            announcement.times = times;
        }
        if let (n @ 1.., PublishedTimes { close, draw_at, .. }) = (timeline.reschedules.len(), announcement.times)
        {
            self.report.add_holding(format!(
                "Its times were changed {n} times before the seal: the sale was to end {}, and the draw to be {}.",
                utc(close),
                utc(draw_at)
            ));
        }
        Ok(announcement)
    }

    /// In the mode `beacon`, a change of the round and a cancellation count only before the old end of the sale. Returns whether
    /// witnesses saw it before then.
    pub fn check_old_cutoff(
        &mut self,
        entry: &ProvenEntry,
        old_close: u64,
        announced_policy: Option<&Policy>,
        what: &str,
    ) -> Result<bool, Stopped> {
        let policy =
            self.options.policy.as_ref().or(announced_policy).filter(|policy| policy.requires_witnesses());
        match policy.map_or(Err(QuorumError::NoQuorum), |policy| policy.quorum_times(&entry.note, Some(old_close)))
        {
            Ok(_) => {
                self.report.add_holding(format!("Witnesses saw before {} that {what}.", utc(old_close)));
                Ok(true)
            }
            Err(QuorumError::NoQuorum) => {
                self.report.add_word_of_operator(format!(
                    "That {what} before {} is the operator's word: the proof has no cosignatures from then.",
                    utc(old_close)
                ));
                Ok(false)
            }
            Err(error) => Err(self.report.add_failure(format!("A cosignature is wrong: {error}."))),
        }
    }

    fn seal(
        &mut self,
        entry: &ProvenEntry,
        announcement: &Announcement<'_>,
        announced_policy: Option<&Policy>,
    ) -> Result<WitnessedBy, Stopped> {
        let Event::DrawSealed { at, orders, tickets, root, by_hand, .. } = &entry.event else {
            return Err(self.report.add_failure("The entry is not a seal."));
        };
        let head = Head { size: *orders, root: *root };
        let is_possible = tickets >= orders && (*orders > 0 || (*tickets == 0 && head == Head::empty()));
        if !is_possible {
            return Err(self.report.add_failure("The seal has fewer tickets than orders, or a root of nothing."));
        }
        let PublishedTimes { close, round, .. } = announcement.times;
        // Parts of a second are dropped, so both may be the same second.
        if if *by_hand { *at > close } else { *at < close } {
            return Err(self.report.add_failure(format!(
                "The list was sealed {}, which does not fit the published end of the sale, {}.",
                utc(*at),
                utc(close)
            )));
        }
        let round_time = match (&announcement.chain, round) {
            (Some(chain), Some(round)) => chain.time_of(round).ok(),
            _ => None,
        };
        if let Some(round_time) = round_time.filter(|round_time| at >= round_time) {
            return Err(self.report.add_failure(format!(
                "The list was sealed {}, when the round of {} was known already.",
                utc(*at),
                utc(round_time)
            )));
        }
        self.report.add_holding(format!(
            "The list was sealed {}: {orders} orders with {tickets} tickets{}.",
            utc(*at),
            if *by_hand { ", before the published time" } else { "" }
        ));
        if let Some(draw) = &mut self.draw {
            draw.sealed = Some(SealedList { head, tickets: *tickets });
        }
        let before = round_time.map(|time| time.saturating_sub(QUORUM_MARGIN_SECONDS));
        self.witnesses(entry, before, announced_policy)
    }

    /// Who has cosigned the head that covers the seal, in the mode `beacon` early enough before the round.
    fn witnesses(
        &mut self,
        seal: &ProvenEntry,
        before: Option<u64>,
        announced_policy: Option<&Policy>,
    ) -> Result<WitnessedBy, Stopped> {
        let mut witnessed = WitnessedBy::Nobody;
        let announced = announced_policy.map(|policy| (policy, WitnessedBy::OperatorsChoice));
        let own = self.options.policy.as_ref().map(|policy| (policy, WitnessedBy::OwnChoice));
        for (policy, by) in announced.into_iter().chain(own).filter(|(policy, _)| policy.requires_witnesses()) {
            let whose = if by == WitnessedBy::OwnChoice { "your policy" } else { "the announced policy" };
            let limit = before.map_or_else(String::new, |before| format!(" before {}", utc(before)));
            match policy.quorum_times(&seal.note, before) {
                Ok(times) => {
                    witnessed = by;
                    let times = times.iter().map(|time| format!("{} at {}", time.witness, utc(time.timestamp)));
                    self.report.add_holding(format!(
                        "The quorum of {whose} has cosigned a head with the seal{limit}: {}.",
                        times.collect::<Vec<_>>().join(", ")
                    ));
                }
                // The steps after it show what was drawn, or would have been.
                Err(QuorumError::NoQuorum) if by == WitnessedBy::OwnChoice => {
                    self.report.add_failure(format!(
                        "The quorum of your policy has not cosigned the head with the seal{limit}."
                    ));
                }
                Err(QuorumError::NoQuorum) => self.report.add_word_of_operator(format!(
                    "The quorum of {whose} has not cosigned the head with the seal{limit}: without it, the seal is the \
                     operator's word."
                )),
                Err(error) => return Err(self.report.add_failure(format!("A cosignature is wrong: {error}."))),
            }
        }
        Ok(witnessed)
    }

    fn unfinished(&mut self, announcement: &Announcement<'_>) -> Result<(), Stopped> {
        let due = announcement.times.draw_at.saturating_add(OVERDUE_SECONDS);
        if self.options.now.is_some_and(|now| now > due) {
            return Err(self.report.add_failure(format!(
                "The numbers were due {}, and the log has neither a result nor a cancellation.",
                utc(announcement.times.draw_at)
            )));
        }
        self.report.add_unchecked(format!(
            "The draw has not ended: its numbers are due {}.",
            utc(announcement.times.draw_at)
        ));
        Ok(())
    }
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::DrawAnnounced { .. } => "announced",
        Event::DrawRescheduled { .. } => "rescheduled",
        Event::DrawSealed { .. } => "sealed",
        Event::DrawCompleted { .. } => "completed",
        Event::DrawVoided { .. } => "cancelled",
        Event::DrawHeads { .. } | Event::KeyAdded { .. } | Event::KeyRetired { .. } => "other",
    }
}

/// A sentence begins with a capital letter.
fn upper(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}
