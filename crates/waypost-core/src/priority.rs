//! How important a request is.

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
