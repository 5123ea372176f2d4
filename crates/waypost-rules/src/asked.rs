//! What a simple condition asks of which attribute.

use std::sync::Arc;

use crate::attribute::Attribute;
use crate::class_set::ClassSet;
use crate::{Bounds, Condition, Names, Network, Sample, TextPattern};

/// One attribute, and the values that meet a condition.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) attribute: Attribute,
    pub(crate) values: Values<'a>,
}

/// Values of an attribute.
#[derive(Debug)]
pub(crate) enum Values<'a> {
    /// These names, with the hashes that they bring along.
    Names(Vec<(&'a str, u64)>),
    /// The texts that one of the patterns matches.
    Patterns(&'a [TextPattern]),
    /// The numbers from the first to before the second, to the end without a second; several such stretches.
    Numbers(Vec<(u128, Option<u128>)>),
    /// These classes, of an attribute whose classes are the same for all rules.
    Classes(ClassSet),
}

impl Asked<'_> {
    /// Asks that something is so.
    pub(crate) fn yes(attribute: Attribute) -> Self {
        Self { attribute, values: Values::Classes(ClassSet::one(1)) }
    }
}

/// What a condition asks: one of these must be so. `None` for conditions that are composed, and for those of the user's
/// own, which ask nobody knows what.
pub(crate) fn asked(condition: &Condition) -> Option<Vec<Asked<'_>>> {
    macro_rules! names {
        ($attribute:expr, $names:expr) => {{
            let names = $names.iter().map(|name| (name.as_str(), name.hash_value()));
            ($attribute, Values::Names(names.collect()))
        }};
    }
    let (attribute, values) = match condition {
        Condition::All(_) | Condition::Any(_) | Condition::Not(_) | Condition::Custom(_) => return None,
        Condition::Tag(names) => return Some(each(names, Attribute::Tag)),
        Condition::Feature(names) => return Some(each(names, Attribute::Feature)),
        Condition::Capability(names) => return Some(each(names, Attribute::Capability)),
        Condition::Time(windows) => {
            let open = windows.iter().filter(|window| !window.is_never()).cloned();
            return Some(open.map(Attribute::Window).map(Asked::yes).collect());
        }
        Condition::Model(patterns) => (Attribute::Model, Values::Patterns(patterns)),
        Condition::UserAgent(patterns) => (Attribute::UserAgent, Values::Patterns(patterns)),
        Condition::Metadata(key, patterns) => (Attribute::Metadata(key.clone()), Values::Patterns(patterns)),
        Condition::Tenant(names) => names!(Attribute::Tenant, names),
        Condition::User(names) => names!(Attribute::User, names),
        Condition::Organization(names) => names!(Attribute::Organization, names),
        Condition::Region(names) => names!(Attribute::Region, names),
        Condition::Zone(names) => names!(Attribute::Zone, names),
        Condition::PromptTokens(bounds) => (Attribute::PromptTokens, within(*bounds)),
        Condition::Attempt(bounds) => (Attribute::Attempt, within(*bounds)),
        Condition::SourceIp(networks) => (Attribute::SourceIp, addresses(networks)),
        Condition::Sample(sample) => sampled(sample),
        Condition::Priority(priorities) => {
            let levels = priorities.iter().map(|priority| ClassSet::one(priority as u32));
            (Attribute::Priority, Values::Classes(ClassSet::of(levels)))
        }
        Condition::Streaming(stream) => {
            (Attribute::Streaming, Values::Classes(ClassSet::one((*stream).into())))
        }
    };
    Some(vec![Asked { attribute, values }])
}

fn each<T: Ord + Clone>(names: &Names<T>, attribute: impl Fn(T) -> Attribute) -> Vec<Asked<'_>> {
    names.iter().cloned().map(attribute).map(Asked::yes).collect()
}

fn within(bounds: Bounds) -> Values<'static> {
    Values::Numbers(vec![(bounds.min.into(), Some(u128::from(bounds.max) + 1))])
}

fn addresses(networks: &[Network]) -> Values<'static> {
    let numbers = networks.iter().map(Network::numbers);
    Values::Numbers(numbers.map(|numbers| (*numbers.start(), numbers.end().checked_add(1))).collect())
}

fn sampled(sample: &Sample) -> (Attribute, Values<'static>) {
    let salt = sample.salt.clone().unwrap_or_else(|| Arc::from(""));
    (Attribute::Sample(sample.by.clone(), salt), Values::Numbers(vec![(0, Some(sample.end().into()))]))
}
