//! Metrics that the dashboard reads, too. Prometheus's handles can only be written, so these handles keep the last values
//! and pass them on. A value is recorded for each batch of the writer, not for each purchase.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use metrics::{Gauge, GaugeFn, Histogram, HistogramFn};

/// Batches that the latency of a commit is told of.
const BATCHES: usize = 512;

/// The seconds that the last batches took.
pub struct RecentCommits {
    micros: [AtomicU32; BATCHES],
    /// Batches ever.
    count: AtomicUsize,
    all: Histogram,
}

/// How long the last commits took, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CommitLatency {
    /// Of how many batches. 0: the rest says nothing.
    pub batches: usize,
    pub p50: f64,
    pub p99: f64,
}

impl RecentCommits {
    /// Passes each value on to this histogram.
    pub fn new(all: Histogram) -> RecentCommits {
        RecentCommits { micros: std::array::from_fn(|_| AtomicU32::new(0)), count: AtomicUsize::new(0), all }
    }

    pub fn latency(&self) -> CommitLatency {
        let batches = self.count.load(Ordering::Acquire).min(BATCHES);
        let mut micros: Vec<u32> =
            self.micros[..batches].iter().map(|micros| micros.load(Ordering::Relaxed)).collect();
        micros.sort_unstable();
        let quantile = |percent: usize| {
            let at = (batches * percent).div_ceil(100).max(1) - 1;
            micros.get(at).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        CommitLatency { batches, p50: quantile(50), p99: quantile(99) }
    }
}

impl HistogramFn for RecentCommits {
    /// The writer alone records, so no two values take one place.
    fn record(&self, seconds: f64) {
        let count = self.count.load(Ordering::Relaxed);
        // A value beyond the range becomes its end.
        self.micros[count % BATCHES].store((seconds * 1e6) as u32, Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Release);
        self.all.record(seconds);
    }
}

/// A gauge whose value can be read.
pub struct ReadableGauge {
    bits: AtomicU64,
    gauge: Gauge,
}

impl ReadableGauge {
    /// Passes each value on to this gauge.
    pub fn new(gauge: Gauge) -> ReadableGauge {
        ReadableGauge { bits: AtomicU64::new(0.0_f64.to_bits()), gauge }
    }

    pub fn value(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::Relaxed))
    }
}

impl GaugeFn for ReadableGauge {
    fn increment(&self, value: f64) {
        self.set(self.value() + value);
    }

    fn decrement(&self, value: f64) {
        self.set(self.value() - value);
    }

    fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Ordering::Relaxed);
        self.gauge.set(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latency_is_that_of_the_last_batches() {
        let commits = RecentCommits::new(Histogram::noop());
        assert_eq!(commits.latency(), CommitLatency { batches: 0, p50: 0.0, p99: 0.0 });
        commits.record(0.002);
        assert_eq!(commits.latency(), CommitLatency { batches: 1, p50: 2.0, p99: 2.0 });
        (0..BATCHES * 2).for_each(|_| commits.record(1.0));
        (1..=100).for_each(|milli| commits.record(f64::from(milli) / 1000.0));
        (0..BATCHES - 100).for_each(|_| commits.record(0.001));
        let latency = commits.latency();
        assert_eq!((latency.batches, latency.p50), (BATCHES, 1.0));
        assert!((94.0..=96.0).contains(&latency.p99), "{latency:?}");
    }
}
