//! Requests signed as AWS demands it: Signature Version 4.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::request_body::RequestBody;

/// The name of Bedrock among AWS's services.
const SERVICE: &str = "bedrock";

/// Credentials that requests are signed with.
#[derive(Debug, Clone)]
pub(crate) struct AwsKeys {
    pub(crate) access_key: SecretString,
    pub(crate) secret_key: SecretString,
    pub(crate) session_token: Option<SecretString>,
    pub(crate) region: String,
}

impl AwsKeys {
    /// Signs a request to a host: its method, path, query, content type and all of its body.
    pub(crate) fn sign(
        &self,
        request: &mut Request<RequestBody>,
        authority: &HeaderValue,
        now: SystemTime,
    ) -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let host = authority.to_str().map_err(|error| said(&error))?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let headers = [("host", Some(host)), ("content-type", kind)];
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let body = SignableBody::Precomputed(request.body().sha256());
        let url = format!("https://{host}{path}");
        let signable = SignableRequest::new(request.method().as_str(), url, headers, body);
        let identity = self.identity();
        let params = v4::SigningParams::builder()
            .region(&self.region)
            .name(SERVICE)
            .time(now)
            .settings(SigningSettings::default())
            .identity(&identity);
        let params = params.build().map_err(|error| said(&error))?.into();
        let signed = sign(signable.map_err(|error| said(&error))?, &params).map_err(|error| said(&error))?;
        signed.into_parts().0.apply_to_request_http1x(request);
        Ok(())
    }

    /// All that is secret of them.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        [&self.access_key, &self.secret_key].into_iter().chain(&self.session_token)
    }

    fn identity(&self) -> Identity {
        let token = self.session_token.as_ref().map(|token| token.expose_secret().to_owned());
        let (access, secret) = (self.access_key.expose_secret(), self.secret_key.expose_secret());
        Credentials::new(access, secret, token, None, "waypost").into()
    }
}
