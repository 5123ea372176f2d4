//! The rules crate without the facade: an engine with a few rules that narrows a set, and says why. Run with
//! `cargo run -p waypost-rules --example alone`.

use std::error::Error;
use std::time::{Duration, SystemTime};

use waypost_core::{
    DecisionContext, Directives, GatewayRequest, LoadBalancingStrategy, Pool, ProviderId, RejectionReason,
    RequestPriority, RoutingContext, RuleId, TenantId, Timestamp, TokenUsage, Tokens,
};
use waypost_rules::{
    Bounds, Condition, Priorities, RouteConfig, RoutingAction, RoutingRulesEngine, Rule, TimeWindow,
};

/// 2026-11-28, a Saturday, 01:30 in Berlin.
const SATURDAY_NIGHT: Duration = Duration::from_secs(1_795_825_800);

/// One rule turns away, one notes something, two say where to or how.
fn add_rules(engine: &RoutingRulesEngine) -> Result<(), Box<dyn Error>> {
    let reason = RejectionReason::Custom("the contract has ended".to_owned());
    let closed = Rule::new(RuleId::new("closed")?, RoutingAction::Reject { reason })
        .when(Condition::Tenant(TenantId::new("initech")?.into()))
        .priority(100);
    let long = Rule::new(RuleId::new("long")?, RoutingAction::AddTag("long".parse()?))
        .when(Condition::PromptTokens(Bounds::at_least(32_000)))
        .priority(50)
        .and_continue();
    let europe = RouteConfig::providers([ProviderId::new("azure-eu")?, ProviderId::new("vertex-eu")?])
        .by(LoadBalancingStrategy::LeastLatency);
    let eu = Rule::new(RuleId::new("eu")?, RoutingAction::RouteToPool(europe))
        .when(Condition::Tenant(TenantId::new("acme")?.into()));
    let night = TimeWindow::new("22:00".parse()?, "06:00".parse()?, "Europe/Berlin")?;
    let cheap = RoutingAction::ApplyStrategy(LoadBalancingStrategy::CostOptimized);
    let night = Rule::new(RuleId::new("night-is-cheap")?, cheap).when(Condition::all([
        Condition::Time(vec![night]),
        !Condition::Priority(Priorities::at_least(RequestPriority::High)),
    ]));
    for rule in [closed, long, eu, night] {
        engine.add_rule(rule)?;
    }
    Ok(())
}

/// Asks the rules about one request of a tenant, and tells what they say and what each of them made of it.
#[expect(clippy::print_stdout, reason = "an example tells what it does")]
fn tell(
    engine: &RoutingRulesEngine,
    pool: &Pool,
    tenant: &str,
    prompt: u64,
) -> Result<usize, Box<dyn Error>> {
    let request = GatewayRequest::new("gpt-4o")?;
    let context = RoutingContext::default().with_tenant(TenantId::new(tenant)?);
    let usage = TokenUsage::new(Tokens(prompt), Tokens(500));
    let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, usage)
        .at_wall_time(SystemTime::UNIX_EPOCH + SATURDAY_NIGHT);

    let (mut set, mut directives) = (pool.all(), Directives::default());
    println!("{tenant}, {prompt} tokens:");
    let left = match engine.apply_rules(&mut set, &decision, &mut directives) {
        Ok(()) => {
            let names: Vec<_> = set.iter().map(|index| pool[index].provider().as_str()).collect();
            let strategy = directives.strategy.map(|strategy| format!(", chosen by {strategy}"));
            println!("  left are {}{}", names.join(", "), strategy.unwrap_or_default());
            set.len()
        }
        Err(rejection) => {
            println!("  {rejection}");
            0
        }
    };
    for trace in engine.explain(&decision) {
        println!("    {trace}");
    }
    Ok(left)
}

fn main() -> Result<(), Box<dyn Error>> {
    let engine = RoutingRulesEngine::default();
    add_rules(&engine)?;

    let pool = Pool::from_weights([("openai", 1), ("azure-eu", 1), ("vertex-eu", 1)])?;
    assert_eq!(tell(&engine, &pool, "initech", 900)?, 0, "turned away");
    assert_eq!(tell(&engine, &pool, "acme", 40_000)?, 2, "the two of the EU");
    assert_eq!(tell(&engine, &pool, "globex", 900)?, 3, "anywhere, the cheapest");

    // One rule less, while others ask.
    engine.set_rule_enabled(&RuleId::new("eu")?, false)?;
    assert_eq!(tell(&engine, &pool, "acme", 900)?, 3, "anywhere");
    let metrics = engine.metrics();
    assert_eq!((metrics.rule_evaluations, metrics.unmatched), (4, 0));
    Ok(())
}
