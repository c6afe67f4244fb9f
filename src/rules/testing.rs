//! Tests inside rule files.

use serde::Serialize;

use crate::event::RuleName;

/// A test inside a rule file.
#[derive(Debug)]
pub struct TestCase {
    /// Its name.
    pub name: String,
    // event, replies, expect: private to this module
}

/// What a test gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestReport {
    /// The rule.
    pub rule: RuleName,
    /// The test.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// Why not: a structural difference, one line per path.
    pub why: Option<String>,
}
