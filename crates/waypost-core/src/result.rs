//! How a request ended.

use core::time::Duration;
use std::sync::Arc;

use crate::{CandidateId, ProviderCandidate, ProviderLimits, Tokens};

/// Tokens that a request used, as the provider counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens of the prompt, cached ones included.
    pub prompt: Tokens,
    /// Those of the prompt that the provider read from its cache.
    pub cached: Tokens,
    /// Tokens of the answer.
    pub completion: Tokens,
}

impl TokenUsage {
    /// A usage without cached tokens.
    pub const fn new(prompt: Tokens, completion: Tokens) -> Self {
        Self { prompt, cached: Tokens::ZERO, completion }
    }

    /// Prompt and answer together.
    pub fn total(&self) -> Tokens {
        self.prompt + self.completion
    }
}

/// Whether a request was answered, and if not, whose doing that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The provider answered.
    Success,
    /// The provider or the network failed.
    Failure,
    /// The caller gave up.
    Cancelled,
}

/// How far a fault reaches: whom else it says something about, and who should rest because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum FaultScope {
    /// The request itself: it would fail anywhere, and says nothing about the provider.
    Request,
    /// The candidate.
    Deployment,
    /// All candidates of the same model at the provider. Health learns it of each by itself.
    Model,
    /// All candidates that use the same credential.
    Credential,
    /// All candidates of the same kind of provider in the same region.
    Region,
    /// All candidates of the provider, whatever their model.
    Provider,
}

impl FaultScope {
    /// Whether a fault of this reach at one candidate says something about another.
    ///
    /// ```
    /// use waypost_core::{FaultScope, ProviderCandidate};
    ///
    /// let here = ProviderCandidate::openai("openai", "gpt-4o").build()?;
    /// let other = ProviderCandidate::openai("openai", "gpt-4o-mini").build()?;
    /// assert!(FaultScope::Provider.reaches(&here, &other));
    /// assert!(!FaultScope::Model.reaches(&here, &other));
    /// # Ok::<(), waypost_core::CandidateError>(())
    /// ```
    pub fn reaches(self, at: &ProviderCandidate, other: &ProviderCandidate) -> bool {
        let same_provider = at.provider() == other.provider();
        let itself = at.id() == other.id();
        itself
            || match self {
                Self::Request => true,
                Self::Deployment => false,
                Self::Model => same_provider && at.model() == other.model(),
                Self::Credential => match (at.credential(), other.credential()) {
                    (None, None) => same_provider,
                    (one, another) => one == another,
                },
                Self::Region => {
                    at.provider_type() == other.provider_type()
                        && at.region().is_some_and(|region| other.region() == Some(region))
                }
                Self::Provider => same_provider,
            }
    }
}

/// How one request at one candidate ended.
///
/// ```
/// use core::time::Duration;
/// use waypost_core::{RequestResult, TokenUsage, Tokens};
///
/// let answered = RequestResult::success(Duration::from_millis(2_300), TokenUsage::new(Tokens(1_000), Tokens(200)))
///     .first_token_after(Duration::from_millis(310));
/// let refused = RequestResult::failure(Duration::from_millis(12), "overloaded").status(529);
/// assert!(answered.is_success() && !refused.is_success());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestResult {
    /// The candidate, for callers that report without a lease.
    pub candidate: Option<CandidateId>,
    /// Whether it was answered.
    pub outcome: Outcome,
    /// From the call to the end.
    pub latency: Duration,
    /// From the call to the first content; `None` when there was none. Say it of failures and cancellations too: a
    /// failure without it counts as one that waited for its first token all the time.
    pub time_to_first_token: Option<Duration>,
    /// What was used.
    pub tokens: TokenUsage,
    /// What went wrong, in the provider's words.
    pub error: Option<Arc<str>>,
    /// The HTTP status.
    pub status_code: Option<u16>,
    /// How long the provider asked not to be asked again (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// How far the fault reaches; `None` when nobody said, so that it is judged by the status.
    pub scope: Option<FaultScope>,
    /// What the provider said about its limits, in good answers and bad ones; empty when it said nothing.
    pub provider_limits: ProviderLimits,
}

impl RequestResult {
    /// The provider answered.
    pub const fn success(latency: Duration, tokens: TokenUsage) -> Self {
        Self::ended(Outcome::Success, latency, tokens)
    }

    /// The provider or the network failed.
    pub fn failure(latency: Duration, error: impl Into<Arc<str>>) -> Self {
        let error = Some(error.into());
        Self { error, ..Self::ended(Outcome::Failure, latency, TokenUsage::new(Tokens::ZERO, Tokens::ZERO)) }
    }

    /// The caller gave up.
    pub const fn cancelled(latency: Duration) -> Self {
        Self::ended(Outcome::Cancelled, latency, TokenUsage::new(Tokens::ZERO, Tokens::ZERO))
    }

    const fn ended(outcome: Outcome, latency: Duration, tokens: TokenUsage) -> Self {
        Self {
            candidate: None,
            outcome,
            latency,
            time_to_first_token: None,
            tokens,
            error: None,
            status_code: None,
            retry_after: None,
            scope: None,
            provider_limits: ProviderLimits::EMPTY,
        }
    }

    /// Says when the first content came.
    pub const fn first_token_after(mut self, time: Duration) -> Self {
        self.time_to_first_token = Some(time);
        self
    }

    /// Says the HTTP status.
    pub const fn status(mut self, code: u16) -> Self {
        self.status_code = Some(code);
        self
    }

    /// Says how long the provider asked not to be asked again.
    pub const fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// Says how far the fault reaches.
    pub const fn reaching(mut self, scope: FaultScope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Says what the provider said about its limits.
    pub const fn provider_limits(mut self, limits: ProviderLimits) -> Self {
        self.provider_limits = limits;
        self
    }

    /// Says which candidate it was, for callers that report without a lease.
    pub fn at(mut self, candidate: CandidateId) -> Self {
        self.candidate = Some(candidate);
        self
    }

    /// Whether the provider answered.
    pub fn is_success(&self) -> bool {
        self.outcome == Outcome::Success
    }
}
