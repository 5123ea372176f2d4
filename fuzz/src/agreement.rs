//! However rules are evaluated, the same comes of it.

use std::hint::black_box;
use std::time::SystemTime;

use waypost_core::{DecisionContext, GatewayRequest, RoutingContext, RuleId, Timestamp, TokenUsage, Tokens};
use waypost_rules::{CacheMode, CompiledRules, RuleOutcome, RuleSet, RuleTests, RulesConfig, Surroundings};

use crate::aimed::Asked;
use crate::asked::Ask;
use crate::naive::{self, Outcome};

/// One set of rules, compiled in every way.
struct Ways {
    /// The rules to be asked one by one.
    set: RuleSet,
    compiled: [CompiledRules; 3],
}

/// Compiles rules and asks them about requests: kept or not, first or again, indexed or one by one, the verdict is the
/// same. `None` when the rules cannot be used.
pub(crate) fn check(set: &RuleSet, asks: &[Ask]) -> Option<CompiledRules> {
    set.rules.iter().for_each(|rule| _ = black_box(rule.to_string()));
    let ways = Ways::new(set)?;
    let asked: Vec<Asked> = asks.iter().flat_map(|ask| ask.asked(&set.rules).and_siblings()).collect();
    // Twice, so that what was kept is asked for, and times go backwards.
    for asked in asked.iter().chain(&asked) {
        decide(&asked.request, &asked.context, asked.prompt, asked.at, |decision| ways.check(decision));
    }
    for way in &ways.compiled {
        way.warnings().iter().for_each(|warning| _ = black_box(warning.to_string()));
        black_box(way.metrics());
    }
    let [first, ..] = ways.compiled;
    Some(first)
}

/// Runs tests of rules, and compares their requests too.
pub(crate) fn check_tests(compiled: &CompiledRules, tests: &RuleTests) {
    let report = compiled.test(tests);
    assert_eq!(report.rows.len(), tests.tests.len());
    black_box(report.to_string());
    let Some(ways) = Ways::new(compiled.set()) else { return };
    for test in &tests.tests {
        decide(&test.request, &test.context, test.prompt_tokens, test.at, |decision| ways.check(decision));
    }
}

/// Runs `f` with a request as a decision sees it.
fn decide(
    request: &GatewayRequest,
    context: &RoutingContext,
    prompt: Tokens,
    at: Option<SystemTime>,
    f: impl FnOnce(&DecisionContext<'_>),
) {
    let usage = TokenUsage::new(prompt, Tokens::ZERO);
    let mut decision = DecisionContext::new(request, context, None, Timestamp::ORIGIN, usage);
    decision.wall = at;
    f(&decision);
}

impl Ways {
    fn new(set: &RuleSet) -> Option<Self> {
        let mut crowded = RulesConfig::default().cache(CacheMode::Always);
        crowded.cache_entries = 1;
        let [never, always] =
            [CacheMode::Never, CacheMode::Always].map(|mode| RulesConfig::default().cache(mode));
        let compiled = [never, always, crowded].map(|config| compile(set, config));
        match compiled {
            [Some(never), Some(always), Some(crowded)] => {
                assert!(!never.keep_verdicts());
                Some(Self { set: naive::salted(set), compiled: [never, always, crowded] })
            }
            [None, None, None] => None,
            _ => panic!("whether rules can be used depends on how verdicts are kept\n{set:#?}"),
        }
    }

    fn check(&self, decision: &DecisionContext<'_>) {
        let expected = naive::evaluate(&self.set, decision);
        for way in &self.compiled {
            let set = &self.set;
            let evaluated = Outcome::of(&way.evaluate(decision));
            assert_eq!(evaluated, expected, "evaluated, {:?}: {decision:#?}\n{set:#?}", way.config());
            let peeked = Outcome::of(&way.peek(decision));
            assert_eq!(peeked, expected, "peeked, {:?}: {decision:#?}\n{set:#?}", way.config());
        }
        let explained = explained(&self.compiled[0], decision);
        assert_eq!(
            explained,
            (expected.annotating, expected.rule),
            "explained: {decision:#?}\n{:#?}",
            self.set
        );
    }
}

fn compile(set: &RuleSet, config: RulesConfig) -> Option<CompiledRules> {
    let compiled = CompiledRules::compile(set.clone(), config, Surroundings::UNKNOWN);
    compiled.map_err(|errors| black_box(errors.to_string())).ok()
}

/// The rules that annotated and the one that decided, by the explanation.
fn explained(compiled: &CompiledRules, decision: &DecisionContext<'_>) -> (Vec<RuleId>, Option<RuleId>) {
    let traces = compiled.explain(decision);
    assert_eq!(traces.len(), compiled.set().rules.len());
    traces.iter().for_each(|trace| _ = black_box(trace.to_string()));
    let with = |outcome: RuleOutcome| {
        let traces = traces.iter().filter(move |trace| trace.outcome == outcome);
        traces.map(|trace| trace.rule.clone())
    };
    let mut decided = with(RuleOutcome::Decided);
    let rule = decided.next();
    assert!(decided.next().is_none(), "two rules decided");
    (with(RuleOutcome::Annotated).collect(), rule)
}
