//! Health in the decision: who is left out and why, panic, slow start, and promises 4 and 8 over random histories.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use waypost::core::{
    CandidateId, CandidateIndex, CandidateSet, Clock, Generator, LeftOutReason, LoadBalancer, ManualClock,
    Pool, RoutingTableUpdate, SelectContext, Stage, TenantId, TenantRoutingConfig, Timestamp, TokenUsage,
    Weight,
};
use waypost::health::{BreakerConfig, CheckOutcome, HealthConfig, SlowStartConfig};
use waypost::{
    GatewayRequest, LoadBalancingStrategy, ProviderCandidate, RequestResult, Router, RouterBuilder,
    RoutingContext, RoutingError, SelectedProvider,
};

use crate::fleet;

/// A router over `n` candidates and its clock.
fn clocked(n: usize, health: HealthConfig) -> (Router, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_nanos(1_000_000_000_000)));
    let builder = fleet::plain(n).health(health).shared_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    (builder.build().unwrap(), clock)
}

fn route(router: &Router) -> SelectedProvider {
    router.route(&fleet::request(), &RoutingContext::default()).unwrap()
}

fn id(provider: &str) -> CandidateId {
    CandidateId { provider: fleet::provider(provider), model: "m".parse().unwrap() }
}

fn answered() -> RequestResult {
    RequestResult::success(Duration::from_millis(300), TokenUsage::default())
}

fn overloaded() -> RequestResult {
    RequestResult::failure(Duration::from_millis(10), "overloaded").status(529)
}

/// Fails the candidate until it is no longer chosen.
fn fail(router: &Router, provider: &str) {
    for _ in 0..1_000 {
        let selected = route(router);
        let is_it = selected.candidate().provider() == provider;
        selected.finish(&if is_it { overloaded() } else { answered() });
    }
}

/// Everybody fails.
fn fail_all(router: &Router, n: usize) {
    for i in 0..n {
        let result = overloaded().at(id(&format!("p{i}")));
        (0..5).for_each(|_| router.record_result(&result).unwrap());
    }
}

#[test]
fn the_decision_and_the_explanation_name_who_is_left_out_why_and_until_when() {
    let (router, _clock) = clocked(4, HealthConfig::default());
    fail(&router, "p1");
    let selected = route(&router);
    assert_eq!(selected.decision().to_string(), "round_robin chose 1 of 3 left of 4 (health −1)");
    let left_out: Vec<_> = selected.left_out().collect();
    assert_eq!((left_out.len(), left_out[0].reason), (1, LeftOutReason::CircuitOpen));
    assert_eq!(left_out[0].candidate.provider(), "p1");
    let text = left_out[0].to_string();
    assert!(text.starts_with("p1/m circuit open for ") && text.ends_with(" s"), "{text}");

    let explained = router.explain(&fleet::request(), &RoutingContext::default());
    let stage = explained.stages.iter().find(|report| report.stage == Stage::Health).unwrap();
    assert_eq!(stage.dropped, [id("p1")]);
    let why = stage.exclusions[0].as_ref().unwrap();
    assert_eq!((why.reason, why.last_status), (LeftOutReason::CircuitOpen, Some(529)));
    assert!(why.remaining.unwrap() > Duration::from_secs(3));
    let text = explained.to_string();
    assert!(text.contains("p1/m circuit open for ") && text.contains("(last status 529)"), "{text}");

    let report = router.health_report(&id("p1")).unwrap();
    assert_eq!(report.exclusion.and_then(|why| why.last_status), Some(529));
    assert_eq!(router.health_reports().len(), 4);
    assert!(router.health_report(&id("p9")).is_none());
}

#[test]
fn all_sick_is_panic_and_without_panic_an_error_that_says_when_to_come_back() {
    let (router, _clock) = clocked(3, HealthConfig::default());
    fail_all(&router, 3);
    let selected = route(&router);
    assert!(selected.decision().panic);
    assert_eq!(selected.decision().to_string(), "round_robin chose 1 of 3 left, in panic");
    let explained = router.explain(&fleet::request(), &RoutingContext::default());
    assert!(explained.panic && explained.to_string().contains("health is ignored"));

    let (router, clock) =
        clocked(3, HealthConfig { panic_threshold: waypost::core::Ratio::ZERO, ..HealthConfig::default() });
    fail_all(&router, 3);
    let error = router.route(&fleet::request(), &RoutingContext::default()).unwrap_err();
    assert!(matches!(error, RoutingError::AllProvidersUnhealthy { retry_after: Some(_) }), "{error:?}");
    let wait = error.retry_after().unwrap();
    assert!((Duration::from_secs(4)..Duration::from_secs(6)).contains(&wait), "{wait:?}");
    clock.advance(wait + Duration::from_millis(5));
    route(&router).finish(&answered());
}

#[test]
fn pn_3_in_panic_tiers_get_what_their_candidates_are() {
    for (first, second) in [(4, 4), (4, 6), (1, 2)] {
        let add = |builder: RouterBuilder, i: usize| {
            let tier = u8::from(i >= first);
            builder.candidate(ProviderCandidate::openai(format!("p{i}"), "m").tier(tier))
        };
        let router = (0..first + second).fold(Router::builder().seed(1), add);
        let router = router.strategy(LoadBalancingStrategy::PriorityTiers).build().unwrap();
        assert!((0..20).all(|_| route(&router).candidate().tier() == 0), "all are well");
        fail_all(&router, first + second);
        // Turns: exact over each round of all.
        let rounds = 10 * (first + second);
        let at_first = (0..rounds).filter(|_| route(&router).candidate().tier() == 0).count();
        assert_eq!(at_first, 10 * first, "{first} and {second}");
    }
}

#[test]
fn a_retry_that_excludes_who_failed_does_not_panic_while_the_pool_is_well() {
    let (router, _clock) = clocked(4, HealthConfig::default());
    fail(&router, "p0");
    fail(&router, "p1");
    let retry = fleet::request().exclude_provider(fleet::provider("p2"));
    for _ in 0..20 {
        let selected = router.route(&retry, &RoutingContext::default()).unwrap();
        assert_eq!(selected.candidate().provider(), "p3");
    }
    // Nobody is left that is well: no reason to believe that the breakers are wrong.
    let retry = retry.exclude_provider(fleet::provider("p3"));
    let error = router.route(&retry, &RoutingContext::default()).unwrap_err();
    assert!(matches!(error, RoutingError::AllProvidersUnhealthy { .. }), "{error:?}");
}

/// Chooses the first; everybody fails while it does so for the first time.
#[derive(Debug, Default)]
struct WhileTheyFail(std::sync::OnceLock<Router>, std::sync::atomic::AtomicBool);

impl LoadBalancer for WhileTheyFail {
    fn select(&self, set: &CandidateSet<'_>, _: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        if let Some(router) = self.0.get()
            && !self.1.swap(true, std::sync::atomic::Ordering::Relaxed)
        {
            fail_all(router, 3);
        }
        set.nth(0)
    }
}

#[test]
fn a_decision_in_which_everybody_falls_ill_is_made_again_and_is_panic_then() {
    let balancer = Arc::new(WhileTheyFail::default());
    let strategy = Arc::clone(&balancer);
    let build = move |_: &Pool, _: &mut Generator<'_>| Arc::clone(&strategy) as Arc<dyn LoadBalancer>;
    let name = LoadBalancingStrategy::Custom("while-they-fail".parse().unwrap());
    let router = fleet::plain(3).register(name.clone(), build).strategy(name).build().unwrap();
    balancer.0.set(router.clone()).unwrap();
    assert!(route(&router).decision().panic);
}

#[test]
fn k01_of_a_thousand_callers_one_tries_a_half_open_candidate() {
    let (router, clock) = clocked(4, HealthConfig::default());
    fail(&router, "p1");
    clock.advance(Duration::from_secs(7));
    let selected: Vec<_> = (0..1_000).map(|_| route(&router)).collect();
    let at_p1 = selected.iter().filter(|selected| selected.candidate().provider() == "p1").count();
    assert_eq!(at_p1, 1);
    drop(selected);
    assert_eq!(router.metrics().in_flight, 0);
    // The probe was dropped with the others: the next one may try.
    assert!((0..10).any(|_| route(&router).candidate().provider() == "p1"));
}

#[test]
fn slow_start_follows_recovery_with_any_strategy_and_can_be_switched_off() {
    let share = |health: HealthConfig| {
        let (router, clock) = clocked(4, health);
        fail(&router, "p1");
        clock.advance(Duration::from_secs(7));
        for _ in 0..100 {
            route(&router).finish(&answered());
        }
        let at_p1 = (0..4_000).filter(|_| {
            let selected = route(&router);
            let is_it = selected.candidate().provider() == "p1";
            selected.finish(&answered());
            is_it
        });
        at_p1.count()
    };
    // A tenth of a quarter; turned down choices are made again, so a little less.
    let slow = share(HealthConfig::default());
    assert!((60..160).contains(&slow), "{slow} of 4,000");
    assert_eq!(share(HealthConfig { slow_start: None, ..HealthConfig::default() }), 1_000);
    let half = SlowStartConfig { least: waypost::core::Ratio::of(1, 2), ..SlowStartConfig::default() };
    let half = share(HealthConfig { slow_start: Some(half), ..HealthConfig::default() });
    assert!((400..650).contains(&half), "{half} of 4,000");
}

#[test]
fn trap_34_users_keep_their_candidate_while_another_is_out_and_get_theirs_back() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_nanos(1_000_000_000_000)));
    let builder = fleet::plain(5).strategy(LoadBalancingStrategy::ConsistentHash);
    // At once, or a returning candidate's users would come back over the time of slow start.
    let health = HealthConfig { slow_start: None, ..HealthConfig::default() };
    let router = builder.health(health).shared_clock(Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap();
    let at = |user: u32| {
        let user = waypost::core::UserId::new(format!("user-{user}")).unwrap();
        let selected = router.route(&fleet::request(), &RoutingContext::default().with_user(user)).unwrap();
        let place = selected.candidate().provider().to_string();
        selected.finish(&answered());
        place
    };
    let before: Vec<_> = (0..200).map(at).collect();
    assert!(before.iter().any(|place| place == "p1"));
    (0..5).for_each(|_| router.record_result(&overloaded().at(id("p1"))).unwrap());
    let without: Vec<_> = (0..200).map(at).collect();
    let moved = before.iter().zip(&without).filter(|(before, without)| before != without);
    assert!(moved.clone().count() > 10 && moved.into_iter().all(|(before, _)| before == "p1"));
    // Past the breaker's time, and the failures of late that count as load.
    clock.advance(Duration::from_secs(60));
    // The first user of p1 who comes is the one who tries it.
    (0..200).for_each(|user| drop(at(user)));
    assert_eq!((0..200).map(at).collect::<Vec<_>>(), before);
}

#[test]
fn checks_and_administrators_reach_the_decision() {
    let (router, _clock) = clocked(3, HealthConfig::default());
    assert!(router.health().disable(&id("p0")));
    for _ in 0..3 {
        router.health().report_check(&id("p1"), CheckOutcome::Failed, router.clock().now());
    }
    assert!((0..30).all(|_| route(&router).candidate().provider() == "p2"));
    let reasons: Vec<_> = route(&router).left_out().map(|left_out| left_out.reason).collect();
    assert_eq!(reasons, [LeftOutReason::Disabled, LeftOutReason::ChecksFailed]);
}

/// What may happen to a router.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Asks for a candidate; of the tenant's if so, without a provider if so.
    Route {
        tenant: bool,
        without: Option<usize>,
    },
    /// Ends the n-th request under way.
    Finish(usize, Ending),
    /// Drops it.
    Drop(usize),
    Wait(u64),
    /// An update of the table: takes out, adds, drains or serves again.
    Reload(usize, u8),
    Disable(usize),
    Enable(usize),
    Reset(usize),
    Check(usize, bool),
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Answered,
    Overloaded,
    RateLimited(u64),
    Refused,
    BadRequest,
}

const PROVIDERS: usize = 5;

fn step() -> impl Strategy<Value = Step> {
    let place = 0..PROVIDERS;
    let ending = prop_oneof![
        3 => Just(Ending::Answered),
        6 => Just(Ending::Overloaded),
        1 => (1_u64..400).prop_map(Ending::RateLimited),
        1 => Just(Ending::Refused),
        1 => Just(Ending::BadRequest),
    ];
    prop_oneof![
        12 => (any::<bool>(), prop::option::of(place.clone())).prop_map(|(tenant, without)| Step::Route { tenant, without }),
        12 => (0..12_usize, ending).prop_map(|(n, ending)| Step::Finish(n, ending)),
        1 => (0..12_usize).prop_map(Step::Drop),
        4 => (0_u64..9_000).prop_map(Step::Wait),
        2 => (place.clone(), 0..4_u8).prop_map(|(place, how)| Step::Reload(place, how)),
        1 => place.clone().prop_map(Step::Disable),
        1 => place.clone().prop_map(Step::Enable),
        1 => place.clone().prop_map(Step::Reset),
        2 => (place, any::<bool>()).prop_map(|(place, passed)| Step::Check(place, passed)),
    ]
}

/// What must hold of a candidate, kept by hand.
#[derive(Debug, Clone, Default)]
struct Known {
    disabled: bool,
    drained: bool,
    /// The longest of all cool-downs asked for.
    cool_until: Option<Timestamp>,
    refused_until: Option<Timestamp>,
    /// Contrary checks in a row, and whether they took it out.
    checks: (bool, u8),
    /// Which incarnation, a new one after each reset: what requests of an older one say concerns nobody.
    life: u32,
}

impl Known {
    fn check(&mut self, passed: bool) {
        let (down, contrary) = self.checks;
        let contrary = if down == passed { contrary + 1 } else { 0 };
        let turns = contrary == if down { 2 } else { 3 };
        self.checks = if turns { (!down, 0) } else { (down, contrary) };
    }
}

/// A router, what is known of it, and what is under way.
struct History {
    router: Router,
    clock: Arc<ManualClock>,
    known: BTreeMap<usize, Known>,
    under_way: Vec<(SelectedProvider, usize, u32)>,
    lives: u32,
}

impl History {
    fn new() -> Self {
        let allowed = (0..3).map(|i| fleet::provider(&format!("p{i}"))).collect();
        let tenant =
            TenantRoutingConfig { allowed_providers: Some(allowed), ..TenantRoutingConfig::default() };
        let clock = Arc::new(ManualClock::at(Timestamp::from_nanos(1_000_000_000_000)));
        let breaker = BreakerConfig { consecutive_failures: 2, ..BreakerConfig::default() };
        let health = HealthConfig { breaker: Some(breaker), min_samples: 5, ..HealthConfig::default() };
        let builder: RouterBuilder = fleet::plain(PROVIDERS).tenant("acme", tenant).health(health);
        let router = builder.shared_clock(Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap();
        let known = (0..PROVIDERS).map(|i| (i, Known::default())).collect();
        Self { router, clock, known, under_way: Vec::new(), lives: 0 }
    }

    fn route(&mut self, tenant: bool, without: Option<usize>) -> Result<(), TestCaseError> {
        let mut request: GatewayRequest = fleet::request();
        if let Some(without) = without {
            request = request.exclude_provider(fleet::provider(&format!("p{without}")));
        }
        let mut context = RoutingContext::default();
        if tenant {
            context = context.with_tenant(TenantId::new("acme").unwrap());
        }
        let Ok(selected) = self.router.route(&request, &context) else { return Ok(()) };
        let place = usize::from(selected.candidate().provider().as_str().as_bytes()[1] - b'0');
        let (known, now) = (&self.known[&place], self.clock.now());
        // Promise 8: whatever the state, panic included.
        prop_assert!(Some(place) != without && (!tenant || place < 3));
        prop_assert!(!known.drained && !known.disabled && !known.checks.0, "p{place} {known:?}");
        // Promise 4: no cool-down is shortened.
        prop_assert!(known.cool_until.is_none_or(|until| until <= now), "p{place} {known:?} {now:?}");
        prop_assert!(known.refused_until.is_none_or(|until| until <= now), "p{place} {known:?}");
        let life = known.life;
        self.under_way.push((selected, place, life));
        Ok(())
    }

    fn finish(&mut self, n: usize, ending: Ending) {
        let (selected, place, life) = self.under_way.swap_remove(n);
        let now = self.clock.now();
        let current = self.known.get_mut(&place).filter(|known| known.life == life);
        let longest = |known: Option<Timestamp>, until| known.max(Some(until));
        let result = match ending {
            Ending::Answered => answered(),
            Ending::Overloaded => overloaded(),
            Ending::BadRequest => RequestResult::failure(Duration::ZERO, "x").status(422),
            Ending::RateLimited(seconds) => {
                let wait = Duration::from_secs(seconds);
                if let Some(known) = current {
                    known.cool_until = longest(known.cool_until, now + wait.min(Duration::from_secs(300)));
                }
                RequestResult::failure(Duration::ZERO, "x").status(429).retry_after(wait)
            }
            Ending::Refused => {
                if let Some(known) = current {
                    known.refused_until = longest(known.refused_until, now + Duration::from_secs(300));
                }
                RequestResult::failure(Duration::ZERO, "x").status(403)
            }
        };
        selected.finish(&result);
    }

    fn reload(&mut self, place: usize, how: u8) {
        let provider = fleet::provider(&format!("p{place}"));
        let is_there = self.known.contains_key(&place);
        let update = match how {
            0 if is_there && self.known.len() > 1 => {
                self.known.remove(&place);
                RoutingTableUpdate::RemoveProvider { provider, model: None }
            }
            1 if !is_there => {
                self.lives += 1;
                self.known.insert(place, Known { life: self.lives, ..Known::default() });
                let candidate = ProviderCandidate::openai(format!("p{place}"), "m");
                RoutingTableUpdate::add(candidate.price_per_million(1.0, 1.0).build().unwrap())
            }
            how if how > 1 && is_there => {
                let drained = how == 2;
                self.known.get_mut(&place).unwrap().drained = drained;
                let weight = if drained { Weight::ZERO } else { Weight::default() };
                RoutingTableUpdate::UpdateProviderWeight { provider, model: None, weight }
            }
            _ => return,
        };
        self.router.update_routing_table([update]).unwrap();
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let id_of = |place: usize| id(&format!("p{place}"));
        let health = self.router.health();
        match step {
            Step::Route { tenant, without } => self.route(tenant, without)?,
            Step::Finish(n, ending) if n < self.under_way.len() => self.finish(n, ending),
            Step::Drop(n) if n < self.under_way.len() => drop(self.under_way.swap_remove(n)),
            Step::Wait(millis) => self.clock.advance(Duration::from_millis(millis)),
            Step::Reload(place, how) => self.reload(place, how),
            Step::Disable(place) if health.disable(&id_of(place)) => {
                self.known.entry(place).and_modify(|known| known.disabled = true);
            }
            Step::Enable(place) if health.enable(&id_of(place)) => {
                self.known.entry(place).and_modify(|known| known.disabled = false);
            }
            Step::Reset(place) if health.reset(&id_of(place), self.clock.now()) => {
                self.lives += 1;
                let Some(known) = self.known.get_mut(&place) else { return Ok(()) };
                (known.cool_until, known.refused_until, known.life) = (None, None, self.lives);
            }
            Step::Check(place, passed) => {
                let outcome = if passed { CheckOutcome::Passed } else { CheckOutcome::Failed };
                if health.report_check(&id_of(place), outcome, self.clock.now()) {
                    self.known.entry(place).and_modify(|known| known.check(passed));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn promises_4_and_8_hold_at_each_step(steps in prop::collection::vec(step(), 1..300)) {
        let mut history = History::new();
        for step in steps {
            history.step(step)?;
        }
        // Promise 1 as well, whatever happened to the table.
        history.under_way.clear();
        prop_assert_eq!(history.router.metrics().in_flight, 0);
        // And nothing is wedged: when every deadline is over and everybody enabled, somebody serves.
        history.clock.advance(Duration::from_secs(4_000));
        for (place, known) in &history.known {
            history.router.health().enable(&id(&format!("p{place}")));
            let checks = [CheckOutcome::Passed; 2].into_iter().filter(|_| known.checks.0);
            let now = history.clock.now();
            checks.for_each(|passed| _ = history.router.health().report_check(&id(&format!("p{place}")), passed, now));
        }
        if history.known.values().any(|known| !known.drained) {
            prop_assert!(history.router.route(&fleet::request(), &RoutingContext::default()).is_ok());
        }
    }
}
