//! What a provider said is left of its limits.

use core::time::Duration;

use waypost_core::{ProviderLimits, ProviderQuota, Stamp, Timestamp, TokenUsage, Tokens};

use crate::sync::{AtomicU64, Ordering};

/// How long the provider's word holds when it does not say: about what a refill takes at per-second windows.
const UNSAID: Duration = Duration::from_secs(5);
/// Reports whose windows end this close together are of one window: providers round.
const SAME_WINDOW: Duration = Duration::from_secs(1);

/// What is left of one quantity at a provider until its window ends: 32 bits each in one word. After the end, and
/// before the first report, it restricts nothing; so it is never trusted beyond what is configured, which is asked
/// besides.
#[derive(Debug)]
pub(crate) struct LearnedQuota {
    word: AtomicU64,
}

impl LearnedQuota {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0) }
    }

    /// Takes the provider's word: the lesser of two words about one window, the newer of two windows.
    pub(crate) fn observe(&self, quota: &ProviderQuota, now: Timestamp) {
        let ends = quota.reset_after.unwrap_or(UNSAID).min(Stamp::HORIZON);
        let end = Stamp::not_before(now + ends);
        let said = u32::try_from(quota.remaining).unwrap_or(u32::MAX);
        let next = |word: u64| {
            let known = remaining(word, now);
            let is_same = known.is_some_and(|(_, left)| left.abs_diff(ends) <= SAME_WINDOW);
            let left = known.filter(|_| is_same).map_or(said, |(known, _)| known.min(said));
            Some(u64::from(left) << 32 | u64::from(end.to_bits()))
        };
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Takes `n` of what is left. Otherwise, how long until the window ends.
    pub(crate) fn take(&self, n: u64, now: Timestamp) -> Result<(), Duration> {
        let less = |word: u64| {
            let (left, _) = remaining(word, now)?;
            let less = u64::from(left).checked_sub(n)?;
            Some(less << 32 | word & u64::from(u32::MAX))
        };
        match self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(word) => remaining(word, now).map_or(Ok(()), |(_, until)| Err(until)),
        }
    }

    /// Whether `n` could be taken.
    pub(crate) fn would_admit(&self, n: u64, now: Timestamp) -> Result<(), Duration> {
        match remaining(self.word.load(Ordering::Relaxed), now) {
            Some((left, until)) if u64::from(left) < n => Err(until),
            _ => Ok(()),
        }
    }

    /// Gives back what was taken and not used, if a window runs.
    pub(crate) fn give_back(&self, n: u64, now: Timestamp) {
        let more = |word: u64| {
            let (left, _) = remaining(word, now)?;
            let left = u32::try_from(u64::from(left).saturating_add(n)).unwrap_or(u32::MAX);
            Some(u64::from(left) << 32 | word & u64::from(u32::MAX))
        };
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

fn remaining(word: u64, now: Timestamp) -> Option<(u32, Duration)> {
    let until = Stamp::in_word(word)?.remaining_at(Stamp::of(now))?;
    Some(((word >> 32) as u32, until.as_duration()))
}

/// The four quantities that providers limit, at one candidate.
#[derive(Debug)]
pub(crate) struct Learned {
    pub(crate) requests: LearnedQuota,
    pub(crate) tokens: LearnedQuota,
    pub(crate) input: LearnedQuota,
    pub(crate) output: LearnedQuota,
}

impl Learned {
    pub(crate) fn new() -> Self {
        let quota = LearnedQuota::new;
        Self { requests: quota(), tokens: quota(), input: quota(), output: quota() }
    }

    /// Takes the provider's word. Returns until when something of it holds.
    pub(crate) fn observe(&self, said: &ProviderLimits, now: Timestamp) -> Timestamp {
        let quotas = [
            (&self.requests, &said.requests),
            (&self.tokens, &said.tokens),
            (&self.input, &said.input_tokens),
            (&self.output, &said.output_tokens),
        ];
        let mut until = now;
        for (quota, said) in quotas {
            if let Some(said) = said {
                quota.observe(said, now);
                until = until.max(now + said.reset_after.unwrap_or(UNSAID).min(Stamp::HORIZON));
            }
        }
        until
    }

    /// Takes one request with its tokens, all or nothing.
    pub(crate) fn take(&self, usage: TokenUsage, now: Timestamp) -> Result<(), Duration> {
        let needs = self.needs(usage);
        for (place, (quota, n)) in needs.iter().enumerate() {
            if let Err(until) = quota.take(*n, now) {
                needs[..place].iter().for_each(|(quota, n)| quota.give_back(*n, now));
                return Err(until);
            }
        }
        Ok(())
    }

    /// Whether it could be taken.
    pub(crate) fn would_admit(&self, usage: TokenUsage, now: Timestamp) -> Result<(), Duration> {
        self.needs(usage).iter().try_for_each(|(quota, n)| quota.would_admit(*n, now))
    }

    /// Gives back a whole request that was not sent.
    pub(crate) fn give_back(&self, usage: TokenUsage, now: Timestamp) {
        self.needs(usage).iter().for_each(|(quota, n)| quota.give_back(*n, now));
    }

    /// Gives back what an answer took less than was expected.
    pub(crate) fn correct(&self, expected: TokenUsage, actual: TokenUsage, now: Timestamp) {
        let less = |expected: Tokens, actual: Tokens| expected.saturating_sub(actual).0;
        self.tokens.give_back(less(expected.total(), actual.total()), now);
        self.input.give_back(less(expected.prompt, actual.prompt), now);
        self.output.give_back(less(expected.completion, actual.completion), now);
    }

    fn needs(&self, usage: TokenUsage) -> [(&LearnedQuota, u64); 4] {
        [
            (&self.requests, 1),
            (&self.tokens, usage.total().0),
            (&self.input, usage.prompt.0),
            (&self.output, usage.completion.0),
        ]
    }
}
