//! Promise 2: a reader never sees half an update; live state survives every update.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use waypost::core::{
    LimitId, ManualClock, ModelName, NanoUsd, Pricing, RoutingTableUpdate as Update, RuleId, Stage,
    TokenUsage, Tokens, UpdateError, Weight,
};
use waypost::limits::{Budget, Limit, Period};
use waypost::rules::{RouteConfig, RoutingAction, Rule, RuleSet};
use waypost::{GatewayRequest, ProviderCandidate, RequestResult, Router, RoutingContext, RoutingError};

use crate::fleet;

/// All parts of version `n` of two candidates say `n`: the price of both, and which one is drained.
fn version(n: u64) -> Vec<Update> {
    let pricing = Pricing::per_million(NanoUsd(n * 1_000), NanoUsd(n * 1_000)).unwrap();
    let (on, off) = if n.is_multiple_of(2) { ("even", "odd") } else { ("odd", "even") };
    let mut updates = vec![
        Update::SetAvailable { provider: fleet::provider(on), model: None, available: true },
        Update::SetAvailable { provider: fleet::provider(off), model: None, available: false },
    ];
    for name in ["even", "odd"] {
        updates.push(Update::UpdatePricing {
            provider: fleet::provider(name),
            model: None,
            pricing: Some(pricing),
        });
    }
    updates
}

#[test]
fn readers_see_whole_versions_while_a_writer_writes() {
    let router = Router::builder()
        .candidate(ProviderCandidate::openai("even", "m"))
        .candidate(ProviderCandidate::openai("odd", "m"))
        .build()
        .unwrap();
    // Version 1 is the table as built; from 2 on each version's number is the generation's.
    router.update_routing_table(version(2)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (router, done) = (&router, &done);
            scope.spawn(move || {
                let request = fleet::request().prompt_tokens(Tokens(1_000_000)).max_tokens(Tokens(1));
                let mut newest = 0;
                while !done.load(Ordering::Relaxed) {
                    let selected = router.route(&request, &RoutingContext::default()).unwrap();
                    let generation = selected.decision().generation;
                    assert!(generation >= newest, "from version {newest} back to {generation}");
                    newest = generation;
                    let expected = if generation.is_multiple_of(2) { "even" } else { "odd" };
                    assert_eq!(selected.candidate().provider(), expected, "of version {generation}");
                    assert_eq!(selected.decision().dropped_by(Stage::Drained), 1);
                    let cost = selected.estimated_cost().unwrap().0;
                    assert_eq!(
                        cost,
                        (generation * 1_000 * 1_000_001).div_ceil(1_000_000),
                        "the price is of version {generation}"
                    );
                }
            });
        }
        for n in 3..1_500 {
            assert_eq!(router.update_routing_table(version(n)), Ok(n));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(router.metrics().in_flight, 0);
}

#[test]
fn live_state_survives_every_update_that_keeps_the_candidate() {
    let router = fleet::plain(2).build().unwrap();
    let request = fleet::request().prefer_provider(fleet::provider("p0"));
    let held = router.route(&request, &RoutingContext::default()).unwrap();
    let usage = TokenUsage::new(Tokens(10), Tokens(10));
    let done = router.route(&request, &RoutingContext::default()).unwrap();
    done.finish(
        &RequestResult::success(Duration::from_secs(1), usage).first_token_after(Duration::from_millis(300)),
    );

    let p0 = || fleet::provider("p0");
    let replaced = ProviderCandidate::openai("p0", "m").weight(700).build().unwrap();
    let updates = vec![
        vec![Update::UpdateProviderWeight { provider: p0(), model: None, weight: Weight::MAX }],
        vec![Update::SetAvailable { provider: p0(), model: None, available: false }],
        vec![Update::SetAvailable { provider: p0(), model: None, available: true }],
        vec![Update::UpdatePricing { provider: p0(), model: None, pricing: None }],
        vec![Update::RemoveProvider { provider: fleet::provider("p1"), model: None }],
        vec![Update::RemoveProvider { provider: p0(), model: None }, Update::add(replaced)],
        vec![Update::SetModelAlias {
            alias: ModelName::new("fast").unwrap(),
            target: ModelName::new("m").unwrap(),
        }],
    ];
    for update in updates {
        router.update_routing_table(update).unwrap();
        let table = router.routing_table();
        let live = table.candidates().next().unwrap().live();
        assert_eq!((live.in_flight().requests, live.outcomes().succeeded), (1, 1));
        assert!(live.latency().time_to_first_token.average(router.clock().now()).is_some());
    }
    drop(held);
    assert_eq!(router.metrics().in_flight, 0);
}

#[test]
fn a_late_result_for_a_removed_candidate_harms_nobody() {
    let router = fleet::plain(2).build().unwrap();
    let request = fleet::request().prefer_provider(fleet::provider("p0"));
    let late = router.route(&request, &RoutingContext::default()).unwrap();
    let remove = || Update::RemoveProvider { provider: fleet::provider("p0"), model: None };
    let add = || Update::add(ProviderCandidate::openai("p0", "m").build().unwrap());
    router.update_routing_table([remove()]).unwrap();
    router.update_routing_table([add()]).unwrap();
    late.finish(&RequestResult::failure(Duration::from_secs(1), "reset"));
    for candidate in router.routing_table().candidates() {
        assert_eq!(
            candidate.live().outcomes().total(),
            0,
            "{candidate} is another candidate than the removed one"
        );
        assert_eq!(candidate.live().in_flight().requests, 0);
    }
}

#[test]
fn turns_go_on_through_updates() {
    let router = fleet::plain(4).build().unwrap();
    let next = || {
        let selected = router.route(&fleet::request(), &RoutingContext::default()).unwrap();
        selected.candidate().provider().as_str()[1..].parse::<i64>().unwrap()
    };
    let mut last = next();
    for weight in 1..30 {
        let weight = Weight::try_from(weight).unwrap();
        let update = Update::UpdateProviderWeight { provider: fleet::provider("p2"), model: None, weight };
        router.update_routing_table([update]).unwrap();
        let this = next();
        assert_eq!(this, (last + 1) % 4, "an autoscaler that sets a weight must not restart the turns");
        last = this;
    }
}

#[test]
fn a_refused_update_changes_nothing() {
    let router = fleet::plain(2).build().unwrap();
    let unknown = Update::RemoveProvider { provider: fleet::provider("nobody"), model: None };
    let good = Update::RemoveProvider { provider: fleet::provider("p0"), model: None };
    let errors = router.update_routing_table([good, unknown]).unwrap_err();
    assert!(matches!(errors.reasons(), [UpdateError::UnknownCandidate { .. }]));
    assert_eq!(router.metrics().generation, 1);
    assert_eq!(router.routing_table().candidates().count(), 2);
}

#[test]
fn a_model_whose_candidates_are_drained_is_known_but_not_served() {
    let router = fleet::plain(1).alias("fast", "m").build().unwrap();
    let route = || router.route(&fleet::request(), &RoutingContext::default()).map(drop);
    let drain = |available| Update::SetAvailable { provider: fleet::provider("p0"), model: None, available };
    router.update_routing_table([drain(false)]).unwrap();
    let unserved = RoutingError::NoProvidersAvailable { model: ModelName::new("m").unwrap() };
    assert_eq!(route(), Err(unserved.clone()));
    router.update_routing_table([drain(true)]).unwrap();
    assert_eq!(route(), Ok(()));
    router
        .update_routing_table([Update::RemoveProvider { provider: fleet::provider("p0"), model: None }])
        .unwrap();
    assert_eq!(route(), Err(unserved), "an alias still names the model");
}

#[test]
fn a_reconfiguration_is_whole_or_nothing_and_keeps_what_is_live() {
    let candidate = |provider: &str| ProviderCandidate::openai(provider, "m").build().unwrap();
    let budget = |usd| {
        let budget = Budget::new(NanoUsd::from_usd(usd).unwrap(), Period::TOTAL);
        Limit::budget(LimitId::new("all").unwrap(), budget)
    };
    let builder =
        Router::builder().candidate(ProviderCandidate::openai("a", "m").price_per_million(1.0, 1.0));
    let router = builder.clock(ManualClock::default()).limit(budget(1.0)).build().unwrap();
    let request = GatewayRequest::new("m").unwrap();
    let before = router.route(&request, &RoutingContext::default()).unwrap();
    let generation = router.metrics().generation;

    let rule = Rule::new(RuleId::new("r").unwrap(), RoutingAction::RouteToPool(RouteConfig::default()));
    let twice = RuleSet::new([rule.clone(), rule]);
    let wrong = [Update::add(candidate("b")), Update::add(candidate("b"))];
    let error = router.reconfigure(wrong, twice, [budget(1.0), budget(2.0)]).unwrap_err().to_string();
    assert!(error.contains("b/m") && error.contains("`r`") && error.contains("all"), "{error}");
    assert_eq!(router.metrics().generation, generation);

    let right = ["a", "b"].map(|name| Update::add(candidate(name)));
    router.reconfigure(right, RuleSet::default(), [budget(2.0)]).unwrap();
    let table = router.routing_table();
    let in_flight = |name| {
        let found = table.candidates().find(|candidate| candidate.provider() == name);
        found.unwrap().live().in_flight().requests
    };
    assert_eq!((in_flight("a"), in_flight("b")), (1, 0));
    drop(before);
    assert_eq!((router.metrics().in_flight, in_flight("a")), (0, 0));

    router.reconfigure([], RuleSet::default(), []).unwrap();
    assert!(router.route(&request, &RoutingContext::default()).is_err());
    assert!(router.limit_reports().is_empty());
}
