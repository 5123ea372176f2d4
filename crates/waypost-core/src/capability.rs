//! What a candidate can do, as a set.

use core::fmt;
use core::ops::BitOr;

use crate::Tokens;

/// Something a request may need and a candidate may offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Capability {
    /// Answers token by token.
    Streaming,
    /// Calls functions or tools.
    FunctionCalling,
    /// Reads images.
    Vision,
    /// Answers in a JSON schema.
    JsonSchema,
    /// Computes embeddings.
    Embeddings,
    /// Thinks before it answers.
    Reasoning,
    /// Hears or speaks.
    Audio,
}

impl Capability {
    /// All capabilities, in declaration order.
    pub const ALL: [Self; 7] = [
        Self::Streaming,
        Self::FunctionCalling,
        Self::Vision,
        Self::JsonSchema,
        Self::Embeddings,
        Self::Reasoning,
        Self::Audio,
    ];

    /// The name in configuration and in explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::FunctionCalling => "function_calling",
            Self::Vision => "vision",
            Self::JsonSchema => "json_schema",
            Self::Embeddings => "embeddings",
            Self::Reasoning => "reasoning",
            Self::Audio => "audio",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of [`Capability`].
///
/// ```
/// use waypost_core::{Capability, CapabilitySet};
///
/// let offered = CapabilitySet::from([Capability::Streaming, Capability::Vision]);
/// assert!(offered.contains_all(Capability::Vision.into()));
/// assert!(!offered.contains_all(Capability::Vision | Capability::Audio));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CapabilitySet(u16);

impl CapabilitySet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// Whether every capability of `needed` is in this set.
    #[inline]
    pub const fn contains_all(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The capabilities in the set, in declaration order.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        let mut bits = self.0;
        core::iter::from_fn(move || {
            let lowest = Capability::ALL.get(bits.trailing_zeros() as usize).copied()?;
            bits &= bits - 1;
            Some(lowest)
        })
    }
}

impl From<Capability> for CapabilitySet {
    fn from(capability: Capability) -> Self {
        Self(1 << capability as u16)
    }
}

impl<const N: usize> From<[Capability; N]> for CapabilitySet {
    fn from(capabilities: [Capability; N]) -> Self {
        capabilities.into_iter().collect()
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> Self {
        iter.into_iter().fold(Self::EMPTY, |set, c| set | c.into())
    }
}

impl BitOr for CapabilitySet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Capability {
    type Output = CapabilitySet;

    fn bitor(self, other: Self) -> CapabilitySet {
        CapabilitySet::from(self) | other.into()
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What one candidate offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderCapabilities {
    /// The features. Default: streaming and function calling.
    pub features: CapabilitySet,
    /// The most tokens that prompt and answer may have together. Default: [`Tokens::MAX`], no limit known.
    pub context_window: Tokens,
    /// The most tokens of one answer. Default: [`Tokens::MAX`], no limit known.
    pub max_output_tokens: Tokens,
}

impl Default for ProviderCapabilities {
    fn default() -> Self {
        Self {
            features: Capability::Streaming | Capability::FunctionCalling,
            context_window: Tokens::MAX,
            max_output_tokens: Tokens::MAX,
        }
    }
}
