//! One folder: its feed from the cursor on, page by page; events and cursor are kept together.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::ledger::Ledger;
use super::pass::{Pass, REQUEST_TIMEOUT, count};
use super::{Poll, Polled};
use crate::config::Chosen;
use crate::event::{Change, Folder, Verified, Via};
use crate::journal::{AppendError, Delivery, Kept, Space};
use crate::normalize::cursor::FeedCursor;
use crate::normalize::feed::{FeedRow, LastState, QueueData, Sighting, change, events_of, known_before, state_after};
use crate::orchestrator::{FeedFrom, ITEMS_AT_ONCE};
use crate::rules::FolderRef;
use crate::runs::Failure;
use crate::time::Timestamp;

/// How long the list of queues is believed.
const QUEUES_FOR: Duration = Duration::from_secs(300);

/// Pages of one pass: what is behind them waits for the next pass, so that other folders have their turn.
const PAGES_MAX: usize = 100;

/// How often the ledger is kept while nothing happens.
const LEDGER_EVERY: Duration = Duration::from_secs(60);

/// Every so many passes without a row it is looked whether the feed's Ids began again.
const RESTART_LOOK: u32 = 60;

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

/// Why a folder was not read to its end.
#[derive(Debug)]
pub(super) enum FolderError {
    /// Orchestrator.
    Service(Failure),
    /// The journal: true when it has ended for good.
    Journal(bool),
}

impl From<AppendError> for FolderError {
    fn from(error: AppendError) -> Self {
        Self::Journal(matches!(error, AppendError::Ended(_)))
    }
}

impl From<std::io::Error> for FolderError {
    fn from(error: std::io::Error) -> Self {
        tracing::error!(%error, "cannot read what is kept of a source");
        Self::Journal(false)
    }
}

/// The reader of one folder.
pub(super) struct FolderReader<'p> {
    poll: &'p Poll,
    source: &'p Polled,
    name: String,
    folder: FolderRef,
    about: Folder,
    cursor: Option<FeedCursor>,
    ledger: Ledger,
    ledger_kept: Option<Timestamp>,
    queues: BTreeMap<i64, QueueData>,
    queues_read: Option<Timestamp>,
    quiet: u32,
}

impl<'p> FolderReader<'p> {
    /// With what is kept of it.
    pub(super) fn open(poll: &'p Poll, source: &'p Polled, name: String, folder: FolderRef, about: Folder) -> Self {
        let mut reader = Self {
            poll,
            source,
            name,
            folder,
            about,
            cursor: None,
            ledger: Ledger::default(),
            ledger_kept: None,
            queues: BTreeMap::new(),
            queues_read: None,
            quiet: 0,
        };
        let key = reader.key();
        let kept = |space| match poll.journal.kept(space, &key) {
            Ok(value) => value.and_then(|value| serde_json::from_slice::<Value>(&value).ok()),
            Err(error) => {
                tracing::error!(%error, source = &*source.config.name, "cannot read what is kept of a source");
                None
            }
        };
        reader.cursor = kept(Space::Cursor).and_then(|value| FeedCursor::from_json(&value));
        reader.ledger = kept(Space::Ledger).and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
        reader
    }

    /// The folder is called otherwise now.
    pub(super) fn is(&mut self, about: Folder) {
        self.about = about;
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn key(&self) -> String {
        format!("{}/{}", self.source.config.name, self.name)
    }

    /// Reads to the end of the feed.
    pub(super) async fn read(&mut self, pass: &mut Pass) -> Result<(), FolderError> {
        let begun = self.poll.clock.now();
        let before = pass.brought;
        let result = self.pages(pass).await;
        let news = match &result {
            Ok(true) => self.ledger.read(begun, self.source.config.every, pass.brought - before),
            Ok(false) => false,
            Err(FolderError::Service(failure)) => self.ledger.failed(&failure.message),
            Err(FolderError::Journal(_)) => return result.map(drop),
        };
        let old = self.ledger_kept.is_none_or(|kept| begun.since(kept) >= LEDGER_EVERY || kept > begun);
        if news || old {
            let kept = self.kept(Space::Ledger, &json!(self.ledger));
            self.poll.journal.keep(vec![kept]).await?;
            self.ledger_kept = Some(begun);
        }
        result.map(drop)
    }

    fn kept(&self, space: Space, value: &Value) -> Kept {
        Kept { space, key: self.key(), value: Some(Bytes::from(value.to_string())) }
    }

    /// Page by page; true when the end of the feed was reached.
    async fn pages(&mut self, pass: &mut Pass) -> Result<bool, FolderError> {
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => self.begin().await?,
        };
        self.cursor = Some(cursor.clone());
        if self.quiet >= RESTART_LOOK {
            self.quiet = 0;
            if let Some(restarted) = self.restarted(&cursor).await? {
                cursor = restarted;
            }
        }
        let mut from = cursor.after.unwrap_or(0);
        for _ in 0..PAGES_MAX {
            let rows = self.feed(FeedFrom::After(from)).await?;
            let (count, last) = (rows.len(), rows.iter().filter_map(row_id).max());
            let fresh: Vec<FeedRow> = self.fresh(&rows, &mut cursor);
            pass.rows += fresh.len();
            self.quiet = if fresh.is_empty() { self.quiet.saturating_add(1) } else { 0 };
            self.take(fresh, &mut cursor, pass).await?;
            // Servers cut pages at round numbers: any other length is the end.
            match last.filter(|last| *last > from && count.is_multiple_of(100)) {
                Some(last) => from = last,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    async fn feed(&self, from: FeedFrom) -> Result<Vec<Value>, FolderError> {
        count(self.source, "QueueItemEvents");
        self.source.orchestrator.feed(&self.folder, from, REQUEST_TIMEOUT).await.result.map_err(FolderError::Service)
    }

    /// Where a source that was never read begins.
    async fn begin(&self) -> Result<FeedCursor, FolderError> {
        let newest = self.newest().await?.unwrap_or(0);
        let since = self.poll.clock.now().minus(self.source.config.look_back);
        let first = self.feed(FeedFrom::Since(since)).await?.iter().filter_map(row_id).min();
        Ok(FeedCursor::at(first.map_or(newest, |first| first - 1)))
    }

    async fn newest(&self) -> Result<Option<i64>, FolderError> {
        count(self.source, "QueueItemEvents");
        let newest = self.source.orchestrator.newest_in_feed(&self.folder, REQUEST_TIMEOUT).await.result;
        Ok(newest.map_err(FolderError::Service)?.as_ref().and_then(row_id))
    }

    /// A cursor anew, where the feed ends before the one we have: Ids that were given already are given again after a
    /// database was restored.
    async fn restarted(&self, cursor: &FeedCursor) -> Result<Option<FeedCursor>, FolderError> {
        let newest = self.newest().await?.unwrap_or(0);
        let Some(after) = cursor.after.filter(|after| newest < *after) else { return Ok(None) };
        let known = self.ledger.known_until.unwrap_or_else(|| self.poll.clock.now());
        let since = known.minus(self.source.config.look_back);
        tracing::warn!(
            source = &*self.source.config.name,
            folder = self.name,
            newest,
            after,
            "the change feed ends before what was read of it: its database was restored, as it seems; it is read again from {since} on"
        );
        let first = self.feed(FeedFrom::Since(since)).await?.iter().filter_map(row_id).min();
        Ok(Some(FeedCursor::at(first.map_or(newest, |first| first - 1))))
    }

    /// Rows that were not taken yet, in the order of their Ids. Those that say nothing are taken at once.
    fn fresh(&self, rows: &[Value], cursor: &mut FeedCursor) -> Vec<FeedRow> {
        let now = self.poll.clock.now();
        let mut fresh = BTreeMap::new();
        for row in rows {
            match (FeedRow::of(row), row_id(row)) {
                (Some(row), _) if cursor.is_new(row.id) => {
                    fresh.insert(row.id, row);
                }
                (None, Some(id)) if cursor.is_new(id) => {
                    tracing::warn!(source = &*self.source.config.name, row = id, "a row of the change feed says nothing that is known");
                    cursor.take(id, None, now);
                }
                _ => {}
            }
        }
        fresh.into_values().collect()
    }

    /// Makes events of rows, as many at once as their items can be asked for, and keeps them with the cursor.
    async fn take(&mut self, rows: Vec<FeedRow>, cursor: &mut FeedCursor, pass: &mut Pass) -> Result<(), FolderError> {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut chunk = Vec::new();
            let mut ids = Vec::new();
            while let Some(row) = rows.next_if(|row| ids.contains(&row.item) || ids.len() < ITEMS_AT_ONCE) {
                if !ids.contains(&row.item) {
                    ids.push(row.item);
                }
                chunk.push(row);
            }
            self.keep(&chunk, &ids, cursor, pass).await?;
        }
        Ok(())
    }

    async fn keep(&mut self, rows: &[FeedRow], ids: &[i64], cursor: &mut FeedCursor, pass: &mut Pass) -> Result<(), FolderError> {
        count(self.source, "QueueItems");
        let found = self.source.orchestrator.items(&self.folder, ids, REQUEST_TIMEOUT).await.result.map_err(FolderError::Service)?;
        let observed = self.poll.clock.now();
        let items: BTreeMap<i64, Value> = found.into_iter().filter_map(|item| Some((item.get("Id")?.as_i64()?, item))).collect();
        let mut states = BTreeMap::new();
        for id in ids {
            let kept = self.poll.journal.kept(Space::Item, &self.item_key(*id))?;
            states.extend(kept.and_then(|value| serde_json::from_slice::<LastState>(&value).ok()).map(|state| (*id, state)));
        }
        self.know_queues(&items).await?;
        let mut changes = Vec::new();
        let mut changed = BTreeMap::new();
        for row in rows {
            cursor.take(row.id, row.time, observed);
            let (item, state) = (items.get(&row.item), states.get(&row.item));
            let queue = item.and_then(|item| item.get("QueueDefinitionId")?.as_i64()).or(state.map(|state| state.queue));
            let Some((queue, data)) = queue.and_then(|queue| Some((queue, self.queues.get(&queue)?))) else {
                tracing::debug!(source = &*self.source.config.name, item = row.item, "an item whose queue is not known here any more");
                continue;
            };
            if !self.is_chosen(data) {
                continue;
            }
            changes.extend(self.changes_of(row, item, state, data, observed));
            let state = state_after(row, state, queue, observed);
            changed.insert(row.item, state.clone());
            states.insert(row.item, state);
        }
        cursor.settle(observed);
        let mut kept = vec![self.kept(Space::Cursor, &cursor.to_json())];
        for (item, state) in changed {
            let value = serde_json::to_vec(&state).map_err(std::io::Error::from)?;
            kept.push(Kept { space: Space::Item, key: self.item_key(item), value: Some(Bytes::from(value)) });
        }
        let accepted = self.poll.journal.accept_keeping(self.delivery(changes, observed), kept).await?;
        self.source.brought(&accepted.events, observed);
        pass.brought += accepted.events.len() as u64;
        pass.confirmed += accepted.folded as u64;
        self.cursor = Some(cursor.clone());
        Ok(())
    }

    fn changes_of(
        &self,
        row: &FeedRow,
        item: Option<&Value>,
        state: Option<&LastState>,
        queue: &QueueData,
        observed: Timestamp,
    ) -> Vec<Change> {
        let has_ancestor =
            item.is_some_and(|item| ["AncestorId", "ManualAncestorId"].iter().any(|name| item.get(name).is_some_and(Value::is_number)));
        let sighting = Sighting { source: &self.source.view, item, queue, folder: &self.about, observed };
        events_of(row, known_before(row, state), has_ancestor).into_iter().map(|event_type| change(event_type, row, &sighting)).collect()
    }

    fn delivery(&self, changes: Vec<Change>, now: Timestamp) -> Delivery {
        Delivery {
            source: self.source.config.name.clone(),
            via: Via::Poll,
            orchestrator: Some(self.source.config.orchestrator.clone()),
            verified: Verified::Yes,
            received: now,
            body: Bytes::new(),
            delivery_id: None,
            changes,
        }
    }

    fn item_key(&self, item: i64) -> String {
        format!("{}/{item}", self.source.config.name)
    }

    fn is_chosen(&self, queue: &QueueData) -> bool {
        match &self.source.config.queues {
            Chosen::All => true,
            Chosen::These(names) => {
                let name = queue.data.get("Name").and_then(Value::as_str).unwrap_or_default();
                names.iter().any(|chosen| chosen.eq_ignore_ascii_case(name))
            }
        }
    }

    /// Reads the folder's queues where an item is in one that is not known, or what is known is old.
    async fn know_queues(&mut self, items: &BTreeMap<i64, Value>) -> Result<(), FolderError> {
        let now = self.poll.clock.now();
        let unknown =
            items.values().filter_map(|item| item.get("QueueDefinitionId")?.as_i64()).any(|queue| !self.queues.contains_key(&queue));
        let old = self.queues_read.is_none_or(|read| now.since(read) >= QUEUES_FOR || read > now);
        if !unknown && !old {
            return Ok(());
        }
        count(self.source, "QueueDefinitions");
        let rows = self.source.orchestrator.queues(&self.folder, REQUEST_TIMEOUT).await.result.map_err(FolderError::Service)?;
        for row in rows {
            if let Some(id) = row.get("Id").and_then(Value::as_i64) {
                let fields =
                    QUEUE_FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), row.get(*name).filter(|v| !v.is_null())?.clone())));
                self.queues.insert(id, QueueData { data: Value::Object(fields.collect::<Map<_, _>>()) });
            }
        }
        self.queues_read = Some(now);
        Ok(())
    }
}

fn row_id(row: &Value) -> Option<i64> {
    row.get("Id")?.as_i64()
}
