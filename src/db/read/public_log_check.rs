//! The invariant about the public log: its tree and its tiles are those of its entries, and the entries of each draw say
//! what its rows say. With the master secret, the seeds are compared and the numbers are drawn once more.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use uuid::Uuid;
use verifiable_draw::Hash;
use verifiable_draw::event::{AuditHead, Event};
use verifiable_draw::keys::MasterSecret;
use verifiable_draw::merkle::edge::Edge;
use verifiable_draw::merkle::tiles::TILE_WIDTH;
use verifiable_draw::merkle::{Head, hash_leaf};

use super::beacon::{self, CHAIN};
use super::public_log::{ENTRY, first_mac, generations, stored_entry};
use super::rules::rules;
use crate::db::DbError;
use crate::domain::beacon::AnnouncedRound;
use crate::domain::draw::Times;
use crate::domain::id::DrawId;
use crate::domain::log_entry::ForeignEntry;
use crate::domain::log_keys::{KeyChange, KeyGenerations, LogKeys, LogOrigin};
use crate::domain::lottery::{DrawStatus, Fairness};
use crate::domain::money::{Currency, Money};
use crate::domain::prize::{Settlement, TierResult};
use crate::domain::public_log::{self, DrawTimes};
use crate::domain::ticket_log::TicketLogs;

/// When the sale ends, when the numbers are drawn, and by which round of a beacon.
#[derive(Clone, Copy, PartialEq, Eq)]
struct LoggedTimes {
    sales_close_at: u64,
    draw_at: u64,
    round: Option<u64>,
}

/// The entries of one draw.
#[derive(Default)]
struct Transcript {
    announced: Option<(Vec<u8>, Event)>,
    /// The last of the times that were logged.
    times: Option<LoggedTimes>,
    /// The last entry before the seal.
    last: Vec<u8>,
    sealed: Option<Event>,
    completed: Option<Event>,
    voided: Option<Event>,
    /// It was cancelled after it was completed: only a restored backup explains that.
    is_undone: bool,
    /// What stands there twice, or in another order.
    misplaced: Option<u64>,
}

/// What is wrong with the public log: at most `limit` sentences. Without `logs`, what comes from the master secret is not
/// compared.
pub async fn differences(
    client: &Client,
    logs: Option<&TicketLogs>,
    limit: usize,
) -> Result<Vec<String>, DbError> {
    let keys = match logs {
        Some(logs) => SecretKeys::Known(logs.log_keys().clone()),
        None => SecretKeys::unknown(),
    };
    let ReadLog { mut transcripts, audit_heads, key_changes } = match read(client, &keys).await? {
        Ok(log) => log,
        Err(what) => return Ok(vec![what]),
    };
    let mut found = Vec::new();
    found.extend(check_audit_heads(client, &audit_heads).await?.err());
    found.extend(check_keys(client, &key_changes, &keys).await?.err());
    let policies = kept_policies(client).await?;
    let sql = format!(
        "-- public_log_check::differences()
        SELECT d.id, d.lottery, d.number, d.status, d.fairness, d.pick, d.of, d.price, d.fund_share, t.matches, t.amounts,
               t.shares, t.minimums, t.winners, t.prizes, d.sales_open_at, d.sales_close_at, d.draw_at, e.tickets,
               e.sealed_at, e.orders, e.root, r.pick AS winning, r.drawn_at, r.jackpot, r.prize_fund, r.rollover,
               r.after_entry, r.signature, c.reason, c.cancelled_at, i.currency, d.round, {CHAIN},
               k.draw_id IS NOT NULL AS rolled_back, k.goes_on
        FROM draws d LEFT JOIN beacon_chains b ON b.hash = d.chain LEFT JOIN draw_seals e ON e.draw_id = d.id LEFT JOIN draw_results r ON r.draw_id = d.id
        LEFT JOIN draw_cancellations c ON c.draw_id = d.id LEFT JOIN installation i ON true
        LEFT JOIN rolled_back_draws k ON k.draw_id = d.id
        CROSS JOIN LATERAL (
            SELECT array_agg(p.matches ORDER BY p.matches DESC) AS matches,
                   array_agg(p.amount ORDER BY p.matches DESC) AS amounts,
                   array_agg(p.share ORDER BY p.matches DESC) AS shares,
                   array_agg(p.minimum ORDER BY p.matches DESC) AS minimums,
                   array_agg(w.winners ORDER BY p.matches DESC) AS winners,
                   array_agg(w.prize ORDER BY p.matches DESC) AS prizes
            FROM draw_tiers p LEFT JOIN result_tiers w ON (w.draw_id, w.matches) = (p.draw_id, p.matches)
            WHERE p.draw_id = d.id) t
        ORDER BY d.id"
    );
    let mut rows = pin!(client.query_raw(&sql, std::iter::empty::<&(dyn ToSql + Sync)>()).await?);
    while let Some(row) = rows.try_next().await? {
        let draw = DrawId(row.get("id"));
        let transcript = transcripts.remove(&draw).unwrap_or_default();
        let mut checked = check_draw(draw, &row, &transcript, &keys)?;
        if checked.is_ok() && announced_policy(&transcript).is_some_and(|policy| !policies.contains(&policy)) {
            checked = Err("the witness policy of its announcement is not kept".to_owned());
        }
        if found.len() < limit
            && let Err(what) = checked
        {
            found.push(format!("draw {draw}: {what}"));
        }
    }
    Ok(found)
}

/// The entries of the log.
#[derive(Default)]
struct ReadLog {
    transcripts: BTreeMap<DrawId, Transcript>,
    /// The published heads of the audit log, with the index of their entry: one of each position.
    audit_heads: Vec<(u64, AuditHead)>,
    key_changes: Vec<(KeyChange, String)>,
}

impl ReadLog {
    fn add(&mut self, index: u64, entry: &[u8], event: Event) {
        match (event.draw(), event) {
            (Some(draw), event) => {
                self.transcripts.entry(DrawId(draw.cast_signed())).or_default().add(index, entry, event);
            }
            (None, Event::DrawHeads { audit: Some(head), .. }) => {
                if self.audit_heads.last().is_none_or(|(_, last)| *last != head) {
                    self.audit_heads.push((index, head));
                }
            }
            (None, Event::KeyAdded { vkey, .. }) => self.key_changes.push((KeyChange::Rotate, vkey)),
            (None, Event::KeyRetired { vkey, .. }) => self.key_changes.push((KeyChange::Retire, vkey)),
            (None, _) => {}
        }
    }
}

/// Compares the published heads of the audit log with the audit log: a chain that was made anew has other ones.
async fn check_audit_heads(client: &Client, heads: &[(u64, AuditHead)]) -> Result<Result<(), String>, DbError> {
    let indexes: Vec<i64> = heads.iter().map(|(index, _)| index.cast_signed()).collect();
    let positions: Vec<i64> = heads.iter().map(|(_, head)| head.position.cast_signed()).collect();
    let hashes: Vec<&[u8]> = heads.iter().map(|(_, head)| head.hash.as_slice()).collect();
    let sql = "-- public_log_check::check_audit_heads()
        SELECT h.index FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS h (index, position, hash)
        LEFT JOIN audit_log a ON a.position = h.position WHERE a.hash IS DISTINCT FROM h.hash
            -- A restored backup has lost what came after it.
            AND NOT EXISTS (SELECT FROM log_imports i
                            WHERE h.index >= i.first AND h.index < i.next AND h.position > i.audit_position)
        ORDER BY 1 LIMIT 1";
    let other = client.query_opt(sql, &[&indexes, &positions, &hashes]).await?;
    Ok(match other {
        Some(row) => Err(format!("entry {} has a head that the audit log never had", row.get::<_, i64>(0))),
        None => Ok(()),
    })
}

/// Compares the changes of keys with the keys that sign.
async fn check_keys(
    client: &Client,
    changes: &[(KeyChange, String)],
    keys: &SecretKeys,
) -> Result<Result<(), String>, DbError> {
    let sql = "-- public_log_check::check_keys()
        SELECT oldest, newest FROM log_key_generations";
    let stored = client.query_opt(sql, &[]).await?.map(|row| generations(&row));
    let mut now = KeyGenerations::default();
    for (change, vkey) in changes {
        let Ok((after, changed)) = now.changed(*change) else {
            return Ok(Err(format!("{vkey} was added or retired out of its turn")));
        };
        if let SecretKeys::Known(keys) = keys
            && keys.public_log_key(changed).verifier().to_string() != *vkey
        {
            return Ok(Err(format!("{vkey} is no key of this log")));
        }
        now = after;
    }
    let is_same = stored == Some(now);
    Ok(if is_same { Ok(()) } else { Err("the keys that sign it are not those that its entries name".to_owned()) })
}

/// The entries, if the log is the tree that is stored.
async fn read(client: &Client, keys: &SecretKeys) -> Result<Result<ReadLog, String>, DbError> {
    let (tiles, first_mac) = (tiles(client).await?, first_mac(client).await?);
    let sql = format!(
        "-- public_log_check::read()
        SELECT {ENTRY} FROM log_entries ORDER BY index"
    );
    let (mut edge, mut log) = (Edge::new(), ReadLog::default());
    let mut rows = pin!(client.query_raw(&sql, std::iter::empty::<&(dyn ToSql + Sync)>()).await?);
    while let Some(row) = rows.try_next().await? {
        let stored = stored_entry(&row);
        let (index, entry) = (stored.index, stored.bytes.as_slice());
        if index != edge.size() {
            return Ok(Err(format!("entry {} is missing", edge.size())));
        }
        if let SecretKeys::Known(keys) = keys
            && !stored.is_own(keys, first_mac)
        {
            return Ok(Err(format!("entry {index} {}", ForeignEntry::Mac)));
        }
        let event = match Event::parse(entry) {
            Ok(event) => event,
            Err(error) => return Ok(Err(format!("entry {index}: {error}"))),
        };
        if stored.draw.map(|draw| draw.0.cast_unsigned()) != event.draw() {
            return Ok(Err(format!("entry {index} is not of the draw in its row")));
        }
        let Ok(appended) = edge.append_batch(vec![hash_leaf(entry)]) else {
            return Ok(Err("it has too many entries".to_owned()));
        };
        for (tile, root) in appended.completed(TILE_WIDTH.ilog2()) {
            if tiles.get(tile as usize) != Some(root) {
                return Ok(Err(format!("tile {tile} is not that of its entries")));
            }
        }
        edge = appended.into_edge();
        log.add(index, entry, event);
    }
    if tiles.len() as u64 != edge.size() / u64::from(TILE_WIDTH) {
        return Ok(Err(format!("it has {} tiles of {} entries", tiles.len(), edge.size())));
    }
    let sql = "-- public_log_check::edge()
        SELECT edge FROM log_edge";
    let stored = client.query_opt(sql, &[]).await?;
    let is_same = stored.is_some_and(|row| Edge::from_bytes(row.get(0)).as_ref() == Ok(&edge));
    Ok(if is_same { Ok(log) } else { Err("its edge is not that of its entries".to_owned()) })
}

/// The SHA-256 of the witness policies that are kept.
async fn kept_policies(client: &Client) -> Result<BTreeSet<Vec<u8>>, DbError> {
    let sql = "-- public_log_check::kept_policies()
        SELECT hash FROM witness_policies";
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// The SHA-256 of the witness policy that the draw was announced with.
fn announced_policy(log: &Transcript) -> Option<Vec<u8>> {
    let Some((_, Event::DrawAnnounced { policy, .. })) = &log.announced else { return None };
    policy.map(|hash| hash.to_vec())
}

/// The roots of the tiles, in their order.
async fn tiles(client: &Client) -> Result<Vec<Hash>, DbError> {
    let sql = "-- public_log_check::tiles()
        SELECT root FROM log_tiles ORDER BY tile";
    let root = |row: &Row| row.get::<_, &[u8]>(0).try_into();
    let roots: Result<Vec<Hash>, _> = client.query(sql, &[]).await?.iter().map(root).collect();
    roots.map_err(|_| DbError::Corrupt("a tile of the public log"))
}

impl Transcript {
    fn add(&mut self, index: u64, entry: &[u8], event: Event) {
        if matches!(event, Event::DrawAnnounced { .. } | Event::DrawRescheduled { .. }) {
            self.last = entry.to_vec();
        }
        let is_over = self.completed.is_some() || self.voided.is_some();
        let is_placed = match &event {
            Event::DrawAnnounced { sales_close_at, draw_at, beacon, .. } => {
                let round = beacon.as_ref().map(|beacon| beacon.round);
                self.times = Some(LoggedTimes { sales_close_at: *sales_close_at, draw_at: *draw_at, round });
                self.announced.replace((entry.to_vec(), event)).is_none()
            }
            Event::DrawRescheduled { sales_close_at, draw_at, round, .. } => {
                let (sales_close_at, draw_at, round) = (*sales_close_at, *draw_at, *round);
                self.times = Some(LoggedTimes { sales_close_at, draw_at, round });
                self.announced.is_some() && self.sealed.is_none() && !is_over
            }
            Event::DrawSealed { .. } => {
                self.announced.is_some() && !is_over && self.sealed.replace(event).is_none()
            }
            Event::DrawCompleted { .. } => {
                self.sealed.is_some() && !is_over && self.completed.replace(event).is_none()
            }
            Event::DrawVoided { .. } => {
                self.is_undone = self.completed.is_some();
                self.announced.is_some() && self.voided.replace(event).is_none()
            }
            Event::DrawHeads { .. } | Event::KeyAdded { .. } | Event::KeyRetired { .. } => true,
        };
        if !is_placed {
            self.misplaced.get_or_insert(index);
        }
    }
}

/// The keys that come from the master secret.
enum SecretKeys {
    Known(Arc<LogKeys>),
    /// Any keys: what they make is not compared.
    Unknown(LogKeys),
}

impl SecretKeys {
    fn unknown() -> SecretKeys {
        SecretKeys::Unknown(LogKeys::new(MasterSecret::new([0; 32]), LogOrigin::of_installation(Uuid::nil())))
    }

    fn keys(&self) -> &LogKeys {
        match self {
            SecretKeys::Known(keys) => keys,
            SecretKeys::Unknown(keys) => keys,
        }
    }

    /// Whether the entry is as expected, but for what the unknown secret makes.
    fn is_same(&self, mut expected: Event, entry: &Event) -> bool {
        if matches!(self, SecretKeys::Unknown(_)) {
            match (&mut expected, entry) {
                (
                    Event::DrawAnnounced { commitment, ticket_log, .. },
                    Event::DrawAnnounced { commitment: other, ticket_log: other_log, .. },
                ) => (*commitment, *ticket_log) = (*other, other_log.clone()),
                (Event::DrawCompleted { seed, .. }, Event::DrawCompleted { seed: other, .. })
                | (Event::DrawVoided { seed, .. }, Event::DrawVoided { seed: other, .. }) => *seed = *other,
                _ => {}
            }
        }
        expected == *entry
    }
}

fn check_draw(
    draw: DrawId,
    row: &Row,
    log: &Transcript,
    keys: &SecretKeys,
) -> Result<Result<(), String>, DbError> {
    let wrong = |what: &str| Ok(Err(what.to_owned()));
    if let Some(index) = log.misplaced {
        return Ok(Err(format!("its entry {index} in the public log does not follow from those before")));
    }
    let is_rolled_back = row.get("rolled_back");
    if let Some(what) = unfinished(row, is_rolled_back) {
        return wrong(what);
    }
    if log.is_undone && !is_rolled_back {
        return wrong("it was cancelled after it was completed");
    }
    let fairness = row.get::<_, Option<&str>>("fairness").and_then(Fairness::parse);
    let Some((announcement, announced)) = &log.announced else {
        return if fairness.is_some() { wrong("it is not announced in the public log") } else { Ok(Ok(())) };
    };
    let Some(fairness) = fairness else { return wrong("it is announced in the public log, and not verifiable") };
    let Ok(round) = beacon::round(row) else {
        return wrong("the chain of its beacon is not what its hash names");
    };
    let Ok(rules) = rules(row) else { return wrong("its rules cannot be read") };
    let times =
        Times { sales_open_at: None, sales_close_at: row.get("sales_close_at"), draw_at: row.get("draw_at") };
    let currency: Currency = row
        .get::<_, Option<&str>>("currency")
        .and_then(|currency| currency.parse().ok())
        .ok_or(DbError::Corrupt("currency"))?;
    let first = round.as_ref().map(|round| first_round(round, announced));
    let (number, of_draw, announced_at) = (row.get("number"), (&rules, currency), at(announced));
    let published = (first.as_ref(), None);
    let expected = public_log::announced(keys.keys(), draw, number, of_draw, &times, published, announced_at);
    if !keys.is_same(as_announced(expected, announced), announced) {
        return wrong("its announcement in the public log is not that of its rules");
    }
    let newest = round.as_ref().map(|round| AnnouncedRound::of(&round.chain, times.draw_at));
    if newest != round {
        return wrong("its round is not the first one at draw_at");
    }
    let stored = LoggedTimes {
        sales_close_at: public_log::seconds(times.sales_close_at),
        draw_at: public_log::seconds(times.draw_at),
        round: round.as_ref().map(|round| round.round),
    };
    if log.times != Some(stored) {
        return wrong("its times are not those of the public log");
    }

    let sealed = seal(row)?;
    let expected =
        sealed.map(|(tickets, head, at)| public_log::sealed(draw, &head, tickets, times.sales_close_at, at));
    // What was sold after a backup is lost with the seal of it.
    let lacks_seal = is_rolled_back && expected.is_none();
    if expected != log.sealed && !lacks_seal {
        return wrong("its seal is not that of the public log");
    }
    let signature = row.get::<_, Option<&[u8]>>("signature").map(|bytes| bytes.try_into().unwrap_or([0; 48]));
    if let Some(drawn) = row.get::<_, Option<i64>>("winning") {
        let numbers = match (&round, signature, keys, sealed) {
            (Some(round), Some(signature), _, Some((_, _, sealed_at))) => {
                let Ok(verified) = round.verify(signature) else {
                    return wrong("the signature of its round is not that of the beacon");
                };
                Some(public_log::numbers_of_round(
                    &rules,
                    announcement,
                    (&log.last, public_log::seconds(sealed_at)),
                    &verified,
                ))
            }
            (None, None, SecretKeys::Known(keys), Some((_, head, _))) => {
                Some(public_log::winning_numbers(keys, draw, &rules, announcement, &head))
            }
            (None, None, ..) => None,
            _ => return wrong("its numbers come from another source than was announced"),
        };
        if numbers.is_some_and(|numbers| numbers.map(|pick| pick.mask()) != Ok(drawn)) {
            return wrong("its numbers do not follow from what was announced");
        }
    }
    let pick = row.get::<_, Option<i64>>("winning").map(|mask| rules.game.pick_from_mask(mask)).transpose();
    let Ok(pick) = pick else { return wrong("its numbers are not legal") };
    let completed = match (pick, sealed, settlement(row)?) {
        (Some(pick), Some((_, _, sealed_at)), Some(settled)) => {
            let (drawn_at, Times { sales_close_at, draw_at, .. }) = (row.get("drawn_at"), times);
            let times = DrawTimes { sealed_at, drawn_at, sales_close_at, draw_at };
            let after = row.get::<_, Option<i64>>("after_entry").map(i64::cast_unsigned);
            let numbers = (pick, Money::new(row.get("jackpot")));
            let logged_at = log.completed.as_ref().map_or(Timestamp::UNIX_EPOCH, at);
            let signed = (draw, signature);
            Some(public_log::completed(keys.keys(), signed, numbers, &settled, after, &times, logged_at))
        }
        _ => None,
    };
    if !are_same(keys, completed, log.completed.as_ref()) && !log.is_undone {
        return wrong("its result is not that of the public log");
    }
    let voided = row.get::<_, Option<&str>>("reason").map(|reason| {
        let is_sealed = log.sealed.is_some();
        public_log::voided(keys.keys(), draw, fairness, is_sealed, reason, row.get("cancelled_at"))
    });
    if !are_same(keys, voided, log.voided.as_ref()) {
        return wrong("its cancellation is not that of the public log");
    }
    Ok(Ok(()))
}

/// What is still to be done with a draw of a restored backup that is behind the log.
fn unfinished(row: &Row, is_rolled_back: bool) -> Option<&'static str> {
    let status = DrawStatus::parse(row.get("status"))?;
    match (row.get::<_, Option<&str>>("goes_on"), status) {
        _ if !is_rolled_back => None,
        (None, DrawStatus::Open | DrawStatus::Closed | DrawStatus::Settling) => {
            Some("what was sold after the backup that was restored is lost: cancel it")
        }
        (Some("sealed"), DrawStatus::Open)
        | (Some("completed"), DrawStatus::Open | DrawStatus::Closed)
        | (Some("voided"), DrawStatus::Open | DrawStatus::Closed | DrawStatus::Settling) => Some(
            "the backup that was restored has it in an earlier state than the public log: start the service, which does the rest",
        ),
        _ => None,
    }
}

/// The round of the times that were announced first.
fn first_round(round: &AnnouncedRound, announced: &Event) -> AnnouncedRound {
    let Event::DrawAnnounced { draw_at, .. } = announced else { return round.clone() };
    AnnouncedRound { chain: round.chain.clone(), round: round.chain.round_at(*draw_at) }
}

fn are_same(keys: &SecretKeys, expected: Option<Event>, entry: Option<&Event>) -> bool {
    match (expected, entry) {
        (Some(expected), Some(entry)) => keys.is_same(expected, entry),
        (expected, entry) => expected.is_none() && entry.is_none(),
    }
}

/// The announcement with the times that were announced first, and with its policy.
fn as_announced(mut expected: Event, announced: &Event) -> Event {
    if let (
        Event::DrawAnnounced { sales_close_at, draw_at, policy, .. },
        Event::DrawAnnounced { sales_close_at: close, draw_at: drawn, policy: of, .. },
    ) = (&mut expected, announced)
    {
        (*sales_close_at, *draw_at, *policy) = (*close, *drawn, *of);
    }
    expected
}

/// When an event of a draw was logged: some events have a time that no row has.
fn at(event: &Event) -> Timestamp {
    let (Event::DrawAnnounced { at, .. } | Event::DrawCompleted { at, .. }) = event else {
        return Timestamp::UNIX_EPOCH;
    };
    i64::try_from(*at).ok().and_then(|at| Timestamp::from_second(at).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The sealed list, if there is one.
fn seal(row: &Row) -> Result<Option<(i64, Head, Timestamp)>, DbError> {
    let Some(tickets) = row.get::<_, Option<i64>>("tickets") else { return Ok(None) };
    let root = row.get::<_, Option<&[u8]>>("root").and_then(|root| root.try_into().ok());
    match (row.get::<_, Option<i64>>("orders"), root) {
        (Some(orders), Some(root)) => {
            Ok(Some((tickets, Head { size: orders.cast_unsigned(), root }, row.get("sealed_at"))))
        }
        // Of this the invariant about ticket logs tells.
        _ => Ok(None),
    }
}

/// What was stored of the prizes, if they are fixed.
fn settlement(row: &Row) -> Result<Option<Settlement>, DbError> {
    let (Some(prize_fund), Some(rollover)) =
        (row.get::<_, Option<i64>>("prize_fund"), row.get::<_, Option<i64>>("rollover"))
    else {
        return Ok(None);
    };
    let (matches, winners, prizes): (Vec<i16>, Vec<Option<i64>>, Vec<Option<i64>>) =
        (row.get("matches"), row.get("winners"), row.get("prizes"));
    let tiers = matches.into_iter().zip(winners).zip(prizes).map(|((matches, winners), prize)| {
        let prize = Money::new(prize.unwrap_or(-1));
        let matches = u8::try_from(matches).map_err(|_| DbError::Corrupt("tier"))?;
        Ok(TierResult { matches, winners: winners.unwrap_or(0).unsigned_abs(), prize, total: Money::ZERO })
    });
    Ok(Some(Settlement {
        prize_fund: Money::new(prize_fund),
        tiers: tiers.collect::<Result<_, DbError>>()?,
        prizes: Money::ZERO,
        from_reserve: Money::ZERO,
        revenue: Money::ZERO,
        rollover: Money::new(rollover),
    }))
}
