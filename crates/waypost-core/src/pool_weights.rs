//! Weights for a part of a pool, instead of the candidates' own.

use std::sync::Arc;

use crate::{ProviderId, Weight};

/// Weights by provider that a rule gives the members of its pool. Whoever is not named has none: it takes no requests.
///
/// ```
/// use waypost_core::{Pool, PoolWeights, ProviderId, Weight};
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1), ("c", 1)])?;
/// let weights = PoolWeights::new([(ProviderId::new("a")?, Weight::try_from(3)?), (ProviderId::new("b")?, Weight::try_from(1)?)]);
/// let weighted = pool.with_weights(&weights);
/// assert_eq!(weighted.all().len(), 2);
/// assert_eq!(weighted[weighted.index_of("a").unwrap()].weight().get(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolWeights(Arc<[(ProviderId, Weight)]>);

impl PoolWeights {
    /// Weights of providers; of a provider that is there twice the first counts.
    pub fn new(weights: impl IntoIterator<Item = (ProviderId, Weight)>) -> Self {
        Self(weights.into_iter().collect())
    }

    /// The weight of a provider; zero when it is not named.
    pub fn of(&self, provider: &ProviderId) -> Weight {
        self.0.iter().find(|(known, _)| known == provider).map_or(Weight::ZERO, |&(_, weight)| weight)
    }

    /// Whether both are one list in memory: quicker than comparing them, and enough to find what was made for it.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
