//! Which rules matched a request, and which did not and why.

use core::fmt;

use waypost_core::{DecisionContext, RequestMatcher, RuleId};

use crate::changes::Changes;
use crate::compiled::salted;
use crate::{CompiledRules, Condition, Rule, Validity};

/// What one rule made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RuleTrace {
    /// The rule.
    pub rule: RuleId,
    /// What it made of it.
    pub outcome: RuleOutcome,
}

/// What a rule made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum RuleOutcome {
    /// It decided.
    Decided,
    /// It matched and let the search go on.
    Annotated,
    /// It did not match.
    Skipped {
        /// The first condition that the request did not meet, in words.
        condition: String,
    },
    /// Its time has not come or has gone, or nobody knows the time.
    NotValid,
    /// It is not enabled.
    Disabled,
    /// A rule before it decided.
    NotReached,
}

impl fmt::Display for RuleTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rule, self.outcome)
    }
}

impl fmt::Display for RuleOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decided => f.write_str("matched"),
            Self::Annotated => f.write_str("matched and goes on"),
            Self::Skipped { condition } => write!(f, "skipped: it is not so that {condition}"),
            Self::NotValid => f.write_str("skipped: it is not its time"),
            Self::Disabled => f.write_str("disabled"),
            Self::NotReached => f.write_str("not reached"),
        }
    }
}

impl CompiledRules {
    /// What every rule makes of a request: those that are asked in the order in which they are, then those that are not
    /// enabled. Evaluates the rules one by one, without index and without kept verdicts, and counts nothing.
    pub fn explain(&self, decision: &DecisionContext<'_>) -> Vec<RuleTrace> {
        let mut changes = Changes::default();
        let mut decided = false;
        let mut traces = Vec::with_capacity(self.set().rules.len());
        for (compiled, rule) in self.asked() {
            let outcome =
                if decided { RuleOutcome::NotReached } else { outcome(rule, &changes.made_to(decision)) };
            decided |= outcome == RuleOutcome::Decided;
            if outcome == RuleOutcome::Annotated {
                changes.add(&compiled.effects);
            }
            traces.push(RuleTrace { rule: rule.id.clone(), outcome });
        }
        let disabled = self.set().rules.iter().filter(|rule| !rule.enabled);
        traces
            .extend(disabled.map(|rule| RuleTrace { rule: rule.id.clone(), outcome: RuleOutcome::Disabled }));
        traces
    }
}

fn outcome(rule: &Rule, decision: &DecisionContext<'_>) -> RuleOutcome {
    let in_time = decision.wall.is_some_and(|wall| rule.validity.contains(wall));
    if rule.validity != Validity::ALWAYS && !in_time {
        return RuleOutcome::NotValid;
    }
    let condition = salted(rule);
    match unmet(&condition, decision) {
        Some(unmet) => RuleOutcome::Skipped { condition: unmet.to_string() },
        None if rule.continues => RuleOutcome::Annotated,
        None => RuleOutcome::Decided,
    }
}

/// The first condition that a request does not meet.
fn unmet<'a>(condition: &'a Condition, decision: &DecisionContext<'_>) -> Option<&'a Condition> {
    match condition {
        Condition::All(parts) => parts.iter().find_map(|part| unmet(part, decision)),
        other => (!other.matches(decision)).then_some(other),
    }
}
