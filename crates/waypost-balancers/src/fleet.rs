//! What is usual in a pool: what a candidate is taken for that nothing is known of.

use core::time::Duration;

use waypost_core::{Age, MAX_CANDIDATES, StampedCell, Timestamp};

/// How often what is usual is taken anew. Estimates move in seconds, so four times a second loses nothing.
pub(crate) const REFRESH: Age = Age::of(Duration::from_millis(250));

/// In milliseconds: what averages of latencies are kept in.
pub(crate) fn millis(duration: Duration) -> f32 {
    duration.as_secs_f32() * 1e3
}

/// The median of what a pool's candidates are known for. Taken anew at most four times a second, when a result comes
/// in; read by decisions.
#[derive(Debug, Default)]
pub(crate) struct FleetMedian {
    published: StampedCell,
}

impl FleetMedian {
    /// The median as last taken; `None` before any candidate is known.
    #[inline]
    pub(crate) fn get(&self, now: Timestamp) -> Option<f32> {
        self.published.get(now).map(|(median, _)| median)
    }

    /// Takes the median of `values` if it is time to.
    pub(crate) fn refresh(&self, now: Timestamp, values: impl Iterator<Item = f32>) {
        if self.published.get(now).is_none_or(|(_, age)| age >= REFRESH) {
            self.published.update(now, {
                let median = median(values);
                move |_| median
            });
        }
    }

    pub(crate) fn copy_from(&self, other: &Self) {
        self.published.copy_from(&other.published);
    }
}

/// The middle one; of an even number the lower of the two.
fn median(values: impl Iterator<Item = f32>) -> Option<f32> {
    let mut buffer = [0.0_f32; MAX_CANDIDATES];
    let len = buffer.iter_mut().zip(values).map(|(place, value)| *place = value).count();
    let middle = len.checked_sub(1)? / 2;
    Some(*buffer[..len].select_nth_unstable_by(middle, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_middle_and_is_taken_four_times_a_second() {
        let (median, at) = (FleetMedian::default(), |millis: u64| Timestamp::from_nanos(millis * 1_000_000));
        assert_eq!(median.get(at(5)), None);
        median.refresh(at(10), core::iter::empty());
        assert_eq!(median.get(at(10)), None);
        median.refresh(at(10), [5.0, 1.0, 9.0].into_iter());
        median.refresh(at(100), [7.0].into_iter());
        assert_eq!(median.get(at(100)), Some(5.0));
        median.refresh(at(300), [7.0, 8.0].into_iter());
        assert_eq!(median.get(at(300)), Some(7.0));
    }
}
