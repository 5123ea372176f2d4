//! Finds the limits of a request among many.

use core::hash::Hash;
use std::collections::HashMap;
use std::sync::Arc;

use waypost_core::{DecisionContext, ModelName, OrganizationId, Tag, TenantId, UserId};

use crate::limit::Scope;

/// The limits that a request may be meant by, found by what they name: a thousand tenants with a budget each cost a
/// request of one of them as much as one. A limit is found by one name; the rest of its scope is looked at after that.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Those that name nothing that is looked up.
    always: Vec<u32>,
    tenants: Names<TenantId>,
    users: Names<UserId>,
    organizations: Names<OrganizationId>,
    keys: Names<Arc<str>>,
    tags: Names<Tag>,
    models: Names<ModelName>,
}

#[derive(Debug)]
struct Names<K>(HashMap<K, Vec<u32>, foldhash::quality::RandomState>);

impl<K> Default for Names<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl Index {
    /// An index of scopes with their places.
    pub(crate) fn new<'a>(scopes: impl Iterator<Item = (&'a Scope, u32)>) -> Self {
        let mut index = Self::default();
        for (scope, place) in scopes {
            // What tells most apart comes first.
            let is_named = index.keys.add(scope.key.as_ref(), place)
                || index.tenants.add(scope.tenant.as_ref(), place)
                || index.users.add(scope.user.as_ref(), place)
                || index.organizations.add(scope.organization.as_ref(), place)
                || index.tags.add(scope.tag.as_ref(), place)
                || index.models.add(scope.model.as_ref(), place);
            if !is_named {
                index.always.push(place);
            }
        }
        index
    }

    /// Calls `each` with the places that a request may be meant by, each once unless the request names a tag twice.
    #[inline]
    pub(crate) fn each_of(&self, decision: &DecisionContext<'_>, mut each: impl FnMut(u32)) {
        self.always.iter().copied().for_each(&mut each);
        self.tenants.each_of(decision.tenant_id(), &mut each);
        self.users.each_of(decision.user_id(), &mut each);
        self.organizations.each_of(decision.context.organization_id.as_ref(), &mut each);
        self.keys.each_of(decision.request.api_key_hash.as_ref(), &mut each);
        self.models.each_of(Some(decision.model()), &mut each);
        if !self.tags.0.is_empty() {
            decision.tags().for_each(|tag| self.tags.each_of(Some(tag), &mut each));
        }
    }
}

impl<K: Clone + Eq + Hash> Names<K> {
    fn add(&mut self, name: Option<&K>, place: u32) -> bool {
        if let Some(name) = name {
            self.0.entry(name.clone()).or_default().push(place);
        }
        name.is_some()
    }

    #[inline]
    fn each_of(&self, name: Option<&K>, each: impl FnMut(u32)) {
        let Some(name) = name.filter(|_| !self.0.is_empty()) else { return };
        self.0.get(name).into_iter().flatten().copied().for_each(each);
    }
}
