//! Verdicts that are kept.

use core::hash::BuildHasher;

use arc_swap::ArcSwapOption;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use waypost_core::DecisionContext;

use crate::index::{ClassVector, Index};
use crate::universe::Universe;

/// The longest text in a key, in bytes: a request with a longer one is evaluated each time.
const MAX_TEXT_BYTES: usize = 512;

/// The most entries, whatever is asked for.
const MOST_ENTRIES: usize = 65_536;

/// Verdicts by exactly what the rule set reads: the classes of the attributes that conditions look at, the texts that
/// regular expressions look at, and the stretch of time in which no window opens or closes.
///
/// One version of the rules has one cache, so no entry outlives what it was worked out from. A place holds one entry;
/// the next that falls there replaces it, so memory is bounded. Readers and writers never wait.
#[derive(Debug)]
pub(crate) struct VerdictCache {
    /// A power of two of places.
    places: Box<[ArcSwapOption<Entry>]>,
    hasher: RandomState,
    /// The attributes whose text is in the key, by their places in the universe.
    texts: Box<[usize]>,
    dimensions: usize,
}

/// The texts of a request that regular expressions look at.
type Texts<'a> = SmallVec<[Option<&'a str>; 8]>;

/// What a verdict depends on.
pub(crate) struct Key<'a> {
    hash: u64,
    stretch: u64,
    classes: &'a [u32],
    texts: Texts<'a>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    stretch: u64,
    classes: Box<[u32]>,
    texts: Box<[Option<Box<str>>]>,
    /// The rules that matched, by place; the last decides unless it goes on.
    matched: Box<[u16]>,
}

impl VerdictCache {
    pub(crate) fn new(entries: usize, index: &Index, universe: &Universe) -> Self {
        let places = entries.clamp(1, MOST_ENTRIES).next_power_of_two();
        let open = |&place: &usize| universe.attributes()[place].open;
        Self {
            places: (0..places).map(|_| ArcSwapOption::empty()).collect(),
            hasher: RandomState::default(),
            texts: index.attributes().filter(open).collect(),
            dimensions: index.attributes().count(),
        }
    }

    /// The key of a request; `None` when a text is too long to be kept.
    pub(crate) fn key<'a>(
        &self,
        classes: &'a ClassVector,
        stretch: u64,
        decision: &DecisionContext<'a>,
        universe: &Universe,
    ) -> Option<Key<'a>> {
        let text = |&place: &usize| universe.attributes()[place].attribute.text(decision);
        let texts: Texts<'_> = self.texts.iter().map(text).collect();
        if texts.iter().flatten().any(|text| text.len() > MAX_TEXT_BYTES) {
            return None;
        }
        let classes = &classes[..self.dimensions];
        let hash = self.hasher.hash_one((stretch, classes, &texts[..]));
        Some(Key { hash, stretch, classes, texts })
    }

    /// The rules that matched a request with this key.
    pub(crate) fn get<R>(&self, key: &Key<'_>, read: impl FnOnce(&[u16]) -> R) -> Option<R> {
        let entry = self.place(key).load();
        let entry = entry.as_ref().filter(|entry| entry.is_of(key))?;
        Some(read(&entry.matched))
    }

    pub(crate) fn put(&self, key: &Key<'_>, matched: impl Iterator<Item = u16>) {
        let entry = Entry {
            hash: key.hash,
            stretch: key.stretch,
            classes: key.classes.into(),
            texts: key.texts.iter().map(|text| text.map(Box::from)).collect(),
            matched: matched.collect(),
        };
        self.place(key).store(Some(entry.into()));
    }

    fn place(&self, key: &Key<'_>) -> &ArcSwapOption<Entry> {
        &self.places[key.hash as usize & (self.places.len() - 1)]
    }
}

impl Entry {
    fn is_of(&self, key: &Key<'_>) -> bool {
        self.hash == key.hash
            && self.stretch == key.stretch
            && *self.classes == *key.classes
            && self.texts.iter().map(Option::as_deref).eq(key.texts.iter().copied())
    }
}
