//! Checks over all rules: names, types nobody sends, rules that set themselves off.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::action::Kind;
use super::index::TypePattern;
use super::set::Document;
use super::{Known, Rule};
use crate::expr::{Scope, Template};
use crate::fault::{Fault, Faults, Place, nearest};
use crate::normalize::known_types;
use crate::yaml::{Node, Yaml};

/// Types this near to a known one are taken for a slip of the pen; others may be new or another service's.
const SLIP_DISTANCE: usize = 2;

/// Checks all documents together.
pub(super) fn across(documents: &[Document], known: &Known, faults: &mut Faults) {
    unique_names(documents, faults);
    let emitted: HashSet<String> = documents.iter().filter_map(|d| d.rule.as_deref()).flat_map(|rule| emitted_types(rule, known)).collect();
    for document in documents {
        types(&document.node, known, &emitted, faults);
        if let Some(rule) = &document.rule {
            loops(&document.node, rule, known, faults);
        }
    }
    super::loops::between(documents, known, faults);
}

fn unique_names(documents: &[Document], faults: &mut Faults) {
    let mut first: HashMap<&str, &Place> = HashMap::new();
    for node in documents.iter().filter_map(|document| document.node.get("rule")) {
        let Some(name) = node.as_text() else { continue };
        match first.get(name) {
            None => {
                first.insert(name, &node.place);
            }
            Some(place) => {
                let message = format!("rule name `{name}` is used twice, first in {}:{}", place.source.path.display(), place.line);
                faults.push(Fault::error("duplicate-rule", node.place.clone(), message).help("rename one of them"));
            }
        }
    }
}

/// The value of a template that depends on nothing but `vars`.
pub(super) fn known_text(template: &Template, known: &Known) -> Option<String> {
    template.render_text(&Scope::new().bind("vars", &known.vars), |_, value| value).ok()
}

fn emitted_types(rule: &Rule, known: &Known) -> Vec<String> {
    let actions = rule.all_steps().filter_map(|step| match &step.action.kind {
        Kind::Emit(emit) => known_text(&emit.event_type, known),
        _ => None,
    });
    actions.map(|text| text.to_ascii_lowercase()).collect()
}

fn types(node: &Node, known: &Known, emitted: &HashSet<String>, faults: &mut Faults) {
    let Some(events) = node.get("events") else { return };
    let items = match &events.value {
        Yaml::List(items) => items.as_slice(),
        _ => std::slice::from_ref(events),
    };
    for item in items {
        let Some(text) = item.as_text() else { continue };
        let lower = crate::normalize::canonical_type(text.trim()).to_ascii_lowercase();
        let family = lower.strip_suffix('*');
        let is_known = |candidate: &str| match family {
            Some(prefix) => candidate.to_ascii_lowercase().starts_with(prefix),
            None => candidate.eq_ignore_ascii_case(&lower),
        };
        let of_source = known.sources.iter().any(|source| lower.starts_with(&format!("{}.", source.name.to_ascii_lowercase())));
        if lower.is_empty() || of_source || known_types().iter().any(|t| is_known(t)) || emitted.iter().any(|t| is_known(t)) {
            continue;
        }
        let families: Vec<String> = known_types().iter().filter_map(|t| t.split_once('.').map(|(head, _)| format!("{head}.*"))).collect();
        let near = match family {
            Some(_) => nearest(text, families.iter().map(String::as_str)),
            None => nearest(text, known_types().iter().copied()),
        };
        let message = format!("unknown event type `{text}`");
        let slip = near.is_some_and(|near| strsim::damerau_levenshtein(&lower, &near.to_ascii_lowercase()) <= SLIP_DISTANCE);
        let fault = if slip {
            Fault::error("unknown-type", item.place.clone(), message)
        } else {
            Fault::warning("unknown-type", item.place.clone(), message)
        };
        faults.push(match near {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("Orchestrator documents no such type, and no rule emits it"),
        });
    }
}

/// A rule whose own actions bring the events it waits for.
fn loops(node: &Node, rule: &Rule, known: &Known, faults: &mut Faults) {
    for (index, step) in rule.steps.iter().enumerate() {
        let Some(step_node) = node.get("steps").and_then(Node::as_list).and_then(|steps| steps.get(index)) else { continue };
        let again = match &step.action.kind {
            Kind::Enqueue(action) => {
                let queue = known_text(&action.queue, known);
                queue
                    .filter(|queue| means_any(rule, "queueitem.", false) && of_queue(rule, node, queue))
                    .map(|queue| format!("items of `{queue}`"))
            }
            Kind::StartJob(action) => {
                let process = known_text(&action.process, known);
                let own = |process: &String| rule.filter.processes.as_ref().is_some_and(|names| names.contains(process));
                process.filter(|process| means_any(rule, "job.", false) && own(process)).map(|process| format!("jobs of `{process}`"))
            }
            Kind::Emit(action) => {
                let event_type = known_text(&action.event_type, known).map(|t| t.to_ascii_lowercase());
                event_type.filter(|t| rule.filter.events.iter().any(|p| p.matches(t, true))).map(|t| format!("events of type `{t}`"))
            }
            Kind::Http(action) => {
                if known.ingress.is_some_and(|ingress| is_own_ingress(action.url.leading_text(), ingress)) {
                    let message = "the step posts to this daemon's own ingress";
                    let fault = Fault::error("own-ingress", step_node.place.clone(), message);
                    faults.push(fault.help("that is a loop; make an event of your own with `emit`"));
                }
                None
            }
            Kind::Call(_) | Kind::GetItem(_) | Kind::AwaitItem(_) | Kind::AwaitJob(_) | Kind::Wait(_) | Kind::Each(_) => None,
        };
        if let Some(what) = again {
            let message = format!("the rule can set itself off: it waits for {what} and makes them");
            let help = "narrow `match` or `when`; chains of more than 8 hops are stopped";
            faults.push(Fault::warning("self-trigger", step_node.place.clone(), message).help(help));
        }
    }
}

/// Whether a URL that begins like this leads to our own ingress.
fn is_own_ingress(url: &str, ingress: SocketAddr) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let host = host.trim_matches(['[', ']']);
    let address = if host.eq_ignore_ascii_case("localhost") { Some(IpAddr::from([127, 0, 0, 1])) } else { host.parse().ok() };
    let here = |ip: IpAddr| ip == ingress.ip() || (ip.is_loopback() && (ingress.ip().is_unspecified() || ingress.ip().is_loopback()));
    port.parse() == Ok(ingress.port()) && address.is_some_and(here)
}

/// Whether the rule waits for some type that begins like this.
pub(super) fn means_any(rule: &Rule, prefix: &str, emitted: bool) -> bool {
    rule.filter.events.iter().any(|pattern| match pattern {
        TypePattern::Any => !emitted,
        TypePattern::Family(own) => !emitted && **own == *prefix,
        TypePattern::Exact(own) => own.starts_with(prefix),
    })
}

/// Whether items of this queue come through the shorthand and through literals of the pattern.
fn of_queue(rule: &Rule, node: &Node, queue: &str) -> bool {
    queue_names(rule, node).is_none_or(|names| names.iter().any(|name| name == queue))
}

/// The queues whose items come through the shorthand and through literals of the pattern; `None` where that is any.
pub(super) fn queue_names(rule: &Rule, node: &Node) -> Option<Vec<String>> {
    let items = node.get("match").and_then(|m| m.get("Queue")).and_then(|q| q.get("Name")).and_then(Node::as_list);
    // Anything but a literal may mean any name.
    let literals = items.and_then(|items| items.iter().map(|item| item.as_text().map(str::to_owned)).collect::<Option<Vec<_>>>());
    match (&rule.filter.queues, literals) {
        (Some(queues), Some(literals)) => Some(queues.iter().filter(|queue| literals.contains(queue)).cloned().collect()),
        (Some(queues), None) => Some(queues.clone()),
        (None, literals) => literals,
    }
}
