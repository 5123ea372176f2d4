//! The pseudo-code's balancers, taken literally: what to be faster than.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use hdrhistogram::Histogram;
use parking_lot::RwLock;

/// A candidate with its counters.
#[derive(Debug)]
struct Candidate {
    id: String,
    weight: u64,
    connections: AtomicU64,
    latency: RwLock<Histogram<u64>>,
}

/// A list of candidates and the state of all balancers.
#[derive(Debug)]
pub struct NaivePicks {
    candidates: Vec<Arc<Candidate>>,
    turn: AtomicU64,
    current: DashMap<String, AtomicU64>,
}

impl NaivePicks {
    /// `n` candidates with requests in flight and answers behind them.
    ///
    /// # Panics
    ///
    /// Never: the histogram's bounds are valid.
    pub fn new(n: usize) -> Self {
        let candidate = |i: usize| {
            let mut latency = Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("valid bounds");
            (0..3).for_each(|k| latency.saturating_record(100_000 + (i as u64 * 37 + k) % 400_000));
            Arc::new(Candidate {
                id: format!("p{i}"),
                weight: 1 + i as u64 % 5,
                connections: AtomicU64::new(i as u64 * 7 % 4),
                latency: RwLock::new(latency),
            })
        };
        Self { candidates: (0..n).map(candidate).collect(), turn: AtomicU64::new(0), current: DashMap::new() }
    }

    /// One counter modulo the number.
    pub fn round_robin(&self) -> &str {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        &self.candidates[turn % self.candidates.len()].id
    }

    /// nginx's current weights in a map by id.
    pub fn weighted_round_robin(&self) -> Option<&str> {
        let (mut total, mut best, mut most) = (0, None, i64::MIN);
        for candidate in &self.candidates {
            let current = self.current.entry(candidate.id.clone()).or_insert_with(|| AtomicU64::new(0));
            total += candidate.weight;
            let now = current.fetch_add(candidate.weight, Ordering::Relaxed).wrapping_add(candidate.weight);
            if now.cast_signed() > most {
                (most, best) = (now.cast_signed(), Some(candidate));
            }
        }
        let best = best?;
        self.current.get(&best.id)?.fetch_sub(total, Ordering::Relaxed);
        Some(&best.id)
    }

    /// The first with the fewest connections times a thousand over its weight.
    pub fn least_connections(&self) -> Option<&str> {
        let load = |candidate: &&Arc<Candidate>| {
            candidate.connections.load(Ordering::Relaxed) * (1_000 / candidate.weight)
        };
        self.candidates.iter().min_by_key(load).map(|candidate| candidate.id.as_str())
    }

    /// The first with the least median behind its lock.
    pub fn least_latency(&self) -> Option<&str> {
        let median = |candidate: &&Arc<Candidate>| {
            Duration::from_micros(candidate.latency.read().value_at_quantile(0.5))
        };
        self.candidates.iter().min_by_key(median).map(|candidate| candidate.id.as_str())
    }
}
