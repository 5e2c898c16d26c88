//! The draw, decision by decision.
