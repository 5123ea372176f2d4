//! Promise 8: no path selects a candidate that is excluded, not allowed for the tenant, incapable of the request,
//! drained, or over budget. And the other direction: what is refused had no candidate.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use waypost::core::{
    BytesOverFour, CandidateId, Ewma, ManualClock, NanoUsd, Stage, TenantId, TenantRoutingConfig, Timestamp,
    TokenEstimator, TokenUsage, Tokens, Zone,
};
use waypost::{
    GatewayRequest, LoadBalancingStrategy, ProviderCandidate, RequestResult, Router, RoutingContext,
    RoutingError,
};

use crate::fleet;

/// The definition, candidate by candidate, without a mask.
fn may_serve(
    candidate: &ProviderCandidate,
    request: &GatewayRequest,
    context: &RoutingContext,
    tenant: Option<&TenantRoutingConfig>,
) -> bool {
    let id = candidate.provider();
    let offers = candidate.capabilities();
    let answer = request.max_tokens.unwrap_or(Tokens(1));
    let prompt = BytesOverFour.estimate(&request.prompt, &request.model);
    let streams =
        !request.stream || offers.features.contains_all(waypost::core::Capability::Streaming.into());
    let usage = TokenUsage::new(prompt, request.max_tokens.unwrap_or(Tokens(1_000)));
    let limits = [
        request.max_cost,
        context.cost_budget.map(|b| b.limit()),
        tenant.and_then(|t| t.cost_limit_per_request),
    ];
    let in_budget = |limit: &NanoUsd| candidate.cost(usage).is_some_and(|cost| cost <= *limit);
    candidate.is_available()
        && !request.excluded_providers.contains(id)
        && !context.excluded_providers.contains(id)
        && tenant.and_then(|t| t.allowed_providers.as_ref()).is_none_or(|allowed| allowed.contains(id))
        && streams
        && offers.features.contains_all(request.required_capabilities)
        && offers.context_window >= prompt + answer
        && offers.max_output_tokens >= answer
        && (context.allowed_regions.is_empty()
            || candidate.region().is_some_and(|r| context.allowed_regions.contains(r)))
        && context.required_tags.iter().all(|tag| candidate.tags().contains(tag))
        && limits.iter().flatten().all(in_budget)
}

fn eligible(router: &Router, request: &GatewayRequest, context: &RoutingContext) -> Vec<CandidateId> {
    let table = router.routing_table();
    let tenant =
        table.tenants().find(|(id, _)| Some(*id) == context.tenant_id.as_ref()).map(|(_, config)| config);
    let candidates = table.candidates().filter(|candidate| may_serve(candidate, request, context, tenant));
    candidates.map(|candidate| candidate.id().clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn selects_only_what_may_serve_and_refuses_only_when_nothing_may(
        candidates in fleet::candidates(),
        allowed in prop::option::of(prop::collection::vec(0_usize..90, 0..60)),
        inquiries in prop::collection::vec(fleet::inquiries(), 1..20),
        strategy in prop_oneof![Just(LoadBalancingStrategy::RoundRobin), Just(LoadBalancingStrategy::Random)],
    ) {
        let any = !candidates.is_empty();
        let router = fleet::router(candidates, allowed).strategy(strategy).build().unwrap();
        for (request, context) in &inquiries {
            let eligible = eligible(&router, request, context);
            match router.route(request, context) {
                Ok(selected) => {
                    prop_assert!(eligible.contains(selected.candidate().id()), "{:?}", router.explain(request, context));
                    prop_assert!(selected.decision().candidates_left <= eligible.len());
                }
                Err(RoutingError::ModelNotSupported { .. }) => prop_assert!(!any),
                Err(error) => prop_assert!(eligible.is_empty(), "{error} although {eligible:?} may serve"),
            }
        }
    }
}

#[test]
fn preferences_narrow_but_never_empty() {
    let router = Router::builder()
        .candidate(ProviderCandidate::openai("us-1", "m").region("us").zone("us-a"))
        .candidate(ProviderCandidate::openai("us-2", "m").region("us").zone("us-b"))
        .candidate(ProviderCandidate::openai("eu-1", "m").region("eu").zone("eu-a"))
        .tenant(
            "acme",
            TenantRoutingConfig {
                preferred_providers: vec![fleet::provider("gone"), fleet::provider("us-2")],
                ..TenantRoutingConfig::default()
            },
        )
        .build()
        .unwrap();
    let go = |request: GatewayRequest, context: &RoutingContext| {
        (0..6)
            .map(|_| router.route(&request, context).unwrap().candidate().provider().to_string())
            .collect::<Vec<_>>()
    };
    let context = RoutingContext::default;
    let always = |seen: Vec<String>, provider: &str| assert!(seen.iter().all(|p| p == provider), "{seen:?}");

    always(go(fleet::request().prefer_provider(fleet::provider("eu-1")), &context()), "eu-1");
    always(go(fleet::request(), &context().with_tenant(TenantId::new("acme").unwrap())), "us-2");
    always(
        go(
            fleet::request(),
            &context().prefer_region(fleet::region("ap")).prefer_region(fleet::region("eu")),
        ),
        "eu-1",
    );
    always(go(fleet::request(), &context().with_zone(Zone::new("us-b").unwrap())), "us-2");
    let spread = go(fleet::request(), &context().with_region(fleet::region("us")));
    assert!(
        spread.contains(&"us-1".into())
            && spread.contains(&"us-2".into())
            && !spread.contains(&"eu-1".into())
    );
    assert_eq!(go(fleet::request().prefer_provider(fleet::provider("nobody")), &context()).len(), 6);
    // A constraint wins over a preference.
    let excluded =
        fleet::request().prefer_provider(fleet::provider("eu-1")).exclude_provider(fleet::provider("eu-1"));
    assert!(!go(excluded, &context()).contains(&"eu-1".into()));
}

/// Teaches a router that `slow` takes 4 s to the first token and 100 ms per token, `fast` 0.2 s and 10 ms.
fn with_known_latencies() -> Router {
    let router = Router::builder()
        .candidate(ProviderCandidate::openai("slow", "m"))
        .candidate(ProviderCandidate::openai("fast", "m"))
        .candidate(ProviderCandidate::openai("unknown", "m"))
        .clock(ManualClock::at(Timestamp::from_nanos(1_000_000_000)))
        .build()
        .unwrap();
    for (name, first, total) in [("slow", 4_000, 13_900), ("fast", 200, 1_190)] {
        let id = CandidateId {
            provider: fleet::provider(name),
            model: waypost::core::ModelName::new("m").unwrap(),
        };
        let usage = TokenUsage::new(Tokens(100), Tokens(100));
        let result = RequestResult::success(Duration::from_millis(total), usage);
        router.record_result(&result.first_token_after(Duration::from_millis(first)).at(id)).unwrap();
    }
    router
}

fn reachable(router: &Router, request: &GatewayRequest, context: &RoutingContext) -> Vec<String> {
    let choice = router.explain(request, context).outcome.unwrap();
    choice.from.iter().map(|id| id.provider.to_string()).collect()
}

#[test]
fn latency_bounds_and_targets_look_at_what_was_measured() {
    let router = with_known_latencies();
    let context = RoutingContext::default;
    let reach = |request: &GatewayRequest, context: &RoutingContext| reachable(&router, request, context);
    let second = Duration::from_secs(1);
    let streamed = || fleet::request().streaming(true).max_tokens(Tokens(200));

    assert_eq!(reach(&streamed().max_latency(second), &context()), ["fast", "unknown"]);
    assert_eq!(reach(&streamed().max_latency(second * 5), &context()).len(), 3);
    // Not streamed: the whole answer counts, 0.2 s + 199 × 10 ms = 2.2 s at `fast`, 23.9 s at `slow`.
    let whole = || fleet::request().max_tokens(Tokens(200));
    assert_eq!(reach(&whole().max_latency(second * 5), &context()), ["fast", "unknown"]);
    assert_eq!(reach(&whole().max_latency(second * 2), &context()), ["unknown"]);
    // The deadline is a bound too: two seconds from now.
    let deadline = context().with_deadline(Timestamp::from_nanos(3_000_000_000));
    assert_eq!(reach(&streamed(), &deadline), ["fast", "unknown"]);
    // Targets narrow, and give way when nobody meets them.
    assert_eq!(reach(&streamed(), &context().with_latency_target(second)), ["fast", "unknown"]);
    assert_eq!(reach(&streamed(), &context().with_throughput_target(50)), ["fast", "unknown"]);
    let only_slow =
        streamed().exclude_provider(fleet::provider("fast")).exclude_provider(fleet::provider("unknown"));
    assert_eq!(
        reach(&only_slow, &context().with_latency_target(second).with_throughput_target(50)),
        ["slow"]
    );
    assert!(matches!(
        router.route(&only_slow.max_latency(second), &context()),
        Err(RoutingError::AllProvidersFiltered { stage: Stage::Latency })
    ));
}

#[test]
fn a_pool_that_was_too_slow_as_a_whole_recovers() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_nanos(1)));
    let shared: Arc<ManualClock> = Arc::clone(&clock);
    let router = fleet::plain(3).shared_clock(shared).build().unwrap();
    let second = Duration::from_secs(1);
    let slow = RequestResult::success(second * 9, TokenUsage::default()).first_token_after(second * 5);
    for _ in 0..3 {
        router.route(&fleet::request(), &RoutingContext::default()).unwrap().finish(&slow);
    }
    let hurried = fleet::request().streaming(true).max_latency(second);
    let route = || router.route(&hurried, &RoutingContext::default()).map(drop);
    assert_eq!(route(), Err(RoutingError::AllProvidersFiltered { stage: Stage::Latency }));
    clock.advance(Ewma::STALE_AFTER + second);
    assert!((0..40).any(|_| route().is_ok()), "what was slow five minutes ago is not slow for ever");
}

#[test]
fn a_hint_of_the_answers_length_counts_in_the_window() {
    let router = Router::builder()
        .candidate(ProviderCandidate::openai("p", "m").context_window(Tokens(8_192)))
        .build()
        .unwrap();
    let request = fleet::request().prompt_tokens(Tokens(8_000));
    let context = RoutingContext::default().with_max_tokens_hint(Tokens(2_000));
    let error = router.route(&request, &context).unwrap_err();
    assert_eq!(error, RoutingError::AllProvidersFiltered { stage: Stage::ContextWindow });
    assert!(router.route(&request, &RoutingContext::default()).is_ok());
}

#[test]
fn an_unknown_price_is_not_free() {
    let router = Router::builder().candidate(ProviderCandidate::openai("p", "m")).build().unwrap();
    let bounded = fleet::request().max_cost(NanoUsd::MAX);
    assert_eq!(
        router.route(&bounded, &RoutingContext::default()).unwrap_err(),
        RoutingError::BudgetExceeded { limit: None, retry_after: None }
    );
    let unbounded = router.route(&fleet::request(), &RoutingContext::default()).unwrap();
    assert_eq!(unbounded.estimated_cost(), None);
}
