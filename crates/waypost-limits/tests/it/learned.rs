//! What providers say is left.

use std::sync::Arc;
use std::time::Duration;

use waypost_core::{
    CandidateIndex, Directives, ModelName, NanoUsd, Pool, ProviderCandidate, ProviderLimits, ProviderQuota,
};
use waypost_limits::{Limits, PoolLimits};

use crate::rig::{ask, at, limits, used};

fn pool() -> (Arc<Limits>, Arc<Pool>, PoolLimits) {
    let build = |provider, per_minute: u32| {
        let candidate = ProviderCandidate::openai(provider, "gpt-4o");
        let candidate = if per_minute > 0 { candidate.requests_per_minute(per_minute) } else { candidate };
        Arc::new(candidate.build().unwrap())
    };
    let pool = Pool::new(ModelName::new("gpt-4o").unwrap(), vec![build("a", 10), build("b", 0)]).unwrap();
    let (limits, pool) = (Arc::new(limits([])), Arc::new(pool));
    let of_pool = limits.attach(&pool, at(0));
    (limits, pool, of_pool)
}

fn quota(remaining: u64, reset_seconds: u64) -> ProviderQuota {
    ProviderQuota { limit: None, remaining, reset_after: Some(Duration::from_secs(reset_seconds)) }
}

fn requests(remaining: u64, reset_seconds: u64) -> ProviderLimits {
    ProviderLimits { requests: Some(quota(remaining, reset_seconds)), ..ProviderLimits::default() }
}

/// How many requests one candidate takes at a time.
fn taken(limits: &Limits, of_pool: &PoolLimits, index: CandidateIndex, millis: u64) -> usize {
    let one = ask().at(millis).tokens(10);
    let take =
        || of_pool.reserve(&limits.find(&one.decision()), index, &one.decision(), Some(NanoUsd::ZERO)).ok();
    std::iter::from_fn(take).take(50).count()
}

#[test]
fn what_a_provider_says_restricts_until_its_window_ends() {
    let (limits, pool, of_pool) = pool();
    let b = pool.index_of("b").unwrap();
    assert_eq!(taken(&limits, &of_pool, b, 0), 50, "no limit is known");
    of_pool.observe(b, &requests(3, 30), at(0));
    assert_eq!(taken(&limits, &of_pool, b, 1_000), 3);
    let (mut set, mut directives) = (pool.all(), Directives::default());
    let late = ask().at(2_000);
    assert_eq!(of_pool.filter(&mut set, &late.decision(), &mut directives), 1);
    assert!(!set.contains(b));
    let wait = directives.retry_after.unwrap().as_secs_f64();
    assert!((27.9..=28.1).contains(&wait), "{wait}");
    assert_eq!(directives.spent.unwrap(), "said_by_provider");
    assert_eq!(taken(&limits, &of_pool, b, 30_100), 50, "the window is over");
}

#[test]
fn it_is_never_trusted_beyond_what_is_configured() {
    let (limits, pool, of_pool) = pool();
    let a = pool.index_of("a").unwrap();
    of_pool.observe(a, &requests(1_000_000, 60), at(0));
    assert_eq!(taken(&limits, &of_pool, a, 0), 10, "ten a minute are declared");
}

#[test]
fn of_two_words_about_one_window_the_lesser_counts() {
    let (limits, pool, of_pool) = pool();
    let b = pool.index_of("b").unwrap();
    of_pool.observe(b, &requests(5, 30), at(0));
    // An answer that was written before three others were counted comes in late.
    of_pool.observe(b, &requests(8, 30), at(200));
    assert_eq!(taken(&limits, &of_pool, b, 300), 5);
    // The next window's word is the newer.
    of_pool.observe(b, &requests(8, 60), at(30_000));
    assert_eq!(taken(&limits, &of_pool, b, 30_100), 8);
}

#[test]
fn tokens_are_corrected_by_what_answers_used() {
    let (limits, pool, of_pool) = pool();
    let b = pool.index_of("b").unwrap();
    let tokens = ProviderLimits { tokens: Some(quota(100, 60)), ..ProviderLimits::default() };
    of_pool.observe(b, &tokens, at(0));
    let one = ask().at(0).tokens(80);
    let reserve = || of_pool.reserve(&limits.find(&one.decision()), b, &one.decision(), Some(NanoUsd::ZERO));
    let first = reserve().unwrap();
    assert!(reserve().is_err(), "20 are left");
    first.settle(used(20), Some(NanoUsd::ZERO), at(10));
    assert!(reserve().is_ok(), "80 are left");
}

/// All that a provider may say, from one in a hundred years to nothing at all: nothing panics, and an hour later
/// nothing of it holds.
#[test]
fn whatever_is_said_ends() {
    let (limits, pool, of_pool) = pool();
    let b = pool.index_of("b").unwrap();
    for remaining in [0, 1, u64::from(u32::MAX), u64::MAX] {
        for reset_after in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            let quota = Some(ProviderQuota { limit: None, remaining, reset_after });
            let said =
                ProviderLimits { requests: quota, tokens: quota, input_tokens: quota, output_tokens: quota };
            of_pool.observe(b, &said, at(0));
            let _ = taken(&limits, &of_pool, b, 1);
        }
    }
    assert_eq!(taken(&limits, &of_pool, b, 3_601_000), 50);
}
