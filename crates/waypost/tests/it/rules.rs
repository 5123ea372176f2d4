//! Rules in the decision: what every action does, what reaches the caller, what no rule can do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use allocation_counter::measure;
use proptest::prelude::*;
use waypost::core::{
    Clock, ManualClock, MirrorTarget, ModelName, Rejection, RejectionReason, RequestPriority,
    RoutingTableUpdate, RuleId, Stage, Tag, TenantId, TenantRoutingConfig, Timestamp, TokenUsage, Tokens,
    Weight,
};
use waypost::rules::{
    Condition, PoolMember, Priorities, RouteConfig, RoutingAction, Rule, RuleProblem, RuleSet, RuleUpdate,
    Validity,
};
use waypost::{
    GatewayRequest, LoadBalancingStrategy, ProviderCandidate, RequestResult, Router, RouterBuilder,
    RoutingContext, RoutingError,
};

use crate::fleet::{self, provider};

fn rule(id: &str, action: RoutingAction) -> Rule {
    Rule::new(id.parse().unwrap(), action)
}

fn to(name: &str) -> RoutingAction {
    RoutingAction::RouteToProvider(provider(name))
}

fn tenant(name: &str) -> Condition {
    Condition::Tenant(TenantId::new(name).unwrap().into())
}

fn of(name: &str) -> RoutingContext {
    RoutingContext::default().with_tenant(TenantId::new(name).unwrap())
}

fn with_rules(n: usize, rules: impl IntoIterator<Item = Rule>) -> Router {
    fleet::plain(n).rules(RuleSet::new(rules)).build().unwrap()
}

fn serves(router: &Router, context: &RoutingContext) -> String {
    router.route(&fleet::request(), context).unwrap().candidate().provider().to_string()
}

fn members(weights: &[(&str, Option<i64>)]) -> RouteConfig {
    let member = |&(name, weight): &(&str, Option<i64>)| PoolMember {
        provider: provider(name),
        weight: weight.map(|weight| Weight::try_from(weight).unwrap()),
    };
    RouteConfig::providers(weights.iter().map(member))
}

#[test]
fn the_first_match_decides_by_priority_then_by_definition() {
    let router = with_rules(
        4,
        [
            rule("first", to("p0")).when(tenant("a")),
            rule("second", to("p1")).when(tenant("a")),
            rule("urgent", to("p2")).when(tenant("b")).priority(1),
            rule("late", to("p3")).when(Condition::any([tenant("b"), tenant("c")])),
        ],
    );
    for (name, expected) in [("a", "p0"), ("b", "p2"), ("c", "p3")] {
        assert_eq!(serves(&router, &of(name)), expected);
    }
    let metrics = router.rules().metrics();
    let matches: Vec<_> = metrics.rule_matches.iter().map(|(rule, count)| (rule.as_str(), *count)).collect();
    assert_eq!(matches, [("first", 1), ("second", 0), ("urgent", 1), ("late", 1)]);
    assert_eq!((metrics.rule_evaluations, metrics.unmatched), (3, 0));
}

#[test]
fn a_chain_keeps_the_strategy_through_unrelated_actions() {
    let chain = RoutingAction::Chain(vec![
        RoutingAction::ApplyStrategy(LoadBalancingStrategy::RoundRobin),
        RoutingAction::ApplyStrategy(LoadBalancingStrategy::Random),
        RoutingAction::RouteToPool(members(&[("p0", None), ("p1", None)])),
        RoutingAction::Exclude(vec![provider("p0")]),
        RoutingAction::SetPriority(RequestPriority::Low),
        RoutingAction::AddTag(Tag::new("batch").unwrap()),
        RoutingAction::Mirror(MirrorTarget { provider: provider("p2"), model: None }),
    ]);
    let router = with_rules(3, [rule("chain", chain)]);
    let selected = router.route(&fleet::request(), &RoutingContext::default()).unwrap();
    let decision = selected.decision();
    assert_eq!(selected.candidate().provider(), "p1");
    assert_eq!(decision.strategy_used, LoadBalancingStrategy::Random);
    assert_eq!(decision.priority, RequestPriority::Low);
    assert_eq!(decision.rule_matched.as_ref().map(RuleId::as_str), Some("chain"));
    assert_eq!(decision.tags(), [Tag::new("batch").unwrap()]);
    assert_eq!(decision.mirrors()[0].to_string(), "p2");
    assert_eq!(decision.dropped_by(Stage::Rules), 2);
    assert_eq!(decision.to_string(), "random chose 1 of 1 left of 3 (rules −2), by rule chain");
}

#[test]
fn a_rejection_reaches_the_caller_with_reason_and_rule() {
    let reason = RejectionReason::Custom("closed until Monday".into());
    let closed = rule("closed", RoutingAction::Reject { reason: reason.clone() }).when(tenant("a"));
    let gone = RejectionReason::InvalidRequest;
    let retired = rule("retired", RoutingAction::Reject { reason: gone.clone() })
        .when(Condition::Model(vec!["gpt-3*".parse().unwrap()]));
    let router = with_rules(1, [closed, retired]);
    let rejected = |rule: &str, reason| RoutingError::Rejected(Rejection { rule: rule.parse().ok(), reason });
    let error = router.route(&fleet::request(), &of("a")).unwrap_err();
    assert_eq!(error, rejected("closed", reason));
    assert_eq!(error.to_string(), "request rejected by rule `closed`: closed until Monday");
    // Also for a model that nobody serves.
    let old = GatewayRequest::new("gpt-3.5").unwrap();
    let error = router.route(&old, &RoutingContext::default()).unwrap_err();
    assert_eq!(error, rejected("retired", gone));
    assert_eq!(router.metrics().failures_by_kind, [("rejected", 2)]);
    assert_eq!(router.explain(&old, &RoutingContext::default()).rule_matched.unwrap(), "retired");
}

#[test]
fn a_rule_that_continues_changes_the_request_for_the_rules_and_stages_after_it() {
    let urgent = Condition::Priority(Priorities::at_least(RequestPriority::High));
    let rules = [
        rule("vip", RoutingAction::SetPriority(RequestPriority::High)).when(tenant("a")).and_continue(),
        rule("mark", RoutingAction::AddTag("seen".parse().unwrap())).when(urgent.clone()).and_continue(),
        rule("urgent", to("p1"))
            .when(Condition::all([urgent, Condition::Tag(Tag::new("seen").unwrap().into())])),
        rule("rest", to("p0")),
    ];
    let seen = fleet::filter(Stage::Limits, |_, decision, _| {
        assert_eq!(decision.priority() == RequestPriority::High, decision.tenant_id().is_some());
        Ok(())
    });
    let router = fleet::plain(2).rules(RuleSet::new(rules)).filter(seen).build().unwrap();
    let selected = router.route(&fleet::request(), &of("a")).unwrap();
    assert_eq!(selected.candidate().provider(), "p1");
    let annotations = selected.decision().annotations.clone().unwrap();
    assert_eq!(annotations.rules, ["vip", "mark"].map(|id| id.parse::<RuleId>().unwrap()));
    assert_eq!(selected.decision().priority, RequestPriority::High);
    assert_eq!(serves(&router, &RoutingContext::default()), "p0");
}

#[test]
fn a_pool_has_weights_of_its_own_exactly() {
    let weighted = RoutingAction::RouteToPool(
        members(&[("p0", Some(3)), ("p1", Some(1)), ("p3", Some(0))])
            .by(LoadBalancingStrategy::WeightedRoundRobin),
    );
    let router = with_rules(4, [rule("weighted", weighted).when(tenant("a"))]);
    let count = |turns: usize| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        (0..turns).for_each(|_| *counts.entry(serves(&router, &of("a"))).or_default() += 1);
        counts.into_values().collect::<Vec<_>>()
    };
    assert_eq!(count(40), [30, 10]);
    // Two of four turns; the turns go on through updates of rules and table.
    let before = count(2);
    router.update_rules([RuleUpdate::put(rule("other", to("p2")).when(tenant("b")))]).unwrap();
    let weight = Weight::try_from(7).unwrap();
    let heavier = RoutingTableUpdate::UpdateProviderWeight { provider: provider("p2"), model: None, weight };
    router.update_routing_table([heavier]).unwrap();
    let after = count(2);
    assert_eq!(before.iter().chain(&after).sum::<usize>(), 4);
    let first = before.len() + after.len();
    assert_eq!(first, 3, "p1 has one of four turns: {before:?} {after:?}");
    // Requests of others keep the candidates' own weights.
    assert_eq!(serves(&router, &of("b")), "p2");
}

#[test]
fn weights_without_a_strategy_are_not_for_nothing() {
    let weighted = || RoutingAction::RouteToPool(members(&[("p0", Some(3)), ("p1", Some(1))]));
    let random = RoutingAction::ApplyStrategy(LoadBalancingStrategy::Random);
    let chain = RoutingAction::Chain(vec![random, weighted()]);
    let router = with_rules(2, [rule("chain", chain).when(tenant("a")), rule("plain", weighted())]);
    let strategy =
        |context| router.route(&fleet::request(), &context).unwrap().decision().strategy_used.clone();
    assert_eq!(strategy(RoutingContext::default()), LoadBalancingStrategy::WeightedRoundRobin);
    assert_eq!(strategy(of("a")), LoadBalancingStrategy::Random);
}

#[test]
fn results_teach_the_strategy_of_a_weighted_pool() {
    let weighted = RoutingAction::RouteToPool(
        members(&[("p0", Some(1)), ("p1", Some(1))]).by(LoadBalancingStrategy::LeastLatency),
    );
    let router = with_rules(2, [rule("weighted", weighted)]);
    let answer = |provider: &str| {
        let slow = if provider == "p0" { 20 } else { 1 };
        RequestResult::success(Duration::from_secs(slow), TokenUsage::new(Tokens(10), Tokens(10)))
            .first_token_after(Duration::from_secs(slow) / 2)
    };
    let mut served = BTreeMap::new();
    for _ in 0..400 {
        let selected = router.route(&fleet::request(), &RoutingContext::default()).unwrap();
        let name = selected.candidate().provider().to_string();
        *served.entry(name.clone()).or_insert(0) += 1;
        selected.finish(&answer(&name));
    }
    assert!(served["p1"] > 9 * served["p0"], "{served:?}");
}

#[test]
fn a_model_is_rewritten_for_this_request() {
    let small = rule("small", RoutingAction::RewriteModel("mini".parse().unwrap())).when(tenant("a"));
    let virtual_name = rule("virtual", RoutingAction::RewriteModel("fast".parse().unwrap()))
        .when(Condition::Model(vec!["auto".parse().unwrap()]));
    let router = fleet::plain(1)
        .candidate(ProviderCandidate::openai("q", "mini"))
        .alias("fast", "mini")
        .rules(RuleSet::new([small, virtual_name]))
        .build()
        .unwrap();
    let selected = router.route(&fleet::request(), &of("a")).unwrap();
    assert_eq!(selected.candidate().provider(), "q");
    assert_eq!(selected.decision().rewritten_to.as_ref().unwrap(), "mini");
    assert!(selected.decision().to_string().contains("served as mini, by rule small"));
    assert_eq!(serves(&router, &RoutingContext::default()), "p0");
    let auto = router.route(&GatewayRequest::new("auto").unwrap(), &RoutingContext::default()).unwrap();
    assert_eq!(auto.candidate().provider(), "q");
}

#[test]
fn b58_no_rule_leads_to_a_model_that_the_tenant_may_not_use() {
    let rewrite = rule("upgrade", RoutingAction::RewriteModel("big".parse().unwrap()));
    let config = TenantRoutingConfig {
        allowed_models: Some(vec!["m".parse().unwrap()]),
        ..TenantRoutingConfig::default()
    };
    let router = fleet::plain(1)
        .candidate(ProviderCandidate::openai("q", "big"))
        .alias("huge", "big")
        .tenant("a", config)
        .rules(RuleSet::new([rewrite]))
        .build()
        .unwrap();
    let unauthorized = |rule: Option<&str>| {
        let rule = rule.map(|rule| rule.parse().unwrap());
        RoutingError::Rejected(Rejection { rule, reason: RejectionReason::UnauthorizedModel })
    };
    assert_eq!(router.route(&fleet::request(), &of("a")).unwrap_err(), unauthorized(Some("upgrade")));
    // And before the rules: the name itself, and what it stands for.
    for name in ["big", "huge"] {
        let asked = GatewayRequest::new(name).unwrap();
        assert_eq!(router.route(&asked, &of("a")).unwrap_err(), unauthorized(None));
    }
    router.update_rules([RuleUpdate::Remove("upgrade".parse().unwrap())]).unwrap();
    assert_eq!(serves(&router, &of("a")), "p0");
}

#[test]
fn the_default_route_has_pool_and_strategy_and_stands_back_behind_the_tenant() {
    let route = members(&[("p0", None), ("p1", None)]).by(LoadBalancingStrategy::Random);
    let rules = RuleSet::new([rule("a", to("p2")).when(tenant("a"))]).default_route(route);
    let own = TenantRoutingConfig {
        default_strategy: Some(LoadBalancingStrategy::LeastConnections),
        ..TenantRoutingConfig::default()
    };
    let router = fleet::plain(3).tenant("b", own).rules(rules).build().unwrap();
    let anybody = router.route(&fleet::request(), &RoutingContext::default()).unwrap();
    assert_eq!(anybody.decision().to_string(), "random chose 1 of 2 left of 3 (rules −1)");
    let b = router.route(&fleet::request(), &of("b")).unwrap();
    assert_eq!(b.decision().strategy_used, LoadBalancingStrategy::LeastConnections);
    assert_eq!(b.decision().dropped_by(Stage::Rules), 1);
    assert_eq!(serves(&router, &of("a")), "p2");
    router.update_rules([RuleUpdate::SetDefaultRoute(None)]).unwrap();
    let anybody = router.route(&fleet::request(), &RoutingContext::default()).unwrap();
    assert_eq!(anybody.decision().strategy_used, LoadBalancingStrategy::RoundRobin);
}

#[test]
fn a_pool_of_which_nobody_is_left_is_an_error_not_a_detour() {
    let router = with_rules(2, [rule("only", to("p0"))]);
    let context = RoutingContext::default().exclude_provider(provider("p0"));
    let error = router.route(&fleet::request(), &context).unwrap_err();
    assert_eq!(error, RoutingError::AllProvidersFiltered { stage: Stage::Rules });
}

#[test]
fn rules_are_checked_against_table_and_strategies_and_all_problems_told() {
    let rules = RuleSet::new([
        rule("a", to("p9")),
        rule("b", RoutingAction::ApplyStrategy("round_robbin".parse().unwrap())),
        rule("c", RoutingAction::RewriteModel("mm".parse().unwrap())),
    ]);
    let message = fleet::plain(2).rules(rules).build().unwrap_err().to_string();
    assert_eq!(
        message,
        "rule `a`: unknown provider `p9`; rule `b`: unknown strategy `round_robbin`, did you mean `round_robin`?; \
         rule `c`: unknown model `mm`, did you mean `m`?"
    );
    let router = with_rules(2, [rule("good", to("p1"))]);
    let errors = router.update_rules([RuleUpdate::put(rule("bad", to("nobody")))]).unwrap_err();
    assert!(matches!(errors.findings()[0].problem, RuleProblem::UnknownProvider { .. }));
    assert_eq!((router.metrics().generation, router.rules().set().rules.len()), (1, 1));
}

#[test]
fn rules_come_and_go_with_their_time() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_nanos(100 * 1_000_000_000)));
    let wall = |second| std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    let maintenance = rule("maintenance", RoutingAction::Reject { reason: RejectionReason::MaintenanceMode })
        .valid(Validity::ALWAYS.from(wall(200)).until(wall(300)));
    let router = fleet::plain(1)
        .shared_clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .rules(RuleSet::new([maintenance]))
        .build()
        .unwrap();
    for (second, served) in [(100, true), (199, true), (200, false), (299, false), (300, true), (250, false)]
    {
        clock.set(Timestamp::from_nanos(second * 1_000_000_000));
        let outcome = router.route(&fleet::request(), &RoutingContext::default());
        assert_eq!(outcome.is_ok(), served, "at {second}");
    }
}

#[test]
fn explanations_say_which_rules_matched_and_why_others_did_not() {
    let router = with_rules(
        3,
        [
            rule("eu", to("p2")).when(Condition::Region(fleet::region("eu").into())),
            rule("note", RoutingAction::AddTag("x".parse().unwrap())).and_continue(),
            rule("a", to("p1")).when(tenant("a")),
            rule("never", to("p0")),
        ],
    );
    let explanation = router.explain(&fleet::request(), &of("a"));
    let traces: Vec<_> = explanation.rules.iter().map(ToString::to_string).collect();
    assert_eq!(
        traces,
        [
            "eu skipped: it is not so that the caller's region is eu",
            "note matched and goes on",
            "a matched",
            "never not reached",
        ]
    );
    let text = explanation.to_string();
    assert!(text.contains("rule            a matched"), "{text}");
    assert!(text.contains("rules           1 left                         − p0/m, p2/m"), "{text}");
    assert_eq!(router.rules().metrics().rule_evaluations, 0, "an explanation counts nothing");
}

#[test]
fn decisions_with_rules_allocate_nothing() {
    let weighted = RoutingAction::Chain(vec![
        RoutingAction::RouteToPool(members(&[("p0", Some(3)), ("p1", None)])),
        RoutingAction::AddTag("x".parse().unwrap()),
        RoutingAction::RewriteModel("m".parse().unwrap()),
    ]);
    let rules = (0..200).map(|i| rule(&format!("other-{i}"), to("p0")).when(tenant(&format!("t{i}"))));
    let regexes = (0..4).map(|i| {
        let pattern = waypost::rules::TextPattern::regex(format!("(x|y){i}$")).unwrap();
        rule(&format!("regex-{i}"), to("p0")).when(Condition::Model(vec![pattern]))
    });
    let vip = rule("vip", RoutingAction::SetPriority(RequestPriority::High)).and_continue();
    let last = rule("weighted", weighted).when(tenant("a"));
    let router = with_rules(8, rules.chain(regexes).chain([vip, last]));
    let (request, context) = (fleet::request(), of("a"));
    let answer = RequestResult::success(Duration::from_millis(9), TokenUsage::default());
    let go = || router.route(&request, &context).unwrap().finish(&answer);
    (0..200).for_each(|_| go());
    let counted = measure(|| (0..1_000).for_each(|_| go()));
    // Two rules annotate, so their annotations are put together: one list of each kind, no more.
    let merged = counted.count_total / 1_000;
    assert!(counted.count_total.is_multiple_of(1_000) && merged <= 4, "{}", counted.count_total);
    router.update_rules([RuleUpdate::Remove("vip".parse().unwrap())]).unwrap();
    (0..200).for_each(|_| go());
    assert_eq!(measure(|| (0..1_000).for_each(|_| go())).count_total, 0);
}

#[test]
fn a_filter_before_the_rules_stands_where_they_say_nothing() {
    let early = || {
        fleet::filter(Stage::Tenant, |_, _, directives| {
            directives.strategy = Some(LoadBalancingStrategy::Random);
            directives.rule_matched = RuleId::new("filter").ok();
            Ok(())
        })
    };
    let default = RouteConfig::default().by(LoadBalancingStrategy::PeakEwma);
    let rules = RuleSet::new([
        rule("a", RoutingAction::ApplyStrategy(LoadBalancingStrategy::LeastLatency)).when(tenant("a"))
    ]);
    let router = fleet::plain(2).filter(early()).rules(rules.default_route(default)).build().unwrap();
    let decided = |context| {
        let decision = router.route(&fleet::request(), &context).unwrap().decision().clone();
        (decision.strategy_used, decision.rule_matched.unwrap().to_string())
    };
    assert_eq!(decided(of("a")), (LoadBalancingStrategy::LeastLatency, "a".to_owned()));
    assert_eq!(decided(RoutingContext::default()), (LoadBalancingStrategy::Random, "filter".to_owned()));
}

#[test]
fn weightings_that_no_rule_names_are_forgotten_and_others_keep_their_turns() {
    let weighted =
        |weight: i64| RoutingAction::RouteToPool(members(&[("p0", Some(weight)), ("p1", Some(1))]));
    let router = with_rules(2, [rule("steady", weighted(3)).when(tenant("a")), rule("canary", weighted(4))]);
    let mut turns = Vec::new();
    for step in 0..200 {
        turns.push(serves(&router, &of("a")));
        serves(&router, &RoutingContext::default());
        router.update_rules([RuleUpdate::put(rule("canary", weighted(5 + step)))]).unwrap();
    }
    for tour in turns.chunks(4) {
        assert_eq!(tour.iter().filter(|provider| *provider == "p1").count(), 1, "{turns:?}");
    }
}

#[test]
fn a_refusal_is_explained_with_the_model_that_was_refused() {
    let rewrite = rule("upgrade", RoutingAction::RewriteModel("big".parse().unwrap()));
    let config = TenantRoutingConfig {
        allowed_models: Some(vec!["m".parse().unwrap()]),
        ..TenantRoutingConfig::default()
    };
    let builder = fleet::plain(1).candidate(ProviderCandidate::openai("q", "big")).tenant("a", config);
    let router = builder.rules(RuleSet::new([rewrite])).build().unwrap();
    let explanation = router.explain(&fleet::request(), &of("a"));
    assert_eq!(explanation.model.as_ref().unwrap(), "big");
    assert_eq!(
        (explanation.rewritten_to.unwrap().as_str(), explanation.rule_matched.unwrap().as_str()),
        ("big", "upgrade")
    );
    assert!(matches!(explanation.outcome, Err(RoutingError::Rejected(_))));
}

#[test]
fn a_broken_table_is_not_blamed_on_the_rules() {
    let broken = Router::builder().alias("a", "nothing").rules(RuleSet::new([rule("r", to("p1"))])).build();
    assert_eq!(
        broken.unwrap_err().to_string(),
        "alias `a` stands for `nothing`, which is neither a model nor an alias"
    );
}

/// Promise 2 for rules: each decision is by one version of them.
#[test]
fn a_reader_never_sees_half_a_rule_set() {
    let version = |n: u64| {
        let name = format!("p{}", n % 2);
        let tag: Tag = name.parse().unwrap();
        let first = rule("tag", RoutingAction::AddTag(tag)).and_continue();
        RuleUpdate::ReplaceAll(RuleSet::new([first, rule("route", to(&name))]))
    };
    let router = with_rules(2, []);
    router.update_rules([version(0)]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let selected = router.route(&fleet::request(), &RoutingContext::default()).unwrap();
                    assert_eq!(
                        selected.decision().tags()[0].as_str(),
                        selected.candidate().provider().as_str()
                    );
                }
            });
        }
        (1..500).for_each(|n| _ = router.update_rules([version(n)]).unwrap());
        done.store(true, Ordering::Relaxed);
    });
}

#[derive(Debug, Clone)]
enum Act {
    Rewrite(u8),
    Provider(u8),
    Exclude(u8),
    Weights(u8, u8),
    Nothing,
}

fn acts() -> impl Strategy<Value = Vec<(u8, bool, Act)>> {
    let act = prop_oneof![
        (0_u8..6).prop_map(Act::Rewrite),
        (0_u8..6).prop_map(Act::Provider),
        (0_u8..6).prop_map(Act::Exclude),
        (0_u8..6, 0_u8..6).prop_map(|(a, b)| Act::Weights(a, b)),
        Just(Act::Nothing),
    ];
    prop::collection::vec((0_u8..6, any::<bool>(), act), 0..8)
}

fn act(number: usize, (asked, continues, act): &(u8, bool, Act)) -> Rule {
    let action = match act {
        Act::Rewrite(model) => RoutingAction::RewriteModel(name(*model)),
        Act::Provider(i) => to(&format!("p{i}")),
        Act::Exclude(i) => RoutingAction::Exclude(vec![provider(&format!("p{i}"))]),
        Act::Weights(a, b) if a != b => {
            RoutingAction::RouteToPool(members(&[(&format!("p{a}"), Some(5)), (&format!("p{b}"), Some(1))]))
        }
        _ => RoutingAction::Chain(Vec::new()),
    };
    let mut made = rule(&format!("r{number}"), action).when(Condition::model(&name(*asked)));
    made.continues = *continues;
    made
}

/// Models `m0` to `m3`, aliases `m4` of `m0` and `m5` of `m4`.
fn name(number: u8) -> ModelName {
    format!("m{number}").parse().unwrap()
}

fn models() -> RouterBuilder {
    let candidates = (0..4).flat_map(|m| (0..6).map(move |p| (p, m)));
    candidates
        .fold(Router::builder().seed(3), |builder, (p, m)| {
            builder.candidate(ProviderCandidate::openai(format!("p{p}"), format!("m{m}")))
        })
        .alias("m4", "m0")
        .alias("m5", "m4")
}

proptest! {
    /// Promise 8 and X26: whatever the rules are, who serves is allowed for the tenant and not excluded, and the model
    /// is one that the tenant may use, as it was asked for and as it is served.
    #[test]
    fn promise_8_no_rule_leads_where_the_request_may_not_go(
        rules in acts(),
        models_allowed in prop::option::of(prop::collection::vec(0_u8..6, 0..4)),
        providers_allowed in prop::option::of(prop::collection::vec(0_u8..6, 1..5)),
        excluded in prop::collection::vec(0_u8..6, 0..3),
        asked in 0_u8..6,
    ) {
        let config = TenantRoutingConfig {
            allowed_models: models_allowed.clone().map(|models| models.into_iter().map(name).collect()),
            allowed_providers: providers_allowed
                .clone()
                .map(|providers| providers.iter().map(|p| provider(&format!("p{p}"))).collect()),
            ..TenantRoutingConfig::default()
        };
        let rules = rules.iter().enumerate().map(|(number, one)| act(number, one));
        let router = models().tenant("a", config).rules(RuleSet::new(rules)).build().unwrap();
        let request = GatewayRequest::for_model(name(asked));
        let context = excluded.iter().fold(of("a"), |context, p| context.exclude_provider(provider(&format!("p{p}"))));
        let Ok(selected) = router.route(&request, &context) else { return Ok(()) };
        let stands_for = |model: u8| if model > 3 { 0 } else { model };
        let may = |model: u8| {
            models_allowed.as_ref().is_none_or(|may| may.contains(&model) || may.contains(&stands_for(model)))
        };
        let number = |model: &str| model[1..].parse::<u8>().unwrap();
        let served_as = selected.decision().rewritten_to.as_ref().map_or(asked, |model| number(model.as_str()));
        prop_assert!(may(asked) && may(served_as));
        let candidate = selected.candidate();
        prop_assert_eq!(number(candidate.id().model.as_str()), stands_for(served_as));
        let by = number(candidate.provider().as_str());
        prop_assert!(!excluded.contains(&by));
        prop_assert!(providers_allowed.is_none_or(|may| may.contains(&by)));
    }
}
