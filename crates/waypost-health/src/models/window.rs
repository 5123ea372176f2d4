//! HM1 to HM5: the window of outcomes.

use core::time::Duration;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::{at, is_caught};
use crate::window::{Counted, Counts, OutcomeWindow};

/// A window of ten seconds as models see it.
trait Window: Send + Sync + 'static {
    fn new() -> Self;
    fn record(&self, counted: Counted, second: u64);
    fn counts(&self, second: u64) -> Counts;
}

impl Window for OutcomeWindow {
    fn new() -> Self {
        Self::new(Duration::from_secs(10))
    }

    fn record(&self, counted: Counted, second: u64) {
        OutcomeWindow::record(self, 0, counted, at(second));
    }

    fn counts(&self, second: u64) -> Counts {
        OutcomeWindow::counts(self, 0, at(second))
    }
}

/// The known bugs.
const READS_THEN_WRITES: u8 = 1;
const TWO_WORDS: u8 = 2;
const CLEARS_THEN_ADDS: u8 = 3;
const TAKES_OUT_AND_PUTS_BACK: u8 = 4;
const READS_THEN_WRITES_SLOW: u8 = 5;

/// One part with a flaw: its second, successes, failures and slow successes, 16 bits each; failures may be in a word of
/// their own.
struct Flawed<const FLAW: u8> {
    word: AtomicU64,
    failures: AtomicU64,
    slow: AtomicU64,
}

const SUCCESS: u64 = 1 << 16;

impl<const FLAW: u8> Window for Flawed<FLAW> {
    fn new() -> Self {
        Self { word: AtomicU64::new(0), failures: AtomicU64::new(0), slow: AtomicU64::new(0) }
    }

    fn record(&self, counted: Counted, second: u64) {
        let one = if counted == Counted::Failure { 1 } else { SUCCESS };
        let seen = self.word.load(Ordering::Relaxed);
        match FLAW {
            READS_THEN_WRITES => self.word.store(seen + one, Ordering::Relaxed),
            TWO_WORDS if counted == Counted::Failure => _ = self.failures.fetch_add(1, Ordering::Relaxed),
            CLEARS_THEN_ADDS => {
                if seen >> 32 != second {
                    self.word.store(second << 32, Ordering::Relaxed);
                }
                self.word.fetch_add(one, Ordering::Relaxed);
            }
            TAKES_OUT_AND_PUTS_BACK => {
                let taken = self.word.swap(0, Ordering::Relaxed);
                self.word.fetch_add(taken + one, Ordering::Relaxed);
            }
            READS_THEN_WRITES_SLOW if counted == Counted::SlowSuccess => {
                self.word.fetch_add(one, Ordering::Relaxed);
                let slow = self.slow.load(Ordering::Relaxed);
                self.slow.store(slow + 1, Ordering::Relaxed);
            }
            _ => _ = self.word.fetch_add(one, Ordering::Relaxed),
        }
    }

    fn counts(&self, second: u64) -> Counts {
        let word = self.word.load(Ordering::Relaxed);
        let failures = self.failures.load(Ordering::Relaxed) as u32;
        let slow = self.slow.load(Ordering::Relaxed) as u32;
        if FLAW == CLEARS_THEN_ADDS && word >> 32 != second {
            return Counts::default();
        }
        Counts { succeeded: (word >> 16 & 0xffff) as u32, failed: (word & 0xffff) as u32 + failures, slow }
    }
}

/// Acts on a thread of its own. Readers do: of a thread that loads and then swaps the checker explores what others read in between
/// only when they come after it.
fn beside<W: Window, T: Send + 'static>(
    window: &Arc<W>,
    act: impl FnOnce(&W) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let window = Arc::clone(window);
    thread::spawn(move || act(&window))
}

/// HM1: of two results at once none is lost or counted twice, whoever reads meanwhile.
fn none_is_lost<W: Window>() {
    let window = Arc::new(W::new());
    let other = beside(&window, |window| window.record(Counted::Failure, 5));
    let reader = beside(&window, |window| window.counts(5).failed);
    window.record(Counted::Failure, 5);
    other.join().expect("no panic");
    assert!(reader.join().expect("no panic") <= 2);
    assert_eq!(window.counts(5).failed, 2);
}

#[test]
fn hm_1_no_result_is_lost_or_counted_twice() {
    loom::model(none_is_lost::<OutcomeWindow>);
    assert!(is_caught(none_is_lost::<Flawed<READS_THEN_WRITES>>));
}

/// HM2: successes and failures of a part are of one moment: who succeeds before failing is never seen to fail first.
fn a_part_is_whole<W: Window>() {
    let window = Arc::new(W::new());
    let reader = beside(&window, |window| window.counts(5));
    window.record(Counted::Success, 5);
    window.record(Counted::Failure, 5);
    let counts = reader.join().expect("no panic");
    assert!(counts.failed <= counts.succeeded && counts.total() == counts.succeeded + counts.failed);
}

#[test]
fn hm_2_the_counts_of_a_part_are_of_one_moment() {
    loom::model(a_part_is_whole::<OutcomeWindow>);
    assert!(is_caught(a_part_is_whole::<Flawed<TWO_WORDS>>));
}

/// HM3: a result of long ago never counts among those of the part that took its place.
fn no_part_takes_anothers_result<W: Window>() {
    let window = Arc::new(W::new());
    let late = beside(&window, |window| window.record(Counted::Failure, 5));
    window.record(Counted::Failure, 15);
    let meanwhile = window.counts(15).failed;
    late.join().expect("no panic");
    assert_eq!((meanwhile, window.counts(15).failed), (1, 1));
}

#[test]
fn hm_3_a_result_counts_in_its_own_part_or_not_at_all() {
    loom::model(no_part_takes_anothers_result::<OutcomeWindow>);
    assert!(is_caught(no_part_takes_anothers_result::<Flawed<CLEARS_THEN_ADDS>>));
}

/// HM4: what one reader counts in a window never becomes less.
fn counts_only_grow<W: Window>() {
    let window = Arc::new(W::new());
    window.record(Counted::Success, 5);
    let reader = beside(&window, |window| (window.counts(5).succeeded, window.counts(5).succeeded));
    window.record(Counted::Success, 5);
    let (first, second) = reader.join().expect("no panic");
    assert!(1 <= first && first <= second);
}

#[test]
fn hm_4_counts_of_a_window_only_grow() {
    loom::model(counts_only_grow::<OutcomeWindow>);
    assert!(is_caught(counts_only_grow::<Flawed<TAKES_OUT_AND_PUTS_BACK>>));
}

/// HM5: slow successes, which are counted in a word of their own, are off by no more than the two who record at the time,
/// and by none when they are done.
fn pairs_are_nearly_of_one_moment<W: Window>() {
    let window = Arc::new(W::new());
    let reader = beside(&window, |window| window.counts(5));
    let other = beside(&window, |window| window.record(Counted::SlowSuccess, 5));
    window.record(Counted::SlowSuccess, 5);
    other.join().expect("no panic");
    let meanwhile = reader.join().expect("no panic");
    assert!(meanwhile.slow.abs_diff(meanwhile.succeeded) <= 2, "{meanwhile:?}");
    let counts = window.counts(5);
    assert_eq!((counts.slow, counts.succeeded), (2, 2));
}

#[test]
fn hm_5_slow_answers_are_off_by_those_who_record_now() {
    loom::model(pairs_are_nearly_of_one_moment::<OutcomeWindow>);
    assert!(is_caught(pairs_are_nearly_of_one_moment::<Flawed<READS_THEN_WRITES_SLOW>>));
}
