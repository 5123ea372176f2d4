//! What a drill came to.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use waypost::core::NanoUsd;

/// What a [`Drill`](crate::Drill) came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DrillReport {
    /// Requests and those answered, by the second in which they came.
    pub by_second: Vec<(u64, u64)>,
    /// Calls that each provider saw, by second.
    pub calls: Vec<Vec<u64>>,
    /// How often each provider was taken out: its breaker opened, or it was ejected.
    pub ejections: Vec<u64>,
    /// The most calls that each provider served at once.
    pub most_at_once: Vec<u32>,
    /// Times to first token as callers saw them, by the second in which they came.
    pub first_tokens: Vec<Vec<Duration>>,
    /// What providers bill, losers of hedges by what they had generated.
    pub cost: NanoUsd,
    /// Requests in flight at the end.
    pub in_flight: u64,
}

impl DrillReport {
    pub(super) fn new(providers: usize, seconds: usize) -> Self {
        Self {
            by_second: vec![(0, 0); seconds],
            calls: vec![vec![0; seconds]; providers],
            ejections: vec![0; providers],
            most_at_once: vec![0; providers],
            first_tokens: vec![Vec::new(); seconds],
            ..Self::default()
        }
    }

    /// Requests that came.
    pub fn requests(&self) -> u64 {
        self.by_second.iter().map(|(came, _)| came).sum()
    }

    /// Requests that were not answered.
    pub fn errors(&self) -> u64 {
        self.by_second.iter().map(|(came, answered)| came - answered).sum()
    }

    /// Calls that all providers saw.
    pub fn attempts(&self) -> u64 {
        self.calls.iter().flatten().sum()
    }

    /// Calls that a provider saw in some seconds.
    pub fn calls_of(&self, provider: usize, seconds: Range<usize>) -> u64 {
        self.calls[provider][seconds].iter().sum()
    }

    /// Requests of some seconds, and how many of them were answered.
    pub fn answered(&self, seconds: Range<usize>) -> (u64, u64) {
        self.by_second[seconds].iter().fold((0, 0), |sum, second| (sum.0 + second.0, sum.1 + second.1))
    }

    /// The share of the requests of some seconds that were answered.
    pub fn success(&self, seconds: Range<usize>) -> f64 {
        let (came, answered) = self.answered(seconds);
        answered as f64 / came as f64
    }

    /// A quantile of the times to first token of all requests.
    pub fn first_token(&self, quantile: f64) -> Duration {
        self.first_token_in(quantile, 0..self.first_tokens.len())
    }

    /// A quantile of the times to first token of the requests of some seconds.
    pub fn first_token_in(&self, quantile: f64, seconds: Range<usize>) -> Duration {
        let mut times: Vec<_> = self.first_tokens[seconds].iter().flatten().copied().collect();
        times.sort_unstable();
        times.get((times.len() as f64 * quantile) as usize).copied().unwrap_or_default()
    }
}

impl fmt::Display for DrillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, errors) = (self.requests(), self.errors());
        write!(f, "{requests} requests, {errors} errors, {} attempts, first token p50 ", self.attempts())?;
        write!(f, "{:?} p99 {:?}, cost {}", self.first_token(0.5), self.first_token(0.99), self.cost)?;
        write!(f, ", ejections {:?}", self.ejections)
    }
}
