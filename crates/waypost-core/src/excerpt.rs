//! What errors repeat of a text.

/// The most characters that are repeated.
const CHARS: usize = 64;

/// What an error repeats of a text that somebody wrote: its first 64 characters, control characters escaped.
///
/// ```
/// assert_eq!(waypost_core::excerpt("Europe/Berlin\n"), "Europe/Berlin\\n");
/// assert_eq!(waypost_core::excerpt(&"a".repeat(1_000)).chars().count(), 65);
/// ```
pub fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS).is_some() {
        shown.push('…');
    }
    shown
}
