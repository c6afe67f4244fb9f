//! A folder without a change feed: the items that were added, taken and ended since the last look, from their lists.
//!
//! The counters of the folder's queues are asked first: while they stand still nothing else is. What leaves no trace in an
//! item (deferred, edited, reviewed) cannot be brought; that an item was deleted is seen when open items are looked at again,
//! some of them in each pass.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::{Value, json};

use super::backfill::{Standing, advance};
use super::items::is_too_long;
use super::ledger::Ledger;
use super::pass::{LIST_TIMEOUT, Pass, REQUEST_TIMEOUT};
use super::place::{Bring, FolderError, Place};
use super::queues::Queues;
use super::rows::row_id;
use crate::event::Change;
use crate::journal::{Kept, Space};
use crate::normalize::cursor::{FeedCursor, OVERLAP};
use crate::normalize::feed::{Sighting, change};
use crate::normalize::listed::{Listed, Newness, events_of_listed, state_of_listed};
use crate::normalize::stood::LastState;
use crate::orchestrator::{ITEMS_AT_ONCE, Items, QUEUES_NAMED_MAX, Rows, SCAN_ROWS};
use crate::runs::Class;
use crate::time::Timestamp;

/// Pages of one list in one pass.
const PAGES_MAX: usize = 100;

/// However still the counters stand, lists are read so often: an item may come and go between two counts.
const FULL_LOOK: Duration = Duration::from_secs(300);

/// Open items that are looked at again in one pass, in requests of [`ITEMS_AT_ONCE`].
const SWEEP_REQUESTS: usize = 2;

/// A final state that is looked at again is remembered anew when it is older than this, so that it is not forgotten while
/// lists still show it.
const REMEMBER_AGAIN_MS: i64 = 12 * 3_600_000;

/// What a folder without a feed does not tell.
pub(super) const CANNOT: &[&str] = &[
    "queueItem.deferred",
    "queueItem.updated",
    "queueItem.reviewStatusChanged",
    "queueItem.transactionStarted but the last one of an item",
];

/// How far a list by moments is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moments {
    started: Timestamp,
    ended: Timestamp,
}

/// The reader of one folder's lists.
pub(super) struct Lists {
    /// Ids of items.
    cursor: Option<FeedCursor>,
    moments: Option<Moments>,
    pub(super) queues: Queues,
    /// What the counters said when the lists were read last, and when that was.
    counted: Option<(u64, Timestamp)>,
    /// Whether the counters are there.
    counters: bool,
    /// How many rows a page may have.
    rows: usize,
    /// The open item that was looked at last.
    swept: Option<String>,
}

impl Lists {
    /// With what is kept of it.
    pub(super) fn open(place: &Place<'_>) -> Self {
        let cursor = place.load::<Value>(Space::Cursor, &place.key_of("items")).and_then(|value| FeedCursor::from_json(&value));
        let moments = place.load::<Value>(Space::Cursor, &place.key_of("moments")).and_then(|value| {
            let at = |name: &str| value.get(name)?.as_i64().map(Timestamp::from_millis);
            Some(Moments { started: at("started")?, ended: at("ended")? })
        });
        Self {
            cursor,
            moments,
            queues: Queues::default(),
            counted: None,
            counters: true,
            rows: place.source.orchestrator.scan_rows(),
            swept: None,
        }
    }

    /// Reads what changed, as far as one pass goes; true when that is all.
    pub(super) async fn read(&mut self, place: &Place<'_>, ledger: &Ledger, pass: &mut Pass) -> Result<bool, FolderError> {
        let now = place.now();
        let count = self.count(place).await?;
        let still = self.counted.is_some_and(|(counted, at)| Some(counted) == count && now.since(at) < FULL_LOOK && at <= now);
        if still {
            return Ok(true);
        }
        self.queues.know(place, []).await?;
        if self.cursor.is_none() || self.moments.is_none() {
            self.begin(place, ledger, pass).await?;
        }
        let whole = self.added(place, pass).await?;
        let whole = self.moved(place, true, pass).await? && whole;
        let whole = self.moved(place, false, pass).await? && whole;
        self.sweep(place, pass).await?;
        self.counted = count.filter(|_| whole).map(|count| (count, now));
        Ok(whole)
    }

    /// What the counters of the queues say, in one number; nothing where there are none.
    async fn count(&mut self, place: &Place<'_>) -> Result<Option<u64>, FolderError> {
        if !self.counters {
            return Ok(None);
        }
        let orchestrator = &place.source.orchestrator;
        let rows = match place.ask("QueueProcessingRecords", orchestrator.queue_counters(&place.folder, REQUEST_TIMEOUT)).await {
            Ok(rows) => rows,
            Err(failure) if matches!(failure.class, Class::Configuration | Class::Refused) && matches!(failure.status, Some(400 | 404)) => {
                tracing::info!(source = &*place.source.config.name, "no counters of queues here: lists are read in each pass");
                self.counters = false;
                return Ok(None);
            }
            Err(failure) => return Err(failure.into()),
        };
        let chosen = self.queues.chosen(place);
        let mut hash = DefaultHasher::new();
        for row in &rows {
            let id = ["QueueDefinitionId", "Id"].iter().find_map(|name| row.get(*name)?.as_i64());
            if chosen.is_empty() || id.is_none_or(|id| chosen.contains(&id)) {
                row.to_string().hash(&mut hash);
            }
        }
        Ok(Some(hash.finish()))
    }

    /// Pages of a list by ascending Id.
    async fn page(&mut self, place: &Place<'_>, which: Items, after: i64) -> Result<(Vec<Value>, bool), FolderError> {
        let mut queues = self.queues.chosen(place);
        if queues.len() > QUEUES_NAMED_MAX {
            queues.clear();
        }
        loop {
            let rows = Rows::After(after, self.rows);
            let orchestrator = &place.source.orchestrator;
            let page = place.ask("QueueItems", orchestrator.scan_items(&place.folder, &queues, which, rows, LIST_TIMEOUT)).await;
            match page {
                // Servers cut pages at round numbers: any other length is the end.
                Ok(page) => {
                    let more = !page.is_empty() && (page.len() >= self.rows || page.len().is_multiple_of(SCAN_ROWS));
                    return Ok((page, more));
                }
                Err(failure) if failure.status == Some(400) && self.rows > SCAN_ROWS => self.rows = SCAN_ROWS,
                Err(failure) if is_too_long(&failure) && self.rows > 1 => self.rows = (self.rows / 4).max(1),
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn newest(&self, place: &Place<'_>, which: Items) -> Result<Option<Value>, FolderError> {
        let orchestrator = &place.source.orchestrator;
        let newest = place.ask("QueueItems", orchestrator.scan_items(&place.folder, &[], which, Rows::Newest, LIST_TIMEOUT)).await?;
        Ok(newest.into_iter().next())
    }

    /// Where a source that was never read this way begins, and what is open then: those items are followed from now on.
    async fn begin(&mut self, place: &Place<'_>, ledger: &Ledger, pass: &mut Pass) -> Result<(), FolderError> {
        let newest = self.newest(place, Items::Any).await?;
        let now = place.now();
        let since = match ledger.known_until {
            // It was read another way before.
            Some(known) => known.minus(OVERLAP),
            None => {
                let newest = newest.as_ref().and_then(Listed::of).and_then(|item| item.created);
                newest.map_or(now, |newest| newest.min(now)).minus(place.source.config.look_back)
            }
        };
        let first = self.page(place, Items::Created(since), 0).await?.0.iter().filter_map(row_id).min();
        let after = first.map_or(newest.as_ref().and_then(row_id).unwrap_or(0), |first| first - 1);
        let mut last = 0;
        for _ in 0..PAGES_MAX {
            let (page, more) = self.page(place, Items::Open(after), last).await?;
            let kept = page.iter().filter_map(Listed::of).filter(|item| self.is_chosen(place, item));
            let kept: Result<Vec<Kept>, FolderError> =
                kept.map(|item| place.remember(item.id, &state_of_listed(&item, None, now))).collect();
            place.bring(Vec::new(), kept?, Bring::Live, pass).await?;
            match page.iter().filter_map(row_id).max().filter(|_| more) {
                Some(id) if id > last => last = id,
                _ => break,
            }
        }
        let moments = Moments { started: since.plus(OVERLAP), ended: since.plus(OVERLAP) };
        let cursor = FeedCursor::at(after);
        place.bring(Vec::new(), vec![self.cursor_kept(place, &cursor), moments_kept(place, moments)], Bring::Live, pass).await?;
        (self.cursor, self.moments) = (Some(cursor), Some(moments));
        Ok(())
    }

    fn cursor_kept(&self, place: &Place<'_>, cursor: &FeedCursor) -> Kept {
        Place::kept(Space::Cursor, place.key_of("items"), &cursor.to_json())
    }

    fn is_chosen(&self, place: &Place<'_>, item: &Listed) -> bool {
        self.queues.get(item.queue).is_some_and(|queue| Queues::is_chosen(place, queue))
    }

    /// Items that were added.
    async fn added(&mut self, place: &Place<'_>, pass: &mut Pass) -> Result<bool, FolderError> {
        let mut after = self.cursor.as_ref().and_then(|cursor| cursor.after).unwrap_or(0);
        for _ in 0..PAGES_MAX {
            let (page, more) = self.page(place, Items::Any, after).await?;
            let mut cursor = self.cursor.clone().unwrap_or_default();
            let now = place.now();
            let mut fresh = Vec::new();
            for row in &page {
                let Some(id) = row_id(row).filter(|id| cursor.is_new(*id)) else { continue };
                cursor.take(id, Listed::of(row).and_then(|item| item.created), now);
                fresh.push((row, Newness::Added));
            }
            cursor.settle(now);
            let (changes, mut kept) = self.changes(place, &fresh, pass).await?;
            if self.cursor.as_ref() != Some(&cursor) {
                kept.push(self.cursor_kept(place, &cursor));
            }
            place.bring(changes, kept, Bring::Live, pass).await?;
            self.cursor = Some(cursor);
            match page.iter().filter_map(row_id).max().filter(|last| more && *last > after) {
                Some(last) => after = last,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Items that a robot took, or that ended, since the last look.
    async fn moved(&mut self, place: &Place<'_>, started: bool, pass: &mut Pass) -> Result<bool, FolderError> {
        let Some(moments) = self.moments else { return Ok(false) };
        let known = if started { moments.started } else { moments.ended };
        let since = known.minus(OVERLAP);
        let which = if started { Items::Started(since) } else { Items::Ended(since) };
        let moment = |item: &Listed| if started { item.began } else { item.ended };
        let newest_of = |page: &[Value]| page.iter().filter_map(Listed::of).filter_map(|item| moment(&item)).max();
        let (mut page, mut more) = self.page(place, which, 0).await?;
        let mut newest = newest_of(&page);
        if more {
            // What moves while pages are read is behind this one, and is seen the next time.
            newest = self.newest(place, which).await?.as_ref().map(std::slice::from_ref).and_then(newest_of);
            (page, more) = self.page(place, which, 0).await?;
        }
        for _ in 0..PAGES_MAX {
            let mut old = Vec::new();
            for row in &page {
                let Some(item) = Listed::of(row) else { continue };
                if self.cursor.as_ref().is_some_and(|cursor| cursor.is_new(item.id)) {
                    // Added while we read: the next pass tells that first.
                    newest = newest.min(moment(&item));
                } else {
                    old.push((row, Newness::Since(since)));
                }
            }
            let (changes, kept) = self.changes(place, &old, pass).await?;
            place.bring(changes, kept, Bring::Live, pass).await?;
            let Some(last) = page.iter().filter_map(row_id).max().filter(|_| more) else {
                return self.reached(place, started, newest, pass).await.map(|()| true);
            };
            (page, more) = self.page(place, which, last).await?;
        }
        Ok(false)
    }

    async fn reached(&mut self, place: &Place<'_>, started: bool, newest: Option<Timestamp>, pass: &mut Pass) -> Result<(), FolderError> {
        let (Some(before), Some(newest)) = (self.moments, newest) else { return Ok(()) };
        let mut moments = before;
        let one = if started { &mut moments.started } else { &mut moments.ended };
        *one = newest.max(*one);
        if moments != before {
            place.bring(Vec::new(), vec![moments_kept(place, moments)], Bring::Live, pass).await?;
            self.moments = Some(moments);
        }
        Ok(())
    }

    /// The changes of a time that is over: items that were added in it, then those that were there before and ended in it.
    pub(super) async fn past(&mut self, place: &Place<'_>, standing: &mut Standing) -> Result<bool, FolderError> {
        let (since, until) = (standing.since(), standing.until());
        let mut pass = Pass::default();
        self.queues.know(place, []).await?;
        while standing.part < 2 {
            let which = if standing.part == 0 { Items::CreatedWithin(since, until) } else { Items::Ended(since) };
            let (page, more) = self.page(place, which, standing.after).await?;
            let (mut changes, observed) = (Vec::new(), place.now());
            for (row, item) in page.iter().filter_map(|row| Some((row, Listed::of(row)?))) {
                let Some(queue) = self.queues.get(item.queue).filter(|queue| Queues::is_chosen(place, queue)) else { continue };
                let newness = match item.created {
                    Some(created) if created >= since && standing.part == 0 => Newness::Added,
                    // It was told by the first list.
                    Some(created) if created >= since => continue,
                    _ => Newness::Since(since),
                };
                let sighting = Sighting { source: &place.source.view, item: Some(row), queue, folder: &place.about, observed };
                let events = events_of_listed(&item, None, newness).into_iter().filter(|(_, row)| standing.holds(row.time));
                changes.extend(events.map(|(event_type, row)| change(event_type, &row, &sighting)));
                standing.at = standing.at.max(item.created.filter(|created| *created >= since));
            }
            match page.iter().filter_map(row_id).max().filter(|last| more && *last > standing.after) {
                Some(last) => standing.after = last,
                None => (standing.part, standing.after) = (standing.part + 1, 0),
            }
            if !advance(place, standing, changes, &mut pass).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at some of the open items again: one that was deleted or abandoned shows in no other list.
    async fn sweep(&mut self, place: &Place<'_>, pass: &mut Pass) -> Result<(), FolderError> {
        let prefix = format!("{}/", place.source.config.name);
        for _ in 0..SWEEP_REQUESTS {
            let mut ids = BTreeSet::new();
            let kept = place.poll.journal.kept_after(Space::Item, &prefix, self.swept.as_deref(), 10 * ITEMS_AT_ONCE)?;
            let end = kept.len() < 10 * ITEMS_AT_ONCE;
            for (name, value) in kept {
                if ids.len() == ITEMS_AT_ONCE {
                    break;
                }
                let open = serde_json::from_slice::<LastState>(&value).is_ok_and(|state| !state.status.is_final());
                ids.extend(name[prefix.len()..].parse::<i64>().ok().filter(|_| open));
                self.swept = Some(name);
            }
            if end && ids.len() < ITEMS_AT_ONCE {
                self.swept = None;
            }
            if !ids.is_empty() {
                let ids: Vec<i64> = ids.into_iter().collect();
                let orchestrator = &place.source.orchestrator;
                let rows = place.ask("QueueItems", orchestrator.items(&place.folder, &ids, LIST_TIMEOUT)).await?;
                let rows: Vec<(&Value, Newness)> = rows.iter().map(|row| (row, Newness::Since(place.now()))).collect();
                let (changes, kept) = self.changes(place, &rows, pass).await?;
                place.bring(changes, kept, Bring::Live, pass).await?;
            }
            if self.swept.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// The events of rows, and what is to be remembered of their items.
    async fn changes(
        &mut self,
        place: &Place<'_>,
        rows: &[(&Value, Newness)],
        pass: &mut Pass,
    ) -> Result<(Vec<Change>, Vec<Kept>), FolderError> {
        let (mut changes, mut kept) = (Vec::new(), Vec::new());
        let observed = place.now();
        let items: Vec<(&Value, Listed, Newness)> =
            rows.iter().filter_map(|(row, newness)| Some((*row, Listed::of(row)?, *newness))).collect();
        self.queues.know(place, items.iter().map(|(_, item, _)| item.queue)).await?;
        for (row, item, newness) in items {
            let Some(queue) = self.queues.get(item.queue).filter(|queue| Queues::is_chosen(place, queue)) else { continue };
            let before = place.thing::<LastState>(item.id)?;
            let sighting = Sighting { source: &place.source.view, item: Some(row), queue, folder: &place.about, observed };
            let events = events_of_listed(&item, before.as_ref(), newness);
            pass.rows += usize::from(!events.is_empty());
            changes.extend(events.iter().map(|(event_type, row)| change(event_type, row, &sighting)));
            let now = state_of_listed(&item, before.as_ref(), observed);
            let same = |before: &LastState| {
                (before.status, before.began, &before.review) == (now.status, now.began, &now.review)
                    && now.seen - before.seen <= REMEMBER_AGAIN_MS
            };
            if before.as_ref().is_none_or(|before| !same(before)) {
                kept.push(place.remember(item.id, &now)?);
            }
        }
        Ok((changes, kept))
    }
}

fn moments_kept(place: &Place<'_>, moments: Moments) -> Kept {
    let value = json!({"started": moments.started.as_millis(), "ended": moments.ended.as_millis()});
    Place::kept(Space::Cursor, place.key_of("moments"), &value)
}
