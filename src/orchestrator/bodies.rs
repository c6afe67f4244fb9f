//! Request bodies, and what is read out of answers.

use serde_json::{Map, Value, json};

use super::QueueInfo;
use super::json::{field, integer, text};
use crate::rules::{Enqueue, StartJob};
use crate::time::Timestamp;

/// How long the input arguments of a job may be, in characters as Orchestrator counts them (UTF-16 units).
pub const INPUT_MAX: usize = 10_000;

/// The body of AddQueueItem. What is not set is left out, so that Orchestrator's own defaults hold.
pub fn add_queue_item(item: &Enqueue, parent: Option<&str>) -> Value {
    let mut data = Map::new();
    data.insert("Name".to_owned(), json!(item.queue));
    let texts = [("Priority", item.priority.as_deref()), ("Reference", Some(item.reference.as_str())), ("ParentOperationId", parent)];
    for (name, value) in texts {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            data.insert(name.to_owned(), json!(value));
        }
    }
    for (name, at) in [("DeferDate", item.defer), ("DueDate", item.due), ("RiskSlaDate", item.risk_sla)] {
        if let Some(at) = at {
            data.insert(name.to_owned(), json!(date(at)));
        }
    }
    data.insert("SpecificContent".to_owned(), Value::Object(item.content.clone()));
    json!({ "itemData": data })
}

/// The body of StartJobs.
///
/// # Errors
/// Input that Orchestrator would refuse for its length.
pub fn start_jobs(job: &StartJob, release_key: &str, parent: Option<&str>) -> Result<Value, String> {
    let mut info = Map::new();
    info.insert("ReleaseKey".to_owned(), json!(release_key));
    info.insert("Strategy".to_owned(), json!("ModernJobsCount"));
    info.insert("JobsCount".to_owned(), json!(job.count));
    if !job.input.is_empty() {
        let input = input_arguments(job)?;
        info.insert("InputArguments".to_owned(), json!(input));
    }
    let texts = [
        ("JobPriority", job.priority.as_deref()),
        ("RuntimeType", job.runtime.as_deref()),
        ("Reference", Some(job.reference.as_str())),
        ("ParentOperationId", parent),
    ];
    for (name, value) in texts {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            info.insert(name.to_owned(), json!(value));
        }
    }
    Ok(json!({ "startInfo": info }))
}

/// A job's input as the JSON text that Orchestrator wants.
///
/// # Errors
/// It is too long.
pub fn input_arguments(job: &StartJob) -> Result<String, String> {
    let text = serde_json::to_string(&job.input).map_err(|e| e.to_string())?;
    let length = text.encode_utf16().count();
    if length > INPUT_MAX {
        return Err(format!(
            "the input of `{}` is {length} characters long; Orchestrator takes at most {INPUT_MAX}: pass a reference and let the job read the rest",
            job.process
        ));
    }
    Ok(text)
}

/// ISO 8601 in UTC, to the millisecond.
fn date(at: Timestamp) -> String {
    at.to_jiff().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// The rows of a list; `None` when it is no list.
pub fn rows(body: &Value) -> Option<&[Value]> {
    field(body, "value")?.as_array().map(Vec::as_slice)
}

/// What a row of QueueDefinitions says.
pub fn queue_info(row: &Value) -> Option<QueueInfo> {
    Some(QueueInfo {
        id: integer(field(row, "Id")?)?,
        name: text(row, "Name")?.to_owned(),
        unique: field(row, "EnforceUniqueReference").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// Whether an item was made by the step that `parent` (`tl:<run>:<step>:<hops>`) names: run and step are the same.
pub fn is_ours(item: &Value, parent: &str) -> bool {
    let step = |id: &str| id.strip_prefix("tl:").and_then(|rest| rest.rsplit_once(':')).map(|(step, _)| step.to_owned());
    text(item, "ParentOperationId").and_then(step).is_some_and(|theirs| Some(theirs) == step(parent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Target;

    fn enqueue() -> Enqueue {
        Enqueue {
            target: Target::default(),
            queue: "Invoices".into(),
            priority: None,
            reference: "r-1".into(),
            defer: None,
            due: None,
            risk_sla: None,
            content: Map::new(),
            accept_duplicate: true,
        }
    }

    fn start_job() -> StartJob {
        StartJob {
            target: Target::default(),
            process: "P".into(),
            input: Map::new(),
            priority: None,
            count: 1,
            runtime: None,
            reference: "r-1".into(),
            wait: false,
        }
    }

    #[test]
    fn an_item_is_sent_with_what_is_set_and_nothing_else() {
        assert_eq!(add_queue_item(&enqueue(), None), json!({"itemData": {"Name": "Invoices", "Reference": "r-1", "SpecificContent": {}}}));
        let at = |text| Timestamp::parse_lenient(text);
        let full = Enqueue {
            priority: Some("High".into()),
            defer: at("2026-11-22T12:00:00+02:00"),
            due: at("2026-11-23"),
            risk_sla: at("2026-11-22T10:00:00.1234567Z"),
            content: json!({"A": 1, "B": "x", "C": null, "D": 12_345_678_901_234_567_890_u64}).as_object().unwrap().clone(),
            ..enqueue()
        };
        assert_eq!(
            add_queue_item(&full, Some("tl:run:item:1")),
            json!({"itemData": {
                "Name": "Invoices", "Priority": "High", "Reference": "r-1", "ParentOperationId": "tl:run:item:1",
                "DeferDate": "2026-11-22T10:00:00.000Z", "DueDate": "2026-11-23T00:00:00.000Z", "RiskSlaDate": "2026-11-22T10:00:00.123Z",
                "SpecificContent": {"A": 1, "B": "x", "C": null, "D": 12_345_678_901_234_567_890_u64},
            }})
        );
    }

    #[test]
    fn a_job_is_started_with_its_input_as_text() {
        assert_eq!(
            start_jobs(&start_job(), "key", None),
            Ok(json!({"startInfo": {"ReleaseKey": "key", "Strategy": "ModernJobsCount", "JobsCount": 1, "Reference": "r-1"}}))
        );
        let job = StartJob {
            input: json!({"n": 1, "t": "a\"b"}).as_object().unwrap().clone(),
            priority: Some("Low".into()),
            count: 3,
            runtime: Some("Serverless".into()),
            ..start_job()
        };
        assert_eq!(
            start_jobs(&job, "key", Some("tl:r:s:1")),
            Ok(json!({"startInfo": {
                "ReleaseKey": "key", "Strategy": "ModernJobsCount", "JobsCount": 3, "InputArguments": "{\"n\":1,\"t\":\"a\\\"b\"}",
                "JobPriority": "Low", "RuntimeType": "Serverless", "Reference": "r-1", "ParentOperationId": "tl:r:s:1",
            }}))
        );
    }

    #[test]
    fn input_is_measured_as_orchestrator_measures_it() {
        let job = |text: String| StartJob { input: json!({ "t": text }).as_object().unwrap().clone(), ..start_job() };
        // `{"t":""}` takes 8 of them.
        assert!(input_arguments(&job("x".repeat(INPUT_MAX - 8))).is_ok());
        assert!(input_arguments(&job("x".repeat(INPUT_MAX - 7))).is_err());
        assert!(input_arguments(&job("😀".repeat((INPUT_MAX - 8) / 2))).is_ok());
        assert!(input_arguments(&job("😀".repeat(INPUT_MAX / 2))).is_err());
    }

    #[test]
    fn an_item_is_ours_when_run_and_step_are_the_same() {
        for (theirs, ours) in [
            ("tl:01A-ff:item:1", true),
            ("tl:01A-ff:item:2", true),
            ("tl:01A-ff:other:1", false),
            ("tl:01B-ff:item:1", false),
            ("tl:01A-ff:item", false),
            ("tl:01A-ff", false),
            ("somebody", false),
            ("", false),
        ] {
            assert_eq!(is_ours(&json!({ "ParentOperationId": theirs }), "tl:01A-ff:item:1"), ours, "{theirs}");
        }
        assert!(!is_ours(&json!({"ParentOperationId": null}), "tl:01A-ff:item:1"));
        assert!(!is_ours(&json!({"ParentOperationId": "x"}), "x"));
    }

    #[test]
    fn a_queue_is_read_from_its_row() {
        let info = |row| queue_info(&row).map(|q| (q.id, q.name, q.unique));
        assert_eq!(info(json!({"Id": 7, "Name": "Q", "EnforceUniqueReference": true})), Some((7, "Q".into(), true)));
        assert_eq!(info(json!({"Id": "7", "Name": "Q"})), Some((7, "Q".into(), false)));
        assert_eq!(info(json!({"Name": "Q"})), None);
        assert_eq!(rows(&json!({"value": [1]})), Some([json!(1)].as_slice()));
        assert_eq!(rows(&json!({})), None);
        assert_eq!(rows(&json!([])), None);
    }
}
