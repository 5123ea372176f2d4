//! Why a request is not admitted.

use core::fmt;
use core::time::Duration;

use waypost_core::{LimitId, RoutingError};

use crate::Subject;

/// A limit that does not admit a request, and when it may.
///
/// Displays like ``limit `users` (user 17) is spent, more in 0.5 s``.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct LimitSpent {
    pub(crate) limit: LimitId,
    pub(crate) subject: Subject,
    pub(crate) why: Why,
    pub(crate) retry_after: Option<Duration>,
}

/// What kind of limit it is that does not admit a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// A rate is used up.
    Rate,
    /// As many requests as may be are under way.
    Concurrency,
    /// The money is spent.
    Money,
    /// A hard budget does not admit what nobody knows the cost of.
    UnknownCost,
    /// The request takes more than the limit ever admits at once.
    TooLarge,
}

impl LimitSpent {
    /// The limit.
    pub const fn limit(&self) -> &LimitId {
        &self.limit
    }

    /// Whose meter it is.
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What kind of limit it is.
    pub const fn why(&self) -> Why {
        self.why
    }

    /// How long until the request is admitted, if nobody else takes what comes free: by the rate, or when the budget's
    /// next period begins. `None` when that cannot be told.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for LimitSpent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = if self.subject.is_empty() { String::new() } else { format!(" ({})", self.subject) };
        match self.why {
            Why::TooLarge => {
                write!(f, "the request is larger than limit `{}`{subject} ever admits", self.limit)
            }
            Why::UnknownCost => {
                write!(f, "budget `{}`{subject} admits nothing of unknown cost", self.limit)
            }
            Why::Money => write!(f, "budget `{}`{subject} is spent", self.limit),
            Why::Rate | Why::Concurrency => write!(f, "limit `{}`{subject} is spent", self.limit),
        }?;
        match self.retry_after {
            Some(wait) => write!(f, ", more in {:.1} s", wait.as_secs_f64()),
            None => Ok(()),
        }
    }
}

impl From<LimitSpent> for RoutingError {
    fn from(spent: LimitSpent) -> Self {
        let LimitSpent { limit, why, retry_after, .. } = spent;
        match why {
            Why::TooLarge => Self::RequestTooLarge { limit },
            Why::Money | Why::UnknownCost => Self::BudgetExceeded { limit: Some(limit), retry_after },
            Why::Rate | Why::Concurrency => Self::LimitsExceeded { limit: Some(limit), retry_after },
        }
    }
}
