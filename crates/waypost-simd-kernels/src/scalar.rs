//! The reference: what every other implementation must answer.

pub(crate) fn min(values: &[u64]) -> Option<u64> {
    values.iter().copied().min()
}

pub(crate) fn argmin(values: &[f32]) -> Option<usize> {
    least(values.iter().copied().enumerate())
}

pub(crate) fn masked_argmin(values: &[f32], mask: &[u64]) -> Option<usize> {
    let in_mask = |place: usize| mask.get(place / 64).is_some_and(|word| word & (1 << (place % 64)) != 0);
    least(values.iter().copied().enumerate().filter(|&(place, _)| in_mask(place)))
}

pub(crate) fn weighted_scores(loads: &[f32], weights: &[f32], scores: &mut [f32]) {
    for ((score, load), &weight) in scores.iter_mut().zip(loads).zip(weights) {
        *score = if weight > 0.0 { (load + 1.0) / weight } else { f32::INFINITY };
    }
}

fn least(values: impl Iterator<Item = (usize, f32)>) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (place, value) in values.filter(|(_, value)| !value.is_nan()) {
        if best.is_none_or(|(_, least)| value < least) {
            best = Some((place, value));
        }
    }
    best.map(|(place, _)| place)
}
