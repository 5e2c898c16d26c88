//! Counts the events of the histories. A simulation that silently stopped doing something would prove nothing
//! about it. This file knows only the names of the events.

macro_rules! happenings {
    ($($name:ident => $text:literal,)*) => {
        /// An event that the histories must cover.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Seen { $($name,)* }

        const ALL: &[(Seen, &str)] = &[$((Seen::$name, $text),)*];
    };
}

happenings! {
    PlacedOrder => "orders paid from the wallet at once",
    Reserved => "orders reserved",
    SeveralLines => "orders of several lines written",
    PoolSold => "pool tickets sold",
    PoolTakenAgain => "pool tickets requested that another player holds or owns",
    PoolEmpty => "the pool was empty",
    TooManyReservations => "orders refused because the player has too many open reservations",
    InvalidPick => "invalid numbers refused",
    NotOpen => "orders refused because the sale is not open",
    InsufficientFunds => "wallets with too little",
    PaidByWallet => "reservations paid from the wallet",
    PaidByCard => "reservations paid by card",
    CardDeclined => "cards declined",
    CardTooLate => "card money that came too late and went to the wallet",
    LateAfterPaid => "successes of a charge after its payment was paid in another way",
    LateDuringAnother => "successes of a charge while another one is under way",
    LateAfterFailed => "successes of a charge after it was called failed",
    ChargeWaits => "charges that wait for an admin",
    ChargeEndedByAdmin => "charges ended by an admin",
    ChargeEndedBefore => "charges that an admin wanted to end in another way than they had ended",
    ProviderLater => "charges whose result the provider reported later",
    NoticeRepeated => "repeated reports of the provider without an effect",
    ChargeLost => "results of charges that were lost in a crash and that the provider does not report by itself",
    FoundPaid => "charges that were found to be paid when the provider was asked",
    KeyUsedUp => "idempotency keys of charges used up that the provider did not know",
    CallRefused => "calls of the provider refused because the key was used up",
    CallLate => "calls of killed processes that arrived late and were carried out",
    ChargeAgain => "ends of charges submitted again",
    Deposited => "deposits",
    SetAside => "withdrawals held",
    PaidOut => "withdrawals paid out",
    PutBack => "withdrawals returned to the wallet",
    VerdictAgain => "decisions about a withdrawal that had ended",
    GivenBack => "tickets returned",
    GivenBackLast => "reservations that ended when their last ticket was returned",
    ReturningNotPaid => "payments refused while the return of a ticket was in flight",
    ExpiredByClock => "reservations that expired",
    ExpiredByClose => "reservations expired by the end of the sale",
    ExpiryDuringPay => "reservations whose time ended while being paid",
    ExpiredAfterPay => "… and expired because the payment was refused",
    PaidAfterUntil => "… and were paid",
    Barrier => "ends of a sale that waited for records in flight",
    ReplayOnSale => "replays answered while the draw is on sale",
    ReplayOver => "replays answered after the sale",
    ReplayInBooks => "replays found by the batch state",
    ReplayOfPay => "replays of a payment",
    ReplayOfDeposit => "replays of a deposit",
    ReplayOfWithdrawal => "replays of a withdrawal",
    KeyReused => "keys used for another request",
    KeyInProgress => "keys whose first request still runs",
    KeyOnItsWay => "keys whose record is in flight after its client has disconnected",
    Overloaded => "records refused at their deadline",
    InFlightFull => "orders refused because too many of their draw were in flight",
    QueueFull => "records refused by a full queue",
    BatchOfMany => "batches of several records",
    FromMemory => "batches written from the cache, in one round trip",
    Outdated => "caches that differed from the database",
    KeyMet => "keys that were treated as new and existed",
    LockWaited => "batches that waited for a payment locked by another transaction",
    LateCommitted => "commits that arrived after their connection was lost",
    LateRefused => "commits that arrived too late",
    PaidAside => "payments by another program",
    BatchLost => "batches rolled back and retried",
    PrefetchLost => "connections lost while a batch was reading",
    ConnectFailed => "connections that could not be opened",
    AskedInVain => "questions about a commit that the database did not answer",
    BatchRefused => "batches refused because of one bad record",
    UnknownCommitted => "unknown commits that were committed",
    UnknownLost => "unknown commits that were not committed",
    WriterForgotten => "rows of lost connections that the database forgot",
    StepLost => "steps rolled back and retried",
    StepAway => "steps given up because the database was unavailable",
    CrashBeforeCommit => "crashes before a commit",
    CrashAfterCommit => "crashes between a commit and its reply",
    ActorLost => "actors lost without their process",
    AnswersLost => "answers lost with their actor",
    HungUp => "clients that disconnected",
    Unreachable => "draws that could not be loaded",
    SecondProcess => "second processes",
    DeclaredDead => "takeovers: the processes before are dead and go on",
    DeadEnded => "dead processes that found it out",
    NotCharged => "cards that a dead process did not charge",
    TakeoverRace => "draws taken over by another process while being loaded",
    StaleRecord => "records of an older epoch refused",
    StaleStep => "steps of an older epoch refused",
    Contradiction => "actors that gave up because their memory differed from the database",
    Reloaded => "draws loaded",
    ReloadCompared => "memories compared with a reload",
    ReloadSettling => "draws loaded in the middle of their settlement",
    ReloadCancelling => "draws loaded in the middle of their refunds",
    ClockJump => "clocks that jumped over a draw's whole sale",
    WokeLate => "timers that fired late",
    Rescheduled => "draws rescheduled",
    TimesWaited => "changes of times that waited for a step",
    StepWaited => "steps that waited for another step",
    ChargeWaited => "ends of charges that waited for new times",
    ChargeExtended => "tickets paid by card between the old and the new cut-off",
    PoolMade => "pools made during the sale",
    PoolLost => "pools rolled back",
    PoolUnknown => "pools whose outcome was unknown",
    PoolStale => "pools refused because the epoch had passed",
    Sealed => "lists sealed",
    ConductAgain => "draws conducted again",
    StepRefused => "steps that the state does not allow",
    Completed => "draws completed",
    Cancelled => "draws cancelled",
    CancelledUnopened => "draws cancelled because they were never opened",
    Refunded => "payments refunded",
    PrizeFixed => "fixed prizes paid",
    PrizeShared => "shares paid",
    PrizeMinimum => "minimums paid",
    FromReserve => "draws whose guaranteed prizes needed the reserve",
    RolledOver => "draws that left a jackpot for the next draw",
    RolledIn => "draws that received a jackpot",
    StepsOfSettlement => "settlements in several steps",
    StepsOfRefund => "refunds in several steps",
}

/// The number of each event, and the sizes of the run.
#[derive(Clone)]
pub struct Coverage {
    pub histories: u64,
    pub steps: u64,
    pub commits: u64,
    seen: [u64; ALL.len()],
}

impl Coverage {
    pub fn new() -> Coverage {
        Coverage { histories: 0, steps: 0, commits: 0, seen: [0; ALL.len()] }
    }

    pub fn saw(&mut self, what: Seen) {
        self.seen[what as usize] += 1;
    }

    pub fn add(&mut self, other: &Coverage) {
        self.histories += other.histories;
        self.steps += other.steps;
        self.commits += other.commits;
        for (mine, theirs) in self.seen.iter_mut().zip(other.seen) {
            *mine += theirs;
        }
    }

    /// The events that never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        ALL.iter().filter(|(what, _)| self.seen[*what as usize] == 0).map(|(_, text)| *text).collect()
    }

    /// A table with one line for each event.
    pub fn table(&self) -> String {
        ALL.iter().map(|(what, text)| format!("{:>10}  {text}\n", self.seen[*what as usize])).collect()
    }
}
