//! The formats of a verifiable draw, compared with other implementations and with published vectors.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod alterations;
mod key_changes;
mod merkle;
mod numbers;
mod orders;
mod policy;
mod stories;
mod texts;
mod transcripts;
mod vectors;
mod voids;
