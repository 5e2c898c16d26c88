//! The policy that says which witnesses cosign the public log, of which entries their cosignatures are kept, and which of
//! these are shown. `verifiable_draw::policy` has the format and the quorum. Nobody is asked here.

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use verifiable_draw::Hash;
use verifiable_draw::checkpoint::Checkpoint;
use verifiable_draw::event::Event;
use verifiable_draw::merkle::Head;
use verifiable_draw::note::SignedNote;
use verifiable_draw::policy::{Policy, PolicyError};
use verifiable_draw::transcript::QUORUM_MARGIN_SECONDS;
use verifiable_draw::vkey::VerifierKey;

/// The witnesses of a policy. A note has room for twice as many signatures, of those of the policies before, too.
pub const MAX_WITNESSES: usize = 30;

/// Why a policy cannot be that of this log.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    #[error(transparent)]
    Syntax(#[from] PolicyError),
    #[error("the policy may have {MAX_WITNESSES} witnesses at most")]
    TooManyWitnesses,
    #[error("the policy must be UTF-8, because it is shown as text")]
    Encoding,
    #[error(
        "the policy has no line of this log, so nobody could verify it with the policy. Add the line\n\n    log {log}\n"
    )]
    OtherLog { log: String },
    #[error(
        "the witness {witness} has no URL that begins with http:// or https://, so it cannot be asked: write \
         `witness NAME {witness} https://…`"
    )]
    NoUrl { witness: String },
}

/// A witness, and where it is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WitnessAddress {
    pub key: VerifierKey,
    /// The submission prefix of C2SP tlog-witness.
    pub url: String,
}

/// A policy, with its exact bytes.
#[derive(Clone, Debug)]
pub struct WitnessPolicy {
    text: String,
    hash: Hash,
    policy: Policy,
    witnesses: Vec<WitnessAddress>,
}

impl WitnessPolicy {
    /// Reads the policy of a log that signs with these keys. While the key is rotated there are two, and one is enough.
    pub fn parse<'k>(
        bytes: &[u8],
        log: impl IntoIterator<Item = &'k VerifierKey>,
    ) -> Result<WitnessPolicy, PolicyFault> {
        let policy = WitnessPolicy::read(bytes)?;
        let mut keys = log.into_iter().peekable();
        let newest = keys.peek().map(|key| key.to_string()).unwrap_or_default();
        if keys.any(|key| policy.policy.logs().iter().any(|known| known.key == *key)) {
            Ok(policy)
        } else {
            Err(PolicyFault::OtherLog { log: newest })
        }
    }

    /// Reads a policy that was accepted before, whatever key the log had then.
    pub fn read(bytes: &[u8]) -> Result<WitnessPolicy, PolicyFault> {
        let policy = Policy::parse(bytes)?;
        let text = std::str::from_utf8(bytes).map_err(|_| PolicyFault::Encoding)?.to_owned();
        if policy.witnesses().len() > MAX_WITNESSES {
            return Err(PolicyFault::TooManyWitnesses);
        }
        let mut witnesses = Vec::with_capacity(policy.witnesses().len());
        for witness in policy.witnesses() {
            let url = witness.url.as_deref().and_then(|url| std::str::from_utf8(url).ok());
            let url = url.filter(|url| url.starts_with("https://") || url.starts_with("http://"));
            let url = url.ok_or_else(|| PolicyFault::NoUrl { witness: witness.key.to_string() })?;
            let (key, url) = (witness.key.clone(), url.trim_end_matches('/').to_owned());
            witnesses.push(WitnessAddress { key, url });
        }
        Ok(WitnessPolicy { text, hash: Sha256::digest(bytes).into(), policy, witnesses })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The SHA-256 of its bytes.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    pub fn witnesses(&self) -> &[WitnessAddress] {
        &self.witnesses
    }

    /// Whether a draw with a beacon needs cosignatures of its seal.
    pub fn requires_witnesses(&self) -> bool {
        self.policy.requires_witnesses()
    }

    /// The head with those of its lines only that a witness of the policy has signed: a login of the database can store
    /// others, and a note with a wrong one is refused as a whole.
    pub fn signed(&self, stored: CosignedHead) -> CosignedHead {
        let is_signed = |line: &str| {
            let alone = CosignedHead { lines: line.to_owned(), ..stored.clone() }.note();
            let Ok(note) = SignedNote::parse(alone.as_bytes()) else { return false };
            self.witnesses.iter().any(|witness| note.verify([&witness.key]).is_ok())
        };
        let lines = stored.lines.split_inclusive('\n').filter(|line| is_signed(line)).collect();
        CosignedHead { lines, ..stored }
    }

    /// The first of these heads that the quorum has cosigned, all of it earlier than `before` if that is given.
    pub fn first_with_quorum<'h>(
        &self,
        heads: &'h [CosignedHead],
        before: Option<u64>,
    ) -> Option<&'h CosignedHead> {
        heads.iter().find(|head| {
            SignedNote::parse(head.note().as_bytes())
                .is_ok_and(|note| self.policy.quorum_times(&note, before).is_ok())
        })
    }
}

/// A head, and the cosignatures of it that are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CosignedHead {
    pub origin: String,
    pub head: Head,
    /// Signature lines of a note, each with its newline.
    pub lines: String,
}

impl CosignedHead {
    /// The head with the cosignatures, without the log's own signature.
    fn note(&self) -> String {
        let checkpoint = Checkpoint { origin: self.origin.clone(), head: self.head, extensions: Vec::new() };
        format!("{checkpoint}\n{}", self.lines)
    }
}

/// Whether an entry proves more if it is known when it was written: the end of the list, and what changes or prevents a
/// draw. The first cosignatures of a head that covers it are kept.
pub fn is_timed(event: &Event) -> bool {
    matches!(event, Event::DrawSealed { .. } | Event::DrawRescheduled { .. } | Event::DrawVoided { .. })
}

/// Which of the cosigned heads that cover an entry, the smallest first, proves most: the first that the quorum cosigned in
/// time; else the first that it cosigned; else the first that has a cosignature.
pub fn best_head<'h>(
    policy: &WitnessPolicy,
    heads: &'h [CosignedHead],
    before: Option<u64>,
) -> Option<&'h CosignedHead> {
    let in_time = policy.first_with_quorum(heads, before);
    let at_all = || policy.first_with_quorum(heads, None);
    in_time.or_else(at_all).or_else(|| heads.iter().find(|head| !head.lines.is_empty()))
}

/// Until when cosignatures of a seal count, if the numbers come from a round of the beacon at this time: nobody knows
/// the numbers then. In Unix seconds.
pub fn cosigned_before(round_at: Timestamp) -> u64 {
    u64::try_from(round_at.as_second()).unwrap_or(0).saturating_sub(QUORUM_MARGIN_SECONDS)
}

/// Whether a draw whose numbers come from the beacon is void for want of a quorum: no head that covers its seal was cosigned
/// by the quorum before the limit.
pub fn lacks_quorum(policy: &WitnessPolicy, heads: &[CosignedHead], round_at: Timestamp) -> bool {
    policy.requires_witnesses() && policy.first_with_quorum(heads, Some(cosigned_before(round_at))).is_none()
}

#[cfg(test)]
mod tests {
    use verifiable_draw::cosignature::Cosigner;
    use verifiable_draw::merkle::hash_leaf;
    use verifiable_draw::vkey::NoteSigner;

    use super::*;

    const LOG: &str = "lottery.example/api/v1/log";
    const ROUND: u64 = 1_900_000_000;

    fn round() -> Timestamp {
        Timestamp::from_second(ROUND as i64).unwrap()
    }

    fn log() -> VerifierKey {
        NoteSigner::new(LOG, &[1; 32]).unwrap().verifier().clone()
    }

    fn witness(n: u8) -> Cosigner {
        Cosigner::new(&format!("witness.example/w{n}"), &[n; 32]).unwrap()
    }

    fn two_of_three() -> String {
        let line = |n| format!("witness w{n} {} https://w{n}.example/\n", witness(n).verifier());
        format!("log {}\n{}{}{}group all-of-us 2 w2 w3 w4\nquorum all-of-us\n", log(), line(2), line(3), line(4))
    }

    fn parsed(text: &str) -> WitnessPolicy {
        WitnessPolicy::parse(text.as_bytes(), [&log()]).unwrap()
    }

    /// The head of this size, cosigned by these witnesses at these times.
    fn cosigned(size: u64, by: &[(u8, u64)]) -> CosignedHead {
        let mut it = CosignedHead {
            origin: LOG.to_owned(),
            head: Head { size, root: hash_leaf(b"x") },
            lines: String::new(),
        };
        let text = it.note().strip_suffix('\n').unwrap().to_owned();
        it.lines = by.iter().map(|(n, at)| witness(*n).signature_line(&text, *at)).collect();
        it
    }

    #[test]
    fn a_policy_names_this_log_and_where_each_witness_is() {
        let it = parsed(&two_of_three());
        assert_eq!(it.text(), two_of_three());
        assert_eq!(it.hash(), <[u8; 32]>::from(Sha256::digest(two_of_three())));
        assert!(it.requires_witnesses());
        assert_eq!(
            it.witnesses()[0],
            WitnessAddress { key: witness(2).verifier().clone(), url: "https://w2.example".to_owned() }
        );
        assert!(!parsed(&format!("log {}\nquorum none\n", log())).requires_witnesses());

        let refused = |text: &str| WitnessPolicy::parse(text.as_bytes(), [&log()]).unwrap_err().to_string();
        let other = NoteSigner::new(LOG, &[9; 32]).unwrap();
        let said = refused(&format!("log {}\nquorum none\n", other.verifier()));
        assert!(said.contains(&format!("\n    log {}\n", log())), "{said}");
        assert!(refused("quorum none\n").contains("Add the line"));
        let nowhere = format!("log {}\nwitness w {}\nquorum w\n", log(), witness(2).verifier());
        assert!(refused(&nowhere).contains("has no URL"), "{nowhere}");
        let gopher = format!("log {}\nwitness w {} gopher://w\nquorum w\n", log(), witness(2).verifier());
        assert!(refused(&gopher).contains("has no URL"), "{gopher}");
        let crowd =
            (2..=32).map(|n| format!("witness w{n} {} https://w\n", witness(n).verifier())).collect::<String>();
        assert!(refused(&format!("log {}\n{crowd}quorum none\n", log())).contains("30 witnesses at most"));
        assert!(refused("quorum\n").contains("line 1 of the policy"));
        let latin = [format!("log {}\n# ", log()).as_bytes(), b"\xe9\nquorum none\n"].concat();
        assert_eq!(WitnessPolicy::parse(&latin, [&log()]).unwrap_err(), PolicyFault::Encoding);
    }

    #[test]
    fn of_the_heads_that_cover_a_seal_the_first_with_a_quorum_in_time_is_shown() {
        let it = parsed(&two_of_three());
        let limit = cosigned_before(round());
        let in_time = limit - 1;
        // The second witness was late, or had gone past the first head, so that only the later one has a quorum in time.
        let heads = [
            cosigned(10, &[(2, in_time)]),
            cosigned(11, &[(2, in_time), (3, limit)]),
            cosigned(12, &[(2, in_time), (3, in_time)]),
            cosigned(13, &[(2, in_time), (3, in_time), (4, in_time)]),
        ];
        let best = |heads: &[CosignedHead]| best_head(&it, heads, Some(limit)).map(|it| it.head.size);
        assert_eq!(best(&heads), Some(12));
        assert_eq!(best(&heads[..2]), Some(11), "a quorum, but late");
        assert_eq!(best(&heads[..1]), Some(10), "no quorum");
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn lines_that_no_witness_of_the_policy_has_signed_are_left_out() {
        let it = parsed(&two_of_three());
        let good = cosigned(10, &[(2, 1), (3, 1)]);
        let of_another_head = cosigned(11, &[(4, 1)]).lines;
        let unknown = cosigned(10, &[(7, 1)]).lines;
        let lines = format!("{of_another_head}no signature\n{}{unknown}", good.lines);
        assert_eq!(it.signed(CosignedHead { lines, ..good.clone() }), good);
    }

    #[test]
    fn cosignatures_count_until_five_seconds_before_the_round() {
        let it = parsed(&two_of_three());
        assert_eq!((cosigned_before(round()), cosigned_before(Timestamp::MIN)), (ROUND - 5, 0));
        let lacks = |by: &[(u8, u64)]| lacks_quorum(&it, &[cosigned(10, by)], round());
        assert!(!lacks(&[(2, ROUND - 6), (4, ROUND - 6)]));
        assert!(lacks(&[(2, ROUND - 6), (4, ROUND - 5)]));
        assert!(lacks(&[(2, ROUND - 60), (2, ROUND - 50)]), "one witness counts once");
        assert!(lacks(&[(2, ROUND - 60), (7, ROUND - 60)]), "of another policy");
        assert!(lacks_quorum(&it, &[], round()));
        // What was kept of another text proves nothing.
        let mut other = cosigned(10, &[(2, 1), (3, 1)]);
        other.head.size = 11;
        assert!(lacks_quorum(&it, &[other], round()));
        assert!(!lacks_quorum(&parsed(&format!("log {}\nquorum none\n", log())), &[], round()));
    }
}
