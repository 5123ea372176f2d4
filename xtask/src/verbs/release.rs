//! Packages.

use anyhow::{Result, ensure};

use crate::command::{self, cargo};

pub(super) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments == ["--dry-run"], "only --dry-run: releases are made by hand, from a tag");
    let package =
        ["package", "--workspace", "--exclude", "xtask", "--exclude", "waypost-benches", "--allow-dirty"];
    command::run(&mut cargo(&package))
}
