//! The candidate that a key belongs to.

use core::sync::atomic::{AtomicU64, Ordering};
use std::borrow::Cow;
use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateIndex, CandidateSet, DecisionContext, Generator, LoadBalancer, Pool,
    SelectContext, Timestamp,
};

use crate::choices::Choices;
use crate::load::{Capacities, LoadPerWeight, LoadUnit, Meter};
use crate::maglev::Maglev;
use crate::stable_hash::{hash, mix};

/// Places of the table that are looked at before the set is searched.
const ATTEMPTS: u64 = 8;
const PERCENT: u64 = 100;
/// Pools up to this size are counted at every choice that depends on it; larger ones once in a millisecond.
const COUNT_ALL: usize = 64;
const RECOUNT_EVERY: u64 = 1_000_000;

/// Which part of a request is its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashKey {
    /// The conversation.
    Session,
    /// The end user.
    User,
    /// The tenant.
    Tenant,
    /// The organization.
    Organization,
    /// The hash of the caller's API key.
    ApiKey,
}

/// How a key finds its candidate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// A table (Maglev): one look-up; when a candidate goes, half a percent of the other keys move too.
    #[default]
    Maglev,
    /// The candidate with the highest score for the key (rendezvous hashing, Thaler and Ravishankar 1998): looks at the
    /// whole set; when a candidate goes, only its keys move.
    Rendezvous,
}

/// Sends all requests of one key to one candidate, as long as that is in play and not overloaded: conversations stay
/// where their cache is. Gateways with the same pool agree without talking to each other.
///
/// Keys are spread by weight. A candidate takes a key's request only if its requests in flight are below `load_factor`
/// percent of its share of all (bounded load, Mirrokni, Thorup and Zadimoghaddam 2018); else the key's next choice gets
/// it, which differs from key to key, so an overload does not roll on to one neighbour. A key returns to its candidate
/// when that is back. Requests without a key go to the less loaded of two.
///
/// ```
/// use waypost_balancers::{ConsistentHash, HashKey};
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence, UserId};
/// use waypost_testkit::SelectRig;
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1), ("c", 1)])?;
/// let balancer = ConsistentHash::by([HashKey::User]).build(&pool, &mut SeedSequence::new(7).generator());
/// let mut rig = SelectRig::new(7);
/// rig.context = rig.context.with_user(UserId::new("zoë").unwrap());
/// assert_eq!(rig.select(&balancer, &pool.all()), rig.select(&balancer, &pool.all()));
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// One hash of the key and one look-up. When the key's candidate has requests in flight, what all have is counted: linear
/// in a narrowed set or a pool up to 64; a larger pool is counted once in a millisecond at the most. Hashes are XXH3's, the same in every process and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistentHash {
    /// Which parts can be the key: the first that the request has. Default: session, user, tenant.
    pub keys: Cow<'static, [HashKey]>,
    /// How a key finds its candidate. Default: by table.
    pub algorithm: HashAlgorithm,
    /// The most requests in flight, in percent of an even share, at least 100; zero is no bound. Default: 125.
    pub load_factor: u32,
}

impl Default for ConsistentHash {
    fn default() -> Self {
        Self {
            keys: Cow::Borrowed(&[HashKey::Session, HashKey::User, HashKey::Tenant]),
            algorithm: HashAlgorithm::Maglev,
            load_factor: 125,
        }
    }
}

impl ConsistentHash {
    /// With these parts as keys: the first that the request has.
    pub fn by(keys: impl Into<Vec<HashKey>>) -> Self {
        Self { keys: Cow::Owned(keys.into()), ..Self::default() }
    }
}

impl BuildLoadBalancer for ConsistentHash {
    fn build(&self, pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(ConsistentHashBalancer {
            maglev: (self.algorithm == HashAlgorithm::Maglev).then(|| Maglev::new(pool)),
            hashes: pool
                .candidates()
                .iter()
                .map(|candidate| hash(candidate.id().to_string().as_bytes(), 0))
                .collect(),
            keyless: Choices::of(pool, 2),
            capacities: Capacities::of(pool),
            recount: Recount::default(),
            config: self.clone(),
        })
    }
}

/// What [`ConsistentHash`] builds.
#[derive(Debug)]
pub struct ConsistentHashBalancer {
    config: ConsistentHash,
    maglev: Option<Maglev>,
    /// Of the candidates' ids, in pool order.
    hashes: Box<[u64]>,
    keyless: Choices,
    capacities: Capacities,
    recount: Recount,
}

impl ConsistentHashBalancer {
    /// The hash of the first key that the request has.
    fn key(&self, decision: &DecisionContext<'_>) -> Option<u64> {
        self.config.keys.iter().find_map(|&key| {
            let text = match key {
                HashKey::Session => decision.context.session_id.as_ref()?.as_str(),
                HashKey::User => decision.user_id()?.as_str(),
                HashKey::Tenant => decision.tenant_id()?.as_str(),
                HashKey::Organization => decision.context.organization_id.as_ref()?.as_str(),
                HashKey::ApiKey => decision.request.api_key_hash.as_deref()?,
            };
            // The kind is part of the key: user `a` and tenant `a` are different.
            Some(hash(text.as_bytes(), key as u64 + 1))
        })
    }

    fn choose(
        &self,
        set: &CandidateSet<'_>,
        cx: &mut SelectContext<'_, '_>,
        looks_ahead: bool,
    ) -> Option<CandidateIndex> {
        // Slow start is left to whoever asked for it: a key has one owner, whatever its load.
        let meter = Meter::at(LoadUnit::Requests, cx.decision.usage, cx.decision.now);
        let chosen = match self.key(cx.decision) {
            Some(key) => self.by_key(set, key, meter, looks_ahead),
            None => self.without_key(set, meter, cx),
        };
        chosen.or_else(|| self.capacities.least_loaded(set, meter, cx))
    }

    fn by_key(
        &self,
        set: &CandidateSet<'_>,
        key: u64,
        meter: Meter,
        looks_ahead: bool,
    ) -> Option<CandidateIndex> {
        let bound = Bound::new(self, set, meter, looks_ahead);
        let by_table = |maglev: &Maglev| {
            let attempts = (0..ATTEMPTS).filter_map(|attempt| set.pool().index(maglev.get(key, attempt)?));
            attempts.into_iter().find(|&index| set.contains(index) && bound.allows(index))
        };
        self.maglev.as_ref().and_then(by_table).or_else(|| self.by_score(set, key, &bound))
    }

    /// The member with the highest score for the key among those that may take it.
    fn by_score(&self, set: &CandidateSet<'_>, key: u64, bound: &Bound<'_, '_>) -> Option<CandidateIndex> {
        let score = |index: CandidateIndex| {
            // Of an even number u in 0 to 1 the greatest −weight / ln(u) is each candidate's in proportion to its
            // weight.
            let uniform = (mix(key, self.hashes[index.get()]) >> 12) as f64 + 0.5;
            f64::from(self.capacities.weight(index)) / -(uniform / (1_u64 << 52) as f64).ln()
        };
        let allowed = set.iter().filter(|&index| bound.allows(index));
        let best = allowed.map(|index| (score(index), index)).max_by(|a, b| a.0.total_cmp(&b.0));
        best.map(|(_, index)| index)
    }

    /// The less loaded of two.
    fn without_key(
        &self,
        set: &CandidateSet<'_>,
        meter: Meter,
        cx: &mut SelectContext<'_, '_>,
    ) -> Option<CandidateIndex> {
        let drawn = self.keyless.draw(set, &mut cx.rng);
        let load =
            |index| LoadPerWeight::new(meter.load(set.pool().live(index)), self.capacities.weight(index));
        drawn
            .iter()
            .filter(|&index| self.capacities.has_room(index))
            .reduce(|best, next| if load(next).is_less_than(load(best)) { next } else { best })
    }
}

/// The requests in flight at all of a large pool, counted anew when the last count is a millisecond old.
#[derive(Debug, Default)]
struct Recount {
    /// When it was counted, in nanoseconds plus one; zero is never.
    at: AtomicU64,
    total: AtomicU64,
    weights: AtomicU64,
}

impl Recount {
    fn last(&self) -> (u64, u64) {
        (self.total.load(Ordering::Relaxed), self.weights.load(Ordering::Relaxed))
    }

    /// Whether the last count is too old. A time before it is one from which it is not known.
    fn is_due(&self, now: Timestamp) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at == 0 || now.as_nanos().wrapping_sub(at - 1) >= RECOUNT_EVERY
    }

    /// Keeps a count. Threads that count at once keep one of theirs.
    fn keep(&self, (total, weights): (u64, u64), now: Timestamp) {
        self.total.store(total, Ordering::Relaxed);
        self.weights.store(weights, Ordering::Relaxed);
        self.at.store(now.as_nanos().saturating_add(1), Ordering::Relaxed);
    }
}

/// How much a candidate may have in flight.
struct Bound<'b, 'p> {
    balancer: &'b ConsistentHashBalancer,
    set: &'b CandidateSet<'p>,
    meter: Meter,
    /// Whether the choice is only foreseen and must change nothing.
    looks_ahead: bool,
    /// Requests in flight at all members with the one at hand, and the sum of their weights: counted when first needed.
    total: core::cell::OnceCell<(u64, u64)>,
}

impl<'b, 'p> Bound<'b, 'p> {
    fn new(
        balancer: &'b ConsistentHashBalancer,
        set: &'b CandidateSet<'p>,
        meter: Meter,
        looks_ahead: bool,
    ) -> Self {
        Self { balancer, set, meter, looks_ahead, total: core::cell::OnceCell::new() }
    }

    /// Whether the candidate has fewer requests than `load_factor` percent of its share of all, with the one at hand.
    fn allows(&self, index: CandidateIndex) -> bool {
        let (capacities, live) = (&self.balancer.capacities, self.set.pool().live(index));
        if !capacities.has_room(index) {
            return false;
        }
        let factor = u64::from(self.balancer.config.load_factor);
        let served = self.meter.load(live) - 1;
        if factor == 0 || served == 0 {
            return true;
        }
        let &(total, weights) = self.total.get_or_init(|| self.count());
        let (served, total) = (u128::from(served), u128::from(total));
        served * u128::from(weights * PERCENT)
            < total * u128::from(factor.max(PERCENT)) * u128::from(capacities.weight(index))
    }

    fn count(&self) -> (u64, u64) {
        let (recount, now) = (&self.balancer.recount, self.meter.now());
        if !self.set.is_whole() || self.set.pool().len() <= COUNT_ALL {
            return self.count_all();
        }
        if !recount.is_due(now) {
            return recount.last();
        }
        let counted = self.count_all();
        if !self.looks_ahead {
            recount.keep(counted, now);
        }
        counted
    }

    fn count_all(&self) -> (u64, u64) {
        let members = self.set.iter().map(|index| {
            (
                self.meter.load(self.set.pool().live(index)) - 1,
                u64::from(self.balancer.capacities.weight(index)),
            )
        });
        members.fold((1, 0), |(total, weights), (served, weight)| (total + served, weights + weight))
    }
}

impl LoadBalancer for ConsistentHashBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.choose(set, cx, false)
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.choose(set, cx, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{built, load, pool_of, subset};
    use waypost_core::{SessionId, TenantId, UserId};
    use waypost_testkit::{SelectRig, conformance};

    fn rendezvous() -> ConsistentHash {
        ConsistentHash { algorithm: HashAlgorithm::Rendezvous, ..ConsistentHash::default() }
    }

    fn both() -> [ConsistentHash; 2] {
        [ConsistentHash::default(), rendezvous()]
    }

    fn rig_of(user: usize) -> SelectRig {
        let mut rig = SelectRig::new(1);
        rig.context.user_id = Some(UserId::new(format!("user-{user}")).unwrap());
        rig
    }

    /// The owner of each of `n` users.
    fn owners(strategy: &ConsistentHash, set: &CandidateSet<'_>, n: usize) -> Vec<usize> {
        let balancer = built(strategy, set.pool(), 0);
        (0..n).map(|user| rig_of(user).select(&balancer, set).unwrap().get()).collect()
    }

    #[test]
    fn behaves() {
        both().iter().for_each(|strategy| conformance::balancer(|pool| built(strategy, pool, 3)));
    }

    #[test]
    fn golden_vectors_so_that_gateways_of_all_versions_agree() {
        let pool = Pool::from_weights([("a", 1), ("b", 2), ("c", 3)]).unwrap();
        assert_eq!(owners(&ConsistentHash::default(), &pool.all(), 16), GOLDEN_MAGLEV);
        assert_eq!(owners(&rendezvous(), &pool.all(), 16), GOLDEN_RENDEZVOUS);
    }

    const GOLDEN_MAGLEV: [usize; 16] = [0, 2, 2, 1, 2, 2, 1, 1, 0, 1, 1, 2, 1, 1, 1, 1];
    const GOLDEN_RENDEZVOUS: [usize; 16] = [2, 1, 0, 2, 2, 1, 1, 2, 2, 2, 0, 1, 0, 1, 1, 2];

    #[test]
    fn h_11_keys_are_spread_by_weight() {
        // 20,000 users over weights 1, 2, 5: the count of weight w has sigma below 69; the band of 470 is 6.8 sigma.
        let pool = pool_of(&[1, 2, 5]);
        for strategy in both() {
            let owners = owners(&strategy, &pool.all(), 20_000);
            for (place, share) in [(0, 2_500), (1, 5_000), (2, 12_500_usize)] {
                let count = owners.iter().filter(|&&owner| owner == place).count();
                assert!(count.abs_diff(share) < 470, "{strategy:?}: {place} has {count}");
            }
        }
    }

    #[test]
    fn h_12_rendezvous_moves_only_the_keys_of_the_one_that_goes() {
        let pool = pool_of(&[1, 2, 3, 4, 5, 6]);
        let before = owners(&rendezvous(), &pool.all(), 2_000);
        for gone in 0..6 {
            let rest: Vec<usize> = (0..6).filter(|&place| place != gone).collect();
            let after = owners(&rendezvous(), &subset(&pool, &rest), 2_000);
            for (before, after) in before.iter().zip(&after) {
                assert!(*before == gone || before == after);
            }
        }
    }

    #[test]
    fn h_9_a_candidate_that_is_added_takes_keys_and_moves_no_other() {
        let (all, fewer) = (pool_of(&[1, 2, 3, 4]), pool_of(&[1, 2, 3]));
        for (strategy, most_moved) in [(rendezvous(), 0), (ConsistentHash::default(), 20)] {
            let (before, after) =
                (owners(&strategy, &fewer.all(), 2_000), owners(&strategy, &all.all(), 2_000));
            let moved = before.iter().zip(&after).filter(|&(before, after)| before != after);
            let (to_new, elsewhere): (Vec<_>, Vec<_>) = moved.partition(|&(_, &after)| after == 3);
            assert!(
                to_new.len() > 500 && elsewhere.len() <= most_moved,
                "{} {}",
                to_new.len(),
                elsewhere.len()
            );
        }
    }

    #[test]
    fn h_15_a_key_returns_to_its_owner_after_an_outage() {
        let pool = pool_of(&[1; 5]);
        for strategy in both() {
            let (before, without) = (owners(&strategy, &pool.all(), 500), subset(&pool, &[0, 1, 3, 4]));
            let during = owners(&strategy, &without, 500);
            assert!(
                before.iter().zip(&during).all(|(&before, &during)| before == 2 || before == during),
                "others stay"
            );
            let moved: Vec<usize> = (0..5)
                .map(|place| before.iter().zip(&during).filter(|&(&b, &d)| b == 2 && d == place).count())
                .collect();
            assert!(
                [0, 1, 3, 4].iter().all(|&place| moved[place] > 5),
                "not all to one neighbour: {moved:?}"
            );
            assert_eq!(owners(&strategy, &pool.all(), 500), before);
        }
    }

    #[test]
    fn h_8_a_full_owner_passes_its_key_on() {
        let candidate =
            |name| waypost_core::ProviderCandidate::custom(name, "m").max_in_flight(1).build().unwrap();
        let pool = Pool::new(waypost_core::ModelName::new("m").unwrap(), ["a", "b"].map(candidate)).unwrap();
        for strategy in both() {
            let balancer = built(&strategy, &pool, 0);
            let first = rig_of(1).select(&balancer, &pool.all()).unwrap();
            let mut one = [0, 0];
            one[first.get()] = 1;
            let _lease = load(&pool, &one);
            assert_eq!(rig_of(1).select(&balancer, &pool.all()), pool.index(1 - first.get()));
        }
    }

    #[test]
    fn h_14_and_trap_22_the_bound_is_exact() {
        // 100 requests in flight at four candidates with the one at hand, factor 1.25: 31.25 each.
        let pool = pool_of(&[1; 4]);
        let config = ConsistentHash::default();
        let build = || ConsistentHashBalancer {
            config: config.clone(),
            maglev: None,
            hashes: Box::default(),
            keyless: Choices::of(&pool, 2),
            capacities: Capacities::of(&pool),
            recount: Recount::default(),
        };
        for (loads, allowed) in [
            ([30, 25, 25, 19], true),
            ([31, 25, 25, 18], true),
            ([32, 25, 25, 17], false),
            ([35, 25, 20, 19], false),
        ] {
            let _leases = load(&pool, &loads);
            let (balancer, set) = (build(), pool.all());
            let meter = Meter::at(LoadUnit::Requests, waypost_core::TokenUsage::default(), Timestamp::ORIGIN);
            assert_eq!(
                Bound::new(&balancer, &set, meter, false).allows(pool.index(0).unwrap()),
                allowed,
                "{loads:?}"
            );
        }
    }

    #[test]
    fn h_12_load_never_exceeds_the_bound_and_a_spill_means_a_full_owner() {
        let pool = pool_of(&[1, 1, 2, 4]);
        for strategy in both() {
            let balancer = built(&strategy, &pool, 0);
            let (mut leases, mut counts) = (Vec::new(), [0_u64; 4]);
            for i in 0..400_u64 {
                // One user sends half of everything.
                let chosen = rig_of(if i % 2 == 0 { 0 } else { i as usize })
                    .select(&balancer, &pool.all())
                    .unwrap()
                    .get();
                let mut one = [0; 4];
                one[chosen] = 1;
                leases.extend(load(&pool, &one));
                counts[chosen] += 1;
                let weight = [1, 1, 2, 4][chosen];
                assert!(
                    (counts[chosen] - 1) * 8 * 100 < (i + 1) * 125 * weight || counts[chosen] == 1,
                    "{counts:?}"
                );
            }
        }
    }

    #[test]
    fn the_first_key_that_is_there_counts_and_kinds_are_kept_apart() {
        let pool = pool_of(&[1; 64]);
        let balancer = built(&ConsistentHash::default(), &pool, 0);
        let choice = |change: &dyn Fn(&mut SelectRig)| {
            let mut rig = SelectRig::new(1);
            change(&mut rig);
            rig.select(&balancer, &pool.all()).unwrap()
        };
        let user = |rig: &mut SelectRig| rig.context.user_id = Some(UserId::new("x").unwrap());
        let tenant = |rig: &mut SelectRig| rig.context.tenant_id = Some(TenantId::new("x").unwrap());
        let session = |rig: &mut SelectRig| rig.context.session_id = Some(SessionId::new("s").unwrap());
        assert_ne!(choice(&user), choice(&tenant));
        let all = |rig: &mut SelectRig| {
            [&session as &dyn Fn(&mut SelectRig), &user, &tenant].iter().for_each(|set| set(rig));
        };
        assert_eq!(choice(&all), choice(&session));
    }
}
