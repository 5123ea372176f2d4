//! Examples by hand, and random runs against an oracle.

use core::time::Duration;
use std::sync::Arc;

use super::*;
use proptest::prelude::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::ORIGIN + Duration::from_millis(millis)
}

fn config(thousandths: u64, burst: u32, per_second: u32) -> RetryBudgetConfig {
    RetryBudgetConfig { ratio: Ratio::of(thousandths, 1_000), burst, per_second }
}

fn budget(thousandths: u64, burst: u32, per_second: u32) -> RetryBudget {
    RetryBudget::new(config(thousandths, burst, per_second), Timestamp::ORIGIN)
}

/// Sends retries until there is none; how many.
fn drain(budget: &RetryBudget, now: Timestamp) -> u32 {
    core::iter::from_fn(|| RetryPermit::acquire(budget, now).map(RetryPermit::sent)).map(|()| 1).sum()
}

#[test]
fn the_default_is_a_tenth_of_the_requests_after_a_hundred() {
    let budget = RetryBudget::new(RetryBudgetConfig::default(), at(0));
    assert_eq!(drain(&budget, at(0)), 100);
    (0..999).for_each(|_| budget.deposit());
    assert_eq!(drain(&budget, at(3_600_000)), 99);
    budget.deposit();
    assert_eq!(drain(&budget, at(3_600_000)), 1);
}

/// Tower's cases; but what was earned does not expire: calls last minutes here, and the burst bounds what is saved up.
#[test]
fn rt_2_empty_earned_late_and_reserved() {
    assert_eq!(drain(&budget(1_000, 0, 0), at(0)), 0, "nothing is earned yet");
    let earned = budget(1_000, 1, 0);
    assert_eq!(drain(&earned, at(0)), 1);
    earned.deposit();
    assert_eq!(drain(&earned, at(901)), 1, "what was earned 901 ms ago");
    assert_eq!(drain(&budget(0, 5, 0), at(0)), 5, "the reserve, and no sixth");
}

/// Envoy's case: a fifth of the requests, and five when there are none.
#[test]
fn rt_3_a_share_of_the_requests_and_a_floor() {
    let budget = budget(200, 5, 0);
    assert_eq!(drain(&budget, at(0)), 5);
    let sent: u32 = (0..100)
        .map(|_| {
            budget.deposit();
            drain(&budget, at(0))
        })
        .sum();
    assert_eq!(sent, 20);
}

#[test]
fn every_thousandth_of_a_ratio_counts_and_the_rest_is_rounded_down() {
    for thousandths in 0..=1_000 {
        assert_eq!(thousandths_of(Ratio::of(thousandths, 1_000)), thousandths);
    }
    assert_eq!(thousandths_of(Ratio::of(2, 3)), 666);
    assert_eq!(thousandths_of(Ratio::of(9, 10_000)), 0);
}

#[test]
fn zeros_and_ones() {
    assert_eq!(drain(&budget(0, 0, 0), Timestamp::MAX), 0);
    let earned_only = budget(500, 0, 0);
    assert!(!earned_only.may_retry(at(9)));
    (0..100).for_each(|_| earned_only.deposit());
    assert_eq!(drain(&earned_only, at(9)), 1, "one is saved up");
    let each = budget(1_000, 2, 0);
    (0..3).for_each(|_| each.deposit());
    assert_eq!(drain(&each, at(0)), 2, "no more than the burst");
}

#[test]
fn everything_saturates() {
    let budget = budget(1_000, u32::MAX, u32::MAX);
    for now in [at(0), Timestamp::MAX, at(1), Timestamp::MAX] {
        assert_eq!(budget.balance(now), MAX_RETRY_BURST);
        RetryPermit::acquire(&budget, now).unwrap().sent();
        (0..2).for_each(|_| budget.deposit());
    }
    let late = RetryBudget::new(config(0, 1, u32::MAX), Timestamp::MAX);
    assert_eq!(drain(&late, Timestamp::ORIGIN) + drain(&late, Timestamp::MAX), 1, "no time has passed");
    let long = self::budget(0, 2, 1 << 28);
    drain(&long, at(0));
    assert_eq!(long.balance(at(1 << 36)), 2, "the product is 2^64");
}

#[test]
fn time_too_short_for_a_thousandth_is_not_lost() {
    let (budget, mut sent) = (budget(0, 2, 3), 0);
    assert_eq!(drain(&budget, at(0)), 2);
    for micros in (0..2_000_000).step_by(777) {
        sent += drain(&budget, Timestamp::from_nanos(micros * 1_000));
    }
    assert_eq!(sent, 5, "the sixth comes with the second second");
    assert_eq!(drain(&budget, at(2_000)), 1);
}

#[test]
fn a_clock_that_goes_back_grants_nothing() {
    let budget = budget(0, 10, 1);
    drain(&budget, at(100_000_000));
    for _ in 0..3 {
        assert_eq!(budget.balance(at(0)) + drain(&budget, at(0)) + drain(&budget, at(100_000_999)), 0);
    }
    assert_eq!(drain(&budget, at(100_001_000)), 1);
}

#[test]
fn rb_3_a_retry_not_sent_is_refunded_once_and_never_above_the_burst() {
    let budget = Arc::new(budget(1_000, 2, 0));
    let permits = [at(0), at(0)].map(|now| RetryPermit::acquire(Arc::clone(&budget), now).unwrap());
    assert!(!budget.may_retry(at(0)));
    budget.deposit();
    drop(permits);
    assert_eq!(budget.balance(at(0)), 2);
    let holder = Arc::clone(&budget);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _permit = RetryPermit::acquire(holder, at(0)).unwrap();
        panic!("the caller's bug");
    }));
    assert!(panicked.is_err());
    assert_eq!(drain(&budget, at(0)), 2);
    assert_eq!(Arc::strong_count(&budget), 1);
}

#[test]
fn threads_lose_and_invent_nothing() {
    const THREADS: u64 = 4;
    let each = if cfg!(miri) { 50 } else { 50_000 };
    let budget = budget(100, if cfg!(miri) { 50 } else { 25_000 }, 1);
    drain(&budget, at(0));
    let together = std::sync::Barrier::new(THREADS as usize);
    // Clocks of threads differ; every third retry is not sent.
    let request = |time, skew| {
        budget.deposit();
        let permit = RetryPermit::acquire(&budget, at(time + skew)).filter(|_| time % 3 > 0);
        u64::from(permit.map(RetryPermit::sent).is_some())
    };
    let run = |skew| {
        together.wait();
        (0..each).map(|time| request(time, skew)).sum::<u64>()
    };
    let sent: u64 = std::thread::scope(|scope| {
        let threads = [0, 1, 2, 3].map(|skew| scope.spawn(move || run(skew)));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let end = budget.refilled(budget.load(), each);
    assert_eq!(end.thousandths + sent * ONE_RETRY, THREADS * each * 100 + end.time);
}

#[derive(Debug, Clone)]
enum Step {
    Deposit,
    Withdraw,
    Send(usize),
    Drop(usize),
    Forward(u64),
    Back(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let nanos = || prop_oneof![4 => 0_u64..3_000_000, 4 => 0_u64..5_000_000_000, 1 => any::<u64>()];
    prop_oneof![
        4 => Just(Step::Deposit),
        5 => Just(Step::Withdraw),
        2 => any::<usize>().prop_map(Step::Send),
        2 => any::<usize>().prop_map(Step::Drop),
        3 => nanos().prop_map(Step::Forward),
        1 => nanos().prop_map(Step::Back),
    ]
}

/// A retry in the oracle's units, billionths: `per_second` of them are granted in a nanosecond.
const RETRY: i128 = 1_000_000_000;
const MADE: Timestamp = Timestamp::from_nanos(77_777_777);

/// What ever happened to a balance.
#[derive(Clone, Copy)]
enum Change {
    By(i128),
    /// Time went on to so many whole milliseconds.
    Until(u64),
}

/// A budget without a running balance: every answer is a sum over all that ever happened.
struct Oracle {
    config: RetryBudgetConfig,
    /// The clock, in nanoseconds since the budget was made.
    now: u64,
    /// Milliseconds up to the last withdrawal. The budget knows of no later time.
    known: u64,
    changes: Vec<Change>,
}

impl Oracle {
    fn start(&self) -> i128 {
        i128::from(self.config.burst.min(MAX_RETRY_BURST)) * RETRY
    }

    fn cap(&self) -> i128 {
        self.start().max(RETRY)
    }

    /// Until when time counts.
    fn time(&self) -> u64 {
        (self.now / 1_000_000).min(LAST_MILLISECOND).max(self.known)
    }

    fn granted(&self, milliseconds: u64) -> i128 {
        i128::from(milliseconds) * 1_000_000 * i128::from(self.config.per_second)
    }

    /// Moves the clock. Time that it takes back, and that no withdrawal has seen, has not been.
    fn move_to(&mut self, nanos: u64) {
        self.now = nanos.min(Timestamp::MAX.as_nanos() - MADE.as_nanos());
        let time = self.time();
        for change in &mut self.changes {
            if let Change::Until(until) = change {
                *until = time.min(*until);
            }
        }
        self.changes.push(Change::Until(time));
    }

    fn withdraw(&mut self) {
        self.changes.push(Change::By(-RETRY));
        self.known = self.time();
    }

    /// Lindley's recursion unrolled: the sum since whichever moment it was full, or since the start, that gives least.
    fn balance(&self) -> i128 {
        let mut time = 0;
        let amount = |change: &Change| match *change {
            Change::By(amount) => amount,
            Change::Until(until) => self.granted(until - core::mem::replace(&mut time, until)),
        };
        let amounts: Vec<_> = self.changes.iter().map(amount).collect();
        let (mut sum, mut least) = (0, i128::MAX);
        for amount in amounts.iter().rev() {
            least = least.min(self.cap() + sum);
            sum += amount;
        }
        least.min(self.start() + sum)
    }
}

/// A moment between two steps.
#[derive(Clone, Copy, Default)]
struct Moment {
    time: u64,
    deposits: u32,
    withdrawals: usize,
    held: usize,
}

/// A budget and an oracle side by side.
struct Run<'b> {
    budget: &'b RetryBudget,
    oracle: Oracle,
    held: Vec<(usize, RetryPermit<&'b RetryBudget>)>,
    /// By withdrawal.
    is_sent: Vec<bool>,
    deposits: u32,
    moments: Vec<Moment>,
}

impl<'b> Run<'b> {
    fn new(budget: &'b RetryBudget, config: RetryBudgetConfig) -> Self {
        let oracle = Oracle { config, now: 0, known: 0, changes: Vec::new() };
        let moments = vec![Moment::default()];
        Self { budget, oracle, held: Vec::new(), is_sent: Vec::new(), deposits: 0, moments }
    }

    fn clock(&self) -> Timestamp {
        MADE + Duration::from_nanos(self.oracle.now)
    }

    /// What a request earns, in the oracle's units.
    fn earned(&self) -> i128 {
        (self.oracle.config.ratio.get() * RETRY as f64).round() as i128
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Deposit => self.deposit(),
            Step::Withdraw => self.withdraw(),
            Step::Send(which) => self.end(which, true),
            Step::Drop(which) => self.end(which, false),
            Step::Forward(nanos) => self.oracle.move_to(self.oracle.now.saturating_add(nanos)),
            Step::Back(nanos) => self.oracle.move_to(self.oracle.now.saturating_sub(nanos)),
        }
        let (time, withdrawals, held) = (self.oracle.time(), self.is_sent.len(), self.held.len());
        self.moments.push(Moment { time, deposits: self.deposits, withdrawals, held });
        let expected = self.oracle.balance();
        assert!((0..=self.oracle.cap()).contains(&expected));
        assert_eq!(i128::from(self.budget.balance(self.clock())), expected / RETRY);
        assert_eq!(self.budget.may_retry(self.clock()), expected >= RETRY);
    }

    fn deposit(&mut self) {
        self.budget.deposit();
        self.oracle.changes.push(Change::By(self.earned()));
        self.deposits += 1;
    }

    fn withdraw(&mut self) {
        let permit = RetryPermit::acquire(self.budget, self.clock());
        assert_eq!(permit.is_some(), self.oracle.balance() >= RETRY);
        if let Some(permit) = permit {
            self.oracle.withdraw();
            self.held.push((self.is_sent.len(), permit));
            self.is_sent.push(false);
        }
    }

    fn end(&mut self, which: usize, is_sent: bool) {
        if self.held.is_empty() {
            return;
        }
        let (withdrawal, permit) = self.held.swap_remove(which % self.held.len());
        self.is_sent[withdrawal] = is_sent;
        if is_sent {
            permit.sent();
        } else {
            drop(permit);
            self.oracle.changes.push(Change::By(RETRY));
        }
    }

    /// How many of the withdrawals between two moments were sent.
    fn sent(&self, from: Moment, to: Moment) -> i128 {
        self.is_sent[from.withdrawals..to.withdrawals].iter().filter(|is_sent| **is_sent).count() as i128
    }

    /// What requests and time earned between two moments.
    fn income(&self, from: Moment, to: Moment) -> i128 {
        i128::from(to.deposits - from.deposits) * self.earned() + self.oracle.granted(to.time - from.time)
    }

    /// RB1 of the window from every moment to every later one.
    fn assert_rb_1(&self) {
        for (first, &from) in self.moments.iter().enumerate() {
            let (floor, mut from) = (self.oracle.cap() + from.held as i128 * RETRY, from);
            for &to in &self.moments[first..] {
                from.time = from.time.min(to.time);
                assert!(self.sent(from, to) * RETRY <= floor + self.income(from, to), "RB1");
            }
        }
        let (first, last) = (self.moments[0], *self.moments.last().unwrap());
        let bound = self.oracle.start() + self.income(first, last);
        assert!(self.sent(first, last) * RETRY <= bound, "RB1 since the start");
    }
}

proptest! {
    #[test]
    fn rb_1_agrees_with_exact_arithmetic_and_holds_in_every_window(
        thousandths in prop_oneof![Just(0), Just(1_000), 0_u64..=1_000],
        burst in prop_oneof![0_u32..6, Just(u32::MAX)],
        per_second in prop_oneof![Just(0), 1_u32..6, Just(u32::MAX)],
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let config = config(thousandths, burst, per_second);
        let budget = RetryBudget::new(config, MADE);
        let mut run = Run::new(&budget, config);
        steps.iter().for_each(|step| run.step(step));
        run.assert_rb_1();
    }
}
