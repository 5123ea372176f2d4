//! Which candidates are slow, as masks.

use core::time::Duration;

use crate::CandidateIndex;
use crate::buckets::{self, BUCKETS};
use crate::sync::{AtomicU8, AtomicU64, Ordering};
use crate::time::nanos_of;

/// Histogram buckets per level: two, so that there are eight levels per power of two.
const BUCKETS_PER_LEVEL: usize = 2;
/// Levels of known latency. A candidate of unknown latency has level 0.
const LEVELS: usize = BUCKETS / BUCKETS_PER_LEVEL;

/// The published latency of each candidate of a pool, turned on its side: one row per level with a bit for every
/// candidate that is at least that slow. Asking *who is slower than this* reads one row, however many candidates
/// there are.
///
/// A candidate whose level changes flips its bit in the rows between the old and the new level. Flips are XORs, which
/// commute, and each follows from one atomic swap of the level: whatever the interleaving, once writers are done every
/// row agrees with the levels. A reader meanwhile may see some rows before and some after a change.
#[derive(Debug)]
pub(crate) struct LatencyLevels {
    levels: Box<[AtomicU8]>,
    /// `rows[(level - 1) * words + word]`
    rows: Box<[AtomicU64]>,
    words: usize,
}

impl LatencyLevels {
    pub(crate) fn new(candidates: usize, words: usize) -> Self {
        Self {
            levels: (0..candidates).map(|_| AtomicU8::new(0)).collect(),
            rows: (0..LEVELS * words).map(|_| AtomicU64::new(0)).collect(),
            words,
        }
    }

    /// Publishes a candidate's latency; `None` is unknown.
    #[inline]
    pub(crate) fn publish(&self, index: CandidateIndex, nanos: Option<u64>) {
        let new = nanos.map_or(0, level_of);
        let cell = &self.levels[index.get()];
        if cell.load(Ordering::Relaxed) == new {
            return;
        }
        let old = cell.swap(new, Ordering::Relaxed);
        let bit = 1 << (index.get() % 64);
        for level in old.min(new)..old.max(new) {
            self.rows[usize::from(level) * self.words + index.get() / 64].fetch_xor(bit, Ordering::Relaxed);
        }
    }

    /// The words of the candidates known to be slower than `limit`: those whose level is above the limit's, so rounded
    /// to an eighth of a power of two (up to 13 %). Empty when nobody can be.
    #[inline]
    pub(crate) fn slower_than(&self, limit: Duration) -> &[AtomicU64] {
        let first = usize::from(level_of(nanos_of(limit))) * self.words;
        self.rows.get(first..first + self.words).unwrap_or_default()
    }
}

/// 1 to [`LEVELS`].
#[inline]
fn level_of(nanos: u64) -> u8 {
    (buckets::bucket_of_nanos(nanos) / BUCKETS_PER_LEVEL) as u8 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn nanos(millis: u64) -> u64 {
        millis * 1_000_000
    }

    #[test]
    fn levels_fit_their_byte() {
        assert_eq!(usize::from(level_of(u64::MAX)), LEVELS);
        assert_eq!(level_of(0), 1);
    }

    #[test]
    fn concurrent_changes_leave_rows_that_agree_with_levels() {
        let levels = LatencyLevels::new(2, 1);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let levels = &levels;
                scope.spawn(move || {
                    for i in 0..5_000 {
                        levels.publish(CandidateIndex(0), Some(nanos(1 + (i * 7 + thread * 13) % 900)));
                    }
                });
            }
        });
        levels.publish(CandidateIndex(0), None);
        assert_eq!(levels.slower_than(Duration::ZERO)[0].load(Ordering::Relaxed), 0, "every flip was undone");
    }

    proptest! {
        /// The oracle compares the durations themselves.
        #[test]
        fn tells_slow_from_fast_beyond_the_rounding(
            latencies in prop::collection::vec(prop::option::of(1_u64..100_000), 1..130), limit in 1_u64..100_000,
        ) {
            let levels = LatencyLevels::new(latencies.len(), latencies.len().div_ceil(64));
            for (i, latency) in latencies.iter().enumerate() {
                levels.publish(CandidateIndex(i as u16), Some(nanos(77)));
                levels.publish(CandidateIndex(i as u16), latency.map(nanos));
            }
            let slow = levels.slower_than(millis(limit));
            for (i, latency) in latencies.iter().enumerate() {
                let is_slow = slow.get(i / 64).is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (i % 64)) != 0);
                match latency {
                    Some(latency) if *latency as f64 > limit as f64 * 1.13 => prop_assert!(is_slow, "{latency} {limit}"),
                    Some(latency) if *latency > limit => {}
                    _ => prop_assert!(!is_slow, "{latency:?} {limit}"),
                }
            }
        }
    }
}
