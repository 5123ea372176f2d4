//! The `tracestate` header.

use core::fmt;

/// The most members of a tracestate (W3C Trace Context §3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// Characters that we pass on; §3.3.1.5 asks for at least 512.
const MAX_CHARS: usize = 512;
/// Members longer than this are the first to go when the header is too long (§3.3.1.5).
const LONG_MEMBER: usize = 128;

/// What other tracing systems attached to a trace: up to 32 members `key=value`, at most 512 characters.
///
/// A header that breaks the format (a malformed member, a key twice, more than 32 members) is dropped whole; one that
/// is only too long loses its members over 128 characters and then its last ones, as the specification says.
///
/// ```
/// use waypost_core::TraceState;
///
/// let state = TraceState::from_headers(["rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE"]);
/// assert_eq!(state.to_string(), "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
/// assert!(TraceState::from_headers(["rojo=1,rojo=2"]).is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceState {
    members: Vec<Box<str>>,
}

impl TraceState {
    /// Reads all values of the header, in order.
    pub fn from_headers<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let members = headers.into_iter().flat_map(|header| header.split(','));
        let members =
            members.map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty());
        let mut kept: Vec<&str> = Vec::new();
        for member in members {
            let Some(key) = valid_key(member) else { return Self::default() };
            let twice = kept.iter().any(|other| valid_key(other) == Some(key));
            if twice || kept.len() == MAX_MEMBERS {
                return Self::default();
            }
            kept.push(member);
        }
        trim(&mut kept);
        Self { members: kept.into_iter().map(Box::from).collect() }
    }

    /// Whether there is nothing to pass on.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members.iter().find_map(|member| member.strip_prefix(key)?.strip_prefix('='))
    }
}

/// The header's value.
impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.members.join(","))
    }
}

fn trim(members: &mut Vec<&str>) {
    if joined_len(members) > MAX_CHARS {
        members.retain(|member| member.len() <= LONG_MEMBER);
    }
    while joined_len(members) > MAX_CHARS {
        members.pop();
    }
}

fn joined_len(members: &[&str]) -> usize {
    members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1)
}

/// The key of a well-formed member (§3.3.1.3).
fn valid_key(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    let valid_value = !value.is_empty()
        && value.len() <= 256
        && value.bytes().all(|b| matches!(b, 0x20..=0x2b | 0x2d..=0x3c | 0x3e..=0x7e))
        && !value.ends_with(' ');
    (is_key(key) && valid_value).then_some(key)
}

/// `lcalpha 0*255(...)`, or `tenant@system` with up to 241 and 14 characters; level 2 lets a key begin with a digit.
fn is_key(key: &str) -> bool {
    let part = |part: &str, most: usize| {
        let rest = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
        (1..=most).contains(&part.len())
            && part.bytes().all(rest)
            && part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    match key.split_once('@') {
        Some((tenant, system)) => part(tenant, 241) && part(system, 14),
        None => part(key, 256),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(header: &str) -> String {
        TraceState::from_headers([header]).to_string()
    }

    #[test]
    fn well_formed_members_are_passed_on_in_order() {
        assert_eq!(parsed("a=1, b=2 ,,c@d=3"), "a=1,b=2,c@d=3");
        assert_eq!(parsed(""), "");
        assert_eq!(TraceState::from_headers(["a=1", "b=x y"]).get("b"), Some("x y"));
    }

    #[test]
    fn a_broken_header_is_dropped_whole() {
        let members = |n: usize| (0..n).map(|i| format!("k{i}=1")).collect::<Vec<_>>().join(",");
        assert_ne!(parsed(&members(32)), "");
        for bad in [
            &*members(33),
            "a=1,a=2",
            "A=1",
            "a=1,b",
            "a=",
            "=1",
            "a=\u{1}",
            "a=1,b=\u{7f}",
            "a@b@c=1",
            "a=b=c",
            "a@=1",
        ] {
            assert_eq!(parsed(bad), "", "{bad}");
        }
    }

    #[test]
    fn a_long_header_loses_long_members_first_then_the_last() {
        let long = format!("long={}", "x".repeat(150));
        let short: Vec<String> = (0..10).map(|i| format!("k{i}={}", "y".repeat(50))).collect();
        let seen = parsed(&format!("{long},{}", short.join(",")));
        assert!(
            seen.len() <= 512 && seen.starts_with("k0=") && !seen.contains("long") && !seen.contains("k9="),
            "{seen}"
        );
        assert_eq!(parsed(&long), long, "short enough as a whole");
    }
}
