//! Models: who serves them, under which names.

use std::collections::HashMap;

use waypost::core::{
    CandidateBuilder, CandidateId, Capability, CapabilitySet, ModelName, NanoUsd, Pricing,
    RoutingTableUpdate, RuleId, TenantId, Tokens,
};
use waypost::rules::{Condition, RoutingAction, Rule};

use super::providers::Account;
use super::{Resolver, TargetSpec};
use crate::config::file::{Candidate, CandidateLimits, Price, ProviderKind};
use crate::config::units::Pace;
use crate::keys::matches_name;
use crate::upstream::TlsSettings;

impl Resolver<'_> {
    pub(super) fn candidates(
        &mut self,
        accounts: &[Account<'_>],
    ) -> (Vec<RoutingTableUpdate>, Vec<TargetSpec>) {
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

    pub(super) fn candidate(
        &mut self,
        path: &[&str],
        account: &Account<'_>,
        candidate: &Candidate,
        model: &str,
    ) -> Option<waypost::ProviderCandidate> {
        let kind = account.provider.kind;
        let mut builder = kind.candidate(&account.id, model).endpoint(account.endpoint.as_str());
        builder = builder.tier(candidate.tier).credential(&account.id);
        if let Some(weight) = candidate.weight {
            builder = builder.weight(weight);
        }
        if let Some(pricing) = self.pricing(path, kind, candidate, model) {
            builder = builder.pricing(pricing);
        }
        if let Some(tokens) = candidate.context_window {
            builder = builder.context_window(Tokens(tokens));
        }
        if let Some(tokens) = candidate.max_output {
            builder = builder.max_output_tokens(Tokens(tokens));
        }
        let named = candidate.features.as_ref().map(|names| self.features(path, names));
        let features = named.unwrap_or_else(|| Capability::ALL.to_vec());
        builder =
            builder.features(features.into_iter().chain([Capability::Streaming]).collect::<CapabilitySet>());
        builder = self.bounded(path, builder, &candidate.limits);
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

    /// What its provider lets its key do, per minute.
    fn bounded(
        &mut self,
        path: &[&str],
        mut builder: CandidateBuilder,
        limits: &CandidateLimits,
    ) -> CandidateBuilder {
        let mut per_minute = |pace: Pace| {
            let (quota, minutes) = (u128::from(pace.0.quota()), pace.0.period().as_nanos());
            let exact = quota * 60_000_000_000;
            if exact % minutes != 0 || exact == 0 {
                self.problem(path, "what a provider lets a key do must be a whole number per minute");
            }
            u64::try_from(exact / minutes).unwrap_or(u64::MAX).max(1)
        };
        if let Some(requests) = limits.requests {
            builder = builder.requests_per_minute(u32::try_from(per_minute(requests)).unwrap_or(u32::MAX));
        }
        if let Some(tokens) = limits.tokens {
            builder = builder.tokens_per_minute(per_minute(tokens));
        }
        match limits.concurrency {
            Some(most) => builder.max_in_flight(most),
            None => builder,
        }
    }

    /// What a candidate costs: as it says itself, else as the price file says.
    fn pricing(
        &mut self,
        path: &[&str],
        kind: ProviderKind,
        candidate: &Candidate,
        model: &str,
    ) -> Option<Pricing> {
        if let Some(price) = candidate.price {
            return self.take(path, priced(price));
        }
        let found = self.prices.as_ref()?.find(kind, model);
        if found.is_none() {
            self.warning(path, format!("the price file has no price of `{model}`"));
        }
        found
    }

    pub(super) fn features(&mut self, path: &[&str], names: &[String]) -> Vec<Capability> {
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

    pub(super) fn aliases(&mut self) -> Vec<RoutingTableUpdate> {
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

    /// A rule for each model with a strategy of its own. They are asked first and continue, so any other rule counts more.
    pub(super) fn strategy_rules(&mut self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (name, model) in &self.file.models {
            let Some(written) = &model.strategy else { continue };
            let Some(strategy) = self.strategy(&["models", name, "strategy"], written) else { continue };
            let names = self.names_of(name);
            let patterns: Result<Vec<_>, _> = names.iter().map(|name| name.parse()).collect();
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

    pub(super) fn listed(&self) -> Vec<crate::directory::ListedModel> {
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

fn priced(price: Price) -> Result<Pricing, String> {
    let dollars = |amount| NanoUsd::from_usd(amount).map_err(|error| error.to_string());
    let pricing = Pricing::per_million(dollars(price.input)?, dollars(price.output)?);
    let cached = price.cached_input.map(dollars).transpose()?;
    let pricing =
        pricing.and_then(|pricing| cached.map_or(Ok(pricing), |cached| pricing.cached_input(cached)));
    pricing.map_err(|error| error.to_string())
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
        aws: account.aws.clone(),
        headers: account.provider.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}
