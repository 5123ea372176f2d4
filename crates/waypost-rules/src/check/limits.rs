//! How large rules are, and how large they may be.

use std::collections::HashSet;

use waypost_core::PoolWeights;

use super::each_action;
use crate::finding::{Finding, RuleProblem};
use crate::{Condition, RouteConfig, RoutingAction, RuleLimits, RuleSet, TextPattern};

/// What exceeds the limits.
pub(super) fn within_limits(set: &RuleSet) -> Vec<Finding> {
    let (count, most) = (set.rules.len(), set.limits.max_rules.min(RuleLimits::MOST_RULES));
    if count > most {
        return vec![Finding::of_set(RuleProblem::TooManyRules { count, most })];
    }
    let mut regexes = 0;
    let mut findings = Vec::new();
    for rule in &set.rules {
        let mut sizes = Sizes::new(set.limits);
        sizes.condition(&rule.condition, 1);
        sizes.action(&rule.action, 1);
        regexes += sizes.regexes;
        findings.extend(sizes.problems().into_iter().map(|problem| Finding::of(rule, problem)));
    }
    let (count, most) = (regexes, set.limits.max_regexes);
    if count > most {
        findings.push(Finding::of_set(RuleProblem::TooManyRegexes { count, most }));
    }
    findings
}

/// How large a rule is. Descends no deeper than it may.
struct Sizes {
    limits: RuleLimits,
    conditions: usize,
    actions: usize,
    regexes: usize,
    too_deep: bool,
    longest: usize,
}

impl Sizes {
    const fn new(limits: RuleLimits) -> Self {
        Self { limits, conditions: 0, actions: 0, regexes: 0, too_deep: false, longest: 0 }
    }

    fn condition(&mut self, condition: &Condition, depth: usize) {
        if depth > self.limits.max_depth.min(RuleLimits::MOST_DEPTH) {
            self.too_deep = true;
            return;
        }
        match condition {
            Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {
                condition.parts().iter().for_each(|part| self.condition(part, depth + 1));
            }
            simple => {
                self.conditions += 1;
                self.longest = self.longest.max(listed(simple));
                self.regexes += patterns(simple).iter().filter(|pattern| pattern.runs_regex()).count();
            }
        }
    }

    fn action(&mut self, action: &RoutingAction, depth: usize) {
        if depth > self.limits.max_depth.min(RuleLimits::MOST_DEPTH) {
            self.too_deep = true;
            return;
        }
        let listed = match action {
            RoutingAction::Chain(actions) => {
                actions.iter().for_each(|action| self.action(action, depth + 1));
                actions.len()
            }
            RoutingAction::RouteToPool(route) => {
                route.provider_pool.len().max(route.regions.len()).max(route.tags.len())
            }
            RoutingAction::Exclude(providers) => providers.len(),
            _ => 0,
        };
        self.actions += usize::from(!matches!(action, RoutingAction::Chain(_)));
        self.longest = self.longest.max(listed);
    }

    fn problems(&self) -> Vec<RuleProblem> {
        let RuleLimits { max_conditions, max_depth, max_listed, max_actions, .. } = self.limits;
        let (count, most) = (self.conditions, max_conditions);
        let conditions = (count > most).then_some(RuleProblem::TooManyConditions { count, most });
        let most = max_depth.min(RuleLimits::MOST_DEPTH);
        let depth = self.too_deep.then_some(RuleProblem::TooDeep { most });
        let (count, most) = (self.longest, max_listed);
        let list = (count > most).then_some(RuleProblem::ListTooLong { count, most });
        let (count, most) = (self.actions, max_actions);
        let actions = (count > most).then_some(RuleProblem::TooManyActions { count, most });
        [conditions, depth, list, actions].into_iter().flatten().collect()
    }
}

fn listed(condition: &Condition) -> usize {
    match condition {
        Condition::Tenant(names) => names.len(),
        Condition::User(names) => names.len(),
        Condition::Organization(names) => names.len(),
        Condition::Region(names) => names.len(),
        Condition::Zone(names) => names.len(),
        Condition::Tag(names) => names.len(),
        Condition::Feature(names) => names.len(),
        Condition::Time(windows) => windows.len(),
        Condition::SourceIp(networks) => networks.len(),
        condition => patterns(condition).len(),
    }
}

fn patterns(condition: &Condition) -> &[TextPattern] {
    match condition {
        Condition::Model(patterns) | Condition::UserAgent(patterns) | Condition::Metadata(_, patterns) => {
            patterns
        }
        _ => &[],
    }
}

/// A router keeps balancers for every weighting of a pool.
pub(super) fn weightings(set: &RuleSet) -> Option<Finding> {
    let mut distinct: HashSet<PoolWeights> = HashSet::new();
    distinct.extend(set.default_route.as_ref().and_then(RouteConfig::weights));
    for rule in &set.rules {
        each_action(&rule.action, &mut |action| {
            if let RoutingAction::RouteToPool(route) = action {
                distinct.extend(route.weights());
            }
        });
    }
    let count = distinct.len();
    (count > crate::MAX_WEIGHTINGS).then(|| Finding::of_set(RuleProblem::TooManyWeightings { count }))
}
