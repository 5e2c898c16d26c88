//! Lists: pages, cursors, filters.

use super::shapes::shaped;
use super::*;

/// Every list, with at least one row in each: ann's own lists, and the pool of this draw.
async fn lists(world: &World) -> (User, Vec<String>) {
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 1_000_000).await);
    let draw = admin.open_draw(world, 3).await;
    ann.buy_quick(draw, 2).await;
    let lists = ["/lotteries", "/draws", "/tickets", "/payments", "/wallet/transfers"].map(str::to_owned);
    let pool = format!("/draws/{draw}/pool");
    (ann, lists.into_iter().chain([pool]).collect())
}

#[actix_web::test]
async fn a_page_has_1_to_200_rows() {
    let world = World::new().await;
    let (ann, lists) = lists(&world).await;
    for list in &lists {
        for limit in ["0", "-1", "201", "x", "", "1.5", "99999999999999999999"] {
            let answer = ann.get(&format!("{list}?limit={limit}")).await;
            assert_eq!(answer.status, 422, "{list}?limit={limit}: {}", answer.text);
            names_only(answer, "limit");
        }
        let one = ann.get(&format!("{list}?limit=1")).await.expect(200);
        assert_eq!(one["items"].as_array().unwrap().len(), 1, "{list}");
        let all = ann.get(&format!("{list}?limit=200")).await.expect(200);
        shaped(&all, "items next_cursor");
        assert_eq!(all["next_cursor"], Value::Null, "{list}");
        assert_eq!(all["items"][0], one["items"][0], "{list}");
    }
}

#[actix_web::test]
async fn a_page_has_50_rows_by_default() {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 120).await;
    let page = |query: &str| {
        let path = format!("/draws/{draw}/pool{query}");
        let admin = admin.clone();
        async move { admin.get(&path).await.expect(200) }
    };
    let rows = |page: &Value| page["items"].as_array().unwrap().len();
    let first = page("").await;
    assert_eq!(rows(&first), 50);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(rows(&page(&format!("?cursor={cursor}&limit=200")).await), 70);
    // A full last page says that it is the last.
    assert_eq!(page("?limit=120").await["next_cursor"], Value::Null);
}

#[actix_web::test]
async fn invented_cursors_and_unknown_parameters_are_refused() {
    let world = World::new().await;
    let (ann, lists) = lists(&world).await;
    for list in &lists {
        for cursor in ["", "x", "!!!", "bm9uc2Vuc2U", "%FF", "MQ%3D%3D"] {
            let answer = ann.get(&format!("{list}?cursor={cursor}")).await;
            assert_eq!(answer.status, 422, "{list}?cursor={cursor}: {}", answer.text);
            names_only(answer, "cursor");
        }
        names_only(ann.get(&format!("{list}?page=2")).await, "page");
    }
}

/// The ids of a whole list, read in pages of this size; `between` runs after each page.
async fn leaf_through(who: &User, list: &str, limit: usize, mut meanwhile: impl AsyncFnMut()) -> Vec<Value> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = who.get(&format!("{list}?limit={limit}{cursor}")).await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(!items.is_empty() && items.len() <= limit, "{list}: a page of {}", items.len());
        ids.extend(items.iter().map(|item| item["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
        meanwhile().await;
    }
}

async fn ids(who: &User, list: &str) -> Vec<Value> {
    leaf_through(who, list, 200, async || {}).await
}

/// Ids contain the time in milliseconds: a moment later they are greater.
fn tick(world: &World) {
    world.advance(SignedDuration::from_millis(1));
}

#[actix_web::test]
async fn new_rows_never_shift_or_repeat_a_page() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 10_000_000).await);
    let mut draws = Vec::new();
    for _ in 0..7 {
        draws.insert(0, json!(admin.schedule(&world).await));
    }
    let seen = leaf_through(&ann, "/draws", 3, async || {
        admin.schedule(&world).await;
    })
    .await;
    assert_eq!(seen, draws, "newest first");

    let draw = admin.open_draw(&world, 0).await;
    let mut tickets = Vec::new();
    for _ in 0..6 {
        tick(&world);
        tickets.insert(0, ann.buy_quick(draw, 1).await["tickets"][0]["id"].clone());
    }
    let buy = async || {
        tick(&world);
        ann.buy_quick(draw, 2).await;
    };
    assert_eq!(leaf_through(&ann, "/tickets", 2, buy).await, tickets, "newest first");

    for list in ["/payments", "/wallet/transfers"] {
        let before = ids(&ann, list).await;
        assert!(before.len() >= 7);
        let deposit = async || {
            tick(&world);
            ann.deposit(1).await;
        };
        assert_eq!(leaf_through(&ann, list, 3, deposit).await, before, "{list}");
        let newest = &ids(&ann, list).await[0];
        assert!(!before.contains(newest), "{list}: newest first");
    }
}

/// Purchases of several tickets, returned reservations, deposits between them: with every page size each payment is
/// listed once, in the order of creation, and no other user's.
#[actix_web::test]
async fn a_list_of_payments_has_those_with_and_those_without_tickets() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 10_000_000).await);
    let (draw, bob) = (admin.open_draw(&world, 0).await, world.rich_player("bob", 10_000_000).await);
    let mut made = ids(&ann, "/payments").await;
    let three = json!([{ "quick_pick": true }, { "quick_pick": true }, { "quick_pick": true }]);
    for _ in 0..3 {
        made.insert(0, ann.buy_quick(draw, 3).await["payment"]["id"].clone());
        bob.buy_quick(draw, 2).await;
        made.insert(0, ann.deposit(1).await["id"].clone());
        let reserved = ann.order(draw, three.clone(), "later").await.expect(201);
        let returned = reserved["tickets"][1]["id"].as_str().unwrap();
        ann.delete(&format!("/tickets/{returned}")).await.expect(204);
        made.insert(0, reserved["payment"]["id"].clone());
    }
    for limit in [1, 2, 4, 200] {
        assert_eq!(leaf_through(&ann, "/payments", limit, async || {}).await, made, "pages of {limit}");
    }
    assert!(world.player("eve").await.all("/payments").await.is_empty());
}

#[actix_web::test]
async fn sales_and_new_tickets_do_not_shift_the_pages_of_the_pool() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 10_000_000).await);
    let draw = admin.open_draw(&world, 9).await;
    let pool = format!("/draws/{draw}/pool");
    let before = ids(&ann, &pool).await;
    assert_eq!(before.len(), 9);
    let mut first = before.iter();
    let sale = async || {
        // A ticket of an earlier page is sold, and a new one is created.
        let lines = json!([{"pool_ticket_id": first.next().unwrap()}]);
        ann.order(draw, lines, "wallet").await.expect(201);
        tick(&world);
        admin.pool(draw, 1).await.expect(201);
    };
    let seen = leaf_through(&ann, &pool, 3, sale).await;
    assert_eq!(seen[..9], before, "as they were made");
    let distinct: BTreeSet<&str> = seen.iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(distinct.len(), seen.len());
    assert!(seen.len() > 9, "new ones come last");
}

#[actix_web::test]
async fn a_filter_may_be_given_several_times() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 1_000_000).await);
    let (scheduled, open, closed) =
        (admin.schedule(&world).await, admin.open_draw(&world, 0).await, admin.open_draw(&world, 0).await);
    let other = json!({"lottery": "6of45", "sales_close_at": world.minutes(60)});
    let other = admin.post("/admin/draws", other).await.expect(201)["id"].as_i64().unwrap();
    let here = ann.buy_quick(open, 1).await["tickets"][0]["id"].clone();
    let there = ann.buy_quick(closed, 1).await["tickets"][0]["id"].clone();
    let reserved =
        ann.order(open, json!([{"quick_pick": true}]), "later").await.expect(201)["tickets"][0]["id"].clone();
    admin.step(closed, "close").await.expect(200);

    let found = async |path: &str| {
        let list = ann.get(path).await.expect(200);
        list["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(found("/draws?status=open&status=closed").await, [json!(closed), json!(open)]);
    assert_eq!(found("/draws?status=scheduled").await, [json!(other), json!(scheduled)]);
    assert_eq!(found("/draws?lottery=6of45").await, [json!(other)]);
    assert_eq!(found("/draws?lottery=6of45&status=open").await, [json!(null); 0]);
    assert_eq!(found("/draws?lottery=6of45&lottery=5of36").await.len(), 4);
    assert_eq!(found(&format!("/tickets?draw_id={closed}")).await, [there]);
    assert_eq!(found(&format!("/tickets?draw_id={open}&draw_id={closed}")).await.len(), 3);
    assert_eq!(found(&format!("/tickets?draw_id={open}&status=paid")).await, [here]);
    assert_eq!(found("/tickets?status=reserved").await, [reserved]);
    assert_eq!(found("/tickets?status=paid&status=reserved&status=won").await.len(), 3);

    for (path, field) in [
        ("/draws?status=opened", "status"),
        ("/draws?status=open&status=", "status"),
        ("/draws?status=OPEN", "status"),
        ("/draws?lottery=%00", "lottery"),
        ("/tickets?status=sold", "status"),
        ("/tickets?draw_id=x", "draw_id"),
        ("/tickets?draw_id=1&draw_id=", "draw_id"),
        ("/tickets?user_id=1", "user_id"),
    ] {
        names_only(ann.get(path).await, field);
    }
}

#[actix_web::test]
async fn draws_are_listed_alike_from_memory_and_from_the_database() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let mut live = Vec::new();
    for index in 0..6 {
        let draw = admin.open_draw(&world, 2).await;
        match index % 3 {
            0 => drop(admin.conduct(draw).await),
            1 => drop(admin.cancel(draw).await.expect(200)),
            _ => live.push(json!(draw)),
        }
    }
    live.reverse();
    let lists = ["/draws", "/draws?limit=2", "/draws?status=open", "/draws?status=completed&status=cancelled"];
    let shown = async |who: &User| {
        let mut shown = Vec::new();
        for list in lists {
            shown.push(who.get(list).await.expect(200));
            shown.push(who.get(list).await.expect(200));
        }
        shown
    };
    let before = shown(&admin).await;
    assert_eq!(ids(&admin, "/draws").await.len(), 6);
    let open = admin.get("/draws?status=open").await.expect(200);
    let open: Vec<Value> = open["items"].as_array().unwrap().iter().map(|draw| draw["id"].clone()).collect();
    assert_eq!(open, live);
    // After a restart completed draws are read from the database.
    world.restart().await;
    let admin = world.reconnect(&admin);
    assert_eq!(shown(&admin).await, before);

    // A cached answer does not stay for ever.
    let draw = live[0].as_i64().unwrap();
    let ann = world.rich_player("ann", 1_000_000).await;
    for sold in 1..4 {
        ann.buy_quick(draw, 1).await;
        assert_eq!(ann.get(&format!("/draws/{draw}")).await.expect(200)["tickets_sold"], sold);
        assert_eq!(ann.get("/draws?limit=2").await.expect(200)["items"][0]["tickets_sold"], sold);
    }
}
