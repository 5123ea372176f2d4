//! The name that was probably meant.

/// How alike two names must be to be taken for each other (Jaro-Winkler, 0 to 1): one letter wrong in six or so.
const ALIKE: f64 = 0.85;

/// The known name that is most like another; `None` when none is much like it.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= ALIKE).then_some(best.1)
}

/// The hint that an error ends with.
pub(crate) fn hint(nearest: Option<&String>) -> String {
    nearest.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}
