//! Models of the retry budget: threads that withdraw while others deposit, while time refills it and while permits end.

use super::{AtomicU64, Ordering};
use loom::thread;
use std::sync::Arc;
use waypost_core::{Ratio, RetryBudget, RetryBudgetConfig, RetryPermit, Timestamp};

/// What the models need of a budget that earns a retry per request and one per millisecond: the shipped one, or one
/// with a bug, which counts whole retries.
trait Budget: Send + Sync + 'static {
    type Permit: Send + 'static;

    fn new(burst: u32) -> Self;
    fn deposit(&self);
    fn take(budget: &Arc<Self>, millisecond: u64) -> Option<Self::Permit>;
    fn send(permit: Self::Permit);
    fn balance(&self, millisecond: u64) -> u64;
}

const fn at(millisecond: u64) -> Timestamp {
    Timestamp::from_nanos(millisecond * 1_000_000)
}

impl Budget for RetryBudget {
    type Permit = RetryPermit<Arc<Self>>;

    fn new(burst: u32) -> Self {
        Self::new(RetryBudgetConfig { ratio: Ratio::ONE, burst, per_second: 1_000 }, at(0))
    }

    fn deposit(&self) {
        self.deposit();
    }

    fn take(budget: &Arc<Self>, millisecond: u64) -> Option<Self::Permit> {
        RetryPermit::acquire(Arc::clone(budget), at(millisecond))
    }

    fn send(permit: Self::Permit) {
        permit.sent();
    }

    fn balance(&self, millisecond: u64) -> u64 {
        self.balance(at(millisecond)).into()
    }
}

fn send_one<B: Budget>(budget: &Arc<B>, millisecond: u64) -> u64 {
    B::take(budget, millisecond).map(B::send).map_or(0, |()| 1)
}

/// RB1: one retry is saved up, a request earns one and a millisecond grants one. Of four that two threads ask for, at
/// most those three are sent.
fn no_more_is_sent_than_earned<B: Budget>() {
    loom::model(|| {
        let budget = Arc::new(B::new(1));
        let other = {
            let budget = Arc::clone(&budget);
            thread::spawn(move || send_one(&budget, 0) + send_one(&budget, 1))
        };
        let mine = send_one(&budget, 1);
        budget.deposit();
        let sent = mine + send_one(&budget, 1) + other.join().unwrap();
        assert!((1..=3).contains(&sent), "{sent} sent of three");
        assert!(sent + budget.balance(1) <= 3, "and none invented");
    });
}

/// RB2: two threads race for the last retry while time grants the next, which would bring the balance below zero if
/// it could; a third reads. The balance is never more than the one that is saved up.
fn the_balance_never_wraps<B: Budget>() {
    loom::model(|| {
        let budget = Arc::new(B::new(1));
        let senders = [0, 1].map(|millisecond| {
            let budget = Arc::clone(&budget);
            thread::spawn(move || send_one(&budget, millisecond))
        });
        assert!(budget.balance(1) <= 1, "wrapped");
        let sent: u64 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
        assert!((1..=2).contains(&sent));
        assert!(budget.balance(1) <= 1, "wrapped");
    });
}

/// RB3: of two permits one is sent by another thread, which then takes a further one that it does not send, and one
/// is dropped. Exactly one retry is left of two.
fn what_is_not_sent_comes_back_once<B: Budget>() {
    loom::model(|| {
        let budget = Arc::new(B::new(2));
        let [sent, dropped] = [0, 0].map(|now| B::take(&budget, now).expect("two are saved up"));
        let sender = {
            let budget = Arc::clone(&budget);
            thread::spawn(move || {
                B::send(sent);
                drop(B::take(&budget, 0));
            })
        };
        drop(dropped);
        sender.join().unwrap();
        assert_eq!(budget.balance(0), 1, "one of two was sent");
    });
}

#[test]
fn retry_budget_rb_1_no_more_is_sent_than_earned() {
    no_more_is_sent_than_earned::<RetryBudget>();
}

#[test]
fn retry_budget_rb_2_the_balance_never_wraps() {
    the_balance_never_wraps::<RetryBudget>();
}

#[test]
fn retry_budget_rb_3_what_is_not_sent_comes_back_once() {
    what_is_not_sent_comes_back_once::<RetryBudget>();
}

/// Takes a whole retry in one step, if there is one.
fn take_one(balance: &AtomicU64) -> bool {
    balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |balance| balance.checked_sub(1)).is_ok()
}

/// Looks whether there is a retry and then takes it.
struct LooksThenTakes(AtomicU64);

impl Budget for LooksThenTakes {
    type Permit = ();

    fn new(burst: u32) -> Self {
        Self(AtomicU64::new(burst.into()))
    }

    fn deposit(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take(budget: &Arc<Self>, _: u64) -> Option<()> {
        let enough = budget.0.load(Ordering::Relaxed) > 0;
        enough.then(|| {
            budget.0.fetch_sub(1, Ordering::Relaxed);
        })
    }

    fn send((): ()) {}

    fn balance(&self, _: u64) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Balance and time in words of their own: callers that meet are both granted the same millisecond.
struct TimeApart {
    balance: AtomicU64,
    time: AtomicU64,
}

impl Budget for TimeApart {
    type Permit = ();

    fn new(burst: u32) -> Self {
        Self { balance: AtomicU64::new(burst.into()), time: AtomicU64::new(0) }
    }

    fn deposit(&self) {
        self.balance.fetch_add(1, Ordering::Relaxed);
    }

    fn take(budget: &Arc<Self>, millisecond: u64) -> Option<()> {
        let granted = millisecond.saturating_sub(budget.time.load(Ordering::Relaxed));
        budget.balance.fetch_add(granted, Ordering::Relaxed);
        budget.time.fetch_max(millisecond, Ordering::Relaxed);
        take_one(&budget.balance).then_some(())
    }

    fn send((): ()) {}

    fn balance(&self, _: u64) -> u64 {
        self.balance.load(Ordering::Relaxed)
    }
}

/// Takes, looks whether there was a retry, and puts back what there was not.
struct TakesThenLooks(AtomicU64);

impl Budget for TakesThenLooks {
    type Permit = ();

    fn new(burst: u32) -> Self {
        Self(AtomicU64::new(burst.into()))
    }

    fn deposit(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take(budget: &Arc<Self>, _: u64) -> Option<()> {
        let enough = budget.0.fetch_sub(1, Ordering::Relaxed) > 0;
        if !enough {
            budget.0.fetch_add(1, Ordering::Relaxed);
        }
        enough.then_some(())
    }

    fn send((): ()) {}

    fn balance(&self, _: u64) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Puts back so many retries for a permit that was sent and for one that was not.
struct WrongRefund<const SENT: u64, const DROPPED: u64>(AtomicU64);

struct WrongPermit<const SENT: u64, const DROPPED: u64> {
    budget: Arc<WrongRefund<SENT, DROPPED>>,
    is_sent: bool,
}

impl<const SENT: u64, const DROPPED: u64> Drop for WrongPermit<SENT, DROPPED> {
    fn drop(&mut self) {
        let refund = if self.is_sent { SENT } else { DROPPED };
        self.budget.0.fetch_add(refund, Ordering::Relaxed);
    }
}

impl<const SENT: u64, const DROPPED: u64> Budget for WrongRefund<SENT, DROPPED> {
    type Permit = WrongPermit<SENT, DROPPED>;

    fn new(burst: u32) -> Self {
        Self(AtomicU64::new(burst.into()))
    }

    fn deposit(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take(budget: &Arc<Self>, _: u64) -> Option<Self::Permit> {
        take_one(&budget.0).then(|| WrongPermit { budget: Arc::clone(budget), is_sent: false })
    }

    fn send(mut permit: Self::Permit) {
        permit.is_sent = true;
    }

    fn balance(&self, _: u64) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
#[should_panic(expected = "sent of three")]
fn retry_budget_that_looks_and_then_takes_is_caught() {
    no_more_is_sent_than_earned::<LooksThenTakes>();
}

#[test]
#[should_panic(expected = "4 sent of three")]
fn retry_budget_with_time_apart_is_caught() {
    no_more_is_sent_than_earned::<TimeApart>();
}

#[test]
#[should_panic(expected = "wrapped")]
fn retry_budget_that_takes_and_then_looks_is_caught() {
    the_balance_never_wraps::<TakesThenLooks>();
}

#[test]
#[should_panic(expected = "one of two was sent")]
fn retry_budget_that_refunds_what_was_sent_is_caught() {
    what_is_not_sent_comes_back_once::<WrongRefund<1, 1>>();
}

#[test]
#[should_panic(expected = "one of two was sent")]
fn retry_budget_that_refunds_twice_is_caught() {
    what_is_not_sent_comes_back_once::<WrongRefund<0, 2>>();
}

/// The mutants but for their bug: the models pass what counts right.
#[test]
fn retry_budget_with_the_right_refund_passes() {
    what_is_not_sent_comes_back_once::<WrongRefund<0, 1>>();
}
