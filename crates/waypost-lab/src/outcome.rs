//! How a simulated request ends.

use std::time::Duration;

use waypost::RequestResult;
use waypost::core::{TokenUsage, Tokens};

use crate::Arrival;
use crate::profile::Service;

/// How a simulated request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Answered,
    Failed(Fault),
}

/// Why a simulated provider fails a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    RateLimited,
    ServerError,
    Unavailable,
    Overloaded,
}

impl Fault {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "429 rate limited",
            Self::ServerError => "500 server error",
            Self::Unavailable => "503 unavailable",
            Self::Overloaded => "529 overloaded",
        }
    }

    const fn status(self) -> u16 {
        match self {
            Self::RateLimited => 429,
            Self::ServerError => 500,
            Self::Unavailable => 503,
            Self::Overloaded => 529,
        }
    }
}

/// What the caller tells the router: waiting in the queue counts.
pub(crate) fn result(
    ending: Ending,
    arrival: &Arrival,
    waited: Duration,
    service: Service,
    now: Duration,
) -> RequestResult {
    match ending {
        Ending::Answered => {
            let tokens = TokenUsage::new(arrival.prompt, arrival.completion.max(Tokens(1)));
            RequestResult::success(waited.saturating_add(service.total), tokens)
                .first_token_after(waited.saturating_add(service.first_token))
        }
        Ending::Failed(fault) => {
            let failure = RequestResult::failure(waited.saturating_add(service.total), fault.name());
            let failure = failure.status(fault.status());
            // The limiter opens with the next minute, and says so.
            if fault == Fault::RateLimited {
                failure.retry_after(Duration::from_secs(60 - now.as_secs() % 60))
            } else {
                failure
            }
        }
    }
}
