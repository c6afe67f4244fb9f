//! The types of Orchestrator's events: their documented spelling, and the spellings seen in the wild.

use std::borrow::Cow;
use std::sync::Arc;

use crate::event::TYPE_UNPARSED;

/// The longest type that is kept, in characters; what is longer is cut.
pub const TYPE_MAX: usize = 128;

/// The type of an object that names none.
pub const TYPE_UNKNOWN: &str = "unknown";

/// What stands before a type from outside that claims to be one of our own.
const FOREIGN: &str = "foreign.";

const KNOWN: &[&str] = &[
    "job.created",
    "job.started",
    "job.completed",
    "job.faulted",
    "job.stopped",
    "job.suspended",
    "job.resumed",
    "job.stopping",
    "job.terminating",
    "queueItem.added",
    "queueItem.transactionStarted",
    "queueItem.transactionCompleted",
    "queueItem.transactionFailed",
    "queueItem.transactionAbandoned",
    "queueItem.retried",
    "queueItem.deferred",
    "queueItem.updated",
    "queueItem.deleted",
    "queueItem.reviewStatusChanged",
    "queue.created",
    "queue.updated",
    "queue.deleted",
    "process.created",
    "process.updated",
    "process.deleted",
    "robot.created",
    "robot.updated",
    "robot.deleted",
    "robot.status",
    "schedule.failed",
    "task.created",
    "task.completed",
    "task.assignmentChanged",
    "task.saved",
    "task.deleted",
    "task.forwarded",
    "task.updated",
    "ping",
    "custom",
    TYPE_UNPARSED,
    "tripline.webhook.blind",
    "tripline.webhook.healed",
    "tripline.item.stuck",
    "tripline.absent",
];

/// Families as people, older texts and the event classes write them.
const FAMILIES: &[(&str, &str)] = &[
    ("queueitems", "queueitem"),
    ("jobs", "job"),
    ("queues", "queue"),
    ("processes", "process"),
    ("release", "process"),
    ("releases", "process"),
    ("robots", "robot"),
    ("schedules", "schedule"),
    ("tasks", "task"),
];

/// Short names of the states of a transaction, as some texts have them.
const ALIASES: &[(&str, &str)] = &[
    ("queueitem.started", "queueItem.transactionStarted"),
    ("queueitem.completed", "queueItem.transactionCompleted"),
    ("queueitem.failed", "queueItem.transactionFailed"),
    ("queueitem.abandoned", "queueItem.transactionAbandoned"),
];

/// See [`crate::normalize::known_types`].
pub(super) fn known() -> &'static [&'static str] {
    KNOWN
}

/// See [`crate::normalize::canonical_type`].
pub(super) fn canonical(written: &str) -> Arc<str> {
    Arc::from(spelled(written))
}

/// The same, for who only looks at it.
pub(super) fn spelled(written: &str) -> Cow<'_, str> {
    if let Some(name) = KNOWN.iter().find(|name| **name == written) {
        return Cow::Borrowed(name);
    }
    let clean = cleaned(written);
    let lower = clean.to_ascii_lowercase();
    let lower = match lower.split_once('.') {
        Some((family, rest)) => match FAMILIES.iter().find(|(alias, _)| *alias == family) {
            Some((_, family)) => format!("{family}.{rest}"),
            None => lower,
        },
        None => lower,
    };
    let known = KNOWN.iter().find(|name| name.eq_ignore_ascii_case(&lower)).copied();
    let alias = || ALIASES.iter().find(|(alias, _)| *alias == lower).map(|(_, name)| *name);
    match known.or_else(alias) {
        Some(name) => Cow::Borrowed(name),
        None if clean.is_empty() => Cow::Borrowed(TYPE_UNKNOWN),
        None => clean,
    }
}

/// The type of a delivery from outside: `tripline.*` is ours alone, whoever signs.
pub(super) fn from_outside(written: &str) -> Arc<str> {
    let name = spelled(written);
    if name.get(..9).is_some_and(|head| head.eq_ignore_ascii_case("tripline.")) {
        return Arc::from(format!("{FOREIGN}{name}"));
    }
    Arc::from(name)
}

/// The type of another service's event: `<source>.<event>`, as the service spells it. `tripline.*` is ours alone, whatever
/// a source is called.
pub(super) fn of_service(source: &str, event: &str) -> Arc<str> {
    let event = cleaned(event);
    let name = if event.is_empty() { format!("{source}.{TYPE_UNKNOWN}") } else { format!("{source}.{event}") };
    if source.eq_ignore_ascii_case("tripline") { Arc::from(format!("{FOREIGN}{name}")) } else { Arc::from(name) }
}

/// Whether types that begin with this name and a dot look like Orchestrator's or ours.
pub(super) fn is_family(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let documented = KNOWN.iter().filter_map(|known| known.split_once('.')).map(|(family, _)| family);
    documented.chain(FAMILIES.iter().map(|(alias, _)| *alias)).any(|family| family.eq_ignore_ascii_case(&lower)) || lower == "foreign"
}

/// Whether a type had to be cut or cleaned, so that its spelling alone does not tell it from others.
pub(super) fn is_altered(written: &str) -> bool {
    matches!(cleaned(written), Cow::Owned(_))
}

fn cleaned(written: &str) -> Cow<'_, str> {
    let trimmed = written.trim();
    let long = trimmed.len() > TYPE_MAX && trimmed.chars().nth(TYPE_MAX).is_some();
    if long || trimmed.chars().any(char::is_control) {
        let cut = trimmed.chars().take(TYPE_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c });
        return Cow::Owned(cut.collect());
    }
    Cow::Borrowed(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_seen_in_the_wild_becomes_the_documented_one() {
        for (written, documented) in [
            ("queueItem.added", "queueItem.added"),
            ("QUEUEITEM.ADDED", "queueItem.added"),
            ("queueItems.added", "queueItem.added"),
            ("queueItem.failed", "queueItem.transactionFailed"),
            ("QueueItems.TransactionFailed", "queueItem.transactionFailed"),
            ("Job.created", "job.created"),
            ("jobs.Faulted", "job.faulted"),
            ("Release.updated", "process.updated"),
            ("robot.Status", "robot.status"),
            (" ping ", "ping"),
            ("task.AssignmentChanged", "task.assignmentChanged"),
        ] {
            assert_eq!(&*canonical(written), documented, "{written}");
        }
    }

    #[test]
    fn unknown_types_stay_as_received() {
        for written in ["vendor.Thing", "queueItem.quantum", "Jobs", "töne.älter"] {
            assert_eq!(&*canonical(written), written);
        }
        assert_eq!(&*canonical("  "), TYPE_UNKNOWN);
    }

    #[test]
    fn long_types_and_control_characters_are_cut_and_cleaned() {
        let long = "x".repeat(1 << 20);
        assert_eq!(canonical(&long).chars().count(), TYPE_MAX);
        assert_eq!(&*canonical("a\r\nb\0"), "a\u{fffd}\u{fffd}b\u{fffd}");
        assert!(is_altered(&long) && !is_altered("job.created"));
    }

    #[test]
    fn our_own_types_do_not_come_from_outside() {
        assert_eq!(&*from_outside("tripline.unparsed"), "foreign.tripline.unparsed");
        assert_eq!(&*from_outside("TRIPLINE.x"), "foreign.TRIPLINE.x");
        assert_eq!(&*canonical("tripline.unparsed"), TYPE_UNPARSED);
    }

    #[test]
    fn every_known_type_is_its_own_spelling() {
        for name in KNOWN {
            assert_eq!(&*canonical(name), *name);
            assert_eq!(&*canonical(&name.to_uppercase()), *name);
        }
    }
}
