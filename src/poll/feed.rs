//! A folder's change feed from the cursor on: rows in batches, their items fetched once, events and cursor kept together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::backfill::{STATES_MAX, Standing, advance};
use super::items::Items;
use super::ledger::Ledger;
use super::pass::{Pass, REQUEST_TIMEOUT};
use super::place::{Bring, FolderError, Place};
use super::queues::Queues;
use super::rows::{newest, page, row_id, row_time};
use crate::event::Change;
use crate::journal::Space;
use crate::normalize::cursor::{FeedCursor, OVERLAP};
use crate::normalize::feed::{FeedRow, QueueData, Sighting, assumed_before, change, events_of};
use crate::normalize::stood::{LastState, known_before, state_after};
use crate::orchestrator::{FeedFrom, ITEMS_AT_ONCE};
use crate::time::Timestamp;

/// Pages of one pass: what is behind them waits for the next pass, so that other folders have their turn.
const PAGES_MAX: usize = 100;

/// Pages that are read before the items of their rows are asked for: an item is fetched once for all of them, and each batch
/// may end with a request for less than a hundred.
const BATCH_PAGES: usize = 20;

/// Rows whose events are kept in one group.
const ROWS_AT_ONCE: usize = 500;

/// Every so many passes without a row it is looked whether the feed's Ids began again.
const RESTART_LOOK: u32 = 60;

/// Items of queues that are not read, so that they are not fetched again.
const ELSEWHERE_MAX: usize = 10_000;

/// After so long without a look it is asked whether the feed still has what came meanwhile.
const OLD: Duration = Duration::from_secs(3600);

/// The reader of one folder's feed.
#[derive(Default)]
pub(super) struct Feed {
    cursor: Option<FeedCursor>,
    pub(super) queues: Queues,
    elsewhere: BTreeSet<i64>,
    quiet: u32,
}

impl Feed {
    /// With what is kept of it.
    pub(super) fn open(place: &Place<'_>) -> Self {
        let cursor = place.load::<Value>(Space::Cursor, &place.key()).and_then(|value| FeedCursor::from_json(&value));
        Self { cursor, ..Self::default() }
    }

    /// Reads to the end of the feed, or as far as one pass goes; true at the end.
    pub(super) async fn read(&mut self, place: &Place<'_>, ledger: &mut Ledger, pass: &mut Pass) -> Result<bool, FolderError> {
        let mut cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => begin(place, ledger).await?,
        };
        // Nothing new needs to come for what is settled by now; where it was kept is read once more after a restart.
        cursor.settle(place.now());
        self.cursor = Some(cursor.clone());
        if self.quiet >= RESTART_LOOK {
            self.quiet = 0;
            // In place of the page, so that a quiet folder costs no second request: without a newer row there is none to read.
            let newest = newest(place).await?;
            match newest.as_ref().and_then(row_id) {
                Some(id) if cursor.last() == Some(id) => return Ok(true),
                Some(id) if began_again(&cursor, id, newest.as_ref().and_then(row_time)) => {
                    cursor = restarted(place, ledger, &cursor, id).await?;
                }
                _ => {}
            }
        }
        look_for_a_hole(place, ledger, &cursor).await?;
        let mut from = cursor.after.unwrap_or(0);
        for _ in 0..PAGES_MAX / BATCH_PAGES {
            let mut rows = BTreeMap::new();
            let mut end = false;
            for _ in 0..BATCH_PAGES {
                let page = page(place, FeedFrom::After(from)).await?;
                let last = page.rows.iter().filter_map(row_id).max();
                fresh(place, &page.rows, &mut cursor, &mut rows);
                match last.filter(|last| *last > from && page.full) {
                    Some(last) => from = last,
                    None => {
                        end = true;
                        break;
                    }
                }
            }
            pass.rows += rows.len();
            self.quiet = if rows.is_empty() { self.quiet.saturating_add(1) } else { 0 };
            self.take(place, rows.into_values().collect(), &mut cursor, pass).await?;
            if end {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes events of rows and keeps them with the cursor.
    async fn take(&mut self, place: &Place<'_>, rows: Vec<FeedRow>, cursor: &mut FeedCursor, pass: &mut Pass) -> Result<(), FolderError> {
        let mut items = Items::of(&rows);
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let (mut chunk, mut ask) = (Vec::new(), BTreeSet::new());
            while let Some(row) = rows.next_if(|row| {
                chunk.len() < ROWS_AT_ONCE
                    && (ask.len() < ITEMS_AT_ONCE || ask.contains(&row.item) || items.has(row.item) || self.elsewhere.contains(&row.item))
            }) {
                if !items.has(row.item) && !self.elsewhere.contains(&row.item) {
                    ask.insert(row.item);
                }
                chunk.push(row);
            }
            items.fetch(place, &ask).await?;
            self.keep(place, &chunk, &items, cursor, pass).await?;
            items.done_with(&chunk);
        }
        Ok(())
    }

    /// The changes of a time that is over. What is remembered of items is built up from the rows of that time alone; after a
    /// restart those that were told are read again for it.
    pub(super) async fn past(
        &mut self,
        place: &Place<'_>,
        standing: &mut Standing,
        states: &mut BTreeMap<i64, LastState>,
    ) -> Result<bool, FolderError> {
        let first = page(place, FeedFrom::Since(standing.since())).await?.rows.iter().filter_map(row_id).min();
        let Some(mut from) = first.map(|first| first - 1) else { return Ok(true) };
        let mut pass = Pass::default();
        loop {
            let page = page(place, FeedFrom::After(from)).await?;
            let last = page.rows.iter().filter_map(row_id).max();
            let all: Vec<FeedRow> = page.rows.iter().filter_map(FeedRow::of).collect();
            // Ids rise with time, but for those that appear late.
            let over = all.iter().all(|row| row.time.is_some_and(|time| time >= standing.until().plus(OVERLAP)));
            let mut rows: Vec<FeedRow> = all.into_iter().filter(|row| standing.holds(row.time)).collect();
            rows.sort_unstable_by_key(|row| row.id);
            for chunk in rows.chunks(ITEMS_AT_ONCE) {
                if !self.tell(place, standing, chunk, states, &mut pass).await? {
                    return Ok(false);
                }
            }
            match last.filter(|last| *last > from && page.full && !over) {
                Some(last) => from = last,
                None => return Ok(true),
            }
        }
    }

    async fn tell(
        &mut self,
        place: &Place<'_>,
        standing: &mut Standing,
        rows: &[FeedRow],
        states: &mut BTreeMap<i64, LastState>,
        pass: &mut Pass,
    ) -> Result<bool, FolderError> {
        let (told, rows): (Vec<FeedRow>, Vec<FeedRow>) = rows.iter().cloned().partition(|row| row.id <= standing.after);
        for row in told {
            let state = state_after(&row, states.get(&row.item), 0, place.now());
            states.insert(row.item, state);
        }
        let Some(last) = rows.last().cloned() else { return Ok(true) };
        let mut items = Items::of(&rows);
        items.fetch(place, &rows.iter().map(|row| row.item).collect()).await?;
        let (changes, _) = self.changes(place, &rows, &items, states, pass).await?;
        while states.len() > STATES_MAX {
            states.pop_first();
        }
        (standing.after, standing.at) = (last.id, last.time.or(standing.at));
        advance(place, standing, changes, pass).await
    }

    async fn keep(
        &mut self,
        place: &Place<'_>,
        rows: &[FeedRow],
        items: &Items,
        cursor: &mut FeedCursor,
        pass: &mut Pass,
    ) -> Result<(), FolderError> {
        let now = place.now();
        let mut states = BTreeMap::new();
        for row in rows {
            if !states.contains_key(&row.item)
                && let Some(state) = place.thing::<LastState>(row.item)?
            {
                states.insert(row.item, state);
            }
            cursor.take(row.id, row.time, now);
        }
        let (changes, changed) = self.changes(place, rows, items, &mut states, pass).await?;
        cursor.settle(now);
        let mut kept = vec![Place::kept(Space::Cursor, place.key(), &cursor.to_json())];
        for item in changed {
            if let Some(state) = states.get(&item) {
                kept.push(place.remember(item, state)?);
            }
        }
        place.bring(changes, kept, Bring::Live, pass).await?;
        self.cursor = Some(cursor.clone());
        Ok(())
    }

    /// The events of rows, by what is remembered of their items; that is brought up to date, and the changed ones are named.
    async fn changes(
        &mut self,
        place: &Place<'_>,
        rows: &[FeedRow],
        items: &Items,
        states: &mut BTreeMap<i64, LastState>,
        pass: &mut Pass,
    ) -> Result<(Vec<Change>, BTreeSet<i64>), FolderError> {
        let queue_of = |row: &FeedRow, states: &BTreeMap<i64, LastState>| {
            items.queue(row.item).or_else(|| states.get(&row.item).map(|state| state.queue))
        };
        let wanted: Vec<i64> = rows.iter().filter_map(|row| queue_of(row, states)).collect();
        self.queues.know(place, wanted).await?;
        let (mut changes, mut changed) = (Vec::new(), BTreeSet::new());
        for row in rows {
            if self.elsewhere.contains(&row.item) {
                continue;
            }
            let queue = queue_of(row, states);
            let Some((queue, data)) = queue.and_then(|queue| Some((queue, self.queues.get(queue)?))) else {
                tracing::debug!(source = &*place.source.config.name, item = row.item, "an item that is gone, or whose queue is");
                pass.gone += 1;
                continue;
            };
            if !Queues::is_chosen(place, data) {
                self.elsewhere.insert(row.item);
                if self.elsewhere.len() > ELSEWHERE_MAX {
                    self.elsewhere.pop_first();
                }
                continue;
            }
            let state = states.get(&row.item);
            changes.extend(changes_of(place, row, &items.get(row.item), state, data));
            let state = state_after(row, state, queue, place.now());
            states.insert(row.item, state);
            changed.insert(row.item);
        }
        Ok((changes, changed))
    }
}

fn changes_of(
    place: &Place<'_>,
    row: &FeedRow,
    (item, observed): &(Option<Value>, Timestamp),
    state: Option<&LastState>,
    queue: &QueueData,
) -> Vec<Change> {
    let (item, observed) = (item.as_ref(), *observed);
    let has_ancestor =
        item.is_some_and(|item| ["AncestorId", "ManualAncestorId"].iter().any(|name| item.get(name).is_some_and(Value::is_number)));
    let sighting = Sighting { source: &place.source.view, item, queue, folder: &place.about, observed };
    let before = known_before(row, state).or_else(|| assumed_before(row, item));
    events_of(row, before.as_ref(), has_ancestor).into_iter().map(|event_type| change(event_type, row, &sighting)).collect()
}

/// Where a source that was never read begins: by the service's own time where our clock is ahead of it.
async fn begin(place: &Place<'_>, ledger: &Ledger) -> Result<FeedCursor, FolderError> {
    let newest = newest(place).await?;
    let now = place.now();
    let since = match ledger.known_until {
        // It was read another way before.
        Some(known) => known.minus(OVERLAP),
        None => newest.as_ref().and_then(row_time).map_or(now, |time| time.min(now)).minus(place.source.config.look_back),
    };
    let first = page(place, FeedFrom::Since(since)).await?.rows.iter().filter_map(row_id).min();
    let last = newest.as_ref().and_then(|row| Some((row_id(row)?, row_time(row))));
    Ok(match (first, last) {
        (Some(first), _) => FeedCursor::at(first - 1),
        (None, Some((last, made))) => FeedCursor::behind(last, made),
        (None, None) => FeedCursor::at(0),
    })
}

/// Whether the newest row is one behind a restored database: a smaller Id, and made after all that was read. Without that the
/// newer rows are only hidden, since their queue was removed or is shared to the folder no more.
fn began_again(cursor: &FeedCursor, newest: i64, made: Option<Timestamp>) -> bool {
    cursor.last().is_some_and(|last| newest < last) && made.is_some_and(|made| made > cursor.newest())
}

/// A cursor anew, where the feed ends before the one we have: Ids that were given already are given again after a
/// database was restored.
async fn restarted(place: &Place<'_>, ledger: &mut Ledger, cursor: &FeedCursor, newest: i64) -> Result<FeedCursor, FolderError> {
    let known = ledger.known_until.unwrap_or_else(|| place.now());
    let since = known.minus(place.source.config.look_back);
    tracing::warn!(
        source = &*place.source.config.name,
        folder = place.name,
        newest,
        last = cursor.last(),
        "the change feed ends before what was read of it: its database was restored, as it seems; it is read again from {since} on"
    );
    ledger.lost(since, known, "the change feed began again at smaller Ids: its database was restored, as it seems");
    let first = page(place, FeedFrom::Since(since)).await?.rows.iter().filter_map(row_id).min();
    Ok(FeedCursor::at(first.map_or(newest, |first| first - 1)))
}

/// After a long time without a look: whether Orchestrator still has what came meanwhile. What it has removed cannot be
/// brought, and is named.
async fn look_for_a_hole(place: &Place<'_>, ledger: &mut Ledger, cursor: &FeedCursor) -> Result<(), FolderError> {
    let (Some(known), Some(after)) = (ledger.known_until, cursor.after.filter(|after| *after > 0)) else { return Ok(()) };
    if place.now().since(known) < OLD {
        return Ok(());
    }
    let orchestrator = &place.source.orchestrator;
    let oldest = place.ask("QueueItemEvents", orchestrator.oldest_in_feed(&place.folder, REQUEST_TIMEOUT)).await?;
    let Some((id, time)) = oldest.as_ref().and_then(|row| Some((row_id(row)?, row_time(row)?))) else { return Ok(()) };
    if id > after && time > known && ledger.lost(known, time, "Orchestrator no longer has these changes: they are older than what it keeps")
    {
        tracing::warn!(
            source = &*place.source.config.name,
            folder = place.name,
            from = %known,
            until = %time,
            "Orchestrator no longer has all changes since this folder was read last; events may be missing"
        );
    }
    Ok(())
}

/// Rows that were not taken yet, in the order of their Ids. Those that say nothing are taken at once.
fn fresh(place: &Place<'_>, page: &[Value], cursor: &mut FeedCursor, rows: &mut BTreeMap<i64, FeedRow>) {
    let now = place.now();
    for row in page {
        match (FeedRow::of(row), row_id(row)) {
            (Some(row), _) if cursor.is_new(row.id) => {
                rows.insert(row.id, row);
            }
            (None, Some(id)) if cursor.is_new(id) => {
                tracing::warn!(source = &*place.source.config.name, row = id, "a row of the change feed says nothing that is known");
                cursor.take(id, None, now);
            }
            _ => {}
        }
    }
}
