//! Calendar periods in which budgets are counted.

use core::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use jiff::civil::{Date, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use waypost_core::{excerpt, unix_millis};

/// A stretch of the calendar that comes back: an hour, a day, a week, a month or all time, in the local time of a zone.
///
/// Days begin at local midnight, or where the clock first passes it; weeks on Monday (ISO 8601); months on their first
/// day. So the days on which the clock is put forward or back have 23 or 25 hours in most zones. Hours are those of the
/// clock on the wall; an hour that the clock shows twice is two periods, and where the clock changes within an hour the
/// period ends there. Zones are those of the time zone database that this crate was built with. Default zone: UTC.
///
/// A copy is cheap. Telling the [`window`](Self::window) of a time allocates nothing.
///
/// With the feature `serde` it reads and prints `"month"`, or `{ unit = "month", zone = "Europe/Berlin" }`.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use waypost_limits::Period;
///
/// let month = Period::MONTH.in_zone("Europe/Berlin")?;
/// assert_eq!(month.to_string(), "month (Europe/Berlin)");
/// // 2026-11-30, 23:30 in Berlin: half an hour before December.
/// let november = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_077_800);
/// let window = month.window(november);
/// assert_eq!(window.end(), Some(november + Duration::from_secs(1_800)));
/// assert!(window.contains(november) && !window.contains(november + Duration::from_secs(1_800)));
/// # Ok::<(), waypost_limits::ZoneError>(())
/// ```
#[derive(Clone)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "form::Form", into = "form::Form")
)]
pub struct Period {
    unit: PeriodUnit,
    zone: TimeZone,
}

/// How long a [`Period`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PeriodUnit {
    /// An hour of the local clock.
    Hour,
    /// A day, from local midnight.
    Day,
    /// A week, from Monday.
    Week,
    /// A month of the calendar.
    Month,
    /// All time: it never ends.
    Total,
}

/// No zone of the time zone database has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a time zone such as `Europe/Berlin`")]
pub struct ZoneError {
    name: String,
}

/// One period at its place in time: from its start to before its end. Ordered by the start.
///
/// The windows of a [`Period`] lie end to end without gap or overlap. Times are kept to the millisecond.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use waypost_limits::Period;
///
/// let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(12 * 3_600);
/// let today = Period::DAY.window(noon);
/// let tomorrow = Period::DAY.window(noon + Duration::from_secs(24 * 3_600));
/// assert_eq!(today.end(), tomorrow.start());
/// assert!(today < tomorrow);
/// assert_eq!(Period::TOTAL.window(noon).end(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeriodWindow {
    start_ms: i64,
    end_ms: i64,
}

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// The first and the last moment at which the calendar is asked: the beginnings of the years 1 and 9999. Time before
/// and after is one window each. It leaves the calendar, which ends with the year 9999, room for the next month.
const CALENDAR: (i64, i64) = (-62_135_596_800_000, 253_370_764_800_000);

impl Period {
    /// An hour, in UTC.
    pub const HOUR: Self = Self::of(PeriodUnit::Hour);
    /// A day, in UTC.
    pub const DAY: Self = Self::of(PeriodUnit::Day);
    /// A week from Monday, in UTC.
    pub const WEEK: Self = Self::of(PeriodUnit::Week);
    /// A month of the calendar, in UTC.
    pub const MONTH: Self = Self::of(PeriodUnit::Month);
    /// All time.
    pub const TOTAL: Self = Self::of(PeriodUnit::Total);

    /// A period of some length, in UTC.
    pub const fn of(unit: PeriodUnit) -> Self {
        Self { unit, zone: TimeZone::UTC }
    }

    /// The same in a zone of the time zone database, such as `Europe/Berlin` or `UTC`; upper and lower case are alike.
    /// Without effect on [`TOTAL`](Self::TOTAL).
    ///
    /// # Errors
    ///
    /// [`ZoneError`] when there is no such zone.
    pub fn in_zone(mut self, zone: &str) -> Result<Self, ZoneError> {
        let found = zones().get(zone).ok().filter(|found| !found.is_unknown());
        self.zone = found.ok_or_else(|| ZoneError { name: excerpt(zone) })?;
        Ok(self)
    }

    /// How long it is.
    pub const fn unit(&self) -> PeriodUnit {
        self.unit
    }

    /// The zone's name, as the time zone database spells it.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The window that contains a wall time. Before the year 1 and after the year 9998 there is one endless window.
    pub fn window(&self, wall: SystemTime) -> PeriodWindow {
        self.window_at(unix_millis(wall))
    }

    /// The same at Unix milliseconds.
    pub(crate) fn window_at(&self, at: i64) -> PeriodWindow {
        let at = at.clamp(CALENDAR.0, CALENDAR.1);
        let (start, end) = match self.unit {
            PeriodUnit::Hour => self.hour(at),
            PeriodUnit::Day | PeriodUnit::Week | PeriodUnit::Month => self.days(at),
            PeriodUnit::Total => (i64::MIN, i64::MAX),
        };
        let start_ms = if start <= CALENDAR.0 { i64::MIN } else { start };
        let end_ms = if end > CALENDAR.1 { i64::MAX } else { end };
        PeriodWindow { start_ms, end_ms }
    }

    /// The hour of the local clock, cut where the clock is put forward or back within it.
    fn hour(&self, at: i64) -> (i64, i64) {
        let offset = self.offset_ms(at);
        let start = at - (at + offset).rem_euclid(HOUR_MS);
        let end = start + HOUR_MS;
        let start = if self.offset_ms(start) == offset { start } else { self.last_shift(at) };
        let end = if self.offset_ms(end - 1) == offset { end } else { self.next_shift(at) };
        (start, end)
    }

    /// The days, weeks or months that begin last before or at a moment, and first after it.
    ///
    /// What the local date says is not enough: where the clock is put back over midnight, the old date comes back for a
    /// while after the new one began, as in St. John's until 2011. And a date can be left out, as in Apia in 2011; its
    /// day begins and ends at once. So of the four that may be meant the beginnings are compared.
    fn days(&self, at: i64) -> (i64, i64) {
        let first = self.first_date(at);
        let edges = [-1, 0, 1, 2].map(|steps| first.and_then(|date| self.edge(date, steps)));
        let edges = || edges.iter().flatten().copied();
        let start = edges().filter(|&edge| edge <= at).max().unwrap_or(i64::MIN);
        let end = edges().filter(|&edge| edge > at).min().unwrap_or(i64::MAX);
        (start, end)
    }

    /// The first date of the period that the local date is in.
    fn first_date(&self, at: i64) -> Option<Date> {
        let date = self.zone.to_datetime(timestamp(at)?).date();
        match self.unit {
            PeriodUnit::Week => {
                let since_monday = i64::from(date.weekday().to_monday_zero_offset());
                date.checked_sub(Span::new().days(since_monday)).ok()
            }
            PeriodUnit::Month => Some(date.first_of_month()),
            PeriodUnit::Hour | PeriodUnit::Day | PeriodUnit::Total => Some(date),
        }
    }

    /// When the period begins that is some steps from the one that begins with a date.
    fn edge(&self, first: Date, steps: i64) -> Option<i64> {
        let span = match self.unit {
            PeriodUnit::Month => Span::new().months(steps),
            PeriodUnit::Week => Span::new().weeks(steps),
            PeriodUnit::Hour | PeriodUnit::Day | PeriodUnit::Total => Span::new().days(steps),
        };
        let midnight = first.checked_add(span).ok()?.to_datetime(Time::midnight());
        // The first of two midnights; the moment of the change when midnight is left out.
        self.zone.to_timestamp(midnight).ok().map(Timestamp::as_millisecond)
    }

    /// Local time minus universal time.
    fn offset_ms(&self, at: i64) -> i64 {
        timestamp(at).map_or(0, |at| i64::from(self.zone.to_offset(at).seconds()) * 1_000)
    }

    /// When the zone's clock was put forward or back last, before or at a moment.
    fn last_shift(&self, at: i64) -> i64 {
        let shift = timestamp(at + 1).and_then(|after| self.zone.preceding(after).next());
        shift.map_or(i64::MIN, |shift| shift.timestamp().as_millisecond())
    }

    /// When the zone's clock will be put forward or back next, after a moment.
    fn next_shift(&self, at: i64) -> i64 {
        let shift = timestamp(at).and_then(|at| self.zone.following(at).next());
        shift.map_or(i64::MAX, |shift| shift.timestamp().as_millisecond())
    }
}

impl PeriodUnit {
    /// The name in configuration: `hour`, `day`, `week`, `month` or `total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}

impl PeriodWindow {
    /// Before all time: over at any.
    pub(crate) const NEVER: Self = Self { start_ms: i64::MIN, end_ms: i64::MIN };

    /// Whether a time in Unix milliseconds is after it.
    pub(crate) const fn is_over_at(&self, at: i64) -> bool {
        at >= self.end_ms
    }

    /// The first moment after it, in Unix milliseconds; `None` when there is none.
    pub(crate) fn end_ms(&self) -> Option<i64> {
        (self.end_ms < i64::MAX && *self != Self::NEVER).then_some(self.end_ms)
    }

    /// The first moment, in Unix milliseconds; the least number when there is none.
    pub(crate) const fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// The first moment; `None` when there is none, or none that [`SystemTime`] can say.
    pub fn start(&self) -> Option<SystemTime> {
        if self.start_ms == i64::MIN { None } else { wall_time(self.start_ms) }
    }

    /// The first moment after; `None` when there is none, or none that [`SystemTime`] can say.
    pub fn end(&self) -> Option<SystemTime> {
        if self.end_ms == i64::MAX { None } else { wall_time(self.end_ms) }
    }

    /// Whether a wall time is in it.
    pub fn contains(&self, wall: SystemTime) -> bool {
        (self.start_ms..self.end_ms).contains(&unix_millis(wall))
    }
}

/// The wall time of a millisecond; `None` when the machine cannot say it.
fn wall_time(ms: i64) -> Option<SystemTime> {
    let distance = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

fn timestamp(ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(ms).ok()
}

/// The database that is compiled in: no file is read, so a budget means the same on every machine.
fn zones() -> &'static TimeZoneDatabase {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    ZONES.get_or_init(TimeZoneDatabase::bundled)
}

impl PartialEq for Period {
    fn eq(&self, other: &Self) -> bool {
        (self.unit, self.zone()) == (other.unit, other.zone())
    }
}

impl Eq for Period {}

impl core::hash::Hash for Period {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        (self.unit, self.zone()).hash(state);
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Period({self})")
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.unit, self.zone())
    }
}

impl fmt::Display for PeriodUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The written form.
#[cfg(feature = "serde")]
mod form {
    use super::{Period, PeriodUnit, ZoneError};

    /// The unit alone is in UTC.
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(
        untagged,
        expecting = "`hour`, `day`, `week`, `month` or `total`, or a table with `unit` and `zone`"
    )]
    pub(super) enum Form {
        Unit(PeriodUnit),
        InZone(InZone),
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct InZone {
        unit: PeriodUnit,
        zone: Option<String>,
    }

    impl TryFrom<Form> for Period {
        type Error = ZoneError;

        fn try_from(form: Form) -> Result<Self, ZoneError> {
            match form {
                Form::Unit(unit) | Form::InZone(InZone { unit, zone: None }) => Ok(Self::of(unit)),
                Form::InZone(InZone { unit, zone: Some(zone) }) => Self::of(unit).in_zone(&zone),
            }
        }
    }

    impl From<Period> for Form {
        fn from(period: Period) -> Self {
            match period.zone() {
                "UTC" => Self::Unit(period.unit),
                zone => Self::InZone(InZone { unit: period.unit, zone: Some(zone.to_owned()) }),
            }
        }
    }
}

#[cfg(test)]
mod tests;
