//! Reading what changed: one task for each polled source, each starting again by itself.
//!
//! A pass reads each folder from its cursor on: queue items from the change feed (`feed.rs`) or, where there is none, from
//! their lists (`lists.rs`); jobs from theirs (`jobs.rs`). It makes the events that a webhook would have brought and keeps
//! them together with the cursor: a crash repeats at most, and what is repeated folds. Knows nothing of rules or runs.

mod backfill;
mod feed;
mod folder;
mod items;
mod jobs;
mod ledger;
mod lists;
mod losses;
mod pass;
mod place;
mod prune;
mod queues;
mod rows;
mod status;
#[cfg(test)]
mod tests;
mod triggers;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

use crate::calls::Calls;
use crate::clock::{Clock, chance};
use crate::config::{PollKind, PollSource};
use crate::event::EventId;
use crate::hooks::Eye;
use crate::journal::Journal;
use crate::normalize::SourceView;
use crate::orchestrator::Orchestrator;
use crate::panics;
use crate::runs::{Class, Failure};
use crate::time::{Daily, Timestamp};

use pass::Pass;
use triggers::TriggerPass;

pub use backfill::{BackfillState, Backfills, NotBackfilled, Past, Standing};
pub use status::Statuses;
pub use triggers::{ROWS_MAX, Triggered};

/// The longest pause of a source that cannot be read.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A source that just brought something is read again this many times sooner than `every`.
const SOONER: u32 = 4;

/// But never sooner than this.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// How often a source that is read at a time of day looks at the clock.
const TURN_LOOK: Duration = Duration::from_secs(30);

/// A polled source, ready to be read.
#[derive(Clone, Debug)]
pub struct Polled {
    /// As configured.
    pub config: PollSource,
    /// Its orchestrator.
    pub orchestrator: Orchestrator,
    /// For keys.
    pub view: SourceView,
    /// Of the webhook that it reconciles.
    pub eye: Option<Arc<Eye>>,
    /// Which arguments of jobs are read.
    pub arguments: Arguments,
}

impl Polled {
    /// The webhook sees nothing: polling is all there is.
    fn is_urgent(&self) -> bool {
        self.eye.as_ref().is_some_and(|eye| eye.is_blind())
    }

    /// Events were new when polling brought them: the webhook is to bring them as well. Not of jobs: of those that a robot
    /// starts webhooks do not tell everything.
    fn brought(&self, events: &[EventId], now: Timestamp) {
        if let Some(eye) = self.eye.as_ref().filter(|_| self.config.kind == PollKind::QueueItems) {
            eye.sighted(events, now, self.config.webhook_within);
        }
    }
}

/// Which arguments of jobs rules name: lists have none, so that each costs a request of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `InputArguments`, with `job.created`.
    pub input: bool,
    /// `OutputArguments`, with the end of a job.
    pub output: bool,
}

/// All sources that are read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Of orchestrators.
    pub polled: Vec<Arc<Polled>>,
    /// Of triggers of connectors.
    pub triggered: Vec<Arc<Triggered>>,
}

/// One of them.
#[derive(Clone, Debug)]
enum Source {
    Polled(Arc<Polled>),
    Triggered(Arc<Triggered>),
}

impl Sources {
    fn each(&self) -> impl Iterator<Item = Source> {
        let polled = self.polled.iter().cloned().map(Source::Polled);
        polled.chain(self.triggered.iter().cloned().map(Source::Triggered))
    }

    /// Sent by these from now on: tokens and budgets are those of everybody.
    #[must_use]
    pub fn with_calls(self, calls: &Calls) -> Self {
        let with = |source: Arc<Triggered>| Arc::new(Triggered { calls: calls.clone(), ..Arc::unwrap_or_clone(source) });
        Self { triggered: self.triggered.into_iter().map(with).collect(), ..self }
    }
}

impl Source {
    /// Shows that reading it panicked, as any other failure.
    fn panicked(&self, poll: &Poll) {
        let message = format!("reading it ended in a panic, a fault of this program; it is begun again in {} s", panics::PAUSE.as_secs());
        let (failure, now) = (Failure { class: Class::Invalid, status: None, message, retry_after: None }, poll.clock.now());
        match self {
            Self::Polled(source) => poll.statuses.passed(source, Pass { failure: Some(failure), ..Pass::default() }, now),
            Self::Triggered(source) => poll.statuses.trigger_passed(source, &TriggerPass::default(), Some(&failure), now),
        }
    }
}

/// What polling works with.
#[derive(Clone, Debug)]
pub struct Poll {
    /// Where events go, and cursors are.
    pub journal: Journal,
    /// The sources; a reload changes them.
    pub sources: watch::Receiver<Arc<Sources>>,
    /// The time.
    pub clock: Clock,
    /// What is shown of them.
    pub statuses: Statuses,
    /// Past changes that are asked for.
    pub backfills: Backfills,
}

/// Reads all sources until `stop`.
pub async fn run(poll: Poll, stop: CancellationToken) {
    let mut sets = WatchStream::new(poll.sources.clone());
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(sources) = sets.next() => {
                // What is in the middle of a pass is repeated: its cursor stands where its events end.
                tasks.shutdown().await;
                poll.statuses.keep_only(&sources);
                for source in sources.each() {
                    let poll = poll.clone();
                    tasks.spawn(async move { panics::again(|| follow(&poll, &source), || source.panicked(&poll)).await });
                }
            }
        }
    }
    tasks.shutdown().await;
}

/// Reads one source, and its past where somebody asks for that.
async fn follow(poll: &Poll, source: &Source) {
    match source {
        Source::Polled(source) => tokio::select! {
            () = Box::pin(read(poll, source)) => {}
            () = Box::pin(backfill::attend(poll, source)) => {}
        },
        Source::Triggered(source) => triggers::read_on(poll, source).await,
    }
}

/// Reads one source, pass by pass.
async fn read(poll: &Poll, source: &Polled) {
    let mut reader = pass::Reader::new(poll, source);
    let mut failures = 0_u32;
    if source.config.at.is_some() {
        // Whether one was missed while nobody looked is told by what is kept.
        if let Err(failure) = reader.look().await {
            tracing::warn!(source = &*source.config.name, why = failure.message, "cannot look for the folders of the source yet");
        }
        wait_for_turn(&poll.clock, source.config.at, reader.known_until()).await;
    }
    loop {
        #[cfg(test)]
        panics::on_purpose::here(&source.config.name);
        let pass = reader.pass().await;
        failures = if pass.failure.is_some() { failures.saturating_add(1) } else { 0 };
        let (ended, rows) = (pass.ended, pass.rows);
        let retry_after = pass.failure.as_ref().and_then(|failure| failure.retry_after);
        poll.statuses.passed(source, pass, poll.clock.now());
        if ended {
            return;
        }
        if source.config.at.is_some() && failures == 0 {
            wait_for_turn(&poll.clock, source.config.at, Some(poll.clock.now())).await;
            continue;
        }
        let busy = rows.max(usize::from(source.is_urgent()));
        tokio::time::sleep(pause(source.config.every, busy, failures, retry_after, chance())).await;
    }
}

/// Waits for the next time of day that a source is read at; not at all where one has passed since everything was known.
async fn wait_for_turn(clock: &Clock, at: Option<Daily>, known: Option<Timestamp>) {
    let Some(at) = at else { return };
    loop {
        let now = clock.now();
        if known.is_none_or(|known| known < at.before(now)) {
            return;
        }
        // In short steps: the clock may be set meanwhile.
        tokio::time::sleep(at.after(now).since(now).clamp(PAUSE_MIN, TURN_LOOK)).await;
    }
}

/// How far apart two looks at a source may be in the ordinary course.
fn interval(source: &PollSource) -> Duration {
    // A day, and the hour that it is longer when clocks go back.
    if source.at.is_some() { Duration::from_secs(25 * 3600) } else { source.every }
}

/// How long until the next pass: sooner where something happens, later where nothing can be read.
fn pause(every: Duration, rows: usize, failures: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
    if failures > 0 {
        let grown = every.saturating_mul(1 << failures.min(10).saturating_sub(1)).min(PAUSE_MAX.max(every));
        // Half of it and a part of the other half, so that sources do not come back together.
        return grown.mul_f64(0.5 + chance / 2.0).max(retry_after.unwrap_or_default());
    }
    if rows > 0 { (every / SOONER).max(PAUSE_MIN).min(every) } else { every }
}
