//! The seam to what replicas share.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

use waypost_core::{LimitId, NanoUsd, Timestamp};

/// Keeps what several replicas share of their limits.
///
/// One operation is all there is: a replica tells what it holds and needs of many limits at once, and is told what it
/// gets. An implementation over a network keeps for each [`SyncKey`] what [`MemoryStore`](crate::MemoryStore) keeps,
/// and computes the same answer in one atomic step, such as a script.
///
/// ```
/// use core::future::Future;
/// use std::time::SystemTime;
/// use waypost_core::Timestamp;
/// use waypost_limits::{LimitStore, MemoryStore, StoreError, SyncReply, SyncRequest};
///
/// struct Embedded(MemoryStore);
///
/// impl LimitStore for Embedded {
///     async fn sync(&self, request: SyncRequest) -> Result<SyncReply, StoreError> {
///         Ok(self.0.sync_at(&request, Timestamp::ORIGIN, SystemTime::UNIX_EPOCH))
///     }
/// }
/// ```
pub trait LimitStore: Send + Sync {
    /// Takes a report and answers it. A request that comes again, by its replica, incarnation and sequence, has no
    /// further effect and the same answer. One that is older than the last of its replica has no effect.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when there is no answer. The report may have had its effect all the same.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when it takes longer than [`Replication::timeout`](crate::Replication::timeout).
    fn sync(&self, request: SyncRequest) -> impl Future<Output = Result<SyncReply, StoreError>> + Send;
}

/// Why a store gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing came back in time.
    #[error("the store did not answer in time")]
    TimedOut,
    /// The store cannot be reached.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// The store answered that it cannot, such as one that is read-only, loading or out of memory.
    #[error("the store refused: {0}")]
    Refused(String),
}

/// The name of a replica: the same after a restart, another for each of those that run at the same time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(Arc<str>);

impl ReplicaId {
    /// A replica of some name, such as that of its pod.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a replica tells a store. All sums only grow and all else is the state as it is, so that a report that is lost,
/// or comes twice, does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    /// Who tells.
    pub replica: ReplicaId,
    /// Which start of the replica: greater than that of all before it.
    pub incarnation: u64,
    /// Which report of this incarnation, from 1.
    pub sequence: u64,
    /// The [life](SyncReply::life) of the store that the replica knows; 0 when it knows none.
    pub life: u64,
    /// Whether a store of that life now knows all that the replica holds.
    pub is_whole: bool,
    /// The [time](SyncReply::time) of the last answer that the replica got: the report was made after it.
    pub seen: Timestamp,
    /// The most replicas at the same time.
    pub replicas: u32,
    /// How long shares hold without word from the store.
    pub share_ttl: Duration,
    /// After so long without word from a replica none of its reservations runs any more.
    pub reservation_ttl: Duration,
    /// What it holds and needs.
    pub items: Vec<SyncItem>,
}

/// What is shared: one limit, for one subject, in one period. The same in every replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncKey {
    /// The limit.
    pub limit: LimitId,
    /// Whether a candidate declares it itself.
    pub is_declared: bool,
    /// Whose part; a text without meaning of its own.
    pub subject: String,
    /// Unix milliseconds: when the period of a budget began. Of all else 0.
    pub period: i64,
}

/// What a replica holds and needs of one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncItem {
    /// Of a rate or of concurrency.
    Share(SyncKey, ShareReport),
    /// Of a budget.
    Money(SyncKey, MoneyReport),
}

/// What a replica holds and needs of a rate or of concurrency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareReport {
    /// What all shares add up to: a million parts of a rate, or the requests under way that are admitted.
    pub total: u64,
    /// How many a rate admits in 366 days, by this replica's version of the limit. Of concurrency 0.
    pub rate: u64,
    /// The burst of a rate, by this replica's version of the limit. Of concurrency 0.
    pub burst: u64,
    /// What is kept for every replica.
    pub floor: u64,
    /// What the replica holds.
    pub holds: u64,
    /// The most that it may hold until it hears otherwise, for as long as a lease: what it holds, or its floor when it
    /// may be cut off and its lease be over before there is an answer.
    pub claims: u64,
    /// Asked for in a second, in thousandths.
    pub demand: u64,
    /// Whether the replica wants its even part back, so that there is nothing more to tell.
    pub is_leaving: bool,
}

/// What a replica holds and needs of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoneyReport {
    /// The budget, by this replica's version of the limit.
    pub amount: NanoUsd,
    /// Unix milliseconds: when the period ends.
    pub ends: i64,
    /// What every replica has without asking.
    pub pre_leased: NanoUsd,
    /// All that was ever granted to the replica, and what it had without asking. Only grows.
    pub granted: NanoUsd,
    /// All of it that was settled. Only grows.
    pub settled: NanoUsd,
    /// What is reserved now.
    pub reserved: NanoUsd,
    /// All of it that was handed back. Only grows.
    pub handed_back: NanoUsd,
    /// What it needs to be granted beyond that.
    pub wanted: NanoUsd,
    /// What others had settled when the store said so last; `None` when it never did.
    pub settled_elsewhere: Option<NanoUsd>,
}

/// What a store answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncReply {
    /// The report that it answers.
    pub sequence: u64,
    /// Another one each time that the store has lost what it knew. Not 0.
    pub life: u64,
    /// The store's monotonic time.
    pub time: Timestamp,
    /// The store's wall time, by which periods of budgets begin everywhere.
    pub wall: SystemTime,
    /// What the replica gets, in the order of the items.
    pub answers: Vec<SyncAnswer>,
}

/// What a replica gets of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncAnswer {
    /// Of a rate or of concurrency.
    Share(ShareAnswer),
    /// Of a budget.
    Money(MoneyAnswer),
    /// Nothing is said: what the replica has stays as it is.
    Nothing,
}

/// What a replica gets of a rate or of concurrency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareAnswer {
    /// Its share of the total from now on.
    pub share: u64,
    /// The least limit that a replica has, in parts per million of this replica's.
    pub scale: u64,
    /// How long the share holds, counted from before the report was sent.
    pub lease: Duration,
}

/// What a replica gets of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoneyAnswer {
    /// All that was ever granted to the replica, and what it had without asking. Only grows.
    pub granted: NanoUsd,
    /// What others settled.
    pub settled_elsewhere: NanoUsd,
    /// What nobody was granted.
    pub ungranted: NanoUsd,
    /// Whether others need what this replica does not.
    pub recall: bool,
}
