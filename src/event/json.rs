//! An event as JSON: what `events show` prints and `explain` reads, field for field as documented.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Change, Event, EventId, Folded, Folder, Key, Origin, Problem, Verified, Via};
use crate::time::Timestamp;

/// The fields of an event in JSON, in the order printed.
pub const EVENT_FIELDS: &[&str] = &[
    "id",
    "key",
    "type",
    "source",
    "via",
    "time",
    "received",
    "observed",
    "orchestrator",
    "tenant",
    "folder",
    "folders",
    "subject",
    "data",
    "verified",
    "folded",
    "conflict",
    "late",
    "event_id",
    "origin",
    "problem",
    "raw",
    "generation",
];

/// Why a JSON value is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct EventJsonError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl Event {
    /// The event with the fields of the documentation; those that are unknown are left out, `time` is null then.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| {
            map.insert(name.to_owned(), value);
        };
        put("id", json!(self.id));
        put("key", json!(self.change.key.to_string()));
        put("type", json!(self.change.event_type));
        put("source", json!(self.source));
        put("via", json!(self.via));
        put("time", json!(self.change.time));
        put("received", json!(self.received));
        if let Some(observed) = self.change.observed {
            put("observed", json!(observed));
        }
        if let Some(orchestrator) = &self.orchestrator {
            put("orchestrator", json!(orchestrator));
        }
        if let Some(tenant) = &self.change.tenant {
            put("tenant", json!(tenant));
        }
        if let Some(folder) = &self.change.folder {
            put("folder", json!(folder));
            let others = self.folded.from.iter().filter_map(|f| f.folder).filter(|id| Some(*id) != folder.id);
            let mut folders = vec![folder.clone()];
            folders.extend(others.map(|id| Folder { id: Some(id), ..Folder::default() }));
            put("folders", json!(folders));
        }
        if let Some(subject) = &self.change.subject {
            put("subject", json!(subject));
        }
        put("data", Value::clone(&self.change.data));
        put(
            "verified",
            match &self.verified {
                Verified::No => json!(false),
                Verified::Yes => json!(true),
                Verified::Secret(name) => json!(name),
            },
        );
        put("folded", json!(self.folded));
        if self.conflict {
            put("conflict", json!(true));
        }
        if self.late {
            put("late", json!(true));
        }
        if let Some(id) = &self.change.service_id {
            put("event_id", json!(id));
        }
        if let Some(origin) = &self.change.origin {
            put("origin", json!(origin));
        }
        if let Some(problem) = &self.change.problem {
            put("problem", json!(problem));
        }
        if let Some(raw) = &self.raw {
            put("raw", json!(STANDARD.encode(raw)));
        }
        Value::Object(map)
    }

    /// Reads what [`Event::to_json`] prints. Only `type` and `data` are needed: what is missing gets a stand-in, so
    /// that people can write an event by hand for `explain` and for tests.
    ///
    /// # Errors
    /// A field of the wrong type.
    pub fn from_json(value: &Value) -> Result<Self, EventJsonError> {
        let fail = |field: &'static str, message: &str| EventJsonError { field, message: message.to_owned() };
        let text = |field: &'static str| match value.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Arc::<str>::from(text.as_str()))),
            Some(_) => Err(EventJsonError { field, message: "expected a string".to_owned() }),
        };
        let stamp = |field: &'static str| match text(field)? {
            None => Ok(None),
            Some(text) => Timestamp::parse_lenient(&text)
                .map(Some)
                .ok_or_else(|| EventJsonError { field, message: format!("`{text}` is no timestamp") }),
        };
        fn typed<T: serde::de::DeserializeOwned>(value: &Value, field: &'static str) -> Result<Option<T>, EventJsonError> {
            match value.get(field) {
                None | Some(Value::Null) => Ok(None),
                Some(found) => {
                    serde_json::from_value(found.clone()).map(Some).map_err(|e| EventJsonError { field, message: e.to_string() })
                }
            }
        }
        if !value.is_object() {
            return Err(fail("event", "expected an object"));
        }
        let event_type = text("type")?.ok_or_else(|| fail("type", "is missing"))?;
        let key = match text("key")? {
            // A stamp is printed behind the last `@`, and only a sane instant is one.
            Some(key) => match key.rsplit_once('@').and_then(|(t, s)| Some((t, s.parse::<jiff::Timestamp>().ok()?))) {
                Some((text, stamp)) => Key::stamped(text, Some(Timestamp::from_jiff(stamp))),
                None => Key::exact(key),
            },
            None => Key::exact(format!("test|{event_type}")),
        };
        let raw = match text("raw")? {
            Some(raw) => Some(STANDARD.decode(raw.as_bytes()).map_err(|e| fail("raw", &e.to_string()))?.into()),
            None => None,
        };
        Ok(Self {
            id: typed(value, "id")?.unwrap_or(EventId(0)),
            source: text("source")?.unwrap_or_else(|| Arc::from("test")),
            via: typed::<Via>(value, "via")?.unwrap_or(Via::Webhook),
            received: stamp("received")?.unwrap_or(Timestamp::EPOCH),
            orchestrator: text("orchestrator")?,
            verified: match value.get("verified") {
                None | Some(Value::Null | Value::Bool(true)) => Verified::Yes,
                Some(Value::Bool(false)) => Verified::No,
                Some(Value::String(name)) => Verified::Secret(Arc::from(name.as_str())),
                Some(_) => return Err(fail("verified", "expected true, false or a secret's name")),
            },
            conflict: typed(value, "conflict")?.unwrap_or(false),
            late: typed(value, "late")?.unwrap_or(false),
            folded: typed::<Folded>(value, "folded")?.unwrap_or_default(),
            raw,
            change: Change {
                key,
                event_type,
                time: stamp("time")?,
                observed: stamp("observed")?,
                tenant: text("tenant")?,
                folder: typed::<Folder>(value, "folder")?,
                subject: text("subject")?,
                service_id: text("event_id")?,
                element: 0,
                data: Arc::new(value.get("data").cloned().unwrap_or(Value::Null)),
                problem: typed::<Problem>(value, "problem")?,
                origin: typed::<Origin>(value, "origin")?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_prints_and_is_read_again() {
        let event = Event::from_json(&json!({
            "id": "01JD8Z3V6Q4K3W5T9M2N7P8R1S", "key": "t|q|1|x@2026-01-01T00:00:00.66Z", "type": "queueItem.added",
            "source": "prod-hook", "via": "webhook", "time": "2026-01-01T00:00:00Z", "received": "2026-01-01T00:00:01Z",
            "folder": {"id": 7}, "data": {"Queue": {"Name": "Invoices"}}, "verified": "secret 1", "event_id": "42",
        }))
        .expect("an event");
        assert_eq!(event.change.key.stamp, Timestamp::parse_lenient("2026-01-01T00:00:00.66Z"));
        assert_eq!(Event::from_json(&event.to_json()), Ok(event));
        assert!(Event::from_json(&json!({"data": {}})).is_err());
        assert!(Event::from_json(&json!({"type": "x", "time": "soon"})).is_err());
    }
}
