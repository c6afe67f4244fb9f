//! Random lives of queue items at a simulated Orchestrator, with what happened to them: told by what was done, not by any code
//! under test. Shared by the tests inside the library (`src/poll/tests`) and those over processes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What is done: a choice and a number for it.
pub(crate) type Deed = (u8, u8);

/// A queue that both folders of a sandbox share: each of its changes is told in both.
pub(crate) const SHARED: &str = "Copies";

/// The simulated Orchestrator, however it is reached.
pub(crate) trait Peer {
    /// Asks it; status and JSON of the answer.
    async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value);

    /// A moment so many seconds later than its clock, as the API writes it.
    fn later(&self, seconds: u64) -> String;
}

/// One attempt, as the test knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    New,
    Taken,
    Failed,
    Abandoned,
    Over,
}

/// How often each change of each item happened, by the item's Id and the last part of the event's type.
pub(crate) type Changes = BTreeMap<(i64, String), usize>;

/// What happened.
#[derive(Default)]
pub(crate) struct Truth {
    items: Vec<(i64, &'static str, String, Is)>,
    /// Every change.
    pub(crate) happened: Changes,
    /// The first end of each item, and the starts that are still to be seen in it: what lists can tell.
    pub(crate) lasting: Changes,
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

async fn post(peer: &impl Peer, path: &str, body: Value) -> Value {
    let (status, answer) = peer.call("POST", path, &body).await;
    assert!(status < 300, "{path} {body}: {status} {answer}");
    answer
}

/// Makes the shared queue, whose failed items are retried twice.
pub(crate) async fn share(peer: &impl Peer) {
    post(peer, "/sandbox/queues", json!({"name": SHARED, "folders": ["Finance", "Shared"], "retries": 2})).await;
}

async fn next_attempt(peer: &impl Peer, truth: &mut Truth, at: usize, by_hand: bool) {
    let (old, queue, reference, _) = truth.items[at].clone();
    let field = if by_hand { "ManualAncestorId" } else { "AncestorId" };
    let (_, found) = peer.call("GET", &format!("/odata/QueueItems?$filter={field}%20eq%20{old}"), &Value::Null).await;
    let Some(new) = found["value"][0]["Id"].as_i64() else { return };
    truth.note(old, "retried", true);
    truth.note(new, "added", true);
    truth.items[at].3 = Is::Over;
    truth.items.push((new, queue, reference, Is::New));
}

async fn add(peer: &impl Peer, truth: &mut Truth, number: u8) {
    let queue = ["Payments", "Open", SHARED][usize::from(number % 3)];
    let reference = format!("r-{}", truth.items.len());
    let mut item = json!({"Name": queue, "Reference": reference, "SpecificContent": {"Invoice": reference}});
    if number.is_multiple_of(5) {
        item["DeferDate"] = peer.later(2).into();
    }
    let added = post(peer, "/odata/Queues/UiPathODataSvc.AddQueueItem", json!({"itemData": item})).await;
    let id = added["Id"].as_i64().expect("an id");
    truth.note(id, "added", true);
    truth.items.push((id, queue, reference, Is::New));
}

async fn end(peer: &impl Peer, truth: &mut Truth, at: usize, number: u8) {
    let id = truth.items[at].0;
    let result = async |result: Value| {
        post(peer, &format!("/odata/Queues({id})/UiPathODataSvc.SetTransactionResult"), json!({"transactionResult": result})).await
    };
    match number % 4 {
        0 => {
            result(json!({"IsSuccessful": true})).await;
            truth.note(id, "transactionCompleted", true);
            truth.items[at].3 = Is::Over;
        }
        1 => {
            result(json!({"IsSuccessful": false, "DeferDate": peer.later(1)})).await;
            truth.note(id, "deferred", false);
            // A list shows no start of an item that waits again.
            truth.lasting.remove(&(id, "transactionStarted".to_owned()));
            truth.items[at].3 = Is::New;
        }
        _ => {
            let kind = if number.is_multiple_of(3) { "BusinessException" } else { "ApplicationException" };
            result(json!({"IsSuccessful": false, "ProcessingException": {"Reason": "boom", "Type": kind}})).await;
            truth.note(id, "transactionFailed", true);
            truth.items[at].3 = Is::Failed;
            next_attempt(peer, truth, at, false).await;
        }
    }
}

/// Does one thing to some item. Between two deeds the sandbox's clock moves on by more than the tolerance of stamps.
pub(crate) async fn act(peer: &impl Peer, truth: &mut Truth, (what, number): Deed) {
    match what % 10 {
        0 | 1 => add(peer, truth, number).await,
        2 | 3 => {
            let Some(at) = truth.pick(number, |is| is == Is::New) else { return };
            let (id, queue, reference, _) = truth.items[at].clone();
            let start = json!({"transactionData": {"Name": queue, "Reference": reference, "ReferenceFilterOption": "Equals"}});
            let (_, started) = peer.call("POST", "/odata/Queues/UiPathODataSvc.StartTransaction", &start).await;
            if started["Id"] == id {
                truth.note(id, "transactionStarted", true);
                truth.items[at].3 = Is::Taken;
            }
        }
        4 => {
            let Some(at) = truth.pick(number, |is| is == Is::Taken) else { return };
            end(peer, truth, at, number).await;
        }
        5 => {
            let Some(at) = truth.pick(number, |is| is == Is::Taken) else { return };
            let id = truth.items[at].0;
            post(peer, &format!("/sandbox/items/{id}/abandon"), Value::Null).await;
            truth.note(id, "transactionAbandoned", true);
            truth.items[at].3 = Is::Abandoned;
        }
        6 => {
            let Some(at) = truth.pick(number, |is| is == Is::New) else { return };
            let id = truth.items[at].0;
            let (status, _) = peer.call("DELETE", &format!("/odata/QueueItems({id})"), &Value::Null).await;
            assert_eq!(status, 204);
            truth.note(id, "deleted", true);
            truth.items[at].3 = Is::Over;
        }
        7 => {
            let Some(at) = truth.pick(number, |is| is == Is::New) else { return };
            let id = truth.items[at].0;
            // Sometimes several times in one moment.
            for edit in 0..1 + u64::from(number % 3) {
                let progress = json!({"Progress": peer.later(edit)});
                let (status, answer) = peer.call("PUT", &format!("/odata/QueueItems({id})"), &progress).await;
                assert_eq!(status, 200, "{answer}");
                truth.note(id, "updated", false);
            }
        }
        8 => {
            let Some(at) = truth.pick(number, |is| matches!(is, Is::Failed | Is::Abandoned)) else { return };
            let id = truth.items[at].0;
            let retry = json!({"status": "Retried", "queueItems": [{"Id": id}]});
            post(peer, "/odata/QueueItems/UiPathODataSvc.SetItemReviewStatus", retry).await;
            truth.note(id, "reviewStatusChanged", false);
            next_attempt(peer, truth, at, true).await;
        }
        _ => review(peer, truth, number).await,
    }
}

/// Somebody looks into a failed item; it may be retried by hand later.
async fn review(peer: &impl Peer, truth: &mut Truth, number: u8) {
    let Some(at) = truth.pick(number, |is| is == Is::Failed) else { return };
    let id = truth.items[at].0;
    let (_, item) = peer.call("GET", &format!("/odata/QueueItems({id})"), &Value::Null).await;
    let next = match item["ReviewStatus"].as_str() {
        Some("None") => "InReview",
        Some("InReview") => "Verified",
        _ => return,
    };
    post(peer, "/odata/QueueItems/UiPathODataSvc.SetItemReviewStatus", json!({"status": next, "queueItems": [{"Id": id}]})).await;
    truth.note(id, "reviewStatusChanged", false);
}

/// Whether what was kept is what may be kept, and all that is promised: everything with a feed, without one what lists can tell.
pub(crate) fn judge(kept: &Changes, truth: &Truth, feed: bool) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (change, count) in kept {
        let happened = truth.happened.get(change).copied().unwrap_or(0);
        if *count > happened {
            wrong.push(format!("{change:?} is there {count} times and happened {happened} times"));
        }
    }
    for (change, count) in if feed { &truth.happened } else { &truth.lasting } {
        let there = kept.get(change).copied().unwrap_or(0);
        if there < *count {
            wrong.push(format!("{change:?} happened {count} times and is there {there} times"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}
