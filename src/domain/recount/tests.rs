//! Tests of the count: however the list is cut into pieces it has the root of the sale, and each change is found.

use proptest::prelude::*;

use super::*;
use crate::domain::id::{DrawId, LotteryId};
use crate::domain::money::Share;
use crate::domain::prize::{Award, PrizeTable, Tier};
use crate::domain::ticket_log::{TicketLog, test_logs};

const DRAW: DrawId = DrawId(7);
const PRIZES: [(i64, Money); 2] = [(2, Money::new(50)), (1, Money::new(5))];

fn rules() -> Rules {
    let game = Game::new(2, 5).unwrap();
    let tier = |(matches, amount)| Tier { matches, award: Award::Fixed(Money::new(amount)) };
    let prizes = PrizeTable::new(game, [(2, 50), (1, 5)].map(tier).to_vec()).unwrap();
    let (lottery, price) = (LotteryId("2of5".to_owned()), Money::new(10));
    Rules { lottery, game, price, fund_share: Share::new(5_000).unwrap(), prizes }
}

fn winning() -> Pick {
    rules().game.pick(&[1, 2]).unwrap()
}

/// The tickets of orders with so many lines.
fn sold(lines: &[usize]) -> Vec<SoldTicket> {
    let (mut tickets, mut number) = (Vec::new(), 0);
    for (order, lines) in lines.iter().enumerate() {
        let payment = PaymentId(Uuid::from_u128(order as u128 + 1));
        let user = UserId(order as i64 % 3 + 1);
        for _ in 0..*lines {
            number += 1;
            let pick = rules().game.unrank(number as u64 * 7 % 10).mask();
            tickets.push(SoldTicket { number, id: Uuid::from_u128(1_000 + number as u128), payment, user, pick });
        }
    }
    tickets
}

/// What the sale has sealed.
fn sealed(tickets: &[SoldTicket]) -> SealedTickets {
    let mut log = TicketLog::empty(test_logs().keys(DRAW));
    for order in tickets.chunk_by(|one, next| one.payment == next.payment) {
        let picks: Vec<Pick> =
            order.iter().map(|ticket| rules().game.pick_from_mask(ticket.pick).unwrap()).collect();
        log.append(order[0].number, order[0].payment, order[0].user, picks.into_iter()).unwrap();
    }
    log.finish();
    SealedTickets { tickets: tickets.len() as i64, log: Some(log.head()) }
}

/// Counts in pieces of this many tickets; `last` is the number of the last ticket that is to be there.
fn count(
    tickets: &[SoldTicket],
    size: usize,
    last: i64,
    sealed: &SealedTickets,
) -> Result<CountedList, (ListFault, Vec<Hash>)> {
    let keys = sealed.log.map(|_| test_logs().keys(DRAW));
    let recount = Arc::new(Recount::new(&rules(), winning(), keys));
    let mut list = RunningCount::new(recount.clone());
    let mut after = 0;
    while after < last {
        let range = (after, last.min(after + size as i64));
        let piece = tickets.iter().filter(|ticket| ticket.number > range.0 && ticket.number <= range.1);
        let counted = recount.count(range, piece.copied()).map_err(|fault| (fault, Vec::new()))?;
        list.add(counted).map_err(|fault| (fault, Vec::new()))?;
        after = range.1;
    }
    list.finish(sealed)
}

fn fault(tickets: &[SoldTicket], last: i64, sealed: &SealedTickets) -> Option<ListFault> {
    count(tickets, 4, last, sealed).err().map(|(fault, _)| fault)
}

proptest! {
    #[test]
    fn the_root_is_that_of_the_sale_however_the_list_is_cut(
        lines in prop::collection::vec(1..6_usize, 0..40), size in 1..30_usize,
    ) {
        let tickets = sold(&lines);
        let counted = count(&tickets, size, tickets.len() as i64, &sealed(&tickets)).unwrap();
        prop_assert_eq!(counted.hits().values().sum::<i64>(), tickets.len() as i64);
        let double = tickets.iter().filter(|ticket| ticket.pick == winning().mask()).count();
        prop_assert_eq!(counted.hits().get(&2).copied().unwrap_or(0), double as i64);
    }

    #[test]
    fn each_change_of_a_sealed_list_is_found(
        lines in prop::collection::vec(1..4_usize, 2..20), place: prop::sample::Index, change in 0..6_usize,
    ) {
        let tickets = sold(&lines);
        let (sealed, at) = (sealed(&tickets), place.index(tickets.len()));
        let mut changed = tickets.clone();
        let other = SoldTicket { payment: PaymentId(Uuid::from_u128(999)), ..tickets[at] };
        match change {
            0 => changed[at].pick = rules().game.unrank((at as u64 * 7 + 8) % 10).mask(),
            1 => changed[at].user = UserId(99),
            2 => changed[at].payment = other.payment,
            3 => { changed.pop(); }
            4 => changed.push(SoldTicket { number: tickets.len() as i64 + 1, ..other }),
            _ => changed[at].number = tickets.len() as i64 + 5,
        }
        prop_assume!(changed != tickets);
        let last = changed.iter().map(|ticket| ticket.number).max().unwrap_or(0).min(tickets.len() as i64 + 1);
        prop_assert!(fault(&changed, last, &sealed).is_some());
    }
}

#[test]
fn faults_say_what_is_wrong() {
    let tickets = sold(&[2, 1, 3]);
    let sealed = sealed(&tickets);
    assert_eq!(fault(&tickets, 6, &sealed), None);
    assert_eq!(fault(&tickets[..5], 6, &sealed), Some(ListFault::Number(6)));
    assert_eq!(fault(&tickets[..5], 5, &sealed), Some(ListFault::Tickets { sealed: 6, sold: 5 }));
    let change = |number: usize, change: fn(&mut SoldTicket)| {
        let mut tickets = tickets.clone();
        change(&mut tickets[number - 1]);
        fault(&tickets, 6, &sealed)
    };
    assert_eq!(change(3, |ticket| ticket.number = 9), Some(ListFault::Number(3)));
    assert_eq!(change(4, |ticket| ticket.pick = 1 << 40), Some(ListFault::Pick(4)));
    assert_eq!(change(5, |ticket| ticket.pick ^= 1), Some(ListFault::Pick(5)));
    assert_eq!(change(1, |ticket| ticket.user = UserId(8)), Some(ListFault::Orders { sealed: 3, counted: 4 }));
    assert_eq!(change(3, |ticket| ticket.user = UserId(8)), Some(ListFault::Root));
    // Without a ticket log only the number of tickets is known.
    let without = SealedTickets { log: None, ..sealed };
    assert_eq!(fault(&tickets, 6, &without), None);
    assert_eq!(fault(&tickets[..5], 5, &without), Some(ListFault::Tickets { sealed: 6, sold: 5 }));
}

#[test]
fn the_roots_of_complete_tiles_tell_where_a_list_differs() {
    let tickets = sold(&[1; 600]);
    let sealed = sealed(&tickets);
    let tiles = |tickets: &[SoldTicket]| match count(tickets, 100, 600, &sealed) {
        Err((ListFault::Root, tiles)) => tiles,
        other => panic!("{other:?}"),
    };
    let mut first = tickets.clone();
    first[0].user = UserId(77);
    let mut last = tickets;
    last[599].user = UserId(77);
    let (first, last) = (tiles(&first), tiles(&last));
    assert_eq!((first.len(), last.len()), (2, 2));
    assert!(first[0] != last[0] && first[1] == last[1]);
}

#[test]
fn only_the_winners_that_were_counted_are_paid() {
    let tickets = sold(&[1; 12]);
    let counted = count(&tickets, 5, 12, &sealed(&tickets)).unwrap();
    let matches = |ticket: &SoldTicket| (ticket.pick & winning().mask()).count_ones();
    let winners = |tickets: &[SoldTicket]| -> Vec<SoldTicket> {
        tickets.iter().filter(|ticket| matches(ticket) > 0).copied().collect()
    };
    for range in [(0, 5), (5, 10), (10, 12)] {
        let tickets = &tickets[range.0 as usize..range.1 as usize];
        let credits = counted.credits(range, &winners(tickets), &PRIZES).unwrap();
        let due = winners(tickets).into_iter().map(|ticket| Credit {
            user: ticket.user,
            reference: ticket.id,
            amount: if matches(&ticket) == 2 { Money::new(50) } else { Money::new(5) },
        });
        assert_eq!(credits, due.collect::<Vec<_>>());
        // A prize of nothing is no credit.
        let paid = winners(tickets).iter().filter(|ticket| matches(ticket) == 2).count();
        assert_eq!(counted.credits(range, &winners(tickets), &PRIZES[..1]).unwrap().len(), paid);
    }
    let refused = |change: fn(&mut Vec<SoldTicket>)| {
        let mut winners = winners(&tickets[..5]);
        change(&mut winners);
        assert_eq!(counted.credits((0, 5), &winners, &PRIZES), Err(ListFault::Winners((0, 5))));
    };
    refused(|winners| winners[0].user = UserId(66));
    refused(|winners| winners[0].pick = 3);
    refused(|winners| winners[0].id = Uuid::from_u128(5));
    refused(|winners| winners.truncate(winners.len() - 1));
    refused(|winners| winners.push(winners[0]));
    refused(Vec::clear);
    for range in [(0, 4), (1, 5), (0, 10)] {
        assert_eq!(counted.credits(range, &winners(&tickets[..5]), &PRIZES), Err(ListFault::Winners(range)));
    }
}
