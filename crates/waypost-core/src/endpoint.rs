//! Where a candidate is reached.

use core::fmt;
use std::sync::Arc;

/// The longest endpoint, in bytes.
const MAX_ENDPOINT_BYTES: usize = 2_048;

/// The base URL of a provider's API: `http` or `https`, a host, no credentials and no fragment.
///
/// Only the shape is checked here; whether a private address may be called is the caller's policy.
///
/// ```
/// use waypost_core::Endpoint;
///
/// let endpoint = Endpoint::new("https://acme-eu.openai.azure.com/openai")?;
/// assert_eq!(endpoint.as_str(), "https://acme-eu.openai.azure.com/openai");
/// assert!(Endpoint::new("https://key:secret@example.com").is_err());
/// # Ok::<(), waypost_core::EndpointError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Arc<str>);

/// Why a text is not an endpoint. The text is not repeated: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Neither `http://` nor `https://`.
    #[error("the endpoint must start with http:// or https://")]
    Scheme,
    /// No host, or one with characters that no host has.
    #[error("the endpoint has no valid host")]
    Host,
    /// A port that is not 1 to 65535.
    #[error("the endpoint's port is not a number from 1 to 65535")]
    Port,
    /// A user or password, which belongs into the credential configuration.
    #[error("the endpoint must not hold credentials")]
    Credentials,
    /// A fragment, white space, a control character or a character outside ASCII.
    #[error("the endpoint has a character that a base URL must not have")]
    Character,
    /// More than 2,048 bytes.
    #[error("the endpoint is longer than {MAX_ENDPOINT_BYTES} bytes")]
    TooLong,
}

impl Endpoint {
    /// Takes a base URL.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] names the first rule that the text breaks.
    pub fn new(url: impl AsRef<str>) -> Result<Self, EndpointError> {
        let url = url.as_ref();
        if url.len() > MAX_ENDPOINT_BYTES {
            return Err(EndpointError::TooLong);
        }
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let rest = rest.ok_or(EndpointError::Scheme)?;
        if !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\') {
            return Err(EndpointError::Character);
        }
        check_authority(rest.split(['/', '?']).next().unwrap_or_default())?;
        Ok(Self(Arc::from(url)))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_authority(authority: &str) -> Result<(), EndpointError> {
    if authority.contains('@') {
        return Err(EndpointError::Credentials);
    }
    if authority.ends_with(':') {
        return Err(EndpointError::Port);
    }
    let port = if let Some(rest) = authority.strip_prefix('[') {
        check_ipv6(rest)?
    } else {
        let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
        check_host(host)?;
        port
    };
    let valid_port = port.is_empty() || (port.parse::<u16>().is_ok_and(|p| p > 0) && !port.starts_with('+'));
    if valid_port { Ok(()) } else { Err(EndpointError::Port) }
}

/// An address up to its closing bracket; gives the port, if any.
fn check_ipv6(rest: &str) -> Result<&str, EndpointError> {
    let (address, after) = rest.split_once(']').ok_or(EndpointError::Host)?;
    address.parse::<core::net::Ipv6Addr>().map_err(|_| EndpointError::Host)?;
    if after.is_empty() { Ok("") } else { after.strip_prefix(':').ok_or(EndpointError::Port) }
}

fn check_host(host: &str) -> Result<(), EndpointError> {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if host.len() <= 253 && host.split('.').all(label) { Ok(()) } else { Err(EndpointError::Host) }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_base_urls() {
        for good in [
            "https://api.openai.com/v1",
            "http://127.0.0.1:8000",
            "http://[::1]:8000/v1",
            "http://[::1]",
            "http://localhost:65535/",
            "https://gpu_7.cluster/v1?api-version=2024-06-01",
        ] {
            assert!(Endpoint::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn names_the_broken_rule() {
        use EndpointError::{Character, Credentials, Host, Port, Scheme, TooLong};
        for (bad, why) in [
            ("", Scheme),
            ("api.openai.com", Scheme),
            ("file:///etc/passwd", Scheme),
            ("gopher://x", Scheme),
            ("https://", Host),
            ("https:///v1", Host),
            ("https://a..b", Host),
            ("https://a.b.", Host),
            ("https://[fe80::1%25eth0]/", Host),
            ("https://[::1", Host),
            ("https://[::1]x", Port),
            ("https://host:0", Port),
            ("https://host:65536", Port),
            ("https://host:", Port),
            ("https://[::1]:", Port),
            ("https://host:+80", Port),
            ("https://user:pw@host", Credentials),
            ("https://host/#x", Character),
            ("https://ho st/", Character),
            ("https://bücher.example", Character),
            ("https://host/\n", Character),
        ] {
            assert_eq!(Endpoint::new(bad), Err(why), "{bad}");
        }
        assert_eq!(Endpoint::new(format!("https://h/{}", "x".repeat(2_048))), Err(TooLong));
    }
}
