//! The written form of stable shares: `{ by = "user", percent = 5 }`.

use std::sync::Arc;

use waypost_core::MetadataKey;

use super::field::{Field, Shape, Table};
use super::problem::PrintError;
use super::reader::Reader;
use super::value::Value;
use super::written::{Print, Read};
use crate::{Percent, Sample, SampleKey};

static SAMPLE: Table = Table {
    name: "RuleSample",
    doc: "A stable share of requests.",
    fields: &[
        Field::required("by", "What is hashed: requests with the same are treated alike.", SampleKey::SHAPE),
        Field::required("percent", "How many, 0 to 100.", Percent::SHAPE),
        Field::optional(
            "salt",
            "What tells this draw from others. Default: the id of the rule.",
            Shape::Text,
        ),
    ],
};

static METADATA: Table = Table {
    name: "RuleSampleMetadata",
    doc: "An entry of the metadata.",
    fields: &[Field::required("metadata", "Its key.", Shape::Text)],
};

/// What is hashed, by its name.
const KEYS: [(&str, SampleKey); 7] = [
    ("user", SampleKey::User),
    ("tenant", SampleKey::Tenant),
    ("organization", SampleKey::Organization),
    ("session", SampleKey::Session),
    ("api_key", SampleKey::ApiKey),
    ("source_ip", SampleKey::SourceIp),
    ("request", SampleKey::Request),
];

impl Read for Sample {
    const SHAPE: Shape = Shape::Table(&SAMPLE);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let mut fields = reader.table(value, &SAMPLE)?;
        let by = reader.field(&mut fields, "by", SampleKey::read);
        let percent = reader.field(&mut fields, "percent", Percent::read);
        let salt = reader.field(&mut fields, "salt", Arc::read);
        Some(Self { by: by?, percent: percent?, salt })
    }
}

impl Print for Sample {
    fn print(&self) -> Result<Value, PrintError> {
        let mut fields = vec![("by", self.by.print()?), ("percent", self.percent.print()?)];
        fields.extend(self.salt.as_ref().map(|salt| ("salt", Value::text(salt))));
        Ok(Value::table(fields))
    }
}

impl Read for SampleKey {
    const SHAPE: Shape = Shape::AnyOf(&[
        Shape::Words(|| KEYS.map(|(name, _)| name.to_owned()).to_vec()),
        Shape::Table(&METADATA),
    ]);

    fn read(value: Value, reader: &mut Reader) -> Option<Self> {
        let text = match value {
            Value::Text(text) => text,
            Value::Table(_) => {
                let mut fields = reader.table(value, &METADATA)?;
                return reader.field(&mut fields, "metadata", MetadataKey::read).map(Self::Metadata);
            }
            other => return reader.expected("text or a table", &other),
        };
        let key = KEYS.into_iter().find(|(name, _)| *name == text).map(|(_, key)| key);
        key.or_else(|| reader.unknown("key of a sample", &text, &KEYS.map(|(name, _)| name)))
    }
}

impl Print for SampleKey {
    fn print(&self) -> Result<Value, PrintError> {
        match self {
            Self::Metadata(key) => Ok(Value::table([("metadata", key.print()?)])),
            key => Ok(Value::text(KEYS.iter().find(|(_, known)| known == key).map_or("", |(name, _)| name))),
        }
    }
}
