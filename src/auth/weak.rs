//! Refuses passwords that are guessed first, wherever a user sets one: common ones, the user's own names, and simple
//! sequences. Passwords that are stored already are not checked.
//!
//! `weak_passwords.txt` has the common ones, in lower case and sorted by their bytes: the 8,346 of at least 8
//! characters in Django's `common-passwords.txt`, which Royce Williams compiled from public leaks. Its licence (BSD, 3
//! clauses) is in `weak_passwords.LICENSE`.

use super::password::{Password, PasswordError};

static COMMON: &str = include_str!("weak_passwords.txt");

/// What a new password must be.
#[derive(Clone, Copy, Debug)]
pub struct PasswordPolicy {
    /// False: only the length counts.
    pub refuse_weak: bool,
}

impl PasswordPolicy {
    /// A password that the user with these names may set.
    ///
    /// ```
    /// use lottery::auth::{PasswordError, PasswordPolicy};
    ///
    /// let policy = PasswordPolicy { refuse_weak: true };
    /// assert!(policy.parse("battery staple", "ann", "ann@example.com").is_ok());
    /// assert_eq!(policy.parse("Password", "ann", "ann@example.com").unwrap_err(), PasswordError::Common);
    /// ```
    pub fn parse(self, text: &str, username: &str, email: &str) -> Result<Password, PasswordError> {
        let password = Password::parse(text)?;
        if self.refuse_weak {
            // People append spaces to get to the length.
            check_weakness(text.trim(), username, email)?;
        }
        Ok(password)
    }
}

fn check_weakness(text: &str, username: &str, email: &str) -> Result<(), PasswordError> {
    let text = text.to_lowercase();
    let local_part = email.split('@').next().unwrap_or(email);
    if [username, email, local_part].iter().any(|name| name.to_lowercase() == text) {
        Err(PasswordError::OwnName)
    } else if is_sequence(&text) {
        Err(PasswordError::Sequence)
    } else if is_common(&text) {
        Err(PasswordError::Common)
    } else {
        Ok(())
    }
}

/// Reads the whole list: that takes microseconds, and hashing the password takes tens of milliseconds.
fn is_common(text: &str) -> bool {
    COMMON.lines().any(|common| common == text)
}

/// Whether it is one repeated character, or each character follows the one before it (or precedes it), as in
/// 12345678 and hgfedcba.
fn is_sequence(text: &str) -> bool {
    let mut steps = text.chars().zip(text.chars().skip(1)).map(|(from, to)| step(from, to));
    let Some(first) = steps.next() else { return true };
    first.abs() <= 1 && steps.all(|step| step == first)
}

/// How far the second character is from the first. After 9 comes 0.
fn step(from: char, to: char) -> i64 {
    match (from.to_digit(10), to.to_digit(10)) {
        (Some(9), Some(0)) => 1,
        (Some(0), Some(9)) => -1,
        _ => i64::from(u32::from(to)) - i64::from(u32::from(from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password::MIN_CHARS;

    fn parse(text: &str) -> Result<(), PasswordError> {
        PasswordPolicy { refuse_weak: true }.parse(text, "Ann_b.c-9", "ann.of.kyiv@example.com").map(drop)
    }

    #[test]
    fn weak_passwords_are_refused_in_any_case() {
        for common in ["password", "PassWord1", "iloveyou", "qwertyuiop", " password ", "!qaz1qaz", "q1w2e3r4"] {
            assert_eq!(parse(common), Err(PasswordError::Common), "{common:?}");
        }
        for own in ["ann_b.c-9", "ANN_B.C-9", "Ann.Of.Kyiv@example.com", "ann.of.kyiv", "Ann.of.Kyiv  "] {
            assert_eq!(parse(own), Err(PasswordError::OwnName), "{own:?}");
        }
        for sequence in [
            "12345678",
            "1234567890123",
            "98765432109",
            "abcdefgh",
            "IHGFEDCBA",
            "aaaaAAAA",
            "ыыыыыыыы",
            "абвгдежз",
            "        ",
            "a       ",
        ] {
            assert_eq!(parse(sequence), Err(PasswordError::Sequence), "{sequence:?}");
        }
    }

    #[test]
    fn other_passwords_are_accepted() {
        for good in
            ["battery staple", "correct horse", "ann.of.kyiv!", "example.com", "aaaabbbb", "13579135", "12345 67"]
        {
            assert_eq!(parse(good), Ok(()), "{good:?}");
        }
        assert_eq!(parse("1234567"), Err(PasswordError::TooShort));
        let lenient = PasswordPolicy { refuse_weak: false };
        assert!(lenient.parse("password", "password", "password@example.com").is_ok());
        assert_eq!(lenient.parse("passwor", "", "").map(drop), Err(PasswordError::TooShort));
    }

    #[test]
    fn the_list_is_sorted_and_has_no_entry_that_never_matches() {
        assert!(COMMON.lines().is_sorted_by(|one, next| one < next));
        assert_eq!(COMMON.lines().count(), 8346);
        for common in COMMON.lines() {
            assert_eq!(common, common.trim().to_lowercase());
            assert!(common.chars().count() >= MIN_CHARS, "{common}");
        }
    }
}
