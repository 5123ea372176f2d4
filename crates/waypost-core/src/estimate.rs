//! How many tokens a prompt has, before anyone counted.

use core::fmt;

use crate::{ModelName, Prompt, Tokens};

/// Bytes per token of English and code, the figure that providers publish as a rule of thumb.
const BYTES_PER_TOKEN: u64 = 4;

/// Guesses the tokens of a text: its bytes over four, rounded up. A megabyte costs as much as a word.
///
/// ```
/// use waypost_core::{Tokens, fast_token_estimation};
///
/// assert_eq!(fast_token_estimation(4_096), Tokens(1_024));
/// assert_eq!(fast_token_estimation(1), Tokens(1));
/// ```
pub const fn fast_token_estimation(bytes: u64) -> Tokens {
    Tokens(bytes.div_ceil(BYTES_PER_TOKEN))
}

/// Estimates the tokens of a prompt, for costs, context windows and load. Replace it to count with a tokenizer.
pub trait TokenEstimator: fmt::Debug + Send + Sync {
    /// The tokens of `prompt` as `model` would count them. Called once per decision, so it should cost nanoseconds.
    fn estimate(&self, prompt: &Prompt, model: &ModelName) -> Tokens;
}

/// The default estimator: [`fast_token_estimation`] of the prompt's bytes, whatever the model.
#[derive(Debug, Clone, Copy, Default)]
pub struct BytesOverFour;

impl TokenEstimator for BytesOverFour {
    fn estimate(&self, prompt: &Prompt, _model: &ModelName) -> Tokens {
        match prompt {
            Prompt::Tokens(tokens) => *tokens,
            Prompt::Bytes(bytes) => fast_token_estimation(*bytes),
            Prompt::Messages(messages) => {
                fast_token_estimation(messages.iter().map(|message| message.content.len() as u64).sum())
            }
        }
    }
}
