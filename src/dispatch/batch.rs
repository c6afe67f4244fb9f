//! One attempt at several enqueue steps at once: their items go to one queue in one request.

use super::Targets;
use super::attempt::{Answered, Order, Sent, World, record_all};
use super::orchestrator::{already_there, is_unique, resolve};
use crate::event::RunId;
use crate::journal::AppendError;
use crate::orchestrator::{Addition, BulkAdded, CallTrace, Called};
use crate::rules::{Enqueue, Request};
use crate::runs::{Class, Failure, Outcome};

/// Carries out orders that enqueue to one queue. One end for each, in their order.
///
/// # Errors
/// The journal has ended.
pub(super) async fn carry_out(
    world: &World,
    targets: &Targets,
    mut orders: Vec<(RunId, Order)>,
) -> Result<Vec<(RunId, Sent)>, AppendError> {
    let intents =
        orders.iter_mut().map(|(_, order)| (order.run, std::mem::take(&mut order.intent))).filter(|(_, intent)| !intent.is_empty());
    record_all(&world.journal, intents.collect()).await?;
    let started = world.clock.now();
    let answered = enqueue(targets, &orders).await;
    let ended = world.clock.now();
    let sent = |Answered { trace, outcome, unique }| Sent { trace, outcome, unique, started, ended };
    Ok(orders.into_iter().zip(answered).map(|((id, _), answered)| (id, sent(answered))).collect())
}

async fn enqueue(targets: &Targets, orders: &[(RunId, Order)]) -> Vec<Answered> {
    let items: Vec<(&Order, &Enqueue)> = orders
        .iter()
        .filter_map(|(_, order)| match &order.request {
            Request::Enqueue(item) => Some((order, item)),
            _ => None,
        })
        .collect();
    let Some((first, one)) = items.first().copied() else { return Vec::new() };
    let (client, folder) = match resolve(targets, first, &one.target, "enqueue") {
        Ok(resolved) => resolved,
        Err(answered) => {
            let Answered { trace, outcome, .. } = *answered;
            return items.iter().map(|_| Answered::new(trace.clone(), outcome.clone())).collect();
        }
    };
    let parents: Vec<String> = items.iter().map(|(order, _)| order.parent()).collect();
    let additions: Vec<Addition<'_>> =
        items.iter().zip(&parents).map(|((order, item), parent)| Addition { item, parent, wants_id: order.wants_value }).collect();
    let timeout = items.iter().map(|(order, _)| order.timeout).max().unwrap_or(first.timeout);
    let Called { trace, result } = client.bulk_add(folder.as_ref(), &one.queue, &additions, timeout).await;
    let known = match &result {
        Ok(each) => each.iter().any(|one| matches!(one, BulkAdded::Failed(failure) if is_uncertain(failure))),
        Err(failure) => is_uncertain(failure),
    };
    let unique = if known { is_unique(client, folder.as_ref(), first, one).await.ok().flatten() } else { None };
    match result {
        Ok(each) => each
            .into_iter()
            .zip(&items)
            .map(|(added, (order, item))| match added {
                BulkAdded::New(value) => Answered::new(trace.clone(), Outcome::Done { value }),
                BulkAdded::AlreadyThere { item: found, ours } => {
                    let outcome = already_there(item, found, ours, order.first);
                    Answered { trace: trace.clone(), outcome, unique: Some(true) }
                }
                BulkAdded::Failed(failure) => failed(&trace, failure, unique),
            })
            .collect(),
        Err(failure) => {
            let failure = of_batch(failure, items.len());
            items.iter().map(|_| failed(&trace, failure.clone(), unique)).collect()
        }
    }
}

fn failed(trace: &CallTrace, failure: Failure, unique: Option<bool>) -> Answered {
    let unique = if is_uncertain(&failure) { unique } else { None };
    Answered { trace: trace.clone(), outcome: Outcome::Failed(failure), unique }
}

fn is_uncertain(failure: &Failure) -> bool {
    matches!(failure.class, Class::Unknown | Class::Server | Class::Invalid)
}

/// A refusal of a whole batch may be the fault of one of its items: each goes again alone, and is then refused for itself.
fn of_batch(failure: Failure, count: usize) -> Failure {
    if count > 1 && matches!(failure.class, Class::Refused | Class::Conflict) {
        let message = format!("a batch of {count} items was refused, and each goes alone next: {}", failure.message);
        return Failure { class: Class::Batch, message, ..failure };
    }
    failure
}
