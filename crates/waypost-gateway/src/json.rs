//! JSON as far as whoever passes it on must know it: where the fields of an object stand, and that all of it is well-formed.

use std::borrow::Cow;

use memchr::memchr2;

/// The deepest nesting that is read: what the parsers of providers allow.
pub(crate) const MAX_DEPTH: u32 = 128;

/// Words of eight bytes of a text that are looked at one by one.
const SHORT_WORDS: usize = 4;
/// The longest text that can be noted.
const SHORT: usize = 16;
const CONTROL: &str = "a control character in a text";

/// What is no JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub(crate) struct Malformed {
    what: &'static str,
    at: usize,
}

/// The fields of an object, one after the other, with their values as they are written.
///
/// One pass that copies nothing. Texts, which most of a prompt is, are passed over by vector instructions.
///
/// Source: RFC 8259.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    text: &'a str,
    at: usize,
    is_first: bool,
    /// Which texts are noted, if any are.
    notes: Option<fn(&[u8]) -> bool>,
    /// Whether there was one in the field that was read last.
    has_noted: bool,
    /// What was found that is no JSON.
    wrong: Option<Malformed>,
}

impl<'a> Object<'a> {
    /// Begins to read the one object that a text is.
    pub(crate) fn read(text: &'a str) -> Result<Self, Malformed> {
        Self::begin(text, None)
    }

    /// The same, and notes in which fields texts or names stand, as they are written, that are short and of this kind.
    pub(crate) fn noting(text: &'a str, notes: fn(&[u8]) -> bool) -> Result<Self, Malformed> {
        Self::begin(text, Some(notes))
    }

    fn begin(text: &'a str, notes: Option<fn(&[u8]) -> bool>) -> Result<Self, Malformed> {
        let mut object = Self { text, at: 0, is_first: true, notes, has_noted: false, wrong: None };
        object.skip_space();
        match object.expect(b'{', "an object was expected") {
            Some(()) => Ok(object),
            None => Err(object.malformed()),
        }
    }

    /// The next field; `None` when the object is over and nothing follows it.
    pub(crate) fn next(&mut self) -> Result<Option<(Cow<'a, str>, &'a str)>, Malformed> {
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.skip_space();
            if self.at == self.text.len() {
                return Ok(None);
            }
            return Err(Malformed { what: "more than an object", at: self.at });
        }
        self.field().map(Some).ok_or_else(|| self.malformed())
    }

    /// Whether such a text stood in the value of the field that was read last.
    pub(crate) const fn has_noted(&self) -> bool {
        self.has_noted
    }

    fn field(&mut self) -> Option<(Cow<'a, str>, &'a str)> {
        if !self.is_first {
            self.expect(b',', "`,` or `}` was expected")?;
            self.skip_space();
        }
        self.is_first = false;
        let name = text_of(self.name()?).or_else(|| self.bad("a name that is no text"))?;
        self.skip_space();
        let start = self.at;
        self.has_noted = false;
        self.skip_value()?;
        Some((name, &self.text[start..self.at]))
    }

    const fn malformed(&self) -> Malformed {
        match self.wrong {
            Some(wrong) => wrong,
            None => Malformed { what: "no JSON", at: self.at },
        }
    }

    /// Notes what is wrong here. Whoever reads on only hears that something is: most of what is read is right.
    #[cold]
    const fn bad<T>(&mut self, what: &'static str) -> Option<T> {
        self.wrong = Some(Malformed { what, at: self.at });
        None
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, otherwise: &'static str) -> Option<()> {
        if self.peek() != Some(byte) {
            return self.bad(otherwise);
        }
        self.at += 1;
        Some(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// The name of a field as it is written, up to behind its colon.
    fn name(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.expect(b'"', "the name of a field was expected")?;
        self.skip_text()?;
        let name = &self.text[start..self.at];
        self.skip_space();
        self.expect(b':', "`:` was expected")?;
        Some(name)
    }

    /// Passes over a value. What is open around is one bit each, set for objects.
    fn skip_value(&mut self) -> Option<()> {
        let (mut open, mut depth) = (0_u128, 0);
        loop {
            self.skip_space();
            let begins = self.peek().or_else(|| self.bad("a value was expected"))?;
            match begins {
                b'"' => {
                    self.at += 1;
                    self.skip_text()?;
                }
                b'{' | b'[' => {
                    self.at += 1;
                    depth += 1;
                    // The object around is one level itself.
                    if depth >= MAX_DEPTH {
                        return self.bad("too deep a nesting");
                    }
                    let is_object = begins == b'{';
                    open = (open << 1) | u128::from(is_object);
                    self.skip_space();
                    // `{` and `[` are two less than what closes them.
                    if self.peek() != Some(begins + 2) {
                        if is_object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                b't' => self.skip_word("true")?,
                b'f' => self.skip_word("false")?,
                b'n' => self.skip_word("null")?,
                b'-' | b'0'..=b'9' => self.skip_number()?,
                _ => return self.bad("a value was expected"),
            }
            if self.close(&mut open, &mut depth)? {
                return Some(());
            }
        }
    }

    /// Passes over what follows a value; whether that was all of the outermost one. Else the next value begins.
    fn close(&mut self, open: &mut u128, depth: &mut u32) -> Option<bool> {
        while *depth > 0 {
            self.skip_space();
            let is_object = *open & 1 == 1;
            match (self.peek(), is_object) {
                (Some(b','), false) => {
                    self.at += 1;
                    return Some(false);
                }
                (Some(b','), true) => {
                    self.at += 1;
                    self.skip_space();
                    self.name()?;
                    return Some(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    *depth -= 1;
                    *open >>= 1;
                }
                (_, true) => return self.bad("`,` or `}` was expected"),
                (_, false) => return self.bad("`,` or `]` was expected"),
            }
        }
        Some(true)
    }

    fn skip_word(&mut self, word: &str) -> Option<()> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.bad("a value was expected");
        }
        self.at += word.len();
        Some(())
    }

    fn skip_number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        // What begins with zero is no more than that.
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.skip_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        Some(())
    }

    /// Passes over one digit or more.
    fn skip_digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.bad("a digit was expected") } else { Some(()) }
    }

    /// Passes over a text from behind its first quote to behind its last.
    fn skip_text(&mut self) -> Option<()> {
        let (bytes, start) = (self.text.as_bytes(), self.at);
        loop {
            let rest = &bytes[self.at..];
            let plain = self.plain_len(rest)?;
            self.at += plain + 1;
            if rest[plain] == b'"' {
                let is_whole = self.at == start + plain + 1;
                if let Some(notes) = self.notes.filter(|_| is_whole && plain <= SHORT) {
                    self.has_noted |= notes(&rest[..plain]);
                }
                return Some(());
            }
            let escaped = match rest.get(plain + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 1,
                Some(b'u') if is_hex(rest.get(plain + 2..plain + 6)) => 5,
                _ => return self.bad("an unknown escape"),
            };
            self.at += escaped;
        }
    }

    /// How long a text goes on without a quote or a backslash.
    fn plain_len(&mut self, rest: &[u8]) -> Option<usize> {
        // Most texts are names and other short ones, for which the search below is not worth its beginning.
        let (words, _) = rest.as_chunks::<8>();
        let short = words.iter().take(SHORT_WORDS);
        let found = short.enumerate().find_map(|(place, word)| Some(place * 8 + first_special(*word)?));
        if let Some(found) = found {
            return if rest[found] < 0x20 { self.bad(CONTROL) } else { Some(found) };
        }
        let plain = memchr2(b'"', b'\\', rest).or_else(|| self.bad("a text without an end"))?;
        let least = rest[..plain].iter().fold(u8::MAX, |least, &byte| least.min(byte));
        if least < 0x20 { self.bad(CONTROL) } else { Some(plain) }
    }
}

/// Where in eight bytes the first one is that is a quote, a backslash or a control character.
///
/// Source: the tests of a word for a byte in S. E. Anderson, "Bit Twiddling Hacks". They may be wrong only behind a byte
/// for which they are right.
fn first_special(bytes: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let word = u64::from_le_bytes(bytes);
    let has_less = |word: u64, than: u8| word.wrapping_sub(ONES * u64::from(than)) & !word;
    let flipped = |byte: u8| word ^ (ONES * u64::from(byte));
    // With its second bit flipped the quote follows the control characters, which stay among themselves.
    let special = (has_less(flipped(0x02), 0x21) | has_less(flipped(b'\\'), 1)) & (ONES << 7);
    (special != 0).then(|| special.trailing_zeros() as usize / 8)
}

fn is_hex(digits: Option<&[u8]>) -> bool {
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// The text that a value is; `None` when it is none, or cannot be written in Unicode.
pub(crate) fn text_of(written: &str) -> Option<Cow<'_, str>> {
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(written).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    fn fields(text: &str) -> Result<Vec<(String, String)>, Malformed> {
        let (mut object, mut fields) = (Object::read(text)?, Vec::new());
        while let Some((name, value)) = object.next()? {
            fields.push((name.into_owned(), value.to_owned()));
        }
        Ok(fields)
    }

    #[test]
    fn values_are_where_they_stand() {
        let text = r#" { "a" : [1, {"b":"]}\""}] ,"\u0062":-0.5e+7,"c":{},"d":null}  "#;
        let read = fields(text).unwrap();
        let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, [("a", r#"[1, {"b":"]}\""}]"#), ("b", "-0.5e+7"), ("c", "{}"), ("d", "null")]);
        assert_eq!(fields("{}").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, told) in [
            ("", "an object was expected at byte 0"),
            ("{\"a\":1,}", "the name of a field was expected at byte 7"),
            ("{\"a\":[1 2]}", "`,` or `]` was expected at byte 8"),
            ("{\"a\":01}", "`,` or `}` was expected at byte 6"),
            ("{\"a\":\"b", "a text without an end at byte 6"),
            ("{\"a\":\"\\x\"}", "an unknown escape at byte 7"),
            ("{} {}", "more than an object at byte 3"),
        ] {
            assert_eq!(fields(text).unwrap_err().to_string(), told, "{text}");
        }
    }

    #[test]
    fn texts_are_noted_where_they_stand() {
        let text =
            r#"{"a":["image",{"b":"an image"}],"b":"image","c":{"image":[1]},"d":[["image\n"]],"e":1}"#;
        let mut object = Object::noting(text, |text| text == b"image").unwrap();
        let mut noted = String::new();
        while let Some((name, _)) = object.next().unwrap() {
            noted.extend(object.has_noted().then_some(&*name));
        }
        assert_eq!(noted, "abc", "whole texts, not parts of others");
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(fields(&nested(127)).is_ok());
        assert!(fields(&nested(128)).unwrap_err().to_string().starts_with("too deep a nesting"));
        assert!(fields(&nested(1 << 20)).is_err());
    }

    /// JSON, and what is nearly so.
    fn texts() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "-?(0|[1-9][0-9]{0,3})([.][0-9]{1,2})?([eE][+-]?[0-9])?",
            "\"([a-c é\\[{:,]|\\\\[\"\\\\/bfnrtu]|\\\\u00e9|\\\\ud800){0,9}\"",
            "\"[a-z ]{28,70}(\u{1}|\\\\n|é)?[a-z]{0,70}\"",
            "true|false|null|nul|tru",
        ];
        let value = leaf.prop_recursive(5, 30, 4, |inner| {
            let list =
                prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(" ,")));
            let field = ("[a-c\u{e9}]{0,3}", inner).prop_map(|(name, value)| format!("\"{name}\": {value}"));
            prop_oneof![
                list,
                prop::collection::vec(field, 0..4).prop_map(|list| format!("{{{}\n}}", list.join(",")))
            ]
        });
        let edits = prop::collection::vec(
            (any::<prop::sample::Index>(), "[\\[\\]{}\",:\\\\0-9eE+. tn\u{1}\u{e9}-]?"),
            0..3,
        );
        (value, edits).prop_map(|(value, edits)| {
            let mut text: Vec<char> = format!("{{\"a\":{value}}}").chars().collect();
            for (place, by) in edits {
                let at = place.index(text.len());
                text.splice(at..=at, by.chars());
            }
            text.into_iter().collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// The oracle is `serde_json`.
        #[test]
        fn well_formed_is_what_a_parser_takes(text in texts()) {
            let taken = serde_json::from_str::<IgnoredAny>(&text).is_ok() && text.trim_start().starts_with('{');
            // It decodes names, which the oracle passes over.
            let lone = text.contains("\\ud800");
            prop_assert!(lone || fields(&text).is_ok() == taken, "{text}: {:?}", fields(&text));
        }

        #[test]
        fn values_are_those_of_a_parser(text in texts()) {
            let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            if let (Ok(parsed), Ok(read)) = (parsed, fields(&text)) {
                for (name, value) in &read {
                    let value: serde_json::Value = serde_json::from_str(value).unwrap();
                    let is_last = read.iter().filter(|(other, _)| other == name).count() == 1;
                    prop_assert!(!is_last || parsed[name] == value);
                }
                prop_assert!(parsed.keys().all(|name| read.iter().any(|(read, _)| read == name)));
            }
        }
    }
}
