//! One test for each decision of the machines. `tests/simulation` shows that the decisions together keep every
//! invariant.

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::domain::draw::{StepError, WriteResult};
use crate::domain::game::Game;
use crate::domain::id::{DrawId, LotteryId, PaymentId, TicketId, UserId};
use crate::domain::ledger::AccountId;
use crate::domain::money::{Currency, Money};
use crate::domain::record::{
    BeginDeposit, BeginWithdrawal, Fence, Key, KeyId, Line, Order, Outcome, Record, Refusal,
};
use crate::domain::rows::DrawSalesRow;
use crate::domain::ticket::Origin;
use crate::domain::ticket_log::{TicketLog, TicketLogFault, proof_text, test_logs};
use crate::domain::writer_cache::{Invalidation, PrefetchResult};

/// The row of the first connection.
const ROW: i64 = 7;
const ANN: UserId = UserId(1);

/// A record, with the time from which it is late.
#[derive(Clone, PartialEq, Debug)]
struct Request(Record, Option<u32>);

impl BatchRecord for Request {
    type Time = u32;

    fn record(&self) -> &Record {
        &self.0
    }

    fn deadline(&self) -> Option<u32> {
        self.1
    }
}

fn currency() -> Currency {
    "EUR".parse().unwrap()
}

/// Ann withdraws 5. Its number names the payment.
fn withdrawal(number: u128, deadline: Option<u32>) -> Request {
    let (payment, amount, at) = (PaymentId(Uuid::from_u128(number)), Money::new(5), Timestamp::UNIX_EPOCH);
    Request(Record::BeginWithdrawal(BeginWithdrawal { user: ANN, payment, amount, at, key: None }), deadline)
}

/// A deposit with a key reads nothing before it is written. The database refuses a key that exists.
fn keyed_deposit() -> Request {
    let (payment, amount, at) = (PaymentId(Uuid::from_u128(9)), Money::new(5), Timestamp::UNIX_EPOCH);
    let key = Some(Key { user: ANN, id: KeyId::of(ANN, "key"), request: Uuid::from_u128(1) });
    Request(Record::BeginDeposit(BeginDeposit { user: ANN, payment, amount, at, key }), None)
}

/// Ann has 10 in her wallet.
fn found() -> PrefetchResult {
    let accounts = vec![(AccountId::wallet(ANN), Money::new(10)), (AccountId::held(ANN), Money::ZERO)];
    PrefetchResult { accounts, ..PrefetchResult::default() }
}

fn connected() -> ConnectionState<()> {
    let mut state = ConnectionState::new(test_logs());
    state.connected((), ROW);
    state
}

/// The name of the next action.
fn next(run: &mut BatchRun<Request>, state: &mut ConnectionState<()>, now: u32) -> &'static str {
    match run.next(state, now) {
        BatchAction::Connection(ConnectionAction::Connect) => "connect",
        BatchAction::Connection(ConnectionAction::Rest) => "rest",
        BatchAction::Prefetch((), _) => "prefetch",
        BatchAction::Write((), _, _) => "write",
        BatchAction::CloseRow((), _) => "close row",
        BatchAction::Answer => "answer",
        BatchAction::Done => "done",
    }
}

fn next_of_step(run: &mut StepRun<&str, u32>, state: &mut ConnectionState<()>, now: u32) -> &'static str {
    match run.next(state, now) {
        StepAction::Connection(ConnectionAction::Connect) => "connect",
        StepAction::Connection(ConnectionAction::Rest) => "rest",
        StepAction::Write((), _) => "write",
        StepAction::CloseRow((), _) => "close row",
        StepAction::Done => "done",
    }
}

/// A batch whose transaction is ready to be sent.
fn executed(records: Vec<Request>) -> (BatchRun<Request>, ConnectionState<()>) {
    let (mut run, mut state) = (BatchRun::new(records, currency()), connected());
    assert_eq!(next(&mut run, &mut state, 0), "prefetch");
    assert_eq!(run.prefetched(&mut state, Ok(found())), None);
    assert_eq!(next(&mut run, &mut state, 0), "write");
    (run, state)
}

fn results(answers: Answers<Request>) -> Vec<Result<Outcome, Refusal>> {
    answers.into_iter().map(|(_, result)| result).collect()
}

/// Makes the new connection after a lost one.
fn reconnect(run: &mut BatchRun<Request>, state: &mut ConnectionState<()>) {
    assert_eq!(next(run, state, 0), "connect");
    state.connected((), ROW + 1);
}

#[test]
fn a_batch_connects_reads_writes_and_answers() {
    let (mut run, mut state) =
        (BatchRun::new(vec![withdrawal(1, None)], currency()), ConnectionState::new(test_logs()));
    assert_eq!(next(&mut run, &mut state, 0), "connect");
    state.connect_failed();
    assert_eq!(next(&mut run, &mut state, 0), "rest");
    state.rested();
    assert_eq!(next(&mut run, &mut state, 0), "connect");
    state.connected((), ROW);
    assert!(matches!(run.next(&mut state, 0), BatchAction::Prefetch((), missing) if missing.accounts.len() == 2));
    assert_eq!(next(&mut run, &mut state, 0), "prefetch", "the action is the same until its result is reported");
    run.prefetched(&mut state, Ok(found()));
    let BatchAction::Write((), _, write) = run.next(&mut state, 0) else { panic!("it is written") };
    assert!(write.begun);
    assert_eq!(write.mark, Mark { writer: ROW, number: 1 });
    assert_eq!(run.ended(&mut state, TransactionEnd::Committed), Decision::Answer);
    assert_eq!(next(&mut run, &mut state, 0), "answer");
    let answers = run.take_answers();
    assert!(matches!(&answers[..], [(Request(..), Ok(Outcome::Payment(_)))]));
    assert_eq!(next(&mut run, &mut state, 0), "done");
}

/// An order of Ann, who has 10. A ticket costs 4. The order's number names the payment, and with each line's index the
/// ticket.
fn order(number: u128, lines: u128, reserved: bool) -> Request {
    let pick = Game::new(5, 36).unwrap().unrank(0);
    let line = |index| {
        let ticket = TicketId(Uuid::from_u128(number + index));
        Line { ticket, pick, origin: Origin::Chosen, pool_ticket: None }
    };
    let order = Order {
        fence: Fence { draw: DRAW, epoch: 1 },
        lottery: LotteryId("l".to_owned()),
        user: ANN,
        payment: PaymentId(Uuid::from_u128(number)),
        price: Money::new(4),
        lines: (1..=lines).map(line).collect(),
        reserved_until: reserved.then_some(Timestamp::UNIX_EPOCH),
        at: Timestamp::UNIX_EPOCH,
        key: None,
    };
    Request(Record::Order(order), None)
}

#[test]
fn the_new_tickets_of_a_batch_are_those_of_its_accepted_orders() {
    let records = vec![order(100, 2, false), order(200, 1, false), order(300, 1, true)];
    let (mut run, mut state) = (BatchRun::new(records, currency()), connected());
    assert_eq!(next(&mut run, &mut state, 0), "prefetch");
    let mut found = found();
    found.accounts.push((AccountId::escrow(DrawId(3)), Money::ZERO));
    found.draws.push((DrawId(3), DrawSalesRow { epoch: 1, sold: 10, edge: None }));
    assert_eq!(run.prefetched(&mut state, Ok(found)), None);
    let BatchAction::Write((), records, write) = run.next(&mut state, 0) else { panic!("it is written") };
    assert_eq!(write.results[1], Err(Refusal::InsufficientFunds));
    let tickets = write.new_tickets(records.iter().map(BatchRecord::record));
    let tickets: Vec<_> = tickets.map(|(order, line, number)| (order.payment.0, line.ticket.0, number)).collect();
    let ids = |payment, ticket| (Uuid::from_u128(payment), Uuid::from_u128(ticket));
    let expected = [(ids(100, 101), Some(11)), (ids(100, 102), Some(12)), (ids(300, 301), None)];
    assert_eq!(tickets, expected.map(|((payment, ticket), number)| (payment, ticket, number)));
}

#[test]
fn what_was_committed_is_not_read_again_and_the_next_mark_is_another() {
    let (mut run, mut state) = executed(vec![withdrawal(1, None)]);
    run.ended(&mut state, TransactionEnd::Committed);
    let mut run = BatchRun::new(vec![withdrawal(2, None)], currency());
    let BatchAction::Write((), _, write) = run.next(&mut state, 0) else { panic!("all is in the cache") };
    assert!(!write.begun);
    assert_eq!(write.mark, Mark { writer: ROW, number: 2 });
    let wallet = write.expected.accounts.iter().find(|(id, ..)| *id == AccountId::wallet(ANN)).unwrap();
    assert_eq!(*wallet, (AccountId::wallet(ANN), Some(Money::new(5)), Money::ZERO));
}

#[test]
fn late_records_are_dropped_before_a_transaction_and_never_after() {
    let late = withdrawal(1, Some(5));
    let (mut run, mut state) = (BatchRun::new(vec![late, withdrawal(2, Some(6))], currency()), connected());
    assert_eq!(next(&mut run, &mut state, 5), "answer");
    assert_eq!(results(run.take_answers()), [Err(Refusal::Overloaded)]);
    assert_eq!(next(&mut run, &mut state, 5), "prefetch", "the other is in time");
    assert_eq!(next(&mut run, &mut state, 99), "prefetch", "the transaction has begun");
    run.prefetched(&mut state, Ok(found()));
    assert_eq!(next(&mut run, &mut state, 99), "write");
    run.ended(&mut state, TransactionEnd::Unknown);
    reconnect(&mut run, &mut state);
    assert_eq!(next(&mut run, &mut state, 99), "close row", "it may be committed");
    run.row_closed(&mut state, Some(Mark::NONE));
    assert_eq!(next(&mut run, &mut state, 99), "answer", "not committed, and too late for a retry");
    assert_eq!(results(run.take_answers()), [Err(Refusal::Overloaded)]);
}

#[test]
fn late_records_are_answered_while_there_is_no_connection_and_others_wait() {
    let records = vec![withdrawal(1, Some(5)), withdrawal(2, None)];
    let (mut run, mut state) = (BatchRun::new(records, currency()), ConnectionState::new(test_logs()));
    assert_eq!(next(&mut run, &mut state, 0), "connect");
    state.connect_failed();
    assert_eq!(next(&mut run, &mut state, 5), "answer");
    assert_eq!(run.take_answers(), [(withdrawal(1, Some(5)), Err(Refusal::Overloaded))]);
    assert_eq!(next(&mut run, &mut state, 5), "rest");
    assert_eq!(run.unanswered().collect::<Vec<_>>(), [&withdrawal(2, None)]);
}

#[test]
fn a_lost_connection_ends_its_cache_and_the_batch_is_tried_again() {
    for end in [TransactionEnd::Lost, TransactionEnd::Outdated] {
        let (mut run, mut state) = executed(vec![withdrawal(1, None)]);
        let decision = run.ended(&mut state, end);
        assert_eq!(decision, if end == TransactionEnd::Lost { Decision::TryAgain } else { Decision::ReadAnew });
        assert!(state.is_cache_empty() && state.connection().is_none());
        assert_eq!(next(&mut run, &mut state, 0), "rest");
        state.rested();
        reconnect(&mut run, &mut state);
        assert_eq!(next(&mut run, &mut state, 0), "prefetch");
        run.prefetched(&mut state, Ok(found()));
        let BatchAction::Write((), _, write) = run.next(&mut state, 0) else { panic!("it is written") };
        assert_eq!(write.mark, Mark { writer: ROW + 1, number: 1 });
    }
}

#[test]
fn a_failed_prefetch_is_tried_again_or_refused() {
    for (failure, expected) in
        [(PrefetchFailure::Lost, Decision::TryAgain), (PrefetchFailure::Refused, Decision::Reject)]
    {
        let (mut run, mut state) = (BatchRun::new(vec![withdrawal(1, None)], currency()), connected());
        assert_eq!(next(&mut run, &mut state, 0), "prefetch");
        assert_eq!(run.prefetched(&mut state, Err(failure)), Some(expected));
        assert!(state.connection().is_none(), "the transaction that has begun must be rolled back");
    }
}

#[test]
fn a_connection_that_is_found_closed_before_anything_was_sent_is_replaced() {
    let (mut run, mut state) = executed(vec![withdrawal(1, None)]);
    state.lost();
    reconnect(&mut run, &mut state);
    assert_eq!(next(&mut run, &mut state, 0), "prefetch");
}

#[test]
fn an_unknown_commit_is_asked_about_until_the_database_answers() {
    for (last, committed) in [(1, true), (Mark::NONE, false)] {
        let (mut run, mut state) = executed(vec![withdrawal(1, None)]);
        assert_eq!(run.ended(&mut state, TransactionEnd::Unknown), Decision::AskDatabase);
        assert!(state.is_cache_empty() && state.connection().is_none());
        reconnect(&mut run, &mut state);
        assert!(matches!(run.next(&mut state, 0), BatchAction::CloseRow((), ROW)), "of the lost connection");
        run.row_closed(&mut state, None);
        assert_eq!(next(&mut run, &mut state, 0), "rest");
        state.rested();
        reconnect(&mut run, &mut state);
        assert!(matches!(run.next(&mut state, 0), BatchAction::CloseRow((), ROW)));
        run.row_closed(&mut state, Some(last));
        assert_eq!(next(&mut run, &mut state, 0), if committed { "answer" } else { "prefetch" });
        assert_eq!(run.take_answers().iter().filter(|(_, result)| result.is_ok()).count(), usize::from(committed));
    }
}

const DRAW: DrawId = DrawId(3);

/// What Ann's order needs, of a draw that has a ticket log with these orders of hers, of one ticket each.
fn with_log(orders: u64) -> PrefetchResult {
    let mut log = TicketLog::empty(test_logs().keys(DRAW));
    for (first, number) in (1..=orders as i64).zip((0_u128..).step_by(100)) {
        let payment = PaymentId(Uuid::from_u128(number));
        log.append(first, payment, ANN, std::iter::once(Game::new(5, 36).unwrap().unrank(0))).unwrap();
    }
    let mut found = found();
    found.accounts.push((AccountId::escrow(DRAW), Money::ZERO));
    let edge = Some(log.finish().after);
    found.draws.push((DRAW, DrawSalesRow { epoch: 1, sold: orders as i64, edge }));
    found
}

/// A batch with one paid order, of a draw that has a ticket log with 255 orders.
fn sale(state: &mut ConnectionState<()>) -> BatchRun<Request> {
    let mut run = BatchRun::new(vec![order(25_500, 1, false)], currency());
    assert_eq!(next(&mut run, state, 0), "prefetch");
    run.prefetched(state, Ok(with_log(255)));
    run
}

#[test]
fn a_batch_writes_the_edge_over_the_one_that_it_read_and_the_tile_that_it_completes() {
    let logs = test_logs();
    let mut state = ConnectionState::new(logs.clone());
    state.connected((), ROW);
    let mut run = sale(&mut state);
    let BatchAction::Write((), _, write) = run.next(&mut state, 0) else { panic!("it is written") };
    let log = write.expected.draws[0].log.clone().unwrap();
    let edge = |orders| with_log(orders).draws.remove(0).1.edge.unwrap();
    assert_eq!((log.before, &log.after), (edge(255), &edge(256)));
    assert_eq!(
        log.tiles.iter().map(|tile| (tile.level, tile.tile, tile.last_number)).collect::<Vec<_>>(),
        [(0, 0, 256)]
    );
    assert_eq!(logs.committed(DRAW), None, "before the commit");

    run.ended(&mut state, TransactionEnd::Committed);
    assert_eq!(logs.committed(DRAW).map(|head| head.size), Some(256));
    let answers = results(run.take_answers());
    let [Ok(Outcome::Ordered { first_number: Some(256), receipt: Some(receipt) })] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert!(proof_text(receipt).is_some());

    let mut next_run = BatchRun::new(vec![order(25_600, 1, false)], currency());
    let BatchAction::Write((), _, write) = next_run.next(&mut state, 0) else { panic!("all is in the cache") };
    assert_eq!(write.expected.draws[0].log.as_ref().unwrap().before, log.after);
}

#[test]
fn only_what_was_committed_is_known_of_a_ticket_log() {
    for (last, committed) in [(1, Some(256)), (Mark::NONE, None)] {
        let logs = test_logs();
        let mut state = ConnectionState::new(logs.clone());
        state.connected((), ROW);
        let mut run = sale(&mut state);
        assert_eq!(next(&mut run, &mut state, 0), "write");
        run.ended(&mut state, TransactionEnd::Unknown);
        reconnect(&mut run, &mut state);
        assert_eq!(next(&mut run, &mut state, 0), "close row");
        assert_eq!(logs.committed(DRAW), None, "it is not known yet");
        run.row_closed(&mut state, Some(last));
        assert_eq!(logs.committed(DRAW).map(|head| head.size), committed);
        if committed.is_none() {
            // The log is read again: the order is appended once.
            assert_eq!(next(&mut run, &mut state, 0), "prefetch");
            run.prefetched(&mut state, Ok(with_log(255)));
            let BatchAction::Write((), _, write) = run.next(&mut state, 0) else { panic!("it is written") };
            assert_eq!(write.expected.draws[0].sales.log.as_ref().unwrap().head().size, 256);
        }
    }
}

/// The order that is written alone follows what is committed, not what the refused batch would have appended.
#[test]
fn an_order_of_a_refused_batch_is_appended_once() {
    let mut state = connected();
    let records = vec![order(25_500, 1, false), order(25_600, 1, false)];
    let mut run = BatchRun::new(records, currency());
    let read = |run: &mut BatchRun<Request>, state: &mut ConnectionState<()>| {
        assert_eq!(next(run, state, 0), "prefetch");
        run.prefetched(state, Ok(with_log(255)));
        let BatchAction::Write((), _, write) = run.next(state, 0) else { panic!("it is written") };
        write.expected.draws[0].sales.log.as_ref().unwrap().head().size
    };
    assert_eq!(read(&mut run, &mut state), 257);
    assert_eq!(run.ended(&mut state, TransactionEnd::KeyExists), Decision::CheckKeys);
    assert_eq!(read(&mut run, &mut state), 257, "the batch is tried again from the log as it is");
    assert_eq!(run.ended(&mut state, TransactionEnd::Refused), Decision::Split);
    reconnect(&mut run, &mut state);
    assert_eq!(read(&mut run, &mut state), 256);
    assert_eq!(run.ended(&mut state, TransactionEnd::Refused), Decision::Reject);
    reconnect(&mut run, &mut state);
    assert_eq!(read(&mut run, &mut state), 256);
    assert_eq!(run.ended(&mut state, TransactionEnd::Committed), Decision::Answer);
    let answers = results(run.take_answers());
    let [Err(Refusal::Rejected), Ok(Outcome::Ordered { first_number: Some(256), receipt: Some(receipt) })] =
        &answers[..]
    else {
        panic!("{answers:?}")
    };
    let proof = proof_text(receipt).unwrap();
    assert!(proof.contains("\nindex 255\n") && proof.contains("\n256\n"), "{proof}");
}

#[test]
fn a_draw_whose_ticket_log_went_back_sells_nothing_and_the_others_of_the_batch_do() {
    let logs = test_logs();
    let mut state = ConnectionState::new(logs.clone());
    state.connected((), ROW);
    let mut run = sale(&mut state);
    assert_eq!(next(&mut run, &mut state, 0), "write");
    run.ended(&mut state, TransactionEnd::Committed);
    state.lost();
    state.connected((), ROW + 1);
    for _ in 0..2 {
        let mut run = BatchRun::new(vec![order(9_000, 1, false), withdrawal(1, None)], currency());
        assert_eq!(next(&mut run, &mut state, 0), "prefetch", "a faulty log is read each time");
        run.prefetched(&mut state, Ok(with_log(255)));
        assert_eq!(next(&mut run, &mut state, 0), "write");
        run.ended(&mut state, TransactionEnd::Committed);
        let answers = results(run.take_answers());
        assert_eq!(answers[0], Err(Refusal::TicketLog(TicketLogFault::RolledBack { known: 256 })));
        assert!(answers[1].is_ok());
    }
    assert_eq!(logs.committed(DRAW).map(|head| head.size), Some(256));
}

#[test]
fn a_key_that_exists_is_looked_up_and_then_the_batch_is_refused() {
    let (mut run, mut state) = (BatchRun::new(vec![keyed_deposit()], currency()), connected());
    assert_eq!(next(&mut run, &mut state, 0), "write", "the key is treated as new");
    assert_eq!(run.ended(&mut state, TransactionEnd::KeyExists), Decision::CheckKeys);
    assert!(state.connection().is_some(), "the connection is kept");
    assert!(matches!(run.next(&mut state, 0), BatchAction::Prefetch((), missing) if missing.keys.len() == 1));
    run.prefetched(&mut state, Ok(PrefetchResult::default()));
    assert_eq!(run.ended(&mut state, TransactionEnd::KeyExists), Decision::Reject);
}

#[test]
fn the_records_of_a_refused_batch_go_alone_and_a_bad_one_fails_alone() {
    let records = vec![withdrawal(1, None), withdrawal(2, Some(50)), withdrawal(3, Some(5))];
    let (mut run, mut state) = executed(records);
    assert_eq!(run.ended(&mut state, TransactionEnd::Refused), Decision::Split);
    assert!(state.is_cache_empty() && state.connection().is_none());
    reconnect(&mut run, &mut state);
    assert_eq!(next(&mut run, &mut state, 9), "prefetch");
    assert_eq!(run.records(), [withdrawal(1, None)]);
    run.prefetched(&mut state, Ok(found()));
    assert_eq!(run.ended(&mut state, TransactionEnd::Refused), Decision::Reject);
    assert_eq!(run.rejected(), Some(&withdrawal(1, None).0));
    reconnect(&mut run, &mut state);
    assert_eq!(next(&mut run, &mut state, 9), "prefetch", "nothing is answered before the last has its result");
    run.prefetched(&mut state, Ok(found()));
    assert_eq!(run.ended(&mut state, TransactionEnd::Committed), Decision::Answer);
    assert_eq!(next(&mut run, &mut state, 9), "answer", "the last has waited too long");
    let answers = results(run.take_answers());
    assert!(matches!(answers[..], [Err(Refusal::Rejected), Ok(_), Err(Refusal::Overloaded)]));
    assert_eq!(next(&mut run, &mut state, 9), "done");
}

#[test]
fn a_step_clears_what_it_changes_also_when_it_fails() {
    let (mut batch, mut state) = executed(vec![withdrawal(1, None)]);
    batch.ended(&mut state, TransactionEnd::Committed);
    let mut run = StepRun::new(Invalidation::Everything, 60);
    let StepAction::Write((), mark) = run.next(&mut state, 0) else { panic!("it is written") };
    assert_eq!(mark, Mark { writer: ROW, number: 2 }, "batches and steps share the connection's marks");
    assert!(state.is_cache_empty());
    run.ended(&mut state, StepEnd::Committed("output"));
    assert_eq!(next_of_step(&mut run, &mut state, 0), "done");
    assert_eq!(run.into_result(), Some(Ok("output")));
}

#[test]
fn a_step_is_tried_again_until_its_patience_ends() {
    let mut state = connected();
    let mut run = StepRun::new(Invalidation::Everything, 60);
    assert_eq!(next_of_step(&mut run, &mut state, 0), "write");
    run.ended(&mut state, StepEnd::Lost);
    assert_eq!(next_of_step(&mut run, &mut state, 60), "rest");
    state.rested();
    assert_eq!(next_of_step(&mut run, &mut state, 60), "connect");
    assert_eq!(next_of_step(&mut run, &mut state, 61), "done");
    assert_eq!(run.into_result(), Some(Err(StepError::Unavailable)));
}

#[test]
fn a_refused_step_is_not_tried_again_and_its_connection_is_closed() {
    for (end, error) in [(StepEnd::StaleEpoch, StepError::StaleEpoch), (StepEnd::Failed, StepError::Failed)] {
        let mut state = connected();
        let mut run = StepRun::new(Invalidation::Everything, 60);
        assert_eq!(next_of_step(&mut run, &mut state, 0), "write");
        run.ended(&mut state, end);
        assert!(state.connection().is_none(), "the server may still hold its locks");
        assert_eq!(next_of_step(&mut run, &mut state, 0), "done");
        assert_eq!(run.into_result(), Some(Err(error)));
    }
}

#[test]
fn an_unknown_step_is_asked_about_however_long_it_takes() {
    for (last, committed) in [(1, true), (0, false)] {
        let mut state = connected();
        let mut run = StepRun::new(Invalidation::Everything, 60);
        assert_eq!(next_of_step(&mut run, &mut state, 0), "write");
        run.ended(&mut state, StepEnd::Unknown("output"));
        assert_eq!(next_of_step(&mut run, &mut state, 999), "connect");
        state.connected((), ROW + 1);
        assert!(matches!(run.next(&mut state, 999), StepAction::CloseRow((), ROW)));
        run.row_closed(&mut state, None);
        assert_eq!(next_of_step(&mut run, &mut state, 999), "rest");
        state.rested();
        state.connected((), ROW + 2);
        assert_eq!(next_of_step(&mut run, &mut state, 999), "close row");
        run.row_closed(&mut state, Some(last));
        assert_eq!(next_of_step(&mut run, &mut state, 999), "done");
        let expected = if committed { Ok("output") } else { Err(StepError::Unavailable) };
        assert_eq!(run.into_result(), Some(expected));
    }
}

#[test]
fn the_queue_keeps_the_order_and_a_step_goes_alone() {
    let mut queue = WriteQueue::new(9);
    for number in 1..=4 {
        assert_eq!(queue.push(withdrawal(number, None)), []);
    }
    queue.push_step("step");
    assert_eq!(queue.push(withdrawal(5, None)), []);
    assert_eq!(queue.pop(3), Some(Work::Batch((1..=3).map(|number| withdrawal(number, None)).collect())));
    assert_eq!(queue.pop(3), Some(Work::Batch(vec![withdrawal(4, None)])), "it does not reach past the step");
    assert_eq!(queue.pop(3), Some(Work::Step("step")));
    assert_eq!(queue.pop(3), Some(Work::Batch(vec![withdrawal(5, None)])));
    assert_eq!(queue.pop(3), None);
}

#[test]
fn a_full_queue_refuses_what_may_be_refused() {
    let mut queue: WriteQueue<Request, ()> = WriteQueue::new(1);
    assert_eq!(queue.push(withdrawal(1, Some(5))), []);
    assert_eq!(queue.push(withdrawal(2, Some(5))), [(withdrawal(2, Some(5)), Err(Refusal::Overloaded))]);
    assert_eq!(queue.push(withdrawal(3, None)), []);
    queue.push_step(());
    assert_eq!(queue.len(), 3);
}

#[test]
fn late_records_leave_the_queue_and_the_others_keep_their_order() {
    let mut queue = WriteQueue::new(9);
    for (number, deadline) in [(1, Some(9)), (2, Some(5)), (3, None)] {
        assert_eq!(queue.push(withdrawal(number, deadline)), []);
    }
    queue.push_step("step");
    assert_eq!(queue.drop_late(4), []);
    assert_eq!(queue.drop_late(5), [(withdrawal(2, Some(5)), Err(Refusal::Overloaded))]);
    assert_eq!(queue.pop(9), Some(Work::Batch(vec![withdrawal(1, Some(9)), withdrawal(3, None)])));
    assert_eq!(queue.pop(9), Some(Work::Step("step")));
}

#[test]
fn a_draw_gets_its_results_in_one_message_and_in_their_order() {
    let result = |draw, number| {
        let (record, result) = (withdrawal(number, None).0, Ok(Outcome::Released));
        (draw, WriteResult { record, result, waiter: Some(number) })
    };
    let results = [result("one", 1), result("other", 2), result("one", 3)];
    let grouped: Vec<(&str, Vec<u128>)> = group_by_draw(results.into_iter())
        .into_iter()
        .map(|(draw, results)| (draw, results.into_iter().filter_map(|result| result.waiter).collect()))
        .collect();
    assert_eq!(grouped, [("one", vec![1, 3]), ("other", vec![2])]);
}
