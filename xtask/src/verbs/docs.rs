//! API docs, and the book.

use std::process::Command;

use anyhow::Result;

use crate::command::{self, cargo};

pub(super) fn run(arguments: &[String]) -> Result<()> {
    super::no_arguments(arguments)?;
    let docs = [
        "doc",
        "--workspace",
        "--exclude",
        "xtask",
        "--exclude",
        "waypost-benches",
        "--all-features",
        "--no-deps",
    ];
    command::run(cargo(&docs).env("RUSTDOCFLAGS", "--deny warnings"))?;
    let mdbook = Command::new("mdbook").arg("--version").output();
    if mdbook.is_ok_and(|version| version.status.success()) {
        return command::run(Command::new("mdbook").args(["build", "docs"]).current_dir(command::root()));
    }
    println!("the book was not built: `cargo install mdbook --locked` brings mdbook");
    Ok(())
}
