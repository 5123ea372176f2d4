//! What to make of an error.

use core::time::Duration;

use waypost_core::FaultScope;

use crate::ErrorKind;

/// Where a request may go after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum FailOver {
    /// Nowhere: it would fail the same way.
    Never,
    /// To the next candidate that the fault does not reach.
    Next,
    /// Only to a candidate with a larger context window.
    LargerContextWindow,
    /// Only where the chain asks for it, because another provider's content policy would be asked.
    OtherContentPolicy,
}

/// What to make of an error: made by an [`ErrorClassifier`](crate::ErrorClassifier).
///
/// ```
/// use waypost_failover::{ErrorKind, FailOver, Verdict};
///
/// let verdict = Verdict::of_kind(ErrorKind::Overloaded);
/// assert!(verdict.fails_over() && verdict.counts_against_health && !verdict.is_callers_fault());
/// assert_eq!(Verdict::of_kind(ErrorKind::InvalidRequest).fail_over, FailOver::Never);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Verdict {
    /// What it was.
    pub kind: ErrorKind,
    /// How far the fault reaches: whom else it says something about, and who rests.
    pub scope: FaultScope,
    /// Whether the same candidate may be asked again, after a wait.
    pub retry_here: bool,
    /// Where else the request may go, at once.
    pub fail_over: FailOver,
    /// Whether it says that the provider is ill. A rate limit, a wrong key and a bad request do not.
    pub counts_against_health: bool,
    /// How long all that the fault reaches should rest; `None` when not at all.
    pub cool_down: Option<Duration>,
    /// How long the provider asked to wait, at most 300 s; a wait before the same candidate is asked again is not shorter.
    pub retry_after: Option<Duration>,
}

/// The longest that a provider's word makes anybody wait (a year in a header is a mistake).
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How long a key or a deployment rests that was refused: until somebody may have mended it.
const LONG_REST: Duration = Duration::from_secs(300);

impl Verdict {
    /// What to make of a kind of error when nothing more is known.
    pub const fn of_kind(kind: ErrorKind) -> Self {
        use ErrorKind as K;
        use FaultScope as S;
        let (scope, retry_here, fail_over, counts, cool_down) = match kind {
            K::Timeout | K::ServerError | K::ConnectionError => {
                (S::Deployment, true, FailOver::Next, true, None)
            }
            K::ServiceUnavailable | K::Overloaded => (S::Model, true, FailOver::Next, true, None),
            K::RateLimitExceeded => {
                (S::Deployment, true, FailOver::Next, false, Some(Duration::from_secs(1)))
            }
            K::QuotaExhausted | K::Authentication => {
                (S::Credential, false, FailOver::Next, false, Some(LONG_REST))
            }
            K::PermissionDenied | K::ModelNotFound => {
                (S::Deployment, false, FailOver::Next, false, Some(LONG_REST))
            }
            K::ContextWindowExceeded => (S::Request, false, FailOver::LargerContextWindow, false, None),
            K::RequestTooLarge | K::InvalidRequest | K::Cancelled => {
                (S::Request, false, FailOver::Never, false, None)
            }
            K::ContentFiltered => (S::Request, false, FailOver::OtherContentPolicy, false, None),
            K::InvalidResponse | K::Unknown => (S::Deployment, false, FailOver::Next, true, None),
            K::StreamInterrupted => (S::Deployment, false, FailOver::Never, true, None),
        };
        let counts_against_health = counts;
        Self { kind, scope, retry_here, fail_over, counts_against_health, cool_down, retry_after: None }
    }

    /// Whether the request may go anywhere else at all.
    pub const fn fails_over(&self) -> bool {
        !matches!(self.fail_over, FailOver::Never)
    }

    /// Whether the request is at fault, not the provider.
    pub const fn is_callers_fault(&self) -> bool {
        self.kind.is_callers_fault()
    }
}
