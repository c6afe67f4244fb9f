//! What looks after sources, each put together from a configuration as the daemon does it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::assemble::assemble;
use crate::clock::Clock;
use crate::config::RealWorld;
use crate::http::client::tests::peer::{Peer, json as says};
use crate::journal::{Journal, Options};
use crate::panics::{PAUSE, on_purpose};
use crate::poll::{self, Backfills, Poll, Statuses};
use crate::register::{self, Register, Shown};
use crate::rules::RulesInForce;
use crate::watch::{self as watches, Watching};

/// Long enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

const CONNECTOR: &str = "connector: crm\nbase_url: \"${config.host}\"\nconfig: {host: {}}\nauth: none\noperations:\n  list: {method: GET, path: /contacts, output: {root: value}}\ntriggers:\n  contact: {poll: {operation: list, cursor: entry.updated, id: entry.id}}\n";

/// Of each kind of source two, of which the first panics.
const PANIC: [&str; 4] = ["poll-that-panics", "trigger-that-panics", "hook-that-panics", "watch-that-panics"];
const OTHERS: [&str; 4] = ["poll-beside", "trigger-beside", "hook-beside", "watch-beside"];

fn configuration(url: &str) -> String {
    let mut text = format!(
        "orchestrators: {{prod: {{url: \"{url}\", edition: standalone, auth: {{token: a-token-of-a-test-16}}, folder: Finance}}}}\nconnectors: {{files: connectors/, config: {{crm: {{host: \"{url}\"}}}}}}\nrules: rules/\nsources:\n"
    );
    for [poll, trigger, hook, watch] in [PANIC, OTHERS] {
        text += &format!(
            "  {poll}: {{poll: {{orchestrator: prod, kind: queue_items, every: 1s}}}}\n  {trigger}: {{poll: {{connector: crm, trigger: contact, every: 1s}}}}\n  {hook}: {{webhook: {{orchestrator: prod, secrets: [a-secret-of-a-test-16]}}}}\n  {watch}: {{watch: {{absent: {{events: [job.completed], within: 5s}}}}}}\n"
        );
    }
    text
}

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What `GET /api/v1/sources` says of polled sources, by their names.
fn failures(statuses: &Statuses) -> BTreeMap<String, Value> {
    let shown = statuses.to_json();
    let items = shown["items"].as_array().expect("a list").iter();
    items.map(|item| (item["source"].as_str().expect("a name").to_owned(), item["failure"].clone())).collect()
}

#[tokio::test]
async fn what_looks_after_a_source_begins_again_after_a_panic_and_the_others_go_on() {
    drop(rustls::crypto::ring::default_provider().install_default());
    // The runtime of a test has one thread, so that this recorder sees all of its metrics and no others.
    let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let metrics = recorder.handle();
    let _guard = metrics::set_default_local_recorder(recorder);
    let peer = Peer::start(|_, _| says(200, &json!({"value": []}))).await;
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in [
        ("tripline.yaml", configuration(&peer.url)),
        ("connectors/crm.yaml", CONNECTOR.to_owned()),
        ("rules/one.yaml", "rule: one\nevents: job.completed\nsteps: [{emit: {type: acme.one}}]\n".to_owned()),
    ] {
        std::fs::create_dir_all(folder.path().join(path).parent().expect("a folder")).expect("made");
        std::fs::write(folder.path().join(path), text).expect("written");
    }
    let assembled = assemble(&folder.path().join("tripline.yaml"), &RealWorld).unwrap_or_else(|faults| panic!("{faults:?}"));
    let clock = Clock::system();
    let options = Options { segment_bytes: 4 << 20, clock: clock.clone(), boot_id: "boot".to_owned() };
    let journal = Journal::open(&folder.path().join("state"), options).expect("opens").0;
    for name in PANIC.iter().chain(&OTHERS) {
        on_purpose::watch(name, PANIC.contains(name));
    }

    let (statuses, stop) = (Statuses::default(), CancellationToken::new());
    let (_polls, sources) = watch::channel(Arc::new(assembled.polls));
    let (_hooks, hooks) = watch::channel(assembled.hooks);
    let rules = Arc::new(ArcSwap::from_pointee(RulesInForce { set: assembled.rules, generation: 1 }));
    let backfills = Backfills::new(journal.clone());
    let poll = Poll { journal: journal.clone(), sources, clock: clock.clone(), statuses: statuses.clone(), backfills };
    let register = Register { journal: journal.clone(), hooks, clock: clock.clone(), shown: Shown::default() };
    let mut tasks = JoinSet::new();
    tasks.spawn(poll::run(poll, stop.clone()));
    tasks.spawn(register::run(register, stop.clone()));
    tasks.spawn(watches::run(Watching { journal, rules, clock }, stop.clone()));

    let gap = |source: &str| {
        let text = metrics.render();
        let line = text.lines().find(|line| line.starts_with("tripline_coverage_gap_seconds") && line.contains(source))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let panicked = |failure: &Value| failure.as_str().is_some_and(|why| why.contains("panic"));
    until("it is said of both that are polled", || {
        PANIC[..2].iter().all(|name| failures(&statuses).get(*name).is_some_and(panicked)).then_some(())
    })
    .await;
    assert!(PANIC[..2].iter().all(|name| gap(name).is_some_and(|gap| gap > 0.0)), "{}", metrics.render());
    assert!(OTHERS[..2].iter().all(|name| gap(name) == Some(0.0)), "{}", metrics.render());
    let seen = until("each begins again", || {
        let seen = PANIC.map(on_purpose::seen);
        seen.iter().all(|seen| seen.len() >= 4).then_some(seen)
    })
    .await;
    for (name, seen) in PANIC.iter().zip(seen) {
        assert!(seen[2] - seen[1] >= PAUSE, "{name} is left alone for a while: {:?}", seen[2] - seen[1]);
    }
    for (other, name) in OTHERS.iter().zip(PANIC) {
        let (other, pause) = (on_purpose::seen(other), on_purpose::seen(name));
        let meanwhile = other.iter().filter(|at| **at > pause[1] && **at < pause[2]).count();
        assert!(meanwhile >= 2, "the one beside {name} went on: {meanwhile} looks");
    }
    until("both can be read again", || {
        PANIC[..2].iter().all(|name| failures(&statuses)[*name].is_null() && gap(name) == Some(0.0)).then_some(())
    })
    .await;
    assert!(metrics.render().contains("tripline_panics_total 4\n"), "{}", metrics.render());
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no other panic");
    }
}
