//! Whether the store answers, and what time it is there.

use core::time::Duration;
use std::time::SystemTime;

use waypost_core::unix_millis;

use crate::sync::{AtomicU64, Ordering};

/// Whether the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody knows yet.
    Unknown,
    /// It did lately.
    Present,
    /// It does not, and what it said holds no longer.
    Away,
}

/// What all limits of a set know of the store.
#[derive(Debug)]
pub(crate) struct Contact {
    standing: AtomicU64,
    /// Milliseconds that the store's wall clock is ahead of this process's, in two's complement.
    ahead: AtomicU64,
}

impl Contact {
    pub(crate) fn new() -> Self {
        Self { standing: AtomicU64::new(0), ahead: AtomicU64::new(0) }
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            0 => Standing::Unknown,
            1 => Standing::Present,
            _ => Standing::Away,
        }
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        let word = match standing {
            Standing::Unknown => 0,
            Standing::Present => 1,
            Standing::Away => 2,
        };
        self.standing.store(word, Ordering::Relaxed);
    }

    /// Takes the store's word for the time: what it said arrived at `wall`, `on_the_way` after the question.
    pub(crate) fn set_wall(&self, said: SystemTime, wall: SystemTime, on_the_way: Duration) {
        let half = i64::try_from(on_the_way.as_millis() / 2).unwrap_or(0);
        let ahead = unix_millis(said).saturating_add(half).saturating_sub(unix_millis(wall));
        self.ahead.store(ahead.cast_unsigned(), Ordering::Relaxed);
    }

    /// The store's time, in Unix milliseconds, at a wall time of this process.
    #[inline]
    pub(crate) fn wall(&self, wall: SystemTime) -> i64 {
        unix_millis(wall).saturating_add(self.ahead.load(Ordering::Relaxed).cast_signed())
    }
}
