//! The journal as its users see it: what is accepted is there again after every kind of end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::event::{Change, Folder, Key, Verified, Via};
use crate::fault::SourceText;
use crate::rules::{Known, KnownSource, Mode};
use crate::runs::{Cause, NewRun, RunState};

pub(super) const START: i64 = 1_700_000_000_000;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

pub(super) fn options() -> Options {
    Options { segment_bytes: 64 << 20, clock: Clock::manual(at(0)), boot_id: "boot-1".to_owned() }
}

pub(super) fn state_dir() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

pub(super) fn open(dir: &TempDir) -> Journal {
    Journal::open(&dir.path().join("state"), options()).expect("opens").0
}

pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await.expect("an answer in time") })
}

/// A change of queue item `id`.
pub(super) fn change(id: u32) -> Change {
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
pub(super) fn delivery(changes: Vec<Change>) -> Delivery {
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

pub(super) fn accept(journal: &Journal, delivery: Delivery) -> Accepted {
    wait(journal.accept(delivery)).expect("kept")
}

pub(super) fn planned(event: EventId, rule: &str) -> NewRun {
    NewRun { id: RunId::of(event, rule), rule: rule.into(), generation: 1, created: at(2), mode: Mode::Live, hops: 0, dead: None }
}

#[test]
fn what_was_accepted_is_there_after_a_reopen() {
    let dir = state_dir();
    let journal = open(&dir);
    let accepted = accept(&journal, delivery(vec![change(1), change(2)]));
    assert_eq!((accepted.events.len(), accepted.folded, accepted.conflict), (2, 0, false));
    let before: Vec<_> = accepted.events.iter().map(|id| journal.event(*id).expect("reads").expect("is there")).collect();
    assert_eq!(before[0].change, change(1));
    let routed = journal.unrouted(10).expect("reads");
    assert_eq!(routed, before);
    drop(journal);
    for close in [false, true, false] {
        let journal = open(&dir);
        for event in &before {
            assert_eq!(journal.event(event.id).expect("reads").as_ref(), Some(event));
        }
        assert_eq!(journal.unrouted(10).expect("reads"), before);
        assert_eq!(Reader::new(&dir.path().join("state")).event(before[0].id).expect("reads").as_ref(), Some(&*before[0]));
        if close {
            journal.close();
        }
    }
}
