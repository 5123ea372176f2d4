//! Promise 1: in-flight counts return to zero after any mix of success, failure, cancellation and panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use waypost::core::{ManualClock, Outcome, RoutingTableUpdate, Timestamp, TokenUsage, Tokens};
use waypost::{RequestResult, Router, RoutingContext, SelectedProvider};

use crate::fleet;

/// How a request may end.
#[derive(Debug, Clone, Copy)]
enum End {
    Success,
    Failure,
    Cancel,
    Panic,
    Detach,
    OnAnotherThread,
}

fn ends() -> impl Strategy<Value = End> {
    prop::sample::select(vec![
        End::Success,
        End::Failure,
        End::Cancel,
        End::Panic,
        End::Detach,
        End::OnAnotherThread,
    ])
}

fn end(selected: SelectedProvider, how: End) {
    let success = RequestResult::success(Duration::from_millis(5), TokenUsage::new(Tokens(1), Tokens(1)));
    match how {
        End::Success => selected.finish(&success),
        End::Failure => selected.finish(&RequestResult::failure(Duration::from_millis(5), "reset")),
        End::Cancel => drop(selected),
        End::Detach => selected.detach(),
        End::OnAnotherThread => {
            std::thread::scope(|scope| drop(scope.spawn(move || selected.finish(&success))));
        }
        End::Panic => {
            let panicked = catch_unwind(AssertUnwindSafe(move || {
                let _held = selected;
                std::panic::resume_unwind(Box::new("the caller's bug"));
            }));
            assert!(panicked.is_err());
        }
    }
}

fn in_flight(router: &Router) -> Vec<(u64, u64)> {
    let of = |candidate: &Arc<waypost::ProviderCandidate>| {
        let in_flight = candidate.live().in_flight();
        (in_flight.requests, in_flight.tokens.0)
    };
    router.routing_table().candidates().map(of).collect()
}

fn route(router: &Router) -> SelectedProvider {
    let request = fleet::request().prompt_bytes(400).max_tokens(Tokens(50));
    router.route(&request, &RoutingContext::default()).unwrap()
}

proptest! {
    #[test]
    fn trap_12_nothing_is_left_in_flight(steps in prop::collection::vec((ends(), 0_usize..8), 1..120), reload in 0_usize..120) {
        let router = fleet::plain(3).build().unwrap();
        let mut open = Vec::new();
        for (number, (how, pick)) in steps.into_iter().enumerate() {
            open.push(route(&router));
            if number == reload {
                // Removed while requests are in flight there, and added again.
                router.update_routing_table([RoutingTableUpdate::RemoveProvider { provider: fleet::provider("p0"), model: None }]).unwrap();
            }
            if pick < open.len() {
                end(open.swap_remove(pick), how);
            }
            let known: Vec<_> = open.iter().filter(|s| number < reload || s.candidate().provider() != "p0").collect();
            let sum = in_flight(&router).iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            prop_assert_eq!(sum, (known.len() as u64, known.len() as u64 * 150));
        }
        open.into_iter().for_each(|selected| end(selected, End::Cancel));
        prop_assert!(in_flight(&router).iter().all(|&count| count == (0, 0)));
    }
}

#[test]
fn lc_7_threads_that_finish_cancel_and_panic_leave_nothing() {
    let router = fleet::plain(5).build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let router = &router;
            scope.spawn(move || {
                let all = [End::Success, End::Failure, End::Cancel, End::Panic, End::Detach];
                (0..2_000).for_each(|i| end(route(router), all[(i + thread) % all.len()]));
            });
        }
    });
    assert!(in_flight(&router).iter().all(|&count| count == (0, 0)));
    let metrics = router.metrics();
    assert_eq!((metrics.total_routes, metrics.successful_routes, metrics.in_flight), (8_000, 8_000, 0));
    let outcomes: Vec<_> = router.routing_table().candidates().map(|c| c.live().outcomes()).collect();
    let sum = |of: fn(&waypost::core::OutcomeCounts) -> u64| outcomes.iter().map(of).sum::<u64>();
    // Of five ends one succeeds, one fails, two are cancelled (one by a panic), one is not recorded.
    assert_eq!((sum(|o| o.succeeded), sum(|o| o.failed), sum(|o| o.cancelled)), (1_600, 1_600, 3_200));
}

#[test]
fn a_dropped_selection_is_a_cancellation_with_the_time_it_took() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_nanos(1)));
    let shared: Arc<ManualClock> = Arc::clone(&clock);
    let router = fleet::plain(1).shared_clock(shared).build().unwrap();
    let second = Duration::from_secs(1);
    let usage = TokenUsage::new(Tokens(1), Tokens(1));
    route(&router).finish(&RequestResult::success(second, usage).first_token_after(second / 2));

    let mut left_early = route(&router);
    clock.advance(second / 2);
    left_early.first_content();
    clock.advance(second * 60);
    drop(left_early);
    let table = router.routing_table();
    let live = table.candidates().next().unwrap().live();
    assert_eq!((live.outcomes().cancelled, live.outcomes().total()), (1, 2));
    let now = router.clock().now();
    assert!(live.latency().total.average(now) > Some(second * 30), "it took that long at least");
    assert_eq!(
        live.latency().time_to_first_token.average(now),
        Some(second / 2),
        "a reader who leaves is no slowness"
    );
}

#[test]
fn a_result_without_a_lease_is_recorded_where_it_belongs() {
    let router = fleet::plain(2).build().unwrap();
    let selected = route(&router);
    let id = selected.candidate().id().clone();
    selected.detach();
    assert_eq!(router.metrics().in_flight, 0);
    let result = RequestResult::failure(Duration::from_millis(5), "reset").status(502).at(id.clone());
    assert_eq!(result.outcome, Outcome::Failure);
    router.record_result(&result).unwrap();
    let table = router.routing_table();
    let of =
        |provider: &str| table.candidates().find(|c| c.provider() == provider).unwrap().live().outcomes();
    assert_eq!(of(id.provider.as_str()).failed, 1);

    router.record_result(&RequestResult::cancelled(Duration::ZERO)).expect_err("it names no candidate");
    let stranger = waypost::core::CandidateId { provider: fleet::provider("stranger"), model: id.model };
    router
        .record_result(&RequestResult::cancelled(Duration::ZERO).at(stranger))
        .expect_err("nobody knows it");
}
