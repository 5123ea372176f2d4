//! What the headers of an answer say about the provider's limits.

use core::cmp::Reverse;
use core::time::Duration;
use std::time::SystemTime;

use waypost_core::{Decimal, ProviderLimits, ProviderQuota, reset_after};

use crate::quota_header::{Counted, Field, QuotaHeader, Window};

/// The most headers that are looked at. Servers and proxies allow about a hundred.
const MAX_HEADERS: usize = 256;

/// The longest value that is looked at, in bytes. The longest date has 33.
const MAX_VALUE: usize = 128;

/// The most windows that are told apart. Cerebras sends six.
const MAX_WINDOWS: usize = 16;

/// Reads what the headers of an answer say about the provider's limits, on good answers and bad ones.
///
/// `wall` is the time at which the answer came: some providers tell resets as moments, and in the result all are times
/// from then, at most 32 days. Names are read in any case. Known are the headers of OpenAI, Azure OpenAI, Anthropic,
/// Mistral, Groq, Together, Fireworks, Cerebras and `OpenRouter`, and those of the IETF draft "`RateLimit` header
/// fields for HTTP" up to its version 07, which have a name for each number (`ratelimit-remaining`). The single
/// `ratelimit` header of later versions is not read.
///
/// - Where a provider counts the same in several windows, such as this minute and this month, the quota is the one with
///   the least left, and of equals the one that is reset last.
/// - `-1` and whatever else is no number says that a number is not known. A limit of 0 says that there is no quota, and
///   so does a missing number of what is left.
/// - That nothing is left counts only when a limit or a reset is told with it.
/// - Where a number comes twice, the first counts.
///
/// Nothing a server sends panics or takes more than a bounded time: the first 256 headers are looked at, and values of
/// up to 128 bytes. Allocates nothing.
///
/// ```
/// use core::time::Duration;
/// use std::time::SystemTime;
///
/// let headers = [
///     ("x-ratelimit-limit-tokens", b"150000000".as_slice()),
///     ("x-ratelimit-remaining-tokens", b"149999984"),
///     ("x-ratelimit-reset-tokens", b"6m0s"),
/// ];
/// let limits = waypost_limits::provider_limits(headers, SystemTime::UNIX_EPOCH);
/// let tokens = limits.tokens.expect("the provider said it");
/// assert_eq!((tokens.limit, tokens.remaining), (Some(150_000_000), 149_999_984));
/// assert_eq!(tokens.reset_after, Some(Duration::from_secs(360)));
/// assert_eq!(limits.requests, None);
/// ```
pub fn provider_limits<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    wall: SystemTime,
) -> ProviderLimits {
    // Most answers say nothing of limits.
    let mut told = None::<Told>;
    for (name, value) in headers.into_iter().take(MAX_HEADERS) {
        if let Some(header) = QuotaHeader::read(name)
            && let Some(value) = text(value)
        {
            told.get_or_insert_default().note(header, value, wall);
        }
    }
    told.map_or(ProviderLimits::EMPTY, |told| told.limits())
}

/// What was told, window by window.
#[derive(Default)]
struct Told {
    windows: [Option<(Window, Numbers)>; MAX_WINDOWS],
}

/// What was told of one window.
#[derive(Clone, Copy, Default)]
struct Numbers {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
}

impl Told {
    fn note(&mut self, header: QuotaHeader, value: &str, wall: SystemTime) {
        let Some(numbers) = self.numbers(header.window) else { return };
        match header.field {
            Field::Limit => numbers.limit = numbers.limit.or_else(|| amount(value)),
            Field::Remaining => numbers.remaining = numbers.remaining.or_else(|| amount(value)),
            Field::Reset => numbers.reset = numbers.reset.or_else(|| reset_after(value, wall)),
        }
    }

    /// The place of a window; `None` when there are too many.
    fn numbers(&mut self, window: Window) -> Option<&mut Numbers> {
        let place = self.windows.iter_mut().find(|place| place.is_none_or(|(other, _)| other == window))?;
        Some(&mut place.get_or_insert((window, Numbers::default())).1)
    }

    fn limits(&self) -> ProviderLimits {
        ProviderLimits {
            requests: self.tightest(Counted::Requests),
            tokens: self.tightest(Counted::Tokens),
            input_tokens: self.tightest(Counted::InputTokens),
            output_tokens: self.tightest(Counted::OutputTokens),
        }
    }

    fn tightest(&self, counted: Counted) -> Option<ProviderQuota> {
        let windows = self.windows.iter().flatten().filter(|(window, _)| window.counted == counted);
        let quotas = windows.filter_map(|(_, numbers)| numbers.quota());
        // The limit only so that the order of headers says nothing.
        quotas.min_by_key(|quota| (quota.remaining, Reverse(quota.reset_after), Reverse(quota.limit)))
    }
}

impl Numbers {
    fn quota(&self) -> Option<ProviderQuota> {
        match (self.limit, self.remaining?, self.reset) {
            // Azure OpenAI sends the limit 0 where it does not count. Zero left and no more is what gateways send that
            // know nothing; believed, it would shut the provider out.
            (Some(0), _, _) | (None, 0, None) => None,
            (limit, remaining, reset_after) => Some(ProviderQuota { limit, remaining, reset_after }),
        }
    }
}

/// A value as text, when it is short enough and is text.
fn text(value: &[u8]) -> Option<&str> {
    if value.len() > MAX_VALUE {
        return None;
    }
    core::str::from_utf8(value).ok().map(str::trim)
}

/// A number of requests or tokens, rounded down, at most `u64::MAX`. Of a list with policies, as early IETF drafts have
/// it (`100, 100;w=60`), the first.
fn amount(value: &str) -> Option<u64> {
    let first = if value.contains(';') { value.split([',', ';']).next()?.trim() } else { value };
    Decimal::read(first).map(|number| number.whole)
}

#[cfg(test)]
mod tests;
