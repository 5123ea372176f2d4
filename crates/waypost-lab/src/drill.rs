//! Drills: requests seen through by the router's own failover while providers fail, in virtual time.

mod report;
mod run;
mod world;

pub use report::DrillReport;

use std::time::Duration;

use waypost::failover::FailoverChain;
use waypost::{BuildError, RouterBuilder};

use run::Run;

/// How a provider of a [`Drill`] serves when it is well.
#[derive(Debug, Clone)]
pub struct DrillProvider {
    /// The median time to first token.
    pub first_token: Duration,
    /// How much it varies: the deviation of its logarithm.
    pub sigma: f64,
    /// From the first token to the end.
    pub rest: Duration,
    /// Requests served at once; what comes beyond is refused as overload.
    pub concurrency: u32,
}

/// How a provider is in a second of a [`Drill`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    /// As it should be.
    Well,
    /// It has a share of its concurrency.
    Reduced(f64),
    /// It takes so many times longer.
    Slow(f64),
    /// It refuses connections.
    Dead,
    /// Connections to it are never made.
    BlackHole,
    /// A share of its calls end with status 500 after 20 ms.
    Failing(f64),
    /// It answers 429 after 1 ms and asks to wait so many whole seconds.
    RateLimited(Duration),
    /// It answers at once, with nothing.
    Empty,
}

impl Condition {
    const fn capacity(self) -> f64 {
        if let Self::Reduced(share) = self { share } else { 1.0 }
    }

    const fn slowness(self) -> f64 {
        if let Self::Slow(times) = self { times } else { 1.0 }
    }
}

/// A load, providers that fail, and a failover chain.
#[derive(Debug, Clone)]
pub struct Drill {
    /// The providers.
    pub providers: Vec<DrillProvider>,
    /// How a provider is in a second of the drill.
    pub condition: fn(provider: usize, second: u64) -> Condition,
    /// Requests per second in a second of the drill.
    pub load: fn(second: u64) -> f64,
    /// How long requests come, in seconds.
    pub seconds: u64,
    /// How requests are seen through.
    pub chain: FailoverChain,
}

impl Drill {
    /// Runs it with the router's defaults and what `customize` changes.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when what was changed is not valid.
    pub fn run(
        &self,
        seed: u64,
        customize: impl FnOnce(RouterBuilder) -> RouterBuilder,
    ) -> Result<DrillReport, BuildError> {
        Ok(Run::new(self, seed, customize)?.all())
    }
}
