//! Webhook events: the documented envelopes and who gets them. A queue that is shared to several folders makes one event
//! per folder, each with an EventId of its own.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::sandbox::delivery::Delivery;
use crate::sandbox::dto;
use crate::sandbox::faults::WebhookFault;
use crate::sandbox::limits::OUTBOX_MAX;
use crate::sandbox::world::World;
use crate::time::Timestamp;

/// What webhooks may ask for: names and groups, as GetEventTypes has them.
pub(in crate::sandbox) const EVENT_TYPES: &[(&str, &str)] = &[
    ("job.created", "Jobs"),
    ("job.started", "Jobs"),
    ("job.completed", "Jobs"),
    ("job.faulted", "Jobs"),
    ("job.stopped", "Jobs"),
    ("job.suspended", "Jobs"),
    ("job.resumed", "Jobs"),
    ("robot.created", "Robots"),
    ("robot.updated", "Robots"),
    ("robot.deleted", "Robots"),
    ("robot.status", "Robots"),
    ("queue.created", "Queues"),
    ("queue.updated", "Queues"),
    ("queue.deleted", "Queues"),
    ("queueItem.added", "QueueItems"),
    ("queueItem.updated", "QueueItems"),
    ("queueItem.deleted", "QueueItems"),
    ("queueItem.deferred", "QueueItems"),
    ("queueItem.reviewStatusChanged", "QueueItems"),
    ("queueItem.transactionStarted", "QueueItems"),
    ("queueItem.transactionCompleted", "QueueItems"),
    ("queueItem.transactionFailed", "QueueItems"),
    ("queueItem.transactionAbandoned", "QueueItems"),
    ("queueItem.retried", "QueueItems"),
    ("process.created", "Processes"),
    ("process.updated", "Processes"),
    ("process.deleted", "Processes"),
    ("schedule.failed", "Schedules"),
    ("task.created", "Tasks"),
    ("task.completed", "Tasks"),
    ("task.assignmentChanged", "Tasks"),
    ("task.saved", "Tasks"),
    ("task.deleted", "Tasks"),
    ("task.forwarded", "Tasks"),
    ("custom", "Custom"),
];

impl World {
    /// An event whose body carries `QueueItems[]`; all items are of one queue.
    pub(in crate::sandbox) fn emit_items(&mut self, kind: &str, ids: &[i64], now: Timestamp) {
        let Some((queue, folders)) = self.queue_of(ids.first()) else { return };
        let items: Vec<Value> = ids.iter().filter_map(|id| self.items.get(id)).map(dto::item_event).collect();
        for folder in folders {
            self.emit(kind, json!({"Queue": queue, "QueueItems": items}), Some(folder), now);
        }
    }

    /// An event whose body carries one `QueueItem`.
    pub(in crate::sandbox) fn emit_item(&mut self, kind: &str, id: i64, now: Timestamp) {
        let Some((queue, folders)) = self.queue_of(Some(&id)) else { return };
        let Some(item) = self.items.get(&id).map(dto::item_event) else { return };
        for folder in folders {
            self.emit(kind, json!({"QueueItem": item, "Queue": queue}), Some(folder), now);
        }
    }

    fn queue_of(&self, id: Option<&i64>) -> Option<(Value, Vec<i64>)> {
        if !self.anybody_listens() {
            return None;
        }
        let queue = self.queues.get(&self.items.get(id?)?.queue)?;
        Some((dto::queue_event(queue), queue.folders.clone()))
    }

    fn anybody_listens(&self) -> bool {
        self.webhooks.values().any(|w| w.enabled)
    }

    /// An event with `fields` between the envelope's head and tail, to everyone who asked for its type.
    pub(in crate::sandbox) fn emit(&mut self, kind: &str, fields: Value, folder: Option<i64>, now: Timestamp) {
        let listening: Vec<i64> = self.webhooks.values().filter(|w| w.wants(kind)).map(|w| w.id).collect();
        if listening.is_empty() {
            return;
        }
        let body = self.envelope(kind, fields, folder, now);
        for webhook in listening {
            self.send(webhook, kind, &body, folder);
        }
    }

    /// The body of an event.
    pub(in crate::sandbox) fn envelope(&mut self, kind: &str, fields: Value, folder: Option<i64>, now: Timestamp) -> Value {
        let mut body = Map::new();
        body.insert("Type".to_owned(), kind.into());
        body.insert("EventId".to_owned(), self.event_id().into());
        body.insert("Timestamp".to_owned(), dto::exact(now).into());
        if let Value::Object(fields) = fields {
            body.extend(fields);
        }
        body.insert("EventTime".to_owned(), dto::exact(now).into());
        body.insert("TenantId".to_owned(), self.options.tenant_id.into());
        if let Some(folder) = folder.and_then(|id| self.folders.get(&id)) {
            body.insert("OrganizationUnitId".to_owned(), folder.id.into());
            body.insert("OrganizationUnitKey".to_owned(), json!(folder.key));
        }
        body.insert("UserId".to_owned(), 1.into());
        Value::Object(body)
    }

    /// Hands a body to a webhook's deliveries, with whatever the faults do to it on the way.
    pub(in crate::sandbox) fn send(&mut self, webhook: i64, kind: &str, body: &Value, folder: Option<i64>) {
        let mut body = body.clone();
        let mut delivery = Delivery {
            webhook,
            event_id: body.get("EventId").and_then(Value::as_str).unwrap_or_default().to_owned(),
            kind: kind.to_owned(),
            folder,
            body: Bytes::new(),
            late: std::time::Duration::ZERO,
            forged: false,
            lost: self.happens(self.options.webhook_loss),
        };
        let mut copies = 1;
        let mut hold = None;
        let chance = (self.random() >> 11) as f64 / (1_u64 << 53) as f64;
        for fault in self.faults.on_delivery(kind, chance) {
            match fault {
                WebhookFault::Loss => delivery.lost = true,
                WebhookFault::Copies(more) => copies += more,
                WebhookFault::Hold(window) => hold = Some(window),
                WebhookFault::Late(delay) => delivery.late = delay,
                WebhookFault::BadSignature => delivery.forged = true,
                WebhookFault::BadTimestamp => body["Timestamp"] = "0001-01-01T00:00:00".into(),
            }
        }
        delivery.body = serde_json::to_vec(&body).unwrap_or_default().into();
        if let Some(window) = hold {
            self.held.push(delivery);
            if self.held.len() >= window {
                let held = std::mem::take(&mut self.held);
                held.into_iter().rev().for_each(|delivery| self.queue_delivery(delivery));
            }
            return;
        }
        for _ in 0..copies {
            self.queue_delivery(delivery.clone());
        }
    }

    fn queue_delivery(&mut self, delivery: Delivery) {
        if self.outbox.len() >= OUTBOX_MAX {
            if let Some(webhook) = self.webhooks.get_mut(&delivery.webhook) {
                webhook.counts.lost += 1;
            }
            return;
        }
        self.outbox.push_back(delivery);
    }
}
