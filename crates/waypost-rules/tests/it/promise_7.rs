//! Promise 7: a verdict with the cache equals the verdict without it, for every request; and both are what asking the
//! rules one by one says.

use std::collections::BTreeSet;

use waypost_rules::{
    CacheMode, CompiledRules, RoutingRulesEngine, RuleLimits, RuleOutcome, RuleUpdate, RulesConfig,
    Surroundings, Verdict,
};

use crate::oracle::{Ask, Dice, Matched, evaluate, rule_set};

/// Rule sets; each is asked [`ASKED`] times. Together 160,000 triples of rules, request and time.
const RULE_SETS: u64 = 2_000;
const ASKED: usize = 80;

/// Requests of one rule set: each is asked several times, so that kept verdicts are used.
const REQUESTS: usize = 25;

fn matched(verdict: &Verdict<'_>) -> Matched {
    let annotating = verdict.annotating().map(|rule| rule.id().to_string()).collect();
    (annotating, verdict.rule().map(|rule| rule.id().to_string()))
}

fn compiled(rules: &[crate::oracle::RuleSpec], cache: CacheMode) -> CompiledRules {
    let config = RulesConfig::default().cache(cache);
    CompiledRules::compile(rule_set(rules), config, Surroundings::UNKNOWN).unwrap()
}

#[test]
fn promise_7_verdicts_are_what_asking_the_rules_one_by_one_says() {
    let (mut decided, mut annotated, mut kept) = (0, 0, 0);
    for seed in 0..RULE_SETS {
        let mut dice = Dice::new(seed);
        let rules = dice.rules(40);
        let versions =
            [CacheMode::Never, CacheMode::Always, CacheMode::WhereItPays].map(|mode| compiled(&rules, mode));
        let asks: Vec<_> = (0..REQUESTS).map(|_| dice.ask()).collect();
        for _ in 0..ASKED {
            let ask = &asks[dice.below(REQUESTS)];
            let expected = evaluate(&rules, ask);
            for version in &versions {
                let found = ask.decide(|decision| matched(&version.evaluate(decision)));
                assert_eq!(found, expected, "seed {seed}: {ask:?}\n{:#?}", version.set());
            }
            assert_eq!(ask.decide(|decision| matched(&versions[1].peek(decision))), expected, "seed {seed}");
            decided += usize::from(expected.1.is_some());
            annotated += usize::from(!expected.0.is_empty());
        }
        kept += versions[1].metrics().cache_hits;
    }
    // The test would show little if rules rarely matched or verdicts were rarely kept.
    let asked = RULE_SETS as usize * ASKED;
    assert!(decided > asked / 2 && decided < asked && annotated > asked / 4, "{decided} {annotated}");
    assert!(kept > asked as u64 / 6, "{kept}");
}

/// Beyond one word and one summary of the index, where every fourth rule looks at the time.
#[test]
fn promise_7_holds_for_rule_sets_of_any_size() {
    for (seed, rules, asked) in (0..40).map(|seed| (seed, 300, 60)).chain([(100, 5_000, 300)]) {
        // With one salt all attributes have their place in the index, and verdicts are kept; with salts of their own
        // samples take that of others.
        let mut dice = if seed % 2 == 0 { Dice::new(seed).salted() } else { Dice::new(seed) };
        let rules: Vec<_> = (0..rules).map(|n| dice.rare_rule(n)).collect();
        let mut limits = RuleLimits::default().rules(5_000);
        limits.max_regexes = usize::MAX;
        let config = RulesConfig::default().cache(CacheMode::Always);
        let version =
            CompiledRules::compile(rule_set(&rules).limits(limits), config, Surroundings::UNKNOWN).unwrap();
        let mut places = BTreeSet::new();
        for _ in 0..asked {
            let ask = dice.ask();
            let expected = evaluate(&rules, &ask);
            for _ in 0..2 {
                let found = ask.decide(|decision| matched(&version.evaluate(decision)));
                assert_eq!(found, expected, "seed {seed}: {ask:?}");
            }
            places.insert(expected.1);
        }
        assert!(places.len() > 10, "requests are decided all over the set: {places:?}");
        assert_eq!(version.keep_verdicts(), seed % 2 == 0);
        let again = if version.keep_verdicts() { asked } else { 0 };
        assert!(version.metrics().cache_hits >= again, "every second request is one that was asked before");
    }
}

#[test]
fn promise_7_no_verdict_outlives_a_change_of_the_rules() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let mut rules = dice.rules(20);
        let config = RulesConfig::default().cache(CacheMode::Always);
        let engine = RoutingRulesEngine::new(rule_set(&rules), config, Surroundings::UNKNOWN).unwrap();
        let asks: Vec<_> = (0..10).map(|_| dice.ask()).collect();
        for step in 0..40 {
            if dice.below(4) == 0 {
                change(&mut dice, &mut rules, &engine, step);
            }
            for ask in &asks {
                let found = ask.decide(|decision| matched(&engine.rules().evaluate(decision)));
                assert_eq!(found, evaluate(&rules, ask), "seed {seed} step {step}");
            }
        }
    }
}

fn change(
    dice: &mut Dice,
    rules: &mut Vec<crate::oracle::RuleSpec>,
    engine: &RoutingRulesEngine,
    step: usize,
) {
    let update = match dice.below(3) {
        0 if !rules.is_empty() => {
            let place = dice.below(rules.len());
            rules[place].toggle();
            RuleUpdate::SetEnabled { rule: rules[place].id(), enabled: rules[place].is_enabled() }
        }
        1 if !rules.is_empty() => RuleUpdate::Remove(rules.remove(dice.below(rules.len())).id()),
        _ => {
            let rule = dice.rule(1_000 + step);
            rules.push(rule.clone());
            RuleUpdate::put(rule.rule())
        }
    };
    engine.update([update], Surroundings::UNKNOWN).unwrap();
}

#[test]
fn explanations_agree_with_verdicts() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let rules = dice.rules(30);
        let version = compiled(&rules, CacheMode::Never);
        for _ in 0..20 {
            let ask: Ask = dice.ask();
            let traces = ask.decide(|decision| version.explain(decision));
            let with = |outcome: &RuleOutcome| -> Vec<String> {
                traces
                    .iter()
                    .filter(|trace| trace.outcome == *outcome)
                    .map(|trace| trace.rule.to_string())
                    .collect()
            };
            let explained = (with(&RuleOutcome::Annotated), with(&RuleOutcome::Decided).pop());
            assert_eq!(explained, evaluate(&rules, &ask), "seed {seed}");
            assert_eq!(traces.len(), rules.len());
        }
    }
}
