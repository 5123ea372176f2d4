//! The balancers that choose from one pool.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use waypost_core::{BuildLoadBalancer, LoadBalancer, LoadBalancingStrategy, Pool, ResultEvent, SeedSequence};

use crate::state::Strategies;

/// A pool with a balancer for every strategy, built when first asked for: a table or a schedule for each of a dozen
/// strategies would be in memory for nothing, and learn from every result for nobody.
#[derive(Debug)]
pub(crate) struct BalancerSet {
    pool: Arc<Pool>,
    balancers: Box<[Named]>,
    /// Which of them are built, one bit each: results go to these, and reading one word tells who they are.
    built: AtomicU64,
}

/// A strategy with the pool's balancer of it.
struct Named {
    name: LoadBalancingStrategy,
    strategy: Arc<dyn BuildLoadBalancer>,
    /// Where the balancer's own randomness starts: the same whenever it is built.
    seed: u64,
    built: OnceLock<Arc<dyn LoadBalancer>>,
}

impl Named {
    #[inline]
    fn balancer(&self, pool: &Pool) -> &dyn LoadBalancer {
        &**self.built.get_or_init(|| self.strategy.build(pool, &mut SeedSequence::new(self.seed).generator()))
    }
}

impl BalancerSet {
    /// The balancers of a pool. `before` are those of the pool whose place it takes, if its strategies are the same:
    /// what they know is carried over.
    pub(crate) fn new(pool: Arc<Pool>, before: Option<&Self>, strategies: &Strategies, seed: u64) -> Self {
        let named =
            |(place, (name, strategy)): (usize, &(LoadBalancingStrategy, Arc<dyn BuildLoadBalancer>))| {
                let seed = seed.wrapping_add(place as u64);
                // What was asked for before will be asked for again: it is built now, not by a request.
                let known = before.and_then(|before| before.named(name)?.built.get()).map(|before| {
                    let new = || strategy.build(&pool, &mut SeedSequence::new(seed).generator());
                    before.carried_over(&pool).unwrap_or_else(new)
                });
                Named {
                    name: name.clone(),
                    strategy: Arc::clone(strategy),
                    seed,
                    built: known.map_or_else(OnceLock::new, OnceLock::from),
                }
            };
        let balancers = strategies.iter().enumerate().map(named).collect();
        let set = Self { pool, balancers, built: AtomicU64::new(0) };
        (0..set.balancers.len()).for_each(|place| set.note_if_built(place));
        set
    }

    fn note_if_built(&self, place: usize) {
        if self.balancers[place].built.get().is_some() {
            // Relaxed: whoever reads the bit finds the balancer through its cell, which orders the two.
            self.built.fetch_or(1 << place, Ordering::Relaxed);
        }
    }

    /// The pool that they choose from.
    pub(crate) const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    fn named(&self, strategy: &LoadBalancingStrategy) -> Option<&Named> {
        self.balancers.iter().find(|named| named.name == *strategy)
    }

    /// The balancer of a strategy, built if need be; `None` when the strategy is not registered.
    #[inline]
    pub(crate) fn balancer(&self, strategy: &LoadBalancingStrategy) -> Option<&dyn LoadBalancer> {
        let place = self.balancers.iter().position(|named| named.name == *strategy)?;
        let named = &self.balancers[place];
        if named.built.get().is_none() {
            named.balancer(&self.pool);
            self.note_if_built(place);
        }
        Some(named.balancer(&self.pool))
    }

    /// Tells the balancers that are built.
    #[inline]
    pub(crate) fn teach(&self, event: &ResultEvent<'_>) {
        let mut built = self.built.load(Ordering::Relaxed);
        while built != 0 {
            if let Some(balancer) = self.balancers[built.trailing_zeros() as usize].built.get() {
                balancer.record_result(event);
            }
            built &= built - 1;
        }
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named")
            .field("name", &self.name)
            .field("built", &self.built.get())
            .finish_non_exhaustive()
    }
}
