//! The operations of a description.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document::{Document, step};
use super::draft::{Body, From, Operation, Paging, Sent};
use super::names::{self, Names};
use super::report::Part;
use super::security::{Chosen, Schemes};
use super::select::Candidate;
use super::servers::Server;
use super::{body, paging, parameters};
use crate::connectors::limits::{self, FIELDS_MAX};

/// The methods of a path item that may be operations, in the order of the specification.
const METHODS: &[&str] = &["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The most operations of a description.
pub(super) const OPERATIONS_MAX: usize = 20_000;

/// An operation as the description has it.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// Its name in the connector.
    pub(super) name: String,
    pub(super) id: Option<&'a str>,
    /// In capitals.
    pub(super) method: String,
    pub(super) path: &'a str,
    pub(super) pointer: String,
    pub(super) value: &'a Value,
    pub(super) path_item: &'a Value,
    pub(super) path_pointer: String,
    /// The alternatives of schemes that it asks for.
    pub(super) security: Vec<BTreeSet<String>>,
}

impl Found<'_> {
    /// For the selection.
    pub(super) fn candidate(&self) -> Candidate<'_> {
        Candidate { name: &self.name, id: self.id, method: &self.method, path: self.path }
    }
}

/// All operations, named; path items that cannot be read are told to `held_back`.
pub(super) fn find<'a>(document: &'a Document, schemes: &Schemes, held_back: &mut Vec<Part>) -> Vec<Found<'a>> {
    let mut names = Names::default();
    let mut found = Vec::new();
    let paths = document.root().get("paths").and_then(Value::as_object);
    for (path, written) in paths.into_iter().flatten().filter(|(path, _)| !path.starts_with("x-")) {
        let path_pointer = step("#/paths", path);
        let path_item = match document.resolve(written) {
            Ok(path_item) => path_item,
            Err(bad) => {
                held_back.push(Part { reason: bad.reason(), pointer: path_pointer, message: bad.to_string() });
                continue;
            }
        };
        for method in METHODS {
            let Some(value) = path_item.get(*method).filter(|value| value.is_object()) else { continue };
            if found.len() >= OPERATIONS_MAX {
                let message = format!("more than {OPERATIONS_MAX} operations are not read");
                held_back.push(Part { reason: "too-many-operations", pointer: path_pointer, message });
                return found;
            }
            let id = value.get("operationId").and_then(Value::as_str).filter(|id| !id.is_empty());
            let by_path = names::of_path(method, path);
            let wanted = id.map_or_else(|| by_path.clone(), names::operation);
            let name = names.unique(wanted.clone(), &[format!("{wanted}_{method}"), by_path]);
            found.push(Found {
                name,
                id,
                method: method.to_ascii_uppercase(),
                path,
                pointer: step(&path_pointer, method),
                value,
                path_item,
                path_pointer: path_pointer.clone(),
                security: schemes.of(value),
            });
        }
    }
    found
}

/// What all operations are read with.
pub(super) struct Surroundings<'a> {
    pub(super) document: &'a Document,
    pub(super) schemes: &'a Schemes,
    pub(super) chosen: &'a Chosen,
    pub(super) server: &'a Server,
}

/// One operation as it will be written.
///
/// # Errors
/// What holds it back.
pub(super) fn read(with: &Surroundings<'_>, found: &Found<'_>, left_out: &mut Vec<Part>) -> Result<Operation, Part> {
    let held = |reason: &'static str, message: String| Part { reason, pointer: found.pointer.clone(), message };
    if !limits::METHODS.contains(&found.method.as_str()) {
        return Err(held("method", format!("`{}` is not in this version", found.method)));
    }
    let own = [found.value, found.path_item].into_iter().find(|holder| holder.get("servers").is_some());
    if own.is_some_and(|holder| !with.server.serves(holder)) {
        return Err(held(
            "other-server",
            "it has a server of its own: import it into a connector of its own, with `--base-url`".to_owned(),
        ));
    }
    if let Some((reason, message)) = with.schemes.trouble(with.chosen, &found.security) {
        return Err(held(reason, message));
    }
    let mut names = Names::default();
    let mut parts = Vec::new();
    let path = (found.path, found.path_item, found.path_pointer.as_str());
    let operation = (found.value, found.pointer.as_str());
    let parameters = parameters::read(with.document, path, operation, &with.chosen.taken, &mut names, &mut parts)?;
    let body = body::read(with.document, operation, &mut names, &mut parts)?;
    let text = |key: &str| found.value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut inputs = parameters.inputs;
    inputs.extend(body.inputs);
    let most = [inputs.len(), parameters.query.len(), parameters.headers.len(), fields_of(&body.body)].into_iter().max().unwrap_or(0);
    if most > FIELDS_MAX {
        return Err(held("too-many-fields", format!("it has {most} fields; an operation has at most {FIELDS_MAX}")));
    }
    let mut operation = Operation {
        name: found.name.clone(),
        method: found.method.clone(),
        path: found.path.to_owned(),
        template: parameters.template,
        title: text("summary"),
        description: text("description"),
        deprecated: found.value.get("deprecated").and_then(Value::as_bool).unwrap_or(false),
        inputs,
        query: parameters.query,
        headers: parameters.headers,
        body: body.body,
        paging: None,
        root: String::new(),
    };
    page(with.document, found, &mut operation);
    left_out.extend(parts);
    Ok(operation)
}

/// How many fields a body has.
fn fields_of(body: &Body) -> usize {
    match body {
        Body::None | Body::Whole { .. } | Body::Raw { .. } => 0,
        Body::Json(fields) | Body::Form { fields, .. } | Body::Multipart(fields) => fields.len(),
    }
}

/// Recognises a list in pages. What the walking fills in is no input field any more.
fn page(document: &Document, found: &Found<'_>, operation: &mut Operation) {
    let lists = [found.value, found.path_item].into_iter().filter_map(|holder| holder.get("parameters").and_then(Value::as_array));
    let resolved: Vec<&Value> = lists.flatten().filter_map(|parameter| document.resolve(parameter).ok()).collect();
    let Some((paging, root)) = paging::read(document, found.value, &resolved, operation) else { return };
    let filled: Vec<&str> = match &paging {
        Paging::Offset { param, size, .. } | Paging::Page { param, size, .. } => vec![param, size],
        Paging::Link => Vec::new(),
    };
    let is_filled = |sent: &Sent| filled.contains(&sent.name.as_str());
    let fields: Vec<String> = operation
        .query
        .iter()
        .filter(|sent| is_filled(sent))
        .filter_map(|sent| match &sent.from {
            From::Input(field) => Some(field.clone()),
            _ => None,
        })
        .collect();
    operation.inputs.retain(|input| !fields.contains(&input.name));
    operation.query.retain(|sent| !is_filled(sent));
    operation.paging = Some(paging);
    operation.root = root;
}
