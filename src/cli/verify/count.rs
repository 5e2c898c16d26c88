//! The full count of a sealed list: bundles are read and hashed on several threads, and added in their order.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use verifiable_draw::event::PublishedRules;
use verifiable_draw::merkle::tiles::Tile;
use verifiable_draw::transcript::list::{ListCount, ListError, ReadBundle, bundles, read_bundle};
use verifiable_draw::transcript::receipt::ProvenOrder;
use verifiable_draw::transcript::{VerificationReport, VerifiedDraw};

use super::source::LogSource;
use crate::cli::{CliError, progress};

/// Bundles that are read ahead. A bundle of ordinary orders has 30 KB.
pub const BUNDLES_AHEAD: usize = 8;

/// Counts the list of a sealed draw. `receipt`: an order that must be in it.
pub async fn count(
    source: &LogSource,
    draw: &VerifiedDraw,
    receipt: Option<&ProvenOrder>,
    report: &mut VerificationReport,
) -> Result<(), CliError> {
    let Some(sealed) = draw.sealed else { return Ok(()) };
    let mut count = ListCount::new();
    if let Some(order) = receipt {
        count = count.with_receipt(order.head, order.index, order.leaf);
    }
    let winning = draw.result.as_ref().map(|result| result.winning_numbers.clone()).unwrap_or_default();
    let expected = Arc::new((draw.rules.clone(), winning));
    let bar = progress::count("Counting orders", sealed.head.size);
    let mut read = stream::iter(bundles(sealed.head.size))
        .map(|tile| read_one(source.clone(), tile, Arc::clone(&expected)))
        .buffered(BUNDLES_AHEAD);
    while let Some(bundle) = read.next().await {
        let (tile, bundle) = bundle?;
        if let Err(error) = bundle.and_then(|bundle| count.add(tile, bundle)) {
            report.add_failure(format!("The bundle {} does not hold: {error}.", tile.path()));
            return Ok(());
        }
        bar.set_position(count.orders());
    }
    bar.finish_and_clear();
    count.finish(draw, report);
    Ok(())
}

async fn read_one(
    source: LogSource,
    tile: Tile,
    expected: Arc<(PublishedRules, Vec<u8>)>,
) -> Result<(Tile, Result<ReadBundle, ListError>), CliError> {
    let bytes = source.read(tile).await?;
    let read = tokio::task::spawn_blocking(move || read_bundle(&bytes, &expected.0, &expected.1)).await;
    let read = read.map_err(|error| CliError::Refused(format!("a bundle could not be counted: {error}")))?;
    Ok((tile, read))
}
