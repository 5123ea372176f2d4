//! Whether a balancer keeps the contract of its trait, and how it spreads requests.

mod contract;
mod fair;
mod spread;

use waypost_core::{LoadBalancer, Pool};

use crate::equal_pool;

/// Checks everything that any balancer should do: [`contract`] and [`spread`].
///
/// `make` builds a balancer for a pool; each call must build the same.
///
/// # Panics
///
/// With what was wrong, and the seed.
pub fn balancer<B: LoadBalancer + 'static>(make: impl Fn(&Pool) -> B) {
    contract(&make);
    spread(&make);
}

/// Checks that a balancer keeps the contract of [`LoadBalancer`]: it chooses only members of the set and so nothing of
/// an empty one, and nobody whose weight is zero; [`peek`](LoadBalancer::peek) changes nothing and tells the truth; the
/// same seed and calls give the same choices; no result makes it panic; threads may share it; and what is carried over
/// to another pool keeps all this.
///
/// Choosing nothing of a set with members is allowed: a strategy may find that none will do.
///
/// # Panics
///
/// With what was wrong, and the seed.
pub fn contract<B: LoadBalancer>(make: impl Fn(&Pool) -> B) {
    contract::check(&make);
}

/// Checks that a balancer spreads requests, in a simulation of ten busy candidates ([`Fleet`](crate::Fleet)): everyone
/// gets some; a candidate that fails at once gets at most 20 %; a new one gets some within its first ten seconds and at
/// most twice its share in the first; no lease is lost and no request refused.
///
/// A strategy that sends everything to one candidate on purpose, as one by price may, keeps the [`contract`] only.
///
/// # Panics
///
/// With what was wrong, and the seed.
pub fn spread<B: LoadBalancer + 'static>(make: impl Fn(&Pool) -> B) {
    spread::check(&make);
}

/// Checks that a balancer is fair to interleaved callers: one that sees all of a pool and others that see subsets each
/// give equal candidates the same number of requests, to within one. For strategies by turn.
///
/// # Panics
///
/// With what was wrong.
pub fn fair<B: LoadBalancer>(make: impl Fn(&Pool) -> B) {
    fair::check(&make);
}

/// Checks that selecting allocates nothing once warm, for pools of 1, 64 and 1,000 candidates, whole and narrowed.
/// `count` runs what it is given and says how many allocations that made, as an allocator that counts can tell.
///
/// # Panics
///
/// When something was allocated.
pub fn allocates_nothing<B: LoadBalancer>(
    make: impl Fn(&Pool) -> B,
    count: impl Fn(&mut dyn FnMut()) -> u64,
) {
    for size in [1, 64, 1_000] {
        let pool = equal_pool(size);
        let (balancer, rig) = (make(&pool), contract::rig(5));
        let _busy = contract::teach(&balancer, &pool);
        let mut half = pool.all();
        half.retain(|index, _| index.get() % 2 == 0);
        for set in [pool.all(), half] {
            let select = |n: usize| (0..n).filter_map(|_| rig.select(&balancer, &set)).count();
            select(100);
            let allocations = count(&mut || {
                select(1_000);
            });
            assert_eq!(
                allocations,
                0,
                "{size} candidates, {} in the set, 1,000 selections: {balancer:?}",
                set.len()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Any;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use core::time::Duration;
    use waypost_core::{CandidateIndex, CandidateSet, ResultEvent, SelectContext};

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
        std::panic::catch_unwind(|| contract(make)).is_err()
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
                contract(|_| Broken::Forgetful(instances.fetch_add(1, Ordering::Relaxed)));
            }))
            .is_err()
        );
    }

    /// Sends everything to one candidate, or to the one with the least in flight whatever comes of it.
    #[derive(Debug)]
    enum Unwise {
        First,
        LeastWithoutMemory,
        StampedesOnTheLast,
    }

    impl LoadBalancer for Unwise {
        fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
            match self {
                Self::First => set.nth(0),
                Self::LeastWithoutMemory => set.iter().min_by_key(|&index| {
                    (set.pool().live(index).in_flight().requests, index.get().abs_diff(3))
                }),
                Self::StampedesOnTheLast if set.len() == 10 && cx.rng.below(3) == 0 => set.nth(9),
                Self::StampedesOnTheLast => set.nth(cx.rng.below(set.len())),
            }
        }
    }

    #[test]
    fn what_spreads_badly_is_caught() {
        spread(|_| Any);
        for unwise in [|| Unwise::First, || Unwise::LeastWithoutMemory, || Unwise::StampedesOnTheLast] {
            assert!(std::panic::catch_unwind(|| spread(|_| unwise())).is_err(), "{:?}", unwise());
        }
    }

    #[test]
    fn what_is_unfair_is_caught() {
        assert!(std::panic::catch_unwind(|| fair(|_| Any)).is_err());
        let shared = || {
            fair(|_| Broken::PeekMoves(AtomicUsize::new(0)));
        };
        assert!(std::panic::catch_unwind(shared).is_err(), "one counter for all callers");
    }

    #[test]
    fn an_allocation_is_caught() {
        allocates_nothing(
            |_| Any,
            |run| {
                run();
                0
            },
        );
        let counted = |run: &mut dyn FnMut()| {
            run();
            1
        };
        assert!(std::panic::catch_unwind(|| allocates_nothing(|_| Any, counted)).is_err());
    }
}
