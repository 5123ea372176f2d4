//! Calls a balancer without the ceremony of a decision.

use waypost_core::{
    CandidateIndex, CandidateSet, DecisionContext, GatewayRequest, LoadBalancer, ModelName, Pool,
    ProviderCandidate, RoutingContext, SeedSequence, SelectContext, Timestamp, TokenUsage, Tokens,
};

/// A request, a context and randomness to call balancers with.
#[derive(Debug)]
pub struct SelectRig {
    /// The request. Default: for `model`, with nothing asked.
    pub request: GatewayRequest,
    /// What is known besides. Default: nothing.
    pub context: RoutingContext,
    /// The time. Default: the origin.
    pub now: Timestamp,
    /// The expected tokens. Default: 1,000 in, 200 out.
    pub usage: TokenUsage,
    seeds: SeedSequence,
}

impl SelectRig {
    /// A rig whose randomness starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            request: GatewayRequest::for_model(model()),
            context: RoutingContext::default(),
            now: Timestamp::ORIGIN,
            usage: TokenUsage::new(Tokens(1_000), Tokens(200)),
            seeds: SeedSequence::new(seed),
        }
    }

    /// Lets the balancer choose, with the next generator.
    pub fn select(&self, balancer: &dyn LoadBalancer, set: &CandidateSet<'_>) -> Option<CandidateIndex> {
        let decision = self.decision();
        balancer.select(set, &mut SelectContext::new(&decision, self.seeds.generator()))
    }

    /// Asks the balancer what it would choose, with the next generator.
    pub fn peek(&self, balancer: &dyn LoadBalancer, set: &CandidateSet<'_>) -> Option<CandidateIndex> {
        let decision = self.decision();
        balancer.peek(set, &mut SelectContext::new(&decision, self.seeds.generator()))
    }

    fn decision(&self) -> DecisionContext<'_> {
        DecisionContext::new(&self.request, &self.context, None, self.now, self.usage)
    }
}

/// A pool of `n` candidates `p0`, `p1` … of equal weight and price.
///
/// # Panics
///
/// When `n` is more than [`MAX_CANDIDATES`](waypost_core::MAX_CANDIDATES).
pub fn equal_pool(n: usize) -> Pool {
    let candidate =
        |i: usize| ProviderCandidate::custom(format!("p{i}"), "model").price_per_million(1.0, 3.0).build();
    let candidates: Result<Vec<_>, _> = (0..n).map(candidate).collect();
    Pool::new(model(), candidates.expect("valid names")).expect("as many candidates as a pool holds")
}

fn model() -> ModelName {
    ModelName::new("model").expect("a valid name")
}
