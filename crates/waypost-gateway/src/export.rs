//! Requests as OpenTelemetry traces and metrics, sent to a collector by OTLP over HTTP.
//!
//! Source: OpenTelemetry semantic conventions for generative AI; OTLP 1.x, binary protobuf. Queues are bounded, and what
//! does not fit is dropped: a collector that is slow or gone costs requests nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Limited};
use opentelemetry::metrics::{Histogram, MeterProvider as _};
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _};
use tokio::runtime::Handle;
use waypost::core::TraceContext;

use crate::Endpoint;
use crate::config::Collector;
use crate::gateway::SetupError;
use crate::record::{Ending, Record};
use crate::request_body::RequestBody;
use crate::upstream::{TlsSettings, Upstream};

/// The most that is read of a collector's answer.
const MAX_ANSWER: usize = 64 << 10;
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last spans may take when the gateway stops.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Seconds, as the conventions advise.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Tokens, as the conventions advise: powers of four.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Sends what is told of requests to a collector.
#[derive(Debug)]
pub(crate) struct Exporter {
    spans: BatchSpanProcessor,
    meters: SdkMeterProvider,
    scope: InstrumentationScope,
    duration: Histogram<f64>,
    first_chunk: Histogram<f64>,
    tokens: Histogram<u64>,
    share: f64,
}

impl Exporter {
    /// Starts one. Must be called on the runtime that sends.
    pub(crate) fn start(collector: &Collector) -> Result<Self, SetupError> {
        let bad = |error: &dyn std::fmt::Display| SetupError(format!("telemetry.otlp: {error}"));
        let client = Client::new(collector)?;
        let resource = Resource::builder().with_service_name(collector.service.clone()).build();
        // Where it is reached is the client's to know; the exporters only take a URL.
        let url = |signal: &str| format!("http://collector{}/v1/{signal}", collector.base_path);
        let spans = SpanExporter::builder().with_http().with_http_client(client.clone());
        let spans = spans.with_endpoint(url("traces")).build().map_err(|error| bad(&error))?;
        let mut spans = BatchSpanProcessor::builder(spans).build();
        spans.set_resource(&resource);
        let metrics = MetricExporter::builder().with_http().with_http_client(client);
        let metrics = metrics.with_endpoint(url("metrics")).build().map_err(|error| bad(&error))?;
        let meters =
            SdkMeterProvider::builder().with_periodic_exporter(metrics).with_resource(resource).build();
        let meter = meters.meter("waypost");
        let seconds = |name: &'static str| {
            meter.f64_histogram(name).with_unit("s").with_boundaries(SECONDS.to_vec()).build()
        };
        let tokens = meter.u64_histogram("gen_ai.client.token.usage").with_unit("{token}");
        Ok(Self {
            duration: seconds("gen_ai.client.operation.duration"),
            first_chunk: seconds("gen_ai.client.operation.time_to_first_chunk"),
            tokens: tokens.with_boundaries(TOKENS.to_vec()).build(),
            scope: InstrumentationScope::builder("waypost").with_version(env!("CARGO_PKG_VERSION")).build(),
            spans,
            meters,
            share: collector.sample,
        })
    }

    /// Which share of new traces is recorded.
    pub(crate) const fn share(&self) -> f64 {
        self.share
    }

    pub(crate) fn tell(&self, record: &Record) {
        let Some(endpoint) = record.endpoint else { return };
        self.measure(endpoint, record);
        let Some(trace) = record.trace.as_ref().filter(|trace| trace.is_sampled()) else { return };
        let Some((context, parent_span_id)) = span_context(trace) else { return };
        let model = record.model.as_ref().map_or("", |model| model.as_str());
        let mut events = SpanEvents::default();
        let end_time = record.began + record.took;
        for (candidate, kind) in &record.failed {
            let attributes = vec![
                KeyValue::new("waypost.candidate", candidate.to_string()),
                KeyValue::new("error.type", kind.to_string()),
            ];
            events.events.push(Event::new("waypost.attempt_failed", end_time, attributes, 0));
        }
        self.spans.on_end(SpanData {
            span_context: context,
            parent_span_id,
            parent_span_is_remote: true,
            span_kind: SpanKind::Client,
            name: format!("{} {model}", operation(endpoint)).into(),
            start_time: record.began,
            end_time,
            attributes: attributes(endpoint, record),
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: match record.ending {
                Ending::Answered | Ending::Cancelled => Status::Unset,
                Ending::Refused(reason) | Ending::Interrupted(reason) => Status::error(reason),
            },
            instrumentation_scope: self.scope.clone(),
        });
    }

    fn measure(&self, endpoint: Endpoint, record: &Record) {
        let mut about = common(endpoint, record);
        if let Some(served) = &record.served {
            for (kind, count) in [("input", record.usage.prompt), ("output", record.usage.completion)] {
                let mut about = about.clone();
                about.push(KeyValue::new("gen_ai.token.type", kind));
                about.push(KeyValue::new("gen_ai.response.model", served.candidate.id.model.to_string()));
                self.tokens.record(count.0, &about);
            }
        }
        if let Some(time) = record.time_to_first_token {
            self.first_chunk.record(time.as_secs_f64(), &about);
        }
        if !record.ending.reason().is_empty() {
            about.push(KeyValue::new("error.type", record.ending.reason()));
        }
        self.duration.record(record.took.as_secs_f64(), &about);
    }

    /// Sends what waits. Blocks for at most a few seconds.
    pub(crate) fn shut_down(&self) {
        let ended =
            [self.spans.shutdown_with_timeout(LAST_WORDS), self.meters.shutdown_with_timeout(LAST_WORDS)];
        for error in ended.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "not everything could be told to the collector");
        }
    }
}

/// What the conventions call an operation.
const fn operation(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages => "chat",
        Endpoint::Completions => "text_completion",
        Endpoint::GenerateContent | Endpoint::StreamGenerateContent => "generate_content",
        other => other.as_str(),
    }
}

/// What spans and metrics have in common: few values, none of them a client's.
fn common(endpoint: Endpoint, record: &Record) -> Vec<KeyValue> {
    let mut about = vec![KeyValue::new("gen_ai.operation.name", operation(endpoint))];
    if let Some(model) = &record.model {
        about.push(KeyValue::new("gen_ai.request.model", model.to_string()));
    }
    if let Some(served) = &record.served {
        about.push(KeyValue::new("gen_ai.provider.name", served.candidate.vendor));
    }
    about
}

fn attributes(endpoint: Endpoint, record: &Record) -> Vec<KeyValue> {
    let mut about = common(endpoint, record);
    about.push(KeyValue::new("http.response.status_code", i64::from(record.status)));
    about.push(KeyValue::new("waypost.request_id", record.id.to_string()));
    about.push(KeyValue::new("waypost.attempts", i64::from(record.attempts)));
    if let Some(tenant) = &record.tenant {
        about.push(KeyValue::new("waypost.tenant", tenant.to_string()));
    }
    if let Some(served) = &record.served {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        about.push(KeyValue::new("gen_ai.response.model", served.candidate.id.model.to_string()));
        about.push(KeyValue::new("gen_ai.usage.input_tokens", count(record.usage.prompt.0)));
        about.push(KeyValue::new("gen_ai.usage.output_tokens", count(record.usage.completion.0)));
        about.push(KeyValue::new("waypost.candidate", served.candidate.id.to_string()));
        about.push(KeyValue::new("waypost.because", served.decision.to_string()));
        if let Some(rule) = served.rule() {
            about.push(KeyValue::new("waypost.rule", rule.to_string()));
        }
    }
    if let Some(cost) = record.cost {
        about.push(KeyValue::new("waypost.cost_usd", cost.0 as f64 / 1e9));
    }
    if !record.ending.reason().is_empty() {
        about.push(KeyValue::new("error.type", record.ending.reason()));
    }
    about
}

fn span_context(trace: &TraceContext) -> Option<(SpanContext, SpanId)> {
    let trace_id = TraceId::from_hex(&trace.trace_id().to_string()).ok()?;
    let span_id = SpanId::from_hex(&trace.span_id().to_string()).ok()?;
    let parent = trace.parent_span_id().and_then(|parent| SpanId::from_hex(&parent.to_string()).ok());
    let context = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::default());
    Some((context, parent.unwrap_or(SpanId::INVALID)))
}

/// Sends on the gateway's runtime, with its connections and its TLS; exporters have threads of their own.
#[derive(Debug, Clone)]
struct Client {
    runtime: Handle,
    upstream: Arc<Upstream>,
    authority: HeaderValue,
}

impl Client {
    fn new(collector: &Collector) -> Result<Self, SetupError> {
        let authority = HeaderValue::try_from(collector.origin.authority());
        Ok(Self {
            runtime: Handle::current(),
            upstream: Upstream::new(collector.origin.clone(), &TlsSettings { ca_file: None })?,
            authority: authority.map_err(|error| SetupError(error.to_string()))?,
        })
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().cloned();
        let make = |connection: &crate::upstream::Connection| {
            let mut sent = Request::new(RequestBody::new(&body));
            *sent.method_mut() = head.method.clone();
            *sent.uri_mut() = path.clone().map(Uri::from).unwrap_or_default();
            let kind = head.headers.get(CONTENT_TYPE).cloned();
            let kind = kind.unwrap_or(HeaderValue::from_static("application/x-protobuf"));
            sent.headers_mut().insert(CONTENT_TYPE, kind);
            if !connection.is_http2() {
                sent.headers_mut().insert(HOST, self.authority.clone());
            }
            sent
        };
        let (head, body) = self.upstream.send(make, || ()).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.clone();
        // Timers are the runtime's, which this thread is none of.
        let sending = async move { tokio::time::timeout(PATIENCE, client.send(request)).await? };
        self.runtime.spawn(sending).await?
    }
}
