//! The many tags and feature flags of which a request has few.

use std::collections::HashMap;

use hashbrown::HashTable;
use waypost_core::{DecisionContext, FeatureName, Tag};

use crate::attribute::Attribute;
use crate::bit_vectors::{Dense, Sparse};
use crate::class_set::ClassSet;
use crate::product::Product;
use crate::universe::Universe;

/// The most known tags and features of one request that are looked up; a request with more may match any rule.
const MAX_PRESENT: usize = 8;

/// Tags and features by name, each with the rules that ask that a request has it. Where there are more of them than
/// attributes that may have a dimension of their own, this is one dimension for all of them together: a rule is written
/// down under one name that it asks for, and a request may match what is written down under the names that it has.
#[derive(Debug)]
pub(crate) struct Presence {
    /// Rules that ask for none of these names.
    any: Dense,
    asked: Sparse,
    tags: HashTable<(u64, Tag, u32)>,
    features: HashTable<(u64, FeatureName, u32)>,
}

/// The names that a request has, by their places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present {
    places: [u32; MAX_PRESENT],
    count: usize,
    /// It has more, or nobody knows which.
    others: bool,
}

impl Present {
    pub(crate) const NONE: Self = Self { places: [0; MAX_PRESENT], count: 0, others: false };
    pub(crate) const UNKNOWN: Self = Self { others: true, ..Self::NONE };

    fn add(&mut self, place: Option<u32>) {
        let Some(place) = place else { return };
        match self.places.get_mut(self.count) {
            Some(free) => {
                *free = place;
                self.count += 1;
            }
            None => self.others = true,
        }
    }

    fn places(&self) -> &[u32] {
        &self.places[..self.count]
    }
}

impl Presence {
    /// The presence of tags and features that have no dimension; `None` when all have one.
    pub(crate) fn new(products: &[Product], dimensions: &[usize], universe: &Universe) -> Option<Self> {
        let mut places: HashMap<usize, u32> = HashMap::new();
        let mut asked: Vec<Vec<u32>> = Vec::new();
        let mut elsewhere = Vec::new();
        for (rule, product) in products.iter().enumerate() {
            let of_name = |(attribute, classes): &(&usize, &ClassSet)| {
                !dimensions.contains(attribute) && !classes.contains(0) && is_name(**attribute, universe)
            };
            let Some((&attribute, _)) = product.sets.iter().find(of_name) else {
                elsewhere.push(rule);
                continue;
            };
            let next = places.len() as u32;
            let place = *places.entry(attribute).or_insert(next);
            if place == next {
                asked.push(Vec::new());
            }
            asked[place as usize].push(rule as u32);
        }
        let mut presence = Self {
            any: Dense::new(elsewhere.into_iter(), products.len()),
            asked: Sparse::new(asked, products.len()),
            tags: HashTable::new(),
            features: HashTable::new(),
        };
        for (&attribute, &place) in &places {
            presence.name(&universe.attributes()[attribute].attribute, place);
        }
        (!places.is_empty()).then_some(presence)
    }

    fn name(&mut self, attribute: &Attribute, place: u32) {
        match attribute {
            Attribute::Tag(tag) => {
                let entry = (tag.hash_value(), tag.clone(), place);
                self.tags.insert_unique(entry.0, entry, |(hash, ..)| *hash);
            }
            Attribute::Feature(feature) => {
                let entry = (feature.hash_value(), feature.clone(), place);
                self.features.insert_unique(entry.0, entry, |(hash, ..)| *hash);
            }
            _ => {}
        }
    }

    /// The names that a request has.
    pub(crate) fn of(&self, decision: &DecisionContext<'_>) -> Present {
        let mut present = Present::NONE;
        for tag in decision.tags() {
            let known = self.tags.find(tag.hash_value(), |(_, known, _)| known == tag);
            present.add(known.map(|&(_, _, place)| place));
        }
        for (feature, _) in decision.context.features.iter().filter(|(_, on)| *on) {
            let known = self.features.find(feature.hash_value(), |(_, known, _)| known == feature);
            present.add(known.map(|&(_, _, place)| place));
        }
        present
    }

    pub(crate) fn summary(&self, place: usize, present: &Present) -> u64 {
        if present.others {
            return u64::MAX;
        }
        let summaries = self.any.summary.len();
        let asked = present.places().iter().map(|&name| self.asked.summary(place, name, summaries).0);
        asked.fold(self.any.summary[place], |all, one| all | one)
    }

    pub(crate) fn word(&self, place: usize, present: &Present) -> u64 {
        if present.others {
            return u64::MAX;
        }
        let summaries = self.any.summary.len();
        let asked = present.places().iter().map(|&name| self.asked.word(place, name, summaries));
        asked.fold(self.any.words[place], |all, one| all | one)
    }
}

/// Whether an attribute is a name that a request has or not.
fn is_name(attribute: usize, universe: &Universe) -> bool {
    matches!(universe.attributes()[attribute].attribute, Attribute::Tag(_) | Attribute::Feature(_))
}
