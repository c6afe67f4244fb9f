//! Random lives of items, webhooks that are lost, doubled and shuffled, faults and crashes: what is kept in the end is what
//! happened, each once. What happened is told by what was done, not by any code under test.

use proptest::prelude::*;

use super::*;
use crate::event::{Verified, Via};
use crate::journal::Delivery;
use crate::normalize::orchestrator;

/// What is done: a choice and a number for it.
type Deed = (u8, u8);

/// One attempt, as the test knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    New,
    Taken,
    Failed,
    Abandoned,
    Over,
}

#[derive(Default)]
struct Truth {
    items: Vec<(i64, &'static str, String, Is)>,
    /// How often each change of each item happened.
    happened: BTreeMap<(i64, String), usize>,
    /// The first end of each item, and the starts that are still to be seen in it.
    lasting: BTreeMap<(i64, String), usize>,
}

impl Truth {
    fn note(&mut self, id: i64, name: &str, lasts: bool) {
        *self.happened.entry((id, name.to_owned())).or_insert(0) += 1;
        if lasts {
            self.lasting.insert((id, name.to_owned()), 1);
        }
    }

    fn pick(&self, number: u8, fits: impl Fn(Is) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.items.len()).filter(|at| fits(self.items[*at].3)).collect();
        (!found.is_empty()).then(|| found[usize::from(number) % found.len()])
    }
}

async fn next_attempt(bench: &Bench, truth: &mut Truth, at: usize, by_hand: bool) {
    let (old, queue, reference, _) = truth.items[at].clone();
    let field = if by_hand { "ManualAncestorId" } else { "AncestorId" };
    let found = bench.get(&format!("/odata/QueueItems?$filter={field}%20eq%20{old}")).await;
    let Some(new) = found["value"][0]["Id"].as_i64() else { return };
    truth.note(old, "retried", true);
    truth.note(new, "added", true);
    truth.items[at].3 = Is::Over;
    truth.items.push((new, queue, reference, Is::New));
}

/// Does one thing to some item.
async fn act(bench: &Bench, truth: &mut Truth, (what, number): Deed) {
    match what % 9 {
        0 | 1 => {
            let queue = if number.is_multiple_of(2) { "Payments" } else { "Open" };
            let reference = format!("r-{}", truth.items.len());
            let id = bench.add(queue, &reference).await;
            truth.note(id, "added", true);
            truth.items.push((id, queue, reference, Is::New));
        }
        2 | 3 => {
            let Some(at) = truth.pick(number, |is| is == Is::New) else { return };
            let (id, queue, reference, _) = truth.items[at].clone();
            if bench.take(queue, &reference).await == Some(id) {
                truth.note(id, "transactionStarted", true);
                truth.items[at].3 = Is::Taken;
            }
        }
        4 => {
            let Some(at) = truth.pick(number, |is| is == Is::Taken) else { return };
            let id = truth.items[at].0;
            let kind = if number.is_multiple_of(3) { "BusinessException" } else { "ApplicationException" };
            match number % 4 {
                0 => {
                    bench.end(id, json!({"IsSuccessful": true})).await;
                    truth.note(id, "transactionCompleted", true);
                    truth.items[at].3 = Is::Over;
                }
                1 => {
                    let later = bench.clock.now().plus(Duration::from_secs(1)).to_string();
                    bench.end(id, json!({"IsSuccessful": false, "DeferDate": later})).await;
                    truth.note(id, "deferred", false);
                    // A list shows no start of an item that waits again.
                    truth.lasting.remove(&(id, "transactionStarted".to_owned()));
                    truth.items[at].3 = Is::New;
                }
                _ => {
                    bench.end(id, json!({"IsSuccessful": false, "ProcessingException": {"Reason": "boom", "Type": kind}})).await;
                    truth.note(id, "transactionFailed", true);
                    truth.items[at].3 = Is::Failed;
                    next_attempt(bench, truth, at, false).await;
                }
            }
        }
        5 => {
            let Some(at) = truth.pick(number, |is| is == Is::Taken) else { return };
            let id = truth.items[at].0;
            bench.post(&format!("/sandbox/items/{id}/abandon"), Value::Null).await;
            truth.note(id, "transactionAbandoned", true);
            truth.items[at].3 = Is::Abandoned;
        }
        6 => {
            let Some(at) = truth.pick(number, |is| is == Is::New) else { return };
            let id = truth.items[at].0;
            let (status, _) = bench.call("DELETE", &format!("/odata/QueueItems({id})"), &Value::Null).await;
            assert_eq!(status, 204);
            truth.note(id, "deleted", true);
            truth.items[at].3 = Is::Over;
        }
        7 => {
            let Some(at) = truth.pick(number, |is| is == Is::New) else { return };
            let id = truth.items[at].0;
            let edit = json!({"Progress": format!("p-{}", bench.clock.now())});
            let (status, answer) = bench.call("PUT", &format!("/odata/QueueItems({id})"), &edit).await;
            assert_eq!(status, 200, "{answer}");
            truth.note(id, "updated", false);
        }
        _ => {
            let Some(at) = truth.pick(number, |is| matches!(is, Is::Failed | Is::Abandoned)) else { return };
            let id = truth.items[at].0;
            let body = json!({"status": "Retried", "queueItems": [{"Id": id}]});
            bench.post("/odata/QueueItems/UiPathODataSvc.SetItemReviewStatus", body).await;
            truth.note(id, "reviewStatusChanged", false);
            next_attempt(bench, truth, at, true).await;
        }
    }
}

/// Hands some of the webhook's bodies over, some twice, in another order.
async fn deliver(bench: &Bench, taken: &mut usize, number: u8) {
    let sink = bench.get("/sandbox/sinks/hook").await;
    let bodies = sink["items"].as_array().cloned().unwrap_or_default();
    let mut batch: Vec<String> = bodies.iter().skip(*taken).filter_map(|one| Some(one["body"].as_str()?.to_owned())).collect();
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
fn kept(bench: &Bench) -> BTreeMap<(i64, String), usize> {
    let mut counts = BTreeMap::new();
    for event in bench.events() {
        let parts: Vec<&str> = event.change.key.text.split('|').collect();
        let id = parts[2].parse().expect("an id");
        *counts.entry((id, parts[3].trim_start_matches("queueItem.").to_owned())).or_insert(0) += 1;
    }
    counts
}

async fn history(deeds: Vec<Deed>, feed: bool) {
    const KINDS: [&str; 7] = ["429", "500", "truncated", "html", "reset", "expired_tokens", "empty"];
    const PATHS: [&str; 4] = ["QueueItemEvents", "QueueItems", "QueueDefinitions", "RetrieveQueuesProcessingStatus"];
    let mut bench = Bench::start(sandbox::Options { feed, ..options() }).await;
    let source = bench.source(PollKind::QueueItems);
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
    let kept = kept(&bench);
    if feed {
        assert_eq!(kept, truth.happened);
        return;
    }
    for (change, count) in &kept {
        assert!(
            truth.happened.get(change).is_some_and(|happened| count <= happened),
            "{change:?}: {count} of {:?}",
            truth.happened.get(change)
        );
    }
    for change in truth.lasting.keys() {
        assert!(kept.contains_key(change), "{change:?} is missing");
    }
}

fn run(deeds: Vec<Deed>, feed: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Box::pin(history(deeds, feed)));
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    prop::collection::vec(any::<Deed>(), 10..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_a_feed_every_change_is_kept_once(deeds in deeds()) {
        run(deeds, true);
    }

    #[test]
    fn without_a_feed_what_is_promised_is_kept_once_and_nothing_else(deeds in deeds()) {
        run(deeds, false);
    }
}
