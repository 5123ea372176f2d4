//! Memory and allocations.

use allocation_counter::measure;
use waypost_core::{
    DecisionContext, GatewayRequest, LoadBalancingStrategy, RequestMatcher, RequestPriority, RoutingContext,
    TenantId, Timestamp, TokenUsage,
};
use waypost_rules::{
    Bounds, CacheMode, CompiledRules, Condition, Priorities, RouteConfig, RoutingAction, Rule, RuleLimits,
    RuleSet, RulesConfig, Surroundings, TextPattern,
};

/// Rules as people write them: a few conditions, a pool, a strategy.
fn written(rules: usize) -> RuleSet {
    let rule = |i: usize| {
        let pool = RouteConfig::providers(
            ["azure-eu", "vertex-eu"].map(|name| name.parse::<waypost_core::ProviderId>().unwrap()),
        );
        let action = RoutingAction::Chain(vec![
            RoutingAction::RouteToPool(pool),
            RoutingAction::ApplyStrategy(LoadBalancingStrategy::LeastLatency),
        ]);
        let condition = Condition::all([
            Condition::Tenant(TenantId::new(format!("tenant-{i}")).unwrap().into()),
            Condition::Model(vec![format!("gpt-{}-*", i % 100).parse().unwrap()]),
            Condition::PromptTokens(Bounds::at_least(i as u64)),
            Condition::Priority(Priorities::at_least(RequestPriority::High)),
        ]);
        Rule::new(format!("rule-{i}").parse().unwrap(), action).when(condition).priority(1)
    };
    RuleSet::new((0..rules).map(rule)).limits(RuleLimits::default().rules(rules))
}

fn compile(set: RuleSet, cache: CacheMode) -> CompiledRules {
    CompiledRules::compile(set, RulesConfig::default().cache(cache), Surroundings::UNKNOWN).unwrap()
}

/// What stays allocated of the set and what it is compiled to.
#[test]
fn ten_thousand_rules_take_at_most_two_kibibytes_each() {
    const RULES: u32 = 10_000;
    let mut kept = None;
    let taken = measure(|| kept = Some(compile(written(RULES as usize), CacheMode::Never)));
    assert_eq!(kept.unwrap().rules().len(), RULES as usize);
    let per_rule = taken.bytes_current / i64::from(RULES);
    assert!(per_rule <= 2_048, "{per_rule} bytes a rule");
}

/// The hardest rules for an index: each asks for most of ten thousand classes.
#[test]
fn rules_that_ask_for_almost_everything_take_no_more() {
    const RULES: u32 = 4_096;
    let rules = (0..RULES).map(|i| {
        let tenant = Condition::Tenant(TenantId::new(format!("tenant-{i}")).unwrap().into());
        let tokens = Condition::PromptTokens(Bounds::between(i.into(), u64::MAX - u64::from(i)));
        let action = RoutingAction::SetPriority(RequestPriority::Low);
        Rule::new(format!("rule-{i}").parse().unwrap(), action).when(Condition::all([!tenant, tokens]))
    });
    let set = RuleSet::new(rules);
    let mut kept = None;
    let taken = measure(|| kept = Some(compile(set, CacheMode::Never)));
    let rules = kept.unwrap();
    let per_rule = taken.bytes_current / i64::from(RULES);
    assert!(per_rule <= 2_048, "{per_rule} bytes a rule");

    // What the index has no room for is asked directly.
    let request = GatewayRequest::new("m").unwrap();
    for i in [0, 1, 63, 64, 700, 4_095] {
        let context = RoutingContext::default().with_tenant(format!("tenant-{i}").parse().unwrap());
        for tokens in [i, 0, u64::MAX - i] {
            let usage = TokenUsage::new(waypost_core::Tokens(tokens), waypost_core::Tokens(0));
            let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, usage);
            let first = rules.set().rules.iter().find(|rule| rule.condition.matches(&decision));
            let found = rules.evaluate(&decision).rule().map(|rule| rule.id().clone());
            assert_eq!(found, first.map(|rule| rule.id.clone()), "{i} {tokens}");
        }
    }
}

#[test]
fn evaluation_allocates_nothing() {
    let regexes = (0..8).map(|i| {
        let pattern = TextPattern::regex(format!("(x|y){i}$")).unwrap();
        let rule = Rule::new(format!("regex-{i}").parse().unwrap(), RoutingAction::Chain(Vec::new()));
        rule.when(Condition::Model(vec![pattern]))
    });
    let mut with_regexes = written(200);
    with_regexes.rules.truncate(100);
    with_regexes.rules.extend(regexes);
    let request = GatewayRequest::new("gpt-7-turbo").unwrap().priority(RequestPriority::High);
    let context = RoutingContext::default().with_tenant("tenant-7".parse().unwrap());
    let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
    for (set, cache) in [
        (written(1_000), CacheMode::Never),
        (with_regexes.clone(), CacheMode::Never),
        (with_regexes, CacheMode::WhereItPays),
    ] {
        let rules = compile(set, cache);
        (0..10).for_each(|_| _ = rules.evaluate(&decision));
        assert_eq!(measure(|| (0..1_000).for_each(|_| _ = rules.evaluate(&decision))).count_total, 0);
    }
}

/// Readers whose clocks differ, some on one side of a window's edge and some on the other, each get their own answer.
#[test]
fn threads_with_different_clocks_do_not_disturb_each_other() {
    let window =
        waypost_rules::TimeWindow::new("06:00".parse().unwrap(), "18:00".parse().unwrap(), "UTC").unwrap();
    let rule = Rule::new("day".parse().unwrap(), RoutingAction::Chain(Vec::new()))
        .when(Condition::Time(vec![window]));
    let rules = compile(RuleSet::new([rule]), CacheMode::Always);
    let (request, context) = (GatewayRequest::new("m").unwrap(), RoutingContext::default());
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (rules, request, context) = (&rules, &request, &context);
            scope.spawn(move || {
                for step in 0..20_000_u64 {
                    // Around the edges, forwards, backwards and at random.
                    let second = match thread {
                        0 => step * 7,
                        1 => 140_000 - step * 7,
                        _ => step.wrapping_mul(0x9e37_79b9) % 140_000,
                    };
                    let wall = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
                    let decision = DecisionContext::new(
                        request,
                        context,
                        None,
                        Timestamp::ORIGIN,
                        TokenUsage::default(),
                    );
                    let open = rules.evaluate(&decision.at_wall_time(wall)).rule().is_some();
                    assert_eq!(open, (21_600..64_800).contains(&(second % 86_400)), "at {second}");
                }
            });
        }
    });
}
