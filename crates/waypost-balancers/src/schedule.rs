//! One period of weighted turns, laid out beforehand.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

/// Candidates times turns up to which a period is laid out by nginx's definition, which looks at every candidate for
/// every turn: some ten milliseconds.
const NGINX_STEPS: usize = 4_000_000;

/// One period of turns: `sum(w) / gcd(w)` of them, in which each candidate has exactly `w / gcd(w)`, and which at every
/// prefix has given each candidate its share to within one turn. Candidates of weight zero have none.
///
/// # Memory
///
/// Two bytes per turn: 2 MB for the longest, 1,024 candidates of weights around 1,000 without a common divisor.
///
/// # Complexity
///
/// To build: a few milliseconds usually; 0.1 to 0.2 s for the longest.
pub(crate) fn lay_out(weights: &[u16]) -> Box<[u16]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let members: Vec<Member> = (0..weights.len() as u16)
        .map(|place| Member { place, weight: (weights[usize::from(place)] / divisor).into() })
        .filter(|member| member.weight > 0)
        .collect();
    let turns = members.iter().map(|member| member.weight as usize).sum();
    if members.len().saturating_mul(turns) <= NGINX_STEPS {
        let smooth = smooth(&members, turns);
        if is_within_one(&smooth, &members) {
            return smooth;
        }
    }
    windowed(&members, turns)
}

/// Whether everyone is within one turn of its share at every prefix. A candidate is furthest behind before each of its
/// turns and furthest ahead after it.
fn is_within_one(schedule: &[u16], members: &[Member]) -> bool {
    let total = schedule.len() as u64;
    let places = members.iter().map(|member| usize::from(member.place) + 1).max().unwrap_or(0);
    let (mut weights, mut taken) = (vec![0; places], vec![0_u64; places]);
    members.iter().for_each(|member| weights[usize::from(member.place)] = u64::from(member.weight));
    schedule.iter().zip(0..).all(|(&place, turn)| {
        let (weight, before) = (weights[usize::from(place)], taken[usize::from(place)]);
        taken[usize::from(place)] += 1;
        let behind = turn * weight <= (before + 1) * total;
        let ahead = (before + 1) * total <= (turn + 1) * weight + total;
        behind && ahead
    })
}

/// A candidate that has turns.
#[derive(Debug, Clone, Copy)]
struct Member {
    place: u16,
    weight: u32,
}

/// nginx's smooth weighted round robin, which is within one turn of every share for most weights and not for all: at
/// each turn everyone gains its weight, who has most goes (the first of equals) and pays the sum of weights.
fn smooth(members: &[Member], turns: usize) -> Box<[u16]> {
    let mut current = vec![0_i64; members.len()];
    let sum: i64 = members.iter().map(|member| i64::from(member.weight)).sum();
    let turn = |_| {
        let mut best = 0;
        for (at, member) in members.iter().enumerate() {
            current[at] += i64::from(member.weight);
            if current[at] > current[best] {
                best = at;
            }
        }
        current[best] -= sum;
        members[best].place
    };
    (0..turns).map(turn).collect()
}

/// For what [`smooth`] is too slow or not smooth enough: the j-th turn of a candidate may be anywhere in its window,
/// which opens at `floor(j·W/w)` and closes before `ceil((j + 1)·W/w)`; of those whose window is open, the one whose
/// window closes first goes. Windows that are met keep everyone within one turn of its share, and the earliest deadline
/// first meets all that can be met (Baruah, Cohen, Plaxton and Varvel 1996).
fn windowed(members: &[Member], turns: usize) -> Box<[u16]> {
    let total = turns as u64;
    let opens = |at: usize, turn: u64| turn * total / u64::from(members[at].weight);
    let closes = |at: usize, turn: u64| ((turn + 1) * total).div_ceil(members[at].weight.into());
    let mut taken = vec![0_u64; members.len()];
    let mut waiting: BinaryHeap<_> = (0..members.len()).map(|at| Reverse((0, at))).collect();
    let mut open = BinaryHeap::with_capacity(members.len());
    let turn = |now: u64| {
        while let Some(&Reverse((_, at))) = waiting.peek().filter(|Reverse((opening, _))| *opening <= now) {
            waiting.pop();
            open.push(Reverse((closes(at, taken[at]), at)));
        }
        // INVARIANT: up to any turn at least as many windows have opened as turns have passed, so one is open.
        let Some(Reverse((_, at))) = open.pop() else { return members[0].place };
        taken[at] += 1;
        waiting.push(Reverse((opens(at, taken[at]), at)));
        members[at].place
    };
    (0..total).map(turn).collect()
}

const fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The furthest that any candidate is from its share at any prefix, in turns.
    fn worst_deviation(schedule: &[u16], weights: &[u16]) -> f64 {
        let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let mut counts = vec![0.0; weights.len()];
        let mut worst = 0.0_f64;
        for (turn, &place) in schedule.iter().enumerate() {
            counts[usize::from(place)] += 1.0;
            for (count, &weight) in counts.iter().zip(weights) {
                worst = worst.max((count - (turn + 1) as f64 * f64::from(weight) / sum).abs());
            }
        }
        worst
    }

    fn members(weights: &[u16]) -> Vec<Member> {
        let member = |(place, &weight): (usize, &u16)| Member { place: place as u16, weight: weight.into() };
        weights.iter().enumerate().map(member).collect()
    }

    #[test]
    fn wrr_1_nginx_vectors() {
        assert_eq!(*lay_out(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*lay_out(&[4, 2, 1]), [0, 1, 0, 2, 0, 1, 0]);
        assert_eq!(*lay_out(&[500, 100, 100]), [0, 0, 1, 0, 2, 0, 0], "a common divisor changes nothing");
        assert!(lay_out(&[]).is_empty() && lay_out(&[0, 0]).is_empty());
    }

    #[test]
    fn where_nginx_is_not_smooth_the_windows_are() {
        for weights in [&[10, 5, 5, 5, 5, 1, 1, 1][..], &[900, 300, 300, 300, 3, 3]] {
            let (divisor, members) = (weights.iter().copied().fold(0, gcd), members(weights));
            let turns = members.iter().map(|member| member.weight as usize).sum();
            assert!(worst_deviation(&smooth(&members, turns), weights) > 1.0, "nginx's own order");
            assert!(worst_deviation(&lay_out(weights).repeat(divisor.into()), weights) <= 1.0, "{weights:?}");
        }
    }

    #[test]
    fn the_longest_period_is_exact_and_smooth() {
        // Sampled at every candidate's 1,000th turn or so: the full check of 10^6 prefixes × 1,024 takes a minute.
        let weights: Vec<u16> = (0..1_024).map(|i| if i == 0 { 1 } else { 1_000 - (i % 7) }).collect();
        let schedule = lay_out(&weights);
        let sum: usize = weights.iter().map(|&weight| usize::from(weight)).sum();
        assert_eq!(schedule.len(), sum);
        let mut counts = vec![0_u32; weights.len()];
        for (turn, &place) in schedule.iter().enumerate() {
            counts[usize::from(place)] += 1;
            let ideal = |turns: usize| turns as f64 * f64::from(weights[usize::from(place)]) / sum as f64;
            let after = f64::from(counts[usize::from(place)]);
            assert!((after - ideal(turn + 1)).abs() <= 1.0, "turn {turn}: {place} is ahead");
            assert!((after - 1.0 - ideal(turn)).abs() <= 1.0, "turn {turn}: {place} is behind");
        }
        assert!(counts.iter().zip(&weights).all(|(&count, &weight)| count == u32::from(weight)));
    }

    proptest! {
        /// Promise 3, whatever the weights, and by windows alone too.
        #[test]
        fn every_candidate_has_its_turns_and_is_never_more_than_one_off(
            weights in prop::collection::vec(1_u16..=60, 1..24),
        ) {
            let members = members(&weights);
            let turns = members.iter().map(|member| member.weight as usize).sum();
            let divisor = weights.iter().copied().fold(0, gcd);
            let laid_out = lay_out(&weights).repeat(divisor.into()).into_boxed_slice();
            for schedule in [laid_out, windowed(&members, turns)] {
                for (place, &weight) in weights.iter().enumerate() {
                    let count = schedule.iter().filter(|&&turn| usize::from(turn) == place).count();
                    prop_assert_eq!(count, usize::from(weight));
                }
                prop_assert!(worst_deviation(&schedule, &weights) <= 1.0 + 1e-9, "{schedule:?}");
            }
        }

        /// One heavy candidate among many light ones, where schedules by deadline alone run off by half of them.
        #[test]
        fn one_heavy_candidate_does_not_go_in_bursts(light in 1_usize..60, heavy in 1_u16..=1_000) {
            let mut weights = vec![1; light];
            weights.push(heavy);
            let members = members(&weights);
            let turns = light + usize::from(heavy);
            for schedule in [lay_out(&weights), windowed(&members, turns)] {
                prop_assert!(worst_deviation(&schedule, &weights) <= 1.0 + 1e-9);
            }
        }
    }
}
