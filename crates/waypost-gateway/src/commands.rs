//! What `waypost` can be told to do.

#[cfg(feature = "demo")]
mod demo;
mod explain;
mod keys;
mod rules;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use waypost_gateway::{Config, ConfigErrors};

/// LLM gateway: one OpenAI-compatible server in front of many providers.
#[derive(Debug, Parser)]
#[command(name = "waypost", version)]
pub(crate) struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show a gateway at work in front of simulated providers.
    #[cfg(feature = "demo")]
    Demo(demo::DemoOptions),
    /// Serve requests.
    Serve(FileOption),
    /// Say everything that is wrong with a configuration.
    Check(FileOption),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Print a commented configuration to start from.
    Init,
    /// Say where a request would go, and why. Nothing is sent.
    Explain(explain::Explain),
    /// Test rules.
    #[command(subcommand)]
    Rules(rules::Rules),
    /// Make keys for clients.
    #[command(subcommand)]
    Keys(keys::Keys),
}

/// The configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct FileOption {
    /// The configuration file, in TOML or YAML.
    #[arg(default_value = "waypost.toml", env = "WAYPOST_CONFIG")]
    file: PathBuf,
}

impl Command {
    /// Does it. 2 is a configuration that cannot be used, 1 anything else that failed.
    pub(crate) fn run(self) -> ExitCode {
        match self.verb {
            #[cfg(feature = "demo")]
            Verb::Demo(demo) => demo.run(),
            Verb::Serve(option) => serve::run(option.file),
            Verb::Check(option) => check(&option.file),
            Verb::Schema => {
                say(&format!("{:#}", waypost_gateway::config::json_schema()));
                ExitCode::SUCCESS
            }
            Verb::Init => {
                say(include_str!("commands/starter.toml").trim_end());
                ExitCode::SUCCESS
            }
            Verb::Explain(explain) => explain.run(),
            Verb::Rules(rules) => rules.run(),
            Verb::Keys(keys) => keys.run(),
        }
    }
}

fn check(file: &std::path::Path) -> ExitCode {
    match Config::load(file) {
        Ok(config) => {
            complain(config.warnings());
            say(&format!("{}: no errors, {} warnings", file.display(), config.warnings().len()));
            ExitCode::SUCCESS
        }
        Err(errors) => bad_config(&errors),
    }
}

/// Says what is wrong with a configuration.
pub(crate) fn bad_config(errors: &ConfigErrors) -> ExitCode {
    complain(errors);
    fail(&match errors.len() {
        1 => "1 problem".to_owned(),
        several => format!("{several} problems"),
    });
    ExitCode::from(2)
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "why a command failed")]
pub(crate) fn fail(text: &str) {
    eprintln!("waypost: {text}");
}

#[expect(clippy::print_stderr, reason = "why a command failed")]
fn complain(errors: &ConfigErrors) {
    eprint!("{errors}");
}
