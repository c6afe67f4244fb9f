//! `/sandbox/…`: what tests and the demo ask of the sandbox itself. No token is needed: there is nothing to protect.

use serde_json::{Value, json};

use crate::sandbox::auth::PAT;
use crate::sandbox::call::{Answer, Call, Refusal};
use crate::sandbox::events::EVENT_TYPES;
use crate::sandbox::limits::ITEMS_MAX;
use crate::sandbox::model::{Action, Item, Status};
use crate::sandbox::records::SinkRecord;
use crate::sandbox::world::World;
use crate::time::Timestamp;

/// Rows that a listing of records gives at most, unless `limit` says less.
const LIMIT_MAX: usize = 100_000;

impl World {
    /// Answers a request for `/sandbox/…`.
    pub(in crate::sandbox) fn control(&mut self, call: &Call, now: Timestamp) -> Answer {
        let path = call.path.strip_prefix("/sandbox").unwrap_or_default().trim_matches('/').to_owned();
        let parts: Vec<&str> = path.split('/').collect();
        let done = match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["state"]) => Ok(Answer::json(200, &self.state(now))),
            ("GET", ["requests"]) => Ok(self.requests(call)),
            ("DELETE", ["requests"]) => {
                self.records.requests.clear();
                Ok(Answer::empty(204))
            }
            ("GET", ["deliveries"]) => Ok(self.deliveries(call)),
            ("GET", ["sinks"]) => Ok(Answer::json(200, &json!({"items": self.records.sinks.keys().collect::<Vec<_>>()}))),
            ("GET", ["sinks", name]) => {
                let rows: Vec<&SinkRecord> = self.records.sinks.get(*name).into_iter().flatten().collect();
                Ok(Answer::json(200, &json!({"items": rows, "total": rows.len()})))
            }
            ("DELETE", ["sinks", name]) => {
                self.records.sinks.remove(*name);
                Ok(Answer::empty(204))
            }
            (_, ["sink", name, ..]) => Ok(self.sink(call, name, None, now)),
            ("GET", ["faults"]) => Ok(Answer::json(200, &json!({"items": self.faults.rows()}))),
            ("POST", ["faults"]) => call.json().and_then(|spec| self.faults.add(&spec)).map(|id| Answer::json(201, &json!({"id": id}))),
            ("DELETE", ["faults"]) => {
                let cleared = self.faults.clear(None);
                Ok(Answer::json(200, &json!({"cleared": cleared})))
            }
            ("DELETE", ["faults", id]) => {
                let cleared = id.parse().map_or(0, |id| self.faults.clear(Some(id)));
                Ok(Answer::empty(if cleared == 0 { 404 } else { 204 }))
            }
            ("POST", ["folders"]) => call.json().and_then(|body| self.make_folder(&body)),
            ("POST", ["queues"]) => call.json().and_then(|body| self.make_queue(&body, now)),
            ("POST", ["queues", id]) => call.json().and_then(|body| self.change_queue(id.parse().unwrap_or(0), &body)),
            ("DELETE", ["queues", id]) => self.remove_queue(id.parse().unwrap_or(0)).map(|()| Answer::empty(204)),
            ("POST", ["fill"]) => call.json().and_then(|body| self.fill(&body, now)),
            ("POST", ["take"]) => call.json().and_then(|body| self.take_many(&body, now)),
            ("POST", ["feed"]) => {
                call.json().map(|body| Answer::json(200, &json!({"rows": self.change_feed(&body), "hidden": self.hidden.len()})))
            }
            ("POST", ["releases"]) => call.json().and_then(|body| self.make_release(&body, now)),
            ("POST", ["jobs", id]) => {
                let id = id.parse().unwrap_or(0);
                call.json().and_then(|body| self.move_job(id, &body, now)).map(|row| Answer::json(200, &row))
            }
            ("POST", ["items", id, "abandon"]) => self.abandon(id.parse().unwrap_or(0), now).map(|()| Answer::empty(200)),
            ("POST", ["items", id, "purge"]) => Ok(Answer::empty(if self.take_away(id.parse().unwrap_or(0)) { 204 } else { 404 })),
            ("POST", ["events"]) => call.json().and_then(|body| self.make_event(body, now)),
            ("POST", ["breakers", "close"]) => {
                self.webhooks.values_mut().for_each(|webhook| webhook.open_until = None);
                Ok(Answer::empty(204))
            }
            _ => Err(Refusal::new(404, 0, "ItemNotFound", format!("The sandbox has no {} {}.", call.method, call.path))),
        };
        done.unwrap_or_else(|refusal| refusal.answer("sandbox"))
    }

    /// Keeps what a sink got and answers; `status` where a fault decides it.
    pub(in crate::sandbox) fn sink(&mut self, call: &Call, name: &str, status: Option<u16>, now: Timestamp) -> Answer {
        let answered = status.unwrap_or(200);
        if !self.records.sink(name, SinkRecord::new(call, Some(answered), now)) {
            return Answer::json(507, &json!({"message": "there are too many sinks"}));
        }
        let count = self.records.sinks.get(name).map_or(0, std::collections::VecDeque::len);
        Answer::json(answered, &json!({"sink": name, "received": count}))
    }

    fn state(&self, now: Timestamp) -> Value {
        let mut by_status = std::collections::BTreeMap::new();
        for item in self.items.values() {
            *by_status.entry(item.status.as_str()).or_insert(0_u64) += 1;
        }
        let webhooks: Vec<Value> = self.webhooks.values().map(|w| w.state(now)).collect();
        let queues = self.queues.values().map(|q| json!({"id": q.id, "name": q.name, "unique": q.unique, "folders": q.folders}));
        let folders = self.folders.values().map(|f| json!({"id": f.id, "key": f.key, "path": f.path}));
        json!({
            "for": "development and tests only", "now": now, "api_version": self.options.api_version,
            "breaker_seconds": self.options.breaker.as_secs_f64(), "webhooks": webhooks, "folders": folders.collect::<Vec<_>>(),
            "queues": queues.collect::<Vec<_>>(), "items": by_status, "jobs": self.jobs.len(),
            "tokens": {"valid": self.tokens.len(), "given": self.tokens.total, "pat": PAT},
            "waiting": self.outbox.len() + self.held.len(),
            "lists": self.throttle.state(), "requests": self.records.requests_total, "deliveries": self.records.deliveries_total,
        })
    }

    fn requests(&self, call: &Call) -> Answer {
        let (path, method) = (call.option("path").unwrap_or_default(), call.option("method"));
        let fits = |r: &&crate::sandbox::records::RequestRecord| {
            r.path.contains(&path) && method.as_ref().is_none_or(|method| r.method.eq_ignore_ascii_case(method))
        };
        let rows: Vec<_> = self.records.requests.iter().filter(fits).take(limit(call)).collect();
        Answer::json(200, &json!({"items": rows, "total": self.records.requests_total}))
    }

    fn deliveries(&self, call: &Call) -> Answer {
        let kind = call.option("type");
        let rows: Vec<_> =
            self.records.deliveries.iter().filter(|d| kind.as_ref().is_none_or(|kind| d.kind == *kind)).take(limit(call)).collect();
        Answer::json(200, &json!({"items": rows, "total": self.records.deliveries_total}))
    }

    fn make_folder(&mut self, body: &Value) -> Result<Answer, Refusal> {
        let id = self.ensure_folder(body.get("path").and_then(Value::as_str).unwrap_or_default())?;
        let folder = self.folders.get(&id);
        Ok(Answer::json(201, &json!({"id": id, "key": folder.map(|f| &f.key), "path": folder.map(|f| &f.path)})))
    }

    fn make_queue(&mut self, body: &Value, now: Timestamp) -> Result<Answer, Refusal> {
        let mut folders = Vec::new();
        for named in body.get("folders").and_then(Value::as_array).into_iter().flatten() {
            folders.push(match named {
                Value::String(path) => self.ensure_folder(path)?,
                Value::Number(id) => id
                    .as_i64()
                    .filter(|id| self.folders.contains_key(id))
                    .ok_or_else(|| Refusal::missing(format!("Folder {id} does not exist.")))?,
                _ => return Err(Refusal::invalid("`folders` holds paths and ids.")),
            });
        }
        if folders.is_empty() {
            folders.push(2);
        }
        let retries = body.get("retries").and_then(Value::as_i64).unwrap_or(0);
        let dto = json!({
            "Name": body.get("name"), "EnforceUniqueReference": body.get("unique"), "MaxNumberOfRetries": retries,
            "AcceptAutomaticallyRetry": retries > 0, "RetryAbandonedItems": body.get("retry_abandoned"),
        });
        let first = folders[0];
        let id = self.add_queue(&dto, folders, now)?;
        self.queue_row(id, first).map(|row| Answer::json(201, &row))
    }

    fn change_queue(&mut self, id: i64, body: &Value) -> Result<Answer, Refusal> {
        let mut folders = Vec::new();
        for path in body.get("folders").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            folders.push(self.ensure_folder(path)?);
        }
        let queue = self.queues.get_mut(&id).ok_or_else(|| Refusal::missing(format!("Queue {id} does not exist.")))?;
        if let Some(name) = body.get("name").and_then(Value::as_str) {
            queue.name = name.into();
        }
        if !folders.is_empty() {
            queue.folders = folders;
        }
        let first = queue.folders.first().copied().unwrap_or_default();
        self.queue_row(id, first).map(|row| Answer::json(200, &row))
    }

    /// The queue that a body names, and how many items it asks for.
    fn many(&mut self, body: &Value) -> Result<(i64, usize), Refusal> {
        let folder = self.ensure_folder(body.get("folder").and_then(Value::as_str).unwrap_or("Finance"))?;
        let queue = self.queue_in(folder, body.get("queue").and_then(Value::as_str).unwrap_or_default())?;
        Ok((queue, usize::try_from(body.get("count").and_then(Value::as_u64).unwrap_or(0)).unwrap_or(usize::MAX)))
    }

    /// Many items that share their content, so that a million of them fit; where `done` is true each is taken and ends well.
    fn fill(&mut self, body: &Value, now: Timestamp) -> Result<Answer, Refusal> {
        let (queue, count) = self.many(body)?;
        if count > ITEMS_MAX.saturating_sub(self.items.len()) {
            return Err(Refusal::invalid(format!("The sandbox keeps at most {ITEMS_MAX} items.")));
        }
        let done = body.get("done").and_then(Value::as_bool) == Some(true);
        let first = self.create_item(queue, &serde_json::Map::new(), Status::New, now)?;
        let Some(like) = self.items.get(&first).cloned() else { return Err(Refusal::missing("The item does not exist.")) };
        for at in 0..count.max(1) {
            let id = if at == 0 { first } else { self.id() };
            if at > 0 {
                let item = Item { id, ..like.clone() };
                self.note(&item, Action::Create, now);
                self.insert_item(item);
            }
            if done {
                self.taken(id, now);
                self.change_item(id, now, Action::Edit, |item| {
                    item.status = Status::Successful;
                    item.ended = Some(now);
                });
            }
        }
        Ok(Answer::json(201, &json!({"first": first, "count": count})))
    }

    /// Robots take many items at once.
    fn take_many(&mut self, body: &Value, now: Timestamp) -> Result<Answer, Refusal> {
        let (queue, count) = self.many(body)?;
        let ids: Vec<i64> = self.waiting_in(queue).take(count).map(|item| item.id).collect();
        for id in &ids {
            self.taken(*id, now);
        }
        Ok(Answer::json(200, &json!({"count": ids.len()})))
    }

    fn taken(&mut self, id: i64, now: Timestamp) {
        self.change_item(id, now, Action::Status, |item| {
            item.status = Status::InProgress;
            item.started = Some(now);
        });
    }

    fn make_release(&mut self, body: &Value, now: Timestamp) -> Result<Answer, Refusal> {
        let folder = self.ensure_folder(body.get("folder").and_then(Value::as_str).unwrap_or("Finance"))?;
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default();
        let id = self.add_release(name, folder, now)?;
        Ok(Answer::json(201, &json!({"id": id, "key": self.releases.get(&id).map(|r| &r.key), "name": name, "folder": folder})))
    }

    fn make_event(&mut self, mut body: Value, now: Timestamp) -> Result<Answer, Refusal> {
        let kind = body.get("Type").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| Refusal::invalid("An event needs a Type."))?;
        let made = self.envelope(&kind, Value::Null, None, now);
        for field in ["EventId", "Timestamp", "TenantId"] {
            if body.get(field).is_none() {
                body[field] = made[field].clone();
            }
        }
        // Webhooks cannot ask for a type that is not offered; those who asked for all get it anyway.
        let known = EVENT_TYPES.iter().any(|(name, _)| *name == kind);
        let sent = self.broadcast(&kind, &body);
        Ok(Answer::json(202, &json!({"event": body, "sent": sent, "known": known})))
    }
}

fn limit(call: &Call) -> usize {
    call.option("limit").and_then(|text| text.parse().ok()).unwrap_or(LIMIT_MAX).min(LIMIT_MAX)
}
