//! How many requests are under way.

use crate::rate_meter::Refused;
use crate::sync::{AtomicU64, Ordering};

/// What a gauge that was put away holds.
const RETIRED: u64 = u64::MAX;

/// Requests under way that a limit on concurrency counts.
#[derive(Debug)]
pub(crate) struct Gauge {
    count: AtomicU64,
}

impl Gauge {
    pub(crate) fn new() -> Self {
        Self { count: AtomicU64::new(0) }
    }

    /// Counts one more, if no more than `most` are under way with it. A refusal leaves no trace, not even for a moment.
    #[inline]
    pub(crate) fn enter(&self, most: u64) -> Result<(), Refused> {
        // Relaxed: the count guards no other memory; its modification order alone makes it exact.
        let entered = self
            .count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < most).then_some(count + 1));
        match entered {
            Ok(_) => Ok(()),
            Err(RETIRED) => Err(Refused::Retired),
            Err(_) => Err(Refused::Spent(None)),
        }
    }

    /// Counts one less. INVARIANT: called once for each that entered, so the count never wraps.
    #[inline]
    pub(crate) fn leave(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are under way.
    #[inline]
    pub(crate) fn count(&self) -> u64 {
        let count = self.count.load(Ordering::Relaxed);
        if count == RETIRED { 0 } else { count }
    }

    /// Puts the gauge away if nothing is under way. Returns whether it did.
    pub(crate) fn retire(&self) -> bool {
        self.count.compare_exchange(0, RETIRED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
