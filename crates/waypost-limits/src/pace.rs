//! Time as a rate sees it: how much it has admitted since the beginning, had it always been asked.

use core::time::Duration;

use waypost_core::Timestamp;

use crate::Rate;
use crate::replication::WHOLE;

/// Units in which a clock advances in a second, at the most, as a power of two: about one in a nanosecond, so that
/// rounding to a unit admits nothing earlier than by some nanoseconds. In 62 bits there are a hundred years of them.
const UNITS_PER_SECOND_BITS: u32 = 30;
/// A burst in units has at most so many bits.
const BURST_BITS: u32 = 60;
/// A clock's advance in a nanosecond is kept as a fraction of this power of two: 128 units fit, which is more than what
/// a clock that became faster by 2^[`CHANGE_BITS`] advances by.
const FRACTION_BITS: u32 = 57;
/// What is beyond this is not counted any more, and nothing is admitted.
const END: u64 = 1 << 62;
/// A clock may be continued at a rate that is this much faster or slower, as a power of two: its units stay what they
/// are, so at much faster rates it would end too soon and at much slower ones be too coarse.
const CHANGE_BITS: u32 = 6;

/// The clock of a rate. It runs in units of what is limited, some of them to one, at the rate; a bucket that was
/// emptied at one time and refills since is the difference of two of its readings. It is computed from where it
/// started, never added to, so that no fraction is lost however often it is read. A clock may be continued at another
/// rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Where it started.
    from: Timestamp,
    /// What it showed there.
    at: u64,
    /// By how much it advances in a nanosecond, in fractions of a unit; rounded up, so that it is never late.
    advance: u64,
    /// The most that is admitted at once, in units.
    burst: u64,
    /// One of what is limited has two to the power of this many units.
    bits: u32,
    /// The largest single taking, which a bucket that is full admits: more than the burst of a share.
    largest: u64,
}

impl Pace {
    /// A clock that starts at `from`.
    pub(crate) fn new(rate: &Rate, from: Timestamp) -> Self {
        Self::starting(rate, from, 0, bits_for(rate))
    }

    /// The same clock at another rate from `now` on.
    pub(crate) fn continued(&self, rate: &Rate, now: Timestamp) -> Self {
        Self::starting(rate, self.from.max(now), self.read(now), self.bits)
    }

    /// Whether clocks of one rate may be continued at another.
    pub(crate) fn may_become(rate: &Rate, other: &Rate) -> bool {
        let (bits, others) = (bits_for(rate), bits_for(other));
        let burst_fits = other.burst_size() >> (BURST_BITS - bits.min(BURST_BITS)) == 0;
        bits.abs_diff(others) <= CHANGE_BITS && burst_fits
    }

    fn starting(rate: &Rate, from: Timestamp, at: u64, bits: u32) -> Self {
        let units = u128::from(rate.quota()) << bits;
        // At most 2^55 × 2^6 units in a period: the product has at most 118 bits. A nanosecond has at most 70 units.
        let advance = (units << FRACTION_BITS).div_ceil(rate.period().as_nanos());
        let advance = u64::try_from(advance).unwrap_or(u64::MAX);
        let burst = rate.burst_size() << bits;
        Self { from, at, advance, burst, bits, largest: burst }
    }

    /// The same clock at a share of a rate from `now` on, in parts of [`WHOLE`].
    pub(crate) fn sharing(&self, rate: &Rate, parts: u64, now: Timestamp) -> Self {
        let parts = parts.min(WHOLE);
        let part = |whole: u64| u128::from(whole) * u128::from(parts);
        let whole = self.continued(rate, now);
        let largest = if parts == 0 { 0 } else { whole.burst };
        // As with whole rates the clock is never late; bursts add up to no more than the whole one.
        let advance = part(whole.advance).div_ceil(u128::from(WHOLE)) as u64;
        let burst = (part(whole.burst) / u128::from(WHOLE)) as u64;
        Self { advance, burst, largest, ..whole }
    }

    /// What it shows, in units.
    #[inline]
    pub(crate) fn read(&self, now: Timestamp) -> u64 {
        let elapsed = now.as_nanos().saturating_sub(self.from.as_nanos());
        let advanced = (u128::from(elapsed) * u128::from(self.advance)) >> FRACTION_BITS;
        u64::try_from(advanced).unwrap_or(u64::MAX).saturating_add(self.at).min(END)
    }

    /// How long from `now` until it shows `reading`; `None` when it never does.
    pub(crate) fn time_to(&self, reading: u64, now: Timestamp) -> Option<Duration> {
        let ahead = reading.saturating_sub(self.at);
        if ahead == 0 {
            return Some(Duration::ZERO);
        }
        if self.advance == 0 || reading >= END {
            return None;
        }
        let elapsed = (u128::from(ahead) << FRACTION_BITS).div_ceil(u128::from(self.advance));
        let due = u128::from(self.from.as_nanos()) + elapsed;
        let wait = due.saturating_sub(now.as_nanos().into());
        Some(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// The most that is admitted at once, in units.
    #[inline]
    pub(crate) const fn burst(&self) -> u64 {
        self.burst
    }

    /// An amount of what is limited in units; `None` when that is more than can be counted.
    #[inline]
    pub(crate) fn units(&self, amount: u64) -> Option<u64> {
        (amount >> (62 - self.bits) == 0).then(|| amount << self.bits)
    }

    /// Whole ones of what is limited in a number of units.
    pub(crate) const fn count(&self, units: u64) -> u64 {
        units >> self.bits
    }

    /// Whether it stands still.
    pub(crate) const fn is_stopped(&self) -> bool {
        self.advance == 0
    }

    /// The most that one taking may be, in units.
    #[inline]
    pub(crate) const fn largest(&self) -> u64 {
        self.largest
    }

    /// Whether a sum of units is beyond what is counted.
    #[inline]
    pub(crate) const fn is_beyond(units: u64) -> bool {
        units >= END
    }
}

/// As many units to one as a second's advance and the burst leave room for.
fn bits_for(rate: &Rate) -> u32 {
    let seconds = (1_u128 << UNITS_PER_SECOND_BITS) * rate.period().as_nanos();
    let by_rate = (seconds / (u128::from(rate.quota()) * 1_000_000_000)).max(1).ilog2();
    let by_burst = BURST_BITS - 1 - rate.burst_size().ilog2();
    by_rate.min(by_burst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The oracle is the definition in 128-bit arithmetic: not late at all, and in nine years early by some units.
        #[test]
        fn it_shows_rate_times_time(
            quota in 1..1_u64 << 40, period in 1_000_000..1_u64 << 54, from: u64, elapsed in 0..1_u64 << 58,
        ) {
            let rate = Rate::new(quota, Duration::from_nanos(period));
            prop_assume!(rate.is_ok());
            let from = from >> 4;
            let pace = Pace::new(&rate.unwrap().burst(1).unwrap(), Timestamp::from_nanos(from));
            let reading = u128::from(pace.read(Timestamp::from_nanos(from + elapsed)));
            let one = u128::from(pace.units(1).unwrap());
            let exact = u128::from(elapsed) * u128::from(quota) / u128::from(period) * one
                + u128::from(elapsed) * u128::from(quota) % u128::from(period) * one / u128::from(period);
            prop_assert!(reading >= exact && reading <= exact + 4, "{reading} is not {exact}");
        }

        #[test]
        fn the_time_to_a_reading_is_the_first_at_which_it_shows(
            quota in 1..1_u64 << 30, period in 1..100_000_u64, ahead in 0..1_u64 << 40,
        ) {
            let rate = Rate::new(quota, Duration::from_millis(period));
            prop_assume!(rate.is_ok());
            let (pace, now) = (Pace::new(&rate.unwrap(), Timestamp::ORIGIN), Timestamp::from_nanos(77));
            let reading = pace.read(now) + ahead;
            let due = now + pace.time_to(reading, now).unwrap();
            prop_assert!(pace.read(due) >= reading);
            let before = Timestamp::from_nanos(due.as_nanos() - 1);
            prop_assert!(due == now || pace.read(before) < reading);
        }

        /// A clock that goes on at another rate goes at that rate, however much faster or slower it is.
        #[test]
        fn it_goes_on_at_the_other_rate(quota in 1..1_u64 << 30, next in 1..1_u64 << 30, seconds in 1..100_000_u64) {
            let rates = [quota, next].map(|quota| Rate::per_minute(quota).map(|rate| rate.burst(1).unwrap()));
            let [Ok(before), Ok(after)] = rates else { return Ok(()) };
            prop_assume!(Pace::may_become(&before, &after));
            let (start, end) = (Timestamp::ORIGIN + Duration::from_secs(60), Duration::from_secs(60 + 60 * seconds));
            let pace = Pace::new(&before, Timestamp::ORIGIN).continued(&after, start);
            let minutes = pace.read(Timestamp::ORIGIN + end) - pace.read(start);
            let exact = u128::from(next) * u128::from(seconds) * u128::from(pace.units(1).unwrap());
            prop_assert!(u128::from(minutes) >= exact && u128::from(minutes) <= exact + exact / (1 << 50) + 1);
        }

        /// Every rate that there may be has units, and its burst fits.
        #[test]
        fn every_rate_has_a_clock(quota: u64, period: u64, burst in 1..=crate::MAX_BURST) {
            let rate = Rate::new(quota >> (quota % 64), Duration::from_nanos(period >> (period % 64)));
            prop_assume!(rate.is_ok());
            let rate = rate.unwrap().burst(burst).unwrap();
            let pace = Pace::new(&rate, Timestamp::ORIGIN);
            prop_assert_eq!(pace.units(burst), Some(pace.burst()));
            prop_assert!(pace.burst() < 1 << 60 && pace.count(pace.burst()) == burst);
            let century = Timestamp::ORIGIN + Duration::from_secs(100 * 365 * 86_400);
            prop_assert!(pace.read(century) < END);
        }
    }

    proptest! {
        /// However often a clock changes its share, it loses no more than two units for each change, and gains nothing.
        #[test]
        fn shares_that_change_lose_next_to_nothing(
            quota in 1..1_u64 << 24, shares in prop::collection::vec(1..=WHOLE, 1..200), millis in 1..1_000_u64,
        ) {
            let rate = Rate::per_day(quota).unwrap();
            let mut pace = Pace::new(&rate, Timestamp::ORIGIN).sharing(&rate, shares[0], Timestamp::ORIGIN);
            let (mut now, mut exact) = (Timestamp::ORIGIN, 0.0);
            for pair in shares.windows(2) {
                now = now + Duration::from_millis(millis);
                let day = pace.units(quota).unwrap() as f64 * pair[0] as f64 / WHOLE as f64;
                exact += millis as f64 / 86_400_000.0 * day;
                pace = pace.sharing(&rate, pair[1], now);
            }
            let shown = pace.read(now) as f64;
            let least = exact * 0.999_999 - 2.0 * shares.len() as f64;
            prop_assert!((least..=exact * 1.000_001 + 1.0).contains(&shown), "{shown} of {exact}");
        }
    }

    #[test]
    fn b53_t05_it_saturates() {
        let rate = Rate::per_second(crate::rate::MAX_PER_SECOND).unwrap();
        let pace = Pace::new(&rate, Timestamp::from_nanos(5));
        assert_eq!(pace.read(Timestamp::ORIGIN), 0);
        assert_eq!(pace.read(Timestamp::MAX), END);
        assert_eq!(pace.time_to(END, Timestamp::ORIGIN), None);
        assert_eq!(pace.units(u64::MAX), None);
    }
}
