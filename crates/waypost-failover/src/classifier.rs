//! What an error of a provider means.

use core::time::Duration;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use waypost_core::ProviderType;

use crate::error_text::ErrorText;
use crate::{
    ErrorKind, ErrorResponse, ErrorRule, MAX_RETRY_AFTER, RequestError, Verdict, built_in, retry_after,
};

/// Tells what to make of an error, from who sent it and what it says: by rules of one's own, then by the built-in ones,
/// then by the status.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use waypost_core::{FaultScope, ProviderType};
/// use waypost_failover::{ErrorClassifier, ErrorKind, ErrorResponse, RequestError};
///
/// let refused = ErrorResponse::new(429).body(r#"{"error":{"code":"insufficient_quota"}}"#);
/// let verdict =
///     ErrorClassifier::default().classify(&ProviderType::OpenAi, &RequestError::from(refused), SystemTime::UNIX_EPOCH);
/// assert_eq!((verdict.kind, verdict.scope), (ErrorKind::QuotaExhausted, FaultScope::Credential));
/// assert!(!verdict.retry_here && verdict.fails_over());
/// ```
///
/// # Complexity
///
/// Linear in the number of rules times the names that the first KiB of the body has. Allocates: errors are rare.
#[derive(Debug, Clone)]
pub struct ErrorClassifier {
    own: Vec<ErrorRule>,
    built_in: Arc<Vec<ErrorRule>>,
}

impl Default for ErrorClassifier {
    fn default() -> Self {
        static BUILT_IN: OnceLock<Arc<Vec<ErrorRule>>> = OnceLock::new();
        let built_in = Arc::clone(BUILT_IN.get_or_init(|| Arc::new(built_in::rules())));
        Self { own: Vec::new(), built_in }
    }
}

impl ErrorClassifier {
    /// Puts rules before those that there are; the first that an error meets counts.
    pub fn with_rules(mut self, rules: impl IntoIterator<Item = ErrorRule>) -> Self {
        self.own.splice(0..0, rules);
        self
    }

    /// What to make of an error. `wall` is the wall time, against which dates in headers are read.
    pub fn classify(&self, provider: &ProviderType, error: &RequestError, wall: SystemTime) -> Verdict {
        match error {
            RequestError::Response(response) => self.classify_response(provider, response, wall),
            error => Verdict::of_kind(error.kind().unwrap_or(ErrorKind::Unknown)),
        }
    }

    fn classify_response(
        &self,
        provider: &ProviderType,
        response: &ErrorResponse,
        wall: SystemTime,
    ) -> Verdict {
        let mut said = ErrorText::of(response.body_start());
        said.codes.extend(header(response, "x-amzn-errortype").map(error_type));
        let is_page =
            said.is_html || header(response, "content-type").is_some_and(|kind| kind.contains("html"));
        let status = match response.status() {
            200..=299 if said.is_empty || is_page => return Verdict::of_kind(ErrorKind::InvalidResponse),
            // A stream's or an answer's own status says nothing.
            0..=299 => 200,
            status => status,
        };
        let provider = provider.to_string();
        let mut rules = self.own.iter().chain(&*self.built_in);
        let met = rules.find(|rule| rule.is_met(&provider, status, &said));
        let verdict = met.map_or_else(|| by_class(status), ErrorRule::verdict);
        with_wait(
            verdict,
            retry_after::retry_after(response, &said, wall),
            header(response, "x-should-retry"),
        )
    }
}

fn header<'r>(response: &'r ErrorResponse, wanted: &str) -> Option<&'r str> {
    response.headers().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

/// `ThrottlingException:http://…` names the error before the colon.
fn error_type(value: &str) -> String {
    value.split(':').next().unwrap_or_default().trim().to_lowercase()
}

fn by_class(status: u16) -> Verdict {
    Verdict::of_kind(match status {
        400..=499 => ErrorKind::InvalidRequest,
        500..=599 => ErrorKind::ServerError,
        _ => ErrorKind::InvalidResponse,
    })
}

/// Adds the wait that the provider asks for, where such a word means something: Anthropic sends one with good answers too.
fn with_wait(mut verdict: Verdict, asked: Option<Duration>, should_retry: Option<&str>) -> Verdict {
    use ErrorKind::{Overloaded, RateLimitExceeded, ServiceUnavailable};
    let waits = matches!(verdict.kind, RateLimitExceeded | Overloaded | ServiceUnavailable);
    if let Some(asked) = asked.filter(|_| waits) {
        verdict.retry_after = Some(asked.min(MAX_RETRY_AFTER));
        verdict.cool_down =
            verdict.cool_down.filter(|rests| *rests > MAX_RETRY_AFTER).or(verdict.retry_after);
    }
    if should_retry.is_some_and(|word| word.eq_ignore_ascii_case("false")) {
        verdict.retry_here = false;
    }
    verdict
}

/// What to make of an error of a provider by the built-in rules, when no clock is at hand: dates in headers count as past.
///
/// ```
/// use waypost_core::ProviderType;
/// use waypost_failover::classify;
///
/// let body = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
/// let verdict = classify(&ProviderType::Anthropic, 529, [("retry-after", "3")], body);
/// assert!(verdict.fails_over() && !verdict.is_callers_fault());
/// assert_eq!(verdict.retry_after.unwrap().as_secs(), 3);
/// ```
pub fn classify<'h>(
    provider: &ProviderType,
    status: u16,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    body: &[u8],
) -> Verdict {
    let response = ErrorResponse::new(status).body(body);
    let response = headers.into_iter().fold(response, |response, (name, value)| response.header(name, value));
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 2);
    ErrorClassifier::default().classify(provider, &RequestError::Response(response), far)
}
