//! Charges of cards: the process writes "processing", asks the provider, and then writes the answer, without a
//! time limit. The provider may also report the result later and repeatedly, to any live process. Any process may ask
//! for a charge that is not finished; if the provider does not know it, its idempotency key is used up. The call of a
//! process that was killed may still arrive, before that or after it.

use jiff::Timestamp;
use lottery::domain::charge::{ChargeIssue, ChargeName, ChargeOutcome};
use lottery::domain::charge_end::{AfterAttempt, ChargeEndAttempts};
use lottery::domain::draw::{DrawRequest, SaleError};
use lottery::domain::id::{DrawId, PaymentId, UserId};
use lottery::domain::money::Money;
use lottery::domain::payment::PaymentStatus;
use lottery::domain::record::{AdminDecision, BeginDeposit, Charge as Said, EndCharge, Key, Outcome, Record};

use super::{ADMIN, World};
use crate::coverage::Seen;
use crate::facts::Name;
use crate::process::{Message, Waiter, Waiting};
use crate::store::id;

/// The stage of a charge.
#[derive(Clone, PartialEq, Debug)]
pub enum Stage {
    /// "Processing" is being written.
    Beginning,
    AtProvider,
    /// The result of the provider must be submitted, for the first time or again.
    Telling(Said),
    Told(Said),
    Done,
}

/// What the provider knows of a charge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It decides later, and reports that.
    Open,
    Taken,
    Declined,
    /// The charge was never made, and cannot be made any more.
    KeyUsedUp,
}

/// A charge of a card.
pub struct Charge {
    pub request: Option<usize>,
    pub stage: Stage,
    process: u64,
    /// `None`: a deposit.
    draw: Option<DrawId>,
    user: UserId,
    payment: PaymentId,
    /// When it began, according to the answer.
    begun: Timestamp,
    key: Option<Key>,
    /// The result, once the provider has reported it, to be reported again.
    notice: Option<Said>,
    /// An admin ends it, not the provider.
    by_admin: bool,
    /// The attempts to write its end.
    attempts: ChargeEndAttempts,
}

impl Charge {
    fn name(&self) -> Name {
        (id(self.payment.0), self.begun.as_millisecond())
    }
}

impl World {
    pub(super) fn begin_charge(
        &mut self,
        p: usize,
        request: usize,
        payment: PaymentId,
        key: Option<Key>,
        deadline: u64,
    ) {
        let row = &self.store.payments[&payment];
        let (user, draw) = (row.user, row.draw.unwrap());
        let charge = self.new_charge(p, Some(request), Some(draw), user, payment, key);
        let waiter = Waiter { who: Waiting::Charge(charge), deadline: Some(deadline) };
        self.route(p, draw, Message { request: DrawRequest::BeginCharge { user, payment, key }, waiter });
    }

    pub(super) fn begin_deposit(
        &mut self,
        p: usize,
        request: usize,
        user: UserId,
        amount: i64,
        key: Option<Key>,
        deadline: u64,
    ) {
        let payment = PaymentId(self.id());
        let charge = self.new_charge(p, Some(request), None, user, payment, key);
        let (amount, at) = (Money::new(amount), self.now);
        let record = Record::BeginDeposit(BeginDeposit { user, payment, amount, at, key });
        self.submit(p, record, Some(deadline), Waiting::Charge(charge));
    }

    fn new_charge(
        &mut self,
        p: usize,
        request: Option<usize>,
        draw: Option<DrawId>,
        user: UserId,
        payment: PaymentId,
        key: Option<Key>,
    ) -> usize {
        let (process, stage, begun) = (self.processes[p].name, Stage::Beginning, self.now);
        let (notice, by_admin, attempts) = (None, false, ChargeEndAttempts::default());
        let charge =
            Charge { request, stage, process, draw, user, payment, begun, key, notice, by_admin, attempts };
        self.charges.push(charge);
        self.charges.len() - 1
    }

    /// The charges at this stage in a live process.
    pub fn charges_at(&self, at: impl Fn(&Stage) -> bool) -> Vec<usize> {
        let alive = |charge: &Charge| self.processes.iter().any(|process| process.name == charge.process);
        (0..self.charges.len()).filter(|c| at(&self.charges[*c].stage) && alive(&self.charges[*c])).collect()
    }

    /// The provider answers the request about a charge.
    pub fn provider_answers(&mut self, charge: usize) {
        let name = self.charges[charge].name();
        let said = if self.is_refused(name) { Said::Processing } else { self.decides(charge) };
        self.charges[charge].stage = Stage::Telling(said);
        self.tell_end(charge);
    }

    /// The provider hears of a charge for the first time.
    fn decides(&mut self, charge: usize) -> Said {
        let name = self.charges[charge].name();
        match self.dice.weighted(&[8, 8, 4, 1]) {
            0 => self.takes(charge),
            1 => {
                // Now and then the money was taken all the same, and the provider reports that later.
                if self.dice.chance(800) {
                    self.notices.push(charge);
                }
                self.provider.insert(name, Verdict::Declined);
                Said::Declined("card_declined".to_owned())
            }
            2 => {
                self.notices.push(charge);
                self.provider.insert(name, Verdict::Open);
                Said::Processing
            }
            _ => {
                self.notices.push(charge);
                self.provider.insert(name, Verdict::Open);
                Said::Unresolved(ChargeIssue::OtherMoney)
            }
        }
    }

    /// Whether the provider refuses a call, because the idempotency key of its charge is used up.
    fn is_refused(&mut self, name: Name) -> bool {
        let refused = self.provider.get(&name) == Some(&Verdict::KeyUsedUp);
        if refused {
            self.coverage.saw(Seen::CallRefused);
        }
        refused
    }

    /// The call of a killed process arrives at the provider, or never will.
    pub fn late_call(&mut self, place: usize) {
        let charge = self.late_calls.swap_remove(place);
        let name = self.charges[charge].name();
        if self.dice.chance(250) || self.is_refused(name) {
            return;
        }
        self.coverage.saw(Seen::CallLate);
        let said = self.decides(charge);
        self.nobody_hears(charge, said);
    }

    /// No process hears this result. The provider reports it later, or only if it is asked. What it has reported
    /// already it reports again, because nobody confirmed the report.
    fn nobody_hears(&mut self, charge: usize, said: Said) {
        if !matches!(said, Said::Paid | Said::Declined(_)) {
            return;
        }
        if self.charges[charge].request.is_none() || self.dice.chance(500) {
            self.charges[charge].notice = Some(said);
            self.notices.push(charge);
        } else {
            self.coverage.saw(Seen::ChargeLost);
            let name = self.charges[charge].name();
            self.model.report_lost(name);
        }
    }

    /// The charges whose end is not written and that this process does not work on.
    pub fn unfinished(&self, p: usize) -> Vec<PaymentId> {
        if self.is_dead(p) {
            return Vec::new();
        }
        let process = self.processes[p].name;
        let is_open = |payment: &PaymentId, begun: Timestamp| {
            let charge = self.store.charges.get(&ChargeName { payment: *payment, begun });
            charge.is_some_and(|charge| charge.end.is_none())
        };
        let in_progress = |payment: PaymentId| {
            let mut charges = self.charges.iter();
            charges.any(|it| it.process == process && it.payment == payment && it.stage != Stage::Done)
        };
        let processing = self.store.payments.iter().filter(|(_, row)| row.status == PaymentStatus::Processing);
        let open = processing.filter(|(payment, row)| is_open(payment, row.updated_at) && !in_progress(**payment));
        let name = |payment: PaymentId, begun: Timestamp| (id(payment.0), begun.as_millisecond());
        let known = open
            .filter(|(payment, row)| self.provider.get(&name(**payment, row.updated_at)) != Some(&Verdict::Open));
        known.map(|(payment, _)| *payment).collect()
    }

    /// A process asks the provider for a charge that is not finished.
    pub fn resolve(&mut self, p: usize, payment: PaymentId) {
        let row = &self.store.payments[&payment];
        let (draw, user, begun) = (row.draw, row.user, row.updated_at);
        let name = (id(payment.0), begun.as_millisecond());
        let said = match self.provider.get(&name) {
            Some(Verdict::Open) => return,
            Some(Verdict::Taken) => {
                self.coverage.saw(Seen::FoundPaid);
                Said::Paid
            }
            Some(Verdict::Declined) => Said::Declined("card_declined".to_owned()),
            Some(Verdict::KeyUsedUp) => Said::Declined("not_charged".to_owned()),
            None => {
                self.say(|| format!("the key of {name:?} is used up"));
                self.coverage.saw(Seen::KeyUsedUp);
                self.provider.insert(name, Verdict::KeyUsedUp);
                self.model.key_used_up(name);
                Said::Declined("not_charged".to_owned())
            }
        };
        let charge = self.new_charge(p, None, draw, user, payment, None);
        self.report(charge, begun, said);
    }

    /// The provider takes the money from the card, once.
    fn takes(&mut self, charge: usize) -> Said {
        let it = &self.charges[charge];
        let (name, payment) = (it.name(), it.payment);
        let amount = self.store.charges[&ChargeName { payment, begun: it.begun }].amount.minor();
        if !self.model.is_taken(name) {
            self.say(|| format!("the provider takes {amount} for {name:?}"));
            self.model.charged(name, amount);
        }
        self.provider.insert(name, Verdict::Taken);
        Said::Paid
    }

    /// The provider reports the result of a charge by itself, and may repeat the report some times.
    pub fn notify(&mut self, place: usize) {
        let old = self.notices[place];
        let said = match &self.charges[old].notice {
            Some(said) => said.clone(),
            None if self.dice.chance(650) => self.takes(old),
            None => {
                self.provider.insert(self.charges[old].name(), Verdict::Declined);
                Said::Declined("card_expired".to_owned())
            }
        };
        self.coverage.saw(Seen::ProviderLater);
        self.charges[old].notice = Some(said.clone());
        if self.dice.chance(700) {
            self.notices.swap_remove(place);
        }
        let p = self.dice.below(self.processes.len());
        let report = self.report_of(p, old);
        self.report(report, self.charges[old].begun, said);
    }

    /// Another report about a charge that was begun before.
    fn report_of(&mut self, p: usize, old: usize) -> usize {
        let Charge { draw, user, payment, .. } = self.charges[old];
        self.new_charge(p, None, draw, user, payment, None)
    }

    /// Submits a result of the charge that began then.
    fn report(&mut self, charge: usize, begun: Timestamp, said: Said) {
        let it = &mut self.charges[charge];
        let row = self.store.payments.get(&it.payment);
        let is_current = row.is_some_and(|row| row.status == PaymentStatus::Processing && row.updated_at == begun);
        // Only the charge that is under way concerns the draw.
        it.draw = it.draw.filter(|_| is_current);
        (it.begun, it.stage) = (begun, Stage::Telling(said));
        self.tell_end(charge);
    }

    /// An admin ends some charge, mostly one that is open or waits. False if there is none.
    pub fn admin_ends(&mut self, p: usize) -> bool {
        // The service lets an admin wait until the request that begins the charge has its answer.
        let is_begun = |charge: &Charge| {
            let name = ChargeName { payment: charge.payment, begun: charge.begun };
            let begins = |it: &Charge| it.payment == charge.payment && it.stage == Stage::Beginning;
            self.store.charges.contains_key(&name) && !self.charges.iter().any(begins)
        };
        let all: Vec<usize> = (0..self.charges.len()).filter(|c| is_begun(&self.charges[*c])).collect();
        let waits = |c: &usize| {
            let charge = &self.charges[*c];
            let row = &self.store.charges[&ChargeName { payment: charge.payment, begun: charge.begun }];
            row.end.is_none() || row.issue.is_some()
        };
        let waiting: Vec<usize> = all.iter().copied().filter(waits).collect();
        let dice = &mut self.dice;
        let Some(charge) = dice.one_of(&waiting).filter(|_| dice.chance(800)).or_else(|| dice.one_of(&all)) else {
            return false;
        };
        let it = &self.charges[charge];
        let outcome = if self.dice.chance(500) { ChargeOutcome::Paid } else { ChargeOutcome::Failed };
        // A charge that has ended is left as it is, unless it waits for an admin when the decision is written.
        let (name, begun) = (it.name(), it.begun);
        self.model.admin_ends(name, outcome == ChargeOutcome::Paid);
        let said = match outcome {
            ChargeOutcome::Paid => Said::Paid,
            ChargeOutcome::Failed => Said::Declined("ended_by_admin".to_owned()),
        };
        let report = self.report_of(p, charge);
        self.charges[report].by_admin = true;
        self.report(report, begun, said);
        true
    }

    fn end_record(&self, charge: usize, said: Said) -> EndCharge {
        let it = &self.charges[charge];
        let admin = it
            .by_admin
            .then(|| AdminDecision { by: ADMIN, note: "seen".to_owned(), tickets: Vec::new() })
            .map(Box::new);
        let (user, payment, begun, key, at) = (it.user, it.payment, it.begun, it.key, self.now);
        EndCharge { held: None, user, payment, begun, charge: said, admin, at, key }
    }

    /// Submits the result of the provider.
    pub fn tell_end(&mut self, charge: usize) {
        let it = &mut self.charges[charge];
        let Stage::Telling(said) = it.stage.clone() else { return };
        let Some(p) = self.processes.iter().position(|process| process.name == it.process) else { return };
        it.stage = Stage::Told(said.clone());
        let (draw, waiting) = (it.draw, Waiting::Charge(charge));
        let end = self.end_record(charge, said);
        match draw {
            Some(draw) => {
                let waiter = Waiter { who: waiting, deadline: None };
                self.route(p, draw, Message { request: DrawRequest::EndCharge(end), waiter });
            }
            None => self.submit(p, Record::EndCharge(end), None, waiting),
        }
    }

    pub(super) fn charge_answered(
        &mut self,
        p: usize,
        charge: usize,
        result: Result<(Record, Outcome), SaleError>,
    ) {
        let it = &mut self.charges[charge];
        match (it.stage.clone(), result) {
            // The lease is over: the provider is not called any more.
            (Stage::Beginning, Ok(_)) if self.store.is_dead(it.process) => {
                it.stage = Stage::Done;
                self.coverage.saw(Seen::NotCharged);
                if let Some(request) = it.request {
                    self.answer_request(request, Err(SaleError::OutcomeUnknown));
                }
            }
            (Stage::Beginning, Ok((_, Outcome::Payment(payment)))) => {
                it.begun = payment.updated_at;
                it.stage = Stage::AtProvider;
            }
            (Stage::Beginning, Err(error)) => {
                it.stage = Stage::Done;
                if let Some(request) = it.request {
                    self.answer_request(request, Err(error));
                }
            }
            (Stage::Told(said), result) => match it.attempts.after(&result, it.key.is_some()) {
                AfterAttempt::TryAgain => it.stage = Stage::Telling(said),
                AfterAttempt::WriteWithoutDraw => {
                    let end = self.end_record(charge, said);
                    self.submit(p, Record::EndCharge(end), None, Waiting::Charge(charge));
                }
                after => {
                    it.stage = Stage::Done;
                    let unknown = after == AfterAttempt::AnswerUnknown;
                    if let Some(request) = it.request {
                        self.answer_request(
                            request,
                            if unknown { Err(SaleError::OutcomeUnknown) } else { result },
                        );
                    }
                }
            },
            (stage, result) => panic!("an answer to a charge that is {stage:?}: {result:?}"),
        }
    }

    /// The process of a charge was killed. What it was to hear or to write is found out by another one.
    pub(super) fn charge_dies(&mut self, charge: usize, process: u64) {
        let it = &mut self.charges[charge];
        if it.process != process {
            return;
        }
        let by_admin = it.by_admin;
        match std::mem::replace(&mut it.stage, Stage::Done) {
            Stage::Done | Stage::Beginning => {}
            Stage::AtProvider => self.late_calls.push(charge),
            // The admin sees no answer, and may decide again. The provider knows nothing of it.
            Stage::Telling(_) | Stage::Told(_) if by_admin => {}
            Stage::Telling(said) | Stage::Told(said) => self.nobody_hears(charge, said),
        }
    }
}
