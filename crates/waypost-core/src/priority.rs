//! How important a request is.

use core::fmt;

/// How important a request is; greater is more important. Default: normal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum RequestPriority {
    /// Batch work that may wait.
    Low,
    /// What most requests are.
    #[default]
    Normal,
    /// A person is waiting.
    High,
    /// Must be served if anything is.
    Critical,
}

impl RequestPriority {
    /// All priorities, the least first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The name in configuration and in explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for RequestPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
