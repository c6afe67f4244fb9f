//! Random lives of queue items over processes: a sandbox whose deliveries are lost, doubled, late and shuffled and whose API fails
//! now and then, a daemon that is killed at any moment. What rules saw in the end is what happened, each once.
//!
//! `TRIPLINE_HISTORY_ROUNDS` says how many histories of each kind, `TRIPLINE_HISTORY_SEED` which one is the first; a failure
//! names its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tripline::clock::Clock;
use tripline::sandbox::Options;

use crate::support::lives::{self, Changes, Peer, Truth, act, judge};
use crate::support::{Daemon, Folder, SECRET, Sandbox, rounds, start_sandbox_as, until, until_within};

/// Histories of each kind, unless `TRIPLINE_HISTORY_ROUNDS` says otherwise.
const ROUNDS: u64 = 1;
/// What is done in one history.
const DEEDS: u64 = 70;
/// What the end of a history may take: pauses after failures, retries, runs.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// The sandbox's clock moves so far between two deeds: more than the tolerance of stamps.
const STEP: Duration = Duration::from_secs(11);

/// Numbers without a pattern, the same for the same seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// The sandbox as those see it who work with its items, on another path than the daemon: faults are for the daemon.
struct World {
    sandbox: Sandbox,
    clock: Clock,
}

impl Peer for World {
    async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.sandbox.call(method, path, body).await
    }

    fn later(&self, seconds: u64) -> String {
        self.clock.now().plus(Duration::from_secs(seconds)).to_string()
    }
}

impl World {
    async fn start(feed: bool) -> Self {
        let clock = Clock::manual(Clock::system().now());
        let options = Options {
            feed,
            // Without them lists are read in each pass, not only every few minutes.
            counters: false,
            breaker: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(5),
            clock: clock.clone(),
            ..Options::default()
        };
        let world = Self { sandbox: start_sandbox_as(options).await, clock };
        lives::share(&world).await;
        world
    }

    /// Where the daemon asks.
    fn url(&self) -> String {
        format!("{}/acme/Default/orchestrator_", self.sandbox.url)
    }

    fn folder(&self) -> Folder {
        let folder = Folder::new(&self.url());
        let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text").replace("level: debug", "level: info");
        let poll = "{orchestrator: prod, kind: queue_items, every: 1s, folders: [Finance, Shared], reconciles: hook}";
        folder.write("tripline.yaml", &format!("{config}  queues:\n    poll: {poll}\n"));
        let see = format!("{}/sandbox/sink/seen", self.sandbox.url);
        folder.rule(
            "see",
            &format!("rule: see\nevents: queueItem.*\nsources: [hook]\nretry: {{first_wait: 200ms, max_wait: 1s, give_up_after: 1h}}\nsteps:\n  - http: {{method: POST, url: \"{see}\", body: {{event: \"${{event.id}}\", type: \"${{event.type}}\", item: \"${{item.Id}}\"}}}}\n"),
        );
        folder
    }

    async fn register(&self, listener: &std::net::TcpListener) {
        let url = format!("http://{}/hooks/hook", listener.local_addr().expect("an address"));
        let webhook = json!({"Name": "tripline", "Url": url, "Secret": SECRET, "Enabled": true, "SubscribeToAllEvents": true});
        let (status, answer) = self.sandbox.post("/odata/Webhooks", &webhook).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// One fault of the API or of deliveries.
    async fn misbehave(&self, chance: &mut Chance) {
        const ANSWERS: [&str; 9] = ["429", "500", "503", "401", "truncated", "html", "empty", "reset", "page_drift"];
        const LISTS: [&str; 4] = ["QueueItemEvents", "QueueItems", "QueueDefinitions", "Folders"];
        const DELIVERIES: [&str; 5] = ["webhook_loss", "webhook_duplicates", "webhook_reorder", "webhook_delay", "webhook_bad_signature"];
        let times = 1 + chance.below(3);
        let fault = if chance.below(2) == 0 {
            let path = format!("orchestrator_/odata/{}", LISTS[chance.below(4) as usize]);
            json!({"kind": ANSWERS[chance.below(9) as usize], "match": {"path": path, "method": "GET"}, "times": times, "after": chance.below(2), "retry_after": 1})
        } else {
            let kind = DELIVERIES[chance.below(5) as usize];
            if kind == "webhook_reorder" {
                json!({"kind": kind, "window": 1 + times})
            } else {
                json!({"kind": kind, "times": times, "millis": 300})
            }
        };
        self.sandbox.fault(fault).await;
    }

    /// What rules saw, by event; each is told until somebody answers, so one may come again.
    async fn seen(&self) -> BTreeSet<String> {
        let told = self.sandbox.sink("seen").await;
        told.iter().map(|one| one["body"]["event"].as_str().expect("an id").to_owned()).collect()
    }
}

/// How often each change of each item is in the journal, and under which events.
async fn kept(daemon: &Daemon) -> (Changes, BTreeMap<String, (i64, String)>) {
    let (mut changes, mut events) = (Changes::new(), BTreeMap::new());
    for event in daemon.list("/api/v1/events").await {
        // Tenant, kind, Id, type and occurrence: a retry is one of the attempt before.
        let key: Vec<&str> = event["key"].as_str().expect("a key").split('|').collect();
        let Some(name) = key[3].strip_prefix("queueItem.") else { continue };
        let change = (key[2].parse().expect("an Id"), name.to_owned());
        events.insert(event["id"].as_str().expect("an id").to_owned(), change.clone());
        *changes.entry(change).or_insert(0) += 1;
    }
    (changes, events)
}

/// Awaits that every folder is read once more from begin to end, without a failure.
async fn until_read(daemon: &Daemon) {
    let known = async || {
        let sources = daemon.get("/api/v1/sources").await;
        let source = sources["items"].as_array()?.iter().find(|one| one["source"] == "queues")?.clone();
        source["failure"].is_null().then_some(())?;
        let folders = source["folders"].as_array()?.clone();
        folders.iter().map(|one| one["known_until"].as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    };
    let before = until_within(SETTLED_WITHIN, "the folders are read", known).await;
    until_within(SETTLED_WITHIN, "the folders are read again", async || {
        let now = known().await?;
        (now.len() == before.len() && now.iter().zip(&before).all(|(now, before)| now > before)).then_some(())
    })
    .await;
}

async fn history(seed: u64, feed: bool) {
    let mut chance = Chance(seed);
    let world = World::start(feed).await;
    let folder = world.folder();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let mut daemon = Daemon::start_with_socket(&folder, &listener).await;
    until_read(&daemon).await;
    world.register(&listener).await;
    let mut truth = Truth::default();
    for _ in 0..DEEDS {
        world.clock.set(world.clock.now().plus(STEP));
        match chance.below(20) {
            0..=14 => act(&world, &mut truth, (chance.below(150) as u8, chance.below(256) as u8)).await,
            15 | 16 => world.misbehave(&mut chance).await,
            17 => {
                // Whatever it is doing.
                daemon.kill9();
                daemon = Daemon::start_with_socket(&folder, &listener).await;
            }
            _ => {
                let before = daemon.get("/api/v1/sources").await["items"].clone();
                until("a pass ends", async || (daemon.get("/api/v1/sources").await["items"] != before).then_some(())).await;
            }
        }
    }
    world.sandbox.clear_faults().await;
    until_read(&daemon).await;
    // Deliveries that were held come while there are others; what is left of them polling has brought.
    let (kept_changes, events) = kept(&daemon).await;
    if let Err(wrong) = judge(&kept_changes, &truth, feed) {
        panic!("seed {seed}: {wrong}");
    }
    let ids: BTreeSet<String> = events.keys().cloned().collect();
    until_within(SETTLED_WITHIN, "every rule run is done", async || {
        let runs = daemon.list("/api/v1/runs").await;
        (runs.len() == ids.len() && runs.iter().all(|run| run["state"] == "succeeded")).then_some(())
    })
    .await;
    assert_eq!(world.seen().await, ids, "seed {seed}: rules saw what is kept, nothing else");
    let runs = daemon.list("/api/v1/runs").await;
    let of_events: BTreeSet<String> = runs.iter().map(|run| run["event"].as_str().expect("an event").to_owned()).collect();
    assert_eq!((of_events.len(), &of_events), (runs.len(), &ids), "seed {seed}: one run for each event");
}

async fn histories(feed: bool) {
    let (count, first) = (rounds("TRIPLINE_HISTORY_ROUNDS", ROUNDS), rounds("TRIPLINE_HISTORY_SEED", 1));
    for seed in first..first + count {
        Box::pin(history(seed, feed)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_feed_rules_see_every_change_once() {
    histories(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_feed_rules_see_what_lists_tell_and_webhooks_brought_once() {
    histories(false).await;
}
