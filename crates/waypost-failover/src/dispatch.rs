//! Where attempts get their candidates from.

use std::sync::Arc;
use std::time::SystemTime;

use waypost_core::{
    GatewayRequest, NanoUsd, ProviderCandidate, RequestResult, RoutingContext, RoutingError, Timestamp,
    Tokens, WindowedHistogram,
};

use crate::AdaptiveThrottle;

/// Where attempts get their candidates from: the router of the facade, or a list of one's own.
pub trait Dispatch {
    /// A candidate that was selected for one attempt.
    type Selection: Selection;

    /// The monotonic time.
    fn now(&self) -> Timestamp;

    /// The wall time, to read dates in headers.
    fn wall(&self) -> SystemTime;

    /// A random number from 0 to 1, for jitter.
    fn draw(&self) -> f64;

    /// Selects a candidate that none of the context's exclusions covers, and counts the request in flight there.
    ///
    /// # Errors
    ///
    /// [`RoutingError`] when there is none.
    fn select(
        &self,
        request: &GatewayRequest,
        context: &RoutingContext,
        now: Timestamp,
    ) -> Result<Self::Selection, RoutingError>;
}

/// A candidate that was selected for one attempt, and everything that the attempt holds there. Dropping it records the
/// attempt as cancelled and gives everything back.
pub trait Selection {
    /// A handle to the retry budget of the model that was asked for.
    type RetryBudget;

    /// The candidate.
    fn candidate(&self) -> &Arc<ProviderCandidate>;

    /// How many tokens the prompt should have.
    fn prompt(&self) -> Tokens;

    /// What the request should cost there; `None` when nobody knows.
    fn estimated_cost(&self) -> Option<NanoUsd>;

    /// Counts the request towards the retry budget, which it earns a share of a retry.
    fn count_request(&self);

    /// The budget that the request was counted towards. Its retries are taken out of that one, also where another model
    /// serves them.
    fn retry_budget(&self) -> Self::RetryBudget;

    /// Takes this attempt, a retry, out of a retry budget; whether there was one.
    fn take_retry(&self, budget: &Self::RetryBudget, now: Timestamp) -> bool;

    /// The throttle in front of the candidates, where there is one.
    fn throttle(&self) -> Option<&AdaptiveThrottle> {
        None
    }

    /// The recent times to first token that say when a second attempt starts. As here, the candidate's own.
    fn first_tokens(&self) -> &WindowedHistogram {
        self.candidate().live().latency().time_to_first_token.histogram()
    }

    /// Says when the first content came.
    fn first_content_at(&mut self, at: Timestamp);

    /// Says how the attempt ended.
    fn finish_at(self, result: &RequestResult, now: Timestamp);

    /// Gives everything back: the attempt is not made.
    fn abandon(self);
}
