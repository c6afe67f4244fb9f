//! Sources: where events come in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::files::Base;
use super::orchestrators::{OrchestratorConfig, check_name};
use super::polls::{self, PollSource};
use super::registration::{Registration, registration};
use super::schemes;
use super::shapes;
use super::triggers::{self, TriggerRef, TriggerSource};
use super::url::network;
use super::watches;
use crate::event::SourceName;
use crate::fault::{Fault, Faults, Place, nearest};
use crate::normalize::services::ServiceView;
use crate::rules::Watch;
use crate::secret::SecretRef;
use crate::signature::Scheme;
use crate::yaml::secret;
use crate::yaml::{Fields, KeyNode, Node, Yaml};

/// The most secrets that one source may have; each is tried for each delivery.
pub const SECRETS_MAX: usize = 16;

/// How events may come in.
const KINDS: [&str; 3] = ["webhook", "poll", "watch"];

/// The longest ingress path, in bytes.
pub const PATH_MAX: usize = 256;

/// The most proxies before us.
pub const TRUSTED_PROXIES_MAX: u64 = 16;

/// A webhook source.
#[derive(Clone, Debug)]
pub struct WebhookSource {
    /// Its name.
    pub name: SourceName,
    /// The orchestrator whose events these are.
    pub orchestrator: Option<Arc<str>>,
    /// The ingress path.
    pub path: String,
    /// Any may verify.
    pub secrets: Vec<SecretRef>,
    /// Peers that may deliver; everybody when empty.
    pub allow_from: Vec<IpNet>,
    /// How many `X-Forwarded-For` hops are ours.
    pub trusted_proxies: u8,
    /// No signature is asked for.
    pub insecure_unsigned: bool,
    /// What is to stand in Orchestrator.
    pub registration: Registration,
    /// How deliveries are signed.
    pub scheme: Scheme,
    /// Whose words they use; `None` for Orchestrator.
    pub service: Option<ServiceView>,
    /// The trigger of a connector that says both: it is found by `Config::find_triggers`.
    pub trigger: Option<TriggerRef>,
}

/// What a source is checked against.
pub(super) struct Surroundings<'a> {
    /// The orchestrators that could be read.
    pub(super) orchestrators: &'a BTreeMap<Arc<str>, OrchestratorConfig>,
    /// The names of all orchestrators, those with faults too.
    pub(super) orchestrator_names: Vec<&'a str>,
    /// How Orchestrator reaches the ingress.
    pub(super) public_url: Option<&'a str>,
    /// Where the ingress listens.
    pub(super) listen: SocketAddr,
    /// What paths are relative to.
    pub(super) base: &'a Base,
}

/// What comes in, by how it does.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Delivered.
    pub(super) webhooks: BTreeMap<SourceName, WebhookSource>,
    /// Read.
    pub(super) polls: BTreeMap<SourceName, PollSource>,
    /// Watched.
    pub(super) watches: BTreeMap<SourceName, Arc<Watch>>,
    /// Read through connectors.
    pub(super) triggers: BTreeMap<SourceName, TriggerSource>,
}

/// Reads `sources`.
pub(super) fn decode(node: &Node, around: &Surroundings<'_>, faults: &mut Faults) -> Sources {
    let mut sources = Sources::default();
    let Some(entries) = node.as_map() else {
        let message = format!("`sources` is {}; expected a mapping from names to sources", node.kind());
        faults.push(Fault::error("wrong-type", node.place.clone(), message));
        return sources;
    };
    let mut paths: Vec<(String, &KeyNode)> = Vec::new();
    let mut polls = Vec::new();
    let mut watches: Vec<Arc<Watch>> = Vec::new();
    for (key, node) in entries {
        check_name(key, "source", faults);
        let what = format!("source `{}`", key.name);
        let Some(fields) = Fields::read(node, &what, &shapes::SOURCE, faults) else { continue };
        let kinds: Vec<(&str, &Place)> = KINDS.iter().filter_map(|kind| Some((*kind, fields.key_place(kind)?))).collect();
        if let [(first, _), (second, place), ..] = kinds.as_slice() {
            let fault = Fault::error("sources", (*place).clone(), format!("{what} has both `{first}` and `{second}`"));
            faults.push(fault.help("make two sources of it; a poll then `reconciles` the webhook"));
        }
        if let Some(inner) = fields.get("watch") {
            watches.extend(watches::watch(key, inner, around, faults).map(Arc::new));
            continue;
        }
        if let Some(inner) = fields.get("poll").filter(|inner| triggers::is_trigger(inner)) {
            sources.triggers.extend(triggers::trigger(key, inner, faults).map(|trigger| (Arc::clone(&trigger.name), trigger)));
            continue;
        }
        if let Some(inner) = fields.get("poll") {
            polls.extend(polls::poll(key, inner, around, faults).map(|poll| (poll, inner)));
            continue;
        }
        let Some(inner) = fields.get("webhook") else {
            if fields.entries().is_empty() || KINDS.iter().any(|name| fields.key_place(name).is_some()) {
                let fault = Fault::error("missing-key", key.place.clone(), format!("{what} has neither `webhook` nor `poll` nor `watch`"));
                faults.push(fault.help("add `webhook:`"));
            }
            continue;
        };
        let Some(source) = webhook(key, inner, around, faults) else { continue };
        if let Some((_, first)) = paths.iter().find(|(path, _)| *path == source.path) {
            let message = format!("{what} has the path `{}` of source `{}` in line {}", source.path, first.name, first.place.line);
            let place = inner.get("path").map_or_else(|| key.place.clone(), |node| node.place.clone());
            faults.push(Fault::error("duplicate-path", place, message).help("give each source its own `path`"));
        }
        paths.push((source.path.clone(), key));
        sources.webhooks.insert(Arc::clone(&source.name), source);
    }
    let names: Vec<&str> = sources.webhooks.keys().map(|name| &**name).collect();
    for (poll, node) in &polls {
        let webhook = |name: &str| sources.webhooks.get(name).map(|source| source.orchestrator.clone());
        polls::check_reconciles(poll, node, webhook, &names, faults);
    }
    for source in sources.webhooks.values().filter(|source| source.orchestrator.is_some()) {
        if polls.iter().any(|(poll, _)| poll.reconciles.as_ref() == Some(&source.name)) {
            continue;
        }
        let place =
            entries.iter().find(|(key, _)| *key.name == *source.name).map_or_else(|| node.place.clone(), |(key, _)| key.place.clone());
        let message = format!(
            "no poll reconciles source `{}`: what happens while the daemon is down, or for an hour after a failed delivery, is lost",
            source.name
        );
        let help = format!("add a source with `poll: {{kind: queue_items, reconciles: {}}}` for the items' events", source.name);
        faults.push(Fault::warning("no-poll", place, message).help(help));
    }
    for watch in &watches {
        let brings = |of: Option<&Arc<str>>| of.is_some() && (watch.orchestrator.is_none() || watch.orchestrator.as_ref() == of);
        let fed = sources.webhooks.values().any(|source| brings(source.orchestrator.as_ref()))
            || polls.iter().any(|(poll, _)| brings(Some(&poll.orchestrator)));
        let key = entries.iter().find(|(key, _)| *key.name == *watch.name).map_or(&node.place, |(key, _)| &key.place);
        watches::check_fed(watch, key, fed, faults);
    }
    sources.watches = watches.into_iter().map(|watch| (Arc::clone(&watch.name), watch)).collect();
    sources.polls = polls.into_iter().map(|(poll, _)| (Arc::clone(&poll.name), poll)).collect();
    sources
}

fn webhook(key: &KeyNode, node: &Node, around: &Surroundings<'_>, faults: &mut Faults) -> Option<WebhookSource> {
    let what = format!("`webhook` of source `{}`", key.name);
    let fields = Fields::read(node, &what, &shapes::WEBHOOK, faults)?;
    let unsigned = fields.boolean("insecure_unsigned", faults).unwrap_or(false);
    let (trigger, scheme) = if triggers::is_trigger(node) {
        let of = triggers::of_webhook(key, &fields, &what, faults);
        let (scheme, service) = triggers::not_yet_known(&key.name);
        (of.clone(), of.map(|_| (scheme, Some(service))))
    } else {
        (None, schemes::read(&fields, &what, key, unsigned, faults))
    };
    let allow_from = networks(&fields, "allow_from", faults);
    let trusted_proxies = fields.integer("trusted_proxies", 0..=TRUSTED_PROXIES_MAX, faults).unwrap_or(0);
    let orchestrator = match &scheme {
        Some((Scheme::Orchestrator, _)) => orchestrator(&fields, &what, key, unsigned, around, faults),
        _ => None,
    };
    let path = match fields.text("path", faults) {
        Some((text, place)) => path(text, place, faults).then(|| text.to_owned()),
        None => Some(format!("/hooks/{}", key.name)),
    };
    let registration = registration(&fields, &what, path.as_deref(), orchestrator.is_some(), around.public_url, faults);
    let secrets = secrets_of(&fields, &what, unsigned, around.base, faults);
    if unsigned {
        let place = fields.key_place("insecure_unsigned").unwrap_or(fields.place);
        if !around.listen.ip().is_loopback() && fields.get("allow_from").is_none() {
            let message = format!("{what} takes unsigned deliveries from everybody who reaches {}", around.listen);
            let help = "add `allow_from` with the senders' networks, or let `listen` be a loopback address";
            faults.push(Fault::error("unsigned", place.clone(), message).help(help));
        } else {
            let message = format!("{what} takes deliveries without a signature");
            let help = "only rules that name it in `sources` see its events";
            faults.push(Fault::warning("unsigned", place.clone(), message).help(help));
        }
    }
    let (scheme, service) = scheme?;
    Some(WebhookSource {
        name: Arc::from(key.name.as_str()),
        orchestrator,
        path: path?,
        secrets,
        allow_from,
        trusted_proxies: u8::try_from(trusted_proxies).unwrap_or(u8::MAX),
        insecure_unsigned: unsigned,
        registration,
        scheme,
        service,
        trigger,
    })
}

/// The orchestrator that is named; where none is, the only one there is.
pub(super) fn orchestrator(
    fields: &Fields<'_>,
    what: &str,
    key: &KeyNode,
    unsigned: bool,
    around: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Arc<str>> {
    let names = &around.orchestrator_names;
    let Some(node) = fields.get("orchestrator") else {
        if !unsigned && names.len() > 1 {
            let message = format!("{what} does not say whose events these are");
            let help = format!("add `orchestrator:` with one of {}", names.join(", "));
            faults.push(Fault::error("missing-key", key.place.clone(), message).help(help));
        }
        return match names.as_slice() {
            [only] if !unsigned => around.orchestrators.get(*only).map(|o| Arc::clone(&o.name)),
            _ => None,
        };
    };
    let (name, place) = fields.text("orchestrator", faults)?;
    if unsigned {
        let message = format!("{what} is unsigned and may not name an orchestrator: anybody could speak for it");
        faults.push(Fault::error("unsigned", node.place.clone(), message).help("remove `orchestrator`, or use `secrets`"));
        return None;
    }
    if !names.contains(&name) {
        let fault = Fault::error("unknown-orchestrator", place.clone(), format!("unknown orchestrator `{name}`"));
        faults.push(match nearest(name, names.iter().copied()) {
            Some(candidate) => fault.help(format!("did you mean `{candidate}`?")),
            None if names.is_empty() => fault.help(format!("add it under `orchestrators:`, or remove `orchestrator` from {what}")),
            None => fault.help(format!("known are: {}", names.join(", "))),
        });
        return None;
    }
    Some(Arc::from(name))
}

fn secrets_of(fields: &Fields<'_>, what: &str, unsigned: bool, base: &Base, faults: &mut Faults) -> Vec<SecretRef> {
    let place = fields.key_place("secrets").unwrap_or(fields.place);
    let items = match fields.get("secrets") {
        None => &[][..],
        Some(Node { value: Yaml::List(items), .. }) => items.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    if unsigned {
        if !items.is_empty() {
            let message = format!("{what} has `secrets` and `insecure_unsigned: true`, which contradict each other");
            faults.push(Fault::error("unsigned", place.clone(), message).help("remove one of them"));
        }
        return Vec::new();
    }
    if items.is_empty() {
        let message = format!("{what} has no `secrets`: nobody could tell a genuine delivery from a forged one");
        let help = "add `secrets: [{env: NAME}]` with the secret that the sender signs with";
        faults.push(Fault::error("missing-key", place.clone(), message).help(help));
    }
    if items.len() > SECRETS_MAX {
        let message = format!("{what} has {} secrets; at most {SECRETS_MAX} are tried", items.len());
        faults.push(Fault::error("out-of-range", place.clone(), message).help("remove those that are no longer used"));
        return Vec::new();
    }
    let mut secrets: Vec<SecretRef> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(secret) = secret::decode(item, &format!("secret {} of {what}", index + 1), base.folder(), faults) else { continue };
        if let Some(first) = secrets.iter().position(|first| first.same_place(&secret)) {
            let message = format!("secret {} of {what} is the same as secret {}", index + 1, first + 1);
            faults.push(Fault::error("secret-duplicate", item.place.clone(), message).help("remove one of them"));
            continue;
        }
        secrets.push(secret);
    }
    secrets
}

/// A list of networks; each that is none is a fault.
pub(super) fn networks(fields: &Fields<'_>, name: &str, faults: &mut Faults) -> Vec<IpNet> {
    let mut nets = Vec::new();
    let Some(texts) = fields.texts(name, faults) else { return nets };
    if texts.is_empty() {
        let place = fields.key_place(name).unwrap_or(fields.place).clone();
        faults.push(Fault::error("empty", place, format!("`{name}` is an empty list")).help("name networks, or remove it"));
    }
    for (text, place) in texts {
        match network(text) {
            Ok(net) => nets.push(net),
            Err(message) => faults.push(Fault::error("network", place.clone(), format!("`{name}`: {message}"))),
        }
    }
    nets
}

/// Paths are compared byte for byte, so only such are taken that clients send as they stand.
fn path(text: &str, place: &Place, faults: &mut Faults) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    let problem = if !text.starts_with('/') {
        "does not begin with `/`"
    } else if text.len() > PATH_MAX {
        "is too long"
    } else if !text.bytes().all(plain) {
        "has other characters than letters, digits, `/`, `-`, `.`, `_` and `~`"
    } else if text.ends_with('/') {
        "ends with `/`"
    } else if text.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == "..") {
        "has an empty part, `.` or `..`"
    } else {
        return true;
    };
    faults.push(Fault::error("path", place.clone(), format!("`path` `{text}` {problem}")).help("expected one such as `/hooks/prod`"));
    false
}
