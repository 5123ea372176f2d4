//! A stable share of requests.

use core::fmt;
use std::sync::Arc;

use twox_hash::XxHash3_64;
use waypost_core::{DecisionContext, MetadataKey};

/// Bits of a hash that are compared with a share: as many as a float can tell apart.
const SHARE_BITS: u32 = 53;

/// A percentage, 0 to 100. Displays like `5 %`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(f64);

/// A number that is not between 0 and 100.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{value} is not a percentage from 0 to 100")]
pub struct PercentError {
    value: f64,
}

impl Percent {
    /// Takes a number in `0.0..=100.0`.
    ///
    /// # Errors
    ///
    /// [`PercentError`] for all others, not-a-number included.
    pub fn new(percent: f64) -> Result<Self, PercentError> {
        // Adding zero makes minus zero plus zero.
        let valid = (0.0..=100.0).contains(&percent);
        if valid { Ok(Self(percent + 0.0)) } else { Err(PercentError { value: percent }) }
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// What is hashed to say which requests are sampled: requests with the same value are treated alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SampleKey {
    /// The user.
    User,
    /// The tenant.
    Tenant,
    /// The organization.
    Organization,
    /// The conversation.
    Session,
    /// The hash of the caller's credential.
    ApiKey,
    /// The caller's address.
    SourceIp,
    /// The request's own id: every request is drawn anew.
    Request,
    /// An entry of the metadata.
    Metadata(MetadataKey),
}

/// A stable share of requests: those whose key hashes below the percentage. For canaries and A/B tests.
///
/// The same key and salt always fall the same, in every process and on every machine (XXH3, seed 0). A greater
/// percentage keeps those who were in and adds others. Different salts draw independently; without one a rule's id is
/// the salt. A request without the key is never sampled.
///
/// ```
/// use waypost_rules::{Percent, Sample, SampleKey};
///
/// let canary = Sample { by: SampleKey::User, percent: Percent::new(5.0)?, salt: Some("gpt-5".into()) };
/// assert_eq!(canary.to_string(), "5 % of users (salt gpt-5)");
/// # Ok::<(), waypost_rules::PercentError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What is hashed.
    pub by: SampleKey,
    /// How many.
    pub percent: Percent,
    /// What tells this draw from others. Default: the id of the rule.
    pub salt: Option<Arc<str>>,
}

impl Sample {
    /// Whether a request is sampled.
    pub fn contains(&self, decision: &DecisionContext<'_>) -> bool {
        place(&self.by, self.salt.as_deref().unwrap_or_default(), decision)
            .is_some_and(|place| place < self.end())
    }

    /// The first place that is not sampled.
    pub(crate) fn end(&self) -> u64 {
        (self.percent.0 / 100.0 * (1_u64 << SHARE_BITS) as f64).ceil() as u64
    }
}

/// Where a request falls, in `0..2^53`; `None` without the key.
pub(crate) fn place(by: &SampleKey, salt: &str, decision: &DecisionContext<'_>) -> Option<u64> {
    let context = decision.context;
    let hash = |value: &str| hash(salt, value.as_bytes());
    match by {
        SampleKey::User => decision.user_id().map(|user| hash(user.as_str())),
        SampleKey::Tenant => decision.tenant_id().map(|tenant| hash(tenant.as_str())),
        SampleKey::Organization => {
            context.organization_id.as_ref().map(|organization| hash(organization.as_str()))
        }
        SampleKey::Session => context.session_id.as_ref().map(|session| hash(session.as_str())),
        SampleKey::ApiKey => decision.request.api_key_hash.as_deref().map(hash),
        SampleKey::SourceIp => {
            context.source_ip.map(|ip| self::hash(salt, &crate::network::number(ip).to_be_bytes()))
        }
        SampleKey::Request => decision.request.request_id.as_deref().map(hash),
        SampleKey::Metadata(key) => context.metadata(key).map(|value| hash(value)),
    }
}

/// The salt's hash seeds the value's, so that a boundary between the two cannot be shifted.
fn hash(salt: &str, value: &[u8]) -> u64 {
    let seed = XxHash3_64::oneshot(salt.as_bytes());
    XxHash3_64::oneshot_with_seed(seed, value) >> (64 - SHARE_BITS)
}

impl SampleKey {
    /// What is sampled, as many.
    const fn plural(&self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Tenant => "tenants",
            Self::Organization => "organizations",
            Self::Session => "sessions",
            Self::ApiKey => "api keys",
            Self::SourceIp => "addresses",
            Self::Request => "requests",
            Self::Metadata(_) => "values of metadata",
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.percent, self.by.plural())?;
        if let SampleKey::Metadata(key) = &self.by {
            write!(f, " `{key}`")?;
        }
        match &self.salt {
            Some(salt) => write!(f, " (salt {salt})"),
            None => Ok(()),
        }
    }
}
