//! A pool with its health, a clock, and what was told.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use waypost_core::{
    CandidateBuilder, CandidateIndex, Directives, ModelName, Pool, ProviderCandidate, RequestResult,
    Timestamp, TokenUsage,
};
use waypost_health::{Admission, BreakerConfig, EjectionConfig, HealthAwareRouter, HealthConfig, PoolHealth};

pub(crate) struct Rig {
    pub(crate) health: HealthAwareRouter,
    pub(crate) pool: Arc<Pool>,
    pub(crate) of_pool: Arc<PoolHealth>,
    pub(crate) now: Timestamp,
    told: Arc<Mutex<Vec<String>>>,
}

/// What is left of a pool.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) places: Vec<usize>,
    pub(crate) panic: bool,
    pub(crate) retry_after: Option<Duration>,
}

/// Nothing but breakers, without jitter.
pub(crate) fn only_breakers() -> HealthConfig {
    let breaker = BreakerConfig { jitter: waypost_core::Ratio::ZERO, ..BreakerConfig::default() };
    HealthConfig { breaker: Some(breaker), ejection: None, ..HealthConfig::default() }
}

/// Nothing but ejection, without jitter.
pub(crate) fn only_ejection() -> HealthConfig {
    let ejection = EjectionConfig { jitter: waypost_core::Ratio::ZERO, ..EjectionConfig::default() };
    HealthConfig { breaker: None, ejection: Some(ejection), ..HealthConfig::default() }
}

pub(crate) fn candidate(name: &str) -> CandidateBuilder {
    ProviderCandidate::openai(name, "m")
}

pub(crate) fn pool(model: &str, candidates: impl IntoIterator<Item = CandidateBuilder>) -> Arc<Pool> {
    let built = candidates.into_iter().map(|candidate| Arc::new(candidate.build().unwrap()));
    Arc::new(Pool::new(ModelName::new(model).unwrap(), built).unwrap())
}

impl Rig {
    pub(crate) fn of(config: HealthConfig, n: usize) -> Self {
        Self::with(config, (0..n).map(|i| candidate(&format!("p{i}"))))
    }

    pub(crate) fn with(config: HealthConfig, candidates: impl IntoIterator<Item = CandidateBuilder>) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        let health = HealthAwareRouter::new(config, 42)
            .on_event(move |event| listener.lock().unwrap().push(event.to_string()));
        let pool = pool("m", candidates);
        let now = Timestamp::ORIGIN + Duration::from_secs(1_000);
        let of_pool = Arc::new(health.attach(&pool, now));
        Self { health, pool, of_pool, now, told }
    }

    pub(crate) fn index(&self, place: usize) -> CandidateIndex {
        self.pool.index(place).unwrap()
    }

    pub(crate) fn wait(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    /// Who is left of a decision.
    pub(crate) fn left(&self) -> Left {
        let (mut set, mut directives) = (self.pool.all(), Directives::default());
        let dropped = self.of_pool.filter_healthy(&mut set, self.now, &mut directives);
        assert_eq!(dropped, self.pool.all().len() - set.len());
        assert_eq!(directives.left_out.iter().count(), dropped.min(4));
        let places = set.iter().map(CandidateIndex::get).collect();
        Left { places, panic: directives.panic, retry_after: directives.retry_after }
    }

    pub(crate) fn places(&self) -> Vec<usize> {
        self.left().places
    }

    pub(crate) fn admit(&self, place: usize) -> Option<Admission<Arc<PoolHealth>>> {
        Admission::new(Arc::clone(&self.of_pool), self.index(place), self.now, self.left().panic)
    }

    /// Sends one request, if it may.
    pub(crate) fn send(&self, place: usize, result: &RequestResult) -> bool {
        let index = self.index(place);
        let admission = self.admit(place);
        let sent = admission.is_some();
        if let Some(admission) = admission {
            self.pool.live(index).record(result, self.now);
            admission.settle(result, self.now);
        }
        sent
    }

    pub(crate) fn send_all(&self, place: usize, n: usize, result: &RequestResult) {
        (0..n).for_each(|_| assert!(self.send(place, result)));
    }

    /// What was told since the last call.
    pub(crate) fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

pub(crate) fn answered() -> RequestResult {
    answered_after(100)
}

pub(crate) fn answered_after(millis: u64) -> RequestResult {
    let time = Duration::from_millis(millis);
    RequestResult::success(time, TokenUsage::default()).first_token_after(time)
}

pub(crate) fn failed(status: u16) -> RequestResult {
    RequestResult::failure(Duration::from_millis(1), "x").status(status)
}
