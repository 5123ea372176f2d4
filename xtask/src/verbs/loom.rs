//! The concurrency models.

use anyhow::Result;

use crate::command::{self, cargo};

pub(super) fn run(arguments: &[String]) -> Result<()> {
    super::no_arguments(arguments)?;
    let preemptions = std::env::var("LOOM_MAX_PREEMPTIONS").unwrap_or_else(|_| "3".to_owned());
    // A target folder of its own: the flag would rebuild everything else each time.
    let core = ["--package", "waypost-core", "--test", "loom"];
    let balancers = ["--package", "waypost-balancers", "--lib", "models"];
    let health = ["--package", "waypost-health", "--lib", "models"];
    let limits = ["--package", "waypost-limits", "--lib", "models"];
    for models in [core, balancers, health, limits] {
        let mut test = cargo(&["test", "--release", "--target-dir", "target/loom"]);
        let test = test.args(models).env("RUSTFLAGS", "--cfg loom").env("LOOM_MAX_PREEMPTIONS", &preemptions);
        command::run(test)?;
    }
    Ok(())
}
