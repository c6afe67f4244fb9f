//! The steps that Orchestrator carries out, and the look-ups of what became of them.

use serde_json::{Value, json};

use super::Targets;
use super::attempt::{Answered, Order};
use super::targets::{choose, folder};
use crate::orchestrator::{Added, CallTrace, Called, Orchestrator};
use crate::rules::{Enqueue, FolderRef, GetItem, ItemLookup, StartJob, Target};
use crate::runs::{Class, Failure, Intent, Outcome};
use crate::time::Timestamp;

/// How far Orchestrator's clock may be behind ours when an item tells by its creation time whether it is ours.
const CLOCKS_APART: std::time::Duration = std::time::Duration::from_secs(600);

/// The client and folder that a step means, or the answer that there is none.
pub(super) fn resolve<'t>(
    targets: &'t Targets,
    order: &Order,
    wanted: &Target,
    kind: &str,
) -> Result<(&'t Orchestrator, Option<FolderRef>), Box<Answered>> {
    match choose(targets, wanted, &order.event) {
        Ok(chosen) => Ok((chosen, folder(wanted, &order.event, chosen))),
        Err(failure) if order.look_up.is_some() => {
            Err(Box::new(Answered::new(CallTrace { request: kind.to_owned(), ..CallTrace::default() }, Outcome::NotLookedUp(failure))))
        }
        Err(failure) => Err(Box::new(Answered::failed(kind.to_owned(), failure))),
    }
}

/// Adds a queue item.
pub(super) async fn enqueue(targets: &Targets, order: &Order, item: &Enqueue) -> Answered {
    let (client, folder) = match resolve(targets, order, &item.target, "enqueue") {
        Ok(resolved) => resolved,
        Err(answered) => return *answered,
    };
    let Called { trace, result } = client.add_queue_item(folder.as_ref(), item, &order.parent(), order.timeout).await;
    match result {
        Ok(Added::New(value)) => Answered::new(trace, Outcome::Done { value }),
        Ok(Added::AlreadyThere { item: found, ours }) => {
            let outcome = already_there(item, found, ours, order.first);
            Answered { trace, outcome, unique: Some(true) }
        }
        Err(failure) => {
            let uncertain = matches!(failure.class, Class::Unknown | Class::Server | Class::Invalid);
            let unique = if uncertain { is_unique(client, folder.as_ref(), order, item).await.ok().flatten() } else { None };
            Answered { trace, outcome: Outcome::Failed(failure), unique }
        }
    }
}

/// What it means that an item with this reference is there. One that cannot be told to be ours counts as ours when we
/// tried before.
pub(super) fn already_there(item: &Enqueue, found: Option<Value>, ours: Option<bool>, first: bool) -> Outcome {
    let ours = ours.unwrap_or(!first);
    if !ours && !item.accept_duplicate {
        return Outcome::Failed(Failure {
            class: Class::Refused,
            status: Some(409),
            message: format!(
                "queue `{}` has an item with reference `{}` that is not ours, and the step says `on_duplicate: fail`",
                item.queue, item.reference
            ),
            retry_after: None,
        });
    }
    let value = match (found, ours) {
        (Some(found), true) => found,
        (Some(found), false) => json!({"Id": found.get("Id"), "Reference": item.reference, "duplicate": true}),
        (None, true) => json!({"Reference": item.reference}),
        (None, false) => json!({"Reference": item.reference, "duplicate": true}),
    };
    Outcome::Done { value }
}

pub(super) async fn is_unique(
    client: &Orchestrator,
    folder: Option<&FolderRef>,
    order: &Order,
    item: &Enqueue,
) -> Result<Option<bool>, (CallTrace, Failure)> {
    let Called { trace, result } = client.queue(folder, &item.queue, order.timeout).await;
    result.map(|queue| queue.map(|queue| queue.unique)).map_err(|failure| (trace, failure))
}

/// Whether an item may be added again: on a queue that enforces unique references always, else when it is not there.
pub(super) async fn look_up_item(targets: &Targets, order: &Order, item: &Enqueue, intent: &Intent) -> Answered {
    let (client, folder) = match resolve(targets, order, &item.target, "enqueue") {
        Ok(resolved) => resolved,
        Err(answered) => return *answered,
    };
    match is_unique(client, folder.as_ref(), order, item).await {
        Ok(Some(true)) => {
            let trace = CallTrace { request: "look-up of the queue".to_owned(), ..CallTrace::default() };
            return Answered { trace, outcome: Outcome::NotFound, unique: Some(true) };
        }
        Ok(_) => {}
        Err((trace, failure)) => return Answered::new(trace, Outcome::NotLookedUp(failure)),
    }
    let Called { trace, result } = client.item_by_reference(folder.as_ref(), &item.queue, &item.reference, order.timeout).await;
    Answered::new(trace, looked_up(result, &order.parent(), intent))
}

/// Starts a job.
pub(super) async fn start_job(targets: &Targets, order: &Order, job: &StartJob) -> Answered {
    let (client, folder) = match resolve(targets, order, &job.target, "start_job") {
        Ok(resolved) => resolved,
        Err(answered) => return *answered,
    };
    let Called { trace, result } = client.start_job(folder.as_ref(), job, &order.parent(), order.timeout).await;
    Answered::new(trace, result.map_or_else(Outcome::Failed, |value| Outcome::Done { value }))
}

/// Whether a job was started.
pub(super) async fn look_up_job(targets: &Targets, order: &Order, job: &StartJob, intent: &Intent) -> Answered {
    let (client, folder) = match resolve(targets, order, &job.target, "start_job") {
        Ok(resolved) => resolved,
        Err(answered) => return *answered,
    };
    let Called { trace, result } = client.job_by_reference(folder.as_ref(), &job.reference, order.timeout).await;
    Answered::new(trace, looked_up(result, &order.parent(), intent))
}

fn looked_up(result: Result<Option<Value>, Failure>, parent: &str, intent: &Intent) -> Outcome {
    match result {
        Ok(Some(found)) if is_ours(&found, parent, intent.at) => Outcome::Found { value: found },
        Ok(_) => Outcome::NotFound,
        Err(failure) => Outcome::NotLookedUp(failure),
    }
}

/// Whether what has our reference was made by this step: its `ParentOperationId` says so, or, where it has none, it was
/// not there before the request left.
fn is_ours(found: &Value, parent: &str, left: Timestamp) -> bool {
    if let Some(made_by) = found.get("ParentOperationId").and_then(Value::as_str) {
        return made_by == parent;
    }
    let created = ["CreationTime", "StartTime"].iter().find_map(|field| found.get(field)?.as_str().and_then(Timestamp::parse_lenient));
    created.is_none_or(|created| created >= left.minus(CLOCKS_APART))
}

/// Reads a queue item.
pub(super) async fn get_item(targets: &Targets, order: &Order, item: &GetItem) -> Answered {
    let (client, folder) = match resolve(targets, order, &item.target, "get_item") {
        Ok(resolved) => resolved,
        Err(answered) => return *answered,
    };
    let (called, what) = match &item.by {
        ItemLookup::Id(id) => (client.item(folder.as_ref(), *id, order.timeout).await, format!("item {id}")),
        ItemLookup::Reference { queue, reference } => (
            client.item_by_reference(folder.as_ref(), queue, reference, order.timeout).await,
            format!("item with reference `{reference}` in queue `{queue}`"),
        ),
    };
    let outcome = match called.result {
        Ok(Some(value)) => Outcome::Done { value },
        Ok(None) => Outcome::Failed(Failure {
            class: Class::Refused,
            status: called.trace.status,
            message: format!("there is no {what} in this folder"),
            retry_after: None,
        }),
        Err(failure) => Outcome::Failed(failure),
    };
    Answered::new(called.trace, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(accept_duplicate: bool) -> Enqueue {
        Enqueue {
            target: Target::default(),
            queue: "Review".to_owned(),
            priority: None,
            reference: "review-1".to_owned(),
            defer: None,
            due: None,
            risk_sla: None,
            content: serde_json::Map::new(),
            accept_duplicate,
        }
    }

    #[test]
    fn an_item_that_is_there_already_is_success_unless_the_step_minds_somebody_elses() {
        let found = json!({"Id": 9, "Reference": "review-1", "Status": "New"});
        let done = |value| Outcome::Done { value };
        let duplicate = json!({"Id": 9, "Reference": "review-1", "duplicate": true});
        for (accept, found, ours, first, expected) in [
            (true, Some(found.clone()), Some(true), true, done(found.clone())),
            (false, Some(found.clone()), Some(true), true, done(found.clone())),
            (true, Some(found.clone()), Some(false), true, done(duplicate.clone())),
            (true, None, Some(false), true, done(json!({"Reference": "review-1", "duplicate": true}))),
            (false, None, None, false, done(json!({"Reference": "review-1"}))),
        ] {
            assert_eq!(already_there(&item(accept), found, ours, first), expected);
        }
        for (ours, first) in [(Some(false), false), (None, true)] {
            let outcome = already_there(&item(false), Some(found.clone()), ours, first);
            assert!(
                matches!(&outcome, Outcome::Failed(f) if f.class == Class::Refused && f.message.contains("on_duplicate")),
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn only_what_this_step_made_counts_as_found() {
        let left = Timestamp::parse_lenient("2026-11-22T10:00:00Z").expect("a stamp");
        for (found, ours) in [
            (json!({"ParentOperationId": "tl:run:item:1"}), true),
            (json!({"ParentOperationId": "tl:other:item:1", "CreationTime": "2026-11-22T10:00:01Z"}), false),
            (json!({"ParentOperationId": null, "CreationTime": "2026-11-22T09:59:00Z"}), true),
            (json!({"CreationTime": "2026-11-21T10:00:00Z"}), false),
            (json!({}), true),
        ] {
            assert_eq!(is_ours(&found, "tl:run:item:1", left), ours, "{found}");
        }
    }
}
