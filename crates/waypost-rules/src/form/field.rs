//! What tables of the form consist of: the one list that reading, printing and the schema go by.

/// A table with named fields.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name in the schema.
    #[cfg_attr(not(feature = "schemars"), expect(dead_code, reason = "only the schema names tables"))]
    pub(super) name: &'static str,
    /// What it is, in one line.
    #[cfg_attr(
        not(feature = "schemars"),
        expect(dead_code, reason = "only the schema says what fields mean")
    )]
    pub(super) doc: &'static str,
    /// Its fields, in the order in which they mean something and are printed.
    pub(super) fields: &'static [Field],
}

/// A field of a table.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// What it is, in one line.
    #[cfg_attr(
        not(feature = "schemars"),
        expect(dead_code, reason = "only the schema says what fields mean")
    )]
    pub(super) doc: &'static str,
    #[cfg_attr(
        not(feature = "schemars"),
        expect(dead_code, reason = "only the schema asks before it reads")
    )]
    pub(super) shape: Shape,
    pub(super) required: bool,
}

/// What may stand somewhere.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "schemars"), expect(dead_code, reason = "only the schema asks before it reads"))]
pub(super) enum Shape {
    /// Any text.
    Text,
    /// A moment by RFC 3339.
    Moment,
    /// True or false.
    Flag,
    /// Only false.
    False,
    /// A whole number from 0.
    Whole { max: u64 },
    /// A number from 0 to 100.
    Percent,
    /// One of some words.
    Words(fn() -> Vec<String>),
    /// One of these.
    AnyOf(&'static [Self]),
    /// A list.
    List(&'static Self),
    /// One, or a list.
    OneOrMany(&'static Self),
    /// A table with any keys.
    Map(&'static Self),
    /// A table with these keys.
    Table(&'static Table),
}

impl Field {
    pub(super) const fn required(name: &'static str, doc: &'static str, shape: Shape) -> Self {
        Self { name, doc, shape, required: true }
    }

    pub(super) const fn optional(name: &'static str, doc: &'static str, shape: Shape) -> Self {
        Self { name, doc, shape, required: false }
    }
}

impl Table {
    /// Where a field stands.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}
