//! What a request may cost.

use crate::NanoUsd;

/// What the caller may still spend, as one request sees it: a bound per request and what is left of the period.
///
/// ```
/// use waypost_core::{CostBudget, NanoUsd};
///
/// let budget = CostBudget { max_cost_per_request: NanoUsd::from_usd(0.50)?, remaining: Some(NanoUsd::from_usd(0.10)?) };
/// assert!(budget.can_afford(NanoUsd::from_usd(0.10)?));
/// assert!(!budget.can_afford(NanoUsd::from_usd(0.11)?));
/// # Ok::<(), waypost_core::MoneyError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CostBudget {
    /// The most that one request may be estimated to cost.
    pub max_cost_per_request: NanoUsd,
    /// What is left of the period's budget; `None` is unlimited.
    pub remaining: Option<NanoUsd>,
}

impl CostBudget {
    /// A bound per request and nothing else.
    pub const fn per_request(max: NanoUsd) -> Self {
        Self { max_cost_per_request: max, remaining: None }
    }

    /// The most that the next request may cost.
    pub fn limit(&self) -> NanoUsd {
        self.remaining.map_or(self.max_cost_per_request, |left| left.min(self.max_cost_per_request))
    }

    /// Whether an estimated cost is within every bound.
    pub fn can_afford(&self, estimated: NanoUsd) -> bool {
        estimated <= self.limit()
    }
}
