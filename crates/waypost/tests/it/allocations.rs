//! In steady state `route` and `finish` allocate nothing.

use std::time::Duration;

use allocation_counter::measure;
use waypost::core::{Capability, CostBudget, NanoUsd, Region, Tag, TenantId, TokenUsage, Tokens};
use waypost::{LoadBalancingStrategy, ProviderCandidate, RequestResult, Router, RoutingContext};

use crate::fleet;

fn router(n: usize, strategy: LoadBalancingStrategy) -> Router {
    let candidate = |i: usize| {
        ProviderCandidate::openai(format!("p{i}"), "m")
            .region(["eu", "us"][i % 2])
            .tag("zdr")
            .price_per_million(1.0 + (i % 7) as f64, 2.0)
    };
    let fleet = (0..n)
        .fold(Router::builder().strategy(strategy).seed(1), |builder, i| builder.candidate(candidate(i)));
    fleet.tenant("acme", waypost::core::TenantRoutingConfig::default()).build().unwrap()
}

#[test]
fn steady_state_allocates_nothing() {
    let request = fleet::request()
        .prompt_bytes(4_000)
        .max_tokens(Tokens(100))
        .streaming(true)
        .require(Capability::FunctionCalling)
        .exclude_provider(fleet::provider("p3"))
        .max_cost(NanoUsd::from_usd(0.006).unwrap())
        .max_latency(Duration::from_secs(9));
    let context = RoutingContext::default()
        .with_tenant(TenantId::new("acme").unwrap())
        .with_cost_budget(CostBudget::per_request(NanoUsd::from_usd(1.0).unwrap()))
        .with_latency_target(Duration::from_secs(1))
        .within_region(Region::new("eu").unwrap())
        .require_tag(Tag::new("zdr").unwrap());
    let answer =
        RequestResult::success(Duration::from_millis(900), TokenUsage::new(Tokens(1_000), Tokens(90)))
            .first_token_after(Duration::from_millis(300));

    for strategy in LoadBalancingStrategy::built_in() {
        for candidates in [8, 64, 1_000] {
            let router = router(candidates, strategy.clone());
            let go = || router.route(&request, &context).unwrap().finish(&answer);
            // The first result of a candidate makes its histograms.
            let now = router.clock().now();
            router.routing_table().candidates().for_each(|candidate| candidate.live().record(&answer, now));
            (0..100).for_each(|_| go());
            let counted = measure(|| (0..1_000).for_each(|_| go()));
            assert_eq!(counted.count_total, 0, "{strategy}, {candidates} candidates");
        }
    }
}
