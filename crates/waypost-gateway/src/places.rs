//! Places: how much of something may be in use at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many places. Whoever finds none is refused at once: waiting would only hold more.
#[derive(Debug)]
pub(crate) struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// Some places, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Arc<AtomicUsize>,
    most: usize,
    count: usize,
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// So many places, if they are free.
    pub(crate) fn take(&self, count: usize) -> Option<Place> {
        let mut place = Place { taken: Arc::clone(&self.taken), most: self.most, count: 0 };
        place.grow_to(count).then_some(place)
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Place {
    /// Takes more, up to so many in all; whether they were free. If not, nothing changes.
    pub(crate) fn grow_to(&mut self, count: usize) -> bool {
        let more = count.saturating_sub(self.count);
        let add = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= self.most);
        let grown = more == 0 || self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        self.count += if grown { more } else { 0 };
        grown
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_taken_than_there_are_and_all_come_back() {
        let places = Places::new(10);
        let mut some = places.take(4).unwrap();
        let others = places.take(6).unwrap();
        assert!(places.take(1).is_none() && !some.grow_to(5));
        assert_eq!(places.taken(), 10, "who was refused holds nothing");
        drop(others);
        assert!(some.grow_to(10) && some.grow_to(3), "to have less is always granted");
        assert!(!some.grow_to(usize::MAX));
        drop(some);
        assert_eq!(places.taken(), 0);
    }
}
