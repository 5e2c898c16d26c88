//! Roles, user statuses, the names that users choose, and how long their sessions last. This file knows no passwords and
//! no tokens (see [`crate::auth`]), but the hashes by which refresh tokens are found.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a user may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Player,
    Admin,
}

/// Whether a user may do anything at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    Active,
    Blocked,
}

/// How long a session lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionLifetimes {
    /// Without a refresh.
    pub unused: Duration,
    /// However often it is refreshed.
    pub age: Duration,
}

impl SessionLifetimes {
    /// When a refresh token expires that is issued now.
    pub fn expires_at(self, created_at: Timestamp, now: Timestamp) -> Timestamp {
        (now + self.unused).min(created_at + self.age)
    }
}

/// The SHA-256 of a refresh token and of its family: the bytes that all refresh tokens of a session begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefreshTokenHashes {
    pub token: [u8; 32],
    pub family: [u8; 32],
}

impl Role {
    pub const ALL: [Role; 2] = [Role::Player, Role::Admin];

    /// As the database writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Player => "player",
            Role::Admin => "admin",
        }
    }

    /// The inverse of [`Role::as_str`].
    pub fn parse(text: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl UserStatus {
    pub const ALL: [UserStatus; 2] = [UserStatus::Active, UserStatus::Blocked];

    /// As the database writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            UserStatus::Active => "active",
            UserStatus::Blocked => "blocked",
        }
    }

    /// The inverse of [`UserStatus::as_str`].
    pub fn parse(text: &str) -> Option<UserStatus> {
        UserStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Why a name or an address was refused; the text is for the user who typed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    #[error("must be 3 to 32 characters of A-Z, a-z, 0-9, `_`, `.` and `-`")]
    Username,
    #[error("must be an email address such as ann@example.com, at most 254 characters")]
    Email,
    #[error("must be 1 to 100 printable characters")]
    Name,
}

/// A log-in name: `[A-Za-z0-9_.-]{3,32}`, unique regardless of case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Username(String);

impl Username {
    pub fn parse(text: &str) -> Result<Username, NameError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if (3..=32).contains(&text.len()) && text.chars().all(legal) {
            Ok(Username(text.to_owned()))
        } else {
            Err(NameError::Username)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An email address. Only its form is checked: it may belong to nobody, which only a message sent there would
/// show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Email(String);

impl Email {
    /// At most 254 characters (RFC 5321, section 4.5.3.1.3, minus the brackets), one `@` with something
    /// before and after it, a dot in the domain, no white space and no control characters.
    pub fn parse(text: &str) -> Result<Email, NameError> {
        let shaped = text.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && local.len() <= 64
                && !domain.contains('@')
                && domain.contains('.')
                && domain.split('.').all(|label| !label.is_empty())
        });
        let clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
        if shaped && clean && text.len() <= 254 { Ok(Email(text.to_owned())) } else { Err(NameError::Email) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name by which a user wants to be addressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name(String);

impl Name {
    pub fn parse(text: &str) -> Result<Name, NameError> {
        let trimmed = text.trim();
        if (1..=100).contains(&trimmed.chars().count()) && !trimmed.chars().any(char::is_control) {
            Ok(Name(trimmed.to_owned()))
        } else {
            Err(NameError::Name)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_not_trusted() {
        for good in ["ann", "Ann_b.c-9", &"a".repeat(32)] {
            assert!(Username::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "an", "ann b", "анна", "a\0b", &"a".repeat(33)] {
            assert_eq!(Username::parse(bad), Err(NameError::Username), "{bad}");
        }
        for good in ["ann@example.com", "a+b@x.y.z", "анна@почта.рф"] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "ann", "@x.y", "a@", "a@b", "a@b..c", "a@@b.c", "a b@c.d", "a@b.c\0"] {
            assert_eq!(Email::parse(bad), Err(NameError::Email), "{bad}");
        }
        assert_eq!(Name::parse("  Ann ").map(|name| name.as_str().to_owned()), Ok("Ann".to_owned()));
        assert_eq!(Name::parse("a\0"), Err(NameError::Name));
        assert_eq!(Name::parse("  "), Err(NameError::Name));
    }
}
