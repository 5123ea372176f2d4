//! The gateway: the router, and all that stands around it for the life of a process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use http::HeaderMap;
use waypost::core::{ModelName, SeedSequence, Tag, TenantId};
use waypost::{Explanation, FailoverChain, Router, RouterConfig};

use crate::Endpoint;
use crate::closing::Closing;
use crate::config::Config;
use crate::directory::Directory;
use crate::keys::Caller;
use crate::places::Places;
use crate::recorder::Recorder;
use crate::scan::Scanned;
use crate::serving::routed;
use crate::target::Upstreams;
use crate::upstream::TlsError;

/// Everything that serves requests. One for the life of a process; configurations come and go within it.
#[derive(Debug)]
pub struct Gateway {
    router: Router,
    directory: ArcSwap<Directory>,
    upstreams: Mutex<Upstreams>,
    /// What requests for an endpoint require of candidates.
    tags: Vec<(Endpoint, Vec<Tag>)>,
    /// How requests are seen through whose model has no chain of its own.
    pub(crate) usual_chain: Arc<FailoverChain>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) closing: Closing,
    /// Requests at once.
    pub(crate) requests: Places,
    /// Bytes of requests that are held at once.
    pub(crate) memory: Places,
    pub(crate) body_timeout: Duration,
    /// Whether others than this machine reach the address that it listens at.
    is_public: bool,
    /// Who asks without a key.
    pub(crate) nobody: Arc<Caller>,
    /// For the ids of traces.
    pub(crate) seeds: SeedSequence,
}

/// Why a configuration cannot be used although it was read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub(crate) String);

impl From<TlsError> for SetupError {
    fn from(error: TlsError) -> Self {
        Self(error.to_string())
    }
}

/// Why a request cannot be explained.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ExplainError(String);

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
        let builder = builder.on_limit_event(|event| tracing::warn!(target: "waypost::limit", "{event}"));
        let builder = resolved.limits.iter().cloned().fold(builder, waypost::RouterBuilder::limit);
        let router = builder.build().map_err(|error| SetupError(error.to_string()))?;
        let tag = |endpoint: Endpoint| (endpoint, Tag::new(endpoint.tag()).into_iter().collect());
        let mut upstreams = Upstreams::default();
        let targets = upstreams.targets(&resolved.targets)?;
        let server = &resolved.server;
        Ok(Arc::new(Self {
            router,
            upstreams: Mutex::new(upstreams),
            tags: Endpoint::ALL.map(tag).to_vec(),
            usual_chain: Arc::default(),
            recorder: Arc::default(),
            closing: Closing::default(),
            requests: Places::new(server.max_requests),
            memory: Places::new(usize::try_from(server.max_buffered).unwrap_or(usize::MAX)),
            body_timeout: server.body_timeout,
            is_public: !server.listen.ip().is_loopback(),
            nobody: Arc::new(Caller::ANONYMOUS),
            seeds: SeedSequence::new(uuid::Uuid::new_v4().as_u64_pair().0),
            directory: ArcSwap::from_pointee(Directory::new(resolved, targets, &Directory::default())),
        }))
    }

    /// Puts another configuration in place, at once. Counters, breakers and limits stay. Returns its number.
    ///
    /// # Errors
    ///
    /// [`SetupError`]; then nothing has changed.
    pub fn reconfigure(&self, config: Config) -> Result<u64, SetupError> {
        let resolved = config.resolved;
        if self.is_public && resolved.server.anonymous {
            let because = "without keys only this machine is served, and the address that is listened at is not of it alone";
            return Err(SetupError(because.to_owned()));
        }
        // One at a time.
        let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        let (updates, rules, limits) =
            (resolved.updates.clone(), resolved.rules.clone(), resolved.limits.clone());
        let targets = upstreams.targets(&resolved.targets)?;
        // Whoever is led to a new candidate must find it, so the directory goes first.
        let before = self.directory.load_full();
        self.directory.store(Arc::new(Directory::new(resolved, targets, &before)));
        let placed = self.router.reconfigure(updates, rules, limits);
        if placed.is_err() {
            self.directory.store(before);
        } else {
            drop(before);
        }
        upstreams.forget_unused();
        placed.map_err(|error| SetupError(error.to_string()))
    }

    /// The router that decides.
    pub const fn router(&self) -> &Router {
        &self.router
    }

    /// Requests under way, from their heads to the ends of their answers.
    pub fn running(&self) -> usize {
        self.requests.taken()
    }

    pub(crate) fn directory(&self) -> Guard<Arc<Directory>> {
        self.directory.load()
    }

    /// What requests for an endpoint require of candidates.
    pub(crate) fn tags_of(&self, endpoint: Endpoint) -> Vec<Tag> {
        let tags = self.tags.iter().find(|(of, _)| *of == endpoint);
        tags.map(|(_, tags)| tags.clone()).unwrap_or_default()
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
        let scanned = Scanned::of_json(body, endpoint, "").map_err(|bad| ExplainError(bad.message))?;
        let tenant =
            tenant.map(TenantId::new).transpose().map_err(|error| ExplainError(error.to_string()))?;
        let caller = Caller { tenant, ..Caller::ANONYMOUS };
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let context = self.context(endpoint, &HeaderMap::new(), &scanned, &caller, here);
        let model = ModelName::new(&scanned.model).map_err(|error| ExplainError(error.to_string()))?;
        Ok(self.router.explain(&routed(model, endpoint, &scanned), &context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One model, of this name, at a provider of its own.
    fn config(number: u16) -> Config {
        let text = format!(
            "[providers.p{number}]\ntype = \"openai-compatible\"\nendpoint = \"http://127.0.0.1:{}/v1\"\n\
             [models.m{number}]\ncandidates = [{{ provider = \"p{number}\" }}]\n",
            1_000 + number,
        );
        Config::read("w", &text).unwrap()
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let gateway = Gateway::new(config(0)).unwrap();
        for number in 1..20 {
            gateway.reconfigure(config(number)).unwrap();
            let reachable = gateway.directory().reachable();
            assert!(
                reachable <= 2,
                "the one there is, and the one before for requests that run: {reachable}"
            );
            assert!(gateway.upstreams.lock().unwrap().len() <= 2);
        }
    }
}
