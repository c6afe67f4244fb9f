//! The jobs of a folder that changed since the last look.
//!
//! Jobs are listed from the newest change we know on, with an overlap for those that appear late; what is remembered of each
//! tells which of its changes are new. Where jobs do not say when they changed (older versions), those that were created,
//! started or ended are listed, and suspensions are not seen.

use serde_json::{Value, json};

use super::backfill::{Standing, advance};
use super::pass::{LIST_TIMEOUT, Pass, REQUEST_TIMEOUT};
use super::place::{Bring, FolderError, Place};
use crate::journal::Space;
use crate::normalize::cursor::OVERLAP;
use crate::normalize::jobs::{JobRow, JobSighting, LastJob, job_change, job_events};
use crate::orchestrator::{Jobs as Which, Rows, SCAN_ROWS};
use crate::runs::Class;
use crate::time::Timestamp;

/// Pages of one pass.
const PAGES_MAX: usize = 100;

/// A final state that is looked at again is remembered anew when it is older than this, so that it is not forgotten while
/// lists still show it.
const REMEMBER_AGAIN_MS: i64 = 12 * 3_600_000;

/// The reader of one folder's jobs.
pub(super) struct Jobs {
    /// The newest change that is known, by the service's time.
    newest: Option<Timestamp>,
    /// Whether jobs say when they changed.
    modified: bool,
    /// Where a look that takes more than one pass goes on: from when it tells, behind which Id, and the newest change then.
    rest: Option<(Timestamp, i64, Option<Timestamp>)>,
}

impl Jobs {
    /// With what is kept of it.
    pub(super) fn open(place: &Place<'_>) -> Self {
        let kept = place.load::<Value>(Space::Cursor, &place.key());
        let newest = kept.and_then(|value| value.get("newest")?.as_i64()).map(Timestamp::from_millis);
        Self { newest, modified: true, rest: None }
    }

    /// What this way cannot bring.
    pub(super) fn cannot(&self) -> &'static [&'static str] {
        if self.modified { &[] } else { &["job.suspended", "job.resumed", "job.stopping", "job.terminating"] }
    }

    /// Reads what changed, as far as one pass goes; true when that is all.
    pub(super) async fn read(&mut self, place: &Place<'_>, pass: &mut Pass) -> Result<bool, FolderError> {
        let (since, newest, mut page) = match self.rest.take() {
            Some((since, last, newest)) => (since, newest, self.page(place, since, Rows::After(last, SCAN_ROWS)).await?),
            None => self.first(place).await?,
        };
        for _ in 0..PAGES_MAX {
            let last = page.iter().filter_map(JobRow::of).map(|row| row.id).max();
            let full = page.len() >= SCAN_ROWS;
            self.take(place, &page, since, pass).await?;
            let Some(last) = last.filter(|_| full) else {
                self.rest = None;
                self.reached(place, newest.unwrap_or(since.plus(OVERLAP)), pass).await?;
                return Ok(true);
            };
            // What was told is remembered: a failure from here on goes on behind it.
            self.rest = Some((since, last, newest));
            page = self.page(place, since, Rows::After(last, SCAN_ROWS)).await?;
        }
        Ok(false)
    }

    /// The first page, from when on it tells changes, and the newest of them: what changes while further pages are read is
    /// behind that one, and is seen the next time.
    async fn first(&mut self, place: &Place<'_>) -> Result<(Timestamp, Option<Timestamp>, Vec<Value>), FolderError> {
        let since = match self.newest {
            Some(newest) => newest.minus(OVERLAP),
            None => self.begin(place).await?,
        };
        let page = self.page(place, since, Rows::After(0, SCAN_ROWS)).await?;
        if page.len() < SCAN_ROWS {
            return Ok((since, newest_of(&page), page));
        }
        let newest = newest_of(&self.page(place, since, Rows::Newest).await?);
        Ok((since, newest, self.page(place, since, Rows::After(0, SCAN_ROWS)).await?))
    }

    async fn reached(&mut self, place: &Place<'_>, newest: Timestamp, pass: &mut Pass) -> Result<(), FolderError> {
        let newest = self.newest.map_or(newest, |before| before.max(newest));
        if self.newest != Some(newest) {
            let kept = Place::kept(Space::Cursor, place.key(), &json!({"newest": newest.as_millis()}));
            place.bring(Vec::new(), vec![kept], Bring::Live, pass).await?;
            self.newest = Some(newest);
        }
        Ok(())
    }

    /// From when on a source that was never read tells changes: by the service's own time where our clock is ahead of it.
    async fn begin(&mut self, place: &Place<'_>) -> Result<Timestamp, FolderError> {
        let newest = newest_of(&self.page(place, Timestamp::EPOCH, Rows::Newest).await?);
        let now = place.now();
        Ok(newest.map_or(now, |newest| newest.min(now)).minus(place.source.config.look_back))
    }

    async fn page(&mut self, place: &Place<'_>, since: Timestamp, rows: Rows) -> Result<Vec<Value>, FolderError> {
        let orchestrator = &place.source.orchestrator;
        if self.modified {
            match place.ask("Jobs", orchestrator.scan_jobs(&place.folder, Which::Modified(since), rows, LIST_TIMEOUT)).await {
                // A property that this version does not have.
                Err(failure) if failure.class == Class::Refused && failure.status == Some(400) => {
                    tracing::info!(source = &*place.source.config.name, "jobs do not say when they changed; suspensions are not seen");
                    self.modified = false;
                }
                result => return Ok(result?),
            }
        }
        Ok(place.ask("Jobs", orchestrator.scan_jobs(&place.folder, Which::Stamped(since), rows, LIST_TIMEOUT)).await?)
    }

    async fn take(&mut self, place: &Place<'_>, page: &[Value], since: Timestamp, pass: &mut Pass) -> Result<(), FolderError> {
        let (mut changes, mut kept) = (Vec::new(), Vec::new());
        let observed = place.now();
        for listed in page {
            let Some(row) = JobRow::of(listed) else {
                tracing::warn!(source = &*place.source.config.name, "a job in the list says nothing that is known");
                continue;
            };
            let before = place.thing::<LastJob>(row.id)?;
            let events = job_events(&row, before.as_ref(), since);
            pass.rows += usize::from(!events.is_empty());
            let whole = self.whole(place, &row, &events).await?;
            let sighting = JobSighting { source: &place.source.view, listed, whole: whole.as_ref(), folder: &place.about, observed };
            changes.extend(events.into_iter().map(|event_type| job_change(event_type, &row, &sighting)));
            let now = LastJob::of(&row, observed);
            if before.is_none_or(|before| !before.says_the_same(&now) || now.seen - before.seen > REMEMBER_AGAIN_MS) {
                kept.push(place.remember(row.id, &now)?);
            }
        }
        place.bring(changes, kept, Bring::Live, pass).await
    }

    /// The job with its arguments, where a rule names them and an event has them.
    async fn whole(&self, place: &Place<'_>, row: &JobRow, events: &[&str]) -> Result<Option<Value>, FolderError> {
        let wanted = &place.source.arguments;
        let ends = events.iter().any(|event| matches!(*event, "job.completed" | "job.faulted" | "job.stopped"));
        if !((wanted.output && ends) || (wanted.input && events.contains(&"job.created"))) {
            return Ok(None);
        }
        place.count("Jobs(Id)");
        Ok(place.source.orchestrator.whole_job(&place.folder, row.id, REQUEST_TIMEOUT).await?)
    }
}

/// The changes of jobs in a time that is over, as far as their stamps tell them.
pub(super) async fn past(place: &Place<'_>, standing: &mut Standing) -> Result<bool, FolderError> {
    let mut reader = Jobs { newest: None, modified: true, rest: None };
    let mut pass = Pass::default();
    loop {
        let page = reader.page(place, standing.since(), Rows::After(standing.after, SCAN_ROWS)).await?;
        let observed = place.now();
        let mut changes = Vec::new();
        for (listed, row) in page.iter().filter_map(|listed| Some((listed, JobRow::of(listed)?))) {
            let events = job_events(&row, None, standing.since());
            let whole = reader.whole(place, &row, &events).await?;
            let sighting = JobSighting { source: &place.source.view, listed, whole: whole.as_ref(), folder: &place.about, observed };
            let told = events.into_iter().map(|event_type| job_change(event_type, &row, &sighting));
            changes.extend(told.filter(|change| standing.holds(change.time)));
            standing.at = standing.at.max(row.created.filter(|created| *created >= standing.since()));
        }
        let more = page.len() >= SCAN_ROWS;
        standing.after = page.iter().filter_map(JobRow::of).map(|row| row.id).max().unwrap_or(standing.after);
        if !advance(place, standing, changes, &mut pass).await? {
            return Ok(false);
        }
        if !more {
            return Ok(true);
        }
    }
}

fn newest_of(page: &[Value]) -> Option<Timestamp> {
    page.iter().filter_map(JobRow::of).filter_map(|row| row.modified.or_else(|| row.newest())).max()
}
