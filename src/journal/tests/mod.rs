//! The journal as its users see it: what is accepted is there again after every kind of end.

mod accept;
mod awaits;
mod damage;
mod faults;
mod foreign;
mod kept;
mod mend;
mod model;
mod order;
mod recorded;
mod reopen;
mod retention;
mod senseless;
mod single;
mod together;
mod told;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;

use crate::clock::Clock;
use crate::event::{Change, Folder, Key, Verified, Via};
use crate::journal::*;
use crate::runs::NewRun;

const START: i64 = 1_700_000_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

fn options() -> Options {
    Options { segment_bytes: 64 << 20, clock: Clock::manual(at(0)), boot_id: "boot-1".to_owned() }
}

fn state_dir() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn state(dir: &TempDir) -> PathBuf {
    dir.path().join("state")
}

fn open(dir: &TempDir) -> Journal {
    Journal::open(&state(dir), options()).expect("opens").0
}

/// With segments so small that a few groups fill one.
fn small(segment_bytes: u64) -> Options {
    Options { segment_bytes, ..options() }
}

/// The stored rows. Whoever had them open before gives them free a moment after.
fn rows_of(dir: &TempDir) -> sled::Db {
    let begun = std::time::Instant::now();
    loop {
        match sled::open(state(dir).join("checkpoints")) {
            Ok(db) => return db,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::yield_now();
    }
}

/// Everything that readers see, to be compared across reopens.
fn seen(journal: &Journal) -> (Vec<Event>, Vec<Run>, Vec<EventId>, Vec<Run>) {
    let events = journal.events(&EventQuery { limit: usize::MAX, ..EventQuery::default() }).expect("reads").items;
    let runs = journal.runs(&RunQuery { limit: usize::MAX, ..RunQuery::default() }).expect("reads").items;
    let unrouted = journal.unrouted(usize::MAX, 0).expect("reads").events.iter().map(|event| event.id).collect();
    let due = journal.due(at(1_000_000), usize::MAX, &|_| false).expect("reads").0;
    (events, runs, unrouted, due)
}

pub(in crate::journal) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.expect("an answer in time") })
}

/// A change of queue item `id`.
pub(in crate::journal) fn change(id: u32) -> Change {
    Change {
        key: Key::exact(format!("t|queueItem|{id}|queueItem.added")),
        event_type: "queueItem.added".into(),
        time: Some(at(1)),
        observed: None,
        tenant: Some("5".into()),
        folder: Some(Folder { id: Some(7), key: None, path: Some("Finance".to_owned()) }),
        subject: Some(format!("queues/Invoices/items/{id}").into()),
        service_id: Some("delivery".into()),
        element: 0,
        data: Arc::new(json!({"Queue": {"Id": 1, "Name": "Invoices"}, "QueueItem": {"Id": id, "Reference": "A-1"}})),
        problem: None,
        origin: None,
    }
}

/// A delivery whose data is in the record, so that no family of Orchestrator's matters.
pub(in crate::journal) fn delivery(changes: Vec<Change>) -> Delivery {
    Delivery {
        source: "hook".into(),
        via: Via::Poll,
        orchestrator: Some("prod".into()),
        verified: Verified::Secret("env:HOOK".into()),
        received: at(0),
        body: Bytes::from_static(b"{}"),
        delivery_id: None,
        changes,
    }
}

fn accept(journal: &Journal, delivery: Delivery) -> Accepted {
    wait(journal.accept(delivery)).expect("kept")
}

pub(in crate::journal) fn planned(event: EventId, rule: &str) -> NewRun {
    NewRun::plain(event, rule, at(2))
}
