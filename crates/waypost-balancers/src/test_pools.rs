//! Pools and sets that tests of strategies share.

use core::time::Duration;
use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateSet, InFlightLease, LoadBalancer, Pool, ProviderCandidate, RequestResult,
    ResultEvent, SeedSequence, Timestamp, TokenUsage, Tokens,
};
use waypost_testkit::SelectRig;

/// A pool of candidates `p0`, `p1` … with these weights.
pub(crate) fn pool_of(weights: &[i32]) -> Pool {
    let named = weights.iter().enumerate().map(|(i, &weight)| (format!("p{i}"), i64::from(weight)));
    Pool::from_weights(named).unwrap()
}

/// The members of a pool that are named by their places.
pub(crate) fn subset<'p>(pool: &'p Pool, members: &[usize]) -> CandidateSet<'p> {
    let mut set = pool.all();
    set.retain(|index, _| members.contains(&index.get()));
    set
}

/// The balancer of a pool, from a seed.
pub(crate) fn built(strategy: &dyn BuildLoadBalancer, pool: &Pool, seed: u64) -> Arc<dyn LoadBalancer> {
    strategy.build(pool, &mut SeedSequence::new(seed).generator())
}

/// Puts requests of ten tokens in flight, as many as named for each candidate.
pub(crate) fn load(pool: &Pool, loads: &[usize]) -> Vec<InFlightLease<Arc<ProviderCandidate>>> {
    let each = pool.candidates().iter().zip(loads);
    each.flat_map(|(candidate, &n)| {
        (0..n).map(|_| InFlightLease::acquire(Arc::clone(candidate), Tokens(10)).expect("room"))
    })
    .collect()
}

/// Reports a result as the router does: to the candidate, then to the balancer.
pub(crate) fn record(
    balancer: &dyn LoadBalancer,
    pool: &Pool,
    place: usize,
    result: &RequestResult,
    now: Timestamp,
) {
    let event = ResultEvent::new(pool, pool.index(place).unwrap(), result, now);
    event.candidate().live().record(result, now);
    balancer.record_result(&event);
}

/// Reports an answer whose first token came after `millis`, and its ten others within as long again.
pub(crate) fn answer(balancer: &dyn LoadBalancer, pool: &Pool, place: usize, millis: u64, now: Timestamp) {
    let tokens = TokenUsage::new(Tokens(10), Tokens(11));
    let result = RequestResult::success(Duration::from_millis(2 * millis), tokens);
    record(balancer, pool, place, &result.first_token_after(Duration::from_millis(millis)), now);
}

/// How often each candidate of the pool is chosen in `n` decisions on `set`, from seed 42.
pub(crate) fn counts(balancer: &dyn LoadBalancer, set: &CandidateSet<'_>, n: usize) -> Vec<u32> {
    counts_at(Timestamp::ORIGIN, balancer, set, n)
}

/// The same at a time.
pub(crate) fn counts_at(
    now: Timestamp,
    balancer: &dyn LoadBalancer,
    set: &CandidateSet<'_>,
    n: usize,
) -> Vec<u32> {
    let mut rig = SelectRig::new(42);
    rig.now = now;
    let mut counts = vec![0; set.pool().len()];
    (0..n).for_each(|_| counts[rig.select(balancer, set).unwrap().get()] += 1);
    counts
}
