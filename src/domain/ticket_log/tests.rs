//! A batch makes the entries, edges, tiles and receipts that the protocol says.

use uuid::Uuid;
use verifiable_draw::checkpoint::Checkpoint;
use verifiable_draw::merkle::Head;
use verifiable_draw::note::SignedNote;
use verifiable_draw::order::OrderEntry;
use verifiable_draw::proof::InclusionReceipt;

use super::*;
use crate::domain::game::Game;

const DRAW: DrawId = DrawId(7);

fn payment(number: u64) -> PaymentId {
    PaymentId(Uuid::from_u128(number.into()))
}

/// Appends orders of one line each, from the order with this index on.
fn append(log: &mut TicketLog, from: u64, count: u64) -> Vec<Receipt> {
    let game = Game::new(5, 36).unwrap();
    let one = |index: u64| {
        let pick = game.unrank(index);
        log.append(index as i64 + 1, payment(index), UserId(42), std::iter::once(pick)).unwrap()
    };
    (from..from + count).map(one).collect()
}

/// The entry and the head that a receipt proves.
fn proved(receipt: &Receipt, logs: &TicketLogs) -> (Vec<u8>, Head) {
    let text = proof_text(receipt).unwrap();
    let parsed = InclusionReceipt::parse(text.as_bytes()).unwrap();
    let keys = logs.keys(DRAW);
    let (entry, checkpoint) = parsed.verify_extra([keys.verifier()]).unwrap();
    (entry.to_vec(), checkpoint.head)
}

#[test]
fn an_entry_has_the_hidden_owner_and_the_numbers_of_the_tickets() {
    let keys = test_logs().keys(DRAW);
    let salt = keys.salt(payment(3));
    for game in [Game::new(5, 36).unwrap(), Game::new(63, 64).unwrap(), Game::new(1, 64).unwrap()] {
        let picks = [0, game.combinations() - 1].map(|index| game.unrank(index));
        let lines = || picks.into_iter().cycle().take(100);
        let entry = OrderEntry::parse(&keys.entry(7, UserId(42), &salt, lines()).unwrap()).unwrap();
        assert_eq!((entry.first, entry.owner), (7, owner(&salt, 42)));
        assert_eq!(entry.picks, lines().map(|pick| pick.numbers().collect()).collect::<Vec<Vec<u8>>>());
    }
    let pick = || std::iter::once(Game::new(5, 36).unwrap().unrank(0));
    assert!(keys.entry(1, UserId(42), &salt, std::iter::empty()).is_err(), "no tickets");
    for first in [0, -1, i64::MIN] {
        assert!(keys.entry(first, UserId(42), &salt, pick()).is_err(), "{first}");
    }
}

#[test]
fn batches_of_any_size_make_the_same_log() {
    let logs = test_logs();
    let mut whole = TicketLog::empty(logs.keys(DRAW));
    let receipts = append(&mut whole, 0, 1_000);
    let write = whole.finish();
    let tiles: Vec<_> = write.tiles.iter().map(|tile| (tile.level, tile.tile, tile.last_number)).collect();
    assert_eq!(tiles, [(0, 0, 256), (0, 1, 512), (0, 2, 768)]);
    for batch in [1, 7, 255, 256, 257, 600] {
        let (mut log, mut from, mut tiles) = (TicketLog::empty(logs.keys(DRAW)), 0, Vec::new());
        while from < 1_000 {
            let count = batch.min(1_000 - from);
            let before = log.edge.to_bytes();
            let appended = append(&mut log, from, count);
            let finished = log.finish();
            from += count;
            assert_eq!(finished.before, before);
            assert_eq!(Edge::from_bytes(&finished.after).unwrap().head(), log.head());
            tiles.extend(finished.tiles);
            for receipt in [appended.first().unwrap(), appended.last().unwrap()] {
                let (_, head) = proved(receipt, &logs);
                assert_eq!(head, log.head());
            }
        }
        assert_eq!((log.head(), &tiles), (whole.head(), &write.tiles), "{batch}");
    }
    let (entry, head) = proved(&receipts[300], &logs);
    assert_eq!(head, whole.head());
    assert!(entry.starts_with(b"{\"first\":301,"), "{}", String::from_utf8_lossy(&entry));
    assert_eq!(receipts[300].salt(), &logs.keys(DRAW).salt(payment(300)));
}

#[test]
fn a_tile_of_tiles_is_written_when_it_is_complete() {
    let (logs, all) = (test_logs(), 65_536 + 300);
    let mut log = TicketLog::empty(logs.keys(DRAW));
    append(&mut log, 0, 65_500);
    let before = log.finish().tiles;
    append(&mut log, 65_500, all - 65_500);
    let after = log.finish().tiles;
    assert!(before.iter().all(|tile| tile.level == 0) && before.len() == 255);
    let ends: Vec<_> = after.iter().map(|tile| (tile.level, tile.tile, tile.last_number)).collect();
    assert_eq!(ends, [(0, 255, 65_536), (0, 256, 65_792), (1, 0, 65_536)]);
}

#[test]
fn a_batch_without_a_paid_order_leaves_the_log_as_it_is() {
    let mut log = TicketLog::empty(test_logs().keys(DRAW));
    append(&mut log, 0, 3);
    let after = log.finish().after;
    let write = log.finish();
    assert_eq!(write, TicketLogWrite { before: after.clone(), after, tiles: Vec::new() });
}

#[test]
fn a_receipt_has_no_text_before_its_batch_is_finished() {
    let mut log = TicketLog::empty(test_logs().keys(DRAW));
    let receipt = append(&mut log, 0, 1).remove(0);
    assert!(proof_text(&receipt).is_none());
    log.finish();
    let proof = proof_text(&receipt).unwrap();
    let note = SignedNote::parse(proof.split_once("\n\n").unwrap().1.as_bytes()).unwrap();
    let keys = test_logs().keys(DRAW);
    assert_eq!(Checkpoint::open(&note, [keys.verifier()]).unwrap().origin, "lottery.example/api/v1/draws/7/log");
}

#[test]
fn a_log_that_went_back_is_refused() {
    let logs = test_logs();
    let mut edges = Vec::new();
    for size in 0..4 {
        let mut log = TicketLog::empty(logs.keys(DRAW));
        append(&mut log, 0, size);
        edges.push(log.finish().after);
    }
    let mut other = TicketLog::empty(logs.keys(DRAW));
    append(&mut other, 9, 2);
    let other = other.finish().after;

    let sizes = |logs: &TicketLogs| edges.iter().map(|edge| logs.open(DRAW, edge).is_ok()).collect::<Vec<_>>();
    assert_eq!(sizes(&logs), [true; 4], "nothing is known to be committed");
    let log = logs.open(DRAW, &edges[2]).unwrap();
    logs.commit(DRAW, log.head());
    assert_eq!(sizes(&logs), [false, false, true, true]);
    let fault = TicketLogFault::RolledBack { known: 2 };
    assert_eq!(logs.open(DRAW, &other).map(drop), Err(fault), "of the same size, with another root");
    logs.commit(DRAW, Head::empty());
    assert_eq!(sizes(&logs), [false, false, true, true], "what is committed stays known");
    assert!(logs.open(DrawId(8), &edges[0]).is_ok(), "of another draw");
    assert_eq!(logs.open(DRAW, &edges[3][1..]).map(drop), Err(TicketLogFault::Unreadable));
}

#[test]
fn tickets_are_grouped_into_their_orders() {
    let pick = |index| Game::new(5, 36).unwrap().unrank(index);
    let mut groups = PaidOrders::default();
    let mut orders = Vec::new();
    for (number, of) in [(11, 1), (12, 1), (13, 2), (14, 3), (15, 3)] {
        orders.extend(groups.push(number, payment(of), UserId(of as i64), pick(number as u64)));
    }
    orders.extend(groups.end());
    let order = |of: u64, numbers: &[u64]| PaidOrder {
        payment: payment(of),
        user: UserId(of as i64),
        first: numbers[0] as i64,
        picks: numbers.iter().map(|number| pick(*number)).collect(),
    };
    assert_eq!(orders, [order(1, &[11, 12]), order(2, &[13]), order(3, &[14, 15])]);
    assert_eq!(PaidOrders::default().end(), None);
}
