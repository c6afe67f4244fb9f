//! Rules that set each other off: one brings what another waits for, and so on round to the first.
//!
//! Judged like a rule that sets itself off: by types, queues, processes and emitted types, not by `when`. The graph has a
//! node for each rule and each thing that rules bring, so it stays as small as the rules are written.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::action::Kind;
use super::check::{known_text, means_any, queue_names};
use super::set::Document;
use super::{Known, Mode, Rule};
use crate::fault::{Fault, Faults};
use crate::yaml::Node;

/// The most circles that are reported; each names all its rules.
const REPORTED_MAX: usize = 50;

/// The most rules that are visited in the search for circles, all starts together.
const VISITED_MAX: usize = 2_000_000;

/// The most rules of a circle that are written out.
const SHOWN_MAX: usize = 12;

/// What a step brings about, as far as the file says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Effect {
    /// An item of this queue.
    Item(String),
    /// A job of this process.
    Job(String),
    /// An emitted event of this type, in lower case.
    Event(String),
}

/// A rule with its tree and its place among the documents.
struct Member<'d> {
    rule: &'d Arc<Rule>,
    node: &'d Node,
    effects: Vec<(usize, Effect)>,
}

/// Warns of each circle of two or more rules, once.
pub(super) fn between(documents: &[Document], known: &Known, faults: &mut Faults) {
    let members: Vec<Member<'_>> = documents
        .iter()
        .filter_map(|document| {
            let rule = document.rule.as_ref().filter(|rule| rule.mode != Mode::Off)?;
            Some(Member { rule, node: &document.node, effects: effects(rule, known) })
        })
        .collect();
    let graph = Graph::of(&members);
    let mut reported = HashSet::new();
    let mut count = 0;
    let mut room = VISITED_MAX;
    for start in 0..members.len() {
        if members[start].effects.is_empty() || reported.contains(&start) {
            continue;
        }
        let Some(circle) = graph.circle(start, &members, &mut room) else { continue };
        // Each rule is named in one report: what is mended there may mend the rest.
        reported.extend(circle.iter().map(|(member, _)| *member));
        report(&circle, &members, faults);
        count += 1;
        if count == REPORTED_MAX {
            return;
        }
    }
}

fn effects(rule: &Rule, known: &Known) -> Vec<(usize, Effect)> {
    let of_step = |(index, step): (usize, &super::Step)| {
        let effect = match &step.action.kind {
            Kind::Enqueue(action) => Effect::Item(known_text(&action.queue, known)?),
            Kind::StartJob(action) => Effect::Job(known_text(&action.process, known)?),
            Kind::Emit(action) => Effect::Event(known_text(&action.event_type, known)?.to_ascii_lowercase()),
            Kind::GetItem(_) | Kind::Http(_) | Kind::Call(_) | Kind::AwaitItem(_) | Kind::AwaitJob(_) | Kind::Wait(_) | Kind::Each(_) => {
                return None;
            }
        };
        Some((index, effect))
    };
    let with_inside = rule.steps.iter().enumerate().flat_map(|(index, step)| step.with_inside().map(move |step| (index, step)));
    with_inside.filter_map(of_step).collect()
}

/// Who waits for what.
#[derive(Default)]
struct Graph {
    waiting: HashMap<Effect, Vec<usize>>,
    /// Rules that wait for items of any queue.
    of_any_item: Vec<usize>,
}

impl Graph {
    fn of(members: &[Member<'_>]) -> Self {
        let mut graph = Self::default();
        for (index, member) in members.iter().enumerate() {
            if means_any(member.rule, "queueitem.", false) {
                match queue_names(member.rule, member.node) {
                    Some(names) => names.into_iter().for_each(|name| graph.add(Effect::Item(name), index)),
                    None => graph.of_any_item.push(index),
                }
            }
            if means_any(member.rule, "job.", false) {
                let processes = member.rule.filter.processes.iter().flatten();
                processes.for_each(|process| graph.add(Effect::Job(process.clone()), index));
            }
            for event in member.rule.filter.exact_types() {
                graph.add(Effect::Event(event), index);
            }
        }
        graph
    }

    fn add(&mut self, effect: Effect, member: usize) {
        self.waiting.entry(effect).or_default().push(member);
    }

    /// The shortest way from a rule over others back to it: each rule with the step that goes on.
    fn circle(&self, start: usize, members: &[Member<'_>], room: &mut usize) -> Option<Vec<(usize, usize)>> {
        let mut came: HashMap<usize, (usize, usize)> = HashMap::new();
        let mut open = VecDeque::from([start]);
        let mut any_taken = false;
        let mut taken: HashSet<&Effect> = HashSet::new();
        while let Some(at) = open.pop_front() {
            *room = room.checked_sub(1)?;
            for (step, effect) in &members[at].effects {
                if at != start && !taken.insert(effect) {
                    continue;
                }
                let named = self.waiting.get(effect).into_iter().flatten();
                // Whoever waits for any item is reached by the first one.
                let any = matches!(effect, Effect::Item(_)) && (at == start || !std::mem::replace(&mut any_taken, true));
                for next in named.chain(self.of_any_item.iter().filter(|_| any)).copied() {
                    if next == start && at != start {
                        return Some(way(at, *step, start, &came));
                    }
                    if next != start && !came.contains_key(&next) {
                        came.insert(next, (at, *step));
                        open.push_back(next);
                    }
                }
            }
        }
        None
    }
}

/// The rules from `start` to `last`, each with the step that led on.
fn way(last: usize, step: usize, start: usize, came: &HashMap<usize, (usize, usize)>) -> Vec<(usize, usize)> {
    let mut circle = vec![(last, step)];
    let mut at = last;
    while at != start {
        let Some((before, step)) = came.get(&at) else { break };
        circle.push((*before, *step));
        at = *before;
    }
    circle.reverse();
    circle
}

fn report(circle: &[(usize, usize)], members: &[Member<'_>], faults: &mut Faults) {
    let Some((first, step)) = circle.first() else { return };
    let first = &members[*first];
    let place = first.node.get("steps").and_then(Node::as_list).and_then(|steps| steps.get(*step)).map(|node| &node.place);
    let mut names: Vec<String> = circle.iter().take(SHOWN_MAX).map(|(member, _)| format!("`{}`", members[*member].rule.name)).collect();
    if circle.len() > SHOWN_MAX {
        names.push(format!("… {} more …", circle.len() - SHOWN_MAX));
    }
    let message = format!("rules can set each other off: {} → `{}`", names.join(" → "), first.rule.name);
    let place = place.unwrap_or(&first.node.place).clone();
    faults.push(
        Fault::warning("rule-loop", place, message)
            .help("narrow `events`, `queues` or `match` of one of them; chains of more than 8 hops are stopped"),
    );
}
