//! Receipts: each paid order is answered with a proof that the draw's ticket log has it, and any paid ticket's owner gets
//! one later.

use lottery::config::{LotteryConfig, PaysConfig, PrizeConfig};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::*;
use crate::common::receipts::{DrawLog, Proved};

/// What the receipt of this order proves: that the log has exactly its tickets.
fn check(log: &DrawLog, receipt: &Value, tickets: &[Value]) -> Proved {
    let proved = log.check(receipt).unwrap();
    assert_eq!(json!(proved.entry.first), tickets[0]["number"]);
    let picks: Vec<Value> = proved.entry.picks.iter().map(|pick| json!(pick)).collect();
    let numbers: Vec<Value> = tickets.iter().map(|ticket| ticket["numbers"].clone()).collect();
    assert_eq!(picks, numbers);
    proved
}

fn tickets_of(order: &Value) -> &[Value] {
    order["tickets"].as_array().unwrap()
}

async fn proof(who: &User, ticket: &Value) -> Answer {
    who.get(&format!("/tickets/{}/proof", id(ticket))).await
}

#[actix_web::test]
async fn a_paid_order_is_answered_with_its_receipt_and_others_are_not() {
    let (world, _, draw) = World::on_sale(3).await;
    let ann = world.rich_player("ann", 5_000_000).await;
    let lines = json!([quick_pick(), from_pool(), {"numbers": [36, 1, 7, 22, 13]}]);
    let path = format!("/draws/{draw}/tickets");
    let body = order(lines, "wallet");
    let bought = ann.post_keyed(&path, "one", body.clone()).await.expect(201);
    let log = DrawLog::read(&world.sql().await, draw).await;
    let proved = check(&log, &bought["receipt"], tickets_of(&bought));
    assert_eq!((proved.index, proved.head), (0, log.head()));

    // Not in a replay, whose other parts are the same; not for a reservation; not if the client does not want it.
    let again = ann.post_keyed(&path, "one", body.clone()).await.expect(201);
    assert_eq!((&again["payment"], &again["tickets"]), (&bought["payment"], &bought["tickets"]));
    assert_eq!(again.get("receipt"), None);
    let reserved = ann.order(draw, json!([quick_pick()]), "later").await.expect(201);
    assert_eq!(reserved.get("receipt"), Some(&Value::Null));
    let minimal = ann.request(Method::POST, &path).header("Prefer", "respond-async, return=minimal").json(&body);
    let minimal = ann.send(minimal).await;
    assert_eq!(minimal.headers["preference-applied"], "return=minimal");
    assert_eq!(minimal.clone().expect(201).get("receipt"), None);

    // A ticket that is not paid has no proof; the others have one for the newest head.
    proof(&ann, &reserved["tickets"][0]).await.refused(409, "ticket_not_paid");
    let log = DrawLog::read(&world.sql().await, draw).await;
    for (order, index) in [(&bought, 0), (&minimal.body, 1)] {
        for ticket in tickets_of(order) {
            let proved = check(&log, &proof(&ann, ticket).await.expect(200), tickets_of(order));
            assert_eq!((proved.index, proved.head), (index, log.head()));
        }
    }
    world.check_invariants().await;
}

#[actix_web::test]
async fn what_is_left_of_a_reservation_is_one_order_of_the_log() {
    let (world, _, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 5_000_000).await;
    ann.buy_quick(draw, 2).await;
    for (payment, nth) in [(card(GOOD_CARD), 1), (wallet(), 2)] {
        let reserved = ann.order(draw, json!(vec![quick_pick(); 5]), "later").await.expect(201);
        for returned in [1, 3] {
            return_ticket(&ann, &reserved["tickets"][returned]).await.expect(204);
        }
        let paid = ann.pay(id(&reserved["payment"]), payment).await.expect(200);
        assert_eq!((&paid["status"], paid.get("receipt")), (&json!("paid"), None));
        let mut left = Vec::new();
        for kept in [0, 2, 4] {
            left.push(ticket(&ann, id(&reserved["tickets"][kept])).await);
        }
        let log = DrawLog::read(&world.sql().await, draw).await;
        assert_eq!(log.orders(), nth + 1);
        for of_order in &left {
            assert_eq!(check(&log, &proof(&ann, of_order).await.expect(200), &left).index, nth as u64);
        }
    }
    world.check_invariants().await;
}

/// Orders of many players at once, in batches of any size, and more than one tile of them.
#[actix_web::test]
async fn receipts_of_all_batches_are_of_one_list() {
    let (world, admin, draw) = World::on_sale(0).await;
    let buyers = join_all((0..8).map(async |n| world.rich_player(&format!("buyer{n}"), 50_000_000).await)).await;
    let buy = async |buyer: &User| {
        let mut orders = Vec::new();
        for n in 0..70 {
            orders.push(buyer.buy_quick(draw, n % 3 + 1).await);
        }
        orders
    };
    let orders = join_all(buyers.iter().map(buy)).await;
    let log = DrawLog::read(&world.sql().await, draw).await;
    assert_eq!(log.orders(), 560);
    let mut at = Vec::new();
    for order in orders.iter().flatten() {
        at.push((check(&log, &order["receipt"], tickets_of(order)).index, order));
    }
    at.sort_by_key(|(index, _)| *index);
    assert!(at.iter().map(|(index, _)| *index).eq(0..560));

    // Proofs at each end of a tile, of the newest head and then of the sealed one.
    for round in 0..2 {
        for (index, order) in [0, 1, 254, 255, 256, 511, 512, 558, 559].map(|nth: usize| at[nth]) {
            let owner = order["tickets"][0]["id"].clone();
            let buyer = orders.iter().position(|of| of.iter().any(|it| it["tickets"][0]["id"] == owner)).unwrap();
            let proved =
                check(&log, &proof(&buyers[buyer], &order["tickets"][0]).await.expect(200), tickets_of(order));
            assert_eq!((proved.index, proved.head), (index, log.head()), "{round}");
        }
        if round == 0 {
            admin.step(draw, "close").await.expect(200);
        }
    }
    let sealed = "SELECT orders, root FROM draw_seals";
    let sealed = world.sql().await.query_one(sealed, &[]).await.unwrap();
    assert_eq!((sealed.get(0), sealed.get(1)), (560_i64, log.head().root.to_vec()));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_proof_is_json_or_the_bare_text_and_only_its_owners() {
    let (world, admin, draw) = World::on_sale(0).await;
    let (ann, bob) = (world.rich_player("ann", 5_000_000).await, world.player("bob").await);
    let bought = ann.buy_quick(draw, 1).await;
    let path = format!("/tickets/{}/proof", id(&bought["tickets"][0]));
    let as_kind = async |kind: &'static str| {
        let answer = ann.request(Method::GET, &path).header(ACCEPT, kind).send().await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["vary"]),
            (200.try_into().unwrap(), &"Accept".parse().unwrap())
        );
        (answer.headers()[CONTENT_TYPE].to_str().unwrap().to_owned(), answer.text().await.unwrap())
    };
    let log = DrawLog::read(&world.sql().await, draw).await;
    let (kind, text) = as_kind("text/plain").await;
    assert!(kind.starts_with("text/plain") && text.starts_with("c2sp.org/tlog-proof@v1\n"), "{kind}: {text}");
    log.check_text(&text).unwrap();
    for json in ["application/json", "*/*", "text/html"] {
        let (kind, body) = as_kind(json).await;
        assert_eq!(kind, "application/json");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["proof"], text, "of the same head it is the same");
        log.check(&body).unwrap();
    }
    bob.get(&path).await.refused(404, "not_found");
    admin.get(&path).await.refused(404, "not_found");
    world.anonymous().get(&path).await.refused(401, "unauthorized");
}

#[actix_web::test]
async fn the_largest_orders_of_the_largest_game_have_receipts_and_an_empty_draw_is_drawn() {
    let prizes = vec![PrizeConfig { matches: 10, pays: PaysConfig::Share { share: 10_000, minimum: None } }];
    let (id_of, name) = ("10of64".to_owned(), "10 of 64".to_owned());
    let lottery = LotteryConfig {
        id: id_of,
        name,
        pick: 10,
        of: 64,
        price: 100,
        fund_share: 5_000,
        allow_loss: false,
        prizes,
    };
    let world = World::with(|config| config.lotteries.push(lottery)).await;
    let admin = world.admin().await;
    let (draw, empty) = (admin.open_draw_of(&world, "10of64").await, admin.open_draw_of(&world, "10of64").await);
    let ann = world.rich_player("ann", 5_000_000).await;
    let lines = |count| json!(vec![json!({"numbers": [55, 56, 57, 58, 59, 60, 61, 62, 63, 64]}); count]);
    for count in [100, 1] {
        let bought = ann.order(draw, lines(count), "wallet").await.expect(201);
        let log = DrawLog::read(&world.sql().await, draw).await;
        check(&log, &bought["receipt"], tickets_of(&bought));
        check(&log, &proof(&ann, &bought["tickets"][count - 1]).await.expect(200), tickets_of(&bought));
    }
    assert_eq!(admin.conduct(empty).await["tickets_sold"], 0);
    let sealed = "SELECT count(*) FROM draw_seals WHERE (draw_id, orders, root) = (2, 0, sha256(''))";
    assert_eq!(world.count(sealed).await, 1);
    world.check_invariants().await;
}
