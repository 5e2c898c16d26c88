//! Whole tables as files, for admins: from one snapshot, sent as fast as they are read and no faster.

use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::{self, Stream};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::auth_user::AuthUser;
use super::error::Problem;
use super::query::Query;
use super::state::State;
use crate::db::read::export::{Export, ExportTable};
use crate::domain::audit::{Action, AuditEntry, Subject};
use crate::domain::id::DrawId;
use crate::export::{self, ExportError, ExportFormat, Lines, TextFile};

/// Pieces that wait to be sent.
const PIECES: usize = 2;
/// Who takes nothing for so long has gone.
const STALLED: Duration = Duration::from_secs(60);
/// Of a file, read at a time.
const READ: usize = 64 * 1024;

/// A whole table as a file, from one snapshot.
#[utoipa::path(
    get, path = "/api/v1/admin/export/{table}", tag = "admin", operation_id = "export_table",
    params(
        ("table" = inline(ExportTable), Path),
        ("format" = inline(Option<ExportFormat>), Query, description = "CSV if not given."),
        ("draw_id" = Option<i64>, Query),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, content((String = "text/csv"), (String = "application/x-ndjson"), (String = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"))),
        (status = "default", description = "outcome_unknown"),
    ),
)]
pub async fn export(
    state: web::Data<State>,
    auth: AuthUser,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let table = request.match_info().get("table").and_then(ExportTable::parse);
    let table = table.ok_or_else(|| Problem::not_found("table"))?;
    let query = Query::of(&request, &["format", "draw_id"])?;
    let formats = query.all("format", ExportFormat::parse, "must be csv, ndjson or xlsx")?;
    let format = formats.last().copied().unwrap_or(ExportFormat::Csv);
    let draw = query.all("draw_id", |text| text.parse().ok(), "must be a draw's id")?.pop().map(DrawId);

    let place = state.exports.acquire()?;
    let client = state.db.dedicated().await?;
    let export = Export::begin(client, table, draw, state.currency).await?;
    let export = export.ok_or_else(|| Problem::not_found("draw"))?;
    let (action, subject, at) = (Action::Export, Subject::Table(table.as_str()), state.clock.now());
    let detail = json!({ "format": format.as_str(), "draw_id": draw });
    state.persistence.record(&AuditEntry { actor: Some(auth.user), action, subject, detail, at }).await?;

    let of = draw.map(|draw| format!("-draw-{draw}")).unwrap_or_default();
    let (name, at) = (table.as_str(), state.clock.now().strftime("%Y%m%dT%H%M%SZ"));
    let disposition = format!("attachment; filename=\"{name}{of}-{at}.{}\"", format.as_str());
    let mut response = HttpResponse::Ok();
    response.content_type(format.content_type()).insert_header((CONTENT_DISPOSITION, disposition));
    Ok(match format {
        ExportFormat::Csv => response.streaming(text(TextFile::new(export, Lines::Csv), place)),
        ExportFormat::Ndjson => response.streaming(text(TextFile::new(export, Lines::Ndjson), place)),
        ExportFormat::Xlsx => {
            // Only when it is whole is it known that it could be made.
            let file = export::workbook(export, |_| {}).await.map_err(Problem::internal)?;
            let length = file.metadata().map_err(Problem::internal)?.len();
            response.body(SizedStream::new(length, pieces(file, place)))
        }
    })
}

type ChunkResult = Result<Bytes, ExportError>;

fn text(file: TextFile, place: OwnedSemaphorePermit) -> impl Stream<Item = ChunkResult> {
    let next = async |file: &mut TextFile| file.piece().await.transpose();
    sent(file, place, next)
}

fn pieces(file: std::fs::File, place: OwnedSemaphorePermit) -> impl Stream<Item = ChunkResult> {
    let next = async |file: &mut tokio::fs::File| {
        let mut piece = vec![0; READ];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                Some(Ok(piece))
            }
            Err(error) => Some(Err(error.into())),
        }
    };
    sent(tokio::fs::File::from_std(file), place, next)
}

/// Takes pieces while there is somebody to take them. What is read from is let go at the end, however that
/// comes, also when the one who asked just stops to read.
fn sent<F: 'static>(
    mut file: F,
    place: OwnedSemaphorePermit,
    next: impl AsyncFn(&mut F) -> Option<Result<Vec<u8>, ExportError>> + 'static,
) -> impl Stream<Item = ChunkResult> {
    let (pieces, taken) = mpsc::channel(PIECES);
    actix_web::rt::spawn(async move {
        while let Some(piece) = next(&mut file).await {
            if let Err(error) = &piece {
                tracing::warn!(%error, "an export broke off");
            }
            let sent = tokio::time::timeout(STALLED, pieces.send(piece.map(Bytes::from)));
            if !matches!(sent.await, Ok(Ok(()))) {
                tracing::info!("an export was not read to its end");
                break;
            }
        }
        drop(place);
    });
    stream::unfold(taken, async |mut taken| taken.recv().await.map(|piece| (piece, taken)))
}
