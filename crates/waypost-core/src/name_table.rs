//! A look-up by names that were hashed beforehand.

/// Slots per entry: at a load of a quarter or less most absent names meet an empty slot at once.
const SLOTS_PER_ENTRY: usize = 4;

/// An immutable map from names that carry their hash: open addressing with linear probing at low load.
///
/// A general hash map hashes again or searches groups of tags; a decision asks a dozen such tables, mostly of a
/// handful of names and often for absent ones, where one comparison of a stored hash is all it takes.
#[derive(Debug)]
pub(crate) struct NameTable<K, V> {
    /// The entry's place plus one; zero is empty. A power of two.
    slots: Box<[u32]>,
    entries: Box<[Entry<K, V>]>,
}

#[derive(Debug)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<K: PartialEq, V> NameTable<K, V> {
    /// A table of keys with their hashes. Of equal keys the first counts.
    pub(crate) fn new(entries: impl IntoIterator<Item = (u64, K, V)>) -> Self {
        let entries = entries.into_iter().map(|(hash, key, value)| Entry { hash, key, value });
        let entries: Box<[Entry<K, V>]> = entries.collect();
        let slots = (entries.len() * SLOTS_PER_ENTRY).next_power_of_two();
        let mut table = Self { slots: vec![0; slots].into_boxed_slice(), entries };
        for place in 0..table.entries.len() {
            let slot = table.free_slot(table.entries[place].hash);
            table.slots[slot] = place as u32 + 1;
        }
        table
    }

    /// The value of a key whose hash is `hash`.
    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &K) -> Option<&V> {
        self.find(hash, |known| known == key)
    }

    /// The value of the key with this hash that is meant.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_meant: impl Fn(&K) -> bool) -> Option<&V> {
        let mut slot = self.first_slot(hash);
        loop {
            let place = self.slots[slot].checked_sub(1)?;
            let entry = &self.entries[place as usize];
            if entry.hash == hash && is_meant(&entry.key) {
                return Some(&entry.value);
            }
            slot = self.next_slot(slot);
        }
    }

    fn free_slot(&self, hash: u64) -> usize {
        let mut slot = self.first_slot(hash);
        while self.slots[slot] != 0 {
            slot = self.next_slot(slot);
        }
        slot
    }

    #[inline]
    const fn first_slot(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    #[inline]
    const fn next_slot(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// The oracle is a `BTreeMap`; hashes collide often.
        #[test]
        fn finds_what_is_there_and_nothing_else(entries: BTreeMap<u16, u32>, others: Vec<u16>, modulus in 1_u64..100) {
            let hash = |key: u16| u64::from(key) % modulus;
            let table = NameTable::new(entries.iter().map(|(&key, &value)| (hash(key), key, value)));
            for key in entries.keys().chain(&others) {
                prop_assert_eq!(table.get(hash(*key), key), entries.get(key));
            }
        }
    }
}
