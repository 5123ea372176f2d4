//! Time as a rate sees it: how much it has admitted since the beginning, had it always been asked.

use core::time::Duration;

use waypost_core::Timestamp;

use crate::Rate;

/// Parts of one request or token that the clock of a rate counts.
pub(crate) const UNITS: u64 = 1 << 10;
/// One more than the most units at which a clock still runs; beyond, nothing is admitted any more.
const END: u64 = 1 << 62;

/// The clock of a rate. It runs in units of what is limited, [`UNITS`] to one, at the rate; a bucket that was emptied at
/// one time and refills since is the difference of two of its readings. It is computed from where it started, never
/// added to, so that no fraction is lost however often it is read. A clock may be continued at another rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Where it started.
    from: Timestamp,
    /// What it showed there.
    at: u64,
    /// It advances by `units` in `nanos`; without a common divisor.
    units: u64,
    nanos: u64,
    /// The most that is admitted at once.
    burst: u64,
}

/// A reading between two units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) floor: u64,
    pub(crate) ceil: u64,
}

impl Pace {
    /// A clock that starts at `from`.
    pub(crate) fn new(rate: &Rate, from: Timestamp) -> Self {
        Self::starting(rate, from, 0)
    }

    /// The same clock at another rate from `now` on.
    pub(crate) fn continued(&self, rate: &Rate, now: Timestamp) -> Self {
        Self::starting(rate, self.from.max(now), self.read(now).floor)
    }

    /// Stands still and admits nothing, from where this one is at `now`.
    pub(crate) fn stopped(&self, now: Timestamp) -> Self {
        Self { from: self.from.max(now), at: self.read(now).floor, units: 0, nanos: 1, burst: 0 }
    }

    fn starting(rate: &Rate, from: Timestamp, at: u64) -> Self {
        // At most 2^24 × 366 × 86,400 × 2^10, which is less than 2^59; a period has at most 2^55 ns.
        let (units, nanos) = (rate.quota() * UNITS, rate.period().as_nanos() as u64);
        let common = gcd(units, nanos);
        let burst = rate.burst_size() * UNITS;
        Self { from, at, units: units / common, nanos: nanos / common, burst }
    }

    /// What it shows.
    #[inline]
    pub(crate) fn read(&self, now: Timestamp) -> Reading {
        let elapsed = now.as_nanos().saturating_sub(self.from.as_nanos());
        let (advance, is_exact) = match elapsed.checked_mul(self.units) {
            Some(product) => (product / self.nanos, product.is_multiple_of(self.nanos)),
            None => self.read_wide(elapsed),
        };
        let floor = self.at.saturating_add(advance).min(END);
        Reading { floor, ceil: floor + u64::from(!is_exact) }
    }

    #[cold]
    fn read_wide(&self, elapsed: u64) -> (u64, bool) {
        let product = u128::from(elapsed) * u128::from(self.units);
        let nanos = u128::from(self.nanos);
        (u64::try_from(product / nanos).unwrap_or(u64::MAX), product.is_multiple_of(nanos))
    }

    /// How long from `now` until it shows `reading`; `None` when it never does.
    pub(crate) fn time_to(&self, reading: u64, now: Timestamp) -> Option<Duration> {
        let ahead = reading.saturating_sub(self.at);
        if ahead > 0 && (self.units == 0 || reading >= END) {
            return None;
        }
        let nanos = (u128::from(ahead) * u128::from(self.nanos)).div_ceil(u128::from(self.units.max(1)));
        let due = u128::from(self.from.as_nanos()) + nanos;
        let wait = due.saturating_sub(now.as_nanos().into());
        Some(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// The most that is admitted at once, in units.
    #[inline]
    pub(crate) const fn burst(&self) -> u64 {
        self.burst
    }

    /// Whether a sum of units is beyond what the clock can tell.
    #[inline]
    pub(crate) const fn is_beyond(units: u64) -> bool {
        units >= END
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The oracle is the definition in 128-bit arithmetic.
        #[test]
        fn it_shows_rate_times_time_rounded_both_ways(
            quota in 1..1_u64 << 40, period in 1_000_000..1_u64 << 54, from: u64, elapsed in 0..1_u64 << 60,
        ) {
            prop_assume!(Rate::new(quota, Duration::from_nanos(period)).is_ok());
            let rate = Rate::new(quota, Duration::from_nanos(period)).unwrap();
            let from = from >> 4;
            let pace = Pace::new(&rate, Timestamp::from_nanos(from));
            let reading = pace.read(Timestamp::from_nanos(from + elapsed));
            let exact = u128::from(elapsed) * u128::from(quota) * u128::from(UNITS);
            let period = u128::from(period);
            prop_assume!(exact / period < u128::from(END));
            prop_assert_eq!(u128::from(reading.floor), exact / period);
            prop_assert_eq!(u128::from(reading.ceil), exact.div_ceil(period));
        }

        #[test]
        fn the_time_to_a_reading_is_the_first_at_which_it_shows(
            quota in 1..1_u64 << 30, period in 1..100_000_u64, ahead in 0..1_u64 << 40,
        ) {
            let rate = Rate::new(quota, Duration::from_millis(period));
            prop_assume!(rate.is_ok());
            let (pace, now) = (Pace::new(&rate.unwrap(), Timestamp::ORIGIN), Timestamp::from_nanos(77));
            let reading = pace.read(now).floor + ahead;
            let due = now + pace.time_to(reading, now).unwrap();
            prop_assert!(pace.read(due).floor >= reading);
            let before = Timestamp::from_nanos(due.as_nanos() - 1);
            prop_assert!(due == now || pace.read(before).floor < reading);
        }
    }

    #[test]
    fn b53_t05_it_saturates() {
        let rate = Rate::per_second(crate::rate::MAX_PER_SECOND).unwrap();
        let pace = Pace::new(&rate, Timestamp::from_nanos(5));
        assert_eq!(pace.read(Timestamp::ORIGIN), Reading { floor: 0, ceil: 0 });
        assert!(pace.read(Timestamp::MAX).floor <= END);
        assert_eq!(pace.time_to(END, Timestamp::ORIGIN), None);
        assert_eq!(pace.stopped(Timestamp::ORIGIN).time_to(1, Timestamp::ORIGIN), None);
    }
}
