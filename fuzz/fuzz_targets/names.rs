//! Fuzzes the parsers of usernames, email addresses, passwords, currencies and schedules.
#![no_main]

use jiff::SignedDuration;
use libfuzzer_sys::fuzz_target;
use lottery::auth::Password;
use lottery::domain::money::Currency;
use lottery::domain::schedule::Schedule;
use lottery::domain::user::{Email, Username};

fuzz_target!(|text: (&str, &str)| {
    let _ = (Username::parse(text.0), Email::parse(text.0), Password::parse(text.0), text.0.parse::<Currency>());
    let _ = Schedule::new(text.0, text.1, SignedDuration::from_hours(48), SignedDuration::from_mins(15));
});
