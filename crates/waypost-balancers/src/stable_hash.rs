//! Hashes that are the same in every process, version and machine: gateways that share a pool must agree on them.

use twox_hash::XxHash3_64;

/// The hash of some bytes (XXH3, 64 bits, as specified by the xxHash project).
#[inline]
pub(crate) fn hash(bytes: &[u8], seed: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

/// The hash of two hashes: a bijection of each for a fixed other (splitmix64's finaliser, Steele, Lea and Flood 2014).
#[inline]
pub(crate) const fn mix(a: u64, b: u64) -> u64 {
    let mut word = a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors() {
        // The specification's value of the empty input; the others were taken once and must never change.
        assert_eq!(hash(b"", 0), 0x2d06_8005_38d3_94c2);
        assert_eq!(hash(b"user-1", 0), hash(b"user-1", 0));
        assert_ne!(hash(b"user-1", 0), hash(b"user-1", 1));
        assert_eq!(mix(0, 0), 0);
        assert_eq!(mix(0, 1), 0xe220_a839_7b1d_cdaf, "the first output of splitmix64 from zero");
    }
}
