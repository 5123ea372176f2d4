//! Hours of the day, days of the week, and the time in which a rule holds.

use core::fmt;
use core::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

const DAY: i64 = 24 * 60 * 60;

/// A stretch of the day that comes back, in the local time of a zone: from the minute `from` to before the minute `to`.
///
/// A window that ends before it begins goes over midnight and belongs to the day on which it begins; one that ends when
/// it begins lasts the whole day. What counts is what clocks on the wall show: where the clock is put forward the
/// skipped hour is in no window, where it is put back the repeated hour is in its window twice.
///
/// Zones are those of the time zone database that this crate was built with.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use waypost_rules::{TimeWindow, Weekday};
///
/// let night = TimeWindow::new("22:00".parse()?, "06:00".parse()?, "Europe/Berlin")?.on([Weekday::Fri]);
/// // Saturday, 2026-11-28, 01:30 in Berlin: Friday's night.
/// let saturday = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_825_800);
/// assert!(night.contains(saturday));
/// assert_eq!(night.to_string(), "22:00 to 06:00 on fri (Europe/Berlin)");
/// # Ok::<(), waypost_rules::TimeWindowError>(())
/// ```
#[derive(Clone)]
pub struct TimeWindow {
    from: TimeOfDay,
    to: TimeOfDay,
    days: Weekdays,
    zone: TimeZone,
}

/// Why a text is not a part of a time window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeWindowError {
    /// Not a time of day.
    #[error("`{}` is not a time of day from `00:00` to `24:00`", waypost_core::excerpt(.0))]
    Time(String),
    /// Not a day of the week.
    #[error("`{}` is not a day of the week such as `mon`", waypost_core::excerpt(.0))]
    Day(String),
    /// Not a zone of the time zone database.
    #[error("`{}` is not a time zone such as `Europe/Berlin`", waypost_core::excerpt(.0))]
    Zone(String),
}

/// A minute of the day, 00:00 to 23:59; `24:00` is read as 00:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u16);

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Days of the week, Monday in the lowest bit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Weekdays(u8);

/// A stretch of wall time, in seconds of the Unix epoch, in which something stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub(crate) active: bool,
    pub(crate) from: i64,
    /// The first second after it.
    pub(crate) until: i64,
}

/// From when and until when a rule holds, to the second; `until` is the first moment after. Default: always.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use waypost_rules::Validity;
///
/// let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
/// let maintenance = Validity::ALWAYS.from(at(100)).until(at(200));
/// assert!(maintenance.contains(at(100)) && !maintenance.contains(at(200)));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Validity {
    from: Option<i64>,
    until: Option<i64>,
}

impl TimeWindow {
    /// Every day from `from` to before `to`, in a zone of the time zone database such as `Europe/Berlin` or `UTC`.
    ///
    /// # Errors
    ///
    /// [`TimeWindowError::Zone`] when there is no such zone.
    pub fn new(from: TimeOfDay, to: TimeOfDay, zone: &str) -> Result<Self, TimeWindowError> {
        let zone = zones().get(zone).map_err(|_| TimeWindowError::Zone(zone.to_owned()))?;
        Ok(Self { from, to, days: Weekdays::ALL, zone })
    }

    /// The same on some days only; without any, never.
    pub fn on(mut self, days: impl IntoIterator<Item = Weekday>) -> Self {
        self.days = Weekdays(days.into_iter().fold(0, |set, day| set | 1 << day as u8));
        self
    }

    /// Whether a wall time is in the window.
    pub fn contains(&self, wall: SystemTime) -> bool {
        self.contains_second(seconds(wall))
    }

    /// When it begins on its days.
    pub const fn from(&self) -> TimeOfDay {
        self.from
    }

    /// When it ends.
    pub const fn to(&self) -> TimeOfDay {
        self.to
    }

    /// The days on which it begins, Monday first.
    pub fn days(&self) -> impl Iterator<Item = Weekday> {
        self.days.iter()
    }

    /// Whether it begins on every day of the week.
    pub fn is_daily(&self) -> bool {
        self.days == Weekdays::ALL
    }

    /// Whether it begins on no day.
    pub(crate) fn is_never(&self) -> bool {
        self.days == Weekdays(0)
    }

    /// The zone's name.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    pub(crate) fn contains_second(&self, wall: i64) -> bool {
        self.contains_local(wall + self.offset(wall))
    }

    /// Whether the window holds at a second, and how long before and after it nothing changes.
    pub(crate) fn period(&self, wall: i64) -> Period {
        let offset = self.offset(wall);
        let local = wall + offset;
        let edges = [self.from, self.to].map(TimeOfDay::seconds);
        let since = edges.map(|edge| (local - edge).rem_euclid(DAY)).into_iter().min().unwrap_or(0);
        let left = edges.map(|edge| DAY - (local - edge).rem_euclid(DAY)).into_iter().min().unwrap_or(DAY);
        let (shifted, shifts) = self.shifts_around(wall);
        Period {
            active: self.contains_local(local),
            from: (wall - since).max(shifted),
            until: (wall + left).min(shifts),
        }
    }

    fn contains_local(&self, local: i64) -> bool {
        let (time, day) = (local.rem_euclid(DAY), local.div_euclid(DAY));
        let (from, to) = (self.from.seconds(), self.to.seconds());
        let begun_today = time >= from && self.days.contains(day);
        if from < to {
            begun_today && time < to
        } else {
            begun_today || time < to && self.days.contains(day - 1)
        }
    }

    /// Local time minus universal time, in seconds; zero beyond the years that the calendar knows.
    fn offset(&self, wall: i64) -> i64 {
        let at = Timestamp::from_second(wall);
        at.map_or(0, |at| self.zone.to_offset(at).seconds().into())
    }

    /// When the zone's clock was put forward or back last, and when it will be next.
    fn shifts_around(&self, wall: i64) -> (i64, i64) {
        let (Ok(at), Ok(after)) =
            (Timestamp::from_second(wall), Timestamp::from_second(wall.saturating_add(1)))
        else {
            return (i64::MIN, i64::MAX);
        };
        let last = self.zone.preceding(after).next().map_or(i64::MIN, |shift| shift.timestamp().as_second());
        let next = self.zone.following(at).next().map_or(i64::MAX, |shift| shift.timestamp().as_second());
        (last, next)
    }
}

/// The database that is compiled in: no file is read, so a rule means the same on every machine.
fn zones() -> &'static TimeZoneDatabase {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    ZONES.get_or_init(TimeZoneDatabase::bundled)
}

/// The farthest wall time from the epoch, in seconds: 35 million years, far beyond every calendar, and far enough from the
/// ends of the number that nothing that is added overflows.
const FARTHEST: i64 = 1 << 50;

/// Whole seconds since the Unix epoch, rounded down, at most [`FARTHEST`] away.
pub(crate) fn seconds(wall: SystemTime) -> i64 {
    let whole = |distance: Duration| i64::try_from(distance.as_secs()).map_or(FARTHEST, |s| s.min(FARTHEST));
    match wall.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => whole(after),
        Err(before) => {
            let before = before.duration();
            -whole(before) - i64::from(before.subsec_nanos() > 0)
        }
    }
}

/// The wall time of a second; the epoch when the machine cannot say it.
fn wall_time(second: i64) -> SystemTime {
    let distance = Duration::from_secs(second.unsigned_abs());
    let wall = if second < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    wall.unwrap_or(SystemTime::UNIX_EPOCH)
}

impl TimeOfDay {
    /// A minute of the day.
    ///
    /// # Errors
    ///
    /// [`TimeWindowError::Time`] when the hour is above 23 or the minute above 59; 24:00 is allowed and is 00:00.
    pub fn new(hour: u16, minute: u16) -> Result<Self, TimeWindowError> {
        match (hour, minute) {
            (24, 0) => Ok(Self(0)),
            (0..24, 0..60) => Ok(Self(hour * 60 + minute)),
            _ => Err(TimeWindowError::Time(format!("{hour:02}:{minute:02}"))),
        }
    }

    const fn seconds(self) -> i64 {
        self.0 as i64 * 60
    }
}

impl FromStr for TimeOfDay {
    type Err = TimeWindowError;

    fn from_str(text: &str) -> Result<Self, TimeWindowError> {
        let wrong = || TimeWindowError::Time(text.to_owned());
        let number = |digits: &str| {
            let valid = matches!(digits.len(), 1 | 2) && digits.bytes().all(|byte| byte.is_ascii_digit());
            if valid { digits.parse().ok() } else { None }
        };
        let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
        let (hour, minute) =
            number(hour).zip(number(minute).filter(|_| minute.len() == 2)).ok_or_else(wrong)?;
        Self::new(hour, minute)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Weekday {
    /// All days, Monday first.
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// The name in configuration: its first three letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }
}

impl FromStr for Weekday {
    type Err = TimeWindowError;

    fn from_str(text: &str) -> Result<Self, TimeWindowError> {
        let day = Self::ALL.into_iter().find(|day| day.as_str() == text);
        day.ok_or_else(|| TimeWindowError::Day(text.to_owned()))
    }
}

impl Weekdays {
    const ALL: Self = Self(0b111_1111);

    /// Whether a day, counted from the Unix epoch, is among them. That day was a Thursday.
    const fn contains(self, day: i64) -> bool {
        self.0 >> (day + 3).rem_euclid(7) & 1 == 1
    }

    fn iter(self) -> impl Iterator<Item = Weekday> {
        Weekday::ALL.into_iter().filter(move |&day| self.0 >> day as u8 & 1 == 1)
    }
}

impl PartialEq for TimeWindow {
    fn eq(&self, other: &Self) -> bool {
        (self.from, self.to, self.days, self.zone()) == (other.from, other.to, other.days, other.zone())
    }
}

impl Eq for TimeWindow {}

impl core::hash::Hash for TimeWindow {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        (self.from, self.to, self.days, self.zone()).hash(state);
    }
}

impl fmt::Debug for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeWindow({self})")
    }
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)?;
        if !self.is_daily() {
            let days: Vec<_> = self.days().map(Weekday::as_str).collect();
            write!(f, " on {}", if days.is_empty() { "no day".to_owned() } else { days.join(", ") })?;
        }
        write!(f, " ({})", self.zone())
    }
}

impl Validity {
    /// Always.
    pub const ALWAYS: Self = Self { from: None, until: None };

    /// From a moment on.
    pub fn from(mut self, from: SystemTime) -> Self {
        self.from = Some(seconds(from));
        self
    }

    /// Until before a moment.
    pub fn until(mut self, until: SystemTime) -> Self {
        self.until = Some(seconds(until));
        self
    }

    /// The first moment.
    pub fn begins(&self) -> Option<SystemTime> {
        self.from.map(wall_time)
    }

    /// The first moment after.
    pub fn ends(&self) -> Option<SystemTime> {
        self.until.map(wall_time)
    }

    /// Whether a wall time is in it.
    pub fn contains(&self, wall: SystemTime) -> bool {
        self.contains_second(seconds(wall))
    }

    /// Whether no time is in it.
    pub fn is_empty(&self) -> bool {
        self.from.zip(self.until).is_some_and(|(from, until)| until <= from)
    }

    pub(crate) fn contains_second(&self, wall: i64) -> bool {
        self.from.is_none_or(|from| from <= wall) && self.until.is_none_or(|until| wall < until)
    }

    pub(crate) fn period(&self, wall: i64) -> Period {
        let edges = [self.from, self.until];
        let edges = || edges.iter().flatten().copied();
        Period {
            active: self.contains_second(wall),
            from: edges().filter(|&edge| edge <= wall).max().unwrap_or(i64::MIN),
            until: edges().filter(|&edge| edge > wall).min().unwrap_or(i64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(from: &str, to: &str, zone: &str) -> TimeWindow {
        TimeWindow::new(from.parse().unwrap(), to.parse().unwrap(), zone).unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn what_clocks_on_the_wall_show_counts_on_the_days_the_clock_changes() {
        let skipped = window("02:00", "03:00", "Europe/Berlin");
        // 2026-03-29, Berlin: 01:59:59 is followed by 03:00:00.
        for second in at("2026-03-29T00:00:00Z")..at("2026-03-29T02:00:00Z") {
            assert!(!skipped.contains_second(second));
        }
        // 2026-10-25, Berlin: from 00:00Z to 02:00Z the clock goes through 02:00 to 03:00 twice.
        let hours = at("2026-10-24T23:00:00Z")..at("2026-10-25T03:00:00Z");
        assert_eq!(hours.filter(|&second| skipped.contains_second(second)).count(), 7_200);
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let friday_night = window("22:00", "06:00", "UTC").on([Weekday::Fri]);
        assert!(friday_night.contains_second(at("2026-11-27T22:00:00Z")));
        assert!(friday_night.contains_second(at("2026-11-28T05:59:59Z")));
        assert!(!friday_night.contains_second(at("2026-11-28T06:00:00Z")));
        assert!(!friday_night.contains_second(at("2026-11-27T05:00:00Z")));
        assert!(!friday_night.contains_second(at("2026-11-28T22:00:00Z")));
        let whole_friday = window("00:00", "24:00", "UTC").on([Weekday::Fri]);
        let week = at("2026-11-23T00:00:00Z")..at("2026-11-30T00:00:00Z");
        let seconds: Vec<_> = week.filter(|&second| whole_friday.contains_second(second)).collect();
        assert_eq!((seconds.len(), seconds[0]), (86_400, at("2026-11-27T00:00:00Z")));
    }

    #[test]
    fn wall_times_at_the_ends_of_all_numbers_are_times_too() {
        let window = window("22:00", "06:00", "Europe/Berlin");
        let far = Duration::from_secs(i64::MAX.unsigned_abs());
        let ends = [SystemTime::UNIX_EPOCH.checked_add(far), SystemTime::UNIX_EPOCH.checked_sub(far)];
        for end in ends.into_iter().flatten().map(seconds) {
            let period = window.period(end);
            assert!(period.from <= end && end < period.until);
            assert_eq!(period.active, window.contains_second(end));
        }
    }

    #[test]
    fn texts_that_are_no_times_are_refused() {
        for wrong in ["", "25:00", "24:01", "12:60", "12", "12:5", "-1:00", "12:00:00", "noon", "+1:00"] {
            assert!(wrong.parse::<TimeOfDay>().is_err(), "{wrong}");
        }
        assert!(TimeWindow::new(TimeOfDay(0), TimeOfDay(0), "Europe/Bärlin").is_err());
        assert!(TimeWindow::new(TimeOfDay(0), TimeOfDay(0), "../../etc/passwd").is_err());
    }

    /// Half-hour shifts, shifts at midnight, a day that never was, an odd offset, none.
    const ZONES: [&str; 6] =
        ["Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Pacific/Apia", "Asia/Kathmandu", "UTC"];

    /// Holds a window against the calendar's own arithmetic, at a second and at the ends of the period around it.
    fn check(window: &TimeWindow, wall: i64) -> Result<(), TestCaseError> {
        let local = Timestamp::from_second(wall).unwrap().to_zoned(window.zone.clone());
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        let today = local.weekday().to_monday_zero_offset() as u8;
        let has = |day: u8| window.days.0 >> day & 1 == 1;
        let (from, to) = (window.from.0, window.to.0);
        let begun = minute >= from && has(today);
        let yesterdays = minute < to && has((today + 6) % 7);
        let expected = if from < to { begun && minute < to } else { begun || yesterdays };
        prop_assert_eq!(window.contains_second(wall), expected);

        let period = window.period(wall);
        prop_assert!(period.from <= wall && wall < period.until);
        prop_assert_eq!(period.active, expected);
        for inside in [period.from, period.until - 1, i64::midpoint(period.from, period.until)] {
            prop_assert_eq!(window.contains_second(inside), expected);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_the_calendar(
            wall in at("2009-01-01T00:00:00Z")..at("2037-01-01T00:00:00Z"),
            zone in proptest::sample::select(ZONES.to_vec()),
            (from, to) in (0_u16..1_440, 0_u16..1_440),
            days in 0_u8..128,
        ) {
            let window = TimeWindow { days: Weekdays(days), ..window(&TimeOfDay(from).to_string(), &TimeOfDay(to).to_string(), zone) };
            check(&window, wall)?;
        }

        /// Around the moments at which clocks are put forward or back, where it goes wrong.
        #[test]
        fn agrees_with_the_calendar_where_clocks_change(
            year in 2009_i16..2037,
            away in -100_000_i64..100_000,
            zone in proptest::sample::select(ZONES.to_vec()),
            (from, to) in (0_u16..1_440, 0_u16..1_440),
            days in 0_u8..128,
        ) {
            let window = TimeWindow { days: Weekdays(days), ..window(&TimeOfDay(from).to_string(), &TimeOfDay(to).to_string(), zone) };
            let spring = format!("{year}-02-01T00:00:00Z").parse::<Timestamp>().unwrap();
            for shift in window.zone.clone().following(spring).take(2) {
                check(&window, shift.timestamp().as_second() + away)?;
            }
        }
    }
}
