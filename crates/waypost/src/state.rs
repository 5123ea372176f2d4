//! One version of everything that a decision reads.

use std::sync::{Arc, OnceLock, Weak};

use waypost_balancers::SlowStart;
use waypost_core::{
    BuildLoadBalancer, CandidateFilter, CandidateId, CandidateIndex, Clock, LoadBalancingStrategy, ModelName,
    Pool, PoolIndex, ProviderLimits, ResultObserver, RetryBudget, RoutingSnapshot, RoutingTable,
    SeedSequence, SnapshotCell, Timestamp, TokenEstimator, UpdateError, UpdateErrors,
};
use waypost_failover::AdaptiveThrottle;
use waypost_health::{HealthAwareRouter, PoolHealth, SlowStartConfig};
use waypost_limits::{Limits, PoolLimits};
use waypost_rules::CompiledRules;

use crate::RouterConfig;
use crate::metrics::Metrics;
use crate::pool_runtime::PoolRuntime;

/// Keeps the seeds of pools apart (2^64 over the golden ratio, Knuth).
const POOL_SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// The registered strategies, by name.
pub(crate) type Strategies = Arc<[(LoadBalancingStrategy, Arc<dyn BuildLoadBalancer>)]>;

/// What never changes in the life of a router.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: RouterConfig,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where all randomness starts.
    pub(crate) seed: u64,
    pub(crate) seeds: SeedSequence,
    pub(crate) estimator: Box<dyn TokenEstimator>,
    /// Sorted by stage; those of one stage in the order in which they were added.
    pub(crate) filters: Box<[Box<dyn CandidateFilter>]>,
    pub(crate) observers: Box<[Box<dyn ResultObserver>]>,
    pub(crate) metrics: Metrics,
    pub(crate) health: Arc<HealthAwareRouter>,
    /// What retries of all requests may be sent.
    pub(crate) retry_budget: RetryBudget,
    /// Where the current version is, for results that end in a later one than they began in.
    pub(crate) home: OnceLock<Weak<SnapshotCell<RouterState>>>,
}

impl Shared {
    /// What retries of one model's requests may be sent.
    pub(crate) fn new_retry_budget(&self) -> Arc<RetryBudget> {
        Arc::new(RetryBudget::new(self.config.retry_budget, self.clock.now()))
    }

    /// What stands in front of one model's providers.
    pub(crate) fn new_throttle(&self) -> Option<Arc<AdaptiveThrottle>> {
        self.config.throttle.map(|config| Arc::new(AdaptiveThrottle::new(config)))
    }
}

/// One version of the configuration, compiled. Replaced as a whole.
pub(crate) struct RouterState {
    pub(crate) table: RoutingTable,
    pub(crate) snapshot: RoutingSnapshot,
    pub(crate) strategies: Strategies,
    pub(crate) rules: Arc<CompiledRules>,
    pub(crate) limits: Arc<Limits>,
    /// In the order of the snapshot's pools.
    pool_limits: Box<[PoolLimits]>,
    /// In the order of the snapshot's pools.
    runtimes: Box<[Arc<PoolRuntime>]>,
}

/// What one version is made from.
pub(crate) struct Parts {
    pub(crate) table: RoutingTable,
    pub(crate) strategies: Strategies,
    pub(crate) rules: Arc<CompiledRules>,
    pub(crate) limits: Arc<Limits>,
}

impl RouterState {
    /// What this version was made from, to make the next.
    pub(crate) fn parts(&self) -> Parts {
        Parts {
            table: self.table.clone(),
            strategies: Arc::clone(&self.strategies),
            rules: Arc::clone(&self.rules),
            limits: Arc::clone(&self.limits),
        }
    }

    pub(crate) fn first(parts: Parts, shared: &Arc<Shared>) -> Self {
        let snapshot = RoutingSnapshot::compile(&parts.table, None, shared.clock.now());
        Self::assemble(parts, snapshot, shared, |_| None)
    }

    /// The version after this one. Pools that did not change keep their balancers, those that did carry over what
    /// their balancers know, unless strategies changed.
    pub(crate) fn next(&self, parts: Parts, shared: &Arc<Shared>) -> Self {
        let snapshot = RoutingSnapshot::compile(&parts.table, Some(&self.snapshot), shared.clock.now());
        let same_strategies = Arc::ptr_eq(&parts.strategies, &self.strategies);
        let known = |model: &ModelName| self.runtime_of(model).filter(|_| same_strategies).map(Arc::clone);
        let next = Self::assemble(parts, snapshot, shared, known);
        for runtime in &self.runtimes {
            let stays = next.runtime_of(runtime.pool.model()).is_some_and(|next| Arc::ptr_eq(next, runtime));
            if !stays {
                runtime.replace();
            }
        }
        next
    }

    fn assemble(
        Parts { table, strategies, rules, limits }: Parts,
        snapshot: RoutingSnapshot,
        shared: &Arc<Shared>,
        known: impl Fn(&ModelName) -> Option<Arc<PoolRuntime>>,
    ) -> Self {
        let runtime = |(place, pool): (usize, &Arc<_>)| {
            let before = known(Pool::model(pool));
            let unchanged = before.clone().filter(|before| Arc::ptr_eq(&before.pool, pool));
            let new = || {
                let seed = shared.seed.wrapping_add((place as u64 + 1).wrapping_mul(POOL_SEED));
                let runtime =
                    PoolRuntime::new(Arc::clone(pool), before.as_deref(), &strategies, shared, seed);
                runtime.prepare(in_use(&table, &rules, &shared.config));
                runtime
            };
            let Some(unchanged) = unchanged else {
                return Arc::new(new());
            };
            unchanged.prepare(in_use(&table, &rules, &shared.config));
            unchanged
        };
        let runtimes: Box<[Arc<PoolRuntime>]> = snapshot.pools().iter().enumerate().map(runtime).collect();
        let weights: Vec<_> = rules.weights().collect();
        runtimes.iter().for_each(|runtime| runtime.keep_weightings(&weights));
        let now = shared.clock.now();
        limits.keep_candidates(table.candidates().map(|candidate| candidate.id()));
        let pool_limits = snapshot.pools().iter().map(|pool| limits.attach(pool, now)).collect();
        Self { table, snapshot, strategies, rules, limits, pool_limits, runtimes }
    }

    /// The health of a candidate's pool, and the candidate's place there; the first pool when it serves several models.
    pub(crate) fn health_of(&self, id: &CandidateId) -> Option<(&PoolHealth, CandidateIndex)> {
        let (pool, index) = self.snapshot.find(id)?;
        Some((&self.runtime(pool).health, index))
    }

    /// The runtime of a model's pool; `None` when the model is no longer there.
    pub(crate) fn runtime_of(&self, model: &ModelName) -> Option<&Arc<PoolRuntime>> {
        let place = self.snapshot.pools().binary_search_by(|pool| pool.model().cmp(model)).ok()?;
        Some(&self.runtimes[place])
    }

    pub(crate) fn pool_limits(&self, pool: PoolIndex) -> &PoolLimits {
        &self.pool_limits[pool.get()]
    }

    /// Takes a provider's word for what is left at a candidate, wherever it serves.
    pub(crate) fn observe(&self, id: &CandidateId, said: &ProviderLimits, now: Timestamp) {
        if let Some((pool, index)) = self.snapshot.find(id) {
            self.pool_limits(pool).observe(index, said, now);
        }
    }

    pub(crate) fn runtime(&self, pool: PoolIndex) -> &Arc<PoolRuntime> {
        &self.runtimes[pool.get()]
    }
}

/// The strategy with slow start around it, for candidates that are new or back.
pub(crate) fn starting_slowly(
    within: Arc<dyn BuildLoadBalancer>,
    slow_start: Option<SlowStartConfig>,
) -> Arc<dyn BuildLoadBalancer> {
    match slow_start {
        Some(SlowStartConfig { window, aggression, least }) => {
            Arc::new(SlowStart { within, window, aggression, least })
        }
        None => within,
    }
}

/// The strategies that the configuration names: their balancers are built beforehand, not by the first request.
fn in_use<'a>(
    table: &'a RoutingTable,
    rules: &'a CompiledRules,
    config: &'a RouterConfig,
) -> impl Iterator<Item = &'a LoadBalancingStrategy> {
    let of_tenants = table.tenants().filter_map(|(_, tenant)| tenant.default_strategy.as_ref());
    core::iter::once(&config.default_strategy).chain(of_tenants).chain(rules.strategies())
}

/// The names of strategies.
pub(crate) fn names(
    strategies: &[(LoadBalancingStrategy, Arc<dyn BuildLoadBalancer>)],
) -> Vec<LoadBalancingStrategy> {
    strategies.iter().map(|(name, _)| name.clone()).collect()
}

/// Whether every strategy that a tenant names is registered.
pub(crate) fn check_strategies(
    table: &RoutingTable,
    strategies: &[(LoadBalancingStrategy, Arc<dyn BuildLoadBalancer>)],
) -> Result<(), UpdateErrors> {
    let missing = table.tenants().filter_map(|(tenant, config)| {
        let strategy = config.default_strategy.as_ref()?;
        let known = strategies.iter().any(|(known, _)| known == strategy);
        let error = || UpdateError::UnknownStrategy { tenant: tenant.clone(), strategy: strategy.clone() };
        (!known).then(error)
    });
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() { Ok(()) } else { Err(UpdateErrors::new(missing)) }
}

impl std::fmt::Debug for RouterState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouterState").field("table", &self.table).finish_non_exhaustive()
    }
}
