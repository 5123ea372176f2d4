//! What rules say of a request.

use core::fmt;
use std::sync::Arc;

use waypost_core::{
    Annotations, CandidateSet, DecisionContext, Directives, LoadBalancingStrategy, ModelName, Rejection,
    RequestPriority,
};

use crate::CompiledRule;
use crate::effects::Effects;

/// Rules that annotate one request: the first four are kept without an allocation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Annotating<'r> {
    few: [Option<&'r CompiledRule>; 4],
    more: Vec<&'r CompiledRule>,
}

impl<'r> Annotating<'r> {
    pub(crate) fn push(&mut self, rule: &'r CompiledRule) {
        match self.few.iter_mut().find(|place| place.is_none()) {
            Some(free) => *free = Some(rule),
            None => self.more.push(rule),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'r CompiledRule> + Clone {
        self.few.iter().map_while(|rule| *rule).chain(self.more.iter().copied())
    }
}

/// What the rules say of one request: the rule that decides, if one does, and those that matched before it and let the
/// search go on.
///
/// ```
/// use waypost_core::{DecisionContext, GatewayRequest, RoutingContext, Timestamp, TokenUsage};
/// use waypost_rules::{CompiledRules, Rule, RoutingAction, RuleSet, RulesConfig, Surroundings};
///
/// let mark = Rule::new("mark".parse()?, RoutingAction::AddTag("seen".parse()?)).and_continue();
/// let mini = Rule::new("mini".parse()?, RoutingAction::RewriteModel("gpt-4o-mini".parse()?));
/// let rules = CompiledRules::compile(RuleSet::new([mark, mini]), RulesConfig::default(), Surroundings::UNKNOWN)?;
///
/// let (request, context) = (GatewayRequest::new("gpt-4o")?, RoutingContext::default());
/// let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
/// let verdict = rules.evaluate(&decision);
/// assert_eq!(*verdict.rule().unwrap().id(), "mini");
/// assert_eq!(*verdict.model().unwrap(), "gpt-4o-mini");
/// assert_eq!(verdict.annotating().count(), 1);
/// assert_eq!(verdict.annotations().unwrap().tags[0], "seen");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Verdict<'r> {
    pub(crate) annotating: Annotating<'r>,
    pub(crate) deciding: Option<&'r CompiledRule>,
    pub(crate) default: Option<&'r Effects>,
}

impl<'r> Verdict<'r> {
    /// The rule that decides; `None` when the default route does.
    pub const fn rule(&self) -> Option<&'r CompiledRule> {
        self.deciding
    }

    /// The rules that matched before and let the search go on, in order.
    pub fn annotating(&self) -> impl Iterator<Item = &'r CompiledRule> {
        self.annotating.iter()
    }

    /// The model that the request is served as, if a rule rewrites it.
    pub fn model(&self) -> Option<&'r ModelName> {
        self.rewritten_by()?.effects.model.as_ref()
    }

    /// The rule that rewrites the model.
    pub fn rewritten_by(&self) -> Option<&'r CompiledRule> {
        self.matched().filter(|rule| rule.effects.model.is_some()).last()
    }

    /// The priority that the request is treated with, if a rule sets it.
    pub fn priority(&self) -> Option<RequestPriority> {
        self.matched().filter_map(|rule| rule.effects.priority).last()
    }

    /// Why the request must not be served, if a rule says so.
    pub fn rejection(&self) -> Option<Rejection> {
        let rule = self.deciding?;
        let reason = rule.effects.reject.clone()?;
        Some(Rejection { rule: Some(rule.id().clone()), reason })
    }

    /// The strategy that chooses, if a rule or the default route names one: the last that does. The default route's stands
    /// back behind that of a rule that only annotates, and behind the tenant's.
    pub fn strategy(&self, decision: &DecisionContext<'_>) -> Option<&'r LoadBalancingStrategy> {
        self.strategy_of_rules().or_else(|| self.default_strategy(decision))
    }

    fn strategy_of_rules(&self) -> Option<&'r LoadBalancingStrategy> {
        self.matched().filter_map(|rule| rule.effects.strategy.as_ref()).last()
    }

    fn default_strategy(&self, decision: &DecisionContext<'_>) -> Option<&'r LoadBalancingStrategy> {
        let tenants = decision.tenant.is_some_and(|tenant| tenant.default_strategy.is_some());
        self.default_route().filter(|_| !tenants)?.strategy.as_ref()
    }

    /// What rules add for the caller; `None` when it is nothing. Those of one rule are shared, those of several put
    /// together.
    pub fn annotations(&self) -> Option<Arc<Annotations>> {
        merged(self.matched().filter_map(|rule| rule.effects.annotations.as_ref()))
    }

    /// Narrows a set to those who may serve the request and says the rest: strategy, weights, priority, annotations, the
    /// rule. What filters said before stands where the rules say nothing.
    ///
    /// # Errors
    ///
    /// [`Rejection`] when a rule says that the request must not be served.
    pub fn apply(
        &self,
        set: &mut CandidateSet<'_>,
        decision: &DecisionContext<'_>,
        directives: &mut Directives,
    ) -> Result<(), Rejection> {
        if let Some(rejection) = self.rejection() {
            return Err(rejection);
        }
        for effects in self.all_effects() {
            effects.narrow(set);
            if let Some(weights) = &effects.weights {
                directives.weights = Some(weights.clone());
            }
        }
        let earlier = directives.strategy.take();
        let strategy = self.strategy_of_rules().cloned().or(earlier);
        directives.strategy = strategy.or_else(|| self.default_strategy(decision).cloned());
        directives.priority = self.priority().or(directives.priority);
        let earlier = directives.annotations.take();
        let own = self.annotations();
        directives.annotations = merged([earlier.as_ref(), own.as_ref()].into_iter().flatten());
        directives.rule_matched =
            self.deciding.map(|rule| rule.id().clone()).or(directives.rule_matched.take());
        Ok(())
    }

    /// The effects of the rules that matched, and of the default route where none decides.
    pub(crate) fn all_effects(&self) -> impl Iterator<Item = &'r Effects> {
        self.matched().map(|rule| &rule.effects).chain(self.default_route())
    }

    const fn default_route(&self) -> Option<&'r Effects> {
        if self.deciding.is_none() { self.default } else { None }
    }

    /// The rules that matched, in order; the last decides, if one does.
    pub(crate) fn matched(&self) -> impl Iterator<Item = &'r CompiledRule> + Clone {
        self.annotating.iter().chain(self.deciding)
    }
}

/// Annotations of several; those of one are shared.
fn merged<'a>(each: impl Iterator<Item = &'a Arc<Annotations>> + Clone) -> Option<Arc<Annotations>> {
    let mut some = each.clone();
    match (some.next(), some.next()) {
        (None, _) => None,
        (Some(one), None) => Some(Arc::clone(one)),
        _ => Some(Arc::new(Annotations::merged(each.map(|annotations| &**annotations)))),
    }
}

impl fmt::Debug for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict")
            .field("rule", &self.deciding.map(CompiledRule::id))
            .field("annotating", &self.annotating.iter().map(CompiledRule::id).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
