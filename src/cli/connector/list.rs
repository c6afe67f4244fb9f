//! `tripline connector list` and `show`: what connectors offer.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::output::{DIM, Out, STRONG, Stop, clean, count, paint};
use crate::cli::{YES, setup};
use crate::config::RealWorld;
use crate::connectors::{ConfigField, ConfigValue, Connector, Connectors, InputField, MASK, Operation, TriggerKind};
use crate::fault::nearest;

/// The connectors of the configuration without an error, or the command ends.
pub(in crate::cli) fn connectors(config: Option<&Path>) -> Result<Connectors, Stop> {
    let (connectors, faults) = setup::config(config)?.connectors(&RealWorld);
    if faults.any_error() { Err(setup::refused(&faults)) } else { Ok(connectors) }
}

/// A connector by its name, or the nearest name.
pub(in crate::cli) fn named<'c>(connectors: &'c Connectors, name: &str) -> Result<&'c Connector, Stop> {
    connectors.get(name).map(|connector| &**connector).ok_or_else(|| {
        let near = nearest(name, connectors.iter().map(|connector| &*connector.name));
        let help = match near {
            Some(near) => format!("; did you mean `{near}`?"),
            None if connectors.is_empty() => "; the configuration has no `connectors`".to_owned(),
            None => "; `tripline connector list` lists them".to_owned(),
        };
        Stop::no(format!("there is no connector `{}`{help}", clean(name)))
    })
}

pub(in crate::cli) fn list(config: Option<&Path>, as_json: bool, out: &mut Out) -> Result<u8, Stop> {
    let connectors = connectors(config)?;
    for connector in connectors.iter() {
        if as_json {
            out.json(&summary(connector))?;
            continue;
        }
        let title = connector.title.as_deref().map(|title| format!("  {}", clean(title))).unwrap_or_default();
        let parts = [(connector.operations.len(), "operation"), (connector.triggers.len(), "trigger"), (connector.tests.len(), "test")];
        let about = parts.map(|(number, noun)| count(number, noun)).join(", ");
        out.line(&format!("{}{title}  {}", paint(STRONG, &connector.name), paint(DIM, &about)))?;
    }
    if connectors.is_empty() && !as_json {
        out.line("there are no connectors: name their folder with `connectors:` in the configuration")?;
    }
    Ok(YES)
}

pub(in crate::cli) fn show(config: Option<&Path>, name: &str, operation: Option<&str>, as_json: bool, out: &mut Out) -> Result<u8, Stop> {
    let connectors = connectors(config)?;
    let connector = named(&connectors, name)?;
    if let Some(operation) = operation {
        let found = connector.operations.get(operation).ok_or_else(|| {
            let near = nearest(operation, connector.operations.keys().map(|name| &**name));
            let help = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            Stop::no(format!("connector `{name}` has no operation `{}`{help}", clean(operation)))
        })?;
        if as_json {
            out.json(&operation_json(found))?;
        } else {
            tell(found, out)?;
        }
        return Ok(YES);
    }
    if as_json {
        out.json(&whole(connector))?;
        return Ok(YES);
    }
    out.line(&paint(STRONG, &clean(connector.title.as_deref().unwrap_or(&connector.name))))?;
    if let Some(description) = &connector.description {
        out.line(&format!("  {}", clean(description.trim())))?;
    }
    let version = connector.api_version.as_ref().map(|version| ("api_version", version.clone()));
    let docs = connector.vendor_docs.as_ref().map(|docs| ("vendor_docs", docs.clone()));
    let base = ("base_url", connector.base_url.text().to_owned());
    for (key, value) in [Some(base), version, docs, Some(("auth", connector.auth.word().to_owned()))].into_iter().flatten() {
        out.line(&format!("  {key}: {}", clean(&value)))?;
    }
    for field in &connector.config {
        out.line(&format!("  config.{}: {}", field.name, clean(&set_to(field))))?;
    }
    for operation in connector.operations.values() {
        tell(operation, out)?;
    }
    for trigger in connector.triggers.values() {
        let kind = match &trigger.kind {
            TriggerKind::Poll { operation, .. } => format!("polls `{operation}`"),
            TriggerKind::Webhook(deliveries) => format!("webhook, {}", deliveries.scheme.name()),
        };
        out.line(&format!("{} {}", paint(STRONG, &format!("trigger {}", trigger.name)), paint(DIM, &clean(&kind))))?;
    }
    Ok(YES)
}

fn tell(operation: &Operation, out: &mut Out) -> Result<(), Stop> {
    let request = format!("{} {}", operation.method, operation.path.text());
    out.line(&format!("{}  {}", paint(STRONG, &operation.name), paint(DIM, &clean(&request))))?;
    if let Some(about) = operation.description.as_deref().or(operation.title.as_deref()) {
        out.line(&format!("  {}", clean(about.trim())))?;
    }
    for field in &operation.input {
        let needed = if field.required { ", required" } else { "" };
        let about =
            field.description.as_deref().or(field.label.as_deref()).map(|text| format!("  {}", clean(text.trim()))).unwrap_or_default();
        out.line(&format!("  {} {}{about}", field.name, paint(DIM, &format!("({}{needed})", field.kind.word()))))?;
    }
    Ok(())
}

fn set_to(field: &ConfigField) -> String {
    match &field.value {
        None if field.required => "not set".to_owned(),
        None => "-".to_owned(),
        Some(ConfigValue::Plain(_)) if field.secret => MASK.to_owned(),
        Some(ConfigValue::Plain(value)) => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        Some(ConfigValue::Read(_)) => MASK.to_owned(),
    }
}

fn summary(connector: &Connector) -> Value {
    json!({
        "connector": connector.name, "title": connector.title, "base_url": connector.base_url.text(), "auth": connector.auth.word(),
        "operations": connector.operations.len(), "triggers": connector.triggers.len(), "tests": connector.tests.len(),
        "file": connector.place.source.path.display().to_string(),
    })
}

fn whole(connector: &Connector) -> Value {
    let config: Vec<Value> = connector
        .config
        .iter()
        .map(|field| {
            json!({"name": field.name, "type": field.kind.word(), "required": field.required, "value": field.value.as_ref().map(|_| set_to(field)),
                   "label": field.label, "description": field.description})
        })
        .collect();
    let operations: Vec<Value> = connector.operations.values().map(|operation| operation_json(operation)).collect();
    let triggers: Vec<&str> = connector.triggers.keys().map(|name| &**name).collect();
    let mut whole = summary(connector);
    whole["description"] = json!(connector.description);
    whole["vendor_docs"] = json!(connector.vendor_docs);
    whole["api_version"] = json!(connector.api_version);
    whole["config"] = json!(config);
    whole["operations"] = json!(operations);
    whole["triggers"] = json!(triggers);
    whole
}

fn operation_json(operation: &Operation) -> Value {
    let input = |field: &InputField| {
        json!({"name": field.name, "type": field.kind.word(), "required": field.required, "enum": field.choices, "label": field.label,
               "description": field.description, "primary": field.primary})
    };
    json!({
        "operation": operation.name, "title": operation.title, "description": operation.description, "method": operation.method,
        "path": operation.path.text(), "idempotent": operation.idempotent, "input": operation.input.iter().map(input).collect::<Vec<_>>(),
    })
}
