//! How one candidate is chosen.

use core::fmt;
use std::sync::Arc;

use crate::{
    CandidateIndex, CandidateMask, CandidateSet, DecisionContext, Generator, Pool, ProviderCandidate, Ramp,
    RequestResult, Timestamp,
};

/// Chooses one candidate out of a set. One balancer serves one [`Pool`] and keeps its state in the pool's order.
///
/// Implement [`select`](Self::select); `waypost_testkit::conformance` tells whether it behaves. Many threads call at
/// once, so state is atomic; nothing here may block or allocate.
///
/// ```
/// use waypost_core::{CandidateIndex, CandidateSet, LoadBalancer, SelectContext};
///
/// /// Always the first that is left.
/// #[derive(Debug)]
/// struct First;
///
/// impl LoadBalancer for First {
///     fn select(&self, set: &CandidateSet<'_>, _: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
///         set.nth(0)
///     }
/// }
/// ```
pub trait LoadBalancer: fmt::Debug + Send + Sync {
    /// Chooses a member of `set`; `None` when the set is empty or no member will do. `set` is of the pool that the
    /// balancer was built for.
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex>;

    /// What [`select`](Self::select) would choose now, changing nothing: for explanations. Default: `None`, it cannot
    /// be told.
    fn peek(&self, _set: &CandidateSet<'_>, _cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        None
    }

    /// Learns how a request at a candidate of the pool ended, whichever strategy chose it. Default: nothing to learn.
    fn record_result(&self, _event: &ResultEvent<'_>) {}

    /// The balancer of the pool that takes this one's pool's place after an update, with what this one knows: whose
    /// turn it is, what it learnt. Candidates are the same when their ids are. Default: `None`, begin anew.
    fn carried_over(&self, _pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        None
    }
}

impl<L: LoadBalancer + ?Sized> LoadBalancer for Arc<L> {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        (**self).select(set, cx)
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        (**self).peek(set, cx)
    }

    fn record_result(&self, event: &ResultEvent<'_>) {
        (**self).record_result(event);
    }

    fn carried_over(&self, pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        (**self).carried_over(pool)
    }
}

/// What a strategy may look at besides the set.
#[derive(Debug)]
#[non_exhaustive]
pub struct SelectContext<'a, 'g> {
    /// The decision's input.
    pub decision: &'a DecisionContext<'a>,
    /// The decision's randomness.
    pub rng: Generator<'g>,
    /// Who could serve the request if all were well: what was in play before health and limits narrowed it. `None` when
    /// the caller does not say; then everything that the pool has on offer.
    pub eligible: Option<&'a CandidateMask>,
    /// Slow start to weigh candidates by. A strategy that compares loads takes it and does so; of one that leaves it
    /// here, whoever asked for slow start turns down some choices of new candidates.
    pub ramp: Option<Ramp>,
    /// Too few candidates are healthy, so all are in play: slow start is no use to those who are back.
    pub panic: bool,
}

impl<'a, 'g> SelectContext<'a, 'g> {
    /// What a strategy may look at.
    pub const fn new(decision: &'a DecisionContext<'a>, rng: Generator<'g>) -> Self {
        Self { decision, rng, eligible: None, ramp: None, panic: false }
    }

    /// Says who could serve the request if all were well.
    pub const fn with_eligible(mut self, eligible: &'a CandidateMask) -> Self {
        self.eligible = Some(eligible);
        self
    }
}

/// A finished request, as its balancer and other observers see it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ResultEvent<'a> {
    /// The pool that it was chosen from.
    pub pool: &'a Pool,
    /// The candidate's place in the pool.
    pub index: CandidateIndex,
    /// How the request ended.
    pub result: &'a RequestResult,
    /// When it ended.
    pub now: Timestamp,
}

impl<'a> ResultEvent<'a> {
    /// A finished request.
    pub const fn new(
        pool: &'a Pool,
        index: CandidateIndex,
        result: &'a RequestResult,
        now: Timestamp,
    ) -> Self {
        Self { pool, index, result, now }
    }

    /// The candidate.
    pub fn candidate(&self) -> &'a ProviderCandidate {
        &self.pool[self.index]
    }
}

/// Builds a [`LoadBalancer`] for each pool: the configuration value of a strategy.
///
/// A closure from a pool to a balancer is one too:
///
/// ```
/// use std::sync::Arc;
/// use waypost_core::{BuildLoadBalancer, Generator, LoadBalancer, Pool};
///
/// fn registered(strategy: impl BuildLoadBalancer + 'static) -> Arc<dyn BuildLoadBalancer> {
///     Arc::new(strategy)
/// }
/// # #[derive(Debug)] struct First;
/// # impl LoadBalancer for First {
/// #     fn select(&self, set: &waypost_core::CandidateSet<'_>, _: &mut waypost_core::SelectContext<'_, '_>) -> Option<waypost_core::CandidateIndex> { set.nth(0) }
/// # }
/// let first = registered(|_pool: &Pool, _rng: &mut Generator<'_>| Arc::new(First) as Arc<dyn LoadBalancer>);
/// ```
pub trait BuildLoadBalancer: Send + Sync {
    /// Builds the balancer of one pool. `rng` is for what differs between processes, such as where a turn begins.
    fn build(&self, pool: &Pool, rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer>;
}

impl<F> BuildLoadBalancer for F
where
    F: Fn(&Pool, &mut Generator<'_>) -> Arc<dyn LoadBalancer> + Send + Sync,
{
    fn build(&self, pool: &Pool, rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        self(pool, rng)
    }
}
