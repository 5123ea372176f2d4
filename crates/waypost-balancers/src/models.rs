//! Models of the protocols where threads meet: turns under a change of the pool, and what is believed of a candidate.
//! Run by `cargo xtask loom`. Each runs on the shipped types and on a mutant with a known bug, which the model must
//! catch.
//!
//! Turns are tickets, so two of the invariants of the design have nothing to model: there are no current weights that
//! could fail to sum to zero (WR4), and no map from keys to candidates that callers must agree on (WR6).

use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use waypost_core::{SnapshotCell, Timestamp};

use crate::posterior::Posterior;
use crate::schedule::lay_out;
use crate::turns::Turns;

/// Whether the model of a mutant fails.
fn is_caught(model: impl Fn() + Sync + Send + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| loom::model(model))).is_err()
}

/// Turns as models see them.
trait Take: Send + Sync + 'static {
    fn new(ticket: u64, weights: &[u16]) -> Self;
    fn take(&self) -> usize;
}

impl Take for Turns {
    fn new(ticket: u64, weights: &[u16]) -> Self {
        Self::starting_at(ticket, lay_out(weights))
    }

    fn take(&self) -> usize {
        Turns::take(self).unwrap()
    }
}

/// Reads the ticket and writes the next one, instead of adding.
struct ReadThenWrite {
    schedule: Box<[u16]>,
    next: AtomicU64,
}

impl Take for ReadThenWrite {
    fn new(ticket: u64, weights: &[u16]) -> Self {
        Self { schedule: lay_out(weights), next: AtomicU64::new(ticket) }
    }

    fn take(&self) -> usize {
        let ticket = self.next.load(Ordering::Relaxed);
        self.next.store(ticket.wrapping_add(1), Ordering::Relaxed);
        self.schedule[ticket as usize % self.schedule.len()].into()
    }
}

/// WR1, WR3: a period's turns taken by two threads are a whole period, also where the ticket wraps.
fn a_period_is_whole<T: Take>(ticket: u64) -> impl Fn() + Sync + Send + 'static {
    move || {
        let turns = Arc::new(T::new(ticket, &[2, 1, 1]));
        let other = {
            let turns = Arc::clone(&turns);
            thread::spawn(move || [turns.take(), turns.take()])
        };
        let mine = [turns.take(), turns.take()];
        let mut all = [mine, other.join().unwrap()].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 0, 1, 2]);
    }
}

#[test]
fn wr_1_and_wr_3_a_period_of_turns_is_whole() {
    loom::model(a_period_is_whole::<Turns>(0));
    loom::model(a_period_is_whole::<Turns>(u64::MAX - 1));
    loom::model(|| {
        // A period of three does not divide the range of tickets: one turn is off where it wraps, and nobody is skipped.
        let turns = <Turns as Take>::new(u64::MAX - 1, &[1, 1, 1]);
        let mut five: Vec<usize> = (0..5).map(|_| Take::take(&turns)).collect();
        five.sort_unstable();
        five.dedup();
        assert_eq!(five, [0, 1, 2]);
    });
    assert!(is_caught(a_period_is_whole::<ReadThenWrite>(0)));
}

/// A version of the pool: its turns, and whether candidate 0 is drained in it.
struct Version {
    turns: Turns,
    drained: bool,
}

/// WR2, WR5: while the pool changes to one in which candidate 0 is drained, a reader who has seen the new version never
/// gets candidate 0, and nobody gets a place that its version does not have.
fn nobody_is_picked_of_another_version(
    pick: fn(&SnapshotCell<Version>) -> (bool, usize),
) -> impl Fn() + Sync + Send + 'static {
    move || {
        let first = Version { turns: Turns::starting_at(0, lay_out(&[1, 1])), drained: false };
        let cell = Arc::new(SnapshotCell::new(first));
        let writer = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || {
                let update = |current: &Arc<Version>| {
                    Ok::<_, ()>(Version {
                        turns: current.turns.carried_over(lay_out(&[0, 1])),
                        drained: true,
                    })
                };
                cell.update(update).map(drop).unwrap();
            })
        };
        for _ in 0..2 {
            let (drained, place) = pick(&cell);
            assert!(!drained || place == 1, "a drained candidate is picked");
        }
        writer.join().unwrap();
        assert_eq!(pick(&cell), (true, 1));
    }
}

#[test]
fn wr_2_and_wr_5_a_turn_is_of_the_version_that_was_seen() {
    loom::model(nobody_is_picked_of_another_version(|cell| {
        let version = cell.load();
        (version.drained, version.turns.take().unwrap())
    }));
    // The mutant takes the turn from one version and believes another.
    assert!(is_caught(nobody_is_picked_of_another_version(|cell| {
        let place = cell.load().turns.take().unwrap();
        (cell.load().drained, place)
    })));
}

/// What is believed, as models see it.
trait Believe: Send + Sync + 'static {
    fn new() -> Self;
    fn record(&self, reward: f32);
    /// Evidence for and against, rounded.
    fn evidence(&self) -> (u32, u32);
}

const NOW: Timestamp = Timestamp::from_nanos(Duration::from_secs(5).as_nanos() as u64);

impl Believe for Posterior {
    fn new() -> Self {
        Self::new()
    }

    fn record(&self, reward: f32) {
        Posterior::record(self, reward, NOW);
    }

    fn evidence(&self) -> (u32, u32) {
        let evidence = self.get(NOW);
        (evidence.good.round() as u32, evidence.bad.round() as u32)
    }
}

/// Keeps both sides of the evidence in words of their own.
struct TwoWords(AtomicU64, AtomicU64);

impl Believe for TwoWords {
    fn new() -> Self {
        Self(AtomicU64::new(0), AtomicU64::new(0))
    }

    fn record(&self, reward: f32) {
        let (good, bad) = (self.0.load(Ordering::Relaxed), self.1.load(Ordering::Relaxed));
        self.0.store(good + reward as u64, Ordering::Relaxed);
        self.1.store(bad + 1 - reward as u64, Ordering::Relaxed);
    }

    fn evidence(&self) -> (u32, u32) {
        (self.0.load(Ordering::Relaxed) as u32, self.1.load(Ordering::Relaxed) as u32)
    }
}

/// EW1: of two threads' results none is lost or counted twice, and a reader sees whole results only.
fn every_result_counts_once<B: Believe>() {
    let belief = Arc::new(B::new());
    let threads: Vec<_> = [1.0, 0.0]
        .into_iter()
        .map(|reward| {
            let belief = Arc::clone(&belief);
            thread::spawn(move || belief.record(reward))
        })
        .collect();
    let (good, bad) = belief.evidence();
    assert!(good + bad <= 2);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(belief.evidence(), (1, 1));
}

#[test]
fn ew_1_every_result_counts_once() {
    loom::model(every_result_counts_once::<Posterior>);
    assert!(is_caught(every_result_counts_once::<TwoWords>));
}
