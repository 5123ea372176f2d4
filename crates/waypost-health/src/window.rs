//! How many requests succeeded and failed of late.

use core::time::Duration;

use waypost_core::Timestamp;

use crate::sync::{AtomicU64, Ordering};

/// Parts of the window.
pub(crate) const PARTS: usize = 10;
/// Bits of one count. A part of a second holds 65,535 results of a kind before it stops counting.
const COUNT_BITS: u32 = 16;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Bits of a part's number; with parts of a second it comes again after 194 days.
const EPOCH_BITS: u32 = 24;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;
/// Where the tag begins: generation above number.
const TAG_SHIFT: u32 = 2 * COUNT_BITS;

/// Counts over the last ten parts of a time, whatever the rate of requests.
///
/// A part is one atomic word: whose generation and which part it is, successes, failures; a second word counts slow
/// successes. A recorder that finds another part's count, or one of an older generation, replaces the whole word by its
/// own first count, so a stale part can never leak. There is no ticker and no lock.
#[derive(Debug)]
pub(crate) struct OutcomeWindow {
    /// Tag, successes, failures.
    parts: [AtomicU64; PARTS],
    /// Tag and slow successes.
    slow: [AtomicU64; PARTS],
    part_nanos: u64,
}

/// What a window holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

impl Counts {
    pub(crate) const fn total(self) -> u32 {
        self.succeeded + self.failed
    }

    pub(crate) fn failure_rate(self) -> f64 {
        if self.total() == 0 { 0.0 } else { f64::from(self.failed) / f64::from(self.total()) }
    }
}

/// What a part counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Success,
    SlowSuccess,
    Failure,
}

impl OutcomeWindow {
    pub(crate) fn new(window: Duration) -> Self {
        let parts = || core::array::from_fn(|_| AtomicU64::new(0));
        let part_nanos = (window.as_nanos() as u64 / PARTS as u64).max(1);
        Self { parts: parts(), slow: parts(), part_nanos }
    }

    /// Counts one result of a generation. One whose time has left the window, or whose generation is over, is none.
    pub(crate) fn record(&self, generation: u32, counted: Counted, now: Timestamp) {
        let (tag, place) = self.tag(generation, now);
        let one = if counted == Counted::Failure { 1 } else { 1 << COUNT_BITS };
        add(&self.parts[place], tag, one);
        if counted == Counted::SlowSuccess {
            add(&self.slow[place], tag, 1);
        }
    }

    /// What the window that ends at `now` holds of a generation.
    pub(crate) fn counts(&self, generation: u32, now: Timestamp) -> Counts {
        self.counts_of(PARTS, generation, now)
    }

    /// What the newest parts of the window hold.
    pub(crate) fn counts_of(&self, newest_parts: usize, generation: u32, now: Timestamp) -> Counts {
        let (newest, _) = self.tag(generation, now);
        let mut counts = Counts::default();
        for (part, slow) in self.parts.iter().zip(&self.slow) {
            let word = part.load(Ordering::Relaxed);
            if is_within(word >> TAG_SHIFT, newest, newest_parts) {
                counts.succeeded += (word >> COUNT_BITS & COUNT_MASK) as u32;
                counts.failed += (word & COUNT_MASK) as u32;
                // A part without slow answers never wrote the second word, which may be of long ago.
                let slow = slow.load(Ordering::Relaxed);
                if slow >> TAG_SHIFT == word >> TAG_SHIFT {
                    counts.slow += (slow & COUNT_MASK) as u32;
                }
            }
        }
        counts
    }

    /// The tag of a time's part, and where the part is.
    fn tag(&self, generation: u32, now: Timestamp) -> (u64, usize) {
        // From 1, so that no tag is that of a word which was never written.
        let epoch = now.as_nanos() / self.part_nanos + 1;
        let generation = u64::from(generation & 0xff) << EPOCH_BITS;
        (generation | (epoch & EPOCH_MASK), (epoch % PARTS as u64) as usize)
    }
}

/// Adds to a part's word, or begins it anew.
fn add(part: &AtomicU64, tag: u64, one: u64) {
    let mut word = part.load(Ordering::Relaxed);
    // Relaxed: a part publishes nothing but itself.
    while let Some(next) = added(word, tag, one) {
        match part.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(seen) => word = seen,
        }
    }
}

/// The word with one more; `None` when the part has gone on to a later time or generation, or is full.
fn added(word: u64, tag: u64, one: u64) -> Option<u64> {
    let there = word >> TAG_SHIFT;
    if there == tag {
        // Both stop when one is full: their proportion stays.
        let is_full = |count: u64| count & COUNT_MASK == COUNT_MASK;
        return (!is_full(word) && !is_full(word >> COUNT_BITS)).then(|| word + one);
    }
    is_newer(tag, there, word).then_some(tag << TAG_SHIFT | one)
}

/// How many parts late a result may come; what looks later is a long idle time, seen through the end of the numbers.
const LATEST: u64 = 64;

/// Whether a tag is of a later generation, or of the same and a later time, than the one in a word.
fn is_newer(tag: u64, there: u64, word: u64) -> bool {
    let generations = (tag >> EPOCH_BITS).wrapping_sub(there >> EPOCH_BITS) as u8;
    let late = there.wrapping_sub(tag) & EPOCH_MASK;
    word == 0 || (generations != 0 && generations < 0x80) || (generations == 0 && late > LATEST)
}

/// Whether a part belongs to the window of so many parts whose newest is `newest`. Clocks of threads differ, so one part more than
/// the newest does too.
fn is_within(tag: u64, newest: u64, parts: usize) -> bool {
    let same_generation = tag >> EPOCH_BITS == newest >> EPOCH_BITS;
    let behind = newest.wrapping_add(1).wrapping_sub(tag) & EPOCH_MASK;
    same_generation && behind <= parts as u64 && tag & EPOCH_MASK != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const WINDOW: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn trap_24_the_window_slides() {
        let window = OutcomeWindow::new(WINDOW);
        for second in 0..10 {
            window.record(0, Counted::Failure, at(second * 1_000));
        }
        assert_eq!(window.counts(0, at(9_999)).failed, 10);
        assert_eq!(window.counts(0, at(12_000)).failed, 7);
        window.record(0, Counted::SlowSuccess, at(12_500));
        assert_eq!(window.counts(0, at(12_999)), Counts { succeeded: 1, failed: 7, slow: 1 });
        assert_eq!(window.counts(0, at(40_000)), Counts::default());
    }

    #[test]
    fn a_new_generation_starts_from_nothing_and_an_old_one_adds_nothing() {
        let window = OutcomeWindow::new(WINDOW);
        window.record(255, Counted::Failure, at(100));
        assert_eq!(window.counts(256, at(100)).failed, 0, "generations count on past 255");
        window.record(256, Counted::Success, at(100));
        window.record(255, Counted::Failure, at(100));
        assert_eq!(window.counts(256, at(100)), Counts { succeeded: 1, failed: 0, slow: 0 });
    }

    #[test]
    fn a_long_idle_time_and_a_clock_that_goes_back_leak_nothing() {
        let window = OutcomeWindow::new(WINDOW);
        window.record(0, Counted::Failure, at(5_000));
        for days in [1, 26, 49, 60, 193] {
            assert_eq!(window.counts(0, at(5_000 + days * 86_400_000)).failed, 0, "{days} days");
        }
        for days in [1, 26, 49, 60, 100, 150, 193, 300] {
            let now = 5_000 + days * 86_400_000;
            window.record(0, Counted::Failure, at(now));
            window.record(0, Counted::Failure, at(now - 50_000));
            assert_eq!(window.counts(0, at(now)).failed, 1, "{days} days");
        }
        window.record(0, Counted::Failure, Timestamp::MAX);
    }

    #[test]
    fn a_full_part_stops_counting() {
        let window = OutcomeWindow::new(WINDOW);
        for number in 0..400_000 {
            window.record(0, if number % 4 == 0 { Counted::Failure } else { Counted::Success }, at(0));
        }
        let counts = window.counts(0, at(0));
        assert!(counts.succeeded == 65_535 && (counts.failure_rate() - 0.25).abs() < 0.001, "{counts:?}");
    }

    proptest! {
        /// The oracle keeps every result.
        #[test]
        fn counts_what_was_recorded_in_the_last_ten_parts(steps in prop::collection::vec((0_u64..3_000, 0_usize..3), 1..200)) {
            let window = OutcomeWindow::new(WINDOW);
            let mut kept: BTreeMap<u64, [u32; 3]> = BTreeMap::new();
            let mut now = 0;
            for (step, kind) in steps {
                now += step;
                let counted = [Counted::Success, Counted::SlowSuccess, Counted::Failure][kind];
                window.record(0, counted, at(now));
                kept.entry(now / 1_000).or_default()[kind] += 1;
                let newest = now / 1_000;
                let recent = kept.range(newest.saturating_sub(9)..).map(|(_, counts)| counts);
                let [success, slow, failed] = recent.fold([0; 3], |a, b| [a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
                let expected = Counts { succeeded: success + slow, failed, slow };
                prop_assert_eq!(window.counts(0, at(now)), expected);
            }
        }
    }
}
