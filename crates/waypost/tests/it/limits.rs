//! Limits in the whole decision: who drops out, who is refused and until when, what is settled.

#![expect(clippy::print_stdout, reason = "figures are told")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use waypost::core::{
    CandidateId, Clock, ManualClock, ModelName, NanoUsd, ProviderLimits, ProviderQuota, RequestPriority,
    RuleId, Stage, Tag, TokenUsage, Tokens,
};
use waypost::limits::{Budget, Dimension, Level, Limit, LimitReport, Period, Rate};
use waypost::rules::{RoutingAction, Rule, RuleSet};
use waypost::{
    GatewayRequest, ProviderCandidate, RequestResult, Router, RouterBuilder, RouterConfig, RoutingContext,
    RoutingError,
};

use crate::fleet;

fn id(text: &str) -> waypost::core::LimitId {
    text.parse().unwrap()
}

/// Two candidates of a model; a thousand prompt tokens cost a millidollar at `a` and two at `b`, answers nothing.
fn two() -> (Arc<ManualClock>, RouterBuilder) {
    let clock = Arc::new(ManualClock::default());
    let candidate = |provider, price| ProviderCandidate::openai(provider, "m").price_per_million(price, 0.0);
    let builder = Router::builder().candidate(candidate("a", 1.0)).candidate(candidate("b", 2.0));
    let shared: Arc<ManualClock> = Arc::clone(&clock);
    (clock, builder.shared_clock(shared).seed(1))
}

fn ask(tokens: u64) -> GatewayRequest {
    GatewayRequest::new("m").unwrap().prompt_tokens(Tokens(tokens)).max_tokens(Tokens(100))
}

fn millis(millidollars: u64) -> NanoUsd {
    NanoUsd(millidollars * 1_000_000)
}

fn purse(name: &str, millidollars: u64) -> Limit {
    Limit::budget(id(name), Budget::new(millis(millidollars), Period::MONTH))
}

fn money(router: &Router, name: &str) -> (NanoUsd, NanoUsd) {
    let reports = router.limit_reports();
    let report = reports.iter().find(|report| report.limit == id(name)).expect("the limit is there");
    match report.level {
        Level::Money { settled, reserved, .. } => (settled, reserved),
        other => panic!("{other:?}"),
    }
}

fn answered(prompt: u64) -> RequestResult {
    RequestResult::success(Duration::from_millis(300), TokenUsage::new(Tokens(prompt), Tokens(10)))
}

#[test]
fn a_candidate_whose_rate_is_spent_drops_out_until_it_refills() {
    let clock = Arc::new(ManualClock::default());
    let shared: Arc<ManualClock> = Arc::clone(&clock);
    let candidate = |provider, rpm| ProviderCandidate::openai(provider, "m").requests_per_minute(rpm);
    let router =
        Router::builder().candidate(candidate("a", 2)).candidate(candidate("b", 4)).shared_clock(shared);
    let router = router.build().unwrap();
    let served: Vec<String> = (0..6)
        .map(|_| {
            let selected = router.route(&ask(1), &RoutingContext::default()).unwrap();
            let provider = selected.candidate().provider().to_string();
            selected.finish(&answered(1));
            provider
        })
        .collect();
    assert_eq!(served.iter().filter(|provider| *provider == "a").count(), 2, "{served:?}");
    let error = router.route(&ask(1), &RoutingContext::default()).unwrap_err();
    assert_eq!(error.to_string(), "limit `requests_per_minute` is spent");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(15)), "`b` gets one every 15 s");
    assert!(error.is_retryable() && error.stage() == Some(Stage::Limits));
    let explanation = router.explain(&ask(1), &RoutingContext::default());
    assert!(explanation.to_string().contains("requests_per_minute"), "{explanation}");
    clock.advance(Duration::from_secs(15));
    let selected = router.route(&ask(1), &RoutingContext::default()).unwrap();
    assert_eq!(selected.candidate().provider(), "b");
    assert_eq!(selected.left_out().map(|one| one.to_string()).next().unwrap(), "a/m limit spent for 15.0 s");
}

#[test]
fn a_request_too_large_is_told_so() {
    let router = Router::builder().candidate(ProviderCandidate::openai("a", "m").tokens_per_minute(1_000));
    let router = router.build().unwrap();
    let tokens = Limit::tokens(id("tpm"), Rate::per_minute(500).unwrap());
    router.update_limits([tokens]).unwrap();
    let error = router.route(&ask(600), &RoutingContext::default()).unwrap_err();
    assert_eq!(error, RoutingError::RequestTooLarge { limit: id("tpm") });
    assert!(!error.is_retryable() && error.retry_after().is_none());
}

#[test]
fn a_budget_is_reserved_by_the_decision_and_settled_by_the_result() {
    let (clock, builder) = two();
    let router = builder.limit(purse("month", 10).for_tenant("acme".parse().unwrap())).build().unwrap();
    let acme = RoutingContext::default().with_tenant("acme".parse().unwrap());
    let cheap = || ask(1_000).exclude_provider(fleet::provider("b"));
    let first = router.route(&cheap(), &acme).unwrap();
    assert_eq!(money(&router, "month"), (NanoUsd::ZERO, millis(1)));
    first.finish(&answered(400));
    assert_eq!(money(&router, "month"), (NanoUsd(400_000), NanoUsd::ZERO));

    // 9.6 are left: 5,000 tokens fit at `a` for 5, and not at `b` for 10.
    for _ in 0..2 {
        let explained = router.explain(&ask(5_000), &acme);
        assert_eq!(explained.outcome.unwrap().from.len(), 1, "a look reserves nothing");
    }
    let selected = router.route(&ask(5_000), &acme).unwrap();
    assert_eq!(
        (selected.candidate().provider().as_str(), selected.decision().dropped_by(Stage::Cost)),
        ("a", 1)
    );
    let error = router.route(&ask(5_000), &acme).unwrap_err();
    let month = Duration::from_secs(31 * 86_400);
    assert_eq!(error, RoutingError::BudgetExceeded { limit: Some(id("month")), retry_after: Some(month) });
    assert_eq!(error.to_string(), "no provider can serve the request within budget `month`");
    // Others are not meant; and what is bounded by the request is not the budget's doing.
    drop(router.route(&ask(50_000), &RoutingContext::default()).unwrap());
    let bounded = router.route(&ask(50_000).max_cost(millis(1)), &RoutingContext::default()).unwrap_err();
    assert_eq!(bounded, RoutingError::BudgetExceeded { limit: None, retry_after: None });

    // It settles in its month, and the next is another.
    clock.advance(month);
    let next = router.route(&ask(5_000).exclude_provider(fleet::provider("b")), &acme).unwrap();
    selected.finish(&answered(5_000));
    assert_eq!(money(&router, "month"), (NanoUsd::ZERO, millis(5)));
    next.finish(&answered(5_000));
    assert_eq!(money(&router, "month"), (millis(5), NanoUsd::ZERO));
}

/// What counts when nobody says what was used: of an answer what was expected, of a request that was given up its
/// prompt, of a failed one nothing, of one that was detached what was expected.
#[test]
fn every_ending_settles() {
    let (_, builder) = two();
    let router = builder.limit(purse("all", 1_000)).build().unwrap();
    let to_a = || ask(1_000).exclude_provider(fleet::provider("b"));
    let route = || router.route(&to_a(), &RoutingContext::default()).unwrap();
    let mut settled = NanoUsd::ZERO;
    let mut check = |more: NanoUsd, what: &str| {
        settled = settled + more;
        assert_eq!(money(&router, "all"), (settled, NanoUsd::ZERO), "{what}");
    };
    route().finish(&answered(1_500));
    check(NanoUsd(1_500_000), "said to have used more");
    route().finish(&RequestResult::success(Duration::ZERO, TokenUsage::default()));
    check(millis(1), "an answer without usage");
    route().finish(&RequestResult::failure(Duration::ZERO, "overloaded"));
    check(NanoUsd::ZERO, "a failure");
    drop(route());
    check(millis(1), "given up");
    route().detach();
    check(millis(1), "detached");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _selected = route();
        std::panic::resume_unwind(Box::new("the caller's bug"));
    }));
    assert!(panicked.is_err());
    check(millis(1), "a panic");
    assert_eq!(router.metrics().in_flight, 0);
}

/// A clock that moves a millisecond whenever it is read.
#[derive(Debug, Default)]
struct Stalling(ManualClock);

impl Clock for Stalling {
    fn now(&self) -> waypost::core::Timestamp {
        self.0.advance(Duration::from_millis(1));
        self.0.now()
    }

    fn wall(&self) -> std::time::SystemTime {
        self.0.wall()
    }
}

/// A decision that took too long was not sent: it leaves nothing behind.
#[test]
fn a_decision_that_is_too_late_releases() {
    let mut config = RouterConfig::default();
    config.max_routing_time = Duration::ZERO;
    let candidate = ProviderCandidate::openai("a", "m").price_per_million(1.0, 1.0).requests_per_minute(1);
    let builder = Router::builder().config(config).clock(Stalling::default()).candidate(candidate);
    let router = builder.limit(purse("all", 100)).build().unwrap();
    for _ in 0..5 {
        assert_eq!(router.route(&ask(1_000), &RoutingContext::default()).unwrap_err(), RoutingError::Timeout);
    }
    assert_eq!(money(&router, "all"), (NanoUsd::ZERO, NanoUsd::ZERO));
}

/// S15 of one replica, through the router: 200 threads, a budget for ten, and candidates to choose from.
#[test]
fn two_hundred_threads_against_a_budget_for_ten() {
    let (_, builder) = two();
    let router = builder.limit(purse("ten", 10)).build().unwrap();
    let (start, admitted) = (std::sync::Barrier::new(200), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                start.wait();
                if let Ok(selected) = router.route(&ask(1_000), &RoutingContext::default()) {
                    let cost = selected.estimated_cost().unwrap();
                    admitted.fetch_add(cost.0, Ordering::Relaxed);
                    selected.finish(&answered(1_000));
                }
            });
        }
    });
    let (settled, reserved) = money(&router, "ten");
    println!("admitted {} of ten millidollars, settled {settled}", NanoUsd(admitted.load(Ordering::Relaxed)));
    assert_eq!((settled, reserved), (millis(10), NanoUsd::ZERO), "what fits is admitted, and no more");
}

/// Rules have spoken before limits are looked for: their tags and priorities count, and models that they put in place.
#[test]
fn limits_see_what_rules_say() {
    let tag = |rule: &str, action| Rule::new(RuleId::new(rule).unwrap(), action).and_continue();
    let rules = RuleSet::new([
        tag("tagged", RoutingAction::AddTag(Tag::new("batch").unwrap())),
        tag("low", RoutingAction::SetPriority(RequestPriority::Low)),
    ]);
    let once = |name: &str| Limit::requests(id(name), Rate::per_hour(1).unwrap());
    let limits = [
        once("tag").for_tag(Tag::new("batch").unwrap()),
        once("priority").for_priority(RequestPriority::Low).per(Dimension::Priority),
        once("model").for_model(ModelName::new("m").unwrap()),
    ];
    for limit in limits {
        let router = Router::builder().candidate(ProviderCandidate::openai("a", "m")).rules(rules.clone());
        let name = limit.id().clone();
        let router = router.limit(limit).build().unwrap();
        router.route(&ask(1), &RoutingContext::default()).unwrap().finish(&answered(1));
        let error = router.route(&ask(1), &RoutingContext::default()).unwrap_err();
        assert!(
            matches!(error, RoutingError::LimitsExceeded { limit: Some(of), .. } if of == name),
            "{name}"
        );
    }
}

#[test]
fn what_a_provider_says_in_a_result_restricts() {
    let (clock, builder) = two();
    let router = builder.build().unwrap();
    let quota = ProviderQuota { limit: Some(50), remaining: 0, reset_after: Some(Duration::from_secs(20)) };
    let said = ProviderLimits { requests: Some(quota), ..ProviderLimits::default() };
    let only = |provider| ask(1).exclude_provider(fleet::provider(provider));
    let context = RoutingContext::default();
    router.route(&only("b"), &context).unwrap().finish(&answered(1).provider_limits(said));
    let error = router.route(&only("b"), &context).unwrap_err();
    assert!(matches!(error, RoutingError::LimitsExceeded { .. }), "{error}");
    assert_eq!(router.route(&ask(1), &context).unwrap().candidate().provider(), "b");
    // Without a lease too.
    let at_b = CandidateId { provider: fleet::provider("b"), model: ModelName::new("m").unwrap() };
    router.record_result(&answered(1).provider_limits(said).at(at_b)).unwrap();
    assert!(router.route(&ask(1), &context).is_err());
    clock.advance(Duration::from_secs(21));
    assert!(router.route(&ask(1), &context).is_ok());
}

/// What is used of a limit survives every kind of update.
#[test]
fn updates_carry_over_what_is_used() {
    let (_, builder) = two();
    let limits = || [purse("all", 5), Limit::requests(id("rpm"), Rate::per_minute(3).unwrap())];
    let [budget, rate] = limits();
    let router = builder.limit(budget).limit(rate).build().unwrap();
    let context = RoutingContext::default();
    let running = router.route(&ask(1_000).exclude_provider(fleet::provider("b")), &context).unwrap();
    router.route(&ask(1_000), &context).unwrap().finish(&answered(1_000));
    let before = router.metrics().generation;
    assert_eq!(router.update_limits(limits()).unwrap(), before + 1);
    router.update_rules([]).unwrap();
    router.update_routing_table([]).unwrap();
    let rpm = |reports: &[LimitReport]| reports.iter().find(|one| one.limit == id("rpm")).unwrap().level;
    assert_eq!(rpm(&router.limit_reports()), Level::Requests { remaining: 1, of: 3 });
    running.finish(&answered(1_000));
    assert_eq!(money(&router, "all").1, NanoUsd::ZERO);
    let twice = [purse("all", 5), purse("all", 5)];
    assert!(router.update_limits(twice).is_err());
    assert_eq!(router.limits().iter().count(), 2, "a refused update changes nothing");
}

#[test]
fn steady_state_with_limits_allocates_nothing() {
    let (_, builder) = two();
    let fast = || Rate::per_second(1 << 20).unwrap();
    let router = builder
        .limit(Limit::requests(id("users"), fast()).per(Dimension::User))
        .limit(Limit::tokens(id("tenants"), fast()).per(Dimension::Tenant))
        .limit(Limit::tokens(id("candidates"), fast()).per(Dimension::Candidate))
        .limit(purse("all", 1 << 40))
        .build()
        .unwrap();
    let context =
        RoutingContext::default().with_tenant("acme".parse().unwrap()).with_user("17".parse().unwrap());
    let (request, answer) = (ask(1), answered(1));
    let go = || router.route(&request, &context).unwrap().finish(&answer);
    (0..100).for_each(|_| go());
    let counted = allocation_counter::measure(|| (0..1_000).for_each(|_| go()));
    assert_eq!(counted.count_total, 0);
}

/// Requests of which nothing is ever heard again: their money is free when their leases are over.
#[test]
fn leaked_money_comes_back() {
    let (clock, builder) = two();
    let total = Limit::budget(id("all"), Budget::new(millis(1), Period::TOTAL));
    let router = builder.limit(total).build().unwrap();
    let route = || router.route(&ask(1_000), &RoutingContext::default());
    std::mem::forget(route().unwrap());
    assert!(route().is_err());
    clock.advance(Duration::from_secs(901));
    route().expect("the lease is over").finish(&answered(1_000));
}

/// Limits of candidates see the tags that rules add, when they narrow the set and when they are reserved.
#[test]
fn limits_of_candidates_see_what_rules_say() {
    let tag = || Tag::new("batch").unwrap();
    let rule = Rule::new(RuleId::new("tagged").unwrap(), RoutingAction::AddTag(tag())).and_continue();
    let once =
        Limit::requests(id("batch"), Rate::per_hour(1).unwrap()).for_tag(tag()).per(Dimension::Provider);
    let (_, builder) = two();
    let router = builder.rules(RuleSet::new([rule])).limit(once).build().unwrap();
    let served = (0..5).filter(|_| router.route(&ask(1), &RoutingContext::default()).is_ok()).count();
    assert_eq!(served, 2, "one at each provider");
}

/// An explanation of a newcomer's request says what the decision would.
#[test]
fn a_look_at_a_newcomer_sees_their_limits() {
    let (_, builder) = two();
    let router = builder.limit(purse("users", 1).per(Dimension::User)).build().unwrap();
    let context = RoutingContext::default().with_user("new".parse().unwrap());
    let explained = router.explain(&ask(5_000), &context).outcome;
    assert_eq!(explained.unwrap_err(), router.route(&ask(5_000), &context).unwrap_err());
    assert!(router.explain(&ask(900), &context).outcome.is_ok());
}

/// What is known of candidates that left the table is forgotten.
#[test]
fn limits_of_removed_candidates_are_forgotten() {
    let candidate = |provider| ProviderCandidate::openai(provider, "m").requests_per_minute(10);
    let router = Router::builder().candidate(candidate("a")).candidate(candidate("b")).build().unwrap();
    assert_eq!(router.limit_reports().len(), 2);
    let gone =
        waypost::core::RoutingTableUpdate::RemoveProvider { provider: fleet::provider("a"), model: None };
    router.update_routing_table([gone]).unwrap();
    assert_eq!(router.limit_reports().len(), 1);
}

/// Money of candidates is known only when one is chosen: who cannot reserve it is passed over, and nobody is served
/// without.
#[test]
fn a_budget_of_each_provider_holds() {
    let (_, builder) = two();
    let router = builder.limit(purse("each", 2).per(Dimension::Provider)).build().unwrap();
    let mut served = Vec::new();
    let refused = loop {
        assert!(served.len() < 10, "{served:?} {:?}", router.limit_reports());
        match router.route(&ask(1_000), &RoutingContext::default()) {
            Ok(selected) => {
                served.push(selected.candidate().provider().to_string());
                selected.finish(&answered(1_000));
            }
            Err(error) => break error,
        }
    };
    served.sort();
    assert_eq!(served, ["a", "a", "b"], "two millidollars each, at one and at two a request");
    assert!(
        matches!(refused, RoutingError::BudgetExceeded { limit: Some(limit), .. } if limit == id("each"))
    );
    assert_eq!(router.metrics().in_flight, 0);
}
