//! How a router is made.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, OnceLock};
use waypost_balancers::built_in;
use waypost_core::{
    BuildLoadBalancer, BytesOverFour, CandidateBuilder, CandidateError, CandidateFilter, Clock, IdError,
    LoadBalancingStrategy, ModelName, ResultObserver, RetryBudget, RoutingTable, RoutingTableUpdate,
    SeedSequence, TenantId, TenantRoutingConfig, TokenEstimator, UpdateErrors,
};
use waypost_health::{HealthAwareRouter, HealthConfig, HealthEvent};
use waypost_limits::{Limit, LimitErrors, LimitEvent, Limits};
use waypost_rules::{CompiledRules, RuleErrors, RuleSet, Surroundings};

use crate::metrics::Metrics;
use crate::router::MAX_STRATEGIES;
use crate::state::{Shared, check_strategies, names};
use crate::{Router, RouterConfig, SystemClock};

/// Builds a [`Router`]. Everything has a default but the candidates; what is wrong is reported by
/// [`build`](Self::build), all of it at once.
///
/// ```
/// use waypost::core::ManualClock;
/// use waypost::{LoadBalancingStrategy, ProviderCandidate, Router};
///
/// let router = Router::builder()
///     .candidate(ProviderCandidate::openai("openai-main", "gpt-4o"))
///     .alias("fast", "gpt-4o")
///     .strategy(LoadBalancingStrategy::Random)
///     .clock(ManualClock::default())
///     .seed(42)
///     .build()?;
/// # let _ = router;
///
/// let errors = Router::builder().candidate(ProviderCandidate::openai("", "gpt-4o").weight(-1)).alias("a", "b").build();
/// assert_eq!(errors.unwrap_err().to_string(), "provider id must not be empty; \
///     alias `a` stands for `b`, which is neither a model nor an alias");
/// # Ok::<(), waypost::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct RouterBuilder {
    config: RouterConfig,
    table: RoutingTable,
    updates: Vec<RoutingTableUpdate>,
    problems: Vec<Problem>,
    strategies: Vec<(LoadBalancingStrategy, Arc<dyn BuildLoadBalancer>)>,
    filters: Vec<Box<dyn CandidateFilter>>,
    observers: Vec<Box<dyn ResultObserver>>,
    clock: Option<Arc<dyn Clock>>,
    estimator: Box<dyn TokenEstimator>,
    seed: Option<u64>,
    strategy: Option<LoadBalancingStrategy>,
    health: Option<HealthConfig>,
    rules: RuleSet,
    limits: Vec<Limit>,
    on_limit_event: Option<OnLimitEvent>,
    on_health_event: Option<OnHealthEvent>,
}

type OnLimitEvent = Box<dyn Fn(&LimitEvent<'_>) + Send + Sync>;
type OnHealthEvent = Box<dyn Fn(&HealthEvent<'_>) + Send + Sync>;

/// Separates health's randomness from the strategies', which starts at the same seed.
const HEALTH_STREAM: u64 = 0x6865_616c_7468_2121;

/// Everything that kept a router from being built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct BuildError(Vec<Problem>);

impl BuildError {
    pub(crate) fn of(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Candidate(#[from] CandidateError),
    #[error(transparent)]
    Id(#[from] IdError),
    #[error(transparent)]
    Update(#[from] UpdateErrors),
    #[error("the default strategy {0} is not registered")]
    DefaultStrategy(LoadBalancingStrategy),
    #[error("more than {MAX_STRATEGIES} strategies")]
    TooManyStrategies,
    #[error(transparent)]
    Rules(#[from] RuleErrors),
    #[error(transparent)]
    Limits(#[from] LimitErrors),
}

impl Default for RouterBuilder {
    fn default() -> Self {
        let known = |name| built_in(&name).map(|strategy| (name, strategy));
        Self {
            config: RouterConfig::default(),
            table: RoutingTable::default(),
            updates: Vec::new(),
            problems: Vec::new(),
            strategies: LoadBalancingStrategy::built_in().filter_map(known).collect(),
            filters: Vec::new(),
            observers: Vec::new(),
            clock: None,
            estimator: Box::new(BytesOverFour),
            seed: None,
            strategy: None,
            health: None,
            rules: RuleSet::default(),
            limits: Vec::new(),
            on_limit_event: None,
            on_health_event: None,
        }
    }
}

impl RouterBuilder {
    /// The settings. Default: [`RouterConfig::default`].
    pub fn config(mut self, config: RouterConfig) -> Self {
        self.config = config;
        self
    }

    /// The table to start from; candidates, aliases and tenants are added to it. Default: empty.
    pub fn table(mut self, table: RoutingTable) -> Self {
        self.table = table;
        self
    }

    /// One more candidate, which serves its own model name.
    pub fn candidate(mut self, candidate: CandidateBuilder) -> Self {
        match candidate.build() {
            Ok(candidate) => self.updates.push(RoutingTableUpdate::add(candidate)),
            Err(error) => self.problems.push(error.into()),
        }
        self
    }

    /// A name that stands for a model or another alias.
    pub fn alias(mut self, alias: impl AsRef<str>, target: impl AsRef<str>) -> Self {
        match (ModelName::new(alias), ModelName::new(target)) {
            (Ok(alias), Ok(target)) => self.updates.push(RoutingTableUpdate::SetModelAlias { alias, target }),
            (alias, target) => {
                self.problems.extend([alias.err(), target.err()].into_iter().flatten().map(Problem::Id));
            }
        }
        self
    }

    /// A tenant's rules.
    pub fn tenant(mut self, tenant: impl AsRef<str>, config: TenantRoutingConfig) -> Self {
        match TenantId::new(tenant) {
            Ok(tenant) => self.updates.push(RoutingTableUpdate::SetTenant { tenant, config }),
            Err(error) => self.problems.push(error.into()),
        }
        self
    }

    /// Any other update of the table.
    pub fn update(mut self, update: RoutingTableUpdate) -> Self {
        self.updates.push(update);
        self
    }

    /// The default strategy, instead of the settings'. Default: round robin.
    pub fn strategy(mut self, strategy: LoadBalancingStrategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// How sick candidates are kept out and let back in, instead of the settings'. Default: [`HealthConfig::default`];
    /// [`HealthConfig::off`] learns nothing from results.
    pub fn health(mut self, health: HealthConfig) -> Self {
        self.health = Some(health);
        self
    }

    /// Is told of every change of health, on the thread that made it: circuits that open and close, ejections, panic.
    /// Must not block.
    pub fn on_health_event(mut self, on_event: impl Fn(&HealthEvent<'_>) + Send + Sync + 'static) -> Self {
        self.on_health_event = Some(Box::new(on_event));
        self
    }

    /// The routing rules. They are checked against the candidates, aliases, tenants and strategies. Default: none.
    pub fn rules(mut self, rules: RuleSet) -> Self {
        self.rules = rules;
        self
    }

    /// One more limit on rates, concurrency or money, besides what candidates declare themselves. Default: none.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Is told of everything that happens to a limit, on the thread that made it happen: thresholds of budgets, new
    /// periods. Must not block.
    pub fn on_limit_event(mut self, on_event: impl Fn(&LimitEvent<'_>) + Send + Sync + 'static) -> Self {
        self.on_limit_event = Some(Box::new(on_event));
        self
    }

    /// Makes a strategy known, or replaces one. All built-in ones are known, with their default settings.
    pub fn register(
        mut self,
        name: LoadBalancingStrategy,
        strategy: impl BuildLoadBalancer + 'static,
    ) -> Self {
        self.strategies.retain(|(known, _)| *known != name);
        self.strategies.push((name, Arc::new(strategy)));
        self
    }

    /// One more stage that narrows the set.
    pub fn filter(mut self, filter: impl CandidateFilter + 'static) -> Self {
        self.filters.push(Box::new(filter));
        self
    }

    /// One more observer of results.
    pub fn observer(mut self, observer: impl ResultObserver + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// The clock. Default: [`SystemClock`].
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        self.shared_clock(Arc::new(clock))
    }

    /// A clock that the caller shares, to move it.
    pub fn shared_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// How prompts are measured. Default: bytes over four.
    pub fn token_estimator(mut self, estimator: impl TokenEstimator + 'static) -> Self {
        self.estimator = Box::new(estimator);
        self
    }

    /// The seed of all randomness. Default: different for every router.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the router. A router without candidates is valid: it knows no model yet.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with everything that is wrong.
    pub fn build(mut self) -> Result<Router, BuildError> {
        if let Some(strategy) = self.strategy.take() {
            self.config.default_strategy = strategy;
        }
        if let Some(health) = self.health.take() {
            self.config.health = health;
        }
        let table = self.table.updated(std::mem::take(&mut self.updates));
        let table = table.map_err(|errors| self.problems.push(errors.into())).unwrap_or_default();
        let default = &self.config.default_strategy;
        if !self.strategies.iter().any(|(known, _)| known == default) {
            self.problems.push(Problem::DefaultStrategy(default.clone()));
        }
        let missing = check_strategies(&table, &self.strategies);
        self.problems.extend(missing.err().map(Problem::Update));
        if self.strategies.len() > MAX_STRATEGIES {
            self.problems.push(Problem::TooManyStrategies);
        }
        let strategies = names(&self.strategies);
        let surroundings = Surroundings::default().strategies(&strategies);
        // Names that a table would have had without its own problems are not missing.
        let surroundings = if self.problems.is_empty() { surroundings.table(&table) } else { surroundings };
        let rules = CompiledRules::compile(self.rules, self.config.rules, surroundings);
        let rules = rules.map_err(|errors| self.problems.push(errors.into())).unwrap_or_default();
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
        let limits = Limits::new(self.limits, self.config.limits.clone(), clock.now());
        let limits = limits.map_err(|errors| self.problems.push(errors.into())).ok();
        let Some(limits) = limits.filter(|_| self.problems.is_empty()) else {
            return Err(BuildError(self.problems));
        };
        let limits = match self.on_limit_event {
            Some(on_event) => limits.on_event(on_event),
            None => limits,
        };
        self.filters.sort_by_key(|filter| filter.stage());
        let seed = self.seed.unwrap_or_else(any_seed);
        let mut health = HealthAwareRouter::new(self.config.health.clone(), seed ^ HEALTH_STREAM);
        if let Some(on_event) = self.on_health_event {
            health = health.on_event(on_event);
        }
        let retry_budget = RetryBudget::new(self.config.total_retry_budget, clock.now());
        let shared = Shared {
            retry_budget,
            health: Arc::new(health),
            config: self.config,
            clock,
            seed,
            seeds: SeedSequence::new(seed),
            estimator: self.estimator,
            filters: self.filters.into(),
            observers: self.observers.into(),
            metrics: Metrics::default(),
            home: OnceLock::new(),
        };
        Ok(Router::from_parts(table, &self.strategies, rules, limits, shared))
    }
}

/// A seed that differs from router to router, from the hash map's own random keys.
fn any_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl fmt::Debug for RouterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterBuilder")
            .field("config", &self.config)
            .field("updates", &self.updates)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}
