//! What an item in a list becomes where no change feed tells what happened to it.
//!
//! A list shows an item as it is now: that it was added, when a robot took it last, how it ended. Changes that leave no
//! such trace (deferred, edited, reviewed) cannot be told and are not. Pure: rows and what is remembered in, events out.

use serde_json::Value;

use super::feed::{Action, FeedRow, Status};
use super::stood::LastState;
use crate::time::Timestamp;

/// An item as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its Id.
    pub id: i64,
    /// Its queue, by Id.
    pub queue: i64,
    /// Its status.
    pub status: Status,
    /// Its review status.
    pub review: std::sync::Arc<str>,
    /// When it was added.
    pub created: Option<Timestamp>,
    /// When a robot took it last.
    pub began: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Whether it is the next attempt of another item.
    pub has_ancestor: bool,
    /// Whether it has an exception.
    pub excepted: bool,
}

impl Listed {
    /// Reads a row; `None` for one without an Id, a queue or a status that is known.
    #[must_use]
    pub fn of(row: &Value) -> Option<Self> {
        let number = |name: &str| row.get(name).and_then(|value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()));
        let stamp = |name: &str| row.get(name)?.as_str().and_then(Timestamp::parse_lenient).and_then(Timestamp::sane);
        Some(Self {
            id: number("Id")?,
            queue: number("QueueDefinitionId")?,
            status: Status::of(row.get("Status")?)?,
            review: row.get("ReviewStatus").and_then(Value::as_str).unwrap_or("None").into(),
            created: stamp("CreationTime"),
            began: stamp("StartProcessing"),
            ended: stamp("EndProcessing"),
            has_ancestor: number("AncestorId").is_some() || number("ManualAncestorId").is_some(),
            excepted: row.get("ProcessingException").is_some_and(Value::is_object),
        })
    }

    fn row(&self, action: Action, status: Status, time: Option<Timestamp>) -> FeedRow {
        FeedRow { id: 0, item: self.id, time, action, status, review: self.review.clone() }
    }
}

/// How much of an item is new to us.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Newness {
    /// It was added since we read last.
    Added,
    /// It was there before; what happened to it from this moment on is new, unless it is remembered.
    Since(Timestamp),
}

/// The events that a row stands for, each with the row that a change feed would have had, in their order.
#[must_use]
pub fn events_of_listed(item: &Listed, before: Option<&LastState>, newness: Newness) -> Vec<(&'static str, FeedRow)> {
    let mut events = Vec::new();
    let (added, since) = match newness {
        Newness::Added => (true, None),
        Newness::Since(since) => (false, Some(since)),
    };
    let is_new = |stamp: Option<Timestamp>| since.is_none_or(|since| stamp.is_some_and(|stamp| stamp >= since));
    if added && before.is_none() {
        events.push(("queueItem.added", item.row(Action::Create, Status::New, item.created)));
        if item.has_ancestor {
            events.push(("queueItem.retried", item.row(Action::Create, Status::New, item.created)));
        }
    }
    let started = match before {
        Some(LastState { began: Some(known), .. }) => item.began.is_some_and(|began| began.as_millis() != *known),
        // What was remembered from a change feed has no moment: it was taken when it was seen as taken.
        Some(before) => before.status == Status::New,
        None => is_new(item.began),
    };
    if item.began.is_some() && started {
        events.push(("queueItem.transactionStarted", item.row(Action::Status, Status::InProgress, item.began)));
    }
    let was = before.map(|before| before.status);
    if was == Some(item.status) || (before.is_none() && !is_new(item.ended)) || !item.status.is_final() {
        return events;
    }
    let was_over = was.is_some_and(Status::is_final);
    // Behind a retry or a deletion the end itself is told by the exception, where there is one.
    let end = |status| match status {
        Status::Successful => "queueItem.transactionCompleted",
        Status::Failed => "queueItem.transactionFailed",
        _ => "queueItem.transactionAbandoned",
    };
    match item.status {
        Status::Retried => {
            if !was_over {
                let status = if item.excepted { Status::Failed } else { Status::Abandoned };
                events.push((end(status), item.row(Action::Status, status, item.ended)));
            }
            events.push(("queueItem.retried", item.row(Action::Retry, Status::Retried, item.ended)));
        }
        Status::Deleted => {
            if !was_over && item.excepted {
                events.push((end(Status::Failed), item.row(Action::Status, Status::Failed, item.ended)));
            }
            events.push(("queueItem.deleted", item.row(Action::Delete, Status::Deleted, None)));
        }
        status => events.push((end(status), item.row(Action::Status, status, item.ended))),
    }
    events
}

/// What is to be remembered of an item that a list showed.
#[must_use]
pub fn state_of_listed(item: &Listed, before: Option<&LastState>, now: Timestamp) -> LastState {
    LastState {
        status: item.status,
        review: item.review.clone(),
        row: before.map_or(0, |before| before.row),
        queue: item.queue,
        seen: now.as_millis(),
        began: item.began.map(Timestamp::as_millis),
        past: before.map_or_else(Vec::new, |before| before.past.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + seconds * 1000)
    }

    fn item(status: &str, began: Option<i64>, ended: Option<i64>) -> Listed {
        let stamp = |seconds: Option<i64>| seconds.map(|seconds| at(seconds).to_string());
        Listed::of(&json!({
            "Id": 7, "QueueDefinitionId": 3, "Status": status, "CreationTime": at(0).to_string(), "StartProcessing": stamp(began),
            "EndProcessing": stamp(ended), "ProcessingException": (status == "Failed").then(|| json!({"Reason": "boom"})),
        }))
        .expect("a row")
    }

    fn types(item: &Listed, before: Option<&Listed>, newness: Newness) -> Vec<&'static str> {
        let before = before.map(|before| state_of_listed(before, None, at(1)));
        let events = events_of_listed(item, before.as_ref(), newness);
        events.iter().map(|(event_type, _)| event_type.trim_start_matches("queueItem.")).collect()
    }

    #[test]
    fn rows_become_events_by_what_was_known() {
        let new = item("New", None, None);
        let taken = item("InProgress", Some(10), None);
        let again = item("InProgress", Some(20), None);
        let done = item("Successful", Some(10), Some(30));
        let failed = item("Failed", Some(10), Some(30));
        let abandoned = item("Abandoned", Some(10), Some(86_410));
        let deleted = item("Deleted", None, None);
        let old = Newness::Since(at(5));
        for (item, before, newness, expected) in [
            (&new, None, Newness::Added, &["added"][..]),
            (&done, None, Newness::Added, &["added", "transactionStarted", "transactionCompleted"]),
            (&deleted, None, Newness::Added, &["added", "deleted"]),
            (&new, Some(&new), old, &[]),
            (&taken, Some(&new), old, &["transactionStarted"]),
            (&taken, Some(&taken), old, &[]),
            (&again, Some(&taken), old, &["transactionStarted"]),
            (&new, Some(&taken), old, &[]),
            (&done, Some(&taken), old, &["transactionCompleted"]),
            (&done, Some(&new), old, &["transactionStarted", "transactionCompleted"]),
            (&done, Some(&done), old, &[]),
            (&failed, Some(&taken), old, &["transactionFailed"]),
            (&abandoned, Some(&taken), old, &["transactionAbandoned"]),
            (&deleted, Some(&new), old, &["deleted"]),
            (&deleted, Some(&done), old, &["deleted"]),
            // Never seen, and old: only what came since.
            (&done, None, old, &["transactionStarted", "transactionCompleted"]),
            (&done, None, Newness::Since(at(20)), &["transactionCompleted"]),
            (&done, None, Newness::Since(at(31)), &[]),
            (&deleted, None, old, &[]),
        ] {
            assert_eq!(types(item, before, newness), expected, "{item:?} after {before:?}");
        }
    }

    #[test]
    fn a_retry_tells_the_end_that_it_hides() {
        let taken = item("InProgress", Some(10), None);
        let mut retried = item("Retried", Some(10), Some(30));
        assert_eq!(types(&retried, Some(&taken), Newness::Added), ["transactionAbandoned", "retried"]);
        retried.excepted = true;
        assert_eq!(types(&retried, Some(&taken), Newness::Added), ["transactionFailed", "retried"]);
        assert_eq!(types(&retried, Some(&item("Failed", Some(10), Some(30))), Newness::Added), ["retried"]);
        let mut next = item("New", None, None);
        next.has_ancestor = true;
        assert_eq!(types(&next, None, Newness::Added), ["added", "retried"]);
    }
}
