//! `waypost keys`.

use std::process::ExitCode;

use clap::Subcommand;
use waypost_gateway::NewKey;

use super::{fail, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key, and print it with its hash for the configuration.
    New {
        /// The environment variable with the gateway's `key_secret`, if it has one.
        #[arg(long)]
        secret_env: Option<String>,
    },
}

impl Keys {
    #[expect(clippy::disallowed_methods, reason = "the command line names the variable")]
    pub(crate) fn run(self) -> ExitCode {
        let Self::New { secret_env } = self;
        let secret = match secret_env.map(|name| std::env::var(&name).map_err(|_| name)).transpose() {
            Ok(secret) => secret.unwrap_or_default(),
            Err(name) => {
                fail(&format!("the environment has no `{name}`"));
                return ExitCode::FAILURE;
            }
        };
        let NewKey { key, hash } = NewKey::make(secret.trim().as_bytes());
        say(&format!(
            "key   {key}\nhash  {hash}\n\nGive the client the key; it is not kept. Put the hash into the configuration:"
        ));
        say(&format!("[tenants.acme]\nkeys = [{{ hash = \"{hash}\" }}]"));
        ExitCode::SUCCESS
    }
}
