//! An event as a CloudEvent 1.0 in JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Event, Verified};

/// The version of CloudEvents that is written.
const SPECVERSION: &str = "1.0";

impl Event {
    /// The event as a CloudEvent: `id` is ours, `source` is `tripline:<source>`, `time` is left out where it is unknown. What
    /// CloudEvents have no word for are extensions that begin with `tripline`. The bytes of a body that could not be read
    /// are in `data_base64`.
    #[must_use]
    pub fn to_cloudevent(&self) -> Value {
        let change = &self.change;
        let source: String = url::form_urlencoded::byte_serialize(self.source.as_bytes()).collect();
        let verified = match &self.verified {
            Verified::No => "false",
            Verified::Yes => "true",
            Verified::Secret(name) => name,
        };
        let all = [
            ("specversion", Some(json!(SPECVERSION))),
            ("id", Some(json!(self.id))),
            ("source", Some(json!(format!("tripline:{source}")))),
            ("type", Some(json!(change.event_type))),
            ("subject", change.subject.as_ref().map(|subject| json!(subject))),
            ("time", change.time.map(|time| json!(time))),
            ("triplinekey", Some(json!(change.key.to_string()))),
            ("triplinevia", Some(json!(self.via))),
            ("triplinereceived", Some(json!(self.received))),
            ("triplineverified", Some(json!(verified))),
            ("triplineorchestrator", self.orchestrator.as_ref().map(|name| json!(name))),
            ("triplineeventid", change.service_id.as_ref().map(|id| json!(id))),
            // Integers of CloudEvents have 32 bits.
            ("triplinefolded", Some(json!(i32::try_from(self.folded.count).unwrap_or(i32::MAX)))),
        ];
        let mut event: Map<String, Value> = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        match &self.raw {
            Some(raw) => event.insert("data_base64".to_owned(), json!(STANDARD.encode(raw))),
            None => {
                event.insert("datacontenttype".to_owned(), json!("application/json"));
                event.insert("data".to_owned(), Value::clone(&change.data))
            }
        };
        Value::Object(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_cloud_event() {
        let event = Event::from_json(&json!({
            "id": "01JD8Z3V6Q4K3W5T9M2N7P8R1S", "key": "t|q|1|x", "type": "queueItem.added", "source": "prod-hook", "via": "webhook",
            "time": "2026-01-01T00:00:00Z", "received": "2026-01-01T00:00:01Z", "subject": "queues/A/items/1", "orchestrator": "prod",
            "data": {"Queue": {"Name": "A"}}, "verified": "env:S", "event_id": "42", "folded": {"count": 2},
        }))
        .expect("an event");
        let cloud = event.to_cloudevent();
        assert_eq!(
            cloud,
            json!({
                "specversion": "1.0", "id": "01JD8Z3V6Q4K3W5T9M2N7P8R1S", "source": "tripline:prod-hook", "type": "queueItem.added",
                "subject": "queues/A/items/1", "time": "2026-01-01T00:00:00Z", "triplinekey": "t|q|1|x", "triplinevia": "webhook",
                "triplinereceived": "2026-01-01T00:00:01Z", "triplineverified": "env:S", "triplineorchestrator": "prod",
                "triplineeventid": "42", "triplinefolded": 2, "datacontenttype": "application/json", "data": {"Queue": {"Name": "A"}},
            })
        );
        let names = cloud.as_object().expect("an object").keys();
        assert!(names.filter(|name| *name != "data_base64").all(|name| name.len() <= 20 && name.bytes().all(|b| b.is_ascii_lowercase())));
    }

    #[test]
    fn bytes_that_could_not_be_read_are_in_base64() {
        let event =
            Event::from_json(&json!({"type": "tripline.unparsed", "raw": "aGVsbG8=", "source": "a b", "data": null})).expect("an event");
        let cloud = event.to_cloudevent();
        assert_eq!((cloud["data_base64"].as_str(), cloud.get("data"), cloud.get("time")), (Some("aGVsbG8="), None, None));
        assert_eq!(cloud["source"], "tripline:a+b");
    }
}
