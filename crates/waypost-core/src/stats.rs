//! Count, sum, least and greatest, without a lock.

use core::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// Running statistics that many threads record into. Each field is on a cache line of its own.
///
/// A reader may see a record in one field and not yet in another; once recorders are done the fields agree. The sum
/// wraps after 2^64.
///
/// ```
/// use waypost_core::LockFreeStats;
///
/// let stats = LockFreeStats::default();
/// [3, 1, 5].into_iter().for_each(|value| stats.record(value));
/// let seen = stats.snapshot();
/// assert_eq!((seen.count, seen.sum, seen.min, seen.max), (3, 9, Some(1), Some(5)));
/// assert_eq!(seen.average(), Some(3.0));
/// ```
#[derive(Debug)]
pub struct LockFreeStats {
    count: CachePadded<AtomicU64>,
    sum: CachePadded<AtomicU64>,
    min: CachePadded<AtomicU64>,
    max: CachePadded<AtomicU64>,
}

/// What [`LockFreeStats`] held at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsSnapshot {
    /// How many values were recorded.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The least; `None` before the first.
    pub min: Option<u64>,
    /// The greatest; `None` before the first.
    pub max: Option<u64>,
}

impl LockFreeStats {
    /// Takes a value.
    pub fn record(&self, value: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
        self.min.fetch_min(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    /// What was recorded so far.
    pub fn snapshot(&self) -> StatsSnapshot {
        let count = self.count.load(Ordering::Relaxed);
        let known = |value: &AtomicU64| (count > 0).then(|| value.load(Ordering::Relaxed));
        StatsSnapshot {
            count,
            sum: self.sum.load(Ordering::Relaxed),
            min: known(&self.min),
            max: known(&self.max),
        }
    }
}

impl Default for LockFreeStats {
    fn default() -> Self {
        let cell = |value| CachePadded::new(AtomicU64::new(value));
        Self { count: cell(0), sum: cell(0), min: cell(u64::MAX), max: cell(0) }
    }
}

impl StatsSnapshot {
    /// The mean; `None` when nothing was recorded.
    pub fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_lose_nothing() {
        let each: u64 = if cfg!(miri) { 50 } else { 10_000 };
        let stats = LockFreeStats::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let stats = &stats;
                scope.spawn(move || (0..each).for_each(|i| stats.record(thread * each + i)));
            }
        });
        let (seen, all) = (stats.snapshot(), 4 * each);
        assert_eq!((seen.count, seen.sum), (all, all * (all - 1) / 2));
        assert_eq!((seen.min, seen.max), (Some(0), Some(all - 1)));
    }

    #[test]
    fn nothing_recorded_reads_as_unknown() {
        let seen = LockFreeStats::default().snapshot();
        assert_eq!((seen.min, seen.max, seen.average()), (None, None, None));
    }
}
