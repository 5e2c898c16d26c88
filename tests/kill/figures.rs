//! The counts of a run.

use std::collections::BTreeMap;
use std::fmt;

use crate::journal::{Action, Expected, Journal, Outcome};

#[derive(Default)]
pub struct Figures {
    pub rounds: usize,
    /// How often each fault was injected, in the rounds and while the draws ended.
    pub faults: BTreeMap<String, usize>,
    /// Requests sent; a repeated request counts each time.
    pub requests: usize,
    /// Actions, however often their requests had to be sent.
    pub calls: usize,
    /// Purchases answered 2xx, and the tickets in them.
    pub purchases: usize,
    pub tickets: usize,
    /// Requests that were never answered, or whose answer was `outcome_unknown`.
    pub unanswered: usize,
    /// 503 `overloaded`.
    pub overloaded: usize,
    /// Calls whose outcome was resolved by a retry with the same key.
    pub resolved: usize,
    /// Calls without a key that were never answered; and how many of them were carried out.
    pub unknown: usize,
    pub unknown_but_done: usize,
    /// Answers under a key that were replayed and compared.
    pub replays: usize,
    /// Receipts of paid orders that an audit verified against the list of their draw.
    pub receipts: usize,
    pub draws_settled: usize,
    pub draws_cancelled: usize,
    pub prizes: usize,
    pub refunds: usize,
    pub audits: usize,
}

impl Figures {
    /// Adds what a journal holds.
    pub fn count(&mut self, journal: &Journal) {
        self.calls += journal.calls.len();
        for call in &journal.calls {
            let unknown = matches!(call.expected(), Expected::Unknown) && call.key.is_none();
            self.unknown += usize::from(unknown);
            self.unanswered += call.outcomes.iter().filter(|outcome| matches!(outcome, Outcome::NoAnswer)).count();
            let overloaded = |outcome: &&Outcome| matches!(outcome, Outcome::NotTaken("overloaded"));
            self.overloaded += call.outcomes.iter().filter(overloaded).count();
            let bought = match (&call.action, call.success()) {
                (Action::Order { paid: true, .. }, Some(body)) => Some(&body["payment"]),
                (Action::Pay { .. }, Some(body)) if body["status"] == "paid" => Some(body),
                _ => None,
            };
            if let Some(payment) = bought {
                self.purchases += 1;
                self.tickets += payment["ticket_ids"].as_array().map_or(0, Vec::len);
            }
        }
    }
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
            "requests unanswered {}, overloaded {}; resolved by their key {}; without a key {}, of which {} were done",
            self.unanswered, self.overloaded, self.resolved, self.unknown, self.unknown_but_done
        )?;
        writeln!(f, "replays compared {}, receipts {}, audits {}", self.replays, self.receipts, self.audits)?;
        writeln!(
            f,
            "draws settled {} with {} prizes, cancelled {} with {} refunds",
            self.draws_settled, self.prizes, self.draws_cancelled, self.refunds
        )?;
        // A run that finds any of these fails before this line.
        write!(f, "lost 0, double 0, unbalanced 0")
    }
}
