//! The fleet and the request that `route` cases share, with every constraint in use.

use std::time::Duration;

use waypost::core::{
    Capability, CostBudget, ModelName, NanoUsd, ProviderId, Region, Tag, TenantId, TenantRoutingConfig,
    TokenUsage, Tokens, Zone,
};
use waypost::{
    GatewayRequest, LoadBalancingStrategy, ProviderCandidate, RequestResult, Router, RoutingContext,
};

/// The model that all requests ask for.
pub const MODEL: &str = "llama-3.3-70b-instruct";
/// Regions that candidates are spread over.
const REGIONS: [&str; 4] = ["eu", "us", "ap", "sa"];
/// Distinct prices: 26 vendors serve this model, at about ten prices.
const PRICES: usize = 10;

/// A router over `n` candidates with a tenant.
///
/// # Panics
///
/// When the fleet is not valid.
pub fn router(n: usize, strategy: LoadBalancingStrategy) -> Router {
    let fleet = (0..n)
        .fold(Router::builder().strategy(strategy).seed(1), |builder, i| builder.candidate(candidate(i)));
    fleet.tenant("acme", tenant(n)).build().expect("a valid fleet")
}

fn candidate(i: usize) -> waypost::core::CandidateBuilder {
    let price = 0.10 + 0.09 * (i % PRICES) as f64;
    ProviderCandidate::custom(format!("provider-{i}"), MODEL)
        .region(REGIONS[i % REGIONS.len()])
        .zone(format!("zone-{}", i % 3))
        .tag("zdr")
        .price_per_million(price, 4.0 * price)
        .context_window(Tokens(if i.is_multiple_of(5) { 8_192 } else { 131_072 }))
        .features([Capability::Streaming, Capability::FunctionCalling, Capability::Vision])
}

/// Allows all providers but the last.
fn tenant(n: usize) -> TenantRoutingConfig {
    let provider = |i: usize| ProviderId::new(format!("provider-{i}")).expect("a valid name");
    TenantRoutingConfig {
        allowed_providers: Some((0..n.saturating_sub(1)).map(provider).collect()),
        allowed_models: None,
        preferred_providers: vec![provider(n + 1)],
        cost_limit_per_request: Some(NanoUsd(NanoUsd::PER_USD)),
        default_strategy: None,
    }
}

/// A streamed request that uses every constraint and preference: exclusions, tenant, capabilities, context window,
/// regions, tags, cost, latency and targets.
///
/// # Panics
///
/// Never: the names are valid.
pub fn constrained() -> (GatewayRequest, RoutingContext) {
    let name = |text: &str| ProviderId::new(text).expect("a valid name");
    let request = GatewayRequest::for_model(ModelName::new(MODEL).expect("a valid name"))
        .prompt_bytes(16_000)
        .max_tokens(Tokens(500))
        .streaming(true)
        .require(Capability::Vision)
        .exclude_provider(name("provider-3"))
        .prefer_provider(name("provider-none"))
        .max_cost(NanoUsd(NanoUsd::PER_USD / 100))
        .max_latency(Duration::from_secs(30));
    let region = |text: &str| Region::new(text).expect("a valid name");
    let context = RoutingContext::default()
        .with_tenant(TenantId::new("acme").expect("a valid name"))
        .with_cost_budget(CostBudget::per_request(NanoUsd(NanoUsd::PER_USD / 50)))
        .with_latency_target(Duration::from_secs(2))
        .with_throughput_target(10)
        .exclude_provider(name("provider-4"))
        .within_region(region("eu"))
        .within_region(region("us"))
        .prefer_region(region("eu"))
        .require_tag(Tag::new("zdr").expect("a valid name"))
        .with_region(region("us"))
        .with_zone(Zone::new("zone-1").expect("a valid name"))
        .with_deadline(waypost::core::Timestamp::MAX);
    (request, context)
}

/// A request that asks for nothing but the model.
///
/// # Panics
///
/// Never: the name is valid.
pub fn plain() -> (GatewayRequest, RoutingContext) {
    let request = GatewayRequest::for_model(ModelName::new(MODEL).expect("a valid name"));
    (request.prompt_bytes(16_000).max_tokens(Tokens(500)).streaming(true), RoutingContext::default())
}

/// A usual answer.
pub fn answer() -> RequestResult {
    RequestResult::success(Duration::from_millis(2_300), TokenUsage::new(Tokens(4_000), Tokens(200)))
        .first_token_after(Duration::from_millis(310))
}
