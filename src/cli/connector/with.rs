//! The input of a call as people say it: fields one by one, or one JSON object.

use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::output::{Stop, clean};
use crate::cli::send;
use crate::connectors::{FieldKind, Operation};
use crate::event::read_json;

/// The input. A field that is said one by one goes before the object's.
pub(super) fn input(operation: &Operation, with: &[String], file: Option<&Path>) -> Result<Map<String, Value>, Stop> {
    let mut input = match file {
        None => Map::new(),
        Some(file) => match read_json(&send::read(file)?) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err(Stop::unknown(format!("`{}` is no JSON object; the input is {{\"field\": value, …}}", file.display()))),
            Err(error) => return Err(Stop::unknown(format!("`{}` is no JSON: {error}", file.display()))),
        },
    };
    for said in with {
        let Some((name, text)) = said.split_once('=') else {
            return Err(Stop::unknown(format!("`--with {}` has no `=`; write `--with field=value`", clean(said))));
        };
        let kind = operation.input.iter().find(|field| *field.name == *name).map(|field| field.kind);
        input.insert(name.to_owned(), value(name, text, kind)?);
    }
    Ok(input)
}

/// A text as it stands where the field is one; JSON elsewhere.
fn value(name: &str, text: &str, kind: Option<FieldKind>) -> Result<Value, Stop> {
    match kind {
        // Unknown fields are named when the input is checked.
        None | Some(FieldKind::String | FieldKind::DateTime) => Ok(Value::String(text.to_owned())),
        Some(FieldKind::File) => Ok(read_json(text.as_bytes()).ok().filter(Value::is_object).unwrap_or_else(|| text.into())),
        Some(kind) => read_json(text.as_bytes())
            .map_err(|_| Stop::unknown(format!("`--with {name}={}`: expected {} as JSON", clean(text), kind.word()))),
    }
}
