//! kill -9 under load: what was acknowledged is there, and every follow-up is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::{Daemon, Folder, Sandbox, failed_item, rounds, start_sandbox, until, until_within};

/// Kills, unless `TRIPLINE_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 30;
const SENDERS: u64 = 4;
/// An item that is not found after an unknown outcome is looked up again a minute later; then it is sent again.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);

const RULES: &str = "\
rule: follow-up-unique
events: queueItem.transactionFailed
queues: [Invoices]
steps:
  - enqueue: {queue: Invoices-Review, reference: \"u-${item.Reference}\", content: {Invoice: \"${content.InvoiceId}\"}}
---
rule: follow-up-open
events: queueItem.transactionFailed
queues: [Invoices]
steps:
  - enqueue: {queue: Open, reference: \"o-${item.Reference}\", content: {Invoice: \"${content.InvoiceId}\"}}
";

/// Sends distinct items until the daemon is gone; gives the acknowledged ones.
async fn send(daemon: Arc<Daemon>, next: Arc<AtomicU64>, acked: Arc<AtomicU64>) -> Vec<u64> {
    let mut mine = Vec::new();
    loop {
        let id = next.fetch_add(1, Ordering::SeqCst);
        match daemon.deliver(&failed_item(id)).await {
            Ok((202, _)) => {
                mine.push(id);
                acked.fetch_add(1, Ordering::SeqCst);
            }
            Ok((status, answer)) => panic!("refused with {status}: {answer}"),
            Err(_) => return mine,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_under_load_lose_no_event_and_no_follow_up() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("follow-up", RULES);
    let rounds = rounds("TRIPLINE_CRASH_ROUNDS", ROUNDS);
    let next = Arc::new(AtomicU64::new(1));
    let mut acked = BTreeSet::new();
    for round in 0..rounds {
        let daemon = Arc::new(Daemon::start(&folder).await);
        let count = Arc::new(AtomicU64::new(0));
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(send(Arc::clone(&daemon), Arc::clone(&next), Arc::clone(&count)));
        }
        // The moment of the kill moves over the rounds: right after the start, and deep in the work.
        let moment = 1 + (round * 7) % 31;
        until("enough deliveries are acknowledged", async || (count.load(Ordering::SeqCst) >= moment).then_some(())).await;
        daemon.signal("KILL");
        while let Some(ids) = senders.join_next().await {
            acked.extend(ids.expect("a sender"));
        }
        Arc::into_inner(daemon).expect("the senders are done").kill9();
    }
    assert!(acked.len() as u64 >= rounds, "{} acknowledged", acked.len());

    let daemon = Daemon::start(&folder).await;
    every_event_is_there(&daemon, &acked).await;
    until_within(SETTLED_WITHIN, "every run is settled", async || {
        for state in ["pending", "running", "retrying", "waiting", "blocked"] {
            if !daemon.runs(state).await.is_empty() {
                return None;
            }
        }
        Some(())
    })
    .await;
    for state in ["dead", "ambiguous"] {
        assert_eq!(daemon.runs(state).await, Vec::<serde_json::Value>::new(), "{state}");
    }
    every_follow_up_is_done(&sandbox, &daemon, &acked).await;
}

async fn every_event_is_there(daemon: &Daemon, acked: &BTreeSet<u64>) {
    let events = daemon.list("/api/v1/events").await;
    let mut seen = BTreeMap::new();
    let mut last = String::new();
    for event in &events {
        let id = event["id"].as_str().expect("an id").to_owned();
        assert!(id > last, "ids rise in the order of the journal");
        last = id;
        *seen.entry(event["data"]["QueueItem"]["Id"].as_u64().expect("an item")).or_insert(0) += 1;
    }
    let lost: Vec<_> = acked.iter().filter(|id| !seen.contains_key(id)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(seen.values().all(|count| *count == 1), "one change, one event");
}

async fn every_follow_up_is_done(sandbox: &Sandbox, daemon: &Daemon, acked: &BTreeSet<u64>) {
    let mut counts = BTreeMap::new();
    for reference in sandbox.references("Invoices-Review").await.into_iter().chain(sandbox.references("Open").await) {
        *counts.entry(reference).or_insert(0_u32) += 1;
    }
    let twice: BTreeSet<String> = daemon
        .runs("succeeded")
        .await
        .iter()
        .filter(|run| run["steps"].as_array().is_some_and(|steps| steps.iter().any(|s| s["maybe_twice"] == true)))
        .filter_map(|run| run["event"].as_str().map(str::to_owned))
        .collect();
    for id in acked {
        assert_eq!(counts.get(&format!("u-INV-{id}")), Some(&1), "exactly one follow-up of item {id} in the queue with unique references");
        let open = counts.get(&format!("o-INV-{id}")).copied().unwrap_or(0);
        assert!(open == 1 || (open == 2 && !twice.is_empty()), "{open} follow-ups of item {id} in the open queue, none flagged");
    }
}
