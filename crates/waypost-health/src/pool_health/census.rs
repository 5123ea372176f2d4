//! Who of a pool is healthy now.

use waypost_core::{
    CandidateIndex, CandidateMask, CandidateSet, Directives, LeftOut, LeftOutList, LeftOutReason,
    MAX_CANDIDATES, Timestamp,
};

use super::{PoolHealth, Standing};

const WORDS: usize = MAX_CANDIDATES / 64;

/// The candidates of a pool that are not well.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Candidates that take requests at all.
    available: usize,
    /// Those whose half-open breaker somebody may try: in play, but not healthy.
    trying: usize,
    pub(crate) sick: Group,
    pub(crate) out: Group,
}

/// Some candidates that are not well.
#[derive(Debug, Default)]
pub(crate) struct Group {
    members: [u64; WORDS],
    count: usize,
    /// The first of them that the request could have used.
    named: LeftOutList,
    /// When the first of those may be back.
    back: Option<Timestamp>,
}

impl Group {
    fn add(&mut self, index: CandidateIndex, reason: LeftOutReason, until: Timestamp, usable: bool) {
        self.members[index.get() / 64] |= 1 << (index.get() % 64);
        self.count += 1;
        if usable {
            self.named.add(LeftOut { index, reason, until });
            self.back = Some(self.back.map_or(until, |back| back.min(until)));
        }
    }

    /// Takes them out; says who and when somebody may be back.
    pub(crate) fn take_from(
        &self,
        set: &mut CandidateSet<'_>,
        now: Timestamp,
        directives: &mut Directives,
    ) -> usize {
        if self.count == 0 {
            return 0;
        }
        self.named.iter().for_each(|left_out| directives.left_out.add(left_out));
        if let Some(back) = self.back.filter(|&back| back < Timestamp::MAX) {
            directives.retry_after(back.since(now));
        }
        set.drop_all(&CandidateMask::from_words(self.members))
    }
}

impl Census {
    /// How many are healthy, of how many that could be.
    pub(crate) const fn healthy(&self) -> (usize, usize) {
        let eligible = self.available - self.out.count;
        (eligible - self.sick.count - self.trying, eligible)
    }

    /// Whether too few are healthy for that to be believed.
    pub(crate) fn is_panic(&self, threshold: waypost_core::Ratio) -> bool {
        let (healthy, eligible) = self.healthy();
        (healthy as f64) < threshold.get() * eligible as f64
    }
}

impl PoolHealth {
    /// Looks at everybody of the pool who is not certain to be well; `set` is who could be used.
    pub(crate) fn census(&self, set: &CandidateSet<'_>, now: Timestamp) -> Census {
        let all = self.pool.all();
        let mut census = Census { available: all.len(), ..Census::default() };
        for (word, ((own, shared), available)) in self.suspects.words().zip(all.as_words()).enumerate() {
            let mut left = (own | shared) & available;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                let Some(index) = self.pool.index(word * 64 + bit) else { continue };
                let of = &self.seats[index.get()];
                let looks_further = shared >> bit & 1 != 0;
                match if looks_further { of.standing(now) } else { of.standing_alone(now) } {
                    Standing::Well => {}
                    Standing::Trying => census.trying += 1,
                    Standing::Sick(reason, until) => {
                        census.sick.add(index, reason, until, set.contains(index));
                    }
                    Standing::Out(reason, until) => census.out.add(index, reason, until, set.contains(index)),
                }
            }
        }
        census
    }
}
