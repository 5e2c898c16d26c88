//! Idempotency keys over HTTP.
