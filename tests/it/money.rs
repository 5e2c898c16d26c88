//! Wallets, payments, refunds: what must never happen to money.
