//! Routing rules for LLM requests: conditions, actions, and an index that finds the first match.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod action;
#[cfg(all(test, feature = "serde"))]
mod arbitrary;
mod attribute;
mod bounds;
mod cache;
mod calendar;
mod changes;
mod check;
mod class_set;
mod compiled;
mod condition;
mod effects;
mod engine;
#[cfg(feature = "serde")]
mod form;
mod index;
mod metrics;
mod names;
mod nearest;
mod network;
mod pattern;
mod priorities;
mod product;
mod rule;
mod rule_test;
mod sample;
mod test_run;
mod time_window;
mod trace;
mod universe;
mod verdict;

pub use action::{PoolMember, RouteConfig, RoutingAction};
pub use bounds::Bounds;
pub use check::{Finding, RuleErrors, RuleProblem, Severity};
pub use compiled::{CacheMode, CompiledRule, CompiledRules, RulesConfig, Surroundings};
pub use condition::Condition;
pub use engine::{RoutingRulesEngine, RuleUpdate};
#[cfg(feature = "serde")]
pub use form::{FormErrors, FormProblem, PrintError};
pub use metrics::RulesMetrics;
pub use names::Names;
pub use network::{Network, NetworkError};
pub use pattern::{MAX_PATTERN_BYTES, PatternError, TextPattern};
pub use priorities::Priorities;
pub use rule::{Rule, RuleLimits, RuleSet};
pub use rule_test::{Expectation, ExpectedRule, RuleTest, RuleTests};
pub use sample::{Percent, PercentError, Sample, SampleKey};
pub use test_run::{Mismatch, TestReport, TestRow};
pub use time_window::{TimeOfDay, TimeWindow, TimeWindowError, Validity, Weekday};
pub use trace::{RuleOutcome, RuleTrace};
pub use verdict::Verdict;

/// The most of a text that an error repeats, in characters.
const REPEATED_CHARS: usize = 64;

/// What an error repeats of a text: its beginning, without control characters.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(REPEATED_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(REPEATED_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
