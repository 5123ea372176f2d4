//! The pseudo-code that Waypost began as, taken literally: concurrent maps by name, a vector of `Arc`s copied by every
//! stage, a locked histogram per candidate. What a first version of a gateway looks like, and what to be faster than.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use hdrhistogram::Histogram;
use parking_lot::RwLock;

/// A candidate with its counters.
#[derive(Debug)]
pub struct Candidate {
    id: String,
    available: AtomicBool,
    micro_usd_per_1k_input: AtomicU64,
    micro_usd_per_1k_output: AtomicU64,
    context_window: u32,
    supports_vision: bool,
    region: String,
    active: AtomicU32,
    total: AtomicU64,
    succeeded: AtomicU64,
    failures: AtomicU32,
    latency: RwLock<Histogram<u64>>,
}

/// What a request asks for.
#[derive(Debug)]
pub struct Request {
    /// The model or alias.
    pub model: String,
    /// Not these.
    pub excluded: HashSet<String>,
    /// The tenant.
    pub tenant: String,
    /// Only these regions.
    pub regions: HashSet<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub max_tokens: u32,
    /// Dollars.
    pub max_cost: f64,
    /// The slowest acceptable median.
    pub max_latency: Duration,
}

/// Maps by name, and a turn.
#[derive(Debug, Default)]
pub struct Router {
    models: DashMap<String, Vec<Arc<Candidate>>>,
    by_id: DashMap<String, Arc<Candidate>>,
    aliases: DashMap<String, String>,
    tenants: DashMap<String, HashSet<String>>,
    turn: AtomicU64,
    routes: AtomicU64,
    selected: AtomicU64,
    time: Option<RwLock<Histogram<u64>>>,
}

impl Router {
    /// The same fleet as [`fleet::router`](crate::fleet::router).
    ///
    /// # Panics
    ///
    /// Never: the histogram's bounds are valid.
    pub fn new(model: &str, n: usize) -> Self {
        let router = Self { time: Some(RwLock::new(histogram())), ..Self::default() };
        let candidates: Vec<_> = (0..n).map(|i| Arc::new(candidate(i))).collect();
        for candidate in &candidates {
            router.by_id.insert(candidate.id.clone(), Arc::clone(candidate));
        }
        router.models.insert(model.to_owned(), candidates);
        let allowed = (0..n.saturating_sub(1)).map(|i| format!("provider-{i}")).collect();
        router.tenants.insert("acme".to_owned(), allowed);
        router
    }

    /// A request with the constraints that the pseudo-code has.
    pub fn request(model: &str) -> Request {
        Request {
            model: model.to_owned(),
            excluded: ["provider-3", "provider-4"].map(str::to_owned).into(),
            tenant: "acme".to_owned(),
            regions: ["eu", "us", "ap"].map(str::to_owned).into(),
            prompt_tokens: 4_000,
            max_tokens: 500,
            max_cost: 0.01,
            max_latency: Duration::from_secs(30),
        }
    }

    /// Selects a candidate; its id stands for the selection.
    ///
    /// # Panics
    ///
    /// Never in this fleet.
    #[expect(clippy::disallowed_methods, reason = "the naive form reads the clock where it stands")]
    pub fn route(&self, request: &Request) -> Option<Arc<Candidate>> {
        let start = Instant::now();
        self.routes.fetch_add(1, Ordering::Relaxed);
        let model =
            self.aliases.get(&request.model).map_or_else(|| request.model.clone(), |target| target.clone());
        let candidates: Vec<_> = self
            .models
            .get(&model)?
            .iter()
            .filter(|c| !request.excluded.contains(&c.id) && c.available.load(Ordering::Relaxed))
            .cloned()
            .collect();
        let allowed = self.tenants.get(&request.tenant)?;
        let candidates: Vec<_> = candidates.into_iter().filter(|c| allowed.contains(&c.id)).collect();
        let needed = request.prompt_tokens + request.max_tokens;
        let capable: Vec<_> =
            candidates.iter().filter(|c| c.supports_vision && c.context_window >= needed).cloned().collect();
        let near: Vec<_> = capable.iter().filter(|c| request.regions.contains(&c.region)).cloned().collect();
        let fast: Vec<_> = near.iter().filter(|c| c.median() <= request.max_latency).cloned().collect();
        let affordable: Vec<_> =
            fast.iter().filter(|c| c.cost(request) <= request.max_cost).cloned().collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let selected = Arc::clone(affordable.get(turn.checked_rem(affordable.len())?)?);
        std::hint::black_box((selected.cost(request), selected.median()));
        selected.active.fetch_add(1, Ordering::Relaxed);
        self.selected.fetch_add(1, Ordering::Relaxed);
        let _ = self.time.as_ref()?.write().record(start.elapsed().as_micros() as u64);
        Some(selected)
    }

    /// Records a success.
    pub fn record_result(&self, id: &str, latency: Duration) {
        let Some(candidate) = self.by_id.get(id) else { return };
        candidate.total.fetch_add(1, Ordering::Relaxed);
        candidate.succeeded.fetch_add(1, Ordering::Relaxed);
        let _ = candidate.latency.write().record(latency.as_micros() as u64);
        candidate.failures.store(0, Ordering::Relaxed);
        candidate.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Candidate {
    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn median(&self) -> Duration {
        Duration::from_micros(self.latency.read().value_at_quantile(0.5))
    }

    fn cost(&self, request: &Request) -> f64 {
        let input = self.micro_usd_per_1k_input.load(Ordering::Relaxed) as f64;
        let output = self.micro_usd_per_1k_output.load(Ordering::Relaxed) as f64;
        (f64::from(request.prompt_tokens) * input + f64::from(request.max_tokens) * output) / 1e9
    }
}

fn candidate(i: usize) -> Candidate {
    let price = 100 + 90 * (i as u64 % 10);
    Candidate {
        id: format!("provider-{i}"),
        available: AtomicBool::new(true),
        micro_usd_per_1k_input: AtomicU64::new(price),
        micro_usd_per_1k_output: AtomicU64::new(4 * price),
        context_window: if i.is_multiple_of(5) { 8_192 } else { 131_072 },
        supports_vision: true,
        region: ["eu", "us", "ap", "sa"][i % 4].to_owned(),
        active: AtomicU32::new(0),
        total: AtomicU64::new(0),
        succeeded: AtomicU64::new(0),
        failures: AtomicU32::new(0),
        latency: RwLock::new(histogram()),
    }
}

/// Two digits from a microsecond to an hour: 37 KiB. The pseudo-code's three digits without bounds would take more.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("valid bounds")
}
