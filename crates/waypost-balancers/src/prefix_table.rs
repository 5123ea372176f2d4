//! Who has which beginnings of prompts in its cache, as far as one gateway can know.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use waypost_core::Timestamp;

/// Entries that a hash can be in: a cache line.
const WAYS: usize = 8;
/// Time is kept in units of four seconds: 16 bits wrap after three days.
const TICK: Duration = Duration::from_secs(4);

/// A table of a fixed size from hashes of beginnings to holders, each entry one atomic word of a 32-bit tag, a 16-bit
/// holder and a 16-bit time. New entries push out the oldest of their line; whoever loses a race is forgotten. A tag
/// that is another's by chance, once in some 2^28 look-ups, costs a request a wrong guess.
#[derive(Debug)]
pub(crate) struct PrefixTable {
    lines: Box<[[AtomicU64; WAYS]]>,
}

/// A holder of a beginning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Holder {
    pub(crate) slot: u16,
    /// How long ago it was last given the beginning, to four seconds.
    pub(crate) age: Duration,
}

impl PrefixTable {
    /// A table of at least `entries` entries, at most sixteen million.
    pub(crate) fn new(entries: usize) -> Self {
        let lines = entries.clamp(WAYS, 1 << 24).div_ceil(WAYS).next_power_of_two();
        Self { lines: (0..lines).map(|_| core::array::from_fn(|_| AtomicU64::new(0))).collect() }
    }

    /// Everyone who was given this beginning of late.
    pub(crate) fn holders(&self, hash: u64, now: Timestamp) -> impl Iterator<Item = Holder> + '_ {
        let (tag, now) = (tag_of(hash), ticks(now));
        let words = self.line(hash).iter().map(|entry| entry.load(Ordering::Relaxed));
        words.filter(move |&word| word >> 32 == tag).map(move |word| Holder {
            slot: (word >> 16) as u16,
            age: TICK * u32::from(now.wrapping_sub(word as u16)),
        })
    }

    /// Notes that a holder has been given this beginning.
    pub(crate) fn note(&self, hash: u64, slot: u16, now: Timestamp) {
        let key = tag_of(hash) << 32 | u64::from(slot) << 16;
        let now = ticks(now);
        let age = |entry: &&AtomicU64| match entry.load(Ordering::Relaxed) {
            0 => u32::MAX,
            word => u32::from(now.wrapping_sub(word as u16)),
        };
        let line = self.line(hash);
        let same = line.iter().find(|entry| entry.load(Ordering::Relaxed) & !0xffff == key);
        // Relaxed and lossy on purpose: an entry is a guess about somebody else's cache.
        let word = key | u64::from(now);
        // A line that many threads would write the same into is left alone.
        if let Some(entry) =
            same.or_else(|| line.iter().max_by_key(age)).filter(|entry| entry.load(Ordering::Relaxed) != word)
        {
            entry.store(word, Ordering::Relaxed);
        }
    }

    fn line(&self, hash: u64) -> &[AtomicU64; WAYS] {
        &self.lines[hash as usize & (self.lines.len() - 1)]
    }
}

/// Never zero, so that no entry is zero.
const fn tag_of(hash: u64) -> u64 {
    (hash >> 32) | 1
}

const fn ticks(now: Timestamp) -> u16 {
    (now.as_nanos() / TICK.as_nanos() as u64) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_secs(seconds)
    }

    fn slots(table: &PrefixTable, hash: u64) -> Vec<u16> {
        table.holders(hash, at(100)).map(|holder| holder.slot).collect()
    }

    #[test]
    fn remembers_several_holders_and_forgets_the_oldest() {
        let table = PrefixTable::new(1);
        let hash = 0xabcd_0000_0000_0000;
        for slot in 0..8 {
            table.note(hash, slot, at(10 + u64::from(slot) * 4));
        }
        table.note(hash, 0, at(90));
        table.note(hash, 99, at(92));
        let held = slots(&table, hash);
        assert!(held.contains(&0) && held.contains(&99) && !held.contains(&1), "{held:?}");
        assert_eq!(slots(&table, 0x1234_0000_0000_0000), [0; 0]);
        assert_eq!(
            table.holders(hash, at(100)).find(|holder| holder.slot == 99).unwrap().age,
            Duration::from_secs(8)
        );
    }

    #[test]
    fn its_size_is_bounded() {
        let table = PrefixTable::new(1_000);
        (0..1_000_000_u64).for_each(|i| table.note(i.wrapping_mul(0x9e37_79b9_7f4a_7c15), 1, at(1)));
        assert_eq!(table.lines.len() * WAYS, 1_024);
    }
}
