//! What the simulated Orchestrator keeps: folders, queues, items, the change feed, releases, jobs. Data only.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::time::Timestamp;

/// Enums whose names and numbers are those of the API.
pub(in crate::sandbox) trait Named: Copy + 'static {
    /// Names in the order of their numbers.
    const NAMES: &'static [&'static str];
    /// The values in the same order.
    const ALL: &'static [Self];

    /// Reads a name, whatever its case.
    fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().position(|name| name.eq_ignore_ascii_case(text)).map(|at| Self::ALL[at])
    }
}

/// Makes such an enum.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(in crate::sandbox) enum $name { $($variant),* }
        impl Named for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($variant)),*];
            const ALL: &'static [Self] = &[$(Self::$variant),*];
        }
        impl $name {
            /// The API's name.
            pub(in crate::sandbox) fn as_str(self) -> &'static str {
                Self::NAMES[self as usize]
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

named!(
    /// Of a queue item; numbers 0 to 6.
    Status { New, InProgress, Failed, Successful, Abandoned, Retried, Deleted }
);
named!(
    #[expect(clippy::enum_variant_names, reason = "the API's own names")]
    /// Of a queue item's review.
    Review { None, InReview, Verified, Retried }
);
named!(
    /// Of a queue item; high is number 0.
    Priority { High, Normal, Low }
);
named!(
    /// Why an item failed: only application exceptions are retried.
    Exception { ApplicationException, BusinessException }
);
named!(
    /// What a row of the change feed says.
    Action { Create, Edit, Delete, Status, Retry }
);
named!(
    /// Of a job.
    JobState { Pending, Running, Stopping, Terminating, Faulted, Successful, Stopped, Suspended, Resumed }
);

impl Status {
    /// Whether nothing comes after it.
    pub(in crate::sandbox) fn is_final(self) -> bool {
        !matches!(self, Self::New | Self::InProgress)
    }
}

/// A folder.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Folder {
    pub(in crate::sandbox) id: i64,
    pub(in crate::sandbox) key: Arc<str>,
    /// Fully qualified name, `Finance/Invoices`.
    pub(in crate::sandbox) path: Arc<str>,
    pub(in crate::sandbox) parent: Option<i64>,
}

/// A queue.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Queue {
    pub(in crate::sandbox) id: i64,
    pub(in crate::sandbox) key: Arc<str>,
    pub(in crate::sandbox) name: Arc<str>,
    pub(in crate::sandbox) description: String,
    pub(in crate::sandbox) max_retries: i64,
    pub(in crate::sandbox) auto_retry: bool,
    pub(in crate::sandbox) retry_abandoned: bool,
    pub(in crate::sandbox) unique: bool,
    pub(in crate::sandbox) created: Timestamp,
    /// Every folder that it is shared to; the first is where it was made.
    pub(in crate::sandbox) folders: Vec<i64>,
}

/// What a failed item says about its failure.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Failure {
    pub(in crate::sandbox) reason: String,
    pub(in crate::sandbox) details: Option<String>,
    pub(in crate::sandbox) kind: Exception,
    pub(in crate::sandbox) time: Timestamp,
}

/// One attempt at a transaction: a retry is another item.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Item {
    pub(in crate::sandbox) id: i64,
    /// Shared by all attempts.
    pub(in crate::sandbox) key: Arc<str>,
    /// Of this attempt.
    pub(in crate::sandbox) unique_key: Arc<str>,
    pub(in crate::sandbox) queue: i64,
    pub(in crate::sandbox) reference: Option<Arc<str>>,
    pub(in crate::sandbox) status: Status,
    pub(in crate::sandbox) review: Review,
    pub(in crate::sandbox) priority: Priority,
    pub(in crate::sandbox) created: Timestamp,
    pub(in crate::sandbox) defer: Option<Timestamp>,
    pub(in crate::sandbox) due: Option<Timestamp>,
    pub(in crate::sandbox) risk_sla: Option<Timestamp>,
    pub(in crate::sandbox) started: Option<Timestamp>,
    pub(in crate::sandbox) ended: Option<Timestamp>,
    pub(in crate::sandbox) seconds_before: i64,
    pub(in crate::sandbox) ancestor: Option<(i64, Arc<str>)>,
    pub(in crate::sandbox) retry_number: i64,
    pub(in crate::sandbox) manual_ancestor: Option<(i64, Arc<str>)>,
    pub(in crate::sandbox) manual_retry_number: i64,
    pub(in crate::sandbox) failure: Option<Failure>,
    pub(in crate::sandbox) content: Arc<Map<String, Value>>,
    pub(in crate::sandbox) output: Option<Arc<Map<String, Value>>>,
    pub(in crate::sandbox) analytics: Option<Arc<Map<String, Value>>>,
    pub(in crate::sandbox) progress: Option<String>,
    pub(in crate::sandbox) source: Option<String>,
    pub(in crate::sandbox) parent_operation: Option<Arc<str>>,
    pub(in crate::sandbox) operation: Option<String>,
    /// Rises with every change of the item.
    pub(in crate::sandbox) version: u64,
}

/// A row of the change feed: the item's state as it was then.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) struct FeedRow {
    pub(in crate::sandbox) id: i64,
    pub(in crate::sandbox) item: i64,
    pub(in crate::sandbox) queue: i64,
    pub(in crate::sandbox) time: Timestamp,
    pub(in crate::sandbox) action: Action,
    pub(in crate::sandbox) status: Status,
    pub(in crate::sandbox) review: Review,
}

/// A process in a folder.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Release {
    pub(in crate::sandbox) id: i64,
    pub(in crate::sandbox) key: Arc<str>,
    pub(in crate::sandbox) name: Arc<str>,
    pub(in crate::sandbox) folder: i64,
    pub(in crate::sandbox) created: Timestamp,
}

/// A job.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Job {
    pub(in crate::sandbox) id: i64,
    pub(in crate::sandbox) key: Arc<str>,
    pub(in crate::sandbox) batch: Arc<str>,
    pub(in crate::sandbox) release: i64,
    pub(in crate::sandbox) folder: i64,
    pub(in crate::sandbox) state: JobState,
    pub(in crate::sandbox) priority: String,
    pub(in crate::sandbox) runtime: String,
    pub(in crate::sandbox) source: String,
    pub(in crate::sandbox) reference: Option<String>,
    pub(in crate::sandbox) parent_operation: Option<String>,
    pub(in crate::sandbox) input: Option<String>,
    pub(in crate::sandbox) output: Option<Value>,
    pub(in crate::sandbox) info: Option<String>,
    pub(in crate::sandbox) created: Timestamp,
    pub(in crate::sandbox) started: Option<Timestamp>,
    pub(in crate::sandbox) resumed: Option<Timestamp>,
    pub(in crate::sandbox) ended: Option<Timestamp>,
    pub(in crate::sandbox) modified: Timestamp,
}
