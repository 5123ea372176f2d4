//! Drawing candidates at random by weight.

use waypost_core::{CandidateIndex, CandidateSet, Generator, Pool};

/// Draws that may miss a narrowed set before it is scanned.
const DRAWS: usize = 8;

/// Draws candidates in proportion to their weights: one random word per draw (alias method, Walker 1977, in Vose's form
/// of 1991). A probability is exact to 2^-32 and a column's share to one in four million.
#[derive(Debug)]
pub(crate) struct WeightedDraw {
    /// A column for every candidate that takes requests.
    columns: Box<[Column]>,
    /// By place in the pool; zero for candidates that take no requests.
    weights: Box<[u16]>,
    /// Whether all that take requests weigh the same.
    is_even: bool,
}

/// One candidate, and another that fills up its column.
#[derive(Debug, Clone, Copy)]
struct Column {
    /// Out of 2^32: below it the candidate itself, else the other.
    threshold: u32,
    own: u16,
    other: u16,
}

impl WeightedDraw {
    /// By the candidates' weights.
    pub(crate) fn by_weight(pool: &Pool) -> Self {
        Self::new(pool, |weight| weight)
    }

    /// Each candidate that takes requests equally likely.
    pub(crate) fn even(pool: &Pool) -> Self {
        Self::new(pool, |weight| weight.min(1))
    }

    fn new(pool: &Pool, weight: impl Fn(u16) -> u16) -> Self {
        let weights: Box<[u16]> = weights_of(pool).iter().map(|&of_pool| weight(of_pool)).collect();
        let mut members = weights.iter().filter(|&&weight| weight > 0);
        let first = members.next();
        let is_even = members.all(|weight| Some(weight) == first);
        Self { columns: columns(&weights), weights, is_even }
    }

    /// The weight of a candidate, zero when it takes no requests.
    #[inline]
    pub(crate) fn weight(&self, index: CandidateIndex) -> u16 {
        self.weights[index.get()]
    }

    /// A member of the set, each as likely as its weight says; `None` when no member takes requests.
    #[inline]
    pub(crate) fn draw(&self, set: &CandidateSet<'_>, rng: &mut Generator<'_>) -> Option<CandidateIndex> {
        if self.is_even && !set.is_whole() {
            let drawn = set.nth(rng.below(set.len())).filter(|&drawn| self.weight(drawn) > 0);
            return drawn.or_else(|| self.scan(set, rng));
        }
        (0..DRAWS)
            .find_map(|_| self.draw_any(set.pool(), rng).filter(|&drawn| set.contains(drawn)))
            .or_else(|| self.scan(set, rng))
    }

    #[inline]
    fn draw_any(&self, pool: &Pool, rng: &mut Generator<'_>) -> Option<CandidateIndex> {
        let word = rng.next_u64();
        let column = self.columns.get((((word >> 32) * self.columns.len() as u64) >> 32) as usize)?;
        pool.index(if (word as u32) < column.threshold { column.own } else { column.other }.into())
    }

    /// By the sums of the members' weights: for narrow sets, which draws miss.
    #[cold]
    fn scan(&self, set: &CandidateSet<'_>, rng: &mut Generator<'_>) -> Option<CandidateIndex> {
        let sum: usize = set.iter().map(|index| usize::from(self.weight(index))).sum();
        let mut rest = (sum > 0).then(|| rng.below(sum))?;
        set.iter().find(|&index| {
            let weight = usize::from(self.weight(index));
            let found = rest < weight;
            rest = rest.saturating_sub(weight);
            found
        })
    }
}

/// By place in the pool: the weight, zero for candidates that take no requests.
pub(crate) fn weights_of(pool: &Pool) -> Box<[u16]> {
    let weight = |candidate: &waypost_core::ProviderCandidate| {
        if candidate.is_available() { candidate.weight().get() } else { 0 }
    };
    pool.candidates().iter().map(|candidate| weight(candidate)).collect()
}

/// Vose's construction in integers: columns hold `sum` each, weights are scaled by their number.
fn columns(weights: &[u16]) -> Box<[Column]> {
    let members: Vec<u16> =
        (0..weights.len() as u16).filter(|&place| weights[usize::from(place)] > 0).collect();
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let full = |place: u16| Column { threshold: u32::MAX, own: place, other: place };
    let mut columns: Vec<Column> = members.iter().map(|&place| full(place)).collect();
    let mut shares: Vec<u64> =
        members.iter().map(|&place| u64::from(weights[usize::from(place)]) * members.len() as u64).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..members.len()).partition(|&at| shares[at] < sum);
    while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
        columns[poor].threshold = ((u128::from(shares[poor]) << 32) / u128::from(sum)) as u32;
        columns[poor].other = members[rich];
        shares[rich] -= sum - shares[poor];
        if shares[rich] < sum {
            small.extend(large.pop());
        }
    }
    columns.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Adding up what the columns give each candidate must return the weights.
        #[test]
        fn columns_add_up_to_the_weights(weights in prop::collection::vec(0_u16..=1_000, 1..200)) {
            let columns = columns(&weights);
            let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            let mut shares = vec![0.0; weights.len()];
            for column in &columns {
                let own = if column.own == column.other { 1.0 } else { f64::from(column.threshold) / 2_f64.powi(32) };
                shares[usize::from(column.own)] += own / columns.len() as f64;
                shares[usize::from(column.other)] += (1.0 - own) / columns.len() as f64;
            }
            for (share, &weight) in shares.iter().zip(&weights) {
                prop_assert!((share - f64::from(weight) / sum.max(1.0)).abs() < 1e-6);
            }
        }
    }
}
