//! The JSON Schema of rule files, from the same lists of fields that reading goes by.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::field::{Field, Shape, Table};
use super::written::Read;
use crate::{RuleSet, RuleTests};

macro_rules! json_schema {
    ($($document:ty: $name:literal),*) => {
        $(
            impl JsonSchema for $document {
                fn schema_name() -> Cow<'static, str> {
                    $name.into()
                }

                fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                    of_document(<$document>::SHAPE, generator)
                }
            }

            impl $document {
                /// The JSON Schema (2020-12) of what `from_toml`, `from_yaml` and `Deserialize` take, for editors and
                /// other tools.
                pub fn json_schema() -> Value {
                    SchemaGenerator::default().into_root_schema_for::<Self>().to_value()
                }
            }
        )*
    };
}

json_schema!(RuleSet: "RuleSet", RuleTests: "RuleTests");

fn of_document(shape: Shape, generator: &mut SchemaGenerator) -> Schema {
    let Shape::Table(table) = shape else { return Schema::default() };
    let path = generator.settings().definitions_path.trim_matches(['#', '/']).to_owned();
    let mut schemas = Schemas { path, definitions: generator.definitions_mut() };
    let object = schemas.of_table(table);
    Schema::try_from(object).unwrap_or_default()
}

struct Schemas<'a> {
    /// Where the definitions are in the document.
    path: String,
    definitions: &'a mut Map<String, Value>,
}

impl Schemas<'_> {
    fn of_table(&mut self, table: &Table) -> Value {
        let required: Vec<_> =
            table.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
        let fields = table.fields.iter().map(|field| (field.name.to_owned(), self.of_field(field)));
        let mut schema = json!({
            "type": "object",
            "description": table.doc,
            "properties": Value::Object(fields.collect()),
            "additionalProperties": false,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    fn of_field(&mut self, field: &Field) -> Value {
        let mut schema = self.of_shape(field.shape);
        schema["description"] = json!(field.doc);
        schema
    }

    fn of_shape(&mut self, shape: Shape) -> Value {
        match shape {
            Shape::Text => json!({ "type": "string" }),
            Shape::Moment => json!({ "type": "string", "format": "date-time" }),
            Shape::Flag => json!({ "type": "boolean" }),
            Shape::False => json!({ "const": false }),
            Shape::Whole { max } => json!({ "type": "integer", "minimum": 0, "maximum": max }),
            Shape::Percent => json!({ "type": "number", "minimum": 0, "maximum": 100 }),
            Shape::Words(words) => json!({ "type": "string", "enum": words() }),
            Shape::AnyOf(shapes) => {
                let shapes: Vec<_> = shapes.iter().map(|&shape| self.of_shape(shape)).collect();
                json!({ "anyOf": shapes })
            }
            Shape::List(&item) => json!({ "type": "array", "items": self.of_shape(item) }),
            Shape::OneOrMany(item) => {
                json!({ "anyOf": [self.of_shape(*item), self.of_shape(Shape::List(item))] })
            }
            Shape::Map(&value) => json!({ "type": "object", "additionalProperties": self.of_shape(value) }),
            Shape::Table(table) => self.reference(table),
        }
    }

    /// Defines a table once and refers to it.
    fn reference(&mut self, table: &Table) -> Value {
        if !self.definitions.contains_key(table.name) {
            // Stands in while the table, which may contain itself, is described.
            self.definitions.insert(table.name.to_owned(), Value::Null);
            let schema = self.of_table(table);
            self.definitions.insert(table.name.to_owned(), schema);
        }
        json!({ "$ref": format!("#/{}/{}", self.path, table.name) })
    }
}
