//! An explanation tells what a decision would do, and changes nothing.

use proptest::prelude::*;
use waypost::core::{Stage, TenantId, TenantRoutingConfig};
use waypost::{LoadBalancingStrategy, ProviderCandidate, Router, RoutingContext};

use crate::fleet;

proptest! {
    #[test]
    fn foresees_the_decision_and_disturbs_nothing(
        candidates in fleet::candidates(),
        inquiries in prop::collection::vec(fleet::inquiries(), 1..20),
        strategy in prop_oneof![Just(LoadBalancingStrategy::RoundRobin), Just(LoadBalancingStrategy::Random)],
    ) {
        let router = fleet::router(candidates, None).strategy(strategy).build().unwrap();
        for (request, context) in &inquiries {
            let before = router.metrics();
            let explanation = router.explain(request, context);
            prop_assert_eq!(router.explain(request, context).to_string(), explanation.to_string());
            let after = router.metrics();
            prop_assert_eq!((before.total_routes, before.in_flight), (after.total_routes, after.in_flight));
            match (explanation.outcome, router.route(request, context)) {
                (Ok(choice), Ok(selected)) => {
                    prop_assert_eq!(choice.candidate.as_ref(), Some(selected.candidate().id()));
                    prop_assert_eq!(choice.estimated_cost, selected.estimated_cost());
                    prop_assert_eq!(choice.from.len(), selected.decision().candidates_left);
                    for report in &explanation.stages {
                        prop_assert_eq!(report.dropped.len(), selected.decision().dropped_by(report.stage));
                    }
                }
                (foreseen, decided) => prop_assert_eq!(foreseen.err(), decided.err()),
            }
        }
    }
}

#[test]
fn reads_as_a_table() {
    let router = Router::builder()
        .candidate(
            ProviderCandidate::openai("openai-main", "gpt-4o").region("us").price_per_million(2.5, 10.0),
        )
        .candidate(ProviderCandidate::azure("azure-eu", "gpt-4o").region("eu").price_per_million(2.5, 10.0))
        .candidate(ProviderCandidate::azure("azure-old", "gpt-4o").region("eu").weight(0))
        .candidate(ProviderCandidate::custom("stranger", "gpt-4o").region("eu"))
        .alias("fast", "gpt-4o")
        .tenant(
            "acme",
            TenantRoutingConfig {
                allowed_providers: Some(["openai-main", "azure-eu"].map(fleet::provider).into()),
                ..TenantRoutingConfig::default()
            },
        )
        .build()
        .unwrap();
    let request = waypost::GatewayRequest::new("fast").unwrap().prompt_bytes(4_000);
    let context = RoutingContext::default()
        .with_tenant(TenantId::new("acme").unwrap())
        .within_region(fleet::region("eu"));
    let explanation = router.explain(&request, &context);
    assert_eq!(
        explanation.stages.iter().find(|report| report.stage == Stage::Region).map(|report| report.left),
        Some(1)
    );
    assert_eq!(
        explanation.to_string(),
        "\
model           fast → gpt-4o                  4 candidates
drained         3 left                         − azure-old/gpt-4o
tenant          2 left                         − stranger/gpt-4o
region          1 left                         − openai-main/gpt-4o
select          round_robin among 1
→ azure-eu/gpt-4o   estimated $0.0125"
    );
    let unknown = router.explain(&fleet::request(), &context);
    assert_eq!(
        unknown.to_string(),
        "model           m → unknown                    0 candidates\n→ nothing: model `m` is not known"
    );
}
