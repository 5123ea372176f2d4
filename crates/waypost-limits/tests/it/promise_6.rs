//! Promise 6: in any window, what is admitted is at most rate × window + burst. And not less than that, where somebody
//! asks for it.

use core::time::Duration;

use proptest::prelude::*;
use waypost_core::{NanoUsd, Timestamp};
use waypost_limits::{Limit, Rate, Reservation};

use crate::rig::{ask, at, id, limits, used};

/// What happens to a limit on tokens.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody wants so many.
    Ask(u64),
    /// One of those that run ends, having used a share of what it took, in percent, up to more than that.
    End { which: usize, percent: u64 },
    /// One of those that run was not sent.
    Release(usize),
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The next call sees a clock that is behind.
    ClockIsBehind(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..120_u64).prop_map(Step::Ask),
        3 => (any::<usize>(), 0..=100_u64).prop_map(|(which, percent)| Step::End { which, percent }),
        1 => any::<usize>().prop_map(Step::Release),
        3 => (0..4_000_u64).prop_map(Step::Wait),
        1 => (1..3_000_u64).prop_map(Step::ClockIsBehind),
    ]
}

/// One admission, as a provider sees it: when, and how much was really used.
struct Admission {
    millis: u64,
    used: u64,
    taken: u64,
    open: Option<Reservation>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Every window over what was really used, however late it became known. The oracle counts windows one by one.
    #[test]
    fn no_window_admits_more_than_rate_and_burst(
        quota in 1..200_u64, seconds in 1..90_u64, burst in 1..150_u64,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let rate = Rate::new(quota, Duration::from_secs(seconds)).unwrap().burst(burst).unwrap();
        let limits = limits([Limit::tokens(id("tokens"), rate)]);
        let (mut now, mut behind) = (0_u64, 0_u64);
        let mut admitted: Vec<Admission> = Vec::new();
        for step in steps {
            let seen = now.saturating_sub(behind);
            let running: Vec<usize> = (0..admitted.len()).filter(|&one| admitted[one].open.is_some()).collect();
            match step {
                Step::Ask(tokens) => {
                    if let Some(open) = ask().at(seen).tokens(tokens).reserve(&limits) {
                        prop_assert!(tokens <= burst, "never grantable");
                        admitted.push(Admission { millis: seen, used: tokens, taken: tokens, open: Some(open) });
                    }
                    behind = 0;
                }
                Step::End { which, percent } if !running.is_empty() => {
                    let one = &mut admitted[running[which % running.len()]];
                    one.used = one.taken * percent / 100;
                    one.open.take().unwrap().settle(used(one.used), Some(NanoUsd::ZERO), at(now));
                }
                Step::Release(which) if !running.is_empty() => {
                    let one = &mut admitted[running[which % running.len()]];
                    one.used = 0;
                    one.open.take().unwrap().release(at(now));
                }
                Step::Wait(millis) => now += millis,
                Step::ClockIsBehind(millis) => behind = millis,
                Step::End { .. } | Step::Release(_) => {}
            }
        }
        // By the clocks that callers saw.
        admitted.sort_by_key(|one| one.millis);
        for first in 0..admitted.len() {
            let mut sum = 0_u128;
            for last in first..admitted.len() {
                sum += u128::from(admitted[last].used);
                let window = u128::from(admitted[last].millis - admitted[first].millis);
                // In thousandths of a token per second of the period, so that all is whole.
                let most = u128::from(burst) * 1_000 * u128::from(seconds) + window * u128::from(quota);
                prop_assert!(sum * 1_000 * u128::from(seconds) <= most, "{sum} in {window} ms");
            }
        }
    }

    /// TB2, K06: whoever always asks gets everything: burst and refill, to the last one.
    #[test]
    fn nothing_is_lost(
        quota in 1..100_000_u64, millis in 1..100_000_u64, burst in 1..50_u64,
        waits in proptest::collection::vec(0..5_000_u64, 1..40),
    ) {
        let rate = Rate::new(quota, Duration::from_millis(millis));
        prop_assume!(rate.is_ok());
        let limits = limits([Limit::requests(id("requests"), rate.unwrap().burst(burst).unwrap())]);
        let (mut now, mut got) = (0_u64, 0_u128);
        // At the limit all the time, so that the bucket never is full; the exact level in thousandths of the period.
        let mut level = u128::from(burst) * u128::from(millis);
        for wait in waits {
            let ask = ask().at(now);
            let fit = level / u128::from(millis);
            for _ in 0..fit.min(2_000) {
                prop_assert!(ask.reserve(&limits).is_some(), "{fit} fit, {got} so far");
                got += 1;
                level -= u128::from(millis);
            }
            if fit <= 2_000 {
                prop_assert!(ask.reserve(&limits).is_none());
            }
            now += wait;
            level = (level + u128::from(wait) * u128::from(quota)).min(u128::from(burst) * u128::from(millis));
        }
    }

    /// The error says when to come back: then it is admitted, and not a nanosecond before.
    #[test]
    fn whoever_comes_back_when_told_is_admitted(
        quota in 1..5_000_u64, seconds in 1..100_u64, tokens in proptest::collection::vec(1..60_u64, 1..30),
    ) {
        let rate = Rate::new(quota, Duration::from_secs(seconds)).unwrap().burst(60).unwrap();
        let limits = limits([Limit::tokens(id("tokens"), rate)]);
        let mut now = at(777);
        for tokens in tokens {
            let mut one = ask().tokens(tokens);
            one.now = now;
            let Err(spent) = limits.reserve(&one.decision(), None, None) else { continue };
            let wait = spent.retry_after().expect("a rate tells when");
            one.now = Timestamp::from_nanos((now + wait).as_nanos() - 1);
            prop_assert!(limits.reserve(&one.decision(), None, None).is_err(), "a nanosecond early");
            now = now + wait;
            one.now = now;
            prop_assert!(limits.reserve(&one.decision(), None, None).is_ok(), "on time");
        }
    }
}

#[test]
fn b52_what_never_fits_says_so_and_nothing_is_free() {
    let rate = Rate::per_minute(100).unwrap();
    let limits = limits([Limit::tokens(id("tokens"), rate)]);
    for huge in [101, u64::MAX / 1_024, u64::MAX] {
        let ask = ask().tokens(huge);
        let spent = limits.reserve(&ask.decision(), None, None).unwrap_err();
        assert_eq!((spent.why(), spent.retry_after()), (waypost_limits::Why::TooLarge, None), "{huge}");
    }
    assert!(ask().tokens(100).reserve(&limits).is_some());
    assert!(ask().tokens(0).reserve(&limits).is_some(), "nothing of a spent limit");
    assert!(ask().tokens(1).reserve(&limits).is_none());
    // More is used than was taken, up to all that a number holds: it is a debt, and no panic.
    let later = ask().at(60_000).tokens(1);
    later.reserve(&limits).unwrap().settle(used(u64::MAX), None, later.now);
    assert!(ask().at(u64::from(u32::MAX)).tokens(1).reserve(&limits).is_none());
}

#[test]
fn t05_the_ends_of_time() {
    let limits = limits([Limit::requests(id("requests"), Rate::per_second(1 << 24).unwrap())]);
    let mut end = ask();
    end.now = Timestamp::MAX;
    // Admitted or not, nothing overflows; time that goes back a whole life later neither.
    let _ = end.reserve(&limits);
    let _ = ask().reserve(&limits);
    let slow = crate::rig::limits([Limit::requests(id("requests"), Rate::per_day(1).unwrap())]);
    end.now = Timestamp::ORIGIN + Duration::from_secs(100 * 365 * 86_400);
    assert!(end.reserve(&slow).is_some() && end.reserve(&slow).is_none(), "a century on");
    assert!(ask().reserve(&slow).is_none(), "what was taken later is taken");
}
