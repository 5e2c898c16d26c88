//! The shapes of answers: exactly the fields of the contract, whole amounts of money, times in UTC.

use super::*;

const LOTTERY: &str = "id name pick of combinations price currency fund_share prizes";
const DRAW: &str = "id lottery number status price currency sales_open_at sales_close_at draw_at tickets_sold \
    tickets_available prize_fund fairness winning_numbers drawn_at cancel_reason";
const DRAW_WITH_PRIZES: &str = "id lottery number status price currency sales_open_at sales_close_at draw_at \
    tickets_sold tickets_available prize_fund fairness winning_numbers drawn_at cancel_reason prizes";
const TICKET: &str = "id draw_id lottery number numbers origin pool_ticket_id status price reserved_until matches \
    prize created_at";
const PAYMENT: &str = "id kind status amount currency method ticket_ids failure_code created_at updated_at";
const TRANSFER: &str = "id kind amount balance_after reference created_at";
const RESULT: &str = "draw_id winning_numbers drawn_at tickets_sold prize_fund tiers rollover";

/// Exactly these fields.
#[track_caller]
pub fn shaped(value: &Value, fields: &str) {
    let has: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(has, fields.split_whitespace().collect(), "{value}");
}

/// Money is an integer and times are in UTC in every nested field.
#[track_caller]
pub fn whole(value: &Value) {
    match value {
        Value::Number(number) => assert!(!number.is_f64(), "a float: {number}"),
        Value::Array(items) => items.iter().for_each(whole),
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| *name != "odds") {
                whole(value);
                if let (true, Some(time)) = (name.ends_with("_at") || name.ends_with("_until"), value.as_str()) {
                    time.parse::<Timestamp>().unwrap();
                    assert!(time.ends_with('Z'), "{name}: {time}");
                }
            }
        }
        _ => {}
    }
}

#[track_caller]
fn is_uuid_v7(id: &Value) {
    assert_eq!(id.as_str().unwrap().parse::<uuid::Uuid>().unwrap().get_version_num(), 7, "{id}");
}

/// k of n.
fn choose(n: u64, k: u64) -> u64 {
    (0..k).fold(1, |product, i| product * (n - i) / (i + 1))
}

#[actix_web::test]
async fn the_lotteries_are_those_of_the_contract() {
    let world = World::new().await;
    let anonymous = world.anonymous();
    let list = anonymous.get("/lotteries").await.expect(200);
    for (index, (id, pick, of, combinations)) in
        [("5of36", 5, 36, 376_992_u64), ("6of45", 6, 45, 8_145_060)].into_iter().enumerate()
    {
        let lottery = anonymous.get(&format!("/lotteries/{id}")).await.expect(200);
        assert_eq!(lottery, list["items"][index]);
        shaped(&lottery, LOTTERY);
        whole(&lottery);
        assert_eq!((&lottery["id"], &lottery["currency"]), (&json!(id), &json!("RUB")));
        assert_eq!((&lottery["pick"], &lottery["of"]), (&json!(pick), &json!(of)));
        assert_eq!(lottery["combinations"], combinations);
        assert!(lottery["price"].as_i64().unwrap() > 0);
        assert!((1..=10_000).contains(&lottery["fund_share"].as_i64().unwrap()));
        assert!(!lottery["name"].as_str().unwrap().is_empty());

        let mut pays = Vec::new();
        for prize in lottery["prizes"].as_array().unwrap() {
            match prize["kind"].as_str().unwrap() {
                "fixed" => shaped(prize, "matches kind amount minimum odds"),
                "shared" => shaped(prize, "matches kind share minimum odds"),
                kind => panic!("{kind}"),
            }
            let matches = prize["matches"].as_u64().unwrap();
            let ways = choose(pick, matches) * choose(of - pick, pick - matches);
            let (odds, exact) = (prize["odds"].as_f64().unwrap(), combinations as f64 / ways as f64);
            assert!((odds - exact).abs() < exact / 1e9, "{id}: {matches} at 1 in {odds}, not {exact}");
            pays.push(matches);
        }
        // The top tier guarantees something to its winners. A fixed prize has no minimum.
        assert!(lottery["prizes"][0]["minimum"].as_i64().unwrap() > 0);
        assert_eq!(lottery["prizes"].as_array().unwrap().last().unwrap()["minimum"], Value::Null);
        pays.sort_unstable();
        assert_eq!(pays, (2..=pick).collect::<Vec<_>>(), "from 2 matches on");
    }
    anonymous.get("/lotteries/5OF36").await.refused(404, "not_found");
}

#[actix_web::test]
async fn every_answer_has_exactly_the_fields_of_the_contract() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);

    // Money.
    let deposit = ann.deposit(1_000_000).await;
    shaped(&deposit, PAYMENT);
    is_uuid_v7(&deposit["id"]);
    let (id, now) = (&deposit["id"], world.clock.now());
    let paid = json!({
        "id": id, "kind": "deposit", "status": "paid", "amount": 1_000_000, "currency": "RUB", "method": "card",
        "ticket_ids": [], "failure_code": null, "created_at": now, "updated_at": now,
    });
    assert_eq!(deposit, paid);
    let declined = ann.post("/wallet/deposits", json!({"amount": 5, "token": "tok_declined"})).await.expect(201);
    assert_eq!((&declined["status"], &declined["failure_code"]), (&json!("failed"), &json!("card_declined")));
    let wallet = ann.get("/wallet").await.expect(200);
    assert_eq!(wallet, json!({"balance": 1_000_000, "currency": "RUB"}));

    // A draw.
    let body = json!({"lottery": "5of36", "sales_close_at": world.minutes(60)});
    let draw = admin.post("/admin/draws", body).await.expect(201);
    shaped(&draw, DRAW_WITH_PRIZES);
    let id = draw["id"].as_i64().unwrap();
    let scheduled = json!({
        "id": id, "lottery": "5of36", "number": 1, "status": "scheduled", "price": 10_000, "currency": "RUB",
        "sales_open_at": null, "sales_close_at": world.minutes(60), "draw_at": world.minutes(60),
        "tickets_sold": 0, "tickets_available": 0, "prize_fund": 0, "fairness": null, "winning_numbers": null,
        "drawn_at": null, "cancel_reason": null, "prizes": ann.get("/lotteries/5of36").await.expect(200)["prizes"],
    });
    assert_eq!(draw, scheduled);
    assert_eq!(ann.get(&format!("/draws/{id}")).await.expect(200), scheduled);
    shaped(&ann.get("/draws").await.expect(200)["items"][0], DRAW);
    assert_eq!(admin.pool(id, 7).await.expect(201), json!({"created": 7, "tickets_available": 7}));
    assert_eq!(admin.step(id, "open").await.expect(200)["status"], "open");
    let pooled = ann.get(&format!("/draws/{id}/pool?limit=1")).await.expect(200)["items"][0].clone();
    shaped(&pooled, "id numbers price");
    is_uuid_v7(&pooled["id"]);

    // Tickets and their payment.
    let lines = json!([{"numbers": [36, 1, 22, 7, 13]}, {"quick_pick": true}, {"pool_ticket_id": pooled["id"]}]);
    let bought = ann.order(id, lines, "wallet").await.expect(201);
    shaped(&bought, "payment tickets receipt");
    shaped(&bought["receipt"], "proof salt");
    let (payment, tickets) = (&bought["payment"], bought["tickets"].as_array().unwrap());
    shaped(payment, PAYMENT);
    assert_eq!((&payment["kind"], &payment["method"]), (&json!("purchase"), &json!("wallet")));
    assert_eq!(payment["amount"], 30_000);
    let origins = ["chosen", "quick_pick", "pool"];
    for (index, (ticket, origin)) in tickets.iter().zip(origins).enumerate() {
        shaped(ticket, TICKET);
        is_uuid_v7(&ticket["id"]);
        assert_eq!(ticket["id"], payment["ticket_ids"][index], "in the order of the lines");
        assert_eq!((&ticket["origin"], &ticket["number"]), (&json!(origin), &json!(index + 1)));
        assert_eq!((&ticket["status"], &ticket["reserved_until"]), (&json!("paid"), &Value::Null));
    }
    assert_eq!(tickets[0]["numbers"], json!([1, 7, 13, 22, 36]), "ascending");
    assert_eq!((&tickets[2]["pool_ticket_id"], &tickets[2]["numbers"]), (&pooled["id"], &pooled["numbers"]));
    assert_ne!(tickets[2]["id"], pooled["id"], "a sale makes a new ticket");
    let reserved = ann.reserve(id).await;
    shaped(&reserved["payment"], PAYMENT);
    assert_eq!(
        (&reserved["payment"]["status"], &reserved["payment"]["method"]),
        (&json!("pending"), &Value::Null)
    );
    assert_eq!(reserved["tickets"][0]["reserved_until"], json!(world.minutes(5)));
    assert_eq!(reserved["tickets"][0]["number"], Value::Null);
    let transfers = ann.get("/wallet/transfers").await.expect(200);
    let first = &transfers["items"][0];
    shaped(first, TRANSFER);
    assert_eq!((&first["kind"], &first["amount"]), (&json!("purchase"), &json!(-30_000)));
    assert_eq!((&first["balance_after"], &first["reference"]), (&json!(970_000), &payment["id"]));
    let live = ann.get(&format!("/draws/{id}")).await.expect(200);
    assert_eq!(live["tickets_available"], 5);

    // Each object is the same in every answer that contains it.
    for (path, thing) in [
        (format!("/payments/{}", payment["id"].as_str().unwrap()), payment),
        (format!("/tickets/{}", tickets[2]["id"].as_str().unwrap()), &tickets[2]),
    ] {
        assert_eq!(ann.get(&path).await.expect(200), *thing);
        let (list, _) = path.rsplit_once('/').unwrap();
        let all = ann.get(list).await.expect(200);
        assert!(all["items"].as_array().unwrap().contains(thing), "{list}");
    }

    // The end.
    let result = admin.conduct(id).await;
    shaped(&result, RESULT);
    let winning = result["winning_numbers"].as_array().unwrap();
    assert!(winning.len() == 5 && winning.is_sorted_by_key(|number| number.as_u64()), "{winning:?}");
    let tiers = result["tiers"].as_array().unwrap();
    let matches: Vec<u64> = tiers.iter().map(|tier| tier["matches"].as_u64().unwrap()).collect();
    assert_eq!(matches, [5, 4, 3, 2], "exactly the paying ones, winners or not");
    for tier in tiers {
        shaped(tier, "matches winners prize total");
        let number = |name: &str| tier[name].as_i64().unwrap();
        assert_eq!(number("total"), number("winners") * number("prize"));
    }
    let over = ann.get(&format!("/draws/{id}")).await.expect(200);
    shaped(&over, DRAW_WITH_PRIZES);
    assert_eq!((&over["status"], &over["tickets_sold"]), (&json!("completed"), &json!(3)));
    assert_eq!(over["winning_numbers"], result["winning_numbers"]);
    assert_eq!((&over["drawn_at"], &result["drawn_at"]), (&json!(world.clock.now()), &over["drawn_at"]));
    let ticket = ann.get(&format!("/tickets/{}", tickets[0]["id"].as_str().unwrap())).await.expect(200);
    shaped(&ticket, TICKET);
    assert!(ticket["matches"].is_u64() && ticket["prize"].is_i64(), "set on every paid ticket: {ticket}");

    for path in ["/me", "/draws", "/tickets", "/payments", "/wallet", "/wallet/transfers", "/lotteries"] {
        whole(&ann.get(path).await.expect(200));
    }
    whole(&result);
}
