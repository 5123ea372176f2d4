//! The administrators' side: what is, and what may be changed while it runs.

mod openapi;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq;
use waypost::core::{CandidateId, ModelName, ProviderId};

use crate::answer::AnswerBody;
use crate::refusal::Refusal;
use crate::reload::Reloader;
use crate::server::Handler;
use crate::serving::json as json_answer;
use crate::{Endpoint, Gateway};

/// The largest request that is explained.
const MAX_EXPLAINED: usize = 4 << 20;
/// How long its body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers administrators.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) key: Option<Arc<SecretString>>,
}

type Answer = Result<Response<AnswerBody>, Refusal>;

/// What can be asked. A path may end in `{}`, which stands for any rest.
struct Route {
    method: Method,
    path: &'static str,
    /// Whether it is told to whoever asks: load balancers have no key.
    is_open: bool,
    summary: &'static str,
    answer: fn(&Admin, &Uri, &[u8]) -> Answer,
}

const ROUTES: [Route; 12] = [
    Route {
        method: Method::GET,
        path: "/healthz",
        is_open: true,
        summary: "Whether the process lives",
        answer: |_, _, _| Ok(json_answer(r#"{"status":"ok"}"#)),
    },
    Route {
        method: Method::GET,
        path: "/readyz",
        is_open: true,
        summary: "Whether requests should be sent here",
        answer: |admin, _, _| admin.ready(),
    },
    Route {
        method: Method::GET,
        path: "/metrics",
        is_open: false,
        summary: "Metrics for Prometheus",
        answer: |admin, _, _| Ok(admin.metrics()),
    },
    Route {
        method: Method::GET,
        path: "/config",
        is_open: false,
        summary: "The version of the configuration, and why the last reload failed",
        answer: |admin, _, _| Ok(admin.config()),
    },
    Route {
        method: Method::POST,
        path: "/reload",
        is_open: false,
        summary: "Read the configuration anew",
        answer: |admin, _, _| admin.reload(),
    },
    Route {
        method: Method::GET,
        path: "/candidates",
        is_open: false,
        summary: "Candidates with their live state, health and breakers",
        answer: |admin, _, _| Ok(admin.candidates()),
    },
    Route {
        method: Method::POST,
        path: "/candidates/{}/drain",
        is_open: false,
        summary: "Send a candidate, provider/model, no more requests",
        answer: |admin, uri, _| admin.change(uri, "/drain"),
    },
    Route {
        method: Method::POST,
        path: "/candidates/{}/restore",
        is_open: false,
        summary: "Send a candidate, provider/model, requests again",
        answer: |admin, uri, _| admin.change(uri, "/restore"),
    },
    Route {
        method: Method::GET,
        path: "/limits",
        is_open: false,
        summary: "What is used and left of limits and budgets",
        answer: |admin, _, _| Ok(admin.limits()),
    },
    Route {
        method: Method::GET,
        path: "/requests",
        is_open: false,
        summary: "The latest requests: who served them and why, and how they ended",
        answer: |admin, _, _| Ok(admin.requests()),
    },
    Route {
        method: Method::POST,
        path: "/explain",
        is_open: false,
        summary: "Where a request would go, and why; ?endpoint=chat&tenant=acme",
        answer: |admin, uri, body| admin.explain(uri, body),
    },
    Route {
        method: Method::GET,
        path: "/openapi.json",
        is_open: false,
        summary: "This description",
        answer: |_, _, _| Ok(json_answer(&openapi::description(&ROUTES).to_string())),
    },
];

impl Route {
    fn is_for(&self, method: &Method, path: &str) -> bool {
        let fits = match self.path.split_once("{}") {
            Some((start, end)) => path
                .strip_prefix(start)
                .and_then(|rest| rest.strip_suffix(end))
                .is_some_and(|name| !name.is_empty()),
            None => path == self.path,
        };
        fits && self.method == *method
    }
}

impl Handler for Admin {
    async fn handle(&self, head: Parts, body: Incoming, _: SocketAddr) -> Response<AnswerBody> {
        self.answer(head, body).await.unwrap_or_else(|refusal| refusal.response(None, "admin"))
    }
}

impl Admin {
    async fn answer(&self, head: Parts, body: Incoming) -> Answer {
        let route = ROUTES.iter().find(|route| route.is_for(&head.method, head.uri.path()));
        if !route.is_some_and(|route| route.is_open) {
            self.check_caller(&head.headers)?;
        }
        let route = route.ok_or_else(Refusal::not_found)?;
        let body = if head.method == Method::GET { Bytes::new() } else { read(body).await? };
        let (admin, uri, answer) = (self.clone(), head.uri, route.answer);
        // Some read files.
        let answered = tokio::task::spawn_blocking(move || answer(&admin, &uri, &body)).await;
        answered.unwrap_or_else(|_| {
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "it failed"))
        })
    }

    /// Whoever has the key. Where there is none, programs of this machine; not the pages that its browsers show, which
    /// could name an address of this machine by a name of their own.
    fn check_caller(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(key) = &self.key else { return check_no_page(headers) };
        let sent = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let sent = sent.strip_prefix(b"Bearer ").unwrap_or_default();
        let is_key = bool::from(sent.ct_eq(key.expose_secret().as_bytes()));
        if is_key { Ok(()) } else { Err(Refusal::no_key()) }
    }

    fn ready(&self) -> Answer {
        if self.reloader.is_stopping() {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the gateway is stopping"));
        }
        Ok(json_answer(r#"{"status":"ready"}"#))
    }

    fn metrics(&self) -> Response<AnswerBody> {
        let text = self.gateway.recorder.metrics.text(self.gateway.running(), self.gateway.router());
        let mut response = json_answer(&text);
        let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    fn config(&self) -> Response<AnswerBody> {
        let generation = self.gateway.router().metrics().generation;
        let hash = format!("{:016x}", self.gateway.directory().hash);
        let failed: Vec<String> = self.reloader.last_errors();
        json_answer(
            &json!({"generation": generation, "hash": hash, "last_reload_errors": failed}).to_string(),
        )
    }

    fn candidates(&self) -> Response<AnswerBody> {
        let router = self.gateway.router();
        let (reports, table) = (router.health_reports(), router.routing_table());
        let candidates = table.candidates().map(|candidate| {
            let (live, outcomes) = (candidate.live(), candidate.live().outcomes());
            let health = reports.iter().find(|report| report.candidate == *candidate.id());
            json!({
                "candidate": candidate.id().to_string(),
                "in_flight": live.in_flight().requests,
                "tokens_in_flight": live.in_flight().tokens,
                "succeeded": outcomes.succeeded,
                "failed": outcomes.failed,
                "cancelled": outcomes.cancelled,
                "health": health,
            })
        });
        json_answer(&json!({"candidates": candidates.collect::<Vec<_>>()}).to_string())
    }

    fn limits(&self) -> Response<AnswerBody> {
        json_answer(&json!({"limits": self.gateway.router().limit_reports()}).to_string())
    }

    fn requests(&self) -> Response<AnswerBody> {
        json_answer(&json!({"requests": self.gateway.recorder.recent()}).to_string())
    }

    fn reload(&self) -> Answer {
        let generation = self.reloader.reload().map_err(|errors| {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_config", errors.join("\n"))
        })?;
        Ok(json_answer(&json!({ "generation": generation }).to_string()))
    }

    fn explain(&self, uri: &Uri, body: &[u8]) -> Answer {
        let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", message);
        let asked = |name: &str| {
            let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let endpoint = asked("endpoint").unwrap_or(Endpoint::ChatCompletions.as_str());
        let endpoint = Endpoint::named(endpoint).ok_or_else(|| bad("`endpoint` is not known".to_owned()))?;
        let explained = self.gateway.explain(endpoint, body, asked("tenant"));
        let explanation = explained.map_err(|error| bad(error.to_string()))?;
        let value = serde_json::to_value(&explanation).map_err(|error| bad(error.to_string()))?;
        Ok(json_answer(&value.to_string()))
    }

    /// A model's name may have slashes.
    fn change(&self, uri: &Uri, action: &str) -> Answer {
        let not_found = || Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such candidate");
        let name = uri.path().strip_prefix("/candidates/").and_then(|rest| rest.strip_suffix(action));
        let (provider, model) = name.and_then(|name| name.split_once('/')).ok_or_else(not_found)?;
        let id = CandidateId {
            provider: ProviderId::new(provider).map_err(|_| not_found())?,
            model: ModelName::new(model).map_err(|_| not_found())?,
        };
        let health = self.gateway.router().health();
        let changed = if action == "/drain" { health.disable(&id) } else { health.enable(&id) };
        if !changed {
            return Err(not_found());
        }
        tracing::info!(candidate = %id, action = &action[1..], "an administrator changed a candidate");
        Ok(json_answer(&json!({"candidate": id.to_string(), "action": &action[1..]}).to_string()))
    }
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(PATIENCE, Limited::new(body, MAX_EXPLAINED).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(Refusal::too_large()),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long")),
    }
}

/// Whether it is no page of a browser that asks: those say where they come from, and reach this machine by a name.
pub(crate) fn check_no_page(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((name, _)) => name,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let is_here = name == "localhost" || name.parse::<IpAddr>().is_ok();
    if is_here && !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::FORBIDDEN, "not_allowed", "without a key no page of a browser is answered"))
}
