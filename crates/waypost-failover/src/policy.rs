//! When the same candidate is asked again, and how long an attempt may take.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::{Backoff, ErrorKind, RequestError, Verdict};

/// When the same candidate is asked again. Other candidates come first, and at once.
///
/// ```
/// use waypost_failover::{ErrorKind, RequestError, RetryPolicy, Verdict};
///
/// let policy = RetryPolicy::default();
/// let (overloaded, verdict) = (RequestError::status(529), Verdict::of_kind(ErrorKind::Overloaded));
/// assert!(policy.should_retry(&overloaded, &verdict, 0));
/// assert!(!policy.should_retry(&overloaded, &verdict, policy.max_retries));
/// let spent = Verdict::of_kind(ErrorKind::QuotaExhausted);
/// assert!(!policy.should_retry(&RequestError::status(429), &spent, 0), "money does not come back by asking");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RetryPolicy {
    /// How often one candidate is asked again. Default: 1.
    pub max_retries: u32,
    /// Statuses after which it is asked again. Default: 408, 429, 500, 502, 503, 504, 529.
    pub retry_on_status_codes: BTreeSet<u16>,
    /// Kinds of errors after which it is asked again, whatever the status. Default: timeouts, connection errors, rate
    /// limits, overload, unavailability and server errors. An error that its verdict calls permanent never is.
    pub retry_on_errors: BTreeSet<ErrorKind>,
    /// How long to wait before. What the provider asks for is a floor. Default: see [`Backoff`].
    pub backoff: Backoff,
    /// Other numbers and waits for some kinds. Default: none.
    pub by_kind: Vec<KindPolicy>,
    /// The longest wait; where a provider asks for more, its candidate is not asked again. Default: 10 s.
    pub max_wait: Duration,
    /// How long attempts may take.
    pub timeouts: Timeouts,
    /// An attempt is only started when at least so much time is left to the deadline. Default: 50 ms, less than any
    /// provider takes.
    pub shortest_attempt: Duration,
}

/// What a [`RetryPolicy`] says otherwise for a kind of error.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct KindPolicy {
    /// The kind.
    pub kind: ErrorKind,
    /// How often one candidate is asked again.
    pub max_retries: u32,
    /// How long to wait before.
    pub backoff: Backoff,
}

/// How long an attempt may take. `None` is without bound; the request's deadline always holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Timeouts {
    /// Until the operation says that it is [connected](crate::Attempt::connected); only for operations that say so.
    /// Default: `None`.
    pub connect: Option<Duration>,
    /// Until the first content of a streamed answer. Default: 30 s.
    pub first_content: Option<Duration>,
    /// Between two signs of [progress](crate::Attempt::progress) after the first content. Default: 15 s.
    pub idle: Option<Duration>,
    /// The whole attempt. Default: 600 s, what the providers' own clients allow.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        Self { connect: None, first_content: seconds(30), idle: seconds(15), total: seconds(600) }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        use ErrorKind::{
            ConnectionError, Overloaded, RateLimitExceeded, ServerError, ServiceUnavailable, Timeout,
        };
        Self {
            max_retries: 1,
            retry_on_status_codes: BTreeSet::from([408, 429, 500, 502, 503, 504, 529]),
            retry_on_errors: BTreeSet::from([
                Timeout,
                ConnectionError,
                RateLimitExceeded,
                Overloaded,
                ServiceUnavailable,
                ServerError,
            ]),
            backoff: Backoff::default(),
            by_kind: Vec::new(),
            max_wait: Duration::from_secs(10),
            timeouts: Timeouts::default(),
            shortest_attempt: Duration::from_millis(50),
        }
    }
}

impl RetryPolicy {
    /// Whether a candidate that failed may be asked again, when it was so often before.
    pub fn should_retry(&self, error: &RequestError, verdict: &Verdict, retries: u32) -> bool {
        let named = self.retry_on_errors.contains(&verdict.kind)
            || error.status_code().is_some_and(|status| self.retry_on_status_codes.contains(&status));
        verdict.retry_here && named && retries < self.of_kind(verdict.kind).0
    }

    /// How long to wait before a retry, counted from 1. `draw` is a random number from 0 to 1, `previous` the wait before.
    pub fn wait(&self, verdict: &Verdict, retry: u32, previous: Duration, draw: f64) -> Duration {
        let backoff = self.of_kind(verdict.kind).1.delay(retry, previous, draw);
        backoff.max(verdict.retry_after.unwrap_or_default())
    }

    fn of_kind(&self, kind: ErrorKind) -> (u32, Backoff) {
        let named = self.by_kind.iter().find(|named| named.kind == kind);
        named.map_or((self.max_retries, self.backoff), |named| (named.max_retries, named.backoff))
    }
}
