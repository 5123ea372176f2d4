//! The seams for rules, health, limits and users: filters, observers, estimators, strategies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use waypost::core::{
    CandidateFilter, ModelName, Prompt, RequestPriority, ResultEvent, ResultObserver, RuleId, Stage,
    TokenEstimator, Tokens,
};
use waypost::{LoadBalancingStrategy, RequestResult, RoutingContext};

use crate::fleet;

/// A rule: high priority requests go to `p1`, at random.
fn high_goes_to_p1() -> impl CandidateFilter {
    fleet::filter(Stage::Rules, |set, decision, directives| {
        if decision.priority() >= RequestPriority::High {
            set.retain(|_, candidate| candidate.provider() == "p1");
            directives.rule_matched = RuleId::new("high").ok();
            directives.strategy = Some(LoadBalancingStrategy::Random);
            directives.priority = Some(RequestPriority::Critical);
        }
        Ok(())
    })
}

#[derive(Debug, Default)]
struct Counts(Arc<AtomicU64>);

impl ResultObserver for Counts {
    fn observe(&self, event: &ResultEvent<'_>) {
        assert_eq!(event.candidate().id(), event.pool[event.index].id());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct ThreeBytesPerToken;

impl TokenEstimator for ThreeBytesPerToken {
    fn estimate(&self, prompt: &Prompt, _: &ModelName) -> Tokens {
        let Prompt::Bytes(bytes) = prompt else { return Tokens::ZERO };
        Tokens(bytes / 3)
    }
}

#[test]
fn a_filter_narrows_and_directs() {
    let router = fleet::plain(3).filter(high_goes_to_p1()).build().unwrap();
    let high = fleet::request().priority(RequestPriority::High);
    let selected = router.route(&high, &RoutingContext::default()).unwrap();
    assert_eq!(selected.candidate().provider(), "p1");
    let decision = selected.decision();
    assert_eq!(decision.rule_matched.as_ref().map(RuleId::as_str), Some("high"));
    assert_eq!(decision.strategy_used, LoadBalancingStrategy::Random);
    assert_eq!(decision.priority, RequestPriority::Critical);
    assert_eq!(decision.dropped_by(Stage::Rules), 2);
    assert_eq!(decision.to_string(), "random chose 1 of 1 left of 3 (rules −2), by rule high");
    let low = router.route(&high, &RoutingContext::default().with_priority(RequestPriority::Low)).unwrap();
    assert_eq!(low.decision().to_string(), "round_robin chose 1 of 3 left");
}

#[test]
fn a_priority_takes_effect_on_the_rest_of_the_decision() {
    // Sees the priority that the rule before it gave.
    let only_critical_at_p1 = fleet::filter(Stage::Limits, |set, decision, _| {
        let critical = decision.priority() == RequestPriority::Critical;
        set.retain(|_, candidate| critical || candidate.provider() != "p1");
        Ok(())
    });
    let router = fleet::plain(3).filter(only_critical_at_p1).filter(high_goes_to_p1()).build().unwrap();
    let high = fleet::request().priority(RequestPriority::High);
    assert_eq!(router.route(&high, &RoutingContext::default()).unwrap().candidate().provider(), "p1");
}

#[test]
fn a_filter_of_the_first_stage_is_counted_and_explained_there() {
    let p0_is_drained = fleet::filter(Stage::Drained, |set, _, _| {
        set.retain(|_, candidate| candidate.provider() != "p0");
        Ok(())
    });
    let router = fleet::plain(3).filter(p0_is_drained).build().unwrap();
    let explained = router.explain(&fleet::request(), &RoutingContext::default());
    assert_eq!((explained.stages[0].stage, explained.stages[0].left), (Stage::Drained, 2));
    assert_eq!(explained.stages[0].dropped.len(), 1);
    let selected = router.route(&fleet::request(), &RoutingContext::default()).unwrap();
    assert_eq!(selected.decision().dropped_by(Stage::Drained), 1);
}

#[test]
fn a_filter_cannot_bring_back_what_was_taken_out() {
    let puts_everything_back = fleet::filter(Stage::Limits, |set, _, _| {
        (0..set.pool().len()).for_each(|n| set.insert(set.pool().index(n).unwrap()));
        Ok(())
    });
    let router = fleet::plain(3).filter(puts_everything_back).build().unwrap();
    let request = fleet::request().exclude_provider(fleet::provider("p0"));
    for _ in 0..20 {
        assert_ne!(router.route(&request, &RoutingContext::default()).unwrap().candidate().provider(), "p0");
    }
}

#[test]
fn observers_hear_of_every_end() {
    let heard = Arc::new(AtomicU64::new(0));
    let router = fleet::plain(2).observer(Counts(Arc::clone(&heard))).build().unwrap();
    let route = || router.route(&fleet::request(), &RoutingContext::default()).unwrap();
    route().finish(&RequestResult::failure(Duration::ZERO, "x"));
    drop(route());
    route().detach();
    assert_eq!(heard.load(Ordering::Relaxed), 2);
}

#[test]
fn an_estimator_of_the_users_counts() {
    let router = fleet::plain(1).token_estimator(ThreeBytesPerToken).build().unwrap();
    let request = fleet::request().prompt_bytes(3_000_000).max_tokens(Tokens(1));
    let selected = router.route(&request, &RoutingContext::default()).unwrap();
    assert_eq!(selected.estimated_cost().unwrap().to_string(), "$1.000001");
}
