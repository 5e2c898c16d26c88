//! The journal: every request and its outcomes, in the order they happened. Says what the database must hold
//! because of them; reads no database.

use serde_json::Value;

/// What a client knows after it has sent a request once.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// 2xx.
    Success { status: u16, body: Value },
    /// 4xx: this had no effect, and no earlier try under the same key had one.
    Refusal(String),
    /// This try had no effect: overloaded, not even connected, or the first with this key still runs.
    NotTaken(&'static str),
    /// No answer, or `outcome_unknown`.
    NoAnswer,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    QuickPick,
    Numbers(Vec<i64>),
    Pool(String),
    FromPool,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// Tickets, paid from the wallet at once or reserved.
    Order {
        draw: i64,
        paid: bool,
        lines: Vec<Line>,
    },
    /// The reservation that this call made, by wallet or card.
    Pay {
        order: usize,
        payment: String,
        card: bool,
    },
    /// One ticket of the reservation that this call made.
    Return {
        order: usize,
        ticket: String,
    },
    Deposit {
        amount: i64,
    },
}

/// One action of one buyer, however often its request had to be sent.
#[derive(Clone, Debug)]
pub struct Call {
    /// The index of the buyer.
    pub who: usize,
    /// The id of the user.
    pub user: i64,
    pub action: Action,
    pub path: String,
    pub body: Value,
    pub key: Option<String>,
    pub outcomes: Vec<Outcome>,
}

/// What the database must hold of a call.
#[derive(Clone, Copy, Debug)]
pub enum Expected<'a> {
    /// It is there once, as this answer says.
    Done { status: u16, body: &'a Value },
    /// It is not there at all.
    Refused,
    /// It is there once or not at all.
    Unknown,
}

impl Call {
    pub fn expected(&self) -> Expected<'_> {
        let mut unanswered = false;
        let mut refused = false;
        for outcome in &self.outcomes {
            match outcome {
                Outcome::Success { status, body } => return Expected::Done { status: *status, body },
                Outcome::Refusal(_) => refused = true,
                Outcome::NoAnswer => unanswered = true,
                Outcome::NotTaken(_) => {}
            }
        }
        // The payment of a card that was being charged when the service was killed stays `processing`, and nobody
        // can pay it again: that refusal says nothing about the charge itself.
        let charge = matches!(self.action, Action::Pay { card: true, .. });
        if unanswered && (charge || !refused) { Expected::Unknown } else { Expected::Refused }
    }

    /// Whether some try had no answer.
    pub fn had_no_answer(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::NoAnswer))
    }

    /// The body of the success, if there was one.
    pub fn success(&self) -> Option<&Value> {
        match self.expected() {
            Expected::Done { body, .. } => Some(body),
            _ => None,
        }
    }
}

#[derive(Default)]
pub struct Journal {
    pub calls: Vec<Call>,
    /// Answers that the contract does not allow.
    pub wrong: Vec<String>,
}

impl Journal {
    /// Records a call before it is sent.
    pub fn begin(&mut self, call: Call) -> usize {
        self.calls.push(call);
        self.calls.len() - 1
    }

    pub fn record(&mut self, call: usize, outcome: Outcome) {
        self.calls[call].outcomes.push(outcome);
    }

    /// The calls with a key that succeeded: their answers can be replayed.
    pub fn kept(&self) -> Vec<usize> {
        let kept = |call: &Call| call.key.is_some() && call.success().is_some();
        (0..self.calls.len()).filter(|at| kept(&self.calls[*at])).collect()
    }

    /// The calls with a key whose outcome is unknown and can be resolved by a retry.
    pub fn open(&self) -> Vec<usize> {
        let open = |call: &Call| call.key.is_some() && matches!(call.expected(), Expected::Unknown);
        (0..self.calls.len()).filter(|at| open(&self.calls[*at])).collect()
    }
}
