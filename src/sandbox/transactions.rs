//! The life of an item at work: StartTransaction, SetTransactionProgress, SetTransactionResult, retries, abandonment.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::sandbox::call::Refusal;
use crate::sandbox::items::{date, text};
use crate::sandbox::limits::{ANALYTICS_MAX, OUTPUT_MAX, PROGRESS_MAX, REASON_MAX, REFERENCE_MAX};
use crate::sandbox::model::{Action, Exception, Failure, Item, Named, Review, Status};
use crate::sandbox::world::World;
use crate::time::Timestamp;

impl World {
    /// StartTransaction: the item that is in progress now, or `None` when there is nothing to do.
    pub(in crate::sandbox) fn start_transaction(&mut self, folder: i64, body: &Value, now: Timestamp) -> Result<Option<i64>, Refusal> {
        let data = body
            .get("transactionData")
            .and_then(Value::as_object)
            .ok_or_else(|| Refusal::argument("ParameterMissing", "transactionData is required."))?;
        let name = data.get("Name").and_then(Value::as_str).ok_or_else(|| Refusal::argument("ParameterMissing", "Name is required."))?;
        let queue = self.queue_in(folder, name)?;
        if data.get("SpecificContent").is_some_and(|content| !content.is_null()) {
            // Add Transaction Item: it is added and started in one step.
            let id = self.create_item(queue, data, Status::InProgress, now)?;
            self.emit_items("queueItem.added", &[id], now);
            self.emit_item("queueItem.transactionStarted", id, now);
            return Ok(Some(id));
        }
        let reference = text(data, "Reference", REFERENCE_MAX)?;
        let prefix = data.get("ReferenceFilterOption").and_then(Value::as_str) == Some("StartsWith");
        let wanted = |item: &Item| match (&reference, &item.reference) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(has)) if prefix => has.starts_with(wanted.as_str()),
            (Some(wanted), Some(has)) => **has == **wanted,
        };
        let next = self.waiting_in(queue).find(|item| item.defer.is_none_or(|defer| defer <= now) && wanted(item)).map(|item| item.id);
        let Some(id) = next else { return Ok(None) };
        self.change_item(id, now, Action::Status, |item| {
            item.status = Status::InProgress;
            item.started = Some(now);
        });
        self.emit_item("queueItem.transactionStarted", id, now);
        Ok(Some(id))
    }

    /// SetTransactionProgress: only while in progress.
    pub(in crate::sandbox) fn set_progress(&mut self, folder: i64, id: i64, body: &Value, now: Timestamp) -> Result<(), Refusal> {
        let progress = body.as_object().map(|fields| text(fields, "progress", PROGRESS_MAX)).transpose()?.flatten();
        if self.item_in(folder, id)?.status != Status::InProgress {
            return Err(Refusal::argument(
                "InvalidTransactionProgressStatus",
                "Progress can be set only while the transaction is in progress.",
            ));
        }
        self.change_item(id, now, Action::Edit, |item| item.progress = progress);
        self.emit_items("queueItem.updated", &[id], now);
        Ok(())
    }

    /// SetTransactionResult: success, failure (with its retry), or back to the queue with a later date.
    pub(in crate::sandbox) fn set_result(&mut self, folder: i64, id: i64, body: &Value, now: Timestamp) -> Result<(), Refusal> {
        let result = body
            .get("transactionResult")
            .and_then(Value::as_object)
            .ok_or_else(|| Refusal::argument("ParameterMissing", "transactionResult is required."))?;
        let item = self.item_in(folder, id)?;
        if item.status.is_final() {
            return Err(Refusal::conflict(
                0,
                "QueueItemInvalidTransitionFromFinalStatus",
                format!("The transaction is {} already.", item.status.as_str()),
            ));
        }
        if item.status == Status::New {
            return Err(Refusal::conflict(0, "TransactionNotStarted", "The transaction has not been started."));
        }
        let output = object(result, "Output", OUTPUT_MAX, "QueueItemOutputDataSizeExceeded")?;
        let analytics = object(result, "Analytics", ANALYTICS_MAX, "QueueItemAnalyticsDataSizeExceeded")?;
        let progress = text(result, "Progress", PROGRESS_MAX)?;
        let operation = text(result, "OperationId", REFERENCE_MAX)?;
        let (defer, due) = (date(result, "DeferDate")?, date(result, "DueDate")?);
        let failure = failure(result, now)?;
        let success = result.get("IsSuccessful").and_then(Value::as_bool).unwrap_or(false);
        if !success && failure.is_none() && defer.is_some() {
            self.change_item(id, now, Action::Status, |item| {
                item.status = Status::New;
                item.defer = defer;
                item.due = due.or(item.due);
                item.started = None;
            });
            self.emit_item("queueItem.deferred", id, now);
            return Ok(());
        }
        let failure = (!success).then(|| {
            let unsaid = || Failure { reason: String::new(), details: None, kind: Exception::ApplicationException, time: now };
            failure.unwrap_or_else(unsaid)
        });
        self.change_item(id, now, Action::Edit, |item| {
            item.status = if success { Status::Successful } else { Status::Failed };
            item.ended = Some(now);
            item.failure = failure;
            item.output = output;
            item.analytics = analytics;
            item.progress = progress.or_else(|| item.progress.take());
            item.operation = operation;
        });
        if success {
            self.emit_item("queueItem.transactionCompleted", id, now);
        } else {
            self.emit_item("queueItem.transactionFailed", id, now);
            self.retry_if_due(id, now);
        }
        Ok(())
    }

    /// What a day in progress does: the item is abandoned, and retried where its queue says so.
    pub(in crate::sandbox) fn abandon(&mut self, id: i64, now: Timestamp) -> Result<(), Refusal> {
        let item = self.items.get(&id).ok_or_else(|| Refusal::missing(format!("Queue item {id} does not exist.")))?;
        if item.status != Status::InProgress {
            return Err(Refusal::conflict(0, "TransactionNotStarted", format!("Item {id} is {}, not InProgress.", item.status.as_str())));
        }
        let again = self.queues.get(&item.queue).is_some_and(|q| q.retry_abandoned && item.retry_number < q.max_retries);
        self.change_item(id, now, Action::Status, |item| {
            item.status = Status::Abandoned;
            item.ended = Some(now);
        });
        self.emit_items("queueItem.transactionAbandoned", &[id], now);
        if again {
            self.retry_item(id, false, now);
        }
        Ok(())
    }

    fn retry_if_due(&mut self, id: i64, now: Timestamp) {
        let Some(item) = self.items.get(&id) else { return };
        let Some(queue) = self.queues.get(&item.queue) else { return };
        let ours = item.failure.as_ref().is_some_and(|f| f.kind == Exception::ApplicationException);
        if queue.auto_retry && ours && item.retry_number < queue.max_retries {
            self.retry_item(id, false, now);
        }
    }

    /// The next attempt: a new item with the same Key; the old one is Retried.
    pub(in crate::sandbox) fn retry_item(&mut self, id: i64, by_hand: bool, now: Timestamp) {
        let Some(old) = self.change_item(id, now, Action::Retry, |item| item.status = Status::Retried) else { return };
        let spent = old.started.zip(old.ended).map_or(0, |(start, end)| i64::try_from(end.since(start).as_secs()).unwrap_or(i64::MAX));
        let line = (old.id, Arc::clone(&old.unique_key));
        let next = Item {
            id: self.id(),
            unique_key: self.guid(),
            status: Status::New,
            review: Review::None,
            created: now,
            defer: None,
            started: None,
            ended: None,
            seconds_before: old.seconds_before.saturating_add(spent),
            ancestor: (!by_hand).then(|| line.clone()),
            retry_number: old.retry_number + i64::from(!by_hand),
            manual_ancestor: by_hand.then_some(line),
            manual_retry_number: old.manual_retry_number + i64::from(by_hand),
            failure: None,
            output: None,
            analytics: None,
            progress: None,
            operation: None,
            version: 1,
            ..old
        };
        let next_id = next.id;
        self.note(&next, Action::Create, now);
        self.insert_item(next);
        self.emit_items("queueItem.retried", &[next_id], now);
    }
}

fn failure(result: &Map<String, Value>, now: Timestamp) -> Result<Option<Failure>, Refusal> {
    let fields = match result.get("ProcessingException") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(Refusal::invalid("ProcessingException must be an object.")),
    };
    let kind = match text(fields, "Type", 64)? {
        None => Exception::ApplicationException,
        Some(name) => Exception::parse(&name).ok_or_else(|| Refusal::invalid(format!("'{name}' is no exception type.")))?,
    };
    let reason = text(fields, "Reason", REASON_MAX)?.unwrap_or_default();
    Ok(Some(Failure { reason, details: text(fields, "Details", REASON_MAX)?, kind, time: now }))
}

fn object(result: &Map<String, Value>, name: &str, max: usize, code: &'static str) -> Result<Option<Arc<Map<String, Value>>>, Refusal> {
    match result.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(fields)) => {
            let length = serde_json::to_string(fields).map_or(0, |text| text.encode_utf16().count());
            if length > max {
                return Err(Refusal::argument(code, format!("{name} has {length} characters; at most {max}.")));
            }
            Ok(Some(Arc::new(fields.clone())))
        }
        Some(_) => Err(Refusal::invalid(format!("{name} must be an object."))),
    }
}
