//! The balancers of a pool under weights that rules give it.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use waypost_core::{Pool, PoolWeights, ResultEvent, SnapshotCell};

use crate::balancer_set::BalancerSet;
use crate::state::Strategies;

/// The most weightings of one pool that have balancers; the oldest gives way to another. Those of one version of the
/// rules are half as many, and those that no rule names any more are forgotten with the next version: the rest is for
/// requests that were decided by the version before.
const MAX_VIEWS: usize = 2 * waypost_rules::MAX_WEIGHTINGS;

/// The balancers of a pool under weights of rules, made when a rule first asks for them.
#[derive(Debug, Default)]
pub(crate) struct WeightedViews(OnceLock<SnapshotCell<Vec<View>>>);

#[derive(Debug, Clone)]
struct View {
    weights: PoolWeights,
    balancers: Arc<BalancerSet>,
}

impl WeightedViews {
    /// The views of a pool that takes the place of another with these views: what their balancers know is carried over.
    pub(crate) fn carried_over(&self, pool: &Pool, strategies: &Strategies, seed: u64) -> Self {
        let Some(views) = self.0.get() else { return Self::default() };
        let views = views.load();
        let carried = |view: &View| View::new(&view.weights, pool, Some(&view.balancers), strategies, seed);
        Self(OnceLock::from(SnapshotCell::new(views.iter().map(carried).collect())))
    }

    /// Forgets all weightings but these.
    pub(crate) fn keep(&self, named: &[&PoolWeights]) {
        let Some(views) = self.0.get() else { return };
        let in_use = |view: &&View| named.iter().any(|&weights| *weights == view.weights);
        if !views.load().iter().all(|view| in_use(&view)) {
            let kept = |current: &Arc<Vec<View>>| -> Result<Vec<View>, Infallible> {
                Ok(current.iter().filter(in_use).cloned().collect())
            };
            let Ok(_) = views.update(kept);
        }
    }

    /// The balancers of a pool under these weights, if they were made.
    pub(crate) fn known(&self, weights: &PoolWeights) -> Option<Arc<BalancerSet>> {
        find(&self.0.get()?.load(), weights)
    }

    /// Balancers of a pool under these weights that nobody keeps.
    pub(crate) fn preview(
        weights: &PoolWeights,
        pool: &Pool,
        strategies: &Strategies,
        seed: u64,
    ) -> Arc<BalancerSet> {
        View::new(weights, pool, None, strategies, seed).balancers
    }

    /// The balancers of a pool under these weights.
    pub(crate) fn get(
        &self,
        weights: &PoolWeights,
        pool: &Pool,
        strategies: &Strategies,
        seed: u64,
    ) -> Arc<BalancerSet> {
        let views = self.0.get_or_init(|| SnapshotCell::new(Vec::new()));
        if let Some(known) = find(&views.load(), weights) {
            return known;
        }
        let add = |current: &Arc<Vec<View>>| -> Result<Vec<View>, Infallible> {
            let mut next = Vec::clone(current);
            if find(&next, weights).is_none() {
                next.drain(..(next.len() + 1).saturating_sub(MAX_VIEWS));
                next.push(View::new(weights, pool, None, strategies, seed));
            }
            Ok(next)
        };
        let Ok(views) = views.update(add);
        find(&views, weights).unwrap_or_else(|| unreachable!("a view that was not there was added"))
    }

    /// Tells the balancers of all views.
    #[inline]
    pub(crate) fn teach(&self, event: &ResultEvent<'_>) {
        let Some(views) = self.0.get() else { return };
        for View { balancers, .. } in views.load().iter() {
            balancers.teach(&ResultEvent::new(balancers.pool(), event.index, event.result, event.now));
        }
    }
}

impl View {
    fn new(
        weights: &PoolWeights,
        pool: &Pool,
        before: Option<&BalancerSet>,
        strategies: &Strategies,
        seed: u64,
    ) -> Self {
        let pool = Arc::new(pool.with_weights(weights));
        let seed = seed ^ hash(weights);
        let balancers = Arc::new(BalancerSet::new(pool, before, strategies, seed));
        Self { weights: weights.clone(), balancers }
    }
}

/// The same list in memory first: rules that were compiled anew have equal lists elsewhere.
fn find(views: &[View], weights: &PoolWeights) -> Option<Arc<BalancerSet>> {
    let same = views.iter().find(|view| view.weights.is_same(weights));
    let equal = || views.iter().find(|view| view.weights == *weights);
    same.or_else(equal).map(|view| Arc::clone(&view.balancers))
}

/// Tells the seeds of views apart, by what they are and not by which was asked for first.
fn hash(weights: &PoolWeights) -> u64 {
    let mut hasher = DefaultHasher::new();
    weights.hash(&mut hasher);
    hasher.finish()
}
