//! What happened, for tests to ask about: requests, deliveries, sinks. Bounded: the oldest goes first.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

use crate::sandbox::call::Call;
use crate::sandbox::delivery::Delivery;
use crate::sandbox::limits::{DELIVERIES_KEPT, REQUESTS_KEPT, SINK_BODY_MAX, SINK_KEPT, SINKS_MAX};
use crate::time::Timestamp;

/// Everything that is remembered.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Records {
    pub(in crate::sandbox) requests: VecDeque<RequestRecord>,
    pub(in crate::sandbox) requests_total: u64,
    pub(in crate::sandbox) deliveries: VecDeque<DeliveryRecord>,
    pub(in crate::sandbox) deliveries_total: u64,
    pub(in crate::sandbox) sinks: BTreeMap<String, VecDeque<SinkRecord>>,
}

/// A request and its answer.
#[derive(Clone, Debug, Serialize)]
pub(in crate::sandbox) struct RequestRecord {
    pub(in crate::sandbox) at: Timestamp,
    pub(in crate::sandbox) method: String,
    pub(in crate::sandbox) path: String,
    pub(in crate::sandbox) query: String,
    /// The folder header's value, whichever of them came.
    pub(in crate::sandbox) folder: Option<String>,
    /// `null` where no answer was given.
    pub(in crate::sandbox) status: Option<u16>,
    pub(in crate::sandbox) fault: Option<String>,
}

/// A delivery and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::sandbox) struct DeliveryRecord {
    pub(in crate::sandbox) at: Timestamp,
    pub(in crate::sandbox) webhook: i64,
    pub(in crate::sandbox) event_id: String,
    #[serde(rename = "type")]
    pub(in crate::sandbox) kind: String,
    pub(in crate::sandbox) folder: Option<i64>,
    pub(in crate::sandbox) status: Option<u16>,
    /// Why it has no status.
    pub(in crate::sandbox) why: Option<String>,
    /// The beginning of the answer: JSON where it is JSON, else text.
    pub(in crate::sandbox) answer: Value,
    pub(in crate::sandbox) took_ms: u64,
}

impl DeliveryRecord {
    fn new(delivery: &Delivery, at: Timestamp) -> Self {
        Self {
            at,
            webhook: delivery.webhook,
            event_id: delivery.event_id.clone(),
            kind: delivery.kind.clone(),
            folder: delivery.folder,
            status: None,
            why: None,
            answer: Value::Null,
            took_ms: 0,
        }
    }

    /// One that was not sent.
    pub(in crate::sandbox) fn unsent(delivery: &Delivery, why: &str, now: Timestamp) -> Self {
        Self { why: Some(why.to_owned()), ..Self::new(delivery, now) }
    }

    /// One that was answered.
    pub(in crate::sandbox) fn answered(delivery: &Delivery, status: u16, text: String, started: Timestamp, now: Timestamp) -> Self {
        let answer = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status: Some(status), answer, took_ms: millis(started, now), ..Self::new(delivery, started) }
    }

    /// One that was sent and not answered.
    pub(in crate::sandbox) fn failed(delivery: &Delivery, why: &str, started: Timestamp, now: Timestamp) -> Self {
        Self { why: Some(why.to_owned()), took_ms: millis(started, now), ..Self::new(delivery, started) }
    }
}

fn millis(started: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.since(started).as_millis()).unwrap_or(u64::MAX)
}

/// A request that came to a sink.
#[derive(Clone, Debug, Serialize)]
pub(in crate::sandbox) struct SinkRecord {
    pub(in crate::sandbox) at: Timestamp,
    pub(in crate::sandbox) method: String,
    pub(in crate::sandbox) path: String,
    pub(in crate::sandbox) query: String,
    /// Names in lower case; the value of `authorization` is not kept.
    pub(in crate::sandbox) headers: BTreeMap<String, String>,
    /// JSON where it is JSON, else text.
    pub(in crate::sandbox) body: Value,
    pub(in crate::sandbox) status: Option<u16>,
}

impl SinkRecord {
    /// What `call` brought; `status` is what it is answered.
    pub(in crate::sandbox) fn new(call: &Call, status: Option<u16>, at: Timestamp) -> Self {
        let headers = call
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), if name == "authorization" { "(not kept)".to_owned() } else { value.clone() }))
            .collect();
        let kept = &call.body[..call.body.len().min(SINK_BODY_MAX)];
        let body = serde_json::from_slice(kept).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(kept).into_owned()));
        Self { at, method: call.method.clone(), path: call.path.clone(), query: call.query.clone(), headers, body, status }
    }
}

impl Records {
    /// Remembers a request.
    pub(in crate::sandbox) fn request(&mut self, record: RequestRecord) {
        self.requests_total += 1;
        push(&mut self.requests, record, REQUESTS_KEPT);
    }

    /// Remembers a delivery.
    pub(in crate::sandbox) fn delivery(&mut self, record: DeliveryRecord) {
        self.deliveries_total += 1;
        push(&mut self.deliveries, record, DELIVERIES_KEPT);
    }

    /// Remembers what a sink got. False when there are too many sinks.
    pub(in crate::sandbox) fn sink(&mut self, name: &str, record: SinkRecord) -> bool {
        if !self.sinks.contains_key(name) && self.sinks.len() >= SINKS_MAX {
            return false;
        }
        push(self.sinks.entry(name.to_owned()).or_default(), record, SINK_KEPT);
        true
    }
}

fn push<T>(list: &mut VecDeque<T>, record: T, max: usize) {
    if list.len() >= max {
        list.pop_front();
    }
    list.push_back(record);
}
