//! The administrators' side: what is, and what may be changed while it runs.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use waypost::core::{CandidateId, ModelName, ProviderId};

use crate::Gateway;
use crate::answer::AnswerBody;
use crate::gateway::json as json_answer;
use crate::refusal::Refusal;
use crate::reload::Reloader;
use crate::server::Handler;

/// Answers administrators.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) key: Option<Arc<SecretString>>,
}

impl Handler for Admin {
    async fn handle(&self, request: Request<Incoming>, _: SocketAddr) -> Response<AnswerBody> {
        self.answer(&request).unwrap_or_else(|refusal| refusal.response(None, "admin"))
    }
}

impl Admin {
    fn answer(&self, request: &Request<Incoming>) -> Result<Response<AnswerBody>, Refusal> {
        let path = request.uri().path();
        let probe = request.method() == Method::GET && matches!(path, "/healthz" | "/readyz");
        if !probe {
            self.check_key(request)?;
        }
        match (request.method(), path) {
            (&Method::GET, "/healthz") => Ok(json_answer(r#"{"status":"ok"}"#)),
            (&Method::GET, "/readyz") => self.ready(),
            (&Method::GET, "/metrics") => Ok(self.metrics()),
            (&Method::GET, "/config") => Ok(self.config()),
            (&Method::GET, "/candidates") => Ok(self.candidates()),
            (&Method::GET, "/limits") => Ok(self.limits()),
            (&Method::POST, "/reload") => self.reload(),
            (&Method::POST, path) if path.starts_with("/candidates/") => self.change(path),
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")),
        }
    }

    fn check_key(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        let Some(key) = &self.key else { return Ok(()) };
        let sent = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let sent = sent.strip_prefix(b"Bearer ").unwrap_or_default();
        if bool::from(sent.ct_eq(key.expose_secret().as_bytes())) {
            return Ok(());
        }
        Err(Refusal::new(StatusCode::UNAUTHORIZED, "invalid_api_key", "no valid key was sent"))
    }

    fn ready(&self) -> Result<Response<AnswerBody>, Refusal> {
        if self.reloader.is_stopping() {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the gateway is stopping"));
        }
        Ok(json_answer(r#"{"status":"ready"}"#))
    }

    fn metrics(&self) -> Response<AnswerBody> {
        let text = self.gateway.metrics.text(self.gateway.running(), self.gateway.router());
        let mut response = json_answer(&text);
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
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
        let reports = router.health_reports();
        let candidates: Vec<Value> =
            reports.iter().filter_map(|report| serde_json::to_value(report).ok()).collect();
        let table = router.routing_table();
        let in_flight: Vec<Value> = table
            .candidates()
            .map(|candidate| {
                let live = candidate.live();
                let outcomes = live.outcomes();
                json!({
                    "candidate": candidate.id().to_string(),
                    "in_flight": live.in_flight().requests,
                    "succeeded": outcomes.succeeded,
                    "failed": outcomes.failed,
                    "cancelled": outcomes.cancelled,
                })
            })
            .collect();
        json_answer(&json!({"health": candidates, "candidates": in_flight}).to_string())
    }

    fn limits(&self) -> Response<AnswerBody> {
        let reports = self.gateway.router().limit_reports();
        let lines: Vec<String> = reports.iter().map(|report| format!("{report:?}")).collect();
        json_answer(&json!({ "limits": lines }).to_string())
    }

    fn reload(&self) -> Result<Response<AnswerBody>, Refusal> {
        match self.reloader.reload() {
            Ok(generation) => Ok(json_answer(&json!({ "generation": generation }).to_string())),
            Err(errors) => {
                Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_config", errors.join("\n")))
            }
        }
    }

    /// `/candidates/{provider}/{model}/drain` and `…/restore`; a model's name may have slashes.
    fn change(&self, path: &str) -> Result<Response<AnswerBody>, Refusal> {
        let not_found = || Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such candidate");
        let rest = path.strip_prefix("/candidates/").unwrap_or_default();
        let (rest, action) = rest.rsplit_once('/').ok_or_else(not_found)?;
        let (provider, model) = rest.split_once('/').ok_or_else(not_found)?;
        let id = CandidateId {
            provider: ProviderId::new(provider).map_err(|_| not_found())?,
            model: ModelName::new(model).map_err(|_| not_found())?,
        };
        let health = self.gateway.router().health();
        let changed = match action {
            "drain" => health.disable(&id),
            "restore" => health.enable(&id),
            _ => return Err(not_found()),
        };
        if changed {
            Ok(json_answer(&json!({"candidate": id.to_string(), "action": action}).to_string()))
        } else {
            Err(not_found())
        }
    }
}
