//! The tests of the draw: its refusals in their order, and the steps that each status allows. A property test
//! compares the draw with the batch state and with a small database of hash maps. The steps as transactions are
//! tested elsewhere.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::SignedDuration;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use uuid::Uuid;

use super::*;
use crate::domain::batch_state::BatchState;
use crate::domain::charge::{ChargeName, ChargeRow};
use crate::domain::game::Game;
use crate::domain::id::LotteryId;
use crate::domain::ledger::{AccountId, Ledger};
use crate::domain::money::{Currency, Share};
use crate::domain::payment::PaymentStatus;
use crate::domain::prefetch::Prefetch;
use crate::domain::prize::{Award, PrizeTable, Tier};
use crate::domain::record::{Charge, EndCharge, Key, Order, Outcome, Record, Refusal};
use crate::domain::rows::{Changes, DrawSales, PaymentRow, Release};

const PRICE: Money = Money::new(100);
/// The sale ends this many seconds after the beginning.
pub(super) const CLOSE: i64 = 3_600;
const DRAW: DrawId = DrawId(7);

pub(super) fn second(at: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + at).unwrap()
}

fn game() -> Game {
    Game::new(5, 36).unwrap()
}

pub(super) fn pool_id(number: u8) -> PoolTicketId {
    PoolTicketId(Uuid::from_u128(number.into()))
}

pub(super) fn pool(numbers: impl IntoIterator<Item = u8>) -> Pool {
    let mut pool = Pool::default();
    for number in numbers {
        pool.put(pool_id(number), game().unrank(number.into()));
    }
    pool
}

pub(super) fn parts(status: DrawStatus, pool: Pool) -> DrawState {
    let tiers =
        vec![Tier { matches: 5, award: Award::Shared { share: Share::new(10_000).unwrap(), minimum: None } }];
    let rules = Rules {
        lottery: LotteryId("5of36".to_owned()),
        game: game(),
        price: PRICE,
        fund_share: Share::new(5_000).unwrap(),
        prizes: PrizeTable::new(game(), tiers).unwrap(),
    };
    DrawState {
        id: DRAW,
        number: 1,
        rules: rules.into(),
        times: Times { sales_open_at: None, sales_close_at: second(CLOSE), draw_at: second(2 * CLOSE) },
        status,
        fairness: None,
        round: None,
        epoch: 1,
        sold: 0,
        pool,
        reservations: HashMap::new(),
        winning: None,
        cancel_reason: None,
        rolled_back: None,
    }
}

/// Places an order; its ids and quick picks are the same in every run.
fn order(draw: &mut Draw, lines: Vec<LineRequest>, at: i64) -> Result<Order, OrderRefusal> {
    let ask = OrderRequest { user: UserId(1), lines, reserve: Some(SignedDuration::from_mins(5)), key: None };
    let mut next = 1_000_u128;
    let id = || {
        next += 1;
        Uuid::from_u128(next)
    };
    draw.order(ask, second(at), id, &mut StdRng::seed_from_u64(1))
}

pub(super) fn good() -> LineRequest {
    LineRequest::Numbers(vec![1, 7, 13, 22, 36])
}

fn bad() -> LineRequest {
    LineRequest::Numbers(vec![1, 7, 13, 22, 37])
}

pub(super) fn named(number: u8) -> LineRequest {
    LineRequest::PoolTicket(pool_id(number))
}

#[test]
fn an_order_is_refused_in_this_order_of_precedence_and_takes_nothing() {
    use DrawStatus::{Closed, Open, Scheduled};
    use LineRequest::FromPool;
    let bad_line = |line| match game().pick(&[1, 7, 13, 22, 37]) {
        Err(error) => OrderRefusal::InvalidPick { line, error },
        Ok(_) => unreachable!("37 is not of 36"),
    };
    let too_many = OrderRefusal::TooManyReservations(TooManyReservations { open: 0, limit: 5 });
    let unavailable = |line| OrderRefusal::TicketUnavailable { line };
    // The pool holds the tickets 1, 2 and 3. Ticket 9 does not exist.
    for (status, at, lines, refusal) in [
        (Scheduled, 0, vec![bad(), named(9)], OrderRefusal::NotOpen),
        (Closed, 0, vec![bad(), named(9)], OrderRefusal::NotOpen),
        (Open, CLOSE, vec![bad(), named(9)], OrderRefusal::NotOpen),
        (Open, CLOSE - 1, vec![bad(), named(9), FromPool], bad_line(0)),
        (Open, 0, vec![named(9), good(), bad()], bad_line(2)),
        (Open, 0, vec![FromPool, FromPool, FromPool, FromPool, named(9)], unavailable(4)),
        (Open, 0, vec![named(9), named(8)], unavailable(0)),
        (Open, 0, vec![named(9), named(8), good(), good(), good(), good()], too_many),
        (Open, 0, vec![good(), good(), good(), good(), good(), bad()], bad_line(5)),
        (Open, 0, vec![named(1), good(), named(1)], unavailable(2)),
        (Open, 0, vec![FromPool, FromPool, FromPool, FromPool], OrderRefusal::PoolEmpty),
        (Open, 0, vec![named(1), good(), FromPool, FromPool, FromPool], OrderRefusal::PoolEmpty),
    ] {
        let open = OpenReservations::new(Some(5));
        let mut draw = Draw::new(parts(status, pool([1, 2, 3]))).counted_in(&open);
        assert_eq!(order(&mut draw, lines.clone(), at), Err(refusal), "{status:?} at {at}: {lines:?}");
        assert_eq!(draw.it.pool, pool([1, 2, 3]), "all lines or none");
        assert_eq!((draw.out, open.of(UserId(1))), (0, 0));
    }
}

#[test]
fn an_order_paid_from_the_wallet_is_no_reservation() {
    let open = OpenReservations::new(Some(2));
    let mut draw = Draw::new(parts(DrawStatus::Open, pool([]))).counted_in(&open);
    order(&mut draw, vec![good(), good()], 0).unwrap();
    let too_many = OrderRefusal::TooManyReservations(TooManyReservations { open: 2, limit: 2 });
    assert_eq!(order(&mut draw, vec![good()], 0), Err(too_many));
    let paid = OrderRequest { user: UserId(1), lines: vec![good(); 5], reserve: None, key: None };
    let mut ids = (2_000_u128..).map(Uuid::from_u128);
    draw.order(paid, second(0), || ids.next().unwrap(), &mut StdRng::seed_from_u64(1)).unwrap();
    assert_eq!(open.of(UserId(1)), 2);
}

#[test]
fn a_stopped_sale_refuses_before_anything_else() {
    let mut draw = Draw::new(parts(DrawStatus::Open, pool([1])));
    assert_eq!(draw.stop(second(0)), Stopping::Done);
    assert_eq!(order(&mut draw, vec![bad()], 1), Err(OrderRefusal::NotOpen));
    assert_eq!(draw.view().available, 0);
}

#[test]
fn while_an_order_is_on_its_way_its_key_is_not_refused_what_it_holds_itself() {
    let mut draw = Draw::new(parts(DrawStatus::Open, pool([1])));
    let key = |text: &str| Some(Key { user: UserId(1), id: KeyId::of(UserId(1), text), request: Uuid::nil() });
    let ask = |key, lines| OrderRequest { user: UserId(1), lines, reserve: None, key };
    let mut ids = (1_000_u128..).map(Uuid::from_u128);
    let mut order = |draw: &mut Draw, ask, at| {
        draw.order(ask, second(at), || ids.next().unwrap(), &mut StdRng::seed_from_u64(1))
    };
    let first = order(&mut draw, ask(key("k"), vec![named(1)]), 0).unwrap();
    // If the order can be served again, the batch state refuses it later, because it finds the key.
    let again = order(&mut draw, ask(key("k"), vec![good()]), 0).unwrap();
    for (at, lines) in [(0, vec![named(1)]), (0, vec![LineRequest::FromPool]), (CLOSE, vec![named(1)])] {
        let ask_again = order(&mut draw, ask(key("k"), lines.clone()), at);
        assert_eq!(ask_again, Err(OrderRefusal::KeyInFlight), "{lines:?} at {at}");
    }
    let other = order(&mut draw, ask(key("other"), vec![named(1)]), 0);
    assert_eq!(other, Err(OrderRefusal::TicketUnavailable { line: 0 }));

    draw.answered(&Record::Order(again), &Err(Refusal::Overloaded));
    let still = order(&mut draw, ask(key("k"), vec![named(1)]), 0);
    assert_eq!(still, Err(OrderRefusal::KeyInFlight), "one of the two orders is still in flight");
    draw.answered(&Record::Order(first), &Ok(Outcome::Ordered { first_number: Some(1), receipt: None }));
    let after = order(&mut draw, ask(key("k"), vec![named(1)]), 0);
    assert_eq!(after, Err(OrderRefusal::TicketUnavailable { line: 0 }), "now the stored key gives the answer");
}

#[test]
fn what_pays_a_reservation_has_the_numbers_of_what_is_left_of_it() {
    let mut draw = Draw::new(parts(DrawStatus::Open, pool([7])));
    let mut ids = (1_000_u128..).map(Uuid::from_u128);
    let lines = vec![good(), LineRequest::QuickPick, named(7)];
    let reserve = Some(SignedDuration::from_secs(600));
    let ask = OrderRequest { user: UserId(1), lines, reserve, key: None };
    let order = draw.order(ask, second(0), || ids.next().unwrap(), &mut StdRng::seed_from_u64(1)).unwrap();
    let ordered: Vec<_> = order.lines.iter().map(|line| HeldTicket { id: line.ticket, pick: line.pick }).collect();
    let payment = order.payment;
    draw.answered(&Record::Order(order), &Ok(Outcome::Ordered { first_number: None, receipt: None }));
    let back = draw.give_back(UserId(1), payment, ordered[1].id, second(1)).unwrap();
    draw.answered(&Record::GiveBack(back), &Ok(Outcome::Released));
    let pay = draw.pay(UserId(1), payment, second(2), None).unwrap();
    assert_eq!(pay.tickets, [ordered[0], ordered[2]]);
    assert_eq!(ordered[2].pick, game().unrank(7), "of the pool");
}

#[test]
fn the_end_of_a_sale_lets_go_in_the_order_of_the_payments() {
    let mut fixture = Fixture::new();
    for user in 0..9 {
        fixture.order(user % PLAYERS, &[0], Some(600));
    }
    fixture.write(9);
    let made: Vec<_> = fixture.payments.iter().map(|(_, payment)| *payment).collect();
    match fixture.draw.stop(second(1)) {
        Stopping::Expire(records) => assert!(records.iter().map(|it| it.payment).eq(made)),
        other => panic!("nine reservations must expire: {other:?}"),
    }
}

#[test]
fn any_of_the_pool_never_takes_what_another_line_names() {
    let mut draw = Draw::new(parts(DrawStatus::Open, pool([1, 2])));
    let order = order(&mut draw, vec![LineRequest::FromPool, named(2)], 0).unwrap();
    let taken: Vec<_> = order.lines.iter().map(|line| line.pool_ticket.unwrap()).collect();
    assert_eq!(taken, [pool_id(1), pool_id(2)]);
}

#[test]
fn a_reservation_ends_with_the_sale_at_the_latest() {
    let mut draw = Draw::new(parts(DrawStatus::Open, pool([])));
    for (at, until) in [(0, 300), (CLOSE - 300, CLOSE), (CLOSE - 1, CLOSE)] {
        assert_eq!(order(&mut draw, vec![good()], at).unwrap().reserved_until, Some(second(until)));
    }
}

#[test]
fn each_status_allows_its_steps() {
    use Allowed::{Already, No, UnderWay, Yes};
    use DrawStatus::{Cancelled, Cancelling, Closed, Completed, Open, Scheduled, Settling};
    for (status, expected) in [
        //          open     close    conduct   cancel
        (Scheduled, [Yes, No, No, Yes]),
        (Open, [Already, Yes, No, Yes]),
        (Closed, [No, Already, Yes, Yes]),
        (Settling, [No, No, UnderWay, No]),
        (Completed, [No, No, Already, No]),
        (Cancelling, [No, No, No, UnderWay]),
        (Cancelled, [No, No, No, Already]),
    ] {
        let draw = Draw::new(parts(status, Pool::default()));
        let steps = [Step::Open, Step::Close, Step::Conduct, Step::Cancel];
        assert_eq!(steps.map(|step| draw.allows(step, second(0))), expected, "{status:?}");
        // A refusal is final only from the status `Settling` on.
        let never = steps.map(|step| draw.never_again(step, second(0)).is_some());
        assert_eq!(never, expected.map(|allowed| status >= Settling && allowed == No), "{status:?}");
    }
}

#[test]
fn a_sale_that_is_being_stopped_is_not_open_any_more() {
    let mut draw = Draw::new(parts(DrawStatus::Open, Pool::default()));
    let _ = draw.stop(second(0));
    assert_eq!(draw.allows(Step::Open, second(0)), Allowed::No);
    assert_eq!(draw.allows(Step::Close, second(0)), Allowed::UnderWay);
    assert!(!draw.takes_pool_tickets());
}

#[test]
fn behind_its_cut_off_a_draw_is_not_opened() {
    let mut by_hand = Draw::new(parts(DrawStatus::Scheduled, Pool::default()));
    assert_eq!(by_hand.allows(Step::Open, second(CLOSE - 1)), Allowed::Yes);
    assert_eq!(by_hand.allows(Step::Open, second(CLOSE)), Allowed::No);
    assert_eq!(by_hand.due(second(CLOSE)), Some(Due::CancelUnopened));

    let mut parts = parts(DrawStatus::Scheduled, Pool::default());
    parts.times.sales_open_at = Some(second(10));
    let mut by_clock = Draw::new(parts);
    assert_eq!((by_clock.due(second(9)), by_clock.next_due()), (None, Some(second(10))));
    assert_eq!(by_clock.due(second(CLOSE - 1)), Some(Due::Step(Step::Open)));
    // The service was down until its cut-off, or longer.
    for late in [CLOSE, 3 * CLOSE] {
        assert_eq!(by_clock.due(second(late)), Some(Due::CancelUnopened));
        assert_eq!(by_clock.allows(Step::Open, second(late)), Allowed::No);
    }
}

#[test]
fn a_card_that_is_long_in_coming_does_not_hide_the_cut_off() {
    let mut fixture = Fixture::new();
    fixture.order(0, &[3], Some(60));
    fixture.write(1);
    fixture.card(0);
    fixture.write(1);
    fixture.provider(0, Charge::Processing);
    fixture.write(1);
    fixture.now = second(600);
    fixture.tick();
    assert_eq!(fixture.draw.next_due(), Some(second(CLOSE)));
    fixture.draw = Draw::new(fixture.base.parts(&fixture.draw));
    assert_eq!(fixture.draw.next_due(), Some(second(CLOSE)), "nor after a restart");
}

#[test]
fn nothing_is_paid_while_a_giving_back_is_on_its_way() {
    let mut fixture = Fixture::new();
    fixture.order(0, &[0, 0], Some(600));
    fixture.write(1);
    fixture.give_back(0, 0);
    assert!(!fixture.pay(0), "the amount to pay is not known yet");
    fixture.refuse(0, Refusal::Overloaded);
    assert!(fixture.pay(0));
    fixture.write(1);
    fixture.check();
}

#[test]
fn a_draw_is_loaded_with_a_new_epoch_before_its_state_is_read() {
    assert!(matches!(DrawLoad::default(), DrawLoad::ReadStatus));
    assert!(matches!(DrawLoad::status_read(Some(DrawStatus::Settling)), DrawLoad::TakeOver));
    assert!(matches!(DrawLoad::taken_over(Some(5)), DrawLoad::ReadState { epoch: 5 }));
    let by_another = DrawState { epoch: 6, ..parts(DrawStatus::Open, pool([1])) };
    let DrawLoad::Loaded(draw) = DrawLoad::state_read(5, Some(by_another)) else { panic!("the draw is there") };
    assert_eq!(draw.fence().epoch, 5, "the epoch that this process took, not the one that it read");
}

#[test]
fn a_draw_that_is_over_or_missing_is_not_loaded() {
    let no_draw = [DrawLoad::status_read(None), DrawLoad::taken_over(None), DrawLoad::state_read(1, None)];
    assert!(no_draw.iter().all(|load| matches!(load, DrawLoad::Absent(DrawAbsent::NoSuchDraw))));
    for status in [DrawStatus::Completed, DrawStatus::Cancelled] {
        let read = DrawLoad::state_read(1, Some(parts(status, pool([]))));
        for load in [DrawLoad::status_read(Some(status)), read] {
            assert!(matches!(load, DrawLoad::Absent(DrawAbsent::Over(over)) if over == status));
        }
    }
}

#[test]
fn the_late_end_of_an_earlier_charge_does_not_take_the_tickets_from_the_next_one() {
    let mut fixture = Fixture::new();
    fixture.order(0, &[0, 0], Some(600));
    fixture.write(1);
    fixture.card(0);
    fixture.write(1);
    let (user, payment) = fixture.payments[0];
    let first = fixture.base.payments[&payment].updated_at;
    fixture.provider(0, Charge::Declined("card_declined".to_owned()));
    fixture.write(1);
    fixture.card(0);
    fixture.write(1);
    let (charge, at) = (Charge::Paid, fixture.now);
    let late = EndCharge { held: None, user, payment, begun: first, charge, admin: None, at, key: None };
    let late = fixture.draw.end_charge(late);
    assert_eq!(late.held, None, "the tickets are held for the second charge");
    fixture.queue.push_back(Record::EndCharge(late));
    fixture.provider(0, Charge::Paid);
    fixture.write(2);
    assert_eq!(fixture.base.payments[&payment].status, PaymentStatus::Paid);
    assert_eq!(fixture.base.accounts[&AccountId::wallet(user)], Money::new(1_500 + 200));
    fixture.check();
}

/// A small database of hash maps.
#[derive(Default)]
struct Base {
    accounts: HashMap<AccountId, Money>,
    epoch: i64,
    sold: i64,
    payments: HashMap<PaymentId, PaymentRow>,
    charges: BTreeMap<ChargeName, ChargeRow>,
    tickets: BTreeMap<TicketId, Row>,
}

struct Row {
    payment: PaymentId,
    pick: Pick,
    pool: Option<PoolTicketId>,
    number: Option<i64>,
    status: &'static str,
}

impl Base {
    /// Runs one transaction, as the persistence actor does.
    fn write(&mut self, records: &[Record]) -> Vec<Result<Outcome, Refusal>> {
        let required = Prefetch::of(records);
        let mut books = BatchState {
            currency: "RUB".parse::<Currency>().unwrap(),
            ledger: Ledger::new(required.accounts.iter().map(|id| (*id, self.accounts[id]))),
            draws: required
                .draws
                .iter()
                .map(|id| (*id, DrawSales { epoch: self.epoch, sold: self.sold, log: None }))
                .collect(),
            faulty_logs: HashMap::new(),
            payments: required
                .payments
                .iter()
                .filter_map(|id| Some((*id, self.payments.get(id)?.clone())))
                .collect(),
            charges: self.charges.clone(),
            keys: HashMap::new(),
            changes: Changes::default(),
        };
        let results: Vec<_> = records.iter().map(|record| books.apply(record)).collect();
        self.accounts.extend(books.ledger.changed());
        self.sold = books.draws.get(&DRAW).map_or(self.sold, |sales| sales.sold);
        self.payments.extend(books.changes.new_payments);
        self.payments.extend(books.changes.changed_payments);
        self.charges.extend(books.changes.charges);
        for (record, result) in records.iter().zip(&results) {
            let (Record::Order(order), Ok(Outcome::Ordered { first_number, .. })) = (record, result) else {
                continue;
            };
            for (line, number) in order.numbered(*first_number) {
                let (pick, pool) = (line.pick, line.pool_ticket);
                let status = if number.is_some() { "paid" } else { "reserved" };
                self.tickets.insert(line.ticket, Row { payment: order.payment, pick, pool, number, status });
            }
        }
        for (_, id, number) in books.changes.paid_tickets {
            self.leave_reserved(id, "paid").number = Some(number);
        }
        for (_, id, release) in books.changes.released_tickets {
            self.leave_reserved(id, if release == Release::Expired { "expired" } else { "returned" });
        }
        results
    }

    fn leave_reserved(&mut self, id: TicketId, status: &'static str) -> &mut Row {
        let row = self.tickets.get_mut(&id).unwrap();
        assert_eq!(row.status, "reserved", "a ticket leaves its reservation once");
        row.status = status;
        row
    }

    fn of_status(&self, status: &str) -> impl Iterator<Item = (&TicketId, &Row)> {
        self.tickets.iter().filter(move |(_, row)| row.status == status)
    }

    /// The draw as a restart would load it.
    fn parts(&self, draw: &Draw) -> DrawState {
        let mut reservations: HashMap<PaymentId, Reservation> = HashMap::new();
        for (id, row) in self.of_status("reserved") {
            let payment = &self.payments[&row.payment];
            let charging = payment.status == PaymentStatus::Processing;
            let held = reservations.entry(row.payment).or_insert(Reservation {
                user: payment.user,
                until: payment.reserved_until.unwrap(),
                tickets: Vec::new(),
                state: if charging {
                    ReservationState::Charging { begun: payment.updated_at }
                } else {
                    ReservationState::Held
                },
            });
            held.tickets.push(ReservedTicket { id: *id, pick: row.pick, pool: row.pool, returning: false });
        }
        let held = |id: &PoolTicketId| {
            let holds = |row: &&Row| row.pool == Some(*id);
            self.tickets.values().filter(holds).any(|row| ["reserved", "paid"].contains(&row.status))
        };
        let free = (1..=POOL).filter(|number| !held(&pool_id(*number)));
        let selling = draw.status() == DrawStatus::Open;
        DrawState {
            epoch: self.epoch,
            sold: self.sold,
            pool: if selling { pool(free) } else { Pool::default() },
            reservations,
            ..parts(draw.status(), Pool::default())
        }
    }
}

const POOL: u8 = 6;
const PLAYERS: i64 = 3;
const OPEN_RESERVATIONS: usize = 5;

/// The draw, its records in flight, and the database.
struct Fixture {
    draw: Draw,
    open: OpenReservations,
    queue: VecDeque<Record>,
    base: Base,
    now: Timestamp,
    rng: StdRng,
    ids: u128,
    payments: Vec<(UserId, PaymentId)>,
    /// The charges that the provider has not answered yet.
    charged: Vec<(UserId, PaymentId)>,
    stopping: bool,
    sealed: Option<i64>,
}

impl Fixture {
    fn new() -> Fixture {
        let wallets = (0..PLAYERS).map(|user| (AccountId::wallet(UserId(user)), Money::new(1_500)));
        let clearing = (AccountId::CLEARING, Money::new(-1_500 * PLAYERS));
        let accounts = wallets.chain([clearing, (AccountId::escrow(DRAW), Money::ZERO)]).collect();
        let open = OpenReservations::new(Some(OPEN_RESERVATIONS));
        Fixture {
            draw: Draw::new(parts(DrawStatus::Open, pool(1..=POOL))).counted_in(&open),
            open,
            queue: VecDeque::new(),
            base: Base { accounts, epoch: 1, ..Base::default() },
            now: second(0),
            rng: StdRng::seed_from_u64(7),
            ids: 1 << 64,
            payments: Vec::new(),
            charged: Vec::new(),
            stopping: false,
            sealed: None,
        }
    }

    /// Lines: 0 and 1 choose numbers, 2 takes any pool ticket, a higher value names a pool ticket.
    fn order(&mut self, user: i64, lines: &[u8], reserve: Option<i64>) {
        let line = |line: &u8| match line {
            0 => good(),
            1 => LineRequest::QuickPick,
            2 => LineRequest::FromPool,
            number => named(number - 2),
        };
        let reserve = reserve.map(SignedDuration::from_secs);
        let ask = OrderRequest { user: UserId(user), lines: lines.iter().map(line).collect(), reserve, key: None };
        let ids = &mut self.ids;
        let id = || {
            *ids += 1;
            Uuid::from_u128(*ids)
        };
        let had = self.open.of(UserId(user));
        let order = self.draw.order(ask, self.now, id, &mut self.rng);
        if let Err(OrderRefusal::TooManyReservations(it)) = &order {
            assert!(reserve.is_some() && it.open == had && had + lines.len() > it.limit, "{it:?}");
        }
        assert!(order.is_err() || !self.stopping, "nothing is sold after the sale was stopped");
        self.queue.extend(order.ok().map(Record::Order));
    }

    fn one_of(&self, which: usize) -> Option<(UserId, PaymentId)> {
        (!self.payments.is_empty()).then(|| self.payments[which % self.payments.len()])
    }

    fn pay(&mut self, which: usize) -> bool {
        let Some((user, payment)) = self.one_of(which) else { return false };
        let pay = self.draw.pay(user, payment, self.now, None);
        self.queue.extend(pay.clone().map(Record::Pay));
        pay.is_some()
    }

    fn card(&mut self, which: usize) {
        let Some((user, payment)) = self.one_of(which) else { return };
        self.queue.extend(self.draw.begin_charge(user, payment, self.now, None).map(Record::BeginCharge));
    }

    fn provider(&mut self, which: usize, charge: Charge) {
        if self.charged.is_empty() {
            return;
        }
        let at = which % self.charged.len();
        let (user, payment) = self.charged[at];
        if charge != Charge::Processing {
            self.charged.remove(at);
        }
        let (begun, at) = (self.base.payments[&payment].updated_at, self.now);
        let end = EndCharge { held: None, user, payment, begun, charge, admin: None, at, key: None };
        self.queue.push_back(Record::EndCharge(self.draw.end_charge(end)));
    }

    fn give_back(&mut self, which: usize, ticket: usize) {
        let Some((user, payment)) = self.one_of(which) else { return };
        let Some(held) = self.draw.it.reservations.get(&payment) else { return };
        let ticket = held.tickets[ticket % held.tickets.len()].id;
        self.queue.extend(self.draw.give_back(user, payment, ticket, self.now).map(Record::GiveBack));
    }

    /// Writes the next batch.
    fn write(&mut self, count: usize) {
        let batch: Vec<Record> = self.queue.drain(..count.min(self.queue.len())).collect();
        let results = self.base.write(&batch);
        for (record, result) in batch.iter().zip(results) {
            match (record, &result) {
                (Record::Order(order), Ok(_)) if order.reserved_until.is_some() => {
                    assert!(order.reserved_until <= Some(second(CLOSE)), "held until the cut-off at most");
                    self.payments.push((order.user, order.payment));
                }
                (Record::BeginCharge(it), Ok(_)) => self.charged.push((it.user, it.payment)),
                (_, Ok(_) | Err(Refusal::InsufficientFunds)) => {}
                (record, Err(refused)) => panic!("the draw differs from the database: {refused:?} for {record:?}"),
            }
            self.draw.answered(record, &result);
        }
        self.go_on_stopping();
    }

    /// Refuses a record, as the database or a deadline does. A record without a deadline is never refused because
    /// of time.
    fn refuse(&mut self, which: usize, refused: Refusal) {
        let bounded = |record: &Record| {
            matches!(record, Record::Order(_) | Record::Pay(_) | Record::GiveBack(_) | Record::BeginCharge(_))
        };
        let at = self.queue.iter().enumerate().filter(|(_, record)| bounded(record)).map(|(at, _)| at);
        let Some(at) = at.collect::<Vec<_>>().get(which).copied() else { return };
        let record = self.queue.remove(at).unwrap();
        self.draw.answered(&record, &Err(refused));
        self.go_on_stopping();
    }

    fn go_on_stopping(&mut self) {
        if !self.stopping || self.sealed.is_some() {
            return;
        }
        match self.draw.stop(self.now) {
            Stopping::Expire(records) => self.queue.extend(records.into_iter().map(Record::Expire)),
            Stopping::Wait => assert!(!self.queue.is_empty(), "the draw waits although no record is in flight"),
            Stopping::Done => {
                assert_eq!(self.base.of_status("reserved").count(), 0, "a sealed list has no open reservation");
                self.base.epoch += 1;
                self.sealed = Some(self.base.sold);
                self.draw.sealed(self.base.epoch);
            }
        }
    }

    fn tick(&mut self) {
        while let Some(due) = self.draw.due(self.now) {
            match due {
                Due::Expire(records) => self.queue.extend(records.into_iter().map(Record::Expire)),
                Due::Step(Step::Close) => {
                    self.stopping = true;
                    self.go_on_stopping();
                    break;
                }
                Due::Step(_) | Due::CancelUnopened | Due::Void(_) | Due::CancelAgain(_) => break,
            }
        }
        let looks_again = self.draw.next_due().is_none_or(|next| next > self.now);
        assert!(looks_again || !self.queue.is_empty() || self.stopping, "the clock is never checked again");
    }

    fn check(&self) {
        // Every pool ticket is in exactly one state: free, in flight, held, or sold.
        let mut places: HashMap<PoolTicketId, usize> = HashMap::new();
        let mut seen = |id: PoolTicketId| *places.entry(id).or_default() += 1;
        let mut free = self.draw.it.pool.clone();
        while let Some((id, _)) = free.take_any() {
            seen(id);
        }
        for record in &self.queue {
            if let Record::Order(order) = record {
                order.lines.iter().filter_map(|line| line.pool_ticket).for_each(&mut seen);
            }
        }
        let held = self.draw.it.reservations.values().flat_map(|held| &held.tickets);
        held.filter_map(|ticket| ticket.pool).for_each(&mut seen);
        self.base.of_status("paid").filter_map(|(_, row)| row.pool).for_each(seen);
        assert!(places.values().all(|count| *count == 1), "{places:?}");
        assert!(self.sealed.is_some() || places.len() == usize::from(POOL), "{places:?}");

        // The balances sum to zero, and each payment has the tickets that it paid for.
        let balances = || self.base.accounts.iter();
        assert_eq!(balances().map(|(_, balance)| balance.minor()).sum::<i64>(), 0);
        assert!(balances().all(|(id, balance)| *id == AccountId::CLEARING || *balance >= Money::ZERO));
        for (id, payment) in &self.base.payments {
            let paid = self.base.of_status("paid").filter(|(_, row)| row.payment == *id).count() as u64;
            let due = if payment.status == PaymentStatus::Paid { payment.amount } else { Money::ZERO };
            assert_eq!(PRICE.checked_mul(paid), Some(due), "{payment:?}");
        }
        let mut numbers: Vec<_> = self.base.tickets.values().filter_map(|row| row.number).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(1..=self.base.sold), "numbered without a gap");
        assert!(self.sealed.is_none_or(|sold| sold == self.base.sold), "nothing is sold after the seal");

        // Exactly what is held or being ordered is counted as open.
        for user in (0..PLAYERS).map(UserId) {
            let held = self.draw.it.reservations.values().filter(|held| held.user == user);
            let ordered = self.queue.iter().filter_map(|record| match record {
                Record::Order(order) if order.user == user && order.reserved_until.is_some() => Some(&order.lines),
                _ => None,
            });
            let open = held.map(|held| held.tickets.len()).sum::<usize>() + ordered.map(Vec::len).sum::<usize>();
            assert_eq!(self.open.of(user), open, "{user}");
            assert!(open <= OPEN_RESERVATIONS, "{open}");
        }

        // If nothing is in flight, the memory equals what a restart would load.
        if self.queue.is_empty() {
            let by_id = |mut parts: DrawState| {
                parts.reservations.values_mut().for_each(|held| held.tickets.sort_by_key(|ticket| ticket.id));
                parts
            };
            let loaded = self.base.parts(&self.draw);
            let reloaded = Draw::new(loaded.clone()).open_reservations().clone();
            assert_eq!(*self.draw.open_reservations(), reloaded, "a restart counts the same");
            assert_eq!(by_id(self.draw.it.clone()), by_id(loaded));
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Order { user: i64, lines: Vec<u8>, reserve: Option<i64> },
    Pay(usize),
    Card(usize),
    Provider(usize, Charge),
    GiveBack(usize, usize),
    Write(usize),
    Refuse(usize, Refusal),
    Pass(i64),
    Close,
}

fn act() -> impl Strategy<Value = Act> {
    let charge = prop_oneof![
        3 => Just(Charge::Paid),
        2 => Just(Charge::Declined("card_declined".to_owned())),
        1 => Just(Charge::Processing),
    ];
    let refused = prop_oneof![Just(Refusal::Overloaded), Just(Refusal::Rejected)];
    prop_oneof![
        8 => (0..PLAYERS, prop::collection::vec(0..3 + POOL, 1..4), prop::option::of(1..900_i64))
            .prop_map(|(user, lines, reserve)| Act::Order { user, lines, reserve }),
        4 => (0..9_usize).prop_map(Act::Pay),
        3 => (0..9_usize).prop_map(Act::Card),
        3 => (0..9_usize, charge).prop_map(|(which, charge)| Act::Provider(which, charge)),
        4 => (0..9_usize, 0..3_usize).prop_map(|(which, ticket)| Act::GiveBack(which, ticket)),
        8 => (1..6_usize).prop_map(Act::Write),
        2 => (0..6_usize, refused).prop_map(|(which, refused)| Act::Refuse(which, refused)),
        4 => (0..600_i64).prop_map(Act::Pass),
        1 => Just(Act::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_interleaves_tickets_and_money_are_conserved(acts in prop::collection::vec(act(), 1..80)) {
        let mut fixture = Fixture::new();
        for act in acts {
            match act {
                Act::Order { user, lines, reserve } => fixture.order(user, &lines, reserve),
                Act::Pay(which) => drop(fixture.pay(which)),
                Act::Card(which) => fixture.card(which),
                Act::Provider(which, charge) => fixture.provider(which, charge),
                Act::GiveBack(which, ticket) => fixture.give_back(which, ticket),
                Act::Write(count) => fixture.write(count),
                Act::Refuse(which, refused) => fixture.refuse(which, refused),
                Act::Pass(seconds) => fixture.now += SignedDuration::from_secs(seconds),
                Act::Close => {
                    fixture.stopping = true;
                    fixture.go_on_stopping();
                }
            }
            fixture.tick();
            fixture.check();
        }
        // The sale can be ended in every state, and cards that answer later still have their effect.
        fixture.stopping = true;
        fixture.go_on_stopping();
        for _ in 0..200 {
            fixture.write(3);
        }
        prop_assert!(fixture.sealed.is_some() && fixture.queue.is_empty());
        while !fixture.charged.is_empty() {
            fixture.provider(0, Charge::Paid);
        }
        fixture.write(100);
        fixture.check();
    }
}
