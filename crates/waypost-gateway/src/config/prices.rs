//! Prices out of the file that `LiteLLM` publishes, `model_prices_and_context_window.json`.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use waypost::core::{NanoUsd, Pricing, Tokens};

use super::file::ProviderKind;

/// The largest file that is read: 64 MiB.
const MAX_LEN: u64 = 64 << 20;

/// Prices by the names that `LiteLLM` gives models.
#[derive(Debug, Default)]
pub(super) struct Prices(HashMap<String, Pricing>);

/// What of an entry counts: dollars for one token.
#[derive(Deserialize)]
struct Entry {
    input_cost_per_token: Option<f64>,
    output_cost_per_token: Option<f64>,
    cache_read_input_token_cost: Option<f64>,
    input_cost_per_token_above_200k_tokens: Option<f64>,
    output_cost_per_token_above_200k_tokens: Option<f64>,
    cache_read_input_token_cost_above_200k_tokens: Option<f64>,
}

impl Prices {
    /// Reads a file. Entries that are no prices are passed over: the file has many kinds.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let bad = |error: &dyn std::fmt::Display| format!("`{}` cannot be read: {error}", path.display());
        let length = std::fs::metadata(path).map_err(|error| bad(&error))?.len();
        if length > MAX_LEN {
            return Err(bad(&"it is longer than 64 MiB"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| bad(&error))?;
        let entries: HashMap<String, &RawValue> = serde_json::from_str(&text).map_err(|error| bad(&error))?;
        let priced = entries.into_iter().filter_map(|(name, entry)| Some((name, pricing(entry)?)));
        Ok(Self(priced.collect()))
    }

    /// The price of a model at a provider, under the names that `LiteLLM` may have for it.
    pub(super) fn find(&self, kind: ProviderKind, model: &str) -> Option<Pricing> {
        let plain = model.rsplit_once('/').map_or(model, |(_, plain)| plain);
        let prefixes: &[&str] = match kind {
            ProviderKind::Openai => &["openai/", ""],
            ProviderKind::AzureOpenai => &["azure/"],
            ProviderKind::Anthropic => &["anthropic/", ""],
            ProviderKind::Vertex => &["vertex_ai/", ""],
            ProviderKind::Gemini => &["gemini/"],
            ProviderKind::Bedrock => &["bedrock/", ""],
            ProviderKind::Cohere => &["cohere/", ""],
            // Only under the very name: whose model it is nobody knows.
            ProviderKind::OpenaiCompatible => &[""],
        };
        let names = if kind == ProviderKind::OpenaiCompatible { [model, model] } else { [model, plain] };
        let spelt =
            names.into_iter().flat_map(|name| prefixes.iter().map(move |prefix| format!("{prefix}{name}")));
        spelt.into_iter().find_map(|name| self.0.get(&name).copied())
    }
}

fn pricing(entry: &RawValue) -> Option<Pricing> {
    let entry: Entry = serde_json::from_str(entry.get()).ok()?;
    let million = |price: f64| NanoUsd::from_usd(price * 1e6).ok();
    let (input, output) = (million(entry.input_cost_per_token?)?, million(entry.output_cost_per_token?)?);
    let mut pricing = Pricing::per_million(input, output).ok()?;
    if let Some(cached) = entry.cache_read_input_token_cost.and_then(million) {
        pricing = pricing.cached_input(cached).ok()?;
    }
    let above = entry.input_cost_per_token_above_200k_tokens.and_then(million);
    let output = entry.output_cost_per_token_above_200k_tokens.and_then(million).unwrap_or(output);
    let cached = entry.cache_read_input_token_cost_above_200k_tokens.and_then(million);
    match above {
        Some(input) => pricing.long_context(Tokens(200_000), input, output, cached).ok(),
        None => Some(pricing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost::core::TokenUsage;

    #[test]
    fn entries_are_prices_or_passed_over() {
        let text = r#"{
            "gpt-x": {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06},
            "gemini/long": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-05,
                "input_cost_per_token_above_200k_tokens": 2e-06, "output_cost_per_token_above_200k_tokens": 2e-05},
            "sample_spec": {"input_cost_per_token": "a text"},
            "negative": {"input_cost_per_token": -1, "output_cost_per_token": 1},
            "image": {"output_cost_per_image": 0.04}
        }"#;
        let file = std::env::temp_dir().join(format!("waypost-prices-{}", uuid::Uuid::new_v4()));
        std::fs::write(&file, text).unwrap();
        let prices = Prices::load(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(prices.0.len(), 2);
        let cost = |kind, model: &str, prompt| {
            let usage = TokenUsage::new(Tokens(prompt), Tokens(100_000));
            prices.find(kind, model).map(|pricing| pricing.cost(usage).0)
        };
        assert_eq!(cost(ProviderKind::Openai, "gpt-x", 100_000), Some(1_250_000_000));
        assert_eq!(
            cost(ProviderKind::OpenaiCompatible, "someone/gpt-x", 1),
            None,
            "another model of that name"
        );
        assert_eq!(cost(ProviderKind::Gemini, "long", 100_000), Some(1_100_000_000));
        assert_eq!(cost(ProviderKind::Gemini, "long", 300_000), Some(2_600_000_000));
        assert!(Prices::load(&file).unwrap_err().contains("cannot be read"));
    }
}
