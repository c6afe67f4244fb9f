//! Faults on request: which of them a request or a delivery meets.

use std::time::Duration;

use serde_json::{Value, json};

use crate::sandbox::call::Refusal;
use crate::sandbox::limits::{FAULTS_MAX, REORDER_MAX};

/// What a fault may say.
const FIELDS: &[&str] = &[
    "kind",
    "match",
    "times",
    "after",
    "type",
    "rate",
    "retry_after",
    "body",
    "code",
    "statuses",
    "millis",
    "location",
    "shift",
    "copies",
    "window",
];
/// Kinds of faults besides the statuses.
const KINDS: &[&str] = &[
    "statuses",
    "reset",
    "reset_after_commit",
    "timeout",
    "timeout_after_commit",
    "slow",
    "truncated",
    "html",
    "empty",
    "redirect",
    "expired_tokens",
    "page_drift",
    "shuffled",
    "webhook_loss",
    "webhook_duplicates",
    "webhook_reorder",
    "webhook_delay",
    "webhook_bad_signature",
    "webhook_bad_timestamp",
];
/// What its `match` may say.
const MATCH_FIELDS: &[&str] = &["path", "method", "type"];

/// The list of faults that wait for their match.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Faults {
    list: Vec<Fault>,
    next_id: u64,
}

/// A fault as it was asked for, and how often it may still happen.
#[derive(Clone, Debug)]
struct Fault {
    id: u64,
    path: String,
    method: Option<String>,
    event: Option<String>,
    rate: f64,
    after: u64,
    /// `None`: until it is cleared.
    left: Option<u64>,
    hits: u64,
    effect: Effect,
    spec: Value,
}

#[derive(Clone, Debug)]
enum Effect {
    Request(RequestFault),
    Statuses { statuses: Vec<u16>, at: usize, retry_after: Option<String> },
    Webhook(WebhookFault),
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum RequestFault {
    /// It is answered so and not carried out.
    Status { status: u16, retry_after: Option<String>, body: Option<Value>, code: i64 },
    /// The connection is reset; after carrying it out or before.
    Reset { commit: bool },
    /// Silence, then a reset.
    Timeout { commit: bool, delay: Duration },
    /// Carried out, answered late.
    Slow(Duration),
    /// Carried out, the answer is cut in the middle.
    Truncated,
    /// A sign-in page.
    Html,
    /// `{}`
    Empty,
    /// 307 to elsewhere.
    Redirect(String),
    /// All tokens are void from now on; the request is carried out with that.
    ExpiredTokens,
    /// Pages after the first begin so many rows early, or late when negative.
    PageDrift(i64),
    /// The rows of a list come in another order, some of them twice.
    Shuffled,
}

/// What happens to a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum WebhookFault {
    /// It does not arrive.
    Loss,
    /// It comes so many more times.
    Copies(usize),
    /// It is held until so many are, and they come in reverse.
    Hold(usize),
    /// It comes late.
    Late(Duration),
    /// It is signed with another secret.
    BadSignature,
    /// Its Timestamp says the year 1.
    BadTimestamp,
}

impl Faults {
    /// Adds a fault from its JSON form.
    pub(in crate::sandbox) fn add(&mut self, spec: &Value) -> Result<u64, Refusal> {
        if self.list.len() >= FAULTS_MAX {
            return Err(Refusal::invalid(format!("There are at most {FAULTS_MAX} faults.")));
        }
        refuse_unknown(spec, FIELDS)?;
        spec.get("match").map_or(Ok(()), |at| refuse_unknown(at, MATCH_FIELDS))?;
        let kind = match spec.get("kind") {
            Some(Value::String(kind)) => kind.clone(),
            Some(Value::Number(status)) => status.to_string(),
            _ => {
                return Err(Refusal::invalid(format!("A fault needs a `kind`: a status from 400 to 599, or one of {}.", KINDS.join(", "))));
            }
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let at = |name: &str| spec.get("match").and_then(|m| m.get(name));
        let times = spec.get("times").and_then(Value::as_u64);
        let effect = effect(&kind, spec)?;
        let left = match (&effect, times) {
            (_, Some(0)) => None,
            (_, Some(times)) => Some(times),
            (Effect::Statuses { statuses, .. }, None) => Some(statuses.len() as u64),
            (Effect::Webhook(WebhookFault::Hold(window)), None) => Some(*window as u64),
            (Effect::Request(RequestFault::PageDrift(_)), None) => None,
            (_, None) => Some(1),
        };
        self.next_id += 1;
        self.list.push(Fault {
            id: self.next_id,
            path: text(at("path")).unwrap_or_default(),
            method: text(at("method")),
            event: text(at("type")).or_else(|| text(spec.get("type"))),
            rate: spec.get("rate").and_then(Value::as_f64).unwrap_or(1.0),
            after: spec.get("after").and_then(Value::as_u64).unwrap_or(0),
            left,
            hits: 0,
            effect,
            spec: spec.clone(),
        });
        Ok(self.next_id)
    }

    /// All faults, with how often each happened and may still happen.
    pub(in crate::sandbox) fn rows(&self) -> Vec<Value> {
        self.list.iter().map(|f| json!({"id": f.id, "fault": f.spec, "left": f.left, "hits": f.hits})).collect()
    }

    /// Removes one, or all.
    pub(in crate::sandbox) fn clear(&mut self, id: Option<u64>) -> usize {
        let before = self.list.len();
        self.list.retain(|fault| id.is_some_and(|id| fault.id != id));
        before - self.list.len()
    }

    /// The fault that a request meets, the oldest that fits.
    pub(in crate::sandbox) fn on_request(&mut self, method: &str, path: &str) -> Option<RequestFault> {
        for fault in &mut self.list {
            let fits = path.contains(&fault.path) && fault.method.as_ref().is_none_or(|m| m.eq_ignore_ascii_case(method));
            if matches!(fault.effect, Effect::Webhook(_)) || !fits || !fault.strikes(0.0) {
                continue;
            }
            return match &mut fault.effect {
                Effect::Request(effect) => Some(effect.clone()),
                Effect::Statuses { statuses, at, retry_after } => {
                    let status = statuses[*at % statuses.len()];
                    *at += 1;
                    // A success in the sequence is no fault: the request is carried out.
                    (status >= 400).then(|| RequestFault::Status { status, retry_after: retry_after.clone(), body: None, code: 0 })
                }
                Effect::Webhook(_) => None,
            };
        }
        None
    }

    /// What happens to a delivery; `chance` is in 0 to 1.
    pub(in crate::sandbox) fn on_delivery(&mut self, kind: &str, chance: f64) -> Vec<WebhookFault> {
        let mut met = Vec::new();
        for fault in &mut self.list {
            let Effect::Webhook(effect) = fault.effect.clone() else { continue };
            if fault.event.as_ref().is_none_or(|event| event == kind) && fault.strikes(chance) {
                met.push(effect);
            }
        }
        met
    }
}

impl Fault {
    fn strikes(&mut self, chance: f64) -> bool {
        if self.left == Some(0) || chance >= self.rate {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.left = self.left.map(|left| left - 1);
        self.hits += 1;
        true
    }
}

/// A misspelt field must not make a fault that never happens.
fn refuse_unknown(spec: &Value, known: &[&str]) -> Result<(), Refusal> {
    let fields = spec.as_object().ok_or_else(|| Refusal::invalid("A fault and its match are objects."))?;
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(Refusal::invalid(format!("`{name}` is unknown; expected one of {}.", known.join(", ")))),
        None => Ok(()),
    }
}

fn effect(kind: &str, spec: &Value) -> Result<Effect, Refusal> {
    let delay = |default: u64| Duration::from_millis(spec.get("millis").and_then(Value::as_u64).unwrap_or(default));
    let number = |name: &str, default: u64| usize::try_from(spec.get(name).and_then(Value::as_u64).unwrap_or(default)).unwrap_or(1);
    let retry_after = match spec.get("retry_after") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(seconds)) => Some(seconds.to_string()),
        _ => None,
    };
    if let Ok(status) = kind.parse::<u16>()
        && (400..600).contains(&status)
    {
        let code = spec.get("code").and_then(Value::as_i64).unwrap_or(0);
        return Ok(Effect::Request(RequestFault::Status { status, retry_after, body: spec.get("body").cloned(), code }));
    }
    Ok(match kind {
        "statuses" => {
            let listed = spec.get("statuses").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let statuses: Option<Vec<u16>> = listed.iter().map(|s| s.as_u64().and_then(|s| u16::try_from(s).ok())).collect();
            let statuses = statuses.filter(|s| !s.is_empty()).ok_or_else(|| Refusal::invalid("`statuses` is a list of numbers."))?;
            Effect::Statuses { statuses, at: 0, retry_after }
        }
        "reset" => Effect::Request(RequestFault::Reset { commit: false }),
        "reset_after_commit" => Effect::Request(RequestFault::Reset { commit: true }),
        "timeout" => Effect::Request(RequestFault::Timeout { commit: false, delay: delay(120_000) }),
        "timeout_after_commit" => Effect::Request(RequestFault::Timeout { commit: true, delay: delay(120_000) }),
        "slow" => Effect::Request(RequestFault::Slow(delay(5_000))),
        "truncated" => Effect::Request(RequestFault::Truncated),
        "html" => Effect::Request(RequestFault::Html),
        "empty" => Effect::Request(RequestFault::Empty),
        "redirect" => {
            let location = spec.get("location").and_then(Value::as_str).unwrap_or("http://127.0.0.1:9/elsewhere");
            Effect::Request(RequestFault::Redirect(location.to_owned()))
        }
        "expired_tokens" => Effect::Request(RequestFault::ExpiredTokens),
        "page_drift" => Effect::Request(RequestFault::PageDrift(spec.get("shift").and_then(Value::as_i64).unwrap_or(1))),
        "shuffled" => Effect::Request(RequestFault::Shuffled),
        "webhook_loss" => Effect::Webhook(WebhookFault::Loss),
        "webhook_duplicates" => Effect::Webhook(WebhookFault::Copies(number("copies", 1).min(REORDER_MAX))),
        "webhook_reorder" => Effect::Webhook(WebhookFault::Hold(number("window", 5).clamp(1, REORDER_MAX))),
        "webhook_delay" => Effect::Webhook(WebhookFault::Late(delay(1_000))),
        "webhook_bad_signature" => Effect::Webhook(WebhookFault::BadSignature),
        "webhook_bad_timestamp" => Effect::Webhook(WebhookFault::BadTimestamp),
        other => {
            let known = KINDS.join(", ");
            return Err(Refusal::invalid(format!("`{other}` is no kind of fault; expected a status from 400 to 599, or one of {known}.")));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_names_no_kind_is_told_those_that_there_are() {
        for kind in KINDS {
            assert!(effect(kind, &json!({"statuses": [500]})).is_ok(), "{kind}");
        }
        let refusal = effect("tiemout", &json!({})).expect_err("no kind");
        assert!(format!("{refusal:?}").contains("timeout_after_commit"), "{refusal:?}");
    }
}
