//! Reading a connector: one document of a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::decode::{CALL, Decoder, ROW, SETTING};
use super::limits::{CONCURRENCY, FIELDS_MAX, HOOKS_MAX, NAME_MAX, OPERATIONS_MAX};
use super::model::{ConfigField, ConfigValue, Connector, Limits, Trigger, TriggerKind};
use super::operation::{Errors, FieldKind, Operation};
use super::{AuthValue, auth_read, check, deliveries, operation_read, shapes, tests_read};
use crate::expr::Expression;
use crate::fault::{Fault, Faults, Place};
use crate::retry::RetryWords;
use crate::signature::Scheme;
use crate::time::Rate;
use crate::yaml::{Fields, Node, Yaml, secret};

/// Reads a connector; `base` is the folder of its file. `None` with any error.
pub(super) fn connector(node: &Node, base: &Path, faults: &mut Faults) -> Option<Arc<Connector>> {
    let before = faults.len();
    let fields = Fields::read(node, "the connector", &shapes::CONNECTOR, faults)?;
    let name = fields.require("connector", "the connector", faults).and_then(|_| fields.text("connector", faults));
    let name = name.and_then(|(name, place)| plain_name(name, "connector", place, faults));
    let names = entries(&fields, "config").iter().map(|(key, _)| Arc::from(key.name.as_str())).collect();
    let mut decoder = Decoder { faults, config: names, input: None, names: SETTING };
    let config = config(&fields, base, &mut decoder);
    let base_url = fields.require("base_url", "the connector", decoder.faults);
    let base_url = base_url.and_then(|node| Some((decoder.template(node, "base_url")?, &node.place)));
    let allow_plaintext = fields.boolean("allow_plaintext", decoder.faults).unwrap_or(false);
    let auth = auth_read::auth(fields.get("auth"), base, &mut decoder);
    let (headers, query) = decoder.seeing(CALL, |decoder| {
        let headers = fields.get("headers").map_or(Some(Vec::new()), |node| decoder.headers(node));
        let query = fields.get("query").map_or(Some(Vec::new()), |node| decoder.trees(node, "query"));
        (headers, query)
    });
    let retry = fields.get("retry").map_or(Some(RetryWords::default()), |node| RetryWords::read(node, decoder.faults));
    let limits = limits(&fields, decoder.faults);
    let hooks = (
        operation_read::before(fields.get("before"), HOOKS_MAX, &mut decoder),
        operation_read::after(fields.get("after"), HOOKS_MAX, &mut decoder),
    );
    let errors = fields.get("errors").map_or(Some(Errors::default()), |node| operation_read::errors(node, &mut decoder));
    let operations = operations(&fields, &mut decoder);
    let triggers = triggers(&fields, &mut decoder);
    let tests = tests_read::tests(fields.get("tests"), operations.as_ref(), triggers.as_ref(), decoder.faults);
    for key in ["title", "description", "vendor_docs", "icon"] {
        fields.text(key, faults);
    }
    let text = |key: &str| fields.get(key).and_then(Node::as_text).map(str::to_owned);
    let (base_url, url_place) = base_url?;
    let connector = Connector {
        name: name?,
        title: text("title"),
        description: text("description"),
        vendor_docs: text("vendor_docs"),
        api_version: fields.get("api_version").map(scalar_text),
        icon: text("icon"),
        base_url,
        allow_plaintext,
        config: config?,
        auth: auth?,
        headers: headers?,
        query: query?,
        retry: retry?,
        limits: limits?,
        before: hooks.0?,
        after: hooks.1?,
        errors: errors?,
        operations: operations?,
        triggers: triggers?,
        tests: tests?,
        place: node.place.clone(),
    };
    check::within(&connector, url_place, faults);
    let clean = |faults: &Faults| !faults.iter().skip(before).any(|fault| fault.severity == crate::fault::Severity::Error);
    if clean(faults) && connector.operations.is_empty() && connector.triggers.is_empty() {
        let message = "the connector has neither `operations` nor `triggers`";
        faults.error_help("missing-key", &node.place, message, "add one, as `operations: {list: {method: GET, path: /items}}`");
    }
    clean(faults).then(|| Arc::new(connector))
}

/// A name: of a connector, an operation, a field.
pub(super) fn plain_name(name: &str, what: &str, place: &Place, faults: &mut Faults) -> Option<Arc<str>> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let fine = begins && name.len() <= NAME_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !fine {
        let message = format!("`{name}` is no name of {what}: expected 1 to {NAME_MAX} of `A-Z a-z 0-9 _ -`, a letter first");
        faults.push(Fault::error("bad-name", place.clone(), message));
    }
    fine.then(|| Arc::from(name))
}

/// The entries of a mapping under a key; none where it is something else, which is reported by whoever reads it.
fn entries<'a>(fields: &Fields<'a>, key: &str) -> &'a [(crate::yaml::KeyNode, Node)] {
    fields.get(key).and_then(Node::as_map).unwrap_or_default()
}

fn scalar_text(node: &Node) -> String {
    node.as_text().map_or_else(|| node.to_json().to_string(), str::to_owned)
}

fn config(fields: &Fields<'_>, base: &Path, decoder: &mut Decoder<'_>) -> Option<Vec<ConfigField>> {
    let Some(node) = fields.get("config") else { return Some(Vec::new()) };
    let Some(entries) = node.as_map().filter(|entries| entries.len() <= FIELDS_MAX) else {
        decoder.error("wrong-type", &node.place, format!("`config` is {}; expected a mapping of at most {FIELDS_MAX} fields", node.kind()));
        return None;
    };
    let read: Vec<_> = entries
        .iter()
        .map(|(key, value)| {
            let name = plain_name(&key.name, "a field of `config`", &key.place, decoder.faults)?;
            config_field(name, &key.place, value, base, decoder)
        })
        .collect();
    read.into_iter().collect()
}

fn config_field(name: Arc<str>, place: &Place, node: &Node, base: &Path, decoder: &mut Decoder<'_>) -> Option<ConfigField> {
    if node.as_map().is_none() && !matches!(node.value, Yaml::List(_)) {
        if !node.exact(decoder.faults) {
            return None;
        }
        // `model: dall-e-3`: a field with a default and nothing else; `tenant:` alone: one that must be set.
        let value = (!matches!(node.value, Yaml::Null)).then(|| ConfigValue::Plain(node.to_json()));
        let kind = match node.value {
            Yaml::Bool(_) => FieldKind::Boolean,
            Yaml::Number(_) => FieldKind::Number,
            _ => FieldKind::String,
        };
        let required = value.is_none();
        let (choices, label, description) = (Vec::new(), None, None);
        return Some(ConfigField { name, kind, value, required, choices, secret: false, label, description, place: place.clone() });
    }
    let fields = Fields::read(node, &format!("`config.{name}`"), &shapes::CONFIG_FIELD, decoder.faults)?;
    let kind = operation_read::kind(&fields, decoder)?;
    let choices: Vec<Value> =
        fields.get("enum").and_then(Node::as_list).map(|items| items.iter().map(Node::to_json).collect()).unwrap_or_default();
    let secret = fields.boolean("secret", decoder.faults).unwrap_or(false);
    let value = match fields.get("default") {
        None => None,
        Some(default) => Some(config_value(default, &name, secret, base, decoder.faults)?),
    };
    let required = fields.boolean("required", decoder.faults).unwrap_or(value.is_none());
    let text = |key: &str, faults: &mut Faults| fields.text(key, faults).map(|(text, _)| text.to_owned());
    let label = text("label", decoder.faults);
    let description = text("description", decoder.faults);
    let field = ConfigField { name, kind, value, required, choices, secret, label, description, place: place.clone() };
    if let Some(ConfigValue::Plain(value)) = &field.value
        && let Err(message) = field.accepts(value)
    {
        decoder.error("bad-value", fields.get("default").map_or(place, |node| &node.place), message);
        return None;
    }
    Some(field)
}

/// What a field of `config` is set to, in the connector or in the configuration.
pub(super) fn config_value(node: &Node, name: &str, secret: bool, base: &Path, faults: &mut Faults) -> Option<ConfigValue> {
    let what = format!("`config.{name}`");
    if node.as_map().is_some() || (secret && node.as_text().is_some()) {
        return secret::decode(node, &what, base, faults).map(|secret| ConfigValue::Read(AuthValue::Secret(secret)));
    }
    if matches!(node.value, Yaml::List(_) | Yaml::Null) {
        let message = format!("{what} is {}; expected a single value, or `{{env: NAME}}`", node.kind());
        faults.push(Fault::error("wrong-type", node.place.clone(), message));
        return None;
    }
    node.exact(faults).then(|| ConfigValue::Plain(node.to_json()))
}

impl ConfigField {
    /// Whether a value is one that this field takes.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn accepts(&self, value: &Value) -> Result<(), String> {
        let name = &self.name;
        let fits = match self.kind {
            FieldKind::Integer => value.is_i64() || value.is_u64(),
            FieldKind::Number => value.is_number(),
            FieldKind::Boolean => value.is_boolean(),
            _ => value.is_string(),
        };
        if !fits {
            let quote = if self.kind == FieldKind::String { "; quote it" } else { "" };
            return Err(format!("`config.{name}` is {value}; expected {}{quote}", self.kind.word()));
        }
        if !self.choices.is_empty() && !self.choices.contains(value) {
            let known: Vec<String> = self.choices.iter().map(Value::to_string).collect();
            return Err(format!("`config.{name}` is {value}; expected one of {}", known.join(", ")));
        }
        Ok(())
    }
}

fn limits(fields: &Fields<'_>, faults: &mut Faults) -> Option<Limits> {
    let Some(node) = fields.get("limits") else { return Some(Limits::default()) };
    let fields = Fields::read(node, "`limits`", &shapes::LIMITS, faults)?;
    let concurrency = fields.integer("concurrency", CONCURRENCY, faults).and_then(|n| u32::try_from(n).ok());
    let rate = match fields.text("rate", faults) {
        None => None,
        Some((text, place)) => match Rate::parse(text) {
            Ok(rate) => Some(rate),
            Err(message) => {
                faults.push(Fault::error("rate", place.clone(), format!("`rate`: {message}")));
                return None;
            }
        },
    };
    Some(Limits { rate, concurrency })
}

fn operations(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<BTreeMap<Arc<str>, Arc<Operation>>> {
    let Some(node) = fields.get("operations") else { return Some(BTreeMap::new()) };
    let Some(entries) = node.as_map() else {
        decoder.error("wrong-type", &node.place, format!("`operations` is {}; expected a mapping", node.kind()));
        return None;
    };
    if entries.len() > OPERATIONS_MAX {
        let message = format!("{} operations; at most {OPERATIONS_MAX} are read of one connector", entries.len());
        decoder.error_help("too-many", &node.place, message, "make several connectors of it");
        return None;
    }
    let mut all = BTreeMap::new();
    let mut fine = true;
    for (key, value) in entries {
        let name = plain_name(&key.name, "an operation", &key.place, decoder.faults);
        match name.and_then(|name| operation_read::operation(name, &key.place, value, decoder)) {
            Some(operation) => drop(all.insert(Arc::clone(&operation.name), Arc::new(operation))),
            None => fine = false,
        }
    }
    fine.then_some(all)
}

fn triggers(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<BTreeMap<Arc<str>, Trigger>> {
    let Some(node) = fields.get("triggers") else { return Some(BTreeMap::new()) };
    let Some(entries) = node.as_map().filter(|entries| entries.len() <= FIELDS_MAX) else {
        decoder.error("wrong-type", &node.place, format!("`triggers` is {}; expected a mapping", node.kind()));
        return None;
    };
    let mut all = BTreeMap::new();
    let mut fine = true;
    for (key, value) in entries {
        let name = plain_name(&key.name, "a trigger", &key.place, decoder.faults);
        let read = name.and_then(|name| {
            let fields = Fields::read(value, &format!("trigger `{name}`"), &shapes::TRIGGER, decoder.faults)?;
            let description = fields.text("description", decoder.faults).map(|(text, _)| text.to_owned());
            let kind = match (fields.get("poll"), fields.get("webhook")) {
                (Some(poll), None) => poll_trigger(poll, decoder),
                (None, Some(webhook)) => webhook_trigger(webhook, &name, decoder.faults),
                _ => {
                    decoder.error("bad-value", fields.place, format!("trigger `{name}` needs exactly one of `poll` and `webhook`"));
                    None
                }
            };
            Some(Trigger { name, description, kind: kind?, place: key.place.clone() })
        });
        match read {
            Some(trigger) => drop(all.insert(Arc::clone(&trigger.name), trigger)),
            None => fine = false,
        }
    }
    fine.then_some(all)
}

fn poll_trigger(node: &Node, decoder: &mut Decoder<'_>) -> Option<TriggerKind> {
    let fields = Fields::read(node, "`poll`", &shapes::POLL, decoder.faults)?;
    let operation = fields.require("operation", "`poll`", decoder.faults).and_then(|_| fields.text("operation", decoder.faults));
    let with =
        decoder.seeing(super::decode::CURSOR, |decoder| fields.get("with").map_or(Some(Vec::new()), |node| decoder.trees(node, "with")));
    decoder.seeing(ROW, |decoder| {
        let cursor = fields.require("cursor", "`poll`", decoder.faults).and_then(|node| decoder.expression(node, "cursor"));
        let id = fields.require("id", "`poll`", decoder.faults).and_then(|node| decoder.expression(node, "id"));
        let version = optional(&fields, "version", decoder);
        let created = optional(&fields, "created", decoder);
        Some(TriggerKind::Poll {
            operation: operation?.0.into(),
            with: with?,
            cursor: cursor?,
            id: id?,
            version: version?,
            created: created?,
        })
    })
}

fn webhook_trigger(node: &Node, name: &str, faults: &mut Faults) -> Option<TriggerKind> {
    let what = format!("`webhook` of trigger `{name}`");
    let fields = Fields::read(node, &what, &shapes::WEBHOOK, faults)?;
    fields.require("scheme", &what, faults)?;
    let scheme = deliveries::scheme_name(&fields, &Scheme::OF_SERVICES, faults)?;
    deliveries::read_deliveries(scheme, &fields, &what, false, faults).map(TriggerKind::Webhook)
}

/// `Some(None)` where the key is not written, `None` where it is wrong.
pub(super) fn optional(fields: &Fields<'_>, key: &str, decoder: &mut Decoder<'_>) -> Option<Option<Expression>> {
    fields.get(key).map_or(Some(None), |node| decoder.expression(node, key).map(Some))
}
