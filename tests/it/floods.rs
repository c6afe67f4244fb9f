//! Many connections that send slowly, read slowly or send nonsense, and more deliveries than there is memory for: genuine ones
//! are answered all the same. At full length by `make flood`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::{Daemon, Folder, SECRET, failed_item, failed_item_of, http, rounds, sign, skip, until, until_within};

/// Slow connections: as many as this in the suite, `TRIPLINE_FLOOD_CONNECTIONS` of them otherwise.
const CONNECTIONS: u64 = 900;
/// Genuine deliveries meanwhile, unless `TRIPLINE_FLOOD_DELIVERIES` says another number.
const DELIVERIES: u64 = 300;
/// Between two bytes of a slow sender.
const DRIP: Duration = Duration::from_millis(900);
/// Requests that a slow reader sends at once.
const AT_ONCE: usize = 12;
/// Open files of a process besides its flood.
const FILES_BESIDES: u64 = 300;
/// The most memory that a daemon may have under ten thousand slow connections. Without optimisation everything is larger.
const RESIDENT_MAX: u64 = if cfg!(debug_assertions) { 320 << 20 } else { 200 << 20 };

/// What of a process's memory is resident, in bytes.
fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// How many files a process has open.
fn files(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("a folder").count()
}

/// The soft limit of open files of this process.
fn files_max() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    line.split_whitespace().nth(3).expect("a soft limit").parse().unwrap_or(u64::MAX)
}

/// Sets limits in the configuration of a folder.
fn limit(folder: &Folder, limits: &str) {
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &format!("limits: {{{limits}}}\n{config}"));
}

/// How a slow peer behaves.
#[derive(Clone, Copy, Debug)]
enum Slow {
    /// Its head never ends.
    Head,
    /// Its body comes a byte at a time; it announces the longest one there may be.
    Body,
    /// It asks many times at once and hardly reads the answers.
    Read,
}

impl Slow {
    async fn behave(self, stream: &mut TcpStream) -> std::io::Result<()> {
        match self {
            Self::Head => {
                stream.write_all(b"POST /hooks/hook HTTP/1.1\r\nHost: a\r\n").await?;
                drip(stream, b"X-More: b\r\n").await
            }
            Self::Body => {
                let head = "POST /hooks/hook HTTP/1.1\r\nHost: a\r\nX-UiPath-Signature: YQ==\r\nContent-Length: 33554432\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                drip(stream, b"x").await
            }
            Self::Read => {
                let one = "POST /hooks/hook HTTP/1.1\r\nHost: a\r\nX-UiPath-Signature: YQ==\r\nContent-Length: 2\r\n\r\n{}";
                stream.write_all(one.repeat(AT_ONCE).as_bytes()).await?;
                while stream.read(&mut [0]).await? > 0 {
                    tokio::time::sleep(DRIP).await;
                }
                Ok(())
            }
        }
    }
}

/// Sends `piece` again and again until the peer closes.
async fn drip(stream: &mut TcpStream, piece: &[u8]) -> std::io::Result<()> {
    let mut dropped = [0; 256];
    loop {
        stream.write_all(piece).await?;
        tokio::select! {
            () = tokio::time::sleep(DRIP) => {}
            read = stream.read(&mut dropped) => if read? == 0 { return Ok(()) },
        }
    }
}

/// Connects anew whenever it is cut off; `held` counts connections that stand.
async fn attack(to: SocketAddr, how: Slow, held: Arc<AtomicUsize>) {
    loop {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Little of an answer has room before it is read.
        socket.set_recv_buffer_size(2048).expect("a small buffer");
        let Ok(mut stream) = socket.connect(to).await else {
            tokio::time::sleep(DRIP).await;
            continue;
        };
        held.fetch_add(1, Ordering::SeqCst);
        drop(how.behave(&mut stream).await);
        held.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What `share` of the times are at most; in milliseconds.
fn share(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len());
    times[at - 1].as_secs_f64() * 1000.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn genuine_deliveries_are_answered_beside_thousands_of_slow_connections() {
    let wanted = rounds("TRIPLINE_FLOOD_CONNECTIONS", CONNECTIONS);
    if files_max() < wanted + FILES_BESIDES {
        return skip("slow connections", &format!("{wanted} of them need a limit of open files of {}", wanted + FILES_BESIDES));
    }
    let folder = Folder::new("http://127.0.0.1:9");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &config.replace("level: debug", "level: info"));
    let daemon = Daemon::start(&folder).await;
    let before = (resident(&daemon), files(&daemon));
    let held = Arc::new(AtomicUsize::new(0));
    let mut attackers = JoinSet::new();
    for number in 0..wanted {
        let how = [Slow::Head, Slow::Body, Slow::Read][(number % 3) as usize];
        attackers.spawn(attack(daemon.ingress, how, Arc::clone(&held)));
    }
    let wanted = usize::try_from(wanted).expect("small");
    until_within(Duration::from_secs(60), "nearly all slow connections stand", async || {
        (held.load(Ordering::SeqCst) >= wanted - wanted / 50 && files(&daemon) >= before.1 + wanted - wanted / 20).then_some(())
    })
    .await;

    let (mut times, mut most, mut fewest) = (Vec::new(), 0, usize::MAX);
    for id in 0..rounds("TRIPLINE_FLOOD_DELIVERIES", DELIVERIES) {
        let asked = Instant::now();
        let (status, answer) = daemon.deliver(&failed_item(id)).await.expect("an answer");
        times.push(asked.elapsed());
        assert_eq!(status, 202, "{answer}");
        most = most.max(resident(&daemon));
        if id % 50 == 0 {
            fewest = fewest.min(files(&daemon) - before.1);
        }
    }
    println!(
        "slow connections: {wanted} wanted, at least {fewest} held; {} deliveries: p50 {:.2} ms, p99 {:.2} ms (wanted < 5 ms), longest {:.2} ms; resident {} MiB at most, {} MiB before (wanted < 200 MiB)",
        times.len(),
        share(&mut times, 0.5),
        share(&mut times, 0.99),
        share(&mut times, 1.0),
        most >> 20,
        before.0 >> 20,
    );
    assert!(most < RESIDENT_MAX, "{} MiB are resident", most >> 20);
    drop(attackers);
    until("the flood's connections are gone", async || (files(&daemon) < before.1 + 50).then_some(())).await;
}

#[tokio::test]
async fn over_the_cap_of_connections_a_delivery_waits_for_its_turn() {
    let folder = Folder::new("http://127.0.0.1:9");
    limit(&folder, "connections: 8, header_timeout: 1s");
    let daemon = Daemon::start(&folder).await;
    let mut silent = Vec::new();
    for _ in 0..24 {
        silent.push(TcpStream::connect(daemon.ingress).await.expect("connects"));
    }
    let (status, answer) = daemon.deliver(&failed_item(1)).await.expect("an answer, late");
    assert_eq!(status, 202, "{answer}");
    assert_eq!(daemon.status("/readyz").await, 200, "the admin listener has its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_there_is_memory_for_is_answered_later_and_not_refused() {
    const SENDERS: u64 = 100;
    const EACH: u64 = 2;
    /// Of one body; so all senders together have ten times as much as there is memory for.
    const LENGTH: usize = 100_000;
    /// What a process of a test build takes besides the bodies: threads that check signatures, caches, connections.
    const BESIDES: u64 = 120 << 20;
    let folder = Folder::new("http://127.0.0.1:9");
    limit(&folder, "body: 1MiB, in_flight: 1MiB");
    let daemon = Arc::new(Daemon::start(&folder).await);
    let before = resident(&daemon);
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let daemon = Arc::clone(&daemon);
        senders.spawn(async move {
            for number in 0..EACH {
                let (status, answer) = daemon.deliver(&failed_item_of(sender * EACH + number, LENGTH)).await.expect("an answer");
                assert_eq!(status, 202, "{answer}");
            }
        });
    }
    let mut most = before;
    while !senders.is_empty() {
        tokio::select! {
            Some(ended) = senders.join_next() => ended.expect("a sender"),
            () = tokio::time::sleep(Duration::from_millis(20)) => most = most.max(resident(&daemon)),
        }
    }
    println!(
        "overload: {SENDERS} senders of {LENGTH} bytes with 1 MiB in flight: resident {} MiB at most, {} MiB before",
        most >> 20,
        before >> 20
    );
    assert!(most < before + BESIDES, "{} MiB are resident, {} before", most >> 20, before >> 20);
    assert_eq!(daemon.list("/api/v1/events").await.len() as u64, SENDERS * EACH);
}

/// With the variables that the unit and the image set for glibc.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_large_bodies_and_long_lists_took_goes_back_to_the_system() {
    const LENGTH: usize = 20_000_000;
    /// What may be left of it: less than one form of one body.
    const LEFT_MAX: u64 = 15 << 20;
    let of_project = |name: &str| std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a file");
    let (unit, image) = (of_project("deploy/systemd/tripline.service"), of_project("Dockerfile"));
    let variables: Vec<&str> =
        unit.lines().filter_map(|line| line.strip_prefix("Environment=")).filter(|v| v.starts_with("MALLOC_")).collect();
    assert!(variables.len() == 2 && variables.iter().all(|variable| image.contains(variable)), "{variables:?}");
    let folder = Folder::new("http://127.0.0.1:9");
    let daemon = Arc::new(Daemon::start_in(&folder, "env", &variables).await);
    let before = resident(&daemon);
    for id in 1..=2 {
        let (status, answer) = daemon.deliver(&failed_item_of(id, LENGTH)).await.expect("an answer");
        assert_eq!(status, 202, "{answer}");
    }
    let mut readers = JoinSet::new();
    for _ in 0..6 {
        let daemon = Arc::clone(&daemon);
        readers.spawn(async move { assert!(!daemon.get("/api/v1/events").await["items"].is_null()) });
    }
    readers.join_all().await;
    let given_back = async || (resident(&daemon) < before + LEFT_MAX).then_some(());
    until(&format!("less than {} MiB of {} are left", LEFT_MAX >> 20, before >> 20), given_back).await;
}

/// Posts `{}` with a bad signature from a local address of this machine; the status of the answer.
async fn guess(from: Ipv4Addr, to: SocketAddr, body: &str, signature: &str) -> u16 {
    let client = reqwest::Client::builder().no_proxy().local_address(IpAddr::V4(from)).build().expect("a client");
    let request = client.post(format!("http://{to}/hooks/hook")).header("X-UiPath-Signature", signature).body(body.to_owned());
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_flood_of_bad_signatures_is_told_off_and_harms_no_genuine_delivery() {
    let folder = Folder::new("http://127.0.0.1:9");
    let daemon = Daemon::start(&folder).await;
    drop(http());
    let (guesser, other) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let mut answers = Vec::new();
    for number in 0..100 {
        answers.push(guess(guesser, daemon.ingress, "{}", &sign(format!("{number}").as_bytes(), "not the secret")).await);
    }
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 30, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 429).count(), 70, "{answers:?}");
    // Others have guesses of their own, and a genuine delivery is taken from anywhere, the guesser's address included.
    assert_eq!(guess(other, daemon.ingress, "{}", "YQ==").await, 401);
    for (number, from) in [guesser, other].into_iter().enumerate() {
        let body = failed_item(number as u64).to_string();
        assert_eq!(guess(from, daemon.ingress, &body, &sign(body.as_bytes(), SECRET)).await, 202);
    }
    let refused = daemon.log().lines().filter(|line| line.contains("delivery refused")).count();
    assert!(refused <= 4, "{refused} lines about 101 refusals");
    assert_eq!(daemon.list("/api/v1/events").await.len(), 2);
}

/// What slowhttptest finds in each of its modes; at full length only, since each takes many seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slowhttptest_finds_the_service_available() {
    let seconds = rounds("TRIPLINE_SLOWHTTPTEST_SECONDS", 0);
    if seconds == 0 {
        return skip("slowhttptest", "it takes a minute; `make flood` runs it");
    }
    if Command::new("slowhttptest").arg("-h").output().is_err() {
        return skip("slowhttptest", "it is not installed (apt-get install slowhttptest)");
    }
    let folder = Folder::new("http://127.0.0.1:9");
    let daemon = Daemon::start(&folder).await;
    let url = format!("http://{}/hooks/hook", daemon.ingress);
    for mode in ["-H", "-B", "-R", "-X"] {
        let mut command = Command::new("slowhttptest");
        command.args([mode, "-c", "4000", "-r", "1000", "-i", "2", "-p", "3", "-l", &seconds.to_string(), "-u", &url]);
        let attack = tokio::task::spawn_blocking(move || command.output().expect("runs"));
        let mut answered = 0;
        while !attack.is_finished() {
            let (status, answer) = daemon.deliver(&failed_item(answered)).await.expect("an answer");
            assert_eq!(status, 202, "{mode}: {answer}");
            answered += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let output = attack.await.expect("a thread");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let plain: String = text.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)).collect();
        let verdicts: Vec<_> = plain.lines().filter(|line| line.contains("service available")).collect();
        println!(
            "slowhttptest {mode}: {answered} deliveries answered meanwhile; {}",
            verdicts.last().copied().unwrap_or("no verdict").trim()
        );
        assert!(!verdicts.is_empty() && verdicts.iter().all(|line| line.contains("YES")), "{mode}: {plain}");
    }
}

/// Values of a label in an exposition.
fn labels(text: &str, label: &str) -> std::collections::BTreeSet<String> {
    let start = format!("{label}=\"");
    let found = text.lines().filter_map(|line| Some(line.split_once(&start)?.1.split_once('"')?.0.to_owned()));
    found.collect()
}

/// Types and targets that come from data are without number; what a scrape answers is not, also while they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_under_load_stays_as_long_as_it_was_however_many_types_and_targets_there_are() {
    const EACH: u64 = 260;
    let folder = Folder::new("http://127.0.0.1:9");
    // No such host may be called: each run is over at once, and its target is known by its name all the same.
    folder.rule("anywhere", "rule: anywhere\nevents: \"*\"\nsteps:\n  - http: {method: POST, url: \"http://${data.Host}:9/x\"}\n");
    let daemon = Arc::new(Daemon::start(&folder).await);
    let deliver = async |begin: u64| {
        let mut senders = JoinSet::new();
        for lane in 0..4 {
            let daemon = Arc::clone(&daemon);
            senders.spawn(async move {
                for number in (begin + lane..begin + EACH).step_by(4) {
                    let host = format!("127.0.{}.{}", number >> 8, number & 255);
                    let body = serde_json::json!({"Type": format!("acme.kind{number}"), "EventId": number.to_string(), "Host": host});
                    assert_eq!(daemon.deliver(&body).await.expect("an answer").0, 202);
                }
            });
        }
        while !senders.is_empty() {
            // Asked while they come: a whole answer each time.
            let text = daemon.get("/metrics").await;
            assert!(text.as_str().expect("text").contains("tripline_build_info{"));
            let _ended = senders.try_join_next().transpose().expect("a sender");
        }
        until_within(Duration::from_secs(120), "every run is over", async || {
            (daemon.list("/api/v1/runs?state=dead").await.len() as u64 == begin + EACH).then_some(())
        })
        .await;
        daemon.get("/metrics").await.as_str().expect("text").to_owned()
    };
    let first = deliver(0).await;
    let second = deliver(EACH).await;
    for (what, text) in [("first", &first), ("second", &second)] {
        let (types, targets) = (labels(text, "type"), labels(text, "target"));
        assert!(types.len() <= 101 && types.contains("other"), "{what}: {} types", types.len());
        assert!(targets.len() <= 202 && targets.contains("other"), "{what}: {} targets", targets.len());
    }
    assert_eq!(first.lines().count(), second.lines().count(), "no line more for twice as many");
}
