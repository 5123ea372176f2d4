//! Which strategy chooses.

use core::fmt;
use core::str::FromStr;

use crate::{IdError, StrategyName};

/// Names the way in which one candidate is chosen out of those that are left.
///
/// In configuration a strategy is its name in lower case, words parted by `_` (`-` is read too). Any other name is a
/// strategy that the user registers.
///
/// ```
/// use waypost_core::LoadBalancingStrategy as Strategy;
///
/// assert_eq!("least-latency".parse(), Ok(Strategy::LeastLatency));
/// assert_eq!(Strategy::LeastLatency.to_string(), "least_latency");
/// let mine: Strategy = "cheapest_in_region".parse()?;
/// assert!(matches!(mine, Strategy::Custom(_)));
/// assert!("two words".parse::<Strategy>().is_err());
/// # Ok::<(), waypost_core::ParseStrategyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "String", into = "String")
)]
#[non_exhaustive]
pub enum LoadBalancingStrategy {
    /// Each in turn.
    RoundRobin,
    /// Each in turn, by weight.
    WeightedRoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastConnections,
    /// The one with the fewest tokens in flight for its weight.
    LeastTokens,
    /// The one that should answer first.
    LeastLatency,
    /// The cheapest for the request.
    CostOptimized,
    /// Learns from results which is best.
    Adaptive,
    /// Any, each as likely as its weight says.
    Random,
    /// The less loaded of two that are drawn at random.
    PowerOfTwoChoices,
    /// The lesser product of slowness and load of two that are drawn at random.
    PeakEwma,
    /// Those with few requests in flight by latency, others by requests in flight.
    Prequal,
    /// The one that the request's session, user or tenant belongs to.
    ConsistentHash,
    /// The one that has the prompt's beginning in its cache, unless it is busy.
    PrefixAffinity,
    /// Those of the first tier; later tiers stand in as far as the first is not healthy.
    PriorityTiers,
    /// A strategy that the user registered.
    Custom(StrategyName),
}

/// A text that is no strategy's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ParseStrategyError(#[from] IdError);

impl LoadBalancingStrategy {
    /// All that are built in, with their names.
    const NAMED: [(Self, &'static str); 14] = [
        (Self::RoundRobin, "round_robin"),
        (Self::WeightedRoundRobin, "weighted_round_robin"),
        (Self::LeastConnections, "least_connections"),
        (Self::LeastTokens, "least_tokens"),
        (Self::LeastLatency, "least_latency"),
        (Self::CostOptimized, "cost_optimized"),
        (Self::Adaptive, "adaptive"),
        (Self::Random, "random"),
        (Self::PowerOfTwoChoices, "power_of_two_choices"),
        (Self::PeakEwma, "peak_ewma"),
        (Self::Prequal, "prequal"),
        (Self::ConsistentHash, "consistent_hash"),
        (Self::PrefixAffinity, "prefix_affinity"),
        (Self::PriorityTiers, "priority_tiers"),
    ];

    /// All that are built in.
    pub fn built_in() -> impl Iterator<Item = Self> {
        Self::NAMED.into_iter().map(|(strategy, _)| strategy)
    }

    /// The name in configuration.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Custom(name) => name.as_str(),
            named => Self::NAMED.iter().find(|(known, _)| known == named).map_or("", |&(_, name)| name),
        }
    }
}

impl FromStr for LoadBalancingStrategy {
    type Err = ParseStrategyError;

    fn from_str(text: &str) -> Result<Self, ParseStrategyError> {
        let same =
            |name: &str| name.bytes().eq(text.bytes().map(|byte| if byte == b'-' { b'_' } else { byte }));
        match Self::NAMED.into_iter().find(|(_, name)| same(name)) {
            Some((strategy, _)) => Ok(strategy),
            None => Ok(Self::Custom(StrategyName::new(text)?)),
        }
    }
}

impl fmt::Display for LoadBalancingStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl TryFrom<String> for LoadBalancingStrategy {
    type Error = ParseStrategyError;

    fn try_from(text: String) -> Result<Self, ParseStrategyError> {
        text.parse()
    }
}

impl From<LoadBalancingStrategy> for String {
    fn from(strategy: LoadBalancingStrategy) -> Self {
        strategy.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_is_written() {
        for strategy in LoadBalancingStrategy::built_in() {
            let (underscores, dashes) = (strategy.to_string(), strategy.to_string().replace('_', "-"));
            assert_eq!(underscores.parse(), Ok(strategy.clone()));
            assert_eq!(dashes.parse(), Ok(strategy));
            assert!(!underscores.is_empty());
        }
    }
}
