//! What must never be told to a client.

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use secrecy::{ExposeSecret, SecretString};

/// A text without secrets.
pub(crate) fn redacted(text: Bytes, secrets: &[SecretString]) -> Bytes {
    secrets.iter().map(ExposeSecret::expose_secret).fold(text, without)
}

fn without(text: Bytes, secret: &str) -> Bytes {
    let mut found = memmem::find_iter(&text, secret.as_bytes()).peekable();
    if secret.is_empty() || found.peek().is_none() {
        drop(found);
        return text;
    }
    let (mut clean, mut rest) = (BytesMut::with_capacity(text.len()), 0);
    for at in found {
        clean.extend_from_slice(&text[rest..at]);
        clean.extend_from_slice(b"[redacted]");
        rest = at + secret.len();
    }
    clean.extend_from_slice(&text[rest..]);
    clean.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_cut_out_wherever_they_stand() {
        let secrets = ["key", "token", ""].map(SecretString::from);
        let clean = |text: &'static str| redacted(Bytes::from_static(text.as_bytes()), &secrets);
        assert_eq!(clean("keytoken a key"), "[redacted][redacted] a [redacted]");
        assert_eq!(clean("nothing"), "nothing");
    }
}
