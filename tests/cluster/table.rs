//! The figures of one fault, as a row of a table.

use std::fmt;
use std::time::Duration;

#[derive(Default)]
pub struct Row {
    /// For each round, the longest time in which nothing was sold.
    pauses: Vec<Duration>,
    /// For each round, how long the slowest call took with all its tries.
    slowest: Vec<Duration>,
}

impl Row {
    pub fn add(&mut self, pause: Duration, slowest: Duration) {
        self.pauses.push(pause);
        self.slowest.push(slowest);
    }
}

/// The value that this share of the values does not exceed.
fn quantile(values: &[Duration], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort();
    let at = (share * values.len() as f64).ceil() as usize;
    values.get(at.max(1) - 1).copied().unwrap_or_default().as_secs_f64()
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "|                            | median  | p99     | max     |")?;
        writeln!(f, "|----------------------------|---------|---------|---------|")?;
        for (name, values) in [("nothing sold for", &self.pauses), ("slowest call of a round", &self.slowest)] {
            let [median, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(values, share));
            writeln!(f, "| {name:<26} | {median:>5.2} s | {p99:>5.2} s | {max:>5.2} s |")?;
        }
        Ok(())
    }
}
