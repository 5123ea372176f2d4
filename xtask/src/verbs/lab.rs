//! The simulator.

use anyhow::Result;

use crate::command::{self, cargo};

pub(super) fn run(arguments: &[String]) -> Result<()> {
    let build = ["build", "--quiet", "--release", "--package", "waypost-lab", "--features", "cli"];
    command::run(&mut cargo(&build))?;
    // In the folder of whoever asked, so that relative paths mean what they say.
    let mut lab = std::process::Command::new(command::target().join("release").join("waypost-lab"));
    command::run(lab.args(arguments))
}
