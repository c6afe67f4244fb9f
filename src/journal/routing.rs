//! Under which rule generation an event was routed, and which rules that it met were held back: for whoever explains a
//! stored event. Costs routing nothing: a value is kept when the generation changes, and a plan names what it held back.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::event::{Event, EventId, RuleName, RunId};
use crate::journal::codec::{self, EventRecord};
use crate::journal::events::{OpenFile, Segments, place_of};
use crate::journal::fold::Record;
use crate::journal::format::{Kind, Position, SEGMENT_HEAD};
use crate::journal::kept::{self, kept_record};
use crate::journal::queue::Op;
use crate::journal::scan::{read_frame, verified};
use crate::journal::words::{AppendError, Kept, Plan, RuleTexts, Space};
use crate::journal::{Journal, no_form};
use crate::rules::{Because, RuleSet};

/// The most changes of the rule generation that are remembered.
pub const ROUTINGS_MAX: usize = 4096;

/// A rule that an event met and that did not run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The event.
    pub event: EventId,
    /// The rule.
    pub rule: RuleName,
    /// Why not.
    pub because: Because,
}

/// Which events were routed under which rule generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routings {
    /// From which event on, ascending, with the generation.
    firsts: Vec<(EventId, u64)>,
    /// The newest event that was routed.
    routed: EventId,
}

impl Routings {
    pub(super) fn new(firsts: impl IntoIterator<Item = (EventId, u64)>, routed: EventId) -> Self {
        let mut firsts: Vec<_> = firsts.into_iter().collect();
        firsts.sort_unstable();
        Self { firsts, routed }
    }

    /// The generation that an event was routed under; `None` when it was not routed yet, or longer ago than is remembered.
    #[must_use]
    pub fn of(&self, event: EventId) -> Option<u64> {
        if event > self.routed {
            return None;
        }
        let behind = self.firsts.partition_point(|(first, _)| *first <= event);
        self.firsts.get(behind.checked_sub(1)?).map(|(_, generation)| *generation)
    }

    /// The event with its `generation`: null when that is not known.
    #[must_use]
    pub fn to_json(&self, event: &Event) -> Value {
        let mut json = event.to_json();
        json["generation"] = json!(self.of(event.id));
        json
    }

    /// The generation that was noted last.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.firsts.last().map(|(_, generation)| *generation)
    }

    /// The newest event that was routed.
    #[must_use]
    pub fn routed(&self) -> EventId {
        self.routed
    }

    /// The oldest ones that one more would push out.
    #[must_use]
    pub fn surplus(&self) -> &[(EventId, u64)] {
        &self.firsts[..(self.firsts.len() + 1).saturating_sub(ROUTINGS_MAX)]
    }
}

/// How one event was routed.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Whether it was.
    pub routed: bool,
    /// Under which generation, as far as that is remembered.
    pub generation: Option<u64>,
    /// The texts of that generation; where they are not known or no longer kept, of the newest one, with its number.
    pub texts: Option<(u64, RuleTexts)>,
    /// What the router did with it.
    pub met: MetBy,
}

/// What the router did with an event.
#[derive(Clone, Debug, PartialEq)]
pub enum MetBy {
    /// It asked the rules; those named here were met and did not run.
    Rules(Vec<Held>),
    /// It does not get to see the event: another body came with an `EventId` that was known.
    Nobody,
}

impl Routing {
    /// The event with its rule generation, and for each rule whether it ran, or the first condition that failed.
    #[must_use]
    pub fn explain(&self, event: &Event) -> Value {
        let mut event_json = event.to_json();
        event_json["generation"] = json!(self.generation);
        let mut json = json!({"event": event_json, "generation": self.generation, "rules": []});
        let mut note = None;
        if event.late {
            json["note"] = json!("it came too late, so no rule was asked; `tripline replay` runs rules for it");
            return json;
        }
        match (&self.met, &self.texts) {
            (MetBy::Nobody, _) => {
                note = Some("it is shown only: its EventId came before with another body, so no rule was asked".to_owned());
            }
            (MetBy::Rules(_), None) => note = Some("no rules are kept to explain it with".to_owned()),
            (MetBy::Rules(held), Some((generation, texts))) => {
                if !self.routed {
                    note = Some(format!("it was not routed yet; explained with the newest rules, generation {generation}"));
                } else if self.generation != Some(*generation) {
                    note = Some(format!(
                        "the rules it was routed with are no longer kept; explained with the newest ones, generation {generation}"
                    ));
                }
                match texts.compile() {
                    Ok(set) => json["rules"] = self.explanations(&set, event, held),
                    Err(_) => note = Some(format!("the rules of generation {generation} do not compile with this version")),
                }
            }
        }
        if let Some(note) = note {
            json["note"] = json!(note);
        }
        json
    }

    fn explanations(&self, set: &RuleSet, event: &Event, held: &[Held]) -> Value {
        // Whatever depends on the time was decided when the event came in, but for what was held back.
        let explained = set.explain(event, event.received).into_iter().map(|mut explanation| {
            if let Some(held) = held.iter().find(|held| held.rule == explanation.rule) {
                explanation.matched = false;
                explanation.because = Some(held.because.clone());
            }
            let run = (explanation.matched && self.routed).then(|| RunId::of(event.id, &explanation.rule));
            let mut json = json!(explanation);
            if let Some(run) = run {
                json["run"] = json!(run);
            }
            json
        });
        explained.collect()
    }
}

impl Journal {
    /// Records what the router decided: runs and position in one group. Runs that exist already are left as they are.
    ///
    /// # Errors
    /// Full, or ended.
    pub async fn plan(&self, plan: Plan) -> Result<(), AppendError> {
        self.plan_holding(plan, &[], Vec::new()).await
    }

    /// As [`Journal::plan`], with what was held back, and with values that are kept in the same group.
    ///
    /// # Errors
    /// Full, or ended; nothing was kept then.
    pub async fn plan_holding(&self, plan: Plan, held: &[Held], kept: Vec<Kept>) -> Result<(), AppendError> {
        kept.iter().try_for_each(Kept::check)?;
        let payload = codec::plan_bytes(&plan, held).map_err(no_form)?;
        let mut records = vec![(Kind::Plan, payload, Record::Plan(plan))];
        records.extend(kept.into_iter().map(kept_record));
        self.ask(|answer| Op::Records(records, answer)).await
    }

    /// Which events were routed under which rule generation.
    pub fn routings(&self) -> io::Result<Routings> {
        let state = self.0.shared.read();
        let kept = kept::after(&state, Space::Routed, "", None, ROUTINGS_MAX + 1)?;
        Ok(Routings::new(kept.iter().filter_map(|(name, value)| first_of(name, value)), state.standing.heads.routed))
    }

    /// How an event was routed. Reads from the event on: call it off the runtime's threads.
    pub fn routing(&self, event: EventId) -> io::Result<Routing> {
        let routings = self.routings()?;
        let generation = routings.of(event);
        let routed = event <= routings.routed;
        let newest = self.0.shared.read().standing.heads.generation;
        let mut texts = None;
        for generation in generation.into_iter().chain([newest]) {
            texts = self.rule_texts(generation)?.map(|texts| (generation, texts));
            if texts.is_some() {
                break;
            }
        }
        Ok(Routing { routed, generation, texts, met: met_by(&self.segments(), event, routed)? })
    }
}

/// The first event of a generation and its number, as kept.
pub(super) fn first_of(name: &str, value: &[u8]) -> Option<(EventId, u64)> {
    Some((name.parse().ok()?, std::str::from_utf8(value).ok()?.parse().ok()?))
}

/// What the plan that routed an event held back of it. The plan lies behind the event, usually close to it.
fn met_by(segments: &dyn Segments, event: EventId, routed: bool) -> io::Result<MetBy> {
    let nothing = Ok(MetBy::Rules(Vec::new()));
    let Some((open, offset)) = place_of(segments, event)? else { return nothing };
    let bytes = read_frame(&open.file, offset)?;
    let record = verified(&bytes, open.seed, Position { segment: open.number, offset })?;
    if !EventRecord::decode(record.payload)?.routable() {
        return Ok(MetBy::Nobody);
    }
    if !routed {
        return nothing;
    }
    let first = open.number;
    if let Some(found) = held_in(&open, offset, event)? {
        return Ok(MetBy::Rules(found));
    }
    for number in segments.numbers().into_iter().filter(|number| *number > first) {
        // Asked for its index first: a reader without the daemon scans it then, and knows its end.
        segments.blocks(number)?;
        if let Some(found) = held_in(&segments.open(number)?, SEGMENT_HEAD as u32, event)? {
            return Ok(MetBy::Rules(found));
        }
    }
    nothing
}

/// What was held back, as one segment tells it from `offset` on; `None` when the plan is not in it.
fn held_in(open: &OpenFile, offset: u32, event: EventId) -> io::Result<Option<Vec<Held>>> {
    let mut offset = offset;
    while offset < open.end {
        let bytes = read_frame(&open.file, offset)?;
        let found = verified(&bytes, open.seed, Position { segment: open.number, offset })?;
        if found.kind == Kind::Plan {
            let (through, held) = codec::plan_held(found.payload)?;
            if through >= event {
                return Ok(Some(held.into_iter().filter(|held| held.event == event).collect()));
            }
        }
        offset += found.size() as u32;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_belong_to_the_generation_that_was_in_force() {
        let routings = Routings::new([(EventId(20), 3), (EventId(1), 2)], EventId(30));
        for (event, generation) in [(0, None), (1, Some(2)), (19, Some(2)), (20, Some(3)), (30, Some(3)), (31, None)] {
            assert_eq!(routings.of(EventId(event)), generation, "{event}");
        }
        assert_eq!((routings.newest(), routings.surplus().len()), (Some(3), 0));
        let many = Routings::new((0..ROUTINGS_MAX as u128).map(|n| (EventId(n), 1)), EventId(9));
        assert_eq!(many.surplus(), [(EventId(0), 1)]);
    }
}
