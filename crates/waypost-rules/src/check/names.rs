//! The names that rules use, and those that there are.

use core::cell::Cell;
use std::collections::{BTreeSet, HashSet};

use waypost_core::{
    LoadBalancingStrategy, ModelName, PoolWeights, ProviderId, Region, RoutingTable, TenantId, Weight,
};

use crate::compiled::Surroundings;
use crate::finding::RuleProblem;
use crate::nearest::nearest;
use crate::{Condition, RouteConfig, RoutingAction, TextPattern};

/// Misspelt names of one set for which the likeliest is looked for: each takes a look at every known name.
const HINTS: usize = 32;

/// The names that rules may use.
pub(super) struct Known<'a> {
    /// How many more names are compared with all others to find the one that was meant.
    hints: Cell<usize>,
    surroundings: Surroundings<'a>,
    providers: BTreeSet<&'a str>,
    models: BTreeSet<&'a str>,
    tenants: BTreeSet<&'a str>,
    strategies: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    pub(super) fn new(surroundings: Surroundings<'a>) -> Self {
        let table = surroundings.table;
        let candidates = table.into_iter().flat_map(RoutingTable::candidates);
        let own = table.into_iter().flat_map(|table| table.models().map(|(model, _)| model.as_str()));
        let aliases = table.into_iter().flat_map(|table| table.aliases().map(|(alias, _)| alias.as_str()));
        let tenants = table.into_iter().flat_map(|table| table.tenants().map(|(tenant, _)| tenant.as_str()));
        Self {
            hints: Cell::new(HINTS),
            surroundings,
            providers: candidates.map(|candidate| candidate.provider().as_str()).collect(),
            models: own.chain(aliases).collect(),
            tenants: tenants.collect(),
            strategies: surroundings
                .strategies
                .into_iter()
                .flatten()
                .map(LoadBalancingStrategy::as_str)
                .collect(),
        }
    }

    pub(super) fn action(&self, action: &RoutingAction) -> Vec<RuleProblem> {
        match action {
            RoutingAction::RouteToProvider(provider) => self.provider(provider).into_iter().collect(),
            RoutingAction::RouteToPool(route) if route.is_everywhere() => vec![RuleProblem::EmptyPool],
            RoutingAction::RouteToPool(route) => self.route(route),
            RoutingAction::ApplyStrategy(strategy) => self.strategy(strategy).into_iter().collect(),
            RoutingAction::Exclude(providers) => providers.iter().filter_map(|p| self.provider(p)).collect(),
            RoutingAction::RewriteModel(model) => self.model(model).into_iter().collect(),
            RoutingAction::Mirror(target) => self.mirror(&target.provider).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn route(&self, route: &RouteConfig) -> Vec<RuleProblem> {
        let members = || route.provider_pool.iter().map(|member| &member.provider);
        let mut problems: Vec<_> = members().filter_map(|provider| self.provider(provider)).collect();
        let mut seen = HashSet::new();
        let twice = members().filter(|provider| !seen.insert(provider.as_str()));
        problems.extend(twice.cloned().map(RuleProblem::MemberTwice));
        problems.extend(route.strategy.as_ref().and_then(|strategy| self.strategy(strategy)));
        let weightless = |weights: PoolWeights| members().all(|p| weights.of(p) == Weight::ZERO);
        if route.weights().is_some_and(weightless) {
            problems.push(RuleProblem::NoWeight);
        }
        // Providers that are known have candidates.
        let narrowed = !route.regions.is_empty() || !route.tags.is_empty();
        let nobody = |table| narrowed && !has_members(table, route);
        if problems.is_empty() && self.surroundings.table.is_some_and(nobody) {
            problems.push(RuleProblem::PoolOfNobody);
        }
        problems
    }

    fn likeliest(&self, name: &str, known: &BTreeSet<&str>) -> Option<String> {
        self.hints.set(self.hints.get().checked_sub(1)?);
        nearest(name, known.iter().copied()).map(ToOwned::to_owned)
    }

    fn provider(&self, provider: &ProviderId) -> Option<RuleProblem> {
        let unknown = self.surroundings.table.is_some() && !self.providers.contains(provider.as_str());
        unknown.then(|| RuleProblem::UnknownProvider {
            provider: provider.clone(),
            nearest: self.likeliest(provider.as_str(), &self.providers),
        })
    }

    /// The caller may know shadows that the table does not.
    fn mirror(&self, provider: &ProviderId) -> Option<RuleProblem> {
        let unknown = self.surroundings.table.is_some() && !self.providers.contains(provider.as_str());
        unknown.then(|| RuleProblem::UnknownMirror {
            provider: provider.clone(),
            nearest: self.likeliest(provider.as_str(), &self.providers),
        })
    }

    fn model(&self, model: &ModelName) -> Option<RuleProblem> {
        let unknown = self.surroundings.table.is_some() && !self.models.contains(model.as_str());
        unknown.then(|| RuleProblem::UnknownModel {
            model: model.clone(),
            nearest: self.likeliest(model.as_str(), &self.models),
        })
    }

    fn strategy(&self, strategy: &LoadBalancingStrategy) -> Option<RuleProblem> {
        let unknown = self.surroundings.strategies.is_some_and(|known| !known.contains(strategy));
        unknown.then(|| RuleProblem::UnknownStrategy {
            strategy: strategy.clone(),
            nearest: self.likeliest(strategy.as_str(), &self.strategies),
        })
    }

    pub(super) fn condition(&self, condition: &Condition) -> Vec<RuleProblem> {
        if self.surroundings.table.is_none() {
            return Vec::new();
        }
        match condition {
            Condition::Tenant(names) => {
                let unknown = names.iter().filter(|tenant| !self.tenants.contains(tenant.as_str()));
                let problem = |tenant: &TenantId| RuleProblem::UnknownTenant {
                    tenant: tenant.clone(),
                    nearest: self.likeliest(tenant.as_str(), &self.tenants),
                };
                unknown.map(problem).collect()
            }
            Condition::Model(patterns) => {
                let exact = patterns.iter().filter_map(TextPattern::as_exact);
                let problem = |model: &str| RuleProblem::UnknownModelAsked {
                    model: model.to_owned(),
                    nearest: self.likeliest(model, &self.models),
                };
                exact.filter(|&model| !self.models.contains(model)).map(problem).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn has_members(table: &RoutingTable, route: &RouteConfig) -> bool {
    let providers: HashSet<&ProviderId> = route.provider_pool.iter().map(|member| &member.provider).collect();
    let regions: HashSet<&Region> = route.regions.iter().collect();
    table.candidates().any(|candidate| {
        (providers.is_empty() || providers.contains(candidate.provider()))
            && (regions.is_empty() || candidate.region().is_some_and(|region| regions.contains(region)))
            && route.tags.iter().all(|tag| candidate.tags().contains(tag))
    })
}
