//! The crate graph: arrows point downwards only.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::command;

/// Each crate's floor. A crate may use the floors below its own; the floors of DESIGN are the house rules, so a new
/// crate needs a line here.
const FLOORS: &[(&str, u8)] = &[
    ("waypost-simd-kernels", 0),
    ("waypost-core", 1),
    ("waypost-balancers", 2),
    ("waypost-health", 2),
    ("waypost-failover", 2),
    ("waypost-limits", 2),
    ("waypost-rules", 2),
    ("waypost-testkit", 2),
    ("waypost", 3),
    ("waypost-lab", 4),
    ("waypost-gateway", 5),
    ("waypost-benches", 6),
];

/// Who uses whom.
type Graph = BTreeMap<String, Vec<String>>;

pub(super) fn run(arguments: &[String]) -> Result<()> {
    super::no_arguments(arguments)?;
    let graph = workspace()?;
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    print(&graph, &floors);
    let violations = violations(&graph, &floors);
    ensure!(violations.is_empty(), "{}", violations.join("\n"));
    Ok(())
}

/// The workspace's own arrows, without those of tests: a test may look from above.
fn workspace() -> Result<Graph> {
    let manifest = command::root().join("Cargo.toml");
    let metadata =
        MetadataCommand::new().manifest_path(manifest).no_deps().exec().context("cargo metadata")?;
    let members: Vec<_> =
        metadata.workspace_packages().into_iter().filter(|package| package.name != "xtask").collect();
    let is_member = |name: &str| members.iter().any(|member| member.name == name);
    let uses = |package: &cargo_metadata::Package| {
        let own = package.dependencies.iter().filter(|used| used.kind != DependencyKind::Development);
        own.map(|used| used.name.clone()).filter(|name| is_member(name)).collect()
    };
    Ok(members.iter().map(|package| (package.name.to_string(), uses(package))).collect())
}

fn print(graph: &Graph, floors: &BTreeMap<&str, u8>) {
    let mut crates: Vec<_> = graph.iter().collect();
    crates.sort_by_key(|(name, _)| (floors.get(name.as_str()), name.as_str()));
    for (name, uses) in crates {
        let floor = floors.get(name.as_str()).map_or_else(|| "?".to_owned(), ToString::to_string);
        let arrow = if uses.is_empty() { String::new() } else { format!(" → {}", uses.join(", ")) };
        println!("{floor}  {name}{arrow}");
    }
}

fn violations(graph: &Graph, floors: &BTreeMap<&str, u8>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, uses) in graph {
        let Some(floor) = floors.get(name.as_str()) else {
            found.push(format!("{name} has no floor: add it to FLOORS in xtask/src/verbs/layers.rs"));
            continue;
        };
        for used in uses {
            match floors.get(used.as_str()) {
                Some(below) if below < floor => {}
                Some(other) => {
                    found.push(format!("{name} (floor {floor}) must not use {used} (floor {other})"));
                }
                None => found.push(format!("{name} uses {used}, which has no floor")),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(arrows: &[(&str, &[&str])]) -> Graph {
        arrows
            .iter()
            .map(|(name, uses)| ((*name).to_owned(), uses.iter().map(ToString::to_string).collect()))
            .collect()
    }

    #[test]
    fn the_workspace_has_no_upward_arrow() {
        let floors = FLOORS.iter().copied().collect();
        assert_eq!(violations(&workspace().unwrap(), &floors), Vec::<String>::new());
    }

    #[test]
    fn planted_violations_are_found() {
        let floors = BTreeMap::from([("low", 1), ("left", 2), ("right", 2), ("high", 3)]);
        let check = |arrows: &[(&str, &[&str])]| violations(&graph(arrows), &floors);
        assert_eq!(check(&[("high", &["left", "low"]), ("left", &["low"])]), Vec::<String>::new());
        assert_eq!(check(&[("low", &["high"])]), ["low (floor 1) must not use high (floor 3)"]);
        assert_eq!(check(&[("left", &["right"])]), ["left (floor 2) must not use right (floor 2)"]);
        assert_eq!(check(&[("high", &["attic"])]), ["high uses attic, which has no floor"]);
        assert!(check(&[("attic", &[])])[0].starts_with("attic has no floor"));
    }
}
