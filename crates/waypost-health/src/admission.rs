//! One request that health let pass.

use waypost_core::{CandidateIndex, LiveSlot, RequestResult, Timestamp};

use crate::PoolHealth;
use crate::circuit::Permit;

/// What a request brings back: permits of the breakers on its way, and when it was sent.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    pub(crate) own: Option<Permit>,
    pub(crate) shared: SharedPermits,
    pub(crate) era: u32,
}

/// Permits of the breakers that a candidate shares: its credential's, its region's, its provider's.
#[derive(Debug)]
pub(crate) enum SharedPermits {
    /// All were closed, and need not be looked at: as many changes of shared breakers had been then.
    Closed {
        changes: u32,
    },
    Taken([Option<Permit>; 3]),
}

impl Default for SharedPermits {
    fn default() -> Self {
        Self::Taken([None, None, None])
    }
}

/// One request that health let pass to a candidate. Settle it with the result; dropped without one, on whatever path,
/// it gives back the place of a half-open breaker exactly once.
///
/// The holder keeps the pool's health alive: an `Arc` or a reference of it.
///
/// ```
/// use std::sync::Arc;
/// use waypost_core::{Pool, RequestResult, Timestamp};
/// use waypost_health::{Admission, HealthAwareRouter, HealthConfig};
///
/// let health = HealthAwareRouter::new(HealthConfig::default(), 7);
/// let pool = Arc::new(Pool::from_weights([("a", 1), ("b", 1)])?);
/// let pool_health = health.attach(&pool, Timestamp::ORIGIN);
/// let a = pool.index_of("a").unwrap();
/// let admission = Admission::new(&pool_health, a, Timestamp::ORIGIN, false).expect("it is well");
/// admission.settle(&RequestResult::cancelled(core::time::Duration::ZERO), Timestamp::ORIGIN);
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping an admission at once gives its place back"]
pub struct Admission<H: AsRef<PoolHealth>> {
    holder: H,
    index: CandidateIndex,
    /// Taken by whoever ends the admission.
    ticket: Option<Ticket>,
}

impl<H: AsRef<PoolHealth>> Admission<H> {
    /// Lets one request pass to a candidate; `None` when it is not healthy, or others have taken all places of its
    /// half-open breaker. In `panic`, as [`filter_healthy`](PoolHealth::filter_healthy) said
    /// ([`Directives::panic`](waypost_core::Directives)), breakers and ejections do not stop it.
    ///
    /// # Panics
    ///
    /// When the index came from a longer pool.
    #[inline]
    pub fn new(holder: H, index: CandidateIndex, now: Timestamp, panic: bool) -> Option<Self> {
        let ticket = holder.as_ref().admit(index, now, panic)?;
        Some(Self { holder, index, ticket: Some(ticket) })
    }

    /// Says how the request ended.
    #[inline]
    pub fn settle(mut self, result: &RequestResult, now: Timestamp) {
        self.settle_in_place(result, now);
    }

    /// Like [`settle`](Self::settle) for an admission that cannot be moved. The first result counts.
    #[inline]
    pub fn settle_in_place(&mut self, result: &RequestResult, now: Timestamp) {
        if let Some(ticket) = self.ticket.take() {
            self.holder.as_ref().learn(self.index, ticket, result, now);
        }
    }

    /// Lets go of it while the request goes on: its place at a half-open breaker stays taken until a result comes by
    /// [`update_health`](PoolHealth::update_health), or its lease is over.
    pub fn detach(&mut self) {
        self.ticket = None;
    }

    /// The candidate's place in its pool.
    pub const fn index(&self) -> CandidateIndex {
        self.index
    }

    /// What keeps the pool's health alive.
    pub const fn holder(&self) -> &H {
        &self.holder
    }
}

impl<H: AsRef<PoolHealth>> Drop for Admission<H> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.holder.as_ref().release(self.index, ticket);
        }
    }
}

impl<H: AsRef<PoolHealth> + AsRef<LiveSlot>> AsRef<LiveSlot> for Admission<H> {
    fn as_ref(&self) -> &LiveSlot {
        self.holder.as_ref()
    }
}

impl AsRef<Self> for PoolHealth {
    fn as_ref(&self) -> &Self {
        self
    }
}
