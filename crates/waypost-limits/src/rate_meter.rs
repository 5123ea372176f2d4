//! How much of a rate is used.

use core::time::Duration;

use waypost_core::Timestamp;

use crate::pace::Pace;
use crate::sync::{AtomicU64, Ordering};

/// What `taken` holds when the meter was put away: nothing is taken from it any more.
const RETIRED: u64 = u64::MAX;

/// The level of a leaky bucket, by the generic cell rate algorithm (GCRA, ITU-T I.371): not the level is kept but the
/// reading of the rate's clock at which the bucket will be full again, and that in two counters that only grow.
///
/// Let V be the clock ([`Pace`]), U what was taken and R what was returned. The bucket is full again when V = U − R.
/// Taking n raises U to max(U, V + R) + n and is admitted if U − R − V ≤ burst after it.
///
/// **What is given back.** Think of what was taken as a queue that the clock works off, the oldest first: a taking that
/// raised U to *u* stands between u − n − R and u − R. What the clock has passed has been refilled already, and giving
/// it back would admit it a second time; what is ahead of the clock can be given back: at most u − R − V. Whoever gives
/// back moves those behind forward, which raising R does for all of them at once. So places in the queue never overlap,
/// all that may still be given back is part of U − R − V ≤ burst, and in any window what is admitted, less what is
/// given back of it, is at most rate × window + burst, however late results come; to within what the rate admits in
/// four nanoseconds (rounding of the clock) and in the time that passes between a caller's reading of the time and its
/// call.
#[derive(Debug)]
pub(crate) struct RateMeter {
    taken: AtomicU64,
    returned: AtomicU64,
}

/// The place of a taking in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(pub(crate) u64);

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not enough is left; when it will be, if nobody else takes it.
    Spent(Option<Duration>),
    /// More than ever fits.
    Never,
    /// The meter was put away; there is another for the same subject.
    Retired,
}

impl RateMeter {
    pub(crate) fn new() -> Self {
        Self { taken: AtomicU64::new(0), returned: AtomicU64::new(0) }
    }

    /// Takes `n` units, all or nothing, if no more than `most` are used after it. None of none is always admitted.
    #[inline]
    pub(crate) fn take(&self, pace: &Pace, now: Timestamp, n: u64, most: u64) -> Result<Mark, Refused> {
        let clock = pace.read(now);
        // Acquire, with the releases below and in `give_back`: whoever sees a place sees the returns before it. An
        // older value makes the bucket look fuller than it is, and admits less.
        let mut taken = self.taken.load(Ordering::Acquire);
        let mut returned = self.returned.load(Ordering::Acquire);
        loop {
            if taken == RETIRED {
                return Err(Refused::Retired);
            }
            let full_at = taken.saturating_sub(returned);
            let used = full_at.saturating_sub(clock);
            if !fits(pace, n, most, used) {
                let known = core::mem::replace(&mut returned, self.returned.load(Ordering::Acquire));
                if known != returned {
                    continue;
                }
                return Err(refusal(pace, now, n, most, full_at));
            }
            let next = (full_at.max(clock) + n).saturating_add(returned);
            if Pace::is_beyond(next) {
                return Err(Refused::Never);
            }
            match self.taken.compare_exchange_weak(taken, next, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return Ok(Mark(next)),
                Err(seen) => taken = seen,
            }
        }
    }

    /// Takes `n` units whether they are left or not: more was used than was taken before.
    pub(crate) fn charge(&self, pace: &Pace, now: Timestamp, n: u64) {
        let clock = pace.read(now);
        let returned = self.returned.load(Ordering::Acquire);
        let charged = |taken: u64| {
            let next = taken.saturating_sub(returned).max(clock).saturating_add(returned).saturating_add(n);
            (taken != RETIRED).then_some(next.min(RETIRED - 1))
        };
        // Nothing to do when it was put away: it was full, so nobody misses it.
        let _ = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged);
    }

    /// Gives back up to `unused` units of a taking, as much of them as the clock has not passed. Returns how much.
    #[inline]
    pub(crate) fn give_back(&self, pace: &Pace, now: Timestamp, mark: Mark, unused: u64) -> u64 {
        let passed = pace.read(now);
        let mut returned = self.returned.load(Ordering::Relaxed);
        loop {
            let ahead = mark.0.saturating_sub(returned).saturating_sub(passed);
            let back = unused.min(ahead);
            if back == 0 {
                return 0;
            }
            // Release: see `take`. Each return sees all before it, so that no place is given back twice.
            let next = returned + back;
            match self.returned.compare_exchange_weak(returned, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return back,
                Err(seen) => returned = seen,
            }
        }
    }

    /// Gives back up to `n` units of whatever is used: the burst has become smaller by so much.
    pub(crate) fn ease(&self, pace: &Pace, now: Timestamp, n: u64) {
        let taken = self.taken.load(Ordering::Relaxed);
        if taken != RETIRED {
            self.give_back(pace, now, Mark(taken), n);
        }
    }

    /// What is used of the burst, in units.
    #[inline]
    pub(crate) fn used(&self, pace: &Pace, now: Timestamp) -> u64 {
        let taken = self.taken.load(Ordering::Acquire);
        let returned = self.returned.load(Ordering::Acquire);
        if taken == RETIRED { 0 } else { taken.saturating_sub(returned).saturating_sub(pace.read(now)) }
    }

    /// Whether `n` units could be taken now; nothing is.
    #[inline]
    pub(crate) fn would_admit(&self, pace: &Pace, now: Timestamp, n: u64, most: u64) -> Result<(), Refused> {
        let used = self.used(pace, now);
        if fits(pace, n, most, used) {
            return Ok(());
        }
        Err(refusal(pace, now, n, most, pace.read(now) + used))
    }

    /// Puts the meter away if the bucket is full: one that is made anew is the same. Returns whether it did.
    pub(crate) fn retire(&self, pace: &Pace, now: Timestamp) -> bool {
        let returned = self.returned.load(Ordering::Acquire);
        let taken = self.taken.load(Ordering::Relaxed);
        let is_full = taken != RETIRED && taken.saturating_sub(returned) <= pace.read(now);
        // Whoever takes meanwhile changes the counter, and the meter stays.
        is_full && self.taken.compare_exchange(taken, RETIRED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Whether `n` more fit. From a full bucket also what is more than `most`: it would never fit otherwise.
#[inline]
const fn fits(pace: &Pace, n: u64, most: u64, used: u64) -> bool {
    n <= most.saturating_sub(used) || used == 0 && n <= pace.largest()
}

/// The bucket is full at `full_at`; `n` fit when the clock has come so far that only `most` are used with them.
#[cold]
fn refusal(pace: &Pace, now: Timestamp, n: u64, most: u64, full_at: u64) -> Refused {
    if n > pace.largest() && !pace.is_stopped() {
        return Refused::Never;
    }
    Refused::Spent(pace.time_to(full_at.saturating_add(n).saturating_sub(most.max(n)), now))
}
