//! Errors of providers: two bytes of status, one of provider, lines of headers, an empty line, the body.

use std::time::{Duration, SystemTime};

use waypost_core::{ProviderId, ProviderType};
use waypost_failover::{ErrorClassifier, ErrorResponse, MAX_RETRY_AFTER, RequestError};

/// Judges an error; the verdict is within its bounds, and the same again.
pub fn errors(input: &[u8]) {
    let Some((&[high, low, place], rest)) = input.split_first_chunk::<3>() else { return };
    let end = rest.windows(2).position(|two| two == b"\n\n").unwrap_or(rest.len());
    let headers = String::from_utf8_lossy(&rest[..end]);
    let response =
        ErrorResponse::new(u16::from_be_bytes([high, low])).body(rest.get(end + 2..).unwrap_or_default());
    let pairs = headers.lines().filter_map(|line| line.split_once(':'));
    let response = pairs.fold(response, |response, (name, value)| response.header(name, value));
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_478_400);
    let (provider, error) = (provider(place), RequestError::Response(response));
    let verdict = ErrorClassifier::default().classify(&provider, &error, wall);
    assert!(verdict.retry_after.is_none_or(|wait| wait <= MAX_RETRY_AFTER), "{verdict:?}");
    assert!(verdict.cool_down.is_none_or(|rest| rest <= Duration::from_secs(86_400)), "{verdict:?}");
    assert_eq!(verdict, ErrorClassifier::default().classify(&provider, &error, wall));
}

fn provider(place: u8) -> ProviderType {
    match place % 8 {
        0 => ProviderType::OpenAi,
        1 => ProviderType::Anthropic,
        2 => ProviderType::AzureOpenAi,
        3 => ProviderType::GoogleVertex,
        4 => ProviderType::AwsBedrock,
        5 => ProviderType::Cohere,
        6 => ProviderType::Custom(ProviderId::new("groq").expect("a name")),
        _ => ProviderType::Custom(ProviderId::new("openrouter").expect("a name")),
    }
}
