//! A pool with the balancers that choose from it.

use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateIndex, LiveSlot, LoadBalancer, LoadBalancingStrategy, Pool,
    ProviderCandidate, ResultEvent,
};

use crate::state::{Shared, Strategies};

/// What a selection keeps alive until it ends: the pool, its balancers, and what every pool of the router shares. It
/// outlives the snapshot that it was selected from.
#[derive(Debug)]
pub(crate) struct PoolRuntime {
    pub(crate) pool: Arc<Pool>,
    pub(crate) shared: Arc<Shared>,
    balancers: Box<[(LoadBalancingStrategy, Arc<dyn LoadBalancer>)]>,
}

impl PoolRuntime {
    /// The runtime of a pool. `before` is that of the pool whose place it takes, if its strategies are the same: what
    /// its balancers know is carried over.
    pub(crate) fn new(
        pool: Arc<Pool>,
        before: Option<&Self>,
        strategies: &Strategies,
        shared: &Arc<Shared>,
    ) -> Self {
        let build = |(name, strategy): &(LoadBalancingStrategy, Arc<dyn BuildLoadBalancer>)| {
            let carried_over = before.and_then(|before| before.balancer(name)?.carried_over(&pool));
            let new = || strategy.build(&pool, &mut shared.seeds.generator());
            (name.clone(), carried_over.unwrap_or_else(new))
        };
        let balancers = strategies.iter().map(build).collect();
        Self { pool, shared: Arc::clone(shared), balancers }
    }

    pub(crate) fn balancer(&self, strategy: &LoadBalancingStrategy) -> Option<&dyn LoadBalancer> {
        self.balancers.iter().find(|(name, _)| name == strategy).map(|(_, balancer)| &**balancer)
    }

    /// Tells everyone who learns from results: the candidate, the pool, the balancers, the observers.
    pub(crate) fn record(&self, event: &ResultEvent<'_>) {
        event.candidate().live().record(event.result, event.now);
        self.pool.publish_latency(event.index, event.now);
        for (_, balancer) in &self.balancers {
            balancer.record_result(event);
        }
        for observer in &self.shared.observers {
            observer.observe(event);
        }
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

impl AsRef<LiveSlot> for Winner {
    fn as_ref(&self) -> &LiveSlot {
        self.candidate().live()
    }
}
