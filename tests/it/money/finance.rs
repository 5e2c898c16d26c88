//! What the books say to admins: always the same as a scan of all transfers.

use super::prizes::{at_least, share, three_who_hold_everything, with_lottery};
use super::*;
use lottery::config::PaysConfig;

/// Compares the balances and the money of each draw with all transfers, in every form in which admins get them.
pub async fn check_finance(world: &World, admin: &User) {
    let sql = world.sql().await;
    let scan = "SELECT a.kind, l.id AS lottery, sum(m.amount)::bigint AS balance
        FROM (SELECT credit AS id, amount FROM transfers UNION ALL SELECT debit, -amount FROM transfers) m
        JOIN accounts a USING (id) LEFT JOIN draws d ON d.id = a.draw_id
        LEFT JOIN lotteries l ON l.seq = a.lottery OR l.id = d.lottery GROUP BY 1, 2";
    let moved: Vec<(String, Option<String>, i64)> = sql
        .query(scan, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get("kind"), row.get("lottery"), row.get("balance")))
        .filter(|(.., balance)| *balance != 0)
        .collect();
    let finance = admin.get("/admin/finance").await.expect(200);
    assert_eq!((&finance["currency"], &finance["at"]), (&json!("RUB"), &json!(world.clock.now())));
    let shown = finance["accounts"].as_array().unwrap();
    assert_eq!(shown.iter().map(|it| it["balance"].as_i64().unwrap()).sum::<i64>(), 0, "{finance}");
    for (kind, lottery, balance) in &moved {
        let row = json!({"kind": kind, "lottery": lottery, "balance": balance});
        assert!(shown.contains(&row), "{row} is not in {finance}");
    }
    assert_eq!(shown.iter().filter(|it| it["balance"] != 0).count(), moved.len(), "{finance}");
    for kind in ["wallet", "held", "escrow", "jackpot", "reserve", "revenue", "clearing"] {
        assert!(shown.iter().any(|it| it["kind"] == kind), "{kind} is not in {finance}");
    }

    let scan = "SELECT row_to_json(it)::text FROM (
        SELECT d.id AS draw_id, d.lottery, d.number, d.status, 'RUB' AS currency,
               coalesce(sum(t.amount) FILTER (WHERE t.kind = 'purchase'), 0) AS sales,
               coalesce(sum(t.amount) FILTER (WHERE t.kind = 'prize'), 0) AS prizes,
               coalesce(sum(t.amount) FILTER (WHERE t.kind = 'refund'), 0) AS refunds,
               coalesce(sum(t.amount) FILTER (WHERE t.kind = 'jackpot'), 0) AS rollover_in,
               coalesce(sum(t.amount) FILTER (WHERE t.kind = 'rollover'), 0) AS rollover_out,
               coalesce(sum(t.amount) FILTER (WHERE t.kind = 'reserve'), 0) AS reserve,
               coalesce(sum(t.amount) FILTER (WHERE t.kind = 'revenue'), 0) AS revenue
        FROM draws d LEFT JOIN transfers t ON d.id * 8 + 3 IN (t.debit, t.credit) GROUP BY d.id ORDER BY d.id DESC) it";
    let moved: Vec<Value> =
        sql.query(scan, &[]).await.unwrap().iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect();
    assert_eq!(admin.all("/admin/finance/draws?limit=2").await, moved);
    for draw in moved.iter().filter(|draw| ["completed", "cancelled"].contains(&draw["status"].as_str().unwrap()))
    {
        let sum = |columns: &[&str]| columns.iter().map(|column| draw[*column].as_i64().unwrap()).sum::<i64>();
        let (came, went) = (["sales", "rollover_in", "reserve"], ["prizes", "refunds", "rollover_out", "revenue"]);
        assert_eq!(sum(&came), sum(&went), "{draw}");
    }

    let exported = async |table: &str| {
        let request = admin.request(reqwest::Method::GET, &format!("/admin/export/{table}?format=ndjson"));
        let lines = request.send().await.unwrap().text().await.unwrap();
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let mut rows = exported("finance").await;
    rows.iter_mut()
        .for_each(|row| assert_eq!(row.as_object_mut().unwrap().remove("currency"), Some(json!("RUB"))));
    assert_eq!(rows, *shown);
    let newest_last: Vec<Value> = moved.into_iter().rev().collect();
    assert_eq!(exported("finance_draws").await, newest_last);
}

#[actix_web::test]
async fn the_books_say_what_all_transfers_say_through_whole_games() {
    let prizes = [(2, at_least(500, 10_000)), (1, PaysConfig::Fixed(100))];
    let rich = [(2, at_least(1, 5_000)), (1, share(5_000))];
    let world = World::with(|config| {
        with_lottery(config, (2, 4), 10, 1_000, &prizes);
        with_lottery(config, (2, 4), 101, 5_000, &rich);
        config.lotteries.last_mut().unwrap().id = "rich".to_owned();
    })
    .await;
    let admin = world.admin().await;
    check_finance(&world, &admin).await;

    // On sale: paid from wallets and by card, reserved, and given back. A withdrawal is open.
    let ann = world.rich_player("dan", 100 * PRICE).await;
    let mut draws = Vec::new();
    for _ in 0..3 {
        draws.push(admin.open_draw(&world, 5).await);
    }
    admin.schedule(&world).await;
    ann.buy_quick(draws[0], 20).await;
    ann.buy_quick(draws[1], 10).await;
    ann.buy_quick(draws[2], 3).await;
    ann.order(draws[2], json!([{"quick_pick": true}, {"quick_pick": true}]), "wallet").await.expect(201);
    let by_card = ann.reserve(draws[2]).await;
    ann.pay(id(&by_card["payment"]), card(GOOD_CARD)).await.expect(200);
    ann.reserve(draws[1]).await;
    ann.post("/wallet/withdrawals", json!({"amount": 700})).await.expect(201);
    check_finance(&world, &admin).await;

    // What the numbers leave of the first draw's fund rolls over to the second. The third is cancelled.
    admin.conduct(draws[0]).await;
    check_finance(&world, &admin).await;
    admin.step(draws[1], "close").await.expect(200);
    check_finance(&world, &admin).await;
    admin.step(draws[1], "conduct").await.expect(200);
    admin.cancel(draws[2]).await.expect(200);
    world.until_draw_is(draws[2], "cancelled").await;
    check_finance(&world, &admin).await;

    // The reserve pays minimums and fixed prizes of one lottery; the shares of another leave remainders.
    let poor = admin.open_draw_of(&world, "tiny").await;
    let players = three_who_hold_everything(&world, poor).await;
    let rich = admin.open_draw_of(&world, "rich").await;
    for (player, picks) in players.iter().zip([[[1, 2], [3, 4]], [[1, 3], [2, 4]], [[1, 4], [2, 3]]]) {
        for pick in picks {
            player.buy(rich, &pick).await;
        }
    }
    admin.conduct(poor).await;
    admin.conduct(rich).await;
    check_finance(&world, &admin).await;
    let of = async |lottery: &str| {
        admin.all(&format!("/admin/finance/draws?lottery={lottery}&status=completed")).await.remove(0)
    };
    let (poor, rich) = (of("tiny").await, of("rich").await);
    assert_eq!((&poor["prizes"], &poor["reserve"], &poor["revenue"]), (&json!(900), &json!(894), &json!(54)));
    assert_eq!((&rich["sales"], &rich["revenue"], &rich["rollover_out"]), (&json!(606), &json!(303), &json!(4)));

    let next = admin.open_draw_of(&world, "rich").await;
    admin.conduct(next).await;
    check_finance(&world, &admin).await;
    let next = admin.all("/admin/finance/draws?lottery=rich&status=completed").await.remove(0);
    assert_eq!(next["rollover_in"], 4);
    let cancelled = admin.all("/admin/finance/draws?status=cancelled").await;
    assert_eq!(cancelled.len(), 1);
    assert_eq!((&cancelled[0]["sales"], &cancelled[0]["refunds"]), (&json!(6 * PRICE), &json!(6 * PRICE)));
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_books_are_files_too() {
    let (world, admin, draw) = World::on_sale(0).await;
    world.rich_player("ann", 2 * PRICE).await.buy_quick(draw, 1).await;
    let csv = async |table: &str| {
        let request = admin.request(reqwest::Method::GET, &format!("/admin/export/{table}"));
        request.send().await.unwrap().text().await.unwrap()
    };
    let books = csv("finance").await;
    assert!(books.starts_with("kind,lottery,balance,currency\r\nwallet,,10000,RUB\r\nheld,,0,RUB\r\n"), "{books}");
    assert!(
        books.contains("\r\nescrow,5of36,10000,RUB\r\n") && books.ends_with("\r\nclearing,,-20000,RUB\r\n"),
        "{books}"
    );
    let draws = csv("finance_draws").await;
    let header =
        "draw_id,lottery,number,status,currency,sales,prizes,refunds,rollover_in,rollover_out,reserve,revenue";
    assert_eq!(draws, format!("{header}\r\n{draw},5of36,1,open,RUB,10000,0,0,0,0,0,0\r\n"));
    let refused = admin.get("/admin/export/finance?draw_id=1").await;
    assert!(refused.text.contains("leave it out: finance is of all draws"), "{}", refused.text);
    refused.refused(422, "validation_failed");
    for (query, field) in
        [("status=sold", "status"), ("lottery=%00", "lottery"), ("limit=0", "limit"), ("page=2", "page")]
    {
        let refused = admin.get(&format!("/admin/finance/draws?{query}")).await;
        assert_eq!(refused.body["errors"][0]["field"], field, "{}", refused.text);
    }
}
