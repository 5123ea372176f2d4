//! Sets of classes of values.

use smallvec::{SmallVec, smallvec};

/// Classes from the first to before the second.
type Range = (u32, u32);

/// A set of classes that one attribute of a request may fall into: ascending ranges that do not touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassSet(SmallVec<[Range; 2]>);

impl ClassSet {
    pub(crate) fn one(class: u32) -> Self {
        Self::range(class, class + 1)
    }

    pub(crate) fn range(from: u32, to: u32) -> Self {
        if from < to { Self(smallvec![(from, to)]) } else { Self(SmallVec::new()) }
    }

    pub(crate) fn of(sets: impl IntoIterator<Item = Self>) -> Self {
        let mut ranges: Vec<Range> = sets.into_iter().flat_map(|set| set.0).collect();
        ranges.sort_unstable();
        let mut joined: SmallVec<[Range; 2]> = SmallVec::new();
        for (from, to) in ranges {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        Self(joined)
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        Self::of([self.clone(), other.clone()])
    }

    /// All of `classes` classes but these.
    pub(crate) fn complement(&self, classes: u32) -> Self {
        let ends = self.0.iter().map(|&(_, to)| to);
        let starts = self.0.iter().map(|&(from, _)| from);
        let gaps = core::iter::once(0).chain(ends).zip(starts.chain([classes]));
        Self(gaps.filter(|(from, to)| from < to).collect())
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = SmallVec::new();
        while let (Some(&&(a_from, a_to)), Some(&&(b_from, b_to))) = (a.peek(), b.peek()) {
            let (from, to) = (a_from.max(b_from), a_to.min(b_to));
            if from < to {
                both.push((from, to));
            }
            if a_to <= b_to {
                a.next()
            } else {
                b.next()
            };
        }
        Self(both)
    }

    pub(crate) fn contains_all(&self, other: &Self) -> bool {
        self.intersection(other) == *other
    }

    pub(crate) fn contains(&self, class: u32) -> bool {
        self.0.iter().any(|&(from, to)| from <= class && class < to)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn first(&self) -> Option<u32> {
        self.0.first().map(|&(from, _)| from)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|&(from, to)| (to - from) as usize).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|&(from, to)| from..to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const CLASSES: u32 = 20;

    fn set(classes: &BTreeSet<u32>) -> ClassSet {
        ClassSet::of(classes.iter().map(|&class| ClassSet::one(class)))
    }

    proptest! {
        /// The oracle is a `BTreeSet`.
        #[test]
        fn behaves_like_a_sorted_set(
            a in proptest::collection::btree_set(0..CLASSES, 0..12),
            b in proptest::collection::btree_set(0..CLASSES, 0..12),
        ) {
            let (x, y) = (set(&a), set(&b));
            prop_assert!(x.iter().eq(a.iter().copied()));
            prop_assert!(x.union(&y).iter().eq(a.union(&b).copied()));
            prop_assert!(x.intersection(&y).iter().eq(a.intersection(&b).copied()));
            prop_assert!(x.complement(CLASSES).iter().eq((0..CLASSES).filter(|class| !a.contains(class))));
            prop_assert_eq!(x.contains_all(&y), b.is_subset(&a));
            prop_assert_eq!(x.len(), a.len());
            prop_assert_eq!(x.first(), a.first().copied());
            prop_assert!((0..CLASSES).all(|class| x.contains(class) == a.contains(&class)));
        }
    }
}
