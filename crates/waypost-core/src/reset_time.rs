//! The time until a limit is reset, in every way in which providers write it.

use core::time::Duration;
use std::time::SystemTime;

use crate::unix_millis;

/// The longest time until a reset: 32 days, a month and a little. What is further away is a mistake or another unit.
pub const MAX_RESET: Duration = Duration::from_secs(32 * 24 * 60 * 60);

/// A bare number from here on is seconds of the Unix epoch, September 2001 and later; below, seconds from now. As
/// seconds from now it would be more than 31 years.
const EPOCH_SECONDS: u64 = 1_000_000_000;

/// A bare number from here on is milliseconds of the Unix epoch; as seconds it would be the year 33,658.
const EPOCH_MILLIS: u64 = 1_000_000_000_000;

/// Reads the time from `wall` until a reset: zero when it is over, at most 32 days, `None` when the text is none of
/// these forms.
///
/// | form | example | who |
/// |---|---|---|
/// | seconds | `12`, `0.5` | Azure OpenAI, Together, IETF draft, RFC 9110 `Retry-After` |
/// | durations of Go | `1s`, `6m0s`, `17.39s`, `2ms` | OpenAI, Groq |
/// | seconds of the Unix epoch | `1796077800` | gateways |
/// | milliseconds of the Unix epoch | `1796077800000` | `OpenRouter` |
/// | RFC 3339 | `2026-11-30T22:30:00Z` | Anthropic |
/// | the three HTTP dates, RFC 9110 section 5.6.7 | `Mon, 30 Nov 2026 22:30:00 GMT` | RFC 9110 `Retry-After` |
///
/// ```
/// use core::time::Duration;
/// use std::time::SystemTime;
/// use waypost_core::reset_after;
///
/// assert_eq!(reset_after("1m30.5s", SystemTime::UNIX_EPOCH), Some(Duration::from_millis(90_500)));
/// assert_eq!(reset_after("soon", SystemTime::UNIX_EPOCH), None);
/// ```
///
/// Negative numbers are none: `-1` is how providers say that they do not know. Moments are read to the millisecond.
/// Allocates nothing; takes time linear in the text.
pub fn reset_after(text: &str, wall: SystemTime) -> Option<Duration> {
    let until = |moment: i64| {
        let ms = moment.saturating_sub(unix_millis(wall));
        Duration::from_millis(ms.max(0).unsigned_abs())
    };
    let time = if let Some(number) = Decimal::read(text) {
        number.epoch_millis().map_or_else(|| number.seconds(), until)
    } else {
        let moment = || internet_time(text).or_else(|| http_date(text)).map(until);
        go_duration(text).or_else(moment)?
    };
    Some(time.min(MAX_RESET))
}

/// A number without sign or exponent, as headers have them.
///
/// ```
/// assert_eq!(waypost_core::Decimal::read("17.39").map(|number| number.whole), Some(17));
/// assert_eq!(waypost_core::Decimal::read("-1"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// What is before the point; at most `u64::MAX`.
    pub whole: u64,
    /// What is after it, in billionths; further places are dropped.
    billionths: u32,
}

impl Decimal {
    /// Digits with at most one point, and at least one digit.
    pub fn read(text: &str) -> Option<Self> {
        let (whole, places) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + places.len() == 0 || !is_number(whole) || !is_number(places) {
            return None;
        }
        let digit = |byte: u8| u64::from(byte - b'0');
        let append = |number: u64, byte| number.saturating_mul(10).saturating_add(digit(byte));
        let places = places.bytes().chain(core::iter::repeat(b'0')).take(9);
        Some(Self { whole: whole.bytes().fold(0, append), billionths: places.fold(0, append) as u32 })
    }

    /// So many seconds, at most [`MAX_RESET`].
    pub fn seconds(self) -> Duration {
        Duration::new(self.whole.min(MAX_RESET.as_secs()), self.billionths)
    }

    /// The moment of the Unix epoch that such a great number stands for, in milliseconds.
    fn epoch_millis(self) -> Option<i64> {
        let ms = match self.whole {
            EPOCH_MILLIS.. => self.whole,
            EPOCH_SECONDS.. => self.whole * 1_000 + u64::from(self.billionths / 1_000_000),
            _ => return None,
        };
        Some(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    /// So many of a unit, in nanoseconds.
    fn nanos(self, unit: u64) -> u128 {
        let unit = u128::from(unit);
        u128::from(self.whole) * unit + u128::from(self.billionths) * unit / 1_000_000_000
    }
}

/// A duration as Go prints it: `1m30.5s`. Also with days, and with spaces between the parts.
fn go_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut nanos) = (text, 0_u128);
    let of_number = |character: char| character.is_ascii_digit() || character == '.';
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|character| !of_number(character))?);
        let (unit, after) = after.split_at(after.find(of_number).unwrap_or(after.len()));
        // Cannot overflow: a part is below 2^64 days, and a text has fewer parts than bytes.
        nanos = nanos.saturating_add(Decimal::read(number)?.nanos(unit_nanos(unit.trim())?));
        rest = after;
    }
    let nanos = nanos.min(MAX_RESET.as_nanos());
    if text.is_empty() { None } else { Some(Duration::from_nanos(nanos as u64)) }
}

const fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit.as_bytes() {
        b"ns" => 1,
        // The sign for micro has two code points, and Go takes both.
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
        b"ms" => 1_000_000,
        b"s" => 1_000_000_000,
        b"m" => 60 * 1_000_000_000,
        b"h" => 60 * 60 * 1_000_000_000,
        b"d" => 24 * 60 * 60 * 1_000_000_000,
        _ => return None,
    })
}

/// A time of RFC 3339, `2026-11-30T22:30:00.5+01:00`, in milliseconds of the Unix epoch.
fn internet_time(text: &str) -> Option<i64> {
    let (date, time) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let date = (digits::<4>(parts.next()?)?, digits::<2>(parts.next()?)?, digits::<2>(parts.next()?)?);
    // Ten characters have no room for a fourth part.
    let time = time.strip_prefix(['T', 't', ' '])?;
    let (clock, zone) = time.split_at(time.find(['Z', 'z', '+', '-'])?);
    Some(day_millis(date)? + clock_millis(clock)? - zone_millis(zone)?)
}

/// A date of HTTP, in any of its three forms, in milliseconds of the Unix epoch. The day of the week is not looked at.
fn http_date(text: &str) -> Option<i64> {
    let mut words = text.split([' ', ',', '-']).filter(|word| !word.is_empty());
    let words: [&str; 7] = core::array::from_fn(|_| words.next().unwrap_or_default());
    let ([_, day, month, year, clock, "GMT" | "UTC", ""] | [_, month, day, clock, year, "", ""]) = words
    else {
        return None;
    };
    let year = digits::<4>(year).or_else(|| digits::<2>(year).map(century))?;
    let day = digits::<2>(day).or_else(|| digits::<1>(day))?;
    Some(day_millis((year, month_number(month)?, day))? + clock_millis(clock)?)
}

/// The year that its last two digits mean, from 1970 to 2069.
const fn century(year: i64) -> i64 {
    if year < 70 { 2_000 + year } else { 1_900 + year }
}

fn month_number(name: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    (1..).zip(MONTHS).find(|(_, month)| name.eq_ignore_ascii_case(month)).map(|(number, _)| number)
}

/// A number of exactly so many digits.
fn digits<const COUNT: usize>(text: &str) -> Option<i64> {
    let valid = text.len() == COUNT && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

/// The beginning of a day in milliseconds of the Unix epoch, when there is such a day.
fn day_millis((year, month, day): (i64, i64, i64)) -> Option<i64> {
    if !(1..=12).contains(&month) {
        return None;
    }
    let first = days_to_month(year, month);
    let days = days_to_month(year + month / 12, month % 12 + 1) - first;
    if (1..=days).contains(&day) { Some((first + day - 1) * 24 * 60 * 60 * 1_000) } else { None }
}

/// Days from the Unix epoch to the first day of a month. From: Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `days_from_civil`: years that begin in March have the leap day at their end.
const fn days_to_month(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days_since_march = (153 * ((month + 9) % 12) + 2) / 5;
    year * 365 + leap_days + days_since_march - 719_468
}

/// A time of day, `22:30:00.5`, in milliseconds. The second 60 is a leap second.
fn clock_millis(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut parts = clock.split(':').map(digits::<2>);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let billionths = if fraction.is_empty() { 0 } else { Decimal::read(fraction)?.billionths };
    Some(((hour * 60 + minute) * 60 + second) * 1_000 + i64::from(billionths / 1_000_000))
}

/// The offset of a zone, `Z` or `+01:00`, in milliseconds.
fn zone_millis(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, offset) = text.split_at_checked(1)?;
    let (hour, minute) = offset.split_once(':')?;
    let (hour, minute) = (digits::<2>(hour)?, digits::<2>(minute)?);
    let ms = (hour * 60 + minute) * 60 * 1_000;
    (hour < 24 && minute < 60).then_some(if sign == "-" { -ms } else { ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    /// 2026-11-30, 22:30:00 UTC.
    const NOW: Duration = Duration::from_secs(1_796_077_800);

    fn read(text: &str) -> Option<Duration> {
        reset_after(text, SystemTime::UNIX_EPOCH + NOW)
    }

    /// To the whole millisecond.
    #[track_caller]
    fn check(text: &str, ms: u64) {
        let read = read(text).map(|time| time.as_millis());
        assert_eq!(read, Some(u128::from(ms)), "{text}");
    }

    #[test]
    fn durations_of_go() {
        check("1s", 1_000);
        check("6m0s", 360_000);
        check("2ms", 2);
        check("1m30.5s", 90_500);
        check("17.39s", 17_390);
        check("1h2m", 3_720_000);
        check("20m52.666s", 1_252_666);
        check("0s", 0);
        check("24h0m0s", 86_400_000);
        check("1d2h", 93_600_000);
        check("1m 30s", 90_000);
        check(".5s", 500);
        assert_eq!(read("1.5us"), Some(Duration::from_nanos(1_500)));
        assert_eq!(read("7\u{b5}s"), Some(Duration::from_micros(7)));
        assert_eq!(read("7\u{3bc}s"), Some(Duration::from_micros(7)));
        assert_eq!(read("17.399999999s"), Some(Duration::from_nanos(17_399_999_999)));
    }

    #[test]
    fn seconds() {
        check("12", 12_000);
        check("0.5", 500);
        check("0", 0);
        check("26.28409242630005", 26_284);
        check("999999999", 32 * 86_400_000);
    }

    #[test]
    fn moments_of_the_unix_epoch() {
        check("1796077815", 15_000);
        check("1796077815.25", 15_250);
        check("1796077815250", 15_250);
        check("1000000000", 0);
        check("999999999999", 32 * 86_400_000);
        check("1000000000000", 0);
    }

    #[test]
    fn internet_times() {
        check("2026-11-30T22:31:00Z", 60_000);
        check("2026-11-30T22:30:00.5Z", 500);
        check("2026-11-30t22:30:00.123456789z", 123);
        check("2026-11-30 22:31:00+00:00", 60_000);
        check("2026-12-01T00:01:00+01:30", 60_000);
        check("2026-11-30T15:31:00-07:00", 60_000);
        check("2026-11-30T22:30:60Z", 60_000);
    }

    #[test]
    fn dates_of_http() {
        check("Mon, 30 Nov 2026 22:31:00 GMT", 60_000);
        check("Monday, 30-Nov-26 22:31:00 GMT", 60_000);
        check("Mon Nov 30 22:31:00 2026", 60_000);
        check("Tue Dec  1 00:30:00 2026", 7_200_000);
        check("Sunday, 06-Nov-94 08:49:37 GMT", 0);
    }

    #[test]
    fn what_has_passed_is_zero_and_what_is_far_is_32_days() {
        for past in
            ["2026-11-30T22:29:59Z", "1796077799", "0000-01-01T00:00:00Z", "Sun, 06 Nov 1994 08:49:37 GMT"]
        {
            check(past, 0);
        }
        let numbers = "9".repeat(128);
        for far in [&numbers, "9999-12-31T23:59:60-23:59", "900h", "99999999999999999999d", "33d"] {
            check(far, 32 * 86_400_000);
        }
    }

    #[test]
    fn nothing_else_is_a_time() {
        for wrong in [
            "",
            " ",
            ".",
            "..",
            "1.2.3",
            "-1",
            "-1s",
            "+1",
            "1e99",
            "NaN",
            "nan",
            "inf",
            "infinity",
            "s",
            "1x",
            "1s2",
            "1 second",
            "1,5",
            "0x10",
            "٣",
            "1s\0",
            "soon",
            "2026-11-30",
            "2026-11-30T22:30:00",
            "2026-11-30T22:30Z",
            "2026-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-30T24:00:00Z",
            "2026-11-30T22:60:00Z",
            "2026-11-30T22:30:61Z",
            "2026-11-30T22:30:00.Z",
            "2026-11-30T22:30:00.1.1Z",
            "2026-11-30T22:30:00+1:00",
            "2026-11-30T22:30:00+24:00",
            "2026-11-30T22:30:00+01:60",
            "2026-1-300T22:30:00Z",
            "Mon, 31 Nov 2026 22:30:00 GMT",
            "Mon, 30 Nov 2026",
            "Mon, 30 Foo 2026 22:30:00 GMT",
            "Mon, 30 Nov 2026 22:30:00 CET",
            "Mon, 30 Nov 2026 22:30:00 GMT x",
            "Mon Nov 30 22:30:00 26x",
            "Mon Nov 30 22:30:00:00 2026",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn two_digits_of_a_year_are_from_1970_to_2069() {
        assert_eq!([0, 69, 70, 99].map(century), [2_000, 2_069, 1_970, 1_999]);
    }

    #[test]
    fn february_is_as_long_as_the_calendar_says() {
        for (year, days) in [(2024, 29), (2023, 28), (2000, 29), (1900, 28), (2100, 28), (0, 29)] {
            assert!(
                day_millis((year, 2, days)).is_some() && day_millis((year, 2, days + 1)).is_none(),
                "{year}"
            );
        }
    }

    #[test]
    fn t05_any_wall_time_will_do() {
        let far = [Duration::MAX, Duration::from_secs(i64::MAX.unsigned_abs() - 1)];
        let before = far.into_iter().filter_map(|distance| SystemTime::UNIX_EPOCH.checked_sub(distance));
        for wall in before {
            assert_eq!(reset_after("1796077800", wall), Some(MAX_RESET));
        }
        let after = far.into_iter().filter_map(|distance| SystemTime::UNIX_EPOCH.checked_add(distance));
        for wall in after {
            assert_eq!(reset_after("9999-12-31T00:00:00Z", wall), Some(Duration::ZERO));
        }
    }

    proptest! {
        /// The years 1 to 9999, as jiff prints them.
        #[test]
        fn moments_agree_with_another_calendar(ms in -62_135_596_800_000_i64..253_370_764_800_000) {
            let moment = Timestamp::from_millisecond(ms).unwrap();
            prop_assert_eq!(internet_time(&moment.to_string()), Some(ms));
            let seconds = ms.div_euclid(1_000) * 1_000;
            let printed = moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            prop_assert_eq!(http_date(&printed), Some(seconds));
            prop_assert_eq!(http_date(&moment.strftime("%a %b %e %H:%M:%S %Y").to_string()), Some(seconds));
        }

        #[test]
        fn durations_agree_with_another_printer(ms in 0..32 * 86_400_000_u64) {
            let seconds = ms as f64 % 60_000.0 / 1_000.0;
            let printed = format!("{}h{}m{seconds}s", ms / 3_600_000, ms / 60_000 % 60);
            check(&printed, ms);
        }

        #[test]
        fn no_text_panics(
            text in "[-0-9.:+,TZzGMTnusmhd NovMa\u{b5}]{0,40}",
            any in ".{0,200}",
            wall in i64::MIN..i64::MAX,
        ) {
            let distance = Duration::from_millis(wall.unsigned_abs());
            let wall = if wall < 0 {
                SystemTime::UNIX_EPOCH.checked_sub(distance)
            } else {
                SystemTime::UNIX_EPOCH.checked_add(distance)
            };
            for text in [text, any] {
                let time = reset_after(&text, wall.unwrap_or(SystemTime::UNIX_EPOCH));
                prop_assert!(time.is_none_or(|time| time <= MAX_RESET));
            }
        }
    }
}
