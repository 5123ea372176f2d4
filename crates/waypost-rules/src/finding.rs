//! Something wrong or doubtful about rules.

use core::fmt;

use waypost_core::{LoadBalancingStrategy, ModelName, ProviderId, RuleId, TenantId};

use crate::Rule;
use crate::nearest::hint;

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
    /// More rules than [`RuleLimits::max_rules`](crate::RuleLimits::max_rules).
    #[error("{count} rules are more than {most}")]
    TooManyRules {
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// More simple conditions in one rule than [`RuleLimits::max_conditions`](crate::RuleLimits::max_conditions).
    #[error("{count} conditions are more than {most}")]
    TooManyConditions {
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Conditions or actions nested deeper than [`RuleLimits::max_depth`](crate::RuleLimits::max_depth).
    #[error("conditions and actions may be nested at most {most} deep")]
    TooDeep {
        /// How deep they may be.
        most: usize,
    },
    /// A longer list than [`RuleLimits::max_listed`](crate::RuleLimits::max_listed).
    #[error("a list of {count} is longer than {most}")]
    ListTooLong {
        /// How long.
        count: usize,
        /// How long it may be.
        most: usize,
    },
    /// More simple actions in one rule than [`RuleLimits::max_actions`](crate::RuleLimits::max_actions).
    #[error("{count} actions are more than {most}")]
    TooManyActions {
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// More regular expressions in all rules than [`RuleLimits::max_regexes`](crate::RuleLimits::max_regexes).
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
    pub(crate) fn of(rule: &Rule, problem: RuleProblem) -> Self {
        Self { rule: Some(rule.id.clone()), severity: problem.severity(), problem }
    }

    /// About the set as a whole.
    pub(crate) const fn of_set(problem: RuleProblem) -> Self {
        Self { rule: None, severity: problem.severity(), problem }
    }

    /// The same, no error if it is only about a name and that is excused.
    pub(crate) fn excused(self, excused: bool) -> Self {
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
