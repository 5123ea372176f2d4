//! Forms with files: only the model's name is read of them.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use memchr::memmem;

use crate::scan::{BadBody, Scanned, StreamUsage};

/// The longest boundary that the standard allows.
const MAX_BOUNDARY: usize = 70;

/// Reads which model a form asks for.
///
/// Source: RFC 7578.
pub(crate) fn scan(body: &[u8], headers: &HeaderMap) -> Result<Scanned, BadBody> {
    let boundary = boundary(headers).ok_or_else(|| BadBody::whole("the form has no boundary"))?;
    let delimiter = format!("--{boundary}");
    if parts(body, delimiter.as_bytes()).any(|(head, _)| !is_plain(head)) {
        return Err(BadBody::whole("a part of the form has no plain `Content-Disposition`"));
    }
    let mut models =
        parts(body, delimiter.as_bytes()).filter(|(head, _)| names_model(head)).map(|(_, at)| at);
    let missing = || BadBody { param: Some("model"), message: "`model` is missing".to_owned() };
    let at = models.next().ok_or_else(missing)?;
    if models.next().is_some() {
        return Err(BadBody { param: Some("model"), message: "`model` stands twice".to_owned() });
    }
    let model =
        std::str::from_utf8(&body[at.clone()]).ok().filter(|model| !model.is_empty() && model.len() <= 256);
    Ok(Scanned {
        model: model.ok_or_else(missing)?.to_owned(),
        model_at: Some(at),
        stream: false,
        prompt_bytes: 0,
        max_tokens: None,
        needs_tools: false,
        needs_vision: false,
        needs_schema: false,
        user: None,
        cache_key: None,
        stream_usage: StreamUsage::Wanted,
        stream_options: None,
        answers: 1,
    })
}

fn boundary(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let boundary = kind.split(';').find_map(|setting| setting.trim().strip_prefix("boundary="))?;
    let boundary = boundary.trim_matches('"');
    Some(boundary).filter(|boundary| (1..=MAX_BOUNDARY).contains(&boundary.len()))
}

/// The heads of a form's parts, and where their values stand.
fn parts<'b>(
    body: &'b [u8],
    delimiter: &'b [u8],
) -> impl Iterator<Item = (&'b [u8], std::ops::Range<usize>)> {
    let starts: Vec<_> = memmem::find_iter(body, delimiter).collect();
    let ends: Vec<_> = starts.iter().skip(1).copied().collect();
    starts.into_iter().zip(ends).filter_map(move |(start, end)| {
        let head_at = start + delimiter.len();
        let part = body.get(head_at..end)?;
        let value = memmem::find(part, b"\r\n\r\n")? + 4;
        let last = part.strip_suffix(b"\r\n")?.len();
        (value <= last).then(|| (&part[..value], head_at + value..head_at + last))
    })
}

/// Whether a part's name is written as every client writes it, so that nobody reads another one: one disposition, with its
/// name in quotes first.
fn is_plain(head: &[u8]) -> bool {
    let lower = head.to_ascii_lowercase();
    let mut dispositions = memmem::find_iter(&lower, b"content-disposition");
    let (Some(at), None) = (dispositions.next(), dispositions.next()) else { return false };
    let written = lower[at..].strip_prefix(b"content-disposition:").map(<[u8]>::trim_ascii_start);
    let line =
        written.map(|written| written.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default());
    let named = line.and_then(|line| line.strip_prefix(b"form-data; name=\""));
    named.is_some_and(|rest| {
        let mut quoted = rest.splitn(2, |byte| *byte == b'"');
        let (name, rest) = (quoted.next().unwrap_or_default(), quoted.next());
        let again = |rest: &[u8]| {
            [&b"; name"[..], b";name"].into_iter().any(|word| memmem::find(rest, word).is_some())
        };
        // `Model` is not `model`, and some read it so.
        let is_other = name == b"model" && memmem::find(head, b"name=\"model\"").is_none();
        rest.is_some_and(|rest| !again(rest)) && !is_other && !name.contains(&b'\\')
    })
}

fn names_model(head: &[u8]) -> bool {
    memmem::find(head, b"name=\"model\"").is_some() && memmem::find(head, b"filename=").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(boundary: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}").parse().unwrap());
        headers
    }

    const FORM: &[u8] = b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\n\x00\xffname=\"model\"\r\n--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--\r\n";

    #[test]
    fn the_model_is_found_where_it_stands() {
        let scanned = scan(FORM, &headers("x")).unwrap();
        assert_eq!(
            (scanned.model.as_str(), &FORM[scanned.model_at.unwrap()]),
            ("whisper-1", &b"whisper-1"[..])
        );
        assert!(scan(FORM, &headers("y")).is_err() && scan(FORM, &HeaderMap::new()).is_err());
        assert_eq!(scan(&[FORM, FORM].concat(), &headers("x")).unwrap_err().message, "`model` stands twice");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in prop::collection::vec(prop_oneof![Just(b'-'), Just(b'x'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200)) {
            let _ = scan(&body, &headers("x"));
        }
    }
}
