//! Asking: the sandbox as a robot and an administrator would, the daemon through its admin API, and waiting for what
//! shall be seen.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::stage::Stage;

/// For one thing to be seen.
const STEP_LIMIT: Duration = Duration::from_secs(20);
/// For a run when there are no rules: it will not come, and yet it is looked for.
const WITHOUT_RULES: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Of a page of events.
const PAGE: usize = 1_000;
/// The most pages that are read.
const PAGES_MAX: usize = 100;

/// Something that was to be seen and was not.
#[derive(Clone, Debug)]
pub(super) struct Missed {
    text: String,
    /// Looking again would not help.
    for_good: bool,
}

impl Missed {
    /// Said so.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { text: what.into(), for_good: false }
    }

    /// It will never be seen.
    pub(super) fn for_good(what: impl Into<String>) -> Self {
        Self { text: what.into(), for_good: true }
    }

    /// What it is.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// Looks until `look` sees something, at most [`STEP_LIMIT`]. An error of a look is one more reason to look again: what
/// is asked may be starting.
pub(super) async fn until<T>(what: &str, look: impl AsyncFnMut() -> Result<Option<T>, Missed>) -> Result<T, Missed> {
    until_within(STEP_LIMIT, what, look).await
}

async fn until_within<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>, Missed>) -> Result<T, Missed> {
    let end = Instant::now() + limit;
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    let looking = async {
        loop {
            ticks.tick().await;
            match look().await {
                Ok(Some(seen)) => return Ok(seen),
                Ok(None) => last = None,
                Err(missed) if missed.for_good => return Err(missed),
                Err(missed) => last = Some(missed),
            }
        }
    };
    let seen = timeout_at(end, looking).await;
    seen.unwrap_or_else(|_| {
        let why = last.map_or_else(String::new, |missed| format!(" ({})", missed.text()));
        Err(Missed::new(format!("{what}, within {} s{why}", limit.as_secs())))
    })
}

impl Stage {
    /// GET JSON from the daemon's admin API.
    pub(super) async fn admin_get(&self, path: &str) -> Result<Value, Missed> {
        read(self.http.get(format!("{}{path}", self.admin)), path).await.map(|(_, body)| body)
    }

    /// Has the daemon read its files again; the generation in force.
    pub(super) async fn reload(&self) -> Result<Value, Missed> {
        let path = "/api/v1/reload";
        read(self.http.post(format!("{}{path}", self.admin)), path).await.map(|(_, answer)| answer["generation"].clone())
    }

    /// GET JSON from the sandbox.
    pub(super) async fn sandbox_get(&self, path: &str) -> Result<Value, Missed> {
        read(self.as_robot(self.http.get(format!("{}{path}", self.sandbox))), path).await.map(|(_, body)| body)
    }

    /// The value of one of the daemon's metrics, where it has it.
    pub(super) async fn metric(&self, name: &str) -> Result<Option<String>, Missed> {
        let asked = async { self.http.get(format!("{}/metrics", self.admin)).send().await?.text().await };
        let text = asked.await.map_err(|error| Missed::new(format!("/metrics: {}", crate::cli::client::why(&error))))?;
        let value = |line: &str| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).map(|value| value.trim().to_owned());
        Ok(text.lines().find_map(value))
    }

    /// POST JSON to the sandbox; the status and the answer.
    pub(super) async fn sandbox_post(&self, path: &str, body: &Value) -> Result<(u16, Value), Missed> {
        read(self.as_robot(self.http.post(format!("{}{path}", self.sandbox))).json(body), path).await
    }

    fn as_robot(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.bearer_auth(&self.token).header("X-UIPATH-FolderPath", "Finance")
    }

    /// Has the sandbox misbehave.
    pub(super) async fn fault(&self, fault: &Value) -> Result<(), Missed> {
        self.sandbox_post("/sandbox/faults", fault).await.map(|_| ())
    }

    /// Adds an invoice to the queue; its item.
    pub(super) async fn add_invoice(&self, invoice: &str, amount: f64) -> Result<Value, Missed> {
        let data = json!({"Name": "Invoices", "Reference": invoice, "SpecificContent": {"Invoice": invoice, "Amount": amount}});
        self.sandbox_post("/odata/Queues/UiPathODataSvc.AddQueueItem", &json!({"itemData": data})).await.map(|(_, item)| item)
    }

    /// Takes an invoice from the queue and ends its transaction with `result`; the item as it was taken.
    pub(super) async fn work(&self, invoice: &str, result: &Value) -> Result<Value, Missed> {
        let start = json!({"transactionData": {"Name": "Invoices", "Reference": invoice, "ReferenceFilterOption": "Equals"}});
        let (status, item) = self.sandbox_post("/odata/Queues/UiPathODataSvc.StartTransaction", &start).await?;
        if status != 200 {
            return Err(Missed::new(format!("{invoice} in the queue (StartTransaction answered {status})")));
        }
        let path = format!("/odata/Queues({})/UiPathODataSvc.SetTransactionResult", item["Id"]);
        self.sandbox_post(&path, &json!({"transactionResult": result})).await?;
        Ok(item)
    }

    /// Every event, newest first.
    pub(super) async fn all_events(&self) -> Result<Vec<Value>, Missed> {
        let mut events = Vec::new();
        let mut cursor = String::new();
        for _ in 0..PAGES_MAX {
            let mut page = self.admin_get(&format!("/api/v1/events?limit={PAGE}{cursor}")).await?;
            if let Value::Array(items) = page["items"].take() {
                events.extend(items);
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(events),
            }
        }
        Ok(events)
    }

    /// The event of one type about one invoice.
    pub(super) async fn event(&self, event_type: &str, invoice: &str) -> Result<Value, Missed> {
        until(&format!("an event {event_type} of {invoice}"), async || {
            let events = self.admin_get(&format!("/api/v1/events?type={event_type}&limit={PAGE}")).await?;
            let found = items(&events).iter().find(|event| event["data"]["QueueItem"]["Reference"] == invoice);
            Ok(found.cloned())
        })
        .await
    }

    /// The run of a rule for an event, once it succeeded.
    pub(super) async fn succeeded(&self, event: &Value, rule: &str) -> Result<Value, Missed> {
        let id = text(&event["id"]);
        let limit = if self.rules_missing().is_some() { WITHOUT_RULES } else { STEP_LIMIT };
        until_within(limit, &format!("a run of `{rule}` for event {id} that succeeded"), async || {
            let runs = self.admin_get(&format!("/api/v1/runs?event={id}")).await?;
            let found = items(&runs).iter().find(|run| run["rule"] == rule);
            match found.map(|run| run["state"].as_str().unwrap_or_default()) {
                Some("succeeded") => Ok(found.cloned()),
                Some("dead") => Err(Missed::for_good(format!(
                    "the run of `{rule}` for {id} is dead: {}",
                    text(&found.unwrap_or(&Value::Null)["message"])
                ))),
                Some(state) => Err(Missed::new(format!("it is {state}"))),
                None => Ok(None),
            }
        })
        .await
    }

    /// Items of the review queue with this reference.
    pub(super) async fn reviews(&self, reference: &str) -> Result<Vec<Value>, Missed> {
        let path = format!(
            "/odata/QueueItems?$filter=QueueDefinition/Name%20eq%20'Invoices-Review'%20and%20Reference%20eq%20'{reference}'&$top=100"
        );
        Ok(self.sandbox_get(&path).await?["value"].as_array().cloned().unwrap_or_default())
    }

    /// What the ledger got about an invoice under `path`.
    pub(super) async fn ledger(&self, path: &str, invoice: &str) -> Result<Vec<Value>, Missed> {
        let got = self.sandbox_get("/sandbox/sinks/ledger").await?;
        let about = |row: &&Value| text(&row["path"]).ends_with(path) && row["body"]["invoice"] == invoice;
        Ok(items(&got).iter().filter(about).cloned().collect())
    }

    /// Deliveries of one type that the daemon answered with 2xx.
    pub(super) async fn acknowledged(&self, event_type: Option<&str>) -> Result<Vec<Value>, Missed> {
        let query = event_type.map_or_else(String::new, |name| format!("?type={name}"));
        let got = self.sandbox_get(&format!("/sandbox/deliveries{query}")).await?;
        let acknowledged = |row: &&Value| row["status"].as_u64().is_some_and(|status| (200..300).contains(&status));
        Ok(items(&got).iter().filter(acknowledged).cloned().collect())
    }
}

/// The `items` of a list.
pub(super) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

/// Text as it is, anything else as JSON.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Sends and reads the answer; a refusal is something missed.
async fn read(request: reqwest::RequestBuilder, path: &str) -> Result<(u16, Value), Missed> {
    let place = path.split('?').next().unwrap_or_default();
    let answer = request.send().await.map_err(|error| Missed::new(format!("{place}: {}", crate::cli::client::why(&error))))?;
    let status = answer.status().as_u16();
    let body = answer.text().await.map_err(|error| Missed::new(format!("{place}: {}", crate::cli::client::why(&error))))?;
    if status >= 400 {
        return Err(Missed::new(format!("{place} answered {status}: {body}")));
    }
    Ok((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
}
