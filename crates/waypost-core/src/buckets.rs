//! The shared layout of latency buckets: log-linear, sixteen buckets per power of two.
//!
//! Values are in nanoseconds. A value's bucket is its octave and its next four bits, so a bucket is 1/16 of its octave
//! wide and its middle is within 3 % of any value in it. Octaves run from [`LOWEST_OCTAVE`] (131 µs, faster than any
//! model answers) to 2^41 ns (37 minutes, longer than any client waits); values outside are counted at the edges.

use core::time::Duration;

use crate::time::nanos_of;

/// The octave of the first bucket: 2^17 ns = 131 µs.
const LOWEST_OCTAVE: u32 = 17;
/// Octaves covered: up to 2^41 ns = 37 min.
const OCTAVES: u32 = 24;
/// Bits of a bucket within its octave: 16 buckets, each value within 3 % of its bucket's middle.
const SUB_BITS: u32 = 4;
/// Buckets in all: 384.
pub(crate) const BUCKETS: usize = (OCTAVES as usize) << SUB_BITS;

/// The bucket of a duration.
pub(crate) fn bucket_of(duration: Duration) -> usize {
    bucket_of_nanos(nanos_of(duration))
}

/// The bucket of a duration in nanoseconds.
#[inline]
pub(crate) fn bucket_of_nanos(nanos: u64) -> usize {
    let nanos = nanos.max(1 << LOWEST_OCTAVE);
    let octave = nanos.ilog2();
    let sub = (nanos >> (octave - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    let bucket = (u64::from(octave - LOWEST_OCTAVE) << SUB_BITS) | sub;
    (bucket as usize).min(BUCKETS - 1)
}

/// The shortest duration of a bucket.
pub(crate) fn lower_edge(bucket: usize) -> Duration {
    let octave = LOWEST_OCTAVE + (bucket >> SUB_BITS) as u32;
    let sub = (bucket & ((1 << SUB_BITS) - 1)) as u64;
    Duration::from_nanos((1 << octave) + (sub << (octave - SUB_BITS)))
}

/// The middle of a bucket, which stands for all its values.
pub(crate) fn middle(bucket: usize) -> Duration {
    let octave = LOWEST_OCTAVE + (bucket >> SUB_BITS) as u32;
    lower_edge(bucket) + Duration::from_nanos(1 << (octave - SUB_BITS - 1))
}

/// The value at quantile `q` (0 to 1) of counts per bucket: the smallest bucket middle with at least `q` of all counts
/// at or below it. `None` when nothing was counted.
pub(crate) fn quantile(counts: &[u64; BUCKETS], q: f64) -> Option<Duration> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
    let mut seen = 0;
    let bucket = counts.iter().position(|&count| {
        seen += count;
        seen >= rank
    });
    bucket.map(middle)
}

/// The counts as an [`hdrhistogram::Histogram`] of microseconds with two digits, to merge, print or write.
#[cfg(feature = "hdrhistogram")]
pub(crate) fn to_hdr(counts: &[u64; BUCKETS]) -> hdrhistogram::Histogram<u64> {
    let highest = middle(BUCKETS - 1).as_micros() as u64 * 2;
    let mut histogram = hdrhistogram::Histogram::new_with_bounds(1, highest, 2)
        .expect("1 µs to 74 min in two digits is valid");
    for (bucket, &count) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
        histogram.saturating_record_n(middle(bucket).as_micros() as u64, count);
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_belong_to_their_bucket() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(lower_edge(bucket)), bucket);
            assert_eq!(bucket_of(middle(bucket)), bucket);
        }
        assert_eq!(bucket_of(Duration::ZERO), 0);
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn the_middle_is_within_three_percent(micros in 132_u64..2_000_000_000) {
            let value = Duration::from_micros(micros);
            let middle = middle(bucket_of(value)).as_secs_f64();
            let error = (middle / value.as_secs_f64() - 1.0).abs();
            prop_assert!(error < 0.0325, "{value:?} reads {middle} s");
        }

        #[test]
        fn buckets_keep_order(a: u64, b: u64) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(bucket_of(Duration::from_nanos(low)) <= bucket_of(Duration::from_nanos(high)));
        }
    }
}
