//! Which strategy chooses.

use core::fmt;

use crate::StrategyName;

/// Names the way in which one candidate is chosen out of those that are left.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LoadBalancingStrategy {
    /// Each in turn.
    RoundRobin,
    /// Each in turn, by weight.
    WeightedRoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastConnections,
    /// The one that should answer first.
    LeastLatency,
    /// The cheapest for the request.
    CostOptimized,
    /// Learns from results which is best.
    Adaptive,
    /// Any, each equally likely.
    Random,
    /// A strategy that the user registered.
    Custom(StrategyName),
}

impl fmt::Display for LoadBalancingStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastConnections => "least_connections",
            Self::LeastLatency => "least_latency",
            Self::CostOptimized => "cost_optimized",
            Self::Adaptive => "adaptive",
            Self::Random => "random",
            Self::Custom(name) => name.as_str(),
        })
    }
}
