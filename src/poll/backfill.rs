//! Past changes of a source, because somebody asked: read the same way as new ones, from the same budget, beside them.
//!
//! What is asked for and how far it came is one kept value for each source, written together with the events: after a crash,
//! a restart or a reload it goes on behind what it has told. Nothing is read that the source itself has yet to read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::feed::Feed;
use super::folder::has_feed;
use super::ledger::Ledger;
use super::pass::{Pass, wanted};
use super::place::{Bring, FolderError, Place};
use super::{Poll, Polled, jobs, lists, losses};
use crate::config::PollKind;
use crate::journal::{AppendError, Journal, Kept, Space};
use crate::normalize::cursor::OVERLAP;
use crate::normalize::stood::LastState;
use crate::time::Timestamp;

/// The pause after a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// How often a backfill looks whether the source has been read far enough by now.
const WAIT_LOOK: Duration = Duration::from_secs(1);

/// Items whose last state is remembered while the past is read.
pub(super) const STATES_MAX: usize = 50_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// What happened from then on …
    pub since: Timestamp,
    /// … and before this.
    pub until: Timestamp,
    /// Whether rules see the events.
    pub run_rules: bool,
    /// Only counted.
    pub dry_run: bool,
}

/// How a backfill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackfillState {
    /// It goes on.
    Running,
    /// Everything was read.
    Done,
    /// Somebody stopped it.
    Stopped,
}

/// What was asked for, and how far it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    since: Timestamp,
    until: Timestamp,
    run_rules: bool,
    dry_run: bool,
    state: BackfillState,
    started: Timestamp,
    ended: Option<Timestamp>,
    /// Folders that are read to the end.
    done: Vec<String>,
    /// How many there are.
    folders: usize,
    /// In the folder that is being read: which of its lists, and behind which Id to go on.
    pub(super) part: u8,
    pub(super) after: i64,
    /// When the change was that was told last.
    pub(super) at: Option<Timestamp>,
    /// Events that were found.
    pub(super) found: u64,
    brought: u64,
    confirmed: u64,
    failure: Option<String>,
    /// In the folder that is being read: how far the source itself has read.
    #[serde(skip)]
    limit: Option<Timestamp>,
}

impl Standing {
    /// For people and programs, with the share that is done.
    #[must_use]
    pub fn to_json(&self, source: &str) -> Value {
        let mut json = json!(self);
        let whole = self.until.since(self.since).as_secs_f64().max(1.0);
        let part = self.at.map_or(0.0, |at| at.since(self.since).as_secs_f64() / whole).clamp(0.0, 1.0);
        let share = if self.state == BackfillState::Done {
            1.0
        } else {
            ((self.done.len() as f64 + part) / (self.folders.max(1) as f64)).min(0.99)
        };
        json["source"] = json!(source);
        json["share"] = json!((share * 1000.0).round() / 1000.0);
        json
    }

    /// What of a moment is asked for.
    pub(super) fn holds(&self, time: Option<Timestamp>) -> bool {
        time.is_none_or(|time| time >= self.since && time < self.until())
    }

    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    pub(super) fn until(&self) -> Timestamp {
        self.limit.map_or(self.until, |limit| limit.min(self.until))
    }

    pub(super) fn how(&self) -> Bring {
        Bring::Past(self.run_rules)
    }

    pub(super) fn only_counts(&self) -> bool {
        self.dry_run
    }
}

/// Why a backfill was not begun, shown or stopped.
#[derive(Debug, thiserror::Error)]
pub enum NotBackfilled {
    /// There is no such polled source; the names of those that are.
    #[error("there is no polled source of this name; there are: {}", .0.join(", "))]
    Unknown(Vec<String>),
    /// Another one runs, or there is none.
    #[error("{}", .0)]
    Bad(String),
    /// It could not be kept.
    #[error(transparent)]
    NotKept(#[from] AppendError),
    /// What is kept could not be read.
    #[error("{}", .0)]
    NotRead(#[from] std::io::Error),
}

/// Where backfills are asked for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Backfills {
    journal: Journal,
    asked: watch::Sender<u64>,
}

impl Backfills {
    /// Over the journal that holds them.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self { journal, asked: watch::Sender::new(0) }
    }

    /// Begins one, or finds the same one under way.
    ///
    /// # Errors
    /// Another one runs for this source, or it cannot be kept.
    pub async fn begin(&self, source: &str, past: Past, now: Timestamp) -> Result<Standing, NotBackfilled> {
        let Past { since, until, run_rules, dry_run } = past;
        if let Some(running) = self.standing(source)?.filter(|standing| standing.state == BackfillState::Running) {
            let same = (running.since, running.run_rules, running.dry_run) == (since, run_rules, dry_run);
            return if same {
                Ok(running)
            } else {
                Err(NotBackfilled::Bad(format!(
                    "a backfill from {} to {} is under way for this source; wait for its end, or stop it",
                    running.since, running.until
                )))
            };
        }
        let standing = Standing {
            since,
            until,
            run_rules,
            dry_run,
            state: BackfillState::Running,
            started: now,
            ended: None,
            done: Vec::new(),
            folders: 0,
            part: 0,
            after: 0,
            at: None,
            found: 0,
            brought: 0,
            confirmed: 0,
            failure: None,
            limit: None,
        };
        self.keep(source, &standing).await?;
        self.asked.send_modify(|times| *times += 1);
        Ok(standing)
    }

    /// Stops the one that runs.
    ///
    /// # Errors
    /// None runs, or it cannot be kept.
    pub async fn stop(&self, source: &str, now: Timestamp) -> Result<Standing, NotBackfilled> {
        match self.standing(source)?.filter(|standing| standing.state == BackfillState::Running) {
            Some(standing) => {
                let stopped = Standing { state: BackfillState::Stopped, ended: Some(now), ..standing };
                self.keep(source, &stopped).await?;
                Ok(stopped)
            }
            None => Err(NotBackfilled::Bad("no backfill is under way for this source".to_owned())),
        }
    }

    /// The newest one of a source.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub fn standing(&self, source: &str) -> Result<Option<Standing>, std::io::Error> {
        let kept = self.journal.kept(Space::Cursor, &key(source))?;
        Ok(kept.and_then(|value| serde_json::from_slice(&value).ok()))
    }

    async fn keep(&self, source: &str, standing: &Standing) -> Result<(), AppendError> {
        self.journal.keep(vec![kept(source, standing)]).await
    }
}

fn key(source: &str) -> String {
    // No folder's value is called so: those have a slash.
    format!("{source}:backfill")
}

pub(super) fn kept(source: &str, standing: &Standing) -> Kept {
    Place::kept(Space::Cursor, key(source), &json!(standing))
}

/// Does what is asked for a source, for as long as the source is followed.
pub(super) async fn attend(poll: &Poll, source: &Polled) {
    let name = &source.config.name;
    let mut asked = poll.backfills.asked.subscribe();
    loop {
        asked.borrow_and_update();
        match losses::ask(poll, source).await {
            Ok(()) => {}
            Err(FolderError::Journal(true)) => return,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
        let standing = poll.backfills.standing(name).ok().flatten().filter(|standing| standing.state == BackfillState::Running);
        let Some(mut standing) = standing else {
            if asked.changed().await.is_err() {
                return std::future::pending().await;
            }
            continue;
        };
        match Box::pin(carry_out(poll, source, &mut standing)).await {
            Ok(()) => {}
            Err(FolderError::Journal(true)) => return,
            Err(FolderError::Journal(false)) => tokio::time::sleep(AGAIN).await,
            Err(FolderError::Service(failure)) => {
                if standing.failure.as_ref() != Some(&failure.message) {
                    tracing::warn!(source = &**name, why = failure.message, "the backfill cannot go on; trying again");
                    standing.failure = Some(failure.message);
                    if is_current(poll, source, &standing) {
                        drop(poll.backfills.keep(name, &standing).await);
                    }
                }
                tokio::time::sleep(failure.retry_after.unwrap_or(AGAIN).max(AGAIN)).await;
            }
        }
    }
}

/// Whether nobody stopped it, or began another one.
fn is_current(poll: &Poll, source: &Polled, standing: &Standing) -> bool {
    let kept = poll.backfills.standing(&source.config.name).ok().flatten();
    kept.is_some_and(|kept| kept.state == BackfillState::Running && kept.started == standing.started)
}

async fn carry_out(poll: &Poll, source: &Polled, standing: &mut Standing) -> Result<(), FolderError> {
    let folders = wanted(source).await?;
    standing.folders = folders.len();
    for (name, folder, about) in folders {
        if standing.done.contains(&name) {
            continue;
        }
        let place = Place { poll, source, name, folder, about };
        // What the source itself has yet to read is its own: rules are to see that.
        let limit = loop {
            let known = place.load::<Ledger>(Space::Ledger, &place.key()).and_then(|ledger| ledger.known_until);
            match known.map(|known| known.minus(OVERLAP)) {
                Some(known) => break known,
                None => tokio::time::sleep(WAIT_LOOK).await,
            }
        };
        standing.limit = Some(limit);
        let read = if standing.until() > standing.since { folder_past(&place, standing).await } else { Ok(true) };
        standing.limit = None;
        if !read? {
            return Ok(());
        }
        standing.done.push(place.name.clone());
        (standing.part, standing.after, standing.at) = (0, 0, None);
        advance(&place, standing, Vec::new(), &mut Pass::default()).await?;
    }
    standing.state = BackfillState::Done;
    standing.ended = Some(poll.clock.now());
    tracing::info!(source = &*source.config.name, found = standing.found, brought = standing.brought, "the backfill is done");
    poll.backfills.keep(&source.config.name, standing).await?;
    Ok(())
}

/// One folder; false when somebody stopped it.
async fn folder_past(place: &Place<'_>, standing: &mut Standing) -> Result<bool, FolderError> {
    match place.source.config.kind {
        PollKind::Jobs => jobs::past(place, standing).await,
        PollKind::QueueItems if has_feed(place).await? => {
            let mut states: BTreeMap<i64, LastState> = BTreeMap::new();
            Feed::default().past(place, standing, &mut states).await
        }
        PollKind::QueueItems => lists::Lists::open(place).past(place, standing).await,
    }
}

/// Keeps events and where the backfill stands in one group; false when it is to go no further.
pub(super) async fn advance(
    place: &Place<'_>,
    standing: &mut Standing,
    changes: Vec<crate::event::Change>,
    pass: &mut Pass,
) -> Result<bool, FolderError> {
    if !is_current(place.poll, place.source, standing) {
        return Ok(false);
    }
    standing.found += changes.len() as u64;
    standing.failure = None;
    let changes = if standing.only_counts() { Vec::new() } else { changes };
    // What this group brings is counted with the next one; a crash in between leaves it out of the figures only.
    (standing.brought, standing.confirmed) = (standing.brought + pass.brought, standing.confirmed + pass.confirmed);
    (pass.brought, pass.confirmed) = (0, 0);
    place.bring(changes, vec![kept(&place.source.config.name, standing)], standing.how(), pass).await?;
    (standing.brought, standing.confirmed) = (standing.brought + pass.brought, standing.confirmed + pass.confirmed);
    (pass.brought, pass.confirmed) = (0, 0);
    Ok(true)
}
