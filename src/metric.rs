//! The names of the metrics, each with its unit and labels: the same word in code, exposition and documentation.
//!
//! No label ever carries an id, a reference or a URL; the `type` label is bounded by [`TYPES_MAX`].

/// How many event types get a label of their own; further ones are counted as `other`.
pub const TYPES_MAX: usize = 100;

/// A metric: its name without surprises and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The full name.
    pub name: &'static str,
    /// The HELP line.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// All metrics, for their HELP lines and the documentation.
        pub const ALL: &[Metric] = &[$(Metric { name: $name, help: $help },)*];
    };
}

metrics! {
    EVENTS_RECEIVED = "tripline_events_received_total", "Events accepted, by source, via and type.";
    EVENTS_FOLDED = "tripline_events_folded_total", "Copies of known events, by source.";
    EVENTS_REJECTED = "tripline_events_rejected_total", "Deliveries refused, by source and reason.";
    EVENTS_CONFLICT = "tripline_events_conflict_total", "Events whose EventId came before with another body, by source.";
    INGEST_ACK = "tripline_ingest_ack_seconds", "From the whole body read to the answer, histogram.";
    JOURNAL_COMMIT = "tripline_journal_commit_seconds", "One group commit, write and fdatasync, histogram.";
    JOURNAL_BATCH = "tripline_journal_batch_events", "Events in one group commit, histogram.";
    JOURNAL_BYTES = "tripline_journal_bytes", "Bytes of all journal segments.";
    RUNS = "tripline_runs_total", "Runs settled or planned, by rule and state.";
    RUN_SECONDS = "tripline_run_seconds", "From planning to settling, by rule, histogram.";
    RUN_QUEUE_OLDEST = "tripline_run_queue_oldest_seconds", "Age of the oldest run that is not settled.";
    DEDUP_WINDOW = "tripline_dedup_window_seconds", "How far back copies are recognised.";
    ATTEMPTS = "tripline_attempts_total", "Attempts at steps, by target and outcome.";
    ATTEMPT_SECONDS = "tripline_attempt_seconds", "One attempt, by target, histogram.";
    DEAD_LETTERS = "tripline_dead_letters", "Runs in state dead, by rule.";
    BREAKER_OPEN = "tripline_breaker_open", "1 while a target's breaker is open.";
    RULES_GENERATION = "tripline_rules_generation", "The rule generation in force.";
    EXPRESSION_MISSING = "tripline_expression_missing_total", "Conditions that did not hold because a field is missing, by rule.";
    ROUTER_BACKLOG = "tripline_router_backlog_events", "Events accepted and not yet routed.";
    SIGNATURES = "tripline_signatures_total", "Deliveries with a good signature, by source and secret (its name).";
    PANICS = "tripline_panics_total", "Requests that ended in a panic.";
    BUILD_INFO = "tripline_build_info", "1, with the version as label.";
}
