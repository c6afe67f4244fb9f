//! Signed deliveries of every family through the real ingress: each becomes the documented events, twice is once.

use serde_json::{Value, json};

use crate::support::{Daemon, Folder};

fn body(event_type: &str, number: u64, fields: Value) -> Value {
    let mut body = json!({
        "Type": event_type, "EventId": format!("{event_type}-{number}"), "Timestamp": "2026-11-22T10:00:00.1234567Z",
        "TenantId": 1, "OrganizationUnitId": 2, "OrganizationUnitKey": "6205f5a8-d762-4feb-98ec-d43534ef9f89",
    });
    body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    body
}

fn item(id: u64, status: &str) -> Value {
    json!({"Id": id, "Key": "9314c897-bcb1-4bcf-aa9d-1f5752793153", "Status": status, "Reference": format!("R-{id}"),
        "StartProcessing": "2026-11-22T09:59:00.5Z", "AncestorId": id - 1, "SpecificContent": {"A": 1}})
}

fn job(id: u64) -> Value {
    json!({"Id": id, "Key": format!("d7a77655-3245-4d97-b127-{id:012}"), "State": "Successful", "StartTime": "2026-11-22T09:59:00Z",
        "Release": {"Id": 357, "Name": "Nightly"}})
}

/// Type, body fields, the subjects of the events, the path in `data` that must be there.
fn cases() -> Vec<(&'static str, Value, Vec<&'static str>, &'static str)> {
    let queue = json!({"Id": 7, "Name": "Invoices"});
    let with = |name: &str, value: Value| json!({"Queue": queue, name: value});
    vec![
        (
            "queueItem.added",
            with("QueueItems", json!([item(101, "New"), item(102, "InProgress")])),
            vec!["queues/Invoices/items/101", "queues/Invoices/items/102"],
            "/QueueItem/Id",
        ),
        ("queueItem.transactionStarted", with("QueueItem", item(102, "InProgress")), vec!["queues/Invoices/items/102"], "/QueueItem/Id"),
        ("queueItem.transactionCompleted", with("QueueItem", item(102, "Successful")), vec!["queues/Invoices/items/102"], "/QueueItem/Id"),
        ("queueItem.transactionFailed", with("QueueItem", item(101, "Failed")), vec!["queues/Invoices/items/101"], "/Queue/Name"),
        (
            "queueItem.transactionAbandoned",
            with("QueueItems", json!([item(103, "Abandoned")])),
            vec!["queues/Invoices/items/103"],
            "/QueueItem/Id",
        ),
        ("queueItem.retried", with("QueueItems", json!([item(104, "New")])), vec!["queues/Invoices/items/104"], "/QueueItem/AncestorId"),
        ("queueItem.updated", with("QueueItems", json!([item(105, "New")])), vec!["queues/Invoices/items/105"], "/QueueItem/Id"),
        ("queueItem.deleted", with("QueueItems", json!([item(106, "Deleted")])), vec!["queues/Invoices/items/106"], "/QueueItem/Id"),
        ("queueItem.deferred", with("QueueItem", item(107, "New")), vec!["queues/Invoices/items/107"], "/QueueItem/Id"),
        (
            "queueItem.reviewStatusChanged",
            with("QueueItems", json!([item(108, "Failed")])),
            vec!["queues/Invoices/items/108"],
            "/QueueItem/Id",
        ),
        ("job.created", json!({"StartInfo": {"ReleaseKey": "k"}, "Jobs": [job(1), job(2)]}), vec!["jobs/1", "jobs/2"], "/Job/Key"),
        ("job.created", json!({"StartInfo": {"ReleaseKey": "k"}, "Jobs": job(3)}), vec!["jobs/3"], "/Job/Key"),
        ("job.started", json!({"Job": job(1)}), vec!["jobs/1"], "/Job/Key"),
        ("job.completed", json!({"Job": job(1)}), vec!["jobs/1"], "/Job/Release/Name"),
        ("job.faulted", json!({"Job": job(2)}), vec!["jobs/2"], "/Job/Key"),
        ("job.suspended", json!({"Job": job(2)}), vec!["jobs/2"], "/Job/Key"),
        ("job.stopped", json!({"Jobs": [job(4)]}), vec!["jobs/4"], "/Job/Key"),
        ("queue.created", json!({"Queues": [queue], "FolderKeys": []}), vec![""], "/Queue/Name"),
        ("process.updated", json!({"Releases": [{"Id": 5, "Name": "Nightly"}]}), vec![""], "/Release/Name"),
        ("robot.created", json!({"Robots": [{"Id": 6, "Name": "Bot"}]}), vec![""], "/Robot/Name"),
        (
            "robot.status",
            json!({"Sessions": [{"Id": 8, "State": "Available", "Robot": {"Id": 6, "Name": "Bot"}}]}),
            vec![""],
            "/Session/State",
        ),
        ("schedule.failed", json!({"ProcessSchedule": {"Id": 9, "Name": "Daily"}, "Reason": "no robot"}), vec![""], "/Reason"),
        ("task.completed", json!({"Tasks": [{"Id": 10, "Title": "Review", "Status": "Completed"}]}), vec![""], "/Task/Title"),
        ("ping", json!({}), vec![""], ""),
        ("custom", json!({"EventData": {"x": 1}}), vec![""], "/EventData/x"),
        ("brand.new", json!({"Thing": {"Id": 1}}), vec![""], "/Thing/Id"),
    ]
}

#[tokio::test]
async fn every_family_is_kept_as_documented_and_folds_when_it_comes_again() {
    let folder = Folder::new("http://127.0.0.1:9");
    let daemon = Daemon::start(&folder).await;
    for (number, (event_type, fields, subjects, path)) in cases().into_iter().enumerate() {
        let body = body(event_type, number as u64, fields);
        let (status, answer) = daemon.deliver(&body).await.expect("an answer");
        assert_eq!(status, 202, "{event_type}: {answer}");
        let ids = answer["events"].as_array().expect("ids").clone();
        assert_eq!(ids.len(), subjects.len(), "{event_type}: {answer}");
        for (id, subject) in ids.iter().zip(&subjects) {
            let event = daemon.get(&format!("/api/v1/events/{}", id.as_str().expect("text"))).await;
            assert_eq!(event["type"], event_type);
            assert_eq!(event["source"], "hook");
            assert_eq!(event["orchestrator"], "prod");
            assert!(event["verified"].is_string(), "{event}");
            assert_eq!(event["folder"]["id"], 2);
            if !subject.is_empty() {
                assert_eq!(event["subject"], *subject);
            }
            assert!(event["data"].pointer(path).is_some(), "{event_type}: no {path} in {}", event["data"]);
        }
        // The same delivery again, and the copy of another folder: nothing new.
        let mut copy = body.clone();
        copy["OrganizationUnitId"] = json!(3);
        copy["EventId"] = json!(format!("other-{number}"));
        let again = if matches!(event_type, "ping" | "custom" | "brand.new") { vec![body] } else { vec![body, copy] };
        for body in again {
            let (status, answer) = daemon.deliver(&body).await.expect("an answer");
            assert_eq!((status, &answer["events"]), (202, &json!([])), "{event_type}: {answer}");
            assert_eq!(answer["folded"].as_u64(), Some(subjects.len() as u64));
        }
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_used_is_kept_and_shown_as_such() {
    let folder = Folder::new("http://127.0.0.1:9");
    let daemon = Daemon::start(&folder).await;
    for body in ["hello", "", "[1,2]", "{\"Type\":\"x\",\"Type\":\"y\"}", "{\"Type\":", "\u{feff}nonsense"] {
        let (status, answer) = daemon.deliver_bytes(body.as_bytes().to_vec()).await.expect("an answer");
        assert_eq!(status, 202, "{body}: {answer}");
        let id = answer["events"][0].as_str().unwrap_or_else(|| panic!("{body}: {answer}")).to_owned();
        let event = daemon.get(&format!("/api/v1/events/{id}")).await;
        assert_eq!(event["type"], "tripline.unparsed", "{body}");
        assert_eq!(event["data"], Value::Null);
        assert!(event["problem"]["message"].is_string(), "{event}");
        let raw = event["raw"].as_str().expect("the bytes");
        assert_eq!(base64::Engine::decode(&base64::engine::general_purpose::STANDARD, raw).expect("base64"), body.as_bytes());
    }
}
