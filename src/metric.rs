//! The names of the metrics, each with its unit and labels: the same word in code, exposition and documentation.
//!
//! No label ever carries an id, a reference or a URL; the `type` label is bounded by [`TYPES_MAX`].

/// How many event types get a label of their own; further ones are counted as `other`.
pub const TYPES_MAX: usize = 100;

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// As a TYPE line says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric: its name without surprises and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The labels it carries.
    pub labels: &'static [&'static str],
    /// The HELP line.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:ident [$($label:literal),*], $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// All metrics, for their HELP lines and the documentation.
        pub const ALL: &[Metric] = &[$(Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help },)*];
    };
}

metrics! {
    EVENTS_RECEIVED = "tripline_events_received_total", Counter ["source", "via", "type"], "Events accepted.";
    EVENTS_FOLDED = "tripline_events_folded_total", Counter ["source"], "Copies of known events.";
    EVENTS_REJECTED = "tripline_events_rejected_total", Counter ["source", "reason"], "Deliveries refused.";
    EVENTS_CONFLICT = "tripline_events_conflict_total", Counter ["source"], "Events whose EventId came before with another body.";
    INGEST_ACK = "tripline_ingest_ack_seconds", Histogram [], "From the whole body read to the answer.";
    JOURNAL_COMMIT = "tripline_journal_commit_seconds", Histogram [], "One group commit, write and fdatasync.";
    JOURNAL_BATCH = "tripline_journal_batch_events", Histogram [], "Events in one group commit.";
    JOURNAL_BYTES = "tripline_journal_bytes", Gauge [], "Bytes of all journal segments.";
    JOURNAL_LOSSES = "tripline_journal_losses", Gauge [], "Places of the journal where acknowledged records were lost.";
    JOURNAL_CARRIED = "tripline_journal_carried_bytes", Gauge [], "Those that hold what outlived its segment.";
    JOURNAL_OLDEST = "tripline_journal_oldest_event_seconds", Gauge [], "Age of the oldest event in the journal.";
    SEGMENTS_DROPPED = "tripline_journal_segments_dropped_total", Counter [], "Segments that retention removed.";
    RETENTION_HALTED = "tripline_retention_halted", Gauge [], "1 while nothing is removed by age because the clock is in doubt.";
    RUNS = "tripline_runs_total", Counter ["rule", "state"], "Runs planned (pending) and settled, by state.";
    RUN_SECONDS = "tripline_run_seconds", Histogram ["rule"], "From planning to settling a run.";
    RUN_QUEUE_OLDEST = "tripline_run_queue_oldest_seconds", Gauge [], "Age of the oldest run that is not settled.";
    RUNS_UNREADABLE = "tripline_runs_unreadable", Gauge [], "Runs that stand still because the checkpoints of them cannot be read.";
    DEDUP_WINDOW = "tripline_dedup_window_seconds", Gauge [], "How far back copies are recognised.";
    ATTEMPTS = "tripline_attempts_total", Counter ["target", "outcome"], "Attempts at steps; outcome is ok or why not.";
    ATTEMPT_SECONDS = "tripline_attempt_seconds", Histogram ["target"], "One attempt at a step.";
    DEAD_LETTERS = "tripline_dead_letters", Gauge ["rule"], "Runs in state dead.";
    BREAKER_OPEN = "tripline_breaker_open", Gauge ["target"], "1 while a target's breaker is open.";
    PAUSED = "tripline_paused", Gauge ["what"], "1 while a target, a rule or all is paused.";
    RELOAD_REFUSED = "tripline_reload_refused", Gauge [], "1 while the last reload was refused and older rules are in force, else 0.";
    RULES_GENERATION = "tripline_rules_generation", Gauge [], "The rule generation in force.";
    HELD = "tripline_held_total", Counter ["rule", "reason"], "Rules that an event met and that did not run, by `dedupe` or `expires`.";
    EXPRESSION_MISSING = "tripline_expression_missing_total", Counter ["rule"], "Conditions that did not hold because a field is missing.";
    ROUTER_BACKLOG = "tripline_router_backlog_events", Gauge [], "Events accepted and not yet routed.";
    SIGNATURES = "tripline_signatures_total", Counter ["source", "secret"], "Deliveries with a good signature, by the name of the secret.";
    PANICS = "tripline_panics_total", Counter [], "Requests, and looks at a source, that ended in a panic.";
    POLL_CURSOR_AGE = "tripline_poll_cursor_age_seconds", Gauge ["source"], "How long ago everything that a source covers was known.";
    POLL_REQUESTS = "tripline_poll_requests_total", Counter ["source", "endpoint"], "Requests made for polling.";
    COVERAGE_GAP = "tripline_coverage_gap_seconds", Gauge ["source"], "How far a source that cannot be read is behind.";
    WEBHOOK_BLIND = "tripline_webhook_blind", Gauge ["source"], "1 while changes that polling sees do not come by webhook, else 0.";
    WEBHOOK_MISSED = "tripline_webhook_missed_total", Counter ["source"], "Changes that polling saw and no webhook brought in time.";
    API_BUDGET_REMAINING = "tripline_api_budget_remaining", Gauge ["orchestrator", "class"], "Requests of a class that may leave now.";
    BUILD_INFO = "tripline_build_info", Gauge ["version"], "1, with the version as label.";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table in `docs/operating.md`: name, kind, labels.
    fn documented() -> Vec<(String, String, String)> {
        let text = include_str!("../docs/operating.md");
        let rows = text.lines().filter(|line| line.starts_with("| `tripline_") && line.matches('|').count() == 5);
        rows.map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[1].replace('`', ""), cells[2].to_owned(), cells[3].replace('`', ""))
        })
        .collect()
    }

    #[test]
    fn every_metric_is_documented_with_its_kind_and_labels() {
        let expected: Vec<_> = ALL.iter().map(|one| (one.name.to_owned(), one.kind.as_str().to_owned(), one.labels.join(", "))).collect();
        assert_eq!(documented(), expected);
    }

    #[test]
    fn names_say_what_they_count() {
        for one in ALL {
            assert!(one.name.starts_with("tripline_"), "{}", one.name);
            assert_eq!(one.name.ends_with("_total"), one.kind == Kind::Counter, "{}", one.name);
            assert!(one.help.ends_with('.'), "{}", one.name);
        }
    }
}
