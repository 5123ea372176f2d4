//! What the beginning of an error's body says: JSON that may be cut off, an event of a stream, HTML, plain text.

/// Keys whose values name an error.
const CODE_KEYS: [&str; 14] = [
    "code",
    "type",
    "status",
    "reason",
    "__type",
    "error",
    "error_code",
    "errorcode",
    "status_code",
    "quotaid",
    "finish_reason",
    "finishreason",
    "blockreason",
    "stop_reason",
];

/// Keys whose values are for people to read.
const MESSAGE_KEYS: [&str; 6] = ["message", "error", "detail", "msg", "error_description", "title"];

/// The strings and numbers of a text with JSON in it, each with its key. What is cut off is as long as it is; nothing is
/// built up, so no depth is too deep.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'t>(&'t str);

impl<'t> Fields<'t> {
    pub(crate) const fn of(text: &'t str) -> Self {
        Self(text)
    }

    /// Reads up to the closing quote. What is escaped stays so.
    fn string(&mut self) -> &'t str {
        let mut escaped = false;
        let end = self.0.find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        let (string, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.strip_prefix('"').unwrap_or(rest);
        string
    }
}

impl<'t> Iterator for Fields<'t> {
    type Item = (&'t str, &'t str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.0 = &self.0[self.0.find('"')? + 1..];
            let key = self.string();
            let Some(value) = self.0.trim_start().strip_prefix(':') else { continue };
            self.0 = value.trim_start();
            if let Some(string) = self.0.strip_prefix('"') {
                self.0 = string;
                return Some((key, self.string()));
            }
            let end = self.0.find(|character: char| !character.is_ascii_alphanumeric() && character != '.');
            let (number, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
            if !number.is_empty() {
                self.0 = rest;
                return Some((key, number));
            }
        }
    }
}

/// What an error says, in lower case.
#[derive(Debug, Default)]
pub(crate) struct ErrorText {
    /// What names the error: a user's words, repeated in a message, are not among them.
    pub(crate) codes: Vec<String>,
    /// What is for people to read.
    pub(crate) message: String,
    /// The wait that Google's `RetryInfo` names.
    pub(crate) retry_delay: Option<String>,
    pub(crate) is_empty: bool,
    pub(crate) is_html: bool,
}

impl ErrorText {
    pub(crate) fn of(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let trimmed = text.trim_start();
        let mut said = Self {
            is_empty: trimmed.is_empty(),
            is_html: trimmed.get(..5).is_some_and(|start| {
                start.eq_ignore_ascii_case("<html") || start.eq_ignore_ascii_case("<!doc")
            }),
            ..Self::default()
        };
        if trimmed.contains('{') {
            said.read(trimmed);
        } else {
            said.message = trimmed.to_lowercase();
        }
        // `event: error` of a stream is a name too.
        let events = trimmed.lines().filter_map(|line| line.strip_prefix("event:"));
        said.codes.extend(events.map(|event| event.trim().to_lowercase()));
        said
    }

    fn read(&mut self, text: &str) {
        for (key, value) in Fields::of(text) {
            let key = key.to_ascii_lowercase();
            if key == "retrydelay" {
                self.retry_delay = Some(value.to_owned());
            }
            if key == "raw" {
                // The provider's own error in the one of a reseller.
                self.read_inner(&value.replace('\\', ""));
            }
            if CODE_KEYS.contains(&key.as_str()) {
                self.codes.push(value.to_lowercase());
            }
            if MESSAGE_KEYS.contains(&key.as_str()) {
                self.message.push_str(&value.to_lowercase());
                self.message.push('\n');
            }
        }
    }

    fn read_inner(&mut self, text: &str) {
        for (key, value) in Fields::of(text) {
            if CODE_KEYS.contains(&key.to_ascii_lowercase().as_str()) {
                self.codes.push(value.to_lowercase());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_names_and_messages_out_of_cut_off_json() {
        let said = ErrorText::of(
            br#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Quota \"x\" exce"#,
        );
        assert_eq!(said.codes, ["429", "resource_exhausted"]);
        assert!(said.message.contains("quota"));
        let event = ErrorText::of(
            b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}",
        );
        assert_eq!(event.codes, ["error", "overloaded_error", "error"]);
        assert!(ErrorText::of(b"  <!DOCTYPE html>").is_html && ErrorText::of(b" \n").is_empty);
    }

    #[test]
    fn what_a_message_repeats_names_no_error() {
        let said = ErrorText::of(
            br#"{"error":{"message":"bad prompt: \"code\": \"insufficient_quota\"","code":"x"}}"#,
        );
        assert_eq!(said.codes, ["x"]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..1_024), text in "[\\\\\"{}:a1. ]{0,200}") {
            ErrorText::of(&body);
            ErrorText::of(text.as_bytes());
        }
    }
}
