//! Durable intake against its limit, in one run: the daemon (verify, parse, key, journal, fdatasync, answer) beside a
//! bare hyper server that only verifies and parses; then with a reload of 10,000 rules in the middle; then one delivery
//! at a time beside a bare append + fdatasync.
//!
//! 100 rules are loaded, of which none matches, and the store holds a million events when the load begins. Figures are
//! printed with their limits; ratios are of one run, so that they mean something on any machine. The daemon and the bare
//! server take the load in turns: a virtual machine is quick in one minute and slow in the next, and that would be the ratio.
//!
//! `cargo bench --bench intake`. `INTAKE_SECONDS` sets the length of each part (60), `INTAKE_TURN` that of a turn (10),
//! `INTAKE_ROUNDS` how often the pair is measured (2), `INTAKE_CONNECTIONS` the senders (64), `INTAKE_RETAINED` the events
//! that are there before (1,000,000).

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::{Daemon, SECRET, figure, fill, filled_as_child, get, number, request, whole};

/// How often the exposition is read while the daemon is under load.
const SCRAPE: Duration = Duration::from_millis(500);

/// Length of the loads without and with a reload, at most.
const RELOAD_TIME: Duration = Duration::from_secs(15);

fn main() {
    if std::env::var_os("TRIPLINE_BENCH_BARE").is_some() {
        return bare();
    }
    // `cargo test --benches` starts it too; only `cargo bench` asks for figures.
    if filled_as_child() || !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let seconds = Duration::from_secs(number("INTAKE_SECONDS", 60));
    let connections = number("INTAKE_CONNECTIONS", 64) as usize;
    let retained = number("INTAKE_RETAINED", 1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "durable intake, {connections} connections, 1 KB distinct signed bodies, {retained} events retained, {seconds:?} each, {threads} threads"
    );
    let place = tempfile::tempdir_in(".").unwrap();
    if retained > 0 {
        fill(&place.path().join("state"), retained);
    }
    // Behind the numbers of the events that are there already.
    let next = AtomicU64::new(retained);
    let turn = Duration::from_secs(number("INTAKE_TURN", 10)).min(seconds);
    for round in 0..number("INTAKE_ROUNDS", 2) {
        println!("round {}, in turns of {turn:?}", round + 1);
        pair(&runtime, place.path(), connections, seconds, turn, &next);
    }

    reload(&runtime, connections, seconds.min(RELOAD_TIME), &next);

    let place = tempfile::tempdir_in(".").unwrap();
    let daemon = Daemon::start(place.path());
    let acks = runtime.block_on(load(daemon.ingress, 1, seconds.min(Duration::from_secs(15)), &next));
    daemon.stop();
    let syncs = bare_fdatasync(place.path(), seconds.min(Duration::from_secs(15)));
    println!("one at a time: ack p50 {:?} p99 {:?}, bare append + fdatasync p50 {:?} p99 {:?}", acks.p50, acks.p99, syncs.0, syncs.1);
    let over = acks.p99.saturating_sub(syncs.1);
    figure("ack one at a time, p99 over the bare sync's", format!("{over:?}"), "3 ms", over <= Duration::from_millis(3));
}

/// The same load without and with a reload of 10,000 rules in the middle of it: how much longer answers wait.
fn reload(runtime: &tokio::runtime::Runtime, connections: usize, time: Duration, next: &AtomicU64) {
    const FILES: usize = 100;
    const RULES_PER_FILE: usize = 100;
    let place = tempfile::tempdir_in(".").unwrap();
    let daemon = Daemon::start(place.path());
    let generation = daemon.metric("tripline_rules_generation");
    let still = runtime.block_on(load(daemon.ingress, connections, time, next));
    let after = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            std::thread::sleep(time / 3);
            for file in 0..FILES {
                let rules: Vec<String> = (0..RULES_PER_FILE)
                    .map(|rule| format!("rule: more-{file}-{rule}\nevents: queueItem.added\nmatch: {{QueueItem: {{Reference: [none-{file}-{rule}], Status: [Failed]}}}}\nsteps: [{{emit: {{type: bench.seen}}}}]\n"))
                    .collect();
                std::fs::write(place.path().join(format!("rules/more-{file:03}.yaml")), rules.join("---\n")).unwrap();
            }
        });
        let after = runtime.block_on(load(daemon.ingress, connections, time, next));
        writing.join().unwrap();
        after
    });
    assert!(daemon.metric("tripline_rules_generation") > generation, "the reload was within the load");
    daemon.stop();
    println!("a reload of 10,000 rules in {time:?} of load: p99 {:?}, without it {:?}", after.p99, still.p99);
    let over = after.p99.as_secs_f64() / still.p99.as_secs_f64();
    figure("p99 with the reload over p99 without", format!("{over:.2}"), "2", over <= 2.0);
}

/// The bare server and the daemon under the same load for `time` each, in turns of which each begins with the other one: what
/// the machine does to one it does to the other.
fn pair(runtime: &tokio::runtime::Runtime, place: &Path, connections: usize, time: Duration, turn: Duration, next: &AtomicU64) {
    let (mut child, bare_address) = start_bare();
    let daemon = Daemon::start(place);
    let (syncs, processor) = (daemon.metric("tripline_journal_commit_seconds_count"), daemon.processor());
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    let (mut backlog, mut longest) = (0_f64, Duration::ZERO);
    let turns = time.as_secs().div_ceil(turn.as_secs().max(1));
    for number in 0..turns {
        for of_bare in [number % 2 == 0, number % 2 == 1] {
            if of_bare {
                bare.push(runtime.block_on(load(bare_address, connections, turn, next)));
            } else {
                let ((load, behind), scrape) = scraped(&daemon, || {
                    let load = runtime.block_on(load(daemon.ingress, connections, turn, next));
                    // As the last refresh under load left it.
                    let behind = daemon.metric("tripline_router_backlog_events") / load.rate;
                    (load, behind)
                });
                backlog = backlog.max(behind);
                longest = longest.max(scrape);
                ours.push(load);
            }
        }
    }
    let count: usize = ours.iter().map(|load| load.count).sum();
    let syncs = (daemon.metric("tripline_journal_commit_seconds_count") - syncs) / count as f64;
    let each = (daemon.processor() - processor) * 1e6 / count as f64;
    let resident = daemon.resident();
    daemon.stop();
    child.kill().unwrap();
    child.wait().unwrap();

    let turns: Vec<String> = ours.iter().zip(&bare).map(|(ours, bare)| format!("{:.2}", ours.rate / bare.rate)).collect();
    let (bare, ours) = (Load::of(bare), Load::of(ours));
    println!("  bare     {:>8.0}/s   p50 {:?}   p99 {:?}", bare.rate, bare.p50, bare.p99);
    println!("  tripline {:>8.0}/s   p50 {:?}   p99 {:?}   turn by turn {}", ours.rate, ours.p50, ours.p99, turns.join(" "));
    println!("  processor {each:.1} µs a delivery; resident {resident:.0} MiB; longest scrape {longest:.1?}");
    let ratio = ours.rate / bare.rate;
    figure("intake beside the bare server", format!("{ratio:.3}"), ">= 0.50", ratio >= 0.5);
    figure("fdatasyncs per event", format!("{syncs:.4}"), "0.1", syncs <= 0.1);
    figure("router's backlog at the end of a turn, at most", format!("{backlog:.3} s"), "1 s", backlog < 1.0);
}

/// What `during` returns, and how long the exposition took at most, which is read meanwhile.
fn scraped<T>(daemon: &Daemon, during: impl FnOnce() -> T) -> (T, Duration) {
    let (admin, stop) = (daemon.admin, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let scraping = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let begin = Instant::now();
                get(admin, "/metrics");
                longest = longest.max(begin.elapsed());
                std::thread::sleep(SCRAPE);
            }
            longest
        });
        let result = during();
        stop.store(true, Ordering::Relaxed);
        (result, scraping.join().unwrap())
    })
}

// ---- the limit: verify and parse, nothing else ----

fn bare() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = hyper::service::service_fn(answer);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), service));
        }
    });
}

async fn answer(
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<http_body_util::Full<bytes::Bytes>>, hyper::Error> {
    let given = request.headers()["x-uipath-signature"].as_bytes().to_vec();
    let body = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&body);
    let given = base64::engine::general_purpose::STANDARD.decode(given).unwrap();
    let genuine = mac.verify_slice(&given).is_ok();
    let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let status = if genuine && parsed.is_object() { 202 } else { 401 };
    let answer = bytes::Bytes::from_static(br#"{"events":["01JD8Z3V6Q4K3W5T9M2N7P8R1S"],"folded":0}"#);
    Ok(hyper::Response::builder().status(status).body(http_body_util::Full::new(answer)).unwrap())
}

fn start_bare() -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap()).env("TRIPLINE_BENCH_BARE", "1").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

// ---- the senders ----

struct Load {
    count: usize,
    /// Deliveries a second.
    rate: f64,
    p50: Duration,
    p99: Duration,
    /// How long each answer was awaited, the shortest first.
    waits: Vec<Duration>,
    took: Duration,
}

impl Load {
    fn new(mut waits: Vec<Duration>, took: Duration) -> Self {
        waits.sort();
        let (count, at) = (waits.len(), |percent: usize| waits[waits.len() * percent / 100]);
        Self { count, rate: count as f64 / took.as_secs_f64(), p50: at(50), p99: at(99), waits, took }
    }

    /// All of them as one.
    fn of(turns: Vec<Self>) -> Self {
        let took = turns.iter().map(|turn| turn.took).sum();
        Self::new(turns.into_iter().flat_map(|turn| turn.waits).collect(), took)
    }
}

async fn load(address: SocketAddr, connections: usize, time: Duration, next: &AtomicU64) -> Load {
    /// Each connection has numbers of its own, far from those of the others.
    const NUMBERS: u64 = 1 << 24;
    let begin = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let mut own = next.fetch_add(NUMBERS, Ordering::Relaxed);
        senders.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut waits = Vec::with_capacity(100_000);
            let mut answer = vec![0_u8; 4096];
            while begin.elapsed() < time {
                own += 1;
                let request = request(own);
                let sent = Instant::now();
                stream.write_all(&request).await.unwrap();
                let mut have = 0;
                loop {
                    have += stream.read(&mut answer[have..]).await.unwrap();
                    assert!(have > 0, "closed");
                    if whole(&answer[..have]) {
                        break;
                    }
                }
                assert!(answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer[..have]));
                waits.push(sent.elapsed());
            }
            waits
        });
    }
    let mut all = Vec::new();
    while let Some(waits) = senders.join_next().await {
        all.extend(waits.unwrap());
    }
    Load::new(all, begin.elapsed())
}

fn bare_fdatasync(dir: &Path, time: Duration) -> (Duration, Duration) {
    let mut file = std::fs::File::create(dir.join("bare")).unwrap();
    // Blocks exist already, as in the journal: what is measured is the sync, not the growing.
    file.write_all(&vec![0; 256 << 20]).unwrap();
    file.sync_all().unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let (begin, record, mut waits) = (Instant::now(), vec![7_u8; 1200], Vec::new());
    while begin.elapsed() < time && waits.len() < 200_000 {
        let one = Instant::now();
        file.write_all(&record).unwrap();
        file.sync_data().unwrap();
        waits.push(one.elapsed());
    }
    waits.sort();
    (waits[waits.len() / 2], waits[waits.len() * 99 / 100])
}
