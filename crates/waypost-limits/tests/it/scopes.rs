//! Which requests a limit is about.

use std::sync::Arc;

use waypost_core::{CredentialName, ModelName, OrganizationId, Pool, ProviderCandidate, Tag, TenantId};
use waypost_limits::{Dimension, Limit, LimitError, Limits, LimitsConfig, MAX_LIMITS, Rate};

use crate::rig::{ask, at, id, limits};

fn once(name: &str) -> Limit {
    Limit::requests(id(name), Rate::per_hour(1).unwrap())
}

/// A limit of each scope admits its one request once and is not asked about another.
#[test]
fn each_scope_is_about_its_own_requests() {
    let acme = || TenantId::new("acme").unwrap();
    let mut beta = ask().of_tenant("globex").of_user("b");
    beta.context.organization_id = Some(OrganizationId::new("beta").unwrap());
    beta.context.required_tags = vec![Tag::new("batch").unwrap()];
    beta.request.api_key_hash = Some("b7".into());
    let scopes: [(Limit, crate::rig::Ask); 6] = [
        (once("tenant").for_tenant(acme()), ask().of_tenant("acme")),
        (once("user").for_user("b".parse().unwrap()), beta.clone()),
        (once("organization").for_organization("beta".parse().unwrap()), beta.clone()),
        (once("key").for_key("b7".into()), beta.clone()),
        (once("tag").for_tag(Tag::new("batch").unwrap()), beta.clone()),
        (once("model").for_model(ModelName::new("gpt-4o").unwrap()), ask()),
    ];
    for (limit, meant) in scopes {
        let name = limit.id().to_string();
        let limits = limits([limit]);
        let mut other = ask().of_tenant("other");
        other.request.model = ModelName::new("claude").unwrap();
        assert!((0..3).all(|_| other.reserve(&limits).is_some()), "{name}: others are not meant");
        assert!(meant.reserve(&limits).is_some() && meant.reserve(&limits).is_none(), "{name}");
    }
}

#[test]
fn a_limit_per_tenant_and_user_tells_both_apart() {
    let limits = limits([once("both").per(Dimension::Tenant).per(Dimension::User)]);
    for (tenant, user) in [("a", "1"), ("a", "2"), ("b", "1")] {
        let ask = ask().of_tenant(tenant).of_user(user);
        assert!(ask.reserve(&limits).is_some() && ask.reserve(&limits).is_none(), "{tenant} {user}");
    }
    // Whoever has no name is one subject with all others who have none.
    assert!(ask().reserve(&limits).is_some() && ask().reserve(&limits).is_none());
    let refused = limits.reserve(&ask().of_tenant("a").of_user("1").decision(), None, None).unwrap_err();
    assert_eq!(refused.to_string(), "limit `both` (tenant a, user 1) is spent, more in 3600.0 s");
}

#[test]
fn a_limit_per_key_tells_keys_apart_whatever_their_hashes_are() {
    let limits = limits([once("each").per(Dimension::Key).per(Dimension::User)]);
    let of_key = |hash: &str, user: &str| {
        let mut ask = ask().of_user(user);
        ask.request.api_key_hash = Some(hash.into());
        ask
    };
    for ask in [of_key("a", "1"), of_key("b", "1"), of_key("", "1"), of_key("a\u{1f}user 1", "1")] {
        assert!(ask.reserve(&limits).is_some() && ask.reserve(&limits).is_none());
    }
    let refused = limits.reserve(&of_key("\n", "1").decision(), None, None);
    drop(refused.unwrap());
    let refused = limits.reserve(&of_key("a", "1").decision(), None, None).unwrap_err();
    assert_eq!(refused.to_string(), "limit `each` (user 1, key a) is spent, more in 3600.0 s");
}

/// Two candidates with one credential share its limit; a third has its own.
#[test]
fn a_credential_is_shared_by_its_candidates() {
    let candidate = |provider, credential: Option<&str>| {
        let candidate = ProviderCandidate::openai(provider, "gpt-4o");
        let named = credential.map(|name| candidate.clone().credential(name));
        Arc::new(named.unwrap_or(candidate).build().unwrap())
    };
    let candidates = vec![candidate("a", Some("team")), candidate("b", Some("team")), candidate("c", None)];
    let pool = Arc::new(Pool::new(ModelName::new("gpt-4o").unwrap(), candidates).unwrap());
    let name = CredentialName::new("team").unwrap();
    for limit in [once("named").for_credential(name), once("each").per(Dimension::Credential)] {
        let each = *limit.id() == id("each");
        let limits = Arc::new(limits([limit]));
        let of_pool = limits.attach(&pool, at(0));
        let ask = ask();
        let took = ["a", "b", "c", "c"].map(|provider| {
            let index = pool.index_of(provider).unwrap();
            of_pool.reserve(&limits.find(&ask.decision()), index, &ask.decision(), None).is_ok()
        });
        assert_eq!(took, [true, false, true, !each]);
    }
}

#[test]
fn a_thousand_tenants_find_their_own() {
    let tenant = |number: usize| format!("tenant-{number}");
    let each = (0..1_000).map(|number| once(&tenant(number)).for_tenant(tenant(number).parse().unwrap()));
    let limits = limits(each);
    for number in 0..1_000 {
        let ask = ask().of_tenant(&tenant(number));
        assert!(ask.reserve(&limits).is_some() && ask.reserve(&limits).is_none());
    }
}

/// B47, B54: everything that is wrong is said, and nothing of it is kept.
#[test]
fn b47_what_is_wrong_with_limits() {
    use waypost_core::{NanoUsd, Ratio};
    use waypost_limits::{Budget, Period, PriorityReserve};

    let upside_down = PriorityReserve { high: Ratio::new(0.2).unwrap(), ..PriorityReserve::default() };
    let wrong = [
        once("twice"),
        once("twice"),
        Limit::budget(id("nothing"), Budget::new(NanoUsd::ZERO, Period::DAY).with_thresholds([0, 101, 50])),
        once("reserve").reserving(upside_down),
        once("fair").shared_fairly_by(Dimension::Candidate),
        Limit::concurrency(id("gauge"), 1.try_into().unwrap()).shared_fairly_by(Dimension::Tenant),
    ];
    let before = limits([once("good")]);
    let errors = before.updated(wrong, at(0)).unwrap_err();
    let found: Vec<_> = errors.iter().collect();
    assert_eq!(found.len(), 7, "{errors}");
    assert!(matches!(found[0], LimitError::Duplicate(_)) && matches!(found[1], LimitError::NoMoney(_)));
    assert!(before.iter().count() == 1 && ask().reserve(&before).is_some());
    let many = (0..=MAX_LIMITS).map(|number| once(&format!("limit-{number}")));
    assert!(Limits::new(many, LimitsConfig::default(), at(0)).is_err());
}
