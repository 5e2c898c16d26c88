//! What a draw that anyone can verify computes: Merkle trees, signed checkpoints, cosignatures, receipts, entries, keys
//! and drawn numbers. The service writes with it, and the verifier reads with it.
//!
//! This crate does no I/O, reads no clock and makes no randomness: every function maps its arguments to a result.
//! `docs/verifiable-draw.md` of the service describes each byte layout.

// The example of the README is compiled and run as a test.
#![cfg_attr(doctest, doc = include_str!("../README.md"))]

pub mod beacon;
pub mod bundle;
pub mod canonical;
pub mod checkpoint;
pub mod cosignature;
mod encoding;
pub mod event;
pub mod keys;
pub mod merkle;
pub mod note;
pub mod numbers;
pub mod order;
pub mod policy;
pub mod prizes;
pub mod proof;
pub mod transcript;
pub mod trusted_keys;
pub mod vkey;

/// A SHA-256 hash: of a leaf, of a node, or the root of a tree.
pub type Hash = [u8; 32];
