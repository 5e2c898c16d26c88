//! What a run has reached, in numbers.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Default)]
pub struct Figures {
    pub rounds: usize,
    /// How often each thing was done to the house, in the rounds and in the ends of the draws.
    pub faults: BTreeMap<String, usize>,
    /// Requests sent, repeated ones each time.
    pub requests: usize,
    /// What was asked for, however often it had to be said.
    pub calls: usize,
    /// Purchases answered 2xx, and the tickets in them.
    pub purchases: usize,
    pub tickets: usize,
    /// Requests that were never answered, or whose answer was `outcome_unknown`.
    pub unheard: usize,
    /// 503 `overloaded`.
    pub overloaded: usize,
    /// Calls whose outcome was found out by asking again with the same key.
    pub found_out: usize,
    /// Calls without a key that nobody ever heard of; and how many of them had come true.
    pub unknown: usize,
    pub unknown_and_true: usize,
    /// Keyed answers that were asked for again and compared.
    pub replays: usize,
    pub draws_settled: usize,
    pub draws_cancelled: usize,
    pub prizes: usize,
    pub refunds: usize,
    pub audits: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(|(fault, count)| format!("{fault} {count}")).collect();
        writeln!(
            f,
            "rounds {}, faults {} ({})",
            self.rounds,
            self.faults.values().sum::<usize>(),
            faults.join(", ")
        )?;
        writeln!(f, "requests {}, calls {}", self.requests, self.calls)?;
        writeln!(f, "purchases acknowledged {}, with {} tickets", self.purchases, self.tickets)?;
        writeln!(
            f,
            "requests unheard of {}, overloaded {}; found out by their key {}; without a key {}, of which {} were true",
            self.unheard, self.overloaded, self.found_out, self.unknown, self.unknown_and_true
        )?;
        writeln!(f, "replays compared {}, audits {}", self.replays, self.audits)?;
        writeln!(
            f,
            "draws settled {} with {} prizes, cancelled {} with {} refunds",
            self.draws_settled, self.prizes, self.draws_cancelled, self.refunds
        )?;
        // A run that found any of these has failed before it came here.
        write!(f, "lost 0, double 0, unbalanced 0")
    }
}
