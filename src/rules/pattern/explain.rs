//! Why an event's data does not match: the first condition that fails, and the trap that it looks like.

use serde_json::{Value, json};

use super::condition::{Branch, Condition};
use super::test::Test;
use super::text::fold;
use super::walk::{Paths, Walked};
use crate::fault::nearest;
use crate::rules::Because;

/// The most values of one path that are shown.
const SHOWN_MAX: usize = 8;

/// The longest string that is shown, in characters.
const TEXT_MAX: usize = 200;

/// Of the branches the one that comes furthest is explained, of several the first. `data` matches none of them.
pub(super) fn explain(branches: &[Branch], data: &Value) -> Because {
    let best = branches.iter().rev().map(|branch| failure(branch, data)).max_by_key(|failure| failure.held);
    match best {
        Some(failure) => failure.because,
        None => Because { path: "match".to_owned(), expected: Value::Null, found: Value::Null, hint: None },
    }
}

struct Failure {
    /// How many conditions hold, each on its own.
    held: usize,
    because: Because,
}

fn failure(branch: &Branch, data: &Value) -> Failure {
    let mut paths = Paths::default();
    let at = branch.add_to(&mut paths);
    let mut walked = Walked::over(data, &paths);
    walked.sort();
    let mut order: Vec<_> = branch.conditions.iter().zip(&at).collect();
    order.sort_by_key(|(condition, _)| condition.written);
    let holds = |condition: &Condition, values: &[&Value]| {
        (condition.absent && values.is_empty()) || values.iter().any(|value| condition.accepts(*value))
    };
    let mut held = 0;
    let mut failed = None;
    let mut last = None;
    for (condition, path) in order {
        let values: Vec<&Value> = walked.at(*path).iter().map(|found| found.value).collect();
        last = Some((condition, values.clone()));
        if holds(condition, &values) {
            held += 1;
        } else if failed.is_none() {
            failed = Some((condition, values));
        }
    }
    if let Some((condition, values)) = failed {
        let hint = hint(condition, &values, data);
        return Failure { held, because: because(condition, &values, data, hint) };
    }
    // Each holds on its own: no element of an array holds them together.
    let hint = "each condition holds for some element of the array, but all must hold for the same element".to_owned();
    let because = last.map_or_else(
        || Because { path: "match".to_owned(), expected: Value::Null, found: Value::Null, hint: None },
        |(condition, values)| because(condition, &values, data, Some(hint)),
    );
    Failure { held, because }
}

fn because(condition: &Condition, values: &[&Value], data: &Value, hint: Option<String>) -> Because {
    let found = match values {
        [] => match at(data, &condition.path) {
            Some(other) => short(other),
            None => Value::Null,
        },
        [one] => short(one),
        many => Value::Array(many.iter().take(SHOWN_MAX).map(|value| short(value)).collect()),
    };
    Because { path: format!("match.{}", condition.path), expected: condition.expected.clone(), found, hint }
}

/// What a path leads to without entering arrays.
fn at<'v>(data: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(data, |value, name| value.get(name))
}

/// A value as it is shown: long texts cut, objects and arrays by their kind.
pub(in crate::rules) fn short(value: &Value) -> Value {
    match value {
        Value::String(text) if text.chars().nth(TEXT_MAX).is_some() => {
            Value::String(text.chars().take(TEXT_MAX).chain(std::iter::once('…')).collect())
        }
        Value::Object(map) if map.is_empty() => json!({}),
        Value::Object(map) => json!(format!("an object with {} fields", map.len())),
        Value::Array(items) if items.is_empty() => json!([]),
        Value::Array(items) => json!(format!("an array with {} elements", items.len())),
        other => other.clone(),
    }
}

fn hint(condition: &Condition, values: &[&Value], data: &Value) -> Option<String> {
    if values.is_empty() {
        return missing(condition, data);
    }
    if condition.absent && condition.tests.is_empty() {
        return Some("`exists: false` asks that the field is missing; null and \"\" are values".to_owned());
    }
    condition.tests.iter().find_map(|test| values.iter().find_map(|value| trap(test, value))).or_else(|| {
        let excludes = condition.tests.iter().any(|test| matches!(test, Test::AnythingBut(_)));
        (excludes && values.len() > 1)
            .then(|| "`anything-but` on an array asks that one of its values is none of these; here every value is".to_owned())
    })
}

/// The field has no value: is it an object, is another name meant, or does the pattern not know that it may be missing?
fn missing(condition: &Condition, data: &Value) -> Option<String> {
    match at(data, &condition.path) {
        Some(Value::Object(map)) => {
            let inside = map.keys().next().map(|name| format!(", for example `{name}`")).unwrap_or_default();
            return Some(format!("`{}` is an object here; conditions are about its fields{inside}", condition.path));
        }
        Some(Value::Array(items)) if items.is_empty() => {
            return Some(format!("`{}` is an empty array, which has no value", condition.path));
        }
        Some(Value::Array(_)) => {
            return Some(format!("the elements of `{}` are objects; conditions are about their fields", condition.path));
        }
        _ => {}
    }
    if let Some(hint) = near_miss(condition, data) {
        return Some(hint);
    }
    let excludes = condition.tests.iter().any(|test| matches!(test, Test::AnythingBut(_)));
    excludes.then(|| "`anything-but` asks that the field is there; add {exists: false} if it may be missing".to_owned())
}

/// The first name on the path that is not there, when one that is there looks like it.
fn near_miss(condition: &Condition, data: &Value) -> Option<String> {
    let mut value = data;
    let mut walked = String::new();
    for name in condition.path.split('.') {
        while let Value::Array(items) = value {
            value = items.iter().find(|item| item.is_object())?;
        }
        let map = value.as_object()?;
        match map.get(name) {
            Some(inner) => value = inner,
            None => {
                let candidate = nearest(name, map.keys().map(String::as_str))?;
                return Some(format!("the event has no `{walked}{name}`, but `{walked}{candidate}`"));
            }
        }
        walked.push_str(name);
        walked.push('.');
    }
    None
}

/// The trap that a test fell into with a value.
fn trap(test: &Test, value: &Value) -> Option<String> {
    match (test, value) {
        (Test::Text(text), Value::Number(number)) if text.parse::<f64>().is_ok_and(|n| Some(n) == number.as_f64()) => Some(format!(
            "the event has the number {number}, the rule the string \"{text}\"; types never convert: write {number} without quotes"
        )),
        (Test::Number(_), Value::String(text)) if text.trim().parse::<f64>().is_ok() => {
            Some(format!("the event has the string \"{text}\", the rule a number; types never convert: write \"{text}\" in quotes"))
        }
        (Test::Range(_), Value::String(text)) if text.trim().parse::<f64>().is_ok() => {
            Some(format!("`numeric` compares JSON numbers, and the event has the string \"{text}\"; use `when: double(…) > …`"))
        }
        (Test::Text(text), Value::Bool(found)) if **text == *found.to_string() => {
            Some(format!("the event has {found}, the rule the string \"{text}\"; write {found} without quotes"))
        }
        (Test::Bool(expected), Value::String(text)) if text.eq_ignore_ascii_case(&expected.to_string()) => {
            Some(format!("the event has the string \"{text}\", the rule {expected}; write \"{text}\" in quotes"))
        }
        (Test::Text(text), Value::String(found)) if fold(text) == fold(found) => {
            Some("the two differ only in case; use {equals-ignore-case: …} if that does not matter".to_owned())
        }
        (Test::Text(text), Value::String(found)) if text.trim() == found.trim() => {
            Some("the two differ only in spaces at the ends".to_owned())
        }
        (Test::Text(text), Value::String(found))
            if text.contains('*') && super::text::Wildcard::parse(text).is_ok_and(|w| w.fits(found)) =>
        {
            Some("`*` is a character in a literal; use {wildcard: …}".to_owned())
        }
        (Test::Prefix(_) | Test::Suffix(_) | Test::Wildcard(_) | Test::AnyCase(_), Value::Number(number)) => {
            Some(format!("the event has the number {number}; prefix, suffix, wildcard and equals-ignore-case compare strings"))
        }
        _ => None,
    }
}
