//! An average that follows.

use core::time::Duration;

use crate::Timestamp;
use crate::sync::{AtomicU64, Ordering};
use crate::time::nanos_of;

/// Time is kept in units of 2^20 ns, about a millisecond, in 32 bits: it wraps after 52 days.
const TICK_BITS: u32 = 20;

/// Up to this age in ticks a sample has the least weight: log2(32 / 31) of a half-life, less the rounding to ticks.
const LIGHT_AGE: u32 = ticks_of(Ewma::HALF_LIFE) * 458 / 10_000;

/// A time-decayed exponentially weighted moving average of durations, in one atomic word.
///
/// After a pause of Δt a new sample counts `1 − 2^(−Δt / half-life)` and the old average the rest, but a sample never
/// counts less than [`MIN_WEIGHT`](Self::MIN_WEIGHT): by time alone the samples of a burst would weigh nothing
/// (inter-arrival weighting, the flaw of the plain form that Finagle and tower use for idle decay). The first sample
/// is taken as it is. An average that got no sample for [`STALE_AFTER`](Self::STALE_AFTER) reads as unknown, so that
/// nothing is judged for ever by what it did long ago.
///
/// Updates are one compare-and-swap each and lose no sample; reading changes nothing.
#[derive(Debug)]
pub struct Ewma {
    /// Nanoseconds as `f32` bits in the high half, time in ticks in the low half; zero before the first sample.
    word: AtomicU64,
}

impl Ewma {
    /// How long until an old average counts half: 10 s, the time constant that Finagle, linkerd and Envoy settled on.
    pub const HALF_LIFE: Duration = Duration::from_secs(10);
    /// The least a sample counts: 1/32, so a burst moves the average within some thirty samples.
    pub const MIN_WEIGHT: f32 = 1.0 / 32.0;
    /// The age at which an average is forgotten: 5 minutes, thirty half-lives.
    pub const STALE_AFTER: Duration = Duration::from_secs(300);

    /// An average of nothing yet.
    pub fn new() -> Self {
        Self { word: AtomicU64::new(0) }
    }

    /// Takes a sample; returns the new average.
    pub fn record(&self, sample: Duration, now: Timestamp) -> Duration {
        Duration::from_nanos(self.record_nanos(nanos_of(sample), now))
    }

    /// Takes a lower bound, as a failed request gives: it can raise a known average, never lower it. It begins none, and
    /// one that changes nothing does not keep an average fresh. Returns the average, or `None` while it is unknown.
    pub fn record_at_least(&self, bound: Duration, now: Timestamp) -> Option<Duration> {
        let average = self.get(now)?;
        Some(if bound > average { self.record(bound, now) } else { average })
    }

    /// The average, or `None` before the first sample and when the last is too old.
    pub fn get(&self, now: Timestamp) -> Option<Duration> {
        self.get_nanos(now).map(Duration::from_nanos)
    }

    #[inline]
    pub(crate) fn record_nanos(&self, sample: u64, now: Timestamp) -> u64 {
        let sample = sample as f32;
        self.update(now, sample) as u64
    }

    #[inline]
    pub(crate) fn get_nanos(&self, now: Timestamp) -> Option<u64> {
        let (average, age) = read(self.word.load(Ordering::Relaxed), ticks(now))?;
        (age < ticks_of(Self::STALE_AFTER)).then_some(average as u64)
    }

    #[inline]
    fn update(&self, now: Timestamp, sample: f32) -> f32 {
        let tick = ticks(now);
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (average, time) = match read(word, tick) {
                Some((average, age)) if age < ticks_of(Self::STALE_AFTER) => {
                    // The time never moves back: a late sample counts little and ages nothing.
                    (
                        average + weight_after(age) * (sample - average),
                        if age == 0 { word as u32 } else { tick },
                    )
                }
                _ => (sample, tick),
            };
            let next = (u64::from(average.to_bits()) << 32) | u64::from(time);
            // Relaxed: the word publishes nothing but itself.
            match self.word.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return average,
                Err(seen) => word = seen,
            }
        }
    }
}

impl Default for Ewma {
    fn default() -> Self {
        Self::new()
    }
}

/// The average and its age in ticks. A time up to an hour before the last sample is age zero; anything else before it
/// is a long idle time, seen through the wrap.
fn read(word: u64, now: u32) -> Option<(f32, u32)> {
    if word == 0 {
        return None;
    }
    let age = now.wrapping_sub(word as u32);
    let age = if age > u32::MAX - ticks_of(Duration::from_secs(3_600)) { 0 } else { age };
    Some((f32::from_bits((word >> 32) as u32), age))
}

#[inline]
fn weight_after(age: u32) -> f32 {
    if age <= LIGHT_AGE {
        return Ewma::MIN_WEIGHT;
    }
    1.0 - (-(age as f32) / ticks_of(Ewma::HALF_LIFE) as f32).exp2()
}

/// Never zero, so that a word with a sample is never zero.
fn ticks(now: Timestamp) -> u32 {
    ((now.as_nanos() >> TICK_BITS) as u32).max(1)
}

const fn ticks_of(duration: Duration) -> u32 {
    (duration.as_nanos() >> TICK_BITS) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_millis(millis)
    }

    fn seconds(seconds: f32) -> Duration {
        Duration::from_secs_f32(seconds)
    }

    #[test]
    fn half_of_a_jump_is_seen_after_a_half_life() {
        let ewma = Ewma::new();
        ewma.record(seconds(1.0), at(1_000));
        let average = ewma.record(seconds(3.0), at(11_000)).as_secs_f32();
        assert!((average - 2.0).abs() < 0.001, "{average}");
    }

    #[test]
    fn a_burst_moves_it() {
        let ewma = Ewma::new();
        ewma.record(seconds(0.1), at(0));
        for _ in 0..100 {
            ewma.record(seconds(5.0), at(1));
        }
        assert!(ewma.get(at(1)).unwrap() > seconds(4.5));
    }

    #[test]
    fn a_fast_failure_never_flatters() {
        let ewma = Ewma::new();
        ewma.record(seconds(1.0), at(0));
        for second in 1..400 {
            ewma.record_at_least(Duration::from_millis(1), at(second * 1_000));
        }
        assert_eq!(ewma.get(at(99_000)), Some(seconds(1.0)));
        assert_eq!(ewma.get(at(400_000)), None, "nor does it keep an old average fresh");
    }

    #[test]
    fn a_failure_says_nothing_of_a_candidate_that_is_unknown() {
        let ewma = Ewma::new();
        assert_eq!(ewma.record_at_least(Duration::from_millis(1), at(0)), None);
        assert_eq!(ewma.get(at(0)), None);
        ewma.record(seconds(1.0), at(0));
        assert!(
            ewma.record_at_least(seconds(9.0), at(5_000)) > Some(seconds(2.0)),
            "a slow one raises what is known"
        );
    }

    #[test]
    fn a_month_of_idleness_is_not_the_past() {
        let ewma = Ewma::new();
        ewma.record(seconds(20.0), at(0));
        for days in [1, 26, 30, 45, 51] {
            assert_eq!(ewma.get(at(days * 86_400_000)), None, "{days} days");
        }
    }

    #[test]
    fn is_forgotten_when_stale_and_not_before() {
        let ewma = Ewma::new();
        assert_eq!(ewma.get(at(0)), None);
        ewma.record(seconds(1.0), at(0));
        assert_eq!(ewma.get(at(299_000)), Some(seconds(1.0)));
        assert_eq!(ewma.get(at(301_000)), None);
        ewma.record(seconds(2.0), at(301_000));
        assert_eq!(ewma.get(at(301_000)), Some(seconds(2.0)), "a new start takes the sample as it is");
    }

    #[test]
    fn survives_the_wrap_of_its_clock_and_time_going_backwards() {
        let wrap = Timestamp::from_nanos((u64::from(u32::MAX) << TICK_BITS) - 1);
        let ewma = Ewma::new();
        ewma.record(seconds(1.0), wrap);
        ewma.record(seconds(1.0), wrap + Duration::from_secs(10));
        assert_eq!(ewma.get(wrap + Duration::from_secs(11)), Some(seconds(1.0)));
        assert_eq!(ewma.get(wrap), Some(seconds(1.0)), "a reader with an older time still sees it");
    }

    proptest! {
        #[test]
        fn stays_between_the_samples(samples in prop::collection::vec((0_u64..100_000, 1_u64..1_000_000), 1..50)) {
            let ewma = Ewma::new();
            for &(millis, micros) in &samples {
                ewma.record(Duration::from_micros(micros), at(millis));
            }
            let read = ewma.get(at(samples.last().unwrap().0)).unwrap().as_secs_f64();
            let values = samples.iter().map(|&(_, micros)| micros as f64 / 1e6);
            let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
            prop_assert!(low * 0.9999 <= read && read <= high * 1.0001, "{low} {read} {high}");
        }
    }
}
