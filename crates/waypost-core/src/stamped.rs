//! A number with the time it was set, in one word.

use core::time::Duration;

use crate::Timestamp;
use crate::sync::{AtomicU64, Ordering};

/// Time is kept in units of 2^20 ns, about a millisecond, in 32 bits: it wraps after 52 days.
const TICK_BITS: u32 = 20;
/// A stamp this little in the future of a reader, an hour, is of now: clocks of threads differ, and time may step back.
const TOLERANCE: u32 = (3_600_000_000_000_u64 >> TICK_BITS) as u32;

/// How long ago a [`StampedCell`] was set, to a millisecond; at most 52 days.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age(u32);

impl Age {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// A duration; longer ones than 52 days count as that.
    pub const fn of(duration: Duration) -> Self {
        let ticks = duration.as_nanos() >> TICK_BITS;
        Self(if ticks > u32::MAX as u128 { u32::MAX } else { ticks as u32 })
    }

    /// The time as a duration.
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.as_nanos())
    }

    const fn as_nanos(self) -> u64 {
        (self.0 as u64) << TICK_BITS
    }

    /// In units of another age.
    #[inline]
    pub fn over(self, unit: Self) -> f32 {
        self.0 as f32 / unit.0.max(1) as f32
    }

    /// What a value that halves in every `half_life` has come down to after this time, from 1.
    #[inline]
    pub fn decay(self, half_life: Self) -> f32 {
        if self.0 == 0 { 1.0 } else { (-self.over(half_life)).exp2() }
    }
}

impl core::ops::Add<Age> for Timestamp {
    type Output = Self;

    #[inline]
    fn add(self, age: Age) -> Self {
        Self::from_nanos(self.as_nanos().saturating_add(age.as_nanos()))
    }
}

/// A point in time in 32 bits, for packing into an atomic word: to a millisecond, and it wraps after 52 days. Never
/// zero, so that a word which holds one is never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(u32);

impl Stamp {
    /// How far ahead a deadline may be: an hour.
    pub const HORIZON: Duration = Duration::from_secs(3_600);

    /// The stamp of a time.
    #[inline]
    pub fn of(time: Timestamp) -> Self {
        Self(((time.as_nanos() >> TICK_BITS) as u32).max(1))
    }

    /// The first stamp that is not before a time: of a deadline, which must not come early.
    #[inline]
    pub fn not_before(time: Timestamp) -> Self {
        Self::of(time + Duration::from_nanos((1 << TICK_BITS) - 1))
    }

    /// The stamp in the low half of a word; `None` of a word that was never set.
    #[inline]
    pub const fn in_word(word: u64) -> Option<Self> {
        if word == 0 { None } else { Some(Self(word as u32)) }
    }

    /// The 32 bits.
    #[inline]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// How old the stamp is at `now`. One up to an hour in the future is of now; one further in the future is a long
    /// idle time, seen through the wrap.
    #[inline]
    pub const fn age_at(self, now: Self) -> Age {
        let age = now.0.wrapping_sub(self.0);
        Age(if age > u32::MAX - TOLERANCE { 0 } else { age })
    }

    /// How long it is from `now` to the stamp of a deadline; `None` when that has come. Deadlines are at most
    /// [`HORIZON`](Self::HORIZON) ahead, so one that looks further away came long ago.
    #[inline]
    pub const fn remaining_at(self, now: Self) -> Option<Age> {
        let remaining = self.0.wrapping_sub(now.0);
        if remaining == 0 || remaining > TOLERANCE { None } else { Some(Age(remaining)) }
    }
}

/// A number and the time when it was set, in one atomic word: what averages, rates and published estimates are made of.
///
/// A reader never sees a number with another's time. An update is one compare-and-swap, so none is lost or applied
/// twice; a number that is not finite is never stored. The time in the word does not move back, but for steps of
/// more than an hour.
///
/// ```
/// use core::time::Duration;
/// use waypost_core::{Age, StampedCell, Timestamp};
///
/// let cell = StampedCell::default();
/// let second = |n| Timestamp::ORIGIN + Duration::from_secs(n);
/// assert_eq!(cell.get(second(1)), None);
/// cell.update(second(1), |_| Some(8.0));
/// // Each update may look at the number before and at how long ago that was set.
/// let half_life = Age::of(Duration::from_secs(10));
/// cell.update(second(11), |before| before.map(|(number, age)| number * age.decay(half_life)));
/// assert_eq!(cell.get(second(11)).map(|(number, age)| (number.round(), age)), Some((4.0, Age::ZERO)));
/// ```
#[derive(Debug)]
pub struct StampedCell {
    /// The `f32`'s bits in the high half, time in ticks in the low half; zero before the first update.
    word: AtomicU64,
}

impl StampedCell {
    /// A cell that was never set.
    pub fn new() -> Self {
        Self { word: AtomicU64::new(0) }
    }

    /// The number and its age; `None` before the first update. A time before the last update sees it as of now.
    #[inline]
    pub fn get(&self, now: Timestamp) -> Option<(f32, Age)> {
        read(self.word.load(Ordering::Relaxed), Stamp::of(now))
    }

    /// Replaces the number by what `next` makes of it; `None` and numbers that are not finite leave it alone. `next`
    /// may be called several times when threads meet. Returns the number that is in the cell after it.
    #[inline]
    pub fn update(
        &self,
        now: Timestamp,
        mut next: impl FnMut(Option<(f32, Age)>) -> Option<f32>,
    ) -> Option<f32> {
        let now = Stamp::of(now);
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let before = read(word, now);
            let Some(number) = next(before).filter(|number| number.is_finite()) else {
                return before.map(|(number, _)| number);
            };
            let is_late = before.is_some_and(|(_, age)| age == Age::ZERO);
            let time = if is_late { word as u32 } else { now.to_bits() };
            let updated = (u64::from(number.to_bits()) << 32) | u64::from(time);
            // Relaxed: the word publishes nothing but itself.
            match self.word.compare_exchange_weak(word, updated, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(number),
                Err(seen) => word = seen,
            }
        }
    }

    /// Sets this cell to what another holds.
    pub fn copy_from(&self, other: &Self) {
        self.word.store(other.word.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Default for StampedCell {
    fn default() -> Self {
        Self::new()
    }
}

#[inline]
fn read(word: u64, now: Stamp) -> Option<(f32, Age)> {
    Some((f32::from_bits((word >> 32) as u32), Stamp::in_word(word)?.age_at(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn what_is_not_finite_is_not_stored() {
        let cell = StampedCell::new();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(cell.update(at(1), |_| Some(bad)), None);
        }
        cell.update(at(1), |_| Some(2.0));
        assert_eq!(cell.update(at(2), |_| Some(f32::NAN)), Some(2.0));
    }

    #[test]
    fn its_time_never_moves_back() {
        let cell = StampedCell::new();
        cell.update(at(10_000), |_| Some(1.0));
        cell.update(at(2_000), |before| {
            before.map(|(number, age)| number + age.over(Age::of(Duration::from_secs(1))))
        });
        assert_eq!(cell.get(at(2_000)), Some((1.0, Age::ZERO)));
        let age = cell.get(at(20_000)).unwrap().1;
        assert!((age.over(Age::of(Duration::from_secs(1))) - 10.0).abs() < 0.01, "{age:?}");
    }

    #[test]
    fn a_deadline_never_comes_early_and_an_old_one_has_come() {
        for millis in [3, 999, 1_000, 4_503_599, u64::from(u32::MAX)] {
            let (deadline, before) = (Stamp::not_before(at(millis)), Stamp::of(at(millis - 1)));
            assert!(deadline.remaining_at(before).is_some(), "{millis}");
            assert!(deadline.remaining_at(Stamp::of(at(millis + 2))).is_none(), "{millis}");
            for days in [1, 26, 51, 60] {
                assert!(deadline.remaining_at(Stamp::of(at(millis + days * 86_400_000))).is_none(), "{days}");
            }
        }
        let hour = Stamp::not_before(Timestamp::ORIGIN + Stamp::HORIZON);
        let left = hour.remaining_at(Stamp::of(at(2))).unwrap().as_duration();
        assert!(left + Duration::from_millis(4) > Stamp::HORIZON, "{left:?}");
    }

    #[test]
    fn trap_20_a_month_of_idleness_is_not_the_past() {
        let cell = StampedCell::new();
        cell.update(at(0), |_| Some(1.0));
        for days in [1, 26, 30, 45, 51] {
            let age = cell.get(at(days * 86_400_000)).unwrap().1;
            assert!(age >= Age::of(Duration::from_secs(86_000)), "{days} days");
        }
    }

    #[test]
    fn threads_lose_no_update() {
        let cell = StampedCell::new();
        let each = if cfg!(miri) { 50 } else { 10_000 };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..each).for_each(|_| {
                        cell.update(at(1), |before| Some(before.map_or(0.0, |(number, _)| number) + 1.0));
                    });
                });
            }
        });
        assert_eq!(cell.get(at(1)).unwrap().0, (4 * each) as f32);
    }
}
