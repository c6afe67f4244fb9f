//! Which request means what. The whole answer of the simulated Orchestrator to one request, as a value.

use serde_json::{Map, Value, json};

use crate::sandbox::call::{Answer, Call, Refusal};
use crate::sandbox::dto;
use crate::sandbox::events::EVENT_TYPES;
use crate::sandbox::lists::envelope;
use crate::sandbox::world::World;
use crate::time::Timestamp;

/// An OData path taken apart: `QueueItems(7)/UiPathODataSvc.SetTransactionProgress` is set `QueueItems`, key `7`,
/// operation `SetTransactionProgress`; `…GetQueueItemEventsHistory(queueItemId=7)` has an argument.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    set: &'a str,
    key: Option<&'a str>,
    operation: Option<&'a str>,
    argument: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        fn call(part: &str) -> (&str, Option<&str>) {
            match part.split_once('(') {
                Some((name, inside)) => (name, inside.strip_suffix(')').map(str::trim).filter(|inside| !inside.is_empty())),
                None => (part, None),
            }
        }
        let (first, rest) = match path.trim_matches('/').split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path.trim_matches('/'), None),
        };
        let (set, key) = call(first);
        let (operation, argument) = match rest {
            None => (None, None),
            Some(rest) => {
                let (name, argument) = call(rest);
                let name = name.rsplit('.').next()?;
                (Some(name), argument.map(|a| a.split_once('=').map_or(a, |(_, value)| value).trim_matches('\'')))
            }
        };
        Some(Self { set, key, operation, argument })
    }

    fn id(&self) -> Result<i64, Refusal> {
        number(self.key)
    }

    /// Whether it is one of the lists whose requests are limited.
    fn is_limited(&self, call: &Call) -> bool {
        call.method == "GET" && self.key.is_none() && self.operation.is_none() && ["QueueItems", "Jobs"].contains(&self.set)
    }
}

/// One row with the context that OData puts first.
fn one(status: u16, set: &str, row: Value) -> Answer {
    let mut body = Map::new();
    body.insert("@odata.context".to_owned(), format!("http://sandbox/odata/$metadata#{set}/$entity").into());
    if let Value::Object(fields) = row {
        body.extend(fields);
    }
    Answer::json(status, &body)
}

fn number(text: Option<&str>) -> Result<i64, Refusal> {
    let text = text.unwrap_or_default();
    text.trim_end_matches(['L', 'l']).parse().map_err(|_| Refusal::invalid(format!("The key '{text}' is no Int64.")))
}

impl World {
    /// Answers a request that is not for `/sandbox`.
    pub(in crate::sandbox) fn answer(&mut self, call: &Call, drift: i64, now: Timestamp) -> Answer {
        let path = call.path.as_str();
        if path.ends_with("/connect/token") && (path.contains("/identity_/") || path.contains("/identity/")) {
            return post_only(call, |call| self.client_credentials(call, now));
        }
        if path.ends_with("/oauth/token") {
            return post_only(call, |call| self.user_key(call, now));
        }
        if path.to_ascii_lowercase().ends_with("/api/account/authenticate") {
            return post_only(call, |call| self.password(call, now));
        }
        let Some((before, rest)) = path.split_once("/odata/") else { return not_found(path) };
        // Standalone has nothing before `/odata`; elsewhere it is `/{org}/{tenant}[/orchestrator_]`.
        let above = before.split('/').filter(|part| !part.is_empty()).count();
        if !(above == 0 || above == 2 || (above == 3 && before.ends_with("/orchestrator_")) || before == "/orchestrator_") {
            return not_found(path);
        }
        let version = self.options.api_version.clone();
        if let Err(refused) = self.authorise(call, now) {
            return refused.with("api-supported-versions", version);
        }
        let answer = match Target::parse(rest) {
            Some(target) if target.is_limited(call) => match self.throttle.ask(self.options.list_rate, now) {
                Err(refused) => return refused.with("api-supported-versions", version),
                Ok(None) => self.odata(call, &target, drift, now),
                Ok(Some(left)) => {
                    self.odata(call, &target, drift, now).map(|answer| answer.with("x-ratelimit-remaining", left.to_string()))
                }
            },
            Some(target) => self.odata(call, &target, drift, now),
            None => Err(Refusal::invalid("The path is not valid.")),
        };
        let trace = format!("00-{:016x}{:016x}-{:016x}-00", self.random(), self.random(), self.random());
        answer.unwrap_or_else(|refusal| refusal.answer(&trace)).with("api-supported-versions", version)
    }

    fn odata(&mut self, call: &Call, target: &Target<'_>, drift: i64, now: Timestamp) -> Result<Answer, Refusal> {
        match target.set {
            "Folders" => self.folders_route(call, target),
            "QueueDefinitions" => self.queues_route(call, target, now),
            "QueueItems" | "QueueItemEvents" => self.items_route(call, target, drift, now),
            "QueueProcessingRecords" if call.method == "GET" && target.operation == Some("RetrieveQueuesProcessingStatus") => {
                let folder = self.folder_of(call)?;
                self.list_counters(call, folder)
            }
            "Queues" => self.transactions_route(call, target, now),
            "Releases" | "Jobs" => self.jobs_route(call, target, now),
            "Webhooks" => self.webhooks_route(call, target, now),
            _ => Err(unknown(call)),
        }
    }

    fn folders_route(&mut self, call: &Call, target: &Target<'_>) -> Result<Answer, Refusal> {
        match (call.method.as_str(), target.key, target.operation) {
            ("GET", None, None) => self.list_folders(call),
            ("GET", Some(_), None) => {
                let id = target.id()?;
                self.folders
                    .get(&id)
                    .map(|f| one(200, target.set, dto::folder(f)))
                    .ok_or_else(|| Refusal::missing(format!("Folder {id} does not exist.")))
            }
            ("GET", None, Some("GetByKey")) => {
                let key = target.argument.unwrap_or_default();
                let found = self.folders.values().find(|f| f.key.eq_ignore_ascii_case(key));
                found.map(|f| one(200, target.set, dto::folder(f))).ok_or_else(|| Refusal::missing(format!("Folder {key} does not exist.")))
            }
            _ => Err(unknown(call)),
        }
    }

    fn queues_route(&mut self, call: &Call, target: &Target<'_>, now: Timestamp) -> Result<Answer, Refusal> {
        if (call.method.as_str(), target.operation) == ("GET", Some("GetQueuesAcrossFolders")) {
            return self.list_queues(call, None);
        }
        let folder = self.folder_of(call)?;
        match (call.method.as_str(), target.key, target.operation) {
            ("GET", None, None) => self.list_queues(call, Some(folder)),
            ("GET", None, Some("GetFoldersForQueue")) => {
                let id = number(target.argument)?;
                let queue = self.queues.get(&id).ok_or_else(|| Refusal::missing(format!("Queue {id} does not exist.")))?;
                let rows: Vec<Value> = queue.folders.iter().filter_map(|id| self.folders.get(id)).map(dto::folder).collect();
                Ok(Answer::json(200, &json!({"AccessibleFolders": rows, "TotalFoldersCount": rows.len()})))
            }
            ("POST", None, None) => {
                let id = self.add_queue(&call.json()?, vec![folder], now)?;
                let queues = json!([self.queues.get(&id).map(dto::queue_event)]);
                self.emit("queue.created", json!({"Queues": queues}), Some(folder), now);
                self.queue_row(id, folder).map(|row| one(201, target.set, row))
            }
            ("GET", Some(_), None) => self.queue_row(target.id()?, folder).map(|row| one(200, target.set, row)),
            _ => Err(unknown(call)),
        }
    }

    /// A queue as answers have it.
    pub(in crate::sandbox) fn queue_row(&self, id: i64, folder: i64) -> Result<Value, Refusal> {
        let queue = self.queues.get(&id).filter(|q| q.folders.contains(&folder));
        queue
            .zip(self.folders.get(&folder))
            .map(|(q, f)| dto::queue(q, f))
            .ok_or_else(|| Refusal::missing(format!("Queue {id} does not exist.")))
    }

    fn items_route(&mut self, call: &Call, target: &Target<'_>, drift: i64, now: Timestamp) -> Result<Answer, Refusal> {
        let folder = self.folder_of(call)?;
        match (target.set, call.method.as_str(), target.key, target.operation) {
            ("QueueItems", "GET", None, None) => self.list_items(call, folder, drift),
            ("QueueItemEvents", "GET", None, None) => self.list_feed(call, folder, drift),
            ("QueueItemEvents", "GET", None, Some("GetQueueItemEventsHistory")) => {
                self.item_history(call, folder, number(target.argument)?)
            }
            ("QueueItems", "GET", Some(_), None) => self.item_row(folder, target.id()?).map(|row| one(200, target.set, row)),
            ("QueueItems", "DELETE", Some(_), None) => self.delete_item(folder, target.id()?, now).map(|()| Answer::empty(204)),
            ("QueueItems", "PUT", Some(_), None) => self.put_item(folder, target.id()?, &call.json()?, now).map(|()| Answer::empty(200)),
            ("QueueItems", "POST", Some(_), Some("SetTransactionProgress")) => {
                self.set_progress(folder, target.id()?, &call.json()?, now).map(|()| Answer::empty(200))
            }
            ("QueueItems", "POST", None, Some("SetItemReviewStatus")) => {
                self.set_review(folder, &call.json()?, now).map(|done| Answer::json(200, &done))
            }
            ("QueueItems", "GET", Some(_), Some("GetItemProcessingHistory")) => {
                let key = self.item_in(folder, target.id()?)?.key.clone();
                let ids: Vec<i64> = self.items.values().filter(|i| i.key == key).map(|i| i.id).collect();
                let rows = ids.into_iter().map(|id| self.item_row(folder, id)).collect::<Result<_, _>>()?;
                Ok(envelope("QueueItems", None, rows))
            }
            ("QueueItems", "GET", Some(_), Some("GetItemLastRetry")) => {
                let key = self.item_in(folder, target.id()?)?.key.clone();
                let last = self.items.values().rev().find(|i| i.key == key).map_or(0, |i| i.id);
                self.item_row(folder, last).map(|row| one(200, target.set, row))
            }
            _ => Err(unknown(call)),
        }
    }

    /// An item as answers have it.
    pub(in crate::sandbox) fn item_row(&self, folder: i64, id: i64) -> Result<Value, Refusal> {
        let item = self.item_in(folder, id)?;
        self.folders.get(&folder).map(|folder| dto::item(item, folder)).ok_or_else(|| Refusal::missing("The folder does not exist."))
    }

    fn transactions_route(&mut self, call: &Call, target: &Target<'_>, now: Timestamp) -> Result<Answer, Refusal> {
        let folder = self.folder_of(call)?;
        match (call.method.as_str(), target.key, target.operation) {
            ("POST", None, Some("AddQueueItem")) => {
                let id = self.add_queue_item(folder, &call.json()?, now)?;
                self.item_row(folder, id).map(|row| one(201, "QueueItems", row))
            }
            ("POST", None, Some("BulkAddQueueItems")) => self.bulk_add(folder, &call.json()?, now).map(|done| Answer::json(200, &done)),
            ("POST", None, Some("StartTransaction")) => match self.start_transaction(folder, &call.json()?, now)? {
                Some(id) => self.item_row(folder, id).map(|row| one(200, "QueueItems", row)),
                None => Ok(Answer::empty(204)),
            },
            ("POST", Some(_), Some("SetTransactionResult")) => {
                self.set_result(folder, target.id()?, &call.json()?, now).map(|()| Answer::empty(200))
            }
            _ => Err(unknown(call)),
        }
    }

    fn jobs_route(&mut self, call: &Call, target: &Target<'_>, now: Timestamp) -> Result<Answer, Refusal> {
        let folder = self.folder_of(call)?;
        match (target.set, call.method.as_str(), target.key, target.operation) {
            ("Releases", "GET", None, None) => self.list_releases(call, folder),
            ("Releases", "GET", Some(_), None) => {
                let id = target.id()?;
                let release = self.releases.get(&id).filter(|r| r.folder == folder);
                let row = release.zip(self.folders.get(&folder)).map(|(r, f)| dto::release(r, f));
                row.map(|row| one(200, target.set, row)).ok_or_else(|| Refusal::missing(format!("Release {id} does not exist.")))
            }
            ("Jobs", "GET", None, None) => self.list_jobs(call, folder),
            ("Jobs", "GET", Some(_), None) => {
                let id = target.id()?;
                let seen = self.jobs.get(&id).is_some_and(|job| job.folder == folder);
                let row = self.job_row(id, true).filter(|_| seen);
                row.map(|row| one(200, target.set, row)).ok_or_else(|| Refusal::missing(format!("Job {id} does not exist.")))
            }
            ("Jobs", "POST", None, Some("StartJobs")) => {
                let rows = self.start_jobs(folder, &call.json()?, now)?;
                let mut answer = envelope("Jobs", None, rows);
                answer.status = 201;
                Ok(answer)
            }
            _ => Err(unknown(call)),
        }
    }

    fn webhooks_route(&mut self, call: &Call, target: &Target<'_>, now: Timestamp) -> Result<Answer, Refusal> {
        match (call.method.as_str(), target.key, target.operation) {
            ("GET", None, None) => self.list_webhooks(call),
            ("GET", None, Some("GetEventTypes")) => {
                let rows = EVENT_TYPES.iter().map(|(name, group)| json!({"Name": name, "Group": group})).collect();
                Ok(envelope("Collection(UiPath.Server.Configuration.OData.WebhookEventTypeDto)", None, rows))
            }
            ("POST", None, Some("TriggerCustom")) => {
                let data = call.json()?;
                if !data.is_object() {
                    return Err(Refusal::invalid("The event's data must be an object."));
                }
                Ok(Answer::json(202, &self.trigger_custom(data, now)))
            }
            ("POST", None, None) => {
                let id = self.add_webhook(&call.json()?, now)?;
                self.webhook_row(id).map(|row| one(201, target.set, row))
            }
            ("GET", Some(_), None) => self.webhook_row(target.id()?).map(|row| one(200, target.set, row)),
            ("PUT" | "PATCH", Some(_), None) => {
                let id = target.id()?;
                self.change_webhook(id, &call.json()?, now)?;
                self.webhook_row(id).map(|row| one(200, target.set, row))
            }
            ("DELETE", Some(_), None) => self.delete_webhook(target.id()?).map(|()| Answer::empty(204)),
            ("POST", Some(_), Some("Ping")) => self.ping(target.id()?, now).map(|body| Answer::json(202, &body)),
            _ => Err(unknown(call)),
        }
    }
}

fn post_only(call: &Call, answer: impl FnOnce(&Call) -> Answer) -> Answer {
    if call.method == "POST" { answer(call) } else { Answer::empty(405).with("allow", "POST") }
}

fn unknown(call: &Call) -> Refusal {
    Refusal::new(404, 0, "ItemNotFound", format!("The sandbox serves no {} {}.", call.method, call.path))
}

/// What a reverse proxy says to a path that leads nowhere.
fn not_found(path: &str) -> Answer {
    if path == "/" {
        return Answer::html(
            200,
            "<!doctype html><title>Tripline sandbox</title><p>A simulated Orchestrator, for development and tests only. <a href=\"/sandbox/state\">State</a>",
        );
    }
    Answer::html(
        404,
        "<!doctype html><title>404</title><h1>404 - not found</h1><p>A simulated Orchestrator, for development and tests only.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let table = [
            ("QueueItems", ("QueueItems", None, None, None)),
            ("QueueItems()", ("QueueItems", None, None, None)),
            ("QueueItems(7)", ("QueueItems", Some("7"), None, None)),
            ("Queues(7)/UiPathODataSvc.SetTransactionResult", ("Queues", Some("7"), Some("SetTransactionResult"), None)),
            (
                "QueueItemEvents/UiPath.Server.Configuration.OData.GetQueueItemEventsHistory(queueItemId=9)",
                ("QueueItemEvents", None, Some("GetQueueItemEventsHistory"), Some("9")),
            ),
            ("Jobs/UiPath.Server.Configuration.OData.StartJobs", ("Jobs", None, Some("StartJobs"), None)),
        ];
        for (path, (set, key, operation, argument)) in table {
            assert_eq!(Target::parse(path), Some(Target { set, key, operation, argument }), "{path}");
        }
    }
}
