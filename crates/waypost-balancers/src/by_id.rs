//! Where the candidates of one pool are in another.

use std::collections::HashMap;

use waypost_core::{CandidateId, Pool};

/// Calls `each` with the places of every candidate that both pools have: in `from`, in `to`.
pub(crate) fn for_each_in_both(from: &[CandidateId], to: &Pool, mut each: impl FnMut(usize, usize)) {
    let places: HashMap<&CandidateId, usize> =
        from.iter().enumerate().map(|(place, id)| (id, place)).collect();
    for (new, candidate) in to.candidates().iter().enumerate() {
        if let Some(&old) = places.get(candidate.id()) {
            each(old, new);
        }
    }
}

/// The ids of a pool's candidates, in order.
pub(crate) fn ids_of(pool: &Pool) -> Box<[CandidateId]> {
    pool.candidates().iter().map(|candidate| candidate.id().clone()).collect()
}
