use super::*;
use proptest::prelude::*;

const UNITS: [PeriodUnit; 5] =
    [PeriodUnit::Hour, PeriodUnit::Day, PeriodUnit::Week, PeriodUnit::Month, PeriodUnit::Total];

/// Odd offsets, shifts of half an hour, shifts at and just after midnight, a day that never was, none.
const ZONES: [&str; 13] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "America/St_Johns",
    "America/Havana",
    "America/Caracas",
    "Pacific/Kiritimati",
    "Africa/Monrovia",
];

fn period(unit: PeriodUnit, zone: &str) -> Period {
    Period::of(unit).in_zone(zone).unwrap()
}

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// Start and end of the window around a moment, in universal time.
fn window(unit: PeriodUnit, zone: &str, moment: &str) -> (String, String) {
    let window = period(unit, zone).window_at(at(moment));
    let text = |ms| timestamp(ms).unwrap().to_string();
    (text(window.start_ms), text(window.end_ms))
}

#[track_caller]
fn check(unit: PeriodUnit, zone: &str, moment: &str, start: &str, end: &str) {
    assert_eq!(window(unit, zone, moment), (start.to_owned(), end.to_owned()));
}

/// A window holds its moment and all between its ends, and its neighbours begin and end where it ends and begins.
fn tiles(period: &Period, at: i64) -> Result<PeriodWindow, TestCaseError> {
    let window = period.window_at(at);
    prop_assert!(window.start_ms <= at && at < window.end_ms, "{period} {at} {window:?}");
    let middle = i64::midpoint(window.start_ms, window.end_ms);
    for inside in [window.start_ms, middle, window.end_ms - 1] {
        prop_assert_eq!(period.window_at(inside), window, "{} {}", period, inside);
    }
    if window.end_ms != i64::MAX {
        let next = period.window_at(window.end_ms);
        prop_assert_eq!(next.start_ms, window.end_ms, "{} {}", period, at);
        prop_assert!(window < next);
    }
    if window.start_ms != i64::MIN {
        prop_assert_eq!(period.window_at(window.start_ms - 1).end_ms, window.start_ms, "{} {}", period, at);
    }
    Ok(window)
}

/// What a clock and a calendar on the wall show.
fn local(period: &Period, at: i64) -> jiff::civil::DateTime {
    period.zone.to_datetime(timestamp(at).unwrap())
}

/// The date that a calendar on the wall shows; none before all time.
fn date_shown(period: &Period, at: i64) -> Option<Date> {
    timestamp(at).map(|at| period.zone.to_datetime(at).date())
}

/// The moments around which the zone's clock changes in the hundred years.
fn shifts(zone: &TimeZone) -> impl Iterator<Item = i64> {
    let (first, last) = (timestamp(0).unwrap(), at("2070-01-01T00:00:00Z"));
    zone.following(first)
        .map(|shift| shift.timestamp().as_millisecond())
        .take_while(move |&shift| shift < last)
}

#[test]
fn the_calendar_is_asked_from_the_year_1_to_the_year_9999() {
    assert_eq!(CALENDAR, (at("0001-01-01T00:00:00Z"), at("9999-01-01T00:00:00Z")));
}

#[test]
fn t04_leap_days_belong_to_february() {
    let month = |moment, start, end| check(PeriodUnit::Month, "UTC", moment, start, end);
    month("2024-02-29T23:59:59.999Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z");
    month("2024-03-01T00:00:00Z", "2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z");
    month("2023-02-28T23:59:59.999Z", "2023-02-01T00:00:00Z", "2023-03-01T00:00:00Z");
    month("2000-02-29T12:00:00Z", "2000-02-01T00:00:00Z", "2000-03-01T00:00:00Z");
    month("2100-02-28T12:00:00Z", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z");
    check(PeriodUnit::Day, "UTC", "2024-02-29T12:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z");
    check(PeriodUnit::Day, "UTC", "2023-02-28T12:00:00Z", "2023-02-28T00:00:00Z", "2023-03-01T00:00:00Z");
    check(PeriodUnit::Week, "UTC", "2024-02-29T12:00:00Z", "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z");
}

#[test]
fn t04_years_end_in_the_zones_own_time() {
    let last = "2026-12-31T22:59:59.999Z";
    check(PeriodUnit::Month, "Europe/Berlin", last, "2026-11-30T23:00:00Z", "2026-12-31T23:00:00Z");
    check(PeriodUnit::Day, "Europe/Berlin", last, "2026-12-30T23:00:00Z", "2026-12-31T23:00:00Z");
    check(PeriodUnit::Hour, "Europe/Berlin", last, "2026-12-31T22:00:00Z", "2026-12-31T23:00:00Z");
    // A week goes over the end of the year: 2026-12-28 is a Monday.
    check(PeriodUnit::Week, "Europe/Berlin", last, "2026-12-27T23:00:00Z", "2027-01-03T23:00:00Z");
    check(PeriodUnit::Month, "UTC", "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z");
}

#[test]
fn t04_months_of_31_days_are_followed_by_shorter_ones() {
    for (month, next) in
        [("2025-01", "2025-02"), ("2025-03", "2025-04"), ("2025-05", "2025-06"), ("2025-08", "2025-09")]
    {
        let (first, then) = (format!("{month}-01T00:00:00Z"), format!("{next}-01T00:00:00Z"));
        check(PeriodUnit::Month, "UTC", &format!("{month}-31T12:00:00Z"), &first, &then);
    }
}

#[test]
fn t04_days_are_short_and_long_where_clocks_change_in_berlin() {
    let day = |moment, start, end| check(PeriodUnit::Day, "Europe/Berlin", moment, start, end);
    day("2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    day("2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
    let hour = |moment, start, end| check(PeriodUnit::Hour, "Europe/Berlin", moment, start, end);
    // 01:59:59 is followed by 03:00:00.
    hour("2026-03-29T00:59:59Z", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z");
    hour("2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z");
    // From 02:00 to 03:00 twice.
    hour("2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z");
    hour("2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z");
}

#[test]
fn t04_days_and_months_are_short_and_long_where_clocks_change_in_new_york() {
    let new_york = "America/New_York";
    let day = |moment, start, end| check(PeriodUnit::Day, new_york, moment, start, end);
    day("2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z");
    day("2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z");
    check(
        PeriodUnit::Month,
        new_york,
        "2026-03-08T12:00:00Z",
        "2026-03-01T05:00:00Z",
        "2026-04-01T04:00:00Z",
    );
    check(
        PeriodUnit::Month,
        new_york,
        "2026-11-08T12:00:00Z",
        "2026-11-01T04:00:00Z",
        "2026-12-01T05:00:00Z",
    );
    check(PeriodUnit::Week, new_york, "2026-03-08T12:00:00Z", "2026-03-02T05:00:00Z", "2026-03-09T04:00:00Z");
}

#[test]
fn t04_a_date_that_was_left_out_has_no_window() {
    // Apia went from the end of 2011-12-29 to the beginning of 2011-12-31.
    let apia = "Pacific/Apia";
    check(PeriodUnit::Day, apia, "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
    check(PeriodUnit::Day, apia, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z");
    check(PeriodUnit::Hour, apia, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T11:00:00Z");
    // The week of six days.
    check(PeriodUnit::Week, apia, "2011-12-30T10:00:00Z", "2011-12-26T10:00:00Z", "2012-01-01T10:00:00Z");
}

#[test]
fn t04_days_begin_where_the_clock_passes_midnight() {
    // São Paulo, 2018-11-04: 23:59:59 was followed by 01:00:00.
    let sao_paulo = "America/Sao_Paulo";
    check(PeriodUnit::Day, sao_paulo, "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
    // 2018-02-17: 23:59:59 was followed by 23:00:00.
    check(PeriodUnit::Day, sao_paulo, "2018-02-18T02:30:00Z", "2018-02-17T02:00:00Z", "2018-02-18T03:00:00Z");
    // St. John's, 2010-11-07, one minute after midnight: 23:01 of the day before. Its date is back, its day is not.
    let back = "2010-11-07T02:31:00Z";
    check(PeriodUnit::Day, "America/St_Johns", back, "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z");
}

#[test]
fn t04_hours_are_those_of_the_clock_on_the_wall() {
    let noon = "2026-06-01T12:00:00Z";
    check(PeriodUnit::Hour, "Asia/Kathmandu", noon, "2026-06-01T11:15:00Z", "2026-06-01T12:15:00Z");
    check(PeriodUnit::Hour, "Australia/Lord_Howe", noon, "2026-06-01T11:30:00Z", "2026-06-01T12:30:00Z");
    // Lord Howe, 2026-04-05: 01:59:59 is followed by 01:30:00.
    let lord_howe = |moment, start, end| check(PeriodUnit::Hour, "Australia/Lord_Howe", moment, start, end);
    lord_howe("2026-04-04T14:59:59Z", "2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z");
    lord_howe("2026-04-04T15:00:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z");
    // 2026-10-04: 01:59:59 is followed by 02:30:00.
    lord_howe("2026-10-03T15:30:00Z", "2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z");
}

#[test]
fn t04_windows_tile_time_where_the_clock_of_any_zone_changes() {
    for zone in zones().available() {
        let zone = zones().get(zone.as_str()).unwrap();
        for unit in UNITS {
            let period = Period { unit, zone: zone.clone() };
            for shift in shifts(&zone) {
                for away in [-HOUR_MS - 1, -1, 0, HOUR_MS / 2, HOUR_MS] {
                    let window = tiles(&period, shift + away).unwrap();
                    let dates = [window.start_ms.saturating_sub(1), window.start_ms]
                        .map(|at| date_shown(&period, at));
                    assert!(unit != PeriodUnit::Day || dates[0] < dates[1], "{period} {window:?}");
                }
            }
        }
    }
}

#[test]
fn t05_wall_times_at_the_ends_of_all_numbers_are_in_a_window() {
    let far = [u64::MAX, i64::MAX.unsigned_abs(), i64::MAX.unsigned_abs() / 1_000, 1 << 50]
        .map(Duration::from_secs);
    let near = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
    for distance in far.into_iter().chain(near) {
        let ends =
            [SystemTime::UNIX_EPOCH.checked_add(distance), SystemTime::UNIX_EPOCH.checked_sub(distance)];
        for wall in ends.into_iter().flatten() {
            for period in UNITS.map(|unit| period(unit, "Europe/Berlin")) {
                let window = period.window(wall);
                assert!(window.contains(wall), "{period} {wall:?}");
                assert!(window.start().is_none_or(|start| start <= wall));
                assert!(window.end().is_none_or(|end| wall < end));
            }
        }
    }
}

#[test]
fn t05_beyond_the_calendar_there_is_one_window() {
    for unit in UNITS {
        for zone in ZONES {
            let period = period(unit, zone);
            let (first, last) = (period.window_at(i64::MIN), period.window_at(i64::MAX - 1));
            assert_eq!((first.start_ms, last.end_ms), (i64::MIN, i64::MAX));
            for edge in [CALENDAR.0, CALENDAR.1, first.end_ms, last.start_ms] {
                for at in [edge.saturating_sub(1), edge, edge.saturating_add(1)] {
                    tiles(&period, at.min(i64::MAX - 1)).unwrap();
                }
            }
        }
    }
}

#[test]
fn t05_milliseconds_are_rounded_down_and_saturate() {
    let after = |time| unix_millis(SystemTime::UNIX_EPOCH + time);
    let before = |time| unix_millis(SystemTime::UNIX_EPOCH - time);
    assert_eq!(after(Duration::from_micros(1_999)), 1);
    assert_eq!(before(Duration::from_micros(1_999)), -2);
    assert_eq!(before(Duration::from_millis(2)), -2);
    assert_eq!(before(Duration::from_nanos(1)), -1);
    let far = Duration::from_secs(i64::MAX.unsigned_abs() - 1);
    assert!(SystemTime::UNIX_EPOCH.checked_add(far).is_none_or(|wall| unix_millis(wall) == i64::MAX - 1));
    assert!(SystemTime::UNIX_EPOCH.checked_sub(far).is_none_or(|wall| unix_millis(wall) == i64::MIN));
}

#[test]
fn the_total_has_no_ends() {
    let total = Period::TOTAL.window(SystemTime::UNIX_EPOCH);
    assert_eq!((total.start_ms, total.end_ms), (i64::MIN, i64::MAX));
    assert_eq!((total.start(), total.end()), (None, None));
    assert_eq!(total, period(PeriodUnit::Total, "Asia/Kathmandu").window_at(at("2400-01-01T00:00:00Z")));
}

#[test]
fn zones_are_found_by_name() {
    assert_eq!(Period::DAY.in_zone("europe/berlin").unwrap().zone(), "Europe/Berlin");
    assert_eq!(Period::DAY.in_zone("UTC").unwrap(), Period::DAY);
    assert_ne!(Period::DAY.in_zone("Europe/Berlin").unwrap(), Period::DAY);
    for wrong in ["", "Europe/Bärlin", "../../etc/passwd", "Etc/Unknown", "+01:00", "local", "\0"] {
        assert!(Period::DAY.in_zone(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_error_repeats_the_beginning_of_the_name() {
    let message = Period::DAY.in_zone(&"ä\n".repeat(100)).unwrap_err().to_string();
    assert_eq!(message, format!("`{}…` is not a time zone such as `Europe/Berlin`", "ä\\n".repeat(32)));
}

#[test]
fn periods_are_printed_with_their_zone() {
    assert_eq!(Period::HOUR.to_string(), "hour (UTC)");
    assert_eq!(format!("{:?}", period(PeriodUnit::Month, "Europe/Berlin")), "Period(month (Europe/Berlin))");
}

#[test]
#[cfg(feature = "serde")]
fn what_is_written_reads_back() {
    let written = |period: &Period| serde_json::to_string(period).unwrap();
    assert_eq!(written(&Period::MONTH), r#""month""#);
    let berlin = period(PeriodUnit::Week, "Europe/Berlin");
    assert_eq!(written(&berlin), r#"{"unit":"week","zone":"Europe/Berlin"}"#);
    for unit in UNITS {
        for zone in ["UTC", "Asia/Kathmandu"] {
            let period = period(unit, zone);
            assert_eq!(serde_json::from_str::<Period>(&written(&period)).unwrap(), period);
        }
    }
    assert_eq!(serde_json::from_str::<Period>(r#"{"unit":"day"}"#).unwrap(), Period::DAY);
    for wrong in [r#""year""#, r#"{"unit":"day","zone":"Mars"}"#, r#"{"unit":"day","size":1}"#, "1"] {
        assert!(serde_json::from_str::<Period>(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    /// A hundred years, and what the clock and the calendar on the wall show at the ends.
    #[test]
    fn t04_windows_tile_time(
        at in 0..at("2070-01-01T00:00:00Z"),
        zone in proptest::sample::select(ZONES.to_vec()),
        unit in proptest::sample::select(UNITS.to_vec()),
    ) {
        let period = period(unit, zone);
        let window = tiles(&period, at)?;
        if unit == PeriodUnit::Total {
            return Ok(());
        }
        let (first, now) = (local(&period, window.start_ms), local(&period, at));
        let last = local(&period, window.end_ms - 1);
        match unit {
            PeriodUnit::Hour => {
                prop_assert!(window.end_ms - window.start_ms <= HOUR_MS);
                prop_assert_eq!((first.date(), first.hour()), (now.date(), now.hour()));
                prop_assert_eq!((last.date(), last.hour()), (now.date(), now.hour()));
            }
            PeriodUnit::Week => prop_assert_eq!(first.weekday(), jiff::civil::Weekday::Monday),
            PeriodUnit::Month => prop_assert_eq!(first.day(), 1),
            _ => prop_assert_eq!(first.date(), last.date()),
        }
        if unit != PeriodUnit::Hour {
            let zoned = timestamp(window.start_ms).unwrap().to_zoned(period.zone.clone());
            prop_assert_eq!(&zoned, &zoned.start_of_day().unwrap());
        }
    }

    /// Around the moments at which clocks are put forward or back, where it goes wrong.
    #[test]
    fn t04_windows_tile_time_where_clocks_change(
        shift: proptest::sample::Index,
        away in -2 * 24 * HOUR_MS..2 * 24 * HOUR_MS,
        zone in proptest::sample::select(ZONES[1..].to_vec()),
        unit in proptest::sample::select(UNITS.to_vec()),
    ) {
        let period = period(unit, zone);
        let shifts: Vec<_> = shifts(&period.zone).collect();
        tiles(&period, shift.get(&shifts).max(&0) + away)?;
    }

    #[test]
    fn t05_windows_tile_all_time(at in i64::MIN..i64::MAX, unit in proptest::sample::select(UNITS.to_vec())) {
        tiles(&period(unit, "Europe/Berlin"), at)?;
        tiles(&period(unit, "Pacific/Apia"), at >> 12)?;
    }
}
