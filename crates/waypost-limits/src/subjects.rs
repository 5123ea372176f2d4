//! The meters of one limit.

use std::sync::{Arc, Mutex, PoisonError};

use papaya::HashMap;

use crate::Subject;
use crate::dimension::SubjectRef;
use crate::meter::Meter;

/// How many meters a newcomer looks at to find an idle one: constant work, and all are looked at in turn.
const LOOKS: usize = 16;

/// Finds the meters of a limit by subject, without a lock where the subject is known.
///
/// At most so many subjects have meters. A newcomer beyond that takes the place of one whose meter is idle: a bucket
/// that is full again, a period in which nothing was spent. Such a meter made anew is the same, so forgetting it loses
/// nothing. When none of those looked at is idle, newcomers share one meter: together they get what one of them may.
pub(crate) struct Subjects {
    meters: HashMap<Subject, Arc<Meter>, foldhash::quality::RandomState>,
    /// Everybody in the map, to look at in turn. Held by newcomers only.
    ring: Mutex<Ring>,
    /// Shared by newcomers when there is no room.
    others: Arc<Meter>,
    most: usize,
}

#[derive(Debug, Default)]
struct Ring {
    known: Vec<Subject>,
    next: usize,
    /// Whether somebody was told that there is no room.
    is_told: bool,
}

/// A meter, and whether it is the first time that there is no room.
pub(crate) struct Place {
    pub(crate) meter: Arc<Meter>,
    pub(crate) is_news: bool,
}

impl Subjects {
    /// Room for at most `most` subjects.
    pub(crate) fn new(most: usize, others: Meter) -> Self {
        Self { meters: HashMap::default(), ring: Mutex::default(), others: Arc::new(others), most }
    }

    /// The meter of a subject that is known.
    #[inline]
    pub(crate) fn get(&self, subject: &SubjectRef<'_>) -> Option<Arc<Meter>> {
        self.meters.pin().get(subject).map(Arc::clone)
    }

    /// The meter of a newcomer, made if there is room; `retire` puts a meter away if it is idle.
    #[cold]
    pub(crate) fn add(
        &self,
        subject: &SubjectRef<'_>,
        make: impl FnOnce(Subject) -> Meter,
        retire: impl Fn(&Meter) -> bool,
    ) -> Place {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let meters = self.meters.pin();
        if let Some(meter) = meters.get(subject) {
            return Place { meter: Arc::clone(meter), is_news: false };
        }
        let is_free = |known: &Subject| match meters.get(known) {
            Some(meter) => retire(meter) && meters.remove(known).is_some(),
            None => true,
        };
        if !ring.make_room(self.most, is_free) {
            let is_news = !core::mem::replace(&mut ring.is_told, true);
            return Place { meter: Arc::clone(&self.others), is_news };
        }
        let subject = subject.owned();
        ring.known.push(subject.clone());
        let meter = Arc::new(make(subject.clone()));
        meters.insert(subject, Arc::clone(&meter));
        Place { meter, is_news: false }
    }

    /// Calls `each` with every meter, that of newcomers without room included if it was ever asked for.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Arc<Meter>)) {
        self.meters.pin().values().for_each(&mut each);
        if self.ring.lock().unwrap_or_else(PoisonError::into_inner).is_told {
            each(&self.others);
        }
    }

    /// What newcomers share, if there was no room for the last of them.
    pub(crate) fn overflow(&self) -> Option<Arc<Meter>> {
        let is_full = self.ring.lock().unwrap_or_else(PoisonError::into_inner).is_told;
        is_full.then(|| Arc::clone(&self.others))
    }

    /// How many subjects have meters of their own.
    pub(crate) fn len(&self) -> usize {
        self.meters.len()
    }
}

impl Ring {
    /// Makes room for one more. `is_free` says whether a place may be had.
    fn make_room(&mut self, most: usize, is_free: impl Fn(&Subject) -> bool) -> bool {
        if self.known.len() < most {
            return true;
        }
        for _ in 0..LOOKS.min(self.known.len()) {
            let place = self.next % self.known.len();
            if is_free(&self.known[place]) {
                self.known.swap_remove(place);
                self.is_told = false;
                return true;
            }
            self.next = place + 1;
        }
        false
    }
}

impl core::fmt::Debug for Subjects {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Subjects").field("len", &self.len()).field("most", &self.most).finish_non_exhaustive()
    }
}
