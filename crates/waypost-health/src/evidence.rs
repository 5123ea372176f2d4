//! What a result says about a candidate's health.

use waypost_core::{FaultScope, Outcome, RequestResult};

use crate::CallOutcome;

/// What a result says, and how far that reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    Success,
    /// The provider or the way there failed.
    Failure(FaultScope),
    /// The provider is well and refuses for now.
    RateLimited(FaultScope),
    /// The provider refuses the credential: its key, its permissions or its bill.
    Refused(FaultScope),
    /// Nothing: the request was at fault, or the caller gave up.
    Nothing,
}

impl Evidence {
    /// By the result's scope and status. 401 and 402 are the credential's; 403 is the deployment's, because permissions
    /// are given per model; 408, 424 and what is not a status of the 400s are the provider's; the rest of the 400s are
    /// the request's.
    pub(crate) fn of(result: &RequestResult) -> Self {
        match (result.outcome, result.scope) {
            (Outcome::Success, _) => return Self::Success,
            (Outcome::Cancelled, _) | (Outcome::Failure, Some(FaultScope::Request)) => return Self::Nothing,
            (Outcome::Failure, _) => {}
        }
        let reaching = |scope| result.scope.unwrap_or(scope);
        match result.status_code {
            Some(429) => Self::RateLimited(reaching(FaultScope::Deployment)),
            Some(401 | 402) => Self::Refused(reaching(FaultScope::Credential)),
            Some(403) => Self::Refused(reaching(FaultScope::Deployment)),
            Some(408 | 424) => Self::Failure(reaching(FaultScope::Deployment)),
            // A scope that somebody named says that it is not the request's own fault.
            Some(400..=499) if result.scope.is_none() => Self::Nothing,
            _ => Self::Failure(reaching(FaultScope::Deployment)),
        }
    }

    /// What a breaker makes of it.
    pub(crate) const fn outcome(self, slow: bool) -> CallOutcome {
        match self {
            Self::Success if slow => CallOutcome::SlowSuccess,
            Self::Success => CallOutcome::Success,
            Self::Failure(_) => CallOutcome::Failure,
            Self::RateLimited(_) => CallOutcome::RateLimited,
            Self::Refused(_) | Self::Nothing => CallOutcome::Ignored,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::time::Duration;
    use waypost_core::TokenUsage;

    fn failed(status: u16) -> RequestResult {
        RequestResult::failure(Duration::ZERO, "x").status(status)
    }

    #[test]
    fn trap_33_a_rate_limit_is_not_a_failure_and_a_bad_request_is_nothing() {
        use FaultScope::{Credential, Deployment, Provider, Request};
        let of = |status| Evidence::of(&failed(status));
        assert_eq!(of(429), Evidence::RateLimited(Deployment));
        assert_eq!([400, 404, 409, 413, 422, 499].map(of), [Evidence::Nothing; 6]);
        assert_eq!([401, 402].map(of), [Evidence::Refused(Credential); 2]);
        assert_eq!(of(403), Evidence::Refused(Deployment));
        assert_eq!([408, 424, 500, 502, 503, 529, 0, u16::MAX].map(of), [Evidence::Failure(Deployment); 8]);
        assert_eq!(
            Evidence::of(&RequestResult::failure(Duration::ZERO, "reset")),
            Evidence::Failure(Deployment)
        );
        assert_eq!(Evidence::of(&failed(529).reaching(Provider)), Evidence::Failure(Provider));
        assert_eq!(Evidence::of(&failed(400).reaching(Credential)), Evidence::Failure(Credential));
        assert_eq!(Evidence::of(&failed(500).reaching(Request)), Evidence::Nothing, "a content filter");
        assert_eq!(Evidence::of(&RequestResult::cancelled(Duration::ZERO)), Evidence::Nothing);
        let success = RequestResult::success(Duration::ZERO, TokenUsage::default());
        assert_eq!(Evidence::of(&success).outcome(true), CallOutcome::SlowSuccess);
    }
}
