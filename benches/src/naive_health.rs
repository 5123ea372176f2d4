//! The pseudo-code's health, taken literally: a map by name, averages by load and store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use parking_lot::Mutex;

const ALPHA: f64 = 0.3;
const THRESHOLD: f64 = 0.7;

/// Scores by provider id.
#[derive(Debug)]
pub struct NaiveHealth {
    ids: Vec<String>,
    scores: DashMap<String, Arc<Score>>,
    calls: AtomicU64,
}

/// A cell of a float is a word; one of an instant takes a lock.
#[derive(Debug)]
struct Score {
    success_rate: AtomicU64,
    error_rate: AtomicU64,
    p50: AtomicU64,
    consecutive_failures: AtomicU64,
    last_updated: Mutex<Instant>,
    overall: AtomicU64,
}

fn blend(cell: &AtomicU64, sample: f64) -> f64 {
    let next = ALPHA * sample + (1.0 - ALPHA) * f64::from_bits(cell.load(Ordering::Relaxed));
    cell.store(next.to_bits(), Ordering::Relaxed);
    next
}

impl NaiveHealth {
    /// So many providers, all well.
    #[expect(clippy::disallowed_methods, reason = "the pseudo-code reads the clock itself")]
    pub fn new(candidates: usize) -> Self {
        let ids: Vec<_> = (0..candidates).map(|i| format!("provider-{i}")).collect();
        let float = |value: f64| AtomicU64::new(value.to_bits());
        let score = || Score {
            success_rate: float(1.0),
            error_rate: float(0.0),
            p50: AtomicU64::new(0),
            consecutive_failures: AtomicU64::new(0),
            last_updated: Mutex::new(Instant::now()),
            overall: float(1.0),
        };
        let scores = ids.iter().map(|id| (id.clone(), Arc::new(score()))).collect();
        Self { ids, scores, calls: AtomicU64::new(0) }
    }

    /// Who is above the threshold.
    pub fn filter_healthy(&self) -> Vec<&String> {
        let known = |score: &Score| f64::from_bits(score.overall.load(Ordering::Relaxed));
        let score = |id: &String| self.scores.get(id).map_or(1.0, |score| known(&score));
        self.ids.iter().filter(|id| score(id) >= THRESHOLD).collect()
    }

    /// Takes a success of the next in turn.
    #[expect(clippy::disallowed_methods, reason = "the pseudo-code reads the clock itself")]
    pub fn update_health(&self) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) as usize;
        let id = &self.ids[number % self.ids.len()];
        let score =
            Arc::clone(&self.scores.entry(id.clone()).or_insert_with(|| unreachable!("all are known")));
        let success_rate = blend(&score.success_rate, 1.0);
        let error_rate = blend(&score.error_rate, 0.0);
        score.consecutive_failures.store(0, Ordering::Relaxed);
        let p50 = (ALPHA * 310_000.0 + (1.0 - ALPHA) * score.p50.load(Ordering::Relaxed) as f64) as u64;
        score.p50.store(p50, Ordering::Relaxed);
        *score.last_updated.lock() = Instant::now();
        let latency = 1.0 - (p50 as f64 / 500_000.0).min(1.0);
        let overall = 0.5 * success_rate + 0.2 * (1.0 - error_rate) + 0.3 * latency;
        score.overall.store(overall.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
    }
}
