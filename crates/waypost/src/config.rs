//! Settings of a router.

use std::time::Duration;

use waypost_core::{LoadBalancingStrategy, RetryBudgetConfig, Tokens};
use waypost_failover::ThrottleConfig;
use waypost_health::HealthConfig;
use waypost_limits::LimitsConfig;
use waypost_rules::RulesConfig;

/// Settings of a [`Router`](crate::Router) as a whole.
///
/// ```
/// use waypost::RouterConfig;
///
/// let config = RouterConfig::default();
/// assert_eq!(config.max_routing_time.as_secs(), 1);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct RouterConfig {
    /// The strategy of requests for which neither a rule nor the tenant names one. Must be registered. Default: round
    /// robin.
    pub default_strategy: LoadBalancingStrategy,
    /// The longest a decision may take; a longer one fails with [`Timeout`](crate::RoutingError::Timeout), because the
    /// machine is in trouble that one more request would deepen. Default: 1 s: a thread that loses its processor for
    /// tens of milliseconds is an ordinary event on a busy machine, and no reason to fail a request.
    pub max_routing_time: Duration,
    /// How long an answer is taken to be, for costs and latencies, when neither the request nor the context says.
    /// Default: 1,000 tokens.
    pub default_completion_tokens: Tokens,
    /// How sick candidates are kept out and let back in. Default: on, see [`HealthConfig`].
    pub health: HealthConfig,
    /// How limits are kept. Default: see [`LimitsConfig`].
    pub limits: LimitsConfig,
    /// How many retries and hedges all requests of one model together may send. Default: one for ten requests, and 100
    /// saved up.
    pub retry_budget: RetryBudgetConfig,
    /// How many those of all models together may send. Default: the same.
    pub total_retry_budget: RetryBudgetConfig,
    /// Requests of a model are not sent while its providers refuse most of them. Default: off.
    pub throttle: Option<ThrottleConfig>,
    /// How rules are evaluated. Default: see [`RulesConfig`].
    pub rules: RulesConfig,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            default_strategy: LoadBalancingStrategy::RoundRobin,
            max_routing_time: Duration::from_secs(1),
            default_completion_tokens: Tokens(1_000),
            health: HealthConfig::default(),
            limits: LimitsConfig::default(),
            retry_budget: RetryBudgetConfig::default(),
            total_retry_budget: RetryBudgetConfig::default(),
            throttle: None,
            rules: RulesConfig::default(),
        }
    }
}
