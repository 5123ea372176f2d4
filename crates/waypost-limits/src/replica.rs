//! Keeps the shares of one process in step with the store.

mod concerned;

use core::fmt;
use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

use waypost_core::{SeedSequence, Timestamp};

use crate::contact::Standing;
use crate::{
    LimitChange, LimitEvent, Limits, ReplicaId, Replication, StoreError, Subject, SyncReply, SyncRequest,
};
use concerned::{Concerned, Sync};

/// The most items of one report; the rest comes next, who waited longest first.
const MOST_ITEMS: usize = 1_024;
/// After so many failures in a row the store is only probed.
const PATIENCE: u32 = 5;
/// How often, give or take a fifth.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Keeps the shares that one process has of its limits in step with a store, without input or output of its own: it
/// says what to send, and is told what came back. `keep_shares` of the feature `tokio` drives it.
///
/// At most one report is out. One that is not answered within the [timeout](Replication::timeout) failed; after five
/// failures in a row the store is probed once a second. Requests never wait for any of this.
///
/// ```
/// use std::num::NonZeroU32;
/// use std::sync::Arc;
/// use std::time::SystemTime;
/// use waypost_core::{LimitId, Timestamp};
/// use waypost_limits::{Limit, Limits, LimitsConfig, MemoryStore, Rate, Replica, ReplicaId, Replication};
///
/// let mut config = LimitsConfig::default();
/// config.replication = Some(Replication::among(NonZeroU32::MIN));
/// let all = Limit::requests(LimitId::new("all")?, Rate::per_second(100)?);
/// let limits = Arc::new(Limits::new([all], config, Timestamp::ORIGIN)?);
///
/// let mut replica = Replica::new(limits, ReplicaId::new("pod-0"), 1, 7).ok_or("replication is on")?;
/// let (store, now, wall) = (MemoryStore::new(1), Timestamp::ORIGIN, SystemTime::UNIX_EPOCH);
/// let report = replica.poll(now).ok_or("the first report is due at once")?;
/// replica.handle(Ok(store.sync_at(&report, now, wall)), now, wall);
/// assert!(replica.is_in_contact() && replica.poll(now).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Replica {
    limits: Arc<Limits>,
    replication: Replication,
    id: ReplicaId,
    incarnation: u64,
    sequence: u64,
    life: u64,
    seen: Timestamp,
    out: Option<Out>,
    next_tick: Timestamp,
    ticked: Option<Timestamp>,
    next_sync: Timestamp,
    sent: Option<Timestamp>,
    /// When the last report was sent that was answered.
    in_contact: Option<Timestamp>,
    failures: u32,
    seeds: SeedSequence,
}

/// A report that is out.
struct Out {
    sent_at: Timestamp,
    asked: Vec<Concerned>,
}

impl Replica {
    /// A replica that has not heard of the store; `None` when the limits are [not
    /// shared](crate::LimitsConfig::replication).
    /// `incarnation` is greater than at all earlier starts, such as the wall time; `seed` spreads the probes of
    /// replicas.
    pub fn new(limits: Arc<Limits>, id: ReplicaId, incarnation: u64, seed: u64) -> Option<Self> {
        let replication = limits.config().replication.clone()?;
        Some(Self {
            limits,
            replication,
            id,
            incarnation,
            sequence: 0,
            life: 0,
            seen: Timestamp::ORIGIN,
            out: None,
            next_tick: Timestamp::ORIGIN,
            ticked: None,
            next_sync: Timestamp::ORIGIN,
            sent: None,
            in_contact: None,
            failures: 0,
            seeds: SeedSequence::new(seed),
        })
    }

    /// Goes on with another [version](Limits::updated) of its limits.
    pub fn update(&mut self, limits: Arc<Limits>) {
        self.limits = limits;
    }

    /// How it shares.
    pub const fn replication(&self) -> &Replication {
        &self.replication
    }

    /// Whether the store answered within a lease.
    pub fn is_in_contact(&self) -> bool {
        self.limits.shared.contact.standing() == Standing::Present
    }

    /// What to send now, if anything. To be called at least every [`sync_every`](Replication::sync_every), whatever
    /// became of the last report: it also ends leases.
    ///
    /// # Complexity
    ///
    /// Linear in the meters.
    pub fn poll(&mut self, now: Timestamp) -> Option<SyncRequest> {
        if self.out.as_ref().is_some_and(|out| now >= out.sent_at + self.replication.timeout) {
            self.fail(now);
        }
        if now >= self.next_tick {
            self.tick(now);
        }
        if self.out.is_some() || now < self.next_sync {
            return None;
        }
        self.next_sync = now + self.replication.interval();
        self.report(now)
    }

    /// Takes an answer, or that there is none, at a wall time of this process. One that comes too late, or answers an
    /// earlier report, is without effect.
    pub fn handle(&mut self, answer: Result<SyncReply, StoreError>, now: Timestamp, wall: SystemTime) {
        let Some(out) = &self.out else { return };
        match answer {
            Ok(reply) if reply.sequence != self.sequence => {}
            Ok(reply) if reply.life != 0 && now < out.sent_at + self.replication.timeout => {
                self.accept(&reply, now, wall);
            }
            _ => self.fail(now),
        }
    }

    fn accept(&mut self, reply: &SyncReply, now: Timestamp, wall: SystemTime) {
        let Some(out) = self.out.take() else { return };
        let known = self.life;
        (self.failures, self.life, self.seen) = (0, reply.life, reply.time);
        self.in_contact = Some(out.sent_at);
        self.limits.shared.contact.set_wall(reply.wall, wall, now.since(out.sent_at));
        self.come_back(now, self.limits.shared.contact.wall(wall));
        let sync = self.sync(now);
        for (concerned, answer) in out.asked.iter().zip(&reply.answers) {
            concerned.accept(answer, &sync, out.sent_at, known);
        }
    }

    /// Notes how much is asked for, and ends what is over.
    fn tick(&mut self, now: Timestamp) {
        self.next_tick = now + self.replication.interval();
        let elapsed = self.ticked.map_or(Duration::ZERO, |before| now.since(before));
        self.ticked = Some(now);
        self.notice_absence();
        let sync = self.sync(now);
        Concerned::each(&self.limits, |concerned| {
            concerned.measure(elapsed, now);
            concerned.lapse(&sync);
        });
    }

    fn report(&mut self, now: Timestamp) -> Option<SyncRequest> {
        let sync = self.sync(now);
        let mut due = Vec::new();
        Concerned::each(&self.limits, |concerned| {
            if concerned.is_due(&sync) {
                due.push(concerned);
            }
        });
        let is_silent = due.is_empty() && self.life != 0;
        if is_silent && self.sent.is_some_and(|sent| now < sent + self.replication.lease() / 3) {
            return None;
        }
        let is_whole = due.len() <= MOST_ITEMS;
        if !is_whole {
            due.sort_by_key(Concerned::told_at);
            due.truncate(MOST_ITEMS);
        }
        let items = due.iter_mut().map(|concerned| concerned.item(&sync)).collect();
        self.out = Some(Out { sent_at: now, asked: due });
        self.sent = Some(now);
        self.sequence += 1;
        Some(SyncRequest {
            replica: self.id.clone(),
            incarnation: self.incarnation,
            sequence: self.sequence,
            life: self.life,
            is_whole,
            seen: self.seen,
            replicas: self.replication.replicas.get(),
            share_ttl: self.replication.lease(),
            // A lease is over at the latest half as long after.
            reservation_ttl: self.limits.config().lease.saturating_mul(3) / 2,
            items,
        })
    }

    fn sync(&self, now: Timestamp) -> Sync<'_> {
        Sync {
            replication: &self.replication,
            shared: &self.limits.shared,
            now,
            life: self.life,
            has_failed: self.failures > 0,
        }
    }

    fn fail(&mut self, now: Timestamp) {
        self.out = None;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= PATIENCE {
            self.next_sync = now + self.jittered();
        }
    }

    /// Four fifths to six fifths.
    fn jittered(&self) -> Duration {
        let fifths = self.seeds.generator().below(401) as u32;
        PROBE_EVERY * (800 + fifths) / 1_000
    }

    /// The store is away once no lease holds any more, or when it never was there.
    fn notice_absence(&self) {
        let contact = &self.limits.shared.contact;
        let is_over = match (self.in_contact, self.ticked) {
            (Some(sent), Some(now)) => now >= sent + self.replication.lease(),
            _ => self.failures >= PATIENCE,
        };
        if is_over && contact.standing() != Standing::Away {
            contact.set_standing(Standing::Away);
            self.tell(LimitChange::StoreAway);
        }
    }

    fn come_back(&self, now: Timestamp, wall: i64) {
        let contact = &self.limits.shared.contact;
        let before = contact.standing();
        if before == Standing::Present {
            return;
        }
        contact.set_standing(Standing::Present);
        Concerned::each(&self.limits, |concerned| concerned.restore(now, wall));
        if before == Standing::Away {
            self.tell(LimitChange::StoreBack);
        }
    }

    fn tell(&self, change: LimitChange) {
        let nobody = Subject::default();
        for limit in self.limits.iter() {
            self.limits.shared.tell(&LimitEvent::new(limit.id(), &nobody, change));
        }
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("id", &self.id)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}
