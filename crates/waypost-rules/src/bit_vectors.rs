//! Bit vectors over rules.

/// A bit vector with its summary.
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) summary: Box<[u64]>,
    pub(crate) words: Box<[u64]>,
}

/// A bit vector per class, without the words that are zero.
#[derive(Debug)]
pub(crate) struct Sparse {
    /// Per class as many summaries as there are in a dense vector, each with the place of its first word.
    summaries: Box<[(u64, u32)]>,
    words: Box<[u64]>,
}

impl Dense {
    pub(crate) fn new(rules: impl Iterator<Item = usize>, count: usize) -> Self {
        let words = bits(rules, count);
        let filled = (0..words.len()).filter(|&place| words[place] != 0);
        Self { summary: bits(filled, words.len()), words }
    }
}

/// A bit for each of some numbers below `count`.
pub(crate) fn bits(numbers: impl Iterator<Item = usize>, count: usize) -> Box<[u64]> {
    let mut words = vec![0; count.div_ceil(64)];
    numbers.for_each(|number| words[number / 64] |= 1 << (number % 64));
    words.into()
}

impl Sparse {
    pub(crate) fn new(per_class: Vec<Vec<u32>>, count: usize) -> Self {
        let summaries_each = count.div_ceil(64).div_ceil(64);
        let mut summaries = Vec::with_capacity(per_class.len() * summaries_each);
        let mut words = Vec::new();
        for mut rules in per_class {
            rules.sort_unstable();
            let mut rules = rules.into_iter().peekable();
            for place in 0..summaries_each {
                let (mut summary, first) = (0, words.len() as u32);
                while let Some(rule) = rules.next_if(|&rule| rule as usize / 4_096 == place) {
                    let bit = 1 << (rule / 64 % 64);
                    if summary & bit == 0 {
                        summary |= bit;
                        words.push(0);
                    }
                    if let Some(word) = words.last_mut() {
                        *word |= 1_u64 << (rule % 64);
                    }
                }
                summaries.push((summary, first));
            }
        }
        Self { summaries: summaries.into(), words: words.into() }
    }

    #[inline]
    pub(crate) fn summary(&self, place: usize, class: u32, summaries_each: usize) -> (u64, u32) {
        self.summaries[class as usize * summaries_each + place]
    }

    #[inline]
    pub(crate) fn word(&self, place: usize, class: u32, summaries_each: usize) -> u64 {
        let (summary, first) = self.summary(place / 64, class, summaries_each);
        let bit = 1 << (place % 64);
        if summary & bit == 0 {
            return 0;
        }
        let before = (summary & (bit - 1)).count_ones();
        self.words[(first + before) as usize]
    }
}
