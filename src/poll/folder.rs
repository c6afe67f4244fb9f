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
use super::{Poll, Polled, interval, losses};
use crate::config::PollKind;
use crate::event::Folder;
use crate::journal::Space;
use crate::orchestrator::{FeedFrom, PAGE_ROWS};
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
        let mut ledger: Ledger = place.load(Space::Ledger, &place.key()).unwrap_or_default();
        if ledger.known_until.is_some() {
            for loss in poll.journal.losses().unwrap_or_default() {
                ledger.lost(loss.from, loss.until, losses::CAUSE);
            }
        }
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
            match (has_feed(&self.place).await?, &mut self.way) {
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
}

/// Whether the change feed is there and can be read from an Id on: by what it answers, not by any version.
pub(super) async fn has_feed(place: &Place<'_>) -> Result<bool, FolderError> {
    let orchestrator = &place.source.orchestrator;
    let newest = match place.ask("QueueItemEvents", orchestrator.newest_in_feed(&place.folder, REQUEST_TIMEOUT)).await {
        Ok(newest) => newest,
        Err(failure) if matches!(failure.status, Some(400 | 404 | 405 | 501)) && failure.class != Class::Auth => {
            // The same refusal of a list that every version has is about the folder or the address.
            place.ask("QueueDefinitions", orchestrator.queues(&place.folder, REQUEST_TIMEOUT)).await?;
            return Ok(without(place, &failure.message));
        }
        Err(failure) => return Err(failure.into()),
    };
    let last = newest.as_ref().and_then(super::rows::row_id).unwrap_or(0);
    match place.ask("QueueItemEvents", orchestrator.feed(&place.folder, FeedFrom::After(last), PAGE_ROWS, REQUEST_TIMEOUT)).await {
        Ok(rows) if rows.iter().filter_map(super::rows::row_id).any(|id| id <= last) => {
            Ok(without(place, "it does not answer from an Id on"))
        }
        Ok(_) => Ok(true),
        Err(failure) if failure.class == Class::Refused => Ok(without(place, &failure.message)),
        Err(failure) => Err(failure.into()),
    }
}

fn without(place: &Place<'_>, why: &str) -> bool {
    tracing::warn!(
        source = &*place.source.config.name,
        folder = place.name,
        why,
        "no change feed here: lists are read, which do not tell {}",
        lists::CANNOT.join(", ")
    );
    false
}
