//! Items that stay too long in one status.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Event;
use crate::rules::FolderRef;
use crate::rules::index::TypePattern;
use crate::time::Timestamp;

/// How long it is remembered that an item went on: an event that comes late must not call it back.
const REMEMBERED: Duration = Duration::from_secs(600);

/// What tells that an item changed its status.
const TYPES: [&str; 8] = [
    "queueitem.added",
    "queueitem.transactionstarted",
    "queueitem.deferred",
    "queueitem.transactioncompleted",
    "queueitem.transactionfailed",
    "queueitem.transactionabandoned",
    "queueitem.retried",
    "queueitem.deleted",
];

pub(super) fn types() -> Vec<TypePattern> {
    TYPES.iter().map(|name| TypePattern::Exact((*name).into())).collect()
}

/// In which status an item waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waits {
    /// For a robot.
    New,
    /// For the end of its transaction.
    InProgress,
    /// For nothing: it is final.
    Over,
}

impl Waits {
    /// As Orchestrator spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "New",
            Self::InProgress => "InProgress",
            Self::Over => "Over",
        }
    }
}

/// What counts as stuck.
#[derive(Clone, Debug)]
pub struct Stuck {
    /// Items of this queue …
    pub queue: String,
    /// … in this folder, where named …
    pub folder: Option<FolderRef>,
    /// … that are in this status …
    pub status: Waits,
    /// … for longer.
    pub longer_than: Duration,
}

/// Where an item is, since when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stay {
    /// Where.
    pub status: Waits,
    /// Since when it waits: a postponed item does not before its time.
    pub since: Timestamp,
    /// When it came here.
    pub changed: Timestamp,
    /// The event that said so, as its id prints.
    pub event: String,
    /// The item's reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl Stuck {
    /// The item that an event is about and where it is after it; `None` when the event says nothing of that.
    #[must_use]
    pub fn stay(&self, event: &Event) -> Option<(i64, Stay)> {
        let item = event.data().get("QueueItem")?;
        let own = item.get("Status").and_then(Value::as_str).unwrap_or_default();
        let status = match &*event.event_type().to_ascii_lowercase() {
            "queueitem.added" if own == "InProgress" => Waits::InProgress,
            "queueitem.added" | "queueitem.deferred" => Waits::New,
            "queueitem.transactionstarted" => Waits::InProgress,
            // Told of the attempt that was retried, or of the new one, which is added as well.
            "queueitem.retried" if own != "Retried" => return None,
            _ => Waits::Over,
        };
        let changed = event.change.time.unwrap_or(event.received);
        let date = |name: &str| item.get(name).and_then(Value::as_str).and_then(Timestamp::parse_lenient).and_then(Timestamp::sane);
        let since = match status {
            Waits::New => date("DeferDate").map_or(changed, |date| date.max(changed)),
            _ => changed,
        };
        let reference = item.get("Reference").and_then(Value::as_str).map(str::to_owned);
        Some((item.get("Id")?.as_i64()?, Stay { status, since, changed, event: event.id.to_string(), reference }))
    }

    /// What is to be remembered of an item; `None` when nothing changes. Events may come late and in any order.
    #[must_use]
    pub fn after(&self, before: Option<&Stay>, new: Stay) -> Option<Stay> {
        match before {
            Some(before) if before.status == Waits::Over => None,
            // The same again, or something older.
            Some(before) if new.status != Waits::Over && new.changed <= before.changed => None,
            Some(_) => Some(new),
            None if new.status == self.status || new.status == Waits::Over => Some(new),
            None => None,
        }
    }

    /// When an item counts as stuck; `None` when it waits for something else.
    #[must_use]
    pub fn due(&self, stay: &Stay) -> Option<Timestamp> {
        (stay.status == self.status).then(|| stay.since.plus(self.longer_than))
    }

    /// Whether it can be forgotten.
    #[must_use]
    pub fn is_over(&self, stay: &Stay, now: Timestamp) -> bool {
        stay.status != self.status && now.since(stay.changed) > REMEMBERED
    }
}
