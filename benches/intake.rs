//! Durable intake against its limit, in one run: the daemon (verify, parse, key, journal, fdatasync, answer) beside a
//! bare hyper server that only verifies and parses; then with a reload of 10,000 rules in the middle; then one delivery
//! at a time beside a bare append + fdatasync.
//!
//! 100 rules are loaded, of which none matches, and the store holds a million events when the load begins. Figures are
//! printed with their limits; ratios are of one run, so that they mean something on any machine.
//!
//! `cargo bench --bench intake`. `INTAKE_SECONDS` sets the length of each part (60), `INTAKE_ROUNDS` how often the pair is
//! measured (2), `INTAKE_CONNECTIONS` the senders (64), `INTAKE_RETAINED` the events that are there before (1,000,000).

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
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
    let mut best = 0_f64;
    for round in 0..number("INTAKE_ROUNDS", 2) {
        best = best.max(pair(round + 1, &runtime, place.path(), connections, seconds, &next));
    }
    figure("intake beside the bare server, better round", format!("{best:.2}"), ">= 0.50", best >= 0.5);

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

/// The bare server, then the daemon, under the same load; how the second compares.
fn pair(round: u64, runtime: &tokio::runtime::Runtime, place: &Path, connections: usize, time: Duration, next: &AtomicU64) -> f64 {
    let (mut child, address) = start_bare();
    let bare = runtime.block_on(load(address, connections, time, next));
    child.kill().unwrap();
    child.wait().unwrap();
    let daemon = Daemon::start(place);
    let (syncs, processor) = (daemon.metric("tripline_journal_commit_seconds_count"), daemon.processor());
    let admin = daemon.admin;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (ours, scrapes, backlog) = std::thread::scope(|scope| {
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
        let ours = runtime.block_on(load(daemon.ingress, connections, time, next));
        // As the last refresh under load left it.
        let backlog = daemon.metric("tripline_router_backlog_events");
        stop.store(true, Ordering::Relaxed);
        (ours, scraping.join().unwrap(), backlog)
    });
    let syncs = (daemon.metric("tripline_journal_commit_seconds_count") - syncs) / ours.count as f64;
    let each = (daemon.processor() - processor) * 1e6 / ours.count as f64;
    let resident = daemon.resident();
    daemon.stop();
    let ratio = ours.rate / bare.rate;
    println!("round {round}");
    println!("  bare     {:>8.0}/s   p50 {:?}   p99 {:?}", bare.rate, bare.p50, bare.p99);
    println!("  tripline {:>8.0}/s   p50 {:?}   p99 {:?}   ratio {ratio:.2}", ours.rate, ours.p50, ours.p99);
    println!("  processor {each:.1} µs a delivery; resident {resident:.0} MiB; longest scrape {scrapes:.1?}");
    figure("fdatasyncs per event", format!("{syncs:.4}"), "0.1", syncs <= 0.1);
    let behind = backlog / ours.rate;
    figure("router's backlog at the end", format!("{behind:.3} s"), "1 s", behind < 1.0);
    ratio
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
    rate: f64,
    p50: Duration,
    p99: Duration,
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
    let rate = all.len() as f64 / begin.elapsed().as_secs_f64();
    all.sort();
    Load { count: all.len(), rate, p50: all[all.len() / 2], p99: all[all.len() * 99 / 100] }
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
