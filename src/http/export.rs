//! The call that exports a whole table as a file, for admins: from one snapshot, and only as fast as the client
//! reads.

use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::{self, Stream};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::audit;
use super::auth_user::AdminUser;
use super::error::Problem;
use super::query::Query;
use super::state::State;
use crate::db::read::export::{Export, ExportTable};
use crate::domain::audit::{Action, Subject};
use crate::domain::id::DrawId;
use crate::export::{self, ExportError, ExportFormat, TextFile, TextFormat};

/// Chunks that are read ahead of a slow client.
const CHUNKS_AHEAD: usize = 2;
/// A client that takes no chunk for so long is given up.
const STALLED: Duration = Duration::from_secs(60);
/// Bytes that are read from a file at a time.
const READ_SIZE: usize = 64 * 1024;

/// A whole table as a file.
///
/// From one snapshot, streamed as fast as the client reads. Amounts are in minor units, times in UTC. Each export is recorded in the
/// audit log.
#[utoipa::path(
    get, path = "/api/v1/admin/export/{table}", tag = "admin", operation_id = "export_table",
    params(
        ("table" = ExportTable, Path, description = "What to export."),
        ("format" = Option<ExportFormat>, Query, description = "The format of the file. CSV if not given."),
        ("draw_id" = Option<i64>, Query, description = "Only the rows of this draw."),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, content((String = "text/csv"), (String = "application/x-ndjson"), (String = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
    ),
)]
pub async fn export(
    state: web::Data<State>,
    AdminUser(actor): AdminUser,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let table = request.match_info().get("table").and_then(ExportTable::parse);
    let table = table.ok_or_else(|| Problem::not_found("table"))?;
    let query = Query::of(&request, &["format", "draw_id"])?;
    let formats = query.all("format", ExportFormat::parse, "must be csv, ndjson or xlsx")?;
    let format = formats.last().copied().unwrap_or(ExportFormat::Csv);
    let draw = query.all("draw_id", |text| text.parse().ok(), "must be a draw's id")?.pop().map(DrawId);
    if draw.is_some() && !table.is_by_draw() {
        return Err(Problem::field("draw_id", format!("leave it out: {} is of all draws", table.as_str())));
    }

    let slot = state.exports.acquire()?;
    let client = state.db.dedicated().await?;
    let export = Export::begin(client, table, draw, state.currency).await?;
    let export = export.ok_or_else(|| Problem::not_found("draw"))?;
    let detail = json!({ "format": format.as_str(), "draw_id": draw });
    audit::record_read(&state, actor, Action::Export, [Subject::Table(table.as_str())], detail).await?;

    let of = draw.map(|draw| format!("-draw-{draw}")).unwrap_or_default();
    let (name, at) = (table.as_str(), state.clock.now().strftime("%Y%m%dT%H%M%SZ"));
    let disposition = format!("attachment; filename=\"{name}{of}-{at}.{}\"", format.as_str());
    let mut response = HttpResponse::Ok();
    response.content_type(format.content_type()).insert_header((CONTENT_DISPOSITION, disposition));
    Ok(match format {
        ExportFormat::Csv => response.streaming(text(TextFile::new(export, TextFormat::Csv), slot)),
        ExportFormat::Ndjson => response.streaming(text(TextFile::new(export, TextFormat::Ndjson), slot)),
        ExportFormat::Xlsx => {
            // A workbook may fail until it is complete, so it is finished before the response begins.
            let file = export::workbook(export, |_| {}).await.map_err(Problem::internal)?;
            let length = file.metadata().map_err(Problem::internal)?.len();
            response.body(SizedStream::new(length, file_chunks(file, slot)))
        }
    })
}

type ChunkResult = Result<Bytes, ExportError>;

fn text(file: TextFile, slot: OwnedSemaphorePermit) -> impl Stream<Item = ChunkResult> {
    let next = async |file: &mut TextFile| file.next_chunk().await.transpose();
    stream_chunks(file, slot, next)
}

fn file_chunks(file: std::fs::File, slot: OwnedSemaphorePermit) -> impl Stream<Item = ChunkResult> {
    let next = async |file: &mut tokio::fs::File| {
        let mut chunk = vec![0; READ_SIZE];
        match file.read(&mut chunk).await {
            Ok(0) => None,
            Ok(length) => {
                chunk.truncate(length);
                Some(Ok(chunk))
            }
            Err(error) => Some(Err(error.into())),
        }
    };
    stream_chunks(tokio::fs::File::from_std(file), slot, next)
}

/// Streams the chunks of a file as long as the client takes them. The file and the slot are released at the end,
/// also when the client only stops reading.
fn stream_chunks<F: 'static>(
    mut file: F,
    slot: OwnedSemaphorePermit,
    next: impl AsyncFn(&mut F) -> Option<Result<Vec<u8>, ExportError>> + 'static,
) -> impl Stream<Item = ChunkResult> {
    let (chunks, taken) = mpsc::channel(CHUNKS_AHEAD);
    actix_web::rt::spawn(async move {
        while let Some(chunk) = next(&mut file).await {
            if let Err(error) = &chunk {
                tracing::warn!(%error, "an export failed before its end");
            }
            let send = tokio::time::timeout(STALLED, chunks.send(chunk.map(Bytes::from)));
            if !matches!(send.await, Ok(Ok(()))) {
                tracing::info!("the client stopped reading an export");
                break;
            }
        }
        drop(slot);
    });
    stream::unfold(taken, async |mut taken| taken.recv().await.map(|chunk| (chunk, taken)))
}
