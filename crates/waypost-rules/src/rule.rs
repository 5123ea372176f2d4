//! A rule, and rules in order.

use waypost_core::RuleId;

use crate::{Condition, RouteConfig, RoutingAction, Validity};

/// One routing rule: a condition and what happens to requests that meet it.
///
/// ```
/// use waypost_core::{RejectionReason, RuleId, TenantId};
/// use waypost_rules::{Condition, RoutingAction, Rule};
///
/// let closed = Rule::new(RuleId::new("closed")?, RoutingAction::Reject { reason: RejectionReason::MaintenanceMode })
///     .when(Condition::Tenant(TenantId::new("acme")?.into()))
///     .priority(100);
/// assert_eq!(closed.to_string(), "when the tenant is acme, reject: maintenance");
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// What it is for, for people.
    pub description: Option<String>,
    /// Rules of higher priority are asked first; of equal priority in the order of the set. Default: 0.
    pub priority: u32,
    /// Whether it is asked at all. Default: yes.
    pub enabled: bool,
    /// In which time it is asked. Default: always.
    pub validity: Validity,
    /// What it asks of a request. Default: nothing.
    pub condition: Condition,
    /// What it does.
    pub action: RoutingAction,
    /// Whether the rules after it are asked although it matched; its action is then one of several, in order, and must
    /// not reject. Default: no.
    pub continues: bool,
}

impl Rule {
    /// A rule for every request.
    pub const fn new(id: RuleId, action: RoutingAction) -> Self {
        Self {
            id,
            description: None,
            priority: 0,
            enabled: true,
            validity: Validity::ALWAYS,
            condition: Condition::always(),
            action,
            continues: false,
        }
    }

    /// Only for requests that meet a condition.
    pub fn when(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// Asked before rules of lower priority.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Asked only in this time.
    pub fn valid(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// Whether it is asked at all.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Whether a rule asks and does the same, enabled or not.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.condition == other.condition && self.action == other.action
    }

    /// Lets the rules after it be asked although it matched.
    pub fn and_continue(mut self) -> Self {
        self.continues = true;
        self
    }
}

impl core::fmt::Display for Rule {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "when {}, {}", self.condition, self.action)?;
        f.write_str(if self.continues { ", and go on" } else { "" })
    }
}

/// All rules, in order of definition, and what happens to requests that none of them decides.
///
/// With the feature `serde` it reads and prints the form that operators write, with `toml` and `yaml` also as text:
///
/// ```
/// # #[cfg(feature = "toml")] {
/// use waypost_rules::RuleSet;
///
/// let rules = RuleSet::from_toml(r#"
///     [[rules]]
///     id = "eu-only"
///     when = { tenant = "acme", priority = ">= high" }
///     then = { pool = ["azure-eu", "vertex-eu"], strategy = "least_latency" }
/// "#)?;
/// assert_eq!(RuleSet::from_toml(&rules.to_toml()?)?, rules);
///
/// let wrong = RuleSet::from_toml("[[rules]]\nid = 'r'\nthen = { pol = ['azure-eu'], strategy = 7 }").unwrap_err();
/// assert_eq!(wrong.problems()[0].to_string(), "rules[0] (`r`).then: unknown field `pol`, did you mean `pool`?");
/// assert_eq!(wrong.problems()[1].path(), "rules[0].then.strategy");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RuleSet {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Where requests go that no rule decides, as if by a last rule that matches all; its strategy stands back behind
    /// that of the tenant. Default: anywhere.
    pub default_route: Option<RouteConfig>,
    /// The most of everything.
    pub limits: RuleLimits,
}

/// The most of everything in a rule set, so that evaluation stays quick and memory small.
///
/// Who writes a file may write other limits into it: who does not trust the writer sets them anew after reading.
///
/// ```
/// use waypost_rules::{CompiledRules, Rule, RoutingAction, RuleLimits, RuleSet, RulesConfig, Surroundings};
///
/// let rule = |id: &str| Ok::<_, waypost_core::IdError>(Rule::new(id.parse()?, RoutingAction::Chain(Vec::new())));
/// let set = RuleSet::new([rule("a")?, rule("b")?]).limits(RuleLimits::default().rules(1));
/// let errors = CompiledRules::compile(set, RulesConfig::default(), Surroundings::UNKNOWN).unwrap_err();
/// assert_eq!(errors.to_string(), "2 rules are more than 1");
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleLimits {
    /// Rules. At most 65,535. Default: 4,096. Evaluation hardly grows with it, compiling and memory (2 KiB a rule) do.
    pub max_rules: usize,
    /// Simple conditions in one rule. Default: 64.
    pub max_conditions: usize,
    /// Nesting of conditions, and of actions. At most 64. Default: 16.
    pub max_depth: usize,
    /// Names, patterns, windows or networks in one list. Default: 1,024.
    pub max_listed: usize,
    /// Simple actions in one rule. Default: 64.
    pub max_actions: usize,
    /// Regular expressions and patterns with wildcards within, in all rules, each as often as it stands there. No request
    /// runs more. Default: 1,024, which take some 20 µs.
    pub max_regexes: usize,
}

impl Default for RuleLimits {
    fn default() -> Self {
        Self {
            max_rules: 4_096,
            max_conditions: 64,
            max_depth: 16,
            max_listed: 1_024,
            max_actions: 64,
            max_regexes: 1_024,
        }
    }
}

impl RuleLimits {
    /// The most rules that can be asked for.
    pub const MOST_RULES: usize = u16::MAX as usize;

    /// The deepest nesting that can be asked for: deeper ones could exhaust a thread's stack.
    pub const MOST_DEPTH: usize = 64;

    /// The same with another number of rules.
    pub const fn rules(mut self, max_rules: usize) -> Self {
        self.max_rules = max_rules;
        self
    }
}

impl RuleSet {
    /// Rules in order, without a default route.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { rules: rules.into_iter().collect(), ..Self::default() }
    }

    /// Where requests go that no rule decides.
    pub fn default_route(mut self, route: RouteConfig) -> Self {
        self.default_route = Some(route);
        self
    }

    /// Other limits.
    pub const fn limits(mut self, limits: RuleLimits) -> Self {
        self.limits = limits;
        self
    }
}
