//! Names of headers that are ours or a provider's.

use http::{HeaderName, HeaderValue};
use uuid::Uuid;

/// Which attempt of a request this is, from 0; layers above say so too.
pub(crate) const ATTEMPT: HeaderName = HeaderName::from_static("x-attempt");
/// The request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Whether the client should try again.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// The key of Anthropic's clients.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The key of Google's clients.
pub(crate) const GOOGLE_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
/// The version of Anthropic's protocol.
pub(crate) const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// W3C Trace Context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C Trace Context.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// An id as a header's value.
pub(crate) fn of_id(id: Uuid) -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("digits and hyphens are a header's value")
}
