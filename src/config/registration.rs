//! Whether and how a webhook source is registered in Orchestrator by API.

use super::shapes;
use super::url::{service_url, without_slash};
use crate::fault::{Fault, Faults};
use crate::yaml::Fields;

/// The longest URL that Orchestrator takes for a webhook, in characters (`WebhookDto.Url`).
const WEBHOOK_URL_CHARS_MAX: usize = 2000;

/// What is to stand in Orchestrator for a webhook source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// The daemon keeps it registered and enabled.
    pub register: bool,
    /// Which events it asks for.
    pub subscribe: Subscribe,
    /// Where Orchestrator reaches it: `public_url` and the path; nothing without a `public_url`.
    pub url: Option<String>,
}

/// Which events a webhook asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subscribe {
    /// Those that rules and watches name.
    #[default]
    Needed,
    /// Whatever there is.
    All,
}

/// Reads `public_url`; without a slash at its end.
pub(super) fn public_url(fields: &Fields<'_>, faults: &mut Faults) -> Option<String> {
    let (text, place) = fields.text("public_url", faults)?;
    service_url(text, "public_url", place, faults).map(|url| without_slash(&url))
}

/// Reads `register` and `subscribe` of a webhook. `what` names it, `path` is its ingress path.
pub(super) fn registration(
    fields: &Fields<'_>,
    what: &str,
    path: Option<&str>,
    orchestrator: bool,
    public_url: Option<&str>,
    faults: &mut Faults,
) -> Registration {
    let register = fields.boolean("register", faults).unwrap_or(false);
    let subscribe = match fields.text("subscribe", faults) {
        None | Some(("needed", _)) => Subscribe::Needed,
        Some(("all", _)) => Subscribe::All,
        Some((other, place)) => {
            let fault = Fault::error("subscribe", place.clone(), format!("unknown `subscribe: {other}`; expected needed or all"));
            faults.push(fault.help("`needed` asks for the events that rules name, `all` for every event"));
            Subscribe::Needed
        }
    };
    let url = public_url.zip(path).map(|(base, path)| format!("{base}{path}"));
    if let Some(place) = fields.key_place("register").filter(|_| register) {
        if public_url.is_none() {
            let message =
                format!("{what} is to be registered, and there is no `public_url`: Orchestrator could not be told where to deliver");
            let help = "add `public_url: https://HOST` with the address by which Orchestrator reaches this machine";
            faults.push(Fault::error("public-url", place.clone(), message).help(help));
        }
        if !orchestrator {
            let message = format!("{what} is to be registered and has no orchestrator");
            faults.push(Fault::error("register", place.clone(), message).help("add `orchestrator:`, or remove `register`"));
        }
    }
    if let Some(long) = url.as_ref().map(|url| url.chars().count()).filter(|length| *length > WEBHOOK_URL_CHARS_MAX) {
        let message = format!("the URL of {what} has {long} characters; Orchestrator takes at most {WEBHOOK_URL_CHARS_MAX}");
        faults.push(Fault::error("public-url", fields.place.clone(), message).help("shorten `public_url` or `path`"));
    }
    Registration { register, subscribe, url }
}

/// The keys of the form.
pub(super) const SUBSCRIBE: shapes::Words = &["needed", "all"];
