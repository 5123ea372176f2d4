//! The main job on embedded defaults.

use anyhow::Result;

pub(super) fn run(arguments: &[String]) -> Result<()> {
    super::no_arguments(arguments)?;
    super::lab::simulate(&["--scenario", "demo", "--html", "target/waypost-demo.html"])
}
