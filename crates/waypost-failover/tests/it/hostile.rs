//! Whatever a provider sends, there is a verdict within its bounds.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use waypost_failover::{ErrorClassifier, ErrorResponse, MAX_RETRY_AFTER, RequestError, Verdict};

use crate::corpus::{cases, provider, response};

fn check(name: &str, response: ErrorResponse, wall: u64) -> Result<Verdict, TestCaseError> {
    let wall =
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(wall)).unwrap_or(SystemTime::UNIX_EPOCH);
    let (provider, error) = (provider(name), RequestError::Response(response));
    let verdict = ErrorClassifier::default().classify(&provider, &error, wall);
    prop_assert!(verdict.retry_after.is_none_or(|wait| wait <= MAX_RETRY_AFTER));
    prop_assert!(verdict.cool_down.is_none_or(|rest| rest <= Duration::from_secs(86_400)));
    prop_assert_eq!(verdict, ErrorClassifier::default().classify(&provider, &error, wall));
    Ok(verdict)
}

const PROVIDERS: [&str; 7] =
    ["openai", "anthropic", "azure-openai", "google-vertex", "aws-bedrock", "cohere", "stranger"];

proptest! {
    #[test]
    fn u14_u27_any_bytes_and_headers(
        place in 0..PROVIDERS.len(),
        status in any::<u16>(),
        body in prop::collection::vec(any::<u8>(), 0..2_000),
        headers in prop::collection::vec(("(retry-after(-ms)?|x-ratelimit-(reset|remaining)-tokens|.{0,20})", ".{0,40}"), 0..80),
        wall in any::<u64>(),
    ) {
        let response = ErrorResponse::new(status).body(body);
        let response = headers.into_iter().fold(response, |response, (name, value)| response.header(name, value));
        check(PROVIDERS[place], response, wall)?;
    }

    #[test]
    fn cut_and_changed_cases(place in any::<prop::sample::Index>(), cut in 0.0..1.0_f64, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let cases = cases();
        let case = place.get(&cases);
        let whole = response(case);
        let mut body = whole.body_start().to_vec();
        if !body.is_empty() {
            *at.get_mut(&mut body) = byte;
        }
        body.truncate((body.len() as f64 * cut) as usize);
        check(case["provider"].as_str().unwrap(), whole.body(body), 0)?;
    }
}
