//! Items and jobs whose end is awaited: how they stand.

use serde_json::Value;

use super::Targets;
use super::attempt::{Answered, Order};
use super::orchestrator::resolve;
use crate::normalize::named;
use crate::orchestrator::{CallTrace, Called};
use crate::rules::{AwaitJob, GetItem, ItemLookup, JobLookup};
use crate::runs::{Awaited, Class, Failure, Outcome};

/// States of an item after which nothing comes by itself. `Retried` is none: its next attempt is awaited.
const ITEM_ENDS: &[&str] = &["Successful", "Failed", "Abandoned", "Deleted"];
/// States of a job after which nothing comes.
const JOB_ENDS: &[&str] = &["Successful", "Faulted", "Stopped"];

/// Reads an item; one that was retried stands for its newest attempt.
pub(super) async fn item(targets: &Targets, order: &Order, item: &GetItem) -> Answered {
    let (client, folder) = match resolve(targets, order, &item.target, "await_item") {
        Ok(resolved) => resolved,
        Err(answered) => return *answered,
    };
    let (mut called, what) = match &item.by {
        ItemLookup::Id(id) => (client.item(folder.as_ref(), *id, order.timeout).await, format!("item {id}")),
        ItemLookup::Reference { queue, reference } => (
            client.item_by_reference(folder.as_ref(), queue, reference, order.timeout).await,
            format!("the item with reference `{reference}` in queue `{queue}`"),
        ),
    };
    if let Ok(Some(found)) = &called.result
        && state(found, "Status") == "Retried"
        && let Some(id) = found.get("Id").and_then(Value::as_i64)
    {
        called = client.last_retry(folder.as_ref(), id, order.timeout).await;
    }
    let id = |item: &Value| item.get("Id").and_then(Value::as_i64).map(|id| id.to_string());
    judge(called, &what, "Status", ITEM_ENDS, &|item| Some(named(&client.tenant_url(), "queueItem", &id(item)?)))
}

/// Reads a job.
pub(super) async fn job(targets: &Targets, order: &Order, job: &AwaitJob) -> Answered {
    let (client, folder) = match resolve(targets, order, &job.target, "await_job") {
        Ok(resolved) => resolved,
        Err(answered) => return *answered,
    };
    let (called, what) = match &job.by {
        JobLookup::Id(id) => (client.job(folder.as_ref(), *id, order.timeout).await, format!("job {id}")),
        JobLookup::Key(key) => (client.job_by_key(folder.as_ref(), key, order.timeout).await, format!("job {key}")),
    };
    let key = |job: &Value| job.get("Key").and_then(Value::as_str).map(str::to_ascii_lowercase);
    judge(called, &what, "State", JOB_ENDS, &|job| Some(named(&client.tenant_url(), "job", &key(job)?)))
}

fn state<'v>(found: &'v Value, field: &str) -> &'v str {
    found.get(field).and_then(Value::as_str).unwrap_or("without a state")
}

/// `name` says how events name what was found.
fn judge(called: Called<Option<Value>>, what: &str, field: &str, ends: &[&str], name: &dyn Fn(&Value) -> Option<String>) -> Answered {
    let Called { trace, result } = called;
    let outcome = match result {
        Ok(Some(value)) if ends.contains(&state(&value, field)) => Outcome::Done { value },
        Ok(Some(value)) => Outcome::NotYet { stands: format!("{what} is {}", state(&value, field)), awaited: name(&value).map(Awaited) },
        Ok(None) => Outcome::Failed(missing(&trace, what)),
        Err(failure) => Outcome::Failed(failure),
    };
    Answered::new(trace, outcome)
}

fn missing(trace: &CallTrace, what: &str) -> Failure {
    let message = format!("there is no {what} in this folder, so its end cannot be awaited");
    Failure { class: Class::Refused, status: trace.status, message, retry_after: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_end_ends_the_wait() {
        let ask = |field: &str, word: &str, ends| {
            let called = Called { trace: CallTrace::default(), result: Ok(Some(json!({"Id": 7, field: word}))) };
            judge(called, "it", field, ends, &|found| Some(format!("t|x|{}", found["Id"]))).outcome
        };
        for (word, over) in [
            ("New", false),
            ("InProgress", false),
            ("Retried", false),
            ("Successful", true),
            ("Failed", true),
            ("Abandoned", true),
            ("Deleted", true),
        ] {
            assert_eq!(matches!(ask("Status", word, ITEM_ENDS), Outcome::Done { .. }), over, "{word}");
        }
        for (word, over) in [
            ("Pending", false),
            ("Running", false),
            ("Stopping", false),
            ("Suspended", false),
            ("Resumed", false),
            ("Faulted", true),
            ("Stopped", true),
        ] {
            assert_eq!(matches!(ask("State", word, JOB_ENDS), Outcome::Done { .. }), over, "{word}");
        }
        assert_eq!(
            ask("Status", "New", ITEM_ENDS),
            Outcome::NotYet { stands: "it is New".to_owned(), awaited: Some(Awaited("t|x|7".to_owned())) }
        );
        let gone = judge(Called { trace: CallTrace::default(), result: Ok(None) }, "item 7", "Status", ITEM_ENDS, &|_| None).outcome;
        assert!(
            matches!(&gone, Outcome::Failed(failure) if failure.class == Class::Refused && failure.message.contains("item 7")),
            "{gone:?}"
        );
    }
}
