//! Time that is handed in.

use core::fmt;
use core::ops::Add;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::time::SystemTime;

/// A point on a [`Clock`]'s monotonic time line, in nanoseconds since that clock's origin.
///
/// A plain number instead of `std::time::Instant`: it can be made, compared, stored in an atomic and printed, and its
/// arithmetic saturates, so that time that stands still, goes backwards or is `Duration::MAX` away never panics.
///
/// ```
/// use core::time::Duration;
/// use waypost_core::Timestamp;
///
/// let start = Timestamp::from_nanos(5);
/// let later = start + Duration::from_millis(2);
/// assert_eq!(later.since(start), Duration::from_millis(2));
/// assert_eq!(start.since(later), Duration::ZERO);
/// assert_eq!(later + Duration::MAX, Timestamp::MAX);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    pub const ORIGIN: Self = Self(0);
    /// The end of time, 584 years after the origin.
    pub const MAX: Self = Self(u64::MAX);

    /// The point that is `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time since an earlier point, or zero when that point is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos_of(duration)))
    }
}

/// A duration in nanoseconds; 584 years at the most.
#[inline]
pub(crate) fn nanos_of(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

/// Tells the time. Decisions use only what a clock says, so a [`ManualClock`] makes them repeatable.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The monotonic time. Must not go backwards; if it does, durations read as zero.
    fn now(&self) -> Timestamp;

    /// The wall time, for calendar rules and budgets. May jump.
    fn wall(&self) -> SystemTime;
}

/// Milliseconds since the Unix epoch, rounded down. Times that the number cannot say become the nearest it can, but
/// never `i64::MAX`, which is the end of endless windows and lies in none.
pub fn unix_millis(wall: SystemTime) -> i64 {
    match wall.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).map_or(i64::MAX - 1, |ms| ms.min(i64::MAX - 1)),
        Err(before) => {
            i64::try_from(before.duration().as_nanos().div_ceil(1_000_000)).map_or(i64::MIN, |ms| -ms)
        }
    }
}

/// A clock that moves only when told, for tests and simulations.
///
/// ```
/// use core::time::Duration;
/// use waypost_core::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::default();
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now(), Timestamp::from_nanos(1_000_000_000));
/// ```
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub const fn at(now: Timestamp) -> Self {
        Self { nanos: AtomicU64::new(now.0) }
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Moves to a point, backwards too: tests need clocks that misbehave.
    pub fn set(&self, now: Timestamp) {
        self.nanos.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.nanos.load(Ordering::Relaxed))
    }

    /// The Unix epoch plus the monotonic time.
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}
