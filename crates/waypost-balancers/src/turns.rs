//! Whose turn it is.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};

/// A period of turns and the next ticket: one atomic addition gives a turn.
///
/// There is one modification order of the ticket, so n callers get n different tickets, whatever the interleaving, and
/// any period's worth of them is one whole period.
#[derive(Debug)]
pub(crate) struct Turns {
    /// One period, by places in the pool.
    schedule: Box<[u16]>,
    next: CachePadded<AtomicU64>,
}

impl Turns {
    /// Turns by `schedule` that begin at a ticket.
    pub(crate) fn starting_at(ticket: u64, schedule: Box<[u16]>) -> Self {
        Self { schedule, next: CachePadded::new(AtomicU64::new(ticket)) }
    }

    /// Whose turn it is, and the turn is taken; `None` when nobody has turns.
    #[inline]
    pub(crate) fn take(&self) -> Option<usize> {
        self.at(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Whose turn it is, and it stays.
    pub(crate) fn peek(&self) -> Option<usize> {
        self.at(self.ticket())
    }

    #[inline]
    fn at(&self, ticket: u64) -> Option<usize> {
        let turn = ticket.checked_rem(self.schedule.len() as u64)?;
        Some(self.schedule[turn as usize].into())
    }

    /// The next ticket.
    pub(crate) fn ticket(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Whose turns there are from a ticket on, for a period.
    pub(crate) fn from(&self, ticket: u64) -> impl Iterator<Item = usize> {
        let start = ticket.checked_rem(self.schedule.len() as u64).unwrap_or(0) as usize;
        let (before, after) = self.schedule.split_at(start);
        after.iter().chain(before).map(|&place| usize::from(place))
    }

    /// Turns by another schedule that go on at the same part of the period; by the same one at the same ticket.
    pub(crate) fn carried_over(&self, schedule: Box<[u16]>) -> Self {
        let (ticket, period) = (self.ticket(), self.schedule.len() as u64);
        let part = u128::from(ticket.checked_rem(period).unwrap_or(0)) * schedule.len() as u128;
        let part = part.checked_div(period.into()).unwrap_or(0) as u64;
        Self::starting_at(if schedule == self.schedule { ticket } else { part }, schedule)
    }
}
