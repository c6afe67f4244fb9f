//! From a webhook to the action it causes, durable runs in between: what is sustained, how long one takes, and what a
//! million waiting runs cost.
//!
//! `cargo bench --bench runs` prints each figure beside its limit. `RUNS_SECONDS` is the length of each part (10),
//! `RUNS_CONNECTIONS` the senders (64), `RUNS_WAITING` how many runs wait (1,000,000), `RUNS_ROUNDS` how often the rounds beside a
//! target that is well and one that is dead take turns (5), `RUNS_RATE` how many are delivered in a second at an even rate (1,000: the
//! limits are for that); with `RUNS_ONLY=dead` there are those rounds alone.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::{Daemon, figure, number, request, whole};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tripline::clock::Clock;
use tripline::event::{EventId, RunId};
use tripline::journal::{Journal, Options, Plan};
use tripline::rules::Mode;
use tripline::runs::{Cause, Fact, NewRun, RunState};

/// Set for a child that makes waiting runs: how many, and the state folder.
const WAITING: &str = "TRIPLINE_BENCH_WAITING";

fn main() {
    if waiting_as_child() {
        return;
    }
    // `cargo test --benches` starts it too; only `cargo bench` asks for figures.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    drop(rustls::crypto::ring::default_provider().install_default());
    let seconds = number("RUNS_SECONDS", 10);
    let connections = number("RUNS_CONNECTIONS", 64) as usize;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("webhook in, HTTP action out; {connections} connections, {seconds} s each");
    let sink = Arc::new(runtime.block_on(Sink::start()));
    if std::env::var("RUNS_ONLY").is_ok_and(|only| only == "dead") {
        return beside_a_dead_target(&runtime, &sink, Duration::from_secs(seconds));
    }
    let bare = runtime.block_on(bare(&sink, connections, Duration::from_secs(seconds)));
    println!("  bare reqwest posting to the sink: {bare:.0}/s");

    let dir = tempfile::tempdir_in(".").unwrap();
    rule(dir.path(), &sink);
    let daemon = Daemon::start(dir.path());
    let before = sink.count();
    let (rate, sent) = runtime.block_on(sustained(&daemon, &sink, connections, Duration::from_secs(seconds)));
    figure("actions sustained per second", format!("{rate:.0}/s"), ">= 5000/s", rate >= 5_000.0);
    println!("  ratio to bare reqwest: {:.2}   deliveries accepted meanwhile: {sent}", rate / bare);
    runtime.block_on(sink.drained(before + sent));
    let p99 = runtime.block_on(paced(&daemon, &sink, pace(), Duration::from_secs(seconds)));
    figure(
        &format!("p99 from delivery to action at {}/s", pace()),
        format!("{:.1} ms", p99.as_secs_f64() * 1e3),
        "< 25 ms",
        p99.as_millis() < 25,
    );
    daemon.stop();
    drop(dir);
    beside_a_dead_target(&runtime, &sink, Duration::from_secs(seconds));

    let count = number("RUNS_WAITING", 1_000_000);
    let dir = tempfile::tempdir_in(".").unwrap();
    let filled = wait(&dir.path().join("state"), count);
    rule(dir.path(), &sink);
    let daemon = Daemon::start(dir.path());
    let ready = daemon.ready_after;
    println!("{count} waiting runs, made in {filled:.1?} and killed");
    figure("ready after kill -9", format!("{:.2} s", ready.as_secs_f64()), "< 3 s", ready.as_secs_f64() < 3.0);
    std::thread::sleep(Duration::from_secs(2));
    let resident = daemon.resident();
    figure("resident memory", format!("{resident:.0} MiB"), "< 128 MiB", resident < 128.0);
    daemon.kill();
}

fn rule(dir: &Path, sink: &Sink) {
    std::fs::create_dir_all(dir.join("rules")).unwrap();
    let rule = format!(
        "rule: act\nevents: queueItem.added\nmatch: {{Queue: {{Name: [Invoices]}}}}\nsteps:\n  - http: {{method: POST, url: \"http://{}/act\", body: {{id: \"${{item.Id}}\"}}}}\n",
        sink.address
    );
    std::fs::write(dir.join("rules/act.yaml"), rule).unwrap();
}

/// A second rule for every delivery, whose requests go to `address`.
fn other_rule(dir: &Path, address: SocketAddr) {
    let rule = format!(
        "rule: other\nevents: queueItem.added\nmatch: {{Queue: {{Name: [Invoices]}}}}\nsteps:\n  - http: {{method: POST, url: \"http://{address}/other\", body: {{other: 1}}}}\n"
    );
    std::fs::write(dir.join("rules/other.yaml"), rule).unwrap();
}

/// What a dead target costs the others: two daemons with the same two rules, the second rule's target well at one of them and dead at
/// the other. They take turns, the one whose turn it is not stands still, and the medians of their rounds are compared: what else the
/// machine does meets both.
fn beside_a_dead_target(runtime: &tokio::runtime::Runtime, sink: &Sink, time: Duration) {
    let rounds = number("RUNS_ROUNDS", 5).max(1) as usize;
    let other = runtime.block_on(Sink::start());
    // Nobody listens there: the port was given back.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sides = [("well", other.address), ("dead", nobody)].map(|(what, address)| {
        let dir = tempfile::tempdir_in(".").unwrap();
        rule(dir.path(), sink);
        other_rule(dir.path(), address);
        let daemon = Daemon::start(dir.path());
        daemon.signal("STOP");
        (what, dir, daemon)
    });
    let mut p99s = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ((_, _, daemon), p99s) in sides.iter().zip(&mut p99s) {
            daemon.signal("CONT");
            // What was put off while it stood still is done first.
            runtime.block_on(paced(daemon, sink, pace(), Duration::from_secs(1)));
            p99s.push(runtime.block_on(paced(daemon, sink, pace(), time)));
            daemon.signal("STOP");
        }
    }
    let [well, dead] = p99s.map(|mut p99s| {
        p99s.sort();
        (p99s[p99s.len() / 2].as_secs_f64() * 1e3, p99s)
    });
    for (what, (median, all)) in [("well", &well), ("dead", &dead)] {
        let all: Vec<_> = all.iter().map(|p99| format!("{:.1}", p99.as_secs_f64() * 1e3)).collect();
        println!("  p99 at {}/s beside a target that is {what}: {median:.1} ms (median of {rounds} rounds: {})", pace(), all.join(" "));
    }
    let ratio = dead.0 / well.0;
    figure("p99 beside a dead target, against one that is well", format!("{ratio:.2}"), "<= 1.10", ratio <= 1.10);
    for (_, _, daemon) in sides {
        daemon.signal("CONT");
        daemon.kill();
    }
}

// ---- the sink ----

/// Answers every POST with 204 and knows when each number came first.
struct Sink {
    address: SocketAddr,
    count: Arc<AtomicU64>,
    came: Arc<Mutex<Vec<Option<Instant>>>>,
    _task: JoinSet<()>,
}

impl Sink {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, came) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let mut task = JoinSet::new();
        let (counted, known) = (Arc::clone(&count), Arc::clone(&came));
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&counted), Arc::clone(&known)));
            }
        });
        Self { address, count, came, _task: task }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until `count` actions came, or none came for a while.
    async fn drained(&self, count: u64) {
        let (mut last, mut quiet) = (0, 0);
        while self.count() < count && quiet < 50 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            quiet = if self.count() == last { quiet + 1 } else { 0 };
            last = self.count();
        }
    }
}

async fn serve(mut stream: TcpStream, count: Arc<AtomicU64>, came: Arc<Mutex<Vec<Option<Instant>>>>) {
    stream.set_nodelay(true).unwrap();
    let (mut buffer, mut have) = (vec![0_u8; 16 << 10], 0);
    loop {
        match stream.read(&mut buffer[have..]).await {
            Ok(0) | Err(_) => return,
            Ok(read) => have += read,
        }
        if !whole(&buffer[..have]) {
            continue;
        }
        count.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(&buffer[..have]);
        let id = text.rsplit_once("\"id\":").and_then(|(_, rest)| rest.trim_end_matches('}').trim().parse::<usize>().ok());
        if let Some(id) = id {
            let mut came = came.lock().unwrap();
            if let Some(slot) = came.get_mut(id) {
                slot.get_or_insert_with(Instant::now);
            }
        }
        have = 0;
        if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
            return;
        }
    }
}

async fn bare(sink: &Sink, connections: usize, time: Duration) -> f64 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (begin, before) = (Instant::now(), sink.count());
    let url = format!("http://{}/act", sink.address);
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        let (client, url) = (client.clone(), url.clone());
        senders.spawn(async move {
            while begin.elapsed() < time {
                client.post(&url).header("content-type", "application/json").body("{\"id\":0}").send().await.unwrap();
            }
        });
    }
    while senders.join_next().await.is_some() {}
    (sink.count() - before) as f64 / begin.elapsed().as_secs_f64()
}

// ---- through the daemon ----

static NEXT: AtomicU64 = AtomicU64::new(1);

async fn post(stream: &mut TcpStream, number: u64, answer: &mut [u8]) {
    stream.write_all(&request(number)).await.unwrap();
    let mut have = 0;
    loop {
        have += stream.read(&mut answer[have..]).await.unwrap();
        assert!(have > 0, "closed");
        if whole(&answer[..have]) {
            break;
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer[..have]));
}

/// Actions per second while as much is delivered as the daemon takes up: a delivery waits while more than a second of
/// work is behind.
async fn sustained(daemon: &Daemon, sink: &Arc<Sink>, connections: usize, time: Duration) -> (f64, u64) {
    let (begin, before) = (Instant::now(), sink.count());
    let sent = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        let (address, sent, sink) = (daemon.ingress, Arc::clone(&sent), Arc::clone(sink));
        senders.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut answer = vec![0_u8; 4096];
            while begin.elapsed() < time {
                if sent.load(Ordering::Relaxed).saturating_sub(sink.count() - before) > BEHIND_MAX {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                post(&mut stream, NEXT.fetch_add(1, Ordering::Relaxed), &mut answer).await;
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while senders.join_next().await.is_some() {}
    let rate = (sink.count() - before) as f64 / begin.elapsed().as_secs_f64();
    (rate, sent.load(Ordering::Relaxed))
}

/// Deliveries in a second at an even rate.
fn pace() -> u64 {
    number("RUNS_RATE", 1_000)
}

/// Deliveries whose action is still to come.
const BEHIND_MAX: u64 = 2_000;

/// The 99th percentile from the first byte of a delivery to its action, at an even rate.
async fn paced(daemon: &Daemon, sink: &Sink, rate: u64, time: Duration) -> Duration {
    let total = rate * time.as_secs();
    // Numbers of its own: what was delivered before would be copies, and their actions are long done.
    let first = NEXT.fetch_add(total, Ordering::Relaxed);
    sink.came.lock().unwrap().resize((first + total) as usize + 1, None);
    let begin = Instant::now();
    let mut senders = JoinSet::new();
    let lanes = 16;
    for lane in 0..lanes {
        let address = daemon.ingress;
        senders.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut answer = vec![0_u8; 4096];
            let mut sent = Vec::new();
            for n in (lane..total).step_by(lanes as usize) {
                tokio::time::sleep_until((begin + Duration::from_micros(n * 1_000_000 / rate)).into()).await;
                sent.push((first + n, Instant::now()));
                post(&mut stream, first + n, &mut answer).await;
            }
            sent
        });
    }
    let mut all = Vec::new();
    while let Some(sent) = senders.join_next().await {
        all.extend(sent.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let came = sink.came.lock().unwrap();
    let mut waits: Vec<Duration> = all
        .iter()
        .map(|(id, sent)| {
            came[*id as usize]
                .map_or(Duration::from_secs(60), |came| came.checked_duration_since(*sent).expect("no action before its delivery"))
        })
        .collect();
    waits.sort();
    waits[waits.len() * 99 / 100]
}

// ---- waiting runs ----

/// What a child that makes waiting runs does; `false` when this process is none.
fn waiting_as_child() -> bool {
    let Ok(asked) = std::env::var(WAITING) else { return false };
    let (count, dir) = asked.split_once(':').unwrap();
    let count: u64 = count.parse().unwrap();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned();
    let options = Options { segment_bytes: 64 << 20, clock: Clock::system(), boot_id };
    let (journal, _) = Journal::open(Path::new(dir), options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let now = Clock::system().now();
    runtime.block_on(async {
        for page in 0..count.div_ceil(500) {
            let ids = (page * 500..((page + 1) * 500).min(count))
                .map(|n| RunId::of(EventId(EventId::first_at(now).0.saturating_add(n.into())), "act"));
            let ids: Vec<RunId> = ids.collect();
            let runs = ids.iter().map(|id| NewRun {
                id: *id,
                rule: "act".into(),
                generation: 1,
                created: now,
                mode: Mode::Live,
                hops: 0,
                dead: None,
                replay: None,
                order: None,
            });
            journal.plan(Plan { through: EventId(0), runs: runs.collect() }).await.unwrap();
            let waits = ids.iter().enumerate().map(|(n, id)| {
                let cause = Cause { code: "server".to_owned(), message: "POST http://127.0.0.1:9/act: 503".to_owned() };
                let until = now.plus(Duration::from_secs(86_400 + n as u64));
                (*id, vec![Fact::Waits { state: RunState::Waiting, until, cause, at: now }])
            });
            journal.record_all(waits.collect()).await.unwrap();
        }
    });
    println!("filled");
    std::io::stdout().flush().unwrap();
    // The parent ends it, by SIGKILL: what is measured is an open after that.
    loop {
        std::thread::park();
    }
}

/// Makes waiting runs in a child and kills that; how long the making took.
fn wait(state: &Path, count: u64) -> Duration {
    std::fs::create_dir_all(state).unwrap();
    support::killed_when_filled(WAITING, state, count)
}
