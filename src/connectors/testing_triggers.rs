//! Tests of triggers inside connector files: what the service lists or sends, and the events that come of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Access;
use super::model::{Connector, Delivered, Test, Tested, Trigger, TriggerKind};
use super::outcome::Meaning;
use super::rows::{ReadRow, RowCursor, changes};
use super::testing::{caller, request_differs};
use crate::event::Change;
use crate::expr::At;
use crate::fault::{Fault, Faults};
use crate::headers::HeaderList;
use crate::normalize::services;
use crate::time::Timestamp;
use crate::yaml::differences;

/// The source of the events of a test; it does not show.
const SOURCE: &str = "test";

impl Connector {
    /// How the request of a polling trigger, and the events of what it answers, differ from what is expected.
    pub(super) fn poll_differs(&self, test: &Test, name: &str, known: &Value, now: Timestamp) -> Result<Vec<String>, String> {
        let (trigger, operation) = self.polled(name)?;
        let operation = self.operations.get(operation).ok_or_else(|| format!("there is no operation `{operation}`"))?;
        let config = self.tested_config(test);
        let access = Access::new(self.name.clone(), config.clone(), BTreeMap::new(), Vec::new());
        let mut cursor = RowCursor::at(known.clone());
        cursor.begin(Duration::ZERO, now);
        let with = self.trigger_input(trigger, &cursor, &config, now)?;
        let input = operation.input(&with, &config, &At::root("with")).map_err(|fault| fault.to_string())?;
        let request = self.request(operation, &input, &config, &caller(now)).map_err(|fault| fault.to_string())?;
        let mut expected = test.expect.as_object().cloned().unwrap_or_default();
        let wanted = expected.remove("events");
        let mut lines = request_differs(expected, &request);
        if let Some(response) = &test.response {
            let rows = match self.outcome(operation, &input, &access, &response.as_call(), now) {
                Meaning::Value(value) => self.rows_of(trigger, value, &config, now)?,
                Meaning::Retry(why) | Meaning::Dead(why) => return Err(format!("the answer is an error: {why}")),
                Meaning::Refused(why) => return Err(format!("the answer is an error: {}", why.unwrap_or_default())),
            };
            let since = cursor.since();
            let told = changes(SOURCE, &rows, &since, &mut cursor, Duration::ZERO, now)?;
            let told: Vec<Value> = told.iter().map(|change| shown(change, &change.data)).collect();
            lines.extend(wanted.into_iter().flat_map(|wanted| differences(&json!({ "events": wanted }), &json!({ "events": told }))));
        }
        Ok(lines)
    }

    /// How the events of a delivery differ from what is expected.
    pub(super) fn delivery_differs(&self, test: &Test, name: &str, delivered: &Delivered, now: Timestamp) -> Result<Vec<String>, String> {
        let Some(TriggerKind::Webhook(deliveries)) = self.triggers.get(name).map(|trigger| &trigger.kind) else {
            return Err(format!("there is no webhook `{name}`"));
        };
        let headers = HeaderList(delivered.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect());
        let body = delivered.body.as_str().map_or_else(|| delivered.body.to_string(), str::to_owned);
        let reading = services::read(body.as_bytes(), &deliveries.view(SOURCE.into()), &headers, now);
        let told: Vec<Value> = reading.changes.into_iter().map(|(change, data)| shown(&change, &data.into_value())).collect();
        Ok(differences(&test.expect, &json!({ "events": told })))
    }

    fn polled(&self, name: &str) -> Result<(&Trigger, &str), String> {
        let trigger = self.triggers.get(name).ok_or_else(|| format!("there is no trigger `{name}`"))?;
        match &trigger.kind {
            TriggerKind::Poll { operation, .. } => Ok((trigger, operation)),
            TriggerKind::Webhook(_) => Err(format!("trigger `{name}` is delivered, not polled")),
        }
    }

    fn rows_of(&self, trigger: &Trigger, value: Value, config: &Value, now: Timestamp) -> Result<Vec<ReadRow>, String> {
        match value {
            Value::Array(rows) => self.read_rows(trigger, rows, config, now),
            Value::Null => Ok(Vec::new()),
            _ => Err("the operation does not give a list of rows, which a trigger needs".to_owned()),
        }
    }

    /// Says which answers of the file's own tests have rows that a polling trigger could not read: they would stop it.
    pub(super) fn check_samples(&self, faults: &mut Faults) {
        // What rows say of themselves does not depend on it.
        let now = Timestamp::from_millis(0);
        for trigger in self.triggers.values() {
            let TriggerKind::Poll { operation: name, .. } = &trigger.kind else { continue };
            let Some(operation) = self.operations.get(name) else { continue };
            for test in &self.tests {
                let (Some(response), Tested::Call(call, with)) = (&test.response, &test.what) else { continue };
                if call != name {
                    continue;
                }
                let config = self.tested_config(test);
                let access = Access::new(self.name.clone(), config.clone(), BTreeMap::new(), Vec::new());
                let said: Map<_, _> = with.as_object().cloned().unwrap_or_default();
                let Ok(input) = operation.input(&said, &config, &At::root("with")) else { continue };
                let Meaning::Value(value) = self.outcome(operation, &input, &access, &response.as_call(), now) else { continue };
                if let Err(why) = self.rows_of(trigger, value, &config, now) {
                    let message = format!("trigger `{}` could not read what test `{}` answers: {why}", trigger.name, test.name);
                    let fault = Fault::error("trigger-sample", trigger.place.clone(), message);
                    faults.push(fault.help("mend `cursor`, `id` or `version` of the trigger, the operation's `output`, or the test"));
                }
            }
        }
    }
}

/// An event as tests see it: without its source.
fn shown(change: &Change, data: &Value) -> Value {
    let event_type = change.event_type.strip_prefix(SOURCE).and_then(|rest| rest.strip_prefix('.')).unwrap_or(&change.event_type);
    json!({"type": event_type, "id": change.service_id, "time": change.time, "data": data})
}
