//! What requests read besides the router: where candidates are reached, who may ask, and how requests are seen through.

use std::sync::Arc;

use foldhash::HashMap;
use waypost::FailoverChain;
use waypost::core::{CandidateId, ModelName, TenantId};

use crate::config::{Resolved, ResponseHeader};
use crate::keys::{Caller, KeyRing};
use crate::target::{Target, Targets};

/// One version of it. Replaced as a whole.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    targets: Arc<Targets>,
    /// Of the version before, to which requests that run may still be led.
    before: Arc<Targets>,
    /// By model or alias: of all names that are one.
    pub(crate) chains: HashMap<ModelName, Arc<FailoverChain>>,
    pub(crate) keys: KeyRing,
    pub(crate) anonymous: bool,
    /// What answers say in headers of how they came about.
    pub(crate) response_headers: Vec<ResponseHeader>,
    pub(crate) max_body: u64,
    pub(crate) models: Vec<ListedModel>,
    /// Of the text that it was made from, for reports.
    pub(crate) hash: u64,
}

/// A model or alias that clients may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedModel {
    pub(crate) name: ModelName,
    pub(crate) owned_by: String,
    /// Tenants that have a list of models without it.
    pub(crate) denied_to: Vec<TenantId>,
}

impl ListedModel {
    /// Whether a caller may ask for it.
    pub(crate) fn is_for(&self, caller: &Caller) -> bool {
        let denied = caller.tenant.as_ref().is_some_and(|tenant| self.denied_to.contains(tenant));
        !denied && caller.may_use(&self.name)
    }
}

impl Directory {
    /// The directory of a configuration, after another one.
    pub(crate) fn new(resolved: Resolved, targets: Targets, before: &Self) -> Self {
        Self {
            targets: Arc::new(targets),
            before: Arc::clone(&before.targets),
            chains: resolved.chains,
            keys: resolved.keys,
            anonymous: resolved.server.anonymous,
            response_headers: resolved.response_headers,
            max_body: resolved.server.max_body,
            models: resolved.listed,
            hash: resolved.hash,
        }
    }

    /// How a candidate is reached; `None` for one that is gone.
    pub(crate) fn target(&self, id: &CandidateId) -> Option<&Arc<Target>> {
        self.targets.get(id).or_else(|| self.before.get(id))
    }

    #[cfg(test)]
    pub(crate) fn reachable(&self) -> usize {
        self.targets.len() + self.before.len()
    }
}
