//! Charges of cards: the process writes "processing", asks the provider, and then writes the answer, without a
//! time limit. The provider may also report the result later and repeatedly, to any live process.

use jiff::Timestamp;
use lottery::domain::charge_end::{AfterAttempt, ChargeEndAttempts};
use lottery::domain::draw::{DrawRequest, SaleError};
use lottery::domain::id::{DrawId, PaymentId, UserId};
use lottery::domain::money::Money;
use lottery::domain::record::{BeginDeposit, Charge as Said, EndCharge, EndDeposit, Key, Outcome, Record};

use super::World;
use crate::coverage::Seen;
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
    /// The attempts to write its end.
    attempts: ChargeEndAttempts,
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
        let (notice, attempts) = (None, ChargeEndAttempts::default());
        self.charges.push(Charge { request, stage, process, draw, user, payment, begun, key, notice, attempts });
        self.charges.len() - 1
    }

    /// The charges at this stage in a live process.
    pub fn charges_at(&self, at: impl Fn(&Stage) -> bool) -> Vec<usize> {
        let alive = |charge: &Charge| self.processes.iter().any(|process| process.name == charge.process);
        (0..self.charges.len()).filter(|c| at(&self.charges[*c].stage) && alive(&self.charges[*c])).collect()
    }

    /// The provider answers the request about a charge.
    pub fn provider_answers(&mut self, charge: usize) {
        let said = match self.dice.weighted(&[5, 3, 2]) {
            0 => self.takes(charge),
            1 => Said::Declined("card_declined".to_owned()),
            _ => {
                self.notices.push(charge);
                Said::Processing
            }
        };
        self.charges[charge].stage = Stage::Telling(said);
        self.tell_end(charge);
    }

    /// The provider takes the money from the card.
    fn takes(&mut self, charge: usize) -> Said {
        let payment = self.charges[charge].payment;
        let amount = self.store.payments[&payment].amount.minor();
        self.say(|| format!("the provider takes {amount} for {payment}"));
        self.model.charged(id(payment.0), amount);
        Said::Paid
    }

    /// The provider reports the result of a charge by itself, and may repeat the report some times.
    pub fn notify(&mut self, place: usize) {
        let old = self.notices[place];
        let said = match &self.charges[old].notice {
            Some(said) => said.clone(),
            None if self.dice.chance(650) => self.takes(old),
            None => Said::Declined("card_expired".to_owned()),
        };
        self.coverage.saw(Seen::ProviderLater);
        self.charges[old].notice = Some(said.clone());
        if self.dice.chance(700) {
            self.notices.swap_remove(place);
        }
        let p = self.dice.below(self.processes.len());
        let Charge { draw, user, payment, begun, .. } = self.charges[old];
        let charge = self.new_charge(p, None, draw, user, payment, None);
        self.charges[charge].begun = begun;
        self.charges[charge].stage = Stage::Telling(said);
        self.tell_end(charge);
    }

    /// Submits the result of the provider.
    pub fn tell_end(&mut self, charge: usize) {
        let it = &mut self.charges[charge];
        let Stage::Telling(said) = it.stage.clone() else { return };
        let Some(p) = self.processes.iter().position(|process| process.name == it.process) else { return };
        it.stage = Stage::Told(said.clone());
        let (user, payment, begun, key, at) = (it.user, it.payment, it.begun, it.key, self.now);
        let waiting = Waiting::Charge(charge);
        match it.draw {
            Some(draw) => {
                let end = EndCharge { held: None, user, payment, begun, charge: said, at, key };
                let waiter = Waiter { who: waiting, deadline: None };
                self.route(p, draw, Message { request: DrawRequest::EndCharge(end), waiter });
            }
            None => {
                let end = EndDeposit { user, payment, charge: said, at, key };
                self.submit(p, Record::EndDeposit(end), None, waiting);
            }
        }
    }

    pub(super) fn charge_answered(
        &mut self,
        p: usize,
        charge: usize,
        result: Result<(Record, Outcome), SaleError>,
    ) {
        let it = &mut self.charges[charge];
        let payment = id(it.payment.0);
        match (it.stage.clone(), result) {
            (Stage::Beginning, Ok((_, Outcome::Payment(payment)))) => {
                it.begun = payment.updated_at;
                it.stage = Stage::AtProvider;
            }
            (Stage::Beginning, Err(error)) => {
                it.stage = Stage::Done;
                let request = it.request;
                if matches!(error, SaleError::OutcomeUnknown) {
                    self.lose_charge(payment);
                }
                if let Some(request) = request {
                    self.answer_request(request, Err(error));
                }
            }
            (Stage::Told(said), result) => match it.attempts.after(&result, it.key.is_some()) {
                AfterAttempt::TryAgain => it.stage = Stage::Telling(said),
                AfterAttempt::WriteWithoutDraw => {
                    let (user, payment, begun, key, at) = (it.user, it.payment, it.begun, it.key, self.now);
                    let end = EndCharge { held: None, user, payment, begun, charge: said, at, key };
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

    /// No process waits any more for the end of this charge.
    fn lose_charge(&mut self, payment: u64) {
        self.coverage.saw(Seen::ChargeLost);
        self.model.charge_lost(payment);
    }

    /// The process of a charge was killed. The provider may have taken the money, and may report it later.
    pub(super) fn charge_dies(&mut self, charge: usize, process: u64) {
        let it = &mut self.charges[charge];
        if it.process != process {
            return;
        }
        let payment = id(it.payment.0);
        let tells = self.dice.chance(500);
        match std::mem::replace(&mut it.stage, Stage::Done) {
            Stage::Done => {}
            Stage::Beginning => self.lose_charge(payment),
            Stage::AtProvider if tells => self.notices.push(charge),
            Stage::AtProvider => {
                if self.dice.chance(500) {
                    self.takes(charge);
                }
                self.lose_charge(payment);
            }
            Stage::Telling(said) | Stage::Told(said) if tells && said != Said::Processing => {
                self.charges[charge].notice = Some(said);
                self.notices.push(charge);
            }
            Stage::Telling(_) | Stage::Told(_) => self.lose_charge(payment),
        }
    }
}
