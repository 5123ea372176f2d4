//! Several replicas, a network that misbehaves and a store, in virtual time.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use waypost_core::{DecisionContext, GatewayRequest, NanoUsd, RoutingContext, Timestamp, TokenUsage};
use waypost_limits::{
    Level, Limit, Limits, LimitsConfig, MemoryStore, Replica, ReplicaId, Replication, Reservation, SyncReply,
    SyncRequest,
};

/// Milliseconds of a step.
pub(crate) const STEP: u64 = 5;
pub(crate) const REPLICAS: usize = 3;
/// 2026-11-23, 12:50 UTC: ten minutes before the hour.
const START: Duration = Duration::from_secs(1_795_438_200);

/// `SplitMix64`.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Whether one of a thousand chances came true.
    pub(crate) fn permille(&mut self, chances: u64) -> bool {
        self.below(1_000) < chances
    }
}

/// How the network and the store behave now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Net {
    /// The longest way, one way, in ms.
    pub(crate) latency: u64,
    pub(crate) lose_request: u64,
    pub(crate) lose_reply: u64,
    pub(crate) repeat: u64,
    pub(crate) cut: [bool; REPLICAS],
    pub(crate) down: bool,
    pub(crate) stalled: bool,
}

pub(crate) struct Node {
    pub(crate) limits: Arc<Limits>,
    pub(crate) replica: Replica,
    pub(crate) incarnation: u64,
    pub(crate) alive: bool,
    /// Milliseconds that its wall clock is ahead.
    pub(crate) ahead: i64,
    pub(crate) attempts: u64,
}

enum Message {
    Report(SyncRequest),
    Answer(u64, SyncReply),
}

pub(crate) struct Sim {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) net: Net,
    pub(crate) nodes: Vec<Node>,
    pub(crate) ops: u64,
    /// Milliseconds that the store's clocks jumped.
    pub(crate) store_ahead: u64,
    store: MemoryStore,
    life: u64,
    queue: Vec<(u64, usize, Message)>,
}

pub(crate) fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

pub(crate) fn config() -> LimitsConfig {
    let mut config = LimitsConfig::default();
    config.lease = Duration::from_secs(60);
    config.replication = Some(Replication::among(NonZeroU32::new(REPLICAS as u32).unwrap()));
    config
}

impl Sim {
    /// Replicas with the same limits.
    pub(crate) fn new(seed: u64, limits: &[Limit]) -> Self {
        Self::with(seed, |_| limits.to_vec())
    }

    pub(crate) fn with(seed: u64, limits: impl Fn(usize) -> Vec<Limit>) -> Self {
        let nodes = (0..REPLICAS).map(|place| Node::start(place, 1, limits(place), 0)).collect();
        let random = Random(seed);
        let net = Net { latency: 10, ..Net::default() };
        let store = MemoryStore::new(1);
        Self { now: 0, random, net, nodes, ops: 0, store_ahead: 0, store, life: 1, queue: Vec::new() }
    }

    pub(crate) fn restart(&mut self, place: usize, limits: &[Limit]) {
        let incarnation = self.nodes[place].incarnation + 1;
        self.nodes[place] = Node::start(place, incarnation, limits.to_vec(), self.now);
    }

    /// The store loses all it knows.
    pub(crate) fn lose_store(&mut self) {
        self.life += 1_000;
        self.store = MemoryStore::new(self.life);
    }

    pub(crate) fn step(&mut self) {
        self.now += STEP;
        let (due, later) = std::mem::take(&mut self.queue).into_iter().partition(|(at, ..)| *at <= self.now);
        self.queue = later;
        let due: Vec<(u64, usize, Message)> = due;
        for (_, place, message) in due {
            match message {
                Message::Report(_) if self.net.cut[place] || self.net.down => {}
                Message::Report(request) if self.net.stalled => {
                    self.queue.push((self.now + STEP, place, Message::Report(request)));
                }
                Message::Report(request) => self.serve(place, &request),
                Message::Answer(incarnation, reply) => self.answer(place, incarnation, reply),
            }
        }
        for place in 0..self.nodes.len() {
            self.poll(place);
        }
    }

    fn serve(&mut self, place: usize, request: &SyncRequest) {
        self.ops += 1;
        let now = self.now + self.store_ahead;
        let wall = SystemTime::UNIX_EPOCH + START + Duration::from_millis(now);
        let reply = self.store.sync_at(request, timestamp(now), wall);
        if self.random.permille(self.net.repeat) {
            let again = self.store.sync_at(request, timestamp(now), wall);
            assert_eq!(again, reply, "a repeated report has the same answer");
        }
        if !self.random.permille(self.net.lose_reply) {
            let due = self.now + self.random.below(self.net.latency + 1);
            self.queue.push((due, place, Message::Answer(request.incarnation, reply)));
        }
    }

    fn answer(&mut self, place: usize, incarnation: u64, reply: SyncReply) {
        let (now, wall) = (timestamp(self.now), self.wall(place));
        let node = &mut self.nodes[place];
        if node.alive && node.incarnation == incarnation && !self.net.cut[place] {
            node.replica.handle(Ok(reply), now, wall);
        }
    }

    fn poll(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let Some(request) = node.alive.then(|| node.replica.poll(timestamp(self.now))).flatten() else {
            return;
        };
        node.attempts += 1;
        if self.random.permille(self.net.lose_request) {
            return;
        }
        for _ in 0..=u64::from(self.random.permille(self.net.repeat)) {
            let due = self.now + self.random.below(self.net.latency + 1);
            self.queue.push((due, place, Message::Report(request.clone())));
        }
    }

    pub(crate) fn wall(&self, place: usize) -> SystemTime {
        let start = i64::try_from(START.as_millis()).unwrap() + self.nodes[place].ahead;
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.now.saturating_add_signed(start))
    }

    /// Asks a replica's limits.
    pub(crate) fn ask(&self, place: usize, cost: Option<u64>) -> Option<Reservation> {
        let (request, context) = (GatewayRequest::new("gpt-4o").unwrap(), RoutingContext::default());
        let now = timestamp(self.now);
        let decision = DecisionContext::new(&request, &context, None, now, TokenUsage::default());
        let decision = decision.at_wall_time(self.wall(place));
        self.nodes[place].limits.reserve(&decision, None, cost.map(NanoUsd)).ok()
    }

    /// What all replicas may hold of the first limit: bursts, or money.
    pub(crate) fn held(&self) -> u64 {
        let held = |place: usize| {
            let node = &self.nodes[place];
            let reports = node.limits.reports(timestamp(self.now), self.wall(place));
            match reports[0].level {
                Level::Requests { of, .. } | Level::Tokens { of, .. } => of,
                Level::Money { settled, reserved, remaining, .. } => settled.0 + reserved.0 + remaining.0,
                _ => 0,
            }
        };
        (0..self.nodes.len()).filter(|&place| self.nodes[place].alive).map(held).sum()
    }
}

impl Node {
    fn start(place: usize, incarnation: u64, limits: Vec<Limit>, now: u64) -> Self {
        let limits = Arc::new(Limits::new(limits, config(), timestamp(now)).unwrap());
        let id = ReplicaId::new(&format!("pod-{place}"));
        let replica = Replica::new(Arc::clone(&limits), id, incarnation, place as u64 + 1).unwrap();
        Self { limits, replica, incarnation, alive: true, ahead: 0, attempts: 0 }
    }
}

/// The sequential counter that everything is judged by.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// What admitted requests cost, running ones by their estimates.
    pub(crate) spent: u64,
    pub(crate) of: [u64; REPLICAS],
    running: Vec<(u64, usize, u64, Reservation)>,
}

impl Ledger {
    /// Asks, and enters what was admitted; it ends up to 400 ms later, at up to its estimate.
    pub(crate) fn ask(&mut self, sim: &mut Sim, place: usize, cost: u64) -> bool {
        let Some(reservation) = sim.ask(place, Some(cost)) else { return false };
        let ends = sim.now + sim.random.below(400);
        let actual = cost - sim.random.below(cost / 4);
        self.spent += actual;
        self.of[place] += actual;
        self.running.push((ends, place, actual, reservation));
        true
    }

    /// The same of what costs what was expected.
    pub(crate) fn ask_exact(&mut self, sim: &mut Sim, place: usize, cost: u64) -> bool {
        let Some(reservation) = sim.ask(place, Some(cost)) else { return false };
        self.spent += cost;
        self.running.push((sim.now + sim.random.below(400), place, cost, reservation));
        true
    }

    pub(crate) fn settle(&mut self, sim: &Sim) {
        let mut at = 0;
        while at < self.running.len() {
            if self.running[at].0 > sim.now {
                at += 1;
                continue;
            }
            let (_, _, actual, reservation) = self.running.swap_remove(at);
            reservation.settle(TokenUsage::default(), Some(NanoUsd(actual)), timestamp(sim.now));
        }
    }

    /// A process is gone, and its requests with it: they cost what they cost.
    pub(crate) fn lose(&mut self, place: usize) {
        self.running.retain(|running| running.1 != place);
    }
}

/// The least bucket that would have admitted everything: of requests at a rate.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    level: f64,
    at: u64,
    pub(crate) highest: f64,
    pub(crate) admitted: u64,
}

impl Bucket {
    pub(crate) fn admit(&mut self, now: u64, per_second: f64) {
        let refilled = (now - self.at) as f64 * per_second / 1_000.0;
        self.level = (self.level - refilled).max(0.0) + 1.0;
        self.at = now;
        self.highest = self.highest.max(self.level);
        self.admitted += 1;
    }
}

/// Runs a scenario with many seeds; says which failed.
pub(crate) fn seeds(run: impl Fn(u64)) {
    for seed in 0..500 {
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        assert!(ran.is_ok(), "seed {seed} failed");
    }
}
