//! TB1 to TB10: the counters of a rate.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::{at, is_caught};
use crate::Rate;
use crate::pace::Pace;
use crate::rate_meter::{Mark, RateMeter};

/// A bucket of two that gets one a second, as models see it. Times are in milliseconds.
trait Bucket: Send + Sync + 'static {
    fn take(&self, n: u64, millis: u64) -> Option<Mark>;
    fn give_back(&self, mark: Mark, n: u64, millis: u64);
    /// More was used than was taken.
    fn charge(&self, n: u64, millis: u64);
    /// At half the rate and half the burst from now on.
    fn slow_down(&self, millis: u64);
}

struct Shipped {
    meter: RateMeter,
    pace: waypost_core::SnapshotCell<Pace>,
}

fn rate(quota: u64, seconds: u64, burst: u64) -> Rate {
    let rate = Rate::new(quota, core::time::Duration::from_secs(seconds)).unwrap();
    rate.burst(burst).unwrap()
}

fn shipped() -> Shipped {
    let pace = Pace::new(&rate(1, 1, 2), at(0));
    Shipped { meter: RateMeter::new(), pace: waypost_core::SnapshotCell::new(pace) }
}

impl Bucket for Shipped {
    fn take(&self, n: u64, millis: u64) -> Option<Mark> {
        let pace = self.pace.load();
        self.meter.take(&pace, at(millis), pace.units(n)?, pace.burst()).ok()
    }

    fn give_back(&self, mark: Mark, n: u64, millis: u64) {
        let pace = self.pace.load();
        self.meter.give_back(&pace, at(millis), mark, pace.units(n).unwrap());
    }

    fn charge(&self, n: u64, millis: u64) {
        self.meter.charge(&self.pace.load(), at(millis), n);
    }

    fn slow_down(&self, millis: u64) {
        let slower = |pace: &Arc<Pace>| Ok::<_, ()>(pace.continued(&rate(1, 2, 1), at(millis)));
        self.pace.update(slower).unwrap();
    }
}

/// The known bugs, by the invariant that each breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// TB1: the check reads, the change writes.
    CheckThenAct,
    /// TB2: what is too little for one more is thrown away at every look (firecracker #3370).
    FractionsAreLost,
    /// TB3: a clock that goes back takes the time of the last refill with it (golang/go #56287).
    TimeGoesBack,
    /// TB4: who is refused pays all the same.
    RefusedPay,
    /// TB5: what comes back is added, whether there is room or not.
    ReturnsPileUp,
    /// TB6: a late writer puts an older time back.
    LastWriterWins,
    /// TB7: a full bucket admits whatever comes.
    FullAdmitsAll,
    /// TB8: the level wraps.
    Wraps,
    /// TB9: the level is kept in time, and time is worth more at another rate.
    LevelInTime,
    /// TB10: a place is given back by each of two who gave it up.
    ReturnedTwice,
}

/// A bucket with one of the bugs: the level in thousandths and the time of the last refill.
struct Flawed {
    flaw: Flaw,
    level: AtomicU64,
    last: AtomicU64,
    per_second: AtomicU64,
}

fn flawed(flaw: Flaw) -> impl Fn() -> Flawed + Send + Sync + Copy + 'static {
    move || Flawed {
        flaw,
        level: AtomicU64::new(2_000),
        last: AtomicU64::new(0),
        per_second: AtomicU64::new(1_000),
    }
}

impl Flawed {
    fn refill(&self, millis: u64) {
        let last = self.last.load(Ordering::Relaxed);
        let elapsed = match self.flaw {
            Flaw::TimeGoesBack => millis.abs_diff(last),
            _ => millis.saturating_sub(last),
        };
        let mut more = elapsed * self.per_second.load(Ordering::Relaxed) / 1_000;
        if self.flaw == Flaw::FractionsAreLost {
            more = more / 1_000 * 1_000;
        }
        if elapsed > 0 {
            self.last.store(millis, Ordering::Relaxed);
            let level = self.level.load(Ordering::Relaxed);
            self.level.store((level + more).min(2_000), Ordering::Relaxed);
        }
    }
}

impl Bucket for Flawed {
    fn take(&self, n: u64, millis: u64) -> Option<Mark> {
        self.refill(millis);
        let n = n * 1_000;
        if self.flaw == Flaw::RefusedPay {
            let before = self.level.load(Ordering::Relaxed);
            self.level.store(before.saturating_sub(n), Ordering::Relaxed);
            return (before >= n).then_some(Mark(0));
        }
        let level = self.level.load(Ordering::Relaxed);
        if self.flaw == Flaw::FullAdmitsAll && level == 2_000 {
            self.level.store(level.saturating_sub(n), Ordering::Relaxed);
            return Some(Mark(0));
        }
        if level < n {
            return None;
        }
        if self.flaw == Flaw::CheckThenAct || self.flaw == Flaw::LastWriterWins {
            self.level.store(level - n, Ordering::Relaxed);
            return Some(Mark(0));
        }
        let less = |level: u64| level.checked_sub(n);
        self.level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok().map(|_| Mark(0))
    }

    fn give_back(&self, _: Mark, n: u64, _: u64) {
        let times = if self.flaw == Flaw::ReturnedTwice { 2 } else { 1 };
        self.level.fetch_add(times * n * 1_000, Ordering::Relaxed);
    }

    fn charge(&self, n: u64, _: u64) {
        let less = |level: u64| {
            Some(if self.flaw == Flaw::Wraps { level.wrapping_sub(n) } else { level.saturating_sub(n) })
        };
        self.level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap();
    }

    fn slow_down(&self, _: u64) {
        if self.flaw == Flaw::LevelInTime {
            // Two seconds' worth were taken at one a second; that is one at the new rate, so one more fits.
            self.level.fetch_add(1_000, Ordering::Relaxed);
        }
        self.per_second.store(500, Ordering::Relaxed);
    }
}

fn takes<B: Bucket>(bucket: &B, times: usize, millis: u64) -> u64 {
    (0..times).filter(|_| bucket.take(1, millis).is_some()).count() as u64
}

/// TB1, TB2, TB4: two threads take at once; after a second they and a third have got the burst and one more, exactly.
fn at_once<B: Bucket>(make: impl Fn() -> B) {
    let bucket = Arc::new(make());
    let other = Arc::clone(&bucket);
    let second = thread::spawn(move || takes(&*other, 2, 0));
    let granted = takes(&*bucket, 1, 0) + second.join().unwrap();
    assert!(granted <= 2, "TB1: {granted} of a burst of two");
    let granted = granted + takes(&*bucket, 3, 1_000);
    assert_eq!(granted, 3, "TB1, TB2, TB4: burst and a second's refill");
}

/// TB2: looks in between lose nothing of what has been refilled.
fn fractions<B: Bucket>(make: impl Fn() -> B) {
    let bucket = Arc::new(make());
    assert_eq!(takes(&*bucket, 2, 0), 2);
    let other = Arc::clone(&bucket);
    let looks = thread::spawn(move || takes(&*other, 1, 600));
    let early = takes(&*bucket, 1, 900) + looks.join().unwrap();
    assert_eq!(early, 0);
    assert_eq!(takes(&*bucket, 2, 1_000), 1, "TB2: one second makes one");
}

/// TB3, TB6: a clock that is behind creates nothing, and does not put the bucket's own time back.
fn behind<B: Bucket>(make: impl Fn() -> B) {
    let bucket = Arc::new(make());
    assert_eq!(takes(&*bucket, 2, 5_000), 2);
    let other = Arc::clone(&bucket);
    let late = thread::spawn(move || takes(&*other, 1, 1_000));
    let granted = takes(&*bucket, 1, 5_000) + late.join().unwrap();
    assert_eq!(granted + takes(&*bucket, 1, 5_900), 0, "TB3, TB6: nothing came free");
}

/// TB5: what is given back never makes more than the burst, nor more than was taken.
fn returns<B: Bucket>(make: impl Fn() -> B) {
    let bucket = Arc::new(make());
    let (first, second) = (bucket.take(1, 0).unwrap(), bucket.take(1, 0).unwrap());
    let other = Arc::clone(&bucket);
    let thread = thread::spawn(move || {
        other.take(0, 1_500);
        other.give_back(second, 1, 1_500);
    });
    bucket.give_back(first, 1, 1_500);
    thread.join().unwrap();
    assert!(takes(&*bucket, 4, 1_500) <= 2, "TB5: no more than the burst");
}

/// TB9: a rate that changes while somebody takes: no more than the greater burst, and what time brings.
fn changes<B: Bucket>(make: impl Fn() -> B) {
    let bucket = Arc::new(make());
    let other = Arc::clone(&bucket);
    let thread = thread::spawn(move || takes(&*other, 2, 0));
    bucket.slow_down(0);
    let granted = takes(&*bucket, 1, 0) + thread.join().unwrap();
    assert!(granted + takes(&*bucket, 2, 0) <= 2, "TB9");
}

/// TB10: places are kept in order and do not overlap; one that is given up comes back once.
fn places<B: Bucket>(make: impl Fn() -> B) {
    let bucket = Arc::new(make());
    let kept = bucket.take(1, 0).unwrap();
    let other = Arc::clone(&bucket);
    let thread = thread::spawn(move || {
        if let Some(given_up) = other.take(1, 0) {
            other.give_back(given_up, 1, 0);
        }
    });
    let racing = takes(&*bucket, 1, 0);
    thread.join().unwrap();
    assert_eq!(racing + takes(&*bucket, 2, 0), 1, "TB10: one place is kept, one came back");
    let _ = kept;
}

#[test]
fn tb1_tb2_tb4_no_more_and_no_less_than_burst_and_refill() {
    loom::model(|| at_once(shipped));
    assert!(is_caught(|| at_once(flawed(Flaw::CheckThenAct))));
    assert!(is_caught(|| at_once(flawed(Flaw::RefusedPay))));
}

#[test]
fn tb2_fractions_are_kept() {
    loom::model(|| fractions(shipped));
    assert!(is_caught(|| fractions(flawed(Flaw::FractionsAreLost))));
}

#[test]
fn tb3_tb6_a_clock_that_is_behind_creates_nothing() {
    loom::model(|| behind(shipped));
    assert!(is_caught(|| behind(flawed(Flaw::TimeGoesBack))));
    assert!(is_caught(|| at_once(flawed(Flaw::LastWriterWins))));
}

#[test]
fn tb5_what_comes_back_has_an_end() {
    loom::model(|| returns(shipped));
    assert!(is_caught(|| returns(flawed(Flaw::ReturnsPileUp))));
}

/// TB6: both counters only grow, whatever happens at once.
#[test]
fn tb6_the_counters_are_monotone() {
    loom::model(|| {
        let bucket = Arc::new(shipped());
        let first = bucket.take(1, 0).unwrap();
        let other = Arc::clone(&bucket);
        let thread = thread::spawn(move || other.take(1, 0).map(|mark| mark.0));
        bucket.give_back(first, 1, 0);
        let mine = bucket.take(1, 0).map(|mark| mark.0);
        let theirs = thread.join().unwrap();
        assert!(mine.is_some() && theirs.is_some(), "two and one given back");
        assert!(mine > Some(first.0) && theirs > Some(first.0) && mine != theirs, "each has a later place");
    });
}

/// TB7, TB8: more than the burst is never admitted, nothing is always admitted, and sums at the type's end admit nothing.
fn ends_of_amounts<B: Bucket>(make: impl Fn() -> B) {
    let bucket = Arc::new(make());
    let other = Arc::clone(&bucket);
    let thread = thread::spawn(move || other.take(3, 0).is_some());
    assert!(bucket.take(0, 0).is_some(), "TB7: nothing of any bucket");
    assert!(!thread.join().unwrap(), "TB7: three of a burst of two");
    let other = Arc::clone(&bucket);
    let thread = thread::spawn(move || other.charge(u64::MAX, 0));
    bucket.charge(u64::MAX, 0);
    thread.join().unwrap();
    assert_eq!(takes(&*bucket, 1, 0), 0, "TB8: saturated is spent");
}

#[test]
fn tb7_tb8_what_never_fits_and_what_is_nothing() {
    loom::model(|| ends_of_amounts(shipped));
    assert!(is_caught(|| ends_of_amounts(flawed(Flaw::FullAdmitsAll))));
    assert!(is_caught(|| ends_of_amounts(flawed(Flaw::Wraps))));
}

#[test]
fn tb9_a_rate_that_changes() {
    loom::model(|| changes(shipped));
    assert!(is_caught(|| changes(flawed(Flaw::LevelInTime))));
}

#[test]
fn tb10_places_keep_their_order_and_come_back_once() {
    loom::model(|| places(shipped));
    assert!(is_caught(|| places(flawed(Flaw::ReturnedTwice))));
}

/// A meter that is put away while somebody takes of it: either it stays, or they are sent to its successor.
#[test]
fn nobody_takes_of_a_meter_that_was_put_away() {
    loom::model(|| {
        let bucket = Arc::new(shipped());
        let other = Arc::clone(&bucket);
        let taker = thread::spawn(move || other.take(1, 0).is_some());
        let retired = bucket.meter.retire(&bucket.pace.load(), at(0));
        assert_ne!(retired, taker.join().unwrap());
    });
}
