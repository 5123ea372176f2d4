//! Clients' keys: what is kept of them, and whose they are.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use waypost::core::{ModelName, NanoUsd, OrganizationId, TenantId, UserId};

/// What hashes of keys begin with: the way in which they are made.
const SCHEME: &str = "wp1$";
/// Digits of the short form of a hash.
const SHORT: usize = 16;
/// The longest key that is looked at.
const MAX_KEY: usize = 256;

/// A keyed hash of a key: HMAC-SHA-256.
type Digest = [u8; 32];

/// Whose a key is, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// What it is known by.
    pub(crate) key: Option<Arc<str>>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) user: Option<UserId>,
    pub(crate) organization: Option<OrganizationId>,
    /// The only models that the key is for.
    pub(crate) allow: Option<Arc<[ModelName]>>,
    /// The most that one request may cost.
    pub(crate) max_cost: Option<NanoUsd>,
}

impl Caller {
    /// Whoever sends no key, where none is asked for.
    pub(crate) const ANONYMOUS: Self =
        Self { key: None, tenant: None, user: None, organization: None, allow: None, max_cost: None };

    /// Whether the key is for a model.
    pub(crate) fn may_use(&self, model: &ModelName) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.contains(model))
    }
}

/// Whether a name is the pattern, or begins as one does that ends with `*`.
pub(crate) fn matches_name(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// The keys that are known, by their hashes.
#[derive(Default)]
pub(crate) struct KeyRing {
    secret: Vec<u8>,
    callers: HashMap<Digest, Arc<Caller>>,
}

impl KeyRing {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self { secret: secret.to_vec(), callers: HashMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    /// Adds a key by its hash; `false` when it is there already.
    pub(crate) fn add(&mut self, hash: &KeyHash, caller: Caller) -> bool {
        self.callers.insert(hash.0, Arc::new(caller)).is_none()
    }

    /// Whose a key is. The time that this takes tells nothing of the keys that are known: what is looked up is a keyed
    /// hash, and it is compared as a whole.
    pub(crate) fn find(&self, key: &[u8]) -> Option<&Arc<Caller>> {
        let digest = KeyHash::of(key.get(..MAX_KEY).unwrap_or(key), &self.secret).0;
        let (known, caller) = self.callers.get_key_value(&digest)?;
        (bool::from(known.ct_eq(&digest)) && key.len() <= MAX_KEY).then_some(caller)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.callers.len()).finish_non_exhaustive()
    }
}

/// The hash of a key, as configuration has it: `wp1$` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash(Digest);

impl KeyHash {
    /// Hashes a key with the gateway's secret.
    pub(crate) fn of(key: &[u8], secret: &[u8]) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes secrets of any length");
        mac.update(key);
        Self(mac.finalize().into_bytes().into())
    }

    /// Its first sixteen digits: enough to tell keys apart that are known, and a name that can be told.
    pub(crate) fn short(self) -> Arc<str> {
        self.to_string()[SCHEME.len()..][..SHORT].into()
    }

    /// Reads one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(SCHEME).filter(|digits| digits.len() == 64 && digits.is_ascii())?;
        let mut digest = Digest::default();
        for (place, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[place * 2..place * 2 + 2], 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A key that was made for a client, and its hash for the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// For the client. It has 244 random bits, and nobody keeps it.
    pub key: String,
    /// For the configuration.
    pub hash: String,
}

impl NewKey {
    /// Makes one. `secret` is the gateway's `key_secret`, empty if it has none.
    pub fn make(secret: &[u8]) -> Self {
        let key = format!("wp-{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let hash = KeyHash::of(key.as_bytes(), secret).to_string();
        Self { key, hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x04_only_the_very_key_is_found() {
        let (NewKey { key, hash }, caller) = (NewKey::make(b"secret"), Caller::ANONYMOUS);
        let hash = KeyHash::parse(&hash).unwrap();
        let mut ring = KeyRing::new(b"secret");
        assert!(ring.add(&KeyHash::parse(&hash.to_string()).unwrap(), caller.clone()));
        assert!(!ring.add(&hash, caller), "twice");
        assert!(ring.find(key.as_bytes()).is_some());
        let wrong = [
            &key[1..],
            &key[..10],
            "",
            &hash.to_string(),
            &key.to_uppercase(),
            &format!("{key} "),
            &"k".repeat(1 << 20),
        ];
        assert!(wrong.iter().all(|wrong| ring.find(wrong.as_bytes()).is_none()));
        let mut other = KeyRing::new(b"other");
        other.add(&hash, Caller::ANONYMOUS);
        assert!(other.find(key.as_bytes()).is_none(), "hashes are good for one secret");
    }

    /// A key that is right but for its end takes as long as any other. Welch's t over a million looks at each, in random
    /// order, without the slowest tenth; below 4.5 nobody can tell them apart (Reparaz, Balasch and Verbauwhede, "Dude, is
    /// my code constant time?", 2017).
    #[test]
    #[ignore = "measures time: run it alone, with --release"]
    #[expect(clippy::disallowed_methods, reason = "it measures time")]
    fn x04_time_tells_nothing_of_known_keys() {
        let NewKey { key, hash } = NewKey::make(b"secret");
        let mut ring = KeyRing::new(b"secret");
        ring.add(&KeyHash::parse(&hash).unwrap(), Caller::ANONYMOUS);
        let seeds = waypost::core::SeedSequence::new(4);
        let (mut draws, mut asked, mut taken) = (seeds.generator(), vec![0; key.len()], Vec::new());
        for _ in 0..2_000_000 {
            // Both are made each time, in one place, so that they differ in nothing but what they are.
            let mut keys = [key.clone().into_bytes(), vec![b'0'; key.len()]];
            keys[1].iter_mut().for_each(|digit| *digit = b'a' + draws.below(26) as u8);
            keys[0][key.len() - 4..].iter_mut().for_each(|digit| *digit = b'z' - draws.below(9) as u8);
            let class = draws.below(2);
            asked.copy_from_slice(&keys[class]);
            let start = std::time::Instant::now();
            assert!(std::hint::black_box(ring.find(std::hint::black_box(&asked))).is_none());
            taken.push((class, start.elapsed().as_nanos() as f64));
        }
        let of = |class| {
            taken.iter().filter(move |(of, _)| *of == class).map(|(_, time)| *time).collect::<Vec<_>>()
        };
        let [(mean, error), (other, other_error)] = [of(0), of(1)].map(|mut taken| {
            taken.sort_unstable_by(f64::total_cmp);
            taken.truncate(taken.len() * 9 / 10);
            let count = taken.len() as f64;
            let mean = taken.iter().sum::<f64>() / count;
            let variance = taken.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
            (mean, variance / count)
        });
        let t = (mean - other) / (error + other_error).sqrt();
        assert!(t.abs() < 4.5, "t = {t:.2}: {mean:.1} and {other:.1} ns");
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let hash = KeyHash::of(b"key", b"").to_string();
        assert!(KeyHash::parse(&hash).is_some());
        for wrong in
            ["", "wp1$", &hash[1..], &hash[..67], &hash.replace("wp1", "wp2"), &format!("{hash}0"), "wp1$ü"]
        {
            assert!(KeyHash::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn patterns_of_models() {
        assert!(matches_name("claude-*", "claude-3") && matches_name("*", "") && matches_name("a", "a"));
        assert!(!matches_name("claude-*", "gpt") && !matches_name("a", "ab"));
    }
}
