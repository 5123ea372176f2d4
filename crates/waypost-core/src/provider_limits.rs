//! What providers say about their own limits.

use core::time::Duration;

/// What a provider said about its limits in an answer: what is left of each quantity that it counts.
///
/// Providers count requests, tokens of prompt and answer together, tokens of the prompt alone, and tokens of the answer
/// alone; most say two of these or none. A quantity about which nothing was said is `None`, which is not the same as
/// unlimited. Default: nothing was said.
///
/// ```
/// use core::time::Duration;
/// use waypost_core::{ProviderLimits, ProviderQuota, RequestResult, TokenUsage, Tokens};
///
/// let spent = ProviderQuota { limit: Some(500), remaining: 0, reset_after: Some(Duration::from_millis(120)) };
/// let limits = ProviderLimits { requests: Some(spent), ..ProviderLimits::EMPTY };
/// let answered = RequestResult::success(Duration::from_secs(1), TokenUsage::new(Tokens(900), Tokens(100)))
///     .provider_limits(limits);
/// assert!(!answered.provider_limits.is_empty());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProviderLimits {
    /// Requests.
    pub requests: Option<ProviderQuota>,
    /// Tokens of prompts and answers together.
    pub tokens: Option<ProviderQuota>,
    /// Tokens of prompts.
    pub input_tokens: Option<ProviderQuota>,
    /// Tokens of answers.
    pub output_tokens: Option<ProviderQuota>,
}

/// What is left of one quantity at a provider, for instance of the requests of this minute.
///
/// It is what was left when the answer was sent, for everybody who uses the same credential.
///
/// ```
/// use core::time::Duration;
/// use waypost_core::ProviderQuota;
///
/// let quota = ProviderQuota { limit: Some(500), remaining: 499, reset_after: Some(Duration::from_millis(120)) };
/// assert!(quota.limit.is_none_or(|limit| quota.remaining <= limit));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderQuota {
    /// How much there is when nothing is used, at least 1; `None` when the provider did not say.
    pub limit: Option<u64>,
    /// How much is left; 0 when it is spent. Providers are not held to staying below the limit.
    pub remaining: u64,
    /// The time from the answer until the limit is there again, zero when that has passed; `None` when the provider did
    /// not say.
    pub reset_after: Option<Duration>,
}

impl ProviderLimits {
    /// Nothing was said.
    pub const EMPTY: Self = Self { requests: None, tokens: None, input_tokens: None, output_tokens: None };

    /// Whether nothing was said.
    pub const fn is_empty(&self) -> bool {
        self.requests.is_none()
            && self.tokens.is_none()
            && self.input_tokens.is_none()
            && self.output_tokens.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_quota_of_any_kind_is_something() {
        let some = Some(ProviderQuota { limit: None, remaining: 1, reset_after: None });
        assert!(ProviderLimits::EMPTY.is_empty());
        assert_eq!(ProviderLimits::default(), ProviderLimits::EMPTY);
        for said in [
            ProviderLimits { requests: some, ..ProviderLimits::EMPTY },
            ProviderLimits { tokens: some, ..ProviderLimits::EMPTY },
            ProviderLimits { input_tokens: some, ..ProviderLimits::EMPTY },
            ProviderLimits { output_tokens: some, ..ProviderLimits::EMPTY },
        ] {
            assert!(!said.is_empty());
        }
    }
}
