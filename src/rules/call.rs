//! The `call` step: reading it, and rendering what it says to its operation.

use std::sync::Arc;

use serde_json::Value;

use super::ExpressionFault;
use super::decode::Decoder;
use super::request::OperationCall;
use super::shapes::CALL;
use super::values::object;
use crate::connectors::{Connector, ORCHESTRATOR, Operation};
use crate::expr::{At, Scope, Tree};
use crate::fault::{Fault, Place, nearest};
use crate::yaml::{Fields, Node};

/// `call` as written.
#[derive(Debug)]
pub(super) struct CallAction {
    pub(super) connector: Arc<Connector>,
    /// Where `orchestrator` is called and there are several: that of the event's own.
    pub(super) of_orchestrators: Vec<Arc<Connector>>,
    pub(super) operation: Arc<Operation>,
    pub(super) with: Tree,
    /// Whether all pages are read.
    pub(super) all: bool,
}

/// The connector that a step names, where there is one: without a word about faults.
pub(super) fn connector_of<'k>(step: &Node, decoder: &'k Decoder<'_>) -> Option<&'k Arc<Connector>> {
    let name = step.get("call")?.get("connector")?.as_text()?;
    let connectors = &decoder.known.connectors;
    // They differ in where they are and who asks, not in what they offer.
    connectors.get(name).or_else(|| connectors.iter().find(|one| name == ORCHESTRATOR && one.orchestrator().is_some()))
}

/// Reads the step.
pub(super) fn read(node: &Node, decoder: &mut Decoder<'_>) -> Option<CallAction> {
    let fields = Fields::read(node, "`call`", &CALL, decoder.faults)?;
    fields.require("connector", "`call`", decoder.faults);
    fields.require("operation", "`call`", decoder.faults);
    let (name, operation) = (fields.text("connector", decoder.faults), fields.text("operation", decoder.faults));
    let with = fields.get("with").map_or(Some(Tree::Map(Vec::new())), |node| object(node, "with", decoder));
    let all = fields.boolean("all", decoder.faults).unwrap_or(false);
    let (name, place) = name?;
    let mut of_orchestrators = Vec::new();
    if name == ORCHESTRATOR && decoder.known.connectors.get(name).is_none() {
        of_orchestrators.extend(decoder.known.connectors.iter().filter(|one| one.orchestrator().is_some()).cloned());
    }
    let Some(connector) = decoder.known.connectors.get(name).or(of_orchestrators.first()).cloned() else {
        let fault = Fault::error("unknown-connector", place.clone(), format!("no connector is named `{name}`"));
        let known = || decoder.known.connectors.iter().map(|connector| &*connector.name);
        let help = match nearest(name, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if decoder.known.connectors.is_empty() => "the configuration has no `connectors`, or none without a fault".to_owned(),
            None => format!("known are: {}", known().collect::<Vec<_>>().join(", ")),
        };
        decoder.faults.push(fault.help(help));
        return None;
    };
    let (operation, place) = operation?;
    let Some(operation) = connector.operations.get(operation).cloned() else {
        let message = format!("connector `{name}` has no operation `{operation}`");
        let help = match nearest(operation, connector.operations.keys().map(|name| &**name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("`tripline connector show {name}` lists what it has"),
        };
        decoder.error_help("unknown-operation", place, message, help);
        return None;
    };
    if let Some(place) = fields.key_place("all").filter(|_| all && operation.paginate.is_none()) {
        let message = format!("`{}` has no `paginate`, so that there is one page only", operation.name);
        decoder.error_help("no-pages", place, message, "remove `all`, or add `paginate` to the operation");
        return None;
    }
    let with = with?;
    let lacks = std::iter::once(&connector).chain(&of_orchestrators).any(|one| one.lacks_folder(&operation.name));
    if let Some(place) = folder_missing(&with, &fields).filter(|_| lacks) {
        let message = format!("`{}` is of a folder, and none is said: Orchestrator refuses that with error 1101", operation.name);
        decoder.error_help("missing-folder", &place, message, "add `folder: PATH` to `with`, or `folder:` to the orchestrator");
        return None;
    }
    inputs(&operation, &with, &fields, decoder).then_some(CallAction { connector, of_orchestrators, operation, with, all })
}

/// Inputs of which one names the folder.
const FOLDERS: [&str; 3] = ["folder", "organizationUnitId", "folderKey"];

/// Where a folder would have to be said, if none is. Of an input that is one `${…}` nothing is known.
fn folder_missing(with: &Tree, fields: &Fields<'_>) -> Option<Place> {
    let Tree::Map(entries) = with else { return None };
    let said = entries.iter().any(|(name, _)| FOLDERS.contains(&&**name));
    (!said).then(|| fields.get("with").or(fields.get("operation")).map_or(fields.place, |node| &node.place).clone())
}

/// What can be said of the input before it is rendered.
fn inputs(operation: &Operation, with: &Tree, fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> bool {
    // Anything else is one `${…}` that gives a mapping.
    let Tree::Map(entries) = with else { return true };
    let written = fields.get("with").and_then(Node::as_map).unwrap_or_default();
    let mut fine = true;
    for ((name, tree), (key, value)) in entries.iter().zip(written) {
        match (operation.input.iter().find(|field| *field.name == **name), tree) {
            (None, _) => {
                decoder.error("unknown-input", &key.place, operation.unknown(name));
                fine = false;
            }
            (Some(field), Tree::Constant(constant)) if !constant.is_null() => {
                if let Err(message) = field.accepts(constant) {
                    decoder.error("bad-value", &value.place, message);
                    fine = false;
                }
            }
            (Some(_), _) => {}
        }
    }
    for field in operation.input.iter().filter(|field| field.required && field.default.is_none()) {
        if !entries.iter().any(|(name, _)| *field.name == **name) {
            let place = fields.get("with").map_or(fields.place, |node| &node.place);
            let message = format!("`{}` needs input `{}`, which is not said", operation.name, field.name);
            decoder.error_help("missing-input", place, message, format!("add `{}: …` to `with`", field.name));
            fine = false;
        }
    }
    fine
}

/// Renders the step for an event of this orchestrator. Its defaults are filled in when it is sent.
pub(super) fn render(
    action: &CallAction,
    scope: &Scope<'_>,
    at: &At<'_>,
    orchestrator: Option<&str>,
) -> Result<OperationCall, ExpressionFault> {
    let own = || action.of_orchestrators.iter().find(|one| orchestrator.is_some_and(|name| one.orchestrator() == Some(name)));
    let connector = match action.of_orchestrators.first() {
        None => &action.connector,
        Some(first) => own().ok_or_else(|| {
            at.field("connector").fault(match orchestrator {
                Some(name) => format!("the event is of orchestrator `{name}`, which is not in the configuration"),
                None => format!("the event is of no orchestrator: name the one that is meant, such as `{}`", first.name),
            })
        })?,
    };
    let at = at.field("with");
    let Value::Object(input) = action.with.render(scope, &at)? else { return Err(at.fault("expected a mapping")) };
    action.operation.check_input(&input, &at)?;
    Ok(OperationCall { connector: Arc::clone(connector), operation: Arc::clone(&action.operation), input, all: action.all })
}
