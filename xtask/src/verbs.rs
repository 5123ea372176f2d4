//! The verbs, one file each.

mod bench;
mod ci;
mod demo;
mod docs;
mod fuzz;
mod lab;
mod layers;
mod loom;
mod miri;
mod pgo;
mod release;
mod test;

use anyhow::Result;

/// One chore.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&[String]) -> Result<()>,
}

pub(crate) const ALL: &[Verb] = &[
    Verb {
        name: "demo",
        about: "the gateway in front of simulated providers: [--listen ADDR] [--headless] [--seconds N]",
        run: demo::run,
    },
    Verb {
        name: "lab",
        about: "simulate: [--scenario NAME] [--trace FILE] [--seed N] [--requests N] [--json FILE] [--html FILE]",
        run: lab::run,
    },
    Verb { name: "test", about: "run all tests and examples", run: test::run },
    Verb {
        name: "ci",
        about: "what must pass: format, lints, tests, docs, layers, benches once",
        run: ci::run,
    },
    Verb {
        name: "layers",
        about: "print the crate graph; fail on an upward or sideways arrow",
        run: layers::run,
    },
    Verb {
        name: "docs",
        about: "build the API docs with warnings as errors, and the book if mdbook is there",
        run: docs::run,
    },
    Verb {
        name: "bench",
        about: "measure: [GROUP | gateway] [--quick] [--peers] [--json FILE] [--chart FILE]",
        run: bench::run,
    },
    Verb {
        name: "pgo",
        about: "the gateway's binary, compiled with a profile of itself at work (llvm-tools)",
        run: pgo::run,
    },
    Verb { name: "loom", about: "check the concurrency models, every interleaving", run: loom::run },
    Verb { name: "miri", about: "run the core's concurrent tests under Miri (nightly)", run: miri::run },
    Verb {
        name: "fuzz",
        about: "feed odd inputs: TARGET [--seconds N] (nightly, cargo-fuzz)",
        run: fuzz::run,
    },
    Verb { name: "release", about: "package every publishable crate: --dry-run", run: release::run },
];

/// For verbs that take nothing.
fn no_arguments(arguments: &[String]) -> Result<()> {
    anyhow::ensure!(arguments.is_empty(), "unexpected `{}`", arguments.join(" "));
    Ok(())
}
