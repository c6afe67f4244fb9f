//! Power cuts. A kill alone keeps what the kernel holds and never shows a missing fsync: here the state folder is on a file system in
//! an image, the process is killed under load, and the image is copied at that moment, so that the copy has only what the device was
//! given. On the copy, in another boot, everything that was acknowledged is there, and it always opens.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tripline::clock::Clock;
use tripline::event::{EventId, RunId, Verified, Via};
use tripline::journal::{Delivery, Journal, Options, Plan};
use tripline::normalize::{SourceView, orchestrator};
use tripline::rules::Mode;
use tripline::runs::{Fact, NewRun, RunState};

use crate::support::{Daemon, Disk, Folder, failed_item_of, rounds, skip, until};

/// Power cuts of each test, unless the variable says otherwise.
const ROUNDS: u64 = 20;
const VARIABLE: &str = "TRIPLINE_POWER_ROUNDS";
/// After this many cuts on the same disk, each on what the one before left, a new one is begun.
const CUTS_OF_A_DISK: u64 = 5;
const DISK_BYTES: u64 = 320 << 20;
const SENDERS: u64 = 4;
/// The folder of the writer that is killed, the id that it begins with, and its number.
const WRITER: &str = "TRIPLINE_POWER_WRITER";

/// From 100 bytes to 200 KB of text, in an order that mixes them.
fn item(id: u64) -> Value {
    const LENGTHS: [usize; 8] = [100, 1_500, 200_000, 400, 40_000, 4_000, 120, 12_000];
    failed_item_of(id, LENGTHS[id as usize % LENGTHS.len()] + id as usize % 97)
}

/// The disk of a row of rounds.
struct Rig {
    image: PathBuf,
    copy: PathBuf,
    at: PathBuf,
    disk: Option<Disk>,
}

impl Rig {
    fn new(dir: &Path) -> Self {
        Self { image: dir.join("disk.img"), copy: dir.join("copy.img"), at: dir.join("disk"), disk: None }
    }

    /// An empty disk in the place of what was there.
    fn renew(&mut self) -> Result<(), String> {
        self.disk = None;
        self.disk = Some(Disk::ext4(&self.image, &self.at, DISK_BYTES)?);
        Ok(())
    }

    /// The power goes and comes back: only what the device was given is there.
    fn cut(&mut self) {
        Disk::copy(&self.image, &self.copy).expect("copied");
        self.disk = None;
        std::fs::rename(&self.copy, &self.image).expect("renamed");
        self.disk = Some(Disk::mount(&self.image, &self.at).expect("the file system mounts after the cut"));
    }
}

/// Has the marker say that the store was last open in another boot of the machine, as after a power cut.
fn in_another_boot(state: &Path) {
    let path = state.join("store.json");
    // There is none while the very first start has not come so far.
    let Ok(text) = std::fs::read(&path) else { return };
    let mut marker: Value = serde_json::from_slice(&text).expect("a marker is replaced as a whole");
    marker["boot"] = "before-the-cut".into();
    std::fs::write(path, marker.to_string()).expect("written");
}

fn open(state: &Path, segment_bytes: u64, boot: &str) -> Journal {
    let options = Options { segment_bytes, clock: Clock::system(), boot_id: boot.to_owned() };
    Journal::open(state, options).unwrap_or_else(|error| panic!("it always opens: {error}")).0
}

fn every_event_is_there(journal: &Journal, acked: &BTreeMap<u64, String>) {
    for (id, event) in acked {
        let found = journal.event(event.parse::<EventId>().expect("an id")).expect("reads");
        let found = found.unwrap_or_else(|| panic!("acknowledged and lost: item {id}, event {event}"));
        assert_eq!(found.data()["QueueItem"], item(*id)["QueueItem"], "item {id} came back otherwise");
    }
}

/// Sends distinct items until the daemon is gone; gives the acknowledged ones with their events.
async fn send(daemon: Arc<Daemon>, next: Arc<AtomicU64>, acked: Arc<AtomicU64>, item: fn(u64) -> Value) -> Vec<(u64, String)> {
    let mut mine = Vec::new();
    loop {
        let id = next.fetch_add(1, Ordering::SeqCst);
        match daemon.deliver(&item(id)).await {
            Ok((202, answer)) => {
                // An answer that was cut behind its status acknowledged something that it does not name.
                mine.extend(answer["events"][0].as_str().map(|event| (id, event.to_owned())));
                acked.fetch_add(1, Ordering::SeqCst);
            }
            Ok((status, answer)) => panic!("refused with {status}: {answer}"),
            Err(_) => return mine,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_under_load_lose_no_acknowledged_event() {
    let mut folder = Folder::new("http://127.0.0.1:9");
    folder.keep_state_in("disk/state");
    let rounds = rounds(VARIABLE, ROUNDS);
    let mut rig = Rig::new(&folder.path("."));
    let next = Arc::new(AtomicU64::new(1));
    let mut acked = BTreeMap::new();
    let mut total = 0;
    for round in 0..rounds {
        if round % CUTS_OF_A_DISK == 0 {
            total += std::mem::take(&mut acked).len();
            if let Err(why) = rig.renew() {
                return skip("power_cuts_under_load_lose_no_acknowledged_event", &why);
            }
        }
        let daemon = Arc::new(Daemon::start(&folder).await);
        let count = Arc::new(AtomicU64::new(0));
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(send(Arc::clone(&daemon), Arc::clone(&next), Arc::clone(&count), item));
        }
        // The moment moves over the rounds, in deliveries and within the work for one.
        let moment = 1 + (round * 37) % 101;
        until("enough deliveries are acknowledged", async || (count.load(Ordering::SeqCst) >= moment).then_some(())).await;
        tokio::time::sleep(Duration::from_micros((round * 1_733) % 9_000)).await;
        daemon.signal("KILL");
        rig.cut();
        while let Some(mine) = senders.join_next().await {
            acked.extend(mine.expect("a sender"));
        }
        Arc::into_inner(daemon).expect("the senders are done").kill9();

        // A start that is cut short as well, somewhere in the recovery.
        in_another_boot(&folder.state());
        let mut child = folder.command(&["run", "-c", "tripline.yaml"]).stderr(Stdio::null()).spawn().expect("starts");
        tokio::time::sleep(Duration::from_millis((round * 29) % 211)).await;
        child.kill().expect("killed");
        rig.cut();
        child.wait().expect("gone");

        in_another_boot(&folder.state());
        let daemon = Daemon::start(&folder).await;
        for (id, event) in acked.iter().rev().take(3) {
            let found = daemon.get(&format!("/api/v1/events/{event}")).await;
            assert_eq!(found["data"]["QueueItem"], item(*id)["QueueItem"]);
            let (status, answer) = daemon.deliver(&item(*id)).await.expect("an answer");
            assert_eq!((status, &answer["folded"]), (202, &json!(1)), "a copy is still known: {answer}");
        }
        daemon.kill9();
        let journal = open(&folder.state(), 64 << 20, &format!("boot-{round}"));
        every_event_is_there(&journal, &acked);
        journal.close();
    }
    eprintln!("{} power cuts, {} acknowledged deliveries, none lost", 2 * rounds, total + acked.len());
}

// ---- while segments go ----

/// Bytes of text, so that few deliveries make a segment: `size` is reached after some 280.
const LONG: usize = 60_000;
/// Every so many items is one that the rule wants. Its run waits for a target that is not there.
const WANTED: u64 = 25;
const RULE: &str = "\
rule: wait-for-it
events: queueItem.transactionFailed
queues: [Wanted]
steps:
  - http: {method: POST, url: \"http://127.0.0.1:1/nobody\", body: {Id: \"${item.Id}\"}}
";

fn long_item(id: u64) -> Value {
    let mut item = failed_item_of(id, LONG);
    if id.is_multiple_of(WANTED) {
        item["Queue"]["Name"] = "Wanted".into();
    }
    item
}

/// Rounds of deliveries while old segments go and rules are loaded, each ended by a kill, or with `rig` by a power cut; then a start
/// that is cut short as it rebuilds. After each, what is left has no gap, what waits is there, and the folder is as it says.
async fn ends_while_segments_go(mut folder: Folder, mut rig: Option<Rig>, rounds: u64) {
    if rig.is_some() {
        folder.keep_state_in("disk/state");
    }
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &format!("{config}retention: {{size: 16MiB}}\n"));
    folder.rule("wait-for-it", RULE);
    let mut cut = || {
        if let Some(rig) = &mut rig {
            rig.cut();
        }
    };
    let next = Arc::new(AtomicU64::new(1));
    let mut acked: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0..rounds {
        let daemon = Arc::new(Daemon::start(&folder).await);
        let count = Arc::new(AtomicU64::new(0));
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(send(Arc::clone(&daemon), Arc::clone(&next), Arc::clone(&count), long_item));
        }
        let moment = 120 + (round * 37) % 101;
        until("half of them are acknowledged", async || (count.load(Ordering::SeqCst) >= moment / 2).then_some(())).await;
        folder.rule(&format!("more-{round}"), &RULE.replace("wait-for-it", &format!("more-{round}")).replace("Wanted", "None"));
        daemon.signal("HUP");
        until("enough deliveries are acknowledged", async || (count.load(Ordering::SeqCst) >= moment).then_some(())).await;
        tokio::time::sleep(Duration::from_micros((round * 1_733) % 9_000)).await;
        daemon.signal("KILL");
        cut();
        while let Some(mine) = senders.join_next().await {
            acked.extend(mine.expect("a sender"));
        }
        Arc::into_inner(daemon).expect("the senders are done").kill9();

        in_another_boot(&folder.state());
        let mut child = folder.command(&["run", "-c", "tripline.yaml"]).stderr(Stdio::null()).spawn().expect("starts");
        tokio::time::sleep(Duration::from_millis((round * 29) % 211)).await;
        child.kill().expect("killed");
        cut();
        child.wait().expect("gone");

        let boot = format!("boot-{round}");
        let journal = open(&folder.state(), 64 << 20, &boot);
        what_is_needed_is_there(&journal, &acked);
        journal.close();
        drop(journal);
        let checked = tripline::journal::check(&folder.state(), &boot, &|_, _| ()).expect("checks");
        assert!(checked.is_good(), "{checked:?}");
    }
    // A life may end before anything has gone: the last one is long enough.
    let daemon = Daemon::start(&folder).await;
    let oldest = until("segments go", async || {
        let names = std::fs::read_dir(folder.state().join("journal")).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let oldest = names.filter(|name| name.ends_with(".seg")).min()?;
        (rounds < 5 || *oldest > *"0000000002.seg").then_some(oldest)
    })
    .await;
    daemon.kill9();
    let journal = open(&folder.state(), 64 << 20, "the last boot");
    what_is_needed_is_there(&journal, &acked);
    drop(journal);
    eprintln!(
        "{} ends, {} acknowledged deliveries, nothing lost that is needed; the oldest segment is {oldest:?}",
        2 * rounds,
        acked.len()
    );
}

fn what_is_needed_is_there(journal: &Journal, acked: &BTreeMap<u64, String>) {
    let mut query = tripline::journal::EventQuery { limit: usize::MAX, ..Default::default() };
    let mut left: BTreeMap<EventId, Value> = BTreeMap::new();
    loop {
        let page = journal.events(&query).expect("reads");
        left.extend(page.items.into_iter().map(|event| (event.id, event.data()["QueueItem"].clone())));
        match page.next {
            None => break,
            next => query.before = next,
        }
    }
    let oldest = *left.keys().next().expect("some are left");
    let unrouted: Vec<_> = journal.unrouted(usize::MAX, 0).expect("reads").events.iter().map(|event| event.id).collect();
    for (id, event) in acked {
        let event = event.parse::<EventId>().expect("an id");
        assert!(event < oldest || left.contains_key(&event), "acknowledged and lost: item {id}, event {event}, the oldest is {oldest}");
        if let Some(data) = left.get(&event) {
            assert_eq!(*data, long_item(*id)["QueueItem"], "item {id} came back otherwise");
        }
        if id.is_multiple_of(WANTED) && !unrouted.contains(&event) {
            let run = journal.run(RunId::of(event, "wait-for-it")).expect("reads");
            let run = run.unwrap_or_else(|| panic!("the run of item {id}, event {event}, is lost"));
            assert!(!run.state.is_finished(), "{run:?}");
            let event = journal.event(event).expect("reads").expect("a run that is not finished has its event");
            assert_eq!(event.data()["QueueItem"], long_item(*id)["QueueItem"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_segments_go_and_rules_are_loaded_lose_nothing_that_is_needed() {
    let rounds = rounds("TRIPLINE_CRASH_ROUNDS", 30).div_ceil(5);
    ends_while_segments_go(Folder::new("http://127.0.0.1:9"), None, rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_while_segments_go_and_rules_are_loaded_lose_nothing_that_is_needed() {
    let folder = Folder::new("http://127.0.0.1:9");
    let mut rig = Rig::new(&folder.path("."));
    if let Err(why) = rig.renew() {
        return skip("power_cuts_while_segments_go_and_rules_are_loaded_lose_nothing_that_is_needed", &why);
    }
    ends_while_segments_go(folder, Some(rig), rounds(VARIABLE, ROUNDS).div_ceil(4)).await;
}

// ---- a writer without the daemon ----

/// What a killed writer had acknowledged.
#[derive(Default)]
struct Acked {
    events: BTreeMap<u64, String>,
    runs: BTreeMap<u64, String>,
}

impl Acked {
    fn line(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["event", id, event] => drop(self.events.insert(id.parse().expect("a number"), event.to_owned())),
            ["run", id, run] => drop(self.runs.insert(id.parse().expect("a number"), run.to_owned())),
            // The harness of the tests says things as well.
            _ => {}
        }
    }

    fn is_there(&self, journal: &Journal) {
        every_event_is_there(journal, &self.events);
        for (id, run) in &self.runs {
            let found = journal.run(run.parse::<RunId>().expect("an id")).expect("reads");
            let found = found.unwrap_or_else(|| panic!("acknowledged and lost: the run of item {id}"));
            assert_eq!(found.state, RunState::Succeeded, "item {id}");
            assert_eq!(found.steps[0].value, item(*id), "the value of item {id}");
        }
    }
}

#[test]
fn power_cuts_while_segments_roll_lose_neither_events_nor_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let rounds = rounds(VARIABLE, ROUNDS);
    let mut rig = Rig::new(dir.path());
    let state = rig.at.join("state");
    let (mut acked, mut next, mut total) = (Acked::default(), 1, 0);
    for round in 0..rounds {
        if round % CUTS_OF_A_DISK == 0 {
            total += std::mem::take(&mut acked).events.len();
            if let Err(why) = rig.renew() {
                return skip("power_cuts_while_segments_roll_lose_neither_events_nor_runs", &why);
            }
        }
        let segment_bytes = (1 << 20) << (round % 3);
        let mut writer = Command::new(std::env::current_exe().expect("this program"))
            .args(["power::a_writer_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
            .env(WRITER, format!("{} {next} {round} {segment_bytes}", state.display()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(writer.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        for line in lines.by_ref().take(3 + (round as usize * 53) % 240) {
            acked.line(&line);
        }
        std::thread::sleep(Duration::from_micros((round * 1_733) % 9_000));
        writer.kill().expect("killed");
        rig.cut();
        // What it said before it died was acknowledged as well.
        lines.for_each(|line| acked.line(&line));
        assert!(!writer.wait().expect("gone").success(), "killed, not ended");
        next += 10_000;
        let journal = open(&state, segment_bytes, &format!("after-{round}"));
        acked.is_there(&journal);
        // Dropped or closed: the next round begins on either.
        if round % 2 == 0 {
            journal.close();
        }
    }
    let segments = std::fs::read_dir(state.join("journal")).expect("lists").count();
    assert!(segments > 3 || rounds < CUTS_OF_A_DISK, "segments rolled: {segments}");
    eprintln!("{rounds} power cuts, {} acknowledged events, none lost", total + acked.events.len());
}

#[test]
#[ignore = "begun by the test above in a process of its own, and killed"]
#[expect(clippy::disallowed_methods, reason = "the test above tells it so what to do")]
fn a_writer_until_it_is_killed() {
    let Ok(what) = std::env::var(WRITER) else { return };
    let words: Vec<_> = what.split(' ').collect();
    let [state, first, round, segment_bytes] = words[..] else { panic!("{what}") };
    let journal = open(Path::new(state), segment_bytes.parse().expect("a number"), &format!("writer-{round}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let say = |line: String| std::io::stdout().write_all(line.as_bytes()).expect("said");
    let mut next: u64 = first.parse().expect("a number");
    loop {
        runtime.block_on(async {
            let accept = async |id: u64| {
                let accepted = journal.accept(delivery(id)).await.expect("kept");
                say(format!("event {id} {}\n", accepted.events[0]));
                (id, accepted.events[0])
            };
            let (a, b, c) = tokio::join!(accept(next), accept(next + 1), accept(next + 2));
            next += 3;
            let now = Clock::system().now();
            let planned = |event: EventId| NewRun {
                id: RunId::of(event, "rule"),
                rule: "rule".into(),
                generation: 1,
                created: now,
                mode: Mode::Live,
                hops: 0,
                dead: None,
                replay: None,
                order: None,
            };
            let through = a.1.max(b.1).max(c.1);
            let mut events = [a, b, c];
            events.sort_by_key(|(_, event)| *event);
            journal.plan(Plan { through, runs: events.iter().map(|(_, event)| planned(*event)).collect() }).await.expect("kept");
            for (id, event) in events {
                let run = RunId::of(event, "rule");
                let value = item(id);
                let done = Fact::StepDone { step: 0, id: None, kind: "http".into(), value, maybe_twice: false, at: now };
                journal.record(run, vec![done]).await.expect("kept");
                let settled = Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at: now };
                journal.record(run, vec![settled]).await.expect("kept");
                say(format!("run {id} {run}\n"));
            }
        });
    }
}

fn delivery(id: u64) -> Delivery {
    let body = serde_json::to_vec(&item(id)).expect("json");
    let received = Clock::system().now();
    let view = SourceView { name: "hook".into(), tenant_url: None };
    let read = orchestrator(&body, &view, received);
    Delivery {
        source: "hook".into(),
        via: Via::Webhook,
        orchestrator: None,
        verified: Verified::Yes,
        received,
        body: body.into(),
        delivery_id: read.delivery_id,
        changes: read.changes,
    }
}
