//! A condition: a path and the alternatives for its value.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value;

use super::test::Test;
use super::walk::Found;
use crate::event::Json;

/// What a pattern asks of one path: any of its tests.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Field names joined by dots.
    pub path: Box<str>,
    /// The alternatives that ask a value.
    pub tests: Vec<Test>,
    /// Whether having no value is an alternative too.
    pub absent: bool,
    /// The alternatives as written, for messages.
    pub expected: Value,
    /// Its place in the order written.
    pub written: usize,
}

impl Condition {
    /// Whether a value passes one of its tests.
    #[must_use]
    pub fn accepts(&self, value: &impl Json) -> bool {
        self.tests.iter().any(|test| test.passes(value))
    }

    /// Whether it holds, where these are all values at its path and none of them rules another out.
    #[must_use]
    pub fn holds_over<J: Json>(&self, values: &[Found<'_, J>]) -> bool {
        (self.absent && values.is_empty()) || values.iter().any(|found| self.accepts(found.value))
    }
}

/// One way to match: all conditions, in the order of their paths (which decides what `exists: false` means).
#[derive(Clone, Debug, Default)]
pub struct Branch {
    /// One per path.
    pub conditions: Vec<Arc<Condition>>,
}

impl Branch {
    /// That both hold; a path that both name has two conditions then.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut conditions: Vec<_> = self.conditions.iter().chain(&other.conditions).cloned().collect();
        conditions.sort_by(|a, b| order(&a.path, &b.path));
        Self { conditions }
    }

    /// Adds a condition; one of the same path is replaced and returned.
    pub fn put(&mut self, condition: Arc<Condition>) -> Option<Arc<Condition>> {
        match self.conditions.binary_search_by(|other| order(&other.path, &condition.path)) {
            Ok(at) => Some(std::mem::replace(&mut self.conditions[at], condition)),
            Err(at) => {
                self.conditions.insert(at, condition);
                None
            }
        }
    }
}

/// The order of paths: by UTF-16 units, as event-ruler sorts them.
fn order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() || b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}
