//! The candidate that has the prompt's beginning in its cache.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateId, CandidateIndex, CandidateSet, DecisionContext, Generator, LoadBalancer,
    Message, Pool, Prompt, SelectContext, Timestamp,
};

use crate::by_id::{for_each_in_both, ids_of};
use crate::choices::Choices;
use crate::least::Least;
use crate::load::{Capacities, LoadUnit, Meter};
use crate::prefix_table::PrefixTable;
use crate::stable_hash::{hash, mix};

/// Bytes of a message per block: about 128 tokens.
const BLOCK: usize = 512;
/// Blocks of a prompt that are looked at: 64 KB. What begins alike for that long is alike.
const MOST_BLOCKS: usize = 128;
/// Holders of a beginning that are compared.
const HOLDERS: usize = 4;
/// Candidates that are drawn besides.
const DRAWN: usize = 2;
/// Holders that a table tells apart, over all pools that took its pool's place.
const MOST_SLOTS: u32 = u16::MAX as u32;

/// Sends a prompt to the candidate that has the longest beginning of it in its cache, unless it is too busy: the least
/// of
///
/// ```text
/// (tokens in flight + tokens of the prompt that are not cached) / weight
/// ```
///
/// among up to four candidates that were given the same beginning of late and two that are drawn at random by weight,
/// so that affinity and load are one cost and no threshold switches between them. What is cached counts less the longer
/// ago it was, and nothing after `forget_after`. A candidate with many more requests in flight than the less loaded of
/// the two is left out, whatever it has cached.
///
/// Beginnings are chains of hashes over blocks of 512 bytes, message by message, that start from the tenant and the
/// model: tenants never see each other's caches in the timing of their answers. The first block alone is no match: it
/// is the system prompt that everyone shares, and would send everyone to one candidate.
///
/// Prompts that the router knows only by their length go to the less loaded of the two.
///
/// ```
/// use waypost_balancers::PrefixAffinity;
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
///
/// let pool = Pool::from_weights([("engine-0", 1), ("engine-1", 1)])?;
/// let large = PrefixAffinity { entries: 1 << 20, ..PrefixAffinity::default() };
/// let balancer = large.build(&pool, &mut SeedSequence::new(7).generator());
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// One hash and two look-ups per block, of at most 128 blocks, whatever the number of candidates. Memory is bounded:
/// eight bytes per entry of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefixAffinity {
    /// Blocks that are remembered per pool, 8 to 16 million, rounded up to a power of two. Default: 65,536, half a
    /// megabyte.
    pub entries: usize,
    /// How long a beginning is taken to be cached, up to a day: what engines keep for want of newer requests. Default:
    /// 5 minutes.
    pub forget_after: Duration,
    /// Requests in flight by which a candidate may exceed the less loaded of two. Default: 32.
    pub imbalance: u32,
    /// And how many times as many it may have. Default: 1.5.
    pub imbalance_ratio: f32,
}

impl Default for PrefixAffinity {
    fn default() -> Self {
        Self { entries: 1 << 16, forget_after: Duration::from_secs(300), imbalance: 32, imbalance_ratio: 1.5 }
    }
}

impl BuildLoadBalancer for PrefixAffinity {
    fn build(&self, pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(PrefixAffinityBalancer::new(pool, *self, Arc::new(Memory::new(self.entries)), |_| None))
    }
}

/// What [`PrefixAffinity`] builds.
#[derive(Debug)]
pub struct PrefixAffinityBalancer {
    config: PrefixAffinity,
    ids: Box<[CandidateId]>,
    choices: Choices,
    capacities: Capacities,
    memory: Arc<Memory>,
    /// By place in the pool: the holder's number in the memory.
    slots: Box<[u16]>,
    /// By number in the memory: the place in the pool, or one beyond it.
    places: Box<[u16]>,
}

/// What outlives a pool: the table, and how many holders it has told apart.
#[derive(Debug)]
struct Memory {
    table: PrefixTable,
    slots: AtomicU32,
}

impl Memory {
    fn new(entries: usize) -> Self {
        Self { table: PrefixTable::new(entries), slots: AtomicU32::new(0) }
    }
}

/// The beginnings of one prompt, by increasing length.
#[derive(Debug)]
struct Beginnings {
    hashes: [u64; MOST_BLOCKS],
    len: usize,
    /// Bytes up to the end of each block.
    bytes: [u32; MOST_BLOCKS],
    /// Bytes of the whole prompt.
    total: usize,
}

impl Beginnings {
    fn of(decision: &DecisionContext<'_>, pool: &Pool) -> Self {
        let mut beginnings = Self { hashes: [0; MOST_BLOCKS], len: 0, bytes: [0; MOST_BLOCKS], total: 0 };
        let Prompt::Messages(messages) = &decision.request.prompt else { return beginnings };
        let tenant = decision.tenant_id().map_or(0, |tenant| hash(tenant.as_str().as_bytes(), 1));
        let mut chain = mix(tenant, hash(pool.model().as_str().as_bytes(), 2));
        for Message { role, content } in messages.iter() {
            chain = mix(chain, hash(role.as_bytes(), 3));
            for block in content.as_bytes().chunks(BLOCK) {
                if beginnings.len < MOST_BLOCKS {
                    chain = mix(chain, hash(block, 4));
                    beginnings.push(chain, block.len());
                }
            }
            beginnings.total += content.len();
        }
        beginnings
    }

    fn push(&mut self, hash: u64, bytes: usize) {
        let before = self.len.checked_sub(1).map_or(0, |last| self.bytes[last]);
        self.hashes[self.len] = hash;
        self.bytes[self.len] = before + bytes as u32;
        self.len += 1;
    }

    fn hashes(&self) -> &[u64] {
        &self.hashes[..self.len]
    }

    /// The share of the prompt that `blocks` blocks are.
    fn share(&self, blocks: usize) -> f32 {
        self.bytes[blocks - 1] as f32 / self.total as f32
    }
}

/// A member that may have some of the prompt in its cache.
#[derive(Debug, Clone, Copy)]
struct Match {
    index: CandidateIndex,
    /// The share of the prompt, less what has faded.
    cached: f32,
}

impl PrefixAffinityBalancer {
    fn new(
        pool: &Pool,
        config: PrefixAffinity,
        memory: Arc<Memory>,
        known: impl Fn(usize) -> Option<u16>,
    ) -> Self {
        let next_slot = || memory.slots.fetch_add(1, Ordering::Relaxed).min(MOST_SLOTS) as u16;
        let slots: Box<[u16]> = (0..pool.len()).map(|place| known(place).unwrap_or_else(next_slot)).collect();
        let mut places = vec![u16::MAX; slots.iter().map(|&slot| usize::from(slot) + 1).max().unwrap_or(0)];
        slots.iter().enumerate().for_each(|(place, &slot)| places[usize::from(slot)] = place as u16);
        Self {
            ids: ids_of(pool),
            choices: Choices::of(pool, DRAWN),
            capacities: Capacities::of(pool),
            places: places.into(),
            slots,
            memory,
            config,
        }
    }

    /// Members that were given the prompt's beginning, the longest first.
    fn matches(
        &self,
        set: &CandidateSet<'_>,
        beginnings: &Beginnings,
        now: Timestamp,
    ) -> [Option<Match>; HOLDERS] {
        let mut found = [None; HOLDERS];
        let mut len = 0;
        // The first block alone is no match.
        for blocks in (2..=beginnings.len).rev() {
            for holder in self.memory.table.holders(beginnings.hashes[blocks - 1], now) {
                let place = self.places.get(usize::from(holder.slot)).copied().unwrap_or(u16::MAX);
                let Some(index) = set.pool().index(place.into()).filter(|&index| set.contains(index)) else {
                    continue;
                };
                let is_new = found.iter().flatten().all(|found: &Match| found.index != index);
                if is_new && len < HOLDERS && self.remembers(set.pool(), index, holder.age, now) {
                    let fresh = 1.0 - holder.age.as_secs_f32() / self.config.forget_after.as_secs_f32();
                    found[len] = Some(Match { index, cached: beginnings.share(blocks) * fresh });
                    len += 1;
                }
            }
            if len == HOLDERS {
                break;
            }
        }
        found
    }

    /// Whether a candidate may still have what it was given this long ago: it is not too long, and not before it began
    /// to serve anew.
    fn remembers(&self, pool: &Pool, index: CandidateIndex, age: Duration, now: Timestamp) -> bool {
        let since = pool.live(index).serving_since().map_or(Duration::MAX, |since| now.since(since));
        age < self.config.forget_after && age <= since
    }

    fn decide(
        &self,
        set: &CandidateSet<'_>,
        beginnings: &Beginnings,
        cx: &mut SelectContext<'_, '_>,
    ) -> Option<CandidateIndex> {
        let tokens = Meter::new(LoadUnit::Tokens, cx);
        let requests = Meter::at(LoadUnit::Requests, cx.decision.usage, cx.decision.now);
        let own = cx.decision.usage.total().0 as f32;
        let prompt = cx.decision.usage.prompt.0 as f32;
        let cost = |index: CandidateIndex, cached: f32| {
            let live = set.pool().live(index);
            let queued = (tokens.load(live) as f32 - own).max(0.0);
            (queued + prompt * (1.0 - cached))
                / (f32::from(self.capacities.weight(index)) * tokens.share(live))
        };
        let has_room = |index: CandidateIndex| self.capacities.has_room(index);
        let drawn = self.choices.draw(set, &mut cx.rng);
        let mut least = Least::default();
        let mut fewest = u64::MAX;
        for index in drawn.iter().filter(|&index| has_room(index)) {
            fewest = fewest.min(requests.load(set.pool().live(index)) - 1);
            least.offer(cost(index, 0.0), index, &mut cx.rng);
        }
        let most = fewest.saturating_add(self.config.imbalance.into()) as f32;
        let most = most.max(fewest as f32 * self.config.imbalance_ratio);
        for Match { index, cached } in self.matches(set, beginnings, cx.decision.now).into_iter().flatten() {
            let in_flight = (requests.load(set.pool().live(index)) - 1) as f32;
            if has_room(index) && in_flight <= most {
                least.offer(cost(index, cached), index, &mut cx.rng);
            }
        }
        least.index().or_else(|| self.capacities.least_loaded(set, tokens, cx))
    }
}

impl LoadBalancer for PrefixAffinityBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let beginnings = Beginnings::of(cx.decision, set.pool());
        let chosen = self.decide(set, &beginnings, cx)?;
        let slot = self.slots[chosen.get()];
        beginnings.hashes().iter().for_each(|&hash| self.memory.table.note(hash, slot, cx.decision.now));
        Some(chosen)
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.decide(set, &Beginnings::of(cx.decision, set.pool()), cx)
    }

    /// Keeps what is remembered of the candidates that stay; the rest can no longer be matched.
    fn carried_over(&self, pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        let used = self.memory.slots.load(Ordering::Relaxed) as usize;
        if used + pool.len() >= MOST_SLOTS as usize {
            return None;
        }
        let mut known = vec![None; pool.len()];
        for_each_in_both(&self.ids, pool, |old, new| known[new] = Some(self.slots[old]));
        Some(Arc::new(Self::new(pool, self.config, Arc::clone(&self.memory), |place| known[place])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{built, load, pool_of, subset};
    use waypost_core::{TenantId, Tokens};
    use waypost_testkit::{SelectRig, conformance};

    /// A rig whose prompt is these messages.
    fn rig(messages: &[&str]) -> SelectRig {
        seeded(messages.len() as u64, messages)
    }

    fn seeded(seed: u64, messages: &[&str]) -> SelectRig {
        let mut rig = SelectRig::new(seed);
        let message = |content: &&str| Message { role: "user".into(), content: (*content).into() };
        rig.request = rig.request.messages(messages.iter().map(message).collect());
        rig.usage.prompt = Tokens(messages.iter().map(|message| message.len() as u64 / 4).sum());
        rig
    }

    fn text(what: &str, blocks: usize) -> String {
        what.repeat(BLOCK * blocks / what.len() + 1)[..BLOCK * blocks].to_owned()
    }

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&PrefixAffinity::default(), pool, 3));
    }

    #[test]
    fn ca_1_the_same_beginning_goes_to_the_same_candidate() {
        let pool = pool_of(&[1; 8]);
        let balancer = built(&PrefixAffinity::default(), &pool, 0);
        for conversation in 0..20 {
            let first = text(&format!("conversation {conversation} "), 6);
            let home = rig(&[&first]).select(&balancer, &pool.all());
            for turn in 0..5 {
                let next = text(&format!("turn {turn} "), 1);
                assert_eq!(
                    seeded(turn, &[&first, &next]).select(&balancer, &pool.all()),
                    home,
                    "{conversation} {turn}"
                );
            }
        }
    }

    #[test]
    fn ca_2_and_ca_3_a_busy_candidate_is_left_in_spite_of_its_cache() {
        let pool = pool_of(&[1; 2]);
        let strict = PrefixAffinity { imbalance: 5, imbalance_ratio: 2.0, ..PrefixAffinity::default() };
        let balancer = built(&strict, &pool, 0);
        let prompt = text("a long prompt ", 40);
        let home = rig(&[&prompt]).select(&balancer, &pool.all()).unwrap();
        let mut busy = [0; 2];
        busy[home.get()] = 20;
        let _leases = load(&pool, &busy);
        assert_eq!(rig(&[&prompt]).select(&balancer, &pool.all()), pool.index(1 - home.get()));
    }

    #[test]
    fn ca_4_the_best_match_wins() {
        let pool = pool_of(&[1; 3]);
        let balancer = built(&PrefixAffinity::default(), &pool, 0);
        let (shared, end) = (text("shared ", 4), text("and more ", 8));
        let whole = format!("{shared}{end}");
        assert_eq!(rig(&[&shared]).select(&balancer, &subset(&pool, &[0])), pool.index(0));
        assert_eq!(rig(&[&whole]).select(&balancer, &subset(&pool, &[1])), pool.index(1));
        assert!((0..20).all(|seed| seeded(seed, &[&whole]).select(&balancer, &pool.all()) == pool.index(1)));
    }

    #[test]
    fn ca_5_equal_queues_go_by_capacity() {
        let pool = pool_of(&[100, 200]);
        let balancer = built(&PrefixAffinity::default(), &pool, 0);
        let _leases = load(&pool, &[3, 3]);
        assert!(
            (0..20).all(|i| seeded(i, &[&text(&format!("new {i} "), 2)]).select(&balancer, &pool.all())
                == pool.index(1))
        );
    }

    #[test]
    fn trap_27_a_shared_first_block_alone_is_no_match() {
        let pool = pool_of(&[1; 4]);
        let balancer = built(&PrefixAffinity::default(), &pool, 0);
        let system = text("You are a helpful assistant. ", 1);
        let mut counts = [0; 4];
        for i in 0..400 {
            let rig = seeded(i, &[&system, &text(&format!("question {i} "), 1)]);
            counts[rig.select(&balancer, &pool.all()).unwrap().get()] += 1;
        }
        assert!(counts.iter().all(|&count| count > 50), "{counts:?}");
    }

    #[test]
    fn trap_27_tenants_do_not_share() {
        let decision_hashes = |tenant: Option<&str>, model: &str| {
            let mut rig = rig(&[&text("the same ", 3)]);
            let pool = Pool::new(
                waypost_core::ModelName::new(model).unwrap(),
                Vec::<waypost_core::ProviderCandidate>::new(),
            )
            .unwrap();
            rig.context.tenant_id = tenant.map(|tenant| TenantId::new(tenant).unwrap());
            let decision = DecisionContext::new(&rig.request, &rig.context, None, rig.now, rig.usage);
            Beginnings::of(&decision, &pool).hashes().to_vec()
        };
        let all = [(Some("a"), "m"), (Some("b"), "m"), (None, "m"), (Some("a"), "n")]
            .map(|(t, m)| decision_hashes(t, m));
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| one.iter().all(|hash| !other.contains(hash))));
        }
    }

    #[test]
    fn trap_28_what_was_cached_fades_and_ends_with_a_restart() {
        let pool = pool_of(&[1; 2]);
        let balancer = built(&PrefixAffinity::default(), &pool, 0);
        let prompt = text("cached ", 10);
        let at = |seconds| Timestamp::ORIGIN + Duration::from_secs(seconds);
        let matched = |seconds: u64| {
            let balancer = PrefixAffinityBalancer::new(
                &pool,
                PrefixAffinity::default(),
                Arc::new(Memory::new(64)),
                |_| None,
            );
            let mut rig = rig(&[&prompt]);
            rig.now = at(10);
            rig.select(&balancer, &subset(&pool, &[0]));
            let decision = DecisionContext::new(&rig.request, &rig.context, None, rig.now, rig.usage);
            balancer.matches(&pool.all(), &Beginnings::of(&decision, &pool), at(seconds))[0]
                .map(|found| found.cached)
        };
        assert!(matched(10) > Some(0.95) && matched(160) < Some(0.6) && matched(160) > Some(0.4));
        assert_eq!(matched(400), None);
        pool.candidates()[0].live().serves_from(at(60));
        assert_eq!(matched(100), None, "restarted since");
        drop(balancer);
    }

    #[test]
    fn what_is_remembered_is_carried_over_by_id() {
        let names = |names: [&'static str; 2]| Pool::from_weights(names.map(|name| (name, 1))).unwrap();
        let (before, after) = (names(["a", "b"]), names(["c", "a"]));
        let balancer = built(&PrefixAffinity::default(), &before, 0);
        let (of_a, of_b) = (text("of a ", 10), text("of b ", 10));
        rig(&[&of_a]).select(&balancer, &subset(&before, &[0]));
        rig(&[&of_b]).select(&balancer, &subset(&before, &[1]));
        let balancer = balancer.carried_over(&after).unwrap();
        assert!((0..10).all(|seed| seeded(seed, &[&of_a]).select(&balancer, &after.all()) == after.index(1)));
        let of_b = (0..20)
            .map(|i| seeded(i, &[&of_b, &text(&format!("{i}"), 1)]).select(&balancer, &subset(&after, &[0])));
        assert!(
            of_b.into_iter().all(|choice| choice == after.index(0)),
            "b is gone and its place is nobody else's"
        );
    }

    #[test]
    fn a_prompt_longer_than_is_looked_at_is_fine() {
        let pool = pool_of(&[1; 2]);
        let balancer = built(&PrefixAffinity::default(), &pool, 0);
        let long = text("long ", 4 * MOST_BLOCKS);
        let home = rig(&[&long]).select(&balancer, &pool.all());
        assert_eq!(rig(&[&long]).select(&balancer, &pool.all()), home);
        assert!(rig(&["", ""]).select(&balancer, &pool.all()).is_some());
    }
}
