//! A look-up table from hashes to candidates.

use waypost_core::{CandidateId, Pool};

use crate::stable_hash::hash;
use crate::weighted_draw::weights_of;

/// Places of the table for pools of up to [`SMALL_POOL`] candidates: a prime, so that every step visits every place.
const SMALL: usize = 65_537;
const SMALL_POOL: usize = 500;
/// Places for larger pools: a hundred per candidate keep shares within a percent.
const LARGE: usize = 655_373;

/// Seeds of the two hashes that make a candidate's order of places.
const OFFSET: u64 = 0x6d61_676c_6576_2d6f;
const SKIP: u64 = 0x6d61_676c_6576_2d73;

/// A table in which each candidate has places in proportion to its weight, to within one, and keeps nearly all of them
/// when others come or go (Maglev, Eisenbud et al., NSDI 2016; weights by skipping turns, as in Envoy).
///
/// It depends on the candidates' ids and weights, not on their order.
///
/// # Memory
///
/// 131 KB; 1.3 MB for pools of more than 500 candidates.
#[derive(Debug)]
pub(crate) struct Maglev {
    /// Places in the pool; empty when nobody takes requests.
    table: Box<[u16]>,
}

/// A candidate that fills places.
struct Filler {
    place: u16,
    weight: u32,
    /// Turns saved up, in units of weight.
    saved: u32,
    next: usize,
    skip: usize,
}

impl Maglev {
    pub(crate) fn new(pool: &Pool) -> Self {
        let size = if pool.len() <= SMALL_POOL { SMALL } else { LARGE };
        let mut fillers = fillers(pool, size);
        let Some(greatest) = fillers.iter().map(|filler| filler.weight).max() else {
            return Self { table: Box::default() };
        };
        let mut table = vec![u16::MAX; size].into_boxed_slice();
        let mut filled = 0;
        while filled < size {
            for filler in &mut fillers {
                filler.saved += filler.weight;
                if filler.saved >= greatest && filled < size {
                    filler.saved -= greatest;
                    filler.take_place(&mut table);
                    filled += 1;
                }
            }
        }
        Self { table }
    }

    /// Who has the place of a hash; further attempts look at further places, differently for each hash.
    #[inline]
    pub(crate) fn get(&self, hash: u64, attempt: u64) -> Option<usize> {
        let step = (hash >> 32) | 1;
        let place = hash.wrapping_add(attempt.wrapping_mul(step)).checked_rem(self.table.len() as u64)?;
        Some(self.table[place as usize].into())
    }
}

impl Filler {
    /// Takes the first free place in its order. There is one.
    fn take_place(&mut self, table: &mut [u16]) {
        while table[self.next] != u16::MAX {
            self.next = (self.next + self.skip) % table.len();
        }
        table[self.next] = self.place;
    }
}

/// The candidates that take requests, in the order of their ids.
fn fillers(pool: &Pool, size: usize) -> Vec<Filler> {
    let mut members: Vec<(&CandidateId, usize)> =
        pool.candidates().iter().enumerate().map(|(place, candidate)| (candidate.id(), place)).collect();
    members.sort_unstable();
    let weights = weights_of(pool);
    let filler = |(id, place): (&CandidateId, usize)| {
        let name = id.to_string();
        Filler {
            place: place as u16,
            weight: weights[place].into(),
            saved: 0,
            next: (hash(name.as_bytes(), OFFSET) % size as u64) as usize,
            skip: (hash(name.as_bytes(), SKIP) % (size as u64 - 1)) as usize + 1,
        }
    };
    members.into_iter().map(filler).filter(|filler| filler.weight > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::pool_of;

    fn counts(pool: &Pool) -> Vec<usize> {
        let mut counts = vec![0; pool.len()];
        Maglev::new(pool).table.iter().for_each(|&place| counts[usize::from(place)] += 1);
        counts
    }

    #[test]
    fn places_follow_weights() {
        let counts = counts(&pool_of(&[1, 2, 0, 5]));
        for (count, weight) in counts.iter().zip([1.0, 2.0, 0.0, 5.0]) {
            let share = *count as f64 / SMALL as f64;
            assert!((share - weight / 8.0).abs() < 0.001, "{counts:?}");
        }
    }

    #[test]
    fn shares_of_a_thousand_are_within_a_percent() {
        let counts = counts(&pool_of(&[1; 1_000]));
        assert!(counts.iter().all(|count| count.abs_diff(LARGE / 1_000) <= 1), "{:?}", counts.iter().max());
    }

    #[test]
    fn h_6_the_order_of_candidates_changes_nothing() {
        let names = ["a", "b", "c", "d"];
        let table = |order: [usize; 4]| {
            let pool = Pool::from_weights(order.map(|i| (names[i], 1 + i as u32))).unwrap();
            let owner = |&place: &u16| pool.candidates()[usize::from(place)].id().to_string();
            Maglev::new(&pool).table.iter().map(owner).collect::<Vec<_>>()
        };
        assert!(table([0, 1, 2, 3]) == table([3, 1, 0, 2]));
    }

    #[test]
    fn h_10_a_candidate_that_goes_moves_little_but_its_own() {
        let names: Vec<String> = (0..10).map(|i| format!("host-{i}")).collect();
        let (all, fewer) = (
            Pool::from_weights(names.iter().map(|name| (name, 1))).unwrap(),
            Pool::from_weights(names[..9].iter().map(|name| (name, 1))).unwrap(),
        );
        let (before, after) = (Maglev::new(&all).table, Maglev::new(&fewer).table);
        let moved =
            before.iter().zip(&after).filter(|&(&before, &after)| before != 9 && before != after).count();
        assert!(moved < SMALL / 200, "{moved} of {SMALL} moved beside those of the one that went");
    }

    #[test]
    fn nobody_has_no_places() {
        assert_eq!(Maglev::new(&pool_of(&[0, 0])).get(7, 0), None);
        assert_eq!(Maglev::new(&pool_of(&[])).get(7, 0), None);
    }
}
