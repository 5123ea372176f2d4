//! How requests are seen through failures.

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;

use super::Resolver;
use waypost::core::{ModelName, Ratio};
use waypost::failover::{FallbackOn, HedgePolicy, ProviderSelector, RetryPolicy, Timeouts};
use waypost::{FailoverChain, LoadBalancingStrategy, RouterConfig};

/// The most models that stand in for one.
const MAX_FALLBACKS: usize = 8;

impl Resolver<'_> {
    pub(super) fn chains(&mut self) -> HashMap<ModelName, Arc<FailoverChain>> {
        let base = self.base_chain();
        let mut chains = HashMap::default();
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
            let names = self.names_of(name).into_iter().filter_map(|name| ModelName::new(name).ok());
            chains.extend(names.map(|name| (name, Arc::clone(&chain))));
        }
        chains
    }

    pub(super) fn base_chain(&self) -> FailoverChain {
        let failover = &self.file.failover;
        let or = |time: Option<crate::config::units::Time>, default: Option<Duration>| {
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

    pub(super) fn router(&mut self) -> RouterConfig {
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
}
