//! Every strategy under its name.

use std::sync::Arc;

use waypost_core::{BuildLoadBalancer, LoadBalancingStrategy as Strategy};

use crate::{
    Adaptive, ConsistentHash, CostOptimized, LeastConnections, LeastLatency, LeastTokens, PeakEwma,
    PowerOfTwoChoices, PrefixAffinity, Prequal, PriorityTiers, Random, RoundRobin, WeightedRoundRobin,
};

/// The strategy of a name with its default settings; `None` for a [`Custom`](Strategy::Custom) one.
///
/// ```
/// use waypost_balancers::built_in;
/// use waypost_core::LoadBalancingStrategy;
///
/// assert!(LoadBalancingStrategy::built_in().all(|name| built_in(&name).is_some()));
/// assert!(built_in(&"mine".parse()?).is_none());
/// # Ok::<(), waypost_core::ParseStrategyError>(())
/// ```
pub fn built_in(name: &Strategy) -> Option<Arc<dyn BuildLoadBalancer>> {
    Some(match name {
        Strategy::RoundRobin => Arc::new(RoundRobin::default()),
        Strategy::WeightedRoundRobin => Arc::new(WeightedRoundRobin::default()),
        Strategy::LeastConnections => Arc::new(LeastConnections::default()),
        Strategy::LeastTokens => Arc::new(LeastTokens),
        Strategy::LeastLatency => Arc::new(LeastLatency::default()),
        Strategy::CostOptimized => Arc::new(CostOptimized::default()),
        Strategy::Adaptive => Arc::new(Adaptive::default()),
        Strategy::Random => Arc::new(Random::default()),
        Strategy::PowerOfTwoChoices => Arc::new(PowerOfTwoChoices::default()),
        Strategy::PeakEwma => Arc::new(PeakEwma::default()),
        Strategy::Prequal => Arc::new(Prequal::default()),
        Strategy::ConsistentHash => Arc::new(ConsistentHash::default()),
        Strategy::PrefixAffinity => Arc::new(PrefixAffinity::default()),
        Strategy::PriorityTiers => Arc::new(PriorityTiers::default()),
        _ => return None,
    })
}
