//! Limits and budgets.

use std::num::NonZeroU32;

use waypost::core::{LimitId, ModelName, TenantId};
use waypost::limits::{Budget, Dimension, Limit, Period};

use super::Resolver;
use crate::config::file::{LimitEntry, TenantBudget};

impl Resolver<'_> {
    pub(super) fn limits(&mut self) -> Vec<Limit> {
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

    pub(super) fn entry_limits(&mut self, name: &str, entry: &LimitEntry) -> Vec<Limit> {
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

    pub(super) fn bounds(
        &mut self,
        path: &[&str; 2],
        name: &str,
        requests: Option<crate::config::units::Pace>,
        tokens: Option<crate::config::units::Pace>,
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

    pub(super) fn budgets(&mut self, path: &[&str; 2], name: &str, budget: &TenantBudget) -> Vec<Limit> {
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
}
