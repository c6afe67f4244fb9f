//! `emit` steps: an event of our own goes into the journal like any other.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::attempt::{Answered, Order, World};
use crate::event::{Change, Key, Origin, Verified, Via};
use crate::journal::{AppendError, Delivery};
use crate::orchestrator::CallTrace;
use crate::rules::Emit;
use crate::runs::{Class, Failure, Outcome};
use crate::time::Timestamp;

/// The source of emitted events.
pub(super) const SOURCE: &str = "tripline";

/// Keeps the event. Its key is run and step, so that a repetition folds.
///
/// # Errors
/// The journal has ended.
pub(super) async fn emit(world: &World, order: &Order, emit: &Emit, now: Timestamp) -> Result<Answered, AppendError> {
    let delivery = delivery(order, emit, now);
    let trace = CallTrace { request: format!("EMIT {}", emit.event_type), bytes: delivery.body.len() as u64, ..CallTrace::default() };
    let outcome = match world.journal.accept(delivery).await {
        Ok(accepted) => Outcome::Done { value: accepted.events.first().map_or_else(|| json!({"folded": true}), |id| json!({"id": id})) },
        Err(full @ AppendError::Full(_)) => {
            Outcome::Failed(Failure { class: Class::Connect, status: None, message: full.to_string(), retry_after: None })
        }
        Err(ended) => return Err(ended),
    };
    Ok(Answered::new(trace, outcome))
}

fn delivery(order: &Order, emit: &Emit, now: Timestamp) -> Delivery {
    let cause = &order.event;
    let change = Change {
        time: Some(now),
        tenant: cause.change.tenant.clone(),
        folder: cause.change.folder.clone(),
        subject: emit.subject.as_deref().map(Arc::from),
        data: Arc::new(emit.data.clone()),
        origin: Some(Origin { run: order.run.to_string(), step: order.label.clone(), hops: order.hops }),
        ..Change::told(Key::exact(format!("emit|{}|{}", order.run, order.label)), emit.event_type.as_str())
    };
    Delivery {
        source: Arc::from(SOURCE),
        via: Via::Emit,
        orchestrator: cause.orchestrator.clone(),
        verified: Verified::Yes,
        received: now,
        body: Bytes::from(emit.data.to_string()),
        delivery_id: None,
        changes: vec![change],
    }
}
