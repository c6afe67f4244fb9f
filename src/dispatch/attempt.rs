//! One attempt at a step, or one look-up of what became of it: from durable intent to outcome.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Targets, awaits, call, emit, http, orchestrator};
use crate::clock::Clock;
use crate::event::{Event, RuleName, RunId, flattened};
use crate::journal::{AppendError, Journal, Kept};
use crate::orchestrator::CallTrace;
use crate::rules::Request;
use crate::runs::{Fact, Failure, Intent, Outcome};
use crate::time::Timestamp;

/// How long to wait before a full journal is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// What an attempt needs to know of the world.
pub(super) struct World {
    pub(super) journal: Journal,
    pub(super) clock: Clock,
}

impl World {
    pub(super) fn new(journal: Journal, clock: Clock) -> Self {
        Self { journal, clock }
    }
}

/// What is to be done.
pub(super) struct Order {
    pub(super) run: RunId,
    /// The step's id or number.
    pub(super) label: String,
    /// Hops of what the step causes.
    pub(super) hops: u8,
    /// Whether this is the step's first attempt.
    pub(super) first: bool,
    pub(super) request: Request,
    /// The rule's name.
    pub(super) rule: RuleName,
    pub(super) event: Arc<Event>,
    pub(super) timeout: Duration,
    /// Whether a later step reads what the answer tells.
    pub(super) wants_value: bool,
    /// To be made durable before the request leaves.
    pub(super) intent: Vec<Fact>,
    /// The open intent whose outcome is to be looked up.
    pub(super) look_up: Option<Intent>,
}

impl Order {
    /// What marks items as made by this step: `tl:<run>:<step>:<hops>`.
    pub(super) fn parent(&self) -> String {
        parent_mark(&self.run.to_string(), &self.label, self.hops)
    }
}

/// The mark of what a step makes, at most 128 characters: a label that is too long is replaced by its hash.
fn parent_mark(run: &str, label: &str, hops: u8) -> String {
    const MARK_MAX: usize = 128;
    let mark = format!("tl:{run}:{label}:{hops}");
    if mark.chars().count() <= MARK_MAX {
        return mark;
    }
    let hash: String = Sha256::digest(label.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("tl:{run}:{hash}:{hops}")
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) trace: CallTrace,
    pub(super) outcome: Outcome,
    /// Whether the queue enforces unique references, where that matters and is known.
    pub(super) unique: Option<bool>,
    pub(super) started: Timestamp,
    pub(super) ended: Timestamp,
}

/// An outcome with its trace.
pub(super) struct Answered {
    pub(super) trace: CallTrace,
    pub(super) outcome: Outcome,
    pub(super) unique: Option<bool>,
}

impl Answered {
    pub(super) fn new(trace: CallTrace, outcome: Outcome) -> Self {
        // What cannot be read back would stand in the way of all runs.
        let outcome = match outcome {
            Outcome::Done { value } => Outcome::Done { value: flattened(value) },
            Outcome::Found { value } => Outcome::Found { value: flattened(value) },
            other => other,
        };
        Self { trace, outcome, unique: None }
    }

    pub(super) fn failed(request: String, failure: Failure) -> Self {
        Self::new(CallTrace { request, status: failure.status, ..CallTrace::default() }, Outcome::Failed(failure))
    }
}

/// Carries an order out.
///
/// # Errors
/// The journal has ended.
pub(super) async fn carry_out(world: &World, targets: &Targets, mut order: Order) -> Result<Sent, AppendError> {
    let intent = std::mem::take(&mut order.intent);
    if !intent.is_empty() {
        record(&world.journal, order.run, intent).await?;
    }
    let started = world.clock.now();
    let answered = match (&order.request, &order.look_up) {
        (Request::Enqueue(item), None) => orchestrator::enqueue(targets, &order, item).await,
        (Request::Enqueue(item), Some(intent)) => orchestrator::look_up_item(targets, &order, item, intent).await,
        (Request::StartJob(job), None) => orchestrator::start_job(targets, &order, job).await,
        (Request::StartJob(job), Some(intent)) => orchestrator::look_up_job(targets, &order, job, intent).await,
        (Request::GetItem(item), _) => orchestrator::get_item(targets, &order, item).await,
        (Request::AwaitItem(item), _) => awaits::item(targets, &order, item).await,
        (Request::AwaitJob(job), _) => awaits::job(targets, &order, job).await,
        // A wait is over when its time has come; decided before, never sent.
        (Request::Wait(_), _) => Answered::new(CallTrace::default(), Outcome::Done { value: Value::Null }),
        (Request::Http(call), _) => http::call(targets, &order, call, &world.clock).await,
        (Request::Call(call), None) => call::call(targets, &order, call, &world.clock).await,
        (Request::Call(call), Some(_)) => call::look_up(targets, &order, call, &world.clock).await,
        (Request::Emit(emit), _) => emit::emit(world, &order, emit, started).await?,
    };
    let Answered { trace, outcome, unique } = answered;
    Ok(Sent { trace, outcome, unique, started, ended: world.clock.now() })
}

/// Records facts; while there is no space, again and again: what happened must not be forgotten.
///
/// # Errors
/// The journal has ended.
pub(super) async fn record(journal: &Journal, run: RunId, facts: Vec<Fact>) -> Result<(), AppendError> {
    record_keeping(journal, run, facts, Vec::new()).await
}

/// As [`record`], with values that are kept in the same group.
///
/// # Errors
/// The journal has ended.
pub(super) async fn record_keeping(journal: &Journal, run: RunId, facts: Vec<Fact>, kept: Vec<Kept>) -> Result<(), AppendError> {
    loop {
        match journal.record_keeping(run, facts.clone(), kept.clone()).await {
            Err(AppendError::Full(why)) => {
                tracing::warn!(%run, %why, "no space to record what a run did; trying again");
                tokio::time::sleep(AGAIN).await;
            }
            done => return done,
        }
    }
}

/// Records facts of many runs in one group; while there is no space, again and again.
///
/// # Errors
/// The journal has ended.
pub(super) async fn record_all(journal: &Journal, facts: Vec<(RunId, Vec<Fact>)>) -> Result<(), AppendError> {
    loop {
        match journal.record_all(facts.clone()).await {
            Err(AppendError::Full(why)) => {
                tracing::warn!(runs = facts.len(), %why, "no space to record what runs are about to do; trying again");
                tokio::time::sleep(AGAIN).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_an_answer_of_any_depth_is_read_back_from_what_is_kept() {
        let deep: Value = serde_json::from_str(&format!("{}1{}", "{\"a\":[".repeat(63), "]}".repeat(63))).expect("JSON");
        for outcome in [Outcome::Done { value: deep.clone() }, Outcome::Found { value: deep.clone() }] {
            let (Outcome::Done { value } | Outcome::Found { value }) = Answered::new(CallTrace::default(), outcome).outcome else {
                panic!("no value")
            };
            let at = Timestamp::parse_lenient("2026-03-01T10:00:00Z").expect("a stamp");
            let fact = Fact::StepDone { step: 0, id: None, kind: "http".to_owned(), value, maybe_twice: false, at };
            let kept = serde_json::to_string(&fact).expect("written");
            assert_eq!(serde_json::from_str::<Fact>(&kept).expect("read back"), fact);
        }
    }
}
