//! `tripline schema`: JSON Schemas of the files people write, for editors.

use super::YES;
use super::args::SchemaOf;
use super::output::{Out, Stop};
use crate::config::config_schema;
use crate::connectors::connector_schema;
use crate::rules::rule_schema;

pub(super) fn run(of: SchemaOf, out: &mut Out) -> Result<u8, Stop> {
    let schema = match of {
        SchemaOf::Config => config_schema(),
        SchemaOf::Rule => rule_schema(),
        SchemaOf::Connector => connector_schema(),
    };
    out.line(&serde_json::to_string_pretty(&schema).map_err(|error| Stop::unknown(error.to_string()))?)?;
    Ok(YES)
}
