//! When requests arrive, and how long they are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Gamma, LogNormal};
use waypost::core::Tokens;

/// One request of a trace or a generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrives, since the start.
    pub at: Duration,
    /// Tokens of the prompt.
    pub prompt: Tokens,
    /// Tokens of the answer.
    pub completion: Tokens,
}

/// A generator of arrivals: clients that each send in bursts, together at a given rate.
///
/// Each client is a Gamma renewal process; the default burstiness, client mix and lengths are those of production
/// traces (`ServeGen`, arXiv:2505.09999: per-client coefficient of variation 1.0 to 1.4 at the median, ten clients make
/// 60 to 90 % of requests; Azure LLM inference trace 2023, conversations: 5.53 requests per second, prompts of 1,020
/// tokens at the median and 2,735 at p90, answers of 129 and 424, at most 1,000).
#[derive(Debug, Clone, PartialEq)]
pub struct ArrivalProcess {
    /// Requests per second of all clients together. Default: 5.53.
    pub rate: f64,
    /// Clients; client k sends in proportion to 1/k. Default: 20, of which ten send 81 %.
    pub clients: u32,
    /// Coefficient of variation of the time between requests of one client; 1 is Poisson. Default: 1.2.
    pub burstiness: f64,
    /// Tokens of the prompt: median and p90. Default: 1,020 and 2,735.
    pub prompt_tokens: (f64, f64),
    /// Tokens of the answer: median and p90. Default: 129 and 424.
    pub completion_tokens: (f64, f64),
}

/// The longest prompt and answer that a generator makes: those of the Azure conversations.
const LONGEST: (f64, f64) = (14_050.0, 1_000.0);
/// The normal distribution's 90th percentile, in standard deviations.
const Z90: f64 = 1.281_551_6;

impl Default for ArrivalProcess {
    fn default() -> Self {
        Self {
            rate: 5.53,
            clients: 20,
            burstiness: 1.2,
            prompt_tokens: (1_020.0, 2_735.0),
            completion_tokens: (129.0, 424.0),
        }
    }
}

impl ArrivalProcess {
    /// A Poisson process of one client, for checks against theory.
    pub fn poisson(rate: f64) -> Self {
        Self { rate, clients: 1, burstiness: 1.0, ..Self::default() }
    }

    /// The arrivals, without end.
    ///
    /// # Panics
    ///
    /// When rate, burstiness or lengths are not positive and finite, or there is no client.
    pub fn arrivals(&self, seed: u64) -> Arrivals {
        Arrivals::new(self, seed)
    }
}

/// The arrivals of an [`ArrivalProcess`], without end, in order of time.
#[derive(Debug)]
pub struct Arrivals {
    rng: Xoshiro256PlusPlus,
    clients: Vec<Gamma<f64>>,
    /// The next arrival of each client, in nanoseconds.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    prompt: LogNormal<f64>,
    completion: LogNormal<f64>,
}

impl Arrivals {
    fn new(process: &ArrivalProcess, seed: u64) -> Self {
        let shape = process.burstiness.powi(-2);
        let harmonic: f64 = (1..=process.clients).map(|k| 1.0 / f64::from(k)).sum();
        let gaps = (1..=process.clients).map(|k| {
            let rate = process.rate / f64::from(k) / harmonic;
            Gamma::new(shape, 1.0 / (shape * rate)).expect("a positive rate and burstiness")
        });
        let mut arrivals = Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            clients: gaps.collect(),
            next: BinaryHeap::new(),
            prompt: log_normal(process.prompt_tokens),
            completion: log_normal(process.completion_tokens),
        };
        assert!(!arrivals.clients.is_empty(), "at least one client");
        (0..arrivals.clients.len()).for_each(|client| arrivals.schedule(client, 0));
        arrivals
    }

    fn schedule(&mut self, client: usize, after: u64) {
        let gap = (self.clients[client].sample(&mut self.rng) * 1e9) as u64;
        self.next.push(Reverse((after.saturating_add(gap), client)));
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let Reverse((at, client)) = self.next.pop()?;
        self.schedule(client, at);
        let mut tokens = |lengths: LogNormal<f64>, longest| {
            Tokens(lengths.sample(&mut self.rng).clamp(1.0, longest) as u64)
        };
        let (prompt, completion) = (tokens(self.prompt, LONGEST.0), tokens(self.completion, LONGEST.1));
        Some(Arrival { at: Duration::from_nanos(at), prompt, completion })
    }
}

/// The log-normal distribution with this median and 90th percentile.
fn log_normal((median, p90): (f64, f64)) -> LogNormal<f64> {
    LogNormal::new(median.ln(), (p90 / median).ln() / Z90).expect("a positive median below p90")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn come_in_order_at_the_rate_with_the_lengths() {
        // 50,000 arrivals of 20 clients: the rate's relative standard error is about 1.2 / sqrt(50,000) = 0.5 %, and
        // the median's about 0.5 %; bands of 5 % are 10 sigma, so a rate off by a tenth is found every time.
        let process = ArrivalProcess::default();
        let arrivals: Vec<_> = process.arrivals(42).take(50_000).collect();
        assert!(arrivals.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let rate = 50_000.0 / arrivals[49_999].at.as_secs_f64();
        assert!((rate / process.rate - 1.0).abs() < 0.05, "seed 42: {rate}");
        let mut prompts: Vec<_> = arrivals.iter().map(|arrival| arrival.prompt.0).collect();
        prompts.sort_unstable();
        let (median, p90) = (prompts[25_000] as f64, prompts[45_000] as f64);
        assert!(
            (median / 1_020.0 - 1.0).abs() < 0.05 && (p90 / 2_735.0 - 1.0).abs() < 0.05,
            "{median} {p90}"
        );
    }
}
