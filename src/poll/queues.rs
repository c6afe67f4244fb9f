//! What is known of a folder's queues: their data for events, and which of them the source is to read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};

use super::pass::REQUEST_TIMEOUT;
use super::place::{FolderError, Place};
use crate::config::Chosen;
use crate::normalize::feed::QueueData;
use crate::time::Timestamp;

/// How long the list of queues is believed.
const QUEUES_FOR: Duration = Duration::from_secs(300);

/// Queues that are remembered as not there.
const ABSENT_MAX: usize = 1000;

/// The fields of a queue that events have.
const QUEUE_FIELDS: &[&str] = &[
    "Id",
    "Key",
    "Name",
    "Description",
    "MaxNumberOfRetries",
    "AcceptAutomaticallyRetry",
    "RetryAbandonedItems",
    "EnforceUniqueReference",
];

/// The queues of one folder.
#[derive(Default)]
pub(super) struct Queues {
    known: BTreeMap<i64, QueueData>,
    /// Ids that items have and the list has not: asked for again when the list is read again anyway.
    absent: BTreeSet<i64>,
    read: Option<Timestamp>,
}

impl Queues {
    /// Reads the list where one of `wanted` is not known, or what is known is old.
    pub(super) async fn know(&mut self, place: &Place<'_>, wanted: impl IntoIterator<Item = i64>) -> Result<(), FolderError> {
        let now = place.now();
        let unknown: BTreeSet<i64> = wanted.into_iter().filter(|id| !self.known.contains_key(id) && !self.absent.contains(id)).collect();
        let old = self.read.is_none_or(|read| now.since(read) >= QUEUES_FOR || read > now);
        if unknown.is_empty() && !old {
            return Ok(());
        }
        let orchestrator = &place.source.orchestrator;
        let rows = place.ask("QueueDefinitions", orchestrator.queues(&place.folder, REQUEST_TIMEOUT)).await?;
        if old {
            self.absent.clear();
        }
        for row in rows {
            if let Some(id) = row.get("Id").and_then(Value::as_i64) {
                let fields =
                    QUEUE_FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), row.get(*name).filter(|v| !v.is_null())?.clone())));
                self.known.insert(id, QueueData { data: Value::Object(fields.collect::<Map<_, _>>()) });
            }
        }
        let absent = unknown.into_iter().filter(|id| !self.known.contains_key(id));
        self.absent.extend(absent.take(ABSENT_MAX));
        while self.absent.len() > ABSENT_MAX {
            self.absent.pop_first();
        }
        self.read = Some(now);
        Ok(())
    }

    /// A queue's data.
    pub(super) fn get(&self, id: i64) -> Option<&QueueData> {
        self.known.get(&id)
    }

    /// Whether the source reads this queue.
    pub(super) fn is_chosen(place: &Place<'_>, queue: &QueueData) -> bool {
        match &place.source.config.queues {
            Chosen::All => true,
            Chosen::These(names) => names.iter().any(|chosen| chosen.eq_ignore_ascii_case(name_of(queue))),
        }
    }

    /// The Ids of the queues that the source reads; empty where it reads all.
    pub(super) fn chosen(&self, place: &Place<'_>) -> Vec<i64> {
        match place.source.config.queues {
            Chosen::All => Vec::new(),
            Chosen::These(_) => self.known.iter().filter(|(_, queue)| Self::is_chosen(place, queue)).map(|(id, _)| *id).collect(),
        }
    }

    /// The queues that the source names and the folder does not have.
    pub(super) fn missing<'a>(&self, place: &'a Place<'_>) -> Vec<&'a str> {
        let Chosen::These(names) = &place.source.config.queues else { return Vec::new() };
        if self.read.is_none() {
            return Vec::new();
        }
        let here = |name: &str| self.known.values().any(|queue| name_of(queue).eq_ignore_ascii_case(name));
        names.iter().map(String::as_str).filter(|name| !here(name)).collect()
    }
}

fn name_of(queue: &QueueData) -> &str {
    queue.data.get("Name").and_then(Value::as_str).unwrap_or_default()
}
