//! A histogram that threads record into without meeting.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crossbeam_utils::CachePadded;

use crate::buckets::{self, BUCKETS};
use crate::thread_shard::{SHARDS, shard};

/// A histogram of durations since its creation, sharded by thread.
///
/// Threads are dealt to eight shards, so recording is one atomic addition, uncontended among up to eight threads. The
/// counts of all shards are *read* together, never moved: a record is counted exactly once however often and by however
/// many threads the histogram is merged, and threads that come and go leave no memory behind.
///
/// # Memory
///
/// 24 KiB: eight shards of 384 counters, whatever the number of threads.
pub struct ThreadLocalHistogram {
    shards: Box<[CachePadded<[AtomicU64; BUCKETS]>]>,
}

/// What a [`ThreadLocalHistogram`] held at one moment, all threads together.
#[derive(Clone)]
pub struct HistogramSnapshot {
    counts: [u64; BUCKETS],
}

impl ThreadLocalHistogram {
    /// Counts a duration.
    pub fn record(&self, duration: Duration) {
        self.shards[shard()][buckets::bucket_of(duration)].fetch_add(1, Ordering::Relaxed);
    }

    /// All records of all threads so far.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let sum = |bucket: usize| self.shards.iter().map(|shard| shard[bucket].load(Ordering::Relaxed)).sum();
        HistogramSnapshot { counts: core::array::from_fn(sum) }
    }
}

impl Default for ThreadLocalHistogram {
    fn default() -> Self {
        let shard = || CachePadded::new(core::array::from_fn(|_| AtomicU64::new(0)));
        Self { shards: (0..SHARDS).map(|_| shard()).collect() }
    }
}

impl fmt::Debug for ThreadLocalHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl HistogramSnapshot {
    /// How many durations were recorded.
    pub fn len(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The duration at quantile `q` (0 to 1), to 3 %; `None` when nothing was recorded.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        buckets::quantile(&self.counts, q)
    }

    /// The counts as a histogram of microseconds.
    #[cfg(feature = "hdrhistogram")]
    #[cfg_attr(docsrs, doc(cfg(feature = "hdrhistogram")))]
    pub fn to_hdr(&self) -> hdrhistogram::Histogram<u64> {
        buckets::to_hdr(&self.counts)
    }
}

impl fmt::Debug for HistogramSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistogramSnapshot")
            .field("len", &self.len())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_counted_once_across_merges_and_threads_that_end() {
        let histogram = ThreadLocalHistogram::default();
        let rounds = if cfg!(miri) { 1 } else { 50 };
        for round in 1..=rounds {
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| (1..=100).for_each(|ms| histogram.record(Duration::from_millis(ms))));
                }
                // Merging while others record: no count may be lost to it, or be seen twice.
                let seen = histogram.snapshot().len();
                assert!(((round - 1) * 200..=round * 200).contains(&seen));
            });
            assert_eq!(histogram.snapshot().len(), round * 200);
        }
        let p50 = histogram.snapshot().quantile(0.5).unwrap();
        assert!((48.0..52.0).contains(&(p50.as_secs_f64() * 1e3)), "{p50:?}");
    }

    #[cfg(feature = "hdrhistogram")]
    #[test]
    fn exports_the_same_counts() {
        let histogram = ThreadLocalHistogram::default();
        (1..=100).for_each(|ms| histogram.record(Duration::from_millis(ms)));
        let hdr = histogram.snapshot().to_hdr();
        assert_eq!(hdr.len(), 100);
        assert!((96_000..=104_000).contains(&hdr.max()));
    }
}
