//! How many tickets the active draws sold in the last minutes, for the dashboard of admins. A task samples the draw
//! snapshots, so a sale knows nothing of it. It forgets everything when the service ends.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::snapshots::DrawSnapshots;
use crate::domain::id::DrawId;

/// How often the snapshots are sampled.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// Samples that are kept: five minutes.
const SAMPLES: usize = 151;
/// A rate is that of the last samples: ten seconds.
const RATE_SAMPLES: usize = 5;

/// The last samples, shared by the task and the readers.
#[derive(Clone, Default)]
pub struct SalesHistory(Arc<Mutex<VecDeque<SalesSample>>>);

/// The tickets that each active draw had sold at one moment.
struct SalesSample {
    at: Instant,
    sold: HashMap<DrawId, i64>,
}

impl SalesSample {
    /// The tickets that each draw has sold since an earlier sample. A draw that was not active then had sold none.
    fn since(&self, before: &SalesSample) -> impl Iterator<Item = (DrawId, i64)> {
        self.sold.iter().map(|(draw, sold)| (*draw, sold - before.sold.get(draw).copied().unwrap_or(0)))
    }

    /// The same of all draws.
    fn all_since(&self, before: &SalesSample) -> i64 {
        self.since(before).map(|(_, sold)| sold).sum()
    }
}

/// The rates of the last seconds, and the sales before.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SalesRates {
    /// Tickets a second, of all draws and of each active one.
    pub total: f64,
    pub draws: HashMap<DrawId, f64>,
    /// Tickets sold in each interval, the oldest first.
    pub intervals: Vec<i64>,
}

impl SalesHistory {
    /// Samples the snapshots as long as the service runs.
    pub async fn run(self, snapshots: DrawSnapshots) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sold = snapshots.active().iter().map(|draw| (draw.id, draw.sold)).collect();
            self.add(SalesSample { at: Instant::now(), sold });
        }
    }

    fn add(&self, sample: SalesSample) {
        self.with(|samples| {
            samples.push_back(sample);
            if samples.len() > SAMPLES {
                samples.pop_front();
            }
        });
    }

    /// What was sold lately.
    pub fn rates(&self) -> SalesRates {
        self.with(|samples| {
            let intervals =
                samples.iter().zip(samples.iter().skip(1)).map(|(before, after)| after.all_since(before));
            let intervals = intervals.collect();
            let before = samples.iter().rev().nth(RATE_SAMPLES).or(samples.front());
            let Some((before, now)) = before.zip(samples.back()).filter(|(before, now)| before.at < now.at) else {
                return SalesRates { intervals, ..SalesRates::default() };
            };
            let seconds = (now.at - before.at).as_secs_f64();
            let rate = |sold: i64| sold as f64 / seconds;
            let draws = now.since(before).map(|(draw, sold)| (draw, rate(sold))).collect();
            SalesRates { total: rate(now.all_since(before)), draws, intervals }
        })
    }

    fn with<T>(&self, read: impl FnOnce(&mut VecDeque<SalesSample>) -> T) -> T {
        // A sample is added whole, so a poisoned lock can still be used.
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history with one sample each second, given by the draws and the tickets that they had sold.
    fn history(samples: &[&[(i64, i64)]]) -> SalesHistory {
        let (history, start) = (SalesHistory::default(), Instant::now());
        for (second, sold) in samples.iter().enumerate() {
            let sold = sold.iter().map(|(draw, sold)| (DrawId(*draw), *sold)).collect();
            history.add(SalesSample { at: start + Duration::from_secs(second as u64), sold });
        }
        history
    }

    #[test]
    fn without_two_samples_there_is_no_rate() {
        assert_eq!(history(&[]).rates(), SalesRates::default());
        assert_eq!(history(&[&[(1, 1000)]]).rates(), SalesRates::default());
    }

    #[test]
    fn a_rate_is_that_of_the_last_samples() {
        let rates = history(&[
            &[(1, 1000)],
            &[(1, 9000)],
            &[(1, 9010)],
            &[(1, 9020), (2, 0)],
            &[(1, 9030), (2, 40)],
            // The first draw is over.
            &[(2, 50)],
            &[(2, 60)],
        ])
        .rates();
        assert_eq!(rates.intervals, [8000, 10, 10, 50, 10, 10]);
        assert_eq!(rates.draws, HashMap::from([(DrawId(2), 12.0)]));
        assert_eq!(rates.total, 12.0);
    }

    #[test]
    fn old_samples_are_forgotten() {
        let samples: Vec<[(i64, i64); 1]> = (0..SAMPLES as i64 + 5).map(|sold| [(1, sold)]).collect();
        let samples: Vec<&[(i64, i64)]> = samples.iter().map(|sample| &sample[..]).collect();
        assert_eq!(history(&samples).rates().intervals.len(), SAMPLES - 1);
    }
}
