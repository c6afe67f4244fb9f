//! How items come to be and change outside of a transaction: AddQueueItem, BulkAddQueueItems, PUT, DELETE, review.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::sandbox::call::Refusal;
use crate::sandbox::dto;
use crate::sandbox::limits::{BULK_MAX, CONTENT_MAX, ITEMS_MAX, PROGRESS_MAX, REFERENCE_MAX};
use crate::sandbox::model::{Action, Item, Named, Priority, Review, Status};
use crate::sandbox::world::World;
use crate::time::Timestamp;

/// Orchestrator's words for a reference that is taken.
const DUPLICATE: &str = "Error creating Transaction. Duplicate Reference.";
/// The API version that brought `ParentOperationId`; before, the property was unknown and so refused.
const PARENT_OPERATION_SINCE: f64 = 19.0;
/// Characters of `Source`.
const SOURCE_MAX: usize = 20;

impl World {
    /// AddQueueItem: the item's id.
    pub(in crate::sandbox) fn add_queue_item(&mut self, folder: i64, body: &Value, now: Timestamp) -> Result<i64, Refusal> {
        let data = body
            .get("itemData")
            .and_then(Value::as_object)
            .ok_or_else(|| Refusal::argument("ParameterMissing", "itemData is required."))?;
        let name = data.get("Name").and_then(Value::as_str).ok_or_else(|| Refusal::argument("ParameterMissing", "Name is required."))?;
        let queue = self.queue_in(folder, name)?;
        let id = self.create_item(queue, data, Status::New, now)?;
        self.emit_items("queueItem.added", &[id], now);
        Ok(id)
    }

    /// BulkAddQueueItems: what its answer says. Places are counted from 1.
    pub(in crate::sandbox) fn bulk_add(&mut self, folder: i64, body: &Value, now: Timestamp) -> Result<Value, Refusal> {
        let name =
            body.get("queueName").and_then(Value::as_str).ok_or_else(|| Refusal::argument("ParameterMissing", "queueName is required."))?;
        let queue = self.queue_in(folder, name)?;
        let commit = body.get("commitType").and_then(Value::as_str).unwrap_or_default();
        if !["AllOrNothing", "StopOnFirstFailure", "ProcessAllIndependently"].contains(&commit) {
            return Err(Refusal::invalid(format!("'{commit}' is no commitType.")));
        }
        let empty = Vec::new();
        let rows = body.get("queueItems").and_then(Value::as_array).unwrap_or(&empty);
        if rows.len() > BULK_MAX {
            return Err(Refusal::argument("ParameterInvalid", format!("At most {BULK_MAX} items at once.")));
        }
        let mut added = Vec::new();
        let mut failed = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let created = match row.as_object() {
                Some(data) => self.create_item(queue, data, Status::New, now),
                None => Err(Refusal::argument("ParameterInvalid", "A queue item is an object.")),
            };
            match created {
                Ok(id) => added.push(id),
                Err(why) => {
                    failed.push(json!({"Ordinal": at + 1, "ErrorCode": why.name, "ErrorMessage": why.message}));
                    if commit != "ProcessAllIndependently" {
                        break;
                    }
                }
            }
        }
        if commit == "AllOrNothing" && !failed.is_empty() {
            self.take_back(&added);
            added.clear();
        }
        if !added.is_empty() {
            self.emit_items("queueItem.added", &added, now);
        }
        let success = failed.is_empty();
        let message = if success { "All items were added." } else { "Some items could not be added." };
        Ok(json!({"Success": success, "Message": message, "FailedItems": failed}))
    }

    /// Checks `data` (`QueueItemDataDto`) and makes an item of it.
    pub(in crate::sandbox) fn create_item(
        &mut self,
        queue: i64,
        data: &Map<String, Value>,
        status: Status,
        now: Timestamp,
    ) -> Result<i64, Refusal> {
        let content = content(data.get("SpecificContent"))?;
        let reference = text(data, "Reference", REFERENCE_MAX)?.filter(|r| !r.is_empty());
        let priority = match text(data, "Priority", 10)? {
            None => Priority::Normal,
            Some(name) => Priority::parse(&name).ok_or_else(|| Refusal::invalid(format!("'{name}' is no Priority.")))?,
        };
        let unique = self.queues.get(&queue).is_some_and(|q| q.unique);
        if unique {
            match &reference {
                None => {
                    return Err(Refusal::argument("TransactionReferenceRequired", "Error creating Transaction. Reference is required."));
                }
                Some(reference) if self.is_taken(queue, reference) => return Err(Refusal::conflict(1016, "DuplicateReference", DUPLICATE)),
                Some(_) => {}
            }
        }
        if self.items.len() >= ITEMS_MAX {
            return Err(Refusal::invalid(format!("The sandbox keeps at most {ITEMS_MAX} items.")));
        }
        let parent_operation = text(data, "ParentOperationId", REFERENCE_MAX)?.map(Into::into);
        if data.contains_key("ParentOperationId") && self.version() < PARENT_OPERATION_SINCE {
            return Err(Refusal::invalid(
                "The property 'ParentOperationId' does not exist on type 'UiPath.Server.Configuration.OData.QueueItemDataDto'.",
            ));
        }
        let item = Item {
            id: self.id(),
            key: self.guid(),
            unique_key: self.guid(),
            queue,
            reference: reference.map(Into::into),
            status,
            review: Review::None,
            priority,
            created: now,
            defer: date(data, "DeferDate")?,
            due: date(data, "DueDate")?,
            risk_sla: date(data, "RiskSlaDate")?,
            started: (status == Status::InProgress).then_some(now),
            ended: None,
            seconds_before: 0,
            ancestor: None,
            retry_number: 0,
            manual_ancestor: None,
            manual_retry_number: 0,
            failure: None,
            content: Arc::new(content),
            output: None,
            analytics: None,
            progress: text(data, "Progress", PROGRESS_MAX)?,
            source: text(data, "Source", SOURCE_MAX)?,
            parent_operation,
            operation: None,
            version: 1,
        };
        let id = item.id;
        self.note(&item, Action::Create, now);
        self.insert_item(item);
        Ok(id)
    }

    /// Whether an item that counts has this reference: deleted and retried ones do not.
    fn is_taken(&self, queue: i64, reference: &str) -> bool {
        let counts = |id: &i64| self.items.get(id).is_some_and(|i| !matches!(i.status, Status::Deleted | Status::Retried));
        self.with_reference(queue, reference).iter().any(counts)
    }

    /// The number in `api-supported-versions`.
    pub(in crate::sandbox) fn version(&self) -> f64 {
        self.options.api_version.parse().unwrap_or(20.0)
    }

    /// PUT: Progress, Priority, DueDate, DeferDate and SpecificContent of an item that is not final.
    pub(in crate::sandbox) fn put_item(&mut self, folder: i64, id: i64, body: &Value, now: Timestamp) -> Result<(), Refusal> {
        let item = self.item_in(folder, id)?;
        let fields = body.as_object().ok_or_else(|| Refusal::invalid("An item is an object."))?;
        let version = fields.get("RowVersion").and_then(Value::as_str);
        if version.is_some_and(|version| version != dto::row_version(item)) {
            return Err(Refusal::conflict(0, "OptimisticConcurrency", "The item was changed by somebody else."));
        }
        if item.status != Status::New {
            return Err(Refusal::conflict(0, "QueueItemInvalidTransitionFromFinalStatus", "Only new items may be edited."));
        }
        let new_content = match fields.get("SpecificContent") {
            Some(Value::Null) | None => None,
            some => Some(Arc::new(content(some)?)),
        };
        let priority = match text(fields, "Priority", 10)? {
            Some(name) => Some(Priority::parse(&name).ok_or_else(|| Refusal::invalid(format!("'{name}' is no Priority.")))?),
            None => None,
        };
        let (due, defer, progress) = (date(fields, "DueDate")?, date(fields, "DeferDate")?, text(fields, "Progress", PROGRESS_MAX)?);
        self.change_item(id, now, Action::Edit, |item| {
            item.content = new_content.unwrap_or_else(|| Arc::clone(&item.content));
            item.priority = priority.unwrap_or(item.priority);
            item.due = due.or(item.due);
            item.defer = defer.or(item.defer);
            item.progress = progress.or_else(|| item.progress.take());
        });
        self.emit_items("queueItem.updated", &[id], now);
        Ok(())
    }

    /// DELETE: the item stays, as deleted.
    pub(in crate::sandbox) fn delete_item(&mut self, folder: i64, id: i64, now: Timestamp) -> Result<(), Refusal> {
        let status = self.item_in(folder, id)?.status;
        if status == Status::InProgress || status == Status::Deleted {
            return Err(Refusal::conflict(
                0,
                "QueueItemInvalidTransitionFromFinalStatus",
                format!("An item in status {status:?} cannot be deleted."),
            ));
        }
        self.change_item(id, now, Action::Delete, |item| item.status = Status::Deleted);
        self.emit_items("queueItem.deleted", &[id], now);
        Ok(())
    }

    /// SetItemReviewStatus; `Retried` makes new attempts by hand.
    pub(in crate::sandbox) fn set_review(&mut self, folder: i64, body: &Value, now: Timestamp) -> Result<Value, Refusal> {
        let name = body.get("status").and_then(Value::as_str).unwrap_or_default();
        let review = Review::parse(name).ok_or_else(|| Refusal::invalid(format!("'{name}' is no review status.")))?;
        let rows = body.get("queueItems").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut failed = Vec::new();
        for id in rows.iter().filter_map(|row| row.get("Id").and_then(Value::as_i64)) {
            let retry = review == Review::Retried;
            let allowed = self.item_in(folder, id).is_ok_and(|i| !retry || matches!(i.status, Status::Failed | Status::Abandoned));
            if !allowed {
                failed.push(id);
                continue;
            }
            self.change_item(id, now, Action::Edit, |item| item.review = review);
            self.emit_items("queueItem.reviewStatusChanged", &[id], now);
            if retry {
                self.retry_item(id, true, now);
            }
        }
        Ok(json!({"Success": failed.is_empty(), "Message": "", "FailedItems": failed}))
    }

    /// An item that can be seen from a folder.
    pub(in crate::sandbox) fn item_in(&self, folder: i64, id: i64) -> Result<&Item, Refusal> {
        self.items
            .get(&id)
            .filter(|item| self.queues.get(&item.queue).is_some_and(|q| q.folders.contains(&folder)))
            .ok_or_else(|| Refusal::missing(format!("Queue item {id} does not exist.")))
    }
}

/// SpecificContent: flat, within its size, with names that Orchestrator takes. Type hints of old clients are left out.
pub(in crate::sandbox) fn content(value: Option<&Value>) -> Result<Map<String, Value>, Refusal> {
    let fields = match value {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(Refusal::argument("ParameterInvalid", "SpecificContent must be an object.")),
    };
    let mut kept = Map::new();
    for (name, value) in fields.iter().filter(|(name, _)| !name.ends_with("@odata.type")) {
        if name.contains(['.', '#', '@', ':']) {
            return Err(Refusal::argument("ParameterInvalid", format!("The name '{name}' in SpecificContent contains one of . # @ :")));
        }
        if value.is_object() || value.is_array() {
            return Err(Refusal::argument(
                "ParameterInvalid",
                format!("The value of '{name}' in SpecificContent is not a simple type: nested objects and arrays are rejected."),
            ));
        }
        kept.insert(name.clone(), value.clone());
    }
    let length = serde_json::to_string(&kept).map_or(0, |text| text.encode_utf16().count());
    if length > CONTENT_MAX {
        return Err(Refusal::argument(
            "QueueItemContentSizeExceeded",
            format!("SpecificContent has {length} characters; at most {CONTENT_MAX}."),
        ));
    }
    Ok(kept)
}

/// A text field within its length; null is absent.
pub(in crate::sandbox) fn text(fields: &Map<String, Value>, name: &str, max: usize) -> Result<Option<String>, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.encode_utf16().count() <= max => Ok(Some(text.clone())),
        Some(Value::String(_)) => Err(Refusal::argument("ParameterInvalid", format!("{name} has more than {max} characters."))),
        Some(_) => Err(Refusal::invalid(format!("{name} must be a string."))),
    }
}

/// An instant; null is absent.
pub(in crate::sandbox) fn date(fields: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Refusal> {
    match text(fields, name, 64)? {
        None => Ok(None),
        Some(text) => Timestamp::parse_lenient(&text).map(Some).ok_or_else(|| {
            Refusal::invalid(format!("Cannot convert the literal '{text}' of {name} to the expected type 'Edm.DateTimeOffset'."))
        }),
    }
}
