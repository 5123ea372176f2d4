//! Every routing error, and what it tells.

use std::time::Duration;

use waypost::core::{CandidateIndex, Generator, LoadBalancer, Pool, SelectContext};
use waypost::core::{
    CandidateSet, Clock, ManualClock, ModelName, NanoUsd, Rejection, RejectionReason, RoutingTableUpdate,
    RuleId, Stage, StrategyName, TenantId, TenantRoutingConfig, Timestamp, Tokens,
};
use waypost::{LoadBalancingStrategy, ProviderCandidate, Router, RouterConfig, RoutingContext, RoutingError};

use crate::fleet;

/// Chooses nothing.
#[derive(Debug)]
struct Undecided;

impl LoadBalancer for Undecided {
    fn select(&self, _: &CandidateSet<'_>, _: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        None
    }
}

/// A clock that moves 6 ms whenever it is read.
#[derive(Debug, Default)]
struct Stalling(ManualClock);

impl Clock for Stalling {
    fn now(&self) -> Timestamp {
        self.0.advance(Duration::from_millis(6));
        self.0.now()
    }

    fn wall(&self) -> std::time::SystemTime {
        self.0.wall()
    }
}

fn error_of(router: &Router) -> RoutingError {
    router.route(&fleet::request(), &RoutingContext::default()).unwrap_err()
}

#[test]
fn each_stage_that_empties_the_set_has_its_error() {
    let nobody = |stage| {
        fleet::filter(stage, |set, _, directives| {
            directives.retry_after(Duration::from_secs(30));
            directives.retry_after(Duration::from_secs(7));
            set.clear();
            Ok(())
        })
    };
    let build = |stage| fleet::plain(3).filter(nobody(stage)).build().unwrap();
    let wait = Some(Duration::from_secs(7));
    assert_eq!(error_of(&build(Stage::Health)), RoutingError::AllProvidersUnhealthy { retry_after: wait });
    assert_eq!(
        error_of(&build(Stage::Limits)),
        RoutingError::LimitsExceeded { limit: None, retry_after: wait }
    );
    assert_eq!(
        error_of(&build(Stage::Cost)),
        RoutingError::BudgetExceeded { limit: None, retry_after: None }
    );
    for stage in [
        Stage::Excluded,
        Stage::Tenant,
        Stage::Capability,
        Stage::ContextWindow,
        Stage::Region,
        Stage::Tag,
        Stage::Latency,
        Stage::Rules,
    ] {
        let error = error_of(&build(stage));
        assert_eq!(error, RoutingError::AllProvidersFiltered { stage });
        assert_eq!(error.stage(), Some(stage));
    }
    assert!(error_of(&build(Stage::Latency)).is_retryable() && !error_of(&build(Stage::Tag)).is_retryable());
    assert_eq!(error_of(&build(Stage::Health)).retry_after(), wait);
    assert!(error_of(&build(Stage::Health)).is_retryable());
}

#[test]
fn a_rejection_reaches_the_caller_with_its_rule() {
    let rejects = fleet::filter(Stage::Rules, |_, _, _| {
        Err(Rejection { rule: RuleId::new("night").ok(), reason: RejectionReason::MaintenanceMode })
    });
    let router = fleet::plain(1).filter(rejects).build().unwrap();
    let error = error_of(&router);
    assert_eq!(error.to_string(), "request rejected by rule `night`: maintenance");
    assert!(
        matches!(error, RoutingError::Rejected(rejection) if rejection.reason == RejectionReason::MaintenanceMode)
    );
}

#[test]
fn time_that_is_over_is_a_timeout() {
    let router = fleet::plain(1).clock(ManualClock::at(Timestamp::from_nanos(10))).build().unwrap();
    let late = RoutingContext::default().with_deadline(Timestamp::from_nanos(10));
    assert_eq!(router.route(&fleet::request(), &late).unwrap_err(), RoutingError::Timeout);

    let mut config = RouterConfig::default();
    config.max_routing_time = Duration::from_millis(5);
    let stalled = fleet::plain(1).clock(Stalling::default()).config(config.clone()).build().unwrap();
    assert_eq!(error_of(&stalled), RoutingError::Timeout);
    assert_eq!(stalled.metrics().in_flight, 0);
    assert_eq!(stalled.metrics().failures_by_kind, [("timeout", 1)]);
    let outcomes = stalled.routing_table().candidates().next().unwrap().live().outcomes();
    assert_eq!(outcomes.total(), 0, "a decision that took too long is not the provider's fault");

    config.max_routing_time = Duration::from_millis(6);
    let in_time = fleet::plain(1).clock(Stalling::default()).config(config).build().unwrap();
    let selected = in_time.route(&fleet::request(), &RoutingContext::default()).unwrap();
    assert_eq!(selected.decision().selection_time, Some(Duration::from_millis(6)));
}

#[test]
fn strategies_that_are_missing_or_undecided_are_errors() {
    let custom = || LoadBalancingStrategy::Custom(StrategyName::new("undecided").unwrap());
    let acme = || TenantRoutingConfig { default_strategy: Some(custom()), ..TenantRoutingConfig::default() };
    let refused = fleet::plain(2).tenant("acme", acme()).build().unwrap_err();
    assert_eq!(refused.to_string(), "tenant `acme` wants strategy undecided, which is not registered");
    let directs = fleet::filter(Stage::Rules, move |_, _, directives| {
        directives.strategy = Some(custom());
        Ok(())
    });
    let router = fleet::plain(2).filter(directs).build().unwrap();
    let set = || RoutingTableUpdate::SetTenant { tenant: TenantId::new("acme").unwrap(), config: acme() };
    assert!(router.update_routing_table([set()]).is_err());
    let route = || router.route(&fleet::request(), &RoutingContext::default()).map(drop);
    assert_eq!(route(), Err(RoutingError::StrategyNotFound { strategy: custom() }));

    let undecided: std::sync::Arc<dyn LoadBalancer> = std::sync::Arc::new(Undecided);
    router
        .register_strategy(custom(), move |_: &Pool, _: &mut Generator<'_>| std::sync::Arc::clone(&undecided))
        .unwrap();
    assert_eq!(route(), Err(RoutingError::SelectionFailed { strategy: custom(), candidates: 2 }));
    assert_eq!(router.metrics().failed_routes, 2);
    assert!(router.update_routing_table([set()]).is_ok(), "now it is registered");

    let missing = fleet::plain(1).strategy(custom()).build();
    assert_eq!(missing.unwrap_err().to_string(), "the default strategy undecided is not registered");
}

#[test]
fn models_that_are_unknown_or_empty_are_errors() {
    let router = Router::builder().build().unwrap();
    assert_eq!(error_of(&router), RoutingError::ModelNotSupported { model: ModelName::new("m").unwrap() });
    let drained = Router::builder().candidate(ProviderCandidate::openai("p", "m").weight(0)).build().unwrap();
    assert_eq!(
        error_of(&drained),
        RoutingError::NoProvidersAvailable { model: ModelName::new("m").unwrap() }
    );
    assert_eq!(error_of(&drained).stage(), Some(Stage::Drained));
}

#[test]
fn money_that_is_not_there_is_an_error() {
    let router = fleet::plain(1).build().unwrap();
    let request = fleet::request().prompt_tokens(Tokens(1_000_000)).max_cost(NanoUsd::from_usd(0.5).unwrap());
    let error = router.route(&request, &RoutingContext::default()).unwrap_err();
    assert_eq!(error, RoutingError::BudgetExceeded { limit: None, retry_after: None });
}
