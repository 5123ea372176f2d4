//! Everything that must pass before a change lands.

use anyhow::Result;

use crate::command::{self, cargo};

pub(super) fn run(arguments: &[String]) -> Result<()> {
    super::no_arguments(arguments)?;
    command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    super::layers::run(&[])?;
    // Every feature of every crate but the benches' peers, which need cmake and minutes.
    for packages in [
        &["--workspace", "--exclude", "waypost-benches", "--all-features"][..],
        &["--package", "waypost-benches"],
    ] {
        let mut clippy = cargo(&["clippy", "--all-targets"]);
        command::run(clippy.args(packages).args(["--", "--deny", "warnings"]))?;
    }
    // Each library without its features: additive features must not hide a missing one.
    let libraries = [
        "check",
        "--workspace",
        "--exclude",
        "xtask",
        "--exclude",
        "waypost-benches",
        "--no-default-features",
        "--lib",
    ];
    command::run(&mut cargo(&libraries))?;
    super::docs::run(&[])?;
    super::bench::smoke()?;
    super::test::run(&[])
}
