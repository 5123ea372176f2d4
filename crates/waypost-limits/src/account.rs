//! The money of one period: reserved, then settled.

use core::time::Duration;

use waypost_core::{NanoUsd, Timestamp};

use crate::PeriodWindow;
use crate::sync::{AtomicU64, Ordering};

/// What `committed` holds when the account was put away.
const RETIRED: u64 = u64::MAX;
/// The most that is ever committed: an account that would hold more holds this.
const MOST: u64 = 1 << 62;
/// Reservations are kept by when their lease is over, in this many parts.
const PARTS: usize = 4;
/// Bits of a part that hold money; the higher ones tell which part of time it is.
const MONEY_BITS: u32 = 48;
/// The most that may be reserved in one part of one account at the same time: 281,474 dollars.
const MOST_RESERVED: u64 = (1 << MONEY_BITS) - 1;

/// What was settled and what is reserved in one period of one budget.
///
/// One word holds the sum of both, so that admitting is one compare-and-swap and nothing is admitted on what another
/// reserves meanwhile. A reservation ends in exactly one way: settled, released, or its lease is over. For that,
/// reservations are summed up in parts by when their leases end. Ending one takes it out of its part; whoever finds
/// that the time of a part has come takes all that is left in it at once. So whichever comes first has the effect.
#[derive(Debug)]
pub(crate) struct Account {
    window: PeriodWindow,
    /// What may be committed.
    granted: AtomicU64,
    /// Settled, reserved and handed back.
    committed: AtomicU64,
    /// Only grows.
    settled: AtomicU64,
    /// What was granted and handed back; only grows.
    handed_back: AtomicU64,
    reserved: [AtomicU64; PARTS],
    /// What was reserved when its lease was over; only grows. Some of it may be settled yet.
    expired: AtomicU64,
}

/// One reservation: how much, and in which part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) amount: u64,
    epoch: u16,
}

/// How long reservations hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    /// A part of the lease: it is over after two of them at the least, and three at the most.
    part: u64,
}

impl Lease {
    pub(crate) fn of(duration: Duration) -> Self {
        Self { part: u64::try_from(duration.as_nanos() / 2).unwrap_or(u64::MAX).max(1) }
    }

    /// The part of time that `now` is in.
    const fn epoch(self, now: Timestamp) -> u16 {
        (now.as_nanos() / self.part) as u16
    }
}

/// What an account holds at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) granted: NanoUsd,
    pub(crate) settled: NanoUsd,
    pub(crate) reserved: NanoUsd,
}

/// Why nothing was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It would be more than may be committed.
    Spent,
    /// The account was put away.
    Retired,
}

impl Account {
    pub(crate) fn new(window: PeriodWindow, granted: NanoUsd) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            window,
            granted: AtomicU64::new(granted.0.min(MOST)),
            committed: zero(),
            settled: zero(),
            handed_back: zero(),
            reserved: [zero(), zero(), zero(), zero()],
            expired: zero(),
        }
    }

    /// The period.
    pub(crate) const fn window(&self) -> &PeriodWindow {
        &self.window
    }

    /// Reserves, if no more than what was granted is committed with it; softly, in any case.
    #[inline]
    pub(crate) fn reserve(
        &self,
        amount: u64,
        now: Timestamp,
        lease: Lease,
        softly: bool,
    ) -> Result<Reserved, Denied> {
        match self.commit(amount, softly) {
            // What leaked may be in the way.
            Err(Denied::Spent) if self.expire(now, lease) > 0 => self.commit(amount, softly)?,
            committed => committed?,
        }
        if let Some(epoch) = self.hold(lease.epoch(now), amount) {
            return Ok(Reserved { amount, epoch });
        }
        self.uncommit(amount);
        Err(Denied::Spent)
    }

    /// Says what a reservation cost, in place of what was reserved. Returns what was settled before and after it.
    #[inline]
    pub(crate) fn settle(&self, reserved: Reserved, actual: u64) -> (u64, u64) {
        let actual = actual.min(MOST);
        let was_held = if self.let_go(reserved) { reserved.amount } else { 0 };
        if actual >= was_held {
            self.commit_anyway(actual - was_held);
        } else {
            self.uncommit(was_held - actual);
        }
        // Release, with the acquire of `balance`: whoever sees this sees the commitment that it is part of.
        let before = self.settled.fetch_update(Ordering::Release, Ordering::Relaxed, |settled| {
            Some(settled.saturating_add(actual).min(MOST))
        });
        let before = before.unwrap_or_else(|settled| settled);
        (before, before.saturating_add(actual).min(MOST))
    }

    /// Ends a reservation that was not used. Without effect when its lease is over.
    #[inline]
    pub(crate) fn release(&self, reserved: Reserved) {
        if self.let_go(reserved) {
            self.uncommit(reserved.amount);
        }
    }

    /// Ends all reservations whose leases are over. Returns how much they held.
    pub(crate) fn expire(&self, now: Timestamp, lease: Lease) -> u64 {
        let current = lease.epoch(now);
        (0..PARTS).map(|place| self.expire_part(place, current)).sum()
    }

    /// What is in it.
    pub(crate) fn balance(&self) -> Balance {
        // In this order: what is settled was committed before, so the difference is never negative.
        let settled = self.settled.load(Ordering::Acquire);
        let handed_back = self.handed_back.load(Ordering::Acquire);
        let committed = self.committed.load(Ordering::Relaxed);
        let committed = if committed == RETIRED { 0 } else { committed };
        let granted = self.granted.load(Ordering::Relaxed);
        Balance {
            granted: NanoUsd(granted.saturating_sub(handed_back)),
            settled: NanoUsd(settled),
            reserved: NanoUsd(committed.saturating_sub(settled).saturating_sub(handed_back)),
        }
    }

    /// All that was ever handed back.
    pub(crate) fn handed_back(&self) -> u64 {
        self.handed_back.load(Ordering::Acquire)
    }

    /// What may still be reserved.
    #[inline]
    pub(crate) fn left(&self) -> u64 {
        let committed = self.committed.load(Ordering::Relaxed);
        self.granted.load(Ordering::Relaxed).saturating_sub(committed)
    }

    /// What leases hold that are over: as good as free.
    #[inline]
    pub(crate) fn overdue(&self, now: Timestamp, lease: Lease) -> u64 {
        let current = lease.epoch(now);
        let parts = self.reserved.iter().map(|part| unpack(part.load(Ordering::Relaxed)));
        parts.filter(|&(of, _)| has_come(of, current)).map(|(_, held)| held).sum()
    }

    /// Changes what may be committed.
    pub(crate) fn set_granted(&self, granted: NanoUsd) {
        self.granted.store(granted.0.min(MOST), Ordering::Relaxed);
    }

    /// Adds to what may be committed.
    pub(crate) fn grant(&self, more: NanoUsd) {
        let grown = |granted: u64| Some(granted.saturating_add(more.0).min(MOST));
        let _ = self.granted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
    }

    /// Hands back up to `amount` of what was granted and is not committed. Returns how much; nobody can reserve it any
    /// more.
    pub(crate) fn hand_back(&self, amount: NanoUsd) -> NanoUsd {
        let mut back = 0;
        let committed = self.committed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |committed| {
            let left = self.granted.load(Ordering::Relaxed).saturating_sub(committed);
            back = amount.0.min(left);
            (back > 0 && committed != RETIRED).then_some(committed + back)
        });
        if committed.is_err() {
            return NanoUsd::ZERO;
        }
        self.handed_back.fetch_add(back, Ordering::Release);
        NanoUsd(back)
    }

    /// Puts the account away if nothing was spent, is reserved or was handed back, and nothing can come late. Returns
    /// whether it did.
    pub(crate) fn retire(&self) -> bool {
        let is_idle =
            self.committed.compare_exchange(0, RETIRED, Ordering::Acquire, Ordering::Relaxed).is_ok();
        let is_late = is_idle && self.expired.load(Ordering::Relaxed) > 0;
        if is_late {
            // Who came meanwhile looks for a successor, and finds this one.
            self.committed.store(0, Ordering::Relaxed);
        }
        is_idle && !is_late
    }

    #[inline]
    fn commit(&self, amount: u64, softly: bool) -> Result<(), Denied> {
        let granted = self.granted.load(Ordering::Relaxed);
        // Relaxed: the word guards no other memory; its modification order alone makes the sum exact.
        let committed = self.committed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |committed| {
            let next = committed.checked_add(amount)?;
            ((softly || next <= granted) && next <= MOST).then_some(next)
        });
        match committed {
            Ok(_) => Ok(()),
            Err(RETIRED) => Err(Denied::Retired),
            Err(_) => Err(Denied::Spent),
        }
    }

    fn commit_anyway(&self, amount: u64) {
        let committed = |committed: u64| {
            (committed != RETIRED).then(|| committed.saturating_add(amount).min(RETIRED - 1))
        };
        let _ = self.committed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, committed);
    }

    /// INVARIANT: what is taken out was committed and is taken out once: its part gave it up.
    fn uncommit(&self, amount: u64) {
        self.committed.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Puts a reservation into the part of time three after the current one, and says which that is. `None` when the
    /// part is full.
    fn hold(&self, current: u16, amount: u64) -> Option<u16> {
        let epoch = current.wrapping_add(PARTS as u16 - 1);
        let part = &self.reserved[usize::from(epoch) % PARTS];
        let mut word = part.load(Ordering::Relaxed);
        loop {
            let (of, held) = unpack(word);
            // By a clock that is behind, the part may be of a later time already: the reservation joins it.
            let joins = of == epoch || held > 0 && !has_come(of, current);
            let (epoch, kept) = if joins { (of, held) } else { (epoch, 0) };
            let sum = kept.checked_add(amount).filter(|&sum| sum <= MOST_RESERVED)?;
            match part.compare_exchange_weak(word, pack(epoch, sum), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    // What was there is of a part of time that is over.
                    self.expire_held(held - kept);
                    return Some(epoch);
                }
                Err(seen) => word = seen,
            }
        }
    }

    /// Takes a reservation out of its part. `false` when its lease is over.
    fn let_go(&self, reserved: Reserved) -> bool {
        let part = &self.reserved[usize::from(reserved.epoch) % PARTS];
        let without = |word: u64| {
            let (of, held) = unpack(word);
            (of == reserved.epoch)
                .then(|| held.checked_sub(reserved.amount))
                .flatten()
                .map(|sum| pack(of, sum))
        };
        part.fetch_update(Ordering::Relaxed, Ordering::Relaxed, without).is_ok()
    }

    /// Release, before what was held is free: whoever puts the account away because nothing is committed sees this.
    fn expire_held(&self, held: u64) {
        self.expired.fetch_add(held, Ordering::Release);
        self.committed.fetch_sub(held, Ordering::Release);
    }

    fn expire_part(&self, place: usize, current: u16) -> u64 {
        let part = &self.reserved[place];
        let emptied = |word: u64| {
            let (of, held) = unpack(word);
            (held > 0 && has_come(of, current)).then(|| pack(current, 0))
        };
        match part.fetch_update(Ordering::Relaxed, Ordering::Relaxed, emptied) {
            Ok(word) => {
                let held = unpack(word).1;
                self.expire_held(held);
                held
            }
            Err(_) => 0,
        }
    }
}

/// Whether the time of a part has come. Times wrap; half of them are ahead.
const fn has_come(of: u16, current: u16) -> bool {
    current.wrapping_sub(of) < 1 << 15
}

const fn pack(epoch: u16, amount: u64) -> u64 {
    (epoch as u64) << MONEY_BITS | amount
}

const fn unpack(word: u64) -> (u16, u64) {
    ((word >> MONEY_BITS) as u16, word & MOST_RESERVED)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The numbers of parts of time wrap: whatever time it is, a reservation holds for its lease and not for long
    /// after.
    #[test]
    fn leases_end_wherever_the_numbers_wrap() {
        let lease = Lease::of(Duration::from_secs(2));
        for start in (0..10).chain(65_525..65_545).chain(131_065..131_080) {
            let account = Account::new(PeriodWindow::NEVER, NanoUsd(10));
            let at = |seconds: u64| Timestamp::ORIGIN + Duration::from_secs(start + seconds);
            let leaked = account.reserve(6, at(0), lease, false).unwrap();
            assert_eq!(account.reserve(5, at(2), lease, false), Err(Denied::Spent), "{start}: held");
            let next = account.reserve(5, at(3), lease, false).unwrap();
            assert_eq!(account.balance().reserved, NanoUsd(5), "{start}: over");
            account.settle(leaked, 2);
            account.release(next);
            let balance = account.balance();
            assert_eq!((balance.settled, balance.reserved), (NanoUsd(2), NanoUsd(0)), "{start}");
        }
    }

    /// A part that is not touched for long is of the past, whoever comes by.
    #[test]
    fn what_leaked_long_ago_is_free() {
        let lease = Lease::of(Duration::from_secs(2));
        for later in [3, 4, 5, 100, 20_000, 32_000] {
            let account = Account::new(PeriodWindow::NEVER, NanoUsd(10));
            account.reserve(6, Timestamp::ORIGIN, lease, false).unwrap();
            let now = Timestamp::ORIGIN + Duration::from_secs(later);
            assert!(account.reserve(10, now, lease, false).is_ok(), "{later}");
        }
    }
}
