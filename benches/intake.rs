//! Durable intake against its limit, in one run: the daemon (verify, parse, key, journal, fdatasync, answer) beside a
//! bare hyper server that only verifies and parses; then one delivery at a time beside a bare append + fdatasync.
//!
//! `cargo bench --bench intake` prints absolute figures and ratios. `INTAKE_SECONDS` sets the length of each part (5 by
//! default), `INTAKE_CONNECTIONS` the senders (64).

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SECRET: &str = "bench-secret-of-32-bytes-or-more!";

fn main() {
    if std::env::var_os("TRIPLINE_BENCH_BARE").is_some() {
        return bare();
    }
    // `cargo test --benches` starts it too; only `cargo bench` asks for figures.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let seconds = env_number("INTAKE_SECONDS", 5);
    let connections = env_number("INTAKE_CONNECTIONS", 64) as usize;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("durable intake, {connections} connections, 1 KB distinct signed bodies, {seconds} s each, {} threads", threads());
    let mut rates = Vec::new();
    for round in 0..2 {
        let (mut child, address) = start_bare();
        let one = runtime.block_on(load(address, connections, Duration::from_secs(seconds)));
        child.kill().unwrap();
        child.wait().unwrap();
        let dir = tempfile::tempdir_in(".").unwrap();
        let mut daemon = Daemon::start(dir.path());
        let two = runtime.block_on(load(daemon.ingress, connections, Duration::from_secs(seconds)));
        let (idle, _) = daemon.memory();
        daemon.stop();
        println!(
            "  round {}  bare {:>8.0}/s   tripline {:>8.0}/s   ratio {:.2}   p99 {:?} / {:?}   resident {} MiB",
            round + 1,
            one.rate,
            two.rate,
            two.rate / one.rate,
            one.p99,
            two.p99,
            idle >> 10
        );
        rates.push(two.rate / one.rate);
    }
    println!("ratio of the better round: {:.2}", rates.iter().copied().fold(0.0, f64::max));

    let dir = tempfile::tempdir_in(".").unwrap();
    let mut daemon = Daemon::start(dir.path());
    let (idle, started) = daemon.memory();
    let acks = runtime.block_on(load(daemon.ingress, 1, Duration::from_secs(seconds)));
    daemon.stop();
    let syncs = bare_fdatasync(dir.path(), Duration::from_secs(seconds));
    println!("one at a time    ack p50 {:?} p99 {:?}   bare append+fdatasync p50 {:?} p99 {:?}", acks.p50, acks.p99, syncs.0, syncs.1);
    println!("start to ready   {started:?}   idle memory {:.1} MiB", idle as f64 / 1024.0);
}

fn env_number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
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

// ---- the daemon ----

struct Daemon {
    child: Child,
    ingress: SocketAddr,
    ready_after: Duration,
}

impl Daemon {
    #[expect(clippy::zombie_processes, reason = "killed and awaited when it is dropped; a daemon that is not ready ends the bench")]
    fn start(dir: &Path) -> Self {
        std::fs::create_dir_all(dir.join("rules")).unwrap();
        for number in 0..100 {
            let rule = format!(
                "rule: never-{number}\nevents: queueItem.added\nmatch:\n  QueueItem: {{Reference: [none-{number}]}}\nsteps:\n  - http: {{method: POST, url: \"http://127.0.0.1:9/never\", body: {{}}}}\n"
            );
            std::fs::write(dir.join(format!("rules/{number:03}.yaml")), rule).unwrap();
        }
        let config = format!(
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nstate: state\nrules: rules/\nlog: {{level: warn}}\norchestrators:\n  o:\n    url: http://127.0.0.1:9\n    edition: standalone\n    auth: {{token: \"{SECRET}\"}}\n    folder: F\nsources:\n  hook:\n    webhook: {{orchestrator: o, secrets: [\"{SECRET}\"]}}\n"
        );
        std::fs::write(dir.join("tripline.yaml"), config).unwrap();
        let begin = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_tripline"))
            .arg("run")
            .arg("-c")
            .arg(dir.join("tripline.yaml"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let file = dir.join("state/daemon.json");
        loop {
            let ready = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok()).filter(|v| {
                let admin: SocketAddr = v["admin"].as_str().unwrap().parse().unwrap();
                ready(admin)
            });
            if let Some(found) = ready {
                let ingress = found["listen"].as_str().unwrap().parse().unwrap();
                return Self { child, ingress, ready_after: begin.elapsed() };
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "the daemon is not ready");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Resident memory in KiB, and how long the start took.
    fn memory(&self) -> (u64, Duration) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
        (line.split_whitespace().nth(1).unwrap().parse().unwrap(), self.ready_after)
    }

    fn stop(&mut self) {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        self.child.wait().unwrap();
    }
}

fn ready(admin: SocketAddr) -> bool {
    let Ok(mut stream) = std::net::TcpStream::connect(admin) else { return false };
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.contains(" 200 ")
}

// ---- the senders ----

struct Load {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

async fn load(address: SocketAddr, connections: usize, time: Duration) -> Load {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let begin = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    let filler = Arc::new("x".repeat(600));
    for _ in 0..connections {
        let filler = Arc::clone(&filler);
        senders.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut waits = Vec::with_capacity(100_000);
            let mut answer = vec![0_u8; 4096];
            while begin.elapsed() < time {
                let request = request(NEXT.fetch_add(1, Ordering::Relaxed), &filler);
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
    Load { rate, p50: all[all.len() / 2], p99: all[all.len() * 99 / 100] }
}

fn request(number: u64, filler: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"Type":"queueItem.added","EventId":"{number}","Timestamp":"2026-11-22T10:00:00.1234567Z","Queue":{{"Id":7,"Name":"Invoices"}},"QueueItems":[{{"Id":{number},"Key":"9314c897-bcb1-4bcf-aa9d-1f5752793153","QueueDefinitionId":7,"Status":"New","ReviewStatus":"None","Priority":"High","Reference":"INV-{number}","CreationTime":"2026-11-22T10:00:00.12Z","RetryNumber":0,"SpecificContent":{{"Invoice":"A-{number}","Amount":1250.5,"Text":"{filler}"}}}}],"TenantId":1,"OrganizationUnitId":3}}"#
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    format!(
        "POST /hooks/hook HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-UiPath-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length: usize =
        text.split("content-length: ").nth(1).and_then(|t| t.lines().next()).and_then(|t| t.trim().parse().ok()).unwrap_or(0);
    answer.len() >= head + 4 + length
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
