//! What the index gets of a rule: its pattern, with the shorthands for queues and processes written out, so that
//! rules that differ in these only cost no more than rules that differ in their patterns.

use super::filter::Filter;
use super::pattern::Pattern;
use crate::fault::{Faults, Place};
use crate::yaml::{KeyNode, Node, Yaml};

/// The pattern for the index, where it is another than the rule's own. It may let more through than the rule does,
/// never less: the rule is asked again.
pub(super) fn pattern(filter: &Filter, own: Option<&Node>, place: &Place) -> Option<Pattern> {
    let build = |value: Yaml| Node { place: place.clone(), value };
    let map = |name: &str, node: Node| build(Yaml::Map(vec![(KeyNode { name: name.to_owned(), place: place.clone() }, node)]));
    let exactly = |names: &[String]| build(Yaml::List(names.iter().map(|name| map("exactly", build(Yaml::Text(name.clone())))).collect()));
    let mut entries = own.and_then(Node::as_map).unwrap_or_default().to_vec();
    let before = entries.len();
    let mut add = |name: &str, node: Node| {
        // Where the pattern speaks of it already, that has to do.
        if !entries.iter().any(|(key, _)| key.name == name || key.name.starts_with(&format!("{name}."))) {
            entries.push((KeyNode { name: name.to_owned(), place: place.clone() }, node));
        }
    };
    if let Some(queues) = &filter.queues {
        add("Queue", map("Name", exactly(queues)));
    }
    if let Some(processes) = &filter.processes {
        let anywhere = vec![
            map("Job", map("Release", map("Name", exactly(processes)))),
            map("Job", map("ReleaseName", exactly(processes))),
            map("Release", map("Name", exactly(processes))),
        ];
        add("$or", build(Yaml::List(anywhere)));
    }
    if entries.len() == before {
        return None;
    }
    // Too many branches together: the rule's own pattern is indexed then.
    let mut faults = Faults::new();
    Pattern::compile(&build(Yaml::Map(entries)), &mut faults).filter(|_| !faults.any_error())
}
