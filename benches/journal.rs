//! The journal against its limit, in one run: deliveries of 1 KB kept and acknowledged in groups of about 1, 32 and 256,
//! beside a bare file to which the same bytes are appended in groups of as many, each group with one fdatasync.
//!
//! A group is what queued while the last sync ran, so twice as many callers as a group is to hold are at work: half of
//! them wait for the sync, half for the next. The mean group that came of it is printed beside the figures.
//!
//! `cargo bench --bench journal` prints absolute figures and ratios; the ratio is what a change is judged by.
//! Both take turns, `JOURNAL_ROUNDS` of them (6), and their times are added up. `JOURNAL_GROUP` picks one of the three.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tripline::clock::Clock;
use tripline::event::{Change, Key, Verified, Via};
use tripline::journal::{Delivery, Journal, Options};

use support::{figure, number};

const BODY: usize = 1024;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let rounds = number("JOURNAL_ROUNDS", 6);
    let place = tempfile::tempdir_in(".").unwrap();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("journal, {BODY} byte bodies, {threads} threads, {rounds} rounds");
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
    for (group, callers, records) in [(1, 1, 4_000), (32, 64, 60_000), (256, 512, 300_000)] {
        if std::env::var("JOURNAL_GROUP").is_ok_and(|only| only != group.to_string()) {
            continue;
        }
        let before = groups(&metrics.render());
        let (mut bare, mut ours, mut turns) = (Duration::ZERO, Duration::ZERO, Vec::new());
        for _ in 0..rounds {
            let turn = (bare_appends(place.path(), group, records), journal(callers, records));
            (bare, ours) = (bare + turn.0, ours + turn.1);
            turns.push(format!("{:.2}", turn.0.as_secs_f64() / turn.1.as_secs_f64()));
        }
        let after = groups(&metrics.render());
        let mean = (after.0 - before.0) / (after.1 - before.1);
        let rate = |time: Duration| records as f64 * rounds as f64 / time.as_secs_f64();
        println!("  bare {:>9.0}/s   journal {:>9.0}/s (mean group {mean:.0})   turn by turn {}", rate(bare), rate(ours), turns.join(" "));
        let ratio = bare.as_secs_f64() / ours.as_secs_f64();
        figure(&format!("journal beside the bare appends, groups of {group}"), format!("{ratio:.2}"), ">= 0.70", ratio >= 0.7);
    }
}

/// Events and groups so far, from the journal's own histogram.
fn groups(exposition: &str) -> (f64, f64) {
    let value = |name: &str| {
        let line = exposition.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
    };
    (value("tripline_journal_batch_events_sum"), value("tripline_journal_batch_events_count"))
}

/// Groups of `group` records appended to a growing file, one fdatasync per group; how long that took.
fn bare_appends(dir: &Path, group: usize, records: usize) -> Duration {
    let path = dir.join("bare");
    let mut file = File::create(&path).unwrap();
    // What the journal writes per delivery of this bench.
    let bytes = vec![7_u8; group * (BODY + 330)];
    let started = Instant::now();
    for _ in 0..records / group {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    }
    let took = started.elapsed();
    std::fs::remove_file(path).unwrap();
    took
}

/// `callers` tasks that hand in a delivery and wait for its answer, again and again; how long that took.
fn journal(callers: usize, records: usize) -> Duration {
    let place = tempfile::tempdir_in(".").unwrap();
    let options = Options { segment_bytes: 64 << 20, clock: Clock::system(), boot_id: "bench".to_owned() };
    let (journal, _) = Journal::open(&place.path().join("state"), options).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let data = Arc::new(serde_json::json!({"Queue": {"Name": "Invoices"}, "QueueItem": {"Id": 1, "Reference": "A-1"}}));
    let body = Bytes::from(vec![b'x'; BODY]);
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..callers {
            let (journal, data, body, next) = (journal.clone(), Arc::clone(&data), body.clone(), Arc::clone(&next));
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= records as u64 {
                        return;
                    }
                    let accepted = journal.accept(delivery(number, Arc::clone(&data), body.clone())).await.unwrap();
                    assert_eq!(accepted.events.len(), 1);
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    });
    let took = started.elapsed();
    journal.close();
    took
}

fn delivery(number: u64, data: Arc<serde_json::Value>, body: Bytes) -> Delivery {
    let now = Clock::system().now();
    let change = Change {
        key: Key::exact(format!("https://cloud.uipath.com/acme/prod|queueItem|{number}|queueItem.added")),
        event_type: "queueItem.added".into(),
        time: Some(now),
        observed: None,
        tenant: Some("12345".into()),
        folder: None,
        subject: Some(format!("queues/Invoices/items/{number}").into()),
        service_id: None,
        element: 0,
        data,
        problem: None,
        origin: None,
    };
    Delivery {
        source: "prod-hook".into(),
        via: Via::Webhook,
        orchestrator: Some("prod".into()),
        verified: Verified::Secret("env:HOOK_SECRET".into()),
        received: now,
        body,
        delivery_id: Some(format!("{number:032x}").into()),
        changes: vec![change],
    }
}
