//! TOML and YAML: from text to values and back.

use super::problem::{FormErrors, PrintError};
use super::reader::read;
use super::value::Value;
use super::written::{Print, Read};

/// The longest text, in bytes. Far above any rule file that people write, low enough to be read in memory.
const MAX_TEXT_BYTES: usize = 16 * 1_024 * 1_024;

#[cfg(feature = "toml")]
pub(super) fn from_toml<T: Read>(text: &str) -> Result<T, FormErrors> {
    check_size(text)?;
    let value =
        toml::from_str::<Value>(text).map_err(|error| FormErrors::of_text(&toml_message(text, &error)))?;
    read(value)
}

#[cfg(feature = "toml")]
pub(super) fn to_toml(document: &impl Print) -> Result<String, PrintError> {
    toml::to_string(&document.print()?).map_err(|error| PrintError::Format { message: error.to_string() })
}

/// The parser's word with the place, but without the drawing of the line: that would repeat what may be secret.
#[cfg(feature = "toml")]
fn toml_message(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return message.to_owned();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&character| character != '\n').count() + 1;
    format!("{message} at line {line}, column {column}")
}

#[cfg(feature = "yaml")]
pub(super) fn from_yaml<T: Read>(text: &str) -> Result<T, FormErrors> {
    check_size(text)?;
    let value = serde_saphyr::from_str_with_options::<Value>(text, yaml_options());
    read(value.map_err(|error| FormErrors::of_text(&error.to_string()))?)
}

#[cfg(feature = "yaml")]
pub(super) fn to_yaml(document: &impl Print) -> Result<String, PrintError> {
    let printed = serde_saphyr::to_string(&document.print()?);
    printed.map_err(|error| PrintError::Format { message: error.to_string() })
}

/// YAML 1.2 with limits: no merge keys, few aliases, and as many nodes as a document may have values. Keys that are
/// there twice are told with all that is wrong besides.
#[cfg(feature = "yaml")]
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: super::value::MAX_DEPTH,
            max_nodes: 1_000_000,
            max_events: 2_000_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 100_000,
            max_total_scalar_bytes: MAX_TEXT_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 8,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        merge_keys: serde_saphyr::MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn check_size(text: &str) -> Result<(), FormErrors> {
    let size = text.len();
    let message = || format!("the text has {size} bytes, more than {MAX_TEXT_BYTES}");
    if size > MAX_TEXT_BYTES { Err(FormErrors::of_text(&message())) } else { Ok(()) }
}
