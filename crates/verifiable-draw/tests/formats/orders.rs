//! Entries of a ticket log: what is written, and what is refused.

use proptest::prelude::*;
use verifiable_draw::canonical::{MAX_INTEGER, Value};
use verifiable_draw::order::{OrderEntry, OrderError, write_order};

const OWNER: [u8; 32] = [7; 32];

#[test]
fn an_order_has_one_text() {
    let text =
        format!(r#"{{"first":3,"owner":"{}=","picks":[[1,7,13,22,36],[9,10,64]]}}"#, "BwcH".repeat(10) + "Bwc");
    let entry = OrderEntry { first: 3, owner: OWNER, picks: vec![vec![1, 7, 13, 22, 36], vec![9, 10, 64]] };
    assert_eq!(write_order(3, &OWNER, entry.picks.clone()).unwrap(), text.as_bytes());
    assert_eq!(OrderEntry::parse(text.as_bytes()).unwrap(), entry);
    assert_eq!(entry.next(), 5);
    for (from, to) in [
        ("\"first\":3", "\"first\":0"),
        ("\"first\":3", "\"first\":\"3\""),
        ("\"first\":3", "\"f\":1,\"first\":3"),
        ("\"first\":3,", ""),
        ("first\":3", "first\":03"),
        ("=", ""),
        ("Bwc=", "Bwd="),
        ("[[1,7,13,22,36],[9,10,64]]", "[]"),
        ("[9,10,64]", "[]"),
        ("[9,10,64]", "9"),
        ("[9,10,64]", "[9,10,65]"),
        ("[9,10,64]", "[9,9]"),
        ("[9,10,64]", "[10,9]"),
        ("[9,10,64]", "[0,9]"),
        ("[9,10,64]", "[9,\"10\"]"),
        ("[9,10,64]", "[9,266]"),
        ("}", ",\"price\":1}"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text);
        assert!(OrderEntry::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(matches!(OrderEntry::parse(b"[]"), Err(OrderError::Fields)));
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let write = |first, picks: &[&[u8]]| write_order(first, &OWNER, picks.iter().map(|pick| pick.iter().copied()));
    assert!(write(MAX_INTEGER, &[&[64]]).is_ok());
    for (first, picks) in [
        (0, &[&[1][..]][..]),
        (MAX_INTEGER + 1, &[&[1]]),
        (1, &[]),
        (1, &[&[]]),
        (1, &[&[1], &[]]),
        (1, &[&[0]]),
        (1, &[&[65]]),
        (1, &[&[2, 1]]),
        (1, &[&[1, 1]]),
    ] {
        assert!(write(first, picks).is_err(), "{first} {picks:?}");
    }
    let all: Vec<u8> = (1..=64).collect();
    assert_eq!(write(1, &[&all[..]; 100]).unwrap().len(), 18_576, "100 lines of 64 numbers");
    assert!(write(1, &[&all[..]; 400]).is_err(), "an entry has at most 65,535 bytes");
}

proptest! {
    #[test]
    fn orders_are_read_as_they_are_written(
        first in 1..=MAX_INTEGER,
        owner in any::<[u8; 32]>(),
        picks in prop::collection::vec(prop::collection::btree_set(1u8..=64, 1..8), 1..9),
    ) {
        let bytes = write_order(first, &owner, picks.clone()).unwrap();
        prop_assert_eq!(Value::parse(&bytes).unwrap().write().unwrap(), &bytes[..]);
        let picks: Vec<Vec<u8>> = picks.into_iter().map(|pick| pick.into_iter().collect()).collect();
        prop_assert_eq!(OrderEntry::parse(&bytes).unwrap(), OrderEntry { first, owner, picks });
    }
}
