//! What rules add to a decision for the caller.

use core::fmt;

use crate::{ModelName, ProviderId, RuleId, Tag};

/// What rules that only annotate, and the one that decided, added to a decision.
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

    /// Adds those of another rule.
    pub fn extend(&mut self, other: &Self) {
        add_new(&mut self.rules, &other.rules);
        add_new(&mut self.tags, &other.tags);
        add_new(&mut self.mirrors, &other.mirrors);
    }
}

fn add_new<T: Clone + PartialEq>(known: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !known.contains(item) {
            known.push(item.clone());
        }
    }
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
