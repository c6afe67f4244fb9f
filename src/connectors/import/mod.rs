//! OpenAPI descriptions made into connectors: text to text, with a report of what was left out.
//!
//! [`import`] reads a description of OpenAPI 3.0 or 3.1, JSON or YAML, and writes a connector file. What a connector cannot
//! say is never dropped silently: an operation that needs it is held back, a part that is not needed is left out, and both
//! are in the [`Report`] with their reason and their place. Knows no file and no network: references into other documents
//! are refused.

mod body;
mod document;
mod draft;
mod emit;
mod fields;
#[cfg(test)]
mod fuzz;
mod names;
mod operations;
mod paging;
mod parameters;
mod report;
mod schema;
mod security;
mod select;
mod servers;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_public;
#[cfg(test)]
mod tests_scale;

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::Connectors;
use super::limits::{FILE_MAX, OPERATIONS_MAX};
use crate::fault::{Fault, Faults, Severity, SourceText};
use document::Document;
use draft::{Auth, Draft};
use operations::{Found, Surroundings};
pub use report::{Imported, Part, Report, by_reason};
use security::Schemes;
pub use select::Selection;

/// What a user says of an import.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The connector's name; made of the description's title where nothing is said.
    pub name: Option<String>,
    /// Where requests go, in place of the description's servers.
    pub base_url: Option<String>,
    /// Which operations are wanted.
    pub operations: Selection,
}

/// A connector made of a description.
#[derive(Clone, Debug)]
pub struct Import {
    /// The connector's name.
    pub name: String,
    /// The file: YAML with comments.
    pub text: String,
    /// What was taken and what was left out.
    pub report: Report,
}

/// Makes a connector of a description.
///
/// # Errors
/// What is no description, has no usable server or name, or leaves nothing to import; each with its remedy.
pub fn import(source: &Arc<SourceText>, options: &Options) -> Result<Import, Faults> {
    let document = Document::read(source)?;
    let mut faults = Faults::new();
    let mut report = Report { openapi: document.version.clone(), ..Report::default() };
    let schemes = Schemes::read(&document);
    let found = operations::find(&document, &schemes, &mut report.held_back);
    let paths_held_back = report.held_back.len();
    report.of = found.len() + paths_held_back;
    let wanted = wanted(&found, &options.operations, &mut faults);
    report.wanted = wanted.len();
    let asked: Vec<_> = wanted.iter().map(|found| found.security.clone()).collect();
    let chosen = schemes.choose(&asked, &mut report.left_out);
    let server = servers::choose(&document, options.base_url.as_deref(), chosen.auth.is_some());
    let name = name(&document, options.name.as_deref());
    if let Err((message, help)) = &name {
        faults.push(Fault::general("connector-name", message.clone()).help(help.clone()));
    }
    if let Err((message, help)) = &server {
        faults.push(Fault::general("base-url", message.clone()).help(help.clone()));
    }
    let (Ok(name), Ok(server)) = (name, server) else { return Err(faults) };
    if faults.any_error() {
        return Err(faults);
    }
    let with = Surroundings { document: &document, schemes: &schemes, chosen: &chosen, server: &server };
    let mut operations = Vec::with_capacity(wanted.len());
    for found in wanted {
        match operations::read(&with, found, &mut report.left_out) {
            Ok(operation) => operations.push(operation),
            Err(part) => report.held_back.push(part),
        }
    }
    left_out_of_all(&document, &mut report.left_out);
    // A parameter of a path is left out for each of its operations, and told once.
    let mut told = HashSet::new();
    report.left_out.retain(|part| told.insert((part.reason, part.pointer.clone(), part.message.clone())));
    if operations.is_empty() {
        let mut fault = Fault::general("nothing-imported", format!("none of {} operations can be imported", report.of));
        if let Some(first) = report.held_back.get(paths_held_back).or(report.held_back.first()) {
            fault = fault.help(format!("the first is held back because of {}: {} ({})", first.reason, first.message, first.pointer));
        }
        faults.push(fault);
        return Err(faults);
    }
    let info = |key: &str| document.root().pointer("/info").and_then(|info| info.get(key)).and_then(Value::as_str).map(str::to_owned);
    let docs = document.root().pointer("/externalDocs/url").and_then(Value::as_str).map(str::to_owned);
    let config = server.settings;
    let mut taken = names::Names::default();
    for setting in &config {
        taken.unique(setting.name.clone(), &[]);
    }
    let other_auth = schemes.others(&chosen);
    let further_keys = chosen.further.into_iter().map(|(scheme, auth)| (taken.unique(names::input(&scheme), &[]), auth)).collect();
    let draft = Draft {
        name: name.clone(),
        title: info("title"),
        description: info("description"),
        vendor_docs: docs.filter(|url| url.starts_with("http")),
        api_version: info("version"),
        base_url: server.base_url,
        other_servers: server.others,
        config,
        other_auth,
        auth: chosen.auth.unwrap_or(Auth::None),
        further_keys,
        operations,
    };
    if draft.operations.len() > OPERATIONS_MAX {
        let message = format!("{} operations are too many; a connector has at most {OPERATIONS_MAX}", draft.operations.len());
        faults.push(Fault::general("too-many", message).help("pick what you need with `--operations`"));
        return Err(faults);
    }
    let imported = |one: &draft::Operation| Imported { name: one.name.clone(), method: one.method.clone(), path: one.path.clone() };
    report.imported = draft.operations.iter().map(imported).collect();
    let (text, variables) = emit::write(&draft, &report, FILE_MAX).map_err(|fault| {
        let mut faults = Faults::new();
        faults.push(fault);
        faults
    })?;
    report.variables = variables;
    check(&name, &text)?;
    Ok(Import { name, text, report })
}

/// Reads the file as every connector is read: what we write must pass.
fn check(name: &str, text: &str) -> Result<(), Faults> {
    let source = Arc::new(SourceText { path: format!("{name}.yaml").into(), text: text.to_owned() });
    let (_, found) = Connectors::load(&[source], None);
    if !found.any_error() {
        return Ok(());
    }
    let mut faults = Faults::new();
    faults.push(
        Fault::general("import", "the connector that was made of the description does not pass its own check; nothing was written")
            .help("this is a fault of `connector import`: leave the operations out that are named here with `--operations`, and report it"),
    );
    found.into_iter().filter(|fault| fault.severity == Severity::Error).for_each(|fault| faults.push(fault));
    Err(faults)
}

/// The operations that are asked for; patterns that meet none are faults.
fn wanted<'f, 'a>(found: &'f [Found<'a>], selection: &Selection, faults: &mut Faults) -> Vec<&'f Found<'a>> {
    let candidates: Vec<_> = found.iter().map(Found::candidate).collect();
    for (pattern, near) in selection.unmet(&candidates) {
        let fault = Fault::general("unknown-operation", format!("`{pattern}` of --operations meets no operation of the description"));
        faults.push(match near {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("name an operation, or a path with its method, as in `GET /pets/*`"),
        });
    }
    found.iter().filter(|found| selection.picks(found.candidate())).collect()
}

/// The connector's name: the user's word, else made of the title.
fn name(document: &Document, given: Option<&str>) -> Result<String, (String, String)> {
    let help = "give one: `--name NAME`, of small letters, digits, `-` and `_`".to_owned();
    if let Some(given) = given {
        let good = given.starts_with(|c: char| c.is_ascii_lowercase())
            && given.len() <= names::NAME_MAX
            && given.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
        return if good { Ok(given.to_owned()) } else { Err((format!("`{given}` is no name of a connector"), help)) };
    }
    let title = document.root().pointer("/info/title").and_then(Value::as_str).unwrap_or_default();
    match names::connector(title) {
        name if name.is_empty() => Err(("the description has no title to name the connector by".to_owned(), help)),
        name => Ok(name),
    }
}

/// Parts of the description that belong to no operation.
fn left_out_of_all(document: &Document, left_out: &mut Vec<Part>) {
    let webhooks = document.root().get("webhooks").and_then(Value::as_object);
    if let Some(webhooks) = webhooks.filter(|webhooks| !webhooks.is_empty()) {
        let message = format!("{} that the service sends: write a `triggers` entry for those you need", webhooks.len());
        left_out.push(Part { reason: "webhooks", pointer: "#/webhooks".to_owned(), message });
    }
}
