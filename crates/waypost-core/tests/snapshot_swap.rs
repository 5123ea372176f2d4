//! The snapshot swap with real threads and the real arc-swap: small enough for Miri, which sees use after free and data
//! races that models of our protocol cannot.

#![cfg(not(loom))]
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use waypost_core::SnapshotCell;

/// One version: a number twice, and a count of versions alive.
struct Version {
    number: u64,
    again: Box<u64>,
    alive: Arc<AtomicUsize>,
}

impl Version {
    fn new(number: u64, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { number, again: Box::new(number), alive: Arc::clone(alive) }
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn readers_and_writers_of_several_cells() {
    let updates = if cfg!(miri) { 20 } else { 2_000 };
    let alive = Arc::new(AtomicUsize::new(0));
    // Several cells: a freed address of one may be used again by another.
    let cells: Vec<_> = (0..3).map(|_| SnapshotCell::new(Version::new(0, &alive))).collect();
    thread::scope(|scope| {
        for _ in 0..2 {
            let cells = &cells;
            scope.spawn(move || {
                let mut newest = vec![0; cells.len()];
                for turn in 0..updates * 3 {
                    let version = cells[turn % cells.len()].load();
                    assert_eq!(version.number, *version.again, "torn");
                    assert!(version.number >= newest[turn % cells.len()], "back in time");
                    newest[turn % cells.len()] = version.number;
                }
            });
        }
        for writer in 0..2 {
            let (cells, alive) = (&cells, &alive);
            scope.spawn(move || {
                for turn in 0..updates {
                    let cell = &cells[(turn + writer) % cells.len()];
                    let next = cell.update(|current| Ok::<_, ()>(Version::new(current.number + 1, alive)));
                    assert!(next.is_ok());
                }
            });
        }
    });
    let total: u64 = cells.iter().map(|cell| cell.load().number).sum();
    assert_eq!(total, 2 * updates as u64, "an update was lost");
    assert_eq!(alive.load(Ordering::Relaxed), cells.len(), "old versions are dropped once");
    drop(cells);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}
