//! Loading a draw: what must be done, in this order. First the draw gets a new epoch, then its state is read. So
//! nothing of an older epoch can be written after the state was read. This file reads and writes nothing.

use super::{Draw, DrawAbsent, DrawState};
use crate::domain::lottery::DrawStatus;

/// The load of one draw: what the driver must do next. The function that takes its result returns what follows. If
/// the database does not answer, the load begins anew.
#[derive(Default, Debug)]
pub enum DrawLoad {
    /// Read the draw's status, then call [`DrawLoad::status_read`].
    #[default]
    ReadStatus,
    /// Raise the draw's epoch and commit, then call [`DrawLoad::taken_over`].
    TakeOver,
    /// Read the draw's state, then call [`DrawLoad::state_read`] with this epoch.
    ReadState { epoch: i64 },
    /// The draw is loaded.
    Loaded(Box<Draw>),
    /// The draw has no actor.
    Absent(DrawAbsent),
}

impl DrawLoad {
    /// A draw that is over is not taken over. `None`: there is no such draw.
    pub fn status_read(status: Option<DrawStatus>) -> DrawLoad {
        match status {
            None => DrawLoad::Absent(DrawAbsent::NoSuchDraw),
            Some(status) if status.is_over() => DrawLoad::Absent(DrawAbsent::Over(status)),
            Some(_) => DrawLoad::TakeOver,
        }
    }

    /// The draw has this new epoch. `None`: there is no such draw.
    pub fn taken_over(epoch: Option<i64>) -> DrawLoad {
        match epoch {
            None => DrawLoad::Absent(DrawAbsent::NoSuchDraw),
            Some(epoch) => DrawLoad::ReadState { epoch },
        }
    }

    /// The state was read. `None`: there is no such draw.
    pub fn state_read(epoch: i64, state: Option<DrawState>) -> DrawLoad {
        match state {
            None => DrawLoad::Absent(DrawAbsent::NoSuchDraw),
            Some(state) if state.status.is_over() => DrawLoad::Absent(DrawAbsent::Over(state.status)),
            // Use the epoch that this process took. Another process may have taken the draw over since, and the
            // epoch that was just read may be its epoch. With that epoch, two processes would own the draw.
            Some(state) => DrawLoad::Loaded(Box::new(Draw::new(DrawState { epoch, ..state }))),
        }
    }
}
