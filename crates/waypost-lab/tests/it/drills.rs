//! Failover under fire: figures of issue and design, in virtual time. `cargo test -p waypost-lab drill -- --nocapture`
//! prints them.

use std::time::Duration;

use waypost::LoadBalancingStrategy;
use waypost::failover::{FailoverChain, HedgePolicy};
use waypost_lab::{Drill, DrillProvider, DrillReport};

const SEEDS: [u64; 3] = [1, 2, 3];
/// Retries saved up by default.
const BURST: u64 = 100;

/// Four providers, each of which serves 50 requests of 250 ms at once: 800 requests per second together.
fn fleet() -> Vec<DrillProvider> {
    let provider = DrillProvider {
        first_token: Duration::from_millis(100),
        sigma: 0.3,
        rest: Duration::from_millis(150),
        concurrency: 50,
    };
    vec![provider; 4]
}

fn drill(seconds: u64, load: fn(u64) -> f64, capacity: fn(usize, u64) -> f64) -> Drill {
    Drill { providers: fleet(), capacity, load, seconds, chain: FailoverChain::default() }
}

fn run(what: &str, drill: &Drill, seed: u64) -> DrillReport {
    run_by(LoadBalancingStrategy::LeastConnections, what, drill, seed)
}

#[expect(clippy::print_stdout, reason = "the figures of the drills")]
fn run_by(strategy: LoadBalancingStrategy, what: &str, drill: &Drill, seed: u64) -> DrillReport {
    let report = drill.run(seed, |router| router.strategy(strategy)).unwrap();
    println!("{what}, seed {seed}: {report}");
    assert_eq!(report.in_flight, 0);
    assert!(report.attempts <= report.requests() * 11 / 10 + BURST, "P6, promise 9");
    report
}

/// The second from which on every second is at least 99.9 % well, counted from `start`.
fn recovered(report: &DrillReport, start: usize) -> usize {
    let seconds = report.by_second.len();
    (start..seconds).find(|&from| report.success(from..seconds) >= 0.999).unwrap_or(seconds) - start
}

#[test]
fn drill_u01_u15_one_of_four_dies() {
    for seed in SEEDS {
        let drill = drill(60, |_| 200.0, |provider, second| f64::from(provider != 1 || second < 20));
        assert_eq!(run("one of four dies", &drill, seed).errors(), 0);
    }
}

#[test]
fn drill_u18_u20_everybody_fails() {
    for (seconds, seed) in [(60, 1), (600, 2)] {
        let report = run("everybody fails", &drill(seconds, |_| 100.0, |_, _| 0.0), seed);
        assert_eq!(report.errors(), report.requests());
    }
}

#[test]
fn drill_u21_outage_and_half_the_capacity() {
    for seed in SEEDS {
        let capacity = |_, second| match second {
            20..80 => 0.0,
            80.. => 0.5,
            _ => 1.0,
        };
        let report = run("outage of 60 s, back at half", &drill(140, |_| 240.0, capacity), seed);
        let after = recovered(&report, 80);
        assert!(after <= 10, "{after} s");
        assert!(report.success(90..140) >= 0.999, "no second collapse");
    }
}

#[test]
fn drill_u23_metastable_push() {
    for seed in SEEDS {
        let load = |second| if (20..50).contains(&second) { 2_400.0 } else { 640.0 };
        let report = run("3 x capacity for 30 s, then 0.8 x", &drill(90, load, |_, _| 1.0), seed);
        let after = recovered(&report, 50);
        assert!(after <= 10, "{after} s");
    }
}

#[test]
fn drill_hedging_cuts_the_tail() {
    // Median and spread of the time to first token: thefastest.ai, April 2024, as in the lab's scenarios.
    let provider = |ms, sigma| DrillProvider {
        first_token: Duration::from_millis(ms),
        sigma,
        rest: Duration::from_secs(1),
        concurrency: 10_000,
    };
    let providers = vec![provider(240, 1.03), provider(470, 1.0), provider(330, 0.76)];
    for seed in SEEDS {
        let mut drill = Drill { providers: providers.clone(), ..drill(600, |_| 50.0, |_, _| 1.0) };
        let plain = run_by(LoadBalancingStrategy::LeastLatency, "without hedges", &drill, seed);
        drill.chain = drill.chain.with_hedge(HedgePolicy::default());
        let hedged = run_by(LoadBalancingStrategy::LeastLatency, "hedged at p95", &drill, seed);
        let (before, after) = (plain.first_token(0.99), hedged.first_token(0.99));
        assert!(after.as_secs_f64() <= before.as_secs_f64() * 0.7, "{before:?} to {after:?}");
        let more =
            hedged.cost.0 as f64 / plain.cost.0 as f64 * plain.requests() as f64 / hedged.requests() as f64;
        assert!(more <= 1.05, "{more}");
    }
}
