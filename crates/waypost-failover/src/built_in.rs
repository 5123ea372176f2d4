//! What errors of the known providers mean. In order: the first row that an error meets says what it is.

use waypost_core::FaultScope;

use crate::{ErrorKind, ErrorRule, FailOver};

/// One row: provider, statuses, codes, parts of the message, kind, and what is otherwise than the kind says.
type Row =
    (&'static str, &'static [u16], &'static [&'static str], &'static [&'static str], ErrorKind, Otherwise);

/// What a row says otherwise than its kind.
#[derive(Debug, Clone, Copy)]
enum Otherwise {
    Nothing,
    Scope(FaultScope),
    /// The same candidate is not asked again.
    NotHere,
    /// Nobody is asked again.
    Nowhere,
    /// Others may be asked.
    Next,
    /// Rests so many seconds.
    Rests(u32),
}

use ErrorKind as K;
use Otherwise::{Next, NotHere, Nothing, Nowhere, Rests, Scope};

const DAY: u32 = 24 * 60 * 60;
const HOUR: u32 = 60 * 60;

const ROWS: &[Row] = &[
    // Quota and bills, which no wait cures (OpenAI, Anthropic, DeepSeek, Together, OpenRouter).
    (
        "",
        &[],
        &[
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "enforced_spend_limit_reached",
            "billing_error",
            "billing_hard_limit_reached",
        ],
        &[],
        K::QuotaExhausted,
        Rests(HOUR),
    ),
    (
        "",
        &[400, 402, 403, 429],
        &[],
        &["credit balance is too low", "insufficient balance", "insufficient credits"],
        K::QuotaExhausted,
        Rests(HOUR),
    ),
    ("", &[402], &[], &[], K::QuotaExhausted, Rests(HOUR)),
    // What is too large for a limit is so tomorrow too.
    ("", &[429], &[], &["request too large", "request is too large"], K::RequestTooLarge, Next),
    // The context window, under many statuses.
    (
        "",
        &[],
        &["context_length_exceeded", "context_window_exceeded"],
        &[],
        K::ContextWindowExceeded,
        Nothing,
    ),
    (
        "",
        &[400, 403, 413, 422],
        &[],
        &[
            "prompt is too long",
            "too many tokens",
            "maximum context length",
            "context window",
            "context length",
            "input is too long",
            "input token count",
            "exceeds the maximum number of tokens",
            "tokens + `max_new_tokens`",
        ],
        K::ContextWindowExceeded,
        Nothing,
    ),
    ("", &[413], &[], &[], K::RequestTooLarge, Nothing),
    ("", &[], &["request_too_large"], &[], K::RequestTooLarge, Nothing),
    // Content policies.
    (
        "",
        &[],
        &[
            "content_filter",
            "content_policy_violation",
            "responsibleaipolicyviolation",
            "content_filtered",
            "safety",
            "recitation",
            "prohibited_content",
            "blocklist",
            "spii",
            "model_armor",
            "refusal",
        ],
        &[],
        K::ContentFiltered,
        Nothing,
    ),
    // Overload, by name; also inside streams.
    (
        "",
        &[],
        &["overloaded_error", "server_is_overloaded", "slow_down", "no_capacity", "modelnotreadyexception"],
        &[],
        K::Overloaded,
        Nothing,
    ),
    ("", &[503], &[], &["slow down"], K::Overloaded, Nothing),
    ("", &[529], &[], &[], K::Overloaded, Nothing),
    ("groq", &[498], &[], &[], K::Overloaded, Nothing),
    // Google: by day or by minute.
    ("google-vertex", &[429], &[], &["per day", "perday"], K::RateLimitExceeded, Rests(DAY / 2)),
    (
        "",
        &[429],
        &["generaterequestsperdayperprojectpermodel-freetier", "generaterequestsperdayperprojectpermodel"],
        &[],
        K::RateLimitExceeded,
        Rests(DAY / 2),
    ),
    (
        "google-vertex",
        &[429],
        &[],
        &["resource exhausted. please try again later"],
        K::RateLimitExceeded,
        Scope(FaultScope::Region),
    ),
    (
        "google-vertex",
        &[400],
        &["failed_precondition"],
        &["location is not supported", "billing"],
        K::PermissionDenied,
        Nothing,
    ),
    ("google-vertex", &[400], &[], &["api key not valid"], K::Authentication, Nothing),
    ("", &[400], &["api_key_invalid"], &[], K::Authentication, Nothing),
    ("", &[], &["deadline_exceeded", "timeout_error", "modeltimeoutexception"], &[], K::Timeout, Nothing),
    // Bedrock, also inside the event stream.
    (
        "aws-bedrock",
        &[],
        &["throttlingexception", "servicequotaexceededexception"],
        &[],
        K::RateLimitExceeded,
        Nothing,
    ),
    (
        "aws-bedrock",
        &[],
        &["modelerrorexception", "modelstreamerrorexception", "internalserverexception"],
        &[],
        K::ServerError,
        Nothing,
    ),
    (
        "aws-bedrock",
        &[],
        &["serviceunavailableexception"],
        &[],
        K::ServiceUnavailable,
        Scope(FaultScope::Region),
    ),
    ("aws-bedrock", &[], &["accessdeniedexception"], &[], K::PermissionDenied, Nothing),
    ("aws-bedrock", &[], &["resourcenotfoundexception"], &[], K::ModelNotFound, Nothing),
    ("aws-bedrock", &[], &["validationexception"], &[], K::InvalidRequest, Nothing),
    ("aws-bedrock", &[424], &[], &[], K::ServerError, Nothing),
    // Rate limits by name.
    (
        "",
        &[],
        &["rate_limit_error", "rate_limit_exceeded", "resource_exhausted", "too_many_requests"],
        &[],
        K::RateLimitExceeded,
        Nothing,
    ),
    // Models that are not there, or no longer.
    (
        "",
        &[400, 404],
        &["model_not_found", "deploymentnotfound", "model_not_available", "model_decommissioned"],
        &[],
        K::ModelNotFound,
        Nothing,
    ),
    ("aws-bedrock", &[400], &[], &["model identifier is invalid"], K::ModelNotFound, Nothing),
    ("openrouter", &[404], &[], &["data policy"], K::InvalidRequest, Nowhere),
    (
        "",
        &[404],
        &[],
        &["model", "not found", "not_found", "no longer available", "was removed", "deprecated"],
        K::ModelNotFound,
        Nothing,
    ),
    ("", &[404, 410], &[], &[], K::ModelNotFound, Nothing),
    // Keys and permissions.
    ("", &[401], &[], &[], K::Authentication, Nothing),
    (
        "",
        &[],
        &["authentication_error", "invalid_api_key", "unauthenticated"],
        &[],
        K::Authentication,
        Nothing,
    ),
    ("", &[403], &[], &[], K::PermissionDenied, Nothing),
    ("", &[], &["permission_error", "permission_denied"], &[], K::PermissionDenied, Nothing),
    // Errors inside a success or a stream, by name.
    (
        "",
        &[200],
        &["api_error", "server_error", "internal_error", "internal_server_error", "internal"],
        &[],
        K::ServerError,
        Nothing,
    ),
    (
        "",
        &[200],
        &["unavailable", "service_unavailable_error", "service_unavailable"],
        &[],
        K::ServiceUnavailable,
        Nothing,
    ),
    (
        "",
        &[200],
        &["invalid_request_error", "invalid_argument", "bad_request", "400", "422"],
        &[],
        K::InvalidRequest,
        Nothing,
    ),
    ("", &[200], &["429"], &[], K::RateLimitExceeded, Nothing),
    ("", &[200], &["500", "502"], &[], K::ServerError, Nothing),
    ("", &[200], &["503"], &[], K::ServiceUnavailable, Nothing),
    ("", &[200], &["error", "response.failed", "failed"], &[], K::ServerError, NotHere),
    ("", &[200], &[], &[], K::InvalidResponse, Nothing),
    // By status alone.
    ("", &[408, 504, 522, 524], &[], &[], K::Timeout, Nothing),
    ("", &[499], &[], &[], K::Cancelled, Nothing),
    ("", &[429], &[], &[], K::RateLimitExceeded, Nothing),
    ("", &[502, 520, 521, 523, 525, 526, 530], &[], &[], K::ServerError, Scope(FaultScope::Deployment)),
    ("", &[503], &[], &[], K::ServiceUnavailable, Nothing),
    ("", &[501, 505], &[], &[], K::InvalidRequest, Next),
    ("", &[409, 425], &[], &[], K::ServerError, Nothing),
];

/// The rules.
pub(crate) fn rules() -> Vec<ErrorRule> {
    ROWS.iter().map(rule).collect()
}

fn rule(&(provider, status, codes, message, kind, otherwise): &Row) -> ErrorRule {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let mut rule = ErrorRule {
        provider: (!provider.is_empty()).then(|| provider.to_owned()),
        status: status.to_vec(),
        codes: owned(codes),
        message: owned(message),
        ..ErrorRule::new(kind)
    };
    match otherwise {
        Nothing => {}
        Scope(scope) => rule.scope = Some(scope),
        NotHere => rule.retry_here = Some(false),
        Nowhere => rule.fail_over = Some(FailOver::Never),
        Next => rule.fail_over = Some(FailOver::Next),
        Rests(seconds) => rule.cool_down_s = Some(seconds),
    }
    rule
}
