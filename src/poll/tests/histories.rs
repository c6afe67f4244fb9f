//! Random lives of items, webhooks that are lost, doubled and shuffled, faults and crashes: what is kept in the end is what
//! happened, each once. What happened is told by what was done, not by any code under test.

use proptest::prelude::*;

use super::lives::{self, Changes, Deed, Peer, Truth, act, judge};
use super::*;
use crate::event::{Verified, Via};
use crate::journal::Delivery;
use crate::normalize::orchestrator;

impl Peer for Bench {
    async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        Self::call(self, method, path, body).await
    }

    fn later(&self, seconds: u64) -> String {
        self.clock.now().plus(Duration::from_secs(seconds)).to_string()
    }
}

/// Hands some of the webhook's bodies over, some twice, in another order.
async fn deliver(bench: &Bench, taken: &mut usize, number: u8) {
    let sink = bench.get("/sandbox/sinks/hook").await;
    let bodies = sink["items"].as_array().cloned().unwrap_or_default();
    // As the sandbox signed it, but for the space between its tokens.
    let mut batch: Vec<String> = bodies.iter().skip(*taken).map(|one| one["body"].to_string()).collect();
    *taken = bodies.len();
    let by = usize::from(number).checked_rem(batch.len()).unwrap_or(0);
    batch.rotate_left(by);
    let source = SourceView { name: "hook".into(), tenant_url: Some(TENANT.into()) };
    for (n, body) in batch.iter().enumerate() {
        for _ in 0..(usize::from(number) + n) % 3 {
            let read = orchestrator(body.as_bytes(), &source, bench.clock.now());
            let delivery = Delivery {
                source: "hook".into(),
                via: Via::Webhook,
                orchestrator: Some("prod".into()),
                verified: Verified::Yes,
                received: bench.clock.now(),
                body: body.clone().into_bytes().into(),
                delivery_id: read.delivery_id,
                changes: read.changes,
            };
            bench.journal().accept(delivery).await.expect("kept");
        }
    }
}

/// How often each change is in the journal, by its key.
fn kept(bench: &Bench) -> Changes {
    let mut counts = BTreeMap::new();
    for event in bench.events() {
        let parts: Vec<&str> = event.change.key.text.split('|').collect();
        if parts[1] != "queueItem" {
            // The ping that a webhook begins with.
            continue;
        }
        let id = parts[2].parse().expect("an id");
        *counts.entry((id, parts[3].trim_start_matches("queueItem.").to_owned())).or_insert(0) += 1;
    }
    counts
}

async fn history(deeds: Vec<Deed>, feed: bool) {
    const KINDS: [&str; 7] = ["429", "500", "truncated", "html", "reset", "expired_tokens", "empty"];
    const PATHS: [&str; 4] = ["QueueItemEvents", "QueueItems", "QueueDefinitions", "RetrieveQueuesProcessingStatus"];
    let mut bench = Bench::start(sandbox::Options { feed, ..options() }).await;
    lives::share(&bench).await;
    let mut source = bench.source(PollKind::QueueItems);
    // A queue that is shared shows each item in both.
    source.config.folders = Chosen::These(vec![FolderRef::Path("Finance".into()), FolderRef::Path("Shared".into())]);
    good(&mut Reader::new(&bench.poll(), &source)).await;
    let hook = json!({"Name": "t", "Url": format!("{}/sandbox/sink/hook", bench.base), "Enabled": true, "SubscribeToAllEvents": true});
    bench.post("/odata/Webhooks", hook).await;
    let (mut truth, mut taken) = (Truth::default(), 0);
    let mut deeds = deeds.into_iter().peekable();
    while deeds.peek().is_some() {
        // One life of the daemon, to its crash.
        let poll = bench.poll();
        let mut reader = Reader::new(&poll, &source);
        for (what, number) in deeds.by_ref() {
            bench.pass_time(11);
            match what {
                0..=149 => act(&bench, &mut truth, (what, number)).await,
                150..=204 => drop(reader.pass().await),
                205..=224 => deliver(&bench, &mut taken, number).await,
                225..=239 => {
                    let (kind, path) = (KINDS[usize::from(number) % KINDS.len()], PATHS[usize::from(number) % PATHS.len()]);
                    bench.fault(json!({"kind": kind, "match": {"path": path}, "times": 1, "after": number % 3})).await;
                    drop(reader.pass().await);
                    // What is done to items is not to meet it.
                    bench.call("DELETE", "/sandbox/faults", &Value::Null).await;
                }
                _ => break,
            }
        }
        drop(reader);
        drop(poll);
        bench.open();
    }
    let poll = bench.poll();
    let mut reader = Reader::new(&poll, &source);
    for _ in 0..4 {
        bench.pass_time(301);
        good(&mut reader).await;
    }
    if let Err(wrong) = judge(&kept(&bench), &truth, feed) {
        panic!("{wrong}");
    }
}

fn run(deeds: Vec<Deed>, feed: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Box::pin(history(deeds, feed)));
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    prop::collection::vec(any::<Deed>(), 10..60)
}

/// Ten histories of each kind; as many as `PROPTEST_CASES` says where that is set.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if default.cases == CASES_UNSAID { 10 } else { default.cases };
    ProptestConfig { cases, max_shrink_iters: 30, failure_persistence: None, ..default }
}

/// What proptest runs where nobody says how many.
const CASES_UNSAID: u32 = 256;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn with_a_feed_every_change_is_kept_once(deeds in deeds()) {
        run(deeds, true);
    }

    #[test]
    fn without_a_feed_what_is_promised_is_kept_once_and_nothing_else(deeds in deeds()) {
        run(deeds, false);
    }
}
