//! Each candidate in turn, by weight.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateId, CandidateIndex, CandidateSet, Generator, LoadBalancer, Pool,
    SelectContext,
};

use crate::FirstTurn;
use crate::by_id::ids_of;
use crate::schedule::lay_out;
use crate::subsets::Subsets;
use crate::turns::Turns;
use crate::weighted_draw::{WeightedDraw, weights_of};

/// Turns of the schedule that a narrowed selection passes over before it gives up and draws at random: a microsecond.
const LOOK_AHEAD: usize = 1_024;

/// Chooses each candidate in turn, as often as its weight says and evenly spread: nginx's smooth weighted round robin,
/// exact under threads. For weights with which nginx's order strays further than one selection, another order is used
/// that does not (Pfair windows, Baruah et al. 1996).
///
/// In every window of `sum(w) / gcd(w)` selections of the pool each candidate comes exactly `w / gcd(w)` times,
/// whatever the interleaving of threads, and at every moment each is within one selection of its share. Weight zero is
/// drained.
///
/// A caller who is narrowed to a subset has turns of its own there: the pool's turns without those of others, exact
/// over every `sum(w)` selections of that subset. Filters and retries thus take nothing from the pool's own turns. With
/// more than 64 subsets in use at once, or a subset so small that a thousand turns pass without it, the rest is drawn
/// at random by weight.
///
/// A change of weights or candidates makes a new schedule; it goes on at the same part of the period, so that frequent
/// changes do not favour those who come first in it.
///
/// ```
/// use waypost_balancers::WeightedRoundRobin;
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
/// use waypost_testkit::SelectRig;
///
/// let pool = Pool::from_weights([("a", 5), ("b", 1), ("c", 1)])?;
/// let balancer = WeightedRoundRobin::in_pool_order().build(&pool, &mut SeedSequence::new(7).generator());
/// let rig = SelectRig::new(7);
/// let picks: Vec<_> = (0..7).map(|_| pool[rig.select(&balancer, &pool.all()).unwrap()].provider().as_str()).collect();
/// assert_eq!(picks, ["a", "a", "b", "a", "c", "a", "a"]);
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// One atomic addition and one look-up, whatever the number of candidates. The schedule takes two bytes per turn of the
/// period, 2 MB at the most, and usually microseconds to lay out; 0.1 to 0.2 s for 1,024 candidates whose weights are
/// around 1,000 and have no common divisor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WeightedRoundRobin {
    /// Where turns begin. Default: at random, so that many gateways that start at once do not all begin with the
    /// heaviest candidate.
    pub first: FirstTurn,
}

impl WeightedRoundRobin {
    /// Turns that begin at the start of the period.
    pub const fn in_pool_order() -> Self {
        Self { first: FirstTurn::PoolOrder }
    }
}

impl BuildLoadBalancer for WeightedRoundRobin {
    fn build(&self, pool: &Pool, rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        let ticket = self.first.offset(rng);
        Arc::new(WeightedRoundRobinBalancer::new(pool, ticket, |schedule| {
            Turns::starting_at(ticket, schedule)
        }))
    }
}

/// What [`WeightedRoundRobin`] builds.
#[derive(Debug)]
pub struct WeightedRoundRobinBalancer {
    ids: Box<[CandidateId]>,
    /// The turns of the pool as a whole.
    turns: Turns,
    /// Where the turns of subsets begin: added to each.
    first: u64,
    /// The next turns of subsets.
    subsets: Arc<Subsets>,
    draw: WeightedDraw,
}

impl WeightedRoundRobinBalancer {
    fn new(pool: &Pool, first: u64, turns: impl FnOnce(Box<[u16]>) -> Turns) -> Self {
        Self {
            ids: ids_of(pool),
            turns: turns(lay_out(&weights_of(pool))),
            first,
            subsets: Arc::default(),
            draw: WeightedDraw::by_weight(pool),
        }
    }

    /// The first turn from `turn` on that is a member's, and who that is.
    fn next_of(&self, set: &CandidateSet<'_>, turn: u64) -> Option<(u64, CandidateIndex)> {
        let ahead = self.turns.from(turn.wrapping_add(self.first)).take(LOOK_AHEAD);
        ahead.zip(turn..).find_map(|(place, turn)| {
            set.pool().index(place).filter(|&index| set.contains(index)).map(|index| (turn, index))
        })
    }

    /// The next of a subset in its own turn. A caller that loses the race looks from where the winner left off, so n
    /// callers get n different turns.
    fn take_turn(&self, set: &CandidateSet<'_>, turn: &AtomicU64) -> Option<CandidateIndex> {
        let mut seen = turn.load(Ordering::Relaxed);
        loop {
            let (at, index) = self.next_of(set, seen)?;
            // Relaxed: the turn publishes nothing but itself.
            match turn.compare_exchange_weak(seen, at + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(index),
                Err(now) => seen = now,
            }
        }
    }
}

impl LoadBalancer for WeightedRoundRobinBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        if set.is_whole() {
            return set.pool().index(self.turns.take()?);
        }
        let turn = self.subsets.turn_of(set);
        turn.and_then(|turn| self.take_turn(set, turn)).or_else(|| self.draw.draw(set, &mut cx.rng))
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        if set.is_whole() {
            return set.pool().index(self.turns.peek()?);
        }
        let turn = self.subsets.foresee(set).and_then(|turn| self.next_of(set, turn));
        turn.map(|(_, index)| index).or_else(|| self.draw.draw(set, &mut cx.rng))
    }

    /// Goes on at the same part of the period; subsets go on when candidates are the same, else they begin there too.
    fn carried_over(&self, pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        let mut next = Self::new(pool, self.first, |schedule| self.turns.carried_over(schedule));
        if next.ids == self.ids {
            next.subsets = Arc::clone(&self.subsets);
        } else {
            next.first = next.turns.ticket();
        }
        Some(Arc::new(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{built, pool_of, subset};
    use proptest::prelude::*;
    use waypost_testkit::{SelectRig, conformance};

    fn picks(balancer: &dyn LoadBalancer, set: &CandidateSet<'_>, n: usize) -> Vec<usize> {
        let rig = SelectRig::new(0);
        (0..n).map(|_| rig.select(balancer, set).unwrap().get()).collect()
    }

    fn counts(picks: &[usize], n: usize) -> Vec<usize> {
        (0..n).map(|place| picks.iter().filter(|&&pick| pick == place).count()).collect()
    }

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&WeightedRoundRobin::default(), pool, 3));
        conformance::fair(|pool| built(&WeightedRoundRobin::default(), pool, 3));
    }

    #[test]
    fn wrr_1_state_is_the_same_after_a_period() {
        let pool = pool_of(&[5, 1, 1]);
        let balancer = built(&WeightedRoundRobin::in_pool_order(), &pool, 0);
        let period = [0, 0, 1, 0, 2, 0, 0];
        assert_eq!(picks(&balancer, &pool.all(), 14), [period, period].concat());
    }

    #[test]
    fn wrr_2_two_equal_share_thirty_requests_evenly() {
        let pool = pool_of(&[1, 1]);
        let balancer = built(&WeightedRoundRobin::default(), &pool, 5);
        assert_eq!(counts(&picks(&balancer, &pool.all(), 30), 2), [15, 15]);
    }

    #[test]
    fn wrr_3_a_candidate_that_is_out_for_a_while_leaves_its_turns_to_the_other() {
        // nginx's case: every third request at the first fails and is retried at the other, the third failure takes it
        // out. Here the caller narrows the set, as health and retries do.
        let pool = pool_of(&[1, 1]);
        let balancer = built(&WeightedRoundRobin::in_pool_order(), &pool, 0);
        let (rig, other) = (SelectRig::new(0), subset(&pool, &[1]));
        let (mut served, mut at_first, mut failures) = ([0; 2], 0, 0);
        for _ in 0..30 {
            let set = if failures < 3 { pool.all() } else { other };
            let mut pick = rig.select(&balancer, &set).unwrap().get();
            if pick == 0 {
                at_first += 1;
                if at_first % 3 == 0 {
                    failures += 1;
                    pick = rig.select(&balancer, &other).unwrap().get();
                }
            }
            served[pick] += 1;
        }
        assert_eq!(served, [6, 24]);
    }

    #[test]
    fn wrr_5_fallbacks_do_not_advance_the_stream() {
        let pool = pool_of(&[8, 1, 1]);
        let balancer = built(&WeightedRoundRobin::in_pool_order(), &pool, 0);
        let undisturbed = picks(&built(&WeightedRoundRobin::in_pool_order(), &pool, 0), &pool.all(), 100);
        let fallback = subset(&pool, &[1, 2]);
        let disturbed: Vec<_> = (0..100)
            .map(|_| {
                picks(&balancer, &fallback, 4);
                picks(&balancer, &pool.all(), 1)[0]
            })
            .collect();
        assert_eq!(disturbed, undisturbed);
    }

    #[test]
    fn edf_1_equal_weights_come_in_turn() {
        let pool = pool_of(&[7, 7, 7]);
        let balancer = built(&WeightedRoundRobin::in_pool_order(), &pool, 0);
        assert_eq!(picks(&balancer, &pool.all(), 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn edf_2_and_str_1_shares_are_exact() {
        for weights in [vec![1, 1, 1], vec![1, 2, 3], vec![5, 3, 2], vec![17, 23, 37]] {
            let (pool, period) = (pool_of(&weights), weights.iter().sum::<i32>() as usize);
            let balancer = built(&WeightedRoundRobin::default(), &pool, 11);
            let counts = counts(&picks(&balancer, &pool.all(), 10 * period), weights.len());
            assert!(counts.iter().zip(&weights).all(|(&count, &weight)| count == 10 * weight as usize));
        }
    }

    #[test]
    fn str_2_zero_is_drained_and_not_the_mean() {
        let pool = pool_of(&[3, 0, 1]);
        let balancer = built(&WeightedRoundRobin::default(), &pool, 1);
        assert_eq!(counts(&picks(&balancer, &pool.all(), 40), 3), [30, 0, 10]);
        let all_zero = pool_of(&[0, 0]);
        let balancer = built(&WeightedRoundRobin::default(), &all_zero, 1);
        assert_eq!(SelectRig::new(1).select(&balancer, &all_zero.all()), None);
    }

    #[test]
    fn str_4_wild_ratios_need_no_clamp() {
        let mut weights = vec![1; 20];
        weights[0] = 81;
        let pool = pool_of(&weights);
        let balancer = built(&WeightedRoundRobin::default(), &pool, 1);
        let counts = counts(&picks(&balancer, &pool.all(), 100), 20);
        assert!(counts[0] == 81 && counts[1..].iter().all(|&count| count == 1), "{counts:?}");
    }

    #[test]
    fn str_5_and_trap_17_a_rebuild_goes_on_where_it_was() {
        let pool = pool_of(&[5, 1, 1]);
        let mut balancer = built(&WeightedRoundRobin::in_pool_order(), &pool, 0);
        let undisturbed = picks(&built(&WeightedRoundRobin::in_pool_order(), &pool, 0), &pool.all(), 70);
        let mut rebuilt = Vec::new();
        for _ in 0..70 {
            rebuilt.extend(picks(&balancer, &pool.all(), 1));
            balancer = balancer.carried_over(&pool).unwrap();
        }
        assert_eq!(rebuilt, undisturbed);
    }

    #[test]
    fn trap_18_many_gateways_do_not_begin_with_the_same_candidate() {
        // 200 starts of 5, 1, 1: the heavy one should begin 143 of them, sigma 6.4; the band of 44 is 6.8 sigma.
        let pool = pool_of(&[5, 1, 1]);
        let firsts = (0..200)
            .map(|seed| picks(&built(&WeightedRoundRobin::default(), &pool, seed), &pool.all(), 1)[0]);
        let heavy = firsts.filter(|&first| first == 0).count();
        assert!(heavy.abs_diff(143) < 44, "seeds 0 to 199: {heavy}");
    }

    #[test]
    fn trap_16_weights_do_not_come_in_bursts() {
        let pool = pool_of(&[8, 1, 1]);
        let balancer = built(&WeightedRoundRobin::default(), &pool, 2);
        let picks = picks(&balancer, &pool.all(), 100);
        assert!(picks.windows(7).all(|run| run.iter().any(|&pick| pick != 0)), "{picks:?}");
    }

    #[test]
    fn wr_1_threads_together_are_exact() {
        let pool = pool_of(&[5, 3, 2]);
        let balancer = built(&WeightedRoundRobin::default(), &pool, 7);
        let half = subset(&pool, &[0, 2]);
        let all: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        [picks(&balancer, &pool.all(), 2_500), picks(&balancer, &half, 1_400)].concat()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let whole = counts(&all.iter().flat_map(|picks| picks[..2_500].to_vec()).collect::<Vec<_>>(), 3);
        assert_eq!(whole, [5_000, 3_000, 2_000]);
        let narrowed = counts(&all.iter().flat_map(|picks| picks[2_500..].to_vec()).collect::<Vec<_>>(), 3);
        assert_eq!(narrowed, [4_000, 0, 1_600]);
    }

    #[test]
    fn a_change_of_weights_leaves_everyone_near_its_share() {
        let mut balancer = built(&WeightedRoundRobin::in_pool_order(), &pool_of(&[5, 1, 1]), 0);
        let (mut counts, mut ideal) = (vec![0.0_f64; 3], vec![0.0_f64; 3]);
        for weights in [[5, 1, 1], [5, 2, 1], [1, 2, 1], [1, 2, 9]] {
            let pool = pool_of(&weights);
            balancer = balancer.carried_over(&pool).unwrap();
            for pick in picks(&balancer, &pool.all(), 37) {
                counts[pick] += 1.0;
                for (ideal, weight) in ideal.iter_mut().zip(weights) {
                    *ideal += f64::from(weight) / f64::from(weights.iter().sum::<i32>());
                }
            }
        }
        // One selection of rounding where a schedule ends and one where the next begins, three changes and the two
        // ends: at most eight; seen are fewer than four.
        assert!(
            counts.iter().zip(&ideal).all(|(count, ideal)| (count - ideal).abs() <= 4.0),
            "{counts:?} {ideal:?}"
        );
    }

    #[test]
    fn a_subset_that_is_rare_in_the_schedule_is_served_at_random() {
        let mut weights = vec![1_000; 4];
        weights.extend([1, 1]);
        let pool = pool_of(&weights);
        let balancer = built(&WeightedRoundRobin::in_pool_order(), &pool, 0);
        let counts = counts(&picks(&balancer, &subset(&pool, &[4, 5]), 10_000), 6);
        // Half each: 5,000 with sigma 50; the band of 340 is 6.8 sigma.
        assert!(counts[4].abs_diff(5_000) < 340 && counts[4] + counts[5] == 10_000, "{counts:?}");
    }

    proptest! {
        /// Promise 3 for the pool and for any subsets, in any interleaving of them.
        #[test]
        fn every_window_is_exact_for_every_stream(
            weights in prop::collection::vec(1_i32..=12, 2..9),
            masks in prop::collection::vec(1_u32..255, 1..4),
            order in prop::collection::vec(0_usize..5, 1..300),
            seed: u64,
        ) {
            let pool = pool_of(&weights);
            let balancer = built(&WeightedRoundRobin::default(), &pool, seed);
            let rig = SelectRig::new(1);
            let mut sets: Vec<Vec<usize>> = masks
                .iter()
                .map(|mask| (0..weights.len()).filter(|place| mask & (1 << place) != 0).collect())
                .filter(|members: &Vec<usize>| !members.is_empty())
                .collect();
            sets.push((0..weights.len()).collect());
            sets.sort();
            sets.dedup();
            let mut streams = vec![Vec::new(); sets.len()];
            for which in order.into_iter().map(|n| n % sets.len()) {
                streams[which].push(rig.select(&balancer, &subset(&pool, &sets[which])).unwrap().get());
            }
            for (members, stream) in sets.iter().zip(&streams) {
                let sum: i32 = members.iter().map(|&place| weights[place]).sum();
                for window in stream.windows(sum as usize) {
                    for &place in members {
                        let count = window.iter().filter(|&&pick| pick == place).count();
                        prop_assert_eq!(count, weights[place] as usize, "{:?} of {:?}", members, weights);
                    }
                }
            }
        }
    }
}
