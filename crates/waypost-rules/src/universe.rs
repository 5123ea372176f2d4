//! Every value that the conditions of a rule set tell apart.

use std::collections::HashMap;
use std::sync::Arc;

use waypost_core::ModelName;

use crate::attribute::{Attribute, Classes, Classified, Demand};
use crate::class_set::ClassSet;
use crate::{Bounds, Condition, Sample, TextPattern, Validity};

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
        macro_rules! names {
            ($attribute:expr, $names:expr) => {{
                let demand = self.demand($attribute);
                $names.iter().for_each(|name| demand.name(name.as_str(), name.hash_value()));
            }};
        }
        match condition {
            Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {}
            Condition::Model(patterns) => self.patterns(Attribute::Model, patterns, hash_as_model),
            Condition::UserAgent(patterns) => self.patterns(Attribute::UserAgent, patterns, |_| None),
            Condition::Metadata(key, patterns) => {
                self.patterns(Attribute::Metadata(key.clone()), patterns, |_| None);
            }
            Condition::Tenant(names) => names!(Attribute::Tenant, names),
            Condition::User(names) => names!(Attribute::User, names),
            Condition::Organization(names) => names!(Attribute::Organization, names),
            Condition::Region(names) => names!(Attribute::Region, names),
            Condition::Zone(names) => names!(Attribute::Zone, names),
            Condition::PromptTokens(bounds) => self.bounds(Attribute::PromptTokens, *bounds),
            Condition::Attempt(bounds) => self.bounds(Attribute::Attempt, *bounds),
            Condition::SourceIp(networks) => {
                let demand = self.demand(Attribute::SourceIp);
                for network in networks {
                    let numbers = network.numbers();
                    demand.numbers(*numbers.start(), numbers.end().checked_add(1));
                }
            }
            Condition::Sample(sample) => {
                self.demand(sample_attribute(sample)).numbers(0, Some(sample.end().into()));
            }
            Condition::Custom(_) => self.has_custom = true,
            Condition::Priority(_)
            | Condition::Streaming(_)
            | Condition::Tag(_)
            | Condition::Feature(_)
            | Condition::Capability(_)
            | Condition::Time(_) => flags(condition).for_each(|attribute| _ = self.demand(attribute)),
        }
    }

    fn patterns(
        &mut self,
        attribute: Attribute,
        patterns: &[TextPattern],
        hash: impl Fn(&str) -> Option<u64>,
    ) {
        let place = self.place(attribute);
        let (_, demand, open) = &mut self.demands[place];
        for pattern in patterns {
            demand.span(pattern.span(), &hash);
            *open |= pattern.runs_regex();
        }
    }

    fn bounds(&mut self, attribute: Attribute, bounds: Bounds) {
        let end = u128::from(bounds.max) + 1;
        self.demand(attribute).numbers(bounds.min.into(), Some(end));
    }

    fn demand(&mut self, attribute: Attribute) -> &mut Demand {
        let place = self.place(attribute);
        &mut self.demands[place].1
    }

    fn place(&mut self, attribute: Attribute) -> usize {
        let next = self.demands.len();
        let place = *self.places.entry(attribute.clone()).or_insert(next);
        if place == next {
            self.demands.push((attribute, Demand::default(), false));
        }
        place
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
        macro_rules! names {
            ($attribute:expr, $names:expr) => {{
                let classes = |classes: &Classes| {
                    ClassSet::of($names.iter().map(|name| classes.of_known_name(name.as_str())))
                };
                self.test(&$attribute, true, classes)
            }};
        }
        let test = match condition {
            Condition::Model(patterns) => self.patterns(&Attribute::Model, patterns),
            Condition::UserAgent(patterns) => self.patterns(&Attribute::UserAgent, patterns),
            Condition::Metadata(key, patterns) => self.patterns(&Attribute::Metadata(key.clone()), patterns),
            Condition::Tenant(names) => names!(Attribute::Tenant, names),
            Condition::User(names) => names!(Attribute::User, names),
            Condition::Organization(names) => names!(Attribute::Organization, names),
            Condition::Region(names) => names!(Attribute::Region, names),
            Condition::Zone(names) => names!(Attribute::Zone, names),
            Condition::PromptTokens(bounds) => self.bounds(&Attribute::PromptTokens, *bounds),
            Condition::Attempt(bounds) => self.bounds(&Attribute::Attempt, *bounds),
            Condition::SourceIp(networks) => self.test(&Attribute::SourceIp, true, |classes| {
                let numbers = networks.iter().map(crate::Network::numbers);
                ClassSet::of(numbers.map(|n| classes.of_numbers(*n.start(), n.end().checked_add(1))))
            }),
            Condition::Sample(sample) => self.test(&sample_attribute(sample), true, |classes| {
                classes.of_numbers(0, Some(sample.end().into()))
            }),
            Condition::Priority(priorities) => self.test(&Attribute::Priority, true, |_| {
                ClassSet::of(priorities.iter().map(|priority| ClassSet::one(priority as u32)))
            }),
            Condition::Streaming(stream) => {
                self.test(&Attribute::Streaming, true, |_| ClassSet::one((*stream).into()))
            }
            Condition::Custom(_) | Condition::All(_) | Condition::Any(_) | Condition::Not(_) => return None,
            flagged => {
                let yes = |attribute| self.test(&attribute, true, |_| ClassSet::one(1));
                return Some(flags(flagged).map(yes).collect());
            }
        };
        Some(vec![test])
    }

    /// The test that a rule's time has come and not gone; `None` when it always has.
    pub(crate) fn validity(&self, validity: Validity) -> Option<Test> {
        let test = || self.test(&Attribute::Validity(validity), true, |_| ClassSet::one(1));
        (validity != Validity::ALWAYS).then(test)
    }

    fn patterns(&self, attribute: &Attribute, patterns: &[TextPattern]) -> Test {
        let exact = !patterns.iter().any(TextPattern::runs_regex);
        let spans =
            |classes: &Classes| ClassSet::of(patterns.iter().map(|pattern| classes.of_span(pattern.span())));
        self.test(attribute, exact, spans)
    }

    fn bounds(&self, attribute: &Attribute, bounds: Bounds) -> Test {
        let end = u128::from(bounds.max) + 1;
        self.test(attribute, true, |classes| classes.of_numbers(bounds.min.into(), Some(end)))
    }

    fn test(&self, attribute: &Attribute, exact: bool, classes: impl FnOnce(&Classes) -> ClassSet) -> Test {
        let place = self.places[attribute];
        Test { attribute: place, classes: classes(self.classes(place)), exact }
    }
}

/// The attributes of a condition that asks whether one of several things is so; the priority and streaming themselves.
fn flags(condition: &Condition) -> impl Iterator<Item = Attribute> {
    let attributes: Vec<_> = match condition {
        Condition::Priority(_) => vec![Attribute::Priority],
        Condition::Streaming(_) => vec![Attribute::Streaming],
        Condition::Tag(names) => names.iter().cloned().map(Attribute::Tag).collect(),
        Condition::Feature(names) => names.iter().cloned().map(Attribute::Feature).collect(),
        Condition::Capability(names) => names.iter().copied().map(Attribute::Capability).collect(),
        Condition::Time(windows) => {
            windows.iter().filter(|window| !window.is_never()).cloned().map(Attribute::Window).collect()
        }
        _ => Vec::new(),
    };
    attributes.into_iter()
}

fn sample_attribute(sample: &Sample) -> Attribute {
    let salt = sample.salt.clone().unwrap_or_else(|| Arc::from(""));
    Attribute::Sample(sample.by.clone(), salt)
}

/// The hash that a model of this name brings along; `None` when no model can have the name.
fn hash_as_model(name: &str) -> Option<u64> {
    ModelName::new(name).ok().map(|model| model.hash_value())
}
