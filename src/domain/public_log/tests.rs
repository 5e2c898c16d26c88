//! Tests of the public log's events and of the numbers that follow from them.

use verifiable_draw::keys::MasterSecret;

use super::*;
use crate::domain::game::Game;
use crate::domain::id::LotteryId;
use crate::domain::log_keys::LogOrigin;
use crate::domain::money::Share;
use crate::domain::prize::PrizeTable;

const DRAW: DrawId = DrawId(7);
const SEALED: Head = Head { size: 2, root: [9; 32] };

fn keys(master: u8) -> LogKeys {
    LogKeys::new(MasterSecret::new([master; 32]), LogOrigin::of_url("https://lottery.example").unwrap())
}

fn rules() -> Rules {
    let game = Game::new(5, 36).unwrap();
    let shared = Award::Shared { share: Share::new(10_000).unwrap(), minimum: Some(Money::new(700)) };
    let tiers = vec![Tier { matches: 5, award: shared }, Tier { matches: 3, award: Award::Fixed(Money::new(40)) }];
    let prizes = PrizeTable::new(game, tiers).unwrap();
    let lottery = LotteryId("5of36".to_owned());
    Rules { lottery, game, price: Money::new(100), fund_share: Share::new(5_000).unwrap(), prizes }
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn announcement(keys: &LogKeys) -> Vec<u8> {
    let times = Times { sales_open_at: None, sales_close_at: second(100), draw_at: second(200) };
    let published = (None, Some([8; 32]));
    announced(keys, DRAW, 3, (&rules(), "RUB".parse().unwrap()), &times, published, second(50)).to_bytes().unwrap()
}

#[test]
fn an_announcement_has_the_whole_rules_and_commits_to_the_seed() {
    let keys = keys(1);
    let text = String::from_utf8(announcement(&keys)).unwrap();
    let rules = "\"rules\":{\"currency\":\"RUB\",\"fund_share\":5000,\"of\":36,\"pick\":5,\"price\":100,\"tiers\":[\
                 {\"matches\":5,\"minimum\":700,\"share\":10000},{\"amount\":40,\"matches\":3}]}";
    assert!(text.contains(rules), "{text}");
    assert!(text.contains("\"policy\":\"CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=\""), "{text}");
    assert!(text.contains("\"sales_close_at\":100,") && text.contains("\"draw_at\":200,"), "{text}");
    let Event::DrawAnnounced { commitment, ticket_log, .. } = Event::parse(text.as_bytes()).unwrap() else {
        panic!()
    };
    assert_eq!(commitment, Some(keys.seed(DRAW).commitment("lottery.example/api/v1/draws/7/log")));
    assert!(ticket_log.starts_with("lottery.example/api/v1/draws/7/log+"), "{ticket_log}");
}

#[test]
fn the_numbers_follow_from_seed_list_and_announcement_alone() {
    let keys = keys(1);
    let numbers = |announcement: &[u8], sealed| winning_numbers(&keys, DRAW, &rules(), announcement, sealed);
    let drawn = numbers(&announcement(&keys), &SEALED).unwrap();
    assert_eq!(drawn.numbers().count(), 5);
    assert_eq!(numbers(&announcement(&keys), &SEALED), Ok(drawn));
    let others = [Head { size: 3, ..SEALED }, Head { root: [8; 32], ..SEALED }];
    assert!(others.iter().any(|other| numbers(&announcement(&keys), other) != Ok(drawn)));
}

#[test]
fn another_seed_than_the_announced_one_draws_nothing() {
    let announcement = announcement(&keys(1));
    let other = winning_numbers(&keys(2), DRAW, &rules(), &announcement, &SEALED);
    assert_eq!(other, Err(NumbersFault::OtherSeed));
    let unreadable = winning_numbers(&keys(1), DRAW, &rules(), &announcement[1..], &SEALED);
    assert_eq!(unreadable, Err(NumbersFault::Announcement));
    let sealed = sealed(DRAW, &SEALED, 2, second(1), second(1)).to_bytes().unwrap();
    assert_eq!(winning_numbers(&keys(1), DRAW, &rules(), &sealed, &SEALED), Err(NumbersFault::Announcement));
}

#[test]
fn a_seed_is_shown_only_after_the_seal() {
    let seed_of = |is_sealed| match voided(&keys(1), DRAW, Fairness::CommitReveal, is_sealed, "rain", second(1)) {
        Event::DrawVoided { seed, stage, .. } => (seed, stage),
        other => panic!("{other:?}"),
    };
    assert_eq!(seed_of(false), (None, Stage::Open));
    assert_eq!(seed_of(true), (Some(keys(1).seed(DRAW).reveal()), Stage::Closed));
}

#[test]
fn what_comes_before_its_published_time_is_by_hand() {
    let on_time =
        DrawTimes { sealed_at: second(10), drawn_at: second(20), sales_close_at: second(10), draw_at: second(20) };
    assert!(!on_time.by_hand());
    assert!(DrawTimes { sealed_at: second(9), ..on_time }.by_hand());
    assert!(DrawTimes { drawn_at: second(19), ..on_time }.by_hand());
}

const SIGNATURE: &str =
    "b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92";

/// Round 123 of quicknet.
fn round() -> AnnouncedRound {
    AnnouncedRound { chain: std::sync::Arc::new(verifiable_draw::beacon::BeaconChain::quicknet()), round: 123 }
}

#[test]
fn the_numbers_of_a_round_follow_from_announcement_and_round_alone() {
    let signature = std::array::from_fn(|i| u8::from_str_radix(&SIGNATURE[2 * i..2 * i + 2], 16).unwrap());
    let verified = round().verify(signature).unwrap();
    let sealed_at = seconds(verified.at()) - 1;
    let times = Times { sales_open_at: None, sales_close_at: second(100), draw_at: second(200) };
    let announced = |round: &AnnouncedRound| {
        announced(&keys(1), DRAW, 3, (&rules(), "RUB".parse().unwrap()), &times, (Some(round), None), second(50))
            .to_bytes()
            .unwrap()
    };
    let announcement = announced(&round());
    let text = String::from_utf8_lossy(&announcement);
    assert!(text.contains("\"fairness\":\"beacon\"") && !text.contains("commitment"), "{text}");
    let drawn = numbers_of_round(&rules(), &announcement, (&announcement, sealed_at), &verified).unwrap();
    let entropy = Entropy::Beacon { round: 123, randomness: verified.randomness() };
    let mut expected = draw_numbers(entropy, &announcement, 5, 36).unwrap();
    expected.sort_unstable();
    assert_eq!(drawn.numbers().collect::<Vec<_>>(), expected);

    // New times have another round, which counts then.
    let moved = |round| rescheduled(DRAW, &times, round, second(60)).to_bytes().unwrap();
    let other = announced(&AnnouncedRound { round: 122, ..round() });
    let numbers =
        |announcement: &[u8], last: &[u8]| numbers_of_round(&rules(), announcement, (last, sealed_at), &verified);
    assert!(numbers(&other, &moved(Some(123))).is_ok());
    assert_eq!(numbers(&announcement, &moved(Some(122))), Err(NumbersFault::OtherRound));
    assert_eq!(numbers(&announcement, &moved(None)), Err(NumbersFault::OtherRound));
    assert_eq!(numbers(&other, &other), Err(NumbersFault::OtherRound));
    let late = numbers_of_round(&rules(), &announcement, (&announcement, sealed_at + 1), &verified);
    assert_eq!(late, Err(NumbersFault::KnownRound));
    let of_seed = self::announcement(&keys(1));
    assert_eq!(numbers(&of_seed, &of_seed), Err(NumbersFault::Announcement));
    assert_eq!(numbers(&announcement, b"{}"), Err(NumbersFault::Announcement));
}

#[test]
fn a_draw_with_a_beacon_has_no_seed_to_show() {
    let Event::DrawVoided { seed, .. } = voided(&keys(1), DRAW, Fairness::Beacon, true, "no_round", second(1))
    else {
        panic!()
    };
    assert_eq!(seed, None);
}
