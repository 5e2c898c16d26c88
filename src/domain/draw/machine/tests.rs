//! The tests of the draw's machine: one test for each rule, from the requests that it refuses to the results
//! after which it gives up.

use std::sync::Arc;

use jiff::SignedDuration;
use rand::SeedableRng;
use rand::rngs::StdRng;
use verifiable_draw::beacon::BeaconChain;

use super::*;
use crate::domain::beacon::AnnouncedRound;
use crate::domain::draw::tests::{CLOSE, good, named, parts, pool, pool_id, second};
use crate::domain::draw::{
    Allowed, DrawState, FairnessTerms, LineRequest, OrderRefusal, OrderRequest, StepError, StepKind, StepOutcome,
    StepWrite, Times, TimesChange, TimesError, WinningPick,
};
use crate::domain::id::{DrawId, PaymentId, TicketId, UserId};
use crate::domain::lottery::Fairness;
use crate::domain::money::Money;
use crate::domain::payment::{Payment, PaymentKind, PaymentStatus};
use crate::domain::pool::Pool;
use crate::domain::record::{Charge, EndCharge};

const ADMIN: AuditActor = AuditActor::of(UserId(9));
const BUYER: UserId = UserId(1);
const IN_FLIGHT: usize = 3;
const UNOPENED: &str = "its sale was not opened before the cut-off";

type Action = DrawAction<u32>;

/// A machine whose waiters are numbers.
struct Driver {
    machine: DrawMachine<u32>,
    now: Timestamp,
    ids: u128,
    rng: StdRng,
}

impl Driver {
    fn over(state: DrawState) -> Driver {
        let machine = DrawMachine::new(Draw::new(state), IN_FLIGHT);
        Driver { machine, now: second(0), ids: 1_000, rng: StdRng::seed_from_u64(1) }
    }

    /// A driver of a draw in this status, with the pool tickets 1, 2 and 3.
    fn new(status: DrawStatus) -> Driver {
        Driver::over(parts(status, pool([1, 2, 3])))
    }

    fn input(&mut self, input: impl FnOnce(&mut DrawMachine<u32>, Timestamp, &mut Vec<Action>)) -> Vec<Action> {
        let mut actions = Vec::new();
        input(&mut self.machine, self.now, &mut actions);
        actions
    }

    fn request(&mut self, waiter: u32, request: DrawRequest) -> Vec<Action> {
        let mut actions = Vec::new();
        let ids = &mut self.ids;
        let id = || {
            *ids += 1;
            Uuid::from_u128(*ids)
        };
        self.machine.request(request, waiter, self.now, id, &mut self.rng, &mut actions);
        actions
    }

    fn order(&mut self, waiter: u32, line: LineRequest, reserve: bool) -> Vec<Action> {
        let reserve = reserve.then_some(jiff::SignedDuration::from_mins(5));
        self.request(
            waiter,
            DrawRequest::Order(OrderRequest { user: BUYER, lines: vec![line], reserve, key: None }),
        )
    }

    fn step(&mut self, waiter: u32, step: Step) -> Vec<Action> {
        self.request(waiter, DrawRequest::Step { step, reason: "why".to_owned(), by: ADMIN })
    }

    fn written(&mut self, record: Record, result: Result<Outcome, Refusal>, waiter: Option<u32>) -> Vec<Action> {
        let results = vec![WriteResult { record, result, waiter }];
        self.input(|machine, now, actions| machine.written(results, now, actions))
    }

    fn step_written(&mut self, result: Result<StepOutcome, StepError>) -> Vec<Action> {
        self.input(|machine, now, actions| machine.step_written(result, now, actions))
    }

    fn pool_written(&mut self, result: Result<NewPool, PoolError>) -> Vec<Action> {
        self.input(|machine, _, actions| machine.pool_written(result, 7, actions))
    }

    fn wake(&mut self) -> Vec<Action> {
        self.input(DrawMachine::wake)
    }

    /// Makes a reservation of one ticket and has it written.
    fn reserve(&mut self, line: LineRequest) -> (PaymentId, TicketId) {
        let record = submitted(self.order(1, line, true));
        let Record::Order(order) = &record else { panic!("no order: {record:?}") };
        let made = (order.payment, order.lines[0].ticket);
        self.written(record, ORDERED, Some(1));
        made
    }
}

const ORDERED: Result<Outcome, Refusal> = Ok(Outcome::Ordered { first_number: None, receipt: None });

/// The one record that these actions submit.
fn submitted(actions: Vec<Action>) -> Record {
    let mut records = actions.into_iter().filter_map(|action| match action {
        DrawAction::Submit { record, .. } => Some(record),
        _ => None,
    });
    let record = records.next().expect("a record is submitted");
    assert_eq!(records.next(), None, "only one");
    record
}

/// The step that these actions write.
fn step_of(actions: &[Action]) -> &StepWrite {
    let mut steps = actions.iter().filter_map(|action| match action {
        DrawAction::Write(step) => Some(step),
        _ => None,
    });
    steps.next().expect("a step is written")
}

fn writes_nothing(actions: &[Action]) -> bool {
    !actions.iter().any(|action| matches!(action, DrawAction::Write(_)))
}

fn sets_timer(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, DrawAction::SetTimer(_)))
}

fn gives_up(actions: &[Action]) -> Option<GiveUpReason> {
    match actions.last() {
        Some(DrawAction::GiveUp(reason)) => Some(*reason),
        _ => {
            assert!(!actions.iter().any(|action| matches!(action, DrawAction::GiveUp(_))), "no action follows it");
            None
        }
    }
}

fn sale(waiter: u32, error: SaleError) -> Action {
    DrawAction::Answer(waiter, DrawAnswer::Sale(Err(error)))
}

fn told(waiter: u32, result: Result<(), StepRefusal>) -> Action {
    DrawAction::Answer(waiter, DrawAnswer::Step(result))
}

fn payment(id: PaymentId, status: PaymentStatus) -> Result<Outcome, Refusal> {
    Ok(Outcome::Payment(Payment {
        id,
        kind: PaymentKind::Purchase,
        status,
        amount: Money::new(100),
        currency: "RUB".parse().unwrap(),
        method: None,
        ticket_ids: Vec::new(),
        failure_code: None,
        created_at: second(0),
        updated_at: second(0),
    }))
}

fn end_charge(payment: PaymentId) -> DrawRequest {
    let (charge, begun, at) = (Charge::Paid, second(0), second(0));
    DrawRequest::EndCharge(EndCharge {
        held: None,
        user: BUYER,
        payment,
        begun,
        charge,
        admin: None,
        at,
        key: None,
    })
}

fn closing_at(at: i64) -> Step {
    Step::Reschedule(TimesChange { sales_close_at: Some(second(at)), ..TimesChange::default() })
}

fn drawn_at(at: i64) -> Step {
    Step::Reschedule(TimesChange { draw_at: Some(second(at)), ..TimesChange::default() })
}

fn times(close: i64, draw: i64) -> Times {
    Times { sales_open_at: None, sales_close_at: second(close), draw_at: second(draw) }
}

fn winning() -> WinningPick {
    let pick = parts(DrawStatus::Open, Pool::default()).rules.game.unrank(0);
    WinningPick { pick, drawn_at: second(2 * CLOSE), jackpot: Money::ZERO }
}

#[test]
fn orders_beyond_the_limit_in_flight_are_refused_and_take_nothing() {
    let mut it = Driver::new(DrawStatus::Open);
    let reserved = it.reserve(good());
    let first = submitted(it.order(1, good(), false));
    for _ in 1..IN_FLIGHT {
        submitted(it.order(1, good(), false));
    }
    let overloaded = SaleError::Refused(Refusal::Overloaded);
    assert_eq!(it.order(2, named(1), false), [sale(2, overloaded)]);
    assert_eq!(it.machine.draw.parts().pool, pool([1, 2, 3]));
    // Only orders are refused: a reservation can be paid.
    submitted(it.request(3, DrawRequest::Pay { user: BUYER, payment: reserved.0, key: None }));
    it.written(first, ORDERED, Some(1));
    assert_eq!(it.order(5, good(), false).len(), 1, "there are still three records in flight");
}

#[test]
fn a_place_in_flight_is_free_again_with_its_result() {
    let mut it = Driver::new(DrawStatus::Open);
    let records: Vec<_> = (0..IN_FLIGHT).map(|_| submitted(it.order(1, good(), false))).collect();
    for record in records {
        assert_eq!(it.order(2, good(), false), [sale(2, SaleError::Refused(Refusal::Overloaded))]);
        it.written(record, Err(Refusal::InsufficientFunds), Some(1));
        submitted(it.order(2, good(), false));
    }
}

#[test]
fn what_the_draw_refuses_is_answered_and_not_written() {
    let mut it = Driver::new(DrawStatus::Scheduled);
    let (payment, ticket) = (PaymentId(Uuid::nil()), TicketId(Uuid::nil()));
    assert_eq!(it.order(1, good(), false), [sale(1, OrderRefusal::NotOpen.into())]);
    for (request, error) in [
        (DrawRequest::Pay { user: BUYER, payment, key: None }, SaleError::NotPayable),
        (DrawRequest::BeginCharge { user: BUYER, payment, key: None }, SaleError::NotPayable),
        (DrawRequest::GiveBack { user: BUYER, payment, ticket }, SaleError::NotReserved),
    ] {
        assert_eq!(it.request(2, request), [sale(2, error)]);
    }
    // Money that was taken is written, whatever the draw holds for it.
    assert!(matches!(submitted(it.request(3, end_charge(payment))), Record::EndCharge(end) if end.held.is_none()));
}

#[test]
fn a_result_is_published_before_its_answer() {
    let mut it = Driver::new(DrawStatus::Open);
    let record = submitted(it.order(4, good(), false));
    let outcome = Outcome::Ordered { first_number: Some(1), receipt: None };
    let actions = it.written(record.clone(), Ok(outcome.clone()), Some(4));
    assert_eq!(actions[0], DrawAction::Publish);
    assert_eq!(actions[1], DrawAction::Answer(4, DrawAnswer::Sale(Ok((record, outcome)))));
    assert_eq!(it.machine.draw.view().sold, 1);
}

#[test]
fn a_refusal_that_a_true_memory_never_meets_makes_it_give_up_after_the_answer() {
    use GiveUpReason::{ExpiryRefused, PoolTicketTaken, ReservationLost, StaleEpoch};
    type Decide = fn(&mut Driver) -> Record;
    let order: Decide = |it| submitted(it.order(5, good(), false));
    let pooled: Decide = |it| submitted(it.order(5, named(2), false));
    let pay: Decide = |it| {
        let (payment, _) = it.reserve(good());
        submitted(it.request(5, DrawRequest::Pay { user: BUYER, payment, key: None }))
    };
    let end: Decide = |it| submitted(it.request(5, end_charge(PaymentId(Uuid::nil()))));
    let expire: Decide = |it| {
        it.reserve(good());
        it.now = second(301);
        submitted(it.wake())
    };
    for (decide, refusal, reason) in [
        (order, Refusal::StaleEpoch, Some(StaleEpoch)),
        (order, Refusal::Rejected, None),
        (order, Refusal::InsufficientFunds, None),
        (order, Refusal::Overloaded, None),
        (pooled, Refusal::Rejected, Some(PoolTicketTaken)),
        (pooled, Refusal::Overloaded, None),
        (pay, Refusal::NotPayable, Some(ReservationLost)),
        (pay, Refusal::InsufficientFunds, None),
        (end, Refusal::NotPayable, None),
        (end, Refusal::StaleEpoch, Some(StaleEpoch)),
        (expire, Refusal::Rejected, Some(ExpiryRefused)),
    ] {
        let mut it = Driver::new(DrawStatus::Open);
        let record = decide(&mut it);
        let actions = it.written(record.clone(), Err(refusal.clone()), Some(5));
        assert_eq!(gives_up(&actions), reason, "{refusal:?} for {record:?}");
        assert!(actions.contains(&sale(5, SaleError::Refused(refusal))));
    }
}

#[test]
fn an_outcome_of_another_kind_is_a_fault_and_its_waiter_hears_unknown() {
    let mut it = Driver::new(DrawStatus::Open);
    let (wrong, right) = (submitted(it.order(1, good(), false)), submitted(it.order(2, good(), false)));
    let results = vec![
        WriteResult { record: wrong.clone(), result: Ok(Outcome::Released), waiter: Some(1) },
        WriteResult { record: right.clone(), result: ORDERED, waiter: Some(2) },
    ];
    let actions = it.input(|machine, now, actions| machine.written(results, now, actions));
    let fault = DrawFault::WrongOutcome(Box::new((wrong, Outcome::Released)));
    assert_eq!(
        actions,
        [
            DrawAction::Publish,
            sale(1, SaleError::OutcomeUnknown),
            DrawAction::Answer(2, DrawAnswer::of_record(right, ORDERED)),
            DrawAction::Fault(fault),
            DrawAction::GiveUp(GiveUpReason::Fault),
        ]
    );
}

#[test]
fn a_result_of_a_record_that_is_not_on_its_way_is_a_fault() {
    let mut it = Driver::new(DrawStatus::Open);
    let record = submitted(it.order(1, good(), false));
    assert_eq!(gives_up(&it.written(record.clone(), ORDERED, Some(1))), None);
    let again = it.written(record.clone(), ORDERED, None);
    assert!(again.contains(&DrawAction::Fault(DrawFault::RecordNotAwaited(Box::new(record)))));
    assert_eq!(gives_up(&again), Some(GiveUpReason::Fault));

    // Also while other records are in flight: a payment for which nothing was held, and the return of a ticket
    // that was not requested.
    for (request, outcome) in [
        ((|payment, _| DrawRequest::Pay { user: BUYER, payment, key: None }) as fn(_, _) -> _, true),
        (|payment, ticket| DrawRequest::GiveBack { user: BUYER, payment, ticket }, false),
    ] {
        let mut it = Driver::new(DrawStatus::Open);
        let (id, ticket) = it.reserve(good());
        submitted(it.order(1, good(), false));
        let record = submitted(it.request(2, request(id, ticket)));
        let result = || if outcome { payment(id, PaymentStatus::Paid) } else { Ok(Outcome::Released) };
        assert_eq!(gives_up(&it.written(record.clone(), result(), None)), None);
        assert_eq!(gives_up(&it.written(record, result(), None)), Some(GiveUpReason::Fault));
    }
}

#[test]
fn a_result_of_a_step_that_is_not_being_written_is_a_fault() {
    let mut it = Driver::new(DrawStatus::Open);
    let result = Ok(StepOutcome::Sealed { epoch: 2 });
    let actions = it.step_written(result);
    let fault = DrawAction::Fault(DrawFault::StepNotAwaited(result));
    assert_eq!(actions, [fault, DrawAction::GiveUp(GiveUpReason::Fault)]);

    let mut it = Driver::new(DrawStatus::Open);
    assert_eq!(step_of(&it.step(1, Step::Close)).kind, StepKind::Seal);
    assert_eq!(gives_up(&it.step_written(Ok(StepOutcome::Opened))), Some(GiveUpReason::Fault));

    let mut it = Driver::new(DrawStatus::Open);
    it.step(1, closing_at(5));
    assert_eq!(gives_up(&it.step_written(Ok(StepOutcome::Opened))), Some(GiveUpReason::Fault));
}

#[test]
fn a_step_is_written_then_published_then_answered() {
    let mut it = Driver::new(DrawStatus::Scheduled);
    let actions = it.step(1, Step::Open);
    let [DrawAction::Write(step)] = &actions[..] else { panic!("only one action: {actions:?}") };
    assert_eq!((&step.kind, step.fence, step.at), (&StepKind::Open(None), it.machine.draw.fence(), it.now));
    let audit = step.audit.as_ref().expect("an admin requested it");
    assert_eq!((audit.actor, audit.action), (Some(ADMIN), audit::Action::OpenDraw));
    assert_eq!(it.machine.draw.status(), DrawStatus::Scheduled, "not before it is written");
    let actions = it.step_written(Ok(StepOutcome::Opened));
    let timer = DrawAction::SetTimer(Some(second(CLOSE)));
    assert_eq!(actions, [DrawAction::Publish, told(1, Ok(())), timer]);
    assert_eq!(it.machine.draw.status(), DrawStatus::Open);
}

#[test]
fn steps_are_taken_one_at_a_time_in_the_order_they_were_asked_for() {
    let mut it = Driver::new(DrawStatus::Scheduled);
    it.step(1, Step::Open);
    assert_eq!(it.step(2, Step::Open), []);
    assert_eq!(it.step(3, Step::Conduct), []);
    assert_eq!(it.step(4, Step::Close), []);
    let actions = it.step_written(Ok(StepOutcome::Opened));
    let refused = Err(StepRefusal::InvalidTransition(DrawStatus::Open));
    let answers = actions.iter().filter(|action| matches!(action, DrawAction::Answer(..)));
    assert!(answers.eq(&[told(1, Ok(())), told(2, Ok(())), told(3, refused)]));
    assert_eq!(step_of(&actions).kind, StepKind::Seal);
}

#[test]
fn a_step_that_can_never_be_taken_again_is_refused_while_another_is_written() {
    let mut it =
        Driver::over(DrawState { winning: Some(winning()), ..parts(DrawStatus::Settling, Pool::default()) });
    it.input(DrawMachine::start);
    let refused = Err(StepRefusal::InvalidTransition(DrawStatus::Settling));
    assert_eq!(it.step(1, Step::Cancel), [told(1, refused)]);
    assert_eq!(it.step(2, Step::Conduct), [], "this step waits for the end of the settlement");
}

#[test]
fn the_end_of_a_sale_lets_go_of_reservations_and_waits_for_what_is_on_its_way() {
    let mut it = Driver::new(DrawStatus::Open);
    it.reserve(named(1));
    let order = submitted(it.order(2, named(2), false));
    let actions = it.step(3, Step::Close);
    assert!(writes_nothing(&actions));
    let expiry = submitted(actions);
    assert!(matches!(expiry, Record::Expire(_)));
    assert_eq!(it.order(4, good(), false), [sale(4, OrderRefusal::NotOpen.into())]);
    assert!(writes_nothing(&it.written(expiry, Ok(Outcome::Released), None)));
    let actions = it.written(order, Ok(Outcome::Ordered { first_number: Some(1), receipt: None }), Some(2));
    assert_eq!(step_of(&actions).kind, StepKind::Seal);
    let actions = it.step_written(Ok(StepOutcome::Sealed { epoch: 2 }));
    assert!(actions.contains(&told(3, Ok(()))));
    assert_eq!((it.machine.draw.status(), it.machine.draw.fence().epoch), (DrawStatus::Closed, 2));
}

#[test]
fn a_draw_is_conducted_then_settled_and_is_over() {
    let mut it = Driver::new(DrawStatus::Closed);
    assert_eq!(step_of(&it.step(1, Step::Conduct)).kind, StepKind::Conduct(None));
    let actions = it.step_written(Ok(StepOutcome::Conducted(winning())));
    assert_eq!(actions[0], DrawAction::Publish, "the numbers are published before the prizes are paid");
    let settle = step_of(&actions);
    assert_eq!(settle.kind, StepKind::Settle { winning: winning(), sold: 0 });
    assert_eq!(settle.audit, None, "the audit log has its entry already");
    let actions = it.step_written(Ok(StepOutcome::Settled));
    assert_eq!(actions, [DrawAction::Publish, told(1, Ok(())), DrawAction::Over]);
}

#[test]
fn a_draw_is_cancelled_with_its_reason_then_refunded_and_is_over() {
    for status in [DrawStatus::Scheduled, DrawStatus::Open, DrawStatus::Closed] {
        let mut it = Driver::new(status);
        let kind = StepKind::BeginCancel { reason: "why".to_owned() };
        assert_eq!(step_of(&it.step(1, Step::Cancel)).kind, kind);
        let actions = it.step_written(Ok(StepOutcome::Cancelling { epoch: 5 }));
        assert_eq!(step_of(&actions).kind, StepKind::Refund { sold: 0 });
        assert_eq!(it.machine.draw.view().cancel_reason.as_deref(), Some("why"));
        let actions = it.step_written(Ok(StepOutcome::Refunded));
        assert_eq!(actions, [DrawAction::Publish, told(1, Ok(())), DrawAction::Over]);
    }
}

#[test]
fn a_step_that_was_not_written_is_refused_and_makes_it_give_up() {
    for error in [StepError::StaleEpoch, StepError::Unavailable, StepError::Failed] {
        let mut it = Driver::new(DrawStatus::Scheduled);
        it.step(1, Step::Open);
        let gives_up = DrawAction::GiveUp(GiveUpReason::StepFailed(error));
        assert_eq!(it.step_written(Err(error)), [told(1, Err(error.into())), gives_up]);

        let mut it = Driver::new(DrawStatus::Open);
        it.step(2, closing_at(5));
        let gives_up = DrawAction::GiveUp(GiveUpReason::StepFailed(error));
        assert_eq!(it.step_written(Err(error)), [told(2, Err(error.into())), gives_up]);
    }
}

#[test]
fn what_a_crash_has_interrupted_goes_on_at_the_start() {
    let settling = DrawState { winning: Some(winning()), sold: 4, ..parts(DrawStatus::Settling, Pool::default()) };
    let actions = Driver::over(settling).input(DrawMachine::start);
    assert_eq!(actions[0], DrawAction::Publish);
    assert_eq!(step_of(&actions).kind, StepKind::Settle { winning: winning(), sold: 4 });
    let cancelling = DrawState { sold: 4, ..parts(DrawStatus::Cancelling, Pool::default()) };
    let actions = Driver::over(cancelling).input(DrawMachine::start);
    assert_eq!(step_of(&actions).kind, StepKind::Refund { sold: 4 });
    let actions = Driver::new(DrawStatus::Open).input(DrawMachine::start);
    assert_eq!(actions, [DrawAction::Publish, DrawAction::SetTimer(Some(second(CLOSE)))]);
}

#[test]
fn other_times_are_written_and_the_timer_follows_them() {
    let mut it = Driver::new(DrawStatus::Open);
    it.input(DrawMachine::start);
    let change = TimesChange { sales_close_at: Some(second(50)), draw_at: Some(second(60)), sales_open_at: None };
    let times = Times { sales_open_at: None, sales_close_at: second(50), draw_at: second(60) };
    let actions = it.step(1, Step::Reschedule(change));
    assert_eq!(step_of(&actions).kind, StepKind::Reschedule(times, None));
    let actions = it.step_written(Ok(StepOutcome::Rescheduled(times)));
    let timer = DrawAction::SetTimer(Some(second(50)));
    assert_eq!(actions, [DrawAction::Publish, told(1, Ok(())), timer]);
    assert_eq!(it.machine.draw.view().times, times);
}

#[test]
fn of_two_changes_at_once_each_keeps_its_field() {
    let mut it = Driver::new(DrawStatus::Scheduled);
    // They also wait for another step that is being written.
    it.step(1, Step::Open);
    assert_eq!(it.step(2, closing_at(50)), []);
    assert_eq!(it.step(3, drawn_at(60)), []);
    let first = step_of(&it.step_written(Ok(StepOutcome::Opened))).kind.clone();
    assert_eq!(first, StepKind::Reschedule(times(50, 2 * CLOSE), None));
    let actions = it.step_written(Ok(StepOutcome::Rescheduled(times(50, 2 * CLOSE))));
    assert!(actions.contains(&told(2, Ok(()))));
    assert_eq!(step_of(&actions).kind, StepKind::Reschedule(times(50, 60), None));
    let actions = it.step_written(Ok(StepOutcome::Rescheduled(times(50, 60))));
    assert!(actions.contains(&told(3, Ok(()))));
    assert_eq!(it.machine.draw.view().times, times(50, 60));
}

#[test]
fn a_change_is_checked_against_the_times_at_its_turn() {
    use TimesError::{CloseInPast, DrawBeforeClose, OpenAfterClose};
    let refused = |waiter, errors: &[TimesError]| told(waiter, Err(StepRefusal::InvalidTimes(errors.to_vec())));
    let mut it = Driver::new(DrawStatus::Open);
    it.now = second(10);
    assert_eq!(it.step(1, closing_at(5)), [refused(1, &[CloseInPast])]);
    assert_eq!(it.step(1, drawn_at(5)), [refused(1, &[DrawBeforeClose])]);
    let opens = |at| Step::Reschedule(TimesChange { sales_open_at: Some(second(at)), ..TimesChange::default() });
    assert_eq!(it.step(1, opens(CLOSE)), [refused(1, &[OpenAfterClose])]);
    // Both are possible alone, and not after each other.
    it.step(1, closing_at(50));
    assert_eq!(it.step(2, opens(60)), []);
    assert!(
        it.step_written(Ok(StepOutcome::Rescheduled(times(50, 2 * CLOSE))))
            .contains(&refused(2, &[OpenAfterClose]))
    );
}

#[test]
fn a_change_to_the_same_times_is_not_written() {
    let mut it = Driver::new(DrawStatus::Open);
    assert_eq!(it.step(1, Step::Reschedule(TimesChange::default())), [told(1, Ok(()))]);
    assert_eq!(it.step(2, closing_at(CLOSE)), [told(2, Ok(()))]);
}

#[test]
fn other_times_are_refused_after_the_cut_off_and_after_a_step_that_ends_the_sale() {
    let refused = |waiter, status| told(waiter, Err(StepRefusal::InvalidTransition(status)));
    let mut it = Driver::new(DrawStatus::Open);
    it.now = second(CLOSE);
    assert_eq!(it.step(3, closing_at(2 * CLOSE)), [refused(3, DrawStatus::Open)]);
    for status in [DrawStatus::Closed, DrawStatus::Settling, DrawStatus::Cancelling] {
        let mut it = Driver::new(status);
        assert_eq!(it.step(3, closing_at(5)), [refused(3, status)]);
    }
    let mut it = Driver::new(DrawStatus::Open);
    it.step(1, Step::Close);
    assert_eq!(it.step(2, closing_at(5)), []);
    let actions = it.step_written(Ok(StepOutcome::Sealed { epoch: 2 }));
    assert!(actions.contains(&refused(2, DrawStatus::Closed)));
}

#[test]
fn a_step_that_waits_is_refused_before_a_long_settlement_or_refund() {
    let conducted = StepOutcome::Conducted(winning());
    for (status, step, outcome, then) in [
        (DrawStatus::Closed, Step::Conduct, conducted, DrawStatus::Settling),
        (DrawStatus::Open, Step::Cancel, StepOutcome::Cancelling { epoch: 2 }, DrawStatus::Cancelling),
    ] {
        let mut it = Driver::new(status);
        it.step(1, step);
        assert_eq!(it.step(2, Step::Close), []);
        assert_eq!(it.step(3, step), []);
        let actions = it.step_written(Ok(outcome));
        let answers = actions.iter().filter(|action| matches!(action, DrawAction::Answer(..)));
        assert!(answers.eq(&[told(2, Err(StepRefusal::InvalidTransition(then)))]), "{actions:?}");
    }
}

#[test]
fn so_many_steps_wait_and_further_ones_are_refused() {
    let mut it = Driver::new(DrawStatus::Scheduled);
    it.step(0, Step::Open);
    for waiter in 1..=MAX_WAITING_STEPS as u32 {
        assert_eq!(it.step(waiter, closing_at(50)), []);
    }
    assert_eq!(it.step(1_000, closing_at(50)), [told(1_000, Err(StepRefusal::Overloaded))]);
    let actions = it.step_written(Ok(StepOutcome::Opened));
    assert!(!actions.iter().any(|action| matches!(action, DrawAction::GiveUp(_))));
}

/// A driver of a draw on sale with a reservation whose card is being charged; new times are being written, and the
/// cut-off has passed meanwhile.
fn charged_while_rescheduling(close: i64) -> (Driver, PaymentId) {
    let mut it = Driver::new(DrawStatus::Open);
    it.input(DrawMachine::start);
    let (id, _) = it.reserve(good());
    let begin = submitted(it.request(2, DrawRequest::BeginCharge { user: BUYER, payment: id, key: None }));
    it.written(begin, payment(id, PaymentStatus::Processing), Some(2));
    it.now = second(CLOSE - 1);
    let change =
        TimesChange { sales_close_at: Some(second(close)), draw_at: Some(second(9 * CLOSE)), sales_open_at: None };
    it.step(1, Step::Reschedule(change));
    it.now = second(CLOSE + 1);
    assert!(writes_nothing(&it.wake()), "the sale does not end while its end may move");
    (it, id)
}

fn end_charge_at(payment: PaymentId, at: Timestamp) -> DrawRequest {
    match end_charge(payment) {
        DrawRequest::EndCharge(end) => DrawRequest::EndCharge(EndCharge { at, ..end }),
        _ => unreachable!("the function above makes it"),
    }
}

#[test]
fn a_card_that_pays_while_the_sale_is_extended_gets_its_ticket() {
    let (mut it, id) = charged_while_rescheduling(2 * CLOSE);
    assert_eq!(it.request(3, end_charge_at(id, it.now)), [], "it waits for the new times");
    let actions = it.step_written(Ok(StepOutcome::Rescheduled(times(2 * CLOSE, 9 * CLOSE))));
    let record = submitted(actions);
    assert!(matches!(&record, Record::EndCharge(end) if end.held.is_some()), "{record:?}");
    it.written(record, payment(id, PaymentStatus::Paid), Some(3));
    assert_eq!(it.machine.draw.sold(), 1);
}

#[test]
fn a_card_that_pays_after_the_cut_off_of_a_sale_that_was_not_extended_pays_no_ticket() {
    let (mut it, id) = charged_while_rescheduling(CLOSE);
    assert_eq!(it.request(3, end_charge_at(id, it.now)), []);
    let actions = it.step_written(Ok(StepOutcome::Rescheduled(times(CLOSE, 9 * CLOSE))));
    let ends = |action: &&Action| matches!(action, DrawAction::Submit { record: Record::EndCharge(end), .. } if end.held.is_none());
    assert_eq!(actions.iter().filter(ends).count(), 1, "{actions:?}");
    // The sale then ends, and with it the reservation.
    let expires = |action: &&Action| matches!(action, DrawAction::Submit { record: Record::Expire(_), .. });
    assert_eq!(actions.iter().filter(expires).count(), 1, "{actions:?}");
}

#[test]
fn what_waits_hears_that_nothing_was_written_when_the_machine_gives_up() {
    let (mut it, id) = charged_while_rescheduling(2 * CLOSE);
    it.request(3, end_charge_at(id, it.now));
    it.step(4, drawn_at(3 * CLOSE));
    let error = StepError::Unavailable;
    let actions = it.step_written(Err(error));
    let unavailable = || Err(StepRefusal::Unavailable);
    let again = sale(3, SaleError::Refused(Refusal::Overloaded));
    let gives_up = DrawAction::GiveUp(GiveUpReason::StepFailed(error));
    assert_eq!(actions, [told(1, unavailable()), told(4, unavailable()), again, gives_up]);
}

#[test]
fn new_pool_tickets_are_for_sale_when_they_are_written() {
    let mut it = Driver::over(parts(DrawStatus::Open, Pool::default()));
    let actions = it.request(7, DrawRequest::AddToPool { count: 2, key: None, by: Some(ADMIN) });
    let [DrawAction::MakePool(order, 7)] = &actions[..] else { panic!("only one action: {actions:?}") };
    assert_eq!((order.count, order.fence), (2, it.machine.draw.fence()));
    assert_eq!(order.audit.as_ref().map(|audit| audit.action), Some(audit::Action::AddToPool));
    let game = it.machine.draw.rules().game;
    let tickets = [1, 2].map(|number| (pool_id(number), game.unrank(number.into()))).to_vec();
    let actions = it.pool_written(Ok(NewPool { tickets, available: None }));
    let created = PoolCreated { created: 2, tickets_available: 2 };
    assert_eq!(actions, [DrawAction::Publish, DrawAction::Answer(7, DrawAnswer::Pool(Ok(created)))]);
    submitted(it.order(8, named(2), false));
}

#[test]
fn no_pool_tickets_are_made_once_the_sale_has_ended() {
    let mut it = Driver::new(DrawStatus::Closed);
    let refused = PoolError::Step(StepRefusal::InvalidTransition(DrawStatus::Closed));
    let actions = it.request(7, DrawRequest::AddToPool { count: 2, key: None, by: None });
    assert_eq!(actions, [DrawAction::Answer(7, DrawAnswer::Pool(Err(refused)))]);
}

#[test]
fn it_gives_up_when_it_is_not_known_which_pool_tickets_were_written() {
    let unknown = Some(GiveUpReason::PoolUnknown);
    for (error, reason) in [
        (PoolError::OutcomeUnknown, unknown),
        (PoolError::Step(StepRefusal::Failed), unknown),
        (PoolError::Step(StepRefusal::Unavailable), None),
        (PoolError::Step(StepRefusal::InvalidTransition(DrawStatus::Closed)), None),
        (PoolError::TooFewLeft { left: 1 }, None),
        (PoolError::KeyTaken, None),
    ] {
        let mut it = Driver::new(DrawStatus::Open);
        let actions = it.pool_written(Err(error.clone()));
        assert_eq!(actions[0], DrawAction::Answer(7, DrawAnswer::Pool(Err(error.clone()))));
        assert_eq!(gives_up(&actions), reason, "{error:?}");
    }
}

#[test]
fn the_timer_is_set_for_the_next_time_and_only_when_that_changes() {
    let mut it = Driver::new(DrawStatus::Open);
    it.input(DrawMachine::start);
    let record = submitted(it.order(1, good(), true));
    let actions = it.written(record, ORDERED, Some(1));
    assert_eq!(actions.last(), Some(&DrawAction::SetTimer(Some(second(300)))), "the reservation's end");
    let record = submitted(it.order(1, good(), false));
    let actions = it.written(record, ORDERED, Some(1));
    assert!(!sets_timer(&actions));
    it.now = second(300);
    let actions = it.wake();
    assert_eq!(actions.last(), Some(&DrawAction::SetTimer(Some(second(CLOSE)))), "the cut-off");
    assert!(matches!(submitted(actions), Record::Expire(_)));
}

#[test]
fn at_the_cut_off_the_clock_closes_the_sale_before_any_step_that_waits() {
    let mut it = Driver::new(DrawStatus::Open);
    it.input(DrawMachine::start);
    it.now = second(CLOSE);
    let actions = it.wake();
    let seal = step_of(&actions);
    assert_eq!((&seal.kind, &seal.audit), (&StepKind::Seal, &None));
    assert!(!sets_timer(&actions), "what is due already waits for its result");

    // An admin's step that waits behind another step runs after the step of the clock.
    let mut it = Driver::new(DrawStatus::Scheduled);
    it.step(1, Step::Open);
    it.step(2, Step::Cancel);
    it.now = second(CLOSE);
    let actions = it.step_written(Ok(StepOutcome::Opened));
    assert_eq!(step_of(&actions).kind, StepKind::Seal);
}

#[test]
fn a_draw_that_nobody_opened_is_cancelled_at_its_cut_off() {
    let mut it = Driver::new(DrawStatus::Scheduled);
    it.now = second(CLOSE);
    let actions = it.wake();
    let step = step_of(&actions);
    let reason = UNOPENED.to_owned();
    assert_eq!((&step.kind, &step.audit), (&StepKind::BeginCancel { reason }, &None));
}

#[test]
fn by_a_clock_that_is_not_trusted_nothing_happens_by_itself() {
    for (status, kind) in [
        (DrawStatus::Open, StepKind::Seal),
        (DrawStatus::Closed, StepKind::Conduct(None)),
        (DrawStatus::Scheduled, StepKind::BeginCancel { reason: UNOPENED.to_owned() }),
    ] {
        let mut it = Driver::new(status);
        it.input(DrawMachine::start);
        it.now = second(2 * CLOSE);
        it.machine.trust_clock(false);
        assert!(writes_nothing(&it.wake()), "{status:?}");
        it.machine.trust_clock(true);
        assert_eq!(step_of(&it.wake()).kind, kind);
    }
}

#[test]
fn by_hand_everything_works_while_the_clock_is_not_trusted() {
    let mut it = Driver::new(DrawStatus::Open);
    it.now = second(2 * CLOSE);
    it.machine.trust_clock(false);
    assert_eq!(step_of(&it.step(1, Step::Close)).kind, StepKind::Seal);
    let actions = it.step_written(Ok(StepOutcome::Sealed { epoch: 2 }));
    assert!(actions.contains(&told(1, Ok(()))) && writes_nothing(&actions));
    assert_eq!(step_of(&it.step(2, Step::Conduct)).kind, StepKind::Conduct(None));
}

#[test]
fn no_reservation_ends_by_a_clock_that_is_not_trusted() {
    let mut it = Driver::new(DrawStatus::Open);
    let ((first, _), (second_one, _)) = (it.reserve(good()), it.reserve(named(1)));
    let begin = submitted(it.request(2, DrawRequest::BeginCharge { user: BUYER, payment: first, key: None }));
    it.written(begin, payment(first, PaymentStatus::Processing), Some(2));
    it.machine.trust_clock(false);
    it.now = second(CLOSE - 1);
    let actions = it.wake();
    assert!(!actions.iter().any(|action| matches!(action, DrawAction::Submit { .. })), "{actions:?}");
    submitted(it.request(3, DrawRequest::Pay { user: BUYER, payment: second_one, key: None }));
    // The clock shows a time after the cut-off: nothing is sold, and the card that was charged before gets its ticket.
    it.now = second(2 * CLOSE);
    assert_eq!(it.order(4, good(), false), [sale(4, OrderRefusal::NotOpen.into())]);
    let end = submitted(it.request(5, end_charge_at(first, it.now)));
    assert!(matches!(&end, Record::EndCharge(end) if end.held.is_some()), "{end:?}");
}

#[test]
fn a_second_end_of_a_charge_waits_for_the_first() {
    let mut it = Driver::new(DrawStatus::Open);
    let (id, _) = it.reserve(good());
    let begin = submitted(it.request(2, DrawRequest::BeginCharge { user: BUYER, payment: id, key: None }));
    it.written(begin, payment(id, PaymentStatus::Processing), Some(2));
    let end = submitted(it.request(3, end_charge_at(id, it.now)));
    assert!(matches!(&end, Record::EndCharge(end) if end.held.is_some()), "{end:?}");
    // Without the tickets its money would go to the wallet, if the first end is not written after all.
    assert_eq!(it.request(4, end_charge_at(id, it.now)), [sale(4, SaleError::Refused(Refusal::Overloaded))]);
}

/// Round 123 of quicknet, at 1692803733.
const ROUND_AT: i64 = 1_692_803_733;
const SIGNATURE: &str =
    "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92";

fn verified() -> VerifiedRound {
    let signature = std::array::from_fn(|i| u8::from_str_radix(&SIGNATURE[2 * i..2 * i + 2], 16).unwrap());
    announced().verify(signature).unwrap()
}

fn announced() -> AnnouncedRound {
    AnnouncedRound { chain: Arc::new(BeaconChain::quicknet()), round: 123 }
}

fn of_beacon(seconds: i64) -> Timestamp {
    Timestamp::from_second(ROUND_AT + seconds).unwrap()
}

/// A draw whose sale ends ten minutes before its round.
fn with_beacon(status: DrawStatus) -> Driver {
    let mut state = parts(status, pool([]));
    state.times = Times { sales_open_at: None, sales_close_at: of_beacon(-600), draw_at: of_beacon(-1) };
    state.fairness = Some(Fairness::Beacon);
    state.round = Some(announced());
    let mut driver = Driver::over(state);
    driver.now = of_beacon(-700);
    driver
}

impl Driver {
    fn fetched(&mut self, verified: Option<VerifiedRound>) -> Vec<Action> {
        self.input(|machine, now, actions| machine.round_fetched(verified, now, actions))
    }

    /// The refusal of a step that an admin requests.
    fn refusal(&mut self, step: Step) -> StepRefusal {
        match &self.step(1, step)[..] {
            [DrawAction::Answer(1, DrawAnswer::Step(Err(refusal)))] => refusal.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_draw_asks_for_its_round_when_it_appears_and_draws_when_it_is_known() {
    let mut it = with_beacon(DrawStatus::Closed);
    assert_eq!(it.input(DrawMachine::wake), [DrawAction::SetTimer(Some(of_beacon(0)))]);
    assert_eq!(it.refusal(Step::Conduct), StepRefusal::BeaconNotReady(of_beacon(0)));
    it.now = of_beacon(-1);
    assert_eq!(
        it.input(DrawMachine::wake),
        [DrawAction::SetTimer(Some(of_beacon(0)))],
        "draw_at is not the round"
    );
    it.now = of_beacon(0);
    assert_eq!(it.input(DrawMachine::wake), [DrawAction::FetchRound(announced())]);
    assert_eq!(it.input(DrawMachine::wake), [], "it is asked for once at a time");
    assert_eq!(it.refusal(Step::Conduct), StepRefusal::BeaconNotReady(of_beacon(0)));
    assert_eq!(it.fetched(None), [DrawAction::FetchRound(announced())]);
    let actions = it.fetched(Some(verified()));
    let step = step_of(&actions);
    assert_eq!((&step.kind, &step.audit), (&StepKind::Conduct(Some(verified())), &None));
    let actions = it.step_written(Ok(StepOutcome::Conducted(winning())));
    assert_eq!(step_of(&actions).kind, StepKind::Settle { winning: winning(), sold: 0 });
}

#[test]
fn another_round_than_the_announced_one_is_not_used() {
    let mut it = with_beacon(DrawStatus::Closed);
    let mut state = it.machine.draw.parts().clone();
    state.round = Some(AnnouncedRound { round: 122, ..announced() });
    it.machine = DrawMachine::new(Draw::new(state), IN_FLIGHT);
    it.now = of_beacon(0);
    it.input(DrawMachine::wake);
    assert!(matches!(it.fetched(Some(verified()))[..], [DrawAction::FetchRound(_)]));
}

#[test]
fn a_clock_that_is_not_trusted_asks_for_no_round() {
    let mut it = with_beacon(DrawStatus::Closed);
    it.now = of_beacon(0);
    it.machine.trust_clock(false);
    assert_eq!(it.input(DrawMachine::wake), []);
    it.machine.trust_clock(true);
    assert_eq!(it.input(DrawMachine::wake), [DrawAction::FetchRound(announced())]);
}

#[test]
fn a_draw_waits_for_its_turn() {
    let mut it = with_beacon(DrawStatus::Closed);
    it.now = of_beacon(0);
    it.input(DrawMachine::wake);
    it.fetched(Some(verified()));
    let waits = Ok(StepOutcome::Waits(DrawId(3)));
    assert_eq!(it.step_written(waits), [DrawAction::AwaitTurn], "nobody else is told: the clock asked");
    // An admin asks in between, and hears which draw is first.
    assert_eq!(step_of(&it.step(1, Step::Conduct)).kind, StepKind::Conduct(Some(verified())));
    let answer = DrawAnswer::Step(Err(StepRefusal::DrawWaits(DrawId(3))));
    assert_eq!(it.step_written(waits), [DrawAction::Answer(1, answer)], "one wait is enough");
    let actions = it.input(DrawMachine::turn_came);
    assert_eq!(step_of(&actions).kind, StepKind::Conduct(Some(verified())));
}

#[test]
fn from_its_cut_off_on_a_draw_with_a_beacon_takes_place() {
    let later = TimesChange { draw_at: Some(of_beacon(600)), ..TimesChange::default() };
    let mut it = with_beacon(DrawStatus::Open);
    let times = Times { draw_at: of_beacon(600), ..it.machine.draw.parts().times };
    assert_eq!(step_of(&it.step(1, Step::Reschedule(later))).kind, StepKind::Reschedule(times, Some(323)));
    it.step_written(Ok(StepOutcome::Rescheduled(times)));
    assert_eq!(it.machine.draw.parts().round, Some(AnnouncedRound { round: 323, ..announced() }));
    let narrow = TimesChange { draw_at: Some(of_beacon(-4)), ..TimesChange::default() };
    let error = TimesError::CloseToRound { round_at: of_beacon(-3), margin: SignedDuration::from_mins(10) };
    assert_eq!(it.refusal(Step::Reschedule(narrow)), StepRefusal::InvalidTimes(vec![error]));

    for status in [DrawStatus::Open, DrawStatus::Closed] {
        let mut it = with_beacon(status);
        it.now = of_beacon(-601);
        assert!(it.machine.draw.allows(Step::Cancel, it.now) == Allowed::Yes, "{status:?}");
        it.now = of_beacon(-600);
        assert_eq!(it.machine.draw.allows(Step::Cancel, it.now), Allowed::DrawDue, "{status:?}");
        assert_eq!(it.machine.draw.allows(Step::Reschedule(later), it.now), Allowed::DrawDue, "{status:?}");
    }
}

#[test]
fn a_round_that_does_not_appear_for_a_day_makes_the_draw_void() {
    let mut it = with_beacon(DrawStatus::Closed);
    it.now = of_beacon(24 * 3600);
    it.input(DrawMachine::wake);
    assert_eq!(it.fetched(None), [DrawAction::FetchRound(announced())], "it has asked once");
    it.now = of_beacon(24 * 3600 + 599);
    assert_eq!(it.fetched(None), [DrawAction::FetchRound(announced())]);
    it.now = of_beacon(24 * 3600 + 600);
    let actions = it.fetched(None);
    assert_eq!(step_of(&actions).kind, StepKind::BeginCancel { reason: "no_round".to_owned() });
    it.step_written(Ok(StepOutcome::Cancelling { epoch: 2 }));
    assert_eq!(it.machine.draw.parts().cancel_reason.as_deref(), Some("no_round"));
}

#[test]
fn a_draw_that_is_stopped_is_cancelled_by_itself_or_by_an_admin_as_the_reason_says() {
    let stop = |it: &mut Driver, reason| it.input(|machine, now, actions| machine.stop_for(reason, now, actions));
    let mut by_itself = with_beacon(DrawStatus::Closed);
    by_itself.now = of_beacon(-500);
    let actions = stop(&mut by_itself, VoidReason::NoQuorum);
    assert_eq!(step_of(&actions).kind, StepKind::BeginCancel { reason: "no_quorum".to_owned() });

    let mut it = with_beacon(DrawStatus::Closed);
    it.now = of_beacon(0);
    it.input(DrawMachine::wake);
    assert_eq!(stop(&mut it, VoidReason::ListMismatch), [DrawAction::Publish]);
    assert_eq!(it.fetched(Some(verified())), [], "nothing is drawn");
    assert_eq!(it.refusal(Step::Conduct), StepRefusal::InvalidTransition(DrawStatus::Closed));
    let actions = it.step(1, Step::Cancel);
    let step = step_of(&actions);
    assert_eq!(step.kind, StepKind::BeginCancel { reason: "list_mismatch".to_owned() });
    let audit = serde_json::to_string(&step.audit.as_ref().unwrap().detail).unwrap();
    assert_eq!(audit, r#"{"reason":"why"}"#, "the admin's words");
}

#[test]
fn a_draw_is_announced_with_the_round_of_its_time() {
    let mut state = parts(DrawStatus::Scheduled, pool([]));
    let times = Times { sales_open_at: None, sales_close_at: of_beacon(-600), draw_at: of_beacon(-1) };
    let terms = FairnessTerms { mode: Fairness::Beacon, ..FairnessTerms::default() };
    let machine =
        |state: &DrawState| DrawMachine::new(Draw::new(state.clone()).on_terms(terms.clone()), IN_FLIGHT);
    state.times = times;
    let mut it = Driver::over(state.clone());
    (it.machine, it.now) = (machine(&state), of_beacon(-700));
    assert_eq!(step_of(&it.step(1, Step::Open)).kind, StepKind::Open(Some(announced())));
    it.step_written(Ok(StepOutcome::Opened));
    assert_eq!(it.machine.draw.view().fairness, Some(Fairness::Beacon));
    assert_eq!(it.machine.draw.parts().round, Some(announced()));

    // Too little margin: neither an admin nor the clock opens it, and at the cut-off it is cancelled.
    state.times = Times { sales_open_at: Some(of_beacon(-650)), sales_close_at: of_beacon(-599), ..times };
    it.machine = machine(&state);
    assert!(matches!(it.refusal(Step::Open), StepRefusal::CloseToRound(_)));
    it.now = of_beacon(-640);
    assert_eq!(it.input(DrawMachine::wake), [DrawAction::SetTimer(Some(of_beacon(-599)))]);
    it.now = of_beacon(-599);
    let actions = it.input(DrawMachine::wake);
    assert_eq!(step_of(&actions).kind, StepKind::BeginCancel { reason: UNOPENED.to_owned() });

    // Its round is known by then: it is not opened late.
    state.times = Times { sales_open_at: Some(of_beacon(-650)), ..times };
    it.machine = machine(&state);
    it.now = of_beacon(10);
    let actions = it.input(DrawMachine::wake);
    assert_eq!(step_of(&actions).kind, StepKind::BeginCancel { reason: UNOPENED.to_owned() });
}

#[test]
fn a_draw_whose_tickets_are_not_those_that_were_sealed_stops_until_an_admin_acts() {
    let mismatch = |prizes_fixed| Err(StepError::ListMismatch { prizes_fixed });
    let stopped = |prizes_fixed| {
        let settling = DrawState { winning: Some(winning()), ..parts(DrawStatus::Settling, Pool::default()) };
        let mut it = Driver::over(settling);
        assert!(matches!(step_of(&it.input(DrawMachine::start)).kind, StepKind::Settle { .. }));
        let actions = it.step_written(mismatch(prizes_fixed));
        assert!(
            writes_nothing(&actions) && gives_up(&actions).is_none() && it.machine.draw().view().payout_stopped
        );
        it.now = second(9 * CLOSE);
        assert!(writes_nothing(&it.wake()), "it does nothing by itself");
        it
    };
    // It is counted again when an admin conducts it, and the admin hears the result.
    let mut it = stopped(false);
    assert!(matches!(step_of(&it.step(1, Step::Conduct)).kind, StepKind::Settle { .. }));
    assert!(it.step_written(mismatch(false)).contains(&told(1, Err(StepRefusal::ListMismatch))));
    assert!(matches!(step_of(&it.step(2, Step::Conduct)).kind, StepKind::Settle { .. }));
    assert!(it.step_written(Ok(StepOutcome::Settled)).contains(&told(2, Ok(()))));
    assert!(!it.machine.draw().view().payout_stopped);

    // It can be cancelled until its prizes are fixed, and has no numbers then.
    let mut it = stopped(false);
    assert!(matches!(step_of(&it.step(1, Step::Cancel)).kind, StepKind::BeginCancel { .. }));
    it.step_written(Ok(StepOutcome::Cancelling { epoch: 2 }));
    let view = it.machine.draw().view();
    assert_eq!((view.status, view.winning, view.payout_stopped), (DrawStatus::Cancelling, None, false));
    let refused = Err(StepRefusal::InvalidTransition(DrawStatus::Settling));
    assert_eq!(stopped(true).step(1, Step::Cancel), [told(1, refused)]);
}
