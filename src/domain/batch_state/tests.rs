//! Tests of the batch state: the order in which refusals are checked, and the effect of two records in one
//! transaction on each other. The tests of the draw show that no money appears or is lost, in whatever order.

use std::collections::BTreeSet;

use uuid::Uuid;
use verifiable_draw::proof::InclusionReceipt;

use super::*;
use crate::domain::audit::AuditActor;
use crate::domain::charge::{ChargeEnd, ChargeIssue, ChargeOutcome};
use crate::domain::game::Game;
use crate::domain::id::{LotteryId, PoolTicketId, UserId};
use crate::domain::prefetch::Prefetch;
use crate::domain::record::{AdminDecision, BeginCharge, BeginDeposit, Charge, EndCharge, HeldTickets, Line};
use crate::domain::ticket::Origin;
use crate::domain::ticket_log::{TicketLog, proof_text, test_logs};

const DRAW: DrawId = DrawId(7);
const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);
const PRICE: Money = Money::new(100);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + second).unwrap()
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn fence() -> Fence {
    Fence { draw: DRAW, epoch: 3 }
}

fn key(text: &str, request: u8) -> Option<Key> {
    Some(Key { user: ANN, id: KeyId::of(ANN, text), request: Uuid::from_u128(request.into()) })
}

/// Ann has 250, Bob has nothing. The draw has sold 10 tickets. The key "used" is stored.
fn books() -> BatchState {
    let accounts = [
        (AccountId::CLEARING, Money::new(-250)),
        (AccountId::wallet(ANN), Money::new(250)),
        (AccountId::held(ANN), Money::ZERO),
        (AccountId::wallet(BOB), Money::ZERO),
        (AccountId::escrow(DRAW), Money::ZERO),
    ];
    let kept = StoredAnswer {
        request: Uuid::from_u128(1),
        kind: AnswerKind::Created,
        payment: Some(PaymentId(id(99))),
        answer: None,
    };
    BatchState {
        currency: "RUB".parse().unwrap(),
        ledger: Ledger::new(accounts),
        draws: HashMap::from([(DRAW, DrawSales { epoch: 3, sold: 10, log: None })]),
        faulty_logs: HashMap::new(),
        payments: HashMap::new(),
        charges: BTreeMap::new(),
        keys: HashMap::from([(KeyId::of(ANN, "used"), kept)]),
        changes: Changes::default(),
    }
}

fn order(user: UserId, payment: u128, lines: u128) -> Order {
    let pick = Game::new(5, 36).unwrap().unrank(0);
    let line = |line| Line {
        ticket: TicketId(id(payment + 1 + line)),
        pick,
        origin: Origin::Pool,
        pool_ticket: Some(PoolTicketId(id(line))),
    };
    Order {
        fence: fence(),
        lottery: LotteryId("5of36".to_owned()),
        user,
        payment: PaymentId(id(payment)),
        price: PRICE,
        lines: (0..lines).map(line).collect(),
        reserved_until: None,
        at: at(0),
        key: None,
    }
}

/// A state with a reservation of `lines` tickets for Ann, in this status.
fn with_payment(status: PaymentStatus, lines: u64) -> BatchState {
    let row = PaymentRow {
        user: ANN,
        kind: PaymentKind::Purchase,
        status,
        amount: PRICE.checked_mul(lines).unwrap(),
        method: None,
        failure_code: None,
        draw: Some(DRAW),
        lines: Some(lines as i16),
        reserved_until: Some(at(300)),
        created_at: at(0),
        updated_at: at(0),
    };
    BatchState { payments: HashMap::from([(PAYMENT, row)]), ..books() }
}

/// A reservation of two tickets whose card is being charged since `at(0)`.
fn with_charge_in_progress() -> BatchState {
    let mut books = with_payment(PaymentStatus::Processing, 2);
    books.payments.get_mut(&PAYMENT).unwrap().method = Some(Method::Card);
    let name = ChargeName { payment: PAYMENT, begun: at(0) };
    books.charges.insert(name, ChargeRow::open(ANN, Money::new(200)));
    books
}

const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(1_000));

fn tickets(count: u128) -> Vec<TicketId> {
    (1..=count).map(|ticket| TicketId(id(1_000 + ticket))).collect()
}

/// The same tickets, each with numbers of its own.
fn held(count: u128) -> Vec<HeldTicket> {
    let game = Game::new(5, 36).unwrap();
    tickets(count).into_iter().zip(0..).map(|(id, index)| HeldTicket { id, pick: game.unrank(index) }).collect()
}

fn pay(count: u128) -> Record {
    let tickets = held(count);
    Record::Pay(Pay { fence: fence(), user: ANN, payment: PAYMENT, tickets, at: at(9), key: None })
}

fn expire(count: u128) -> Record {
    let tickets = tickets(count);
    Record::Expire(Expire { fence: fence(), user: ANN, payment: PAYMENT, tickets, at: at(9) })
}

fn give_back(ticket: usize) -> Record {
    let ticket = tickets(9)[ticket];
    Record::GiveBack(GiveBack { fence: fence(), user: ANN, payment: PAYMENT, ticket, price: PRICE, at: at(9) })
}

fn begin_charge() -> Record {
    begin_charge_with(None)
}

fn begin_charge_with(key: Option<Key>) -> Record {
    let tickets = tickets(2);
    Record::BeginCharge(BeginCharge { fence: fence(), user: ANN, payment: PAYMENT, tickets, at: at(9), key })
}

/// The end of the charge that began when the payment's row was last updated.
fn end_charge(charge: Charge, held: bool) -> Record {
    end_charge_begun(at(0), charge, held)
}

fn end_charge_begun(begun: Timestamp, charge: Charge, held: bool) -> Record {
    let held = held.then(|| HeldTickets { fence: fence(), tickets: self::held(2) });
    Record::EndCharge(EndCharge { held, ..end_of(begun, charge) })
}

fn end_of(begun: Timestamp, charge: Charge) -> EndCharge {
    EndCharge { held: None, user: ANN, payment: PAYMENT, begun, charge, admin: None, at: at(9), key: None }
}

/// Asserts that nothing was changed and nothing is to be written.
fn assert_untouched(books: &BatchState, what: &str) {
    let changes = &books.changes;
    assert!(books.ledger.made().is_empty() && changes.charges.is_empty(), "{what}");
    assert!(changes.new_payments.is_empty() && changes.changed_payments.is_empty(), "{what}");
    assert!(changes.paid_tickets.is_empty() && changes.released_tickets.is_empty(), "{what}");
    assert!(changes.new_keys.is_empty(), "{what}");
    assert_eq!(books.draws[&DRAW].sold, 10, "{what}");
}

#[test]
fn an_order_is_refused_in_this_order_of_precedence_and_changes_nothing() {
    let stale = Fence { epoch: 2, ..fence() };
    let elsewhere = Fence { draw: DrawId(8), epoch: 3 };
    let replay = Refusal::Replay(books().keys[&KeyId::of(ANN, "used")].clone());
    for (what, key, fence, lines, refusal) in [
        ("a replay of another request", key("used", 2), stale, 9, Refusal::KeyReused),
        ("a replay of the same", key("used", 1), stale, 9, replay),
        ("an older epoch", key("new", 1), stale, 9, Refusal::StaleEpoch),
        ("a draw that was not found", None, elsewhere, 9, Refusal::StaleEpoch),
        ("too dear", key("new", 1), fence(), 3, Refusal::InsufficientFunds),
    ] {
        let mut books = books();
        let order = Order { key, fence, ..order(ANN, 1_000, lines) };
        assert_eq!(books.apply(&Record::Order(order)), Err(refusal), "{what}");
        assert_untouched(&books, what);
    }
}

#[test]
fn a_payment_is_refused_in_this_order_of_precedence_and_changes_nothing() {
    use PaymentStatus::{Expired, Failed, Paid, Pending, Processing, Refunded};
    let stale = Fence { epoch: 2, ..fence() };
    let mut rows = vec![
        (Paid, key("used", 2), stale, Refusal::KeyReused),
        (Paid, key("new", 2), stale, Refusal::StaleEpoch),
        (Pending, None, fence(), Refusal::InsufficientFunds),
    ];
    rows.extend([Processing, Paid, Failed, Expired, Refunded].map(|it| (it, None, fence(), Refusal::NotPayable)));
    for (status, key, fence, refusal) in rows {
        let mut books = with_payment(status, 3);
        let pay = Pay { fence, user: ANN, payment: PAYMENT, tickets: held(3), at: at(9), key };
        assert_eq!(books.apply(&Record::Pay(pay)), Err(refusal), "{status:?}");
        assert_untouched(&books, status.as_str());
    }
}

#[test]
fn one_batch_numbers_without_a_gap_whoever_is_refused_between() {
    let mut books = books();
    let first = books.apply(&Record::Order(order(ANN, 1_000, 1)));
    assert_eq!(first, Ok(Outcome::Ordered { first_number: Some(11), receipt: None }));
    assert_eq!(books.apply(&Record::Order(order(BOB, 2_000, 1))), Err(Refusal::InsufficientFunds));
    let later = Order { reserved_until: Some(at(300)), ..order(BOB, 3_000, 2) };
    assert_eq!(books.apply(&Record::Order(later)), Ok(Outcome::Ordered { first_number: None, receipt: None }));
    assert_eq!(
        books.apply(&Record::Order(order(ANN, 4_000, 1))),
        Ok(Outcome::Ordered { first_number: Some(12), receipt: None })
    );
    assert_eq!(books.apply(&Record::Order(order(ANN, 5_000, 1))), Err(Refusal::InsufficientFunds));
    assert_eq!(books.draws[&DRAW].sold, 12);
    assert_eq!(books.ledger.balance(AccountId::escrow(DRAW)), Some(Money::new(200)));
}

#[test]
fn a_key_used_twice_in_one_batch_has_one_effect() {
    let mut books = books();
    let first = Order { key: key("new", 1), ..order(ANN, 1_000, 1) };
    let again = Order { key: key("new", 1), ..order(ANN, 2_000, 1) };
    let other = Order { key: key("new", 2), ..order(ANN, 3_000, 1) };
    assert!(books.apply(&Record::Order(first)).is_ok());
    let kept = match books.apply(&Record::Order(again)) {
        Err(Refusal::Replay(kept)) => kept,
        other => panic!("{other:?}"),
    };
    assert_eq!((kept.payment, kept.kind), (Some(PaymentId(id(1_000))), AnswerKind::Created));
    assert_eq!(books.apply(&Record::Order(other)), Err(Refusal::KeyReused));
    assert_eq!(books.ledger.made().len(), 1);
}

#[test]
fn of_two_payments_of_one_reservation_in_one_batch_one_is_charged() {
    let mut books = with_payment(PaymentStatus::Pending, 2);
    let paid = match books.apply(&pay(2)) {
        Ok(Outcome::Payment(payment)) => payment,
        other => panic!("{other:?}"),
    };
    assert_eq!((paid.status, paid.ticket_ids), (PaymentStatus::Paid, tickets(2)));
    assert_eq!(books.apply(&pay(2)), Err(Refusal::NotPayable));
    assert_eq!(books.ledger.made().len(), 1);
    assert_eq!(books.changes.paid_tickets, [(ANN, tickets(2)[0], 11), (ANN, tickets(2)[1], 12)]);
}

#[test]
fn of_expiry_and_payment_the_first_wins_and_the_other_is_refused() {
    let mut paid_first = with_payment(PaymentStatus::Pending, 1);
    assert!(paid_first.apply(&pay(1)).is_ok());
    assert_eq!(paid_first.apply(&expire(1)), Err(Refusal::NotPayable));
    assert!(paid_first.changes.released_tickets.is_empty());

    let mut expired_first = with_payment(PaymentStatus::Pending, 1);
    assert_eq!(expired_first.apply(&expire(1)), Ok(Outcome::Released));
    assert_eq!(expired_first.apply(&pay(1)), Err(Refusal::NotPayable));
    assert!(expired_first.ledger.made().is_empty() && expired_first.changes.paid_tickets.is_empty());
}

#[test]
fn giving_back_lowers_the_payment_and_the_last_expires_it() {
    let mut books = with_payment(PaymentStatus::Pending, 2);
    assert_eq!(books.apply(&give_back(1)), Ok(Outcome::Released));
    let row = &books.payments[&PAYMENT];
    assert_eq!((row.status, row.amount), (PaymentStatus::Pending, PRICE));
    assert_eq!(books.apply(&give_back(0)), Ok(Outcome::Released));
    let row = &books.payments[&PAYMENT];
    assert_eq!((row.status, row.amount), (PaymentStatus::Expired, PRICE), "an amount is never zero");
    assert_eq!(
        books.changes.released_tickets,
        [(ANN, tickets(2)[1], Release::Returned), (ANN, tickets(2)[0], Release::Expired)]
    );
    assert_eq!(books.apply(&give_back(0)), Err(Refusal::NotPayable));
}

#[test]
fn a_card_is_begun_once_and_nothing_else_pays_meanwhile() {
    let mut books = with_payment(PaymentStatus::Pending, 2);
    assert!(books.apply(&begin_charge()).is_ok());
    assert_eq!(books.apply(&begin_charge()), Err(Refusal::NotPayable));
    assert_eq!(books.apply(&pay(2)), Err(Refusal::NotPayable));
    assert_eq!(books.apply(&give_back(0)), Err(Refusal::NotPayable));
    assert_eq!(books.payments[&PAYMENT].status, PaymentStatus::Processing);
    assert!(books.apply(&end_charge_begun(at(9), Charge::Paid, true)).is_ok());
    assert_eq!(books.apply(&end_charge_begun(at(9), Charge::Paid, true)), Err(Refusal::NotPayable));
    assert_eq!(books.ledger.balance(AccountId::CLEARING), Some(Money::new(-450)));
    assert_eq!(books.ledger.balance(AccountId::wallet(ANN)), Some(Money::new(250)), "the card paid");
}

#[test]
fn a_card_ends_as_the_provider_says_while_the_tickets_are_held() {
    use PaymentStatus::{Expired, Paid, Pending, Processing, Refunded};
    let declined = || Charge::Declined("card_declined".to_owned());
    for (charge, held, status, wallet, sold) in [
        (Charge::Paid, true, Paid, 250, 12),
        (declined(), true, Pending, 250, 10),
        (Charge::Processing, true, Processing, 250, 10),
        // The tickets are no longer held, so the money goes to the wallet.
        (Charge::Paid, false, Refunded, 450, 10),
        (declined(), false, Expired, 250, 10),
        (Charge::Processing, false, Processing, 250, 10),
    ] {
        let mut books = with_charge_in_progress();
        assert!(books.apply(&end_charge(charge.clone(), held)).is_ok());
        assert_eq!(books.payments[&PAYMENT].status, status, "{charge:?}");
        assert_eq!(books.ledger.balance(AccountId::wallet(ANN)), Some(Money::new(wallet)), "{charge:?}");
        assert_eq!(books.draws[&DRAW].sold, sold, "{charge:?}");
    }
}

#[test]
fn a_card_is_not_charged_again_with_a_key_that_has_its_answer() {
    let mut books = with_payment(PaymentStatus::Pending, 2);
    assert!(matches!(books.apply(&begin_charge_with(key("used", 1))), Err(Refusal::Replay(_))));
    assert_eq!(books.apply(&begin_charge_with(key("used", 2))), Err(Refusal::KeyReused));
    assert_untouched(&books, "a kept key");
    assert!(books.apply(&begin_charge_with(key("new", 1))).is_ok());
    assert!(books.changes.new_keys.is_empty(), "the key is stored with the end of the charge");
    let required = Prefetch::of([&begin_charge_with(key("new", 1))]);
    assert_eq!(required.keys, BTreeSet::from([KeyId::of(ANN, "new")]));
}

#[test]
fn the_end_of_a_charge_told_again_does_not_end_the_next_one() {
    let declined = |begun| end_charge_begun(begun, Charge::Declined("card_declined".to_owned()), true);
    let mut books = with_payment(PaymentStatus::Pending, 2);
    assert!(books.apply(&begin_charge()).is_ok());
    let first = books.payments[&PAYMENT].updated_at;
    assert!(books.apply(&declined(first)).is_ok());
    assert!(books.apply(&begin_charge()).is_ok(), "a second charge in the same millisecond");
    let second = books.payments[&PAYMENT].updated_at;
    assert!(books.apply(&declined(second)).is_ok());
    assert!(books.apply(&begin_charge()).is_ok(), "a third charge in the same millisecond");
    let third = books.payments[&PAYMENT].updated_at;
    for late in [declined(first), declined(second)] {
        assert_eq!(books.apply(&late), Err(Refusal::NotPayable));
    }
    let late = books.apply(&end_charge_begun(first, Charge::Paid, true));
    assert!(matches!(late, Ok(Outcome::LateCredit(_))), "{late:?}");
    assert_eq!(books.payments[&PAYMENT].status, PaymentStatus::Processing);
    assert!(books.changes.paid_tickets.is_empty(), "the third charge pays them");
    assert!(books.apply(&end_charge_begun(third, Charge::Paid, true)).is_ok(), "its money is not lost");
    assert_eq!(books.payments[&PAYMENT].status, PaymentStatus::Paid);
}

#[test]
fn what_settles_a_deposit_may_be_written_before_that_it_is_processing() {
    let end = |charge| Record::EndCharge(end_of(at(9), charge));
    let mut books = books();
    let begin = BeginDeposit { user: ANN, payment: PAYMENT, amount: PRICE, at: at(9), key: None };
    assert!(books.apply(&Record::BeginDeposit(begin)).is_ok());
    assert!(books.apply(&end(Charge::Paid)).is_ok());
    match books.apply(&end(Charge::Processing)) {
        Ok(Outcome::Payment(payment)) => assert_eq!(payment.status, PaymentStatus::Paid),
        other => panic!("a deposit that is paid is not refused: {other:?}"),
    }
    for again in [Charge::Paid, Charge::Declined("x".to_owned()), Charge::Unresolved(ChargeIssue::OtherMoney)] {
        assert!(matches!(books.apply(&end(again)), Ok(Outcome::Payment(it)) if it.status == PaymentStatus::Paid));
    }
    assert_eq!(books.ledger.balance(AccountId::wallet(ANN)), Some(Money::new(350)));
}

/// Each state that a payment can be in when the success of its first charge is reported. The charge began at `at(0)`
/// and was called failed.
fn with_failed_charge(status: PaymentStatus, method: Method) -> BatchState {
    let mut books = with_payment(status, 2);
    books.payments.get_mut(&PAYMENT).unwrap().method = Some(method);
    books.payments.get_mut(&PAYMENT).unwrap().updated_at = at(5);
    let end = ChargeEnd {
        outcome: ChargeOutcome::Failed,
        late: false,
        failure_code: Some("card_declined".to_owned()),
        at: at(2),
    };
    let charge = ChargeRow { end: Some(end), ..ChargeRow::open(ANN, Money::new(200)) };
    books.charges.insert(ChargeName { payment: PAYMENT, begun: at(0) }, charge);
    books
}

fn charge(books: &BatchState, begun: Timestamp) -> &ChargeRow {
    &books.charges[&ChargeName { payment: PAYMENT, begun }]
}

fn wallet(books: &BatchState) -> i64 {
    books.ledger.balance(AccountId::wallet(ANN)).unwrap().minor()
}

#[test]
fn a_late_success_credits_the_wallet_once_whatever_happened_to_its_payment() {
    use PaymentStatus::{Expired, Failed, Paid, Pending, Processing, Refunded};
    for (status, method) in [
        (Paid, Method::Card),
        (Paid, Method::Wallet),
        (Pending, Method::Card),
        (Processing, Method::Card),
        (Expired, Method::Card),
        (Failed, Method::Card),
        (Refunded, Method::Card),
    ] {
        let mut books = with_failed_charge(status, method);
        // A ticket was returned after the charge had failed: the card paid for both all the same.
        books.payments.get_mut(&PAYMENT).unwrap().amount = PRICE;
        let before = books.payments[&PAYMENT].clone();
        let late = books.apply(&end_charge(Charge::Paid, false));
        assert!(matches!(late, Ok(Outcome::LateCredit(_))), "{status:?}: {late:?}");
        assert_eq!((wallet(&books), &books.payments[&PAYMENT]), (450, &before), "{status:?}");
        let row = charge(&books, at(0)).clone();
        assert_eq!(row.end.map(|end| (end.outcome, end.late)), Some((ChargeOutcome::Paid, true)));
        for repeated in [Charge::Paid, Charge::Declined("x".to_owned())] {
            assert_eq!(books.apply(&end_charge(repeated, false)), Err(Refusal::NotPayable), "{status:?}");
        }
        assert_eq!(wallet(&books), 450, "{status:?}");
    }
}

#[test]
fn a_charge_without_a_row_is_credited_once_if_it_can_be_of_this_payment() {
    let mut books = with_payment(PaymentStatus::Expired, 2);
    assert!(matches!(books.apply(&end_charge(Charge::Paid, false)), Ok(Outcome::LateCredit(_))));
    assert_eq!(books.apply(&end_charge(Charge::Paid, false)), Err(Refusal::NotPayable));
    assert_eq!(wallet(&books), 450);
    assert_eq!(books.apply(&end_charge_begun(at(-1), Charge::Paid, false)), Err(Refusal::NotPayable), "too early");

    let mut not_by_card = with_payment(PaymentStatus::Paid, 2);
    not_by_card.payments.get_mut(&PAYMENT).unwrap().reserved_until = None;
    assert_eq!(not_by_card.apply(&end_charge(Charge::Paid, false)), Err(Refusal::NotPayable));
    assert_eq!(wallet(&not_by_card), 250);

    // A deposit has one charge, which began with it.
    for (begun, credited) in [(at(0), 450), (at(1), 250)] {
        let mut deposit = with_payment(PaymentStatus::Failed, 2);
        let row = deposit.payments.get_mut(&PAYMENT).unwrap();
        (row.kind, row.draw, row.reserved_until) = (PaymentKind::Deposit, None, None);
        let taken = deposit.apply(&end_charge_begun(begun, Charge::Paid, false));
        assert_eq!((taken.is_ok(), wallet(&deposit)), (credited == 450, credited));
    }
}

#[test]
fn a_success_that_may_have_paid_an_old_payment_waits_for_an_admin() {
    for (outcome, credited) in [(Charge::Paid, 450), (Charge::Declined("x".to_owned()), 250)] {
        let mut books = with_payment(PaymentStatus::Paid, 2);
        let end = ChargeEnd { outcome: ChargeOutcome::Paid, late: false, failure_code: None, at: at(5) };
        let old = ChargeRow { end: Some(end), begun_known: false, ..ChargeRow::open(ANN, Money::new(200)) };
        books.charges.insert(ChargeName { payment: PAYMENT, begun: at(5) }, old);
        assert!(matches!(books.apply(&end_charge(Charge::Paid, false)), Ok(Outcome::Payment(_))));
        assert_eq!(charge(&books, at(0)).issue, Some(ChargeIssue::Unclear));
        assert_eq!(books.apply(&end_charge(Charge::Paid, false)), Err(Refusal::NotPayable), "told again");
        assert_eq!(wallet(&books), 250);
        assert!(books.apply(&by_admin(at(0), outcome, None)).is_ok());
        assert_eq!((charge(&books, at(0)).issue, wallet(&books)), (None, credited));
    }
}

#[test]
fn a_charge_that_cannot_be_decided_waits_and_its_payment_stays_as_it_is() {
    for issue in [ChargeIssue::NotFound, ChargeIssue::OtherMoney] {
        let mut books = with_payment(PaymentStatus::Pending, 2);
        assert!(books.apply(&begin_charge()).is_ok());
        let waits = end_charge_begun(at(9), Charge::Unresolved(issue), true);
        assert!(books.apply(&waits).is_ok());
        let row = charge(&books, at(9));
        assert_eq!((row.issue, row.outcome()), (Some(issue), None));
        assert_eq!(books.payments[&PAYMENT].status, PaymentStatus::Processing);
        assert_eq!(books.apply(&waits), Err(Refusal::NotPayable), "said again");
        assert!(
            books.apply(&end_charge_begun(at(9), Charge::Paid, true)).is_ok(),
            "the provider decides after all"
        );
        assert_eq!((charge(&books, at(9)).issue, wallet(&books)), (None, 250));
        assert_eq!(books.apply(&waits), Err(Refusal::NotPayable), "nothing is left to decide");
    }
    let mut ended = with_failed_charge(PaymentStatus::Expired, Method::Card);
    let not_found = Charge::Unresolved(ChargeIssue::NotFound);
    assert_eq!(ended.apply(&end_charge(not_found, false)), Err(Refusal::NotPayable));
    assert!(ended.apply(&end_charge(Charge::Unresolved(ChargeIssue::OtherMoney), false)).is_ok());
    assert_eq!(charge(&ended, at(0)).issue, Some(ChargeIssue::OtherMoney), "money came, and none was expected");
    assert_eq!(wallet(&ended), 250);
}

fn by_admin(begun: Timestamp, charge: Charge, key: Option<Key>) -> Record {
    ended_by(BOB, begun, charge, key)
}

fn ended_by(admin: UserId, begun: Timestamp, charge: Charge, key: Option<Key>) -> Record {
    let admin = Some(Box::new(AdminDecision {
        by: AuditActor::of(admin),
        note: "seen at the provider".to_owned(),
        tickets: tickets(2),
    }));
    Record::EndCharge(EndCharge { admin, key, ..end_of(begun, charge) })
}

#[test]
fn an_admin_ends_a_charge_once_and_a_success_that_comes_after_that_is_credited() {
    let failed = || Charge::Declined("ended_by_admin".to_owned());
    let mut books = with_payment(PaymentStatus::Pending, 2);
    assert!(books.apply(&begin_charge()).is_ok());
    assert_eq!(books.apply(&by_admin(at(9), failed(), key("used", 2))), Err(Refusal::KeyReused));
    assert!(matches!(books.apply(&by_admin(at(9), failed(), key("used", 1))), Err(Refusal::Replay(_))));
    assert!(books.changes.audit_entries.is_empty());
    assert!(books.apply(&by_admin(at(9), failed(), key("new", 1))).is_ok());
    assert!(matches!(books.apply(&by_admin(at(9), failed(), key("new", 1))), Err(Refusal::Replay(_))));
    assert!(books.apply(&by_admin(at(9), failed(), None)).is_ok(), "decided in the same way again");
    let other = books.apply(&by_admin(at(9), Charge::Paid, None));
    assert_eq!(other, Err(Refusal::ChargeEnded(ChargeOutcome::Failed)));
    assert_eq!((books.payments[&PAYMENT].status, wallet(&books)), (PaymentStatus::Expired, 250));
    assert_eq!(books.changes.audit_entries.len(), 1);
    let entry = &books.changes.audit_entries[0];
    assert_eq!(
        (entry.actor, entry.action, &entry.detail["note"]),
        (Some(AuditActor::of(BOB)), Action::EndCharge, &json!("seen at the provider"))
    );

    assert!(matches!(books.apply(&end_charge_begun(at(9), Charge::Paid, false)), Ok(Outcome::LateCredit(_))));
    assert_eq!(wallet(&books), 450);
    assert!(books.apply(&by_admin(at(9), Charge::Paid, None)).is_ok(), "it is paid now");
    assert_eq!((wallet(&books), books.changes.audit_entries.len()), (450, 1));
    let required = Prefetch::of([&by_admin(at(9), failed(), key("new", 1))]);
    assert_eq!(required.keys, BTreeSet::from([KeyId::of(ANN, "new")]));
}

#[test]
fn nobody_ends_a_charge_of_their_own_payment() {
    for outcome in [Charge::Paid, Charge::Declined("ended_by_admin".to_owned())] {
        let mut books = with_charge_in_progress();
        let begun = books.payments[&PAYMENT].updated_at;
        let end = |by, key| ended_by(by, begun, outcome.clone(), key);
        let before = books.clone();
        assert_eq!(books.apply(&end(ANN, key("used", 2))), Err(Refusal::KeyReused), "the key is checked first");
        assert_eq!(books.apply(&end(ANN, key("new", 1))), Err(Refusal::OwnPayment));
        assert_eq!(format!("{books:?}"), format!("{before:?}"), "a refusal changes nothing");
        assert!(books.apply(&end(BOB, None)).is_ok());
        assert_eq!(books.apply(&end(ANN, None)), Err(Refusal::OwnPayment), "nor afterwards");
        // A request of the payer, and a report of the provider, are no decision of an admin.
        let _ = books.apply(&end_charge(Charge::Paid, false));
        assert_eq!(charge(&books, begun).outcome(), Some(ChargeOutcome::Paid));
    }
}

#[test]
fn an_expiry_at_the_cut_off_leaves_the_payment_to_its_card() {
    let mut books = with_charge_in_progress();
    assert_eq!(books.apply(&expire(2)), Ok(Outcome::Released));
    assert_eq!(books.payments[&PAYMENT].status, PaymentStatus::Processing);
    assert_eq!(books.changes.released_tickets.len(), 2);
    assert!(books.apply(&end_charge(Charge::Paid, false)).is_ok());
    assert_eq!(books.payments[&PAYMENT].status, PaymentStatus::Refunded);
}

#[test]
fn a_withdrawal_is_set_aside_once_and_ends_once() {
    let begin = |amount, key| {
        let amount = Money::new(amount);
        Record::BeginWithdrawal(BeginWithdrawal { user: ANN, payment: PAYMENT, amount, at: at(9), key })
    };
    let end = |verdict| {
        Record::EndWithdrawal(EndWithdrawal {
            user: ANN,
            payment: PAYMENT,
            verdict,
            by: AuditActor::of(BOB),
            at: at(10),
            key: None,
        })
    };
    use PaymentStatus::{Failed, Paid};
    for (verdict, other, status, wallet, clearing) in [
        (WithdrawalDecision::Approved, WithdrawalDecision::Rejected, Paid, 50, -50),
        (WithdrawalDecision::Rejected, WithdrawalDecision::Approved, Failed, 250, -250),
    ] {
        let mut books = books();
        let balances = |books: &BatchState| {
            [AccountId::wallet(ANN), AccountId::held(ANN), AccountId::CLEARING]
                .map(|id| books.ledger.balance(id).unwrap().minor())
        };
        assert_eq!(books.apply(&begin(251, key("used", 2))), Err(Refusal::KeyReused), "the key is checked first");
        assert_eq!(books.apply(&begin(251, key("new", 1))), Err(Refusal::InsufficientFunds));
        assert_eq!(books.apply(&end(verdict)), Err(Refusal::Rejected), "there is no withdrawal yet");
        assert_untouched(&books, "refused");
        assert!(books.apply(&begin(200, key("new", 1))).is_ok());
        assert!(matches!(books.apply(&begin(200, key("new", 1))), Err(Refusal::Replay(_))));
        assert_eq!(balances(&books), [50, 200, -250]);
        let first = books.apply(&end(verdict));
        assert!(first.is_ok());
        assert_eq!(books.apply(&end(verdict)), first, "a repeated decision");
        assert_eq!(books.apply(&end(other)), Err(Refusal::Ended(status)));
        assert_eq!(balances(&books), [wallet, 0, clearing], "{verdict:?}");
    }
}

#[test]
fn nobody_approves_their_own_withdrawal() {
    let mut books = books();
    let amount = Money::new(200);
    let begin =
        Record::BeginWithdrawal(BeginWithdrawal { user: ANN, payment: PAYMENT, amount, at: at(9), key: None });
    let end = |verdict, by, key| {
        let end = EndWithdrawal { user: ANN, payment: PAYMENT, verdict, by: AuditActor::of(by), at: at(10), key };
        Record::EndWithdrawal(end)
    };
    use WithdrawalDecision::{Approved, Rejected};
    assert!(books.apply(&begin).is_ok());
    let before = books.clone();
    assert_eq!(
        books.apply(&end(Approved, ANN, key("used", 2))),
        Err(Refusal::KeyReused),
        "the key is checked first"
    );
    assert_eq!(books.apply(&end(Approved, ANN, key("new", 1))), Err(Refusal::OwnWithdrawal));
    assert_eq!(format!("{books:?}"), format!("{before:?}"), "a refusal changes nothing");
    let mut rejected = before;
    assert!(rejected.apply(&end(Rejected, ANN, None)).is_ok(), "the money goes back into the wallet");
    assert!(books.apply(&end(Approved, BOB, None)).is_ok());
    assert_eq!(books.apply(&end(Approved, ANN, None)), Err(Refusal::OwnWithdrawal), "nor afterwards");
}

#[test]
fn a_batch_locks_what_its_records_need_and_nothing_else() {
    let later = Order { reserved_until: Some(at(300)), key: key("new", 1), ..order(BOB, 3_000, 1) };
    let required = Prefetch::of([&Record::Order(later), &pay(1), &end_charge(Charge::Paid, false)]);
    let accounts = [AccountId::CLEARING, AccountId::wallet(ANN), AccountId::escrow(DRAW)];
    assert_eq!(required.accounts, BTreeSet::from(accounts));
    assert_eq!(required.draws, BTreeSet::from([DRAW]));
    assert_eq!(required.payments, BTreeSet::from([PAYMENT]));
    assert_eq!(required.charges, BTreeSet::from([PAYMENT]));
    assert_eq!(required.keys, BTreeSet::from([KeyId::of(ANN, "new")]));
    assert!(Prefetch::of([&pay(1), &expire(1)]).charges.is_empty(), "the wallet needs no charge");
}

/// The same state, of a draw with a ticket log that has one order, of ten tickets.
fn with_log(state: BatchState) -> BatchState {
    let mut log = TicketLog::empty(test_logs().keys(DRAW));
    log.append(1, PaymentId(id(1)), BOB, held(10).iter().map(|ticket| ticket.pick)).unwrap();
    log.finish();
    let sales = DrawSales { epoch: 3, sold: 10, log: Some(log) };
    BatchState { draws: HashMap::from([(DRAW, sales)]), ..state }
}

/// The entries of the batch, and the head after it.
fn logged(state: &mut BatchState, receipts: &[&Receipt]) -> (Vec<String>, u64) {
    let log = state.draws.get_mut(&DRAW).unwrap().log.as_mut().unwrap();
    log.finish();
    let keys = test_logs().keys(DRAW);
    let entry = |receipt: &&Receipt| {
        let receipt = InclusionReceipt::parse(proof_text(receipt).unwrap().as_bytes()).unwrap();
        let (entry, _) = receipt.verify_extra([keys.verifier()]).unwrap();
        String::from_utf8(entry.to_vec()).unwrap()
    };
    (receipts.iter().map(entry).collect(), log.head().size)
}

#[test]
fn each_paid_order_is_one_leaf_and_what_is_refused_or_reserved_is_none() {
    let mut books = with_log(books());
    let key_of = |text, user| Order { key: key(text, 1), ..order(user, 1_000, 2) };
    let first = books.apply(&Record::Order(key_of("new", ANN)));
    let Ok(Outcome::Ordered { first_number: Some(11), receipt: Some(first) }) = first else { panic!("{first:?}") };
    assert!(books.apply(&Record::Order(order(BOB, 2_000, 1))).is_err(), "too dear");
    assert!(books.apply(&Record::Order(key_of("new", ANN))).is_err(), "a replay");
    let later = Order { reserved_until: Some(at(300)), ..order(BOB, 3_000, 2) };
    assert_eq!(books.apply(&Record::Order(later)), Ok(Outcome::Ordered { first_number: None, receipt: None }));
    let (entries, size) = logged(&mut books, &[&first]);
    assert_eq!(size, 2);
    assert!(
        entries[0].starts_with("{\"first\":11,") && entries[0].ends_with("[[1,2,3,4,5],[1,2,3,4,5]]}"),
        "{entries:?}"
    );
}

#[test]
fn what_is_left_of_a_reservation_is_one_leaf_however_it_is_paid() {
    let of_five = [held(5)[0], held(5)[2], held(5)[4]];
    let tickets = || of_five.to_vec();
    let pay =
        Record::Pay(Pay { fence: fence(), user: ANN, payment: PAYMENT, tickets: tickets(), at: at(9), key: None });
    let held = Some(HeldTickets { fence: fence(), tickets: tickets() });
    let card = Record::EndCharge(EndCharge { held, ..end_of(at(0), Charge::Paid) });
    for (record, state) in [(pay, with_payment(PaymentStatus::Pending, 2)), (card, with_charge_in_progress())] {
        let mut books = with_log(state);
        assert!(books.apply(&record).is_ok(), "{record:?}");
        let log = books.draws.get_mut(&DRAW).unwrap().log.as_mut().unwrap();
        log.finish();
        let mut expected = with_log(self::books()).draws.remove(&DRAW).unwrap().log.unwrap();
        expected.append(11, PAYMENT, ANN, of_five.iter().map(|ticket| ticket.pick)).unwrap();
        expected.finish();
        assert_eq!(log.head(), expected.head());
        assert_eq!(books.draws[&DRAW].sold, 13);
    }
}

#[test]
fn a_charge_that_is_paid_too_late_is_no_leaf() {
    let mut books = with_log(with_charge_in_progress());
    assert!(matches!(books.apply(&end_charge(Charge::Paid, false)), Ok(Outcome::LateCredit(_))));
    assert_eq!(logged(&mut books, &[]).1, 1);
}

#[test]
fn a_draw_with_a_faulty_ticket_log_sells_nothing() {
    let fault = TicketLogFault::RolledBack { known: 9 };
    let mut books = BatchState { faulty_logs: HashMap::from([(DRAW, fault)]), draws: HashMap::new(), ..books() };
    assert_eq!(books.apply(&Record::Order(order(ANN, 1_000, 1))), Err(Refusal::TicketLog(fault)));
}
