//! Seeing requests through: the router as what failover selects from.

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use waypost_core::{
    GatewayRequest, NanoUsd, ProviderCandidate, RequestResult, RetryBudget, RoutingContext, RoutingError,
    Timestamp, Tokens, WindowedHistogram,
};
use waypost_failover::{
    AdaptiveThrottle, Attempt, Dispatch, FailoverChain, FailoverError, Outcome, RequestError, Selection,
    Timer,
};

use crate::{Router, SelectedProvider};

impl Router {
    /// Sees a request through on tokio: selects, runs the caller's operation at the candidate, records how it ended,
    /// and fails over, until an attempt is answered or no other may be made. See
    /// [`FailoverChain::execute`] for what holds, and [`execute_with`](Self::execute_with) for other runtimes.
    ///
    /// The operation may be called several times. An operation that returns before its answer has come to an end says
    /// [`Attempt::first_content`]; then the [`Outcome`] is open until it is finished.
    ///
    /// # Errors
    ///
    /// [`FailoverError`] with the error of every attempt.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back everything that is held, records what runs as cancelled, and retries nothing.
    ///
    /// ```
    /// use waypost::failover::{ErrorKind, FailoverChain, RequestError};
    /// use waypost::{GatewayRequest, ProviderCandidate, Router, RoutingContext};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let router = Router::builder()
    ///     .candidate(ProviderCandidate::openai("openai-main", "gpt-4o"))
    ///     .candidate(ProviderCandidate::azure("azure-eu", "gpt-4o"))
    ///     .build()?;
    /// let (request, context) = (GatewayRequest::new("gpt-4o")?, RoutingContext::default());
    ///
    /// let outcome = router
    ///     .execute(&request, &context, &FailoverChain::default(), |attempt| async move {
    ///         // Your HTTP client goes here; every error of its converts with `?`.
    ///         if attempt.number() == 0 { Err(RequestError::status(503)) } else { Ok("Hello!") }
    ///     })
    ///     .await?;
    /// assert_eq!((*outcome.answer(), outcome.attempts()), ("Hello!", 2));
    /// assert_eq!(outcome.failed()[0].verdict.kind, ErrorKind::ServiceUnavailable);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn execute<A, Op, Fut>(
        &self,
        request: &GatewayRequest,
        context: &RoutingContext,
        chain: &FailoverChain,
        operation: Op,
    ) -> Result<Outcome<A, SelectedProvider>, FailoverError>
    where
        Op: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<A, RequestError>>,
    {
        self.execute_with(&waypost_failover::TokioTimer, request, context, chain, operation).await
    }

    /// Like `execute`, on whatever runtime the timer waits on.
    ///
    /// # Errors
    ///
    /// [`FailoverError`] with the error of every attempt.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back everything that is held, records what runs as cancelled, and retries nothing.
    pub async fn execute_with<T, A, Op, Fut>(
        &self,
        timer: &T,
        request: &GatewayRequest,
        context: &RoutingContext,
        chain: &FailoverChain,
        operation: Op,
    ) -> Result<Outcome<A, SelectedProvider>, FailoverError>
    where
        T: Timer,
        Op: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<A, RequestError>>,
    {
        chain.execute(self, timer, request, context, operation).await
    }
}

impl Dispatch for Router {
    type Selection = SelectedProvider;

    fn now(&self) -> Timestamp {
        self.clock().now()
    }

    fn wall(&self) -> SystemTime {
        self.clock().wall()
    }

    fn draw(&self) -> f64 {
        Self::draw(self)
    }

    fn select(
        &self,
        request: &GatewayRequest,
        context: &RoutingContext,
        now: Timestamp,
    ) -> Result<SelectedProvider, RoutingError> {
        self.route_at(request, context, now)
    }
}

impl Selection for SelectedProvider {
    type RetryBudget = Arc<RetryBudget>;

    fn candidate(&self) -> &Arc<ProviderCandidate> {
        self.candidate_arc()
    }

    fn prompt(&self) -> Tokens {
        self.expected_usage().prompt
    }

    fn estimated_cost(&self) -> Option<NanoUsd> {
        Self::estimated_cost(self)
    }

    fn count_request(&self) {
        self.runtime().count_request();
    }

    fn retry_budget(&self) -> Arc<RetryBudget> {
        Arc::clone(&self.runtime().retry_budget)
    }

    /// In panic a retry counts twice: with most providers ill, more of them would fail.
    fn take_retry(&self, budget: &Arc<RetryBudget>, now: Timestamp) -> bool {
        let count = if self.decision().panic { 2 } else { 1 };
        self.runtime().take_retries(budget, count, now)
    }

    fn throttle(&self) -> Option<&AdaptiveThrottle> {
        self.runtime().throttle.as_deref()
    }

    fn first_tokens(&self) -> &WindowedHistogram {
        self.runtime().first_tokens()
    }

    fn first_content_at(&mut self, at: Timestamp) {
        Self::first_content_at(self, at);
    }

    fn finish_at(self, result: &RequestResult, now: Timestamp) {
        Self::finish_at(self, result, now);
    }

    fn abandon(self) {
        Self::abandon(self);
    }
}
