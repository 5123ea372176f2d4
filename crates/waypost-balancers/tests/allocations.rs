//! No strategy allocates while it selects.

#![forbid(unsafe_code)]

use waypost_balancers::{
    ConsistentHash, HashAlgorithm, LeastConnections, Prequal, Probes, Random, RoundRobin, SlowStart, built_in,
};
use waypost_core::{BuildLoadBalancer, LoadBalancingStrategy, SeedSequence};
use waypost_testkit::conformance;

fn check(strategy: &dyn BuildLoadBalancer) {
    conformance::allocates_nothing(
        |pool| strategy.build(pool, &mut SeedSequence::new(1).generator()),
        |run| allocation_counter::measure(run).count_total,
    );
}

#[test]
fn every_built_in_strategy() {
    LoadBalancingStrategy::built_in().for_each(|name| check(&*built_in(&name).unwrap()));
}

#[test]
fn every_other_setting() {
    check(&Random::even());
    check(&SlowStart::over(RoundRobin::default()));
    check(&SlowStart::over(LeastConnections::default()));
    check(&Prequal::with_probes(&Probes::default()));
    check(&ConsistentHash { algorithm: HashAlgorithm::Rendezvous, ..ConsistentHash::default() });
}
