//! Before anything is claimed with the simulator, it must agree with queueing theory: 100 servers with exponential
//! service of mean 1 s, Poisson arrivals at 90 per second (load 0.9).
//!
//! Power of these tests. Over 16 other seeds of a million jobs each, the mean response of random splitting was 9.93
//! with standard deviation 0.21, of two choices 2.647 with 0.020, of the shortest queue 1.067 with 0.004. The bands
//! below are 8 % for random splitting (3.8 sigma), 3 % for the others (3.9 sigma and 8 sigma): a server that is a tenth
//! too slow brings the load to 0.99 and with it the means to 100, 5.4 and well above 1.2, far outside.

use std::time::Duration;

use waypost::health::HealthConfig;
use waypost::{LoadBalancingStrategy, ProviderCandidate};
use waypost_lab::{ArrivalProcess, Deployment, ProviderProfile, Report, Scenario, ServiceTime, Simulation};

const SERVERS: usize = 100;
const LOAD: f64 = 0.9;
const JOBS: usize = 1_000_000;
const SEED: u64 = 20_261_123;

fn servers() -> Scenario {
    let profile = ProviderProfile {
        service: ServiceTime::Exponential { mean: Duration::from_secs(1) },
        concurrency: 1,
        queue: u32::MAX,
        rate_limit: None,
        error_rate: 0.0,
        time_to_fail: Duration::ZERO,
        episodes: Vec::new(),
    };
    let deployment = |i| Deployment {
        candidate: ProviderCandidate::custom(format!("server-{i}"), "llama-3-70b"),
        profile: profile.clone(),
    };
    Scenario {
        name: "M/M/1",
        description: "servers in parallel",
        deployments: (0..SERVERS).map(deployment).collect(),
        strategy: LoadBalancingStrategy::Random,
        arrivals: ArrivalProcess::poisson(LOAD * SERVERS as f64),
        requests: JOBS as u64,
        retries: 0,
        tenants: Vec::new(),
    }
}

fn run(strategy: LoadBalancingStrategy) -> Report {
    let scenario = Scenario { strategy, ..servers() };
    // Theory knows no health: at this load servers are slow for minutes.
    let simulation =
        Simulation::with_router(&scenario, SEED, |router| router.health(HealthConfig::off())).unwrap();
    simulation.run(scenario.arrivals.arrivals(SEED).take(JOBS))
}

fn check(report: &Report, theory: f64, tolerance: f64) {
    let mean = report.total_time.mean;
    assert!(
        (mean / theory - 1.0).abs() < tolerance,
        "seed {SEED}: mean response {mean}, theory says {theory}"
    );
    check_littles_law(report);
}

/// Requests in the system at a time are the arrival rate times the time in the system, at every server.
fn check_littles_law(report: &Report) {
    let (mut by_area, mut by_rate) = (0.0, 0.0);
    for server in &report.providers {
        by_area += server.mean_in_system;
        by_rate += server.requests as f64 / report.duration_s * server.total_time.mean;
    }
    assert!(
        (by_area / by_rate - 1.0).abs() < 0.01,
        "seed {SEED}: {by_area} in the system, {by_rate} by rate"
    );
}

#[test]
fn random_splitting_is_one_over_one_minus_load() {
    check(&run(LoadBalancingStrategy::Random), 1.0 / (1.0 - LOAD), 0.08);
}

/// Mitzenmacher's fixed point is 2.614 for infinitely many servers; with 100 it is 2.63.
#[test]
fn two_choices_reach_the_fixed_point() {
    check(&run(LoadBalancingStrategy::PowerOfTwoChoices), 2.63, 0.03);
}

#[test]
fn the_shortest_queue_hardly_waits() {
    check(&run(LoadBalancingStrategy::LeastConnections), 1.06, 0.03);
}

/// The work that arrives is the work that is done: a server is busy for its load.
#[test]
fn utilization_is_the_load() {
    let mut scenario = servers();
    scenario.arrivals = ArrivalProcess::poisson(0.3 * SERVERS as f64);
    let simulation = Simulation::new(&scenario, SEED).unwrap();
    let report = simulation.run(scenario.arrivals.arrivals(SEED).take(JOBS));
    // M/M/1: load / (1 - load) in the system, 0.4286; over 16 other seeds 0.4281 with standard deviation 0.0009, so the
    // band of 1 % is 4.8 sigma.
    let in_system: f64 =
        report.providers.iter().map(|server| server.mean_in_system).sum::<f64>() / SERVERS as f64;
    assert!((in_system / (0.3 / 0.7) - 1.0).abs() < 0.01, "seed {SEED}: {in_system}");
}
