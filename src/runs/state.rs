//! Where a run, and each of its steps, stands.

use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Planned, not begun.
    Pending,
    /// An attempt is under way, or the next step is due.
    Running,
    /// A timer or something awaited.
    Waiting,
    /// Behind another run with the same ordering key.
    Blocked,
    /// Its rule or target is paused.
    Paused,
    /// The last attempt failed; the next one has a time.
    Retrying,
    /// All steps done.
    Succeeded,
    /// A shadow rule: what it would do is recorded.
    Shadowed,
    /// Given up; can be replayed.
    Dead,
    /// An action may or may not have happened; a person decides.
    Ambiguous,
    /// Put aside by a person.
    Discarded,
}

impl RunState {
    /// All states, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Blocked,
        Self::Paused,
        Self::Retrying,
        Self::Succeeded,
        Self::Shadowed,
        Self::Dead,
        Self::Ambiguous,
        Self::Discarded,
    ];

    /// Nothing more will happen by itself.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Succeeded | Self::Shadowed | Self::Dead | Self::Ambiguous | Self::Discarded)
    }

    /// Nothing is left to be done, by itself or by a person: neither open nor dead nor ambiguous.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Shadowed | Self::Discarded)
    }

    /// Its spelling in JSON, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Shadowed => "shadowed",
            Self::Dead => "dead",
            Self::Ambiguous => "ambiguous",
            Self::Discarded => "discarded",
        }
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Not begun, or about to begin anew.
    Pending,
    /// An attempt is under way.
    Running,
    /// The last attempt failed; there will be another.
    Retrying,
    /// A request left and its end is not known yet.
    Unknown,
    /// For a moment, an item or a job.
    Waiting,
    /// Done; never done again.
    Done,
    /// Its `if` does not hold.
    Skipped,
    /// The run was given up here.
    Failed,
}

impl StepState {
    /// Nothing more will happen to it.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Done | Self::Skipped)
    }

    /// Its spelling in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Unknown => "unknown",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}
