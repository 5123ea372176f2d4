//! A request seen through on tokio, without a router: the first provider is full, the second answers.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::Arc;
use std::time::Duration;

use waypost_core::{GatewayRequest, ManualClock, ProviderCandidate, RoutingContext, TokenUsage, Tokens};
use waypost_failover::{Attempt, CandidateList, ErrorResponse, FailoverChain, RequestError, TokioTimer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let candidates = [
        ProviderCandidate::anthropic("anthropic", "claude-sonnet").build()?,
        ProviderCandidate::bedrock("bedrock-eu", "claude-sonnet").build()?,
    ];
    // A program of yours hands in a clock that runs.
    let list = CandidateList::new(candidates, Arc::new(ManualClock::default()));
    let (request, context) = (GatewayRequest::new("claude-sonnet")?, RoutingContext::default());

    let outcome = FailoverChain::default().execute(&list, &TokioTimer, &request, &context, call).await?;
    println!("{} by {}", outcome.answer(), outcome.candidate());
    outcome.failed().iter().for_each(|attempt| println!("before: {attempt}"));
    Ok(())
}

/// In place of an HTTP client.
async fn call(attempt: Attempt) -> Result<&'static str, RequestError> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    if attempt.number() == 0 {
        let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        return Err(ErrorResponse::new(529).body(overloaded).into());
    }
    attempt.complete(TokenUsage::new(Tokens(12), Tokens(2)));
    Ok("Hello!")
}
