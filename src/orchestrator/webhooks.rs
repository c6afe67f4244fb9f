//! Webhooks: listed, registered, changed, pinged. They belong to the tenant, so no folder is named.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::{Meaning, What};
use super::call::Ask;
use super::json::{field, integer, text};
use super::{CallTrace, Called, Orchestrator, invalid};
use crate::hooks::{Events, Planned, Registered};
use crate::runs::{Failure, Who};
use crate::secret::Secret;

impl Orchestrator {
    /// All webhooks of the tenant (`GET /odata/Webhooks`).
    pub async fn webhooks(&self, timeout: Duration) -> Called<Vec<Registered>> {
        let Called { trace, result } = self.all(What::ReadWebhooks, None, "Webhooks", Instant::now() + timeout).await;
        Called { trace, result: result.map(|rows| rows.iter().filter_map(registered).collect()) }
    }

    /// The event types that webhooks may ask for, as Orchestrator spells them (`GetEventTypes`).
    pub async fn event_types(&self, timeout: Duration) -> Called<Vec<String>> {
        let path = "Webhooks/UiPath.Server.Configuration.OData.GetEventTypes";
        let deadline = Instant::now() + timeout;
        let Called { trace, result } = self.list(Who::Polling, What::ReadWebhooks, None, path, Vec::new(), deadline).await;
        let names = |rows: Vec<Value>| rows.iter().filter_map(|row| text(row, "Name").map(str::to_owned)).collect();
        Called { trace, result: result.map(names) }
    }

    /// Whether this API gives webhooks names and descriptions, as far as its answers told.
    #[must_use]
    pub fn has_webhook_names(&self) -> bool {
        self.inner.version.has_webhook_names()
    }

    /// Makes a webhook what it should be: a new one, or the one that was found. Gives its Id. `secret` is what it signs with.
    pub async fn put_webhook(&self, planned: &Planned, secret: &Secret, timeout: Duration) -> Called<i64> {
        let body = body(planned, secret, self.has_webhook_names());
        let id = planned.found.as_ref().map(|found| found.id);
        let (method, path) = match id {
            Some(id) => ("PUT", format!("Webhooks({id})")),
            None => ("POST", "Webhooks".to_owned()),
        };
        let Called { trace, result } = self.change(method, path, What::WriteWebhook, Some(body), &[secret], timeout).await;
        let result = result.and_then(|answer| match (answer.as_ref().and_then(|row| field(row, "Id")).and_then(integer)).or(id) {
            Some(id) => Ok(id),
            None => Err(invalid(&trace, "no Id in the answer")),
        });
        Called { trace, result }
    }

    /// Has Orchestrator send a ping. Its answer says that it was sent, not that it came.
    pub async fn ping_webhook(&self, id: i64, timeout: Duration) -> Called<()> {
        let path = format!("Webhooks({id})/UiPath.Server.Configuration.OData.Ping");
        let Called { trace, result } = self.change("POST", path, What::PingWebhook, Some(json!({})), &[], timeout).await;
        Called { trace, result: result.map(drop) }
    }

    async fn change(
        &self,
        method: &str,
        path: String,
        what: What<'_>,
        body: Option<Value>,
        hidden: &[&Secret],
        timeout: Duration,
    ) -> Called<Option<Value>> {
        let ask = Ask { what, folder: None, path, query: Vec::new(), body };
        let (trace, said): (CallTrace, Result<Meaning, Failure>) =
            self.inner.call_with(Who::Action, method, ask, Instant::now() + timeout).await;
        let hide = |failure: Failure| {
            let secrets: Vec<&str> = hidden.iter().map(|secret| secret.expose()).collect();
            Failure { message: crate::http::mask::mask(&failure.message, &secrets), ..failure }
        };
        let result = said.map_err(hide).map(|said| match said {
            Meaning::Body(body) => Some(body),
            _ => None,
        });
        Called { trace, result }
    }
}

/// A row of the list.
fn registered(row: &Value) -> Option<Registered> {
    let flag = |name: &str| field(row, name).and_then(Value::as_bool).unwrap_or(false);
    let events = field(row, "Events").and_then(Value::as_array).into_iter().flatten();
    Some(Registered {
        id: field(row, "Id").and_then(integer)?,
        name: text(row, "Name").map(str::to_owned),
        description: text(row, "Description").map(str::to_owned),
        url: text(row, "Url")?.to_owned(),
        enabled: flag("Enabled"),
        all: flag("SubscribeToAllEvents"),
        events: events.filter_map(|event| text(event, "EventType").map(str::to_owned)).collect(),
        insecure: flag("AllowInsecureSsl"),
    })
}

fn body(planned: &Planned, secret: &Secret, named: bool) -> Value {
    let (wanted, found) = (&planned.wanted, planned.found.as_ref());
    let (all, events) = match &wanted.events {
        Events::All => (true, Vec::new()),
        Events::These(types) => (false, types.iter().map(|name| json!({"EventType": name})).collect()),
    };
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    if let Some(found) = found {
        put("Id", found.id.into());
    }
    if named {
        // A name that people gave stays.
        let name = found.and_then(|found| found.name.as_ref()).filter(|_| !planned.differences.iter().any(|d| d.what == "url"));
        put("Name", name.unwrap_or(&wanted.name).clone().into());
        put("Description", wanted.description().into());
    }
    put("Url", wanted.url.clone().into());
    put("Enabled", true.into());
    put("Secret", secret.expose().into());
    put("SubscribeToAllEvents", all.into());
    put("AllowInsecureSsl", found.is_some_and(|found| found.insecure).into());
    put("Events", Value::Array(events));
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::{Wanted, plan};

    #[test]
    fn names_go_only_to_versions_that_know_them() {
        let wanted = Wanted {
            source: "prod".into(),
            name: "tripline-prod@h".into(),
            url: "https://h/hooks/prod".into(),
            events: Events::These(["job.faulted".to_owned()].into()),
            fingerprint: "0011".into(),
        };
        let secret = Secret::new("s-canary".to_owned());
        let old = body(&plan(&wanted, &[], false), &secret, false);
        assert!(old.get("Name").is_none() && old.get("Description").is_none() && old.get("Id").is_none(), "{old}");
        assert_eq!(old["Events"], json!([{"EventType": "job.faulted"}]));
        let row =
            json!({"Id": "5", "name": "Bills", "Url": "https://h/hooks/prod", "Enabled": false, "AllowInsecureSsl": true, "Events": null});
        let planned = plan(&wanted, &[registered(&row).unwrap()], true);
        let new = body(&planned, &secret, true);
        assert_eq!((&new["Id"], &new["Name"], &new["AllowInsecureSsl"]), (&json!(5), &json!("Bills"), &json!(true)));
        assert_eq!(new["Description"], json!("Kept by tripline: source prod, secret 0011"));
    }
}
