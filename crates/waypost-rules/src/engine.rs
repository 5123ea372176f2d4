//! Rules that change while they are asked.

use waypost_core::{
    CandidateFilter, CandidateSet, DecisionContext, Directives, Rejection, RuleId, SnapshotCell,
    SnapshotGuard, Stage,
};

use crate::finding::{Finding, RuleErrors, RuleProblem, Severity};
use crate::{CompiledRules, RouteConfig, Rule, RuleSet, RuleTrace, RulesConfig, RulesMetrics, Surroundings};

/// The rules of a router that stands alone: readers see one version whole, writers replace it.
///
/// The facade `waypost` keeps its rules with its routing table instead, in one snapshot; everywhere else this is a
/// [`CandidateFilter`] for stage [`Rules`](Stage::Rules).
///
/// ```
/// use waypost_core::{
///     DecisionContext, Directives, GatewayRequest, Pool, ProviderId, RoutingContext, RuleId, Timestamp, TokenUsage,
/// };
/// use waypost_rules::{Rule, RoutingAction, RoutingRulesEngine};
///
/// let engine = RoutingRulesEngine::default();
/// engine.add_rule(Rule::new(RuleId::new("only-b")?, RoutingAction::RouteToProvider(ProviderId::new("b")?)))?;
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1)])?;
/// let (request, context) = (GatewayRequest::new("model")?, RoutingContext::default());
/// let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
/// let (mut set, mut directives) = (pool.all(), Directives::default());
/// engine.apply_rules(&mut set, &decision, &mut directives)?;
/// assert_eq!(set.len(), 1);
/// assert_eq!(directives.rule_matched.unwrap(), "only-b");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RoutingRulesEngine {
    rules: SnapshotCell<CompiledRules>,
}

/// A change of the rules.
///
/// ```
/// use waypost_rules::{Rule, RoutingAction, RoutingRulesEngine, RuleUpdate, Surroundings};
///
/// let engine = RoutingRulesEngine::default();
/// let rule = Rule::new("only-b".parse()?, RoutingAction::RouteToProvider("b".parse()?));
/// let disable = RuleUpdate::SetEnabled { rule: rule.id.clone(), enabled: false };
/// // Both or neither, in one step.
/// assert_eq!(engine.update([RuleUpdate::put(rule), disable], Surroundings::UNKNOWN)?, 2);
/// assert!(engine.rules().rules().is_empty());
///
/// let unknown = engine.update([RuleUpdate::Remove("only-c".parse()?)], Surroundings::UNKNOWN);
/// assert_eq!(unknown.unwrap_err().to_string(), "rule `only-c`: there is no such rule");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RuleUpdate {
    /// Adds a rule at the end, or puts it in the place of the one with its id.
    Put(Box<Rule>),
    /// Forgets a rule.
    Remove(RuleId),
    /// Enables or disables a rule.
    SetEnabled {
        /// The rule.
        rule: RuleId,
        /// Whether it is asked.
        enabled: bool,
    },
    /// Sets where requests go that no rule decides; `None` for anywhere.
    SetDefaultRoute(Option<RouteConfig>),
    /// Puts other rules in the place of all, default route and limits included.
    ReplaceAll(RuleSet),
}

impl RuleUpdate {
    /// Adds a rule, or puts it in the place of the one with its id.
    pub fn put(rule: Rule) -> Self {
        Self::Put(Box::new(rule))
    }
}

impl RuleSet {
    /// This set after a batch of updates, all of them or none.
    ///
    /// # Errors
    ///
    /// [`RuleErrors`] with every update that names a rule which is not there.
    pub fn updated(&self, updates: impl IntoIterator<Item = RuleUpdate>) -> Result<Self, RuleErrors> {
        let mut next = self.clone();
        let unknown: Vec<Finding> = updates.into_iter().filter_map(|update| next.apply(update)).collect();
        RuleErrors::of(&unknown)?;
        Ok(next)
    }

    fn apply(&mut self, update: RuleUpdate) -> Option<Finding> {
        match update {
            RuleUpdate::Put(rule) => match self.find(&rule.id) {
                Some(known) => *known = *rule,
                None => self.rules.push(*rule),
            },
            RuleUpdate::Remove(id) => {
                let before = self.rules.len();
                self.rules.retain(|rule| rule.id != id);
                return (self.rules.len() == before).then(|| unknown(id));
            }
            RuleUpdate::SetEnabled { rule, enabled } => match self.find(&rule) {
                Some(known) => known.enabled = enabled,
                None => return Some(unknown(rule)),
            },
            RuleUpdate::SetDefaultRoute(route) => self.default_route = route,
            RuleUpdate::ReplaceAll(set) => *self = set,
        }
        None
    }

    fn find(&mut self, id: &RuleId) -> Option<&mut Rule> {
        self.rules.iter_mut().find(|rule| rule.id == *id)
    }
}

const fn unknown(rule: RuleId) -> Finding {
    Finding { rule: Some(rule), severity: Severity::Error, problem: RuleProblem::UnknownRule }
}

impl Default for RoutingRulesEngine {
    fn default() -> Self {
        Self { rules: SnapshotCell::new(CompiledRules::default()) }
    }
}

impl RoutingRulesEngine {
    /// The engine of a rule set.
    ///
    /// # Errors
    ///
    /// [`RuleErrors`] with everything that is wrong with the rules.
    pub fn new(
        set: RuleSet,
        config: RulesConfig,
        surroundings: Surroundings<'_>,
    ) -> Result<Self, RuleErrors> {
        Ok(Self { rules: SnapshotCell::new(CompiledRules::compile(set, config, surroundings)?) })
    }

    /// The rules as they are now. Let go of them soon.
    pub fn rules(&self) -> SnapshotGuard<CompiledRules> {
        self.rules.load()
    }

    /// Changes the rules, by all of the updates or none. Requests that are evaluated meanwhile see the version before or
    /// the version after. Returns the new version's number.
    ///
    /// # Errors
    ///
    /// [`RuleErrors`] with everything that is wrong; then nothing has changed.
    pub fn update(
        &self,
        updates: impl IntoIterator<Item = RuleUpdate>,
        surroundings: Surroundings<'_>,
    ) -> Result<u64, RuleErrors> {
        let next = self.rules.update(|current| current.updated(updates, surroundings))?;
        Ok(next.generation())
    }

    /// Adds a rule, or puts it in the place of the one with its id; what it names is not checked.
    ///
    /// # Errors
    ///
    /// [`RuleErrors`] with everything that is wrong with the rules then.
    pub fn add_rule(&self, rule: Rule) -> Result<u64, RuleErrors> {
        self.update([RuleUpdate::put(rule)], Surroundings::UNKNOWN)
    }

    /// Forgets a rule.
    ///
    /// # Errors
    ///
    /// [`RuleErrors`] when there is no such rule.
    pub fn remove_rule(&self, rule: &RuleId) -> Result<u64, RuleErrors> {
        self.update([RuleUpdate::Remove(rule.clone())], Surroundings::UNKNOWN)
    }

    /// Enables or disables a rule.
    ///
    /// # Errors
    ///
    /// [`RuleErrors`] when there is no such rule.
    pub fn set_rule_enabled(&self, rule: &RuleId, enabled: bool) -> Result<u64, RuleErrors> {
        self.update([RuleUpdate::SetEnabled { rule: rule.clone(), enabled }], Surroundings::UNKNOWN)
    }

    /// Evaluates the rules for a request, narrows a set to those who may serve it and says the rest.
    ///
    /// # Errors
    ///
    /// [`Rejection`] when a rule says that the request must not be served.
    pub fn apply_rules(
        &self,
        set: &mut CandidateSet<'_>,
        decision: &DecisionContext<'_>,
        directives: &mut Directives,
    ) -> Result<(), Rejection> {
        self.rules.load().evaluate(decision).apply(set, decision, directives)
    }

    /// What every rule makes of a request.
    pub fn explain(&self, decision: &DecisionContext<'_>) -> Vec<RuleTrace> {
        self.rules.load().explain(decision)
    }

    /// What was counted since the engine was made.
    pub fn metrics(&self) -> RulesMetrics {
        self.rules.load().metrics()
    }
}

/// Narrows like [`apply_rules`](Self::apply_rules), but counts nothing and keeps no verdicts, because explanations run
/// filters too. Rewriting a model cannot take effect in a filter: the pool is chosen by then.
impl CandidateFilter for RoutingRulesEngine {
    fn stage(&self) -> Stage {
        Stage::Rules
    }

    fn filter(
        &self,
        set: &mut CandidateSet<'_>,
        decision: &DecisionContext<'_>,
        directives: &mut Directives,
    ) -> Result<(), Rejection> {
        self.rules.load().peek(decision).apply(set, decision, directives)
    }
}
