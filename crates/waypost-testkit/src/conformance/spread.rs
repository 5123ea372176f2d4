//! How requests are spread.

use core::time::Duration;

use waypost_core::{LoadBalancer, Pool};

use crate::Fleet;

const CANDIDATES: usize = 10;
const SEED: u64 = 7;
/// The most of all requests that a candidate may get which fails at once: twice its share, what two choices give it.
const BLACK_HOLE: f64 = 0.2;

pub(super) fn check<B: LoadBalancer + 'static>(make: &impl Fn(&Pool) -> B) {
    serves_everyone(make);
    bounds_a_black_hole(make);
    welcomes_a_newcomer(make);
}

fn serves_everyone<B: LoadBalancer + 'static>(make: &impl Fn(&Pool) -> B) {
    let outcome = Fleet::new(CANDIDATES, SEED).run(make);
    assert!(outcome.chosen.iter().all(|&chosen| chosen > 0), "somebody starves (seed {SEED}): {outcome:?}");
    assert_eq!(outcome.refused, 0, "requests were refused (seed {SEED})");
    assert_eq!(outcome.in_flight_at_end, 0, "a lease was lost (seed {SEED})");
}

fn bounds_a_black_hole<B: LoadBalancer + 'static>(make: &impl Fn(&Pool) -> B) {
    let outcome = Fleet::new(CANDIDATES, SEED).load(0.7).black_hole(3).run(make);
    let share = outcome.share(3);
    assert!(share <= BLACK_HOLE, "a black hole gets {share:.2} of all requests (seed {SEED}): {outcome:?}");
}

/// At a load of 0.9 a candidate's share of a second is 45 requests with a standard deviation of 6.7: twice that is far
/// beyond chance, and none in ten seconds as well.
fn welcomes_a_newcomer<B: LoadBalancer + 'static>(make: &impl Fn(&Pool) -> B) {
    let outcome = Fleet::new(CANDIDATES, SEED).load(0.9).last_joins_after(Duration::from_secs(10)).run(make);
    let (first, rest) = (outcome.first_second, outcome.chosen[CANDIDATES - 1]);
    assert!(first <= 90, "a newcomer gets {first} requests in its first second, 45 are fair (seed {SEED})");
    assert!(rest > 0, "a newcomer starves (seed {SEED})");
}
