//! The worked example: `examples/worked/rules.toml` does what `examples/worked/tests.toml` says.
#![cfg(feature = "toml")]

use std::collections::BTreeSet;

use waypost_core::{
    CandidateBuilder, DecisionContext, LoadBalancingStrategy, ProviderCandidate, RoutingTable,
    RoutingTableUpdate, TenantRoutingConfig, Timestamp, TokenUsage, Tokens,
};
use waypost_rules::{
    CompiledRule, CompiledRules, ExpectedRule, RuleSet, RuleTests, RulesConfig, Severity, Surroundings,
};

const RULES: &str = include_str!("../../examples/worked/rules.toml");
const TESTS: &str = include_str!("../../examples/worked/tests.toml");

fn rules() -> RuleSet {
    RuleSet::from_toml(RULES).unwrap()
}

fn tests() -> RuleTests {
    RuleTests::from_toml(TESTS).unwrap()
}

/// What the rules name is there.
fn table() -> RoutingTable {
    let add = |candidate: CandidateBuilder| RoutingTableUpdate::add(candidate.build().unwrap());
    let known = |tenant: &str| RoutingTableUpdate::SetTenant {
        tenant: tenant.parse().unwrap(),
        config: TenantRoutingConfig::default(),
    };
    let table = RoutingTable::default().updated([
        add(ProviderCandidate::openai("openai", "gpt-4o").region("us")),
        add(ProviderCandidate::openai("openai", "gpt-5").region("us")),
        add(ProviderCandidate::azure("azure-eu", "gpt-4o").region("eu")),
        add(ProviderCandidate::azure("azure-eu", "gpt-5").region("eu")),
        add(ProviderCandidate::openai("vertex-eu", "gpt-4o").region("eu")),
        add(ProviderCandidate::openai("vllm-shadow", "llama-4").region("eu")),
        known("acme"),
        known("globex"),
    ]);
    table.unwrap()
}

fn compiled() -> CompiledRules {
    let strategies: Vec<_> = LoadBalancingStrategy::built_in().collect();
    let table = table();
    let surroundings = Surroundings::default().table(&table).strategies(&strategies);
    CompiledRules::compile(rules(), RulesConfig::default(), surroundings).unwrap()
}

#[test]
fn the_worked_example_does_what_its_tests_say_and_nothing_is_doubtful_about_it() {
    let compiled = compiled();
    assert!(compiled.warnings().is_empty(), "{:?}", compiled.warnings());
    let report = compiled.test(&tests());
    assert!(report.passed(), "{report}");
    assert_eq!(report.rows.len(), tests().tests.len());
}

#[test]
fn every_rule_of_the_worked_example_decides_or_annotates_in_a_test() {
    let compiled = compiled();
    let mut matched = BTreeSet::new();
    for test in tests().tests {
        let usage = TokenUsage::new(test.prompt_tokens, Tokens::ZERO);
        let mut decision = DecisionContext::new(&test.request, &test.context, None, Timestamp::ORIGIN, usage);
        decision.wall = test.at;
        let verdict = compiled.peek(&decision);
        let rules = verdict.annotating().chain(verdict.rule()).map(CompiledRule::id);
        matched.extend(rules.map(ToString::to_string));
    }
    let all: BTreeSet<_> = compiled.set().rules.iter().map(|rule| rule.id.to_string()).collect();
    assert_eq!(matched, all);
}

#[test]
fn an_expectation_that_is_not_met_is_told_in_words() {
    let mut tests = tests();
    let row = tests.tests.iter().position(|test| test.name.as_deref() == Some("maintenance begins")).unwrap();
    tests.tests[row].expect.rule = Some(ExpectedRule::Nothing);
    let report = compiled().test(&tests);
    assert!(!report.passed());
    let failed: Vec<_> = report.rows.iter().filter(|row| !row.passed()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].mismatches[0].to_string(), "rule: expected none, found `maintenance`");
    let told = "\nfailed maintenance begins\n       rule: expected none, found `maintenance`\nok     ";
    assert!(report.to_string().contains(told), "{report}");
}

/// A name that the table does not have is an error, and one that is like it is offered.
#[test]
fn a_misspelt_provider_of_the_worked_example_is_found() {
    let rules = RuleSet::from_toml(&RULES.replace("\"azure-eu\"", "\"azure-uk\"")).unwrap();
    let table = table();
    let findings = CompiledRules::lint(&rules, Surroundings::default().table(&table));
    assert_eq!(findings[0].problem.severity(), Severity::Error);
    assert_eq!(findings[0].to_string(), "rule `eu`: unknown provider `azure-uk`, did you mean `azure-eu`?");
}

#[test]
fn the_worked_example_prints_as_it_was_read() {
    let rules = rules();
    assert_eq!(RuleSet::from_toml(&rules.to_toml().unwrap()).unwrap(), rules);
    #[cfg(feature = "yaml")]
    assert_eq!(RuleSet::from_yaml(&rules.to_yaml().unwrap()).unwrap(), rules);
}
