//! The router.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use waypost_core::{
    BuildLoadBalancer, CandidateId, CandidateIndex, CandidateSet, Clock, DecisionContext, Directives,
    GatewayRequest, InFlightLease, LoadBalancer, LoadBalancingStrategy, ModelName, PoolIndex,
    ProviderCandidate, Rejection, RejectionReason, RequestResult, ResultEvent, RoutingContext, RoutingError,
    RoutingTable, RoutingTableUpdate, RuleId, SelectContext, SnapshotCell, Tenant, TenantRoutingConfig,
    Timestamp, TokenUsage, Tokens, UpdateErrors,
};
use waypost_health::{Admission, HealthAwareRouter, HealthReport};
use waypost_limits::{
    Applicable, Limit, LimitErrors, LimitReport, LimitSpent, Limits, PoolLimits, Reservation,
};
use waypost_rules::{CompiledRules, RuleErrors, RuleSet, RuleUpdate, Surroundings, Verdict};

use crate::constraints::Constraints;
use crate::pipeline::{Nobody, Pipeline, Trail};
use crate::pool_runtime::{Lease, PoolRuntime, Winner};
use crate::state::{Parts, RouterState, Shared, check_strategies, names, starting_slowly};
use crate::{
    BuildError, Explanation, RouterBuilder, RouterMetrics, RoutingDecision, SelectedProvider, explain,
    preferences,
};

/// Decides which provider serves a request. Cheap to clone; all clones are one router.
///
/// ```
/// use waypost::{GatewayRequest, ProviderCandidate, Router, RoutingContext, RoutingError};
///
/// let router = Router::builder().candidate(ProviderCandidate::openai("openai-main", "gpt-4o")).build()?;
///
/// let selected = router.route(&GatewayRequest::new("gpt-4o")?, &RoutingContext::default())?;
/// assert_eq!(router.metrics().in_flight, 1);
/// drop(selected);
/// assert_eq!(router.metrics().in_flight, 0);
///
/// let unknown = router.route(&GatewayRequest::new("gpt-5o")?, &RoutingContext::default());
/// assert!(matches!(unknown, Err(RoutingError::ModelNotSupported { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Arc<SnapshotCell<RouterState>>,
    shared: Arc<Shared>,
}

/// Why a result without a lease was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The result names no candidate.
    #[error("the result names no candidate")]
    NoCandidate,
    /// The table has no such candidate, perhaps no longer.
    #[error("candidate `{0}` is not in the routing table")]
    UnknownCandidate(CandidateId),
}

/// Why a strategy was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_STRATEGIES} strategies")]
pub struct RegisterError(());

/// The most strategies of one router: each may have a balancer in every pool.
pub(crate) const MAX_STRATEGIES: usize = 64;

impl Router {
    /// Starts a router.
    pub fn builder() -> RouterBuilder {
        RouterBuilder::default()
    }

    pub(crate) fn from_parts(
        table: RoutingTable,
        strategies: &[(LoadBalancingStrategy, Arc<dyn BuildLoadBalancer>)],
        rules: CompiledRules,
        limits: Limits,
        shared: Shared,
    ) -> Self {
        let slow_start = shared.config.health.slow_start;
        let slowly = |(name, strategy): &(_, _)| {
            (LoadBalancingStrategy::clone(name), starting_slowly(Arc::clone(strategy), slow_start))
        };
        let strategies = strategies.iter().map(slowly).collect();
        let (rules, limits) = (Arc::new(rules), Arc::new(limits));
        let parts = Parts { table, strategies, rules, limits };
        let shared = Arc::new(shared);
        let state = Arc::new(SnapshotCell::new(RouterState::first(parts, &shared)));
        shared.home.get_or_init(|| Arc::downgrade(&state));
        Self { inner: Arc::new(Inner { state, shared }) }
    }

    /// Selects the candidate that should serve a request, and counts the request in flight there.
    ///
    /// # Errors
    ///
    /// [`RoutingError`] says which stage left no candidate, or that the model, the strategy or the time is missing.
    pub fn route(
        &self,
        request: &GatewayRequest,
        context: &RoutingContext,
    ) -> Result<SelectedProvider, RoutingError> {
        let Shared { clock, config, metrics, .. } = &*self.inner.shared;
        let start = clock.now();
        let mut selected = self.select(request, context, start).inspect_err(|error| metrics.failed(error))?;
        let time = clock.now().since(start);
        if time > config.max_routing_time {
            selected.abandon();
            metrics.failed(&RoutingError::Timeout);
            return Err(RoutingError::Timeout);
        }
        metrics.selected_in(time);
        selected.set_selection_time(time);
        Ok(selected)
    }

    /// Like [`route`](Self::route) for callers that have just read the router's clock: a reading costs as much as a
    /// selection. No time passes in it, so the decision has no selection time and cannot exceed
    /// [`max_routing_time`](crate::RouterConfig::max_routing_time).
    ///
    /// # Errors
    ///
    /// As [`route`](Self::route).
    pub fn route_at(
        &self,
        request: &GatewayRequest,
        context: &RoutingContext,
        now: Timestamp,
    ) -> Result<SelectedProvider, RoutingError> {
        let selected = self.select(request, context, now);
        match &selected {
            Ok(_) => self.inner.shared.metrics.selected(),
            Err(error) => self.inner.shared.metrics.failed(error),
        }
        selected
    }

    /// Whole retries that requests of a model could send now; `None` when the model is not known.
    pub fn retry_budget(&self, model: &ModelName) -> Option<u32> {
        let state = self.inner.state.load();
        let pool = state.snapshot.resolve(model)?;
        let now = self.inner.shared.clock.now();
        Some(state.runtime(pool).retry_budget.balance(now).min(self.inner.shared.retry_budget.balance(now)))
    }

    /// The clock that the router reads.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.shared.clock
    }

    pub(crate) fn draw(&self) -> f64 {
        self.inner.shared.seeds.generator().unit()
    }

    fn select(
        &self,
        request: &GatewayRequest,
        context: &RoutingContext,
        now: Timestamp,
    ) -> Result<SelectedProvider, RoutingError> {
        let shared = &*self.inner.shared;
        let state = self.inner.state.load();
        let question = Question::new(&state, shared, request, context, now);
        let inquiry = Inquiry::new(question, CompiledRules::evaluate)?;
        let mut again = false;
        loop {
            match inquiry.decide() {
                // Everybody who was left fell ill since health was looked at. That may be panic by now: once more.
                Err(Undecided::AllFellIll(_)) if !again => again = true,
                decided => return decided.map_err(RoutingError::from),
            }
        }
    }

    /// What [`route`](Self::route) would decide now, and why. Runs the same stages and changes nothing: no count, no
    /// turn, no metric.
    pub fn explain(&self, request: &GatewayRequest, context: &RoutingContext) -> Explanation {
        let shared = &*self.inner.shared;
        let state = self.inner.state.load();
        explain::explain(Question::new(&state, shared, request, context, shared.clock.now()))
    }

    /// Changes the routing table, by all of the updates or none. Decisions that run meanwhile read the version before
    /// or the version after. Returns the new version's number.
    ///
    /// # Errors
    ///
    /// [`UpdateErrors`] with every reason; then nothing has changed.
    pub fn update_routing_table(
        &self,
        updates: impl IntoIterator<Item = RoutingTableUpdate>,
    ) -> Result<u64, UpdateErrors> {
        let next = self.inner.state.update(|current| {
            let table = current.table.updated(updates)?;
            check_strategies(&table, &current.strategies)?;
            Ok(current.next(Parts { table, ..current.parts() }, &self.inner.shared))
        });
        next.map(|state| state.snapshot.generation())
    }

    /// Changes the rules, by all of the updates or none. They are checked against the routing table as it is; decisions
    /// that run meanwhile read the version before or the version after. Returns the new version's number.
    ///
    /// # Errors
    ///
    /// [`RuleErrors`] with everything that is wrong with the rules then; nothing has changed.
    pub fn update_rules(&self, updates: impl IntoIterator<Item = RuleUpdate>) -> Result<u64, RuleErrors> {
        let next = self.inner.state.update(|current| {
            let strategies = names(&current.strategies);
            let surroundings = Surroundings::default().table(&current.table).strategies(&strategies);
            let rules = Arc::new(current.rules.updated(updates, surroundings)?);
            Ok(current.next(Parts { rules, ..current.parts() }, &self.inner.shared))
        });
        next.map(|state| state.snapshot.generation())
    }

    /// The rules as they are now: the set, what is doubtful about it, what was counted.
    pub fn rules(&self) -> Arc<CompiledRules> {
        Arc::clone(&self.inner.state.load().rules)
    }

    /// Puts other limits in place of those that there are. What is used of a limit carries over to one of the same name
    /// ([`Limits::updated`]). Returns the new version's number.
    ///
    /// # Errors
    ///
    /// [`LimitErrors`] with everything that is wrong; nothing has changed.
    pub fn update_limits(&self, limits: impl IntoIterator<Item = Limit>) -> Result<u64, LimitErrors> {
        let next = self.inner.state.update(|current| {
            let limits = Arc::new(current.limits.updated(limits, self.inner.shared.clock.now())?);
            Ok(current.next(Parts { limits, ..current.parts() }, &self.inner.shared))
        });
        next.map(|state| state.snapshot.generation())
    }

    /// Puts another configuration in place of the one that there is, all of it at once: the table that the updates make
    /// of an empty one, the rules, the limits. Candidates, rules and limits of the same name keep their live state,
    /// counts and what is used. Returns the new version's number.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with everything that is wrong; nothing has changed.
    ///
    /// ```
    /// use waypost::core::RoutingTableUpdate;
    /// use waypost::rules::RuleSet;
    /// use waypost::{ProviderCandidate, Router};
    ///
    /// let router = Router::builder().candidate(ProviderCandidate::openai("openai", "gpt-4o")).build()?;
    /// let azure = ProviderCandidate::azure("azure-eu", "gpt-4o").build()?;
    /// router.reconfigure([RoutingTableUpdate::add(azure)], RuleSet::default(), [])?;
    /// assert_eq!(router.routing_table().candidates().next().unwrap().provider(), "azure-eu");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reconfigure(
        &self,
        table: impl IntoIterator<Item = RoutingTableUpdate>,
        rules: RuleSet,
        limits: impl IntoIterator<Item = Limit>,
    ) -> Result<u64, BuildError> {
        let next = self.inner.state.update(|current| {
            let mut problems = Vec::new();
            let table = current.table.replaced(table).and_then(|table| {
                check_strategies(&table, &current.strategies)?;
                Ok(table)
            });
            let table = table.map_err(|errors| problems.push(errors.into())).unwrap_or_default();
            let strategies = names(&current.strategies);
            let surroundings = Surroundings::default().strategies(&strategies);
            // Names that a table would have had without its own problems are not missing.
            let surroundings = if problems.is_empty() { surroundings.table(&table) } else { surroundings };
            let rules = current.rules.updated([RuleUpdate::ReplaceAll(rules)], surroundings);
            let rules = rules.map_err(|errors| problems.push(errors.into())).unwrap_or_default();
            let limits = current.limits.updated(limits, self.inner.shared.clock.now());
            let limits = limits.map_err(|errors| problems.push(errors.into())).ok();
            BuildError::of(problems)?;
            let limits = limits.map_or_else(|| Arc::clone(&current.limits), Arc::new);
            let parts = Parts { table, rules: Arc::new(rules), limits, ..current.parts() };
            Ok(current.next(parts, &self.inner.shared))
        });
        next.map(|state| state.snapshot.generation())
    }

    /// The limits as they are now.
    pub fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.inner.state.load().limits)
    }

    /// What is used and left of every limit for every subject, candidates' own included.
    pub fn limit_reports(&self) -> Vec<LimitReport> {
        let clock = &self.inner.shared.clock;
        self.inner.state.load().limits.reports(clock.now(), clock.wall())
    }

    /// Makes a strategy known, or replaces one. Balancers of all strategies begin anew; those that no tenant
    /// and no setting names are built when the first request asks for them.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when the router has 64 strategies.
    pub fn register_strategy(
        &self,
        name: LoadBalancingStrategy,
        strategy: impl BuildLoadBalancer + 'static,
    ) -> Result<(), RegisterError> {
        let slow_start = self.inner.shared.config.health.slow_start;
        let strategy = starting_slowly(Arc::new(strategy), slow_start);
        let registered = self.inner.state.update(|current| {
            let mut strategies = current.strategies.to_vec();
            strategies.retain(|(known, _)| *known != name);
            strategies.push((name, strategy));
            if strategies.len() > MAX_STRATEGIES {
                return Err(RegisterError(()));
            }
            Ok(current.next(Parts { strategies: strategies.into(), ..current.parts() }, &self.inner.shared))
        });
        registered.map(drop)
    }

    /// Records how a request ended that was not finished by its [`SelectedProvider`]: for callers that had to
    /// [`detach`](SelectedProvider::detach). The in-flight count is not touched. A candidate that serves several models
    /// is taken as one of the first of them, by name: its statistics are shared, what balancers learn is not.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when the result names no candidate of the table; then nothing is recorded.
    pub fn record_result(&self, result: &RequestResult) -> Result<(), RecordError> {
        let id = result.candidate.as_ref().ok_or(RecordError::NoCandidate)?;
        let state = self.inner.state.load();
        let place = state.snapshot.find(id).ok_or_else(|| RecordError::UnknownCandidate(id.clone()))?;
        let runtime = state.runtime(place.0);
        let now = self.inner.shared.clock.now();
        runtime.record(&ResultEvent::new(&runtime.pool, place.1, result, now));
        runtime.health.update_health(place.1, result, now);
        if !result.provider_limits.is_empty() {
            state.observe(id, &result.provider_limits, now);
        }
        Ok(())
    }

    /// The health of all candidates: administrators' words, active checks, scores. With the feature `tokio`,
    /// `waypost::health::run_health_checks` drives the checks with it and the router's [`clock`](Self::clock).
    pub fn health(&self) -> &Arc<HealthAwareRouter> {
        &self.inner.shared.health
    }

    /// What is known of a candidate's health, and why it is left out if it is; in the first of its pools, by name, when
    /// it serves several models. `None` when the table does not have it.
    pub fn health_report(&self, candidate: &CandidateId) -> Option<HealthReport> {
        let state = self.inner.state.load();
        let (health, index) = state.health_of(candidate)?;
        Some(health.report(index, self.inner.shared.clock.now()))
    }

    /// What is known of the health of every candidate of the table, in the order of their ids.
    pub fn health_reports(&self) -> Vec<HealthReport> {
        let (state, now) = (self.inner.state.load(), self.inner.shared.clock.now());
        let report = |candidate: &Arc<ProviderCandidate>| {
            let (health, index) = state.health_of(candidate.id())?;
            Some(health.report(index, now))
        };
        state.table.candidates().filter_map(report).collect()
    }

    /// What was counted since the router was made.
    pub fn metrics(&self) -> RouterMetrics {
        let state = self.inner.state.load();
        let in_flight = state.table.candidates().map(|candidate| candidate.live().in_flight().requests).sum();
        self.inner.shared.metrics.snapshot(in_flight, state.snapshot.generation())
    }

    /// The routing table as it is now.
    pub fn routing_table(&self) -> RoutingTable {
        self.inner.state.load().table.clone()
    }
}

/// Why a decision came to nothing.
enum Undecided {
    Because(RoutingError),
    /// Everybody who was left after the health stage was refused; when one may be back.
    AllFellIll(Option<Duration>),
}

impl From<RoutingError> for Undecided {
    fn from(error: RoutingError) -> Self {
        Self::Because(error)
    }
}

impl From<Undecided> for RoutingError {
    fn from(undecided: Undecided) -> Self {
        match undecided {
            Undecided::Because(error) => error,
            Undecided::AllFellIll(retry_after) => Self::AllProvidersUnhealthy { retry_after },
        }
    }
}

/// Why nobody was chosen.
enum Refused {
    /// Others took the last places of half-open breakers, or somebody fell ill since the health stage.
    ByHealth,
    /// Others took what was left of a limit.
    ByLimit(LimitSpent),
    Otherwise,
}

impl Refused {
    /// Of two reasons the one that tells more: of two limits the one that is back first.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::ByLimit(a), Self::ByLimit(b)) => {
                let wait = |spent: &LimitSpent| spent.retry_after().unwrap_or(Duration::MAX);
                Self::ByLimit(if wait(&b) < wait(&a) { b } else { a })
            }
            (known, Self::Otherwise) => known,
            (_, other) => other,
        }
    }
}

/// What a request needs besides a candidate's health.
struct Needs<'n, 'a> {
    runtime: &'n Arc<PoolRuntime>,
    limits: &'n PoolLimits,
    of_request: &'n Applicable<'a>,
    panic: bool,
}

/// Lets the balancer choose until a chosen candidate takes the request: another request may take the last place between
/// choice and lease. INVARIANT: a balancer that chooses outside the set selects nothing, and each turn takes a
/// candidate out of it.
fn choose(
    balancer: &dyn LoadBalancer,
    set: &mut CandidateSet<'_>,
    cx: &mut SelectContext<'_, '_>,
    needs: &Needs<'_, '_>,
) -> Result<(Lease, Option<Reservation>), Refused> {
    let mut refused = Refused::Otherwise;
    loop {
        let Some(index) = balancer.select(set, cx).filter(|&index| set.contains(index)) else {
            return Err(refused);
        };
        match needs.take(index, cx.decision) {
            Ok(taken) => return Ok(taken),
            Err(because) => refused = refused.or(because),
        }
        set.remove(index);
    }
}

impl Needs<'_, '_> {
    /// Everything that the request takes at a candidate, or nothing.
    fn take(
        &self,
        index: CandidateIndex,
        decision: &DecisionContext<'_>,
    ) -> Result<(Lease, Option<Reservation>), Refused> {
        let winner = Winner { runtime: Arc::clone(self.runtime), index };
        let admission = Admission::new(winner, index, decision.now, self.panic).ok_or(Refused::ByHealth)?;
        let lease = lease(admission, decision.usage.total()).ok_or(Refused::Otherwise)?;
        if self.limits.is_unlimited(self.of_request, decision.now) {
            return Ok((lease, None));
        }
        let cost = lease.holder().holder().candidate().cost(decision.usage);
        let reservation = self.limits.reserve(self.of_request, index, decision, cost);
        Ok((lease, Some(reservation.map_err(Refused::ByLimit)?)))
    }
}

fn lease(admission: Admission<Winner>, tokens: Tokens) -> Option<Lease> {
    match admission.holder().candidate().rate_limits().max_in_flight {
        None => InFlightLease::acquire(admission, tokens),
        Some(limit) => InFlightLease::acquire_within(admission, tokens, limit),
    }
}

/// One request in front of one version of the configuration.
pub(crate) struct Question<'a> {
    pub(crate) state: &'a RouterState,
    shared: &'a Shared,
    pub(crate) request: &'a GatewayRequest,
    context: &'a RoutingContext,
    now: Timestamp,
    /// The wall time, if somebody may look at it.
    wall: Option<SystemTime>,
    tenant: Option<&'a Tenant>,
    usage: TokenUsage,
}

impl<'a> Question<'a> {
    fn new(
        state: &'a RouterState,
        shared: &'a Shared,
        request: &'a GatewayRequest,
        context: &'a RoutingContext,
        now: Timestamp,
    ) -> Self {
        let tenant = context.tenant_id.as_ref().or(request.tenant_id.as_ref());
        let tenant = tenant.and_then(|id| state.snapshot.tenant(id));
        let usage = expected_usage(shared, request, context, &request.model);
        // Filters of one's own may look at it too.
        let is_looked_at =
            state.rules.look_at_time() || state.limits.look_at_time() || !shared.filters.is_empty();
        let wall = is_looked_at.then(|| shared.clock.wall());
        Self { state, shared, request, context, now, wall, tenant, usage }
    }

    /// The request as rules see it.
    pub(crate) fn decision(&self) -> DecisionContext<'a> {
        let tenant = self.tenant.map(Tenant::config);
        let mut decision = DecisionContext::new(self.request, self.context, tenant, self.now, self.usage);
        decision.wall = self.wall;
        decision
    }

    /// Whether tenant and context let requests be served as this model: it or the model that it stands for is allowed.
    fn may_use(&self, model: &ModelName) -> bool {
        let stands_for = || Some(self.state.snapshot.pool(self.state.snapshot.resolve(model)?).model());
        let allows =
            |allowed: &dyn Fn(&ModelName) -> bool| allowed(model) || stands_for().is_some_and(allowed);
        self.tenant.is_none_or(|tenant| allows(&|model| tenant.may_ask_for(model)))
            && self
                .context
                .allowed_models
                .as_ref()
                .is_none_or(|models| allows(&|model| models.contains(model)))
    }
}

/// One request with what the rules say of it, and the pool that it leads to.
pub(crate) struct Inquiry<'a> {
    question: Question<'a>,
    /// `None` when there are no rules.
    verdict: Option<Verdict<'a>>,
    pool: PoolIndex,
}

impl<'a> Inquiry<'a> {
    /// Asks the rules, by evaluating them or by a look.
    pub(crate) fn new(
        mut question: Question<'a>,
        ask: impl FnOnce(&'a CompiledRules, &DecisionContext<'_>) -> Verdict<'a>,
    ) -> Result<Self, RoutingError> {
        let asked_for = &question.request.model;
        if !question.may_use(asked_for) {
            return Err(unauthorized(None));
        }
        let rules = &*question.state.rules;
        let verdict = (!rules.is_empty()).then(|| ask(rules, &question.decision()));
        let model = match &verdict {
            Some(verdict) => question.rewrite(verdict)?,
            None => asked_for,
        };
        let pool = question.state.snapshot.resolve(model);
        let pool = pool.ok_or_else(|| RoutingError::ModelNotSupported { model: model.clone() })?;
        Ok(Self { question, verdict, pool })
    }

    /// Runs the stages and chooses.
    #[inline]
    fn decide(&self) -> Result<SelectedProvider, Undecided> {
        let decision = self.decision();
        let pipeline = self.pipeline(&decision);
        let now = self.question.now;
        let mut set = self.runtime().pool.all();
        let mut directives = Directives::default();
        // Before the stages: a pool that is too slow as a whole must be able to recover.
        if pipeline.constraints.latency_limit().is_some() || preferences::look_at_latency(&decision) {
            set.pool().refresh_next_latency(now);
        }
        let mut trail = Trail::new(&self.question.state.limits);
        pipeline.run(&mut set, &mut directives, &mut Nobody, &mut trail)?;

        let annotations = directives.annotations.clone();
        let added = [annotations.as_ref().map_or(&[][..], |annotations| &annotations.tags)];
        let decision = decision.with_priority(directives.priority).with_added_tags(&added);
        let strategy = self.strategy(&mut directives);
        let weighted = directives.weights.as_ref().map(|weights| self.runtime().weighted(weights));
        let balancers = weighted.as_deref().unwrap_or_else(|| self.runtime().balancers());
        let balancer = balancers.balancer(&strategy);
        let balancer =
            balancer.ok_or_else(|| RoutingError::StrategyNotFound { strategy: strategy.clone() })?;
        let mut set = if weighted.is_some() { set.in_pool(balancers.pool()) } else { set };
        let candidates_left = set.len();
        let mut cx = SelectContext::new(&decision, self.question.shared.seeds.generator());
        cx.eligible = trail.eligible.as_ref();
        cx.panic = directives.panic;
        let needs = Needs {
            runtime: self.runtime(),
            limits: self.limits(),
            of_request: &trail.of_request,
            panic: directives.panic,
        };
        let (lease, reservation) = match choose(balancer, &mut set, &mut cx, &needs) {
            Ok(taken) => taken,
            Err(Refused::ByLimit(spent)) => return Err(Undecided::Because(spent.into())),
            Err(Refused::ByHealth) => {
                return Err(Undecided::AllFellIll(directives.retry_after));
            }
            Err(Refused::Otherwise) => {
                return Err(RoutingError::SelectionFailed { strategy, candidates: candidates_left }.into());
            }
        };

        let candidate = lease.holder().holder().candidate();
        let usage = decision.usage;
        let expected_latency = candidate.live().latency().expected(decision.usage.completion, now);
        let decision = RoutingDecision {
            strategy_used: strategy,
            rule_matched: directives.rule_matched,
            annotations: directives.annotations,
            rewritten_to: self.rewritten_to().cloned(),
            priority: decision.priority(),
            candidates_considered: set.pool().len(),
            candidates_left,
            generation: self.question.state.snapshot.generation(),
            selection_time: None,
            panic: directives.panic,
            left_out: directives.left_out,
            dropped: trail.dropped,
        };
        Ok(SelectedProvider::new(lease, reservation, now, decision, usage, expected_latency))
    }

    /// The request as stages see it.
    pub(crate) fn decision(&self) -> DecisionContext<'a> {
        self.question.decision().with_model(self.rewritten_to())
    }

    /// The model that a rule put in place of the request's.
    pub(crate) fn rewritten_to(&self) -> Option<&'a ModelName> {
        self.verdict.as_ref().and_then(Verdict::model)
    }

    pub(crate) fn pipeline<'b>(&'b self, decision: &'b DecisionContext<'b>) -> Pipeline<'b> {
        let Question { state, tenant, shared, .. } = self.question;
        let constraints = Constraints { decision, snapshot: &state.snapshot, pool: self.pool, tenant };
        let health = &self.runtime().health;
        let (verdict, limits) = (self.verdict.as_ref(), self.limits());
        Pipeline { constraints, verdict, health, limits, filters: &shared.filters }
    }

    fn limits(&self) -> &'a PoolLimits {
        self.question.state.pool_limits(self.pool)
    }

    pub(crate) fn runtime(&self) -> &'a Arc<PoolRuntime> {
        self.question.state.runtime(self.pool)
    }

    pub(crate) const fn state(&self) -> &'a RouterState {
        self.question.state
    }

    pub(crate) const fn shared(&self) -> &'a Shared {
        self.question.shared
    }

    /// The strategy that the context names, else the one that a filter named, else the tenant's, else the router's.
    pub(crate) fn strategy(&self, directives: &mut Directives) -> LoadBalancingStrategy {
        let tenant = || {
            self.question
                .tenant
                .map(Tenant::config)
                .and_then(|config: &TenantRoutingConfig| config.default_strategy.clone())
        };
        let of_request = self.question.context.strategy.clone();
        let named = of_request.or_else(|| directives.strategy.take()).or_else(tenant);
        named.unwrap_or_else(|| self.shared().config.default_strategy.clone())
    }
}

impl<'a> Question<'a> {
    /// The model that the request is served as, once the rules have spoken.
    ///
    /// # Errors
    ///
    /// A rule rejects the request, or makes it one for a model that the tenant may not use.
    fn rewrite(&mut self, verdict: &Verdict<'a>) -> Result<&'a ModelName, RoutingError> {
        if let Some(rejection) = verdict.rejection() {
            return Err(rejection.into());
        }
        let Some(model) = verdict.model() else { return Ok(&self.request.model) };
        if !self.may_use(model) {
            return Err(unauthorized(verdict.rewritten_by().map(|rule| rule.id().clone())));
        }
        self.usage = expected_usage(self.shared, self.request, self.context, model);
        Ok(model)
    }
}

const fn unauthorized(rule: Option<RuleId>) -> RoutingError {
    RoutingError::Rejected(Rejection { rule, reason: RejectionReason::UnauthorizedModel })
}

/// The tokens that a request should use: its prompt by estimate, its answer by what it, the context or the
/// configuration says.
fn expected_usage(
    shared: &Shared,
    request: &GatewayRequest,
    context: &RoutingContext,
    model: &ModelName,
) -> TokenUsage {
    let prompt = shared.estimator.estimate(&request.prompt, model);
    let completion = request.max_tokens.or(context.max_tokens_hint);
    TokenUsage {
        prompt,
        cached: request.cached_prompt_tokens.min(prompt),
        completion: completion.unwrap_or(shared.config.default_completion_tokens),
    }
}
