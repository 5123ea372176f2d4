//! Each candidate in turn.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use crossbeam_utils::CachePadded;
use waypost_core::{
    BuildLoadBalancer, CandidateId, CandidateIndex, CandidateSet, Generator, LoadBalancer, Pool,
    SelectContext,
};

use crate::by_id::ids_of;
use crate::subsets::Subsets;

/// Chooses each candidate in turn. The pool as a whole and every subset that callers are narrowed to have turns of
/// their own: a caller who may use only two of three candidates sees them alternate, whatever others do meanwhile.
///
/// One counter for all of them would not do: two callers that alternate on an even counter would each see the same
/// candidate for ever, and tickets drawn by filtered requests leave some candidates 93 % below their share.
///
/// With more than 64 subsets in use at once, or subsets whose places collide, the rest is spread at random: still even,
/// but not in turn. A subset that is no longer asked for gives its place to a newcomer.
///
/// ```
/// use waypost_balancers::RoundRobin;
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1)])?;
/// let balancer = RoundRobin::default().build(&pool, &mut SeedSequence::new(7).generator());
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundRobin {
    /// Where turns begin. Default: at random, so that many gateways that start at once do not all begin with the
    /// first candidate.
    pub first: FirstTurn,
}

/// Where turns begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirstTurn {
    /// At a random candidate.
    #[default]
    Random,
    /// At the first candidate of the pool, for tests and examples.
    PoolOrder,
}

impl RoundRobin {
    /// Turns that begin with the first candidate of the pool.
    pub const fn in_pool_order() -> Self {
        Self { first: FirstTurn::PoolOrder }
    }
}

impl FirstTurn {
    /// The number to add to every ticket.
    pub(crate) fn offset(self, rng: &mut Generator<'_>) -> u64 {
        match self {
            // 32 bits: a start close to the end of 64 would wrap within the life of a process.
            Self::Random => rng.next_u64() >> 32,
            Self::PoolOrder => 0,
        }
    }
}

impl BuildLoadBalancer for RoundRobin {
    fn build(&self, pool: &Pool, rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(RoundRobinBalancer::starting_at(self.first.offset(rng), pool))
    }
}

/// What [`RoundRobin`] builds.
#[derive(Debug)]
pub struct RoundRobinBalancer {
    ids: Box<[CandidateId]>,
    /// Where turns begin: added to every ticket.
    first: u64,
    /// The next ticket of the pool as a whole.
    whole: CachePadded<AtomicU64>,
    /// The next tickets of subsets.
    subsets: Arc<Subsets>,
}

impl RoundRobinBalancer {
    fn starting_at(first: u64, pool: &Pool) -> Self {
        Self { ids: ids_of(pool), first, whole: CachePadded::default(), subsets: Arc::default() }
    }

    /// The candidate whose turn it is by the ticket.
    #[inline]
    fn turn(&self, set: &CandidateSet<'_>, ticket: u64) -> Option<CandidateIndex> {
        set.nth(ticket.wrapping_add(self.first).checked_rem(set.len() as u64)? as usize)
    }

    fn select_narrowed(
        &self,
        set: &CandidateSet<'_>,
        cx: &mut SelectContext<'_, '_>,
    ) -> Option<CandidateIndex> {
        let set = serving(set);
        match self.subsets.turn_of(&set) {
            Some(turn) => self.turn(&set, turn.fetch_add(1, Ordering::Relaxed)),
            None => set.nth(cx.rng.below(set.len())),
        }
    }
}

/// The members that take requests.
fn serving<'p>(set: &CandidateSet<'p>) -> CandidateSet<'p> {
    let mut serving = *set;
    serving.keep(set.pool().available());
    serving
}

impl LoadBalancer for RoundRobinBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        if set.is_whole() {
            // One modification order: n callers get n different tickets, whatever the interleaving.
            return self.turn(set, self.whole.fetch_add(1, Ordering::Relaxed));
        }
        self.select_narrowed(set, cx)
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        if set.is_whole() {
            return self.turn(set, self.whole.load(Ordering::Relaxed));
        }
        let set = serving(set);
        match self.subsets.foresee(&set) {
            Some(ticket) => self.turn(&set, ticket),
            None => set.nth(cx.rng.below(set.len())),
        }
    }

    /// Goes on with the turn of the pool as a whole; subsets go on when candidates are the same, else they begin where
    /// the whole is.
    fn carried_over(&self, pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        let whole = self.whole.load(Ordering::Relaxed);
        let mut next = Self::starting_at(self.first, pool);
        if next.ids == self.ids {
            next.whole = CachePadded::new(AtomicU64::new(whole));
            next.subsets = Arc::clone(&self.subsets);
        } else {
            next.first = self.first.wrapping_add(whole);
        }
        Some(Arc::new(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{self, subset};
    use proptest::prelude::*;
    use waypost_testkit::{SelectRig, conformance};

    fn pool_of(n: usize) -> Pool {
        test_pools::pool_of(&vec![1; n])
    }

    #[test]
    fn behaves() {
        conformance::balancer(|pool| {
            RoundRobin::default().build(pool, &mut waypost_core::SeedSequence::new(3).generator())
        });
    }

    #[test]
    fn callers_are_served_fairly() {
        conformance::fair(|pool| RoundRobinBalancer::starting_at(3, pool));
    }

    #[test]
    fn trap_18_subsets_go_on_where_they_were_when_the_pool_is_made_anew() {
        let pool = pool_of(4);
        let mut balancer: Arc<dyn LoadBalancer> = Arc::new(RoundRobinBalancer::starting_at(0, &pool));
        let (rig, set) = (SelectRig::new(0), subset(&pool, &[0, 1, 3]));
        let mut picks = Vec::new();
        for _ in 0..6 {
            picks.push(rig.select(&balancer, &set).unwrap().get());
            balancer = balancer.carried_over(&pool).unwrap();
        }
        assert_eq!(picks, [0, 1, 3, 0, 1, 3]);
    }

    #[test]
    fn rr_1_four_candidates_come_in_turn() {
        let pool = pool_of(4);
        let balancer = RoundRobinBalancer::starting_at(0, &pool);
        let rig = SelectRig::new(0);
        let picks: Vec<_> = (0..5).map(|_| rig.select(&balancer, &pool.all()).unwrap().get()).collect();
        assert_eq!(picks, [0, 1, 2, 3, 0]);
    }

    #[test]
    fn the_turn_goes_on_in_the_pool_that_takes_the_place() {
        let (pool, rig) = (pool_of(5), SelectRig::new(0));
        let mut balancer: Arc<dyn LoadBalancer> = Arc::new(RoundRobinBalancer::starting_at(3, &pool));
        let mut picks = Vec::new();
        for _ in 0..15 {
            picks.push(rig.select(&balancer, &pool.all()).unwrap().get());
            balancer = balancer.carried_over(&pool).unwrap();
        }
        assert!(picks.windows(2).all(|pair| (pair[0] + 1) % 5 == pair[1]), "{picks:?}");
    }

    #[test]
    fn rr_2_a_missing_candidate_is_skipped_without_a_gap() {
        let pool = pool_of(3);
        let balancer = RoundRobinBalancer::starting_at(0, &pool);
        let rig = SelectRig::new(0);
        let set = subset(&pool, &[0, 2]);
        let picks: Vec<_> = (0..4).map(|_| rig.select(&balancer, &set).unwrap().get()).collect();
        assert_eq!(picks, [0, 2, 0, 2]);
    }

    #[test]
    fn trap_19_two_alternating_callers_of_even_pools_see_every_candidate() {
        let pool = pool_of(4);
        let balancer = RoundRobinBalancer::starting_at(0, &pool);
        let rig = SelectRig::new(0);
        let (all, half) = (pool.all(), subset(&pool, &[0, 1]));
        let mut seen = [[0; 4]; 2];
        for _ in 0..400 {
            seen[0][rig.select(&balancer, &all).unwrap().get()] += 1;
            seen[1][rig.select(&balancer, &half).unwrap().get()] += 1;
        }
        assert_eq!(seen, [[100; 4], [200, 200, 0, 0]]);
    }

    #[test]
    fn subsets_beyond_the_table_are_spread_evenly() {
        // More subsets than places, each asked 600 times over its three members: a member's count is 200, with sigma 12
        // when the subset is spread at random; 80 is 6.9 sigma, so any of 3,000 counts strays once in 10^8 runs.
        let pool = pool_of(20);
        let balancer = RoundRobinBalancer::starting_at(0, &pool);
        let rig = SelectRig::new(9);
        for a in 0..10 {
            for b in 10..20 {
                for c in (0..10).filter(|c| *c != a) {
                    let set = subset(&pool, &[a, b, c]);
                    let mut counts = [0_u32; 20];
                    (0..600).for_each(|_| counts[rig.select(&balancer, &set).unwrap().get()] += 1);
                    for member in [a, b, c] {
                        assert!(counts[member].abs_diff(200) <= 80, "seed 9: {a} {b} {c}: {counts:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn places_of_subsets_that_are_gone_are_used_again() {
        let pool = pool_of(40);
        let balancer = RoundRobinBalancer::starting_at(0, &pool);
        let rig = SelectRig::new(0);
        // 780 subsets of a time that is over, …
        for a in 0..40 {
            for b in a + 1..40 {
                rig.select(&balancer, &subset(&pool, &[a, b]));
            }
        }
        // … and after them one that stays is served in turn again.
        let set = subset(&pool, &[3, 7, 9]);
        let picks: Vec<_> = (0..32).map(|_| rig.select(&balancer, &set).unwrap().get()).collect();
        let turn = |pick| [3, 7, 9].iter().position(|&member| member == pick).unwrap();
        assert!(picks[2..].windows(2).all(|w| (turn(w[0]) + 1) % 3 == turn(w[1])), "{picks:?}");
    }

    #[test]
    fn looking_ahead_takes_no_place() {
        let pool = pool_of(3);
        let balancer = RoundRobinBalancer::starting_at(0, &pool);
        let rig = SelectRig::new(0);
        let set = subset(&pool, &[0, 2]);
        assert_eq!(rig.peek(&balancer, &set), pool.index(0));
        assert!(!balancer.subsets.is_made());
        rig.select(&balancer, &set);
        assert_eq!(rig.peek(&balancer, &set), pool.index(2));
    }

    #[test]
    fn threads_get_different_turns() {
        let pool = pool_of(5);
        let balancer = RoundRobinBalancer::starting_at(3, &pool);
        let counts: Vec<AtomicU64> = (0..5).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let (pool, balancer, counts) = (&pool, &balancer, &counts);
                scope.spawn(move || {
                    let rig = SelectRig::new(seed);
                    for _ in 0..5_000 {
                        let index = rig.select(balancer, &pool.all()).unwrap();
                        counts[index.get()].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 4_000), "{counts:?}");
    }

    proptest! {
        /// Any interleaving of up to eight subsets: each is served exactly in turn.
        #[test]
        fn every_subset_is_served_in_turn(
            subsets in prop::collection::hash_set(prop::collection::btree_set(0_usize..70, 1..70), 1..8),
            order in prop::collection::vec(0_usize..8, 1..400),
            first: u32,
        ) {
            let pool = pool_of(70);
            let balancer = RoundRobinBalancer::starting_at(u64::from(first), &pool);
            let rig = SelectRig::new(1);
            let subsets: Vec<Vec<usize>> = subsets.into_iter().map(|s| s.into_iter().collect()).collect();
            let mut picks: Vec<Vec<usize>> = vec![Vec::new(); subsets.len()];
            for which in order.into_iter().map(|n| n % subsets.len()) {
                let set = subset(&pool, &subsets[which]);
                picks[which].push(rig.select(&balancer, &set).unwrap().get());
            }
            for (members, picks) in subsets.iter().zip(&picks) {
                let turn = |pick: &usize| members.iter().position(|member| member == pick).unwrap();
                prop_assert!(picks.windows(2).all(|w| (turn(&w[0]) + 1) % members.len() == turn(&w[1])));
            }
        }
    }
}
