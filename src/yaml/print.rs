//! A JSON value as YAML for people to paste: block style, quoted wherever a reader might take a text for something else.

use serde_json::{Map, Value};

/// Words that YAML readers of one version or another take for something else than text.
const WORDS: [&str; 11] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];

/// Mappings and lists that are no longer than this stand on one line, in characters.
const LINE_MAX: usize = 60;

/// The value as YAML, each line indented by this many spaces and ended.
#[must_use]
pub fn print(value: &Value, indent: usize) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block_map(map, indent, &mut text),
        Value::Array(items) if !items.is_empty() => block_list(items, indent, &mut text),
        other => {
            pad(indent, &mut text);
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
    text
}

fn pad(indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
}

fn block_map(map: &Map<String, Value>, indent: usize, text: &mut String) {
    for (key, value) in map {
        pad(indent, text);
        entry(key, value, indent, text);
    }
}

/// `key: value`, the key being indented already.
fn entry(key: &str, value: &Value, indent: usize, text: &mut String) {
    text.push_str(&quoted(key));
    text.push(':');
    match short(value) {
        Some(line) => {
            text.push(' ');
            text.push_str(&line);
            text.push('\n');
        }
        None => {
            text.push('\n');
            text.push_str(&print(value, indent + 2));
        }
    }
}

fn block_list(items: &[Value], indent: usize, text: &mut String) {
    for item in items {
        pad(indent, text);
        text.push_str("- ");
        match (short(item), item) {
            (Some(line), _) => {
                text.push_str(&line);
                text.push('\n');
            }
            (None, Value::Object(map)) => {
                for (index, (key, value)) in map.iter().enumerate() {
                    if index > 0 {
                        pad(indent + 2, text);
                    }
                    entry(key, value, indent + 2, text);
                }
            }
            // A list in a list: in flow style, which is JSON.
            (None, other) => {
                text.push_str(&escaped(other));
                text.push('\n');
            }
        }
    }
}

/// On one line, where it is a scalar or short and flat.
fn short(value: &Value) -> Option<String> {
    let flat = |inner: &Value| !matches!(inner, Value::Object(_) | Value::Array(_));
    let line = match value {
        Value::Object(map) if map.values().all(flat) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{}: {}", quoted(key), scalar(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) if items.iter().all(flat) => format!("[{}]", items.iter().map(scalar).collect::<Vec<_>>().join(", ")),
        Value::Object(_) | Value::Array(_) => return None,
        other => return Some(scalar(other)),
    };
    (line.chars().count() <= LINE_MAX || line == "{}" || line == "[]").then_some(line)
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// A value as JSON, with what YAML does not allow in its texts, or takes for the end of a line, escaped.
fn escaped(value: &Value) -> String {
    let json = value.to_string();
    let odd = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    if !json.contains(odd) {
        return json;
    }
    json.chars().map(|c| if odd(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
}

/// A text, in quotes where it is not plainly a word or several.
fn quoted(text: &str) -> String {
    let begins = text.starts_with(|c: char| c.is_alphabetic());
    let plain = begins
        && !text.ends_with(' ')
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' '))
        && !WORDS.contains(&text.to_lowercase().as_str());
    if plain { text.to_owned() } else { escaped(&Value::from(text)) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::fault::SourceText;

    fn read(text: String) -> Value {
        let source = Arc::new(SourceText { path: PathBuf::from("t.yaml"), text: text.clone() });
        let nodes = crate::yaml::parse(&source).unwrap_or_else(|faults| panic!("{text}\n{faults:?}"));
        nodes.first().map_or(Value::Null, crate::yaml::Node::to_json)
    }

    #[test]
    fn it_looks_as_people_write_it() {
        let value = json!({"name": "a failed item", "event": {"type": "queueItem.added", "data": {"Queue": {"Name": "no"}, "QueueItem":
            {"Id": 7, "Reference": "A-1", "Text": "5", "Odd: key": [1, "x: y"], "Lines": [{"a": {"b": 1}}, {}]}}}, "expect": []});
        let expected = "name: a failed item\nevent:\n  type: queueItem.added\n  data:\n    Queue: {Name: \"no\"}\n    QueueItem:\n      Id: 7\n      Reference: A-1\n      Text: \"5\"\n      \"Odd: key\": [1, \"x: y\"]\n      Lines:\n        - a: {b: 1}\n        - {}\nexpect: []\n";
        assert_eq!(print(&value, 0), expected);
        assert_eq!(read(print(&value, 0)), value);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e15..1e15).prop_map(Value::from),
            "[ -~é\\n\\t\u{7f}\u{85}\u{9f}\u{2028}\u{feff}\u{ffff}]{0,12}".prop_map(Value::from),
            prop_oneof![
                Just("no"),
                Just("0123"),
                Just("~"),
                Just("*"),
                Just("- a"),
                Just("null"),
                Just("1e3"),
                Just("a #b"),
                Just("${x}"),
                Just("2026-01-01")
            ]
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("[ -~]{0,8}", inner), 0..4).prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(value in values()) {
            let value = json!({"a": value});
            for indent in [0, 4] {
                prop_assert_eq!(read(print(&value, indent)), value.clone());
            }
        }
    }
}
