//! One value that readers see whole and writers replace.

use core::fmt;
use core::ops::Deref;
use std::sync::Arc;

#[cfg(not(loom))]
use std::sync::{Mutex, PoisonError};

/// Holds the current version of a value: readers get it without waiting, writers replace it as a whole.
///
/// A reader sees one version in all its parts and, asking again, never an older one. Writers run one after the other,
/// each on the result of the one before, so no update is lost; an update that fails changes nothing. An old version is
/// dropped when its last reader lets go.
///
/// ```
/// use waypost_core::SnapshotCell;
///
/// let cell = SnapshotCell::new(1);
/// cell.update(|current| Ok::<_, ()>(**current + 1)).unwrap();
/// assert_eq!(**cell.load(), 2);
/// assert!(cell.update(|_| Err("no")).is_err());
/// assert_eq!(**cell.load(), 2);
/// ```
///
/// # Complexity
///
/// Reading is wait-free, about as much as two uncontended atomic additions (`arc-swap`).
pub struct SnapshotCell<T> {
    current: ArcCell<T>,
    /// Serialises writers; readers never touch it.
    writer: Mutex<()>,
}

/// A reader's hold on one version. Let go of it soon: held long, it costs other readers their fast path.
pub struct SnapshotGuard<T>(Guard<T>);

impl<T> SnapshotCell<T> {
    /// Holds the first version.
    pub fn new(first: T) -> Self {
        Self { current: ArcCell::new(Arc::new(first)), writer: Mutex::new(()) }
    }

    /// The current version.
    pub fn load(&self) -> SnapshotGuard<T> {
        SnapshotGuard(self.current.load())
    }

    /// Replaces the current version by one made from it. Returns what is current then, and `change`'s error when there
    /// is no change. `change` must not update the same cell.
    ///
    /// # Errors
    ///
    /// The error of `change`.
    pub fn update<E>(&self, change: impl FnOnce(&Arc<T>) -> Result<T, E>) -> Result<Arc<T>, E> {
        let _writer = lock(&self.writer);
        let current = self.load();
        let next = Arc::new(change(&current)?);
        self.current.store(Arc::clone(&next));
        Ok(next)
    }
}

impl<T> Deref for SnapshotGuard<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for SnapshotCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SnapshotCell").field(&*self.load()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for SnapshotGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(not(loom))]
use shipped::{ArcCell, Guard, lock};

#[cfg(not(loom))]
mod shipped {
    use super::{Arc, Mutex, PoisonError};
    use std::sync::MutexGuard;

    pub(super) type Guard<T> = arc_swap::Guard<Arc<T>>;

    pub(super) struct ArcCell<T>(arc_swap::ArcSwap<T>);

    impl<T> ArcCell<T> {
        pub(super) fn new(first: Arc<T>) -> Self {
            Self(arc_swap::ArcSwap::new(first))
        }

        pub(super) fn load(&self) -> Guard<T> {
            self.0.load()
        }

        pub(super) fn store(&self, next: Arc<T>) {
            self.0.store(next);
        }
    }

    /// A writer that panicked changed nothing: the next one may go on.
    pub(super) fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Under loom the pointer is a locked one: what arc-swap does inside cannot be modelled from outside, so the models
/// check our protocol around it, and Miri checks the real one.
#[cfg(loom)]
use modelled::{ArcCell, Guard, Mutex, lock};

#[cfg(loom)]
mod modelled {
    use super::Arc;
    pub(super) use loom::sync::Mutex;
    use loom::sync::MutexGuard;

    pub(super) type Guard<T> = Arc<T>;

    pub(super) struct ArcCell<T>(Mutex<Arc<T>>);

    impl<T> ArcCell<T> {
        pub(super) fn new(first: Arc<T>) -> Self {
            Self(Mutex::new(first))
        }

        pub(super) fn load(&self) -> Arc<T> {
            Arc::clone(&lock(&self.0))
        }

        pub(super) fn store(&self, next: Arc<T>) {
            *lock(&self.0) = next;
        }
    }

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("models do not panic while they hold the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_panics_changes_nothing_and_blocks_nobody() {
        let cell = SnapshotCell::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cell.update(|_| -> Result<i32, ()> { panic!("the writer's bug") })
        }));
        assert!(panicked.is_err());
        assert_eq!(**cell.load(), 1);
        assert_eq!(cell.update(|current| Ok::<_, ()>(**current + 1)).map(|v| *v), Ok(2));
    }
}
