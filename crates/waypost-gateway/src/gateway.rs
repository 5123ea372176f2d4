//! The gateway: what a request meets on its way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use http::{HeaderMap as Headers, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use secrecy::ExposeSecret;
use waypost::core::{Capability, LeftOutReason, ModelName, SessionId, Tag, TenantId, Tokens, UserId};
use waypost::failover::GaveUp;
use waypost::{
    Explanation, FailoverChain, GatewayRequest, Outcome, Router, RouterConfig, RoutingContext, RoutingError,
    SelectedProvider,
};

use crate::Endpoint;
use crate::answer::{AnswerBody, ByteStream};
use crate::closing::Closing;
use crate::config::{Config, Resolved, TargetSpec};
use crate::directory::{Directory, Target};
use crate::event_stream::{EventStream, Passing};
use crate::exchange::{Exchange, Opened};
use crate::form;
use crate::keys::Caller;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::scan::{BadBody, Scanned};
use crate::upstream::{Origin, TlsError, TlsSettings, Upstream};

/// How much of what a client says of itself is kept.
const MAX_AGENT: usize = 256;

/// Everything that serves requests. One for the life of a process; configurations come and go within it.
#[derive(Debug)]
pub struct Gateway {
    router: Router,
    directory: ArcSwap<Directory>,
    upstreams: Mutex<HashMap<(Origin, TlsSettings), Arc<Upstream>>>,
    /// What requests for an endpoint require of candidates.
    tags: Vec<(Endpoint, Vec<Tag>)>,
    usual_chain: Arc<FailoverChain>,
    pub(crate) metrics: Metrics,
    pub(crate) closing: Closing,
    running: AtomicUsize,
    max_requests: usize,
    body_timeout: Duration,
}

/// Why a configuration cannot be used although it was read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(String);

impl From<TlsError> for SetupError {
    fn from(error: TlsError) -> Self {
        Self(error.to_string())
    }
}

/// Why a request cannot be explained.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ExplainError(String);

/// A request under way, counted.
struct Running<'g>(&'g AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gateway {
    /// Makes a gateway from a configuration.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when something outside the configuration is missing, such as certificates.
    pub fn new(config: Config) -> Result<Arc<Self>, SetupError> {
        let resolved = config.resolved;
        let builder =
            Router::builder().config(RouterConfig::clone(&resolved.router)).rules(resolved.rules.clone());
        let builder = resolved.updates.iter().cloned().fold(builder, waypost::RouterBuilder::update);
        let builder = resolved.limits.iter().cloned().fold(builder, waypost::RouterBuilder::limit);
        let router = builder.build().map_err(|error| SetupError(error.to_string()))?;
        let tag = |endpoint: Endpoint| (endpoint, Tag::new(endpoint.tag()).into_iter().collect());
        let gateway = Self {
            router,
            directory: ArcSwap::default(),
            upstreams: Mutex::default(),
            tags: Endpoint::ALL.map(tag).to_vec(),
            usual_chain: Arc::default(),
            metrics: Metrics::default(),
            closing: Closing::default(),
            running: AtomicUsize::new(0),
            max_requests: resolved.server.max_requests,
            body_timeout: resolved.server.body_timeout,
        };
        let directory = gateway.directory_of(resolved, HashMap::new())?;
        gateway.directory.store(Arc::new(directory));
        Ok(Arc::new(gateway))
    }

    /// Puts another configuration in place, at once. Counters, breakers and limits stay. Returns its number.
    ///
    /// # Errors
    ///
    /// [`SetupError`]; then nothing has changed.
    pub fn reconfigure(&self, config: Config) -> Result<u64, SetupError> {
        let resolved = config.resolved;
        let (updates, rules, limits) =
            (resolved.updates.clone(), resolved.rules.clone(), resolved.limits.clone());
        // Requests that run may still be led to candidates of before.
        let known = self.directory.load().targets.clone();
        let directory = Arc::new(self.directory_of(resolved, known)?);
        let before = self.directory.swap(directory);
        self.router.reconfigure(updates, rules, limits).map_err(|error| {
            self.directory.store(before);
            SetupError(error.to_string())
        })
    }

    fn directory_of(
        &self,
        resolved: Resolved,
        mut targets: HashMap<waypost::core::CandidateId, Arc<Target>>,
    ) -> Result<Directory, SetupError> {
        for spec in &resolved.targets {
            targets.insert(spec.id.clone(), Arc::new(self.target(spec)?));
        }
        Ok(Directory {
            targets,
            chains: resolved.chains,
            keys: resolved.keys,
            anonymous: resolved.server.anonymous,
            response_headers: resolved.response_headers,
            max_body: resolved.server.max_body,
            models: resolved.listed,
            hash: resolved.hash,
        })
    }

    fn target(&self, spec: &TargetSpec) -> Result<Target, SetupError> {
        let bad = |what: &str| SetupError(format!("{}: {what}", spec.id));
        let mut paths = Vec::new();
        for endpoint in &spec.serves {
            let path = spec.kind.path(*endpoint, &spec.id.model, spec.api_version.as_deref());
            let path = format!("{}{path}", spec.base_path).parse();
            paths.push((*endpoint, path.map_err(|_| bad("its path is not valid"))?));
        }
        let header = |(name, value): &(String, String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        };
        let headers: Option<Vec<_>> = spec.headers.iter().map(header).collect();
        let key = spec.key.as_ref().map(|key| spec.kind.authorization(key.expose_secret()));
        Ok(Target {
            upstream: self.upstream(spec)?,
            kind: spec.kind,
            authority: HeaderValue::try_from(spec.origin.authority())
                .map_err(|_| bad("its host is not valid"))?,
            is_tls: spec.origin.is_tls,
            paths,
            authorization: key.map(|header| header.ok_or_else(|| bad("its key is not valid"))).transpose()?,
            headers: headers.ok_or_else(|| bad("its headers are not valid"))?,
            secret: spec.key.clone(),
            model: Bytes::from(crate::dialect::quoted(spec.id.model.as_str())),
        })
    }

    /// The connections to an origin, which all candidates there share.
    fn upstream(&self, spec: &TargetSpec) -> Result<Arc<Upstream>, SetupError> {
        let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (spec.origin.clone(), spec.tls.clone());
        if let Some(known) = upstreams.get(&key) {
            return Ok(Arc::clone(known));
        }
        let made = Upstream::new(spec.origin.clone(), &spec.tls)?;
        upstreams.insert(key, Arc::clone(&made));
        Ok(made)
    }

    /// The router that decides.
    pub const fn router(&self) -> &Router {
        &self.router
    }

    pub(crate) fn directory(&self) -> Guard<Arc<Directory>> {
        self.directory.load()
    }

    /// Where a request would go, and why. Nothing is sent or counted.
    ///
    /// # Errors
    ///
    /// [`ExplainError`] when it is no request, or the tenant no name.
    pub fn explain(
        &self,
        endpoint: Endpoint,
        body: &[u8],
        tenant: Option<&str>,
    ) -> Result<Explanation, ExplainError> {
        let scanned = Scanned::of_json(body, endpoint).map_err(|bad| ExplainError(bad.message))?;
        let tenant =
            tenant.map(TenantId::new).transpose().map_err(|error| ExplainError(error.to_string()))?;
        let caller = Caller { tenant, ..Caller::ANONYMOUS };
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let context = self.context(endpoint, &HeaderMap::new(), &scanned, &caller, here);
        let model = ModelName::new(&scanned.model).map_err(|error| ExplainError(error.to_string()))?;
        Ok(self.router.explain(&routed(model, &scanned), &context))
    }

    /// Requests under way.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Answers a request of a client.
    pub(crate) async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<AnswerBody> {
        let id = uuid::Uuid::now_v7().to_string();
        let endpoint = Endpoint::of_path(request.uri().path());
        let answered = self.admitted(endpoint, request, peer).await;
        let mut response = answered.unwrap_or_else(|refusal| {
            self.metrics.refused(endpoint, refusal.code);
            refusal.response(endpoint, &id)
        });
        if let Ok(id) = HeaderValue::try_from(id) {
            response.headers_mut().insert("x-request-id", id);
        }
        response
    }

    async fn admitted(
        &self,
        endpoint: Option<Endpoint>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<AnswerBody>, Refusal> {
        check_host(&request)?;
        let Some(endpoint) = endpoint else { return self.other(&request) };
        if request.method() != Method::POST {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path takes POST",
            ));
        }
        let caller = self.caller(request.headers())?;
        check_headers(request.headers(), endpoint)?;
        if self.running.fetch_add(1, Ordering::Relaxed) >= self.max_requests {
            self.running.fetch_sub(1, Ordering::Relaxed);
            let busy = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "the gateway is full");
            return Err(busy.retry_after(Some(Duration::from_secs(1))));
        }
        let _running = Running(&self.running);
        let (head, body) = request.into_parts();
        let body = self.read(body).await?;
        let scanned = if endpoint.is_form() {
            form::scan(&body, &head.headers)
        } else {
            Scanned::of_json(&body, endpoint)
        };
        let scanned = scanned.map_err(Refusal::of_body)?;
        // On the heap: it would be most of what a connection holds.
        Box::pin(self.serve(endpoint, head.headers, body, scanned, &caller, peer)).await
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Refusal> {
        let most = usize::try_from(self.directory().max_body).unwrap_or(usize::MAX);
        if http_body::Body::size_hint(&body).lower() > most as u64 {
            return Err(too_large());
        }
        let read = tokio::time::timeout(self.body_timeout, Limited::new(body, most).collect()).await;
        match read {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", "the body broke off")),
            Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long")),
        }
    }

    /// Whose request it is.
    fn caller(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Refusal> {
        let directory = self.directory();
        let key = key_of(headers)?;
        let known = key.and_then(|key| directory.keys.find(key)).map(Arc::clone);
        match known {
            Some(caller) => Ok(caller),
            None if directory.anonymous => Ok(Arc::new(Caller::ANONYMOUS)),
            None => Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_api_key", "no valid key was sent")),
        }
    }

    /// What is no request for a model.
    fn other(&self, request: &Request<Incoming>) -> Result<Response<AnswerBody>, Refusal> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/v1/models") => Ok(self.models(&*self.caller(request.headers())?)),
            (_, "/v1/models") => {
                Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path takes GET"))
            }
            (&Method::GET, "/health") => Ok(json(r#"{"status":"ok"}"#)),
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")),
        }
    }

    fn models(&self, caller: &Caller) -> Response<AnswerBody> {
        let directory = self.directory();
        let allowed = directory.models.iter().filter(|model| {
            let denied = caller.tenant.as_ref().is_some_and(|tenant| model.denied_to.contains(tenant));
            !denied && caller.may_use(model.name.as_str())
        });
        let listed: Vec<_> = allowed
            .map(|model| serde_json::json!({"id": model.name, "object": "model", "created": 0, "owned_by": model.owned_by}))
            .collect();
        json(&serde_json::json!({"object": "list", "data": listed}).to_string())
    }

    async fn serve(
        &self,
        endpoint: Endpoint,
        headers: Headers,
        body: Bytes,
        scanned: Scanned,
        caller: &Caller,
        peer: SocketAddr,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let not_found = || {
            let message = format!("model `{}` is not known", crate::refusal::repeated(&scanned.model));
            Refusal {
                param: Some("model"),
                ..Refusal::new(StatusCode::NOT_FOUND, "model_not_found", message)
            }
        };
        let model = ModelName::new(&scanned.model).map_err(|_| not_found())?;
        if !caller.may_use(model.as_str()) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "not_allowed", "the key is not for this model"));
        }
        let chain =
            self.directory().chains.get(&model).map_or_else(|| Arc::clone(&self.usual_chain), Arc::clone);
        let context = self.context(endpoint, &headers, &scanned, caller, peer);
        let exchange = Exchange {
            endpoint,
            headers,
            body,
            model_at: scanned.model_at.clone(),
            stream: scanned.stream,
            stream_usage: scanned.stream_usage,
            prompt: Tokens(scanned.prompt_bytes / 4),
            said: Mutex::default(),
        };
        let request = routed(model, &scanned);
        // On the heap: several may run at once, and each knows a whole answer.
        let call = |attempt| Box::pin(exchange.attempt(self, attempt));
        match self.router.execute(&request, &context, &chain, call).await {
            Ok(outcome) => Ok(self.answer(&exchange, &chain, outcome)),
            Err(error) => {
                let said = exchange.said.lock().unwrap_or_else(PoisonError::into_inner).take();
                let refusal = Refusal::of_failover(&error, said);
                let is_limited =
                    matches!(error.because(), GaveUp::NotRouted(RoutingError::AllProvidersUnhealthy { .. }))
                        && all_rest(&self.router.explain(&request, &context));
                Err(if is_limited { refusal.into_rate_limit() } else { refusal })
            }
        }
    }

    fn context(
        &self,
        endpoint: Endpoint,
        headers: &Headers,
        scanned: &Scanned,
        caller: &Caller,
        peer: SocketAddr,
    ) -> RoutingContext {
        let mut context = RoutingContext::default();
        context.tenant_id.clone_from(&caller.tenant);
        context.organization_id.clone_from(&caller.organization);
        let said = || scanned.user.as_ref().and_then(|user| UserId::new(user).ok());
        context.user_id = caller.user.clone().or_else(said);
        context.session_id = scanned.cache_key.as_ref().and_then(|key| SessionId::new(key).ok());
        context.source_ip = Some(peer.ip());
        let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        context.user_agent = agent.map(|agent| agent.get(..MAX_AGENT).unwrap_or(agent).into());
        let attempt = headers.get("x-attempt").and_then(|number| number.to_str().ok()?.parse().ok());
        context.attempt_number = attempt.unwrap_or(0_u32).min(100);
        let tags = self.tags.iter().find(|(of, _)| *of == endpoint);
        context.required_tags = tags.map(|(_, tags)| tags.clone()).unwrap_or_default();
        context
    }

    fn answer(
        &self,
        exchange: &Exchange,
        chain: &FailoverChain,
        outcome: Outcome<Opened, SelectedProvider>,
    ) -> Response<AnswerBody> {
        let served_by = outcome.candidate().id().to_string();
        let attempts = outcome.attempts();
        self.metrics.answered(exchange.endpoint, outcome.candidate().provider(), attempts);
        let (opened, selection) = outcome.into_parts();
        let timeouts = &chain.retry.timeouts;
        let (status, mut headers, body) = match opened {
            Opened::Whole { status, headers, body } => (status, headers, AnswerBody::whole(body)),
            Opened::Events { headers, begun, body, splitter, mut settlement } => {
                settlement.take_over(selection);
                let passing = Passing {
                    dialect: exchange.endpoint.dialect(),
                    hides_usage: exchange.hides_usage(),
                    idle: timeouts.idle,
                    until: timeouts.total.map(|total| tokio::time::Instant::now() + total),
                };
                let events = EventStream::new(begun, body, splitter, settlement, passing, &self.closing);
                (StatusCode::OK, headers, AnswerBody::Events(Box::new(events)))
            }
            Opened::Bytes { headers, first, body, mut settlement } => {
                settlement.take_over(selection);
                let length = http_body::Body::size_hint(&body).exact().map(|rest| rest + first.len() as u64);
                let bytes = ByteStream { first: Some(first), body, length, settlement };
                (StatusCode::OK, headers, AnswerBody::Bytes(Box::new(bytes)))
            }
        };
        if self.directory().response_headers {
            if let Ok(served_by) = HeaderValue::try_from(served_by) {
                headers.insert("x-waypost-candidate", served_by);
            }
            headers.insert("x-waypost-attempts", HeaderValue::from(attempts));
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Whether candidates are left out only because they asked for it: then it is a limit that the client met, not an illness.
fn all_rest(explanation: &Explanation) -> bool {
    let left_out = explanation.stages.iter().flat_map(|stage| &stage.exclusions).flatten();
    let mut reasons = left_out.map(|exclusion| &exclusion.reason).peekable();
    reasons.peek().is_some() && reasons.all(|reason| matches!(reason, LeftOutReason::CoolingDown))
}

/// What the router is asked.
fn routed(model: ModelName, scanned: &Scanned) -> GatewayRequest {
    let mut request =
        GatewayRequest::for_model(model).prompt_bytes(scanned.prompt_bytes).streaming(scanned.stream);
    request.max_tokens = scanned.max_tokens.map(Tokens);
    let needs = [
        (scanned.needs_tools, Capability::FunctionCalling),
        (scanned.needs_vision, Capability::Vision),
        (scanned.needs_schema, Capability::JsonSchema),
    ];
    needs.into_iter().filter(|(needed, _)| *needed).fold(request, |request, (_, need)| request.require(need))
}

fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "request_too_large",
        "the body is larger than this gateway takes",
    )
}

pub(crate) fn json(text: &str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(Bytes::copy_from_slice(text.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The key that a request was sent with, if it was sent with one: `Authorization: Bearer`, or `x-api-key` as Anthropic's
/// clients send it.
fn key_of(headers: &HeaderMap) -> Result<Option<&[u8]>, Refusal> {
    let bad = || Refusal::new(StatusCode::UNAUTHORIZED, "invalid_api_key", "no valid key was sent");
    let mut bearers = headers.get_all(AUTHORIZATION).iter();
    let mut plain = headers.get_all("x-api-key").iter();
    let (bearer, second) = (bearers.next(), bearers.next());
    let (key, other) = (plain.next(), plain.next());
    if second.or(other).is_some() {
        return Err(bad());
    }
    match (bearer, key) {
        (Some(bearer), _) => bearer.as_bytes().strip_prefix(b"Bearer ").map(Some).ok_or_else(bad),
        (None, key) => Ok(key.map(HeaderValue::as_bytes)),
    }
}

/// Whether a request names one host, as HTTP/1.1 demands.
fn check_host(request: &Request<Incoming>) -> Result<(), Refusal> {
    let bad = |message: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", message));
    let hosts: Vec<_> = request.headers().get_all(HOST).iter().collect();
    let named = request.uri().authority();
    match (&hosts[..], request.version(), named) {
        ([host], _, named) => {
            let authority = host.to_str().ok().and_then(|host| host.parse::<http::uri::Authority>().ok());
            let plain = authority.is_some_and(|host| {
                !host.as_str().contains('@') && named.is_none_or(|named| named.as_str() == host.as_str())
            });
            if plain { Ok(()) } else { bad("`Host` is not valid") }
        }
        ([], Version::HTTP_2 | Version::HTTP_10, _) => Ok(()),
        ([], ..) => bad("`Host` is missing"),
        _ => bad("`Host` stands twice"),
    }
}

/// Whether the headers say what the endpoint takes.
fn check_headers(headers: &HeaderMap, endpoint: Endpoint) -> Result<(), Refusal> {
    let refuse = |status, message: &str| Err(Refusal::new(status, "invalid_request", message));
    let encoded = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    if encoded {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded bodies are not taken");
    }
    if headers.get(EXPECT).is_some_and(|expected| !expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return refuse(StatusCode::EXPECTATION_FAILED, "this cannot be expected");
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let (kind, settings) = kind.split_once(';').unwrap_or((&kind, ""));
    let settings = settings.trim();
    let fits = if endpoint.is_form() {
        kind.trim() == "multipart/form-data"
    } else {
        kind.trim() == "application/json" && matches!(settings, "" | "charset=utf-8" | "charset=\"utf-8\"")
    };
    if fits {
        Ok(())
    } else {
        refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "`Content-Type` is not what this path takes")
    }
}

impl From<BadBody> for Refusal {
    fn from(bad: BadBody) -> Self {
        Self::of_body(bad)
    }
}
