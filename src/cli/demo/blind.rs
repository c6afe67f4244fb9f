//! The blind hour: one failed delivery switches the webhook off, and polling brings what it skips.

use serde_json::{Value, json};

use super::End;
use super::ask::{Missed, items, text, until};
use super::chapters::{BOOK, REVIEW, paid, rejected};
use super::stage::Stage;
use super::tell::{Effect, Tell};

/// The invoice whose delivery fails.
const FAILED: &str = "INV-3001";
/// Those that are rejected while the webhook is off.
const SKIPPED: [&str; 3] = ["INV-3002", "INV-3003", "INV-3004"];
/// The one that comes by webhook again.
const SEEN: &str = "INV-3005";

pub(super) async fn blind(stage: &Stage, tell: &mut Tell<'_>) -> Result<(), End> {
    tell.chapter("The webhook is off for an hour, and polling sees")?;
    stage.add_poll().map_err(|error| Missed::new(format!("a polled source in the configuration: {error}")))?;
    let generation = stage.reload().await?;
    let known = until("the polled source read", async || {
        let sources = stage.admin_get("/api/v1/sources").await?;
        let row = items(&sources).iter().find(|row| row["source"] == "sandbox-queues").cloned();
        Ok(row.and_then(|row| row["folders"][0]["known_until"].as_str().map(str::to_owned)))
    })
    .await?;
    tell.line("poll", &format!("source sandbox-queues added by a reload (generation {generation}), everything known until {known}"))?;

    // Signed with another secret the delivery is refused, and a refused delivery is all it takes.
    stage.fault(&json!({"kind": "webhook_bad_signature", "type": "queueItem.transactionCompleted", "times": 1})).await?;
    stage.add_invoice(FAILED, 77.0).await?;
    stage.work(FAILED, &paid()).await?;
    tell.waiting("the failed delivery");
    let webhook = until("the webhook switched off", async || Ok(webhook(stage).await?.filter(|row| row["breaker"] == "open"))).await?;
    tell.line("webhook", &format!("one delivery failed, Orchestrator skips all others until {}", text(&webhook["open_until"])))?;

    for invoice in SKIPPED {
        stage.add_invoice(invoice, 5_000.0).await?;
        stage.work(invoice, &rejected()).await?;
    }
    tell.waiting("what the webhook skipped");
    let booked = brought(stage, "queueItem.transactionCompleted", FAILED).await?;
    stage.succeeded(&booked, BOOK).await?;
    for invoice in SKIPPED {
        let event = brought(stage, "queueItem.transactionFailed", invoice).await?;
        stage.succeeded(&event, REVIEW).await?;
        tell.line("event", &format!("{} {} {invoice} by {}", text(&event["id"]), text(&event["type"]), text(&event["via"])))?;
    }
    let skipped = webhook_counts(stage, "skipped").await?;
    let observed = format!("{skipped} deliveries skipped, {} changes brought by polling, each with its run", SKIPPED.len() + 1);
    tell.seen(Effect::Brought, "brought", &observed)?;

    tell.waiting("the webhook found out to be blind");
    let blind = told(stage, "tripline.webhook.blind").await?;
    let types: Vec<String> = blind["data"]["types"].as_array().into_iter().flatten().map(text).collect();
    tell.line(
        "event",
        &format!("{} {}: {} missed, {}", text(&blind["id"]), text(&blind["type"]), blind["data"]["missed"], types.join(", ")),
    )?;
    stage.sandbox_post("/sandbox/breakers/close", &json!({})).await?;
    tell.line("later", "the hour is over, Orchestrator delivers again")?;
    stage.add_invoice(SEEN, 42.0).await?;
    stage.work(SEEN, &rejected()).await?;
    tell.waiting("the webhook healed");
    let healed = told(stage, "tripline.webhook.healed").await?;
    let observed = format!("blind from {} to {}, told once each", text(&healed["data"]["since"]), text(&healed["data"]["until"]));
    tell.seen(Effect::Blind, "healed", &observed)?;

    tell.waiting("the last follow-up");
    let event = stage.event("queueItem.transactionFailed", SEEN).await?;
    stage.succeeded(&event, REVIEW).await?;
    for invoice in SKIPPED.into_iter().chain([SEEN]) {
        let reviews = stage.reviews(&format!("review-{invoice}")).await?;
        if reviews.len() != 1 {
            return Err(Missed::new(format!("one review of {invoice}, there are {}", reviews.len())).into());
        }
    }
    tell.line("follow-ups", &format!("{} invoices rejected meanwhile, one follow-up each", SKIPPED.len() + 1))?;
    Ok(())
}

/// The event about an invoice, brought by polling.
async fn brought(stage: &Stage, event_type: &str, invoice: &str) -> Result<Value, Missed> {
    let event = stage.event(event_type, invoice).await?;
    if event["via"] == "poll" {
        return Ok(event);
    }
    Err(Missed::for_good(format!("{event_type} of {invoice} brought by polling; it came by {}", text(&event["via"]))))
}

/// The one event of a type of the daemon's own.
async fn told(stage: &Stage, event_type: &str) -> Result<Value, Missed> {
    until(&format!("an event {event_type}"), async || {
        let events = stage.admin_get(&format!("/api/v1/events?type={event_type}")).await?;
        match items(&events) {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            more => Err(Missed::for_good(format!("one event {event_type}; there are {}", more.len()))),
        }
    })
    .await
}

/// The webhook as the sandbox shows it.
async fn webhook(stage: &Stage) -> Result<Option<Value>, Missed> {
    Ok(stage.sandbox_get("/sandbox/state").await?["webhooks"].as_array().and_then(|rows| rows.first()).cloned())
}

async fn webhook_counts(stage: &Stage, name: &str) -> Result<u64, Missed> {
    Ok(webhook(stage).await?.and_then(|row| row["counts"][name].as_u64()).unwrap_or(0))
}
