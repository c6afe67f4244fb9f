//! From accepted events to planned runs: reads what the journal has not routed, asks the rule set, records the plan.
//!
//! Promises: every event meets the rules in force when it is routed, once; its runs and the position behind it are
//! recorded in one group, so that neither a crash nor a full disk loses or repeats one. Knows nothing of what runs do.

mod chain;
mod memory;
mod replay;
mod watched;

pub use replay::{NotReplayed, REPLAY_EVENTS_MAX, Replay, again};

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::event::{Event, EventId, HOPS_MAX, RunId};
use crate::journal::{AppendError, Held, Journal, Kept, Plan, Routings, Space};
use crate::metric;
use crate::rules::{Met, Mode, RulesInForce, Verdict};
use crate::runs::{Cause, NewRun, Ordered, expression};
use crate::time::Timestamp;

use memory::Memory;

/// The most events that are routed in one go; between two goes others get the processor.
const BATCH_MAX: usize = 256;
/// Where events were passed over and nothing is planned, that is recorded at most this often: it need not cost a sync for
/// every delivery that no rule wants.
const PASS_EVERY: Duration = Duration::from_millis(10);
/// How long to wait before a full or unreadable journal is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Routes until `stop`; ends early only when the journal has ended.
///
/// # Errors
/// The journal has ended.
pub async fn run(journal: Journal, rules: Arc<ArcSwap<RulesInForce>>, clock: Clock, stop: CancellationToken) -> Result<(), AppendError> {
    let mut newest = journal.newest();
    let mut notes = Notes::default();
    let mut recorded: Option<Instant> = None;
    while !stop.is_cancelled() {
        // Marked as seen before reading, so that what arrives meanwhile wakes again.
        newest.borrow_and_update();
        let in_force = rules.load_full();
        let found = journal.unrouted(BATCH_MAX, in_force.generation).and_then(|found| {
            let Some(through) = found.through else { return Ok(Found::Nothing) };
            if found.events.is_empty()
                && notes.generation == Some(in_force.generation)
                && let Some(until) = may_wait(recorded, Instant::now())
            {
                return Ok(Found::Passed { until });
            }
            planned(&journal, through, &found.events, &in_force, clock.now(), &mut notes).map(Found::Planned)
        });
        let until = match found {
            Ok(Found::Planned(planned)) => {
                record(&journal, planned, &stop).await?;
                notes.generation = Some(in_force.generation);
                recorded = Some(Instant::now());
                tokio::task::yield_now().await;
                continue;
            }
            Ok(Found::Passed { until }) => Some(until),
            Ok(Found::Nothing) => None,
            Err(error) => {
                tracing::error!(%error, "cannot read the events to be routed; trying again");
                pause(&stop).await;
                continue;
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            changed = newest.changed() => changed.map_err(|_| AppendError::Ended("it was closed".to_owned()))?,
            () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
        }
    }
    Ok(())
}

/// Until when what was passed over need not be recorded; nothing when it is time.
fn may_wait(recorded: Option<Instant>, now: Instant) -> Option<Instant> {
    recorded.map(|recorded| recorded + PASS_EVERY).filter(|until| *until > now)
}

/// What the router finds to do.
enum Found {
    /// Nothing.
    Nothing,
    /// Events that no rule in force can meet: to be recorded then.
    Passed { until: Instant },
    /// This is to be recorded.
    Planned(Planned),
}

/// What the router remembers between two plans.
#[derive(Default)]
struct Notes {
    /// The generation that the journal has noted last; `None` until it was asked.
    generation: Option<u64>,
    /// Where the last look at old entries of the memory ended.
    swept: Option<String>,
}

/// What is to be recorded for some events.
struct Planned {
    plan: Plan,
    held: Vec<Held>,
    kept: Vec<Kept>,
}

/// Decides about events.
fn planned(
    journal: &Journal,
    through: EventId,
    events: &[Arc<Event>],
    rules: &RulesInForce,
    now: Timestamp,
    notes: &mut Notes,
) -> io::Result<Planned> {
    let mut kept = Vec::new();
    if notes.generation != Some(rules.generation) {
        kept = generation_noted(&journal.routings()?, rules.generation);
    }
    let find = |id: EventId| journal.event(id).ok().flatten();
    let mut memory = Memory::new(journal);
    // What came too late is kept and shown; a replay runs rules for it.
    let timely: Vec<Arc<Event>>;
    let events = if events.iter().any(|event| event.late) {
        timely = events.iter().filter(|event| !event.late).cloned().collect();
        &timely
    } else {
        events
    };
    let (runs, held) = runs_of(events, rules, now, &find, Some(&mut memory))?;
    kept.extend(memory.kept(now, &mut notes.swept)?);
    kept.extend(watched::kept(journal, rules.set.watches(), events)?);
    Ok(Planned { plan: Plan { through, runs }, held, kept })
}

/// What is to be kept so that the events from here on belong to this generation.
fn generation_noted(routings: &Routings, generation: u64) -> Vec<Kept> {
    if routings.newest() == Some(generation) {
        return Vec::new();
    }
    let kept = |first: EventId, value| Kept { space: Space::Routed, key: first.to_string(), value };
    let mut all: Vec<Kept> = routings.surplus().iter().map(|(first, _)| kept(*first, None)).collect();
    let first = EventId(routings.routed().0.saturating_add(1));
    all.push(kept(first, Some(Bytes::from(generation.to_string()))));
    all
}

/// Records a plan; while there is no space, again and again. A stop leaves the events unrouted: they are routed at the
/// next start.
async fn record(journal: &Journal, planned: Planned, stop: &CancellationToken) -> Result<(), AppendError> {
    let Planned { plan, held, kept } = planned;
    loop {
        match journal.plan_holding(plan.clone(), &held, kept.clone()).await {
            Ok(()) => break,
            Err(AppendError::Full(why)) if !stop.is_cancelled() => {
                tracing::warn!(%why, "no space to record planned runs; trying again");
                pause(stop).await;
            }
            Err(AppendError::Full(_)) => return Ok(()),
            Err(ended) => return Err(ended),
        }
    }
    for run in &plan.runs {
        let state = if run.dead.is_some() { "dead" } else { "pending" };
        metrics::counter!(metric::RUNS, "rule" => run.rule.to_string(), "state" => state).increment(1);
        if let Some(cause) = &run.dead {
            tracing::warn!(run = %run.id, rule = %run.rule, cause = %cause.code, "a run is dead from the start");
        }
    }
    for held in &held {
        let reason = if held.because.path == "expires" { "expires" } else { "dedupe" };
        metrics::counter!(metric::HELD, "rule" => held.rule.to_string(), "reason" => reason).increment(1);
    }
    Ok(())
}

async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(AGAIN) => {}
    }
}

/// The runs that events ask for, in event order then rule order, and what is held back. `find` reads events for the chain
/// of a loop. Without a `memory` nothing is held back: a person asked for it.
fn runs_of(
    events: &[Arc<Event>],
    rules: &RulesInForce,
    now: Timestamp,
    find: &dyn Fn(EventId) -> Option<Arc<Event>>,
    mut memory: Option<&mut Memory<'_>>,
) -> io::Result<(Vec<NewRun>, Vec<Held>)> {
    let (mut runs, mut held) = (Vec::new(), Vec::new());
    // An emitter of events that loop is told once per event, however many rules it met.
    let mut chains: HashMap<EventId, Cause> = HashMap::new();
    for event in events {
        for mut met in rules.set.matching(event, now) {
            let too_long = (event.hops() > HOPS_MAX).then(|| chains.entry(event.id).or_insert_with(|| chain::cause(event, find)).clone());
            if let Some(memory) = memory.as_deref_mut()
                && too_long.is_none()
                && met.fault.is_none()
            {
                match rules.set.verdict(&met.rule, event, now, |name| memory.ran(name))? {
                    Verdict::Runs(None) => {}
                    Verdict::Runs(Some((name, ran))) => memory.add(name, ran),
                    Verdict::Fault(fault) => met.fault = Some(fault),
                    Verdict::Held(because) => {
                        held.push(Held { event: event.id, rule: met.rule.name.clone(), because });
                        continue;
                    }
                }
            }
            let mut run = new_run(event, &met, rules.generation, too_long, now);
            if run.dead.is_none() && run.mode == Mode::Live {
                match met.rule.order_key(event, rules.set.vars(), now) {
                    Ok(key) => run.order = key.map(|key| Ordered::new(&met.rule.name, &key)),
                    Err(fault) => run.dead = Some(expression(&fault)),
                }
            }
            runs.push(run);
        }
    }
    Ok((runs, held))
}

fn new_run(event: &Event, met: &Met, generation: u64, too_long: Option<Cause>, now: Timestamp) -> NewRun {
    NewRun {
        id: RunId::of(event.id, &met.rule.name),
        rule: met.rule.name.clone(),
        generation,
        created: now,
        mode: met.rule.mode,
        hops: event.hops(),
        dead: too_long.or_else(|| met.fault.as_ref().map(expression)),
        replay: None,
        order: None,
    }
}

#[cfg(test)]
mod tests;
