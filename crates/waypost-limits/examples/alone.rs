//! The crate alone: a day in the life of a tenant with a budget and a limit on tokens.
//!
//! `cargo run -p waypost-limits --example alone`

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::{Duration, SystemTime};

use waypost_core::{
    DecisionContext, GatewayRequest, LimitId, NanoUsd, RoutingContext, Timestamp, TokenUsage, Tokens,
};
use waypost_limits::{Budget, Dimension, Limit, Limits, LimitsConfig, Period, Rate};

fn main() -> Result<(), Box<dyn Error>> {
    let tokens = Limit::tokens(LimitId::new("tokens")?, Rate::per_minute(20_000)?).per(Dimension::Tenant);
    let dollars =
        Limit::budget(LimitId::new("day")?, Budget::new("1".parse()?, Period::DAY)).per(Dimension::Tenant);
    let limits = Limits::new([tokens, dollars], LimitsConfig::default(), Timestamp::ORIGIN)?
        .on_event(|event| println!("          {event}"));

    let (request, context) =
        (GatewayRequest::new("gpt-4o")?, RoutingContext::default().with_tenant("acme".parse()?));
    let expected = TokenUsage::new(Tokens(4_000), Tokens(1_000));
    // A request every ten seconds: more than the tokens admit, and by and by more than the budget.
    for second in (0..3_000).step_by(10).chain([86_400]) {
        let now = Timestamp::ORIGIN + Duration::from_secs(second);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let decision = DecisionContext::new(&request, &context, None, now, expected).at_wall_time(wall);
        match limits.reserve(&decision, None, Some(NanoUsd(20_000_000))) {
            Ok(reservation) => {
                let used = TokenUsage::new(Tokens(4_000), Tokens(700));
                reservation.settle(used, Some(NanoUsd(17_000_000)), now);
            }
            Err(spent) if second % 300 == 0 => println!("{second:>6} s  {spent}"),
            Err(_) => {}
        }
    }
    let day_later = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
    for report in limits.reports(Timestamp::ORIGIN + Duration::from_secs(86_400), day_later) {
        println!("at the end {} ({}): {:?}", report.limit, report.subject, report.level);
    }
    Ok(())
}
