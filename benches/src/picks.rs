//! A pool in use, and what a selection needs.

use std::sync::Arc;
use std::time::Duration;

use waypost_core::{
    BuildLoadBalancer, DecisionContext, GatewayRequest, InFlightLease, LoadBalancer, Message, ModelName,
    Pool, ProviderCandidate, RequestResult, ResultEvent, RoutingContext, SeedSequence, SelectContext,
    Timestamp, TokenUsage, Tokens, UserId,
};

/// Bytes of the prompt.
const PROMPT: usize = 16 * 1024;

/// A pool of `n` candidates with requests in flight and answers behind them, and a request.
#[derive(Debug)]
pub struct Picks {
    pool: Pool,
    balancer: Arc<dyn LoadBalancer>,
    request: GatewayRequest,
    context: RoutingContext,
    seeds: SeedSequence,
    _busy: Vec<InFlightLease<Arc<ProviderCandidate>>>,
}

impl Picks {
    /// Weights are 1 to 5, candidates have none to three requests in flight and three answers each.
    ///
    /// # Panics
    ///
    /// When there are more candidates than a pool holds.
    pub fn new(strategy: &dyn BuildLoadBalancer, n: usize) -> Self {
        let model = ModelName::new("m").expect("a valid name");
        let pool = Pool::new(model.clone(), (0..n).map(candidate)).expect("a pool");
        let seeds = SeedSequence::new(1);
        let balancer = strategy.build(&pool, &mut seeds.generator());
        let message = Message {
            role: "user".into(),
            content: "some words and more ".repeat(PROMPT / 20 + 1)[..PROMPT].into(),
        };
        let picks = Self {
            request: GatewayRequest::for_model(model).messages([message].into()),
            context: RoutingContext::default().with_user(UserId::new("user-17").expect("a valid name")),
            _busy: busy(&pool),
            balancer,
            pool,
            seeds,
        };
        (0..3 * n).for_each(|i| picks.answer(i % n, i as u64));
        picks
    }

    /// One selection.
    ///
    /// # Panics
    ///
    /// When nobody is chosen.
    pub fn select(&self) -> usize {
        let usage = TokenUsage::new(Tokens(4_000), Tokens(200));
        let decision =
            DecisionContext::new(&self.request, &self.context, None, Timestamp::from_nanos(1 << 33), usage);
        let mut cx = SelectContext::new(&decision, self.seeds.generator());
        self.balancer.select(&self.pool.all(), &mut cx).expect("somebody").get()
    }

    fn answer(&self, place: usize, i: u64) {
        let now = Timestamp::from_nanos((1 << 32) + i * 1_000_000);
        let first = Duration::from_millis(100 + (i * 37) % 400);
        let result = RequestResult::success(first * 4, TokenUsage::new(Tokens(4_000), Tokens(200)))
            .first_token_after(first);
        let event = ResultEvent::new(&self.pool, self.pool.index(place).expect("a place"), &result, now);
        event.candidate().live().record(&result, now);
        self.balancer.record_result(&event);
    }
}

fn candidate(i: usize) -> ProviderCandidate {
    let price = 0.10 + 0.09 * (i % 10) as f64;
    ProviderCandidate::custom(format!("p{i}"), "m")
        .weight(1 + (i % 5) as u32)
        .price_per_million(price, 4.0 * price)
        .build()
        .expect("a valid candidate")
}

fn busy(pool: &Pool) -> Vec<InFlightLease<Arc<ProviderCandidate>>> {
    let each = pool.candidates().iter().enumerate();
    each.flat_map(|(i, candidate)| (0..i * 7 % 4).map(|_| Arc::clone(candidate)))
        .filter_map(|candidate| InFlightLease::acquire(candidate, Tokens(4_200)))
        .collect()
}
