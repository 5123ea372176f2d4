//! A list of candidates to select from, for those who do without a router.

use std::sync::Arc;
use std::time::SystemTime;

use waypost_core::{
    BytesOverFour, Clock, GatewayRequest, InFlightLease, LiveSlot, NanoUsd, ProviderCandidate, RequestResult,
    RetryBudget, RetryBudgetConfig, RetryPermit, RoutingContext, RoutingError, SeedSequence, Stage,
    Timestamp, TokenEstimator as _, Tokens,
};

use crate::{Dispatch, Selection};

/// A list of candidates to select from: the first that serves the model and that nothing excludes. For those who do
/// without a router; it knows neither health nor limits.
///
/// ```
/// use std::sync::Arc;
/// use waypost_core::{GatewayRequest, ManualClock, ProviderCandidate, RoutingContext};
/// use waypost_failover::{CandidateList, Dispatch, Selection};
///
/// let list = CandidateList::new(
///     [ProviderCandidate::openai("openai", "gpt-4o").build()?, ProviderCandidate::azure("azure", "gpt-4o").build()?],
///     Arc::new(ManualClock::default()),
/// );
/// let selected = list.select(&GatewayRequest::new("gpt-4o")?, &RoutingContext::default(), list.now())?;
/// assert_eq!(selected.candidate().provider(), "openai");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CandidateList {
    candidates: Vec<Arc<ProviderCandidate>>,
    clock: Arc<dyn Clock>,
    budget: Arc<RetryBudget>,
    seeds: SeedSequence,
}

/// A candidate selected from a [`CandidateList`], counted in flight there until it is finished or dropped.
#[derive(Debug)]
pub struct ListedCandidate {
    lease: InFlightLease<Holder>,
    budget: Arc<RetryBudget>,
    clock: Arc<dyn Clock>,
    prompt: Tokens,
    started: Timestamp,
    open: bool,
}

#[derive(Debug)]
struct Holder(Arc<ProviderCandidate>);

impl AsRef<LiveSlot> for Holder {
    fn as_ref(&self) -> &LiveSlot {
        self.0.live()
    }
}

impl CandidateList {
    /// Candidates in the order in which they are asked, with the default retry budget.
    pub fn new(candidates: impl IntoIterator<Item = ProviderCandidate>, clock: Arc<dyn Clock>) -> Self {
        let budget = Arc::new(RetryBudget::new(RetryBudgetConfig::default(), clock.now()));
        let candidates = candidates.into_iter().map(Arc::new).collect();
        Self { candidates, clock, budget, seeds: SeedSequence::new(0) }
    }

    /// Another retry budget, which others may share.
    pub fn with_retry_budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = budget;
        self
    }

    /// The candidates.
    pub fn candidates(&self) -> &[Arc<ProviderCandidate>] {
        &self.candidates
    }

    /// The retry budget.
    pub const fn retry_budget(&self) -> &Arc<RetryBudget> {
        &self.budget
    }
}

impl Dispatch for CandidateList {
    type Selection = ListedCandidate;

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn wall(&self) -> SystemTime {
        self.clock.wall()
    }

    fn draw(&self) -> f64 {
        self.seeds.generator().unit()
    }

    fn select(
        &self,
        request: &GatewayRequest,
        context: &RoutingContext,
        now: Timestamp,
    ) -> Result<ListedCandidate, RoutingError> {
        if context.remaining_time(now).is_some_and(|left| left.is_zero()) {
            return Err(RoutingError::Timeout);
        }
        let mut serving = self.candidates.iter().filter(|c| *c.model() == request.model).peekable();
        if serving.peek().is_none() {
            return Err(RoutingError::ModelNotSupported { model: request.model.clone() });
        }
        let allowed = |candidate: &&Arc<ProviderCandidate>| {
            let excluded = context.exclusions.iter().any(|exclusion| exclusion.covers(candidate));
            !excluded && !request.excluded_providers.contains(candidate.provider())
        };
        let first =
            serving.find(allowed).ok_or(RoutingError::AllProvidersFiltered { stage: Stage::Excluded })?;
        let lease = InFlightLease::acquire(Holder(Arc::clone(first)), Tokens::ZERO);
        let lease = lease.ok_or(RoutingError::LimitsExceeded { limit: None, retry_after: None })?;
        let (budget, clock) = (Arc::clone(&self.budget), Arc::clone(&self.clock));
        let prompt = BytesOverFour.estimate(&request.prompt, &request.model);
        Ok(ListedCandidate { lease, budget, clock, prompt, started: now, open: true })
    }
}

impl Selection for ListedCandidate {
    type RetryBudget = Arc<RetryBudget>;

    fn candidate(&self) -> &Arc<ProviderCandidate> {
        &self.lease.holder().0
    }

    fn prompt(&self) -> Tokens {
        self.prompt
    }

    /// Nobody knows how long the answer will be.
    fn estimated_cost(&self) -> Option<NanoUsd> {
        None
    }

    fn count_request(&self) {
        self.budget.deposit();
    }

    fn retry_budget(&self) -> Arc<RetryBudget> {
        Arc::clone(&self.budget)
    }

    fn take_retry(&self, budget: &Arc<RetryBudget>, now: Timestamp) -> bool {
        RetryPermit::acquire(&**budget, now).map(RetryPermit::sent).is_some()
    }

    fn first_content_at(&mut self, _: Timestamp) {}

    fn finish_at(mut self, result: &RequestResult, now: Timestamp) {
        self.open = false;
        self.candidate().live().record(result, now);
    }

    fn abandon(mut self) {
        self.open = false;
    }
}

impl Drop for ListedCandidate {
    fn drop(&mut self) {
        if self.open {
            let now = self.clock.now();
            self.candidate().live().record(&RequestResult::cancelled(now.since(self.started)), now);
        }
    }
}
