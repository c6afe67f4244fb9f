//! The first chapters: the stage, the work, a duplicate, a target that is unwilling at first.

use serde_json::{Value, json};

use super::End;
use super::ask::{Missed, items, text, until};
use super::stage::Stage;
use super::tell::{Effect, Tell};

/// What the webhook asks for: changes that only the robot of this story makes.
const EVENTS: [&str; 3] = ["queueItem.transactionFailed", "queueItem.transactionCompleted", "queueItem.retried"];
/// The rule that makes review items.
pub(super) const REVIEW: &str = "demo-review-rejected-invoice";
/// The rule that books payments.
pub(super) const BOOK: &str = "demo-book-paid-invoice";

/// Characters of an Idempotency-Key that are shown.
const KEY_SHOWN: usize = 14;

/// A transaction that ended well.
pub(super) fn paid() -> Value {
    json!({"IsSuccessful": true, "Output": {"Paid": true}})
}

/// A transaction that a business rule rejected.
pub(super) fn rejected() -> Value {
    json!({"IsSuccessful": false, "ProcessingException": {"Type": "BusinessException", "Reason": "Unknown supplier"}})
}

/// A transaction that failed for a technical reason.
fn broken() -> Value {
    json!({"IsSuccessful": false, "ProcessingException": {"Type": "ApplicationException", "Reason": "The portal did not answer"}})
}

/// The sandbox, the daemon, the webhook.
pub(super) async fn stage(stage: &mut Stage, tell: &mut Tell<'_>) -> Result<(), End> {
    tell.chapter("A simulated Orchestrator and the real daemon")?;
    let state = stage.sandbox_get("/sandbox/state").await?;
    let queues: Vec<String> = state["queues"].as_array().into_iter().flatten().map(|queue| text(&queue["name"])).collect();
    tell.line("orchestrator", &format!("{}  simulated, for {}", stage.sandbox, text(&state["for"])))?;
    tell.line("queues", &queues.join(", "))?;
    tell.waiting("the daemon starts");
    let (pid, took) = stage.start().await?;
    tell.seen(Effect::Ready, "daemon", &format!("pid {pid}, ready after {} ms, {}", took.as_millis(), stage.admin))?;
    match stage.rules_missing() {
        Some(why) => tell.line("rules", why)?,
        None => {
            let generation = stage.metric("tripline_rules_generation").await?.ok_or_else(|| Missed::new("the generation of the rules"))?;
            let from = stage.rules.as_ref().map_or_else(|| "those that come with it".to_owned(), |file| file.display().to_string());
            tell.line("rules", &format!("{from}, generation {generation} in force"))?;
        }
    }
    let events: Vec<Value> = EVENTS.iter().map(|name| json!({"EventType": name})).collect();
    let webhook = json!({
        "Name": "tripline", "Url": stage.hook, "Secret": stage.secret, "Enabled": true, "SubscribeToAllEvents": false,
        "AllowInsecureSsl": false, "Events": events,
    });
    let (status, webhook) = stage.sandbox_post("/odata/Webhooks", &webhook).await?;
    tell.line("webhook", &format!("POST /odata/Webhooks answered {status}: {} to {}", webhook["Id"], text(&webhook["Url"])))?;
    tell.waiting("the webhook's ping");
    let ping = until("the webhook's ping acknowledged", async || Ok(stage.acknowledged(Some("ping")).await?.into_iter().next())).await?;
    let id = text(&ping["answer"]["events"][0]);
    let event = stage.admin_get(&format!("/api/v1/events/{id}")).await?;
    let observed = format!("signed, answered {} after {} ms, kept as event {}", ping["status"], ping["took_ms"], text(&event["id"]));
    tell.seen(Effect::Webhook, "ping", &observed)?;
    Ok(())
}

/// Three invoices: one paid, one rejected, one that meets a technical failure.
pub(super) async fn work(stage: &Stage, tell: &mut Tell<'_>) -> Result<(), End> {
    tell.chapter("Invoices are worked on: event, rule, follow-up")?;
    for (invoice, amount) in [("INV-1001", 120.0), ("INV-1002", 8_400.0), ("INV-1003", 75.5)] {
        let item = stage.add_invoice(invoice, amount).await?;
        tell.line("added", &format!("{invoice} over {amount} is item {} ({})", item["Id"], text(&item["Status"])))?;
    }
    stage.work("INV-1001", &paid()).await?;
    stage.work("INV-1002", &rejected()).await?;
    let failed = stage.work("INV-1003", &broken()).await?;

    tell.waiting("the rejected invoice");
    let event = stage.event("queueItem.transactionFailed", "INV-1002").await?;
    tell.line("event", &said(&event))?;
    follow_up(stage, tell, &event, "INV-1002").await?;

    tell.waiting("the paid invoice");
    let event = stage.event("queueItem.transactionCompleted", "INV-1001").await?;
    tell.line("event", &said(&event))?;
    let run = stage.succeeded(&event, BOOK).await?;
    tell.line("rule", &told(&run))?;
    let calls = until("the payment of INV-1001 in the ledger", async || {
        Ok(Some(stage.ledger("/payments", "INV-1001").await?).filter(|calls| !calls.is_empty()))
    })
    .await?;
    tell.seen(Effect::Call, "called", &call(&calls[0]))?;

    tell.waiting("the technical failure");
    let event = stage.event("queueItem.transactionFailed", "INV-1003").await?;
    let retried = stage.event("queueItem.retried", "INV-1003").await?;
    let runs = stage.admin_get(&format!("/api/v1/runs?event={}", text(&event["id"]))).await?;
    if !items(&runs).is_empty() {
        return Err(Missed::new("a technical failure that no rule wants").into());
    }
    tell.line("event", &said(&event))?;
    let next = &retried["data"]["QueueItem"];
    let observed = format!("no rule wants it, it is kept; Orchestrator retries item {} as {}", failed["Id"], next["Id"]);
    tell.seen(Effect::Unmatched, "no match", &observed)?;
    Ok(())
}

/// The same delivery twice.
pub(super) async fn duplicate(stage: &Stage, tell: &mut Tell<'_>) -> Result<(), End> {
    tell.chapter("A delivery comes twice")?;
    stage.fault(&json!({"kind": "webhook_duplicates", "type": "queueItem.transactionFailed", "times": 1})).await?;
    stage.add_invoice("INV-1004", 990.0).await?;
    stage.work("INV-1004", &rejected()).await?;
    tell.waiting("the second delivery");
    let event = stage.event("queueItem.transactionFailed", "INV-1004").await?;
    let service_id = text(&event["event_id"]);
    let copies = until("both deliveries acknowledged", async || {
        let all = stage.acknowledged(Some("queueItem.transactionFailed")).await?;
        let copies: Vec<Value> = all.into_iter().filter(|row| row["event_id"] == service_id.as_str()).collect();
        Ok(Some(copies).filter(|copies| copies.len() == 2))
    })
    .await?;
    for copy in &copies {
        tell.line("delivery", &format!("EventId {service_id} answered {}: folded {}", copy["status"], copy["answer"]["folded"]))?;
    }
    let id = text(&event["id"]);
    let folded = until("the copy folded into its event", async || {
        let event = stage.admin_get(&format!("/api/v1/events/{id}")).await?;
        Ok(Some(event).filter(|event| event["folded"]["count"].as_u64() == Some(1)))
    })
    .await?;
    stage.succeeded(&event, REVIEW).await?;
    let reviews = stage.reviews("review-INV-1004").await?;
    if reviews.len() != 1 {
        return Err(Missed::new(format!("one review of INV-1004, there are {}", reviews.len())).into());
    }
    let observed = format!("{} deliveries, one event with {} folded, one follow-up", copies.len(), folded["folded"]["count"]);
    tell.seen(Effect::Fold, "folded", &observed)?;
    Ok(())
}

/// A target that answers 503 twice.
pub(super) async fn unwilling(stage: &Stage, tell: &mut Tell<'_>) -> Result<(), End> {
    tell.chapter("The ledger answers 503 twice")?;
    stage.fault(&json!({"kind": "503", "match": {"path": "/sandbox/sink/ledger/payments"}, "times": 2})).await?;
    stage.add_invoice("INV-1005", 310.0).await?;
    stage.work("INV-1005", &paid()).await?;
    tell.waiting("the third attempt");
    let event = stage.event("queueItem.transactionCompleted", "INV-1005").await?;
    let run = stage.succeeded(&event, BOOK).await?;
    let calls = stage.ledger("/payments", "INV-1005").await?;
    for attempt in &calls {
        tell.line("attempt", &call(attempt))?;
    }
    let statuses: Vec<u64> = calls.iter().filter_map(|call| call["status"].as_u64()).collect();
    let key = &calls.first().ok_or_else(|| Missed::new("a call to the ledger"))?["headers"]["idempotency-key"];
    if statuses != [503, 503, 200] || calls.iter().any(|call| call["headers"]["idempotency-key"] != *key) {
        return Err(Missed::new(format!("503, 503, 200 under one Idempotency-Key; the ledger answered {statuses:?}")).into());
    }
    let observed = format!("{statuses:?} under one Idempotency-Key; the run {} after {} attempts", text(&run["state"]), run["attempts"]);
    tell.seen(Effect::Retry, "done", &observed)?;
    Ok(())
}

/// The review item of a rejected invoice, made by the rule, and the call that follows it.
async fn follow_up(stage: &Stage, tell: &mut Tell<'_>, event: &Value, invoice: &str) -> Result<(), End> {
    let run = stage.succeeded(event, REVIEW).await?;
    tell.line("rule", &told(&run))?;
    let reviews = stage.reviews(&format!("review-{invoice}")).await?;
    let [review] = reviews.as_slice() else {
        return Err(Missed::new(format!("one review of {invoice}, there are {}", reviews.len())).into());
    };
    let observed = format!("item {} in Invoices-Review, reference {}", review["Id"], text(&review["Reference"]));
    tell.seen(Effect::FollowUp, "follow-up", &observed)?;
    let calls = stage.ledger("/reviews", invoice).await?;
    tell.line("called", &call(calls.first().ok_or_else(|| Missed::new(format!("the ledger told of {invoice}")))?))?;
    Ok(())
}

/// An event in a line.
fn said(event: &Value) -> String {
    let item = &event["data"]["QueueItem"];
    let why = item["ProcessingException"]["Reason"].as_str().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("{} {} {}{why}", text(&event["id"]), text(&event["type"]), text(&item["Reference"]))
}

/// A run in a line.
fn told(run: &Value) -> String {
    let steps: Vec<String> = run["steps"].as_array().into_iter().flatten().map(|step| text(&step["kind"])).collect();
    format!("{} {}: {}", text(&run["rule"]), text(&run["state"]), steps.join(", "))
}

/// A call to the ledger in a line.
fn call(row: &Value) -> String {
    let key = text(&row["headers"]["idempotency-key"]);
    let short: String = key.chars().take(KEY_SHOWN).collect();
    format!(
        "{} {} answered {}, Idempotency-Key {short}…",
        text(&row["method"]),
        text(&row["path"]).trim_start_matches("/sandbox/sink"),
        row["status"]
    )
}
