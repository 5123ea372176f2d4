//! The name that was probably meant.

/// How alike two names must be to be taken for each other (Jaro-Winkler, 0 to 1): one letter wrong in five or so.
const ALIKE: f64 = 0.8;

/// The longest name that is compared, in bytes: comparing takes time in proportion to the square of the length.
const LONGEST: usize = 256;

/// The known name that is most like another; `None` when none is much like it.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let scored = known.into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= ALIKE).then_some(best.1)
}

/// The hint that an error ends with.
pub(crate) fn hint(nearest: Option<&String>) -> String {
    nearest.map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}
