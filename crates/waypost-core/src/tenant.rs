//! What one tenant may use and prefers.

use crate::{LoadBalancingStrategy, ModelName, NanoUsd, ProviderId};

/// The most entries of one allow-list or preference list.
pub(crate) const MAX_LISTED: usize = 1_024;

/// Routing rules of one tenant. A request of a tenant without such rules is routed without them.
///
/// ```
/// use waypost_core::{ProviderId, TenantRoutingConfig};
///
/// let acme = TenantRoutingConfig {
///     allowed_providers: Some(vec![ProviderId::new("azure-eu")?]),
///     ..TenantRoutingConfig::default()
/// };
/// assert!(acme.preferred_providers.is_empty());
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct TenantRoutingConfig {
    /// The only providers that the tenant's requests may go to; an empty list allows none. Default: all.
    pub allowed_providers: Option<Vec<ProviderId>>,
    /// The only models that the tenant's requests may go to, aliases by their own name or by that of their model; an
    /// empty list allows none. Asked of the name in the request, and again of the model that rules and aliases make of
    /// it. Default: all.
    pub allowed_models: Option<Vec<ModelName>>,
    /// Providers in order of preference: the first that is still in play after all constraints gets the request.
    /// Default: no preference.
    pub preferred_providers: Vec<ProviderId>,
    /// The most that one request may be estimated to cost. Default: no limit.
    pub cost_limit_per_request: Option<NanoUsd>,
    /// The strategy for the tenant's requests, unless a rule names another. Default: the router's.
    pub default_strategy: Option<LoadBalancingStrategy>,
}
