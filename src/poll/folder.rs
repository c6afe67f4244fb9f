//! One folder of a source: which way it is read, and up to when everything of it is known.

use std::time::Duration;

use serde_json::json;

use super::feed::Feed;
use super::jobs::Jobs;
use super::ledger::Ledger;
use super::lists::{self, Lists};
use super::pass::{FolderView, Pass, REQUEST_TIMEOUT};
use super::place::{FolderError, Place};
use super::prune::Prune;
use super::{Poll, Polled, interval};
use crate::config::PollKind;
use crate::event::Folder;
use crate::journal::Space;
use crate::orchestrator::FeedFrom;
use crate::rules::FolderRef;
use crate::runs::Class;
use crate::time::Timestamp;

/// How often the ledger is kept while nothing happens.
const LEDGER_EVERY: Duration = Duration::from_secs(60);

/// How often it is looked whether a folder has a change feed by now.
const PROBE_EVERY: Duration = Duration::from_secs(3600);

/// Which way a folder is read.
enum Way {
    /// Not known yet.
    Unknown,
    Feed(Box<Feed>),
    /// There is no feed, since this was found out.
    Lists(Box<Lists>, Timestamp),
    Jobs(Box<Jobs>),
}

/// The reader of one folder.
pub(super) struct FolderReader<'p> {
    place: Place<'p>,
    way: Way,
    ledger: Ledger,
    ledger_kept: Option<Timestamp>,
    prune: Prune,
}

impl<'p> FolderReader<'p> {
    /// With what is kept of it.
    pub(super) fn open(poll: &'p Poll, source: &'p Polled, name: String, folder: FolderRef, about: Folder) -> Self {
        let place = Place { poll, source, name, folder, about };
        let ledger = place.load(Space::Ledger, &place.key()).unwrap_or_default();
        let way = match source.config.kind {
            PollKind::QueueItems => Way::Unknown,
            PollKind::Jobs => Way::Jobs(Box::new(Jobs::open(&place))),
        };
        Self { place, way, ledger, ledger_kept: None, prune: Prune::default() }
    }

    /// The folder is called otherwise now.
    pub(super) fn is(&mut self, about: Folder) {
        self.place.about = about;
    }

    /// Up to when everything is known.
    pub(super) fn known_until(&self) -> Option<Timestamp> {
        self.ledger.known_until
    }

    /// What is shown of it.
    pub(super) fn view(&self) -> FolderView {
        let (reads, cannot, missing) = match &self.way {
            Way::Unknown => ("", &[][..], Vec::new()),
            Way::Feed(feed) => ("feed", &[][..], feed.queues.missing(&self.place)),
            Way::Lists(lists, _) => ("lists", lists::CANNOT, lists.queues.missing(&self.place)),
            Way::Jobs(jobs) => ("jobs", jobs.cannot(), Vec::new()),
        };
        let notes = missing.into_iter().map(|name| format!("there is no queue `{name}` in {}; check the name", self.place.name));
        FolderView { ledger: self.ledger.clone(), reads, cannot, notes: notes.collect() }
    }

    /// Reads what is new.
    pub(super) async fn read(&mut self, pass: &mut Pass) -> Result<(), FolderError> {
        let begun = self.place.now();
        let before = pass.brought;
        let result = self.news(pass).await;
        let news = match &result {
            Ok(true) => self.ledger.read(begun, interval(&self.place.source.config), pass.brought - before),
            Ok(false) => false,
            Err(FolderError::Service(failure)) => self.ledger.failed(&failure.message),
            Err(FolderError::Journal(_)) => return result.map(drop),
        };
        let old = self.ledger_kept.is_none_or(|kept| begun.since(kept) >= LEDGER_EVERY || kept > begun);
        if news || old {
            let kept = Place::kept(Space::Ledger, self.place.key(), &json!(self.ledger));
            self.place.poll.journal.keep(vec![kept]).await?;
            self.ledger_kept = Some(begun);
        }
        result?;
        self.prune.slice(&self.place).await
    }

    /// True when everything was read.
    async fn news(&mut self, pass: &mut Pass) -> Result<bool, FolderError> {
        let now = self.place.now();
        let probe = match &self.way {
            Way::Unknown => true,
            Way::Lists(_, since) => now.since(*since) >= PROBE_EVERY || *since > now,
            Way::Feed(_) | Way::Jobs(_) => false,
        };
        if probe {
            match (self.has_feed().await?, &mut self.way) {
                (true, _) => self.way = Way::Feed(Box::new(Feed::open(&self.place))),
                (false, Way::Lists(_, since)) => *since = now,
                (false, _) => self.way = Way::Lists(Box::new(Lists::open(&self.place)), now),
            }
        }
        match &mut self.way {
            Way::Unknown => Ok(false),
            Way::Feed(feed) => feed.read(&self.place, &mut self.ledger, pass).await,
            Way::Lists(lists, _) => lists.read(&self.place, &self.ledger, pass).await,
            Way::Jobs(jobs) => jobs.read(&self.place, pass).await,
        }
    }

    /// Whether the change feed is there and can be read from an Id on: by what it answers, not by any version.
    async fn has_feed(&self) -> Result<bool, FolderError> {
        let place = &self.place;
        let orchestrator = &place.source.orchestrator;
        let newest = match place.ask("QueueItemEvents", orchestrator.newest_in_feed(&place.folder, REQUEST_TIMEOUT)).await {
            Ok(newest) => newest,
            Err(failure) if matches!(failure.status, Some(400 | 404 | 405 | 501)) && failure.class != Class::Auth => {
                // The same refusal of a list that every version has is about the folder or the address.
                place.ask("QueueDefinitions", orchestrator.queues(&place.folder, REQUEST_TIMEOUT)).await?;
                return Ok(self.without(&failure.message));
            }
            Err(failure) => return Err(failure.into()),
        };
        let last = newest.as_ref().and_then(super::feed::row_id).unwrap_or(0);
        match place.ask("QueueItemEvents", orchestrator.feed(&place.folder, FeedFrom::After(last), REQUEST_TIMEOUT)).await {
            Ok(rows) if rows.iter().filter_map(super::feed::row_id).any(|id| id <= last) => {
                Ok(self.without("it does not answer from an Id on"))
            }
            Ok(_) => Ok(true),
            Err(failure) if failure.class == Class::Refused => Ok(self.without(&failure.message)),
            Err(failure) => Err(failure.into()),
        }
    }

    fn without(&self, why: &str) -> bool {
        tracing::warn!(
            source = &*self.place.source.config.name,
            folder = self.place.name,
            why,
            "no change feed here: lists are read, which do not tell {}",
            lists::CANNOT.join(", ")
        );
<<<<<<< HEAD
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
=======
        false
>>>>>>> 119aec9 (Polling of jobs, once a day, and of Orchestrators without the change feed; a busy pass costs what it must)
    }
}
