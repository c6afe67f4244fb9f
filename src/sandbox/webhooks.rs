//! Webhooks: their definitions, breakers and counts, and the calls that manage them.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::sandbox::call::Refusal;
use crate::sandbox::events::EVENT_TYPES;
use crate::sandbox::limits::WEBHOOKS_MAX;
use crate::sandbox::world::World;
use crate::time::Timestamp;

/// What lists show in place of a secret.
const MASK: &str = "**********";
/// Characters of a name, URL and secret, as documented.
const NAME_MAX: usize = 128;
const URL_MAX: usize = 2_000;
const SECRET_MAX: usize = 100;

/// A webhook.
#[derive(Clone)]
pub(in crate::sandbox) struct Webhook {
    pub(in crate::sandbox) id: i64,
    pub(in crate::sandbox) key: Arc<str>,
    pub(in crate::sandbox) name: Option<String>,
    pub(in crate::sandbox) description: Option<String>,
    pub(in crate::sandbox) url: String,
    pub(in crate::sandbox) enabled: bool,
    pub(in crate::sandbox) secret: Option<String>,
    pub(in crate::sandbox) all: bool,
    pub(in crate::sandbox) insecure: bool,
    pub(in crate::sandbox) events: Vec<String>,
    /// Deliveries are skipped until then.
    pub(in crate::sandbox) open_until: Option<Timestamp>,
    pub(in crate::sandbox) counts: Counts,
}

impl std::fmt::Debug for Webhook {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("id", &self.id).field("url", &self.url).field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

/// What became of a webhook's deliveries.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::sandbox) struct Counts {
    /// Answered with 2xx.
    pub(in crate::sandbox) delivered: u64,
    /// Answered otherwise, or not at all.
    pub(in crate::sandbox) failed: u64,
    /// Not sent, because the breaker was open.
    pub(in crate::sandbox) skipped: u64,
    /// Lost on the way by a fault, or because too many waited.
    pub(in crate::sandbox) lost: u64,
    /// How often the breaker opened.
    pub(in crate::sandbox) opened: u64,
}

impl Webhook {
    /// Whether it is sent events of this type.
    pub(in crate::sandbox) fn wants(&self, kind: &str) -> bool {
        self.enabled && (self.all || self.events.iter().any(|event| event == kind))
    }

    fn dto(&self) -> Value {
        let events: Vec<Value> = self.events.iter().map(|event| json!({"EventType": event})).collect();
        json!({
            "Key": self.key, "Name": self.name, "Description": self.description, "Url": self.url, "Enabled": self.enabled,
            "Secret": self.secret.as_ref().map(|_| MASK), "SubscribeToAllEvents": self.all, "AllowInsecureSsl": self.insecure,
            "Events": events, "Id": self.id,
        })
    }

    /// As `/sandbox/state` shows it.
    pub(in crate::sandbox) fn state(&self, now: Timestamp) -> Value {
        let open = self.open_until.is_some_and(|until| until > now);
        json!({
            "id": self.id, "name": self.name, "url": self.url, "enabled": self.enabled, "breaker": if open { "open" } else { "closed" },
            "open_until": self.open_until.filter(|_| open), "counts": self.counts,
        })
    }
}

impl World {
    /// All webhooks as answers have them.
    pub(in crate::sandbox) fn webhook_rows(&self) -> Vec<Value> {
        self.webhooks.values().map(Webhook::dto).collect()
    }

    /// One webhook as answers have it.
    pub(in crate::sandbox) fn webhook_row(&self, id: i64) -> Result<Value, Refusal> {
        self.webhooks.get(&id).map(Webhook::dto).ok_or_else(|| Refusal::missing(format!("Webhook {id} does not exist.")))
    }

    /// POST: the new webhook's id. A ping follows.
    pub(in crate::sandbox) fn add_webhook(&mut self, body: &Value, now: Timestamp) -> Result<i64, Refusal> {
        if self.webhooks.len() >= WEBHOOKS_MAX {
            return Err(Refusal::argument("WebhookQuotaReached", format!("There are at most {WEBHOOKS_MAX} webhooks.")));
        }
        let blank = Webhook {
            id: self.id(),
            key: self.guid(),
            name: None,
            description: None,
            url: String::new(),
            enabled: true,
            secret: None,
            all: false,
            insecure: false,
            events: Vec::new(),
            open_until: None,
            counts: Counts::default(),
        };
        let webhook = self.filled(blank, body)?;
        let id = webhook.id;
        self.webhooks.insert(id, webhook);
        self.ping(id, now)?;
        Ok(id)
    }

    /// PUT and PATCH: what the body names is changed. A ping follows.
    pub(in crate::sandbox) fn change_webhook(&mut self, id: i64, body: &Value, now: Timestamp) -> Result<(), Refusal> {
        let old = self.webhooks.get(&id).cloned().ok_or_else(|| Refusal::missing(format!("Webhook {id} does not exist.")))?;
        let webhook = self.filled(old, body)?;
        self.webhooks.insert(id, webhook);
        self.ping(id, now)?;
        Ok(())
    }

    /// DELETE.
    pub(in crate::sandbox) fn delete_webhook(&mut self, id: i64) -> Result<(), Refusal> {
        self.webhooks.remove(&id).map(|_| ()).ok_or_else(|| Refusal::missing(format!("Webhook {id} does not exist.")))
    }

    /// Ping: says that it was sent, not that it came.
    pub(in crate::sandbox) fn ping(&mut self, id: i64, now: Timestamp) -> Result<Value, Refusal> {
        let webhook = self.webhooks.get(&id).ok_or_else(|| Refusal::missing(format!("Webhook {id} does not exist.")))?;
        let enabled = webhook.enabled;
        let body = self.envelope("ping", Value::Null, None, now);
        if enabled {
            self.send(id, "ping", &body, None);
        }
        Ok(body)
    }

    /// TriggerCustom: any object as the data of an event of type `custom`.
    pub(in crate::sandbox) fn trigger_custom(&mut self, data: Value, now: Timestamp) -> Value {
        let body = self.envelope("custom", json!({"EventData": data}), None, now);
        self.broadcast("custom", &body);
        body
    }

    /// A body as it is, to everyone who asked for its type.
    pub(in crate::sandbox) fn broadcast(&mut self, kind: &str, body: &Value) -> usize {
        let listening: Vec<i64> = self.webhooks.values().filter(|w| w.wants(kind)).map(|w| w.id).collect();
        for webhook in &listening {
            self.send(*webhook, kind, body, body.get("OrganizationUnitId").and_then(Value::as_i64));
        }
        listening.len()
    }

    fn filled(&self, mut webhook: Webhook, body: &Value) -> Result<Webhook, Refusal> {
        let wrong = |what: String| Refusal::argument("ParameterInvalid", what);
        let fields = body.as_object().ok_or_else(|| Refusal::invalid("A webhook is an object."))?;
        let text = |name: &str, max: usize| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= max => Ok(Some(text.clone())),
            Some(_) => Err(wrong(format!("{name} must be a string of at most {max} characters."))),
        };
        let flag = |name: &str, old: bool| match fields.get(name) {
            None | Some(Value::Null) => Ok(old),
            Some(Value::Bool(yes)) => Ok(*yes),
            Some(_) => Err(wrong(format!("{name} must be true or false."))),
        };
        webhook.name = text("Name", NAME_MAX)?.or(webhook.name);
        webhook.description = text("Description", 256)?.or(webhook.description);
        webhook.url = text("Url", URL_MAX)?.unwrap_or(webhook.url);
        webhook.secret = text("Secret", SECRET_MAX)?.filter(|secret| secret != MASK).or(webhook.secret);
        webhook.enabled = flag("Enabled", webhook.enabled)?;
        webhook.all = flag("SubscribeToAllEvents", webhook.all)?;
        webhook.insecure = flag("AllowInsecureSsl", webhook.insecure)?;
        if let Some(events) = fields.get("Events").and_then(Value::as_array) {
            let names = events.iter().map(|event| event.get("EventType").and_then(Value::as_str).unwrap_or_default());
            webhook.events = names
                .map(|name| match EVENT_TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                    Some((known, _)) => Ok((*known).to_owned()),
                    None => Err(Refusal::argument("UnknownWebhookEventType", format!("'{name}' is no webhook event type."))),
                })
                .collect::<Result<_, _>>()?;
        }
        if !webhook.url.starts_with("http://") && !webhook.url.starts_with("https://") {
            return Err(wrong("Url must be an absolute http or https address.".to_owned()));
        }
        // Names came with version 16; before, the field was unknown.
        if self.version() < 16.0 {
            if webhook.name.is_some() {
                return Err(Refusal::invalid("The property 'Name' does not exist on type 'UiPath.Server.WebhookDto'."));
            }
        } else if webhook.name.as_deref().is_none_or(str::is_empty) {
            return Err(wrong("Name is required.".to_owned()));
        } else if self.webhooks.values().any(|other| other.id != webhook.id && other.name == webhook.name) {
            return Err(Refusal::conflict(0, "WebhookDuplicateName", "A webhook of this name exists."));
        }
        Ok(webhook)
    }
}
