//! What rules say of a request.

use core::fmt;

use waypost_core::{CandidateSet, DecisionContext, Directives, ModelName, Rejection, RequestPriority};

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

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'r CompiledRule> {
        self.few.iter().map_while(|rule| *rule).chain(self.more.iter().copied())
    }
}

/// What the rules say of one request: the rule that decides, if one does, and those that matched before it and let the
/// search go on.
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
        self.effects().filter_map(|(_, effects)| effects.model.as_ref()).last()
    }

    /// The rule that rewrites the model.
    pub fn rewritten_by(&self) -> Option<&'r CompiledRule> {
        self.effects().filter(|(_, effects)| effects.model.is_some()).last().and_then(|(rule, _)| rule)
    }

    /// The priority that the request is treated with, if a rule sets it.
    pub fn priority(&self) -> Option<RequestPriority> {
        self.effects().filter_map(|(_, effects)| effects.priority).last()
    }

    /// Why the request must not be served, if a rule says so.
    pub fn rejection(&self) -> Option<Rejection> {
        let rule = self.deciding?;
        let reason = rule.effects.reject.clone()?;
        Some(Rejection { rule: Some(rule.id().clone()), reason })
    }

    /// Narrows a set to those who may serve the request and says the rest: strategy, weights, priority, annotations, the
    /// rule.
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
        for (rule, effects) in self.effects() {
            effects.apply(rule.map(CompiledRule::id), set, directives)?;
        }
        if let Some(default) = self.default_route() {
            let before = directives.strategy.take();
            default.apply(None, set, directives)?;
            let tenants = decision.tenant.and_then(|tenant| tenant.default_strategy.as_ref());
            // A rule that only annotates may name a strategy, and the tenant's is nearer than that of all requests.
            if before.is_some() || tenants.is_some() {
                directives.strategy = before;
            }
        }
        directives.rule_matched = self.deciding.map(|rule| rule.id().clone());
        Ok(())
    }

    /// The effects of the rules that matched, and of the default route where none decides.
    pub(crate) fn all_effects(&self) -> impl Iterator<Item = &'r Effects> {
        self.effects().map(|(_, effects)| effects).chain(self.default_route())
    }

    const fn default_route(&self) -> Option<&'r Effects> {
        if self.deciding.is_none() { self.default } else { None }
    }

    /// The effects of the rules that matched, in order.
    fn effects(&self) -> impl Iterator<Item = (Option<&'r CompiledRule>, &'r Effects)> {
        self.annotating.iter().chain(self.deciding).map(|rule| (Some(rule), &rule.effects))
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
