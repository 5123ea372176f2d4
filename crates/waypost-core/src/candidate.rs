//! One deployment that can serve requests.

use core::fmt;
use core::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use crate::{
    CandidateBuilder, CredentialName, Endpoint, LiveSlot, ModelName, NanoUsd, Pricing, ProviderCapabilities,
    ProviderId, ProviderType, Region, Tag, TokenUsage, Weight, Zone,
};

/// Identifies a candidate: one model at one provider endpoint under one credential.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CandidateId {
    /// The provider endpoint.
    pub provider: ProviderId,
    /// The model as the provider names it.
    pub model: ModelName,
}

impl fmt::Display for CandidateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// What a provider lets one credential do; `None` is unlimited or unknown. Rates are declared here and enforced by the
/// limits stage; the limit on requests in flight is enforced by every lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CandidateRateLimits {
    /// Requests per minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens per minute, prompts and answers together.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Requests in flight at once.
    pub max_in_flight: Option<NonZeroU32>,
}

/// What an operator says about a candidate; it never changes while the candidate serves.
#[derive(Debug, Clone)]
pub(crate) struct Specification {
    pub(crate) id: CandidateId,
    pub(crate) provider_type: ProviderType,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) capabilities: ProviderCapabilities,
    pub(crate) pricing: Option<Pricing>,
    pub(crate) weight: Weight,
    pub(crate) tier: u8,
    pub(crate) available: bool,
    pub(crate) rate_limits: CandidateRateLimits,
    pub(crate) credential: Option<CredentialName>,
    pub(crate) region: Option<Region>,
    pub(crate) zone: Option<Zone>,
    pub(crate) tags: Vec<Tag>,
}

/// A deployment that can serve requests: its specification, which never changes, and its [`LiveSlot`], which every
/// request changes and which outlives every specification of the same id.
///
/// ```
/// use waypost_core::{ProviderCandidate, Tokens};
///
/// let candidate = ProviderCandidate::azure("azure-eu", "gpt-4o")
///     .endpoint("https://acme-eu.openai.azure.com")
///     .price_per_million(2.50, 10.00)
///     .region("eu")
///     .weight(300)
///     .context_window(Tokens(128_000))
///     .build()?;
/// assert_eq!(candidate.to_string(), "azure-eu/gpt-4o");
/// assert_eq!(candidate.weight().get(), 300);
/// # Ok::<(), waypost_core::CandidateError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ProviderCandidate {
    spec: Specification,
    live: Arc<LiveSlot>,
}

macro_rules! constructor {
    ($name:ident, $kind:ident, $what:literal) => {
        #[doc = concat!("Starts a candidate at ", $what, ".")]
        pub fn $name(provider: impl AsRef<str>, model: impl AsRef<str>) -> CandidateBuilder {
            CandidateBuilder::new(ProviderType::$kind, provider.as_ref(), model.as_ref())
        }
    };
}

impl ProviderCandidate {
    constructor!(openai, OpenAi, "OpenAI");
    constructor!(anthropic, Anthropic, "Anthropic");
    constructor!(azure, AzureOpenAi, "Azure OpenAI");
    constructor!(vertex, GoogleVertex, "Google Vertex AI");
    constructor!(bedrock, AwsBedrock, "Amazon Bedrock");
    constructor!(cohere, Cohere, "Cohere");

    /// Starts a candidate at any other provider, whose id names its kind too.
    pub fn custom(provider: impl AsRef<str>, model: impl AsRef<str>) -> CandidateBuilder {
        CandidateBuilder::custom(provider.as_ref(), model.as_ref())
    }

    pub(crate) fn from_spec(spec: Specification) -> Self {
        Self { spec, live: Arc::default() }
    }

    /// The same specification with the live state of `other`.
    pub(crate) fn adopt_live_state_of(mut self, other: &Self) -> Self {
        self.live = Arc::clone(&other.live);
        self
    }

    /// Another specification with the same live state.
    pub(crate) fn with_spec(&self, change: impl FnOnce(&mut Specification)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.spec);
        changed
    }

    /// Provider and model.
    pub const fn id(&self) -> &CandidateId {
        &self.spec.id
    }

    /// The provider endpoint's id.
    pub const fn provider(&self) -> &ProviderId {
        &self.spec.id.provider
    }

    /// The model as the provider names it.
    pub const fn model(&self) -> &ModelName {
        &self.spec.id.model
    }

    /// The kind of provider.
    pub const fn provider_type(&self) -> &ProviderType {
        &self.spec.provider_type
    }

    /// The base URL, for callers that make the call themselves.
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        self.spec.endpoint.as_ref()
    }

    /// What it can do.
    pub const fn capabilities(&self) -> &ProviderCapabilities {
        &self.spec.capabilities
    }

    /// What tokens cost; `None` when unknown.
    pub const fn pricing(&self) -> Option<&Pricing> {
        self.spec.pricing.as_ref()
    }

    /// What a usage costs here; `None` when prices are unknown.
    pub fn cost(&self, usage: TokenUsage) -> Option<NanoUsd> {
        self.pricing().map(|pricing| pricing.cost(usage))
    }

    /// The share of traffic that it should get.
    pub const fn weight(&self) -> Weight {
        self.spec.weight
    }

    /// Whether it is a first choice (0) or stands in when those before it are not enough (1, 2 …).
    pub const fn tier(&self) -> u8 {
        self.spec.tier
    }

    /// Whether new requests may go there: it was not set unavailable and its weight is not zero.
    pub fn is_available(&self) -> bool {
        self.spec.available && self.spec.weight != Weight::ZERO
    }

    /// What the provider allows.
    pub const fn rate_limits(&self) -> CandidateRateLimits {
        self.spec.rate_limits
    }

    /// The credential that calls use, by name; `None` when it is the provider's only one.
    pub const fn credential(&self) -> Option<&CredentialName> {
        self.spec.credential.as_ref()
    }

    /// Where it is.
    pub const fn region(&self) -> Option<&Region> {
        self.spec.region.as_ref()
    }

    /// Where in the region it is.
    pub const fn zone(&self) -> Option<&Zone> {
        self.spec.zone.as_ref()
    }

    /// The operator's labels.
    pub fn tags(&self) -> &[Tag] {
        &self.spec.tags
    }

    /// What changes while requests run.
    pub fn live(&self) -> &LiveSlot {
        &self.live
    }

    pub(crate) const fn live_arc(&self) -> &Arc<LiveSlot> {
        &self.live
    }

    /// Whether both are one deployment with one live state, perhaps with different specifications.
    pub fn shares_live_state_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.live, &other.live)
    }
}

impl AsRef<LiveSlot> for ProviderCandidate {
    fn as_ref(&self) -> &LiveSlot {
        &self.live
    }
}

impl AsRef<LiveSlot> for Arc<ProviderCandidate> {
    fn as_ref(&self) -> &LiveSlot {
        &self.live
    }
}

impl fmt::Display for ProviderCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id().fmt(f)
    }
}
