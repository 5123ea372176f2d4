//! What is wrong or doubtful about rules, found before they run.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use waypost_core::{
    LoadBalancingStrategy, ModelName, PoolWeights, ProviderId, RoutingTable, RuleId, TenantId, Weight,
};

use crate::attribute::Attribute;
use crate::compiled::Surroundings;
use crate::effects::Effects;
use crate::index::{Index, MAX_DIMENSIONS};
use crate::nearest::{hint, nearest};
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
    /// More different regular expressions in all rules than [`RuleLimits::max_regexes`].
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
            Self::UnknownModelAsked { .. }
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

    /// The same without keeping anybody from using the rules.
    fn into_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
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
    let before: HashMap<&RuleId, &Rule> =
        before.into_iter().flat_map(|set| &set.rules).map(|rule| (&rule.id, rule)).collect();
    for rule in &set.rules {
        let excused = !rule.enabled || before.get(&rule.id).is_some_and(|before| before.same_as(rule));
        let found = one_rule(rule, &known).into_iter().map(|problem| {
            let finding = Finding::of(rule, problem);
            if excused && finding.problem.is_of_names() { finding.into_warning() } else { finding }
        });
        findings.extend(found);
    }
    if let Some(route) = &set.default_route {
        findings.extend(known.route(route).into_iter().map(Finding::of_set));
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
    let mut regexes = HashSet::new();
    let mut findings = Vec::new();
    for rule in &set.rules {
        let mut sizes = Sizes { limits: set.limits, conditions: 0, too_deep: false, longest: 0 };
        sizes.condition(&rule.condition, 1, &mut regexes);
        sizes.action(&rule.action, 1);
        findings.extend(sizes.problems().into_iter().map(|problem| Finding::of(rule, problem)));
    }
    let (count, most) = (regexes.len(), set.limits.max_regexes);
    if count > most {
        findings.push(Finding::of_set(RuleProblem::TooManyRegexes { count, most }));
    }
    findings
}

/// How large a rule is. Descends no deeper than it may.
struct Sizes {
    limits: RuleLimits,
    conditions: usize,
    too_deep: bool,
    longest: usize,
}

impl Sizes {
    fn condition<'a>(&mut self, condition: &'a Condition, depth: usize, regexes: &mut HashSet<&'a str>) {
        if depth > self.limits.max_depth.min(RuleLimits::MOST_DEPTH) {
            self.too_deep = true;
            return;
        }
        match condition {
            Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {
                condition.parts().iter().for_each(|part| self.condition(part, depth + 1, regexes));
            }
            simple => {
                self.conditions += 1;
                self.longest = self.longest.max(listed(simple));
                let patterns = patterns(simple).iter().filter(|pattern| pattern.runs_regex());
                regexes.extend(patterns.map(TextPattern::as_str));
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
        self.longest = self.longest.max(listed);
    }

    fn problems(&self) -> Vec<RuleProblem> {
        let RuleLimits { max_conditions, max_depth, max_listed, .. } = self.limits;
        let (count, most) = (self.conditions, max_conditions);
        let conditions = (count > most).then_some(RuleProblem::TooManyConditions { count, most });
        let most = max_depth.min(RuleLimits::MOST_DEPTH);
        let depth = self.too_deep.then_some(RuleProblem::TooDeep { most });
        let (count, most) = (self.longest, max_listed);
        let list = (count > most).then_some(RuleProblem::ListTooLong { count, most });
        [conditions, depth, list].into_iter().flatten().collect()
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
            RoutingAction::Mirror(target) => self.provider(&target.provider).into_iter().collect(),
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
        if problems.is_empty() && self.surroundings.table.is_some_and(|table| !has_members(table, route)) {
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
    table.candidates().any(|candidate| {
        let provider = candidate.provider();
        let named = route.provider_pool.iter().any(|member| member.provider == *provider);
        (named || route.provider_pool.is_empty())
            && (route.regions.is_empty()
                || candidate.region().is_some_and(|region| route.regions.contains(region)))
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
    if !seen.insert(start) {
        return None;
    }
    while let Some((model, _, next)) = way.last_mut() {
        let Some(&(to, rule)) = steps.get(model).and_then(|steps| steps.get(*next)) else {
            way.pop();
            continue;
        };
        *next += 1;
        if let Some(first) = way.iter().position(|(known, ..)| *known == to) {
            let rules = way[first + 1..].iter().filter_map(|(_, rule, _)| *rule).chain(rule);
            if let Some(rule) = rules.last() {
                let names = way[first..].iter().map(|(model, ..)| *model).chain([to]);
                let names = names.filter_map(|name| ModelName::new(name).ok()).collect();
                let problem = RuleProblem::RewriteCycle(names);
                return Some(Finding { rule: Some(rule.clone()), severity: problem.severity(), problem });
            }
        } else if seen.insert(to) {
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
    for (place, product) in products.iter().enumerate() {
        let rule = &set.rules[order[place]];
        if product.is_never() {
            findings.push(Finding::of(rule, RuleProblem::Contradiction));
        } else if let Some(by) = shadowing(place, set, order, products, index, universe) {
            findings.push(Finding::of(rule, RuleProblem::Shadowed { by: set.rules[order[by]].id.clone() }));
        }
    }
    let decides_all = |(place, product): (usize, &Product)| {
        product.exact && product.sets.is_empty() && !set.rules[order[place]].continues
    };
    let has_default = set.default_route.is_some() || products.iter().enumerate().any(decides_all);
    if !has_default && !set.rules.is_empty() {
        findings.push(Finding::of_set(RuleProblem::NoDefault));
    }
    findings
}

/// An earlier rule that decides every request that a rule would match. Only rules that the index leaves possible for one
/// of its requests are compared.
fn shadowing(
    place: usize,
    set: &RuleSet,
    order: &[usize],
    products: &[Product],
    index: &Index,
    universe: &Universe,
) -> Option<usize> {
    let product = &products[place];
    let mut classes = [0; MAX_DIMENSIONS];
    for (class, attribute) in classes.iter_mut().zip(index.attributes()) {
        *class = product.sets.get(&attribute).and_then(crate::class_set::ClassSet::first).unwrap_or(0);
    }
    let earlier = index.search(&classes, None).take_while(|&earlier| earlier < place).take(COMPARED);
    let decides = |&earlier: &usize| !set.rules[order[earlier]].continues;
    earlier.filter(decides).find(|&earlier| {
        products[earlier].covers(product)
            && !(earlier + 1..place)
                .any(|between| changes(&set.rules[order[between]], &products[earlier], universe))
    })
}

/// Whether a rule that continues changes something that another rule looks at: what comes after it sees another request.
fn changes(rule: &Rule, looking: &Product, universe: &Universe) -> bool {
    if !rule.continues {
        return false;
    }
    let effects = Effects::of_rule(&rule.id, &rule.action, true);
    looking.sets.keys().any(|&place| match &universe.attributes()[place].attribute {
        Attribute::Model => effects.model.is_some(),
        Attribute::Priority => effects.priority.is_some(),
        Attribute::Tag(tag) => effects.tags().contains(tag),
        _ => false,
    })
}
