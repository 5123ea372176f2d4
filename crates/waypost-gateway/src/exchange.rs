//! One attempt at one candidate: the request is sent, and its answer looked at until it is known to be one.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use waypost::core::{Timestamp, Tokens, TraceContext};
use waypost::failover::{ErrorKind, ErrorResponse};
use waypost::{Attempt, RequestError};

use crate::Endpoint;
use crate::endpoint::Dialect;
use crate::gateway::Gateway;
use crate::gathered::Gathered;
use crate::header;
use crate::places::Place;
use crate::provider::ANTHROPIC_VERSION;
use crate::refusal::ProviderSaid;
use crate::request_body::RequestBody;
use crate::scan::StreamUsage;
use crate::secrets::redacted;
use crate::settlement::Settlement;
use crate::sse::{EventSplitter, events};
use crate::target::Target;
use crate::upstream::{UpstreamBody, UpstreamError};
use crate::usage::{Said, Usage};

/// The largest answer that is held until all of it is there, so that its failure can still be somebody else's success.
const MAX_HELD: usize = 1 << 20;
/// The most that is read of an error.
const MAX_ERROR: usize = 64 << 10;
/// The most that comes before the first content of a stream.
const MAX_PREAMBLE: usize = 1 << 20;

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

/// An answer that is one.
pub(crate) enum Opened {
    /// All of it.
    Whole { status: StatusCode, headers: HeaderMap, body: Bytes, settlement: Settlement },
    /// A stream that has begun.
    Events {
        headers: HeaderMap,
        begun: Bytes,
        body: UpstreamBody,
        splitter: EventSplitter,
        settlement: Settlement,
        secrets: Vec<SecretString>,
    },
    /// Bytes that have begun.
    Bytes { status: StatusCode, headers: HeaderMap, first: Bytes, body: UpstreamBody, settlement: Settlement },
}

impl Opened {
    pub(crate) const fn settlement(&self) -> &Settlement {
        match self {
            Self::Whole { settlement, .. }
            | Self::Events { settlement, .. }
            | Self::Bytes { settlement, .. } => settlement,
        }
    }

    pub(crate) const fn settlement_mut(&mut self) -> &mut Settlement {
        match self {
            Self::Whole { settlement, .. }
            | Self::Events { settlement, .. }
            | Self::Bytes { settlement, .. } => settlement,
        }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Whole { status, .. } | Self::Bytes { status, .. } => *status,
            Self::Events { .. } => StatusCode::OK,
        }
    }
}

impl Exchange {
    /// Makes one attempt.
    pub(crate) async fn attempt(&self, gateway: &Gateway, attempt: Attempt) -> Result<Opened, RequestError> {
        #[cfg(test)]
        assert!(!self.headers.contains_key("x-test-panic"), "a test asked for it");
        let target = gateway.directory().target(attempt.candidate().id()).map(Arc::clone);
        // A candidate that was removed meanwhile is nowhere any more.
        let target = target.ok_or(ErrorKind::ServiceUnavailable)?;
        let settlement = Settlement::new(Arc::clone(gateway.router().clock()), self.prompt);
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
        }
        self.open(&target, &attempt, response, settlement, limits).await
    }

    async fn open(
        &self,
        target: &Target,
        attempt: &Attempt,
        response: Response<UpstreamBody>,
        mut settlement: Settlement,
        limits: waypost::core::ProviderLimits,
    ) -> Result<Opened, RequestError> {
        settlement.limits(limits);
        let (head, body) = response.into_parts();
        if !matches!(head.status.as_u16(), 200..=203) {
            return Err(self.refused(target, attempt, &head, body).await);
        }
        let kind = media_type(&head.headers);
        let headers = passed_on(&head.headers);
        match kind.as_str() {
            "text/event-stream" if self.endpoint.is_text() => {
                self.open_events(target, attempt, headers, body, settlement).await
            }
            "text/html" => Err(ErrorResponse::new(200).header("content-type", kind).into()),
            _ => self.open_whole(target, attempt, &head, headers, body, settlement).await,
        }
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
        for name in FORWARDED {
            if let Some(value) = self.headers.get(&name) {
                headers.insert(name, value.clone());
            }
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
        let Some(at) = &self.model_at else { return RequestBody::new([body.clone()]) };
        let model = if self.endpoint.is_form() {
            target.model.slice(1..target.model.len() - 1)
        } else {
            target.model.clone()
        };
        let takes = self.stream && target.kind.takes_stream_options();
        let mut edits = vec![(at.clone(), model)];
        edits.extend(self.stream_options.clone().filter(|_| takes));
        if takes && self.stream_usage == StreamUsage::Silent && !self.endpoint.is_form() {
            let wish = Bytes::from_static(br#""stream_options":{"include_usage":true},"#);
            edits.extend(memchr::memchr(b'{', body).map(|brace| (brace + 1..brace + 1, wish)));
        }
        RequestBody::edited(body, edits)
    }

    /// Whether what the gateway asked of usage is not for the client.
    pub(crate) fn hides_usage(&self) -> bool {
        self.stream && self.stream_usage != StreamUsage::Wanted
    }

    /// The provider refused. What it said is kept for the client, without its secrets.
    async fn refused(
        &self,
        target: &Target,
        attempt: &Attempt,
        head: &http::response::Parts,
        mut body: UpstreamBody,
    ) -> RequestError {
        let mut text = BytesMut::new();
        while text.len() < MAX_ERROR {
            match next(&mut body).await {
                Some(Ok(chunk)) => text.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR - text.len())]),
                _ => break,
            }
        }
        let body = redacted(text.freeze(), &target.secrets);
        let mut response = ErrorResponse::new(head.status.as_u16()).body(&body);
        for (name, value) in &head.headers {
            if let Ok(value) = value.to_str() {
                response = response.header(name.as_str(), value);
            }
        }
        let content_type = head.headers.get(CONTENT_TYPE).cloned();
        let said = ProviderSaid { attempt: attempt.number(), status: head.status, content_type, body };
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        response.into()
    }

    /// Reads up to the first content.
    async fn open_events(
        &self,
        target: &Target,
        attempt: &Attempt,
        headers: HeaderMap,
        mut body: UpstreamBody,
        mut settlement: Settlement,
    ) -> Result<Opened, RequestError> {
        let (mut splitter, mut begun) = (EventSplitter::default(), BytesMut::new());
        loop {
            let (block, is_last) = match next(&mut body).await {
                Some(Ok(chunk)) => (splitter.push(chunk).map_err(|_| ErrorKind::InvalidResponse)?, false),
                Some(Err(_)) => return Err(ErrorKind::ConnectionError.into()),
                None => (splitter.finish(), true),
            };
            match look_for_content(self.endpoint.dialect(), &block, target)? {
                Some(()) => {
                    attempt.first_content();
                    begun.extend_from_slice(&block);
                    settlement.begin();
                    let begun = begun.freeze();
                    let secrets = target.secrets.clone();
                    return Ok(Opened::Events { headers, begun, body, splitter, settlement, secrets });
                }
                // An answer that ends without having said anything is none.
                None if is_last || begun.len() + block.len() > MAX_PREAMBLE => {
                    return Err(ErrorKind::InvalidResponse.into());
                }
                None => begun.extend_from_slice(&block),
            }
        }
    }

    /// Reads all of an answer, unless it is too large for that or no JSON.
    async fn open_whole(
        &self,
        target: &Target,
        attempt: &Attempt,
        head: &http::response::Parts,
        headers: HeaderMap,
        mut body: UpstreamBody,
        mut settlement: Settlement,
    ) -> Result<Opened, RequestError> {
        let is_json = media_type(&head.headers).ends_with("json");
        let length =
            head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let mut whole = Gathered::expecting(length.unwrap_or(0));
        loop {
            match next(&mut body).await {
                Some(Ok(chunk)) => whole.push(chunk),
                Some(Err(_)) => return Err(ErrorKind::ConnectionError.into()),
                None => break,
            }
            let is_large = length.is_some_and(|length| length > MAX_HELD) || whole.len() > MAX_HELD;
            if !is_json || is_large {
                attempt.first_content();
                settlement.begin();
                let (status, first) = (head.status, whole.finish());
                return Ok(Opened::Bytes { status, headers, first, body, settlement });
            }
        }
        let (status, body) = (head.status, whole.finish());
        let said = read_whole(target, &body)?;
        // Of a text that does not say, four bytes are taken for a token.
        let counted = if self.endpoint.is_text() { body.len() as u64 / 4 } else { 0 };
        settlement.hear_all(said, counted);
        attempt.first_content();
        Ok(Opened::Whole { status, headers, body, settlement })
    }
}

/// The first content among events; what an error among them says before that.
fn look_for_content(dialect: Dialect, block: &Bytes, target: &Target) -> Result<Option<()>, RequestError> {
    for event in events(block) {
        let heard = dialect.hear(event);
        if heard.error {
            let said = Bytes::copy_from_slice(event.data().unwrap_or_default());
            return Err(ErrorResponse::new(200).body(redacted(said, &target.secrets)).into());
        }
        if heard.commits {
            return Ok(Some(()));
        }
        if heard.ended {
            return Err(ErrorKind::InvalidResponse.into());
        }
    }
    Ok(None)
}

/// Whether an answer is one, and what it used.
fn read_whole(target: &Target, body: &Bytes) -> Result<Said, RequestError> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
        #[serde(default, alias = "usageMetadata")]
        usage: Option<Usage>,
    }
    let failed = || RequestError::from(ErrorResponse::new(200).body(redacted(body.clone(), &target.secrets)));
    let Ok(whole) = serde_json::from_slice::<Whole<'_>>(body) else { return Err(failed()) };
    if whole.error.is_some_and(|error| error.get() != "null") {
        return Err(failed());
    }
    let mut said = Said::default();
    if let Some(usage) = whole.usage {
        said.hear(usage);
    }
    Ok(said)
}

async fn next(body: &mut UpstreamBody) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await? {
            Ok(frame) => {
                if let Ok(chunk) = frame.into_data() {
                    return Some(Ok(chunk));
                }
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Headers of a provider that a client is told: what the body is. What the provider says of accounts, limits and servers is
/// not the client's to know.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::with_capacity(8);
    if let Some(kind) = headers.get(CONTENT_TYPE) {
        passed.insert(CONTENT_TYPE, kind.clone());
    }
    passed
}
