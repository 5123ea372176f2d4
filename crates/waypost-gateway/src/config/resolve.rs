//! From what is written to what is used: names led to what they name, secrets fetched, units turned into types.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use waypost::core::{
    CandidateBuilder, CandidateId, Capability, LimitId, ModelName, OrganizationId, ProviderId, Ratio,
    RoutingTable, RoutingTableUpdate, RuleId, TenantId, TenantRoutingConfig, Tokens, UserId,
};
use waypost::failover::{FallbackOn, HedgePolicy, ProviderSelector, RetryPolicy, Timeouts};
use waypost::limits::{Budget, Dimension, Limit, Period};
use waypost::rules::{Condition, RoutingAction, Rule, RuleSet};
use waypost::{FailoverChain, LoadBalancingStrategy, RouterConfig};

use super::document::{Node, Problem};
use super::file::{Candidate, File, LimitEntry, Provider, SecretSource, Server, Tenant, TenantBudget};
use super::rules;
use super::structure::did_you_mean;
use crate::Endpoint;
use crate::config::ProviderKind;
use crate::keys::{Caller, KeyHash, KeyRing, matches_name};
use crate::upstream::{Origin, TlsSettings};

/// The most models that stand in for one.
const MAX_FALLBACKS: usize = 8;

/// A configuration in the types that use it.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) server: ServerSettings,
    pub(crate) router: RouterConfig,
    pub(crate) updates: Vec<RoutingTableUpdate>,
    pub(crate) rules: RuleSet,
    pub(crate) limits: Vec<Limit>,
    pub(crate) targets: Vec<TargetSpec>,
    pub(crate) chains: HashMap<ModelName, Arc<FailoverChain>>,
    pub(crate) keys: KeyRing,
    pub(crate) listed: Vec<crate::directory::ListedModel>,
    pub(crate) response_headers: bool,
    pub(crate) log: String,
    pub(crate) log_json: bool,
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
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) drain: Duration,
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
    pub(crate) headers: Vec<(String, String)>,
}

/// A provider under one of its keys.
struct Account<'f> {
    /// The name in the file.
    name: &'f str,
    /// The id in the routing table.
    id: String,
    provider: &'f Provider,
    key: Option<SecretString>,
    endpoint: waypost::core::Endpoint,
    origin: Origin,
    base_path: String,
    serves: Vec<Endpoint>,
}

struct Resolver<'f> {
    file: &'f File,
    node: &'f Node,
    problems: Vec<Problem>,
}

/// Resolves a file. Without errors among the problems there is a result.
pub(super) fn resolve(file: &File, node: &Node, text: &str) -> (Option<Resolved>, Vec<Problem>) {
    let mut walk = Resolver { file, node, problems: Vec::new() };
    let resolved = walk.all(text);
    (resolved, walk.problems)
}

impl<'f> Resolver<'f> {
    fn all(&mut self, text: &str) -> Option<Resolved> {
        if self.file.models.is_empty() {
            self.problems.push(Problem::new(0..0, "no models: there is nothing to serve"));
        }
        let keys = self.keys();
        let server = self.server(&keys);
        let accounts = self.accounts();
        let (mut updates, targets) = self.candidates(&accounts);
        updates.extend(self.aliases());
        updates.extend(self.tenants(&accounts));
        let chains = self.chains();
        let limits = self.limits();
        let router = self.router();
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
            response_headers: self.file.telemetry.response_headers,
            log: self.file.telemetry.log.clone(),
            log_json: self.file.telemetry.json,
            hash: hash_of(text),
        })
    }

    fn problem(&mut self, path: &[&str], message: impl Into<String>) {
        let span = self.node.span_at(path.iter().copied());
        self.problems.push(Problem::new(span, message));
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

    fn server(&mut self, keys: &KeyRing) -> Option<ServerSettings> {
        let Server { listen, admin, admin_key, anonymous, .. } = &self.file.server;
        let address = |this: &mut Self, key: &str, text: &str| {
            let parsed = text.parse::<SocketAddr>();
            this.take(
                &["server", key],
                parsed.map_err(|_| format!("`{text}` is not an address such as 127.0.0.1:8080")),
            )
        };
        let listen = address(self, "listen", listen)?;
        let admin = if admin.is_empty() { None } else { Some(address(self, "admin", admin)?) };
        let admin_key = admin_key.as_ref().and_then(|source| self.secret(&["server", "admin_key"], source));
        let is_open = admin.is_some_and(|admin| !admin.ip().is_loopback());
        if is_open && self.file.server.admin_key.is_none() {
            self.problem(&["server", "admin"], "administrators need an `admin_key` beyond this machine");
        }
        let anonymous = anonymous.unwrap_or_else(|| keys.is_empty());
        if anonymous && !listen.ip().is_loopback() {
            self.problem(
                &["server", "listen"],
                "without keys only this machine is served: name a loopback address, or tenants with keys",
            );
        }
        let server = &self.file.server;
        Some(ServerSettings {
            listen,
            admin,
            admin_key,
            anonymous,
            max_body: server.max_body.0,
            max_connections: server.max_connections.max(1),
            max_requests: server.max_requests.max(1),
            header_timeout: server.header_timeout.0,
            body_timeout: server.body_timeout.0,
            write_timeout: server.write_timeout.0,
            drain: server.drain.0,
        })
    }

    fn accounts(&mut self) -> Vec<Account<'f>> {
        let mut accounts = Vec::new();
        for (name, provider) in &self.file.providers {
            let path = ["providers", name.as_str()];
            let Some((endpoint, origin, base_path)) = self.endpoint(&path, provider) else { continue };
            let serves = self.serves(&path, provider);
            if provider.api_key.is_some() && !provider.api_keys.is_empty() {
                self.problem(&path, "`api_key` and `api_keys` exclude each other");
            }
            let sources: Vec<_> = provider.api_key.iter().chain(&provider.api_keys).collect();
            for place in 0..sources.len().max(1) {
                let key = sources.get(place).and_then(|source| self.secret(&path, source));
                let id = if place == 0 { name.clone() } else { format!("{name}-{}", place + 1) };
                if place > 0 && self.file.providers.contains_key(&id) {
                    self.problem(
                        &path,
                        format!("its key number {} would be provider `{id}`, which there is", place + 1),
                    );
                }
                let (endpoint, origin) = (endpoint.clone(), origin.clone());
                let (base_path, serves) = (base_path.clone(), serves.clone());
                accounts.push(Account { name, id, provider, key, endpoint, origin, base_path, serves });
            }
        }
        accounts
    }

    fn endpoint(
        &mut self,
        path: &[&str; 2],
        provider: &Provider,
    ) -> Option<(waypost::core::Endpoint, Origin, String)> {
        let path = [path[0], path[1], "endpoint"];
        let Some(url) = provider.endpoint.as_deref().or(provider.kind.default_endpoint()) else {
            self.problem(&path, "`endpoint` is missing: its address cannot be known");
            return None;
        };
        let endpoint = self.take(&path, waypost::core::Endpoint::new(url))?;
        let uri: http::Uri = self.take(&path, url.parse())?;
        let host = uri.host().unwrap_or_default().to_owned();
        let is_tls = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let is_metadata = host.starts_with("169.254.") || host.starts_with("[fe80") || host.ends_with('.');
        if is_metadata || uri.query().is_some() {
            self.problem(&path, "an endpoint must be a base URL without query, and not of a link-local host");
            return None;
        }
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let base_path = uri.path().trim_end_matches('/').to_owned();
        Some((endpoint, Origin { is_tls, host, port }, base_path))
    }

    fn serves(&mut self, path: &[&str; 2], provider: &Provider) -> Vec<Endpoint> {
        let Some(names) = &provider.serves else { return provider.kind.serves().to_vec() };
        let mut serves = Vec::new();
        for (place, name) in names.iter().enumerate() {
            if let Some(endpoint) = Endpoint::named(name) {
                serves.push(endpoint);
            } else {
                let known = Endpoint::ALL.map(Endpoint::as_str);
                self.unknown(&[path[0], path[1], "serves", &place.to_string()], "request", name, known);
            }
        }
        serves
    }

    fn candidates(&mut self, accounts: &[Account<'_>]) -> (Vec<RoutingTableUpdate>, Vec<TargetSpec>) {
        let (mut served, mut targets) = (Vec::<(RoutingTableUpdate, Vec<ModelName>)>::new(), Vec::new());
        let mut places: HashMap<CandidateId, usize> = HashMap::new();
        for (name, model) in &self.file.models {
            let Some(pool) = self.take(&["models", name], ModelName::new(name)) else { continue };
            if model.candidates.is_empty() {
                self.problem(&["models", name, "candidates"], format!("model `{name}` has no candidates"));
            }
            for (place, candidate) in model.candidates.iter().enumerate() {
                let place = place.to_string();
                let path = ["models", name, "candidates", place.as_str()];
                let mine: Vec<_> =
                    accounts.iter().filter(|account| account.name == candidate.provider).collect();
                if mine.is_empty() && !self.file.providers.contains_key(&candidate.provider) {
                    let known = self.file.providers.keys().map(String::as_str);
                    self.unknown(
                        &["models", name, "candidates", &place, "provider"],
                        "provider",
                        &candidate.provider,
                        known,
                    );
                }
                for account in mine {
                    let upstream_model = candidate.model.as_deref().unwrap_or(name);
                    let Some(built) = self.candidate(&path, account, candidate, upstream_model) else {
                        continue;
                    };
                    let id = built.id().clone();
                    if let Some(&at) = places.get(&id) {
                        served[at].1.push(pool.clone());
                        continue;
                    }
                    places.insert(id.clone(), served.len());
                    targets.push(target(account, id));
                    served.push((RoutingTableUpdate::add(built), vec![pool.clone()]));
                }
            }
        }
        let in_pools = |(update, pools)| match update {
            RoutingTableUpdate::AddProvider { candidate, .. } => {
                RoutingTableUpdate::AddProvider { models: pools, candidate }
            }
            other => other,
        };
        (served.into_iter().map(in_pools).collect(), targets)
    }

    fn candidate(
        &mut self,
        path: &[&str],
        account: &Account<'_>,
        candidate: &Candidate,
        model: &str,
    ) -> Option<waypost::ProviderCandidate> {
        let mut builder =
            account.provider.kind.candidate(&account.id, model).endpoint(account.endpoint.as_str());
        if let Some(weight) = candidate.weight {
            builder = builder.weight(weight);
        }
        if let Some(price) = candidate.price {
            let dollars = waypost::core::NanoUsd::from_usd;
            let pricing = || -> Result<_, String> {
                let price_of = |amount| dollars(amount).map_err(|error| error.to_string());
                let pricing =
                    waypost::core::Pricing::per_million(price_of(price.input)?, price_of(price.output)?)
                        .map_err(|error| error.to_string())?;
                match price.cached_input {
                    Some(cached) => {
                        pricing.cached_input(price_of(cached)?).map_err(|error| error.to_string())
                    }
                    None => Ok(pricing),
                }
            };
            builder = builder.pricing(self.take(path, pricing())?);
        }
        if let Some(tokens) = candidate.context_window {
            builder = builder.context_window(Tokens(tokens));
        }
        if let Some(tokens) = candidate.max_output {
            builder = builder.max_output_tokens(Tokens(tokens));
        }
        if let Some(names) = &candidate.features {
            let features = self.features(path, names);
            builder = builder.features(
                features.into_iter().chain([Capability::Streaming]).collect::<waypost::core::CapabilitySet>(),
            );
        }
        let per_minute = |pace: super::units::Pace| {
            let minutes = pace.0.period().as_secs_f64() / 60.0;
            (pace.0.quota() as f64 / minutes).max(1.0) as u64
        };
        if let Some(requests) = candidate.limits.requests {
            builder = builder.requests_per_minute(u32::try_from(per_minute(requests)).unwrap_or(u32::MAX));
        }
        if let Some(tokens) = candidate.limits.tokens {
            builder = builder.tokens_per_minute(per_minute(tokens));
        }
        if let Some(most) = candidate.limits.concurrency {
            builder = builder.max_in_flight(most);
        }
        builder = builder.tier(candidate.tier).credential(&account.id);
        let tags = account.provider.tags.iter().chain(&candidate.tags).cloned();
        builder =
            tags.chain(account.serves.iter().map(|served| served.tag())).fold(builder, CandidateBuilder::tag);
        if let Some(region) = &account.provider.region {
            builder = builder.region(region);
        }
        if let Some(zone) = &account.provider.zone {
            builder = builder.zone(zone);
        }
        self.take(path, builder.build())
    }

    fn features(&mut self, path: &[&str], names: &[String]) -> Vec<Capability> {
        const KNOWN: [(&str, Capability); 6] = [
            ("function-calling", Capability::FunctionCalling),
            ("vision", Capability::Vision),
            ("json-schema", Capability::JsonSchema),
            ("embeddings", Capability::Embeddings),
            ("reasoning", Capability::Reasoning),
            ("audio", Capability::Audio),
        ];
        let mut features = Vec::new();
        for name in names {
            if let Some((_, feature)) = KNOWN.iter().find(|(known, _)| known == name) {
                features.push(*feature);
            } else {
                let path: Vec<_> = path.iter().copied().chain(["features"]).collect();
                self.unknown(&path, "feature", name, KNOWN.map(|(known, _)| known));
            }
        }
        features
    }

    fn is_model(&self, name: &str) -> bool {
        self.file.models.contains_key(name) || self.file.aliases.contains_key(name)
    }

    fn names_of_models(&self) -> Vec<&'f str> {
        self.file.models.keys().chain(self.file.aliases.keys()).map(String::as_str).collect()
    }

    fn aliases(&mut self) -> Vec<RoutingTableUpdate> {
        let mut updates = Vec::new();
        for (alias, target) in &self.file.aliases {
            let path = ["aliases", alias.as_str()];
            if !self.is_model(target) {
                let known = self.names_of_models();
                self.unknown(&path, "model", target, known);
            }
            let (alias, target) = (ModelName::new(alias), ModelName::new(target));
            let (alias, target) = (self.take(&path, alias), self.take(&path, target));
            updates.extend(
                alias.zip(target).map(|(alias, target)| RoutingTableUpdate::SetModelAlias { alias, target }),
            );
        }
        updates
    }

    fn tenants(&mut self, accounts: &[Account<'_>]) -> Vec<RoutingTableUpdate> {
        let mut updates = Vec::new();
        for (name, tenant) in &self.file.tenants {
            let path = ["tenants", name.as_str()];
            let Some(id) = self.take(&path, TenantId::new(name)) else { continue };
            let config = TenantRoutingConfig {
                allowed_models: self.allowed(&path, tenant),
                allowed_providers: tenant
                    .providers
                    .as_ref()
                    .map(|names| self.providers(&path, "providers", names, accounts)),
                preferred_providers: self.providers(&path, "prefer", &tenant.prefer, accounts),
                cost_limit_per_request: tenant.budget.per_request.map(|money| money.0),
                default_strategy: tenant
                    .strategy
                    .as_ref()
                    .and_then(|name| self.strategy(&["tenants", path[1], "strategy"], name)),
            };
            updates.push(RoutingTableUpdate::SetTenant { tenant: id, config });
        }
        updates
    }

    fn allowed(&mut self, path: &[&str; 2], tenant: &Tenant) -> Option<Vec<ModelName>> {
        let patterns = tenant.allow.as_ref()?;
        let known = self.names_of_models();
        let mut allowed = BTreeSet::new();
        for (place, pattern) in patterns.iter().enumerate() {
            let met: Vec<_> = known.iter().filter(|name| matches_name(pattern, name)).collect();
            if met.is_empty() {
                self.unknown(
                    &[path[0], path[1], "allow", &place.to_string()],
                    "model",
                    pattern,
                    known.iter().copied(),
                );
            }
            allowed.extend(met.into_iter().filter_map(|name| ModelName::new(name).ok()));
        }
        Some(allowed.into_iter().collect())
    }

    fn providers(
        &mut self,
        path: &[&str; 2],
        key: &str,
        names: &[String],
        accounts: &[Account<'_>],
    ) -> Vec<ProviderId> {
        let mut ids = Vec::new();
        for (place, name) in names.iter().enumerate() {
            if !self.file.providers.contains_key(name) {
                let known = self.file.providers.keys().map(String::as_str);
                self.unknown(&[path[0], path[1], key, &place.to_string()], "provider", name, known);
            }
            let mine = accounts.iter().filter(|account| account.name == name);
            ids.extend(mine.filter_map(|account| ProviderId::new(&account.id).ok()));
        }
        ids
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

    /// A rule for each model with a strategy of its own. They are asked first and continue, so any other rule counts more.
    fn strategy_rules(&mut self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (name, model) in &self.file.models {
            let Some(written) = &model.strategy else { continue };
            let Some(strategy) = self.strategy(&["models", name, "strategy"], written) else { continue };
            let aliases =
                self.file.aliases.iter().filter(|(_, target)| *target == name).map(|(alias, _)| alias);
            let names = std::iter::once(name).chain(aliases);
            let patterns: Result<Vec<_>, _> = names.map(|name| name.parse()).collect();
            let id = RuleId::new(format!("strategy:{name}"));
            let (Some(patterns), Some(id)) =
                (self.take(&["models", name], patterns), self.take(&["models", name], id))
            else {
                continue;
            };
            let action = RoutingAction::ApplyStrategy(strategy);
            rules.push(
                Rule::new(id, action).when(Condition::Model(patterns)).priority(u32::MAX).and_continue(),
            );
        }
        rules
    }

    fn keys(&mut self) -> KeyRing {
        let secret = self.file.server.key_secret.as_ref();
        let secret = secret.and_then(|source| self.secret(&["server", "key_secret"], source));
        let mut ring = KeyRing::new(secret.as_ref().map_or("", |secret| secret.expose_secret()).as_bytes());
        for (name, tenant) in &self.file.tenants {
            for (place, key) in tenant.keys.iter().enumerate() {
                let place = place.to_string();
                let path = ["tenants", name, "keys", &place, "hash"];
                let Some(hash) = KeyHash::parse(&key.hash) else {
                    self.problem(
                        &path,
                        "not the hash of a key: `waypost keys new` makes a key and prints its hash",
                    );
                    continue;
                };
                let user = key.user.as_ref().and_then(|user| self.take(&path, UserId::new(user)));
                let organization = key.organization.as_ref();
                let organization = organization.and_then(|name| self.take(&path, OrganizationId::new(name)));
                let tenant = TenantId::new(name).ok();
                if !ring.add(&hash, Caller { tenant, user, organization, allow: key.allow.clone() }) {
                    self.problem(&path, "the same key stands twice");
                }
            }
        }
        ring
    }

    fn chains(&mut self) -> HashMap<ModelName, Arc<FailoverChain>> {
        let base = self.base_chain();
        let mut chains = HashMap::new();
        for (name, model) in &self.file.models {
            let mut chain = base.clone();
            let lists = [
                ("fallback", FallbackOn::Failure, &model.fallback),
                ("context_fallback", FallbackOn::ContextWindow, &model.context_fallback),
                ("content_fallback", FallbackOn::ContentPolicy, &model.content_fallback),
            ];
            for (key, on, names) in lists {
                if names.len() > MAX_FALLBACKS {
                    self.problem(&["models", name, key], format!("more than {MAX_FALLBACKS} models"));
                }
                for (place, fallback) in names.iter().enumerate() {
                    let place = place.to_string();
                    let path = ["models", name, key, &place];
                    if fallback == name {
                        self.problem(&path, format!("`{name}` cannot stand in for itself"));
                    } else if !self.is_model(fallback) {
                        let known = self.names_of_models();
                        self.unknown(&path, "model", fallback, known);
                    } else if let Ok(fallback) = ModelName::new(fallback) {
                        chain = chain.with_fallback_on(on, ProviderSelector::AnyForModel(fallback));
                    }
                }
            }
            let chain = Arc::new(chain);
            let aliases =
                self.file.aliases.iter().filter(|(_, target)| *target == name).map(|(alias, _)| alias);
            let names = std::iter::once(name).chain(aliases).filter_map(|name| ModelName::new(name).ok());
            chains.extend(names.map(|name| (name, Arc::clone(&chain))));
        }
        chains
    }

    fn base_chain(&self) -> FailoverChain {
        let failover = &self.file.failover;
        let or = |time: Option<super::units::Time>, default: Option<Duration>| {
            time.map_or(default, |time| Some(time.0))
        };
        let usual = Timeouts::default();
        let mut retry = RetryPolicy::default();
        retry.timeouts = Timeouts {
            connect: or(failover.timeouts.connect, Some(Duration::from_secs(2))),
            first_content: or(failover.timeouts.first_content, usual.first_content),
            idle: or(failover.timeouts.idle, usual.idle),
            total: or(failover.timeouts.total, usual.total),
        };
        retry.max_retries = failover.retries.unwrap_or(retry.max_retries);
        retry.max_wait = failover.max_wait.map_or(Duration::from_secs(1), |time| time.0);
        let mut chain = FailoverChain::default().with_retry(retry);
        chain.max_attempts = failover.attempts.unwrap_or(chain.max_attempts);
        if failover.hedge { chain.with_hedge(HedgePolicy::default()) } else { chain }
    }

    fn limits(&mut self) -> Vec<Limit> {
        let mut limits = Vec::new();
        for (name, entry) in &self.file.limits {
            for limit in self.entry_limits(name, entry) {
                limits.push(limit);
            }
        }
        for (name, tenant) in &self.file.tenants {
            let path = ["tenants", name.as_str()];
            let Ok(id) = TenantId::new(name) else { continue };
            let mine = |limit: Limit| limit.for_tenant(id.clone());
            let made = self.bounds(
                &path,
                name,
                tenant.limits.requests,
                tenant.limits.tokens,
                tenant.limits.concurrency,
            );
            limits.extend(made.into_iter().map(mine));
            limits.extend(
                self.budgets(&path, name, &tenant.budget)
                    .into_iter()
                    .map(|limit| limit.for_tenant(id.clone())),
            );
        }
        limits
    }

    fn entry_limits(&mut self, name: &str, entry: &LimitEntry) -> Vec<Limit> {
        let path = ["limits", name];
        let mut limits = self.bounds(&path, name, entry.requests, entry.tokens, entry.concurrency);
        let budget = TenantBudget { daily: entry.daily, monthly: entry.monthly, ..TenantBudget::default() };
        limits.extend(self.budgets(&path, name, &budget));
        if limits.is_empty() {
            self.problem(&path, format!("limit `{name}` limits nothing"));
        }
        for (place, per) in entry.per.iter().enumerate() {
            let known = Dimension::ALL.into_iter().find(|dimension| dimension.as_str() == per);
            let Some(dimension) = known else {
                let known = Dimension::ALL.map(Dimension::as_str);
                self.unknown(&["limits", name, "per", &place.to_string()], "dimension", per, known);
                continue;
            };
            limits = limits.into_iter().map(|limit| limit.per(dimension)).collect();
        }
        if let Some(tenant) = &entry.tenant {
            if !self.file.tenants.contains_key(tenant) {
                let known = self.file.tenants.keys().map(String::as_str);
                self.unknown(&["limits", name, "tenant"], "tenant", tenant, known);
            } else if let Ok(tenant) = TenantId::new(tenant) {
                limits = limits.into_iter().map(|limit| limit.for_tenant(tenant.clone())).collect();
            }
        }
        if let Some(model) = &entry.model {
            if !self.is_model(model) {
                let known = self.names_of_models();
                self.unknown(&["limits", name, "model"], "model", model, known);
            } else if let Ok(model) = ModelName::new(model) {
                limits = limits.into_iter().map(|limit| limit.for_model(model.clone())).collect();
            }
        }
        limits
    }

    fn bounds(
        &mut self,
        path: &[&str; 2],
        name: &str,
        requests: Option<super::units::Pace>,
        tokens: Option<super::units::Pace>,
        concurrency: Option<u32>,
    ) -> Vec<Limit> {
        let (section, mut limits) = (path[0], Vec::new());
        let id = |what: &str| LimitId::new(format!("{section}.{name}.{what}"));
        let ids = [id("requests"), id("tokens"), id("concurrency")].map(|id| self.take(path, id));
        let [for_requests, for_tokens, for_concurrency] = ids;
        limits.extend(requests.zip(for_requests).map(|(pace, id)| Limit::requests(id, pace.0)));
        limits.extend(tokens.zip(for_tokens).map(|(pace, id)| Limit::tokens(id, pace.0)));
        if let Some(most) = concurrency {
            match NonZeroU32::new(most).zip(for_concurrency) {
                Some((most, id)) => limits.push(Limit::concurrency(id, most)),
                None => self.problem(path, "`concurrency` must be above zero"),
            }
        }
        limits
    }

    fn budgets(&mut self, path: &[&str; 2], name: &str, budget: &TenantBudget) -> Vec<Limit> {
        let periods = [
            ("daily", budget.daily, Period::DAY),
            ("monthly", budget.monthly, Period::MONTH),
            ("total", budget.total, Period::TOTAL),
        ];
        let mut limits = Vec::new();
        for (what, money, period) in periods {
            let Some(money) = money else { continue };
            let mut made = Budget::new(money.0, period);
            if let Some(at) = &budget.at {
                made = made.with_thresholds(at.clone());
            }
            let id = LimitId::new(format!("{}.{name}.{what}", path[0]));
            limits.extend(self.take(path, id).map(|id| Limit::budget(id, made)));
        }
        limits
    }

    fn router(&mut self) -> RouterConfig {
        let mut config = RouterConfig::default();
        let strategy = self.file.routing.strategy.as_ref();
        let strategy = strategy.map(|name| self.strategy(&["routing", "strategy"], name));
        config.default_strategy = strategy.flatten().unwrap_or(LoadBalancingStrategy::LeastLatency);
        let health = &self.file.health;
        if let Some(breaker) = &mut config.health.breaker {
            breaker.consecutive_failures = health.failures.unwrap_or(breaker.consecutive_failures);
            breaker.open_for = health.open_for.map_or(breaker.open_for, |time| time.0);
            if let Some(share) = health.failure_ratio {
                let ratio = self.take(&["health", "failure_ratio"], Ratio::new(share));
                breaker.failure_ratio = ratio.or(breaker.failure_ratio);
            }
        }
        if let Some(share) = self.file.failover.retry_budget {
            let ratio = self.take(&["failover", "retry_budget"], Ratio::new(share)).unwrap_or_default();
            (config.retry_budget.ratio, config.total_retry_budget.ratio) = (ratio, ratio);
        }
        if let Some(burst) = self.file.failover.retry_burst {
            (config.retry_budget.burst, config.total_retry_budget.burst) = (burst, burst);
        }
        config
    }

    fn listed(&self) -> Vec<crate::directory::ListedModel> {
        let denies = |name: &str| {
            let denied = self.file.tenants.iter().filter(|(_, tenant)| {
                tenant
                    .allow
                    .as_ref()
                    .is_some_and(|allow| !allow.iter().any(|pattern| matches_name(pattern, name)))
            });
            denied.filter_map(|(tenant, _)| TenantId::new(tenant).ok()).collect()
        };
        let listed = |name: &str| {
            let name = ModelName::new(name).ok()?;
            let denied_to = denies(name.as_str());
            Some(crate::directory::ListedModel { name, owned_by: "waypost".to_owned(), denied_to })
        };
        self.names_of_models().into_iter().filter_map(listed).collect()
    }
}

fn target(account: &Account<'_>, id: CandidateId) -> TargetSpec {
    TargetSpec {
        id,
        kind: account.provider.kind,
        origin: account.origin.clone(),
        tls: TlsSettings { ca_file: account.provider.ca_file.clone() },
        base_path: account.base_path.clone(),
        serves: account.serves.clone(),
        api_version: account.provider.api_version.clone(),
        key: account.key.clone(),
        headers: account.provider.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

fn hash_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
