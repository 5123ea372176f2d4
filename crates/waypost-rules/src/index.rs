//! Finds the rules that a request may match.

use waypost_core::DecisionContext;

use crate::bit_vectors::{Dense, Sparse};
use crate::presence::{Presence, Present};
use crate::product::Product;
use crate::universe::Universe;

/// The most attributes that are indexed; those that most rules look at. What rules ask of others is asked of the
/// request directly.
pub(crate) const MAX_DIMENSIONS: usize = 32;

/// Places in the index per rule and attribute, on average: a rule that asks for most of ten thousand classes is not
/// written down in each of them, but asked directly. Keeps memory linear in the number of rules.
const PLACES_PER_RULE: usize = 24;

/// The class of a request in each indexed attribute.
pub(crate) type ClassVector = [u32; MAX_DIMENSIONS];

/// Where a request is, as far as the index tells requests apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) classes: ClassVector,
    pub(crate) present: Present,
}

/// Bit vectors over the rules in order, one per class of each attribute, and one for the rules that do not look at the
/// attribute: the rules that a request may match are the AND of its vectors, the first bit is the first rule (bit-vector
/// scheme of packet classification, Lakshman and Stiliadis 1998). A summary with a bit per word says which words are
/// worth reading (aggregated bit vectors, Baboescu and Varghese 2001), and of a class's vector only the words that are
/// not zero are kept.
#[derive(Debug)]
pub(crate) struct Index {
    words: usize,
    /// Rules that some request may match.
    possible: Dense,
    dimensions: Box<[Dimension]>,
    /// Tags and features beyond the attributes that have a dimension.
    presence: Option<Presence>,
}

/// One attribute.
#[derive(Debug)]
struct Dimension {
    /// The attribute's place in the universe.
    attribute: usize,
    /// Rules that may match whatever the class is.
    any: Dense,
    /// Rules per class besides.
    classes: Sparse,
}

impl Index {
    /// An index of products in order, and which of them it does not tell the whole truth about.
    pub(crate) fn new(products: &[Product], universe: &Universe) -> (Self, Vec<bool>) {
        let words = products.len().div_ceil(64);
        let mut unsure: Vec<bool> = products.iter().map(|product| !product.exact).collect();
        let attributes = indexed_attributes(products, universe);
        for (product, unsure) in products.iter().zip(&mut unsure) {
            let of_time = |attribute: usize| universe.attributes()[attribute].attribute.is_of_time();
            *unsure |= product.sets.keys().any(|place| !attributes.contains(place) && !of_time(*place));
        }
        let dimension = |attribute: &usize| Dimension::new(*attribute, products, universe, &mut unsure);
        let dimensions = attributes.iter().map(dimension).collect();
        let possible = (0..products.len()).filter(|&rule| !products[rule].is_never());
        let possible = Dense::new(possible, products.len());
        let presence = Presence::new(products, &attributes, universe);
        (Self { words, possible, dimensions, presence }, unsure)
    }

    /// Whether every attribute that rules look at, but time, is indexed.
    pub(crate) fn is_complete(&self, universe: &Universe) -> bool {
        let timeless = universe.attributes().iter().filter(|classified| !classified.attribute.is_of_time());
        timeless.count() == self.dimensions.len()
    }

    /// The attributes that are indexed, by their places in the universe.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = usize> {
        self.dimensions.iter().map(|dimension| dimension.attribute)
    }

    /// Where a request is.
    pub(crate) fn locate(&self, decision: &DecisionContext<'_>, universe: &Universe) -> Point {
        let mut classes = [0; MAX_DIMENSIONS];
        for (class, dimension) in classes.iter_mut().zip(&self.dimensions) {
            *class = universe.attributes()[dimension.attribute].class(decision);
        }
        let present = self.presence.as_ref().map_or(Present::NONE, |presence| presence.of(decision));
        Point { classes, present }
    }

    /// Looks for rules that requests at a point may match, in order. `timely` has the rules whose time it is.
    pub(crate) fn search<'a>(&'a self, point: &Point, timely: Option<&'a [u64]>) -> Search<'a> {
        Search::new(self, *point, timely)
    }

    fn summary(&self, place: usize, point: &Point) -> u64 {
        let mut summary = self.possible.summary.get(place).copied().unwrap_or(0);
        if let Some(presence) = self.presence.as_ref().filter(|_| summary != 0) {
            summary &= presence.summary(place, &point.present);
        }
        for (dimension, &class) in self.dimensions.iter().zip(&point.classes) {
            summary &= dimension.summary(place, class);
            if summary == 0 {
                break;
            }
        }
        summary
    }

    fn word(&self, place: usize, point: &Point) -> u64 {
        let mut word = self.possible.words[place];
        if let Some(presence) = &self.presence {
            word &= presence.word(place, &point.present);
        }
        for (dimension, &class) in self.dimensions.iter().zip(&point.classes) {
            word &= dimension.word(place, class);
            if word == 0 {
                break;
            }
        }
        word
    }
}

/// The attributes that most rules look at, the most asked first: their vectors are the emptiest.
fn indexed_attributes(products: &[Product], universe: &Universe) -> Vec<usize> {
    let mut asked = vec![0_usize; universe.attributes().len()];
    products.iter().flat_map(|product| product.sets.keys()).for_each(|&attribute| asked[attribute] += 1);
    let timeless = |place: &usize| !universe.attributes()[*place].attribute.is_of_time();
    let mut attributes: Vec<_> = (0..asked.len()).filter(timeless).collect();
    attributes.sort_by_key(|&place| core::cmp::Reverse(asked[place]));
    attributes.truncate(MAX_DIMENSIONS);
    attributes
}

impl Dimension {
    fn new(attribute: usize, products: &[Product], universe: &Universe, unsure: &mut [bool]) -> Self {
        let mut asking: Vec<_> = (0..products.len())
            .filter_map(|rule| Some((rule, products[rule].sets.get(&attribute)?)))
            .collect();
        asking.sort_by_key(|(_, set)| set.len());
        let mut left = products.len() * PLACES_PER_RULE;
        let mut written = vec![false; products.len()];
        let mut per_class: Vec<Vec<u32>> = vec![Vec::new(); universe.classes(attribute).len() as usize];
        for &(rule, set) in &asking {
            if set.len() > left.max(1) {
                break;
            }
            left = left.saturating_sub(set.len());
            written[rule] = true;
            set.iter().for_each(|class| per_class[class as usize].push(rule as u32));
        }
        asking.iter().filter(|(rule, _)| !written[*rule]).for_each(|&(rule, _)| unsure[rule] = true);
        let any = (0..products.len()).filter(|&rule| !written[rule]);
        Self {
            attribute,
            any: Dense::new(any, products.len()),
            classes: Sparse::new(per_class, products.len()),
        }
    }

    #[inline]
    fn summary(&self, place: usize, class: u32) -> u64 {
        self.any.summary[place] | self.classes.summary(place, class, self.any.summary.len()).0
    }

    #[inline]
    fn word(&self, place: usize, class: u32) -> u64 {
        self.any.words[place] | self.classes.word(place, class, self.any.summary.len())
    }
}

/// The rules that a request may match, in order.
pub(crate) struct Search<'a> {
    index: &'a Index,
    point: Point,
    timely: Option<&'a [u64]>,
    summary_place: usize,
    summary: u64,
    word_place: usize,
    word: u64,
}

impl<'a> Search<'a> {
    fn new(index: &'a Index, point: Point, timely: Option<&'a [u64]>) -> Self {
        let summary = index.summary(0, &point);
        Self { index, point, timely, summary_place: 0, summary, word_place: 0, word: 0 }
    }

    /// Goes on after a rule at another point: the rule changed the request.
    pub(crate) fn resume_after(&mut self, rule: usize, point: &Point) {
        self.point = *point;
        self.word_place = rule / 64;
        self.summary_place = self.word_place / 64;
        self.summary = self.index.summary(self.summary_place, point) & above(self.word_place % 64);
        self.word = self.read_word() & above(rule % 64);
    }

    fn read_word(&self) -> u64 {
        let timely = self.timely.map_or(u64::MAX, |timely| timely[self.word_place]);
        if timely == 0 { 0 } else { timely & self.index.word(self.word_place, &self.point) }
    }
}

/// The bits above one.
const fn above(bit: usize) -> u64 {
    (u64::MAX << bit) << 1
}

impl Iterator for Search<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.word == 0 {
            while self.summary == 0 {
                self.summary_place += 1;
                if self.summary_place * 64 >= self.index.words {
                    return None;
                }
                self.summary = self.index.summary(self.summary_place, &self.point);
            }
            self.word_place = self.summary_place * 64 + self.summary.trailing_zeros() as usize;
            self.summary &= self.summary - 1;
            self.word = self.read_word();
        }
        let bit = self.word.trailing_zeros() as usize;
        self.word &= self.word - 1;
        Some(self.word_place * 64 + bit)
    }
}
