//! The faults and their probabilities. Each history has its own level: some have few faults, so that long
//! histories get far, and some have many. This file only chooses faults; the world carries them out.

use crate::dice::Dice;

/// The result of a COMMIT whose answer does not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Committed,
    Lost,
    /// The database was restored or failed over: the transaction is lost, and the row of its connection is missing.
    Forgotten,
    /// It is in the socket of the lost connection, and the server executes it later.
    Late,
}

/// What happens to a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfBatch {
    Nothing,
    /// The connection is lost before COMMIT: nothing is written, and the batch is retried.
    Lost,
    /// The connection is lost at COMMIT: only the database knows whether the transaction was committed.
    Unknown(Fate),
    /// The database refuses one of the records: each record is tried alone.
    Refusal,
    /// The process is killed during the commit, before it can deliver an answer.
    Crash(Fate),
}

/// What happens to a step. Its statements were answered one by one and hold their locks. So a COMMIT of a step
/// does not arrive late: other transactions wait for the locks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfStep {
    Nothing,
    Lost,
    Unknown(Fate),
    /// The database is unavailable for longer than a step is retried.
    Away,
    Crash {
        committed: bool,
    },
}

/// What happens to new pool tickets, which are written outside the batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfPool {
    Nothing,
    /// The connection is lost before COMMIT: nothing is written.
    Lost,
    /// The connection is lost at COMMIT, and nothing asks the database whether it was committed.
    Unknown {
        committed: bool,
    },
}

/// The probabilities of the faults, in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Temper {
    /// The probability that a transaction fails.
    pub transaction: usize,
    /// The probability that the load of a draw fails.
    pub load: usize,
}

impl Temper {
    pub const CALM: Temper = Temper { transaction: 0, load: 0 };

    pub fn roll(dice: &mut Dice) -> Temper {
        let transaction = [10, 60, 150, 300][dice.weighted(&[3, 4, 2, 1])];
        Temper { transaction, load: transaction / 2 }
    }

    pub fn of_batch(self, dice: &mut Dice) -> OfBatch {
        if !dice.chance(self.transaction) {
            return OfBatch::Nothing;
        }
        let fate = [Fate::Committed, Fate::Lost, Fate::Forgotten, Fate::Late][dice.weighted(&[3, 2, 1, 3])];
        match dice.weighted(&[3, 6, 2, 3]) {
            0 => OfBatch::Lost,
            1 => OfBatch::Unknown(fate),
            2 => OfBatch::Refusal,
            _ => OfBatch::Crash(fate),
        }
    }

    pub fn of_pool(self, dice: &mut Dice) -> OfPool {
        if !dice.chance(self.transaction) {
            return OfPool::Nothing;
        }
        match dice.below(3) {
            0 => OfPool::Lost,
            _ => OfPool::Unknown { committed: dice.chance(500) },
        }
    }

    pub fn of_step(self, dice: &mut Dice) -> OfStep {
        if !dice.chance(self.transaction) {
            return OfStep::Nothing;
        }
        let committed = dice.chance(500);
        match dice.weighted(&[4, 4, 1, 3]) {
            0 => OfStep::Lost,
            1 if committed => OfStep::Unknown(Fate::Committed),
            1 => OfStep::Unknown(if dice.chance(300) { Fate::Forgotten } else { Fate::Lost }),
            2 => OfStep::Away,
            _ => OfStep::Crash { committed },
        }
    }
}
