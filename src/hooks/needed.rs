//! Which event types a webhook has to ask for.

use std::collections::BTreeSet;

use crate::normalize::known_types;
use crate::rules::index::TypePattern;

/// What a webhook asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Events {
    /// Whatever there is.
    All,
    /// These types, in Orchestrator's own spelling.
    These(BTreeSet<String>),
}

/// Whether one of the patterns means events of this type that come from outside.
#[must_use]
pub fn is_needed(event_type: &str, wanted: &[TypePattern]) -> bool {
    let lower = event_type.to_ascii_lowercase();
    wanted.iter().any(|pattern| pattern.matches(&lower, false))
}

/// The types among those that Orchestrator `offered` that are needed; and the types of Orchestrator that are named in full
/// and not offered. Types of other services and of our own are no business of a webhook.
#[must_use]
pub fn events(wanted: &[TypePattern], offered: &[String]) -> (BTreeSet<String>, Vec<String>) {
    let needed = offered.iter().filter(|offered| is_needed(&crate::normalize::canonical_type(offered), wanted)).cloned().collect();
    let is_offered = |name: &str| offered.iter().any(|offered| crate::normalize::canonical_type(offered).eq_ignore_ascii_case(name));
    let mut missing: Vec<String> = Vec::new();
    for pattern in wanted {
        let TypePattern::Exact(name) = pattern else { continue };
        let known = known_types().iter().find(|known| known.eq_ignore_ascii_case(name) && !known.starts_with("tripline."));
        // A ping comes to every webhook, asked for or not.
        if let Some(known) = known.filter(|known| **known != "ping" && !is_offered(known))
            && !missing.iter().any(|name| name == known)
        {
            missing.push((*known).to_owned());
        }
    }
    (needed, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_names_and_wildcards_become_the_types_that_are_offered() {
        let offered: Vec<String> =
            ["job.created", "job.faulted", "queueItem.added", "queueItems.retried", "robot.status"].map(str::to_owned).to_vec();
        let pattern = |text: &str| TypePattern::parse(&text.to_ascii_lowercase()).expect("a pattern");
        let cases: [(&[&str], &[&str], &[&str]); 6] = [
            (&["job.faulted"], &["job.faulted"], &[]),
            (&["job.*", "job.faulted"], &["job.created", "job.faulted"], &[]),
            (&["queueItem.retried"], &["queueItems.retried"], &[]),
            (&["*"], &["job.created", "job.faulted", "queueItem.added", "queueItems.retried", "robot.status"], &[]),
            (&["task.completed", "ping", "tripline.absent", "github.push", "acme.mine"], &[], &["task.completed"]),
            (&[], &[], &[]),
        ];
        for (wanted, expected, missing) in cases {
            let patterns: Vec<TypePattern> = wanted.iter().map(|text| pattern(text)).collect();
            let (found, not_offered) = events(&patterns, &offered);
            assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{wanted:?}");
            assert_eq!(not_offered, missing, "{wanted:?}");
        }
    }
}
