//! The event loop: one thread, a clock that jumps from event to event.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use waypost::core::{
    Clock, LimitId, ManualClock, ModelName, NanoUsd, ProviderId, TenantId, Timestamp, Tokens,
};
use waypost::limits::{Budget, Limit, Period};
use waypost::{
    BuildError, GatewayRequest, Router, RouterBuilder, RoutingContext, RoutingError, SelectedProvider,
};

use crate::outcome::{self, Ending, Fault};
use crate::profile::Service;
use crate::provider::{Provider, Reception, RequestIndex};
use crate::report::{AtEnd, Note, Recorder};
use crate::scenario::MODEL;
use crate::{Arrival, Report, Scenario, TenantProfile};

/// Separates the providers' randomness from the arrivals' and the router's, which start at the same seed.
const PROVIDER_STREAM: u64 = 0x6c61_6221;

/// Separates whose requests arrivals are from all other randomness.
const TENANT_STREAM: u64 = 0x7465_6e61_6e74;

/// Why a scenario cannot be simulated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// Its fleet is not a valid routing table.
    #[error("the scenario's fleet is not valid")]
    Fleet(#[from] BuildError),
    /// A tenant has no valid name or budget.
    #[error("tenant `{0}` is not valid")]
    Tenant(&'static str),
}

/// A router in front of simulated providers, in virtual time.
#[derive(Debug)]
pub struct Simulation {
    router: Router,
    clock: Arc<ManualClock>,
    scenario: Scenario,
    seed: u64,
    model: ModelName,
    told: Told,
    tenants: Vec<(TenantId, f64)>,
}

/// What happened to health and to limits, as it happened.
#[derive(Debug, Clone, Default)]
struct Told {
    health: Notes,
    limits: Notes,
}

type Notes = Arc<Mutex<Vec<Note>>>;

fn add(notes: &Notes, at: Timestamp, what: String) {
    let note = Note { at_s: at.since(Timestamp::ORIGIN).as_secs_f64(), what };
    notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
}

fn taken(notes: &Notes) -> Vec<Note> {
    std::mem::take(&mut *notes.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A tenant with its share of arrivals and its budget.
fn tenant(profile: &TenantProfile) -> Result<(TenantId, f64, Limit), SimulationError> {
    let invalid = || SimulationError::Tenant(profile.name);
    let id = TenantId::new(profile.name).map_err(|_| invalid())?;
    let name = LimitId::new(profile.name).map_err(|_| invalid())?;
    let amount = NanoUsd::from_usd(profile.budget).map_err(|_| invalid())?;
    let budget = Limit::budget(name, Budget::new(amount, Period::TOTAL)).for_tenant(id.clone());
    Ok((id, profile.share, budget))
}

/// A request that was routed and has not ended.
#[derive(Debug)]
struct Running {
    selected: SelectedProvider,
    arrival: Arrival,
    provider: usize,
    /// Since when it is at the provider.
    since: Duration,
    waited: Duration,
    ending: Ending,
    service: Service,
    caller: Caller,
}

/// Who asks, and who failed them before.
#[derive(Debug, Clone, Default)]
struct Caller {
    tenant: Option<TenantId>,
    failed: Vec<ProviderId>,
}

/// The state of one run.
struct Run<'a> {
    simulation: &'a Simulation,
    providers: Vec<Provider>,
    /// Candidate to provider.
    places: BTreeMap<ProviderId, usize>,
    running: Vec<Option<Running>>,
    free: Vec<RequestIndex>,
    /// Ends of requests, by time and then in the order in which they were scheduled.
    ends: BinaryHeap<Reverse<(Duration, u64, RequestIndex)>>,
    scheduled: u64,
    rng: Xoshiro256PlusPlus,
    tenant_rng: Xoshiro256PlusPlus,
    recorder: Recorder,
}

impl Simulation {
    /// Prepares a scenario.
    ///
    /// # Errors
    ///
    /// [`SimulationError`] when the scenario's fleet is not valid.
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self, SimulationError> {
        Self::with_router(scenario, seed, |builder| builder)
    }

    /// Prepares a scenario with a router that has strategies, filters or observers of the caller's.
    ///
    /// # Errors
    ///
    /// [`SimulationError`] when the scenario's fleet is not valid.
    ///
    /// # Panics
    ///
    /// Never: the model's name is a constant.
    pub fn with_router(
        scenario: &Scenario,
        seed: u64,
        customize: impl FnOnce(RouterBuilder) -> RouterBuilder,
    ) -> Result<Self, SimulationError> {
        let clock = Arc::new(ManualClock::default());
        let shared: Arc<ManualClock> = Arc::clone(&clock);
        let candidates = scenario.deployments.iter().map(|deployment| deployment.candidate.clone());
        let builder = candidates.fold(Router::builder(), RouterBuilder::candidate);
        let builder = builder.strategy(scenario.strategy.clone()).seed(seed).shared_clock(shared);
        let told = Told::default();
        let (health, limits, events) =
            (Arc::clone(&told.health), Arc::clone(&told.limits), Arc::clone(&clock));
        let builder = builder
            .on_health_event(move |event| add(&health, event.now, event.to_string()))
            .on_limit_event(move |event| add(&limits, events.now(), event.to_string()));
        let tenants: Vec<_> = scenario.tenants.iter().map(tenant).collect::<Result<_, _>>()?;
        let builder = tenants.iter().fold(builder, |builder, (.., limit)| builder.limit(limit.clone()));
        let router = customize(builder).build()?;
        Ok(Self {
            router,
            clock,
            scenario: scenario.clone(),
            seed,
            model: ModelName::new(MODEL).expect("the model's name is valid"),
            told,
            tenants: tenants.into_iter().map(|(id, share, _)| (id, share)).collect(),
        })
    }

    /// The router, to update it before the run; a clone of it can be asked afterwards.
    pub const fn router(&self) -> &Router {
        &self.router
    }

    /// Sends all arrivals through the router and lets every request end. Arrivals must be in order of time. A candidate
    /// that the caller added and no profile simulates counts as refused (`no_profile`).
    pub fn run(self, arrivals: impl IntoIterator<Item = Arrival>) -> Report {
        self.run_with_progress(arrivals, |_| ())
    }

    /// Like [`run`](Self::run); tells after every arrival how many have been routed.
    pub fn run_with_progress(
        self,
        arrivals: impl IntoIterator<Item = Arrival>,
        mut progress: impl FnMut(u64),
    ) -> Report {
        let arrivals: Vec<Arrival> = arrivals.into_iter().collect();
        let length = arrivals.last().map_or(Duration::ZERO, |last| last.at);
        let mut run = Run::new(&self, length);
        for (number, arrival) in arrivals.iter().enumerate() {
            run.end_until(arrival.at);
            run.arrive(arrival);
            progress(number as u64 + 1);
        }
        run.end_until(Duration::MAX);
        let in_system: Vec<f64> = run.providers.iter().map(Provider::mean_in_system).collect();
        let at_end = AtEnd {
            in_flight: self.router.metrics().in_flight,
            health: taken(&self.told.health),
            limits: taken(&self.told.limits),
            budgets: self.router.limit_reports(),
        };
        run.recorder.report(&self.scenario, self.seed, &in_system, at_end)
    }

    fn set_clock(&self, now: Duration) {
        self.clock.set(Timestamp::ORIGIN + now);
    }
}

impl<'a> Run<'a> {
    fn new(simulation: &'a Simulation, length: Duration) -> Self {
        let deployments = &simulation.scenario.deployments;
        let names: Vec<ProviderId> = deployments
            .iter()
            .filter_map(|deployment| deployment.candidate.clone().build().ok())
            .map(|candidate| candidate.provider().clone())
            .collect();
        Self {
            simulation,
            providers: deployments.iter().map(|d| Provider::new(d.profile.clone(), length)).collect(),
            places: names.iter().cloned().zip(0..).collect(),
            running: Vec::new(),
            free: Vec::new(),
            ends: BinaryHeap::new(),
            scheduled: 0,
            rng: Xoshiro256PlusPlus::seed_from_u64(simulation.seed ^ PROVIDER_STREAM),
            tenant_rng: Xoshiro256PlusPlus::seed_from_u64(simulation.seed ^ TENANT_STREAM),
            recorder: Recorder::new(names, length),
        }
    }

    /// Lets every request end that is due before or at `until`.
    fn end_until(&mut self, until: Duration) {
        while let Some(&Reverse((at, _, request))) = self.ends.peek() {
            if at > until {
                break;
            }
            self.ends.pop();
            self.simulation.set_clock(at);
            self.end(request, at);
        }
    }

    fn arrive(&mut self, arrival: &Arrival) {
        self.simulation.set_clock(arrival.at);
        let caller = Caller { tenant: self.any_tenant(), failed: Vec::new() };
        match self.route(arrival, &caller) {
            Ok(selected) => self.send(selected, arrival, arrival.at, caller),
            Err(error) => self.recorder.refused(arrival.at, error.kind()),
        }
    }

    /// Whose request the next arrival is, by the tenants' shares.
    fn any_tenant(&mut self) -> Option<TenantId> {
        let mut draw = self.tenant_rng.random::<f64>();
        let drawn = self.simulation.tenants.iter().find(|(_, share)| {
            draw -= share;
            draw < 0.0
        });
        drawn.map(|(id, _)| id.clone())
    }

    fn route(&self, arrival: &Arrival, caller: &Caller) -> Result<SelectedProvider, RoutingError> {
        let request = GatewayRequest::for_model(self.simulation.model.clone())
            .prompt_tokens(arrival.prompt)
            .max_tokens(arrival.completion.max(Tokens(1)))
            .streaming(true);
        let mut request = caller.failed.iter().cloned().fold(request, GatewayRequest::exclude_provider);
        request.tenant_id.clone_from(&caller.tenant);
        self.simulation.router.route(&request, &RoutingContext::default())
    }

    /// The caller tries again at another provider, if it does and there is one.
    fn try_again(&mut self, arrival: &Arrival, caller: Caller, now: Duration) {
        if caller.failed.len() <= self.simulation.scenario.retries as usize
            && let Ok(selected) = self.route(arrival, &caller)
        {
            self.recorder.retried();
            self.send(selected, arrival, now, caller);
        }
    }

    /// Hands a routed request to its provider.
    fn send(&mut self, selected: SelectedProvider, arrival: &Arrival, now: Duration, caller: Caller) {
        let Some(&provider) = self.places.get(selected.candidate().provider()) else {
            // The caller added a candidate that no profile simulates.
            selected.detach();
            return self.recorder.refused(arrival.at, "no_profile");
        };
        self.recorder.routed(now, provider);
        let request = self.keep(Running {
            selected,
            arrival: *arrival,
            provider,
            since: now,
            waited: Duration::ZERO,
            ending: Ending::Answered,
            service: self.providers[provider].failing(),
            caller,
        });
        match self.providers[provider].receive(request, now) {
            Reception::Serve => self.begin(request, now),
            Reception::Queue => {}
            Reception::Refuse(fault) => self.refuse(request, fault, now),
        }
    }

    /// A provider begins to serve a request.
    fn begin(&mut self, request: RequestIndex, now: Duration) {
        let running = self.running[request].as_mut().expect("a request that begins is running");
        running.waited = now.saturating_sub(running.since);
        let (ending, service) = self.providers[running.provider].serve(&running.arrival, now, &mut self.rng);
        (running.ending, running.service) = (ending, service);
        self.schedule(now.saturating_add(service.total), request);
    }

    /// A provider refuses a request: it never held a place there.
    fn refuse(&mut self, request: RequestIndex, fault: Fault, now: Duration) {
        let running = self.running[request].as_mut().expect("a request that is refused is running");
        running.ending = Ending::Failed(fault);
        let at = now.saturating_add(running.service.total);
        self.schedule(at, request);
    }

    fn schedule(&mut self, at: Duration, request: RequestIndex) {
        self.ends.push(Reverse((at, self.scheduled, request)));
        self.scheduled += 1;
    }

    fn end(&mut self, request: RequestIndex, now: Duration) {
        let running = self.running[request].take().expect("a request ends once");
        self.free.push(request);
        let Running { arrival, ending, .. } = running;
        let result = outcome::result(ending, &arrival, running.waited, running.service, now);
        let candidate = running.selected.candidate();
        let (cost, at) = (candidate.cost(result.tokens), candidate.provider().clone());
        self.recorder.ended(running.since, running.provider, ending, &result, cost);
        running.selected.finish(&result);
        let held_a_place = !matches!(running.ending, Ending::Failed(Fault::RateLimited | Fault::Overloaded));
        if held_a_place && let Some(next) = self.providers[running.provider].finish(now) {
            self.begin(next, now);
        }
        if ending != Ending::Answered {
            let mut caller = running.caller;
            caller.failed.push(at);
            self.try_again(&arrival, caller, now);
        }
    }

    fn keep(&mut self, running: Running) -> RequestIndex {
        if let Some(place) = self.free.pop() {
            self.running[place] = Some(running);
            return place;
        }
        self.running.push(Some(running));
        self.running.len() - 1
    }
}
