//! The owner of all runs that are being worked on: `next_step` waits, `apply` decides and never waits.

mod end;
mod lanes;
mod limits;
mod take;
mod together;
mod turn;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::lanes::LaneOf;
use super::Dispatch;
use super::attempt::{Sent, World};
use super::gates::{Gates, Place};
use super::gathering::Gatherings;
use super::kept::{self, Open};
use super::paces::Paces;
use super::wanted::Wants;
use crate::event::{Event, RuleName, RunId};
use crate::journal::AppendError;
use crate::rules::Rule;
use crate::runs::{Next, Run};
use crate::time::Timestamp;

/// Runs worked on at once, those that queue before their targets included.
const ACTIVE_MAX: usize = 2_048;
/// Below this many, due runs are taken as they come; above, only to look for those whose targets are free.
const ACTIVE_LOW: usize = 512;
/// Due runs taken at once.
const TAKE_MAX: usize = 256;
/// Wake-ups within this time are one.
const WAKE_APART: Duration = Duration::from_millis(2);
/// How often due runs are looked through for free targets while many wait.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a run rests after something that cannot be its fault (an unreadable journal, a task that died).
const REST: Duration = Duration::from_secs(10);
/// The longest sleep; a clock that was set is noticed by then.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// The cause of a run that was put back because its target has no room.
const NO_ROOM: &str = "no_room";

/// What a run is decided from.
#[derive(Clone)]
struct Context {
    rule: Arc<Rule>,
    vars: Arc<Value>,
    event: Arc<Event>,
}

/// What is going on with a run.
enum Phase {
    /// Its facts are being recorded, or it rests.
    Busy,
    /// It queues before its target.
    Parked(Box<(Place, Next)>),
    /// Its lanes are worked on.
    Lanes,
    /// Its request is out.
    Sending { place: Place, step: usize, number: u32, since: Timestamp, look_up: bool, line: String },
}

struct Active {
    run: Run,
    context: Option<Context>,
    phase: Phase,
    /// Whose lane this is, when it is no run.
    lane: Option<LaneOf>,
    /// How many of its lanes are worked on.
    lanes: usize,
    /// Since when it holds a place of its rule's limits.
    out_since: Option<Timestamp>,
}

impl Active {
    fn new(run: Run, context: Option<Context>) -> Self {
        Self { run, context, phase: Phase::Busy, lane: None, lanes: 0, out_since: None }
    }
}

/// What a task brought.
enum Done {
    Recorded,
    Sent(Box<Sent>),
    SentTogether(Vec<(RunId, Sent)>),
    Rested,
}

type Ended = Result<(RunId, Done), AppendError>;

/// What happened.
enum Step {
    Ended(Result<(Id, Ended), JoinError>),
    Wake,
    Due,
    /// A gathering leaves.
    Together,
    Stop,
    Over,
}

/// The owner.
pub(super) struct Owner {
    dispatch: Dispatch,
    world: Arc<World>,
    active: HashMap<RunId, Active>,
    tasks: JoinSet<Ended>,
    of_task: HashMap<Id, RunId>,
    gates: Gates,
    gatherings: Gatherings,
    paces: Paces,
    /// What runs want that a breaker refused.
    wants: Wants,
    /// Rules with limits that have free places since the last step.
    freed: Vec<RuleName>,
    /// Where the last look at old values of orders ended.
    swept: Option<String>,
    /// Who goes with whom: by the first of them.
    together: HashMap<RunId, Vec<RunId>>,
    due: watch::Receiver<u64>,
    woken: watch::Receiver<u64>,
    /// Something may be due that was not taken.
    hungry: bool,
    /// When the next run that was not taken is due.
    next: Option<Timestamp>,
    /// Not taken again before then.
    rested: Instant,
    /// What is kept beside runs: nobody waits for it.
    chores: JoinSet<()>,
    /// The end of the grace period, once stopping.
    ends: Option<Instant>,
    stop: CancellationToken,
}

impl Owner {
    pub(super) fn new(dispatch: Dispatch, stop: CancellationToken) -> Self {
        Self {
            world: Arc::new(World::new(dispatch.journal.clone(), dispatch.clock.clone())),
            due: dispatch.journal.due_changed(),
            woken: dispatch.journal.woken(),
            dispatch,
            active: HashMap::new(),
            tasks: JoinSet::new(),
            of_task: HashMap::new(),
            gates: Gates::default(),
            gatherings: Gatherings::default(),
            paces: Paces::default(),
            wants: Wants::default(),
            freed: Vec::new(),
            swept: None,
            together: HashMap::new(),
            hungry: true,
            next: None,
            rested: Instant::now(),
            chores: JoinSet::new(),
            ends: None,
            stop,
        }
    }

    /// Puts back the breakers that were open when the process ended.
    fn restore(&mut self) {
        let now = self.world.clock.now();
        for open in kept::restore(&self.world.journal) {
            self.gates.restore(&open, now);
        }
        self.tell_breakers(false);
    }

    /// Tells and keeps what breakers changed. A crash before it is kept costs a probe more, or waits once more.
    fn tell_breakers(&mut self, keep: bool) {
        while self.chores.try_join_next().is_some() {}
        let changed = self.gates.take_changed();
        if changed.is_empty() {
            return;
        }
        for (target, part, open) in &changed {
            if let Some(key) = kept::key(target, part.as_deref()) {
                self.dispatch.board.breaker(key, open.as_ref().map(Open::to_json));
            }
        }
        let values: Vec<_> = changed.iter().filter_map(|(target, part, open)| kept::kept(target, part.as_deref(), open.as_ref())).collect();
        if keep && !values.is_empty() {
            let journal = self.world.journal.clone();
            self.chores.spawn(async move {
                if let Err(error) = journal.keep(values).await {
                    tracing::warn!(%error, "the state of a breaker was not kept");
                }
            });
        }
    }

    pub(super) async fn run(mut self) -> Result<(), AppendError> {
        self.restore();
        loop {
            let step = self.next_step().await?;
            if matches!(step, Step::Over) {
                return self.last_words().await;
            }
            self.apply(step)?;
            self.let_in();
        }
    }

    async fn next_step(&mut self) -> Result<Step, AppendError> {
        if let Some(ends) = self.ends {
            if self.tasks.is_empty() {
                return Ok(Step::Over);
            }
            return tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => Ok(Step::Ended(ended)),
                () = tokio::time::sleep_until(ends) => Ok(Step::Over),
            };
        }
        let (take_at, together) = (self.take_at(), self.gatherings.next());
        tokio::select! {
            () = self.stop.cancelled() => Ok(Step::Stop),
            Some(ended) = self.tasks.join_next_with_id() => Ok(Step::Ended(ended)),
            changed = self.due.changed(), if !self.hungry => match changed {
                Ok(()) => Ok(Step::Wake),
                Err(_) => Err(AppendError::Ended("it was closed".to_owned())),
            },
            () = tokio::time::sleep_until(take_at) => Ok(Step::Due),
            () = tokio::time::sleep_until(together.unwrap_or(take_at)), if together.is_some() => Ok(Step::Together),
        }
    }

    /// When due runs are taken next.
    fn take_at(&self) -> Instant {
        let now = Instant::now();
        if self.active.len() >= ACTIVE_MAX {
            return now + SLEEP_MAX;
        }
        if self.hungry {
            return if self.active.len() < ACTIVE_LOW { self.rested } else { self.rested + LOOK_EVERY };
        }
        let wait = self.next.map_or(SLEEP_MAX, |next| next.since(self.world.clock.now()).min(SLEEP_MAX));
        (now + wait).max(self.rested)
    }

    fn apply(&mut self, step: Step) -> Result<(), AppendError> {
        match step {
            Step::Wake => {
                self.hungry = true;
                self.look_for_woken();
            }
            Step::Due => {
                self.gates.forget(self.world.clock.now());
                self.tell_breakers(true);
                self.take_due();
            }
            Step::Together => self.leave_due(),
            Step::Stop => {
                self.ends = Some(Instant::now() + self.dispatch.grace);
                self.gatherings.clear();
                self.active.retain(|_, active| !matches!(active.phase, Phase::Parked(..)));
                tracing::info!(in_flight = self.active.len(), "dispatch stops; attempts in flight may finish");
            }
            Step::Ended(Ok((task, ended))) => {
                self.of_task.remove(&task);
                match ended? {
                    (id, Done::Recorded) => self.recorded(id),
                    (id, Done::Sent(sent)) => self.sent(id, &sent),
                    (leader, Done::SentTogether(sent)) => self.sent_together(leader, sent),
                    (id, Done::Rested) => {
                        self.release(id);
                        self.hungry = true;
                    }
                }
            }
            Step::Ended(Err(died)) => self.died(&died),
            Step::Over => {}
        }
        Ok(())
    }

    /// The run is the journal's again, which knows when it is due.
    fn release(&mut self, id: RunId) {
        self.give_back(id);
        // While it was here, the journal was not asked for it.
        let Some(active) = self.active.remove(&id) else { return };
        match active.lane {
            Some(lane) => self.lane_over(&lane),
            None => {
                self.next = [self.next, active.run.next_at].into_iter().flatten().min();
                // An event may have made it due meanwhile.
                self.hungry |= active.run.awaited().next().is_some();
            }
        }
    }

    /// Keeps a run out of the way for a while.
    fn rest(&mut self, id: RunId, wait: Duration) {
        self.give_back(id);
        if let Some(active) = self.active.get_mut(&id) {
            active.phase = Phase::Busy;
            let stop = self.stop.clone();
            self.spawn(id, async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(wait.min(SLEEP_MAX)) => {}
                }
                Ok((id, Done::Rested))
            });
        }
    }

    fn spawn(&mut self, id: RunId, task: impl Future<Output = Ended> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.of_task.insert(handle.id(), id);
    }

    /// A task panicked: its request may have left. The open intent, if there is one, is looked up when the run rested.
    fn died(&mut self, died: &JoinError) {
        let Some(id) = self.of_task.remove(&died.id()) else { return };
        tracing::error!(run = %id, "a task of a run died; the run goes on later");
        if self.died_together(id) {
            return;
        }
        if let Some(Active { phase: Phase::Sending { place, .. }, .. }) = self.active.get(&id) {
            self.gates.abandon(place);
            self.gatherings.back(place);
        }
        self.rest(id, REST);
    }
}
