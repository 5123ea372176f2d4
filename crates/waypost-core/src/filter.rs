//! Stages that narrow the set.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::{
    Annotations, CandidateIndex, CandidateSet, DecisionContext, LimitId, LoadBalancingStrategy, PoolWeights,
    RequestPriority, ResultEvent, RuleId, Stage, Timestamp,
};

/// A stage of the decision that is plugged in: rules, health, limits, or a user's own.
///
/// Filters of one [`Stage`] run in the order in which they were added. A filter only narrows: candidates that it puts
/// back are taken out again.
///
/// ```
/// use waypost_core::{CandidateFilter, CandidateSet, DecisionContext, Directives, Rejection, Stage};
///
/// /// Keeps new work away from candidates with more than a hundred requests in flight.
/// #[derive(Debug)]
/// struct Crowded;
///
/// impl CandidateFilter for Crowded {
///     fn stage(&self) -> Stage {
///         Stage::Limits
///     }
///
///     fn filter(&self, set: &mut CandidateSet<'_>, _: &DecisionContext<'_>, _: &mut Directives) -> Result<(), Rejection> {
///         set.retain(|_, candidate| candidate.live().in_flight().requests <= 100);
///         Ok(())
///     }
/// }
/// ```
pub trait CandidateFilter: fmt::Debug + Send + Sync {
    /// Which step of the decision it belongs to: where it runs and how its drops are reported.
    fn stage(&self) -> Stage;

    /// Takes candidates out of `set` and says what the rest of the decision should know. Must not change anything
    /// else: explanations run it too.
    ///
    /// # Errors
    ///
    /// [`Rejection`] when the request must not be served at all.
    fn filter(
        &self,
        set: &mut CandidateSet<'_>,
        decision: &DecisionContext<'_>,
        directives: &mut Directives,
    ) -> Result<(), Rejection>;
}

/// A candidate that a stage left out for now, why, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// The candidate's place in its pool.
    pub index: CandidateIndex,
    /// Why.
    pub reason: LeftOutReason,
    /// Until when; [`Timestamp::MAX`] when it cannot be told.
    pub until: Timestamp,
}

/// Why a stage left a candidate out for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LeftOutReason {
    /// An administrator disabled it.
    Disabled,
    /// The provider refused its credential.
    CredentialRefused,
    /// It failed the active checks.
    ChecksFailed,
    /// The provider asked not to be asked for a while.
    CoolingDown,
    /// Its circuit breaker is open.
    CircuitOpen,
    /// A limit of it is spent.
    LimitSpent,
    /// Its circuit breaker is half-open, and as many requests as may try it are under way.
    CircuitHalfOpen,
    /// It does worse than the others of its pool.
    Ejected,
}

impl LeftOutReason {
    /// The name in explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::CredentialRefused => "credential refused",
            Self::ChecksFailed => "checks failed",
            Self::CoolingDown => "cooling down",
            Self::CircuitOpen => "circuit open",
            Self::LimitSpent => "limit spent",
            Self::CircuitHalfOpen => "circuit half-open",
            Self::Ejected => "ejected",
        }
    }
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who was left out for now: the first four; others are only counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOutList([Option<LeftOut>; 4]);

impl LeftOutList {
    /// One more, if there is room.
    pub fn add(&mut self, candidate: LeftOut) {
        if let Some(free) = self.0.iter_mut().find(|place| place.is_none()) {
            *free = Some(candidate);
        }
    }

    /// Those who are named.
    pub fn iter(&self) -> impl Iterator<Item = LeftOut> + '_ {
        self.0.iter().flatten().copied()
    }
}

/// What filters tell the rest of a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Directives {
    /// The rule that matched.
    pub rule_matched: Option<RuleId>,
    /// The strategy to choose with, instead of the tenant's or the router's.
    pub strategy: Option<LoadBalancingStrategy>,
    /// Weights to choose by, instead of the candidates' own; whoever has none of them is not chosen.
    pub weights: Option<PoolWeights>,
    /// What rules add for the caller; `None` when it is nothing.
    pub annotations: Option<Arc<Annotations>>,
    /// The priority to use from here on.
    pub priority: Option<RequestPriority>,
    /// The earliest time at which a candidate that was taken out may be back: what an error tells the caller when
    /// nothing is left.
    pub retry_after: Option<Duration>,
    /// The limit that is back first of those that took candidates out.
    pub spent: Option<LimitId>,
    /// Too few candidates are healthy, so what was seen of their health is ignored.
    pub panic: bool,
    /// Candidates that stages left out for now, and why.
    pub left_out: LeftOutList,
}

impl Directives {
    /// Says when a candidate that was taken out may be back; the earliest of all is kept.
    pub fn retry_after(&mut self, wait: Duration) {
        self.retry_after = Some(self.retry_after.map_or(wait, |known| known.min(wait)));
    }
}

/// A request that must not be served, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("request rejected{}: {reason}", rule.as_ref().map(|rule| format!(" by rule `{rule}`")).unwrap_or_default())]
pub struct Rejection {
    /// The rule that says so, if it is one.
    pub rule: Option<RuleId>,
    /// The reason, for the caller.
    pub reason: RejectionReason,
}

/// Why a request is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectionReason {
    /// Too many requests.
    #[error("rate limit exceeded")]
    RateLimitExceeded,
    /// The caller may not use the model.
    #[error("model not authorized")]
    UnauthorizedModel,
    /// The request makes no sense.
    #[error("invalid request")]
    InvalidRequest,
    /// Nothing is served now.
    #[error("maintenance")]
    MaintenanceMode,
    /// A reason in the operator's words.
    #[error("{0}")]
    Custom(String),
}

/// Learns how requests end: health, limits, metrics, or a user's own.
///
/// Called once for every request that ended, on the thread that ended it; must not block.
pub trait ResultObserver: fmt::Debug + Send + Sync {
    /// A request ended.
    fn observe(&self, event: &ResultEvent<'_>);
}
