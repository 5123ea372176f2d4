//! Why a request cannot be routed.

use core::time::Duration;

use crate::{LimitId, LoadBalancingStrategy, ModelName, Rejection, RejectionReason, Stage};

/// Why a request cannot be routed.
///
/// ```
/// use waypost_core::{ModelName, RoutingError};
///
/// let error = RoutingError::ModelNotSupported { model: ModelName::new("gpt-5o")? };
/// assert_eq!(error.to_string(), "model `gpt-5o` is not known");
/// assert!(!error.is_retryable());
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoutingError {
    /// Neither a model nor an alias has this name.
    #[error("model `{model}` is not known")]
    ModelNotSupported {
        /// The name.
        model: ModelName,
    },
    /// The model is known, but no candidate takes requests: there is none, or all are drained.
    #[error("no provider of model `{model}` takes requests")]
    NoProvidersAvailable {
        /// The model.
        model: ModelName,
    },
    /// The constraints of request, context and tenant left no candidate.
    #[error("no provider meets the constraints: the last was taken out by {stage}")]
    AllProvidersFiltered {
        /// The stage that took out the last.
        stage: Stage,
    },
    /// No candidate that meets the constraints is healthy.
    #[error("no provider is healthy")]
    AllProvidersUnhealthy {
        /// When one may be back.
        retry_after: Option<Duration>,
    },
    /// A limit of the request is spent, or those of every candidate that meets the constraints are.
    #[error("{}", spent(.limit.as_ref()))]
    LimitsExceeded {
        /// The limit; of several the one that is back first.
        limit: Option<LimitId>,
        /// When it may be back.
        retry_after: Option<Duration>,
    },
    /// The request takes more of a limit than that ever admits at once.
    #[error("the request is larger than limit `{limit}` ever admits")]
    RequestTooLarge {
        /// The limit.
        limit: LimitId,
    },
    /// No candidate that meets the constraints is within the money that may be spent.
    #[error("no provider can serve the request within {}", budget(.limit.as_ref()))]
    BudgetExceeded {
        /// The budget that is spent; `None` when it is the bound of one request.
        limit: Option<LimitId>,
        /// When its next period begins.
        retry_after: Option<Duration>,
    },
    /// A rule rejects the request.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The strategy chose nothing although candidates were left.
    #[error("strategy {strategy} chose none of the {candidates} providers left")]
    SelectionFailed {
        /// The strategy.
        strategy: LoadBalancingStrategy,
        /// How many it could choose from.
        candidates: usize,
    },
    /// No such strategy is registered.
    #[error("strategy {strategy} is not registered")]
    StrategyNotFound {
        /// The strategy.
        strategy: LoadBalancingStrategy,
    },
    /// The deadline had come, or the decision took longer than it may.
    #[error("routing did not finish in time")]
    Timeout,
}

impl RoutingError {
    /// Whether the same request may succeed later without a change of configuration: when something is sick, spent,
    /// slow or busy. After a [`Timeout`](Self::Timeout) only with another deadline, so not the same request.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::AllProvidersUnhealthy { .. }
            | Self::LimitsExceeded { .. }
            | Self::SelectionFailed { .. } => true,
            Self::BudgetExceeded { retry_after, .. } => retry_after.is_some(),
            Self::AllProvidersFiltered { stage } => matches!(stage, Stage::Latency),
            Self::Rejected(rejection) => {
                matches!(
                    rejection.reason,
                    RejectionReason::RateLimitExceeded | RejectionReason::MaintenanceMode
                )
            }
            _ => false,
        }
    }

    /// When to come back, where known.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::AllProvidersUnhealthy { retry_after }
            | Self::LimitsExceeded { retry_after, .. }
            | Self::BudgetExceeded { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The stage that took out the last candidate, where one did.
    pub const fn stage(&self) -> Option<Stage> {
        match self {
            Self::NoProvidersAvailable { .. } => Some(Stage::Drained),
            Self::AllProvidersFiltered { stage } => Some(*stage),
            Self::AllProvidersUnhealthy { .. } => Some(Stage::Health),
            Self::LimitsExceeded { .. } | Self::RequestTooLarge { .. } => Some(Stage::Limits),
            Self::BudgetExceeded { .. } => Some(Stage::Cost),
            _ => None,
        }
    }

    /// The names of all kinds, in the order of [`kind_index`](Self::kind_index).
    pub const KINDS: [&'static str; 11] = [
        "model_not_supported",
        "no_providers_available",
        "all_providers_filtered",
        "all_providers_unhealthy",
        "limits_exceeded",
        "budget_exceeded",
        "rejected",
        "selection_failed",
        "strategy_not_found",
        "timeout",
        "request_too_large",
    ];

    /// A short, stable name for counters and logs.
    pub const fn kind(&self) -> &'static str {
        Self::KINDS[self.kind_index()]
    }

    /// The kind as a number below the length of [`KINDS`](Self::KINDS), to count by.
    pub const fn kind_index(&self) -> usize {
        match self {
            Self::ModelNotSupported { .. } => 0,
            Self::NoProvidersAvailable { .. } => 1,
            Self::AllProvidersFiltered { .. } => 2,
            Self::AllProvidersUnhealthy { .. } => 3,
            Self::LimitsExceeded { .. } => 4,
            Self::BudgetExceeded { .. } => 5,
            Self::Rejected(_) => 6,
            Self::SelectionFailed { .. } => 7,
            Self::StrategyNotFound { .. } => 8,
            Self::Timeout => 9,
            Self::RequestTooLarge { .. } => 10,
        }
    }
}

fn spent(limit: Option<&LimitId>) -> String {
    limit.map_or_else(
        || "the limits of all providers are spent".to_owned(),
        |limit| format!("limit `{limit}` is spent"),
    )
}

fn budget(limit: Option<&LimitId>) -> String {
    limit.map_or_else(|| "its budget".to_owned(), |limit| format!("budget `{limit}`"))
}
