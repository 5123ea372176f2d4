//! What of a request rules look at, and how its values fall into classes.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashTable;
use waypost_core::{Capability, DecisionContext, FeatureName, MetadataKey, Tag};

use crate::class_set::ClassSet;
use crate::pattern::Span;
use crate::{SampleKey, TimeWindow, Validity, network, sample};

/// Something about a request that conditions look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Attribute {
    Model,
    Tenant,
    User,
    Organization,
    Region,
    Zone,
    Priority,
    Streaming,
    PromptTokens,
    Attempt,
    SourceIp,
    UserAgent,
    Capability(Capability),
    Tag(Tag),
    Feature(FeatureName),
    Metadata(MetadataKey),
    Sample(SampleKey, Arc<str>),
    /// Whether a window of wall time is open.
    Window(TimeWindow),
    /// Whether a rule's time has come and not gone.
    Validity(Validity),
}

impl Attribute {
    /// Whether it changes with the wall time alone.
    pub(crate) const fn is_of_time(&self) -> bool {
        matches!(self, Self::Window(_) | Self::Validity(_))
    }

    /// The text that patterns are matched with.
    pub(crate) fn text<'a>(&self, decision: &DecisionContext<'a>) -> Option<&'a str> {
        match self {
            Self::Model => Some(decision.model().as_str()),
            Self::UserAgent => decision.context.user_agent.as_deref(),
            Self::Metadata(key) => decision.context.metadata(key).map(|value| &**value),
            _ => None,
        }
    }
}

/// The classes of an attribute's values: no condition of the rule set tells values of one class apart, but regular
/// expressions.
#[derive(Debug)]
pub(crate) enum Classes {
    /// 0: no, 1: yes.
    Flag,
    /// The four priorities.
    Levels,
    /// 0: missing, or none of those that are named.
    Names(NameClasses),
    /// 0: missing; then the stretches of sorted texts between bounds.
    Texts { bounds: Box<[Box<[u8]>]>, names: NameClasses },
    /// 0: missing; then the stretches of numbers between bounds.
    Numbers(Box<[u128]>),
}

/// A class per name, found by a hash that the name brings along.
#[derive(Debug, Default)]
pub(crate) struct NameClasses {
    names: Box<[Box<str>]>,
    table: HashTable<Named>,
}

#[derive(Debug)]
struct Named {
    hash: u64,
    name: u32,
    class: u32,
}

/// What the conditions of a rule set say about one attribute: every value that begins or ends a class.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// Names with their hashes, and the texts of patterns that are compared exactly.
    names: BTreeSet<(Box<str>, Option<u64>)>,
    prefixes: BTreeSet<Box<str>>,
    bounds: BTreeSet<u128>,
    /// Whether patterns are among them.
    patterned: bool,
}

impl Demand {
    pub(crate) fn name(&mut self, name: &str, hash: u64) {
        self.names.insert((name.into(), Some(hash)));
    }

    pub(crate) fn span(&mut self, span: Span<'_>, hash: impl Fn(&str) -> Option<u64>) {
        match span {
            Span::Point(text) => {
                self.names.insert((text.into(), hash(text)));
            }
            Span::Prefix(prefix) | Span::Within(prefix) => {
                self.patterned = true;
                self.prefixes.insert(prefix.into());
            }
        }
    }

    /// Numbers from the first to before the second; to the end without a second.
    pub(crate) fn numbers(&mut self, from: u128, end: Option<u128>) {
        self.bounds.insert(from);
        self.bounds.extend(end);
    }

    pub(crate) fn into_classes(self, attribute: &Attribute) -> Classes {
        match attribute {
            Attribute::Capability(_)
            | Attribute::Tag(_)
            | Attribute::Feature(_)
            | Attribute::Streaming
            | Attribute::Window(_)
            | Attribute::Validity(_) => Classes::Flag,
            Attribute::Priority => Classes::Levels,
            Attribute::PromptTokens | Attribute::Attempt | Attribute::SourceIp | Attribute::Sample(..) => {
                Classes::Numbers(self.bounds.into_iter().collect())
            }
            Attribute::Model if !self.patterned => Classes::Names(NameClasses::new(self.names, |n| n + 1)),
            Attribute::Model | Attribute::UserAgent | Attribute::Metadata(_) => self.into_texts(),
            _ => Classes::Names(NameClasses::new(self.names, |n| n + 1)),
        }
    }

    fn into_texts(self) -> Classes {
        let mut bounds: BTreeSet<Box<[u8]>> = BTreeSet::new();
        for (name, _) in &self.names {
            bounds.insert(name.as_bytes().into());
            bounds.insert(after_text(name));
        }
        for prefix in &self.prefixes {
            bounds.insert(prefix.as_bytes().into());
            bounds.extend(after_prefix(prefix));
        }
        let bounds: Box<[Box<[u8]>]> = bounds.into_iter().collect();
        let sorted: Vec<_> = self.names.iter().map(|(name, _)| stretch(&bounds, name.as_bytes())).collect();
        let names = NameClasses::new(self.names, |n| sorted[n as usize]);
        Classes::Texts { bounds, names }
    }
}

/// The least text after one text.
fn after_text(text: &str) -> Box<[u8]> {
    text.bytes().chain([0]).collect()
}

/// The least text after all with a prefix; `None` when there is none.
fn after_prefix(prefix: &str) -> Option<Box<[u8]>> {
    let mut end = prefix.as_bytes().to_vec();
    // UTF-8 has no byte 255, so the last byte can always be raised.
    *end.last_mut()? += 1;
    Some(end.into())
}

fn stretch(bounds: &[Box<[u8]>], text: &[u8]) -> u32 {
    bounds.partition_point(|bound| **bound <= *text) as u32 + 1
}

impl NameClasses {
    /// Classes for sorted names; of a name without a hash no request has one.
    fn new(names: BTreeSet<(Box<str>, Option<u64>)>, class: impl Fn(u32) -> u32) -> Self {
        let mut table = HashTable::with_capacity(names.len());
        for (n, (_, hash)) in (0..).zip(&names) {
            if let &Some(hash) = hash {
                table.insert_unique(hash, Named { hash, name: n, class: class(n) }, |named| named.hash);
            }
        }
        Self { names: names.into_iter().map(|(name, _)| name).collect(), table }
    }

    #[inline]
    fn class(&self, hash: u64, name: &str) -> Option<u32> {
        let is_meant = |named: &Named| named.hash == hash && *self.names[named.name as usize] == *name;
        self.table.find(hash, is_meant).map(|named| named.class)
    }
}

impl Classes {
    /// How many classes there are.
    pub(crate) fn len(&self) -> u32 {
        let len = match self {
            Self::Flag => 2,
            Self::Levels => 4,
            Self::Names(names) => names.names.len() + 1,
            Self::Texts { bounds, .. } => bounds.len() + 2,
            Self::Numbers(bounds) => bounds.len() + 2,
        };
        len as u32
    }

    /// The class of a name that brings its hash along.
    #[inline]
    pub(crate) fn of_name(&self, name: Option<(u64, &str)>) -> u32 {
        let Some((hash, text)) = name else { return 0 };
        match self {
            Self::Names(names) => names.class(hash, text).unwrap_or(0),
            Self::Texts { bounds, names } => {
                names.class(hash, text).unwrap_or_else(|| stretch(bounds, text.as_bytes()))
            }
            _ => 0,
        }
    }

    /// The class of a text.
    #[inline]
    pub(crate) fn of_text(&self, text: Option<&str>) -> u32 {
        match (self, text) {
            (Self::Texts { bounds, .. }, Some(text)) => stretch(bounds, text.as_bytes()),
            _ => 0,
        }
    }

    /// The class of a number.
    #[inline]
    pub(crate) fn of_number(&self, number: Option<u128>) -> u32 {
        match (self, number) {
            (Self::Numbers(bounds), Some(number)) => {
                bounds.partition_point(|&bound| bound <= number) as u32 + 1
            }
            _ => 0,
        }
    }

    /// The classes of a name among those that are named.
    pub(crate) fn of_known_name(&self, name: &str) -> ClassSet {
        match self {
            Self::Names(names) => {
                let place = names.names.binary_search_by(|known| (**known).cmp(name));
                place.map_or_else(|_| ClassSet::range(0, 0), |place| ClassSet::one(place as u32 + 1))
            }
            _ => ClassSet::one(self.of_text(Some(name))),
        }
    }

    /// The classes that a pattern may match.
    pub(crate) fn of_span(&self, span: Span<'_>) -> ClassSet {
        match (span, self) {
            (Span::Point(text), _) => self.of_known_name(text),
            (Span::Prefix(prefix) | Span::Within(prefix), Self::Texts { bounds, .. }) => {
                let end = after_prefix(prefix).map_or(self.len(), |end| stretch(bounds, &end));
                ClassSet::range(stretch(bounds, prefix.as_bytes()), end)
            }
            _ => ClassSet::range(1, self.len()),
        }
    }

    /// The classes of the numbers from the first to before the second.
    pub(crate) fn of_numbers(&self, from: u128, end: Option<u128>) -> ClassSet {
        let end = end.map_or(self.len(), |end| self.of_number(Some(end)));
        ClassSet::range(self.of_number(Some(from)), end)
    }
}

/// An attribute with its classes.
#[derive(Debug)]
pub(crate) struct Classified {
    pub(crate) attribute: Attribute,
    pub(crate) classes: Classes,
    /// Whether regular expressions tell values of one class apart.
    pub(crate) open: bool,
}

impl Classified {
    /// The class that a request falls into. Time is not asked here.
    pub(crate) fn class(&self, decision: &DecisionContext<'_>) -> u32 {
        let (context, classes) = (decision.context, &self.classes);
        macro_rules! name {
            ($name:expr) => {
                classes.of_name($name.map(|name| (name.hash_value(), name.as_str())))
            };
        }
        match &self.attribute {
            Attribute::Model => name!(Some(decision.model())),
            Attribute::Tenant => name!(decision.tenant_id()),
            Attribute::User => name!(decision.user_id()),
            Attribute::Organization => name!(context.organization_id.as_ref()),
            Attribute::Region => name!(context.region.as_ref()),
            Attribute::Zone => name!(context.zone.as_ref()),
            Attribute::Priority => decision.priority() as u32,
            Attribute::Streaming => decision.request.stream.into(),
            Attribute::PromptTokens => classes.of_number(Some(decision.usage.prompt.0.into())),
            Attribute::Attempt => classes.of_number(Some(context.attempt_number.into())),
            Attribute::SourceIp => classes.of_number(context.source_ip.map(network::number)),
            Attribute::UserAgent | Attribute::Metadata(_) => classes.of_text(self.attribute.text(decision)),
            Attribute::Capability(capability) => {
                decision.needed_capabilities().contains_all((*capability).into()).into()
            }
            Attribute::Tag(tag) => decision.has_tag(tag).into(),
            Attribute::Feature(name) => context.feature(name.as_str()).into(),
            Attribute::Sample(by, salt) => {
                classes.of_number(sample::place(by, salt, decision).map(u128::from))
            }
            Attribute::Window(_) | Attribute::Validity(_) => 0,
        }
    }
}
