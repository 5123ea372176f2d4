//! From what is written to what is used: names led to what they name, secrets fetched, units turned into types.

mod failing;
mod limits;
mod models;
mod providers;
mod serving;
mod tenants;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use waypost::core::{CandidateId, ModelName, RoutingTable, RoutingTableUpdate};
use waypost::limits::Limit;
use waypost::rules::RuleSet;
use waypost::{FailoverChain, LoadBalancingStrategy, RouterConfig};

use crate::Endpoint;
use crate::config::ProviderKind;
use crate::config::document::{Node, Problem};
use crate::config::file::{File, ResponseHeader, SecretSource};
use crate::config::prices::Prices;
use crate::config::rules;
use crate::config::structure::did_you_mean;
use crate::keys::KeyRing;
use crate::signing::AwsKeys;
use crate::target::Upstreams;
use crate::upstream::{Origin, TlsSettings};

/// A configuration in the types that use it.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) server: ServerSettings,
    pub(crate) router: RouterConfig,
    pub(crate) updates: Vec<RoutingTableUpdate>,
    pub(crate) rules: RuleSet,
    pub(crate) limits: Vec<Limit>,
    pub(crate) targets: Vec<TargetSpec>,
    pub(crate) chains: foldhash::HashMap<ModelName, Arc<FailoverChain>>,
    pub(crate) keys: KeyRing,
    pub(crate) listed: Vec<crate::directory::ListedModel>,
    pub(crate) response_headers: Vec<ResponseHeader>,
    pub(crate) log: String,
    pub(crate) log_json: bool,
    pub(crate) collector: Option<Collector>,
    pub(crate) hash: u64,
}

/// How the gateway serves. Counts from the next start on, but for `anonymous` and `max_body`.
#[derive(Debug, Clone)]
pub(crate) struct ServerSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) admin_key: Option<SecretString>,
    pub(crate) anonymous: bool,
    pub(crate) max_body: u64,
    pub(crate) max_connections: usize,
    pub(crate) max_requests: usize,
    pub(crate) max_buffered: u64,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) lame_duck: Duration,
    pub(crate) drain: Duration,
}

/// Who is told of requests. Counts from the next start on.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    pub(crate) origin: Origin,
    pub(crate) base_path: String,
    pub(crate) service: String,
    pub(crate) sample: f64,
}

/// How a candidate is reached.
#[derive(Debug, Clone)]
pub(crate) struct TargetSpec {
    pub(crate) id: CandidateId,
    pub(crate) kind: ProviderKind,
    pub(crate) origin: Origin,
    pub(crate) tls: TlsSettings,
    /// The endpoint's path, before that of a request.
    pub(crate) base_path: String,
    pub(crate) serves: Vec<Endpoint>,
    pub(crate) api_version: Option<String>,
    pub(crate) key: Option<SecretString>,
    pub(crate) aws: Option<AwsKeys>,
    pub(crate) headers: Vec<(String, String)>,
}

struct Resolver<'f> {
    file: &'f File,
    prices: Option<Prices>,
    node: &'f Node,
    problems: Vec<Problem>,
}

/// Resolves a file. Without errors among the problems there is a result.
pub(super) fn resolve(file: &File, node: &Node, text: &str) -> (Option<Resolved>, Vec<Problem>) {
    let mut walk = Resolver { file, prices: None, node, problems: Vec::new() };
    let resolved = walk.all(text);
    (resolved, walk.problems)
}

impl<'f> Resolver<'f> {
    fn all(&mut self, text: &str) -> Option<Resolved> {
        if self.file.models.is_empty() {
            self.problems.push(Problem::new(0..0, "no models: there is nothing to serve"));
        }
        self.prices = self.prices();
        let keys = self.keys();
        let server = self.server(&keys);
        let accounts = self.accounts();
        let (mut updates, targets) = self.candidates(&accounts);
        updates.extend(self.aliases());
        updates.extend(self.tenants(&accounts));
        self.reachable(&targets);
        let chains = self.chains();
        let limits = self.limits();
        let router = self.router();
        let collector = self.collector();
        let rules = rules::read(self.file, self.node, &mut self.problems);
        let has_errors = self.problems.iter().any(|problem| !problem.is_warning);
        let table = RoutingTable::default().updated(updates.clone());
        let table = table.map_err(|errors| {
            // What they say was mostly said already, and better.
            let whole = errors.reasons().iter().filter(|_| !has_errors);
            self.problems.extend(whole.map(|reason| Problem::new(0..0, reason.to_string())));
        });
        let own = self.strategy_rules();
        let rules = rules::check(&rules, own, table.as_ref().ok()?, self.node, &mut self.problems);
        Some(Resolved {
            server: server?,
            router,
            updates,
            rules,
            limits,
            targets,
            chains,
            keys,
            listed: self.listed(),
            response_headers: self.file.telemetry.response_headers.clone(),
            log: self.file.telemetry.log.clone(),
            log_json: self.file.telemetry.json,
            collector,
            hash: hash_of(text),
        })
    }

    /// Whether every candidate can be reached as written: its path, its headers, its certificates.
    fn reachable(&mut self, targets: &[TargetSpec]) {
        if let Err(error) = Upstreams::default().targets(targets) {
            self.problem(&["providers"], error.to_string());
        }
    }

    fn prices(&mut self) -> Option<Prices> {
        let path = self.file.prices.litellm.as_ref()?;
        self.take(&["prices", "litellm"], Prices::load(path))
    }

    fn problem(&mut self, path: &[&str], message: impl Into<String>) {
        let span = self.node.span_at(path.iter().copied());
        self.problems.push(Problem::new(span, message));
    }

    fn warning(&mut self, path: &[&str], message: impl Into<String>) {
        self.problem(path, message);
        if let Some(problem) = self.problems.last_mut() {
            problem.is_warning = true;
        }
    }

    fn unknown<'n>(
        &mut self,
        path: &[&str],
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) {
        let problem =
            Problem::new(self.node.span_at(path.iter().copied()), format!("unknown {what} `{name}`"));
        self.problems.push(did_you_mean(problem, name, known));
    }

    /// Takes what could be made, and tells why else.
    fn take<T, E: std::fmt::Display>(&mut self, path: &[&str], made: Result<T, E>) -> Option<T> {
        made.map_err(|error| self.problem(path, error.to_string())).ok()
    }

    #[expect(clippy::disallowed_methods, reason = "the configuration names the variables")]
    fn secret(&mut self, path: &[&str], source: &SecretSource) -> Option<SecretString> {
        let found = match source {
            SecretSource::Env(name) => {
                std::env::var(name).map_err(|_| format!("the environment has no `{name}`"))
            }
            SecretSource::File(file) => std::fs::read_to_string(file)
                .map_err(|error| format!("`{}` cannot be read: {error}", file.display())),
        };
        let secret = self.take(path, found)?.trim().to_owned();
        if secret.is_empty() || secret.bytes().any(|byte| !byte.is_ascii_graphic()) {
            self.problem(path, "the secret is empty or has characters that no key has");
            return None;
        }
        Some(SecretString::from(secret))
    }

    fn is_model(&self, name: &str) -> bool {
        self.file.models.contains_key(name) || self.file.aliases.contains_key(name)
    }

    /// A model's name, and all that stand for it, through others too.
    fn names_of(&self, model: &'f str) -> Vec<&'f str> {
        let mut names = vec![model];
        let mut next = 0;
        while let Some(&name) = names.get(next) {
            let more = self
                .file
                .aliases
                .iter()
                .filter(|(alias, target)| *target == name && !names.contains(&alias.as_str()));
            let more: Vec<_> = more.map(|(alias, _)| alias.as_str()).collect();
            names.extend(more);
            next += 1;
        }
        names
    }

    fn names_of_models(&self) -> Vec<&'f str> {
        self.file.models.keys().chain(self.file.aliases.keys()).map(String::as_str).collect()
    }

    fn strategy(&mut self, path: &[&str], name: &str) -> Option<LoadBalancingStrategy> {
        let plain = name.replace('-', "_");
        let found = LoadBalancingStrategy::built_in().find(|strategy| strategy.to_string() == plain);
        if found.is_none() {
            let known: Vec<_> =
                LoadBalancingStrategy::built_in().map(|strategy| strategy.to_string()).collect();
            self.unknown(path, "strategy", name, known.iter().map(String::as_str));
        }
        found
    }
}

fn hash_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
