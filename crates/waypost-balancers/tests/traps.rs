//! Traps that need many requests, in the simulation of the testkit.

#![forbid(unsafe_code)]

use waypost_balancers::built_in;
use waypost_core::{
    CandidateIndex, CandidateSet, LoadBalancer, LoadBalancingStrategy as Strategy, Pool, SeedSequence,
    SelectContext,
};
use waypost_testkit::{Fleet, FleetOutcome, SelectRig};

/// The mean service time of the simulation, in milliseconds.
const SERVICE: f64 = 20.0;

fn run(fleet: &Fleet, strategy: &Strategy) -> FleetOutcome {
    let build = built_in(strategy).expect("built in");
    fleet.run(|pool| build.build(pool, &mut SeedSequence::new(3).generator()))
}

/// The mean time in the system, in service times.
fn response(outcome: &FleetOutcome) -> f64 {
    outcome.mean_latency.as_secs_f64() * 1e3 / SERVICE
}

/// The first of those with the fewest requests: a herd of gateways.
#[derive(Debug)]
struct FirstLeast;

impl LoadBalancer for FirstLeast {
    fn select(&self, set: &CandidateSet<'_>, _: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        set.iter().min_by_key(|&index| set.pool().live(index).in_flight().requests)
    }
}

/// Trap 1 and 29: gateways that each see only their own requests. With a tie broken by place the first candidates
/// drown: the mean response is worse than at random (10). Broken at random it stays near that of two choices.
#[test]
fn trap_1_and_29_many_gateways_do_not_herd() {
    let fleet = Fleet::new(50, 7).load(0.9).gateways(32);
    let herd = response(&fleet.run(|_| FirstLeast));
    assert!(herd > 10.0, "seed 7: the trap itself must show: {herd}");
    for strategy in
        [Strategy::LeastConnections, Strategy::PowerOfTwoChoices, Strategy::PeakEwma, Strategy::Prequal]
    {
        let mean = response(&run(&fleet, &strategy));
        assert!(mean < 8.0, "seed 7: {strategy}: {mean}");
    }
}

/// Trap 3 and 4: a candidate that fails every request after a millisecond. By turn or at random it gets its share;
/// whoever looks at load or latency must give it less than a fifth of that, where the usual forms give it two to ten
/// times its share.
#[test]
fn trap_3_and_4_a_black_hole_attracts_nobody() {
    for (n, load) in [(10, 0.5), (10, 0.9), (100, 0.5)] {
        let fleet = Fleet::new(n, 7).load(load * (n - 1) as f64 / n as f64).black_hole(3);
        for strategy in Strategy::built_in() {
            let of_fair = run(&fleet, &strategy).share(3) * n as f64;
            let by_turn = [
                Strategy::RoundRobin,
                Strategy::WeightedRoundRobin,
                Strategy::Random,
                Strategy::PriorityTiers,
            ];
            let most = if by_turn.contains(&strategy) { 1.2 } else { 0.2 };
            assert!(
                of_fair < most,
                "seed 7: {strategy}, {n} candidates, load {load}: {of_fair} of its share"
            );
        }
    }
}

/// Trap 15: zero is drained, not the mean, and nothing divides by it; also in a set that somebody put drained
/// candidates into.
#[test]
fn trap_15_drained_candidates_are_never_chosen() {
    for (weights, some) in [([0, 3, 0, 1], true), ([0, 0, 0, 0], false)] {
        let pool =
            Pool::from_weights(weights.iter().enumerate().map(|(i, &weight)| (format!("p{i}"), weight)))
                .unwrap();
        let mut set = pool.all();
        (0..4).filter_map(|place| pool.index(place)).for_each(|index| set.insert(index));
        for strategy in Strategy::built_in() {
            let build = built_in(&strategy).unwrap();
            let balancer = build.build(&pool, &mut SeedSequence::new(3).generator());
            let rig = SelectRig::new(5);
            for _ in 0..100 {
                let chosen = rig.select(&balancer, &set);
                assert_eq!(chosen.is_some(), some, "{strategy}");
                assert!(chosen.is_none_or(|index| pool[index].is_available()), "{strategy}");
            }
        }
    }
}

/// A candidate that takes three times as long, where splitting evenly would drown it.
#[test]
fn a_slow_candidate_gets_less_and_the_others_their_share() {
    let fleet = Fleet::new(10, 7).load(0.7).slower(2, 3.0);
    let at_random = response(&run(&fleet, &Strategy::Random));
    for strategy in [
        Strategy::LeastLatency,
        Strategy::PeakEwma,
        Strategy::Adaptive,
        Strategy::LeastConnections,
        Strategy::Prequal,
    ] {
        let outcome = run(&fleet, &strategy);
        let slow = outcome.share(2) * 10.0;
        assert!(slow < 0.6, "seed 7: {strategy}: the slow one gets {slow} of an even share");
        let others = (0..10).filter(|&place| place != 2).map(|place| outcome.share(place) * 10.0);
        assert!(
            others.into_iter().all(|share| (0.7..1.5).contains(&share)),
            "seed 7: {strategy}: {outcome:?}"
        );
        assert!(response(&outcome) < at_random / 5.0, "seed 7: {strategy}: {}", response(&outcome));
    }
}
