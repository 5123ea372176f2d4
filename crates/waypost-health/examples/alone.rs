//! The health crate without the facade: a loop of one's own that picks the first healthy provider, fails over to the
//! next, and sees a provider leave and come back. Run with `cargo run -p waypost-health --example alone`.

use core::time::Duration;
use std::sync::Arc;

use waypost_core::{CandidateIndex, Directives, Pool, RequestResult, Timestamp, TokenUsage};
use waypost_health::{Admission, HealthAwareRouter, HealthConfig, PoolHealth};

/// One request in every tenth of a second for twenty seconds.
const REQUESTS: u64 = 200;

/// Pretends to call a provider: `first` is down between second 3 and second 9.
fn call(provider: &str, second: f64) -> RequestResult {
    if provider == "first" && (3.0..9.0).contains(&second) {
        return RequestResult::failure(Duration::from_millis(40), "overloaded").status(529);
    }
    RequestResult::success(Duration::from_millis(700), TokenUsage::default())
        .first_token_after(Duration::from_millis(250))
}

/// Sends one request to the first who is healthy, then to the next; tells who answered.
fn send(pool: &Pool, health: &PoolHealth, now: Timestamp) -> Option<CandidateIndex> {
    let (mut set, mut directives) = (pool.all(), Directives::default());
    health.filter_healthy(&mut set, now, &mut directives);
    while let Some(index) = set.nth(0) {
        set.remove(index);
        let Some(admission) = Admission::new(health, index, now, directives.panic) else { continue };
        let result = call(pool[index].provider().as_str(), now.since(Timestamp::ORIGIN).as_secs_f64());
        admission.settle(&result, now);
        if result.is_success() {
            return Some(index);
        }
    }
    None
}

#[expect(clippy::print_stdout, reason = "an example tells what it does")]
fn main() -> Result<(), waypost_core::PoolError> {
    let health = HealthAwareRouter::new(HealthConfig::default(), 7).on_event(|event| {
        println!("{:5.1} s  {event}", event.now.since(Timestamp::ORIGIN).as_secs_f64());
    });
    let pool = Arc::new(Pool::from_weights([("first", 1), ("second", 1), ("third", 1)])?);
    let of_pool = health.attach(&pool, Timestamp::ORIGIN);

    let mut answered = [0; 3];
    for number in 0..REQUESTS {
        let now = Timestamp::ORIGIN + Duration::from_millis(number * 100);
        if let Some(index) = send(&pool, &of_pool, now) {
            answered[index.get()] += 1;
        }
    }
    println!("answered by first, second, third: {answered:?}");
    assert_eq!(answered.iter().sum::<u64>(), REQUESTS, "nobody saw an error");
    Ok(())
}
