//! What decisions read: one immutable version of everything that is configured.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::name_table::NameTable;
use crate::{
    BloomFilter, CandidateId, CandidateIndex, CandidateMask, ModelName, Pool, ProviderId, RoutingTable,
    TenantId, TenantRoutingConfig, Timestamp,
};

/// One version of the routing table, compiled: a look-up per name, a pool per model, masks for every property.
///
/// Nothing in it changes but the live state of its candidates, which it shares with the versions before and after.
///
/// ```
/// use waypost_core::{ModelName, ProviderCandidate, RoutingSnapshot, RoutingTable, RoutingTableUpdate, Timestamp};
///
/// let gpt = ProviderCandidate::openai("openai-main", "gpt-4o").build()?;
/// let table = RoutingTable::default().updated([RoutingTableUpdate::add(gpt)])?;
/// let snapshot = RoutingSnapshot::compile(&table, None, Timestamp::ORIGIN);
/// let pool = snapshot.resolve(&ModelName::new("gpt-4o")?).map(|index| snapshot.pool(index));
/// assert_eq!(pool.unwrap().len(), 1);
/// assert!(snapshot.resolve(&ModelName::new("gpt-5o")?).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RoutingSnapshot {
    generation: u64,
    pools: Box<[Arc<Pool>]>,
    names: Names,
    tenants: NameTable<TenantId, Tenant>,
    /// Per pool, per distinct allow-list: who is allowed.
    allowed: Box<[Box<[CandidateMask]>]>,
    places: NameTable<CandidateId, (PoolIndex, CandidateIndex)>,
}

/// A pool's place in a [`RoutingSnapshot`]. Meaningful only with the snapshot that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolIndex(u32);

impl PoolIndex {
    /// The place, from zero.
    #[inline]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// A tenant with rules, as decisions read it.
#[derive(Debug)]
pub struct Tenant {
    config: TenantRoutingConfig,
    /// Which of the distinct allow-lists is its.
    allow_list: Option<usize>,
    allowed_models: Option<NameTable<ModelName, ()>>,
}

impl Tenant {
    /// The rules.
    pub const fn config(&self) -> &TenantRoutingConfig {
        &self.config
    }

    /// Whether the tenant may use a name: a model's or an alias'.
    #[inline]
    pub fn may_ask_for(&self, model: &ModelName) -> bool {
        self.allowed_models.as_ref().is_none_or(|models| models.get(model.hash_value(), model).is_some())
    }
}

/// Names from which on a filter stands before the table. A table of fewer fits the nearest caches, and an absent name
/// meets an empty slot at once: asking a filter first would only cost the names that are there.
const FILTERED_NAMES: usize = 4_096;

/// Models and aliases.
#[derive(Debug)]
struct Names {
    filter: Option<BloomFilter>,
    table: NameTable<ModelName, PoolIndex>,
}

impl RoutingSnapshot {
    /// Compiles a table. Pools whose candidates are those of `previous` are taken over as they are; the generation is
    /// one more than `previous`', or 1.
    ///
    /// # Panics
    ///
    /// Never: a [`RoutingTable`] holds only what makes pools.
    ///
    /// # Complexity
    ///
    /// Linear in candidates and names, and in models times distinct allow-lists of tenants. For the control path.
    pub fn compile(table: &RoutingTable, previous: Option<&Self>, now: Timestamp) -> Self {
        let pools: Box<[_]> = table
            .models()
            .map(|(model, candidates)| {
                let candidates: Vec<_> = candidates.cloned().collect();
                let reused = previous.and_then(|snapshot| snapshot.unchanged_pool(model, &candidates));
                reused.unwrap_or_else(|| {
                    let pool = Pool::new(model.clone(), candidates);
                    let pool = pool.expect("a checked table has distinct candidates and no pool too large");
                    pool.refresh_all_latencies(now);
                    Arc::new(pool)
                })
            })
            .collect();
        if let Some(previous) = previous {
            previous.announce_newcomers(&pools, now);
        }
        let (tenants, allow_lists) = compile_tenants(table);
        let allowed =
            pools.iter().map(|pool| allow_lists.iter().map(|list| allowed(pool, list)).collect()).collect();
        Self {
            generation: previous.map_or(1, |snapshot| snapshot.generation + 1),
            names: Names::new(table, &pools),
            tenants,
            allowed,
            places: compile_places(&pools),
            pools,
        }
    }

    /// Lets slow start begin for candidates that this version did not have or had drained, beside others that served: a
    /// model that is new altogether is not slowed.
    fn announce_newcomers(&self, pools: &[Arc<Pool>], now: Timestamp) {
        let served = |id| self.find(id).is_some_and(|(pool, index)| self.pool(pool)[index].is_available());
        for pool in pools {
            let serving = || pool.candidates().iter().filter(|candidate| candidate.is_available());
            if serving().any(|candidate| served(candidate.id())) {
                let newcomers = serving().filter(|candidate| !served(candidate.id()));
                newcomers.for_each(|candidate| candidate.live().serves_from(now));
            }
        }
    }

    /// How many versions there have been, this one included.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The pool that a model or an alias leads to. An unknown name costs a few nanoseconds: in a table of 4,096 names
    /// or more a [`BloomFilter`] answers, in a smaller one an empty slot.
    #[inline]
    pub fn resolve(&self, model: &ModelName) -> Option<PoolIndex> {
        self.names.get(model)
    }

    /// A pool.
    ///
    /// # Panics
    ///
    /// When the index came from a snapshot with more pools.
    #[inline]
    pub fn pool(&self, index: PoolIndex) -> &Arc<Pool> {
        &self.pools[index.get()]
    }

    /// All pools, by model name.
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// The rules of a tenant; `None` when it has none.
    #[inline]
    pub fn tenant(&self, id: &TenantId) -> Option<&Tenant> {
        self.tenants.get(id.hash_value(), id)
    }

    /// The candidates of a pool that a tenant may use; `None` when it may use all.
    #[inline]
    pub fn allowed(&self, pool: PoolIndex, tenant: &Tenant) -> Option<&CandidateMask> {
        tenant.allow_list.map(|list| &self.allowed[pool.get()][list])
    }

    /// Where a candidate is; the first pool when it serves several models.
    pub fn find(&self, id: &CandidateId) -> Option<(PoolIndex, CandidateIndex)> {
        self.places.get(place_hash(id), id).copied()
    }

    fn unchanged_pool(
        &self,
        model: &ModelName,
        candidates: &[Arc<crate::ProviderCandidate>],
    ) -> Option<Arc<Pool>> {
        let position = self.pools.binary_search_by(|pool| pool.model().cmp(model)).ok()?;
        let pool = &self.pools[position];
        let same = pool.len() == candidates.len()
            && pool.candidates().iter().zip(candidates).all(|(old, new)| Arc::ptr_eq(old, new));
        same.then(|| Arc::clone(pool))
    }
}

impl Names {
    fn new(table: &RoutingTable, pools: &[Arc<Pool>]) -> Self {
        let index_of = |model: &ModelName| {
            let index = pools.binary_search_by(|pool| pool.model().cmp(model));
            PoolIndex(index.expect("there is a pool per model") as u32)
        };
        let models = table.models().map(|(model, _)| (model, model));
        let names: Vec<_> = models.chain(table.aliases()).collect();
        let filter = (names.len() >= FILTERED_NAMES).then(|| {
            let mut filter = BloomFilter::with_capacity(names.len());
            names.iter().for_each(|(name, _)| filter.insert(name.hash_value()));
            filter
        });
        let entry =
            |(name, model): (&ModelName, &ModelName)| (name.hash_value(), name.clone(), index_of(model));
        Self { filter, table: NameTable::new(names.into_iter().map(entry)) }
    }

    #[inline]
    fn get(&self, name: &ModelName) -> Option<PoolIndex> {
        let hash = name.hash_value();
        let may_be_there = self.filter.as_ref().is_none_or(|filter| filter.may_contain(hash));
        may_be_there.then(|| self.table.get(hash, name).copied()).flatten()
    }
}

/// The tenants, and their distinct allow-lists.
fn compile_tenants(table: &RoutingTable) -> (NameTable<TenantId, Tenant>, Vec<Vec<ProviderId>>) {
    let mut lists: BTreeMap<Vec<ProviderId>, usize> = BTreeMap::new();
    let mut position_of = |allowed: &Vec<ProviderId>| {
        let mut list = allowed.clone();
        list.sort_unstable();
        list.dedup();
        let next = lists.len();
        *lists.entry(list).or_insert(next)
    };
    let tenants = NameTable::new(table.tenants().map(|(id, config)| {
        let allow_list = config.allowed_providers.as_ref().map(&mut position_of);
        let entry = |model: &ModelName| (model.hash_value(), model.clone(), ());
        let allowed_models = config.allowed_models.as_ref();
        let allowed_models = allowed_models.map(|models| NameTable::new(models.iter().map(entry)));
        (id.hash_value(), id.clone(), Tenant { config: config.clone(), allow_list, allowed_models })
    }));
    let mut ordered: Vec<_> = lists.into_iter().collect();
    ordered.sort_unstable_by_key(|&(_, position)| position);
    (tenants, ordered.into_iter().map(|(list, _)| list).collect())
}

fn allowed(pool: &Pool, list: &[ProviderId]) -> CandidateMask {
    list.iter().fold(CandidateMask::EMPTY, |mut mask, provider| {
        mask.union_with(pool.of_provider(provider));
        mask
    })
}

fn compile_places(pools: &[Arc<Pool>]) -> NameTable<CandidateId, (PoolIndex, CandidateIndex)> {
    let mut places = BTreeMap::new();
    for (pool_index, pool) in pools.iter().enumerate() {
        for (index, candidate) in pool.candidates().iter().enumerate() {
            let place = (PoolIndex(pool_index as u32), CandidateIndex(index as u16));
            places.entry(candidate.id()).or_insert(place);
        }
    }
    NameTable::new(places.into_iter().map(|(id, place)| (place_hash(id), id.clone(), place)))
}

fn place_hash(id: &CandidateId) -> u64 {
    id.provider.hash_value() ^ id.model.hash_value().rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProviderCandidate, RequestResult, RoutingTableUpdate as Update, TokenUsage, Weight};
    use core::time::Duration;

    fn name(text: &str) -> ModelName {
        ModelName::new(text).unwrap()
    }

    fn provider(text: &str) -> ProviderId {
        ProviderId::new(text).unwrap()
    }

    fn table(updates: Vec<Update>) -> RoutingTable {
        RoutingTable::default().updated(updates).unwrap()
    }

    fn add(provider: &str, model: &str) -> Update {
        Update::add(ProviderCandidate::openai(provider, model).build().unwrap())
    }

    #[test]
    fn slow_start_begins_for_those_who_are_new_or_back() {
        let second = |n| Timestamp::ORIGIN + Duration::from_secs(n);
        let available = |available| Update::SetAvailable { provider: provider("a"), model: None, available };
        let first = table(vec![add("a", "m"), add("b", "m")]);
        let second_version = first.updated([add("c", "m"), available(false)]).unwrap();
        let third = second_version.updated([available(true)]).unwrap();
        let since = |snapshot: &RoutingSnapshot, name: &str| {
            let pool = snapshot.pool(snapshot.resolve(&ModelName::new("m").unwrap()).unwrap());
            pool.live(pool.index_of(name).unwrap()).serving_since()
        };
        let old = RoutingSnapshot::compile(&first, None, second(1));
        assert_eq!(
            (since(&old, "a"), since(&old, "b")),
            (None, None),
            "those who were there from the start are not"
        );
        let new = RoutingSnapshot::compile(&second_version, Some(&old), second(5));
        assert_eq!((since(&new, "b"), since(&new, "c")), (None, Some(second(5))));
        let newest = RoutingSnapshot::compile(&third, Some(&new), second(9));
        assert_eq!((since(&newest, "a"), since(&newest, "c")), (Some(second(9)), Some(second(5))));
    }

    #[test]
    fn lc_6_live_state_survives_updates_of_the_specification() {
        let first = table(vec![add("a", "m"), add("b", "m")]);
        let old = RoutingSnapshot::compile(&first, None, Timestamp::ORIGIN);
        let pool = Arc::clone(old.pool(old.resolve(&name("m")).unwrap()));
        let a = pool.index_of("a").unwrap();
        let slow = RequestResult::success(Duration::from_secs(3), TokenUsage::default())
            .first_token_after(Duration::from_secs(2));
        pool[a].live().record(&slow, Timestamp::ORIGIN);

        let second = first.updated([
            Update::UpdateProviderWeight { provider: provider("a"), model: None, weight: Weight::MAX },
            Update::RemoveProvider { provider: provider("b"), model: None },
            add("c", "m"),
        ]);
        let new = RoutingSnapshot::compile(&second.unwrap(), Some(&old), Timestamp::ORIGIN);
        let pool = new.pool(new.resolve(&name("m")).unwrap());
        let a = pool.index_of("a").unwrap();
        assert_eq!(new.generation(), 2);
        assert_eq!(pool[a].weight(), Weight::MAX);
        assert_eq!(pool[a].live().outcomes().succeeded, 1);
        assert_eq!(pool.all().drop_slower_to_first_token_than(Duration::from_secs(1)), 1, "published again");
        assert!(pool.index_of("b").is_none() && pool.index_of("c").is_some());
    }

    #[test]
    fn a_pool_that_did_not_change_is_the_same_pool() {
        let first = table(vec![add("a", "m"), add("b", "n")]);
        let old = RoutingSnapshot::compile(&first, None, Timestamp::ORIGIN);
        let change =
            Update::UpdateProviderWeight { provider: provider("b"), model: None, weight: Weight::MAX };
        let new = RoutingSnapshot::compile(&first.updated([change]).unwrap(), Some(&old), Timestamp::ORIGIN);
        let same = |model: &str| {
            let of = |snapshot: &RoutingSnapshot| {
                Arc::clone(snapshot.pool(snapshot.resolve(&name(model)).unwrap()))
            };
            Arc::ptr_eq(&of(&old), &of(&new))
        };
        assert!(same("m") && !same("n"));
    }

    #[test]
    fn one_candidate_of_two_models_has_one_live_state() {
        let candidate = Box::new(ProviderCandidate::openai("a", "m").build().unwrap());
        let models = vec![name("m"), name("m-2024")];
        let snapshot = RoutingSnapshot::compile(
            &table(vec![Update::AddProvider { models, candidate }]),
            None,
            Timestamp::ORIGIN,
        );
        let pool = |model: &str| snapshot.pool(snapshot.resolve(&name(model)).unwrap());
        assert!(pool("m").candidates()[0].shares_live_state_with(&pool("m-2024").candidates()[0]));
    }

    #[test]
    fn every_name_of_a_large_table_is_found_behind_its_filter() {
        let alias = |i| Update::SetModelAlias { alias: name(&format!("alias-{i}")), target: name("m") };
        let updates = [add("a", "m")].into_iter().chain((0..FILTERED_NAMES).map(alias)).collect();
        let snapshot = RoutingSnapshot::compile(&table(updates), None, Timestamp::ORIGIN);
        assert!(snapshot.names.filter.is_some());
        assert!((0..FILTERED_NAMES).all(|i| snapshot.resolve(&name(&format!("alias-{i}"))).is_some()));
        assert!((0..FILTERED_NAMES).all(|i| snapshot.resolve(&name(&format!("absent-{i}"))).is_none()));
    }

    #[test]
    fn aliases_lead_over_aliases() {
        let alias =
            |alias: &str, target: &str| Update::SetModelAlias { alias: name(alias), target: name(target) };
        let table = table(vec![add("a", "m"), alias("fast", "faster"), alias("faster", "m")]);
        let snapshot = RoutingSnapshot::compile(&table, None, Timestamp::ORIGIN);
        assert_eq!(snapshot.resolve(&name("fast")), snapshot.resolve(&name("m")));
        assert_eq!(snapshot.resolve(&name("slow")), None);
    }

    #[test]
    fn tenants_with_the_same_list_share_a_mask() {
        let tenant = |id: &str, allowed: &[&str]| Update::SetTenant {
            tenant: TenantId::new(id).unwrap(),
            config: TenantRoutingConfig {
                allowed_providers: Some(allowed.iter().map(|p| provider(p)).collect()),
                ..TenantRoutingConfig::default()
            },
        };
        let updates = vec![
            add("a", "m"),
            add("b", "m"),
            tenant("x", &["b", "a"]),
            tenant("y", &["a", "b"]),
            tenant("z", &[]),
        ];
        let snapshot = RoutingSnapshot::compile(&table(updates), None, Timestamp::ORIGIN);
        let pool = snapshot.resolve(&name("m")).unwrap();
        let allowed = |id: &str| {
            let tenant = snapshot.tenant(&TenantId::new(id).unwrap()).unwrap();
            snapshot.allowed(pool, tenant).unwrap()
        };
        assert!(core::ptr::eq(allowed("x"), allowed("y")));
        assert_eq!(*allowed("z"), CandidateMask::EMPTY);
        assert!(snapshot.tenant(&TenantId::new("unknown").unwrap()).is_none());
    }

    #[test]
    fn finds_candidates_by_id() {
        let snapshot =
            RoutingSnapshot::compile(&table(vec![add("a", "m"), add("b", "m")]), None, Timestamp::ORIGIN);
        let id = CandidateId { provider: provider("b"), model: name("m") };
        let (pool, index) = snapshot.find(&id).unwrap();
        assert_eq!(snapshot.pool(pool)[index].id(), &id);
        assert!(snapshot.find(&CandidateId { provider: provider("c"), model: name("m") }).is_none());
    }
}
