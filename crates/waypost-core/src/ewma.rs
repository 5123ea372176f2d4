//! An average that follows.

use core::time::Duration;

use crate::time::nanos_of;
use crate::{Age, StampedCell, Timestamp};

const HALF_LIFE: Age = Age::of(Ewma::HALF_LIFE);
const STALE_AFTER: Age = Age::of(Ewma::STALE_AFTER);
/// Up to this age a sample has the least weight: log2(32 / 31) of a half-life.
const LIGHT_AGE: Age = Age::of(Duration::from_nanos(Ewma::HALF_LIFE.as_nanos() as u64 / 10_000 * 458));

/// A time-decayed exponentially weighted moving average of durations, in one atomic word.
///
/// After a pause of Δt a new sample counts `1 − 2^(−Δt / half-life)` and the old average the rest, but a sample never
/// counts less than [`MIN_WEIGHT`](Self::MIN_WEIGHT): by time alone the samples of a burst would weigh nothing
/// (inter-arrival weighting, the flaw of the plain form that Finagle and tower use for idle decay). The first sample
/// is taken as it is. An average that got no sample for [`STALE_AFTER`](Self::STALE_AFTER) reads as unknown, so that
/// nothing is judged for ever by what it did long ago.
///
/// Updates are one compare-and-swap each and lose no sample; reading changes nothing.
#[derive(Debug, Default)]
pub struct Ewma {
    nanos: StampedCell,
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
        Self::default()
    }

    /// Takes a sample; returns the new average.
    pub fn record(&self, sample: Duration, now: Timestamp) -> Duration {
        Duration::from_nanos(self.record_nanos(nanos_of(sample), now))
    }

    /// Takes a lower bound, as a failed request gives: it can raise a known average, never lower it. It begins none,
    /// and one that changes nothing does not keep an average fresh. Returns the average, or `None` while it is unknown.
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
        let (average, age) = self.nanos.get(now)?;
        (age < STALE_AFTER).then_some(average as u64)
    }

    #[inline]
    fn update(&self, now: Timestamp, sample: f32) -> f32 {
        let next = |before| match before {
            Some((average, age)) if age < STALE_AFTER => {
                Some(average + weight_after(age) * (sample - average))
            }
            _ => Some(sample),
        };
        self.nanos.update(now, next).unwrap_or(sample)
    }
}

#[inline]
fn weight_after(age: Age) -> f32 {
    if age <= LIGHT_AGE { Ewma::MIN_WEIGHT } else { 1.0 - age.decay(HALF_LIFE) }
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
    fn trap_7_a_burst_moves_it() {
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
        let wrap = Timestamp::from_nanos((u64::from(u32::MAX) << 20) - 1);
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
