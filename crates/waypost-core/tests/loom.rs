//! Models of the protocols where threads meet: the in-flight lease and its limit, the snapshot swap, stamped cells, the
//! retry budget. Run by `cargo xtask loom`.
//!
//! Each model runs on the shipped types, with loom's atomics under them, and on a mutant with the known bug put back
//! in, which the model must catch. Invariants are named as in the concurrency chapter of the book.

#![cfg(loom)]
#![forbid(unsafe_code)]

#[path = "loom/retry_budget.rs"]
mod retry_budget;

use loom::sync::Arc as LoomArc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::num::NonZeroU32;
use std::sync::Arc;
use waypost_core::{InFlight, InFlightLease, LiveSlot, SnapshotCell, StampedCell, Timestamp, Tokens};

/// What the lease models need of a gauge: the shipped one, or one with a bug.
trait Gauge: Send + Sync + 'static {
    type Lease: Send + 'static;

    fn new() -> Self;
    fn acquire(gauge: &Arc<Self>) -> Self::Lease;
    /// Ends a lease by a result; what is left of it is dropped after that.
    fn finish(lease: &mut Self::Lease);
    fn in_flight(&self) -> u64;
}

/// Keeps a slot alive, as a candidate does.
#[derive(Debug)]
struct Holder(Arc<Shipped>);

#[derive(Debug, Default)]
struct Shipped(LiveSlot);

impl AsRef<LiveSlot> for Holder {
    fn as_ref(&self) -> &LiveSlot {
        &self.0.0
    }
}

impl Gauge for Shipped {
    type Lease = Option<InFlightLease<Holder>>;

    fn new() -> Self {
        Self::default()
    }

    fn acquire(gauge: &Arc<Self>) -> Self::Lease {
        InFlightLease::acquire(Holder(Arc::clone(gauge)), Tokens(7))
    }

    fn finish(lease: &mut Self::Lease) {
        drop(lease.take());
    }

    fn in_flight(&self) -> u64 {
        let InFlight { requests, tokens } = self.0.in_flight();
        assert_eq!(tokens, Tokens(requests * 7), "requests and tokens are of one moment");
        requests
    }
}

/// IF1, IF2: two threads take and end a lease, a third reads. The gauge is never negative, never more than the leases
/// alive, and zero at the end.
fn gauge_counts_live_leases<G: Gauge>() {
    loom::model(|| {
        let gauge = Arc::new(G::new());
        let holders: Vec<_> = (0..2)
            .map(|_| {
                let gauge = Arc::clone(&gauge);
                thread::spawn(move || {
                    let mut lease = G::acquire(&gauge);
                    assert!(gauge.in_flight() >= 1, "my own lease is counted");
                    G::finish(&mut lease);
                })
            })
            .collect();
        assert!(gauge.in_flight() <= 2);
        holders.into_iter().for_each(|holder| holder.join().unwrap());
        assert_eq!(gauge.in_flight(), 0);
    });
}

/// IF3: a lease moves from the thread that selected to the one that streams, which ends it by a result or drops it.
fn a_moved_lease_ends_once<G: Gauge>() {
    loom::model(|| {
        let gauge = Arc::new(G::new());
        let mut by_result = G::acquire(&gauge);
        let by_drop = G::acquire(&gauge);
        let body = thread::spawn(move || {
            G::finish(&mut by_result);
            drop(by_result);
        });
        drop(by_drop);
        body.join().unwrap();
        assert_eq!(gauge.in_flight(), 0);
    });
}

#[test]
fn leases_are_counted() {
    gauge_counts_live_leases::<Shipped>();
}

#[test]
fn moved_leases_end_once() {
    a_moved_lease_ends_once::<Shipped>();
}

/// Load, then store: two threads that meet lose one of their changes.
struct LoadThenStore(AtomicU64);

impl Gauge for LoadThenStore {
    type Lease = Option<Arc<Self>>;

    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn acquire(gauge: &Arc<Self>) -> Self::Lease {
        let count = gauge.0.load(Ordering::Relaxed);
        gauge.0.store(count + 1, Ordering::Relaxed);
        Some(Arc::clone(gauge))
    }

    fn finish(lease: &mut Self::Lease) {
        if let Some(gauge) = lease.take() {
            let count = gauge.0.load(Ordering::Relaxed);
            gauge.0.store(count.wrapping_sub(1), Ordering::Relaxed);
        }
    }

    fn in_flight(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ends a lease by its result and once more when it is dropped.
struct ReleasedTwice(AtomicU64);

struct TwiceLease(Arc<ReleasedTwice>);

impl Drop for TwiceLease {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gauge for ReleasedTwice {
    type Lease = TwiceLease;

    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn acquire(gauge: &Arc<Self>) -> TwiceLease {
        gauge.0.fetch_add(1, Ordering::Relaxed);
        TwiceLease(Arc::clone(gauge))
    }

    fn finish(lease: &mut TwiceLease) {
        lease.0.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn in_flight(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn load_then_store_is_caught() {
    gauge_counts_live_leases::<LoadThenStore>();
}

#[test]
#[should_panic(expected = "assertion")]
fn a_double_release_is_caught() {
    a_moved_lease_ends_once::<ReleasedTwice>();
}

/// One version of a configuration: its number, stated twice, and the live state of each candidate.
#[derive(Debug)]
struct Version {
    generation: u64,
    candidates: Vec<Arc<Shipped>>,
    generation_again: u64,
}

/// What the swap models need: the shipped cell and carry-over, or one with a bug.
trait Swap: Send + Sync + 'static {
    fn new(first: Version) -> Self;
    fn read(&self) -> Arc<Version>;
    /// Adds a candidate to the current version and raises its number.
    fn add_candidate(&self);
}

impl Swap for SnapshotCell<Version> {
    fn new(first: Version) -> Self {
        Self::new(first)
    }

    fn read(&self) -> Arc<Version> {
        Arc::clone(&self.load())
    }

    fn add_candidate(&self) {
        self.update(|current| Ok::<_, ()>(with_one_more(current))).unwrap();
    }
}

/// Live state is carried over, not made again.
fn with_one_more(current: &Version) -> Version {
    let generation = current.generation + 1;
    let candidates = current.candidates.iter().cloned().chain([Arc::default()]).collect();
    Version { generation, candidates, generation_again: generation }
}

fn first_version() -> Version {
    Version { generation: 1, candidates: vec![Arc::default()], generation_again: 1 }
}

/// SN1, SN2: a reader sees one version in all its parts, and never an older one after a newer. SN8: an index that a
/// version gives is good for that version.
fn readers_see_whole_versions_in_order<S: Swap>() {
    loom::model(|| {
        let cell = LoomArc::new(S::new(first_version()));
        let writer = {
            let cell = LoomArc::clone(&cell);
            thread::spawn(move || cell.add_candidate())
        };
        let mut newest = 0;
        for _ in 0..2 {
            let version = cell.read();
            assert_eq!(version.generation, version.generation_again, "torn");
            assert!(version.generation >= newest, "back from {newest} to {}", version.generation);
            assert_eq!(version.candidates.len() as u64, version.generation, "an index would miss");
            newest = version.generation;
        }
        writer.join().unwrap();
    });
}

/// SN7, and no update is lost: two writers meet while a request is in flight. Both candidates are there at the end, and
/// the request is counted where it was admitted, once, through every version.
fn live_state_survives_two_writers<S: Swap>() {
    loom::model(|| {
        let cell = LoomArc::new(S::new(first_version()));
        let lease = <Shipped as Gauge>::acquire(&cell.read().candidates[0]);
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let cell = LoomArc::clone(&cell);
                thread::spawn(move || cell.add_candidate())
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let version = cell.read();
        assert_eq!((version.generation, version.candidates.len()), (3, 3), "an update was lost");
        assert_eq!(Gauge::in_flight(&*version.candidates[0]), 1, "live state was made again");
        drop(lease);
        assert_eq!(Gauge::in_flight(&*version.candidates[0]), 0);
    });
}

#[test]
fn readers_see_whole_versions() {
    readers_see_whole_versions_in_order::<SnapshotCell<Version>>();
}

#[test]
fn live_state_survives() {
    live_state_survives_two_writers::<SnapshotCell<Version>>();
}

/// Three separate pointers, as in a balancer whose selector, backends and health are swapped one by one.
struct SwappedPartByPart {
    generation: AtomicU64,
    candidates: loom::sync::Mutex<Vec<Arc<Shipped>>>,
    generation_again: AtomicU64,
}

impl Swap for SwappedPartByPart {
    fn new(first: Version) -> Self {
        Self {
            generation: AtomicU64::new(first.generation),
            candidates: loom::sync::Mutex::new(first.candidates),
            generation_again: AtomicU64::new(first.generation_again),
        }
    }

    fn read(&self) -> Arc<Version> {
        let generation = self.generation.load(Ordering::Acquire);
        let candidates = self.candidates.lock().unwrap().clone();
        let generation_again = self.generation_again.load(Ordering::Acquire);
        Arc::new(Version { generation, candidates, generation_again })
    }

    fn add_candidate(&self) {
        let next = with_one_more(&self.read());
        self.generation.store(next.generation, Ordering::Release);
        *self.candidates.lock().unwrap() = next.candidates;
        self.generation_again.store(next.generation_again, Ordering::Release);
    }
}

/// A version whose second statement of the number is stored after the rest.
struct NumberStoredLate {
    version: SnapshotCell<Version>,
    generation_again: AtomicU64,
}

impl Swap for NumberStoredLate {
    fn new(first: Version) -> Self {
        let generation_again = AtomicU64::new(first.generation_again);
        Self { version: SnapshotCell::new(first), generation_again }
    }

    fn read(&self) -> Arc<Version> {
        let version = Arc::clone(&self.version.load());
        let generation_again = self.generation_again.load(Ordering::Acquire);
        let candidates = version.candidates.clone();
        Arc::new(Version { generation: version.generation, candidates, generation_again })
    }

    fn add_candidate(&self) {
        let next = self.version.update(|current| Ok::<_, ()>(with_one_more(current))).unwrap();
        self.generation_again.store(next.generation_again, Ordering::Release);
    }
}

/// Two copies that are updated one after the other; readers take them in turn.
struct TwoCopies {
    copies: [SnapshotCell<Version>; 2],
    turn: AtomicU64,
}

impl Swap for TwoCopies {
    fn new(first: Version) -> Self {
        let copy = || {
            let candidates = first.candidates.clone();
            SnapshotCell::new(Version { candidates, ..first_version() })
        };
        Self { copies: [copy(), copy()], turn: AtomicU64::new(0) }
    }

    fn read(&self) -> Arc<Version> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize % 2;
        Arc::clone(&self.copies[turn].load())
    }

    fn add_candidate(&self) {
        for copy in &self.copies {
            copy.update(|current| Ok::<_, ()>(with_one_more(current))).unwrap();
        }
    }
}

/// Reads, changes and stores without holding off the other writer.
struct UnserialisedWriters(loom::sync::Mutex<Arc<Version>>);

impl Swap for UnserialisedWriters {
    fn new(first: Version) -> Self {
        Self(loom::sync::Mutex::new(Arc::new(first)))
    }

    fn read(&self) -> Arc<Version> {
        Arc::clone(&self.0.lock().unwrap())
    }

    fn add_candidate(&self) {
        let next = with_one_more(&self.read());
        *self.0.lock().unwrap() = Arc::new(next);
    }
}

/// Makes the live state of every candidate again with each version.
struct ForgetsLiveState(SnapshotCell<Version>);

impl Swap for ForgetsLiveState {
    fn new(first: Version) -> Self {
        Self(SnapshotCell::new(first))
    }

    fn read(&self) -> Arc<Version> {
        Arc::clone(&self.0.load())
    }

    fn add_candidate(&self) {
        let change = |current: &Arc<Version>| {
            let mut next = with_one_more(current);
            next.candidates.iter_mut().for_each(|candidate| *candidate = Arc::default());
            Ok::<_, ()>(next)
        };
        self.0.update(change).unwrap();
    }
}

#[test]
#[should_panic(expected = "torn")]
fn a_number_stored_late_is_caught() {
    readers_see_whole_versions_in_order::<NumberStoredLate>();
}

#[test]
#[should_panic(expected = "back from 2 to 1")]
fn two_copies_are_caught() {
    readers_see_whole_versions_in_order::<TwoCopies>();
}

#[test]
#[should_panic(expected = "an index would miss")]
fn parts_swapped_one_by_one_are_caught() {
    readers_see_whole_versions_in_order::<SwappedPartByPart>();
}

#[test]
#[should_panic(expected = "an update was lost")]
fn writers_that_do_not_wait_are_caught() {
    live_state_survives_two_writers::<UnserialisedWriters>();
}

#[test]
#[should_panic(expected = "live state was made again")]
fn forgotten_live_state_is_caught() {
    live_state_survives_two_writers::<ForgetsLiveState>();
}

/// What the models of a limit need: to take a place, and to say how many are taken.
trait Limited: Send + Sync + 'static {
    type Place: Send + 'static;

    fn new() -> Self;
    fn take(limited: &Arc<Self>) -> Option<Self::Place>;
    fn taken(&self) -> u64;
}

impl Limited for Shipped {
    type Place = InFlightLease<Holder>;

    fn new() -> Self {
        Self::default()
    }

    fn take(limited: &Arc<Self>) -> Option<Self::Place> {
        InFlightLease::acquire_within(Holder(Arc::clone(limited)), Tokens(7), NonZeroU32::MIN)
    }

    fn taken(&self) -> u64 {
        self.in_flight()
    }
}

/// Looks whether there is room and then takes it.
struct CheckThenAct(AtomicU64);

struct Taken(Arc<CheckThenAct>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limited for CheckThenAct {
    type Place = Taken;

    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn take(limited: &Arc<Self>) -> Option<Taken> {
        if limited.0.load(Ordering::Relaxed) >= 1 {
            return None;
        }
        limited.0.fetch_add(1, Ordering::Relaxed);
        Some(Taken(Arc::clone(limited)))
    }

    fn taken(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// IF4: with a limit of one, of two takers at most one has the place at any time; a refusal leaves no trace, so
/// nobody ever sees more than one taken, and somebody got it.
fn a_limit_is_never_exceeded<L: Limited>() {
    loom::model(|| {
        let limited = Arc::new(L::new());
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let limited = Arc::clone(&limited);
                thread::spawn(move || {
                    let place = L::take(&limited);
                    assert!(limited.taken() <= 1);
                    place
                })
            })
            .collect();
        assert!(limited.taken() <= 1);
        let places: Vec<_> = takers.into_iter().filter_map(|taker| taker.join().unwrap()).collect();
        assert_eq!(places.len(), 1, "held until now, so exactly one");
        drop(places);
        assert_eq!(limited.taken(), 0);
    });
}

#[test]
fn a_limit_holds() {
    a_limit_is_never_exceeded::<Shipped>();
}

#[test]
#[should_panic(expected = "taken() <= 1")]
fn check_then_act_is_caught() {
    a_limit_is_never_exceeded::<CheckThenAct>();
}

/// What the models of an average need.
trait Average: Send + Sync + 'static {
    fn new() -> Self;
    fn add(&self, sample: f32);
    fn get(&self) -> Option<f32>;
}

const NOW: Timestamp = Timestamp::from_nanos(5_000_000_000);

impl Average for StampedCell {
    fn new() -> Self {
        Self::new()
    }

    fn add(&self, sample: f32) {
        self.update(NOW, |before| Some(before.map_or(0.0, |(sum, _)| sum) + sample));
    }

    fn get(&self) -> Option<f32> {
        StampedCell::get(self, NOW).map(|(sum, _)| sum)
    }
}

/// Reads, adds and writes.
struct ReadAddWrite(AtomicU64);

impl Average for ReadAddWrite {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn add(&self, sample: f32) {
        let sum = f32::from_bits(self.0.load(Ordering::Relaxed) as u32);
        self.0.store((sum + sample).to_bits().into(), Ordering::Relaxed);
    }

    fn get(&self) -> Option<f32> {
        Some(f32::from_bits(self.0.load(Ordering::Relaxed) as u32))
    }
}

/// EW1: of two threads' samples each is applied exactly once, and what is not a number is never stored.
fn every_sample_is_applied_once<A: Average>() {
    loom::model(|| {
        let average = Arc::new(A::new());
        let threads: Vec<_> = [1.0, 4.0]
            .into_iter()
            .map(|sample| {
                let average = Arc::clone(&average);
                thread::spawn(move || average.add(sample))
            })
            .collect();
        assert!(average.get().is_none_or(f32::is_finite));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        average.add(f32::NAN);
        assert_eq!(average.get(), Some(5.0));
    });
}

#[test]
fn samples_are_applied_once() {
    every_sample_is_applied_once::<StampedCell>();
}

#[test]
#[should_panic(expected = "left == right")]
fn a_lost_or_poisoned_sample_is_caught() {
    every_sample_is_applied_once::<ReadAddWrite>();
}
