//! What is kept: the append-only journal (the truth) and the checkpoints folded from it (sled).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::event::{Change, Event, EventId, RuleName, RunId, SourceName, Verified, Via};
use crate::fault::SourceText;
use crate::runs::{Fact, NewRun, Run, RunState};
use crate::time::Timestamp;

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of one segment; 64 MiB unless a test wants rolls.
    pub segment_bytes: u64,
    /// Where the writer reads the time.
    pub clock: Clock,
    /// Identifies this boot of the machine (`/proc/sys/kernel/random/boot_id`); an argument so that tests may change it.
    pub boot_id: String,
}

/// A delivery to be kept: one body, the changes in it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Through which source.
    pub source: SourceName,
    /// How.
    pub via: Via,
    /// The source's orchestrator.
    pub orchestrator: Option<Arc<str>>,
    /// What vouches for it.
    pub verified: Verified,
    /// When the body was read.
    pub received: Timestamp,
    /// The body's bytes, kept as they are.
    pub body: Bytes,
    /// `EventId` under its tenant or source: tells a re-delivery from a conflict.
    pub delivery_id: Option<Arc<str>>,
    /// At least one.
    pub changes: Vec<Change>,
}

/// What became of a delivery; its facts are on disk.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Accepted {
    /// New events, in the order of the body's elements.
    pub events: Vec<EventId>,
    /// How many elements were copies of events that we have.
    pub folded: usize,
    /// Whether any was marked `conflict`.
    pub conflict: bool,
}

/// What the router decided for the events up to `through`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The newest event that was routed.
    pub through: EventId,
    /// The runs, in event order then rule order.
    pub runs: Vec<NewRun>,
}

/// The texts that a rule generation was made of; enough to compile it again after a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleTexts {
    /// The files.
    pub files: Vec<Arc<SourceText>>,
    /// What the rules could refer to when the generation was loaded (`vars` among it).
    pub known: crate::rules::Known,
}

/// Why a journal does not open. Each text names the path and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds it.
    #[error("{}", .0)]
    Locked(String),
    /// Made by a newer version, or not ours.
    #[error("{}", .0)]
    Format(String),
    /// Acknowledged records are missing or damaged.
    #[error("{}", .0)]
    Damaged(String),
    /// The file system refuses.
    #[error("{}", .0)]
    Io(String),
}

/// Why something was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No space now; it may come back by itself. Nothing was kept.
    #[error("no space for the journal: {0}")]
    Full(String),
    /// The journal ended (a write or fsync failed, or it was closed): the process is about to end.
    #[error("the journal has ended: {0}")]
    Ended(String),
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Exactly this type, or `queueItem.*`.
    pub event_type: Option<String>,
    /// Of this source.
    pub source: Option<String>,
    /// Whose key or subject contains this.
    pub key: Option<String>,
    /// At most this many, the newest.
    pub limit: usize,
    /// Only those older than this (a cursor from [`Page::next`]).
    pub before: Option<EventId>,
}

/// Which runs.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Created before.
    pub until: Option<Timestamp>,
    /// In this state.
    pub state: Option<RunState>,
    /// Of this rule.
    pub rule: Option<String>,
    /// For this event.
    pub event: Option<EventId>,
    /// At most this many, the newest.
    pub limit: usize,
    /// Only those older than this.
    pub before: Option<RunId>,
}

/// A part of a list, oldest first.
#[derive(Clone, Debug)]
pub struct Page<T, C> {
    /// The items, newest last.
    pub items: Vec<T>,
    /// Where the next older page begins; `None` at the beginning of the journal.
    pub next: Option<C>,
}

/// How the journal is, for readiness, metrics and the watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Writable.
    Good,
    /// No space; tried again each second.
    Full(String),
    /// A write or fsync failed; the process must end.
    Failed(String),
}

/// The journal, open. Cheap to clone; all verbs go to one writer thread.
#[derive(Clone, Debug)]
pub struct Journal {}

/// What opening found.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Events in the journal.
    pub events: u64,
    /// Why the checkpoints were rebuilt, if they were.
    pub rebuilt: Option<String>,
    /// Records replayed onto the checkpoints.
    pub replayed: u64,
    /// Bytes of a torn tail that were cut.
    pub cut: u64,
    /// Runs that are not settled.
    pub open_runs: u64,
}

impl Journal {
    /// Opens or makes the store in `dir` (0700). Blocking: may take seconds after a crash.
    ///
    /// # Errors
    /// Locked, of another format, damaged, or refused by the file system.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, OpenReport), OpenError> {
        let _ = (dir, options);
        todo!()
    }

    // ---- verbs that append; each returns after its fdatasync ----

    /// Keeps a delivery: decides what is a copy, gives ids, appends, syncs.
    ///
    /// # Errors
    /// Full, or ended; nothing was kept then.
    pub async fn accept(&self, delivery: Delivery) -> Result<Accepted, AppendError> {
        let _ = delivery;
        todo!()
    }

    /// Records what the router decided: runs and position in one group. Runs that exist already are left as they are.
    ///
    /// # Errors
    /// Full, or ended.
    pub async fn plan(&self, plan: Plan) -> Result<(), AppendError> {
        let _ = plan;
        todo!()
    }

    /// Records facts of a run in order, in one group.
    ///
    /// # Errors
    /// Full, or ended.
    pub async fn record(&self, run: RunId, facts: Vec<Fact>) -> Result<(), AppendError> {
        let _ = (run, facts);
        todo!()
    }

    /// Records the texts of a new rule generation and gives its number; the same texts as the newest one give that
    /// one's number again.
    ///
    /// # Errors
    /// Full, or ended.
    pub async fn rules_loaded(&self, texts: RuleTexts) -> Result<u64, AppendError> {
        let _ = texts;
        todo!()
    }

    // ---- wake-ups; they carry nothing that must not be lost ----

    /// Changes whenever new events are durable: the newest id.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<EventId> {
        todo!()
    }

    /// Changes whenever runs were planned or a due time may have changed.
    #[must_use]
    pub fn due_changed(&self) -> watch::Receiver<u64> {
        todo!()
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        todo!()
    }

    // ---- reading; blocking but short unless said otherwise ----

    /// The oldest events that the router has not seen, in order, at most `max`; from the hot cache where it can.
    pub fn unrouted(&self, max: usize) -> std::io::Result<Vec<Arc<Event>>> {
        let _ = max;
        todo!()
    }

    /// Open runs whose time has come at `now`, earliest first, at most `max`, without those that `busy` names; and when
    /// the next one after them is due.
    pub fn due(&self, now: Timestamp, max: usize, busy: &dyn Fn(RunId) -> bool) -> std::io::Result<(Vec<Run>, Option<Timestamp>)> {
        let _ = (now, max, busy);
        todo!()
    }

    /// An event with its fold counts.
    pub fn event(&self, id: EventId) -> std::io::Result<Option<Arc<Event>>> {
        let _ = id;
        todo!()
    }

    /// A run with the values of its steps.
    pub fn run(&self, id: RunId) -> std::io::Result<Option<Run>> {
        let _ = id;
        todo!()
    }

    /// Events, newest last. May read many segments: call it off the runtime's threads.
    pub fn events(&self, query: &EventQuery) -> std::io::Result<Page<Event, EventId>> {
        let _ = query;
        todo!()
    }

    /// Runs, newest last. Call it off the runtime's threads.
    pub fn runs(&self, query: &RunQuery) -> std::io::Result<Page<Run, RunId>> {
        let _ = query;
        todo!()
    }

    /// The texts of a rule generation.
    pub fn rule_texts(&self, generation: u64) -> std::io::Result<Option<RuleTexts>> {
        let _ = generation;
        todo!()
    }

    /// Numbers for metrics, kept up to date by the writer: never reads the store.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        todo!()
    }

    /// Stops taking operations, finishes those it has, applies and marks a clean end.
    pub fn close(&self) {
        todo!()
    }
}

/// Numbers about the store.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// When the oldest run that is due or waiting was created.
    pub oldest_open_run: Option<Timestamp>,
    /// Dead runs per rule.
    pub dead: Vec<(RuleName, u64)>,
    /// How far back copies are recognised.
    pub dedup_since: Option<Timestamp>,
    /// Events accepted but not routed.
    pub unrouted: u64,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// Reads the segments of a state folder without the daemon: no lock, no sled, no secrets. Stops at the first record
/// that does not verify.
#[derive(Debug)]
pub struct Reader {
    #[expect(dead_code, reason = "filled in by the journal")]
    dir: PathBuf,
}

impl Reader {
    /// For the state folder `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// As [`Journal::events`].
    pub fn events(&self, query: &EventQuery) -> std::io::Result<Page<Event, EventId>> {
        let _ = query;
        todo!()
    }

    /// As [`Journal::event`].
    pub fn event(&self, id: EventId) -> std::io::Result<Option<Event>> {
        let _ = id;
        todo!()
    }

    /// As [`Journal::runs`].
    pub fn runs(&self, query: &RunQuery) -> std::io::Result<Page<Run, RunId>> {
        let _ = query;
        todo!()
    }

    /// As [`Journal::run`].
    pub fn run(&self, id: RunId) -> std::io::Result<Option<Run>> {
        let _ = id;
        todo!()
    }
}
