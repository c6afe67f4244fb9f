//! An hour in which targets are gone, in simulated time: one says 429, one never answers, one has no name any more. Nothing is
//! lost, little is asked of them, the others do not notice, and all recovers by itself.

use std::io;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::http::client::tests::looking_up;
use crate::time::Timestamp;

/// Runs for each target that is gone.
const RUNS: u64 = 60;
/// Time moves in steps of this.
const STEP: Duration = Duration::from_millis(250);
/// For each of them, a run for a target that is well begins so often.
const GOOD_EVERY: Duration = Duration::from_secs(15);

/// Lets `time` pass. What the journal's thread and the sockets have to do meanwhile is done between the steps.
async fn pass(bench: &Bench, time: Duration) {
    for _ in 0..time.as_millis() / STEP.as_millis() {
        for _ in 0..2 {
            assert!(bench.journal.ping().await, "the journal lives");
            tokio::task::yield_now().await;
        }
        bench.clock.set(bench.clock.now().plus(STEP));
        tokio::time::advance(STEP).await;
    }
}

fn state(bench: &Bench, id: RunId) -> RunState {
    bench.journal.run(id).expect("reads").expect("nothing is lost").state
}

/// Runs that a target took, by their idempotency keys.
fn taken(peer: &Peer, from: usize) -> BTreeMap<String, usize> {
    let mut keys = BTreeMap::new();
    for heard in &peer.heard()[from..] {
        *keys.entry(heard.header("idempotency-key").expect("a key").to_owned()).or_default() += 1;
    }
    keys
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_429_of_silence_and_of_no_dns_loses_nothing_and_ends_by_itself() {
    // Time moves only where it is told to: not while the journal's thread is waited for.
    let (over, held) = std::sync::mpsc::channel::<()>();
    let held = tokio::task::spawn_blocking(move || held.recv().is_err());
    let out = Arc::new(AtomicBool::new(true));
    let is_out = || {
        let out = Arc::clone(&out);
        move || out.load(Ordering::SeqCst)
    };
    let (limits, hangs, unknown) = (is_out(), is_out(), is_out());
    let limited = Peer::start(move |_, _| if limits() { answer(429, &[("retry-after", "20")], "") } else { answer(204, &[], "") }).await;
    let silent = Peer::start(move |_, _| if hangs() { Say::Silence } else { answer(204, &[], "") }).await;
    let nameless = Peer::start(|_, _| answer(204, &[], "")).await;
    let well = Peer::start(|_, _| answer(204, &[], "")).await;
    let client = looking_up(move |_| if unknown() { Err(io::ErrorKind::NotFound.into()) } else { Ok(vec![[127, 0, 0, 1].into()]) });
    let named = nameless.url.replace("127.0.0.1", "gone.example");
    let text: Vec<_> = [("limited", &limited.url), ("silent", &silent.url), ("nameless", &named), ("well", &well.url)]
        .iter()
        .map(|(rule, url)| format!("rule: {rule}\nevents: queueItem.added\nsteps:\n  - http: {{method: POST, url: '{url}/x'}}\n"))
        .collect();
    let targets = Targets { orchestrators: BTreeMap::new(), http: Some(client), ..Targets::default() };
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let mut bench = Bench::with(&text.join("---\n"), targets, clock, dir);

    let mut number = 0;
    let mut ids: BTreeMap<&str, Vec<RunId>> = BTreeMap::new();
    for _ in 0..RUNS {
        for rule in ["limited", "silent", "nameless"] {
            number += 1;
            ids.entry(rule).or_default().push(bench.plan(rule, number).await);
        }
    }
    let hour = Duration::from_secs(3600);
    let mut passed = Duration::ZERO;
    let mut slow = 0;
    while passed < hour {
        number += 1;
        let good = bench.plan("well", number).await;
        pass(&bench, GOOD_EVERY).await;
        passed += GOOD_EVERY;
        let run = bench.journal.run(good).expect("reads").expect("is there");
        assert_eq!(run.state, RunState::Succeeded, "the others do not notice: {run:#?}");
        slow += usize::from(run.updated.since(run.planned.created) > 2 * STEP);
    }
    // A step of time may end before a socket is served.
    assert!(slow <= 24, "{slow} of 240 runs for the target that is well took longer than {:?}", 2 * STEP);

    let asked = (limited.heard().len(), silent.heard().len(), nameless.heard().len());
    eprintln!("asked in the hour: 429 {}, silence {}, no DNS {}", asked.0, asked.1, asked.2);
    // 429 with `Retry-After: 20`: not more than the permits of a target each time.
    assert!(asked.0 >= 60 && asked.0 <= 3600 / 20 * gates::PER_TARGET, "{}", asked.0);
    // Each request that is not answered holds a permit for its 30 s; the breaker lets one through at a time after the first.
    assert!(asked.1 >= 10 && asked.1 <= 400, "{}", asked.1);
    assert_eq!(asked.2, 0, "there was nobody to ask");
    for (rule, ids) in &ids {
        for id in ids {
            let run = bench.journal.run(*id).expect("reads").expect("nothing is lost");
            assert!(!run.state.is_settled(), "{rule}: {run:#?}");
            assert!(run.steps.iter().all(|step| step.attempts.len() <= 50), "{rule}: attempts that are kept are bounded");
        }
    }
    assert!(bench.journal.gauges().bytes < 8 << 20, "{} bytes", bench.journal.gauges().bytes);

    out.store(false, Ordering::SeqCst);
    let mut waited = Duration::ZERO;
    while ids.values().flatten().any(|id| !state(&bench, *id).is_settled()) {
        assert!(waited < Duration::from_secs(2_400), "it recovers within the longest wait and the longest pause of a breaker");
        pass(&bench, GOOD_EVERY).await;
        waited += GOOD_EVERY;
    }
    eprintln!("recovered after {waited:?}");
    assert!(ids.values().flatten().all(|id| state(&bench, *id) == RunState::Succeeded), "none gave up");
    for (peer, from) in [(&limited, asked.0), (&nameless, asked.2)] {
        let taken = taken(peer, from);
        assert_eq!(taken.len() as u64, RUNS, "every run came");
        assert!(taken.values().all(|times| *times == 1), "once");
    }
    assert_eq!(taken(&silent, asked.1).len() as u64, RUNS);
    drop(over);
    held.await.expect("ends");
    bench.stop().await;
}
