//! Where a request goes: which orchestrator, which folder, which gate.

use std::sync::Arc;

use super::Targets;
use super::gates::{PER_TARGET, Place};
use crate::event::Event;
use crate::orchestrator::Orchestrator;
use crate::rules::{FolderRef, GetItem, ItemLookup, Request, Target};
use crate::runs::{Class, Failure};

/// Emitted events in flight at once: they go to our own journal, which gathers them into one commit.
const EMITS: usize = 256;

/// The orchestrator that a step means: the one it names, else the event's, else the only one there is.
///
/// # Errors
/// There is none, with what to write.
pub(super) fn choose<'t>(targets: &'t Targets, wanted: &Target, event: &Event) -> Result<&'t Orchestrator, Failure> {
    let known = &targets.orchestrators;
    let refused = |message: String| Failure { class: Class::Refused, status: None, message, retry_after: None };
    if let Some(name) = &wanted.orchestrator {
        return known.get(name).ok_or_else(|| {
            refused(format!("there is no orchestrator `{name}`: add it under `orchestrators`, or name another one in the step"))
        });
    }
    if let Some(own) = event.orchestrator.as_ref().and_then(|name| known.get(name)) {
        return Ok(own);
    }
    let mut all = known.values();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(refused("no orchestrator is configured: add one under `orchestrators`".to_owned())),
        (Some(_), Some(_)) => Err(refused(
            "the event has no orchestrator of its own and several are configured: write `orchestrator:` in the step".to_owned(),
        )),
    }
}

/// The folder of a step: the one it names, else the event's where both speak of the same orchestrator, else the
/// orchestrator's default.
pub(super) fn folder(wanted: &Target, event: &Event, chosen: &Orchestrator) -> Option<FolderRef> {
    if let Some(folder) = &wanted.folder {
        return Some(folder.clone());
    }
    let own = event.change.folder.as_ref().filter(|_| event.orchestrator.as_ref() == Some(chosen.name()));
    let own = own.and_then(|folder| match (folder.id, &folder.key, &folder.path) {
        (Some(id), _, _) => Some(FolderRef::Id(id)),
        (None, Some(key), _) => Some(FolderRef::Key(key.clone())),
        (None, None, Some(path)) => Some(FolderRef::Path(path.clone())),
        (None, None, None) => None,
    });
    own.or_else(|| chosen.default_folder().cloned())
}

/// The gate that a request goes through. `step` names rule and step.
pub(super) fn place(request: &Request, event: &Event, targets: &Targets, step: impl FnOnce() -> String) -> Place {
    let orchestrator = |target: &Target, kind: &str, name: &str| {
        let chosen = choose(targets, target, event).ok();
        let folder = chosen.and_then(|chosen| folder(target, event, chosen));
        Place {
            target: chosen.map_or_else(|| Arc::from("unknown"), |chosen| chosen.name().clone()),
            part: Some(part(kind, name, folder.as_ref())),
            permits: PER_TARGET,
        }
    };
    match request {
        Request::Enqueue(item) => orchestrator(&item.target, "queue", &item.queue),
        Request::StartJob(job) => orchestrator(&job.target, "process", &job.process),
        Request::GetItem(GetItem { target, by }) | Request::AwaitItem(GetItem { target, by }) => match by {
            ItemLookup::Reference { queue, .. } => orchestrator(target, "queue", queue),
            ItemLookup::Id(_) => orchestrator(target, "items", ""),
        },
        Request::AwaitJob(job) => orchestrator(&job.target, "jobs", ""),
        Request::Http(call) => Place { target: Arc::from(authority(&call.url)), part: Some(step()), permits: PER_TARGET },
        Request::Call(call) => Place {
            target: Arc::from(format!("connector:{}", call.connector.name)),
            part: Some(call.operation.name.to_string()),
            permits: call.connector.limits.concurrency.map_or(PER_TARGET, |most| most as usize),
        },
        // A wait is over when its time has come; it is never sent.
        Request::Emit(_) | Request::Wait(_) => Place { target: Arc::from("emit"), part: None, permits: EMITS },
    }
}

/// What of an orchestrator one refusal speaks of, as people name it: it is shown, and kept over restarts.
fn part(kind: &str, name: &str, folder: Option<&FolderRef>) -> String {
    let named = if name.is_empty() { kind.to_owned() } else { format!("{kind} {name}") };
    match folder {
        Some(FolderRef::Path(folder) | FolderRef::Key(folder)) => format!("{named} in folder {folder}"),
        Some(FolderRef::Id(folder)) => format!("{named} in folder {folder}"),
        None => named,
    }
}

/// Scheme, host and port of a URL, without credentials, in lower case.
fn authority(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host: String = host.chars().take(255).collect();
    format!("{scheme}://{host}").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_named_as_people_name_it() {
        let path = FolderRef::Path("Finance/Invoices".to_owned());
        assert_eq!(part("queue", "Invoices", Some(&path)), "queue Invoices in folder Finance/Invoices");
        assert_eq!(part("process", "Post", Some(&FolderRef::Id(2))), "process Post in folder 2");
        assert_eq!((part("jobs", "", None), part("queue", "Q", None)), ("jobs".to_owned(), "queue Q".to_owned()));
    }

    #[test]
    fn the_gate_of_a_url_is_its_scheme_host_and_port() {
        for (url, gate) in [
            ("https://Ops.example.com/alert?token=x", "https://ops.example.com"),
            ("http://user:pass@host:8080#f", "http://host:8080"),
            ("https://[::1]:9/x", "https://[::1]:9"),
            ("nonsense", "://nonsense"),
            ("https://evil.example\\@good.example/", "https://evil.example"),
        ] {
            assert_eq!(authority(url), gate);
        }
    }
}
