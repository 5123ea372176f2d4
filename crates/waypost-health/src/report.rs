//! What is known of a candidate's health, to look at.

use core::fmt;
use core::time::Duration;

use waypost_core::{CandidateId, LeftOutReason, Ratio, Timestamp};

use crate::condition::CandidateHealth;
use crate::{CircuitBreaker, CircuitState, HealthConfig};

/// Why a candidate is left out, and until when.
///
/// Displays like `circuit open for 4.2 s (last status 529)`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Exclusion {
    /// Why.
    pub reason: LeftOutReason,
    /// How long yet; `None` when it cannot be told.
    pub remaining: Option<Duration>,
    /// How often its own breaker opened in a row, or the candidate was ejected of late; zero for other reasons.
    pub times: u64,
    /// The HTTP status of the last failure.
    pub last_status: Option<u16>,
}

impl Exclusion {
    pub(crate) fn new(
        reason: LeftOutReason,
        until: Timestamp,
        health: &CandidateHealth,
        ejections: u64,
        now: Timestamp,
    ) -> Self {
        let times = match reason {
            LeftOutReason::CircuitOpen | LeftOutReason::CircuitHalfOpen => {
                health.own.breaker.as_ref().map_or(0, |breaker| breaker.streak().into())
            }
            LeftOutReason::Ejected => ejections,
            _ => 0,
        };
        let remaining = (until < Timestamp::MAX).then(|| until.since(now));
        Self { reason, remaining, times, last_status: health.last_status() }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        if let Some(remaining) = self.remaining {
            write!(f, " for {:.1} s", remaining.as_secs_f64())?;
        }
        if self.times > 1 {
            write!(f, ", {} times of late", self.times)?;
        }
        match self.last_status {
            Some(status) => write!(f, " (last status {status})"),
            None => Ok(()),
        }
    }
}

/// What is known of a candidate's health at one time.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HealthReport {
    /// The candidate.
    pub candidate: CandidateId,
    /// Why it is left out, unless too few others are healthy; `None` when it is not.
    pub exclusion: Option<Exclusion>,
    /// The score, from 0 to 1.
    pub overall_score: Ratio,
    /// The share of successes of late; `None` when there was no result.
    pub success_rate: Option<Ratio>,
    /// The share of failures of late; `None` when there was no result.
    pub error_rate: Option<Ratio>,
    /// The median latency; `None` while unknown.
    pub p50_latency: Option<Duration>,
    /// The 95th percentile of latency; `None` while unknown.
    pub p95_latency: Option<Duration>,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// Successes in the window.
    pub succeeded: u32,
    /// Failures in the window.
    pub failed: u32,
    /// Where its own breaker is.
    pub circuit: CircuitState,
    /// How long ago the last result was, or its new beginning after an ejection or a reset; `None` when there was neither.
    pub idle: Option<Duration>,
}

impl HealthReport {
    pub(crate) fn new(
        health: &CandidateHealth,
        exclusion: Option<Exclusion>,
        config: &HealthConfig,
        now: Timestamp,
    ) -> Self {
        let (score, counts) = (&health.score, health.counts(now));
        let success_rate = score.success_rate(config, now);
        let consecutive_failures = health.failures_in_a_row();
        Self {
            candidate: health.id().clone(),
            exclusion,
            overall_score: score.value(consecutive_failures, config, now),
            success_rate,
            error_rate: success_rate.and_then(|rate| Ratio::new(1.0 - rate.get()).ok()),
            p50_latency: score.p50_latency(),
            p95_latency: score.p95_latency(),
            consecutive_failures,
            succeeded: counts.succeeded,
            failed: counts.failed,
            circuit: health.own.breaker.as_ref().map_or(CircuitState::Closed, CircuitBreaker::state),
            idle: score.idle(now),
        }
    }
}
