//! A long life in short: events at a steady rate, reloads, a target that goes away and comes back. Nothing lost, every action done,
//! descriptors and memory flat. `TRIPLINE_SOAK_SECONDS` says how long; the table and the plots are printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::task::JoinSet;

use crate::support::{Daemon, Folder, failed_item_of, rounds, start_sandbox, until_within};

/// Seconds, unless `TRIPLINE_SOAK_SECONDS` says otherwise.
const SECONDS: u64 = 6;
const EVENTS_PER_SECOND: u64 = 200;
/// Bytes of text in each event, about 1 KB with the rest.
const TEXT_BYTES: usize = 400;
/// Deliveries on their way at once.
const SENDERS: usize = 16;
/// Every tenth event has an action.
const ACTED_ON: u64 = 10;
/// How often everything is measured at most, over the whole time.
const SAMPLES: u64 = 60;
/// What the target's absence, retries and all, may take at the end.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// Wide enough for a log line.
const PLOT_WIDTH: usize = 60;

/// A target on a port of its own that may be taken away.
struct Target {
    address: SocketAddr,
    /// How often each item was told of, by `Idempotency-Key`.
    told: Arc<Mutex<BTreeMap<String, u64>>>,
    server: JoinSet<()>,
}

async fn tell(State(told): State<Arc<Mutex<BTreeMap<String, u64>>>>, headers: HeaderMap) -> StatusCode {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    *told.lock().expect("a map").entry(key).or_default() += 1;
    StatusCode::NO_CONTENT
}

impl Target {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut target = Self { address: listener.local_addr().expect("an address"), told: Arc::default(), server: JoinSet::new() };
        target.serve(listener);
        target
    }

    fn serve(&mut self, listener: tokio::net::TcpListener) {
        let app = Router::new().route("/tell", post(tell)).with_state(Arc::clone(&self.told));
        self.server.spawn(async move { axum::serve(listener, app).await.expect("serves") });
    }

    async fn go_away(&mut self) {
        self.server.shutdown().await;
    }

    fn come_back(&mut self) {
        let address = self.address;
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("reusable");
        socket.bind(address).expect("its old port");
        self.serve(socket.listen(1024).expect("listens"));
    }
}

/// What is looked at while it runs.
struct Sample {
    seconds: f64,
    resident: u64,
    descriptors: u64,
    disk: u64,
}

fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&entry.path()),
            // Blocks, not lengths: segments are prepared ahead of what is in them.
            Ok(found) => std::os::unix::fs::MetadataExt::blocks(&found) * 512,
            Err(_) => 0,
        })
        .sum()
}

fn sample(daemon: &Daemon, begin: Instant) -> Sample {
    let process = format!("/proc/{}", daemon.pid());
    let status = std::fs::read_to_string(format!("{process}/status")).expect("it runs");
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    let descriptors = std::fs::read_dir(format!("{process}/fd")).expect("it runs").count() as u64;
    Sample {
        seconds: begin.elapsed().as_secs_f64(),
        resident: resident.expect("a number"),
        descriptors,
        disk: bytes_below(daemon.state()) >> 10,
    }
}

/// Something of a sample.
type Look = fn(&Sample) -> u64;

/// Growth per hour of a line through the second half of the samples.
fn slope_per_hour(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> f64 {
    let half = &samples[samples.len() / 2..];
    let count = half.len() as f64;
    let (mean_x, mean_y) = half.iter().fold((0.0, 0.0), |(x, y), s| (x + s.seconds / count, y + of(s) as f64 / count));
    let (over, under) = half.iter().fold((0.0, 0.0), |(over, under), s| {
        let dx = s.seconds - mean_x;
        (over + dx * (of(s) as f64 - mean_y), under + dx * dx)
    });
    if under == 0.0 { 0.0 } else { over / under * 3600.0 }
}

/// One line of blocks from the smallest to the largest value.
fn plot(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<u64> = samples.iter().map(of).collect();
    let (low, high) = (values.iter().min().copied().unwrap_or(0), values.iter().max().copied().unwrap_or(0));
    let step = values.len().div_ceil(PLOT_WIDTH).max(1);
    let height = |value: u64| ((value - low) * 7).checked_div(high - low).unwrap_or(0) as usize;
    values.iter().step_by(step).map(|value| BLOCKS[height(*value)]).collect()
}

fn report(samples: &[Sample], sent: u64, lost: u64, acted: u64, repeated: u64) -> String {
    let (first, last) = (&samples[0], &samples[samples.len() - 1]);
    let mut text =
        format!("\nsoak: {:.0} s, {sent} events, {lost} lost, {acted} actions, {repeated} repeated under the same key\n", last.seconds);
    let rows: [(&str, Look); 3] = [("resident KiB", |s| s.resident), ("descriptors", |s| s.descriptors), ("disk KiB", |s| s.disk)];
    writeln!(text, "{:<14}{:>10}{:>10}{:>10}{:>14}  over time", "", "first", "last", "highest", "growth an hour").expect("text");
    for (name, of) in rows {
        let highest = samples.iter().map(of).max().unwrap_or(0);
        let growth = slope_per_hour(samples, of);
        writeln!(text, "{name:<14}{:>10}{:>10}{highest:>10}{growth:>14.0}  {}", of(first), of(last), plot(samples, of)).expect("text");
    }
    text
}

fn rules(target: SocketAddr, generation: u64) -> String {
    format!(
        "rule: tell\ndescription: Version {generation}.\nevents: queueItem.transactionFailed\nmatch:\n  QueueItem: {{Reference: [{{suffix: \"0\"}}]}}\nretry: {{first_wait: 200ms, max_wait: 2s, give_up_after: 1h}}\nsteps:\n  - http: {{method: POST, url: \"http://{target}/tell\", body: {{id: \"${{item.Id}}\"}}}}\n---\nrule: never\nevents: queueItem.transactionFailed\nqueues: [Nobody]\nsteps:\n  - http: {{method: POST, url: \"http://{target}/tell\"}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_life_loses_nothing_and_stays_small() {
    let seconds = rounds("TRIPLINE_SOAK_SECONDS", SECONDS);
    let sandbox = start_sandbox().await;
    let mut target = Target::start().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("soak", &rules(target.address, 0));
    let daemon = Arc::new(Daemon::start(&folder).await);
    let begin = Instant::now();
    let total = seconds * EVENTS_PER_SECOND;
    let sample_every = (total / SAMPLES).max(1);
    // Five reloads and five absences, whatever the length.
    let episode = (total / 5).max(1);
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 / EVENTS_PER_SECOND));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut sending = JoinSet::new();
    let mut samples = vec![sample(&daemon, begin)];
    for id in 1..=total {
        pace.tick().await;
        if sending.len() >= SENDERS {
            sending.join_next().await.expect("some are sending").expect("a sender");
        }
        let daemon_of_sender = Arc::clone(&daemon);
        sending.spawn(async move {
            let (status, answer) = daemon_of_sender.deliver(&failed_item_of(id, TEXT_BYTES)).await.expect("an answer");
            assert_eq!(status, 202, "{answer}");
        });
        if id % sample_every == 0 {
            samples.push(sample(&daemon, begin));
        }
        match id % episode {
            n if n == episode / 4 => target.go_away().await,
            n if n == episode / 2 => target.come_back(),
            n if n == 3 * episode / 4 => {
                folder.rule("soak", &rules(target.address, id));
                let (status, answer) = daemon.post("/api/v1/reload").await;
                assert_eq!(status, 200, "{answer}");
            }
            _ => {}
        }
    }
    while let Some(sent) = sending.join_next().await {
        sent.expect("a sender");
    }
    until_within(SETTLED_WITHIN, "every run is settled", async || {
        for state in ["pending", "running", "retrying", "waiting"] {
            let page = daemon.get(&format!("/api/v1/runs?state={state}&limit=1")).await;
            if page["items"].as_array().is_none_or(|runs| !runs.is_empty()) {
                return None;
            }
        }
        Some(())
    })
    .await;
    samples.push(sample(&daemon, begin));
    let kept = daemon.list("/api/v1/events?type=queueItem.transactionFailed").await.len() as u64;
    let told = target.told.lock().expect("a map").clone();
    let acted = told.len() as u64;
    let repeated = told.values().filter(|count| **count > 1).count() as u64;
    let text = report(&samples, total, total.saturating_sub(kept), acted, repeated);
    // Past the test runner, which keeps what a passing test prints.
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).expect("standard error");
    assert_eq!(kept, total, "every event that was acknowledged is there once");
    assert_eq!(acted, total / ACTED_ON, "every action was carried out");
    let (first, last) = (&samples[0], &samples[samples.len() - 1]);
    assert!(
        last.descriptors <= first.descriptors + SENDERS as u64 + 16,
        "descriptors pile up: {} to {}",
        first.descriptors,
        last.descriptors
    );
}
