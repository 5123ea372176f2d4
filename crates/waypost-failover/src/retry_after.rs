//! How long a provider asks to wait.

use core::time::Duration;
use std::time::SystemTime;

use waypost_core::{Decimal, reset_after};

use crate::ErrorResponse;
use crate::error_text::ErrorText;

/// The wait that an error asks for, not clamped: in its headers, else in its body. `None` when it says nothing that can be
/// read.
pub(crate) fn retry_after(response: &ErrorResponse, said: &ErrorText, wall: SystemTime) -> Option<Duration> {
    let header = |names: &[&str]| {
        let named = |name: &str| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        response.headers().find(|(name, _)| named(name)).map(|(_, value)| value.trim())
    };
    let ms = header(&["retry-after-ms", "x-ms-retry-after-ms"]).and_then(Decimal::read);
    ms.map(|ms| Duration::from_millis(ms.whole))
        .or_else(|| reset_after(header(&["retry-after"])?, wall))
        .or_else(|| reset_after(said.retry_delay.as_deref()?, wall))
        .or_else(|| exhausted(response, wall))
        .or_else(|| in_words(&said.message))
}

/// The reset of the bucket that is empty: of several the last, of one that is not empty none.
fn exhausted(response: &ErrorResponse, wall: SystemTime) -> Option<Duration> {
    let value = |wanted: &str| {
        response.headers().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let resets = response.headers().filter_map(|(name, reset)| {
        let name = name.to_ascii_lowercase();
        let bucket = match name.strip_suffix("-reset") {
            Some(bucket) => format!("{bucket}-remaining"),
            None => name.contains("-reset-").then(|| name.replace("-reset-", "-remaining-"))?,
        };
        // Some say with a refusal only when the bucket is full again.
        let is_empty = match value(&bucket) {
            Some(remaining) => Decimal::read(remaining)?.whole == 0,
            None => response.status() == 429,
        };
        reset_after(reset.trim(), wall).filter(|_| is_empty)
    });
    resets.max()
}

/// `retry after 86400 seconds`, `try again in 1m30s`.
fn in_words(message: &str) -> Option<Duration> {
    let after = ["retry after ", "try again in ", "retry in "].iter().find_map(|words| {
        let at = message.find(words)? + words.len();
        message.get(at..)
    })?;
    let mut words = after.split_whitespace();
    let number = words.next()?.trim_end_matches(['.', ',', ';']);
    let unit = words.next().unwrap_or_default();
    if Decimal::read(number).is_none() {
        return reset_after(number, SystemTime::UNIX_EPOCH);
    }
    let unit = match unit.as_bytes() {
        [b'm', b's' | b'i', b'l', ..] | b"ms" => "ms",
        [b'm', ..] => "m",
        [b'h', ..] => "h",
        [b'd', ..] => "d",
        _ => "s",
    };
    reset_after(&format!("{number}{unit}"), SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, value: &str) -> Option<Duration> {
        let response = ErrorResponse::new(429).header(name, value);
        retry_after(&response, &ErrorText::default(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn every_form_of_a_wait() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(asked("Retry-After", "7"), ms(7_000));
        assert_eq!(asked("retry-after", "0.5"), ms(500));
        assert_eq!(asked("retry-after-ms", "20"), ms(20));
        assert_eq!(asked("retry-after", "1m30.5s"), ms(90_500));
        assert_eq!(asked("retry-after", "Thu, 01 Jan 1970 00:00:09 GMT"), ms(9_000));
        assert_eq!(asked("retry-after", "1970-01-01T00:00:03Z"), ms(3_000));
        let words = |text: &str| in_words(text);
        assert_eq!(words("please retry after 86400 seconds."), ms(86_400_000));
        assert_eq!(words("please try again in 1m30s."), ms(90_000));
        assert_eq!(words("try again in 20ms"), ms(20));
        assert_eq!(words("try again in 12 minutes"), ms(720_000));
    }

    #[test]
    fn only_the_bucket_that_is_empty_counts() {
        let response = ErrorResponse::new(429)
            .header("anthropic-ratelimit-requests-remaining", "40")
            .header("anthropic-ratelimit-requests-reset", "1970-01-01T00:10:00Z")
            .header("anthropic-ratelimit-tokens-remaining", "0")
            .header("anthropic-ratelimit-tokens-reset", "1970-01-01T00:00:05Z")
            .header("x-ratelimit-remaining-requests", "0")
            .header("x-ratelimit-reset-requests", "2ms");
        let asked = retry_after(&response, &ErrorText::default(), SystemTime::UNIX_EPOCH);
        assert_eq!(asked, Some(Duration::from_secs(5)));
        // Azure, sometimes.
        let alone = |status: u16| {
            let response = ErrorResponse::new(status).header("x-ratelimit-reset-tokens", "9s");
            retry_after(&response, &ErrorText::default(), SystemTime::UNIX_EPOCH)
        };
        assert_eq!((alone(429), alone(500)), (Some(Duration::from_secs(9)), None));
    }

    #[test]
    fn u14_nonsense_is_no_wait() {
        for nonsense in ["-1", "NaN", "1e99", "soon", ""] {
            assert_eq!(asked("retry-after", nonsense), None, "{nonsense}");
        }
        assert_eq!(asked("retry-after", "Thu, 01 Jan 1969 00:00:09 GMT"), Some(Duration::ZERO));
        assert!(asked("retry-after", "Thu, 01 Jan 2099 00:00:09 GMT").is_some());
    }
}
