//! What an error of a provider means.

use std::time::SystemTime;

use waypost_core::ProviderType;

use crate::{ErrorKind, RequestError, Verdict};

/// Tells what to make of an error, from who sent it and what it says.
#[derive(Debug, Clone, Default)]
pub struct ErrorClassifier {}

impl ErrorClassifier {
    /// What to make of an error.
    pub fn classify(&self, _provider: &ProviderType, error: &RequestError, _wall: SystemTime) -> Verdict {
        Verdict::of_kind(error.kind().unwrap_or(ErrorKind::Unknown))
    }
}
