//! One attempt at a step: how it ended, what kind of failure it met, and whose that is. Stored with facts: see there.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::Timestamp;

/// One attempt at a step, over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// When it began.
    pub started: Timestamp,
    /// When it was over.
    pub ended: Timestamp,
    /// `POST https://host/path`; no query, no secrets.
    pub request: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What kind of failure, if it failed: see [`Class`].
    pub class: Option<Class>,
    /// What went wrong, masked and cut.
    pub error: Option<String>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Headers and bodies, where the rule records them. A fact holds them; a run only where it was asked for with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Box<Recorded>>,
}

/// Headers and bodies of a request and its answer: secrets masked, what is long cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The request.
    pub request: Message,
    /// The answer, if there was one.
    pub response: Option<Message>,
}

/// Headers and body of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Names, lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body as text, if it has one.
    pub body: Option<String>,
    /// Whether the body was longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

impl Attempt {
    /// On whose side its failure is.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        self.class.map(|class| class.side(self.status))
    }

    /// The documented JSON: as stored, with `side` where it failed.
    #[must_use]
    pub(super) fn to_json(&self) -> Value {
        let mut json = serde_json::json!(self);
        if let Some(side) = self.side() {
            json["side"] = side.as_str().into();
        }
        json
    }
}

/// What kind of failure an attempt met; decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The request never left: DNS, connection refused, TLS. Tried again.
    Connect,
    /// The request left and nothing certain came back. For what is not idempotent the outcome is unknown.
    Unknown,
    /// 429: rejected unprocessed. Tried again; counts against no limit but `give_up_after`.
    Throttled,
    /// 408, 425, 5xx. Tried again (for what is not idempotent the outcome is unknown).
    Server,
    /// 401 also with a fresh token. Opens the target's breaker.
    Auth,
    /// 403, 404/1002, 400/1100, 400/1101, wrong URL: configuration. Opens the target's breaker; the run waits.
    Configuration,
    /// Any other 4xx, a 3xx, a forbidden host: dead at once.
    Refused,
    /// 2xx with a body that is not what it must be. Tried again.
    Invalid,
    /// The target's breaker is open; nothing was sent. Counts against no limit but `give_up_after`.
    BreakerOpen,
    /// The batch that it went in was refused, and nothing was done. It goes again, alone.
    Batch,
    /// The service says that it is to be tried again; nothing was done.
    Service,
    /// 409 that says somebody else is at work (1012…, PendingJobsAlreadyExist). Tried again a few times.
    Conflict,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Connect,
        Self::Unknown,
        Self::Throttled,
        Self::Server,
        Self::Auth,
        Self::Configuration,
        Self::Refused,
        Self::Invalid,
        Self::BreakerOpen,
        Self::Batch,
        Self::Service,
        Self::Conflict,
    ];

    /// On whose side the failure is. `status`: what the target answered, if it did; a refusal without an answer is our own (a
    /// forbidden host, a request that cannot be made).
    #[must_use]
    pub fn side(self, status: Option<u16>) -> Side {
        match self {
            Self::Refused | Self::Configuration if status.is_none() => Side::Us,
            Self::Auth | Self::Configuration | Self::Refused | Self::Conflict | Self::Batch | Self::Service => Side::TargetRefused,
            Self::Throttled | Self::Server | Self::Invalid => Side::TargetFailed,
            Self::Connect | Self::Unknown => Side::Network,
            Self::BreakerOpen => Side::Us,
        }
    }

    /// Its spelling in causes, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Unknown => "unknown",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Auth => "auth",
            Self::Configuration => "configuration",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::BreakerOpen => "breaker_open",
            Self::Batch => "batch",
            Self::Service => "service",
            Self::Conflict => "conflict",
        }
    }
}

/// On whose side a failure is: who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The target answered that it will not do this.
    TargetRefused,
    /// The target could not, for now.
    TargetFailed,
    /// Nothing certain came back from it.
    Network,
    /// Ours: nothing was sent, or should have been.
    Us,
}

impl Side {
    /// In JSON and for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TargetRefused => "target refused",
            Self::TargetFailed => "target failed",
            Self::Network => "network",
            Self::Us => "us",
        }
    }
}
