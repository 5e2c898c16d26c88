//! Who somebody is: passwords, tokens, and the standing that decides what they may do.
//!
//! Knows no SQL and no HTTP: what is stored is handed in and handed out. `now` comes in as an argument.
//! Entropy is drawn in two places only: salts in [`password`], secrets to keep in [`secret`]; refresh
//! tokens are made from a generator of the caller's.

mod ended;
pub mod password;
pub mod secret;
pub mod standing;
pub mod token;

pub use password::{HashError, Hasher, Password, PasswordError};
pub use secret::SecretError;
pub use standing::{Load, Standing, Standings};
pub use token::{Claims, OpaqueToken, TokenError, Tokens};
