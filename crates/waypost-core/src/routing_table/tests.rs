use super::*;
use RoutingTableUpdate as Update;

fn name(text: &str) -> ModelName {
    ModelName::new(text).unwrap()
}

fn provider(text: &str) -> ProviderId {
    ProviderId::new(text).unwrap()
}

fn add(provider: &str, model: &str) -> Update {
    Update::add(ProviderCandidate::openai(provider, model).build().unwrap())
}

fn alias(alias: &str, target: &str) -> Update {
    Update::SetModelAlias { alias: name(alias), target: name(target) }
}

fn remove(id: &str) -> Update {
    Update::RemoveProvider { provider: provider(id), model: None }
}

fn reasons(updates: Vec<Update>) -> Vec<UpdateError> {
    let table = RoutingTable::default().updated([add("a", "m"), add("b", "m"), alias("fast", "m")]).unwrap();
    table.updated(updates).map_or_else(|errors| errors.reasons().to_vec(), |_| Vec::new())
}

#[test]
fn refuses_what_cannot_be_meant() {
    use UpdateError as E;
    let unknown = |id: &str, model: Option<&str>| E::UnknownCandidate {
        provider: provider(id),
        model: model.map(name),
    };
    let similar = |kind, first: &str, second: &str| E::SimilarNames {
        kind,
        first: first.into(),
        second: second.into(),
    };
    let candidate = || Box::new(ProviderCandidate::openai("c", "m").build().unwrap());
    let id = |p: &str| CandidateId { provider: provider(p), model: name("m") };
    let cases: Vec<(Vec<Update>, E)> = vec![
        (vec![add("a", "m")], E::DuplicateCandidate(id("a"))),
        (vec![add("c", "m"), add("c", "m")], E::DuplicateCandidate(id("c"))),
        (
            vec![Update::AddProvider { models: vec![name("x"), name("x")], candidate: candidate() }],
            E::DuplicateModel(name("x")),
        ),
        (vec![remove("c")], unknown("c", None)),
        (
            vec![Update::RemoveProvider { provider: provider("a"), model: Some(name("n")) }],
            unknown("a", Some("n")),
        ),
        (
            vec![Update::SetAvailable { provider: provider("zz"), model: None, available: false }],
            unknown("zz", None),
        ),
        (
            vec![Update::UpdatePricing { provider: provider("zz"), model: None, pricing: None }],
            unknown("zz", None),
        ),
        (
            vec![Update::UpdateProviderWeight { provider: provider("zz"), model: None, weight: Weight::MAX }],
            unknown("zz", None),
        ),
        (vec![Update::RemoveModelAlias { alias: name("slow") }], E::UnknownAlias(name("slow"))),
        (
            vec![Update::RemoveTenant { tenant: TenantId::new("t").unwrap() }],
            E::UnknownTenant(TenantId::new("t").unwrap()),
        ),
        (vec![alias("m", "fast")], E::AliasIsModel(name("m"))),
        (vec![alias("x", "nothing")], E::DanglingAlias { alias: name("x"), target: name("nothing") }),
        (vec![alias("x", "x")], E::AliasCycle(name("x"))),
        (vec![add("A", "m2")], similar("provider", "A", "a")),
        (vec![add("c", "M")], similar("model", "M", "m")),
        (vec![alias("FAST", "m")], similar("model", "FAST", "fast")),
    ];
    for (updates, reason) in cases {
        let shown = format!("{updates:?}");
        assert_eq!(reasons(updates), [reason], "{shown}");
    }
}

#[test]
fn cycles_and_long_chains_are_refused() {
    let seen = reasons(vec![alias("x", "y"), alias("y", "x")]);
    assert_eq!(seen, [UpdateError::AliasCycle(name("x")), UpdateError::AliasCycle(name("y"))]);
    let chain = |n: usize| {
        (1..=n)
            .map(|i| alias(&format!("a{i}"), &if i == 1 { "m".into() } else { format!("a{}", i - 1) }))
            .collect()
    };
    assert_eq!(reasons(chain(MAX_ALIAS_CHAIN)), []);
    assert_eq!(reasons(chain(MAX_ALIAS_CHAIN + 1)), [UpdateError::AliasChain(name("a9"))]);
    assert!(!reasons(chain(1_000)).is_empty());
}

#[test]
fn every_reason_is_given_and_nothing_changes() {
    let table = RoutingTable::default().updated([add("a", "m")]).unwrap();
    let errors = table.updated([add("b", "m"), remove("x"), add("a", "m"), alias("y", "z")]).unwrap_err();
    assert_eq!(errors.reasons().len(), 3);
    assert_eq!(errors.to_string().matches("; ").count(), 2);
    assert_eq!(table.candidates().count(), 1);
    assert_eq!(table.aliases().count(), 0);
}

#[test]
fn a_batch_may_replace_a_candidate_and_keeps_its_live_state() {
    let table = RoutingTable::default().updated([add("a", "m")]).unwrap();
    let before = Arc::clone(table.candidates().next().unwrap());
    let heavier = ProviderCandidate::openai("a", "m").weight(900).build().unwrap();
    let table = table.updated([remove("a"), Update::add(heavier)]).unwrap();
    let after = table.candidates().next().unwrap();
    assert_eq!(after.weight().get(), 900);
    assert!(after.shares_live_state_with(&before));
}

#[test]
fn a_model_without_candidates_goes_unless_an_alias_names_it() {
    let table = RoutingTable::default().updated([add("a", "m"), add("b", "n"), alias("fast", "m")]).unwrap();
    let table = table.updated([remove("a"), remove("b")]).unwrap();
    assert_eq!(table.models().map(|(model, _)| model.as_str()).collect::<Vec<_>>(), ["m"]);
    let table = table.updated([Update::RemoveModelAlias { alias: name("fast") }]).unwrap();
    assert_eq!(table.models().count(), 0);
}

#[test]
fn an_alias_may_give_its_name_to_a_model_in_one_batch() {
    let updates = vec![Update::RemoveModelAlias { alias: name("fast") }, add("c", "fast")];
    assert_eq!(reasons(updates), []);
}

#[test]
fn too_many_candidates_of_one_model_are_an_error() {
    let adds = |n: usize| (0..n).map(|i| add(&format!("p{i}"), "big")).collect();
    assert_eq!(reasons(adds(MAX_CANDIDATES)), []);
    let too_large = UpdateError::PoolTooLarge { model: name("big"), count: MAX_CANDIDATES + 1 };
    assert_eq!(reasons(adds(MAX_CANDIDATES + 1)), [too_large]);
}
