//! Authentication: passwords, tokens, sessions, and the user access that decides what a user may do.
//!
//! This module knows no SQL and no HTTP: the caller loads and stores what it needs. `now` is an argument.
//! Random numbers come from the operating system in two files only, for salts in [`password`] and for stored
//! secrets in [`secret`]; for opaque tokens the caller passes a generator.

mod access;
mod cache;
pub mod hasher;
mod jwt;
pub mod master_secret;
pub mod password;
pub mod secret;
pub mod token;
mod weak;

pub use access::{AccessCache, MAX_SESSIONS, MAX_USERS, SessionCache, UserAccess};
pub use hasher::{Hasher, PasswordUse};
pub use password::{HashError, Password, PasswordError};
pub use secret::SecretError;
pub use token::{Claims, OpaqueToken, TokenError, Tokens};
pub use weak::PasswordPolicy;
