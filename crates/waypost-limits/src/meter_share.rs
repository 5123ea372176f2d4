//! A replica's share of what one meter counts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use waypost_core::{NanoUsd, Timestamp};

use crate::contact::Standing;
use crate::replication::{Replication, total_of};
use crate::sync::{AtomicU64, Ordering};
use crate::{Limit, WhenAway};

/// A replica's share of what one meter counts: what requests see of it, and what the [`Replica`](crate::Replica) knows.
///
/// Requests only add to counters and read single words. All else is behind a lock that only the replica takes.
#[derive(Debug)]
pub(crate) struct MeterShare {
    /// What was asked, admitted or not: requests, tokens or money. Only grows, and wraps.
    asked: AtomicU64,
    /// The largest amount of money that was refused since the replica looked last.
    refused: AtomicU64,
    /// What holds now: parts per million of a rate, requests under way, or whether a new period begins with money.
    effective: AtomicU64,
    /// Whether nothing is refused, because the store is away.
    open: AtomicU64,
    /// What others settled of a budget, as the store said last.
    elsewhere: AtomicU64,
    /// What nobody was granted of a budget, as the store said last.
    ungranted: AtomicU64,
    /// What each replica has of a budget without asking is one of so many parts of it.
    parts: u64,
    held: Mutex<Held>,
}

/// What the replica knows of a share.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) asked_before: u64,
    /// Asked for in a second, in thousandths, smoothed over a second.
    pub(crate) demand: u64,
    /// When anything was asked for last.
    pub(crate) asked_at: Timestamp,
    /// The share, in parts of the total; what is in effect differs when the limit shrank or the store is away.
    pub(crate) share: u64,
    /// Until when it is leased.
    pub(crate) until: Timestamp,
    /// Until when the store may count on no more than was said to be held.
    pub(crate) promised_until: Timestamp,
    /// Whether there is nothing to say to the store: the share is the even one, and it knows.
    pub(crate) is_at_rest: bool,
    /// When it was told last.
    pub(crate) told_at: Timestamp,
    /// The life of the store that was told of the account, and what: its period and its sums.
    pub(crate) told: Option<(u64, Told)>,
    /// The period whose figures the store has said.
    pub(crate) heard_of: Option<i64>,
    /// What the largest refusal of this turn was.
    pub(crate) largest: u64,
}

/// What the store was told of an account: start of the period, settled, reserved, handed back, granted.
pub(crate) type Told = (i64, u64, u64, u64, u64);

/// What a new meter needs to know of replicas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replicated<'a> {
    pub(crate) replication: &'a Replication,
    pub(crate) standing: Standing,
}

impl MeterShare {
    /// The share of a newcomer.
    pub(crate) fn new(limit: &Limit, replicated: Replicated<'_>) -> Self {
        let share = replicated.replication.floor_of(total_of(&limit.bound));
        let held = Held { share, is_at_rest: true, ..Held::default() };
        let word = AtomicU64::new;
        let new = Self {
            asked: word(0),
            refused: word(0),
            effective: word(share),
            open: word(0),
            elsewhere: word(0),
            ungranted: word(0),
            parts: replicated.replication.parts_of_budget(),
            held: Mutex::new(held),
        };
        new.start(limit, replicated.standing);
        new
    }

    fn start(&self, limit: &Limit, standing: Standing) {
        match (limit.when_away, standing) {
            (WhenAway::Closed, Standing::Unknown | Standing::Away) => self.set_effective(0),
            (WhenAway::Open, Standing::Away) => self.open(total_of(&limit.bound)),
            _ => {}
        }
    }

    /// Notes that something is asked for.
    #[inline]
    pub(crate) fn ask(&self, amount: u64) {
        self.asked.fetch_add(amount, Ordering::Relaxed);
    }

    /// Notes that money was refused.
    #[cold]
    pub(crate) fn refuse(&self, amount: u64) {
        self.refused.fetch_max(amount, Ordering::Relaxed);
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// The largest refusal since it was called last.
    pub(crate) fn largest_refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }

    /// What holds now.
    #[inline]
    pub(crate) fn effective(&self) -> u64 {
        self.effective.load(Ordering::Relaxed)
    }

    pub(crate) fn set_effective(&self, share: u64) {
        self.effective.store(share, Ordering::Relaxed);
        self.open.store(0, Ordering::Relaxed);
    }

    /// Refuses nothing from now on.
    pub(crate) fn open(&self, total: u64) {
        self.effective.store(total, Ordering::Relaxed);
        self.open.store(1, Ordering::Relaxed);
    }

    /// Whether nothing is refused.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) != 0
    }

    /// What a new period of a budget begins with.
    pub(crate) fn first_grant(&self, amount: NanoUsd) -> NanoUsd {
        NanoUsd(if self.effective() == 0 { 0 } else { self.pre_leased(amount.0) })
    }

    /// The part of a budget that each replica has without asking.
    pub(crate) const fn pre_leased(&self, amount: u64) -> u64 {
        amount / self.parts
    }

    /// What others settled of a budget.
    pub(crate) fn settled_elsewhere(&self) -> u64 {
        self.elsewhere.load(Ordering::Relaxed)
    }

    /// What nobody was granted of a budget, as far as is known.
    pub(crate) fn ungranted(&self) -> u64 {
        self.ungranted.load(Ordering::Relaxed)
    }

    /// Takes the store's word for a budget.
    pub(crate) fn set_elsewhere(&self, settled: u64, ungranted: u64) {
        self.elsewhere.store(settled, Ordering::Relaxed);
        self.ungranted.store(ungranted, Ordering::Relaxed);
    }

    /// Whether a meter made anew would have the same share, as far as the store knows.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.lock().is_at_rest
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
