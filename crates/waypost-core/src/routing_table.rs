//! What the operator declared, and how it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::tenant::MAX_LISTED;
use crate::{
    CandidateId, LoadBalancingStrategy, MAX_CANDIDATES, ModelName, Pricing, ProviderCandidate, ProviderId,
    TenantId, TenantRoutingConfig, Weight,
};

/// The longest chain of aliases.
pub const MAX_ALIAS_CHAIN: usize = 8;
/// The most candidates of one table.
const MAX_TABLE_CANDIDATES: usize = 1 << 20;

/// Candidates, the models they serve, aliases and tenants, as declared. [`RoutingSnapshot`](crate::RoutingSnapshot) is
/// what decisions read.
///
/// ```
/// use waypost_core::{ModelName, ProviderCandidate, RoutingTable, RoutingTableUpdate};
///
/// let gpt = ProviderCandidate::openai("openai-main", "gpt-4o").build()?;
/// let table = RoutingTable::default().updated([
///     RoutingTableUpdate::add(gpt),
///     RoutingTableUpdate::SetModelAlias { alias: ModelName::new("fast")?, target: ModelName::new("gpt-4o")? },
/// ])?;
/// assert_eq!(table.models().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct RoutingTable {
    candidates: BTreeMap<CandidateId, Arc<ProviderCandidate>>,
    models: BTreeMap<ModelName, Vec<CandidateId>>,
    aliases: BTreeMap<ModelName, ModelName>,
    tenants: BTreeMap<TenantId, TenantRoutingConfig>,
}

/// One change of a [`RoutingTable`]. Where a change names a provider and an optional model, it is about that one
/// candidate, or about all candidates of the provider when no model is named.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RoutingTableUpdate {
    /// Lets a candidate serve one or several models. One candidate stays one, with one live state, however many models
    /// it serves. A candidate whose id the table had before this batch keeps its live state.
    AddProvider {
        /// The models; empty means the candidate's own model name.
        models: Vec<ModelName>,
        /// The candidate.
        candidate: Box<ProviderCandidate>,
    },
    /// Takes candidates out. A model left without candidates goes too, unless an alias names it.
    RemoveProvider {
        /// The provider.
        provider: ProviderId,
        /// The model of the one candidate, or all.
        model: Option<ModelName>,
    },
    /// Sets the weight.
    UpdateProviderWeight {
        /// The provider.
        provider: ProviderId,
        /// The model of the one candidate, or all.
        model: Option<ModelName>,
        /// The weight.
        weight: Weight,
    },
    /// Sets the prices.
    UpdatePricing {
        /// The provider.
        provider: ProviderId,
        /// The model of the one candidate, or all.
        model: Option<ModelName>,
        /// The prices; `None` is unknown.
        pricing: Option<Pricing>,
    },
    /// Drains candidates or lets them back in. Requests in flight are not touched.
    SetAvailable {
        /// The provider.
        provider: ProviderId,
        /// The model of the one candidate, or all.
        model: Option<ModelName>,
        /// Whether new requests may go there.
        available: bool,
    },
    /// Lets a name stand for a model or for another alias.
    SetModelAlias {
        /// The name.
        alias: ModelName,
        /// What it stands for.
        target: ModelName,
    },
    /// Forgets an alias.
    RemoveModelAlias {
        /// The name.
        alias: ModelName,
    },
    /// Sets a tenant's routing rules.
    SetTenant {
        /// The tenant.
        tenant: TenantId,
        /// Its rules.
        config: TenantRoutingConfig,
    },
    /// Forgets a tenant's routing rules.
    RemoveTenant {
        /// The tenant.
        tenant: TenantId,
    },
}

impl RoutingTableUpdate {
    /// Adds a candidate under its own model name.
    pub fn add(candidate: ProviderCandidate) -> Self {
        Self::AddProvider { models: Vec::new(), candidate: Box::new(candidate) }
    }
}

/// One reason why a table cannot be changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The candidate is there already.
    #[error("candidate `{0}` is there already")]
    DuplicateCandidate(CandidateId),
    /// The same model twice in one addition.
    #[error("model `{0}` is named twice")]
    DuplicateModel(ModelName),
    /// No candidate of this provider, or none with this model.
    #[error("no candidate of provider `{provider}`{}", model.as_ref().map(|m| format!(" with model `{m}`")).unwrap_or_default())]
    UnknownCandidate {
        /// The provider.
        provider: ProviderId,
        /// The model, if one was named.
        model: Option<ModelName>,
    },
    /// No such alias.
    #[error("no alias `{0}`")]
    UnknownAlias(ModelName),
    /// No such tenant.
    #[error("no rules for tenant `{0}`")]
    UnknownTenant(TenantId),
    /// An alias with the name of a model.
    #[error("`{0}` is both a model and an alias")]
    AliasIsModel(ModelName),
    /// An alias that leads to nothing.
    #[error("alias `{alias}` stands for `{target}`, which is neither a model nor an alias")]
    DanglingAlias {
        /// The alias.
        alias: ModelName,
        /// What it should stand for.
        target: ModelName,
    },
    /// An alias that leads back to itself.
    #[error("alias `{0}` leads back to itself")]
    AliasCycle(ModelName),
    /// An alias of an alias of an alias …
    #[error("alias `{0}` leads over more than {MAX_ALIAS_CHAIN} steps")]
    AliasChain(ModelName),
    /// Two names that differ only in upper and lower case.
    #[error("{kind} `{first}` and `{second}` differ only in case")]
    SimilarNames {
        /// What they name.
        kind: &'static str,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A tenant's default strategy that the router does not know.
    #[error("tenant `{tenant}` wants strategy {strategy}, which is not registered")]
    UnknownStrategy {
        /// The tenant.
        tenant: TenantId,
        /// The strategy.
        strategy: LoadBalancingStrategy,
    },
    /// More candidates of one model than a pool holds.
    #[error("model `{model}` has {count} candidates, more than {MAX_CANDIDATES}")]
    PoolTooLarge {
        /// The model.
        model: ModelName,
        /// How many.
        count: usize,
    },
    /// More candidates than a table holds.
    #[error("{0} candidates are more than {MAX_TABLE_CANDIDATES}")]
    TableTooLarge(usize),
    /// A tenant with longer lists than a decision should read.
    #[error("tenant `{0}` lists more than {MAX_LISTED} providers or models")]
    TenantListTooLong(TenantId),
}

/// Every reason why a batch of updates was refused; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct UpdateErrors(Vec<UpdateError>);

impl UpdateErrors {
    /// Reasons that another check of a table found.
    pub const fn new(reasons: Vec<UpdateError>) -> Self {
        Self(reasons)
    }

    /// The reasons, in the order of the updates, those about the result as a whole last.
    pub fn reasons(&self) -> &[UpdateError] {
        &self.0
    }
}

impl RoutingTable {
    /// This table after a batch of updates, all of them or none.
    ///
    /// # Errors
    ///
    /// [`UpdateErrors`] with every reason.
    pub fn updated(
        &self,
        updates: impl IntoIterator<Item = RoutingTableUpdate>,
    ) -> Result<Self, UpdateErrors> {
        self.clone().followed_by(updates, self)
    }

    /// The table that a batch of updates makes of an empty one; candidates that this table knows, by id, keep their live
    /// state.
    ///
    /// # Errors
    ///
    /// [`UpdateErrors`] with every reason.
    pub fn replaced(
        &self,
        updates: impl IntoIterator<Item = RoutingTableUpdate>,
    ) -> Result<Self, UpdateErrors> {
        Self::default().followed_by(updates, self)
    }

    fn followed_by(
        mut self,
        updates: impl IntoIterator<Item = RoutingTableUpdate>,
        before: &Self,
    ) -> Result<Self, UpdateErrors> {
        let mut errors = Vec::new();
        for update in updates {
            self.apply(update, before, &mut errors);
        }
        self.drop_empty_models();
        self.check(&mut errors);
        if errors.is_empty() { Ok(self) } else { Err(UpdateErrors(errors)) }
    }

    /// All candidates, by id.
    pub fn candidates(&self) -> impl Iterator<Item = &Arc<ProviderCandidate>> {
        self.candidates.values()
    }

    /// All models with their candidates, by name.
    pub fn models(
        &self,
    ) -> impl Iterator<Item = (&ModelName, impl Iterator<Item = &Arc<ProviderCandidate>>)> {
        self.models.iter().map(|(model, ids)| (model, ids.iter().map(|id| &self.candidates[id])))
    }

    /// All aliases with the models that they lead to, by name.
    pub fn aliases(&self) -> impl Iterator<Item = (&ModelName, &ModelName)> {
        self.aliases.keys().filter_map(|alias| Some((alias, self.resolve(alias).ok()?)))
    }

    /// All tenants with rules, by id.
    pub fn tenants(&self) -> impl Iterator<Item = (&TenantId, &TenantRoutingConfig)> {
        self.tenants.iter()
    }

    fn apply(&mut self, update: RoutingTableUpdate, before: &Self, errors: &mut Vec<UpdateError>) {
        use RoutingTableUpdate as U;
        let outcome = match update {
            U::AddProvider { models, candidate } => self.add(models, *candidate, before),
            U::RemoveProvider { provider, model } => self.remove(&provider, model.as_ref()),
            U::UpdateProviderWeight { provider, model, weight } => {
                self.change(&provider, model.as_ref(), |candidate| {
                    candidate.with_spec(|spec| spec.weight = weight)
                })
            }
            U::UpdatePricing { provider, model, pricing } => {
                self.change(&provider, model.as_ref(), |candidate| {
                    candidate.with_spec(|spec| spec.pricing = pricing)
                })
            }
            U::SetAvailable { provider, model, available } => {
                self.change(&provider, model.as_ref(), |candidate| {
                    candidate.with_spec(|spec| spec.available = available)
                })
            }
            U::SetModelAlias { alias, target } => {
                self.aliases.insert(alias, target);
                Ok(())
            }
            U::RemoveModelAlias { alias } => {
                self.aliases.remove(&alias).map(drop).ok_or(UpdateError::UnknownAlias(alias))
            }
            U::SetTenant { tenant, config } => {
                self.tenants.insert(tenant, config);
                Ok(())
            }
            U::RemoveTenant { tenant } => {
                self.tenants.remove(&tenant).map(drop).ok_or(UpdateError::UnknownTenant(tenant))
            }
        };
        errors.extend(outcome.err());
    }

    fn add(
        &mut self,
        mut models: Vec<ModelName>,
        candidate: ProviderCandidate,
        before: &Self,
    ) -> Result<(), UpdateError> {
        let id = candidate.id().clone();
        if self.candidates.contains_key(&id) {
            return Err(UpdateError::DuplicateCandidate(id));
        }
        if models.is_empty() {
            models.push(id.model.clone());
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = models.iter().find(|model| !seen.insert(*model)) {
            return Err(UpdateError::DuplicateModel(twice.clone()));
        }
        for model in models {
            self.models.entry(model).or_default().push(id.clone());
        }
        let candidate = match before.candidates.get(&id) {
            Some(known) => candidate.adopt_live_state_of(known),
            None => candidate,
        };
        self.candidates.insert(id, Arc::new(candidate));
        Ok(())
    }

    fn remove(&mut self, provider: &ProviderId, model: Option<&ModelName>) -> Result<(), UpdateError> {
        let ids = self.ids_of(provider, model)?;
        for id in &ids {
            self.candidates.remove(id);
        }
        for served in self.models.values_mut() {
            served.retain(|id| !ids.contains(id));
        }
        Ok(())
    }

    fn change(
        &mut self,
        provider: &ProviderId,
        model: Option<&ModelName>,
        change: impl Fn(&ProviderCandidate) -> ProviderCandidate,
    ) -> Result<(), UpdateError> {
        for id in self.ids_of(provider, model)? {
            let candidate = self.candidates.get_mut(&id).expect("`ids_of` names candidates of this table");
            *candidate = Arc::new(change(candidate));
        }
        Ok(())
    }

    /// The ids that a change is about; never empty.
    fn ids_of(
        &self,
        provider: &ProviderId,
        model: Option<&ModelName>,
    ) -> Result<Vec<CandidateId>, UpdateError> {
        let concerned =
            |id: &&CandidateId| id.provider == *provider && model.is_none_or(|model| id.model == *model);
        let ids: Vec<_> = self.candidates.keys().filter(concerned).cloned().collect();
        if ids.is_empty() {
            return Err(UpdateError::UnknownCandidate { provider: provider.clone(), model: model.cloned() });
        }
        Ok(ids)
    }

    fn drop_empty_models(&mut self) {
        let aliased: BTreeSet<_> = self.aliases.values().cloned().collect();
        self.models.retain(|model, ids| !ids.is_empty() || aliased.contains(model));
    }

    /// What must hold of a table as a whole.
    fn check(&self, errors: &mut Vec<UpdateError>) {
        let providers: BTreeSet<_> = self.candidates.keys().map(|id| id.provider.as_str()).collect();
        let names =
            self.models.keys().chain(self.aliases.keys().filter(|alias| !self.models.contains_key(*alias)));
        errors.extend(similar("provider", providers.into_iter()));
        errors.extend(similar("model", names.map(ModelName::as_str)));
        errors.extend(similar("tenant", self.tenants.keys().map(TenantId::as_str)));
        errors.extend(self.aliases.keys().filter_map(|alias| self.resolve(alias).err()));
        errors.extend(
            self.models
                .iter()
                .filter(|(_, ids)| ids.len() > MAX_CANDIDATES)
                .map(|(model, ids)| UpdateError::PoolTooLarge { model: model.clone(), count: ids.len() }),
        );
        if self.candidates.len() > MAX_TABLE_CANDIDATES {
            errors.push(UpdateError::TableTooLarge(self.candidates.len()));
        }
        let too_long = |config: &TenantRoutingConfig| {
            let allowed = config.allowed_providers.as_ref().map_or(0, Vec::len);
            let models = config.allowed_models.as_ref().map_or(0, Vec::len);
            allowed.max(models).max(config.preferred_providers.len()) > MAX_LISTED
        };
        let long = self.tenants.iter().filter(|(_, config)| too_long(config));
        errors.extend(long.map(|(tenant, _)| UpdateError::TenantListTooLong(tenant.clone())));
    }

    /// The model that an alias leads to.
    fn resolve(&self, alias: &ModelName) -> Result<&ModelName, UpdateError> {
        if self.models.contains_key(alias) {
            return Err(UpdateError::AliasIsModel(alias.clone()));
        }
        let mut at = alias;
        for _ in 0..MAX_ALIAS_CHAIN {
            let target = &self.aliases[at];
            if let Some((model, _)) = self.models.get_key_value(target) {
                return Ok(model);
            }
            if target == alias {
                return Err(UpdateError::AliasCycle(alias.clone()));
            }
            if !self.aliases.contains_key(target) {
                return Err(UpdateError::DanglingAlias { alias: at.clone(), target: target.clone() });
            }
            at = target;
        }
        Err(UpdateError::AliasChain(alias.clone()))
    }
}

fn similar<'a>(kind: &'static str, names: impl Iterator<Item = &'a str>) -> Vec<UpdateError> {
    let mut seen = BTreeMap::new();
    let clash = |name: &'a str| {
        let first = seen.insert(name.to_lowercase(), name)?;
        Some(UpdateError::SimilarNames { kind, first: first.into(), second: name.into() })
    };
    names.filter_map(clash).collect()
}

#[cfg(test)]
#[path = "routing_table/tests.rs"]
mod tests;
