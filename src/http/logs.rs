//! The logs that anybody can verify: the public log, the ticket log of each draw, and the proofs of a draw's entries. The
//! addresses and the forms are those of C2SP tlog-tiles.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;
use verifiable_draw::Hash;
use verifiable_draw::bundle::write_entry;
use verifiable_draw::event::Event;
use verifiable_draw::merkle::tiles::{Tile, TileKind};
use verifiable_draw::proof::receipt_text;

use super::error::{Code, Problem};
use super::query::path_id;
use super::state::State;
use crate::actors::public_log::PublishedHead;
use crate::db::DbError;
use crate::db::read::ticket_log::{self, StoredTicketLog};
use crate::db::read::{beacon, draws, public_log, witnesses};
use crate::domain::id::DrawId;
use crate::domain::witness_policy::{WitnessPolicy, best_head, cosigned_before, is_timed};

/// Tiles do not change: a partial one is the beginning of those that follow.
const FOR_GOOD: (actix_web::http::header::HeaderName, &str) =
    (CACHE_CONTROL, "public, max-age=31536000, immutable");
const NOT_KEPT: (actix_web::http::header::HeaderName, &str) = (CACHE_CONTROL, "no-cache");

/// A log as it is now.
enum Log {
    Public(Arc<PublishedHead>),
    Tickets(Box<StoredTicketLog>),
}

impl Log {
    fn of_service(state: &State) -> Log {
        Log::Public(state.public_log.published())
    }

    async fn of_draw(state: &State, request: &HttpRequest) -> Result<Log, Problem> {
        let log = ticket_log_of(state, DrawId(path_id(request, "draw")?)).await?;
        Ok(Log::Tickets(Box::new(log)))
    }

    fn size(&self) -> u64 {
        match self {
            Log::Public(published) => published.head.size,
            Log::Tickets(log) => log.head().size,
        }
    }

    fn checkpoint(&self) -> HttpResponse {
        let checkpoint = match self {
            Log::Public(published) => published.checkpoint.clone(),
            Log::Tickets(log) => log.checkpoint(),
        };
        HttpResponse::Ok().content_type(ContentType::plaintext()).insert_header(NOT_KEPT).body(checkpoint)
    }

    async fn tile(&self, state: &State, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        let absent = || Problem::not_found("tile");
        let path = format!("tile/{}", request.match_info().get("tile").unwrap_or_default());
        let tile = Tile::parse(&path).ok_or_else(absent)?;
        let known = Tile::of_tree(tile.kind, tile.index, self.size()).ok_or_else(absent)?;
        if tile.width > known.width {
            return Err(absent());
        }
        let bytes = match tile.kind {
            TileKind::Hashes { level } => self.hashes(state, level, tile).await?.concat(),
            TileKind::Entries => {
                let mut bundle = Vec::new();
                for entry in self.entries(state, tile).await? {
                    write_entry(&mut bundle, &entry).map_err(Problem::internal)?;
                }
                bundle
            }
        };
        Ok(HttpResponse::Ok().content_type(ContentType::octet_stream()).insert_header(FOR_GOOD).body(bytes))
    }

    async fn hashes(&self, state: &State, level: u8, tile: Tile) -> Result<Vec<Hash>, Problem> {
        Ok(match self {
            Log::Public(_) => public_log::hashes(&state.db, level, tile.index, tile.width).await?,
            Log::Tickets(log) => log.hashes(&state.db, level, tile.index, tile.width).await?,
        })
    }

    async fn entries(&self, state: &State, tile: Tile) -> Result<Vec<Vec<u8>>, Problem> {
        match self {
            Log::Public(_) => {
                let first = tile.index * u64::from(verifiable_draw::merkle::tiles::TILE_WIDTH);
                Ok(public_log::entries(&state.db, first, tile.width.into()).await?)
            }
            Log::Tickets(log) if log.is_sealed() => {
                let orders = log.entries(&state.db, tile.index, tile.width).await?;
                Ok(orders.into_iter().map(|order| order.entry).collect())
            }
            Log::Tickets(_) => Err(Code::DrawNotSealed.into()),
        }
    }
}

/// The ticket log of a draw.
async fn ticket_log_of(state: &State, draw: DrawId) -> Result<StoredTicketLog, Problem> {
    if let Some(log) = ticket_log::read(&state.db, state.persistence.ticket_logs(), draw).await? {
        return Ok(log);
    }
    match draws::one(&state.db, draw).await? {
        Some(_) => Err(Code::DrawNotVerifiable.into()),
        None => Err(Problem::not_found("draw")),
    }
}

/// The keys with which everybody verifies.
#[derive(Serialize, ToSchema)]
#[schema(as = Keys, example = json!({
    "log": "lottery.example/api/v1/log+8eca5d19+AcnAQ5jpQ1xCrbnDTpkTX05FznQW7lYyBOGbkMqmNrGo", "policy": null, "changes": []
}))]
pub struct KeysBody {
    /// The key that signs the checkpoints of the public log, as a vkey of C2SP signed-note. Its name is the log's origin. The
    /// key of a draw's ticket log is in the entry that announces the draw.
    log: String,
    /// The witnesses that cosign the public log, as a policy of C2SP tlog-policy. Null: there are none.
    #[schema(required)]
    policy: Option<String>,
    /// How the log's keys followed one another, the oldest change first: proofs (C2SP tlog-proof) of the entries `key_added`, each
    /// under a head that the key before has signed, and `key_retired`, each under a head that the key after has signed.
    changes: Vec<String>,
}

/// The keys with which everybody verifies draws.
///
/// Keep them, and ask others what they got: keys that come from the service alone prove only that it agrees with itself.
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "logs", operation_id = "get_keys",
    responses((status = 200, body = KeysBody)),
)]
pub async fn keys(state: web::Data<State>) -> web::Json<KeysBody> {
    let policy = state.public_log.policy().map(|policy| policy.text().to_owned());
    let changes = state.public_log.key_changes().to_vec();
    web::Json(KeysBody { log: state.public_log.key().to_string(), policy, changes })
}

/// The witnesses of the public log.
///
/// A policy of C2SP tlog-policy, byte for byte: the SHA-256 of these bytes is in the entry of each draw that is announced now.
/// Not found: the log has no witnesses.
#[utoipa::path(
    get, path = "/api/v1/log/policy", tag = "logs", operation_id = "get_log_policy",
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = "default", description = "not_found"),
    ),
)]
pub async fn policy(state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let policy = state.public_log.policy().ok_or_else(|| Problem::not_found("policy"))?;
    let text = policy.text().to_owned();
    Ok(HttpResponse::Ok().content_type(ContentType::plaintext()).insert_header(NOT_KEPT).body(text))
}

/// What the public log says of a draw until now.
#[derive(Serialize, ToSchema)]
#[schema(as = DrawProof, example = json!({
    "draw_id": 7, "policy": null, "entries": [{
        "entry": "eyJhdCI6MTkwMzk1MzYwMCwi…",
        "proof": "c2sp.org/tlog-proof@v1\nextra eyJhdCI6MTkwMzk1MzYwMCwi…\nindex 41\n…\n\nlottery.example/api/v1/log\n44\n…"
    }]
}))]
pub struct DrawProofBody {
    /// The draw.
    draw_id: DrawId,
    /// The policy of the witnesses that the draw was announced with: its SHA-256 is in the announcement. Null: there was none.
    #[schema(required)]
    policy: Option<String>,
    /// The draw's entries of the public log, in their order: its announcement, new times, its seal, its completion or
    /// cancellation.
    entries: Vec<ProvedEntry>,
}

/// An entry of the public log.
#[derive(Serialize, ToSchema)]
struct ProvedEntry {
    /// The bytes of the entry, canonical JSON, in base64.
    entry: String,
    /// Proves that the log has the entry, in the text format of C2SP tlog-proof. For a seal, new times and a cancellation its
    /// checkpoint is the first that the witnesses cosigned, with their first cosignatures; for the others it is the newest.
    proof: String,
}

/// Everything that is needed to verify a draw offline.
///
/// The list of its orders is in the entry bundles of its ticket log, once it is sealed.
#[utoipa::path(
    get, path = "/api/v1/draws/{id}/proof", tag = "logs", operation_id = "get_draw_proof",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`.")),
    responses((status = 200, body = DrawProofBody), (status = "default", description = "draw_not_verifiable")),
)]
pub async fn draw_proof(
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<web::Json<DrawProofBody>, Problem> {
    let draw = DrawId(path_id(&request, "draw")?);
    let (published, mut entries) = (state.public_log.published(), Vec::new());
    let size = published.head.size;
    let (mut policy, mut cut_off) = (None, None);
    for (index, entry) in public_log::of_draw(&state.db, draw, size).await? {
        let mut cosigned = None;
        if let Ok(event) = Event::parse(&entry) {
            if let Event::DrawAnnounced { policy: Some(hash), .. } = &event {
                policy = Some(witnesses::announced_policy(&state.db, hash).await?);
            }
            if is_timed(&event) {
                // New times and a cancellation count from before the end of the sale, a seal from before the round.
                let before = match event {
                    Event::DrawSealed { .. } => cosigned_before_round(&state, draw).await?,
                    _ => cut_off,
                };
                if let Some(policy) = &policy {
                    cosigned = cosigned_head(&state, index, &published, policy, before).await?;
                }
            }
            if let Event::DrawAnnounced { sales_close_at, .. } | Event::DrawRescheduled { sales_close_at, .. } =
                event
            {
                cut_off = Some(sales_close_at);
            }
        }
        let shown = cosigned.as_ref().unwrap_or(&published);
        let hashes = public_log::inclusion_proof(&state.db, index, shown.head.size).await?;
        let proof = receipt_text(Some(&entry), index, &hashes, &shown.checkpoint);
        entries.push(ProvedEntry { entry: STANDARD.encode(&entry), proof });
    }
    if entries.is_empty() {
        let shown = draws::one(&state.db, draw).await?;
        return Err(shown.map_or_else(|| Problem::not_found("draw"), |_| Code::DrawNotVerifiable.into()));
    }
    let policy = policy.map(|policy| policy.text().to_owned());
    Ok(web::Json(DrawProofBody { draw_id: draw, policy, entries }))
}

/// Until when cosignatures of the seal count. `None`: the draw has no beacon.
async fn cosigned_before_round(state: &State, draw: DrawId) -> Result<Option<u64>, Problem> {
    let round = beacon::announced_round(&state.db, draw).await?;
    Ok(round.map(|round| cosigned_before(round.at())))
}

/// The checkpoint with which the entry at this index is proved, if the witnesses have cosigned one: `before` this time if
/// possible.
async fn cosigned_head(
    state: &State,
    index: u64,
    published: &Arc<PublishedHead>,
    policy: &WitnessPolicy,
    before: Option<u64>,
) -> Result<Option<Arc<PublishedHead>>, Problem> {
    let log = &state.public_log;
    let sizes = (index, published.head.size);
    let heads = witnesses::cosigned_heads(&state.db, log.log_keys(), policy, sizes).await?;
    let Some(cosigned) = best_head(policy, &heads, before) else { return Ok(None) };
    let head = public_log::older_head(&state.db, cosigned.head.size, &published.head).await?;
    if head != cosigned.head {
        return Err(DbError::Corrupt("a cosigned head is not one of the public log").into());
    }
    let checkpoint = log.sign(&head) + &cosigned.lines;
    Ok(Some(Arc::new(PublishedHead { head, checkpoint })))
}

/// The signed head of the public log.
///
/// A checkpoint of C2SP tlog-checkpoint: what happens to a draw is logged in the same step, and the next checkpoint has it.
#[utoipa::path(
    get, path = "/api/v1/log/checkpoint", tag = "logs", operation_id = "get_log_checkpoint",
    responses((status = 200, body = String, content_type = "text/plain")),
)]
pub async fn public_checkpoint(state: web::Data<State>) -> HttpResponse {
    Log::of_service(&state).checkpoint()
}

/// A tile of the public log, or a bundle of its entries.
///
/// As C2SP tlog-tiles has them; a partial tile ends in `.p/` and its width.
#[utoipa::path(
    get, path = "/api/v1/log/tile/{tile}", tag = "logs", operation_id = "get_log_tile",
    params(("tile" = String, Path, description = "`<L>/<N>` or `entries/<N>`, both with `.p/<W>` if the tile is partial.", example = "entries/000.p/1")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")),
)]
pub async fn public_tile(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Log::of_service(&state).tile(&state, &request).await
}

/// The signed head of a draw's ticket log.
///
/// It has one entry for each paid order, in the order of the ticket numbers. From the seal on it does not change.
#[utoipa::path(
    get, path = "/api/v1/draws/{id}/log/checkpoint", tag = "logs", operation_id = "get_ticket_log_checkpoint",
    params(("id" = i64, Path, description = "The draw's `id`, not its `number`.")),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = "default", description = "draw_not_verifiable"),
    ),
)]
pub async fn ticket_checkpoint(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Ok(Log::of_draw(&state, &request).await?.checkpoint())
}

/// A tile of a draw's ticket log, or a bundle of its entries.
///
/// Bundles are public from the seal on: before, others could choose rare numbers with them.
#[utoipa::path(
    get, path = "/api/v1/draws/{id}/log/tile/{tile}", tag = "logs", operation_id = "get_ticket_log_tile",
    params(
        ("id" = i64, Path, description = "The draw's `id`, not its `number`."),
        ("tile" = String, Path, description = "`<L>/<N>` or `entries/<N>`, both with `.p/<W>` if the tile is partial.", example = "entries/000.p/1"),
    ),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", description = "draw_not_verifiable draw_not_sealed"),
    ),
)]
pub async fn ticket_tile(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Log::of_draw(&state, &request).await?.tile(&state, &request).await
}
