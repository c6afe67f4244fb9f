//! Big folders and long holes, read by the daemon's process from a sandbox that is another: what a pass costs in requests and in
//! memory, how soon a change is seen, and how a hole is closed within the limit of the lists. Short here; `make scale` is at length,
//! with a million items, and its figures are in BENCHMARKS.md.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tripline::sandbox::Options;
use tripline::time::Rate;

use crate::support::{Daemon, Folder, Sandbox, rounds, start_sandbox, start_sandbox_as, until_within};

/// Items in the folder, unless `TRIPLINE_SCALE_ITEMS` says otherwise.
const ITEMS: u64 = 20_000;
/// Changes that one pass finds, unless `TRIPLINE_SCALE_CHANGES` says otherwise.
const CHANGES: u64 = 2_350;
/// Passes over the quiet folder, unless `TRIPLINE_SCALE_PASSES` says otherwise.
const PASSES: u64 = 3;
/// Single changes of which is measured how soon they are seen, unless `TRIPLINE_SCALE_SINGLE` says otherwise.
const SINGLE: u64 = 2;
/// Items of the hole, each with three changes, unless `TRIPLINE_SCALE_HOLE` says otherwise.
const HOLE: u64 = 1_500;
/// Requests to lists that the hole may take, in a minute in `make scale`, in a second here; `TRIPLINE_SCALE_RATE` says.
const RATE: u64 = 0;
/// Rows of the change feed whose items are asked for together.
const BATCH_ROWS: u64 = 20_000;
/// The resident memory of the daemon's process; of an unoptimised build more of the binary is in memory.
const RESIDENT_MAX_KIB: u64 = if cfg!(debug_assertions) { 128 << 10 } else { 64 << 10 };
/// What a part may take at length.
const WITHIN: Duration = Duration::from_secs(1800);

/// One line past the test runner, which keeps what a passing test prints.
fn say(line: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), format!("scale: {line}\n").as_bytes()).expect("standard error");
}

fn with_poll(folder: &Folder, poll: &str, replace: (&str, &str)) {
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text").replace(replace.0, replace.1);
    let config = config.replace("level: debug", "level: info");
    folder.write(
        "tripline.yaml",
        &format!("{config}  queues:\n    poll: {{orchestrator: prod, kind: queue_items, reconciles: hook, look_back: 0s, {poll}}}\n"),
    );
    folder.rule("never", "rule: never\nevents: queueItem.*\nqueues: [Nobody]\nsteps:\n  - enqueue: {queue: Invoices-Review}\n");
}

/// A figure of the process, in KiB.
fn memory(daemon: &Daemon, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).expect("a number")
}

async fn source(daemon: &Daemon) -> Value {
    let sources = daemon.get("/api/v1/sources").await;
    sources["items"].as_array().and_then(|all| all.iter().find(|one| one["source"] == "queues")).cloned().unwrap_or_default()
}

/// Awaits that the source has brought so many; when the pass that did and the one before it ended.
async fn until_brought(daemon: &Daemon, count: u64) -> (String, String) {
    let mut before = String::new();
    until_within(WITHIN, "everything is brought", async || {
        let source = source(daemon).await;
        let last = source["last_pass"].as_str()?.to_owned();
        if source["brought"].as_u64()? >= count && source["folders"][0]["known_until"].is_string() {
            return Some((before.clone(), last));
        }
        before = last;
        None
    })
    .await
}

/// The requests to Orchestrator that came after one moment and not after another, by the last part of their paths.
async fn requests(sandbox: &Sandbox, after: &str, until: &str) -> (usize, usize, usize) {
    let all = sandbox.get("/sandbox/requests").await["items"].as_array().expect("a list").clone();
    let within = |one: &&Value| one["at"].as_str().is_some_and(|at| at > after && at <= until);
    let count = |end: &str| all.iter().filter(within).filter(|one| one["path"].as_str().is_some_and(|path| path.ends_with(end))).count();
    (all.iter().filter(within).count(), count("/QueueItemEvents"), count("/QueueItems"))
}

async fn fill(sandbox: &Sandbox, queue: &str, count: u64, done: bool) {
    let (status, answer) = sandbox.post("/sandbox/fill", &json!({"queue": queue, "count": count, "done": done})).await;
    assert_eq!(status, 201, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_over_a_big_folder_costs_what_it_must_and_little_memory() {
    let (items, changes) = (rounds("TRIPLINE_SCALE_ITEMS", ITEMS), rounds("TRIPLINE_SCALE_CHANGES", CHANGES));
    let sandbox = start_sandbox().await;
    fill(&sandbox, "Open", items, false).await;
    let folder = Folder::new(&sandbox.url);
    with_poll(&folder, "every: 2s", ("", ""));
    // Later than the items: what is older than the first start is not looked back to.
    fill(&sandbox, "Open", 1, false).await;
    let daemon = Daemon::start(&folder).await;
    until_brought(&daemon, 1).await;
    let (_, answer) = sandbox.post("/sandbox/take", &json!({"queue": "Open", "count": changes})).await;
    assert_eq!(answer["count"], changes);
    let begin = Instant::now();
    let (before, last) = until_brought(&daemon, 1 + changes).await;
    let (all, feed, lists) = requests(&sandbox, &before, &last).await;
    let bound = 1 + changes.div_ceil(1000) + changes.div_ceil(100);
    let (peak, resident) = (memory(&daemon, "VmHWM"), memory(&daemon, "VmRSS"));
    say(&format!(
        "{items} items, {changes} changes brought {:.1} s after they were made, in {all} requests ({feed} of the feed, {lists} of items; at most {bound})",
        begin.elapsed().as_secs_f64()
    ));
    say(&format!("resident {:.1} MiB, at most {:.1} MiB (limit 64)", resident as f64 / 1024.0, peak as f64 / 1024.0));
    assert!(all as u64 <= bound, "{all} requests, {feed} of the feed and {lists} of items; {bound} are enough");
    assert!(peak < RESIDENT_MAX_KIB, "{peak} KiB");
    assert_eq!(source(&daemon).await["brought"], 1 + changes, "nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_folder_costs_one_request_an_interval_and_a_change_is_seen_in_the_next() {
    let (passes, single) = (rounds("TRIPLINE_SCALE_PASSES", PASSES), rounds("TRIPLINE_SCALE_SINGLE", SINGLE));
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    with_poll(&folder, "every: 1s", ("", ""));
    let daemon = Daemon::start(&folder).await;
    until_within(WITHIN, "the folder is known", async || source(&daemon).await["folders"][0]["known_until"].as_str().map(drop)).await;
    let mut delays = Vec::new();
    for n in 0..single {
        // At any moment of the interval.
        tokio::time::sleep(Duration::from_millis(n * 379 % 1000)).await;
        fill(&sandbox, "Open", 1, false).await;
        until_brought(&daemon, n + 1).await;
        let event = daemon.get("/api/v1/events?limit=1").await["items"][0].clone();
        let at = |name: &str| event[name].as_str().and_then(tripline::time::Timestamp::parse_lenient).expect("a time");
        delays.push(at("received").since(at("time")).as_secs_f64());
        // Back to the pace of a quiet folder.
        let seen = source(&daemon).await["last_pass"].clone();
        until_within(WITHIN, "a pass without news", async || (source(&daemon).await["last_pass"] != seen).then_some(())).await;
    }
    delays.sort_by(f64::total_cmp);
    let from = source(&daemon).await["last_pass"].as_str().expect("a time").to_owned();
    let (mut seen, mut last) = (0, from.clone());
    until_within(WITHIN, "so many passes", async || {
        let now = source(&daemon).await["last_pass"].as_str()?.to_owned();
        if now != last {
            (seen, last) = (seen + 1, now);
        }
        (seen >= passes).then_some(())
    })
    .await;
    let (all, feed, _) = requests(&sandbox, &from, &last).await;
    say(&format!(
        "every second: {single} changes kept {:.2} s after they were made at the median, {:.2} s at most",
        delays[delays.len() / 2],
        delays[delays.len() - 1]
    ));
    say(&format!("quiet: {passes} passes, {all} requests"));
    // A pass that was not looked at in time counts with the next.
    assert!(all == feed && all as u64 >= passes, "{all} requests, {feed} of them of the feed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_of_the_webhook_is_closed_within_the_limit_of_the_lists() {
    let (hole, rate) = (rounds("TRIPLINE_SCALE_HOLE", HOLE), rounds("TRIPLINE_SCALE_RATE", RATE));
    // A second stands for a minute where nobody has minutes.
    let (count, period, text) = if rate == 0 { (10, 1, "10/s".to_owned()) } else { (rate as u32, 60, format!("{rate}/min")) };
    let limit = Rate { count, period: Duration::from_secs(period) };
    let sandbox = start_sandbox_as(Options { list_rate: Some(limit), ..Options::default() }).await;
    let folder = Folder::new(&sandbox.url);
    with_poll(&folder, "every: 2s", ("    folder: Finance\n", &format!("    folder: Finance\n    rate: {{list: {text}}}\n")));
    let daemon = Daemon::start(&folder).await;
    until_within(WITHIN, "the folder is known", async || source(&daemon).await["folders"][0]["known_until"].as_str().map(drop)).await;
    // None of these comes by the webhook.
    fill(&sandbox, "Open", hole, true).await;
    let begin = Instant::now();
    until_brought(&daemon, 3 * hole).await;
    let lists = sandbox.get("/sandbox/state").await["lists"].clone();
    say(&format!(
        "a hole of {} changes closed in {:.0} s with {} requests to lists, at most {} in any {}, {} refused (limit {text})",
        3 * hole,
        begin.elapsed().as_secs_f64(),
        lists["total"],
        lists["busiest_minute"],
        if period == 1 { "second" } else { "minute" },
        lists["refused"]
    ));
    assert!(lists["busiest_minute"].as_u64().is_some_and(|most| most <= u64::from(count)) && lists["refused"] == 0, "{lists}");
    // A hundred items in each request, but for the last one of each batch of rows.
    let batches = (3 * hole).div_ceil(BATCH_ROWS);
    assert!(lists["total"].as_u64().is_some_and(|total| total <= hole.div_ceil(100) + batches), "{lists}");
    assert_eq!(source(&daemon).await["failure"], Value::Null);
    say(&format!("resident at most {:.1} MiB", memory(&daemon, "VmHWM") as f64 / 1024.0));
}
