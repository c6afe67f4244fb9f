//! What the rows of a queue's change feed become: the events that a webhook would have brought, with its data and key.
//!
//! A row (`GET /odata/QueueItemEvents`) says that an item changed, and its status then. The item itself is fetched later and
//! may have moved on: what later states have written is removed from it again. Pure: rows, items and what is
//! remembered of an item in; changes out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::SourceView;
use super::key::{self, Facts, HashedBody};
use super::stood::LastState;
use super::thing::Thing;
use crate::event::{Change, Folder, STAMP_TOLERANCE, Tree};
use crate::time::Timestamp;

/// What happened to an item, as its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was added.
    Create,
    /// A field of it was changed by hand, or its transaction set something.
    Edit,
    /// It was deleted.
    Delete,
    /// Its status changed.
    Status,
    /// It was retried: a new item takes its place.
    Retry,
}

/// The status of a queue item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Waits to be taken.
    New,
    /// A robot has it.
    InProgress,
    /// Ended with an exception.
    Failed,
    /// Ended well.
    Successful,
    /// Was in progress for a day.
    Abandoned,
    /// Another item is its next attempt.
    Retried,
    /// Is no more.
    Deleted,
}

impl Status {
    const ALL: [(Self, &'static str); 7] = [
        (Self::New, "New"),
        (Self::InProgress, "InProgress"),
        (Self::Failed, "Failed"),
        (Self::Successful, "Successful"),
        (Self::Abandoned, "Abandoned"),
        (Self::Retried, "Retried"),
        (Self::Deleted, "Deleted"),
    ];

    /// From a name in any case, or its number.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let at = match value {
            Value::String(text) => Self::ALL.iter().position(|(_, name)| name.eq_ignore_ascii_case(text))?,
            number => usize::try_from(number.as_u64()?).ok()?,
        };
        // Numbers of the API: New 0, InProgress 1, Failed 2, Successful 3, Abandoned 4, Retried 5, Deleted 6.
        Self::ALL.get(at).map(|(status, _)| *status)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(status, _)| *status == self).map_or("", |(_, name)| name)
    }

    /// Whether robots are done with the item.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::New | Self::InProgress)
    }
}

/// A row of the feed.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedRow {
    /// Its own Id: the feed's cursor.
    pub id: i64,
    /// The item it is about.
    pub item: i64,
    /// When.
    pub time: Option<Timestamp>,
    /// What.
    pub action: Action,
    /// The status after it.
    pub status: Status,
    /// The review status after it, as named by the API.
    pub review: Arc<str>,
}

impl FeedRow {
    /// Reads a row. `None` for one without an Id, an item or a status that is known: it is nobody's change.
    #[must_use]
    pub fn of(row: &Value) -> Option<Self> {
        let number = |name: &str| row.get(name).and_then(|value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()));
        let action = match row.get("Action")? {
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "create" => Action::Create,
                "edit" => Action::Edit,
                "delete" => Action::Delete,
                "status" => Action::Status,
                "retry" => Action::Retry,
                _ => return None,
            },
            _ => return None,
        };
        Some(Self {
            id: number("Id")?,
            item: number("QueueItemId")?,
            time: stamp(row.get("Timestamp")),
            action,
            status: Status::of(row.get("Status")?)?,
            review: row.get("ReviewStatus").and_then(Value::as_str).unwrap_or("None").into(),
        })
    }
}

/// The queue that an item is in, as data has it: at least Id and Name.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueData {
    /// `Queue` of the data.
    pub data: Value,
}

/// Which events a row stands for, given what was known of the item before it, in their order.
#[must_use]
pub fn events_of(row: &FeedRow, before: Option<&LastState>, has_ancestor: bool) -> Vec<&'static str> {
    let mut events = Vec::new();
    let was = before.map(|before| before.status);
    let moved = was != Some(row.status);
    match (row.action, row.status) {
        (Action::Create, _) if before.is_none() => {
            events.push("queueItem.added");
            if has_ancestor {
                events.push("queueItem.retried");
            }
        }
        // Without its past, an edit of an item in progress is one more change of it.
        (action, Status::InProgress) if moved && (was.is_some() || action != Action::Edit) => events.push("queueItem.transactionStarted"),
        (_, Status::New) if was == Some(Status::InProgress) => events.push("queueItem.deferred"),
        (_, Status::Successful) if moved => events.push("queueItem.transactionCompleted"),
        (_, Status::Failed) if moved => events.push("queueItem.transactionFailed"),
        (_, Status::Abandoned) if moved => events.push("queueItem.transactionAbandoned"),
        (_, Status::Deleted) if moved => events.push("queueItem.deleted"),
        (_, Status::Retried) if moved => {
            // An automatic retry may pass over the failure in one step; a retry of an abandoned item does not hide one.
            if was.is_none_or(|was| !was.is_final()) {
                events.push("queueItem.transactionFailed");
            }
            events.push("queueItem.retried");
        }
        _ => {}
    }
    let reviewed = before.is_some_and(|before| !before.review.eq_ignore_ascii_case(&row.review));
    if reviewed {
        events.push("queueItem.reviewStatusChanged");
    }
    if events.is_empty() && row.action == Action::Edit {
        events.push("queueItem.updated");
    }
    events
}

/// What an item must have been before a row, where nothing is remembered of it: one that ended well before the row was over
/// already, so that the row is no end of it but a review, a retry by hand or a deletion.
#[must_use]
pub fn assumed_before(row: &FeedRow, item: Option<&Value>) -> Option<LastState> {
    let item = item?;
    let (ended, time) = (stamp(item.get("EndProcessing"))?, row.time?);
    if time <= ended.plus(STAMP_TOLERANCE) || !row.status.is_final() {
        return None;
    }
    let status = match row.status {
        Status::Retried | Status::Deleted => Status::Failed,
        status => status,
    };
    Some(LastState {
        status,
        review: "None".into(),
        row: 0,
        queue: item.get("QueueDefinitionId")?.as_i64()?,
        seen: 0,
        began: None,
        past: Vec::new(),
    })
}

/// Where a row was read, and what was read with it.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// The source.
    pub source: &'a SourceView,
    /// The item as it is now; `None` when it was deleted between feed and fetch.
    pub item: Option<&'a Value>,
    /// Its queue.
    pub queue: &'a QueueData,
    /// The folder it was read in.
    pub folder: &'a Folder,
    /// When the item was read.
    pub observed: Timestamp,
}

/// The change that a webhook would have brought for this event of a row.
#[must_use]
pub fn change(event_type: &'static str, row: &FeedRow, sighting: &Sighting<'_>) -> Change {
    let item = item_then(event_type, row, sighting.item);
    let data = json!({ "Queue": sighting.queue.data, "QueueItem": item });
    let body = HashedBody::new(b"");
    let facts = Facts {
        source: sighting.source,
        body: &body,
        event_type,
        delivery: None,
        time: row.time,
        received: sighting.observed,
        element: (0, 1),
        // What lists tell has no row.
        row: (row.id != 0).then_some(row.id),
    };
    let tree = Tree::of(&data);
    let thing = Thing::of(&tree);
    let (key, subject, origin) =
        (key::of(&tree, thing.as_ref(), &facts), thing.and_then(|thing| thing.subject()), super::origin::of(&tree));
    Change {
        key,
        event_type: Arc::from(event_type),
        time: row.time,
        observed: Some(sighting.observed),
        tenant: None,
        folder: Some(sighting.folder.clone()),
        subject,
        service_id: None,
        element: 0,
        origin,
        data: Arc::new(data),
        problem: None,
    }
}

/// What lists have and events do not: the same again as text, what belongs to the list, what changes with every read.
const LIST_ONLY: &[&str] = &[
    "SpecificData",
    "OutputData",
    "AnalyticsData",
    "Encrypted",
    "HasVideoRecorded",
    "RowVersion",
    "QueueDefinition",
    "ReviewerUser",
    "Robot",
    "ProcessingExceptionType",
    "OrganizationUnitId",
    "OrganizationUnitFullyQualifiedName",
    "Error",
];

/// What is written when robots are done.
const OF_THE_END: &[&str] = &["EndProcessing", "ProcessingException", "Output", "Analytics"];

/// What is written when a robot takes the item.
const OF_THE_START: &[&str] = &["StartProcessing", "Progress", "RobotId", "ExecutorJobKey", "OperationId"];

/// The item as it was after the row, as far as that can be told from how it is now.
fn item_then(event_type: &str, row: &FeedRow, now: Option<&Value>) -> Value {
    let mut item = Map::new();
    if let Some(Value::Object(now)) = now {
        item.extend(
            now.iter().filter(|(name, value)| !value.is_null() && !LIST_ONLY.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())),
        );
        for (field, text) in [("SpecificContent", "SpecificData"), ("Output", "OutputData"), ("Analytics", "AnalyticsData")] {
            if !item.contains_key(field)
                && let Some(read) = now.get(text).and_then(dynamic_properties)
            {
                item.insert(field.to_owned(), read);
            }
        }
        if let Some(Value::Object(exception)) = item.get_mut("ProcessingException") {
            exception.retain(|name, value| matches!(name.as_str(), "Reason" | "Details" | "Type") && !value.is_null());
        }
    }
    item.insert("Id".to_owned(), row.item.into());
    item.insert("Status".to_owned(), row.status.name().into());
    item.insert("ReviewStatus".to_owned(), (*row.review).into());
    let drop = |item: &mut Map<String, Value>, fields: &[&str]| item.retain(|name, _| !fields.contains(&name.as_str()));
    // The failure of an item that was retried at once is told by a row of its retry.
    let ended = row.status.is_final() || matches!(event_type, "queueItem.transactionFailed");
    if !ended {
        drop(&mut item, OF_THE_END);
    }
    match event_type {
        "queueItem.added" => drop(&mut item, OF_THE_START),
        "queueItem.transactionStarted" => {
            // An item that was deferred and taken again shows its last start: this one's moment is the row's.
            let own = stamp(item.get("StartProcessing"));
            if let Some(time) = row.time
                && own.is_none_or(|own| own.distance(time) > STAMP_TOLERANCE)
            {
                item.insert("StartProcessing".to_owned(), time.to_string().into());
            }
        }
        "queueItem.transactionFailed" if row.status == Status::Retried => {
            item.insert("Status".to_owned(), Status::Failed.name().into());
        }
        _ => {}
    }
    Value::Object(item)
}

/// A sane instant out of a field.
fn stamp(value: Option<&Value>) -> Option<Timestamp> {
    Timestamp::parse_lenient(value?.as_str()?).and_then(Timestamp::sane)
}

/// `{"DynamicProperties": {…}}` in a text, as older versions have content and output.
fn dynamic_properties(value: &Value) -> Option<Value> {
    let parsed: Value = serde_json::from_str(value.as_str()?).ok()?;
    parsed.get("DynamicProperties").filter(|inner| inner.is_object()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::orchestrator;
    use crate::normalize::stood::{known_before, state_after};

    fn source() -> SourceView {
        SourceView { name: "prod".into(), tenant_url: Some("https://o.example/t".into()) }
    }

    fn row(action: &str, status: &str, review: &str) -> FeedRow {
        let row = json!({"Id": 20333, "QueueItemId": 7, "Timestamp": "2026-03-01T10:00:00.66Z", "Action": action, "Status": status, "ReviewStatus": review});
        FeedRow::of(&row).expect("a row")
    }

    fn before(status: Status) -> Option<LastState> {
        Some(LastState { status, review: "None".into(), row: 1, queue: 3, seen: 0, began: None, past: Vec::new() })
    }

    #[test]
    fn rows_become_events_by_what_was_known() {
        use Status::{Abandoned, Failed, InProgress, New, Retried, Successful};
        let cases: &[(&str, &str, Option<LastState>, &[&str])] = &[
            ("Create", "New", None, &["added"]),
            ("Create", "New", before(New), &[]),
            ("Status", "InProgress", before(New), &["transactionStarted"]),
            ("Status", "InProgress", None, &["transactionStarted"]),
            ("Edit", "InProgress", before(InProgress), &["updated"]),
            ("Edit", "InProgress", None, &["updated"]),
            ("Edit", "InProgress", before(New), &["transactionStarted"]),
            ("Status", "New", before(InProgress), &["deferred"]),
            ("Status", "New", None, &[]),
            ("Edit", "New", before(New), &["updated"]),
            ("Edit", "Failed", before(InProgress), &["transactionFailed"]),
            ("Status", "Failed", before(Failed), &[]),
            ("Status", "Successful", before(InProgress), &["transactionCompleted"]),
            ("Status", "Abandoned", before(InProgress), &["transactionAbandoned"]),
            ("Delete", "Deleted", before(New), &["deleted"]),
            ("Delete", "Deleted", before(Successful), &["deleted"]),
            ("Retry", "Retried", before(InProgress), &["transactionFailed", "retried"]),
            ("Retry", "Retried", before(Failed), &["retried"]),
            ("Retry", "Retried", before(Abandoned), &["retried"]),
            ("Retry", "Retried", before(Retried), &[]),
            ("Edit", "Successful", before(Successful), &["updated"]),
        ];
        for (action, status, before, expected) in cases {
            let expected: Vec<String> = expected.iter().map(|name| format!("queueItem.{name}")).collect();
            assert_eq!(events_of(&row(action, status, "None"), before.as_ref(), false), expected, "{action} {status} after {before:?}");
        }
        assert_eq!(events_of(&row("Create", "New", "None"), None, true), ["queueItem.added", "queueItem.retried"]);
        assert_eq!(events_of(&row("Edit", "Failed", "InReview"), before(Failed).as_ref(), false), ["queueItem.reviewStatusChanged"]);
    }

    #[test]
    fn rows_that_are_read_again_or_late_stand_for_the_same_events() {
        use Status::{Abandoned, InProgress, New, Retried};
        let life = [
            (1, "Create", New),
            (3, "Status", InProgress),
            (4, "Edit", InProgress),
            (5, "Edit", InProgress),
            (6, "Status", Abandoned),
            (8, "Edit", Abandoned),
            (9, "Retry", Retried),
        ];
        let rows: Vec<FeedRow> =
            life.iter().map(|(id, action, status)| FeedRow { id: *id, ..row(action, status.name(), "None") }).collect();
        let mut state = None;
        let mut told = |row: &FeedRow| {
            let events = events_of(row, known_before(row, state.as_ref()).as_ref(), false);
            state = Some(state_after(row, state.as_ref(), 3, Timestamp::EPOCH));
            events
        };
        let first: Vec<_> = rows.iter().map(&mut told).collect();
        assert_eq!(rows.iter().map(&mut told).collect::<Vec<_>>(), first, "read again, in another folder");
        let mut late = rows.clone();
        let abandoned = late.remove(4);
        state = None;
        let mut told = |row: &FeedRow| {
            let events = events_of(row, known_before(row, state.as_ref()).as_ref(), false);
            state = Some(state_after(row, state.as_ref(), 3, Timestamp::EPOCH));
            events
        };
        late.iter().for_each(|row| drop(told(row)));
        assert_eq!((told(&abandoned), told(&rows[6])), (first[4].clone(), first[6].clone()), "one came late");
        let state = state.expect("a state");
        assert!((state.row, state.status) == (9, Retried) && state.past.len() == 5, "{state:?}");
    }

    #[test]
    fn what_was_over_long_before_does_not_end_again() {
        let item = json!({"Id": 7, "QueueDefinitionId": 3, "EndProcessing": "2026-02-01T10:00:00Z"});
        for (action, status, review, expected) in [
            ("Edit", "Failed", "InReview", &["queueItem.reviewStatusChanged"][..]),
            ("Edit", "Failed", "None", &["queueItem.updated"]),
            ("Retry", "Retried", "None", &["queueItem.retried"]),
            ("Delete", "Deleted", "None", &["queueItem.deleted"]),
        ] {
            let row = row(action, status, review);
            assert_eq!(events_of(&row, assumed_before(&row, Some(&item)).as_ref(), false), expected, "{action} {status}");
        }
        let ends = row("Status", "Failed", "None");
        let now = json!({"Id": 7, "QueueDefinitionId": 3, "EndProcessing": "2026-03-01T10:00:01Z"});
        assert_eq!((assumed_before(&ends, Some(&now)), assumed_before(&ends, None)), (None, None));
    }

    #[test]
    fn rows_that_say_nothing_are_nobodys_change() {
        for bad in [
            json!({}),
            json!({"Id": 1, "QueueItemId": 2, "Action": "Create"}),
            json!({"Id": 1, "QueueItemId": 2, "Action": "Sing", "Status": "New"}),
            json!(null),
        ] {
            assert_eq!(FeedRow::of(&bad), None);
        }
        let numbers =
            FeedRow::of(&json!({"Id": "1", "QueueItemId": "2", "Action": "status", "Status": 1, "Timestamp": "0001-01-01T00:00:00Z"}))
                .expect("a row");
        assert_eq!((numbers.status, numbers.time), (Status::InProgress, None));
    }

    /// The item as a list shows it after it has failed.
    fn listed() -> Value {
        json!({
            "Id": 7, "Key": "k", "QueueDefinitionId": 3, "Reference": "A-1", "Status": "Failed", "ReviewStatus": "None", "Priority": "High",
            "StartProcessing": "2026-03-01T10:00:00.6603953Z", "EndProcessing": "2026-03-01T10:05:00Z", "DueDate": "2026-04-01T00:00:00Z",
            "DeferDate": "2026-03-01T12:00:00.1Z", "AncestorId": 6, "Progress": "half", "RobotId": null, "RowVersion": "AAA=", "Output": null,
            "ProcessingException": {"Reason": "boom", "Details": null, "Type": "ApplicationException", "CreationTime": "2026-03-01T10:05:00Z"},
            "SpecificContent": null, "SpecificData": "{\"DynamicProperties\": {\"InvoiceId\": \"A-1\"}}",
        })
    }

    fn seen(event_type: &'static str, row: &FeedRow) -> Change {
        let (queue, folder) = (QueueData { data: json!({"Id": 3, "Name": "Invoices"}) }, Folder { id: Some(9), ..Folder::default() });
        let (source, item) = (source(), listed());
        let observed = Timestamp::from_millis(1_800_000_000_000);
        change(event_type, row, &Sighting { source: &source, item: Some(&item), queue: &queue, folder: &folder, observed })
    }

    fn delivered(event_type: &str, item: &Value) -> Change {
        let body = json!({
            "Type": event_type, "EventId": "e", "Timestamp": "2026-03-01T10:00:00.6603953Z", "TenantId": 1, "OrganizationUnitId": 9,
            "Queue": {"Id": 3, "Name": "Invoices"}, "QueueItems": [item],
        });
        orchestrator(body.to_string().as_bytes(), &source(), Timestamp::from_millis(0)).changes.remove(0)
    }

    #[test]
    fn a_webhook_and_a_row_of_one_change_have_one_key_and_one_subject() {
        let item = json!({
            "Id": 7, "Reference": "A-1", "AncestorId": 6, "Priority": "High", "DueDate": "2026-04-01T00:00:00Z", "DeferDate": "2026-03-01T12:00:00.1000000Z",
            "StartProcessing": "2026-03-01T10:00:01Z", "SpecificContent": {"InvoiceId": "A-1"}, "ReviewStatus": "InReview", "Progress": "half",
        });
        for (event_type, action, status, review) in [
            ("queueItem.added", "Create", "New", "None"),
            ("queueItem.retried", "Create", "New", "None"),
            ("queueItem.transactionStarted", "Status", "InProgress", "None"),
            ("queueItem.deferred", "Status", "New", "None"),
            ("queueItem.transactionCompleted", "Status", "Successful", "None"),
            ("queueItem.transactionFailed", "Status", "Failed", "None"),
            ("queueItem.transactionAbandoned", "Status", "Abandoned", "None"),
            ("queueItem.deleted", "Delete", "Deleted", "None"),
            ("queueItem.reviewStatusChanged", "Edit", "Failed", "InReview"),
            ("queueItem.updated", "Edit", "InProgress", "None"),
        ] {
            let (polled, hooked) = (seen(event_type, &row(action, status, review)), delivered(event_type, &item));
            let one = polled.key.same_change(&hooked.key) || polled.key.may_be(&hooked.key);
            assert!(one, "{event_type}: {:?} and {:?}", polled.key, hooked.key);
            assert_eq!(polled.subject, hooked.subject);
        }
    }

    #[test]
    fn what_a_row_does_not_tell_is_not_in_its_key() {
        for (event_type, status) in [("queueItem.updated", "InProgress"), ("queueItem.deferred", "New")] {
            let row = row("Edit", status, "None");
            let (first, again) = (seen(event_type, &row), seen(event_type, &row));
            assert!(first.key.same_change(&again.key));
            let next = FeedRow { id: row.id + 1, ..row };
            assert!(!first.key.same_change(&seen(event_type, &next).key), "{event_type}: two rows of one moment are two changes");
        }
    }

    #[test]
    fn rows_without_a_moment_are_told_apart() {
        for event_type in ["queueItem.updated", "queueItem.deferred", "queueItem.reviewStatusChanged"] {
            let row = FeedRow { time: None, ..row("Edit", "Failed", "InReview") };
            let other = FeedRow { id: row.id + 1, ..row.clone() };
            let (first, again, other) = (seen(event_type, &row).key, seen(event_type, &row).key, seen(event_type, &other).key);
            assert!(first.same_change(&again) && !first.same_change(&other), "{event_type}: {first:?} and {other:?}");
        }
    }

    #[test]
    fn the_item_is_shown_as_it_was() {
        let fields = |event_type, action, status| seen(event_type, &row(action, status, "None")).data["QueueItem"].clone();
        let added = fields("queueItem.added", "Create", "New");
        assert_eq!(added["Status"], "New");
        assert_eq!(added["SpecificContent"], json!({"InvoiceId": "A-1"}));
        for gone in
            ["StartProcessing", "EndProcessing", "ProcessingException", "Progress", "RobotId", "RowVersion", "SpecificData", "Output"]
        {
            assert!(added.get(gone).is_none(), "{gone}");
        }
        let started = fields("queueItem.transactionStarted", "Status", "InProgress");
        assert_eq!(started["StartProcessing"], "2026-03-01T10:00:00.6603953Z");
        assert!(started.get("ProcessingException").is_none());
        let failed = fields("queueItem.transactionFailed", "Retry", "Retried");
        assert_eq!(failed["Status"], "Failed");
        assert_eq!(failed["ProcessingException"], json!({"Reason": "boom", "Type": "ApplicationException"}));
    }

    #[test]
    fn a_start_that_is_not_the_last_one_has_the_moment_of_its_row() {
        let mut earlier = row("Status", "InProgress", "None");
        earlier.time = Timestamp::parse_lenient("2026-03-01T08:00:00Z");
        let started = seen("queueItem.transactionStarted", &earlier);
        assert_eq!(started.data["QueueItem"]["StartProcessing"], "2026-03-01T08:00:00Z");
        assert_eq!(started.key.stamp, earlier.time);
    }

    #[test]
    fn an_item_that_is_gone_still_has_its_event() {
        let (queue, folder, source) = (QueueData { data: json!({"Id": 3, "Name": "Invoices"}) }, Folder::default(), source());
        let sighting = Sighting { source: &source, item: None, queue: &queue, folder: &folder, observed: Timestamp::from_millis(0) };
        let deleted = change("queueItem.deleted", &row("Delete", "Deleted", "None"), &sighting);
        assert_eq!(deleted.data["QueueItem"], json!({"Id": 7, "Status": "Deleted", "ReviewStatus": "None"}));
    }
}
