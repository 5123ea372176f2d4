//! How a simulated provider behaves.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp, LogNormal};
use waypost::core::Tokens;

/// How a simulated provider behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderProfile {
    /// How long a request takes once it is being served.
    pub service: ServiceTime,
    /// Requests served at once; others queue. At least one.
    pub concurrency: u32,
    /// Requests that may wait; more are refused with 529.
    pub queue: u32,
    /// Refuses with 429 what comes too often.
    pub rate_limit: Option<RateLimit>,
    /// Share of requests that fail with 500, 0 to 1.
    pub error_rate: f64,
    /// How long it takes to fail or to refuse. In the scenarios 120 ms, the median of a connection and a short error.
    pub time_to_fail: Duration,
    /// Times in which it behaves worse.
    pub episodes: Vec<Episode>,
}

/// How long a request takes once it is being served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ServiceTime {
    /// Time to first token, then time per token, both log-normal; some requests stall.
    Tokens {
        /// Median time to first token.
        first_token: Duration,
        /// Standard deviation of its logarithm. Between 0.1 and 0.7 for most models (thefastest.ai, p10 to p90).
        sigma: f64,
        /// Median time per output token.
        per_token: Duration,
        /// Share of requests whose first token takes 3 to 10 times as long: 4 % (thefastest.ai); a tenth of them 10
        /// to 100 times.
        stalls: f64,
    },
    /// An exponential time whatever the length, for checks against queueing theory.
    Exponential {
        /// The mean.
        mean: Duration,
    },
}

/// A hard limiter: once over, it refuses everything until the minute is over, as seen of lepton in the `LLMPerf`
/// leaderboard (121 refusals in a row).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests admitted per minute.
    pub requests_per_minute: u32,
}

/// A time in which a provider behaves worse, as parts of the whole run (0 to 1), so that it falls into the middle of
/// every run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Episode {
    /// When it begins.
    pub from: f64,
    /// When it ends.
    pub until: f64,
    /// What is wrong.
    pub trouble: Trouble,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    /// Requests fail with 503 at this rate. Real outages are mostly partial (82 to 100 % of outage minutes).
    Outage {
        /// Share of requests that fail, 0 to 1.
        error_rate: f64,
    },
    /// Everything takes this many times as long.
    BrownOut {
        /// The factor.
        slowdown: f64,
    },
}

/// The time one request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) first_token: Duration,
    pub(crate) total: Duration,
}

impl ServiceTime {
    pub(crate) fn sample(&self, completion: Tokens, slowdown: f64, rng: &mut Xoshiro256PlusPlus) -> Service {
        match *self {
            Self::Tokens { first_token, sigma, per_token, stalls } => {
                let stall = stall_factor(stalls, rng);
                let first = first_token.as_secs_f64() * spread(sigma, rng) * stall * slowdown;
                // Speeds of one provider vary less than its first token does; a third of the spread.
                let per_token = per_token.as_secs_f64() * spread(sigma / 3.0, rng) * slowdown;
                let rest = per_token * completion.0.saturating_sub(1) as f64;
                Service { first_token: seconds(first), total: seconds(first + rest) }
            }
            Self::Exponential { mean } => {
                let exp = Exp::new(1.0).expect("a rate of one is valid");
                let total = seconds(mean.as_secs_f64() * exp.sample(rng) * slowdown);
                Service { first_token: total, total }
            }
        }
    }
}

/// A log-normal factor with median one.
fn spread(sigma: f64, rng: &mut Xoshiro256PlusPlus) -> f64 {
    LogNormal::new(0.0, sigma.abs()).map_or(1.0, |distribution| distribution.sample(rng))
}

fn stall_factor(stalls: f64, rng: &mut impl Rng) -> f64 {
    let draw: f64 = rng.random();
    let (low, high) = match draw {
        draw if draw < stalls * 0.1 => (10.0, 100.0),
        draw if draw < stalls => (3.0, 10.0),
        _ => return 1.0,
    };
    low * f64::powf(high / low, rng.random())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
