//! BD1 to BD10: the money of one period, and what becomes of it when the next begins.

use core::time::Duration;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use waypost_core::NanoUsd;

use super::{at, is_caught};
use crate::account::{Account, Lease, Reserved};
use crate::meter::{BudgetState, Moment};
use crate::{Budget, Period, PeriodWindow};

/// A budget of ten, as models see it; reservations hold for two seconds, three at the most.
trait Purse: Send + Sync + 'static {
    fn reserve(&self, amount: u64, second: u64) -> Option<Reserved>;
    fn settle(&self, reserved: Reserved, actual: u64);
    fn release(&self, reserved: Reserved);
    fn expire(&self, second: u64);
    fn hand_back(&self, amount: u64) -> u64;
    /// Settled, and reserved.
    fn balance(&self) -> (u64, u64);
}

fn lease() -> Lease {
    Lease::of(Duration::from_secs(2))
}

fn shipped() -> Account {
    Account::new(PeriodWindow::NEVER, NanoUsd(10))
}

impl Purse for Account {
    fn reserve(&self, amount: u64, second: u64) -> Option<Reserved> {
        Self::reserve(self, amount, at(1_000 * second), lease(), false).ok()
    }

    fn settle(&self, reserved: Reserved, actual: u64) {
        Self::settle(self, reserved, actual);
    }

    fn release(&self, reserved: Reserved) {
        Self::release(self, reserved);
    }

    fn expire(&self, second: u64) {
        Self::expire(self, at(1_000 * second), lease());
    }

    fn hand_back(&self, amount: u64) -> u64 {
        Self::hand_back(self, NanoUsd(amount)).0
    }

    fn balance(&self) -> (u64, u64) {
        let balance = Self::balance(self);
        (balance.settled.0, balance.reserved.0)
    }
}

/// The known bugs, by the invariant that each breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// BD1: the check reads, the reservation adds.
    CheckThenAct,
    /// BD2, BD6: settling a reservation whose lease is over releases it once more.
    ReleasedTwice,
    /// BD3: what is above the reservation is forgotten.
    ExcessIsLost,
    /// BD4, BD5: who gives up frees nothing.
    NothingIsFreed,
    /// BD9: the reader takes the sum first and its part later.
    ReadsInTheWrongOrder,
    /// BD10: what is handed back is looked at, then taken.
    HandsBackWhatIsReserved,
}

/// A budget of ten with one of the bugs.
struct Flawed {
    flaw: Flaw,
    granted: AtomicU64,
    committed: AtomicU64,
    settled: AtomicU64,
    reserved: AtomicU64,
}

fn flawed(flaw: Flaw) -> impl Fn() -> Flawed + Send + Sync + Copy + 'static {
    let zero = || AtomicU64::new(0);
    move || Flawed { flaw, granted: AtomicU64::new(10), committed: zero(), settled: zero(), reserved: zero() }
}

/// A reservation as the shipped account makes them, of which mutants use the amount.
fn ticket(amount: u64) -> Reserved {
    shipped_ticket(&Account::new(PeriodWindow::NEVER, NanoUsd(u64::MAX)), amount)
}

fn shipped_ticket(account: &Account, amount: u64) -> Reserved {
    account.reserve(amount, at(0), lease(), true).unwrap()
}

impl Purse for Flawed {
    fn reserve(&self, amount: u64, _: u64) -> Option<Reserved> {
        let fits = |committed: u64| committed + amount <= self.granted.load(Ordering::Relaxed);
        if self.flaw == Flaw::CheckThenAct {
            if !fits(self.committed.load(Ordering::Relaxed)) {
                return None;
            }
            self.committed.fetch_add(amount, Ordering::Relaxed);
        } else {
            let next = |committed: u64| fits(committed).then(|| committed + amount);
            self.committed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        }
        self.reserved.fetch_add(amount, Ordering::Relaxed);
        Some(ticket(amount))
    }

    fn settle(&self, reserved: Reserved, actual: u64) {
        let held = reserved.amount;
        let charged = if self.flaw == Flaw::ExcessIsLost { actual.min(held) } else { actual };
        self.reserved.fetch_sub(held, Ordering::Relaxed);
        self.committed.fetch_sub(held, Ordering::Relaxed);
        self.committed.fetch_add(charged, Ordering::Relaxed);
        self.settled.fetch_add(charged, Ordering::Relaxed);
    }

    fn release(&self, reserved: Reserved) {
        if self.flaw != Flaw::NothingIsFreed {
            self.reserved.fetch_sub(reserved.amount, Ordering::Relaxed);
            self.committed.fetch_sub(reserved.amount, Ordering::Relaxed);
        }
    }

    fn expire(&self, _: u64) {
        let held = self.reserved.swap(0, Ordering::Relaxed);
        self.committed.fetch_sub(held, Ordering::Relaxed);
    }

    fn hand_back(&self, amount: u64) -> u64 {
        let left = self.granted.load(Ordering::Relaxed).wrapping_sub(self.committed.load(Ordering::Relaxed));
        let back = amount.min(left);
        self.granted.fetch_sub(back, Ordering::Relaxed);
        back
    }

    fn balance(&self) -> (u64, u64) {
        if self.flaw == Flaw::ReadsInTheWrongOrder {
            let committed = self.committed.load(Ordering::Acquire);
            let settled = self.settled.load(Ordering::Acquire);
            return (settled, committed.wrapping_sub(settled));
        }
        (self.settled.load(Ordering::Relaxed), self.reserved.load(Ordering::Relaxed))
    }
}

/// BD1: of two that do not fit together, one is admitted.
fn at_once<P: Purse>(make: impl Fn() -> P) {
    let purse = Arc::new(make());
    let other = Arc::clone(&purse);
    let thread = thread::spawn(move || other.reserve(6, 0).is_some());
    let mine = purse.reserve(6, 0).is_some();
    let theirs = thread.join().unwrap();
    assert!(mine != theirs, "BD1: six and six of ten");
    assert_eq!(purse.balance(), (0, 6));
}

/// BD2, BD6: a reservation is settled while its lease ends.
fn settled_as_it_expires<P: Purse>(make: impl Fn() -> P) {
    let purse = Arc::new(make());
    let reserved = purse.reserve(6, 0).unwrap();
    let other = Arc::clone(&purse);
    let thread = thread::spawn(move || other.expire(3));
    purse.settle(reserved, 4);
    thread.join().unwrap();
    assert_eq!(purse.balance(), (4, 0), "BD2, BD6: one effect");
    assert!(purse.reserve(7, 3).is_none() && purse.reserve(6, 3).is_some(), "six of ten are left");
}

/// BD3: what costs more than was reserved counts in full, and later requests feel it.
fn dearer<P: Purse>(make: impl Fn() -> P) {
    let purse = Arc::new(make());
    let reserved = purse.reserve(3, 0).unwrap();
    let other = Arc::clone(&purse);
    let thread = thread::spawn(move || other.settle(reserved, 8));
    let racing = purse.reserve(3, 0);
    thread.join().unwrap();
    let held = if racing.is_some() { 3 } else { 0 };
    assert_eq!(purse.balance(), (8, held), "BD3: the excess is added");
    assert!(purse.reserve(3, 0).is_none(), "BD3: and blocks");
}

/// BD4, BD5: one settles, one gives up; nothing stays reserved and what was settled is spent.
fn quiet_again<P: Purse>(make: impl Fn() -> P) {
    let purse = Arc::new(make());
    let other = Arc::clone(&purse);
    let thread = thread::spawn(move || {
        let reserved = other.reserve(5, 0).unwrap();
        other.release(reserved);
    });
    let reserved = purse.reserve(5, 0).unwrap();
    purse.settle(reserved, 2);
    thread.join().unwrap();
    assert_eq!(purse.balance(), (2, 0), "BD4, BD5");
    assert!(purse.reserve(8, 0).is_some(), "BD4: all else is free");
}

/// BD9: whoever reads while others settle sees nothing negative and nothing above the limit.
fn read<P: Purse>(make: impl Fn() -> P) {
    let purse = Arc::new(make());
    let reserved = purse.reserve(6, 0).unwrap();
    let other = Arc::clone(&purse);
    let thread = thread::spawn(move || {
        other.settle(reserved, 6);
        if let Some(next) = other.reserve(4, 0) {
            other.settle(next, 4);
        }
    });
    let (settled, held) = purse.balance();
    assert!(settled <= 10 && held <= 10, "BD9: {settled} and {held}");
    thread.join().unwrap();
}

/// BD10: what is handed back is nobody's to spend.
fn handed_back<P: Purse>(make: impl Fn() -> P) {
    let purse = Arc::new(make());
    let other = Arc::clone(&purse);
    let thread = thread::spawn(move || other.reserve(6, 0).is_some());
    let back = purse.hand_back(7);
    let spent = if thread.join().unwrap() { 6 } else { 0 };
    assert!(back + spent <= 10, "BD10: {back} and {spent} of ten");
    assert!(back + spent >= 7, "BD10: nothing is lost");
}

#[test]
fn bd1_no_more_than_the_limit_at_any_instant() {
    loom::model(|| at_once(shipped));
    assert!(is_caught(|| at_once(flawed(Flaw::CheckThenAct))));
}

#[test]
fn bd2_bd6_a_reservation_ends_in_one_way() {
    loom::model(|| settled_as_it_expires(shipped));
    assert!(is_caught(|| settled_as_it_expires(flawed(Flaw::ReleasedTwice))));
}

#[test]
fn bd3_what_costs_more_blocks_later_requests() {
    loom::model(|| dearer(shipped));
    assert!(is_caught(|| dearer(flawed(Flaw::ExcessIsLost))));
}

#[test]
fn bd4_bd5_nothing_stays_reserved() {
    loom::model(|| quiet_again(shipped));
    assert!(is_caught(|| quiet_again(flawed(Flaw::NothingIsFreed))));
}

#[test]
fn bd9_readers_see_nothing_impossible() {
    loom::model(|| read(shipped));
    assert!(is_caught(|| read(flawed(Flaw::ReadsInTheWrongOrder))));
}

#[test]
fn bd10_what_is_handed_back_is_spent_by_nobody() {
    loom::model(|| handed_back(shipped));
    assert!(is_caught(|| handed_back(flawed(Flaw::HandsBackWhatIsReserved))));
}

/// BD7: a reservation settles in the period that it was made in, while another thread begins the next.
fn next_period(settles_in_its_own: bool) {
    let budget = Budget::new(NanoUsd(10), Period::HOUR);
    let moment = |hour: i64| Moment { now: at(0), wall: Some(hour * 3_600_000) };
    let state = Arc::new(BudgetState::new(&budget, None, moment(0)));
    let (own, _) = state.account(&budget, moment(0));
    let reserved = own.reserve(6, at(0), lease(), false).unwrap();
    let (other, of) = (Arc::clone(&state), budget.clone());
    let thread = thread::spawn(move || {
        let (account, _) = other.account(&of, moment(1));
        account.reserve(10, at(0), lease(), false).is_ok()
    });
    let settles = if settles_in_its_own { own } else { state.account(&budget, moment(1)).0 };
    settles.settle(reserved, 5);
    assert!(thread.join().unwrap(), "BD7: the new period has all its money");
    let (now, _) = state.account(&budget, moment(1));
    assert_eq!((now.balance().settled, now.balance().reserved), (NanoUsd(0), NanoUsd(10)), "BD7");
    let (back, _) = state.account(&budget, moment(0));
    assert!(Arc::ptr_eq(&back, &now), "a clock that goes back opens nothing again");
}

#[test]
fn bd7_a_reservation_settles_in_its_own_period() {
    loom::model(|| next_period(true));
    assert!(is_caught(|| next_period(false)));
}

/// BD8: key, team and organization: all or nothing, by taking in order and giving back.
fn levels(gives_back: bool) {
    let levels: Arc<[Account; 3]> =
        Arc::new([20, 20, 6].map(|limit| Account::new(PeriodWindow::NEVER, NanoUsd(limit))));
    let other = Arc::clone(&levels);
    let thread = thread::spawn(move || reserve_all(&*other, 5, gives_back));
    let mine = reserve_all(&*levels, 5, gives_back);
    let theirs = thread.join().unwrap();
    assert!(mine != theirs, "BD8: one of two fits the third level");
    for level in &*levels {
        assert_eq!(level.balance().reserved, NanoUsd(5), "BD8: each level holds what was admitted");
    }
}

fn reserve_all(levels: &[Account; 3], amount: u64, gives_back: bool) -> bool {
    let mut held = Vec::new();
    for level in levels {
        match level.reserve(amount, at(0), lease(), false) {
            Ok(reserved) => held.push((level, reserved)),
            Err(_) => {
                if gives_back {
                    held.into_iter().for_each(|(level, reserved)| level.release(reserved));
                }
                return false;
            }
        }
    }
    true
}

#[test]
fn bd8_all_levels_or_none() {
    loom::model(|| levels(true));
    assert!(is_caught(|| levels(false)));
}
