//! FAULTS: B56, B57, B59, B60, and what the compiler says of rules that make no sense.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use waypost_core::{
    DecisionContext, GatewayRequest, MirrorTarget, ModelName, ProviderCandidate, ProviderId, RejectionReason,
    RequestPriority, RoutingContext, RoutingTable, RoutingTableUpdate, RuleId, TenantId, Timestamp,
    TokenUsage, Tokens,
};
use waypost_rules::{
    Bounds, CacheMode, CompiledRules, Condition, PoolMember, Priorities, RouteConfig, RoutingAction, Rule,
    RuleLimits, RuleProblem, RuleSet, RulesConfig, Severity, Surroundings, TextPattern, Validity,
};

fn rule(id: &str) -> Rule {
    Rule::new(id.parse().unwrap(), RoutingAction::Chain(Vec::new()))
}

fn acting(id: &str, action: RoutingAction) -> Rule {
    Rule::new(id.parse().unwrap(), action)
}

fn tenant(name: &str) -> Condition {
    Condition::Tenant(TenantId::new(name).unwrap().into())
}

fn provider(name: &str) -> ProviderId {
    name.parse().unwrap()
}

fn compile(set: RuleSet) -> Result<CompiledRules, Vec<String>> {
    let compiled = CompiledRules::compile(set, RulesConfig::default(), Surroundings::UNKNOWN);
    compiled.map_err(|errors| errors.findings().iter().map(ToString::to_string).collect())
}

fn warnings(set: RuleSet) -> Vec<String> {
    compile(set).unwrap().warnings().iter().map(ToString::to_string).collect()
}

/// Who decides a request.
fn decides(rules: &CompiledRules, request: &GatewayRequest, context: &RoutingContext) -> Option<String> {
    let usage = TokenUsage::new(Tokens(100), Tokens(1));
    let decision = DecisionContext::new(request, context, None, Timestamp::ORIGIN, usage);
    rules.evaluate(&decision).rule().map(|rule| rule.id().to_string())
}

const NO_DEFAULT: &str = "there is no default route: requests that no rule decides go anywhere";

#[test]
fn b56_rules_beyond_the_caps_are_refused_with_the_cap_named() {
    let many = RuleSet::new((0..10_000).map(|n| rule(&format!("r{n}"))));
    assert_eq!(compile(many.clone()).unwrap_err(), ["10000 rules are more than 4096"]);
    assert!(compile(many.limits(RuleLimits::default().rules(10_000))).is_ok());

    let wide = Condition::all((0..1_000).map(|n| tenant(&format!("t{n}"))));
    let refused = compile(RuleSet::new([rule("wide").when(wide)])).unwrap_err();
    assert_eq!(refused, ["rule `wide`: 1000 conditions are more than 64"]);

    let nested = |depth| (0..depth).fold(tenant("a"), |inner, _| Condition::Not(Box::new(inner)));
    let refused = compile(RuleSet::new([rule("deep").when(nested(64))])).unwrap_err();
    assert_eq!(refused, ["rule `deep`: conditions and actions may be nested at most 16 deep"]);
    assert!(compile(RuleSet::new([rule("deep").when(nested(15))])).is_ok());

    let chain = (0..64).fold(RoutingAction::Chain(Vec::new()), |inner, _| RoutingAction::Chain(vec![inner]));
    assert_eq!(compile(RuleSet::new([acting("chain", chain)])).unwrap_err().len(), 1);

    let listed: Vec<_> = (0..2_000).map(|n| provider(&format!("p{n}"))).collect();
    let refused = compile(RuleSet::new([acting("long", RoutingAction::Exclude(listed))])).unwrap_err();
    assert_eq!(refused, ["rule `long`: a list of 2000 is longer than 1024"]);

    let many = (0..65).map(|n| RoutingAction::AddTag(format!("t{n}").parse().unwrap())).collect();
    let refused =
        compile(RuleSet::new([acting("busy", RoutingAction::Chain(vec![RoutingAction::Chain(many)]))]));
    assert_eq!(refused.unwrap_err(), ["rule `busy`: 65 actions are more than 64"]);

    // Each as often as it stands there: that is how often it may run.
    let regexes = (0..1_025).map(|n| {
        let pattern = TextPattern::regex("a+").unwrap();
        rule(&format!("r{n}")).when(Condition::Model(vec![pattern]))
    });
    let refused = compile(RuleSet::new(regexes)).unwrap_err();
    assert_eq!(refused, ["1025 regular expressions and inner wildcards are more than 1024"]);
}

/// A condition that counts how often it is asked.
#[derive(Debug, Default)]
struct Counts(std::sync::atomic::AtomicUsize);

impl waypost_core::RequestMatcher for Counts {
    fn matches(&self, _: &DecisionContext<'_>) -> bool {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        false
    }

    fn description(&self) -> String {
        "never".into()
    }
}

/// The index leaves few rules to ask, however many there are; the count of conditions that run is a custom one's.
#[test]
fn b56_evaluation_asks_only_the_rules_that_the_index_leaves() {
    let asked = Arc::new(Counts::default());
    let rules = (0..10_000).map(|n| {
        let condition =
            Condition::all([tenant(&format!("t{}", n % 1_000)), Condition::Custom(asked.clone())]);
        rule(&format!("r{n}")).when(condition)
    });
    let set = RuleSet::new(rules).limits(RuleLimits::default().rules(10_000));
    let compiled = compile(set).unwrap();
    let context = RoutingContext::default().with_tenant("t7".parse().unwrap());
    assert_eq!(decides(&compiled, &GatewayRequest::new("m").unwrap(), &context), None);
    assert_eq!(asked.0.load(std::sync::atomic::Ordering::Relaxed), 10);
    assert!(!compiled.keep_verdicts(), "nobody knows what a condition of one's own reads");
}

/// Each rule looks at a tag or a feature of its own, far more than attributes that are indexed by themselves.
#[test]
fn b56_a_name_for_each_rule_is_as_good_as_an_attribute() {
    let asked = Arc::new(Counts::default());
    let name = |n: usize| -> Condition {
        let name = format!("n{}", n % 2_000);
        match n % 3 {
            0 => Condition::Tag(name.parse::<waypost_core::Tag>().unwrap().into()),
            1 => Condition::Feature(name.parse::<waypost_core::FeatureName>().unwrap().into()),
            _ => !Condition::Feature(name.parse::<waypost_core::FeatureName>().unwrap().into()),
        }
    };
    let rules = (0..4_000)
        .filter(|n| n % 3 < 2)
        .map(|n| rule(&format!("r{n}")).when(Condition::all([name(n), Condition::Custom(asked.clone())])));
    let compiled = compile(RuleSet::new(rules)).unwrap();
    let request = GatewayRequest::new("m").unwrap();
    let with = |n: usize| {
        let context = RoutingContext::default().require_tag(format!("n{n}").parse().unwrap());
        context.with_feature(format!("n{}", n + 1).parse().unwrap(), true)
    };
    for n in [0, 999, 1_500] {
        assert_eq!(decides(&compiled, &request, &with(n)), None);
    }
    let runs = asked.0.load(std::sync::atomic::Ordering::Relaxed);
    // Four rules with the names of each request, and the few whose names have a dimension of their own.
    assert!(runs <= 3 * (4 + 32), "{runs}");
}

#[test]
fn b57_what_is_missing_or_strange_equals_nothing_and_is_no_error() {
    let key = || "k".parse().unwrap();
    let any = || vec!["*".parse().unwrap()];
    let conditions = [
        tenant("a"),
        Condition::Metadata(key(), any()),
        Condition::UserAgent(any()),
        Condition::SourceIp(vec!["::/0".parse().unwrap()]),
        Condition::Attempt(Bounds::between(3, 1)),
        Condition::Priority(Priorities::from_iter([])),
        Condition::Any(Vec::new()),
    ];
    let request = GatewayRequest::new("m").unwrap();
    for condition in conditions {
        for (condition, expected) in [(condition.clone(), None), (!condition, Some("r".to_owned()))] {
            for mode in [CacheMode::Always, CacheMode::Never] {
                let set = RuleSet::new([rule("r").when(condition.clone())]);
                let config = RulesConfig::default().cache(mode);
                let compiled = CompiledRules::compile(set, config, Surroundings::UNKNOWN).unwrap();
                assert_eq!(decides(&compiled, &request, &RoutingContext::default()), expected, "{condition}");
            }
        }
    }
    // A header that is not ASCII, an empty one, a number where a text is compared.
    let agents = ["Zoë \u{1f980}", "", "\u{0}", "7"];
    let compiled = compile(RuleSet::new([
        rule("seven").when(Condition::UserAgent(vec!["7".parse().unwrap()])),
        rule("regex").when(Condition::UserAgent(vec![TextPattern::regex("^Zo.+$").unwrap()])),
        rule("glob").when(Condition::UserAgent(vec!["*".parse().unwrap()])),
    ]));
    let compiled = compiled.unwrap();
    let decided =
        agents.map(|agent| decides(&compiled, &request, &RoutingContext::default().with_user_agent(agent)));
    assert_eq!(decided.map(Option::unwrap), ["regex", "glob", "glob", "seven"]);
    // A wall clock before the epoch, and one at the end of time.
    let time =
        waypost_rules::TimeWindow::new("00:00".parse().unwrap(), "24:00".parse().unwrap(), "UTC").unwrap();
    let rules = compile(RuleSet::new([
        rule("ended").valid(Validity::ALWAYS.until(SystemTime::UNIX_EPOCH)),
        rule("window").when(Condition::Time(vec![time])),
    ]));
    let rules = rules.unwrap();
    let year = Duration::from_secs(365 * 86_400);
    let walls = [
        SystemTime::UNIX_EPOCH - year,
        SystemTime::UNIX_EPOCH + year * 10,
        SystemTime::UNIX_EPOCH + year * 200_000,
    ];
    let context = RoutingContext::default();
    let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
    let decided =
        walls.map(|wall| rules.evaluate(&decision.at_wall_time(wall)).rule().unwrap().id().to_string());
    assert_eq!(decided, ["ended", "window", "window"]);
}

#[test]
fn b59_rules_that_contradict_each_other_are_told_and_the_first_counts() {
    let reject = RoutingAction::Reject { reason: RejectionReason::InvalidRequest };
    let set = RuleSet::new([
        acting("to-a", RoutingAction::RouteToProvider(provider("a"))).when(tenant("acme")),
        acting("no", reject).when(tenant("acme")),
    ]);
    let shadowed =
        "rule `no`: can never decide: `to-a` comes first and matches every request that this one matches";
    assert_eq!(warnings(set.clone()), [shadowed, NO_DEFAULT]);
    let compiled = compile(set).unwrap();
    let context = RoutingContext::default().with_tenant("acme".parse().unwrap());
    let request = GatewayRequest::new("m").unwrap();
    assert_eq!(decides(&compiled, &request, &context).as_deref(), Some("to-a"));
    // Implicit default: requests that no rule decides go anywhere; saying so ends the warning.
    assert_eq!(decides(&compiled, &request, &RoutingContext::default()), None);
    assert!(warnings(RuleSet::new([rule("a").when(tenant("a")), rule("all")])).is_empty());
    assert!(
        warnings(RuleSet::new([rule("a").when(tenant("a"))]).default_route(RouteConfig::default()))
            .is_empty()
    );
    assert!(warnings(RuleSet::default()).is_empty());
}

#[test]
fn rules_that_no_request_reaches_are_told() {
    let model = |name: &str| Condition::Model(vec![name.parse().unwrap()]);
    let narrower = Condition::all([model("gpt-4o"), tenant("a"), Condition::Streaming(true)]);
    let set = |rules: Vec<Rule>| RuleSet::new(rules).default_route(RouteConfig::default());
    let shadowed = |by: &str| {
        format!(
            "rule `late`: can never decide: `{by}` comes first and matches every request that this one matches"
        )
    };
    let late = |condition: Condition| rule("late").when(condition);
    // Wildcards, lists, ranges and negations are compared as sets.
    let cases = [
        (model("gpt-*"), narrower.clone()),
        (Condition::any([tenant("a"), tenant("b")]), tenant("b")),
        (Condition::PromptTokens(Bounds::at_least(10)), Condition::PromptTokens(Bounds::between(20, 30))),
        (!tenant("a"), tenant("b")),
        (
            Condition::SourceIp(vec!["10.0.0.0/8".parse().unwrap()]),
            Condition::SourceIp(vec!["10.1.0.0/16".parse().unwrap()]),
        ),
        (Condition::always(), Condition::Custom(Arc::new(tenant("x")))),
    ];
    for (wide, narrow) in cases {
        assert_eq!(
            warnings(set(vec![rule("early").when(wide.clone()), late(narrow.clone())])),
            [shadowed("early")]
        );
        // Not where the earlier rule goes on, is disabled, is asked later, or holds only for a time.
        assert!(
            warnings(set(vec![rule("early").when(wide.clone()).and_continue(), late(narrow.clone())]))
                .is_empty()
        );
        assert!(
            warnings(set(vec![rule("early").when(wide.clone()).enabled(false), late(narrow.clone())]))
                .is_empty()
        );
        assert!(
            warnings(set(vec![rule("early").when(wide.clone()), late(narrow.clone()).priority(1)])).len()
                <= 1
        );
        let for_a_time = Validity::ALWAYS.from(SystemTime::UNIX_EPOCH);
        assert!(warnings(set(vec![rule("early").when(wide).valid(for_a_time), late(narrow)])).is_empty());
    }
    let regex = Condition::Model(vec![TextPattern::regex("^gpt-").unwrap()]);
    assert!(
        warnings(set(vec![rule("early").when(regex), late(model("gpt-4o"))])).is_empty(),
        "nobody can tell"
    );
    let never = Condition::all([tenant("a"), tenant("b")]);
    assert_eq!(
        warnings(set(vec![rule("never").when(never)])),
        ["rule `never`: no request can meet its conditions"]
    );
    let over =
        Validity::ALWAYS.from(SystemTime::UNIX_EPOCH + Duration::from_secs(5)).until(SystemTime::UNIX_EPOCH);
    assert_eq!(
        warnings(set(vec![rule("over").valid(over)]))[0],
        "rule `over`: its time ends before it begins"
    );
}

#[test]
fn actions_that_make_no_sense_are_told() {
    let reject = || RoutingAction::Reject { reason: RejectionReason::MaintenanceMode };
    let weighted = |name: &str, weight: i64| PoolMember {
        provider: provider(name),
        weight: Some(waypost_core::Weight::try_from(weight).unwrap()),
    };
    let errors = compile(RuleSet::new([
        acting("goes-on", reject()).and_continue(),
        acting("nobody", RoutingAction::RouteToPool(RouteConfig::default())),
        acting("weightless", RoutingAction::RouteToPool(RouteConfig::providers([weighted("a", 0)]))),
        acting("twice", RoutingAction::RouteToPool(RouteConfig::providers([provider("a"), provider("a")]))),
        rule("same"),
        rule("same"),
    ]));
    assert_eq!(
        errors.unwrap_err(),
        [
            "rule `same`: the id is there twice",
            "rule `goes-on`: a rule that continues cannot reject",
            "rule `nobody`: the pool is empty",
            "rule `weightless`: all members of the pool have weight 0",
            "rule `twice`: provider `a` is twice in the pool",
        ]
    );
    let both = RoutingAction::Chain(vec![
        RoutingAction::RouteToProvider(provider("a")),
        RoutingAction::Exclude(vec![provider("a")]),
    ]);
    assert_eq!(
        warnings(RuleSet::new([acting("both", both)])),
        ["rule `both`: routes to `a` and excludes it: nobody is left"]
    );
}

#[test]
fn names_are_checked_against_the_table() {
    let candidate = |name: &str| ProviderCandidate::openai(name, "gpt-4o").region("eu").build().unwrap();
    let table = RoutingTable::default().updated([
        RoutingTableUpdate::add(candidate("azure-eu")),
        RoutingTableUpdate::SetModelAlias {
            alias: "fast".parse().unwrap(),
            target: "gpt-4o".parse().unwrap(),
        },
        RoutingTableUpdate::SetTenant {
            tenant: "acme".parse().unwrap(),
            config: waypost_core::TenantRoutingConfig::default(),
        },
    ]);
    let table = table.unwrap();
    let rewrite = |id: &str, from: &str, to: &str| {
        acting(id, RoutingAction::RewriteModel(to.parse().unwrap()))
            .when(Condition::model(&from.parse().unwrap()))
    };
    let mirror = MirrorTarget { provider: provider("azure-uk"), model: None };
    let set = RuleSet::new([
        acting("provider", RoutingAction::RouteToProvider(provider("azure-uk"))).when(tenant("acne")),
        rewrite("model", "gpt-4", "gpt-40"),
        acting("mirror", RoutingAction::Mirror(mirror)).when(tenant("acme")).and_continue(),
        acting(
            "region",
            RoutingAction::RouteToPool(RouteConfig::default().within_regions(["us".parse().unwrap()])),
        )
        .when(tenant("acme")),
        rewrite("round", "gpt-4o", "fast"),
    ]);
    let set = set.default_route(RouteConfig::default());
    let findings = CompiledRules::lint(&set, Surroundings::default().table(&table));
    let (errors, warnings): (Vec<_>, Vec<_>) =
        findings.iter().partition(|finding| finding.severity == Severity::Error);
    let texts =
        |findings: Vec<&waypost_rules::Finding>| findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        texts(errors),
        [
            "rule `provider`: unknown provider `azure-uk`, did you mean `azure-eu`?",
            "rule `model`: unknown model `gpt-40`, did you mean `gpt-4o`?",
        ]
    );
    assert_eq!(
        texts(warnings),
        [
            "rule `provider`: the routing table has no tenant `acne`, did you mean `acme`?",
            "rule `model`: the routing table has no model `gpt-4`, did you mean `gpt-4o`?",
            "rule `mirror`: the routing table has no mirror `azure-uk`, did you mean `azure-eu`?",
            "rule `region`: no candidate of the routing table is in its pool",
            "rule `round`: rewriting goes round: fast → gpt-4o → fast",
        ]
    );
}

#[test]
fn rewriting_that_goes_round_is_told_and_goes_round_for_no_request() {
    let step = |id: &str, from: &str, to: &str| {
        acting(id, RoutingAction::RewriteModel(to.parse().unwrap()))
            .when(Condition::model(&from.parse().unwrap()))
            .and_continue()
    };
    let set = RuleSet::new([step("ab", "a", "b"), step("bc", "b", "c"), step("ca", "c", "a")]);
    let compiled = compile(set).unwrap();
    assert_eq!(
        compiled.warnings()[0].problem,
        RuleProblem::RewriteCycle(["a", "b", "c", "a"].map(|n| n.parse().unwrap()).into())
    );
    let (request, context) = (GatewayRequest::new("a").unwrap(), RoutingContext::default());
    let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
    let verdict = compiled.evaluate(&decision);
    let rules: Vec<_> = verdict.annotating().map(|rule| rule.id().as_str()).collect();
    assert_eq!((rules, verdict.model()), (vec!["ab", "bc", "ca"], Some(&ModelName::new("a").unwrap())));
}

#[test]
fn an_update_is_whole_or_nothing_and_counts_go_on() {
    let engine = waypost_rules::RoutingRulesEngine::default();
    engine.add_rule(rule("a").when(tenant("a"))).unwrap();
    engine.add_rule(rule("b")).unwrap();
    let request = GatewayRequest::new("m").unwrap();
    let ask = || decides(&engine.rules(), &request, &RoutingContext::default());
    assert_eq!(ask().as_deref(), Some("b"));
    let unknown: RuleId = "c".parse().unwrap();
    let refused = engine.update(
        [waypost_rules::RuleUpdate::Remove("b".parse().unwrap()), waypost_rules::RuleUpdate::Remove(unknown)],
        Surroundings::UNKNOWN,
    );
    assert_eq!(refused.unwrap_err().to_string(), "rule `c`: there is no such rule");
    engine.set_rule_enabled(&"b".parse().unwrap(), false).unwrap();
    assert_eq!(ask(), None);
    engine.set_rule_enabled(&"b".parse().unwrap(), true).unwrap();
    assert_eq!(ask().as_deref(), Some("b"));
    let priority = acting("b", RoutingAction::SetPriority(RequestPriority::Low)).priority(9);
    assert_eq!(engine.add_rule(priority), Ok(6));
    assert_eq!(engine.rules().rules()[0].id().as_str(), "b");
    let metrics = engine.metrics();
    assert_eq!((metrics.rule_matches[1].1, metrics.unmatched, metrics.rule_evaluations), (2, 1, 3));
    engine.remove_rule(&"b".parse().unwrap()).unwrap();
    assert_eq!(engine.metrics().rule_matches.len(), 1);
}

#[test]
fn a_stable_share_is_stable_grows_and_is_as_large_as_it_says() {
    use waypost_rules::{Percent, Sample, SampleKey};
    let share = |percent: f64, salt: &str| Sample {
        by: SampleKey::User,
        percent: Percent::new(percent).unwrap(),
        salt: Some(salt.into()),
    };
    let request = GatewayRequest::new("m").unwrap();
    let contexts: Vec<_> = (0..20_000)
        .map(|n| RoutingContext::default().with_user(format!("user-{n}").parse().unwrap()))
        .collect();
    let inside = |sample: &Sample| -> Vec<bool> {
        let decision =
            |context| DecisionContext::new(&request, context, None, Timestamp::ORIGIN, TokenUsage::default());
        contexts.iter().map(|context| sample.contains(&decision(context))).collect()
    };
    let (five, ten, other) = (inside(&share(5.0, "x")), inside(&share(10.0, "x")), inside(&share(5.0, "y")));
    assert_eq!(five, inside(&share(5.0, "x")));
    assert!(five.iter().zip(&ten).all(|(five, ten)| !five || *ten), "who was in stays in");
    // 20,000 users at 5 %: 1,000 with sigma 31. A share that is off by a sixth, 5.8 %, is 5 sigma away.
    let count = |inside: &[bool]| inside.iter().filter(|inside| **inside).count();
    for sample in [&five, &other] {
        assert!(count(sample).abs_diff(1_000) < 155, "{}", count(sample));
    }
    // Two salts draw independently: both at once is 5 % of 5 %, 50 with sigma 7.
    let both = five.iter().zip(&other).filter(|(a, b)| **a && **b).count();
    assert!(both.abs_diff(50) < 36, "{both}");
    assert_eq!((count(&inside(&share(0.0, "x"))), count(&inside(&share(100.0, "x")))), (0, 20_000));
    // The places are promised: a gateway of another version must draw the same.
    let first: Vec<_> = (0..40).filter(|&n| ten[n]).collect();
    assert_eq!(first, [20, 24, 29, 35]);
}

#[test]
fn a_rule_behind_a_change_of_the_request_is_not_taken_for_shadowed() {
    let low = || Condition::Priority(RequestPriority::Low.into());
    let demote = |continues: bool| {
        let mut rule = acting("demote", RoutingAction::SetPriority(RequestPriority::Low)).when(tenant("a"));
        rule.continues = continues;
        rule
    };
    let set = |middle: Rule| {
        RuleSet::new([rule("early").when(low()), middle, rule("late").when(low())])
            .default_route(RouteConfig::default())
    };
    assert!(warnings(set(demote(true))).is_empty());
    let context = RoutingContext::default().with_tenant("a".parse().unwrap());
    let request = GatewayRequest::new("m").unwrap();
    assert_eq!(decides(&compile(set(demote(true))).unwrap(), &request, &context).as_deref(), Some("late"));
    assert_eq!(warnings(set(demote(false))).len(), 1);
}

#[test]
fn conditions_that_ask_for_nothing_are_contradictions() {
    let window = |days: Vec<waypost_rules::Weekday>| {
        waypost_rules::TimeWindow::new("00:00".parse().unwrap(), "12:00".parse().unwrap(), "UTC")
            .unwrap()
            .on(days)
    };
    let nothing = [
        Condition::Tag([].into_iter().collect()),
        Condition::Any(Vec::new()),
        Condition::Time(vec![window(Vec::new())]),
        !Condition::always(),
    ];
    for condition in nothing {
        let set = RuleSet::new([rule("r").when(condition.clone())]).default_route(RouteConfig::default());
        assert_eq!(warnings(set), ["rule `r`: no request can meet its conditions"], "{condition}");
    }
}

#[test]
fn who_removes_a_provider_need_not_mend_the_rules_first() {
    let candidate =
        |name: &str| RoutingTableUpdate::add(ProviderCandidate::openai(name, "m").build().unwrap());
    let both = RoutingTable::default().updated([candidate("a"), candidate("b")]).unwrap();
    let one = RoutingTable::default().updated([candidate("a")]).unwrap();
    let to_b = || acting("to-b", RoutingAction::RouteToProvider(provider("b")));
    let before = CompiledRules::compile(
        RuleSet::new([to_b().when(tenant("x"))]),
        RulesConfig::default(),
        Surroundings::default().table(&both),
    );
    let after = before.unwrap().updated(
        [waypost_rules::RuleUpdate::put(acting("to-a", RoutingAction::RouteToProvider(provider("a"))))],
        Surroundings::default().table(&one),
    );
    let after = after.unwrap();
    assert_eq!(after.warnings()[0].to_string(), "rule `to-b`: unknown provider `b`");
    // A rule that is new or changed must name what there is; a disabled one need not.
    let refused = |rule: Rule| {
        after.updated([waypost_rules::RuleUpdate::put(rule)], Surroundings::default().table(&one))
    };
    assert!(refused(to_b()).is_err());
    let disabled = refused(to_b().enabled(false)).unwrap();
    let enable = waypost_rules::RuleUpdate::SetEnabled { rule: "to-b".parse().unwrap(), enabled: true };
    assert!(disabled.updated([enable], Surroundings::default().table(&one)).is_err(), "not by the back door");
    // The default route too.
    let route = RouteConfig::providers([provider("a"), provider("b")]);
    let set = RuleSet::default().default_route(route);
    let before =
        CompiledRules::compile(set, RulesConfig::default(), Surroundings::default().table(&both)).unwrap();
    let put = waypost_rules::RuleUpdate::put(rule("r"));
    assert!(before.updated([put], Surroundings::default().table(&one)).is_ok());
}

#[test]
fn bounds_hold_whatever_is_asked_for() {
    let config: RulesConfig = RulesConfig::default().cache(CacheMode::Always).entries(usize::MAX);
    assert!(CompiledRules::compile(RuleSet::new([rule("r")]), config, Surroundings::UNKNOWN).is_ok());
    let weighted = |n: i64| {
        let member = |name: &str, weight: i64| PoolMember {
            provider: provider(name),
            weight: Some(waypost_core::Weight::try_from(weight).unwrap()),
        };
        acting(
            &format!("r{n}"),
            RoutingAction::RouteToPool(RouteConfig::providers([member("a", n), member("b", 1)])),
        )
    };
    let refused = compile(RuleSet::new((1..=65).map(weighted))).unwrap_err();
    assert_eq!(refused, ["65 different weights of pools are more than 64"]);
    assert!(
        compile(RuleSet::new(
            (1..=65).map(|n| weighted(n % 64 + 1).when(tenant(&format!("t{n}")))).enumerate().map(
                |(place, mut rule)| {
                    rule.id = format!("rule-{place}").parse().unwrap();
                    rule
                }
            )
        ))
        .is_ok()
    );
    let mut limits = RuleLimits::default();
    limits.max_depth = usize::MAX;
    let nested = (0..100).fold(tenant("a"), |inner, _| Condition::Not(Box::new(inner)));
    let refused = compile(RuleSet::new([rule("deep").when(nested)]).limits(limits)).unwrap_err();
    assert_eq!(refused, ["rule `deep`: conditions and actions may be nested at most 64 deep"]);
}

#[test]
fn tests_of_rules_say_what_the_decision_says() {
    use waypost_rules::{Expectation, RuleTest, RuleTests};
    let tag = |id: &str| {
        let actions =
            vec![RoutingAction::AddTag("x".parse().unwrap()), RoutingAction::AddTag("x".parse().unwrap())];
        acting(id, RoutingAction::Chain(actions)).and_continue()
    };
    let random = acting("random", RoutingAction::ApplyStrategy("random".parse().unwrap())).and_continue();
    let default = RouteConfig::default().by("least_latency".parse().unwrap());
    let compiled = compile(RuleSet::new([tag("one"), tag("two"), random]).default_route(default)).unwrap();
    let mut expect = Expectation::default();
    expect.tags = Some(vec!["x".parse().unwrap()]);
    expect.strategy = Some("random".parse().unwrap());
    let mut tests = RuleTests::default();
    tests.tests.push(RuleTest::new(GatewayRequest::new("m").unwrap(), expect));
    let report = compiled.test(&tests);
    assert!(report.passed(), "{report}");
    tests.tests[0].expect.strategy = Some("adaptive".parse().unwrap());
    assert_eq!(
        compiled.test(&tests).to_string(),
        "failed test 1\n       strategy: expected `adaptive`, found `random`\n"
    );
}
