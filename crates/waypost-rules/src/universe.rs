//! Every value that the conditions of a rule set tell apart.

use std::collections::HashMap;

use waypost_core::ModelName;

use crate::asked::{Asked, Values, asked};
use crate::attribute::{Attribute, Classes, Classified, Demand};
use crate::class_set::ClassSet;
use crate::{Condition, TextPattern, Validity};

/// The attributes that a rule set looks at, with the classes of their values.
#[derive(Debug, Default)]
pub(crate) struct Universe {
    attributes: Vec<Classified>,
    places: HashMap<Attribute, usize>,
    /// Whether a condition of the user's own looks at nobody knows what.
    pub(crate) has_custom: bool,
}

/// One attribute as one condition sees it.
#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) attribute: usize,
    pub(crate) classes: ClassSet,
    /// Whether every value of these classes meets the condition.
    pub(crate) exact: bool,
}

/// Gathers what conditions say of attributes.
#[derive(Default)]
pub(crate) struct Survey {
    demands: Vec<(Attribute, Demand, bool)>,
    places: HashMap<Attribute, usize>,
    has_custom: bool,
}

impl Survey {
    /// Looks at a rule's condition, whose samples have their salts, and at its validity.
    pub(crate) fn add(&mut self, condition: &Condition, validity: Validity) {
        self.condition(condition);
        if validity != Validity::ALWAYS {
            self.demand(Attribute::Validity(validity));
        }
    }

    fn condition(&mut self, condition: &Condition) {
        condition.parts().iter().for_each(|part| self.condition(part));
        self.has_custom |= matches!(condition, Condition::Custom(_));
        asked(condition).into_iter().flatten().for_each(|asked| self.asked(asked));
    }

    fn asked(&mut self, Asked { attribute, values }: Asked<'_>) {
        let is_model = attribute == Attribute::Model;
        let (_, demand, open) = self.demand(attribute);
        match values {
            Values::Names(names) => names.into_iter().for_each(|(name, hash)| demand.name(name, hash)),
            Values::Patterns(patterns) => {
                for pattern in patterns {
                    demand.span(pattern.span(), |name| if is_model { hash_as_model(name) } else { None });
                    *open |= pattern.runs_regex();
                }
            }
            Values::Numbers(numbers) => numbers.into_iter().for_each(|(from, end)| demand.numbers(from, end)),
            Values::Classes(_) => {}
        }
    }

    fn demand(&mut self, attribute: Attribute) -> &mut (Attribute, Demand, bool) {
        let next = self.demands.len();
        let place = *self.places.entry(attribute.clone()).or_insert(next);
        if place == next {
            self.demands.push((attribute, Demand::default(), false));
        }
        &mut self.demands[place]
    }

    pub(crate) fn into_universe(self) -> Universe {
        let classified = |(attribute, demand, open): (Attribute, Demand, bool)| Classified {
            classes: demand.into_classes(&attribute),
            attribute,
            open,
        };
        Universe {
            attributes: self.demands.into_iter().map(classified).collect(),
            places: self.places,
            has_custom: self.has_custom,
        }
    }
}

impl Universe {
    pub(crate) fn attributes(&self) -> &[Classified] {
        &self.attributes
    }

    pub(crate) fn classes(&self, attribute: usize) -> &Classes {
        &self.attributes[attribute].classes
    }

    /// What a simple condition asks: one of the tests must succeed. `None` when nobody knows.
    pub(crate) fn tests(&self, condition: &Condition) -> Option<Vec<Test>> {
        Some(asked(condition)?.into_iter().map(|asked| self.test(asked)).collect())
    }

    /// The test that a rule's time has come and not gone; `None` when it always has.
    pub(crate) fn validity(&self, validity: Validity) -> Option<Test> {
        let asked = || Asked::yes(Attribute::Validity(validity));
        (validity != Validity::ALWAYS).then(|| self.test(asked()))
    }

    fn test(&self, Asked { attribute, values }: Asked<'_>) -> Test {
        let place = self.places[&attribute];
        let known = self.classes(place);
        let exact = match values {
            Values::Patterns(patterns) => !patterns.iter().any(TextPattern::runs_regex),
            _ => true,
        };
        let classes = match values {
            Values::Names(names) => {
                ClassSet::of(names.into_iter().map(|(name, _)| known.of_known_name(name)))
            }
            Values::Patterns(patterns) => {
                ClassSet::of(patterns.iter().map(|pattern| known.of_span(pattern.span())))
            }
            Values::Numbers(numbers) => {
                ClassSet::of(numbers.into_iter().map(|(from, end)| known.of_numbers(from, end)))
            }
            Values::Classes(classes) => classes,
        };
        Test { attribute: place, classes, exact }
    }
}

/// The hash that a model of this name brings along; `None` when no model can have the name.
fn hash_as_model(name: &str) -> Option<u64> {
    ModelName::new(name).ok().map(|model| model.hash_value())
}
