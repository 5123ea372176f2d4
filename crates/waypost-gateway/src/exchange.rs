//! One attempt at one candidate: what it is sent.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri, Version};
use waypost::core::{Timestamp, Tokens, TraceContext};
use waypost::failover::ErrorKind;
use waypost::{Attempt, RequestError};

use crate::Endpoint;
use crate::gateway::Gateway;
use crate::header;
use crate::opening::{Opened, Opening};
use crate::places::Place;
use crate::provider::ANTHROPIC_VERSION;
use crate::refusal::ProviderSaid;
use crate::request_body::RequestBody;
use crate::scan::StreamUsage;
use crate::settlement::Progress;
use crate::target::Target;
use crate::upstream::UpstreamError;

/// Headers that a provider is told, as a rule.
const MAX_HEADERS: usize = 12;
/// Headers of clients that providers are told. All others are not: they may say whose request it is, or change where it
/// goes.
const FORWARDED: [HeaderName; 4] = [
    HeaderName::from_static("accept"),
    header::ANTHROPIC_VERSION,
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("openai-beta"),
];

/// A request on its way to providers.
pub(crate) struct Exchange {
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) model_at: Option<Range<usize>>,
    pub(crate) stream: bool,
    pub(crate) stream_usage: StreamUsage,
    /// The options of the stream that are sent instead of the client's, and where those stand.
    pub(crate) stream_options: Option<(Range<usize>, Bytes)>,
    /// How many answers are asked for.
    pub(crate) answers: u32,
    pub(crate) prompt: Tokens,
    /// The trace that providers are told.
    pub(crate) trace: Option<TraceContext>,
    /// When all of it was there.
    pub(crate) arrived: Timestamp,
    /// The body's share of the memory for bodies.
    pub(crate) _held: Place,
    /// What the last provider said that refused it.
    pub(crate) said: Mutex<Option<ProviderSaid>>,
}

impl Exchange {
    /// Makes one attempt. The answer is on the heap: failover hands it through several places.
    pub(crate) async fn attempt(
        &self,
        gateway: &Gateway,
        attempt: Attempt,
    ) -> Result<Box<Opened>, RequestError> {
        #[cfg(test)]
        assert!(!self.headers.contains_key("x-test-panic"), "a test asked for it");
        let target = gateway.directory().target(attempt.candidate().id()).map(Arc::clone);
        // A candidate that was removed meanwhile is nowhere any more.
        let target = target.ok_or(ErrorKind::ServiceUnavailable)?;
        let mut progress = Progress::new(Arc::clone(gateway.router().clock()), self.prompt);
        let make = |connection: &crate::upstream::Connection| {
            self.request(&target, &attempt, connection.is_http2(), gateway)
        };
        let sent = target.upstream.send(make, || attempt.connected()).await;
        let response = sent.map_err(|error| match error {
            UpstreamError::Connect(error) => RequestError::from(error),
            UpstreamError::Exchange(error) if error.is_parse() => ErrorKind::InvalidResponse.into(),
            UpstreamError::Exchange(_) => ErrorKind::ConnectionError.into(),
        })?;
        let limits = response.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let limits = waypost::limits::provider_limits(limits, gateway.router().clock().wall());
        if !limits.is_empty() {
            attempt.provider_limits(limits);
            progress.limits(limits);
        }
        let mut opening = Opening::new(self, &attempt, target, progress, response);
        let beginning = opening.read().await?;
        Ok(Box::new(opening.opened(beginning)))
    }

    /// What is sent. The body is the client's but for the model's name, and the wish for usage at a stream's end.
    fn request(
        &self,
        target: &Target,
        attempt: &Attempt,
        is_http2: bool,
        gateway: &Gateway,
    ) -> Request<RequestBody> {
        let mut request = Request::new(self.sent_body(target));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri(target, is_http2);
        let headers = request.headers_mut();
        headers.reserve(MAX_HEADERS);
        for (name, value) in self.headers.iter().filter(|(name, _)| FORWARDED.contains(name)) {
            headers.append(name, value.clone());
        }
        if let Some(kind) = self.headers.get(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, kind.clone());
        }
        if !is_http2 {
            headers.insert(HOST, target.authority.clone());
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("waypost/", env!("CARGO_PKG_VERSION"))));
        headers.insert(header::ATTEMPT, HeaderValue::from(attempt.number()));
        self.add_trace(headers);
        if self.endpoint == Endpoint::Messages && !headers.contains_key(header::ANTHROPIC_VERSION) {
            headers.insert(header::ANTHROPIC_VERSION, HeaderValue::from_static(ANTHROPIC_VERSION));
        }
        for (name, value) in target.headers.iter().chain(target.authorization(self.endpoint)) {
            headers.insert(name, value.clone());
        }
        if is_http2 {
            *request.version_mut() = Version::HTTP_2;
        }
        if let Some(keys) = &target.aws
            && let Err(error) = keys.sign(&mut request, &target.authority, gateway.router().clock().wall())
        {
            tracing::error!(%error, "a request could not be signed");
        }
        request
    }

    fn add_trace(&self, headers: &mut HeaderMap) {
        let Some(trace) = &self.trace else { return };
        if let Ok(parent) = HeaderValue::try_from(trace.traceparent()) {
            headers.insert(header::TRACEPARENT, parent);
        }
        if !trace.state().is_empty()
            && let Ok(state) = HeaderValue::try_from(trace.state().to_string())
        {
            headers.insert(header::TRACESTATE, state);
        }
    }

    fn uri(&self, target: &Target, is_http2: bool) -> Uri {
        let path = target.path(self.endpoint).cloned();
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = path.or_else(|| Some(http::uri::PathAndQuery::from_static("/")));
        if is_http2 {
            let scheme = if target.is_tls { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP };
            parts.scheme = Some(scheme);
            parts.authority = target.authority.to_str().ok().and_then(|name| name.parse().ok());
        }
        Uri::from_parts(parts).unwrap_or_default()
    }

    fn sent_body(&self, target: &Target) -> RequestBody {
        let body = &self.body;
        let Some(at) = &self.model_at else { return RequestBody::new(body) };
        let model = if self.endpoint.is_form() {
            target.model.slice(1..target.model.len() - 1)
        } else {
            target.model.clone()
        };
        let takes = self.stream && target.kind.takes_stream_options();
        let options = self.stream_options.clone().filter(|_| takes);
        let asks = takes && self.stream_usage == StreamUsage::Silent && !self.endpoint.is_form();
        let brace = if asks { memchr::memchr(b'{', body) } else { None };
        let wish = brace.map(|brace| {
            (brace + 1..brace + 1, Bytes::from_static(br#""stream_options":{"include_usage":true},"#))
        });
        RequestBody::edited(body, [Some((at.clone(), model)), options, wish])
    }

    /// Whether what the gateway asked of usage is not for the client.
    pub(crate) fn hides_usage(&self) -> bool {
        self.stream && self.stream_usage != StreamUsage::Wanted
    }
}
