//! Documents, good and bad, in all formats.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::{
    Condition, ExpectedRule, FormErrors, PrintError, RoutingAction, Rule, RuleSet, RuleTests, TextPattern,
    arbitrary,
};

const TOML: &str = r#"
[[rules]]
id = "eu-only"
description = "acme's requests stay in the EU"
priority = 100
valid = { from = "2026-12-01T00:00:00Z", until = 2027-01-01T00:00:00+01:00 }
when = { tenant = "acme", region = "eu", metadata = { env = "prod", department = ["legal", { regex = "^hr-" }] } }
then = { pool = ["azure-eu", { provider = "vertex-eu", weight = 3 }], strategy = "least-latency" }

[[rules]]
id = "night-is-cheap"
continue = true
when = { all = [
    { time = { from = "22:00", to = "06:00", days = ["mon", "fri"], zone = "Europe/Berlin" } },
    { not = { priority = ">= high" } },
] }
then = [{ strategy = "cost-optimized" }, { add_tag = ["cheap", "night"] }]

[default_route]
providers = ["a", { provider = "b", weight = 3 }]
regions = ["eu"]
tags = ["zdr"]
strategy = "round_robin"

[limits]
max_rules = 100
"#;

const YAML: &str = r#"
rules:
- id: eu-only
  description: acme's requests stay in the EU
  priority: 100
  valid: {from: 2026-12-01T00:00:00Z, until: "2027-01-01T00:00:00+01:00"}
  when:
    region: eu
    tenant: [acme]
    metadata: {department: [legal, {regex: ^hr-}], env: prod}
  then:
    strategy: least_latency
    pool: [azure-eu, {provider: vertex-eu, weight: 3}]
- id: night-is-cheap
  continue: true
  enabled: ~
  when:
    all:
    - time: {from: 22:00, to: 06:00, days: [fri, mon], zone: Europe/Berlin}
    - not: {priority: [high, critical]}
  then:
  - strategy: cost_optimized
  - add_tag: [cheap, night]
default_route:
  providers: [a, {provider: b, weight: 3}]
  regions: [eu]
  tags: zdr
  strategy: round_robin
limits: {max_rules: 100}
"#;

fn problems<T: core::fmt::Debug>(read: Result<T, FormErrors>) -> Vec<String> {
    read.expect_err("something is wrong").problems().iter().map(ToString::to_string).collect()
}

fn toml(text: &str) -> Vec<String> {
    problems(RuleSet::from_toml(text))
}

/// What is wrong with one condition.
fn when(condition: &str) -> Vec<String> {
    toml(&format!("[[rules]]\nid = 'r'\nthen = {{}}\nwhen = {condition}"))
}

/// What is wrong with one action.
fn then(action: &str) -> Vec<String> {
    toml(&format!("[[rules]]\nid = 'r'\nthen = {action}"))
}

#[test]
fn toml_yaml_and_json_say_the_same() {
    let rules = RuleSet::from_toml(TOML).unwrap();
    assert_eq!(RuleSet::from_yaml(YAML).unwrap(), rules);
    let json = serde_json::to_string(&rules).unwrap();
    assert_eq!(serde_json::from_str::<RuleSet>(&json).unwrap(), rules);
    assert_eq!(
        rules.rules[0].to_string(),
        "when the tenant is acme and the caller's region is eu and the metadata `department` is legal or /^hr-/ and \
         the metadata `env` is prod, use azure-eu or vertex-eu (weight 3), choose by least_latency",
    );
    assert_eq!(
        rules.rules[1].to_string(),
        "when it is 22:00 to 06:00 on mon, fri (Europe/Berlin) and the priority is not at least high, choose by \
         cost_optimized, add the tag cheap, add the tag night, and go on",
    );
    assert_eq!(rules.default_route.unwrap().to_string(), "a or b (weight 3) in eu tagged zdr by round_robin");
    assert_eq!((rules.limits.max_rules, rules.limits.max_depth), (100, 16));
}

#[test]
fn nothing_is_no_rules() {
    for text in ["", "# only a comment\n", "rules = []"] {
        assert_eq!(RuleSet::from_toml(text).unwrap(), RuleSet::default());
    }
    for text in ["", "# only a comment\n", "{}", "rules:\n"] {
        assert_eq!(RuleSet::from_yaml(text).unwrap(), RuleSet::default());
    }
}

#[test]
fn all_that_is_wrong_is_told_with_its_place_and_its_rule() {
    let wrong = r#"
        [[rules]]
        id = "first"
        wen = { tenant = "acme" }
        priority = -1
        then = { pool = [{ provider = "a", wieght = 3 }], strategy = "two words" }
        [[rules]]
        id = "has blank"
        when = { any = [{}, { time = { from = "25:00", to = "06:00", zone = "Europe/Bärlin" } }], model = { regex = "gpt-(" } }
        [[rules]]
        then = { reject = "maintenance" }
        [default_route]
        regions = [7]
    "#;
    let expected = [
        "rules[0] (`first`): unknown field `wen`, did you mean `when`?",
        "rules[0] (`first`).priority: -1 is not in 0 to 4294967295",
        "rules[0] (`first`).then.pool[0]: unknown field `wieght`, did you mean `weight`?",
        "rules[0] (`first`).then.strategy: strategy name has the character ' ' at byte 3",
        "rules[1] (`has blank`): the field `then` is missing",
        "rules[1] (`has blank`).id: rule id has the character ' ' at byte 3",
        "rules[1] (`has blank`).when.model.regex: not a regular expression: unclosed group",
        "rules[1] (`has blank`).when.any[1].time.from: `25:00` is not a time of day from `00:00` to `24:00`",
        "rules[1] (`has blank`).when.any[1].time.zone: `Europe/Bärlin` is not a time zone such as `Europe/Berlin`",
        "rules[2]: the field `id` is missing",
        "rules[2].then.reject: unknown reason `maintenance`, did you mean `maintenance_mode`?",
        "default_route.regions[0]: expected text, found a whole number",
    ];
    assert_eq!(toml(wrong), expected);
    let json = serde_json::from_str::<RuleSet>(r#"{ "rules": [{ "id": "x" }, 3] }"#).unwrap_err().to_string();
    assert!(
        json.starts_with("rules[0] (`x`): the field `then` is missing\nrules[1]: expected a table"),
        "{json}"
    );
}

#[test]
fn b02_words_that_are_near_nothing_are_told_with_what_is_known() {
    assert_eq!(
        when("{ tennant = 'a' }"),
        ["rules[0] (`r`).when: unknown field `tennant`, did you mean `tenant`?"]
    );
    let [problem] = &then("{ set_priority = 'qqq' }")[..] else { panic!("one problem") };
    assert!(
        problem.ends_with("unknown priority `qqq`; known are `low`, `normal`, `high`, `critical`"),
        "{problem}"
    );
    let [problem] = &when(&format!("{{ '{}\\u001b' = 1 }}", "x".repeat(10_000)).replace('\'', "\""))[..]
    else {
        panic!("one problem")
    };
    assert!(problem.len() < 600 && problem.contains(&format!("`{}…`", "x".repeat(64))), "{problem}");
}

#[test]
fn b03_keys_that_are_there_twice_are_refused() {
    assert!(toml("rules = []\nrules = []")[0].contains("duplicate key"));
    let twice = "the field `tenant` is there more than once";
    let yaml = "rules: [{id: r, then: {}, when: {tenant: a, tenant: b}, x: 1}]";
    assert_eq!(
        problems(RuleSet::from_yaml(yaml)),
        [
            "rules[0] (`r`): unknown field `x`; known are `id`, `description`, `priority`, `enabled`, `valid`, `continue`, `when`, `then`".to_owned(),
            format!("rules[0] (`r`).when: {twice}"),
        ],
    );
    let json =
        r#"{"rules":[{"id":"r","then":{},"when":{"metadata":{"k":"a","k":"b"},"tenant":"a","tenant":"a"}}]}"#;
    let told = serde_json::from_str::<RuleSet>(json).unwrap_err().to_string();
    assert!(
        told.contains(twice) && told.contains("when.metadata: the field `k` is there more than once"),
        "{told}"
    );
}

#[test]
fn b06_numbers_are_neither_wrapped_nor_guessed() {
    for wrong in
        ["9223372036854775808", "18446744073709551616", "-1", "1001", "1.5", "'10'", "nan", "inf", "true"]
    {
        let problems = then(&format!("{{ pool = [{{ provider = 'a', weight = {wrong} }}] }}"));
        assert!(problems.len() == 1 && problems[0].contains("].weight: "), "{wrong}: {problems:?}");
    }
    for wrong in
        ["-1", "1.5", "'10'", "'>= -1'", "'< 0'", "'> 18446744073709551615'", "'>='", "'>= 1e3'", "'=> 5'"]
    {
        assert_eq!(when(&format!("{{ prompt_tokens = {wrong} }}")).len(), 1, "{wrong}");
    }
    for wrong in ["-0.5", "100.5", "nan", "inf", "'5'", "101"] {
        let problems = when(&format!("{{ sample = {{ by = 'user', percent = {wrong} }} }}"));
        assert_eq!(problems.len(), 1, "{wrong}: {problems:?}");
    }
}

#[test]
fn wrong_types_are_told_and_never_guessed() {
    for wrong in [
        "[]",
        "{ model = 4 }",
        "{ model = {} }",
        "{ model = { regex = 'x', exact = 'y' } }",
        "{ model = '' }",
        "{ all = { tenant = 'a' } }",
        "{ any = ['a'] }",
        "{ not = [] }",
        "{ streaming = 'true' }",
        "{ priority = '> critical' }",
        "{ priority = '>= urgent' }",
        "{ source_ip = '10.0.0.0/33' }",
        "{ sample = { by = 'usr', percent = 5 } }",
        "{ metadata = ['department'] }",
        "{ metadata = { 'two words' = 'x' } }",
        "{ time = { from = '22:00' } }",
        "{ time = { from = '22:00', to = '23:00', days = ['monday'] } }",
    ] {
        assert_eq!(when(wrong).len(), 1, "{wrong}: {:?}", when(wrong));
    }
    for wrong in [
        "'reject'",
        "[[{}]]",
        "{ reject = { reason = 'x', message = 'y' } }",
        "{ pool = 'a' }",
        "{ mirror = [] }",
    ] {
        assert_eq!(then(wrong).len(), 1, "{wrong}: {:?}", then(wrong));
    }
    let yaml = "rules: [{id: 7, enabled: yes, valid: {from: 2026-12-01}, then: {}}]";
    assert_eq!(
        problems(RuleSet::from_yaml(yaml)),
        [
            "rules[0].id: expected text, found a whole number",
            "rules[0].enabled: expected true or false, found text",
            "rules[0].valid.from: `2026-12-01` is not a time with an offset such as `2026-12-01T00:00:00Z`",
        ],
    );
}

#[test]
fn errors_of_the_text_say_where() {
    assert!(toml("[[rules]]\nid = ")[0].contains("line 2, column"), "{:?}", toml("[[rules]]\nid = "));
    let yaml = problems(RuleSet::from_yaml("rules: [\n"));
    assert!(yaml[0].contains("line"), "{yaml:?}");
    assert_eq!(RuleSet::from_toml("x = [").unwrap_err().problems()[0].path(), "");
}

#[test]
fn b09_what_is_too_deep_or_too_large_is_refused() {
    let nested = |times: usize| {
        format!("rules: [{{id: r, then: {{}}, when: {}{{}}{}}}]", "{not: ".repeat(times), "}".repeat(times))
    };
    assert!(RuleSet::from_yaml(&nested(58)).is_ok());
    for times in [64, 10_000] {
        problems(RuleSet::from_yaml(&nested(times)));
        let toml = format!("x = {}{}", "[".repeat(times), "]".repeat(times));
        problems(RuleSet::from_toml(&toml));
    }
    let json = format!("{}{}", "[".repeat(70), "]".repeat(70));
    assert!(serde_json::from_str::<RuleSet>(&json).unwrap_err().to_string().contains("deeper than 64"));
    let large = "#".repeat(16 * 1_024 * 1_024 + 1);
    assert_eq!(toml(&large), ["the text has 16777217 bytes, more than 16777216"]);
    assert_eq!(problems(RuleSet::from_yaml(&large)).len(), 1);
}

#[test]
fn b09_an_alias_bomb_is_refused() {
    let levels = (1..12).map(|level| {
        let below = format!("*a{}", level - 1);
        format!("a{level}: &a{level} [{}]\n", [below.as_str(); 10].join(", "))
    });
    let bomb = format!("a0: &a0 [lol]\n{}", levels.collect::<String>());
    let problems = problems(RuleSet::from_yaml(&bomb));
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn of_very_many_problems_a_hundred_are_told() {
    let many = (0..200).map(|number| format!("x{number} = 1")).collect::<Vec<_>>().join("\n");
    let errors = RuleSet::from_toml(&many).unwrap_err();
    assert_eq!(errors.problems().len(), 100);
    assert!(errors.to_string().ends_with("\nand 100 more"));
}

#[test]
fn b60_code_is_plain_text() {
    for code in
        ["{{ x }}", "${HOME}", "__class__", "exec('ls')", "!!python/object:os.system", "$(id)", "`id`"]
    {
        let rule = json!({ "id": "r", "description": code, "when": { "user": code, "metadata": { "k": { "exact": code } } }, "then": { "reject": { "message": code } } });
        let rules: RuleSet = serde_json::from_value(json!({ "rules": [rule] })).unwrap();
        for rules in
            [RuleSet::from_toml(&rules.to_toml().unwrap()), RuleSet::from_yaml(&rules.to_yaml().unwrap())]
        {
            let rule = &rules.unwrap().rules[0];
            assert_eq!(rule.description.as_deref(), Some(code));
            assert!(matches!(&rule.condition, Condition::All(parts) if parts.len() == 2));
            assert_eq!(rule.action.to_string(), format!("reject: {code}"));
        }
    }
    let yaml = RuleSet::from_yaml("rules: [{id: r, description: '${HOME}', then: {}}]").unwrap();
    assert_eq!(yaml.rules[0].description.as_deref(), Some("${HOME}"));
}

#[test]
fn what_only_code_can_say_is_not_written() {
    let rule = |condition, action| Rule::new("r".parse().unwrap(), action).when(condition);
    let nothing = || RoutingAction::Chain(Vec::new());
    let own = RuleSet::new([rule(!Condition::custom(Condition::always()), nothing())]);
    assert!(matches!(own.to_toml(), Err(PrintError::CustomCondition { .. })));
    assert!(serde_json::to_string(&own).unwrap_err().to_string().contains("cannot be written"));

    let shadow = waypost_core::LoadBalancingStrategy::Custom("random".parse().unwrap());
    let shadow = RuleSet::new([rule(Condition::always(), RoutingAction::ApplyStrategy(shadow))]);
    assert!(matches!(shadow.to_yaml(), Err(PrintError::ShadowedStrategy { .. })));

    let deep = (0..70).fold(Condition::Streaming(true), |part, _| Condition::Not(Box::new(part)));
    assert_eq!(RuleSet::new([rule(deep, nothing())]).to_yaml(), Err(PrintError::TooDeep));
}

#[test]
fn conditions_print_as_short_as_they_read_back_the_same() {
    let prints = |condition: Condition, expected: Json| {
        let rule = Rule::new("r".parse().unwrap(), RoutingAction::Chain(Vec::new())).when(condition);
        let printed = serde_json::to_value(RuleSet::new([rule.clone()])).unwrap();
        assert_eq!(printed["rules"][0].get("when").cloned().unwrap_or(json!({})), expected);
        assert_eq!(serde_json::from_value::<RuleSet>(printed).unwrap().rules[0], rule);
    };
    let tenant = |name: &str| Condition::Tenant(waypost_core::TenantId::new(name).unwrap().into());
    let streaming = || Condition::Streaming(true);
    prints(Condition::always(), json!({}));
    prints(Condition::all([tenant("a"), streaming()]), json!({ "tenant": "a", "streaming": true }));
    prints(
        Condition::all([streaming(), tenant("a")]),
        json!({ "all": [{ "streaming": true }, { "tenant": "a" }] }),
    );
    prints(
        Condition::all([tenant("a"), tenant("b")]),
        json!({ "all": [{ "tenant": "a" }, { "tenant": "b" }] }),
    );
    prints(Condition::all([tenant("a")]), json!({ "all": [{ "tenant": "a" }] }));
    prints(Condition::all([Condition::always()]), json!({ "all": [{}] }));
    prints(Condition::any([]), json!({ "any": [] }));
    prints(
        Condition::Not(Box::new(Condition::Not(Box::new(streaming())))),
        json!({ "not": { "not": { "streaming": true } } }),
    );
    prints(Condition::Model(vec![TextPattern::exact("a*").unwrap()]), json!({ "model": { "exact": "a*" } }));
    prints(Condition::Tenant([].into_iter().collect()), json!({ "tenant": [] }));
}

#[test]
fn tests_are_read_with_all_that_is_known_of_a_request() {
    let toml = r#"
        [[tests]]
        name = "acme stays in the EU"
        at = "2026-11-27T23:30:00+01:00"
        request = { model = "gpt-4o", tenant = "acme", user = "u", organization = "o", session = "s", region = "eu", zone = "z", priority = "high", tags = ["zdr"], features = ["beta"], capabilities = ["vision"], streaming = true, prompt_tokens = 12400, metadata = { department = "legal" }, user_agent = "curl", source_ip = "192.0.2.1", attempt = 1, request_id = "i", api_key_hash = "h" }
        expect = { rule = "eu-only", continued = ["annotate"], strategy = "least_latency", providers = ["azure-eu", "vertex-eu"], excluded = [], priority = "high", model = "gpt-4o-mini", tags = ["x"], mirrors = ["vllm-shadow"], reject = "maintenance_mode" }
        [[tests]]
        request = { model = "gpt-4o" }
        expect = { rule = false }
    "#;
    let tests = RuleTests::from_toml(toml).unwrap().tests;
    let (first, second) = (&tests[0], &tests[1]);
    assert_eq!(first.context.tenant_id.as_ref().unwrap(), "acme");
    assert!(first.context.feature("beta") && first.request.stream && first.context.source_ip.is_some());
    assert_eq!((first.prompt_tokens.0, first.context.attempt_number), (12_400, 1));
    assert_eq!(first.expect.excluded, Some(Vec::new()));
    assert_eq!(first.expect.mirrors.as_ref().unwrap()[0].to_string(), "vllm-shadow");
    assert_eq!((&second.expect.rule, &second.expect.excluded), (&Some(ExpectedRule::Nothing), &None));

    let yaml = "tests: [{name: empty, request: {tenant: a, source_ip: x}, expect: {rule: true, reject: no}}]";
    let [missing, ip, rule, reject] = &problems(RuleTests::from_yaml(yaml))[..] else {
        panic!("four problems")
    };
    assert_eq!(missing, "tests[0] (`empty`).request: the field `model` is missing");
    assert!(
        ip.starts_with("tests[0] (`empty`).request.source_ip: ") && reject.contains("unknown reason `no`")
    );
    assert!(
        rule.ends_with(".rule: expected the id of a rule, or `false` for none, found true or false"),
        "{rule}"
    );
}

#[cfg(feature = "toml")]
#[test]
fn patterns_that_are_compiled_while_reading_are_few() {
    let many = |distinct: usize| {
        let patterns: Vec<_> = (0..60_000).map(|n| format!("\"a?{}\"", n % distinct)).collect();
        format!("[[rules]]\nid = \"r\"\nwhen = {{ user_agent = [{}] }}\nthen = {{}}", patterns.join(","))
    };
    assert!(RuleSet::from_toml(&many(1_000)).is_ok(), "each is compiled once");
    let refused = RuleSet::from_toml(&many(60_000)).unwrap_err();
    assert!(refused.to_string().contains("more than 1024 different patterns"), "{refused}");
}

#[cfg(feature = "toml")]
#[test]
fn a_test_that_expects_nothing_is_refused() {
    let tests = RuleTests::from_toml("[[tests]]\nrequest = { model = \"m\" }\nexpect = {}");
    assert!(tests.unwrap_err().to_string().contains("nothing is expected"));
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same(rules in arbitrary::rule_set()) {
        let toml = rules.to_toml().unwrap();
        prop_assert_eq!(RuleSet::from_toml(&toml).unwrap(), rules.clone(), "{}", toml);
        let yaml = rules.to_yaml().unwrap();
        prop_assert_eq!(RuleSet::from_yaml(&yaml).unwrap(), rules.clone(), "{}", yaml);
        let json = serde_json::to_string(&rules).unwrap();
        prop_assert_eq!(serde_json::from_str::<RuleSet>(&json).unwrap(), rules.clone(), "{}", json);
        #[cfg(feature = "schemars")]
        schema::check(&serde_json::to_value(&rules).unwrap());
    }

    #[test]
    fn no_text_panics(text in r"(rules|when|then|id|not|all|\[|\]|\{|\}|=|:|,|'|\n| |-|&a|\*a|7|x){0,40}") {
        let _ = RuleSet::from_toml(&text);
        let _ = RuleSet::from_yaml(&text);
    }
}

#[cfg(feature = "schemars")]
mod schema {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use super::*;

    static SCHEMA: LazyLock<Json> = LazyLock::new(RuleSet::json_schema);

    /// A document with every field of every table.
    fn every_field() -> Json {
        let window = json!({ "from": "22:00", "to": "06:00", "days": ["mon"], "zone": "Europe/Berlin" });
        let condition = json!({
            "model": [{ "regex": "^gpt-" }, { "exact": "a*" }], "tenant": "a", "user": "u", "organization": "o",
            "region": "eu", "zone": "z", "priority": "<= high", "tag": "t", "time": window, "feature": "f",
            "capability": ["vision"], "streaming": true, "prompt_tokens": { "min": 1, "max": 2 },
            "metadata": { "department": "legal" }, "user_agent": "curl*", "source_ip": "10.0.0.0/8", "attempt": 0,
            "sample": { "by": { "metadata": "k" }, "percent": 2.5, "salt": "s" }, "any": [{}], "all": [], "not": {},
        });
        let route = json!({
            "providers": ["a", { "provider": "b", "weight": 3 }], "regions": ["eu"], "tags": ["zdr"],
            "strategy": "random",
        });
        let action = json!({
            "rewrite_model": "m", "pool": route, "provider": "p", "exclude": ["q"], "strategy": "mine",
            "set_priority": "low", "add_tag": ["x", "y"], "mirror": { "provider": "p", "model": "m" },
            "reject": { "message": "no" }, "chain": [],
        });
        let valid = json!({ "from": "2026-12-01T00:00:00Z", "until": "2027-12-01T00:00:00Z" });
        let rule = json!({
            "id": "r", "description": "d", "priority": 1, "enabled": false, "valid": valid, "continue": true,
            "when": condition, "then": action,
        });
        let limits = json!({
            "max_rules": 1, "max_conditions": 1, "max_depth": 1, "max_listed": 1, "max_actions": 1, "max_regexes": 1,
        });
        json!({ "rules": [rule], "default_route": route, "limits": limits })
    }

    /// The table that a definition describes, as it stands in [`every_field`].
    fn tables() -> [(&'static str, &'static str); 12] {
        [
            ("", ""),
            ("/$defs/Rule", "/rules/0"),
            ("/$defs/RuleLimits", "/limits"),
            ("/$defs/RuleRoute", "/default_route"),
            ("/$defs/RulePoolMember", "/default_route/providers/1"),
            ("/$defs/RuleCondition", "/rules/0/when"),
            ("/$defs/RuleTimeWindow", "/rules/0/when/time"),
            ("/$defs/RuleBounds", "/rules/0/when/prompt_tokens"),
            ("/$defs/RuleSample", "/rules/0/when/sample"),
            ("/$defs/RuleValidity", "/rules/0/valid"),
            ("/$defs/RuleAction", "/rules/0/then"),
            ("/$defs/RuleMirror", "/rules/0/then/mirror"),
        ]
    }

    fn keys(table: &Json) -> BTreeSet<String> {
        table.as_object().expect("a table is an object").keys().cloned().collect()
    }

    #[test]
    fn the_schema_has_the_fields_that_are_read() {
        let document = every_field();
        check(&document);
        let rules: RuleSet = serde_json::from_value(document.clone()).unwrap();
        check(&serde_json::to_value(&rules).unwrap());
        for (definition, place) in tables() {
            let (definition, table) = (SCHEMA.pointer(definition).unwrap(), document.pointer(place).unwrap());
            assert_eq!(keys(&definition["properties"]), keys(table), "{place}");
            for key in keys(table) {
                let mut wrong = document.clone();
                wrong.pointer_mut(place).unwrap()[&key] = json!([[[7]]]);
                let told = serde_json::from_value::<RuleSet>(wrong.clone()).unwrap_err().to_string();
                assert!(told.contains(&key), "{place}/{key}: {told}");
                assert!(!is_valid(&wrong, &SCHEMA), "{place}/{key}");
            }
        }
    }

    #[test]
    fn every_definition_is_closed_and_documented() {
        for schema in [RuleSet::json_schema(), RuleTests::json_schema()] {
            for (name, definition) in schema["$defs"].as_object().unwrap() {
                assert_eq!(definition["additionalProperties"], json!(false), "{name}");
                let fields = definition["properties"].as_object().unwrap();
                assert!(fields.values().all(|field| field["description"].is_string()), "{name}");
            }
        }
    }

    pub(super) fn check(document: &Json) {
        assert!(is_valid(document, &SCHEMA), "{document:#}");
    }

    /// As much of JSON Schema as the schema uses.
    fn is_valid(value: &Json, schema: &Json) -> bool {
        if let Some(reference) = schema["$ref"].as_str() {
            return is_valid(value, SCHEMA.pointer(&reference[1..]).expect("what is referred to is defined"));
        }
        let any =
            schema["anyOf"].as_array().is_none_or(|any| any.iter().any(|schema| is_valid(value, schema)));
        let listed = schema["enum"].as_array().is_none_or(|words| words.contains(value));
        let number = value.as_f64().unwrap_or(0.0);
        let small = schema["maximum"].as_f64().is_none_or(|max| number <= max);
        let great = schema["minimum"].as_f64().is_none_or(|min| number >= min);
        any && listed && small && great && is_of_type(value, schema)
    }

    fn is_of_type(value: &Json, schema: &Json) -> bool {
        match schema["type"].as_str() {
            None => true,
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_u64(),
            Some("number") => value.is_number(),
            Some("array") => value
                .as_array()
                .is_some_and(|items| items.iter().all(|item| is_valid(item, &schema["items"]))),
            Some("object") => value.as_object().is_some_and(|fields| {
                let other = &schema["additionalProperties"];
                let known = |key: &str| schema["properties"].get(key).unwrap_or(other);
                let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
                required.into_iter().all(|name| fields.contains_key(name))
                    && fields
                        .iter()
                        .all(|(key, value)| *known(key) != json!(false) && is_valid(value, known(key)))
            }),
            Some(other) => panic!("the schema has no type {other}"),
        }
    }
}
