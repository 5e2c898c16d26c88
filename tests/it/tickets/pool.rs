//! The pool: tickets made in advance, each sold once.

use lottery::config::{Config, LotteryConfig, PaysConfig, PrizeConfig};

use super::*;

/// A lottery of six combinations, 2 of 4.
fn tiny(config: &mut Config) {
    let prizes = vec![PrizeConfig { matches: 2, pays: PaysConfig::Share { share: 10_000, minimum: None } }];
    let (id, name) = ("tiny".to_owned(), "Tiny".to_owned());
    config.lotteries.push(LotteryConfig {
        id,
        name,
        pick: 2,
        of: 4,
        price: 1,
        fund_share: 5_000,
        allow_loss: false,
        prizes,
    });
}

#[actix_web::test]
async fn one_pool_ticket_is_never_sold_to_two_buyers() {
    let (world, _, draw) = World::on_sale(8).await;
    let mut buyers = Vec::new();
    for number in 0..12 {
        buyers.push(world.rich_player(&format!("buyer{number}"), 8 * PRICE).await);
    }
    for (round, premade) in pool(&world, draw).await.iter().enumerate() {
        let lines = json!([{"pool_ticket_id": premade["id"]}]);
        let payment = if round % 2 == 0 { "wallet" } else { "later" };

        let answers = join_all(buyers.iter().map(|buyer| buyer.order(draw, lines.clone(), payment))).await;

        assert_eq!(count(&answers, 201, None), 1);
        assert_eq!(count(&answers, 409, Some("ticket_unavailable")), 11);
        let sold = answers.iter().find(|it| it.status == 201).unwrap();
        assert_eq!(sold.body["tickets"][0]["numbers"], premade["numbers"]);
    }
    assert_eq!(world.count("SELECT sum(balance)::bigint FROM accounts WHERE kind = 'escrow'").await, 4 * PRICE);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_pool_is_sold_to_its_last_ticket_and_not_one_more() {
    let (world, _, draw) = World::on_sale(30).await;
    let mut buyers = Vec::new();
    for number in 0..8 {
        buyers.push(world.rich_player(&format!("buyer{number}"), 5 * PRICE).await);
    }
    let premade = pool_ids(&world, draw).await;

    let orders = buyers.iter().cycle().take(40).map(|buyer| buyer.order(draw, any(1), "wallet"));
    let answers = join_all(orders).await;

    assert_eq!(count(&answers, 201, None), 30);
    assert_eq!(count(&answers, 409, Some("pool_empty")), 10);
    let sold = answers.iter().filter_map(|it| it.body["tickets"][0]["pool_ticket_id"].as_str());
    assert_eq!(sold.map(str::to_owned).collect::<HashSet<_>>(), premade, "every one, and no two alike");
    assert_eq!(pool(&world, draw).await.len(), 0);
    buyers[0].order(draw, any(1), "later").await.refused(409, "pool_empty");
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_ticket_whose_buyer_cannot_pay_is_sold_to_the_next_buyer() {
    let (world, _, draw) = World::on_sale(1).await;
    let (poor, rich) = (world.rich_player("poor", PRICE - 1).await, world.rich_player("rich", PRICE).await);
    let lines = json!([{"pool_ticket_id": pool(&world, draw).await[0]["id"]}]);

    poor.order(draw, lines.clone(), "wallet").await.refused(402, "insufficient_funds");
    rich.order(draw, lines, "wallet").await.expect(201);

    assert_eq!((poor.balance().await, rich.balance().await), (PRICE - 1, 0));
    world.check_invariants().await;
}

#[actix_web::test]
async fn generated_combinations_cover_the_whole_range_and_never_repeat() {
    let (world, admin, draw) = World::on_sale(700).await;
    admin.pool(draw, 300).await.expect(201);

    let premade = pool(&world, draw).await;

    assert_eq!(premade.len(), 1_000);
    assert!(premade.iter().all(|ticket| ticket["price"] == PRICE && is_legal(&numbers(ticket), 5, 36)));
    let distinct: HashSet<Vec<i64>> = premade.iter().map(numbers).collect();
    assert_eq!(distinct.len(), 1_000, "no combination twice, also when the pool is added to");
    // A number is missing from all of them once in (36/31)^1000.
    let seen: HashSet<i64> = premade.iter().flat_map(numbers).collect();
    assert_eq!(seen, (1..=36).collect(), "the highest number is among them");
}

#[actix_web::test]
async fn the_pool_of_a_small_lottery_can_hold_every_combination() {
    let world = World::with(tiny).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 100).await;
    let draw = admin.open_draw_of(&world, "tiny").await;

    assert_eq!(admin.pool(draw, 4).await.expect(201), json!({"created": 4, "tickets_available": 4}));
    ann.order(draw, any(1), "wallet").await.expect(201);
    let one_more_than_is_left = admin.pool(draw, 3).await.refused(422, "validation_failed");
    assert_eq!(one_more_than_is_left["errors"][0]["field"], "count");
    assert_eq!(admin.pool(draw, 2).await.expect(201), json!({"created": 2, "tickets_available": 5}));
    admin.pool(draw, 1).await.refused(422, "validation_failed");
    for count in [json!(-1), json!(u64::MAX), json!(i64::MAX), json!(1.5), json!("2"), Value::Null] {
        let path = format!("/admin/draws/{draw}/pool");
        admin.post(&path, json!({"count": count})).await.refused(422, "validation_failed");
    }

    ann.order(draw, any(5), "wallet").await.expect(201);
    let held: HashSet<Vec<i64>> = ann.all("/tickets").await.iter().map(numbers).collect();
    let every = [[1, 2], [1, 3], [1, 4], [2, 3], [2, 4], [3, 4]];
    assert_eq!(held, every.map(Vec::from).into(), "every combination once");
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_pool_lists_only_tickets_for_sale() {
    let (world, admin, draw) = World::on_sale(5).await;
    let ann = world.rich_player("ann", 9 * PRICE).await;
    let all = pool(&world, draw).await;
    assert!(all.iter().all(|it| it.as_object().unwrap().len() == 3 && it["price"] == PRICE));
    let name = |index: usize| json!([{"pool_ticket_id": all[index]["id"]}]);

    ann.order(draw, name(0), "wallet").await.expect(201);
    let reserved = ann.order(draw, name(2), "later").await.expect(201);
    ann.buy(draw, numbers(&all[4]).iter().map(|it| *it as u8).collect::<Vec<_>>().as_slice()).await;

    let shown = world.anonymous().all(&format!("/draws/{draw}/pool?limit=1")).await;
    assert_eq!(shown, [&all[1], &all[3], &all[4]].map(Value::clone), "a chosen pick takes nothing from it");
    until_available(&world, draw, 3).await;
    return_ticket(&ann, &reserved["tickets"][0]).await.expect(204);
    assert_eq!(pool(&world, draw).await.len(), 4);
    until_available(&world, draw, 4).await;
    admin.step(draw, "close").await.expect(200);
    assert_eq!(pool(&world, draw).await.len(), 0, "nothing is for sale any more");
    until_available(&world, draw, 0).await;
    world.anonymous().get("/draws/999999/pool").await.refused(404, "not_found");
}
