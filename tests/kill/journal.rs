//! The journal: what everybody asked for, and what they heard, in the order it happened. Says what must
//! follow from it; looks into no database.

use serde_json::Value;

/// What a client hears when it sends a request once.
#[derive(Clone, Debug)]
pub enum Heard {
    /// 2xx.
    Success { status: u16, body: Value },
    /// 4xx: this had no effect, and no earlier try under the same key had one.
    Refusal(String),
    /// This try had no effect: overloaded, not even connected, or the first with this key still runs.
    NotTaken(&'static str),
    /// No answer, or one that the outcome is not known.
    Nothing,
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
pub enum What {
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
    GiveBack {
        order: usize,
        ticket: String,
    },
    Deposit {
        amount: i64,
    },
}

/// Something that somebody wanted, however often it had to be said.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whose, in the crowd.
    pub who: usize,
    /// Whose, in the database.
    pub user: i64,
    pub what: What,
    pub path: String,
    pub body: Value,
    pub key: Option<String>,
    pub heard: Vec<Heard>,
}

/// What must have become of a call.
#[derive(Clone, Copy, Debug)]
pub enum Fate<'a> {
    /// It is there once, as this answer says.
    Done { status: u16, body: &'a Value },
    /// It is not there at all.
    Refused,
    /// It is there once or not at all.
    Unknown,
}

impl Call {
    pub fn fate(&self) -> Fate<'_> {
        let mut unheard = false;
        let mut refused = false;
        for heard in &self.heard {
            match heard {
                Heard::Success { status, body } => return Fate::Done { status: *status, body },
                Heard::Refusal(_) => refused = true,
                Heard::Nothing => unheard = true,
                Heard::NotTaken(_) => {}
            }
        }
        // A card that was being charged when the service died stays `processing`, which can be paid by
        // nobody else: that refusal says nothing of the charge itself.
        let charge = matches!(self.what, What::Pay { card: true, .. });
        if unheard && (charge || !refused) { Fate::Unknown } else { Fate::Refused }
    }

    /// Whether some try was not heard of.
    pub fn was_unheard(&self) -> bool {
        self.heard.iter().any(|heard| matches!(heard, Heard::Nothing))
    }

    /// The body of the success, if there was one.
    pub fn success(&self) -> Option<&Value> {
        match self.fate() {
            Fate::Done { body, .. } => Some(body),
            _ => None,
        }
    }
}

#[derive(Default)]
pub struct Journal {
    pub calls: Vec<Call>,
    /// Answers that the contract does not know.
    pub wrong: Vec<String>,
}

impl Journal {
    /// Notes what somebody is about to ask for.
    pub fn begin(&mut self, call: Call) -> usize {
        self.calls.push(call);
        self.calls.len() - 1
    }

    pub fn hear(&mut self, call: usize, heard: Heard) {
        self.calls[call].heard.push(heard);
    }

    /// The calls with a key that were heard of: their answers can be asked for again.
    pub fn kept(&self) -> Vec<usize> {
        let kept = |call: &Call| call.key.is_some() && call.success().is_some();
        (0..self.calls.len()).filter(|at| kept(&self.calls[*at])).collect()
    }

    /// The calls with a key whose outcome can still be found out.
    pub fn open(&self) -> Vec<usize> {
        let open = |call: &Call| call.key.is_some() && matches!(call.fate(), Fate::Unknown);
        (0..self.calls.len()).filter(|at| open(&self.calls[*at])).collect()
    }
}
