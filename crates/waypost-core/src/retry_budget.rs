//! How many retries all requests together may send.

use core::fmt;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};
use crate::{Ratio, Timestamp};

/// The most retries that a [`RetryBudget`] saves up: 100,000, what the word has bits for.
pub const MAX_RETRY_BURST: u32 = 100_000;

/// A retry in the units of the balance. In thousandths, what a millisecond grants is the whole number
/// [`RetryBudgetConfig::per_second`], so no fraction arises that could be lost or invented.
const ONE_RETRY: u64 = 1_000;
/// Bits of the word that count milliseconds since the budget was made, four years; the higher ones count thousandths.
const TIME_BITS: u32 = 37;
const LAST_MILLISECOND: u64 = (1 << TIME_BITS) - 1;
const _: () =
    assert!(MAX_RETRY_BURST as u64 * ONE_RETRY < 1 << (u64::BITS - TIME_BITS), "the burst fits its bits");

/// What a [`RetryBudget`] earns and saves. Any values are valid; with zeros alone nothing is ever retried.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RetryBudgetConfig {
    /// Retries that each request earns, rounded down to a thousandth. Default: 0.1, one retry for ten requests.
    pub ratio: Ratio,
    /// The most retries saved up, and how many there are at the start; more than [`MAX_RETRY_BURST`] count as that.
    /// Zero starts with none and saves up one, which must be earned first. Default: 100.
    pub burst: u32,
    /// Retries per second that time alone grants, so that a quiet caller may retry too. Default: 0.
    pub per_second: u32,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { ratio: Ratio::of(1, 10), burst: 100, per_second: 0 }
    }
}

/// A budget of retries that all requests of one upstream or one router share: when everything fails, retries add a
/// share to the load instead of multiplying it.
///
/// A token bucket: requests and time fill it, retries empty it. In any window of time,
///
/// ```text
/// retries sent <= max(burst, 1) + ratio * requests + per_second * window
/// ```
///
/// plus the [permits](RetryPermit) that were held when the window began. Time counts in whole milliseconds since the
/// budget was made, and after four years no more. It never counts twice: a clock that goes back grants nothing until
/// it is past the last withdrawal again.
///
/// Source: Finagle's `RetryBudget` (share of requests, retries per second, reserve), counted in thousandths as in
/// gRPC's retry throttling (gRFC A6).
///
/// # Concurrency
///
/// The balance and the time up to which it is refilled are one atomic word. A withdrawal looks and takes in one
/// compare-and-swap, so callers that meet never overdraw; a deposit into a full budget writes nothing.
///
/// # Complexity
///
/// Each call is constant in time, but for one more turn per thread that it meets; none locks or allocates.
///
/// ```
/// use core::time::Duration;
/// use waypost_core::{Ratio, RetryBudget, RetryBudgetConfig, RetryPermit, Timestamp};
///
/// let start = Timestamp::ORIGIN;
/// let config = RetryBudgetConfig { ratio: Ratio::of(1, 5), burst: 1, per_second: 0 };
/// let budget = RetryBudget::new(config, start);
/// // The one that was saved up.
/// RetryPermit::acquire(&budget, start).expect("the first retry").sent();
/// assert!(RetryPermit::acquire(&budget, start).is_none());
/// // Five requests earn the next; one that is not sent is given back.
/// (0..5).for_each(|_| budget.deposit());
/// drop(RetryPermit::acquire(&budget, start));
/// assert_eq!(budget.balance(start), 1);
/// ```
pub struct RetryBudget {
    /// A [`Balance`], the only truth. On a cache line of its own: every retry writes it.
    word: CachePadded<AtomicU64>,
    made: Timestamp,
    /// Thousandths of a retry that a request earns.
    per_request: u64,
    /// Thousandths of a retry that a millisecond grants.
    per_millisecond: u64,
    /// The most thousandths of a retry.
    most: u64,
}

/// What the word holds: never a balance without its time.
#[derive(Clone, Copy, PartialEq)]
struct Balance {
    /// Thousandths of a retry.
    thousandths: u64,
    /// Until when it is refilled, in milliseconds since the budget was made.
    time: u64,
}

impl Balance {
    const fn in_word(word: u64) -> Self {
        Self { thousandths: word >> TIME_BITS, time: word & LAST_MILLISECOND }
    }

    const fn to_word(self) -> u64 {
        self.thousandths << TIME_BITS | self.time
    }

    fn less_one_retry(self) -> Option<Self> {
        Some(Self { thousandths: self.thousandths.checked_sub(ONE_RETRY)?, ..self })
    }
}

impl RetryBudget {
    /// A budget with its burst saved up. Time grants from `now` on.
    pub fn new(config: RetryBudgetConfig, now: Timestamp) -> Self {
        let burst = config.burst.min(MAX_RETRY_BURST);
        let start = Balance { thousandths: u64::from(burst) * ONE_RETRY, time: 0 };
        Self {
            word: CachePadded::new(AtomicU64::new(start.to_word())),
            made: now,
            per_request: thousandths_of(config.ratio),
            per_millisecond: config.per_second.into(),
            most: u64::from(burst.max(1)) * ONE_RETRY,
        }
    }

    /// Counts a request, which earns its share of a retry. Not for retries: they would earn further ones.
    ///
    /// It needs no time: what time grants before it may as well be added after it.
    #[inline]
    pub fn deposit(&self) {
        self.update(|balance| {
            let earned = self.plus(balance, self.per_request);
            (earned != balance).then_some(earned)
        });
    }

    /// Whether a retry could be sent now. Takes nothing, so another caller may be faster: to send one, acquire a
    /// [`RetryPermit`].
    #[inline]
    pub fn may_retry(&self, now: Timestamp) -> bool {
        self.balance(now) > 0
    }

    /// Whole retries that could be sent now, for reports; at most [`MAX_RETRY_BURST`].
    #[inline]
    pub fn balance(&self, now: Timestamp) -> u32 {
        let balance = self.refilled(self.load(), self.milliseconds(now));
        (balance.thousandths / ONE_RETRY) as u32
    }

    /// Takes one retry if there is one.
    #[inline]
    fn withdraw(&self, now: Timestamp) -> bool {
        let time = self.milliseconds(now);
        self.update(|balance| self.refilled(balance, time).less_one_retry())
    }

    /// Puts back one retry that was taken.
    #[inline]
    fn refund(&self) {
        self.update(|balance| Some(self.plus(balance, ONE_RETRY)));
    }

    fn load(&self) -> Balance {
        Balance::in_word(self.word.load(Ordering::Relaxed))
    }

    /// Replaces the balance by what `next` makes of it; whether it made something. `next` may be called several times
    /// when threads meet.
    #[inline]
    fn update(&self, next: impl Fn(Balance) -> Option<Balance>) -> bool {
        let next = |word| next(Balance::in_word(word)).map(Balance::to_word);
        // Relaxed: the word guards no other memory; its modification order alone makes the balance exact.
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// What a balance is at a time. It loses nothing to a time that is before its own, and never gets an earlier one.
    #[inline]
    fn refilled(&self, balance: Balance, time: u64) -> Balance {
        let granted = time.saturating_sub(balance.time).saturating_mul(self.per_millisecond);
        Balance { time: balance.time.max(time), ..self.plus(balance, granted) }
    }

    // INVARIANT: no balance is above `most`, which is at most `MAX_RETRY_BURST`, so it fits its bits.
    #[inline]
    fn plus(&self, balance: Balance, thousandths: u64) -> Balance {
        Balance { thousandths: balance.thousandths.saturating_add(thousandths).min(self.most), ..balance }
    }

    /// A point in time as whole milliseconds since the budget was made. What is left over counts with the next one.
    #[inline]
    fn milliseconds(&self, now: Timestamp) -> u64 {
        (now.as_nanos().saturating_sub(self.made.as_nanos()) / 1_000_000).min(LAST_MILLISECOND)
    }
}

/// Rounded down, so that no more retries are earned than the ratio says.
fn thousandths_of(ratio: Ratio) -> u64 {
    (ratio.get() * ONE_RETRY as f64) as u64
}

impl AsRef<Self> for RetryBudget {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Balance { thousandths, time } = self.load();
        f.debug_struct("RetryBudget")
            .field("thousandths", &thousandths)
            .field("refilled_until", &(self.made + core::time::Duration::from_millis(time)))
            .finish_non_exhaustive()
    }
}

/// Leave to send one retry. Dropping it without [`sent`](Self::sent), on whatever path, puts the retry back exactly
/// once.
///
/// The holder keeps the budget alive: an `Arc` of it or of what contains it, or a reference.
///
/// ```
/// use std::sync::Arc;
/// use waypost_core::{RetryBudget, RetryBudgetConfig, RetryPermit, Timestamp};
///
/// let now = Timestamp::ORIGIN;
/// let budget = Arc::new(RetryBudget::new(RetryBudgetConfig::default(), now));
/// let permit = RetryPermit::acquire(Arc::clone(&budget), now).expect("a hundred are saved up");
/// assert_eq!(budget.balance(now), 99);
/// permit.sent();
/// assert_eq!(budget.balance(now), 99);
/// ```
#[derive(Debug)]
#[must_use = "dropping the permit at once puts the retry back"]
pub struct RetryPermit<B: AsRef<RetryBudget>> {
    holder: B,
    is_sent: bool,
}

impl<B: AsRef<RetryBudget>> RetryPermit<B> {
    /// Takes one retry out of the budget; `None` when less than one is left.
    #[inline]
    pub fn acquire(holder: B, now: Timestamp) -> Option<Self> {
        holder.as_ref().withdraw(now).then(|| Self { holder, is_sent: false })
    }

    /// Says that the retry was sent: it is spent.
    #[inline]
    pub fn sent(mut self) {
        self.is_sent = true;
    }
}

impl<B: AsRef<RetryBudget>> Drop for RetryPermit<B> {
    fn drop(&mut self) {
        if !self.is_sent {
            self.holder.as_ref().refund();
        }
    }
}

#[cfg(test)]
mod tests;
