//! Stages that narrow the set.

use core::fmt;
use core::time::Duration;

use crate::{
    CandidateSet, DecisionContext, LoadBalancingStrategy, RequestPriority, ResultEvent, RuleId, Stage,
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

/// What filters tell the rest of a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Directives {
    /// The rule that matched.
    pub rule_matched: Option<RuleId>,
    /// The strategy to choose with, instead of the tenant's or the router's.
    pub strategy: Option<LoadBalancingStrategy>,
    /// The priority to use from here on.
    pub priority: Option<RequestPriority>,
    /// The earliest time at which a candidate that was taken out may be back: what an error tells the caller when
    /// nothing is left.
    pub retry_after: Option<Duration>,
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
