//! Tickets: ordered, reserved, expired, given back.
