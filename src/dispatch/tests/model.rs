//! The owner under random stories: targets that fail, people who pause, events that wake, and a daemon that dies at any write,
//! before it or behind it. In simulated time. In the end every run that was planned has succeeded, in its order, within its
//! limits, and the journal says the same read anew.

use std::collections::BTreeSet;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::journal::{Dies, RunQuery};
use crate::runs::{Class, Ordered, Paused};
use crate::time::Timestamp;

/// Time moves in steps of this.
const STEP: Duration = Duration::from_millis(500);
/// At least so long after the first step of a run of `ordered`.
const WAIT: Duration = Duration::from_secs(3);
/// Between two requests of `even`.
const APART: Duration = Duration::from_secs(2);
/// In the end everything is over within this.
const OVER_WITHIN: Duration = Duration::from_secs(3 * 3600);

const RULES: &str = r#"
rule: ordered
events: queueItem.added
retry: {first_wait: 1s, max_wait: 4s}
steps:
  - http: {method: POST, url: "PEER/ordered", body: {n: "${item.Id}"}}
  - wait: 3s
  - http: {method: POST, url: "PEER/ordered-end", body: {n: "${item.Id}"}}
---
rule: awaits
events: queueItem.added
retry: {first_wait: 1s, max_wait: 4s}
limits: {concurrency: 1}
steps:
  - await_item: {id: "${item.Id}"}
  - http: {method: POST, url: "PEER/awaits", body: {n: "${item.Id}"}}
---
rule: even
events: queueItem.added
retry: {first_wait: 1s, max_wait: 4s}
limits: {rate: 30/min}
steps:
  - http: {method: POST, url: "PEER/even", body: {n: "${item.Id}"}}
"#;

#[derive(Clone, Debug)]
enum Act {
    /// An event comes in, and a run of a rule is planned; of `ordered` with this key.
    Plan(&'static str, u8),
    /// So many steps of time.
    Pass(u8),
    /// An item ends; an event may tell it.
    End(bool),
    Pause,
    Resume,
    /// The daemon dies at this write from now on, or what it wrote was not acknowledged.
    Die(u64, bool),
}

fn act() -> impl Strategy<Value = Act> {
    let rule = prop::sample::select(vec!["ordered", "ordered", "awaits", "even"]);
    prop_oneof![
        5 => (rule, 0..2_u8).prop_map(|(rule, key)| Act::Plan(rule, key)),
        5 => (1..12_u8).prop_map(Act::Pass),
        2 => any::<bool>().prop_map(Act::End),
        1 => Just(Act::Pause),
        1 => Just(Act::Resume),
        3 => (0..9_u64, any::<bool>()).prop_map(|(writes, behind)| Act::Die(writes, behind)),
    ]
}

/// What the peer heard: when, where, of which item, and whether it was well.
type Log = Arc<Mutex<Vec<(Timestamp, String, u64, bool)>>>;

/// What is the same in every life.
struct Stage {
    dir: tempfile::TempDir,
    clock: Clock,
    peer: Peer,
    log: Log,
    /// Items that came to their end.
    over: Arc<Mutex<BTreeSet<u64>>>,
    rules: String,
    /// Runs whose plan was acknowledged, and the key of each item.
    planned: Vec<RunId>,
    keys: BTreeMap<u64, u8>,
    events: BTreeMap<u64, EventId>,
    lives: usize,
}

impl Stage {
    async fn new(lucks: Vec<u8>) -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        let (log, over): (Log, Arc<Mutex<BTreeSet<u64>>>) = (Arc::default(), Arc::default());
        let (heard_log, is_over, time) = (log.clone(), over.clone(), clock.clone());
        let lucks = Mutex::new(lucks.into_iter());
        let peer = Peer::start(move |heard, _| {
            let luck = lucks.lock().unwrap().next().unwrap_or(u8::MAX);
            let path = heard.path().to_owned();
            let asked = path.rsplit_once("QueueItems(").and_then(|(_, id)| id.trim_end_matches(')').parse().ok());
            let number = asked.or_else(|| heard.json()["n"].as_u64()).expect("an item");
            heard_log.lock().unwrap().push((time.now(), path, number, luck > 3));
            match luck {
                0 => answer(503, &[], "busy"),
                1 => answer(429, &[("retry-after", "2")], ""),
                2 => Say::Reset,
                3 => answer(500, &[], ""),
                _ if asked.is_some() => {
                    let status = if is_over.lock().unwrap().contains(&number) { "Successful" } else { "InProgress" };
                    says(200, &json!({"Id": number, "Status": status}))
                }
                _ => answer(204, &[], ""),
            }
        })
        .await;
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let rules = RULES.replace("PEER", &peer.url);
        Self { dir, clock, peer, log, over, rules, planned: Vec::new(), keys: BTreeMap::new(), events: BTreeMap::new(), lives: 0 }
    }

    /// A daemon begins where the one before ended.
    async fn live(&mut self) -> (Bench, Arc<Dies>) {
        self.lives += 1;
        let dies = Arc::new(Dies::default());
        let mut tries = 0;
        let journal = loop {
            let options = Options { segment_bytes: 4 << 20, clock: self.clock.clone(), boot_id: "boot".to_owned() };
            match Journal::open_dying(self.dir.path(), options, &dies) {
                Ok(journal) => break journal,
                // Tasks that were ended give it free when they are polled next.
                Err(error) => assert!(tries < 1_000, "{error}"),
            }
            tries += 1;
            tokio::task::yield_now().await;
        };
        let targets = Targets {
            orchestrators: BTreeMap::from([(Arc::from("prod"), orchestrator(&self.peer))]),
            http: Some(Client::new(&Egress::default()).unwrap()),
            ..Targets::default()
        };
        (Bench::of(journal, &self.rules, targets, self.clock.clone(), None), dies)
    }

    /// Lets time pass; whether the daemon lives.
    async fn pass(&self, bench: &Bench, steps: u64) -> bool {
        for _ in 0..steps {
            for _ in 0..3 {
                if !bench.journal.ping().await {
                    return false;
                }
                tokio::task::yield_now().await;
            }
            self.clock.set(self.clock.now().plus(STEP));
            tokio::time::advance(STEP).await;
        }
        true
    }

    /// An event of an item, and a run for it; nothing when the daemon died.
    async fn plan(&mut self, bench: &Bench, rule: &str, key: u8) -> Option<()> {
        let number = self.keys.len() as u64 + 1;
        self.keys.insert(number, key);
        let event = bench.journal.accept(self.delivery(number, "queueItem.added")).await.ok()?.events[0];
        self.events.insert(number, event);
        let order = (rule == "ordered").then(|| Ordered::new(rule, &key.to_string()));
        let id = RunId::of(event, rule);
        let created = self.clock.now();
        let run = NewRun { order, ..NewRun::plain(event, rule, created) };
        bench.journal.plan(Plan { through: event, runs: vec![run] }).await.ok()?;
        self.planned.push(id);
        Some(())
    }

    fn delivery(&self, number: u64, event_type: &str) -> Delivery {
        let url = orchestrator(&self.peer).tenant_url();
        let data = json!({"Queue": {"Name": "Invoices"}, "QueueItem": {"Id": number}});
        let change = Change {
            data: Arc::new(data.clone()),
            ..Change::told(Key::exact(format!("{url}|queueItem|{number}|{event_type}|")), event_type)
        };
        Delivery {
            source: "prod-hook".into(),
            via: Via::Internal,
            orchestrator: Some("prod".into()),
            verified: Verified::Yes,
            received: self.clock.now(),
            body: Bytes::from(data.to_string()),
            delivery_id: None,
            changes: vec![change],
        }
    }

    /// An item ends; nothing when the daemon died before it was told.
    async fn end(&self, bench: &Bench, number: u64, told: bool) -> Option<()> {
        self.over.lock().unwrap().insert(number);
        if told {
            bench.journal.accept(self.delivery(number, "queueItem.transactionCompleted")).await.ok()?;
        }
        Some(())
    }

    /// Requests of `ordered` so far.
    fn of_ordered(&self) -> usize {
        self.log.lock().unwrap().iter().filter(|(_, path, ..)| path.starts_with("/ordered")).count()
    }

    fn runs(&self, journal: &Journal) -> Vec<Run> {
        journal.runs(&RunQuery { limit: usize::MAX, ..RunQuery::default() }).expect("reads").items
    }

    /// What was heard fits what was promised.
    fn judge(&self, runs: &[Run]) {
        let log = self.log.lock().unwrap();
        let of = |prefix: &str| log.iter().filter(move |(_, path, ..)| path.starts_with(prefix)).cloned().collect::<Vec<_>>();
        for key in 0..2 {
            let order: Vec<u64> = of("/ordered").into_iter().map(|(_, _, n, _)| n).filter(|n| self.keys[n] == key).collect();
            assert!(order.is_sorted(), "key {key}: one after another, as their events came: {order:?}");
        }
        for (number, done) in of("/ordered-end").into_iter().map(|(at, _, number, _)| (number, at)) {
            let first = log.iter().find(|(_, path, n, well)| path == "/ordered" && *n == number && *well).expect("the first step was done");
            assert!(done.since(first.0) >= WAIT, "{number} did not wait");
        }
        for (_, _, number, _) in of("/awaits") {
            assert!(self.over.lock().unwrap().contains(&number), "{number} is not over");
        }
        let even = of("/even");
        let early = even.windows(2).filter(|pair| pair[1].0.since(pair[0].0) + STEP < APART).count();
        assert!(early <= self.lives, "{early} requests came too early: a crash costs one");
        let mut well: BTreeMap<(&str, u64), usize> = BTreeMap::new();
        for (_, path, number, _) in log.iter().filter(|(_, path, _, well)| *well && !path.contains("QueueItems")) {
            *well.entry((path, *number)).or_default() += 1;
        }
        // Simulated time may run ahead of a socket: then the answer came too late.
        let lost = |number: u64| {
            let run = runs.iter().find(|run| Some(&run.event()) == self.events.get(&number));
            run.map_or(0, |run| run.steps.iter().flat_map(|step| &step.attempts).filter(|a| a.class == Some(Class::Unknown)).count())
        };
        for ((path, number), times) in well {
            assert!(times <= self.lives + lost(number), "{path} of {number}: what is done is done again only by another life");
        }
    }
}

async fn play(acts: Vec<Act>, lucks: Vec<u8>) {
    // Time moves only where it is told to: not while the journal's thread is waited for.
    let (over, held) = std::sync::mpsc::channel::<()>();
    let held = tokio::task::spawn_blocking(move || held.recv().is_err());
    let mut stage = Stage::new(lucks).await;
    let (mut bench, mut dies) = stage.live().await;
    let what = Paused::Rule("ordered".to_owned());
    let mut paused: Option<usize> = None;
    for act in acts {
        let lives = match act {
            Act::Plan(rule, key) => stage.plan(&bench, rule, key).await.is_some(),
            Act::Pass(steps) => stage.pass(&bench, steps.into()).await,
            Act::End(told) => {
                let next = stage.keys.keys().find(|number| !stage.over.lock().unwrap().contains(number)).copied();
                match next {
                    Some(number) => stage.end(&bench, number, told).await.is_some(),
                    None => true,
                }
            }
            Act::Pause if paused.is_none() => {
                let kept = bench.board.pause(what.clone(), None).await.is_ok();
                // What was on its way arrives.
                let lives = kept && stage.pass(&bench, 4).await;
                paused = lives.then(|| stage.of_ordered());
                lives
            }
            Act::Resume if paused.is_some() => {
                assert_eq!(paused.take(), Some(stage.of_ordered()), "nothing is sent meanwhile");
                bench.board.resume(&what).await.is_ok()
            }
            Act::Pause | Act::Resume => true,
            Act::Die(writes, behind) => {
                dies.at(writes, behind);
                true
            }
        };
        if !lives {
            bench.task.shutdown().await;
            drop(bench);
            (bench, dies) = stage.live().await;
            // It may have been kept although nobody was told.
            let is_paused = bench.board.pauses().0.contains_key(&what);
            match (is_paused, paused) {
                (true, None) => drop(bench.board.resume(&what).await.expect("the journal lives")),
                (false, Some(_)) => paused = None,
                _ => {}
            }
        }
    }
    // In the end all goes well.
    dies.never();
    if !bench.journal.ping().await {
        bench.task.shutdown().await;
        drop(bench);
        bench = stage.live().await.0;
    }
    bench.board.resume(&what).await.expect("the journal lives");
    for number in stage.keys.keys().copied().collect::<Vec<_>>() {
        stage.end(&bench, number, true).await.expect("the journal lives");
    }
    let begun = stage.clock.now();
    while !stage.runs(&bench.journal).iter().all(|run| run.state.is_settled()) {
        assert!(
            stage.clock.now().since(begun) < OVER_WITHIN,
            "{:#?}",
            stage.runs(&bench.journal).iter().find(|run| !run.state.is_settled())
        );
        assert!(stage.pass(&bench, 8).await, "the journal lives");
    }
    let runs = stage.runs(&bench.journal);
    assert!(runs.iter().all(|run| run.state == RunState::Succeeded), "{runs:#?}");
    let known: BTreeSet<RunId> = runs.iter().map(Run::id).collect();
    assert!(stage.planned.iter().all(|id| known.contains(id)), "what was acknowledged is there");
    bench.stop().await;
    drop(bench);
    stage.judge(&runs);
    let (journal, _) = stage.live().await;
    assert_eq!(stage.runs(&journal.journal), runs, "opened again");
    let mut journal = journal;
    journal.stop().await;
    drop(journal);
    let checked = crate::journal::check(stage.dir.path(), "boot", &|_, _| ()).expect("checks");
    assert!(checked.is_good(), "{checked:?}");
    drop(over);
    held.await.expect("ends");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_fails_and_at_whichever_write_it_dies_every_run_succeeds_in_order_and_within_limits(
        acts in prop::collection::vec(act(), 5..40),
        lucks in prop::collection::vec(0..12_u8, 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(play(acts, lucks));
    }
}
