//! What errors of a provider mean, as data.

use core::time::Duration;

use waypost_core::FaultScope;

use crate::error_text::ErrorText;
use crate::{ErrorKind, FailOver, Verdict};

/// The longest that a rule makes anybody rest: a day.
const MAX_COOL_DOWN: Duration = Duration::from_secs(24 * 60 * 60);

/// What errors of a provider mean: conditions, all of which must hold, and what follows.
///
/// With the feature `serde` rules are read from files, so that an operator adds a provider's without code.
///
/// ```
/// use waypost_core::{ProviderId, ProviderType};
/// use waypost_failover::{ErrorClassifier, ErrorKind, ErrorRule, RequestError};
/// use std::time::SystemTime;
///
/// let rule = ErrorRule { status: vec![430], ..ErrorRule::new(ErrorKind::Overloaded) };
/// let classifier = ErrorClassifier::default().with_rules([rule]);
/// let provider = ProviderType::Custom(ProviderId::new("my-engine")?);
/// let verdict = classifier.classify(&provider, &RequestError::status(430), SystemTime::UNIX_EPOCH);
/// assert_eq!(verdict.kind, ErrorKind::Overloaded);
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize), serde(deny_unknown_fields))]
pub struct ErrorRule {
    /// The provider's type, as it prints: `openai`, `anthropic`, a custom name. Default: any.
    #[cfg_attr(feature = "serde", serde(default))]
    pub provider: Option<String>,
    /// The statuses. Default: any.
    #[cfg_attr(feature = "serde", serde(default))]
    pub status: Vec<u16>,
    /// Names of errors, in lower case, one of which the body or the headers must have as a code, type, status or reason.
    /// Default: any.
    #[cfg_attr(feature = "serde", serde(default))]
    pub codes: Vec<String>,
    /// Parts of the message, in lower case, one of which it must have. Default: any.
    #[cfg_attr(feature = "serde", serde(default))]
    pub message: Vec<String>,
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// How far the fault reaches. Default: what the kind says, as for all that follows.
    #[cfg_attr(feature = "serde", serde(default))]
    pub scope: Option<FaultScope>,
    /// Whether the same candidate may be asked again.
    #[cfg_attr(feature = "serde", serde(default))]
    pub retry_here: Option<bool>,
    /// Where else the request may go.
    #[cfg_attr(feature = "serde", serde(default))]
    pub fail_over: Option<FailOver>,
    /// Whether it says that the provider is ill.
    #[cfg_attr(feature = "serde", serde(default))]
    pub counts_against_health: Option<bool>,
    /// How many seconds all that the fault reaches rests, at most a day.
    #[cfg_attr(feature = "serde", serde(default))]
    pub cool_down_s: Option<u32>,
}

impl ErrorRule {
    /// A rule that is met by any error.
    pub const fn new(kind: ErrorKind) -> Self {
        Self {
            provider: None,
            status: Vec::new(),
            codes: Vec::new(),
            message: Vec::new(),
            kind,
            scope: None,
            retry_here: None,
            fail_over: None,
            counts_against_health: None,
            cool_down_s: None,
        }
    }

    /// Whether an error meets it.
    pub(crate) fn is_met(&self, provider: &str, status: u16, said: &ErrorText) -> bool {
        self.provider.as_ref().is_none_or(|known| known == provider)
            && (self.status.is_empty() || self.status.contains(&status))
            && (self.codes.is_empty() || said.codes.iter().any(|code| self.codes.contains(code)))
            && (self.message.is_empty() || self.message.iter().any(|part| said.message.contains(&**part)))
    }

    /// What follows.
    pub(crate) fn verdict(&self) -> Verdict {
        let of_kind = Verdict::of_kind(self.kind);
        let rests = self.cool_down_s.map(|seconds| Duration::from_secs(seconds.into()).min(MAX_COOL_DOWN));
        Verdict {
            scope: self.scope.unwrap_or(of_kind.scope),
            retry_here: self.retry_here.unwrap_or(of_kind.retry_here),
            fail_over: self.fail_over.unwrap_or(of_kind.fail_over),
            counts_against_health: self.counts_against_health.unwrap_or(of_kind.counts_against_health),
            cool_down: rests.or(of_kind.cool_down),
            ..of_kind
        }
    }
}
