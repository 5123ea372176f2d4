//! What a client is told instead of an answer, in the words of its protocol.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use waypost::core::{RejectionReason, Stage};
use waypost::failover::{ErrorKind, FailedAttempt, GaveUp};
use waypost::{FailoverError, RoutingError};

use crate::Endpoint;
use crate::answer::AnswerBody;
use crate::dialect::quoted;
use crate::endpoint::Dialect;
use crate::header;
use crate::scan::BadBody;

/// The longest that a text of a client is repeated in a message.
const MAX_REPEATED: usize = 256;

/// Why a request is not answered.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// A stable word for programs.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
    pub(crate) retry_after: Option<Duration>,
    /// Whether the client should try again; `None` leaves it to the status.
    pub(crate) should_retry: Option<bool>,
    /// What the provider said, when it is the client's to know: that is passed on as it is.
    pub(crate) said: Option<Box<ProviderSaid>>,
}

/// A provider's own error.
#[derive(Debug, Clone)]
pub(crate) struct ProviderSaid {
    /// At which attempt.
    pub(crate) attempt: u32,
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Bytes,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, param: None, retry_after: None, should_retry: None, said: None }
    }

    /// A path that takes another method.
    pub(crate) fn method(takes: &str) -> Self {
        let message = format!("this path takes {takes}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// The gateway's end.
    pub(crate) fn stopping() -> Self {
        let message = "the gateway is shutting down";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_shutting_down", message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
    }

    /// One answer for all keys that are none.
    pub(crate) fn no_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", "no valid key was sent")
    }

    pub(crate) fn too_large() -> Self {
        let message = "the body is larger than this gateway takes";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    pub(crate) fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    pub(crate) fn of_body(bad: BadBody) -> Self {
        Self { param: bad.param, ..Self::new(StatusCode::BAD_REQUEST, "invalid_request", bad.message) }
    }

    /// What the router's refusal means to a client.
    pub(crate) fn of_routing(error: &RoutingError) -> Self {
        use RoutingError as E;
        let (status, code) = match error {
            E::ModelNotSupported { .. } => (StatusCode::NOT_FOUND, "model_not_found"),
            E::NoProvidersAvailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "no_candidates"),
            E::AllProvidersFiltered { stage: Stage::Tenant } => (StatusCode::FORBIDDEN, "not_allowed"),
            E::AllProvidersFiltered { stage: Stage::Latency } => {
                (StatusCode::SERVICE_UNAVAILABLE, "too_slow")
            }
            E::AllProvidersFiltered { .. } => (StatusCode::BAD_REQUEST, "no_candidate_fits"),
            E::AllProvidersUnhealthy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "no_healthy_candidates"),
            E::LimitsExceeded { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
            E::RequestTooLarge { .. } => (StatusCode::BAD_REQUEST, "request_too_large"),
            E::BudgetExceeded { .. } => (StatusCode::TOO_MANY_REQUESTS, "budget_exceeded"),
            E::Rejected(rejection) => match rejection.reason {
                RejectionReason::UnauthorizedModel => (StatusCode::FORBIDDEN, "not_allowed"),
                RejectionReason::RateLimitExceeded => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
                RejectionReason::MaintenanceMode => (StatusCode::SERVICE_UNAVAILABLE, "maintenance"),
                _ => (StatusCode::FORBIDDEN, "rejected"),
            },
            E::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "not_routed"),
        };
        let mut refusal =
            Self::new(status, code, repeated(&error.to_string())).retry_after(error.retry_after());
        refusal.should_retry = Some(error.is_retryable());
        refusal.param = matches!(error, E::ModelNotSupported { .. }).then_some("model");
        refusal
    }

    /// What failed attempts mean to a client.
    pub(crate) fn of_failover(error: &FailoverError, said: Option<ProviderSaid>) -> Self {
        let (status, code) = match (error.because(), error.last()) {
            (GaveUp::NotRouted(error), _) => return Self::of_routing(error),
            (GaveUp::DeadlineExceeded, _) => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
            (GaveUp::Throttled, _) => (StatusCode::SERVICE_UNAVAILABLE, "throttled"),
            (_, Some(last)) => of_kind(last),
            _ => (StatusCode::BAD_GATEWAY, "upstream_error"),
        };
        let tried = error.attempts().len();
        let last = error
            .last()
            .map(|last| format!("; the last ended with {}", last.verdict.kind))
            .unwrap_or_default();
        let message = format!("{} after {tried} attempts{last}", error.because());
        let mut refusal = Self::new(status, code, message).retry_after(error.retry_after());
        refusal.should_retry = Some(error.should_retry());
        let clients = error.last().filter(|last| is_the_clients(last.verdict.kind));
        refusal.said =
            said.filter(|said| clients.is_some_and(|last| last.number == said.attempt)).map(Box::new);
        refusal
    }

    /// The same, when all that stands in the way is limits of providers.
    pub(crate) fn into_rate_limit(mut self) -> Self {
        (self.status, self.code) = (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded");
        "every candidate rests after a rate limit".clone_into(&mut self.message);
        self
    }

    /// As an answer in the words of a protocol.
    pub(crate) fn response(self, endpoint: Option<Endpoint>, request_id: &str) -> Response<AnswerBody> {
        let (status, content_type, body) = match &self.said {
            Some(said) => (said.status, said.content_type.clone(), said.body.clone()),
            None => (self.status, None, Bytes::from(self.body(endpoint, request_id))),
        };
        let mut response = Response::new(AnswerBody::whole(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/json")));
        if let Some(wait) = self.retry_after {
            headers
                .insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)));
        }
        if let Some(should) = self.should_retry {
            headers.insert(
                header::SHOULD_RETRY,
                HeaderValue::from_static(if should { "true" } else { "false" }),
            );
        }
        response
    }

    fn body(&self, endpoint: Option<Endpoint>, request_id: &str) -> String {
        let (message, id) = (quoted(&self.message), quoted(request_id));
        if endpoint.map(Endpoint::dialect) == Some(Dialect::Messages) {
            let kind = quoted(anthropic_type(self.status));
            return format!(
                "{{\"type\":\"error\",\"error\":{{\"type\":{kind},\"message\":{message}}},\"request_id\":{id}}}"
            );
        }
        if endpoint.map(Endpoint::dialect) == Some(Dialect::Gemini) {
            let (code, word) = (quoted(self.code), quoted(google_status(self.status)));
            return format!(
                "{{\"error\":{{\"code\":{},\"message\":{message},\"status\":{word},\"reason\":{code}}},\"request_id\":{id}}}",
                self.status.as_u16()
            );
        }
        let (kind, code) = (quoted(openai_type(self.status)), quoted(self.code));
        let param = self.param.map_or_else(|| "null".to_owned(), quoted);
        format!(
            "{{\"error\":{{\"message\":{message},\"type\":{kind},\"param\":{param},\"code\":{code}}},\"request_id\":{id}}}"
        )
    }
}

/// What a client wrote, no longer than so.
pub(crate) fn repeated(text: &str) -> String {
    text.chars().take(MAX_REPEATED).collect()
}

/// Errors that are the client's own doing, so that it should read what the provider says.
const fn is_the_clients(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidRequest
            | ErrorKind::ContextWindowExceeded
            | ErrorKind::RequestTooLarge
            | ErrorKind::ContentFiltered
    )
}

fn of_kind(last: &FailedAttempt) -> (StatusCode, &'static str) {
    match last.verdict.kind {
        ErrorKind::RateLimitExceeded => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
        ErrorKind::Overloaded | ErrorKind::ServiceUnavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "overloaded")
        }
        ErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
        ErrorKind::ModelNotFound => (StatusCode::NOT_FOUND, "model_not_found"),
        ErrorKind::RequestTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
        kind if is_the_clients(kind) => (StatusCode::BAD_REQUEST, "invalid_request"),
        _ => (StatusCode::BAD_GATEWAY, "upstream_error"),
    }
}

fn openai_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

fn google_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        413 => "request_too_large",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => openai_type(status),
    }
}
