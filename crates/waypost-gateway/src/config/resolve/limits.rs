//! Limits and budgets.

use std::num::NonZeroU32;
use std::sync::Arc;

use waypost::core::{LimitId, ModelName, TenantId};
use waypost::limits::{Budget, Dimension, Limit, Period};

use super::Resolver;
use crate::config::file::{Allowance, LimitEntry, Quota};
use crate::keys::KeyHash;

impl Resolver<'_> {
    pub(super) fn limits(&mut self) -> Vec<Limit> {
        let mut limits = Vec::new();
        for (name, entry) in &self.file.limits {
            for limit in self.entry_limits(name, entry) {
                limits.push(limit);
            }
        }
        for (name, tenant) in &self.file.tenants {
            let Ok(id) = TenantId::new(name) else { continue };
            let made =
                self.bounds(&["tenants", name], &format!("tenants.{name}"), &tenant.limits, &tenant.budget);
            limits.extend(made.into_iter().map(|limit| limit.for_tenant(id.clone())));
            for (place, key) in tenant.keys.iter().enumerate() {
                let Some(hash) = KeyHash::parse(&key.hash).map(KeyHash::short) else { continue };
                let path = ["tenants", name, "keys", &place.to_string()];
                let made = self.bounds(&path, &format!("keys.{hash}"), &key.limits, &key.budget);
                limits.extend(made.into_iter().map(|limit| limit.for_key(Arc::clone(&hash))));
            }
        }
        limits
    }

    fn entry_limits(&mut self, name: &str, entry: &LimitEntry) -> Vec<Limit> {
        let path = ["limits", name];
        let quota = Quota { requests: entry.requests, tokens: entry.tokens, concurrency: entry.concurrency };
        let budget = Allowance { daily: entry.daily, monthly: entry.monthly, ..Allowance::default() };
        let mut limits = self.bounds(&path, &format!("limits.{name}"), &quota, &budget);
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

    /// What is written at `path`, as limits whose names begin with `name`.
    fn bounds(&mut self, path: &[&str], name: &str, quota: &Quota, budget: &Allowance) -> Vec<Limit> {
        let mut limits = Vec::new();
        let id = |what: &str| LimitId::new(format!("{name}.{what}"));
        let ids = ["requests", "tokens", "concurrency"].map(|what| self.take(path, id(what)));
        let [for_requests, for_tokens, for_concurrency] = ids;
        limits.extend(quota.requests.zip(for_requests).map(|(pace, id)| Limit::requests(id, pace.0)));
        limits.extend(quota.tokens.zip(for_tokens).map(|(pace, id)| Limit::tokens(id, pace.0)));
        if let Some(most) = quota.concurrency {
            match NonZeroU32::new(most).zip(for_concurrency) {
                Some((most, id)) => limits.push(Limit::concurrency(id, most)),
                None => self.problem(path, "`concurrency` must be above zero"),
            }
        }
        let periods = [
            ("daily", budget.daily, Period::DAY),
            ("monthly", budget.monthly, Period::MONTH),
            ("total", budget.total, Period::TOTAL),
        ];
        for (what, money, period) in periods {
            let Some(money) = money else { continue };
            let mut made = Budget::new(money.0, period);
            if let Some(at) = &budget.at {
                made = made.with_thresholds(at.clone());
            }
            limits.extend(self.take(path, id(what)).map(|id| Limit::budget(id, made)));
        }
        limits
    }
}
