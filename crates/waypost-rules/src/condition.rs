//! What a rule asks of a request.

use core::fmt;
use std::sync::Arc;

use waypost_core::{
    Capability, DecisionContext, FeatureName, MetadataKey, ModelName, OrganizationId, Region, RequestMatcher,
    Tag, TenantId, UserId, Zone,
};

use crate::names::one_of;
use crate::{Bounds, Names, Network, Priorities, Sample, TextPattern, TimeWindow};

/// A condition on a request, composed of simple ones to any depth within [`RuleLimits`](crate::RuleLimits).
///
/// What a request does not have equals nothing: a condition on a missing value does not hold, its negation does; none
/// is ever an error. Displays as a phrase to be read after *when*.
///
/// ```
/// use waypost_core::{RequestPriority, TenantId};
/// use waypost_rules::{Condition, Priorities, TimeWindow};
///
/// let night = TimeWindow::new("22:00".parse()?, "06:00".parse()?, "Europe/Berlin")?;
/// let batch = Condition::all([
///     Condition::Tenant(TenantId::new("acme")?.into()),
///     Condition::Time(vec![night]),
///     !Condition::Priority(Priorities::at_least(RequestPriority::High)),
/// ]);
/// assert_eq!(
///     batch.to_string(),
///     "the tenant is acme and it is 22:00 to 06:00 (Europe/Berlin) and the priority is not at least high",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Condition {
    /// All of them; with none, every request.
    All(Vec<Condition>),
    /// At least one of them; with none, no request.
    Any(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
    /// The model as it stands in the request, or as an earlier rule rewrote it, matches one of these.
    Model(Vec<TextPattern>),
    /// The tenant: the authenticated one, else the request's.
    Tenant(Names<TenantId>),
    /// The user: the authenticated one, else the request's.
    User(Names<UserId>),
    /// The organization.
    Organization(Names<OrganizationId>),
    /// The region in which the caller is.
    Region(Names<Region>),
    /// The zone in which the caller is.
    Zone(Names<Zone>),
    /// The priority, as earlier rules left it.
    Priority(Priorities),
    /// The request requires one of these tags, or an earlier rule added it.
    Tag(Names<Tag>),
    /// The wall time is in one of these windows.
    Time(Vec<TimeWindow>),
    /// One of these feature flags is on.
    Feature(Names<FeatureName>),
    /// The request needs one of these capabilities. A streamed answer needs streaming.
    Capability(Names<Capability>),
    /// Whether the answer is streamed.
    Streaming(bool),
    /// The estimated tokens of the prompt.
    PromptTokens(Bounds),
    /// An entry of the metadata matches one of these.
    Metadata(MetadataKey, Vec<TextPattern>),
    /// The caller's software matches one of these.
    UserAgent(Vec<TextPattern>),
    /// The caller's address is in one of these networks.
    SourceIp(Vec<Network>),
    /// Which attempt this is, from 0.
    Attempt(Bounds),
    /// The request belongs to a stable share of requests.
    Sample(Sample),
    /// A condition of one's own. A rule set with one of these keeps no verdicts: nobody knows what it reads.
    Custom(Arc<dyn RequestMatcher>),
}

impl Condition {
    /// Every request.
    pub const fn always() -> Self {
        Self::All(Vec::new())
    }

    /// All of these.
    pub fn all(conditions: impl IntoIterator<Item = Self>) -> Self {
        Self::All(conditions.into_iter().collect())
    }

    /// At least one of these.
    pub fn any(conditions: impl IntoIterator<Item = Self>) -> Self {
        Self::Any(conditions.into_iter().collect())
    }

    /// One model, by name.
    ///
    /// # Panics
    ///
    /// Never: a model name is a pattern.
    pub fn model(model: &ModelName) -> Self {
        let pattern = TextPattern::exact(model.as_str());
        Self::Model(vec![pattern.expect("a model name is neither empty nor longer than a pattern")])
    }

    /// A condition of one's own.
    pub fn custom(matcher: impl RequestMatcher + 'static) -> Self {
        Self::Custom(Arc::new(matcher))
    }

    /// The conditions that it is made of directly.
    pub(crate) fn parts(&self) -> &[Self] {
        match self {
            Self::All(parts) | Self::Any(parts) => parts,
            Self::Not(part) => core::slice::from_ref(part),
            _ => &[],
        }
    }
}

impl core::ops::Not for Condition {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Not(condition) => *condition,
            condition => Self::Not(Box::new(condition)),
        }
    }
}

impl RequestMatcher for Condition {
    fn matches(&self, decision: &DecisionContext<'_>) -> bool {
        let context = decision.context;
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(decision)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(decision)),
            Self::Not(part) => !part.matches(decision),
            Self::Model(patterns) => any(patterns, decision.model().as_str()),
            Self::Tenant(names) => decision.tenant_id().is_some_and(|tenant| names.contains(tenant)),
            Self::User(names) => decision.user_id().is_some_and(|user| names.contains(user)),
            Self::Organization(names) => {
                context.organization_id.as_ref().is_some_and(|organization| names.contains(organization))
            }
            Self::Region(names) => context.region.as_ref().is_some_and(|region| names.contains(region)),
            Self::Zone(names) => context.zone.as_ref().is_some_and(|zone| names.contains(zone)),
            Self::Priority(priorities) => priorities.contains(decision.priority()),
            Self::Tag(names) => names.iter().any(|tag| decision.has_tag(tag)),
            Self::Time(windows) => {
                decision.wall.is_some_and(|wall| windows.iter().any(|window| window.contains(wall)))
            }
            Self::Feature(names) => names.iter().any(|name| context.feature(name.as_str())),
            Self::Capability(names) => {
                let needed = decision.needed_capabilities();
                names.iter().any(|&capability| needed.contains_all(capability.into()))
            }
            Self::Streaming(stream) => decision.request.stream == *stream,
            Self::PromptTokens(bounds) => bounds.contains(decision.usage.prompt.0),
            Self::Metadata(key, patterns) => context.metadata(key).is_some_and(|value| any(patterns, value)),
            Self::UserAgent(patterns) => {
                context.user_agent.as_ref().is_some_and(|agent| any(patterns, agent))
            }
            Self::SourceIp(networks) => {
                context.source_ip.is_some_and(|ip| networks.iter().any(|network| network.contains(ip)))
            }
            Self::Attempt(bounds) => bounds.contains(decision.context.attempt_number.into()),
            Self::Sample(sample) => sample.contains(decision),
            Self::Custom(matcher) => matcher.matches(decision),
        }
    }

    fn description(&self) -> String {
        self.to_string()
    }
}

fn any(patterns: &[TextPattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Phrase { condition: self, negated: false, within: None }.fmt(f)
    }
}

/// A condition or its negation in words. Negations are carried down to the simple conditions, where they read best.
struct Phrase<'a> {
    condition: &'a Condition,
    negated: bool,
    /// The word that joins the conditions around it.
    within: Option<&'static str>,
}

impl fmt::Display for Phrase<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = if self.negated { "is not" } else { "is" };
        match self.condition {
            Condition::All(parts) => self.join(parts, if self.negated { "or" } else { "and" }, f),
            Condition::Any(parts) => self.join(parts, if self.negated { "and" } else { "or" }, f),
            Condition::Not(part) => Phrase { condition: part, negated: !self.negated, ..*self }.fmt(f),
            Condition::Model(patterns) => listed(f, "the model", is, patterns),
            Condition::Tenant(names) => write!(f, "the tenant {is} {names}"),
            Condition::User(names) => write!(f, "the user {is} {names}"),
            Condition::Organization(names) => write!(f, "the organization {is} {names}"),
            Condition::Region(names) => write!(f, "the caller's region {is} {names}"),
            Condition::Zone(names) => write!(f, "the caller's zone {is} {names}"),
            Condition::Priority(priorities) => write!(f, "the priority {is} {priorities}"),
            Condition::Tag(names) => write!(f, "a tag {is} {names}"),
            Condition::Time(windows) => listed(f, "it", is, windows),
            Condition::Feature(names) => write!(f, "the feature {names} {is} on"),
            Condition::Capability(names) => write!(f, "the capability {names} {is} needed"),
            Condition::Streaming(stream) => {
                let not = if *stream == self.negated { " not" } else { "" };
                write!(f, "the answer is{not} streamed")
            }
            Condition::PromptTokens(bounds) => write!(f, "the number of prompt tokens {is} {bounds}"),
            Condition::Metadata(key, patterns) => listed(f, &format!("the metadata `{key}`"), is, patterns),
            Condition::UserAgent(patterns) => listed(f, "the user agent", is, patterns),
            Condition::SourceIp(networks) => listed(f, "the source address", &format!("{is} in"), networks),
            Condition::Attempt(bounds) => write!(f, "the attempt {is} {bounds}"),
            Condition::Sample(sample) => write!(f, "the request {is} among {sample}"),
            Condition::Custom(matcher) if self.negated => write!(f, "not ({})", matcher.description()),
            Condition::Custom(matcher) => f.write_str(&matcher.description()),
        }
    }
}

impl Phrase<'_> {
    fn join(&self, parts: &[Condition], word: &'static str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = parts.split_first() else {
            return f.write_str(if word == "and" { "always" } else { "never" });
        };
        let phrase = |condition, within| Phrase { condition, negated: self.negated, within };
        if rest.is_empty() {
            return write!(f, "{}", phrase(first, self.within));
        }
        let parted = self.within.is_some_and(|around| around != word);
        f.write_str(if parted { "(" } else { "" })?;
        write!(f, "{}", phrase(first, Some(word)))?;
        for part in rest {
            write!(f, " {word} {}", phrase(part, Some(word)))?;
        }
        f.write_str(if parted { ")" } else { "" })
    }
}

fn listed<T: fmt::Display>(f: &mut fmt::Formatter<'_>, what: &str, is: &str, items: &[T]) -> fmt::Result {
    write!(f, "{what} {is} ")?;
    one_of(items, f)
}

/// Custom conditions are equal when they are one in memory.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All(a), Self::All(b)) | (Self::Any(a), Self::Any(b)) => a == b,
            (Self::Not(a), Self::Not(b)) => a == b,
            (Self::Model(a), Self::Model(b)) | (Self::UserAgent(a), Self::UserAgent(b)) => a == b,
            (Self::Tenant(a), Self::Tenant(b)) => a == b,
            (Self::User(a), Self::User(b)) => a == b,
            (Self::Organization(a), Self::Organization(b)) => a == b,
            (Self::Region(a), Self::Region(b)) => a == b,
            (Self::Zone(a), Self::Zone(b)) => a == b,
            (Self::Priority(a), Self::Priority(b)) => a == b,
            (Self::Tag(a), Self::Tag(b)) => a == b,
            (Self::Time(a), Self::Time(b)) => a == b,
            (Self::Feature(a), Self::Feature(b)) => a == b,
            (Self::Capability(a), Self::Capability(b)) => a == b,
            (Self::Streaming(a), Self::Streaming(b)) => a == b,
            (Self::PromptTokens(a), Self::PromptTokens(b)) | (Self::Attempt(a), Self::Attempt(b)) => a == b,
            (Self::Metadata(key_a, a), Self::Metadata(key_b, b)) => key_a == key_b && a == b,
            (Self::SourceIp(a), Self::SourceIp(b)) => a == b,
            (Self::Sample(a), Self::Sample(b)) => a == b,
            (Self::Custom(a), Self::Custom(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}
