//! What is wrong or doubtful about rules, found before they run.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use waypost_core::{
    LoadBalancingStrategy, ModelName, PoolWeights, ProviderId, Region, RoutingTable, RuleId, TenantId, Weight,
};

use crate::attribute::Attribute;
use crate::class_set::ClassSet;
use crate::compiled::Surroundings;
use crate::effects::Effects;
use crate::index::{Index, MAX_DIMENSIONS, Point};
use crate::nearest::{hint, nearest};
use crate::presence::Present;
use crate::product::Product;
use crate::universe::Universe;
use crate::{Condition, RouteConfig, RoutingAction, Rule, RuleLimits, RuleSet, TextPattern};

/// Earlier rules that are compared with a rule to find one that covers it: what an index leaves are few, unless somebody
/// sees to it that they are many.
const COMPARED: usize = 64;

/// Misspelt names of one set for which the likeliest is looked for: each takes a look at every known name.
const HINTS: usize = 32;

/// Something wrong or doubtful, and where. Displays like ``rule `eu-only`: unknown provider `azure-uk`, did you mean
/// `azure-eu`?``.
///
/// ```
/// use waypost_rules::{CompiledRules, Condition, Rule, RoutingAction, RuleSet, Severity, Surroundings};
///
/// let never = Condition::all([Condition::Streaming(true), Condition::Streaming(false)]);
/// let rule = Rule::new("never".parse()?, RoutingAction::RouteToProvider("a".parse()?)).when(never);
/// let findings = CompiledRules::lint(&RuleSet::new([rule]), Surroundings::UNKNOWN);
/// assert_eq!(findings[0].to_string(), "rule `never`: no request can meet its conditions");
/// assert_eq!(findings[0].severity, Severity::Warning);
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule; `None` for the set as a whole.
    pub rule: Option<RuleId>,
    /// What is wrong with it.
    pub problem: RuleProblem,
    /// Whether the rules can be used all the same.
    pub severity: Severity,
}

/// Everything that keeps rules from being used; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct RuleErrors(Vec<Finding>);

/// Whether rules with a problem can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// They can, but do perhaps not what was meant.
    Warning,
    /// They cannot.
    Error,
}

/// What is wrong or doubtful.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleProblem {
    /// More rules than [`RuleLimits::max_rules`].
    #[error("{count} rules are more than {most}")]
    TooManyRules {
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// More simple conditions in one rule than [`RuleLimits::max_conditions`].
    #[error("{count} conditions are more than {most}")]
    TooManyConditions {
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Conditions or actions nested deeper than [`RuleLimits::max_depth`].
    #[error("conditions and actions may be nested at most {most} deep")]
    TooDeep {
        /// How deep they may be.
        most: usize,
    },
    /// A longer list than [`RuleLimits::max_listed`].
    #[error("a list of {count} is longer than {most}")]
    ListTooLong {
        /// How long.
        count: usize,
        /// How long it may be.
        most: usize,
    },
    /// More simple actions in one rule than [`RuleLimits::max_actions`].
    #[error("{count} actions are more than {most}")]
    TooManyActions {
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// More regular expressions in all rules than [`RuleLimits::max_regexes`].
    #[error("{count} regular expressions and inner wildcards are more than {most}")]
    TooManyRegexes {
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// More different weights of pools than [`MAX_WEIGHTINGS`](crate::MAX_WEIGHTINGS).
    #[error("{count} different weights of pools are more than {}", crate::MAX_WEIGHTINGS)]
    TooManyWeightings {
        /// How many.
        count: usize,
    },
    /// Two rules with one id.
    #[error("the id is there twice")]
    DuplicateId,
    /// No rule with this id.
    #[error("there is no such rule")]
    UnknownRule,
    /// A rule that rejects and lets the search go on.
    #[error("a rule that continues cannot reject")]
    ContinuesButRejects,
    /// A pool that names no candidates.
    #[error("the pool is empty")]
    EmptyPool,
    /// A pool whose members all have weight 0.
    #[error("all members of the pool have weight 0")]
    NoWeight,
    /// A provider that is twice in one pool.
    #[error("provider `{0}` is twice in the pool")]
    MemberTwice(ProviderId),
    /// A provider that is not in the routing table.
    #[error("unknown provider `{provider}`{}", hint(nearest.as_ref()))]
    UnknownProvider {
        /// The provider.
        provider: ProviderId,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// A mirror that is not in the routing table; perhaps the caller knows it.
    #[error("the routing table has no mirror `{provider}`{}", hint(nearest.as_ref()))]
    UnknownMirror {
        /// The provider.
        provider: ProviderId,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// A rewriting to a model that is not in the routing table.
    #[error("unknown model `{model}`{}", hint(nearest.as_ref()))]
    UnknownModel {
        /// The model.
        model: ModelName,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// A strategy that is not registered.
    #[error("unknown strategy `{strategy}`{}", hint(nearest.as_ref()))]
    UnknownStrategy {
        /// The strategy.
        strategy: LoadBalancingStrategy,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// Rewritings and aliases that lead from a model back to itself. Harmless when no request meets all their conditions;
    /// no request goes round either way, as each rule is asked once.
    #[error("rewriting goes round: {}", .0.iter().map(ModelName::as_str).collect::<Vec<_>>().join(" → "))]
    RewriteCycle(Vec<ModelName>),
    /// A condition on a model that the routing table does not have, by exact name; it may still be a name of the rules' own.
    #[error("the routing table has no model `{model}`{}", hint(nearest.as_ref()))]
    UnknownModelAsked {
        /// The model.
        model: String,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// A condition on a tenant that is not in the routing table.
    #[error("the routing table has no tenant `{tenant}`{}", hint(nearest.as_ref()))]
    UnknownTenant {
        /// The tenant.
        tenant: TenantId,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// Conditions that no request meets.
    #[error("no request can meet its conditions")]
    Contradiction,
    /// A time that ends before it begins.
    #[error("its time ends before it begins")]
    NeverValid,
    /// Every request that the rule would match is decided by an earlier one.
    #[error("can never decide: `{by}` comes first and matches every request that this one matches")]
    Shadowed {
        /// The earlier rule.
        by: RuleId,
    },
    /// A provider that a rule routes to and excludes.
    #[error("routes to `{0}` and excludes it: nobody is left")]
    RoutesToExcluded(ProviderId),
    /// A pool that no candidate of the routing table is in.
    #[error("no candidate of the routing table is in its pool")]
    PoolOfNobody,
    /// Neither a default route nor a rule for all requests.
    #[error("there is no default route: requests that no rule decides go anywhere")]
    NoDefault,
}

impl RuleProblem {
    /// Whether rules with this problem can be used. A name that is not known is no error in a rule that is disabled, nor in
    /// one that was there before: who removes a provider need not mend the rules first.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::UnknownMirror { .. }
            | Self::UnknownModelAsked { .. }
            | Self::UnknownTenant { .. }
            | Self::Contradiction
            | Self::NeverValid
            | Self::Shadowed { .. }
            | Self::RoutesToExcluded(_)
            | Self::PoolOfNobody
            | Self::RewriteCycle(_)
            | Self::NoDefault => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

impl RuleProblem {
    /// Whether the surroundings lack a name.
    const fn is_of_names(&self) -> bool {
        matches!(
            self,
            Self::UnknownProvider { .. } | Self::UnknownModel { .. } | Self::UnknownStrategy { .. }
        )
    }
}

impl Finding {
    fn of(rule: &Rule, problem: RuleProblem) -> Self {
        Self { rule: Some(rule.id.clone()), severity: problem.severity(), problem }
    }

    /// About the set as a whole.
    pub(crate) const fn of_set(problem: RuleProblem) -> Self {
        Self { rule: None, severity: problem.severity(), problem }
    }

    /// The same, no error if it is only about a name and that is excused.
    fn excused(self, excused: bool) -> Self {
        if excused && self.problem.is_of_names() {
            Self { severity: Severity::Warning, ..self }
        } else {
            self
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) => write!(f, "rule `{rule}`: {}", self.problem),
            None => self.problem.fmt(f),
        }
    }
}

impl RuleErrors {
    /// The errors among findings, if there are any.
    pub(crate) fn of(findings: &[Finding]) -> Result<(), Self> {
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        let errors: Vec<_> = errors.cloned().collect();
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// What is wrong.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

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

/// A router keeps balancers for every weighting of a pool.
fn weightings(set: &RuleSet) -> Option<Finding> {
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

fn within_limits(set: &RuleSet) -> Vec<Finding> {
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

fn each_action<'a>(action: &'a RoutingAction, see: &mut impl FnMut(&'a RoutingAction)) {
    match action {
        RoutingAction::Chain(actions) => actions.iter().for_each(|action| each_action(action, see)),
        simple => see(simple),
    }
}

fn each_condition<'a>(condition: &'a Condition, see: &mut impl FnMut(&'a Condition)) {
    see(condition);
    condition.parts().iter().for_each(|part| each_condition(part, see));
}

/// The names that rules may use.
struct Known<'a> {
    /// How many more names are compared with all others to find the one that was meant.
    hints: Cell<usize>,
    surroundings: Surroundings<'a>,
    providers: BTreeSet<&'a str>,
    models: BTreeSet<&'a str>,
    tenants: BTreeSet<&'a str>,
    strategies: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    fn new(surroundings: Surroundings<'a>) -> Self {
        let table = surroundings.table;
        let candidates = table.into_iter().flat_map(RoutingTable::candidates);
        let own = table.into_iter().flat_map(|table| table.models().map(|(model, _)| model.as_str()));
        let aliases = table.into_iter().flat_map(|table| table.aliases().map(|(alias, _)| alias.as_str()));
        let tenants = table.into_iter().flat_map(|table| table.tenants().map(|(tenant, _)| tenant.as_str()));
        Self {
            hints: Cell::new(HINTS),
            surroundings,
            providers: candidates.map(|candidate| candidate.provider().as_str()).collect(),
            models: own.chain(aliases).collect(),
            tenants: tenants.collect(),
            strategies: surroundings
                .strategies
                .into_iter()
                .flatten()
                .map(LoadBalancingStrategy::as_str)
                .collect(),
        }
    }

    fn action(&self, action: &RoutingAction) -> Vec<RuleProblem> {
        match action {
            RoutingAction::RouteToProvider(provider) => self.provider(provider).into_iter().collect(),
            RoutingAction::RouteToPool(route) if route.is_everywhere() => vec![RuleProblem::EmptyPool],
            RoutingAction::RouteToPool(route) => self.route(route),
            RoutingAction::ApplyStrategy(strategy) => self.strategy(strategy).into_iter().collect(),
            RoutingAction::Exclude(providers) => providers.iter().filter_map(|p| self.provider(p)).collect(),
            RoutingAction::RewriteModel(model) => self.model(model).into_iter().collect(),
            RoutingAction::Mirror(target) => self.mirror(&target.provider).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn route(&self, route: &RouteConfig) -> Vec<RuleProblem> {
        let members = || route.provider_pool.iter().map(|member| &member.provider);
        let mut problems: Vec<_> = members().filter_map(|provider| self.provider(provider)).collect();
        let mut seen = HashSet::new();
        let twice = members().filter(|provider| !seen.insert(provider.as_str()));
        problems.extend(twice.cloned().map(RuleProblem::MemberTwice));
        problems.extend(route.strategy.as_ref().and_then(|strategy| self.strategy(strategy)));
        let weightless = |weights: PoolWeights| members().all(|p| weights.of(p) == Weight::ZERO);
        if route.weights().is_some_and(weightless) {
            problems.push(RuleProblem::NoWeight);
        }
        // Providers that are known have candidates.
        let narrowed = !route.regions.is_empty() || !route.tags.is_empty();
        let nobody = |table| narrowed && !has_members(table, route);
        if problems.is_empty() && self.surroundings.table.is_some_and(nobody) {
            problems.push(RuleProblem::PoolOfNobody);
        }
        problems
    }

    fn likeliest(&self, name: &str, known: &BTreeSet<&str>) -> Option<String> {
        self.hints.set(self.hints.get().checked_sub(1)?);
        nearest(name, known.iter().copied()).map(ToOwned::to_owned)
    }

    fn provider(&self, provider: &ProviderId) -> Option<RuleProblem> {
        let unknown = self.surroundings.table.is_some() && !self.providers.contains(provider.as_str());
        unknown.then(|| RuleProblem::UnknownProvider {
            provider: provider.clone(),
            nearest: self.likeliest(provider.as_str(), &self.providers),
        })
    }

    /// The caller may know shadows that the table does not.
    fn mirror(&self, provider: &ProviderId) -> Option<RuleProblem> {
        let unknown = self.surroundings.table.is_some() && !self.providers.contains(provider.as_str());
        unknown.then(|| RuleProblem::UnknownMirror {
            provider: provider.clone(),
            nearest: self.likeliest(provider.as_str(), &self.providers),
        })
    }

    fn model(&self, model: &ModelName) -> Option<RuleProblem> {
        let unknown = self.surroundings.table.is_some() && !self.models.contains(model.as_str());
        unknown.then(|| RuleProblem::UnknownModel {
            model: model.clone(),
            nearest: self.likeliest(model.as_str(), &self.models),
        })
    }

    fn strategy(&self, strategy: &LoadBalancingStrategy) -> Option<RuleProblem> {
        let unknown = self.surroundings.strategies.is_some_and(|known| !known.contains(strategy));
        unknown.then(|| RuleProblem::UnknownStrategy {
            strategy: strategy.clone(),
            nearest: self.likeliest(strategy.as_str(), &self.strategies),
        })
    }

    fn condition(&self, condition: &Condition) -> Vec<RuleProblem> {
        if self.surroundings.table.is_none() {
            return Vec::new();
        }
        match condition {
            Condition::Tenant(names) => {
                let unknown = names.iter().filter(|tenant| !self.tenants.contains(tenant.as_str()));
                let problem = |tenant: &TenantId| RuleProblem::UnknownTenant {
                    tenant: tenant.clone(),
                    nearest: self.likeliest(tenant.as_str(), &self.tenants),
                };
                unknown.map(problem).collect()
            }
            Condition::Model(patterns) => {
                let exact = patterns.iter().filter_map(TextPattern::as_exact);
                let problem = |model: &str| RuleProblem::UnknownModelAsked {
                    model: model.to_owned(),
                    nearest: self.likeliest(model, &self.models),
                };
                exact.filter(|&model| !self.models.contains(model)).map(problem).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn has_members(table: &RoutingTable, route: &RouteConfig) -> bool {
    let providers: HashSet<&ProviderId> = route.provider_pool.iter().map(|member| &member.provider).collect();
    let regions: HashSet<&Region> = route.regions.iter().collect();
    table.candidates().any(|candidate| {
        (providers.is_empty() || providers.contains(candidate.provider()))
            && (regions.is_empty() || candidate.region().is_some_and(|region| regions.contains(region)))
            && route.tags.iter().all(|tag| candidate.tags().contains(tag))
    })
}

/// Models that rewritings by exact name and aliases lead back to.
fn rewrite_cycles(set: &RuleSet, surroundings: Surroundings<'_>) -> Vec<Finding> {
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

/// What can be told only of compiled rules: rules that no request reaches.
pub(crate) fn reachability(
    set: &RuleSet,
    order: &[usize],
    products: &[Product],
    index: &Index,
    universe: &Universe,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let asked = Asked { set, order, products, index, universe, changes: changes(set, order) };
    for (place, product) in products.iter().enumerate() {
        let rule = &set.rules[order[place]];
        if product.is_never() {
            findings.push(Finding::of(rule, RuleProblem::Contradiction));
        } else if let Some(by) = asked.shadowing(place) {
            findings.push(Finding::of(rule, RuleProblem::Shadowed { by: set.rules[order[by]].id.clone() }));
        }
    }
    let decides_all = |(place, product): (usize, &Product)| {
        product.exact && product.sets.is_empty() && !product.is_never() && !set.rules[order[place]].continues
    };
    let has_default = set.default_route.is_some() || products.iter().enumerate().any(decides_all);
    if !has_default && !set.rules.is_empty() {
        findings.push(Finding::of_set(RuleProblem::NoDefault));
    }
    findings
}

/// Rules in the order in which they are asked, with what is known of them.
struct Asked<'a> {
    set: &'a RuleSet,
    order: &'a [usize],
    products: &'a [Product],
    index: &'a Index,
    universe: &'a Universe,
    changes: Vec<Changes>,
}

/// How many rules before a place change a request's model, priority or tags for the rules after them.
#[derive(Debug, Clone, Copy, Default)]
struct Changes {
    model: usize,
    priority: usize,
    tags: usize,
}

/// The changes before each place, and before the end.
fn changes(set: &RuleSet, order: &[usize]) -> Vec<Changes> {
    let mut so_far = Changes::default();
    let mut changes = vec![so_far];
    for &place in order {
        let rule = &set.rules[place];
        if rule.continues {
            let effects = Effects::of_rule(&rule.id, &rule.action, true);
            so_far.model += usize::from(effects.model.is_some());
            so_far.priority += usize::from(effects.priority.is_some());
            so_far.tags += usize::from(!effects.tags().is_empty());
        }
        changes.push(so_far);
    }
    changes
}

impl Asked<'_> {
    /// An earlier rule that decides every request that a rule would match. Only rules that the index leaves possible for
    /// one of its requests are compared.
    fn shadowing(&self, place: usize) -> Option<usize> {
        let product = &self.products[place];
        let mut classes = [0; MAX_DIMENSIONS];
        for (class, attribute) in classes.iter_mut().zip(self.index.attributes()) {
            *class = product.sets.get(&attribute).and_then(ClassSet::first).unwrap_or(0);
        }
        let point = Point { classes, present: Present::UNKNOWN };
        let earlier = self.index.search(&point, None).take_while(|&earlier| earlier < place).take(COMPARED);
        let decides = |&earlier: &usize| !self.set.rules[self.order[earlier]].continues;
        let covers = |&earlier: &usize| self.products[earlier].covers(product);
        earlier.filter(decides).filter(covers).find(|&earlier| !self.sees_another_request(earlier, place))
    }

    /// Whether a rule between two others changes something that the earlier one looks at: the later one may match a
    /// request that the earlier one did not see.
    fn sees_another_request(&self, earlier: usize, later: usize) -> bool {
        let (before, after) = (self.changes[earlier + 1], self.changes[later]);
        self.products[earlier].sets.keys().any(|&place| match &self.universe.attributes()[place].attribute {
            Attribute::Model => before.model != after.model,
            Attribute::Priority => before.priority != after.priority,
            Attribute::Tag(_) => before.tags != after.tags,
            _ => false,
        })
    }
}
