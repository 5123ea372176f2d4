//! The `baggage` header.

use core::fmt::{self, Write};
use core::str;

/// The most bytes of all members together (W3C Baggage §3.3.2).
const MAX_BYTES: usize = 8_192;
/// The most members (W3C Baggage §3.3.2).
const MAX_MEMBERS: usize = 64;

/// Name and value pairs that a caller attached to a request, after W3C Baggage: at most 64 members and 8,192 bytes.
///
/// Malformed members are left out, and so is a member that would exceed the limits with those before it.
/// Routing does not look at baggage, and it should not be sent to a provider unasked.
///
/// ```
/// use waypost_core::Baggage;
///
/// let baggage = Baggage::from_headers(["user=Am%C3%A9lie, build = 42;private"]);
/// assert_eq!(baggage.get("user").as_deref(), Some("Amélie"));
/// assert_eq!(baggage.get("build").as_deref(), Some("42"));
/// assert_eq!(Baggage::default().with("k", "a,b").to_string(), "k=a%2Cb");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baggage {
    members: Vec<Member>,
}

/// One member as it travels: the value percent-encoded, properties behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    key: Box<str>,
    value: Box<str>,
    properties: Box<str>,
}

impl Baggage {
    /// Reads all values of the header, in order.
    pub fn from_headers<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let members = headers.into_iter().flat_map(|header| header.split(',')).filter_map(Member::parse);
        members.fold(Self::default(), Self::push)
    }

    /// Attaches a member, replacing one of the same name. A name that is not a token, or a member beyond the limits,
    /// is left out.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.members.retain(|member| &*member.key != key);
        let member = Member { key: key.into(), value: encode(value).into(), properties: Box::default() };
        if is_token(key) { self.push(member) } else { self }
    }

    /// The value of a member, decoded; the first one when a name is there twice.
    pub fn get(&self, key: &str) -> Option<String> {
        self.members.iter().find(|member| &*member.key == key).map(|member| decode(&member.value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn push(mut self, member: Member) -> Self {
        let bytes: usize = self.members.iter().map(|member| member.len() + 1).sum();
        if self.members.len() < MAX_MEMBERS && bytes + member.len() <= MAX_BYTES {
            self.members.push(member);
        }
        self
    }
}

impl Member {
    fn parse(text: &str) -> Option<Self> {
        let (pair, properties) = text.split_once(';').unwrap_or((text, ""));
        let (key, value) = pair.split_once('=')?;
        let (key, value) = (trim(key), trim(value));
        let valid =
            is_token(key) && value.bytes().all(is_value_octet) && properties.bytes().all(is_property_octet);
        valid.then(|| Self { key: key.into(), value: value.into(), properties: trim(properties).into() })
    }

    fn len(&self) -> usize {
        let separator = usize::from(!self.properties.is_empty());
        self.key.len() + 1 + self.value.len() + separator + self.properties.len()
    }
}

/// The header's value.
impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, member) in self.members.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            let semicolon = if member.properties.is_empty() { "" } else { ";" };
            write!(f, "{comma}{}={}{semicolon}{}", member.key, member.value, member.properties)?;
        }
        Ok(())
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// A token of RFC 7230.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Printable ASCII without space, quote, comma, semicolon and backslash.
const fn is_value_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

const fn is_property_octet(byte: u8) -> bool {
    is_value_octet(byte) || matches!(byte, b' ' | b'\t' | b';')
}

fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if is_value_octet(byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes every write");
        }
    }
    encoded
}

/// Percent sequences that are not hex stay as they are; bytes that are not UTF-8 become U+FFFD.
fn decode(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .filter(|hex| bytes[at] == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let byte = hex.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_members_are_left_out() {
        let baggage = Baggage::from_headers(["a=1,b,=c,d d=1,e=\u{1},f=ü,g=7%zz,h="]);
        assert_eq!(baggage.to_string(), "a=1,g=7%zz,h=");
        assert_eq!(baggage.get("g").as_deref(), Some("7%zz"));
    }

    #[test]
    fn limits_hold() {
        let many = (0..100).map(|i| format!("k{i}=1")).collect::<Vec<_>>().join(",");
        assert_eq!(Baggage::from_headers([&*many]).to_string().split(',').count(), 64);
        let big = (0..20).map(|i| format!("k{i}={}", "x".repeat(1_000))).collect::<Vec<_>>().join(",");
        let seen = Baggage::from_headers([&*big]).to_string();
        assert!(seen.len() <= 8_192 && seen.len() > 7_000);
        assert!(Baggage::default().with("k", &"ü".repeat(3_000)).is_empty());
        assert!(Baggage::default().with("not a token", "1").is_empty());
    }

    proptest! {
        #[test]
        fn values_survive_the_journey(value in "\\PC{0,100}") {
            let header = Baggage::default().with("key", &value).to_string();
            prop_assert_eq!(Baggage::from_headers([&*header]).get("key"), Some(value));
        }
    }
}
