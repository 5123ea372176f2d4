//! Rate limits and budgets for LLM requests: reserve before the call, settle after it.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod account;
mod applicable;
mod dimension;
mod error;
mod event;
mod fair_shares;
mod gauge;
mod index;
mod learned;
mod limit;
mod limits;
mod meter;
#[cfg(all(test, loom))]
mod models;
mod pace;
mod period;
mod pool_limits;
mod rate;
mod rate_meter;
mod report;
mod reservation;
mod spent;
mod subjects;
mod sync;

pub use applicable::{Applicable, MoneyLeft};
pub use dimension::{Dimension, Subject};
pub use error::{LimitError, LimitErrors};
pub use event::{LimitChange, LimitEvent};
pub use limit::{Bound, Budget, Limit, PriorityReserve, WhenAway};
pub use limits::{Limits, LimitsConfig, MAX_LIMITS};
pub use period::{Period, PeriodUnit, PeriodWindow, ZoneError};
pub use pool_limits::PoolLimits;
pub use rate::{MAX_BURST, MAX_PER_SECOND, MAX_PERIOD, Rate, RateError};
pub use report::{Level, LimitReport};
pub use reservation::Reservation;
pub use spent::{LimitSpent, Why};
