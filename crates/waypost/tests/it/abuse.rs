//! Promise 11: no input, configuration or provider answer panics the router. Everything that can happen to a router,
//! in any order, with values from the edges of their types; invariants hold after each step.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use waypost::balancers::Random;
use waypost::core::{
    CandidateBuilder, CandidateId, CostBudget, ManualClock, ModelName, NanoUsd, Pricing,
    RoutingTableUpdate as Update, RuleId, StrategyName, TenantId, TenantRoutingConfig, Timestamp, TokenUsage,
    Tokens, Weight,
};
use waypost::rules::{Condition, PoolMember, RouteConfig, RoutingAction, Rule, RuleUpdate};
use waypost::{
    GatewayRequest, LoadBalancingStrategy, ProviderCandidate, RequestResult, Router, RoutingContext,
    SelectedProvider,
};

use crate::fleet;

#[derive(Debug, Clone)]
enum Operation {
    Add(u8, u64, u8),
    Remove(u8),
    Weigh(u8, i64),
    Price(u8, u64),
    Drain(u8, bool),
    Alias(u8, u8),
    Unalias(u8),
    Tenant(u8, Vec<u8>, u64),
    SetClock(u64),
    Route(u8, [u64; 4]),
    Finish(u8, u64, u64, u64),
    Drop(u8),
    Record(u8, u64),
    Explain(u8, u64),
    Register(u8),
    Rule(u8, u8, u8),
    Unrule(u8),
    Parse(String, f64),
}

/// Numbers from the edges of their type.
fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::MAX / 2 + 1),
        Just(1 << 32),
        0_u64..100_000,
        any::<u64>()
    ]
}

fn operations() -> impl Strategy<Value = Operation> {
    use Operation as O;
    let id = || 0_u8..6;
    prop_oneof![
        (id(), edge(), id()).prop_map(|(a, b, c)| O::Add(a, b, c)),
        id().prop_map(O::Remove),
        (id(), any::<i64>()).prop_map(|(a, b)| O::Weigh(a, b)),
        (id(), edge()).prop_map(|(a, b)| O::Price(a, b)),
        (id(), any::<bool>()).prop_map(|(a, b)| O::Drain(a, b)),
        (id(), id()).prop_map(|(a, b)| O::Alias(a, b)),
        id().prop_map(O::Unalias),
        (id(), prop::collection::vec(id(), 0..4), edge()).prop_map(|(a, b, c)| O::Tenant(a, b, c)),
        edge().prop_map(O::SetClock),
        (id(), prop::array::uniform4(edge())).prop_map(|(a, b)| O::Route(a, b)),
        (id(), edge(), edge(), edge()).prop_map(|(a, b, c, d)| O::Finish(a, b, c, d)),
        id().prop_map(O::Drop),
        (id(), edge()).prop_map(|(a, b)| O::Record(a, b)),
        (id(), edge()).prop_map(|(a, b)| O::Explain(a, b)),
        id().prop_map(O::Register),
        (id(), id(), id()).prop_map(|(a, b, c)| O::Rule(a, b, c)),
        id().prop_map(O::Unrule),
        (any::<String>(), any::<f64>()).prop_map(|(a, b)| O::Parse(a, b)),
    ]
}

struct Rig {
    router: Router,
    clock: Arc<ManualClock>,
    held: Vec<SelectedProvider>,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let shared: Arc<ManualClock> = Arc::clone(&clock);
        Self { router: fleet::plain(2).shared_clock(shared).build().unwrap(), clock, held: Vec::new() }
    }

    fn run(&mut self, operation: Operation) {
        use Operation as O;
        let provider = |i: u8| fleet::provider(&format!("p{i}"));
        let model = |i: u8| ModelName::new(if i == 0 { "m".into() } else { format!("m{i}") }).unwrap();
        let update = |update| drop(self.router.update_routing_table([update]));
        match operation {
            O::Add(i, edge, j) => {
                let builder = ProviderCandidate::cohere(format!("p{i}"), format!("m{j}"));
                let builder = builder
                    .context_window(Tokens(edge))
                    .max_output_tokens(Tokens(edge))
                    .tokens_per_minute(edge);
                if let Ok(candidate) = CandidateBuilder::build(builder) {
                    update(Update::AddProvider {
                        models: vec![model(i), model(j)],
                        candidate: Box::new(candidate),
                    });
                }
            }
            O::Remove(i) => update(Update::RemoveProvider { provider: provider(i), model: None }),
            O::Weigh(i, weight) => {
                if let Ok(weight) = Weight::try_from(weight) {
                    update(Update::UpdateProviderWeight { provider: provider(i), model: None, weight });
                }
            }
            O::Price(i, price) => {
                let pricing = Pricing::per_million(NanoUsd(price), NanoUsd(price)).ok();
                update(Update::UpdatePricing { provider: provider(i), model: None, pricing });
            }
            O::Drain(i, available) => {
                update(Update::SetAvailable { provider: provider(i), model: None, available });
            }
            O::Alias(i, j) => update(Update::SetModelAlias { alias: model(i), target: model(j) }),
            O::Unalias(i) => update(Update::RemoveModelAlias { alias: model(i) }),
            O::Tenant(i, allowed, limit) => {
                let config = TenantRoutingConfig {
                    allowed_providers: Some(allowed.iter().map(|&i| provider(i)).collect()),
                    allowed_models: (!allowed.is_empty())
                        .then(|| allowed.iter().map(|&i| model(i)).collect()),
                    preferred_providers: allowed.iter().map(|&i| provider(i)).collect(),
                    cost_limit_per_request: Some(NanoUsd(limit)),
                    default_strategy: Some(LoadBalancingStrategy::Random),
                };
                update(Update::SetTenant { tenant: TenantId::new(format!("t{i}")).unwrap(), config });
            }
            O::SetClock(nanos) => self.clock.set(Timestamp::from_nanos(nanos)),
            O::Route(i, numbers) => {
                let (request, context) = inquiry(model(i), numbers);
                self.held.extend(self.router.route(&request, &context));
            }
            O::Finish(i, a, b, c) => {
                if let Some(selected) = self.take(i) {
                    selected.finish(&result(a, b, c));
                }
            }
            O::Drop(i) => drop(self.take(i)),
            O::Record(i, a) => {
                let id = CandidateId { provider: provider(i), model: model(i) };
                let _ = self.router.record_result(&result(a, a, a).at(id));
            }
            O::Explain(i, a) => {
                let (request, context) = inquiry(model(i), [a; 4]);
                assert!(!self.router.explain(&request, &context).to_string().is_empty());
            }
            O::Register(i) => {
                let name = LoadBalancingStrategy::Custom(StrategyName::new(format!("s{i}")).unwrap());
                self.router.register_strategy(name, Random::default()).unwrap();
            }
            O::Rule(i, a, b) => {
                let route = RouteConfig::providers([PoolMember {
                    provider: provider(a),
                    weight: Some(Weight::try_from(i64::from(b)).unwrap()),
                }]);
                let actions = vec![RoutingAction::RouteToPool(route), RoutingAction::RewriteModel(model(b))];
                let rule = Rule::new(RuleId::new(format!("r{i}")).unwrap(), RoutingAction::Chain(actions));
                let rule = rule.when(Condition::model(&model(a)));
                let _ = self.router.update_rules([RuleUpdate::put(rule)]);
            }
            O::Unrule(i) => {
                let _ = self.router.update_rules([RuleUpdate::Remove(RuleId::new(format!("r{i}")).unwrap())]);
            }
            O::Parse(text, number) => parse(&text, number),
        }
    }

    fn take(&mut self, i: u8) -> Option<SelectedProvider> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(usize::from(i) % self.held.len()))
    }

    fn check(&self) {
        let metrics = self.router.metrics();
        assert!(metrics.in_flight <= self.held.len() as u64);
        assert_eq!(metrics.total_routes, metrics.successful_routes + metrics.failed_routes);
    }
}

fn inquiry(model: ModelName, [a, b, c, d]: [u64; 4]) -> (GatewayRequest, RoutingContext) {
    let mut request = GatewayRequest::for_model(model)
        .prompt_tokens(Tokens(a))
        .max_tokens(Tokens(b))
        .streaming(c.is_multiple_of(2));
    request.cached_prompt_tokens = Tokens(c);
    request.max_cost = Some(NanoUsd(d));
    request.max_latency = Some(Duration::from_nanos(c));
    let mut context = RoutingContext::default()
        .with_tenant(TenantId::new(format!("t{}", a % 7)).unwrap())
        .with_deadline(Timestamp::from_nanos(d))
        .with_latency_target(Duration::MAX)
        .with_throughput_target(a as u32);
    context.cost_budget = Some(CostBudget { max_cost_per_request: NanoUsd(b), remaining: Some(NanoUsd(c)) });
    (request, context)
}

fn result(a: u64, b: u64, c: u64) -> RequestResult {
    let usage = TokenUsage { prompt: Tokens(a), cached: Tokens(b), completion: Tokens(c) };
    let latency = if a == u64::MAX { Duration::MAX } else { Duration::from_nanos(a) };
    match b % 3 {
        0 => RequestResult::success(latency, usage).first_token_after(Duration::from_nanos(c)),
        1 => RequestResult::failure(latency, "x").status(c as u16),
        _ => RequestResult::cancelled(latency),
    }
}

/// Whatever a configuration or a caller sends where a name or a number should be.
fn parse(text: &str, number: f64) {
    let _ =
        (ModelName::new(text), text.parse::<NanoUsd>(), NanoUsd::from_usd(number), Weight::try_from(number));
    let builder =
        ProviderCandidate::custom(text, text).endpoint(text).price_per_million(number, number).weight(number);
    let _ = builder.region(text).tag(text).build();
    let _ = Router::builder().alias(text, text).tenant(text, TenantRoutingConfig::default()).build();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn nothing_panics_and_nothing_leaks(operations in prop::collection::vec(operations(), 1..80)) {
        let mut rig = Rig::new();
        for operation in operations {
            rig.run(operation);
            rig.check();
        }
        rig.held.clear();
        prop_assert_eq!(rig.router.metrics().in_flight, 0);
    }
}
