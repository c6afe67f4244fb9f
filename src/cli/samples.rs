//! Sample deliveries of each documented event type, for `tripline send`: Orchestrator's shapes, invented contents.

use serde_json::{Map, Value, json};

use crate::time::Timestamp;

/// What makes one sample differ from every other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    /// Any number; ids derive from it.
    pub(super) number: u64,
    /// When the sample happens.
    pub(super) now: Timestamp,
}

impl Fresh {
    /// An id as Orchestrator counts them: positive and exact in every JSON reader.
    fn id(self, salt: u64) -> u64 {
        1_000_000_000 + (self.number ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15)) % 8_000_000_000_000
    }

    fn guid(self, salt: u64) -> String {
        let (a, b) = (self.number.rotate_left(17) ^ salt.wrapping_mul(0x9E37_79B9), self.number.wrapping_mul(0xD134_2543_DE82_EF95) ^ salt);
        let (a, b) = (format!("{a:016x}"), format!("{b:016x}"));
        format!("{}-{}-4{}-a{}-{}", &a[..8], &a[8..12], &a[13..], &b[1..4], &b[4..])
    }
}

/// A delivery of this type, which is one of [`crate::normalize::known_types`]; nothing for our own types.
pub(super) fn body(event_type: &str, fresh: Fresh) -> Option<Value> {
    let (family, change) = event_type.split_once('.').unwrap_or((event_type, ""));
    let content = match family {
        "queueItem" => queue_item(change, fresh),
        "job" => job(change, fresh),
        "queue" => json!({ "Queues": [queue(fresh)] }),
        "process" => json!({ "Releases": [release(fresh)] }),
        "robot" if change == "status" => json!({ "Sessions": [session(fresh)] }),
        "robot" => json!({ "Robots": [robot(fresh)] }),
        "schedule" => json!({
            "ProcessSchedule": { "Id": fresh.id(6), "Key": fresh.guid(6), "Name": "Nightly invoices" },
            "Reason": "There are no robots available",
        }),
        "task" => json!({ "Tasks": [task(change, fresh)] }),
        "ping" => json!({}),
        "custom" => json!({ "EventData": { "Sample": true, "Number": fresh.id(9) } }),
        _ => return None,
    };
    let mut body = Map::new();
    body.insert("Type".to_owned(), json!(event_type));
    body.insert("EventId".to_owned(), json!(fresh.id(1).to_string()));
    body.insert("Timestamp".to_owned(), json!(stamp(fresh.now)));
    if let Value::Object(content) = content {
        body.extend(content);
    }
    body.insert("TenantId".to_owned(), json!(1));
    // No OrganizationUnitId: an invented folder would be where steps go; without one it is the orchestrator's own.
    body.insert("UserId".to_owned(), json!(2));
    Some(Value::Object(body))
}

/// With the seven fraction digits that Orchestrator writes.
fn stamp(time: Timestamp) -> String {
    let hundreds = time.as_nanos().rem_euclid(1_000_000_000) / 100;
    let seconds = Timestamp::from_millis(time.as_millis() - time.as_millis().rem_euclid(1000)).to_string();
    format!("{}.{hundreds:07}Z", seconds.trim_end_matches('Z'))
}

fn queue(fresh: Fresh) -> Value {
    json!({ "Id": 17, "Name": "Invoices", "Description": "Invoices to be paid", "MaxNumberOfRetries": 2, "Key": fresh.guid(17) })
}

fn queue_item(change: &str, fresh: Fresh) -> Value {
    let now = stamp(fresh.now);
    let status = match change {
        "transactionStarted" => "InProgress",
        "transactionCompleted" => "Successful",
        "transactionFailed" => "Failed",
        "transactionAbandoned" => "Abandoned",
        "deleted" => "Deleted",
        _ => "New",
    };
    let mut item = json!({
        "Id": fresh.id(2),
        "Key": fresh.guid(2),
        "UniqueKey": fresh.guid(3),
        "QueueDefinitionId": 17,
        "Reference": format!("INV-{}", fresh.id(2) % 1_000_000),
        "Status": status,
        "ReviewStatus": if change == "reviewStatusChanged" { "InReview" } else { "None" },
        "Priority": "Normal",
        "CreationTime": now,
        "RetryNumber": if change == "added" { 0 } else { 2 },
        "SpecificContent": { "InvoiceId": format!("INV-{}", fresh.id(2) % 1_000_000), "Supplier": "Example Ltd", "Amount": 20000 },
    });
    let mut set = |name: &str, value: Value| {
        if let Value::Object(item) = &mut item {
            item.insert(name.to_owned(), value);
        }
    };
    if change.starts_with("transaction") {
        set("StartProcessing", json!(now));
    }
    if matches!(change, "transactionCompleted" | "transactionFailed" | "transactionAbandoned") {
        set("EndProcessing", json!(now));
    }
    if change == "transactionFailed" {
        set(
            "ProcessingException",
            json!({ "Reason": "The supplier portal did not answer", "Details": null, "Type": "ApplicationException" }),
        );
    }
    if change == "transactionCompleted" {
        set("Output", json!({ "Booked": true }));
    }
    if change == "retried" {
        set("AncestorId", json!(fresh.id(4)));
    }
    if change == "deferred" {
        set("DeferDate", json!(stamp(fresh.now.plus(std::time::Duration::from_secs(3600)))));
    }
    match change {
        "transactionStarted" | "transactionCompleted" | "transactionFailed" | "deferred" => {
            json!({ "Queue": queue(fresh), "QueueItem": item })
        }
        _ => json!({ "Queue": queue(fresh), "QueueItems": [item] }),
    }
}

fn job(change: &str, fresh: Fresh) -> Value {
    let now = stamp(fresh.now);
    let state = match change {
        "created" => "Pending",
        "started" => "Running",
        "completed" => "Successful",
        "faulted" => "Faulted",
        "stopped" => "Stopped",
        "suspended" => "Suspended",
        "resumed" => "Resumed",
        "stopping" => "Stopping",
        _ => "Terminating",
    };
    let mut job = json!({
        "Id": fresh.id(5),
        "Key": fresh.guid(5),
        "State": state,
        "StartTime": now,
        "EndTime": if matches!(change, "completed" | "faulted" | "stopped") { json!(now) } else { Value::Null },
        "Info": if change == "faulted" { json!("Object reference not set to an instance of an object.") } else { Value::Null },
        "OutputArguments": {},
        "Robot": robot(fresh),
        "Release": release(fresh),
    });
    if change == "suspended"
        && let Value::Object(job) = &mut job
    {
        job.insert("ResumeTime".to_owned(), Value::Null);
    }
    match change {
        "created" => json!({ "StartInfo": { "ReleaseKey": fresh.guid(8), "JobsCount": 1 }, "Jobs": [job] }),
        "stopped" => json!({ "Jobs": [job] }),
        _ => json!({ "Job": job }),
    }
}

fn release(fresh: Fresh) -> Value {
    json!({ "Id": 8, "Key": fresh.guid(8), "ProcessKey": "Invoices.Pay", "Name": "Pay invoices", "ProcessVersion": "1.0.4" })
}

fn robot(fresh: Fresh) -> Value {
    json!({ "Id": 7, "Key": fresh.guid(7), "Name": "Robot 7", "Type": "Unattended", "MachineName": "RPA-07" })
}

fn session(fresh: Fresh) -> Value {
    json!({ "Id": fresh.id(10), "State": "Disconnected", "ReportingTime": stamp(fresh.now), "Robot": robot(fresh), "MachineName": "RPA-07" })
}

fn task(change: &str, fresh: Fresh) -> Value {
    json!({
        "Id": fresh.id(11),
        "Key": fresh.guid(11),
        "Title": "Check the invoice's supplier",
        "Type": "FormTask",
        "Status": if change == "completed" { "Completed" } else { "Pending" },
        "Priority": "Medium",
        "TaskCatalogName": "Invoices",
        "CreationTime": stamp(fresh.now),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::normalize::{SourceView, known_types, orchestrator};

    fn fresh(number: u64) -> Fresh {
        Fresh { number, now: Timestamp::parse_lenient("2026-11-22T10:00:00.6603953Z").expect("a stamp") }
    }

    #[test]
    fn every_documented_type_has_a_sample_that_is_read_as_that_type() {
        let source = SourceView { name: Arc::from("s"), tenant_url: Some(Arc::from("https://o.example/t")) };
        for event_type in known_types().iter().filter(|name| !name.starts_with("tripline.")) {
            let body = body(event_type, fresh(7)).unwrap_or_else(|| panic!("no sample of {event_type}"));
            let read = orchestrator(body.to_string().as_bytes(), &source, fresh(7).now);
            assert_eq!(read.changes.len(), 1, "{event_type}");
            assert_eq!(&*read.changes[0].event_type, *event_type);
            assert_eq!(read.changes[0].problem, None, "{event_type}");
            assert_eq!(read.changes[0].time, Some(fresh(7).now), "{event_type}");
        }
    }

    #[test]
    fn two_samples_are_two_changes() {
        let source = SourceView { name: Arc::from("s"), tenant_url: None };
        for event_type in known_types().iter().filter(|name| !name.starts_with("tripline.")) {
            let key = |number| {
                let body = body(event_type, fresh(number)).expect("a sample").to_string();
                let read = orchestrator(body.as_bytes(), &source, fresh(number).now);
                (read.changes[0].key.to_string(), read.delivery_id)
            };
            assert_ne!(key(1), key(2), "{event_type}");
        }
    }
}
