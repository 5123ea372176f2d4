//! What the trait promises.

use core::time::Duration;

use std::sync::Arc;

use waypost_core::{
    CandidateSet, InFlightLease, LoadBalancer, Message, Pool, ProviderCandidate, RequestResult, ResultEvent,
    SeedSequence, Timestamp, TokenUsage, Tokens, UserId,
};

use crate::{SelectRig, equal_pool};

/// Pool sizes around every boundary of a bitset word, and the largest.
const SIZES: [usize; 10] = [0, 1, 2, 3, 8, 63, 64, 65, 1_000, 1_024];
/// Subsets tried per pool size.
const SUBSETS: u64 = 40;

pub(super) fn check<B: LoadBalancer>(make: &impl Fn(&Pool) -> B) {
    for pool in SIZES.map(equal_pool).into_iter().chain([weighted_pool()]) {
        chooses_members(&make(&pool), &pool);
        is_deterministic(&make(&pool), &make(&pool), &pool);
        peek_tells_the_truth(&make(&pool), &make(&pool), &pool);
        survives_every_result(&make(&pool), &pool);
        may_be_shared(&make(&pool), &pool);
        survives_a_change(&make(&pool), &pool);
    }
}

/// Weights from nothing to the most.
fn weighted_pool() -> Pool {
    let weights = [0_i64, 1, 1_000, 0, 7, 500, 0, 1, 999];
    Pool::from_weights(weights.iter().enumerate().map(|(i, &weight)| (format!("w{i}"), weight)))
        .expect("valid weights")
}

/// The balancer of the pool that takes another's place serves that pool.
fn survives_a_change(balancer: &dyn LoadBalancer, pool: &Pool) {
    for next in [equal_pool(3), equal_pool(70), weighted_pool()] {
        let Some(carried_over) = balancer.carried_over(&next) else { continue };
        chooses_members(&carried_over, &next);
        survives_every_result(&carried_over, &next);
    }
    chooses_members(balancer, pool);
}

/// A rig whose request has everything that a strategy may look at: a user, a conversation of some length.
pub(super) fn rig(seed: u64) -> SelectRig {
    let mut rig = SelectRig::new(seed);
    let message = |role: &str, words: &str| Message { role: role.into(), content: words.repeat(200).into() };
    rig.request =
        rig.request.messages([message("system", "be brief "), message("user", "why though ")].into());
    rig.context.user_id = Some(UserId::new(format!("user-{seed}")).expect("a valid name"));
    rig
}

/// Lets every candidate have a past: some answers, and some requests in flight.
pub(super) fn teach(balancer: &dyn LoadBalancer, pool: &Pool) -> Vec<InFlightLease<Arc<ProviderCandidate>>> {
    for (place, n) in (0..pool.len()).zip(1..) {
        let first = Duration::from_millis(100 + n * 37 % 400);
        let result = RequestResult::success(first * 3, TokenUsage::new(Tokens(500), Tokens(50)))
            .first_token_after(first);
        let index = pool.index(place).expect("a place of the pool");
        record(balancer, &ResultEvent::new(pool, index, &result, Timestamp::ORIGIN));
    }
    let some = pool.candidates().iter().step_by(3);
    some.filter_map(|candidate| InFlightLease::acquire(Arc::clone(candidate), Tokens(700))).collect()
}

/// Reports a result as a router does: to the candidate, then to the balancer.
fn record(balancer: &dyn LoadBalancer, event: &ResultEvent<'_>) {
    event.candidate().live().record(event.result, event.now);
    balancer.record_result(event);
}

fn chooses_members(balancer: &dyn LoadBalancer, pool: &Pool) {
    let rig = rig(1);
    let _busy = teach(balancer, pool);
    for (seed, set) in subsets(pool) {
        check_member(balancer, &rig, &set, seed);
    }
}

fn check_member(balancer: &dyn LoadBalancer, rig: &SelectRig, set: &CandidateSet<'_>, seed: u64) {
    if let Some(chosen) = rig.select(balancer, set) {
        assert!(set.contains(chosen), "{balancer:?} chose {chosen:?}, not in {set:?} (subset seed {seed})");
        let candidate = &set.pool()[chosen];
        assert!(
            candidate.is_available(),
            "{balancer:?} chose {candidate}, which is drained (subset seed {seed})"
        );
    }
}

fn is_deterministic(one: &dyn LoadBalancer, other: &dyn LoadBalancer, pool: &Pool) {
    let rigs = (rig(2), rig(2));
    let _busy = teach(one, pool);
    teach(other, pool).clear();
    for (seed, set) in subsets(pool) {
        let choices = (rigs.0.select(one, &set), rigs.1.select(other, &set));
        assert_eq!(choices.0, choices.1, "{one:?}: the same calls, another choice (subset seed {seed})");
    }
}

/// One balancer is peeked at before every choice, its twin is not: both must choose the same, and what was peeked.
fn peek_tells_the_truth(peeked: &dyn LoadBalancer, twin: &dyn LoadBalancer, pool: &Pool) {
    let (rig, twin_rig, peek_rig) = (rig(3), rig(3), rig(3));
    let _busy = teach(peeked, pool);
    teach(twin, pool).clear();
    for (seed, set) in subsets(pool) {
        let foreseen = peek_rig.peek(peeked, &set);
        let chosen = rig.select(peeked, &set);
        assert_eq!(
            chosen,
            twin_rig.select(twin, &set),
            "{peeked:?}: peeking changed a choice (subset seed {seed})"
        );
        assert!(
            foreseen.is_none() || foreseen == chosen,
            "{peeked:?}: peeked {foreseen:?}, chose {chosen:?} (subset seed {seed})"
        );
    }
}

fn survives_every_result(balancer: &dyn LoadBalancer, pool: &Pool) {
    let rig = rig(4);
    for result in strange_results() {
        for now in [Timestamp::ORIGIN, Timestamp::MAX, Timestamp::from_nanos(1)] {
            let Some(index) = rig.select(balancer, &pool.all()) else { continue };
            record(balancer, &ResultEvent::new(pool, index, &result, now));
        }
    }
    check_member(balancer, &rig, &pool.all(), 0);
}

fn strange_results() -> Vec<RequestResult> {
    let all = TokenUsage { prompt: Tokens::MAX, cached: Tokens::MAX, completion: Tokens::MAX };
    vec![
        RequestResult::success(Duration::ZERO, TokenUsage::default()),
        RequestResult::success(Duration::MAX, all).first_token_after(Duration::MAX),
        RequestResult::success(Duration::ZERO, all).first_token_after(Duration::MAX),
        RequestResult::failure(Duration::ZERO, "").status(0),
        RequestResult::failure(Duration::MAX, "x".repeat(10_000)).status(u16::MAX),
        RequestResult::cancelled(Duration::MAX),
    ]
}

fn may_be_shared(balancer: &dyn LoadBalancer, pool: &Pool) {
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                let rig = rig(thread);
                for (seed, set) in subsets(pool) {
                    check_member(balancer, &rig, &set, seed);
                }
            });
        }
    });
}

/// The whole pool, the empty set, every single candidate of small pools, and subsets by coin flips, with their seeds.
fn subsets(pool: &Pool) -> impl Iterator<Item = (u64, CandidateSet<'_>)> {
    (0..SUBSETS).map(move |seed| {
        let seeds = SeedSequence::new(seed);
        let mut rng = seeds.generator();
        let mut set = pool.all();
        match seed {
            0 => {}
            1 => set.clear(),
            2..10 => {
                let only = pool.index((seed as usize - 2) % pool.len().max(1));
                set.retain(|index, _| Some(index) == only);
            }
            _ => set.retain(|_, _| rng.below(3) > 0),
        }
        (seed, set)
    })
}
