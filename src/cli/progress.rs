//! Progress bars, on a terminal only. Every column has a width of its own, so that nothing moves but the bar.

use std::fmt::Write;

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

const COUNT: &str = "{prefix:20!} {wide_bar} {human_pos:>9} of {human_len:<9} {rate:>9}/s";
/// The name of a step may be longer than the line, so it is the last column, and is cut off.
const STEPS: &str = "{prefix:20!} {bar:20} {pos:>3} of {len:<3} {wide_msg}";

/// A bar that counts things, with how many there are in a second.
pub fn count(what: &'static str, length: u64) -> ProgressBar {
    bar(COUNT, what, length)
}

/// A bar that counts steps. The name of the present step is its message.
pub fn steps(what: &'static str) -> ProgressBar {
    bar(STEPS, what, 0)
}

fn bar(template: &str, what: &'static str, length: u64) -> ProgressBar {
    // The templates are constants and valid; a default bar would do as well.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, to: &mut dyn Write| {
        let _ = write!(to, "{}", HumanCount(state.per_sec().round() as u64));
    };
    ProgressBar::new(length).with_style(style.with_key("rate", rate)).with_prefix(what)
}
