//! A pool with the balancers that choose from it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use waypost_core::{
    CandidateIndex, InFlightLease, LiveSlot, LoadBalancingStrategy, Pool, PoolWeights, ProviderCandidate,
    ProviderLimits, ResultEvent, RetryBudget, RetryPermit, Timestamp, WindowedHistogram,
};
use waypost_failover::AdaptiveThrottle;
use waypost_health::{Admission, PoolHealth};

use crate::balancer_set::BalancerSet;
use crate::state::{Shared, Strategies};
use crate::weighted_views::WeightedViews;

/// What a selection keeps alive until it ends: the pool, its balancers, and what every pool of the router shares. It
/// outlives the snapshot that it was selected from.
pub(crate) struct PoolRuntime {
    pub(crate) pool: Arc<Pool>,
    pub(crate) health: PoolHealth,
    pub(crate) shared: Arc<Shared>,
    balancers: BalancerSet,
    /// Balancers under weights that rules give.
    views: WeightedViews,
    strategies: Strategies,
    /// Where the balancers' randomness starts.
    seed: u64,
    /// What retries of the model's requests may be sent; its successors have the same.
    pub(crate) retry_budget: Arc<RetryBudget>,
    /// In front of the model's providers, if the settings say so; its successors have the same.
    pub(crate) throttle: Option<Arc<AdaptiveThrottle>>,
    /// The times to first token of all its candidates together, once somebody hedges.
    first_tokens: Arc<OnceLock<WindowedHistogram>>,
    /// Whether another pool has taken this one's place.
    replaced: AtomicBool,
}

impl PoolRuntime {
    /// The runtime of a pool. `before` is that of the pool whose place it takes, if its strategies are the same: what
    /// its balancers know is carried over.
    pub(crate) fn new(
        pool: Arc<Pool>,
        before: Option<&Self>,
        strategies: &Strategies,
        shared: &Arc<Shared>,
        seed: u64,
    ) -> Self {
        let health = shared.health.attach(&pool, shared.clock.now());
        let views = before.map(|before| before.views.carried_over(&pool, strategies, seed));
        Self {
            balancers: BalancerSet::new(Arc::clone(&pool), before.map(|b| &b.balancers), strategies, seed),
            views: views.unwrap_or_default(),
            retry_budget: before.map_or_else(|| shared.new_retry_budget(), |b| Arc::clone(&b.retry_budget)),
            first_tokens: before.map(|b| Arc::clone(&b.first_tokens)).unwrap_or_default(),
            throttle: before.map_or_else(|| shared.new_throttle(), |b| b.throttle.clone()),
            strategies: Arc::clone(strategies),
            seed,
            pool,
            health,
            shared: Arc::clone(shared),
            replaced: AtomicBool::new(false),
        }
    }

    /// The balancers that choose by the candidates' own weights.
    #[inline]
    pub(crate) const fn balancers(&self) -> &BalancerSet {
        &self.balancers
    }

    /// The balancers that choose by other weights, made if need be.
    pub(crate) fn weighted(&self, weights: &PoolWeights) -> Arc<BalancerSet> {
        self.views.get(weights, &self.pool, &self.strategies, self.seed)
    }

    /// The same, of which nothing is kept that was not made before.
    pub(crate) fn peek_weighted(&self, weights: &PoolWeights) -> Arc<BalancerSet> {
        let made = || WeightedViews::preview(weights, &self.pool, &self.strategies, self.seed);
        self.views.known(weights).unwrap_or_else(made)
    }

    /// Forgets the balancers of weights that rules no longer name.
    pub(crate) fn keep_weightings(&self, named: &[&PoolWeights]) {
        self.views.keep(named);
    }

    /// Builds the balancers of strategies that will be asked for.
    pub(crate) fn prepare<'a>(&self, strategies: impl Iterator<Item = &'a LoadBalancingStrategy>) {
        for strategy in strategies {
            self.balancers.balancer(strategy);
        }
    }

    /// Tells everyone who learns from results: the candidate, the pool, the balancers, the observers.
    pub(crate) fn record(&self, event: &ResultEvent<'_>) {
        event.candidate().live().record(event.result, event.now);
        if let (Some(known), Some(time)) = (self.first_tokens.get(), event.result.time_to_first_token) {
            known.record(time, event.now);
        }
        if self.replaced.load(Ordering::Relaxed) {
            self.teach_successor(event);
        } else {
            self.teach(event);
        }
        for observer in &self.shared.observers {
            observer.observe(event);
        }
    }

    /// Takes a provider's word for what is left at a candidate.
    pub(crate) fn observe(&self, index: CandidateIndex, said: &ProviderLimits, now: Timestamp) {
        if let Some(home) = self.shared.home.get().and_then(Weak::upgrade) {
            home.load().observe(self.pool[index].id(), said, now);
        }
    }

    /// The recent times to first token of all its candidates together, from the first call on.
    pub(crate) fn first_tokens(&self) -> &WindowedHistogram {
        self.first_tokens.get_or_init(WindowedHistogram::default)
    }

    /// Counts a request, which earns its share of a retry.
    pub(crate) fn count_request(&self) {
        self.retry_budget.deposit();
        self.shared.retry_budget.deposit();
    }

    /// Takes so many retries out of a model's budget and the router's, or none.
    pub(crate) fn take_retries(&self, budget: &RetryBudget, count: usize, now: Timestamp) -> bool {
        let of = |budget| (0..count).map(|_| RetryPermit::acquire(budget, now)).collect::<Option<Vec<_>>>();
        let Some(permits) = of(budget) else { return false };
        let Some(of_all) = of(&self.shared.retry_budget) else { return false };
        permits.into_iter().chain(of_all).for_each(RetryPermit::sent);
        true
    }

    /// Says that another pool takes this one's place: from now on it learns from the results of requests that were
    /// chosen from this one.
    pub(crate) fn replace(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// Tells the pool that is in this one's place now, if it still has the candidate.
    fn teach_successor(&self, event: &ResultEvent<'_>) {
        let Some(home) = self.shared.home.get().and_then(Weak::upgrade) else { return };
        let state = home.load();
        let Some(successor) = state.runtime_of(self.pool.model()) else { return };
        let id = event.candidate().id();
        let place = successor.pool.candidates().iter().position(|candidate| candidate.id() == id);
        if let Some(index) = place.and_then(|place| successor.pool.index(place)) {
            successor.teach(&ResultEvent::new(&successor.pool, index, event.result, event.now));
        }
    }

    #[inline]
    fn teach(&self, event: &ResultEvent<'_>) {
        self.pool.publish_latency(event.index, event.now);
        self.balancers.teach(event);
        self.views.teach(event);
    }
}

/// The candidate that was selected, kept alive by its pool.
#[derive(Debug)]
pub(crate) struct Winner {
    pub(crate) runtime: Arc<PoolRuntime>,
    pub(crate) index: CandidateIndex,
}

impl Winner {
    pub(crate) fn candidate(&self) -> &ProviderCandidate {
        &self.runtime.pool[self.index]
    }
}

/// A request on its way: in flight, and admitted.
pub(crate) type Lease = InFlightLease<Admission<Winner>>;

impl AsRef<PoolHealth> for Winner {
    fn as_ref(&self) -> &PoolHealth {
        &self.runtime.health
    }
}

impl AsRef<LiveSlot> for Winner {
    fn as_ref(&self) -> &LiveSlot {
        self.candidate().live()
    }
}

impl fmt::Debug for PoolRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolRuntime").field("pool", &self.pool).finish_non_exhaustive()
    }
}
