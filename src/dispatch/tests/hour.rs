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
    pass_by(bench, time, STEP).await;
}

async fn pass_by(bench: &Bench, time: Duration, step: Duration) {
    for _ in 0..time.as_millis() / step.as_millis() {
        for _ in 0..2 {
            assert!(bench.journal.ping().await, "the journal lives");
            tokio::task::yield_now().await;
        }
        bench.clock.set(bench.clock.now().plus(step));
        tokio::time::advance(step).await;
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

/// Runs for each target that throttles.
const THROTTLED: u64 = 4;

#[tokio::test(start_paused = true)]
async fn an_hour_of_429_is_waited_out_whatever_its_retry_after_says() {
    let (over, held) = std::sync::mpsc::channel::<()>();
    let held = tokio::task::spawn_blocking(move || held.recv().is_err());
    let out = Arc::new(AtomicBool::new(true));
    let start = Timestamp::from_millis(1_700_000_000_000);
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    // How it asks, and how often it may be asked in the hour by so many runs: a wait that is told holds the whole target, so that
    // each time at most all of them come; one that is no wait leaves each run to its own.
    let hour = Duration::from_secs(3600);
    let told = |wait: u64| (3600 / wait + 1) * THROTTLED;
    let own = 40 * THROTTLED;
    let (begins, ends) = ("Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 23:13:20 GMT");
    assert_eq!(Timestamp::parse_http_date(begins), Some(start));
    let table: Vec<(Vec<(&'static str, String)>, u64)> = vec![
        (vec![("retry-after", "60".into())], told(60)),
        // The whole hour at once, by the server's own clock and by ours.
        (vec![("retry-after", ends.into()), ("date", begins.into())], told(900)),
        (vec![("retry-after", ends.into())], told(900)),
        (vec![("retry-after", "1000000000000".into())], told(900)),
        (vec![("retry-after", "Sun, 26 Dec 9999 23:59:59 GMT".into())], told(900)),
        (vec![("retry-after", "60".into()), ("retry-after", "300".into())], told(300)),
        (vec![("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT".into())], own),
        (vec![("retry-after", "-5".into())], own),
        (vec![("retry-after", "soon".into())], own),
        (vec![], own),
    ];
    let (mut peers, mut text) = (Vec::new(), Vec::new());
    for (number, (headers, _)) in table.iter().enumerate() {
        let (headers, throttles) = (headers.clone(), Arc::clone(&out));
        let peer = Peer::start(move |_, _| {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            if throttles.load(Ordering::SeqCst) { answer(429, &headers, "") } else { answer(204, &[], "") }
        })
        .await;
        text.push(format!("rule: r{number}\nevents: queueItem.added\nsteps:\n  - http: {{method: POST, url: '{}/x'}}\n", peer.url));
        peers.push(peer);
    }
    let client = Client::new(&Egress::default()).expect("a client");
    let targets = Targets { orchestrators: BTreeMap::new(), http: Some(client), ..Targets::default() };
    let mut bench = Bench::with(&text.join("---\n"), targets, Clock::manual(start), dir);
    let mut ids = Vec::new();
    for number in 0..table.len() as u64 * THROTTLED {
        ids.push(bench.plan(&format!("r{}", number / THROTTLED), number).await);
    }
    pass_by(&bench, hour, Duration::from_secs(1)).await;
    let asked: Vec<_> = peers.iter().map(|peer| peer.heard().len() as u64).collect();
    eprintln!("asked in the hour: {asked:?}");
    for ((headers, most), asked) in table.iter().zip(&asked) {
        assert!((4..=*most).contains(asked), "{headers:?}: asked {asked} times, at most {most} wanted");
    }
    assert!(ids.iter().all(|id| !state(&bench, *id).is_settled()), "none is given up");
    out.store(false, Ordering::SeqCst);
    // The longest wait, with what is added so that not all come at once, twice: held, then their own.
    pass_by(&bench, Duration::from_secs(2 * 1_125), Duration::from_secs(1)).await;
    for (number, peer) in peers.iter().enumerate() {
        let taken = taken(peer, usize::try_from(asked[number]).expect("few"));
        assert!(taken.len() as u64 == THROTTLED && taken.values().all(|times| *times == 1), "{:?}: each once: {taken:?}", table[number].0);
    }
    assert!(ids.iter().all(|id| state(&bench, *id) == RunState::Succeeded));
    drop(over);
    held.await.expect("ends");
    bench.stop().await;
}
