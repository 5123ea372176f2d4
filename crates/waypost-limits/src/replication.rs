//! How several replicas share limits.

use core::num::NonZeroU32;
use core::time::Duration;

use crate::Bound;

/// The whole of a rate, in parts per million.
pub(crate) const WHOLE: u64 = 1_000_000;

/// How several replicas share the limits of one set through a [`LimitStore`](crate::LimitStore).
///
/// Each replica works on its share of each limit and never waits for the store. A [`Replica`](crate::Replica) asks for
/// shares in the background, in proportion to what is asked of this process.
///
/// - Of rates and concurrency, half is kept in even parts for each of the replicas that may be there, and the other
///   half is dealt by demand. A replica that is in contact lends what it does not need of its even part, and has it
///   again when its lease is over.
/// - Of budgets, one percent is kept in even parts, for every subject; the rest is dealt in pieces of at most a
///   percent.
///
/// ```
/// use std::num::NonZeroU32;
/// use waypost_limits::{LimitsConfig, Replication};
///
/// let three = NonZeroU32::new(3).ok_or("not zero")?;
/// let mut config = LimitsConfig::default();
/// config.replication = Some(Replication::among(three));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "Form", into = "Form")
)]
#[non_exhaustive]
pub struct Replication {
    /// The most replicas at the same time. With more, limits may be exceeded while the store is away.
    pub replicas: NonZeroU32,
    /// How often shares are asked for. At least 1 ms. Default: 100 ms.
    pub sync_every: Duration,
    /// How long a share holds without word from the store; then each limit does as its
    /// [`WhenAway`](crate::WhenAway) says. At least ten times `sync_every`. Default: 30 s.
    pub share_ttl: Duration,
    /// How long the store may take for an answer. Default: 50 ms.
    pub timeout: Duration,
}

impl Replication {
    /// The defaults, for at most so many replicas at the same time.
    pub const fn among(replicas: NonZeroU32) -> Self {
        Self {
            replicas,
            sync_every: Duration::from_millis(100),
            share_ttl: Duration::from_secs(30),
            timeout: Duration::from_millis(50),
        }
    }

    /// The even part of a rate or of concurrency that is kept for each replica: together one half.
    pub(crate) fn floor_of(&self, total: u64) -> u64 {
        total / (2 * u64::from(self.replicas.get()))
    }

    /// The even part of a budget that each replica has without asking is one of so many: together one percent.
    pub(crate) fn parts_of_budget(&self) -> u64 {
        100 * u64::from(self.replicas.get())
    }

    /// The interval, in bounds.
    pub(crate) fn interval(&self) -> Duration {
        self.sync_every.max(Duration::from_millis(1))
    }

    /// The lease of a share, in bounds.
    pub(crate) fn lease(&self) -> Duration {
        self.share_ttl.max(self.interval().saturating_mul(10))
    }
}

/// What the shares of a limit add up to: parts of a rate or a budget, requests under way of concurrency.
pub(crate) fn total_of(bound: &Bound) -> u64 {
    match bound {
        Bound::Concurrency(most) => most.get().into(),
        Bound::Requests(_) | Bound::Tokens(_) | Bound::Budget(_) => WHOLE,
    }
}

/// The form that operators write.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    replicas: NonZeroU32,
    #[serde(default)]
    sync_every: Option<Duration>,
    #[serde(default)]
    share_ttl: Option<Duration>,
    #[serde(default)]
    timeout: Option<Duration>,
}

#[cfg(feature = "serde")]
impl From<Form> for Replication {
    fn from(form: Form) -> Self {
        let usual = Self::among(form.replicas);
        Self {
            replicas: form.replicas,
            sync_every: form.sync_every.unwrap_or(usual.sync_every),
            share_ttl: form.share_ttl.unwrap_or(usual.share_ttl),
            timeout: form.timeout.unwrap_or(usual.timeout),
        }
    }
}

#[cfg(feature = "serde")]
impl From<Replication> for Form {
    fn from(replication: Replication) -> Self {
        Self {
            replicas: replication.replicas,
            sync_every: Some(replication.sync_every),
            share_ttl: Some(replication.share_ttl),
            timeout: Some(replication.timeout),
        }
    }
}
