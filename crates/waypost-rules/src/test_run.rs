//! Running tests of rules.

use core::fmt;

use waypost_core::{DecisionContext, ProviderId, RuleId, Timestamp, TokenUsage, Tokens};

use crate::effects::Effects;
use crate::{CompiledRule, CompiledRules, Expectation, ExpectedRule, RuleTest, RuleTests, Verdict};

/// How tests of a rule set went: a row each, in order.
///
/// Displays a line per test: `ok` or what was different.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestReport {
    /// The tests.
    pub rows: Vec<TestRow>,
}

/// How one test went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TestRow {
    /// The test's name, or its number from 1.
    pub name: String,
    /// What is not as expected; empty when the test passed.
    pub mismatches: Vec<Mismatch>,
}

/// One thing that is not as expected. Displays like ``rule: expected `eu-only`, found none``.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Mismatch {
    /// What, as the test calls it.
    pub what: &'static str,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl TestReport {
    /// Whether all tests passed.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(TestRow::passed)
    }
}

impl TestRow {
    /// Whether the test passed.
    pub const fn passed(&self) -> bool {
        self.mismatches.is_empty()
    }
}

impl CompiledRules {
    /// Runs tests: evaluates each request and compares what was expected of it. Counts nothing.
    ///
    /// The providers that may serve a request are those that its rules name, less those that they exclude: no routing
    /// table is asked, so pools by region or tag name none.
    pub fn test(&self, tests: &RuleTests) -> TestReport {
        TestReport { rows: tests.tests.iter().enumerate().map(|(n, test)| self.row(n, test)).collect() }
    }

    fn row(&self, number: usize, test: &RuleTest) -> TestRow {
        let usage = TokenUsage::new(test.prompt_tokens, Tokens::ZERO);
        let mut decision = DecisionContext::new(&test.request, &test.context, None, Timestamp::ORIGIN, usage);
        decision.wall = test.at;
        let verdict = self.peek(&decision);
        let found = Found { verdict: &verdict, decision: &decision };
        let name = test.name.clone().unwrap_or_else(|| format!("test {}", number + 1));
        TestRow { name, mismatches: found.mismatches(&test.expect) }
    }
}

/// What came of a request, in the words of expectations.
struct Found<'r> {
    verdict: &'r Verdict<'r>,
    decision: &'r DecisionContext<'r>,
}

impl Found<'_> {
    fn mismatches(&self, expect: &Expectation) -> Vec<Mismatch> {
        let rule = expect.rule.as_ref().map(|rule| match rule {
            ExpectedRule::Rule(rule) => Some(rule),
            ExpectedRule::Nothing => None,
        });
        let annotations = self.verdict.annotations();
        let annotations = annotations.as_deref();
        let ids = self.verdict.annotating().map(CompiledRule::id).cloned().collect::<Vec<RuleId>>();
        let rejection = self.verdict.rejection().map(|rejection| rejection.reason);
        let priority = self.verdict.priority().unwrap_or_else(|| self.decision.priority());
        let model = self.verdict.model().unwrap_or_else(|| self.decision.model());
        [
            rule.and_then(|rule| one("rule", rule, self.verdict.rule().map(CompiledRule::id))),
            list("continued", expect.continued.as_deref(), &ids),
            expect
                .strategy
                .as_ref()
                .and_then(|strategy| one("strategy", Some(strategy), self.verdict.strategy(self.decision))),
            set("providers", expect.providers.as_deref(), &self.providers()),
            set("excluded", expect.excluded.as_deref(), &self.excluded()),
            expect.priority.as_ref().and_then(|expected| one("priority", Some(expected), Some(&priority))),
            expect.model.as_ref().and_then(|expected| one("model", Some(expected), Some(model))),
            list("tags", expect.tags.as_deref(), annotations.map_or(&[], |annotations| &annotations.tags)),
            list(
                "mirrors",
                expect.mirrors.as_deref(),
                annotations.map_or(&[], |annotations| &annotations.mirrors),
            ),
            expect.reject.as_ref().and_then(|reason| one("reject", Some(reason), rejection.as_ref())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn excluded(&self) -> Vec<ProviderId> {
        self.verdict.all_effects().flat_map(Effects::excluded).cloned().collect()
    }

    /// The providers that every pool names, less those that are excluded.
    fn providers(&self) -> Vec<ProviderId> {
        let pools: Vec<Vec<ProviderId>> = self.verdict.all_effects().flat_map(Effects::pools).collect();
        let excluded = self.excluded();
        let Some((first, others)) = pools.split_first() else { return Vec::new() };
        let everywhere = |provider: &&ProviderId| others.iter().all(|pool| pool.contains(provider));
        first.iter().filter(everywhere).filter(|provider| !excluded.contains(provider)).cloned().collect()
    }
}

fn one<T: PartialEq + fmt::Display>(
    what: &'static str,
    expected: Option<&T>,
    found: Option<&T>,
) -> Option<Mismatch> {
    let quoted = |item: Option<&T>| item.map_or_else(|| "none".to_owned(), |item| format!("`{item}`"));
    (expected != found).then(|| Mismatch { what, expected: quoted(expected), found: quoted(found) })
}

fn list<T: PartialEq + fmt::Display>(
    what: &'static str,
    expected: Option<&[T]>,
    found: &[T],
) -> Option<Mismatch> {
    let expected = expected?;
    (expected != found).then(|| Mismatch { what, expected: quoted(expected), found: quoted(found) })
}

/// Like a list whose order does not count.
fn set<T: Ord + fmt::Display + Clone>(
    what: &'static str,
    expected: Option<&[T]>,
    found: &[T],
) -> Option<Mismatch> {
    let sorted = |items: &[T]| {
        let mut items = items.to_vec();
        items.sort_unstable();
        items.dedup();
        items
    };
    list(what, Some(&sorted(expected?)), &sorted(found))
}

fn quoted<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(|item| format!("`{item}`")).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.what, self.expected, self.found)
    }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{:<6} {}", if row.passed() { "ok" } else { "failed" }, row.name)?;
            row.mismatches.iter().try_for_each(|mismatch| writeln!(f, "       {mismatch}"))?;
        }
        Ok(())
    }
}
