//! Where attempts go, in order.

use std::sync::Arc;

use waypost_core::{LoadBalancingStrategy, ModelName, ProviderId};

use crate::{Backoff, ErrorClassifier, HedgePolicy, RetryPolicy};

/// A group of candidates that attempts go to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProviderSelector {
    /// Whatever the router decides for the request.
    #[default]
    Requested,
    /// One provider, of those that serve the request's model.
    Specific(ProviderId),
    /// Some providers, of those that serve the request's model.
    Pool {
        /// Who.
        provider_ids: Arc<[ProviderId]>,
        /// How one of them is selected; `None` as for any request.
        strategy: Option<LoadBalancingStrategy>,
    },
    /// All that serve another model.
    AnyForModel(ModelName),
}

/// After which failures a fallback is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FallbackOn {
    /// Any that another candidate may not have; not the content policy.
    #[default]
    Failure,
    /// Only when the context window was too small.
    ContextWindow,
    /// Only when a content policy stopped the request.
    ContentPolicy,
}

/// A group of candidates that attempts go to after others failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// Who.
    pub to: ProviderSelector,
    /// After which failures.
    pub on: FallbackOn,
}

/// Where attempts go, in order, how many there may be, and how each is made. Its default is for any request: three
/// attempts, wherever the router decides.
///
/// ```
/// use waypost_core::ModelName;
/// use waypost_failover::{FailoverChain, FallbackOn, ProviderSelector};
///
/// let chain = FailoverChain::default()
///     .with_fallback(ProviderSelector::AnyForModel(ModelName::new("claude-sonnet")?))
///     .with_fallback_on(FallbackOn::ContextWindow, ProviderSelector::AnyForModel(ModelName::new("gemini-pro")?))
///     .with_max_attempts(4)
///     .hedge_after_p95();
/// assert_eq!(chain.fallbacks.len(), 2);
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FailoverChain {
    /// Who is asked first. Default: whoever the router decides.
    pub primary: ProviderSelector,
    /// Who is asked after that, in order. Default: nobody.
    pub fallbacks: Vec<Fallback>,
    /// The most attempts, over primary and fallbacks, hedges included; at least one is made. Default: 3.
    pub max_attempts: u32,
    /// When the same candidate is asked again, and how long attempts may take.
    pub retry: RetryPolicy,
    /// When a second attempt runs beside the first. Default: never.
    pub hedge: Option<HedgePolicy>,
    /// What errors mean. Default: the built-in rules.
    pub classifier: Arc<ErrorClassifier>,
}

impl Default for FailoverChain {
    fn default() -> Self {
        Self::new(ProviderSelector::Requested)
    }
}

impl FailoverChain {
    /// A chain of one group.
    pub fn new(primary: ProviderSelector) -> Self {
        Self {
            primary,
            fallbacks: Vec::new(),
            max_attempts: 3,
            retry: RetryPolicy::default(),
            hedge: None,
            classifier: Arc::default(),
        }
    }

    /// One more group, for any failure.
    pub fn with_fallback(self, to: ProviderSelector) -> Self {
        self.with_fallback_on(FallbackOn::Failure, to)
    }

    /// One more group, for some failures.
    pub fn with_fallback_on(mut self, on: FallbackOn, to: ProviderSelector) -> Self {
        self.fallbacks.push(Fallback { to, on });
        self
    }

    /// The most attempts.
    pub const fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// How long to wait before the same candidate is asked again.
    pub const fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.retry.backoff = backoff;
        self
    }

    /// When the same candidate is asked again.
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// When a second attempt runs beside the first.
    pub const fn with_hedge(mut self, hedge: HedgePolicy) -> Self {
        self.hedge = Some(hedge);
        self
    }

    /// A second attempt runs beside the first when that has no content after the time that 95 % of requests need.
    pub fn hedge_after_p95(self) -> Self {
        self.with_hedge(HedgePolicy::default())
    }

    /// What errors mean.
    pub fn with_classifier(mut self, classifier: Arc<ErrorClassifier>) -> Self {
        self.classifier = classifier;
        self
    }
}
