//! Whether interleaved callers each get their turns.

use waypost_core::{CandidateSet, LoadBalancer, Pool};

use crate::{SelectRig, equal_pool};

const CANDIDATES: usize = 12;
/// Rounds in which every caller selects as often as it sees candidates.
const ROUNDS: usize = 50;

pub(super) fn check<B: LoadBalancer>(make: &impl Fn(&Pool) -> B) {
    let pool = equal_pool(CANDIDATES);
    let (balancer, rig) = (make(&pool), SelectRig::new(1));
    let callers = callers(&pool);
    let mut counts = vec![[0_usize; CANDIDATES]; callers.len()];
    for turn in 0..ROUNDS * CANDIDATES {
        for (caller, set) in callers.iter().enumerate().filter(|(_, set)| turn < ROUNDS * set.len()) {
            let chosen = rig.select(&balancer, set).expect("a member of the set");
            counts[caller][chosen.get()] += 1;
        }
    }
    for (set, counts) in callers.iter().zip(&counts) {
        for index in set.iter() {
            let count = counts[index.get()];
            assert!(
                count.abs_diff(ROUNDS) <= 1,
                "{set:?}: {index:?} got {count} of {ROUNDS} turns: {balancer:?}"
            );
        }
    }
}

/// The whole pool, its halves, an even third, and all but one.
fn callers(pool: &Pool) -> [CandidateSet<'_>; 5] {
    let keep = |wanted: fn(usize) -> bool| {
        let mut set = pool.all();
        set.retain(|index, _| wanted(index.get()));
        set
    };
    [pool.all(), keep(|i| i < 6), keep(|i| i >= 6), keep(|i| i % 3 == 0), keep(|i| i != 4)]
}
