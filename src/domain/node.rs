//! Which node may serve, and when another one may take its place. A node is one run of a service. The active node has
//! a lease by its own clock; a standby declares it dead by a clock of its own. Decides only: the times are arguments,
//! counted from a start of the machine that nobody can set, and no time of one node is compared with another's.
//!
//! The lease is shorter than the time after which a standby acts, so at the same speed of both clocks the active node
//! has stopped before it is declared dead. Nothing depends on that for money: a node that is marked as dead in the
//! database writes nothing any more.

use jiff::SignedDuration;

use super::id::NodeId;

/// How long a renewal lets the active node work, counted from the moment when it was sent.
pub const LEASE: SignedDuration = SignedDuration::from_secs(4);
/// How long a standby must see one and the same beat before it declares the active node dead.
pub const DEAD_AFTER: SignedDuration = SignedDuration::from_secs(5);
const _: () = assert!(LEASE.as_secs() < DEAD_AFTER.as_secs());
/// The longest time between the answers to two reads of a standby. After a longer one it begins to count anew: the
/// database, or this node, may have stood still, and the active one with it.
const MAX_GAP: SignedDuration = SignedDuration::from_secs(2);
/// How long one transaction may occupy the writer of a node that keeps its lease. A slow database is no reason to give
/// up: a standby would wait for the same one. But a transaction that never ends is ended by a takeover.
pub const LONGEST_TRANSACTION: SignedDuration = SignedDuration::from_secs(30);

/// What the database says of the active node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActiveNode {
    pub node: NodeId,
    pub beat: i64,
    pub dead: bool,
    /// Whether it can be alive as far as the database's server knows: it has sessions there, or the server has just
    /// started, so that it may not have connected again yet.
    pub may_be_connected: bool,
}

/// What a standby concludes from a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// No node is active: this one may claim the place.
    Vacant,
    /// The active node works, or nobody can tell yet that it does not.
    Alive,
    /// The active node may be marked as dead, if it has this beat still.
    Dead(NodeId, i64, DeathSign),
}

/// Why a node is taken for dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeathSign {
    /// Nobody but this node can reach the database.
    Exclusive,
    /// It had no session at the database when this node started.
    NoSession,
    /// Its beat has stood still for [`DEAD_AFTER`].
    SameBeat,
}

/// The reads of a standby.
#[derive(Debug)]
pub struct Watch {
    /// Nobody else can reach this database, so every other node has ended.
    exclusive: bool,
    seen: Option<Sighting>,
    /// Whether the active node has worked since this one started.
    seen_alive: bool,
}

/// One and the same beat, in reads without a gap.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    node: NodeId,
    beat: i64,
    /// When the first read of it was answered.
    first: SignedDuration,
    /// When the last one was.
    last: SignedDuration,
}

impl Watch {
    pub fn new(exclusive: bool) -> Watch {
        Watch { exclusive, seen: None, seen_alive: false }
    }

    /// A read failed, or the connection is a new one: it may lead to another server, which knows less.
    pub fn failed(&mut self) {
        self.seen = None;
    }

    /// A read was sent at `asked` and answered at `answered`.
    pub fn saw(&mut self, active: Option<ActiveNode>, asked: SignedDuration, answered: SignedDuration) -> Verdict {
        let Some(active) = active.filter(|active| !active.dead) else { return Verdict::Vacant };
        let dead = |sign| Verdict::Dead(active.node, active.beat, sign);
        if self.exclusive {
            return dead(DeathSign::Exclusive);
        }
        let first = self.count(&active, answered);
        if !self.seen_alive && !active.may_be_connected {
            // It was gone before this node started, so nobody has to wait. If it lives all the same, it is cut off
            // from the database and cannot write.
            return dead(DeathSign::NoSession);
        }
        if asked - first >= DEAD_AFTER { dead(DeathSign::SameBeat) } else { Verdict::Alive }
    }

    /// Since when this beat is the same, as far as this node knows.
    fn count(&mut self, active: &ActiveNode, answered: SignedDuration) -> SignedDuration {
        let same = self.seen.filter(|seen| (seen.node, seen.beat) == (active.node, active.beat));
        self.seen_alive |= self.seen.is_some() && same.is_none();
        let first = same.filter(|seen| answered - seen.last <= MAX_GAP).map_or(answered, |seen| seen.first);
        self.seen = Some(Sighting { node: active.node, beat: active.beat, first, last: answered });
        first
    }
}

/// When the lease ends that a renewal gives, sent at this time.
pub fn lease_end(sent: SignedDuration) -> SignedDuration {
    sent + LEASE
}

/// Whether the active node may renew its lease: its actors answer, and its writer does not hang. `transaction` is how
/// long the writer's transaction has taken until now.
pub fn may_renew(actors_answer: bool, transaction: Option<SignedDuration>) -> bool {
    actors_answer && transaction.is_none_or(|time| time <= LONGEST_TRANSACTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(7);

    fn at(milliseconds: i64) -> SignedDuration {
        SignedDuration::from_millis(milliseconds)
    }

    fn beat(beat: i64) -> Option<ActiveNode> {
        Some(ActiveNode { node: NODE, beat, dead: false, may_be_connected: true })
    }

    /// Reads each 250 ms, each answered after 10 ms, until this time. Returns the last verdict.
    fn read(watch: &mut Watch, active: Option<ActiveNode>, from: i64, to: i64) -> Verdict {
        let reads = (from..=to).step_by(250);
        reads.map(|time| watch.saw(active, at(time), at(time + 10))).last().unwrap()
    }

    #[test]
    fn one_beat_for_five_seconds_is_death_and_the_lease_has_ended_before() {
        let mut watch = Watch::new(false);
        assert_eq!(read(&mut watch, beat(1), 0, 5_000), Verdict::Alive);
        assert_eq!(read(&mut watch, beat(1), 5_250, 5_250), Verdict::Dead(NODE, 1, DeathSign::SameBeat));
        // The last renewal was sent before the first read of its beat was answered.
        assert!(lease_end(at(10)) < at(5_250));
    }

    #[test]
    fn a_beat_that_changes_is_counted_anew() {
        let mut watch = Watch::new(false);
        for n in 0..20 {
            assert_eq!(read(&mut watch, beat(n), n * 500, n * 500 + 250), Verdict::Alive);
        }
        assert_eq!(read(&mut watch, beat(20), 10_000, 15_000), Verdict::Alive);
        assert_eq!(read(&mut watch, beat(20), 15_250, 15_250), Verdict::Dead(NODE, 20, DeathSign::SameBeat));
    }

    #[test]
    fn another_active_node_is_counted_anew() {
        let mut watch = Watch::new(false);
        read(&mut watch, beat(1), 0, 4_750);
        let other = ActiveNode { node: NodeId(8), ..beat(1).unwrap() };
        assert_eq!(read(&mut watch, Some(other), 5_000, 10_000), Verdict::Alive);
        assert_eq!(
            read(&mut watch, Some(other), 10_250, 10_250),
            Verdict::Dead(NodeId(8), 1, DeathSign::SameBeat)
        );
    }

    #[test]
    fn a_failed_read_and_a_gap_restart_the_counting() {
        let mut watch = Watch::new(false);
        read(&mut watch, beat(1), 0, 4_750);
        watch.failed();
        assert_eq!(read(&mut watch, beat(1), 5_000, 10_000), Verdict::Alive);
        // The database stood still: an answer came late, and the next read finds the same beat.
        let mut watch = Watch::new(false);
        read(&mut watch, beat(1), 0, 1_000);
        assert_eq!(watch.saw(beat(1), at(1_250), at(9_000)), Verdict::Alive);
        assert_eq!(watch.saw(beat(1), at(9_250), at(9_260)), Verdict::Alive);
        // This node stood still after it had asked.
        let mut watch = Watch::new(false);
        read(&mut watch, beat(1), 0, 1_000);
        assert_eq!(watch.saw(beat(1), at(60_000), at(60_010)), Verdict::Alive);
    }

    #[test]
    fn what_counts_is_from_an_answer_to_a_question() {
        let mut watch = Watch::new(false);
        assert_eq!(watch.saw(beat(1), at(0), at(1_500)), Verdict::Alive);
        assert_eq!(read(&mut watch, beat(1), 1_750, 6_250), Verdict::Alive);
        assert_eq!(watch.saw(beat(1), at(6_499), at(6_600)), Verdict::Alive);
        assert_eq!(watch.saw(beat(1), at(6_500), at(6_600)), Verdict::Dead(NODE, 1, DeathSign::SameBeat));
    }

    #[test]
    fn a_place_that_is_empty_or_of_a_dead_node_is_vacant() {
        let mut watch = Watch::new(false);
        assert_eq!(watch.saw(None, at(0), at(1)), Verdict::Vacant);
        let dead = beat(1).map(|active| ActiveNode { dead: true, ..active });
        assert_eq!(watch.saw(dead, at(0), at(1)), Verdict::Vacant);
    }

    #[test]
    fn a_node_without_sessions_is_dead_at_once_only_if_it_was_gone_before_this_one_started() {
        let gone = beat(1).map(|active| ActiveNode { may_be_connected: false, ..active });
        assert_eq!(Watch::new(false).saw(gone, at(0), at(1)), Verdict::Dead(NODE, 1, DeathSign::NoSession));
        // Its last session ends a moment later.
        let mut watch = Watch::new(false);
        read(&mut watch, beat(1), 0, 500);
        assert_eq!(watch.saw(gone, at(750), at(751)), Verdict::Dead(NODE, 1, DeathSign::NoSession));
        // It has worked: it may have lost its sessions for a moment, with this node's.
        let mut watch = Watch::new(false);
        read(&mut watch, beat(0), 0, 500);
        read(&mut watch, beat(1), 750, 1_000);
        watch.failed();
        assert_eq!(read(&mut watch, gone, 1_250, 6_250), Verdict::Alive);
        assert_eq!(read(&mut watch, gone, 6_500, 6_500), Verdict::Dead(NODE, 1, DeathSign::SameBeat));
    }

    #[test]
    fn the_only_service_that_can_reach_the_database_does_not_wait() {
        assert_eq!(Watch::new(true).saw(beat(1), at(0), at(1)), Verdict::Dead(NODE, 1, DeathSign::Exclusive));
    }

    #[test]
    fn a_hanging_actor_or_transaction_loses_the_lease_and_a_slow_one_keeps_it() {
        assert!(may_renew(true, None));
        assert!(may_renew(true, Some(LONGEST_TRANSACTION)));
        assert!(!may_renew(true, Some(LONGEST_TRANSACTION + at(1))));
        assert!(!may_renew(false, None));
    }
}
