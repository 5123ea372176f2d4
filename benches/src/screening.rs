//! Pools with their health, a thousand results a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use waypost_core::{CandidateIndex, Directives, Pool, RequestResult, Timestamp, TokenUsage};
use waypost_health::{
    Admission, BreakerConfig, CallOutcome, CircuitBreaker, HealthAwareRouter, HealthConfig, PoolHealth,
};

/// Time between two results.
const STEP: Duration = Duration::from_millis(1);

/// A pool and its health.
#[derive(Debug)]
pub struct Screening {
    pool: Arc<Pool>,
    health: PoolHealth,
    calls: AtomicU64,
    success: RequestResult,
    failure: RequestResult,
}

impl Screening {
    /// A pool of `candidates`, the first `sick` of which have an open breaker. Breakers open by failures in a row only, so
    /// that results can fail without end.
    ///
    /// # Panics
    ///
    /// Never: the names and weights are valid.
    pub fn new(candidates: usize, sick: usize) -> Self {
        let pool = Pool::from_weights((0..candidates).map(|i| (format!("provider-{i}"), 1)));
        let pool = Arc::new(pool.expect("valid names and weights"));
        let breaker = BreakerConfig { failure_ratio: None, ..BreakerConfig::default() };
        let config = HealthConfig { breaker: Some(breaker), ..HealthConfig::default() };
        let health = HealthAwareRouter::new(config, 1).attach(&pool, Timestamp::ORIGIN);
        let answer = RequestResult::success(Duration::from_millis(2_300), TokenUsage::default());
        let screening = Self {
            pool,
            health,
            calls: AtomicU64::new(0),
            success: answer.first_token_after(Duration::from_millis(310)),
            failure: RequestResult::failure(Duration::from_millis(20), "overloaded").status(529),
        };
        for place in 0..sick {
            let index = screening.pool.index(place).expect("a place of the pool");
            (0..5).for_each(|_| screening.health.update_health(index, &screening.failure, Timestamp::ORIGIN));
        }
        screening
    }

    /// Narrows the whole pool; how many fell out.
    pub fn filter(&self) -> usize {
        let (mut set, mut directives) = (self.pool.all(), Directives::default());
        self.health.filter_healthy(&mut set, Timestamp::ORIGIN + STEP, &mut directives)
    }

    /// The candidates in turn, and the time.
    fn next(&self) -> (CandidateIndex, u64, Timestamp) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let index = self.pool.index(number as usize % self.pool.len()).expect("a place of the pool");
        (index, number, Timestamp::ORIGIN + STEP.saturating_mul(number as u32))
    }

    /// Lets one request pass, which is given up.
    pub fn admit_and_drop(&self) {
        let (index, _, now) = self.next();
        drop(Admission::new(&self.health, index, now, false));
    }

    /// Lets one request pass to the next in turn, and takes its result.
    pub fn record(&self, succeeds: impl Fn(u64) -> bool) {
        let (index, number, now) = self.next();
        let result = if succeeds(number / self.pool.len() as u64) { &self.success } else { &self.failure };
        self.health.update_health(index, result, now);
    }
}

/// A breaker alone.
#[derive(Debug)]
pub struct Wing {
    breaker: CircuitBreaker,
    calls: AtomicU64,
}

impl Wing {
    /// A closed breaker with the default settings.
    pub fn new() -> Self {
        Self { breaker: CircuitBreaker::new(BreakerConfig::default()), calls: AtomicU64::new(0) }
    }

    /// One request that is answered.
    pub fn call(&self) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let now = Timestamp::ORIGIN + STEP.saturating_mul(number as u32);
        if let Some((permit, _)) = self.breaker.try_acquire(now) {
            self.breaker.record(permit, CallOutcome::Success, now, || 0.5);
        }
    }
}

impl Default for Wing {
    fn default() -> Self {
        Self::new()
    }
}
