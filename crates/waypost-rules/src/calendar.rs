//! Which rules' time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};

use crate::attribute::Attribute;
use crate::bit_vectors::bits;
use crate::class_set::ClassSet;
use crate::product::Product;
use crate::time_window::{Period, seconds};
use crate::universe::Universe;

/// The windows of time that rules look at. Which rules' time it is stays the same until the next edge of a window, so it
/// is worked out once an edge, by whoever asks first after it, and read by all others.
#[derive(Debug)]
pub(crate) struct Calendar {
    windows: Box<[Attribute]>,
    /// Rules that ask that windows be open or closed.
    timed: Box<[Timed]>,
    rules: usize,
    /// What holds when nobody knows the time: no window is open.
    timeless: Arc<Timely>,
    current: ArcSwap<Timely>,
    edges: AtomicU64,
}

/// A rule, and whether it asks that windows be open or closed.
#[derive(Debug)]
struct Timed {
    rule: usize,
    asked: Box<[(usize, bool)]>,
}

/// Which rules' time it is in a stretch of wall time.
#[derive(Debug)]
pub(crate) struct Timely {
    from: i64,
    until: i64,
    /// Told apart from all others of its calendar.
    pub(crate) stretch: u64,
    pub(crate) rules: Box<[u64]>,
}

impl Calendar {
    /// The calendar of products in order; `None` when none of them looks at the time.
    pub(crate) fn new(products: &[Product], universe: &Universe) -> Option<Self> {
        let attributes = universe.attributes();
        let places: Vec<_> =
            (0..attributes.len()).filter(|&place| attributes[place].attribute.is_of_time()).collect();
        let asked = |product: &Product| -> Box<[(usize, bool)]> {
            let sets = places.iter().enumerate();
            sets.filter_map(|(window, place)| Some((window, wanted(product.sets.get(place)?)?))).collect()
        };
        let timed = products.iter().map(asked).enumerate().map(|(rule, asked)| Timed { rule, asked });
        let mut calendar = Self {
            windows: places.iter().map(|&place| attributes[place].attribute.clone()).collect(),
            timed: timed.filter(|timed| !timed.asked.is_empty()).collect(),
            rules: products.len(),
            timeless: Arc::new(Timely { from: 0, until: 0, stretch: 0, rules: Box::default() }),
            current: ArcSwap::from_pointee(Timely { from: 0, until: 0, stretch: 0, rules: Box::default() }),
            edges: AtomicU64::new(1),
        };
        calendar.timeless = Arc::new(calendar.timely(|_| CLOSED));
        (!calendar.windows.is_empty()).then_some(calendar)
    }

    /// Which rules' time it is.
    pub(crate) fn at(&self, wall: Option<SystemTime>) -> Guard<Arc<Timely>> {
        let Some(second) = wall.map(seconds) else { return Guard::from_inner(Arc::clone(&self.timeless)) };
        let current = self.current.load();
        if current.from <= second && second < current.until {
            return current;
        }
        let next = Arc::new(self.timely(|window| period(window, second)));
        // Also when the clock was put back: at an edge two readers may replace each other's for a moment, no more.
        self.current.store(Arc::clone(&next));
        Guard::from_inner(next)
    }

    fn timely(&self, period: impl Fn(&Attribute) -> Period) -> Timely {
        let periods: Vec<Period> = self.windows.iter().map(period).collect();
        let mut rules = bits(0..self.rules, self.rules);
        for Timed { rule, asked } in &self.timed {
            if asked.iter().any(|&(window, open)| periods[window].active != open) {
                rules[rule / 64] &= !(1 << (rule % 64));
            }
        }
        Timely {
            from: periods.iter().map(|period| period.from).max().unwrap_or(i64::MIN),
            until: periods.iter().map(|period| period.until).min().unwrap_or(i64::MAX),
            stretch: self.edges.fetch_add(1, Ordering::Relaxed),
            rules,
        }
    }
}

const CLOSED: Period = Period { active: false, from: i64::MIN, until: i64::MAX };

fn period(window: &Attribute, second: i64) -> Period {
    match window {
        Attribute::Window(window) => window.period(second),
        Attribute::Validity(validity) => validity.period(second),
        _ => CLOSED,
    }
}

/// Whether a window must be open or closed; `None` when either will do.
fn wanted(classes: &ClassSet) -> Option<bool> {
    match (classes.contains(0), classes.contains(1)) {
        (false, true) => Some(true),
        (true, false) => Some(false),
        _ => None,
    }
}
