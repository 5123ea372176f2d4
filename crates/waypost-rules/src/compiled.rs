//! One version of the rules, ready to be asked.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use waypost_core::{
    DecisionContext, LoadBalancingStrategy, PoolWeights, RequestMatcher, RoutingTable, RuleId,
};

use crate::cache::{Key, VerdictCache};
use crate::calendar::Calendar;
use crate::changes::Changes;
use crate::check;
use crate::effects::Effects;
use crate::finding::{Finding, RuleErrors};
use crate::index::{Index, Point};
use crate::metrics::{Counters, Matches};
use crate::product::Product;
use crate::universe::{Survey, Universe};
use crate::verdict::Annotating;
use crate::{Condition, Rule, RuleSet, RuleUpdate, RulesMetrics, Sample, Verdict};

/// How rules are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct RulesConfig {
    /// Whether verdicts are kept. Default: where it pays.
    pub cache: CacheMode,
    /// The most verdicts that are kept, 1 to 65,536; rounded up to a power of two. About 250 bytes each,
    /// and the texts that regular expressions look at, at most 512 bytes of each. Default: 4,096.
    pub cache_entries: usize,
}

/// Whether verdicts are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CacheMode {
    /// Where it pays: when several rules run regular expressions. Otherwise evaluating is as fast as looking up.
    #[default]
    WhereItPays,
    /// Wherever it can be: always, but with conditions of the user's own, and with more than 32 attributes.
    Always,
    /// Never.
    Never,
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self { cache: CacheMode::default(), cache_entries: 4_096 }
    }
}

impl RulesConfig {
    /// The same with another number of entries.
    pub const fn entries(mut self, entries: usize) -> Self {
        self.cache_entries = entries;
        self
    }

    /// The same with another cache mode.
    pub const fn cache(mut self, cache: CacheMode) -> Self {
        self.cache = cache;
        self
    }
}

/// Rules that run regular expressions from which on keeping verdicts pays: two cost about as much as a look-up.
const CACHE_PAYS_FROM: usize = 3;

/// What rules may name, as far as it is known: what is not given is not checked.
///
/// ```
/// use waypost_core::{ProviderCandidate, RoutingTable, RoutingTableUpdate};
/// use waypost_rules::{CompiledRules, Rule, RoutingAction, RuleSet, Surroundings};
///
/// let candidate = ProviderCandidate::azure("azure-eu", "gpt-4o").build()?;
/// let table = RoutingTable::default().updated([RoutingTableUpdate::add(candidate)])?;
/// let set = RuleSet::new([Rule::new("eu".parse()?, RoutingAction::RouteToProvider("azure-uk".parse()?))]);
/// let findings = CompiledRules::lint(&set, Surroundings::default().table(&table));
/// assert_eq!(findings[0].to_string(), "rule `eu`: unknown provider `azure-uk`, did you mean `azure-eu`?");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Surroundings<'a> {
    /// The providers, models, aliases and tenants.
    pub table: Option<&'a RoutingTable>,
    /// The strategies.
    pub strategies: Option<&'a [LoadBalancingStrategy]>,
}

impl<'a> Surroundings<'a> {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { table: None, strategies: None };

    /// A table with its providers, models, aliases and tenants.
    pub const fn table(mut self, table: &'a RoutingTable) -> Self {
        self.table = Some(table);
        self
    }

    /// The strategies that are registered.
    pub const fn strategies(mut self, strategies: &'a [LoadBalancingStrategy]) -> Self {
        self.strategies = Some(strategies);
        self
    }
}

/// One version of the rules, checked and compiled: immutable but for what it counts and keeps.
///
/// ```
/// use waypost_core::{DecisionContext, GatewayRequest, RoutingContext, RuleId, TenantId, Timestamp, TokenUsage};
/// use waypost_rules::{CompiledRules, Condition, Rule, RuleSet, RoutingAction, RulesConfig, Surroundings};
///
/// let acme = TenantId::new("acme")?;
/// let rule = Rule::new(RuleId::new("acme")?, RoutingAction::ApplyStrategy("least_latency".parse()?))
///     .when(Condition::Tenant(acme.clone().into()));
/// let rules = CompiledRules::compile(RuleSet::new([rule]), RulesConfig::default(), Surroundings::UNKNOWN)?;
///
/// let (request, context) = (GatewayRequest::new("gpt-4o")?, RoutingContext::default().with_tenant(acme));
/// let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
/// assert_eq!(*rules.evaluate(&decision).rule().unwrap().id(), "acme");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CompiledRules {
    set: Arc<RuleSet>,
    config: RulesConfig,
    generation: u64,
    warnings: Vec<Finding>,
    /// Those that are asked, in the order in which they are.
    rules: Box<[CompiledRule]>,
    /// How often each rule of the set matched, asked or not.
    matches: Box<[Matches]>,
    default: Option<Effects>,
    universe: Universe,
    index: Index,
    calendar: Option<Calendar>,
    cache: Option<VerdictCache>,
    counters: Arc<Counters>,
}

/// No rules: they change nothing.
impl Default for CompiledRules {
    fn default() -> Self {
        let compiled = Self::compile(RuleSet::default(), RulesConfig::default(), Surroundings::UNKNOWN);
        compiled.expect("no rules are free of errors")
    }
}

/// One rule of a compiled version.
#[derive(Debug)]
pub struct CompiledRule {
    /// The place of the rule in the set.
    pub(crate) place: usize,
    id: RuleId,
    priority: u32,
    pub(crate) continues: bool,
    /// The condition, with the rule's id as the salt of samples without one, where the index does not tell the whole
    /// truth.
    matcher: Option<Box<Condition>>,
    pub(crate) effects: Effects,
    pub(crate) matches: Matches,
}

impl CompiledRule {
    /// Its name.
    pub const fn id(&self) -> &RuleId {
        &self.id
    }

    /// Its place among the others.
    pub const fn priority(&self) -> u32 {
        self.priority
    }

    fn matches(&self, decision: &DecisionContext<'_>) -> bool {
        self.matcher.as_ref().is_none_or(|condition| condition.matches(decision))
    }
}

impl CompiledRules {
    /// Checks and compiles a rule set.
    ///
    /// # Errors
    ///
    /// [`RuleErrors`] with everything that is wrong; what is only doubtful is in [`warnings`](Self::warnings).
    ///
    /// # Complexity
    ///
    /// Linear in the rules and their conditions, times the logarithm of their number; 10,000 rules take some ten
    /// milliseconds. For the control path.
    pub fn compile(
        set: RuleSet,
        config: RulesConfig,
        surroundings: Surroundings<'_>,
    ) -> Result<Self, RuleErrors> {
        Self::compile_next(set, config, surroundings, None)
    }

    /// Compiles the version that takes `previous`' place: counts go on.
    fn compile_next(
        set: RuleSet,
        config: RulesConfig,
        surroundings: Surroundings<'_>,
        previous: Option<&Self>,
    ) -> Result<Self, RuleErrors> {
        let mut findings = check::check(&set, surroundings, previous.map(|previous| &*previous.set));
        RuleErrors::of(&findings)?;
        let order = order(&set);
        let conditions: Vec<_> = order.iter().map(|&place| salted(&set.rules[place])).collect();
        let universe = survey(&set, &order, &conditions);
        let products = products(&set, &order, &conditions, &universe);
        let (index, unsure) = Index::new(&products, &universe);
        findings.extend(check::reachability(&set, &order, &products, &index, &universe));
        let matches = counts(&set, previous);
        let rules = rules(&set, &order, conditions, &unsure, &matches);
        let cache = config.keeps_verdicts(&rules, &index, &universe);
        let cache = cache.then(|| VerdictCache::new(config.cache_entries, &index, &universe));
        Ok(Self {
            config,
            generation: previous.map_or(1, |previous| previous.generation + 1),
            warnings: findings,
            rules,
            matches,
            default: set.default_route.as_ref().map(Effects::of_route),
            calendar: Calendar::new(&products, &universe),
            cache,
            counters: previous.map(|previous| Arc::clone(&previous.counters)).unwrap_or_default(),
            universe,
            index,
            set: Arc::new(set),
        })
    }

    /// Everything that is wrong or doubtful about a rule set, errors first.
    pub fn lint(set: &RuleSet, surroundings: Surroundings<'_>) -> Vec<Finding> {
        let mut findings = check::check(set, surroundings, None);
        // What is wrong with names does not keep rules from being compared with each other.
        if let Ok(compiled) = Self::compile(set.clone(), RulesConfig::default(), Surroundings::UNKNOWN) {
            let more = compiled.warnings.into_iter().filter(|finding| !findings.contains(finding));
            findings.extend(more.collect::<Vec<_>>());
        }
        findings.sort_by_key(|finding| core::cmp::Reverse(finding.severity));
        findings
    }

    /// The version after this one, changed by all of the updates or none.
    ///
    /// # Errors
    ///
    /// [`RuleErrors`] with everything that is wrong.
    pub fn updated(
        &self,
        updates: impl IntoIterator<Item = RuleUpdate>,
        surroundings: Surroundings<'_>,
    ) -> Result<Self, RuleErrors> {
        Self::compile_next(self.set.updated(updates)?, self.config, surroundings, Some(self))
    }

    /// What the rules say of a request. Counts the evaluation and the rules that matched.
    ///
    /// # Complexity
    ///
    /// A look-up for each attribute that rules look at, then a word of 64 rules at a time where the request may match
    /// any of them, up to the first match. Allocates nothing, unless more than four annotating rules match, a verdict is
    /// kept, or a window of time opened or closed.
    pub fn evaluate<'r>(&'r self, decision: &DecisionContext<'_>) -> Verdict<'r> {
        let verdict = self.verdict(decision, true);
        self.counters.evaluated();
        verdict.matched().for_each(|rule| rule.matches.count());
        if verdict.deciding.is_none() {
            self.counters.unmatched();
        }
        verdict
    }

    /// What the rules would say of a request. Counts and keeps nothing.
    pub fn peek<'r>(&'r self, decision: &DecisionContext<'_>) -> Verdict<'r> {
        self.verdict(decision, false)
    }

    fn verdict<'r>(&'r self, decision: &DecisionContext<'_>, keep: bool) -> Verdict<'r> {
        let timely = self.calendar.as_ref().map(|calendar| calendar.at(decision.wall));
        let point = self.index.locate(decision, &self.universe);
        let stretch = timely.as_ref().map_or(0, |timely| timely.stretch);
        let rules = timely.as_ref().map(|timely| &*timely.rules);
        let find = || self.find(decision, &point, rules);
        let cache = self.cache.as_ref().filter(|_| keep);
        let keyed = cache
            .and_then(|cache| Some((cache, cache.key(&point.classes, stretch, decision, &self.universe)?)));
        match keyed {
            Some((cache, key)) => self.kept(cache, &key, find),
            None => find(),
        }
    }

    fn kept<'r>(
        &'r self,
        cache: &VerdictCache,
        key: &Key<'_>,
        find: impl FnOnce() -> Verdict<'r>,
    ) -> Verdict<'r> {
        let kept = cache.get(key, |matched| self.verdict_of(matched));
        self.counters.cached(kept.is_some());
        kept.unwrap_or_else(|| {
            let verdict = find();
            cache.put(key, verdict.matched().map(|rule| self.place_of(rule)));
            verdict
        })
    }

    /// The verdict that some rules matched, in order.
    fn verdict_of(&self, matched: &[u16]) -> Verdict<'_> {
        let mut verdict = self.nothing();
        for &place in matched {
            let rule = &self.rules[usize::from(place)];
            if rule.continues {
                verdict.annotating.push(rule);
            } else {
                verdict.deciding = Some(rule);
            }
        }
        verdict
    }

    fn place_of(&self, rule: &CompiledRule) -> u16 {
        let place = self.rules.binary_search_by(|other| order_of(other).cmp(&order_of(rule)));
        place.expect("a verdict names rules of its own version") as u16
    }

    fn nothing(&self) -> Verdict<'_> {
        Verdict { annotating: Annotating::default(), deciding: None, default: self.default.as_ref() }
    }

    /// Asks the rules that the index leaves possible, in order.
    fn find<'r>(
        &'r self,
        decision: &DecisionContext<'_>,
        point: &Point,
        timely: Option<&[u64]>,
    ) -> Verdict<'r> {
        let mut verdict = self.nothing();
        let mut search = self.index.search(point, timely);
        let mut changes = Changes::default();
        while let Some(place) = search.next() {
            let rule = &self.rules[place];
            if !rule.matches(&changes.made_to(decision)) {
                continue;
            }
            if !rule.continues {
                verdict.deciding = Some(rule);
                break;
            }
            verdict.annotating.push(rule);
            if rule.effects.changes_the_request() {
                changes.add(&rule.effects);
                let point = self.index.locate(&changes.made_to(decision), &self.universe);
                search.resume_after(place, &point);
            }
        }
        verdict
    }

    /// The rule set that this was made from.
    pub fn set(&self) -> &RuleSet {
        &self.set
    }

    /// How verdicts are kept.
    pub const fn config(&self) -> RulesConfig {
        self.config
    }

    /// How many versions there have been, this one included.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// What is doubtful about the rules.
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// The rules that are asked, in the order in which they are: those that are enabled.
    pub const fn rules(&self) -> &[CompiledRule] {
        &self.rules
    }

    /// The strategies that rules and the default route name, but those that choose by weights of a pool's own.
    pub fn strategies(&self) -> impl Iterator<Item = &LoadBalancingStrategy> {
        let unweighted = self.effects().filter(|effects| effects.weights.is_none());
        unweighted.filter_map(|effects| effects.strategy.as_ref())
    }

    /// The weights that pools of rules and of the default route have of their own.
    pub fn weights(&self) -> impl Iterator<Item = &PoolWeights> {
        self.effects().filter_map(|effects| effects.weights.as_ref())
    }

    fn effects(&self) -> impl Iterator<Item = &Effects> {
        self.rules.iter().map(|rule| &rule.effects).chain(&self.default)
    }

    /// Whether a rule looks at the wall time: if not, nobody need read a clock.
    pub const fn look_at_time(&self) -> bool {
        self.calendar.is_some() || self.universe.has_custom
    }

    /// Whether verdicts are kept.
    pub const fn keep_verdicts(&self) -> bool {
        self.cache.is_some()
    }

    /// Whether there is nothing to ask and nowhere to go: then no request is changed.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.default.is_none()
    }

    /// What was counted since the first version.
    pub fn metrics(&self) -> RulesMetrics {
        self.counters.snapshot(self.set.rules.iter().map(|rule| &rule.id).zip(&self.matches))
    }

    /// The place of the rule in the set, and whether it is asked.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (&CompiledRule, &Rule)> {
        self.rules.iter().map(|rule| (rule, &self.set.rules[rule.place]))
    }
}

/// The places of the enabled rules in the order in which they are asked: by priority, then by definition.
fn order(set: &RuleSet) -> Vec<usize> {
    let mut order: Vec<_> = (0..set.rules.len()).filter(|&place| set.rules[place].enabled).collect();
    order.sort_by_key(|&place| core::cmp::Reverse(set.rules[place].priority));
    order
}

/// What rules are sorted by.
const fn order_of(rule: &CompiledRule) -> (core::cmp::Reverse<u32>, usize) {
    (core::cmp::Reverse(rule.priority), rule.place)
}

fn survey(set: &RuleSet, order: &[usize], conditions: &[Condition]) -> Universe {
    let mut survey = Survey::default();
    for (&place, condition) in order.iter().zip(conditions) {
        survey.add(condition, set.rules[place].validity);
    }
    survey.into_universe()
}

/// What each rule asks of each attribute by itself, its time among them.
fn products(set: &RuleSet, order: &[usize], conditions: &[Condition], universe: &Universe) -> Vec<Product> {
    let product = |(&place, condition): (&usize, &Condition)| {
        Product::of(condition, false, universe).and(universe.validity(set.rules[place].validity))
    };
    order.iter().zip(conditions).map(product).collect()
}

/// A rule's condition with the rule's id as the salt of samples that have none.
pub(crate) fn salted(rule: &Rule) -> Condition {
    fn salt(condition: &Condition, id: &RuleId) -> Condition {
        let all = |parts: &[Condition]| parts.iter().map(|part| salt(part, id)).collect();
        match condition {
            Condition::All(parts) => Condition::All(all(parts)),
            Condition::Any(parts) => Condition::Any(all(parts)),
            Condition::Not(part) => Condition::Not(Box::new(salt(part, id))),
            Condition::Sample(sample) if sample.salt.is_none() => {
                Condition::Sample(Sample { salt: Some(id.as_str().into()), ..sample.clone() })
            }
            simple => simple.clone(),
        }
    }
    salt(&rule.condition, &rule.id)
}

fn rules(
    set: &RuleSet,
    order: &[usize],
    conditions: Vec<Condition>,
    unsure: &[bool],
    matches: &[Matches],
) -> Box<[CompiledRule]> {
    let compiled = |((&place, condition), &unsure): ((&usize, Condition), &bool)| {
        let rule = &set.rules[place];
        CompiledRule {
            place,
            id: rule.id.clone(),
            priority: rule.priority,
            continues: rule.continues,
            matcher: unsure.then(|| Box::new(condition)),
            effects: Effects::of_rule(&rule.id, &rule.action, rule.continues),
            matches: matches[place].clone(),
        }
    };
    order.iter().zip(conditions).zip(unsure).map(compiled).collect()
}

/// A count for each rule of the set, that of the version before where it had the rule.
fn counts(set: &RuleSet, previous: Option<&CompiledRules>) -> Box<[Matches]> {
    let before =
        previous.map(|previous| previous.set.rules.iter().map(|rule| &rule.id).zip(&previous.matches));
    let known: HashMap<&RuleId, &Matches> = before.into_iter().flatten().collect();
    set.rules.iter().map(|rule| known.get(&rule.id).copied().cloned().unwrap_or_default()).collect()
}

impl RulesConfig {
    /// Whether verdicts of these rules are kept.
    fn keeps_verdicts(&self, rules: &[CompiledRule], index: &Index, universe: &Universe) -> bool {
        let can = !universe.has_custom && index.is_complete(universe);
        let runs_regex = |rule: &&CompiledRule| rule.matcher.as_deref().is_some_and(runs_regex);
        match self.cache {
            CacheMode::Never => false,
            CacheMode::Always => can,
            CacheMode::WhereItPays => can && rules.iter().filter(runs_regex).count() >= CACHE_PAYS_FROM,
        }
    }
}

fn runs_regex(condition: &Condition) -> bool {
    match condition {
        Condition::Model(patterns) | Condition::UserAgent(patterns) | Condition::Metadata(_, patterns) => {
            patterns.iter().any(crate::TextPattern::runs_regex)
        }
        composed => composed.parts().iter().any(runs_regex),
    }
}

impl fmt::Debug for CompiledRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledRules")
            .field("generation", &self.generation)
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}
