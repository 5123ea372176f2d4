//! What limits tell apart.

use core::fmt;
use core::hash::{Hash, Hasher};
use std::sync::Arc;

use papaya::Equivalent;
use smallvec::SmallVec;
use waypost_core::{
    CandidateId, CredentialName, DecisionContext, ModelName, OrganizationId, ProviderCandidate, ProviderId,
    RequestPriority, TenantId, UserId,
};

/// One thing that tells requests apart: a limit [per](crate::Limit::per) it keeps a meter for each of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Dimension {
    /// The tenant.
    Tenant,
    /// The organization.
    Organization,
    /// The user.
    User,
    /// The key that the caller sent, by its hash: [`GatewayRequest::api_key_hash`](waypost_core::GatewayRequest::api_key_hash).
    Key,
    /// The model that the request is served as.
    Model,
    /// The priority.
    Priority,
    /// The candidate that serves it.
    Candidate,
    /// The credential that the candidate uses; that of its provider when it names none.
    Credential,
    /// The provider that serves it.
    Provider,
}

impl Dimension {
    /// All of them, in the order in which subjects name them.
    pub const ALL: [Self; 9] = [
        Self::Tenant,
        Self::Organization,
        Self::User,
        Self::Key,
        Self::Model,
        Self::Priority,
        Self::Candidate,
        Self::Credential,
        Self::Provider,
    ];

    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Organization => "organization",
            Self::User => "user",
            Self::Key => "key",
            Self::Model => "model",
            Self::Priority => "priority",
            Self::Candidate => "candidate",
            Self::Credential => "credential",
            Self::Provider => "provider",
        }
    }

    /// Whether it is known only when a candidate is.
    pub(crate) const fn is_of_candidate(self) -> bool {
        matches!(self, Self::Candidate | Self::Credential | Self::Provider)
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Some of the dimensions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dimensions(u16);

impl Dimensions {
    pub(crate) const fn with(self, dimension: Dimension) -> Self {
        Self(self.0 | 1 << dimension as u8)
    }

    pub(crate) const fn contains(self, dimension: Dimension) -> bool {
        self.0 & 1 << dimension as u8 != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Dimension> {
        Dimension::ALL.into_iter().filter(move |&dimension| self.contains(dimension))
    }
}

/// The value that a request has in a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ValueRef<'a> {
    Tenant(&'a TenantId),
    Organization(&'a OrganizationId),
    User(&'a UserId),
    Key(&'a str),
    Model(&'a ModelName),
    Priority(RequestPriority),
    Candidate(&'a ProviderId, &'a ModelName),
    Credential(&'a CredentialName),
    CredentialOf(&'a ProviderId),
    Provider(&'a ProviderId),
    /// It has none: all such requests are one subject.
    Nobody,
}

/// The same, owned.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Tenant(TenantId),
    Organization(OrganizationId),
    User(UserId),
    Key(Arc<str>),
    Model(ModelName),
    Priority(RequestPriority),
    Candidate(ProviderId, ModelName),
    Credential(CredentialName),
    CredentialOf(ProviderId),
    Provider(ProviderId),
    Nobody,
}

impl<'a> ValueRef<'a> {
    /// What a request, and the candidate that may serve it, have there.
    pub(crate) fn of(
        dimension: Dimension,
        decision: &DecisionContext<'a>,
        candidate: Option<&'a ProviderCandidate>,
    ) -> Self {
        let known = match dimension {
            Dimension::Tenant => decision.tenant_id().map(Self::Tenant),
            Dimension::Organization => decision.context.organization_id.as_ref().map(Self::Organization),
            Dimension::User => decision.user_id().map(Self::User),
            Dimension::Key => decision.request.api_key_hash.as_deref().map(Self::Key),
            Dimension::Model => Some(Self::Model(decision.model())),
            Dimension::Priority => Some(Self::Priority(decision.priority())),
            Dimension::Candidate | Dimension::Credential | Dimension::Provider => {
                candidate.and_then(|candidate| Self::of_candidate(dimension, candidate))
            }
        };
        known.unwrap_or(Self::Nobody)
    }

    /// What a candidate has there; `None` in dimensions of requests.
    fn of_candidate(dimension: Dimension, candidate: &'a ProviderCandidate) -> Option<Self> {
        let provider = candidate.provider();
        match dimension {
            Dimension::Candidate => Some(Self::Candidate(provider, candidate.model())),
            Dimension::Credential => {
                Some(candidate.credential().map_or(Self::CredentialOf(provider), Self::Credential))
            }
            Dimension::Provider => Some(Self::Provider(provider)),
            _ => None,
        }
    }

    fn owned(self) -> Value {
        match self {
            Self::Tenant(id) => Value::Tenant(id.clone()),
            Self::Organization(id) => Value::Organization(id.clone()),
            Self::User(id) => Value::User(id.clone()),
            Self::Key(hash) => Value::Key(hash.into()),
            Self::Model(id) => Value::Model(id.clone()),
            Self::Priority(priority) => Value::Priority(priority),
            Self::Candidate(provider, model) => Value::Candidate(provider.clone(), model.clone()),
            Self::Credential(name) => Value::Credential(name.clone()),
            Self::CredentialOf(provider) => Value::CredentialOf(provider.clone()),
            Self::Provider(provider) => Value::Provider(provider.clone()),
            Self::Nobody => Value::Nobody,
        }
    }
}

impl Value {
    fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Tenant(id) => ValueRef::Tenant(id),
            Self::Organization(id) => ValueRef::Organization(id),
            Self::User(id) => ValueRef::User(id),
            Self::Key(hash) => ValueRef::Key(hash),
            Self::Model(id) => ValueRef::Model(id),
            Self::Priority(priority) => ValueRef::Priority(*priority),
            Self::Candidate(provider, model) => ValueRef::Candidate(provider, model),
            Self::Credential(name) => ValueRef::Credential(name),
            Self::CredentialOf(provider) => ValueRef::CredentialOf(provider),
            Self::Provider(provider) => ValueRef::Provider(provider),
            Self::Nobody => ValueRef::Nobody,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(id) => write!(f, "tenant {id}"),
            Self::Organization(id) => write!(f, "organization {id}"),
            Self::User(id) => write!(f, "user {id}"),
            // Anything may be a hash; ids have no control characters.
            Self::Key(hash) => write!(f, "key {}", hash.escape_default()),
            Self::Model(id) => write!(f, "model {id}"),
            Self::Priority(priority) => write!(f, "priority {priority}"),
            Self::Candidate(provider, model) => write!(f, "candidate {provider}/{model}"),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::CredentialOf(provider) => write!(f, "credential of {provider}"),
            Self::Provider(provider) => write!(f, "provider {provider}"),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}

/// Whom a meter is for: the values in the dimensions of its limit. Displays like `tenant acme, user 17`; as nothing
/// when the limit has one meter.
#[derive(Debug, Clone, Default)]
pub struct Subject(SmallVec<[Value; 1]>);

impl Subject {
    /// Whether it names nobody: the only one of its limit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn of_candidate(id: &CandidateId) -> Self {
        Self(SmallVec::from_iter([Value::Candidate(id.provider.clone(), id.model.clone())]))
    }

    /// A text that no other subject of the limit has, the same in every process. Nothing in it is a control character.
    pub(crate) fn key(&self) -> String {
        let keys = self.0.iter().map(|value| match value {
            Value::Candidate(provider, model) => format!("candidate {provider}\u{1e}{model}"),
            other => other.to_string(),
        });
        keys.collect::<Vec<_>>().join("\u{1f}")
    }

    pub(crate) fn as_ref(&self) -> SubjectRef<'_> {
        SubjectRef(self.0.iter().map(Value::as_ref).collect())
    }
}

/// A subject that is looked for.
#[derive(Debug)]
pub(crate) struct SubjectRef<'a>(SmallVec<[ValueRef<'a>; 2]>);

impl<'a> SubjectRef<'a> {
    pub(crate) fn of(
        per: Dimensions,
        decision: &DecisionContext<'a>,
        candidate: Option<&'a ProviderCandidate>,
    ) -> Self {
        Self(per.iter().map(|dimension| ValueRef::of(dimension, decision, candidate)).collect())
    }

    /// The subject of a limit that tells candidates apart, and nothing else.
    pub(crate) fn of_candidate(per: Dimensions, candidate: &'a ProviderCandidate) -> Self {
        Self(per.iter().filter_map(|dimension| ValueRef::of_candidate(dimension, candidate)).collect())
    }

    pub(crate) fn owned(&self) -> Subject {
        Subject(self.0.iter().map(|value| value.owned()).collect())
    }
}

impl Hash for SubjectRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|value| value.hash(state));
    }
}

impl Hash for Subject {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|value| value.as_ref().hash(state));
    }
}

impl Equivalent<Subject> for SubjectRef<'_> {
    fn equivalent(&self, subject: &Subject) -> bool {
        self.0.len() == subject.0.len() && self.0.iter().zip(&subject.0).all(|(a, b)| *a == b.as_ref())
    }
}

impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.as_ref() == b.as_ref())
    }
}

impl Eq for Subject {}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, value) in self.0.iter().enumerate() {
            write!(f, "{}{value}", if place > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// As it displays.
#[cfg(feature = "serde")]
impl serde::Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
