//! Whether an implementation keeps its trait's contract.

use core::time::Duration;

use waypost_core::{
    CandidateSet, LoadBalancer, Pool, RequestResult, ResultEvent, SeedSequence, Timestamp, TokenUsage, Tokens,
};

use crate::{SelectRig, equal_pool};

/// Pool sizes around every boundary of a bitset word, and the largest.
const SIZES: [usize; 10] = [0, 1, 2, 3, 8, 63, 64, 65, 1_000, 1_024];
/// Subsets tried per pool size.
const SUBSETS: u64 = 40;

/// Checks that a balancer keeps the contract of [`LoadBalancer`]: it chooses only members of the set and so
/// nothing of an empty one; [`peek`](LoadBalancer::peek) changes nothing and tells the truth; the same
/// seed and calls give the same choices; no result makes it panic; threads may share it.
///
/// Choosing nothing of a set with members is allowed: a strategy may find that none will do. `make` builds a balancer
/// for a pool; each call must build the same.
///
/// # Panics
///
/// With what was wrong, and the seed.
pub fn balancer<B: LoadBalancer>(make: impl Fn(&Pool) -> B) {
    for size in SIZES {
        let pool = equal_pool(size);
        chooses_members(&make(&pool), &pool);
        is_deterministic(&make(&pool), &make(&pool), &pool);
        peek_tells_the_truth(&make(&pool), &make(&pool), &pool);
        survives_every_result(&make(&pool), &pool);
        may_be_shared(&make(&pool), &pool);
    }
}

fn chooses_members(balancer: &dyn LoadBalancer, pool: &Pool) {
    let rig = SelectRig::new(1);
    for (seed, set) in subsets(pool) {
        check_member(balancer, &rig, &set, seed);
    }
}

fn check_member(balancer: &dyn LoadBalancer, rig: &SelectRig, set: &CandidateSet<'_>, seed: u64) {
    if let Some(chosen) = rig.select(balancer, set) {
        assert!(set.contains(chosen), "{balancer:?} chose {chosen:?}, not in {set:?} (subset seed {seed})");
    }
}

fn is_deterministic(one: &dyn LoadBalancer, other: &dyn LoadBalancer, pool: &Pool) {
    let rigs = (SelectRig::new(2), SelectRig::new(2));
    for (seed, set) in subsets(pool) {
        let choices = (rigs.0.select(one, &set), rigs.1.select(other, &set));
        assert_eq!(choices.0, choices.1, "{one:?}: the same calls, another choice (subset seed {seed})");
    }
}

/// One balancer is peeked at before every choice, its twin is not: both must choose the same, and what was peeked.
fn peek_tells_the_truth(peeked: &dyn LoadBalancer, twin: &dyn LoadBalancer, pool: &Pool) {
    let (rig, twin_rig, peek_rig) = (SelectRig::new(3), SelectRig::new(3), SelectRig::new(3));
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
    let rig = SelectRig::new(4);
    for result in strange_results() {
        for now in [Timestamp::ORIGIN, Timestamp::MAX, Timestamp::from_nanos(1)] {
            let Some(index) = rig.select(balancer, &pool.all()) else { continue };
            balancer.record_result(&ResultEvent::new(pool, index, &result, now));
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
                let rig = SelectRig::new(thread);
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use waypost_core::{CandidateIndex, SelectContext};

    /// Breaks one clause of the contract at a time.
    #[derive(Debug)]
    enum Broken {
        OutsideTheSet(Option<CandidateIndex>),
        PeekMoves(AtomicUsize),
        PeekLies,
        Panics,
        Forgetful(usize),
    }

    impl LoadBalancer for Broken {
        fn select(&self, set: &CandidateSet<'_>, _: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
            match self {
                Self::OutsideTheSet(index) => *index,
                Self::PeekMoves(turn) => set.nth(turn.fetch_add(1, Ordering::Relaxed) % set.len().max(1)),
                Self::PeekLies | Self::Panics => set.nth(0),
                Self::Forgetful(instance) => set.nth(instance % set.len().max(1)),
            }
        }

        fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
            match self {
                Self::PeekLies => set.nth(1),
                Self::PeekMoves(_) => self.select(set, cx),
                _ => None,
            }
        }

        fn record_result(&self, event: &ResultEvent<'_>) {
            assert!(!matches!(self, Self::Panics) || event.result.latency < Duration::MAX, "too long");
        }
    }

    fn is_caught(make: impl Fn(&Pool) -> Broken + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(|| balancer(make)).is_err()
    }

    #[test]
    fn each_breach_is_caught() {
        assert!(is_caught(|pool| Broken::OutsideTheSet(pool.index(0))));
        assert!(is_caught(|_| Broken::PeekMoves(AtomicUsize::new(0))));
        assert!(is_caught(|_| Broken::PeekLies));
        assert!(is_caught(|_| Broken::Panics));
        let instances = AtomicUsize::new(0);
        assert!(
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                balancer(|_| Broken::Forgetful(instances.fetch_add(1, Ordering::Relaxed)));
            }))
            .is_err()
        );
    }
}
