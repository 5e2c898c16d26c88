//! Prizes that are calculated by hand: every winner, the reserve, the jackpot.

use lottery::config::{Config, LotteryConfig, PaysConfig, PrizeConfig};

use super::*;

/// A lottery of few combinations, whose prizes can be calculated by hand. It may lose money.
pub fn with_lottery(
    config: &mut Config,
    (pick, of): (u8, u8),
    price: i64,
    fund_share: u16,
    prizes: &[(u8, PaysConfig)],
) {
    let prizes = prizes.iter().map(|&(matches, pays)| PrizeConfig { matches, pays }).collect();
    let (id, name) = ("tiny".to_owned(), "Tiny".to_owned());
    config.lotteries.push(LotteryConfig { id, name, pick, of, price, fund_share, allow_loss: true, prizes });
}

/// A shared tier without a minimum.
pub fn share(share: u16) -> PaysConfig {
    PaysConfig::Share { share, minimum: None }
}

/// A shared tier with a minimum.
pub fn at_least(minimum: i64, share: u16) -> PaysConfig {
    PaysConfig::Share { share, minimum: Some(minimum) }
}

/// Three players with all six combinations of 2 of 4: whatever is drawn, one of them holds the ticket
/// with both numbers and the one with none, and each of the others two tickets with one.
pub async fn three_who_hold_everything(world: &World, draw: i64) -> [User; 3] {
    let mut players = Vec::new();
    for (name, [one, other]) in [("ann", [[1, 2], [3, 4]]), ("bob", [[1, 3], [2, 4]]), ("cid", [[1, 4], [2, 3]])] {
        let player = world.rich_player(name, 1_000).await;
        player.buy(draw, &one).await;
        player.buy(draw, &other).await;
        players.push(player);
    }
    players.try_into().unwrap_or_else(|_| unreachable!())
}

fn hits(ticket: &Value, winning: &Value) -> usize {
    let winning = winning.as_array().unwrap();
    ticket["numbers"].as_array().unwrap().iter().filter(|number| winning.contains(number)).count()
}

#[actix_web::test]
async fn every_winner_is_credited_and_every_losing_ticket_says_so() {
    let shares = [(2, share(6_000)), (1, share(4_000))];
    let world = World::with(|config| with_lottery(config, (2, 4), 101, 5_000, &shares)).await;
    let admin = world.admin().await;
    let draw = admin.open_draw_of(&world, "tiny").await;
    let players = three_who_hold_everything(&world, draw).await;

    let result = admin.conduct(draw).await;

    // Six tickets at 101 are 606, half of it the fund: 303. Of it 60 % are 181 (and 0.8) for one winner,
    // 40 % are 121 (and 0.2), which is 30 for each of four (and 1 over).
    assert_eq!((&result["tickets_sold"], &result["prize_fund"]), (&json!(6), &json!(303)));
    assert_eq!(
        result["tiers"],
        json!([
            {"matches": 2, "winners": 1, "prize": 181, "total": 181},
            {"matches": 1, "winners": 4, "prize": 30, "total": 120},
        ])
    );
    assert_eq!(result["rollover"], 2, "what does not divide rolls over");
    let mut seen = Vec::new();
    for player in &players {
        let mut won = 0;
        for ticket in player.all("/tickets").await {
            let hits = hits(&ticket, &result["winning_numbers"]);
            let prize = [0, 30, 181][hits];
            assert_eq!(ticket["matches"], hits, "{ticket}");
            assert_eq!(ticket["prize"], prize, "{ticket}");
            assert_eq!(ticket["status"], if hits == 0 { "lost" } else { "won" }, "no ticket stays paid: {ticket}");
            won += prize;
            seen.push(hits);
        }
        assert_eq!(player.balance().await, 1_000 - 2 * 101 + won, "{}", player.name);
        let transfers = player.all("/wallet/transfers").await;
        let prizes = transfers.iter().filter(|it| it["kind"] == "prize");
        assert_eq!(prizes.map(|it| it["amount"].as_i64().unwrap()).sum::<i64>(), won, "{}", player.name);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 1, 1, 1, 2]);
    assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'revenue'").await, 303);
    let next = admin.open_draw_of(&world, "tiny").await;
    assert_eq!(admin.get(&format!("/draws/{next}")).await.expect(200)["prize_fund"], 2);
    world.check_invariants().await;
}

#[actix_web::test]
async fn fixed_prizes_that_exceed_the_fund_are_paid_from_the_reserve() {
    let prizes = [(2, share(10_000)), (1, PaysConfig::Fixed(100))];
    let world = World::with(|config| with_lottery(config, (2, 4), 10, 1_000, &prizes)).await;
    let admin = world.admin().await;
    let draw = admin.open_draw_of(&world, "tiny").await;
    let players = three_who_hold_everything(&world, draw).await;

    let result = admin.conduct(draw).await;

    // Sales of 60 make a fund of 6; four fixed prizes of 100 want 394 more, and nothing is left to share.
    assert_eq!((&result["prize_fund"], &result["rollover"]), (&json!(6), &json!(0)));
    assert_eq!(
        result["tiers"],
        json!([
            {"matches": 2, "winners": 1, "prize": 0, "total": 0},
            {"matches": 1, "winners": 4, "prize": 100, "total": 400},
        ])
    );
    let mut balances = join_all(players.iter().map(User::balance)).await;
    balances.sort_unstable();
    assert_eq!(balances, [1_000 - 20, 1_000 - 20 + 200, 1_000 - 20 + 200]);
    assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'reserve'").await, -394);
    assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'revenue'").await, 54);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_winner_of_a_shared_tier_gets_its_minimum_although_the_fund_is_used_up() {
    let prizes = [(2, at_least(500, 10_000)), (1, PaysConfig::Fixed(100))];
    let mut world = World::with(|config| with_lottery(config, (2, 4), 10, 1_000, &prizes)).await;
    let admin = world.admin().await;
    let draw = admin.open_draw_of(&world, "tiny").await;
    let players = three_who_hold_everything(&world, draw).await;
    world.restart().await;
    let admin = world.reconnect(&admin);

    let result = admin.conduct(draw).await;

    // Sales of 60 make a fund of 6; four fixed prizes of 100 and the minimum of 500 want 894 more.
    assert_eq!((&result["prize_fund"], &result["rollover"]), (&json!(6), &json!(0)));
    assert_eq!(
        result["tiers"],
        json!([
            {"matches": 2, "winners": 1, "prize": 500, "total": 500},
            {"matches": 1, "winners": 4, "prize": 100, "total": 400},
        ])
    );
    let players: Vec<User> = players.iter().map(|player| world.reconnect(player)).collect();
    let mut balances = join_all(players.iter().map(User::balance)).await;
    balances.sort_unstable();
    assert_eq!(balances, [1_000 - 20 + 200, 1_000 - 20 + 200, 1_000 - 20 + 500]);
    assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'reserve'").await, -894);
    assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'revenue'").await, 54);
    world.check_invariants().await;
}

#[actix_web::test]
async fn each_winner_gets_the_share_or_the_minimum_whichever_is_more() {
    let prizes = [(2, at_least(100, 5_000)), (1, at_least(50, 5_000))];
    // The fund of the first is 1,200, and a half of it is more than the minimums of one winner and of four. The fund
    // of the second is 303. A half of it gives each of four winners 37, so they get 50; then 103 are left, and a half
    // of that is 51, so the winner of the top tier gets 100. What is left rolls over.
    for (price, paid, rollover) in [(400, [600, 150], 0), (101, [100, 50], 3)] {
        let world = World::with(|config| with_lottery(config, (2, 4), price, 5_000, &prizes)).await;
        let admin = world.admin().await;
        let draw = admin.open_draw_of(&world, "tiny").await;
        three_who_hold_everything(&world, draw).await;
        let result = admin.conduct(draw).await;
        assert_eq!([0, 1].map(|tier| result["tiers"][tier]["prize"].as_i64().unwrap()), paid);
        assert_eq!(result["rollover"], rollover);
        assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'reserve'").await, 0);
        world.check_invariants().await;
    }
}

#[actix_web::test]
async fn a_slip_in_the_price_takes_little_from_the_reserve() {
    let prizes = [(2, at_least(15_000, 10_000)), (1, PaysConfig::Fixed(3_000))];
    let world = World::with(|config| with_lottery(config, (2, 4), 10_000, 5_000, &prizes)).await;
    let admin = world.admin().await;
    let body = json!({"lottery": "tiny", "price": 1, "sales_close_at": world.minutes(60)});
    let draw = admin.create_draw(body).await;
    admin.step(draw, "open").await.expect(200);
    three_who_hold_everything(&world, draw).await;

    let result = admin.conduct(draw).await;

    // A minimum of 1.5 and a fixed prize of 0.3 are 1 each. Four and one of them are paid from a fund of 3.
    assert_eq!((&result["prize_fund"], &result["rollover"]), (&json!(3), &json!(0)));
    assert_eq!((&result["tiers"][0]["prize"], &result["tiers"][1]["prize"]), (&json!(1), &json!(1)));
    assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'reserve'").await, -2);
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_unwon_jackpot_rolls_over_to_the_draw_that_is_conducted_next() {
    // Ten numbers of 63: nobody will see it won.
    let prizes = [(10, share(10_000))];
    let mut world = World::with(|config| with_lottery(config, (10, 63), 100, 5_000, &prizes)).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 10_000).await;
    let mut draws = Vec::new();
    for _ in 0..4 {
        draws.push(admin.open_draw_of(&world, "tiny").await);
    }
    let [first, second, called_off, last] = draws[..] else { unreachable!() };
    for (draw, tickets) in [(first, 3), (second, 2), (called_off, 5)] {
        ann.buy_quick(draw, tickets).await;
    }
    let fund_is = async |admin: &User, draw: i64, fund: i64| {
        let path = format!("/draws/{draw}");
        let shown = || async { admin.get(&path).await.expect(200)["prize_fund"] == fund };
        until(&format!("the fund of draw {draw} is {fund}"), shown).await;
    };
    for (draw, fund) in [(first, 150), (second, 100), (last, 0)] {
        fund_is(&admin, draw, fund).await;
    }

    let lost = admin.conduct(second).await;
    assert_eq!((&lost["prize_fund"], &lost["rollover"]), (&json!(100), &json!(100)));
    for (draw, fund) in [(second, 100), (first, 250), (called_off, 350), (last, 100)] {
        fund_is(&admin, draw, fund).await;
    }
    admin.cancel(called_off).await.expect(200);
    for (draw, fund) in [(called_off, 0), (first, 250), (last, 100)] {
        fund_is(&admin, draw, fund).await;
    }
    let lost = admin.conduct(first).await;
    assert_eq!((&lost["prize_fund"], &lost["rollover"]), (&json!(250), &json!(250)));
    fund_is(&admin, last, 250).await;

    world.restart().await;
    let (admin, ann) = (world.reconnect(&admin), world.reconnect(&ann));
    assert_eq!(admin.get(&format!("/draws/{last}")).await.expect(200)["prize_fund"], 250);
    assert_eq!(admin.conduct(last).await["rollover"], 250, "a draw without a ticket passes it on");
    assert_eq!(ann.balance().await, 10_000 - 500);
    world.check_invariants().await;
}
