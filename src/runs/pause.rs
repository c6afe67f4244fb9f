//! What people have paused: everything, a rule, or a target.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Cause;
use crate::time::Timestamp;

/// Pauses at once.
pub const PAUSES_MAX: usize = 1_000;
/// The longest name of a rule or target that may be paused, in bytes.
pub const PAUSED_NAME_MAX: usize = 400;
/// The code of the cause of a paused run.
pub const PAUSED: &str = "paused";

/// What is paused. Ordered and printed as it is stored: `all`, `rule:NAME`, `target:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Paused {
    /// Everything.
    All,
    /// The runs of a rule.
    Rule(String),
    /// What goes to a target: an orchestrator's name, or the host of `http` steps as `host`, `host:port` or with its scheme.
    Target(String),
}

impl Paused {
    /// From its stored form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "all" => Some(Self::All),
            Some(("rule", name)) => Some(Self::Rule(name.to_owned())),
            Some(("target", name)) => Some(Self::Target(name.to_owned())),
            _ => None,
        }
    }

    /// For people: `everything`, ``rule `x` ``, ``target `y` ``.
    #[must_use]
    pub fn described(&self) -> String {
        match self {
            Self::All => "everything".to_owned(),
            Self::Rule(name) => format!("rule `{name}`"),
            Self::Target(name) => format!("target `{name}`"),
        }
    }

    /// The argument of `tripline resume` that ends it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::All => "all",
            Self::Rule(name) | Self::Target(name) => name,
        }
    }
}

impl fmt::Display for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Rule(name) => write!(f, "rule:{name}"),
            Self::Target(name) => write!(f, "target:{name}"),
        }
    }
}

/// Since when and why; the stored value as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All pauses in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses(pub BTreeMap<Paused, Pause>);

impl Pauses {
    /// Why a run of this rule does not go on, if it does not.
    #[must_use]
    pub fn of_rule(&self, rule: &str) -> Option<Cause> {
        if self.0.is_empty() {
            return None;
        }
        self.cause(&Paused::All).or_else(|| self.cause(&Paused::Rule(rule.to_owned())))
    }

    /// Why nothing is sent to this target (an orchestrator's name, or `scheme://host:port`), if nothing is.
    #[must_use]
    pub fn of_target(&self, target: &str) -> Option<Cause> {
        if self.0.is_empty() {
            return None;
        }
        let authority = target.split_once("://").map(|(_, authority)| authority);
        let host = authority.map(|authority| authority.rsplit_once(':').map_or(authority, |(host, _)| host));
        let names = [Some(target), authority, host];
        names.into_iter().flatten().find_map(|name| self.cause(&Paused::Target(name.to_owned())))
    }

    fn cause(&self, what: &Paused) -> Option<Cause> {
        let pause = self.0.get(what)?;
        let why = pause.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let message = format!("{} is paused since {}{why}; `tripline resume {}` lets it go on", what.described(), pause.since, what.name());
        Some(Cause { code: PAUSED.to_owned(), message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused(what: &[&str]) -> Pauses {
        let pause = Pause { since: Timestamp::EPOCH, reason: Some("audit".to_owned()) };
        Pauses(what.iter().map(|text| (Paused::parse(text).expect("a pause"), pause.clone())).collect())
    }

    #[test]
    fn a_pause_is_stored_as_it_is_read() {
        for what in [Paused::All, Paused::Rule("a:b".to_owned()), Paused::Target("https://host:8".to_owned())] {
            assert_eq!(Paused::parse(&what.to_string()), Some(what));
        }
        for bad in ["", "al", "rules:x", "x"] {
            assert_eq!(Paused::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_rule_is_held_by_its_own_pause_or_that_of_all() {
        assert!(
            paused(&["rule:a"]).of_rule("a").is_some_and(|cause| cause.message.contains("audit") && cause.message.contains("resume a"))
        );
        assert_eq!(paused(&["rule:a", "target:b"]).of_rule("b"), None);
        assert!(paused(&["all"]).of_rule("b").is_some());
        assert_eq!(paused(&[]).of_rule("a"), None);
    }

    #[test]
    fn a_target_is_known_by_name_or_by_host() {
        for name in ["target:https://ops.example.com:8443", "target:ops.example.com:8443", "target:ops.example.com"] {
            assert!(paused(&[name]).of_target("https://ops.example.com:8443").is_some(), "{name}");
            assert_eq!(paused(&[name]).of_target("https://other.example.com:8443"), None, "{name}");
        }
        assert!(paused(&["target:prod"]).of_target("prod").is_some());
        assert_eq!(paused(&["rule:prod"]).of_target("prod"), None);
    }
}
