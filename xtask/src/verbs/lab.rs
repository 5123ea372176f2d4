//! The simulator.

use anyhow::Result;

use crate::command::{self, cargo};

pub(super) fn run(arguments: &[String]) -> Result<()> {
    simulate(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Runs in the folder of whoever asked, so that relative paths mean what they say.
pub(super) fn simulate(arguments: &[&str]) -> Result<()> {
    let build = ["build", "--quiet", "--release", "--package", "waypost-lab", "--features", "cli"];
    command::run(&mut cargo(&build))?;
    let mut lab = std::process::Command::new(target().join("release").join("waypost-lab"));
    command::run(lab.args(arguments))
}

fn target() -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| command::root().join("target"), Into::into)
}
