//! What kind of error a request met.

use core::fmt;

/// What kind of error a request met, whatever the provider calls it.
///
/// ```
/// use waypost_failover::ErrorKind;
///
/// assert_eq!(ErrorKind::RateLimitExceeded.name(), "rate_limit_exceeded");
/// assert!(ErrorKind::InvalidRequest.is_callers_fault());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ErrorKind {
    /// No answer, no content or no end came in time.
    Timeout,
    /// The provider was not reached, or the connection broke before content came.
    ConnectionError,
    /// More requests or tokens than the provider admits in a time.
    RateLimitExceeded,
    /// The account has no money or quota left.
    QuotaExhausted,
    /// The provider has no capacity at the moment.
    Overloaded,
    /// The provider says that it does not serve at the moment.
    ServiceUnavailable,
    /// The provider failed.
    ServerError,
    /// The provider does not know the credential.
    Authentication,
    /// The credential may not do this.
    PermissionDenied,
    /// The provider does not have the model, perhaps no longer.
    ModelNotFound,
    /// Prompt and answer are longer than the model's context window.
    ContextWindowExceeded,
    /// The request has more bytes or tokens than the provider ever takes.
    RequestTooLarge,
    /// The request is wrong in another way.
    InvalidRequest,
    /// The provider's content policy stopped the prompt or the answer.
    ContentFiltered,
    /// An answer came that is none: empty, malformed, not of the API.
    InvalidResponse,
    /// The stream broke off after its first content.
    StreamInterrupted,
    /// The caller gave up, or the provider says so.
    Cancelled,
    /// Nothing says what it was.
    Unknown,
}

impl ErrorKind {
    /// All kinds.
    pub const ALL: [Self; 18] = [
        Self::Timeout,
        Self::ConnectionError,
        Self::RateLimitExceeded,
        Self::QuotaExhausted,
        Self::Overloaded,
        Self::ServiceUnavailable,
        Self::ServerError,
        Self::Authentication,
        Self::PermissionDenied,
        Self::ModelNotFound,
        Self::ContextWindowExceeded,
        Self::RequestTooLarge,
        Self::InvalidRequest,
        Self::ContentFiltered,
        Self::InvalidResponse,
        Self::StreamInterrupted,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// A short, stable name for counters, logs and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ConnectionError => "connection_error",
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Overloaded => "overloaded",
            Self::ServiceUnavailable => "service_unavailable",
            Self::ServerError => "server_error",
            Self::Authentication => "authentication",
            Self::PermissionDenied => "permission_denied",
            Self::ModelNotFound => "model_not_found",
            Self::ContextWindowExceeded => "context_window_exceeded",
            Self::RequestTooLarge => "request_too_large",
            Self::InvalidRequest => "invalid_request",
            Self::ContentFiltered => "content_filtered",
            Self::InvalidResponse => "invalid_response",
            Self::StreamInterrupted => "stream_interrupted",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the request would fail like this anywhere of the same kind: it must change, not the provider.
    pub const fn is_callers_fault(self) -> bool {
        matches!(
            self,
            Self::ContextWindowExceeded
                | Self::RequestTooLarge
                | Self::InvalidRequest
                | Self::ContentFiltered
                | Self::Cancelled
        )
    }

    /// Whether the provider surely did no work for the request, so that trying it again can do no harm.
    pub const fn is_unserved(self) -> bool {
        matches!(
            self,
            Self::RateLimitExceeded
                | Self::QuotaExhausted
                | Self::Overloaded
                | Self::Authentication
                | Self::PermissionDenied
                | Self::ModelNotFound
                | Self::ContextWindowExceeded
                | Self::RequestTooLarge
                | Self::InvalidRequest
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
