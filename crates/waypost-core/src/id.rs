//! Names as types: validated once, hashed once, cheap to clone.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash, Hasher};
use core::str::FromStr;
use std::sync::Arc;

/// The longest id, in bytes. Longer input is refused, so that no map key, log line or label grows without bound.
pub const MAX_ID_BYTES: usize = 256;

/// Separates our hashes from other users of the process-wide seed; any constant serves.
const HASHER_SEED: u64 = 0x7761_7970_6f73_7431;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty.
    #[error("{kind} must not be empty")]
    Empty {
        /// What the text should have been, such as `model name`.
        kind: &'static str,
    },
    /// The text is longer than [`MAX_ID_BYTES`].
    #[error("{kind} has {bytes} bytes, more than {MAX_ID_BYTES}")]
    TooLong {
        /// What the text should have been.
        kind: &'static str,
        /// How long it was.
        bytes: usize,
    },
    /// The text has a character that this kind of id does not allow.
    #[error("{kind} has the character {character:?} at byte {position}")]
    Character {
        /// What the text should have been.
        kind: &'static str,
        /// The first offending character.
        character: char,
        /// Where it stands, in bytes from the start.
        position: usize,
    },
}

/// A validated text with its hash. Equality looks at the hash first.
#[derive(Clone)]
struct Text {
    hash: u64,
    text: Arc<str>,
}

impl Text {
    fn new(text: &str, kind: &'static str, allowed: fn(char) -> bool) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty { kind });
        }
        if text.len() > MAX_ID_BYTES {
            return Err(IdError::TooLong { kind, bytes: text.len() });
        }
        if let Some((position, character)) = text.char_indices().find(|&(_, c)| !allowed(c)) {
            return Err(IdError::Character { kind, character, position });
        }
        Ok(Self { hash: hash_text(text), text: Arc::from(text) })
    }
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && equal_bytes(self.text.as_bytes(), other.text.as_bytes())
    }
}

/// Compares names of up to 16 bytes, which most are, by two words that may overlap: a call of `memcmp` costs several
/// times as much, and a decision compares a dozen names.
#[inline]
fn equal_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        8..=16 => ends::<8>(a) == ends::<8>(b),
        4..8 => ends::<4>(a) == ends::<4>(b),
        1..4 => ends::<1>(a) == ends::<1>(b) && a[a.len() / 2] == b[b.len() / 2],
        _ => a == b,
    }
}

/// The first and the last `N` bytes.
#[inline]
fn ends<const N: usize>(bytes: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
    Some((bytes.first_chunk()?, bytes.last_chunk()?))
}

/// Hashes with a seed that differs per process: nobody outside can prepare names that collide. No decision depends on
/// a hash, so runs stay reproducible.
pub(crate) fn hash_text(text: &str) -> u64 {
    let seed = foldhash::SharedSeed::global_random();
    foldhash::quality::SeedableRandomState::with_seed(HASHER_SEED, seed).hash_one(text)
}

/// Printable ASCII without spaces: what a configured name may hold. Look-alikes outside ASCII cannot shadow a name.
fn is_ascii_graphic(character: char) -> bool {
    character.is_ascii_graphic()
}

/// Anything but control characters: what callers use to name their users.
fn is_not_control(character: char) -> bool {
    !character.is_control()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $allowed:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq)]
        pub struct $name(Text);

        impl $name {
            /// Takes a text that is not empty, not longer than [`MAX_ID_BYTES`], and has only allowed characters.
            ///
            /// # Errors
            ///
            /// [`IdError`] names the first rule that the text breaks.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                Text::new(text.as_ref(), $kind, $allowed).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0.text
            }

            /// The hash that was taken when the id was made; look-ups use it and never hash again.
            /// It differs from process to process.
            pub fn hash_value(&self) -> u64 {
                self.0.hash
            }
        }

        impl Eq for $name {}

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> core::cmp::Ordering {
                self.as_str().cmp(other.as_str())
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;

            fn try_from(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// Names one provider endpoint under one credential, such as `openai-main`. Printable ASCII.
    ///
    /// ```
    /// use waypost_core::ProviderId;
    ///
    /// let id = ProviderId::new("openai-main")?;
    /// assert_eq!(id, "openai-main");
    /// assert!(ProviderId::new("two words").is_err());
    /// # Ok::<(), waypost_core::IdError>(())
    /// ```
    ProviderId, "provider id", is_ascii_graphic
}
id! {
    /// Names a model or an alias of one, such as `gpt-4o` or `meta-llama/Llama-3-70b`. Printable ASCII.
    ModelName, "model name", is_ascii_graphic
}
id! {
    /// Names a tenant: a customer or team with routing rules of its own. Printable ASCII.
    TenantId, "tenant id", is_ascii_graphic
}
id! {
    /// Names an end user as the caller does. Anything but control characters.
    UserId, "user id", is_not_control
}
id! {
    /// Names an organization as the caller does. Anything but control characters.
    OrganizationId, "organization id", is_not_control
}
id! {
    /// Names a conversation as the caller does. Anything but control characters.
    SessionId, "session id", is_not_control
}
id! {
    /// Names a routing rule. Printable ASCII.
    RuleId, "rule id", is_ascii_graphic
}
id! {
    /// Names a limit on rates, concurrency or money. Printable ASCII.
    LimitId, "limit id", is_ascii_graphic
}
id! {
    /// Names a credential, such as `openai-team-a`; never the secret itself. Printable ASCII.
    CredentialName, "credential name", is_ascii_graphic
}
id! {
    /// Names a region, such as `eu` or `us-east-1`. Printable ASCII; regions are equal only when spelt the same.
    Region, "region", is_ascii_graphic
}
id! {
    /// Names a zone within a region, such as `eu-west-1b`. Printable ASCII.
    Zone, "zone", is_ascii_graphic
}
id! {
    /// A label that a candidate carries and a request may require, such as `zdr` or `canary`. Printable ASCII.
    Tag, "tag", is_ascii_graphic
}
id! {
    /// Names a load balancing strategy that is not one of the built-in ones. Printable ASCII.
    StrategyName, "strategy name", is_ascii_graphic
}
id! {
    /// Names a feature flag of a request. Printable ASCII.
    FeatureName, "feature name", is_ascii_graphic
}
id! {
    /// Names an entry of a request's metadata, such as `department`. Printable ASCII.
    MetadataKey, "metadata key", is_ascii_graphic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_would_confuse_a_reader_or_a_log() {
        for bad in ["", " gpt", "gpt\n", "gpt\u{200b}4", "g\u{440}t-4", "gpt 4", "\0"] {
            assert!(ModelName::new(bad).is_err(), "{bad:?}");
        }
        assert!(ModelName::new("x".repeat(MAX_ID_BYTES + 1)).is_err());
        assert!(ModelName::new("x".repeat(MAX_ID_BYTES)).is_ok());
        assert!(UserId::new("Zoë Müller").is_ok());
        assert!(UserId::new("a\u{7}b").is_err());
    }

    #[test]
    fn comparison_by_words_is_comparison_by_bytes() {
        let text = "abcdefghijklmnopqrstuvwxyz";
        for len in 0..text.len() {
            for changed in 0..len {
                let mut other = text.as_bytes()[..len].to_vec();
                assert!(equal_bytes(&other, &text.as_bytes()[..len]));
                other[changed] ^= 1;
                assert!(!equal_bytes(&other, &text.as_bytes()[..len]), "{len} {changed}");
            }
            assert!(!equal_bytes(&text.as_bytes()[..len], &text.as_bytes()[..=len]));
        }
    }

    #[test]
    fn equal_texts_have_equal_hashes() {
        let (a, b) = (TenantId::new("acme").unwrap(), TenantId::new("acme").unwrap());
        assert_eq!((a.hash_value(), &a), (b.hash_value(), &b));
        assert_ne!(a.hash_value(), TenantId::new("acme2").unwrap().hash_value());
    }
}
