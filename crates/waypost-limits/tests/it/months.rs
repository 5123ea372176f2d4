//! Periods of budgets, by a clock that is handed in and may misbehave.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use waypost_core::NanoUsd;
use waypost_limits::{Budget, Limit, LimitChange, Limits, Period};

use crate::rig::{ask, at, id, limits, money, used};

const DAY: u64 = 86_400;

fn on(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn monthly(nanos: u64, zone: &str) -> Limits {
    let period = Period::MONTH.in_zone(zone).unwrap();
    limits([Limit::budget(id("month"), Budget::new(NanoUsd(nanos), period))])
}

fn spend(limits: &Limits, seconds: u64, nanos: u64) -> bool {
    let ask = ask().on(on(seconds));
    ask.pay(limits, nanos).map(|reservation| reservation.settle(used(0), None, ask.now)).is_some()
}

/// T04: months of 28 to 31 days, 29 February, the end of the year, and midnight in a zone with summer time.
#[test]
fn t04_a_month_begins_anew_on_its_first_day() {
    // 2024-02-29, 2023-02-28, 2024-12-31 and 2024-01-31, each 23:59:59 in UTC.
    for last in [1_709_251_199, 1_677_628_799, 1_735_689_599, 1_706_745_599] {
        let limits = monthly(10, "UTC");
        assert!(spend(&limits, last - DAY, 6) && !spend(&limits, last, 5), "{last}: the month is one");
        assert!(spend(&limits, last + 1, 10), "{last}: the next is another");
        assert!(!spend(&limits, last + 20 * DAY, 1), "{last}");
    }
    // Midnight of 1 April 2024 in Berlin is 22:00 in UTC the day before: summer time began on 31 March.
    let berlin = monthly(10, "Europe/Berlin");
    assert!(spend(&berlin, 1_711_922_399, 10) && !spend(&berlin, 1_711_922_399, 1));
    assert!(spend(&berlin, 1_711_922_400, 10));
}

/// T02: an hour back: nothing panics, no wait is negative, and no period opens again.
#[test]
fn t02_a_clock_that_goes_back_opens_nothing_again() {
    let limits = monthly(10, "UTC");
    let april = 1_711_929_600;
    assert!(spend(&limits, april - 1, 10));
    assert!(spend(&limits, april + 1, 7), "April has begun");
    assert!(!spend(&limits, april - 3_600, 5), "an hour back it is April still");
    assert!(spend(&limits, april - 3_600, 3));
    let back = ask().on(on(april - 3_600));
    let spent = limits.reserve(&back.decision(), None, Some(NanoUsd(1))).unwrap_err();
    assert_eq!(spent.retry_after(), Some(Duration::from_secs(30 * DAY + 3_600)));
    assert_eq!(money(&limits, "month", &back), (10, 0, 0));
    // A month ahead and back again: the one that was begun stays.
    assert!(spend(&limits, april + 31 * DAY, 10));
    assert!(!spend(&limits, april + 2, 1), "no double grant");
}

/// BD7: what was reserved in one month settles in it, whenever that is.
#[test]
fn a_reservation_settles_in_the_month_it_was_made_in() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let limits = monthly(10, "UTC").on_event(move |event| {
        if let LimitChange::PeriodBegan { settled_before } = event.change {
            told.lock().unwrap().push(settled_before.0);
        }
    });
    let (march, april) = (1_711_929_599, 1_711_929_600);
    let reservation = ask().on(on(march)).pay(&limits, 9).unwrap();
    assert!(spend(&limits, april, 10), "April has all its money");
    reservation.settle(used(0), Some(NanoUsd(9)), at(60_000));
    assert_eq!(money(&limits, "month", &ask().on(on(april))), (10, 0, 0), "April is not touched");
    assert_eq!(*events.lock().unwrap(), [0], "March was told of once, with what was settled by then");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// T04, T05 over a century and more, with a clock that jumps back and forth: what is settled in the months that
    /// were begun is what was spent, and each month holds its limit.
    #[test]
    fn t04_a_century_of_jumps(
        start in 0..3_155_760_000_u64,
        jumps in proptest::collection::vec((-40 * 86_400_i64..70 * 86_400, 1..10_u64), 1..80),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Pacific/Apia", "America/St_Johns"]),
    ) {
        let begun = Arc::new(Mutex::new(0_u64));
        let told = Arc::clone(&begun);
        let limits = monthly(20, zone).on_event(move |event| {
            if let LimitChange::PeriodBegan { settled_before } = event.change {
                assert!(settled_before.0 <= 20);
                *told.lock().unwrap() += settled_before.0;
            }
        });
        let (mut seconds, mut furthest, mut spent) = (start, start, 0);
        for (jump, nanos) in jumps {
            seconds = seconds.saturating_add_signed(jump);
            furthest = furthest.max(seconds);
            if spend(&limits, seconds, nanos) {
                spent += nanos;
            }
            // From where it has been furthest, so that the report begins no month of its own.
            let (settled, reserved, left) = money(&limits, "month", &ask().on(on(furthest)));
            prop_assert!(settled + left == 20 || settled == 0 && left == 20, "{} {}", settled, left);
            prop_assert_eq!(reserved, 0);
        }
        let settled = money(&limits, "month", &ask().on(SystemTime::UNIX_EPOCH)).0;
        prop_assert_eq!(*begun.lock().unwrap() + settled, spent);
    }
}

#[test]
fn t05_the_ends_of_the_calendar() {
    let limits = monthly(10, "Pacific/Apia");
    let beyond = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(i64::MAX as u64 / 2));
    let before = SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(i64::MAX as u64 / 2));
    for wall in [before, beyond, Some(SystemTime::UNIX_EPOCH)].into_iter().flatten() {
        let _ = ask().on(wall).pay(&limits, 1);
        let _ = limits.reports(waypost_core::Timestamp::MAX, wall);
    }
}
