//! The main job on embedded defaults: the gateway, five simulated providers, and requests.

use anyhow::Result;

use crate::command::{self, cargo};

pub(super) fn run(arguments: &[String]) -> Result<()> {
    command::run(&mut cargo(&["build", "--release", "--package", "waypost-gateway"]))?;
    let mut waypost = std::process::Command::new(command::target().join("release").join("waypost"));
    command::run(waypost.arg("demo").args(arguments))
}
