//! The words of the product: what an event is, what makes two of them the same change, how runs are named.
//!
//! Knows nothing of HTTP, stores or rules. An [`Event`] is data.

mod cloud;
mod depth;
mod exact;
#[cfg(test)]
pub(crate) mod fuzz;
mod id;
mod json;
mod key;
mod tree;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use depth::{VALUE_DEPTH_MAX, deeper_than, flattened};
pub use exact::read_json;
pub use id::{EventId, IdGenerator, RuleHash, RunId};
pub use json::{EVENT_FIELDS, EventJsonError};
pub use key::{Apart, Key, STAMP_TOLERANCE, UNKEYED_TOLERANCE};
pub use tree::{Fields, Json, Tree, View};

use crate::time::Timestamp;

/// The name of a source in the configuration: 1 to 64 of `A-Z a-z 0-9 _ -`.
pub type SourceName = Arc<str>;

/// The name of a rule: 1 to 128 characters, no control characters.
pub type RuleName = Arc<str>;

/// The longest rule name, in characters.
pub const RULE_NAME_MAX: usize = 128;

/// The most hops a chain of events may have (an emitted event or an enqueued item that fires rules again).
pub const HOPS_MAX: u8 = 8;

/// How an event reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A delivery to `/hooks/<source>`.
    Webhook,
    /// Seen by polling.
    Poll,
    /// Brought by `tripline backfill`.
    Backfill,
    /// A rule's `emit` step.
    Emit,
    /// The daemon itself (`tripline.*`).
    Internal,
}

impl Via {
    /// Its spelling in events, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Poll => "poll",
            Self::Backfill => "backfill",
            Self::Emit => "emit",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What vouches for an event.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Verified {
    /// Nothing: the source is `insecure_unsigned`.
    #[default]
    No,
    /// We made or fetched it ourselves.
    Yes,
    /// A signature; the name says which configured secret verified it (`env:HOOK_SECRET`, `secret 2`), never its value.
    Secret(Arc<str>),
}

/// A folder of Orchestrator, as far as it is known (its name for it: organization unit).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Folder {
    /// `OrganizationUnitId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// `OrganizationUnitKey`, a GUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Fully qualified name, `Finance/Invoices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Why a body could not be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong with it.
    pub message: String,
    /// Line in the body, from 1; 0 where there is none.
    pub line: u32,
    /// Column in the body, from 1; 0 where there is none.
    pub column: u32,
}

/// Which run's step caused an event; the hops say how long the chain is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The run, as [`RunId`] prints.
    pub run: String,
    /// The step's id or number.
    pub step: String,
    /// How many actions of ours are in the chain up to this event.
    pub hops: u8,
}

/// The type of events whose body is no usable JSON object.
pub const TYPE_UNPARSED: &str = "tripline.unparsed";

/// One change of one thing, before it is accepted: what `normalize` reads out of a body, or `emit` makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What makes it the same change.
    pub key: Key,
    /// Orchestrator's type in its documented spelling, or `<source>.<event>`.
    pub event_type: Arc<str>,
    /// When it happened; `None` where unknown or not sane.
    pub time: Option<Timestamp>,
    /// When its data was read, where later than the change (polling).
    pub observed: Option<Timestamp>,
    /// The tenant as the body names it (`TenantId`).
    pub tenant: Option<Arc<str>>,
    /// The folder it came from.
    pub folder: Option<Folder>,
    /// `queues/Invoices/items/436141352`, `jobs/1234`, …
    pub subject: Option<Arc<str>>,
    /// The service's own id of the delivery (`EventId`).
    pub service_id: Option<Arc<str>>,
    /// Which element of the body this is: its index in the body's array, or 0. Stored with the event, so that
    /// `normalize::project` finds `data` again in the body's bytes.
    pub element: u32,
    /// Orchestrator's own fields, singular: what rules match on. `Null` for unusable bodies.
    pub data: Arc<Value>,
    /// For unusable bodies.
    pub problem: Option<Problem>,
    /// The run that caused it, if one of ours did.
    pub origin: Option<Origin>,
}

impl Change {
    /// A change of which nothing else is known.
    #[must_use]
    pub fn told(key: Key, event_type: impl Into<Arc<str>>) -> Self {
        Self {
            key,
            event_type: event_type.into(),
            time: None,
            observed: None,
            tenant: None,
            folder: None,
            subject: None,
            service_id: None,
            element: 0,
            data: Arc::new(Value::Null),
            problem: None,
            origin: None,
        }
    }
}

/// How many further copies of an event arrived, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Folded {
    /// Copies in all.
    pub count: u64,
    /// Copies per place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<FoldedFrom>,
}

/// Copies of an event that came from one source and folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldedFrom {
    /// The source.
    pub source: SourceName,
    /// How they came.
    pub via: Via,
    /// The folder's id, where known: shared queues send one copy per folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<i64>,
    /// How many.
    pub count: u64,
    /// When the last one came.
    pub last: Timestamp,
}

/// One change, accepted: it is on disk and has an id.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Ours; rises with acceptance.
    pub id: EventId,
    /// The configured source it came through.
    pub source: SourceName,
    /// How.
    pub via: Via,
    /// When we took it.
    pub received: Timestamp,
    /// The name of the orchestrator in the configuration, if the source has one.
    pub orchestrator: Option<Arc<str>>,
    /// What vouches for it.
    pub verified: Verified,
    /// The same `EventId` came before with another body.
    pub conflict: bool,
    /// It was brought long after it happened, and no rule runs for it unless somebody asks.
    pub late: bool,
    /// The change itself.
    pub change: Change,
    /// Further copies.
    pub folded: Folded,
    /// The body's bytes, kept here only for [`TYPE_UNPARSED`].
    pub raw: Option<Bytes>,
}

impl Event {
    /// The change's type.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.change.event_type
    }

    /// What rules match on.
    #[must_use]
    pub fn data(&self) -> &Value {
        &self.change.data
    }

    /// How many of our own actions lie behind this event.
    #[must_use]
    pub fn hops(&self) -> u8 {
        self.change.origin.as_ref().map_or(0, |o| o.hops)
    }
}

/// Whether `name` may name a source, an orchestrator or a step: it goes into paths and metric labels.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
