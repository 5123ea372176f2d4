//! What a condition asks of each attribute by itself.

use std::collections::BTreeMap;

use crate::Condition;
use crate::class_set::ClassSet;
use crate::universe::{Test, Universe};

/// A product of sets of classes, one per attribute, that holds every request that meets a condition: what an index over
/// single attributes can know of it. Attributes that are not named may be anything.
#[derive(Debug, Clone)]
pub(crate) struct Product {
    pub(crate) sets: BTreeMap<usize, ClassSet>,
    /// Whether it holds no other requests.
    pub(crate) exact: bool,
    /// Whether it holds none at all.
    never: bool,
}

impl Product {
    /// Every request.
    pub(crate) fn all() -> Self {
        Self { sets: BTreeMap::new(), exact: true, never: false }
    }

    /// Nobody knows which.
    fn unknown() -> Self {
        Self { exact: false, ..Self::all() }
    }

    fn of_test(test: Test) -> Self {
        Self {
            never: test.classes.is_empty(),
            sets: BTreeMap::from([(test.attribute, test.classes)]),
            exact: test.exact,
        }
    }

    /// What a condition, or its negation, asks.
    pub(crate) fn of(condition: &Condition, negated: bool, universe: &Universe) -> Self {
        let parts = |parts: &[Condition]| -> Vec<Self> {
            parts.iter().map(|part| Self::of(part, negated, universe)).collect()
        };
        match condition {
            Condition::Not(part) => Self::of(part, !negated, universe),
            Condition::All(all) if negated => Self::any(parts(all)),
            Condition::All(all) => Self::every(parts(all)),
            Condition::Any(any) if negated => Self::every(parts(any)),
            Condition::Any(any) => Self::any(parts(any)),
            simple => Self::of_simple(simple, negated, universe),
        }
    }

    fn of_simple(condition: &Condition, negated: bool, universe: &Universe) -> Self {
        let Some(tests) = universe.tests(condition) else { return Self::unknown() };
        if negated {
            Self::every(tests.into_iter().map(|test| Self::of_test(negation(&test, universe))).collect())
        } else {
            Self::any(tests.into_iter().map(Self::of_test).collect())
        }
    }

    /// Only requests that a test admits.
    pub(crate) fn and(self, test: Option<Test>) -> Self {
        match test {
            Some(test) => Self::every(vec![self, Self::of_test(test)]),
            None => self,
        }
    }

    /// Requests that are in all of the products.
    fn every(products: Vec<Self>) -> Self {
        products.into_iter().fold(Self::all(), |mut all, product| {
            for (attribute, classes) in product.sets {
                let both = all.sets.get(&attribute).map(|known| known.intersection(&classes));
                all.never |= both.as_ref().is_some_and(ClassSet::is_empty);
                all.sets.insert(attribute, both.unwrap_or(classes));
            }
            all.exact &= product.exact;
            all.never |= product.never;
            all
        })
    }

    /// Requests that are in one of the products. A union of products is one only along a single attribute; otherwise
    /// others are in it too.
    fn any(mut products: Vec<Self>) -> Self {
        products.retain(|product| !product.never);
        let Some(first) = products.first() else { return Self { never: true, ..Self::all() } };
        if let Some(whole) = products.iter().position(|product| product.exact && product.sets.is_empty()) {
            return products.swap_remove(whole);
        }
        let same = |product: &Self| product.sets.keys().eq(first.sets.keys());
        let along_one = first.sets.len() == 1 && products.iter().all(same);
        let exact = products.iter().all(|product| product.exact) && (products.len() == 1 || along_one);
        let mut sets = first.sets.clone();
        sets.retain(|attribute, classes| {
            products[1..].iter().all(|product| match product.sets.get(attribute) {
                Some(more) => {
                    *classes = classes.union(more);
                    true
                }
                None => false,
            })
        });
        Self { sets, exact, never: false }
    }

    /// Whether no request is in it.
    pub(crate) const fn is_never(&self) -> bool {
        self.never
    }

    /// Whether every request of another product is certainly in this one.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let holds = |(attribute, classes): (&usize, &ClassSet)| {
            other.sets.get(attribute).is_some_and(|narrower| classes.contains_all(narrower))
        };
        self.exact && self.sets.iter().all(holds)
    }
}

/// The opposite of a test. Where a test admits more than its condition does, so must its opposite.
fn negation(test: &Test, universe: &Universe) -> Test {
    let classes = universe.classes(test.attribute).len();
    let opposite = if test.exact { test.classes.complement(classes) } else { ClassSet::range(0, classes) };
    Test { classes: opposite, ..*test }
}
