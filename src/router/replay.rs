//! Events through the rules once more, as asked by a person: no event is appended, runs are planned under numbers of
//! their own.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::runs_of;
use crate::event::{Event, EventId, RunId};
use crate::journal::{AppendError, EventQuery, Journal, Plan, RunQuery};
use crate::metric;
use crate::rules::RulesInForce;
use crate::runs::{Again, NewRun, Pace, ReplayAsked, Replayed, Run, replay};
use crate::time::Timestamp;

/// Events of one page.
pub const REPLAY_EVENTS_MAX: usize = 1_000;
/// Runs of one event that are looked at.
const RUNS_OF_EVENT: usize = 10_000;

/// What a page of a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Events that were looked at.
    pub events: usize,
    /// Runs that were planned, or would be.
    pub planned: Vec<RunId>,
    /// Left out because they succeeded.
    pub succeeded: usize,
    /// Left out because they are not over.
    pub under_way: usize,
    /// Ids that were asked for and are not in the journal.
    pub missing: Vec<EventId>,
    /// Where the next page begins.
    pub next: Option<EventId>,
}

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub enum NotReplayed {
    /// The journal cannot be read.
    #[error("the journal cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The runs could not be kept.
    #[error(transparent)]
    NotKept(#[from] AppendError),
}

/// Replays one page. The runs are durable when it returns.
///
/// # Errors
/// The journal cannot be read, or has no space, or has ended; nothing of this page was planned then.
pub async fn again(
    journal: &Journal,
    rules: Arc<RulesInForce>,
    asked: ReplayAsked,
    query: EventQuery,
    mut pace: Pace,
    now: Timestamp,
) -> Result<(Replay, Pace), NotReplayed> {
    let (reading, dry_run) = (journal.clone(), asked.dry_run);
    let found = tokio::task::spawn_blocking(move || find(&reading, &rules, &asked, query, now)).await;
    let (mut page, mut runs) = found.map_err(io::Error::other)??;
    for run in &mut runs {
        let turn = pace.turn();
        if let Some(replay) = &mut run.replay {
            replay.due = turn;
        }
    }
    page.planned = runs.iter().map(|run| run.id).collect();
    if !dry_run && !runs.is_empty() {
        for run in &runs {
            let state = if run.dead.is_some() { "dead" } else { "pending" };
            metrics::counter!(metric::RUNS, "rule" => run.rule.to_string(), "state" => state).increment(1);
        }
        // The router's position stays where it is: it only rises.
        journal.plan(Plan { through: EventId(0), runs }).await?;
    }
    Ok((page, pace))
}

fn find(
    journal: &Journal,
    rules: &RulesInForce,
    asked: &ReplayAsked,
    query: EventQuery,
    now: Timestamp,
) -> io::Result<(Replay, Vec<NewRun>)> {
    let mut page = Replay::default();
    let mut events: Vec<Arc<Event>> = Vec::new();
    if asked.events.is_empty() {
        let found = journal.events(&EventQuery { limit: REPLAY_EVENTS_MAX, ..query })?;
        page.next = found.next;
        events.extend(found.items.into_iter().map(Arc::new));
    } else {
        for id in &asked.events {
            match journal.event(*id)? {
                Some(event) => events.push(event),
                None => page.missing.push(*id),
            }
        }
    }
    page.events = events.len();
    let read = |id: EventId| journal.event(id).ok().flatten();
    let mut planned = Vec::new();
    for event in &events {
        let met = runs_of(std::slice::from_ref(event), rules, now, &read, None)?.0;
        let met: Vec<NewRun> = met.into_iter().filter(|run| asked.rule.as_deref().is_none_or(|rule| *run.rule == *rule)).collect();
        if met.is_empty() {
            continue;
        }
        let known = runs_for(journal, event.id)?;
        for run in met {
            let own = known.get(&run.id.rule).map(Vec::as_slice).unwrap_or_default();
            let newest = own.iter().max_by_key(|run| run.id().replay);
            if asked.state.is_some() && newest.map(|run| run.state) != asked.state {
                continue;
            }
            match replay(own.iter(), asked.force) {
                Again::Plan(number) => {
                    let id = RunId { replay: number, ..run.id };
                    let forced = asked.force;
                    let replay = Some(Replayed { due: now, forced, reason: asked.reason.clone() });
                    planned.push(NewRun { id, replay, ..run });
                }
                Again::Succeeded => page.succeeded += 1,
                Again::UnderWay | Again::Exhausted => page.under_way += 1,
            }
        }
    }
    Ok((page, planned))
}

/// All runs for an event, by rule.
fn runs_for(journal: &Journal, event: EventId) -> io::Result<BTreeMap<crate::event::RuleHash, Vec<Run>>> {
    let found = journal.runs(&RunQuery { event: Some(event), limit: RUNS_OF_EVENT, ..RunQuery::default() })?;
    let mut by_rule: BTreeMap<_, Vec<Run>> = BTreeMap::new();
    for run in found.items {
        by_rule.entry(run.id().rule).or_default().push(run);
    }
    Ok(by_rule)
}
