//! Tenants: what they may use.

use std::collections::BTreeSet;

use waypost::core::{ModelName, ProviderId, RoutingTableUpdate, TenantId, TenantRoutingConfig};

use super::Resolver;
use super::providers::Account;
use crate::keys::matches_name;

impl Resolver<'_> {
    pub(super) fn tenants(&mut self, accounts: &[Account<'_>]) -> Vec<RoutingTableUpdate> {
        let mut updates = Vec::new();
        for (name, tenant) in &self.file.tenants {
            let path = ["tenants", name.as_str()];
            let Some(id) = self.take(&path, TenantId::new(name)) else { continue };
            let config = TenantRoutingConfig {
                allowed_models: tenant
                    .allow
                    .as_ref()
                    .map(|allow| self.allowed(&[path[0], path[1], "allow"], allow)),
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

    /// The models that patterns name.
    pub(super) fn allowed(&mut self, path: &[&str], patterns: &[String]) -> Vec<ModelName> {
        let known = self.names_of_models();
        let mut allowed = BTreeSet::new();
        for (place, pattern) in patterns.iter().enumerate() {
            let met: Vec<_> = known.iter().filter(|name| matches_name(pattern, name)).collect();
            if met.is_empty() {
                let place = place.to_string();
                let path: Vec<_> = path.iter().copied().chain([place.as_str()]).collect();
                self.unknown(&path, "model", pattern, known.iter().copied());
            }
            allowed.extend(met.into_iter().filter_map(|name| ModelName::new(name).ok()));
        }
        allowed.into_iter().collect()
    }

    pub(super) fn providers(
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
}
