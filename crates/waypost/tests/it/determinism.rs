//! Promise 10: the same seed, clock and trace give the same decisions.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use waypost::core::{ManualClock, TokenUsage, Tokens};
use waypost::{GatewayRequest, LoadBalancingStrategy, ProviderCandidate, RequestResult, RoutingContext};

use crate::fleet;

/// Everything that a caller sees of a run, as text.
fn run(
    candidates: &[ProviderCandidate],
    trace: &[(GatewayRequest, RoutingContext)],
    strategy: &LoadBalancingStrategy,
    seed: u64,
) -> Vec<String> {
    // Rebuilt, so that runs do not share live state.
    let fresh: Vec<_> = candidates.iter().map(rebuilt).collect();
    let clock = Arc::new(ManualClock::default());
    let shared: Arc<ManualClock> = Arc::clone(&clock);
    let builder = fleet::router(fresh, None).strategy(strategy.clone()).seed(seed).shared_clock(shared);
    let router = builder.build().unwrap();
    let mut held = Vec::new();
    let mut told = Vec::new();
    for (number, (request, context)) in trace.iter().enumerate() {
        clock.advance(Duration::from_millis(37));
        told.push(format!("{}", router.explain(request, context)));
        match router.route(request, context) {
            Ok(selected) => {
                told.push(format!(
                    "{selected:?} {:?} {:?}",
                    selected.estimated_cost(),
                    selected.expected_latency()
                ));
                held.push(selected);
            }
            Err(error) => told.push(error.to_string()),
        }
        if number % 3 == 2 && !held.is_empty() {
            let usage = TokenUsage::new(Tokens(10), Tokens(10 + number as u64));
            let latency = Duration::from_millis(50 + 13 * number as u64 % 900);
            held.remove(0).finish(&RequestResult::success(latency, usage).first_token_after(latency / 3));
        }
    }
    told
}

fn rebuilt(candidate: &ProviderCandidate) -> ProviderCandidate {
    let offers = candidate.capabilities();
    let mut builder = ProviderCandidate::openai(candidate.provider(), candidate.model())
        .weight(i32::from(candidate.weight().get()))
        .available(candidate.is_available())
        .features(offers.features)
        .context_window(offers.context_window)
        .max_output_tokens(offers.max_output_tokens);
    if let Some(pricing) = candidate.pricing() {
        builder = builder.pricing(*pricing);
    }
    if let Some(region) = candidate.region() {
        builder = builder.region(region);
    }
    candidate.tags().iter().fold(builder, waypost::core::CandidateBuilder::tag).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_run_repeats(
        candidates in fleet::candidates(),
        trace in prop::collection::vec(fleet::inquiries(), 1..60),
        strategy in prop_oneof![Just(LoadBalancingStrategy::RoundRobin), Just(LoadBalancingStrategy::Random)],
        seed: u64,
    ) {
        prop_assert_eq!(run(&candidates, &trace, &strategy, seed), run(&candidates, &trace, &strategy, seed));
    }
}

#[test]
fn another_seed_decides_otherwise() {
    let candidates: Vec<_> =
        (0..9).map(|i| ProviderCandidate::openai(format!("p{i}"), "m").build().unwrap()).collect();
    let trace = vec![(fleet::request(), RoutingContext::default()); 40];
    for strategy in [LoadBalancingStrategy::RoundRobin, LoadBalancingStrategy::Random] {
        let runs: Vec<_> = (0..4).map(|seed| run(&candidates, &trace, &strategy, seed)).collect();
        assert!(runs.iter().any(|other| *other != runs[0]), "{strategy}");
    }
}
