//! Who is out of a pool for a while, and how many may be.

use core::time::Duration;

use waypost_core::{Age, Ratio, Stamp, Timestamp};

use crate::config::{EjectionConfig, ROUNDING, jittered};
use crate::sync::{AtomicU64, Ordering};

/// How many candidates of a pool are ejected. Races cannot exceed what is allowed: a place is taken before anybody is
/// ejected.
#[derive(Debug)]
pub(crate) struct EjectionCap {
    taken: AtomicU64,
}

impl EjectionCap {
    pub(crate) fn new() -> Self {
        Self { taken: AtomicU64::new(0) }
    }

    /// How many of `n` may be out: the share, at least one if any, never all.
    pub(crate) fn allowed(n: usize, share: Ratio) -> u64 {
        if share == Ratio::ZERO {
            return 0;
        }
        let share = (n as f64 * share.get() + ROUNDING) as usize;
        share.max(1).min(n.saturating_sub(1)) as u64
    }

    fn take(&self, allowed: u64) -> bool {
        let room = |taken: u64| (taken < allowed).then(|| taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// One candidate's place in one pool: whether it is ejected from it, and how often it was of late.
#[derive(Debug)]
pub(crate) struct Place {
    /// Flags 2 bits, count 14 and time 32: of an ejected candidate the end, of others when they came back.
    word: AtomicU64,
    /// The look at the pool at which it began to stand out, and the last at which it did, 32 bits each.
    stood_out: AtomicU64,
}

const EJECTED: u64 = 1 << 63;
/// The candidate left the pool: it is never ejected again.
const RETIRED: u64 = 1 << 62;
const COUNT_SHIFT: u32 = 32;
const COUNT_MASK: u64 = (1 << 14) - 1;

const fn count_of(word: u64) -> u64 {
    word >> COUNT_SHIFT & COUNT_MASK
}

fn remaining(word: u64, now: Timestamp) -> Option<Age> {
    Stamp::in_word(word & 0xffff_ffff)?.remaining_at(Stamp::of(now))
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0), stood_out: AtomicU64::new(0) }
    }

    /// Notes that it stands out at a look; whether it did at the look before, too. What is read once a second for each
    /// candidate at its own time must be seen of all before it is held against one.
    pub(crate) fn stands_out_again(&self, look: u32) -> bool {
        let before = self.stood_out.load(Ordering::Relaxed);
        let (since, last) = ((before >> 32) as u32, before as u32);
        let since = if look.wrapping_sub(last) <= 1 { since } else { look };
        self.stood_out.store(u64::from(since) << 32 | u64::from(look), Ordering::Relaxed);
        since != look
    }

    /// Until when it is out, if it is.
    #[inline]
    pub(crate) fn ejected_until(&self, now: Timestamp) -> Option<Timestamp> {
        let word = self.word.load(Ordering::Relaxed);
        if word & EJECTED == 0 { None } else { remaining(word, now).map(|remaining| now + remaining) }
    }

    /// How often it was ejected of late.
    pub(crate) fn count(&self) -> u64 {
        count_of(self.word.load(Ordering::Relaxed))
    }

    /// Whether it came back less than `time` ago.
    pub(crate) fn is_just_back(&self, time: Duration, now: Timestamp) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        let back = Stamp::in_word(word & 0xffff_ffff).filter(|_| word & EJECTED == 0);
        back.is_some_and(|back| back.age_at(Stamp::of(now)).as_duration() < time)
    }

    /// Takes it out, if the pool has room for one more; returns until when and how often it was of late, this time
    /// included. Each time is longer by the base time; each base time
    /// without one takes one from the count.
    pub(crate) fn eject(
        &self,
        cap: &EjectionCap,
        allowed: u64,
        config: &EjectionConfig,
        now: Timestamp,
        draw: impl FnOnce() -> f64,
    ) -> Option<(Timestamp, u64)> {
        let word = self.word.load(Ordering::Relaxed);
        if word & (EJECTED | RETIRED) != 0 || !cap.take(allowed) {
            return None;
        }
        let clean = Stamp::in_word(word & 0xffff_ffff)
            .map_or(Duration::MAX, |back| back.age_at(Stamp::of(now)).as_duration());
        let forgiven = clean.as_millis().checked_div(config.base_time.as_millis()).unwrap_or(u128::MAX);
        let count = (u128::from(count_of(word)).saturating_sub(forgiven) as u64 + 1).min(COUNT_MASK);
        let time = config.base_time.saturating_mul(count as u32);
        let until = now + jittered(time, config.at_most, config.jitter, draw());
        let ejected = EJECTED | count << COUNT_SHIFT | u64::from(Stamp::not_before(until).to_bits());
        if self.word.compare_exchange(word, ejected, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            cap.give_back();
            return None;
        }
        Some((until, count))
    }

    /// Brings it back if its time is over; true for the one caller that did.
    pub(crate) fn restore_if_over(&self, cap: &EjectionCap, now: Timestamp) -> bool {
        self.bring_back(cap, now, |word| remaining(word, now).is_none())
    }

    /// Brings it back whatever its time is.
    pub(crate) fn restore(&self, cap: &EjectionCap, now: Timestamp) -> bool {
        self.bring_back(cap, now, |_| true)
    }

    fn bring_back(&self, cap: &EjectionCap, now: Timestamp, may: impl Fn(u64) -> bool) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        if word & (EJECTED | RETIRED) != EJECTED || !may(word) {
            return false;
        }
        let back = count_of(word) << COUNT_SHIFT | u64::from(Stamp::of(now).to_bits());
        let restored = self.word.compare_exchange(word, back, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if restored {
            cap.give_back();
        }
        restored
    }

    /// The candidate left the pool: its place among the ejected is free again, once.
    pub(crate) fn retire(&self, cap: &EjectionCap) {
        let before = self.word.fetch_or(RETIRED, Ordering::Relaxed);
        if before & (EJECTED | RETIRED) == EJECTED {
            // A restoration that raced either came before the flag or sees it and leaves the word alone.
            if self.word.fetch_and(!EJECTED, Ordering::Relaxed) & EJECTED != 0 {
                cap.give_back();
            }
        }
    }
}

/// An upper bound of the chance that a candidate which fails as often as `p` fails `failed` or more times of `total`:
/// Chernoff's bound of the binomial tail, `exp(−total × KL(failed / total ‖ p))`.
///
/// The usual rule, a number of standard deviations below the pool's mean, cannot fire in small pools: of n candidates
/// with one dead, the dead one is `√(n − 1)` deviations below, so at Envoy's 1.9 nothing is ever ejected from fewer than
/// five, nor two of fewer than ten.
pub(crate) fn tail(failed: u32, total: u32, p: f64) -> f64 {
    let (q, n) = (f64::from(failed) / f64::from(total.max(1)), f64::from(total));
    if q <= p {
        return 1.0;
    }
    let term = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a * (a / b).ln() };
    (-n * (term(q, p) + term(1.0 - q, 1.0 - p))).exp()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_secs(seconds)
    }

    fn config() -> EjectionConfig {
        EjectionConfig { at_most: Duration::from_secs(90), jitter: Ratio::ZERO, ..EjectionConfig::default() }
    }

    #[test]
    fn od_4_the_third_of_four_is_refused_and_times_grow_to_the_limit() {
        let (cap, places) = (EjectionCap::new(), [(); 4].map(|()| Place::new()));
        let allowed = EjectionCap::allowed(4, Ratio::of(1, 2));
        let out =
            places.iter().filter(|place| place.eject(&cap, allowed, &config(), at(0), || 0.5).is_some());
        assert_eq!((out.count(), cap.taken()), (2, 2));

        let (cap, place, mut now) = (EjectionCap::new(), Place::new(), at(0));
        let mut times = Vec::new();
        for _ in 0..5 {
            let (until, _) = place.eject(&cap, allowed, &config(), now, || 0.5).unwrap();
            assert!(place.eject(&cap, allowed, &config(), now, || 0.5).is_none(), "it is out already");
            times.push(until.since(now).as_secs());
            now = until + Duration::from_secs(1);
            assert!(place.restore_if_over(&cap, now) && !place.restore_if_over(&cap, now));
        }
        assert_eq!(times, [30, 60, 90, 90, 90]);
        now = now + Duration::from_secs(31);
        assert_eq!(
            place.eject(&cap, allowed, &config(), now, || 0.5).unwrap().1,
            5,
            "a clean time takes one off"
        );
        assert_eq!(cap.taken(), 1);
    }

    #[test]
    fn trap_10_never_all_and_at_least_one_if_any() {
        let allowed = |n, share| EjectionCap::allowed(n, share);
        let half = Ratio::of(1, 2);
        assert_eq!([0, 1, 2, 3, 9, 1_024].map(|n| allowed(n, half)), [0, 0, 1, 1, 4, 512]);
        assert_eq!([2, 3, 9].map(|n| allowed(n, Ratio::of(1, 10))), [1, 1, 1]);
        assert_eq!(allowed(100, Ratio::of(29, 100)), 29);
        assert_eq!([2, 3, 9].map(|n| allowed(n, Ratio::ONE)), [1, 2, 8]);
        assert_eq!(allowed(9, Ratio::ZERO), 0);
    }

    #[test]
    fn a_candidate_that_left_frees_its_place_once_and_is_never_ejected_again() {
        let (cap, place) = (EjectionCap::new(), Place::new());
        place.eject(&cap, 1, &config(), at(0), || 0.5).unwrap();
        place.retire(&cap);
        place.retire(&cap);
        assert_eq!(cap.taken(), 0);
        assert!(!place.restore(&cap, at(1)));
        assert!(place.eject(&cap, 1, &config(), at(2), || 0.5).is_none());
    }

    proptest! {
        /// The oracle adds up the binomial distribution.
        #[test]
        fn the_tail_is_never_less_than_it_is(total in 1_u32..60, share in 0.0..=1.0_f64, p in 0.001..0.999_f64) {
            let failed = (f64::from(total) * share) as u32;
            let mut pmf = (1.0 - p).powf(total.into());
            let mut sum = 0.0;
            for k in 0..=total {
                if k >= failed {
                    sum += pmf;
                }
                pmf *= p / (1.0 - p) * f64::from(total - k) / f64::from(k + 1);
            }
            prop_assert!(tail(failed, total, p) >= sum - 1e-9, "{} {sum}", tail(failed, total, p));
        }
    }

    #[test]
    fn the_tail_tells_a_third_from_chance() {
        assert!(tail(15, 50, 0.01) < 1e-9 && tail(1, 20, 0.03) > 0.1);
        assert!((tail(5, 5, 1.0 / 12.0) - 12_f64.powi(-5)).abs() < 1e-12);
    }
}
