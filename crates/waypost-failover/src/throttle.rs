//! Not sending what would be refused.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crossbeam_utils::CachePadded;
use waypost_core::Timestamp;

/// Parts of the window; the oldest is forgotten as a whole.
const SLICES: u64 = 12;

/// The most of each count in a slice: 24 bits. What is beyond is not counted; a slice is seconds.
const MOST: u64 = (1 << 24) - 1;

/// When an [`AdaptiveThrottle`] stops sending. Any values are valid.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ThrottleConfig {
    /// Requests that are sent for each that is accepted; what is less than 1 or no number counts as 1. More sends more
    /// in vain and notices sooner that providers are back. Default: 2.
    pub k: f64,
    /// The time over which is counted, at least 1 s. Longer than most calls take, so that there is something to count.
    /// Default: 120 s.
    pub window: Duration,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self { k: 2.0, window: Duration::from_secs(120) }
    }
}

/// Adaptive client-side throttling: requests are rejected here, at random, the more of them are refused there.
///
/// ```text
/// probability of rejection = max(0, (requests - k * accepts) / (requests + 1))
/// ```
///
/// A request counts when its answer comes, or when it is rejected here: calls of minutes that are in flight are not taken
/// for refusals. Lock-free; counts are exact up to 16 million in a twelfth of the window.
///
/// Source: "Site Reliability Engineering", chapter 21, "Handling Overload".
///
/// ```
/// use waypost_core::Timestamp;
/// use waypost_failover::{AdaptiveThrottle, ThrottleConfig};
///
/// let (throttle, now) = (AdaptiveThrottle::new(ThrottleConfig::default()), Timestamp::ORIGIN);
/// (0..100).for_each(|_| throttle.record(false, now));
/// assert!(throttle.rejection_probability(now) > 0.98);
/// assert!(!throttle.admit(now, 0.5));
/// ```
#[derive(Debug)]
pub struct AdaptiveThrottle {
    k: f64,
    /// The length of a slice in nanoseconds.
    slice: u64,
    slices: CachePadded<[AtomicU64; SLICES as usize]>,
}

/// A slice: its number modulo 2^16, requests, accepts.
#[derive(Clone, Copy)]
struct Counts(u64);

impl Counts {
    const fn of(word: u64, number: u64) -> Self {
        let tag = number & 0xffff;
        if word >> 48 == tag { Self(word) } else { Self(tag << 48) }
    }

    const fn requests(self) -> u64 {
        self.0 >> 24 & MOST
    }

    const fn accepts(self) -> u64 {
        self.0 & MOST
    }

    const fn one_more(self, accepted: bool) -> Self {
        if self.requests() == MOST { self } else { Self(self.0 + (1 << 24) + accepted as u64) }
    }
}

impl AdaptiveThrottle {
    /// A throttle that has seen nothing, and rejects nothing.
    pub fn new(config: ThrottleConfig) -> Self {
        let window = config.window.max(Duration::from_secs(1)).as_nanos() / u128::from(SLICES);
        let k = if config.k >= 1.0 { config.k } else { 1.0 };
        Self { k, slice: u64::try_from(window).unwrap_or(u64::MAX), slices: CachePadded::default() }
    }

    /// The probability with which a request is rejected now, 0 to 1.
    pub fn rejection_probability(&self, now: Timestamp) -> f64 {
        let (requests, accepts) = self.counts(now);
        ((requests as f64 - self.k * accepts as f64) / (requests as f64 + 1.0)).max(0.0)
    }

    /// Whether a request may be sent; one that may not is counted. `draw` is a random number from 0 to 1.
    pub fn admit(&self, now: Timestamp, draw: f64) -> bool {
        let probability = self.rejection_probability(now);
        let admitted = probability <= 0.0 || draw >= probability;
        if !admitted {
            self.record(false, now);
        }
        admitted
    }

    /// The answer of a request that was sent: accepted, or refused or failed for load.
    pub fn record(&self, accepted: bool, now: Timestamp) {
        let number = self.number(now);
        let one_more = |word| Some(Counts::of(word, number).one_more(accepted).0);
        // Relaxed: the word guards no other memory, and its modification order makes the counts exact.
        let slice = &self.slices[(number % SLICES) as usize];
        let _ = slice.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }

    /// Requests and accepts of the window.
    fn counts(&self, now: Timestamp) -> (u64, u64) {
        let last = self.number(now);
        let numbers = last.saturating_sub(SLICES - 1)..=last;
        numbers.fold((0, 0), |(requests, accepts), number| {
            let word = self.slices[(number % SLICES) as usize].load(Ordering::Relaxed);
            let counts = Counts::of(word, number);
            (requests + counts.requests(), accepts + counts.accepts())
        })
    }

    const fn number(&self, now: Timestamp) -> u64 {
        now.as_nanos() / self.slice
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use waypost_core::SeedSequence;

    const WINDOW: Duration = Duration::from_secs(12);

    fn throttle() -> AdaptiveThrottle {
        AdaptiveThrottle::new(ThrottleConfig { k: 2.0, window: WINDOW })
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_secs(seconds)
    }

    #[test]
    fn half_may_be_refused_before_anything_is_rejected() {
        let throttle = throttle();
        for number in 0..100 {
            throttle.record(number % 2 == 0, at(0));
        }
        assert_eq!(throttle.rejection_probability(at(0)), 0.0);
        throttle.record(false, at(0));
        assert_eq!(throttle.rejection_probability(at(0)), 1.0 / 102.0);
    }

    #[test]
    fn what_was_is_forgotten_after_the_window() {
        let throttle = throttle();
        (0..100).for_each(|_| throttle.record(false, at(0)));
        assert!(throttle.rejection_probability(at(11)) > 0.9);
        assert_eq!(throttle.rejection_probability(at(12)), 0.0);
        assert_eq!(throttle.rejection_probability(at(86_400 * 60)), 0.0);
    }

    #[test]
    fn threads_lose_no_count() {
        let throttle = throttle();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|number| throttle.record(number % 4 == 0, at(3))));
            }
        });
        assert_eq!(throttle.counts(at(3)), (40_000, 10_000));
    }

    /// An upstream that takes 10 of 100 each second is sent about k times 10 once the window is full of that.
    #[test]
    fn what_is_sent_is_k_times_what_is_accepted() {
        let (throttle, seeds) = (throttle(), SeedSequence::new(11));
        let mut generator = seeds.generator();
        let mut sent = 0;
        for second in 0..1_000 {
            let admitted = (0..100).filter(|_| throttle.admit(at(second), generator.unit())).count();
            (0..admitted).for_each(|number| throttle.record(number < 10, at(second)));
            sent += if second >= 100 { admitted } else { 0 };
        }
        let per_second = sent as f64 / 900.0;
        assert!((17.0..23.0).contains(&per_second), "{per_second} with seed 11");
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec((0..5_000_u64, any::<bool>()), 1..300)) {
            let (throttle, mut list, mut now) = (throttle(), Vec::new(), 0);
            for (step, accepted) in steps {
                now += step;
                let time = Timestamp::ORIGIN + Duration::from_millis(now);
                throttle.record(accepted, time);
                list.push((now / 1_000, accepted));
                let kept: Vec<_> = list.iter().filter(|(second, _)| second + 12 > now / 1_000).collect();
                let accepts = kept.iter().filter(|(_, accepted)| *accepted).count();
                prop_assert_eq!(throttle.counts(time), (kept.len() as u64, accepts as u64));
            }
        }

        #[test]
        fn no_time_and_no_setting_panics(now in any::<u64>(), k in any::<f64>(), window in any::<u64>(), draw in any::<f64>()) {
            let throttle = AdaptiveThrottle::new(ThrottleConfig { k, window: Duration::from_nanos(window) });
            throttle.record(false, Timestamp::from_nanos(now));
            throttle.record(true, Timestamp::ORIGIN);
            throttle.admit(Timestamp::from_nanos(now), draw);
            prop_assert!((0.0..=1.0).contains(&throttle.rejection_probability(Timestamp::from_nanos(now))));
        }
    }
}
