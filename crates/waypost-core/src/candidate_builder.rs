//! How a candidate is made.

use core::num::{NonZeroU32, NonZeroU64};

use crate::candidate::Specification;
use crate::{
    CandidateId, CandidateRateLimits, Capability, CapabilitySet, CredentialName, Endpoint, EndpointError,
    IdError, ModelName, MoneyError, NanoUsd, PriceError, Pricing, ProviderCandidate, ProviderCapabilities,
    ProviderId, ProviderType, Region, Tag, Tokens, Weight, WeightError, Zone,
};

/// The most tags of one candidate.
const MAX_TAGS: usize = 64;

/// Why a candidate cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CandidateError {
    /// A name is not valid.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The endpoint is not a base URL.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The weight is not 0 to 1000.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// A price is not an amount of money.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A price is out of range.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// A limit of zero would refuse every request.
    #[error("a {limit} of zero refuses every request; drain the candidate by weight 0 instead")]
    ZeroLimit {
        /// Which limit.
        limit: &'static str,
    },
    /// More than 64 tags.
    #[error("{count} tags are more than {MAX_TAGS}")]
    TooManyTags {
        /// How many.
        count: usize,
    },
}

/// Builds a [`ProviderCandidate`]. Setters take plain values; the first that is out of range is reported by
/// [`build`](Self::build), so that a chain needs no `?` in its middle.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct CandidateBuilder {
    spec: Result<Specification, CandidateError>,
}

impl CandidateBuilder {
    pub(crate) fn new(provider_type: ProviderType, provider: &str, model: &str) -> Self {
        Self { spec: specification(provider_type, provider, model) }
    }

    pub(crate) fn custom(provider: &str, model: &str) -> Self {
        let spec = ProviderId::new(provider)
            .map_err(CandidateError::from)
            .and_then(|id| specification(ProviderType::Custom(id), provider, model));
        Self { spec }
    }

    /// The base URL of the provider's API. Default: none; a caller that makes its own calls may not need it.
    pub fn endpoint(self, url: impl AsRef<str>) -> Self {
        self.set(|spec| {
            spec.endpoint = Some(Endpoint::new(url)?);
            Ok(())
        })
    }

    /// The share of traffic, 0 to 1000; zero drains. Default: 100.
    pub fn weight(self, weight: impl TryInto<Weight, Error = WeightError>) -> Self {
        self.set(|spec| {
            spec.weight = weight.try_into()?;
            Ok(())
        })
    }

    /// Dollars per million tokens of input and output. Default: unknown.
    pub fn price_per_million(self, input: f64, output: f64) -> Self {
        self.set(|spec| {
            spec.pricing = Some(Pricing::per_million(NanoUsd::from_usd(input)?, NanoUsd::from_usd(output)?)?);
            Ok(())
        })
    }

    /// Prices with cached input or a long-context step. Default: unknown.
    pub fn pricing(self, pricing: Pricing) -> Self {
        self.set(|spec| {
            spec.pricing = Some(pricing);
            Ok(())
        })
    }

    /// The features offered, instead of the default streaming and function calling.
    pub fn features(self, features: impl Into<CapabilitySet>) -> Self {
        self.set(|spec| {
            spec.capabilities.features = features.into();
            Ok(())
        })
    }

    /// One more feature offered.
    pub fn with_feature(self, feature: Capability) -> Self {
        self.set(|spec| {
            spec.capabilities.features = spec.capabilities.features | feature.into();
            Ok(())
        })
    }

    /// The most tokens of prompt and answer together. Default: no limit known.
    pub fn context_window(self, tokens: Tokens) -> Self {
        self.set(|spec| {
            spec.capabilities.context_window = positive(tokens, "context window")?;
            Ok(())
        })
    }

    /// The most tokens of an answer. Default: no limit known.
    pub fn max_output_tokens(self, tokens: Tokens) -> Self {
        self.set(|spec| {
            spec.capabilities.max_output_tokens = positive(tokens, "maximum of output tokens")?;
            Ok(())
        })
    }

    /// Requests that the provider allows per minute, at least one. Default: unlimited.
    pub fn requests_per_minute(self, requests: u32) -> Self {
        self.set(|spec| {
            let limit = NonZeroU32::new(requests);
            spec.rate_limits.requests_per_minute =
                Some(limit.ok_or(CandidateError::ZeroLimit { limit: "request rate" })?);
            Ok(())
        })
    }

    /// Tokens that the provider allows per minute, at least one. Default: unlimited.
    pub fn tokens_per_minute(self, tokens: u64) -> Self {
        self.set(|spec| {
            let limit = NonZeroU64::new(tokens);
            spec.rate_limits.tokens_per_minute =
                Some(limit.ok_or(CandidateError::ZeroLimit { limit: "token rate" })?);
            Ok(())
        })
    }

    /// Requests in flight at once, at least one; never exceeded. Default: unlimited.
    pub fn max_in_flight(self, requests: u32) -> Self {
        self.set(|spec| {
            let limit = NonZeroU32::new(requests);
            spec.rate_limits.max_in_flight =
                Some(limit.ok_or(CandidateError::ZeroLimit { limit: "limit on requests in flight" })?);
            Ok(())
        })
    }

    /// Whether it is a first choice (0) or stands in when those of lower tiers are not enough, for strategies by tier.
    /// Default: 0.
    pub fn tier(self, tier: u8) -> Self {
        self.set(|spec| {
            spec.tier = tier;
            Ok(())
        })
    }

    /// The credential that calls use, by name, never the secret itself: candidates of one credential rest together when
    /// the provider refuses it. Default: one credential per provider.
    pub fn credential(self, name: impl AsRef<str>) -> Self {
        self.set(|spec| {
            spec.credential = Some(CredentialName::new(name)?);
            Ok(())
        })
    }

    /// Where it is. Default: unknown; such a candidate serves no request that names the regions it must stay in.
    pub fn region(self, region: impl AsRef<str>) -> Self {
        self.set(|spec| {
            spec.region = Some(Region::new(region)?);
            Ok(())
        })
    }

    /// Where in the region it is. Default: unknown.
    pub fn zone(self, zone: impl AsRef<str>) -> Self {
        self.set(|spec| {
            spec.zone = Some(Zone::new(zone)?);
            Ok(())
        })
    }

    /// One more label, at most 64.
    pub fn tag(self, tag: impl AsRef<str>) -> Self {
        self.set(|spec| {
            let tag = Tag::new(tag)?;
            if !spec.tags.contains(&tag) {
                spec.tags.push(tag);
            }
            let count = spec.tags.len();
            if count > MAX_TAGS { Err(CandidateError::TooManyTags { count }) } else { Ok(()) }
        })
    }

    /// Whether it takes new requests. Default: yes.
    pub fn available(self, available: bool) -> Self {
        self.set(|spec| {
            spec.available = available;
            Ok(())
        })
    }

    /// Makes the candidate, with a live state of its own.
    ///
    /// # Errors
    ///
    /// [`CandidateError`] for the first setting that was out of range.
    pub fn build(self) -> Result<ProviderCandidate, CandidateError> {
        self.spec.map(ProviderCandidate::from_spec)
    }

    fn set(mut self, change: impl FnOnce(&mut Specification) -> Result<(), CandidateError>) -> Self {
        if let Ok(spec) = &mut self.spec
            && let Err(error) = change(spec)
        {
            self.spec = Err(error);
        }
        self
    }
}

fn specification(
    provider_type: ProviderType,
    provider: &str,
    model: &str,
) -> Result<Specification, CandidateError> {
    Ok(Specification {
        id: CandidateId { provider: ProviderId::new(provider)?, model: ModelName::new(model)? },
        provider_type,
        endpoint: None,
        capabilities: ProviderCapabilities::default(),
        pricing: None,
        weight: Weight::default(),
        tier: 0,
        available: true,
        rate_limits: CandidateRateLimits::default(),
        credential: None,
        region: None,
        zone: None,
        tags: Vec::new(),
    })
}

fn positive(tokens: Tokens, limit: &'static str) -> Result<Tokens, CandidateError> {
    if tokens == Tokens::ZERO { Err(CandidateError::ZeroLimit { limit }) } else { Ok(tokens) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slip_is_reported_and_nothing_panics() {
        let start = || ProviderCandidate::openai("p", "m");
        let bad: [CandidateBuilder; 12] = [
            ProviderCandidate::openai("", "m"),
            ProviderCandidate::custom("p p", "m"),
            ProviderCandidate::openai("p", "m\n"),
            start().weight(1_001),
            start().weight(f64::NAN),
            start().price_per_million(f64::NAN, 1.0),
            start().price_per_million(-1.0, 1.0),
            start().price_per_million(1e12, 1.0),
            start().endpoint("ftp://x"),
            start().requests_per_minute(0),
            start().context_window(Tokens::ZERO),
            (0..65).fold(start(), |builder, i| builder.tag(format!("t{i}"))),
        ];
        for builder in bad {
            assert!(builder.clone().build().is_err(), "{builder:?}");
        }
        let first = start().weight(-1).endpoint("nonsense").build().unwrap_err();
        assert!(matches!(first, CandidateError::Weight(_)), "{first}");
    }
}
