//! Every built-in strategy behind the facade: limits on requests in flight, tiers, and what updates leave alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use waypost::core::{
    CandidateIndex, CandidateSet, Generator, LoadBalancer, Pool, ResultEvent, RoutingTableUpdate,
    SelectContext, Stage, StrategyName, TokenUsage, Tokens,
};
use waypost::{
    LoadBalancingStrategy, ProviderCandidate, RequestResult, Router, RoutingContext, RoutingError,
};

use crate::fleet;

/// A router whose `n` candidates take `limit` requests at a time.
fn limited(n: usize, limit: u32, strategy: LoadBalancingStrategy) -> Router {
    let candidate = |i| ProviderCandidate::openai(format!("p{i}"), "m").max_in_flight(limit);
    let builder = Router::builder().seed(1).strategy(strategy);
    (0..n).fold(builder, |builder, i| builder.candidate(candidate(i))).build().unwrap()
}

fn answer() -> RequestResult {
    RequestResult::success(Duration::from_millis(900), TokenUsage::new(Tokens(1_000), Tokens(90)))
        .first_token_after(Duration::from_millis(300))
}

#[test]
fn limits_on_requests_in_flight_are_filled_and_never_exceeded() {
    for strategy in LoadBalancingStrategy::built_in() {
        let router = limited(3, 4, strategy.clone());
        let route = || router.route(&fleet::request(), &RoutingContext::default());
        let held: Vec<_> =
            (0..12).map(|_| route().unwrap_or_else(|error| panic!("{strategy}: {error}"))).collect();
        let refused = route().unwrap_err();
        assert_eq!(refused, RoutingError::LimitsExceeded { limit: None, retry_after: None }, "{strategy}");
        drop(held);
        assert!(route().is_ok(), "{strategy}");
    }
}

#[test]
fn if_4_threads_that_race_for_the_last_place_do_not_exceed_it() {
    for strategy in LoadBalancingStrategy::built_in() {
        let router = limited(2, 3, strategy.clone());
        let most = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let Ok(selected) = router.route(&fleet::request(), &RoutingContext::default()) else {
                            continue;
                        };
                        most.fetch_max(selected.candidate().live().in_flight().requests, Ordering::Relaxed);
                        selected.finish(&answer());
                    }
                });
            }
        });
        assert!(most.load(Ordering::Relaxed) <= 3, "{strategy}");
        assert_eq!(router.metrics().in_flight, 0, "{strategy}");
    }
}

#[test]
fn pn_1_tiers_see_health_and_not_what_the_request_ruled_out() {
    let router = |sick: &'static [&'static str]| {
        let health = fleet::filter(Stage::Health, move |set, _, _| {
            set.retain(|_, candidate| !sick.contains(&candidate.provider().as_str()));
            Ok(())
        });
        let builder = Router::builder().seed(7).strategy(LoadBalancingStrategy::PriorityTiers).filter(health);
        let tiers = [("a0", 0), ("a1", 0), ("a2", 0), ("a3", 0), ("b0", 1), ("b1", 1)];
        let add = |builder: waypost::RouterBuilder, (name, tier)| {
            builder.candidate(ProviderCandidate::openai(name, "m").tier(tier))
        };
        tiers.into_iter().fold(builder, add).build().unwrap()
    };
    let share_of_first = |router: &Router, context: &RoutingContext| {
        let first = |_| router.route(&fleet::request(), context).unwrap().candidate().tier() == 0;
        (0..2_000).map(first).filter(|&first| first).count()
    };
    let narrowed = RoutingContext::default()
        .exclude_provider(fleet::provider("a0"))
        .exclude_provider(fleet::provider("a1"))
        .exclude_provider(fleet::provider("a2"));
    assert_eq!(share_of_first(&router(&[]), &narrowed), 2_000, "the only one that may serve is well");
    // Two of four are well: 70 %, 1,400 of 2,000 with sigma 20.5; the band of 140 is 6.8 sigma.
    let half = share_of_first(&router(&["a2", "a3"]), &RoutingContext::default());
    assert!(half.abs_diff(1_400) < 140, "seed 7: {half}");
}

#[test]
fn an_update_leaves_the_turns_of_weighted_round_robin_where_they_were() {
    let builder = Router::builder().seed(3).strategy(LoadBalancingStrategy::WeightedRoundRobin);
    let weights = [("a", 5), ("b", 1), ("c", 1)];
    let router = weights
        .into_iter()
        .fold(builder, |builder, (name, weight)| {
            builder.candidate(ProviderCandidate::openai(name, "m").weight(weight))
        })
        .build()
        .unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for i in 0..70 {
        let selected = router.route(&fleet::request(), &RoutingContext::default()).unwrap();
        *counts.entry(selected.candidate().provider().to_string()).or_insert(0) += 1;
        drop(selected);
        let pricing =
            ProviderCandidate::openai("x", "m").price_per_million(1.0 + f64::from(i), 1.0).build().unwrap();
        let reprice = RoutingTableUpdate::UpdatePricing {
            provider: fleet::provider("b"),
            model: None,
            pricing: pricing.pricing().copied(),
        };
        router.update_routing_table([reprice]).unwrap();
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [50, 10, 10], "trap 17: an update at every request");
}

/// Counts the results that it was told.
#[derive(Debug, Default)]
struct Counts(AtomicU64);

impl LoadBalancer for Counts {
    fn select(&self, set: &CandidateSet<'_>, _: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        set.nth(0)
    }

    fn record_result(&self, event: &ResultEvent<'_>) {
        assert_eq!(event.candidate().provider(), "b", "the same candidate, wherever it is now");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_result_that_comes_after_an_update_teaches_who_is_in_place_now() {
    let built = Arc::new(Mutex::new(Vec::<Arc<Counts>>::new()));
    let log = Arc::clone(&built);
    let counts = LoadBalancingStrategy::Custom(StrategyName::new("counts").unwrap());
    let strategy = move |_: &Pool, _: &mut Generator<'_>| {
        let counts = Arc::new(Counts::default());
        log.lock().unwrap().push(Arc::clone(&counts));
        counts as Arc<dyn LoadBalancer>
    };
    let candidate = |name| ProviderCandidate::openai(name, "m");
    let router = Router::builder()
        .candidate(candidate("b"))
        .register(counts.clone(), strategy)
        .strategy(counts)
        .build()
        .unwrap();
    let route = || router.route(&fleet::request(), &RoutingContext::default()).unwrap();
    let (before, never_told) = (route(), route());
    let update = |update| router.update_routing_table([update]).unwrap();
    update(RoutingTableUpdate::add(candidate("a").build().unwrap()));
    before.finish(&answer());
    assert_eq!(told(&built), [0, 1]);
    update(RoutingTableUpdate::RemoveProvider { provider: fleet::provider("b"), model: None });
    never_told.finish(&answer());
    assert_eq!(told(&built), [0, 1, 0], "it is gone");
    assert_eq!(router.metrics().in_flight, 0);
}

fn told(built: &Mutex<Vec<Arc<Counts>>>) -> Vec<u64> {
    built.lock().unwrap().iter().map(|counts| counts.0.load(Ordering::Relaxed)).collect()
}

#[test]
fn preferences_do_not_make_a_tier_look_ill() {
    let add = |builder: waypost::RouterBuilder, (name, region, tier)| {
        builder.candidate(ProviderCandidate::openai(name, "m").region(region).tier(tier))
    };
    let builder = Router::builder().seed(7).strategy(LoadBalancingStrategy::PriorityTiers);
    let all = [("a", "eu", 0), ("b", "us", 0), ("c", "eu", 1), ("d", "us", 1)];
    let router = all.into_iter().fold(builder, add).build().unwrap();
    let context = RoutingContext::default().prefer_region(fleet::region("eu"));
    for _ in 0..200 {
        assert_eq!(router.route(&fleet::request(), &context).unwrap().candidate().provider(), "a");
    }
}
