//! Random fleets and requests, and what they are made of.

use std::fmt;
use std::time::Duration;

use proptest::prelude::*;
use waypost::core::{
    CandidateFilter, CandidateSet, Capability, CapabilitySet, CostBudget, DecisionContext, Directives,
    NanoUsd, ProviderId, Region, Rejection, RoutingTableUpdate, Stage, Tag, TenantId, TenantRoutingConfig,
    Timestamp, Tokens, Zone,
};
use waypost::{GatewayRequest, ProviderCandidate, Router, RouterBuilder, RoutingContext};

pub(crate) fn provider(name: &str) -> ProviderId {
    ProviderId::new(name).unwrap()
}

pub(crate) fn region(name: &str) -> Region {
    Region::new(name).unwrap()
}

/// A router over `n` plain candidates `p0`, `p1` … of model `m`.
pub(crate) fn plain(n: usize) -> RouterBuilder {
    (0..n).fold(Router::builder().seed(1), |builder, i| {
        builder.candidate(ProviderCandidate::openai(format!("p{i}"), "m").price_per_million(1.0, 1.0))
    })
}

/// A filter at a stage, made of a closure.
pub(crate) fn filter<F>(stage: Stage, narrow: F) -> impl CandidateFilter
where
    F: Fn(&mut CandidateSet<'_>, &DecisionContext<'_>, &mut Directives) -> Result<(), Rejection>
        + Send
        + Sync,
{
    Narrows { stage, narrow }
}

struct Narrows<F> {
    stage: Stage,
    narrow: F,
}

impl<F> fmt::Debug for Narrows<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Narrows").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl<F> CandidateFilter for Narrows<F>
where
    F: Fn(&mut CandidateSet<'_>, &DecisionContext<'_>, &mut Directives) -> Result<(), Rejection>
        + Send
        + Sync,
{
    fn stage(&self) -> Stage {
        self.stage
    }

    fn filter(
        &self,
        set: &mut CandidateSet<'_>,
        decision: &DecisionContext<'_>,
        directives: &mut Directives,
    ) -> Result<(), Rejection> {
        (self.narrow)(set, decision, directives)
    }
}

pub(crate) fn request() -> GatewayRequest {
    GatewayRequest::new("m").unwrap()
}

/// Random candidates of model `m` with everything that constraints look at.
pub(crate) fn candidates() -> impl Strategy<Value = Vec<ProviderCandidate>> {
    let candidate = (
        0_u32..3,
        0_u64..4,
        0_u64..4,
        prop::option::of(0_u8..3),
        prop::option::of(0_u8..3),
        0_u8..8,
        0_u8..4,
        any::<bool>(),
    );
    prop::collection::vec(candidate, 0..90).prop_map(|specs| {
        let build = |(i, (weight, window, output, region, price, features, tags, available))| {
            let mut builder = ProviderCandidate::openai(format!("p{i}"), "m")
                .weight(weight * 100)
                .available(available || i % 3 > 0)
                .context_window(Tokens(1 + window * 1_000))
                .max_output_tokens(Tokens(1 + output * 100))
                .features(features_of(features));
            if let Some(region) = region {
                builder = builder.region(format!("r{region}")).zone(format!("z{region}"));
            }
            if let Some(price) = price {
                builder = builder.price_per_million(f64::from(price), f64::from(price));
            }
            (0..2)
                .filter(|bit| tags & (1 << bit) != 0)
                .fold(builder, |builder, bit| builder.tag(format!("t{bit}")))
                .build()
                .unwrap()
        };
        specs.into_iter().enumerate().map(build).collect()
    })
}

fn features_of(bits: u8) -> CapabilitySet {
    let all = [Capability::Streaming, Capability::Vision, Capability::Audio];
    (0..3).filter(|bit| bits & (1 << bit) != 0).map(|bit| all[bit]).collect()
}

/// A random router over candidates, with a tenant `acme`.
pub(crate) fn router(candidates: Vec<ProviderCandidate>, allowed: Option<Vec<usize>>) -> RouterBuilder {
    let updates = candidates.into_iter().map(RoutingTableUpdate::add);
    let builder = updates.fold(Router::builder().seed(7), RouterBuilder::update);
    let allowed_providers = allowed.map(|ids| ids.into_iter().map(|i| provider(&format!("p{i}"))).collect());
    let config = TenantRoutingConfig {
        allowed_providers,
        allowed_models: None,
        preferred_providers: vec![provider("p1"), provider("p5")],
        cost_limit_per_request: Some(NanoUsd(1_500_000)),
        default_strategy: None,
    };
    builder.tenant("acme", config)
}

/// Random requests with everything that constraints look at.
pub(crate) fn inquiries() -> impl Strategy<Value = (GatewayRequest, RoutingContext)> {
    let request = (
        0_u64..12_000,
        prop::option::of(0_u64..400),
        any::<bool>(),
        0_u8..8,
        prop::option::of(0_u64..3_000_000),
        prop::collection::vec(0_usize..90, 0..4),
    );
    let context = (
        any::<bool>(),
        prop::option::of(0_u64..3_000_000),
        prop::collection::vec(0_u8..4, 0..3),
        prop::collection::vec(0_u8..2, 0..2),
        prop::collection::vec(0_usize..90, 0..4),
        prop::option::of(0_u8..3),
        any::<[bool; 3]>(),
    );
    (request, context).prop_map(|(request, context)| (make_request(request), make_context(context)))
}

type RequestParts = (u64, Option<u64>, bool, u8, Option<u64>, Vec<usize>);

fn make_request((bytes, max_tokens, stream, features, max_cost, excluded): RequestParts) -> GatewayRequest {
    let mut request = request().prompt_bytes(bytes).streaming(stream).require(features_of(features & !1));
    request.max_tokens = max_tokens.map(Tokens);
    request.max_cost = max_cost.map(NanoUsd);
    request.excluded_providers = excluded.into_iter().map(|i| provider(&format!("p{i}"))).collect();
    request.max_latency = stream.then_some(Duration::from_secs(1));
    request
}

type ContextParts = (bool, Option<u64>, Vec<u8>, Vec<u8>, Vec<usize>, Option<u8>, [bool; 3]);

fn make_context((tenant, budget, allowed, tags, excluded, near, flags): ContextParts) -> RoutingContext {
    let mut context = RoutingContext::default();
    if tenant {
        context = context.with_tenant(TenantId::new("acme").unwrap());
    }
    if let Some(near) = near {
        context = context
            .with_region(region(&format!("r{near}")))
            .with_zone(Zone::new(format!("z{near}")).unwrap());
    }
    context.cost_budget = budget.map(|max| CostBudget::per_request(NanoUsd(max)));
    context.allowed_regions = allowed.iter().map(|r| region(&format!("r{r}"))).collect();
    context.required_tags = tags.iter().map(|t| Tag::new(format!("t{t}")).unwrap()).collect();
    context.excluded_providers = excluded.into_iter().map(|i| provider(&format!("p{i}"))).collect();
    context.preferred_regions = flags[0].then(|| region("r1")).into_iter().collect();
    context.latency_target = flags[1].then_some(Duration::from_millis(500));
    context.throughput_target = flags[2].then_some(20);
    context.deadline = flags[2].then_some(Timestamp::MAX);
    context
}
