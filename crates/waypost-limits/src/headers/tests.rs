use super::*;
use proptest::prelude::*;

/// 2026-11-30, 22:30:00 UTC.
const NOW: Duration = Duration::from_secs(1_796_077_800);

fn read(headers: &[(&str, &str)]) -> ProviderLimits {
    let headers = headers.iter().map(|&(name, value)| (name, value.as_bytes()));
    provider_limits(headers, SystemTime::UNIX_EPOCH + NOW)
}

fn quota(limit: impl Into<Option<u64>>, remaining: u64, ms: impl Into<Option<u64>>) -> ProviderQuota {
    let reset_after = ms.into().map(Duration::from_millis);
    ProviderQuota { limit: limit.into(), remaining, reset_after }
}

#[test]
fn openai() {
    let limits = read(&[
        ("x-ratelimit-limit-requests", "30000"),
        ("x-ratelimit-limit-tokens", "150000000"),
        ("x-ratelimit-remaining-requests", "29999"),
        ("x-ratelimit-remaining-tokens", "149999982"),
        ("x-ratelimit-reset-requests", "2ms"),
        ("x-ratelimit-reset-tokens", "6m0s"),
        ("x-ratelimit-limit-input-images", "5"),
        ("x-ratelimit-remaining-input-images", "0"),
        ("x-ratelimit-reset-input-images", "1ms"),
    ]);
    assert_eq!(limits.requests, Some(quota(30_000, 29_999, 2)));
    assert_eq!(limits.tokens, Some(quota(150_000_000, 149_999_982, 360_000)));
    assert_eq!((limits.input_tokens, limits.output_tokens), (None, None));
}

#[test]
fn openai_counts_tokens_of_the_project_and_by_usage_too() {
    let limits = read(&[
        ("x-ratelimit-limit-tokens", "200000"),
        ("x-ratelimit-remaining-tokens", "150000"),
        ("x-ratelimit-limit-project-tokens", "100000"),
        ("x-ratelimit-remaining-project-tokens", "9000"),
        ("x-ratelimit-reset-project-tokens", "250ms"),
        ("x-ratelimit-limit-tokens_usage_based", "40000"),
        ("x-ratelimit-remaining-tokens_usage_based", "39880"),
        ("x-ratelimit-reset-tokens_usage_based", "180ms"),
    ]);
    assert_eq!(limits.tokens, Some(quota(100_000, 9_000, 250)));
}

#[test]
fn azure_openai() {
    let limits = read(&[
        ("x-ratelimit-limit-requests", "120"),
        ("x-ratelimit-limit-tokens", "120000"),
        ("x-ratelimit-remaining-requests", "119"),
        ("x-ratelimit-remaining-tokens", "119984"),
        ("x-ratelimit-renewalperiod-requests", "60"),
        ("x-ratelimit-renewalperiod-tokens", "60"),
        ("x-ratelimit-reset-requests", "500"),
        ("x-ratelimit-reset-tokens", "7"),
        ("x-ratelimit-abusepenalty-active", "False"),
    ]);
    assert_eq!(limits.requests, Some(quota(120, 119, 500_000)));
    assert_eq!(limits.tokens, Some(quota(120_000, 119_984, 7_000)));
    let without_limits =
        read(&[("x-ratelimit-remaining-requests", "118"), ("x-ratelimit-remaining-tokens", "119982")]);
    assert_eq!(without_limits.requests, Some(quota(None, 118, None)));
    assert_eq!(without_limits.tokens, Some(quota(None, 119_982, None)));
}

#[test]
fn azure_openai_says_zero_and_minus_one_where_it_does_not_count() {
    for (limit, remaining) in [("0", "-1"), ("0", "0"), ("-1", "-1"), ("-1", "0"), ("0", "5"), ("120", "-1")]
    {
        let limits =
            read(&[("x-ratelimit-limit-tokens", limit), ("x-ratelimit-remaining-tokens", remaining)]);
        assert!(limits.is_empty(), "{limit} {remaining}");
    }
    let unlimited = read(&[("x-ratelimit-limit-tokens", "-1"), ("x-ratelimit-remaining-tokens", "7")]);
    assert_eq!(unlimited.tokens, Some(quota(None, 7, None)));
    // Only the reset, as on some refusals: how much is left is not said.
    assert!(read(&[("x-rate-limit-reset-tokens", "9")]).is_empty());
}

#[test]
fn nothing_left_counts_with_a_limit_or_a_reset() {
    let remaining = ("x-ratelimit-remaining-requests", "0");
    assert_eq!(read(&[remaining]).requests, None);
    assert_eq!(read(&[remaining, ("x-ratelimit-limit-requests", "5")]).requests, Some(quota(5, 0, None)));
    assert_eq!(read(&[remaining, ("x-ratelimit-reset-requests", "5")]).requests, Some(quota(None, 0, 5_000)));
    assert_eq!(read(&[remaining, ("x-ratelimit-reset-requests", "-1")]).requests, None);
    let not_counted = [remaining, ("x-ratelimit-reset-requests", "5"), ("x-ratelimit-limit-requests", "0")];
    assert_eq!(read(&not_counted).requests, None);
    let unknown = [remaining, ("x-ratelimit-reset-requests", "5"), ("x-ratelimit-limit-requests", "-1")];
    assert_eq!(read(&unknown).requests, Some(quota(None, 0, 5_000)));
}

#[test]
fn both_spellings_of_rate_limit_belong_together() {
    let limits = read(&[("x-ratelimit-remaining-tokens", "0"), ("x-rate-limit-reset-tokens", "9")]);
    assert_eq!(limits.tokens, Some(quota(None, 0, 9_000)));
    let limits = read(&[("X-Rate-Limit-Limit-Requests", "60"), ("X-Rate-Limit-Remaining-Requests", "59")]);
    assert_eq!(limits.requests, Some(quota(60, 59, None)));
}

#[test]
fn anthropic() {
    let limits = read(&[
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
        ("anthropic-ratelimit-requests-reset", "2026-11-30T22:30:01Z"),
        ("anthropic-ratelimit-tokens-limit", "480000"),
        ("anthropic-ratelimit-tokens-remaining", "479000"),
        ("anthropic-ratelimit-tokens-reset", "2026-11-30T22:29:59Z"),
        ("anthropic-ratelimit-input-tokens-limit", "400000"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2026-11-30T22:31:00Z"),
        ("anthropic-ratelimit-output-tokens-limit", "80000"),
        ("anthropic-ratelimit-output-tokens-remaining", "80000"),
        ("anthropic-ratelimit-output-tokens-reset", "2026-11-30T22:30:00Z"),
        ("anthropic-ratelimit-unified-5h-reset", "1796077900"),
    ]);
    assert_eq!(limits.requests, Some(quota(4_000, 3_999, 1_000)));
    assert_eq!(limits.tokens, Some(quota(480_000, 479_000, 0)));
    assert_eq!(limits.input_tokens, Some(quota(400_000, 0, 60_000)));
    assert_eq!(limits.output_tokens, Some(quota(80_000, 80_000, 0)));
}

#[test]
fn groq() {
    let limits = read(&[
        ("x-ratelimit-limit-requests", "14400"),
        ("x-ratelimit-limit-tokens", "6000"),
        ("x-ratelimit-remaining-requests", "14397"),
        ("x-ratelimit-remaining-tokens", "5987"),
        ("x-ratelimit-reset-requests", "17.39s"),
        ("x-ratelimit-reset-tokens", "130ms"),
    ]);
    assert_eq!(limits.requests, Some(quota(14_400, 14_397, 17_390)));
    assert_eq!(limits.tokens, Some(quota(6_000, 5_987, 130)));
}

#[test]
fn mistral_counts_by_ten_seconds_minute_and_month() {
    let limits = read(&[
        ("x-ratelimit-limit-req-10-second", "60"),
        ("x-ratelimit-remaining-req-10-second", "53"),
        ("x-ratelimit-limit-tokens-minute", "2000000"),
        ("x-ratelimit-remaining-tokens-minute", "1999370"),
        ("x-ratelimit-limit-tokens-month", "10000000000"),
        ("x-ratelimit-remaining-tokens-month", "9999999370"),
        ("x-ratelimit-tokens-query-cost", "110"),
    ]);
    assert_eq!(limits.requests, Some(quota(60, 53, None)));
    assert_eq!(limits.tokens, Some(quota(2_000_000, 1_999_370, None)));
    let month_spent =
        read(&[("x-ratelimit-limit-tokens-month", "500000"), ("x-ratelimit-remaining-tokens-month", "0")]);
    assert_eq!(month_spent.tokens, Some(quota(500_000, 0, None)));
}

#[test]
fn mistral_by_size() {
    let older = read(&[
        ("ratelimitbysize-limit", "500000"),
        ("ratelimitbysize-remaining", "499982"),
        ("ratelimitbysize-reset", "33"),
        ("ratelimitbysize-query-cost", "18"),
    ]);
    assert_eq!(older.tokens, Some(quota(500_000, 499_982, 33_000)));
    let newer = read(&[
        ("x-ratelimitbysize-limit-minute", "500000"),
        ("x-ratelimitbysize-remaining-minute", "499982"),
        ("x-ratelimitbysize-remaining-month", "7"),
    ]);
    assert_eq!(newer.tokens, Some(quota(None, 7, None)));
}

#[test]
fn together() {
    let limits = read(&[
        ("x-ratelimit-limit", "2"),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "1"),
        ("x-tokenlimit-limit", "3000"),
        ("x-tokenlimit-remaining", "2900"),
    ]);
    assert_eq!(limits.requests, Some(quota(2, 0, 1_000)));
    assert_eq!(limits.tokens, Some(quota(3_000, 2_900, None)));
}

#[test]
fn cerebras_counts_by_day_and_minute() {
    let limits = read(&[
        ("x-ratelimit-limit-requests-day", "14400"),
        ("x-ratelimit-remaining-requests-day", "12"),
        ("x-ratelimit-reset-requests-day", "11726.2840924263"),
        ("x-ratelimit-limit-requests-minute", "30"),
        ("x-ratelimit-remaining-requests-minute", "29"),
        ("x-ratelimit-reset-requests-minute", "26.25"),
        ("x-ratelimit-limit-tokens-minute", "60000"),
        ("x-ratelimit-remaining-tokens-minute", "59000"),
        ("x-ratelimit-reset-tokens-minute", "26.25"),
    ]);
    let day = limits.requests.unwrap();
    assert_eq!((day.limit, day.remaining), (Some(14_400), 12));
    assert_eq!(day.reset_after, Some(Duration::from_nanos(11_726_284_092_426)));
    assert_eq!(limits.tokens, Some(quota(60_000, 59_000, 26_250)));
}

#[test]
fn fireworks_counts_prompts_and_answers() {
    let limits = read(&[
        ("x-ratelimit-limit-tokens-prompt", "120000"),
        ("x-ratelimit-remaining-tokens-prompt", "119900"),
        ("x-ratelimit-limit-tokens-cache-adjusted-prompt", "1"),
        ("x-ratelimit-remaining-tokens-cache-adjusted-prompt", "1"),
        ("x-ratelimit-limit-tokens-generated", "1200"),
        ("x-ratelimit-remaining-tokens-generated", "1100"),
        ("x-ratelimit-over-limit", "no"),
    ]);
    assert_eq!(limits.input_tokens, Some(quota(120_000, 119_900, None)));
    assert_eq!(limits.output_tokens, Some(quota(1_200, 1_100, None)));
    assert_eq!(limits.tokens, None);
}

#[test]
fn openrouter() {
    let limits = read(&[
        ("X-RateLimit-Limit", "20"),
        ("X-RateLimit-Remaining", "0"),
        ("X-RateLimit-Reset", "1796077860000"),
    ]);
    assert_eq!(limits.requests, Some(quota(20, 0, 60_000)));
}

#[test]
fn ietf_drafts() {
    let limits =
        read(&[("RateLimit-Limit", "100"), ("RateLimit-Remaining", "50"), ("RateLimit-Reset", "50")]);
    assert_eq!(limits.requests, Some(quota(100, 50, 50_000)));
    let with_policies = read(&[("ratelimit-limit", "10, 10;w=1, 50;w=60"), ("ratelimit-remaining", "9")]);
    assert_eq!(with_policies.requests, Some(quota(10, 9, None)));
    let replicate = read(&[("ratelimit-remaining", "599"), ("ratelimit-reset", "1")]);
    assert_eq!(replicate.requests, Some(quota(None, 599, 1_000)));
}

#[test]
fn resets_are_read_in_every_form() {
    for (text, ms) in [
        ("12", 12_000),
        ("0.5", 500),
        ("1h2m", 3_720_000),
        (" 1m30.5s ", 90_500),
        ("1796077815", 15_000),
        ("1796077815250", 15_250),
        ("2026-11-30T22:31:00Z", 60_000),
        ("Mon, 30 Nov 2026 22:31:00 GMT", 60_000),
        ("2020-01-01T00:00:00Z", 0),
        ("1000h", 32 * 86_400_000),
    ] {
        let limits = read(&[("x-ratelimit-remaining-tokens", "1"), ("x-ratelimit-reset-tokens", text)]);
        assert_eq!(limits.tokens, Some(quota(None, 1, ms)), "{text}");
    }
}

#[test]
fn the_window_with_the_least_left_counts_and_of_equals_the_one_that_is_reset_last() {
    let windows = [
        ("x-ratelimit-remaining-requests-minute", "0"),
        ("x-ratelimit-reset-requests-minute", "10"),
        ("x-ratelimit-remaining-requests-day", "0"),
        ("x-ratelimit-reset-requests-day", "5000"),
        ("x-ratelimit-remaining-requests-hour", "1"),
        ("x-ratelimit-reset-requests-hour", "9000"),
    ];
    assert_eq!(read(&windows).requests, Some(quota(None, 0, 5_000_000)));
    let reversed: Vec<_> = windows.into_iter().rev().collect();
    assert_eq!(read(&reversed).requests, Some(quota(None, 0, 5_000_000)));
}

#[test]
fn amounts_are_whole_numbers_that_saturate() {
    let remaining = |value: &str| read(&[("x-ratelimit-remaining-tokens", value)]).tokens;
    assert_eq!(remaining("7.9"), Some(quota(None, 7, None)));
    assert_eq!(remaining(" 7\t"), Some(quota(None, 7, None)));
    assert_eq!(remaining("18446744073709551615"), Some(quota(None, u64::MAX, None)));
    assert_eq!(remaining("18446744073709551616"), Some(quota(None, u64::MAX, None)));
    assert_eq!(remaining(&"9".repeat(128)), Some(quota(None, u64::MAX, None)));
    for wrong in [
        "",
        "-1",
        "-7",
        "+7",
        "1e99",
        "NaN",
        "inf",
        "Infinity",
        "0x10",
        "30,000",
        "59, 59",
        "unlimited",
        ";",
        "٣",
    ] {
        assert_eq!(remaining(wrong), None, "{wrong}");
    }
}

#[test]
fn of_numbers_that_come_twice_the_first_counts() {
    let limits = read(&[
        ("x-ratelimit-remaining-tokens", "garbage"),
        ("x-ratelimit-remaining-tokens", "5"),
        ("x-ratelimit-remaining-tokens", "9"),
    ]);
    assert_eq!(limits.tokens, Some(quota(None, 5, None)));
}

#[test]
fn work_is_bounded() {
    let long = "1".repeat(1 << 20);
    assert!(read(&[("x-ratelimit-remaining-tokens", &long), ("x-ratelimit-limit-tokens", &long)]).is_empty());
    assert!(read(&[(&format!("x-ratelimit-remaining-tokens-{long}"), "1")]).is_empty());
    let last = ("x-ratelimit-remaining-tokens", "5");
    let headers = |before: usize| [vec![("server", "x"); before], vec![last]].concat();
    assert!(!read(&headers(255)).is_empty());
    assert!(read(&headers(256)).is_empty());
    // More windows than are told apart.
    let names: Vec<_> = (1..100).map(|count| format!("x-ratelimit-remaining-tokens-{count}-day")).collect();
    let windows: Vec<_> = names.iter().rev().map(|name| (name.as_str(), "5")).collect();
    assert_eq!(read(&windows).tokens, Some(quota(None, 5, None)));
}

#[test]
fn what_is_not_text_is_not_read() {
    let headers = [("x-ratelimit-remaining-tokens", [0xff, b'1'].as_slice())];
    assert!(provider_limits(headers, SystemTime::UNIX_EPOCH).is_empty());
}

fn name() -> impl Strategy<Value = String> {
    let family = "(X-RateLimit|x-rate-limit|ratelimit|anthropic-ratelimit)";
    (family, "(-(limit|remaining|reset|requests|tokens|input|minute|day)){1,3}").prop_map(|(a, b)| a + &b)
}

const DISTINCT: [&str; 9] = [
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-limit-tokens-day",
    "x-ratelimit-remaining-tokens-day",
    "x-ratelimit-reset-tokens-day",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..150),
        "[-+]?[0-9]{0,30}(\\.[0-9]{0,12})?(ms|s|h|e9)?".prop_map(String::into_bytes),
        Just(b"2026-11-30T22:31:00Z".to_vec()),
    ]
}

proptest! {
    #[test]
    fn t05_no_headers_panic(
        headers in proptest::collection::vec((prop_oneof![name(), ".{0,40}"], value()), 0..40),
        seconds: u64,
    ) {
        let wall = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let read = || headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let limits = provider_limits(read(), wall.unwrap_or(SystemTime::UNIX_EPOCH));
        let quotas = [limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens];
        for quota in quotas.into_iter().flatten() {
            prop_assert!(quota.limit != Some(0));
            prop_assert!(quota.reset_after.is_none_or(|time| time <= waypost_core::MAX_RESET));
        }
    }

    /// The order of headers says nothing, as long as none comes twice.
    #[test]
    fn any_order_of_headers_says_the_same(
        order in Just((0..DISTINCT.len()).collect::<Vec<_>>()).prop_shuffle(),
        values in proptest::collection::vec("[0-9]{1,2}|-1|x", DISTINCT.len()),
    ) {
        let headers: Vec<_> = DISTINCT.into_iter().zip(values.iter().map(String::as_str)).collect();
        let shuffled: Vec<_> = order.iter().map(|&place| headers[place]).collect();
        prop_assert_eq!(read(&shuffled), read(&headers));
    }
}
