//! The clock of the machine.

use std::time::{Instant, SystemTime};

use waypost_core::{Clock, Timestamp};

/// The machine's clock, with its origin at the time of creation: the default of a
/// [`RouterBuilder`](crate::RouterBuilder).
///
/// ```
/// use waypost::SystemClock;
/// use waypost::core::Clock;
///
/// let clock = SystemClock::default();
/// assert!(clock.now() <= clock.now());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place below the gateway that reads the clock")]
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::ORIGIN + self.origin.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place below the gateway that reads the clock")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
