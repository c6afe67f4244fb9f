//! The last chapters: the daemon is killed with work in progress and comes back; then the accounts are settled.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::End;
use super::ask::{Missed, items, text, until};
use super::chapters::{REVIEW, rejected};
use super::stage::Stage;
use super::tell::{Effect, Tell};

/// Invoices of the burst.
const BURST: usize = 24;
/// Those that were rejected in earlier chapters.
const REJECTED_BEFORE: [&str; 2] = ["INV-1002", "INV-1004"];
/// How late AddQueueItem answers meanwhile: what it did is done, but nobody has heard of it.
const LATE_MILLIS: u64 = 1_500;

/// The invoices of the burst.
fn burst() -> impl Iterator<Item = String> {
    (0..BURST).map(|n| format!("INV-{}", 2_001 + n))
}

/// Kill -9 in the middle of a burst, and a restart on the same folder.
pub(super) async fn kill(stage: &mut Stage, tell: &mut Tell<'_>) -> Result<(), End> {
    tell.chapter("The daemon is killed in the middle of a burst")?;
    for (n, invoice) in burst().enumerate() {
        stage.add_invoice(&invoice, 10.0 + n as f64).await?;
    }
    let slow = json!({"kind": "slow", "match": {"path": "AddQueueItem"}, "times": 0, "millis": LATE_MILLIS});
    let (_, fault) = stage.sandbox_post("/sandbox/faults", &slow).await?;
    tell.waiting("a burst of rejected invoices");
    for invoice in burst() {
        stage.work(&invoice, &rejected()).await?;
    }
    let acknowledged = until("every delivery of the burst acknowledged", async || {
        let count = of_the_burst(stage).await?.len();
        Ok(Some(count).filter(|count| *count == BURST))
    })
    .await?;
    let asked = until("a follow-up under way", async || {
        let all = follow_ups(stage).await?;
        let asked = all.iter().filter(|reference| reference.strip_prefix("review-").is_some_and(is_of_the_burst)).count();
        Ok(Some(asked).filter(|asked| *asked > 0))
    })
    .await?;
    let finished = finished(stage).await?;
    tell.line("burst", &format!("{acknowledged} invoices rejected, {acknowledged} deliveries acknowledged"))?;
    tell.line("so far", &format!("{asked} follow-ups asked for without an answer yet, {finished} of {BURST} runs finished"))?;
    if finished >= BURST {
        return Err(Missed::new("work in progress to be interrupted").into());
    }
    let ended = stage.kill().await?;
    tell.line("kill -9", &format!("the daemon ended with {ended}"))?;
    let path = format!("{}/sandbox/faults/{}", stage.sandbox, fault["id"]);
    let cleared = stage.http.delete(path).send().await;
    cleared.map_err(|error| Missed::new(format!("the sandbox quick again: {}", crate::cli::client::why(&error))))?;
    tell.waiting("the daemon comes back");
    let (pid, took) = stage.start().await?;
    let observed = format!("{finished} of {BURST} runs were done; pid {pid} ready after {} ms", took.as_millis());
    tell.seen(Effect::Killed, "restart", &observed)?;
    tell.waiting("what was left to do");
    until("every run of the burst finished", async || {
        let count = self::finished(stage).await?;
        if count == BURST { Ok(Some(count)) } else { Err(Missed::new(format!("{count} of {BURST}"))) }
    })
    .await?;
    let again = stage.sandbox_get("/sandbox/requests?path=AddQueueItem").await?;
    let refused = items(&again).iter().filter(|row| row["status"] == 409).count();
    tell.line("repeated", &format!("{refused} requests whose answer was lost, refused as duplicates (409/1016): already there"))?;
    Ok(())
}

/// Nothing acknowledged is lost, nothing is done twice.
pub(super) async fn account(stage: &Stage, tell: &mut Tell<'_>) -> Result<(), End> {
    tell.chapter("The accounts")?;
    tell.waiting("every event");
    let deliveries = stage.acknowledged(None).await?;
    let kept: BTreeSet<String> = stage.all_events().await?.iter().map(|event| text(&event["id"])).collect();
    let mut named = BTreeSet::new();
    let mut folded = 0;
    for delivery in &deliveries {
        let answer = &delivery["answer"];
        folded += answer["folded"].as_u64().unwrap_or(0);
        named.extend(answer["events"].as_array().into_iter().flatten().map(text));
    }
    let lost: Vec<&String> = named.difference(&kept).collect();
    if !lost.is_empty() || named.is_empty() {
        return Err(Missed::new(format!("{} acknowledged events in the journal: {lost:?}", lost.len())).into());
    }
    let observed = format!(
        "{} deliveries acknowledged, {folded} folded, {} events named in answers, all {} kept",
        deliveries.len(),
        named.len(),
        named.len()
    );
    tell.seen(Effect::Kept, "events", &observed)?;

    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reference in follow_ups(stage).await? {
        *counts.entry(reference).or_default() += 1;
    }
    let rejected: BTreeSet<String> = REJECTED_BEFORE.map(str::to_owned).into_iter().chain(burst()).map(|i| format!("review-{i}")).collect();
    let once: BTreeSet<String> = counts.iter().filter(|(_, count)| **count == 1).map(|(reference, _)| reference.clone()).collect();
    let wrong: Vec<&String> = rejected.symmetric_difference(&once).collect();
    if !wrong.is_empty() || counts.len() != once.len() {
        return Err(Missed::new(format!("these follow-ups exactly once: {wrong:?}")).into());
    }
    let observed = format!("{} invoices rejected, {} follow-ups in Invoices-Review, each exactly once", rejected.len(), once.len());
    tell.seen(Effect::Once, "follow-ups", &observed)?;

    let calls = stage.sandbox_get("/sandbox/sinks/ledger").await?;
    let reviews = items(&calls).iter().filter(|call| text(&call["path"]).ends_with("/reviews"));
    let told: Vec<String> = reviews.map(|call| text(&call["body"]["reference"])).collect();
    let untold: Vec<&String> = rejected.iter().filter(|reference| !told.contains(reference)).collect();
    if !untold.is_empty() {
        return Err(Missed::new(format!("the ledger told of {untold:?}")).into());
    }
    tell.line("ledger", &format!("{} calls about {} reviews: a call is made at least once", told.len(), rejected.len()))?;
    Ok(())
}

/// Acknowledged deliveries of the burst's failures, by the references in their events.
async fn of_the_burst(stage: &Stage) -> Result<Vec<Value>, Missed> {
    let acknowledged = stage.acknowledged(Some("queueItem.transactionFailed")).await?;
    let ids: BTreeSet<String> =
        acknowledged.iter().flat_map(|row| row["answer"]["events"].as_array().cloned().unwrap_or_default()).map(|id| text(&id)).collect();
    let events = stage.admin_get("/api/v1/events?type=queueItem.transactionFailed&limit=1000").await?;
    let ours = |event: &&Value| is_of_the_burst(&text(&event["data"]["QueueItem"]["Reference"])) && ids.contains(&text(&event["id"]));
    Ok(items(&events).iter().filter(ours).cloned().collect())
}

fn is_of_the_burst(reference: &str) -> bool {
    burst().any(|invoice| invoice == reference)
}

/// References of the review queue, as Orchestrator has them.
async fn follow_ups(stage: &Stage) -> Result<Vec<String>, Missed> {
    let path = "/odata/QueueItems?$filter=QueueDefinition/Name%20eq%20'Invoices-Review'&$top=100";
    let list = stage.sandbox_get(path).await?;
    Ok(list["value"].as_array().into_iter().flatten().map(|item| text(&item["Reference"])).collect())
}

/// How many runs of the burst succeeded.
async fn finished(stage: &Stage) -> Result<usize, Missed> {
    let events: BTreeSet<String> = of_the_burst(stage).await?.iter().map(|event| text(&event["id"])).collect();
    let runs = stage.admin_get(&format!("/api/v1/runs?rule={REVIEW}&state=succeeded&limit=1000")).await?;
    Ok(items(&runs).iter().filter(|run| events.contains(&text(&run["event"]))).count())
}
