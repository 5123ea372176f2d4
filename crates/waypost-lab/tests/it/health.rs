//! Fault rows of the fault matrix, with the figures that health promises: four providers (ten for the black hole) at 50
//! requests a second each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use waypost::core::{Ratio, ResultEvent, ResultObserver, Timestamp};
use waypost::health::HealthConfig;
use waypost::{LoadBalancingStrategy, ProviderCandidate, RouterBuilder};
use waypost_lab::{
    Arrival, ArrivalProcess, Deployment, Episode, ProviderProfile, RateLimit, Report, Scenario, ServiceTime,
    Simulation, Trouble,
};

/// Requests per second and provider.
const RATE: f64 = 50.0;
const SEEDS: [u64; 3] = [1, 2, 3];

/// One finished attempt.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    at: f64,
    provider: usize,
    success: bool,
    first_token: f64,
}

#[derive(Debug, Default, Clone)]
struct Attempts(Arc<Mutex<Vec<Attempt>>>);

impl ResultObserver for Attempts {
    fn observe(&self, event: &ResultEvent<'_>) {
        let result = event.result;
        let at = event.now.since(Timestamp::ORIGIN).saturating_sub(result.latency);
        self.0.lock().unwrap().push(Attempt {
            at: at.as_secs_f64(),
            provider: event.index.get(),
            success: result.is_success(),
            first_token: result.time_to_first_token.unwrap_or(result.latency).as_secs_f64(),
        });
    }
}

/// A run: what happened, and each attempt.
struct Run {
    report: Report,
    attempts: Vec<Attempt>,
}

impl Run {
    /// Attempts at a provider that were sent between two times.
    fn sent(&self, provider: usize, from: f64, until: f64) -> usize {
        self.between(from, until).filter(|attempt| attempt.provider == provider).count()
    }

    fn between(&self, from: f64, until: f64) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(move |attempt| (from..until).contains(&attempt.at))
    }

    /// When something was told first, at or after a time.
    fn told(&self, what: &str, from: f64) -> Option<f64> {
        self.report
            .health
            .iter()
            .find(|note| note.at_s >= from && note.what.contains(what))
            .map(|note| note.at_s)
    }

    fn count(&self, what: &str) -> usize {
        self.report.health.iter().filter(|note| note.what.contains(what)).count()
    }
}

/// Providers that answer in a third of a second, in pool order.
fn fleet(n: usize, seconds: u64) -> Scenario {
    let profile = ProviderProfile {
        service: ServiceTime::Tokens {
            first_token: Duration::from_millis(100),
            sigma: 0.3,
            per_token: Duration::from_millis(1),
            stalls: 0.0,
        },
        concurrency: 10_000,
        queue: 10_000,
        rate_limit: None,
        error_rate: 0.0,
        time_to_fail: Duration::from_millis(20),
        episodes: Vec::new(),
    };
    let deployment = |i| Deployment {
        candidate: ProviderCandidate::custom(format!("p{i}"), "llama-3-70b"),
        profile: profile.clone(),
    };
    Scenario {
        name: "health",
        description: "providers alike",
        deployments: (0..n).map(deployment).collect(),
        strategy: LoadBalancingStrategy::RoundRobin,
        arrivals: ArrivalProcess::poisson(RATE * n as f64),
        requests: (RATE * n as f64) as u64 * seconds,
        retries: 1,
        tenants: Vec::new(),
    }
}

/// Fails between two times of a run of so many seconds, at a rate.
fn outage(from: f64, until: f64, seconds: u64, error_rate: f64) -> Episode {
    let part = |second: f64| second / seconds as f64;
    Episode { from: part(from), until: part(until), trouble: Trouble::Outage { error_rate } }
}

fn run(scenario: &Scenario, seed: u64) -> Run {
    run_with(scenario, seed, |builder| builder)
}

fn run_with(scenario: &Scenario, seed: u64, customize: impl Fn(RouterBuilder) -> RouterBuilder) -> Run {
    let attempts = Attempts::default();
    let with = |builder: RouterBuilder| customize(builder.observer(attempts.clone()));
    let simulation = Simulation::with_router(scenario, seed, with).unwrap();
    // To the second, so that parts of the run are too.
    let end = Duration::from_secs_f64(scenario.requests as f64 / scenario.arrivals.rate);
    let mut arrivals: Vec<_> =
        scenario.arrivals.arrivals(seed).take_while(|arrival| arrival.at < end).collect();
    arrivals.extend(arrivals.last().map(|&last| Arrival { at: end, ..last }));
    let report = simulation.run(arrivals);
    assert_eq!(report.in_flight_at_end, 0);
    let attempts = std::mem::take(&mut *attempts.0.lock().unwrap());
    Run { report, attempts }
}

#[test]
fn u01_u15_one_of_four_down_is_out_within_half_a_second_and_callers_see_nothing() {
    let mut scenario = fleet(4, 60);
    scenario.deployments[0].profile.episodes = vec![outage(10.0, 18.0, 60, 1.0)];
    for seed in SEEDS {
        let run = run(&scenario, seed);
        let out = run.told("p0/llama-3-70b: circuit open", 10.0).unwrap();
        assert!(out < 10.5, "seed {seed}: out after {:.2} s", out - 10.0);
        assert_eq!(run.report.unanswered, 0, "seed {seed}");

        let back = run.told("p0/llama-3-70b: circuit closed", 18.0).unwrap();
        assert!(back < 18.0 + 10.0 * 1.2, "seed {seed}: tried after {:.2} s", back - 18.0);
        let first_second = run.sent(0, back, back + 1.0) as f64;
        assert!(first_second <= 0.25 * RATE, "seed {seed}: {first_second} in the first second");
        // 50 a second over 10 s are 500 with sigma 22, less the turns: the band of 20 % is 4.5 sigma.
        let full = run.sent(0, back + 20.0, back + 30.0) as f64;
        assert!(
            (0.8..1.2).contains(&(full / (RATE * 10.0))),
            "seed {seed}: {full} in ten seconds after 20 s"
        );
    }
}

#[test]
fn u16_three_of_ten_failing_is_ejected_within_ten_seconds_and_does_not_flap() {
    let mut scenario = fleet(4, 70);
    scenario.deployments[0].profile.episodes = vec![outage(10.0, 70.0, 70, 0.3)];
    for seed in SEEDS {
        let run = run(&scenario, seed);
        let out = run.told("p0/llama-3-70b: ejected", 10.0).unwrap();
        assert!(out < 20.0, "seed {seed}: ejected after {:.2} s", out - 10.0);
        let times = run.count("ejected for") + run.count("circuit open");
        assert!((1..=3).contains(&times), "seed {seed}: {:#?}", run.report.health);
        // At most one in a thousand; each failed attempt has one more chance.
        assert!(run.report.unanswered * 1_000 <= run.report.requests, "seed {seed}");
        assert!(run.report.health.iter().all(|note| note.what.starts_with("p0")), "seed {seed}");
    }
}

#[test]
fn u12_a_sink_of_429_gets_less_than_one_request_a_second() {
    let mut scenario = fleet(4, 130);
    scenario.deployments[0].profile.rate_limit = Some(RateLimit { requests_per_minute: 0 });
    scenario.deployments[0].profile.time_to_fail = Duration::from_millis(1);
    let run = run(&scenario, 1);
    assert!(run.sent(0, 0.0, 130.0) <= 130, "{}", run.sent(0, 0.0, 130.0));
    assert_eq!((run.report.unanswered, run.report.health.len()), (0, 0), "neither an error nor ill-health");
}

#[test]
fn a_black_hole_gets_no_more_than_twice_its_share_with_any_balancer() {
    let n = 10;
    let mut scenario = fleet(n, 20);
    scenario.deployments[0].profile.error_rate = 1.0;
    scenario.deployments[0].profile.time_to_fail = Duration::from_millis(1);
    for strategy in LoadBalancingStrategy::built_in() {
        scenario.strategy = strategy.clone();
        let run = run(&scenario, 1);
        let (sunk, all) = (run.sent(0, 0.0, 10.0), run.between(0.0, 10.0).count());
        assert!(sunk * n <= 2 * all, "{strategy}: {sunk} of {all} in one window");
        assert_eq!(run.report.unanswered, 0, "{strategy}");
    }
}

#[test]
fn u17_a_brown_out_raises_the_95th_percentile_by_less_than_a_third_with_strategies_that_look_at_latency() {
    let mut scenario = fleet(4, 60);
    let trouble = Trouble::BrownOut { slowdown: 10.0 };
    scenario.deployments[0].profile.episodes = vec![Episode { from: 0.5, until: 1.0, trouble }];
    let p95 = |run: &Run, from, until| {
        let mut times: Vec<f64> = run.between(from, until).map(|attempt| attempt.first_token).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() * 95 / 100]
    };
    for strategy in [LoadBalancingStrategy::LeastLatency, LoadBalancingStrategy::PeakEwma] {
        scenario.strategy = strategy.clone();
        let run = run(&scenario, 1);
        let (before, after) = (p95(&run, 10.0, 30.0), p95(&run, 35.0, 59.0));
        assert!(after <= 1.3 * before, "{strategy}: {before:.3} s, then {after:.3} s");
    }
    scenario.strategy = LoadBalancingStrategy::RoundRobin;
    let run = run(&scenario, 1);
    assert!(
        p95(&run, 35.0, 59.0) > 1.3 * p95(&run, 10.0, 30.0),
        "turns do not look at latency, as documented"
    );
}

#[test]
fn u18_all_down_is_panic_and_over_within_two_seconds_of_the_first_recovery() {
    let mut scenario = fleet(4, 90);
    let returns = [50.0, 51.0, 51.0, 51.0];
    for (deployment, back) in scenario.deployments.iter_mut().zip(returns) {
        deployment.profile.episodes = vec![outage(20.0, back, 90, 1.0)];
    }
    for seed in SEEDS {
        let run = run(&scenario, seed);
        let panic = run.told("panic, ", 20.0).unwrap();
        assert!(panic < 20.5, "seed {seed}: {panic}");
        let first = run.between(50.0, 90.0).find(|attempt| attempt.success).unwrap();
        assert!(first.at < 50.1, "seed {seed}: the first answer after {:.2} s", first.at - 50.0);
        let over = run.told("panic is over", 50.0).unwrap();
        assert!(over < 52.0, "seed {seed}: panic over after {:.2} s", over - 50.0);
        assert!(
            run.between(52.0, 90.0).all(|attempt| attempt.success),
            "seed {seed}: nothing fails after that"
        );
    }
}

#[test]
fn trap_10_a_shared_outage_does_not_eject_everybody() {
    let mut scenario = fleet(4, 60);
    for deployment in &mut scenario.deployments {
        deployment.profile.episodes = vec![outage(20.0, 40.0, 60, 0.3)];
    }
    for seed in SEEDS {
        let run = run(&scenario, seed);
        let last_out = |from: f64| (0..4).filter(|&p| run.sent(p, from, from + 5.0) > 0).count();
        assert!(
            (20..55).all(|second| last_out(f64::from(second)) >= 2),
            "seed {seed}: {:#?}",
            run.report.health
        );
        assert_eq!(run.count("ejected"), 0, "seed {seed}: what all do is nobody's fault");
    }
}

#[test]
fn u22_flapping_makes_the_time_out_grow() {
    let mut scenario = fleet(4, 120);
    // Down 5 s, up 5 s, from second 10 on.
    let flaps = (1..11).map(|n| outage(f64::from(n) * 10.0, f64::from(n) * 10.0 + 5.0, 120, 1.0));
    scenario.deployments[0].profile.episodes = flaps.collect();
    for seed in SEEDS {
        let run = run(&scenario, seed);
        assert!(run.report.unanswered * 1_000 <= run.report.requests, "seed {seed}");
        let seconds = |what: &str| what.split(" for ").nth(1)?.split(' ').next()?.parse::<f64>().ok();
        let times: Vec<_> = run.report.health.iter().filter_map(|note| seconds(&note.what)).collect();
        assert!(times.windows(2).all(|pair| pair[1] > pair[0] * 1.3), "seed {seed}: {times:?}");
        assert!(times.len() <= 6 && times.last() > Some(&20.0), "seed {seed}: {times:?}");
        // While it is out, nothing is sent there; each time it is tried once.
        assert_eq!(
            run.count("half-open"),
            run.count("circuit closed") + run.count("a try failed"),
            "seed {seed}"
        );
    }
}

#[test]
fn trap_8_callers_that_try_again_do_not_multiply_what_a_dead_fleet_gets() {
    let mut scenario = fleet(4, 100);
    for deployment in &mut scenario.deployments {
        deployment.profile.episodes = vec![outage(20.0, 80.0, 100, 1.0)];
    }
    // Callers that are told to go away instead of panic.
    let health = HealthConfig { panic_threshold: Ratio::ZERO, ..HealthConfig::default() };
    let refusing = run_with(&scenario, 1, |router| router.health(health.clone()));
    let (attempts, requests) = (refusing.between(21.0, 80.0).count(), 59.0 * 4.0 * RATE);
    assert!((attempts as f64) < 0.01 * requests, "{attempts} attempts for {requests} requests");
    assert!(refusing.report.refused_by_kind.contains_key("all_providers_unhealthy"));
    // Panic, the default, tries: each request as often as its caller does.
    let run = run(&scenario, 1);
    let attempts = run.between(21.0, 79.0).count() as f64 / (58.0 * 4.0 * RATE);
    assert!((1.9..=2.05).contains(&attempts), "{attempts} attempts per request");
}

#[test]
fn trap_9_after_an_overload_the_fleet_is_back_within_thirty_seconds() {
    // Sixteen at a time for 100 ms each: 160 a second and provider, 640 together; as many again may wait.
    let mut scenario = fleet(4, 80);
    for deployment in &mut scenario.deployments {
        deployment.profile.service = ServiceTime::Exponential { mean: Duration::from_millis(100) };
        (deployment.profile.concurrency, deployment.profile.queue) = (16, 16);
    }
    for strategy in [LoadBalancingStrategy::RoundRobin, LoadBalancingStrategy::LeastConnections] {
        scenario.strategy = strategy.clone();
        let attempts = Attempts::default();
        let observed = |builder: RouterBuilder| builder.observer(attempts.clone());
        let simulation = Simulation::with_router(&scenario, 1, observed).unwrap();
        // 70 % of that for 20 s, 130 % for 10 s, 70 % again.
        let phases = [(0.7, 0, 20), (1.3, 20, 30), (0.7, 30, 80)];
        let arrivals = phases.into_iter().flat_map(|(load, from, until)| {
            let (from, until) = (Duration::from_secs(from), Duration::from_secs(until));
            let poisson = ArrivalProcess::poisson(load * 640.0).arrivals(7);
            let shifted = poisson.map(move |arrival| Arrival { at: arrival.at + from, ..arrival });
            shifted.take_while(move |arrival| arrival.at < until)
        });
        let report = simulation.run(arrivals);
        let run = Run { report, attempts: std::mem::take(&mut *attempts.0.lock().unwrap()) };
        let failed = |from, until| {
            let failed = run.between(from, until).filter(|attempt| !attempt.success).count();
            failed as f64 / run.between(from, until).count() as f64
        };
        assert!(failed(22.0, 30.0) > 0.05, "{strategy}: the pulse overloads, {}", failed(22.0, 30.0));
        assert!(failed(60.0, 80.0) < 0.001, "{strategy}: {} thirty seconds later", failed(60.0, 80.0));
    }
}
