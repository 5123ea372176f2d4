//! Failover under fire: figures of issue and design, in virtual time. `cargo test -p waypost-lab drill -- --nocapture`
//! prints them.

use std::time::Duration;

use waypost::LoadBalancingStrategy;
use waypost::failover::{FailoverChain, HedgePolicy, RetryPolicy, Timeouts};
use waypost_lab::{Condition, Drill, DrillProvider, DrillReport};

use Condition::{BlackHole, Dead, Empty, Failing, RateLimited, Reduced, Slow, Well};

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

fn drill(seconds: u64, load: fn(u64) -> f64, condition: fn(usize, u64) -> Condition) -> Drill {
    Drill { providers: fleet(), condition, load, seconds, chain: FailoverChain::default() }
}

fn run(what: &str, drill: &Drill, seed: u64) -> DrillReport {
    run_by(LoadBalancingStrategy::LeastConnections, what, drill, seed)
}

#[expect(clippy::print_stdout, reason = "the figures of the drills")]
fn run_by(strategy: LoadBalancingStrategy, what: &str, drill: &Drill, seed: u64) -> DrillReport {
    let report = drill.run(seed, |router| router.strategy(strategy)).unwrap();
    println!("{what}, seed {seed}: {report}");
    assert_eq!(report.in_flight, 0);
    assert!(report.attempts() <= report.requests() * 11 / 10 + BURST, "P6, promise 9");
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
        let condition = |provider, second| if provider == 1 && second >= 20 { Dead } else { Well };
        let report = run("one of four dies", &drill(60, |_| 200.0, condition), seed);
        assert_eq!(report.errors(), 0);
        assert!(report.calls_of(1, 21..60) <= 10, "out within a second, then probes");
    }
}

#[test]
fn drill_u15_one_of_four_fails_and_comes_back() {
    for seed in SEEDS {
        let condition =
            |provider, second| if provider == 1 && (20..40).contains(&second) { Failing(1.0) } else { Well };
        let report = run("one of four fails for 20 s", &drill(120, |_| 200.0, condition), seed);
        assert_eq!(report.errors(), 0);
        let (share, all) = (report.calls_of(1, 100..120), report.answered(100..120).0);
        assert!(share * 5 >= all, "back to its share: {share} of {all}");
    }
}

#[test]
fn drill_u02_connections_that_are_never_made() {
    let timeouts = Timeouts { connect: Some(Duration::from_secs(1)), ..Timeouts::default() };
    let retry = RetryPolicy { timeouts, ..RetryPolicy::default() };
    for seed in SEEDS {
        let condition = |provider, second| if provider == 1 && second >= 20 { BlackHole } else { Well };
        let mut drill = drill(60, |_| 200.0, condition);
        drill.chain = drill.chain.with_retry(retry.clone());
        let report = run("one of four is a black hole", &drill, seed);
        assert_eq!(report.errors(), 0);
        let delayed = report.first_tokens.iter().flatten().filter(|time| time.as_millis() >= 1_000);
        let (delayed, longest) = (delayed.clone().count(), delayed.max().unwrap());
        assert!(delayed <= 75, "{delayed} waited");
        assert!(*longest < Duration::from_millis(1_500), "{longest:?}: a second and one attempt");
        assert!(report.calls_of(1, 22..60) <= 10, "out within 1.5 s, then probes");
    }
}

#[test]
fn drill_u11_empty_answers_attract_nobody() {
    for strategy in LoadBalancingStrategy::built_in() {
        // All requests have one key: by its hash they go to one place, empty or not.
        if strategy == LoadBalancingStrategy::ConsistentHash
            || strategy == LoadBalancingStrategy::PrefixAffinity
        {
            continue;
        }
        let condition = |provider, _| if provider == 1 { Empty } else { Well };
        let report = run_by(strategy.clone(), "one of four is empty", &drill(60, |_| 200.0, condition), 1);
        assert_eq!(report.errors(), 0, "{strategy:?}");
        let share = report.calls_of(1, 0..60) as f64 / report.requests() as f64;
        assert!(share <= 1.5 / 4.0, "{strategy:?}: {share}");
    }
}

#[test]
fn drill_u12_a_sink_of_rate_limits() {
    for seed in SEEDS {
        let condition = |provider, second| {
            if provider == 1 && second >= 20 { RateLimited(Duration::from_secs(5)) } else { Well }
        };
        let report = run("one of four answers 429 at once", &drill(80, |_| 200.0, condition), seed);
        assert_eq!((report.errors(), report.ejections[1]), (0, 0), "cooled down, not ill");
        let calls = report.calls_of(1, 22..80);
        assert!(calls <= 58, "{calls} calls in 58 s");
    }
}

#[test]
fn drill_u16_three_of_ten_fail_at_one_of_four() {
    for seed in SEEDS {
        let condition = |provider, second| if provider == 1 && second >= 20 { Failing(0.3) } else { Well };
        let report = run("one of four fails at times", &drill(80, |_| 200.0, condition), seed);
        assert!(report.success(0..80) >= 0.999);
        assert!((1..=3).contains(&report.ejections[1]), "{:?}", report.ejections);
        let out = (20..31).any(|second| report.calls_of(1, second..second + 1) <= 5);
        assert!(out, "ejected within 10 s: {:?}", &report.calls[1][20..31]);
    }
}

#[test]
fn drill_u17_one_of_four_is_ten_times_slower() {
    use LoadBalancingStrategy::{LeastConnections, LeastLatency, PeakEwma};
    for strategy in [LeastConnections, LeastLatency, PeakEwma] {
        let condition = |provider, second| if provider == 1 && second >= 20 { Slow(10.0) } else { Well };
        let report = run_by(strategy.clone(), "one of four is slow", &drill(60, |_| 200.0, condition), 1);
        let (before, after) = (report.first_token_in(0.95, 5..20), report.first_token_in(0.95, 25..60));
        assert!(after.as_secs_f64() <= before.as_secs_f64() * 1.3, "{strategy:?}: {before:?} to {after:?}");
    }
}

#[test]
fn drill_u18_u20_everybody_fails() {
    for (seconds, seed) in [(60, 1), (600, 2)] {
        let report = run("everybody fails", &drill(seconds, |_| 100.0, |_, _| Dead), seed);
        assert_eq!(report.errors(), report.requests());
    }
}

#[test]
fn drill_u18_back_within_two_seconds() {
    for seed in SEEDS {
        let condition = |_, second| if (20..50).contains(&second) { Dead } else { Well };
        let report = run("everybody is dead for 30 s", &drill(80, |_| 200.0, condition), seed);
        assert!(recovered(&report, 50) <= 2);
    }
}

#[test]
fn drill_u19_half_of_them_die_at_four_fifths_of_the_load() {
    for seed in SEEDS {
        let condition = |provider, second| if provider < 2 && second >= 20 { Dead } else { Well };
        let report = run("two of four die at 0.8 x", &drill(80, |_| 640.0, condition), seed);
        assert!(report.most_at_once.iter().all(|most| *most <= 50));
        let goodput = report.answered(25..80).1 as f64 / 55.0;
        assert!(goodput >= 0.95 * 400.0, "{goodput} requests/s of 400");
    }
}

#[test]
fn drill_u21_outage_and_half_the_capacity() {
    for seed in SEEDS {
        let condition = |_, second| match second {
            20..80 => Dead,
            80.. => Reduced(0.5),
            _ => Well,
        };
        let report = run("outage of 60 s, back at half", &drill(140, |_| 240.0, condition), seed);
        let after = recovered(&report, 80);
        assert!(after <= 10, "{after} s");
        assert!(report.success(90..140) >= 0.999, "no second collapse");
    }
}

#[test]
fn drill_u22_flapping() {
    for seed in SEEDS {
        let condition = |provider, second| if provider == 1 && second % 10 >= 5 { Dead } else { Well };
        let report = run("one of four flaps", &drill(300, |_| 200.0, condition), seed);
        assert!(report.success(0..300) >= 0.999);
        let failed = |from: usize| -> u64 {
            (from..from + 100).filter(|second| second % 10 >= 5).map(|second| report.calls[1][second]).sum()
        };
        assert!(failed(200) <= failed(0), "it is trusted less: {} to {}", failed(0), failed(200));
    }
}

#[test]
fn drill_u23_metastable_push() {
    for seed in SEEDS {
        let load = |second| if (20..50).contains(&second) { 2_400.0 } else { 640.0 };
        let report = run("3 x capacity for 30 s, then 0.8 x", &drill(90, load, |_, _| Well), seed);
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
        let mut drill = Drill { providers: providers.clone(), ..drill(600, |_| 50.0, |_, _| Well) };
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
