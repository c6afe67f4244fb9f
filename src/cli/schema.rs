//! `tripline schema`: JSON Schemas of the files people write, for editors.

use super::args::SchemaOf;
use super::output::{Out, Stop};
use super::{YES, later};
use crate::config::config_schema;
use crate::rules::rule_schema;

pub(super) fn run(of: SchemaOf, out: &mut Out) -> Result<u8, Stop> {
    let schema = match of {
        SchemaOf::Config => config_schema(),
        SchemaOf::Rule => rule_schema(),
        SchemaOf::Connector => return Err(later::refuse("schema connector")),
    };
    out.line(&serde_json::to_string_pretty(&schema).map_err(|error| Stop::unknown(error.to_string()))?)?;
    Ok(YES)
}
