//! The way of results back to the draws that decided the records. This file sends nothing.

use crate::domain::draw::WriteResult;

/// Groups results by the draw actor `D` that gets them. An actor gets all its results in one message, in the order of
/// its records.
pub fn group_by_draw<D: PartialEq, W>(
    results: impl Iterator<Item = (D, WriteResult<W>)>,
) -> Vec<(D, Vec<WriteResult<W>>)> {
    let mut by_draw: Vec<(D, Vec<WriteResult<W>>)> = Vec::new();
    for (draw, result) in results {
        match by_draw.iter_mut().find(|(other, _)| *other == draw) {
            Some((_, results)) => results.push(result),
            None => by_draw.push((draw, vec![result])),
        }
    }
    by_draw
}
