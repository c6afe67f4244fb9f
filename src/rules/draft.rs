//! A test drafted from an event that came: as little of the event as the rule looks at, with what looks like a secret
//! masked, and what the rule does with it. The same functions run it as run a test in a file.

use serde_json::{Map, Value, json};

use super::pattern::Pattern;
use super::{Rule, RuleSet, testing};
use crate::event::Event;
use crate::time::Timestamp;

/// What stands in place of a value that looks like a secret.
pub const MASK: &str = "***";

/// Parts of field names whose values are masked, in lower case, `-` and `_` left out.
const SECRET_WORDS: [&str; 10] =
    ["password", "passwd", "secret", "token", "apikey", "authorization", "credential", "cookie", "connectionstring", "privatekey"];

/// Fields of the event that a draft keeps besides its data, where they are there.
const KEPT: [&str; 7] = ["type", "source", "via", "time", "orchestrator", "folder", "problem"];

/// A drafted test, in the words of a rule file.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The test.
    pub test: Value,
    /// Whether masking changed what the rule does: the test passes, but says something else than what happened.
    pub changed: bool,
}

impl RuleSet {
    /// A test of the rule with this name that passes: what it does with the event. `replies` are values of its steps, `now`
    /// the moment it ran. Nothing when there is no such rule, or its condition fails with a type error, which no test expects.
    #[must_use]
    pub fn draft(&self, rule: &str, event: &Event, replies: &Value, now: Timestamp) -> Option<Draft> {
        let rule = self.get(rule)?;
        let whole = event.to_json();
        let replies = masked(&known_replies(rule, replies));
        let outcome = |event: &Value, replies: &Value| -> Option<Value> {
            let event = Event::from_json(event).ok()?;
            testing::outcome(rule, &event, replies, self.vars(), now)
        };
        let mut kept: Map<String, Value> = whole.as_object()?.clone();
        let needs_all = rule.paths().iter().any(|path| path == "event" || path.starts_with("event."));
        if !needs_all {
            kept.retain(|name, _| KEPT.contains(&name.as_str()) || name == "data");
        }
        let kept = Value::Object(kept);
        let wanted = outcome(&kept, &replies)?;
        let hidden = masked(&kept);
        let mut pruned = hidden.clone();
        if let Some(data) = pruned.get_mut("data") {
            *data = prune(data, &data_paths(rule));
        }
        let fits = |candidate: &Value| outcome(candidate, &replies).is_some_and(|found| found == wanted);
        let (event_json, changed) = match (fits(&pruned), fits(&hidden)) {
            (true, _) => (pruned, false),
            (false, true) => (hidden, false),
            (false, false) => (hidden, true),
        };
        let expect = if changed { outcome(&event_json, &replies)? } else { wanted };
        let mut test = Map::new();
        test.insert("name".to_owned(), json!(format!("as event {}", event.id)));
        test.insert("now".to_owned(), json!(now));
        test.insert("event".to_owned(), event_json);
        if replies.as_object().is_some_and(|replies| !replies.is_empty()) {
            test.insert("replies".to_owned(), replies);
        }
        test.insert("expect".to_owned(), expect);
        Some(Draft { test: Value::Object(test), changed })
    }
}

/// The values of steps that have an id; others cannot be referred to.
fn known_replies(rule: &Rule, replies: &Value) -> Value {
    let known = |id: &str| rule.steps.iter().any(|step| step.id.as_deref() == Some(id));
    let entries = replies.as_object().into_iter().flatten().filter(|(id, value)| known(id) && !value.is_null());
    Value::Object(entries.map(|(id, value)| (id.clone(), value.clone())).collect())
}

/// The value with secrets masked, by the names of their fields.
fn masked(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map.iter().map(|(name, inner)| {
                let plain: String = name.to_lowercase().chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect();
                let hide = SECRET_WORDS.iter().any(|word| plain.contains(word)) && !matches!(inner, Value::Null | Value::Bool(_));
                (name.clone(), if hide { json!(MASK) } else { masked(inner) })
            });
            Value::Object(entries.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        other => other.clone(),
    }
}

/// Where in `data` the rule looks.
fn data_paths(rule: &Rule) -> Vec<Vec<String>> {
    let of_reference = |path: String| -> Option<Vec<String>> {
        let (root, rest) = path.split_once('.').map_or((path.as_str(), None), |(root, rest)| (root, Some(rest)));
        let mut full: Vec<String> = match root {
            "data" => vec![],
            "item" => vec!["QueueItem".to_owned()],
            "content" => vec!["QueueItem".to_owned(), "SpecificContent".to_owned()],
            "queue" => vec!["Queue".to_owned()],
            "job" => vec!["Job".to_owned()],
            _ => return None,
        };
        full.extend(rest.into_iter().flat_map(|rest| rest.split('.')).map(str::to_owned));
        Some(full)
    };
    let dotted = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
    let patterns = rule.pattern.iter().flat_map(Pattern::branches).flat_map(|branch| &branch.conditions);
    let mut paths: Vec<Vec<String>> = patterns.map(|condition| dotted(&condition.path)).collect();
    paths.extend(["Queue.Name", "Job.Release.Name", "Job.ReleaseName", "Release.Name"].map(dotted));
    // What says which thing it was, for whoever reads the test.
    paths.extend(["QueueItem.Id", "QueueItem.Reference", "Job.Id", "Job.Key"].map(dotted));
    paths.extend(rule.paths().into_iter().filter_map(of_reference));
    paths
}

/// The value with only these paths in it; what stands at the end of one is kept whole.
fn prune(value: &Value, paths: &[Vec<String>]) -> Value {
    let refs: Vec<&[String]> = paths.iter().map(Vec::as_slice).collect();
    prune_at(value, &refs)
}

fn prune_at(value: &Value, paths: &[&[String]]) -> Value {
    if paths.iter().any(|path| path.is_empty()) {
        return value.clone();
    }
    match value {
        Value::Object(map) => {
            let entries = map.iter().filter_map(|(name, inner)| {
                let below: Vec<&[String]> = paths.iter().filter(|path| path[0] == *name).map(|path| &path[1..]).collect();
                (!below.is_empty()).then(|| (name.clone(), prune_at(inner, &below)))
            });
            Value::Object(entries.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| prune_at(item, paths)).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_by_their_names() {
        let value =
            json!({"User": "ann", "Api-Key": "k", "access_token": "t", "Nested": [{"ClientSecret": {"a": 1}}], "HasPassword": true});
        let expected =
            json!({"User": "ann", "Api-Key": MASK, "access_token": MASK, "Nested": [{"ClientSecret": MASK}], "HasPassword": true});
        assert_eq!(masked(&value), expected);
    }

    #[test]
    fn only_the_paths_named_are_kept() {
        let value = json!({"a": {"b": 1, "c": 2}, "d": [{"e": 1, "f": 2}], "g": {"h": 1}});
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            prune(&value, &[path("a.b"), path("d.e"), path("g"), path("x.y")]),
            json!({"a": {"b": 1}, "d": [{"e": 1}], "g": {"h": 1}})
        );
    }
}
