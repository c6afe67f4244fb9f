//! The words of the store: what is handed in, what comes back, and why it may not.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Clock;
use crate::event::{Change, Event, EventId, RuleName, RunId, SourceName, Verified, Via};
use crate::fault::SourceText;
use crate::rules::Known;
use crate::runs::{NewRun, RunState};
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
    /// At least one. What came as a webhook has its data in the body: there `data` is not looked at.
    pub changes: Vec<Change>,
}

/// What a kept value is about; the names of one space are apart from those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// How far a source has read.
    Cursor = 1,
    /// The last state of a thing that a source follows.
    Item = 2,
    /// Up to when everything is known, and where it is not.
    Ledger = 3,
    /// What a person has paused.
    Pause = 4,
    /// Circuit breakers of targets.
    Breaker = 5,
    /// Tokens that a service changes with each use.
    Token = 6,
    /// What was handled last for an ordering key.
    Order = 7,
    /// Keys of which a rule takes one in a while.
    Dedupe = 8,
    /// Timers of watches.
    Watch = 9,
    /// Places of the journal where records were lost.
    Loss = 10,
    /// The first event that each rule generation routed.
    Routed = 11,
}

impl Space {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Cursor,
        Self::Item,
        Self::Ledger,
        Self::Pause,
        Self::Breaker,
        Self::Token,
        Self::Order,
        Self::Dedupe,
        Self::Watch,
        Self::Loss,
        Self::Routed,
    ];

    pub(super) fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|space| *space as u8 == byte)
    }
}

/// The longest name of a kept value, in bytes.
pub const KEPT_KEY_MAX: usize = 512;

/// The longest kept value, in bytes.
pub const KEPT_VALUE_MAX: usize = 64 << 10;

/// A value under a name: state that is neither an event nor a run. The last write wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it is about.
    pub space: Space,
    /// Its name: at most [`KEPT_KEY_MAX`] bytes, no NUL.
    pub key: String,
    /// At most [`KEPT_VALUE_MAX`] bytes, JSON by custom; `None` forgets it.
    pub value: Option<Bytes>,
}

impl Kept {
    /// Refuses what is too long to be kept.
    pub(super) fn check(&self) -> Result<(), AppendError> {
        let value = self.value.as_ref().map_or(0, Bytes::len);
        if self.key.len() <= KEPT_KEY_MAX && !self.key.contains('\0') && value <= KEPT_VALUE_MAX {
            return Ok(());
        }
        let key = self.key.len();
        Err(AppendError::Full(format!(
            "a kept value of {value} bytes under a name of {key} is over the limits of {KEPT_VALUE_MAX} and {KEPT_KEY_MAX}, or its name has a NUL"
        )))
    }
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

/// What the router has yet to decide about.
#[derive(Clone, Debug, Default)]
pub struct Unrouted {
    /// Up to here nothing is missing from `events` but what no rule can meet; `None` when there is nothing.
    pub through: Option<EventId>,
    /// The events, oldest first.
    pub events: Vec<Arc<Event>>,
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
    pub known: Known,
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

/// A page ends early, and says where the next one begins, once its items take so many bytes.
pub const PAGE_BYTES_MAX: usize = 16 << 20;

/// A part of a list, oldest first.
#[derive(Clone, Debug)]
pub struct Page<T, C> {
    /// The items, newest last.
    pub items: Vec<T>,
    /// Where the next older page begins; `None` at the beginning of the journal.
    pub next: Option<C>,
}

/// A text that holds no more memory than it needs, with its length.
pub(super) fn measured(mut text: String) -> (String, usize) {
    text.shrink_to_fit();
    let length = text.len();
    (text, length)
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
    /// Damage that was mended: what could not be read any more is kept aside, the rest goes on.
    pub damage: Vec<Damage>,
    /// Runs that are not settled.
    pub open_runs: u64,
    /// When the newest event was accepted.
    pub newest: Option<Timestamp>,
}

/// A place of the journal where bytes that were acknowledged do not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub file: PathBuf,
    /// Where the group begins that does not verify.
    pub offset: u64,
    /// Bytes from there to the next good group.
    pub bytes: u64,
    /// Records in between that are whole all the same.
    pub whole: u64,
    /// Bytes of the records that are lost.
    pub lost: u64,
    /// Whether the whole file is gone.
    pub missing: bool,
    /// Where the bytes were put aside when the place was mended.
    pub aside: Option<PathBuf>,
    /// What is wrong, where it is not that bytes do not verify.
    pub why: Option<&'static str>,
}

impl Damage {
    /// A segment that is gone.
    pub(super) fn missing(file: &Path) -> Self {
        Self { file: file.to_owned(), offset: 0, bytes: 0, whole: 0, lost: 0, missing: true, aside: None, why: None }
    }

    /// A segment whose head does not verify, so that nothing in it can be told.
    pub(super) fn all_of(file: &Path) -> Self {
        let bytes = std::fs::metadata(file).map_or(0, |file| file.len());
        let why = (bytes == 0).then_some("it is empty; what it held is lost");
        Self { bytes, lost: bytes, missing: false, why, ..Self::missing(file) }
    }

    /// A place of a segment where something is wrong that is no matter of bytes.
    pub(super) fn at(file: &Path, offset: u32, why: &'static str) -> Self {
        Self { offset: offset.into(), missing: false, why: Some(why), ..Self::missing(file) }
    }

    /// A record of ours that we cannot read.
    pub(super) fn senseless(file: &Path, offset: u32) -> Self {
        Self::at(file, offset, "a record verifies and does not decode; it is lost")
    }

    /// A segment behind which there are others, and that has no end.
    pub(super) fn cut_short(file: &Path, offset: u32, tail: u64) -> Self {
        let why = (tail == 0).then_some("its end is missing; what stood there is lost");
        Self { bytes: tail, lost: tail, why, ..Self::at(file, offset, "") }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, whole, lost, missing, aside, why } = self;
        if *missing {
            return write!(f, "`{}` is missing", file.display());
        }
        write!(f, "`{}` is damaged at byte {offset}: ", file.display())?;
        match why {
            Some(why) => f.write_str(why)?,
            None => write!(f, "{bytes} bytes do not verify")?,
        }
        match (lost, whole) {
            _ if why.is_some() => {}
            (0, _) => f.write_str("; no record is lost")?,
            (_, 0) => f.write_str("; what they held is lost")?,
            _ => write!(f, "; {whole} records in there are whole, {lost} bytes are lost")?,
        }
        aside.as_ref().map_or(Ok(()), |aside| write!(f, "; kept aside in `{}`", aside.display()))
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
    /// Places where acknowledged records were lost, ever.
    pub losses: u64,
    /// Due runs that are left out because their rows cannot be read.
    pub unreadable: u64,
    /// Those of them that hold what outlived its segment.
    pub carried: u64,
    /// When the oldest event was received.
    pub oldest_event: Option<Timestamp>,
    /// Nothing is removed by age, because the clock is in doubt.
    pub retention_halted: bool,
}
