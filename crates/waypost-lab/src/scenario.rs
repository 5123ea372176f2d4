//! Fleets to simulate.

use std::time::Duration;

use waypost::core::CandidateBuilder;
use waypost::{LoadBalancingStrategy, ProviderCandidate};

use crate::{Arrival, ArrivalProcess, Episode, ProviderProfile, RateLimit, ServiceTime, Trouble};

/// A fleet, its strategy and its arrivals.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The name.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub description: &'static str,
    /// The deployments of one model.
    pub deployments: Vec<Deployment>,
    /// The strategy.
    pub strategy: LoadBalancingStrategy,
    /// The arrivals, when no trace is at hand.
    pub arrivals: ArrivalProcess,
    /// How many requests, when nobody says.
    pub requests: u64,
    /// How often a caller tries again, at another provider, when a request fails.
    pub retries: u32,
    /// Whose requests some of the arrivals are; the rest are nobody's.
    pub tenants: Vec<TenantProfile>,
}

/// A tenant that makes some of the requests and may spend so much on them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TenantProfile {
    /// The name.
    pub name: &'static str,
    /// The share of arrivals, 0 to 1.
    pub share: f64,
    /// What it may spend in the run, in dollars; in the router's limits the budget is named after the tenant.
    pub budget: f64,
}

/// A candidate and the profile that simulates it.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// What the router is told.
    pub candidate: CandidateBuilder,
    /// How it behaves.
    pub profile: ProviderProfile,
}

/// The model of all scenarios.
pub(crate) const MODEL: &str = "llama-3-70b";

impl Scenario {
    /// All scenarios, the default one first.
    pub fn all() -> Vec<Self> {
        vec![outage(), calm(), brown_out(), rate_limit(), demo()]
    }

    /// A scenario by name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|scenario| scenario.name == name)
    }

    /// The first `requests` arrivals of the scenario's process.
    pub fn arrivals(&self, seed: u64, requests: u64) -> Vec<Arrival> {
        self.arrivals.arrivals(seed).take(usize::try_from(requests).unwrap_or(usize::MAX)).collect()
    }
}

fn outage() -> Scenario {
    let mut scenario = calm();
    scenario.name = "outage";
    scenario.description =
        "five providers of one model; together fails in the middle of the run and recovers";
    let trouble = Trouble::Outage { error_rate: 0.9 };
    scenario.deployments[1].profile.episodes = vec![Episode { from: 0.4, until: 0.55, trouble }];
    scenario
}

/// What `cargo xtask demo` shows: trouble at a provider, and a tenant that spends what it may.
fn demo() -> Scenario {
    let mut scenario = outage();
    scenario.name = "demo";
    scenario.description = "five providers of one model; together fails in the middle of the run and recovers; the \
        tenant acme, which makes a fifth of the requests, reaches its budget of $2";
    scenario.tenants = vec![TenantProfile { name: "acme", share: 0.2, budget: 2.0 }];
    scenario
}

fn brown_out() -> Scenario {
    let mut scenario = calm();
    scenario.name = "brown-out";
    scenario.description =
        "five providers of one model; fireworks is five times slower in the middle of the run";
    let trouble = Trouble::BrownOut { slowdown: 5.0 };
    scenario.deployments[0].profile.episodes = vec![Episode { from: 0.4, until: 0.6, trouble }];
    scenario
}

fn rate_limit() -> Scenario {
    let mut scenario = calm();
    scenario.name = "rate-limit";
    scenario.description = "five providers of one model; bedrock admits 50 requests a minute";
    // Anthropic's second tier, the smallest limit above the free ones in the captured headers.
    scenario.deployments[2].profile.rate_limit = Some(RateLimit { requests_per_minute: 50 });
    scenario
}

/// Five providers of one open model, where vendors differ. Prices are litellm 1.109.1's for llama-3.3-70b; speeds are
/// client-side measurements of Llama-2-70B (`LLMPerf` leaderboard, December 2023) and Llama-3-70B (thefastest.ai,
/// April 2024).
fn calm() -> Scenario {
    Scenario {
        name: "calm",
        description: "five providers of one model, of different price and speed; nothing fails",
        deployments: vec![
            // thefastest.ai: first token 0.24 s at the median, 0.90 s at p90, 185 tokens per second.
            deployment("fireworks", Some((0.90, 0.90)), tokens(240, 1.03, 5_405)),
            // thefastest.ai: 0.47 s, 1.7 s, 106 tokens per second.
            deployment("together", Some((1.04, 1.04)), tokens(470, 1.0, 9_434)),
            // LLMPerf: 0.39 s, 0.49 s, 46 ms per token.
            deployment("bedrock", Some((0.72, 0.72)), tokens(390, 0.18, 46_000)),
            // thefastest.ai: 0.33 s, 0.87 s, 95 tokens per second; the price table does not have it.
            deployment("databricks", None, tokens(330, 0.76, 10_526)),
            self_hosted(),
        ],
        strategy: LoadBalancingStrategy::RoundRobin,
        arrivals: ArrivalProcess::default(),
        requests: 20_000,
        retries: 0,
        tenants: Vec::new(),
    }
}

/// A vLLM replica of a 70B model: 0.32 s to the first token and 51 ms per token at low load. Its capacity is what makes
/// its knee: measured at about 1.5 requests per second of 1,150 tokens; the price is crusoe's.
fn self_hosted() -> Deployment {
    let mut deployment = deployment("vllm-1", Some((0.20, 0.20)), tokens(320, 0.3, 51_000));
    deployment.profile.concurrency = 32;
    deployment.profile.queue = 64;
    deployment
}

fn deployment(provider: &str, price: Option<(f64, f64)>, service: ServiceTime) -> Deployment {
    let candidate = ProviderCandidate::custom(provider, MODEL);
    let candidate = match price {
        Some((input, output)) => candidate.price_per_million(input, output),
        None => candidate,
    };
    // A vendor's capacity is not seen from outside: it is large. Errors: one 500 or reset per thousand calls.
    let profile = ProviderProfile {
        service,
        concurrency: 10_000,
        queue: 10_000,
        rate_limit: None,
        error_rate: 0.001,
        time_to_fail: Duration::from_millis(120),
        episodes: Vec::new(),
    };
    Deployment { candidate, profile }
}

const fn tokens(first_token_ms: u64, sigma: f64, per_token_us: u64) -> ServiceTime {
    ServiceTime::Tokens {
        first_token: Duration::from_millis(first_token_ms),
        sigma,
        per_token: Duration::from_micros(per_token_us),
        stalls: 0.04,
    }
}
