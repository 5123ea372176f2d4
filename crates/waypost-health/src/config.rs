//! What an operator may set.

use core::time::Duration;

use waypost_core::{Age, Ratio};

/// The settings of a [`HealthAwareRouter`](crate::HealthAwareRouter). In configuration files, what can be `None` is
/// switched off by `false`. No breaker stays open, no lease and no ejection lasts
/// longer than an hour, whatever they say.
///
/// ```
/// use core::time::Duration;
/// use waypost_health::{BreakerConfig, HealthConfig};
///
/// let config = HealthConfig {
///     breaker: Some(BreakerConfig { open_for: Duration::from_secs(1), ..BreakerConfig::default() }),
///     ..HealthConfig::default()
/// };
/// assert_eq!(config.panic_threshold.get(), 0.5);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HealthConfig {
    /// Whether results teach anything. An administrator's word and active checks count either way. Default: yes.
    pub enabled: bool,
    /// The score below which a candidate is ejected, if most of its pool are above it. Default: 0.7.
    pub min_health_threshold: Ratio,
    /// How long until a result counts half in the score's success rate. The weight of a result by time; a weight `alpha`
    /// per result, at one result in every `interval`, is a half-life of `interval × ln 2 / −ln(1 − alpha)`, see
    /// [`half_life_of`](Self::half_life_of). Default: 10 s.
    pub ewma_half_life: Duration,
    /// The time over which success rates are compared and failure ratios taken, in ten parts; and how long a score
    /// stays as it is without results, before it goes towards [`unknown_score`](Self::unknown_score). Default: 10 s.
    pub health_window: Duration,
    /// Failures in a row from which a score counts half. Default: 5.
    pub failure_threshold: u32,
    /// A candidate with at least this success rate over the window is never ejected for it, however much better others
    /// do. Default: 0.95.
    pub min_success_rate: Ratio,
    /// The median latency above which a candidate is ejected, if most of its pool are below. Default: 10 s.
    pub max_p50_latency: Duration,
    /// The 95th percentile above which a candidate is ejected, if most of its pool are below. Default: 60 s.
    pub max_p95_latency: Duration,
    /// Which latency is meant. Default: time to first token.
    pub latency: LatencySignal,
    /// What the score is made of.
    pub weights: ScoreWeights,
    /// The score of a candidate of which nothing is known, and where one goes that gets no requests. Default: 0.85.
    pub unknown_score: Ratio,
    /// Results below which neither scores nor rates nor latencies are judged. Default: 20.
    pub min_samples: u32,
    /// The circuit breakers; `None` for none.
    #[cfg_attr(feature = "serde", serde(with = "switch"))]
    pub breaker: Option<BreakerConfig>,
    /// How long candidates rest that ask for it.
    pub cool_down: CoolDownConfig,
    /// Outlier ejection; `None` for none.
    #[cfg_attr(feature = "serde", serde(with = "switch"))]
    pub ejection: Option<EjectionConfig>,
    /// The share that must be healthy of a pool's candidates that could be, that is without those that are drained,
    /// disabled, refused, cooling down or failing their checks; with fewer, what was seen of health is ignored, because
    /// everything at the few would bring them down too. Zero never panics. Default: 0.5.
    pub panic_threshold: Ratio,
    /// How candidates that are new or back are let in; `None` for at once.
    #[cfg_attr(feature = "serde", serde(with = "switch"))]
    pub slow_start: Option<SlowStartConfig>,
    /// Active checks.
    pub checks: CheckConfig,
}

/// Settings that can be switched off are written as `false` then: configuration files have no word for none, and what is
/// left out has its default.
#[cfg(feature = "serde")]
mod switch {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{Serialize, Serializer};

    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Setting<T> {
        On(T),
        Switch(bool),
        None(()),
    }

    #[expect(clippy::ref_option, reason = "serde hands out the field")]
    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_bool(false),
        }
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        match Setting::deserialize(deserializer)? {
            Setting::On(value) => Ok(Some(value)),
            Setting::Switch(false) | Setting::None(()) => Ok(None),
            Setting::Switch(true) => Err(Error::custom("say `false`, or the setting")),
        }
    }
}

/// Which latency health looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LatencySignal {
    /// From the call to the first content.
    #[default]
    TimeToFirstToken,
    /// From the call to the end. A poor signal where answers differ in length, as those of reasoning models do.
    Total,
}

/// What parts of a score count; only their proportion matters. A part that is not positive does not count.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ScoreWeights {
    /// The success rate. Default: 0.7.
    pub success_rate: f64,
    /// How far the median latency is below its maximum. Default: 0.2.
    pub p50_latency: f64,
    /// How far the 95th percentile is below its maximum. Default: 0.1.
    pub p95_latency: f64,
}

/// When a circuit breaker opens, and how it closes again.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct BreakerConfig {
    /// Failures in a row that open it; zero never does. Default: 5.
    pub consecutive_failures: u32,
    /// The share of failures over the window that opens it, inclusive; `None` never does. Default: 0.5.
    #[cfg_attr(feature = "serde", serde(with = "switch"))]
    pub failure_ratio: Option<Ratio>,
    /// The share of slow answers over the window that opens it, inclusive; `None` never does. Default: none.
    #[cfg_attr(feature = "serde", serde(with = "switch"))]
    pub slow_ratio: Option<Ratio>,
    /// From when on an answer is slow, by the time to its first token, or in all if that is not known. Default: 30 s.
    pub slow_after: Duration,
    /// Results in the window below which no ratio is taken. Default: 20.
    pub min_volume: u32,
    /// The time over which ratios are taken, whatever the rate of requests, in ten parts. Default: 10 s.
    pub window: Duration,
    /// How long it stays open the first time; twice as long each further time in a row. Default: 5 s.
    pub open_for: Duration,
    /// The longest it stays open. Default: 300 s.
    pub open_at_most: Duration,
    /// By how much the time that it stays open may be more or less, so that gateways do not try again together. Default:
    /// 0.2.
    pub jitter: Ratio,
    /// How long it must have been closed for opening to be the first time again. Default: 60 s.
    pub settled_after: Duration,
    /// Requests that may try a half-open breaker, 1 to 255; zero counts as 1. With their results it closes, or opens as
    /// soon as the failure ratio cannot but be reached. Default: 1.
    pub half_open_max_requests: u8,
    /// How long such a request may take before it counts as lost, and another may try. Must be longer than the longest
    /// answer: the result of a request that counts as lost says nothing. Default: 300 s.
    pub half_open_lease: Duration,
    /// Whether rate-limited requests count in the ratio. They never count as failures in a row. Default: no: a provider
    /// that limits rates is well, and needs to rest, not to be avoided.
    pub rate_limited_counts: bool,
}

/// How long candidates rest that ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct CoolDownConfig {
    /// After a rate limit that does not say how long. Default: 2 s.
    pub without_hint: Duration,
    /// The longest that a provider's word counts. Default: 300 s.
    pub at_most: Duration,
    /// How long a refused credential is not tried. Default: 300 s.
    pub refused_credential: Duration,
}

/// When a candidate that does worse than the others is left out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EjectionConfig {
    /// Failures in a row; `None` leaves them to the breaker. Default: none.
    #[cfg_attr(feature = "serde", serde(with = "switch"))]
    pub consecutive_failures: Option<u32>,
    /// The chance that a candidate which is like the others would fail this often; below, it is an outlier. `None` does
    /// not compare. Default: 0.0001.
    #[cfg_attr(feature = "serde", serde(with = "switch"))]
    pub success_rate: Option<Ratio>,
    /// The share of failures over the window, inclusive; `None` does not look. Default: 0.85.
    #[cfg_attr(feature = "serde", serde(with = "switch"))]
    pub failure_percentage: Option<Ratio>,
    /// How often a pool is looked at, at most. Default: 1 s.
    pub interval: Duration,
    /// How long a candidate is out, times how often it was of late. Default: 30 s.
    pub base_time: Duration,
    /// The longest it is out. Default: 300 s.
    pub at_most: Duration,
    /// By how much the time may be more or less. Default: 0.2.
    pub jitter: Ratio,
    /// The share of a pool that may be out at once; if any, then at least one, and never all. Default: 0.5.
    pub max_ejected: Ratio,
}

/// How candidates that are new or back are let in: with `max(least, (t / window) ^ (1 / aggression))` of their weight.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct SlowStartConfig {
    /// How long. Default: 20 s.
    pub window: Duration,
    /// How the share grows: 1 evenly, more faster at first. Default: 1.
    pub aggression: f32,
    /// The least share. Default: 0.1.
    pub least: Ratio,
}

/// How active checks judge.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct CheckConfig {
    /// The time between two checks of a candidate. At least 1 ms. Default: 10 s.
    pub interval: Duration,
    /// By how much the time between may be more or less, at most by half. Default: 0.2.
    pub jitter: Ratio,
    /// How long a check may take; never longer than until the next. Default: 5 s.
    pub timeout: Duration,
    /// Checks passed in a row that bring a candidate back; zero counts as 1. Default: 2.
    pub rise: u16,
    /// Checks failed in a row that take a candidate out; zero counts as 1. Default: 3.
    pub fall: u16,
}

impl HealthConfig {
    /// Learns nothing from results, so that only administrators and active checks leave anybody out.
    pub fn off() -> Self {
        Self { enabled: false, slow_start: None, ..Self::default() }
    }

    /// The half-life that weighs results like a weight of `alpha` per result (0 to 1) does at one result in every
    /// `interval`: `interval × ln 2 / −ln(1 − alpha)`. An `alpha` outside of its range gives the interval itself.
    pub fn half_life_of(alpha: f64, interval: Duration) -> Duration {
        let intervals = core::f64::consts::LN_2 / -(-alpha).ln_1p();
        let seconds =
            interval.as_secs_f64() * if intervals.is_finite() && intervals > 0.0 { intervals } else { 1.0 };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    pub(crate) const fn half_life(&self) -> Age {
        Age::of(self.ewma_half_life)
    }
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            min_health_threshold: Ratio::of(7, 10),
            ewma_half_life: Duration::from_secs(10),
            health_window: Duration::from_secs(10),
            failure_threshold: 5,
            min_success_rate: Ratio::of(95, 100),
            max_p50_latency: Duration::from_secs(10),
            max_p95_latency: Duration::from_secs(60),
            latency: LatencySignal::default(),
            weights: ScoreWeights::default(),
            unknown_score: Ratio::of(85, 100),
            min_samples: 20,
            breaker: Some(BreakerConfig::default()),
            cool_down: CoolDownConfig::default(),
            ejection: Some(EjectionConfig::default()),
            panic_threshold: Ratio::of(1, 2),
            slow_start: Some(SlowStartConfig::default()),
            checks: CheckConfig::default(),
        }
    }
}

impl Default for ScoreWeights {
    fn default() -> Self {
        Self { success_rate: 0.7, p50_latency: 0.2, p95_latency: 0.1 }
    }
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_ratio: Some(Ratio::of(1, 2)),
            slow_ratio: None,
            slow_after: Duration::from_secs(30),
            min_volume: 20,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(5),
            open_at_most: Duration::from_secs(300),
            jitter: Ratio::of(2, 10),
            settled_after: Duration::from_secs(60),
            half_open_max_requests: 1,
            half_open_lease: Duration::from_secs(300),
            rate_limited_counts: false,
        }
    }
}

impl Default for CoolDownConfig {
    fn default() -> Self {
        Self {
            without_hint: Duration::from_secs(2),
            at_most: Duration::from_secs(300),
            refused_credential: Duration::from_secs(300),
        }
    }
}

impl Default for EjectionConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: None,
            success_rate: Some(Ratio::of(1, 10_000)),
            failure_percentage: Some(Ratio::of(85, 100)),
            interval: Duration::from_secs(1),
            base_time: Duration::from_secs(30),
            at_most: Duration::from_secs(300),
            jitter: Ratio::of(2, 10),
            max_ejected: Ratio::of(1, 2),
        }
    }
}

impl Default for SlowStartConfig {
    fn default() -> Self {
        Self { window: Duration::from_secs(20), aggression: 1.0, least: Ratio::of(1, 10) }
    }
}

impl Default for CheckConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            jitter: Ratio::of(2, 10),
            timeout: Duration::from_secs(5),
            rise: 2,
            fall: 3,
        }
    }
}

/// The longest time, an hour but for what rounding adds: a [`Stamp`](waypost_core::Stamp) can tell no more.
pub(crate) const LONGEST: Duration = Duration::from_secs(3_599);

/// What a product of a share and a whole number may be off by: 0.28 of 25 is 7.000000000000001.
pub(crate) const ROUNDING: f64 = 1e-9;

/// A time that is up to `jitter` more or less, by a draw from 0 to 1, and never more than `at_most` nor than
/// [`LONGEST`].
pub(crate) fn jittered(time: Duration, at_most: Duration, jitter: Ratio, draw: f64) -> Duration {
    let at_most = at_most.min(LONGEST).as_secs_f64();
    // Room for the jitter below the limit: draws that are cut off there would bring everybody back together.
    let middle = time.as_secs_f64().min(at_most / (1.0 + jitter.get()));
    Duration::from_secs_f64(middle * (1.0 + jitter.get() * (2.0 * draw - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_per_result_is_a_half_life() {
        let second = Duration::from_secs(1);
        // After one half-life at one result per second the first weighs half: 0.7^n = 0.5.
        let half_life = HealthConfig::half_life_of(0.3, second).as_secs_f64();
        assert!((0.7_f64.powf(half_life) - 0.5).abs() < 1e-9, "{half_life}");
        for nonsense in [0.0, 1.0, -1.0, 2.0, f64::NAN] {
            assert_eq!(HealthConfig::half_life_of(nonsense, second), second);
        }
    }

    #[test]
    fn jitter_stays_within_its_bounds_and_below_the_limit() {
        let (second, ten) = (Duration::from_secs(1), Duration::from_secs(10));
        let fifth = Ratio::of(1, 5);
        let spread =
            |time, at_most| [0.0, 0.5, 1.0].map(|draw| jittered(time, at_most, fifth, draw).as_millis());
        assert_eq!(spread(second, ten), [800, 1_000, 1_200]);
        assert_eq!(spread(ten * 9, ten).last(), Some(&10_000));
        assert!(spread(ten * 9, ten)[0] < 7_000, "spread at the limit too");
        assert!(jittered(Duration::MAX, Duration::MAX, Ratio::ONE, 1.0) < Duration::from_secs(3_600));
    }
}
