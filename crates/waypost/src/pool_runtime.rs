//! A pool with the balancers that choose from it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use waypost_core::{
    BuildLoadBalancer, CandidateIndex, InFlightLease, LiveSlot, LoadBalancer, LoadBalancingStrategy, Pool,
    ProviderCandidate, ResultEvent, SeedSequence,
};
use waypost_health::{Admission, PoolHealth};

use crate::state::{Shared, Strategies};

/// What a selection keeps alive until it ends: the pool, its balancers, and what every pool of the router shares. It
/// outlives the snapshot that it was selected from.
#[derive(Debug)]
pub(crate) struct PoolRuntime {
    pub(crate) pool: Arc<Pool>,
    pub(crate) health: PoolHealth,
    pub(crate) shared: Arc<Shared>,
    balancers: Box<[Named]>,
    /// Which of them are built, one bit each: results go to these, and reading one word tells who they are.
    built: AtomicU64,
    /// Whether another pool has taken this one's place.
    replaced: AtomicBool,
}

/// A strategy with the pool's balancer of it, which is built when first asked for: a table or a schedule for each of a
/// dozen strategies would be in memory for nothing, and learn from every result for nobody.
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

impl PoolRuntime {
    /// The runtime of a pool. `before` is that of the pool whose place it takes, if its strategies are the same: what
    /// its balancers know is carried over.
    pub(crate) fn new(
        pool: Arc<Pool>,
        before: Option<&Self>,
        strategies: &Strategies,
        shared: &Arc<Shared>,
        seed: u64,
    ) -> Self {
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
        let health = shared.health.attach(&pool, shared.clock.now());
        let runtime = Self {
            pool,
            health,
            shared: Arc::clone(shared),
            balancers,
            built: AtomicU64::new(0),
            replaced: AtomicBool::new(false),
        };
        (0..runtime.balancers.len()).for_each(|place| runtime.note_if_built(place));
        runtime
    }

    fn note_if_built(&self, place: usize) {
        if self.balancers[place].built.get().is_some() {
            // Relaxed: whoever reads the bit finds the balancer through its cell, which orders the two.
            self.built.fetch_or(1 << place, Ordering::Relaxed);
        }
    }

    #[inline]
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

    /// Builds the balancers of strategies that will be asked for.
    pub(crate) fn prepare<'a>(&self, strategies: impl Iterator<Item = &'a LoadBalancingStrategy>) {
        for strategy in strategies {
            self.balancer(strategy);
        }
    }

    /// Tells everyone who learns from results: the candidate, the pool, the balancers, the observers.
    pub(crate) fn record(&self, event: &ResultEvent<'_>) {
        event.candidate().live().record(event.result, event.now);
        if self.replaced.load(Ordering::Relaxed) {
            self.teach_successor(event);
        } else {
            self.teach(event);
        }
        for observer in &self.shared.observers {
            observer.observe(event);
        }
    }

    /// Says that another pool takes this one's place: from now on it learns from the results of requests that were
    /// chosen from this one.
    pub(crate) fn replace(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// Tells the pool that is in this one's place now, if it still has the candidate.
    fn teach_successor(&self, event: &ResultEvent<'_>) {
        let Some(home) = self.shared.home.get().and_then(Weak::upgrade) else { return };
        let state = home.load();
        let Some(successor) = state.runtime_of(self.pool.model()) else { return };
        let id = event.candidate().id();
        let place = successor.pool.candidates().iter().position(|candidate| candidate.id() == id);
        if let Some(index) = place.and_then(|place| successor.pool.index(place)) {
            successor.teach(&ResultEvent::new(&successor.pool, index, event.result, event.now));
        }
    }

    #[inline]
    fn teach(&self, event: &ResultEvent<'_>) {
        self.pool.publish_latency(event.index, event.now);
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

/// The candidate that was selected, kept alive by its pool.
#[derive(Debug)]
pub(crate) struct Winner {
    pub(crate) runtime: Arc<PoolRuntime>,
    pub(crate) index: CandidateIndex,
}

impl Winner {
    pub(crate) fn candidate(&self) -> &ProviderCandidate {
        &self.runtime.pool[self.index]
    }
}

/// A request on its way: in flight, and admitted.
pub(crate) type Lease = InFlightLease<Admission<Winner>>;

impl AsRef<PoolHealth> for Winner {
    fn as_ref(&self) -> &PoolHealth {
        &self.runtime.health
    }
}

impl AsRef<LiveSlot> for Winner {
    fn as_ref(&self) -> &LiveSlot {
        self.candidate().live()
    }
}
