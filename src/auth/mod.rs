//! Authentication: passwords, tokens, and the user access that decides what a user may do.
//!
//! Knows no SQL and no HTTP: what is stored is handed in and handed out. `now` comes in as an argument.
//! Entropy is drawn in two places only: salts in [`password`], secrets to keep in [`secret`]; refresh
//! tokens are made from a generator of the caller's.

pub mod access;
mod jwt;
pub mod password;
mod revoked;
pub mod secret;
pub mod token;

pub use access::{AccessCache, UserAccess};
pub use password::{HashError, Hasher, Password, PasswordError};
pub use secret::SecretError;
pub use token::{Claims, OpaqueToken, TokenError, Tokens};
