//! What happens to candidates' health, told as it happens.

use core::fmt;
use core::time::Duration;

use waypost_core::{CandidateId, ModelName, Timestamp};

use crate::{CircuitState, Scope, Transition, TripReason};

/// One change of health, with its reason and figures. Exactly one is told for each change, on the thread that made it.
///
/// Displays as a sentence, such as `azure-fr/gpt-4o: circuit open for 5.1 s (5 failures in a row)`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct HealthEvent<'a> {
    /// When.
    pub now: Timestamp,
    /// To whom.
    pub subject: Subject<'a>,
    /// What.
    pub change: HealthChange,
}

impl<'a> HealthEvent<'a> {
    pub(crate) const fn new(now: Timestamp, subject: Subject<'a>, change: HealthChange) -> Self {
        Self { now, subject, change }
    }
}

/// Whom an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject<'a> {
    /// A candidate.
    Candidate(&'a CandidateId),
    /// Everybody who shares a credential, a region or a provider.
    Shared(&'a Scope),
    /// The pool of a model.
    Pool(&'a ModelName),
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum HealthChange {
    /// A circuit breaker changed its state.
    Circuit(Transition),
    /// The candidate is left out because it does worse than others.
    Ejected {
        /// Why.
        reason: EjectionReason,
        /// Until when.
        until: Timestamp,
        /// How often it was of late, this time included.
        count: u64,
    },
    /// The candidate is back after an ejection.
    Restored,
    /// Too few are healthy: health is ignored.
    PanicBegan {
        /// How many are healthy.
        healthy: usize,
        /// Of how many.
        of: usize,
    },
    /// Enough are healthy again.
    PanicEnded,
    /// The candidate failed its checks.
    ChecksFailed,
    /// The candidate passed its checks again.
    ChecksPassed,
}

/// Why a candidate was ejected.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum EjectionReason {
    /// Failures in a row.
    ConsecutiveFailures(u32),
    /// It fails more often than others do.
    SuccessRate {
        /// Its own.
        own: f64,
        /// Theirs.
        others: f64,
    },
    /// It mostly fails.
    FailurePercentage(f64),
    /// Its median latency.
    P50Latency(Duration),
    /// Its 95th percentile of latency.
    P95Latency(Duration),
    /// Its score.
    Score(f64),
}

impl fmt::Display for EjectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures(count) => write!(f, "{count} failures in a row"),
            Self::SuccessRate { own, others } => {
                write!(f, "answered {:.1} %, others {:.1} %", own * 100.0, others * 100.0)
            }
            Self::FailurePercentage(share) => write!(f, "failed {:.1} %", share * 100.0),
            Self::P50Latency(latency) => write!(f, "median latency {:.1} s", latency.as_secs_f64()),
            Self::P95Latency(latency) => write!(f, "p95 latency {:.1} s", latency.as_secs_f64()),
            Self::Score(score) => write!(f, "score {score:.2}"),
        }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Candidate(id) => id.fmt(f),
            Self::Shared(scope) => scope.fmt(f),
            Self::Pool(model) => write!(f, "pool {model}"),
        }
    }
}

impl fmt::Display for HealthEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.subject)?;
        let left = |until: Timestamp| until.since(self.now).as_secs_f64();
        match self.change {
            HealthChange::Circuit(Transition {
                to: CircuitState::Open, reason, failures, of, until, ..
            }) => {
                write!(f, "circuit open for {:.1} s", left(until))?;
                match reason {
                    Some(TripReason::ConsecutiveFailures) => write!(f, " ({failures} failures in a row)"),
                    Some(TripReason::SlowRatio) => write!(f, " ({failures} of {of} slow)"),
                    Some(TripReason::ProbesFailed) => write!(f, " (a try failed)"),
                    _ => write!(f, " ({failures} of {of} failed)"),
                }
            }
            HealthChange::Circuit(Transition { to, .. }) => write!(f, "circuit {to}"),
            HealthChange::Ejected { reason, until, count } => {
                write!(f, "ejected for {:.1} s, {count} of late ({reason})", left(until))
            }
            HealthChange::Restored => write!(f, "back from ejection"),
            HealthChange::PanicBegan { healthy, of } => write!(f, "panic, {healthy} of {of} are healthy"),
            HealthChange::PanicEnded => write!(f, "panic is over"),
            HealthChange::ChecksFailed => write!(f, "failed its checks"),
            HealthChange::ChecksPassed => write!(f, "passed its checks"),
        }
    }
}
