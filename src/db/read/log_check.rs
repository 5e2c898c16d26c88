//! The invariant about ticket logs: each is made anew from the tickets of its draw, and compared with what is stored of
//! it. Tickets are read row by row; of a draw, the roots of its tiles are kept in memory, a byte for every four orders.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use verifiable_draw::merkle::edge::Edge;

use super::rules::game;
use crate::db::DbError;
use crate::domain::game::Game;
use crate::domain::id::{DrawId, PaymentId, UserId};
use crate::domain::ticket_log::{PaidOrder, PaidOrders, TicketLog, TicketLogs, TileRow};

/// The orders that are hashed together.
const ORDERS_AT_ONCE: usize = 4_096;

/// What is wrong with the ticket logs of the database: at most one sentence for a draw, and at most `limit` sentences.
pub async fn differences(client: &Client, logs: &TicketLogs, limit: usize) -> Result<Vec<String>, DbError> {
    let sql = "-- log_check::differences()
        SELECT d.id, d.status, d.pick, d.of, s.sold, s.edge, e.draw_id IS NOT NULL AS sealed, e.orders, e.root
        FROM draws d JOIN draw_sales s ON s.draw_id = d.id LEFT JOIN draw_seals e ON e.draw_id = d.id ORDER BY d.id";
    let mut found = Vec::new();
    for row in client.query(sql, &[]).await? {
        if found.len() == limit {
            break;
        }
        let id = DrawId(row.get("id"));
        if let Err(what) = check_draw(client, logs, id, &row).await? {
            found.push(format!("draw {id}: {what}"));
        }
    }
    Ok(found)
}

async fn check_draw(
    client: &Client,
    logs: &TicketLogs,
    draw: DrawId,
    row: &Row,
) -> Result<Result<(), String>, DbError> {
    let stored = stored_tiles(client, draw).await?;
    let Some(edge) = row.get::<_, Option<&[u8]>>("edge") else {
        let has_parts = row.get::<_, Option<&[u8]>>("root").is_some() || !stored.is_empty();
        return Ok(if has_parts { Err("parts of a ticket log without its edge".to_owned()) } else { Ok(()) });
    };
    if row.get::<_, &str>("status") == "scheduled" {
        return Ok(Err("a ticket log of a draw that was not opened".to_owned()));
    }
    let (log, tiles) = match rebuilt(client, logs, draw, game(row)?).await? {
        Ok(rebuilt) => rebuilt,
        Err(what) => return Ok(Err(what)),
    };
    let head = log.head();
    if Edge::from_bytes(edge) != Ok(log.edge().clone()) {
        return Ok(Err(format!("the edge of its ticket log is not that of its {} paid orders", head.size)));
    }
    let seal = (row.get::<_, Option<i64>>("orders"), row.get::<_, Option<&[u8]>>("root"));
    let is_sealed: bool = row.get("sealed");
    if seal != (is_sealed.then_some(head.size.cast_signed()), is_sealed.then_some(&head.root[..])) {
        return Ok(Err("its seal is not that of its paid orders".to_owned()));
    }
    if let Some(tile) = (0..tiles.len().max(stored.len())).find(|index| tiles.get(*index) != stored.get(*index)) {
        return Ok(Err(format!("its ticket log has other tiles from row {tile} on")));
    }
    Ok(Ok(()))
}

/// The stored tiles in the order in which `rebuilt` makes them.
async fn stored_tiles(client: &Client, draw: DrawId) -> Result<Vec<TileRow>, DbError> {
    let sql = "-- log_check::stored_tiles()
        SELECT level, tile, last_number, root FROM ticket_log_tiles WHERE draw_id = $1 ORDER BY level, tile";
    let mut tiles = Vec::new();
    let mut rows = pin!(client.query_raw(sql, [&draw.0 as &(dyn ToSql + Sync)]).await?);
    while let Some(row) = rows.try_next().await? {
        let root = row.get::<_, &[u8]>(3).try_into().map_err(|_| DbError::Corrupt("a tile of a ticket log"))?;
        tiles.push(TileRow { level: row.get(0), tile: row.get(1), last_number: row.get(2), root });
    }
    Ok(tiles)
}

/// The log of a draw with all its tiles, made from its tickets; or why it cannot be made.
async fn rebuilt(
    client: &Client,
    logs: &TicketLogs,
    draw: DrawId,
    game: Game,
) -> Result<Result<(TicketLog, Vec<TileRow>), String>, DbError> {
    let sql = "-- log_check::rebuilt()
        SELECT number, user_id, payment_id, pick FROM tickets WHERE draw_id = $1 AND number IS NOT NULL ORDER BY number";
    let mut rows = pin!(client.query_raw(sql, [&draw.0 as &(dyn ToSql + Sync)]).await?);
    let (mut log, mut tiles) = (TicketLog::empty(logs.keys(draw)), Vec::new());
    let (mut groups, mut waiting) = (PaidOrders::default(), 0);
    while let Some(row) = rows.try_next().await? {
        let number = row.get(0);
        let Ok(pick) = game.pick_from_mask(row.get(3)) else {
            return Ok(Err(format!("ticket {number} has numbers that are not legal")));
        };
        if let Some(order) = groups.push(number, PaymentId(row.get(2)), UserId(row.get(1)), pick) {
            if let Err(what) = append(&mut log, &order) {
                return Ok(Err(what));
            }
            waiting += 1;
        }
        if waiting == ORDERS_AT_ONCE {
            tiles.extend(log.finish().tiles);
            waiting = 0;
        }
    }
    if let Some(Err(what)) = groups.end().map(|order| append(&mut log, &order)) {
        return Ok(Err(what));
    }
    tiles.extend(log.finish().tiles);
    tiles.sort_by_key(|tile| (tile.level, tile.tile));
    Ok(Ok((log, tiles)))
}

fn append(log: &mut TicketLog, order: &PaidOrder) -> Result<(), String> {
    let appended = log.append(order.first, order.payment, order.user, order.picks.iter().copied());
    appended.map(drop).map_err(|error| format!("payment {}: {error}", order.payment))
}
