//! What is wrong or doubtful about rules, found before they run.

mod limits;
mod names;
mod reach;
mod rewrites;

use std::collections::{HashMap, HashSet};

use waypost_core::RuleId;

use self::limits::{weightings, within_limits};
use self::names::Known;
pub(crate) use self::reach::reachability;
use self::rewrites::rewrite_cycles;
use crate::compiled::Surroundings;
use crate::effects::Effects;
use crate::finding::{Finding, RuleProblem};
use crate::{Condition, RoutingAction, Rule, RuleSet};

/// What can be told without compiling.
pub(crate) fn check(set: &RuleSet, surroundings: Surroundings<'_>, before: Option<&RuleSet>) -> Vec<Finding> {
    let mut findings = within_limits(set);
    if !findings.is_empty() {
        // Nothing that is too large is looked at further.
        return findings;
    }
    findings.extend(ids(set));
    let known = Known::new(surroundings);
    let same_default = before.is_some_and(|before| before.default_route == set.default_route);
    let before: HashMap<&RuleId, &Rule> =
        before.into_iter().flat_map(|set| &set.rules).map(|rule| (&rule.id, rule)).collect();
    for rule in &set.rules {
        let known_before = before.get(&rule.id).is_some_and(|before| before.enabled && before.same_as(rule));
        let excused = !rule.enabled || known_before;
        let found = one_rule(rule, &known).into_iter().map(|problem| Finding::of(rule, problem));
        findings.extend(found.map(|finding| finding.excused(excused)));
    }
    if let Some(route) = &set.default_route {
        let found = known.route(route).into_iter().map(Finding::of_set);
        findings.extend(found.map(|finding| finding.excused(same_default)));
    }
    findings.extend(rewrite_cycles(set, surroundings));
    findings.extend(weightings(set));
    findings
}

fn ids(set: &RuleSet) -> Vec<Finding> {
    let mut known = HashSet::new();
    let twice = set.rules.iter().filter(|rule| !known.insert(rule.id.as_str()));
    twice.map(|rule| Finding::of(rule, RuleProblem::DuplicateId)).collect()
}

fn one_rule(rule: &Rule, known: &Known<'_>) -> Vec<RuleProblem> {
    let mut problems = Vec::new();
    each_action(&rule.action, &mut |action| problems.extend(known.action(action)));
    each_condition(&rule.condition, &mut |condition| problems.extend(known.condition(condition)));
    let effects = Effects::of_rule(&rule.id, &rule.action, rule.continues);
    if rule.continues && effects.reject.is_some() {
        problems.push(RuleProblem::ContinuesButRejects);
    }
    problems.extend(effects.contradiction().map(RuleProblem::RoutesToExcluded));
    if rule.validity.is_empty() {
        problems.push(RuleProblem::NeverValid);
    }
    problems
}

pub(super) fn each_action<'a>(action: &'a RoutingAction, see: &mut impl FnMut(&'a RoutingAction)) {
    match action {
        RoutingAction::Chain(actions) => actions.iter().for_each(|action| each_action(action, see)),
        simple => see(simple),
    }
}

fn each_condition<'a>(condition: &'a Condition, see: &mut impl FnMut(&'a Condition)) {
    see(condition);
    condition.parts().iter().for_each(|part| each_condition(part, see));
}
