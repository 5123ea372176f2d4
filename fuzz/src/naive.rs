//! Rules asked one after the other: no index, no classes, no calendar, nothing kept.

use core::cmp::Reverse;

use waypost_core::{
    DecisionContext, ModelName, RejectionReason, RequestMatcher, RequestPriority, RuleId, Tag,
};
use waypost_rules::{CompiledRule, Condition, RoutingAction, Rule, RuleSet, Validity, Verdict};

/// What comes of a request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// The rules that matched and let the search go on.
    pub(crate) annotating: Vec<RuleId>,
    pub(crate) rule: Option<RuleId>,
    model: Option<ModelName>,
    priority: Option<RequestPriority>,
    reject: Option<RejectionReason>,
}

impl Outcome {
    /// What a verdict says.
    pub(crate) fn of(verdict: &Verdict<'_>) -> Self {
        Self {
            annotating: verdict.annotating().map(CompiledRule::id).cloned().collect(),
            rule: verdict.rule().map(CompiledRule::id).cloned(),
            model: verdict.model().cloned(),
            priority: verdict.priority(),
            reject: verdict.rejection().map(|rejection| rejection.reason),
        }
    }
}

/// The rules with their ids as the salts of samples without one, as compiling does it.
pub(crate) fn salted(set: &RuleSet) -> RuleSet {
    let mut salted = set.clone();
    for rule in &mut salted.rules {
        salt(&mut rule.condition, &rule.id);
    }
    salted
}

fn salt(condition: &mut Condition, id: &RuleId) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts.iter_mut().for_each(|part| salt(part, id)),
        Condition::Not(part) => salt(part, id),
        Condition::Sample(sample) => _ = sample.salt.get_or_insert_with(|| id.as_str().into()),
        _ => {}
    }
}

/// Asks the rules of a salted set.
pub(crate) fn evaluate(set: &RuleSet, decision: &DecisionContext<'_>) -> Outcome {
    let mut rules: Vec<_> = set.rules.iter().filter(|rule| rule.enabled).collect();
    rules.sort_by_key(|rule| Reverse(rule.priority));
    let mut outcome = Outcome::default();
    let mut tags = Vec::new();
    for rule in rules {
        if !matches(rule, &outcome, &tags, decision) {
            continue;
        }
        act(&rule.action, &mut outcome, &mut tags);
        if !rule.continues {
            outcome.rule = Some(rule.id.clone());
            break;
        }
        outcome.annotating.push(rule.id.clone());
    }
    outcome
}

/// Whether a rule matches a request as the rules before it left it.
fn matches(rule: &Rule, before: &Outcome, tags: &[Tag], decision: &DecisionContext<'_>) -> bool {
    let added = [tags];
    let seen =
        decision.with_priority(before.priority).with_model(before.model.as_ref()).with_added_tags(&added);
    let valid = match seen.wall {
        Some(wall) => rule.validity.contains(wall),
        None => rule.validity == Validity::ALWAYS,
    };
    valid && rule.condition.matches(&seen)
}

/// Does what an action says; nothing after a rejection.
fn act(action: &RoutingAction, outcome: &mut Outcome, tags: &mut Vec<Tag>) {
    if outcome.reject.is_some() {
        return;
    }
    match action {
        RoutingAction::SetPriority(priority) => outcome.priority = Some(*priority),
        RoutingAction::RewriteModel(model) => outcome.model = Some(model.clone()),
        RoutingAction::AddTag(tag) => tags.push(tag.clone()),
        RoutingAction::Reject { reason } => outcome.reject = Some(reason.clone()),
        RoutingAction::Chain(actions) => actions.iter().for_each(|action| act(action, outcome, tags)),
        _ => {}
    }
}
