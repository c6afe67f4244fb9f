//! What people and outages hold back, shared between dispatch and those who ask: pauses in force, breakers that are open.
//!
//! Pauses are kept in the journal before they are in force, so that they survive a restart. A run that meets one is
//! recorded as paused and rests; when a pause ends, the runs that it held are woken page by page, and what is left to be
//! woken is remembered over a crash.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::journal::{AppendError, Journal, Kept, RunQuery, Space};
use crate::metric;
use crate::runs::{Cause, Class, Fact, PAUSED_NAME_MAX, PAUSES_MAX, Pause, Paused, Pauses, Run, RunState};
use crate::time::Timestamp;

/// Under this name it is kept that runs are still to be woken.
const WAKING: &str = "~waking";
/// Runs that are woken at once.
const WAKE_PAGE: usize = 500;
/// How long to wait before a full or unreadable journal is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Open breakers that are told.
const BREAKERS_SHOWN: usize = 1_000;

/// Why a pause was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum NotPaused {
    /// There are as many as there may be, or the name is too long.
    #[error("{0}")]
    Limit(String),
    /// It could not be kept.
    #[error("{0}")]
    NotKept(#[from] AppendError),
}

/// The board.
#[derive(Debug)]
pub struct Board {
    journal: Journal,
    clock: Clock,
    pauses: ArcSwap<Pauses>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// Rises when runs are to be woken.
    wake: watch::Sender<u64>,
    breakers: Mutex<BTreeMap<String, Value>>,
}

impl Board {
    /// With the pauses that the journal keeps.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn open(journal: Journal, clock: Clock) -> io::Result<Arc<Self>> {
        let mut pauses = Pauses::default();
        let mut waking = 0;
        for (key, value) in journal.kept_after(Space::Pause, "", None, PAUSES_MAX + 1)? {
            match (Paused::parse(&key), serde_json::from_slice::<Pause>(&value)) {
                (Some(what), Ok(pause)) => {
                    show(&what, true);
                    tracing::warn!(what = %what.described(), since = %pause.since, "paused, as before the start");
                    pauses.0.insert(what, pause);
                }
                _ if key == WAKING => waking = 1,
                _ => tracing::warn!(key, "a pause that this version does not know is passed over"),
            }
        }
        Ok(Arc::new(Self {
            journal,
            clock,
            pauses: ArcSwap::from_pointee(pauses),
            changing: tokio::sync::Mutex::default(),
            wake: watch::Sender::new(waking),
            breakers: Mutex::default(),
        }))
    }

    /// The pauses in force.
    #[must_use]
    pub fn pauses(&self) -> Arc<Pauses> {
        self.pauses.load_full()
    }

    /// Puts a pause in force; one that is in force already stays as it is. `true` when it is new.
    ///
    /// # Errors
    /// Too many, too long a name, or it could not be kept.
    pub async fn pause(&self, what: Paused, reason: Option<String>) -> Result<bool, NotPaused> {
        let _one = self.changing.lock().await;
        let mut pauses = Pauses::clone(&self.pauses());
        if pauses.0.contains_key(&what) {
            return Ok(false);
        }
        if pauses.0.len() >= PAUSES_MAX || what.name().len() > PAUSED_NAME_MAX || what.name().contains('\0') {
            return Err(NotPaused::Limit(format!("at most {PAUSES_MAX} pauses with names of at most {PAUSED_NAME_MAX} bytes")));
        }
        let pause = Pause { since: self.clock.now(), reason };
        let value = Bytes::from(json!(pause).to_string());
        self.journal.keep(vec![Kept { space: Space::Pause, key: what.to_string(), value: Some(value) }]).await?;
        tracing::warn!(what = %what.described(), reason = pause.reason.as_deref(), "paused by a person");
        show(&what, true);
        pauses.0.insert(what, pause);
        self.pauses.store(Arc::new(pauses));
        Ok(true)
    }

    /// Ends a pause and has its runs woken. `false` when there is none.
    ///
    /// # Errors
    /// It could not be kept.
    pub async fn resume(&self, what: &Paused) -> Result<bool, AppendError> {
        let _one = self.changing.lock().await;
        let mut pauses = Pauses::clone(&self.pauses());
        if pauses.0.remove(what).is_none() {
            return Ok(false);
        }
        let ended = Kept { space: Space::Pause, key: what.to_string(), value: None };
        let waking = Kept { space: Space::Pause, key: WAKING.to_owned(), value: Some(Bytes::from_static(b"true")) };
        self.journal.keep(vec![ended, waking]).await?;
        tracing::warn!(what = %what.described(), "resumed by a person");
        show(what, false);
        self.pauses.store(Arc::new(pauses));
        self.wake.send_modify(|count| *count += 1);
        Ok(true)
    }

    /// Wakes runs whose pause has ended, until `stop`.
    ///
    /// # Errors
    /// The journal has ended.
    pub(super) async fn wake_runs(self: Arc<Self>, stop: CancellationToken) -> Result<(), AppendError> {
        let mut wake = self.wake.subscribe();
        let mut seen = 0;
        while !stop.is_cancelled() {
            let count = *wake.borrow_and_update();
            if count != seen {
                seen = count;
                if self.wake_all(&stop).await? {
                    // A pause that ended meanwhile has risen the count: its turn comes at once.
                    let _one = self.changing.lock().await;
                    if *wake.borrow() == count {
                        let done = Kept { space: Space::Pause, key: WAKING.to_owned(), value: None };
                        drop(self.journal.keep(vec![done]).await);
                    }
                }
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                changed = wake.changed() => if changed.is_err() { return Ok(()) },
            }
        }
        Ok(())
    }

    /// Whether all were looked at.
    async fn wake_all(self: &Arc<Self>, stop: &CancellationToken) -> Result<bool, AppendError> {
        let mut query = RunQuery { state: Some(RunState::Paused), limit: WAKE_PAGE, ..RunQuery::default() };
        let mut woken = 0_usize;
        while !stop.is_cancelled() {
            let (journal, asked) = (self.journal.clone(), query.clone());
            let Ok(Ok(page)) = tokio::task::spawn_blocking(move || journal.runs(&asked)).await else {
                tracing::error!("cannot read which runs are paused; trying again");
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            let (pauses, now) = (self.pauses(), self.clock.now());
            let free = page.items.iter().filter(|run| pauses.of_rule(&run.planned.rule).is_none());
            let facts: Vec<_> = free.map(|run| (run.id(), vec![woke(now)])).collect();
            let count = facts.len();
            if count > 0 {
                match self.journal.record_all(facts).await {
                    Ok(()) => woken += count,
                    Err(AppendError::Full(_)) => {
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                    Err(ended) => return Err(ended),
                }
            }
            match page.next {
                Some(next) => query.before = Some(next),
                None => {
                    tracing::info!(runs = woken, "paused runs go on");
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The breaker of a target, or of a part of one, changed.
    pub(super) fn breaker(&self, key: String, row: Option<Value>) {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        match row {
            Some(row) if breakers.len() < BREAKERS_SHOWN || breakers.contains_key(&key) => drop(breakers.insert(key, row)),
            Some(_) => {}
            None => drop(breakers.remove(&key)),
        }
    }

    /// Breakers that are not closed, as JSON: `{target, part, state, until, cause, message}`.
    #[must_use]
    pub fn breakers(&self) -> Vec<Value> {
        let now = self.clock.now();
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = breakers.values().filter_map(|row| {
            let mut row = row.clone();
            let until = row.get("until").and_then(Value::as_str).and_then(Timestamp::parse_lenient);
            let is_before = until.is_some_and(|until| now < until);
            row["state"] = match row["cause"] == Class::Throttled.as_str() {
                true if is_before => json!("held"),
                // It is over; the next answer says so.
                true => return None,
                false => json!(if is_before { "open" } else { "half_open" }),
            };
            Some(row)
        });
        rows.collect()
    }
}

/// What a run is told when its pause is over.
fn woke(now: Timestamp) -> Fact {
    let cause = Cause { code: "resumed".to_owned(), message: "its pause is over; its turn comes".to_owned() };
    Fact::Waits { state: RunState::Pending, until: now, cause, at: now }
}

fn show(what: &Paused, paused: bool) {
    metrics::gauge!(metric::PAUSED, "what" => what.to_string()).set(if paused { 1.0 } else { 0.0 });
}

/// Keeps a run where it stands until its pause ends. It is looked at again after a while all the same.
pub(super) fn paused(run: &Run, cause: Cause, now: Timestamp) -> Vec<Fact> {
    /// Long, so that many paused runs cost nothing.
    const LOOK_AGAIN: Duration = Duration::from_secs(24 * 3600);
    tracing::debug!(run = %run.id(), "a run is paused");
    vec![Fact::Waits { state: RunState::Paused, until: now.plus(LOOK_AGAIN), cause, at: now }]
}
