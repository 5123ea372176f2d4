//! Strategies that this crate's own tests share.

use waypost_core::{CandidateIndex, CandidateSet, LoadBalancer, SelectContext};

/// Any member, each as likely.
#[derive(Debug)]
pub(crate) struct Any;

impl LoadBalancer for Any {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        set.nth(cx.rng.below(set.len()))
    }
}
