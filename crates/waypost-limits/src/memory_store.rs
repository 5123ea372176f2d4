//! The store in memory, and what any store computes.

mod budget;
mod shares;

use core::fmt;
use core::time::Duration;
use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::SystemTime;

use waypost_core::{Timestamp, unix_millis};

use crate::sync::Mutex;
use crate::{ReplicaId, SyncAnswer, SyncItem, SyncKey, SyncReply, SyncRequest};
use budget::SharedBudget;
use shares::SharedLimit;

/// The most limits with their subjects and periods that are kept. Beyond, newcomers get nothing and every replica works
/// on its even part.
const MOST_KEYS: usize = 1 << 20;

/// What replicas share, in the memory of one process.
///
/// It is the algorithm of all stores: one atomic step for each report. What it knows is what it was told, and what it
/// promised since; nothing is granted twice, whatever is lost, late or repeated on the way:
///
/// - a share counts as held until it is reported to be less, or its lease is over, which is earlier at the replica;
/// - grants of money only add up, and end by what is settled or handed back;
/// - a store that has lost what it knew grants nothing until all replicas have told it what they hold, or their leases
///   are over. So does one that heard of nobody for as long as a lease: its clock may have jumped.
///
/// ```
/// use std::time::SystemTime;
/// use waypost_core::Timestamp;
/// use waypost_limits::{MemoryStore, ReplicaId, SyncRequest};
///
/// let store = MemoryStore::new(1);
/// let hello = SyncRequest {
///     replica: ReplicaId::new("pod-0"),
///     incarnation: 1,
///     sequence: 1,
///     life: 0,
///     is_whole: true,
///     seen: Timestamp::ORIGIN,
///     replicas: 3,
///     share_ttl: std::time::Duration::from_secs(30),
///     reservation_ttl: std::time::Duration::from_secs(900),
///     items: Vec::new(),
/// };
/// let reply = store.sync_at(&hello, Timestamp::ORIGIN, SystemTime::UNIX_EPOCH);
/// assert_eq!((reply.sequence, reply.life), (1, 1));
/// ```
pub struct MemoryStore {
    known: Mutex<Known>,
}

struct Known {
    life: u64,
    /// When this life began.
    began: Option<Timestamp>,
    /// When somebody reported last.
    heard: Timestamp,
    /// Who told this life all that they hold.
    told: HashSet<ReplicaId>,
    replicas: HashMap<ReplicaId, Session>,
    limits: HashMap<SyncKey, SharedLimit>,
    budgets: HashMap<SyncKey, SharedBudget>,
    swept: Timestamp,
}

/// The last report of a replica, and its answer.
struct Session {
    incarnation: u64,
    sequence: u64,
    heard: Timestamp,
    reply: SyncReply,
}

/// What an answer depends on besides the item.
#[derive(Debug, Clone, Copy)]
struct Teller<'a> {
    request: &'a SyncRequest,
    now: Timestamp,
    /// Whether anybody may be given more than they hold.
    may_grow: bool,
    /// Whether the last answer that the replica got was of this life.
    is_known: bool,
}

/// Who holds something: a start of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    replica: ReplicaId,
    incarnation: u64,
}

impl Teller<'_> {
    fn holder(&self) -> Holder {
        Holder { replica: self.request.replica.clone(), incarnation: self.request.incarnation }
    }

    /// How many replicas there may be besides this one and those of `others`.
    fn absent<'b>(&self, others: impl Iterator<Item = &'b Holder>) -> u64 {
        let names: HashSet<&ReplicaId> =
            others.map(|other| &other.replica).filter(|&name| *name != self.request.replica).collect();
        u64::from(self.request.replicas).saturating_sub(1 + names.len() as u64)
    }
}

impl MemoryStore {
    /// An empty store. `life` tells it from those that were there before it, such as the time at which it starts.
    pub fn new(life: u64) -> Self {
        Self { known: Mutex::new(Known::new(life.max(1))) }
    }

    /// Takes a report and answers it, as [`LimitStore::sync`](crate::LimitStore::sync) says. An answer to a report that
    /// is older than the last of its replica is of life 0.
    ///
    /// # Complexity
    ///
    /// Linear in the items, and for each in the replicas; once in a lease also in all that is kept.
    pub fn sync_at(&self, request: &SyncRequest, now: Timestamp, wall: SystemTime) -> SyncReply {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).sync(request, now, wall)
    }

    /// How many limits, with their subjects and periods, are kept.
    pub fn len(&self) -> usize {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.limits.len() + known.budgets.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Known {
    fn new(life: u64) -> Self {
        Self {
            life,
            began: None,
            heard: Timestamp::ORIGIN,
            told: HashSet::new(),
            replicas: HashMap::new(),
            limits: HashMap::new(),
            budgets: HashMap::new(),
            swept: Timestamp::ORIGIN,
        }
    }

    fn sync(&mut self, request: &SyncRequest, now: Timestamp, wall: SystemTime) -> SyncReply {
        if let Some(reply) = self.answered(request, now, wall) {
            return reply;
        }
        self.notice_gap(request, now);
        self.sweep(request, now, wall);
        let teller = self.teller(request, now);
        let answers = request.items.iter().map(|item| self.answer(&teller, item)).collect();
        let reply = SyncReply { sequence: request.sequence, life: self.life, time: now, wall, answers };
        let session = Session {
            incarnation: request.incarnation,
            sequence: request.sequence,
            heard: now,
            reply: reply.clone(),
        };
        self.replicas.insert(request.replica.clone(), session);
        reply
    }

    /// The answer to a report that came before, or is older than the last.
    fn answered(&self, request: &SyncRequest, now: Timestamp, wall: SystemTime) -> Option<SyncReply> {
        let last = self.replicas.get(&request.replica)?;
        let (known, told) = ((last.incarnation, last.sequence), (request.incarnation, request.sequence));
        if known == told {
            return Some(last.reply.clone());
        }
        let outdated =
            SyncReply { sequence: request.sequence, life: 0, time: now, wall, answers: Vec::new() };
        (known > told).then_some(outdated)
    }

    /// Begins another life when nobody was heard of for a lease: then nothing that is known of shares holds.
    fn notice_gap(&mut self, request: &SyncRequest, now: Timestamp) {
        if self.began.is_some() && now.since(self.heard) >= request.share_ttl {
            self.life = self.life.wrapping_add(1).max(1);
            self.began = None;
            self.told.clear();
            self.limits.clear();
        }
        self.began.get_or_insert(now);
        self.heard = self.heard.max(now);
    }

    fn teller<'a>(&mut self, request: &'a SyncRequest, now: Timestamp) -> Teller<'a> {
        let is_known = request.life == self.life;
        if is_known && request.is_whole {
            self.told.insert(request.replica.clone());
        }
        let began = self.began.unwrap_or(now);
        let all_told = self.told.len() >= request.replicas as usize;
        Teller { request, now, may_grow: all_told || now.since(began) > longest(request), is_known }
    }

    fn answer(&mut self, teller: &Teller<'_>, item: &SyncItem) -> SyncAnswer {
        let is_full = self.limits.len() + self.budgets.len() >= MOST_KEYS;
        match item {
            SyncItem::Share(key, _) if is_full && !self.limits.contains_key(key) => SyncAnswer::Nothing,
            SyncItem::Money(key, _) if is_full && !self.budgets.contains_key(key) => SyncAnswer::Nothing,
            SyncItem::Share(key, report) => {
                SyncAnswer::Share(self.limits.entry(key.clone()).or_default().answer(teller, report))
            }
            SyncItem::Money(key, report) => {
                SyncAnswer::Money(self.budgets.entry(key.clone()).or_default().answer(teller, report))
            }
        }
    }

    /// Forgets what nobody holds and periods that are over, once in a lease.
    fn sweep(&mut self, request: &SyncRequest, now: Timestamp, wall: SystemTime) {
        if now.since(self.swept) < request.share_ttl {
            return;
        }
        self.swept = now;
        let silence = longest(request).saturating_add(request.reservation_ttl);
        let over = unix_millis(wall).saturating_sub(i64::try_from(silence.as_millis()).unwrap_or(i64::MAX));
        self.replicas.retain(|_, session| now.since(session.heard) <= silence);
        self.limits.retain(|_, limit| limit.is_held(now));
        self.budgets.retain(|_, budget| !budget.is_over_at(over));
    }
}

/// How long a share counts as held: longer than at the replica by what its ticks may be late.
fn longest(request: &SyncRequest) -> Duration {
    request.share_ttl.saturating_add(request.share_ttl / 10)
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("len", &self.len()).finish_non_exhaustive()
    }
}
