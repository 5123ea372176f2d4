//! A request seen through on tokio, without a router: the first provider is full, the second answers.

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use waypost_core::{Clock, GatewayRequest, ProviderCandidate, RoutingContext, Timestamp, TokenUsage, Tokens};
use waypost_failover::{Attempt, CandidateList, ErrorResponse, FailoverChain, RequestError, TokioTimer};

/// The time as tokio's timer has it.
#[derive(Debug)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.elapsed().as_nanos() as u64)
    }

    #[expect(clippy::disallowed_methods, reason = "a program hands in the time")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let candidates = [
        ProviderCandidate::anthropic("anthropic", "claude-sonnet").build()?,
        ProviderCandidate::bedrock("bedrock-eu", "claude-sonnet").build()?,
    ];
    let list = CandidateList::new(candidates, Arc::new(TokioClock(Instant::now())));
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
