//! The way of a request through the gateway, from its head to its answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use uuid::Uuid;
use waypost::core::{Capability, LeftOutReason, ModelName, SessionId, Tokens, TraceContext, UserId};
use waypost::failover::GaveUp;
use waypost::{Explanation, FailoverChain, GatewayRequest, RoutingContext, RoutingError};

use crate::Endpoint;
use crate::admin::check_no_page;
use crate::admission::{check_headers, check_host, check_query, key_of};
use crate::answer::AnswerBody;
use crate::exchange::Exchange;
use crate::form;
use crate::gateway::Gateway;
use crate::gathered::Gathered;
use crate::header;
use crate::keys::Caller;
use crate::places::Place;
use crate::record::{Ending, Recording};
use crate::refusal::{Refusal, repeated};
use crate::scan::Scanned;

/// How much of what a client says of itself is kept.
const MAX_AGENT: usize = 256;
/// When to come back to a gateway that is full.
const BREATHER: Duration = Duration::from_secs(1);

/// A request of a client that is known to be one: what goes to providers, and what the router is asked.
struct Prepared {
    exchange: Exchange,
    request: GatewayRequest,
    context: RoutingContext,
    chain: Arc<FailoverChain>,
}

impl Gateway {
    /// Answers a request of a client.
    pub(crate) async fn handle(
        &self,
        mut head: Parts,
        body: Incoming,
        peer: SocketAddr,
    ) -> Response<AnswerBody> {
        let id = Uuid::now_v7();
        let endpoint = Endpoint::of_path(head.uri.path());
        let begin = || Recording::begin(&self.recorder, self.router().clock(), id, endpoint);
        let mut recording = endpoint.map(|_| begin());
        let answered = match endpoint {
            Some(endpoint) => self.admitted(endpoint, &mut head, body, peer, &mut recording).await,
            None => check_host(&head).and_then(|()| self.other(&head)),
        };
        let mut response = answered.unwrap_or_else(|refusal| {
            let mut recording = recording.take().unwrap_or_else(begin);
            let code = refusal.code;
            let response = refusal.response(endpoint, &id.to_string());
            if let Some(record) = recording.record() {
                record.status = response.status().as_u16();
            }
            recording.end(Ending::Refused(code));
            response
        });
        response.headers_mut().insert(header::REQUEST_ID, header::of_id(id));
        response
    }

    async fn admitted(
        &self,
        endpoint: Endpoint,
        head: &mut Parts,
        body: Incoming,
        peer: SocketAddr,
        recording: &mut Option<Recording>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        check_host(head)?;
        if head.method != Method::POST {
            return Err(Refusal::method("POST"));
        }
        let caller = self.caller(&head.headers)?;
        check_headers(&head.headers, endpoint)?;
        check_query(&head.uri, endpoint)?;
        let place = self.requests.take(1).ok_or_else(full)?;
        let body = self.read(body).await?;
        // On the heap: they would be most of what a connection holds.
        let prepared = self.prepare(endpoint, head, body, &caller, peer, recording).map(Box::new)?;
        let mut response = Box::pin(self.serve(&prepared, recording)).await?;
        response.body_mut().keep(place);
        Ok(response)
    }

    /// Reads a body, of which no more is held than there is memory for.
    async fn read(&self, body: Incoming) -> Result<(Bytes, Place), Refusal> {
        let most = usize::try_from(self.directory().max_body).unwrap_or(usize::MAX);
        if body.size_hint().lower() > most as u64 {
            return Err(Refusal::too_large());
        }
        let read = tokio::time::timeout(self.body_timeout, self.gather(body, most)).await;
        read.unwrap_or_else(|_| {
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long"))
        })
    }

    async fn gather(&self, mut body: Incoming, most: usize) -> Result<(Bytes, Place), Refusal> {
        let length = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let (mut gathered, mut held) = (Gathered::expecting(length), self.memory.take(0).ok_or_else(full)?);
        while let Some(frame) = body.frame().await {
            let broken = |_| Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", "the body broke off");
            let Ok(chunk) = frame.map_err(broken)?.into_data() else { continue };
            if gathered.len() + chunk.len() > most {
                return Err(Refusal::too_large());
            }
            gathered.push(chunk);
            if !held.grow_to(gathered.held()) {
                return Err(full());
            }
        }
        Ok((gathered.finish(), held))
    }

    /// Whose request it is.
    fn caller(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Refusal> {
        let directory = self.directory();
        let key = key_of(headers)?;
        let known = key.and_then(|key| directory.keys.find(key)).map(Arc::clone);
        match known {
            Some(caller) => Ok(caller),
            // A key that is none is not nobody's; and pages that a browser shows are not of this machine.
            None if directory.anonymous && (key.is_none() || directory.keys.is_empty()) => {
                check_no_page(headers).map(|()| Arc::clone(&self.nobody))
            }
            None => Err(Refusal::no_key()),
        }
    }

    /// What is no request for a model.
    fn other(&self, head: &Parts) -> Result<Response<AnswerBody>, Refusal> {
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/v1/models") => Ok(self.models(&*self.caller(&head.headers)?)),
            (_, "/v1/models") => Err(Refusal::method("GET")),
            (&Method::GET, "/health") => Ok(json(r#"{"status":"ok"}"#)),
            _ => Err(Refusal::not_found()),
        }
    }

    fn models(&self, caller: &Caller) -> Response<AnswerBody> {
        let directory = self.directory();
        let allowed = directory.models.iter().filter(|model| model.is_for(caller));
        let listed: Vec<_> = allowed
            .map(|model| serde_json::json!({"id": model.name, "object": "model", "created": 0, "owned_by": model.owned_by}))
            .collect();
        json(&serde_json::json!({"object": "list", "data": listed}).to_string())
    }

    /// Reads what routing must know of a request. Its body comes with its share of the memory for bodies.
    fn prepare(
        &self,
        endpoint: Endpoint,
        head: &mut Parts,
        (body, memory): (Bytes, Place),
        caller: &Caller,
        peer: SocketAddr,
        recording: &mut Option<Recording>,
    ) -> Result<Prepared, Refusal> {
        let arrived = self.router().clock().now();
        let headers = std::mem::take(&mut head.headers);
        let scanned = if endpoint.is_form() {
            form::scan(&body, &headers)
        } else {
            Scanned::of_json(&body, endpoint, head.uri.path())
        };
        let scanned = scanned.map_err(Refusal::of_body)?;
        let model = ModelName::new(&scanned.model).map_err(|_| unknown_model(&scanned.model))?;
        let trace = self.trace(&headers);
        let chain = self.directory().chains.get(&model).map(Arc::clone);
        if let Some(record) = recording.as_mut().and_then(Recording::record) {
            record.tenant.clone_from(&caller.tenant);
            record.stream = scanned.stream;
            record.trace = Some(trace.clone());
            // A name that is not known is the client's: it is told to nobody.
            record.model = chain.is_some().then(|| model.clone());
        }
        let chain = chain.unwrap_or_else(|| Arc::clone(&self.usual_chain));
        let context = self.context(endpoint, &headers, &scanned, caller, peer);
        let is_traced = trace.parent_span_id().is_some() || self.recorder.traced_share().is_some();
        let mut request = routed(model, endpoint, &scanned);
        (request.api_key_hash, request.max_cost) = (caller.key.clone(), caller.max_cost);
        let exchange = Exchange {
            endpoint,
            headers,
            body,
            model_at: scanned.model_at,
            stream: scanned.stream,
            stream_usage: scanned.stream_usage,
            stream_options: scanned.stream_options,
            answers: scanned.answers,
            prompt: Tokens(scanned.prompt_bytes / 4),
            trace: Some(trace).filter(|_| is_traced),
            said: Mutex::default(),
            arrived,
            _held: memory,
        };
        Ok(Prepared { exchange, request, context, chain })
    }

    async fn serve(
        &self,
        prepared: &Prepared,
        recording: &mut Option<Recording>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let Prepared { exchange, request, context, chain } = prepared;
        // On the heap: several may run at once, and each knows a whole answer.
        let call = |attempt| Box::pin(exchange.attempt(self, attempt));
        let ended = tokio::select! {
            biased;
            ended = self.router().execute(request, context, chain, call) => ended,
            () = self.closing.closed() => return Err(Refusal::stopping()),
        };
        match ended {
            Ok(outcome) => Ok(self.answer(exchange, chain, outcome, recording.take())),
            Err(error) => {
                if let Some(record) = recording.as_mut().and_then(Recording::record) {
                    record.attempts = error.attempts().len() as u32;
                    record.failed(error.attempts());
                    let billed = error.attempts().iter().filter(|attempt| attempt.may_be_billed());
                    record.double_bills = billed.count().saturating_sub(1);
                }
                let said = exchange.said.lock().unwrap_or_else(PoisonError::into_inner).take();
                let refusal = Refusal::of_failover(&error, said);
                let is_limited =
                    matches!(error.because(), GaveUp::NotRouted(RoutingError::AllProvidersUnhealthy { .. }))
                        && all_rest(&self.router().explain(request, context));
                Err(if is_limited { refusal.into_rate_limit() } else { refusal })
            }
        }
    }

    /// The trace that a request belongs to, or one of its own.
    fn trace(&self, headers: &HeaderMap) -> TraceContext {
        let values =
            |name: HeaderName| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
        let ids = &mut self.seeds.generator();
        let trace = if headers.contains_key(header::TRACEPARENT) {
            // Baggage may be private: it is not read.
            TraceContext::from_headers(values(header::TRACEPARENT), values(header::TRACESTATE), [], ids)
        } else {
            TraceContext::new(ids)
        };
        match self.recorder.traced_share() {
            Some(share) if trace.parent_span_id().is_none() => trace.sampled(ids.unit() < share),
            _ => trace,
        }
    }

    pub(crate) fn context(
        &self,
        endpoint: Endpoint,
        headers: &HeaderMap,
        scanned: &Scanned,
        caller: &Caller,
        peer: SocketAddr,
    ) -> RoutingContext {
        let mut context = RoutingContext::default();
        context.tenant_id.clone_from(&caller.tenant);
        context.allowed_models.clone_from(&caller.allow);
        context.organization_id.clone_from(&caller.organization);
        let said = || scanned.user.as_ref().and_then(|user| UserId::new(user).ok());
        context.user_id = caller.user.clone().or_else(said);
        context.session_id = scanned.cache_key.as_ref().and_then(|key| SessionId::new(key).ok());
        context.source_ip = Some(peer.ip());
        let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        context.user_agent = agent.map(|agent| agent.get(..MAX_AGENT).unwrap_or(agent).into());
        // Layers above say which attempt it is, one of them.
        let mut attempts = headers.get_all(header::ATTEMPT).iter();
        let attempt = attempts.next().filter(|_| attempts.next().is_none());
        let attempt = attempt.and_then(|number| number.to_str().ok()?.parse().ok());
        context.attempt_number = attempt.unwrap_or(0_u32).min(100);
        context.required_tags = self.tags_of(endpoint);
        context
    }
}

/// Whether candidates are left out only because they asked for it: then it is a limit that the client met, not an illness.
fn all_rest(explanation: &Explanation) -> bool {
    let left_out = explanation.stages.iter().flat_map(|stage| &stage.exclusions).flatten();
    let mut reasons = left_out.map(|exclusion| &exclusion.reason).peekable();
    reasons.peek().is_some() && reasons.all(|reason| matches!(reason, LeftOutReason::CoolingDown))
}

/// What the router is asked.
pub(crate) fn routed(model: ModelName, endpoint: Endpoint, scanned: &Scanned) -> GatewayRequest {
    let mut request =
        GatewayRequest::for_model(model).prompt_bytes(scanned.prompt_bytes).streaming(scanned.stream);
    // What is no text has no tokens that could be billed.
    request.max_tokens = if endpoint.is_text() { scanned.max_tokens.map(Tokens) } else { Some(Tokens::ZERO) };
    let needs = [
        (scanned.needs_tools, Capability::FunctionCalling),
        (scanned.needs_vision, Capability::Vision),
        (scanned.needs_schema, Capability::JsonSchema),
    ];
    needs.into_iter().filter(|(needed, _)| *needed).fold(request, |request, (_, need)| request.require(need))
}

/// The gateway holds as much as it may.
fn full() -> Refusal {
    let full = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "the gateway is full");
    full.retry_after(Some(BREATHER))
}

fn unknown_model(name: &str) -> Refusal {
    let message = format!("model `{}` is not known", repeated(name));
    Refusal { param: Some("model"), ..Refusal::new(StatusCode::NOT_FOUND, "model_not_found", message) }
}

pub(crate) fn json(text: &str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(Bytes::copy_from_slice(text.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
