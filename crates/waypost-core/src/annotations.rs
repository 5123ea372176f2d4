//! What rules add to a decision for the caller.

use core::fmt;
use core::hash::Hash;
use std::collections::HashSet;

use crate::{ModelName, ProviderId, RuleId, Tag};

/// What rules that only annotate, and the one that decided, added to a decision.
///
/// ```
/// use waypost_core::Annotations;
///
/// let (mut one, mut other) = (Annotations::default(), Annotations::default());
/// one.tags.push("batch".parse()?);
/// other.tags.extend(["batch".parse()?, "eu".parse()?]);
/// assert_eq!(Annotations::merged([&one, &other].into_iter()).tags.len(), 2);
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Annotations {
    /// The rules that matched and let the search for a deciding rule go on, in order.
    pub rules: Vec<RuleId>,
    /// The tags that rules added, in order, each once.
    pub tags: Vec<Tag>,
    /// Where the caller should send a copy of the request, in order, each once.
    pub mirrors: Vec<MirrorTarget>,
}

impl Annotations {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those of several rules in order, each tag and mirror once. Linear in all of them.
    pub fn merged<'a>(each: impl Iterator<Item = &'a Self> + Clone) -> Self {
        Self {
            rules: distinct(each.clone().flat_map(|annotations| &annotations.rules)),
            tags: distinct(each.clone().flat_map(|annotations| &annotations.tags)),
            mirrors: distinct(each.flat_map(|annotations| &annotations.mirrors)),
        }
    }
}

/// Items up to which looking at each is quicker than a set.
const FEW: usize = 32;

fn distinct<'a, T: Clone + Eq + Hash + 'a>(items: impl Iterator<Item = &'a T> + Clone) -> Vec<T> {
    if items.clone().nth(FEW).is_some() {
        let mut seen = HashSet::new();
        return items.filter(|item| seen.insert(*item)).cloned().collect();
    }
    items.fold(Vec::new(), |mut known, item| {
        if !known.contains(item) {
            known.push(item.clone());
        }
        known
    })
}

/// Where the caller should send a copy of a request whose answer nobody waits for: a shadow. Displays like
/// `vllm-shadow/llama-4`, or `vllm-shadow` when the model is the request's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MirrorTarget {
    /// The provider.
    pub provider: ProviderId,
    /// The model to ask for there; `None` for the request's own.
    pub model: Option<ModelName>,
}

impl fmt::Display for MirrorTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.model {
            Some(model) => write!(f, "{}/{model}", self.provider),
            None => self.provider.fmt(f),
        }
    }
}
