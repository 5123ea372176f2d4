//! Every chore of the Waypost workspace: `cargo xtask` lists them.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a tool for people: it prints, and it reads the environment that cargo sets"
)]

mod command;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let Some(verb) = verbs::ALL.iter().find(|verb| Some(verb.name) == name.as_deref()) else {
        return usage(name.as_deref());
    };
    match (verb.run)(&rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask {}: {error:#}", verb.name);
            ExitCode::FAILURE
        }
    }
}

/// Lists the verbs. Asking for help is fine; asking for what does not exist is not.
fn usage(asked: Option<&str>) -> ExitCode {
    println!("cargo xtask VERB\n");
    for verb in verbs::ALL {
        println!("  {:<10} {}", verb.name, verb.about);
    }
    match asked {
        None | Some("help" | "--help" | "-h") => ExitCode::SUCCESS,
        Some(unknown) => {
            eprintln!("\nno verb `{unknown}`");
            ExitCode::FAILURE
        }
    }
}
