//! The documented shapes: how items, queues, jobs and the rest look in answers (nulls written out) and in events
//! (nulls left out, stamps with seven digits).

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::sandbox::model::{Exception, FeedRow, Folder, Item, Job, Named, Priority, Queue, Release, Review, Status};
use crate::sandbox::odata::{Cell, Columns, Kind, Row};
use crate::time::Timestamp;

/// An instant in an answer: the database rounds to milliseconds.
pub(in crate::sandbox) fn rest(stamp: Timestamp) -> String {
    format!("{:.3}", stamp.to_jiff())
}

/// An instant in an event: seven digits.
pub(in crate::sandbox) fn exact(stamp: Timestamp) -> String {
    format!("{:.7}", stamp.to_jiff())
}

/// A queue item in answers (`QueueItemDto`).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ItemDto<'a> {
    queue_definition_id: i64,
    processing_exception: Option<Value>,
    error: Option<Value>,
    encrypted: bool,
    specific_content: &'a Map<String, Value>,
    output: Option<&'a Map<String, Value>>,
    output_data: Option<String>,
    analytics: Option<&'a Map<String, Value>>,
    analytics_data: Option<String>,
    status: Status,
    review_status: Review,
    reviewer_user_id: Option<i64>,
    key: &'a str,
    reference: Option<&'a str>,
    processing_exception_type: Option<Exception>,
    due_date: Option<String>,
    risk_sla_date: Option<String>,
    priority: Priority,
    robot_id: Option<i64>,
    creator_job_key: Option<String>,
    executor_job_key: Option<String>,
    defer_date: Option<String>,
    start_processing: Option<String>,
    end_processing: Option<String>,
    seconds_in_previous_attempts: i64,
    ancestor_id: Option<i64>,
    ancestor_unique_key: Option<&'a str>,
    retry_number: i64,
    manual_ancestor_id: Option<i64>,
    manual_ancestor_unique_key: Option<&'a str>,
    manual_retry_number: i64,
    unique_key: &'a str,
    has_video_recorded: bool,
    specific_data: String,
    creation_time: String,
    progress: Option<&'a str>,
    row_version: String,
    parent_operation_id: Option<&'a str>,
    operation_id: Option<&'a str>,
    organization_unit_id: i64,
    organization_unit_fully_qualified_name: &'a str,
    id: i64,
}

/// The opaque version of an item: eight bytes in base64, as the database prints them.
pub(in crate::sandbox) fn row_version(item: &Item) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(item.version.to_be_bytes())
}

fn dynamic(map: &Map<String, Value>) -> String {
    json!({"DynamicProperties": map}).to_string()
}

/// An item as answers have it.
pub(in crate::sandbox) fn item(item: &Item, folder: &Folder) -> Value {
    let failure = item.failure.as_ref();
    let dto = ItemDto {
        queue_definition_id: item.queue,
        processing_exception: failure.map(|f| {
            json!({"Reason": f.reason, "Details": f.details, "Type": f.kind, "AssociatedImageFilePath": null, "CreationTime": rest(f.time)})
        }),
        error: None,
        encrypted: false,
        specific_content: &item.content,
        output: item.output.as_deref(),
        output_data: item.output.as_deref().map(dynamic),
        analytics: item.analytics.as_deref(),
        analytics_data: item.analytics.as_deref().map(dynamic),
        status: item.status,
        review_status: item.review,
        reviewer_user_id: None,
        key: &item.key,
        reference: item.reference.as_deref(),
        processing_exception_type: failure.map(|f| f.kind),
        due_date: item.due.map(rest),
        risk_sla_date: item.risk_sla.map(rest),
        priority: item.priority,
        robot_id: None,
        creator_job_key: None,
        executor_job_key: None,
        defer_date: item.defer.map(rest),
        start_processing: item.started.map(rest),
        end_processing: item.ended.map(rest),
        seconds_in_previous_attempts: item.seconds_before,
        ancestor_id: item.ancestor.as_ref().map(|(id, _)| *id),
        ancestor_unique_key: item.ancestor.as_ref().map(|(_, key)| &**key),
        retry_number: item.retry_number,
        manual_ancestor_id: item.manual_ancestor.as_ref().map(|(id, _)| *id),
        manual_ancestor_unique_key: item.manual_ancestor.as_ref().map(|(_, key)| &**key),
        manual_retry_number: item.manual_retry_number,
        unique_key: &item.unique_key,
        has_video_recorded: false,
        specific_data: dynamic(&item.content),
        creation_time: rest(item.created),
        progress: item.progress.as_deref(),
        row_version: row_version(item),
        parent_operation_id: item.parent_operation.as_deref(),
        operation_id: item.operation.as_deref(),
        organization_unit_id: folder.id,
        organization_unit_fully_qualified_name: &folder.path,
        id: item.id,
    };
    serde_json::to_value(dto).unwrap_or_default()
}

/// An item as events have it (`QueueItemSimpleEventDto`): null fields are left out.
pub(in crate::sandbox) fn item_event(item: &Item) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            map.insert(name.to_owned(), value);
        }
    };
    put("Id", item.id.into());
    put("Key", json!(item.key));
    put("UniqueKey", json!(item.unique_key));
    put("Reference", json!(item.reference));
    put("QueueDefinitionId", item.queue.into());
    put("Status", json!(item.status));
    put("ReviewStatus", json!(item.review));
    if let Some(f) = &item.failure {
        let details = f.details.as_deref();
        put("ProcessingException", strip(json!({"Reason": f.reason, "Details": details, "Type": f.kind, "Timestamp": exact(f.time)})));
    }
    put("DueDate", json!(item.due.map(exact)));
    put("Priority", json!(item.priority));
    put("CreationTime", json!(exact(item.created)));
    put("DeferDate", json!(item.defer.map(exact)));
    put("StartProcessing", json!(item.started.map(exact)));
    put("EndProcessing", json!(item.ended.map(exact)));
    put("RiskSlaDate", json!(item.risk_sla.map(exact)));
    put("SecondsInPreviousAttempts", item.seconds_before.into());
    put("AncestorId", json!(item.ancestor.as_ref().map(|(id, _)| id)));
    put("AncestorUniqueKey", json!(item.ancestor.as_ref().map(|(_, key)| key)));
    put("RetryNumber", item.retry_number.into());
    put("ManualAncestorId", json!(item.manual_ancestor.as_ref().map(|(id, _)| id)));
    put("ManualAncestorUniqueKey", json!(item.manual_ancestor.as_ref().map(|(_, key)| key)));
    put("ManualRetryNumber", item.manual_retry_number.into());
    put("Progress", json!(item.progress));
    put("SpecificContent", json!(item.content));
    put("Output", json!(item.output));
    put("Source", json!(item.source));
    put("ParentOperationId", json!(item.parent_operation));
    put("OperationId", json!(item.operation));
    Value::Object(map)
}

/// An object without its null fields.
pub(in crate::sandbox) fn strip(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}

/// Takes away what items of 2020 and before do not have.
pub(in crate::sandbox) fn as_of_2020(item: &mut Value) {
    const SINCE_THEN: [&str; 7] = [
        "UniqueKey",
        "AncestorUniqueKey",
        "ManualAncestorUniqueKey",
        "CreatorJobKey",
        "ExecutorJobKey",
        "ParentOperationId",
        "OperationId",
    ];
    if let Some(fields) = item.as_object_mut() {
        fields.retain(|name, _| !SINCE_THEN.contains(&name.as_str()));
    }
}

/// The process of a job in answers (`SimpleReleaseDto`).
pub(in crate::sandbox) fn release_of_job(release: &Release) -> Value {
    json!({
        "Key": release.key, "ProcessKey": release.name, "ProcessVersion": "1.0.0", "IsLatestVersion": true, "IsProcessDeleted": false,
        "Description": null, "Name": release.name, "ProcessType": "Process", "Id": release.id,
    })
}

/// A queue in answers.
pub(in crate::sandbox) fn queue(queue: &Queue, folder: &Folder) -> Value {
    json!({
        "Key": queue.key, "Name": queue.name, "Description": queue.description, "MaxNumberOfRetries": queue.max_retries,
        "AcceptAutomaticallyRetry": queue.auto_retry, "RetryAbandonedItems": queue.retry_abandoned,
        "EnforceUniqueReference": queue.unique, "Encrypted": false, "SpecificDataJsonSchema": null, "OutputDataJsonSchema": null,
        "AnalyticsDataJsonSchema": null, "CreationTime": rest(queue.created), "ProcessScheduleId": null, "SlaInMinutes": 0,
        "RiskSlaInMinutes": 0, "ReleaseId": null, "IsProcessInCurrentFolder": null, "FoldersCount": queue.folders.len(),
        "OrganizationUnitId": folder.id, "OrganizationUnitFullyQualifiedName": folder.path, "Tags": [], "Id": queue.id,
    })
}

/// A queue in events.
pub(in crate::sandbox) fn queue_event(queue: &Queue) -> Value {
    json!({
        "Id": queue.id, "Key": queue.key, "Name": queue.name, "Description": queue.description,
        "MaxNumberOfRetries": queue.max_retries, "AcceptAutomaticallyRetry": queue.auto_retry,
        "RetryAbandonedItems": queue.retry_abandoned, "EnforceUniqueReference": queue.unique, "Tags": [],
    })
}

/// A folder in answers.
pub(in crate::sandbox) fn folder(folder: &Folder) -> Value {
    json!({
        "Key": folder.key, "DisplayName": folder.path.rsplit('/').next(), "FullyQualifiedName": folder.path,
        "Description": "", "FolderType": "Standard", "IsPersonal": false, "ProvisionType": "Automatic",
        "PermissionModel": "FineGrained", "ParentId": folder.parent, "ParentKey": null, "FeedType": "Processes", "Id": folder.id,
    })
}

/// A process in answers.
pub(in crate::sandbox) fn release(release: &Release, folder: &Folder) -> Value {
    json!({
        "Key": release.key, "ProcessKey": release.name, "ProcessVersion": "1.0.0", "IsLatestVersion": true, "IsProcessDeleted": false,
        "Description": "", "Name": release.name, "ProcessType": "Process", "SupportsMultipleEntryPoints": true,
        "RequiresUserInteraction": false, "IsAttended": false, "AutoUpdate": false, "JobPriority": "Normal",
        "TargetFramework": "Portable", "FolderKey": folder.key, "OrganizationUnitId": folder.id,
        "OrganizationUnitFullyQualifiedName": folder.path, "CreationTime": rest(release.created), "Id": release.id,
    })
}

/// A job in answers; lists leave the arguments out.
pub(in crate::sandbox) fn job(job: &Job, release: &Release, folder: &Folder, arguments: bool) -> Value {
    let input = job.input.as_ref().filter(|_| arguments);
    let output = job.output.as_ref().filter(|_| arguments).map(ToString::to_string);
    json!({
        "Key": job.key, "StartTime": job.started.map(rest), "EndTime": job.ended.map(rest), "State": job.state, "SubState": null,
        "JobPriority": job.priority, "Source": job.source, "SourceType": job.source, "BatchExecutionKey": job.batch, "Info": job.info,
        "CreationTime": rest(job.created), "StartingScheduleId": null, "ReleaseName": release.name, "Type": "Unattended",
        "InputArguments": input, "OutputArguments": output, "HostMachineName": null, "HasMediaRecorded": false,
        "RuntimeType": job.runtime, "RequiresUserInteraction": false, "ReleaseVersionId": release.id,
        "OrganizationUnitId": folder.id, "OrganizationUnitFullyQualifiedName": folder.path, "Reference": job.reference,  "ProcessType": "Process", "ResumeTime": job.resumed.map(rest),
        "LastModificationTime": rest(job.modified), "JobError": null, "ErrorCode": null, "ParentJobKey": null, "Id": job.id,
    })
}

/// A row of the change feed in answers.
pub(in crate::sandbox) fn feed(row: &FeedRow) -> Value {
    json!({
        "QueueItemId": row.item, "Timestamp": rest(row.time), "Action": row.action, "Data": null, "UserId": 1, "UserName": "sandbox",
        "Status": row.status, "ReviewStatus": row.review, "ReviewerUserId": null, "ReviewerUserName": null, "ExternalClientId": null,
        "Id": row.id,
    })
}

/// An item beside its queue, as lists see it.
#[derive(Clone, Copy)]
pub(in crate::sandbox) struct ItemRow<'w> {
    pub(in crate::sandbox) item: &'w Item,
    pub(in crate::sandbox) queue: &'w Queue,
    pub(in crate::sandbox) folder: &'w Folder,
}

/// What items may be filtered and ordered by.
pub(in crate::sandbox) const ITEM_COLUMNS: Columns = &[
    ("Id", Kind::Int),
    ("Key", Kind::Guid),
    ("UniqueKey", Kind::Guid),
    ("QueueDefinitionId", Kind::Int),
    ("QueueDefinition/Name", Kind::Text),
    ("QueueDefinition/Id", Kind::Int),
    ("Reference", Kind::Text),
    ("Status", Kind::Enum(Status::NAMES)),
    ("ReviewStatus", Kind::Enum(Review::NAMES)),
    ("Priority", Kind::Enum(Priority::NAMES)),
    ("ProcessingExceptionType", Kind::Enum(Exception::NAMES)),
    ("ProcessingException/Reason", Kind::Text),
    ("CreationTime", Kind::Time),
    ("StartProcessing", Kind::Time),
    ("EndProcessing", Kind::Time),
    ("DueDate", Kind::Time),
    ("DeferDate", Kind::Time),
    ("RiskSlaDate", Kind::Time),
    ("RetryNumber", Kind::Int),
    ("ManualRetryNumber", Kind::Int),
    ("AncestorId", Kind::Int),
    ("ManualAncestorId", Kind::Int),
    ("SecondsInPreviousAttempts", Kind::Int),
    ("Progress", Kind::Text),
    ("ParentOperationId", Kind::Text),
    ("OperationId", Kind::Text),
    ("RobotId", Kind::Int),
    ("ReviewerUserId", Kind::Int),
    ("OrganizationUnitId", Kind::Int),
    ("OrganizationUnitFullyQualifiedName", Kind::Text),
];

impl Row for ItemRow<'_> {
    fn cell(&self, column: &str) -> Cell<'_> {
        let item = self.item;
        match column {
            "Id" => Cell::Int(item.id),
            "Key" => Cell::Text(&item.key),
            "UniqueKey" => Cell::Text(&item.unique_key),
            "QueueDefinitionId" | "QueueDefinition/Id" => Cell::Int(item.queue),
            "QueueDefinition/Name" => Cell::Text(&self.queue.name),
            "Reference" => Cell::text(item.reference.as_deref()),
            "Status" => Cell::Text(item.status.as_str()),
            "ReviewStatus" => Cell::Text(item.review.as_str()),
            "Priority" => Cell::Text(item.priority.as_str()),
            "ProcessingExceptionType" => Cell::text(item.failure.as_ref().map(|f| f.kind.as_str())),
            "ProcessingException/Reason" => Cell::text(item.failure.as_ref().map(|f| f.reason.as_str())),
            "CreationTime" => Cell::Time(item.created),
            "StartProcessing" => Cell::time(item.started),
            "EndProcessing" => Cell::time(item.ended),
            "DueDate" => Cell::time(item.due),
            "DeferDate" => Cell::time(item.defer),
            "RiskSlaDate" => Cell::time(item.risk_sla),
            "RetryNumber" => Cell::Int(item.retry_number),
            "ManualRetryNumber" => Cell::Int(item.manual_retry_number),
            "AncestorId" => Cell::int(item.ancestor.as_ref().map(|(id, _)| *id)),
            "ManualAncestorId" => Cell::int(item.manual_ancestor.as_ref().map(|(id, _)| *id)),
            "SecondsInPreviousAttempts" => Cell::Int(item.seconds_before),
            "Progress" => Cell::text(item.progress.as_deref()),
            "ParentOperationId" => Cell::text(item.parent_operation.as_deref()),
            "OperationId" => Cell::text(item.operation.as_deref()),
            "OrganizationUnitId" => Cell::Int(self.folder.id),
            "OrganizationUnitFullyQualifiedName" => Cell::Text(&self.folder.path),
            _ => Cell::Null,
        }
    }
}

/// What rows of the change feed may be filtered and ordered by.
pub(in crate::sandbox) const FEED_COLUMNS: Columns = &[
    ("Id", Kind::Int),
    ("QueueItemId", Kind::Int),
    ("Timestamp", Kind::Time),
    ("Action", Kind::Enum(crate::sandbox::model::Action::NAMES)),
    ("Status", Kind::Enum(Status::NAMES)),
    ("ReviewStatus", Kind::Enum(Review::NAMES)),
];

impl Row for &FeedRow {
    fn cell(&self, column: &str) -> Cell<'_> {
        match column {
            "Id" => Cell::Int(self.id),
            "QueueItemId" => Cell::Int(self.item),
            "Timestamp" => Cell::Time(self.time),
            "Action" => Cell::Text(self.action.as_str()),
            "Status" => Cell::Text(self.status.as_str()),
            "ReviewStatus" => Cell::Text(self.review.as_str()),
            _ => Cell::Null,
        }
    }
}
