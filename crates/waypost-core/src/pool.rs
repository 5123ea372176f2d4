//! The candidates of one model, with everything about them that can be known beforehand.

use core::ops::Index;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::hash_text;

use crate::latency_levels::LatencyLevels;
use crate::name_table::NameTable;
use crate::sync::{AtomicU64, Ordering};
use crate::{
    CandidateError, CandidateIndex, CandidateMask, CandidateSet, Capability, LiveSlot, ModelName, NanoUsd,
    PoolWeights, Pricing, ProviderCandidate, ProviderId, Region, Tag, Timestamp, TokenUsage, Tokens, Weight,
    WeightError, Zone,
};

/// The most candidates of one pool.
pub const MAX_CANDIDATES: usize = 1_024;

/// Decisions per refresh of one published latency: a thousand candidates at a hundred decisions a second are through in
/// 80 s, well within the five minutes after which an average is stale.
const REFRESH_EVERY: u64 = 8;

/// The ordered, immutable list of the candidates of one model, with a mask for every property that a stage filters by.
///
/// ```
/// use waypost_core::{ModelName, Pool, ProviderCandidate, Region};
///
/// let eu = ProviderCandidate::azure("azure-eu", "gpt-4o").region("eu").build()?;
/// let us = ProviderCandidate::openai("openai-main", "gpt-4o").region("us").build()?;
/// let pool = Pool::new(ModelName::new("gpt-4o")?, [eu, us])?;
/// let mut set = pool.all();
/// set.keep(pool.in_region(&Region::new("eu")?));
/// assert_eq!(set.iter().map(|index| pool[index].to_string()).collect::<Vec<_>>(), ["azure-eu/gpt-4o"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    model: ModelName,
    candidates: Box<[Arc<ProviderCandidate>]>,
    /// The candidates' live state, one step nearer: strategies scan it.
    live: Box<[Arc<LiveSlot>]>,
    /// Candidates with a limit on requests in flight.
    capped: CandidateMask,
    available: CandidateMask,
    /// Whether candidates are of more than one tier.
    tiered: bool,
    drained: usize,
    capable: [CandidateMask; Capability::ALL.len()],
    providers: Named<ProviderId>,
    regions: Named<Region>,
    zones: Named<Zone>,
    tags: Named<Tag>,
    context_windows: Thresholds,
    output_limits: Thresholds,
    price_classes: Box<[PriceClass]>,
    /// Prices that no candidate exceeds; `None` when some price is unknown.
    dearest: Option<Pricing>,
    first_token: LatencyLevels,
    per_token: LatencyLevels,
    /// The next candidate whose published latency is read again.
    refresh_cursor: AtomicU64,
    words: usize,
}

/// Why candidates cannot be a pool.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// More than [`MAX_CANDIDATES`].
    #[error("{count} candidates are more than {MAX_CANDIDATES}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// The same candidate twice.
    #[error("candidate `{id}` is listed twice")]
    Duplicate {
        /// Which.
        id: String,
    },
    /// A candidate made from a name and a weight is not valid.
    #[error(transparent)]
    Candidate(#[from] CandidateError),
}

/// Candidates that share prices: a request costs the same at each.
#[derive(Debug, Clone)]
pub struct PriceClass {
    /// The prices; `None` when unknown.
    pub pricing: Option<Pricing>,
    /// Who has them.
    pub members: CandidateMask,
}

/// A mask per name.
type Named<N> = NameTable<N, CandidateMask>;

/// A mask per least value, for limits that grow.
#[derive(Debug)]
struct Thresholds {
    /// Ascending; each mask has the candidates whose limit is at least the value.
    steps: Box<[(Tokens, CandidateMask)]>,
}

impl Pool {
    /// Makes a pool of candidates, in this order.
    ///
    /// # Errors
    ///
    /// [`PoolError`] when there are too many or one is listed twice. An empty pool is valid: it selects nothing.
    pub fn new<C>(model: ModelName, candidates: impl IntoIterator<Item = C>) -> Result<Self, PoolError>
    where
        C: Into<Arc<ProviderCandidate>>,
    {
        let candidates: Box<[Arc<ProviderCandidate>]> = candidates.into_iter().map(Into::into).collect();
        if candidates.len() > MAX_CANDIDATES {
            return Err(PoolError::TooMany { count: candidates.len() });
        }
        let mut ids: Vec<_> = candidates.iter().map(|candidate| candidate.id()).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(PoolError::Duplicate { id: pair[0].to_string() });
        }
        Ok(Self::of_distinct(model, candidates))
    }

    /// Makes a pool of named candidates with weights, for trying and testing balancers alone.
    ///
    /// # Errors
    ///
    /// [`PoolError`] when a name or weight is not valid, a name is there twice, or there are too many.
    pub fn from_weights<N, W>(weights: impl IntoIterator<Item = (N, W)>) -> Result<Self, PoolError>
    where
        N: AsRef<str>,
        W: TryInto<Weight, Error = WeightError>,
    {
        let model = ModelName::new("model").map_err(CandidateError::from)?;
        let candidates = weights
            .into_iter()
            .map(|(name, weight)| ProviderCandidate::custom(name, model.as_str()).weight(weight).build());
        let candidates = candidates.collect::<Result<Vec<_>, _>>()?;
        Self::new(model, candidates)
    }

    fn of_distinct(model: ModelName, candidates: Box<[Arc<ProviderCandidate>]>) -> Self {
        let matching = |keep: &dyn Fn(&ProviderCandidate) -> bool| -> CandidateMask {
            indexed(&candidates).filter(|(_, candidate)| keep(candidate)).map(|(index, _)| index).collect()
        };
        let words = CandidateMask::words_for(candidates.len());
        Self {
            live: candidates.iter().map(|candidate| Arc::clone(candidate.live_arc())).collect(),
            capped: matching(&|candidate| candidate.rate_limits().max_in_flight.is_some()),
            available: matching(&ProviderCandidate::is_available),
            tiered: candidates.windows(2).any(|pair| pair[0].tier() != pair[1].tier()),
            drained: candidates.iter().filter(|candidate| !candidate.is_available()).count(),
            capable: Capability::ALL.map(|capability| {
                matching(&|candidate| candidate.capabilities().features.contains_all(capability.into()))
            }),
            providers: named(indexed(&candidates).map(|(index, c)| (c.provider(), index))),
            regions: named(indexed(&candidates).filter_map(|(index, c)| Some((c.region()?, index)))),
            zones: named(indexed(&candidates).filter_map(|(index, c)| Some((c.zone()?, index)))),
            tags: named(
                indexed(&candidates).flat_map(|(index, c)| c.tags().iter().map(move |tag| (tag, index))),
            ),
            context_windows: Thresholds::new(&candidates, |c| c.capabilities().context_window),
            output_limits: Thresholds::new(&candidates, |c| c.capabilities().max_output_tokens),
            dearest: dearest(&candidates),
            price_classes: price_classes(&candidates),
            first_token: LatencyLevels::new(candidates.len(), words),
            per_token: LatencyLevels::new(candidates.len(), words),
            refresh_cursor: AtomicU64::new(0),
            words,
            model,
            candidates,
        }
    }

    /// The same candidates in the same places with other weights: a set of this pool is a set of that one. Live state is
    /// shared. Whoever has no weight, or was drained before, takes no requests there.
    pub fn with_weights(&self, weights: &PoolWeights) -> Self {
        let reweighted = |candidate: &Arc<ProviderCandidate>| {
            let weight =
                if candidate.is_available() { weights.of(candidate.provider()) } else { Weight::ZERO };
            Arc::new(candidate.with_spec(|spec| spec.weight = weight))
        };
        Self::of_distinct(self.model.clone(), self.candidates.iter().map(reweighted).collect())
    }

    /// The model that all of them serve.
    pub const fn model(&self) -> &ModelName {
        &self.model
    }

    /// How many candidates there are, drained ones included.
    pub const fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// How many candidates take no requests.
    #[inline]
    pub const fn drained(&self) -> usize {
        self.drained
    }

    /// The candidates in order.
    pub fn candidates(&self) -> &[Arc<ProviderCandidate>] {
        &self.candidates
    }

    /// What changes at a candidate while requests run: the same as `pool[index].live()`, one step nearer for strategies
    /// that look at many.
    ///
    /// # Panics
    ///
    /// When the index came from a longer pool.
    #[inline]
    pub fn live(&self, index: CandidateIndex) -> &LiveSlot {
        &self.live[index.get()]
    }

    /// The candidates' live state, in order.
    pub fn live_slots(&self) -> &[Arc<LiveSlot>] {
        &self.live
    }

    /// The candidates with a limit on requests in flight.
    #[inline]
    pub const fn capped(&self) -> &CandidateMask {
        &self.capped
    }

    /// Whether candidates are of more than one tier.
    #[inline]
    pub const fn is_tiered(&self) -> bool {
        self.tiered
    }

    /// The set of all candidates that take requests: what a decision starts from.
    #[inline]
    pub const fn all(&self) -> CandidateSet<'_> {
        CandidateSet::new(self, self.available)
    }

    /// The place of the first candidate of a provider.
    pub fn index_of(&self, provider: impl AsRef<str>) -> Option<CandidateIndex> {
        indexed(&self.candidates)
            .find(|(_, c)| c.provider().as_str() == provider.as_ref())
            .map(|(index, _)| index)
    }

    /// The `n`-th place, drained or not.
    pub fn index(&self, n: usize) -> Option<CandidateIndex> {
        (n < self.len()).then_some(CandidateIndex(n as u16))
    }

    /// The candidates that take requests: not drained, not set unavailable.
    #[inline]
    pub const fn available(&self) -> &CandidateMask {
        &self.available
    }

    /// The candidates that offer a capability.
    #[inline]
    pub const fn capable(&self, capability: Capability) -> &CandidateMask {
        &self.capable[capability as usize]
    }

    /// The candidates of a provider.
    #[inline]
    pub fn of_provider(&self, provider: &ProviderId) -> &CandidateMask {
        self.providers.get(provider.hash_value(), provider).unwrap_or(&CandidateMask::EMPTY)
    }

    /// The candidates in a region.
    #[inline]
    pub fn in_region(&self, region: &Region) -> &CandidateMask {
        self.regions.get(region.hash_value(), region).unwrap_or(&CandidateMask::EMPTY)
    }

    /// The candidates in a zone.
    #[inline]
    pub fn in_zone(&self, zone: &Zone) -> &CandidateMask {
        self.zones.get(zone.hash_value(), zone).unwrap_or(&CandidateMask::EMPTY)
    }

    /// The candidates with a tag.
    #[inline]
    pub fn tagged(&self, tag: &Tag) -> &CandidateMask {
        self.tags.get(tag.hash_value(), tag).unwrap_or(&CandidateMask::EMPTY)
    }

    /// The candidates whose context window holds `needed` tokens.
    #[inline]
    pub fn context_window_at_least(&self, needed: Tokens) -> &CandidateMask {
        self.context_windows.at_least(needed)
    }

    /// The candidates that may answer with `needed` tokens.
    #[inline]
    pub fn max_output_at_least(&self, needed: Tokens) -> &CandidateMask {
        self.output_limits.at_least(needed)
    }

    /// The candidates by price: together all candidates, no candidate twice.
    pub fn price_classes(&self) -> &[PriceClass] {
        &self.price_classes
    }

    /// Who is slow to the first token.
    #[inline]
    pub(crate) const fn first_token_levels(&self) -> &LatencyLevels {
        &self.first_token
    }

    /// Who is slow from token to token.
    #[inline]
    pub(crate) const fn per_token_levels(&self) -> &LatencyLevels {
        &self.per_token
    }

    /// Whether a usage costs at most `limit` at every candidate: prices that no candidate exceeds are within it.
    /// `false` may also mean that it cannot be told without looking at each class.
    #[inline]
    pub fn costs_at_most(&self, usage: TokenUsage, limit: NanoUsd) -> bool {
        self.dearest.as_ref().is_some_and(|dearest| dearest.cost(usage) <= limit)
    }

    /// Publishes a candidate's averages for [`CandidateSet::drop_slower_to_first_token_than`] and its kin; call it when
    /// one of its requests finished.
    #[inline]
    pub fn publish_latency(&self, index: CandidateIndex, now: Timestamp) {
        let latency = self.live(index).latency();
        self.first_token.publish(index, latency.time_to_first_token.average_nanos(now));
        self.per_token.publish(index, latency.time_per_output_token.average_nanos(now));
    }

    /// At every eighth call publishes the averages of the next candidate in turn. A decision that asks who is slow
    /// calls it once, so a candidate that gets no requests because it was slow is forgotten as slow when its average
    /// is.
    #[inline]
    pub fn refresh_next_latency(&self, now: Timestamp) {
        // A lost increment under contention refreshes one candidate twice: harmless.
        let call = self.refresh_cursor.load(Ordering::Relaxed);
        self.refresh_cursor.store(call.wrapping_add(1), Ordering::Relaxed);
        if call.is_multiple_of(REFRESH_EVERY)
            && let Some(index) = (call / REFRESH_EVERY).checked_rem(self.len() as u64)
        {
            self.publish_latency(CandidateIndex(index as u16), now);
        }
    }

    /// Publishes the averages of every candidate, as a new pool of old candidates needs.
    pub(crate) fn refresh_all_latencies(&self, now: Timestamp) {
        (0..self.len()).for_each(|index| self.publish_latency(CandidateIndex(index as u16), now));
    }

    #[inline]
    pub(crate) const fn words(&self) -> usize {
        self.words
    }
}

/// # Panics
///
/// When the index came from a longer pool.
impl Index<CandidateIndex> for Pool {
    type Output = ProviderCandidate;

    fn index(&self, index: CandidateIndex) -> &ProviderCandidate {
        &self.candidates[index.get()]
    }
}

/// A mask per distinct name of `entries`.
fn named<'a, N: Clone + Ord + AsRef<str> + 'a>(
    entries: impl Iterator<Item = (&'a N, CandidateIndex)>,
) -> Named<N> {
    let mut masks: BTreeMap<&N, CandidateMask> = BTreeMap::new();
    for (name, index) in entries {
        masks.entry(name).or_insert(CandidateMask::EMPTY).insert(index.get());
    }
    NameTable::new(masks.into_iter().map(|(name, mask)| (hash_text(name.as_ref()), name.clone(), mask)))
}

impl Thresholds {
    fn new(candidates: &[Arc<ProviderCandidate>], limit: impl Fn(&ProviderCandidate) -> Tokens) -> Self {
        let mut values: Vec<Tokens> = candidates.iter().map(|candidate| limit(candidate)).collect();
        values.sort_unstable();
        values.dedup();
        let mask =
            |value| indexed(candidates).filter(|(_, c)| limit(c) >= value).map(|(index, _)| index).collect();
        Self { steps: values.into_iter().map(|value| (value, mask(value))).collect() }
    }

    fn at_least(&self, needed: Tokens) -> &CandidateMask {
        let step = self.steps.partition_point(|&(value, _)| value < needed);
        self.steps.get(step).map_or(&CandidateMask::EMPTY, |(_, mask)| mask)
    }
}

fn price_classes(candidates: &[Arc<ProviderCandidate>]) -> Box<[PriceClass]> {
    let mut classes: Vec<PriceClass> = Vec::new();
    for (index, candidate) in indexed(candidates) {
        match classes.iter_mut().find(|class| class.pricing.as_ref() == candidate.pricing()) {
            Some(class) => class.members.insert(index.get()),
            None => classes.push(PriceClass {
                pricing: candidate.pricing().copied(),
                members: [index].into_iter().collect(),
            }),
        }
    }
    classes.into_boxed_slice()
}

fn dearest(candidates: &[Arc<ProviderCandidate>]) -> Option<Pricing> {
    let mut prices = candidates.iter().map(|candidate| candidate.pricing().copied());
    let first = prices.next()??;
    prices.try_fold(first, |dearest, price| Some(dearest.at_least(&price?)))
}

fn indexed(
    candidates: &[Arc<ProviderCandidate>],
) -> impl Iterator<Item = (CandidateIndex, &ProviderCandidate)> {
    candidates.iter().enumerate().map(|(index, candidate)| (CandidateIndex(index as u16), &**candidate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestResult;
    use core::time::Duration;
    use proptest::prelude::*;

    fn pool_of(candidates: Vec<ProviderCandidate>) -> Pool {
        Pool::new(ModelName::new("m").unwrap(), candidates).unwrap()
    }

    #[test]
    fn refuses_too_many_and_twice() {
        let named = |n: usize| (0..n).map(|i| (format!("p{i}"), 1)).collect::<Vec<_>>();
        assert_eq!(Pool::from_weights(named(MAX_CANDIDATES)).unwrap().len(), MAX_CANDIDATES);
        let error = Pool::from_weights(named(MAX_CANDIDATES + 1)).unwrap_err();
        assert_eq!(error, PoolError::TooMany { count: MAX_CANDIDATES + 1 });
        assert!(matches!(Pool::from_weights([("a", 1), ("a", 2)]), Err(PoolError::Duplicate { .. })));
        assert!(Pool::from_weights([("a", -1)]).is_err());
    }

    #[test]
    fn an_empty_or_drained_pool_offers_nothing() {
        for pool in
            [Pool::from_weights::<&str, i32>([]).unwrap(), Pool::from_weights([("a", 0), ("b", 0)]).unwrap()]
        {
            assert!(pool.all().is_empty());
            assert_eq!(pool.all().nth(0), None);
            pool.refresh_next_latency(Timestamp::ORIGIN);
        }
    }

    #[test]
    fn a_slow_candidate_without_requests_is_forgotten_as_slow() {
        let pool = Pool::from_weights([("slow", 1), ("idle", 1)]).unwrap();
        let slow = pool.index_of("slow").unwrap();
        let result = RequestResult::success(Duration::from_secs(9), TokenUsage::default())
            .first_token_after(Duration::from_secs(5));
        pool[slow].live().record(&result, Timestamp::ORIGIN);
        pool.publish_latency(slow, Timestamp::ORIGIN);
        let limit = Duration::from_secs(1);
        assert_eq!(pool.all().drop_slower_to_first_token_than(limit), 1);
        let later = Timestamp::ORIGIN + crate::Ewma::STALE_AFTER + Duration::from_secs(1);
        (0..8 * pool.len()).for_each(|_| pool.refresh_next_latency(later));
        assert_eq!(pool.all().drop_slower_to_first_token_than(limit), 0);
    }

    proptest! {
        /// The oracle asks each candidate.
        #[test]
        fn masks_agree_with_the_candidates(
            specs in prop::collection::vec((0_u64..4, 0_usize..3, 0_usize..3, 0_usize..3, any::<bool>()), 0..150),
            needed in 0_u64..5,
        ) {
            let pool = pool_of(specs.iter().enumerate().map(|(i, &(window, region, tag, price, vision))| {
                let mut builder = ProviderCandidate::openai(format!("p{}", i / 2), format!("m{i}"))
                    .context_window(Tokens(window + 1))
                    .region(format!("r{region}"))
                    .tag(format!("t{tag}"))
                    .price_per_million(price as f64, 1.0);
                if vision {
                    builder = builder.with_feature(Capability::Vision);
                }
                builder.build().unwrap()
            }).collect());
            let check = |mask: &CandidateMask, holds: &dyn Fn(&ProviderCandidate) -> bool| {
                indexed(pool.candidates()).all(|(index, candidate)| mask.has(index) == holds(candidate))
            };
            prop_assert!(check(pool.capable(Capability::Vision), &|c| c.capabilities().features.contains_all(Capability::Vision.into())));
            prop_assert!(check(pool.context_window_at_least(Tokens(needed)), &|c| c.capabilities().context_window >= Tokens(needed)));
            let region = Region::new("r1").unwrap();
            prop_assert!(check(pool.in_region(&region), &|c| c.region() == Some(&region)));
            let tag = Tag::new("t2").unwrap();
            prop_assert!(check(pool.tagged(&tag), &|c| c.tags().contains(&tag)));
            let provider = ProviderId::new("p3").unwrap();
            prop_assert!(check(pool.of_provider(&provider), &|c| c.provider() == &provider));
            for (index, candidate) in indexed(pool.candidates()) {
                let classes: Vec<_> = pool.price_classes().iter().filter(|class| class.members.has(index)).collect();
                prop_assert_eq!(classes.len(), 1);
                prop_assert_eq!(classes[0].pricing.as_ref(), candidate.pricing());
            }
        }
    }
}
