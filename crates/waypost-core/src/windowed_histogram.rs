//! Quantiles of recent durations, recorded by many threads without a lock.

use core::fmt;
use core::time::Duration;
use std::sync::OnceLock;

use crate::Timestamp;
use crate::buckets::{self, BUCKETS};
use crate::sync::{AtomicU64, Ordering};
use crate::time::nanos_of;

/// Epochs in the ring: the current one and three before it are read.
const EPOCHS: usize = 4;
/// The length of an epoch. A sample is forgotten 45 to 60 s after it was recorded, so quantiles follow a provider
/// within a minute and still hold enough samples at one request per second.
const EPOCH: Duration = Duration::from_secs(15);
/// Bits of a cell's count; the epoch takes the rest.
const COUNT_BITS: u32 = 32;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// A histogram of durations that forgets: it holds the last 45 to 60 seconds.
///
/// Each cell is one atomic word of epoch and count. A recorder that finds an old epoch replaces the whole word by the
/// new epoch and its own sample, so a stale count can never leak into a new window and no sample is lost or counted
/// twice; there is no clearing step, no ticker and no lock. A sample that arrives with a time before the cell's epoch
/// is counted in the cell's epoch.
///
/// Values are kept to 3 % between 131 µs and 37 minutes; values outside are counted at the edges.
///
/// # Memory
///
/// 12 KiB, allocated at the first sample.
///
/// # Complexity
///
/// Recording is one compare-and-swap. A quantile reads all 1,536 cells, about a microsecond: for reports, not for
/// decisions. Of a window in which nothing was recorded it reads one word.
#[derive(Default)]
pub struct WindowedHistogram {
    cells: OnceLock<Box<[[AtomicU64; BUCKETS]]>>,
    /// The latest epoch in which something was recorded; 0 before the first.
    newest: AtomicU64,
}

impl WindowedHistogram {
    /// Counts a duration at `now`.
    pub fn record(&self, duration: Duration, now: Timestamp) {
        self.record_nanos(nanos_of(duration), now);
    }

    #[inline]
    pub(crate) fn record_nanos(&self, nanos: u64, now: Timestamp) {
        let epoch = epoch_of(now);
        let cell = &self.cells()[epoch as usize % EPOCHS][buckets::bucket_of_nanos(nanos)];
        let mut word = cell.load(Ordering::Relaxed);
        // Relaxed: a cell publishes nothing but itself.
        while let Err(seen) =
            cell.compare_exchange_weak(word, counted(word, epoch), Ordering::Relaxed, Ordering::Relaxed)
        {
            word = seen;
        }
        if self.newest.load(Ordering::Relaxed) < u64::from(epoch) {
            self.newest.fetch_max(u64::from(epoch), Ordering::Relaxed);
        }
    }

    /// The duration at quantile `q` (0 to 1) of the window that ends at `now`; `None` when nothing was recorded in it.
    pub fn quantile(&self, q: f64, now: Timestamp) -> Option<Duration> {
        buckets::quantile(&self.counts(now)?, q)
    }

    /// The duration at quantile `q` and how many durations it was taken from, read together.
    pub fn quantile_with_len(&self, q: f64, now: Timestamp) -> Option<(Duration, u64)> {
        let counts = self.counts(now)?;
        Some((buckets::quantile(&counts, q)?, counts.iter().sum()))
    }

    /// The durations at several quantiles, read together.
    pub fn quantiles<const N: usize>(&self, quantiles: [f64; N], now: Timestamp) -> Option<[Duration; N]> {
        let counts = self.counts(now)?;
        let all = quantiles.map(|q| buckets::quantile(&counts, q));
        all.iter().all(Option::is_some).then(|| all.map(Option::unwrap_or_default))
    }

    /// How many durations the window that ends at `now` holds.
    pub fn len(&self, now: Timestamp) -> u64 {
        self.counts(now).map_or(0, |counts| counts.iter().sum())
    }

    /// Whether the window that ends at `now` holds nothing.
    pub fn is_empty(&self, now: Timestamp) -> bool {
        self.len(now) == 0
    }

    /// The window that ends at `now`, as a histogram of microseconds.
    #[cfg(feature = "hdrhistogram")]
    #[cfg_attr(docsrs, doc(cfg(feature = "hdrhistogram")))]
    pub fn to_hdr(&self, now: Timestamp) -> hdrhistogram::Histogram<u64> {
        buckets::to_hdr(&self.counts(now).unwrap_or([0; BUCKETS]))
    }

    /// The counts of the window that ends at `now`; `None` when nothing was recorded in it.
    fn counts(&self, now: Timestamp) -> Option<[u64; BUCKETS]> {
        let newest = u64::from(epoch_of(now));
        if newest.saturating_sub(self.newest.load(Ordering::Relaxed)) >= EPOCHS as u64 {
            return None;
        }
        let (cells, mut counts) = (self.cells.get()?, [0; BUCKETS]);
        for cell_row in cells {
            for (count, cell) in counts.iter_mut().zip(cell_row) {
                let word = cell.load(Ordering::Relaxed);
                let epoch = word >> COUNT_BITS;
                if newest.saturating_sub(epoch) < EPOCHS as u64 {
                    *count += word & COUNT_MASK;
                }
            }
        }
        Some(counts)
    }

    fn cells(&self) -> &[[AtomicU64; BUCKETS]] {
        self.cells.get_or_init(|| {
            (0..EPOCHS)
                .map(|_| core::array::from_fn(|_| AtomicU64::new(0)))
                .collect::<Vec<_>>()
                .into_boxed_slice()
        })
    }
}

impl fmt::Debug for WindowedHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowedHistogram")
            .field("sampled", &self.cells.get().is_some())
            .finish_non_exhaustive()
    }
}

/// The number of the epoch, from 1: zero marks a cell that was never written. 2^32 epochs are 2,000 years.
fn epoch_of(now: Timestamp) -> u32 {
    (now.as_nanos() / EPOCH.as_nanos() as u64) as u32 + 1
}

/// A cell's word after one more sample in `epoch`. The count saturates.
fn counted(word: u64, epoch: u32) -> u64 {
    let fresh = u64::from(epoch) << COUNT_BITS;
    if word < fresh {
        fresh | 1
    } else if word & COUNT_MASK == COUNT_MASK {
        word
    } else {
        word + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn forgets_after_a_minute_and_not_before_forty_five_seconds() {
        let histogram = WindowedHistogram::default();
        for second in [0, 7, 14] {
            histogram.record(SECOND, at(second));
        }
        assert_eq!(histogram.len(at(59)), 3);
        assert_eq!(histogram.len(at(60)), 0);
        histogram.record(SECOND, at(60));
        assert_eq!(histogram.len(at(60)), 1, "a cell is reused for the epoch four later");
        assert_eq!(histogram.quantile_with_len(0.5, at(104)).map(|(_, len)| len), Some(1));
        assert_eq!(histogram.quantile_with_len(0.5, at(120)), None);
    }

    #[test]
    fn time_that_goes_backwards_loses_no_sample() {
        let histogram = WindowedHistogram::default();
        histogram.record(SECOND, at(600));
        histogram.record(SECOND, at(0));
        histogram.record(SECOND, Timestamp::MAX);
        assert_eq!(
            histogram.len(at(600)),
            2 + 1 - u64::from(epoch_of(Timestamp::MAX) % 4 == epoch_of(at(600)) % 4)
        );
    }

    #[test]
    fn concurrent_records_are_each_counted_once() {
        let histogram = WindowedHistogram::default();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let histogram = &histogram;
                scope.spawn(move || {
                    for i in 0..10_000 {
                        histogram.record(Duration::from_millis(1 + (thread + i) % 100), at(i / 1_000));
                    }
                });
            }
        });
        assert_eq!(histogram.len(at(10)), 40_000);
    }

    proptest! {
        /// The oracle sorts.
        #[test]
        fn quantiles_are_within_three_percent(mut millis in prop::collection::vec(1_u64..100_000, 1..200), q in 0.0..=1.0_f64) {
            let histogram = WindowedHistogram::default();
            for &value in &millis {
                histogram.record(Duration::from_millis(value), at(5));
            }
            millis.sort_unstable();
            let rank = ((q * millis.len() as f64).ceil() as usize).max(1);
            let exact = millis[rank - 1] as f64 / 1e3;
            let read = histogram.quantile(q, at(5)).unwrap().as_secs_f64();
            prop_assert!((read / exact - 1.0).abs() < 0.0325, "q {q}: {read} for {exact}");
        }
    }
}
