//! What the benches share: the daemon as a child process, a filled journal, what the system says of a process.

#![allow(dead_code, reason = "each bench uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tripline::clock::Clock;
use tripline::event::Verified;
use tripline::event::Via;
use tripline::journal::{Delivery, Journal, Options};
use tripline::normalize::{SourceView, orchestrator};

/// The secret of the only source.
pub(crate) const SECRET: &str = "bench-secret-of-32-bytes-or-more!";

/// Set for a child that fills a journal: the state folder.
const FILL: &str = "TRIPLINE_BENCH_FILL";

/// Bytes of a segment, as the daemon has it.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Longest wait for a daemon.
const READY_MAX: Duration = Duration::from_secs(120);

/// A number from the environment.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// A figure with its limit on one line.
pub(crate) fn figure(name: &str, value: String, limit: &str, holds: bool) {
    println!("  {name:<52} {value:>14}   limit {limit:<10} {}", if holds { "holds" } else { "MISSED" });
}

/// A delivery of about 1 KB about a queue item that no other has.
pub(crate) fn body(number: u64) -> String {
    let filler = "x".repeat(600);
    format!(
        r#"{{"Type":"queueItem.added","EventId":"{number}","Timestamp":"2026-11-22T10:00:00.1234567Z","Queue":{{"Id":7,"Name":"Invoices"}},"QueueItems":[{{"Id":{number},"Key":"9314c897-bcb1-4bcf-aa9d-1f5752793153","QueueDefinitionId":7,"Status":"New","ReviewStatus":"None","Priority":"High","Reference":"INV-{number}","CreationTime":"2026-11-22T10:00:00.12Z","RetryNumber":0,"SpecificContent":{{"Invoice":"A-{number}","Amount":1250.5,"Text":"{filler}"}}}}],"TenantId":1,"OrganizationUnitId":3}}"#
    )
}

/// The body as a signed request.
pub(crate) fn request(number: u64) -> Vec<u8> {
    let body = body(number);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    format!(
        "POST /hooks/hook HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-UiPath-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Whether an answer is all there.
pub(crate) fn whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length: usize =
        text.split("content-length: ").nth(1).and_then(|t| t.lines().next()).and_then(|t| t.trim().parse().ok()).unwrap_or(0);
    answer.len() >= head + 4 + length
}

// ---- a filled journal ----

/// What a child that fills a journal does; `false` when this process is none.
pub(crate) fn filled_as_child() -> bool {
    let Ok(asked) = std::env::var(FILL) else { return false };
    let (events, dir) = asked.split_once(':').unwrap();
    let events: u64 = events.parse().unwrap();
    let options = Options { segment_bytes: SEGMENT_BYTES, clock: Clock::system(), boot_id: boot_id() };
    let (journal, _) = Journal::open(Path::new(dir), options).unwrap();
    let view = SourceView { name: "hook".into(), tenant_url: Some("http://127.0.0.1:9".into()) };
    let next = Arc::new(AtomicU64::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..512 {
            let (journal, view, next) = (journal.clone(), view.clone(), Arc::clone(&next));
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= events {
                        return;
                    }
                    let body = Bytes::from(body(number));
                    let received = Clock::system().now();
                    let read = orchestrator(&body, &view, received);
                    let delivery = Delivery {
                        source: "hook".into(),
                        via: Via::Webhook,
                        orchestrator: Some("o".into()),
                        verified: Verified::Secret("secret 1".into()),
                        received,
                        body,
                        delivery_id: read.delivery_id,
                        changes: read.changes,
                    };
                    assert_eq!(journal.accept(delivery).await.unwrap().events.len(), 1);
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        let last = *journal.newest().borrow();
        journal.plan(tripline::journal::Plan { through: last, runs: Vec::new() }).await.unwrap();
    });
    println!("filled");
    std::io::stdout().flush().unwrap();
    // The parent ends it, by SIGKILL: what is measured is an open after that.
    loop {
        std::thread::park();
    }
}

/// Fills a journal in a child and kills that with SIGKILL; how long the filling took.
pub(crate) fn fill(state: &Path, events: u64) -> Duration {
    killed_when_filled(FILL, state, events)
}

/// Starts this program again, asked by `variable` to fill `state` with so many, and kills it with SIGKILL once it says that it
/// has; how long that took.
pub(crate) fn killed_when_filled(variable: &str, state: &Path, count: u64) -> Duration {
    let begin = Instant::now();
    let asked = format!("{count}:{}", state.display());
    let mut child = Command::new(std::env::current_exe().unwrap()).env(variable, asked).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "filled");
    child.kill().unwrap();
    child.wait().unwrap();
    begin.elapsed()
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

// ---- the daemon ----

/// `tripline run` in a folder of its own, with 100 rules that match nothing.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) ingress: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// From its start until `/readyz` said 200.
    pub(crate) ready_after: Duration,
}

impl Daemon {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_and(dir, |_| {})
    }

    /// As [`Daemon::start`]; `bound` is called as soon as the ingress takes requests, ready or not.
    #[expect(clippy::zombie_processes, reason = "killed and awaited when it is dropped; a daemon that is not ready ends the bench")]
    pub(crate) fn start_and(dir: &Path, bound: impl FnOnce(SocketAddr)) -> Self {
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
        let file = dir.join("state/daemon.json");
        // That of a daemon that was killed says nothing about the next one.
        std::fs::remove_file(&file).ok();
        let begin = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_tripline"))
            .arg("run")
            .arg("-c")
            .arg(dir.join("tripline.yaml"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut bound = Some(bound);
        loop {
            let found = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
            if let Some(found) = found {
                let address = |name: &str| found[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
                let (ingress, admin) = (address("listen"), address("admin"));
                if let Some(bound) = bound.take() {
                    bound(ingress);
                }
                if get(admin, "/readyz").starts_with("HTTP/1.1 200") {
                    return Self { child, ingress, admin, ready_after: begin.elapsed() };
                }
            }
            assert!(begin.elapsed() < READY_MAX, "the daemon is not ready");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Resident memory in MiB, as `/proc/<pid>/smaps_rollup` has it.
    pub(crate) fn resident(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Seconds of processor time so far, user and system.
    pub(crate) fn processor(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        // Fields 14 and 15 of proc(5), in ticks of 1/100 s; `fields` begins with the third.
        (ticks(11) + ticks(12)) / 100.0
    }

    /// A number of the exposition.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = get(self.admin, "/metrics");
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        line.and_then(|line| line.rsplit_once(' ')).map_or(0.0, |(_, value)| value.parse().unwrap())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it as a supervisor does.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        self.child.wait().unwrap();
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Where a bench failed; ended daemons are gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What `GET path` answers; empty when nobody does.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        stream.read_to_end(&mut answer).ok();
    }
    String::from_utf8_lossy(&answer).into_owned()
}
