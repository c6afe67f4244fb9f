//! Polled sources: what is read, where, how often.

use std::sync::Arc;
use std::time::Duration;

use super::orchestrators::folder;
use super::shapes;
use super::sources::{Surroundings, orchestrator};
use crate::event::SourceName;
use crate::fault::{Fault, Faults};
use crate::rules::FolderRef;
use crate::time::Daily;
use crate::yaml::{Fields, KeyNode, Node, Yaml};

/// How often a source may be read.
const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// How far the first start may look back.
const LOOK_BACK: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);

/// How long a webhook may take.
const WEBHOOK_WITHIN: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// The most folders and queues that one source names.
pub const NAMES_MAX: usize = 1000;

/// A polled source.
#[derive(Clone, Debug, PartialEq)]
pub struct PollSource {
    /// Its name.
    pub name: SourceName,
    /// What is read.
    pub kind: PollKind,
    /// The orchestrator that is read.
    pub orchestrator: Arc<str>,
    /// Folders, as written.
    pub folders: Chosen<FolderRef>,
    /// Queues by name.
    pub queues: Chosen<String>,
    /// How often at least.
    pub every: Duration,
    /// Once a day at this time, in place of `every`.
    pub at: Option<Daily>,
    /// How far back the first start looks.
    pub look_back: Duration,
    /// The webhook whose gaps it closes.
    pub reconciles: Option<SourceName>,
    /// A change that the webhook has not brought by then was missed.
    pub webhook_within: Duration,
}

/// What a polled source reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollKind {
    /// Changes of queue items.
    QueueItems,
    /// Changes of jobs.
    Jobs,
}

impl PollKind {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueItems => "queue_items",
            Self::Jobs => "jobs",
        }
    }
}

/// Some of what there is, or everything.
#[derive(Clone, Debug, PartialEq)]
pub enum Chosen<T> {
    /// Whatever there is.
    All,
    /// These.
    These(Vec<T>),
}

/// Reads `poll`.
pub(super) fn poll(key: &KeyNode, node: &Node, around: &Surroundings<'_>, faults: &mut Faults) -> Option<PollSource> {
    let what = format!("`poll` of source `{}`", key.name);
    let fields = Fields::read(node, &what, &shapes::POLL, faults)?;
    let before = faults.len();
    let of = orchestrator(&fields, &what, key, false, around, faults);
    if of.is_none() && faults.len() == before {
        let fault = Fault::error("missing-key", key.place.clone(), format!("{what} has no orchestrator to read"));
        faults.push(fault.help("add one under `orchestrators:` and name it with `orchestrator:`"));
    }
    let kind = kind(&fields, &what, faults);
    let default = of.as_ref().and_then(|name| around.orchestrators.get(name)).and_then(|one| one.folder.clone());
    let folders = match fields.get("folders") {
        Some(node) => chosen(node, "folders", faults, folder),
        None => match default {
            Some(folder) => Some(Chosen::These(vec![folder])),
            None => {
                if of.as_ref().is_some_and(|name| around.orchestrators.contains_key(name)) {
                    let fault = Fault::error("missing-key", fields.place.clone(), format!("{what} does not say which folders to read"));
                    faults.push(fault.help("add `folders: [Finance]` or `folders: all`, or give the orchestrator a `folder`"));
                }
                None
            }
        },
    };
    let queues = match fields.get("queues") {
        Some(node) if kind == Some(PollKind::Jobs) => {
            let fault = Fault::error("contradiction", node.place.clone(), "`queues` has no meaning for `kind: jobs`");
            faults.push(fault.help("remove it; rules choose among jobs with `processes`"));
            None
        }
        Some(node) => chosen(node, "queues", faults, queue),
        None => Some(Chosen::All),
    };
    let every = fields.duration("every", EVERY, faults).unwrap_or(Duration::from_secs(10));
    let at = at(&fields, faults);
    let look_back = fields.duration("look_back", LOOK_BACK, faults).unwrap_or(Duration::from_secs(3600));
    let webhook_within = fields.duration("webhook_within", WEBHOOK_WITHIN, faults).unwrap_or(Duration::from_secs(120));
    if let Some(place) = fields.key_place("webhook_within").filter(|_| fields.get("reconciles").is_none()) {
        let message = format!("{what} has `webhook_within` and no `reconciles`: there is no webhook to wait for");
        faults.push(Fault::error("reconciles", place.clone(), message).help("add `reconciles:` with the webhook's source, or remove it"));
    }
    let reconciles = fields.text("reconciles", faults).map(|(name, _)| Arc::from(name));
    Some(PollSource {
        name: Arc::from(key.name.as_str()),
        kind: kind?,
        orchestrator: of?,
        folders: folders?,
        queues: queues?,
        every,
        at,
        look_back,
        reconciles,
        webhook_within,
    })
}

fn kind(fields: &Fields<'_>, what: &str, faults: &mut Faults) -> Option<PollKind> {
    match fields.text("kind", faults) {
        None if fields.get("kind").is_none() => {
            let fault = Fault::error("missing-key", fields.place.clone(), format!("{what} does not say what to read"));
            faults.push(fault.help("add `kind: queue_items` or `kind: jobs`"));
            None
        }
        None => None,
        Some(("queue_items", _)) => Some(PollKind::QueueItems),
        Some(("jobs", _)) => Some(PollKind::Jobs),
        Some((other, place)) => {
            faults.push(Fault::error("kind", place.clone(), format!("unknown kind `{other}`; expected queue_items or jobs")));
            None
        }
    }
}

/// `at`, which stands in place of `every`.
fn at(fields: &Fields<'_>, faults: &mut Faults) -> Option<Daily> {
    let (text, place) = fields.text("at", faults)?;
    if let Some(every) = fields.key_place("every") {
        let fault = Fault::error("contradiction", every.clone(), "`every` and `at` contradict each other");
        faults.push(fault.help("keep `every` for an interval, or `at` for once a day"));
    }
    match Daily::parse(text) {
        Ok(daily) => Some(daily),
        Err(message) => {
            faults.push(Fault::error("at", place.clone(), message));
            None
        }
    }
}

fn chosen<T>(node: &Node, name: &str, faults: &mut Faults, one: impl Fn(&Node, &mut Faults) -> Option<T>) -> Option<Chosen<T>> {
    let items = match &node.value {
        Yaml::Text(text) if text == "all" => return Some(Chosen::All),
        Yaml::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if items.is_empty() || items.len() > NAMES_MAX {
        let message = format!("`{name}` has {} entries; expected `all`, or 1 to {NAMES_MAX} names", items.len());
        faults.push(Fault::error("out-of-range", node.place.clone(), message));
        return None;
    }
    // All of them are read, so that all faults are seen.
    let read: Vec<Option<T>> = items.iter().map(|item| one(item, faults)).collect();
    read.into_iter().collect::<Option<Vec<T>>>().map(Chosen::These)
}

fn queue(node: &Node, faults: &mut Faults) -> Option<String> {
    match &node.value {
        Yaml::Text(text) if !text.is_empty() && !text.chars().any(char::is_control) => Some(text.clone()),
        _ => {
            let message = format!("a queue is {}; expected its name", node.kind());
            faults.push(Fault::error("wrong-type", node.place.clone(), message));
            None
        }
    }
}

/// What a source reconciles must be a webhook of the same orchestrator.
pub(super) fn check_reconciles(
    source: &PollSource,
    node: &Node,
    webhook: impl Fn(&str) -> Option<Option<Arc<str>>>,
    names: &[&str],
    faults: &mut Faults,
) {
    let Some(name) = &source.reconciles else { return };
    let place = node.get("reconciles").map_or_else(|| node.place.clone(), |node| node.place.clone());
    match webhook(name) {
        None => {
            let fault = Fault::error("unknown-source", place, format!("`reconciles` names `{name}`, which is no webhook source"));
            faults.push(match crate::fault::nearest(name, names.iter().copied()) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None => fault.help("name a source that has `webhook:`"),
            });
        }
        Some(of) if of.as_ref() != Some(&source.orchestrator) => {
            let message = format!("`reconciles` names `{name}`, whose events are not of orchestrator `{}`", source.orchestrator);
            faults.push(Fault::error("reconciles", place, message).help("a poll closes the gaps of a webhook of its own orchestrator"));
        }
        Some(_) => {}
    }
}
