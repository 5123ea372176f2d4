//! How a request ended after all its attempts.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use waypost_core::{CandidateId, ProviderCandidate, RequestResult, RoutingError, Timestamp, Tokens};

use crate::{ErrorKind, RequestError, Selection, Verdict};

/// An attempt that failed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// Where.
    pub candidate: CandidateId,
    /// Which attempt of the request it was, from 0.
    pub number: u32,
    /// Whether it ran beside another.
    pub is_hedge: bool,
    /// What went wrong.
    pub error: RequestError,
    /// What that means.
    pub verdict: Verdict,
    /// How long was waited before it.
    pub waited: Duration,
    /// How long it took.
    pub took: Duration,
    /// Tokens of the answer that it had delivered.
    pub delivered: Tokens,
}

impl FailedAttempt {
    /// Whether the provider may have served and billed it all the same.
    pub const fn may_be_billed(&self) -> bool {
        !self.verdict.kind.is_unserved()
    }
}

impl fmt::Display for FailedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.candidate, self.verdict.kind, self.error)
    }
}

/// An answer, where it came from, and what was tried before.
///
/// It is finished when the operation returned without saying that the answer is still coming. Else it is open: the
/// attempt is in flight until [`finish`](Self::finish), and dropping the outcome records it as cancelled.
#[must_use = "dropping an open outcome records the attempt as cancelled"]
#[derive(Debug)]
pub struct Outcome<A, S> {
    pub(crate) answer: A,
    pub(crate) open: Option<S>,
    pub(crate) candidate: Arc<ProviderCandidate>,
    pub(crate) failed: Vec<FailedAttempt>,
    pub(crate) attempts: u32,
    pub(crate) waited: Duration,
}

impl<A, S: Selection> Outcome<A, S> {
    /// What the operation returned.
    pub const fn answer(&self) -> &A {
        &self.answer
    }

    /// Who served it.
    pub fn candidate(&self) -> &ProviderCandidate {
        &self.candidate
    }

    /// The attempts that failed before, in order.
    pub fn failed(&self) -> &[FailedAttempt] {
        &self.failed
    }

    /// How many attempts were made, hedges included.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long was waited between attempts.
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// Attempts before this one that a provider may have served and billed.
    pub fn possible_double_bills(&self) -> usize {
        self.failed.iter().filter(|attempt| attempt.may_be_billed()).count()
    }

    /// Whether the answer is still coming.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Says how an answer ended that was still coming; of a finished one nothing changes. Returns what the operation
    /// returned.
    pub fn finish(self, result: &RequestResult, now: Timestamp) -> A {
        if let Some(selection) = self.open {
            selection.finish_at(result, now);
        }
        self.answer
    }

    /// What the operation returned, and the selection if the answer is still coming.
    pub fn into_parts(self) -> (A, Option<S>) {
        (self.answer, self.open)
    }
}

/// Why no further attempt was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GaveUp {
    /// Everybody who could be asked was asked.
    #[error("all attempts failed")]
    AllAttemptsFailed,
    /// As many attempts were made as may be.
    #[error("the most attempts were made")]
    MaxAttemptsExceeded,
    /// The deadline came, or would have come before another attempt could end.
    #[error("no time is left")]
    DeadlineExceeded,
    /// Retries of all requests together took what they may.
    #[error("the retry budget is spent")]
    RetryBudgetExhausted,
    /// The request is at fault, or would do harm when it is served twice.
    #[error("another attempt would not help")]
    NotRetryable,
    /// The answer broke off after its first content.
    #[error("the answer broke off")]
    Interrupted,
    /// Providers refuse so much that this request was not sent.
    #[error("providers refuse too much")]
    Throttled,
    /// Nobody could be selected for the first attempt.
    #[error("no provider could be selected")]
    NotRouted(#[source] RoutingError),
}

/// A request that no attempt answered.
#[derive(Debug, Clone)]
pub struct FailoverError {
    pub(crate) because: GaveUp,
    pub(crate) attempts: Vec<FailedAttempt>,
    pub(crate) retry_after: Option<Duration>,
}

impl FailoverError {
    /// Why no further attempt was made.
    pub const fn because(&self) -> &GaveUp {
        &self.because
    }

    /// The attempts, in order of their ends.
    pub fn attempts(&self) -> &[FailedAttempt] {
        &self.attempts
    }

    /// The error of the last attempt; `None` when none was made.
    pub fn last(&self) -> Option<&FailedAttempt> {
        self.attempts.last()
    }

    /// When to come back: the shortest wait that a provider or the router asked for.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the caller should try again, after [`retry_after`](Self::retry_after): only when nobody served the
    /// request and waiting helps. A gateway says so in `x-should-retry`; else layers multiply each other's retries.
    pub fn should_retry(&self) -> bool {
        match &self.because {
            GaveUp::NotRouted(error) => error.is_retryable(),
            GaveUp::AllAttemptsFailed | GaveUp::MaxAttemptsExceeded => {
                let limited = |attempt: &FailedAttempt| attempt.verdict.kind == ErrorKind::RateLimitExceeded;
                !self.attempts.is_empty() && self.attempts.iter().all(limited)
            }
            _ => false,
        }
    }
}

impl fmt::Display for FailoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {} attempts", self.because, self.attempts.len())?;
        match self.last() {
            Some(last) => write!(f, "; the last: {last}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for FailoverError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.because {
            GaveUp::NotRouted(error) => Some(error),
            _ => None,
        }
    }
}
