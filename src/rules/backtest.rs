//! What rules would do with events of the past, and how two answers differ. Pure: the events come from whoever has them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Because, ExpressionFault, Guess, Mode, Ran, Rehearsal, Rule, RuleSet, Verdict};
use crate::event::{Event, RuleName, RunId};
use crate::time::Timestamp;

/// After how many new keys those whose window has ended are forgotten.
const SWEEP_AFTER: usize = 1024;

/// What a rule does with an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deed {
    /// Live, or shadow: then it only would.
    pub mode: Mode,
    /// What its steps send, with nothing known of the answers.
    pub steps: Vec<Value>,
}

/// What rules do with events that are handed in in the order they were accepted: `dedupe` remembers.
#[derive(Debug)]
pub struct Backtest {
    set: Arc<RuleSet>,
    memory: BTreeMap<String, Ran>,
    added: usize,
}

impl Backtest {
    /// Of these rules; nothing ran before.
    #[must_use]
    pub fn new(set: Arc<RuleSet>) -> Self {
        Self { set, memory: BTreeMap::new(), added: 0 }
    }

    /// The rules.
    #[must_use]
    pub fn set(&self) -> &RuleSet {
        &self.set
    }

    /// What each rule that runs does, and which were held back. `now` is the moment it was routed.
    pub fn deeds(&mut self, event: &Event, now: Timestamp) -> (BTreeMap<RuleName, Deed>, BTreeMap<RuleName, Because>) {
        let (mut deeds, mut held) = (BTreeMap::new(), BTreeMap::new());
        for mut met in self.set.matching(event, now) {
            if met.fault.is_none() {
                let known = |name: &str| Ok::<_, Infallible>(self.memory.get(name).copied());
                let verdict = self.set.verdict(&met.rule, event, now, known).unwrap_or_else(|never| match never {});
                match verdict {
                    Verdict::Runs(None) => {}
                    Verdict::Runs(Some((name, ran))) => self.remember(name, ran, now),
                    Verdict::Fault(fault) => met.fault = Some(fault),
                    Verdict::Held(because) => {
                        held.insert(met.rule.name.clone(), because);
                        continue;
                    }
                }
            }
            deeds.insert(met.rule.name.clone(), self.set.deed(&met.rule, event, now, met.fault.as_ref()));
        }
        (deeds, held)
    }

    fn remember(&mut self, name: String, ran: Ran, now: Timestamp) {
        self.memory.insert(name, ran);
        self.added += 1;
        if self.added > SWEEP_AFTER.max(self.memory.len() / 2) {
            self.added = 0;
            self.memory.retain(|_, ran| ran.until > now);
        }
    }
}

impl RuleSet {
    /// What a rule that an event met does: every step is rendered with empty answers for those before it.
    #[must_use]
    pub fn deed(&self, rule: &Rule, event: &Event, now: Timestamp, fault: Option<&ExpressionFault>) -> Deed {
        if let Some(fault) = fault {
            return Deed { mode: rule.mode, steps: vec![json!({"dead": fault.to_string()})] };
        }
        let (run, replies) = (RunId::of(event.id, &rule.name), json!({}));
        let rehearsal = Rehearsal { event, replies: &replies, vars: self.vars(), run, now, guess: Guess::All };
        let steps = rule.rehearse(&rehearsal).unwrap_or_else(|(steps, _)| steps);
        Deed { mode: rule.mode, steps }
    }
}

/// How what a rule does has changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The rule.
    pub rule: RuleName,
    /// In which way.
    pub change: Change,
    /// What it did.
    pub before: Option<Deed>,
    /// What it would do now.
    pub after: Option<Deed>,
    /// Of a rule that does nothing any more: why.
    pub because: Option<Because>,
}

/// The ways in which what a rule does can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It does something, and did nothing.
    Added,
    /// It does nothing, and did something.
    Dropped,
    /// It does something else.
    Changed,
}

/// The differences, by rule. `why` says why a rule does nothing with the event.
#[must_use]
pub fn differences(
    mut before: BTreeMap<RuleName, Deed>,
    after: BTreeMap<RuleName, Deed>,
    why: &dyn Fn(&str) -> Option<Because>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    for (rule, deed) in after {
        match before.remove(&rule) {
            None => found.push(Difference { rule, change: Change::Added, before: None, after: Some(deed), because: None }),
            Some(old) if old != deed => {
                found.push(Difference { rule, change: Change::Changed, before: Some(old), after: Some(deed), because: None });
            }
            Some(_) => {}
        }
    }
    for (rule, old) in before {
        let because = why(&rule);
        found.push(Difference { rule, change: Change::Dropped, before: Some(old), after: None, because });
    }
    found.sort_by(|a, b| (&a.rule, a.change).cmp(&(&b.rule, b.change)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{load_set, now};

    const OLD: &str = "rule: a\nevents: x.y\nsteps: [{emit: {type: o.p, data: {n: '${data.n}'}}}]\n---\nrule: b\nevents: x.y\nsteps: [{emit: {type: o.q}}]";
    const NEW: &str = "rule: a\nevents: x.y\nsteps: [{emit: {type: o.p, data: {n: '${data.n + 1}'}}}]\n---\nrule: c\nevents: x.y\nwhen: data.n > 5\nsteps: [{emit: {type: o.q}}]";

    fn event(n: i64) -> Event {
        Event::from_json(&json!({"type": "x.y", "data": {"n": n}})).expect("an event")
    }

    fn compare(old: &str, new: &str, event: &Event) -> Vec<(String, Change)> {
        let (mut old, mut new) = (Backtest::new(Arc::new(load_set(old))), Backtest::new(Arc::new(load_set(new))));
        let (before, _) = old.deeds(event, now());
        let (after, held) = new.deeds(event, now());
        let why = |rule: &str| held.get(rule).cloned();
        differences(before, after, &why).into_iter().map(|d| (d.rule.to_string(), d.change)).collect()
    }

    #[test]
    fn what_is_added_dropped_and_changed_is_told_apart() {
        let (a, b, c) = (("a".to_owned(), Change::Changed), ("b".to_owned(), Change::Dropped), ("c".to_owned(), Change::Added));
        assert_eq!(compare(OLD, NEW, &event(9)), [a.clone(), b.clone(), c]);
        assert_eq!(compare(OLD, NEW, &event(1)), [a, b]);
        assert_eq!(compare(OLD, OLD, &event(1)), []);
        assert_eq!(compare(OLD, &OLD.replace("rule: a\n", "rule: a\nmode: shadow\n"), &event(1)), [("a".to_owned(), Change::Changed)]);
    }

    #[test]
    fn steps_that_need_answers_are_the_same_where_they_are_written_the_same() {
        let rule = "rule: a\nevents: x.y\nsteps:\n  - {id: item, get_item: {id: '${data.n}'}}\n  - emit: {type: o.p, data: {s: '${steps.item.Status}'}}";
        assert_eq!(compare(rule, rule, &event(1)), []);
        let other = rule.replace("Status", "Reference");
        assert_eq!(compare(rule, &other, &event(1)), [("a".to_owned(), Change::Changed)]);
    }

    #[test]
    fn keys_are_remembered_in_the_order_of_the_events() {
        let rule = "rule: a\nevents: x.y\ndedupe: {key: '${data.n}', window: 1h}\nsteps: [{emit: {type: o.p}}]";
        let mut backtest = Backtest::new(Arc::new(load_set(rule)));
        let mut ran = Vec::new();
        for (id, (n, minute)) in (1..).zip([(1, 0), (1, 30), (2, 31), (1, 61)]) {
            let mut event = event(n);
            event.id = crate::event::EventId(id);
            event.received = now().plus(std::time::Duration::from_secs(60 * minute));
            let (deeds, held) = backtest.deeds(&event, event.received);
            assert_eq!(deeds.len() + held.len(), 1);
            ran.push(deeds.len());
        }
        assert_eq!(ran, [1, 0, 1, 1]);
    }
}
