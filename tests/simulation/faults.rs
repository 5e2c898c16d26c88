//! What goes wrong, and how often. Each history has a temper of its own: some are calm, so that long ones
//! get far, and some are wild.

use crate::dice::Dice;

/// What becomes of a COMMIT whose answer nobody hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Committed,
    Lost,
    /// It lies in the socket of the lost connection, and the server comes to it later.
    Late,
}

/// What happens to a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfBatch {
    Nothing,
    /// The connection dies before COMMIT: nothing is written, and it is tried again.
    Lost,
    /// The connection dies at COMMIT: committed or not, nobody knows until the database is asked.
    Unknown(Fate),
    /// The database would not take one of the records: each goes alone.
    Refusal,
    /// The process is killed as it commits, before anybody heard.
    Crash(Fate),
}

/// What happens to a step. Its statements were answered one by one and hold their locks: its COMMIT is never
/// late for anybody whom that concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfStep {
    Nothing,
    Lost,
    Unknown {
        committed: bool,
    },
    /// The database is away for longer than a step waits for it.
    Away,
    Crash {
        committed: bool,
    },
}

/// What happens to new pool tickets, which are written beside the sale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfPool {
    Nothing,
    /// The connection dies before COMMIT: nothing is written.
    Lost,
    /// The connection dies at COMMIT, and nobody asks whether it was committed.
    Unknown {
        committed: bool,
    },
}

/// How often things go wrong, in a thousand.
#[derive(Clone, Copy, Debug)]
pub struct Temper {
    /// Of a transaction.
    pub transaction: usize,
    /// Of a load.
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
        let fate = [Fate::Committed, Fate::Lost, Fate::Late][dice.below(3)];
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
            1 => OfStep::Unknown { committed },
            2 => OfStep::Away,
            _ => OfStep::Crash { committed },
        }
    }
}
