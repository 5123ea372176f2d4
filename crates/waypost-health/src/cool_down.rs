//! Until when a provider asked not to be asked.

use core::time::Duration;

use waypost_core::Timestamp;

use crate::sync::{AtomicU64, Ordering};

/// A deadline that only moves forward: a new one never shortens a longer one, whoever comes first.
#[derive(Debug)]
pub(crate) struct CoolDown {
    /// Nanoseconds; zero before the first.
    until: AtomicU64,
}

impl CoolDown {
    pub(crate) fn new() -> Self {
        Self { until: AtomicU64::new(0) }
    }

    /// Rests for a time, but never more than `at_most`. Returns whether it rests longer than before.
    pub(crate) fn extend(&self, time: Duration, at_most: Duration, now: Timestamp) -> bool {
        let until = (now + time.min(at_most)).as_nanos();
        self.until.fetch_max(until, Ordering::Relaxed) < until
    }

    /// Until when, if that is not over.
    #[inline]
    pub(crate) fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = Timestamp::from_nanos(self.until.load(Ordering::Relaxed));
        (until > now).then_some(until)
    }

    /// An administrator's word: it is over.
    pub(crate) fn end(&self) {
        self.until.store(0, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Promise 4: a new cool-down never shortens a longer one; none is longer than the cap.
        #[test]
        fn a_cool_down_is_the_longest_of_all(asked in prop::collection::vec((0_u64..100, 0_u64..1_000), 1..40)) {
            let cool_down = CoolDown::new();
            let cap = Duration::from_secs(300);
            let (mut now, mut longest) = (Timestamp::ORIGIN, Timestamp::ORIGIN);
            for (step, seconds) in asked {
                now = now + Duration::from_secs(step);
                let longer = cool_down.extend(Duration::from_secs(seconds), cap, now);
                let until = now + Duration::from_secs(seconds.min(300));
                prop_assert_eq!(longer, until > longest);
                longest = longest.max(until);
                prop_assert_eq!(cool_down.until(now), (longest > now).then_some(longest));
            }
        }
    }

    #[test]
    fn u14_nonsense_is_clamped() {
        let cool_down = CoolDown::new();
        let cap = Duration::from_secs(300);
        assert!(cool_down.extend(Duration::MAX, cap, Timestamp::ORIGIN));
        assert_eq!(cool_down.until(Timestamp::ORIGIN), Some(Timestamp::ORIGIN + cap));
        assert!(!cool_down.extend(Duration::ZERO, cap, Timestamp::ORIGIN));
        cool_down.extend(Duration::MAX, Duration::MAX, Timestamp::MAX);
        assert_eq!(cool_down.until(Timestamp::MAX), None);
    }
}
