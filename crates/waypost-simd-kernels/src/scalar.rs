//! The reference: what every other implementation must answer.

/// The least value; of floats, NaN is passed over.
pub(crate) fn min<T: Copy + PartialOrd>(values: &[T]) -> Option<T> {
    least(values.iter().copied().enumerate()).map(|(_, value)| value)
}

pub(crate) fn argmin<T: Copy + PartialOrd>(values: &[T]) -> Option<usize> {
    least(values.iter().copied().enumerate()).map(|(place, _)| place)
}

pub(crate) fn masked_argmin<T: Copy + PartialOrd>(values: &[T], mask: &[u64]) -> Option<usize> {
    least(masked(values, mask)).map(|(place, _)| place)
}

pub(crate) fn masked_argmins<T: Copy + PartialOrd>(values: &[T], mask: &[u64], ties: &mut [u64]) -> usize {
    ties.fill(0);
    let Some((_, least)) = least(masked(values, mask)) else { return 0 };
    masked(values, mask).filter(|&(_, value)| value == least).map(|(place, _)| mark(ties, place)).count()
}

pub(crate) fn weighted_scores(loads: &[f32], weights: &[f32], scores: &mut [f32]) {
    for ((score, load), &weight) in scores.iter_mut().zip(loads).zip(weights) {
        *score = if weight > 0.0 { (load + 1.0) / weight } else { f32::INFINITY };
    }
}

pub(crate) fn least_loaded(loads: &[u32], weights: &[u32], ties: &mut [u64]) -> usize {
    ties.fill(0);
    // Nobody yet: a load over no weight, which every share of a weight is less than.
    let mut least = (1, 0);
    for share in shares(loads, weights) {
        if crossed(share, least) < crossed(least, share) {
            least = share;
        }
    }
    let equal =
        |&(_, share): &(usize, (u32, u32))| share.1 > 0 && crossed(share, least) == crossed(least, share);
    shares(loads, weights).enumerate().filter(equal).map(|(place, _)| mark(ties, place)).count()
}

fn shares(loads: &[u32], weights: &[u32]) -> impl Iterator<Item = (u32, u32)> {
    loads.iter().copied().zip(weights.iter().copied())
}

fn crossed(one: (u32, u32), other: (u32, u32)) -> u64 {
    u64::from(one.0) * u64::from(other.1)
}

fn mark(ties: &mut [u64], place: usize) {
    ties[place / 64] |= 1 << (place % 64);
}

fn masked<T: Copy>(values: &[T], mask: &[u64]) -> impl Iterator<Item = (usize, T)> {
    let in_mask = |place: usize| mask.get(place / 64).is_some_and(|word| word & (1 << (place % 64)) != 0);
    values.iter().copied().enumerate().filter(move |&(place, _)| in_mask(place))
}

/// The first of the least; what does not compare with itself is passed over.
fn least<T: Copy + PartialOrd>(values: impl Iterator<Item = (usize, T)>) -> Option<(usize, T)> {
    let mut best: Option<(usize, T)> = None;
    for (place, value) in values.filter(|(_, value)| value.partial_cmp(value).is_some()) {
        if best.is_none_or(|(_, least)| value < least) {
            best = Some((place, value));
        }
    }
    best
}
