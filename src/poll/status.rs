//! What is shown of the sources: by API and in metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::pass::{FolderView, Pass};
use super::triggers::TriggerPass;
use super::{Polled, Sources, Triggered, interval};
use crate::event::SourceName;
use crate::metric::{COVERAGE_GAP, POLL_CURSOR_AGE};
use crate::runs::Failure;
use crate::time::{Timestamp, format_duration};

/// Shared by the tasks that read and those that show.
#[derive(Clone, Debug, Default)]
pub struct Statuses(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    sources: BTreeMap<SourceName, Status>,
    triggers: BTreeMap<SourceName, TriggerStatus>,
}

/// Of a source that listens to a connector's trigger.
#[derive(Debug, Default)]
struct TriggerStatus {
    connector: String,
    trigger: String,
    every: String,
    first_pass: Option<Timestamp>,
    last_pass: Option<Timestamp>,
    known_until: Option<Timestamp>,
    failure: Option<String>,
    brought: u64,
    confirmed: u64,
}

#[derive(Debug, Default)]
struct Status {
    kind: &'static str,
    orchestrator: String,
    every: String,
    reconciles: Option<String>,
    last_pass: Option<Timestamp>,
    failure: Option<String>,
    brought: u64,
    confirmed: u64,
    gone: u64,
    folders: BTreeMap<String, FolderView>,
}

impl Statuses {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is in it is for show only.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets sources that are no more.
    pub(super) fn keep_only(&self, sources: &Sources) {
        let mut inner = self.lock();
        inner.sources.retain(|name, _| sources.polled.iter().any(|source| source.config.name == *name));
        inner.triggers.retain(|name, _| sources.triggered.iter().any(|source| source.config.name == *name));
    }

    /// After a pass.
    pub(super) fn passed(&self, source: &Polled, pass: Pass, now: Timestamp) {
        let mut inner = self.lock();
        let status = inner.sources.entry(Arc::clone(&source.config.name)).or_default();
        status.orchestrator = source.config.orchestrator.to_string();
        status.kind = source.config.kind.as_str();
        status.every = source.config.at.map_or_else(|| format_duration(source.config.every), |at| at.to_string());
        status.reconciles = source.config.reconciles.as_deref().map(str::to_owned);
        status.last_pass = Some(now);
        let why = pass.failure.as_ref().map(|failure| failure.message.clone());
        if why != status.failure {
            match &why {
                Some(why) => tracing::warn!(source = &*source.config.name, why, "cannot read the source; trying again"),
                None => tracing::info!(source = &*source.config.name, "the source can be read again"),
            }
        }
        status.failure = why;
        status.brought += pass.brought;
        status.confirmed += pass.confirmed;
        status.gone += pass.gone;
        for note in pass.folders.iter().flat_map(|(_, folder)| &folder.notes) {
            if !status.folders.values().any(|before| before.notes.contains(note)) {
                tracing::warn!(source = &*source.config.name, "{note}");
            }
        }
        // Where not even its folders were found, what is known of them stays.
        if status.failure.is_none() || !pass.folders.is_empty() {
            status.folders = pass.folders.into_iter().collect();
        }
        let oldest = status.folders.values().map(|folder| folder.ledger.known_until).min().flatten();
        let age = oldest.map_or(0.0, |known| now.since(known).as_secs_f64());
        // A source that is read once a day is not behind all day long.
        let late = age > interval(&source.config).as_secs_f64() * 3.0;
        let gap = if status.failure.is_some() || late { age } else { 0.0 };
        metrics::gauge!(POLL_CURSOR_AGE, "source" => source.config.name.to_string()).set(age);
        metrics::gauge!(COVERAGE_GAP, "source" => source.config.name.to_string()).set(gap);
    }

    /// After a pass over a trigger.
    pub(super) fn trigger_passed(&self, source: &Triggered, pass: &TriggerPass, failure: Option<&Failure>, now: Timestamp) {
        let mut inner = self.lock();
        let config = &source.config;
        let status = inner.triggers.entry(Arc::clone(&config.name)).or_default();
        status.connector = config.of.connector.clone();
        status.trigger = config.of.trigger.clone();
        status.every = format_duration(config.every);
        let first = *status.first_pass.get_or_insert(now);
        status.last_pass = Some(now);
        let why = failure.map(|failure| failure.message.clone());
        if why != status.failure {
            match &why {
                Some(why) => tracing::warn!(source = &*config.name, why, "cannot read the source; trying again, nothing is passed over"),
                None => tracing::info!(source = &*config.name, "the source can be read again"),
            }
        }
        if why.is_none() {
            status.known_until = Some(now);
        }
        status.failure = why;
        status.brought += pass.brought;
        status.confirmed += pass.confirmed;
        // Before the first good pass it is only known since when nothing is.
        let age = now.since(status.known_until.unwrap_or(first)).as_secs_f64();
        metrics::gauge!(POLL_CURSOR_AGE, "source" => config.name.to_string()).set(age);
        metrics::gauge!(COVERAGE_GAP, "source" => config.name.to_string()).set(if status.failure.is_some() { age } else { 0.0 });
    }

    /// For `GET /api/v1/sources`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let inner = self.lock();
        let items = inner.sources.iter().map(|(name, status)| {
            let folders = status.folders.iter().map(|(name, folder)| {
                let ledger = &folder.ledger;
                json!({
                    "folder": name, "reads": folder.reads, "cannot_bring": folder.cannot, "notes": folder.notes,
                    "known_until": ledger.known_until, "failing": ledger.failing, "gaps": ledger.gaps,
                })
            });
            json!({
                "source": name, "kind": status.kind, "orchestrator": status.orchestrator, "every": status.every,
                "reconciles": status.reconciles, "last_pass": status.last_pass, "failure": status.failure,
                "brought": status.brought, "confirmed": status.confirmed, "gone": status.gone, "folders": folders.collect::<Vec<_>>(),
            })
        });
        let triggers = inner.triggers.iter().map(|(name, status)| {
            json!({
                "source": name, "kind": "trigger", "connector": status.connector, "trigger": status.trigger, "every": status.every,
                "last_pass": status.last_pass, "known_until": status.known_until, "failure": status.failure,
                "brought": status.brought, "confirmed": status.confirmed,
            })
        });
        json!({"items": items.chain(triggers).collect::<Vec<_>>(), "next": null})
    }
}
