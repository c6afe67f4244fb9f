//! `tripline events show ID --as-test`: an event as a test to paste into a rule file.

use std::path::Path;

use serde_json::{Map, Value};

use super::args::AdminArgs;
use super::output::{Out, Stop, clean, say};
use super::store::{gone, open};
use super::{YES, setup};
use crate::clock::Clock;
use crate::event::{Event, EventId, RunId};
use crate::fault::nearest;
use crate::rules::RuleSet;
use crate::time::Timestamp;
use crate::yaml;

pub(super) fn run(config: Option<&Path>, admin: &AdminArgs, id: &str, rule: Option<&str>, out: &mut Out) -> Result<u8, Stop> {
    let id: EventId = id.parse().map_err(Stop::unknown)?;
    let (_, rules) = setup::project(config)?;
    let store = open(config, admin, out)?;
    let json = store.event(&id.to_string())?.ok_or_else(|| gone("event", id, id))?;
    let event = Event::from_json(&json).map_err(|error| Stop::unknown(format!("this is no event: {}", clean(&error.to_string()))))?;
    let names = chosen(&rules, &event, rule)?;
    let mut printed = 0;
    for name in &names {
        let run = store.run(&RunId::of(event.id, name).to_string())?;
        let ran = run.as_ref().and_then(|run| run.get("created")?.as_str()).and_then(Timestamp::parse_lenient);
        let replies = run.as_ref().map_or_else(|| Value::Object(Map::new()), values);
        let Some(draft) = rules.draft(name, &event, &replies, ran.unwrap_or(event.received)) else {
            say(&format!("`{}`: its `when` fails with an error on this event, which no test can expect", clean(name)));
            continue;
        };
        out.line(&format!("# for `tests:` of the rule {}", clean(name)))?;
        if draft.changed {
            out.line("# Masked values change what the rule does: put harmless ones in their place.")?;
        }
        out.text(&yaml::print(&Value::Array(vec![draft.test]), 2))?;
        printed += 1;
    }
    if printed == 0 { Err(Stop::no("there is nothing to print")) } else { Ok(YES) }
}

/// The rule that is named, or those that the event meets.
fn chosen(rules: &RuleSet, event: &Event, named: Option<&str>) -> Result<Vec<String>, Stop> {
    if let Some(name) = named {
        if rules.get(name).is_some() {
            return Ok(vec![name.to_owned()]);
        }
        let near = nearest(name, rules.rules().iter().map(|rule| &*rule.name)).map(|near| format!("; did you mean `{near}`?"));
        return Err(Stop::no(format!("there is no rule `{}`{}", clean(name), near.unwrap_or_default())));
    }
    let met = rules.matching(event, Clock::system().now());
    if met.is_empty() {
        return Err(Stop::no("the event meets no rule; name one with --rule, and the test says why it does not match"));
    }
    Ok(met.iter().map(|met| met.rule.name.to_string()).collect())
}

/// What the steps of a run gave, by their ids.
fn values(run: &Value) -> Value {
    let steps = run.get("steps").and_then(Value::as_array).into_iter().flatten();
    let value = |step: &Value| Some((step.get("id")?.as_str()?.to_owned(), step.get("value")?.clone()));
    Value::Object(steps.filter_map(value).collect())
}
