//! How well a candidate is, as one number.

use core::time::Duration;

use waypost_core::{Age, LiveSlot, Ratio, StampedCell, Timestamp};

use crate::config::{HealthConfig, LatencySignal};
use crate::sync::{AtomicU64, Ordering};

/// How often quantiles are read, at most: a reading costs microseconds.
const REFRESH: Duration = Duration::from_secs(1);
/// Results that weigh as much as knowing nothing does.
const PRIOR: f64 = 5.0;
/// What is left of a score when there were too many failures in a row.
const FAILURE_PENALTY: f64 = 0.5;

/// How well a candidate does, from 0 to 1:
///
/// ```text
/// measured   = (w1 × success rate + w2 × (1 − p50 / max p50) + w3 × (1 − p95 / max p95)) / (w1 + w2 + w3)
///              × 0.5 from `failure_threshold` failures in a row on
/// confidence = results / (results + 5) × 2^(−(idle − window) / half-life)
/// score      = unknown + (measured − unknown) × confidence
/// ```
///
/// Results fade with the half-life, so that rates are weighed by time, whatever the rate of requests. Each result is one
/// compare-and-swap and none is lost. Latencies count only where they are known. A candidate without results goes back
/// to *unknown*, from above and from below, and so is tried again.
///
/// ```
/// use core::time::Duration;
/// use waypost_core::{LiveSlot, Timestamp};
/// use waypost_health::{HealthConfig, HealthScore};
///
/// let (score, config, live) = (HealthScore::new(), HealthConfig::default(), LiveSlot::default());
/// let second = |n| Timestamp::ORIGIN + Duration::from_secs(n);
/// for _ in 0..100 {
///     score.record(false, &live, &config, second(1));
/// }
/// assert!(score.value(0, &config, second(1)).get() < 0.35);
/// assert_eq!(score.value(0, &config, second(600)), config.unknown_score);
/// ```
#[derive(Debug)]
pub struct HealthScore {
    succeeded: StampedCell,
    failed: StampedCell,
    /// Nanoseconds; zero while unknown.
    p50: AtomicU64,
    p95: AtomicU64,
    /// When quantiles are to be read again, in nanoseconds.
    stale_at: AtomicU64,
}

impl HealthScore {
    /// Of a candidate of which nothing is known.
    pub fn new() -> Self {
        Self {
            succeeded: StampedCell::new(),
            failed: StampedCell::new(),
            p50: AtomicU64::new(0),
            p95: AtomicU64::new(0),
            stale_at: AtomicU64::new(0),
        }
    }

    /// Takes a result; reads the quantiles of `live`, which has its latency already, if those read last are a second
    /// old. Returns whether it did.
    pub fn record(&self, success: bool, live: &LiveSlot, config: &HealthConfig, now: Timestamp) -> bool {
        let cell = if success { &self.succeeded } else { &self.failed };
        let half_life = config.half_life();
        cell.update(now, |before| {
            Some(before.map_or(0.0, |(count, age)| count * age.decay(half_life)) + 1.0)
        });
        self.refresh_if_stale(live, config.latency, now)
    }

    fn refresh_if_stale(&self, live: &LiveSlot, latency: LatencySignal, now: Timestamp) -> bool {
        let stale_at = self.stale_at.load(Ordering::Relaxed);
        let next = (now + REFRESH).as_nanos();
        // One of those who come at once reads for all.
        let is_mine = now.as_nanos() >= stale_at
            && self.stale_at.compare_exchange(stale_at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_mine {
            let histogram = match latency {
                LatencySignal::TimeToFirstToken => live.latency().time_to_first_token.histogram(),
                LatencySignal::Total => live.latency().total.histogram(),
            };
            let [p50, p95] = histogram.quantiles([0.5, 0.95], now).unwrap_or_default();
            self.p50.store(p50.as_nanos() as u64, Ordering::Relaxed);
            self.p95.store(p95.as_nanos() as u64, Ordering::Relaxed);
        }
        is_mine
    }

    /// The success rate of late; `None` when there was no result.
    pub fn success_rate(&self, config: &HealthConfig, now: Timestamp) -> Option<Ratio> {
        let (succeeded, failed) = self.results(config, now);
        let rate = succeeded / (succeeded + failed);
        Ratio::new(rate).ok()
    }

    /// The median latency, as read last; `None` while unknown.
    pub fn p50_latency(&self) -> Option<Duration> {
        known(&self.p50)
    }

    /// The 95th percentile of the latency, as read last; `None` while unknown.
    pub fn p95_latency(&self) -> Option<Duration> {
        known(&self.p95)
    }

    /// How many results count, faded.
    pub fn samples(&self, config: &HealthConfig, now: Timestamp) -> f64 {
        let (succeeded, failed) = self.results(config, now);
        succeeded + failed
    }

    /// How long ago the last result was; `None` when there was none.
    pub fn idle(&self, now: Timestamp) -> Option<Duration> {
        let age = |cell: &StampedCell| cell.get(now).map(|(_, age)| age);
        let latest = age(&self.succeeded).into_iter().chain(age(&self.failed)).min();
        latest.map(Age::as_duration)
    }

    /// The score of a candidate that failed so often in a row.
    pub fn value(&self, failures_in_a_row: u32, config: &HealthConfig, now: Timestamp) -> Ratio {
        let unknown = config.unknown_score.get();
        let measured = self.measured(failures_in_a_row, config, now).unwrap_or(unknown);
        let score = unknown + (measured - unknown) * self.confidence(config, now);
        Ratio::new(score.clamp(0.0, 1.0)).unwrap_or(config.unknown_score)
    }

    fn measured(&self, failures_in_a_row: u32, config: &HealthConfig, now: Timestamp) -> Option<f64> {
        let weights = config.weights;
        let margin =
            |latency: Duration, most: Duration| (1.0 - latency.as_secs_f64() / most.as_secs_f64()).max(0.0);
        let parts = [
            (weights.success_rate, self.success_rate(config, now).map(Ratio::get)),
            (weights.p50_latency, self.p50_latency().map(|p50| margin(p50, config.max_p50_latency))),
            (weights.p95_latency, self.p95_latency().map(|p95| margin(p95, config.max_p95_latency))),
        ];
        let counted = parts.iter().filter_map(|&(weight, part)| Some((weight, part?)));
        let (sum, weight) = counted
            .filter(|&(weight, part)| weight > 0.0 && part.is_finite())
            .fold((0.0, 0.0), |(sum, weights), (weight, part)| (sum + weight * part, weights + weight));
        let penalty =
            if failures_in_a_row >= config.failure_threshold.max(1) { FAILURE_PENALTY } else { 1.0 };
        (weight > 0.0).then(|| sum / weight * penalty)
    }

    fn confidence(&self, config: &HealthConfig, now: Timestamp) -> f64 {
        let samples = self.samples(config, now);
        let stale = self.idle(now).unwrap_or_default().saturating_sub(config.health_window);
        samples / (samples + PRIOR) * f64::from(Age::of(stale).decay(config.half_life()))
    }

    /// Successes and failures, faded.
    fn results(&self, config: &HealthConfig, now: Timestamp) -> (f64, f64) {
        let faded = |cell: &StampedCell| {
            cell.get(now).map_or(0.0, |(count, age)| f64::from(count * age.decay(config.half_life())))
        };
        (faded(&self.succeeded), faded(&self.failed))
    }

    /// Forgets what was: the candidate begins anew.
    pub(crate) fn forget(&self, now: Timestamp) {
        self.succeeded.update(now, |before| before.map(|_| 0.0));
        self.failed.update(now, |before| before.map(|_| 0.0));
        self.p50.store(0, Ordering::Relaxed);
        self.p95.store(0, Ordering::Relaxed);
    }
}

impl Default for HealthScore {
    fn default() -> Self {
        Self::new()
    }
}

fn known(nanos: &AtomicU64) -> Option<Duration> {
    let nanos = nanos.load(Ordering::Relaxed);
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use waypost_core::{RequestResult, TokenUsage};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_secs(seconds)
    }

    /// The score after `succeeded` and `failed` results with a time to first token of `millis`, in second 1.
    fn scored(succeeded: u32, failed: u32, millis: u64, config: &HealthConfig) -> HealthScore {
        let (score, live) = (HealthScore::new(), LiveSlot::default());
        for i in 0..succeeded + failed {
            let latency = Duration::from_millis(millis);
            let result = if i < succeeded {
                RequestResult::success(latency, TokenUsage::default()).first_token_after(latency)
            } else {
                RequestResult::failure(Duration::ZERO, "x")
            };
            live.record(&result, at(1));
            score.record(i < succeeded, &live, config, at(1));
        }
        score
    }

    #[test]
    fn every_part_counts() {
        let config = HealthConfig::default();
        let value = |succeeded, failed, millis, in_a_row| {
            scored(succeeded, failed, millis, &config).value(in_a_row, &config, at(1)).get()
        };
        let well = value(1_000, 0, 100, 0);
        assert!(well > 0.97, "{well}");
        assert!(value(700, 300, 100, 0) < well - 0.15, "failures");
        assert!(value(1_000, 0, 9_000, 0) < well - 0.15, "latency");
        assert!((value(1_000, 0, 100, 5) - well / 2.0).abs() < 0.01, "failures in a row");
        assert_eq!(value(1_000, 0, 100, 4), well);
        assert_eq!(HealthScore::new().value(0, &config, at(1)), config.unknown_score);
    }

    #[test]
    fn parts_count_by_their_weights() {
        let weights = |success_rate, p50_latency, p95_latency| HealthConfig {
            weights: crate::ScoreWeights { success_rate, p50_latency, p95_latency },
            ..HealthConfig::default()
        };
        let value = |config: &HealthConfig| scored(500, 500, 5_000, config).value(0, config, at(1)).get();
        assert!((value(&weights(1.0, 0.0, 0.0)) - 0.5).abs() < 0.01);
        assert!((value(&weights(0.0, 7.0, 0.0)) - 0.5).abs() < 0.04, "half of ten seconds");
        assert!((value(&weights(0.0, -1.0, 2.0)) - 0.92).abs() < 0.01, "a twelfth of a minute");
        assert_eq!(value(&weights(0.0, f64::NAN, 0.0)), HealthConfig::default().unknown_score.get());
    }

    #[test]
    fn without_results_a_score_goes_to_unknown_from_above_and_below() {
        let config = HealthConfig::default();
        let (good, bad) = (scored(1_000, 0, 10, &config), scored(0, 1_000, 10, &config));
        let after = |score: &HealthScore, seconds: u64| score.value(0, &config, at(1 + seconds)).get();
        assert!(after(&good, 5) > 0.97 && after(&bad, 5) < 0.05, "within the window as it was");
        assert!((0.2..0.7).contains(&after(&bad, 20)));
        for (score, far) in [(&good, 120), (&bad, 120)] {
            assert!((after(score, far) - 0.85).abs() < 0.01, "{}", after(score, far));
        }
        let quick = HealthConfig { health_window: Duration::ZERO, ..config };
        assert!(bad.value(0, &quick, at(11)) > bad.value(0, &HealthConfig::default(), at(11)));
    }

    #[test]
    fn trap_7_results_weigh_by_time_not_by_number() {
        let config = HealthConfig::default();
        let score = scored(0, 1_000, 10, &config);
        let live = LiveSlot::default();
        // As many successes as failures, one half-life later: two to one.
        for _ in 0..1_000 {
            score.record(true, &live, &config, at(11));
        }
        let rate = score.success_rate(&config, at(11)).unwrap().get();
        assert!((rate - 2.0 / 3.0).abs() < 0.01, "{rate}");
    }

    #[test]
    fn threads_lose_no_result() {
        let (score, live, config) = (HealthScore::new(), LiveSlot::default(), HealthConfig::default());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (score, live, config) = (&score, &live, &config);
                scope.spawn(move || {
                    (0..2_500).filter(|_| score.record(thread > 0, live, config, at(1))).count()
                });
            }
        });
        assert_eq!(score.samples(&config, at(1)), 10_000.0);
        assert_eq!(score.success_rate(&config, at(1)), Ratio::new(0.75).ok());
    }
}
