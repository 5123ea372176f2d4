//! `waypost explain`.

use std::path::PathBuf;
use std::process::ExitCode;

use waypost_gateway::{Config, Endpoint, Gateway};

use super::{bad_config, fail, say};

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// A request as a client would send it, in JSON.
    #[arg(long)]
    request: PathBuf,
    /// The tenant that asks.
    #[arg(long)]
    tenant: Option<String>,
    /// What is asked: chat, completions, embeddings, responses, messages, rerank.
    #[arg(long, default_value = "chat")]
    endpoint: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: super::FileOption,
}

impl Explain {
    pub(crate) fn run(self) -> ExitCode {
        let config = match Config::load(&self.config.file) {
            Ok(config) => config,
            Err(errors) => return bad_config(&errors),
        };
        match self.explain(config) {
            Ok(text) => {
                say(&text);
                ExitCode::SUCCESS
            }
            Err(error) => {
                fail(&error.to_string());
                ExitCode::FAILURE
            }
        }
    }

    fn explain(&self, config: Config) -> Result<String, Box<dyn std::error::Error>> {
        let endpoint =
            Endpoint::named(&self.endpoint).ok_or_else(|| format!("unknown request `{}`", self.endpoint))?;
        let body =
            std::fs::read(&self.request).map_err(|error| format!("{}: {error}", self.request.display()))?;
        let gateway = Gateway::new(config)?;
        let explanation = gateway.explain(endpoint, &body, self.tenant.as_deref())?;
        Ok(if self.json { serde_json::to_string_pretty(&explanation)? } else { explanation.to_string() })
    }
}
