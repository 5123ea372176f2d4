//! Which part of a sharded statistic a thread writes to.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// Shards of one statistic. Threads are dealt to shards in turn, so up to this many record without sharing a line.
pub(crate) const SHARDS: usize = 8;

/// The next thread's shard.
static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

std::thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The calling thread's shard, dealt at its first record.
#[inline]
pub(crate) fn shard() -> usize {
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    })
}

/// A counter that threads add to without meeting: sharded by thread, summed when read.
///
/// ```
/// use waypost_core::ThreadLocalCounter;
///
/// let counter = ThreadLocalCounter::default();
/// std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| counter.add(10)))));
/// assert_eq!(counter.sum(), 40);
/// ```
#[derive(Debug, Default)]
pub struct ThreadLocalCounter {
    shards: [CachePadded<AtomicU64>; SHARDS],
}

impl ThreadLocalCounter {
    /// Adds; wraps after 2^64.
    #[inline]
    pub fn add(&self, n: u64) {
        self.shards[shard()].fetch_add(n, Ordering::Relaxed);
    }

    /// All that was added by all threads so far.
    pub fn sum(&self) -> u64 {
        self.shards.iter().map(|shard| shard.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}
