//! Rewritings that go round.

use std::collections::{BTreeMap, HashMap, HashSet};

use waypost_core::{ModelName, RoutingTable, RuleId};

use super::each_action;
use crate::compiled::Surroundings;
use crate::finding::{Finding, RuleProblem};
use crate::{Condition, RoutingAction, RuleSet, TextPattern};

/// Models that rewritings by exact name and aliases lead back to.
pub(super) fn rewrite_cycles(set: &RuleSet, surroundings: Surroundings<'_>) -> Vec<Finding> {
    let mut steps: BTreeMap<&str, Vec<(&str, Option<&RuleId>)>> = BTreeMap::new();
    for rule in set.rules.iter().filter(|rule| rule.enabled) {
        let effects = last_rewriting(&rule.action);
        for (from, to) in asked_models(&rule.condition).into_iter().zip(core::iter::repeat(effects)) {
            steps.entry(from).or_default().extend(to.map(|to| (to.as_str(), Some(&rule.id))));
        }
    }
    for (alias, model) in surroundings.table.into_iter().flat_map(RoutingTable::aliases) {
        steps.entry(alias.as_str()).or_default().push((model.as_str(), None));
    }
    let mut seen = HashSet::new();
    steps.keys().filter_map(|&start| cycle_from(start, &steps, &mut seen)).collect()
}

/// A cycle that can be reached from a model, if a rule is in it. Each model is gone through once.
fn cycle_from<'a>(
    start: &'a str,
    steps: &BTreeMap<&'a str, Vec<(&'a str, Option<&'a RuleId>)>>,
    seen: &mut HashSet<&'a str>,
) -> Option<Finding> {
    // The way so far: each model with the rule that led there and the next step to try.
    let mut way: Vec<(&str, Option<&RuleId>, usize)> = vec![(start, None, 0)];
    let mut places = HashMap::from([(start, 0)]);
    if !seen.insert(start) {
        return None;
    }
    while let Some((model, _, next)) = way.last_mut() {
        let Some(&(to, rule)) = steps.get(model).and_then(|steps| steps.get(*next)) else {
            places.remove(*model);
            way.pop();
            continue;
        };
        *next += 1;
        if let Some(&first) = places.get(to) {
            let rules = way[first + 1..].iter().filter_map(|(_, rule, _)| *rule).chain(rule);
            if let Some(rule) = rules.last() {
                let names = way[first..].iter().map(|(model, ..)| *model).chain([to]);
                let names = names.filter_map(|name| ModelName::new(name).ok()).collect();
                let problem = RuleProblem::RewriteCycle(names);
                return Some(Finding { rule: Some(rule.clone()), severity: problem.severity(), problem });
            }
        } else if seen.insert(to) {
            places.insert(to, way.len());
            way.push((to, rule, 0));
        }
    }
    None
}

fn last_rewriting(action: &RoutingAction) -> Option<&ModelName> {
    let mut last = None;
    each_action(action, &mut |action| {
        if let RoutingAction::RewriteModel(model) = action {
            last = Some(model);
        }
    });
    last
}

/// The models that a condition asks for by name, where nothing negates it.
fn asked_models(condition: &Condition) -> Vec<&str> {
    match condition {
        Condition::Model(patterns) => patterns.iter().filter_map(TextPattern::as_exact).collect(),
        Condition::All(parts) | Condition::Any(parts) => parts.iter().flat_map(asked_models).collect(),
        _ => Vec::new(),
    }
}
