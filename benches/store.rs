//! What a store of a million events costs to open, to rebuild and to hold, and what an empty one costs; each figure with
//! its limit. The daemon that runs is the release binary.
//!
//! `cargo bench --bench store`. `STORE_EVENTS` sets how many events there are (1,000,000), `STORE_STARTS` how many starts on
//! an empty folder are measured (21).

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use support::{Daemon, figure, fill, filled_as_child, number, request, whole};

/// How long a daemon is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(3);

/// Requests that wait while the store is rebuilt.
const WAITING: u64 = 64;

fn main() {
    if filled_as_child() || !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let events = number("STORE_EVENTS", 1_000_000);
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_tripline")).unwrap().len();
    figure("binary", format!("{:.1} MB", binary as f64 / 1e6), "20 MB", binary <= 20_000_000);
    empty(number("STORE_STARTS", 21) as usize);

    let place = tempfile::tempdir_in(".").unwrap();
    let state = place.path().join("state");
    let took = fill(&state, events);
    println!("  filled with {events} events of 1 KB in {took:.1?} ({:.0}/s), then SIGKILL", events as f64 / took.as_secs_f64());

    let daemon = Daemon::start(place.path());
    let ready = daemon.ready_after;
    figure("start to ready after SIGKILL", format!("{ready:.2?}"), "3 s", ready <= Duration::from_secs(3));
    std::thread::sleep(SETTLE);
    let resident = daemon.resident();
    figure("resident with all events", format!("{resident:.1} MiB"), "64 MiB", resident <= 64.0);
    daemon.kill();

    rebuild(place.path(), &state, events);
}

fn empty(starts: usize) {
    let mut times: Vec<Duration> = (0..starts)
        .map(|_| {
            let place = tempfile::tempdir_in(".").unwrap();
            let daemon = Daemon::start(place.path());
            let ready = daemon.ready_after;
            daemon.stop();
            ready
        })
        .collect();
    times.sort();
    let median = times[times.len() / 2];
    figure("start to ready on an empty folder, median", format!("{median:.1?}"), "100 ms", median <= Duration::from_millis(100));
    let place = tempfile::tempdir_in(".").unwrap();
    let daemon = Daemon::start(place.path());
    std::thread::sleep(SETTLE);
    let resident = daemon.resident();
    figure("resident and idle", format!("{resident:.1} MiB"), "16 MiB", resident <= 16.0);
    daemon.stop();
}

/// Without checkpoints, everything is folded again; deliveries that come meanwhile wait and are answered.
fn rebuild(place: &Path, state: &Path, events: u64) {
    std::fs::remove_dir_all(state.join("checkpoints")).unwrap();
    let mut senders = Vec::new();
    let daemon = Daemon::start_and(place, |ingress| {
        senders.extend((0..WAITING).map(|n| std::thread::spawn(move || deliver(ingress, events + 1_000_000 + n))));
    });
    let ready = daemon.ready_after;
    let answers: Vec<(u16, Duration)> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    let kept = answers.iter().filter(|(status, _)| *status == 202).count();
    let longest = answers.iter().map(|(_, took)| *took).max().unwrap_or_default();
    figure("start to ready without checkpoints", format!("{ready:.2?}"), "10 s", ready <= Duration::from_secs(10));
    figure(
        &format!("deliveries meanwhile, answered 202 (longest {longest:.1?})"),
        format!("{kept} of {WAITING}"),
        "all",
        kept as u64 == WAITING,
    );
    std::thread::sleep(SETTLE);
    let resident = daemon.resident();
    figure("resident after the rebuild", format!("{resident:.1} MiB"), "64 MiB", resident <= 64.0);
    daemon.stop();
}

/// Sends one delivery; status and time of its answer.
fn deliver(ingress: SocketAddr, number: u64) -> (u16, Duration) {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(ingress).unwrap();
    stream.write_all(&request(number)).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !whole(&answer) {
        let count = stream.read(&mut chunk).unwrap();
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&chunk[..count]);
    }
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, begin.elapsed())
}
